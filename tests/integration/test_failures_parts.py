"""Parts beside the agent's own processes that are gone or hang: the whole agent, PostgreSQL, Redis, an image server,
gateway-api."""

import contextlib
import glob
import os
import signal
import socket
import threading

import pytest

import processes
from helpers import wait_until
from helpers_http import check_problem
from load import Load, check_clean

NONE = "/img/unsafe/w:1/plain/local:///none.jpg"


def gauge_is(gateway, name, value):
    wait_until(lambda: gateway.metrics().get(name) == value, 20, f"{name} is {value}")


def revoke_and_see(gateway):
    """A new key passes, and is refused after it was revoked."""
    new = gateway.make_key()
    assert gateway.get(NONE, new).code == "not_found"
    gateway.done("key", "revoke", new.id)
    wait_until(lambda: gateway.get(NONE, new).code == "key_revoked", what="the revoked key is refused")


# ---- the agent -------------------------------------------------------------------------------------------------------


def test_agent_stopped(gateway, key, image, small_jpeg):
    gateway["agent"].stop()
    for _ in range(10):
        check_problem(gateway.get(image, key), 503, "unavailable")
        check_problem(gateway.get(image), 503, "unavailable")
        check_problem(gateway.upload(key, small_jpeg), 503, "unavailable")
        assert gateway.get("/healthz").status == 200
    gateway["agent"].start()
    wait_until(lambda: gateway.get(image, key).status == 200, 30, "images are served again")
    gateway["agent"].wait_ready()
    assert gateway.upload(key, small_jpeg).status == 200


def test_agent_killed_whole(gateway, key, image):
    """All of its processes at the same moment, with requests under way."""
    processes.wait_all_up(gateway)
    with Load(gateway.address, image, key.key) as running:
        parent = gateway["agent"].pid
        everyone = [parent, *processes.pids(gateway)]
        gateway["agent"].wanted = False
        processes.signal_all(everyone, signal.SIGKILL)
        # Each request ends, with an image or with a 503: none waits for processes that are no more.
        running.wait(200)
        for _ in range(5):
            check_problem(gateway.get(image, key), 503, "unavailable")
        gateway["agent"].start()
        gateway["agent"].wait_ready()
        wait_until(lambda: gateway.get(image, key).status == 200, 30, "images are served again")
    print(running.result)
    assert set(running.result.statuses) <= {200, 304, 503}, str(running.result)
    assert running.result.slowest < 5, str(running.result)


# ---- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_postgres_stopped(gateway, load, key, image):
    with load() as running:
        gateway["postgres"].stop()
        gauge_is(gateway, "gateway_postgres_up", 0)
        running.wait(200)
        workers = processes.pids(gateway)
        gateway["postgres"].start()
        gateway["postgres"].wait_ready()
        gauge_is(gateway, "gateway_postgres_up", 1)
        revoke_and_see(gateway)
    check_clean(running)
    assert processes.pids(gateway) == workers


def test_agent_restarted_without_postgres(gateway, key, image):
    """It serves from policy.mdb, and what was changed meanwhile counts when PostgreSQL is back."""
    other = gateway.make_key()
    gateway["agent"].stop()
    gateway.done("key", "revoke", other.id)
    gateway["postgres"].stop()
    gateway["agent"].start()
    gateway["agent"].wait_ready()
    wait_until(lambda: gateway.get(image, key).status == 200, 30, "images are served")
    assert gateway.get(NONE, other).code == "not_found", "nobody could know of the revocation"
    assert gateway.get(NONE, key.key[:-1] + ("0" if key.key[-1] != "0" else "1")).code == "key_invalid"
    gateway["postgres"].start()
    gateway["postgres"].wait_ready()
    wait_until(lambda: gateway.get(NONE, other).code == "key_revoked", 20, "the revocation is obeyed")
    revoke_and_see(gateway)


def test_first_start_without_postgres(gateway, key, image):
    """Nothing is known yet: 503 and not ready, until PostgreSQL comes."""
    gateway["agent"].stop()
    gateway["postgres"].stop()
    for path in glob.glob(os.path.join(gateway.settings["AGENT_STATE_DIR"], "policy.mdb*")):
        os.unlink(path)
    gateway["agent"].start()
    wait_until(lambda: "starting" in gateway.get(image, key).json()["detail"], 30, "the agent says that it is starting")
    check_problem(gateway.get(image, key), 503, "unavailable")
    assert gateway.stats_page("/readyz").status == 503
    assert gateway.stats_page("/healthz").status == 200
    gateway["postgres"].start()
    gateway["postgres"].wait_ready()
    wait_until(lambda: gateway.get(image, key).status == 200, 30, "images are served")
    gateway["agent"].wait_ready()


def test_postgres_hangs(gateway, load):
    with load() as running:
        gateway["postgres"].pause()
        try:
            running.wait(400)
        finally:
            gateway["postgres"].resume()
        revoke_and_see(gateway)
    check_clean(running)


# ---- Redis -----------------------------------------------------------------------------------------------------------


def test_redis_stopped(gateway, load):
    gauge_is(gateway, "gateway_redis_up", 1)
    with load() as running:
        gateway["redis"].stop()
        gauge_is(gateway, "gateway_redis_up", 0)
        running.wait(100)
        gateway["redis"].start()
        gateway["redis"].wait_ready()
        gauge_is(gateway, "gateway_redis_up", 1)
        running.wait(100)
    check_clean(running)


# ---- image servers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_image_server_killed(gateway, load, number):
    """Requests in flight there are asked again from the other: none is lost, before the check and after it."""
    name, server = f"imgproxy-{number}", f"img{number}"
    with load(rate=0) as running:
        for _ in range(2):
            gateway[name].kill()
            gateway.wait_server("be_imgproxy", server, up=False)
            running.wait(200)
            gateway[name].start()
            gateway.wait_server("be_imgproxy", server)
            served = int(gateway.server_stat("be_imgproxy", server)["hrsp_2xx"])
            running.wait(100)
            wait_until(lambda: int(gateway.server_stat("be_imgproxy", server)["hrsp_2xx"]) > served, 20,
                       "it serves again")
    check_clean(running)


def test_all_image_servers_killed(gateway, key, image):
    for name in ("imgproxy-1", "imgproxy-2"):
        gateway[name].kill()
    for _ in range(3):
        check_problem(gateway.get(image, key), 503, "unavailable")
    # Who may not ask is told so, whether or not there are servers.
    check_problem(gateway.get(image), 401, "key_missing")
    for name in ("imgproxy-1", "imgproxy-2"):
        gateway[name].start()
    wait_until(lambda: gateway.get(image, key).status == 200, 20, "images are served again")


class Deadly(threading.Thread):
    """In the place of an image server: healthy, until a request for an image comes, which ends the connection."""

    def __init__(self, address):
        super().__init__(daemon=True)
        host, _, port = address.rpartition(":")
        self.asked, self.sock = 0, socket.create_server((host, int(port)))

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError):
            head = client.recv(65536)
            if head.startswith(b"GET /health "):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif head:
                self.asked += 1

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def test_a_request_that_kills_image_servers(gateway, key, image):
    """It is asked again once, and not from one after the other without an end."""
    names, servers = ("imgproxy-1", "imgproxy-2"), ("img1", "img2")
    for name, server in zip(names, servers):
        gateway[name].stop()
        gateway.wait_server("be_imgproxy", server, up=False)
    deadly = [Deadly(server.address) for server in gateway.image_servers]
    try:
        for one in deadly:
            one.start()
        for server in servers:
            gateway.wait_server("be_imgproxy", server)
        for number in range(1, 6):
            check_problem(gateway.get(image, key), 502, "upstream_failed")
            assert sum(one.asked for one in deadly) == 2 * number
    finally:
        for one in deadly:
            one.close()
        for name in names:
            gateway[name].start()
    wait_until(lambda: gateway.get(image, key).status == 200, 20, "images are served again")


# ---- gateway-api -----------------------------------------------------------------------------------------------------


def test_api_killed(gateway, key, image, small_jpeg):
    gateway["api"].kill()
    for _ in range(5):
        check_problem(gateway.upload(key, small_jpeg), 503, "unavailable")
        assert gateway.get(image, key).status == 200
    check_problem(gateway.upload(None, small_jpeg), 401, "key_missing")
    gateway["api"].start()
    gateway["api"].wait_ready()
    wait_until(lambda: gateway.upload(key, small_jpeg).status == 200, 20, "uploads are taken again")
    assert not [name for name in gateway.files_of(key.user) if name.startswith(".part-")]


# ---- the policy's file ---------------------------------------------------------------------------------------------------


def test_policy_file_removed(gateway, key, load):
    """Verdicts go on with what they have; the keeper makes a new file, and the workers go over to it."""
    folder = gateway.layout.path("agent")
    files = glob.glob(os.path.join(folder, "policy.mdb*"))
    assert len(files) == 2
    with load() as running:
        for name in files:
            os.unlink(name)
        wait_until(lambda: len(glob.glob(os.path.join(folder, "policy.mdb*"))) == 2, 30, "a new file is there")
        wait_until(lambda: gateway.logs()["agent.log"].count("the new one is used from now on") >= 2, 30,
                   "both workers go over to it")
        running.wait(100)
    check_clean(running)
    user = gateway.make_user()
    new = gateway.make_key(user)
    assert gateway.get(NONE, new).code == "not_found"
    gateway.gatewayctl("user", "disable", user.name)
    wait_until(lambda: gateway.get(NONE, new).code == "user_inactive", what="the disabled user is refused")
