"""The files of the stack in containers, held against the table of settings and against each other; nothing is started
(tests/containers does that)."""

import os
import re
import subprocess

import pytest
from gwstack import settings as gwsettings

from helpers import ROOT

TABLE = {setting.name: setting for setting in gwsettings.load_table(ROOT).values()}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


COMPOSE = read("compose/docker-compose.yml")
EXAMPLE = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", read("compose/.env.example"), re.MULTILINE)


def test_the_example_environment_knows_no_other_names():
    names = {setting.env for setting in TABLE.values()} | set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE))
    names |= set(re.findall(r"\$\{([A-Z0-9_]+)", read("compose/haproxy.sh"))) | {"COMPOSE_PROJECT_NAME"}
    assert {name for name, _ in EXAMPLE if not name.startswith("IMGPROXY_")} <= names


def test_the_example_environment_has_what_compose_asks_for():
    asked = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^}]*)\}", COMPOSE))
    names = dict(EXAMPLE)
    # For those that build and test.
    for name in set(asked) - {"ENV_FILE"}:
        assert name in names, name
    for name in ("SERVER_PORT", "PUBLISH_ADDR", "PROMETHEUS_PORT", "GRAFANA_PORT", "SECRETS_GID", "GATEWAY_NET", "GATEWAY_TAG",
                 "REDIS_IMAGE", "HAPROXY_IMAGE", "IMGPROXY_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"):
        assert names[name] == asked[name], name


def test_the_example_environment_has_the_defaults():
    for name, value in EXAMPLE:
        setting = next((setting for setting in TABLE.values() if setting.env == name), None)
        if setting is not None and setting.default:
            assert value == setting.default, name


def test_image_servers_are_bounded():
    """What the threat model counts on, in both of them and whatever .env says."""
    for name in ("ALLOW_LOOPBACK_SOURCE_ADDRESSES", "ALLOW_LINK_LOCAL_SOURCE_ADDRESSES", "ALLOW_PRIVATE_SOURCE_ADDRESSES",
                 "ALLOW_SECURITY_OPTIONS"):
        assert re.search(rf'^    IMGPROXY_{name}: "false"$', COMPOSE, re.MULTILINE), name
    assert re.search(r'^    IMGPROXY_MAX_REDIRECTS: "0"$', COMPOSE, re.MULTILINE)
    assert not {name for name, _ in EXAMPLE} & {"IMGPROXY_MAX_REDIRECTS", "IMGPROXY_ALLOW_PRIVATE_SOURCE_ADDRESSES"}


def test_each_secret_comes_from_a_file():
    """All that the table calls secret, but for the token that is there only while it is being changed."""
    rows = re.findall(r'^SETTING\(\w+,\s*\w+,\s*"[^"]*",\s*"([A-Z_]+)",(.*?),$', read("spoa/base/settings.def"), re.MULTILINE)
    secrets = {env for env, rest in rows if "SECRET" in rest} - {"USAGE_PREVIOUS_TOKEN"}
    assert {"DB_DSN", "AUTH_KEY_PEPPER", "API_TOKEN"} <= secrets
    files = dict(re.findall(r"^  ([A-Z_]+)_FILE: /run/secrets/(\w+)$", COMPOSE, re.MULTILINE))
    assert secrets <= set(files)
    made = set(re.findall(r"^secret (\w+)", read("compose/prepare.sh"), re.MULTILINE))
    declared = set(re.findall(r"^    file: \$\{SECRETS_DIR:-\./secrets\}/(\w+)$", COMPOSE, re.MULTILINE))
    assert set(files.values()) <= declared == made


def test_secrets_are_made_once(tmp_path):
    env = {**os.environ, "ENV_FILE": str(tmp_path / "env"), "SECRETS_DIR": str(tmp_path / "secrets")}
    script = os.path.join(ROOT, "compose/prepare.sh")
    first = subprocess.run([script], env=env, capture_output=True, text=True, check=True)
    files = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert len(set(files.values())) == len(files) >= 11
    for name, text in files.items():
        assert (tmp_path / "secrets" / name).stat().st_mode & 0o777 == 0o640
        assert text.strip() not in first.stdout + first.stderr
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o750
    assert files["db_password"].strip() in files["db_dsn"]
    group = (tmp_path / "secrets" / "db_dsn").stat().st_gid
    assert f"SECRETS_GID={group}\n" in (tmp_path / "env").read_text() and group != 0
    again = subprocess.run([script], env=env, capture_output=True, text=True, check=True)
    assert again.stdout == "" and {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == files


@pytest.fixture
def haproxy_env(tmp_path):
    """A function that runs compose/haproxy.sh with a HAProxy that prints its environment."""
    program = tmp_path / "haproxy"
    program.write_text("#!/bin/sh\nexec env\n")
    program.chmod(0o755)

    def run(**env):
        return subprocess.run(["sh", os.path.join(ROOT, "compose/haproxy.sh")], capture_output=True, text=True, check=False,
                              env={"PATH": f"{tmp_path}:/usr/bin:/bin", **env})
    return run


def test_haproxy_gets_numbers(haproxy_env):
    done = haproxy_env(UPLOADS_MAX_SIZE="16KB", IMAGES_CACHE_MAX_OBJECT="512", IMAGES_CACHE_MAX_AGE="2h")
    assert done.returncode == 0, done
    for line in ("UPLOADS_MAX_SIZE_BYTES=16384", "IMAGES_CACHE_OBJECT_BYTES=512", "IMAGES_CACHE_SECONDS=7200"):
        assert line in done.stdout.splitlines()
    defaults = haproxy_env().stdout.splitlines()
    by_env = {setting.env: setting.default for setting in TABLE.values()}
    assert by_env["UPLOADS_MAX_SIZE"] == "100MB" and "UPLOADS_MAX_SIZE_BYTES=104857600" in defaults
    assert by_env["IMAGES_CACHE_MAX_OBJECT"] == "1MB" and "IMAGES_CACHE_OBJECT_BYTES=1048576" in defaults
    assert by_env["IMAGES_CACHE_MAX_AGE"] == "10m" and "IMAGES_CACHE_SECONDS=600" in defaults
    for name in ("SERVER_READ_TIMEOUT", "SERVER_WRITE_TIMEOUT", "API_MAX_USER_REQUESTS"):
        assert f"{name}={by_env[name]}" in defaults


@pytest.mark.parametrize("name, value", [("UPLOADS_MAX_SIZE", "5TB"), ("UPLOADS_MAX_SIZE", "MB"), ("UPLOADS_MAX_SIZE", "1 MB"),
                                         ("IMAGES_CACHE_MAX_AGE", "10"), ("IMAGES_CACHE_MAX_AGE", "500ms")])
def test_haproxy_does_not_start_with_another(haproxy_env, name, value):
    done = haproxy_env(**{name: value})
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr.startswith(f'haproxy.sh: {name}: "{value}" is not a ') and done.stderr.count("\n") == 1


def test_every_variable_of_haproxy_is_set():
    """What haproxy/README.md lists comes from compose, from .env.example or from compose/haproxy.sh."""
    names = set()
    for row in re.findall(r"^\| (`[A-Z0-9_`, ]+`) \|", read("haproxy/README.md"), re.MULTILINE):
        names |= set(re.findall(r"[A-Z0-9_]+", row))
    service = re.search(r"^  haproxy:\n(.*?)^  \w", COMPOSE, re.MULTILINE | re.DOTALL)[1]
    given = set(re.findall(r"^      ([A-Z0-9_]+):", service, re.MULTILINE)) | {name for name, _ in EXAMPLE}
    given |= set(re.findall(r"target: ([A-Z_]+)", service))
    given |= set(re.findall(r"^([A-Z0-9_]+)=", read("compose/haproxy.sh"), re.MULTILINE))
    assert names and names <= given, names - given
