# From `cargo metadata`: the libraries by others that the programs contain, one a line: name, version, licence, folder.
# Reached from the shipped programs over normal dependencies; what only builds or tests is not contained.
def programs: ["beffroi-agent", "beffroi-server", "beffroi-cli", "beffroi-clickhouse-embedded"];
. as $all
| ($all.packages | map({key: .id, value: .}) | from_entries) as $package
| ($all.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg]}) | from_entries) as $needs
| def reach($found; $next): if ($next | length) == 0 then $found
      else ($found + $next) as $now | reach($now; ([$next[] | $needs[.][]] | unique) - $now) end;
  reach([]; [$all.packages[] | select(.name as $n | programs | index($n)) | .id])
| unique | map($package[.]) | map(select(.source != null)) | sort_by(.name, .version)[]
| [.name, .version, (.license // "see its files"), (.manifest_path | rtrimstr("/Cargo.toml"))] | @tsv
