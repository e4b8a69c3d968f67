"""What the programs' logs say about parts that went away: lines that can be read by field, also by machines; and the level
of gateway-api at run time."""

import os
import re
import signal

import processes
from helpers import wait_until

FIELD = re.compile(r'([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "=]*))(?: |$)')
ME = "/api/v1/me"


def fields(line):
    """All of the line, or nothing is left of it."""
    found, at = {}, 0
    while at < len(line):
        match = FIELD.match(line, at)
        assert match, line
        found[match[1]] = match[3] if match[2] is None else match[2]
        at = match.end()
    return found


def lines(stack, name, start=0):
    return [fields(line) for line in stack.logs()[name][start:].splitlines()]


def test_lines_about_postgresql_and_redis(fresh_stack):
    """Whose connection, what and where are fields of their own, whatever libpq quotes, and there is no SQL in them."""
    stack = fresh_stack()
    key = stack.make_key()
    sizes = {name: len(stack.logs()[name]) for name in ("agent.log", "api.log")}
    for part in ("postgres", "redis"):
        stack[part].stop()
        wait_until(lambda: stack.metrics().sum(f"gateway_{part}_up") == 0, 20)  # noqa: B023
        stack.get(ME, key)
        stack[part].start()
        stack[part].wait_ready()
        wait_until(lambda: stack.metrics().sum(f"gateway_{part}_up") == 1, 20)  # noqa: B023
    wait_until(lambda: stack.get(ME, key).status == 200, 20)

    agent = lines(stack, "agent.log", sizes["agent.log"])
    api = lines(stack, "api.log", sizes["api.log"])
    lost = [line for line in agent if line["msg"] == "postgres: no connection"]
    assert {line["client"] for line in lost} == {"gateway-agent", "gateway-agent usage", "gateway-agent quotas"}
    assert {line["client"] for line in agent if line["msg"] == "postgres: connected"} == {line["client"] for line in lost}
    assert any(line["msg"].startswith("postgres: connection lost") for line in agent)
    redis = [line for line in agent if line["msg"].startswith("redis: ")]
    assert {line["msg"] for line in redis} == {"redis: no connection", "redis: connected"}
    assert {line["addr"] for line in redis} == {stack.settings["REDIS_ADDR"]}
    assert any("failed" in line["error"] for line in api if line["msg"] == "postgres: down"), api
    for line in agent + api:
        assert "=" not in line["msg"] and "CONTEXT" not in line.get("error", ""), line


def test_a_replaced_worker(fresh_stack):
    stack = fresh_stack()
    start = len(stack.logs()["agent.log"])
    for what, kill in (("verdict-1", lambda: processes.kill_worker(stack, 0)),
                       ("keeper", lambda: processes.signal_all([processes.keeper(stack)], signal.SIGKILL))):
        kill()
        wait_until(lambda: re.search(rf'msg="{what}: pid=\d+ is ready, in place of',  # noqa: B023
                                     stack.logs()["agent.log"][start:]), 20)
    processes.wait_all_up(stack)
    assert stack.logs()["agent.log"][start:].count("in place of") == 2


def test_level_and_format_of_the_api(fresh_stack):
    """SIGHUP takes these two from the file; what else was changed is named; a file that is wrong changes nothing."""
    stack = fresh_stack()
    key, pid = stack.make_key(), stack["api"].pid

    def hup(**settings):
        start = len(stack.logs()["api.log"])
        stack.settings.update(settings)
        stack.write_config()
        os.kill(stack["api"].pid, signal.SIGHUP)
        return start

    def said(start, pattern):
        return wait_until(lambda: re.search(pattern, stack.logs()["api.log"][start:], re.M), 10, pattern)

    start = hup(LOG_FORMAT="json", LOG_LEVEL="warn", UPLOADS_MAX_SIZE="1MB", METRICS_ENABLED="false")
    said(start, r'level=warn .*"reload: uploads.max_size was changed, and needs a restart"')
    assert "metrics.enabled" not in stack.logs()["api.log"], "that is nothing to this program"
    start = hup(LOG_LEVEL="info")
    said(start, r'^\{.*"msg":"reload: done"\}')
    start = hup(LOG_FORMAT="text", LOG_LEVEL="loud")
    said(start, r'"level":"error".*log\.level.*the old settings stay')
    start = hup(LOG_LEVEL="info")
    said(start, r'level=info .*msg="reload: done"')
    assert stack["api"].pid == pid and stack["api"].is_running()
    assert stack.get(ME, key).status == 200


def test_what_needs_a_restart_is_named_until_it_came(fresh_stack):
    """Each reload says it, not the first alone: what holds is still what the agent was started with."""
    stack = fresh_stack()
    bind = stack.settings["METRICS_BIND"]
    says = '"reload: metrics.bind was changed, and needs a restart"'
    for value, count in (("127.0.0.1:1", 1), ("127.0.0.1:1", 2), (bind, 2)):
        processes.reload(stack, METRICS_BIND=value)
        assert stack.logs()["agent.log"].count(says) == count, value


def test_stops_are_told(fresh_stack):
    stack = fresh_stack()
    for name in ("agent", "api"):
        stack[name].stop()
        assert lines(stack, f"{name}.log")[-1]["msg"] == "stopped"
