"""store/leases.c and store/hosts.c against a real Redis that is flushed, stopped, continued and killed."""

import os
import subprocess
import tempfile
import time

LIVE = os.path.join(os.path.dirname(os.environ["GATEWAY_STANDIN"]), "leases-live")


def test_leases_on_a_real_redis():
    with tempfile.TemporaryDirectory(prefix="gw-leases-") as folder:
        socket = os.path.join(folder, "redis.sock")
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
             "--dir", folder, "--daemonize", "no"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while not os.path.exists(socket):
                assert server.poll() is None and time.monotonic() < end, "redis-server did not start"
                time.sleep(0.02)
            run = subprocess.run(
                [LIVE], env=dict(os.environ, LEASES_REDIS=f"unix@{socket}", LEASES_REDIS_PID=str(server.pid)),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
            assert run.returncode == 0, run.stdout
            assert "9 test(s)" in run.stdout
        finally:
            server.kill()
            server.wait()
