"""Secrets from files that the environment names: the agent and its children, a reload, what is wrong with one."""

import os
import signal
import subprocess
import urllib.request

import processes
import pytest

from helpers import Metrics, wait_until

NOWHERE = "postgres://nobody:none@127.0.0.1:1/none"


class Agent:
    """An agent of its own on a stack's servers, whose settings file names no database that there is."""

    def __init__(self, stack):
        self.stack = stack
        self.log = os.path.join(stack.layout.logs, "agent.log")
        with open(stack.config, encoding="utf-8") as file:
            text = file.read()
        assert stack["postgres"].dsn in text
        self.config = stack.layout.write("stack/no-database.yaml", text.replace(stack["postgres"].dsn, NOWHERE))
        self.secret = stack.layout.write("stack/db_dsn", stack["postgres"].dsn + "\n")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [stack.layout.program(stack.program("gateway-agent")), "--config", self.config], stdout=log, stderr=log,
                env={**stack.base_environment(), "DB_DSN_FILE": self.secret}, cwd="/", start_new_session=True,
                **stack.layout.account.popen_args())

    def metric(self, name):
        with urllib.request.urlopen(self.stack.stats_url + "/metrics", timeout=5) as answer:
            return Metrics(answer.read().decode()).get(name)

    def wait_database(self):
        def is_up():
            try:
                return self.metric("gateway_postgres_up") == 1
            except OSError:
                return False
        wait_until(is_up, 30, "the agent has its database")

    def logged(self):
        with open(self.log, encoding="utf-8") as file:
            return file.read()


@pytest.fixture
def agent(fresh_stack):
    stack = fresh_stack(start=False)
    stack.prepare()
    stack.start_servers()
    stack.migrate()
    agent = Agent(stack)
    try:
        yield agent
    finally:
        agent.process.terminate()
        assert agent.process.wait(20) == 0


def test_children_keep_the_secret_when_its_file_is_gone(agent):
    agent.wait_database()
    pid = next(child.pid for child in processes.children(agent.process.pid) if child.role == processes.KEEPER)
    os.unlink(agent.secret)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: any(child.role == processes.KEEPER and child.pid != pid
                           for child in processes.children(agent.process.pid)), 20, "there is another keeper")
    agent.wait_database()

    # A reload reads it again, and nothing changes when it cannot.
    before = processes.children(agent.process.pid)
    agent.process.send_signal(signal.SIGHUP)
    said = f"reload: environment DB_DSN_FILE: {agent.secret}: No such file or directory: the old settings stay"
    wait_until(lambda: said in agent.logged(), 20, "the reload is refused")
    assert processes.children(agent.process.pid) == before
    agent.stack.layout.write("stack/db_dsn", agent.stack["postgres"].dsn)
    agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload: done" in agent.logged(), 30, "the reload is done")
    agent.wait_database()
    assert agent.stack["postgres"].password not in agent.logged()


def test_the_secret_is_in_no_command_line_and_environment(agent):
    agent.wait_database()
    pids = [agent.process.pid, *(child.pid for child in processes.children(agent.process.pid))]
    assert len(pids) == 4
    for pid in pids:
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                assert agent.stack["postgres"].password.encode() not in file.read(), (pid, name)


@pytest.mark.parametrize("program", ["gateway-agent", "gateway-api", "gatewayctl"])
@pytest.mark.parametrize("content, said", [
    (None, "No such file or directory"), ("", "is empty"), ("one\ntwo\n", "is not one line of text"),
    ("short\n", "\"(hidden)\" must have 16 to 64 characters"), ("x" * 5000, "is too large for a secret")])
def test_what_is_wrong_with_a_file(stack, program, content, said):
    path = stack.layout.path("stack", "bad-secret")
    if content is not None:
        stack.layout.write("stack/bad-secret", content)
    elif os.path.exists(path):
        os.unlink(path)
    result = stack.run_program(program, "--config", stack.config, "--check-config", env={"USAGE_TOKEN_FILE": path})
    assert result.rc == 1 and result.out == ""
    assert result.err.count("\n") == 1 and said in result.err, result
    assert result.err.startswith(f"{program}: environment USAGE_TOKEN_FILE: "), result
    assert "short" not in result.err and "two" not in result.err


def test_health(stack):
    """`gatewayctl health` of programs that run, of one that does not, and of what is none."""
    for program in ("agent", "api"):
        result = stack.gatewayctl("health", program)
        assert (result.rc, result.out) == (0, f"{program}: ready\n"), result
        assert stack.done("health", program) == {"program": program, "ready": True}
    assert stack.gatewayctl("health", "redis").rc == 1
    off = stack.run_program("gatewayctl", "--config", stack.config, "health", "agent", env={"METRICS_ENABLED": "false"})
    assert off.rc == 1 and "metrics.enabled" in off.err
    gone = stack.run_program("gatewayctl", "--config", stack.config, "health", "api", env={"API_BIND": "unix@/nonexistent"})
    assert gone.rc == 1 and "unix@/nonexistent: No such file or directory" in gone.err
