"""HTTPS at HAProxy: HTTP/2 follows the same rules as HTTP/1.1, plain HTTP is sent away where that is asked for."""

import math
import os
import re
import ssl
import subprocess
import tempfile
import time

import pytest
from gwstack import StackError, ports
from gwstack.layout import find_program

import helpers_h2 as h2
import helpers_http as http
from helpers import ROOT, image_path, wait_until
from helpers_records import row_of

HSTS = "31536000"


class Secure:
    """A stack with a TLS port, and what a client needs for it."""

    def __init__(self, start, **settings):
        self.folder = tempfile.mkdtemp(prefix="igw-tls-")
        os.chmod(self.folder, 0o755)
        self.certificate, key = h2.make_certificate(self.folder)
        self.pem = os.path.join(self.folder, "site.pem")
        with open(self.pem, "w", encoding="ascii") as out:
            for part in (self.certificate, key):
                with open(part, encoding="ascii") as file:
                    out.write(file.read())
        # Root starts the tests and the stack's user HAProxy; the folder is gone with the test.
        os.chmod(self.pem, 0o644)
        self.port = ports.find_free()
        self.stack = start({"SERVER_TLS_PORT": str(self.port), "SERVER_TLS_CERTIFICATE": self.pem, **settings})
        self.address = f"127.0.0.1:{self.port}"

    def context(self, **more):
        return h2.tls_context(self.certificate, **more)

    def h2(self, method, path, key=None, headers=(), body=None, **more):
        return h2.request(self.address, self.context(), method, path, key, headers, body, **more)

    def h1(self, data, **more):
        """Bytes on a TLS connection of HTTP/1.1."""
        context = self.context(alpn=("http/1.1",), **more)
        host, port = self.address.split(":")
        with http.socket.create_connection((host, int(port)), 30) as plain:
            with context.wrap_socket(plain, server_hostname="gateway.test") as sock:
                sock.sendall(data)
                return http.read_answer(sock)

    def curl(self, *args, key=None):
        """What a client sees that nobody wrote for this test: (status, version, headers and body)."""
        command = ["curl", "-sS", "-i", "--max-time", "60", "--cacert", self.certificate, "--resolve",
                   f"gateway.test:{self.port}:127.0.0.1", "-w", "\n%{http_code} %{http_version}",
                   *(["-H", f"X-API-Key: {key.key}"] if key else []), *args]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        text, _, last = done.stdout.rpartition(b"\n")
        status, version = last.decode().split()
        return int(status), version, text

    @property
    def url(self):
        return f"https://gateway.test:{self.port}"


AT_ONCE = 60


@pytest.fixture(scope="module")
def secure(module_stack):
    return Secure(module_stack, SERVER_TLS_HSTS_SECONDS=HSTS, SERVER_CORS_ORIGINS="https://a.example",
                  UPLOADS_MAX_SIZE="8MB", API_MAX_USER_REQUESTS=str(AT_ONCE))


@pytest.fixture(scope="module")
def user_key(secure):
    return secure.stack.make_key(scopes="read,upload")


@pytest.fixture(scope="module")
def picture(secure, user_key, small_jpeg):
    answer = secure.h2("POST", "/api/v1/upload", user_key, {"Content-Type": "image/jpeg"}, small_jpeg)
    assert answer.status == 200, answer
    return image_path(answer.json()["source"], "rs:fill:16:16", "png")


# ---- that it works, to the byte -------------------------------------------------------------------------------------


def test_streams_of_a_connection_are_requests_at_once(secure, small_jpeg):
    """Each counts for its user, until it has ended."""
    key = secure.stack.make_key()
    upload = [("content-type", "image/jpeg"), ("content-length", str(len(small_jpeg)))]
    with h2.Client(secure.address, secure.context()) as client:
        for _ in range(2 * AT_ONCE):
            assert client.answer(client.start(h2.head("GET", "/api/v1/images", key))).status == 200
        streams = [client.start(h2.head("POST", "/api/v1/upload", key, upload), end=False) for _ in range(AT_ONCE)]
        wait_until(lambda: secure.stack.haproxy("show table st_api").count(f"key={key.user.id} ") == 1
                   and f"conn_cur={AT_ONCE}" in secure.stack.haproxy("show table st_api"), what="all are under way")
        http.check_problem(client.answer(client.start(h2.head("GET", "/api/v1/images", key))), 429, "rate_limited")
        for stream in streams:
            client.send(stream, small_jpeg)
        assert {client.answer(stream).status for stream in streams} == {200}
        assert client.answer(client.start(h2.head("GET", "/api/v1/images", key))).status == 200


def test_an_image_over_http2_is_that_over_http1(secure, user_key, picture):
    plain = secure.stack.get(picture, user_key)
    over_h2 = secure.h2("GET", picture, user_key)
    over_tls = secure.h1(http.build("GET", picture, {"X-API-Key": user_key.key}))
    assert plain.status == over_h2.status == over_tls.status == 200
    assert plain.body == over_h2.body == over_tls.body and plain.body.startswith(b"\x89PNG")
    ids = {answer.header("X-Request-ID") for answer in (plain, over_h2, over_tls)}
    assert len(ids) == 3 and None not in ids
    names = ("content-type", "cache-control", "etag", "vary", "content-length")
    assert [over_h2.all(name) for name in names] == [plain.all(name) for name in names]


def test_head_and_not_modified(secure, user_key, picture):
    whole = secure.h2("GET", picture, user_key)
    head = secure.h2("HEAD", picture, user_key)
    assert head.status == 200 and head.body == b"" and head.header("Content-Length") == str(len(whole.body))
    again = secure.h2("GET", picture, user_key, {"If-None-Match": whole.header("ETag")})
    assert again.status == 304 and again.body == b""


def test_hsts_is_said_over_tls_alone(secure, user_key, picture):
    for answer in (secure.h2("GET", picture, user_key), secure.h2("GET", picture)):
        assert answer.header("Strict-Transport-Security") == f"max-age={HSTS}"
    assert secure.stack.get(picture, user_key).header("Strict-Transport-Security") is None


def test_many_requests_on_one_connection(secure, user_key, picture):
    with h2.Client(secure.address, secure.context()) as client:
        wanted = {client.start(h2.head("GET", picture, user_key if i % 3 else None)): i % 3 for i in range(90)}
        answers = {stream: client.answer(stream) for stream in wanted}
    for stream, known in wanted.items():
        assert answers[stream].status == (200 if known else 401), answers[stream]
    ids = [answer.header("X-Request-ID") for answer in answers.values()]
    assert len(set(ids)) == 90
    known = [answers[stream].header("X-Request-ID") for stream, is_known in wanted.items() if is_known]
    wait_until(lambda: secure.stack.sql("SELECT count(*) FROM request_logs WHERE request_id = ANY(%s)", (known,)) == [(60,)],
               20, "a row for each of the sixty")


@pytest.mark.parametrize("version, option", [("2", "--http2"), ("1.1", "--http1.1")])
def test_curl_uploads_and_asks(secure, user_key, photo, version, option):
    """A large file, announced with Expect: 100-continue where curl does so."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(photo)
        file.flush()
        for more in ((), ("-H", "Expect: 100-continue")):
            status, spoken, text = secure.curl(option, *more, "-F", f"file=@{file.name}", secure.url + "/api/v1/upload",
                                               key=user_key)
            assert (status, spoken) == (200, version), text
    source = re.search(rb'"source":"([^"]+)"', text)[1].decode()
    assert secure.stack.stored(user_key.user, source) == photo
    status, spoken, text = secure.curl(option, secure.url + image_path(source, "rs:fit:40:40", "png"), key=user_key)
    assert (status, spoken) == (200, version) and b"\x89PNG" in text
    status, spoken, text = secure.curl(option, secure.url + image_path(source, "rs:fit:40:40", "png"))
    assert (status, spoken) == (401, version) and b"key_missing" in text


def test_usage_over_http2_is_exact(secure, user_key, picture, small_jpeg):
    image = secure.h2("GET", picture, user_key)
    upload = secure.h2("POST", "/api/v1/upload", user_key, {"Content-Type": "image/jpeg"}, small_jpeg)
    refused = secure.h2("GET", "/img/unsafe/rs:fill:1:1:1:1:1:1/x", user_key)
    assert (image.status, upload.status, refused.status) == (200, 200, 400)
    stack = secure.stack
    row = row_of(stack, image.header("X-Request-ID"))
    assert (row["method"], row["request_path"], row["response_status"]) == ("GET", picture, 200)
    assert row["response_size_bytes"] == row["billed_bytes"] == len(image.body)
    row = row_of(stack, upload.header("X-Request-ID"))
    assert (row["method"], row["request_size_bytes"], row["billed_bytes"]) == ("POST", len(small_jpeg), len(small_jpeg))
    assert row["response_size_bytes"] == len(upload.body)
    row = row_of(stack, refused.header("X-Request-ID"))
    assert (row["code"], row["response_status"], row["billed_bytes"]) == ("url_invalid", 400, 0)


# ---- that the rules hold ----------------------------------------------------------------------------------------------

HOSTILE = [
    # What HTTP/2 can say and HTTP/1.1 cannot: parts of the URL that are not the path.
    dict(path="/healthz", authority="gateway.test/img/unsafe"), dict(path="/healthz", authority="gateway.test?x"),
    dict(path="/healthz", authority="gateway.test#x"), dict(path="/healthz", authority="user@gateway.test"),
    dict(path="/healthz", authority="gateway.test\\x"), dict(path="/healthz", scheme="file"),
    dict(path="/healthz", scheme="https://gateway.test/img"), dict(path="/healthz", scheme="javascript"),
    # Forms of a target that HTTP/1.1 has, too.
    dict(path="http://evil.test/healthz"), dict(path="*"), dict(path=""), dict(path="healthz"), dict(path="?x=/healthz"),
    dict(path="/healthz#x"), dict(path="/healthz\x7f"), dict(path="/healthz x"), dict(path="/healthz\xe9"),
    dict(path="/healthz\t"), dict(path="/healthz\0"), dict(method="CONNECT", path=None, scheme=None),
    dict(method="CONNECT", path="/healthz", headers=[(":protocol", "websocket")]), dict(method="OPTIONS", path="*"),
]


@pytest.mark.parametrize("ask", HOSTILE, ids=[repr(sorted(ask.items())) for ask in HOSTILE])
def test_the_target_is_a_plain_path(secure, user_key, ask):
    """HAProxy's parser ends the stream, or a rule of the frontend answers 400; nothing gets further."""
    ask = dict(ask)
    try:
        answer = secure.h2(ask.pop("method", "GET"), ask.pop("path"), user_key, **ask)
    except h2.Stopped as stopped:
        assert "PROTOCOL_ERROR" in str(stopped)
        return
    http.check_problem(answer, 400, "bad_request")


def test_the_authority_leads_nowhere(secure, user_key, picture):
    """What the servers are asked for comes from the verdict and from haproxy.cfg, whatever host is named."""
    for authority, headers in (("evil.test", ()), (None, ()), (None, [("host", "evil.test")]), ("127.0.0.1:1", ()),
                               ("gateway.test", [("host", "evil.test")])):
        assert secure.h2("GET", picture, user_key, headers, authority=authority).status == 200
    assert secure.h2("GET", picture + "?x=y", user_key).status == 200
    assert secure.h2("GET", "//evil.test" + picture, user_key).code == "not_found"
    other = secure.stack.make_key()
    assert secure.h2("GET", picture, other).code == "not_found"


def test_spoofed_headers_are_dropped(secure, user_key):
    spoof = [("x-gw-user", "1"), ("x_gw_user", "1"), ("x-gw-scopes", "admin"), ("x-request-id", "mine"),
             ("x-forwarded-for", "203.0.113.9")]
    answer = secure.h2("GET", "/api/v1/nothing", user_key, spoof)
    assert answer.status == 404 and answer.header("X-Request-ID") != "mine"


def test_refusals_are_the_same(secure, user_key, picture):
    ask = secure.h2
    http.check_problem(ask("GET", picture), 401, "key_missing")
    http.check_problem(ask("GET", picture, "igw_1_x_y"), 401, "key_invalid")
    http.check_problem(ask("GET", "/elsewhere", user_key), 404, "not_found")
    http.check_problem(ask("BREW", "/healthz"), 405, "method_not_allowed")
    http.check_problem(ask("POST", picture, user_key, body=b"x"), 405, "method_not_allowed")
    http.check_problem(ask("GET", "/img/" + "a" * 4100, user_key), 414, "url_too_long")
    http.check_problem(ask("GET", picture + "?" + "a" * 2100, user_key), 414, "url_too_long")
    http.check_problem(ask("GET", picture, user_key, [("x-api-key", "another")]), 400, "bad_request")
    http.check_problem(ask("GET", picture, None, [("authorization", "Bearer " + "a" * 300)]), 401, "key_invalid")
    http.check_problem(ask("GET", picture, user_key, body=b"x" * 10), 400, "bad_request")
    http.check_problem(ask("POST", "/api/v1/upload", user_key, body=b"x" * (9 << 20)), 413, "too_large")


def test_a_body_without_a_length_is_refused(secure, user_key, picture):
    """HTTP/2 has no chunks: a body may come without a word about it, at once or later."""
    def later(method, path, data):
        with h2.Client(secure.address, secure.context()) as client:
            stream = client.start(h2.head(method, path, user_key), end=False)
            time.sleep(0.3)
            client.send(stream, data)
            return client.answer(stream)

    for method in ("POST", "PUT", "PATCH", "GET", "DELETE"):
        answer = secure.h2(method, "/api/v1/upload", user_key, body=b"x" * 10, length=False)
        http.check_problem(answer, 411, "length_required")
    http.check_problem(later("GET", "/api/v1/nothing", b"x"), 411, "length_required")
    http.check_problem(later("GET", picture, b"x"), 400, "bad_request")
    # An end that comes late is no body.
    assert later("GET", picture, b"").status == 200


def test_a_body_that_never_comes_is_408(secure, user_key, picture):
    with h2.Client(secure.address, secure.context()) as client:
        answer = client.answer(client.start(h2.head("GET", picture, user_key), end=False))
    http.check_problem(answer, 408, "bad_request")


@pytest.mark.parametrize("headers", [[("content-length", "5")], [("content-length", "5"), ("content-length", "900")],
                                     [("content-length", "18446744073709551621")], [("transfer-encoding", "chunked")]])
def test_a_wrong_length_ends_the_stream(secure, user_key, small_jpeg, headers):
    before = secure.stack.files_of(user_key.user)
    try:
        answer = secure.h2("POST", "/api/v1/upload", user_key, headers, small_jpeg, length=False)
        assert answer.status == 400, answer
    except h2.Stopped:
        pass
    assert secure.stack.settled_files_of(user_key.user) == before


def test_cors(secure, user_key, picture):
    origin = ("origin", "https://a.example")
    answer = secure.h2("GET", picture, user_key, [origin])
    assert answer.header("Access-Control-Allow-Origin") == "https://a.example"
    ask = secure.h2("OPTIONS", picture, None, [origin, ("access-control-request-method", "GET")])
    assert ask.status == 204 and ask.header("Access-Control-Allow-Origin") == "https://a.example"


def test_http1_over_tls_has_the_rules_of_http1(secure, user_key, picture):
    for target in (f"https://gateway.test{picture}", "*", f"{picture}#x"):
        assert secure.h1(http.build("GET", target, {"X-API-Key": user_key.key})).status == 400


def test_there_is_no_http2_without_tls(secure, user_key):
    """Neither with its preface nor by an upgrade."""
    answer = secure.stack.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert answer.status == 400
    upgrade = {"X-API-Key": user_key.key, "Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": ""}
    assert secure.stack.request("GET", "/healthz", headers=upgrade).status == 200


# ---- versions and ciphers -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_2_and_1_3_and_nothing_older(secure):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with h2.Client(secure.address, secure.context(least=version, most=version)) as client:
            assert client.sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    old = secure.context(least=ssl.TLSVersion.TLSv1, most=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        h2.Client(secure.address, old)
    weak = secure.context(most=ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        h2.Client(secure.address, weak)


def test_a_client_without_alpn_gets_http1(secure):
    context = secure.context(alpn=())
    with http.socket.create_connection(("127.0.0.1", secure.port), 30) as plain:
        with context.wrap_socket(plain, server_hostname="gateway.test") as sock:
            sock.sendall(http.build("GET", "/healthz"))
            assert http.read_answer(sock).status == 200


# ---- the redirect ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sent_away(module_stack):
    return Secure(module_stack, SERVER_TLS_REDIRECT="true")


def test_plain_http_is_sent_to_https(sent_away):
    stack = sent_away.stack
    for method in ("GET", "HEAD", "POST", "DELETE"):
        for host in ("gateway.test", f"gateway.test:{stack['haproxy'].port}"):
            answer = stack.request(method, "/img/unsafe/a?b=c", host=host, body=b"x" if method == "POST" else None)
            assert answer.status == 308, answer
            assert answer.header("Location") == f"https://gateway.test:{sent_away.port}/img/unsafe/a?b=c"
            assert answer.header("X-Request-ID")
    answer = stack.request("GET", "/x", host=f"[::1]:{stack['haproxy'].port}")
    assert answer.header("Location") == f"https://[::1]:{sent_away.port}/x"
    # Without a name there is nowhere to send to, and one that is none is not repeated.
    for host in (None, "", "a b", "a/b", 'a"b', "a@b", "a,b"):
        assert stack.request("GET", "/x", host=host).status == 400, host
    assert stack.get("/healthz").status == 200
    assert sent_away.h2("GET", "/img/unsafe/a").code == "key_missing"
    assert sent_away.h1(http.build("GET", "/img/unsafe/a")).code == "key_missing"


def test_curl_follows_and_keeps_the_method(sent_away, small_jpeg):
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(small_jpeg)
        file.flush()
        port = sent_away.stack["haproxy"].port
        done = subprocess.run(
            ["curl", "-sS", "-L", "--cacert", sent_away.certificate, "--resolve", f"gateway.test:{sent_away.port}:127.0.0.1",
             "--resolve", f"gateway.test:{port}:127.0.0.1", "-H", f"X-API-Key: {sent_away.stack.api_key}",
             "-F", f"file=@{file.name}", f"http://gateway.test:{port}/api/v1/upload"], capture_output=True, check=False)
    assert b'"source"' in done.stdout, done


# ---- the configuration ------------------------------------------------------------------------------------------------------


def check_config(secure, **environ):
    """haproxy -c with the stack's own environment and these."""
    command = [find_program("haproxy", os.environ.get("HAPROXY_BIN")), "-dW", "-c", "-f", os.path.join(ROOT, "haproxy/haproxy.cfg")]
    environment = {**secure.stack["haproxy"].environment(), "HAPROXY_SPOE_CONFIG": os.path.join(ROOT, "haproxy/spoe.conf"),
                   "PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_configuration_is_valid_without_a_warning(secure):
    for environ in ({}, {"SERVER_TLS_PORT": ""}, {"SERVER_TLS_PORT": "0", "SERVER_TLS_CERTIFICATE": ""},
                    {"SERVER_TLS_REDIRECT": "true"}, {"SERVER_TLS_REDIRECT": "true", "SERVER_TLS_PUBLIC_PORT": "443"},
                    {"SERVER_TLS_REDIRECT": "true", "SERVER_TLS_PORT": "0"}, {"SERVER_TLS_HSTS_SECONDS": "0"}):
        done = check_config(secure, **environ)
        assert done.returncode == 0 and done.stdout + done.stderr == "Configuration file is valid\n", (environ, done)


def test_a_port_without_a_certificate_is_refused(secure):
    done = check_config(secure, SERVER_TLS_CERTIFICATE="")
    assert done.returncode == 1 and "SERVER_TLS_CERTIFICATE" in done.stderr, done
    done = check_config(secure, SERVER_TLS_CERTIFICATE="/nonexistent/site.pem")
    assert done.returncode == 1 and "/nonexistent/site.pem" in done.stderr, done
    result = secure.stack.run_program("gateway-agent", "--config", secure.stack.config, "--check-config",
                                      env={"SERVER_TLS_CERTIFICATE": ""})
    assert result.rc == 1 and "server.tls_certificate" in result.err, result


def test_a_stack_says_what_is_wrong_with_its_certificate(fresh_stack):
    stack = fresh_stack({"SERVER_TLS_PORT": str(ports.find_free()), "SERVER_TLS_CERTIFICATE": "/nonexistent/site.pem"}, start=False)
    with pytest.raises(StackError, match="/nonexistent/site.pem"):
        stack.start()


# ---- when it expires ----------------------------------------------------------------------------------------------------


def test_the_metric_tells_when_the_certificate_expires(secure, stack):
    """Of the file as it is now; NaN and one line when the agent may not read it; NaN without HTTPS."""
    def expires(of=None):
        return (of or secure.stack).metrics().get("gateway_tls_certificate_expiry_timestamp_seconds")

    with open(secure.pem, encoding="ascii") as file:
        pem = file.read()
    told = ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(secure.certificate)["notAfter"])
    assert expires() == told and 0 < told - time.time() < 3 * 86400
    other, _ = h2.make_certificate(secure.folder, "other", days=30)
    try:
        with open(other, encoding="ascii") as file:
            renewed = file.read()
        with open(secure.pem, "w", encoding="ascii") as file:
            file.write(renewed)
        assert expires() == ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(other)["notAfter"]) > told
        os.chmod(secure.pem, 0)
        for _ in range(5):
            assert math.isnan(expires())
        wait_until(lambda: f"server.tls_certificate: {secure.pem}: Permission denied" in secure.stack.logs()["agent.log"])
        assert secure.stack.logs()["agent.log"].count("server.tls_certificate: ") == 1
    finally:
        os.chmod(secure.pem, 0o644)
        with open(secure.pem, "w", encoding="ascii") as file:
            file.write(pem)
    assert expires() == told
    assert math.isnan(expires(stack))
