# What the activities share. Sourced inside of the throwaway machine.
#
#   did WHAT, COMMAND...     runs the command; says "did: WHAT" or "could not: WHAT"
#   as_user COMMAND...       runs it as alice, a person with a home folder
#   install PACKAGE...       as an administrator installs
# shellcheck shell=bash

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# A step that hangs must not hang the recording (seconds).
readonly step_seconds=300

did() {
    local what=$1 status=0
    shift
    # timeout starts programs only; a shell finds exported functions.
    if [ "$(type -t "$1")" = function ]; then set -- bash -c '"$@"' did "$@"; fi
    timeout "$step_seconds" "$@" || status=$?
    if [ "$status" = 0 ]; then echo "did: $what"; else echo "could not: $what (exit status $status)"; fi
}

as_user() {
    id alice >/dev/null 2>&1 || useradd --create-home --shell /bin/bash alice
    runuser -u alice -- env HOME=/home/alice USER=alice XDG_RUNTIME_DIR=/tmp PATH=/usr/local/bin:/usr/bin:/bin bash -c "cd; $1"
}
export -f as_user

refresh() { [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit)" ] || apt-get -q update; }

install() {
    refresh
    did "install $*" apt-get -q -y --no-install-recommends install "$@"
}
