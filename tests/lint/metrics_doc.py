#!/usr/bin/python3
"""docs/metrics.md: its table is made from spoa/agent/metrics.def.

    metrics_doc.py write     writes the table into the document
    metrics_doc.py check     says whether it is there as it should be
"""

import os
import re
import sys

import made

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TABLE = os.path.join(ROOT, "spoa/agent/metrics.def")
DOCUMENT = os.path.join(ROOT, "docs/metrics.md")
BEGIN, END = "<!-- made by `make docs` -->\n", "<!-- end of what is made -->\n"
_ROW = re.compile(r'^METRIC\((\w+), (COUNTER|GAUGE|HISTOGRAM), "([^"]*)", "([^"]*)",\s*"([^"]*)"\)$', re.MULTILINE)


class Metric:
    def __init__(self, kind, name, labels, text):
        self.kind, self.name, self.labels, self.help = kind.lower(), name, labels.split(",") if labels else [], text


def load_table():
    """The rows in the order of the file."""
    with open(TABLE, encoding="utf-8") as file:
        text = file.read()
    rows = [Metric(*row[1:]) for row in _ROW.findall(text)]
    assert len(rows) == len(re.findall(r"^METRIC\(", text, re.MULTILINE)), "a row of metrics.def has an unknown form"
    return rows


def as_text(rows):
    lines = ["| metric | type | what it means, and what to do |", "|---|---|---|"]
    for row in rows:
        labels = "{" + ",".join(row.labels) + "}" if row.labels else ""
        lines.append(f"| `{row.name}{labels}` | {row.kind} | {row.help} |")
    return "\n".join(lines) + "\n"


def main(what):
    with open(DOCUMENT, encoding="utf-8") as file:
        before = file.read()
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    after = f"{head}{BEGIN}\n{as_text(load_table())}\n{END}{tail}"
    return made.settle(what, DOCUMENT, after, "docs/metrics.md is not what spoa/agent/metrics.def says")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
