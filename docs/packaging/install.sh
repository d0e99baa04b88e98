#!/bin/sh
# Puts what was built where it belongs, or removes it again; `make install` and `make uninstall` call it.
#
#   install.sh install|uninstall BIN MAN
#
# BIN has the programs, MAN what `make man` made (may be missing: then there are no man pages). From the environment:
# DESTDIR, PREFIX, LIBDIR; LIB_REQUIRES (what the static library needs, for pkg-config); ZSH_DIR, UNIT_DIR (below which are system/ and user/) and EXAMPLES where a distribution has others.
set -eu
action=$1 bin=$2 man=$3
here=$(dirname "$0")
: "${DESTDIR:=}" "${PREFIX:=/usr/local}"
: "${LIBDIR:=$PREFIX/lib}" "${LIB_REQUIRES:=}"
share=$PREFIX/share
: "${ZSH_DIR:=$share/zsh/site-functions}" "${UNIT_DIR:=$PREFIX/lib/systemd}" "${EXAMPLES:=$share/doc/parley/examples}"

# SOURCE TARGET MODE, one on each line: the only list there is.
files() {
    for p in parley parleyd parley-web; do
        echo "$bin/$p $PREFIX/bin/$p 755"
        echo "$here/completions/parley.bash $share/bash-completion/completions/$p 644"
        echo "$here/completions/parley.fish $share/fish/vendor_completions.d/$p.fish 644"
    done
    echo "$here/completions/parley.zsh $ZSH_DIR/_parley 644"
    for kind in system user; do
        for unit in socket service; do
            echo "$here/systemd/parleyd.$kind.$unit $UNIT_DIR/$kind/parleyd.$unit 644"
        done
    done
    for lib in "$bin"/libparley.so.*; do
        echo "$lib $LIBDIR/${lib##*/} 644"
    done
    echo "$bin/libparley.a $LIBDIR/libparley.a 644"
    echo "$here/parley.pc.in $LIBDIR/pkgconfig/parley.pc 644"
    echo "$here/../../client/lib/include/parley.h $PREFIX/include/parley.h 644"
    for example in "$here"/../../client/lib/examples/*.c; do
        echo "$example $EXAMPLES/${example##*/} 644"
    done
    for page in parley.1 parley.3 parleyd.8 parley-web.8 parley.conf.5 parleyd.conf.5; do
        echo "$man/$page $share/man/man${page##*.}/$page 644"
    done
    for conf in parley.conf parleyd.conf; do
        echo "$man/$conf $EXAMPLES/$conf 644"
    done
}

files | while read -r source target mode; do
    if [ "$action" = uninstall ]; then
        rm -f "$DESTDIR$target"
        case $target in
        *.so.*) rm -f "$DESTDIR${target%.so.*}".so* ;;
        esac
    elif [ -e "$source" ]; then
        install -D -m "$mode" "$source" "$DESTDIR$target"
        case $target in
        *.so.*) # what the linker looks for, and what programs were linked with
            ln -sf "${target##*/}" "$DESTDIR${target%.so.*}.so"
            soname=$(objdump -p "$source" | sed -n 's/^ *SONAME *//p')
            [ "$soname" = "${target##*/}" ] || ln -sf "${target##*/}" "$DESTDIR${target%/*}/$soname"
            ;;
        *.pc)
            version=$(basename "$bin"/libparley.so.*)
            sed -i "s|@PREFIX@|$PREFIX|; s|@LIBDIR@|$LIBDIR|; s|@REQUIRES@|$LIB_REQUIRES|; s|@VERSION@|${version#libparley.so.}|" "$DESTDIR$target"
            ;;
        *.service) sed -i "s|@BINDIR@|$PREFIX/bin|" "$DESTDIR$target" ;;
        esac
    else
        echo "not installed: $target (there is no $source; make man needs scdoc)" >&2
    fi
done
if [ "$action" = uninstall ]; then
    for dir in "$EXAMPLES" "$share/doc/parley"; do
        [ ! -d "$DESTDIR$dir" ] || rmdir --ignore-fail-on-non-empty "$DESTDIR$dir"
    done
fi
# Programs find a library in a new place only after this; elsewhere than on a running system it is for the packager.
if [ -z "$DESTDIR" ] && [ "$(id -u)" = 0 ] && command -v ldconfig >/dev/null; then
    ldconfig
fi
