#!/usr/bin/python3
"""Each alert has its page, a test in which it is silent, and one in which it fires; each query of rules and dashboards
asks for metrics that the agent has."""

import json
import os
import re
import sys

import yaml

import metrics_doc

ROOT = metrics_doc.ROOT
RUNBOOK = "docs/operations.md#"
HEADS = re.compile(r"^#+ (.*)$", re.MULTILINE)


def load(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return yaml.safe_load(file)


def expressions():
    """(where, expression) of all rules and panels."""
    for name in ("rules", "alerts"):
        for group in load(f"configs/prometheus/{name}.yml")["groups"]:
            for rule in group["rules"]:
                yield rule.get("alert") or rule["record"], rule["expr"]
    folder = os.path.join(ROOT, "configs/grafana/dashboards")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            dashboard = json.load(file)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                if "expr" in target:
                    yield f"{name}: {panel['title']}", target["expr"]


def main():
    bad = []
    rules = [rule for group in load("configs/prometheus/alerts.yml")["groups"] for rule in group["rules"]]
    with open(os.path.join(ROOT, "docs/operations.md"), encoding="utf-8") as file:
        anchors = [re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in HEADS.findall(file.read())]
    silent, firing = set(), set()
    for name in ("alerts", "rules"):
        for test in load(f"tests/promtool/{name}.yml")["tests"]:
            for case in test.get("alert_rule_test", ()):
                (firing if case["exp_alerts"] else silent).add(case["alertname"])
    for rule in rules:
        name = rule["alert"]
        if name not in firing or name not in silent:
            bad.append(f"{name}: tests/promtool has no test in which it {'is silent' if name in firing else 'fires'}")
        url = rule["annotations"].get("runbook_url", "")
        if not url.startswith(RUNBOOK) or anchors.count(url[len(RUNBOOK):]) != 1 or url[len(RUNBOOK):] != name.lower():
            bad.append(f"{name}: its runbook_url {url!r} is not its page in docs/operations.md")
        if rule["labels"].get("severity") not in ("critical", "warning", "info") or not rule["annotations"].get("summary"):
            bad.append(f"{name}: it has no severity or no summary")
    names = [rule["alert"] for rule in rules]
    if len(set(names)) != len(names):
        bad.append("an alert's name stands twice")
    for name in sorted(set(firing | silent) - set(names)):
        bad.append(f"{name}: is tested, and is no alert")
    known = set()
    for row in metrics_doc.load_table():
        known |= {row.name} if row.kind != "histogram" else {row.name + end for end in ("_bucket", "_sum", "_count")}
    for where, expr in expressions():
        for name in re.findall(r"(?<![:\w])gateway_\w+(?!:)\b", expr):
            if name not in known:
                bad.append(f"{where}: the agent has no metric {name}")
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
