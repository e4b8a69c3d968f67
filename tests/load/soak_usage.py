#!/usr/bin/python3
"""Usage of many requests, to the byte: the trials of tests/integration/test_usage_faults.py at full size.

    make build && python3 tests/load/soak_usage.py [--requests 100000] [--rate 0] [--seed 1] [TRIAL ...]

Trials, both by default: `calm`, and `faults`, in which at random times the keeper is killed with -9 (20 times), the whole
agent is killed and started again (5 times), PostgreSQL is stopped for 60 s and another time killed, HAProxy is reloaded
(5 times), and Redis is restarted; with fewer than 100,000 requests all of these numbers, and the 60 s, shrink with them.

32 connections ask for images of 100 users, from 0 bytes to 50 MB, with a Content-Length and chunked, some with HEAD, for a
304, for what is not there, for what is refused, and some clients go away in the middle. Each request has a path of its own,
which its row has, too. In the end each answered request must have one row, with its user, status, and bytes of the body as
the client counted them; one that got no answer may have one; nothing else is there. Raw rows, roll-ups and quotas of each
user must be one. Prints a line for each trial and ends with 1 when something is not as it must be. GATEWAY_BIN_DIR says
where the programs are that do not lie in bin/.
"""

import argparse
import base64
import collections
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../integration"))

import helpers  # noqa: E402
import processes  # noqa: E402
from gwstack import ports  # noqa: E402
from helpers_records import check_sums, wait_shipped  # noqa: E402

CONNECTIONS, CLIENTS, USERS = 32, 2, 100
FULL = 100_000
MOST_BYTES = 50_000_000
# By 10,000 requests: what a client does.
KINDS = (("plain", 5400), ("chunked", 1500), ("head", 600), ("unchanged", 1000), ("missing", 400), ("refused", 700),
         ("aborted", 400))
# The same of bytes: the largest size of a class; within one all sizes come.
SIZES = ((0, 300), (1, 200), (2000, 4500), (60_000, 4400), (500_000, 550), (5_000_000, 47), (MOST_BYTES, 3))
BLOCK = os.urandom(1 << 16) * 16

# Numbers of requests that are asked again are that much higher, and this often.
AGAIN, TRIES = 100_000_000, 5

Seen = collections.namedtuple("Seen", "path kind key status bytes size complete id")


def choose(chance, table):
    return chance.choices([name for name, _ in table], [weight for _, weight in table])[0]


# ---- the image server: what it answers is in the name ------------------------------------------------------------------


def name_of(number, kind, size):
    return f"{kind}-{number}-{size}.jpg"


def what_is_asked(target):
    """(kind, size) from the path that the agent made; another name than one of ours is missing."""
    text = target.rpartition("/")[2].partition(".")[0]
    source = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    kind, *numbers = source.rpartition("/")[2].rpartition(".")[0].split("-")
    return (kind, int(numbers[1])) if len(numbers) == 2 else ("missing", 0)


def send_body(sock, size, chunked):
    view, left = memoryview(BLOCK), size
    while left > 0:
        some = min(left, len(BLOCK) if not chunked else 30_000)
        if chunked:
            sock.sendall(b"%x\r\n%b\r\n" % (some, view[:some]))
        else:
            sock.sendall(view[:some])
        left -= some
    if chunked:
        sock.sendall(b"0\r\n\r\n")


def answer(sock, head):
    target = head.split(b" ", 2)[1].decode()
    if target == "/health":
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return
    kind, size = what_is_asked(target)
    if kind == "missing":
        sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found")
    elif kind == "unchanged":
        sock.sendall(b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n')
    elif kind == "chunked":
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n")
        send_body(sock, size, True)
    else:
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nETag: "e"\r\nContent-Length: %d\r\n\r\n' % size)
        send_body(sock, size, False)


def serve_connection(sock):
    buffer = b""
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = sock.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                answer(sock, head)
        except OSError:
            pass  # HAProxy hangs up when its client does


def serve(listener):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_connection, args=(sock,), daemon=True).start()


class ImageServers:
    """Two, in processes of their own."""

    def __init__(self):
        listeners = [socket.create_server(("127.0.0.1", ports.find_free()), backlog=256) for _ in range(2)]
        self.addresses = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in listeners)
        self.processes = [multiprocessing.Process(target=serve, args=(one,), daemon=True) for one in listeners]
        for process in self.processes:
            process.start()
        for one in listeners:
            one.close()

    def close(self):
        for process in self.processes:
            process.terminate()
            process.join()


# ---- the clients -----------------------------------------------------------------------------------------------------


class Gone(Exception):
    """The connection ended before the first byte of an answer."""


class Connection:
    """Reads one answer after the other, and counts its body."""

    def __init__(self, address, small=False):
        host, _, port = address.rpartition(":")
        self.sock = socket.socket()
        if small:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.sock.settimeout(60)
        self.sock.connect((host, int(port)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def _more(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise ConnectionError("the connection ended within an answer")
        self.buffer += data

    def head(self, request):
        """(status, headers)"""
        try:
            self.sock.sendall(request)
            self.buffer += self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Gone(str(error)) from None
        if not self.buffer:
            raise Gone("closed")
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split(" ")[1]), headers

    def _skip(self, count):
        """Reads that many bytes; counts as it goes, so that `got` is right when it ends early."""
        while count > 0:
            if not self.buffer:
                self._more()
            some = min(count, len(self.buffer))
            self.buffer = self.buffer[some:]
            self.got += some
            count -= some

    def body(self, headers, most=None):
        """Bytes of the body, framing not counted; of one with a length, no more than `most`."""
        self.got = 0
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers.get("content-length", "0"))
            self._skip(length if most is None else min(most, length))
            return self.got
        while True:
            while b"\r\n" not in self.buffer:
                self._more()
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            size = int(line, 16)
            self._skip(size)
            while len(self.buffer) < 2:
                self._more()
            self.buffer = self.buffer[2:]
            if size == 0:
                return self.got


class Client(threading.Thread):
    """One of the connections. `seen` has a Seen for each request that got an answer's head, `unanswered` paths."""

    def __init__(self, number, address, keys, numbers, seed, period):
        super().__init__(daemon=True)
        self.address, self.keys, self.numbers, self.period = address, keys, numbers, period
        self.chance = random.Random(f"{seed}-{number}")
        self.seen, self.unanswered, self.errors = [], [], []
        self.conn = None

    def run(self):
        due = time.monotonic()
        for number in self.numbers:
            self._one(number)
            if self.period:
                due = max(due + self.period, time.monotonic() - 1.0)
                time.sleep(max(0.0, due - time.monotonic()))
        if self.conn is not None:
            self.conn.sock.close()

    def _one(self, number):
        kind, key = choose(self.chance, KINDS), self.chance.choice(self.keys)
        most = choose(self.chance, SIZES)
        size = self.chance.randint(most // 10, most)
        if kind == "aborted":
            size = self.chance.randint(500_000, 3_000_000)
        source = "http://127.0.0.1/" if kind == "refused" else "local:///"
        path = f"/img/unsafe/rs:fit:300:200/plain/{source}{name_of(number, kind, size)}"
        request = f"{'HEAD' if kind == 'head' else 'GET'} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key[0]}\r\n"
        request += 'If-None-Match: "e"\r\n' if kind == "unchanged" else ""
        status, got, headers, complete = 0, 0, {}, False
        try:
            if kind == "aborted" and self.conn is not None:
                self.conn.sock.close()
                self.conn = None
            self.conn = self.conn or Connection(self.address, kind == "aborted")
            status, headers = self.conn.head((request + "\r\n").encode())
            if kind == "aborted" and status == 200:
                got = self.conn.body(headers, self.chance.randint(1, 100_000))
                self.conn.reset()
                self.conn = None
            else:
                got = 0 if kind == "head" or status == 304 else self.conn.body(headers)
                complete = True
        except (Gone, OSError, ValueError) as error:
            if not isinstance(error, Gone):
                self.errors.append(f"{path}: {type(error).__name__}: {error}")
            got = getattr(self.conn, "got", 0) if status else 0
            self._hang_up()
        if not status:
            # As a browser does; but what is asked again has another path.
            self.unanswered.append(path)
            if number < AGAIN * TRIES:
                self._one(number + AGAIN)
            return
        self.seen.append(Seen(path, kind, key, status, got, size, complete, headers.get("x-request-id")))
        if headers.get("connection", "").lower() == "close":
            self._hang_up()

    def _hang_up(self):
        if self.conn is not None:
            self.conn.sock.close()
        self.conn = None


def ask(pipe, first, address, keys, requests, seed, period, offset):
    """A process of clients: its share of the connections and of the numbers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share = range(first, CONNECTIONS, CLIENTS)
    clients = [Client(n, address, keys, range(offset + n, offset + requests, CONNECTIONS), seed, period) for n in share]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    pipe.send(([tuple(one) for client in clients for one in client.seen],
               [path for client in clients for path in client.unanswered],
               [text for client in clients for text in client.errors]))
    pipe.close()


# ---- what happens meanwhile ------------------------------------------------------------------------------------------


def kill_keeper(stack):
    pid = helpers.wait_until(lambda: processes.keeper(stack), 20, "a keeper")
    processes.signal_all([pid], signal.SIGKILL)
    helpers.wait_until(lambda: processes.keeper(stack) not in (None, pid), 20, "the next keeper")


def kill_agent(stack):
    everyone = [stack["agent"].pid, *processes.pids(stack)]
    stack["agent"].wanted = False
    processes.signal_all(everyone, signal.SIGKILL)
    time.sleep(0.3)
    stack["agent"].start()
    stack["agent"].wait_ready()


def start_postgres(stack):
    stack["postgres"].start()
    stack["postgres"].wait_ready()


def kill_postgres(stack):
    stack["postgres"].kill()
    time.sleep(1)
    start_postgres(stack)


FAULTS = {
    "keeper killed": kill_keeper,
    "agent killed": kill_agent,
    "HAProxy reloaded": lambda stack: stack["haproxy"].reload(),
    "Redis restarted": lambda stack: stack["redis"].restart(),
    "PostgreSQL stopped": lambda stack: stack["postgres"].stop(),
    "PostgreSQL started": start_postgres,
    "PostgreSQL killed": kill_postgres,
}


def plan_faults(share, seconds, seed):
    """(second, fault) in the order of time. Others happen while PostgreSQL is away."""
    chance = random.Random(seed)
    away = 60 * share
    stopped = chance.uniform(0.05, 0.3) * seconds
    plan = [(stopped, "PostgreSQL stopped"), (stopped + away, "PostgreSQL started"),
            (stopped + away + chance.uniform(0.05, 0.2) * seconds, "PostgreSQL killed")]
    for fault, count in (("keeper killed", 20), ("agent killed", 5), ("HAProxy reloaded", 5), ("Redis restarted", 1)):
        plan += [(chance.uniform(0.02, 0.98) * seconds, fault) for _ in range(max(round(count * share), 1))]
    return sorted(plan)


def make_faults(stack, plan):
    """Counts by fault. From the main thread, which alone starts parts."""
    began, done = time.monotonic(), collections.Counter()
    for due, fault in plan:
        time.sleep(max(0.0, began + due - time.monotonic()))
        FAULTS[fault](stack)
        done[fault] += 1
    return done


# ---- what must hold ----------------------------------------------------------------------------------------------------


def judge(stack, seen, unanswered, users, say):
    """Complaints; says the figures."""
    rows = collections.defaultdict(list)
    for path, *row in stack.sql("SELECT request_path, request_id, user_id, response_status, response_size_bytes, billed_bytes, "
                                "code, termination FROM request_logs WHERE user_id = ANY (%s)", [users]):
        rows[path].append(row)
    kinds, bad, sent, stored, aborted_more = collections.Counter(), [], 0, 0, 0
    lost = twice = unknown = 0
    for one in seen:
        found = rows.pop(one.path, [])
        twice += max(len(found) - 1, 0)
        if len(found) > 1:
            bad.append(f"{len(found)} rows of {one}: {found}")
        if not found:
            # Nobody knew whose request it was: the whole agent was dead.
            if one.status == 503:
                unknown += 1
                continue
            lost += 1
            bad.append(f"no row of {one}")
            continue
        request_id, user, status, size, billed, code, termination = found[0]
        kinds[one.kind if one.status != 503 else "503"] += 1
        if (request_id, user, status) != (one.id, one.key[1], one.status):
            bad.append(f"another row of {one}: {found[0]}")
        elif one.complete:
            sent, stored = sent + one.bytes, stored + size
            if size != one.bytes or billed != (one.bytes if code == "allow" and status == 200 else 0):
                bad.append(f"other bytes of {one}: {found[0]}")
        else:
            aborted_more += size - one.bytes
            if not one.bytes <= size <= one.size or billed != size:
                bad.append(f"bytes of {one} that cannot be: {found[0]}")
    gone = set(unanswered)
    without = 0
    for path, found in rows.items():
        twice += len(found) - 1
        without += 1
        if path not in gone or len(found) > 1:
            bad.append(f"rows of {path}, which got no answer: {found}")
    total = sum(kinds.values()) + without
    statuses = collections.Counter(one.status for one in seen)
    say(f"  {len(seen) + len(gone)} requests: {len(seen)} answered, {unknown} of them 503 of a gateway without agent, which have "
        f"no user and no row; {len(gone)} connections ended before an answer, {without} of them after the request came")
    say("  answers: " + ", ".join(f"{status} {count}" for status, count in sorted(statuses.items())))
    say(f"  {total} rows ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}): {lost} lost, {twice} twice")
    say(f"  bytes of completed requests: {sent} received, {stored} recorded; of those that were not, {aborted_more} more are "
        "recorded than were read")
    return bad


def check_users(stack, users):
    bad = []
    for user in users:
        try:
            check_sums(stack, user)
        except AssertionError as error:
            bad.append(f"sums of user {user.id}: {error}")
    return bad


def trial(name, stack, keys, options, offset, say):
    pairs = [(key.key, key.user.id) for key in keys]
    share = min(options.requests / FULL, 1.0)
    rate = options.rate
    if name == "faults" and not rate:  # so that the load lasts as long as they do
        rate = options.requests / (options.fault_seconds * share * 1.1)
    period = CONNECTIONS / rate if rate else 0.0
    began = time.monotonic()
    clients = []
    for first in range(CLIENTS):
        mine, theirs = multiprocessing.Pipe(False)
        process = multiprocessing.Process(target=ask, args=(theirs, first, stack.address, pairs, options.requests, options.seed,
                                                            period, offset), daemon=True)
        process.start()
        theirs.close()
        clients.append((process, mine))
    done, faults_took = {}, 0.0
    if name == "faults":
        done = make_faults(stack, plan_faults(share, options.fault_seconds * share, options.seed))
        faults_took = time.monotonic() - began
    seen, unanswered, errors = [], [], []
    for process, pipe in clients:
        some, gone, failed = pipe.recv()
        process.join()
        seen += [Seen(*one) for one in some]
        unanswered += gone
        errors += failed
    took = time.monotonic() - began
    helpers.wait_until(lambda: stack.metrics().get("gateway_postgres_up") == 1, 60, "PostgreSQL is back")
    wait_shipped(stack, 180)
    say(f"{name}: {took:.0f} s, " + (", ".join(f"{fault} {count}" for fault, count in done.items()) or "no faults") +
        (f", the last after {faults_took:.0f} s" if done else ""))
    bad = judge(stack, seen, unanswered, [key.user.id for key in keys], say)
    bad += check_users(stack, [key.user for key in keys])
    losses = {line for line in stack.metrics().text.splitlines() if line.startswith("gateway_usage_lost_total{")}
    counted = {line for line in losses if not line.endswith(" 0")}
    say(f"  counted as lost: {', '.join(sorted(counted)) or 'nothing'}; {len(errors)} answers were cut"
        f"{': ' + errors[0] if errors else ''}")
    for line in bad[:10]:
        say(f"  WRONG: {line[:600]}")
    if bad:
        say(f"  {len(bad)} things are wrong")
    return not bad and not counted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", default=["calm", "faults"], metavar="TRIAL")
    parser.add_argument("--requests", type=int, default=FULL)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second of all connections; 0: as fast as it goes, with faults for as long as those take")
    parser.add_argument("--fault-seconds", type=float, default=150.0, help="how long the faults of 100,000 requests take")
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    if not set(options.trials) <= {"calm", "faults"} or not CONNECTIONS <= options.requests <= 10_000_000:
        parser.error("trials are calm and faults, of 32 to 10,000,000 requests")
    servers, good = ImageServers(), True
    stack = helpers.GatewayStack(foreign=servers.addresses)
    try:
        # Without the stack's own users and sample, which these image servers do not have.
        stack.prepare()
        stack.start_servers()
        stack.migrate()
        stack.start_parts("agent", "api", "haproxy")
        for name in ("img1", "img2"):
            stack.wait_server("be_imgproxy", name)
        for turn, name in enumerate(options.trials):
            # Each trial has users of its own: its rows are theirs.
            keys = [stack.make_key(settle=False) for _ in range(USERS)]
            stack.settle()
            good = trial(name, stack, keys, options, turn * 10_000_000, lambda line: print(line, flush=True)) and good
        if not good:
            print(f"logs: {stack.keep_logs()}")
    finally:
        stack.close()
        servers.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
