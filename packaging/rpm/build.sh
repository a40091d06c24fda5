#!/usr/bin/env bash
# Builds the RPM packages out of built binaries, from the same staging tree as the Debian ones. Nothing is compiled here.
#
#   packaging/rpm/build.sh [--bin DIR] [--out DIR] [PACKAGE...]
#
# --bin  built binaries (default target/release)
# --out  where the packages go (default target/packages/rpm)
#
# Needs rpmbuild (Debian package rpm) and binutils; needs no root. Exit status: 0 built; 1 failed; 2 wrong usage.

set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=${here%/packaging/rpm}
. "$root/packaging/deb/lib.sh"

read_options rpm "$@"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What dnf-based distributions place elsewhere than Debian.
adapt() {
    local tree=$1
    if [ -d "$tree/usr/share/zsh/vendor-completions" ]; then
        mv "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/zsh/site-functions"
    fi
}

documents() {
    install -D -m 644 "$root/LICENSE" "$2/usr/share/licenses/$1/LICENSE"
    if [ "$1" != beffroi-clickhouse-engine ]; then
        install -D -m 644 "$work/third-party.txt" "$2/usr/share/licenses/$1/third-party.txt"
    fi
}

# Folders of the distribution itself.
readonly system_folders='/etc|/usr|/usr/(bin|lib|share)|/usr/lib/(systemd|systemd/system|sysusers\.d|tmpfiles\.d)|/usr/share/(licenses|man|man/man[18]|zsh|zsh/site-functions|bash-completion|bash-completion/completions)'

# Every file by name, and every folder that is not the distribution's.
file_list() {
    local tree=$1 path
    while read -r path; do
        case $path in
        /etc/*) echo "%config(noreplace) $path" ;;
        /usr/share/licenses/*) echo "%license $path" ;;
        *) echo "$path" ;;
        esac
    done < <(cd "$tree" && find . ! -type d -printf '/%P\n' | sort)
    (cd "$tree" && find . -mindepth 1 -type d -printf '/%P\n' | sort) | grep -vxE "$system_folders" | sed 's/^/%dir /'
}

spec() {
    local package=$1 tree=$2
    cat <<TEXT
Name: $package
Version: $(version)
Release: 1
Summary: $(summary "$package")
License: Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)
URL: https://beffroi.invalid
$(cat "$here/$package.relations" 2>/dev/null || true)
%description
$(description "$package")
%install
cp -a "$tree/." "%{buildroot}/"
%files -f $work/$package.files
$(cat "$here/$package.scripts" 2>/dev/null || true)
TEXT
}

build() {
    local package=$1 tree=$work/tree/$1 payload=w3.xzdio
    # Half a gigabyte of engine: the fastest method.
    [ "$package" != beffroi-clickhouse-engine ] || payload=w1.gzdio
    "$root/packaging/deb/stage.sh" "$package" "$bin" "$tree" /usr/lib/systemd/system
    adapt "$tree"
    documents "$package" "$tree"
    file_list "$tree" >"$work/$package.files"
    spec "$package" "$tree" >"$work/$package.spec"
    rpmbuild -bb --quiet --target x86_64 \
        --define "_topdir $work/rpm" --define "_rpmdir $out" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define "_buildhost beffroi" --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
        --define "_binary_payload $payload" --define "debug_package %{nil}" --define "__os_install_post %{nil}" \
        --define "_build_id_links none" --define "__provides_exclude_from ^/usr/lib/beffroi/.*$" \
        --define "__requires_exclude ^libchdb" "$work/$package.spec" >"$work/rpmbuild.log" 2>&1 || { cat "$work/rpmbuild.log" >&2; exit 1; }
    rm -rf "$tree" "$work/rpm"
    echo "$out/$package-$(version)-1.x86_64.rpm"
}

mkdir -p "$out" "$work/tree"
"$root/packaging/bundle/third-party.sh" >"$work/third-party.txt"
for package in "${packages[@]}"; do build "$package"; done
