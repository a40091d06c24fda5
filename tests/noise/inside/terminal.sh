#!/usr/bin/env bash
# People at terminals: multiplexers that outlive a login, recorded sessions, jobs for later, other people's accounts.
. "$(dirname "$0")/common.sh"

install tmux screen bsdutils at mc htop vim-tiny nano git man-db less openssh-client openssh-server expect
# What is typed into a window, until the window says that it is done.
typed() {
    local deadline=$((SECONDS + 60))
    until [ -e "$1" ]; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.2
    done
    rm -f "$1"
}
export -f typed
did "tmux" as_user 'tmux new-session -d -s work && tmux send-keys -t work "cd /usr/share/doc; ls | head; git --version; man -P cat ls | wc -l; touch /tmp/tmux.done" Enter && typed /tmp/tmux.done && tmux list-sessions'
did "more windows" as_user 'tmux new-window -t work "vim.tiny -es -c q" && tmux split-window -t work:0 "sleep 1" && tmux send-keys -t work:0.0 "for i in 1 2 3; do date; df -h; done; touch /tmp/tmux.done" Enter && typed /tmp/tmux.done && tmux kill-session -t work'
did "screen" as_user 'screen -dmS build bash -c "cd; mkdir -p s; seq 1000 > s/n; sort -R s/n | md5sum; touch /tmp/screen.done"; typed /tmp/screen.done'
did "screen of root" bash -c 'screen -dmS upkeep bash -c "journalctl -n 50 --no-pager; apt-get -q check; touch /tmp/screen.done"; typed /tmp/screen.done'
did "recorded session" as_user 'script -qec "bash -lic \"ls -la; id; exit\"" session.log'
did "another account" bash -c 'id dora >/dev/null 2>&1 || useradd --create-home --shell /bin/bash dora; su - dora -c "id; ls -la; umask"; runuser -l dora -c "echo hello > note"'
did "login shell of root" bash -lc 'alias; history 5; ulimit -a; env | sort | head'
did "a job for later" bash -c 'systemctl start atd; echo "touch /tmp/at.done" | at now && typed /tmp/at.done && atq'
did "work goes on without the terminal" as_user 'nohup bash -c "sleep 2; date > later" >/dev/null 2>&1 & wait; cat later'
did "remote login into a multiplexer" bash -c 'systemctl start ssh; as_user "mkdir -p -m 700 .ssh; [ -e .ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N \"\" -f .ssh/id_ed25519; cp .ssh/id_ed25519.pub .ssh/authorized_keys; ssh -tt -o StrictHostKeyChecking=accept-new -o BatchMode=yes alice@localhost \"tmux new-session -d -s far; tmux send-keys -t far uptime Enter; sleep 1; tmux kill-server\""'
did "dialogue by a script" as_user 'expect -c "spawn bash --norc; send \"id\r\"; expect uid; send \"exit\r\"; expect eof"'
