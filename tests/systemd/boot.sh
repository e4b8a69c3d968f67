#!/bin/bash
# Boots a systemd of its own, with the installed units, in namespaces that nothing else sees. Run by
# tests/integration/test_systemd.py as root, as
#
#   unshare --mount --pid --fork --net --ipc --uts --cgroup --kill-child --propagation private boot.sh WORK STAGE
#
# WORK is an empty folder, STAGE a DESTDIR with prefix=/usr. The machine's own files lie below an overlay in memory, so that
# nothing on it changes; what the scenario says comes to WORK/out. Ends when the scenario powers off, or by SIGKILL.
set -euo pipefail
work=$1 stage=$2
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

mkdir -p "$work/fs" "$work/out"
mount -t tmpfs tmpfs "$work/fs"
mkdir "$work/fs/upper" "$work/fs/work" "$work/fs/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/fs/upper,workdir=$work/fs/work" "$work/fs/root"
root=$work/fs/root

# What is outside is copied or bound before the folders of the system are covered.
units=$root/etc/systemd/system
rm -rf "$units"/*.wants "$units/default.target"
(cd "$stage" && tar cf - .) | tar xf - -C "$root"
install -m 755 "$here/scenario.sh" "$root/usr/lib/igw-scenario"
install -m 644 "$here/../../compose/local/sample.jpg" "$root/usr/lib/igw-sample.jpg"
mkdir -p "$root/igw-out"
mount --bind "$work/out" "$root/igw-out"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
# A unit with RemoveIPC= takes its user's shared memory along when the last one stops: not that of a PostgreSQL beside this.
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
ip link set lo up

# The operator's part (docs/systemd.md), with a certificate for HTTPS.
conf=$root/etc/imgproxy-gateway
secret() { openssl rand -hex 32; }
sed "s/=\$/=$(secret)/" "$here/../../compose/systemd/tokens.env" >"$conf/tokens.env"
{
    echo "DB_DSN=postgres:///imgproxy_gateway?host=/run/postgresql"
    for name in AUTH_KEY_PEPPER IMGPROXY_KEY IMGPROXY_SALT; do echo "$name=$(secret)"; done
} >"$conf/secrets.env"
chmod 600 "$conf/tokens.env" "$conf/secrets.env"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$conf/site.key" -out "$conf/site.crt" 2>/dev/null
cat "$conf/site.crt" "$conf/site.key" >"$conf/site.pem"
chown root:haproxy "$conf/site.pem"
chmod 640 "$conf/site.pem"
sed -i 's|^SERVER_TLS_PORT=.*|SERVER_TLS_PORT=443|; s|^SERVER_TLS_CERTIFICATE=.*|SERVER_TLS_CERTIFICATE=/etc/imgproxy-gateway/site.pem|' "$conf/haproxy.env"
sed -i 's|^  addr: "127.0.0.1:6379"|  addr: ""|' "$conf/config.yaml"

cat >"$units/igw-scenario.service" <<'UNIT'
[Unit]
After=haproxy.service
[Service]
Type=oneshot
ExecStart=/usr/lib/igw-scenario
StandardOutput=append:/igw-out/results
StandardError=append:/igw-out/log
UNIT
cat >"$units/igw.target" <<'UNIT'
[Unit]
Wants=imgproxy-gateway-usage.socket imgproxy-gateway-agent.service imgproxy-gateway-api.service haproxy.service igw-scenario.service
UNIT
# There is no journal here: what the parts say goes to a file each, and HAProxy's unit binds the journal's socket.
for unit in imgproxy-gateway-agent imgproxy-gateway-api imgproxy-gateway-migrate haproxy; do
    mkdir -p "$units/$unit.service.d"
    printf '[Service]\nStandardOutput=append:/igw-out/%s\nStandardError=append:/igw-out/%s\n' "$unit" "$unit" >"$units/$unit.service.d/zz-test.conf"
done
echo 'BindReadOnlyPaths=' >>"$units/haproxy.service.d/zz-test.conf"
# Of the system's own services none is needed that would touch devices, the network or the clock.
for unit in systemd-udevd systemd-journald systemd-logind systemd-timesyncd systemd-modules-load systemd-sysctl systemd-random-seed \
    systemd-update-utmp systemd-tmpfiles-setup-dev systemd-remount-fs networking ifupdown-pre; do
    ln -sf /dev/null "$units/$unit.service"
done

export container=igw
cd "$root"
mkdir -p oldroot
pivot_root . oldroot
# User namespaces (PrivateUsers=) need a root that is no chroot; credentials and sandboxes need shared mounts.
exec chroot . /bin/bash -c 'umount -l /oldroot; mount --make-rshared /; exec /lib/systemd/systemd "$@"' systemd \
    --system --unit=igw.target --log-target=console --show-status=no --log-level=notice
