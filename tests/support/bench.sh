#!/bin/bash
# `make bench`: what parley costs on this machine, as `parley bench` measures it, in under 10 minutes.
#
#   BIN=build/release OUT=build/bench bench.sh [NAME...]      all steps, or those named
#
# For each step NAME.json (what was measured), NAME.txt (as a table) and NAME.svg (drawn, if there is
# gnuplot) in OUT; and summary.txt, where what matters stands beside its reference of the same run.
# Compare two runs: parley bench --vs BEFORE/NAME.json AFTER/NAME.json.
# REPEAT: runs of each case (default 5; the steps that take longest have half as many). Nothing else
# should run on the machine meanwhile.
set -euo pipefail

bin=$(cd "${BIN:-build/release}" && pwd)
out=${OUT:-build/bench}
repeat=${REPEAT:-5}
names=("$@")
mkdir -p "$out"

unset PARLEY_SOCKET
export XDG_CONFIG_HOME=$out/config # not the user's

wanted() {
    local n
    [ "${#names[@]}" -gt 0 ] || return 0
    for n in "${names[@]}"; do [ "$n" != "$1" ] || return 0; done
    return 1
}

step() { # NAME BENCHMARK OPTIONS...
    local name=$1 draw=() begun=$SECONDS
    wanted "$name" || return 0
    shift
    echo "== $name: parley bench $*" >&2
    "$bin/parley" bench --repeat "$repeat" --json "$@" >"$out/$name.json.new"
    mv "$out/$name.json.new" "$out/$name.json"
    if command -v gnuplot >/dev/null; then draw=(--svg "$out/$name.svg"); fi
    "$bin/parley" bench show "${draw[@]}" "$out/$name.json" >"$out/$name.txt"
    cat "$out/$name.txt"
    echo
    echo "== $name: $((SECONDS - begun)) s" >&2
}

trap 'rm -f "$out"/*.new' EXIT
start=$SECONDS

# The floor: what each mechanism does bare.
step raw raw --size 64
few=$(((repeat + 1) / 2))
all=$repeat repeat=1
step raw-sizes raw
repeat=$all

# The delay of a post in an idle system, to one and to the last of ten; in the hub and by way of workers
# beside the same hops bare.
step latency-1 latency -S 1 --rounds 300 --rate 500
step latency-10 latency -S 10 --rounds 300 --rate 500
step latency-1-workers latency -S 1 --rounds 400 --rate 500 --place workers -t unix
step latency-spin latency -S 1 --rounds 400 --rate 500 -t shm --wait spin --place hub
step hops hops --rounds 300 --rate 1000 -C 100000

# Posts and deliveries a second.
step fanout-1 fanout -S 1 -C 200000
step fanout-10 fanout -S 10 -C 50000
step fanout-100 fanout -S 100 -C 10000 -t fifo,sysvmq,shm,mmap,unix,tcp
step fanout-1000 fanout -S 1000 -C 6000 -t shm,mmap,unix
# The same with every delivery decoded and checksummed by its reader, as a chat does.
step fanout-1-checksum fanout checksum -S 1 -C 200000 -t shm,unix
step fanout-10-checksum fanout checksum -S 10 -C 50000 -t shm,unix
step fanout-100-checksum fanout checksum -S 100 -C 10000 -t shm,unix
step fanout-1000-checksum fanout checksum -S 1000 -C 6000 -t shm,unix

# Each mechanism through the chat against itself bare; many who are idle; one who is stopped.
step stream stream -C 200000 --rounds 200
step idle idle --rounds 300
step stopped stopped -C 50000

# A change of transport under traffic, a connection that is lost; a room read from its beginning beside
# `cat` of the same bytes, searched beside grep, joined small and large. Most of the time goes into
# filling rooms and into waiting before a connection is dialled again: fewer runs.
repeat=$few
step switch switch --rounds 20
step resume resume --rounds 4
step history history
step search search -t unix,shm,mmap
step join join -t unix,shm,mmap --rounds 100

/usr/bin/python3 "$(dirname "$0")/bench-summary.py" "$out" >"$out/summary.txt.new"
mv "$out/summary.txt.new" "$out/summary.txt"
cat "$out/summary.txt"
echo "done in $((SECONDS - start)) s: $out, in short $out/summary.txt" >&2
