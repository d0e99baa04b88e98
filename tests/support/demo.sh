#!/bin/sh
# `make demo`: a private server with workers, one guest by each transport, all of them in #lobby.
#
# On a terminal you join them and each guest answers you; anywhere else a few lines are said, what
# everybody heard is printed, and that is it. Everything lives in one temporary directory and is gone
# at the end, however the end comes.
#
#   BIN=build/release demo.sh
set -eu

bin=$(cd "${BIN:-build/release}" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/parley-demo-XXXXXX")
room='#lobby'
all_transports='fifo posixmq sysvmq shm mmap unix tcp'
server=''
guests=''

# Guests first, so that they say goodbye to a living server. Only processes started here are ended.
cleanup() {
    trap '' INT TERM HUP
    for pid in $guests $server; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Nothing of the user's own server or settings.
unset PARLEY_SOCKET XDG_RUNTIME_DIR
XDG_CONFIG_HOME=$dir/config
XDG_STATE_HOME=$dir/home
export XDG_CONFIG_HOME XDG_STATE_HOME

parley() {
    "$bin/parley" "$@"
}

die() {
    echo "demo: $1" >&2
    cat "$dir/log" "$dir"/guest-* >&2 2>/dev/null || true
    exit 1
}

# Poll until a command succeeds; the last word is what did not happen.
until_ok() { # WHAT COMMAND...
    what=$1
    shift
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || die "$what"
        kill -0 "$server" 2>/dev/null || die "the server ended"
        sleep 0.05
    done
}

# Port 0 lets the kernel choose one; the ready line says which.
start_server() {
    : >"$dir/log"
    "$bin/parleyd" --socket "$dir/s" --runtime-dir "$dir/run" --state-dir "$dir/state" \
        --listen 127.0.0.1:0 --workers 2 --place workers 2>"$dir/log" &
    server=$!
    until_ok 'the server did not become ready' grep -q '^parleyd: ready' "$dir/log"
    tcp=$(sed -n 's/^parleyd: ready .*tcp:\([^ ]*\).*/\1/p' "$dir/log")
    [ -n "$tcp" ] || die 'the server does not say its TCP port'
}

address_of() { # TRANSPORT
    if [ "$1" = tcp ]; then
        echo "tcp:$tcp"
    else
        echo "unix:$dir/s"
    fi
}

# A guest that cannot come (a limit is reached, or this kernel lacks its mechanism) says why and ends.
start_guest() { # TRANSPORT ADDRESS
    parley guest -t "$1" -s "$2" -n "guest-$1" --ignore 'guest-*' "$room" >/dev/null 2>"$dir/guest-$1" &
    guests="$guests $!"
    echo $! >"$dir/pid-$1"
}

is_here() { # TRANSPORT
    kill -0 "$(cat "$dir/pid-$1")" 2>/dev/null
}

# Is every guest in the room that is still trying to be?
all_present() {
    here=$(parley who -s "unix:$dir/s" --json "$room" 2>/dev/null | grep -c '"nick":"guest-') || true
    trying=0
    for t in $all_transports; do
        ! is_here "$t" || trying=$((trying + 1))
    done
    [ "$here" -ge "$trying" ]
}

heard() { # COUNT of messages in the room
    [ "$(parley history -s "unix:$dir/s" --json --after 0 "$room" 2>/dev/null |
        grep -c '"type":"message"')" -ge "$1" ]
}

# What a pattern matches in the output of a command, as a line of the list; nothing for none.
count() { # WHAT PATTERN
    n=$(grep -c "$2") || true
    [ "$n" = 0 ] || printf '  %4d  %s\n' "$n" "$1"
}

show_objects() {
    workers=$(cat "/proc/$server/task/$server/children" 2>/dev/null || true)
    echo "What the kernel holds for it in the server (hub $server, workers ${workers% }):"
    held=$(for pid in $server $workers; do
        ls -l "/proc/$pid/fd" 2>/dev/null
    done)
    mapped=$(for pid in $server $workers; do
        grep -E 'memfd:|/state/' "/proc/$pid/maps" 2>/dev/null
    done)
    echo "$held" | count 'ends of anonymous pipes' ' -> pipe:'
    echo "$held" | count 'sockets: lifelines, bells, streams' ' -> socket:'
    echo "$held" | count 'FIFOs, their names removed already' ' -> .*/run/.*(deleted)'
    echo "$held" | count 'POSIX queues, likewise' ' -> /[^/ ]*\( (deleted)\)\{0,1\}$'
    awk 'NR > 1' /proc/sysvipc/msg 2>/dev/null | count 'System V queues (all on this machine)' .
    echo "$mapped" | count 'sealed memory files, mapped' memfd:
    echo "$mapped" | count 'room logs, mapped read-only' /rooms/
}

start_server
for t in $all_transports; do
    start_guest "$t" "$(address_of "$t")"
done
until_ok 'not every guest came' all_present
here=0
for t in $all_transports; do
    if is_here "$t"; then
        here=$((here + 1))
    else
        echo "No guest by $t: $(cat "$dir/guest-$t")"
    fi
done

if [ -t 0 ] && [ -t 1 ]; then
    echo "$here guests are in $room, one by each transport. Say something, and each answers how long it took."
    echo "/transport shm moves you to shared memory, /who shows everybody, /help the rest; /quit ends the demo."
    parley -s "unix:$dir/s" "$room" || true
    exit 0
fi

parley who -s "unix:$dir/s" "$room"
echo
said=0
for t in $all_transports; do
    is_here "$t" || continue
    parley send -q -s "$(address_of "$t")" -t "$t" -n "you-by-$t" "$room" "hello, this came by $t" ||
        continue # it has said why
    said=$((said + 1 + here)) # the line and the answers
    until_ok "not every guest answered $t" heard $said
done
parley history -s "unix:$dir/s" --after 0 "$room"
echo
show_objects
