#!/usr/bin/env bash
# What is tried inside of the throwaway machine once packages are installed, whatever their format. One step a call:
#
#   inside.sh STEP
#
# Exit status 0: the step holds. Everything it says otherwise is for the person who reads the test's failure.

set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

export BEFFROI_CONFIG=/tmp/terminal.toml
readonly state=/var/lib/beffroi-agent
# The engine's first start on a busy machine (seconds).
readonly patience=120

http_status() {
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&3
    local line
    read -r line <&3
    exec 3>&-
    [[ $line == *" $3 "* ]]
} 2>/dev/null

fail_with_journal() {
    journalctl --no-pager -o cat -u "$1" | tail -n 25
    systemctl status --no-pager "$1" || true
    return 1
}

# `!` would not end a step that runs under `set -e`.
refuse() {
    if "$@"; then
        echo "this holds and must not: $*"
        return 1
    fi
}

status_json() { beffroi-agent status --output json; }
main_pid() { systemctl show --property MainPID --value "$1"; }
user_of() { ps -o user:32= -p "$1" | tr -d ' '; }
of_process() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }

nothing_runs_before_enrolment() {
    refuse systemctl is-active --quiet beffroi-agent-sensor beffroi-agent-uplink
    refuse systemctl is-active --quiet beffroi-collector
    systemctl start beffroi-agent
    refuse systemctl is-active --quiet beffroi-agent-sensor
    local code=0
    beffroi-agent doctor >/tmp/doctor 2>&1 || code=$?
    [ $code -eq 3 ]
    grep -q 'beffroi-agent enroll' /tmp/doctor
}

users_and_folders_are_there() {
    getent passwd beffroi-uplink beffroi-scan beffroi >/dev/null
    [ "$(stat -c '%a %U:%G' $state/identity)" = "700 root:root" ]
    [ "$(stat -c '%a %U:%G' $state/tls)" = "700 beffroi-uplink:beffroi-uplink" ]
    [ "$(stat -c '%a %U:%G' $state/spool/exec)" = "2750 root:beffroi-uplink" ]
    [ "$(stat -c '%a %U:%G' /var/lib/beffroi)" = "750 beffroi:beffroi" ]
}

the_agent_watches_without_a_server() {
    (for _ in 1 2 3 4 5 6 7 8; do /bin/true; sleep 0.25; done) &
    beffroi-agent watch --output ndjson --duration 3s >/tmp/watched
    wait
    grep -q '"Image"' /tmp/watched
}

the_collector_gets_ready() {
    beffroi-collector --config /etc/beffroi/collector.toml --check-config
    systemctl start beffroi-collector
    # Written once every role is started.
    until_true $patience "the collector's start" test -s /var/lib/beffroi/run/addresses.json || fail_with_journal beffroi-collector
    until_true $patience "the collector's readiness" http_status 9464 /readyz 200 || fail_with_journal beffroi-collector
    journalctl --no-pager -o cat -u beffroi-collector >/tmp/collector.log
    refuse grep -i 'landlock\|call filter could not\|cannot drop capabilities' /tmp/collector.log
}

the_engine_runs_confined() {
    local engine collector
    collector=$(main_pid beffroi-collector)
    engine=$(pgrep -P "$collector" -f clickhouse-embedded)
    [ "$(of_process "$engine" CapEff)" = 0000000000000000 ]
    [ "$(of_process "$engine" NoNewPrivs)" = 1 ]
    # The unit's filters and the engine's own.
    [ "$(of_process "$engine" Seccomp_filters)" -gt "$(of_process "$collector" Seccomp_filters)" ]
    [ "$(user_of "$engine")" = beffroi ]
}

the_host_enrols_and_is_heard() {
    cat >$BEFFROI_CONFIG <<TEXT
api = "http://127.0.0.1:8080"
token_file = "/var/lib/beffroi/api/admin.token"
gateway = "https://127.0.0.1:8443"
ca_file = "/var/lib/beffroi/pki/ca.pem"
TEXT
    beffroi enroll token --tenant interieur --uses 1 --expires 1h --out /tmp/token
    beffroi-agent enroll --token-file /tmp/token
    systemctl start beffroi-agent
    until_true 60 "the agent's first acknowledged batch" acknowledged || fail_with_journal beffroi-agent-uplink
}

acknowledged() { status_json | jq -e '.uplink.batches > 0 and (.sensor.hooks | length) > 0' >/dev/null; }

every_probe_is_on_in_the_sandbox() {
    status_json | jq -e '[.sensor.hooks[] | select(.on | not)] == []' >/dev/null ||
        { status_json | jq -c '.sensor.hooks[] | select(.on | not)'; return 1; }
}

the_doctor_finds_nothing() {
    # Heartbeats and the scan worker's first word come within seconds of the start.
    until_true 60 "a healthy doctor" healthy || { jq -c '.[] | select(.ok | not)' /tmp/doctor; fail_with_journal beffroi-agent-sensor; }
}

# Drops are left out: they tell how busy this machine is, which builds and tests share.
healthy() {
    beffroi-agent doctor --output json >/tmp/doctor 2>/dev/null || true
    jq -e '(length > 8) and ([.[] | select(.ok | not) | .name] - ["drops"] == [])' /tmp/doctor >/dev/null
}

a_process_of_this_machine_reaches_the_analyst() {
    local mark=beffroi-package-mark-$$
    /bin/echo "$mark" >/dev/null
    until_true 60 "an event with $mark" found "$mark" || fail_with_journal beffroi-agent-sensor
}

# Through a file: a reader that has found what it wants must not end the search with a broken pipe.
search() { beffroi events search "$@" --since 1h --output ndjson >/tmp/found 2>/dev/null; }
found() { search "CommandLine~$1" && grep -q "$1" /tmp/found; }

a_file_in_tmp_and_in_a_home_is_scanned() {
    # A private /tmp or a hidden /home would make the scanner blind.
    local folder
    for folder in /tmp /root; do
        printf '#!/bin/sh\n# %s\n' "$(sample)" >"$folder/beffroi-package-sample.sh"
        chmod +x "$folder/beffroi-package-sample.sh"
        until_true 60 "an antivirus event for $folder" scanned "$folder/beffroi-package-sample.sh" || fail_with_journal beffroi-agent-sensor
        rm "$folder/beffroi-package-sample.sh"
    done
}

# The marker of the demonstration rule, as it stands in the rule.
sample() { sed -n 's/.*"\(BEFFROI[^"]*\)".*/\1/p' /usr/share/beffroi/yara/beffroi_demo_dropper.yar | head -n 1; }
scanned() { search "Signature~beffroi" && grep -q "$1" /tmp/found; }

processes_hold_what_their_units_allow() {
    local sensor uplink worker
    sensor=$(main_pid beffroi-agent-sensor) uplink=$(main_pid beffroi-agent-uplink)
    worker=$(pgrep -P "$sensor" -f scan-worker)
    # KILL(5) SETGID(6) SETUID(7) DAC_READ_SEARCH(2) SYS_PTRACE(19) PERFMON(38) BPF(39)
    [ "$(of_process "$sensor" CapEff)" = 000000c0000800e4 ]
    [ "$(of_process "$uplink" CapEff) $(of_process "$uplink" CapBnd)" = "0000000000000000 0000000000000000" ]
    [ "$(of_process "$worker" CapEff) $(of_process "$worker" CapPrm)" = "0000000000000000 0000000000000000" ]
    [ "$(user_of "$uplink") $(user_of "$worker")" = "beffroi-uplink beffroi-scan" ]
    # The unit's filters and the worker's own.
    [ "$(of_process "$worker" Seccomp_filters)" -gt "$(of_process "$sensor" Seccomp_filters)" ]
    local process
    for process in $sensor $uplink $worker; do
        [ "$(of_process "$process" NoNewPrivs)" = 1 ]
        [ "$(of_process "$process" Seccomp)" = 2 ]
    done
}

a_killed_sensor_comes_back() {
    local before
    before=$(main_pid beffroi-agent-sensor)
    kill -KILL "$before"
    until_true 30 "a new sensor" changed "$before" || fail_with_journal beffroi-agent-sensor
    until_true 60 "its probes" acknowledged
}

changed() { systemctl is-active --quiet beffroi-agent-sensor && [ "$(main_pid beffroi-agent-sensor)" != "$1" ]; }

everything_stops_in_order() {
    systemctl stop beffroi-agent beffroi-collector
    local unit
    for unit in beffroi-agent-sensor beffroi-agent-uplink beffroi-collector; do
        [ "$(systemctl show --property Result --value $unit)" = success ] || fail_with_journal $unit
    done
    refuse pgrep -l 'beffroi|clickhouse'
}

"$1"
