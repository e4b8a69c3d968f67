"""The month's counters while their parts die and come back: in the end PostgreSQL has each admitted request once, and no
quota was passed by one.

Two hosts share one PostgreSQL without Redis; what Redis does to the counters is asked of a third.
"""

import os
import re
import signal
import time

import pacing
import processes
import pytest
from cluster import PATH, used_requests
from helpers import wait_until

SOON = 3.0  # seconds within which an agent obeys what was changed in PostgreSQL
RATE = 40


@pytest.fixture(scope="module")
def cluster(module_cluster):
    return module_cluster(hosts=2, settings={"REDIS_ADDR": ""})


@pytest.fixture(scope="module")
def host(cluster):
    return cluster.first


@pytest.fixture(scope="module")
def shared(module_cluster):
    """One host with Redis."""
    return module_cluster(hosts=1)


def admitted(host, key, count):
    """How many of so many pass; the others are refused by the month."""
    answers = [host.get(PATH, key) for _ in range(count)]
    assert {answer.status for answer in answers} <= {200, 429}, answers
    assert {answer.code for answer in answers if answer.status == 429} <= {"quota_requests"}, answers
    return sum(answer.status == 200 for answer in answers)


def wait_count(host, key, count, timeout=30):
    """PostgreSQL gets there, and stays there."""
    wait_until(lambda: used_requests(host, key.user) >= count, timeout, f"PostgreSQL has {count}")
    time.sleep(0.6)
    assert used_requests(host, key.user) == count


def under_load(cluster, seconds, disturb):
    """disturb(end) while users ask, of whom one has a quota that ends meanwhile; then all is counted. No request fails:
    none of what is done here may disturb a verdict."""
    host, quota = cluster.first, int(RATE * seconds / 2)
    keys = cluster.limited_keys({}, {}, {}, {"requests": quota})
    processes.wait_all_up(host)
    plan = pacing.Plan()
    flows = [plan.host(host, RATE, key, PATH) for key in keys]
    with pacing.Run(plan, seconds) as going:
        disturb(time.monotonic() + seconds - 1.5)
        result = going.result()
    assert not result.failed, result.timeline({"all": flows})
    counts = [len(result.of(flow).admitted) for flow in flows]
    print(counts, result.codes)
    assert counts[-1] == quota and min(counts) > 0
    for key, count in zip(keys, counts):
        wait_count(host, key, count)


def kill_keeper(host):
    pid = wait_until(lambda: processes.keeper(host), 20, "a keeper")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: processes.keeper(host) not in (None, pid), 20, "the next keeper")


def test_a_keeper_that_is_killed_again_and_again(cluster, host):
    killed = []

    def disturb(end):
        while time.monotonic() < end:
            kill_keeper(host)
            # From while it starts to after some rounds.
            time.sleep(0.05 + 0.13 * (len(killed) % 7))
            killed.append(1)

    under_load(cluster, 7.0, disturb)
    print(f"{len(killed)} killed")
    assert len(killed) >= 3


def test_reloads(cluster, host):
    reloads = []

    def disturb(end):
        while time.monotonic() < end:
            processes.reload(host)
            reloads.append(1)

    under_load(cluster, 6.0, disturb)
    assert reloads


def test_postgresql_that_goes_and_comes_back(cluster, host):
    def disturb(end):
        while time.monotonic() < end:
            host["postgres"].restart()
            time.sleep(0.7)

    under_load(cluster, 6.0, disturb)


def restart_agent(cluster, host):
    host["agent"].restart()
    cluster.wait_ready()


def quota_survives(cluster, host, *more):
    """A quota of which ten are used between any two of these happenings."""

    def without_postgresql():
        host["postgres"].stop()
        try:
            restart_agent(cluster, host)
            assert admitted(host, key, 10) == 10
            restart_agent(cluster, host)
        finally:
            host["postgres"].start()
            host["postgres"].wait_ready()

    happenings = [lambda: restart_agent(cluster, host), lambda: kill_keeper(host), without_postgresql, *more,
                  lambda: restart_agent(cluster, host)]
    quota = 10 * (len(happenings) + 2) + 5
    key, other, silent = cluster.limited_keys({"requests": quota}, {"requests": 1000}, {})
    assert admitted(host, silent, 3) == 3
    for happens in happenings:
        assert admitted(host, key, 10) == 10
        assert admitted(host, other, 1) == 1
        happens()
    assert admitted(host, key, 30) == 15
    wait_count(host, key, quota, 60)
    wait_count(host, other, len(happenings))
    wait_count(host, silent, 3)


def test_a_quota_is_exact_whatever_happens(cluster, host):
    quota_survives(cluster, host)


def test_a_quota_is_exact_whatever_happens_to_redis(shared):
    def restart_redis():
        shared.redis_part.restart()
        shared.wait_redis()

    quota_survives(shared, shared.first, restart_redis, lambda: shared.redis().flushall())


def test_users_who_do_not_come_again(cluster, host):
    """An agent that ended without PostgreSQL had more to tell than of one user; the next one tells it."""
    keys = cluster.limited_keys(*[{}] * 5)
    host["postgres"].stop()
    try:
        for number, key in enumerate(keys):
            assert admitted(host, key, number + 1) == number + 1
            time.sleep(0.3)  # a round of its own
        restart_agent(cluster, host)
    finally:
        host["postgres"].start()
        host["postgres"].wait_ready()
    wait_until(lambda: host.sql("SELECT count(*) FROM quotas WHERE user_id = ANY (%s) AND current_requests > 0",
                                ([key.user.id for key in keys],))[0][0] == len(keys), 60, "PostgreSQL is told")
    for number, key in enumerate(keys):
        wait_count(host, key, number + 1)


def test_two_agents_learn_of_each_other(cluster, host):
    other = cluster.hosts[1]
    key = cluster.limited_key(requests=30)
    assert admitted(host, key, 10) == 10
    time.sleep(SOON)
    assert admitted(other, key, 10) == 10
    time.sleep(SOON)
    assert admitted(host, key, 20) == 10
    time.sleep(SOON)
    assert admitted(other, key, 5) == 0
    wait_count(host, key, 30)


def warnings(cluster, user):
    """(percent, of what) that was logged of a user by all hosts."""
    line = re.compile(rf"quotas: user={user.id} has used (\d+) % of the month's (\w+)")
    return sorted((int(percent), kind) for own in cluster.hosts for text in own.logs().values()
                  for percent, kind in line.findall(text))


def counted(cluster):
    return sum(int(own.metrics().sum("gateway_quota_warnings_total")) for own in cluster.hosts)


def test_warnings_come_once(cluster, host):
    key = cluster.limited_key(requests=20, bandwidth_mb=100)
    before = counted(cluster)
    assert admitted(host, key, 15) == 15
    time.sleep(1.5)
    assert warnings(cluster, key.user) == []
    assert admitted(cluster.hosts[1], key, 1) == 1
    wait_until(lambda: warnings(cluster, key.user), 10, "80 % are told")
    assert admitted(host, key, 3) == 3
    kill_keeper(host)
    host.sql("UPDATE quotas SET current_bandwidth_mb = 81 WHERE user_id = %s", (key.user.id,))
    time.sleep(SOON)
    assert warnings(cluster, key.user) == [(80, "bandwidth"), (80, "requests")]
    assert admitted(host, key, 3) == 1
    wait_until(lambda: len(warnings(cluster, key.user)) > 2, 10, "100 % are told")
    assert counted(cluster) - before == 3
    restart_agent(cluster, host)
    time.sleep(2.0)
    assert admitted(host, key, 1) == 0
    time.sleep(0.5)
    assert warnings(cluster, key.user) == [(80, "bandwidth"), (80, "requests"), (100, "requests")]


def test_bandwidth_that_was_set_by_hand(cluster, host):
    key, silent = cluster.limited_keys({"bandwidth_mb": 10}, {"bandwidth_mb": 10})
    assert host.get(PATH, key).status == 200
    ids = ([key.user.id, silent.user.id],)
    for mb, codes in ((10, {"quota_bandwidth"}), (9, {None})):
        host.sql(f"UPDATE quotas SET current_bandwidth_mb = {mb} WHERE user_id = ANY (%s)", ids)
        time.sleep(SOON)
        answers = [own.get(PATH, one) for own in cluster.hosts for one in (key, silent)]
        assert {answer.status for answer in answers} == ({429} if mb == 10 else {200}), answers
        assert {answer.code if answer.status == 429 else None for answer in answers} == codes


def test_a_count_that_was_set_by_hand(cluster, host):
    key = cluster.limited_key(requests=20)
    assert admitted(host, key, 25) == 20
    wait_count(host, key, 20)
    host.sql("UPDATE quotas SET current_requests = 15 WHERE user_id = %s", (key.user.id,))
    time.sleep(SOON)
    assert admitted(host, key, 10) == 5
    wait_count(host, key, 20)
