# Fills in what programs know themselves: awk -v mode=man|conf -f expand.awk TABLE PAGE.scd
# TABLE is what PROGRAM --table prints (common/base/optrow.h); in PAGE stand, alone on their lines:
#   @options COMMAND@   its options ("*": those of every command, "chat": those of the chat alone)
#   @commands@          each command with its options
#   @verbs@             the /commands of the chat
#   @keys@              the keys of the configuration file; with mode=conf as an example of one

function quoted(text) { gsub(/[\\*_`]/, "\\\\&", text); return text }
function operands(text) { return text == "-" ? "" : " " quoted(text) }

function option_lines(command,    i) {
    for (i = 1; i <= n; i++)
        if (of[i] == command) {
            printf "%s*--%s*%s\n", letter[i] == "-" ? "" : "*-" letter[i] "*, ", name[i],
                meta[i] == "-" ? "" : " _" quoted(meta[i]) "_"
            printf "\t%s\n\n", quoted(help[i])
        }
}

function key_lines(    i, seen) {
    for (i = 1; i <= n; i++) {
        if (config[i] != "yes" || seen[name[i]]++)
            continue
        value = meta[i] == "-" ? "yes|no" : meta[i]
        if (mode == "conf")
            printf "# %s%s\n#%s = %s\n\n", help[i], allowed(i), name[i], value
        else
            printf "*%s* = _%s_\n\t%s%s\n\n", name[i], quoted(value), quoted(help[i]), quoted(allowed(i))
    }
}

function allowed(i,    words) {
    words = values[i]
    if (words == "-" || words ~ /^@|:/)
        return ""
    return (sub(/^,/, "", words) ? " (a list of: " : " (one of: ") words ")"
}

BEGIN { FS = "\t" }
FNR == NR && $1 == "option" {
    n++
    of[n] = $2; name[n] = $3; letter[n] = $4; meta[n] = $5; values[n] = $6; config[n] = $7; help[n] = $8
    next
}
FNR == NR && $1 == "command" { commands[++nc] = $2; usage[$2] = $3; summary[$2] = $4; next }
FNR == NR && $1 == "verb" { verbs[++nv] = $2; vusage[$2] = $3; vhelp[$2] = $4; next }
FNR == NR { next }

/^@options .*@$/ { option_lines(substr($0, 10, length($0) - 10)); next }
/^@keys@$/ { key_lines(); next }
/^@commands@$/ {
    for (c = 1; c <= nc; c++) {
        printf "## parley %s%s\n\n%s.\n\n", commands[c], operands(usage[commands[c]]), quoted(summary[commands[c]])
        option_lines(commands[c])
    }
    next
}
/^@verbs@$/ {
    for (v = 1; v <= nv; v++)
        printf "*/%s*%s\n\t%s\n\n", verbs[v], operands(vusage[verbs[v]]), quoted(vhelp[verbs[v]])
    next
}
{ print }
