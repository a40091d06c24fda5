#!/usr/bin/env bash
# A monitored server: checks every few seconds as the monitoring account, an exporter, accounting.
. "$(dirname "$0")/common.sh"

install monitoring-plugins-basic prometheus-node-exporter sysstat smartmontools nagios-nrpe-server snmpd
did "exporter" systemctl restart prometheus-node-exporter
did "agent of the monitoring" systemctl restart nagios-nrpe-server
did "accounting" bash -c '/usr/lib/sysstat/sa1 1 1; sar -u 1 2; iostat; mpstat'
checks='cd /usr/lib/nagios/plugins; ./check_disk -w 5% -c 2% /; ./check_load -w 50 -c 90; ./check_procs -w 900; ./check_users -w 50 -c 90; ./check_ssh localhost; ./check_tcp -H localhost -p 22; ./check_http -H localhost; ./check_ping -H 127.0.0.1 -w 100,20% -c 500,60%; ./check_log -F /var/log/dpkg.log -O /tmp/o -q error; ./check_swap -w 1% -c 1%; ./check_ntp_time -H localhost; true'
export checks
for round in $(seq 1 12); do
    did "checks, round $round" runuser -u nagios -- bash -c "$checks"
    did "scrape, round $round" bash -c 'exec 3<>/dev/tcp/127.0.0.1/9100; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3 | tail -n 1'
    sleep 10
done
