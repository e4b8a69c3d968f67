"""Every metric of the agent moves when what it counts happens, and what it shows is so."""

import errno
import math
import os
import signal
import socket
import subprocess
import time

import pytest

import processes
from cluster import PATH, set_limits
from helpers import image_path, wait_until
from helpers_http import connect
from helpers_records import wait_shipped
from helpers_spop import HAPROXY_DISCONNECT, NOTIFY, Client, Raw, check, frame, message, pairs


@pytest.fixture(scope="module")
def gateway(module_stack):
    return module_stack()


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.make_key()


@pytest.fixture
def worker(gateway):
    processes.wait_all_up(gateway)
    with Client(gateway["agent"].workers()[0]) as client:
        yield client


class Watch:
    """How far a series has moved since this was made."""

    def __init__(self, stack, name, **labels):
        self.stack, self.name, self.labels = stack, name, labels
        self.before = self.now()

    def now(self):
        return self.stack.metrics().sum(self.name, **self.labels)

    def moved(self, least=1, timeout=15.0):
        """Waits until it has grown by so much; returns by how much."""
        wait_until(lambda: self.now() - self.before >= least, timeout, f"{self.name} {self.labels} grows by {least}")
        return self.now() - self.before


def value(stack, name, **labels):
    return stack.metrics().get(name, **labels)


def limited_key(stack, **limits):
    key = stack.make_key(settle=False)
    set_limits(stack, key.user, **limits)
    stack.settle()
    return key


# ---- verdicts and SPOP --------------------------------------------------------------------------------------------------


def test_bad_frames(gateway):
    """By reason: a frame that is none, a hello that comes twice, a question that is not ours."""
    address = gateway["agent"].workers()[0]
    for data, reason in ((b"\0\0\0\x03abc", "header"), (b"\x7f\xff\xff\xff", "too_big"), (b"\0\0\0\0", "header")):
        errors = Watch(gateway, "gateway_spop_errors_total")
        ended = Watch(gateway, "gateway_spop_frames_total", type="agent_disconnect")
        mine = Watch(gateway, "gateway_spop_errors_total", reason=reason)
        with Client(address) as client:
            client.send(data)
            client.read_all()
        assert mine.moved() == errors.moved() == ended.moved() == 1
    other = Watch(gateway, "gateway_spop_errors_total", reason="message")
    with Client(address) as client:
        client.send(frame(NOTIFY, message("another", v=1), 1, 1))
        other.moved()


def test_frames(gateway, key):
    """Each type, received and sent."""
    watches = {kind: Watch(gateway, "gateway_spop_frames_total", type=kind)
               for kind in ("haproxy_hello", "agent_hello", "notify", "ack", "unknown", "haproxy_disconnect", "agent_disconnect")}
    with Client(gateway["agent"].workers()[0]) as client:
        client.ask(key.key, PATH)
        client.send(frame(50))
        client.send(frame(HAPROXY_DISCONNECT, pairs({"status-code": Raw(b"\x03\x00"), "message": "bye"})))
        client.read_all()
    for watch in watches.values():
        watch.moved()
    for kind in ("notify", "ack", "unknown", "haproxy_disconnect"):
        assert watches[kind].now() - watches[kind].before == 1, kind


def test_somebody_who_asks_and_never_reads(gateway, key):
    full = Watch(gateway, "gateway_spop_errors_total", reason="out_full")
    with Client(gateway["agent"].workers()[0], timeout=20) as client:
        try:
            for number in range(1, 200_000):
                client.sock.sendall(check(1, number, PATH, key.key))
        except (BrokenPipeError, ConnectionResetError):
            pass
    full.moved()


def test_connections(gateway, worker):
    one = value(gateway, "gateway_spop_connections")
    with Client(gateway["agent"].workers()[1]):
        wait_until(lambda: value(gateway, "gateway_spop_connections") == one + 1)
    wait_until(lambda: value(gateway, "gateway_spop_connections") == one)


def test_time_of_verdicts(gateway, worker, key):
    count = Watch(gateway, "gateway_verdict_seconds_count")
    sum_ = Watch(gateway, "gateway_verdict_seconds_sum")
    slow = Watch(gateway, "gateway_verdict_seconds_bucket", le="+Inf")
    for _ in range(10):
        worker.ask(key.key, PATH)
    assert count.moved(10) == slow.moved(10)
    assert 0 < sum_.now() - sum_.before < 1


def test_requests_that_come_late(gateway, key):
    """A worker that stood still for longer than HAProxy waits."""
    late = Watch(gateway, "gateway_stale_requests_total")
    processes.wait_all_up(gateway)
    pid = processes.kill_worker(gateway, 0, signal.SIGSTOP)
    try:
        assert gateway.get(PATH, key).status == 404
        time.sleep(0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    late.moved()


def test_restarts(gateway):
    """Killed, ended, frozen: by who it was and why."""
    for index, sig, reason in ((0, signal.SIGKILL, "killed"), (1, signal.SIGTERM, "exited"), (1, signal.SIGSTOP, "frozen")):
        processes.wait_all_up(gateway)
        everything = Watch(gateway, "gateway_worker_restarts_total")
        mine = Watch(gateway, "gateway_worker_restarts_total", worker=f"verdict-{index + 1}", reason=reason)
        processes.kill_worker(gateway, index, sig)
        assert mine.moved() == everything.moved() == 1
    before = value(gateway, "gateway_worker_restarts_total", worker="keeper", reason="killed")
    pid = processes.keeper(gateway)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: processes.keeper(gateway) not in (None, pid), 20, "the next keeper")
    gateway["agent"].wait_ready()
    assert value(gateway, "gateway_worker_restarts_total", worker="keeper", reason="killed") == before + 1
    processes.wait_all_up(gateway)


def test_a_worker_that_does_not_become_ready(gateway, module_stack):
    programs = processes.Programs()
    try:
        stack = module_stack(environ=programs.environ)
        broken = Watch(stack, "gateway_worker_restarts_total", worker="verdict-1", reason="not_ready")
        program = stack.layout.program(stack.program("gateway-agent"))
        assert program.startswith(programs.folder)
        programs.replace("gateway-agent", "#!/bin/sh\nexit 1\n")
        processes.kill_worker(stack, 0)
        broken.moved()
        programs.restore("gateway-agent")
        wait_until(lambda: processes.answers(stack, 0), 20)
    finally:
        programs.remove()


# ---- codes ----------------------------------------------------------------------------------------------------------------


def caused(stack, worker, code, *asks):
    """The last of these questions is answered so, and counted."""
    watch = Watch(stack, "gateway_verdicts_total", code=code)
    for key, path, more in asks:
        found = worker.ask(key, path, **more)
    assert (found.get("code") or found["verdict"]) == code, found
    assert watch.now() - watch.before >= 1
    return code


def test_each_code_of_a_verdict(gateway, worker, key, module_stack):
    expired, revoked, uploader = gateway.make_key(expires="1s"), gateway.make_key(), gateway.make_key(scopes="upload")
    disabled, elsewhere, spent = gateway.make_key(), gateway.make_key(), limited_key(gateway, bandwidth_mb=1)
    signer = gateway.done("key", "create", key.user.name, "--signing")["id"]
    gateway.done("key", "revoke", revoked.id)
    gateway.done("user", "disable", disabled.user.name)
    gateway.done("allow", "add", elsewhere.user.name, "203.0.113.0/24")
    gateway.sql("UPDATE quotas SET current_bandwidth_mb = 1 WHERE user_id = %s", (spent.user.id,))
    gateway.settle()
    wait_until(lambda: worker.ask(expired.key, PATH).get("code"), what="the key expires")
    wait_until(lambda: worker.ask(spent.key, PATH).get("code"), what="the agent learns of the bandwidth")
    minute, month = limited_key(gateway, per_minute=1, burst=1), limited_key(gateway, requests=1)
    found = {caused(gateway, worker, code, *[(who and getattr(who, "key", who), path, more)] * times)
             for code, who, path, more, times in (
                 ("allow", key, PATH, {}, 1), ("key_missing", None, PATH, {}, 1), ("key_invalid", "igw_1_x_y", PATH, {}, 1),
                 ("key_expired", expired, PATH, {}, 1), ("key_revoked", revoked, PATH, {}, 1), ("user_inactive", disabled, PATH, {}, 1),
                 ("scope_missing", uploader, PATH, {}, 1), ("ip_not_allowed", elsewhere, PATH, {}, 1),
                 ("source_forbidden", key, "/img/unsafe/plain/https://a.example/b.jpg", {}, 1),
                 ("option_forbidden", key, "/img/unsafe/dpr:99/plain/local:///a.jpg", {}, 1),
                 ("signature_invalid", None, f"/signed/{signer}/{'A' * 43}/plain/local:///a.jpg", {}, 1),
                 ("url_invalid", key, "/img/unsafe/plain/%zz", {}, 1), ("bad_request", key, PATH, {"auth": "Bearer other"}, 1),
                 ("rate_limited", minute, PATH, {}, 2), ("quota_requests", month, PATH, {}, 2),
                 ("quota_bandwidth", spent, PATH, {}, 1), ("not_found", key, "/nothing", {}, 1))}
    # An agent that has read no policy yet, and then one for addresses that may ask once a minute.
    stack = module_stack({"RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE": "1"}, start=False)
    stack.prepare()
    stack["agent"].start()
    wait_until(lambda: processes.answers(stack, 0), 20, "it answers")
    with Client(stack["agent"].workers()[0]) as client:
        found.add(caused(stack, client, "unavailable", (key.key, PATH, {})))
        stack.start_servers()
        stack.migrate()
        stack["agent"].wait_ready()
        found.add(caused(stack, client, "ip_rate_limited", *[(key.key, PATH, {})] * 2))
    assert found == {dict(labels)["code"] for name, labels in gateway.metrics().values if name == "gateway_verdicts_total"}


# ---- limits -------------------------------------------------------------------------------------------------------------


def leases(stack, result):
    return Watch(stack, "gateway_leases_total", result=result)


def test_leases_of_a_redis_that_answers(gateway, worker):
    """granted, then part of what was asked for, then none; what was not spent goes back."""
    watches = {result: leases(gateway, result) for result in ("granted", "partial", "denied", "returned")}
    one = limited_key(gateway, per_minute=1, burst=1)
    assert [worker.ask(one.key, PATH)["verdict"] for _ in range(2)] == ["allow", "deny"]
    for result in ("granted", "denied"):
        watches[result].moved()
    # A lease of ten of which one is spent.
    worker.ask(limited_key(gateway, per_minute=6000).key, PATH)
    watches["returned"].moved()
    for _ in range(20):
        if watches["partial"].now() > watches["partial"].before:
            break
        another = limited_key(gateway, per_minute=6000, burst=15)
        for _ in range(30):
            worker.ask(another.key, PATH)
    watches["partial"].moved()


def test_leases_that_come_too_late(gateway, worker):
    """Redis stands still for longer than a lease lasts, and then gives it."""
    expired, bypassed = leases(gateway, "expired"), leases(gateway, "bypassed")
    key = limited_key(gateway, per_minute=6000)
    wait_until(lambda: value(gateway, "gateway_redis_up") == 1)
    gateway["redis"].pause()
    try:
        for _ in range(10):
            assert worker.ask(key.key, PATH)["verdict"] == "allow"
        # All but those that were the first to wait, or to look whether it is back.
        assert bypassed.moved(5) <= 10
        time.sleep(0.5)
    finally:
        gateway["redis"].resume()
    expired.moved()


def test_leases_that_fail(gateway, worker):
    """Redis dies with the question."""
    failed = leases(gateway, "failed")
    key = limited_key(gateway, per_minute=6000)
    time.sleep(1)  # what the test before has disturbed
    gateway["redis"].pause()
    worker.ask(key.key, PATH)
    gateway["redis"].kill()
    failed.moved()
    wait_until(lambda: value(gateway, "gateway_redis_up") == 0, 10)
    assert value(gateway, "gateway_configured", part="redis") == 1
    gateway["redis"].start()
    gateway["redis"].wait_ready()
    wait_until(lambda: value(gateway, "gateway_redis_up") == 1, 10)


def test_quotas_that_are_nearly_used(gateway, worker):
    """80 and 100 percent, once each."""
    watches = {percent: Watch(gateway, "gateway_quota_warnings_total", quota="requests", percent=percent) for percent in ("80", "100")}
    key = limited_key(gateway, requests=10)
    for _ in range(8):
        worker.ask(key.key, PATH)
    watches["80"].moved()
    assert watches["100"].now() == watches["100"].before
    for _ in range(3):
        worker.ask(key.key, PATH)
    watches["100"].moved()
    assert watches["80"].now() - watches["80"].before == 1


@pytest.mark.parametrize("limit, limits", [
    ("minute", {"per_minute": 1, "burst": 1}), ("hour", {"per_hour": 1}), ("requests", {"requests": 1})])
def test_limits_in_shadow(gateway, worker, limit, limits):
    shadow = Watch(gateway, "gateway_shadow_refusals_total", limit=limit)
    all_ = Watch(gateway, "gateway_shadow_refusals_total")
    key = limited_key(gateway, **limits, shadow=(limit,))
    for _ in range(3):
        assert worker.ask(key.key, PATH)["verdict"] == "allow"
    assert shadow.moved(2) == all_.moved(2) == 2


def test_bandwidth_that_is_nearly_used(gateway, worker, small_jpeg):
    """An upload counts as bandwidth: 80 and 100 percent of it, once each, and what is over passes in shadow."""
    watches = {percent: Watch(gateway, "gateway_quota_warnings_total", quota="bandwidth", percent=percent) for percent in ("80", "100")}
    shadow, all_ = Watch(gateway, "gateway_shadow_refusals_total", limit="bandwidth"), Watch(gateway, "gateway_shadow_refusals_total")
    key = limited_key(gateway, bandwidth_mb=10, shadow=("bandwidth",))
    gateway.uploaded(key, small_jpeg + bytes(8_600_000))
    watches["80"].moved()
    assert worker.ask(key.key, PATH)["verdict"] == "allow"
    assert watches["100"].now() == watches["100"].before and shadow.now() == shadow.before
    gateway.uploaded(key, small_jpeg + bytes(2_000_000))
    watches["100"].moved()
    for _ in range(2):
        assert worker.ask(key.key, PATH)["verdict"] == "allow"
    assert shadow.moved(2) == all_.moved(2) == 2
    assert [watch.now() - watch.before for watch in watches.values()] == [1, 1]


# ---- policy, PostgreSQL, usage ------------------------------------------------------------------------------------------


def test_policy_changes(gateway):
    """Each change raises the generation; users and keys come and go."""
    def shown():
        metrics = gateway.metrics()
        return [metrics.get(f"gateway_policy_{name}") for name in ("users", "keys", "generation")]

    before = shown()
    key = gateway.make_key()
    users, keys, generation = shown()
    assert (users, keys) == (before[0] + 1, before[1] + 1) and generation > before[2]
    gateway.done("limit", "set", key.user.name, "--per-minute", "7")
    gateway.settle()
    assert shown() == [users, keys, generation + 1]
    gateway.done("user", "delete", key.user.name)
    gateway.settle()
    assert shown()[0] == before[0]


def test_a_stopped_postgres(gateway, key):
    """It is seen as such; the policy grows old, and usage waits in the spool until it is back."""
    wait_shipped(gateway)
    gateway["postgres"].stop()
    try:
        wait_until(lambda: value(gateway, "gateway_postgres_up") == 0, 10)
        gateway.get(PATH, key)
        wait_until(lambda: value(gateway, "gateway_usage_spool_bytes") > 0, 10)
        age, lag = value(gateway, "gateway_policy_age_seconds"), value(gateway, "gateway_usage_lag_seconds")
        wait_until(lambda: value(gateway, "gateway_policy_age_seconds") > age + 6, 15, "nobody compares")
        assert value(gateway, "gateway_usage_lag_seconds") >= lag + 5
    finally:
        gateway["postgres"].start()
        gateway["postgres"].wait_ready()
    wait_until(lambda: value(gateway, "gateway_postgres_up") == 1, 20)
    wait_until(lambda: value(gateway, "gateway_policy_age_seconds") < 6, 20)
    wait_shipped(gateway)
    wait_until(lambda: value(gateway, "gateway_usage_lag_seconds") == 0)


def send(gateway, *lines):
    host, _, port = gateway.settings["USAGE_BIND"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for line in lines:
            sock.sendto(b"<134>1 t - h 1 - " + line, (host, int(port)))


def test_lines_of_usage(gateway, key):
    """By what becomes of them: those of a stranger, of nobody, and of a user, which come twice."""
    watches = {result: Watch(gateway, "gateway_usage_records_total", result=result)
               for result in ("bad_token", "bad_form", "nobody", "recorded", "duplicate", "shipped")}
    send(gateway, b"gwu1\tnot-the-token-of-it\t" + b"x\t" * 20, b"nonsense")
    assert watches["bad_token"].moved() == watches["bad_form"].moved() == 1
    gateway.get(PATH)
    assert watches["nobody"].moved(2) == 2
    for _ in range(5):
        gateway.get(PATH, key)
    for result in ("recorded", "duplicate", "shipped"):
        watches[result].moved(5)


def test_datagrams_that_do_not_fit(gateway):
    """The keeper stands still while more comes than the socket holds."""
    overflow = Watch(gateway, "gateway_usage_records_total", result="overflow")
    pid = processes.keeper(gateway)
    os.kill(pid, signal.SIGSTOP)
    try:
        send(gateway, *[b"gwu1\tnot-the-token-of-it\t" + b"x" * 8000] * 5000)
    finally:
        os.kill(pid, signal.SIGCONT)
    send(gateway, b"nonsense")
    overflow.moved()


def test_a_ring_that_was_full(gateway):
    """HAProxy says itself how many it could not keep."""
    lost = Watch(gateway, "gateway_usage_lost_total", reason="ring")
    line = b"<132>1 2026-11-28T06:30:00 - - - - 17 events dropped"
    with connect(gateway.settings["USAGE_BIND"]) as sock:
        sock.sendall(b"%d %s" % (len(line), line))
        assert lost.moved() == 17


def test_a_spool_that_is_damaged(gateway, key):
    """A bit that flips while records wait in it."""
    wait_shipped(gateway)
    gateway["postgres"].stop()
    for _ in range(20):
        gateway.get(PATH, key)
    wait_until(lambda: value(gateway, "gateway_usage_spool_bytes") > 2000)
    folder = os.path.join(gateway.settings["AGENT_STATE_DIR"], "usage")
    gateway["agent"].stop()
    newest = max((name for name in os.listdir(folder) if name not in ("agent.id", "quarantine.usage")),
                 key=lambda name: os.stat(os.path.join(folder, name)).st_mtime)
    with open(os.path.join(folder, newest), "r+b") as file:
        file.seek(-300, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-300, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    gateway["postgres"].start()
    gateway["agent"].start()
    gateway["postgres"].wait_ready()
    gateway["agent"].wait_ready()
    wait_until(lambda: gateway.metrics().sum("gateway_usage_lost_total", reason="spool") > 0, 20)
    wait_shipped(gateway)


def test_a_spool_that_cannot_be_opened(gateway):
    path = os.path.join(gateway.settings["AGENT_STATE_DIR"], "usage", "agent.id")
    assert value(gateway, "gateway_usage_up") == value(gateway, "gateway_configured", part="usage") == 1
    with open(path, encoding="ascii") as file:
        name = file.read()
    gateway["agent"].stop()
    with open(path, "w", encoding="ascii") as file:
        file.write("X" + name[1:])
    gateway["agent"].start()
    gateway["agent"].wait_ready()
    metrics = gateway.metrics()
    assert metrics.get("gateway_usage_up") == 0 and metrics.get("gateway_configured", part="usage") == 1
    for gone in ("gateway_usage_spool_bytes", "gateway_usage_memory_bytes", "gateway_usage_lag_seconds"):
        assert math.isnan(metrics.get(gone))
    with open(path, "w", encoding="ascii") as file:
        file.write(name)
    wait_until(lambda: value(gateway, "gateway_usage_up") == 1, 20)


@pytest.fixture
def small_disk(gateway):
    """The spool on a disk of 1 MiB; needs root."""
    folder = os.path.join(gateway.settings["AGENT_STATE_DIR"], "usage")
    owner = os.stat(folder)
    gateway["agent"].stop()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=1m,mode=0750,uid={owner.st_uid},gid={owner.st_gid}",
                              "tmpfs", folder], capture_output=True, text=True, check=False)
    gateway["agent"].start()
    gateway["agent"].wait_ready()
    try:
        if mounted.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
        yield folder
    finally:
        if mounted.returncode == 0:
            gateway["agent"].stop()
            subprocess.run(["umount", folder], check=True)
            gateway["agent"].start()
            gateway["agent"].wait_ready()


def test_a_full_disk(gateway, key, small_disk):
    """Nearly full is seen before, and what waits in memory meanwhile; and what is lost when it ends so."""
    assert value(gateway, "gateway_disk_size_bytes") == 1 << 20
    assert 0 < value(gateway, "gateway_disk_free_bytes") <= 1 << 20
    assert value(gateway, "gateway_usage_memory_bytes") == 0
    filler = os.path.join(small_disk, "filler")

    def fill():
        with open(filler, "ab", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def in_memory():
        """What the last page of the spool's file has room for is taken still."""
        gateway.get(PATH, key)
        return value(gateway, "gateway_usage_memory_bytes") > 0

    fill()
    assert value(gateway, "gateway_disk_free_bytes") == 0
    wait_until(in_memory, 20)
    os.unlink(filler)
    wait_until(lambda: value(gateway, "gateway_usage_memory_bytes") == 0, 10, "it is written after all")
    wait_shipped(gateway)
    lost = Watch(gateway, "gateway_usage_lost_total", reason="disk")
    assert lost.before == 0
    fill()
    wait_until(in_memory, 20)
    pid = processes.keeper(gateway)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: processes.keeper(gateway) not in (None, pid), 30, "the next keeper")
    gateway["agent"].wait_ready()
    lost.moved()


def test_what_the_settings_leave_out(fresh_stack):
    stack = fresh_stack({"REDIS_ADDR": "", "USAGE_TOKEN": ""})
    metrics = stack.metrics()
    for part in ("redis", "usage"):
        assert metrics.get("gateway_configured", part=part) == 0
    assert metrics.get("gateway_redis_up") == metrics.get("gateway_usage_up") == 0
    assert metrics.get("gateway_disk_free_bytes") > 0


# ---- what a scrape costs ------------------------------------------------------------------------------------------------


def schedstat(pid):
    """(ns on a processor, times that it was given one)"""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        spent, _, turns = map(int, file.read().split())
    return spent, turns


@pytest.mark.serial
def test_a_scrape_is_the_keepers_alone(gateway, key, small_jpeg):
    """Verdict workers do nothing for it: they get a processor no more often than without, and no more of it."""
    gateway.get(image_path(gateway.uploaded(key, small_jpeg)["source"]), key)
    processes.wait_all_up(gateway)
    time.sleep(1)
    workers, keeper = [processes.worker(gateway, index) for index in (0, 1)], processes.keeper(gateway)

    def during(act):
        begin = [schedstat(pid) for pid in (*workers, keeper)]
        until = time.monotonic() + 3
        count = act(until)
        end = [schedstat(pid) for pid in (*workers, keeper)]
        spent, turns = zip(*((b[0] - a[0], b[1] - a[1]) for a, b in zip(begin, end)))
        return count, sum(spent[:2]), sum(turns[:2]), spent[2]

    def scrape(until):
        count = 0
        while time.monotonic() < until:
            assert gateway.stats_page("/metrics").status == 200
            count += 1
            time.sleep(0.005)
        return count

    _, idle_ns, idle_turns, keeper_idle = during(lambda until: time.sleep(until - time.monotonic()))
    count, ns, turns, keeper_ns = during(scrape)
    cost = (keeper_ns - keeper_idle) / count / 1000
    size = len(gateway.stats_page("/metrics").body)
    print(f"{count} scrapes of {size / 1024:.1f} KB, {cost:.0f} us of the keeper each; the workers were given a processor "
          f"{turns} times for {ns / 1e6:.1f} ms, without scrapes {idle_turns} times for {idle_ns / 1e6:.1f} ms")
    assert count > 100
    assert turns < idle_turns + count / 4 and ns < 2 * idle_ns + 20e6
    assert size < 64 * 1024 and cost < 5000
