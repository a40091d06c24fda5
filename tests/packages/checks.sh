# Counting checks whose names are sentences. Sourced.
# shellcheck shell=bash

checks_passed=0
checks_failed=0

# check SENTENCE COMMAND...: the command's output is shown only when it fails. Functions run in a shell of their own.
check() {
    local sentence=$1 output
    shift
    # Not as a condition: that would switch off `set -e` inside of the function.
    set +e
    output=$(set -e; "$@" 2>&1)
    local status=$?
    set -e
    if [ $status -eq 0 ]; then
        checks_passed=$((checks_passed + 1))
        printf 'ok    %s\n' "$sentence"
    else
        checks_failed=$((checks_failed + 1))
        printf 'FAIL  %s\n' "$sentence"
        printf '%s\n' "$output" | tail -n 40 | sed 's/^/      /'
    fi
}

# until_true SECONDS WHAT COMMAND...: waits for a condition, not for a time.
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if [ $SECONDS -ge $deadline ]; then
            echo "not within the time: $what"
            return 1
        fi
        sleep 0.2
    done
}

checks_end() {
    printf '%s checks passed, %s failed\n' "$checks_passed" "$checks_failed"
    [ "$checks_failed" -eq 0 ]
}
