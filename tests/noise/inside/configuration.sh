#!/usr/bin/env bash
# Configuration management as root: Ansible sets the machine up twice, the second time nothing may change.
. "$(dirname "$0")/common.sh"

install ansible-core python3-apt nginx-light openssh-server
mkdir -p /root/play && cd /root/play || exit 1
cat >site.yml <<'PLAY'
- hosts: localhost
  connection: local
  tasks:
    - apt: {name: [chrony, tree, htop], state: present, install_recommends: false}
    - group: {name: operators, system: true}
    - user: {name: carol, groups: [operators], shell: /bin/bash, create_home: true}
    - file: {path: /srv/app/releases, state: directory, owner: carol, mode: "0750"}
    - copy: {dest: /etc/profile.d/house.sh, content: "export EDITOR=nano\n", mode: "0644"}
    - copy: {dest: /etc/sysctl.d/60-house.conf, content: "net.ipv4.tcp_syncookies=1\n"}
    - copy: {dest: /etc/logrotate.d/app, content: "/var/log/app.log {\n weekly\n rotate 4\n missingok\n}\n"}
    - copy: {dest: /etc/motd, content: "managed\n"}
    - copy: {dest: /etc/cron.d/app, content: "15 4 * * * carol /usr/bin/true\n"}
    - lineinfile: {path: /etc/hosts, line: "127.0.1.2 app.example.org"}
    - copy: {dest: /etc/ssh/sshd_config.d/10-house.conf, content: "PasswordAuthentication no\n"}
    - copy: {dest: /etc/systemd/system/app.service, content: "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"}
    - systemd: {name: app, state: started, enabled: true, daemon_reload: true}
    - template: {src: app.conf.j2, dest: /etc/nginx/conf.d/app.conf}
    - service: {name: nginx, state: reloaded}
    - command: nginx -t
    - shell: "ps aux | wc -l"
    - setup:
PLAY
printf 'upstream app { server 127.0.0.1:9000; }\n' >app.conf.j2
for round in first second; do did "the $round run" ansible-playbook -i localhost, site.yml; done
did "facts" ansible -i localhost, -c local localhost -m setup
