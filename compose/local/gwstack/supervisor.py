"""The process behind `make run` and `make up`: starts a stack, watches it, starts again what dies, ends it in order.

While it lives it holds a lock on var/run/lock. var/run/stack.json says what runs where, for `status` and `down`.
"""

import fcntl
import json
import os
import signal
import time

from .errors import StackError
from .process import resume_frozen, start_ticks

TICK = 0.2
FIRST_DELAY, MOST_DELAY, CALM = 1.0, 30.0, 60.0


class Ended(BaseException):
    """A signal asked for the end. Not an Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, sig):
        super().__init__(sig)
        self.sig = sig


def state_file(state_dir):
    return os.path.join(state_dir, "run", "stack.json")


def lock_file(state_dir):
    return os.path.join(state_dir, "run", "lock")


def read_state(state_dir):
    try:
        with open(state_file(state_dir), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def is_locked(state_dir):
    """Whether a supervisor lives."""
    try:
        fd = os.open(lock_file(state_dir), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise StackError(f"{state_dir} belongs to another user; run this as that user") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


class _Watch:
    """When a part may be started again: 1 s after it died, and twice as long each time that it dies soon."""

    def __init__(self):
        self.delay = FIRST_DELAY
        self.due = None
        self.since = time.monotonic()


class Supervisor:
    def __init__(self, stack, say, foreground):
        self.stack, self.say, self.foreground = stack, say, foreground
        self.parent = os.getppid()
        self.lock = None
        self.phase = "starting"
        self.watches = {}

    def run(self, ready):
        """Until a signal or a failure. Calls ready() once all serve. Returns an exit code; raises StackError when the
        stack could not start, and then nothing is left running."""
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, self._on_signal)
        try:
            self.stack.layout.prepare()
            self._take_lock()
            self._note()
            self.stack.start()
            self.phase = "ready"
            self._note()
            ready()
            self._watch()
        except Ended as end:
            if self.phase == "starting":
                self.say("ended before it was ready")
                return 128 + end.sig
        finally:
            self._end()
        return 0

    def _on_signal(self, sig, _frame):
        if self.phase != "ending":
            raise Ended(sig)

    def _take_lock(self):
        path = lock_file(self.stack.layout.state)
        self.lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self.lock)
            self.lock = None
            raise StackError("the stack runs already; `make status` shows it, `make down` ends it") from None
        end_leftovers(read_state(self.stack.layout.state))

    def _note(self):
        parts = [{"name": part.name, "title": part.title, "pid": part.pid, "ticks": start_ticks(part.pid),
                  "where": part.where(), "log": part.log}
                 for part in self.stack.parts.values() if part.pid]
        state = {"phase": self.phase, "pid": os.getpid(), "ticks": start_ticks(os.getpid()), "parts": parts}
        if self.phase == "ready":
            state.update(url=self.stack.url, stats_url=self.stack.stats_url)
        self.stack.layout.write("run/stack.json", json.dumps(state, indent=1) + "\n", 0o644, mine=False)
        self.stack.layout.write("run/pids/supervisor.pid", f"{os.getpid()}\n", 0o644, mine=False)

    def _watch(self):
        while not (self.foreground and os.getppid() != self.parent):
            time.sleep(TICK)
            changed = [self._look_after(part) for part in self.stack.parts.values() if part.wanted]
            if any(changed):
                self._note()
                self.stack.write_env()

    def _look_after(self, part):
        """Starts a dead part again when its time has come; True when it did."""
        now = time.monotonic()
        watch = self.watches.setdefault(part.name, _Watch())
        if part.is_running():
            if now - watch.since > CALM:
                watch.delay = FIRST_DELAY
            return False
        if watch.due is None:
            watch.due = now + watch.delay
            lines = "".join(part.last_lines(1))
            self.say(f"{part.name}: ended ({part.exit_text()}), starting it again in {watch.delay:.0f} s; "
                     f"log {part.log}: {lines}")
            return False
        if now < watch.due:
            return False
        watch.delay = min(watch.delay * 2, MOST_DELAY)
        watch.due, watch.since = None, now
        try:
            part.start()
        except StackError as error:
            self.say(f"{error}")
            watch.due = now + watch.delay
            part.wanted = True
            return False
        self.say(f"{part.name}: started again, pid {part.pid}")
        return True

    def _end(self):
        self.phase = "ending"
        if self.lock is None:
            return
        self.stack.stop()
        for name in ("gateway.env", "run/stack.json", "run/pids/supervisor.pid"):
            try:
                os.unlink(self.stack.layout.path(name))
            except FileNotFoundError:
                pass
        os.close(self.lock)
        self.lock = None


def end_leftovers(state, patience=15.0):
    """Ends processes of a supervisor that was killed; pid and start time together say that they are the same ones.
    Returns their names."""
    alive = [part for part in state.get("parts", ()) if _lives(part)]
    for part in alive:
        os.kill(part["pid"], signal.SIGINT if part["name"] == "postgres" else signal.SIGTERM)
    resume_frozen(part["pid"] for part in alive)
    deadline = time.monotonic() + patience
    while any(map(_lives, alive)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for part in filter(_lives, alive):
        os.kill(part["pid"], signal.SIGKILL)
    return [part["name"] for part in alive]


def _lives(part):
    return part["ticks"] is not None and start_ticks(part["pid"]) == part["ticks"]
