"""The gateway's own parts: agent, API, HAProxy."""

import fcntl
import os
import signal
import socket

from . import probe
from .layout import find_program
from .process import Part
from .settings import duration_seconds, size_bytes


class _Program(Part):
    """One of the programs in bin/: reads the settings file alone."""

    program = ""

    def command(self):
        return [self.layout.program(self.stack.program(self.program)), "--config", self.stack.config]


def _tcp(address):
    """As (host, port) in a list, which is empty for a unix socket and for no address."""
    if not address:
        return []
    host, port = probe.split_address(address)
    return [] if host is None else [(host, port)]


class Agent(_Program):
    name = "agent"
    title = "agent"
    program = "gateway-agent"
    stop_signals = ((signal.SIGTERM, 20.0),)
    _usage = ()

    def workers(self):
        return [address.strip() for address in self.stack.settings["AGENT_SPOP_BIND"].split(",")]

    def where(self):
        return ", ".join(self.workers())

    def ports(self):
        found = [pair for address in self.workers() for pair in _tcp(address)]
        found += _tcp(self.stack.settings["USAGE_BIND"]) if self.stack.settings["USAGE_TOKEN"] and not self._usage else []
        return found + (_tcp(self.stack.settings["METRICS_BIND"]) if self.stack.metrics_enabled else [])

    def sockets(self):
        """Those for usage outlive the agent, as a service manager's do: what HAProxy sends while it is dead waits in them."""
        if not self._usage and self.stack.settings["USAGE_TOKEN"]:
            made = []
            (host, port), = _tcp(self.stack.settings["USAGE_BIND"])
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
                with socket.socket(family, kind) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
                    sock.bind(address)
                    if kind == socket.SOCK_STREAM:
                        sock.listen(64)
                    # Beyond the numbers from 3 on, which they get in the agent.
                    made.append(socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 20)))
            self._usage = tuple(made)
        return self._usage

    def release(self):
        for sock in self._usage:
            sock.close()
        self._usage = ()

    def check(self):
        if not self.stack.metrics_enabled:
            return next(filter(None, map(probe.connects, self.workers())), None)
        return probe.http_ready(self.stack.settings["METRICS_BIND"], "/readyz")

    def reload(self):
        """SIGHUP: new workers with the present program and settings."""
        self._signal(signal.SIGHUP)


class Api(_Program):
    name = "api"
    title = "API"
    program = "gateway-api"
    stop_signals = ((signal.SIGTERM, 20.0),)

    def where(self):
        return self.stack.settings["API_BIND"]

    def ports(self):
        return _tcp(self.stack.settings["API_BIND"])

    def check(self):
        return probe.http_ready(self.stack.settings["API_BIND"], "/healthz")


class HAProxy(Part):
    """Master and worker, so that reload() loses no request."""

    name = "haproxy"
    title = "HAProxy"
    # Requests in flight end first; what still hangs after that is cut.
    stop_signals = ((signal.SIGUSR1, 8.0), (signal.SIGTERM, 5.0))

    @property
    def socket(self):
        return self.stack.settings["HAPROXY_SOCKET"]

    @property
    def port(self):
        return int(self.stack.settings["SERVER_PORT"])

    def where(self):
        return self.stack.url

    def ports(self):
        tls = int(self.stack.settings["SERVER_TLS_PORT"])
        return [("0.0.0.0", self.port), *([("0.0.0.0", tls)] if tls else []),
                *_tcp(self.stack.settings["HAPROXY_METRICS_BIND"])]

    def command(self):
        program = find_program("haproxy", self.stack.environ.get("HAPROXY_BIN"))
        config = os.path.join(self.layout.data(os.path.join(self.layout.root, "haproxy")), "haproxy.cfg")
        return [self.layout.program(program), "-W", "-db", "-f", config]

    def environment(self):
        stack = self.stack
        workers = stack["agent"].workers()
        folder = self.layout.data(os.path.join(self.layout.root, "haproxy"))
        values = {name: stack.settings[name] for name in (
            "SERVER_PORT", "SERVER_READ_TIMEOUT", "SERVER_WRITE_TIMEOUT", "SERVER_CORS_ORIGINS", "API_TOKEN",
            "API_MAX_USER_REQUESTS", "USAGE_TOKEN", "IMAGES_CACHE_MB", "IMAGES_PUBLIC_SIGNED", "SERVER_TLS_PORT",
            "SERVER_TLS_CERTIFICATE", "SERVER_TLS_REDIRECT", "SERVER_TLS_PUBLIC_PORT", "SERVER_TLS_HSTS_SECONDS",
            "HAPROXY_METRICS_BIND")}
        values.update({
            "UPLOADS_MAX_SIZE_BYTES": str(size_bytes(stack.settings["UPLOADS_MAX_SIZE"])),
            "IMAGES_CACHE_OBJECT_BYTES": str(size_bytes(stack.settings["IMAGES_CACHE_MAX_OBJECT"])),
            "IMAGES_CACHE_SECONDS": str(duration_seconds(stack.settings["IMAGES_CACHE_MAX_AGE"])),
            "API_SOCKET": stack.settings["API_BIND"],
            "AGENT_SPOP_1": workers[0],
            "AGENT_SPOP_2": workers[1 % len(workers)],
            "HAPROXY_SOCKET": self.socket,
            "USAGE_ADDR": stack.usage_addr or stack.settings["USAGE_BIND"],
            "HAPROXY_SPOE_CONFIG": os.path.join(folder, "spoe.conf"),
        })
        for number, server in enumerate(stack.image_servers, 1):
            values[f"IMGPROXY_{number}_ADDR"] = server.address
            values[f"IMGPROXY_{number}_WEIGHT"] = str(server.weight)
        return values

    def check(self):
        return probe.http_ready(f"127.0.0.1:{self.port}", "/healthz")

    def reload(self):
        """SIGUSR2: a new worker with the present files takes over."""
        self._signal(signal.SIGUSR2)
