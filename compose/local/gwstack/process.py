"""One part of the stack: a program that is started, asked whether it is ready, and ended.

Every part is a child that the kernel ends when the process that started it goes (PR_SET_PDEATHSIG), in a session of
its own so that a terminal's Ctrl-C reaches the supervisor alone. The signal hangs on the starting thread: start parts
from the main thread only.
"""

import os
import signal
import subprocess
import threading
import time

from . import ports
from .errors import StackError

LOG_MAX = 4 * 1024 * 1024
READY_TIMEOUT = 30.0


def _stat(pid):
    """The fields of /proc/PID/stat behind the name (0 is the state, 1 the parent, 3 the session, 19 the start time);
    None when there is no such process or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def start_ticks(pid):
    """When a process was started, in the kernel's ticks; None when there is none. With the pid it names a process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def family(pid):
    """A process, all below it, and all of its session, those that live. A session outlives its leader, so this finds
    what a dead part left behind, too."""
    parents, found = {}, set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = _stat(name)
        if fields is None:
            continue
        parents[int(name)] = int(fields[1])
        if int(name) == pid or int(fields[3]) == pid:
            found.add(int(name))
    size = -1
    while size != len(found):
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return sorted(found)


def is_frozen(pid):
    fields = _stat(pid)
    return fields is not None and fields[0] == "T"


def resume_frozen(pids):
    """SIGCONT to those that SIGSTOP has stopped, and to no other: it would also undo the SIGSTOP with which a debugger
    or LeakSanitizer attaches, and leave that waiting for ever."""
    for pid in filter(is_frozen, pids):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def wait_gone(pid, ticks, timeout):
    deadline = time.monotonic() + timeout
    while start_ticks(pid) == ticks:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def last_lines(path, count=3, start=0):
    """The last lines of a log that are not empty, of what stands behind byte `start`."""
    try:
        with open(path, "rb") as file:
            file.seek(max(start, os.path.getsize(path) - 8192))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-count:]


class Part:
    """Subclasses say what to run (command, environment), where (addresses) and when it is ready (check)."""

    name = ""
    # Signals that end it, each with the seconds to wait before the next; SIGKILL comes last by itself.
    stop_signals = ((signal.SIGTERM, 10.0),)
    death_signal = "TERM"
    title = ""

    def __init__(self, stack):
        self.stack = stack
        self.layout = stack.layout
        self.process = None
        self.wanted = False  # somebody started it and nobody stopped it since
        self.more_environment = {}  # of the next start; for tests
        self._log_start = 0

    # ---- what a subclass gives -------------------------------------------------------------------------------------

    def prepare(self):
        """Called before each start."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def ports(self):
        """(host, port) of every TCP port that it will open."""
        return []

    def sockets(self):
        """Sockets that it gets (sd_listen_fds(3)); their numbers are above those that they will have."""
        return []

    def release(self):
        """The stack ends: closes what was kept over the part's death."""

    def check(self):
        """None when it is ready, else why not."""
        raise NotImplementedError

    def where(self):
        """Its address, for people."""
        return ""

    # ---- life ------------------------------------------------------------------------------------------------------

    @property
    def log(self):
        return os.path.join(self.layout.logs, self.name + ".log")

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def pids(self):
        """The main process and all below it."""
        return family(self.pid) if self.process else []

    def start(self):
        """Starts the program; wait_ready() tells when it serves."""
        if self.is_running():
            return
        if threading.current_thread() is not threading.main_thread():
            raise StackError(f"{self.name}: parts are started from the main thread (see process.py)")
        self.reap()
        self.prepare()
        for host, port in self.ports():
            if not ports.is_free(host, port):
                raise StackError(f"{self.name}: port {port} on {host} is in use by another program")
        if os.path.exists(self.log) and os.path.getsize(self.log) > LOG_MAX:
            os.truncate(self.log, 0)
        self._log_start = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        command = ["/usr/bin/setpriv", "--pdeathsig", self.death_signal, "--", *self.command()]
        program = command[4]
        given = [sock.fileno() for sock in self.sockets()]
        if given:
            # The numbers from 3 on, and the process's own, are known only there.
            moves = " ".join(f"{3 + n}<&{fd}" for n, fd in enumerate(given))
            command = ["/bin/bash", "-c", f'LISTEN_FDS={len(given)} LISTEN_PID=$$ exec "$0" "$@" {moves}', *command]
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=fd, stderr=fd, cwd=self.layout.state, umask=0o027,
                start_new_session=True, pass_fds=given,
                env={**self.stack.base_environment(), **self.environment(), **self.more_environment},
                **self.layout.account.popen_args())
        except OSError as error:
            raise StackError(f"{self.name}: cannot start {program}: {error.strerror}") from error
        finally:
            os.close(fd)
        self._ticks = start_ticks(self.process.pid)
        self.wanted = True
        self._note_pid()

    def wait_ready(self, timeout=READY_TIMEOUT):
        deadline = time.monotonic() + timeout
        while True:
            if not self.is_running():
                raise StackError(self.failure(f"ended while starting ({self.exit_text()})"))
            reason = self.check()
            if reason is None:
                return
            if time.monotonic() > deadline:
                raise StackError(self.failure(f"not ready after {timeout:.0f} s ({reason})"))
            time.sleep(0.03)

    def stop(self):
        """Ends it in good order; a frozen one too."""
        self.wanted = False
        if self.is_running():
            for sig, patience in self.stop_signals:
                self._signal(sig)
                resume_frozen(self.pids())
                if self._wait(patience):
                    break
            else:
                self._signal(signal.SIGKILL)
                self._wait(10.0)
        self.reap()

    def kill(self, sig=signal.SIGKILL):
        """Sends one signal to the main process, as an accident would. SIGKILL is waited for."""
        self.wanted = False
        if self.is_running():
            self._signal(sig)
            if sig == signal.SIGKILL:
                self._wait(10.0)

    def pause(self):
        """Freezes every process of the part."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + 5.0
        while not all(map(is_frozen, self.pids())) and time.monotonic() < deadline:
            time.sleep(0.01)

    def resume(self):
        resume_frozen(self.pids())

    def restart(self):
        self.stop()
        self.start()
        self.wait_ready()

    def reap(self):
        """Takes the exit status and ends what the main process left behind."""
        if self.process is None:
            return
        self.process.poll()
        # A pid is not given away while a session of its number lives: a stranger under it means that nothing is left.
        if start_ticks(self.process.pid) in (None, self._ticks):
            for pid in family(self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process = None
        self._forget_pid()

    def exit_text(self):
        code = self.process.poll() if self.process else None
        if code is None:
            return "not running"
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def failure(self, what):
        lines = "".join(f"\n    {line}" for line in self.last_lines())
        return f"{self.name}: {what}; log {self.log}{':' if lines else ' says nothing'}{lines}"

    def last_lines(self, count=3):
        """The last lines of its log since its last start."""
        return last_lines(self.log, count, self._log_start)

    def _signal(self, sig):
        try:
            self.process.send_signal(sig)
        except ProcessLookupError:
            pass

    def _wait(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _pid_file(self):
        return os.path.join(self.layout.pids, self.name + ".pid")

    def _note_pid(self):
        with open(self._pid_file(), "w", encoding="utf-8") as file:
            file.write(f"{self.pid}\n")

    def _forget_pid(self):
        try:
            os.unlink(self._pid_file())
        except FileNotFoundError:
            pass
