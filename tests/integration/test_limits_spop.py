"""Limits as the verdict workers see them, asked over SPOP: two workers, request ids, addresses, the order of reasons."""

import os
import signal
import time
import uuid

import helpers_spop
import processes
import pytest
from cluster import PATH, set_limits
from helpers import wait_until
from helpers_spop import Raw


@pytest.fixture(scope="module", params=["redis", "alone"])
def cluster(request, module_cluster):
    redis = {} if request.param == "redis" else {"REDIS_ADDR": ""}
    # A worker that a test freezes is not replaced meanwhile.
    return module_cluster(hosts=1, settings={"AGENT_FREEZE_TIMEOUT": "30s", **redis})


@pytest.fixture(scope="module")
def host(cluster):
    return cluster.first


@pytest.fixture
def workers(host):
    """A connection to each verdict worker."""
    clients = [helpers_spop.Client(address) for address in host["agent"].workers()]
    yield clients
    for client in clients:
        client.sock.close()


def ipv4(text):
    return Raw(b"\x06" + bytes(map(int, text.split("."))))


def ipv6(hexadecimal):
    return Raw(b"\x07" + bytes.fromhex(hexadecimal))


def code(client, key, path=PATH, **more):
    answer = client.ask(getattr(key, "key", key), path, **more)
    return "allow" if answer.get("verdict") == "allow" else answer["code"]


def test_two_workers_share_the_buckets(cluster, workers):
    key = cluster.limited_key(per_minute=6, burst=9)
    codes = [code(workers[n % 2], key) for n in range(20)]
    assert codes == ["allow"] * 9 + ["rate_limited"] * 11
    key = cluster.limited_key(requests=9)
    codes = [code(workers[n % 2], key) for n in range(20)]
    assert codes == ["allow"] * 9 + ["quota_requests"] * 11


@pytest.mark.parametrize("limits", [{"per_minute": 6, "burst": 3}, {"requests": 3}, {"per_hour": 3}])
def test_a_request_id_spends_once(cluster, workers, limits):
    """The retry asks another worker about the same request."""
    key = cluster.limited_key(**limits)
    for _ in range(3):
        number = str(uuid.uuid4())
        assert [code(worker, key, id=number) for worker in (*workers, *workers)] == ["allow"] * 4
    assert code(workers[0], key) in ("rate_limited", "quota_requests")


def test_a_frame_older_than_its_deadline_spends_nothing(cluster, host, workers):
    """HAProxy has given it up, and asked the other worker."""
    key = cluster.limited_key(per_minute=6, burst=1)
    assert workers[0].ask(None, PATH)["code"] == "key_missing"
    pid = processes.worker(host, 0)
    os.kill(pid, signal.SIGSTOP)
    try:
        workers[0].send(helpers_spop.check(7, 1, PATH, key.key))
        time.sleep(1.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    answer = workers[0].read()
    assert (answer.kind, answer.stream) == (helpers_spop.ACK, 7)
    assert "verdict" not in answer.txn()
    # For some milliseconds the same holds for whatever is read: it may have lain there as long.
    time.sleep(0.1)
    assert code(workers[0], key) == "allow"
    assert code(workers[0], key) == "rate_limited"


def test_the_ip_whitelist(cluster, host, workers):
    key = cluster.limited_key(settle=False, per_minute=6, burst=7)
    for cidr in ("10.1.2.0/24", "10.9.9.9/32", "2001:db8:1::/48"):
        host.sql("INSERT INTO ip_whitelist (user_id, ip_cidr) VALUES (%s, %s)", (key.user.id, cidr))
    cluster.settle()
    allowed = [ipv4("10.1.2.3"), ipv4("10.9.9.9"), ipv6("20010db8000100000000000000000001"),
               ipv6("00000000000000000000ffff" + "0a010203")]
    refused = [ipv4("10.1.3.3"), ipv4("10.9.9.8"), ipv4("127.0.0.1"), ipv6("20010db8000200000000000000000001"),
               ipv6("00000000000000000000ffff" + "0a010303"), ipv6("00" * 12 + "0a010203")]
    for address in refused:
        assert code(workers[0], key, ip=address) == "ip_not_allowed", address
    for address in allowed:
        assert code(workers[0], key, ip=address) == "allow", address
    # What the list refuses has spent nothing: three of seven are left.
    assert [code(workers[0], key, ip=allowed[0]) for _ in range(4)] == ["allow"] * 3 + ["rate_limited"]
    host.sql("DELETE FROM ip_whitelist WHERE user_id = %s", (key.user.id,))
    set_limits(host, key.user)
    cluster.settle()
    assert code(workers[0], key, ip=ipv4("127.0.0.1")) == "allow"


def test_the_order_of_reasons(cluster, host, workers):
    """A request that everything refuses, and what it is told when one reason after the other is taken away."""
    key = cluster.limited_key(per_minute=1, burst=1, per_hour=1, requests=1, bandwidth_mb=1)
    user, bad = key.user.id, "/img/unsafe/plain/http://other.example/a.jpg"
    assert code(workers[0], key) == "allow"  # and uses everything up
    host.sql("UPDATE quotas SET current_bandwidth_mb = 1 WHERE user_id = %s", (user,))
    host.sql("INSERT INTO ip_whitelist (user_id, ip_cidr) VALUES (%s, '10.0.0.1/32')", (user,))
    host.sql("UPDATE users SET is_active = false WHERE id = %s", (user,))
    host.sql("UPDATE api_keys SET revoked_at = now(), scopes = '{upload}' WHERE id = %s", (key.id,))

    def told(path=bad):
        cluster.settle()
        return code(workers[0], key, path)

    assert told() == "key_revoked"
    host.sql("UPDATE api_keys SET revoked_at = NULL WHERE id = %s", (key.id,))
    assert told() == "user_inactive"
    host.sql("UPDATE users SET is_active = true WHERE id = %s", (user,))
    assert told() == "scope_missing"
    host.sql("UPDATE api_keys SET scopes = '{read}' WHERE id = %s", (key.id,))
    assert told() == "ip_not_allowed"
    host.sql("DELETE FROM ip_whitelist WHERE user_id = %s", (user,))
    assert told() in ("source_forbidden", "url_invalid")
    assert told(PATH) == "rate_limited"  # the minute's
    host.sql("UPDATE rate_limits SET requests_per_minute = 0 WHERE user_id = %s", (user,))
    assert told(PATH) == "rate_limited"  # the hour's
    host.sql("UPDATE rate_limits SET requests_per_hour = 0 WHERE user_id = %s", (user,))
    assert told(PATH) == "quota_requests"
    host.sql("UPDATE quotas SET monthly_requests = 0 WHERE user_id = %s", (user,))
    wait_until(lambda: told(PATH) == "quota_bandwidth", 30, "the agent learns of the bandwidth", interval=0.3)
    host.sql("UPDATE quotas SET monthly_bandwidth_mb = 0 WHERE user_id = %s", (user,))
    assert told(PATH) == "allow"


def test_the_wait_is_until_all_limits_let_pass(cluster, workers):
    key = cluster.limited_key(per_minute=20, burst=1, per_hour=1)
    assert code(workers[0], key) == "allow"
    answer = workers[0].ask(key.key, PATH)
    # Redis's clock is known to within some milliseconds, and seconds are rounded up.
    assert answer["code"] == "rate_limited" and 3500 < answer["retry_after"] <= 3601, answer


def test_the_address_comes_before_the_key(module_cluster):
    own = module_cluster(hosts=1, settings={"RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE": "3"})
    key = own.limited_key()
    with helpers_spop.Client(own.first["agent"].workers()[0]) as client:
        address = ipv4("10.0.0.1")
        assert [code(client, None, ip=address) for _ in range(4)] == ["key_missing"] * 3 + ["ip_rate_limited"]
        assert code(client, key, ip=address) == "ip_rate_limited"
        assert code(client, key, ip=ipv4("10.0.0.2")) == "allow"
        # An IPv4 address is the same in its IPv6 form; an IPv6 /64 is one address.
        assert code(client, key, ip=ipv6("00000000000000000000ffff" + "0a000001")) == "ip_rate_limited"
        whole = [code(client, key, ip=ipv6("20010db800010002" + f"{n:016x}")) for n in range(4)]
        assert whole == ["allow"] * 3 + ["ip_rate_limited"]
        assert code(client, key, ip=ipv6("20010db8000100030000000000000001")) == "allow"
        # The retry of a counted request is not counted again.
        number = str(uuid.uuid4())
        assert [code(client, key, ip=ipv4("10.0.0.3"), id=number) for _ in range(6)] == ["allow"] * 6
        assert [code(client, key, ip=ipv4("10.0.0.3")) for _ in range(3)] == ["allow"] * 2 + ["ip_rate_limited"]
