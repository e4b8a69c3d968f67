"""gatewayctl reconcile: everything is broken once, and must be named, and mended, and nothing else touched."""

import json
import threading
import time

import psycopg2
import pytest
from helpers import Ctl, image_path, wait_until
from helpers_shipped import admit, hour, record, ship

NOTHING = "/nonexistent/haproxy.sock"


@pytest.fixture(scope="module")
def gateway(module_stack):
    """Without a token nothing is recorded: rows are the tests' own."""
    return module_stack({"USAGE_TOKEN": ""})


def reconcile(stack, *args, socket=NOTHING):
    """(rc, the answer, stderr) with --json."""
    done = stack.run_program("gatewayctl", "--config", stack.config, "reconcile", *args, "--json",
                             env={"HAPROXY_SOCKET": socket})
    return Ctl(done.rc, json.loads(done.out) if done.out else None, done.err)


def tables(stack):
    return {name: stack.sql(f"SELECT * FROM {name} ORDER BY 1, 2, 3, 4, 5, 6") for name in ("usage_hourly", "usage_monthly", "request_logs")} | {
        "quotas": stack.sql("SELECT user_id, current_requests, current_bandwidth_bytes, current_bandwidth_mb, reset_at FROM quotas q "
                            "WHERE EXISTS (SELECT FROM usage_hourly h WHERE h.user_id = q.user_id) ORDER BY 1")}


@pytest.fixture
def user(gateway):
    """A user with some usage, all of it equal: two admitted images, an upload, and a refusal."""
    made = gateway.make_user()
    ship(gateway, record(made, key_id=7, response_bytes=1000, billed_bytes=1000),
         record(made, key_id=7, response_bytes=2000000, billed_bytes=2000000),
         record(made, kind="upload", backend="be_api", server="api", method="POST", request_bytes=555, billed_bytes=55),
         record(made, code="rate_limited", status=429, backend="fe_gateway", server=None, response_bytes=99))
    admit(gateway, made, 3)
    return made


def test_all_is_equal(gateway, user):
    ship(gateway, record(user, at=hour(30), response_bytes=3))
    admit(gateway, user, 1)
    before = tables(gateway)
    done = reconcile(gateway, "--from", "2020-01-01", "--user", user.name)
    assert (done.rc, done.out["differences"], done.out["details"], done.out["fixed"]) == (0, 0, [], 0), done
    assert done.out["users"] == 1 and done.out["haproxy_compared"] is False
    assert [note for note in done.out["notes"] if NOTHING in note]
    done = reconcile(gateway, "--user", user.id, "--fix")
    assert (done.rc, done.out["set"]) == (0, {"hours": 0, "months": 0, "counters": 0, "marks": 0}), done
    assert tables(gateway) == before
    assert gateway.sql("SELECT users, differences, fixed, only_user, finished_at > now() - interval '1 minute' "
                       "FROM usage_reconcile_runs ORDER BY id DESC LIMIT 1") == [(1, 0, 0, user.id, True)]
    everybody = reconcile(gateway)
    assert everybody.out["users"] >= 2 and user.id not in [one["user_id"] for one in everybody.out["details"]]
    assert gateway.sql("SELECT users, differences, only_user FROM usage_reconcile_runs ORDER BY id DESC LIMIT 1") == [
        (everybody.out["users"], everybody.out["differences"], None)]


BROKEN = {
    "a row is missing": (
        "DELETE FROM request_logs WHERE user_id = %s AND response_size_bytes = 1000", "hours",
        {"rows": {"requests": 1, "response_bytes": 2000000}, "rollup": {"requests": 2, "response_bytes": 2001000}}),
    "an hour is one off": (
        "UPDATE usage_hourly SET requests = requests + 1 WHERE user_id = %s AND kind = 'upload'", "hours",
        {"rows": {"requests": 1}, "rollup": {"requests": 2}}),
    "bytes of an hour are off": (
        "UPDATE usage_hourly SET billed_bytes = billed_bytes - 7 WHERE user_id = %s AND api_key_id = 7", "hours",
        {"rows": {"billed_bytes": 2001000}, "rollup": {"billed_bytes": 2000993}}),
    "an hour is missing": (
        "DELETE FROM usage_hourly WHERE user_id = %s AND code = 'rate_limited'", "hours",
        {"rows": {"requests": 1, "response_bytes": 99}, "rollup": {"requests": 0, "response_bytes": 0}}),
    "an hour that nobody asked for": (
        "INSERT INTO usage_hourly SELECT user_id, hour, 99, code, kind, backend, 1, 2, 3, 4, 5 FROM usage_hourly "
        "WHERE user_id = %s AND kind = 'upload'", "hours",
        {"key_id": 99, "rows": {"requests": 0, "active_ms": 0}, "rollup": {"requests": 1, "active_ms": 5}}),
    "a month is off": (
        "UPDATE usage_monthly SET request_bytes = 0 WHERE user_id = %s AND kind = 'upload'", "months",
        {"hours": {"request_bytes": 555}, "rollup": {"request_bytes": 0}}),
    "a month is missing": (
        "DELETE FROM usage_monthly WHERE user_id = %s AND code = 'rate_limited'", "months",
        {"hours": {"requests": 1}, "rollup": {"requests": 0}}),
    "the counter of bytes is too low": (
        "UPDATE quotas SET current_bandwidth_bytes = 5 WHERE user_id = %s", "quotas",
        {"billed_bytes": {"rollup": 2001055, "counter": 5}, "requests": {"rollup": 3, "counter": 3}}),
    "the counter of bytes is too high": (
        "UPDATE quotas SET current_bandwidth_bytes = 9000000 WHERE user_id = %s", "quotas",
        {"billed_bytes": {"rollup": 2001055, "counter": 9000000}}),
    "the counter of requests is too low": (
        "UPDATE quotas SET current_requests = 1 WHERE user_id = %s", "quotas", {"requests": {"rollup": 3, "counter": 1}}),
    "there is no counter": (
        "DELETE FROM quotas WHERE user_id = %s", "quotas",
        {"billed_bytes": {"rollup": 2001055, "counter": 0}, "requests": {"rollup": 3, "counter": 0}}),
}


def holds(found, wanted):
    return all(holds(found[name], value) if isinstance(value, dict) else found[name] == value for name, value in wanted.items())


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_is_named_and_mended(gateway, user, what):
    statement, part, wanted = BROKEN[what]
    ship(gateway, record(gateway.make_user(), response_bytes=3))
    right = tables(gateway)
    gateway.sql(statement, (user.id,))
    broken = tables(gateway)
    assert broken != right
    done = reconcile(gateway, "--user", user.name)
    assert done.rc == 1 and "difference" in done.err, done
    named = [one for one in done.out["details"] if one["part"] == part]
    # Months follow from hours, and counters from months.
    assert len(named) == 1 and holds(named[0], wanted), done
    assert (named[0]["user"], named[0]["user_id"]) == (user.name, user.id)
    assert {one["part"] for one in done.out["details"]} <= {"hours": {"hours", "months"}, "months": {"months", "quotas"}}.get(part, {part})
    assert tables(gateway) == broken
    details = gateway.sql("SELECT differences, fixed, only_user, details FROM usage_reconcile_runs ORDER BY id DESC LIMIT 1")[0]
    assert details[:3] == (done.out["differences"], 0, user.id) and details[3]["differences"] == done.out["details"]
    told = gateway.run_program("gatewayctl", "--config", gateway.config, "reconcile", "--user", user.name,
                               env={"HAPROXY_SOCKET": NOTHING})
    assert told.rc == 1 and f"user {user.id} ({user.name}): " in told.out and "note: HAProxy's counters were not compared" in told.out
    fixed = reconcile(gateway, "--user", user.name, "--fix")
    assert fixed.rc == 0 and fixed.out["fixed"] == fixed.out["differences"] == done.out["differences"], fixed
    after = tables(gateway)
    if what == "a row is missing":
        assert after["request_logs"] == broken["request_logs"]
        again = reconcile(gateway, "--user", user.id).out["details"]
        # The roll-ups tell what the rows tell; the requests stay counted.
        assert [one["requests"] for one in again] == [{"rollup": 2, "counter": 3}]
    else:
        if what == "there is no counter":
            # Its reset_at is not that of the row which was there.
            assert [row[:4] for row in after.pop("quotas")] == [row[:4] for row in right.pop("quotas")]
        assert after == right
        assert reconcile(gateway, "--user", user.name).rc == 0


def test_the_counter_of_requests_is_never_lowered(gateway, user):
    gateway.sql("UPDATE quotas SET current_requests = 50, current_bandwidth_bytes = 1 WHERE user_id = %s", (user.id,))
    done = reconcile(gateway, "--user", user.name, "--fix")
    assert done.rc == 1 and "1 of 1 differences are left" in done.err
    assert [note for note in done.out["notes"] if f"user {user.id}: the counter of requests stays at 50" in note]
    assert gateway.sql("SELECT current_requests, current_bandwidth_bytes, current_bandwidth_mb FROM quotas WHERE user_id = %s",
                       (user.id,)) == [(50, 2001055, 1)]


def test_a_counter_that_moves_is_no_difference(gateway, user):
    """Requests are counted before their records come."""
    admit(gateway, user, 1)
    late = threading.Timer(0.4, lambda: ship(gateway, record(user)))
    late.start()
    done = reconcile(gateway, "--user", user.name)
    late.join()
    assert (done.rc, done.out["details"]) == (0, []), done
    assert [note for note in done.out["notes"] if "still moving" in note]


def test_only_the_interval(gateway, user):
    ship(gateway, record(user, at=hour(5)))
    admit(gateway, user, 1)
    gateway.sql("UPDATE usage_hourly SET active_ms = 0 WHERE user_id = %s AND hour = %s", (user.id, hour(5)))
    text = "%Y-%m-%dT%H:00Z"
    aside = reconcile(gateway, "--user", user.id, "--from", hour(4).strftime(text))
    assert not [one for one in aside.out["details"] if one["part"] == "hours"]
    done = reconcile(gateway, "--user", user.id, "--from", hour(5).strftime(text), "--to", hour(4).strftime(text))
    assert done.rc == 1 and [one["hour"] for one in done.out["details"] if one["part"] == "hours"] == [
        hour(5).strftime("%Y-%m-%dT%H:00:00Z")]
    assert (done.out["from"], done.out["to"]) == (hour(5).strftime("%Y-%m-%dT%H:00:00Z"), hour(4).strftime("%Y-%m-%dT%H:00:00Z"))


@pytest.mark.parametrize("args, reason", [
    (("--from", "yesterday"), "--from yesterday: a day as 2026-01-31, or an hour as 2026-01-31T13:00Z"),
    (("--to", "2026-02-30"), "--to 2026-02-30: a day as"), (("--to", "2026-01-31T13:30Z"), "--to 2026-01-31T13:30Z: a day as"),
    (("--from", "2026-01-02", "--to", "2026-01-02"), "the interval is empty"), (("--user", "nobody-at-all"), "there is no user"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_refused(gateway, args, reason):
    done = reconcile(gateway, *args)
    assert (done.rc, done.out) == (1, None) and reason in done.err


@pytest.mark.parametrize("args", [("--fix=yes",), ("--fix", "--fix"), ("more",), ("--from", "2026-01-01", "--from", "2026-01-01")], ids=" ".join)
def test_wrong_usage(gateway, args):
    assert reconcile(gateway, *args).rc == 2


def test_users_whose_reset_day_was_moved(gateway, user):
    gateway.sql("UPDATE quotas SET reset_day = 15 WHERE user_id = %s", (user.id,))
    done = reconcile(gateway, "--user", user.id)
    assert done.rc == 0 and [note for note in done.out["notes"] if "reset day was moved" in note], done


def test_dropped_rows_are_never_taken_for_none(gateway, user):
    """Where the partitions begin, the rows begin: what is before is neither compared nor mended."""
    old = gateway.sql("SELECT date_trunc('day', now(), 'UTC') - interval '3 days'")[0][0]
    ship(gateway, record(user, at=old))
    gateway.sql("SELECT usage_partitions_make(0)")
    try:
        gateway.sql("DELETE FROM request_logs WHERE user_id = %s AND created_at < %s", (user.id, old + (hour(0) - hour(1))))
        before = tables(gateway)
        done = reconcile(gateway, "--user", user.id, "--from", old.strftime("%Y-%m-%d"), "--fix")
        assert [note for note in done.out["notes"] if "were dropped: nothing is compared before that" in note]
        assert not [one for one in done.out["details"] if one["part"] == "hours"]
        assert tables(gateway)["usage_hourly"] == before["usage_hourly"]
        with pytest.raises(psycopg2.errors.RaiseException, match="raw rows are complete since"):
            gateway.sql("SELECT usage_mend_hourly(%s, now(), NULL)", (old,))
    finally:
        name = gateway.sql("SELECT 'request_logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")[0][0]
        gateway.sql(f"ALTER TABLE request_logs DETACH PARTITION {name}")
        gateway.sql(f"INSERT INTO request_logs_default SELECT * FROM {name}")
        gateway.sql(f"DROP TABLE {name}")


def test_mending_loses_nothing_that_is_shipped_meanwhile(gateway):
    """A shipper adds one record after the other while roll-ups are broken and mended again and again."""
    user = gateway.make_user()
    ship(gateway, record(user, billed_bytes=10))
    end, errors, shipped = threading.Event(), [], [1]

    def shipper(name):
        try:
            while not end.is_set():
                ship(gateway, record(user, billed_bytes=10), record(user, at=hour(1), billed_bytes=10), agent=name)
                shipped.append(2)
        except Exception as error:  # told below
            errors.append(error)

    threads = [threading.Thread(target=shipper, args=(f"test-agent-{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            gateway.sql("UPDATE usage_hourly SET requests = requests + 5, billed_bytes = 0 WHERE user_id = %s "
                        "AND hour = %s", (user.id, hour(1)))
            gateway.sql("DELETE FROM usage_monthly WHERE user_id = %s", (user.id,))
            gateway.sql("BEGIN; SELECT usage_mend_hourly(now() - interval '3 hours', now(), NULL); "
                        "SELECT usage_mend_monthly(now() - interval '3 hours', now(), NULL); SELECT usage_mend_quotas(NULL, '{}')")
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert errors == [] and len(shipped) > 20
    gateway.sql("UPDATE quotas SET current_requests = %s WHERE user_id = %s", (sum(shipped), user.id))
    done = reconcile(gateway, "--user", user.id)
    assert (done.rc, done.out["details"]) == (0, []), done
    assert gateway.sql("SELECT sum(requests), sum(billed_bytes) FROM usage_hourly WHERE user_id = %s", (user.id,)) == [
        (sum(shipped), 10 * sum(shipped))]
    assert gateway.sql("SELECT current_bandwidth_bytes FROM quotas WHERE user_id = %s", (user.id,)) == [(10 * sum(shipped),)]


# ---- HAProxy's counters --------------------------------------------------------------------------------------------------


def counters(stack):
    """(requests, under way) of each user in HAProxy's stick table."""
    found = {}
    for line in stack.haproxy("show table st_user").splitlines():
        if "key=" in line:
            words = dict(word.split("=", 1) for word in line.split() if "=" in word)
            found[int(words["key"])] = (int(words["http_req_cnt"]), int(words["conn_cur"]))
    return found


@pytest.fixture
def key(gateway):
    return gateway.make_key()


def ask(gateway, key, n):
    for _ in range(n):
        gateway.get(image_path("local:///missing.jpg"), key)


def test_haproxys_counters_against_rows(gateway, key):
    user = key.user

    def run(*args):
        done = reconcile(gateway, "--user", user.id, *args, socket=gateway["haproxy"].socket)
        assert done.out["haproxy_compared"] is True
        return done, [one for one in done.out["details"] if one["part"] == "haproxy"]

    ask(gateway, key, 3)
    assert counters(gateway)[user.id] == (3, 0)
    done, found = run()
    assert found == [] and [note for note in done.out["notes"] if "are compared from now on" in note]
    # Whatever was before the first mark is of no interest.
    done, found = run()
    assert found == [] and not [note for note in done.out["notes"] if "from now on" in note]
    ask(gateway, key, 4)
    gateway.request("GET", "/api/v1/nothing", key)
    assert counters(gateway)[user.id] == (8, 0)
    now = hour(0)
    ship(gateway, *[record(user, at=now) for _ in range(4)])
    done, found = run()
    assert done.rc == 1 and [one["requests"] for one in found] == [{"haproxy": 5, "rows": 4}], done
    # It stays until the row comes.
    done, found = run()
    assert [one["requests"] for one in found] == [{"haproxy": 5, "rows": 4}]
    ship(gateway, record(user, at=now, kind="api"))
    done, found = run()
    assert found == [] and counters(gateway)[user.id] == (8, 0)
    # More bytes in the rows than HAProxy sent.
    ask(gateway, key, 1)
    ship(gateway, record(user, at=now, response_bytes=10**9))
    done, found = run()
    assert [one["response_bytes"]["rows"] for one in found] == [10**9] and found[0]["response_bytes"]["haproxy"] < 10**5
    # --fix takes them as they are.
    done, found = run("--fix")
    assert len(found) == 1 and found[0]["fixed"] is True and done.out["set"]["marks"] == 1
    done, found = run()
    assert found == []


def test_a_reload_is_a_new_beginning(gateway, key):
    user, path = key.user, gateway["haproxy"].socket
    ask(gateway, key, 2)
    reconcile(gateway, "--user", user.id, socket=path)
    old = gateway.haproxy("show info")
    gateway["haproxy"].reload()

    wait_until(lambda: gateway.haproxy("show info").split("Pid: ")[1].split()[0] != old.split("Pid: ")[1].split()[0], 20)
    wait_until(lambda: gateway.get("/img/unsafe/plain/local:///a.jpg", key).status not in (502, 503), 20)
    ask(gateway, key, 9)
    done = reconcile(gateway, "--user", user.id, socket=path)
    assert not [one for one in done.out["details"] if one["part"] == "haproxy"], done
    assert [note for note in done.out["notes"] if "was started since the last run" in note], done


def test_a_user_who_comes_after_a_whole_run_is_compared_from_the_first_request(gateway):
    path = gateway["haproxy"].socket
    reconcile(gateway, "--fix", socket=path)
    key = gateway.make_key()
    time.sleep(0.1)
    ask(gateway, key, 3)
    ship(gateway, record(key.user, at=gateway.sql("SELECT now()")[0][0]))
    done = reconcile(gateway, socket=path)
    assert [one["requests"] for one in done.out["details"] if one["user_id"] == key.user.id and one["part"] == "haproxy"] == [
        {"haproxy": 3, "rows": 1}], done


def test_no_socket_is_said(gateway, user):
    done = reconcile(gateway, "--user", user.id, socket="")
    assert done.rc == 0 and "HAProxy's counters were not compared: the setting haproxy.socket is empty" in done.out["notes"]
