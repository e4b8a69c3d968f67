"""Users and keys by the hundred thousand, straight into PostgreSQL.

User n has the keys 2n-1 and 2n, limits, and a quota; every tenth user has a list of addresses. The hashes are random,
so that nobody knows the keys; those of the load are made here, as spoa/policy/key.h says, and known.
"""

import hashlib
import hmac
import random
import string
import zlib

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
# High enough that no run meets it: every rule is judged, none refuses.
PER_MINUTE, PER_HOUR, PER_MONTH = 1_000_000, 10_000_000, 1_000_000_000
LOAD_KEYS = 4000
KEYS_A_USER = 2
LISTED_EVERY = 10  # users that have an allow list


def key_text(key_id, secret):
    """igw_<id>_<secret>_<check digits>"""
    body = f"igw_{key_id}_{secret}"
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return f"{body}_{digits}"


def key_hash(text, pepper):
    """What api_keys.key_hash holds for a key."""
    return hmac.new(pepper.encode(), text.rpartition("_")[0].encode(), hashlib.sha256).hexdigest()


def make_keys(key_ids, seed=1):
    """Texts of keys by id; the same ones every time."""
    chance = random.Random(seed)
    return {key_id: key_text(key_id, "".join(chance.choices(BASE62, k=32))) for key_id in key_ids}


def user_of(key_id):
    return (key_id + KEYS_A_USER - 1) // KEYS_A_USER


def spread(count, total):
    """`count` different numbers of 1 to total at even distances: keys from all over the tables."""
    count = min(count, total)
    return [1 + index * total // count for index in range(count)]


def bulk_sql(users):
    """SQL for the superuser. Triggers are off: the one notification at the end is enough. The grammar of names takes
    longer than all the rest, and these names are known to fit."""
    return f"""
        SET session_replication_role = replica;
        ALTER TABLE users DROP CONSTRAINT users_username_grammar, DROP CONSTRAINT users_email_grammar;
        INSERT INTO users (id, username, email)
            SELECT n, 'bench' || n, 'bench' || n || '@example.invalid' FROM generate_series(1, {users}) AS n;
        ALTER TABLE api_keys DROP CONSTRAINT api_keys_key_hash_unique;
        INSERT INTO api_keys (id, user_id, key_hash)
            SELECT n, (n + {KEYS_A_USER - 1}) / {KEYS_A_USER}, md5('a' || n) || md5('b' || n)
            FROM generate_series(1, {users * KEYS_A_USER}) AS n;
        ALTER TABLE api_keys ADD CONSTRAINT api_keys_key_hash_unique UNIQUE (key_hash);
        INSERT INTO rate_limits (user_id, requests_per_minute, requests_per_hour)
            SELECT n, {PER_MINUTE}, {PER_HOUR} FROM generate_series(1, {users}) AS n;
        INSERT INTO quotas (user_id, monthly_requests, monthly_bandwidth_mb)
            SELECT n, {PER_MONTH}, {PER_MONTH} FROM generate_series(1, {users}) AS n;
        INSERT INTO ip_whitelist (user_id, ip_cidr)
            SELECT n, cidr FROM generate_series({LISTED_EVERY}, {users}, {LISTED_EVERY}) AS n,
                 unnest('{{127.0.0.0/8,10.0.0.0/8}}'::cidr[]) AS cidr;
        SELECT setval(pg_get_serial_sequence('users', 'id'), {users}),
            setval(pg_get_serial_sequence('api_keys', 'id'), {users * KEYS_A_USER});
        UPDATE policy_generation SET generation = generation + 1, stamp = gen_random_uuid();
        RESET session_replication_role;
        ANALYZE;"""


def keys_sql(keys, pepper):
    """SQL that makes these keys (text by id) the real ones, and gives their users an allow list with this machine."""
    hashes = "\n".join(f"{key_id}\t{key_hash(text, pepper)}" for key_id, text in keys.items())
    return f"""
        SET session_replication_role = replica;
        CREATE TEMPORARY TABLE known (id bigint PRIMARY KEY, hash text);
        COPY known FROM STDIN;
{hashes}
\\.
        UPDATE api_keys SET key_hash = hash FROM known WHERE known.id = api_keys.id;
        INSERT INTO ip_whitelist (user_id, ip_cidr)
            SELECT DISTINCT api_keys.user_id, cidr
            FROM known JOIN api_keys USING (id), unnest('{{127.0.0.0/8,10.0.0.0/8}}'::cidr[]) AS cidr
            ON CONFLICT DO NOTHING;
        UPDATE policy_generation SET generation = generation + 1, stamp = gen_random_uuid();"""


def fill(stack, users, keys):
    """Before the agent starts: everything, with `keys` known to the caller."""
    stack.psql(bulk_sql(users))
    stack.psql(keys_sql(keys, stack.settings["AUTH_KEY_PEPPER"]))


def request_lines(keys):
    """The load's requests, in an order that has nothing to do with that of the tables."""
    texts = list(keys.values())
    random.Random(2).shuffle(texts)
    return "".join(f"/img/unsafe/rs:fill:300:200/plain/local:///photo{n % 97}.jpg {text}\n"
                   for n, text in enumerate(texts))
