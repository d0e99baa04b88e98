#!/bin/bash
# Checks the models exhaustively, and that the checker finds what is wrong with each mutant.
#
#   run.sh BUILD/model
#
# One line for each: "ring: no error in 123456 states, as expected".
set -u
build=$1
here=$(cd "$(dirname "$0")" && pwd)
failed=0

check() { # NAME MODEL right|wrong DEFINES...
    name=$1 model=$2 want=$3
    shift 3
    dir=$build/$name
    log=$dir/log
    rm -rf "$dir"
    mkdir -p "$dir"
    if ! (cd "$dir" && spin "$@" -a "$here/$model.pml" && ${CC:-cc} -O2 -w -DSAFETY -DCOLLAPSE \
        -DMEMLIM=1500 -o pan pan.c && ./pan -m1000000 -w24) >"$log" 2>&1; then
        echo "$name: FAILED, no answer: $(tail -3 "$log")"
        failed=1
        return
    fi
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' "$log")
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$log")
    if [ "$want" = right ] && grep -q 'max search depth too small\|Search not completed' "$log"; then
        echo "$name: FAILED, the search was not complete; see $log"
        failed=1
    elif [ "$want" = right ] && [ "${errors:-1}" = 0 ]; then
        echo "$name: no error in $states states, as expected"
    elif [ "$want" = wrong ] && [ "${errors:-0}" != 0 ]; then
        echo "$name: found ($(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' "$log")), as expected"
    else
        echo "$name: FAILED, ${errors:-no} errors, see $log"
        failed=1
    fi
}

check ring ring right
check ring-crashes ring right -DCRASHES -DTOTAL=5
for mutant in NO_FENCE_PRODUCER NO_FENCE_CONSUMER NO_RECHECK_PRODUCER NO_RECHECK_CONSUMER EARLY_TAIL; do
    check "ring-$mutant" ring wrong "-D$mutant"
done
check sysvmq sysvmq right
for mutant in CREDIT=8 LOOK_BEFORE COUNT_OWN; do
    check "sysvmq-$mutant" sysvmq wrong "-D$mutant"
done
exit $failed
