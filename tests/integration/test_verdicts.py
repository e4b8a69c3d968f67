"""Who may do what: every answer of the verdict on keys, users and scopes, as a client sees it."""

import time
import zlib

import pytest

from helpers import image_path, wait_until
from helpers_http import check_problem

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
IMAGE = image_path("local:///none.jpg")


def with_check(body):
    """body and its check digits, computed here once more: CRC-32 in base62."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    return f"{body}_{digits}"


def change(text, at):
    """text with another letter at this place."""
    other = "a" if text[at] != "a" else "b"
    return text[:at] + other + (text[at + 1:] if at != -1 else "")


def test_key_passes(stack, owner, source):
    answer = stack.get(image_path(source), owner)
    assert answer.status == 200 and answer.body, answer
    assert answer.header("X-Request-ID")


def test_a_key_is_what_the_contract_says(owner):
    prefix, number, secret, check = owner.key.split("_")
    assert prefix == "igw" and int(number) == owner.id
    assert len(secret) == 32 and len(check) == 6
    assert with_check(f"igw_{number}_{secret}") == owner.key


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_bearer_passes(stack, owner, source, scheme):
    assert stack.get(image_path(source), headers=[("Authorization", f"{scheme} {owner.key}")]).status == 200


def test_the_same_key_in_both_headers_passes(stack, owner, source):
    assert stack.get(image_path(source), owner, [("Authorization", f"Bearer {owner.key}")]).status == 200


def test_two_different_keys_are_a_bad_request(stack, owner):
    other = stack.make_key(owner.user)
    check_problem(stack.get(IMAGE, owner, [("Authorization", f"Bearer {other.key}")]), 400, "bad_request")


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
def test_a_header_given_twice_is_a_bad_request(stack, owner, name):
    value = owner.key if name == "X-API-Key" else f"Bearer {owner.key}"
    check_problem(stack.get(IMAGE, headers=[(name, value), (name, value)]), 400, "bad_request")


@pytest.mark.parametrize("headers", [
    [], [("X-API-Key", "")], [("X-API-Key", "   ")], [("Authorization", "")], [("Authorization", "Bearer")],
    [("Authorization", "Bearer ")], [("Authorization", "Basic dXNlcjpwYXNz")], [("Cookie", "X-API-Key=igw_1_a_b")],
], ids=str)
@pytest.mark.parametrize("target", [IMAGE, "/api/v1/images"])
def test_no_key(stack, headers, target):
    problem = check_problem(stack.get(target, headers=headers), 401, "key_missing")
    assert problem["title"] == "Unauthorized"


def test_no_key_for_an_upload(stack, small_jpeg):
    check_problem(stack.upload(None, small_jpeg), 401, "key_missing")


def test_a_key_in_the_query_does_not_count(stack, owner):
    check_problem(stack.get(f"{IMAGE}?x-api-key={owner.key}&api_key={owner.key}"), 401, "key_missing")


@pytest.mark.parametrize("text", [
    "x", "igw", "igw_", "igw___", "igw_1", "igw_1__", "igw_1_short_000000", "key_1_" + "a" * 32 + "_000000",
    "a" * 255, "a" * 256, "a" * 4000, "igw_0_" + "a" * 32 + "_000000", "%00", "igw_1_\u00ff", "' OR 1=1 --",
])
def test_no_text_but_a_key_is_a_key(stack, text):
    check_problem(stack.get(IMAGE, text), 401, "key_invalid")


@pytest.mark.parametrize("number", ["0", "00", "-1", "+1", "1e1", "18446744073709551615", "18446744073709551616"])
def test_odd_ids_with_right_check_digits(stack, number):
    check_problem(stack.get(IMAGE, with_check(f"igw_{number}_{'a' * 32}")), 401, "key_invalid")


def test_an_id_with_leading_zeros_is_another_text(stack, owner):
    _, number, secret, _ = owner.key.split("_")
    check_problem(stack.get(IMAGE, with_check(f"igw_0{number}_{secret}")), 401, "key_invalid")


def test_wrong_check_digits(stack, owner):
    check_problem(stack.get(IMAGE, change(owner.key, -1)), 401, "key_invalid")


def test_a_wrong_secret_with_right_check_digits(stack, owner):
    body = change(owner.key.rpartition("_")[0], -1)
    check_problem(stack.get(IMAGE, with_check(body)), 401, "key_invalid")


def test_the_secret_of_one_key_under_the_id_of_another(stack, owner):
    other = stack.make_key(owner.user)
    secret = owner.key.split("_")[2]
    check_problem(stack.get(IMAGE, with_check(f"igw_{other.id}_{secret}")), 401, "key_invalid")


def test_an_unknown_key_answers_as_a_wrong_one(stack, owner):
    unknown = check_problem(stack.get(IMAGE, with_check(f"igw_99999999_{'a' * 32}")), 401, "key_invalid")
    wrong = check_problem(stack.get(IMAGE, with_check(f"igw_{owner.id}_{'a' * 32}")), 401, "key_invalid")
    assert unknown["detail"] == wrong["detail"]


def test_cut_keys_and_keys_with_more_behind(stack, owner):
    for text in (owner.key[:-1], owner.key + "0", owner.key + "_", " ".join((owner.key, owner.key)), owner.key.upper(),
                 f"{owner.key},{owner.key}"):
        check_problem(stack.get(IMAGE, text), 401, "key_invalid")


def test_blanks_around_a_key_do_not_matter(stack, owner, source):
    assert stack.get(image_path(source), f"  {owner.key}\t ").status == 200


def test_an_expired_key(stack):
    key = stack.make_key(expires="1h")
    assert stack.get(IMAGE, key).status == 404
    stack.sql("UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE id = %s", (key.id,))
    stack.settle()
    check_problem(stack.get(IMAGE, key), 401, "key_expired")


def test_a_key_expires_by_the_clock_alone(stack):
    key = stack.make_key(expires="2s")
    seen = []
    wait_until(lambda: seen.append(stack.get(IMAGE, key)) or seen[-1].status != 404, 10, "the key expires")
    check_problem(seen[-1], 401, "key_expired")
    assert len(seen) > 1, "it never passed"


def test_a_key_does_not_outlive_the_time_that_is_shown(stack):
    """expires_at in the database has a fraction of a second, of which the shown time knows nothing."""
    key = stack.make_key(expires="1h")
    stack.sql("UPDATE api_keys SET expires_at = date_trunc('second', now()) + interval '2.9 s' WHERE id = %s", (key.id,))
    (shown, ), = stack.sql("SELECT extract(epoch FROM date_trunc('second', expires_at))::float FROM api_keys WHERE id = %s",
                           (key.id,))
    stack.settle()
    assert stack.get(IMAGE, key).status == 404
    time.sleep(max(0, shown - time.time()) + 0.05)
    check_problem(stack.get(IMAGE, key), 401, "key_expired")


def test_a_revoked_key(stack):
    key = stack.make_key()
    assert stack.get(IMAGE, key).status == 404
    stack.done("key", "revoke", key.id)
    stack.settle()
    check_problem(stack.get(IMAGE, key), 401, "key_revoked")


def test_a_revoked_key_says_so_only_to_who_has_it(stack):
    key = stack.make_key()
    stack.done("key", "revoke", key.id)
    stack.settle()
    check_problem(stack.get(IMAGE, with_check(f"igw_{key.id}_{'a' * 32}")), 401, "key_invalid")


def test_revoked_wins_over_expired_and_over_the_user(stack):
    key = stack.make_key(expires="1h")
    stack.sql("UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE id = %s", (key.id,))
    stack.done("key", "revoke", key.id)
    stack.done("user", "disable", key.user.name)
    stack.settle()
    check_problem(stack.get(IMAGE, key), 401, "key_revoked")


def test_a_disabled_user_until_enabled(stack):
    key = stack.make_key()
    stack.done("user", "disable", key.user.id)
    stack.settle()
    check_problem(stack.get(IMAGE, key), 403, "user_inactive")
    check_problem(stack.upload(key, b"\xff\xd8\xff"), 403, "user_inactive")
    stack.done("user", "enable", key.user.id)
    stack.settle()
    assert stack.get(IMAGE, key).status == 404


def test_a_deleted_user(stack):
    key = stack.make_key()
    assert stack.get(IMAGE, key).status == 404
    stack.done("user", "delete", key.user.name)
    stack.settle()
    check_problem(stack.get(IMAGE, key), 401, "key_revoked")


def test_a_new_user_of_the_same_name_is_another_one(stack):
    key = stack.make_key()
    stack.done("user", "delete", key.user.name)
    again = stack.make_key(stack.make_user(key.user.name))
    assert again.user.id != key.user.id
    check_problem(stack.get(IMAGE, key), 401, "key_revoked")
    assert stack.get(IMAGE, again).status == 404


@pytest.mark.parametrize("scopes, image, upload, admin", [
    ("read", 404, 403, 403), ("upload", 403, 200, 403), ("admin", 403, 403, 200), ("read,upload", 404, 200, 403),
    ("read,upload,admin", 404, 200, 200),
])
def test_scopes(stack, small_jpeg, scopes, image, upload, admin):
    key = stack.make_key(scopes=scopes)
    answers = [stack.get(IMAGE, key), stack.upload(key, small_jpeg), stack.get("/api/v1/users", key)]
    assert [answer.status for answer in answers] == [image, upload, admin]
    for answer in answers:
        if answer.status == 403:
            check_problem(answer, 403, "scope_missing")


def test_the_key_is_judged_before_the_url(stack, owner):
    bad_url = "/img/unsafe/nonsense"
    check_problem(stack.get(bad_url), 401, "key_missing")
    uploader = stack.make_key(owner.user, scopes="upload")
    check_problem(stack.get(bad_url, uploader), 403, "scope_missing")
    check_problem(stack.get(bad_url, owner), 400, "url_invalid")
