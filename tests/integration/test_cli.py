"""gatewayctl: users and keys, exit codes, JSON, and what must never be written down anywhere."""

import datetime
import hashlib
import hmac
import json
import os
import re
import subprocess

import pytest

from helpers import wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_user_add_show_list(stack):
    name = stack.unique("user")
    made = stack.done("user", "add", name, "--email", f"{name}@example.invalid")
    assert (made["username"], made["email"], made["is_active"]) == (name, f"{name}@example.invalid", True)
    assert isinstance(made["id"], int) and TIME.fullmatch(made["created_at"])
    for who in (name, made["id"]):
        shown = stack.done("user", "show", who)
        assert shown["id"] == made["id"] and shown["keys"] == []
    assert [user["username"] for user in stack.done("user", "list") if user["id"] == made["id"]] == [name]


def test_users_without_json(stack):
    name = stack.unique("user")
    result = stack.gatewayctl("user", "add", name, "--email", f"{name}@example.invalid")
    assert (result.rc, result.err) == (0, "") and name in result.out
    head, *rows = stack.gatewayctl("user", "list").out.splitlines()
    assert head.split() == ["ID", "USERNAME", "EMAIL", "ACTIVE", "CREATED"]
    assert [row.split()[3] for row in rows if row.split()[1] == name] == ["yes"]


def test_disable_enable_delete(stack):
    key = stack.make_key(settle=False)
    name = key.user.name
    assert stack.done("user", "disable", name)["is_active"] is False
    assert stack.done("user", "disable", name)["is_active"] is False
    assert stack.done("user", "enable", name)["is_active"] is True
    stack.done("user", "delete", name)
    assert name not in [user["username"] for user in stack.done("user", "list")]
    assert stack.sql("SELECT deleted_at IS NOT NULL FROM users WHERE id = %s", (key.user.id,)) == [(True,)]
    assert stack.sql("SELECT revoked_at IS NOT NULL FROM api_keys WHERE id = %s", (key.id,)) == [(True,)]
    for verb in ("enable", "disable", "delete"):
        assert stack.gatewayctl("user", verb, key.user.id).rc == 1


def test_keys(stack):
    user = stack.make_user()
    made = stack.done("key", "create", user.name, "--name", "a phone", "--scopes", "upload,read", "--expires", "30d")
    assert made["key"].startswith(f"igw_{made['id']}_")
    assert (made["name"], made["state"], made["user"], made["user_id"]) == ("a phone", "active", user.name, user.id)
    assert sorted(made["scopes"]) == ["read", "upload"]
    expires = datetime.datetime.fromisoformat(made["expires_at"].replace("Z", "+00:00"))
    left = expires - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=29, hours=23) < left <= datetime.timedelta(days=30, minutes=1)
    plain = stack.done("key", "create", user.id)
    assert sorted(plain["scopes"]) == ["read", "upload"] and plain["expires_at"] is None
    listed = stack.done("key", "list", user.name)
    assert [key["id"] for key in listed] == [made["id"], plain["id"]]
    assert all("key" not in key and "key_hash" not in key for key in listed)
    revoked = stack.done("key", "revoke", made["id"])
    assert revoked["state"] == "revoked" and TIME.fullmatch(revoked["revoked_at"])
    assert stack.done("key", "revoke", made["id"])["revoked_at"] == revoked["revoked_at"]
    assert [key["state"] for key in stack.done("user", "show", user.name)["keys"]] == ["revoked", "active"]
    assert {key["id"] for key in stack.done("key", "list")} >= {made["id"], plain["id"]}


def test_a_key_is_shown_once_and_stored_as_a_hash(stack):
    user = stack.make_user()
    result = stack.gatewayctl("key", "create", user.name)
    text = re.search(r"igw_\d+_\w{32}_\w{6}", result.out)[0]
    number, secret = text.split("_")[1:3]
    body = text.rpartition("_")[0].encode()
    pepper = stack.settings["AUTH_KEY_PEPPER"].encode()
    assert stack.sql("SELECT key_hash FROM api_keys WHERE id = %s", (number,)) == [
        (hmac.new(pepper, body, hashlib.sha256).hexdigest(),)]
    for args in (("key", "list"), ("key", "list", "--json"), ("user", "show", user.name), ("user", "show", user.name, "--json")):
        assert secret not in str(stack.gatewayctl(*args))
    tables = stack.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert len(tables) >= 7
    for (table,) in tables:
        found = stack.sql(f'SELECT count(*) FROM "{table}" AS t WHERE t::text LIKE %s', (f"%{secret}%",))
        assert found == [(0,)], table


# What is refused with a reason: exit code 1.
REFUSED = [
    ("user", "show", "nobody-at-all"), ("user", "show", "999999999"), ("user", "disable", "nobody-at-all"),
    ("user", "add", "12345", "--email", "a@example.invalid"), ("user", "add", "", "--email", "a@example.invalid"),
    ("user", "add", "a b", "--email", "a@example.invalid"), ("user", "add", "../etc", "--email", "a@example.invalid"),
    ("user", "add", "fine-name", "--email", "nonsense"), ("user", "add", "x" * 300, "--email", "a@example.invalid"),
    ("user", "add", "'; DROP TABLE users; --", "--email", "a@example.invalid"),
    ("key", "create", "nobody-at-all"), ("key", "create", "demo", "--scopes", "everything"),
    ("key", "create", "demo", "--scopes", ""), ("key", "create", "demo", "--scopes", "read,read"),
    ("key", "create", "demo", "--expires", "0d"), ("key", "create", "demo", "--expires", "soon"),
    ("key", "create", "demo", "--expires", "-1d"), ("key", "create", "demo", "--expires", "30"),
    ("key", "create", "demo", "--expires", "99999999d"), ("key", "revoke", "999999999"), ("key", "revoke", "x"),
    ("key", "revoke", "1x"), ("key", "list", "nobody-at-all"), ("migrate", "up", "--dir", "/nonexistent"),
]
# What is no command line: exit code 2.
USAGE = [
    (), ("nonsense",), ("user",), ("user", "nonsense"), ("user", "add"), ("user", "add", "name"), ("user", "add", "name", "--email"),
    ("user", "list", "more"), ("user", "list", "--nonsense"), ("key", "create"), ("key", "revoke"), ("key", "revoke", "1", "2"),
    ("user", "list", "--scopes", "read"), ("key", "create", "demo", "--name", "a", "--name", "b"), ("--nonsense",),
]


@pytest.mark.parametrize("args", REFUSED, ids=" ".join)
def test_refused_with_a_reason(stack, args):
    before = stack.sql("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM api_keys)")
    result = stack.gatewayctl(*args)
    assert (result.rc, result.out) == (1, ""), result
    assert result.err.startswith("gatewayctl: ") and len(result.err) > 20
    told = stack.gatewayctl(*args, "--json")
    assert told.rc == 1 and told.out == "" and set(one_line_of_json(told.err)) == {"error"}
    assert stack.sql("SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM api_keys)") == before


def one_line_of_json(text):
    assert text.count("\n") == 1
    return json.loads(text)


@pytest.mark.parametrize("args", USAGE, ids=lambda args: " ".join(args) or "nothing")
def test_wrong_usage(stack, args):
    result = stack.gatewayctl(*args)
    assert (result.rc, result.out) == (2, ""), result
    assert "--help" in result.err


def test_a_name_twice_is_refused(stack):
    user = stack.make_user()
    result = stack.gatewayctl("user", "add", user.name, "--email", "other@example.invalid")
    assert result.rc == 1 and "name exists already" in result.err
    result = stack.gatewayctl("user", "add", stack.unique(), "--email", f"{user.name}@EXAMPLE.invalid")
    assert result.rc == 1 and "belongs to another user" in result.err


def test_a_key_for_a_deleted_user_is_refused(stack):
    user = stack.make_user()
    stack.done("user", "delete", user.name)
    for who in (user.name, user.id):
        assert stack.gatewayctl("key", "create", who).rc == 1


def test_a_whole_key_given_for_its_id_is_not_repeated(stack, owner):
    result = stack.gatewayctl("key", "revoke", owner.key)
    assert result.rc == 1 and owner.key not in result.err


def test_a_database_that_is_not_there(stack):
    secret = "correct-horse-battery"
    result = stack.run_program("gatewayctl", "--config", stack.config, "user", "list", env={
        "DB_DSN": f"postgres://gateway:{secret}@127.0.0.1:1/nothing"})
    assert result.rc == 1 and result.err.startswith("gatewayctl: database") and secret not in result.err


@pytest.mark.parametrize("program", ["gateway-agent", "gateway-api", "gatewayctl"])
def test_version_and_help(stack, program):
    version = stack.run_program(program, "--version")
    assert version.rc == 0 and re.fullmatch(program + r" \d+\.\d+\.\d+\n", version.out)
    shown = stack.run_program(program, "--help")
    assert (shown.rc, shown.err) == (0, "")
    for option in ("--config", "--check-config", "--version", "--help"):
        assert option in shown.out
    wrong = stack.run_program(program, "--nonsense")
    assert wrong.rc == 2 and "nonsense" in wrong.err and wrong.out == ""


def test_the_help_names_every_command(stack):
    text = stack.run_program("gatewayctl", "--help").out
    for command in ("migrate up", "migrate status", "user add", "user list", "user show", "user enable", "user disable",
                    "user delete", "key create", "key list", "key revoke", "key rotate", "config show", "limit set", "limit show",
                    "quota set", "quota show", "source add", "source list", "source remove", "image set", "image show",
                    "--signing", "allow add", "allow list", "allow remove", "usage USER", "reconcile", "--fix"):
        assert command in text, command


def test_an_answer_that_cannot_be_written_is_no_success(stack):
    """A key that nobody saw is lost: a full disk must not look like success."""
    user = stack.make_user()
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([stack.layout.program(stack.program("gatewayctl")), "--config", stack.config, "key", "create",
                               user.name], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                              env=stack.base_environment(), **stack.layout.account.popen_args())
    assert done.returncode == 1 and "cannot be written" in done.stderr


# ---- secrets ----------------------------------------------------------------------------------------------------------

def secrets_of(stack, *keys):
    found = {name: stack.settings[name] for name in ("AUTH_KEY_PEPPER", "AUTH_MASTER_KEY", "API_TOKEN", "IMGPROXY_KEY", "IMGPROXY_SALT")}
    found["password of the database"] = stack["postgres"].password
    for key in keys:
        found[f"secret of key {key.split('_')[1]}"] = key.split("_")[2]
    assert all(len(text) >= 32 for text in found.values())
    return found


def command_lines(stack):
    found = {}
    for part in stack.parts.values():
        for pid in part.pids():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found[f"{part.name} {pid}"] = file.read().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass  # it has just ended
    return found


def test_no_secret_in_logs_and_command_lines(fresh_stack, small_jpeg):
    """With everything logged that can be: at the level debug, and after failures of many kinds."""
    stack = fresh_stack({"LOG_LEVEL": "debug"})
    key = stack.make_key()
    stack.uploaded(key, small_jpeg)
    stack.upload(key, b"no image")
    stack.get("/img/unsafe/plain/local:///a.jpg", key.key[:-1] + "!")
    stack.get("/img/unsafe/plain/local:///a.jpg?key=" + key.key, key)
    stack.get("/api/v1/upload", key, [("Authorization", "Bearer " + key.key), ("Cookie", key.key)])
    stack.gatewayctl("key", "create", key.user.name, "--scopes", "nonsense")
    before = command_lines(stack)
    stack["api"].stop()
    stack.upload(key, small_jpeg)
    stack["agent"].reload()
    stack["postgres"].restart()
    wait_until(lambda: stack.metrics().get("gateway_postgres_up") == 1, 20, "the keeper is connected again")
    stack["agent"].restart()
    logs, lines = stack.logs(), {**before, **command_lines(stack)}
    assert {"agent.log", "postgres.log", "haproxy.log", "api.log"} <= set(logs) and all(logs[name] for name in ("agent.log", "api.log"))
    assert len(lines) >= 10, lines
    for what, text in secrets_of(stack, key.key, stack.api_key, stack.admin_key).items():
        for name, content in {**logs, **lines}.items():
            assert text not in content, f"{what} stands in {name}"


def test_no_part_runs_as_root(stack):
    for part in stack.parts.values():
        for pid in part.pids():
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                uids = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)", file.read(), re.MULTILINE).groups()
            assert set(uids) == {str(stack.layout.account.uid)} and uids[0] != "0", part.name


def test_private_files_are_private(stack):
    for path in (stack.config, stack.layout.path("stack/secrets.json"), stack.layout.path("stack/demo.json")):
        assert os.stat(path).st_mode & 0o077 == 0, path
