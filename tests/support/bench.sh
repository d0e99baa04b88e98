#!/bin/bash
# `make bench`: what each transport costs on this machine, measured by `parley bench` against a private
# server. Absolute times move with the machine and with what else it does: compare within one run.
#
#   BIN=build/release bench.sh [WORKERS]
#
# ROUNDS posts measured for a delay (default 2000), POSTS for a rate (default 100000).
set -euo pipefail

bin=$(cd "${BIN:-build/release}" && pwd)
workers=${1:-2}
rounds=${ROUNDS:-2000}
posts=${POSTS:-100000}
dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-bench-XXXXXX")
server=''

stop_server() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=''
    fi
}
cleanup() {
    stop_server
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

unset PARLEY_SOCKET XDG_RUNTIME_DIR XDG_STATE_HOME
export XDG_CONFIG_HOME=$dir/config

# The default --sync interval: history is on, as people use it.
# --rate 0: the limit for strangers, who come by TCP, is not what is measured.
start_server() { # PLACE
    : >"$dir/log"
    "$bin/parleyd" --socket "$dir/s" --runtime-dir "$dir/run" --state-dir "$dir/state" \
        --listen 127.0.0.1:0 --rate 0 --place "$1" --workers "$workers" 2>"$dir/log" &
    server=$!
    for _ in {1..600}; do
        grep -q '^parleyd: ready' "$dir/log" && break
        sleep 0.05
    done
    tcp=$(sed -n 's/^parleyd: ready .*tcp:\([^ ]*\).*/\1/p' "$dir/log")
    [ -n "$tcp" ] || {
        cat "$dir/log" >&2
        exit 1
    }
}

bench() { # TRANSPORT ARGUMENTS...
    local address=unix:$dir/s transport=$1
    shift
    [ "$transport" != tcp ] || address=tcp:$tcp
    "$bin/parley" bench -q -s "$address" -t "$transport" --json "$@"
}

# One number out of a JSON line; jansson writes compact "key":value pairs.
field() { # NAME
    sed -n "s/.*\"$1\":\([0-9.eE+-]*\).*/\1/p"
}

us() {
    awk '{ printf "%.1f", $1 / 1000 }'
}

table() {
    echo
    echo "Fan-out in $1 ($([ "$1" = hub ] && echo "one process" || echo "$workers workers"))," \
        "64-byte posts; delays in µs, to the last subscriber"
    printf '%-9s %9s %9s %9s %9s %12s %14s\n' transport 'p50 S=1' 'p99 S=1' 'p50 S=10' 'p99 S=10' \
        'posts/s S=1' 'deliv./s S=10'
    local t one ten rate many
    for t in fifo posixmq sysvmq shm mmap unix tcp; do
        one=$(bench "$t" --rounds "$rounds" --subscribers 1 --size 64 latency)
        ten=$(bench "$t" --rounds "$rounds" --subscribers 10 --size 64 latency)
        rate=$(bench "$t" -C "$posts" --subscribers 1 --size 64 fanout)
        many=$(bench "$t" -C "$posts" --subscribers 10 --size 64 fanout)
        printf '%-9s %9s %9s %9s %9s %12.0f %14.0f\n' "$t" \
            "$(field p50_ns <<<"$one" | us)" "$(field p99_ns <<<"$one" | us)" \
            "$(field p50_ns <<<"$ten" | us)" "$(field p99_ns <<<"$ten" | us)" \
            "$(field posts_per_s <<<"$rate")" "$(field deliveries_per_s <<<"$many")"
    done
}

echo "$(uname -srm), $(nproc) CPUs, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
for place in workers hub; do
    start_server "$place"
    table "$place"
    stop_server
    rm -rf "$dir/state"
done
