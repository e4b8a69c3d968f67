#!/usr/bin/python3
""".env.example: every setting of spoa/base/settings.def by its environment name, with its default and what it means.

    env_example.py write     writes the file
    env_example.py check     says whether it is as it should be
"""

import os
import re
import sys

import made

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TABLE = os.path.join(ROOT, "spoa/base/settings.def")
DOCUMENT = os.path.join(ROOT, ".env.example")
_ROW = re.compile(r'^SETTING\(\w+,\s*\w+,\s*"([^"]*)",\s*"([^"]*)",\s*"([^"]*)",[^"]*"([^"]*)"\)$', re.MULTILINE)
# What stands there without a #: who copies the file gets these as they are. The environment wins over a settings file, so
# that a default of anything else would undo what is written there.
_PLAIN = {"SERVER_PORT", "SERVER_READ_TIMEOUT", "SERVER_WRITE_TIMEOUT", "DB_DRIVER", "REDIS_PASSWORD", "REDIS_DB",
          "LOG_LEVEL", "METRICS_ENABLED"}
_HEAD = """\
# Every setting by its name in the environment, with its default. Made by `make docs` from spoa/base/settings.def;
# docs/configuration.md says more. Copy what you need into your shell or service file: a variable wins over the settings
# file. Any of them can also come from a file of one line: NAME_FILE=/run/secrets/name. `make run` and `make up` read them
# too, and make themselves what they need of addresses, folders and secrets; they start no PostgreSQL and no Redis of their
# own when DB_DSN and REDIS_ADDR are set.
"""
_TAIL = """
# ---- programs ----

# the settings file, when there is no --config
#GATEWAY_CONFIG=/etc/imgproxy-gateway/config.yaml

# ---- the local stack (make run, make up) alone ----

# the HAProxy to run
#HAPROXY_BIN=/usr/sbin/haproxy
# a real imgproxy; without one on the PATH the stand-in of tests/standin runs
#IMGPROXY_BIN=/usr/local/bin/imgproxy
# where the two image servers listen, and their weights
#IMGPROXY_1_ADDR=127.0.0.1:48080
#IMGPROXY_2_ADDR=127.0.0.1:48081
#IMGPROXY_1_WEIGHT=70
#IMGPROXY_2_WEIGHT=30
# as root: the system user whom everything runs as
#GATEWAY_USER=imgproxy-gw
"""


def as_text():
    with open(TABLE, encoding="utf-8") as file:
        table = file.read()
    rows = _ROW.findall(table)
    assert len(rows) == len(re.findall(r"^SETTING\(", table, re.MULTILINE)), "a row of settings.def has an unknown form"
    lines, section = [_HEAD], None
    for name, env, default, text in rows:
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            lines += [*([""] if lines[1:] else []), f"# ---- {section} ----", ""]
        lines.append(f"# {text}\n{'' if env in _PLAIN else '#'}{env}={default}")
    return "\n".join(lines) + "\n" + _TAIL


def main(what):
    return made.settle(what, DOCUMENT, as_text(), ".env.example is not what spoa/base/settings.def says")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
