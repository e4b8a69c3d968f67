"""python3 -m gwcontainers: all of it. CONTAINERS_DIR is where the temporary folder is made (/var/tmp); CONTAINERS_CACHE a
file to keep the base image in, for those who run this often."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from . import base
from .checks import Checks
from .engine import Engine
from .report import Failed, Steps, say
from .stack import ROOT, Stack

BASE = "debian:12-slim"
STANDINS = ["postgres", "redis", "haproxy", "prometheus", "grafana", "imgproxy"]
OWN = [f"imgproxy-gateway-{name}:local" for name in ("agent", "api", "gatewayctl")]


def import_base(engine, tar):
    with open(tar, "rb") as file:
        engine.docker("import", "-", BASE, stdin=file)


def build_stage(work):
    steps = Steps()
    with Engine(work, own_network=False) as engine:
        stack = Stack(engine)
        stack.prepare()
        steps.run("base image imported", import_base, engine, os.path.join(work, "base.tar"))
        info = engine.info()
        say(f"  engine {info['ServerVersion']}, {info['Driver']}, cgroup v{info['CgroupVersion']}, {info['KernelVersion']}, "
            + stack.compose("version", "--short").stdout.strip())
        steps.run("docker-compose config", lambda: stack.compose("config", "-q") and None)
        steps.run("images of the gateway built", lambda: stack.compose("build", "migrate", "agent", "api") and None)
        for name in STANDINS:
            service = "imgproxy-1" if name == "imgproxy" else name
            steps.run(f"stand-in for {name} built", lambda service=service: stack.compose("build", service) and None)
        sizes = {name: engine.inspect(name)[0]["Size"] / 1e6 for name in (BASE, *OWN, *(f"igw-standin-{n}" for n in STANDINS))}
        say("  sizes, with the base image:")
        for name, size in sizes.items():
            say(f"    {name:34} {size:6.1f} MB")
    return steps.passed


def show_logs(stack):
    done = stack.compose("logs", "--no-color", "--tail", "25", check=False)
    say(done.stdout + done.stderr)


def check_stage(work):
    steps = Steps()
    with Engine(work, own_network=True) as engine:
        stack = Stack(engine)
        checks = Checks(stack)
        try:
            for title, check in [
                    ("up, all healthy", checks.up), ("user and key, by gatewayctl in a container", checks.user_and_key),
                    ("upload", checks.upload), ("resize", checks.resize),
                    ("scraped by Prometheus", checks.metrics), ("usage recorded, once", checks.usage),
                    ("Grafana provisioned", checks.grafana),
                    ("nobody is root, nothing can be written", checks.nobody_is_root),
                    ("only HAProxy's port on all addresses", checks.published_ports),
                    ("SPOP, usage and API closed to all others", checks.closed_sockets),
                    ("usage over UDP closed to all others", checks.closed_datagrams),
                    ("image servers see HAProxy alone", checks.image_servers_are_alone),
                    ("the agent reloaded", checks.reloaded), ("a verdict worker killed", checks.worker_killed), ("the agent killed", checks.agent_killed),
                    ("an image server killed", checks.image_server_killed), ("PostgreSQL killed", checks.postgres_killed),
                    ("Redis killed", checks.redis_killed), ("HAProxy killed", checks.haproxy_killed),
                    ("secrets are in files alone", checks.secrets), ("the engine restarted", checks.engine_restarted),
                    ("a backup restored", checks.backup_restored),
                    ("down and up, data still there", checks.down_and_up)]:
                steps.run(title, check)
        except BaseException:
            show_logs(stack)
            raise
        finally:
            stack.compose("down", "-v", "--remove-orphans", check=False)
    return steps.passed


def in_namespaces(work, stage, *kinds):
    """Runs a stage as process 1 of new namespaces: when it ends, all that it started ends. Returns what it passed."""
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *kinds,
                           sys.executable, "-B", "-m", "gwcontainers", stage, work], check=False)
    if done.returncode != 0:
        raise Failed(f"{stage}: see above")
    with open(os.path.join(work, stage + ".passed"), encoding="utf-8") as file:
        return int(file.read())


def remove_cgroups(name):
    """What the engine leaves of them: empty folders."""
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        for folder in list(folders):
            if folder == name:
                folders.remove(folder)
                for path, _, _ in os.walk(os.path.join(top, folder), topdown=False):
                    try:
                        os.rmdir(path)
                    except OSError as error:
                        say(f"test-containers: {error}")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    work = tempfile.mkdtemp(prefix="igw-containers-", dir=os.environ.get("CONTAINERS_DIR", "/var/tmp"))
    try:
        os.chmod(work, 0o755)
        shutil.copytree(os.path.join(ROOT, "tests/containers/standins"), os.path.join(work, "standins"))
        shutil.copy(os.environ.get("GATEWAY_STANDIN", os.path.join(ROOT, "build/tests/imgproxy-standin")),
                    os.path.join(work, "standins"))
        steps = Steps()
        steps.run("base image", base.make, work, os.environ.get("CONTAINERS_CACHE"))
        passed = steps.passed + in_namespaces(work, "build") + in_namespaces(work, "check", "--net")
    except Failed as failure:
        say(f"test-containers: {failure}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
        remove_cgroups(os.path.basename(work))
    say(f"test-containers: {passed} passed, {time.monotonic() - began:.0f} s")
    return 0


def stage_main(stage, work):
    try:
        passed = {"build": build_stage, "check": check_stage}[stage](work)
    except Failed as failure:
        say(f"test-containers: {failure}")
        return 1
    with open(os.path.join(work, stage + ".passed"), "w", encoding="utf-8") as file:
        file.write(str(passed))
    return 0


if __name__ == "__main__":
    sys.exit(main() if len(sys.argv) == 1 else stage_main(*sys.argv[1:]))
