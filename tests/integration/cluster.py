"""Several whole hosts on one machine: each is an agent with a state of its own and its own HAProxy; they share one
PostgreSQL, one Redis and the secrets. Image requests cost no resizing: an nginx answers every path with a few bytes.
"""


import os

import redis
from helpers import ROOT, wait_until

from gwstack import ports, probe
from gwstack.layout import find_program
from gwstack.process import Part

SHARED = ("AUTH_KEY_PEPPER", "AUTH_MASTER_KEY", "IMGPROXY_KEY", "IMGPROXY_SALT", "API_TOKEN", "UPLOADS_DIR")
PATH = "/img/unsafe/rs:fit:8:8/plain/local:///a.jpg"


# Three hosts that share one machine of two processors measure the limits, not how all of it records usage at once: a Redis that
# answers some milliseconds late is one that is away, and each host then has its share.
ALONE = {"USAGE_TOKEN": ""}


class Upstream(Part):
    """The image servers of all hosts: one nginx on two ports."""

    name = "nginx"
    title = "image server"

    def __init__(self, stack, addresses):
        super().__init__(stack)
        self.addresses = addresses

    def ports(self):
        return [probe.split_address(address) for address in self.addresses]

    def prepare(self):
        folder = self.layout.folder("nginx", 0o700)
        listen = "".join(f"listen {address} backlog=1024; " for address in self.addresses)
        temporary = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in (
            "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.layout.write("stack/nginx.conf", f"""
            daemon off; master_process off; pid {folder}/pid; error_log stderr warn;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; {temporary}
                keepalive_requests 100000000; keepalive_timeout 60s; merge_slashes off;
                server {{ {listen} location / {{ return 200 "image"; }} }}
            }}""")

    def command(self):
        return [self.layout.program(find_program("nginx")), "-e", "stderr", "-c", self.layout.path("stack/nginx.conf"),
                "-p", self.layout.path("nginx")]

    def check(self):
        return next(filter(None, (probe.http_ready(address, "/health") for address in self.addresses)), None)


class Cluster:
    """`hosts` hosts; open_stack makes a stack that is not prepared (conftest.py). `clocks` holds for a host's number
    the seconds by which its agent's clock of the day is ahead, `all_clocks` those of the servers and all agents."""

    def __init__(self, open_stack, hosts=3, settings=None, clocks=None, all_clocks=0):
        taken = []
        for _ in range(2):
            taken.append(ports.find_free(taken=taken))
        self._open, self._settings, self._clocks = open_stack, dict(settings or {}), dict(clocks or {})
        self._all_clocks = all_clocks
        self._foreign = [f"127.0.0.1:{port}" for port in taken]
        self._count = hosts
        self.hosts = []

    def start(self):
        first = self._open(self._settings, foreign=self._foreign)
        self.hosts.append(first)
        first.prepare()
        if self._all_clocks:
            self._clocks = dict.fromkeys(range(self._count), self._all_clocks)
            for name in {"postgres", "redis"} & set(first.parts):
                first[name].more_environment = ahead(first, self._all_clocks)
        self.upstream = Upstream(first, self._foreign)
        first.start_servers()
        self.upstream.start()
        self.upstream.wait_ready()
        first.migrate()
        self.redis_part, self.redis_address = first.parts.get("redis"), first.settings["REDIS_ADDR"]
        joined = {name: first.settings[name] for name in (*SHARED, "DB_DSN", "REDIS_ADDR")}
        for _ in range(1, self._count):
            host = self._open({**self._settings, **joined}, foreign=self._foreign)
            self.hosts.append(host)
            host.prepare()
        for number, host in enumerate(self.hosts):
            if number in self._clocks:
                host["agent"].more_environment = ahead(host, self._clocks[number])
            host.start_parts("agent", "api", "haproxy")
        self.wait_ready()

    def close(self):
        """The stacks are closed by whoever opened them; this is what is not theirs."""
        if hasattr(self, "upstream"):
            self.upstream.stop()

    def wait_ready(self):
        for host in self.hosts:
            for backend in ("be_agent_1", "be_agent_2"):
                for server in ("w1", "w2"):
                    host.wait_server(backend, server)
            for server in ("img1", "img2"):
                host.wait_server("be_imgproxy", server)

    @property
    def first(self):
        return self.hosts[0]

    def settle(self):
        for host in self.hosts:
            host.settle()

    def limited_key(self, settle=True, **limits):
        """A key of a new user with limits() of its own; `limits` as there."""
        key = self.first.make_key(settle=False)
        set_limits(self.first, key.user, **limits)
        if settle:
            self.settle()
        return key

    def limited_keys(self, *many):
        """The same for several at once."""
        keys = [self.limited_key(settle=False, **limits) for limits in many]
        self.settle()
        return keys

    def redis(self):
        host, _, port = self.redis_address.rpartition(":")
        return redis.Redis(host=host, port=int(port), socket_timeout=20)

    def verdicts(self):
        return sum(host.metrics().sum("gateway_verdicts_total") for host in self.hosts)

    def round_trips(self):
        """What came to Redis in one piece so far: each is one round trip of some host. (INFO itself is one.)"""
        return self.redis().info("stats")["total_reads_processed"]

    def wait_redis(self, up=True, timeout=20.0):
        for host in self.hosts:
            wait_until(lambda: host.metrics().get("gateway_redis_up") == up, timeout,  # noqa: B023
                       f"the agents see Redis {'up' if up else 'down'}")


def ahead(host, seconds):
    """The environment of a program whose clock of the day is that much ahead, and whose monotonic clock is right."""
    asan = host.base_environment().get("ASAN_OPTIONS", "")
    library = os.environ.get("GATEWAY_SKEW") or os.path.join(ROOT, "build/tests/skew.so")
    return {"LD_PRELOAD": host.layout.data(library), "CLOCK_SKEW": str(seconds),
            "ASAN_OPTIONS": f"{asan}:verify_asan_link_order=0".lstrip(":")}


def set_limits(stack, user, per_minute=0, burst=None, per_hour=0, requests=0, bandwidth_mb=0, reset_day=None, shadow=()):
    """Replaces the limits of a user; 0 is no limit, None the setting's. `shadow`: minute, hour, requests, bandwidth.
    What the month has used already stays as it is."""
    shadows = [name in shadow for name in ("minute", "hour", "requests", "bandwidth")]
    stack.sql(
        """INSERT INTO rate_limits (user_id, requests_per_minute, burst, requests_per_hour, shadow_minute, shadow_hour)
           VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (user_id) DO UPDATE SET
           requests_per_minute = EXCLUDED.requests_per_minute, burst = EXCLUDED.burst,
           requests_per_hour = EXCLUDED.requests_per_hour, shadow_minute = EXCLUDED.shadow_minute,
           shadow_hour = EXCLUDED.shadow_hour""",
        (user.id, per_minute, burst, per_hour, *shadows[:2]))
    stack.sql(
        """INSERT INTO quotas (user_id, monthly_requests, monthly_bandwidth_mb, reset_day, shadow_requests,
                               shadow_bandwidth)
           VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (user_id) DO UPDATE SET
           monthly_requests = EXCLUDED.monthly_requests, monthly_bandwidth_mb = EXCLUDED.monthly_bandwidth_mb,
           reset_day = EXCLUDED.reset_day, shadow_requests = EXCLUDED.shadow_requests,
           shadow_bandwidth = EXCLUDED.shadow_bandwidth""",
        (user.id, requests, bandwidth_mb, reset_day, *shadows[2:]))


def used_requests(stack, user):
    """What PostgreSQL holds of the month."""
    return stack.sql("SELECT current_requests FROM quotas WHERE user_id = %s", (user.id,))[0][0]
