# What the activities share. Sourced inside of the throwaway machine.
#
#   did WHAT COMMAND...      runs the command; says "did: FROM TO WHAT" (seconds since 1970), so that the events of this
#                            step are told apart, or "could not: WHAT"
#   as_user COMMAND...       runs it as alice, a person with a home folder
#   install PACKAGE...       as an administrator installs
# shellcheck shell=bash

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# A step that hangs must not hang the recording; installations take minutes on a busy machine (seconds).
readonly step_seconds=900

did() {
    local what=$1 status=0 from=$EPOCHREALTIME
    shift
    # timeout starts programs only; a shell finds exported functions.
    if [ "$(type -t "$1")" = function ]; then set -- bash -c '"$@"' did "$@"; fi
    timeout "$step_seconds" "$@" || status=$?
    if [ "$status" = 0 ]; then say_did "$from" "$what"; else printf '\ncould not: %s (exit status %s)\n' "$what" "$status"; fi
}

# On a line of its own, whatever was printed before.
say_did() { printf '\ndid: %s %s %s\n' "$1" "$EPOCHREALTIME" "$2"; }

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
