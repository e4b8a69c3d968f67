"""The groups of rows on a stack with 100,000 users: verdict, latency, change."""

import random
import time

import psycopg2

from gwstack import StackError, probe
from helpers_spop import Client, check

from . import data, measure
from .load import Load
from .parts import AuthProxy, AuthService, BenchStack, FloorAgent, OtherHAProxy, worker_pids
from .rows import Row

IMAGE = "/img/unsafe/rs:fill:300:200/plain/local:///photo.jpg"
OBEY_TIMEOUT = 3.0
# Above this share of the processors in other hands, the numbers say more about the neighbours.
BUSY = 0.05


class Options:
    """How much is measured. The defaults are what docs/bench.md promises; less is for trying things out."""

    def __init__(self, environ):
        self.pairs = int(environ.get("BENCH_PAIRS", "5"))
        self.seconds = float(environ.get("BENCH_SECONDS", "2"))
        self.users = int(environ.get("BENCH_USERS", "100000"))
        self.size_users = int(environ.get("BENCH_SIZE_USERS", "500000"))
        self.changes = int(environ.get("BENCH_CHANGES", "200"))
        self.records = int(environ.get("BENCH_RECORDS", "300000"))
        self.backlog = int(environ.get("BENCH_BACKLOG", "600000"))
        self.redis = environ.get("BENCH_REDIS", "0") == "1"
        self.realtime = environ.get("BENCH_REALTIME", "0") == "1"
        if not (1 <= self.pairs <= 100 and 0.1 <= self.seconds <= 60 and 100 <= self.users <= 1_000_000 and
                100 <= self.size_users <= 2_000_000 and 1 <= self.changes <= 2000 and
                1000 <= self.records <= 10_000_000 and 1000 <= self.backlog <= 10_000_000):
            raise StackError("BENCH_PAIRS, BENCH_SECONDS, BENCH_USERS, BENCH_SIZE_USERS, BENCH_CHANGES, BENCH_RECORDS or "
                             "BENCH_BACKLOG is out of bounds")


class Table:
    """Which keys of the table are known: some for the load, one for each change."""

    def __init__(self, options):
        total = options.users * data.KEYS_A_USER
        self.load = data.make_keys(data.spread(min(data.LOAD_KEYS, total // 10), total))
        busy = {data.user_of(key) for key in self.load}
        # A change has a user of its own, so that none meets what another one left, and one without an allow list.
        free = [key for key in range(1, total + 1, data.KEYS_A_USER)
                if data.user_of(key) not in busy and data.user_of(key) % data.LISTED_EVERY != 0]
        if len(free) < options.changes:
            raise StackError(f"BENCH_CHANGES: {options.users} users are too few for {options.changes} changes")
        # From all over the table, as the load's.
        self.changes = data.make_keys([free[at - 1] for at in data.spread(options.changes, len(free))], seed=3)


class Bench:
    """One stack for all three groups; parts are started when a group needs them."""

    def __init__(self, options, say):
        self.options, self.say = options, say
        self.stack = BenchStack(options.redis)
        self.floor = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def start(self):
        began = time.monotonic()
        self.table = Table(self.options)
        stack = self.stack
        stack.start_database()
        data.fill(stack, self.options.users, {**self.table.load, **self.table.changes})
        stack.use_upstream()
        stack.start_parts("agent", "haproxy")
        self.load = Load(stack, data.request_lines(self.table.load), self.options.realtime)
        self.ours = stack["haproxy"]
        self._wait_image(self.ours.port)
        self.say(f"  {self.options.users:,} users and {self.options.users * data.KEYS_A_USER:,} keys loaded, "
                 f"ready after {time.monotonic() - began:.0f} s")

    def _wait_image(self, port):
        """Until an image request passes: health checks take a moment."""
        path, key = data.request_lines(dict([next(iter(self.table.load.items()))])).split()
        deadline = time.monotonic() + 20
        while True:
            status, _, body = probe.http_request(f"127.0.0.1:{port}", path, headers={"X-API-Key": key})
            if status == 200:
                return
            if time.monotonic() > deadline:
                raise StackError(f"port {port} answers {status}: {body.decode(errors='replace')[:300]}")
            time.sleep(0.05)

    def _haproxy(self, name, agent=None):
        part = self.stack.add(OtherHAProxy(self.stack, name, agent))
        self._wait_image(part.port)
        return part

    def _agent(self):
        """Port, and pids by name, of the variant."""
        return self.ours.port, {"haproxy": worker_pids(self.ours), "agent": self.stack.verdict_pids(),
                                "keeper": self.stack.other_agent_pids()}

    def _floor(self):
        if self.floor is None:
            agent = self.stack.add(FloorAgent(self.stack))
            self.floor = self._haproxy("haproxy-floor", agent), agent
        haproxy, agent = self.floor
        return haproxy.port, {"haproxy": worker_pids(haproxy), "agent": agent.pids()}

    # ---- verdict: what it costs, and what is left of the throughput ------------------------------------------------

    def verdict(self):
        stack, options = self.stack, self.options
        variants = {"agent": self._agent(), "do-nothing": self._floor()}
        upstream = stack.extras[0]
        auth = stack.add(AuthService(stack, "nginx-auth-service"))
        rival = stack.add(AuthProxy(stack, "nginx-auth", upstream, auth))
        variants["nginx + auth service"] = (rival.port, {"nginx": rival.pids(), "auth service": auth.pids()})
        alone = stack.add(AuthProxy(stack, "nginx-alone", upstream))
        variants["nginx alone"] = (alone.port, {"nginx": alone.pids()})

        # Of the rivals only the throughput is wanted, which needs less time than CPU does.
        lengths = {"agent": options.seconds, "do-nothing": options.seconds}
        runs = self._interleave(variants, lambda name: lengths.get(name, options.seconds / 2))
        noise = self._tell(runs)
        ours, low = runs["agent"], runs["do-nothing"]

        def cost(run):
            return run.cpu_us["haproxy"] + run.cpu_us["agent"]

        def median_ratio(theirs):
            return measure.median(measure.ratios([run.per_second for run in ours], [run.per_second for run in theirs]))

        above = measure.differences([run.cpu_us["agent"] for run in ours], [run.cpu_us["agent"] for run in low])
        return [
            Row("verdict cost", measure.median(measure.ratios(list(map(cost, ours)), list(map(cost, low)))),
                options.pairs, noise),
            Row("agent above floor", measure.median(above), options.pairs, noise),
            Row("throughput", median_ratio(low), options.pairs, noise),
            Row("throughput against nginx auth_request", median_ratio(runs["nginx + auth service"]), options.pairs,
                noise),
            Row("throughput against nginx auth_request without an auth service", median_ratio(runs["nginx alone"]),
                options.pairs, noise),
        ]

    def _interleave(self, variants, seconds, rate=0):
        """A B C A B C …: lists of runs by variant; seconds(variant) is how long one takes."""
        runs = {name: [] for name in variants}
        for port, _ in variants.values():
            self.load.run(port, 0.3)
        for _ in range(self.options.pairs):
            for name, (port, groups) in variants.items():
                runs[name].append(self.load.run(port, seconds(name), rate, groups))
        return runs

    def _tell(self, runs):
        """Where the time goes, for a person. Returns the share of the processors that others had meanwhile."""
        for name, some in runs.items():
            parts = {part: measure.median([run.cpu_us[part] for run in some]) for part in some[0].cpu_us}
            text = ", ".join(f"{part} {us:.1f}" for part, us in parts.items())
            self.say(f"  {name:<21} {measure.median([run.per_second for run in some]):7.0f}/s   CPU us/request: {text}"
                     f"   p50 {measure.median([run.latency_us(0.5) for run in some]):.0f} us"
                     f"   p99 {measure.median([run.latency_us(0.99) for run in some]):.0f} us")
        foreign = measure.median([run.foreign for some in runs.values() for run in some])
        if foreign > BUSY:
            self.say(f"  NOISY: other work or the hypervisor had {foreign:.0%} of the processors; see docs/bench.md")
        return foreign

    # ---- latency: what asking adds ---------------------------------------------------------------------------------

    def latency(self):
        options = self.options
        plain = self._haproxy("haproxy-plain")
        most = measure.median([self.load.run(plain.port, options.seconds).per_second for _ in range(3)])
        variants = {
            "no filter": (plain.port, {"haproxy": worker_pids(plain)}),
            "agent": self._agent(),
            "do-nothing": self._floor(),
        }
        self.say(f"  no filter: at most {most:.0f}/s; the load is {most / 2:.0f}/s")
        runs = self._interleave(variants, lambda _: options.seconds, most / 2)
        noise = self._tell(runs)

        def added(name, share):
            return measure.median(measure.differences([run.latency_us(share) for run in runs[name]],
                                                      [run.latency_us(share) for run in runs["no filter"]]))

        return [Row("added p50", added("agent", 0.5), options.pairs, noise),
                Row("added p99", added("agent", 0.99) / 1000, options.pairs, noise),
                Row("added p50 by the do-nothing agent", added("do-nothing", 0.5), options.pairs, noise),
                Row("added p99 by the do-nothing agent", added("do-nothing", 0.99) / 1000, options.pairs, noise)]

    # ---- change: from the commit to the first verdict that obeys ---------------------------------------------------

    def change(self):
        """Kinds of changes in turn, each on a user of its own. The clock starts before COMMIT is sent."""
        changes = Changes(self.stack, self.table.changes)
        try:
            taken, missing = changes.run(self.options.changes)
        finally:
            changes.close()
        for kind, times in taken.items():
            if times:
                self.say(f"  {kind:<10} {len(times)} changes: median {measure.median(times):.1f} ms, "
                         f"slowest {max(times):.1f} ms")
        note = f"not obeyed within {OBEY_TIMEOUT:g} s: {', '.join(missing)}" if missing else ""
        everything = [one for times in taken.values() for one in times]
        if not everything:
            raise StackError("change: no change was obeyed")
        return [Row("change p99", measure.percentile(everything, 0.99), len(everything), note=note)]


class Changes:
    """Statement, and the code that a verdict has from then on, by kind."""

    KINDS = {
        "revoke": ("UPDATE api_keys SET is_active = false, revoked_at = now() WHERE id = %(key)s", "key_revoked"),
        "disable": ("UPDATE users SET is_active = false WHERE id = %(user)s", "user_inactive"),
        "whitelist": ("DELETE FROM ip_whitelist WHERE user_id = %(user)s AND ip_cidr = '127.0.0.0/8'",
                      "ip_not_allowed"),
        "limit": ("UPDATE rate_limits SET requests_per_minute = 1, burst = 1 WHERE user_id = %(user)s",
                  "rate_limited"),
    }

    def __init__(self, stack, keys):
        self.stack, self.keys = stack, iter(keys.items())
        self.asked = 0
        self.chance = random.Random(4)
        self.db = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
        self.worker = Client(stack["agent"].workers()[0])

    def close(self):
        self.worker.sock.close()
        self.db.close()

    def _ask(self, key):
        """The code of a verdict; each question has an id of its own, since the same one never spends twice."""
        self.asked += 1
        self.worker.send(check(self.asked, 1, IMAGE, key, id=f"bench-{self.asked:08}"))
        return self.worker.read().code()

    def _take_key(self):
        """A key whose user passes now."""
        key_id, text = next(self.keys)
        code = self._ask(text)
        if code != "allow":
            raise StackError(f"change: before it the verdict is {code}")
        return key_id, text

    def _one(self, kind):
        """Milliseconds, None when it was not obeyed."""
        statement, wanted = self.KINDS[kind]
        key_id, text = self._take_key()
        with self.db.cursor() as cursor:
            cursor.execute(statement, {"key": key_id, "user": data.user_of(key_id)})
        began = time.monotonic()
        self.db.commit()
        while time.monotonic() - began < OBEY_TIMEOUT:
            if self._ask(text) == wanted:
                return (time.monotonic() - began) * 1000
        return None

    def _settle(self):
        """An agent that does not know a kind of change may read everything anew: the next change does not pay for it."""
        with self.db, self.db.cursor() as cursor:
            cursor.execute("SELECT generation FROM policy_generation")
            wanted = cursor.fetchone()[0]
        deadline = time.monotonic() + 60
        while self.stack.gauge("gateway_policy_generation") < wanted and time.monotonic() < deadline:
            time.sleep(0.1)

    def run(self, count):
        """Times by kind, and the kinds that this agent did not obey once: those are not tried again."""
        taken, missing = {kind: [] for kind in self.KINDS}, []
        for number in range(count):
            left = [kind for kind in self.KINDS if kind not in missing]
            if not left:
                break
            kind = left[number % len(left)]
            took = self._one(kind)
            if took is not None:
                taken[kind].append(took)
            elif taken[kind]:
                taken[kind].append(OBEY_TIMEOUT * 1000)
            else:
                missing.append(kind)
                self._settle()
            time.sleep(self.chance.uniform(0, 0.02))
        return taken, missing
