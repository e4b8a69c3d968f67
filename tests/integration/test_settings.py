"""One table of settings: the programs, the example files and the documents say the same."""

import json
import os
import re
import signal
import subprocess

import pytest
from gwstack import settings as gwsettings

from helpers import ROOT, wait_until

TABLE = {setting.name: setting for setting in gwsettings.load_table(ROOT).values()}
PROGRAMS = ["gateway-agent", "gateway-api", "gatewayctl"]
HEX = "ab" * 32
SECRETS = {"AUTH_KEY_PEPPER": "p" * 32, "IMGPROXY_KEY": HEX, "IMGPROXY_SALT": HEX}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def show(stack, path=None, env=None):
    """`config show --json` without any environment but this."""
    result = stack.run_program("gatewayctl", *(["--config", path] if path else []), "config", "show", "--json", env=env)
    assert result.rc == 0, result
    return json.loads(result.out)


HELPS = dict(re.findall(r'^SETTING\(\w+,\s*\w+,\s*"([^"]*)",.*?"((?:[^"\\]|\\.)*)"\)$', read("spoa/base/settings.def"),
                        re.MULTILINE | re.DOTALL))
# Names of the example environment that are no settings.
OF_THE_STACK = {"GATEWAY_CONFIG", "GATEWAY_USER", "HAPROXY_BIN", "IMGPROXY_BIN", "IMGPROXY_1_ADDR", "IMGPROXY_2_ADDR",
                "IMGPROXY_1_WEIGHT", "IMGPROXY_2_WEIGHT"}


@pytest.fixture
def written(stack):
    """A function that writes a settings file which the stack's user can read; returns its path."""
    return lambda text: stack.layout.write("stack/test-settings.yaml", text)


def test_config_show_has_the_whole_table(stack, written):
    shown = show(stack, written(""))["settings"]
    assert list(shown) == list(TABLE)
    for name, setting in TABLE.items():
        assert shown[name]["environment"] == setting.env and shown[name]["default"] is True, name


def test_config_show_says_where_a_value_comes_from(stack, written):
    path = written("# first\nserver:\n  port: 8080\nlog:\n  level: warn\n")
    shown = show(stack, path, {"LOG_LEVEL": "error", "REDIS_DB": "3"})["settings"]
    assert (shown["server.port"]["origin"], shown["server.port"]["default"]) == ("line 3", True)
    assert (shown["log.level"]["origin"], shown["log.level"]["value"]) == ("environment", "error")
    assert shown["redis.db"]["origin"] == "environment" and shown["api.bind"]["origin"] == "default"
    text = stack.run_program("gatewayctl", "--config", path, "config", "show", env={"REDIS_DB": "3"}).out
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    assert rows["server.port"][1:4] == ["line", "3", "8080"] and rows["redis.db"][1:] == ["environment", "3"]
    assert path in text


def test_the_document_has_the_whole_table():
    rows = re.findall(r"^\| `([a-z_.]+)` \| `([A-Z_0-9]+)` \| (.*?) \| (.*) \|$", read("docs/configuration.md"), re.MULTILINE)
    assert [row[0] for row in rows] == list(TABLE)
    for name, env, default, meaning in rows:
        setting = TABLE[name]
        assert env == setting.env
        assert default == (f"`{setting.default}`" if setting.default else "empty"), name
        assert meaning == HELPS[name], name


def test_the_example_file_has_every_setting_with_its_default(stack):
    text = read("configs/config.yaml")
    found = show(stack, stack.layout.write("stack/config.yaml", text))
    assert [name for name, row in found["settings"].items() if not row["default"]] == []
    names, levels = [], []
    for line in text.splitlines():
        match = re.match(r"^( *)([a-z_]+):", line)
        if match:
            levels = levels[:len(match[1]) // 2] + [match[2]]
            names.append(".".join(levels))
    assert set(TABLE) <= set(names), set(TABLE) - set(names)


@pytest.mark.parametrize("name", ["config.yaml", "config.dev.yaml", "config.prod.yaml"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_example_files_are_good(stack, program, name):
    path = stack.layout.write("stack/" + name, read("configs/" + name))
    result = stack.run_program(program, "--config", path, "--check-config", env=SECRETS)
    assert result.rc == 0 and "ok" in result.out and result.err == "", result


@pytest.mark.parametrize("name", ["config.yaml", "config.dev.yaml", "config.prod.yaml"])
def test_the_example_files_are_loaded_as_they_are_written(stack, name):
    """`config show` has each value of the file with its line, and both image servers."""
    text = read("configs/" + name)
    found = show(stack, stack.layout.write("stack/" + name, text))
    written_keys = {}
    levels = []
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"^( *)([a-z_]+):(.*)$", line)
        if match and not line.startswith("    weight"):
            levels = levels[:len(match[1]) // 2] + [match[2]]
            if match[3].strip():
                written_keys[".".join(levels)] = number
    assert len(written_keys) >= 10 and set(written_keys) <= set(TABLE)
    for key, number in written_keys.items():
        assert found["settings"][key]["origin"] == f"line {number}", key
    assert [backend["weight"] for backend in found["backends"]] == [70, 30]
    assert [backend["url"] for backend in found["backends"]] == ["http://127.0.0.1:48080", "http://127.0.0.1:48081"]


def test_the_example_for_production_is_closed(stack):
    """No secret stands in it, nothing but HAProxy's port listens beyond the host, limits are on."""
    shown = show(stack, stack.layout.write("stack/config.prod.yaml", read("configs/config.prod.yaml")))["settings"]
    for name in (name for name, setting in TABLE.items() if setting.secret):
        assert shown[name]["origin"] == "default", name
    assert "@" not in shown["database.dsn"]["value"] and "password" not in shown["database.dsn"]["value"]
    for name in ("agent.spop_bind", "api.bind", "usage.bind", "metrics.bind", "haproxy.metrics_bind"):
        for address in shown[name]["value"].split(","):
            assert address.startswith(("unix@/run/imgproxy-gateway/", "127.0.0.1:")), (name, address)
    assert len([setting for setting in TABLE.values() if setting.secret]) >= 8
    for name, row in shown.items():
        if name.startswith(("rate_limits.", "quotas.monthly", "uploads.max")):
            assert int(row["value"]) > 0, name
    assert shown["agent.user"]["value"] not in ("", "root") and shown["log.level"]["value"] == "info"
    assert shown["server.cors_origins"]["value"] == "" and int(shown["usage.retention_days"]["value"]) > 0


def test_the_example_environment_has_every_setting_with_its_default():
    """None is missing, none is made up, each with its default and its meaning in the line above."""
    text = read(".env.example")
    names = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text, re.MULTILINE)
    envs = {setting.env: setting for setting in TABLE.values()}
    assert [env for env in names if env not in OF_THE_STACK] == list(envs)
    rows = {env: (meaning, value) for meaning, env, value in re.findall(r"^# (.+)\n#?([A-Z0-9_]+)=(.*)$", text, re.MULTILINE)}
    for env, setting in envs.items():
        assert rows[env][1] == setting.default, env
        assert rows[env][0] == HELPS[setting.name], env


def test_the_example_environment_changes_nothing_that_a_file_says(stack, written):
    """Who sources it as it is gets the seed's names alone, with their defaults: good for each program."""
    plain = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", read(".env.example"), re.MULTILINE))
    assert set(plain) == {"SERVER_PORT", "SERVER_READ_TIMEOUT", "SERVER_WRITE_TIMEOUT", "DB_DRIVER", "REDIS_PASSWORD",
                          "REDIS_DB", "LOG_LEVEL", "METRICS_ENABLED"}
    for program in PROGRAMS:
        result = stack.run_program(program, "--config", written(""), "--check-config", env={**SECRETS, **plain})
        assert result.rc == 0 and result.err == "", result


def test_names_in_the_environment_follow_the_rule():
    for name, setting in TABLE.items():
        usual = name.upper().replace(".", "_")
        assert setting.env == usual or name.startswith("database."), name


def test_the_environment_wins_over_the_file(stack, written):
    path = written("log:\n  level: error\nuploads:\n  max_size: 3MB\n")
    shown = show(stack, path, {"LOG_LEVEL": "debug"})["settings"]
    assert shown["log.level"]["value"] == "debug"
    assert shown["uploads.max_size"]["value"] == str(3 << 20)
    assert show(stack, path)["settings"]["log.level"]["value"] == "error"


def test_secrets_are_not_shown(stack):
    for args in (("config", "show"), ("config", "show", "--json")):
        result = stack.gatewayctl(*args)
        for name in ("AUTH_KEY_PEPPER", "AUTH_MASTER_KEY", "API_TOKEN", "IMGPROXY_KEY", "IMGPROXY_SALT", "USAGE_TOKEN"):
            assert stack.settings[name] not in str(result.out), name
        assert result.rc == 0 and stack["postgres"].password not in str(result.out)
        assert f"127.0.0.1:{stack['postgres'].port}" in str(result.out)


# (file, line of the fault, what must be named)
FAULTS = [
    ("server:\n  port: 70000\n", 2, "server.port"), ("server:\n  port: x\n", 2, "server.port"),
    ("log:\n  level: loud\n", 2, "log.level"), ("server:\n  read_timeout: 30\n", 2, "server.read_timeout"),
    ("uploads:\n  dir: /x\n  max_size: 5XB\n", 3, "uploads.max_size"), ("server:\n  prot: 1\n", 2, "server.prot"),
    ("nonsense:\n  a: 1\n", 1, "nonsense"), ("log:\n  level: info\n  level: info\n", 3, "log.level"),
    ("database:\n  driver: mysql\n", 2, "database.driver"), ("metrics:\n  enabled: maybe\n", 2, "metrics.enabled"),
    ("metrics:\n  bind: nowhere\n", 2, "metrics.bind"), ("redis:\n  db: -1\n", 2, "redis.db"),
    ("\n\nbackends:\n  - url: http://127.0.0.1:1\n    weight: 257\n", 5, "weight"), ("server: [1\n", None, ""),
    ("server:\n  port: [8080]\n", 2, "server.port"), ("auth:\n  key_pepper: short\n", 2, "auth.key_pepper"),
    (f"auth:\n  master_key: {'0' * 63}\n", 2, "auth.master_key"),
    (f"log:\n  level: info\nauth:\n  master_key: {'0' * 63}g\n", 4, "auth.master_key"),
    ("images:\n  max_dimension: 0\n", 2, "images.max_dimension"), ("images:\n  max_dpr: 1.5\n", 2, "images.max_dpr"),
    ("images:\n  max_quality: 101\n", 2, "images.max_quality"), ("images:\n  require_expires: 1\n", 2, "images.require_expires"),
    ("quotas:\n  storage_mb: -1\n", 2, "quotas.storage_mb"),
    ("database:\n  dsn: host=h prot=1\n", 2, "database.dsn"), ("database:\n  dsn: postgres://u:p@h:70000/d\n", 2, "database.dsn"),
    ("database:\n  max_connections: 1\n  dsn: 'mysql://h/d'\n", 3, "database.dsn"),
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("text, line, name", FAULTS, ids=[repr(fault[0])[:40] for fault in FAULTS])
def test_check_config_names_file_line_and_key(stack, written, program, text, line, name):
    path = written(text)
    env = {} if "pepper" in text else SECRETS
    result = stack.run_program(program, "--config", path, "--check-config", env=env)
    assert result.rc == 1 and result.out == "", result
    assert result.err.count("\n") == 1 and result.err.startswith(program + ": "), result.err
    assert path in result.err and name in result.err
    if line:
        assert f"{path}:{line}:" in result.err, result.err


# One of each kind: (file, line, key, environment).
KINDS = {
    "an unknown key": ("agent:\n  drain: 1s\n", 2, "agent.drain", {}),
    "another type": ("metrics:\n  enabled: 7\n", 2, "metrics.enabled", {}),
    "out of range": ("server:\n  port: 65536\n", 2, "server.port", {}),
    "no unit": ("agent:\n  drain_timeout: 10\n", 2, "agent.drain_timeout", {}),
    "a wrong DSN": ("database:\n  dsn: postgres://u:p@h:port/d\n", 2, "database.dsn", {}),
    "a secret that cannot be read": ("", None, "REDIS_PASSWORD_FILE", {"REDIS_PASSWORD_FILE": "{unreadable}"}),
    "a secret that is not there": ("", None, "DB_DSN_FILE", {"DB_DSN_FILE": "/nonexistent/secret"}),
    "a wrong DSN in the environment": ("", None, "DB_DSN", {"DB_DSN": "postgres://[::1/d"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program, args", [("gateway-agent", ()), ("gateway-api", ()), ("gatewayctl", ("user", "list")),
                                           ("gatewayctl", ("migrate", "up"))])
def test_nothing_is_started_with_a_wrong_setting(stack, program, args, kind):
    """Without --check-config: one line that names where and what, exit code 1, and no socket, folder or process of it."""
    text, line, key, env = KINDS[kind]
    unreadable = stack.layout.write("stack/unreadable", "secret\n", mode=0)
    state, sockets = stack.layout.path("nothing"), stack.layout.path("nothing-sock")
    text += "\n".join(f"{section}:\n  {rest}" for section, rest in (
        ("api", f"bind: unix@{sockets}"), ("usage", "bind: 127.0.0.1:1"), ("uploads", f"dir: {state}")) if f"{section}:" not in text)
    env = {**SECRETS, "AGENT_STATE_DIR": state, "AGENT_SPOP_BIND": f"unix@{sockets}",
           **{name: value.format(unreadable=unreadable) for name, value in env.items()}}
    path = stack.layout.write("stack/test-settings.yaml", text + "\n")
    result = stack.run_program(program, "--config", path, *args, env=env, timeout=20)
    assert result.rc == 1 and result.out == "", result
    assert result.err.count("\n") == 1 and result.err.startswith(program + ": ") and key in result.err, result
    if line:
        assert f"{path}:{line}: {key}: " in result.err, result
    assert not os.path.exists(state) and not os.path.exists(sockets)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name, value", [("SERVER_PORT", "x"), ("LOG_LEVEL", "loud"), ("UPLOADS_MAX_SIZE", "-1"),
                                         ("METRICS_ENABLED", "maybe"), ("AGENT_DRAIN_TIMEOUT", "1 s")])
def test_check_config_names_the_variable(stack, written, program, name, value):
    result = stack.run_program(program, "--config", written(""), "--check-config", env={**SECRETS, name: value})
    assert result.rc == 1 and name in result.err, result


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_that_is_not_there(stack, program):
    result = stack.run_program(program, "--config", "/nonexistent/gateway.yaml", "--check-config", env=SECRETS)
    assert result.rc == 1 and "/nonexistent/gateway.yaml" in result.err, result


@pytest.mark.parametrize("missing, said", [("AUTH_KEY_PEPPER", "auth.key_pepper"), ("IMGPROXY_KEY", "imgproxy.key"),
                                           ("IMGPROXY_SALT", "imgproxy.salt")])
def test_the_agent_says_what_it_cannot_do_without(stack, written, missing, said):
    env = {name: value for name, value in SECRETS.items() if name != missing}
    result = stack.run_program("gateway-agent", "--config", written(""), "--check-config", env=env)
    assert result.rc == 1 and said in result.err, result


def test_the_settings_file_of_the_stack_is_good(stack):
    for program in PROGRAMS:
        assert stack.run_program(program, "--config", stack.config, "--check-config").rc == 0


# ---- who the programs run as: as root the tests see the refusal and the change, else that no root is there --------------

def test_root_needs_a_user_to_become(stack):
    for program in ("gateway-agent", "gateway-api"):
        if os.geteuid() != 0:
            assert all(os.stat(f"/proc/{pid}").st_uid != 0 for part in stack.parts.values() for pid in part.pids())
            continue
        for user, said in (("", "agent.user"), ("root", "root"), ("no-such-user-here", "no-such-user-here")):
            # Its own addresses: should it start all the same, it must not take the stack's.
            env = {"AGENT_USER": user, "AGENT_SPOP_BIND": "127.0.0.1:1", "API_BIND": "127.0.0.1:1", "METRICS_BIND": "127.0.0.1:1"}
            result = stack.run_program(program, "--config", stack.config, env=env, plain=True, timeout=20)
            assert result.rc == 1 and said in result.err, result


def test_as_root_all_of_the_agent_becomes_the_user(fresh_stack):
    stack = fresh_stack(start=False)
    stack.prepare()
    stack.start_servers()
    stack.migrate()
    account = stack.layout.account
    env = {**stack.base_environment(), **({"AGENT_USER": account.name} if os.geteuid() == 0 else {})}
    with open(os.path.join(stack.layout.logs, "agent.log"), "ab") as log:
        parent = subprocess.Popen([stack.layout.program(stack.program("gateway-agent")), "--config", stack.config],
                                  stdout=log, stderr=log, env=env, cwd="/", start_new_session=True)
    try:
        wait_until(lambda: stack["agent"].check() is None, 20, "the agent is ready")
        pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and session_of(pid) == parent.pid]
        assert len(pids) == 4, pids
        for pid in pids:
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
            assert set(status["Uid"].split()) == {str(account.uid)} and set(status["Gid"].split()) == {str(account.gid)}
            if os.geteuid() == 0:
                assert set(status["Groups"].split()) <= {str(account.gid)} and int(status["CapEff"], 16) == 0
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20) == 0
    finally:
        parent.kill()
        parent.wait()


def session_of(pid):
    try:
        return os.getsid(int(pid))
    except ProcessLookupError:
        return None
