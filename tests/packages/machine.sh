# A throwaway machine for the package tests: an overlay of this machine's root with a systemd of its own as process 1, in
# its own mount, process, network, host name and control group namespaces. It has loopback and no other network. Sourced.
#
#   machine_start            boots; fails with the log when it is not up in time
#   machine COMMAND...       runs a command in it
#   machine_tree             what differs from this machine's root, one line a file
#   machine_stop             ends every process in it and removes it
#
# Nothing of this machine changes: writes go to the overlay, /proc/sys and /sys are read-only in there, and none of the
# units that set up hardware or kernel settings are started. Needs root.
# shellcheck shell=bash

# Until systemd answers on a busy machine (seconds).
readonly machine_boot_seconds=60
machine_folder=
machine_unshare=
machine_init=

machine_start() {
    machine_folder=$(mktemp -d "${TMPDIR:-/tmp}/beffroi-machine.XXXXXX")
    mkdir "$machine_folder"/{upper,work,root}
    unshare --mount --pid --fork --cgroup --ipc --uts --net --propagation private --kill-child \
        bash "$(dirname "${BASH_SOURCE[0]}")/boot.sh" "$machine_folder" "$@" </dev/null >"$machine_folder/log" 2>&1 &
    machine_unshare=$!
    local deadline=$((SECONDS + machine_boot_seconds))
    until machine_is_up; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$machine_unshare" 2>/dev/null; then
            tail -n 20 "$machine_folder/log" >&2
            machine_stop
            echo "the throwaway machine does not boot here (see above)" >&2
            return 1
        fi
        sleep 0.1
    done
}

machine_is_up() {
    machine_init=$(pgrep -P "$machine_unshare" | head -n 1)
    [ -n "$machine_init" ] && [ "$(cat "/proc/$machine_init/comm")" = systemd ] &&
        machine systemctl is-active --quiet basic.target 2>/dev/null
}

machine() {
    nsenter --target "$machine_init" --mount --pid --net --ipc --uts --cgroup --wdns=/ -- \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

# State of the packet manager, logs and caches are no concern of a purge; /etc/passwd- and the like are its neighbours' backups.
machine_tree() {
    (
        cd "$machine_folder/upper" || exit
        find . \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./tmp -o -path ./run -o -path ./root \) -prune \
            -o ! -path '*/.pwd.lock' ! -regex './etc/\(passwd\|group\|shadow\|gshadow\|subuid\|subgid\)-' \
            ! -path './var/lib/systemd/*' ! -type d -printf '%y %m %U:%G %P\n' |
            while read -r kind mode owner path; do
                # Touched and the same again.
                if [ "$kind" = f ] && [ "$mode $owner" = "$(stat -c '%a %u:%g' "/$path" 2>/dev/null)" ] && cmp -s "$path" "/$path"; then continue; fi
                sum=-
                [ "$kind" != f ] || sum=$(sha256sum <"$path")
                echo "$kind $mode $owner ${sum%% *} $path"
            done
        # Folders: only those that this machine's root does not have.
        find . \( -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache -o -path ./tmp -o -path ./run -o -path ./root \) -prune \
            -o -type d ! -path './var/lib/systemd/*' -printf '%P\n' |
            while read -r path; do [ -d "/$path" ] || echo "d $path"; done
    ) | sort
}

machine_stop() {
    if [ -n "$machine_init" ]; then kill -KILL "$machine_init" 2>/dev/null || true; fi
    if [ -n "$machine_unshare" ]; then
        kill -KILL "$machine_unshare" 2>/dev/null || true
        wait "$machine_unshare" 2>/dev/null || true
    fi
    machine_init='' machine_unshare=''
    [ -z "$machine_folder" ] || rm -rf "$machine_folder"
    machine_folder=
}
