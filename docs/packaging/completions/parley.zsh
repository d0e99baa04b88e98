#compdef parley parleyd parley-web
# Completion in zsh. The programs answer themselves (--complete), from the tables that they take their options from.

local line word
local -a typed offers glued
typed=("${(@Q)words[2,CURRENT-1]}")
for line in "${(@f)$(${(Q)words[1]} --complete "${typed[@]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}"; do
    word=${line%%$'\t'*}
    case $word in
    '') ;;
    :file) _files && return ;;
    :dir) _files -/ && return ;;
    *:) glued+=("$word") ;;
    *) offers+=("${word//:/\\:}:${line#*$'\t'}") ;;
    esac
done
(( $#glued )) && compadd -S '' -- "${glued[@]}"
_describe -V parley offers
