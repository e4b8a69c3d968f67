"""stack run|up|down|status"""

import json
import os
import shlex
import signal
import sys
import time
import traceback

from . import probe
from .errors import StackError
from .process import resume_frozen, start_ticks, wait_gone
from .stack import Stack
from .supervisor import Supervisor, end_leftovers, is_locked, read_state

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
STATE = os.path.join(ROOT, "var")
START_TIMEOUT = 180.0


def say(line):
    try:
        print(line, flush=True)
    except OSError:
        pass  # whoever read this is gone; the stack goes on


def say_timed(line):
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")


def ready_text(stack, seconds, ending):
    """What runs where, and three commands that work as they stand."""
    rows = [(part.title if part.title != "image server" else part.name, part.where(), f"pid {part.pid}")
            for part in stack.parts.values()]
    width = max(len(row[0]) for row in rows)
    lines = [f"The gateway serves on {stack.url} (all parts ready after {seconds:.1f} s).", ""]
    lines += [f"  {name:<{width}}  {where}  ({pid})" for name, where, pid in rows]
    if stack.stats_url:
        lines.append(f"  {'metrics':<{width}}  {stack.stats_url}/metrics")
    lines += [f"  {'state':<{width}}  {stack.layout.link}: log/ has a file for each part, gateway.env the addresses"]
    if stack.has_standin:
        lines += ["", "The image servers are the stand-in of tests/standin, which does most of what imgproxy does;",
                  "with IMGPROXY_BIN=/path/to/imgproxy in the environment the real one runs."]
    if not stack.foreign and not stack.links_are_shut:
        lines += ["", "Image servers would follow a symbolic link in the uploads here: this system gives an unprivileged user no",
                  "mounts of its own. No upload makes a link; docs/threat-model.md says how to mount the folder."]
    key = shlex.quote(f"X-API-Key: {stack.api_key}")
    image = shlex.quote(stack.url + stack.demo.sample_path)
    photo = shlex.quote("file=@" + stack.demo.sample_file)
    lines += [
        "", "Upload a photograph:", f"  curl -H {key} -F {photo} {stack.url}/api/v1/upload",
        "Get one back as a PNG of 300 x 200:", f"  curl -H {key} -o photo.png {image}",
        "Without a key the answer is 401:", f"  curl -i {image}",
        "", ending]
    return "\n".join(lines)


def run():
    began = time.monotonic()
    if is_locked(STATE):
        raise StackError("the stack runs already; `make status` shows it, `make down` ends it")
    stack = Stack(ROOT, STATE, ports="default")
    code = Supervisor(stack, say_timed, foreground=True).run(
        lambda: say(ready_text(stack, time.monotonic() - began, "Ctrl-C ends everything.")))
    say("all parts ended")
    return code


def up():
    if is_locked(STATE):
        return already_up()
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(reader)
        daemon(writer)
    os.close(writer)
    pid = ticks = None
    try:
        with os.fdopen(reader, encoding="utf-8") as pipe:
            pid, ticks = map(int, pipe.readline().split() or (0, 0))
            answer = pipe.read()
        os.waitpid(first, 0)
    except KeyboardInterrupt:
        if pid and start_ticks(pid) == ticks:
            os.kill(pid, signal.SIGTERM)
            wait_gone(pid, ticks, 90.0)
        raise
    if not answer:
        raise StackError(f"the supervisor ended without a word; log {STATE}/log/supervisor.log")
    result = json.loads(answer)
    if not result["ok"]:
        raise StackError(result["text"])
    say(result["text"])
    return 0


def daemon(writer):
    """The first child: leaves terminal, session and all open files behind, then becomes the supervisor. Never
    returns."""
    code = 1
    try:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        # Who waits for the start must know whom to end when it is interrupted.
        os.write(writer, f"{os.getpid()} {start_ticks(os.getpid())}\n".encode())
        os.umask(0o022)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) != writer:
                try:
                    os.close(int(name))
                except OSError:
                    pass
        code = supervise(writer)
    finally:
        os._exit(code)


def supervise(writer):
    began = time.monotonic()

    def tell(ok, text):
        try:
            os.write(writer, json.dumps({"ok": ok, "text": text}).encode())
            os.close(writer)
        except OSError:
            pass  # nobody waits any more

    try:
        stack = Stack(ROOT, STATE, ports="default")
        stack.layout.prepare()
        log = os.open(os.path.join(stack.layout.logs, "supervisor.log"),
                      os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.chdir(stack.layout.state)

        def ready():
            say_timed("all parts are ready")
            tell(True, ready_text(stack, time.monotonic() - began, "`make down` ends everything."))

        code = Supervisor(stack, say_timed, foreground=False).run(ready)
        say_timed("all parts ended")
        if code:
            tell(False, "ended before all parts were ready")
        return code
    except StackError as error:
        say_timed(str(error))
        tell(False, str(error))
    except Exception as error:  # the process ends right after: log it all, and tell who waits
        traceback.print_exc()
        tell(False, f"the supervisor failed: {error!r}")
    return 1


def already_up():
    """Another supervisor lives: waits until its stack is ready, and says whether it is well."""
    deadline = time.monotonic() + START_TIMEOUT
    while read_state(STATE).get("phase") == "starting" and time.monotonic() < deadline:
        time.sleep(0.2)
    state = read_state(STATE)
    bad = unwell(state)
    if bad:
        raise StackError(f"the stack runs, but {'; '.join(bad)}")
    say(f"The stack runs already on {state['url']} (supervisor {state['pid']}); `make status` shows it.")
    return 0


def unwell(state):
    if state.get("phase") != "ready":
        return [f"is not ready ({state.get('phase', 'ending')})"]
    bad = [f"{part['name']} (pid {part['pid']}) is dead" for part in state["parts"]
           if start_ticks(part["pid"]) != part["ticks"]]
    for url, path in ((state["url"], "/healthz"), (state["stats_url"], "/readyz")):
        reason = probe.http_ready(probe.host_port_of(url), path) if url else None
        if reason:
            bad.append(f"{url}{path}: {reason}")
    return bad


def status():
    state = read_state(STATE)
    if not is_locked(STATE):
        say("The stack does not run.")
        return 0
    say(f"The stack is {state.get('phase', 'ending')}, supervisor {state.get('pid', '?')}, {state.get('url', '')}")
    for part in state.get("parts", ()):
        alive = "runs" if start_ticks(part["pid"]) == part["ticks"] else "DEAD"
        say(f"  {part['name']:<11} {alive}  pid {part['pid']:<8} {part['where']}  log {part['log']}")
    bad = unwell(state)
    for line in bad:
        say(f"  {line}")
    return 1 if bad else 0


def down():
    state = read_state(STATE)
    if not is_locked(STATE):
        ended = end_leftovers(state)
        say(f"ended what a dead supervisor left: {', '.join(ended)}" if ended else "Nothing runs.")
        return 0
    pid, ticks = state.get("pid"), state.get("ticks")
    if pid is None or start_ticks(pid) != ticks:
        raise StackError(f"somebody holds {STATE}/run/lock, but it is not the supervisor")
    try:
        os.kill(pid, signal.SIGTERM)
        resume_frozen([pid])
    except PermissionError:
        raise StackError(f"the supervisor (pid {pid}) belongs to another user; run this as that user") from None
    if not wait_gone(pid, ticks, 90.0):
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid, ticks, 5.0)
        end_leftovers(state)
        say("The supervisor did not answer: all was ended by force.")
        return 0
    say("All parts ended.")
    return 0


def main():
    actions = {"run": run, "up": up, "down": down, "status": status}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        print("usage: stack run|up|down|status", file=sys.stderr)
        return 2
    try:
        return actions[sys.argv[1]]()
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
