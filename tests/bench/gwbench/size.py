"""The group `size`: a million keys."""

import time

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
            code = worker.read().txn()["code"]
            if code != wanted:
                raise StackError(f"size: a verdict is {code}, not {wanted}")


def _touch(stack, total):
    """Looks keys up all over the table, at every worker, so that what verdicts use is resident. Those keys have a right
    form and a wrong secret, which is found out only with the record at hand."""
    keys = list(data.make_keys(range(1, total + 1, EVERY), seed=5).values())
    for address in stack["agent"].workers():
        with Client(address) as worker:
            _ask(worker, keys, "key_invalid")


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
        ]
