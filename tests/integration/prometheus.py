"""Debian's Prometheus beside a stack: it scrapes the agent and HAProxy's exporter with the repository's own configuration,
but for addresses and intervals."""

import json
import os
import urllib.parse

import yaml

from gwstack import ports, probe
from gwstack.layout import find_program
from gwstack.process import Part

from helpers import ROOT

RULES = os.path.join(ROOT, "configs/prometheus")


def load_rules():
    """All rules, in the order of the files: with `alert` or with `record`."""
    found = []
    for name in ("rules.yml", "alerts.yml"):
        with open(os.path.join(RULES, name), encoding="utf-8") as file:
            found += [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
    return found


class Prometheus(Part):
    name = "prometheus"
    title = "Prometheus"

    def __init__(self, stack):
        super().__init__(stack)
        self.port = ports.find_free()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def ports(self):
        return [("127.0.0.1", self.port)]

    def prepare(self):
        with open(os.path.join(RULES, "prometheus.yml"), encoding="utf-8") as file:
            config = yaml.safe_load(file)
        targets = {"gateway-agent": self.stack.settings["METRICS_BIND"],
                   "gateway-haproxy": self.stack.settings["HAPROXY_METRICS_BIND"]}
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [os.path.join(self.layout.data(RULES), name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        self.layout.folder("prometheus")
        self.layout.write("stack/prometheus.yml", yaml.safe_dump(config))

    def command(self):
        return [self.layout.program(find_program("prometheus")), "--config.file", self.layout.path("stack/prometheus.yml"),
                "--storage.tsdb.path", self.layout.path("prometheus"), "--web.listen-address", self.address,
                "--log.level", "warn"]

    def check(self):
        return probe.http_ready(self.address, "/-/ready")

    def api(self, what, **arguments):
        """The data of an answer; an error of Prometheus (an expression that it cannot read) fails."""
        query = urllib.parse.urlencode(arguments)
        status, _, body = probe.http_request(self.address, f"/api/v1/{what}?{query}", timeout=20)
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "success", (arguments, answer)
        return answer["data"]

    def query(self, expression):
        """The series of an expression now, as [{metric, value}, …]."""
        data = self.api("query", query=expression)
        assert data["resultType"] == "vector", expression
        return data["result"]
