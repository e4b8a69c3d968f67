"""Requests one after the other while something is done to the stack, and what became of them."""

import threading
import time
from collections import Counter

from .stack import request


class Traffic:
    def __init__(self, path, key, pause=0.02):
        self.path, self.key, self.pause = path, key, pause
        self.answers = Counter()
        self.without_retry_after = 0
        self.last_failure = self.first_failure = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(self.pause):
            try:
                answer = request("GET", self.path, self.key)
                status = answer.status
                if status == 503 and not answer.headers.get("Retry-After"):
                    self.without_retry_after += 1
            except OSError as error:
                status = type(error).__name__
            self.answers[status] += 1
            if status != 200:
                self.last_failure = time.monotonic()
                self.first_failure = self.first_failure or self.last_failure

    @property
    def total(self):
        return sum(self.answers.values())

    def failing_for(self):
        return self.last_failure - self.first_failure if self.first_failure else 0.0
