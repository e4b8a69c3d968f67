"""How the agent ends, and what keeps it from starting: nothing is left behind, and one clear line says why."""

import os
import re
import signal
import stat
import subprocess
import time

import pytest

import processes
import helpers_spop
from helpers import image_path, wait_until
from helpers_http import check_problem
from load import Load

NONE = "/img/unsafe/w:1/plain/local:///none.jpg"


@pytest.fixture(scope="module")
def gateway(module_stack):
    return module_stack()


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.make_key()


@pytest.fixture(autouse=True)
def agent_is_back(gateway):
    """Each test may end the agent; the next one finds it whole."""
    yield
    if not gateway["agent"].is_running():
        gateway["agent"].start()
        gateway["agent"].wait_ready()
    processes.wait_all_up(gateway)


def socket_files(gateway):
    return [address[len("unix@"):] for address in gateway["agent"].workers() if address.startswith("unix@")]


def agent_pids(gateway):
    return processes.pids(gateway) | {gateway["agent"].pid}


def exit_code(gateway, timeout):
    """Waits for the parent's end."""
    code = gateway["agent"].process.wait(timeout)
    gateway["agent"].wanted = False
    return code


def check_nothing_left(gateway, pids):
    assert not [pid for pid in pids if processes.is_alive(pid)]
    assert not [path for path in socket_files(gateway) if os.path.exists(path)]
    with pytest.raises(ConnectionRefusedError):
        gateway.stats_page("/healthz")


def spawn_agent(gateway, config=None, environ=None):
    """An agent that the stack does not look after, and that opens all of its sockets; its output is in .stderr."""
    gateway["agent"].release()
    command = [gateway.layout.program(gateway.program("gateway-agent")), "--config", config or gateway.config]
    return subprocess.Popen(command, cwd=gateway.layout.state, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, umask=0o027,
                            env={**gateway.base_environment(), **(environ or {})},
                            **gateway.layout.account.popen_args())


def other_config(gateway, name="other.yaml", **settings):
    """A settings file beside the stack's own."""
    saved = dict(gateway.settings)
    try:
        gateway.settings.update(settings)
        with open(gateway.write_config(), encoding="utf-8") as file:
            text = file.read()
    finally:
        gateway.settings = saved
        gateway.write_config()
    return gateway.layout.write(name, text)


# ---- SIGTERM ---------------------------------------------------------------------------------------------------------


def test_sigterm_under_load(gateway, key, small_jpeg):
    image = image_path(gateway.uploaded(key, small_jpeg)["source"], "rs:fill:16:16", "png")
    with Load(gateway.address, image, key.key) as running:
        running.wait(200)
        pids, began = agent_pids(gateway), time.monotonic()
        os.kill(gateway["agent"].pid, signal.SIGTERM)
        assert exit_code(gateway, 10) == 0
        print(f"ended after {(time.monotonic() - began) * 1000:.0f} ms")
        check_nothing_left(gateway, pids)
        running.wait(50)
        check_problem(gateway.get(NONE, key), 503, "unavailable")
        gateway["agent"].start()
        gateway["agent"].wait_ready()
    print(running.result)
    assert set(running.result.statuses) <= {200, 304, 503}, str(running.result)
    assert "stopped" in gateway.logs()["agent.log"]


def test_sigint_is_the_same(gateway):
    pids = agent_pids(gateway)
    os.kill(gateway["agent"].pid, signal.SIGINT)
    assert exit_code(gateway, 10) == 0
    check_nothing_left(gateway, pids)


def test_terminal_ctrl_c(gateway):
    """The whole group gets SIGINT: only the parent acts on it, and it ends all in order."""
    pids = agent_pids(gateway)
    os.killpg(os.getpgid(gateway["agent"].pid), signal.SIGINT)
    assert exit_code(gateway, 10) == 0
    check_nothing_left(gateway, pids)
    assert "ended by signal" not in gateway.logs()["agent.log"]


def test_second_sigterm_kills(gateway):
    """The first cannot finish: a worker is frozen."""
    pids = agent_pids(gateway)
    frozen = processes.kill_worker(gateway, 1, signal.SIGSTOP)
    os.kill(gateway["agent"].pid, signal.SIGTERM)
    wait_until(lambda: not processes.is_alive(processes.worker(gateway, 0) or 0), what="the other worker ends")
    assert processes.is_alive(frozen) and gateway["agent"].is_running()
    began = time.monotonic()
    os.kill(gateway["agent"].pid, signal.SIGTERM)
    assert exit_code(gateway, 5) == 0
    assert time.monotonic() - began < 5
    check_nothing_left(gateway, pids)


def test_frozen_worker_at_the_end(gateway):
    """After the drain time-out, and some seconds for what may still move, it is killed."""
    gateway["agent"].stop()
    gateway.settings["AGENT_DRAIN_TIMEOUT"] = "200ms"
    gateway.write_config()
    try:
        gateway["agent"].start()
        gateway["agent"].wait_ready()
        pids = agent_pids(gateway)
        processes.kill_worker(gateway, 0, signal.SIGSTOP)
        os.kill(gateway["agent"].pid, signal.SIGTERM)
        assert exit_code(gateway, 10) == 0
        check_nothing_left(gateway, pids)
    finally:
        gateway.settings["AGENT_DRAIN_TIMEOUT"] = gateway.table["AGENT_DRAIN_TIMEOUT"].default
        gateway.write_config()


def test_sigterm_while_starting(gateway):
    """At every moment of its start it ends at once and leaves nothing."""
    gateway["agent"].stop()
    for moment in range(10):
        agent = spawn_agent(gateway)
        until = time.monotonic() + 0.02 * moment
        while time.monotonic() < until:
            pass
        pids = {child.pid for child in processes.children(agent.pid)}
        agent.terminate()
        _, said = agent.communicate(timeout=15)
        # Before its handlers are there the signal ends it, as any process.
        assert agent.returncode in (0, -signal.SIGTERM), said
        wait_until(lambda: not [pid for pid in pids if processes.is_alive(pid)], 10, "its children end")  # noqa: B023
    for path in socket_files(gateway):
        if os.path.exists(path):
            os.unlink(path)


# ---- what is in flight when a worker stops -------------------------------------------------------------------------


@pytest.mark.parametrize("whom", ["worker", "parent"])
def test_answers_leave_before_the_disconnect(gateway, key, whom):
    count = 300
    address = gateway["agent"].workers()[1]
    pid = processes.worker(gateway, 1) if whom == "worker" else gateway["agent"].pid
    with helpers_spop.Client(address) as client:
        assert client.ask(key.key, NONE)["verdict"] == "allow"
        client.send(*(helpers_spop.check(n, n % 7 + 1, NONE, key.key) for n in range(2, count + 2)))
        os.kill(pid, signal.SIGTERM)
        frames = client.read_all()
    acks, last = frames[:-1], frames[-1]
    assert [(f.kind, f.stream, f.number) for f in acks] == [
        (helpers_spop.ACK, n, n % 7 + 1) for n in range(2, count + 2)]
    assert all(f.txn()["verdict"] == "allow" for f in acks)
    assert last.kind == helpers_spop.AGENT_DISCONNECT
    assert last.pairs()["status-code"] == 0
    if whom == "parent":
        assert exit_code(gateway, 10) == 0
    else:
        wait_until(lambda: processes.worker(gateway, 1) not in (None, pid), what="a new worker")
        assert f"verdict-2: pid={pid} ended by itself\" status=0" in gateway.logs()["agent.log"]


def test_idle_connections_get_a_disconnect(gateway):
    address = gateway["agent"].workers()[1]
    clients = [helpers_spop.Client(address) for _ in range(20)]
    try:
        processes.kill_worker(gateway, 1, signal.SIGTERM)
        for client in clients:
            assert client.status_of_end() == 0
    finally:
        for client in clients:
            client.sock.close()


# ---- a parent that is killed -------------------------------------------------------------------------------------------


def wait_for_agent(agent, gateway):
    """Until an agent of one's own serves; its log lines when it does not."""
    def serves():
        assert agent.poll() is None, agent.stderr.read()
        return all(processes.answers(gateway, index) for index in (0, 1))
    wait_until(serves, 20, "the new agent answers")


@pytest.mark.parametrize("frozen", [None, "verdict", "keeper"], ids=["well", "worker-frozen", "keeper-frozen"])
def test_parent_killed(gateway, key, frozen):
    """Its children end by themselves, and a new agent starts at once on the same sockets, though connections to the
    old one are still open."""
    gateway["agent"].stop()
    first = spawn_agent(gateway)
    second, clients, children = None, [], set()
    try:
        wait_for_agent(first, gateway)
        children = {child.pid for child in processes.children(first.pid)}
        assert len(children) == 3
        clients = [helpers_spop.Client(address) for address in gateway["agent"].workers()]
        if frozen:
            os.kill(next(iter(c.pid for c in processes.children(first.pid) if c.role == frozen)), signal.SIGSTOP)
        first.kill()
        first.wait()
        second = spawn_agent(gateway)
        wait_until(lambda: not [pid for pid in children if processes.is_alive(pid)], 10,
                   "the children of the killed parent end")
        wait_for_agent(second, gateway)
        wait_until(lambda: gateway.get(NONE, key).code == "not_found", 20, "requests are answered")
    finally:
        for client in clients:
            client.sock.close()
        processes.signal_all(children, signal.SIGKILL)
        for agent in filter(None, (first, second)):
            agent.terminate()
            agent.communicate(timeout=15)


# ---- what keeps it from starting -----------------------------------------------------------------------------------


def refused(gateway, config, timeout=20):
    """The one line of an agent that does not start."""
    agent = spawn_agent(gateway, config)
    try:
        _, said = agent.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        processes.signal_all([agent.pid], signal.SIGTERM)
        _, said = agent.communicate(timeout=20)
        pytest.fail(f"it started all the same:\n{said}")
    lines = [line for line in said.splitlines() if line and " level=info " not in line]
    assert agent.returncode == 1 and len(lines) == 1, f"exit code {agent.returncode}:\n{said}"
    return lines[0]


def test_address_in_use(gateway, key):
    """By a running agent: that one is not disturbed."""
    line = refused(gateway, gateway.config)
    assert "agent.spop_bind" in line and gateway["agent"].workers()[0] in line and "in use" in line, line
    assert gateway.get(NONE, key).code == "not_found"
    assert all(stat.S_ISSOCK(os.stat(path).st_mode) for path in socket_files(gateway))


def test_second_address_in_use(gateway):
    """What was opened before the failure is removed again."""
    free = os.path.join(gateway.layout.sockets, "free.sock")
    line = refused(gateway, other_config(
        gateway, AGENT_SPOP_BIND=f"unix@{free},{gateway['agent'].workers()[1]}"))
    assert gateway["agent"].workers()[1] in line and "in use" in line, line
    assert not os.path.exists(free)


def test_stats_port_in_use(gateway):
    sockets = [os.path.join(gateway.layout.sockets, f"free-{n}.sock") for n in (1, 2)]
    line = refused(gateway, other_config(gateway, AGENT_SPOP_BIND=",".join(f"unix@{path}" for path in sockets)))
    assert "metrics.bind" in line and gateway.settings["METRICS_BIND"] in line and "in use" in line, line
    assert not any(map(os.path.exists, sockets))


def test_file_in_the_way_of_a_socket(gateway):
    gateway["agent"].stop()
    path = gateway.layout.write(os.path.join("agent", "not-a-socket"), "precious")
    line = refused(gateway, other_config(gateway, AGENT_SPOP_BIND=f"unix@{path}"))
    assert "agent.spop_bind" in line and "no socket" in line, line
    with open(path, encoding="utf-8") as file:
        assert file.read() == "precious"


def test_stale_socket_file(gateway, key):
    """A file that a killed agent left: nobody listens there, so it is taken over."""
    gateway["agent"].stop()
    for path in socket_files(gateway):
        subprocess.run(["/usr/bin/python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({path!r})"],
                       check=True, **gateway.layout.account.popen_args())
        assert os.path.exists(path)
    gateway["agent"].start()
    gateway["agent"].wait_ready()
    wait_until(lambda: gateway.get(NONE, key).code == "not_found", 20, "requests are answered")


def test_state_folder_is_missing(gateway):
    gateway["agent"].stop()
    line = refused(gateway, other_config(gateway, AGENT_STATE_DIR="/nonexistent/imgproxy-gateway"))
    assert "agent.state_dir" in line and "/nonexistent/imgproxy-gateway" in line, line


def test_state_folder_is_not_writable(gateway):
    gateway["agent"].stop()
    folder = gateway.layout.folder("sealed", 0o555)
    line = refused(gateway, other_config(gateway, AGENT_STATE_DIR=folder), timeout=5)
    assert "agent.state_dir" in line and folder in line and re.search("[Pp]ermission denied", line), line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as root")
def test_root_without_a_user(gateway):
    gateway["agent"].stop()
    program = gateway.layout.program(gateway.program("gateway-agent"))
    done = subprocess.run([program, "--config", gateway.config], capture_output=True, text=True, check=False,
                          timeout=20, env=gateway.base_environment())
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "agent.user" in done.stderr, done.stderr
