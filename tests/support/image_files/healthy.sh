# shellcheck shell=bash
# The health check of the app: bash alone, for an interpreter's start would cost more than the answer.
exec 3<>"/dev/tcp/127.0.0.1/${PORT:-8080}" || exit 1
printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3
read -r _version status _reason <&3
echo "GET /healthz answered ${status:-nothing}"
[ "$status" = 200 ]
