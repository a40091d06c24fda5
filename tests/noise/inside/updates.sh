#!/usr/bin/env bash
# What a machine does at night: unattended upgrades, cron's folders, log rotation, cleaning, timers.
. "$(dirname "$0")/common.sh"

install unattended-upgrades apt-listchanges man-db plocate needrestart debsums
# What was installed so far comes without the security fixes, so there is something to upgrade; what is large stays.
echo "deb http://deb.debian.org/debian-security bookworm-security main" >/etc/apt/sources.list.d/security.list
printf 'Unattended-Upgrade::MinimalSteps "false";\nUnattended-Upgrade::Package-Blacklist { "chromium"; "firefox"; "libreoffice"; "openjdk"; "python3-uno"; "ure"; "uno-"; };\n' >/etc/apt/apt.conf.d/60house
printf 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n' >/etc/apt/apt.conf.d/20auto-upgrades
did "daily apt" /usr/lib/apt/apt.systemd.daily update
did "daily installation" /usr/lib/apt/apt.systemd.daily install
did "unattended upgrade" unattended-upgrade --verbose
did "hourly jobs" run-parts /etc/cron.hourly
did "daily jobs" run-parts /etc/cron.daily
did "weekly jobs" run-parts /etc/cron.weekly
did "rotation" logrotate --force /etc/logrotate.conf
did "temporary files" systemd-tmpfiles --clean
did "manuals" mandb -q
did "index of files" updatedb
did "sums" debsums -s
did "journal is kept small" journalctl --vacuum-time=4w
did "timers" bash -c 'for t in apt-daily logrotate man-db dpkg-db-backup e2scrub_all; do systemctl start $t.service; done; true'
