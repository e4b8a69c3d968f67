#!/bin/sh
# Starts HAProxy with what compose says. Some settings it wants as plain numbers: bytes and seconds.
set -eu

fail() {
    echo "haproxy.sh: $1: \"$2\" is not $3" >&2
    exit 1
}

# number NAME TEXT WHAT UNIT=FACTOR…: TEXT is digits and one of the units; prints the product.
number() {
    name=$1 text=$2 what=$3
    shift 3
    digits=${text%%[!0-9]*}
    for unit in "$@"; do
        if [ -n "$digits" ] && [ "${text#"$digits"}" = "${unit%=*}" ]; then
            echo $((digits * ${unit#*=}))
            return
        fi
    done
    fail "$name" "$text" "$what"
}

bytes() {
    number "$1" "$2" "a size, as 512, 16KB, 100MB or 1GB" =1 KB=1024 MB=1048576 GB=1073741824
}

seconds() {
    number "$1" "$2" "a time in whole seconds, as 30s, 5m or 1h" s=1 m=60 h=3600
}

UPLOADS_MAX_SIZE_BYTES=$(bytes UPLOADS_MAX_SIZE "${UPLOADS_MAX_SIZE:-100MB}")
IMAGES_CACHE_OBJECT_BYTES=$(bytes IMAGES_CACHE_MAX_OBJECT "${IMAGES_CACHE_MAX_OBJECT:-1MB}")
IMAGES_CACHE_SECONDS=$(seconds IMAGES_CACHE_MAX_AGE "${IMAGES_CACHE_MAX_AGE:-10m}")
SERVER_READ_TIMEOUT=${SERVER_READ_TIMEOUT:-30s}
SERVER_WRITE_TIMEOUT=${SERVER_WRITE_TIMEOUT:-30s}
API_MAX_USER_REQUESTS=${API_MAX_USER_REQUESTS:-128}
IMGPROXY_1_WEIGHT=${IMGPROXY_1_WEIGHT:-70}
IMGPROXY_2_WEIGHT=${IMGPROXY_2_WEIGHT:-30}
export UPLOADS_MAX_SIZE_BYTES IMAGES_CACHE_OBJECT_BYTES IMAGES_CACHE_SECONDS
export SERVER_READ_TIMEOUT SERVER_WRITE_TIMEOUT API_MAX_USER_REQUESTS IMGPROXY_1_WEIGHT IMGPROXY_2_WEIGHT
exec haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg
