"""What the tests of usage ask of a stack: records that have arrived, roll-ups, and whether all of it is one."""

from helpers import wait_until

ROLLUP = """
    SELECT coalesce(sum(requests), 0)::bigint, coalesce(sum(request_bytes), 0)::bigint,
           coalesce(sum(response_bytes), 0)::bigint, coalesce(sum(billed_bytes), 0)::bigint
    FROM {} WHERE user_id = %s"""
ROWS = """
    SELECT count(*), coalesce(sum(request_size_bytes), 0)::bigint, coalesce(sum(response_size_bytes), 0)::bigint,
           coalesce(sum(billed_bytes), 0)::bigint
    FROM request_logs WHERE user_id = %s"""


def row_of(stack, request_id, timeout=10):
    """The row of a request, by column name; waits for it."""
    found = wait_until(lambda: stack.sql("SELECT to_jsonb(r) FROM request_logs r WHERE request_id = %s", [request_id]),
                       timeout, f"a row for {request_id}")
    assert len(found) == 1, found
    return found[0][0]


def row_of_answer(stack, answer):
    return row_of(stack, answer.header("X-Request-ID"))


def wait_shipped(stack, timeout=30):
    """Until the spool has nothing that PostgreSQL has not."""
    wait_until(lambda: stack.metrics().get("gateway_usage_spool_bytes") == 0, timeout, "all of the spool is shipped")


def check_sums(stack, user):
    """Raw rows, roll-ups by hour and by month, and the month's bandwidth are one. Returns (requests, bytes in, out, billed)."""
    rows = stack.sql(ROWS, [user.id])[0]
    for table in ("usage_hourly", "usage_monthly"):
        assert stack.sql(ROLLUP.format(table), [user.id])[0] == rows, table
    stored = stack.sql("SELECT current_bandwidth_bytes, current_bandwidth_mb FROM quotas WHERE user_id = %s", [user.id])
    billed = stored[0][0] if stored else 0
    assert billed == rows[3], (stored, rows)
    assert not stored or stored[0][1] == billed >> 20
    return tuple(map(int, rows))


def check_exact(stack, load, timeout=60):
    """Every answer of an ended load has one row with its bytes, and nothing is there twice."""
    keys = {seen.key.user.id: seen.key for seen in load.seen.values()}
    users = list(keys)

    def count():
        return stack.sql("SELECT count(*) FROM request_logs WHERE user_id = ANY (%s)", [users])[0][0]

    wait_until(lambda: count() >= len(load.seen), timeout, f"{len(load.seen)} rows")
    rows = stack.sql("SELECT request_id, response_status, response_size_bytes, user_id FROM request_logs "
                     "WHERE user_id = ANY (%s)", [users])
    by_id = {row[0]: row for row in rows}
    assert len(by_id) == len(rows), "a request stands twice"
    missing = [one for one in load.seen if one not in by_id]
    assert not missing, f"{len(missing)} of {len(load.seen)} are lost: {missing[:5]}"
    wrong = [(one, seen, by_id[one]) for one, seen in load.seen.items()
             if (by_id[one][1], by_id[one][2], by_id[one][3]) != (seen.status, seen.bytes, seen.key.user.id)]
    assert not wrong, wrong[:5]
    return rows
