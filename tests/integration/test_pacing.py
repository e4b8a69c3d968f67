"""The check of the shared limits' bounds, and the pacer that feeds it, are held against what is known."""

import random

import pacing
from pacing import Request, Result, worst_interval


def by_hand(brackets, rate):
    worst = 0.0
    for begin, _ in brackets:
        for _, end in brackets:
            if end >= begin:
                inside = sum(begin <= sent and got <= end for sent, got in brackets)
                worst = max(worst, inside - rate * (end - begin))
    return worst


def test_the_worst_interval():
    chance = random.Random(3)
    for _ in range(300):
        brackets = []
        for _ in range(chance.randint(0, 14)):
            sent = chance.random() * 5
            brackets.append((sent, sent + chance.random() * chance.choice([0.01, 1, 5])))
        rate = chance.choice([0.1, 1, 5])
        assert abs(worst_interval(brackets, rate) - by_hand(brackets, rate)) < 1e-9, (brackets, rate)


def test_a_bucket_that_is_refilled_is_found():
    def answers(times):
        return Result([Request(0, at, at + 0.001, 200, "allow") for at in times])

    # Ten at once, and then one each 100 ms.
    good = answers([0.0] * 10 + [0.11 * n for n in range(1, 50)])
    assert -1.0 < good.over_bound(10, 10) <= 0
    refilled = answers([0.0] * 10 + [0.11 * n for n in range(1, 50)] + [6.0] * 16)
    assert refilled.over_bound(10, 10) > 0
    assert refilled.over_bound(10, 10, 0.2) > 0


def test_the_pacer_keeps_its_rates(stack, owner, source):
    """Over HTTP and SPOP; each request is told once, within its time."""
    path = f"/img/unsafe/rs:fill:8:8/plain/{source}@png"
    plan = pacing.Plan()
    flows = {plan.host(stack, 20, owner, path): (20, {(200, "allow")}),
             plan.host(stack, 5, None, path): (5, {(401, "key_missing")}),
             plan.host(stack, 200, owner, path, "spop"): (200, {(200, "allow")}),
             plan.host(stack, 50, None, path, "spop"): (50, {(401, "key_missing")})}
    result = pacing.run(plan, 3.0)
    for flow, (rate, codes) in flows.items():
        found = result.of(flow)
        assert set(found.codes) == codes
        assert abs(len(found) - 3 * rate) <= max(2, 0.05 * 3 * rate)
        assert all(request.sent < request.got for request in found.all)
