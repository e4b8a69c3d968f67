"""A dockerd of this run, inside of the namespaces, and the clients that talk to it."""

import json
import os
import subprocess
import time

from .report import Failed

# An address that is not loopback, for "on all addresses" (RFC 5737).
OUTSIDE = "198.51.100.1"


class Engine:
    def __init__(self, work, own_network):
        self.work = work
        self.own_network = own_network
        self.socket = os.path.join(work, "docker.sock")
        self.environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": work, "DOCKER_HOST": "unix://" + self.socket,
            "DOCKER_CONFIG": os.path.join(work, "client"), "DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8"}
        self.process = None

    def __enter__(self):
        if self.own_network:
            self._make_network()
        self._start()
        return self

    def _start(self):
        # No network but those of the stack. While building there is none at all, and the firewall is left alone.
        options = ["--bridge=none"]
        if not self.own_network:
            options += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        # In the place of /etc/docker/daemon.json, which is the machine's.
        config = os.path.join(self.work, "daemon.json")
        with open(config, "w", encoding="utf-8") as file:
            file.write("{}\n")
        log_path = os.path.join(self.work, "dockerd.log")
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", os.path.join(self.work, "data"), "--exec-root", os.path.join(self.work, "exec"),
                 "--pidfile", os.path.join(self.work, "dockerd.pid"), "--host", "unix://" + self.socket,
                 "--config-file", config,
                 "--cgroup-parent", os.path.basename(self.work), "--exec-opt", "native.cgroupdriver=cgroupfs", *options],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environ)
        end = time.monotonic() + 60
        while subprocess.run(["docker", "version"], env=self.environ, capture_output=True, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                with open(log_path, encoding="utf-8") as log:
                    raise Failed("dockerd does not start: " + "".join(log.readlines()[-5:]))
            time.sleep(0.1)

    def restart(self):
        self.__exit__()
        self._start()

    def __exit__(self, *exc):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def _make_network():
        for args in (["link", "set", "lo", "up"], ["link", "add", "outside", "type", "bridge"],
                     ["addr", "add", OUTSIDE + "/24", "dev", "outside"], ["link", "set", "outside", "up"]):
            subprocess.run(["ip", *args], check=True)

    def docker(self, *args, check=True, stdin=None):
        """Its stdout."""
        done = subprocess.run(["docker", *args], env=self.environ, capture_output=True, text=True, check=False, stdin=stdin)
        if check and done.returncode != 0:
            raise Failed(f"docker {' '.join(args)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def inspect(self, *names):
        return json.loads(self.docker("inspect", *names))

    def info(self):
        return json.loads(self.docker("info", "--format", "{{json .}}"))
