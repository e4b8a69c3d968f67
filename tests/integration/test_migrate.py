"""gatewayctl migrate: each on a database of its own."""

import json
import os
import subprocess

import psycopg2
import pytest

from helpers import ROOT, wait_until

FILES = sorted(name for name in os.listdir(os.path.join(ROOT, "migrations")) if name.endswith(".sql"))


class Database:
    """An empty database of the stack's PostgreSQL, and a folder of migrations that the test may change."""

    def __init__(self, stack):
        self.stack, self.name = stack, stack.unique("db").replace("-", "_")
        stack["postgres"].psql(f"CREATE DATABASE {self.name} OWNER gateway", "postgres")
        head, _, _ = stack.settings["DB_DSN"].rpartition("/")
        self.dsn = f"{head}/{self.name}"
        self.folder = stack.layout.folder(self.name, 0o755)
        for name in FILES:
            with open(os.path.join(ROOT, "migrations", name), encoding="utf-8") as file:
                self.write(name, file.read())

    def write(self, name, text):
        self.stack.layout.write(f"{self.name}/{name}", text, 0o644)

    def remove(self, name):
        os.unlink(os.path.join(self.folder, name))

    def command(self, *args):
        return ["--config", self.stack.config, "migrate", *args, "--dir", self.folder]

    def run(self, *args):
        return self.stack.run_program("gatewayctl", *self.command(*args), env={"DB_DSN": self.dsn})

    def json(self, *args):
        result = self.run(*args, "--json")
        assert result.rc == 0, result
        return json.loads(result.out)

    def tables(self):
        return self.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")

    def sql(self, query):
        return self.stack["postgres"].psql(query, self.name).split()


@pytest.fixture
def database(stack):
    own = Database(stack)
    yield own
    stack["postgres"].psql(f"DROP DATABASE {own.name} (FORCE)", "postgres")


def test_up_twice(database):
    first = database.json("up")
    assert first["version"] == len(FILES) >= 2
    assert [entry["name"] for entry in first["applied"]] == FILES
    assert [entry["version"] for entry in first["applied"]] == list(range(1, len(FILES) + 1))
    tables = database.tables()
    assert {"users", "api_keys", "backends", "rate_limits", "quotas", "ip_whitelist", "request_logs"} <= set(tables)
    assert database.json("up") == {"version": len(FILES), "applied": []}
    assert database.tables() == tables


def test_up_in_words(database):
    first, second = database.run("up"), database.run("up")
    assert (first.rc, first.err, second.rc) == (0, "", 0)
    assert all(f"applied {name}" in first.out for name in FILES)
    assert "applied" not in second.out and "up to date" in second.out


def test_status(database):
    before = database.json("status")
    assert (before["version"], before["latest"]) == (0, len(FILES))
    assert [entry["applied_at"] for entry in before["migrations"]] == [None] * len(FILES)
    assert database.tables() == [], "status changes nothing"
    database.json("up")
    after = database.json("status")
    assert after["version"] == after["latest"] == len(FILES)
    assert all(entry["applied_at"] for entry in after["migrations"])
    assert database.run("status").out.count("applied") >= len(FILES)


def test_a_new_file_is_applied_alone(database):
    database.json("up")
    number = len(FILES) + 1
    database.write(f"{number:03}_more.sql", "CREATE TABLE more (id bigint);\n")
    assert database.json("status")["version"] == number - 1
    assert [entry["version"] for entry in database.json("up")["applied"]] == [number]
    assert "more" in database.tables()


def test_a_changed_file_is_refused(database):
    database.json("up")
    tables = database.tables()
    database.write(FILES[0], open(os.path.join(ROOT, "migrations", FILES[0]), encoding="utf-8").read() + "\n-- more\n")
    database.write(f"{len(FILES) + 1:03}_more.sql", "CREATE TABLE more (id bigint);\n")
    for verb in ("up", "status"):
        result = database.run(verb)
        assert result.rc == 1 and FILES[0] in result.err and "chang" in result.err, result
    assert database.tables() == tables, "nothing is done before it is cleared up"


def test_a_missing_file_is_refused(database):
    database.json("up")
    database.remove(FILES[-1])
    result = database.run("up")
    assert result.rc == 1 and str(len(FILES)) in result.err, result


NEXT = len(FILES) + 1


@pytest.mark.parametrize("name, said", [
    (f"{NEXT + 1:03}_gap.sql", f"{NEXT}"), (f"{NEXT - 1:03}_zzz.sql", f"{NEXT - 1}"), (f"{NEXT}_short.sql", None),
    (f"{NEXT:03}-dash.sql", None), (f"{NEXT:03}_Upper.sql", None), ("x.sql", None),
])
def test_odd_files_are_refused_before_anything_is_done(database, name, said):
    database.write(name, "SELECT 1;\n")
    result = database.run("up")
    assert result.rc == 1 and (said or name) in result.err, result
    assert database.tables() == []


def test_a_file_that_fails_leaves_nothing_and_can_be_mended(database):
    name = f"{len(FILES) + 1:03}_broken.sql"
    database.write(name, "CREATE TABLE half (id bigint);\nSELECT 1 / 0;\nCREATE TABLE rest (id bigint);\n")
    result = database.run("up")
    assert result.rc == 1 and name in result.err and "division by zero" in result.err, result
    assert not {"half", "rest"} & set(database.tables())
    assert database.json("status")["version"] == len(FILES), "what ran before stays"
    database.write(name, "CREATE TABLE half (id bigint);\n")
    assert [entry["name"] for entry in database.json("up")["applied"]] == [name]


def test_two_runners_at_once(database):
    # Long enough that the second one surely comes while the first one runs: it is started when the first one has begun.
    name = f"{len(FILES) + 1:03}_slow.sql"
    database.write(name, "CREATE TABLE slow (id bigint);\nSELECT pg_sleep(1);\n")
    stack = database.stack

    def start():
        return subprocess.Popen(
            [stack.layout.program(stack.program("gatewayctl")), *database.command("up", "--json")], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**stack.base_environment(), "DB_DSN": database.dsn}, **stack.layout.account.popen_args())

    def active(count):
        return database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                            "AND application_name = 'gatewayctl'") == [str(count)]

    first = start()
    wait_until(lambda: active(1), what="the first runner is connected")
    others = [start() for _ in range(3)]
    wait_until(lambda: active(4), what="all are connected at once")
    applied = []
    for runner in (first, *others):
        out, err = runner.communicate(timeout=60)
        assert runner.returncode == 0, err
        applied += [entry["name"] for entry in json.loads(out)["applied"]]
    assert sorted(applied) == [*FILES, name]


def test_the_schemas_own_rules(stack):
    """What the tables refuse, whoever writes: a few that verdicts rest on."""
    user = stack.make_user()
    for statement in (
            "INSERT INTO users (username, email) VALUES ('123', 'a@example.invalid')",
            "INSERT INTO users (username, email) VALUES ('', 'a@example.invalid')",
            f"INSERT INTO users (username, email) VALUES ('{user.name}', 'other@example.invalid')",
            f"INSERT INTO api_keys (user_id, key_hash, scopes) VALUES ({user.id}, 'x', '{{everything}}')",
            f"INSERT INTO api_keys (user_id, key_hash, scopes) VALUES ({user.id}, 'x', '{{}}')",
            f"INSERT INTO api_keys (user_id, key_hash) VALUES ({user.id}, '')",
            "INSERT INTO api_keys (user_id, key_hash) VALUES (999999999, 'x')",
            "INSERT INTO backends (name, url, weight) VALUES ('b', 'http://a', 257)"):
        with pytest.raises(psycopg2.IntegrityError):
            stack.sql(statement)
