"""The servers that the gateway leans on: PostgreSQL, Redis, the image servers."""

import glob
import os
import re
import shutil
import signal
import subprocess

from . import nosymfollow, probe
from .errors import StackError
from .layout import find_program
from .process import Part
from .settings import size_bytes

DATABASE = "imgproxy_gateway"
ROLE = "gateway"


class Postgres(Part):
    """A cluster of its own: the superuser comes in over a socket in a folder that only the stack's user can open, the
    programs as the role `gateway` over 127.0.0.1 with a password."""

    name = "postgres"
    title = "PostgreSQL"
    stop_signals = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0))
    death_signal = "INT"

    def __init__(self, stack, port, password, durable=True):
        super().__init__(stack)
        self.port, self.password, self.durable = port, password, durable

    @property
    def data(self):
        return self.layout.path("pgdata")

    @property
    def socket_dir(self):
        return os.path.join(self.layout.sockets, "pg")

    @property
    def dsn(self):
        return f"postgres://{ROLE}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"

    def where(self):
        return f"127.0.0.1:{self.port}"

    def ports(self):
        return [("127.0.0.1", self.port)]

    def program(self, name):
        """The newest installed version, or the one that made the data."""
        found = {path.split("/")[4]: path for path in glob.glob(f"/usr/lib/postgresql/*/bin/{name}")}
        if not found:
            raise StackError("postgres: PostgreSQL is not installed; `make setup` installs it")
        try:
            with open(os.path.join(self.data, "PG_VERSION"), encoding="utf-8") as file:
                version = file.read().strip()
        except OSError:
            version = max(found, key=int)
        if version not in found:
            raise StackError(f"postgres: {self.data} was made by PostgreSQL {version}, which is not installed")
        return found[version]

    def _run(self, command, text=None):
        """Runs a tool of PostgreSQL as the user of the stack."""
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, cwd=self.layout.state,
            env=self.stack.base_environment(), **self.layout.account.popen_args())
        if done.returncode != 0:
            raise StackError(f"postgres: {os.path.basename(command[0])} failed: {done.stderr.strip()[-600:]}")
        return done.stdout

    def prepare(self):
        # As the user: the folder around it is theirs, so a root that followed what lies there could be led elsewhere.
        self._run(["/usr/bin/mkdir", "-p", "-m", "0700", "--", self.socket_dir])
        self._run(["/usr/bin/chmod", "0700", "--", self.socket_dir])
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):
            # Under another name until it is whole: an initdb that was interrupted leaves what looks like a cluster.
            unfinished = self.layout.path("pgdata.new")
            if os.path.lexists(unfinished):
                shutil.rmtree(unfinished)
            self.layout.folder("pgdata.new", 0o700)
            options = [] if self.durable else ["--no-sync"]
            self._run([self.program("initdb"), "-D", unfinished, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
                       "--auth-local=trust", "--auth-host=scram-sha-256", *options])
            os.rename(unfinished, self.data)

    def command(self):
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.socket_dir,
            "unix_socket_permissions": "0700", "logging_collector": "off", "log_destination": "stderr",
            "log_line_prefix": "%m [%p] ", "cluster_name": "imgproxy-gateway", "shared_buffers": "64MB",
        }
        if not self.durable:
            settings.update(fsync="off", synchronous_commit="off", full_page_writes="off", shared_buffers="32MB")
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", self.data, *options]

    def check(self):
        done = subprocess.run(
            [self.program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False,
            env=self.stack.base_environment())
        return None if done.returncode == 0 else "it accepts no connections yet"

    def psql(self, sql, database=DATABASE):
        """Runs SQL as the superuser; returns what psql prints, unaligned and without headers."""
        return self._run([self.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h",
                          self.socket_dir, "-p", str(self.port), "-U", "postgres", "-d", database], sql)

    def create_database(self):
        """The role with its password of this start, and the database. The password never stands on a command line."""
        self.psql(f"""
            DO $$ BEGIN
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                    CREATE ROLE {ROLE} LOGIN;
                END IF;
            END $$;
            SET log_statement = 'none';
            SET log_min_error_statement = 'panic';
            ALTER ROLE {ROLE} PASSWORD '{self.password}';""", "postgres")
        if not self.psql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'", "postgres").strip():
            self.psql(f"CREATE DATABASE {DATABASE} OWNER {ROLE}", "postgres")


class Redis(Part):
    name = "redis"
    title = "Redis"

    def __init__(self, stack, port):
        super().__init__(stack)
        self.port = port

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def where(self):
        return self.address

    def ports(self):
        return [("127.0.0.1", self.port)]

    def prepare(self):
        self.layout.folder("redis", 0o700)
        # In the file, and not in an option: those are in the command line, which everybody can read.
        password = self.stack.settings["REDIS_PASSWORD"].replace("\\", "\\\\").replace('"', '\\"')
        self.layout.write("stack/redis.conf", "\n".join([
            "bind 127.0.0.1", f"port {self.port}", "protected-mode yes", "daemonize no", 'save ""', "appendonly no",
            f'dir "{self.layout.path("redis")}"', "databases 16", *([f'requirepass "{password}"'] if password else []), ""]))

    def command(self):
        return [self.layout.program(find_program("redis-server")), self.layout.path("stack", "redis.conf")]

    def check(self):
        return probe.redis_ready(self.address, self.stack.settings["REDIS_PASSWORD"])


class ImageServer(Part):
    """imgproxy where there is one, else the stand-in of tests/standin, which reads the same environment."""

    title = "image server"

    def __init__(self, stack, number, address, weight):
        super().__init__(stack)
        self.name = f"imgproxy-{number}"
        self.address, self.weight = address, weight

    @property
    def url(self):
        return f"http://{self.address}"

    def where(self):
        return f"{self.address} (weight {self.weight})"

    def ports(self):
        return [probe.split_address(self.address)]

    def command(self):
        program = self.layout.program(self.stack.image_program)
        if not self.stack.links_are_shut:
            return [program]
        return nosymfollow.command(os.path.realpath(self.stack.settings["UPLOADS_DIR"]), self.death_signal, program)

    def environment(self):
        values = {name: value for name, value in self.stack.environ.items()
                  if re.match(r"IMGPROXY_", name) and not re.match(r"IMGPROXY_(BIN$|[12]_)", name)}
        values.update({
            "IMGPROXY_BIND": self.address,
            "IMGPROXY_KEY": self.stack.settings["IMGPROXY_KEY"],
            "IMGPROXY_SALT": self.stack.settings["IMGPROXY_SALT"],
            "IMGPROXY_LOCAL_FILESYSTEM_ROOT": self.stack.settings["UPLOADS_DIR"],
        })
        for name, value in self._bounds().items():
            values.setdefault(name, value)
        return values

    def _bounds(self):
        """What they may do for the gateway. It says more strictly what a URL may ask for; this holds when it errs."""
        return {
            "IMGPROXY_USE_ETAG": "true",
            "IMGPROXY_USE_LAST_MODIFIED": "true",
            # A source is a tenant's file, or what an operator allowed by its public name: nothing of this network.
            "IMGPROXY_ALLOW_LOOPBACK_SOURCE_ADDRESSES": "false",
            "IMGPROXY_ALLOW_LINK_LOCAL_SOURCE_ADDRESSES": "false",
            "IMGPROXY_ALLOW_PRIVATE_SOURCE_ADDRESSES": "false",
            # A redirect leads out of the prefix that was allowed, and with Go's client also to another tenant's file.
            "IMGPROXY_MAX_REDIRECTS": "0",
            "IMGPROXY_ALLOW_SECURITY_OPTIONS": "false",
            "IMGPROXY_MAX_SRC_RESOLUTION": "50",
            "IMGPROXY_MAX_SRC_FILE_SIZE": str(size_bytes(self.stack.settings["UPLOADS_MAX_SIZE"])),
            "IMGPROXY_MAX_RESULT_DIMENSION": "8192",
        }

    def check(self):
        return probe.http_ready(self.address, "/health")
