#!/usr/bin/env bash
# Nothing: the services that were installed before run by themselves, with cron and their timers.
. "$(dirname "$0")/common.sh"

# As after a boot; what is not installed is not missed.
for service in cron nginx mariadb postgresql rsyslog prometheus-node-exporter; do systemctl restart "$service" 2>/dev/null || true; done
from=$EPOCHREALTIME
sleep $((${NOISE_IDLE_MINUTES:-10} * 60))
say_did "$from" "wait ${NOISE_IDLE_MINUTES:-10} minutes"
