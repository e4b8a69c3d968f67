"""The parts that `make bench` puts beside those of a stack: upstream, rival, floor, and HAProxy in three forms."""

import os
import re
import shutil
import signal
import time

from gwstack import Stack, StackError, ports, probe
from gwstack.gateway import HAProxy
from gwstack.layout import find_program
from gwstack.process import Part

from . import ROOT
from .measure import command_line

# What the agent would have said, for a HAProxy that does not ask. Set like everything else: by rules of its own.
NO_FILTER = """\
    http-request set-var(txn.gw.verdict) str(allow)
    http-request set-var(txn.gw.target) path
"""


def without_filter(text):
    """haproxy.cfg without SPOE: the filters, the question, and the rules on a verdict that refuses are gone; all other
    rules stay. StackError when the file no longer has what is taken out."""
    kept, filters, groups, asked = [], 0, 0, False
    for line in text.splitlines(keepends=True):
        words = line.split()
        if words[:2] == ["filter", "spoe"]:
            filters += 1
        elif words[:2] == ["http-request", "send-spoe-group"]:
            groups += 1
            if not asked:
                kept.append(NO_FILTER)
            asked = True
        elif re.search(r"^\s*http-request return .*\b(if denied|unless allowed)\b", line):
            pass
        else:
            kept.append(line)
    if filters == 0 or groups == 0:
        raise StackError("haproxy.cfg: no `filter spoe` or no `send-spoe-group`; gwbench/parts.py must be told")
    return "".join(kept)


# HAProxy is ended at once: nothing is in flight between runs.
AT_ONCE = ((signal.SIGTERM, 5.0),)


class Nginx(Part):
    """One nginx with a configuration of ours, as the stack's user and below the stack's folder."""

    stop_signals = AT_ONCE
    workers = 1

    def __init__(self, stack, name):
        super().__init__(stack)
        self.name = self.title = name
        self.port = ports.find_free()

    def ports(self):
        return [("127.0.0.1", self.port)]

    def http(self):
        """The inside of `http { }`."""
        raise NotImplementedError

    def prepare(self):
        folder = self.layout.folder(self.name, 0o700)
        temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.layout.write(f"{self.name}/nginx.conf", f"""
daemon off;
pid {folder}/nginx.pid;
worker_processes {self.workers};
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
{temporary}{self.http()}}}
""")

    def command(self):
        folder = self.layout.path(self.name)
        program = self.layout.program(find_program("nginx"))
        return [program, "-p", folder, "-e", "stderr", "-c", os.path.join(folder, "nginx.conf")]

    def check(self):
        return probe.http_ready(f"127.0.0.1:{self.port}", "/health")


class Upstream(Nginx):
    """Stands for the image servers: 200 with a few bytes, to everything."""

    def http(self):
        return (f"    server {{ listen 127.0.0.1:{self.port} backlog=4096;\n"
                "        location / { default_type image/jpeg; return 200 \"no image\"; } }\n")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"


class AuthService(Upstream):
    """Asked by auth_request: 204 to everything."""

    def http(self):
        return (f"    server {{ listen 127.0.0.1:{self.port} backlog=4096;\n"
                "        location = /health { return 200; }\n"
                "        location / { return 204; } }\n")


class AuthProxy(Nginx):
    """The rival: nginx that asks with auth_request and passes on, both over kept connections. With an auth service it
    asks that over HTTP; without one the 204 comes from the same worker, and nobody decides."""

    workers = 2

    def __init__(self, stack, name, upstream, auth=None):
        super().__init__(stack, name)
        self.upstream, self.auth = upstream, auth

    def http(self):
        auth = "return 204;"
        pools = f"    upstream images {{ server {self.upstream.address}; keepalive 256; }}\n"
        if self.auth is not None:
            pools += f"    upstream auth {{ server {self.auth.address}; keepalive 256; }}\n"
            auth = ("proxy_pass http://auth; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; "
                    "proxy_set_header X-Original-URI $request_uri;")
        return pools + f"""\
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        location = /health {{ return 200; }}
        location = /auth {{ internal; {auth} }}
        location / {{ auth_request /auth; proxy_pass http://images; }}
    }}
"""


class DavServer(Nginx):
    """The rival of gateway-api: nginx that takes files with PUT (WebDAV), behind HAProxy in its place. It writes a body to
    a temporary file on the same disk and renames it; it neither syncs nor hashes, nor looks at what it has got."""

    workers = 2

    @property
    def bind(self):
        return f"unix@{self.layout.sockets}/dav.sock"

    def ports(self):
        return []

    @property
    def files(self):
        return self.layout.path(self.name, "files")

    def prepare(self):
        self.layout.folder(self.name, 0o700)
        self.layout.folder(f"{self.name}/files", 0o750)
        super().prepare()

    def http(self):
        return f"""\
    server {{
        listen unix:{self.bind[len("unix@"):]};
        client_max_body_size 200m;
        location = /healthz {{ return 200; }}
        location / {{ root {self.files}; dav_methods PUT; create_full_put_path on; }}
    }}
"""

    def check(self):
        return probe.http_ready(self.bind, "/healthz")


class FloorAgent(Part):
    """tests/bench/floor_agent.c"""

    name = title = "floor-agent"

    @property
    def bind(self):
        return f"unix@{self.layout.sockets}/floor.sock"

    def command(self):
        return [self.layout.program(program("floor-agent")), self.bind]

    def check(self):
        return probe.connects(self.bind)


class OtherHAProxy(HAProxy):
    """The stack's haproxy.cfg on a port of its own: with another agent, or with no filter."""

    stop_signals = AT_ONCE

    def __init__(self, stack, name, agent=None, images=None):
        super().__init__(stack)
        self.name = self.title = name
        self.agent, self.images = agent, images
        self._port = ports.find_free()

    @property
    def socket(self):
        return os.path.join(self.layout.sockets, f"{self.name}.sock")

    @property
    def port(self):
        return self._port

    @property
    def address(self):
        return f"127.0.0.1:{self._port}"

    def where(self):
        return self.address

    def prepare(self):
        if self.agent is None:
            with open(os.path.join(ROOT, "haproxy/haproxy.cfg"), encoding="utf-8") as file:
                self.layout.write(f"{self.name}.cfg", without_filter(file.read()))

    def command(self):
        command = super().command()
        if self.agent is None:
            command[-1] = self.layout.path(f"{self.name}.cfg")
        return command

    def environment(self):
        values = super().environment()
        values["SERVER_PORT"] = str(self._port)
        if self.agent is not None:
            values["AGENT_SPOP_1"] = values["AGENT_SPOP_2"] = self.agent.bind
        for number in (1, 2) if self.images else ():
            values[f"IMGPROXY_{number}_ADDR"] = self.images
        return values


class DavHAProxy(OtherHAProxy):
    """The stack's haproxy.cfg and agent on a port of its own, with another server in the place of gateway-api."""

    def __init__(self, stack, name, bind):
        super().__init__(stack, name)
        self.bind = bind

    def prepare(self):
        HAProxy.prepare(self)

    def command(self):
        return HAProxy.command(self)

    def environment(self):
        return {**super().environment(), "API_SOCKET": self.bind}


class SilentHAProxy(OtherHAProxy):
    """The stack's haproxy.cfg and agent on a port of its own, without usage lines."""

    def prepare(self):
        HAProxy.prepare(self)

    def command(self):
        return HAProxy.command(self)

    def environment(self):
        return {**super().environment(), "USAGE_TOKEN": ""}


def program(name):
    """One of the programs of tests/bench."""
    path = os.path.join(os.environ.get("GATEWAY_BENCH_DIR") or os.path.join(ROOT, "build/bench"), name)
    if not os.path.exists(path):
        raise StackError(f"{name}: {path} is not there; `make bench` makes it")
    return path


class BenchStack(Stack):
    """PostgreSQL, agent and HAProxy of a stack, with nginx in place of the image servers. Redis only when it is asked
    for: one agent alone needs none. Usage is recorded only when it is asked for, and then with a PostgreSQL that keeps
    what it has committed: what verdicts are measured against records none."""

    def __init__(self, redis=False, settings=None, usage=False):
        own = {"RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE": "1000000000", "LOG_LEVEL": "warn", **(settings or {})}
        if not redis:
            own["REDIS_ADDR"] = ""
        if not usage:
            own["USAGE_TOKEN"] = ""
        super().__init__(ROOT, durable=usage, settings=own)
        self.extras = []

    def add(self, part):
        """Starts a part of ours; the stack ends it."""
        self.extras.append(part)
        part.start()
        part.wait_ready()
        return part

    def start_database(self):
        self.prepare()
        self["haproxy"].stop_signals = AT_ONCE
        self.start_parts(*[name for name in ("postgres", "redis") if name in self.parts])
        self["postgres"].create_database()
        self.migrate()

    def use_upstream(self):
        """From now on the image servers are one nginx."""
        upstream = self.add(Upstream(self, "upstream"))
        for server in self.image_servers:
            server.address = upstream.address
        return upstream

    def stop(self):
        for part in reversed(self.extras):
            part.stop()
        super().stop()

    def close(self):
        """Also after a Ctrl-C within initdb, whose children write for a moment longer while the folder is removed."""
        super().close()
        for _ in range(50):
            if not os.path.isdir(self.layout.state):
                break
            time.sleep(0.1)
            shutil.rmtree(self.layout.state, ignore_errors=True)

    # ---- what runs ---------------------------------------------------------------------------------------------

    def gauge(self, name):
        """A number of the agent's /metrics, with its labels as they stand there; -1 when it is not there."""
        _, _, body = probe.http_request(self.settings["METRICS_BIND"], "/metrics")
        for line in body.decode().splitlines():
            if line.startswith(name + " "):
                return int(float(line.split()[1]))
        return -1

    def all_pids(self):
        """Of every part that runs; of PostgreSQL the main process alone, whose backends come and go."""
        parts = [*self.parts.values(), *self.extras]
        return [pid for part in parts if part.is_running()
                for pid in ([part.pid] if part.name == "postgres" else part.pids())]

    def keeper_pids(self):
        return [pid for pid in self["agent"].pids() if role_of(pid) == "keeper"]

    def verdict_pids(self):
        return [pid for pid in self["agent"].pids() if role_of(pid) == "verdict"]

    def other_agent_pids(self):
        return [pid for pid in self["agent"].pids() if role_of(pid) != "verdict"]


def role_of(pid):
    """What a process of the agent is: the word behind --child."""
    words = command_line(pid)
    return words[words.index("--child") + 1] if "--child" in words[:-1] else ""


def worker_pids(haproxy):
    """HAProxy without its master, which does nothing."""
    return [pid for pid in haproxy.pids() if pid != haproxy.pid]
