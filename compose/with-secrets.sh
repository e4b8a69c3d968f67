#!/bin/sh
# with-secrets.sh COMMAND…: runs it with the secrets of this container in the environment, for programs that take them
# from nowhere else. A secret is a file /run/secrets/NAME; those whose NAME is that of a variable are taken.
set -eu

for file in /run/secrets/*; do
    name=${file##*/}
    case $name in
    *[!A-Z0-9_]* | '') continue ;;
    esac
    value=$(cat "$file") || {
        echo "with-secrets.sh: $file cannot be read by user $(id -u), groups $(id -G)" >&2
        exit 1
    }
    export "$name=$value"
done
unset file name value
exec "$@"
