"""The group `upload`: files through HAProxy into gateway-api, and into nginx in its place; and memory with many at once."""

import json
import os
import re
import shutil
import subprocess
import time

from gwstack import StackError, probe

from . import data, measure
from .parts import BenchStack, DavHAProxy, DavServer, program, worker_pids
from .rows import Row

MB = 1 << 20
USERS = 100
CONNECTIONS = 16
# (size, files of one run): some hundred megabytes, so that a run takes a second or more.
SIZES = {"1 MB": (MB, 400), "100 MB": (100 * MB, 8)}
MANY, MANY_SIZE = 100, 20 * MB


class Sent:
    """One run of upload-load. synced: MB/s until the disk has everything, which gateway-api waits for by itself."""

    def __init__(self, told, cpu, sync):
        self.per_second = told["bytes"] / MB / told["seconds"]
        self.synced = told["bytes"] / MB / (told["seconds"] + sync)
        self.cpu = {name: seconds / (told["bytes"] / MB) * 1e3 for name, seconds in cpu.items()}  # ms for a MB
        self.cpu["load"] = told["cpu_seconds"] / (told["bytes"] / MB) * 1e3


class Side:
    """Where files go: a HAProxy and the server behind it, and the folder that the server writes to."""

    def __init__(self, method, path, port, pids, folder, good):
        self.method, self.path, self.port, self.pids, self.folder, self.good = method, path, port, pids, folder, good
        self.sent = 0

    def send(self, key, size, count, connections=CONNECTIONS):
        before = {name: measure.cpu_seconds(pids) for name, pids in self.pids.items()}
        done = subprocess.run(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", program("upload-load"), "--port", str(self.port),
             "--method", self.method, "--path", self.path, "--key", "-", "--size", str(size), "--count", str(count),
             "--connections", str(connections)],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=600,
            env={**os.environ, "UPLOAD_KEY": key})
        if done.returncode != 0:
            raise StackError(f"upload-load: exit code {done.returncode}: {done.stderr.strip()}")
        told = json.loads(done.stdout)
        if set(told["statuses"]) - set(self.good):
            raise StackError(f"upload: {self.method} is answered {told['statuses']}")
        cpu = {name: measure.cpu_seconds(pids) - before[name] for name, pids in self.pids.items()}
        # What one side has left to be written does not slow the other one down.
        began = time.monotonic()
        os.sync()
        self.sent += count
        return Sent(told, cpu, time.monotonic() - began)

    def check(self, size):
        """All files of this size are there and whole. Only now they go: a file system that has just deleted many is slow in
        making new ones."""
        found = [os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(self.folder)
                 for name in names]
        if len(found) != self.sent or set(found) != {size}:
            raise StackError(f"upload: {len(found)} files in {self.folder}, not {self.sent} of {size} bytes")
        for name in os.listdir(self.folder):
            shutil.rmtree(os.path.join(self.folder, name))
        self.sent = 0


def _wait(port, key):
    """Until HAProxy's health check has found the server, and the agent knows the key."""
    deadline = time.monotonic() + 20
    while True:
        status, _, body = probe.http_request(f"127.0.0.1:{port}", "/api/v1/images", headers={"X-API-Key": key})
        if status != 503 and status != 401:
            return
        if time.monotonic() > deadline:
            raise StackError(f"port {port} answers {status}: {body.decode(errors='replace')[:300]}")
        time.sleep(0.05)


def _peak(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 1024


def _tell(say, name, runs):
    parts = {part: measure.median([run.cpu[part] for run in runs]) for part in runs[0].cpu}
    say(f"  {name:<19} {measure.median([run.per_second for run in runs]):6.0f} MB/s   CPU ms/MB: " +
        ", ".join(f"{part} {ms:.2f}" for part, ms in parts.items()))


def upload(options, say):
    """The rows of the group."""
    with BenchStack(options.redis) as stack:
        known = data.make_keys(data.spread(10, USERS * data.KEYS_A_USER))
        key = next(iter(known.values()))
        stack.start_database()
        data.fill(stack, USERS, known)
        stack.start_parts("agent", "api", "haproxy")
        api = stack["api"]
        dav = stack.add(DavServer(stack, "nginx-dav"))
        rival = stack.add(DavHAProxy(stack, "haproxy-dav", dav.bind))
        ours = Side("POST", "/api/v1/upload", stack["haproxy"].port,
                    {"haproxy": worker_pids(stack["haproxy"]), "gateway-api": api.pids()},
                    stack.settings["UPLOADS_DIR"], ["200"])
        theirs = Side("PUT", "/api/v1/files/", rival.port, {"haproxy": worker_pids(rival), "nginx": dav.pids()},
                      dav.files, ["201"])
        for side in (ours, theirs):
            _wait(side.port, key)

        rows = []
        ours.send(key, MANY_SIZE, MANY, MANY)
        ours.check(MANY_SIZE)
        memory = _peak(api.pid)
        for label, (size, count) in SIZES.items():
            runs = {"ours": [], "theirs": []}
            for side in (ours, theirs):
                side.send(key, size, max(count // 8, 1))
            for _ in range(options.pairs):
                for name, side in (("ours", ours), ("theirs", theirs)):
                    runs[name].append(side.send(key, size, count))
            for side in (ours, theirs):
                side.check(size)
            _tell(say, f"gateway-api {label}", runs["ours"])
            _tell(say, f"nginx PUT {label}", runs["theirs"])
            speeds = {name: [run.per_second for run in some] for name, some in runs.items()}
            synced = [run.synced for run in runs["theirs"]]
            rows += [Row(f"uploads of {label} against nginx",
                         measure.median(measure.ratios(speeds["ours"], speeds["theirs"])), options.pairs),
                     Row(f"uploads of {label} against nginx and a sync",
                         measure.median(measure.ratios(speeds["ours"], synced)), options.pairs),
                     Row(f"uploads of {label}", measure.median(speeds["ours"]), options.pairs),
                     Row(f"uploads of {label} by nginx", measure.median(speeds["theirs"]), options.pairs)]
        rows.append(Row("memory of gateway-api with 100 uploads", memory, 1))
        return rows
