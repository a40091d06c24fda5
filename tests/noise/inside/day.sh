#!/usr/bin/env bash
# An office workstation's day in another order for each seed (NOISE_SEED), NOISE_DAY_MINUTES long (default 10): alice
# writes, calculates, browses, prints, packs, signs, searches and works at a terminal, with pauses; meanwhile, as root,
# monitoring asks, configuration management looks, a backup is made, containers run and cron's jobs are due.
. "$(dirname "$0")/common.sh"

RANDOM=${NOISE_SEED:-1}
readonly minutes=${NOISE_DAY_MINUTES:-10}
# Seconds between two pieces of work, at most.
readonly longest_pause=20

install libreoffice-writer-nogui libreoffice-calc-nogui poppler-utils chromium firefox-esr cups cups-client printer-driver-cups-pdf \
    zip unzip imagemagick gnupg tmux git restic ansible-core monitoring-plugins-basic podman crun buildah busybox-static nginx-light logrotate
did "morning" as_user 'mkdir -p Documents Pictures Mail/{new,cur}; for i in 1 2 3; do echo "page $i" > Documents/p$i.txt; done'
did "account of the monitoring" bash -c 'id nagios || useradd --system --home-dir /var/lib/nagios nagios'
did "services" bash -c 'systemctl restart cups nginx cron; lpadmin -p PDF -v cups-pdf:/ -m lsb/usr/cups-pdf/CUPS-PDF_opt.ppd -E || lpadmin -p PDF -E -v file:///dev/null -m raw'
did "place for backups" bash -c 'mkdir -p /srv/day; [ -e /root/.day ] || head -c 24 /dev/urandom | base64 > /root/.day; [ -e /srv/day/config ] || restic -q -r /srv/day -p /root/.day init'
did "storage of containers" bash -c 'mkdir -p /etc/containers /root/day/bin; printf "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers\"\ngraphroot = \"/var/lib/containers\"\n" > /etc/containers/storage.conf; printf "[containers]\ndefault_sysctls = []\n" > /etc/containers/containers.conf; cp /bin/busybox /root/day/bin/; for t in sh ls id; do ln -sf busybox /root/day/bin/$t; done; tar c -C /root/day . | podman import - day'

# Each is given the number of the turn and a number of chance.
write() { as_user "cd Documents && echo 'line $1' >> p$(($2 % 3 + 1)).txt && soffice --headless --convert-to odt p$(($2 % 3 + 1)).txt && soffice --headless --convert-to pdf p$(($2 % 3 + 1)).txt"; }
calculate() { as_user "cd Documents && seq $(($2 % 300 + 10)) | paste -sd, > t$1.csv && soffice --headless --convert-to xlsx t$1.csv && rm t$1.csv"; }
browse() { as_user 'timeout 60 chromium --headless --no-sandbox --disable-gpu --screenshot=Pictures/page.png http://localhost/ && convert Pictures/page.png -resize 50% Pictures/small.jpg'; }
browse_elsewhere() { as_user 'timeout 90 firefox-esr --headless --screenshot $HOME/Pictures/fox.png http://deb.debian.org/debian/'; }
print_it() { as_user "echo 'notice $1' > Documents/notice.txt && lp -d PDF Documents/notice.txt && lpstat -t"; }
mail() { as_user "printf 'From: bob\nSubject: $1\n\nhello\n' > Mail/new/$1.alice && mv Mail/new/$1.alice Mail/cur/ && grep -rl Subject Mail"; }
pack() { as_user "zip -qr day$1.zip Documents && mkdir -p out$1 && unzip -q day$1.zip -d out$1 && rm -rf out$1 day$1.zip"; }
sign() { as_user '[ -e .gnupg/trustdb.gpg ] || gpg --batch --passphrase "" --quick-gen-key alice@example.org; gpg --batch --yes --detach-sign Documents/p1.txt && gpg --verify Documents/p1.txt.sig'; }
search() { as_user 'grep -ri page Documents; find . -name "*.pdf" -mmin -60; du -sh .'; }
terminal() { as_user "tmux new-session -d -s d$1 'git init -q g$1; cd g$1; echo x > x; git add x; git -c user.name=A -c user.email=a@example.org commit -qm x; ls -la; df -h'; sleep 2; tmux ls || true; rm -rf g$1"; }
tidy() { as_user "cd Documents && for f in *.pdf; do [ ! -e \"\$f\" ] || mv \"\$f\" \"old-\${f#old-}\"; done; rm -rf ~/.cache/thumbnails"; }
monitor() { runuser -u nagios -- bash -c 'cd /usr/lib/nagios/plugins; ./check_disk -w 1% -c 1% /; ./check_load -w 90 -c 99; ./check_procs -w 900; ./check_http -H localhost; ./check_users -w 50 -c 90; true'; }
configure() { ansible -i localhost, -c local localhost -m copy -a 'dest=/etc/motd content="day\n"' && ansible -i localhost, -c local localhost -m service -a 'name=cron state=started'; }
backup() { restic -q -r /srv/day -p /root/.day backup /etc /home && restic -q -r /srv/day -p /root/.day forget --keep-last 3 --prune; }
contain() { podman run --rm --network none --cgroups disabled day /bin/sh -c 'id; ls /'; }
upkeep() { apt-get -q update && run-parts /etc/cron.hourly && logrotate /etc/logrotate.conf && systemd-tmpfiles --clean; }
look() { ps aux | head -5 && ss -tln && systemctl --failed --no-pager && journalctl -n 20 --no-pager && free -m; }
readonly kinds=(write calculate browse browse_elsewhere print_it mail pack sign search terminal tidy monitor configure backup contain upkeep look)
export -f "${kinds[@]}"

# In this shell, as a subshell would draw numbers of its own.
shuffle() {
    local at other
    order=("${kinds[@]}")
    for ((at = ${#order[@]} - 1; at > 0; at--)); do
        other=$((RANDOM % (at + 1)))
        set -- "${order[at]}"
        order[at]=${order[other]}
        order[other]=$1
    done
}

# Every kind once in an order of its own, then again, until the day is over.
day_ends=$((SECONDS + minutes * 60))
turn=0
while [ $SECONDS -lt $day_ends ]; do
    shuffle
    for work in "${order[@]}"; do
        turn=$((turn + 1))
        did "${work//_/ }, $turn" "$work" "$turn" "$RANDOM"
        [ $SECONDS -lt $day_ends ] || break
        sleep $((RANDOM % longest_pause))
    done
done
