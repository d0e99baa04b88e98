#!/bin/bash
# `make bench`: what every mechanism costs on this machine, as `parley bench` measures it. Results go to
# OUT (default build/bench): a table and JSON lines of each benchmark.
#
#   BIN=build/release bench.sh
set -euo pipefail

bin=$(cd "${BIN:-build/release}" && pwd)
out=${OUT:-build/bench}
mkdir -p "$out"

unset PARLEY_SOCKET
export XDG_CONFIG_HOME=$out/config

run() { # NAME BENCHMARK OPTIONS...
    local name=$1
    shift
    "$bin/parley" bench --json "$@" >"$out/$name.json.new"
    mv "$out/$name.json.new" "$out/$name.json"
    "$bin/parley" bench show "$out/$name.json" | tee "$out/$name.txt"
}

for place in hub workers; do
    run "latency-$place" latency --place "$place" -S 1
    run "fanout-$place" fanout --place "$place" -S 10
done
