"""PostgreSQL and Redis over TLS: a good certificate is taken, any other is refused with a clear word and no secret."""

import os
import subprocess
import tempfile

import pytest
from gwstack import ports
from gwstack.layout import find_program
from gwstack.process import Part

import helpers_h2
from helpers import image_path, wait_until


class Authorities:
    """Two authorities, and a certificate for localhost and 127.0.0.1 by the first."""

    def __init__(self, folder):
        os.chmod(folder, 0o755)
        self.good = helpers_h2.make_certificate(folder, "authority")
        self.other = helpers_h2.make_certificate(folder, "stranger")
        self.server = self.sign(folder, "server")
        for path in (self.good[0], self.other[0]):
            os.chmod(path, 0o644)

    def sign(self, folder, name):
        """openssl req -CA is not in every version, so in two steps."""
        request, certificate, key, more = (f"{folder}/{name}.{end}" for end in ("csr", "crt", "key", "ext"))
        with open(more, "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        for command in (
                ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server",
                 "-keyout", key, "-out", request],
                ["x509", "-req", "-in", request, "-CA", self.good[0], "-CAkey", self.good[1], "-CAcreateserial", "-days", "2",
                 "-extfile", more, "-out", certificate]):
            subprocess.run(["openssl", *command], check=True, capture_output=True)
        return certificate, key


@pytest.fixture(scope="module")
def authorities():
    with tempfile.TemporaryDirectory(prefix="igw-ca-") as folder:
        yield Authorities(folder)


def give(stack, pair, name):
    """A certificate and its key as files of the stack's user, who alone may read the key."""
    paths = []
    for path, end in zip(pair, ("crt", "key")):
        with open(path, encoding="ascii") as file:
            paths.append(stack.layout.write(f"stack/{name}.{end}", file.read()))
    return paths


# ---- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(module_stack, authorities):
    """A stack whose PostgreSQL takes passwords over TLS alone; no programs run yet."""
    stack = module_stack(start=False)
    stack.prepare()
    stack.start_servers()
    with open(os.path.join(stack["postgres"].data, "pg_hba.conf"), "w", encoding="ascii") as file:
        file.write("local all postgres trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
    certificate, key = give(stack, authorities.server, "postgres")
    for name, value in (("ssl", "on"), ("ssl_cert_file", certificate), ("ssl_key_file", key)):
        stack.psql(f"ALTER SYSTEM SET {name} = '{value}'")
    stack.psql("SELECT pg_reload_conf()")
    wait_until(lambda: stack.psql("SHOW ssl").strip() == "on", what="PostgreSQL has TLS")
    return stack


def dsn(stack, host="127.0.0.1", **options):
    part = stack["postgres"]
    words = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgres://gateway:{part.password}@{host}:{part.port}/imgproxy_gateway?{words}"


def migrate_status(stack, text):
    return stack.run_program("gatewayctl", "--config", stack.config, "migrate", "status", env={"DB_DSN": text})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_programs_use_tls(database, authorities, host, small_jpeg):
    """The same stack serves, each connection is encrypted, and the certificate is checked against the name in the DSN."""
    stack = database
    stack.settings["DB_DSN"] = dsn(stack, host, sslmode="verify-full", sslrootcert=authorities.good[0])
    stack.config = stack.write_config()
    stack.migrate()
    stack.demo.ensure_keys()
    stack.start_parts("agent", "api", "haproxy")
    try:
        stack.demo.verify()
        key = stack.make_key()
        answer = stack.get(image_path(stack.uploaded(key, small_jpeg)["source"], "rs:fill:8:8", "png"), key)
        assert answer.status == 200, answer
        found = stack.psql("""
            SELECT count(*), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE usename = 'gateway'""").strip()
        count, clear = map(int, found.split("|"))
        assert count >= 2 and clear == 0, found
    finally:
        for name in ("haproxy", "api", "agent"):
            stack[name].stop()
            stack[name].release()


REFUSED = [
    ("a CA that did not sign it", dict(sslmode="verify-full", sslrootcert="other"), "certificate verify failed"),
    ("a CA that did not sign it, whatever the name", dict(sslmode="verify-ca", sslrootcert="other"), "certificate verify failed"),
    ("another name", dict(sslmode="verify-full", sslrootcert="good", host="elsewhere.test", hostaddr="127.0.0.1"),
     "does not match host name"),
    ("no such file", dict(sslmode="verify-full", sslrootcert="/nonexistent/ca.pem"), "/nonexistent/ca.pem"),
    ("no TLS at all", dict(sslmode="disable"), "no encryption"),
    ("a mode that there is not", dict(sslmode="verify-everything"), "sslmode"),
]


@pytest.mark.parametrize("why, options, said", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_trusted_is_refused(database, authorities, why, options, said):
    options = dict(options)
    files = {"good": authorities.good[0], "other": authorities.other[0]}
    if "sslrootcert" in options:
        options["sslrootcert"] = files.get(options["sslrootcert"], options["sslrootcert"])
    host = options.pop("host", "127.0.0.1")
    result = migrate_status(database, dsn(database, host, **options))
    assert result.rc == 1 and result.out == "", result
    assert said in result.err and result.err.count("\n") == 1, result.err
    assert database["postgres"].password not in result.err
    # As a setting of key=value pairs, too.
    part = database["postgres"]
    pairs = " ".join(f"{name}={value}" for name, value in dict(
        host=host, port=part.port, user="gateway", password=part.password, dbname="imgproxy_gateway", **options).items())
    result = migrate_status(database, pairs)
    assert result.rc == 1 and said in result.err and part.password not in result.err, result


def test_an_agent_that_trusts_nobody_says_so(database, authorities):
    """It starts, as with a PostgreSQL that is down; the log says what is wrong, and has no password."""
    stack = database
    stack.settings["DB_DSN"] = dsn(stack, sslmode="verify-full", sslrootcert=authorities.other[0])
    stack.config = stack.write_config()
    part = stack["agent"]
    part.start()
    try:
        text = wait_until(lambda: next((line for line in stack.logs()["agent.log"].splitlines()
                                        if "certificate verify failed" in line), None), 20, "the log says why")
        assert "postgres" in text
        assert stack.metrics().get("gateway_postgres_up") == 0
        assert part.process.poll() is None
        assert stack["postgres"].password not in stack.logs()["agent.log"]
    finally:
        part.stop()
        part.release()


# ---- Redis ------------------------------------------------------------------------------------------------------------


class SecureRedis(Part):
    """A Redis that speaks TLS and nothing else."""

    name = "redis-tls"
    title = "Redis"

    def __init__(self, stack, pair):
        super().__init__(stack)
        self.port, self.pair = ports.find_free(), pair

    def ports(self):
        return [("127.0.0.1", self.port)]

    def command(self):
        certificate, key = self.pair
        options = dict(port=0, bind="127.0.0.1 127.0.0.2", save="", appendonly="no", **{
            "tls-port": self.port, "tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": certificate,
            "tls-auth-clients": "no"})
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [self.layout.program(find_program("redis-server")), *words]

    def check(self):
        return None if ports.answers("127.0.0.1", self.port) else "no answer"


def check_config(stack, **env):
    return stack.run_program("gateway-agent", "--config", stack.config, "--check-config", env=env)


@pytest.fixture(scope="module")
def has_library(stack):
    """Whether the programs were built with a hiredis that has TLS."""
    result = check_config(stack, REDIS_TLS="true")
    assert result.rc == 0 or "hiredis" in result.err, result
    return result.rc == 0


def test_without_the_library_the_setting_is_refused(stack, has_library):
    if has_library:
        pytest.skip("this build has it")
    result = check_config(stack, REDIS_TLS="true")
    assert result.rc == 1 and result.err.count("\n") == 1, result
    assert "environment REDIS_TLS: redis.tls: this build cannot speak TLS to Redis" in result.err, result
    assert "hiredis" in result.err and "docs/tls.md" in result.err


def test_a_unix_socket_has_no_tls(stack, has_library):
    result = check_config(stack, REDIS_TLS="true", REDIS_ADDR="unix@/run/redis.sock")
    assert result.rc == 1 and "redis.tls" in result.err, result
    assert check_config(stack, REDIS_TLS="false", REDIS_ADDR="unix@/run/redis.sock").rc == 0


@pytest.fixture
def redis_stack(fresh_stack, authorities, has_library):
    """A function that starts an agent on a Redis with TLS: (stack, that Redis)."""
    if not has_library:
        pytest.skip("this build has no TLS to Redis")
    parts = []

    def make(authority, host="localhost"):
        stack = fresh_stack({"REDIS_TLS": "true", "REDIS_TLS_CA": authority}, start=False)
        stack.prepare()
        part = SecureRedis(stack, give(stack, authorities.server, "redis"))
        parts.append(part)
        part.start()
        part.wait_ready()
        stack.settings["REDIS_ADDR"] = f"{host}:{part.port}"
        stack.config = stack.write_config()
        stack.start_servers()
        stack.migrate()
        stack["agent"].start()
        stack["agent"].wait_ready()
        return stack, part

    yield make
    for part in parts:
        part.stop()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_redis_over_tls(redis_stack, authorities, host):
    stack, part = redis_stack(authorities.good[0], host)
    wait_until(lambda: stack.metrics().get("gateway_redis_up") == 1, 10, "Redis is up")
    part.kill()
    wait_until(lambda: stack.metrics().get("gateway_redis_up") == 0, 10, "Redis is gone")
    part.start()
    wait_until(lambda: stack.metrics().get("gateway_redis_up") == 1, 20, "Redis is back")


@pytest.mark.parametrize("which, host, said", [("other", "localhost", "unable to get local issuer"),
                                               ("good", "127.0.0.2", "IP address mismatch")])
def test_a_redis_that_cannot_be_trusted(redis_stack, authorities, which, host, said):
    stack, _ = redis_stack(getattr(authorities, which)[0], host)
    wait_until(lambda: said in stack.logs()["agent.log"], 20, "the log says why")
    assert stack.metrics().get("gateway_redis_up") == 0


def test_an_authority_that_cannot_be_read(stack, has_library):
    if not has_library:
        pytest.skip("this build has no TLS to Redis")
    result = check_config(stack, REDIS_TLS="true", REDIS_TLS_CA="/nonexistent/ca.pem")
    assert result.rc == 1 and "redis.tls_ca" in result.err and "/nonexistent/ca.pem" in result.err, result
