#!/usr/bin/env bash
# Prints the bill of materials (CycloneDX 1.5, JSON) of what the packages contain.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=${here%/packaging/bundle}
. "$root/packaging/deb/lib.sh"

engine=$(engine_version)
library=$(cache_folder)/chdb-$engine/libchdb.so
[ -s "$library" ] || fail "$library is missing: packaging/setup/setup.sh run fetches it"
engine_sum=$(sha256sum <"$library")
# sed: a path of the building machine names the workspace in cargo's ids.
"$here/metadata.sh" |
    jq --from-file "$here/sbom.jq" --arg version "$(version)" --arg engine "$engine" --arg engine_sum "${engine_sum%% *}" \
        --arg time "$(date --utc --date="@${SOURCE_DATE_EPOCH:-$(source_date)}" +%Y-%m-%dT%H:%M:%SZ)" |
    sed "s|path+file://$root/|path+file:///|g"
