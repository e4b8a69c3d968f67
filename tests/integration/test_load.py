"""The load tests themselves: that they pass on a gateway that works, and fail on one that does not."""

import http.server
import os
import shutil
import subprocess
import sys
import threading

import pytest

import helpers_http as http_raw
from helpers import ROOT

LOCUST = shutil.which("locust")
pytestmark = pytest.mark.skipif(LOCUST is None, reason="python3-locust is not installed: compose/local/setup.sh load")
LOCUSTFILE = os.path.join(ROOT, "tests/load/locustfile.py")


def clean_environment(**more):
    return {**{name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "LOAD_"))}, **more}


def locust(url, env, seconds=3):
    return subprocess.run(
        [LOCUST, "-f", LOCUSTFILE, "--headless", "--only-summary", "-u", "2", "-r", "2", "-t", f"{seconds}s", "-H", url],
        env=clean_environment(**env), capture_output=True, text=True, check=False, cwd="/", timeout=60)


def run(**env):
    return subprocess.run([sys.executable, "-B", os.path.join(ROOT, "tests/load/run.py")], capture_output=True, text=True,
                          check=False, env=clean_environment(**env), timeout=200)


def test_make_load():
    """A short run of what `make load` runs."""
    kept = {name: value for name, value in os.environ.items() if name in ("GATEWAY_BIN_DIR", "GATEWAY_STANDIN")}
    done = run(LOAD_TIME="8", LOAD_USERS="12", **kept)
    assert done.returncode == 0, done.stdout + done.stderr
    for row in ("resize", "resize (bearer)", "resize (not modified)", "upload (form)", "upload (raw)", "refused: key_missing",
                "refused: rate_limited", "Aggregated"):
        assert row in done.stdout + done.stderr, (row, done)
    assert ", 0 failures" in done.stdout


@pytest.mark.parametrize("env, said", [({"LOAD_TIME": "0"}, "LOAD_TIME"), ({"LOAD_TIME": "9999"}, "LOAD_TIME"),
                                       ({"LOAD_USERS": "x"}, "LOAD_USERS")])
def test_its_bounds(env, said):
    done = run(**env)
    assert done.returncode == 1 and said in done.stderr, done


class Broken(http.server.BaseHTTPRequestHandler):
    """Answers everything with the bytes and the status of its class."""

    status, body = 500, b"no"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("X-Request-ID", "1")
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("status, body, said", [
    (500, b"no", "500 no problem+json"), (200, b'{"sha256": "x", "bytes": 1, "source": "local:///a.jpg"}', "not what was sent")])
def test_a_gateway_that_fails_makes_it_fail(status, body, said):
    handler = type("Handler", (Broken,), {"status": status, "body": body})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            done = locust(f"http://127.0.0.1:{server.server_address[1]}", {"GATEWAY_API_KEY": "igw_1_a_b"})
        finally:
            server.shutdown()
    assert done.returncode == 1 and said in done.stdout + done.stderr, done
    assert "igw_1_a_b" not in done.stdout + done.stderr


def test_it_needs_a_key():
    done = locust("http://127.0.0.1:1", {})
    assert done.returncode != 0 and "GATEWAY_API_KEY is not set" in done.stdout + done.stderr, done


def test_its_signature_is_imgproxys(stack, owner, source):
    """The image server takes it, and not another one."""
    path = f"/rs:fill:8:8/plain/local:///{owner.user.id}/{source[len('local:///'):]}@png"
    signing = f"7:{stack.settings['IMGPROXY_KEY']}:{stack.settings['IMGPROXY_SALT']}"
    code = f"import importlib.util as u; s = u.spec_from_file_location('l', {LOCUSTFILE!r}); m = u.module_from_spec(s); " \
           f"s.loader.exec_module(m); print(m.sign({path!r}))"
    done = subprocess.run(["/usr/bin/python3", "-B", "-c", code], env=clean_environment(GATEWAY_SIGNING=signing),
                          capture_output=True, text=True, check=True)
    signed = done.stdout.strip()
    assert signed.startswith("/signed/7/") and signed.endswith(path)
    target = signed[len("/signed/7"):]
    server = stack["imgproxy-1"].address
    assert http_raw.send_raw(server, http_raw.build("GET", target)).status == 200
    assert http_raw.send_raw(server, http_raw.build("GET", target.replace("/rs:fill:8:8", "/rs:fill:9:9"))).status == 403


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_the_k6_script_can_be_read(tmp_path):
    module = tmp_path / "k6_script.mjs"
    shutil.copy(os.path.join(ROOT, "tests/load/k6_script.js"), module)
    subprocess.run(["node", "--check", str(module)], check=True)
