"""Usage from the request to the tables: every kind of request once, with every byte."""

import socket
import time

import pytest

import processes
from helpers import image_path, wait_until
from helpers_http import build, connect
from helpers_records import check_exact, check_sums, row_of, row_of_answer, wait_shipped
from usage_load import UsageLoad


@pytest.fixture(scope="module")
def gateway(module_stack):
    return module_stack()


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.make_key()


@pytest.fixture(scope="module")
def image(gateway, key, small_jpeg):
    return image_path(gateway.uploaded(key, small_jpeg)["source"], "rs:fill:40:30")


def usage(gateway, result):
    return gateway.metrics().get("gateway_usage_records_total", result=result)


def send_datagram(gateway, data):
    host, _, port = gateway.settings["USAGE_BIND"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, (host, int(port)))


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_an_image(gateway, key, image):
    began = time.time()
    answer = gateway.get(image, key)
    row = row_of_answer(gateway, answer)
    assert answer.status == 200
    assert (row["user_id"], row["api_key_id"]) == (key.user.id, key.id)
    assert (row["request_path"], row["method"], row["kind"]) == (image, "GET", "image")
    assert (row["response_status"], row["code"], row["termination"][:2]) == (200, "allow", "--")
    assert row["response_size_bytes"] == row["billed_bytes"] == len(answer.body)
    assert row["request_size_bytes"] == 0
    assert (row["backend"], row["server"]) in {("be_imgproxy", "img1"), ("be_imgproxy", "img2")}
    assert row["client_address"] in ("127.0.0.1", "127.0.0.1/32")
    assert 0 <= row["response_time_ms"] < 10000
    (created,), = gateway.sql("SELECT extract(epoch FROM created_at)::float FROM request_logs WHERE request_id = %s",
                              [row["request_id"]])
    assert began - 1 < created < time.time() + 1


def test_no_body(gateway, key, image):
    etag = gateway.get(image, key).header("ETag")
    for answer in (gateway.request("HEAD", image, key), gateway.get(image, key, {"If-None-Match": etag})):
        row = row_of_answer(gateway, answer)
        assert row["response_status"] == answer.status
        assert row["response_size_bytes"] == row["billed_bytes"] == 0
        assert row["method"] in ("HEAD", "GET") and row["code"] == "allow"


def test_refused(gateway, key):
    """The body of a refusal was sent, and nobody pays for it."""
    for target, code in (("/img/unsafe/plain/http://127.0.0.1/x.jpg", "source_forbidden"), ("/img/unsafe/rs", "url_invalid")):
        answer = gateway.get(target, key)
        assert answer.code == code
        row = row_of_answer(gateway, answer)
        assert (row["code"], row["response_status"], row["billed_bytes"]) == (code, answer.status, 0)
        assert row["response_size_bytes"] == len(answer.body)


def test_an_image_that_is_not_there(gateway, key):
    answer = gateway.get(image_path("local:///none.jpg"), key)
    assert answer.code == "not_found"
    row = row_of_answer(gateway, answer)
    assert (row["code"], row["response_status"]) == ("allow", 404)
    assert (row["response_size_bytes"], row["billed_bytes"]) == (len(answer.body), 0)


def test_a_revoked_key(gateway):
    """Who asks is known, so it is recorded."""
    gone = gateway.make_key()
    gateway.done("key", "revoke", gone.id)
    answer = wait_until(lambda: (found := gateway.get("/img/unsafe/plain/local:///a.jpg", gone)).code == "key_revoked" and found)
    assert row_of_answer(gateway, answer)["code"] == "key_revoked"


def test_an_upload(gateway, key, photo):
    answer = gateway.upload(key, photo)
    assert answer.status == 200
    row = row_of_answer(gateway, answer)
    assert (row["kind"], row["method"], row["request_path"], row["code"]) == ("upload", "POST", "/api/v1/upload", "allow")
    assert row["request_size_bytes"] == row["billed_bytes"] > len(photo)
    assert row["response_size_bytes"] == len(answer.body)


def test_nobody(gateway, key):
    """Without a known user there is no row; the line is counted."""
    before = usage(gateway, "nobody")
    ids = [gateway.get("/healthz").header("X-Request-ID"), gateway.get("/img/unsafe/plain/local:///a.jpg").header("X-Request-ID"),
           gateway.get("/nowhere", key).header("X-Request-ID")]
    wait_until(lambda: usage(gateway, "nobody") >= before + 6, what="both transports have brought them")
    assert gateway.sql("SELECT count(*) FROM request_logs WHERE request_id = ANY (%s)", [ids])[0][0] == 0


def test_an_aborted_download(gateway, key, photo):
    """What HAProxy took from the server is billed, and no more than the image has."""
    source = gateway.uploaded(key, photo)["source"]
    path = image_path(source, "q:100", "png")
    whole = gateway.get(path, key)
    assert whole.status == 200 and len(whole.body) > 1 << 20
    with connect(gateway.address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(build("GET", path, [("X-API-Key", key.key)]))
        head = sock.recv(2048)
        # Reset, not closed: with bytes that nobody has read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    request_id = head.decode("latin-1").lower().split("x-request-id: ")[1].split("\r\n")[0]
    row = row_of(gateway, request_id, 30)
    assert row["termination"][0] == "C"
    assert 0 < row["response_size_bytes"] <= len(whole.body)
    assert row["billed_bytes"] == row["response_size_bytes"]


# ---- sums ------------------------------------------------------------------------------------------------------------


def test_sums(gateway, image, small_jpeg):
    key = gateway.make_key()
    source = gateway.uploaded(key, small_jpeg)["source"]
    targets = [(key, image_path(source, f"rs:fill:{size}:{size}"), []) for size in (10, 20, 30)]
    targets += [(key, "/img/unsafe/rs", []), (key, image_path("local:///none.jpg"), [])]
    with UsageLoad(gateway.address, targets, threads=4) as load:
        load.wait(300)
    assert not load.failed
    wait_until(lambda: gateway.sql("SELECT count(*) FROM request_logs WHERE user_id = %s", [key.user.id])[0][0] == len(load.seen) + 1)
    check_exact(gateway, load)
    requests, _, out, _ = check_sums(gateway, key.user)
    assert requests == len(load.seen) + 1
    assert out >= sum(seen.bytes for seen in load.seen.values())
    by_code = dict(gateway.sql("SELECT code, sum(requests)::int FROM usage_hourly WHERE user_id = %s AND kind = 'image' GROUP BY 1",
                               [key.user.id]))
    refused = sum(seen.status == 400 for seen in load.seen.values())
    assert by_code == {"allow": len(load.seen) - refused, "url_invalid": refused}


def test_last_used(gateway, image, key):
    gateway.get(image, key)
    wait_until(lambda: gateway.sql("SELECT last_used_at > now() - interval '1 minute' FROM api_keys WHERE id = %s", [key.id])[0][0],
               what="last_used_at is set")


# ---- the month's bandwidth ------------------------------------------------------------------------------------------


def test_bandwidth_is_charged_at_once(gateway, photo):
    """Also while PostgreSQL is down: the verdict reads what has arrived."""
    key = gateway.make_key()
    source = gateway.uploaded(key, photo)["source"]
    used = len(photo) >> 20
    gateway.done("quota", "set", key.user.name, "--bandwidth-mb", used + 3)
    gateway.settle()
    gateway["postgres"].stop()
    try:
        path, got = image_path(source, "q:100", "png"), 0
        assert gateway.get(path, key).status == 200
        answer = wait_until(lambda: (found := gateway.get(path, key)).status == 429 and found, 20)
        assert answer.code == "quota_bandwidth"
    finally:
        gateway["postgres"].start()
        gateway["postgres"].wait_ready()
    wait_shipped(gateway)
    _, _, _, got = check_sums(gateway, key.user)
    assert got > (used + 3) << 20
    # And it stays so: what PostgreSQL has and what arrived is the same.
    time.sleep(1.5)
    assert gateway.get(path, key).code == "quota_bandwidth"


def test_reconcile(gateway, image):
    """What is recorded is what HAProxy has counted, and a difference is a metric."""
    key = gateway.make_key()
    wait_shipped(gateway)
    assert gateway.gatewayctl("reconcile", "--json").rc == 0
    for _ in range(20):
        assert gateway.get(image_path("local:///none.jpg"), key).status == 404
    wait_until(lambda: gateway.sql("SELECT count(*) FROM request_logs WHERE user_id = %s", [key.user.id])[0][0] == 20)
    result = gateway.gatewayctl("reconcile", "--json")
    assert result.rc == 0, result
    gateway.sql("UPDATE usage_hourly SET requests = requests + 1 WHERE user_id = %s", [key.user.id])
    assert gateway.gatewayctl("reconcile", "--json").rc == 1
    wait_until(lambda: gateway.metrics().get("gateway_reconcile_differences") > 0, 40)
    gateway.gatewayctl("reconcile", "--fix", "--json")
    assert gateway.gatewayctl("reconcile", "--json").rc == 0
    check_sums(gateway, key.user)
    wait_until(lambda: gateway.metrics().get("gateway_reconcile_differences") == 0, 40)
    assert abs(gateway.metrics().get("gateway_reconcile_timestamp_seconds") - time.time()) < 100


# ---- lines that are none -----------------------------------------------------------------------------------------------


def test_foreign_lines(gateway, key, image):
    before = {result: usage(gateway, result) for result in ("bad_token", "bad_form", "recorded")}
    send_datagram(gateway, b"<134>1 2026-11-28T06:30:00Z - haproxy 1 - gwu1\twrong-token-wrong-token\tx\n")
    send_datagram(gateway, b"")
    send_datagram(gateway, b"\xff" * 60000)
    send_datagram(gateway, f"<134>1 t - h 1 - gwu1\t{gateway.settings['USAGE_TOKEN']}\tx".encode())
    with connect(gateway.settings["USAGE_BIND"]) as sock:
        sock.sendall(b"not octets")
        assert sock.recv(10) == b""
    wait_until(lambda: usage(gateway, "bad_token") + usage(gateway, "bad_form") >= sum(before.values()) - before["recorded"] + 5)
    answer = gateway.get(image, key)
    assert row_of_answer(gateway, answer)["code"] == "allow"
    assert gateway.settings["USAGE_TOKEN"] not in "".join(gateway.logs().values())


def test_metrics(gateway, key, image):
    before = {result: usage(gateway, result) for result in ("recorded", "duplicate", "shipped")}
    for _ in range(10):
        assert gateway.get(image, key).status == 200
    for result in before:
        wait_until(lambda: usage(gateway, result) >= before[result] + 10, what=result)  # noqa: B023
    wait_shipped(gateway)
    wait_until(lambda: gateway.metrics().get("gateway_usage_lag_seconds") == 0)
    assert gateway.metrics().sum("gateway_usage_lost_total") == 0


def test_metrics_of_what_postgres_refuses(gateway, key, image):
    wait_shipped(gateway)
    before = {result: usage(gateway, result) for result in ("recorded", "shipped", "quarantined")}
    gateway.sql("ALTER TABLE request_logs ADD CONSTRAINT of_a_test CHECK (request_path NOT LIKE '%refused.jpg') NOT VALID")
    try:
        assert gateway.get(image, key).status == 200
        gateway.get("/img/unsafe/w:1/plain/local:///refused.jpg", key)
        wait_until(lambda: usage(gateway, "quarantined") == before["quarantined"] + 1)
        wait_until(lambda: usage(gateway, "recorded") == before["recorded"] + 2)
        wait_shipped(gateway)
    finally:
        gateway.sql("ALTER TABLE request_logs DROP CONSTRAINT of_a_test")
    assert usage(gateway, "shipped") == before["shipped"] + 1


# ---- keepers that come and go ------------------------------------------------------------------------------------------


def test_a_keeper_that_is_killed(gateway, key, image):
    """What waits when one is killed goes on with the next, and what that one is told twice it knows."""
    with UsageLoad(gateway.address, [(key, image, [])], threads=4) as load:
        for _ in range(5):
            load.wait(50)
            pid = wait_until(lambda: processes.keeper(gateway))
            processes.signal_all([pid], 9)
            wait_until(lambda: processes.keeper(gateway) not in (None, pid), 20)  # noqa: B023
    assert not load.failed
    wait_shipped(gateway)
    check_exact(gateway, load)
    wait_until(lambda: check_sums(gateway, key.user))
