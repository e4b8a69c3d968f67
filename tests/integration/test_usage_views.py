"""The views that people read, and `gatewayctl usage` of any month; all of it from roll-ups that were shipped."""

import datetime
import decimal

import pytest
from helpers_shipped import admit, hour, record, ship

UTC = datetime.timezone.utc
MB = 1 << 20


def month_start():
    return datetime.datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def used(stack):
    """A user, of whom are three admitted and two refused requests in this month, by two keys, and one in January 2024."""
    user = stack.make_user()
    now = hour(0)
    ship(stack, record(user, at=now, key_id=7, request_bytes=1, response_bytes=3 * MB, billed_bytes=3 * MB),
         record(user, at=now, key_id=7, server="img2", response_bytes=10, billed_bytes=10, active_ms=100),
         record(user, at=now, key_id=8, kind="upload", server="api", request_bytes=500, response_bytes=20, billed_bytes=0),
         record(user, at=now, key_id=8, kind="api", server="api", response_bytes=7),
         record(user, at=now, code="rate_limited", status=429, server=None, response_bytes=200),
         record(user, at=now, code="rate_limited", status=429, server=None, response_bytes=200),
         record(user, at=now, key_id=8, code="scope_missing", status=403, server=None, kind="api"),
         record(user, at=datetime.datetime(2024, 1, 31, 23, tzinfo=UTC), response_bytes=99, billed_bytes=99))
    admit(stack, user, 3)
    return user


def test_by_month(stack, used):
    columns = ("month, username, requests, admitted, refused, images, uploads, request_bytes, response_bytes, billed_bytes, "
               "billed_mb, deleted")
    wanted = [
        (datetime.date(2024, 1, 1), used.name, 1, 1, 0, 1, 0, 0, 99, 99, decimal.Decimal("0.00"), False),
        (month_start().date(), used.name, 7, 4, 3, 2, 1, 501, 3 * MB + 437, 3 * MB + 10, decimal.Decimal("3.00"), False)]
    query = f"SELECT {columns} FROM usage_by_user_month WHERE user_id = %s ORDER BY month"
    assert stack.sql(query, (used.id,)) == wanted
    stack.done("user", "delete", used.name)
    assert stack.sql(query, (used.id,)) == [(*row[:-1], True) for row in wanted]


def test_by_day(stack, used):
    day = hour(0).date()
    assert stack.sql("SELECT day, username, requests, admitted, refused, images, uploads, billed_bytes FROM usage_by_user_day "
                     "WHERE user_id = %s ORDER BY day", (used.id,)) == [
        (datetime.date(2024, 1, 31), used.name, 1, 1, 0, 1, 0, 99), (day, used.name, 7, 4, 3, 2, 1, 3 * MB + 10)]


def test_top_users(stack, used):
    more = stack.make_user()
    ship(stack, record(more, at=hour(0), billed_bytes=9 * MB))
    stack.sql("UPDATE quotas SET monthly_bandwidth_mb = 77 WHERE user_id = %s", (more.id,))
    rows = stack.sql("SELECT rank, username, billed_bytes, share, monthly_bandwidth_mb, month FROM top_users")
    total = sum(row[2] for row in rows)
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
    names = [row[1] for row in rows]
    assert names.index(more.name) < names.index(used.name)
    first = rows[names.index(more.name)]
    assert first[2:] == (9 * MB, round(decimal.Decimal(100) * 9 * MB / total, 2), 77, month_start().date())
    # January of 2024 is not the running month.
    assert rows[names.index(used.name)][2] == 3 * MB + 10


def test_views_grant_nothing(stack):
    assert stack.sql("SELECT relname FROM pg_class WHERE relname IN ('usage_by_user_month', 'usage_by_user_day', 'top_users') "
                     "AND relacl IS NOT NULL") == []


def test_usage_of_the_running_month(stack, used):
    stack.sql("UPDATE quotas SET monthly_requests = 10, monthly_bandwidth_mb = 4 WHERE user_id = %s", (used.id,))
    answer = stack.done("usage", used.name)
    assert {name: answer[name] for name in answer if name not in ("start", "end", "keys", "backends", "active_ms")} == {
        "user": used.name, "user_id": used.id, "month": month_start().strftime("%Y-%m"), "requests": 7, "admitted": 4,
        "images": 2, "uploads": 1, "refused": {"rate_limited": 2, "scope_missing": 1}, "request_bytes": 501,
        "response_bytes": 3 * MB + 437, "billed_bytes": 3 * MB + 10, "used_requests": 3, "used_bytes": 3 * MB + 10,
        "monthly_requests": 10, "requests_percent": 30, "requests_left": 7, "bandwidth_mb": 3, "monthly_bandwidth_mb": 4,
        "bandwidth_percent": 75, "bytes_left": MB - 10}
    assert answer["active_ms"] == 6 * 5 + 100
    assert [(one["key_id"], one["requests"], one["admitted"], one["billed_bytes"]) for one in answer["keys"]] == [
        (None, 2, 0, 0), (7, 2, 2, 3 * MB + 10), (8, 3, 2, 0)]
    assert [(one["backend"], one["requests"], one["request_bytes"], one["response_bytes"]) for one in answer["backends"]] == [
        (None, 3, 0, 400), ("api", 2, 500, 27), ("img1", 1, 1, 3 * MB), ("img2", 1, 0, 10)]
    assert stack.done("usage", used.id, "--month", answer["month"]) == answer


def test_usage_of_a_month_that_is_over(stack, used):
    answer = stack.done("usage", used.name, "--month", "2024-01")
    assert (answer["month"], answer["start"], answer["end"]) == ("2024-01", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z")
    assert (answer["requests"], answer["admitted"], answer["billed_bytes"], answer["used_requests"], answer["used_bytes"]) == (
        1, 1, 99, 1, 99)
    nothing = stack.done("usage", used.name, "--month", "2023-02")
    assert (nothing["end"], nothing["requests"], nothing["admitted"], nothing["refused"], nothing["keys"], nothing["backends"],
            nothing["billed_bytes"], nothing["bandwidth_mb"]) == ("2023-03-01T00:00:00Z", 0, 0, {}, [], [], 0, 0)


@pytest.mark.parametrize("day, start, end", [(31, "2024-02-29", "2024-03-31"), (15, "2024-02-15", "2024-03-15")])
def test_a_month_is_named_after_where_it_begins(stack, day, start, end):
    user = stack.make_user()
    stack.done("quota", "set", user.name, "--reset-day", day)
    ship(stack, record(user, at=datetime.datetime(2024, 3, 1, 5, tzinfo=UTC), billed_bytes=5))
    answer = stack.done("usage", user.name, "--month", "2024-02")
    assert (answer["start"], answer["end"], answer["requests"]) == (f"{start}T00:00:00Z", f"{end}T00:00:00Z", 1)
    assert stack.done("usage", user.name, "--month", "2024-03")["requests"] == 0


def test_usage_for_people(stack, used):
    head, *rows = stack.gatewayctl("usage", used.name).out.splitlines()
    assert head.startswith(f"user {used.id} ({used.name}), month ")
    assert [row.split() for row in rows[:3]] == [["COUNTER", "USED", "QUOTA", "LEFT", "PERCENT"], ["requests", "3", "none", "-", "-"],
                                                 ["bandwidth_mb", "3", "none", "-", "-"]]
    assert rows[3:6] == ["", "requests 7: admitted 4 (images 2, uploads 1), refused 3 (rate_limited 2, scope_missing 1)",
                         f"bytes in 501, out {3 * MB + 437}, billed {3 * MB + 10}"]
    assert [row.split()[:3] for row in rows[7:11]] == [["KEY", "REQUESTS", "ADMITTED"], ["-", "2", "0"], ["7", "2", "2"], ["8", "3", "2"]]
    assert [row.split()[:2] for row in rows[12:]] == [["BACKEND", "REQUESTS"], ["-", "3"], ["api", "2"], ["img1", "1"], ["img2", "1"]]
