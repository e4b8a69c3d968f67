"""HTTP as the contract has it: forms of answers, targets, methods, lengths, CORS, headers that nobody may smuggle."""

import re

import pytest

from helpers import image_path
from helpers_http import build, check_problem, connect, read_answer

UPLOAD = "/api/v1/upload"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def test_healthz_needs_no_key(stack):
    answer = stack.get("/healthz")
    assert answer.status == 200 and answer.json() == {"status": "ok"}, answer
    assert answer.header("Content-Type") == "application/json"
    assert UUID.fullmatch(answer.header("X-Request-ID"))


def test_request_ids_are_the_gateways_own_and_unique(stack):
    found = {stack.get("/healthz", headers=[("X-Request-ID", "mine")]).header("X-Request-ID") for _ in range(20)}
    assert len(found) == 20 and all(map(UUID.fullmatch, found)), found


@pytest.mark.parametrize("path", [
    "/", "/img", "/imgx/unsafe/plain/local:///a.jpg", "/api", "/api/", "/api/v1", "/api/v2/upload", "/healthz/", "/metrics",
    "/readyz", "//img/unsafe/plain/local:///a.jpg", "/%69mg/unsafe/plain/local:///a.jpg", "/health", "/./healthz",
])
def test_other_paths_are_not_found(stack, owner, path):
    check_problem(stack.get(path, owner), 404, "not_found")


def test_unknown_paths_of_the_api(stack, owner):
    check_problem(stack.get("/api/v1/nothing", owner), 404, "not_found")
    check_problem(stack.get("/api/v1/nothing"), 401, "key_missing")


@pytest.mark.parametrize("target", [
    "http://gateway.test/healthz", "http://gateway.test/img/unsafe/plain/local:///a.jpg", "*", "gateway.test:443",
    "healthz", "/healthz#a", "/img/unsafe/plain/local:///a.jpg#b", "HTTP://gateway.test/api/v1/upload",
])
def test_only_the_origin_form_is_taken(stack, owner, target):
    answer = stack.request("GET", target, owner)
    assert answer.status == 400, answer
    # What HAProxy's parser refuses itself never becomes a request: its page has no problem in it.
    if answer.header("Content-Type") == "application/problem+json":
        check_problem(answer, 400, "bad_request")


@pytest.mark.parametrize("target", ["http://gateway.test/healthz", "http://gateway.test/api/v1/images", "http:/healthz"])
def test_a_version_that_is_claimed_changes_nothing(stack, owner, target):
    """HTTP/1 whose first line says HTTP/2.0: its target has the rules of HTTP/1."""
    answer = stack.raw(f"GET {target} HTTP/2.0\r\nHost: gateway.test\r\nX-API-Key: {owner.key}\r\n\r\n".encode())
    assert answer.status == 400, answer


@pytest.mark.parametrize("target", ["http://gateway.test/healthz", "*"])
def test_refused_target_forms_are_problems(stack, target):
    check_problem(stack.request("OPTIONS" if target == "*" else "GET", target), 400, "bad_request")


def test_connect_is_refused(stack):
    answer = stack.raw(b"CONNECT gateway.test:443 HTTP/1.1\r\nHost: gateway.test:443\r\nConnection: close\r\n\r\n")
    check_problem(answer, 400, "bad_request")


@pytest.mark.parametrize("data", [
    b"GET /healthz\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /healthz HTTP/1.1\r\nbroken header\r\n\r\n",
    b"POST /api/v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    b"POST /api/v1/upload HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /healthz HTTX/1.1\r\nHost: a\r\n\r\n",
], ids=repr)
def test_what_is_no_http_gets_400_and_nothing_breaks(stack, data):
    assert stack.raw(data).status == 400
    assert stack.get("/healthz").status == 200


@pytest.mark.parametrize("target", [
    "/img/unsafe/plain/local:///" + "a" * 4096, "/healthy?" + "a=b&" * 600, "/api/v1/" + "a" * 4090,
])
def test_too_long(stack, owner, target):
    answer = stack.get(target.replace("/healthy", "/api/v1/images"), owner)
    check_problem(answer, 414, "url_too_long")


def test_the_longest_path_gets_a_verdict(stack, owner):
    path = "/img/unsafe/plain/local:///"
    check_problem(stack.get(path + "a" * (4096 - len(path)), owner), 403, "source_forbidden")


@pytest.mark.parametrize("method, path, allow", [
    ("POST", "/img/unsafe/plain/local:///a.jpg", "GET, HEAD"), ("DELETE", "/img/unsafe/plain/local:///a.jpg", "GET, HEAD"),
    ("PUT", "/healthz", "GET, HEAD"), ("TRACE", "/healthz", "GET, HEAD"), ("PATCH", "/img/x", "GET, HEAD"),
    ("TRACE", "/api/v1/upload", "GET, HEAD, POST, PUT, PATCH, DELETE"), ("BREW", "/api/v1/upload", None),
    ("OPTIONS", "/img/unsafe/plain/local:///a.jpg", "GET, HEAD"), ("GET", UPLOAD, "POST"), ("DELETE", UPLOAD, "POST"),
])
def test_methods(stack, owner, method, path, allow):
    answer = stack.request(method, path, owner)
    check_problem(answer, 405, "method_not_allowed")
    if allow:
        assert answer.header("Allow") == allow


def test_head_is_get_without_a_body(stack, owner, source):
    path = image_path(source, ext="png")
    get, head = stack.get(path, owner), stack.request("HEAD", path, owner)
    assert head.status == get.status == 200 and head.body == b""
    for name in ("Content-Type", "ETag", "Last-Modified", "Content-Length"):
        assert head.header(name) == get.header(name), name


def test_head_needs_the_key_too(stack, source):
    answer = stack.request("HEAD", image_path(source))
    assert (answer.status, answer.body) == (401, b"")
    assert answer.header("Content-Type") == "application/problem+json"


def test_an_upload_without_a_length(stack, owner, small_jpeg):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(small_jpeg), small_jpeg)
    answer = stack.request("POST", UPLOAD, owner, [("Transfer-Encoding", "chunked")], chunked, length=False)
    check_problem(answer, 411, "length_required")
    check_problem(stack.request("POST", UPLOAD, owner), 411, "length_required")


def test_an_announced_body_that_is_too_large_is_refused_at_once(stack, owner):
    most = 100 << 20
    for length in (most + 65537, 10**14):
        answer = stack.request("POST", UPLOAD, owner, [("Content-Length", str(length))])
        check_problem(answer, 413, "too_large")
    # More digits than any length has: here the number itself is not believed.
    answer = stack.request("POST", UPLOAD, owner, [("Content-Length", "18446744073709551617")])
    assert answer.status in (400, 413), answer


def test_an_image_request_has_no_body(stack, owner, source):
    check_problem(stack.request("GET", image_path(source), owner, body=b"x"), 400, "bad_request")
    chunked = b"1\r\nx\r\n0\r\n\r\n"
    answer = stack.request("GET", image_path(source), owner, [("Transfer-Encoding", "chunked")], chunked, length=False)
    check_problem(answer, 400, "bad_request")


def test_a_query_does_not_reach_the_image_server(stack, owner, source):
    plain = stack.get(image_path(source, ext="png"), owner)
    query = stack.get(image_path(source, ext="png") + "?w=1&x=%2e%2e", owner)
    assert query.status == 200 and query.body == plain.body


SPOOFED = [("X-GW-User", "{other}"), ("X_GW_User", "{other}"), ("x-gw-user", "{other}"), ("X-GW_User", "{other}"),
           ("X-GW-Key", "1"), ("X-GW-Scopes", "read,upload,admin"), ("X_GW_Scopes", "admin"), ("X-GW-Token", "guess")]


def test_spoofed_headers_do_not_choose_the_tenant(stack, owner, small_jpeg):
    victim = stack.make_user()
    headers = [(name, value.format(other=victim.id)) for name, value in SPOOFED]
    before = len(stack.files_of(owner.user))
    for form in (True, False):
        data = small_jpeg + b"spoofed" + bytes([form])
        answer = stack.upload(owner, data, form=form, headers=headers)
        assert answer.status == 200, answer
        assert stack.stored(owner.user, answer.json()["source"]) == data
    assert stack.files_of(victim) == [] and len(stack.files_of(owner.user)) == before + 2


def test_spoofed_headers_give_no_scope(stack, small_jpeg):
    reader = stack.make_key(scopes="read")
    check_problem(stack.upload(reader, small_jpeg, headers=SPOOFED), 403, "scope_missing")
    check_problem(stack.request("GET", "/api/v1/users", reader, SPOOFED), 403, "scope_missing")
    check_problem(stack.request("GET", "/api/v1/users", None, SPOOFED), 401, "key_missing")


def test_pipelined_requests_are_judged_one_by_one(stack, owner, source):
    good = build("GET", image_path(source), [("X-API-Key", owner.key)]).replace(b"Connection: close\r\n", b"")
    with connect(stack.address) as sock:
        sock.sendall(good)
        assert read_answer(sock).status == 200
        # The same connection without the key: what was allowed before counts for nothing.
        sock.sendall(build("GET", image_path(source)))
        check_problem(read_answer(sock), 401, "key_missing")


def test_no_cors_unless_configured(stack, owner, source):
    answer = stack.get(image_path(source), owner, [("Origin", "https://a.example")])
    assert answer.status == 200
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
    preflight = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")]
    assert stack.request("OPTIONS", image_path(source), None, preflight).status == 405


@pytest.fixture(scope="module")
def cors(module_stack):
    return module_stack({"SERVER_CORS_ORIGINS": "https://a.example https://b.example:8443"})


def preflight_of(origin):
    return [("Origin", origin), ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "x-api-key")]


@pytest.mark.parametrize("origin", ["https://a.example", "https://b.example:8443"])
def test_cors_of_a_configured_origin(cors, origin):
    preflight = cors.request("OPTIONS", UPLOAD, None, preflight_of(origin))
    assert preflight.status == 204, preflight
    assert "POST" in preflight.header("Access-Control-Allow-Methods")
    assert "x-api-key" in preflight.header("Access-Control-Allow-Headers").lower()
    plain = cors.get(cors.demo.sample_path, cors.api_key, [("Origin", origin)])
    refused = cors.get(cors.demo.sample_path, None, [("Origin", origin)])
    check_problem(refused, 401, "key_missing")
    for answer in (preflight, plain, refused):
        assert answer.header("Access-Control-Allow-Origin") == origin
        assert answer.header("Access-Control-Allow-Credentials") is None
        assert "Origin" in ",".join(answer.all("Vary"))
    assert "X-Request-ID" in plain.header("Access-Control-Expose-Headers")


@pytest.mark.parametrize("origin", ["https://evil.example", "https://a.example.evil", "null", "", "*",
                                    "https://a.example https://b.example:8443", "https://b.example"])
def test_cors_of_another_origin(cors, origin):
    preflight = cors.request("OPTIONS", UPLOAD, None, preflight_of(origin))
    plain = cors.get(cors.demo.sample_path, cors.api_key, [("Origin", origin)])
    assert preflight.status == 405 and plain.status == 200
    for answer in (preflight, plain):
        assert answer.header("Access-Control-Allow-Origin") is None
        assert "Origin" in ",".join(answer.all("Vary"))


def test_cors_for_all(fresh_stack):
    stack = fresh_stack({"SERVER_CORS_ORIGINS": "*"})
    answer = stack.request("OPTIONS", UPLOAD, None, preflight_of("https://anyone.example"))
    assert answer.status == 204 and answer.header("Access-Control-Allow-Origin") == "*"
    plain = stack.get(stack.demo.sample_path, stack.api_key, [("Origin", "https://anyone.example")])
    assert plain.status == 200 and plain.header("Access-Control-Allow-Origin") == "*"
    assert stack.get("/healthz").header("Access-Control-Allow-Origin") is None
