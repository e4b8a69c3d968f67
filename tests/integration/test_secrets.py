"""No secret is in a log, an error, a page, a command line or the database: planted ones are looked for wherever the stack
writes, while everything is asked of it that it can do and that can go wrong.

What must show one, once: `key create` and `key rotate` on stdout, and their REST routes in the answer, the new key with its
signing key. Nothing else.
"""

import json
import os
import secrets
import signal
import string

import pytest
from gwstack import ports
from gwstack import settings as gwsettings

import helpers_signed
import processes
from helpers import ROOT, image_path, wait_until
from helpers_http import build, connect
from helpers_secrets import CommandLines, Planted, folder_bytes, forms
from helpers_spop import NOTIFY, Client, check, frame, hello

TABLE = gwsettings.load_table(ROOT)
IMAGE = "/img/unsafe/rs:fill:16:16/plain/local:///a.jpg"
# Signs that YAML, SQL, URLs, shells and redis.conf each take for something.
SIGNS = "&+ %41$'\"\\#:@/?"


def base62(count):
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(count))


class Run:
    """A stack with a planted value for each secret setting, and all that came out of it."""

    def __init__(self, make_stack):
        self.planted = Planted()
        plant = self.planted.plant
        values = {
            "AUTH_KEY_PEPPER": plant("auth.key_pepper", "Pepper" + SIGNS + base62(24)),
            "AUTH_MASTER_KEY": plant("auth.master_key", secrets.token_hex(32)),
            "API_TOKEN": plant("api.token", "ApiToken-" + base62(24)),
            "IMGPROXY_KEY": plant("imgproxy.key", secrets.token_hex(32)),
            "IMGPROXY_SALT": plant("imgproxy.salt", secrets.token_hex(32)),
            "REDIS_PASSWORD": plant("redis.password", "Redis" + SIGNS + base62(24)),
            "USAGE_TOKEN": plant("usage.token", "UsageToken-" + base62(24)),
            "USAGE_PREVIOUS_TOKEN": plant("usage.previous_token", "PreviousToken-" + base62(24)),
        }
        assert set(values) == {setting.env for setting in TABLE.values() if setting.secret}
        metrics = f"127.0.0.1:{ports.find_free()}"
        self.stack = make_stack({**values, "HAPROXY_METRICS_BIND": metrics, "LOG_LEVEL": "debug"})
        self.haproxy_metrics = metrics
        plant("database.dsn", self.stack["postgres"].password)
        for name in ("demo", "admin"):
            self.planted.key(f"the key of {name}", getattr(self.stack, "api_key" if name == "demo" else "admin_key"))
        self.out = []  # (what, text or bytes)
        self.signer = self.expired = self.revoked = self.wrong = None

    # ---- what is asked, with a record of the answer -----------------------------------------------------------------

    def said(self, what, text):
        self.out.append((what, text))

    def ask(self, method, target, key=None, headers=(), body=None, **more):
        answer = self.stack.request(method, target, key, headers, body, **more)
        self.said(f"the answer of {method} {target[:60]}", repr((answer.status, answer.headers)).encode() + answer.body)
        return answer

    def program(self, name, *args, env=None, config=None):
        result = self.stack.run_program(name, "--config", config or self.stack.config, *args, env=env, timeout=60)
        self.said(f"{name} {args[:2]}", str(result.out) + result.err)
        return result

    def ctl(self, *args, env=None):
        return self.program("gatewayctl", *args, env=env)

    def made(self, *args):
        """A command that prints a new key: it is there once and nowhere but on stdout, and is planted from now on."""
        result = self.stack.run_program("gatewayctl", "--config", self.stack.config, *args, "--json")
        assert result.rc == 0 and result.err == "", result
        told = json.loads(result.out)
        self._take(told, result.out)
        return told

    def _take(self, told, text):
        names = [name for name in ("key", "signing_key", "signing_salt") if told.get(name)]
        assert "key" in names
        for name in names:
            assert text.count(told[name]) == 1, name
        number = len(self.planted.secrets)
        self.planted.key(f"key {number}", told["key"])
        for name in names[1:]:
            self.planted.plant(f"{name} {number}", told[name])

    def made_by_rest(self, target, body):
        """The same over HTTP."""
        answer = self.stack.request("POST", target, self.stack.admin_key, [("Content-Type", "application/json")],
                                    json.dumps(body).encode())
        assert answer.status == 201, answer
        told = answer.json()
        self._take(told, answer.body.decode())
        self.said("the head of a new key's answer", repr(answer.headers))
        return told

    def log(self, name):
        with open(self.stack[name].log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_served(self):
        """Until HAProxy knows that all are there again."""
        processes.wait_all_up(self.stack)
        for server in ("img1", "img2"):
            self.stack.wait_server("be_imgproxy", server)
        wait_until(lambda: self.stack.get("/api/v1/me", self.stack.api_key).status == 200, 20, "the API is reached")

    # ---- parts of the drive ------------------------------------------------------------------------------------------

    def settle_log(self, level, form):
        """The level and the format of everything that logs."""
        done = self.log("agent").count("reload: done")
        self.stack.settings.update({"LOG_LEVEL": level, "LOG_FORMAT": form})
        self.stack.write_config()
        self.stack["agent"].reload()
        if level in ("debug", "info"):
            wait_until(lambda: self.log("agent").count("reload: done") > done, 30, "the reload is done")
        self.stack["api"].restart()
        self.wait_served()

    def keys(self):
        stack, planted = self.stack, self.planted
        user = stack.make_user()
        self.signer = helpers_signed.Signer(*(lambda told: (told["id"], told["key"], user, told["signing_key"],
                                              told["signing_salt"]))(self.made("key", "create", user.name, "--signing",
                                                                               "--name", "planted")))
        self.expired = self.made("key", "create", user.name, "--expires", "1s")["key"]
        revoked = self.made("key", "create", user.name)
        self.revoked = revoked["key"]
        self.ctl("key", "revoke", revoked["id"])
        rotated = self.made("key", "create", user.name, "--signing")
        self.made("key", "rotate", rotated["id"], "--grace", "1h")
        new = self.made_by_rest(f"/api/v1/users/{user.id}/keys", {"name": "by rest", "signing": True})
        self.made_by_rest(f"/api/v1/users/{user.id}/keys/{new['id']}/rotate", {})
        # Well formed but for its check digits, as somebody mistypes one.
        head, _, tail = self.signer.key.rpartition("_")
        self.wrong = f"{head}_{'A' if tail[0] != 'A' else 'B'}{tail[1:]}"
        planted.plant(f"a key that nobody has {len(planted.secrets)}", "igw_1_" + base62(32))
        stack.settle()

    def requests(self):
        signer, stack = self.signer, self.stack
        nobody = list(self.planted.secrets.values())[-1]
        keys = [signer.key, self.expired, self.revoked, self.wrong, nobody, nobody + "_000000", "", "x" * 3000]
        for target in (IMAGE, "/api/v1/me", "/api/v1/nothing"):
            for key in keys:
                self.ask("GET", target, key)
                self.ask("GET", target, headers=[("Authorization", f"Bearer {key}")])
            self.ask("GET", target, signer.key, [("Authorization", f"Bearer {self.revoked}")])
            self.ask("GET", target, headers=[("X-API-Key", signer.key), ("X-API-Key", self.revoked)])
            self.ask("GET", target, headers=[("Authorization", f"Basic {signer.key}"), ("Cookie", f"key={signer.key}")])
            self.ask("GET", f"{target}?api_key={signer.key}&x-api-key={signer.key}")
            self.ask("GET", target, signer.key, [("X-GW-Token", stack.settings["API_TOKEN"]), ("X-GW-Scopes", "admin")])
        self.ask("POST", "/api/v1/upload", signer.key, body=f"no image but {signer.key}".encode())
        self.ask("POST", "/api/v1/upload", signer.key, [("Content-Type", f"image/{signer.key}")], b"\xff\xd8\xff")
        for body in ({"email": signer.key}, {"pasword": signer.signing_key}, {"username": [signer.key]}, {"username": signer.key * 9}):
            assert self.ask("POST", "/api/v1/users", stack.admin_key, [("Content-Type", "application/json")],
                            json.dumps(body).encode()).status == 400
        for method, target in (("GET", "/api/v1/users"), ("GET", f"/api/v1/users/{signer.user.id}/keys"),
                               ("GET", f"/api/v1/users/{signer.user.id}/keys/{signer.id}"), ("GET", "/api/v1/backends"),
                               ("GET", "/api/v1/usage"), ("GET", f"/api/v1/users/{signer.user.id}/quota"),
                               ("GET", "/healthz"), ("OPTIONS", "/api/v1/me"), ("PATCH", "/api/v1/me"), ("TRACE", IMAGE)):
            self.ask(method, target, stack.admin_key)
        self.ask("GET", "/img/unsafe/%zz/plain/local:///a.jpg", signer.key)
        self.ask("GET", "/img/unsafe/rs:fill:99999:9/plain/local:///a.jpg", signer.key)
        self.ask("GET", "/img/" + "x" * 9000, signer.key)
        self.raw(b"GET " + IMAGE.encode() + b" HTTP/1.1\r\nHost: a\r\nX-API-Key: " + signer.key.encode() + b"\r\nbroken\r\n\r\n")
        self.raw(b"\x16\x03\x01\x02\x00\x01" + signer.key.encode() + b"\r\n\r\n")

    def raw(self, data):
        with connect(self.stack.address) as sock:
            sock.sendall(data)
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
        self.said("the answer to raw bytes", b"".join(pieces))

    def signed(self):
        """A signature lets everybody see the image: it must not be where others read."""
        signer = self.signer
        source = self.stack.uploaded(signer, self.small)["source"]
        for path in (f"/rs:fill:16:16/plain/{source}", "/rs:fill:16:16/plain/local:///gone.jpg", "/exp:1/plain/local:///a.jpg",
                     "/rs:fill:99999:9/plain/local:///a.jpg", "/nonsense:1/plain/local:///a.jpg", "/%zz/plain/local:///a.jpg"):
            signature = self.planted.plant(f"a signature of {path}", helpers_signed.signature(signer, path))
            for target in self.spelled(signature, path):
                answer = self.ask("GET", target)
                if target == f"/signed/{signer.id}/{signature}{path}" and source in path:
                    assert answer.status == 200, answer

    def spelled(self, signature, path):
        """A signed path, and as somebody might mistake it: the signature in it is good all the same."""
        key = self.signer.id
        return (f"/signed/{key}/{signature}{path}", f"/signed/{key}//{signature}{path}", f"/signed//{key}/{signature}{path}",
                f"//signed/{key}/{signature}{path}", f"/signed/x/{signature}{path}", f"/signed/{key}/{signature}",
                f"/signed/999999/{signature}{path}", f"/%73igned/{key}/{signature}{path}",
                f"/signed/{key}/{signature}x{path}", f"/signed/{key}/{signature}{path}?{signature}",
                f"/signed%2f{key}%2f{signature}{path}", f"/SIGNED/{key}/{signature}{path}",
                f"/signed/./{key}/{signature}{path}", f"/x/../signed/{key}/{signature}{path}",
                f"http://gateway.test/signed/{key}/{signature}{path}")

    def foreign_bytes(self):
        """What HAProxy would not send: it holds what it sends."""
        stack = self.stack
        worker = stack["agent"].workers()[0]
        for data in (hello() + check(1, 1, IMAGE, self.signer.key)[:-7], hello() + frame(NOTIFY, self.signer.key.encode(), 1, 1),
                     hello() + check(1, 1, IMAGE, self.signer.key, v=9), self.signer.key.encode() * 3):
            with connect(worker) as sock:
                sock.sendall(data)
                sock.shutdown(1)
                while sock.recv(65536):
                    pass
        with Client(worker) as client:
            client.ask(self.signer.key, IMAGE)
        lines = [f"<132>1 - - - - - gwu1\t{stack.settings[name]}\t{rest}" for name in ("USAGE_TOKEN", "USAGE_PREVIOUS_TOKEN")
                 for rest in ("", "not\ta\tline", self.signer.key)] + [f"gwu1\t{self.signer.key}\t"]
        with connect(stack.settings["USAGE_BIND"]) as sock:
            for line in lines:
                sock.sendall(f"{len(line)} {line}".encode())
            sock.sendall(stack.settings["USAGE_TOKEN"].encode())
        with connect(stack.settings["API_BIND"]) as sock:
            sock.sendall(build("GET", "/api/v1/me", [("X-GW-Token", "wrong" + stack.settings["API_TOKEN"])]))
            self.said("the answer of gateway-api", sock.recv(65536))

    def tools(self):
        """gatewayctl, as it is meant and as it is not."""
        stack, user = self.stack, self.signer.user.name
        for args in (("config", "show"), ("config", "show", "--json"), ("key", "list"), ("key", "list", user, "--json"),
                     ("user", "show", user), ("user", "list", "--json"), ("reconcile",), ("reconcile", "--json"), ("usage", user),
                     ("health", "agent"), ("health", "api"), ("migrate", "status"), ("key", "revoke", "99999999"),
                     ("key", "rotate", "0"), ("user", "show", "nobody"), ("nothing",), ("backend", "list"), ("export",), ("image", "show", user)):
            self.ctl(*args)
        part = stack["postgres"]
        password, place = part.password, f"127.0.0.1:{part.port}"
        for dsn in (f"postgres://gateway:{password}@127.0.0.1:1/x", f"postgres://gateway:{password}@none.invalid/x",
                    f"postgres://gateway:{password}@{place}/nothing", f"postgres://nobody:{password}@{place}/imgproxy_gateway",
                    f"postgres://gateway:x{password}@{place}/imgproxy_gateway", f"postgres://gateway:{password}/x@{place}/y",
                    f"postgres://gateway:{password}#@{place}/y", f"postgres://{place}:{password}/y",
                    f"postgres://gateway:{password}@[::1/x", f"postgres://{place}/x?pasword={password}",
                    f"postgres://{place}/x?sslmode={password}", f"host=127.0.0.1 password={password} prot=1",
                    f"host=127.0.0.1 password='{password}", f"host=127.0.0.1 password=a {password}", password,
                    f"mysql://gateway:{password}@{place}/x", f"postgres://gateway:{password}%zz@{place}/y"):
            assert self.ctl("user", "list", env={"DB_DSN": dsn}).rc == 1, dsn.replace(password, "…")
            for program in ("gateway-agent", "gateway-api", "gatewayctl"):
                self.program(program, "--check-config", env={"DB_DSN": dsn})
            self.ctl("config", "show", env={"DB_DSN": dsn})
            self.ctl("config", "show", "--json", env={"DB_DSN": dsn})

    def wrong_settings(self):
        """Each secret setting in a form that is refused, with its value; by each program, and by the agent at a reload."""
        stack = self.stack
        with open(stack.config, encoding="utf-8") as file:
            good = file.read()
        values = {name: self.planted.plant(f"a wrong {name}", f"wrong{SIGNS}{base62(30)}") for name in (
            "auth.master_key", "imgproxy.key", "imgproxy.salt", "usage.token", "usage.previous_token")}
        long = {name: self.planted.plant(f"a long {name}", base62(600)) for name in (
            "auth.key_pepper", "auth.master_key", "api.token", "redis.password", "imgproxy.key", "usage.token")}
        texts = []
        for name, value in [*values.items(), *long.items()]:
            section, _, leaf = name.partition(".")
            texts.append(f"{section}:\n  {leaf}: {json.dumps(value)}\n")
        one = values["usage.token"]
        quoted = json.dumps(one)
        texts += [f"redis:\n  pasword: {quoted}\n", f"redis: {quoted}\n", f"redis:\n  password: [{quoted}]\n", f"{quoted}\n",
                  f"redis:\n  password: {quoted[:-1]}\n", f"redis:\n  password: {{{quoted}: 1}}\n", f"- {quoted}\n",
                  f"redis:\n  password: 'a\n  password: {one}\n", f"redis:\n\tpassword: {quoted}\n",
                  f"redis:\n  password: {quoted}\n  password: {quoted}\n", f"redis:\n  password: %{one}\n",
                  f"redis:\n  password: *{one}\n", f"redis:\n  password: !{one} x\n", f"%{one}\n---\na: b\n",
                  f"redis:\n  password: {quoted}\nserver:\n  port: x\n", f"redis:\n  password: {quoted}\x01\n"]
        for text in texts:
            path = stack.layout.write("stack/wrong.yaml", text)
            for program in ("gateway-agent", "gateway-api", "gatewayctl"):
                result = self.program(program, "--check-config", config=path)
                # What imgproxy's key looks like is the agent's business alone.
                assert result.rc == 1 or text.startswith("imgproxy") and program != "gateway-agent", (text[:20], result)
        try:
            for text in (texts[0], texts[-1]):
                refused = self.log("agent").count("the old settings stay")
                stack.layout.write("gateway.yaml", text)
                stack["agent"].reload()
                wait_until(lambda: self.log("agent").count("the old settings stay") > refused, 20, "the reload is refused")  # noqa: B023
        finally:
            stack.layout.write("gateway.yaml", good)

    def faults(self):
        """Without PostgreSQL, without Redis, with a wrong password of Redis, without image servers, API, agent."""
        stack, key = self.stack, self.signer.key

        def everything():
            for target in (IMAGE, "/api/v1/me", "/api/v1/images"):
                self.ask("GET", target, key)
            for target in self.spelled(self.signature, self.path):
                self.ask("GET", target)
            for args in (("user", "list"), ("reconcile",), ("health", "agent"), ("health", "api"), ("migrate", "status")):
                self.ctl(*args)

        self.path = "/rs:fill:8:8/plain/local:///b.jpg"
        self.signature = self.planted.plant("a signature of faults", helpers_signed.signature(self.signer, self.path))
        stack["postgres"].stop()
        everything()
        wait_until(lambda: stack.metrics().get("gateway_postgres_up") == 0, 20)
        stack["postgres"].start()
        stack["postgres"].wait_ready()
        stack["redis"].stop()
        everything()
        wait_until(lambda: stack.metrics().get("gateway_redis_up") == 0, 20)
        stack["redis"].start()
        stack["redis"].wait_ready()
        good = stack.settings["REDIS_PASSWORD"]
        done = self.log("agent").count("reload: done")
        stack.settings["REDIS_PASSWORD"] = self.planted.plant("a wrong password of Redis", f"Wrong{SIGNS}{base62(20)}")
        stack.write_config()
        stack["agent"].reload()
        wait_until(lambda: self.log("agent").count("reload: done") > done, 30, "the reload with a wrong password")
        everything()
        wait_until(lambda: "WRONGPASS" in self.log("agent"), 20, "Redis refuses the password")
        stack.settings["REDIS_PASSWORD"] = good
        stack.write_config()
        stack["agent"].reload()
        wait_until(lambda: self.log("agent").count("reload: done") > done + 1, 30, "the reload with the right password")
        for part in ("imgproxy-1", "imgproxy-2", "api"):
            stack[part].stop()
        everything()
        pid = processes.keeper(stack)
        os.kill(pid, signal.SIGABRT)
        wait_until(lambda: processes.keeper(stack) not in (None, pid), 30, "the next keeper")
        stack["agent"].stop()
        everything()
        for part in ("imgproxy-1", "imgproxy-2", "api", "agent"):
            stack[part].start()
        for part in ("imgproxy-1", "imgproxy-2", "api", "agent"):
            stack[part].wait_ready()
        stack["haproxy"].reload()
        self.wait_served()
        wait_until(lambda: stack.metrics().get("gateway_redis_up") == stack.metrics().get("gateway_postgres_up") == 1, 20)

    def pages(self):
        for path in ("/metrics", "/healthz", "/readyz", "/none"):
            self.said(f"the stats port's {path}", self.stack.stats_page(path).body)
        with connect(self.haproxy_metrics) as sock:
            sock.sendall(build("GET", "/metrics"))
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
        assert b"haproxy_process_" in b"".join(pieces)
        self.said("HAProxy's metrics", b"".join(pieces))
        for command in ("show stat", "show info", "show sess", "show pools", "show activity"):
            self.said(f"HAProxy's {command}", self.stack.haproxy(command))


def test_the_search_finds_each_form():
    """The search itself: else an empty result would mean nothing."""
    planted = Planted()
    planted.plant("hex", "00ff" * 16)
    planted.plant("text", "Secret" + SIGNS + "0123456789")
    for name in ("hex", "text"):
        for form in forms(planted.secrets[name]):
            assert planted.within(b"before " + form + b" behind") == [name], form
    for text in ("AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8A/wD/AP8=", '{"a":"Secret&+ %41$\'\\"\\\\#:@/?0123456789"}',
                 "eyJhIjoiU2VjcmV0JisgJTQxJCciXCM6QC8/MDEyMzQ1Njc4OSJ9"):
        assert planted.within(text), text
    assert planted.within("nothing of the kind") == []


@pytest.fixture(scope="module")
def run(module_stack, small_jpeg):
    """The whole drive, at each level that says more than warnings and in each format."""
    own = Run(module_stack)
    own.small = small_jpeg
    with CommandLines() as lines:
        for level, form, rough in (("debug", "text", True), ("debug", "json", False), ("info", "json", True), ("info", "text", False)):
            own.settle_log(level, form)
            own.keys()
            own.requests()
            own.signed()
            own.foreign_bytes()
            own.pages()
            # The rest takes its time: once at each level and in each format.
            if rough:
                own.faults()
            else:
                own.tools()
                own.wrong_settings()
            own.pages()
        for name in ("haproxy", "api", "agent"):
            own.stack[name].restart()
    assert lines.rounds > 100
    own.lines = lines.found
    return own


def assert_clean(run, things):
    found = []
    for what, data in things:
        for name in run.planted.within(data):
            data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
            lines = [line for line in data.split(b"\n") if run.planted.within(line)][:2] or [b"(over more than one line)"]
            for line in lines:
                found.append(f"{what}: {name}: {line[:700]!r}")
    assert not found, f"{len(found)} times: " + "\n".join(found[:30])


def test_logs(run):
    logs = run.stack.logs()
    assert {"agent.log", "api.log", "haproxy.log", "imgproxy-1.log", "postgres.log", "redis.log"} <= set(logs)
    # They have seen what was done: else they would be clean for want of words.
    for name, said in (("agent.log", "the old settings stay"), ("agent.log", "WRONGPASS"), ("agent.log", "connection lost"),
                       ("agent.log", "a line was dropped"), ("agent.log", '"level":"debug"'), ("agent.log", "level=debug"),
                       ("api.log", "postgres: down"), ("api.log", '"level":"info"'), ("haproxy.log", "path=/signed/"),
                       ("postgres.log", "FATAL:  password authentication failed")):
        assert said in logs[name], (name, said)
    assert_clean(run, [(name, text) for name, text in logs.items() if not name.startswith("imgproxy")])
    # An image server writes down what it was asked: the gateway's own signed path, and so no client's signature or key.
    assert_clean(run, [(name, text) for name, text in logs.items() if name.startswith("imgproxy")])


def test_answers_and_what_programs_say(run):
    assert len(run.out) > 1000
    assert_clean(run, run.out)


def test_command_lines(run):
    assert any(b"gateway-agent" in line for line in run.lines) and any(b"redis-server" in line for line in run.lines)
    assert_clean(run, [("a command line", line) for line in run.lines])


def test_the_database(run):
    """Keys are there as a keyed hash, signing keys are sealed, paths in request_logs have no signature."""
    stack = run.stack
    wait_until(lambda: stack.metrics().get("gateway_usage_spool_bytes") == 0, 20)
    tables = stack.psql("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname NOT IN "
                        "('pg_catalog', 'information_schema') ORDER BY 1").split()
    assert {"public.api_keys", "public.request_logs", "public.users"} <= set(tables)
    texts = [(table, stack.psql(f"SELECT t::text FROM {table} t")) for table in tables]
    assert "/signed/" in str(texts)
    assert_clean(run, texts)


def test_the_agents_folder(run):
    """policy.mdb and the spool."""
    files = list(folder_bytes(run.stack.settings["AGENT_STATE_DIR"]))
    assert any(path.endswith("policy.mdb") for path, _ in files)
    assert_clean(run, files)
