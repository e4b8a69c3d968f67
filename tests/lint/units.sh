#!/bin/bash
# The systemd units as `make install` lays them: systemd itself finds nothing wrong with them, and its score of what each
# service may do (0 nothing, 10 everything) stays under a bound. Needs no running systemd.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Tenths. HAProxy is the one that faces the network, with a capability and the JIT of PCRE2.
services=15
haproxy=20

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

make --no-print-directory install DESTDIR="$root" prefix=/usr
# What the units lean on: systemd's own units and HAProxy's, and the programs that they start.
mkdir -p "$root/usr/sbin"
cp -rn /lib/systemd/system/. "$root/usr/lib/systemd/system/"
ln -s usr/bin "$root/bin"
ln -s usr/sbin "$root/sbin"
ln -s usr/lib "$root/lib"
for program in /usr/bin/kill /usr/sbin/haproxy; do
    install -m 755 /bin/true "$root$program"
done

ours=()
for unit in compose/systemd/*.service compose/systemd/*.socket; do
    ours+=("${unit##*/}")
done

# The root has no more of the system than that: what other units say of it does not concern us.
verify() {
    local said
    said=$(systemd-analyze verify --root="$root" --man=no --recursive-errors=no "$@" 2>&1) || true
    said=$(grep -E 'imgproxy-gateway|haproxy' <<<"$said" || true)
    [ -z "$said" ] || {
        printf '%s\n' "$said"
        return 1
    }
}

score() {
    local unit=$1 bound=$2 table
    table=$(systemd-analyze security --offline=true --root="$root" --threshold="$bound" --no-pager "$unit" 2>&1) || {
        printf '%s\n' "$table"
        echo "$unit: exposed more than $bound tenths"
        return 1
    }
    grep -oE 'Overall exposure level for .*' <<<"$table"
}

bad=0
verify "${ours[@]}" haproxy.service || bad=1
for unit in "${ours[@]}"; do
    case $unit in
    *.service) score "$unit" "$services" || bad=1 ;;
    esac
done
score haproxy.service "$haproxy" || bad=1
exit $bad
