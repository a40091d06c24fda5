# Shared by the packaging scripts: errors, the version, the time of a reproducible build. Sourced; `root` is the tree's root.
# shellcheck shell=bash

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# The time that every packaged file gets: the last commit's, so that one commit always gives the same packages.
source_date() {
    git -C "$root" log -1 --format=%ct 2>/dev/null || date --reference="$root/CHANGELOG.md" +%s
}

# [workspace.package] version of the root manifest.
version() {
    sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | grep . ||
        fail "no version in $root/Cargo.toml"
}

# The engine that collector/clickhouse-embedded is built for.
engine_version() {
    sed -n 's/^pub const LIBRARY_VERSION: &str = "\(.*\)";/\1/p' "$root/collector/clickhouse-embedded/src/lib.rs" | grep . ||
        fail "no LIBRARY_VERSION in collector/clickhouse-embedded/src/lib.rs"
}

# Where packaging/setup/setup.sh keeps its downloads.
cache_folder() {
    printf '%s' "${BEFFROI_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or BEFFROI_CACHE}/.cache}/beffroi}"
}

# One line of what a package is for.
summary() {
    case $1 in
    beffroi-agent) echo "records what happens on a workstation and sends it, signed" ;;
    beffroi-collector) echo "receives, judges, stores and answers what Beffroi's agents report" ;;
    beffroi) echo "analyst's terminal of the Beffroi telemetry pipeline" ;;
    beffroi-clickhouse-engine) echo "embedded ClickHouse engine of the Beffroi collector" ;;
    esac
}

# The description of a package, one paragraph.
description() {
    case $1 in
    beffroi-agent)
        cat <<'TEXT'
The agent sees processes, files and connections through eBPF probes, masks
secrets, signs what it saw, and keeps it until the collector has acknowledged
it. It starts once the host is enrolled.
TEXT
        ;;
    beffroi-collector)
        cat <<'TEXT'
Gateway, enrolment, detection with Sigma, storage in ClickHouse and the HTTP
API, in one process or one role on each of many machines. It does not start
by itself: look at /etc/beffroi/collector.toml first.
TEXT
        ;;
    beffroi)
        cat <<'TEXT'
Alerts, events, hosts, gaps, scans and rules in a terminal: tables for people,
JSON and CSV for programs. It talks to the collector's HTTP API.
TEXT
        ;;
    beffroi-clickhouse-engine)
        cat <<'TEXT'
The library libchdb, which the collector runs in a confined process of its own
when no ClickHouse server is configured.
TEXT
        ;;
    esac
}

# What both builders are told on their command line: sets bin, out, packages and SOURCE_DATE_EPOCH. The first argument is
# the name of the form (deb, rpm); needs $root.
read_options() {
    local form=$1
    shift
    bin=$root/target/release out=$root/target/packages/$form packages=()
    while [ $# -gt 0 ]; do
        case $1 in
        --bin) bin=${2:?--bin needs a folder}; shift 2 ;;
        --out) out=${2:?--out needs a folder}; shift 2 ;;
        -*) sed -n '4,7p' "$0" >&2; exit 2 ;;
        *) packages+=("$1"); shift ;;
        esac
    done
    [ ${#packages[@]} -gt 0 ] || packages=(beffroi-agent beffroi-collector beffroi beffroi-clickhouse-engine)
    export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(source_date)}"
}
