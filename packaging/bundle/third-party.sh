#!/usr/bin/env bash
# Prints the names, versions and licences of the libraries that the programs contain, and the notices that these licences
# ask to keep. Every text is printed once, with the libraries it belongs to.
#
# Reads `cargo metadata` and the libraries' own files in cargo's cache; fetches nothing that a build has not fetched.

set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here

declare -A owners texts
"$here/metadata.sh" | jq -r --from-file "$here/linked.jq" |
    {
        cat <<'TEXT'
Libraries contained in Beffroi's programs, with their licences. Where several are named the user may choose.

TEXT
        while IFS=$'\t' read -r name version licence folder; do
            printf '%s %s: %s\n' "$name" "$version" "$licence"
            while read -r file; do
                sum=$(sha256sum "$file") sum=${sum%% *}
                owners[$sum]="${owners[$sum]:+${owners[$sum]}, }$name $version"
                texts[$sum]=$file
            done < <(find "$folder" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort)
        done
        for sum in $(printf '%s\n' "${!owners[@]}" | sort); do
            printf '\n%s\n%s\n\n' "=======================================================================" "${owners[$sum]}" | fold -s -w 120
            cat "${texts[$sum]}"
        done
    }
