#!/usr/bin/env bash
# Nightly backups by four tools, with pruning and a restore.
. "$(dirname "$0")/common.sh"

install restic borgbackup rsync mariadb-server mariadb-client postgresql cpio
mkdir -p /srv/backup /srv/restore
export RESTIC_PASSWORD_FILE=/root/.restic BORG_PASSPHRASE=x BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
head -c 24 /dev/urandom | base64 >/root/.restic
did "restic repository" restic -r /srv/backup/restic init
for round in 1 2 3; do
    did "restic backup $round" restic -r /srv/backup/restic backup /etc /home /root --exclude /root/.cache
done
did "restic prune" restic -r /srv/backup/restic forget --keep-daily 7 --keep-last 1 --prune
did "restic check" restic -r /srv/backup/restic check
did "restic restore" restic -r /srv/backup/restic restore latest --target /srv/restore
did "borg repository" borg init --encryption none /srv/backup/borg
for round in 1 2 3; do did "borg backup $round" borg create "/srv/backup/borg::night-$round" /etc /home /var/lib/dpkg; done
did "borg prune" borg prune --keep-daily 7 --keep-last 1 /srv/backup/borg
did "borg compact" borg compact /srv/backup/borg
did "rsync" rsync -a --delete /etc/ /srv/backup/etc/
did "rsync again" rsync -a --delete /etc/ /srv/backup/etc/
did "tar" tar czf /srv/backup/home.tgz /home
did "data bases" bash -c 'systemctl start mariadb; mariadb-dump --all-databases | gzip > /srv/backup/m.sql.gz; runuser -u postgres -- pg_dumpall | gzip > /srv/backup/p.sql.gz'
did "old backups go" bash -c 'find /srv/backup -name "*.gz" -mtime +30 -delete; rm -rf /srv/restore/*'
