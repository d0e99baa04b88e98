# Completion for parley, parleyd and parley-web in bash. The programs answer themselves (--complete), from the
# tables that they take their options from.
_parley() {
    local i line word last='' cut='' quote='' glue=0 IFS=$'\n'
    local -a words=()
    # bash takes words apart at '=' and ':' and replaces only what is behind: --wait=spin, unix:PATH.
    for ((i = 1; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $glue = 1 || ($word = [=:] && ${#words[@]} -gt 0) ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        [[ $word = [=:] ]] && glue=1 || glue=0
    done
    last=${words[${#words[@]} - 1]}
    unset "words[${#words[@]} - 1]"
    [[ $last = *[=:]* && $last != [\'\"]* ]] && cut=${last%"${last##*[=:]}"}
    [[ $last = [\'\"]* ]] && quote=${last:0:1}
    for i in "${!words[@]}"; do
        words[i]=$(_parley_unquote "${words[i]}")
    done
    COMPREPLY=()
    while read -r line; do
        word=${line%%$'\t'*}
        case $word in
        :file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "${last#"$cut"}") ;;
        :dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "${last#"$cut"}") ;;
        *)
            [[ $word = *: ]] && compopt -o nospace # unix: and tcp: go on
            word=${word#"$cut"}
            [[ -z $quote && $word = *[^[:alnum:]_.,:/=@+-]* ]] && printf -v word %q "$word"
            COMPREPLY+=("$word")
            ;;
        esac
    done < <("$1" --complete "${words[@]}" "$(_parley_unquote "$last")" 2>/dev/null </dev/null)
}

# A word as it was typed so far, without its quotes and backslashes.
_parley_unquote() {
    local word=${1#[\'\"]}
    word=${word%[\'\"]}
    printf %s "${word//\\/}"
}

complete -F _parley parley parleyd parley-web
