#!/usr/bin/env bash
# Tries the packages: what stands in them, and what they do on a throwaway machine (an overlay of this one, see
# machine.sh), from installation over the first event to a purge that leaves nothing.
#
#   tests/packages/run.sh [--packages DIR] [PART...]       (default: target/packages, every part)
#
# PART  units | debs | rpms | bundle | charts
#
# Needs root on Debian 12 and what packaging/setup/setup.sh package installs. Exit status: 0 every check passed; 1 some
# failed; 2 wrong usage.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here root=${here%/tests/packages}
. "$here/checks.sh"
. "$here/machine.sh"

packages=$root/target/packages
parts=()
while [ $# -gt 0 ]; do
    case $1 in
    --packages) packages=$(cd "$2" && pwd); shift 2 ;;
    units | debs | rpms | bundle | charts) parts+=("$1"); shift ;;
    *) sed -n '5,7p' "$0" >&2; exit 2 ;;
    esac
done
[ ${#parts[@]} -gt 0 ] || parts=(units debs rpms bundle charts)
if [ "$(id -u)" != 0 ]; then
    echo "run.sh: installing packages on the throwaway machine needs root; run it as root (make test-packages)" >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'machine_stop; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

for part in "${parts[@]}"; do
    printf '\n%s\n' "-- $part"
    # shellcheck disable=SC1090 # each part is a file of its own
    . "$here/$part.sh"
done
echo
checks_end
