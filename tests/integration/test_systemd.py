"""The installed units under a real systemd: one of its own, in namespaces (tests/systemd/boot.sh). As root alone."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest

from helpers import ROOT
from test_install import make

BOOT = os.path.join(ROOT, "tests/systemd/boot.sh")
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "--kill-child",
           "--propagation", "private"]


def reason_to_skip():
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/lib/systemd/systemd"):
        return "systemd is not installed"
    # In a folder of its own, as boot.sh does.
    probe = "cd $(mktemp -d) && mount -t tmpfs t . && mkdir u w r && mount -t overlay o -o lowerdir=/,upperdir=u,workdir=w r && " \
            "mount -t cgroup2 c r/mnt"
    done = subprocess.run([*UNSHARE, "/bin/bash", "-c", probe], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"this machine gives no namespaces or mounts: {done.stderr.strip()}"


@pytest.fixture(scope="module")
def results():
    """What the scenario says, by name; the logs are shown when it did not come to its end."""
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)
    work = tempfile.mkdtemp(prefix="igw-systemd-")
    process = None
    try:
        stage = os.path.join(work, "stage")
        make("install", f"DESTDIR={stage}", "prefix=/usr")
        with open(os.path.join(work, "console"), "wb") as console:
            process = subprocess.Popen([*UNSHARE, BOOT, work, stage], stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        path, deadline = os.path.join(work, "out/results"), time.monotonic() + 150
        text = ""
        while "DONE" not in text and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            text = read(path)
        if "DONE" not in text:
            logs = [os.path.join(work, "console"), *sorted(glob.glob(os.path.join(work, "out/*")))]
            pytest.fail("the scenario did not end:\n" + "\n".join(f"== {log}\n{read(log)[-3000:]}" for log in logs))
        yield dict(re.findall(r"^(\S+) ?(.*)$", text, re.MULTILINE))
    finally:
        if process:
            process.kill()  # and with it, by --kill-child, all of the namespace
            process.wait()
        shutil.rmtree(work)


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def test_everything_runs_before_postgresql_is_there(results):
    for unit in ("imgproxy-gateway-usage.socket", "imgproxy-gateway-agent", "imgproxy-gateway-api", "haproxy"):
        assert results[f"first.{unit}"] == "active", unit
    assert results["first.healthz"] == "200/1.1"


def test_the_schema_comes_with_postgresql(results):
    assert results["ready"] == "0" and results["migrate"] == "active"


def test_it_serves(results):
    assert results["nobody"] == "401/1.1" and results["tls"] == "401/2"
    assert results["upload"] == "200/1.1" and results["image"] == "503/1.1"


def test_usage_arrives_through_the_sockets_of_systemd(results):
    assert results["usage"] == "0"
    assert results["buffer"] == "0", "the socket unit's buffer is as large as the agent wants it"


def test_who_they_are(results):
    assert results["user.imgproxy-gateway-agent"] == results["user.imgproxy-gateway-api"] == "imgproxy-gw"
    assert results["user.haproxy"] == "haproxy"
    assert int(results["caps.imgproxy-gateway-agent"], 16) == int(results["caps.imgproxy-gateway-api"], 16) == 0
    assert int(results["caps.haproxy"], 16) == 1 << 10  # CAP_NET_BIND_SERVICE
    assert {results[f"seccomp.{unit}"] for unit in ("imgproxy-gateway-agent", "imgproxy-gateway-api", "haproxy")} == {"2"}


def test_who_may_reach_what(results):
    rows = [row.split(" ") for row in results["modes"].strip(";").split(";")]
    modes = {name: [mode, user] for mode, user, name in rows}
    for folder in ("/run/imgproxy-gateway", "/var/lib/imgproxy-gateway", "/var/lib/imgproxy-gateway/uploads"):
        assert modes[folder] == ["750", "imgproxy-gw"], modes
    sockets = [name for name in modes if name.endswith(".sock")]
    assert len(sockets) == 3 and all(modes[name] == ["660", "imgproxy-gw"] for name in sockets), modes


def test_reloads(results):
    assert results["reload.agent"] == results["reload.haproxy"] == "0" and results["reload.answer"] == "401/1.1"


def test_an_agent_that_is_killed_comes_back(results):
    assert results["killed"] == "0"


def test_one_service_takes_nothing_of_the_other_along(results):
    assert results["restart.api"] == "401/1.1 3"


def test_the_agent_stops(results):
    assert results["stopped"] == "inactive" and results["last"] == "1"
