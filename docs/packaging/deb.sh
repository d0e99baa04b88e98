#!/bin/sh
# Makes a Debian package of what was built, without a source package: deb.sh BIN MAN OUT VERSION
# OUT/parley_VERSION_ARCH.deb is the result; OUT/root and OUT/debian are made anew on the way.
set -eu
bin=$1 man=$2 out=$3 version=$4
here=$(dirname "$0")
root=$out/root
# The same input gives the same package.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
: "${DEBFULLNAME:=parley developers}" "${DEBEMAIL:=parley@users.noreply.github.com}"
export SOURCE_DATE_EPOCH

rm -rf "$root" "$out/debian"
mkdir -p "$root/DEBIAN" "$out/debian"
DESTDIR=$root PREFIX=/usr ZSH_DIR=/usr/share/zsh/vendor-completions UNIT_DIR=/lib/systemd \
    "$here/install.sh" install "$bin" "$man"
# In this release of Debian the user's units are in /usr/lib, the system's in /lib.
mkdir -p "$root/usr/lib/systemd"
mv "$root/lib/systemd/user" "$root/usr/lib/systemd/user"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root"/usr/bin/*
gzip -9n "$root"/usr/share/man/*/*

doc=$root/usr/share/doc/parley
cp "$here/copyright" "$doc/copyright"
cat >"$doc/changelog" <<END
parley ($version) unstable; urgency=medium

  * Version $version; the changes are in the history of the sources.

 -- $DEBFULLNAME <$DEBEMAIL>  $(LC_ALL=C date -uR -d "@$SOURCE_DATE_EPOCH")
END
gzip -9n "$doc/changelog"
chmod 644 "$doc"/copyright "$doc"/changelog.gz

# dpkg-shlibdeps wants to stand in a source package.
printf 'Source: parley\n\nPackage: parley\nArchitecture: any\n' >"$out/debian/control"
depends=$(cd "$out" && dpkg-shlibdeps -O root/usr/bin/* 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { echo "deb.sh: dpkg-shlibdeps found nothing" >&2; exit 1; }

cat >"$root/DEBIAN/control" <<END
Package: parley
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: $DEBFULLNAME <$DEBEMAIL>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends, libwebsockets-evlib-uv
Section: net
Priority: optional
Description: chat by the IPC mechanism of one's choice
 A server of chat rooms, and a client for terminals and scripts. Each client
 picks the mechanism that carries its messages: a FIFO, a POSIX or System V
 message queue, a ring in shared memory, a mapped file, a Unix socket, or TCP.
 .
 People on different mechanisms talk in the same rooms, see what each one
 costs, and change from one to another in mid-conversation.
END
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -print | LC_ALL=C sort | sed 's|^\./||' |
    xargs md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root/DEBIAN/md5sums"
find "$root" -type d -exec chmod 755 {} +
dpkg-deb --root-owner-group --build "$root" "$out" >/dev/null
echo "$out/parley_${version}_$(dpkg --print-architecture).deb"
