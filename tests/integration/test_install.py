"""`make install` as a packager calls it: what lies where with which mode, and that it works from there."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile

import pytest
from gwstack import ports, probe
from gwstack.layout import find_program

from helpers import ROOT, wait_until

HEX = "cd" * 32
UNITS = ["imgproxy-gateway-agent.service", "imgproxy-gateway-api.service", "imgproxy-gateway-migrate.service",
         "imgproxy-gateway-usage.socket"]
PROGRAMS = ["gateway-agent", "gateway-api", "gatewayctl"]


def make(*words):
    """A make of its own: the one that runs the tests may have other goals, jobs and sanitizers."""
    environ = {name: value for name, value in os.environ.items()
               if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "SANITIZE", "COVERAGE", "DESTDIR")}
    done = subprocess.run(["make", "--no-print-directory", "-C", ROOT, *words], env=environ, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def tree(*parts):
    """Files below a folder of the checkout, by their path there."""
    top = os.path.join(ROOT, *parts)
    return {os.path.relpath(os.path.join(folder, name), top) for folder, _, names in os.walk(top) for name in names
            if not name.startswith(".")}


def files_of(top):
    return {os.path.relpath(os.path.join(folder, name), top) for folder, _, names in os.walk(top) for name in names}


@pytest.fixture(scope="module")
def staged():
    """DESTDIR with prefix=/usr."""
    folder = tempfile.mkdtemp(prefix="igw-dest-")
    os.chmod(folder, 0o755)
    previous = os.umask(0o077)  # a careful packager's; what is installed has its own modes
    try:
        make("install", f"DESTDIR={folder}", "prefix=/usr")
        yield folder
    finally:
        os.umask(previous)
        shutil.rmtree(folder)


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def test_the_files(staged):
    share, doc = "usr/share/imgproxy-gateway", "usr/share/doc/imgproxy-gateway"
    wanted = {f"usr/bin/{name}" for name in PROGRAMS}
    wanted |= {f"usr/lib/systemd/system/{name}" for name in [*UNITS, "haproxy.service.d/imgproxy-gateway.conf"]}
    wanted |= {"usr/lib/sysusers.d/imgproxy-gateway.conf", "etc/imgproxy-gateway/config.yaml", "etc/imgproxy-gateway/haproxy.env"}
    wanted |= {f"{share}/haproxy/haproxy.cfg", f"{share}/haproxy/spoe.conf"}
    wanted |= {f"{share}/{top}/{name}" for top in ("migrations", "configs") for name in tree(top)}
    wanted |= {f"{doc}/{name}" for name in tree("docs")}
    wanted |= {f"{doc}/{name}" for name in ("README.md", "CHANGELOG.md", "LICENSE", "haproxy.md", "examples/env.example",
                                            "examples/tokens.env", "examples/secrets.env")}
    assert files_of(staged) == wanted


def test_the_modes(staged):
    for folder, _, names in os.walk(staged):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755, folder
        for name in names:
            path = os.path.join(folder, name)
            wanted = 0o755 if os.path.basename(folder) == "bin" else 0o644
            assert stat.S_IMODE(os.lstat(path).st_mode) == wanted and os.path.isfile(path) and not os.path.islink(path), path


def test_nothing_names_the_checkout_or_the_stage(staged):
    for name in files_of(staged):
        if name.startswith("usr/bin/"):
            continue  # the compiler's notes for debuggers, which packagers strip
        text = read(staged, name)
        assert staged not in text and ROOT not in text, name


def test_another_prefix_is_in_the_units():
    with tempfile.TemporaryDirectory(prefix="igw-dest-") as folder:
        make("install", f"DESTDIR={folder}", "prefix=/opt/gw", "sysconfdir=/opt/gw/etc")
        units = os.path.join(folder, "opt/gw/lib/systemd/system")
        for name in UNITS:
            text = read(units, name)
            assert "/usr/bin/gate" not in text and "/usr/share/" not in text and " /etc/" not in text, name
        agent = read(units, UNITS[0])
        assert "ExecStart=/opt/gw/bin/gateway-agent --config /opt/gw/etc/imgproxy-gateway/config.yaml\n" in agent
        drop_in = read(units, "haproxy.service.d/imgproxy-gateway.conf")
        assert "CONFIG=/opt/gw/share/imgproxy-gateway/haproxy/haproxy.cfg\n" in drop_in
        assert set(os.listdir(folder)) == {"opt"}


def test_settings_of_the_operator_stay_and_uninstall_takes_the_rest():
    with tempfile.TemporaryDirectory(prefix="igw-dest-") as folder:
        make("install", f"DESTDIR={folder}", "prefix=/usr")
        for name in ("config.yaml", "haproxy.env"):
            with open(os.path.join(folder, "etc/imgproxy-gateway", name), "a", encoding="utf-8") as file:
                file.write("# mine\n")
        make("install", f"DESTDIR={folder}", "prefix=/usr")
        for name in ("config.yaml", "haproxy.env"):
            assert read(folder, "etc/imgproxy-gateway", name).endswith("# mine\n")
        make("uninstall", f"DESTDIR={folder}", "prefix=/usr")
        assert files_of(folder) == {"etc/imgproxy-gateway/config.yaml", "etc/imgproxy-gateway/haproxy.env"}


# ---- it works from there ----------------------------------------------------------------------------------------------


def run(stack, staged, program, *args, env=None):
    return subprocess.run([os.path.join(staged, "usr/bin", program), *args], capture_output=True, text=True, check=False,
                          cwd="/", env={**stack.base_environment(), **(env or {})}, **stack.layout.account.popen_args())


def test_the_installed_gatewayctl_finds_its_migrations(stack, staged):
    env = {"DB_DSN": stack.settings["DB_DSN"]}
    done = run(stack, staged, "gatewayctl", "migrate", "status", env=env)
    assert done.returncode == 0 and done.stdout.count("applied") == len(tree("migrations")), done
    # They are those beside it, and no others.
    last = os.path.join(staged, "usr/share/imgproxy-gateway/migrations", max(tree("migrations")))
    os.rename(last, last + ".away")
    try:
        done = run(stack, staged, "gatewayctl", "migrate", "status", env=env)
        assert done.returncode == 1 and staged in done.stderr, done
    finally:
        os.rename(last + ".away", last)


def test_the_installed_programs_start_with_the_installed_settings(stack, staged):
    """The folders of a host are not touched: what is about them comes from the environment, the rest from the file."""
    config = os.path.join(staged, "etc/imgproxy-gateway/config.yaml")
    secrets = {"AUTH_KEY_PEPPER": HEX, "IMGPROXY_KEY": HEX, "IMGPROXY_SALT": HEX, "API_TOKEN": HEX, "USAGE_TOKEN": HEX}
    for program in PROGRAMS:
        done = run(stack, staged, program, "--config", config, "--check-config", env=secrets)
        assert done.returncode == 0 and done.stdout.endswith("ok\n") and done.stderr == "", done
    folder = stack.layout.folder("installed", 0o750)
    metrics = f"127.0.0.1:{ports.find_free()}"
    env = {**stack.base_environment(), **secrets, "DB_DSN": stack.settings["DB_DSN"], "REDIS_ADDR": stack.settings["REDIS_ADDR"],
           "AGENT_SPOP_BIND": f"unix@{folder}/1.sock,unix@{folder}/2.sock", "AGENT_STATE_DIR": folder, "METRICS_BIND": metrics,
           "USAGE_BIND": f"127.0.0.1:{ports.find_free()}", "API_BIND": f"unix@{folder}/api.sock", "UPLOADS_DIR": folder}
    started = []
    try:
        for program in ("gateway-agent", "gateway-api"):
            with open(os.path.join(stack.layout.logs, f"installed-{program}.log"), "ab") as log:
                started.append(subprocess.Popen([os.path.join(staged, "usr/bin", program), "--config", config], stdout=log,
                                                stderr=log, env=env, cwd="/", **stack.layout.account.popen_args()))
        wait_until(lambda: probe.http_ready(metrics, "/readyz") is None, 20, "the agent is ready")
        wait_until(lambda: probe.http_ready(f"unix@{folder}/api.sock", "/healthz") is None, 20, "the API is ready")
        for process in started:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()


# ---- HAProxy's side ---------------------------------------------------------------------------------------------------


def env_file(path):
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", read(path), re.MULTILINE))


def test_the_environment_of_haproxy_is_whole(staged):
    text = re.sub(r"^\s*#.*", "", read(ROOT, "haproxy/haproxy.cfg"), flags=re.MULTILINE)
    used = set(re.findall(r"\$\{([A-Z0-9_]+)(?:\[\*\])?\}", text))
    given = env_file(os.path.join(staged, "etc/imgproxy-gateway/haproxy.env"))
    tokens = env_file(os.path.join(ROOT, "compose/systemd/tokens.env"))
    assert set(given) | set(tokens) == used and not set(given) & set(tokens)


def test_the_installed_configuration_is_valid(staged):
    given = env_file(os.path.join(staged, "etc/imgproxy-gateway/haproxy.env"))
    assert given["HAPROXY_SPOE_CONFIG"] == "/usr/share/imgproxy-gateway/haproxy/spoe.conf"
    given["HAPROXY_SPOE_CONFIG"] = staged + given["HAPROXY_SPOE_CONFIG"]
    done = subprocess.run(
        [find_program("haproxy", os.environ.get("HAPROXY_BIN")), "-dW", "-c", "-f",
         os.path.join(staged, "usr/share/imgproxy-gateway/haproxy/haproxy.cfg")],
        env={"PATH": os.environ["PATH"], "API_TOKEN": HEX, "USAGE_TOKEN": HEX, **given}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout + done.stderr == "Configuration file is valid\n", done


def test_the_two_sides_agree(staged, stack):
    """HAProxy asks where the programs listen."""
    given = env_file(os.path.join(staged, "etc/imgproxy-gateway/haproxy.env"))
    config = os.path.join(staged, "etc/imgproxy-gateway/config.yaml")
    done = run(stack, staged, "gatewayctl", "--config", config, "config", "show", "--json")
    shown = {name: row["value"] for name, row in json.loads(done.stdout)["settings"].items()}
    assert f"{given['AGENT_SPOP_1']},{given['AGENT_SPOP_2']}" == shown["agent.spop_bind"]
    assert given["API_SOCKET"] == shown["api.bind"] and given["USAGE_ADDR"] == shown["usage.bind"]
    assert given["HAPROXY_SOCKET"] == shown["haproxy.socket"] and given["SERVER_PORT"] == shown["server.port"]
    assert given["UPLOADS_MAX_SIZE_BYTES"] == shown["uploads.max_size"]
    socket = read(staged, "usr/lib/systemd/system/imgproxy-gateway-usage.socket")
    listens = re.findall(r"^Listen(?:Stream|Datagram)=(.*)$", socket, re.MULTILINE)
    assert listens == [shown["usage.bind"]] * 2
