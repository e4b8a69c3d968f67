"""The sockets for usage lines: the parent's and the keeper's, on one address, and there only with a token."""

import os
import re
import socket
import subprocess

import processes
from gwstack import probe
from helpers import wait_until

TCP, UDP = 7, 8  # spoa/agent/child.h


def inode(pid, fd):
    """Of a socket; None when the process has no such descriptor."""
    try:
        name = os.readlink(f"/proc/{pid}/fd/{fd}")
    except FileNotFoundError:
        return None
    return name if name.startswith("socket:") else None


def held(pid):
    return {inode(pid, fd) for fd in map(int, os.listdir(f"/proc/{pid}/fd"))} - {None}


def bound(kind, port):
    """Inodes of the sockets on this port of 127.0.0.1, as /proc/net shows them."""
    with open(f"/proc/net/{kind}", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    # A listening TCP socket has the state 0A; a UDP socket without a peer 07.
    return {f"socket:[{row[9]}]" for row in rows
            if row[1] == f"0100007F:{port:04X}" and row[3] == {"tcp": "0A", "udp": "07"}[kind]}


def has_ring(stack):
    return re.search(r"^ *usage *: type=buffer", stack.haproxy("show events"), re.MULTILINE) is not None


def test_the_keeper_alone_inherits_them(fresh_stack):
    stack = fresh_stack()
    assert has_ring(stack)
    port = probe.split_address(stack.settings["USAGE_BIND"])[1]
    wanted = {kind: bound(kind, port) for kind in ("tcp", "udp")}
    both = wanted["tcp"] | wanted["udp"]
    assert len(both) == 2, wanted
    keeper = processes.keeper(stack)
    for _ in range(2):
        assert (inode(keeper, TCP), inode(keeper, UDP)) == (*wanted["tcp"], *wanted["udp"])
        assert both <= held(stack["agent"].pid)
        for index in range(2):
            assert not both & held(processes.worker(stack, index))
        # The next keeper has the same ones: nothing that came meanwhile is lost.
        old = keeper
        os.kill(old, 9)
        wait_until(lambda: processes.keeper(stack) not in (None, old), 15, "another keeper")
        keeper = processes.keeper(stack)
        wait_until(lambda: inode(keeper, UDP) in wanted["udp"], 5, "its sockets")
    assert "usage is not recorded" not in stack.logs()["agent.log"]


def test_the_address_changes_with_a_restart_only(fresh_stack):
    stack = fresh_stack()
    stack.settings["USAGE_BIND"] = "127.0.0.1:1"
    stack.write_config()
    stack["agent"].reload()
    wait_until(lambda: "reload: done" in stack.logs()["agent.log"], 30, "the reload")
    log = stack.logs()["agent.log"]
    assert "reload: usage.bind was changed, and needs a restart" in log
    assert log.count("needs a restart") == 1


def test_without_a_token_there_are_none(fresh_stack):
    stack = fresh_stack({"USAGE_TOKEN": ""})
    port = probe.split_address(stack.settings["USAGE_BIND"])[1]
    assert bound("tcp", port) == bound("udp", port) == set()
    assert stack.logs()["agent.log"].count("usage.token is not set: usage is not recorded") == 1
    keeper = processes.keeper(stack)
    assert inode(keeper, TCP) is None and inode(keeper, UDP) is None
    # Nor does HAProxy send anything.
    assert stack.get("/healthz").status == 200 and not has_ring(stack)


def test_an_address_in_use_is_named(fresh_stack):
    stack = fresh_stack(start=False)
    stack.prepare()
    host, port = probe.split_address(stack.settings["USAGE_BIND"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((host, port))
        result = stack.run_program("gateway-agent", "--config", stack.config, timeout=20)
    assert result.rc == 1 and f"usage.bind: {host}:{port} (UDP): bind: Address already in use" in result.err, result


def test_no_secret_in_a_process_list(stack):
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert stack.settings["USAGE_TOKEN"] not in listed


def test_the_address_is_told(stack):
    assert stack.env()["GATEWAY_USAGE_ADDR"] == stack.settings["USAGE_BIND"]
