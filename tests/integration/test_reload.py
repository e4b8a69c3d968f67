"""New processes with the present program and settings take over without one failed request, or the old ones stay."""

import json
import re
import signal

import pytest

import processes
from helpers import wait_until
from load import check_clean

NONE = "/img/unsafe/w:1/plain/local:///none.jpg"


class AgentLog:
    """What the agent has logged since this was made."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.start = len(gateway.logs()["agent.log"])

    def text(self):
        return self.gateway.logs()["agent.log"][self.start:]

    def wait(self, pattern, timeout=30.0):
        wait_until(lambda: re.search(pattern, self.text()), timeout, f"the agent logs {pattern}")


# ---- HAProxy ---------------------------------------------------------------------------------------------------------


def haproxy_pid(gateway):
    return int(re.search(r"^Pid: (\d+)", gateway.haproxy("show info"), re.M)[1])


def test_haproxy_reload(gateway, load):
    """The listening sockets pass from the old process to the new one; a kept connection that the old one closes while
    it is idle is opened again, as every client does."""
    with load(stale_ok=True) as running:
        for _ in range(4):
            old = haproxy_pid(gateway)
            gateway["haproxy"].reload()
            wait_until(lambda: haproxy_pid(gateway) != old, 20, "a new process answers on the runtime socket")
            running.wait(200)
    check_clean(running)


# ---- SIGHUP to the agent ---------------------------------------------------------------------------------------------


def test_agent_reload(gateway, load):
    """Often, because a request is lost only when it meets the moment in which a worker says that it goes."""
    parent = gateway["agent"].pid
    with load(rate=0) as running:
        before = processes.restarts(gateway)
        for _ in range(20):
            old = processes.pids(gateway)
            new = processes.reload(gateway)
            assert len(old) == len(new) == 3 and not old & new
        running.wait(200)
    check_clean(running)
    assert gateway["agent"].pid == parent and gateway["agent"].is_running()
    gateway["agent"].wait_ready()
    assert processes.restarts(gateway) == before, "a reload is no restart"
    new = gateway.make_key()
    assert gateway.get(NONE, new).code == "not_found", "the new keeper follows PostgreSQL"


def test_agent_reloads_at_once(gateway, load):
    """Signals that come while a reload is under way lead to one more."""
    old, log = processes.pids(gateway), AgentLog(gateway)
    with load() as running:
        for _ in range(10):
            gateway["agent"].reload()
        wait_until(lambda: not old & processes.pids(gateway), 30, "new processes")
        wait_until(lambda: log.text().count("reload: done") == log.text().count("reload: starting") and
                   len(processes.pids(gateway)) == 3, 30, "all reloads are done")
        running.wait(100)
    check_clean(running)
    processes.wait_all_up(gateway)


def change_file(gateway, old, new):
    with open(gateway.config, encoding="utf-8") as file:
        text = file.read()
    assert text.count(old) == 1, (old, text.count(old))
    gateway.layout.write("gateway.yaml", text.replace(old, new))
    return text[:text.index(old)].count("\n") + 1


def test_the_format_changes_at_a_reload(gateway):
    log = AgentLog(gateway)
    processes.reload(gateway, LOG_FORMAT="json", LOG_LEVEL="debug")
    processes.reload(gateway, LOG_FORMAT="text", LOG_LEVEL="info")
    lines = [json.loads(line) for line in log.text().splitlines() if line.startswith("{")]
    assert {line["level"] for line in lines} >= {"debug", "info"}
    assert {"gateway-agent", "gateway-agent/keeper"} <= {line["program"] for line in lines}
    assert any(line["msg"] == "reload: done" and line["pid"] == gateway["agent"].pid for line in lines)
    assert all(line.startswith("{") or line.startswith("time=") for line in log.text().splitlines())


@pytest.mark.parametrize("old, new, says", [
    ('level: "info"', 'level: "loud"', r"log\.level"),
    ('freeze_timeout: "2s"', 'freeze_timeout: "soon"', r"agent\.freeze_timeout"),
    ('freeze_timeout: "2s"', 'freeze_timout: "2s"', r"agent\.freeze_timout"),
])
def test_broken_settings(gateway, load, old, new, says):
    before, log = processes.pids(gateway), AgentLog(gateway)
    line = change_file(gateway, old, new)
    try:
        with load() as running:
            gateway["agent"].reload()
            log.wait(r"level=error .*reload: .*the old settings stay")
            running.wait(100)
        check_clean(running)
        said = [text for text in log.text().splitlines() if " level=error " in text]
        assert len(said) == 1, said
        assert re.search(says, said[0]) and re.search(rf"\b{line}\b", said[0]), f"line {line}: {said[0]}"
        assert processes.pids(gateway) == before
    finally:
        gateway.write_config()


def test_settings_that_no_agent_can_run_with(gateway, load):
    """The file is sound, and the pepper is missing: the new processes refuse, the old ones stay."""
    before, log = processes.pids(gateway), AgentLog(gateway)
    pepper = gateway.settings["AUTH_KEY_PEPPER"]
    try:
        gateway.settings["AUTH_KEY_PEPPER"] = ""
        gateway.write_config()
        with load() as running:
            gateway["agent"].reload()
            log.wait(r"error .*the old .* stay")
            wait_until(lambda: processes.pids(gateway) == before, 20, "only the old processes are there")
            running.wait(100)
        check_clean(running)
        assert "auth.key_pepper" in log.text()
    finally:
        gateway.settings["AUTH_KEY_PEPPER"] = pepper
        gateway.write_config()


@pytest.mark.parametrize("text, mode", [
    ("#!/bin/sh\nexit 3\n", 0o755),
    ("this is no program\n", 0o755),
    ("#!/bin/sh\nexit 0\n", 0o644),
], ids=["ends", "no-program", "not-executable"])
def test_broken_program(gateway, load, programs, text, mode):
    before, log = processes.pids(gateway), AgentLog(gateway)
    restarts = processes.restarts(gateway)
    programs.replace("gateway-agent", text, mode)
    try:
        with load() as running:
            gateway["agent"].reload()
            log.wait(r"error .*the old processes stay")
            wait_until(lambda: processes.pids(gateway) == before, 20, "only the old processes are there")
            running.wait(100)
        check_clean(running)
        assert processes.restarts(gateway) == restarts
    finally:
        programs.restore("gateway-agent")
    assert not before & processes.reload(gateway), "with the whole program the next reload works"


def test_program_that_never_gets_ready(gateway, load, programs):
    before, log = processes.pids(gateway), AgentLog(gateway)
    programs.replace("gateway-agent", "#!/bin/sh\nexec sleep 100\n")
    try:
        with load(rate=100) as running:
            gateway["agent"].reload()
            log.wait(r"error .*the old processes stay", 40)
            running.wait(50)
        check_clean(running)
        assert processes.pids(gateway) == before
    finally:
        programs.restore("gateway-agent")
    assert not before & processes.reload(gateway)


def test_worker_dies_during_reload(gateway, load):
    """An old one that dies while the new ones start: the reload goes on, and all are there in the end."""
    with load() as running:
        gateway["agent"].reload()
        processes.kill_worker(gateway, 0)
        wait_until(lambda: len(processes.pids(gateway)) == 3, 30)
        running.wait(200)
    check_clean(running)
    processes.wait_all_up(gateway)


def test_log_level(gateway, load):
    log = AgentLog(gateway)
    assert " level=debug " not in gateway.logs()["agent.log"]
    with load() as running:
        processes.reload(gateway, LOG_LEVEL="debug")
        try:
            log.wait(r" level=debug program=gateway-agent/verdict-1 pid=\d+ ")
        finally:
            processes.reload(gateway, LOG_LEVEL="info")
        running.wait(50)
    check_clean(running)
    quiet = AgentLog(gateway)
    processes.kill_worker(gateway, 0, signal.SIGTERM)
    quiet.wait("ended by itself\" status=0")
    processes.wait_all_up(gateway)
    assert " level=debug " not in quiet.text()
