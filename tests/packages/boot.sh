#!/usr/bin/env bash
# Becomes process 1 of the throwaway machine. Called by machine.sh inside of fresh namespaces; never by hand.
#
#   boot.sh FOLDER [SHARED]     FOLDER holds upper/, work/ and root/; SHARED appears read-only as /tmp/shared
#
# MACHINE_LOWER names another root than this machine's to put the overlay on.

set -euo pipefail
readonly folder=$1 shared=${2:-}
readonly root=$folder/root

mount -t overlay overlay -o "lowerdir=${MACHINE_LOWER:-/},upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
if [ -n "$shared" ]; then
    mkdir "$root/tmp/shared"
    mount --bind "$shared" "$root/tmp/shared"
    mount -o remount,bind,ro "$root/tmp/shared"
fi

# What this machine starts at its own boot is not started here: it would reach for hardware and kernel settings.
rm -rf "$root"/lib/systemd/system/*.wants "$root"/etc/systemd/system/*.wants
ln -s /dev/null "$root/etc/systemd/system/systemd-journald-audit.socket"
# Where one is, it keeps packages from starting anything.
rm -f "$root/usr/sbin/policy-rc.d"
: >"$root/etc/fstab"
printf '[Unit]\nRequires=basic.target systemd-journald.service dbus.socket\nAfter=basic.target\n' >"$root/etc/systemd/system/beffroi-test.target"

mkdir "$root/run/before"
cd "$root"
pivot_root . run/before
exec chroot . /bin/bash -c 'umount --lazy /run/before && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=beffroi-test \
    /lib/systemd/systemd --system --unit=beffroi-test.target --log-target=console --log-level=warning'
