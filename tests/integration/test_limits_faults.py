"""Limits and quotas of one host while its parts die and come back: nothing is refilled, nothing is spent twice."""

import os
import signal
import time

import pacing
import processes
import pytest
from cluster import ALONE, PATH, used_requests
from helpers import wait_until

pytestmark = pytest.mark.serial

L = 0.2


@pytest.fixture(scope="module", params=["redis", "alone"])
def cluster(request, module_cluster):
    return module_cluster(hosts=1, settings=ALONE if request.param == "redis" else {**ALONE, "REDIS_ADDR": ""})


@pytest.fixture(scope="module")
def host(cluster):
    return cluster.first


def admitted(host, key, count):
    """How many of so many pass; the others are refused by the month."""
    answers = [host.get(PATH, key) for _ in range(count)]
    assert {answer.status for answer in answers} <= {200, 429}, answers
    assert {answer.code for answer in answers if answer.status == 429} <= {"quota_requests"}, answers
    return sum(answer.status == 200 for answer in answers)


def kill_all(host):
    """SIGKILL to every process of the agent at once; then it is started anew."""
    agent = host["agent"]
    pids = agent.pids()
    processes.signal_all(pids, signal.SIGKILL)
    agent.process.wait(10)
    wait_until(lambda: not any(map(processes.is_alive, pids)), what="all processes of the agent are gone")


def start_agent(cluster, host):
    host["agent"].start()
    host["agent"].wait_ready()
    cluster.wait_ready()


def test_a_worker_killed_every_two_seconds(cluster, host):
    """No request fails, and no bucket is refilled."""
    limited, many = cluster.limited_keys({"per_minute": 600, "burst": 10}, {"requests": 700})
    processes.wait_all_up(host)
    plan = pacing.Plan()
    fast, month = plan.host(host, 60, limited, PATH), plan.host(host, 60, many, PATH)
    with pacing.Run(plan, 18.0) as going:
        killed = 0
        began = time.monotonic()
        for turn in range(8):
            time.sleep(max(0.0, began + 2.0 * turn + 1.0 - time.monotonic()))
            # One can be spared; the first serves, so it is the one that matters.
            processes.wait_all_up(host)
            processes.kill_worker(host, 1 if turn % 4 == 3 else 0)
            killed += 1
        result = going.result()
    print(f"{killed} killed, {result.codes}, slowest {result.slowest() * 1e3:.0f} ms")
    assert killed == 8 and not result.failed, result.timeline({"all": (fast, month)})
    found = result.of(fast)
    assert found.over_bound(10, 10, L if cluster.redis_part else 0.0) <= 0
    assert len(found.admitted) >= found.least(10, 10)
    # A worker that dies may have asked Redis for a request that nobody gets then; never the other way round.
    assert 700 - killed <= len(result.of(month).admitted) <= 700


def test_the_months_count_survives_the_agent(cluster, host):
    key = cluster.limited_key(requests=40)
    assert admitted(host, key, 10) == 10
    host["agent"].restart()
    cluster.wait_ready()
    assert admitted(host, key, 10) == 10
    # Killed, it may lose what PostgreSQL was not told yet, if there is no Redis.
    wait_until(lambda: used_requests(host, key.user) == 20, 30, "PostgreSQL has what was admitted")
    kill_all(host)
    start_agent(cluster, host)
    assert admitted(host, key, 30) == 20
    wait_until(lambda: used_requests(host, key.user) == 40, 30, "PostgreSQL has the whole month")


def test_the_months_count_survives_a_reload(cluster, host):
    key = cluster.limited_key(requests=20, per_minute=6, burst=30)
    assert admitted(host, key, 10) == 10
    processes.reload(host)
    cluster.wait_ready()
    assert admitted(host, key, 20) == 10


def test_the_months_count_survives_postgresql(cluster, host):
    """Down, the agent counts on; when it is back, it is told. An agent that starts meanwhile knows the count, too."""
    key = cluster.limited_key(requests=40)
    assert admitted(host, key, 10) == 10
    wait_until(lambda: used_requests(host, key.user) == 10, 30, "PostgreSQL has the first ten")
    time.sleep(6.0)  # and the agent's own file
    host["postgres"].stop()
    try:
        kill_all(host)
        start_agent(cluster, host)
        assert admitted(host, key, 10) == 10
    finally:
        host["postgres"].start()
        host["postgres"].wait_ready()
    wait_until(lambda: used_requests(host, key.user) == 20, 60, "PostgreSQL is told")
    assert admitted(host, key, 30) == 20
    wait_until(lambda: used_requests(host, key.user) == 40, 30, "PostgreSQL is told")


def wait_alone(cluster):
    """Agents that were killed count as hosts for 5 s, and their number falls 5 s later: until then a host that Redis has left
    keeps to its share of what they all could have."""
    wait_until(lambda: cluster.redis().zcard("gw:hosts") == 1, 10, "the hosts that were killed are forgotten")
    time.sleep(5.5)


def test_the_months_count_survives_redis(cluster, host):
    if cluster.redis_part is None:
        pytest.skip("there is none")
    wait_alone(cluster)
    key = cluster.limited_key(requests=50)
    assert admitted(host, key, 10) == 10
    cluster.redis_part.restart()
    assert admitted(host, key, 10) == 10
    cluster.wait_redis()
    assert admitted(host, key, 10) == 10
    cluster.redis().flushall()
    assert admitted(host, key, 10) == 10
    cluster.redis().flushall()
    host["agent"].restart()
    cluster.wait_ready()
    assert admitted(host, key, 20) == 10
    wait_until(lambda: used_requests(host, key.user) == 50, 30, "PostgreSQL has the whole month")


def test_a_minutes_bucket_is_not_refilled_by_redis(cluster, host):
    """Killed and flushed while a bucket is empty."""
    if cluster.redis_part is None:
        pytest.skip("there is none")
    key = cluster.limited_key(per_minute=20, burst=20)
    plan = pacing.Plan()
    flow = plan.host(host, 20, key, PATH)
    with pacing.Run(plan, 12.0) as going:
        time.sleep(3.0)
        cluster.redis().flushall()
        time.sleep(2.0)
        cluster.redis_part.kill()
        time.sleep(2.0)
        cluster.redis_part.start()
        cluster.redis_part.wait_ready()
        time.sleep(1.0)
        cluster.redis().flushall()
        result = going.result()
    assert not result.failed, result.timeline({"all": (flow,)})
    assert result.over_bound(20, 20 / 60, L) <= 1, result.timeline({"all": (flow,)}, step=0.5)
    cluster.wait_redis()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_a_bucket_is_not_refilled_by_the_keepers_end(cluster, host, sig):
    key = cluster.limited_key(per_minute=6, burst=5, per_hour=100)
    assert [host.get(PATH, key).status for _ in range(12)].count(200) == 5
    os.kill(processes.keeper(host), sig)
    time.sleep(0.5)
    wait_until(lambda: processes.keeper(host), 20, "a new keeper")
    wait_until(lambda: processes.answers(host, 0), 20, "worker 1 answers")
    statuses = [host.get(PATH, key).status for _ in range(7)]
    assert statuses.count(200) <= 2 and set(statuses) <= {200, 429}, statuses
