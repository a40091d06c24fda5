#!/bin/bash
# Ends with 0 when every role of the collector in this container is ready, without a tool that the image would have to hold.
set -u
exec 3<>"/dev/tcp/127.0.0.1/${1:-9464}" || exit 1
printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
read -r -t 4 status <&3
[[ ${status:-} == HTTP/*' 200 '* ]]
