"""A closed-loop load of image requests: each thread keeps one connection, sends a request, checks the answer, goes on.

Most requests carry If-None-Match and get a 304, which costs an image server nothing; one in ten gets the image, whose
bytes are compared. Everything that is not as it must be is a failure, kept with its time, status, and first bytes.
"""

import collections
import socket
import threading
import time

FAILURES_KEPT = 10


class Failure(Exception):
    pass


class Broken(Exception):
    """The connection ended before the first byte of an answer."""


class Connection:
    """One keep-alive connection, and a parser for what HAProxy answers: always a Content-Length, or no body."""

    def __init__(self, address, timeout):
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.used = False

    def close(self):
        self.sock.close()

    def _more(self):
        chunk = self.sock.recv(65536)
        if not chunk:
            raise Failure("the connection ended within an answer")
        self.buffer += chunk

    def exchange(self, request):
        """(status, headers in lower case, body)"""
        try:
            self.sock.sendall(request)
            self.buffer = self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Broken(str(error)) from None
        if not self.buffer:
            raise Broken("closed")
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(lines[0].split(" ")[1])
        if "transfer-encoding" in headers:
            raise Failure("an answer in chunks")
        length = 0 if status in (204, 304) else int(headers["content-length"])
        while len(self.buffer) < length:
            self._more()
        if len(self.buffer) > length:
            raise Failure("bytes behind an answer")
        body, self.buffer, self.used = self.buffer, b"", True
        return status, headers, body


class Result:
    """What the requests met. Times in seconds."""

    def __init__(self):
        self.count = 0
        self.failed = 0
        self.failures = []
        self.statuses = collections.Counter()
        self.slowest = 0.0
        self.stale = 0

    def __str__(self):
        text = (f"{self.count} requests, {self.failed} failed, slowest {self.slowest * 1000:.0f} ms, "
                f"statuses {dict(self.statuses)}, stale connections {self.stale}")
        return text + "".join(f"\n    {failure}" for failure in self.failures)


class Load:
    """Runs within a `with`; `result` is complete behind it.

    address, path, key   what is asked for: an image that the key may see
    threads, rate        connections, and requests a second of all together (0: as fast as it goes)
    stale_ok             a kept connection that ends before the first byte of an answer is opened again and the request
                         sent once more, as every HTTP client does (RFC 9112, 9.3.1); counted in result.stale
    """

    def __init__(self, address, path, key, threads=4, rate=400, stale_ok=False, timeout=15.0):
        self.address, self.timeout, self.stale_ok = address, timeout, stale_ok
        self.period = threads / rate if rate else 0.0
        head = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\n"
        self.full = f"{head}\r\n".encode()
        self.etag, self.body = self._learn()
        self.cheap = f"{head}If-None-Match: {self.etag}\r\n\r\n".encode()
        self.result = Result()
        self.began = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait(2 * len(self._threads))
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout + 5)
        self.seconds = time.monotonic() - self.began

    def wait(self, count, timeout=30.0):
        """Until that many more requests were answered or failed."""
        until, deadline = self.result.count + count, time.monotonic() + timeout
        while self.result.count < until:
            assert time.monotonic() < deadline, f"the load stands still: {self.result}"
            self._stop.wait(0.005)

    def run_for(self, seconds):
        """Lets it go on for a time."""
        self._stop.wait(seconds)

    def _learn(self):
        conn = Connection(self.address, self.timeout)
        try:
            status, headers, body = conn.exchange(self.full)
        finally:
            conn.close()
        assert status == 200, f"the load's own request is answered {status}: {body[:300]!r}"
        return headers["etag"], body

    def _run(self, number):
        conn, turn, due = None, number, time.monotonic()
        while not self._stop.is_set():
            turn += 1
            began = time.monotonic()
            try:
                conn = self._one(conn, turn % 10 == 0)
            except (Failure, Broken, OSError, ValueError, KeyError) as error:
                self._note(began, None, f"{type(error).__name__}: {error}")
                if conn is not None:
                    conn.close()
                conn = None
            due = max(due + self.period, time.monotonic() - 1.0)
            self._stop.wait(max(0.0, due - time.monotonic()))
        if conn is not None:
            conn.close()

    def _one(self, conn, want_body):
        began = time.monotonic()
        request = self.full if want_body else self.cheap
        try:
            conn = conn or Connection(self.address, self.timeout)
            status, headers, body = conn.exchange(request)
        except Broken:
            if not (self.stale_ok and conn is not None and conn.used):
                raise
            with self._lock:
                self.result.stale += 1
            conn.close()
            conn = Connection(self.address, self.timeout)
            status, headers, body = conn.exchange(request)
        wrong = None
        if status != (200 if want_body else 304):
            wrong = f"status {status} {body[:200]!r}"
        elif want_body and body != self.body:
            wrong = f"another image: {len(body)} bytes, not {len(self.body)}"
        elif headers.get("etag") != self.etag or len(headers.get("x-request-id", "")) != 36:
            wrong = f"headers {headers}"
        self._note(began, status, wrong)
        if headers.get("connection", "").lower() == "close":
            conn.close()
            return None
        return conn

    def _note(self, began, status, wrong):
        now = time.monotonic()
        with self._lock:
            result = self.result
            result.count += 1
            result.statuses[status] += 1
            result.slowest = max(result.slowest, now - began)
            if wrong is None:
                return
            result.failed += 1
            if len(result.failures) < FAILURES_KEPT:
                result.failures.append(f"at {began - self.began:.3f} s after {(now - began) * 1000:.0f} ms: {wrong}")


def check_clean(load, least=0):
    """No request of an ended load failed, and there were enough of them to say so."""
    print(load.result)
    assert load.result.failed == 0, str(load.result)
    assert load.result.count >= least, str(load.result)
