"""What must hold of the stack, in the order of a stack's life. Each returns a note for the report, or raises."""

import hashlib
import io
import os
import signal
import time

from PIL import Image

from . import inside, traffic
from .engine import OUTSIDE
from .report import Failed, wait_until, wanted
from .stack import GRAFANA_PORT, PORT, PROMETHEUS_PORT, PROJECT, ROOT, prometheus, request

SERVICES = {"haproxy", "agent", "api", "imgproxy-1", "imgproxy-2", "postgres", "redis", "prometheus", "grafana"}

JOBS = {"migrate", "grafana-role"}


class Checks:
    def __init__(self, stack):
        self.stack = stack
        self.key = self.path = None
        self.asked = 0  # requests with the key that were answered

    def pid(self, service):
        return self.stack.container(service)["State"]["Pid"]

    def get(self, path, **more):
        answer = request("GET", path, self.key, **more)
        self.asked += 1
        return answer

    # ---- it works ----------------------------------------------------------------------------------------------

    def up(self):
        self.stack.up()
        found = self.stack.containers()
        wanted(set(found) == SERVICES | JOBS, f"containers: {sorted(found)}")
        for name in JOBS:
            job = found[name]["State"]
            wanted(job["Status"] == "exited" and job["ExitCode"] == 0, f"{name}: {job}")
        for service in SERVICES:
            wanted(self.stack.is_healthy(service), f"{service} is not healthy")

    def user_and_key(self):
        self.stack.gatewayctl("user", "add", "anna", "--email", "anna@example.com")
        self.stack.gatewayctl("limit", "set", "anna", "--per-minute", "0", "--per-hour", "0")
        self.stack.gatewayctl("quota", "set", "anna", "--requests", "0", "--bandwidth-mb", "0")
        self.key = self.stack.gatewayctl("key", "create", "anna")["key"]

    def upload(self):
        with open(os.path.join(ROOT, "compose/local/sample.jpg"), "rb") as file:
            photo = file.read()
        answer = wait_until(lambda: self._upload(photo), 5, "the new key may upload")
        self.path = "/img/unsafe/rs:fill:300:200/plain/" + answer.json()["source"] + "@png"

    def _upload(self, photo):
        answer = request("POST", "/api/v1/upload", self.key, photo, headers={"Content-Type": "image/jpeg"})
        if answer.status == 401:  # the key is on its way
            return None
        self.asked += 1
        wanted(answer.status == 200, f"upload: {answer.status} {answer.body}")
        return answer

    def resize(self):
        answer = self.get(self.path)
        wanted(answer.status == 200, f"{self.path}: {answer.status} {answer.body[:300]}")
        image = Image.open(io.BytesIO(answer.body))
        wanted((image.format, image.size) == ("PNG", (300, 200)), f"got {image.format} {image.size}")
        denied = request("GET", self.path)
        wanted(denied.status == 401 and denied.json()["code"] == "key_missing", f"without a key: {denied.status}")
        return f"{answer.headers['Server']}, {len(answer.body)} bytes"

    def metrics(self):
        """By asking the Prometheus of the stack."""
        def scraped():
            return all(any(f'"{job}"' in labels and value == 1 for labels, value in prometheus("up").items())
                       for job in ("gateway-agent", "gateway-haproxy", "prometheus"))
        wait_until(scraped, 40, "Prometheus has scraped the agent and HAProxy")
        wait_until(lambda: sum(prometheus('gateway_verdicts_total{code="allow"}').values()) >= 2, 40, "verdicts are counted")
        wait_until(lambda: sum(prometheus('haproxy_frontend_http_responses_total{proxy="fe_gateway"}').values()) >= 2, 40,
                   "HAProxy's answers are counted")
        wanted(list(prometheus("gateway_postgres_up").values()) == [1], "gateway_postgres_up is not 1")
        wanted(list(prometheus("gateway_redis_up").values()) == [1], "gateway_redis_up is not 1")
        wanted(request("GET", "/api/v1/rules", port=PROMETHEUS_PORT).status == 200, "Prometheus' rules cannot be read")
        series = prometheus('{__name__=~"gateway_.*"}')
        return f"{len(series)} series of the agent"

    def usage(self):
        """Each request that was made with the key has its row."""
        wait_until(lambda: self.rows() >= self.asked, 20, f"rows of {self.asked} requests")
        wanted(self.rows() == self.asked, f"{self.rows()} rows for {self.asked} requests")
        answer = self.stack.gatewayctl("reconcile")
        wanted("HAProxy's counters were not compared" not in str(answer), f"reconcile: {answer}")
        return f"{self.asked} requests, as many rows"

    def rows(self):
        return int(self.stack.sql("SELECT count(*) FROM request_logs"))

    def grafana(self):
        """Its files are those of the checkout, and its role reads what the dashboards ask for and nothing else."""
        text = request("GET", "/files", port=GRAFANA_PORT).body.decode()
        found = {path: digest for digest, path in (line.split(maxsplit=1) for line in text.splitlines())}
        top = os.path.join(ROOT, "configs/grafana")
        want = {}
        for folder, _, names in os.walk(top):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    want[os.path.relpath(file.name, top)] = hashlib.sha256(file.read()).hexdigest()
        wanted(found == want, f"Grafana has {sorted(found)}, not {sorted(want)}")
        password = self.stack.secrets()["grafana_db_password"]
        pid, address = self.pid("grafana"), self.stack.addresses("postgres")["reports"]
        dsn = f"host={address} user=grafana dbname=imgproxy_gateway connect_timeout=5"
        wanted(inside.psql(pid, dsn, password, "SELECT count(*) FROM top_users")[0] == 0, "the role cannot read the views")
        code, out = inside.psql(pid, dsn, password, "SELECT * FROM api_keys")
        wanted(code != 0 and "permission denied" in out, f"the role reads api_keys: {out}")
        return f"{len(found)} files"

    # ---- it is closed ------------------------------------------------------------------------------------------

    def nobody_is_root(self):
        count = 0
        for service in SERVICES:
            container = self.stack.container(service)
            host = container["HostConfig"]
            wanted(host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"] and
                   host["SecurityOpt"] == ["no-new-privileges:true"], f"{service}: {host}")
            for pid in self.pids(service):
                status = inside.status(pid)
                count += 1
                wanted("0" not in status["Uid"].split(), f"{service}: process {pid} is root: {inside.command_line(pid)}")
                wanted(int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1",
                       f"{service}: process {pid} has capabilities or may gain them")
        for service in ("agent", "postgres", "imgproxy-1"):
            done = self.stack.exec(service, "sh", "-c", "touch /usr/bin/x || touch /x")
            wanted(done[0] != 0 and "Read-only file system" in done[1], f"{service}: {done}")
        done = self.stack.exec("imgproxy-1", "touch", "/var/www/imgproxy/uploads/x")
        wanted(done[0] != 0 and "Read-only file system" in done[1], f"the image servers can write uploads: {done}")
        return f"{count} processes"

    def pids(self, service):
        lines = self.stack.engine.docker("top", self.stack.container(service)["Id"], "-eo", "pid").split()
        return [int(word) for word in lines if word.isdigit()]

    def published_ports(self):
        found = inside.listening()
        want = {("tcp", "0.0.0.0", PORT), ("tcp", "127.0.0.1", PROMETHEUS_PORT), ("tcp", "127.0.0.1", GRAFANA_PORT)}
        wanted(found == want, f"on the host: {sorted(found)}")
        wanted(request("GET", "/healthz", host=OUTSIDE).status == 200, "HAProxy is not there on the host's address")
        for port in (PROMETHEUS_PORT, GRAFANA_PORT):
            try:
                request("GET", "/", host=OUTSIDE, port=port)
            except OSError:
                continue
            raise Failed(f"port {port} is there on the host's address")

    def closed_sockets(self):
        """SPOP, usage and API: nobody but HAProxy and the program itself gets there."""
        agent, haproxy = self.stack.addresses("agent"), self.stack.addresses("haproxy")
        usage, stats, exporter = (agent["bus"], 9003), (agent["monitoring"], 9101), (haproxy["monitoring"], 8404)
        listening = inside.listening(self.pid("agent"))
        wanted(listening == {("tcp", *usage), ("udp", *usage), ("tcp", *stats)}, f"the agent listens on {listening}")
        wanted(inside.listening(self.pid("api")) == set(), "the API listens on a network")
        listening = inside.listening(self.pid("haproxy"))
        tcp = {entry for entry in listening if entry[0] == "tcp"}
        wanted(tcp == {("tcp", "0.0.0.0", 8080), ("tcp", *exporter)}, f"HAProxy listens on {listening}")

        sees = {"haproxy": {usage, stats, exporter}, "agent": {usage, stats, exporter}, "prometheus": {stats, exporter}}
        targets = [(address, port) for port in (9001, 9002, 9003, 9101) for address in agent.values()]
        targets += [(address, 8404) for address in haproxy.values()]
        for service in SERVICES:
            found = inside.reachable(self.pid(service), targets)
            want = sees.get(service, set())
            wanted(found == want, f"{service} reaches {sorted(found)}, not {sorted(want)}")

        mounts = {}
        for service, container in self.stack.containers().items():
            for mount in container["Mounts"]:
                mounts.setdefault(mount.get("Name", "").removeprefix(PROJECT + "_"), set()).add(service)
        wanted(mounts["run-agent"] == {"haproxy", "agent"}, f"SPOP's sockets: {mounts['run-agent']}")
        wanted(mounts["run-api"] == {"haproxy", "api"}, f"the API's socket: {mounts['run-api']}")
        return f"{len(targets) * len(SERVICES)} ways tried"

    def closed_datagrams(self):
        """A datagram to the usage port arrives from HAProxy's network, and from nowhere else."""
        target = (self.stack.addresses("agent")["bus"], 9003)
        before = self.foreign_lines()
        for service in SERVICES - {"haproxy", "agent"}:
            inside.send_datagram(self.pid(service), *target)
        time.sleep(0.5)
        wanted(self.foreign_lines() == before, "a datagram arrived from where none may")
        inside.send_datagram(self.pid("haproxy"), *target)
        wait_until(lambda: self.foreign_lines() == before + 1, 5, "HAProxy's datagram is counted")

    def foreign_lines(self):
        text = inside.get(self.pid("prometheus"), f"http://{self.stack.addresses('agent')['monitoring']}:9101/metrics")
        lines = [line for line in text.splitlines() if line.startswith("gateway_usage_records_total{") and "bad" in line]
        wanted(lines, "no counter of bad usage lines")
        return sum(float(line.split()[-1]) for line in lines)

    def image_servers_are_alone(self):
        ports = {"postgres": 5432, "redis": 6379, "prometheus": 9090, "grafana": 3000, "agent": 9101, "haproxy": 8080}
        targets = {(address, port) for service, port in ports.items() for address in self.stack.addresses(service).values()}
        found = inside.reachable(self.pid("imgproxy-1"), [*targets, (OUTSIDE, PORT)])
        want = {(self.stack.addresses("haproxy")["images"], 8080)}
        wanted(found == want, f"imgproxy-1 reaches {sorted(found)}, not {sorted(want)}")

    def secrets(self):
        """In files and nowhere else that can be looked at."""
        secrets = {name: value.split("@")[0] for name, value in self.stack.secrets().items()}
        texts = {"docker-compose config": self.stack.compose("config").stdout}
        for service, container in self.stack.containers().items():
            texts[f"docker inspect of {service}"] = str(container)
            texts[f"the log of {service}"] = self.stack.compose("logs", "--no-color", service).stdout
            image = container["Config"]["Image"]
            texts[f"docker history of {image}"] = self.stack.engine.docker("history", "--no-trunc", image)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            texts[f"the command line of {pid}"] = inside.command_line(pid)
        for where, text in texts.items():
            for name, value in secrets.items():
                wanted(value not in text, f"the secret {name} is in {where}")
        folder = os.stat(self.stack.secrets_dir)
        files = [os.stat(os.path.join(self.stack.secrets_dir, name)) for name in secrets]
        wanted(folder.st_mode & 0o777 == 0o750 and all(s.st_mode & 0o777 == 0o640 for s in files), "the modes of the files")
        return f"{len(secrets)} secrets, {len(texts)} places"

    # ---- it survives -------------------------------------------------------------------------------------------

    def _traffic(self, act, until, timeout=30):
        """Requests while act() is done and until a condition holds, and a second more."""
        with traffic.Traffic(self.path, self.key) as requests:
            time.sleep(1)
            act()
            wait_until(until, timeout, "it is back")
            time.sleep(1)
        self.asked += requests.total
        return requests

    def reloaded(self):
        """As docs/containers.md says; the agent's workers are replaced and no request fails."""
        requests = self._traffic(lambda: self.stack.exec("agent", "sh", "-c", "kill -HUP 1"),
                                 lambda: "reload: done" in self.stack.compose("logs", "--no-color", "agent").stdout)
        wanted(set(requests.answers) == {200}, f"answers: {dict(requests.answers)}")
        return f"{requests.total} requests, none failed"

    def worker_killed(self):
        def worker():
            return next((pid for pid in self.pids("agent") if "--child verdict --index 0" in inside.command_line(pid)), None)
        before = worker()
        requests = self._traffic(lambda: os.kill(before, signal.SIGKILL), lambda: worker() not in (None, before))
        wanted(set(requests.answers) == {200}, f"answers: {dict(requests.answers)}")
        return f"{requests.total} requests, none failed"

    def _service_killed(self, service):
        before = self.pid(service)

        def is_back():
            state = self.stack.container(service)["State"]
            return state["Pid"] not in (0, before) and self.stack.is_healthy(service)
        return self._traffic(lambda: os.kill(before, signal.SIGKILL), is_back, 60)

    def agent_killed(self):
        """The whole of it: until it is back each request is told to come again, and none is let through."""
        before = self.rows()
        asked = self.asked
        requests = self._service_killed("agent")
        wanted(set(requests.answers) <= {200, 503} and requests.without_retry_after == 0, f"answers: {dict(requests.answers)}")
        answer = self.get(self.path)
        wanted(answer.status == 200, f"afterwards: {answer.status}")
        good = requests.answers[200] + 1
        # What is under way at that moment can be lost on both ways (docs/usage.md); the rest has its row.
        wait_until(lambda: self.rows() - before >= good - 2, 30, f"rows of {good} requests")
        lost = before + good - self.rows()
        wanted(0 <= lost <= 2, f"{self.rows() - before} rows for {good} requests")
        self.asked = asked + good - lost
        return f"{requests.answers[503]} of {requests.total} requests told 503, for {requests.failing_for():.1f} s; {lost} rows lost"

    def image_server_killed(self):
        requests = self._service_killed("imgproxy-1")
        wanted(set(requests.answers) == {200}, f"answers: {dict(requests.answers)}")
        return f"{requests.total} requests, none failed"

    def postgres_killed(self):
        requests = self._service_killed("postgres")
        wanted(set(requests.answers) == {200}, f"answers: {dict(requests.answers)}")
        wait_until(lambda: self.rows() >= self.asked, 60, f"rows of {self.asked} requests")
        wanted(self.rows() == self.asked, f"{self.rows()} rows for {self.asked} requests")
        return f"{requests.total} requests, none failed, and a row for each"

    def redis_killed(self):
        requests = self._service_killed("redis")
        wanted(set(requests.answers) == {200}, f"answers: {dict(requests.answers)}")
        return f"{requests.total} requests, none failed"

    def haproxy_killed(self):
        """Last of these: what HAProxy held of usage is gone with it (docs/usage.md)."""
        requests = self._service_killed("haproxy")
        answer = request("GET", self.path, self.key)
        wanted(answer.status == 200, f"afterwards: {answer.status} {answer.body}")
        return f"{requests.total - requests.answers[200]} of {requests.total} requests failed, for {requests.failing_for():.1f} s"

    def engine_restarted(self):
        """As after a reboot: the engine alone brings all of it back, in whatever order."""
        rows = self.rows()
        began = time.monotonic()
        self.stack.engine.restart()
        wait_until(lambda: all(self.stack.is_healthy(service) for service in SERVICES), 90, "all are healthy")
        took = time.monotonic() - began
        answer = request("GET", self.path, self.key)
        wanted(answer.status == 200, f"afterwards: {answer.status} {answer.body}")
        wait_until(lambda: self.rows() > rows, 20, "usage is recorded")
        return f"{took:.0f} s to healthy"

    def backup_restored(self):
        """As docs/containers.md says, over a database that has changed since."""
        rows = self.rows()
        dump = os.path.join(self.stack.engine.work, "gateway.dump")
        self.stack.run("sh", "-c", f"docker-compose exec -T postgres pg_dump -U postgres -Fc imgproxy_gateway > {dump}")
        self.stack.gatewayctl("user", "add", "bert", "--email", "bert@example.com")
        gone = self.stack.gatewayctl("key", "create", "bert")["key"]
        wait_until(lambda: request("GET", "/api/v1/x", gone).status == 404, 10, "the other key is known")
        self.stack.compose("stop", "haproxy", "agent", "api")
        for command in ("dropdb -U postgres --force imgproxy_gateway", "createdb -U postgres -O imgproxy imgproxy_gateway",
                        f"pg_restore -U postgres --exit-on-error -d imgproxy_gateway < {dump}"):
            self.stack.run("sh", "-c", "docker-compose exec -T postgres " + command)
        wanted(self.rows() == rows, f"{self.rows()} rows, {rows} in the backup")
        self.stack.up()
        wait_until(lambda: request("GET", "/api/v1/x", gone).status == 401, 10, "the other key is unknown again")
        wanted(request("GET", self.path, self.key).status == 200, "the first key is not valid any more")
        wanted(request("GET", self.path).json()["code"] == "key_missing", "no refusal")

    def down_and_up(self):
        rows, now = self.rows(), time.time()
        self.stack.down()
        wanted(not self.stack.engine.docker("ps", "-aq"), "there are containers left")
        wanted(request_fails(), "something still answers")
        self.stack.up()
        answer = request("GET", self.path, self.key)
        wanted(answer.status == 200 and Image.open(io.BytesIO(answer.body)).size == (300, 200), f"the upload: {answer.status}")
        wanted(self.rows() >= rows > 0, f"{self.rows()} rows, {rows} before")
        wanted(list(prometheus('up{job="gateway-agent"}', time=now).values()) == [1], "Prometheus has forgotten")
        names = [user["username"] for user in self.stack.gatewayctl("user", "list")]
        wanted(names == ["anna"], f"users: {names}")


def request_fails():
    try:
        request("GET", "/healthz")
    except OSError:
        return True
    return False
