#!/usr/bin/env bash
# Installs what a fresh Debian 12 machine with a Rust toolchain lacks, and nothing else.
#
#   packaging/setup/setup.sh [run|test|bench|package|noise]      (default: run)
#
# run    what `make run` and `make demo` need: Debian packages to build with, and the ClickHouse engine (libchdb).
# test   the same, and Java, Maven and Apache Kafka's jars for the end-to-end tests, Chromium and axe-core for the
#        console's.
# bench  the same as test, and valgrind, which counts instructions.
# package  the same as run, and what `make deb rpm bundle test-packages` needs (dpkg-dev, lintian, rpm, jq, ansible-core, ...).
# noise  the same as run, and what records an ordinary machine (debootstrap, slirp4netns, zstd).
#
# When nothing is missing it prints nothing and fetches nothing. Otherwise it first lists what it would do and asks;
# YES=1 or CI=true answers yes. Debian packages are installed only as root on Debian; elsewhere it says what to
# install. Downloads go to ${BEFFROI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/beffroi}, outside the source tree; every file
# is compared with its pinned SHA-256 before use and put in place by one rename, so an interrupted run leaves nothing
# half-made. Exit status: 0 all there; 1 something failed (the last lines say what to do); 2 wrong usage.
#
# Changing a pinned version: change it here (and LIBRARY_VERSION in collector/clickhouse-embedded/src/lib.rs) or in
# kafka/pom.xml, run this script, check the file it refuses by other means, and write its sum into checksums.txt.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly chdb_package=@chdb/lib-linux-x64-gnu
readonly chdb_version=26.5.3
readonly chdb_tarball=chdb-lib-linux-x64-gnu-$chdb_version.tgz
readonly kafka_version=4.1.0
readonly axe_version=4.14.1
readonly axe_tarball=axe-core-$axe_version.tgz
# Room for the tarball, the unpacked library and some air.
readonly disk_needed_kib=1000000

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

cache_folder() {
    if [ -n "${BEFFROI_CACHE:-}" ]; then
        printf '%s' "$BEFFROI_CACHE"
    elif [ -n "${XDG_CACHE_HOME:-}" ]; then
        printf '%s/beffroi' "$XDG_CACHE_HOME"
    elif [ -n "${HOME:-}" ]; then
        printf '%s/.cache/beffroi' "$HOME"
    else
        fail "neither BEFFROI_CACHE, XDG_CACHE_HOME nor HOME is set: set BEFFROI_CACHE to a folder for downloads"
    fi
}

# --- what is missing -------------------------------------------------------------------------------------------------

# Prints the Debian packages that are missing, judged by what they provide (any distribution's version will do).
missing_packages() {
    local purpose=$1 include
    have make || echo make
    have cc || echo gcc
    have c++ || echo g++
    have clang || echo clang
    have pkg-config || echo pkg-config
    have perl || echo perl
    for include in libelf.h:libelf-dev zlib.h:zlib1g-dev openssl/ssl.h:libssl-dev bpf/libbpf.h:libbpf-dev; do
        has_header "${include%%:*}" || echo "${include##*:}"
    done
    { chdb_is_there && { ! is_for_tests "$purpose" || axe_is_there; }; } || have npm || echo npm
    { chdb_is_there && { ! is_for_tests "$purpose" || axe_is_there; }; } || have tar || echo tar
    if is_for_tests "$purpose"; then
        have chromium || echo chromium
        have chromedriver || echo chromium-driver
        have java || echo default-jdk-headless
        kafka_is_there || have mvn || echo maven
    fi
    case $purpose in
    bench) have valgrind || echo valgrind ;;
    package) missing_packaging_tools ;;
    noise)
        have debootstrap || echo debootstrap
        have slirp4netns || echo slirp4netns
        have zstd || echo zstd
        ;;
    esac
}

is_for_tests() { [ "$1" = test ] || [ "$1" = bench ]; }

missing_packaging_tools() {
    local tool
    for tool in dpkg-shlibdeps:dpkg-dev strip:binutils lintian:lintian rpmbuild:rpm rpm2cpio:rpm2cpio cpio:cpio jq:jq \
        systemd-analyze:systemd nsenter:util-linux pgrep:procps ssh-keygen:openssh-client python3:python3 \
        ansible-playbook:ansible-core; do
        have "${tool%%:*}" || echo "${tool##*:}"
    done
    python3 -c 'import yaml' 2>/dev/null || echo python3-yaml
}

has_header() {
    local folder
    for folder in /usr/include /usr/include/*-linux-gnu /usr/local/include; do
        [ -e "$folder/$1" ] && return 0
    done
    return 1
}

chdb_is_there() { [ -s "$cache/chdb-$chdb_version/libchdb.so" ]; }

axe_is_there() { [ -s "$cache/axe-core-$axe_version/axe.min.js" ]; }

# The jars were verified before the folder got its name; the list of names guards against later deletions.
kafka_is_there() {
    local jar
    [ -d "$cache/kafka-$kafka_version" ] || return 1
    while read -r _ jar; do
        [ -s "$cache/kafka-$kafka_version/$jar" ] || return 1
    done <"$here/kafka/checksums.txt"
}

# --- asking ------------------------------------------------------------------------------------------------------------

confirm() {
    if [ "${YES:-}" = 1 ] || [ "${CI:-}" = true ]; then
        return 0
    fi
    if ! [ -t 0 ]; then
        fail "this is not a terminal, so nobody can be asked: run it again with YES=1 to agree to the list above"
    fi
    local answer
    printf 'setup: go on? [y/N] ' >&2
    read -r answer
    case $answer in
    y | Y | yes | o | O | oui) ;;
    *) fail "nothing was changed; install the list above yourself, or run this again and answer y" ;;
    esac
}

# --- Debian packages -------------------------------------------------------------------------------------------------

can_install() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && have apt-get; }

install_packages() {
    say "installing Debian packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >&2 ||
        fail "apt-get update failed: check this machine's package sources and network, then run this again"
    apt-get install -y -q --no-install-recommends "$@" >&2 ||
        fail "apt-get install failed (see above): repair that, or install by hand: apt-get install $*"
}

# --- downloads -------------------------------------------------------------------------------------------------------

# Makes a scratch folder inside the cache (same file system, so that the final rename is atomic).
scratch=
make_scratch() {
    mkdir -p "$cache" || fail "cannot create $cache: set BEFFROI_CACHE to a folder you may write"
    local free
    free=$(df -Pk "$cache" | awk 'NR == 2 { print $4 }')
    if [ "${free:-0}" -lt "$disk_needed_kib" ]; then
        fail "only $((free / 1024)) MiB are free in $cache, $((disk_needed_kib / 1024)) are needed: make room, or set BEFFROI_CACHE"
    fi
    scratch=$(mktemp -d "$cache/.fetch.XXXXXX") || fail "cannot write to $cache: set BEFFROI_CACHE to a folder you may write"
}
# shellcheck disable=SC2317 # called by trap
clean_up() {
    stop_progress
    [ -z "$scratch" ] || rm -rf "$scratch"
}

# Shows the growth of a folder every two seconds while something without progress of its own runs.
progress_pid=
start_progress() {
    local what=$1 folder=$2 goal_mib=$3
    (
        while sleep 2; do
            done_mib=$(du -sm "$folder" 2>/dev/null | awk '{ print $1 }')
            printf 'setup: %s: %s of about %s MiB\n' "$what" "${done_mib:-0}" "$goal_mib" >&2
        done
    ) &
    progress_pid=$!
}
stop_progress() {
    if [ -n "$progress_pid" ]; then
        kill "$progress_pid" 2>/dev/null || true
        wait "$progress_pid" 2>/dev/null || true
        progress_pid=
    fi
}

fetch_chdb() {
    say "fetching the ClickHouse engine: $chdb_package $chdb_version (160 MiB, 560 MiB unpacked)"
    make_scratch
    mkdir "$scratch/npm"
    start_progress "fetching" "$scratch" 320
    # npm keeps a copy in its own cache while it writes the tarball; both go to the scratch folder.
    (cd "$scratch" && npm pack --silent --cache "$scratch/npm" "$chdb_package@$chdb_version" >"$scratch/npm.out" 2>"$scratch/npm.err") || {
        stop_progress
        cat "$scratch/npm.err" >&2
        fail "npm pack $chdb_package@$chdb_version failed (see above): check the network and npm's configuration (npm ping), then run this again"
    }
    stop_progress
    say "checking and unpacking"
    check_pinned "$chdb_tarball"
    rm -rf "$scratch/npm"
    mkdir "$scratch/chdb"
    tar -xzf "$scratch/$chdb_tarball" -C "$scratch/chdb" --no-same-owner --strip-components=1 package/libchdb.so package/package.json ||
        fail "unpacking $chdb_tarball failed: check the space left in $cache, then run this again"
    chmod 755 "$scratch/chdb" "$scratch/chdb/libchdb.so"
    put_in_place "$scratch/chdb" "$cache/chdb-$chdb_version"
}

fetch_kafka() {
    say "fetching Apache Kafka $kafka_version for the tests (45 MiB)"
    make_scratch
    start_progress "fetching" "$scratch" 90
    mvn -q -B -f "$here/kafka/pom.xml" -Dmaven.repo.local="$scratch/repository" \
        dependency:copy-dependencies -DoutputDirectory="$scratch/kafka" -DincludeScope=runtime >"$scratch/mvn.out" 2>&1 || {
        stop_progress
        tail -n 20 "$scratch/mvn.out" >&2
        fail "mvn dependency:copy-dependencies failed (see above): check the network and Maven's settings, then run this again"
    }
    stop_progress
    say "checking"
    (cd "$scratch/kafka" && sha256sum --check --quiet --strict "$here/kafka/checksums.txt" >&2) ||
        fail "a Kafka jar does not have the pinned SHA-256 (packaging/setup/kafka/checksums.txt); all were thrown away:" \
            "run this again; if it persists, do not trust the source they came from"
    local pinned found
    pinned=$(wc -l <"$here/kafka/checksums.txt")
    found=$(find "$scratch/kafka" -name '*.jar' | wc -l)
    [ "$pinned" -eq "$found" ] ||
        fail "Maven gave $found jars, $pinned are pinned in packaging/setup/kafka/checksums.txt: compare them, nothing was kept"
    put_in_place "$scratch/kafka" "$cache/kafka-$kafka_version"
}

fetch_axe() {
    say "fetching axe-core $axe_version for the console's tests (1 MiB)"
    make_scratch
    mkdir "$scratch/npm" "$scratch/axe"
    (cd "$scratch" && npm pack --silent --cache "$scratch/npm" "axe-core@$axe_version" >"$scratch/npm.out" 2>"$scratch/npm.err") || {
        cat "$scratch/npm.err" >&2
        fail "npm pack axe-core@$axe_version failed (see above): check the network and npm's configuration (npm ping), then run this again"
    }
    check_pinned "$axe_tarball"
    tar -xzf "$scratch/$axe_tarball" -C "$scratch/axe" --no-same-owner --strip-components=1 package/axe.min.js package/LICENSE package/package.json ||
        fail "unpacking $axe_tarball failed: check the space left in $cache, then run this again"
    put_in_place "$scratch/axe" "$cache/axe-core-$axe_version"
}

# Compares a downloaded tarball with its line in checksums.txt.
check_pinned() {
    local line
    line=$(grep -F "  $1" "$here/checksums.txt") || fail "$1 has no line in packaging/setup/checksums.txt: nothing was kept"
    (cd "$scratch" && printf '%s\n' "$line" | sha256sum --check --quiet --strict >&2) ||
        fail "the tarball $1 does not have the pinned SHA-256 (packaging/setup/checksums.txt) and was thrown away:" \
            "run this again; if it persists, do not trust the source it came from"
}

# A broken earlier copy makes room; a concurrent run that was faster wins.
put_in_place() {
    local new=$1 target=$2
    if [ -e "$target" ]; then
        mv "$target" "$scratch/old"
    fi
    mv -T "$new" "$target" || fail "cannot move the download to $target: check its owner and run this again"
    rm -rf "$scratch"
    scratch=
}

# --- main ------------------------------------------------------------------------------------------------------------

purpose=${1:-run}
case $purpose in
run | test | bench | package | noise) ;;
*)
    printf 'usage: %s [run|test|bench|package|noise]\n' "$0" >&2
    exit 2
    ;;
esac
have cargo || fail "cargo is not on the PATH: install a Rust toolchain first (1.95 or newer), then run this again"

cache=$(cache_folder)
readonly cache
mapfile -t packages < <(missing_packages "$purpose")
need_chdb=false need_kafka=false need_axe=false
chdb_is_there || need_chdb=true
if is_for_tests "$purpose" && ! kafka_is_there; then
    need_kafka=true
fi
if is_for_tests "$purpose" && ! axe_is_there; then
    need_axe=true
fi
if [ ${#packages[@]} -eq 0 ] && ! $need_chdb && ! $need_kafka && ! $need_axe; then
    exit 0
fi
if $need_chdb && { [ "$(uname -m)" != x86_64 ] || [ "$(uname -s)" != Linux ]; }; then
    fail "the embedded ClickHouse engine is pinned for Linux on x86_64, this is $(uname -s) on $(uname -m):" \
        "run the collector against a ClickHouse server instead (README, 'From embedded to Kafka and ClickHouse')"
fi

say "missing on this machine, to be installed now:"
[ ${#packages[@]} -eq 0 ] || say "  Debian packages, as root: ${packages[*]}"
! $need_chdb || say "  ClickHouse engine (npm package $chdb_package $chdb_version, 160 MiB) to $cache/chdb-$chdb_version"
! $need_kafka || say "  Apache Kafka $kafka_version jars (45 MiB) to $cache/kafka-$kafka_version"
! $need_axe || say "  axe-core $axe_version (npm package, 1 MiB) to $cache/axe-core-$axe_version"
if [ ${#packages[@]} -gt 0 ] && ! can_install; then
    fail "this script installs packages only as root on Debian; install these yourself (Debian names) and run it again:" \
        "  ${packages[*]}"
fi
confirm
trap clean_up EXIT
trap 'exit 130' INT TERM
[ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
! $need_chdb || fetch_chdb
! $need_kafka || fetch_kafka
! $need_axe || fetch_axe
say "done"
