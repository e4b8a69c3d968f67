"""The REST interface through HAProxy: what each route answers, who may ask, what is refused, and what is left without
PostgreSQL. configs/openapi.yaml is held against what the program answers."""

import concurrent.futures
import json
import os
import re
import threading
import time

import helpers_http as http
import pytest
import yaml
from helpers import ROOT, wait_until

USERS = "/api/v1/users"
NUMBERS = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


def rest(stack, method, target, key, body=None, headers=(), raw=None):
    """`body` as JSON, or `raw` bytes as they are."""
    pairs = list(headers)
    if body is not None:
        raw = json.dumps(body).encode()
        pairs.append(("Content-Type", "application/json"))
    if raw is None and method in ("POST", "PUT", "PATCH"):
        raw = b""
    answer = stack.request(method, target, key, pairs, raw)
    assert answer.header("Cache-Control") == "no-store", answer
    return answer


def ok(stack, method, target, key, body=None, status=200):
    answer = rest(stack, method, target, key, body)
    assert answer.status == status, answer
    if status == 204:
        assert answer.body == b"", answer
        return None
    assert answer.header("Content-Type") == "application/json", answer
    return answer.json()


@pytest.fixture(scope="module")
def admin(stack):
    return stack.make_key(scopes="read,admin")


@pytest.fixture(scope="module")
def reader(stack):
    return stack.make_key(scopes="read")


@pytest.fixture
def call(stack, admin):
    """As an administrator: call(method, target below /api/v1, body, status) gives the parsed answer."""
    return lambda method, target, body=None, status=200: ok(stack, method, f"/api/v1/{target}", admin, body, status)


@pytest.fixture
def refused(stack, admin):
    """The same for what must be refused: gives the problem's detail."""
    def ask(method, target, body=None, status=400, code="bad_request", raw=None, headers=()):
        answer = rest(stack, method, f"/api/v1/{target}", admin, body, headers, raw)
        return http.check_problem(answer, status, code)["detail"]
    return ask


# ---- of oneself -------------------------------------------------------------------------------------------------------

def test_me(stack, reader):
    me = ok(stack, "GET", "/api/v1/me", reader)
    assert NUMBERS.match(me.pop("created_at")) and NUMBERS.match(me["quota"].pop("reset_at"))
    limits, quota = stack.done("limit", "show", reader.user.name), stack.done("quota", "show", reader.user.name)
    for shown in (limits, quota):
        del shown["user"], shown["user_id"]
    del quota["reset_at"]
    assert me == {
        "id": reader.user.id, "username": reader.user.name, "email": f"{reader.user.name}@example.invalid",
        "is_active": True, "key": {"id": reader.id, "name": None, "scopes": ["read"], "expires_at": None},
        "limits": limits, "quota": quota}
    assert reader.key not in json.dumps(me)
    assert ok(stack, "GET", "/api/v1/me", stack.make_key(reader.user, scopes="read", expires="30d"))["key"]["expires_at"]


def test_head_is_a_get_without_a_body(stack, reader):
    answer = stack.request("HEAD", "/api/v1/me", reader)
    assert (answer.status, answer.body) == (200, b"") and int(answer.header("Content-Length")) > 100


def test_usage_is_that_of_gatewayctl(stack, reader, call):
    month = stack.sql("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')")[0][0]
    for target, args in (("", ()), (f"?month={month}", ()), ("?month=2026%2D01", ("--month", "2026-01")),
                         ("?month=2020-02", ("--month", "2020-02"))):
        shown = stack.done("usage", reader.user.name, *args)
        # The requests of this test are recorded meanwhile.
        for mine in (ok(stack, "GET", f"/api/v1/usage{target}", reader), call("GET", f"users/{reader.user.id}/usage{target}")):
            assert list(mine) == list(shown)
            assert [mine[name] for name in ("user", "user_id", "month", "start", "end")] == [
                shown[name] for name in ("user", "user_id", "month", "start", "end")]


@pytest.mark.parametrize("query, name", [
    ("month=2026-13", "month"), ("month=", "month"), ("month=now", "month"), ("month=9999-12", "has not begun"),
    ("month=2026-01&month=2026-02", "month"), ("moth=2026-01", "moth"), ("month", "month"), ("month=%zz", "month"),
    ("month=2026-01%00", "month"), ("month=" + "0" * 500, "month"), ("month=2026-01' OR '1'='1".replace(" ", "%20"), "month"),
])
def test_usage_of_no_month(stack, reader, query, name):
    answer = rest(stack, "GET", f"/api/v1/usage?{query}", reader)
    assert name in http.check_problem(answer, 400, "bad_request")["detail"]


# ---- users ------------------------------------------------------------------------------------------------------------

def test_users(stack, call, refused):
    name = stack.unique("rest")
    user = call("POST", "users", {"username": name, "email": f"{name}@example.invalid"}, 201)
    assert list(user) == ["id", "username", "email", "is_active", "created_at", "updated_at"]
    assert (user["username"], user["email"], user["is_active"]) == (name, f"{name}@example.invalid", True)
    path = f"users/{user['id']}"
    assert call("GET", path) == user == stack.done("user", "list")[-1]
    assert call("PATCH", path, {"is_active": False})["is_active"] is False
    changed = call("PATCH", path, {"is_active": True, "email": f"{name}@other.invalid"})
    assert (changed["is_active"], changed["email"]) == (True, f"{name}@other.invalid")
    assert refused("POST", "users", {"username": name, "email": "a@b.invalid"}, 409, "conflict").startswith("username: ")
    detail = refused("POST", "users", {"username": stack.unique("u"), "email": f"{name}@other.invalid"}, 409, "conflict")
    assert detail.startswith("email: ")
    call("DELETE", path, status=204)
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"is_active": True})):
        assert "was deleted" in refused(method, path, body, 404, "not_found")
    assert "user 999999999" in refused("GET", "users/999999999", None, 404, "not_found")
    # Its name is free again.
    call("POST", "users", {"username": name, "email": f"{name}@example.invalid"}, 201)


def test_a_new_user_has_an_address(stack, admin):
    name = stack.unique("rest")
    answer = rest(stack, "POST", USERS, admin, {"username": name, "email": f"{name}@example.invalid"})
    assert answer.header("Location") == f"{USERS}/{answer.json()['id']}"


def test_pages_of_users(stack, call, refused):
    made = [stack.make_user().id for _ in range(5)]
    seen, after, pages = [], made[0] - 1, 0
    while after is not None:
        page = call("GET", f"users?limit=2&after={after}")
        assert sorted(page) == ["next", "users"] and len(page["users"]) <= 2
        seen += [user["id"] for user in page["users"]]
        after, pages = page["next"], pages + 1
    assert [number for number in seen if number in made] == made and seen == sorted(set(seen)) and pages >= 3
    assert call("GET", f"users?after={seen[-1]}") == {"users": [], "next": None}
    assert call("GET", "users?limit=1000")["users"] == stack.done("user", "list")
    for query in ("limit=0", "limit=1001", "limit=-1", "limit=a", "limit=", "limit=1e3", "limit=01",
                  "limit=99999999999999999999", "limit=1;", "limit=1%20"):
        assert refused("GET", f"users?{query}").startswith("limit: ")
    for query in ("after=-1", "after=x", "after=9223372036854775808"):
        assert refused("GET", f"users?{query}").startswith("after: ")
    assert refused("GET", "users?offset=1").startswith("offset: ")


@pytest.mark.parametrize("target, body, field", [
    ("users", {"username": "x"}, "email"), ("users", {"email": "a@b"}, "username"),
    ("users", {"username": 7, "email": "a@b.invalid"}, "username"),
    ("users", {"username": None, "email": "a@b.invalid"}, "username"),
    ("users", {"username": "ok-name", "email": ["a@b"]}, "email"),
    ("users", {"username": "123", "email": "a@b.invalid"}, "username"),
    ("users", {"username": "", "email": "a@b.invalid"}, "username"),
    ("users", {"username": "a b", "email": "a@b.invalid"}, "username"),
    ("users", {"username": "a" * 300, "email": "a@b.invalid"}, "username"),
    ("users", {"username": "zoë", "email": "a@b.invalid"}, "username"),
    ("users", {"username": "fine", "email": "no address"}, "email"),
    ("users", {"username": "fine", "email": "a@b.invalid", "is_admin": True}, "is_admin"),
    ("users", {"username": "fine", "email": "a@b.invalid", "id": 1}, "id"),
    ("users", {"username": "fine", "email": "a@b.invalid", "é\n": 1}, "???"),
    ("users", {"username": "fine", "email": "a@b.invalid", "x" * 5000: 1}, "x" * 64 + "…"),
    ("backends", {"name": "b", "url": "http://h:1"}, "weight"),
    ("backends", {"name": "b", "url": "http://h:1", "weight": 257}, "weight"),
    ("backends", {"name": "b", "url": "http://h:1", "weight": -1}, "weight"),
    ("backends", {"name": "b", "url": "http://h:1", "weight": 1.0}, "weight"),
    ("backends", {"name": "b", "url": "http://h:1", "weight": "1"}, "weight"),
    ("backends", {"name": "b", "url": "http://h:1", "weight": True}, "weight"),
    ("backends", {"name": "b", "url": "http://h:1", "weight": 10**18}, "weight"),
    ("backends", {"name": "b", "url": "ftp://h:1", "weight": 1}, "url"),
    ("backends", {"name": "b", "url": "http://h:1/path", "weight": 1}, "url"),
    ("backends", {"name": "-b", "url": "http://h:1", "weight": 1}, "name"),
])
def test_a_wrong_field_is_named(refused, target, body, field):
    assert refused("POST", target, body).startswith(f"{field}: ")


@pytest.mark.parametrize("raw", [
    b"{", b"", b"[]", b"null", b"7", b'"x"', b"{}{}", b'{"username":"a","username":"b","email":"a@b.invalid"}',
    b'{"username":"a\x00","email":"a@b.invalid"}', b'{"username":"a\\u0000","email":"a@b.invalid"}',
    b'{"username":"\xff\xfe","email":"a@b.invalid"}', b'{"username":"\\ud800","email":"a@b.invalid"}',
    b"{'username':'a'}", b"[" * 60000, b'{"a":' * 10000, b"\xef\xbb\xbf{}", b'{"username":NaN,"email":"a@b.invalid"}',
    b'{"username":"a","email":1e999}', b"username=a&email=b",
], ids=range(19))
def test_a_body_that_is_no_json(stack, refused, raw):
    users = stack.sql("SELECT count(*) FROM users")
    detail = refused("POST", "users", raw=raw, headers=[("Content-Type", "application/json; charset=utf-8")])
    assert detail and len(detail) < 400
    assert stack.sql("SELECT count(*) FROM users") == users


def test_types_and_sizes_of_bodies(stack, admin, refused):
    body = b'{"username":"a","email":"a@b.invalid"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""):
        refused("POST", "users", status=415, code="type_unsupported", raw=body, headers=[("Content-Type", kind)])
    refused("POST", "users", status=415, code="type_unsupported", raw=body)
    kind = [("Content-Type", "application/json")]
    filler = b'{"username":"' + b"a" * (64 * 1024 - 15) + b'"}'
    assert len(filler) == 64 * 1024
    assert refused("POST", "users", raw=filler, headers=kind).startswith("email: ")
    refused("POST", "users", status=413, code="too_large", raw=filler + b" ", headers=kind)
    refused("POST", "users", status=413, code="too_large", raw=b"x" * 3_000_000, headers=kind)
    # Whoever asks before it sends is told before it sends.
    head = http.build("POST", USERS, [("X-API-Key", admin.key), *kind, ("Content-Length", "3000000"), ("Expect", "100-continue")])
    http.check_problem(stack.raw(head), 413, "too_large")
    refused("DELETE", "users/999999999", raw=b"{}", headers=kind)


# ---- keys -------------------------------------------------------------------------------------------------------------

def test_keys(stack, call, refused):
    user = stack.make_user()
    path = f"users/{user.id}/keys"
    assert call("GET", path) == {"keys": []}
    made = call("POST", path, {"name": "laptop", "scopes": ["read", "upload"], "expires": "30d"}, 201)
    secret = made.pop("key")
    assert secret.startswith(f"igw_{made['id']}_") and made["name"] == "laptop" and made["scopes"] == ["read", "upload"]
    assert NUMBERS.match(made["expires_at"]) and made["state"] == "active"
    assert call("GET", f"{path}/{made['id']}") == made == stack.done("key", "list", user.name)[0]
    stack.settle()
    assert stack.get("/api/v1/me", secret).status == 200
    # No body at all: everything as it is by default.
    plain = call("POST", path, None, 201)
    assert plain["scopes"] == ["read", "upload"] and plain["expires_at"] is None and plain["name"] is None
    assert call("POST", path, {"scopes": "read"}, 201)["scopes"] == ["read"]

    rotated = call("POST", f"{path}/{made['id']}/rotate", {"grace": "1h"}, 201)
    assert rotated["replaces"] == made["id"] and NUMBERS.match(rotated["old_expires_at"]) and rotated["key"] != secret
    assert "rotated already" in refused("POST", f"{path}/{made['id']}/rotate", None, 409, "conflict")
    stack.settle()
    for key in (secret, rotated["key"]):
        assert stack.get("/api/v1/me", key).status == 200
    at_once = call("POST", f"{path}/{rotated['id']}/rotate", None, 201)
    assert at_once["old_expires_at"] is None
    call("DELETE", f"{path}/{at_once['id']}", status=204)
    call("DELETE", f"{path}/{at_once['id']}", status=204)
    assert "revoked" in refused("POST", f"{path}/{at_once['id']}/rotate", None, 409, "conflict")
    stack.settle()
    for key in (rotated["key"], at_once["key"]):
        http.check_problem(stack.get("/api/v1/me", key), 401, "key_revoked")
    # A key is shown once, and stands in no log.
    keys = [secret, plain["key"], rotated["key"], at_once["key"]]
    listed = json.dumps(call("GET", path))
    for key in keys:
        assert key not in listed and key.split("_")[2] not in listed
        assert not [name for name, text in stack.logs().items() if key.split("_")[2] in text]


def test_signing_keys(stack, call):
    user = stack.make_user()
    path = f"users/{user.id}/keys"
    made = call("POST", path, {"signing": True}, 201)
    assert made["signing"] is True and all(re.fullmatch("[0-9a-f]{64}", made[name]) for name in ("signing_key", "signing_salt"))
    rotated = call("POST", f"{path}/{made['id']}/rotate", None, 201)
    assert rotated["signing"] is True and rotated["signing_key"] not in (None, made["signing_key"])
    plain = call("POST", path, {"signing": False}, 201)
    assert plain["signing"] is False and "signing_key" not in plain
    listed = json.dumps(call("GET", path))
    for secret in (made["signing_key"], made["signing_salt"], rotated["signing_key"]):
        assert secret not in listed and not any(secret in text for text in stack.logs().values())


def test_the_answer_to_a_new_key_says_where_it_is(stack, admin):
    user = stack.make_user()
    answer = rest(stack, "POST", f"{USERS}/{user.id}/keys", admin)
    assert (answer.status, answer.header("Location")) == (201, f"{USERS}/{user.id}/keys/{answer.json()['id']}")


def test_a_key_is_found_with_its_own_user_alone(stack, call, refused, reader):
    other = stack.make_user()
    for method, target in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        detail = refused(method, f"users/{other.id}/keys/{reader.id}{target}", None, 404, "not_found")
        assert f"no key {reader.id}" in detail
    assert call("GET", f"users/{reader.user.id}/keys/{reader.id}")["state"] == "active"


@pytest.mark.parametrize("body, field", [
    ({"name": ""}, "name"), ({"name": "x" * 256}, "name"), ({"name": 1}, "name"), ({"scopes": []}, "scopes"),
    ({"scopes": ["root"]}, "scopes"), ({"scopes": ["read", "read"]}, "scopes"), ({"scopes": "read,root"}, "scopes"),
    ({"scopes": ""}, "scopes"), ({"scopes": {"read": True}}, "scopes"), ({"scopes": [None]}, "scopes"),
    ({"expires": "1w"}, "expires"), ({"expires": 30}, "expires"), ({"expires": "0d"}, "expires"),
    ({"expires": "99999d"}, "expires"), ({"signing": 1}, "signing"), ({"key": "igw_1"}, "key"),
])
def test_wrong_wishes_for_a_key(refused, reader, body, field):
    assert refused("POST", f"users/{reader.user.id}/keys", body).startswith(f"{field}: ")


@pytest.mark.parametrize("body, field", [({"grace": "1"}, "grace"), ({"grace": 5}, "grace"), ({"graze": "1h"}, "graze")])
def test_wrong_graces(refused, reader, body, field):
    assert refused("POST", f"users/{reader.user.id}/keys/{reader.id}/rotate", body).startswith(f"{field}: ")


# ---- limits and quotas -----------------------------------------------------------------------------------------------

def test_limits(stack, call, refused):
    user = stack.make_user()
    path = f"users/{user.id}/limits"
    first = call("GET", path)
    assert first == stack.done("limit", "show", user.name)
    set_to = call("PATCH", path, {"requests_per_minute": 600, "burst": 20})
    assert set_to == {**first, "requests_per_minute": 600, "burst": 20, "defaults": ["requests_per_hour"]}
    assert call("PATCH", path, {"shadow": ["hour"]}) == {**set_to, "shadow": ["hour"]}
    assert stack.sql("SELECT requests_per_minute, requests_per_hour, burst, shadow_minute, shadow_hour FROM rate_limits "
                     "WHERE user_id = %s", (user.id,)) == [(600, None, 20, False, True)]
    assert call("PATCH", path, {"burst": None})["burst"] == 600
    # PUT sets everything: what is not given is the settings'.
    put = call("PUT", path, {"requests_per_hour": 0})
    assert put == {**first, "requests_per_hour": 0, "defaults": ["requests_per_minute"], "shadow": []}
    assert call("PUT", path, {}) == first
    refused("PATCH", path, {})
    for body, field in (({"requests_per_minute": 10**9 + 1}, "requests_per_minute"), ({"requests_per_hour": -1}, "requests_per_hour"),
                        ({"burst": 0}, "burst"), ({"burst": "20"}, "burst"), ({"shadow": ["day"]}, "shadow"),
                        ({"shadow": "hour"}, "shadow"), ({"shadow": ["hour", "hour"]}, "shadow"), ({"per_minute": 1}, "per_minute"),
                        ({"requests_per_minute": 5.5}, "requests_per_minute"), ({"requests_per_minute": 10**30}, "")):
        for method in ("PATCH", "PUT"):
            assert refused(method, path, body).startswith(f"{field}: " if field else "")
    assert call("GET", path) == first


def test_a_limit_is_obeyed_at_once(stack, call):
    key = stack.make_key(scopes="read,upload")
    call("PATCH", f"users/{key.user.id}/limits", {"requests_per_minute": 1, "burst": 1})
    stack.settle()
    codes = [stack.get("/img/unsafe/plain/local:///none.jpg", key).status for _ in range(3)]
    assert codes[0] == 404 and codes[1:] == [429, 429]


def test_quota(stack, call, refused):
    user = stack.make_user()
    path = f"users/{user.id}/quota"
    first = call("GET", path)
    assert first == stack.done("quota", "show", user.name)
    changed = call("PATCH", path, {"monthly_requests": 10**15, "monthly_bandwidth_mb": 2**30 - 1, "storage_mb": 2**43 - 1})
    assert changed == {**first, "monthly_requests": 10**15, "monthly_bandwidth_mb": 2**30 - 1, "storage_mb": 2**43 - 1, "defaults": []}
    assert call("PATCH", path, {"reset_day": 31, "shadow": ["bandwidth", "requests"]})["shadow"] == ["requests", "bandwidth"]
    put = call("PUT", path, {"monthly_requests": 5})
    assert put == {**first, "monthly_requests": 5, "defaults": ["monthly_bandwidth_mb", "storage_mb"]}
    for body, field in (({"monthly_requests": 10**15 + 1}, "monthly_requests"), ({"monthly_bandwidth_mb": 2**30}, "monthly_bandwidth_mb"),
                        ({"storage_mb": 2**43}, "storage_mb"), ({"reset_day": 32}, "reset_day"), ({"reset_day": 0}, "reset_day"),
                        ({"current_requests": 0}, "current_requests"), ({"user_id": 1}, "user_id")):
        assert refused("PATCH", path, body).startswith(f"{field}: ")


def test_bounds_of_images(stack, call, refused):
    user = stack.make_user()
    path = f"users/{user.id}/images"
    first = call("GET", path)
    assert first == stack.done("image", "show", user.name) and first["defaults"] == list(first)[2:8]
    changed = call("PATCH", path, {"max_dimension": 2000, "max_dpr": 1.5, "max_blur": 0, "require_expires": True, "presets": ["b", "a.c"]})
    assert changed == {**first, "max_dimension": 2000, "max_dpr": 1.5, "max_blur": 0, "require_expires": True, "presets": ["b", "a.c"],
                       "defaults": ["max_zoom", "max_quality"]}
    assert changed == call("GET", path) == stack.done("image", "show", user.name)
    assert call("PATCH", path, {"max_zoom": 1.001, "max_dpr": None}) == {
        **changed, "max_zoom": 1.001, "max_dpr": first["max_dpr"], "defaults": ["max_dpr", "max_quality"]}
    assert call("PATCH", path, {"presets": None})["presets"] == []
    # PUT sets everything: what is not given is the settings'.
    call("PATCH", path, {"presets": ["a"]})
    put = call("PUT", path, {"max_quality": 80, "require_expires": False})
    assert put == {**first, "max_quality": 80, "defaults": [name for name in first["defaults"] if name not in ("max_quality", "require_expires")]}
    assert call("PUT", path, {}) == first
    refused("PATCH", path, {})
    for body, field in (({"max_dimension": 0}, "max_dimension"), ({"max_dimension": 10**6 + 1}, "max_dimension"), ({"max_dpr": 0.9}, "max_dpr"),
                        ({"max_dpr": 1.0001}, "max_dpr"), ({"max_zoom": 1000.001}, "max_zoom"), ({"max_blur": -1}, "max_blur"),
                        ({"max_blur": "5"}, "max_blur"), ({"max_quality": 101}, "max_quality"), ({"max_quality": 50.5}, "max_quality"),
                        ({"require_expires": 1}, "require_expires"), ({"presets": "a"}, "presets"), ({"presets": ["a", "a"]}, "presets"),
                        ({"presets": ["a,b"]}, "presets"), ({"presets": [""]}, "presets"), ({"presets": ["x" * 65]}, "presets"),
                        ({"presets": [f"p{n}" for n in range(101)]}, "presets"), ({"presets": ["\u00e4"]}, "presets"), ({"max_size": 1}, "max_size")):
        for method in ("PATCH", "PUT"):
            assert refused(method, path, body).startswith(f"{field}: "), body
    assert call("PUT", path, {"presets": ["x" * 64] + [f"p{n}" for n in range(99)]})["presets"][-1] == "p98"
    refused("GET", "users/999999999/images", status=404, code="not_found")


def test_a_bound_is_obeyed_at_once(stack, call):
    key = stack.make_key()
    target = "/img/unsafe/dpr:2/plain/local:///none.jpg"
    assert stack.get(target, key).status == 404
    call("PATCH", f"users/{key.user.id}/images", {"max_dpr": 1.5})
    stack.settle()
    http.check_problem(stack.get(target, key), 403, "option_forbidden")


# ---- allow lists -----------------------------------------------------------------------------------------------------

def test_allow_lists(stack, call, refused):
    user = stack.make_user()
    path = f"users/{user.id}/allow"
    assert call("GET", path) == {"allow": []}
    office = call("POST", path, {"cidr": "10.1.0.0/16", "description": "office"}, 201)
    assert (office["cidr"], office["description"], office["user_id"]) == ("10.1.0.0/16", "office", user.id)
    for cidr in ("2001:db8::/32", "192.0.2.7", "192.0.2.8"):
        call("POST", path, {"cidr": cidr}, 201)
    assert call("GET", path)["allow"] == stack.done("allow", "list", user.name)
    assert "already" in refused("POST", path, {"cidr": "10.1.0.0/16"}, 409, "conflict")
    for cidr in ("10.1.0.1/16", "10.1.0.0/33", "ten", "", "10.1.0.0/16; DROP TABLE users", "::/129", "1.2.3", "10.0.0.0/8\n"):
        assert refused("POST", path, {"cidr": cidr}).startswith("cidr: ")
    assert refused("POST", path, {"cidr": "10.9.0.0/16", "description": "x" * 1001}).startswith("description: ")
    # By id, and by block as it is or with its escapes.
    other = stack.make_user()
    assert "no entry" in refused("DELETE", f"users/{other.id}/allow/{office['id']}", None, 404, "not_found")
    call("DELETE", f"{path}/{office['id']}", status=204)
    call("DELETE", f"{path}/2001:db8::/32", status=204)
    call("DELETE", f"{path}/192.0.2.7%2f32", status=204)
    call("DELETE", f"{path}/192.0.2.8", status=204)
    assert call("GET", path) == {"allow": []}
    assert refused("DELETE", f"{path}/192.0.2.8", None, 404, "not_found")
    assert refused("DELETE", f"{path}/nonsense").startswith("cidr: ")


def test_sources(stack, call, refused):
    user = stack.make_user()
    path = f"users/{user.id}/sources"
    assert call("GET", path) == {"sources": []}
    made = call("POST", path, {"prefix": "HTTPS://CDN.example.com:443/images/", "description": "cdn"}, 201)
    assert (made["prefix"], made["description"], made["user_id"]) == ("https://cdn.example.com/images/", "cdn", user.id)
    other = call("POST", path, {"prefix": "s3://bucket/"}, 201)
    assert call("GET", path)["sources"] == stack.done("source", "list", user.name)
    refused("POST", path, {"prefix": "https://cdn.example.com/images/"}, 409, "conflict")
    for prefix in ("", "local:///", "https://", "http://user@host/", "http://127.1/", "https://h/%2e%2e%2f", "ftp://h/", "x" * 5000):
        assert refused("POST", path, {"prefix": prefix}).startswith("prefix: ")
    assert refused("POST", path, {"prefix": "https://h/", "description": "x" * 1001}).startswith("description: ")
    assert refused("POST", path, {"url": "https://h/"}).startswith("url: ")
    nobody = stack.make_user()
    refused("DELETE", f"users/{nobody.id}/sources/{made['id']}", None, 404, "not_found")
    call("DELETE", f"{path}/{other['id']}", status=204)
    call("DELETE", f"{path}/https:%2f%2fcdn.example.com/images/", status=204)
    assert call("GET", path) == {"sources": []}
    refused("DELETE", f"{path}/{other['id']}", None, 404, "not_found")


# ---- backends --------------------------------------------------------------------------------------------------------

def test_backends(stack, call, refused):
    name = stack.unique("img")
    made = call("POST", "backends", {"name": name, "url": "http://10.0.0.5:8080", "weight": 70}, 201)
    assert list(made) == ["id", "name", "url", "weight", "created_at"]
    path = f"backends/{name}"
    assert call("GET", path) == made and made in call("GET", "backends")["backends"] and made in stack.done("backend", "list")
    assert refused("POST", "backends", {"name": name, "url": "http://h:1", "weight": 1}, 409, "conflict").startswith("name: ")
    assert call("PATCH", path, {"weight": 0}) == {**made, "weight": 0}
    assert call("PATCH", path, {"url": "http://10.0.0.6:8080", "weight": 256}) == {**made, "url": "http://10.0.0.6:8080", "weight": 256}
    refused("PATCH", path, {})
    refused("PATCH", path, {"name": "other"})
    call("DELETE", path, status=204)
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"weight": 1})):
        assert name in refused(method, path, body, 404, "not_found")


def test_gatewayctl_backend(stack):
    name = stack.unique("img")
    made = stack.done("backend", "add", name, "http://10.0.0.7:8080", "--weight", 30)
    assert (made["name"], made["url"], made["weight"]) == (name, "http://10.0.0.7:8080", 30)
    assert stack.done("backend", "set", name, "--weight", 256) == {**made, "weight": 256}
    assert stack.done("backend", "drain", name) == {**made, "weight": 0}
    assert {**made, "weight": 0} in stack.done("backend", "list")
    assert name in stack.gatewayctl("backend", "list").out
    for args, why in ((("add", name, "http://h:1", "--weight", 1), "exists already"), (("add", "x", "h:1", "--weight", 1), "URL"),
                      (("add", "x y", "http://h:1", "--weight", 1), "name"), (("set", name, "--weight", 257), "0 to 256"),
                      (("set", name, "--weight", "x"), "0 to 256"), (("drain", "nobody"), "no backend"), (("remove", "nobody"), "no backend")):
        result = stack.gatewayctl("backend", *args)
        assert result.rc == 1 and why in result.err, result
    assert stack.gatewayctl("backend", "add", name, "http://h:1").rc == 2
    assert stack.done("backend", "remove", name)["name"] == name
    assert name not in stack.gatewayctl("backend", "list").out


# ---- who may --------------------------------------------------------------------------------------------------------

def routes():
    """(method, path) of configs/openapi.yaml."""
    with open(os.path.join(ROOT, "configs/openapi.yaml"), encoding="utf-8") as file:
        document = yaml.safe_load(file)
    return [(method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"]


ADMIN_ROUTES = [(method, path) for method, path in routes() if path.startswith(("/api/v1/users", "/api/v1/backends"))]


def filled(path, user, key):
    for name, value in (("id", user), ("key", key), ("entry", "10.0.0.0/8"), ("name", "img1")):
        path = path.replace("{" + name + "}", str(value))
    return path


@pytest.mark.parametrize("method, path", ADMIN_ROUTES)
def test_admin_alone(stack, reader, owner, method, path):
    target = filled(path, reader.user.id, reader.id)
    http.check_problem(rest(stack, method, target, None), 401, "key_missing")
    for key in (reader, owner):
        http.check_problem(rest(stack, method, target, key), 403, "scope_missing")


def test_no_spelling_of_a_path_goes_around_the_scope(stack, reader):
    """What the verdict reads as another path must not be a route of the administration here."""
    for target in ("/api/v1/%75sers", "/api/v1/users%2f1", "/api/v1//users", "/api/v1/./users", "/api/v1/x/../users", "/api/v1/USERS",
                   "/api/v1/%62ackends", "/api/v1/me/../users", "/api/v1/backends%00", "/api/v1/me%2f", "/api/v1/users;x", "/api/v1/me/users",
                   "//api/v1/users", "/api/v1\\users", "/api%2fv1/users"):
        answer = stack.get(target, reader)
        assert answer.status in (400, 403, 404) and answer.code in ("bad_request", "not_found", "scope_missing"), (target, answer)


def test_the_program_checks_the_scope_itself(stack, reader):
    """As if the verdict had not."""
    address = stack.settings["API_BIND"]
    token = stack.settings["API_TOKEN"]

    def ask(method, target, scopes, **more):
        headers = {"X-GW-Token": token, "X-GW-User": str(reader.user.id), "X-GW-Key": str(reader.id), "X-Request-ID": "direct",
                   **({"X-GW-Scopes": scopes} if scopes is not None else {}), **more}
        return http.send_raw(address, http.build(method, target, headers))

    assert ask("GET", "/api/v1/me", "read").status == 200
    for scopes in (None, "", "upload", "reader", "admin", "read,read"):
        assert ask("GET", "/api/v1/me", scopes).status == 403
    for method, path in ADMIN_ROUTES:
        for scopes in (None, "", "read", "read,upload", "administrator", "admin,admin"):
            assert ask(method, filled(path, reader.user.id, reader.id), scopes).code == "scope_missing"
    # And that it is the proxy who asks.
    assert ask("GET", "/api/v1/me", "read", **{"X-GW-Token": "guess"}).code == "ip_not_allowed"
    assert ask("GET", "/api/v1/me", "read", **{"X-GW-User": "0"}).code == "ip_not_allowed"
    # Whoever is gone meanwhile, or a key of somebody else, is not found.
    other = stack.make_key()
    assert ask("GET", "/api/v1/me", "read", **{"X-GW-Key": str(other.id)}).code == "not_found"
    assert ask("GET", "/api/v1/me", "read", **{"X-GW-User": "999999999"}).code == "not_found"


def test_headers_of_a_client_say_nothing(stack, reader, admin):
    forged = [("X-GW-User", str(admin.user.id)), ("X-GW-Scopes", "admin"), ("X-GW-Key", str(admin.id)), ("X_GW_User", str(admin.user.id))]
    answer = stack.get("/api/v1/me", reader, forged)
    assert answer.json()["id"] == reader.user.id
    http.check_problem(stack.get(USERS, reader, forged), 403, "scope_missing")


@pytest.mark.parametrize("text", ["' OR '1'='1", "'; DROP TABLE users; --", "$1", "%s", "\\'; SELECT 1", '{"a":1}', "a\u2028b", "x'||(SELECT 1)||'"])
def test_injections_are_texts(stack, call, refused, text):
    user = stack.make_user()
    name = stack.unique("img")
    made = call("POST", f"users/{user.id}/keys", {"name": text}, 201)
    assert made["name"] == text
    assert call("POST", f"users/{user.id}/allow", {"cidr": "10.0.0.0/8", "description": text}, 201)["description"] == text
    assert refused("POST", "users", {"username": text, "email": "a@b.invalid"}).startswith("username: ")
    assert refused("POST", "backends", {"name": text, "url": "http://h:1", "weight": 1}).startswith("name: ")
    assert refused("POST", "backends", {"name": name, "url": text, "weight": 1}).startswith("url: ")
    escaped = "".join(f"%{byte:02x}" for byte in text.encode())
    for target in (f"users/{escaped}", f"users/1{escaped}", f"users/{user.id}/keys/{escaped}", f"backends/{escaped}"):
        refused("GET", target, status=404, code="not_found")
    refused("GET", f"users?after={escaped}")
    assert stack.sql("SELECT count(*) FROM users WHERE id = %s", (user.id,)) == [(1,)]


def test_ids_that_are_none(refused):
    for number in ("0", "-1", "+1", "01", "1.0", "1e3", "0x1", "9223372036854775808", "18446744073709551617", "me", "%31", "", "１"):
        for rest_of in ("", "/limits", "/keys"):
            target = f"users/{''.join(f'%{b:02x}' if b > 0x7f else chr(b) for b in number.encode())}{rest_of}"
            refused("GET", target, status=404, code="not_found")


# ---- the description ------------------------------------------------------------------------------------------------

def test_every_route_of_the_description_is_answered_and_no_other(stack, admin, reader):
    """Not its values: whether path and method are known. Other methods are told in Allow."""
    every = {}
    for method, path in routes():
        every.setdefault(path, set()).add(method)
    assert len(every) > 15
    for path, methods in every.items():
        if "/api/v1/upload" in path or "/api/v1/images" in path or not path.startswith("/api/v1"):
            continue
        target = filled(path, 999999999, 999999999)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = rest(stack, method, target, admin)
            if method in methods:
                assert answer.status in (200, 400, 404) and "nothing at this address" not in answer.body.decode(), (method, path, answer)
            elif answer.status == 403:
                # What is not of the administration needs the scope upload to be changed, says the verdict.
                assert answer.code == "scope_missing" and target in ("/api/v1/me", "/api/v1/usage")
            else:
                http.check_problem(answer, 405, "method_not_allowed")
                assert set(answer.header("Allow").split(", ")) - {"HEAD"} == methods


# ---- many at once, and no database ------------------------------------------------------------------------------------

def test_a_thousand_at_once(fresh_stack):
    """Reads and changes; each gets its own answer, and PostgreSQL sees a handful of connections."""
    stack = fresh_stack({"API_MAX_USER_REQUESTS": "250"})
    admin, reader = stack.make_key(scopes="read,upload,admin"), stack.make_key(scopes="read")
    users = [stack.make_user() for _ in range(10)]
    most = [0]
    stop = threading.Event()

    def watch():
        while not stop.wait(0.02):
            most[0] = max(most[0], stack.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gateway-api'")[0][0])

    def one(number):
        user = users[number % 10]
        if number % 5 == 0:
            return rest(stack, "PATCH", f"{USERS}/{user.id}/limits", admin, {"requests_per_minute": number + 1}).json()["user_id"] == user.id
        if number % 5 == 1:
            return rest(stack, "GET", "/api/v1/me", reader).json()["id"] == reader.user.id
        if number % 5 == 2:
            return rest(stack, "POST", f"{USERS}/{user.id}/keys", admin).json()["user_id"] == user.id
        return rest(stack, "GET", f"{USERS}/{user.id}", admin).json()["id"] == user.id

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(250) as threads:
            assert all(threads.map(one, range(1000)))
        took = time.monotonic() - began
    finally:
        stop.set()
        watcher.join()
    assert took < 60 and 1 <= most[0] <= 8
    assert stack.sql("SELECT count(*) FROM api_keys WHERE user_id = ANY(%s)", ([user.id for user in users],)) == [(200,)]


def test_a_long_path_hides_nobody(stack, admin):
    """The line of a change names who made it, however long the path is."""
    answer = rest(stack, "DELETE", "/api/v1/backends/" + "x" * 1020, admin)
    assert answer.status in (400, 404), answer
    lines = [line for text in stack.logs().values() for line in text.splitlines()
             if "rest: a change" in line and answer.header("X-Request-ID") in line]
    assert len(lines) == 1 and f"user={admin.user.id} key={admin.id} request_id=" in lines[0], lines
    assert "path=/api/v1/backends/xxx" in lines[0]


def test_postgresql_stopped_and_started(fresh_stack, small_jpeg):
    """503 meanwhile; uploads, and wrong requests, are answered as always; then it goes on by itself."""
    stack = fresh_stack()
    admin = stack.make_key(scopes="read,upload,admin")
    assert ok(stack, "GET", "/api/v1/me", admin)["id"] == admin.user.id
    stack["postgres"].stop()
    for _ in range(5):
        began = time.monotonic()
        answer = rest(stack, "GET", "/api/v1/me", admin)
        assert "database" in http.check_problem(answer, 503, "unavailable")["detail"]
        assert time.monotonic() - began < 1
    http.check_problem(rest(stack, "POST", USERS, admin, {"username": "x"}), 400, "bad_request")
    http.check_problem(rest(stack, "GET", f"{USERS}/x", admin), 404, "not_found")
    stack.uploaded(admin, small_jpeg)
    stack["postgres"].start()
    stack["postgres"].wait_ready()
    wait_until(lambda: rest(stack, "GET", "/api/v1/me", admin).status == 200, 10)
    # From then on without a single failure.
    assert [rest(stack, "GET", "/api/v1/me", admin).status for _ in range(30)] == [200] * 30
    # A restart between two requests costs none: the old connection is not used.
    stack["postgres"].stop()
    stack["postgres"].start()
    stack["postgres"].wait_ready()
    assert [rest(stack, "GET", "/api/v1/me", admin).status for _ in range(30)] == [200] * 30
    for backend in stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway-api'"):
        assert backend == (True,)
    assert rest(stack, "GET", "/api/v1/me", admin).status == 200


def test_postgresql_that_hangs_keeps_no_upload(fresh_stack, small_jpeg):
    """Frozen, with 40 requests that wait for it: they end with 503 in time, and uploads go on as fast as before."""
    stack = fresh_stack()
    admin = stack.make_key(scopes="read,upload,admin")
    with concurrent.futures.ThreadPoolExecutor(40) as threads:
        assert {a.status for a in threads.map(lambda _: rest(stack, "GET", "/api/v1/me", admin), range(40))} == {200}
        stack["postgres"].pause()
        try:
            waiting = [threads.submit(lambda: (rest(stack, "GET", "/api/v1/me", admin), time.monotonic())) for _ in range(40)]
            began = time.monotonic()
            for _ in range(20):
                start = time.monotonic()
                stack.uploaded(admin, small_jpeg)
                assert time.monotonic() - start < 1
            for answer, ended in (one.result() for one in waiting):
                http.check_problem(answer, 503, "unavailable")
                assert ended - began < 12
            # Whatever the database did not do, the log says of which request.
            lines = [line for text in stack.logs().values() for line in text.splitlines() if "the database did not do it" in line]
            assert lines and all(re.search(r"route=/api/v1/me request_id=[\w-]{8,}", line) for line in lines), lines
        finally:
            stack["postgres"].resume()
        wait_until(lambda: rest(stack, "GET", "/api/v1/me", admin).status == 200, 10)
