"""A load that remembers each answer: its X-Request-ID, status, and how many bytes of a body the client got."""

import collections
import threading
import time

from load import Broken, Connection, Failure

Seen = collections.namedtuple("Seen", "status bytes key")


class UsageLoad:
    """Runs within a `with`. `targets` are (key, path, headers) that each connection asks for in turn.

    `seen` has every answer by its id; `failed` the requests that got none."""

    def __init__(self, address, targets, threads=8, rate=0):
        self.address, self.targets = address, targets
        self.seen, self.failed = {}, []
        self.period = threads / rate if rate else 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def run_for(self, seconds):
        self._stop.wait(seconds)

    def wait(self, count, timeout=60.0):
        until, deadline = len(self.seen) + count, time.monotonic() + timeout
        while len(self.seen) < until:
            assert time.monotonic() < deadline, f"the load stands still at {len(self.seen)}: {self.failed[:3]}"
            self._stop.wait(0.01)

    def _run(self, number):
        conn, turn, due = None, number, time.monotonic()
        while not self._stop.is_set():
            key, path, headers = self.targets[turn % len(self.targets)]
            turn += 1
            head = f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\nX-API-Key: {key.key}\r\n"
            request = (head + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n").encode()
            try:
                fresh = conn is None or not conn.used
                conn = conn or Connection(self.address, 15.0)
                try:
                    status, answer, body = conn.exchange(request)
                except Broken:
                    if fresh:
                        raise
                    conn.close()
                    conn = Connection(self.address, 15.0)
                    status, answer, body = conn.exchange(request)
                with self._lock:
                    assert answer["x-request-id"] not in self.seen
                    self.seen[answer["x-request-id"]] = Seen(status, len(body), key)
                if answer.get("connection", "").lower() == "close":
                    conn.close()
                    conn = None
            except (Failure, Broken, OSError, ValueError, KeyError) as error:
                with self._lock:
                    self.failed.append(f"{type(error).__name__}: {error}")
                if conn is not None:
                    conn.close()
                conn = None
            if self.period:
                due = max(due + self.period, time.monotonic() - 1.0)
                self._stop.wait(max(0.0, due - time.monotonic()))
