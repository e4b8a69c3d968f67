#!/bin/bash
# Makes what the stack cannot start without, once: compose/.env from .env.example, and compose/secrets/ with random
# values. What is there stays as it is. Prints what it made, never a value.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

env_file=${ENV_FILE:-.env}
secrets=${SECRETS_DIR:-secrets}
# The containers read the files through this group. Root gives them to a group of nobody else; others have their own.
gid=$(id -g)
[ "$(id -u)" -ne 0 ] || gid=10001

random_hex() {
    od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

# secret NAME [VALUE]: 32 random bytes in hex, unless a value is given.
secret() {
    local file=$secrets/$1
    [ ! -e "$file" ] || return 0
    (
        umask 077
        printf '%s\n' "${2:-$(random_hex 32)}" >"$file.new"
    )
    chgrp "$gid" "$file.new"
    chmod 0640 "$file.new"
    mv "$file.new" "$file"
    echo "made $file"
}

if [ ! -e "$env_file" ]; then
    sed "s/^SECRETS_GID=.*/SECRETS_GID=$gid/" .env.example >"$env_file"
    echo "made $env_file"
fi
if [ ! -d "$secrets" ]; then
    mkdir -p "$secrets"
    chgrp "$gid" "$secrets"
    chmod 0750 "$secrets"
fi
secret postgres_password
secret db_password
secret db_dsn "postgres://imgproxy:$(cat "$secrets/db_password")@postgres/imgproxy_gateway"
secret redis_password
secret auth_key_pepper
secret auth_master_key
secret imgproxy_key
secret imgproxy_salt
secret api_token
secret usage_token
secret grafana_password
secret grafana_db_password
