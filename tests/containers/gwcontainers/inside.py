"""Looking at containers from inside of their namespaces, with this machine's programs: their images have none for it."""

import subprocess

from .report import Failed

# All at once, and a second for them all: what is not open is refused, or stays without an answer.
_CONNECT = """
import errno, selectors, socket, sys, time
waiting, end = selectors.DefaultSelector(), time.monotonic() + 1
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    s = socket.socket()
    s.setblocking(False)
    if s.connect_ex((host, int(port))) in (0, errno.EINPROGRESS):
        waiting.register(s, selectors.EVENT_WRITE, target)
while waiting.get_map() and time.monotonic() < end:
    for key, _ in waiting.select(end - time.monotonic()):
        waiting.unregister(key.fileobj)
        if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            print(key.data)
"""
_SEND = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
try:
    s.sendto(b"<142>1 - - x - - not a line", (sys.argv[1], int(sys.argv[2])))
except OSError:
    pass
"""
_GET = """
import sys, urllib.request
sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=3).read().decode())
"""


def _python(pid, code, *args):
    return subprocess.run(["nsenter", "-t", str(pid), "-n", "/usr/bin/python3", "-c", code, *map(str, args)],
                          capture_output=True, text=True, check=False)


def reachable(pid, targets):
    """Those of the (host, port) that take a connection from where this process is."""
    done = _python(pid, _CONNECT, *(f"{host}:{port}" for host, port in targets))
    if done.returncode != 0:
        raise Failed(done.stderr)
    found = (line.rsplit(":", 1) for line in done.stdout.split())
    return {(host, int(port)) for host, port in found}


def send_datagram(pid, host, port):
    done = _python(pid, _SEND, host, port)
    if done.returncode != 0:
        raise Failed(done.stderr)


def get(pid, url):
    done = _python(pid, _GET, url)
    if done.returncode != 0:
        raise Failed(f"{url}: {done.stderr[-500:]}")
    return done.stdout


def psql(pid, dsn, password, query):
    """Exit code, and all that it printed."""
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", "psql", "-X", "-w", "-c", query, dsn], capture_output=True,
                          text=True, check=False, env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin"})
    return done.returncode, done.stdout + done.stderr


def listening(pid=None):
    """What is listened on, as (protocol, address, port); Docker's name server, of which each container has one, excepted."""
    enter = ["nsenter", "-t", str(pid), "-n"] if pid else []
    out = subprocess.run([*enter, "ss", "-Hlntu"], check=True, capture_output=True, text=True).stdout
    found = set()
    for line in out.splitlines():
        protocol, _, _, _, local = line.split()[:5]
        address, port = local.rsplit(":", 1)
        if address != "127.0.0.11":
            found.add((protocol, address, int(port)))
    return found


def status(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def command_line(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace")
