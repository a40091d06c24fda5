# From `cargo metadata` (and --arg version, engine, engine_sum, time) to a CycloneDX 1.5 bill of materials: our crates, the
# libraries that they contain, the embedded engine, and who needs whom.
def purl: "pkg:cargo/\(.name)@\(.version)";
# The programs that are shipped: the same list as in linked.jq.
def programs: ["beffroi-agent", "beffroi-server", "beffroi-cli", "beffroi-clickhouse-embedded"];
def licence: if .license then [{expression: (.license | gsub("/"; " OR "))}] else [] end;
. as $all
| ($all.packages | map({key: .id, value: .}) | from_entries) as $package
| ($all.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $needs
| def reach($found; $next): if ($next | length) == 0 then $found
      else ($found + $next) as $now | reach($now; ([$next[] | $needs[.][]] | unique) - $now) end;
  (reach([]; [$all.packages[] | select(.name as $n | programs | index($n)) | .id]) | unique) as $contained
| {
    "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: $time,
      component: {type: "application", "bom-ref": "beffroi", name: "beffroi", version: $version,
                  licenses: [{expression: "Apache-2.0"}]}
    },
    components: (
      [$contained[] | $package[.] | {
        type: (if .name as $n | programs | index($n) then "application" else "library" end),
        "bom-ref": .id, name, version, purl: (if .source then purl else null end), licenses: licence,
        description: (.description // "" | gsub("\\s+"; " ")),
        externalReferences: (if .repository then [{type: "vcs", url: .repository}] else [] end)
      } | with_entries(select(.value != [] and .value != "" and .value != null))]
      + [{type: "library", "bom-ref": "libchdb", name: "libchdb", version: $engine, purl: "pkg:npm/%40chdb/lib-linux-x64-gnu@\($engine)",
          licenses: [{expression: "Apache-2.0"}], hashes: [{alg: "SHA-256", content: $engine_sum}]}]
    ),
    dependencies: (
      [{ref: "beffroi", dependsOn: ([$contained[] | select($package[.].name as $n | programs | index($n))] + ["libchdb"])}]
      + [$contained[] | {ref: ., dependsOn: ($needs[.] | unique)}]
      + [{ref: "libchdb", dependsOn: []}]
    )
  }
