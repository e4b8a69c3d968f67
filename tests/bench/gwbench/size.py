"""The group `size`: a million keys."""

import threading
import time

import psycopg2
from gwstack import StackError
from helpers_spop import Client, check

from . import data, measure
from .groups import IMAGE
from .parts import BenchStack
from .rows import Row

READY_TIMEOUT = 120.0
# Records are small: every 16th touches every page of the table.
EVERY = 16
BATCH = 128
MIB = 2**20


def _wait_ready(stack, timeout=READY_TIMEOUT):
    """Seconds since the agent was started until it is ready, looked at every 2 ms."""
    agent = stack["agent"]
    began = time.monotonic()
    agent.start()
    while True:
        if not agent.is_running():
            raise StackError(agent.failure("ended while starting"))
        reason = agent.check()
        if reason is None:
            return time.monotonic() - began
        if time.monotonic() - began > timeout:
            raise StackError(agent.failure(f"not ready after {timeout:.0f} s ({reason})"))
        time.sleep(0.002)


def _ask(worker, keys, wanted):
    """All of these keys, BATCH at once; StackError when a verdict has another code."""
    for begin in range(0, len(keys), BATCH):
        some = keys[begin:begin + BATCH]
        worker.send(*(check(number + 1, 1, IMAGE, key, id=f"size-{begin + number}") for number, key in enumerate(some)))
        for _ in some:
            code = worker.read().code()
            if code != wanted:
                raise StackError(f"size: a verdict is {code}, not {wanted}")


def _touch(stack, total):
    """Looks keys up all over the table, at every worker, so that what verdicts use is resident. Those keys have a right
    form and a wrong secret, which is found out only with the record at hand."""
    keys = list(data.make_keys(range(1, total + 1, EVERY), seed=5).values())
    for address in stack["agent"].workers():
        with Client(address) as worker:
            _ask(worker, keys, "key_invalid")


class Burst:
    """Many changes in one transaction, carried out beside the questions that are timed."""

    EACH = """DO $$ BEGIN FOR n IN 1..{count} LOOP
                  UPDATE rate_limits SET requests_per_hour = requests_per_hour + 1 WHERE user_id = n;
              END LOOP; END $$"""
    ALL = "UPDATE rate_limits SET requests_per_hour = requests_per_hour + 1 WHERE user_id <= {count}"
    SETTLED = 60.0

    def __init__(self, stack, statement, count):
        self.stack, self.statement = stack, statement.format(count=count)
        self.failure = None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            db = psycopg2.connect(self.stack.settings["DB_DSN"], connect_timeout=10)
            try:
                with db, db.cursor() as cursor:
                    cursor.execute(self.statement)
                with db, db.cursor() as cursor:
                    cursor.execute("SELECT generation FROM policy_generation")
                    wanted = cursor.fetchone()[0]
            finally:
                db.close()
            deadline = time.monotonic() + self.SETTLED
            while self.stack.gauge("gateway_policy_generation") < wanted:
                if time.monotonic() > deadline:
                    raise StackError(f"size: the changes are not there after {self.SETTLED:.0f} s")
                time.sleep(0.5)  # reading the metrics holds the interpreter, which times the questions
        except (StackError, psycopg2.Error, OSError) as error:
            self.failure = error

    def time(self, keys):
        """Seconds of each question until the changes are there."""
        taken = []
        with Client(self.stack["agent"].workers()[0]) as worker:
            self.thread.start()
            while self.thread.is_alive():
                key = keys[len(taken) % len(keys)]
                began = time.monotonic()
                worker.send(check(len(taken) + 1, 1, IMAGE, key, id=f"burst-{id(self)}-{len(taken)}"))
                code = worker.read().code()
                taken.append(time.monotonic() - began)
                if code != "allow":
                    raise StackError(f"size: a verdict is {code} during the changes")
                time.sleep(0.0005)
        self.thread.join()
        if self.failure is not None:
            raise StackError(f"size: {self.failure}")
        return taken


def _bursts(stack, users, keys, say):
    """The worse p99 of both kinds, in ms, and how many questions there were."""
    count = min(10000, users)
    found = []
    for name, statement in (("each in a statement", Burst.EACH), ("all in one statement", Burst.ALL)):
        began = time.monotonic()
        taken = Burst(stack, statement, count).time(keys)
        found.append((measure.percentile(taken, 0.99) * 1000, len(taken)))
        say(f"  {count:,} changes, {name}: there after {time.monotonic() - began:.1f} s, {len(taken)} verdicts meanwhile: "
            f"p50 {measure.median(taken) * 1000:.2f} ms, p99 {found[-1][0]:.2f} ms, slowest {max(taken) * 1000:.1f} ms")
    return max(found)


def size(options, say):
    """The rows of the group, on a stack of its own."""
    with BenchStack(options.redis) as stack:
        total = options.size_users * data.KEYS_A_USER
        known = data.make_keys(data.spread(1000, total))
        began = time.monotonic()
        stack.start_database()
        data.fill(stack, options.size_users, known)
        say(f"  {options.size_users:,} users and {total:,} keys in PostgreSQL after {time.monotonic() - began:.0f} s")

        first = _wait_ready(stack)
        loaded = stack.gauge("gateway_policy_keys")
        if loaded != total:
            raise StackError(f"size: the agent is ready with {loaded} keys, not {total}")
        _touch(stack, total)
        with Client(stack["agent"].workers()[0]) as worker:
            _ask(worker, list(known.values()), "allow")
        roles = {"verdict workers": stack.verdict_pids(), "parent and keeper": stack.other_agent_pids()}
        resident = measure.resident_bytes([pid for pids in roles.values() for pid in pids])
        say("  resident: " + ", ".join(f"{name} {measure.resident_bytes(pids) / MIB:.0f} MiB"
                                       for name, pids in roles.items()))

        burst, asked = _bursts(stack, options.size_users, list(known.values()), say)
        stack["agent"].stop()
        stack["postgres"].stop()
        restarts = []
        for _ in range(3):
            restarts.append(_wait_ready(stack))
            with Client(stack["agent"].workers()[0]) as worker:
                _ask(worker, list(known.values())[:10], "allow")
            stack["agent"].stop()
        return [
            Row("resident 1,000,000 keys", resident / MIB, 1,
                note="" if total == 1_000_000 else f"with {total:,} keys"),
            Row("restart to ready with PostgreSQL down", measure.median(restarts), len(restarts)),
            Row("first load", first, 1),
            Row("verdict p99 during 10,000 changes", burst, asked),
        ]
