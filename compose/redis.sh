#!/bin/sh
# Starts Redis with its password, which must not stand in a command line.
set -eu
umask 077

password=$(cat /run/secrets/redis_password)
printf 'requirepass "%s"\n' "$password" >/tmp/redis.conf
unset password
exec redis-server /tmp/redis.conf --bind 0.0.0.0 --dir /data --appendonly yes --save ''
