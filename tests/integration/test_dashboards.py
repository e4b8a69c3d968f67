"""Dashboards, rules and alerts against the running stack: Debian's Prometheus scrapes agent and HAProxy, and every query
is asked there; those of the tenant's dashboard are asked in PostgreSQL, as the role that docs/operations.md makes."""

import datetime
import json
import os
import re
import signal
import socket

import psycopg2
import pytest
import yaml

import helpers_http as http
import processes
from gwstack import ports
from helpers import ROOT, image_path, wait_until
from helpers_records import wait_shipped
from helpers_spop import Client
from prometheus import Prometheus, load_rules

FOLDER = os.path.join(ROOT, "configs/grafana")
RULES = load_rules()
# Grafana's variables, as these tests fill them in: all agents and HAProxies, and a window of ten scrapes.
VARIABLES = {"$agent": ".*", "$haproxy": ".*", "$__rate_interval": "10s"}
SELECTOR = re.compile(r"((?:instance\w*:)?(?:gateway|haproxy)_[\w:]+|\bup\b)(\{[^}]*\})?")


def dashboard(name):
    with open(os.path.join(FOLDER, "dashboards", name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def panels(name):
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expression(target):
    text = target["expr"]
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, f"a variable that the test does not know: {text}"
    return text


@pytest.fixture(scope="module")
def gateway(module_stack):
    return module_stack({"HAPROXY_METRICS_BIND": f"127.0.0.1:{ports.find_free()}"})


@pytest.fixture(scope="module")
def tenant(gateway, small_jpeg):
    """A user with a quota who does all that there is to do."""
    key = gateway.make_key()
    gateway.done("quota", "set", key.user.name, "--requests", "100", "--bandwidth-mb", "50")
    gateway.settle()
    source = gateway.uploaded(key, small_jpeg)["source"]
    for width in range(1, 21):
        assert gateway.get(image_path(source, f"rs:fill:{width}:9"), key).status == 200
    gateway.get("/img/unsafe/nonsense", key)
    wait_shipped(gateway)
    return key, image_path(source)


@pytest.fixture(scope="module")
def prometheus(gateway, tenant):
    """It has watched a gateway in use: verdicts of several kinds, a worker that was killed, a bad frame."""
    part = Prometheus(gateway)
    gateway.parts["prometheus"] = part  # so that its log is kept
    part.start()
    try:
        part.wait_ready()
        wait_until(lambda: len(part.query('up{job=~"gateway-.*"} == 1')) == 2, 20, "both are scraped")
        key, path = tenant
        with Client(gateway["agent"].workers()[0]) as client:
            client.send(b"\0\0\0\x03abc")
            client.read_all()
        processes.kill_worker(gateway, 0)
        limited = gateway.make_key()
        gateway.done("limit", "set", limited.user.name, "--per-minute", "1", "--burst", "1")
        gateway.settle()
        for round_ in range(6):
            for _ in range(10):
                gateway.get(path, key)
                gateway.get(path, limited)
                gateway.get(path, "nonsense")
                gateway.get(path)
            wanted = 10 * (round_ + 1)
            wait_until(lambda: part.query(f'gateway_verdicts_total{{code="key_missing"}} >= {wanted}'), 20)  # noqa: B023
        wait_until(lambda: part.query("instance:haproxy_responses_5xx:ratio5m >= 0"), 20, "the rules have numbers")
        yield part
    finally:
        part.stop()
        del gateway.parts["prometheus"]


# ---- Prometheus ---------------------------------------------------------------------------------------------------------


def test_every_panel_of_the_operator_shows_something(prometheus):
    bad = []
    for panel in panels("operator"):
        for target in panel["targets"]:
            series = prometheus.query(expression(target))
            if not series:
                bad.append(f"{panel['title']}: no series: {target['expr']}")
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                if not all(label in one["metric"] for one in series):
                    bad.append(f"{panel['title']}: no label {label}: {target['expr']}")
    assert not bad, "\n".join(bad)


def test_variables_of_the_operator_find_both(prometheus, gateway):
    wanted = {"agent": gateway.settings["METRICS_BIND"], "haproxy": gateway.settings["HAPROXY_METRICS_BIND"]}
    for variable in dashboard("operator")["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            assert {one["metric"][label] for one in prometheus.query(metric)} == {wanted[variable["name"]]}


def test_every_rule_is_evaluated(prometheus):
    def rules():
        return [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), 20, "all rules have run")
    assert [(rule["name"], rule["lastError"]) for rule in rules() if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in rules()} == {rule.get("alert") or rule["record"] for rule in RULES}


@pytest.mark.parametrize("rule", [rule for rule in RULES if "record" in rule], ids=lambda rule: rule["record"])
def test_every_recording_rule_has_numbers(prometheus, rule):
    series = wait_until(lambda: prometheus.query(f"{rule['record']} >= 0"), 20, "a number")
    assert series


@pytest.mark.parametrize("rule", [rule for rule in RULES if "alert" in rule], ids=lambda rule: rule["alert"])
def test_what_alerts_ask_for_is_there(prometheus, rule):
    """No alert waits for a metric, or for a value of a label, that never comes."""
    prometheus.query(rule["expr"])
    selectors = SELECTOR.findall(rule["expr"])
    assert selectors
    for name, labels in selectors:
        assert prometheus.query(name + labels), name + labels


def test_a_healthy_gateway_has_no_alerts(prometheus, gateway):
    """But for those that the bad frame and the killed worker of this file may cause."""
    active = {alert["labels"]["alertname"] for alert in prometheus.api("alerts")["alerts"]}
    # Disk and time are this machine's; a worker that has just begun is without Redis for a moment.
    assert active <= {"GatewayKeysGuessed", "GatewayRefusalsUnusual", "GatewayWorkerRestarts", "GatewayLeasesMissed",
                      "GatewayDiskNearlyFull", "GatewayVerdictSlow"}


# ---- Prometheus: what happens is seen -----------------------------------------------------------------------------------


def holds(prometheus, alert):
    """Until the condition of an alert is true, whatever its `for` is; returns the series."""
    expr = next(rule["expr"] for rule in RULES if rule.get("alert") == alert)
    return wait_until(lambda: prometheus.query(expr), 20, f"the condition of {alert}")


def test_servers_that_are_away(prometheus, gateway):
    for part in ("postgres", "redis", "imgproxy-2", "api"):
        gateway[part].stop()
    try:
        for alert in ("GatewayPostgresDown", "GatewayRedisDown", "GatewayApiDown", "GatewayImageServerDown"):
            series = holds(prometheus, alert)
            assert len(series) == 1, series
        assert series[0]["metric"]["server"] == "img2"
        gateway["imgproxy-1"].stop()
        holds(prometheus, "GatewayNoImageServer")
    finally:
        for part in ("postgres", "redis", "imgproxy-1", "imgproxy-2", "api"):
            gateway[part].start()
        for part in ("postgres", "redis", "imgproxy-1", "imgproxy-2", "api"):
            gateway[part].wait_ready()
    wait_until(lambda: not prometheus.query("gateway_postgres_up == 0 or gateway_redis_up == 0"), 30, "both are back")


def test_verdict_workers_that_are_away(prometheus, gateway):
    """The parent stands still meanwhile, or it would replace them at once."""
    processes.wait_all_up(gateway)
    os.kill(gateway["agent"].pid, signal.SIGSTOP)
    try:
        processes.kill_worker(gateway, 1)
        assert holds(prometheus, "GatewayVerdictWorkerDown")[0]["metric"]["server"] == "w2"
        processes.kill_worker(gateway, 0)
        holds(prometheus, "GatewayNoVerdictWorker")
    finally:
        os.kill(gateway["agent"].pid, signal.SIGCONT)
    processes.wait_all_up(gateway)


def test_lines_of_strangers(prometheus, gateway):
    host, _, port = gateway.settings["USAGE_BIND"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(("<134>1 t - h 1 - " + "\t".join(["gwu1", "not-the-token-of-it", *"xxxxxxxxx"])).encode(), (host, int(port)))
        sock.sendto(b"<134>1 t - h 1 - nonsense", (host, int(port)))
    holds(prometheus, "GatewayUsageBadToken")
    holds(prometheus, "GatewayUsageBadForm")


def test_agent_and_haproxy_that_are_away(prometheus, gateway):
    for part, alert in (("haproxy", "GatewayHAProxyDown"), ("agent", "GatewayAgentDown")):
        gateway[part].stop()
        try:
            assert holds(prometheus, alert)[0]["metric"]["instance"]
        finally:
            gateway[part].start()
            gateway[part].wait_ready()


# ---- PostgreSQL ---------------------------------------------------------------------------------------------------------


def fill_in(sql, user):
    """As Grafana does it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    begin = (now - datetime.timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN '{begin}' AND '{now.strftime('%Y-%m-%dT%H:%M:%SZ')}'", sql)
    sql = sql.replace("${user:sqlstring}", "'" + str(user).replace("'", "''") + "'")
    assert "$" not in sql, f"a variable that the test does not know: {sql}"
    return sql


@pytest.fixture(scope="module")
def grafana(gateway):
    """A cursor of the role that docs/operations.md tells people to make."""
    with open(os.path.join(ROOT, "docs/operations.md"), encoding="utf-8") as file:
        sql = re.search(r"^CREATE ROLE grafana .*?;\nGRANT .*? TO grafana;$", file.read(), re.MULTILINE | re.DOTALL)[0]
    gateway.psql(sql.replace("'…'", "'of-a-test'"))
    host, port = gateway["postgres"].where().split(":")
    connection = psycopg2.connect(host=host, port=port, user="grafana", password="of-a-test", dbname="imgproxy_gateway")
    connection.autocommit = True
    with connection.cursor() as cursor:
        yield cursor
    connection.close()
    gateway.psql("DROP OWNED BY grafana; DROP ROLE grafana;")


def test_every_panel_of_the_tenant_shows_something(gateway, grafana, tenant):
    key, _ = tenant
    wait_shipped(gateway)
    variable = next(one for one in dashboard("tenant")["templating"]["list"] if one["name"] == "user")
    grafana.execute(variable["query"])
    assert [column.name for column in grafana.description] == ["__text", "__value"]
    users = dict(grafana.fetchall())
    assert users[key.user.name] == str(key.user.id)
    for panel in panels("tenant"):
        target, = panel["targets"]
        grafana.execute(fill_in(target["rawSql"], key.user.id))
        rows = grafana.fetchall()
        assert rows, panel["title"]
        if target["format"] == "time_series":
            assert grafana.description[0].name == "time" and isinstance(rows[0][0], datetime.datetime)
        if panel["type"] == "stat":
            assert len(rows) == 1 and len(rows[0]) == 1 and float(rows[0][0]) > 0, panel["title"]


def test_numbers_of_the_tenant(gateway, grafana, tenant):
    """The panels say what the rows say."""
    key, _ = tenant
    wait_shipped(gateway)
    shown = {}
    for panel in panels("tenant"):
        if panel["type"] == "stat":
            grafana.execute(fill_in(panel["targets"][0]["rawSql"], key.user.id))
            shown[panel["title"]] = float(grafana.fetchone()[0])
    rows, admitted, spent, billed = gateway.sql(
        "SELECT count(*), count(*) FILTER (WHERE code = 'allow'), count(*) FILTER (WHERE code = 'allow' AND kind <> 'api'),"
        " sum(billed_bytes) FROM request_logs WHERE user_id = %s", [key.user.id])[0]
    assert shown == {"Requests": rows, "Admitted": admitted, "Refused": rows - admitted, "Billed": float(billed),
                     "Of the requests' quota": spent,
                     "Of the bandwidth's quota": pytest.approx(100 * float(billed) / (50 << 20), abs=0.02)}


def test_the_role_reads_nothing_else(grafana):
    for table in ("users", "api_keys", "request_logs", "usage_monthly"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            grafana.execute(f"SELECT * FROM {table} LIMIT 1")


# ---- the files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, kind", [("operator", "prometheus"), ("tenant", "postgres")])
def test_the_form_of_a_dashboard(name, kind):
    found = dashboard(name)
    assert found["uid"] == f"gateway-{name}" and found["title"] and found["description"]
    variable = found["templating"]["list"][0]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", kind)
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    for panel in panels(name):
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": kind, "uid": "${datasource}"}, panel["title"]


def test_the_provisioning_files():
    def load(path):
        with open(os.path.join(FOLDER, "provisioning", path), encoding="utf-8") as file:
            return yaml.safe_load(file)

    sources = load("datasources/gateway.yml")["datasources"]
    assert {source["type"] for source in sources} == {"prometheus", "postgres"}
    assert "password" not in json.dumps([{**source, "secureJsonData": None} for source in sources])
    with open(os.path.join(ROOT, "docs/operations.md"), encoding="utf-8") as file:
        document = file.read()
    for name in re.findall(r"\$\{(\w+)\}", json.dumps(sources)):
        assert name in document, name
    provider, = load("dashboards/gateway.yml")["providers"]
    assert provider["type"] == "file" and provider["options"]["path"]


def test_haproxys_metrics_stand_at_their_own_address_alone(gateway):
    answer = http.send_raw(gateway.settings["HAPROXY_METRICS_BIND"], http.build("GET", "/metrics"))
    assert answer.status == 200 and b"haproxy_process_build_info" in answer.body
    assert http.send_raw(gateway.settings["HAPROXY_METRICS_BIND"], http.build("GET", "/img/x")).status == 404
    assert gateway.get("/metrics").status == 404
