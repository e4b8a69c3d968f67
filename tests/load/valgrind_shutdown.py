#!/usr/bin/python3
"""gateway-agent, all of its processes, under valgrind: start, requests, policy changes, a reload, an orderly end.

    make build && python3 tests/load/valgrind_shutdown.py

Needs valgrind (compose/local/setup.sh lint), and programs without sanitizers. Prints what valgrind says of each process
and ends with 1 on an error or a leak.
"""

import glob
import os
import re
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../integration"))

import helpers  # noqa: E402
import processes  # noqa: E402

NONE = "/img/unsafe/w:1/plain/local:///none.jpg"
PATIENCE = 90.0


def start(stack):
    folder = stack.layout.folder("valgrind", 0o700)
    command = ["/usr/bin/valgrind", "--leak-check=full", "--show-leak-kinds=definite,possible,indirect",
               "--errors-for-leak-kinds=definite,possible,indirect", "--trace-children=yes", "--error-exitcode=99",
               "--num-callers=30", f"--log-file={folder}/%p.log", "--",
               stack.layout.program(stack.program("gateway-agent")), "--config", stack.config]
    log = os.open(stack["agent"].log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        return folder, subprocess.Popen(command, cwd=stack.layout.state, stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=log, umask=0o027, env=stack.base_environment(),
                                        **stack.layout.account.popen_args())
    finally:
        os.close(log)


def ready(stack):
    try:
        return stack.stats_page("/readyz").status == 200
    except OSError:
        return False


def exercise(stack, agent):
    helpers.wait_until(lambda: ready(stack), PATIENCE, "the agent is ready")
    processes.wait_all_up(stack, PATIENCE)
    keys = [stack.make_key() for _ in range(5)]
    for _ in range(5):
        for key in keys:
            stack.get(NONE, key)
        stack.get(NONE)
        stack.get("/img/unsafe/nonsense", keys[0])
    for key in keys[:3]:
        stack.done("key", "revoke", key.id)
    stack.done("user", "disable", keys[3].user.name)
    stack.settle(PATIENCE)
    stack["redis"].restart()
    stack["postgres"].restart()
    helpers.wait_until(lambda: stack.metrics().get("gateway_postgres_up") == 1, PATIENCE)
    old = {child.pid for child in processes.children(agent.pid)}
    agent.send_signal(signal.SIGHUP)
    helpers.wait_until(lambda: not old & {child.pid for child in processes.children(agent.pid)}, PATIENCE, "a reload")
    helpers.wait_until(lambda: ready(stack), PATIENCE, "the agent is ready after the reload")
    stack.get(NONE, keys[4])


def main():
    stack = helpers.GatewayStack(settings={"AGENT_FREEZE_TIMEOUT": "60s"})
    try:
        stack.start()
        stack["agent"].stop()
        folder, agent = start(stack)
        try:
            exercise(stack, agent)
            agent.send_signal(signal.SIGTERM)
            code = agent.wait(PATIENCE)
        finally:
            if agent.poll() is None:
                agent.kill()
        bad = code != 0
        print(f"exit code {code}")
        for path in sorted(glob.glob(os.path.join(folder, "*.log"))):
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            command = re.search(r"Command: (.*)", text)
            errors = re.search(r"ERROR SUMMARY: (\d+) errors", text)
            lost = re.findall(r"(definitely|indirectly|possibly) lost: ([\d,]+) bytes", text)
            print(f"{os.path.basename(path)}: {command[1] if command else '?'}: "
                  f"{errors[1] + ' errors' if errors else 'no summary: it was killed'}, "
                  f"{', '.join(f'{kind} lost {count}' for kind, count in lost) or 'all heap blocks were freed'}")
            if errors is None or errors[1] != "0":
                bad = True
                print(text)
        if bad:
            print(stack.logs()["agent.log"][-4000:])
        return 1 if bad else 0
    finally:
        stack.close()


if __name__ == "__main__":
    sys.exit(main())
