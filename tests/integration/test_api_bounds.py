"""Nobody can hold gateway-api: requests of one user at once, slow bodies, bodies where there is no place for one, a check
that gets through when all is full, and restarts that no request sees."""

import contextlib
import socket
import threading
import time

import pytest

import helpers_api as api
import helpers_http as http
from helpers import image_path, wait_until
from helpers_records import check_sums, row_of_answer, wait_shipped

MOST = 6
SERVED_AT_ONCE = 512  # by gateway-api
MB = 1 << 20


@pytest.fixture(scope="module")
def bounded(module_stack):
    return module_stack({"API_MAX_USER_REQUESTS": str(MOST)})


def upload_head(key, length, headers=()):
    return http.build("POST", api.UPLOAD, [("X-API-Key", key.key), ("Content-Type", "image/jpeg"),
                                           ("Content-Length", str(length)), *headers])


def under_way(stack, key, data, count, socks):
    """So many uploads of the key of which all but the last byte is there, as seen in the tenant's folder."""
    made = []
    for number in range(count):
        body = data + number.to_bytes(4, "big")
        sock = socks.enter_context(http.connect(stack.address))
        sock.sendall(upload_head(key, len(body)) + body[:-1])
        made.append((sock, body[-1:]))
    wait_until(lambda: len([name for name in stack.files_of(key.user) if name.startswith(".part-")]) == count,
               what=f"{count} uploads are under way")
    return made


# ---- one user ------------------------------------------------------------------------------------------------------------


def check_refused(answer):
    problem = http.check_problem(answer, 429, "rate_limited")
    assert "under way" in problem["detail"] and answer.header("Retry-After") == "1", answer
    return answer


def test_one_user_at_once(bounded, small_jpeg):
    """The bound is for all keys of a user and for the API alone; others do not feel it; it ends with the requests."""
    stack = bounded
    key = stack.make_key()
    second, other = stack.make_key(key.user), stack.make_key()
    source = stack.uploaded(key, small_jpeg)["source"]
    with contextlib.ExitStack() as socks:
        made = under_way(stack, key, small_jpeg, MOST, socks)
        refused = [check_refused(stack.get(api.IMAGES, key)), check_refused(stack.get("/api/v1/me", second)),
                   check_refused(stack.get("/api/v1/me", key)),
                   check_refused(stack.upload(second, small_jpeg)), check_refused(stack.upload(key, small_jpeg, form=False))]
        # What is wrong anyhow is said first; images and other users go on.
        http.check_problem(stack.get("/api/v1/users", key), 403, "scope_missing")
        assert stack.get(image_path(source), key).status == 200
        assert stack.get("/api/v1/me", other).status == 200
        stack.uploaded(other, small_jpeg)
        for sock, last in made[:1]:
            sock.sendall(last)
            assert http.read_answer(sock).status == 200
        wait_until(lambda: stack.get("/api/v1/me", key).status == 200, 5, "there is room for one")
        for sock, last in made[1:]:
            sock.sendall(last)
            assert http.read_answer(sock).status == 200
    wait_until(lambda: stack.get("/api/v1/me", key).status == 200, 5, "all have ended")
    # What was refused by HAProxy after the verdict: reads cost nothing, an upload had been counted already.
    wait_shipped(stack)
    rows = [row_of_answer(stack, answer) for answer in refused]
    assert [row["code"] for row in rows] == ["rate_limited"] * 3 + ["allow"] * 2
    assert {row["response_status"] for row in rows} == {429} and {row["backend"] for row in rows} == {"fe_gateway"}
    assert [row["billed_bytes"] for row in rows[:3]] == [0] * 3
    check_sums(stack, key.user)
    uploads = 1 + MOST + 2
    wait_until(lambda: stack.sql("SELECT current_requests FROM quotas WHERE user_id = %s", [key.user.id]) == [(uploads + 1,)],
               what="the counter of the month: uploads and an image")
    counted = stack.sql("SELECT count(*) FROM request_logs WHERE user_id = %s AND code = 'allow' AND kind IN ('image', 'upload')",
                        [key.user.id])
    assert counted == [(uploads + 1,)]


def test_one_after_the_other_is_not_at_once(bounded):
    """On one connection, and on connections that stay open without a request."""
    key = bounded.make_key()
    head = http.build("GET", api.IMAGES, [("X-API-Key", key.key)]).replace(b"Connection: close\r\n", b"")
    with contextlib.ExitStack() as socks:
        for _ in range(3 * MOST):
            sock = socks.enter_context(http.connect(bounded.address))
            for _ in range(2):
                sock.sendall(head)
                assert http.read_answer(sock).status == 200
        for _ in range(5 * MOST):
            sock.sendall(head)
            assert http.read_answer(sock).status == 200


def test_clients_that_go_away_free_their_place(bounded, small_jpeg):
    key = bounded.make_key()
    for _ in range(3):
        with contextlib.ExitStack() as socks:
            under_way(bounded, key, small_jpeg, MOST, socks)
            check_refused(bounded.get("/api/v1/me", key))
        wait_until(lambda: bounded.settled_files_of(key.user) == [], what="the uploads are gone")
    wait_until(lambda: bounded.get("/api/v1/me", key).status == 200, 5, "there is room")


def test_zero_is_no_bound(module_stack, small_jpeg):
    stack = module_stack({"API_MAX_USER_REQUESTS": "0"})
    key = stack.make_key()
    with contextlib.ExitStack() as socks:
        under_way(stack, key, small_jpeg, 140, socks)
        assert stack.get("/api/v1/me", key).status == 200


# ---- slow bodies -----------------------------------------------------------------------------------------------------------


def drip(stack, key, length, each, pause, results, name):
    """An upload of zeros that comes `each` bytes at a time: its answer, and the seconds until it came."""
    began = time.monotonic()
    with http.connect(stack.address, 0.001) as sock:
        sock.settimeout(30)
        sock.sendall(upload_head(key, length))
        sent = 0
        try:
            while sent < length:
                piece = min(each, length - sent)
                sock.sendall(bytes(piece))
                sent += piece
                time.sleep(pause)
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if sock.recv(1, socket.MSG_PEEK):
                        break
                sock.settimeout(30)
        except (BrokenPipeError, ConnectionResetError):
            pass
        sock.settimeout(30)
        results[name] = (http.read_answer(sock), time.monotonic() - began, sent)


def test_slow_bodies(bounded):
    """One that drips, however regularly, ends after the grace with 408 and leaves nothing; a slow one passes."""
    key = bounded.make_key()
    results = {}
    plans = {"drips": (200_000, 100, 1.0), "slow": (40 * 6000, 6000, 1.0)}
    threads = [threading.Thread(target=drip, args=(bounded, key, *plan, results, name)) for name, plan in plans.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    answer, took, sent = results["drips"]
    problem = http.check_problem(answer, 408, "bad_request")
    assert "slowly" in problem["detail"] and 29 < took < 40 and sent < 5000, (took, sent, problem)
    answer, took, sent = results["slow"]
    # Zeros are no image: what counts is that all of it was taken.
    http.check_problem(answer, 415, "type_unsupported")
    assert took > 39 and sent == 40 * 6000
    assert bounded.settled_files_of(key.user) == []


# ---- bodies where there is no place for one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method, path, status, code", [
    ("POST", api.IMAGES, 405, "method_not_allowed"), ("GET", api.IMAGES, 400, "bad_request"),
    ("DELETE", f"{api.IMAGES}/{'0' * 32}", 400, "bad_request"), ("GET", "/api/v1/me", 413, "too_large"),
    ("POST", "/api/v1/me", 405, "method_not_allowed"), ("PUT", "/api/v1/nothing", 404, "not_found")])
def test_a_body_without_a_place(bounded, method, path, status, code):
    """Refused by its length, before it comes."""
    key = bounded.make_key()
    head = http.build(method, path, [("X-API-Key", key.key), ("Content-Length", str(90 * MB))])
    with http.connect(bounded.address, 10) as sock:
        sock.sendall(head + bytes(1000))
        began = time.monotonic()
        http.check_problem(http.read_answer(sock), status, code)
        assert time.monotonic() - began < 2


# ---- gateway-api is full -----------------------------------------------------------------------------------------------------


def test_the_check_gets_through(bounded, small_jpeg):
    """Past HAProxy, with as many uploads under way as are served: HAProxy goes on to see a healthy server."""
    stack, user = bounded, 777_001
    head = http.build(*api.head_of(stack, "POST", api.UPLOAD, user, [("Content-Length", "5000")])) + small_jpeg[:100]
    with contextlib.ExitStack() as socks:
        for _ in range(SERVED_AT_ONCE):
            socks.enter_context(http.connect(stack.settings["API_BIND"])).sendall(head)
        wait_until(lambda: len(stack.files_of(user)) == SERVED_AT_ONCE, what="all are under way")
        checks = int(stack.server_stat("be_api", "api")["chkfail"])
        end = time.monotonic() + 5
        while time.monotonic() < end:
            began = time.monotonic()
            assert http.send_raw(stack.settings["API_BIND"], http.build("GET", "/healthz")).status == 200
            assert time.monotonic() - began < 1
            answer = api.upload(stack, user, small_jpeg)
            assert answer.status == 503 and answer.code == "unavailable" and answer.header("Retry-After"), answer
            time.sleep(0.1)
        found = stack.server_stat("be_api", "api")
        assert found["status"].startswith("UP") and int(found["chkfail"]) == checks, found
    wait_until(lambda: not stack.files_of(user), what="all have ended")
    assert api.upload(stack, user, small_jpeg).status == 200


# ---- restarts ----------------------------------------------------------------------------------------------------------------


class Asker(threading.Thread):
    """One request after the other through HAProxy until told to stop; what was not answered as it should be is kept."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.stop, self.wrong, self.good = ask, threading.Event(), [], 0

    def run(self):
        while not self.stop.is_set():
            answer = self.ask()
            if answer.status == 200:
                self.good += 1
            elif answer.status == 503:
                time.sleep(0.02)
            else:
                self.wrong.append(answer)


def test_restarts_lose_no_request(fresh_stack, small_jpeg):
    """Who has been taken is answered, also when the program was too busy to see it before the signal came; meanwhile 503 at
    most, and never a 502."""
    stack = fresh_stack()
    key = stack.make_key()
    askers = [Asker(lambda: stack.get("/api/v1/me", key)) for _ in range(4)]
    askers += [Asker(lambda: stack.get(api.IMAGES, key)) for _ in range(4)]
    askers += [Asker(lambda: stack.upload(key, small_jpeg, form=False)) for _ in range(4)]
    for asker in askers:
        asker.start()
    for _ in range(8):
        good = [asker.good for asker in askers]
        stack["api"].pause()
        time.sleep(0.1)
        stack["api"].stop()
        stack["api"].start()
        stack["api"].wait_ready()
        wait_until(lambda: all(asker.good > before for asker, before in zip(askers, good)), 20, "all are served again")
    for asker in askers:
        asker.stop.set()
    for asker in askers:
        asker.join(30)
    wrong = [answer for asker in askers for answer in asker.wrong]
    assert not wrong, (len(wrong), wrong[:3])
    assert "some requests were not finished" not in stack.logs()["api.log"]
