#!/usr/bin/env bash
# Builds the bundle for installations without a network: packages, rules, what is needed for containers and Ansible,
# documents, a bill of materials, and checksums over all of it.
#
#   packaging/bundle/build.sh [--packages DIR]     (default: target/packages, filled by make deb and make rpm)
#
# The bundle is DIR/beffroi-VERSION-amd64.tar (plain: the packages are compressed). With a key it is signed:
#   BUNDLE_SSH_KEY=FILE        ssh key, namespace beffroi-bundle  -> SHA256SUMS.sig
#   BUNDLE_MINISIGN_KEY=FILE   minisign key without password      -> SHA256SUMS.minisig
#
# Exit status: 0 built; 1 failed (the last line says what to do); 2 wrong usage.

set -euo pipefail
umask 022
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=${here%/packaging/bundle}
. "$root/packaging/deb/lib.sh"

packages=$root/target/packages
if [ "${1:-}" = --packages ] && [ $# -eq 2 ]; then packages=$2; elif [ $# -gt 0 ]; then sed -n '5,5p' "$0" >&2; exit 2; fi
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(source_date)}"
name=beffroi-$(version)-amd64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
readonly bundle=$work/$name

mkdir -p "$bundle/doc"
for format in deb rpm; do
    [ -n "$(find "$packages/$format" -name "*.$format" 2>/dev/null | head -n 1)" ] || fail "no packages in $packages/$format: make $format builds them"
    mkdir "$bundle/$format"
    find "$packages/$format" -maxdepth 1 -name "*.$format" -exec ln {} "$bundle/$format/" \; 2>/dev/null ||
        cp "$packages/$format"/*."$format" "$bundle/$format/"
done
install -m 755 "$here/install.sh" "$bundle/install.sh"
install -m 644 "$root/LICENSE" "$bundle/LICENSE"
install -m 644 "$root/README.md" "$root/ARCHITECTURE.md" "$root/CHANGELOG.md" "$bundle/doc"
# Only what the tree knows: no leftovers of editors or builds.
for folder in rules/sigma rules/yara packaging/helm packaging/ansible packaging/compose packaging/docker; do
    (cd "$root" && git ls-files -z -- "$folder") | while IFS= read -r -d '' file; do
        install -D -m "$([ -x "$root/$file" ] && echo 755 || echo 644)" "$root/$file" "$bundle/${file#packaging/}"
    done
done
"$here/third-party.sh" >"$bundle/doc/third-party.txt"
"$here/sbom.sh" >"$bundle/sbom.cdx.json"
(cd "$bundle" && find . -type f ! -name 'SHA256SUMS*' -printf '%P\0' | sort -z | xargs -0 sha256sum) >"$work/sums"
mv "$work/sums" "$bundle/SHA256SUMS"
if [ -n "${BUNDLE_SSH_KEY:-}" ]; then
    ssh-keygen -q -Y sign -f "$BUNDLE_SSH_KEY" -n beffroi-bundle "$bundle/SHA256SUMS"
fi
if [ -n "${BUNDLE_MINISIGN_KEY:-}" ]; then
    minisign -S -W -s "$BUNDLE_MINISIGN_KEY" -m "$bundle/SHA256SUMS" >/dev/null </dev/null
fi
tar --create --file "$packages/$name.tar" --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" --format=ustar "$name"
echo "$packages/$name.tar"
