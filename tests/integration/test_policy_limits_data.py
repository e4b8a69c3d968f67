"""Limits, quotas and allow lists on their way from PostgreSQL to policy.mdb: what moves the generation, and what the
record of the user says afterwards. The records are read from the file, as a verdict reads them."""

import collections
import ipaddress
import os
import struct

import lmdb
import psycopg2
import pytest

from helpers import wait_until

# spoa/policy/record.h, in the order of this host; a CIDR set: spoa/base/cidr.h.
LAYOUT = 2
USER = struct.Struct("=BBBBIQQQQQ")
KEY_HEAD = struct.Struct("=BB")
KEY_ACTIVE = 1
DEFAULT = 2**64 - 1
MB = 2**20
ACTIVE, SHADOW_MINUTE, SHADOW_HOUR, SHADOW_REQUESTS, SHADOW_BANDWIDTH = 1, 2, 4, 8, 16

Record = collections.namedtuple("Record", "flags reset_day minute hour burst requests bytes allow")
BARE = Record(ACTIVE, 0, DEFAULT, DEFAULT, 0, DEFAULT, DEFAULT, [])


def blocks(data):
    """The blocks of a set, as texts."""
    if not data:
        return []
    v4, v6 = struct.unpack_from("=II", data)
    assert len(data) == 8 + v4 * 5 + v6 * 17
    found, at = [], 8
    for count, size in ((v4, 4), (v6, 16)):
        for _ in range(count):
            found.append(f"{ipaddress.ip_address(data[at:at + size])}/{data[at + size]}")
            at += size + 1
    return found


class Policy:
    """policy.mdb of a stack."""

    def __init__(self, stack):
        self.path = os.path.join(stack.settings["AGENT_STATE_DIR"], "policy.mdb")

    def get(self, table, ids):
        """The bytes of these records; None for one that is not there."""
        with lmdb.open(self.path, subdir=False, readonly=True, lock=False, max_dbs=8, map_size=8 << 30) as env:
            database = env.open_db(table, integerkey=True, create=False)
            with env.begin(database) as txn:
                return [bytes(value) if (value := txn.get(struct.pack("=Q", each))) else None for each in ids]

    def user(self, user):
        data = self.get(b"users", [user.id])[0]
        if data is None:
            return None
        version, flags, reset_day, _, allow, minute, hour, burst, requests, size = USER.unpack_from(data)
        assert version == LAYOUT and len(data) == USER.size + allow
        return Record(flags, reset_day, minute, hour, burst, requests, size, blocks(data[USER.size:]))


@pytest.fixture
def policy(stack):
    return Policy(stack)


@pytest.fixture
def user(stack, db):
    """With a row in each of the three tables."""
    user = stack.make_user()
    run(db, "INSERT INTO rate_limits (user_id, requests_per_minute, requests_per_hour) VALUES (%s, NULL, NULL)",
        user.id)
    run(db, "INSERT INTO quotas (user_id, monthly_requests, monthly_bandwidth_mb) VALUES (%s, 5, NULL)", user.id)
    run(db, "INSERT INTO ip_whitelist (user_id, ip_cidr) VALUES (%s, '10.0.0.0/8')", user.id)
    stack.settle()
    return user


def run(db, query, *args):
    with db.cursor() as cursor:
        cursor.execute(query, args)
        return cursor.fetchall() if cursor.description else []


def generation(db):
    return run(db, "SELECT generation FROM policy_generation")[0][0]


def loads(stack):
    """Full loads that the agent told of."""
    return sum(text.count("policy: loaded:") for text in stack.logs().values())


# ---- what moves the generation ---------------------------------------------------------------------------------------


def test_user_without_rows(stack, policy):
    user = stack.make_user()
    stack.settle()
    assert policy.user(user) == BARE


@pytest.mark.parametrize("change, wanted", [
    ("UPDATE rate_limits SET requests_per_minute = 60", {"minute": 60}),
    ("UPDATE rate_limits SET requests_per_minute = 0", {"minute": 0}),
    ("UPDATE rate_limits SET requests_per_hour = 1000000000", {"hour": 10**9}),
    ("UPDATE rate_limits SET burst = 7", {"burst": 7}),
    ("UPDATE rate_limits SET shadow_minute = true", {"flags": ACTIVE | SHADOW_MINUTE}),
    ("UPDATE rate_limits SET shadow_hour = true", {"flags": ACTIVE | SHADOW_HOUR}),
    ("UPDATE quotas SET monthly_requests = NULL", {"requests": DEFAULT}),
    ("UPDATE quotas SET monthly_requests = 1000000000000000", {"requests": 10**15}),
    ("UPDATE quotas SET monthly_bandwidth_mb = 3", {"bytes": 3 * MB}),
    ("UPDATE quotas SET monthly_bandwidth_mb = 8796093022207", {"bytes": 8796093022207 * MB}),
    ("UPDATE quotas SET reset_day = 31", {"reset_day": 31}),
    ("UPDATE quotas SET shadow_requests = true", {"flags": ACTIVE | SHADOW_REQUESTS}),
    ("UPDATE quotas SET shadow_bandwidth = true", {"flags": ACTIVE | SHADOW_BANDWIDTH}),
    ("UPDATE ip_whitelist SET ip_cidr = '2001:db8::/32'", {"allow": ["2001:db8::/32"]}),
    ("DELETE FROM ip_whitelist", {"allow": []}),
    ("DELETE FROM quotas", {"requests": DEFAULT}),
    ("DELETE FROM rate_limits", {}),
])
def test_each_column_of_the_policy(stack, db, policy, user, change, wanted):
    base = BARE._replace(requests=5, allow=["10.0.0.0/8"])
    assert policy.user(user) == base
    before = generation(db)
    run(db, f"{change} WHERE user_id = %s", user.id)
    assert generation(db) == before + 1
    stack.settle()
    assert policy.user(user) == base._replace(**wanted)


@pytest.mark.parametrize("change", [
    "UPDATE quotas SET current_requests = current_requests + 1, current_bandwidth_mb = 7 WHERE user_id = %(user)s",
    "UPDATE quotas SET warned_requests = 80, warned_bandwidth = 100 WHERE user_id = %(user)s",
    "UPDATE quotas SET reset_at = now() + interval '1 day', updated_at = now() WHERE user_id = %(user)s",
    "UPDATE quotas SET storage_mb = 5 WHERE user_id = %(user)s",
    "UPDATE quotas SET monthly_requests = monthly_requests, reset_day = reset_day WHERE user_id = %(user)s",
    "UPDATE rate_limits SET updated_at = now() WHERE user_id = %(user)s",
    "UPDATE rate_limits SET burst = burst WHERE user_id = %(user)s",
    "UPDATE ip_whitelist SET description = 'office', created_at = now() WHERE user_id = %(user)s",
    "UPDATE api_keys SET last_used_at = now() WHERE user_id = %(user)s",
    "UPDATE backends SET is_healthy = NOT is_healthy, last_health_check = now()",
    "DELETE FROM ip_whitelist WHERE user_id = -1",
    "INSERT INTO quotas (user_id, monthly_requests, monthly_bandwidth_mb, current_requests)"
    " VALUES (%(bare)s, NULL, NULL, 9)",
])
def test_what_no_verdict_reads(stack, db, user, change):
    stack.make_key(user)
    bare = stack.make_user()
    before = generation(db)
    with db.cursor() as cursor:
        cursor.execute(change, {"user": user.id, "bare": bare.id})
    assert generation(db) == before


def test_counters_do_not_wait_for_a_change(stack, db, user):
    """The row of the generation is locked by whoever changes the policy, until the commit: counters never need it."""
    other = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    try:
        run(other, "UPDATE rate_limits SET burst = 3 WHERE user_id = %s", user.id)
        run(db, "SET lock_timeout = '2s'")
        run(db, "UPDATE quotas SET current_requests = current_requests + 1 WHERE user_id = %s", user.id)
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            run(db, "UPDATE quotas SET monthly_requests = 6 WHERE user_id = %s", user.id)
    finally:
        other.close()


@pytest.mark.parametrize("table", ["rate_limits", "quotas", "ip_whitelist"])
def test_truncate(stack, db, policy, user, table):
    """Everything is read anew; what others had in the table is put back."""
    db.autocommit = False
    run(db, f"CREATE TEMP TABLE saved ON COMMIT PRESERVE ROWS AS SELECT * FROM {table} WHERE user_id <> %s", user.id)
    before = generation(db)
    run(db, "UPDATE rate_limits SET burst = 3 WHERE user_id = %s", user.id)
    run(db, f"TRUNCATE {table}")
    assert generation(db) == before + 2
    db.commit()
    stack.settle()
    try:
        wanted = BARE._replace(burst=3, requests=5, allow=["10.0.0.0/8"])
        gone = {"rate_limits": {"burst": 0}, "quotas": {"requests": DEFAULT}, "ip_whitelist": {"allow": []}}[table]
        assert policy.user(user) == wanted._replace(**gone)
    finally:
        run(db, f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM saved")
        db.commit()
    stack.settle()


# ---- whole users -----------------------------------------------------------------------------------------------------


def test_rows_at_once(stack, db, policy, user):
    """One transaction over all tables: the record is that of the end."""
    db.autocommit = False
    run(db, "UPDATE rate_limits SET requests_per_minute = 10, burst = 20, shadow_hour = true WHERE user_id = %s",
        user.id)
    run(db, "UPDATE quotas SET reset_day = 15, shadow_bandwidth = true WHERE user_id = %s", user.id)
    run(db, "UPDATE users SET is_active = false WHERE id = %s", user.id)
    run(db, "INSERT INTO ip_whitelist (user_id, ip_cidr) SELECT %s, unnest(%s::cidr[])", user.id,
        ["10.1.0.0/16", "192.0.2.7", "::/0", "::ffff:198.51.100.0/120"])
    db.commit()
    stack.settle()
    assert policy.user(user) == Record(SHADOW_HOUR | SHADOW_BANDWIDTH, 15, 10, DEFAULT, 20, 5, DEFAULT,
                                       ["10.0.0.0/8", "192.0.2.7/32", "198.51.100.0/24", "::/0"])


def test_row_moves_to_another_user(stack, db, policy, user):
    """Both are read again."""
    other = stack.make_user()
    run(db, "UPDATE ip_whitelist SET user_id = %s WHERE user_id = %s", other.id, user.id)
    stack.settle()
    assert policy.user(user).allow == []
    assert policy.user(other).allow == ["10.0.0.0/8"]


def test_deleted_users(stack, db, policy, user):
    hard = stack.make_user()
    run(db, "INSERT INTO rate_limits (user_id) VALUES (%s)", hard.id)
    run(db, "DELETE FROM users WHERE id = %s", hard.id)
    run(db, "UPDATE users SET deleted_at = now() WHERE id = %s", user.id)
    run(db, "UPDATE quotas SET monthly_requests = 6 WHERE user_id = %s", user.id)
    stack.settle()
    assert policy.user(hard) is None and policy.user(user) is None


def test_long_allow_list(stack, db, policy, user):
    """Thousands of blocks by notification, and again by a full load; then it shrinks."""
    count = 6000
    run(db, "DELETE FROM ip_whitelist WHERE user_id = %s", user.id)
    run(db, "INSERT INTO ip_whitelist (user_id, ip_cidr)"
            " SELECT %s, set_masklen('10.0.0.0'::inet + i * 512, 24)::cidr FROM generate_series(0, %s) AS i",
        user.id, count - 1)
    stack.settle()
    wanted = [f"{ipaddress.ip_address('10.0.0.0') + i * 512}/24" for i in range(count)]
    assert policy.user(user).allow == wanted
    before = loads(stack)
    run(db, "SELECT policy_changed('users', NULL)")
    stack.settle()
    wait_until(lambda: loads(stack) > before, what="everything is read")
    assert policy.user(user).allow == wanted
    run(db, "DELETE FROM ip_whitelist WHERE user_id = %s AND ip_cidr <> '10.0.2.0/24'", user.id)
    stack.settle()
    assert policy.user(user).allow == ["10.0.2.0/24"]


# ---- many rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [100, 101, 2345, 10001])
def test_statement_with_many_users(stack, db, policy, count):
    """Up to 10,000 users are named, 100 by each notification with a generation of its own; more are read with
    everything else."""
    name = stack.unique("many")
    ids = [each[0] for each in run(
        db, "INSERT INTO users (username, email) SELECT n, n || '@example.invalid' FROM"
            " (SELECT %s || '-' || i AS n FROM generate_series(1, %s) i) AS names RETURNING id", name, count)]
    stack.settle()
    before, generation = loads(stack), run(db, "SELECT generation FROM policy_generation")[0][0]
    run(db, "INSERT INTO rate_limits (user_id, requests_per_minute) SELECT unnest(%s::bigint[]), 77", ids)
    stack.settle()
    records = policy.get(b"users", ids)
    assert len(records) == count and {USER.unpack_from(each)[5] for each in records} == {77}
    assert loads(stack) - before == (1 if count > 10000 else 0)
    steps = 1 if count > 10000 else -(-count // 100)
    assert run(db, "SELECT generation FROM policy_generation")[0][0] == generation + steps
    run(db, "UPDATE users SET deleted_at = now() WHERE id = ANY (%s)", ids)


def test_burst(stack, db, policy, user):
    """10,000 statements in one transaction, and as many rows: read together, and not with everything."""
    count = 10000
    key = stack.make_key(user)
    ids = [each[0] for each in run(
        db, "INSERT INTO api_keys (user_id, key_hash) SELECT %s, encode(sha256((%s || '-' || i)::bytea), 'hex')"
            " FROM generate_series(1, %s) i RETURNING id", user.id, str(key.id), count)]
    stack.settle()
    before = loads(stack), generation(db)
    run(db, "DO $$ DECLARE k bigint; BEGIN FOR k IN SELECT id FROM api_keys WHERE id BETWEEN"
            f" {min(ids)} AND {max(ids)} LOOP UPDATE api_keys SET is_active = false WHERE id = k; END LOOP; END $$")
    assert generation(db) == before[1] + count
    stack.settle(60)
    assert {KEY_HEAD.unpack_from(each)[1] & KEY_ACTIVE for each in policy.get(b"keys", ids)} == {0}
    assert loads(stack) == before[0]
    run(db, "DELETE FROM api_keys WHERE id = ANY (%s)", ids)
    stack.settle()
    assert policy.get(b"keys", ids) == [None] * count
