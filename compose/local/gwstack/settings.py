"""The table of settings (spoa/base/settings.def): what the environment gives, and the file that the programs read."""

import json
import os
import re

from .errors import StackError

_ROW = re.compile(r'^SETTING\((\w+),\s*(\w+),\s*"([^"]*)",\s*"([^"]*)",\s*"([^"]*)",[^"]*?,\s*([A-Z_| 0]+),$',
                  re.MULTILINE)
_SIZE_UNITS = {"": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}


class Setting:
    def __init__(self, kind, name, env, default, flags):
        self.kind, self.name, self.env, self.default = kind, name, env, default
        # Never printed at all; without its password.
        self.secret, self.url_secret = "SETTING_SECRET" in flags, "SETTING_URL_SECRET" in flags


def load_table(root):
    """The rows in the order of the file, by environment name."""
    path = os.path.join(root, "spoa/base/settings.def")
    with open(path, encoding="utf-8") as file:
        rows = _ROW.findall(file.read())
    return {row[3]: Setting(*row[1:]) for row in rows}


def size_bytes(text):
    """"100MB" -> 104857600, as the programs read it."""
    match = re.fullmatch(r"(\d+)(KB|MB|GB|)", text)
    if not match:
        raise StackError(f'settings: "{text}" is not a size, as 512, 16KB, 100MB or 1GB')
    return int(match[1]) * _SIZE_UNITS[match[2]]


def duration_seconds(text):
    """"10m" -> 600, as the programs read it, rounded up."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", text)
    if not match:
        raise StackError(f'settings: "{text}" is not a time with its unit, as 500ms, 30s, 5m or 1h')
    return -(-int(match[1]) * {"ms": 1, "s": 1000, "m": 60000, "h": 3600000}[match[2]] // 1000)


def to_yaml(table, values, backends):
    """The settings file: `values` by environment name, `backends` as (url, weight)."""
    lines = ["# Written by compose/local/stack at each start: changes here are lost. Set the environment instead."]
    tree = {}
    for env, setting in table.items():
        if env in values:
            node = tree
            *sections, leaf = setting.name.split(".")
            for section in sections:
                node = node.setdefault(section, {})
            # A JSON string is a double-quoted YAML string.
            node[leaf] = json.dumps(str(values[env]))
    _write(tree, 0, lines)
    lines.append("backends:")
    for url, weight in backends:
        lines.append(f"  - url: {json.dumps(url)}")
        lines.append(f"    weight: {weight}")
    return "\n".join(lines) + "\n"


def _write(node, depth, lines):
    for key, value in node.items():
        if isinstance(value, dict):
            lines.append(f"{'  ' * depth}{key}:")
            _write(value, depth + 1, lines)
        else:
            lines.append(f"{'  ' * depth}{key}: {value}")
