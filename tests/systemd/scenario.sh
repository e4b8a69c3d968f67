#!/bin/bash
# Inside of the machine that boot.sh makes: prints `name value` for tests/integration/test_systemd.py, and DONE.
set -u
say() { printf '%s %s\n' "$1" "${*:2}"; }
ask() { curl -sk -m 5 -o /tmp/body -w '%{http_code}/%{http_version}' "$@"; }
until_ok() {
    for _ in $(seq 1 100); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    return 1
}
active() { systemctl is-active "$1"; }
image=/img/unsafe/rs:fill:1:1/plain/local:///a.jpg
ready() { curl -sf -m 3 http://127.0.0.1:9101/readyz; }

# PostgreSQL is not there yet: everything runs all the same, and waits for nobody.
until_ok active haproxy
for unit in imgproxy-gateway-usage.socket imgproxy-gateway-agent imgproxy-gateway-api haproxy; do
    say "first.$unit" "$(active $unit)"
done
say first.healthz "$(ask http://127.0.0.1:8080/healthz)"

mkdir -p /run/postgresql /tmp/pg
chown postgres /run/postgresql /tmp/pg
bin=$(find /usr/lib/postgresql -name initdb -printf '%h\n' | sort -V | tail -n 1)
as() { runuser -u "$1" -- "${@:2}"; }
as postgres "$bin/initdb" -D /tmp/pg/data -A peer --no-sync >&2
as postgres "$bin/pg_ctl" -w -D /tmp/pg/data -o "-k /run/postgresql -c listen_addresses=" -l /tmp/pg/log start >&2
as postgres createuser -h /run/postgresql imgproxy-gw
as postgres createdb -h /run/postgresql -O imgproxy-gw imgproxy_gateway
until_ok ready
say ready $?
say migrate "$(active imgproxy-gateway-migrate)"

# As an operator would, with the service's own settings.
set -a
# shellcheck source=/dev/null
. /etc/imgproxy-gateway/secrets.env
set +a
as imgproxy-gw gatewayctl --config /etc/imgproxy-gateway/config.yaml user add anna --email anna@example.invalid >&2
key=$(as imgproxy-gw gatewayctl --config /etc/imgproxy-gateway/config.yaml key create anna --scopes read,upload --json |
    /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["key"])')
known() { [ "$(ask -H "X-API-Key: $key" http://127.0.0.1:8080$image | cut -c1-3)" != 401 ]; }
until_ok known

say nobody "$(ask http://127.0.0.1:8080$image)"
say tls "$(ask https://127.0.0.1$image)"
say upload "$(ask -H "X-API-Key: $key" -F file=@/usr/lib/igw-sample.jpg http://127.0.0.1:8080/api/v1/upload)"
# There is no image server: admitted, and nobody there.
say image "$(ask -H "X-API-Key: $key" http://127.0.0.1:8080$image)"
rows() { [ "$(as postgres psql -h /run/postgresql -Atc 'SELECT count(*) FROM request_logs' imgproxy_gateway)" -ge 2 ]; }
until_ok rows
say usage $?
say buffer "$(grep -c 'limits the buffer' /igw-out/imgproxy-gateway-agent)"

# Who they are, and with what.
for unit in imgproxy-gateway-agent imgproxy-gateway-api haproxy; do
    pid=$(systemctl show -P MainPID "$unit")
    say "user.$unit" "$(stat -c %U "/proc/$pid")"
    say "caps.$unit" "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")"
    say "seccomp.$unit" "$(sed -n 's/^Seccomp:\t//p' "/proc/$pid/status")"
done
say modes "$(stat -c '%a %U %n' /run/imgproxy-gateway /run/imgproxy-gateway/*.sock /var/lib/imgproxy-gateway /var/lib/imgproxy-gateway/uploads | tr '\n' ';')"

systemctl reload imgproxy-gateway-agent
say reload.agent $?
systemctl reload haproxy
say reload.haproxy $?
say reload.answer "$(ask http://127.0.0.1:8080$image)"

# Killed as a whole: what HAProxy says meanwhile waits in systemd's sockets.
systemctl kill --signal=KILL imgproxy-gateway-agent
back() { [ "$(active imgproxy-gateway-agent)" = active ] && [ "$(ask http://127.0.0.1:8080$image | cut -c1-3)" = 401 ]; }
until_ok back
say killed $?
# The one that ends takes nothing of the other's along.
systemctl restart imgproxy-gateway-api
three() { [ "$(find /run/imgproxy-gateway -name '*.sock' | wc -l)" = 3 ]; }
until_ok three
say restart.api "$(ask http://127.0.0.1:8080$image) $(find /run/imgproxy-gateway -name '*.sock' | wc -l)"
systemctl stop imgproxy-gateway-usage.socket imgproxy-gateway-agent
say stopped "$(active imgproxy-gateway-agent)"
say last "$(tail -n 1 /igw-out/imgproxy-gateway-agent | grep -c stopped)"
as postgres "$bin/pg_ctl" -D /tmp/pg/data -m immediate stop >&2
say DONE
