#!/usr/bin/env bash
# An administrator at work: accounts, services, logs, SSH between own accounts, disks, a certificate, network questions.
. "$(dirname "$0")/common.sh"

install openssh-server openssh-client sudo rsyslog nginx-light dnsutils iputils-ping tcpdump lsof strace vim-tiny openssl curl wget
did "account" useradd --create-home --shell /bin/bash bob
did "password" bash -c 'echo "bob:$(openssl rand -hex 12)" | chpasswd'
did "group" usermod -aG www-data bob
did "sudo for a user" sudo -u bob id
did "what bob may do" sudo -l -U bob
did "key pair" as_user 'mkdir -p -m 700 .ssh && ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519'
did "key goes to the account" as_user 'cp .ssh/id_ed25519.pub .ssh/authorized_keys'
did "ssh to this machine" as_user 'ssh -o StrictHostKeyChecking=accept-new -o BatchMode=yes alice@localhost "uptime; df -h; id"'
did "scp" as_user 'echo a > a.txt; scp -o BatchMode=yes a.txt alice@localhost:b.txt'
did "sftp" as_user 'echo "get b.txt c.txt" | sftp -o BatchMode=yes alice@localhost'
for service in nginx rsyslog cron ssh; do did "restart $service" systemctl restart "$service"; done
did "look at services" bash -c 'systemctl --failed; systemctl status ssh nginx --no-pager; systemctl list-timers --no-pager'
did "look at logs" bash -c 'journalctl -n 200 --no-pager; tail -n 50 /var/log/auth.log; last; lastlog | head; dmesg | tail'
did "look at the network" bash -c 'ip a; ip r; ss -tulpn; ping -c 3 127.0.0.1; dig +time=2 +tries=1 deb.debian.org; getent hosts deb.debian.org'
did "look at processes" bash -c 'ps auxf; top -bn1 | head -20; lsof -i -P | head; free -m; uptime; w; who; id; uname -a; hostname'
did "capture packets" timeout 5 tcpdump -ni lo -c 5 icmp & ping -c 4 127.0.0.1 >/dev/null; wait
did "disk" bash -c 'df -h; du -xsh /var /home /etc; lsblk; mount | head; findmnt'
did "find large and old files" bash -c 'find /var -xdev -size +20M; find /tmp -mtime +10 -delete; find / -xdev -newermt 2020-01-01 -name "*.conf" | head'
did "private certificate" bash -c 'openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost -keyout /etc/ssl/private/l.key -out /etc/ssl/certs/l.pem && chmod 640 /etc/ssl/private/l.key && openssl s_client -connect deb.debian.org:443 </dev/null | openssl x509 -noout -dates; true'
did "a virtual host" bash -c 'printf "server { listen 127.0.0.1:8080; root /var/www/html; }\n" > /etc/nginx/sites-available/l && ln -sf ../sites-available/l /etc/nginx/sites-enabled/l && nginx -t && systemctl reload nginx && curl -s localhost:8080 >/dev/null'
did "download and unpack" bash -c 'cd /tmp && wget -q http://deb.debian.org/debian/pool/main/h/hello/hello_2.10.orig.tar.gz && tar xzf hello_2.10.orig.tar.gz -C /opt && rm hello_2.10.orig.tar.gz'
did "edit a file" bash -c 'printf "ihello\033:wq\n" | vim.tiny -es /root/note.txt; sed -i s/x/y/ /etc/hosts; printf "%s\n" "127.0.1.1 intranet" | tee -a /etc/hosts'
did "own cron table" bash -c 'printf "0 3 * * * /usr/bin/true\n" > /root/table && crontab /root/table && crontab -l && crontab -r'
did "permissions" bash -c 'chown -R bob: /home/bob && chmod -R u=rwX,go= /home/bob && chmod 755 /srv'
did "trace a program" strace -f -o /root/trace true
did "archive logs" bash -c 'tar czf /root/logs.tgz /var/log && rm -f /var/log/*.gz'
did "move a folder" bash -c 'mkdir -p /srv/data && cp -a /usr/share/doc /srv/data/ && mv /srv/data/doc /srv/data/old && rm -rf /srv/data/old'
did "account goes" userdel -r bob
