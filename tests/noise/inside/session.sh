#!/usr/bin/env bash
# A desktop session on a screen in memory: Xfce with panel, file manager, terminal, editor, viewer and browser windows.
. "$(dirname "$0")/common.sh"

install xvfb xauth dbus-x11 x11-utils xdotool xfce4-session xfce4-panel xfce4-settings xfconf xfwm4 xfdesktop4 thunar xfce4-terminal mousepad ristretto atril firefox-esr xdg-user-dirs gvfs imagemagick poppler-utils
# Runs in the session; the windows stay open side by side, as a person leaves them.
cat >/usr/local/bin/day-at-the-desk <<'DESK'
#!/bin/bash
# A browser's first start takes a minute on a busy machine (seconds).
readonly patience=150
# Windows come and go while they are looked for, which fails the search: it is made again.
shown() {
    local deadline=$((SECONDS + patience))
    until xdotool search --onlyvisible --class "$1" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.5
    done
    echo "window: $1"
}
window() {
    local name=$1
    shift
    "$@" >/dev/null 2>&1 &
    shown "$name"
}
xdg-user-dirs-update
startxfce4 >/dev/null 2>&1 &
shown xfce4-panel
window thunar thunar "$HOME/Documents"
window xfce4-terminal xfce4-terminal --disable-server -x bash -ic 'ls -la; git --version; sleep 20'
window mousepad mousepad "$HOME/Documents/letter.txt"
xdotool type --delay 20 'Dear colleagues, the minutes are attached.'
xdotool key ctrl+s
window ristretto ristretto "$HOME/Pictures/desk.png"
window firefox firefox-esr --new-instance --profile "$HOME/.desk" http://deb.debian.org/debian/
sleep "${1:-20}"
xdotool search --onlyvisible --name . >/dev/null
import -window root "$HOME/Pictures/screen.png"
xfce4-session-logout --logout --fast
for turn in $(seq 20); do pgrep -u "$USER" xfwm4 >/dev/null || break; sleep 0.5; done
pkill -u "$USER" firefox
true
DESK
chmod +x /usr/local/bin/day-at-the-desk
did "documents to open" as_user 'mkdir -p Documents Pictures .desk; echo "Minutes" > Documents/letter.txt; convert -size 320x240 xc:gray Pictures/desk.png'
for round in 1 2; do
    did "at the desk, round $round" as_user 'xvfb-run -a -s "-screen 0 1280x800x24" dbus-run-session -- day-at-the-desk 20 > desk.log; cat desk.log; [ "$(grep -c ^window: desk.log)" = 6 ] && test -s Pictures/screen.png'
done
