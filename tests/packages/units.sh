# The systemd units: sandbox figures, syntax, and configurations whose every key exists. Sourced by run.sh.
# shellcheck shell=bash

readonly units=$root/packaging/systemd

# Most exposure that a unit may have, in tenths (systemd-analyze security): the sensor sees the whole host, the others not.
most_exposure() {
    case $1 in
    beffroi-agent-sensor.service) echo 25 ;;
    *) echo 15 ;;
    esac
}

exposure_is_low_enough() {
    systemd-analyze security --no-pager --offline=yes --threshold="$(most_exposure "$1")" "$units/$1"
}

# Programs are looked up in an image of the packages, not on this machine.
units_are_valid() {
    local image=$scratch/image unit problems
    mkdir -p "$image/usr/bin" "$image/bin" "$image/etc/systemd/system"
    install -m 755 /bin/true "$image/usr/bin/beffroi-agent"
    install -m 755 /bin/true "$image/usr/bin/beffroi-collector"
    install -m 755 /bin/true "$image/bin/true"
    cp "$units"/*.service "$image/etc/systemd/system"
    for unit in "$units"/*.service; do
        problems=$(systemd-analyze verify --man=no --recursive-errors=no --root="$image" "${unit##*/}" 2>&1) || true
        if grep -F beffroi <<<"$problems"; then return 1; fi
    done
}

every_key_of_a_default_configuration_is_commented() {
    local file
    for file in "$units"/etc/*.toml; do
        # A key is explained by a line of words above it or above its group.
        if awk '/^# /{words=1} /^$/||/^\[/{words=0} /^#?[a-z_]+ = /{if(!words){print FILENAME": "$0; bad=1}} END{exit bad}' "$file"; then :; else return 1; fi
    done
}

for unit in "$units"/*.service; do
    unit=${unit##*/}
    printf '      %-32s exposure %s, at most %s allowed\n' "$unit" \
        "$(systemd-analyze security --no-pager --offline=yes "$units/$unit" 2>/dev/null | sed -n 's/.*exposure level for [^ ]*: \([0-9.]*\).*/\1/p')" \
        "$(most_exposure "$unit" | sed 's/.$/.&/')"
    check "$unit exposes no more than it must" exposure_is_low_enough "$unit"
done
check "the units are valid" units_are_valid
check "every key of a default configuration is explained" every_key_of_a_default_configuration_is_commented
