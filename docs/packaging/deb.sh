#!/bin/sh
# Makes Debian packages of what was built, without a source package: deb.sh BIN MAN OUT VERSION
# OUT/{parley,libparley0,libparley-dev}_VERSION_ARCH.deb are the result; OUT/root (all that is installed), OUT/pkg and
# OUT/debian are made anew on the way. The programs do not need the library packages.
set -eu
bin=$1 man=$2 out=$3 version=$4
here=$(dirname "$0")
root=$out/root
arch=$(dpkg --print-architecture)
lib=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)
# The same input gives the same package.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
: "${DEBFULLNAME:=parley developers}" "${DEBEMAIL:=parley@users.noreply.github.com}"
export SOURCE_DATE_EPOCH

rm -rf "$root" "$out/pkg" "$out/debian"
mkdir -p "$root" "$out/pkg" "$out/debian"
DESTDIR=$root PREFIX=/usr LIBDIR=/$lib ZSH_DIR=/usr/share/zsh/vendor-completions UNIT_DIR=/lib/systemd \
    "$here/install.sh" install "$bin" "$man"
# In this release of Debian the user's units are in /usr/lib, the system's in /lib.
mkdir -p "$root/usr/lib/systemd"
mv "$root/lib/systemd/user" "$root/usr/lib/systemd/user"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root"/usr/bin/* "$root/$lib"/libparley.so.*
strip --strip-debug --enable-deterministic-archives "$root/$lib/libparley.a"
gzip -9n "$root"/usr/share/man/*/*

# dpkg-shlibdeps wants to stand in a source package.
printf 'Source: parley\n\nPackage: parley\nArchitecture: any\n' >"$out/debian/control"

needs() { # PATTERN: the packages of the libraries that these files were linked with
    # shellcheck disable=SC2086 # a pattern
    found=$(cd "$out" && dpkg-shlibdeps -O $1 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
    [ -n "$found" ] || { echo "deb.sh: dpkg-shlibdeps found nothing for $1" >&2; exit 1; }
    echo "$found"
}

take() { # PACKAGE PATH...: move these from the root into the package
    to=$out/pkg/$1
    shift
    for path in "$@"; do
        mkdir -p "$to/$(dirname "$path")"
        mv "$root/$path" "$to/$path"
    done
}

# What every package has: control (its beginning on standard input), copyright, changelog, sums. Then it is built.
package() { # PACKAGE
    to=$out/pkg/$1
    doc=$to/usr/share/doc/$1
    mkdir -p "$to/DEBIAN" "$doc"
    cp "$here/copyright" "$doc/copyright"
    cat >"$doc/changelog" <<END
parley ($version) unstable; urgency=medium

  * Version $version; the changes are in the history of the sources.

 -- $DEBFULLNAME <$DEBEMAIL>  $(LC_ALL=C date -uR -d "@$SOURCE_DATE_EPOCH")
END
    gzip -9n "$doc/changelog"
    chmod 644 "$doc"/copyright "$doc"/changelog.gz
    {
        printf 'Package: %s\nSource: parley\nVersion: %s\nArchitecture: %s\n' "$1" "$version" "$arch"
        printf 'Maintainer: %s <%s>\n' "$DEBFULLNAME" "$DEBEMAIL"
        printf 'Installed-Size: %s\nPriority: optional\n' "$(du -sk --exclude=DEBIAN "$to" | cut -f1)"
        cat
    } | if [ "$1" = parley ]; then grep -v '^Source: '; else cat; fi >"$to/DEBIAN/control"
    (cd "$to" && find . -path ./DEBIAN -prune -o -type f -print | LC_ALL=C sort | sed 's|^\./||' |
        xargs md5sum) >"$to/DEBIAN/md5sums"
    find "$to/DEBIAN" -type f -exec chmod 644 {} +
    find "$to" -type d -exec chmod 755 {} +
    dpkg-deb --root-owner-group --build "$to" "$out" >/dev/null
    echo "$out/$1_${version}_$arch.deb"
}

shared=$(cd "$root" && find "$lib" -name 'libparley.so.*' | LC_ALL=C sort)
programs=$(needs "root/usr/bin/*")
libraries=$(needs "root/$(echo "$shared" | tail -1)")

# shellcheck disable=SC2086 # several words
take libparley0 $shared
mkdir -p "$out/pkg/libparley0/DEBIAN"
echo "libparley 0 libparley0 (>= $version)" >"$out/pkg/libparley0/DEBIAN/shlibs"
echo "activate-noawait ldconfig" >"$out/pkg/libparley0/DEBIAN/triggers"
package libparley0 <<END
Depends: $libraries
Section: libs
Multi-Arch: same
Description: chat by the IPC mechanism of one's choice (library)
 A session with a server of chat rooms, for programs: it survives lost
 connections and servers that are started anew, and says and receives
 everything exactly once.
END

mkdir -p "$out/pkg/libparley-dev/usr/share/doc/libparley-dev/examples"
mv "$root"/usr/share/doc/parley/examples/*.c "$out/pkg/libparley-dev/usr/share/doc/libparley-dev/examples"
take libparley-dev usr/include "$lib/libparley.a" "$lib/libparley.so" "$lib/pkgconfig" usr/share/man/man3
package libparley-dev <<END
Depends: libparley0 (= $version), libisal-dev, libutf8proc-dev, libssl-dev
Section: libdevel
Multi-Arch: same
Description: chat by the IPC mechanism of one's choice (development)
 Header, static library, manual page and examples for programs that take part
 in the rooms of a parley server.
END

rmdir "$root/$lib"
mv "$root" "$out/pkg/parley"
package parley <<END
Depends: $programs, libwebsockets-evlib-uv
Section: net
Description: chat by the IPC mechanism of one's choice
 A server of chat rooms, and a client for terminals and scripts. Each client
 picks the mechanism that carries its messages: a FIFO, a POSIX or System V
 message queue, a ring in shared memory, a mapped file, a Unix socket, or TCP.
 .
 People on different mechanisms talk in the same rooms, see what each one
 costs, and change from one to another in mid-conversation.
END
