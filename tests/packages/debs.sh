# The Debian packages. Sourced by run.sh.
# shellcheck shell=bash

readonly debs=$packages/deb
mapfile -t deb_files < <(find "$debs" -name '*.deb' | sort)

lintian_finds_nothing() {
    lintian --fail-on error,warning --tag-display-limit 0 --allow-root "$1"
}

a_package_holds_no_surprise() {
    local listing
    listing=$(dpkg-deb --contents "$1")
    if grep -vE '^[-dl][rwx-]{9} root/root ' <<<"$listing"; then echo "owner, or a set-id bit"; return 1; fi
    if grep -E '^-....w..w|^d.......w' <<<"$listing"; then echo "writable for others"; return 1; fi
    if grep -E ' \./(tmp|run|home|root|var)(/|$)' <<<"$listing"; then echo "a file where none belongs"; return 1; fi
}

configurations_are_kept_over_upgrades() {
    [ "$(dpkg-deb --info "$debs"/beffroi-agent_*.deb conffiles)" = /etc/beffroi/agent.toml ]
    [ "$(dpkg-deb --info "$debs"/beffroi-collector_*.deb conffiles)" = /etc/beffroi/collector.toml ]
}

# What stands behind a # must be a key that exists, of the right type: each file is tried with every key in force.
every_key_of_a_default_configuration_exists() {
    local etc=$root/packaging/systemd/etc code=0 kafka='/^# Or Apache Kafka/,/^$/'
    dpkg-deb --extract "$debs"/beffroi-collector_*.deb "$scratch/collector"
    dpkg-deb --extract "$debs"/beffroi-agent_*.deb "$scratch/collector"
    # An embedded bus and engine; then Kafka and a ClickHouse elsewhere.
    sed -e "$kafka d" -e '/^#url = /d' -e 's/^#\([a-z_]* = \)/\1/' "$etc/collector.toml" >"$scratch/embedded.toml"
    "$scratch/collector/usr/bin/beffroi-collector" --config "$scratch/embedded.toml" --check-config
    sed -e '/^kind = "embedded"/,/^#max_bytes/d' -e 's/^#embedded = true/embedded = false/' -e 's/^#\([a-z_]* = \|\[\)/\1/' \
        "$etc/collector.toml" >"$scratch/kafka.toml"
    grep -q '^kind = "kafka"' "$scratch/kafka.toml"
    "$scratch/collector/usr/bin/beffroi-collector" --config "$scratch/kafka.toml" --check-config
    sed -e 's/^#\([a-z_]* = \)/\1/' "$etc/agent.toml" >"$scratch/agent.toml"
    grep -q '^proxy = ' "$scratch/agent.toml"
    # 3: nothing is enrolled here. 1 would be the configuration.
    "$scratch/collector/usr/bin/beffroi-agent" --config "$scratch/agent.toml" --state "$scratch/nowhere" doctor || code=$?
    [ $code -eq 3 ]
}

every_option_of_the_collector_is_in_its_page() {
    local option page=$root/packaging/deb/man/beffroi-collector.8
    "$scratch/collector/usr/bin/beffroi-collector" --help | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '--[a-z-]+' >"$scratch/options"
    [ -s "$scratch/options" ]
    while read -r option; do
        grep -qF -- "${option//-/\\-}" "$page" || { echo "$option is not in $page"; return 1; }
    done <"$scratch/options"
}

# The programs of the packages themselves are built again into packages: what differs would differ for everybody.
two_builds_are_the_same() {
    local bin=$scratch/bin deb
    mkdir -p "$bin" "$scratch/again"
    for deb in "${deb_files[@]}"; do
        case $deb in *engine*) ;; *) dpkg-deb --extract "$deb" "$scratch/unpacked" ;; esac
    done
    cp "$scratch"/unpacked/usr/bin/beffroi "$scratch"/unpacked/usr/bin/beffroi-agent "$scratch"/unpacked/usr/lib/beffroi/* "$bin"
    "$root/packaging/deb/build.sh" --bin "$bin" --out "$scratch/again" beffroi-agent beffroi-collector beffroi
    sync -f "$scratch"
    TZ=Pacific/Auckland LC_ALL=C.UTF-8 "$root/packaging/deb/build.sh" --bin "$bin" --out "$scratch/once-more" beffroi-agent beffroi-collector beffroi
    diff -r "$scratch/again" "$scratch/once-more"
}

installing() { machine sh -c 'DEBIAN_FRONTEND=noninteractive dpkg --install /tmp/shared/*.deb'; }
upgrading() {
    machine sh -c 'echo "# mine" >>/etc/beffroi/agent.toml && DEBIAN_FRONTEND=noninteractive dpkg --install /tmp/shared/beffroi-agent_*.deb &&
        grep -q "# mine" /etc/beffroi/agent.toml && systemctl is-active --quiet beffroi-agent-sensor'
}
removing() {
    machine dpkg --remove beffroi beffroi-agent beffroi-collector beffroi-clickhouse-engine
    machine test -e /var/lib/beffroi-agent/identity/identity.key -a -e /etc/beffroi/agent.toml -a ! -e /usr/bin/beffroi-agent
}
purging() { machine dpkg --purge beffroi beffroi-agent beffroi-collector beffroi-clickhouse-engine; }
nothing_is_left() { diff "$scratch/before" "$scratch/after"; }

check "there are four packages" test "${#deb_files[@]}" -eq 4
for deb in "${deb_files[@]}"; do
    check "lintian finds nothing in $(basename "$deb")" lintian_finds_nothing "$deb"
    check "$(basename "$deb") holds no surprise" a_package_holds_no_surprise "$deb"
done
check "configurations are kept over upgrades" configurations_are_kept_over_upgrades
check "every key of a default configuration exists" every_key_of_a_default_configuration_exists
check "every option of the collector is in its manual page" every_option_of_the_collector_is_in_its_page
check "two builds give the same bytes" two_builds_are_the_same

. "$here/life.sh"
machine_start "$debs"
machine_tree >"$scratch/before"
check "dpkg installs them" installing
the_life_of_an_installation
check "an upgrade keeps what the administrator wrote, and the agent runs" upgrading
check "everything stops in order" step everything_stops_in_order
check "a removal keeps state and configuration" removing
check "dpkg purges them" purging
machine_tree >"$scratch/after"
check "a purge leaves nothing" nothing_is_left
machine_stop
