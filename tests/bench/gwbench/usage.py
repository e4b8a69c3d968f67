"""The group `usage`: records from the socket to committed rows, a backlog, and what the lines cost HAProxy."""

import json
import os
import subprocess
import threading
import time

import psycopg2
from gwstack import StackError, probe
from helpers_spop import Client, check

from . import data, measure
from .groups import BUSY, IMAGE
from .load import Load
from .parts import BenchStack, SilentHAProxy, program, worker_pids
from .rows import Row

USERS = 1000
TURNS = 3
HOUR = 3_600_000  # records, at 1,000/s
SHIP_TIMEOUT = 300.0
POLL = 0.05
# Over UDP alone nothing holds the sender back: the rate is raised by this until datagrams or time are lost.
RAISE, STEPS, STEP_SECONDS = 1.15, 10, 8.0
# More than this is behind at the end of a step whose rate is too high. A batch takes most of a second.
LAG_MOST = 2.0
OVER = {"tcp": "TCP", "udp": "UDP", "tcp,udp": "TCP and UDP"}


class Sent:
    """What one run of usage-load gave, and what it cost until the last record was committed."""

    def __init__(self, told, seconds, keeper, postgres, lag, overflow):
        self.count, self.sending, self.load = told["sent"], told["seconds"], told["cpu_seconds"]
        self.billed = told["billed_bytes"]
        self.seconds, self.lag, self.overflow = seconds, lag, overflow
        self.per_second = self.count / seconds
        self.keeper_us, self.postgres_us = keeper / self.count * 1e6, postgres / self.count * 1e6


class Lines:
    """Sends lines to the stack's agent, each run with a number of its own, which stands in its ids."""

    def __init__(self, stack):
        self.stack = stack
        self.sent = {}  # count and bytes by the number of the run
        self.lossy = set()

    def start(self, count, over, rate=0, age=0):
        run = len(self.sent) + 1
        port = self.stack.settings["USAGE_BIND"].rpartition(":")[2]
        self.sent[run] = None
        return run, subprocess.Popen(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", program("usage-load"), "--port", port, "--count", str(count),
             "--over", over, "--rate", f"{rate:g}", "--users", str(USERS), "--run", str(run), "--age", str(age)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "USAGE_TOKEN": self.stack.settings["USAGE_TOKEN"]})

    def end(self, run, process):
        out, err = process.communicate(timeout=SHIP_TIMEOUT)
        if process.returncode != 0:
            raise StackError(f"usage-load: exit code {process.returncode}: {err.strip()}")
        told = json.loads(out)
        self.sent[run] = told["sent"], told["billed_bytes"]
        return told

    def check(self):
        """How many records are lost and how many are there twice. What is missing of runs over UDP alone is lost unless the
        agent counted that many datagrams as not fitting. StackError when the bytes are not right."""
        told = self.stack.psql("SELECT substr(request_id, 10, 4), count(*), count(DISTINCT request_id), sum(billed_bytes) "
                               "FROM request_logs WHERE request_id LIKE 'be9c0000-%' GROUP BY 1")
        found = {int(run, 16): tuple(map(int, rest)) for run, *rest in (line.split("|") for line in told.split())}
        lost = twice = dropped = 0
        for run, (count, billed) in self.sent.items():
            rows, distinct, stored = found.get(run, (0, 0, 0))
            twice += rows - distinct
            if run in self.lossy:
                dropped += count - distinct
                continue
            lost += count - distinct
            if rows == distinct == count and stored != billed:
                raise StackError(f"usage: run {run} has {stored} bytes, not {billed}")
        return lost + max(dropped - results(self.stack, "overflow"), 0), twice

    # ---- from the socket to the row --------------------------------------------------------------------------------

    def measure(self, count, over, rate=0):
        """One run, until everything of it is committed."""
        stack = self.stack
        keeper, postgres = stack.keeper_pids(), stack["postgres"]
        taken, overflow = recorded(stack), results(stack, "overflow")
        before = measure.cpu_seconds(keeper), postgres_seconds(postgres)
        began, lag, deadline = time.monotonic(), 0.0, time.monotonic() + SHIP_TIMEOUT
        run, process = self.start(count, over, rate)
        while process.poll() is None:
            lag = stack_lag(stack)
            time.sleep(POLL)
        told = self.end(run, process)
        # A datagram that did not fit is told with the next one, so also 3 s without one are an end.
        while stack.gauge("gateway_usage_spool_bytes") != 0 or recorded(stack) - taken < count:
            lost = results(stack, "overflow") - overflow
            if over == "udp" and (lost > 0 or time.monotonic() - began > told["seconds"] + 3) and \
                    stack.gauge("gateway_usage_spool_bytes") == 0:
                break
            if time.monotonic() > deadline:
                raise StackError(f"usage: {recorded(stack) - taken} of {count} records after {SHIP_TIMEOUT:.0f} s")
            time.sleep(POLL)
        seconds = time.monotonic() - began
        if recorded(stack) - taken < count:
            self.lossy.add(run)
        return Sent(told, seconds, measure.cpu_seconds(keeper) - before[0], postgres_seconds(postgres) - before[1], lag,
                    count - (recorded(stack) - taken))


def results(stack, name):
    return stack.gauge(f'gateway_usage_records_total{{result="{name}"}}')


def recorded(stack):
    """StackError when lines are dropped: what is waited for then never comes."""
    for name in ("bad_form", "bad_token", "nobody"):
        if results(stack, name) != 0:
            raise StackError(f"usage: the agent drops the lines of usage-load: {name}")
    return results(stack, "recorded")


def stack_lag(stack):
    """Seconds."""
    _, _, body = probe.http_request(stack.settings["METRICS_BIND"], "/metrics")
    for line in body.decode().splitlines():
        if line.startswith("gateway_usage_lag_seconds "):
            return float(line.split()[1])
    raise StackError("usage: the agent tells no gateway_usage_lag_seconds")


def postgres_seconds(postgres):
    """CPU time of PostgreSQL, of backends that have ended too. A worker of autovacuum may end while this looks."""
    total = measure.ended_seconds(postgres.pid)
    for pid in postgres.pids():
        try:
            total += measure.cpu_seconds([pid])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total


def _tell(say, name, runs):
    def median(get):
        return measure.median(list(map(get, runs)))

    say(f"  {name:<12} {median(lambda run: run.per_second):7.0f}/s from the socket to the row   CPU us/record: "
        f"keeper {median(lambda run: run.keeper_us):.1f}, PostgreSQL {median(lambda run: run.postgres_us):.1f}, "
        f"load {median(lambda run: run.load / run.count * 1e6):.1f}   "
        f"sent within {median(lambda run: run.sending):.1f} of {median(lambda run: run.seconds):.1f} s")


def _step(lines, over, rate, say):
    """A run at a rate, and whether that could be kept up for some seconds: nothing is lost, and at its end little is
    behind."""
    run = lines.measure(max(int(rate * STEP_SECONDS), 1), over, rate)
    good = run.overflow == 0 and run.lag <= LAG_MOST and run.sending < STEP_SECONDS * 1.1
    say(f"  {OVER[over]:<12} {rate:7.0f}/s for {run.sending:.1f} s: at its end {run.lag:.1f} s behind, {run.overflow} datagrams "
        f"lost{'' if good else ': too much'}")
    return run, good


def _rates(lines, options, say):
    """Rows of the rates. With TCP the keeper holds the sender back, so all that it takes is a rate that it can keep up
    for as long as the disk has room; what is counted is until the last record is committed."""
    runs = {"tcp,udp": [], "tcp": []}
    lines.measure(options.records // 10, "tcp")  # partitions, caches
    for _ in range(TURNS):
        for over, some in runs.items():
            some.append(lines.measure(options.records, over))
    for over, some in runs.items():
        _tell(say, OVER[over], some)
    rates = {over: measure.median([run.per_second for run in some]) for over, some in runs.items()}
    _step(lines, "tcp,udp", rates["tcp,udp"] * 0.9, say)

    best, rate = 0.0, rates["tcp"] * 0.6
    for _ in range(STEPS):
        run, good = _step(lines, "udp", rate, say)
        if not good:
            break
        # What the spool has taken in on top of it is behind, so it counts by when it is committed.
        best, rate = max(best, run.per_second), rate * RAISE
    lines.measure(64, "udp", 1000)  # datagrams that did not fit are counted with the next one
    both = runs["tcp,udp"]
    return [
        Row("usage records over TCP and UDP", rates["tcp,udp"], TURNS),
        Row("usage records over TCP", rates["tcp"], TURNS),
        Row("usage records over UDP", best, 1),
        Row("keeper's CPU for a usage record", measure.median([run.keeper_us for run in both]), TURNS),
        Row("PostgreSQL's CPU for a usage record", measure.median([run.postgres_us for run in both]), TURNS),
    ]


# ---- a backlog ---------------------------------------------------------------------------------------------------------


class Verdicts:
    """Questions over SPOP, one after the other, half a millisecond apart."""

    def __init__(self, stack, keys):
        self.stack, self.keys, self.asked = stack, keys, 0

    def time(self, goes_on):
        """Seconds of each question for as long as goes_on() says so."""
        taken = []
        with Client(self.stack["agent"].workers()[0]) as worker:
            while goes_on():
                self.asked += 1
                began = time.monotonic()
                worker.send(check(len(taken) + 1, 1, IMAGE, self.keys[self.asked % len(self.keys)],
                                  id=f"usage-{self.asked:08}"))
                code = worker.read().code()
                taken.append(time.monotonic() - began)
                if code != "allow":
                    raise StackError(f"usage: a verdict is {code}")
                time.sleep(0.0005)
        return taken

    def time_for(self, seconds):
        end = time.monotonic() + seconds
        return self.time(lambda: time.monotonic() < end)


class Drain:
    """Waits beside the questions until the spool is empty."""

    def __init__(self, stack):
        self.stack, self.failure, self.seconds = stack, None, 0.0
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            began = time.monotonic()
            while self.stack.gauge("gateway_usage_spool_bytes") != 0:
                if time.monotonic() - began > SHIP_TIMEOUT:
                    raise StackError(f"usage: the backlog is not there after {SHIP_TIMEOUT:.0f} s")
                time.sleep(0.25)  # reading the metrics holds the interpreter, which times the questions
            self.seconds = time.monotonic() - began
        except (StackError, OSError) as error:
            self.failure = error

    def time(self, verdicts):
        self.thread.start()
        taken = verdicts.time(self.thread.is_alive)
        self.thread.join()
        if self.failure is not None:
            raise StackError(f"usage: {self.failure}")
        return taken


def _wait_shipper(stack):
    """Until the shipper has its connection: how long it took to notice is not of the backlog."""
    db = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    db.autocommit = True
    try:
        deadline = time.monotonic() + 60
        with db.cursor() as cursor:
            while True:
                cursor.execute("SELECT 1 FROM pg_stat_activity WHERE application_name = 'gateway-agent usage'")
                if cursor.fetchone():
                    return
                if time.monotonic() > deadline:
                    raise StackError("usage: the shipper does not come back to PostgreSQL")
                time.sleep(0.02)
    finally:
        db.close()


def _backlog(lines, options, keys, say):
    stack, count, taken = lines.stack, options.backlog, recorded(lines.stack)
    stack["postgres"].stop()
    told = lines.end(*lines.start(count, "tcp", age=3600))
    deadline = time.monotonic() + 60
    while recorded(stack) - taken < count:
        if time.monotonic() > deadline:
            raise StackError("usage: the backlog is not in the spool")
        time.sleep(POLL)
    verdicts = Verdicts(stack, keys)
    calm = verdicts.time_for(3)
    stack["postgres"].start()
    stack["postgres"].wait_ready()
    _wait_shipper(stack)
    drain = Drain(stack)
    busy = drain.time(verdicts)
    rate = count / drain.seconds
    p99, before = measure.percentile(busy, 0.99) * 1000, measure.percentile(calm, 0.99) * 1000
    say(f"  backlog of {count:,}: into the spool at {count / told['seconds']:.0f}/s without PostgreSQL, drained within "
        f"{drain.seconds:.1f} s, {rate:.0f}/s; {HOUR:,} take {HOUR / rate:.0f} s")
    say(f"  verdicts meanwhile: {len(busy)}, p50 {measure.median(busy) * 1000:.2f} ms, p99 {p99:.2f} ms, slowest "
        f"{max(busy) * 1000:.1f} ms; before, with nothing to do: p50 {measure.median(calm) * 1000:.2f} ms, "
        f"p99 {before:.2f} ms")
    return [Row("an hour's backlog drains", HOUR / rate, 1),
            Row("verdict p99 added while a backlog drains", p99 - before, len(busy))]


# ---- what the lines cost HAProxy ------------------------------------------------------------------------------------------


def _wait_idle(stack):
    deadline = time.monotonic() + SHIP_TIMEOUT
    while stack.gauge("gateway_usage_spool_bytes") != 0:
        if time.monotonic() > deadline:
            raise StackError("usage: the spool is not shipped")
        time.sleep(POLL)


def _haproxy(stack, known, options, say):
    """The same HAProxy and agent with and without lines, in turn; after each turn all is shipped."""
    stack.use_upstream()
    stack.start_parts("haproxy")
    silent = stack.add(SilentHAProxy(stack, "haproxy-silent"))
    load = Load(stack, data.request_lines(known), options.realtime)
    variants = {"with lines": (stack["haproxy"].port, worker_pids(stack["haproxy"])),
                "without": (silent.port, worker_pids(silent))}
    runs = {name: [] for name in variants}
    for port, _ in variants.values():
        _wait_image(port, known)
        load.run(port, 0.3)
    for _ in range(options.pairs):
        for name, (port, pids) in variants.items():
            runs[name].append(load.run(port, options.seconds, groups={"haproxy": pids}))
            _wait_idle(stack)
    cpu = {name: [run.cpu_us["haproxy"] for run in some] for name, some in runs.items()}
    for name, some in runs.items():
        say(f"  HAProxy {name:<11} {measure.median([run.per_second for run in some]):7.0f}/s   CPU "
            f"{measure.median(cpu[name]):.1f} us/request")
    noise = measure.median([run.foreign for some in runs.values() for run in some])
    if noise > BUSY:
        say(f"  with PostgreSQL's share of shipping: {noise:.0%} of the processors were in other hands")
    return [Row("HAProxy's CPU for usage lines", measure.median(measure.differences(cpu["with lines"], cpu["without"])),
                options.pairs, noise),
            Row("HAProxy's CPU with usage lines", measure.median(measure.ratios(cpu["with lines"], cpu["without"])),
                options.pairs, noise)]


def _wait_image(port, known):
    path, key = data.request_lines(dict([next(iter(known.items()))])).split()
    deadline = time.monotonic() + 20
    while True:
        status, _, body = probe.http_request(f"127.0.0.1:{port}", path, headers={"X-API-Key": key})
        if status == 200:
            return
        if time.monotonic() > deadline:
            raise StackError(f"port {port} answers {status}: {body.decode(errors='replace')[:300]}")
        time.sleep(0.05)


def usage(options, say):
    """The rows of the group, on a stack of its own whose PostgreSQL keeps what it has committed."""
    with BenchStack(options.redis, usage=True) as stack:
        known = data.make_keys(data.spread(USERS, USERS * data.KEYS_A_USER))
        stack.start_database()
        data.fill(stack, USERS, known)
        stack.start_parts("agent")
        lines = Lines(stack)
        rows = _rates(lines, options, say)
        rows += _backlog(lines, options, list(known.values()), say)
        lost, twice = lines.check()
        say(f"  {sum(count for count, _ in lines.sent.values()):,} records: {lost} lost, {twice} twice")
        rows.append(Row("usage records lost or twice", lost + twice, len(lines.sent),
                        note=f"{lost} lost, {twice} twice" if lost or twice else ""))
        return rows + _haproxy(stack, known, options, say)
