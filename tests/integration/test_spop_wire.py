"""The agent's SPOP socket, spoken to byte by byte."""

import base64
import hashlib
import hmac
import struct

import pytest

from helpers import wait_until
from helpers_spop import (ACK, AGENT_HELLO, FIN, HAPROXY_DISCONNECT, HAPROXY_HELLO, NOTIFY, Client, Raw, check, frame,
                          hello, message, pairs, varint)


@pytest.fixture(params=[0, 1], ids=["worker-1", "worker-2"])
def worker(stack, request):
    return stack["agent"].workers()[request.param]


@pytest.fixture(autouse=True)
def no_worker_is_replaced(stack):
    before = stack.metrics().sum("gateway_worker_restarts_total")
    yield
    assert stack.metrics().sum("gateway_worker_restarts_total") == before


def assert_serves(worker):
    with Client(worker) as client:
        client.send(check(1, 1))
        assert client.read().code() == "key_missing"


def test_hello(worker):
    with Client(worker) as client:
        agreed = client.agreed
        assert (agreed.stream, agreed.number, agreed.flags) == (0, 0, FIN)
        found = agreed.pairs()
        assert found["version"] == "2.0" and found["max-frame-size"] == 16380
        assert "pipelining" in found["capabilities"].split(",")


def test_hello_byte_by_byte(worker):
    with Client(worker, say_hello=False) as client:
        for byte in hello():
            client.send(bytes([byte]))
        assert client.read().kind == AGENT_HELLO
        for byte in check(7, 8):
            client.send(bytes([byte]))
        answer = client.read()
        assert (answer.kind, answer.stream, answer.number) == (ACK, 7, 8)


def test_health_check(worker):
    with Client(worker, say_hello=False) as client:
        client.send(hello(healthcheck=True))
        assert client.read().kind == AGENT_HELLO
        assert client.ended()


def test_the_frame_size_is_the_smaller_of_both(worker):
    for offered, agreed in ((256, 256), (1000, 1000), (1 << 20, 65536)):
        with Client(worker, say_hello=False) as client:
            client.send(hello(max_frame_size=Raw(b"\x03" + varint(offered))))
            assert client.read().pairs()["max-frame-size"] == agreed


def test_without_the_capability_nothing_is_promised(worker):
    with Client(worker, say_hello=False) as client:
        client.send(hello(capabilities=""))
        assert client.read().pairs()["capabilities"] == ""


def test_pipelined_questions(worker, owner):
    with Client(worker) as client:
        client.send(check(5, 1), check(6, 2, key=owner.key), check(5, 3, path="/api/v1/images", key=owner.key))
        answers = {(answer.stream, answer.number): answer for answer in (client.read() for _ in range(3))}
    assert sorted(answers) == [(5, 1), (5, 3), (6, 2)]
    assert all(answer.kind == ACK and answer.flags == FIN for answer in answers.values())
    assert answers[5, 1].code() == "key_missing"
    assert "route" not in answers[6, 2].txn() and "target" in answers[6, 2].txn()
    assert answers[5, 3].txn()["route"] == "api"


def test_many_questions_on_one_connection(worker, owner):
    with Client(worker) as client:
        client.send(*(check(number, number + 1, key=owner.key) for number in range(500)))
        answers = [client.read() for _ in range(500)]
    assert sorted(answer.stream for answer in answers) == list(range(500))
    assert {answer.txn()["verdict"] for answer in answers} == {"allow"}


def test_what_a_refusal_says(worker):
    with Client(worker) as client:
        client.send(check(0, 0))
        answer = client.read()
    found = answer.txn()
    assert (answer.stream, answer.number) == (0, 0)
    assert (found["verdict"], found["status"], found["code"]) == ("deny", 401, "key_missing")
    assert found["detail"].isascii() and found["detail"].isprintable()
    assert not {"user", "key", "target", "scopes", "route"} & set(found)


def test_what_a_known_client_is_told_when_refused(worker, stack):
    reader = stack.make_key(scopes="read")
    with Client(worker) as client:
        client.send(check(1, 1, path="/api/v1/upload", method="POST", key=reader.key))
        found = client.read().txn()
    assert (found["code"], found["status"]) == ("scope_missing", 403)
    assert (found["user"], found["key"]) == (reader.user.id, reader.id)


def test_the_target_is_signed_with_the_image_servers_key(worker, stack, owner):
    with Client(worker) as client:
        client.send(check(1, 1, path="/img/unsafe/rs:fill:300:200/plain/local:///a.jpg@png", key=owner.key))
        found = client.read().txn()
    source = base64.urlsafe_b64encode(f"local:///{owner.user.id}/a.jpg".encode()).rstrip(b"=").decode()
    path = f"/rs:fill:300:200/{source}.png"
    key, salt = (bytes.fromhex(stack.settings[name]) for name in ("IMGPROXY_KEY", "IMGPROXY_SALT"))
    digest = hmac.new(key, salt + path.encode(), hashlib.sha256).digest()
    assert found == {
        "verdict": "allow", "user": owner.user.id, "key": owner.id, "target": "/" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode() + path}


@pytest.mark.parametrize("question", [
    frame(NOTIFY, b"", 3, 4), frame(NOTIFY, message("other", v=1), 3, 4), check(3, 4, v=2), check(3, 4, v=None),
    frame(NOTIFY, message("check"), 3, 4),
], ids=["no message", "another message", "another version", "no version", "no arguments"])
def test_a_question_of_another_kind_gets_no_allow(worker, question):
    with Client(worker) as client:
        client.send(question)
        answer = client.read()
        assert (answer.stream, answer.number) == (3, 4)
        assert (answer.txn()["verdict"], answer.code()) == ("deny", "unavailable")


def test_unknown_arguments_and_messages_do_not_matter(worker, owner):
    question = frame(NOTIFY, message("first", a=1, b="x") + message("check", new=b"\0\1", v=1, method="GET", later=True,
                                                                    path="/api/v1/me", key=owner.key), 1, 2)
    with Client(worker) as client:
        client.send(question)
        assert client.read().txn()["verdict"] == "allow"


def test_arguments_of_odd_types(worker, owner):
    with Client(worker) as client:
        client.send(check(1, 1, key=1), check(2, 1, key=Raw(b"\x09" + varint(2) + b"\xff\x00")), check(3, 1, path=None),
                    check(4, 1, key=owner.key.encode()), check(5, 1, key=True, method=None, path=7))
        codes = {answer.stream: answer.code() for answer in (client.read() for _ in range(5))}
    assert codes[1] == "key_missing" and codes[2] == "key_invalid" and codes[3] == "not_found" and codes[4] == "allow"
    assert codes[5] == "not_found"


def test_frames_of_unknown_type_are_skipped(worker):
    with Client(worker) as client:
        client.send(frame(77, b"whatever", 9, 9), check(1, 1), frame(255), check(2, 2))
        assert [client.read().stream for _ in range(2)] == [1, 2]


def test_good_bye(worker):
    with Client(worker) as client:
        client.send(check(1, 1), frame(HAPROXY_DISCONNECT, pairs({"status-code": 0, "message": "normal"})))
        assert client.read().kind == ACK
        assert client.status_of_end() == 0


ENDINGS = {
    "http": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3, "too_big"),
    "ones": (b"\xff" * 64, 3, "too_big"),
    "no length": (b"\0\0\0\0" + b"\0" * 8, 4, "header"),
    "short": (struct.pack(">I", 3) + b"\1\0\0", 4, "header"),
    "question first": (check(1, 1), 4, "no_hello"),
    "agent's frame": (frame(AGENT_HELLO), 4, "no_hello"),
    "ids": (hello().replace(b"\1\0\0\0\1\0\0", b"\1\0\0\0\1\1\0"), 4, "ids"),
    "no version": (hello(supported_versions=None), 5, "no_version"),
    "no size": (hello(max_frame_size=None), 6, "no_frame_size"),
    "no capabilities": (hello(capabilities=None), 7, "no_capabilities"),
    "version": (hello(supported_versions="1.0, 3.0"), 8, "bad_version"),
    "small": (hello(max_frame_size=Raw(b"\x03" + varint(255))), 9, "bad_frame_size"),
    "broken hello": (frame(HAPROXY_HELLO, b"\x05abc"), 4, "payload"),
}
LATER_ENDINGS = {
    "http": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 3, "too_big"),
    "oversize": (struct.pack(">I", 16381) + b"\3", 3, "too_big"),
    "second hello": (hello(), 4, "unexpected"),
    "agent's frame": (frame(ACK, b"", 1, 1), 4, "unexpected"),
    "fragment": (frame(NOTIFY, message("check", v=1), 1, 1, flags=0), 10, "fragmented"),
    "broken message": (frame(NOTIFY, b"\x05check\x03\x01v", 1, 1), 4, "payload"),
    "type 15": (frame(NOTIFY, message("check", v=Raw(b"\x0f")), 1, 1), 4, "payload"),
    "endless varint": (frame(NOTIFY, b"\xff" * 20, 1, 1), 4, "payload"),
}


def assert_ends(stack, worker, client, data, status, reason):
    def counted():
        return stack.metrics().get("gateway_spop_errors_total", reason=reason)

    before = counted()
    client.send(data)
    assert client.status_of_end() == status
    wait_until(lambda: counted() == before + 1, what=f"gateway_spop_errors_total{{reason={reason}}}")
    assert_serves(worker)


def test_each_reason_is_caused(stack):
    """`message`, `out_full`: test_metrics_moves.py. `socket` is what the system alone can do (no memory, a broken network)."""
    shown = {dict(labels)["reason"] for name, labels in stack.metrics().values if name == "gateway_spop_errors_total"}
    assert {row[2] for row in [*ENDINGS.values(), *LATER_ENDINGS.values()]} == shown - {"message", "out_full", "socket"}


@pytest.mark.parametrize("name", ENDINGS)
def test_bad_beginnings_end_with_a_status(stack, worker, name):
    with Client(worker, say_hello=False) as client:
        assert_ends(stack, worker, client, *ENDINGS[name])


@pytest.mark.parametrize("name", LATER_ENDINGS)
def test_bad_frames_end_with_a_status(stack, worker, name):
    with Client(worker) as client:
        assert_ends(stack, worker, client, *LATER_ENDINGS[name])


def test_answers_leave_before_a_bad_frame_ends_the_connection(worker):
    with Client(worker) as client:
        client.send(check(1, 1), b"\xff\xff\xff\xff")
        assert client.read().stream == 1
        assert client.status_of_end() == 3


def test_half_a_frame_and_gone(worker):
    for data in (b"", b"\0", hello()[:10], hello()[:-1]):
        with Client(worker, say_hello=False) as client:
            client.send(data)
    with Client(worker) as client:
        client.send(check(1, 1)[:-1])
    assert_serves(worker)


def test_the_largest_frame(worker):
    room = 16380 - len(check(1, 1, filler=b"x" * 16000)) + 4 + 16000
    question = check(1, 1, filler=b"x" * room)
    assert len(question) == 16384
    with Client(worker) as client:
        client.send(question)
        assert client.read().code() == "key_missing"


def test_fifty_connections_and_a_gauge(stack, worker):
    def connections():
        return stack.metrics().get("gateway_spop_connections")

    before = connections()
    clients = [Client(worker) for _ in range(50)]
    wait_until(lambda: connections() >= before + 50, what="the gauge goes up")
    for client in clients:
        client.sock.close()
    wait_until(lambda: connections() < before + 50, what="the gauge goes down")
