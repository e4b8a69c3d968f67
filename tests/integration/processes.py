"""The agent's processes as the system shows them, and what tests do to them."""

import collections
import itertools
import os
import shutil
import signal
import tempfile
import time

import helpers_spop
from helpers import ROOT, wait_until

Child = collections.namedtuple("Child", "pid role index")
KEEPER = "keeper"


def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def is_alive(pid):
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


def children(parent):
    """The agent's processes below its parent process, those that live."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = _stat(name)
        if fields is None or fields[0] in "ZX" or int(fields[1]) != parent:
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "--child" in words:
            found.append(Child(int(name), words[words.index("--child") + 1], int(words[words.index("--index") + 1])))
    return sorted(found)


def pids(stack):
    return {child.pid for child in children(stack["agent"].pid)}


def worker(stack, index):
    """The pid of verdict worker `index` (from 0); None when there is none now."""
    return next((c.pid for c in children(stack["agent"].pid) if (c.role, c.index) == ("verdict", index)), None)


def keeper(stack):
    return next((c.pid for c in children(stack["agent"].pid) if c.role == KEEPER), None)


def kill_worker(stack, index, sig=signal.SIGKILL):
    pid = wait_until(lambda: worker(stack, index), what=f"verdict worker {index + 1} lives")
    os.kill(pid, sig)
    return pid


def answers(stack, index):
    """Whether verdict worker `index` says hello."""
    return helpers_spop.healthcheck(stack["agent"].workers()[index])


def wait_all_up(stack, timeout=30.0):
    """Until both workers answer and HAProxy knows it: then either of them may fail."""
    for index in range(len(stack["agent"].workers())):
        wait_until(lambda: answers(stack, index), timeout, f"verdict worker {index + 1} answers")  # noqa: B023
    for backend in ("be_agent_1", "be_agent_2"):
        for server in ("w1", "w2"):
            stack.wait_server(backend, server, timeout=timeout)


def reload(stack, timeout=30.0, **settings):
    """SIGHUP, with these settings changed, until all processes are new ones. Returns the new pids."""
    stack.settings.update(settings)
    stack.write_config()
    old = pids(stack)
    count = len(stack["agent"].workers()) + 1
    stack["agent"].reload()
    return wait_until(lambda: (not old & pids(stack)) and len(pids(stack)) == count and pids(stack), timeout,
                      "only new processes run")


def restarts(stack, **labels):
    return int(stack.metrics().sum("gateway_worker_restarts_total", **labels))


def kill_in_turn(stack, indexes, load, seconds, period=0.5):
    """Kills these verdict workers in turn, one every `period`, for so long. Returns how many were killed.

    With two workers only one can be spared: the next is killed when the one before it serves again."""
    kills, due, turn = 0, time.monotonic(), itertools.cycle(indexes)
    end = due + seconds
    while time.monotonic() < end:
        if len(indexes) > 1:
            wait_all_up(stack)
        kill_worker(stack, next(turn))
        kills += 1
        due = max(due + period, time.monotonic())
        load.run_for(due - time.monotonic())
    return kills


def signal_all(pids_, sig):
    for pid in pids_:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass


class Programs:
    """A folder with copies of the programs, of which a test may break one."""

    def __init__(self):
        bin_dir = os.environ.get("GATEWAY_BIN_DIR") or os.path.join(ROOT, "bin")
        self.folder = tempfile.mkdtemp(prefix="igw-test-bin-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        for name in ("gateway-agent", "gateway-api", "gatewayctl"):
            shutil.copy(os.path.join(bin_dir, name), self.folder)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environ(self):
        return {"GATEWAY_BIN_DIR": self.folder}

    def replace(self, name, text, mode=0o755):
        """Puts a script in the place of a program; the file that runs stays what it is."""
        path = os.path.join(self.folder, name)
        if not os.path.exists(path + ".good"):
            os.link(path, path + ".good")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path + ".new", mode)
        os.rename(path + ".new", path)

    def restore(self, name):
        path = os.path.join(self.folder, name)
        if os.path.exists(path + ".good"):
            os.rename(path + ".good", path)
