"""The rows: names, units, goals; how they are printed and kept."""

import json
import os
import time

from gwstack.errors import StackError
from gwstack.layout import Account, Layout

from . import ROOT

# name: (group, unit, digits, goal); a goal is ("<=" or ">=", number), or None for what is only told.
ROWS = {
    "verdict cost": ("verdict", "x", 2, ("<=", 1.10)),
    "agent above floor": ("verdict", "us", 1, ("<=", 2.5)),
    "throughput": ("verdict", "x", 2, (">=", 0.95)),
    "throughput against nginx auth_request": ("verdict", "x", 2, (">=", 2.0)),
    "throughput against nginx auth_request without an auth service": ("verdict", "x", 2, None),
    "added p50": ("latency", "us", 0, ("<=", 150.0)),
    "added p99": ("latency", "ms", 2, ("<=", 1.0)),
    "added p50 by the do-nothing agent": ("latency", "us", 0, None),
    "added p99 by the do-nothing agent": ("latency", "ms", 2, None),
    "resident 1,000,000 keys": ("size", "MiB", 0, ("<=", 400.0)),
    "restart to ready with PostgreSQL down": ("size", "s", 2, ("<=", 1.0)),
    "first load": ("size", "s", 1, ("<=", 15.0)),
    "verdict p99 during 10,000 changes": ("size", "ms", 2, ("<=", 1.0)),
    "change p99": ("change", "ms", 1, ("<=", 100.0)),
    "keeper's CPU for a scrape": ("scrape", "us", 0, None),
    "size of a scrape": ("scrape", "KB", 1, None),
    "verdict p99 added while scraped": ("scrape", "ms", 3, ("<=", 0.1)),
    "usage records over TCP and UDP": ("usage", "/s", 0, (">=", 50000.0)),
    "usage records over TCP": ("usage", "/s", 0, (">=", 50000.0)),
    "usage records over UDP": ("usage", "/s", 0, (">=", 50000.0)),
    "keeper's CPU for a usage record": ("usage", "us", 1, None),
    "PostgreSQL's CPU for a usage record": ("usage", "us", 1, None),
    "usage records lost or twice": ("usage", "records", 0, ("<=", 0.0)),
    "an hour's backlog drains": ("usage", "s", 0, ("<=", 120.0)),
    "verdict p99 added while a backlog drains": ("usage", "ms", 2, ("<=", 1.0)),
    "HAProxy's CPU for usage lines": ("usage", "us", 1, None),
    "HAProxy's CPU with usage lines": ("usage", "x", 2, None),
    "imgurl, verify and sign": ("imgurl", "us", 2, ("<=", 1.0)),
    "uploads of 1 MB against nginx": ("upload", "x", 2, (">=", 0.8)),
    "uploads of 100 MB against nginx": ("upload", "x", 2, (">=", 0.8)),
    "uploads of 1 MB against nginx and a sync": ("upload", "x", 2, None),
    "uploads of 100 MB against nginx and a sync": ("upload", "x", 2, None),
    "uploads of 1 MB": ("upload", "MB/s", 0, None),
    "uploads of 100 MB": ("upload", "MB/s", 0, None),
    "uploads of 1 MB by nginx": ("upload", "MB/s", 0, None),
    "uploads of 100 MB by nginx": ("upload", "MB/s", 0, None),
    "memory of gateway-api with 100 uploads": ("upload", "MiB", 1, ("<=", 64.0)),
}
GROUPS = ("verdict", "latency", "size", "change", "scrape", "usage", "imgurl", "upload")


class Row:
    """noise: share of the processors that others had, None where it does not matter; note: what is not whole."""

    def __init__(self, name, value, pairs, noise=None, note=""):
        self.group, self.unit, self.digits, self.goal = ROWS[name]
        self.name, self.value, self.pairs, self.noise, self.note = name, value, pairs, noise, note

    @property
    def met(self):
        """None without a goal. What could not be measured whole (a note) has not met it."""
        if self.goal is None:
            return None
        if self.note:
            return False
        sign, bound = self.goal
        return self.value <= bound if sign == "<=" else self.value >= bound

    def __str__(self):
        text = f"{self.name} {self.value:.{self.digits}f} {self.unit}"
        if self.goal is not None:
            text += f"   (goal {self.goal[0]} {self.goal[1]:g} {self.unit}: {'met' if self.met else 'MISSED'})"
        return text + (f"   [{self.note}]" if self.note else "")

    def as_json(self):
        return {"name": self.name, "value": round(self.value, 4), "unit": self.unit,
                "goal": f"{self.goal[0]} {self.goal[1]:g}" if self.goal else None, "met": self.met,
                "pairs": self.pairs, "group": self.group, "note": self.note,
                "noise": None if self.noise is None else round(self.noise, 3),
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def merge(kept, rows):
    """The rows of an earlier run, those of the groups that ran now replaced. What is no list of rows is dropped."""
    groups = {row.group for row in rows}
    old = [row for row in kept if isinstance(row, dict) and row.get("group") in GROUPS and row["group"] not in groups
           and row.get("name") in ROWS] if isinstance(kept, list) else []
    order = list(ROWS)
    return sorted(old + [row.as_json() for row in rows], key=lambda row: order.index(row["name"]))


def save(rows):
    """Writes var/bench.json and returns its path; StackError or OSError when it cannot be written."""
    layout = Layout(ROOT, os.path.join(ROOT, "var"), Account())
    layout.prepare_state()
    try:
        with open(layout.path("bench.json"), encoding="utf-8") as file:
            kept = json.load(file)
    except (OSError, ValueError):
        kept = []
    lines = ",\n".join(json.dumps(row) for row in merge(kept, rows))
    return layout.write("bench.json", f"[\n{lines}\n]\n", 0o644, mine=False)


__all__ = ["GROUPS", "ROWS", "Row", "StackError", "merge", "save"]
