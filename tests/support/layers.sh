#!/bin/sh
# Fails on an #include that goes against the arrows between folders:
#
#   common/base <- common/proto <- common/roomlog, common/transport <- server, client
#   common/base <- common/stats <- server, client
#   common/base <- common/tls <- server, client/lib, client
#   common/base, common/proto, common/transport <- client/lib <- client
#
# A folder may include itself and what stands left of it. roomlog, transport and stats do not know
# each other, nor do server and client; nothing in common/ knows a program, and client/lib, which is
# the library that programs of others link, knows no other part of the client. client/bot is a
# program of that kind: of the library it includes <parley.h> and nothing else. Our own headers are
# named from the root ("proto/record.h", "server/hub.h"), so the first part of the name is the
# layer; "client/lib/…" is one of its own.
#
#   layers.sh [ROOT]       check the tree at ROOT (default: .)
#   layers.sh --self-test  check that this script finds each kind of bad include
set -eu

check() { # ROOT
    cd "$1"
    # shellcheck disable=SC2016 # the dollars are awk's
    find common server client -name '*.[ch]' 2>/dev/null | LC_ALL=C sort | xargs -r awk '
        function layer_of(path, part) {
            split(path, part, "/")
            if (part[1] == "common")
                return part[2]
            return part[1] == "client" && part[2] ~ /^(lib|bot)$/ ? "client/" part[2] : part[1]
        }
        BEGIN {
            may["base"]      = " base "
            may["proto"]     = " base proto "
            may["stats"]     = " base stats "
            may["roomlog"]   = " base proto roomlog "
            may["transport"] = " base proto transport "
            may["tls"]       = " base tls "
            may["server"]    = " base proto stats roomlog transport tls server "
            may["client/lib"] = " base proto transport tls client/lib "
            may["client/bot"] = " base proto client client/bot "
            may["client"]    = " base proto stats roomlog transport tls client/lib client "
        }
        FNR == 1 {
            layer = layer_of(FILENAME)
            if (!(layer in may)) {
                printf "%s: folder %s has no place in the layers\n", FILENAME, layer
                bad = 1
            }
        }
        /^[ \t]*#[ \t]*include[ \t]*"/ {
            name = $0
            sub(/^[^"]*"/, "", name)
            sub(/".*/, "", name)
            target = layer_of(name)
            if (name !~ /\// || name ~ /(^|\/)\.\.?\//)
                why = "is not named from the root"
            else if (!(target in may))
                why = "is in no layer"
            else if (index(may[layer], " " target " ") == 0)
                why = "goes against the arrows: " layer " must not know " target
            else
                next
            printf "%s:%d: \"%s\" %s\n", FILENAME, FNR, name, why
            bad = 1
        }
        END { exit bad }'
}

# One file with one include in an empty tree; the check must answer as expected.
expect() { # good|bad FILE INCLUDE
    rm -rf "${tree:?}/common" "$tree/server" "$tree/client"
    mkdir -p "$tree/$(dirname "$2")"
    printf '#include <stdio.h>\n  #  include "%s"\n' "$3" >"$tree/$2"
    answer=good
    (check "$tree") >/dev/null || answer=bad
    if [ $answer != "$1" ]; then
        echo "layers.sh: self-test: $2 including \"$3\" was found $answer, not $1" >&2
        exit 1
    fi
}

if [ "${1:-}" = --self-test ]; then
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    expect good common/base/a.c base/b.h
    expect good common/proto/a.h base/b.h
    expect good common/stats/a.c base/b.h
    expect good common/roomlog/a.c proto/b.h
    expect good common/transport/a.c base/b.h
    expect good server/a.c roomlog/b.h
    expect good server/a.c stats/b.h
    expect good client/a.c stats/b.h
    expect good common/tls/a.c base/b.h
    expect good server/a.c tls/b.h
    expect good client/lib/a.c tls/b.h
    expect good client/chat/a.c client/b.h
    expect good client/chat/a.c client/lib/b.h
    expect good client/lib/a.c client/lib/b.h
    expect good client/lib/a.c transport/b.h
    expect bad common/base/a.c proto/b.h
    expect bad common/proto/a.c transport/b.h
    expect bad common/proto/a.c roomlog/b.h
    expect bad common/stats/a.c proto/b.h
    expect bad common/tls/a.c proto/b.h
    expect bad common/transport/a.c tls/b.h
    expect bad common/transport/a.c stats/b.h
    expect bad common/roomlog/a.c transport/b.h
    expect bad common/transport/a.c roomlog/b.h
    expect bad common/transport/a.h server/b.h
    expect bad common/base/a.h client/b.h
    expect bad server/a.c client/b.h
    expect bad client/chat/a.c server/b.h
    expect bad client/lib/a.c client/b.h
    expect good client/bot/a.c client/b.h
    expect bad client/bot/a.c client/lib/b.h
    expect bad client/bot/a.c transport/b.h
    expect bad client/lib/a.c stats/b.h
    expect bad server/a.c client/lib/b.h
    expect bad client/a.c ../server/b.h
    expect bad server/a.c b.h
    expect bad server/a.c tests/support/b.h
    expect bad common/other/a.c base/b.h
    exit 0
fi
check "${1:-.}"
