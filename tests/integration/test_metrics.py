"""The agent's stats port."""

import subprocess

import pytest

import helpers_http as http
from helpers import image_path, wait_until

# The contract: type and labels of each name. Those behind the empty line are more than it asks for.
FAMILIES = {
    "gateway_verdicts_total": ("counter", "code"), "gateway_verdict_seconds": ("histogram", ""),
    "gateway_spop_connections": ("gauge", ""), "gateway_spop_frames_total": ("counter", "type"),
    "gateway_spop_errors_total": ("counter", "reason"), "gateway_usage_records_total": ("counter", "result"),
    "gateway_usage_spool_bytes": ("gauge", ""), "gateway_usage_lag_seconds": ("gauge", ""),
    "gateway_usage_lost_total": ("counter", "reason"), "gateway_policy_users": ("gauge", ""),
    "gateway_policy_keys": ("gauge", ""), "gateway_policy_generation": ("gauge", ""),
    "gateway_policy_age_seconds": ("gauge", ""), "gateway_postgres_up": ("gauge", ""), "gateway_redis_up": ("gauge", ""),
    "gateway_leases_total": ("counter", "result"), "gateway_worker_restarts_total": ("counter", "worker,reason"),
    "gateway_build_info": ("gauge", "version"), "gateway_backend_up": ("gauge", "backend"),
    "gateway_backend_weight": ("gauge", "backend"),

    "gateway_stale_requests_total": ("counter", ""), "gateway_shadow_refusals_total": ("counter", "limit"),
    "gateway_quota_warnings_total": ("counter", "quota,percent"), "gateway_usage_up": ("gauge", ""),
    "gateway_usage_memory_bytes": ("gauge", ""), "gateway_disk_free_bytes": ("gauge", ""),
    "gateway_disk_size_bytes": ("gauge", ""), "gateway_configured": ("gauge", "part"),
    "gateway_reconcile_differences": ("gauge", ""), "gateway_reconcile_timestamp_seconds": ("gauge", ""),
    "gateway_tls_certificate_expiry_timestamp_seconds": ("gauge", ""),
}


def test_names_types_and_labels(stack):
    # HAProxy is asked for its servers once a second.
    wait_until(lambda: "gateway_backend_up{" in stack.metrics().text, 5)
    metrics = stack.metrics()
    assert set(metrics.helps) == set(metrics.types)
    labels = {}
    for name, have in metrics.values:
        family = name
        for ending in ("_bucket", "_sum", "_count"):
            if metrics.types.get(name[:-len(ending)]) == "histogram" and name.endswith(ending):
                family = name[:-len(ending)]
        assert family in metrics.types, name
        labels.setdefault(family, set()).add(frozenset(label for label, _ in have) - {"le"})
    for name, (kind, wanted) in FAMILIES.items():
        assert metrics.types[name] == kind and labels[name] == {frozenset(wanted.split(",")) - {""}}, name


def test_promtool_finds_nothing(stack):
    """Types, helps, names: as Prometheus' own lint wants them."""
    done = subprocess.run(["promtool", "check", "metrics"], input=stack.stats_page("/metrics").body, capture_output=True,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_content_type(stack):
    answer = stack.stats_page("/metrics")
    assert answer.header("Content-Type").startswith("text/plain; version=0.0.4")
    assert answer.body.endswith(b"\n")


def test_verdicts_are_counted_by_code(stack, owner, source):
    def counts():
        metrics = stack.metrics()
        return [metrics.get("gateway_verdicts_total", code=code) for code in ("allow", "key_missing", "key_invalid")]

    before = counts()
    for key in (owner, owner, None, "nonsense"):
        stack.get(image_path(source), key)
    assert [after - begin for after, begin in zip(counts(), before)] == [2, 1, 1]


def test_every_code_of_a_verdict_has_a_series_from_the_start(stack):
    metrics = stack.metrics()
    for code in ("allow", "key_missing", "key_invalid", "key_expired", "key_revoked", "user_inactive", "scope_missing",
                 "source_forbidden", "url_invalid", "bad_request", "not_found", "unavailable"):
        assert metrics.get("gateway_verdicts_total", code=code) >= 0


def test_the_histogram_holds_together(stack):
    stack.get("/img/x")
    metrics = stack.metrics()
    buckets = sorted((float(dict(labels)["le"]), value) for (name, labels), value in metrics.values.items()
                     if name == "gateway_verdict_seconds_bucket")
    values = [value for _, value in buckets]
    assert values == sorted(values) and buckets[-1][0] == float("inf")
    count = metrics.get("gateway_verdict_seconds_count")
    assert values[-1] == count == metrics.sum("gateway_verdicts_total") > 0
    assert 0 < metrics.get("gateway_verdict_seconds_sum") < count


def test_frames_are_counted(stack):
    def counts():
        metrics = stack.metrics()
        return [metrics.get("gateway_spop_frames_total", type=kind) for kind in ("notify", "ack", "haproxy_hello")]

    before = counts()
    for _ in range(10):
        stack.get("/img/x")
    after = counts()
    assert after[0] - before[0] == after[1] - before[1] == 10
    # Health checks say hello, too.
    wait_until(lambda: counts()[2] > before[2], what="a health check's hello")


def test_the_policy_is_counted(stack):
    before = stack.metrics()
    stack.make_key()
    after = stack.metrics()
    for name in ("gateway_policy_users", "gateway_policy_keys"):
        assert after.get(name) == before.get(name) + 1
    assert after.get("gateway_policy_generation") >= before.get("gateway_policy_generation") + 2
    assert 0 <= after.get("gateway_policy_age_seconds") < 60


def test_what_the_agent_leans_on(stack):
    metrics = stack.metrics()
    assert metrics.get("gateway_postgres_up") == metrics.get("gateway_redis_up") == 1
    assert metrics.get("gateway_spop_connections") >= 1


def test_the_version(stack):
    version = stack.done("--version")["version"]
    assert stack.metrics().get("gateway_build_info", version=version) == 1


def test_workers_have_series_before_anything_happens(stack):
    metrics = stack.metrics()
    for worker in ("verdict-1", "verdict-2", "keeper"):
        for reason in ("exited", "killed", "frozen", "not_ready"):
            assert metrics.get("gateway_worker_restarts_total", worker=worker, reason=reason) >= 0


@pytest.mark.parametrize("path, status", [("/healthz", 200), ("/readyz", 200), ("/", 404), ("/metrics/", 404), ("/x", 404)])
def test_pages(stack, path, status):
    assert stack.stats_page(path).status == status


def test_other_methods_are_refused(stack):
    for method in ("POST", "DELETE"):
        answer = http.send_raw(stack.settings["METRICS_BIND"], http.build(method, "/metrics", body=b""))
        assert answer.status == 405, answer


def test_head_has_no_body(stack):
    answer = http.send_raw(stack.settings["METRICS_BIND"], http.build("HEAD", "/metrics"), head_only=True)
    assert answer.status == 200 and int(answer.header("Content-Length")) > 0


def test_garbage_on_the_stats_port(stack):
    for data in (b"\0" * 100, b"GET /metrics\r\n\r\n", b"x" * 100_000, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with http.connect(stack.settings["METRICS_BIND"]) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(1)
                while sock.recv(65536):
                    pass
            except OSError:
                pass  # it may close as early as it likes
    assert stack.stats_page("/healthz").status == 200


def test_the_stats_port_is_not_reachable_through_haproxy(stack):
    for path in ("/metrics", "/readyz"):
        assert stack.get(path).status == 404
