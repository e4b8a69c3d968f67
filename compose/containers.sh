#!/bin/bash
# The stack of docker-compose.yml: build the images, up (returns when all is healthy), down (what it keeps stays).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# How long the first start may take: the database is made, and images may have to come from far away before it.
ready_within=${READY_WITHIN:-180}
compose=(docker-compose)
command -v docker-compose >/dev/null || compose=(docker compose)

fail() {
    echo "containers.sh: $*" >&2
    exit 1
}

# One line for each container that is not there yet: its name and its state. Jobs that have ended well are there.
waiting() {
    local ids
    ids=$("${compose[@]}" ps -q)
    # shellcheck disable=SC2086  # one word an id
    docker inspect --format \
        '{{.Name}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}} {{.State.ExitCode}}' $ids |
        awk '!($2 == "running" && $3 ~ /^(healthy|-)$/ || $2 == "exited" && $4 == 0) { print substr($1, 2), $2, $3 }'
}

up() {
    local deadline=$((SECONDS + ready_within)) left
    ./prepare.sh
    "${compose[@]}" up -d "$@" || fail "the stack did not start: ${compose[*]} logs"
    while left=$(waiting) && [ -n "$left" ]; do
        [ $SECONDS -lt $deadline ] || fail "not ready within $ready_within s: $left"
        sleep 1
    done
    "${compose[@]}" ps
    echo "ready; a user and a key (in $PWD):"
    echo "  ${compose[*]} run --rm gatewayctl user add anna --email anna@example.com"
    echo "  ${compose[*]} run --rm gatewayctl key create anna"
}

case ${1:-} in
build)
    ./prepare.sh
    "${compose[@]}" build
    ;;
up)
    shift
    up "$@"
    ;;
down) "${compose[@]}" down ;;
*) fail "usage: containers.sh build|up|down" ;;
esac
