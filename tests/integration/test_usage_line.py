"""HAProxy's usage line: one for each request on each transport, whatever becomes of the request, and right to the byte.

A receiver takes them in the place of the agent, and a small server answers in the place of the image servers. HAProxy,
the agent and gateway-api are the real ones.
"""

import re
import socket
import time

import pytest

from helpers import image_path, wait_until
from helpers_http import build, connect, read_answer
from helpers_usage import TRANSPORTS, Origin, Receiver, chunked, plain

IMAGE = image_path("local:///a.jpg", "w:8")
BODY = bytes(range(256)) * 48
MANY = [(f"X-Many-{n}", f'a "value", of {n}; with=more') for n in range(40)]


@pytest.fixture(scope="module")
def usage(module_stack):
    """(stack, receiver, origin)"""
    receiver = Receiver()
    stack = module_stack({"IMGPROXY_2_WEIGHT": "0", "SERVER_WRITE_TIMEOUT": "2s"}, start=False)
    stack.usage_addr = receiver.address
    stack.start()
    for name in ("imgproxy-1", "imgproxy-2"):
        stack[name].stop()
    origin = Origin(stack.image_servers[0].address)
    wait_until(lambda: stack.server_stat("be_imgproxy", "img1")["check_status"] in ("L7OK", "L6OK"), what="a check of it")
    stack.wait_server("be_imgproxy", "img1")
    stack.wait_server("be_imgproxy", "img2", up=False)
    yield stack, receiver, origin
    origin.close()
    receiver.close()


def check_image(stack, line, answer, method="GET"):
    """What every line of an image has that a server has answered."""
    assert line.token == stack.settings["USAGE_TOKEN"]
    assert line.user.isdigit() and line.key.isdigit()
    assert (line.code, line.status, line.termination) == ("allow", str(answer.status), "----")
    assert (line.backend, line.server, line.route) == ("be_imgproxy", "img1", "image")
    assert (line.method, line.address, line.path, line.request_length) == (method, "127.0.0.1", IMAGE, "-")
    assert re.fullmatch(r"\d{13}", line.start) and abs(int(line.start) / 1000 - time.time()) < 60
    assert int(line.active_ms) >= int(line.response_ms) >= 0


def test_an_image(usage):
    stack, receiver, origin = usage
    origin.says(plain(BODY, headers=[("Content-Type", "image/png"), ("Set-Cookie", "a=b"), ("RateLimit", "theirs")]))
    answer = stack.get(IMAGE + "?query=secret", stack.api_key)
    line = receiver.of(answer)
    assert answer.body == BODY
    check_image(stack, line, answer)
    assert int(line.length) == int(line.bytes_read) - int(line.head) == len(BODY)
    assert 0 < int(line.bytes_uploaded) < 1000


def test_a_head_says_so(usage):
    stack, receiver, origin = usage
    origin.says(plain(BODY))
    answer = stack.request("HEAD", IMAGE, stack.api_key)
    line = receiver.of(answer)
    check_image(stack, line, answer, "HEAD")
    assert int(line.length) == len(BODY)


def test_not_modified(usage):
    stack, receiver, origin = usage
    origin.says(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n')
    answer = stack.get(IMAGE, stack.api_key, [("If-None-Match", '"x"')])
    line = receiver.of(answer)
    check_image(stack, line, answer)
    assert (line.status, line.length) == ("304", "-") and line.head.isdigit()


@pytest.mark.parametrize("name, sent, closes", [
    ("one chunk", chunked([5]), False),
    ("many chunks", chunked([1, 10, 5000, 7, 20000, 65536, 3]), False),
    ("megabytes", chunked([65536] * 64 + [33]), False),
    ("no byte", chunked([]), False),
    ("many headers", chunked([1000], MANY), False),
    ("repeated headers", chunked([1000], [("Vary", "a,b"), ("Vary", "c"), ("X-E", ""), ("X-E", ""), ("Set-Cookie", "a=b")]), False),
    ("closed", b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + BODY, True),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n" + BODY, True),
])
def test_an_answer_without_length_is_measured_to_the_byte(usage, name, sent, closes):
    stack, receiver, origin = usage
    origin.says(sent, closes)
    answer = stack.get(IMAGE, stack.api_key)
    line = receiver.of(answer)
    check_image(stack, line, answer)
    assert line.length == "-" and int(line.bytes_read) - int(line.head) == len(answer.body), (name, line)


def test_the_path_is_the_clients_own(usage):
    stack, receiver, origin = usage
    origin.says(plain(BODY))
    long = '/img/unsafe/w:8/plain/local:///"\\]["%22%5d;,|' + "\\\"]'<>{}`^" * 200
    answer = stack.get(long + '?"]', stack.api_key)
    line = receiver.of(answer)
    assert line.path == long[:1024] and line.user.isdigit()


def test_refusals_of_haproxy_have_a_line_of_nobody(usage):
    stack, receiver, _ = usage
    requests = [
        (400, stack.request("GET", "http://gateway.test/img/a", stack.api_key)),
        (404, stack.get("/nowhere", stack.api_key)),
        (405, stack.request("DELETE", IMAGE, stack.api_key)),
        (414, stack.get("/img/" + "a" * 4097, stack.api_key)),
        (411, stack.request("POST", "/api/v1/upload", stack.api_key, body=b"", length=False)),
        (413, stack.request("POST", "/api/v1/upload", stack.api_key, [("Content-Length", "9" * 14)])),
        (400, stack.request("GET", IMAGE, stack.api_key, [("X-API-Key", "another")])),
        (401, stack.get(IMAGE, "x" * 256)),
        (200, stack.get("/healthz")),
    ]
    for status, answer in requests:
        line = receiver.of(answer)
        assert answer.status == status, answer
        assert (line.status, line.user, line.key, line.head, line.path) == (str(status), "-", "-", "-", "-"), line
        assert (line.backend, line.server, line.termination) == ("fe_gateway", "<NOSRV>", "LR--"), line
        assert int(line.length) == len(answer.body)


def test_refusals_of_the_agent_say_their_code(usage):
    stack, receiver, _ = usage
    key = stack.make_key(scopes="upload")
    for wanted, answer in (((401, "-"), stack.get(IMAGE)), ((401, "-"), stack.get(IMAGE, "igw_none")),
                           ((403, str(key.user.id)), stack.get(IMAGE, key))):
        line = receiver.of(answer)
        assert (answer.status, line.user) == wanted, (answer, line)
        assert (line.code, line.status, line.head, line.path) == (answer.code, str(answer.status), "-", IMAGE), line
        assert line.termination == "LR--" and int(line.length) == len(answer.body)


def test_without_a_verdict(usage):
    stack, receiver, _ = usage
    stack["agent"].stop()
    try:
        answer = stack.get(IMAGE, stack.api_key)
        line = receiver.of(answer)
        assert answer.status == 503 and (line.status, line.user, line.head) == ("503", "-", "-")
    finally:
        stack["agent"].start()
        stack["agent"].wait_ready()
    wait_until(lambda: stack.get("/api/v1/nothing", stack.api_key).status == 404, 10, "verdicts again")


def test_a_message_that_is_no_request(usage):
    stack, receiver, _ = usage
    before = {name: len(lines) for name, lines in receiver.find(id="-").items()}
    assert stack.raw(b"GAR BAGE\r\n\r\n").status == 400
    wait_until(lambda: all(len(lines) > before[name] for name, lines in receiver.find(id="-").items()), 10, "its line")
    time.sleep(0.1)
    for name, lines in receiver.find(id="-").items():
        assert len(lines) == before[name] + 1
        assert (lines[-1].method, lines[-1].status, lines[-1].user, lines[-1].length) == ("<BADREQ>", "400", "-", "-")


def test_an_upload(usage, small_jpeg):
    stack, receiver, _ = usage
    key = stack.make_key()
    answer = stack.upload(key, small_jpeg, form=False)
    line = receiver.of(answer)
    assert answer.status == 200, answer
    assert (line.user, line.key, line.code) == (str(key.user.id), str(key.id), "allow")
    assert (line.route, line.method, line.backend, line.server) == ("api", "POST", "be_api", "api")
    assert int(line.request_length) == len(small_jpeg)
    assert len(small_jpeg) < int(line.bytes_uploaded) < len(small_jpeg) + 1000
    assert int(line.length) == int(line.bytes_read) - int(line.head) == len(answer.body)


def test_a_client_that_leaves_within_a_large_image(usage):
    stack, receiver, origin = usage
    total = 64 << 20
    for sent in (plain(bytes(total)), chunked([1 << 20] * 64)):
        origin.says(sent)
        with connect(stack.address) as sock:
            sock.sendall(build("GET", IMAGE, [("X-API-Key", stack.api_key), ("User-Agent", "leaves")]))
            head = sock.recv(2000)
            number = re.search(rb"x-request-id: (\S+)", head, re.IGNORECASE)[1].decode()
        line = receiver.one(id=number)
        assert line.termination.startswith("C") and line.code == "allow" and line.status == "200"
        # Bounded by what buffers hold: no version of HAProxy tells what the client got.
        assert 0 < int(line.bytes_read) - int(line.head) < total


def test_haproxys_own_word_in_the_place_of_a_servers(usage):
    stack, receiver, origin = usage
    cases = [
        (502, plain(b"oops", "500 Internal Server Error"), "LH--"),
        (404, plain(b"none", "404 Not Found"), "LH--"),
        (502, b"this is no HTTP\r\n\r\n", "PH--"),
        (504, None, "sH--"),
    ]
    for status, sent, termination in cases:
        origin.says(sent, sent is not None)
        answer = stack.get(IMAGE, stack.api_key)
        line = receiver.of(answer)
        assert answer.status == status, answer
        assert (line.status, line.head, line.termination) == (str(status), "-", termination), line
        assert (line.backend, line.server, line.code) == ("be_imgproxy", "img1", "allow")
        assert int(line.length) == len(answer.body)


def test_each_request_of_a_kept_connection(usage):
    stack, receiver, origin = usage
    origin.says(plain(BODY))
    with socket.create_connection(("127.0.0.1", int(stack.settings["SERVER_PORT"])), 10) as sock:
        ids = []
        for number in range(3):
            time.sleep(0.3)
            began = time.time()
            request = build("GET", f"{IMAGE}{number}", [("X-API-Key", stack.api_key)])
            sock.sendall(request.replace(b"Connection: close\r\n", b""))
            ids.append(read_answer(sock).header("X-Request-ID"))
            line = receiver.one(id=ids[-1])
            assert line.path == f"{IMAGE}{number}" and int(line.length) == len(BODY)
            assert began - 0.1 < int(line.start) / 1000 < time.time() + 0.1, "not of the time before, when it was idle"
    assert len(set(ids)) == 3


def test_people_read_of_failures_alone_and_of_no_token(usage):
    stack, receiver, origin = usage
    origin.says(plain(BODY))
    good = stack.get(IMAGE, stack.api_key)
    origin.says(plain(b"oops", "500 Internal Server Error"), True)
    receiver.of(good)
    origin.says(None)
    bad = stack.get(IMAGE + "?query=secret", stack.api_key)
    receiver.of(bad)
    log = stack.logs()["haproxy.log"]
    assert f" status=503 " in log and f"request_id={bad.header('X-Request-ID')}" in log and good.header("X-Request-ID") not in log
    assert stack.settings["USAGE_TOKEN"] not in log and "gwu1" not in log and "query" not in log
    # Whatever the other tests made HAProxy say.
    assert stack.settings["USAGE_TOKEN"] not in "".join(stack.logs().values())


def test_nothing_came_twice(usage):
    _, receiver, _ = usage
    numbers = [[line.id for line in receiver.lines(name) if line.id != "-"] for name in TRANSPORTS]
    for of_one in numbers:
        assert len(of_one) == len(set(of_one)) > 30
    assert set(numbers[0]) == set(numbers[1])


def test_the_longest_line_keeps_its_fields(usage):
    stack, receiver, origin = usage
    origin.says(plain(BODY))
    # The path that people read is escaped, three bytes for each quote: it is what is cut.
    answer = stack.get("/img/unsafe/w:8/plain/local:///" + '"' * 4000, stack.api_key)
    line = receiver.of(answer)
    assert len(line.path) == 1024
    sizes = [len(message) for name in TRANSPORTS for message in receiver.messages[name]]
    assert max(sizes) <= 2560
