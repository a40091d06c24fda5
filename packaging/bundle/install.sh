#!/usr/bin/env bash
# Installs Beffroi from this bundle, without any network. Checks every file against SHA256SUMS first, and the signature of
# SHA256SUMS when a key is given; nothing is installed from a bundle that does not hold.
#
#   ./install.sh [--signers FILE | --minisign-key FILE] verify|agent|collector|terminal|all
#
# verify        check only
# agent         beffroi-agent
# collector     beffroi-collector, the embedded engine, and the terminal
# terminal      beffroi
# all           everything
#
# --signers       allowed signers (see ssh-keygen(1)) who may sign as beffroi-bundle; checks SHA256SUMS.sig
# --minisign-key  public key of minisign(1); checks SHA256SUMS.minisig
#
# Without a key the sums only show that the bundle is whole, not who made it: the last line says so.
# Exit status: 0 done; 1 the bundle does not hold, or the packet manager failed; 2 wrong usage.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '5,11p' install.sh >&2; exit 2; }

signers='' minisign_key='' what=''
while [ $# -gt 0 ]; do
    case $1 in
    --signers) signers=${2:?--signers needs a file}; shift 2 ;;
    --minisign-key) minisign_key=${2:?--minisign-key needs a file}; shift 2 ;;
    verify | agent | collector | terminal | all) what=$1; shift ;;
    *) usage ;;
    esac
done
[ -n "$what" ] || usage

# Signature first, then sums, then that nothing stands here which has no sum.
verify() {
    if [ -n "$signers" ]; then
        ssh-keygen -Y verify -f "$signers" -I beffroi-bundle -n beffroi-bundle -s SHA256SUMS.sig <SHA256SUMS >&2 ||
            fail "the signature of SHA256SUMS does not hold: do not use this bundle"
    elif [ -n "$minisign_key" ]; then
        minisign -V -q -p "$minisign_key" -m SHA256SUMS || fail "the signature of SHA256SUMS does not hold: do not use this bundle"
    fi
    sha256sum --check --strict --quiet SHA256SUMS || fail "a file is not what SHA256SUMS says: fetch the bundle again"
    local strange
    strange=$(comm -13 <(sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort) \
        <(find . \( -type f -o -type l \) ! -name 'SHA256SUMS*' -printf '%P\n' | LC_ALL=C sort))
    [ -z "$strange" ] || fail "files without a checksum: $strange"
}

packages() {
    case $what in
    agent) echo beffroi-agent ;;
    collector) echo beffroi-collector beffroi-clickhouse-engine beffroi ;;
    terminal) echo beffroi ;;
    all) echo beffroi-agent beffroi-collector beffroi-clickhouse-engine beffroi ;;
    esac
}

install_packages() {
    local files=() name
    if command -v dpkg >/dev/null; then
        for name in $(packages); do files+=(deb/"$name"_*.deb); done
        dpkg --install "${files[@]}" || fail "dpkg failed (see above): install the libraries it names from your own mirror, then run this again"
    elif command -v rpm >/dev/null; then
        for name in $(packages); do files+=(rpm/"$name"-[0-9]*.rpm); done
        rpm --upgrade --verbose --hash "${files[@]}" || fail "rpm failed (see above): install the libraries it names from your own mirror, then run this again"
    else
        fail "neither dpkg nor rpm is here: unpack the packages by hand"
    fi
}

verify
if [ "$what" != verify ]; then
    [ "$(id -u)" = 0 ] || fail "installing needs root (./install.sh verify does not)"
    install_packages
fi
[ -n "$signers$minisign_key" ] || echo "install.sh: the bundle is whole; who made it was not checked (--signers or --minisign-key)" >&2
