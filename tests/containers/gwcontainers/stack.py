"""docker-compose with the stack's file and the stand-ins over it, and what the checks ask of the stack."""

import http.client
import json
import os
import subprocess

from .report import Failed

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
PROJECT = "igw"
PORT = 18080
PROMETHEUS_PORT = 19090
GRAFANA_PORT = 13000
# No limit of addresses: all requests of a test come from one.
SETTINGS = {"COMPOSE_PROJECT_NAME": PROJECT, "SERVER_PORT": PORT, "PROMETHEUS_PORT": PROMETHEUS_PORT,
            "GRAFANA_PORT": GRAFANA_PORT, "RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE": 0}


class Stack:
    def __init__(self, engine):
        self.engine = engine
        work = engine.work
        self.secrets_dir = os.path.join(work, "secrets")
        self.env_file = os.path.join(work, "stack.env")
        self.environ = {**engine.environ, "ENV_FILE": self.env_file, "SECRETS_DIR": self.secrets_dir,
                        "STANDINS": os.path.join(work, "standins"), "COMPOSE_FILE": ":".join([
                            os.path.join(ROOT, "compose/docker-compose.yml"),
                            os.path.join(ROOT, "tests/containers/docker-compose.standins.yml")]),
                        **{name: str(value) for name, value in SETTINGS.items()}}

    def prepare(self):
        """Settings and secrets, made as an operator makes them."""
        self.run(os.path.join(ROOT, "compose/prepare.sh"))
        with open(self.env_file, "a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in SETTINGS.items())

    def run(self, *args, check=True, timeout=900):
        done = subprocess.run(args, env=self.environ, cwd=os.path.join(ROOT, "compose"), capture_output=True, text=True,
                              check=False, timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(args)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
        return done

    def compose(self, *args, **more):
        return self.run("docker-compose", "--env-file", self.env_file, *args, **more)

    def up(self):
        return self.run(os.path.join(ROOT, "compose/containers.sh"), "up")

    def down(self):
        return self.run(os.path.join(ROOT, "compose/containers.sh"), "down")

    def gatewayctl(self, *args):
        """In a container of its own, as an operator does it: what it answers."""
        return json.loads(self.compose("run", "--rm", "-T", "gatewayctl", *args, "--json").stdout)

    def _ids(self, *labels):
        filters = [f"--filter=label=com.docker.compose.{label}" for label in (f"project={PROJECT}", *labels)]
        return self.engine.docker("ps", "-aq", *filters).split()

    def container(self, service):
        """What `docker inspect` says of a service's container."""
        ids = self._ids(f"service={service}", "oneoff=False")
        if len(ids) != 1:
            raise Failed(f"{service} has {len(ids)} containers")
        return self.engine.inspect(ids[0])[0]

    def containers(self):
        """All of them, by service, jobs that have ended included."""
        return {found["Config"]["Labels"]["com.docker.compose.service"]: found for found in self.engine.inspect(*self._ids())}

    def exec(self, service, *command):
        """A command in a service's container: exit code, and all that it printed."""
        done = self.run("docker", "exec", self.container(service)["Id"], *command, check=False)
        return done.returncode, done.stdout + done.stderr

    def is_healthy(self, service):
        state = self.container(service)["State"]
        return state["Running"] and state.get("Health", {}).get("Status") == "healthy"

    def addresses(self, service):
        """By network, without the project's name."""
        networks = self.container(service)["NetworkSettings"]["Networks"]
        return {name.removeprefix(PROJECT + "_"): found["IPAddress"] for name, found in networks.items()}

    def sql(self, query):
        code, out = self.exec("postgres", "psql", "-U", "postgres", "-d", "imgproxy_gateway", "-Atc", query)
        if code != 0:
            raise Failed(f"{query}: {out}")
        return out.strip()

    def secrets(self):
        values = {}
        for name in os.listdir(self.secrets_dir):
            with open(os.path.join(self.secrets_dir, name), encoding="utf-8") as file:
                values[name] = file.read().strip()
        return values


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def request(method, path, key=None, body=None, host="127.0.0.1", port=PORT, headers=(), timeout=10):
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, path, body, {**({"X-API-Key": key} if key else {}), **dict(headers)})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def prometheus(query, time=None):
    """The value of each series that a query finds, by its labels as text."""
    path = "/api/v1/query?query=" + "".join(c if c.isalnum() or c in "_" else f"%{ord(c):02X}" for c in query)
    answer = request("GET", path + (f"&time={time}" if time else ""), port=PROMETHEUS_PORT).json()
    if answer["status"] != "success":
        raise Failed(f"{query}: {answer}")
    return {json.dumps(series["metric"], sort_keys=True): float(series["value"][1]) for series in answer["data"]["result"]}
