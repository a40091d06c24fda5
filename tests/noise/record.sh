#!/usr/bin/env bash
# Records what an ordinary Debian 12 machine does while nobody attacks it, for `xtask noise judge` (make noise).
#
#   tests/noise/record.sh --agent BIN --xtask BIN --out DIR [--root DIR] [--again] [ACTIVITY...]
#
# ACTIVITY  a script in inside/ (default: all, in the order below). Each is run on a throwaway machine (an overlay of a
#           fresh Debian 12 with a systemd of its own, see tests/packages/machine.sh; outgoing network only) under the real
#           kernel sensor, and becomes DIR/ACTIVITY.ndjson.zst and DIR/ACTIVITY.json (seconds, what was done and what
#           could not be). NAME-NUMBER is NAME with this seed. What is there already is kept unless --again is said.
# --root    the Debian 12 to lay the overlay on (default: made by debootstrap in DIR/root).
#
# Needs root, debootstrap and slirp4netns. NOISE_IDLE_MINUTES is how long `idle` lasts, NOISE_DAY_MINUTES each `day` (10).
# Exit status: 0 all recorded; 1 the machine or an activity failed as a whole; 2 wrong usage.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
. "$here/../packages/machine.sh"

# The first events of a sensor that was just started (seconds).
readonly sensor_start_seconds=20
readonly activities_in_order=(packages administration terminal configuration desktop session containers development backup
    monitoring updates day-1 day-2 idle)

agent='' xtask='' out='' root='' again=no activities=()
while [ $# -gt 0 ]; do
    case $1 in
    --agent) agent=$2; shift 2 ;;
    --xtask) xtask=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --root) root=$2; shift 2 ;;
    --again) again=yes; shift ;;
    -*) sed -n '4p' "$0" >&2; exit 2 ;;
    *) activities+=("$1"); shift ;;
    esac
done
if [ -z "$agent" ] || [ -z "$xtask" ] || [ -z "$out" ]; then sed -n '4p' "$0" >&2; exit 2; fi
[ ${#activities[@]} -gt 0 ] || activities=("${activities_in_order[@]}")

say() { printf 'noise: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || fail "recording needs root (kernel sensor, namespaces); run it as root"
for tool in debootstrap slirp4netns zstd; do
    command -v "$tool" >/dev/null || fail "$tool is missing: apt-get install $tool"
done

mkdir -p "$out"
scratch=$(mktemp -d)
network='' sensor='' packer=''
end() {
    [ -z "$sensor" ] || kill -INT "$sensor" 2>/dev/null || true
    [ -z "$network" ] || kill "$network" 2>/dev/null || true
    machine_stop
    rm -rf "$scratch"
}
trap end EXIT
trap 'exit 130' INT TERM

# A fresh Debian in one rename, so that an interrupted run leaves nothing half-made.
make_root() {
    root=${root:-$out/root}
    [ -e "$root/lib/systemd/systemd" ] && return
    say "making a Debian 12 in $root"
    rm -rf "$root.new"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,ca-certificates,sudo,procps,iproute2,less,nano,cron,logrotate \
        bookworm "$root.new" http://deb.debian.org/debian >"$scratch/debootstrap.log" 2>&1 ||
        { tail -n 5 "$scratch/debootstrap.log" >&2; fail "debootstrap failed"; }
    mv "$root.new" "$root"
}

start_machine() {
    MACHINE_LOWER=$root machine_start "$here/inside" || fail "no machine to record on"
    slirp4netns --configure --mtu=65520 --disable-host-loopback "$machine_init" tap0 >"$scratch/network.log" 2>&1 &
    network=$!
    local deadline=$((SECONDS + 20))
    until machine ip -o addr show dev tap0 2>/dev/null | grep -q 'inet '; do
        [ $SECONDS -lt $deadline ] || { cat "$scratch/network.log" >&2; fail "the machine has no network"; }
        sleep 0.1
    done
    # debootstrap writes none.
    machine bash -c 'printf "127.0.0.1 localhost %s\n" "$(hostname)" >>/etc/hosts'
}

# Packs events as they come (a busy hour is gigabytes of text) and says when the first is there.
pack() {
    local first
    IFS= read -r first || return 0
    : >"$scratch/began"
    { printf '%s\n' "$first"; cat; } | zstd -q -c >"$scratch/events.zst"
}

start_sensor() {
    rm -f "$scratch/began"
    [ -p "$scratch/pipe" ] || mkfifo "$scratch/pipe"
    pack <"$scratch/pipe" &
    packer=$!
    "$agent" watch --output ndjson --state "$scratch/state" >"$scratch/pipe" 2>"$scratch/sensor.log" &
    sensor=$!
    local deadline=$((SECONDS + sensor_start_seconds))
    until [ -e "$scratch/began" ]; do
        kill -0 "$sensor" 2>/dev/null && [ $SECONDS -lt $deadline ] || { cat "$scratch/sensor.log" >&2; fail "the sensor does not start"; }
        machine true
        sleep 0.2
    done
}

stop_sensor() {
    kill -INT "$sensor"
    wait "$sensor" || true
    sensor=''
    wait "$packer"
}

record() {
    local name=$1 began seconds status=0
    local script=${name%-[0-9]*}
    [ -f "$here/inside/$script.sh" ] || fail "there is no activity $name"
    if [ -f "$out/$name.json" ] && [ "$again" = no ]; then say "$name: recorded before"; return; fi
    start_sensor
    began=$SECONDS
    machine systemd-run --quiet --wait --pipe --collect --unit="activity-$name" --setenv=HOME=/root \
        --setenv=DEBIAN_FRONTEND=noninteractive --setenv=NOISE_IDLE_MINUTES="${NOISE_IDLE_MINUTES:-10}" \
        --setenv=NOISE_DAY_MINUTES="${NOISE_DAY_MINUTES:-10}" --setenv=NOISE_SEED="${name##*-}" \
        bash "/tmp/shared/$script.sh" >"$scratch/$name.log" 2>&1 </dev/null &
    # Waited for, not run in front: a signal ends the wait at once.
    wait $! || status=$?
    seconds=$((SECONDS - began))
    stop_sensor
    if [ "$status" != 0 ]; then
        tail -n 15 "$scratch/$name.log" >&2
        fail "$name ended with status $status, so it is no recording"
    fi
    zstd -q -d -c "$scratch/events.zst" |
        "$xtask" noise trim --activity "$name" --machine "$machine_folder" --seconds "$seconds" \
            --said "$scratch/$name.log" --sensor "$scratch/sensor.log" --out "$out"
    rm -f "$scratch/events.zst"
    say "$name: $seconds s, $(grep -ac '^did: ' "$scratch/$name.log") steps done"
    # With what was printed before it: that tells why.
    grep -a -B 5 '^could not: ' "$scratch/$name.log" >&2 || true
}

make_root
start_machine
for activity in "${activities[@]}"; do record "$activity"; done
