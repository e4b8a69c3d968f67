"""store/usage_ship.c (tests/integration/ship_live.c) against a real PostgreSQL: whatever is killed, each record of the
spool is one row, the roll-ups are the sums of the rows, and the months' bandwidth is right."""

import calendar
import collections
import datetime
import os
import random
import signal
import subprocess
import threading
import time

import processes
import psycopg2
import pytest
from helpers import wait_until

LIVE = os.path.join(os.path.dirname(os.environ["GATEWAY_STANDIN"]), "ship-live")
UTC = datetime.timezone.utc
NAMES = ("id user key code status start active request response billed kind termination method backend server address "
         "path").split()
Record = collections.namedtuple("Record", NAMES)


def now_ms():
    return int(time.time() * 1000)


def record(name, user, **more):
    fields = dict(id=name, user=user, key="-", code="allow", status=200, start=now_ms(), active=12, request=0,
                  response=1000, billed=1000, kind="image", termination="--", method="GET", backend="be_imgproxy",
                  server="img1", address="192.0.2.7", path="/img/unsafe/rs:fit:8:8/plain/local:///a.jpg")
    fields.update(more)
    return Record(**{name: str(value) for name, value in fields.items()})


def many(prefix, count, users, seed=1):
    rng = random.Random(seed)
    start = now_ms()
    found = []
    for n in range(count):
        code = rng.choice(["allow"] * 9 + ["rate_limited"])
        size = rng.choice([0, 1, 1 << 20, rng.randrange(1 << 26)]) if code == "allow" else 0
        found.append(record(f"{prefix}-{n:06}", rng.choice(users), key=rng.choice(["-", 1, 2, 3]), code=code,
                            start=start - rng.randrange(20000), response=size, billed=size,
                            server=rng.choice(["img1", "img2", "-"]), active=rng.choice(["-", 5, 300])))
    return found


def text(rec):
    return "\t".join(rec)


def parse(line):
    return Record(*line.split("\t"))


# ---- a model of what must be in the tables ---------------------------------------------------------------------------


def moment(rec):
    return datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(milliseconds=int(rec.start))


def month_of(when, day):
    """The first day of the month that holds the moment; the rule of spoa/policy/period.h."""
    def start_in(year, month):
        return datetime.date(year, month, min(day or 1, calendar.monthrange(year, month)[1]))

    date = when.date()
    own = start_in(date.year, date.month)
    if date >= own:
        return own
    return start_in(date.year - (date.month == 1), (date.month - 2) % 12 + 1)


def or_zero(field):
    return 0 if field == "-" else int(field)


def sums_of(records, period):
    found = collections.Counter()
    for rec in records:
        key = (int(rec.user), period(rec), or_zero(rec.key), rec.code, rec.kind, "" if rec.server == "-" else rec.server)
        for number, value in enumerate((1, rec.request, rec.response, rec.billed, or_zero(rec.active))):
            found[key, number] += int(value)
    return found


class Database:
    """A copy of the migrated database for one test."""

    count = 0

    def __init__(self, stack, folder):
        Database.count += 1
        self.stack, self.folder, self.name = stack, folder, f"ship{Database.count}"
        self.postgres = stack["postgres"]
        self.postgres.psql(f"CREATE DATABASE {self.name} TEMPLATE imgproxy_gateway OWNER gateway", "postgres")
        self.dsn = stack.settings["DB_DSN"].rpartition("/")[0] + "/" + self.name

    def remove(self):
        self.postgres.psql(f"DROP DATABASE {self.name} (FORCE)", "postgres")

    def sql(self, query, args=None):
        connection = psycopg2.connect(self.dsn, connect_timeout=10)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(query, args)
                return cursor.fetchall() if cursor.description else cursor.rowcount
        finally:
            connection.close()

    def users(self, count):
        return [row[0] for row in self.sql(
            "INSERT INTO users (username, email) SELECT 'u' || i, 'u' || i || '@example.invalid' "
            "FROM generate_series(1, %s) i RETURNING id", (count,))]

    def spool(self, name="spool"):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        return path

    def start(self, spool, **environ):
        return subprocess.Popen([LIVE, spool], env=dict(os.environ, SHIP_DSN=self.dsn, **environ), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def ship(self, records, name="spool", timeout=120, **environ):
        """Ships these texts or records to the end; returns the lines that were printed, and the last one's numbers."""
        live = self.start(self.spool(name), **environ)
        lines = [r if isinstance(r, str) else text(r) for r in records]
        out, _ = live.communicate("".join(line + "\n" for line in lines), timeout=timeout)
        assert live.returncode == 0, out
        return out.splitlines(), dict(word.split("=") for word in out.splitlines()[-1].split()[1:])

    def listed(self, name="spool"):
        done = subprocess.run([LIVE, "--list", self.spool(name)], capture_output=True, text=True, timeout=60, check=True)
        # A program that is killed within a write leaves a torn end, which is told as damage on a line of its own.
        return [line.partition("\t")[2] for line in done.stdout.splitlines() if "\t" in line]

    def check(self, records, days=None):
        """Each of these records is one row, and what is summed up is their sum."""
        records = list({(rec.id, rec.start): rec for rec in records}.values())
        rows = self.sql("SELECT request_id, user_id, coalesce(api_key_id::text, '-'), code, coalesce(response_status::text, '-'), "
                        "(extract(epoch FROM created_at) * 1000)::bigint, coalesce(response_time_ms::text, '-'), "
                        "request_size_bytes, response_size_bytes, billed_bytes, kind, coalesce(termination, '-'), "
                        "coalesce(method, '-'), coalesce(backend, '-'), coalesce(server, '-'), "
                        "coalesce(host(client_address), '-'), coalesce(request_path, '-') FROM request_logs")
        assert len(rows) == len(records)
        assert sorted(tuple(map(str, row)) for row in rows) == sorted(map(tuple, records))
        ids = self.sql("SELECT count(*), count(DISTINCT id) FROM request_logs")[0]
        assert ids[0] == ids[1]
        day_of = (days or {}).get
        for table, column, period in (
                ("usage_hourly", "hour", lambda r: moment(r).replace(minute=0, second=0, microsecond=0)),
                ("usage_monthly", "month", lambda r: month_of(moment(r), day_of(int(r.user))))):
            found = collections.Counter()
            for row in self.sql(f"SELECT user_id, {column}, api_key_id, code, kind, backend, requests, request_bytes, "
                                f"response_bytes, billed_bytes, active_ms FROM {table}"):
                for number, value in enumerate(row[6:]):
                    found[row[:6], number] += value
            assert found == sums_of(records, period), table

    def bandwidth(self):
        return dict(self.sql("SELECT user_id, current_bandwidth_bytes FROM quotas"))

    def check_bandwidth(self, records):
        """For users whose month is the calendar's, and records of this month."""
        expected = collections.Counter()
        for rec in {(rec.id, rec.start): rec for rec in records}.values():
            if int(rec.billed):
                expected[int(rec.user)] += int(rec.billed)
        assert self.bandwidth() == dict(expected)
        assert self.sql("SELECT count(*) FROM quotas WHERE current_bandwidth_mb <> current_bandwidth_bytes >> 20") == [(0,)]


@pytest.fixture(scope="module")
def servers(module_stack):
    own = module_stack(start=False)
    own.prepare()
    own.start_servers()
    own.migrate()
    return own


@pytest.fixture
def db(servers, tmp_path):
    own = Database(servers, str(tmp_path))
    yield own
    own.remove()


def test_a_record_becomes_a_row(db):
    user, = db.users(1)
    key = db.sql("INSERT INTO api_keys (user_id, key_hash) VALUES (%s, 'h') RETURNING id", (user,))[0][0]
    backend = db.sql("INSERT INTO backends (name, url) VALUES ('img1', 'http://127.0.0.1:1') RETURNING id")[0][0]
    before = db.sql("SELECT * FROM policy_generation")
    records = [record("full", user, key=key),
               record("bare", user, key="-", status="-", active="-", termination="-", method="-", backend="-", server="-",
                      address="-", path="-", code="key_expired", billed=0, kind="api"),
               record("odd", user, server="img2", path="/a\\b\\N%09\\.", address="2001:db8::1", kind="upload", request=77)]
    out, end = db.ship(records)
    assert (end["shipped"], end["duplicates"], end["quarantined"], end["oldest"]) == ("3", "0", "0", "0")
    assert [line.split()[0] for line in out if line.split()[0] in ("position", "taken", "done", "back")] == [
        "position", "taken", "done"]
    db.check(records)
    db.check_bandwidth(records)
    assert dict(db.sql("SELECT request_id, backend_id FROM request_logs")) == {"full": backend, "bare": None, "odd": None}
    assert db.sql("SELECT segment || ':' || \"offset\" FROM usage_positions") == [(end["position"],)]
    used = db.sql("SELECT last_used_at FROM api_keys")[0][0]
    assert int(used.timestamp() * 1000 + 0.5) == int(records[0].start)
    db.ship([record("soon", user, key=key, start=int(records[0].start) + 3000),
             record("refused", user, key=key, start=int(records[0].start) + 8000, code="rate_limited", billed=0)])
    assert db.sql("SELECT last_used_at FROM api_keys") == [(used,)], "within five seconds, or refused"
    db.ship([record("later", user, key=key, start=int(records[0].start) + 9000)])
    assert db.sql("SELECT last_used_at FROM api_keys") == [(used + datetime.timedelta(seconds=9),)]
    assert db.sql("SELECT * FROM policy_generation") == before, "no verdict reads what is shipped"


def test_an_address_that_is_none_for_postgres(db):
    user, = db.users(1)
    db.ship([record("unix", user, address="unix:1"), record("zone", user, address="fe80::1%eth0")])
    assert db.sql("SELECT count(*), count(client_address) FROM request_logs") == [(2, 0)]


def feed(live, records):
    """Writes to the program's input until it dies."""
    def write():
        try:
            for at in range(0, len(records), 50):
                live.stdin.write("".join(text(rec) + "\n" for rec in records[at:at + 50]))
                live.stdin.flush()
                time.sleep(0.004)
            live.stdin.close()
        except BrokenPipeError:
            pass
        live.stdin = None  # communicate() would flush it

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_kills_of_the_program_and_of_the_server(db):
    rng = random.Random(7)
    users = db.users(30)
    end = time.monotonic() + 20
    for turn in range(1000):
        last = time.monotonic() > end
        live = db.start(db.spool(), SHIP_SEGMENT="65536")
        thread = feed(live, many(f"k{turn}", 1500, users, turn))
        if last:
            thread.join()
            out, _ = live.communicate(timeout=120)
            assert live.returncode == 0, out
            break
        time.sleep(rng.random() * 0.4)
        blow = turn % 4
        if blow == 1:
            db.postgres.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ship-live'",
                             "postgres")
        elif blow == 2:
            if turn % 8 == 2:
                alive = db.postgres.pids()
                db.postgres.kill()
                # Its processes see that soon, and until then a new server does not take the data.
                wait_until(lambda: not any(map(processes.is_alive, alive)), 30, "all of the server has ended")  # noqa: B023
            else:
                db.postgres.stop()
            db.postgres.start()
            db.postgres.wait_ready()
        time.sleep(rng.random() * 0.3)
        live.send_signal(signal.SIGKILL)
        thread.join()
        live.stdout.close()
        live.wait()
    assert turn >= 8
    records = [parse(line) for line in db.listed()]
    assert len(records) > 3000
    db.check(records)
    db.check_bandwidth(records)
    assert "position" in out and "end shipped" in out


def test_two_agents_over_the_same_users(db):
    users = db.users(200)
    lists = [many(name, 30000, users, seed) for seed, name in enumerate("ab")]
    before = db.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    results, threads = {}, []
    for number, records in enumerate(lists):
        threads.append(threading.Thread(target=lambda n=number, r=records: results.update(
            {n: db.ship(r, f"spool{n}", SHIP_SEGMENT="1000000")})))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[n][1]["shipped"] for n in (0, 1)] == ["30000", "30000"]
    assert db.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == before
    db.check(lists[0] + lists[1])
    db.check_bandwidth(lists[0] + lists[1])
    assert db.sql("SELECT count(*) FROM usage_positions") == [(2,)]


def test_records_that_are_bad(db):
    users = db.users(5)
    db.sql("ALTER TABLE request_logs ADD CONSTRAINT of_a_test CHECK (request_path <> '/bad')")
    good = many("good", 3000, users)
    bad = [record(f"bad{n}", users[0], path="/bad") for n in range(3)]
    texts = [text(rec) for rec in good]
    texts[700:700] = [text(bad[0]), text(bad[1]), "no record", "\t".join(good[0][:-1])]
    texts.append(text(bad[2]))
    out, end = db.ship(texts)
    assert (end["shipped"], end["quarantined"], end["oldest"]) == ("3000", "5", "0")
    db.check(good)
    db.check_bandwidth(good)
    path = os.path.join(db.spool(), "quarantine.usage")
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path, encoding="ascii") as file:
        lines = [line.rstrip("\n").split("\t", 2) for line in file]
    assert [(line[1], line[2]) for line in lines] == [
        (why, what) for why, what in sorted(
            [("form", "no record"), ("form", texts[703]), *(("23514", text(rec)) for rec in bad)],
            key=lambda entry: [line[2] for line in lines].index(entry[1]))]
    assert sum(int(line.split()[1]) for line in out if line.startswith("done")) == 3003
    # Once more from the beginning: nothing is new, and no line comes twice.
    db.sql("DELETE FROM usage_positions")
    out, end = db.ship([])
    assert (end["shipped"], end["duplicates"], end["quarantined"]) == ("3000", "3000", "0")
    with open(path, encoding="ascii") as file:
        assert len(file.readlines()) == 5
    db.check(good)


def test_a_refusal_that_is_not_of_the_records(db):
    users = db.users(2)
    db.sql("ALTER TABLE usage_monthly RENAME TO elsewhere")
    live = db.start(db.spool())
    thread = feed(live, many("r", 100, users))
    thread.join()
    time.sleep(1)
    assert live.poll() is None
    assert db.sql("SELECT count(*) FROM request_logs") == [(0,)]
    db.sql("ALTER TABLE elsewhere RENAME TO usage_monthly")
    out, _ = live.communicate(timeout=30)
    assert live.returncode == 0 and "quarantined=0" in out and "cannot ship records" in out, out
    db.check([parse(line) for line in db.listed()])


@pytest.mark.parametrize("how", ("committed", "refused", "lost"))
def test_what_comes_while_postgres_works_is_read_ahead(db, how):
    """Of what was read on top of a batch nothing is lost and nothing comes twice, whatever becomes of that batch."""
    users = db.users(20)
    db.sql("ALTER TABLE request_logs ADD CONSTRAINT of_a_test CHECK (request_path <> '/bad')")
    good = many("w", 20000, users)
    texts = [text(rec) for rec in good]
    texts.insert(300 if how == "refused" else 9000, text(record("bad", users[0], path="/bad")))
    texts.insert(12000, "no record")
    live = db.start(db.spool(), SHIP_SEGMENT="1000000")

    def write(some):
        live.stdin.write("".join(line + "\n" for line in some))
        live.stdin.flush()

    def waits():
        return db.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ship-live' "
                      "AND datname = current_database() AND wait_event_type = 'Lock'") == [(1,)]

    lock = psycopg2.connect(db.dsn, connect_timeout=10)
    try:
        lock.cursor().execute("LOCK TABLE usage_positions IN SHARE MODE" if how == "committed" else
                              "LOCK TABLE request_logs IN SHARE MODE")
        write(texts[:500])
        wait_until(waits, what="PostgreSQL works on the first batch")
        write(texts[500:])
        time.sleep(0.5)
        if how == "lost":
            db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ship-live'")
    finally:
        lock.close()
    out, _ = live.communicate(timeout=60)
    assert live.returncode == 0, out
    end = dict(word.split("=") for word in out.splitlines()[-1].split()[1:])
    assert (end["shipped"], end["duplicates"], end["quarantined"], end["oldest"]) == ("20000", "0", "2", "0"), out
    db.check(good)
    db.check_bandwidth(good)


def test_duplicates(db):
    users = db.users(3)
    first = many("d", 500, users)
    out, end = db.ship(first + first[100:200])
    assert (end["shipped"], end["duplicates"]) == ("600", "100")
    db.check(first)
    more = many("e", 100, users)
    out, end = db.ship(more + first[:50], "other")
    assert (end["shipped"], end["duplicates"]) == ("150", "50")
    again = record(first[0].id, first[0].user, start=int(first[0].start) + 1)
    db.ship([again])
    db.check(first + more + [again])
    db.check_bandwidth(first + more + [again])


def test_a_database_of_yesterday(db):
    """Restored from a backup: what came since is shipped again, as far as the spool has it."""
    users = db.users(3)
    first, second = many("f", 300, users, 1), many("g", 300, users, 2)
    db.ship(first)
    position = db.sql('SELECT agent, segment, "offset" FROM usage_positions')[0]
    db.ship(second)
    for table in ("request_logs", "usage_hourly", "usage_monthly", "quotas"):
        db.sql(f"DELETE FROM {table}")
    db.sql('UPDATE usage_positions SET segment = %s, "offset" = %s', position[1:])
    out, end = db.ship([])
    assert end["shipped"] == "300"
    db.check(second)
    # And one that knows a place that this spool has never had.
    db.sql("UPDATE usage_positions SET segment = segment + 1000000000")
    out, end = db.ship([])
    assert (end["shipped"], end["duplicates"]) == ("600", "300"), out
    db.check(first + second)


def test_what_waits_is_told_first(db):
    """In pieces, since it may be hours of records: the keeper's heart beats between them."""
    records = many("w", 3500, db.users(3))
    db.ship(records)
    db.sql("DELETE FROM usage_positions")
    out, end = db.ship([])
    words = [line.split() for line in out if line.split()[0] in ("position", "waiting", "turn", "taken", "done")]
    assert [word[0] for word in words[:8]] == ["position"] + ["waiting", "turn"] * 3 + ["waiting"]
    assert [int(word[1]) for word in words if word[0] == "waiting"] == [1000, 1000, 1000, 500]
    assert sum(int(word[2]) for word in words if word[0] == "waiting") == sum(int(rec.billed) for rec in records)
    assert [word[0] for word in words[8:] if word[0] != "turn"] == ["taken", "done"]
    assert end["duplicates"] == "3500"


def test_users_that_are_not_there(db):
    deleted, gone, soon, here = db.users(4)
    db.sql("UPDATE users SET deleted_at = now() WHERE id = %s", (deleted,))
    db.sql("DELETE FROM users WHERE id = %s", (gone,))
    records = [record(f"u{user}", user) for user in (deleted, gone, soon, here, 99999999)]
    db.ship(records)
    db.check(records)
    assert sorted(db.bandwidth()) == [soon, here]
    # One that is deleted while a batch is under way: the batch waits for it, and comes again.
    connection = psycopg2.connect(db.dsn)
    connection.cursor().execute("DELETE FROM users WHERE id = %s", (soon,))
    live = db.start(db.spool())
    last = record("last", soon)
    live.stdin.write(text(last) + "\n")
    live.stdin.close()
    wait_until(lambda: db.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ship-live' "
                              "AND datname = current_database() AND wait_event_type = 'Lock'") == [(1,)],
               what="the batch waits for the user")
    connection.commit()
    connection.close()
    assert live.wait(30) == 0
    assert "quarantined=0" in live.stdout.read()
    live.stdout.close()
    db.check(records + [last])
    assert sorted(db.bandwidth()) == [here]


def test_the_month_rule(db):
    """usage_month() and usage_month_end() say what spoa/policy/period.h says."""
    days = [datetime.datetime(2023, 12, 1, tzinfo=UTC) + datetime.timedelta(days=n) for n in range(500)]
    for day in (None, 1, 15, 28, 29, 30, 31):
        rows = db.sql("SELECT d, usage_month(d, %(day)s), usage_month(d - interval '1 ms', %(day)s), "
                      "usage_month_end(usage_month(d, %(day)s), %(day)s) FROM unnest(%(days)s::timestamptz[]) AS d",
                      {"day": day, "days": days})
        for when, month, before, end in rows:
            assert month == month_of(when, day)
            assert before == month_of(when - datetime.timedelta(milliseconds=1), day)
            assert end > when and month_of(end, day) == end.astimezone(UTC).date()
            assert month_of(end - datetime.timedelta(milliseconds=1), day) == month


def test_months_and_reset_days(db):
    plain, late, over, ahead, fresh = db.users(5)
    today = datetime.datetime.now(UTC).date()
    day = (today - datetime.timedelta(days=1)).day  # late's month has begun yesterday, or a few days before
    next_month = db.sql("SELECT usage_month_end(usage_month(now(), NULL), NULL)")[0][0]
    db.sql("INSERT INTO quotas (user_id, current_requests, current_bandwidth_bytes, warned_bandwidth, reset_at, reset_day) VALUES "
           "(%s, 5, 100, 80, %s, NULL), (%s, 5, 100, 80, usage_month_end(usage_month(now(), %s), %s), %s), "
           "(%s, 5, 100, 80, now() - interval '1 hour', NULL), (%s, 5, 100, 80, %s + interval '31 days', NULL)",
           (plain, next_month, late, day, day, day, over, ahead, next_month))
    old = now_ms() - 86400 * 1000 * 62
    records = []
    for user in (plain, late, over, ahead, fresh):
        records += [record(f"now{user}", user, billed=1 << 20), record(f"old{user}", user, start=old, billed=7)]
    db.ship(records)
    db.check(records, days={late: day})
    rows = db.sql("SELECT user_id, current_requests, current_bandwidth_bytes, current_bandwidth_mb, warned_bandwidth, reset_at "
                  "FROM quotas ORDER BY user_id")
    counts = {row[0]: row[1:5] for row in rows}
    assert counts[plain] == (5, (1 << 20) + 100, 1, 80)
    assert counts[late] == (5, (1 << 20) + 100, 1, 80)
    assert counts[over] == (0, 1 << 20, 1, 0), "the row's month is over: it begins anew"
    assert counts[ahead] == (5, (1 << 20) + 100, 1, 80), "as the additions of requests do it"
    assert counts[fresh] == (0, 1 << 20, 1, 0)
    ends = {row[0]: row[5] for row in rows}
    assert ends[plain] == ends[over] == ends[fresh] == next_month
    assert month_of(ends[late] - datetime.timedelta(seconds=1), day) == month_of(datetime.datetime.now(UTC), day)
    # A record of a month that is over counts only in usage_monthly.
    db.ship([record("older", plain, start=old + 1, billed=9)])
    assert db.bandwidth()[plain] == (1 << 20) + 100
    # Who writes only one of the two columns has both.
    db.sql("UPDATE quotas SET current_bandwidth_mb = 3 WHERE user_id = %s", (plain,))
    db.sql("UPDATE quotas SET current_bandwidth_bytes = 5 << 20 WHERE user_id = %s", (over,))
    assert [tuple(row) for row in db.sql("SELECT current_bandwidth_bytes >> 20, current_bandwidth_mb FROM quotas "
                                         "WHERE user_id IN (%s, %s) ORDER BY user_id", (plain, over))] == [(3, 3), (5, 5)]


def partitions(db):
    return {row[0] for row in db.sql("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'request_logs'::regclass")}


def named(days):
    return f"request_logs_{datetime.datetime.now(UTC).date() + datetime.timedelta(days=days):%Y%m%d}"


def test_partitions_are_made_and_dropped(db):
    user, = db.users(1)
    assert partitions(db) == {"request_logs_default"}
    db.sql("INSERT INTO request_logs (request_id, user_id, code, created_at) VALUES ('now', 1, 'allow', now()), "
           "('old', 1, 'allow', now() - interval '40 days'), ('kept', 1, 'allow', now() - interval '20 days')")
    for days in (-40, -31, -30):
        db.sql(f"CREATE TABLE {named(days)} PARTITION OF request_logs FOR VALUES FROM "
               f"(date_trunc('day', now(), 'UTC') + interval '{days} days') TO "
               f"(date_trunc('day', now(), 'UTC') + interval '{days + 1} days')" if days != -40 else "SELECT 1")
    # A month of an operator's own, three days ahead: those days need none.
    db.sql("CREATE TABLE own PARTITION OF request_logs FOR VALUES FROM (date_trunc('day', now(), 'UTC') + interval '3 days') "
           "TO (date_trunc('day', now(), 'UTC') + interval '30 days')")
    db.ship([record("new", user)], SHIP_RETENTION="30")
    assert partitions(db) == {"request_logs_default", "own", named(-30), named(0), named(1), named(2)}
    assert dict(db.sql("SELECT request_id, tableoid::regclass::text FROM request_logs")) == {
        "now": named(0), "new": named(0), "kept": "request_logs_default"}
    # Without its partition a record goes to the default one, and moves with the next opening.
    db.sql(f"DROP TABLE {named(0)}")
    live = db.start(db.spool())
    wait_until(lambda: named(0) in partitions(db), what="the partition is there again")
    db.sql(f"DROP TABLE {named(0)}")
    live.communicate(text(record("homeless", user)) + "\n", timeout=30)
    assert db.sql("SELECT tableoid::regclass::text FROM request_logs WHERE request_id = 'homeless'") == [
        ("request_logs_default",)]
    db.ship([record("next", user)])
    assert db.sql("SELECT tableoid::regclass::text FROM request_logs WHERE request_id = 'homeless'") == [(named(0),)]


def test_two_make_partitions_at_once(db):
    db.users(1)
    lives = [db.start(db.spool(f"spool{n}")) for n in range(4)]
    for n, live in enumerate(lives):
        out, _ = live.communicate(text(record(f"p{n}", 1)) + "\n", timeout=60)
        assert live.returncode == 0 and "cannot" not in out, out
    assert len(partitions(db)) == 9
    assert db.sql("SELECT count(*) FROM request_logs") == [(4,)]


def test_the_end_of_the_program_ships_what_is_there(db):
    users = db.users(2)
    live = db.start(db.spool())
    records = many("t", 200, users)
    live.stdin.write("".join(text(rec) + "\n" for rec in records))
    live.stdin.flush()
    wait_until(lambda: db.sql("SELECT count(*) FROM request_logs")[0][0] > 0, what="it ships")
    live.send_signal(signal.SIGTERM)
    out, _ = live.communicate(timeout=30)
    assert live.returncode == 0 and "finished" in out, out
    db.check(records)
