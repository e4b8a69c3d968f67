#!/bin/bash
# Installs the Debian 12 packages that the groups named as arguments need: run, test, lint (all three when none is named),
# bench, load and containers.
# Asks dpkg first: when nothing is missing it ends at once and needs neither root nor the network.
set -euo pipefail

run=(gcc make libc6-dev pkg-config libev-dev liblmdb-dev libpq-dev libhiredis-dev libssl-dev libmicrohttpd-dev
    libjansson-dev libyaml-dev zlib1g-dev libvips-dev libcurl4-openssl-dev haproxy postgresql-15 postgresql-client-15 redis-server curl
    python3 ca-certificates procps util-linux passwd)
test=(libcmocka-dev python3-pytest python3-pytest-rerunfailures python3-pytest-xdist python3-psycopg2 python3-h2 python3-redis python3-requests python3-pil python3-lmdb python3-yaml nginx-light prometheus)
lint=(systemd prometheus python3-yaml clang clang-format clang-tidy cppcheck shellcheck valgrind libclang-rt-14-dev lcov
    docker-compose yamllint)
bench=(nginx-light)
load=(python3-locust)
containers=(docker.io docker-compose debootstrap iproute2 python3-pil)

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

wanted=()
[ $# -gt 0 ] || set -- run test lint
for group in "$@"; do
    case $group in
    run) wanted+=("${run[@]}") ;;
    test)
        wanted+=("${test[@]}")
        # For imgproxy's own client library. Where there is a Node.js, from wherever, it is left alone.
        command -v node >/dev/null || wanted+=(nodejs npm)
        ;;
    lint) wanted+=("${lint[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    load) wanted+=("${load[@]}") ;;
    containers) wanted+=("${containers[@]}") ;;
    *) fail "unknown group '$group' (run, test, lint, bench, load, containers)" ;;
    esac
done

command -v dpkg-query >/dev/null || fail "this is not Debian; install by hand: ${wanted[*]}"

installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null |
    sed -n 's/ installed$//p' || true)
missing=()
for package in "${wanted[@]}"; do
    grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u | sed '/^$/d')
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
        fail "packages are missing and this is neither root nor is there sudo; as root: apt-get install ${missing[*]}"
    echo "setup.sh: ${#missing[@]} packages are missing, installing them with sudo: ${missing[*]}"
    noask=()
    [ -t 0 ] || noask=(-n)
    exec sudo "${noask[@]}" "$0" "$@"
fi
echo "setup.sh: installing ${#missing[@]} packages: ${missing[*]}"

# Servers that come with a package must not start by themselves, nor may a default PostgreSQL cluster be made: the
# stack has its own. What was there before is left as it is.
policy=/usr/sbin/policy-rc.d
policy_is_ours=
log=$(mktemp)
# shellcheck disable=SC2317  # called by the trap
cleanup() {
    if [ -n "$policy_is_ours" ]; then
        rm -f "$policy"
    fi
    rm -f "$log"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

if [ ! -e "$policy" ]; then
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
cluster=/etc/postgresql-common/createcluster.conf
if [ ! -e "$cluster" ]; then
    mkdir -p "${cluster%/*}"
    echo "create_main_cluster = false" >"$cluster"
fi

export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 LC_ALL=C.UTF-8
apt=(apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=180)
install=("${apt[@]}" install --no-install-recommends -o Dpkg::Options::=--force-confdef
    -o Dpkg::Options::=--force-confold "${missing[@]}")

for try in 1 2 3; do
    if "${apt[@]}" update >"$log" 2>&1 && "${install[@]}" >"$log" 2>&1 </dev/null; then
        echo "setup.sh: done"
        exit 0
    fi
    if [ "$try" -lt 3 ]; then
        echo "setup.sh: apt-get failed, trying again: $(grep -m1 '^[EW]:' "$log" || tail -n1 "$log")"
        sleep $((try * 5))
    fi
done
tail -n 15 "$log" >&2
fail "apt-get could not install: ${missing[*]}"
