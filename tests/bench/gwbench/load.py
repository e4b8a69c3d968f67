"""One run of the load (tests/bench/load.c) against one address."""

import json
import os
import subprocess
import time

from gwstack import StackError

from . import measure
from .parts import program

CONNECTIONS = 64
# A run that answers fewer than this share of its requests with 200 measures something else.
LEAST_OK = 0.999


class Run:
    """What one run gave. CPU times by group of processes, in microseconds for each request."""

    def __init__(self, result, cpu, foreign):
        self.seconds, self.completed = result["seconds"], result["completed"]
        self.statuses, self.histogram = result["statuses"], result["histogram_ns"]
        self.per_second = self.completed / self.seconds
        self.cpu_us = {name: seconds / result["completed_all"] * 1e6 for name, seconds in cpu.items()}
        self.cpu_us["load"] = result["cpu_seconds"] / result["completed_all"] * 1e6
        # Share of the machine's processors that neither the stack nor the load had: other work, and what was stolen.
        self.foreign = foreign

    def latency_us(self, share):
        return measure.histogram_percentile(self.histogram, share) / 1000


def _make_realtime(pids):
    """Lets nobody else run while these do; the load inherits it from this process."""
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            try:
                os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(1))
            except PermissionError as error:
                raise StackError("BENCH_REALTIME: only root may do that") from error


class Load:
    """The list of requests in a file, and what to do with it."""

    def __init__(self, stack, lines, realtime=False):
        self.stack, self.realtime = stack, realtime
        # The load runs as whoever measures, not as the stack's user.
        self.file = stack.layout.write("stack/requests.txt", lines, 0o600, mine=False)

    def run(self, port, seconds, rate=0, groups=None):
        """groups: lists of pids by name, whose CPU time is taken around the whole run."""
        command = [program("load"), "--port", str(port), "--requests", self.file, "--seconds", f"{seconds:g}",
                   "--connections", str(CONNECTIONS), "--rate", f"{rate:g}"]
        groups = groups or {}
        everybody = self.stack.all_pids()
        if self.realtime:
            _make_realtime([*everybody, os.getpid()])
        began, known, (busy, stolen) = time.monotonic(), measure.cpu_seconds(everybody), measure.machine_seconds()
        before = {name: measure.cpu_seconds(pids) for name, pids in groups.items()}
        done = subprocess.run(["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *command], capture_output=True,
                              text=True, check=False, stdin=subprocess.DEVNULL, timeout=seconds + 60)
        after = {name: measure.cpu_seconds(pids) for name, pids in groups.items()}
        took, known_after, (busy_after, stolen_after) = (
            time.monotonic() - began, measure.cpu_seconds(everybody), measure.machine_seconds())
        if done.returncode != 0:
            raise StackError(f"load: exit code {done.returncode}: {done.stderr.strip()}")
        result = json.loads(done.stdout)
        good = result["statuses"].get("200", 0)
        if result["completed"] == 0 or good < LEAST_OK * result["completed"]:
            raise StackError(f"load: the requests are answered {result['statuses']}, {result['failed']} broke; "
                             f"logs in {self.stack.layout.logs}")
        foreign = (busy_after - busy) - (known_after - known) - result["cpu_seconds"] + (stolen_after - stolen)
        return Run(result, {name: after[name] - before[name] for name in groups},
                   max(foreign, 0.0) / took / os.cpu_count())
