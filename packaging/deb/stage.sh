#!/usr/bin/env bash
# Lays out the files of the packages, for dpkg-deb, rpmbuild and container images alike.
#
#   packaging/deb/stage.sh PACKAGE BIN OUT UNITS
#
# PACKAGE  beffroi-agent | beffroi-collector | beffroi | beffroi-clickhouse-engine
# BIN      folder of built binaries (target/release); manual pages and completions are written by them
# OUT      folder to fill; must be empty or absent
# UNITS    where unit files go: /lib/systemd/system on Debian 12, /usr/lib/systemd/system elsewhere
#
# Owns names, modes and places; knows no package format. Every file gets the time SOURCE_DATE_EPOCH, so that the same
# binaries give the same tree. Exit status: 0 staged; 1 something is missing (named); 2 wrong usage.

set -euo pipefail
umask 022
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=${here%/packaging/deb}
. "$here/lib.sh"

[ $# -eq 4 ] || { sed -n '4,10p' "$0" >&2; exit 2; }
readonly package=$1 bin=$2 out=$3 units=$4
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(source_date)}"

put() { install -D -m "$1" "$2" "$out$3"; }

# A binary without debug information; the build keeps the full one.
put_binary() {
    [ -x "$bin/$1" ] || fail "$bin/$1 is missing: build it (make release), or name another folder of binaries"
    put 755 "$bin/$1" "$2"
    strip --strip-unneeded --remove-section=.comment --remove-section=.note "$out$2"
}

put_gzipped() {
    mkdir -p "$(dirname "$out$2")"
    gzip -9nc "$1" >"$out$2"
    chmod 644 "$out$2"
}

# Completions that the program writes for itself.
put_completions() {
    mkdir -p "$out/usr/share/bash-completion/completions" "$out/usr/share/zsh/vendor-completions" \
        "$out/usr/share/fish/vendor_completions.d"
    "$bin/$1" completions bash >"$out/usr/share/bash-completion/completions/$1"
    "$bin/$1" completions zsh >"$out/usr/share/zsh/vendor-completions/_$1"
    "$bin/$1" completions fish >"$out/usr/share/fish/vendor_completions.d/$1.fish"
}

put_units() {
    local unit
    for unit in "$@"; do put 644 "$root/packaging/systemd/$unit" "$units/$unit"; done
}

put_users_and_folders() {
    put 644 "$root/packaging/systemd/$1.sysusers" "/usr/lib/sysusers.d/$1.conf"
    put 644 "$root/packaging/systemd/$1.tmpfiles" "/usr/lib/tmpfiles.d/$1.conf"
}

# Rules without their proofs: those belong to the source tree.
put_rules() {
    local rule
    while read -r rule; do
        put 644 "$1/$rule" "$2/$rule"
    done < <(cd "$1" && find . -type f -name "$3" ! -name '*.proof.yml' -printf '%P\n' | sort)
    [ -d "$out$2" ] || fail "no rules ($3) in $1"
}

stage_agent() {
    put_binary beffroi-agent /usr/bin/beffroi-agent
    put_units beffroi-agent.service beffroi-agent-sensor.service beffroi-agent-uplink.service
    put_users_and_folders beffroi-agent
    put 644 "$root/packaging/systemd/etc/agent.toml" /etc/beffroi/agent.toml
    put_rules "$root/rules/yara" /usr/share/beffroi/yara '*.yar'
    put_completions beffroi-agent
    "$bin/beffroi-agent" man >"$out/beffroi-agent.1"
    put_gzipped "$out/beffroi-agent.1" /usr/share/man/man1/beffroi-agent.1.gz
    rm "$out/beffroi-agent.1"
}

# The engine's process is looked for beside the collector, and is no program for people: both live in /usr/lib/beffroi.
stage_collector() {
    put_binary beffroi-collector /usr/lib/beffroi/beffroi-collector
    put_binary clickhouse-embedded /usr/lib/beffroi/clickhouse-embedded
    mkdir -p "$out/usr/bin"
    ln -s ../lib/beffroi/beffroi-collector "$out/usr/bin/beffroi-collector"
    put_units beffroi-collector.service
    put_users_and_folders beffroi-collector
    put 644 "$root/packaging/systemd/etc/collector.toml" /etc/beffroi/collector.toml
    put_rules "$root/rules/sigma" /usr/share/beffroi/sigma '*.yml'
    put_gzipped "$here/man/beffroi-collector.8" /usr/share/man/man8/beffroi-collector.8.gz
}

stage_terminal() {
    put_binary beffroi /usr/bin/beffroi
    put_completions beffroi
    local pages page
    pages=$(mktemp -d)
    "$bin/beffroi" man "$pages"
    for page in "$pages"/*.1; do put_gzipped "$page" "/usr/share/man/man1/${page##*/}.gz"; done
    rm -r "$pages"
}

stage_engine() {
    local version library
    version=$(engine_version)
    library=$(cache_folder)/chdb-$version/libchdb.so
    [ -s "$library" ] || fail "$library is missing: packaging/setup/setup.sh run fetches it"
    put 644 "$library" "/usr/lib/beffroi/chdb-$version/libchdb.so"
}

if [ -d "$out" ]; then rmdir "$out" || fail "$out is not empty"; fi
mkdir -p "$out"
case $package in
beffroi-agent) stage_agent ;;
beffroi-collector) stage_collector ;;
beffroi) stage_terminal ;;
beffroi-clickhouse-engine) stage_engine ;;
*) fail "there is no package $package" ;;
esac
find "$out" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
