#!/bin/sh
# Puts what was built where it belongs, or removes it again; `make install` and `make uninstall` call it.
#
#   install.sh install|uninstall BIN MAN
#
# BIN has the programs, MAN what `make man` made (may be missing: then there are no man pages). From the environment:
# DESTDIR, PREFIX; ZSH_DIR, UNIT_DIR (below which are system/ and user/) and EXAMPLES where a distribution has others.
set -eu
action=$1 bin=$2 man=$3
here=$(dirname "$0")
: "${DESTDIR:=}" "${PREFIX:=/usr/local}"
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
    for page in parley.1 parleyd.8 parley-web.8 parley.conf.5 parleyd.conf.5; do
        echo "$man/$page $share/man/man${page##*.}/$page 644"
    done
    for conf in parley.conf parleyd.conf; do
        echo "$man/$conf $EXAMPLES/$conf 644"
    done
}

files | while read -r source target mode; do
    if [ "$action" = uninstall ]; then
        rm -f "$DESTDIR$target"
    elif [ -e "$source" ]; then
        install -D -m "$mode" "$source" "$DESTDIR$target"
        case $source in
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
