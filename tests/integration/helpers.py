"""What the tests do with a stack beyond starting and stopping it."""

import collections
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import psycopg2

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "compose/local"))

from gwstack import Stack, StackError  # noqa: E402

import helpers_http as http  # noqa: E402

# Sanitizers' marks: nothing that our programs log holds them.
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|SUMMARY: \w+Sanitizer|runtime error:|LeakSanitizer")
POLICY_TIMEOUT = 10.0
# Users without limits of their own have none: most tests ask more often than the defaults allow.
NO_LIMITS = dict.fromkeys((
    "RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE", "RATE_LIMITS_USER_LEVEL_REQUESTS_PER_MINUTE",
    "RATE_LIMITS_USER_LEVEL_REQUESTS_PER_HOUR", "QUOTAS_MONTHLY_REQUESTS", "QUOTAS_MONTHLY_BANDWIDTH_MB"), "0")

Ctl = collections.namedtuple("Ctl", "rc out err")
User = collections.namedtuple("User", "id name")
Key = collections.namedtuple("Key", "id key user")


def wait_until(condition, timeout=10.0, what="", interval=0.02):
    """Asks until condition() gives a true value, which is returned; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition} (last value {value!r})")
        time.sleep(interval)


class Metrics:
    """Prometheus text: values by name and labels, types by family."""

    LINE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})? (\S+)$')
    LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.text, self.types, self.helps, self.values = text, {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} has two TYPE lines"
                self.types[name] = kind
            elif line.startswith("# HELP "):
                _, _, name, text = line.split(" ", 3)
                self.helps[name] = text
            elif line and not line.startswith("#"):
                match = self.LINE.match(line)
                assert match, f"this is no line of metrics: {line!r}"
                labels = frozenset(self.LABEL.findall(match[2] or ""))
                assert (match[1], labels) not in self.values, f"twice: {line}"
                self.values[match[1], labels] = float(match[3])

    def get(self, name, **labels):
        return self.values[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        """All series of a name that have these labels, added up."""
        return sum(value for (key, have), value in self.values.items()
                   if key == name and set(labels.items()) <= have)


class GatewayStack(Stack):
    """A Stack with what tests ask of it."""

    _numbers = itertools.count(1)

    def __init__(self, settings=None, environ=None, **more):
        super().__init__(ROOT, durable=False, settings={**NO_LIMITS, **(settings or {})},
                         environ={**os.environ, **(environ or {})}, **more)
        self._log_ends = {}

    # ---- programs ----------------------------------------------------------------------------------------------

    def gatewayctl(self, *args):
        """(rc, out, err); out is parsed when --json was given and it succeeded."""
        done = self.run_ctl(*map(str, args))
        assert not SANITIZER.search(done.stderr), done.stderr
        out = json.loads(done.stdout) if "--json" in args and done.returncode == 0 else done.stdout
        return Ctl(done.returncode, out, done.stderr)

    def done(self, *args):
        """gatewayctl … --json that must succeed: what it answers."""
        result = self.gatewayctl(*args, "--json")
        assert result.rc == 0, result
        return result.out

    def run_program(self, name, *args, env=None, timeout=60, plain=False):
        """One of the programs with nothing but this in its environment; rc, out, err. As the stack's user, unless
        plain says: as whoever runs the tests."""
        account = {} if plain else self.layout.account.popen_args()
        done = subprocess.run(
            [self.layout.program(self.program(name)), *map(str, args)], capture_output=True, text=True, check=False,
            cwd="/", stdin=subprocess.DEVNULL, timeout=timeout, env={**self.base_environment(), **(env or {})}, **account)
        assert not SANITIZER.search(done.stderr), done.stderr
        return Ctl(done.returncode, done.stdout, done.stderr)

    def unique(self, prefix="t"):
        return f"{prefix}-{os.getpid()}-{next(self._numbers)}"

    def make_user(self, name=None):
        name = name or self.unique("user")
        return User(self.done("user", "add", name, "--email", f"{name}@example.invalid")["id"], name)

    def make_key(self, user=None, scopes="read,upload", expires=None, settle=True):
        """A key of `user` (a new user by default) that the agent knows already."""
        user = user or self.make_user()
        made = self.done("key", "create", user.name, "--scopes", scopes, *(["--expires", expires] if expires else []))
        if settle:
            self.settle()
        return Key(made["id"], made["key"], user)

    def settle(self, timeout=POLICY_TIMEOUT):
        """Waits until the agent's policy is what PostgreSQL holds now."""
        wanted = int(self.sql("SELECT generation FROM policy_generation")[0][0])
        wait_until(lambda: self.metrics().get("gateway_policy_generation") >= wanted, timeout,
                   f"the policy reaches generation {wanted}")

    def sql(self, query, args=None):
        """Rows of a query as the role of the programs; commits."""
        db = psycopg2.connect(self.settings["DB_DSN"], connect_timeout=10)
        try:
            with db, db.cursor() as cursor:
                cursor.execute(query, args)
                return cursor.fetchall() if cursor.description else []
        finally:
            db.close()

    # ---- HTTP --------------------------------------------------------------------------------------------------

    def raw(self, data, head_only=False, timeout=30.0):
        return http.send_raw(self.address, data, head_only, timeout)

    def request(self, method, target, key=None, headers=(), body=None, **more):
        """`key` goes into X-API-Key; everything else stands in `headers`."""
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        if key is not None:
            pairs.append(("X-API-Key", getattr(key, "key", key)))
        return self.raw(http.build(method, target, pairs, body, **more), head_only=method == "HEAD")

    def get(self, target, key=None, headers=()):
        return self.request("GET", target, key, headers)

    def upload(self, key, data, filename="photo.jpg", content_type="image/jpeg", form=True, headers=()):
        """Multipart, or raw with form=False."""
        if form:
            content_type, data = http.multipart(data, filename, content_type)
        pairs = list(headers.items() if isinstance(headers, dict) else headers)
        return self.request("POST", "/api/v1/upload", key, [("Content-Type", content_type), *pairs], data)

    def uploaded(self, key, data, **more):
        """The same, and it must succeed: the parsed answer."""
        answer = self.upload(key, data, **more)
        assert answer.status == 200, answer
        return answer.json()

    def files_of(self, user):
        """Names in the tenant's folder, unfinished uploads too."""
        folder = os.path.join(self.settings["UPLOADS_DIR"], str(getattr(user, "id", user)))
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def settled_files_of(self, user):
        """The same, once no upload is unfinished: what is cut off is removed when gateway-api sees the end of the stream,
        which is after HAProxy has answered."""
        wait_until(lambda: not [name for name in self.files_of(user) if name.startswith(".part-")], what="no unfinished file")
        return self.files_of(user)

    def stored(self, user, source):
        """The bytes on disk of local:///<name>."""
        name = source[len("local:///"):]
        with open(os.path.join(self.settings["UPLOADS_DIR"], str(user.id), name), "rb") as file:
            return file.read()

    def metrics(self):
        answer = http.send_raw(self.settings["METRICS_BIND"], http.build("GET", "/metrics"))
        assert answer.status == 200, answer
        return Metrics(answer.body.decode())

    def stats_page(self, path):
        return http.send_raw(self.settings["METRICS_BIND"], http.build("GET", path))

    # ---- HAProxy's runtime socket ------------------------------------------------------------------------------

    def haproxy(self, command):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(self["haproxy"].socket)
            sock.sendall(command.encode() + b"\n")
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
        return b"".join(pieces).decode()

    def server_stat(self, backend, server):
        """The row of `show stat`, by column."""
        head, *rows = self.haproxy("show stat").lstrip("# ").splitlines()
        names = head.rstrip(",").split(",")
        for row in rows:
            found = dict(zip(names, row.split(",")))
            if (found.get("pxname"), found.get("svname")) == (backend, server):
                return found
        raise AssertionError(f"HAProxy has no server {backend}/{server}")

    def wait_server(self, backend, server, up=True, timeout=15.0):
        wait_until(lambda: self.server_stat(backend, server)["status"].startswith("UP") == up, timeout,
                   f"{backend}/{server} {'up' if up else 'down'}")

    # ---- logs --------------------------------------------------------------------------------------------------

    def logs(self):
        """Texts of all log files, by part."""
        found = {}
        if os.path.isdir(self.layout.logs):
            for name in sorted(os.listdir(self.layout.logs)):
                with open(os.path.join(self.layout.logs, name), encoding="utf-8", errors="replace") as file:
                    found[name] = file.read()
        return found

    def new_findings(self):
        """Lines of sanitizers that were not there at the last call."""
        found = []
        for name, text in self.logs().items():
            begin = self._log_ends.get(name, 0)
            begin = begin if begin <= len(text) else 0
            found += [f"{name}: {line}" for line in text[begin:].splitlines() if SANITIZER.search(line)]
            self._log_ends[name] = len(text)
        return found

    def keep_logs(self):
        """Copies the logs to a folder that stays; returns it, or None when there are none."""
        if not os.path.isdir(self.layout.logs):
            return None
        folder = tempfile.mkdtemp(prefix="igw-test-logs-")
        shutil.copytree(self.layout.logs, os.path.join(folder, "log"))
        return folder


def image_path(source, options="rs:fill:300:200", ext=None):
    """The client's path for a source of an upload answer."""
    return f"/img/unsafe/{options + '/' if options else ''}plain/{source}{'@' + ext if ext else ''}"
