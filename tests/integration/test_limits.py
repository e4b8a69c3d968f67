"""The limits of one user at one host, over HTTP: what passes, what is answered, what it costs.

Run twice: with Redis, where tokens come in leases, and without. SPOP questions of the same kind stand in
test_limits_spop.py, what fails meanwhile in test_limits_faults.py.
"""

import datetime
import re
import socket
import time

import helpers_http as http
import pytest
from cluster import PATH, set_limits, used_requests
from helpers import wait_until
from helpers_http import check_problem

UTC = datetime.timezone.utc


@pytest.fixture(scope="module", params=["redis", "alone"])
def cluster(request, module_cluster):
    return module_cluster(hosts=1, settings={} if request.param == "redis" else {"REDIS_ADDR": ""})


@pytest.fixture(scope="module")
def host(cluster):
    return cluster.first


def ask(host, key, path=PATH):
    return host.get(path, key)


def burst(host, key, count):
    """That many requests, one after the other: the answers."""
    return [ask(host, key) for _ in range(count)]


def passed(answers):
    for answer in answers:
        assert answer.status in (200, 429), answer
    return sum(answer.status == 200 for answer in answers)


def items(text):
    """A list of RateLimit or RateLimit-Policy: parameters by name; numbers as such."""
    found = {}
    for member in re.split(r",\s*", text):
        match = re.fullmatch(r'"([a-z-]+)"((?:;[a-z]+=(?:\d+|"[a-z-]+"))*)', member)
        assert match, f"not an item: {member!r} of {text!r}"
        pairs = (pair.split("=") for pair in match[2].split(";")[1:])
        assert match[1] not in found, text
        found[match[1]] = {name: value.strip('"') if value.startswith('"') else int(value) for name, value in pairs}
    return found


def headers(answer):
    """(policies, what is left, (limit, remaining, reset))"""
    simple = tuple(int(answer.header(f"X-RateLimit-{name}")) for name in ("Limit", "Remaining", "Reset"))
    return items(answer.header("RateLimit-Policy")), items(answer.header("RateLimit")), simple


def month_end(now):
    return (now.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + datetime.timedelta(days=32)).replace(day=1)


# ---- the buckets ----------------------------------------------------------------------------------------------------


def test_the_burst_is_exact_and_one_more_comes_each_interval(cluster, host):
    key = cluster.limited_key(per_minute=20, burst=6)
    began = time.monotonic()
    answers = burst(host, key, 12)
    assert time.monotonic() - began < 3.0, "the machine is too slow for this test"
    assert [answer.status for answer in answers] == [200] * 6 + [429] * 6
    # 20 a minute: one each 3 s.
    while time.monotonic() < began + 2.5:
        assert ask(host, key).status == 429
        time.sleep(0.2)
    time.sleep(max(0.0, began + 3.9 - time.monotonic()))
    assert [answer.status for answer in burst(host, key, 3)] == [200, 429, 429]
    time.sleep(max(0.0, began + 6.9 - time.monotonic()))
    assert [answer.status for answer in burst(host, key, 3)] == [200, 429, 429]


def test_without_a_burst_the_bucket_holds_a_minute(cluster, host):
    key = cluster.limited_key(per_minute=30)
    began = time.monotonic()
    count = passed(burst(host, key, 60))
    assert 30 <= count <= 30 + int((time.monotonic() - began) * 0.5) + 1


def test_the_hour(cluster, host):
    key = cluster.limited_key(per_hour=25)
    answers = burst(host, key, 30)
    assert passed(answers) == 25
    problem = check_problem(answers[-1], 429, "rate_limited")
    assert problem["detail"]
    # 25 an hour: one each 144 s.
    assert 60 < int(answers[-1].header("Retry-After")) <= 144


def test_minute_and_hour_together(cluster, host):
    """The minute's refusals spend nothing of the hour."""
    key = cluster.limited_key(per_minute=6, burst=4, per_hour=20)
    assert passed(burst(host, key, 30)) == 4
    set_limits(host, key.user, per_hour=20)
    cluster.settle()
    assert passed(burst(host, key, 30)) == 16


def test_a_new_limit_holds_at_once(cluster, host):
    key = cluster.limited_key(per_minute=6, burst=2)
    assert passed(burst(host, key, 4)) == 2
    set_limits(host, key.user)
    cluster.settle()
    assert passed(burst(host, key, 20)) == 20
    set_limits(host, key.user, per_minute=6, burst=3)
    cluster.settle()
    assert passed(burst(host, key, 20)) <= 3


def test_the_settings_limits_hold_for_users_without_one(module_cluster):
    own = module_cluster(hosts=1, settings={"REDIS_ADDR": "", "RATE_LIMITS_USER_LEVEL_REQUESTS_PER_MINUTE": "7",
                                            "QUOTAS_MONTHLY_REQUESTS": "20"})
    one, two = own.first.make_key(settle=False), own.limited_key()
    answers = burst(own.first, one, 12)
    assert passed(answers) in (7, 8), [answer.status for answer in answers]
    assert headers(answers[-1])[0]["minute"] == {"q": 7, "w": 60}
    assert passed(burst(own.first, two, 30)) == 30


# ---- the month ------------------------------------------------------------------------------------------------------


def test_requests_of_the_month_are_exact(cluster, host):
    key = cluster.limited_key(requests=17)
    answers = burst(host, key, 25)
    assert [answer.status for answer in answers] == [200] * 17 + [429] * 8
    check_problem(answers[-1], 429, "quota_requests")
    left = (month_end(datetime.datetime.now(UTC)) - datetime.datetime.now(UTC)).total_seconds()
    assert abs(int(answers[-1].header("Retry-After")) - left) < 30
    wait_until(lambda: used_requests(host, key.user) == 17, 30, "PostgreSQL has the month's requests")


def test_refused_requests_cost_nothing(cluster, host):
    key = cluster.limited_key(per_minute=6, burst=3, requests=10)
    assert passed(burst(host, key, 30)) == 3
    for path in ("/img/unsafe/plain/http://other.example/a.jpg", "/img/unsafe/nothing"):
        assert ask(host, key, path).status in (400, 403)
    set_limits(host, key.user, requests=10)
    cluster.settle()
    assert passed(burst(host, key, 30)) == 7
    wait_until(lambda: used_requests(host, key.user) == 10, 30, "PostgreSQL has ten requests")


def test_a_user_whose_month_is_used_up_in_postgresql(cluster, host):
    """What other hosts have counted: read at the user's first request, and when it changes."""
    key = cluster.limited_key(settle=False, requests=100, bandwidth_mb=5)
    host.sql("UPDATE quotas SET current_requests = 97 WHERE user_id = %s", (key.user.id,))
    cluster.settle()
    time.sleep(6.0)  # the agents look every few seconds
    assert passed(burst(host, key, 10)) == 3


def test_bandwidth(cluster, host):
    key = cluster.limited_key(settle=False, bandwidth_mb=5)
    host.sql("UPDATE quotas SET current_bandwidth_mb = 4 WHERE user_id = %s", (key.user.id,))
    cluster.settle()
    assert ask(host, key).status == 200
    host.sql("UPDATE quotas SET current_bandwidth_mb = 5 WHERE user_id = %s", (key.user.id,))
    refused = wait_until(lambda: next((a for a in [ask(host, key)] if a.status != 200), None), 30,
                         "the agent learns of the bandwidth", interval=0.3)
    check_problem(refused, 429, "quota_bandwidth")
    left = (month_end(datetime.datetime.now(UTC)) - datetime.datetime.now(UTC)).total_seconds()
    assert abs(int(refused.header("Retry-After")) - left) < 30


def test_counters_of_a_month_that_is_over_mean_nothing(cluster, host):
    key = cluster.limited_key(settle=False, requests=4)
    host.sql("UPDATE quotas SET current_requests = 4, reset_at = date_trunc('month', now(), 'UTC') WHERE user_id = %s",
             (key.user.id,))
    cluster.settle()
    time.sleep(6.0)
    assert passed(burst(host, key, 6)) == 4


def test_the_reset_day_ends_the_month(cluster, host):
    tomorrow = (datetime.datetime.now(UTC) + datetime.timedelta(days=1)).replace(
        hour=0, minute=0, second=0, microsecond=0)
    key = cluster.limited_key(requests=1, reset_day=tomorrow.day)
    answers = burst(host, key, 3)
    assert passed(answers) == 1
    left = (tomorrow - datetime.datetime.now(UTC)).total_seconds()
    if left > 0:
        assert abs(int(answers[-1].header("Retry-After")) - left) < 30


def test_the_month_turns_over(module_cluster):
    """All clocks of the day are set shortly before the month's end."""
    now = datetime.datetime.now(UTC)
    own = module_cluster(hosts=1, all_clocks=int((month_end(now) - now).total_seconds()) - 30)
    turn = time.monotonic() + 30 - (datetime.datetime.now(UTC) - now).total_seconds()
    key = own.limited_key(requests=5)
    assert passed(burst(own.first, key, 7)) == 5
    assert time.monotonic() < turn - 1, "the machine is too slow for this test"
    time.sleep(turn - 0.7 - time.monotonic())
    assert ask(own.first, key).status == 429
    time.sleep(turn + 1.2 - time.monotonic())
    assert passed(burst(own.first, key, 7)) == 5
    wait_until(lambda: used_requests(own.first, key.user) == 5, 30, "PostgreSQL has the new month's requests")
    time.sleep(6.0)
    assert used_requests(own.first, key.user) == 5 and passed(burst(own.first, key, 3)) == 0


# ---- what spends ----------------------------------------------------------------------------------------------------


def test_reads_of_the_api_pass_and_spend_nothing(cluster, host):
    key = cluster.limited_key(requests=2, per_minute=6, burst=2)
    for _ in range(5):
        assert host.get("/api/v1/me", key).status in (200, 404)
    assert passed(burst(host, key, 4)) == 2
    answer = host.get("/api/v1/me", key)
    assert answer.status in (200, 404)
    _, left, _ = headers(answer)
    assert left["minute"]["r"] == 0 and left["month-requests"]["r"] == 0


def test_an_upload_is_a_request(cluster, host, small_jpeg):
    key = cluster.limited_key(requests=3)
    host.uploaded(key, small_jpeg)
    assert ask(host, key).status == 200
    host.uploaded(key, small_jpeg)
    check_problem(host.upload(key, small_jpeg), 429, "quota_requests")
    check_problem(ask(host, key), 429, "quota_requests")


def test_shadow_lets_pass_and_counts(cluster, host):
    for limit, limits in {"minute": {"per_minute": 6, "burst": 1}, "hour": {"per_hour": 1}, "requests": {"requests": 1},
                          "bandwidth": {"bandwidth_mb": 1}}.items():
        key = cluster.limited_key(settle=False, shadow=(limit,), **limits)
        if limit == "bandwidth":
            host.sql("UPDATE quotas SET current_bandwidth_mb = 2 WHERE user_id = %s", (key.user.id,))
        cluster.settle()

        def count(limit=limit):
            return host.metrics().sum("gateway_shadow_refusals_total", limit=limit)

        before = count()
        if limit == "bandwidth":
            time.sleep(6.0)
        assert passed(burst(host, key, 5)) == 5, limit
        assert count() - before == (5 if limit == "bandwidth" else 4), limit
        set_limits(host, key.user, **limits)
        cluster.settle()
        assert ask(host, key).status == 429, limit


def test_a_limit_in_shadow_does_not_keep_others_from_refusing(cluster, host):
    key = cluster.limited_key(per_minute=6, burst=1, requests=3, shadow=("minute",))
    answers = burst(host, key, 6)
    assert passed(answers) == 3
    check_problem(answers[-1], 429, "quota_requests")


# ---- headers --------------------------------------------------------------------------------------------------------


def test_headers_of_what_passes_and_what_does_not(cluster, host):
    key = cluster.limited_key(per_minute=6, burst=4, per_hour=50, requests=1000, bandwidth_mb=3)
    answers = burst(host, key, 5)
    for number, answer in enumerate(answers, 1):
        policy, left, simple = headers(answer)
        assert policy["minute"] == {"q": 6, "w": 60}
        assert policy["hour"] == {"q": 50, "w": 3600}
        assert policy["month-bytes"] == {"q": 3 << 20, "qu": "content-bytes"}
        assert policy["month-requests"]["q"] == 1000
        assert set(left) == set(policy)
        used = min(number, 4)
        assert left["minute"]["r"] == 4 - used
        assert left["hour"]["r"] == 50 - used
        assert left["month-requests"]["r"] == 1000 - used
        # Charged when an answer has ended: those before this one, perhaps.
        assert 0 <= (3 << 20) - left["month-bytes"]["r"] <= sum(len(one.body) for one in answers[:number])
        assert simple[:2] == (6, 4 - used), simple
        assert 1 <= simple[2] <= 40 and simple[2] == left["minute"]["t"]
        if answer.status == 200:
            assert answer.header("Retry-After") is None
    refused = answers[-1]
    check_problem(refused, 429, "rate_limited")
    assert 1 <= int(refused.header("Retry-After")) <= 10


def test_no_headers_without_limits(cluster, host):
    answer = ask(host, cluster.limited_key())
    assert answer.status == 200
    for name in ("RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"):
        assert answer.header(name) is None, answer


def test_retry_after_is_the_true_time(cluster, host):
    key = cluster.limited_key(per_minute=20, burst=2)
    assert passed(burst(host, key, 2)) == 2
    began = time.monotonic()
    for _ in range(2):
        refused = ask(host, key)
        check_problem(refused, 429, "rate_limited")
        asked, wait = time.monotonic(), int(refused.header("Retry-After"))
        assert 1 <= wait <= 3
        if wait > 2:
            time.sleep(0.8)
            assert ask(host, key).status == 429, "it is told to wait, and need not"
        time.sleep(max(0.0, asked + wait + 0.05 - time.monotonic()))
        assert ask(host, key).status == 200, f"still refused after Retry-After: {wait}"
    assert time.monotonic() - began > 4.0


# ---- addresses ------------------------------------------------------------------------------------------------------


def get_from(host, source, key, path=PATH):
    """The same from another address."""
    name, port = host.address.split(":")
    with socket.create_connection((name, int(port)), 30, source_address=(source, 0)) as sock:
        sock.sendall(http.build("GET", path, [("X-API-Key", key.key)] if key else []))
        return http.read_answer(sock)


@pytest.fixture(scope="module")
def by_address(module_cluster):
    return module_cluster(hosts=1, settings={"REDIS_ADDR": "", "RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE": "5"})


def test_the_address_counts_whoever_asks(by_address):
    """A guesser of keys runs dry; other addresses do not notice."""
    host, key = by_address.first, by_address.limited_key()
    for answer in (get_from(host, "127.0.0.3", None), get_from(host, "127.0.0.3", None)):
        check_problem(answer, 401, "key_missing")
    assert get_from(host, "127.0.0.3", key).status == 200
    assert get_from(host, "127.0.0.3", key, "/api/v1/me").status in (200, 404)
    assert get_from(host, "127.0.0.3", key, "/img/unsafe/plain/http://other.example/a.jpg").status in (400, 403)
    for who in (key, None):
        refused = get_from(host, "127.0.0.3", who)
        check_problem(refused, 429, "ip_rate_limited")
        assert 1 <= int(refused.header("Retry-After")) <= 12
        assert int(refused.header("X-RateLimit-Limit")) == 5 and int(refused.header("X-RateLimit-Remaining")) == 0
    assert get_from(host, "127.0.0.4", key).status == 200
    time.sleep(int(refused.header("Retry-After")) + 0.05)
    assert get_from(host, "127.0.0.3", key).status == 200


def test_what_the_address_refuses_costs_the_user_nothing(by_address):
    host = by_address.first
    key = by_address.limited_key(requests=7)
    assert [get_from(host, "127.0.0.5", key).status for _ in range(9)] == [200] * 5 + [429] * 4
    assert [get_from(host, "127.0.0.6", key).status for _ in range(3)] == [200] * 2 + [429]
