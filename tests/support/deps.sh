#!/bin/sh
# Installs what is missing, and only that.
#
#   deps.sh GROUP...           install what the groups need (Debian, Ubuntu: apt-get)
#   deps.sh --check GROUP...   only say what is missing; exit 1 if anything is
#
# Groups: build (libraries and headers), test (what runs the tests), bench (what draws its charts and
# sums it up), docs (man pages and the Debian package), lint (checkers of the source).
# Each need is probed for itself, a header by compiling, a program by looking for it, a Python module
# by importing it: so a library from elsewhere counts, and no package manager is asked when nothing
# is missing. Uses only sh, the compiler and apt, since it is the first thing to run on a new machine.
set -eu

needs() { # PACKAGE KIND WHAT
    case $1 in
    build) cat <<'END' ;;
libc6-dev           header  stdlib.h
pkg-config          command pkg-config
libuv1-dev          header  uv.h
libreadline-dev     header  readline/readline.h
libutf8proc-dev     header  utf8proc.h
uthash-dev          header  uthash.h
libjansson-dev      header  jansson.h
libinih-dev         header  ini.h
libisal-dev         header  isa-l/crc.h
libsodium-dev       header  sodium.h
libseccomp-dev      header  seccomp.h
libssl-dev          header  openssl/ssl.h
libwebsockets-dev   header  libwebsockets.h
libwebsockets-evlib-uv plugin evlib_uv
END
    test) cat <<'END' ;;
libcmocka-dev       header  cmocka.h
python3             command /usr/bin/python3
python3-pytest      python  pytest
python3-pytest-xdist python xdist
python3-pexpect     python  pexpect
python3-pyte        python  pyte
tmux                command tmux
strace              command strace
openssl             command openssl
procps              command ps
iproute2            command ip
clang               command clang
libclang-rt-dev     fuzzer  clang
spin                command spin
chromium            command chromium
chromium-driver     command chromedriver
python3-selenium    python  selenium
scdoc               command scdoc
mandoc              command mandoc
dpkg-dev            command dpkg-shlibdeps
lintian             command lintian
fish                command fish
zsh                 command zsh
END
    docs) cat <<'END' ;;
scdoc               command scdoc
dpkg-dev            command dpkg-shlibdeps
END
    bench) cat <<'END' ;;
gnuplot-nox         command gnuplot
python3             command /usr/bin/python3
END
    lint) cat <<'END' ;;
clang-format        command clang-format
clang-tidy          command clang-tidy
cppcheck            command cppcheck
shellcheck          command shellcheck
END
    *)
        echo "deps.sh: no such group: $1 (there are: build test bench docs lint)" >&2
        exit 2
        ;;
    esac
}

present() { # KIND WHAT
    case $1 in
    command) command -v "$2" >/dev/null 2>&1 ;;
    fuzzer) # the run-time library of libFuzzer, which is a package of its own
        echo 'int LLVMFuzzerTestOneInput(const char *p, long n) { return !p || n < 0; }' |
            "$2" -fsanitize=fuzzer,address,undefined -x c -o /dev/null - >/dev/null 2>&1
        ;;
    plugin) # of libwebsockets, loaded by it when a program runs: from the directory it was built for
        find /usr/lib /usr/local/lib -name "libwebsockets-$2.so" 2>/dev/null | grep -q .
        ;;
    python) /usr/bin/python3 -c "import $2" >/dev/null 2>&1 ;;
    header)
        # Headers that include none of these themselves expect them from their user.
        printf '#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n%s\n' \
            "#include <setjmp.h>
#include <$2>" | ${CC:-cc} -E -o /dev/null - >/dev/null 2>&1
        ;;
    esac
}

missing() {
    for group; do
        needs "$group" | while read -r package kind what; do
            present "$kind" "$what" || printf '%s ' "$package"
        done
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "deps.sh: need root to install, and there is no sudo. As root: apt-get install $packages" >&2
        exit 1
    fi
}

# Recommended packages stay out: they would bring documentation and an X server's worth of extras.
apt_install() {
    # shellcheck disable=SC2086 # a list of package names, meant to be split
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 $packages >"$log" 2>&1
}

only_check=0
if [ "${1:-}" = --check ]; then
    only_check=1
    shift
fi
packages=$(missing "$@")
packages=${packages% }
[ -n "$packages" ] || exit 0

if [ $only_check = 1 ]; then
    for p in $packages; do
        echo "missing $p: run make deps" >&2
    done
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps.sh: missing (names as in Debian): $packages" >&2
    echo "Install them with this system's package manager, then run the command again." >&2
    exit 1
fi

echo "installing: $packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Fresh machines and images come without package lists; old lists name versions that are gone.
if ! apt_install; then
    if ! as_root apt-get update -qq >"$log" 2>&1 || ! apt_install; then
        cat "$log" >&2
        echo "deps.sh: could not install: $packages" >&2
        exit 1
    fi
fi
left=$(missing "$@")
if [ -n "$left" ]; then
    echo "deps.sh: installed, but still not found: $left" >&2
    exit 1
fi
