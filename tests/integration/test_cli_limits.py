"""gatewayctl: limits, quotas, usage and allow lists; what they answer, what they refuse, and what the database holds then."""

import calendar
import datetime
import json
import subprocess

import psycopg2
import pytest

from helpers import wait_until

UTC = datetime.timezone.utc


@pytest.fixture(scope="module")
def defaults(stack):
    settings = stack.done("config", "show")["settings"]
    return {name: int(settings[name]["value"]) for name in (
        "rate_limits.user_level.requests_per_minute", "rate_limits.user_level.requests_per_hour",
        "quotas.monthly_requests", "quotas.monthly_bandwidth_mb")}


def generation(stack):
    return stack.sql("SELECT generation FROM policy_generation")[0][0]


def text(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def month_of(now, day):
    """Start and end of the month that holds `now`, when it starts on that day, or on the last one of a shorter month."""
    def start(year, month):
        year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
        return datetime.datetime(year, month, min(day, calendar.monthrange(year, month)[1]), tzinfo=UTC)
    shift = 0 if now >= start(now.year, now.month) else -1
    return start(now.year, now.month + shift), start(now.year, now.month + shift + 1)


def in_running_month(stack, day, call):
    """What call() gives, with the month in which it was called: asked again when a month ended meanwhile."""
    def once():
        month = month_of(datetime.datetime.now(UTC), day)
        answer = call()
        return (answer, *month) if month == month_of(datetime.datetime.now(UTC), day) else None
    return wait_until(once, 60)


# ---- limits -----------------------------------------------------------------------------------------------------------

def limit_row(stack, user):
    return stack.sql("SELECT requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM rate_limits "
                     "WHERE user_id = %s", (user.id,))


def test_limits_of_a_user_without_a_row(stack, defaults):
    user = stack.make_user()
    minute = defaults["rate_limits.user_level.requests_per_minute"]
    assert stack.done("limit", "show", user.name) == {
        "user": user.name, "user_id": user.id, "requests_per_minute": minute,
        "requests_per_hour": defaults["rate_limits.user_level.requests_per_hour"], "burst": minute, "shadow": [],
        "defaults": ["requests_per_minute", "requests_per_hour"]}
    assert limit_row(stack, user) == []


def test_limit_set_changes_what_is_given(stack, defaults):
    user = stack.make_user()
    hour = defaults["rate_limits.user_level.requests_per_hour"]
    answer = {"user": user.name, "user_id": user.id, "requests_per_minute": 600, "requests_per_hour": hour, "burst": 600,
              "shadow": [], "defaults": ["requests_per_hour"]}
    assert stack.done("limit", "set", user.name, "--per-minute", 600) == answer
    # NULL, not the column's DEFAULT: the setting may change.
    assert limit_row(stack, user) == [(600, None, None, False, False)]
    answer.update(burst=10, shadow=["hour"])
    assert stack.done("limit", "set", user.id, "--burst", 10, "--shadow", "hour") == answer
    assert limit_row(stack, user) == [(600, None, 10, False, True)]
    answer.update(requests_per_hour=0, shadow=["minute", "hour"], defaults=[])
    assert stack.done("limit", "set", user.name, "--per-hour", 0, "--shadow", "hour,minute") == answer
    assert stack.done("limit", "show", user.name) == answer
    minute = defaults["rate_limits.user_level.requests_per_minute"]
    answer.update(requests_per_minute=minute, burst=minute, shadow=[], defaults=["requests_per_minute"])
    assert stack.done("limit", "set", user.name, "--per-minute", "default", "--burst", "default", "--shadow", "none") == answer
    assert limit_row(stack, user) == [(None, 0, None, False, False)]


def test_limit_set_takes_the_largest_numbers(stack):
    user = stack.make_user()
    most = 10**9
    answer = stack.done("limit", "set", user.name, "--per-minute", most, "--per-hour", most, "--burst", most)
    assert (answer["requests_per_minute"], answer["requests_per_hour"], answer["burst"]) == (most, most, most)
    answer = stack.done("limit", "set", user.name, "--per-minute", 0, "--burst", 1)
    assert (answer["requests_per_minute"], answer["burst"]) == (0, 1)


def test_a_change_of_limits_is_a_change_of_the_policy(stack):
    user = stack.make_user()
    for args in (("limit", "set", user.name, "--per-minute", 7), ("quota", "set", user.name, "--requests", 7),
                 ("allow", "add", user.name, "192.0.2.0/24"), ("allow", "remove", user.name, "192.0.2.0/24")):
        before = generation(stack)
        stack.done(*args)
        assert generation(stack) == before + 1, args
    stack.done("quota", "set", user.name, "--storage-mb", 7)
    # The same once more changes nothing that a verdict reads.
    for args in (("limit", "set", user.name, "--per-minute", 7), ("quota", "set", user.name, "--requests", 7),
                 ("quota", "set", user.name, "--storage-mb", 7)):
        before = generation(stack)
        stack.done(*args)
        assert generation(stack) == before, args


def test_limits_for_people(stack):
    user = stack.make_user()
    result = stack.gatewayctl("limit", "set", user.name, "--per-minute", 60, "--per-hour", 0, "--shadow", "minute")
    assert (result.rc, result.err) == (0, "")
    assert [line.split() for line in result.out.splitlines()] == [
        ["user", str(user.id), f"({user.name})"], ["LIMIT", "VALUE", "FROM", "SHADOW"],
        ["requests_per_minute", "60", "user", "yes"], ["burst", "60", "requests_per_minute", "-"],
        ["requests_per_hour", "none", "user", "no"]]
    assert stack.gatewayctl("limit", "show", user.name).out == result.out


def test_the_settings_are_the_defaults(stack):
    user = stack.make_user()
    env = {"RATE_LIMITS_USER_LEVEL_REQUESTS_PER_MINUTE": "77", "RATE_LIMITS_USER_LEVEL_REQUESTS_PER_HOUR": "0",
           "QUOTAS_MONTHLY_REQUESTS": "88", "QUOTAS_MONTHLY_BANDWIDTH_MB": "99", "QUOTAS_STORAGE_MB": "66"}
    ask = ("--config", stack.config, "--json")
    limits = json.loads(stack.run_program("gatewayctl", *ask, "limit", "show", user.name, env=env).out)
    assert (limits["requests_per_minute"], limits["requests_per_hour"], limits["burst"]) == (77, 0, 77)
    quotas = json.loads(stack.run_program("gatewayctl", *ask, "quota", "show", user.name, env=env).out)
    assert (quotas["monthly_requests"], quotas["monthly_bandwidth_mb"], quotas["storage_mb"]) == (88, 99, 66)
    usage = json.loads(stack.run_program("gatewayctl", *ask, "usage", user.name, env=env).out)
    assert (usage["monthly_requests"], usage["monthly_bandwidth_mb"]) == (88, 99)


def test_two_first_changes_at_once(stack):
    """Both wait for the user's row, which the test holds; then one makes the row and the other finds it."""
    user = stack.make_user()
    command = [stack.layout.program(stack.program("gatewayctl")), "--config", stack.config, "limit", "set", user.name]
    db = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    try:
        with db.cursor() as cursor:
            cursor.execute("SELECT FROM users WHERE id = %s FOR UPDATE", (user.id,))
        running = [subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                    env=stack.base_environment(), **stack.layout.account.popen_args())
                   for more in (("--per-minute", "6"), ("--per-hour", "60"))]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatewayctl' AND wait_event_type = 'Lock'"
        wait_until(lambda: stack.sql(waiting) == [(2,)], 30, "both wait for the user")
        db.rollback()
    finally:
        db.close()
    for child in running:
        _, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (0, "")
    assert limit_row(stack, user) == [(6, 60, None, False, False)]


# ---- quotas and usage -------------------------------------------------------------------------------------------------

def quota_row(stack, user):
    return stack.sql("SELECT monthly_requests, monthly_bandwidth_mb, storage_mb, reset_day, shadow_requests, shadow_bandwidth "
                     "FROM quotas WHERE user_id = %s", (user.id,))


def test_quotas_of_a_user_without_a_row(stack, defaults):
    user = stack.make_user()
    shown, _, end = in_running_month(stack, 1, lambda: stack.done("quota", "show", user.name))
    assert shown == {
        "user": user.name, "user_id": user.id, "monthly_requests": defaults["quotas.monthly_requests"],
        "monthly_bandwidth_mb": defaults["quotas.monthly_bandwidth_mb"], "storage_mb": 0, "reset_day": 1,
        "current_requests": 0, "current_bandwidth_mb": 0, "reset_at": text(end), "shadow": [],
        "defaults": ["monthly_requests", "monthly_bandwidth_mb", "storage_mb"]}
    assert quota_row(stack, user) == []


def test_quota_set_changes_what_is_given(stack, defaults):
    user = stack.make_user()
    answer = stack.done("quota", "set", user.name, "--requests", 500, "--shadow", "bandwidth")
    assert (answer["monthly_requests"], answer["shadow"], answer["defaults"]) == (
        500, ["bandwidth"], ["monthly_bandwidth_mb", "storage_mb"])
    assert quota_row(stack, user) == [(500, None, None, None, False, True)]
    answer = stack.done("quota", "set", user.name, "--bandwidth-mb", 0, "--storage-mb", 9, "--reset-day", 31)
    assert (answer["monthly_requests"], answer["monthly_bandwidth_mb"], answer["storage_mb"], answer["reset_day"]) == (
        500, 0, 9, 31)
    assert (answer["shadow"], answer["defaults"]) == (["bandwidth"], [])
    assert quota_row(stack, user) == [(500, 0, 9, 31, False, True)]
    assert stack.done("quota", "show", user.id) == answer
    answer = stack.done("quota", "set", user.name, "--requests", "default", "--bandwidth-mb", "default", "--storage-mb", "default",
                        "--reset-day", "default")
    assert answer["monthly_bandwidth_mb"] == defaults["quotas.monthly_bandwidth_mb"]
    assert quota_row(stack, user) == [(None, None, None, None, False, True)]
    stack.done("quota", "set", user.name, "--shadow", "requests")
    assert quota_row(stack, user) == [(None, None, None, None, True, False)]


def test_quota_set_takes_the_largest_numbers(stack):
    user = stack.make_user()
    stack.done("quota", "set", user.name, "--requests", 10**15, "--bandwidth-mb", 2**30 - 1, "--storage-mb", 2**43 - 1)
    assert quota_row(stack, user) == [(10**15, 2**30 - 1, 2**43 - 1, None, False, False)]


def test_quota_set_leaves_the_counters(stack):
    user = stack.make_user()
    stack.sql("INSERT INTO quotas (user_id, current_requests, current_bandwidth_mb, reset_at) VALUES (%s, 41, 3, now() + interval "
              "'1 day')", (user.id,))
    before = stack.sql("SELECT current_requests, current_bandwidth_mb, reset_at FROM quotas WHERE user_id = %s", (user.id,))
    answer = stack.done("quota", "set", user.name, "--requests", 50)
    assert (answer["current_requests"], answer["current_bandwidth_mb"]) == (41, 3)
    assert stack.sql("SELECT current_requests, current_bandwidth_mb, reset_at FROM quotas WHERE user_id = %s",
                     (user.id,)) == before


def test_counters_of_a_month_that_has_ended_are_0(stack):
    user = stack.make_user()
    stack.sql("INSERT INTO quotas (user_id, monthly_requests, current_requests, current_bandwidth_mb, reset_at) "
              "VALUES (%s, 100, 41, 3, now() - interval '1 second')", (user.id,))
    shown = stack.done("quota", "show", user.name)
    assert (shown["current_requests"], shown["current_bandwidth_mb"]) == (0, 0)
    used = stack.done("usage", user.name)
    assert (used["used_requests"], used["bandwidth_mb"], used["requests_percent"]) == (0, 0, 0)


@pytest.mark.parametrize("day", [None, 1, 15, 28, 29, 30, 31])
def test_usage_of_the_running_month(stack, day):
    user = stack.make_user()
    stack.sql("INSERT INTO quotas (user_id, monthly_requests, monthly_bandwidth_mb, reset_day, current_requests, "
              "current_bandwidth_mb, reset_at) VALUES (%s, 200, 0, %s, 199, 3, now() + interval '1 day')", (user.id, day))
    used, start, end = in_running_month(stack, day or 1, lambda: stack.done("usage", user.name))
    assert used == {"user": user.name, "user_id": user.id, "month": text(start)[:7], "start": text(start), "end": text(end),
                    "used_requests": 199, "monthly_requests": 200, "requests_percent": 99, "requests_left": 1,
                    "used_bytes": 3 << 20, "bandwidth_mb": 3, "monthly_bandwidth_mb": 0, "bandwidth_percent": None,
                    "bytes_left": None,
                    # Nothing was recorded.
                    "requests": 0, "admitted": 0, "images": 0, "uploads": 0, "refused": {}, "request_bytes": 0,
                    "response_bytes": 0, "billed_bytes": 0, "active_ms": 0, "keys": [], "backends": []}
    assert stack.done("quota", "show", user.name)["reset_at"] == text(end)
    assert stack.done("usage", user.id, "--month", used["month"]) == used


def test_usage_of_a_month_to_come_is_refused(stack):
    user = stack.make_user()
    result = stack.gatewayctl("usage", user.name, "--month", "9999-12")
    assert (result.rc, result.out) == (1, "") and "9999-12 has not begun" in result.err


def test_quotas_and_usage_for_people(stack):
    user = stack.make_user()
    stack.sql("INSERT INTO quotas (user_id, monthly_requests, monthly_bandwidth_mb, current_requests, current_bandwidth_mb, "
              "reset_at) VALUES (%s, 50, 0, 60, 3, now() + interval '1 day')", (user.id,))
    head, *rows = stack.gatewayctl("quota", "show", user.name).out.splitlines()
    assert head.startswith(f"user {user.id} ({user.name}); the month ends at ")
    assert [row.split() for row in rows] == [
        ["QUOTA", "VALUE", "FROM", "SHADOW", "USED", "PERCENT"], ["monthly_requests", "50", "user", "no", "60", "120", "%"],
        ["monthly_bandwidth_mb", "none", "user", "no", "3", "-"], ["storage_mb", "none", "setting", "-", "-", "-"],
        ["reset_day", "1", "default", "-", "-", "-"]]
    head, *rows = stack.gatewayctl("usage", user.name).out.splitlines()
    assert head.startswith(f"user {user.id} ({user.name}), month ")
    assert [row.split() for row in rows] == [
        ["COUNTER", "USED", "QUOTA", "LEFT", "PERCENT"], ["requests", "60", "50", "0", "120", "%"],
        ["bandwidth_mb", "3", "none", "-", "-"], [],
        "requests 0: admitted 0 (images 0, uploads 0), refused 0".split(), "bytes in 0, out 0, billed 0".split()]


# ---- allow lists ------------------------------------------------------------------------------------------------------

def test_allow_add_list_remove(stack):
    user = stack.make_user()
    assert stack.done("allow", "list", user.name) == []
    office = stack.done("allow", "add", user.name, "10.0.0.0/8", "--description", "the office")
    assert set(office) == {"id", "user", "user_id", "cidr", "description", "created_at"}
    assert (office["user"], office["user_id"], office["cidr"], office["description"]) == (
        user.name, user.id, "10.0.0.0/8", "the office")
    assert isinstance(office["id"], int) and datetime.datetime.strptime(office["created_at"], "%Y-%m-%dT%H:%M:%SZ")
    six = stack.done("allow", "add", user.id, "2001:DB8::/32")
    one = stack.done("allow", "add", user.name, "9.9.9.9")
    assert (six["cidr"], six["description"], one["cidr"]) == ("2001:db8::/32", None, "9.9.9.9/32")
    assert stack.done("allow", "list", user.name) == [one, office, six]
    assert stack.done("allow", "remove", user.name, "9.9.9.9/32") == one
    assert stack.done("allow", "list", user.id) == [office, six]
    assert stack.sql("SELECT ip_cidr::text, description FROM ip_whitelist WHERE user_id = %s ORDER BY 1", (user.id,)) == [
        ("10.0.0.0/8", "the office"), ("2001:db8::/32", None)]


def test_mapped_addresses_are_the_v4_ones(stack):
    user = stack.make_user()
    assert stack.done("allow", "add", user.name, "::ffff:10.1.0.0/112")["cidr"] == "10.1.0.0/16"
    result = stack.gatewayctl("allow", "add", user.name, "10.1.0.0/16")
    assert result.rc == 1 and result.err == f'gatewayctl: 10.1.0.0/16 is on the list of "{user.name}" already\n'
    assert stack.done("allow", "remove", user.name, "::ffff:10.1.0.0/112")["cidr"] == "10.1.0.0/16"


def test_allow_lists_are_each_users_own(stack):
    one, other = stack.make_user(), stack.make_user()
    stack.done("allow", "add", one.name, "10.0.0.0/8")
    stack.done("allow", "add", other.name, "10.0.0.0/8")
    stack.done("allow", "remove", one.name, "10.0.0.0/8")
    assert [entry["cidr"] for entry in stack.done("allow", "list", other.name)] == ["10.0.0.0/8"]


def test_what_is_not_on_the_list_cannot_be_removed(stack):
    user = stack.make_user()
    result = stack.gatewayctl("allow", "remove", user.name, "10.0.0.0/8")
    assert result.rc == 1 and result.err == f'gatewayctl: 10.0.0.0/8 is not on the list of "{user.name}", which is empty\n'
    for number in range(12):
        stack.done("allow", "add", user.name, f"10.{number}.0.0/16")
    result = stack.gatewayctl("allow", "remove", user.name, "10.0.0.0/8")
    assert result.rc == 1 and "which has 10.0.0.0/16, 10.1.0.0/16, " in result.err
    assert result.err.endswith("10.9.0.0/16, …\n")
    assert len(stack.done("allow", "list", user.name)) == 12


def test_allow_lists_for_people(stack):
    user = stack.make_user()
    assert stack.gatewayctl("allow", "list", user.name).out == f"the list is empty: {user.name} may call from anywhere\n"
    assert stack.gatewayctl("allow", "add", user.name, "::1", "--description", "itself").out == f"{user.name} may call from ::1/128\n"
    stack.gatewayctl("allow", "add", user.name, "::2")
    head, first, second = stack.gatewayctl("allow", "list", user.name).out.splitlines()
    assert head.split() == ["CIDR", "DESCRIPTION", "CREATED"]
    assert first.split()[:2] == ["::1/128", "itself"] and second.split()[:2] == ["::2/128", "-"]
    assert stack.gatewayctl("allow", "remove", user.name, "::1").out == f"::1/128 is off the list of {user.name}\n"
    assert "which is empty now: they may call from anywhere" in stack.gatewayctl("allow", "remove", user.name, "::2").out


# ---- refusals ---------------------------------------------------------------------------------------------------------

# (arguments, what the reason says): exit code 1.
REFUSED = [
    *((("limit", "set", "demo", option, value), f"{option} {value}: a number from")
      for option in ("--per-minute", "--per-hour", "--burst")
      for value in ("x", "", "-1", "+1", "1.5", "1e3", "01", " 1", "1000000001", "99999999999999999999", "none", "DEFAULT")),
    (("limit", "set", "demo", "--burst", "0"), "a number from 1 to 1000000000, or `default`"),
    (("limit", "set", "demo", "--per-minute", "1000000001"), "a number from 0 to 1000000000 (0: no limit), or `default`"),
    *((("limit", "set", "demo", "--shadow", value), "a comma list of minute, hour, each at most once, or `none`")
      for value in ("", "second", "minute,minute", "hour,none", "requests")),
    *((("quota", "set", "demo", option, value), f"{option} {value}: a number from")
      for option, most in (("--requests", 10**15), ("--bandwidth-mb", 2**30 - 1), ("--storage-mb", 2**43 - 1), ("--reset-day", 31))
      for value in ("x", "", "-1", "1.5", "none", str(most + 1), str(2**64))),
    (("quota", "set", "demo", "--reset-day", "0"), "a number from 1 to 31, or `default`"),
    (("quota", "set", "demo", "--shadow", "minute"), "a comma list of requests, bandwidth, each at most once, or `none`"),
    # One wrong option, and nothing of the others is done.
    (("quota", "set", "demo", "--requests", "5", "--reset-day", "32"), "--reset-day 32"),
    *((("allow", verb, "demo", value), reason) for verb in ("add", "remove") for value, reason in (
        ("10.0.0.1/8", "10.0.0.1/8: bits behind the length are set; did you mean 10.0.0.0/8?"),
        ("2001:db8::1/32", "did you mean 2001:db8::/32?"), ("10.0.0.0/33", "the length behind the / is a number from 0 to 32"),
        ("::/129", "a number from 0 to 128"), ("10/8", "is no address block"), ("", "is no address block"),
        ("everywhere", "is no address block"), ("10.0.0.0/8; DROP TABLE users", "a number from 0 to 32"))),
    (("allow", "add", "demo", "10.0.0.0/8", "--description", "x" * 1001), "a description has at most 1000 characters"),
    *((("usage", "demo", "--month", value), "a month as 2026-01") for value in ("x", "", "2026-13", "2026-00", "2026-1", "2026-01-01")),
    *(((*command, who, *more), f"there is no user {shown}")
      for who, shown in (("nobody-at-all", '"nobody-at-all"'), ("999999999", "999999999"), ("99999999999999999999", "99999999999999999999"))
      for command, more in ((("limit", "set"), ("--burst", "1")), (("limit", "show"), ()), (("quota", "set"), ("--requests", "1")),
                            (("quota", "show"), ()), (("usage",), ()), (("allow", "add"), ("::1",)), (("allow", "list"), ()),
                            (("allow", "remove"), ("::1",)))),
]
# What is no command line: exit code 2.
USAGE = [
    ("limit",), ("limit", "set"), ("limit", "set", "demo"), ("limit", "set", "demo", "--requests", "1"), ("limit", "show"),
    ("limit", "set", "demo", "--burst"), ("limit", "set", "demo", "--burst", "1", "--burst", "2"), ("limit", "get", "demo"),
    ("quota", "set", "demo"), ("quota", "set", "demo", "--per-hour", "1"), ("quota", "show", "demo", "more"), ("usage",),
    ("usage", "demo", "more"), ("usage", "demo", "--grace", "1h"), ("usage", "show", "demo"), ("allow", "add", "demo"),
    ("allow", "add", "demo", "::1", "::2"), ("allow", "list"), ("allow", "remove", "demo"), ("allow", "list", "demo", "--description", "x"),
]
WHAT_IS_THERE = ("SELECT (SELECT count(*) FROM rate_limits), (SELECT count(*) FROM quotas), (SELECT count(*) FROM ip_whitelist), "
                 "(SELECT generation FROM policy_generation)")


@pytest.mark.parametrize("args, reason", REFUSED, ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "")
def test_refused_with_a_reason(stack, args, reason):
    before = stack.sql(WHAT_IS_THERE)
    result = stack.gatewayctl(*args)
    assert (result.rc, result.out) == (1, ""), result
    assert result.err.startswith("gatewayctl: ") and reason in result.err, result.err
    assert stack.sql(WHAT_IS_THERE) == before


def test_a_refusal_as_json(stack):
    told = stack.gatewayctl("limit", "set", "demo", "--burst", "0", "--json")
    assert told.rc == 1 and told.out == "" and told.err.count("\n") == 1 and set(json.loads(told.err)) == {"error"}


@pytest.mark.parametrize("args", USAGE, ids=" ".join)
def test_wrong_usage(stack, args):
    before = stack.sql(WHAT_IS_THERE)
    result = stack.gatewayctl(*args)
    assert (result.rc, result.out) == (2, "") and "--help" in result.err, result
    assert stack.sql(WHAT_IS_THERE) == before


def test_deleted_users_are_refused(stack):
    user = stack.make_user()
    stack.done("limit", "set", user.name, "--burst", 1)
    stack.done("allow", "add", user.name, "::1")
    stack.done("user", "delete", user.name)
    before = stack.sql(WHAT_IS_THERE)
    for args in (("limit", "set", user.id, "--burst", "2"), ("limit", "show", user.id), ("quota", "set", user.id, "--requests", "2"),
                 ("quota", "show", user.id), ("usage", user.id), ("allow", "add", user.id, "::2"), ("allow", "list", user.id),
                 ("allow", "remove", user.id, "::1")):
        result = stack.gatewayctl(*args)
        assert (result.rc, result.out) == (1, "") and f"user {user.id} ({user.name}) was deleted at" in result.err, result
    assert stack.sql(WHAT_IS_THERE) == before


def test_a_disabled_user_can_be_given_limits(stack):
    user = stack.make_user()
    stack.done("user", "disable", user.name)
    assert stack.done("limit", "set", user.name, "--burst", 3)["burst"] == 3
