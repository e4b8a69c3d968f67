"""What the run prints: each step with its time, and sizes at the end."""

import sys
import time


class Failed(Exception):
    """A check that does not hold; its text says what was wanted and what was there."""


def say(text):
    print(text, flush=True)


class Steps:
    def __init__(self):
        self.passed = 0

    def run(self, title, function, *args):
        began = time.monotonic()
        sys.stdout.write(f"  {title} … ")
        sys.stdout.flush()
        try:
            note = function(*args)
        except BaseException:
            say("FAILED")
            raise
        took = time.monotonic() - began
        self.passed += 1
        say(f"ok, {took:.1f} s" + (f": {note}" if note else ""))


def wanted(condition, text):
    if not condition:
        raise Failed(text)


def wait_until(condition, timeout, what, interval=0.2):
    """Waits for a true value and returns it."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {timeout} s: {what}")
        time.sleep(interval)
