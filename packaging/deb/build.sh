#!/usr/bin/env bash
# Builds the Debian packages out of built binaries: staging tree, control files, dpkg-deb. Nothing is compiled here.
#
#   packaging/deb/build.sh [--bin DIR] [--out DIR] [PACKAGE...]
#
# --bin  built binaries (default target/release)
# --out  where the packages go (default target/packages/deb)
#
# The same binaries and the same commit give the same bytes. Needs dpkg-dev and binutils; needs no root.
# Exit status: 0 built; 1 failed (the last line says what to do); 2 wrong usage.

set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=${here%/packaging/deb}
. "$here/lib.sh"

read_options deb "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the programs are linked with, as dependencies with versions.
libraries() {
    local tree=$1
    mkdir -p "$work/debian"
    printf 'Source: beffroi\n\nPackage: beffroi\nArchitecture: any\n' >"$work/debian/control"
    mapfile -t programs < <(find "$tree/usr/bin" "$tree/usr/lib/beffroi" -type f -perm -100 2>/dev/null | sort)
    [ ${#programs[@]} -gt 0 ] || return 0
    (cd "$work" && dpkg-shlibdeps -O "${programs[@]}" 2>/dev/null) | sed 's/^shlibs:Depends=//'
}

relations() {
    local package=$1 needs
    needs=$(libraries "$2")
    case $package in
    beffroi-agent | beffroi-collector) needs="${needs:+$needs, }systemd, passwd" ;;
    beffroi-clickhouse-engine) needs="libc6 (>= 2.17)" ;;
    esac
    echo "Depends: $needs"
    case $package in
    beffroi-collector) echo "Recommends: beffroi-clickhouse-engine, beffroi" ;;
    beffroi-clickhouse-engine) echo "Enhances: beffroi-collector" ;;
    esac
}

control() {
    local package=$1 tree=$2
    cat <<TEXT
Package: $package
Source: beffroi
Version: $(dpkg-parsechangelog -l "$here/changelog" -S Version)
Architecture: amd64
Maintainer: $(dpkg-parsechangelog -l "$here/changelog" -S Maintainer)
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$tree" | cut -f1)
$(relations "$package" "$tree")
Section: admin
Priority: optional
Description: $(summary "$package")
$(description "$package" | sed 's/^/ /')
TEXT
}

documents() {
    local package=$1 docs=$2/usr/share/doc/$1
    install -D -m 644 "$here/copyright" "$docs/copyright"
    gzip -9nc "$here/changelog" >"$docs/changelog.Debian.gz"
    gzip -9nc "$root/CHANGELOG.md" >"$docs/changelog.gz"
    if [ "$package" != beffroi-clickhouse-engine ]; then
        gzip -9nc "$work/third-party.txt" >"$docs/third-party.txt.gz"
    fi
    if [ -e "$here/$package.lintian-overrides" ]; then
        install -D -m 644 "$here/$package.lintian-overrides" "$2/usr/share/lintian/overrides/$package"
    fi
}

maintainer_files() {
    local package=$1 tree=$2 script
    for script in preinst postinst prerm postrm; do
        [ ! -e "$here/$package.$script" ] || install -m 755 "$here/$package.$script" "$tree/DEBIAN/$script"
    done
    if [ -d "$tree/etc" ]; then
        (cd "$tree" && find etc -type f -printf '/%p\n' | sort) >"$tree/DEBIAN/conffiles"
    fi
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0r md5sum) >"$tree/DEBIAN/md5sums"
    chmod 644 "$tree"/DEBIAN/*s
}

build() {
    local package=$1 tree=$work/$1
    "$here/stage.sh" "$package" "$bin" "$tree" /lib/systemd/system
    documents "$package" "$tree"
    mkdir "$tree/DEBIAN"
    control "$package" "$tree" >"$tree/DEBIAN/control"
    maintainer_files "$package" "$tree"
    # Half a gigabyte of engine: the fastest method. One thread, so that the bytes do not depend on the machine.
    local method=(-Zxz -z3)
    [ "$package" != beffroi-clickhouse-engine ] || method=(-Zgzip -z1)
    dpkg-deb --root-owner-group --threads-max=1 "${method[@]}" --build "$tree" "$out" >/dev/null
    rm -rf "$tree"
    echo "$out/${package}_$(dpkg-parsechangelog -l "$here/changelog" -S Version)_amd64.deb"
}

mkdir -p "$out"
"$root/packaging/bundle/third-party.sh" >"$work/third-party.txt"
for package in "${packages[@]}"; do build "$package"; done
