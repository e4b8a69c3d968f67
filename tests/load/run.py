"""`make load`: a stack of its own, Locust on it for LOAD_TIME seconds with LOAD_USERS users, its table, and the exit status.

The exit status is 0 when there were requests, none failed (what is refused as it should be is no failure), and every part of
the stack is well afterwards.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "compose/local"))

from gwstack import Stack, StackError  # noqa: E402
from gwstack.layout import find_program  # noqa: E402

# The load's own users have none; of the limited one see below.
SETTINGS = dict.fromkeys((
    "RATE_LIMITS_IP_LEVEL_REQUESTS_PER_MINUTE", "RATE_LIMITS_USER_LEVEL_REQUESTS_PER_MINUTE",
    "RATE_LIMITS_USER_LEVEL_REQUESTS_PER_HOUR", "QUOTAS_MONTHLY_REQUESTS", "QUOTAS_MONTHLY_BANDWIDTH_MB"), "0")
LIMITED_PER_MINUTE, LIMITED_BURST = 30, 2


def number(name, default, most):
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or not 0 < int(text) <= most:
        raise StackError(f'{name}: "{text}" is not within 1 to {most}')
    return int(text)


def keys(stack):
    """What locustfile.py reads from the environment."""
    found = {"GATEWAY_API_KEY": stack.api_key}
    stack.ctl("user", "add", "limited", "--email", "limited@example.invalid")
    stack.ctl("limit", "set", "limited", "--per-minute", str(LIMITED_PER_MINUTE), "--burst", str(LIMITED_BURST))
    found["GATEWAY_LIMITED_KEY"] = stack.ctl("key", "create", "limited", "--scopes", "read")["key"]
    signing = stack.ctl("key", "create", "demo", "--scopes", "read", "--signing", check=False)
    if signing:
        found["GATEWAY_SIGNING"] = f"{signing['id']}:{signing['signing_key']}:{signing['signing_salt']}"
    else:
        print("load: this gatewayctl makes no signing keys; nothing is signed", flush=True)
    return found


def main():
    seconds, users = number("LOAD_TIME", 60, 600), number("LOAD_USERS", 20, 1000)
    locust = find_program("locust")
    folder = tempfile.mkdtemp(prefix="igw-load-")
    try:
        with Stack(ROOT, settings=SETTINGS, durable=False) as stack:
            stack.start()
            result = os.path.join(folder, "result.json")
            environ = {**os.environ, **keys(stack), "LOAD_RESULT": result, "PYTHONDONTWRITEBYTECODE": "1"}
            print(f"load: {users} users for {seconds} s on {stack.url}"
                  + (", image servers: the stand-in" if stack.has_standin else ""), flush=True)
            done = subprocess.run(
                [locust, "-f", os.path.join(ROOT, "tests/load/locustfile.py"), "--headless", "--only-summary", "-u", str(users),
                 "-r", str(max(1, users // 4)), "-t", f"{seconds}s", "--stop-timeout", "10", "-H", stack.url,
                 "-L", "WARNING"],
                env=environ, cwd=folder, check=False, timeout=seconds + 120)
            with open(result, encoding="utf-8") as file:
                asked, failed = json.load(file).values()
            down = [f"{part.title}: {reason}" for part, reason in stack.failing()]
            print(f"load: {asked} requests, {failed} failures" + "".join(f"\nload: {line}" for line in down), flush=True)
            return 0 if done.returncode == 0 and asked > 0 and failed == 0 and not down else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        sys.exit(f"load: {error}")
    except subprocess.TimeoutExpired:
        sys.exit("load: Locust did not end in time")
