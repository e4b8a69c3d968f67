"""Processes of the agent that die, freeze, or cannot start, under load: no request may fail."""

import os
import signal
import time

import pytest

import processes
from helpers import wait_until
from helpers_http import check_problem
from load import check_clean

BROKEN = "#!/bin/sh\nexit 3\n"


@pytest.mark.parametrize("indexes", [(0,), (1,), (0, 1)], ids=["first", "second", "alternating"])
def test_killed_twice_a_second(gateway, load, indexes):
    before = [processes.restarts(gateway, worker=f"verdict-{i + 1}") for i in (0, 1)]
    with load() as running:
        kills = processes.kill_in_turn(gateway, indexes, running, 8)
        processes.wait_all_up(gateway)
    check_clean(running, 500)
    after = [processes.restarts(gateway, worker=f"verdict-{i + 1}") for i in (0, 1)]
    print(f"{kills} kills, restarts {before} -> {after}")
    assert kills >= 4
    assert sum(after) - sum(before) == kills
    for index in (0, 1):
        assert (after[index] > before[index]) == (index in indexes)


def test_killed_counts_as_killed(gateway):
    processes.wait_all_up(gateway)
    before = processes.restarts(gateway, worker="verdict-1", reason="killed")
    old = processes.kill_worker(gateway, 0)
    wait_until(lambda: processes.worker(gateway, 0) not in (None, old), what="another process takes its place")
    wait_until(lambda: processes.restarts(gateway, worker="verdict-1", reason="killed") == before + 1)
    assert f"verdict-1: pid={old} ended by signal 9" in gateway.logs()["agent.log"]


def test_frozen_is_replaced(gateway, load):
    before = processes.restarts(gateway, worker="verdict-1", reason="frozen")
    with load() as running:
        old = processes.kill_worker(gateway, 0, signal.SIGSTOP)
        wait_until(lambda: processes.worker(gateway, 0) not in (None, old), 20, "the frozen worker is replaced")
        processes.wait_all_up(gateway)
        running.wait(300)
    check_clean(running, 300)
    assert not processes.is_alive(old)
    assert processes.restarts(gateway, worker="verdict-1", reason="frozen") == before + 1


@pytest.mark.parametrize("index", [0, 1], ids=["first", "second"])
def test_frozen_for_six_seconds(gateway, load, index):
    """It wakes up by itself, with questions that nobody waits for any more."""
    processes.reload(gateway, AGENT_FREEZE_TIMEOUT="60s")
    try:
        processes.wait_all_up(gateway)
        before = processes.restarts(gateway)
        with load() as running:
            pid = processes.kill_worker(gateway, index, signal.SIGSTOP)
            try:
                running.run_for(6)
            finally:
                os.kill(pid, signal.SIGCONT)
            processes.wait_all_up(gateway)
            running.wait(300)
        check_clean(running, 300)
        assert processes.worker(gateway, index) == pid
        assert processes.restarts(gateway) == before
    finally:
        processes.reload(gateway, AGENT_FREEZE_TIMEOUT=gateway.table["AGENT_FREEZE_TIMEOUT"].default)


def test_keeper_killed(gateway, load):
    before = processes.restarts(gateway, worker="keeper", reason="killed")
    workers = [processes.worker(gateway, i) for i in (0, 1)]
    with load() as running:
        old = processes.keeper(gateway)
        os.kill(old, signal.SIGKILL)
        running.wait(200)
        wait_until(lambda: processes.keeper(gateway) not in (None, old), what="another keeper")
        new = gateway.make_key()
        assert gateway.get("/img/unsafe/w:1/plain/local:///none.jpg", new).code == "not_found"
        gateway.done("key", "revoke", new.id)
        wait_until(lambda: gateway.get("/img/unsafe/w:1/plain/local:///none.jpg", new).code == "key_revoked",
                   what="the revoked key is refused")
    check_clean(running, 200)
    assert processes.restarts(gateway, worker="keeper", reason="killed") == before + 1
    assert [processes.worker(gateway, i) for i in (0, 1)] == workers


def test_keeper_frozen(gateway, load):
    """It has ten times the patience that a verdict worker has."""
    processes.reload(gateway, AGENT_FREEZE_TIMEOUT="500ms")
    try:
        before = processes.restarts(gateway, worker="keeper", reason="frozen")
        with load() as running:
            old = processes.keeper(gateway)
            os.kill(old, signal.SIGSTOP)
            wait_until(lambda: processes.keeper(gateway) not in (None, old), 30, "the frozen keeper is replaced")
            running.wait(100)
        check_clean(running, 200)
        new = gateway.make_key()
        assert gateway.get("/img/unsafe/w:1/plain/local:///none.jpg", new).code == "not_found"
        assert processes.restarts(gateway, worker="keeper", reason="frozen") == before + 1
    finally:
        processes.reload(gateway, AGENT_FREEZE_TIMEOUT=gateway.table["AGENT_FREEZE_TIMEOUT"].default)


def test_worker_that_cannot_start(gateway, load, programs):
    """It is tried less and less often while the other one serves, and comes back by itself."""
    before = processes.restarts(gateway, worker="verdict-1", reason="not_ready")

    def tries():
        return processes.restarts(gateway, worker="verdict-1", reason="not_ready") - before

    with load() as running:
        programs.replace("gateway-agent", BROKEN)
        try:
            processes.kill_worker(gateway, 0)
            began = time.monotonic()
            # Waits of 100, 200, 400 and 800 ms lie between the first try and the fifth.
            wait_until(lambda: tries() >= 5, 30, "five tries to start it")
            assert time.monotonic() - began >= 1.4, "there is no growing wait between the tries"
            running.wait(20)
        finally:
            programs.restore("gateway-agent")
        processes.wait_all_up(gateway)
        count = tries()
        running.wait(300)
    check_clean(running, 300)
    assert tries() == count


def test_no_worker_can_start(gateway, load, programs, key):
    """All answers are 503 then, quickly; it ends when the program is whole again."""
    path = "/img/unsafe/w:1/plain/local:///none.jpg"
    programs.replace("gateway-agent", BROKEN)
    try:
        processes.kill_worker(gateway, 0)
        processes.kill_worker(gateway, 1)
        for _ in range(5):
            check_problem(gateway.get(path, key), 503, "unavailable")
    finally:
        programs.restore("gateway-agent")
    wait_until(lambda: gateway.get(path, key).code == "not_found", 30, "requests are answered again")
    processes.wait_all_up(gateway)
