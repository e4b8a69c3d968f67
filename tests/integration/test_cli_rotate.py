"""gatewayctl key rotate: a new key for an old one, at once or with a time in which both pass."""

import datetime
import subprocess

import psycopg2
import pytest

from helpers import wait_until

UTC = datetime.timezone.utc
COLUMNS = ("SELECT user_id, name, scopes, expires_at, is_active, revoked_at, replaced_by FROM api_keys WHERE id = %s")


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def from_now(text):
    return (moment(text) - datetime.datetime.now(UTC)).total_seconds()


def listed(stack, key_id):
    return next(key for key in stack.done("key", "list") if key["id"] == key_id)


def test_at_once(stack, owner):
    old = stack.make_key(scopes="upload", expires="30d", settle=False)
    made = stack.done("key", "rotate", old.id)
    assert set(made) == set(listed(stack, old.id)) | {"key", "replaces", "old_expires_at"}
    assert made["key"].startswith(f"igw_{made['id']}_") and made["key"] != old.key and made["id"] != old.id
    assert (made["replaces"], made["old_expires_at"], made["state"], made["replaced_by"]) == (old.id, None, "active", None)
    assert (made["user"], made["user_id"], made["scopes"]) == (old.user.name, old.user.id, ["upload"])
    assert 29.9 * 86400 < from_now(made["expires_at"]) <= 30 * 86400
    before = listed(stack, old.id)
    assert (before["state"], before["is_active"], before["replaced_by"]) == ("revoked", False, made["id"])
    assert before["expires_at"] == made["expires_at"] and before["revoked_at"] is not None
    stack.settle()
    assert stack.request("GET", "/img/unsafe/plain/local:///a.jpg", old.key).json()["code"] == "key_revoked"
    assert stack.request("GET", "/img/unsafe/plain/local:///a.jpg", made["key"]).json()["code"] == "scope_missing"


def test_with_grace_both_pass(stack):
    user = stack.make_user()
    old = stack.done("key", "create", user.name, "--name", "a phone", "--scopes", "read")
    made = stack.done("key", "rotate", old["id"], "--grace", "24h")
    assert (made["name"], made["scopes"], made["expires_at"], made["replaces"]) == ("a phone", ["read"], None, old["id"])
    assert 86000 < from_now(made["old_expires_at"]) <= 86400
    before = listed(stack, old["id"])
    assert (before["state"], before["is_active"], before["replaced_by"], before["revoked_at"]) == ("rotated", True, made["id"], None)
    assert before["expires_at"] == made["old_expires_at"]
    stack.settle()
    for key in (old["key"], made["key"]):
        assert stack.get("/img/unsafe/plain/local:///a.jpg", key).json()["code"] == "not_found"
    # The old one can still be revoked, and ends by itself.
    stack.sql("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = %s", (old["id"],))
    assert listed(stack, old["id"])["state"] == "expired"
    assert stack.done("key", "revoke", old["id"])["state"] == "revoked"
    assert listed(stack, made["id"])["state"] == "active"


def test_grace_does_not_lengthen_a_key(stack):
    old = stack.make_key(expires="2h", settle=False)
    until = stack.sql(COLUMNS, (old.id,))[0][3]
    made = stack.done("key", "rotate", old.id, "--grace", "1d")
    assert stack.sql(COLUMNS, (old.id,))[0][3] == until
    assert stack.sql(COLUMNS, (made["id"],))[0][3] == until
    assert made["old_expires_at"] == made["expires_at"]
    # And the new one does not get the short time of the old one.
    again = stack.done("key", "rotate", made["id"], "--grace", "90s")
    assert 0 < from_now(again["old_expires_at"]) <= 90 and again["expires_at"] == made["expires_at"]


def test_no_grace_in_words(stack):
    old = stack.make_key(settle=False)
    assert stack.done("key", "rotate", old.id, "--grace", "0s")["old_expires_at"] is None
    assert listed(stack, old.id)["state"] == "revoked"


def test_for_people(stack):
    old = stack.make_key(settle=False)
    result = stack.gatewayctl("key", "rotate", old.id, "--grace", "1h")
    first, second, key = result.out.splitlines()
    assert (result.rc, result.err) == (0, "")
    assert first.startswith(f"key {old.id} passes until ") and key.startswith("igw_")
    assert second.endswith("(scopes read,upload, never expires); it is shown this once:")
    result = stack.gatewayctl("key", "rotate", key.split("_")[1])
    assert result.out.startswith(f"key {key.split('_')[1]} is revoked since ")


def test_the_new_key_is_stored_as_a_hash_alone(stack):
    old = stack.make_key(settle=False)
    text = stack.done("key", "rotate", old.id, "--grace", "1h")["key"]
    found = stack.sql("SELECT count(*) FROM api_keys AS t WHERE t::text LIKE %s", (f"%{text.split('_')[2]}%",))
    assert found == [(0,)]
    assert all(text.split("_")[2] not in content for content in stack.logs().values())


def refuse(stack, key_id, reason, *more):
    before = stack.sql("SELECT id, key_hash, expires_at, revoked_at, replaced_by FROM api_keys ORDER BY id")
    result = stack.gatewayctl("key", "rotate", key_id, *more)
    assert (result.rc, result.out) == (1, "") and reason in result.err, result
    assert stack.sql("SELECT id, key_hash, expires_at, revoked_at, replaced_by FROM api_keys ORDER BY id") == before


def test_keys_that_pass_no_more_are_refused(stack):
    revoked, inactive, expired, orphan, rotated = (stack.make_key(settle=False).id for _ in range(5))
    stack.done("key", "revoke", revoked)
    stack.sql("UPDATE api_keys SET is_active = false WHERE id = %s", (inactive,))
    stack.sql("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = %s", (expired,))
    stack.sql("UPDATE users SET deleted_at = now() WHERE id = (SELECT user_id FROM api_keys WHERE id = %s)", (orphan,))
    made = stack.done("key", "rotate", rotated, "--grace", "1h")["id"]
    refuse(stack, revoked, f"key {revoked} was revoked at 2")
    refuse(stack, inactive, f"key {inactive} is inactive")
    refuse(stack, expired, f"key {expired} expired at 2")
    refuse(stack, orphan, "was deleted at 2")
    refuse(stack, rotated, f"key {rotated} was rotated already: key {made} replaced it")
    refuse(stack, 999999999, "there is no key 999999999")
    refuse(stack, 2**64 - 1, f"there is no key {2**64 - 1}")


@pytest.mark.parametrize("grace", ["x", "", "24", "-1h", "1w", "0", "0d", "99999999d", "1h30m"])
def test_bad_times_are_refused(stack, owner, grace):
    refuse(stack, owner.id, f"--grace {grace}: a time as 24h", "--grace", grace)


def test_what_is_no_number_is_not_repeated(stack, owner):
    for given in (owner.key, "-", "7x", ""):
        refuse(stack, given, "KEY_ID is a number")
    assert owner.key not in stack.gatewayctl("key", "rotate", owner.key).err
    assert stack.gatewayctl("key", "rotate").rc == 2


def test_of_two_rotations_at_once_one_is_done(stack):
    """Both have begun and wait for the key's row, which the test holds. A disabled user's keys are rotated too."""
    old = stack.make_key(settle=False)
    stack.done("user", "disable", old.user.name)
    command = [stack.layout.program(stack.program("gatewayctl")), "--config", stack.config, "key", "rotate", str(old.id), "--grace", "1h"]
    db = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    try:
        with db.cursor() as cursor:
            cursor.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", (old.id,))
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=stack.base_environment(),
                                    **stack.layout.account.popen_args()) for _ in range(2)]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatewayctl' AND wait_event_type = 'Lock'"
        wait_until(lambda: stack.sql(waiting) == [(2,)], 30, "both rotations wait for the key")
        db.rollback()
    finally:
        db.close()
    said = [child.communicate(timeout=60) for child in running]
    assert sorted(child.returncode for child in running) == [0, 1]
    ended = {child.returncode: told for child, told in zip(running, said)}
    made = int(ended[0][0].splitlines()[-1].split("_")[1])
    assert ended[1] == ("", f"gatewayctl: key {old.id} was rotated already: key {made} replaced it\n")
    assert stack.sql("SELECT id FROM api_keys WHERE user_id = %s ORDER BY id", (old.user.id,)) == [(old.id,), (made,)]


def test_a_rotation_and_a_deletion_of_the_user(stack):
    """The deletion waits for the rotation, or comes first; either way no key of the user is left that passes."""
    old = stack.make_key(settle=False)
    base = [stack.layout.program(stack.program("gatewayctl")), "--config", stack.config]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": stack.base_environment(),
               **stack.layout.account.popen_args()}
    db = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    try:
        with db.cursor() as cursor:
            cursor.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", (old.id,))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gatewayctl' AND wait_event_type = 'Lock'"
        rotate = subprocess.Popen([*base, "key", "rotate", str(old.id), "--grace", "1h"], **options)
        wait_until(lambda: stack.sql(waiting) == [(1,)], 30, "the rotation waits for the key")
        delete = subprocess.Popen([*base, "user", "delete", old.user.name], **options)
        wait_until(lambda: stack.sql(waiting) == [(2,)], 30, "the deletion waits for the rotation")
        db.rollback()
    finally:
        db.close()
    for child in (rotate, delete):
        _, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (0, "")
    assert stack.sql("SELECT bool_and(revoked_at IS NOT NULL AND NOT is_active), count(*) FROM api_keys WHERE user_id = %s",
                     (old.user.id,)) == [(True, 2)]
