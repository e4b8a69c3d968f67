"""What goes as it should is no line above info: nobody reads a log that cries wolf at each start and stop."""

import re

import processes
import pytest
from helpers import image_path, wait_until

LOUD = re.compile(r"level=(warn|error)|\"level\":\"(warn|error)\"")
# Of the machine's settings, once at a start: not of what was done.
OF_THE_MACHINE = re.compile(r"usage\.bind: the system limits the buffer for usage to \d+ bytes")


def loud(stack):
    """Lines of our programs above info."""
    return [line for name in ("agent.log", "api.log") for line in stack.logs()[name].splitlines()
            if LOUD.search(line) and not OF_THE_MACHINE.search(line)]


def work(stack, small_jpeg):
    """Requests of each kind, and a record of each of them."""
    key = stack.make_key()
    source = stack.uploaded(key, small_jpeg)["source"]
    for _ in range(5):
        assert stack.get(image_path(source), key).status == 200
        assert stack.get("/api/v1/me", key).status == 200
        assert stack.get(image_path(source)).status == 401
    wait_until(lambda: stack.metrics().get("gateway_usage_records_total", result="recorded") >= 11, 10, "usage is recorded")


@pytest.mark.parametrize("given, log_format", [(True, "text"), (False, "json")],
                         ids=["sockets of a supervisor", "sockets of the agent"])
def test_start_work_and_stop(fresh_stack, small_jpeg, given, log_format):
    """HAProxy goes first, as `make down` has it."""
    stack = fresh_stack({"LOG_FORMAT": log_format}, start=False)
    stack.prepare()
    if not given:
        stack["agent"].sockets = lambda: ()
    stack.start()
    work(stack, small_jpeg)
    before = processes.pids(stack)
    stack["agent"].reload()
    wait_until(lambda: "reload: done" in stack.logs()["agent.log"], 30, "the reload is done")
    wait_until(lambda: not before & processes.pids(stack), 30, "the old processes are gone")
    stack["haproxy"].reload()
    processes.wait_all_up(stack)
    assert stack.metrics().get("gateway_usage_records_total", result="bad_form") == 0
    stack["haproxy"].stop()
    assert stack.metrics().get("gateway_usage_records_total", result="bad_form") == 0
    stack["api"].stop()
    stack["agent"].stop()
    logs = stack.logs()
    assert "stopped" in logs["agent.log"] and "stopping" in logs["api.log"]
    assert loud(stack) == []


@pytest.mark.parametrize("given", [True, False], ids=["sockets of a supervisor", "sockets of the agent"])
def test_the_agent_goes_first(fresh_stack, small_jpeg, given):
    """HAProxy goes on sending meanwhile, and finds the next agent."""
    stack = fresh_stack(start=False)
    stack.prepare()
    if not given:
        stack["agent"].sockets = lambda: ()
    stack.start()
    work(stack, small_jpeg)
    for _ in range(2):
        stack["agent"].stop()
        assert stack.get("/img/unsafe/plain/local:///x.jpg", "nobody").status == 503
        stack["agent"].start()
        stack["agent"].wait_ready()
        processes.wait_all_up(stack)
    work(stack, small_jpeg)
    stack["agent"].stop()
    assert loud(stack) == []
