"""Backends as data: HAProxy has the table's weights, and the agent tells how the servers are."""

import pytest
from helpers import wait_until


@pytest.fixture(scope="module")
def gateway(module_stack):
    return module_stack()


def weight(stack, name):
    return int(stack.server_stat("be_imgproxy", name)["weight"])


def told(stack, what, name):
    """A metric of a server; None while there is none."""
    return stack.metrics().values.get((f"gateway_backend_{what}", frozenset({("backend", name)})))


def has(stack, **weights):
    wait_until(lambda: all(weight(stack, name) == value for name, value in weights.items()), 5, f"HAProxy has {weights}")
    wait_until(lambda: all(told(stack, "weight", name) == value for name, value in weights.items()), 5, "the metrics say so")


def counts(stack):
    return [int(stack.server_stat("be_imgproxy", name)["stot"]) for name in ("img1", "img2")]


def ask(stack, times):
    for _ in range(times):
        assert stack.get(stack.demo.sample_path, stack.api_key).status == 200


def test_weights_follow_the_table(gateway):
    has(gateway, img1=70, img2=30)  # of the configuration: the table has nobody
    gateway.done("backend", "add", "img1", "http://127.0.0.1:1", "--weight", 1)
    gateway.done("backend", "add", "img9", "http://127.0.0.1:9", "--weight", 5)  # HAProxy has none of this name
    has(gateway, img1=1, img2=30)
    gateway.done("backend", "drain", "img1")
    has(gateway, img1=0, img2=30)
    before = counts(gateway)
    ask(gateway, 20)
    assert [after - begin for after, begin in zip(counts(gateway), before)] == [0, 20]
    gateway.done("backend", "set", "img1", "--weight", 256)
    has(gateway, img1=256, img2=30)
    # Removed: the configuration's again.
    gateway.done("backend", "remove", "img1")
    has(gateway, img1=70, img2=30)
    # What somebody sets by hand for a server without a row stays.
    gateway.haproxy("set server be_imgproxy/img2 weight 11")
    gateway.done("backend", "add", "img1", "http://127.0.0.1:1", "--weight", 2)
    has(gateway, img1=2, img2=11)
    gateway.haproxy("set server be_imgproxy/img2 weight 30")


def test_over_http(gateway):
    admin = gateway.make_key(scopes="admin")
    body = b'{"weight": 7}'
    answer = gateway.request("PATCH", "/api/v1/backends/img1", admin, [("Content-Type", "application/json")], body)
    assert answer.status == 200, answer
    has(gateway, img1=7)


def test_a_reloaded_or_new_haproxy_gets_them(gateway):
    gateway.done("backend", "set", "img1", "--weight", 9)
    has(gateway, img1=9)
    gateway["haproxy"].restart()
    gateway.wait_server("be_imgproxy", "img1")
    has(gateway, img1=9, img2=30)


def test_up_and_down(gateway):
    def up(name):
        return told(gateway, "up", name)

    wait_until(lambda: up("img1") == up("img2") == 1, 5)
    gateway["imgproxy-2"].stop()
    gateway.wait_server("be_imgproxy", "img2", up=False)
    wait_until(lambda: (up("img1"), up("img2")) == (1, 0), 5)
    gateway["imgproxy-2"].start()
    gateway["imgproxy-2"].wait_ready()
    gateway.wait_server("be_imgproxy", "img2")
    wait_until(lambda: up("img2") == 1, 5)


def test_without_postgresql_the_last_weights_count(gateway):
    gateway.done("backend", "set", "img1", "--weight", 33)
    has(gateway, img1=33)
    gateway["postgres"].stop()
    try:
        gateway.haproxy("set server be_imgproxy/img1 weight 44")
        has(gateway, img1=33)
    finally:
        gateway["postgres"].start()
        gateway["postgres"].wait_ready()
    gateway.done("backend", "set", "img1", "--weight", 34)
    has(gateway, img1=34)


def test_a_haproxy_that_hangs_keeps_nobody(gateway):
    """The policy follows meanwhile; there are no values of servers."""
    gateway["haproxy"].pause()
    try:
        for _ in range(3):
            gateway.make_key()  # waits until the agent knows it
        wait_until(lambda: "gateway_backend_up{" not in gateway.metrics().text, 6)
        assert gateway.metrics().types["gateway_backend_up"] == "gauge"
    finally:
        gateway["haproxy"].resume()
    wait_until(lambda: "gateway_backend_up{" in gateway.metrics().text, 6)
