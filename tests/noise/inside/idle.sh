#!/usr/bin/env bash
# Nothing: the services that were installed before run by themselves, with cron and their timers.
. "$(dirname "$0")/common.sh"

systemctl start cron nginx mariadb postgresql rsyslog prometheus-node-exporter 2>/dev/null
from=$EPOCHREALTIME
sleep $((${NOISE_IDLE_MINUTES:-10} * 60))
say_did "$from" "wait ${NOISE_IDLE_MINUTES:-10} minutes"
