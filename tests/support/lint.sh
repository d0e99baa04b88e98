#!/bin/sh
# All checkers of the source, all without a finding: clang-format, shellcheck, cppcheck, clang-tidy.
#
#   lint.sh "COMPILER FLAGS" FILE...   (.c, .h, and shell scripts)
#
# Runs every checker even if an earlier one complains, so that one run shows all there is to do.
set -eu

flags=$1
shift
jobs=$(nproc 2>/dev/null || echo 2)
failed=''

pick() { # REGEX of names
    want=$1
    shift
    for f; do
        echo "$f"
    done | grep -E "$want" || true
}
c_files=$(pick '\.[ch]$' "$@")
sources=$(pick '\.c$' "$@")
scripts=$(pick '(\.sh|/run)$' "$@")

step() { # NAME COMMAND...
    name=$1
    shift
    if "$@"; then
        echo "$name: clean"
    else
        echo "$name: findings above"
        failed="$failed $name"
    fi
}

run_tidy() {
    # --quiet still counts suppressed warnings on stderr: noise about system headers.
    # shellcheck disable=SC2086 # flags and names are lists
    printf '%s\n' $sources |
        xargs -P "$jobs" -I{} clang-tidy --quiet --warnings-as-errors='*' {} -- -std=c11 $flags \
            2>"$errors" || {
        grep -v 'warnings generated\|Suppressed\|Use -header-filter' "$errors" >&2 || true
        return 1
    }
}

run_cppcheck() {
    # System headers are not ours to check. Without them the loops of uthash and utlist are unknown
    # macros, and what these assign looks unset: gcc and clang-tidy look for that and read them. The
    # rest is reasoned beside the code (cppcheck-suppress).
    # shellcheck disable=SC2046,SC2086
    cppcheck --quiet --std=c11 --language=c -j "$jobs" \
        --enable=warning,performance,portability --error-exitcode=1 --inline-suppr \
        --suppress=missingIncludeSystem --suppress=unknownMacro --suppress=uninitvar \
        --template='{file}:{line}: {severity}: {message} [{id}]' \
        $(echo "$flags" | tr ' ' '\n' | grep -E '^-[DI]' | tr '\n' ' ') $sources
}

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
# shellcheck disable=SC2086
{
    step clang-format clang-format --dry-run -Werror $c_files
    step shellcheck shellcheck -x $scripts
    step cppcheck run_cppcheck
    step clang-tidy run_tidy
}
if [ -n "$failed" ]; then
    echo "lint: not clean:$failed" >&2
    exit 1
fi
