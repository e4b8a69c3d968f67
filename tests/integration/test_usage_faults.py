"""Usage while the parts die: in the end every answer that a client got has one row, with its bytes."""

import errno
import os
import signal
import socket
import subprocess
import time

import pytest

import processes
from helpers import image_path, wait_until
from helpers_records import check_exact, check_sums, row_of_answer, wait_shipped
from usage_load import UsageLoad

RATE = 300


@pytest.fixture(scope="module")
def gateway(module_stack):
    return module_stack()


@pytest.fixture
def targets(gateway, small_jpeg):
    """Three users: images of several sizes, a 304, a refusal, a HEAD's worth of nothing."""
    found = []
    for _ in range(3):
        key = gateway.make_key()
        source = gateway.uploaded(key, small_jpeg)["source"]
        path = image_path(source, "rs:fill:60:40")
        etag = gateway.get(path, key).header("ETag")
        found += [(key, path, []), (key, image_path(source, "rs:fill:7:7"), []), (key, path, [("If-None-Match", etag)]),
                  (key, "/img/unsafe/rs", []), (key, path, [])]
    return found


def users_of(targets):
    return {key.user.id: key.user for key, _, _ in targets}.values()


def settle_and_check(gateway, load, targets):
    """Nothing lost, nothing twice, and all sums are one."""
    wait_until(lambda: gateway.metrics().get("gateway_postgres_up") == 1, 30, "PostgreSQL is back")
    wait_shipped(gateway, 60)
    check_exact(gateway, load)
    for user in users_of(targets):
        check_sums(gateway, user)
    assert gateway.metrics().sum("gateway_usage_lost_total") == 0, gateway.metrics().text
    print(len(load.seen), "answers,", len(load.failed), "without")


def kill_keeper(gateway):
    pid = wait_until(lambda: processes.keeper(gateway), 20, "a keeper")
    processes.signal_all([pid], signal.SIGKILL)
    wait_until(lambda: processes.keeper(gateway) not in (None, pid), 20, "the next keeper")


def kill_agent(gateway):
    """All of its processes at the same moment."""
    everyone = [gateway["agent"].pid, *processes.pids(gateway)]
    gateway["agent"].wanted = False
    processes.signal_all(everyone, signal.SIGKILL)
    time.sleep(0.3)
    gateway["agent"].start()
    gateway["agent"].wait_ready()


def test_keepers_killed(gateway, targets):
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        for _ in range(10):
            kill_keeper(gateway)
            load.run_for(0.4)
    assert not load.failed
    settle_and_check(gateway, load, targets)


def test_whole_agents_killed(gateway, targets):
    """Whoever gets a 503 meanwhile is not known, so there is no row; what was admitted before has one."""
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        for _ in range(3):
            load.run_for(1.0)
            kill_agent(gateway)
        load.run_for(1.0)
    unavailable = [one for one, seen in load.seen.items() if seen.status == 503]
    for one in unavailable:
        del load.seen[one]
    assert not load.failed and len(load.seen) > 2 * RATE
    settle_and_check(gateway, load, targets)


def test_parent_killed(gateway, targets):
    """The keeper that is left takes what is in its sockets, and ends; a new agent can open them."""
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        load.run_for(1.0)
        pid = processes.keeper(gateway)
        gateway["agent"].kill()
        wait_until(lambda: not processes.is_alive(pid), 5, "the keeper ends")
        gateway["agent"].start()
        gateway["agent"].wait_ready()
        load.run_for(1.0)
    load.seen = {one: seen for one, seen in load.seen.items() if seen.status != 503}
    assert not load.failed
    settle_and_check(gateway, load, targets)


def test_postgres_away(gateway, targets):
    """Stopped for some seconds, and killed."""
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        for kill in (gateway["postgres"].stop, gateway["postgres"].kill):
            load.run_for(0.5)
            kill()
            load.run_for(3.0)
            assert gateway.metrics().get("gateway_usage_spool_bytes") > 0
            gateway["postgres"].start()
            gateway["postgres"].wait_ready()
            load.run_for(1.0)
    assert not load.failed
    settle_and_check(gateway, load, targets)


def test_reloads_and_restarts(gateway, targets):
    """HAProxy and the agent reloaded in turn, Redis restarted; the agent stopped in good order and started again."""
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        for _ in range(3):
            gateway["haproxy"].reload()
            load.run_for(1.0)
            processes.reload(gateway)
            load.run_for(0.5)
        gateway["redis"].restart()
        load.run_for(0.5)
        gateway["agent"].restart()
        load.run_for(0.5)
    load.seen = {one: seen for one, seen in load.seen.items() if seen.status != 503}
    settle_and_check(gateway, load, targets)


def test_haproxy_killed(gateway, targets):
    """What can be lost by it: the requests that were running, at most one a connection. All else stays exact."""
    gateway["haproxy"].restart()
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        load.wait(RATE)
        alive = gateway["haproxy"].pids()
        gateway["haproxy"].kill()
        wait_until(lambda: not any(map(processes.is_alive, alive)), 10, "all of HAProxy has ended")
        load.run_for(0.1)
        gateway["haproxy"].start()
        gateway["haproxy"].wait_ready()
        load.wait(RATE)
    assert 0 < len(load.failed)
    load.seen = {one: seen for one, seen in load.seen.items() if seen.status != 503}
    wait_shipped(gateway)
    rows = gateway.sql("SELECT request_id, response_size_bytes FROM request_logs WHERE user_id = ANY (%s)",
                       [[user.id for user in users_of(targets)]])
    recorded = dict(rows)
    assert len(recorded) == len(rows), "a request stands twice"
    lost = [one for one in load.seen if one not in recorded]
    print(f"{len(load.seen)} answers, {len(lost)} of them without a record; {len(load.failed)} requests without an answer")
    assert len(lost) <= 8, "more than was running"
    assert all(recorded[one] == seen.bytes for one, seen in load.seen.items() if one in recorded)
    for user in users_of(targets):
        check_sums(gateway, user)


def test_the_token_is_changed(gateway, targets):
    """First the agent, which takes the old one meanwhile, then HAProxy, then the agent again: no line is dropped."""
    def reload(**settings):
        gateway.settings.update(settings)
        gateway.write_config()
        before = gateway.logs()["agent.log"].count("reload: done")
        gateway["agent"].reload()
        wait_until(lambda: gateway.logs()["agent.log"].count("reload: done") > before, 30, "the reload")

    old, new = gateway.settings["USAGE_TOKEN"], "the-new-token-of-a-test"
    dropped = gateway.metrics().get("gateway_usage_records_total", result="bad_token")
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        load.wait(30)
        reload(USAGE_TOKEN=new, USAGE_PREVIOUS_TOKEN=old)
        load.wait(RATE)
    assert not load.failed
    settle_and_check(gateway, load, targets)
    gateway["haproxy"].restart()
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        load.wait(30)
        reload(USAGE_PREVIOUS_TOKEN="")
        load.wait(RATE)
    assert not load.failed
    settle_and_check(gateway, load, targets)
    assert gateway.metrics().get("gateway_usage_records_total", result="bad_token") == dropped
    # From here on the old one is worth nothing.
    fields = ["gwu1", old, *"xxxxxxxxx"]
    host, _, port = gateway.settings["USAGE_BIND"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(("<134>1 t - h 1 - " + "\t".join(fields)).encode(), (host, int(port)))
    wait_until(lambda: gateway.metrics().get("gateway_usage_records_total", result="bad_token") == dropped + 1)


def test_a_spool_that_cannot_be_opened(fresh_stack, small_jpeg):
    """All else goes on, a key that is revoked is refused, and the records wait until the spool is mended."""
    stack = fresh_stack()
    key, other = stack.make_key(), stack.make_key()
    image = image_path(stack.uploaded(key, small_jpeg)["source"], "rs:fill:40:30")
    path = os.path.join(stack.layout.link, "agent", "usage", "agent.id")
    with open(path, encoding="ascii") as file:
        name = file.read()
    stack["agent"].stop()
    with open(path, "w", encoding="ascii") as file:
        file.write("X" + name[1:])
    stack["agent"].start()
    stack["agent"].wait_ready()
    wait_until(lambda: "agent.id is damaged" in stack.logs()["agent.log"])
    answer = stack.get(image, key)
    assert answer.status == 200
    stack.sql("UPDATE api_keys SET revoked_at = now() WHERE user_id = %s", [other.user.id])
    wait_until(lambda: stack.get(image, other).status == 401, 5, "the key is refused")
    with open(path, "w", encoding="ascii") as file:
        file.write(name)
    assert row_of_answer(stack, answer)["code"] == "allow"


@pytest.fixture
def small_disk(gateway):
    """The spool on a disk of 1 MiB; needs root."""
    folder = os.path.join(gateway.settings["AGENT_STATE_DIR"], "usage")
    owner = os.stat(folder)
    gateway["agent"].stop()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=0750,uid={owner.st_uid},gid={owner.st_gid}",
                              "tmpfs", folder], capture_output=True, text=True, check=False)
    if mounted.returncode == 0:
        gateway["agent"].start()
        gateway["agent"].wait_ready()
        yield folder
        gateway["agent"].stop()
        subprocess.run(["umount", folder], check=True)
    gateway["agent"].start()
    gateway["agent"].wait_ready()
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")


def test_a_full_disk(gateway, targets, small_disk):
    """Verdicts go on, records wait in memory, and are charged; when there is space again, all of them are kept."""
    filler = os.path.join(small_disk, "filler")
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        load.wait(2 * RATE)
        wait_until(lambda: "the spool cannot be written, records are kept in memory" in gateway.logs()["agent.log"], 10)
        before = gateway.metrics().get("gateway_usage_records_total", result="recorded")
        load.wait(RATE)
        assert gateway.metrics().get("gateway_usage_records_total", result="recorded") > before
        os.unlink(filler)
        wait_until(lambda: "the spool can be written again: it has all records" in gateway.logs()["agent.log"], 10)
        load.wait(RATE)
    assert not load.failed
    settle_and_check(gateway, load, targets)


def test_all_at_once(gateway, targets):
    """Keepers die while PostgreSQL is away, and PostgreSQL while a backlog is shipped."""
    with UsageLoad(gateway.address, targets, rate=RATE) as load:
        gateway["postgres"].kill()
        for _ in range(3):
            kill_keeper(gateway)
            load.run_for(0.3)
        gateway["haproxy"].reload()
        gateway["postgres"].start()
        gateway["postgres"].wait_ready()
        for _ in range(3):
            load.run_for(0.15)
            kill_keeper(gateway)
        gateway["postgres"].restart()
        load.run_for(0.5)
    assert not load.failed
    settle_and_check(gateway, load, targets)
