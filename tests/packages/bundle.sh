# The offline bundle: on the throwaway machine, which has no network, from verification to a running agent and collector;
# altered bundles are refused. Sourced by run.sh.
# shellcheck shell=bash

bundle_file=$(find "$packages" -maxdepth 1 -name 'beffroi-*-amd64.tar' | head -n 1)
readonly unpacked=$scratch/bundle

unpacking() {
    mkdir "$unpacked"
    tar --extract --file "$bundle_file" --directory "$unpacked" --strip-components=1
    "$unpacked/install.sh" verify
}

# refused MESSAGE OPTIONS...: verify must fail and say so.
refused() {
    local message=$1 output
    shift
    if output=$("$unpacked/install.sh" "$@" verify 2>&1); then
        echo "it was accepted"
        return 1
    fi
    grep -q "$message" <<<"$output" || { echo "$output"; return 1; }
}

an_altered_file_is_refused() {
    cp "$unpacked/LICENSE" "$scratch/LICENSE"
    echo x >>"$unpacked/LICENSE"
    refused "not what SHA256SUMS says" || return 1
    cp "$scratch/LICENSE" "$unpacked/LICENSE"
}

a_strange_file_is_refused() {
    ln -s /etc/passwd "$unpacked/deb/zz_extra.deb"
    refused "without a checksum" || return 1
    rm "$unpacked/deb/zz_extra.deb"
}

a_signature_is_checked() {
    ssh-keygen -q -t ed25519 -N '' -f "$scratch/key"
    ssh-keygen -q -t ed25519 -N '' -f "$scratch/other"
    ssh-keygen -q -Y sign -f "$scratch/key" -n beffroi-bundle "$unpacked/SHA256SUMS" 2>/dev/null
    echo "beffroi-bundle $(cut -d' ' -f1,2 "$scratch/key.pub")" >"$scratch/signers"
    echo "beffroi-bundle $(cut -d' ' -f1,2 "$scratch/other.pub")" >"$scratch/others"
    "$unpacked/install.sh" --signers "$scratch/signers" verify
    refused "does not hold" --signers "$scratch/others"
    rm "$unpacked/SHA256SUMS.sig"
    refused "does not hold" --signers "$scratch/signers"
}

the_bill_of_materials_is_whole() {
    local bom=$unpacked/sbom.cdx.json
    jq -e '.bomFormat == "CycloneDX" and .specVersion == "1.5" and (.components | length) > 100' "$bom"
    # Every reference exists, and every library of the lock file that cargo links is named with version and licence.
    jq -e '([.components[]."bom-ref"] + ["beffroi"]) as $known | [.dependencies[] | .ref, .dependsOn[] | select(. as $r | $known | index($r) | not)] == []' "$bom"
    jq -e '[.components[] | select((.name and .version and (.licenses // [] | length) > 0) | not) | .name] | if . == [] then true else (. | debug | false) end' "$bom"
    jq -e '[.components[].name] | index("libchdb") and index("rustls") and index("beffroi-agent")' "$bom"
}

# The official schema where a Python library brings it (cyclonedx-python-lib with jsonschema).
the_bill_of_materials_follows_the_schema() {
    python3 - "$unpacked/sbom.cdx.json" <<'PYTHON'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(f"{problem}" if problem else 0)
PYTHON
}

there_is_no_network() {
    machine sh -c 'ip -o link | grep -v ": lo:"' | grep . && return 1
    return 0
}
bundle_installs() { machine bash /tmp/shared/install.sh all; }

check "there is a bundle" test -n "$bundle_file"
check "a fresh bundle holds" unpacking
check "an altered file is refused" an_altered_file_is_refused
check "a file without a checksum is refused" a_strange_file_is_refused
check "a signature is checked" a_signature_is_checked
check "the bill of materials is whole" the_bill_of_materials_is_whole
if python3 -c 'import cyclonedx.validation.json, jsonschema' 2>/dev/null; then
    check "the bill of materials follows the schema" the_bill_of_materials_follows_the_schema
else
    echo "skip  the bill of materials against CycloneDX's schema: no Python package cyclonedx-python-lib[json-validation] here"
fi

. "$here/life.sh"
machine_start "$unpacked"
check "the machine has no network" there_is_no_network
check "the bundle installs without a network" bundle_installs
check "the collector gets ready (bundle)" step the_collector_gets_ready
check "the host enrols and is heard (bundle)" step the_host_enrols_and_is_heard
machine_stop
