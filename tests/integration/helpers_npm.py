"""imgproxy's own client library for Node.js, installed from the npm registry as tests/npm/package-lock.json says."""

import fcntl
import json
import os
import shutil
import subprocess

import pytest

import helpers

SOURCE = os.path.join(helpers.ROOT, "tests/npm")
FOLDER = os.path.join(helpers.ROOT, "build/npm")
FILES = ("package.json", "package-lock.json", ".npmrc", "urls.js")
# What npm says when it does not get through. Anything else, as bytes that the lock file does not name, is a failure.
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH",
               "ERR_SOCKET_TIMEOUT", "ENOTCACHED", "E401", "E403", "E407", "E502", "E503", "E504")


def _is_current():
    if not os.path.isdir(os.path.join(FOLDER, "node_modules/@imgproxy/imgproxy-node")):
        return False
    for name in FILES:
        with open(os.path.join(SOURCE, name), "rb") as wanted, open(os.path.join(FOLDER, name), "rb") as have:
            if wanted.read() != have.read():
                return False
    return os.path.exists(os.path.join(FOLDER, "complete"))


def _install():
    shutil.rmtree(os.path.join(FOLDER, "node_modules"), ignore_errors=True)
    for name in FILES:
        shutil.copy(os.path.join(SOURCE, name), FOLDER)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1",
               "--fetch-timeout=20000"]
    try:
        done = subprocess.run(command, cwd=FOLDER, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False,
                              timeout=180)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry does not answer")
    if done.returncode != 0:
        code = next((word for word in UNREACHABLE if word in done.stderr), None)
        if code:
            pytest.skip(f"the npm registry cannot be reached ({code})")
        raise AssertionError(done.stderr)
    with open(os.path.join(FOLDER, "complete"), "w", encoding="utf-8"):
        pass


def make_urls(calls):
    """What the library makes of each call: a dict of generateImageUrl()'s arguments, `info` for the other function."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    os.makedirs(FOLDER, exist_ok=True)
    with open(os.path.join(FOLDER, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current():
            _install()
    clean = {name: text for name, text in os.environ.items() if not name.startswith("IMGPROXY_")}
    done = subprocess.run(["node", "urls.js"], cwd=FOLDER, input=json.dumps(calls), capture_output=True, text=True,
                          check=False, timeout=60, env=clean)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
