#!/bin/bash
# Runs every fuzz target: first the corpus (seeds, and all that ever broke something), then new inputs.
#
#   run.sh BUILD/fuzz SECONDS JOBS
#
# One line for each target. An input that breaks something is kept in BUILD/fuzz/found: fix what it
# shows and put it into tests/fuzz/corpus/TARGET under a name that says what it was.
set -u
build=$1 seconds=$2 jobs=$3
here=$(dirname "$0")
found=$build/found
mkdir -p "$found"

# Leaks: the client keeps its options until it ends, on purpose.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

run_one() { # TARGET
    name=$1
    grown=$build/grown/$name
    log=$build/$name.log
    mkdir -p "$grown"
    options=(-close_fd_mask=3 -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1
             "-artifact_prefix=$found/$name-")
    [ -f "$here/$name.dict" ] && options+=("-dict=$here/$name.dict")
    start=$(find "$found" -name "$name-*" | wc -l)
    timeout $((seconds + 60)) "$build/tests/fuzz/fuzz_$name" "${options[@]}" \
        -max_total_time="$seconds" "$grown" "$here/corpus/$name" >"$log" 2>&1
    code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ $code -ne 0 ]; then
        grep -av '^#\|NEW_FUNC\|^INFO' "$log" | tail -60
        find "$found" -name "$name-*" -newer "$build/tests/fuzz/fuzz_$name" | tail -n +$((start + 1))
        echo "$name: FAILED (exit $code), see $log"
        return 1
    fi
    echo "$name: ${runs:-0} inputs, nothing found"
}
export -f run_one
export build seconds here found

for program in "$build"/tests/fuzz/fuzz_*; do
    case $program in
    *.[od]) ;;
    *) basename "$program" | sed 's/^fuzz_//' ;;
    esac
done | xargs -P "$jobs" -I{} bash -c 'run_one {}'
