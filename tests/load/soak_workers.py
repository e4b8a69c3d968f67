#!/usr/bin/python3
"""The trials of tests/integration/test_failures_workers.py for a minute each, as fast as the load goes.

    make build && python3 tests/load/soak_workers.py [SECONDS [TRIAL ...]]

Trials: first, second, alternating (a verdict worker killed twice a second), frozen (one stopped for 6 s, again and
again, which the agent's parent may not replace), replaced (the same, and it may), reload (SIGHUP to the agent and to
HAProxy in turn). Prints a line for each and ends with 1 when a request failed. GATEWAY_BIN_DIR and GATEWAY_STANDIN say
where programs are that do not lie in bin/ and build/tests/.
"""

import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../integration"))

import helpers  # noqa: E402
import helpers_images  # noqa: E402
import processes  # noqa: E402
from load import Load  # noqa: E402

PAUSE = 3.0  # between two freezes


def kill(indexes):
    def trial(stack, load, seconds):
        return f"{processes.kill_in_turn(stack, indexes, load, seconds)} kills"
    return trial


def freeze(timeout):
    def trial(stack, load, seconds):
        processes.reload(stack, AGENT_FREEZE_TIMEOUT=timeout)
        times, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            processes.wait_all_up(stack)
            pid = processes.kill_worker(stack, times % 2, signal.SIGSTOP)
            times += 1
            load.run_for(6)
            processes.signal_all([pid], signal.SIGCONT)
            load.run_for(PAUSE)
        return f"{times} times frozen, replaced {processes.restarts(stack, reason='frozen')}"
    return trial


def reload(stack, load, seconds):
    times, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        processes.reload(stack)
        load.run_for(0.5)
        stack["haproxy"].reload()
        load.run_for(1.5)
        times += 1
    return f"{times} reloads of the agent and of HAProxy"


TRIALS = {"first": kill((0,)), "second": kill((1,)), "alternating": kill((0, 1)), "frozen": freeze("600s"),
          "replaced": freeze("2s"), "reload": reload}


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    names = sys.argv[2:] or list(TRIALS)
    failed = 0
    stack = helpers.GatewayStack()
    try:
        stack.start()
        key = stack.make_key()
        small = helpers_images.encode(helpers_images.gradient(64, 48), "JPEG")
        path = helpers.image_path(stack.uploaded(key, small)["source"], "rs:fill:16:16", "png")
        for name in names:
            processes.wait_all_up(stack)
            with Load(stack.address, path, key.key, rate=0, stale_ok=name == "reload") as load:
                what = TRIALS[name](stack, load, seconds)
                processes.wait_all_up(stack)
            print(f"{name}: {load.seconds:.0f} s, {what}: {load.result}", flush=True)
            failed += load.result.failed
            if load.result.failed:
                print(f"logs: {stack.keep_logs()}; parts that fail: {stack.failing()}")
                break
    finally:
        stack.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
