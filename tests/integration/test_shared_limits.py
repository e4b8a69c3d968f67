"""One limit, three agents and three HAProxies on one Redis: what all of them together admit.

Over any interval t at most burst + rate * (t + 0.2 s), over the whole run at least
floor(0.98 * min(offered, burst + rate * t)) - 1; and at 60,000 a minute at most 0.1 round trips to Redis a verdict.
Each test prints its rows (pytest -s).
"""

import collections

import pacing
import pytest
from cluster import ALONE, PATH

pytestmark = pytest.mark.serial

L = 0.2  # seconds of design.md
HOSTS = 3
SHARES = {"even": (1, 1, 1), "90/5/5": (0.90 * HOSTS, 0.05 * HOSTS, 0.05 * HOSTS)}
FACTORS = (1.5, 3, 5)
HEAD = ("limit/min  burst  offered     shares   asked  admitted   least    most  worst interval  slowest  by host")

Case = collections.namedtuple("Case", "per_minute burst factor shares")


@pytest.fixture(scope="module")
def cluster(module_cluster):
    return module_cluster(hosts=HOSTS, settings=ALONE)


def cases(*limits):
    return [Case(per_minute, burst, factor, shares)
            for per_minute, burst in limits for factor in FACTORS for shares in SHARES]


def offer(cluster, cases_, seconds, protocol="http"):
    """All cases at once, each with a user of its own. (case, flows of the hosts) and the answers."""
    keys = cluster.limited_keys(*({"per_minute": case.per_minute, "burst": case.burst} for case in cases_))
    plan, flows = pacing.Plan(), []
    for case, key in zip(cases_, keys):
        rate = case.factor * case.per_minute / 60 / HOSTS
        flows.append([plan.host(host, rate * share, key, PATH, protocol)
                      for host, share in zip(cluster.hosts, SHARES[case.shares])])
    return list(zip(cases_, flows)), pacing.run(plan, seconds)


def judge(cases_, result):
    """Prints the rows; what is wrong in them."""
    wrong = []
    print("\n" + HEAD)
    for case, flows in cases_:
        found, rate = result.of(*flows), case.per_minute / 60
        admitted, least = len(found.admitted), found.least(case.burst, rate)
        over = found.over_bound(case.burst, rate, L)
        by_host = "/".join(str(len(result.of(flow).admitted)) for flow in flows)
        row = (f"{case.per_minute:9}  {case.burst:5}  {case.factor:5} x  {case.shares:>9}  {len(found):6}  {admitted:8}"
               f"  {least:6}  {case.burst + rate * (found.seconds + L):6.0f}  {over:+14.1f}  {found.slowest() * 1e3:4.0f} ms"
               f"  {by_host}")
        print(row)
        name = f"{case.per_minute} a minute, {case.factor} x, {case.shares}"
        if found.failed:
            wrong.append(f"{name}: failed {found.codes}")
        if admitted < least:
            wrong.append(f"{name}: {admitted} admitted, at least {least} must be")
        if over > 0:
            wrong.append(f"{name}: an interval admits {over:.1f} more than burst + rate * (t + {L})")
        if found.refused and set(found.codes) - {(200, "allow"), (429, "rate_limited")}:
            wrong.append(f"{name}: {found.codes}")
    return wrong


def test_ten_and_six_hundred_a_minute(cluster):
    """Twelve users at once: their limits know nothing of each other."""
    wrong = judge(*offer(cluster, cases((10, 1), (600, 10)), 25.0))
    assert not wrong, "\n".join(wrong)


# HTTP through the HAProxies; five thousand a second go straight to the agents, so that it is not HAProxy that is
# measured.
@pytest.mark.parametrize("factor,protocol", [(1.5, "http"), (3, "http"), (5, "spop")])
def test_sixty_thousand_a_minute(cluster, factor, protocol):
    wrong = []
    for case in cases((60000, 1000)):
        if case.factor != factor:
            continue
        trips = cluster.round_trips()
        rows, result = offer(cluster, [case], 6.0, protocol)
        trips = (cluster.round_trips() - trips) / len(result)
        wrong += judge(rows, result)
        print(f"{trips:.4f} round trips to Redis a verdict")
        if trips > 0.1:
            wrong.append(f"{factor} x, {case.shares}: {trips:.3f} round trips a verdict")
    assert not wrong, "\n".join(wrong)
    leases = sum(host.metrics().sum("gateway_leases_total") for host in cluster.hosts)
    assert leases > 0, "no lease was ever asked for"


def test_one_host_more_and_one_less(cluster):
    """A user of one host alone gets the whole limit there, and the next second on another."""
    key = cluster.limited_key(per_minute=600, burst=10)
    for host in (cluster.hosts[1], cluster.hosts[2]):
        plan = pacing.Plan()
        plan.host(host, 30, key, PATH)
        result = pacing.run(plan, 5.0)
        # The bucket is empty where the second begins: at least the rate.
        assert len(result.admitted) >= int(0.98 * 10 * result.seconds) - 1, result.codes
        assert result.over_bound(10, 10, L) <= 0, result.codes
        assert not result.failed, result.codes
