"""The class that holds all parts of one stack: folders, secrets, settings, and the order of start and end."""

import functools
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile

from . import demo, nosymfollow, ports, probe
from .errors import StackError
from .gateway import Agent, Api, HAProxy
from .layout import Account, Layout
from .servers import ImageServer, Postgres, Redis
from .settings import load_table, to_yaml

# Ports of `make up`. Nobody needs to know the numbers of the hidden ones: where one is taken, another is used.
DEFAULT_PORTS = {"SERVER": 8080, "IMGPROXY_1": 48080, "IMGPROXY_2": 48081, "METRICS": 9101}
HIDDEN_PORTS = {"POSTGRES": 48432, "REDIS": 48379, "USAGE": 9003}
WEIGHTS = (70, 30)
# Settings that say where something is: with ports="auto" those of the environment are another stack's.
PLACES = {"SERVER_PORT", "SERVER_TLS_PORT", "METRICS_BIND", "AGENT_SPOP_BIND", "API_BIND", "DB_DSN", "REDIS_ADDR",
          "UPLOADS_DIR", "AGENT_STATE_DIR", "IMGPROXY_1_ADDR", "IMGPROXY_2_ADDR", "USAGE_BIND", "HAPROXY_SOCKET",
          "HAPROXY_METRICS_BIND"}
PASSED_ON = ("PATH", "LANG", "TZ", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "LD_LIBRARY_PATH", "GCOV_PREFIX",
             "GCOV_PREFIX_STRIP")


class Stack:
    """One stack.

    root       the checkout (programs are taken from $GATEWAY_BIN_DIR, else its bin/)
    state_dir  where all state lies; None: a new folder under /tmp, removed by close()
    ports      "auto": free ones; "default": the well-known ones, as `make up`
    settings   values by environment name; they win over the environment
    environ    the environment to read, os.environ unless given
    durable    False makes PostgreSQL careless with the disk, which suits tests
    say        called with lines for a person
    foreign    addresses of two image servers that run already; none are started then
    usage_addr host:port to which HAProxy sends its usage lines; None: to the agent's

    Use prepare() and the parts one by one, or start() for everything. No state is kept outside of the object.
    """

    def __init__(self, root, state_dir=None, ports="auto", settings=None, environ=None, durable=True, say=None,
                 foreign=(), usage_addr=None):
        self.root = os.path.realpath(root)
        self.auto = ports == "auto"
        self.environ = dict(os.environ if environ is None else environ)
        self.durable = durable
        self.say = say or (lambda line: None)
        self.foreign = tuple(foreign)
        self.usage_addr = usage_addr
        self._given = dict(settings or {})
        self._temporary = state_dir is None
        if state_dir is None:
            state_dir = tempfile.mkdtemp(prefix="igw-test-", dir="/tmp")
        self.layout = Layout(self.root, state_dir, Account(self.environ.get("GATEWAY_USER")))
        self.parts = {}
        self.settings = {}
        self.image_servers = []
        self.demo = demo.Demo(self)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __getitem__(self, name):
        return self.parts[name]

    # ---- preparation -----------------------------------------------------------------------------------------------

    def prepare(self):
        """Makes folders, secrets, ports and the settings file; starts nothing."""
        if self.parts:
            return
        self.layout.prepare()
        self.table = load_table(self.root)
        kept = self._secrets()
        free = self._choose_ports()
        image = self.foreign or [
            self._value(f"IMGPROXY_{n}_ADDR") or f"127.0.0.1:{free[f'IMGPROXY_{n}']}" for n in (1, 2)]
        weights = [self._weight(n) for n in (1, 2)]
        self.image_servers = [ImageServer(self, n, image[n - 1], weights[n - 1]) for n in (1, 2)]
        parts = []
        database, redis = self._value("DB_DSN"), self._value("REDIS_ADDR")
        if not database:
            parts.append(Postgres(self, free["POSTGRES"], kept["postgres"], self.durable))
            database = parts[-1].dsn
        if redis is None:
            parts.append(Redis(self, free["REDIS"]))
            redis = parts[-1].address
        parts += [*(() if self.foreign else self.image_servers), Agent(self), Api(self), HAProxy(self)]
        self.parts = {part.name: part for part in parts}
        self.settings = self._effective(kept, free, database, redis)
        if not os.path.isdir(self.settings["UPLOADS_DIR"]):
            self._make_uploads()
        self.config = self.write_config()

    def _value(self, name):
        """What was asked for: by the caller, else by the environment; None when by nobody."""
        if name in self._given:
            return str(self._given[name])
        if self.auto and name in PLACES:
            return None
        return self.environ.get(name)

    def _weight(self, number):
        text = self._value(f"IMGPROXY_{number}_WEIGHT") or str(WEIGHTS[number - 1])
        if not text.isdigit() or int(text) > 256:
            raise StackError(f'IMGPROXY_{number}_WEIGHT: "{text}" is not within 0 to 256')
        return int(text)

    def _effective(self, kept, free, database, redis):
        sockets = self.layout.sockets
        values = {name: setting.default for name, setting in self.table.items()}
        values.update({
            "AGENT_SPOP_BIND": f"unix@{sockets}/spop-1.sock,unix@{sockets}/spop-2.sock",
            "AGENT_STATE_DIR": self.layout.path("agent"),
            "API_BIND": f"unix@{sockets}/api.sock",
            "API_TOKEN": kept["api_token"],
            "AUTH_KEY_PEPPER": kept["pepper"],
            "AUTH_MASTER_KEY": kept["master_key"],
            "HAPROXY_SOCKET": f"{sockets}/haproxy.sock",
            "IMGPROXY_KEY": kept["imgproxy_key"],
            "IMGPROXY_SALT": kept["imgproxy_salt"],
            "METRICS_BIND": f"127.0.0.1:{free['METRICS']}",
            "RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE": "0",
            "SERVER_PORT": str(free["SERVER"]),
            "UPLOADS_DIR": self.layout.path("uploads"),
            "USAGE_BIND": f"127.0.0.1:{free['USAGE']}",
            "USAGE_TOKEN": kept["usage_token"],
        })
        for name in values:
            asked = self._value(name)
            if asked is not None:
                values[name] = asked
        values.update({"DB_DSN": database, "REDIS_ADDR": redis})
        if not values["SERVER_PORT"].isdigit() or not 0 < int(values["SERVER_PORT"]) < 65536:
            raise StackError(f'SERVER_PORT: "{values["SERVER_PORT"]}" is not within 1 to 65535')
        return values

    def _choose_ports(self):
        chosen = {}
        for name, port in {**DEFAULT_PORTS, **HIDDEN_PORTS}.items():
            if self.auto or (name in HIDDEN_PORTS and not (
                    ports.is_free("127.0.0.1", port) and ports.is_free_udp("127.0.0.1", port))):
                port = ports.find_free(taken=chosen.values())
            chosen[name] = port
        return chosen

    def _secrets(self):
        """Random, made once for each installation."""
        try:
            with open(self.layout.path("stack/secrets.json"), encoding="utf-8") as file:
                kept = json.load(file)
        except (OSError, ValueError):
            kept = {}
        names = ("pepper", "master_key", "imgproxy_key", "imgproxy_salt", "api_token", "postgres", "usage_token")
        made = {name: kept.get(name) or secrets.token_hex(32) for name in names}
        if made == kept:
            return kept
        self.layout.write("stack/secrets.json", json.dumps(made, indent=1) + "\n", mine=False)
        return made

    def _make_uploads(self):
        path = self.settings["UPLOADS_DIR"]
        if path == self.layout.path("uploads"):
            self.layout.folder("uploads", 0o750)
            return
        raise StackError(f"UPLOADS_DIR: the folder {path} is not there")

    def write_config(self):
        """Writes the settings file from self.settings again; for tests that change one and reload."""
        backends = [(server.url, server.weight) for server in self.image_servers]
        return self.layout.write("gateway.yaml", to_yaml(self.table, self.settings, backends))

    # ---- what parts ask for ----------------------------------------------------------------------------------------

    def base_environment(self):
        kept = {name: self.environ[name] for name in PASSED_ON if name in self.environ}
        return {"PATH": "/usr/bin:/bin", "HOME": self.layout.state, "LC_ALL": "C.UTF-8", **kept}

    def program(self, name):
        path = os.path.join(self.environ.get("GATEWAY_BIN_DIR") or os.path.join(self.root, "bin"), name)
        if not os.path.exists(path):
            raise StackError(f"{name}: {path} is not there; `make build` makes it")
        return path

    @property
    def image_program(self):
        """IMGPROXY_BIN, else imgproxy on the PATH, else the stand-in."""
        wanted = self.environ.get("IMGPROXY_BIN")
        found = shutil.which(wanted or "imgproxy", path=self.environ.get("PATH"))
        if found:
            return os.path.abspath(found)
        if wanted:
            raise StackError(f"imgproxy: IMGPROXY_BIN={wanted} is not a program")
        path = self.environ.get("GATEWAY_STANDIN") or os.path.join(self.root, "build/tests/imgproxy-standin")
        if not os.path.exists(path):
            raise StackError(f"imgproxy: neither imgproxy nor the stand-in {path} is there; `make build` makes it")
        return path

    @property
    def has_standin(self):
        return os.path.basename(self.image_program) == "imgproxy-standin"

    @functools.cached_property
    def links_are_shut(self):
        """Whether the image servers of this stack follow no symbolic links."""
        return nosymfollow.is_possible(os.path.realpath(self.settings["UPLOADS_DIR"]), self.layout.account)

    @property
    def metrics_enabled(self):
        return self.settings["METRICS_ENABLED"] == "true"

    # ---- start and end ---------------------------------------------------------------------------------------------

    def start(self):
        """Everything, in order, each part ready; with users, keys and the sample. On failure all is ended again."""
        try:
            self.prepare()
            self.start_servers()
            self.migrate()
            self.demo.ensure_keys()
            self.start_parts("agent", "api", "haproxy")
            self.demo.verify()
            self.write_env()
        except BaseException:
            self.stop()
            raise

    def start_servers(self):
        """PostgreSQL with its database, Redis and the image servers."""
        names = [name for name in self.parts if name not in ("agent", "api", "haproxy")]
        self.start_parts(*names)
        if "postgres" in self.parts:
            self["postgres"].create_database()

    def start_parts(self, *names):
        """Starts these at once and waits until all are ready."""
        for name in names:
            self[name].start()
        for name in names:
            self[name].wait_ready()

    def stop(self):
        """Ends all parts: those that take requests first, what they lean on last."""
        for name in ("haproxy", "api", "agent", "imgproxy-2", "imgproxy-1", "redis", "postgres"):
            if name in self.parts:
                self.parts[name].stop()
                self.parts[name].release()

    def close(self):
        """stop(), and the state is removed if it was temporary."""
        self.stop()
        if not self._temporary:
            return
        if hasattr(self.layout, "sockets"):
            shutil.rmtree(self.layout.sockets, ignore_errors=True)
        if os.path.islink(self.layout.link):
            os.unlink(self.layout.link)
        shutil.rmtree(self.layout.state, ignore_errors=True)

    def failing(self):
        """(part, reason) for each part that does not run or is not ready."""
        found = []
        for part in self.parts.values():
            reason = part.check()
            if reason is not None:
                found.append((part, reason))
        return found

    # ---- tools -----------------------------------------------------------------------------------------------------

    def run_ctl(self, *args):
        """gatewayctl with these settings, as the stack's user; returns the finished process (text)."""
        command = [self.layout.program(self.program("gatewayctl")), "--config", self.config, *args]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.layout.state,
                              stdin=subprocess.DEVNULL, env=self.base_environment(),
                              **self.layout.account.popen_args())

    def ctl(self, *args, check=True):
        """gatewayctl … --json: what it printed, as Python values. When it fails: StackError, or None without check."""
        done = self.run_ctl(*args, "--json")
        if done.returncode != 0:
            if check:
                text = (done.stderr.strip() or done.stdout.strip())[-600:]
                raise StackError(f"gatewayctl {' '.join(args[:2])} failed: {text}")
            return None
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def migrate(self):
        self.ctl("migrate", "up", "--dir", self.layout.data(os.path.join(self.root, "migrations")))

    def psql(self, sql):
        """SQL as the superuser of the private PostgreSQL."""
        return self["postgres"].psql(sql)

    @property
    def is_https(self):
        """Whether plain HTTP is sent to HTTPS."""
        return self.settings["SERVER_TLS_REDIRECT"] == "true" and self.settings["SERVER_TLS_PORT"] != "0"

    @property
    def url(self):
        return f"https://127.0.0.1:{self.settings['SERVER_TLS_PORT']}" if self.is_https else f"http://{self.address}"

    def ask(self, target, method="GET", body=None, headers=None):
        """One request to the gateway, as probe.http_request()."""
        address = f"127.0.0.1:{self.settings['SERVER_TLS_PORT']}" if self.is_https else self.address
        return probe.http_request(address, target, method, body, headers, timeout=20.0, tls=self.is_https)

    @property
    def address(self):
        return f"127.0.0.1:{self.settings['SERVER_PORT']}"

    @property
    def stats_url(self):
        return f"http://{self.settings['METRICS_BIND']}" if self.metrics_enabled else ""

    @property
    def api_key(self):
        return self.demo.key(demo.DEMO)

    @property
    def admin_key(self):
        return self.demo.key(demo.ADMIN)

    def env(self):
        """What stands in gateway.env."""
        host, path = probe.split_address(self["agent"].workers()[0])
        return {
            "GATEWAY_URL": self.url,
            "GATEWAY_API_KEY": self.api_key,
            "GATEWAY_ADMIN_KEY": self.admin_key,
            "GATEWAY_STATS_URL": self.stats_url,
            "GATEWAY_SPOP_ADDR": path if host is None else f"{host}:{path}",
            "GATEWAY_DB_DSN": self.settings["DB_DSN"],
            "GATEWAY_REDIS_ADDR": self.settings["REDIS_ADDR"],
            "GATEWAY_HAPROXY_SOCKET": self["haproxy"].socket,
            "GATEWAY_UPLOADS": self.settings["UPLOADS_DIR"],
            "GATEWAY_USAGE_ADDR": self.settings["USAGE_BIND"],
            "GATEWAY_PARENT_PID": str(self["agent"].pid or ""),
        }

    def write_env(self):
        lines = [f"{name}={shlex.quote(value) if value else ''}\n" for name, value in self.env().items()]
        self.layout.write("gateway.env", "".join(lines), mine=False)

    def sanitizer_findings(self):
        """Lines of the logs in which a sanitizer speaks."""
        found = []
        for name in self.parts:
            path = os.path.join(self.layout.logs, name + ".log")
            if not os.path.exists(path):
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                found += [f"{name}: {line.rstrip()}" for line in file
                          if "Sanitizer" in line or "runtime error:" in line]
        return found
