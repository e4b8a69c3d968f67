"""Usage as an agent would have shipped it, without one: records go through the database's own usage_ship()."""

import datetime
import itertools

import psycopg2

UTC = datetime.timezone.utc
COLUMNS = ("id", "user_id", "key_id", "code", "status", "start_ms", "active_ms", "request_bytes", "response_bytes",
           "billed_bytes", "kind", "termination", "method", "backend", "server", "address", "path")
DEFAULTS = dict.fromkeys(COLUMNS) | {
    "code": "allow", "status": 200, "active_ms": 5, "request_bytes": 0, "response_bytes": 0, "billed_bytes": 0,
    "kind": "image", "termination": "----", "method": "GET", "backend": "be_imgproxy", "server": "img1",
    "address": "127.0.0.1", "path": "/img/unsafe/plain/local:///a.jpg"}
_numbers = itertools.count(1)


def hour(back=0):
    """The start of the hour that was so many hours ago."""
    now = datetime.datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - datetime.timedelta(hours=back)


def record(user, at=None, **more):
    at = at or hour()
    return {**DEFAULTS, "id": f"test-{next(_numbers)}", "user_id": getattr(user, "id", user),
            "start_ms": int(at.timestamp() * 1000) + 1, **more}


def ship(stack, *records, agent="test-agent"):
    """One batch, in one transaction."""
    db = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    try:
        with db, db.cursor() as cursor:
            cursor.execute("INSERT INTO usage_positions (agent) VALUES (%s) ON CONFLICT DO NOTHING", (agent,))
            cursor.execute("SELECT usage_open()")
            cursor.executemany(
                f"INSERT INTO usage_batch ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})",
                [[one[name] for name in COLUMNS] for one in records])
            cursor.execute('SELECT usage_ship(%s, 1, (SELECT "offset" + 1 FROM usage_positions WHERE agent = %s))',
                           (agent, agent))
            assert cursor.fetchone()[0] == len(records)
    finally:
        db.close()


def admit(stack, user, n):
    """What the agents add for admitted requests."""
    stack.sql("UPDATE quotas SET current_requests = current_requests + %s WHERE user_id = %s", (n, user.id))
