#!/usr/bin/env bash
# Runs a command that runs tests, shows everything that it prints, and ends with the sum of all "test result" lines.
#
#   tests/tally.sh cargo test --workspace
#
# Ends with the command's own exit status. What this machine lacks makes some tests say SKIPPED; these lines are counted too, so
# that a green run on a poor machine does not look like one on a good machine.

set -uo pipefail

"$@" 2>&1 | awk '
    { print; fflush() }
    /^test result: / {
        programs++
        for (i = 2; i <= NF; i++) {
            if ($i == "passed;") passed += $(i - 1)
            if ($i == "failed;") failed += $(i - 1)
            if ($i == "ignored;") ignored += $(i - 1)
        }
    }
    /SKIPPED/ { skipped++ }
    END {
        printf "\ntests: %d passed, %d failed, %d ignored in %d programs", passed, failed, ignored, programs
        if (skipped > 0) printf "; %d said SKIPPED, see above", skipped
        printf "\n"
        if (programs == 0) { print "tests: no result was printed at all"; exit 3 }
    }'
statuses=("${PIPESTATUS[@]}")
[ "${statuses[0]}" -eq 0 ] || exit "${statuses[0]}"
exit "${statuses[1]}"
