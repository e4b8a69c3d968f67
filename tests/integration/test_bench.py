"""tests/bench: the arithmetic of the rows, the load's histogram, and that floor and plain HAProxy serve. No timing."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import pytest

import helpers
from helpers_spop import Client, check
from helpers_usage import TRANSPORTS, Receiver

sys.path.insert(0, os.path.join(helpers.ROOT, "tests/bench"))

from gwstack import StackError, ports  # noqa: E402

from gwbench import data, measure, parts, rows, usage  # noqa: E402


class _Upstream(http.server.BaseHTTPRequestHandler):
    """200 to everything, and it remembers the paths."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/health":
            self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def upstream():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Upstream) as server:
        server.paths = []
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def part_of(stack):
    """Starts parts beside those of the session's stack, and ends them."""
    started = []

    def start(part):
        started.append(part)
        part.stop_signals = parts.AT_ONCE
        part.start()
        part.wait_ready()
        return part

    yield start
    for part in reversed(started):
        part.stop()


def _address(server):
    return "127.0.0.1:%d" % server.server_address[1]


def _status(port, path="/img/unsafe/plain/local:///a.jpg"):
    answer = helpers.http.send_raw(f"127.0.0.1:{port}", helpers.http.build("GET", path))
    return answer.status


# ---- arithmetic ---------------------------------------------------------------------------------------------------


def test_median_of_ratios_is_taken_pair_by_pair():
    # The second pair met a machine three times as slow; the ratio of the medians would say 1.5.
    assert measure.ratios([11, 33, 12], [10, 30, 8]) == pytest.approx([1.1, 1.1, 1.5])
    assert measure.median(measure.ratios([11, 33, 12], [10, 30, 8])) == pytest.approx(1.1)
    assert measure.median(measure.differences([5, 9, 7], [4, 4, 5])) == 2
    assert measure.median([4, 1, 3, 2]) == 2.5 and measure.median([7]) == 7
    for wrong in (lambda: measure.median([]), lambda: measure.ratios([1], [1, 2]), lambda: measure.differences([1], [])):
        with pytest.raises(ValueError):
            wrong()


def test_percentile_is_the_nearest_rank():
    values = list(range(200, 0, -1))
    assert measure.percentile(values, 0.99) == 198
    assert measure.percentile(values, 0.5) == 100
    assert measure.percentile([3], 0.01) == 3 and measure.percentile([1, 2], 1.0) == 2
    histogram = [[10, 10, 98], [100, 102, 1], [1000, 1010, 1]]
    assert measure.histogram_percentile(histogram, 0.5) == 10
    assert measure.histogram_percentile(histogram, 0.99) == 101
    assert measure.histogram_percentile(histogram, 1.0) == 1005
    with pytest.raises(ValueError):
        measure.histogram_percentile([], 0.5)


def test_proc_is_read():
    stat = "77 (a ) b) S 1 77 77 0 -1 4194560 100 200 0 0 %d %d 9 9 20 0 1 0 555 1 2 3" % (
        3 * measure.TICKS, 2 * measure.TICKS)
    assert measure.parse_stat(stat) == 5.0
    ended = "77 (a) S 1 77 77 0 -1 4194560 100 200 0 0 9 9 %d %d 20 0 1 0 555 1 2 3" % (4 * measure.TICKS, measure.TICKS)
    assert measure.parse_stat_children(ended) == 5.0
    assert measure.parse_schedstat("2500000000 77 3\n") == 2.5
    t = measure.TICKS
    assert measure.parse_machine(f"cpu  {t} {t} {2 * t} 999 99 {t} {t} {3 * t} 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n") == (6, 3)
    assert measure.parse_pss("ffff-ffff ---p 00000000 00:00 0 [rollup]\nRss:  99 kB\nPss:  12 kB\nPss_Anon: 3 kB\n") == 12288
    with pytest.raises(ValueError):
        measure.parse_pss("Rss: 5 kB\n")


def test_proc_of_a_running_process():
    """What this process burns shows in its CPU time, and the memory that it takes in its memory."""
    before, memory = measure.cpu_seconds([os.getpid()]), measure.resident_bytes([os.getpid()])
    block = bytearray(64 << 20)
    for at in range(0, len(block), 4096):
        block[at] = 1
    while os.times().user + os.times().system < 0.2 or measure.cpu_seconds([os.getpid()]) - before < 0.1:
        sum(range(10000))
    assert measure.resident_bytes([os.getpid()]) - memory > 48 << 20
    assert measure.cpu_seconds([os.getpid()]) - before >= 0.1
    assert measure.command_line(os.getpid())[0].endswith("python3")


def test_rows_say_whether_the_goal_is_met():
    assert str(rows.Row("verdict cost", 1.0649, 5)) == "verdict cost 1.06 x   (goal <= 1.1 x: met)"
    assert str(rows.Row("throughput", 0.9, 5)) == "throughput 0.90 x   (goal >= 0.95 x: MISSED)"
    part = rows.Row("change p99", 14.04, 100, note="not obeyed within 3 s: limit")
    assert part.met is False and str(part).startswith("change p99 14.0 ms   (goal <= 100 ms: MISSED)   [not obeyed")
    kept = [rows.Row("verdict cost", 2.0, 5).as_json(), rows.Row("first load", 9.0, 1).as_json(), {"name": "old"}, 7]
    merged = rows.merge(kept, [rows.Row("throughput", 0.97, 5)])
    assert [(row["name"], row["value"], row["met"]) for row in merged] == [
        ("throughput", 0.97, True), ("first load", 9.0, True)]
    assert rows.merge({"not": "a list"}, []) == []


def test_histogram_of_the_load():
    """Every number lies in its bucket, and a bucket is at most 1/32 wide."""
    numbers = [0, 1, 63, 64, 65, 1000, 123456, 10**9, 2**40 - 1, 2**40, 2**63, 2**64 - 2]
    done = subprocess.run([parts.program("load"), "--buckets", *map(str, numbers)], capture_output=True, text=True,
                          check=True)
    for number, line in zip(numbers, done.stdout.splitlines(), strict=True):
        begin, end = map(int, line.split())
        assert begin <= number <= end and end - begin <= begin / 32, (number, begin, end)


# ---- programs -----------------------------------------------------------------------------------------------------


def test_keys_are_those_of_the_agent(stack):
    """data.py makes keys and hashes as the agent does: one that stands in its table passes."""
    user = stack.make_user()
    made = stack.make_key(user)
    text = data.make_keys([made.id], seed=9)[made.id]
    assert data.key_hash(made.key, stack.settings["AUTH_KEY_PEPPER"]) == stack.sql(
        "SELECT key_hash FROM api_keys WHERE id = %s", [made.id])[0][0]
    stack.sql("UPDATE api_keys SET key_hash = %s WHERE id = %s",
              [data.key_hash(text, stack.settings["AUTH_KEY_PEPPER"]), made.id])
    stack.settle()
    assert stack.get("/img/unsafe/plain/local:///a.jpg", text).status == 404
    assert stack.get("/img/unsafe/plain/local:///a.jpg", made.key).status == 401


def test_floor_serves_through_haproxy(stack, part_of, upstream):
    floor = part_of(parts.FloorAgent(stack))
    haproxy = part_of(parts.OtherHAProxy(stack, "haproxy-floor", floor, images=_address(upstream)))
    helpers.wait_until(lambda: _status(haproxy.port) == 200, what="a request passes with the floor's verdict")
    count = len(upstream.paths)
    assert _status(haproxy.port) == 200
    assert len(upstream.paths) == count + 1 and upstream.paths[-1].endswith("bG9jYWw6Ly8vNTAwMDAvcGhvdG8uanBn")
    assert _status(haproxy.port, "/elsewhere") == 404


def test_floor_answers_many_questions_at_once(stack, part_of):
    floor = part_of(parts.FloorAgent(stack))
    with Client(floor.bind) as client:
        path = "/img/unsafe/plain/local:///" + "a" * 200
        for begin in range(1, 2001, 200):  # as many as spoe.conf lets wait
            streams = range(begin, begin + 200)
            client.send(*(check(stream, 7, path, "k" * 90) for stream in streams))
            for stream in streams:
                answer = client.read()
                assert (answer.stream, answer.number) == (stream, 7)
        assert answer.txn()["verdict"] == "allow"


def test_haproxy_without_a_filter_serves(stack, part_of, upstream):
    haproxy = part_of(parts.OtherHAProxy(stack, "haproxy-plain", images=_address(upstream)))
    helpers.wait_until(lambda: _status(haproxy.port) == 200, what="a request passes without a verdict")
    assert upstream.paths[-1] == "/img/unsafe/plain/local:///a.jpg"
    assert _status(haproxy.port, "/elsewhere") == 404


def test_without_filter_wants_the_lines_that_it_takes_out():
    with open(os.path.join(helpers.ROOT, "haproxy/haproxy.cfg"), encoding="utf-8") as file:
        text = file.read()
    plain = parts.without_filter(text)
    assert "filter spoe" not in plain and "send-spoe-group" not in plain and "if denied" not in plain
    assert plain.count("http-request") > text.count("http-request") / 2
    with pytest.raises(helpers.StackError):
        parts.without_filter(plain)


@pytest.mark.parametrize("rate", (0, 50))
def test_load_counts_what_is_answered(upstream, tmp_path, rate):
    listed = tmp_path / "requests.txt"
    listed.write_text("/one key-1\n/two key-2\n")
    before = len(upstream.paths)
    done = subprocess.run([parts.program("load"), "--port", str(upstream.server_address[1]), "--requests", str(listed),
                           "--seconds", "0.5", "--warmup", "0.1", "--connections", "4", "--rate", str(rate)],
                          capture_output=True, text=True, check=True, timeout=60)
    result = json.loads(done.stdout)
    assert result["failed"] == 0 and result["completed_all"] == len(upstream.paths) - before
    assert result["statuses"] == {"200": result["completed"]} and 0 < result["completed"] <= result["completed_all"]
    assert sum(count for _, _, count in result["histogram_ns"]) == result["completed"]
    assert set(upstream.paths[before:]) == {"/one", "/two"}
    if rate:
        assert result["completed_all"] <= rate * 0.6 + 1


def test_imgurl_bench_measures():
    done = subprocess.run([parts.program("imgurl-bench"), "3"], capture_output=True, text=True, check=True, timeout=60)
    result = json.loads(done.stdout)
    assert result.pop("rounds") == 3
    assert set(result) == {"verify and sign", "sign", "verify and sign, plain", "signature"}
    assert all(0 < ns["best"] <= ns["median"] < 1e6 for ns in result.values())
    assert result["signature"]["best"] < result["sign"]["best"] < result["verify and sign"]["best"]
    assert subprocess.run([parts.program("imgurl-bench"), "0"], capture_output=True, check=False, timeout=60).returncode == 2


def test_load_says_what_is_wrong(tmp_path):
    def fails(*arguments):
        done = subprocess.run([parts.program("load"), *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=60)
        return done.returncode, done.stderr

    empty = tmp_path / "empty.txt"
    empty.write_text("")
    listed = tmp_path / "requests.txt"
    listed.write_text("/one key-1\n")
    assert fails("--port", 1)[0] == 2
    assert fails("--port", 1, "--requests", empty)[0] == 1
    status, words = fails("--port", ports.find_free(), "--requests", listed)
    assert status == 1 and "connect" in words


# ---- usage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def receiver():
    with contextlib.closing(Receiver()) as found:
        yield found


def _send_usage(receiver, *more, count=500):
    done = subprocess.run([parts.program("usage-load"), "--port", str(receiver.port), "--count", str(count), "--run", "171",
                           "--users", "40", *map(str, more)], env={"USAGE_TOKEN": "the-token-of-the-test"},
                          capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.mark.parametrize("over", ("tcp", "udp", "tcp,udp"))
def test_usage_load_sends_lines(receiver, over):
    """Over each transport all of them once, and their bytes are what it says."""
    wanted = over.split(",")
    told = _send_usage(receiver, "--over", over, "--rate", 5000)
    for name in TRANSPORTS:
        helpers.wait_until(lambda: len(receiver.messages[name]) >= (500 if name in wanted else 0), what=name)  # noqa: B023
    for name in wanted:
        lines = receiver.lines(name)
        assert len(lines) == len({line.id for line in lines}) == told["sent"] == 500
        assert sum(int(line.length) for line in lines) == told["billed_bytes"] > 0
        assert all(int(line.bytes_read) == int(line.length) + int(line.head) for line in lines)
        assert {line.user for line in lines} == {str(user) for user in range(1, 41)}
        assert all(int(line.key) == 2 * int(line.user) - 1 and line.token == "the-token-of-the-test" for line in lines)
        assert lines[0].id.startswith("be9c0000-00ab-")
    assert not any(receiver.messages[name] for name in TRANSPORTS if name not in wanted)
    assert 0.08 <= told["seconds"] < 5


def test_usage_load_of_an_hour(receiver):
    began = time.time()
    _send_usage(receiver, "--over", "tcp", "--age", 3600)
    helpers.wait_until(lambda: len(receiver.messages["tcp"]) == 500)
    starts = [int(line.start) / 1000 for line in receiver.lines("tcp")]
    assert starts == sorted(starts)
    assert abs(starts[0] - (began - 3600)) < 5 and abs(starts[-1] - began) < 15


def test_usage_load_lines_are_records():
    """The agent takes them for what haproxy.cfg logs, and the bench does not wait for records that never come."""
    with parts.BenchStack(usage=True) as own:
        own.start_database()
        own.start_parts("agent")
        lines = usage.Lines(own)
        assert lines.measure(200, "tcp").overflow == 0
        assert lines.measure(200, "tcp,udp", 2000).overflow == 0
        assert lines.check() == (0, 0)
        own.settings["USAGE_TOKEN"] = "another-token-than-the-agent-has"
        with pytest.raises(StackError, match="bad_token"):
            lines.measure(200, "tcp")


def test_usage_load_says_what_is_wrong():
    def fails(*arguments, token="the-token-of-the-test"):
        done = subprocess.run([parts.program("usage-load"), *map(str, arguments)], capture_output=True, text=True, check=False,
                              timeout=60, env={"USAGE_TOKEN": token} if token else {})
        assert done.returncode == 1, done
        return done.stderr

    port = ports.find_free()
    assert "--port and --count are needed" in fails("--port", port)
    assert "usage-load: -3: invalid" in fails("--port", port, "--count", "-3")
    assert "usage-load: tcp,tcp: invalid" in fails("--port", port, "--count", 5, "--over", "tcp,tcp")
    assert "USAGE_TOKEN" in fails("--port", port, "--count", 5, token="")
    assert "cannot connect" in fails("--port", port, "--count", 5)


@pytest.mark.parametrize("recorded", (False, True))
def test_usage_is_measured_apart(recorded):
    """What verdicts are compared with records no usage, so no other stack of the bench does."""
    with parts.BenchStack(usage=recorded) as own:
        own.prepare()
        assert bool(own.settings["USAGE_TOKEN"]) is bool(own["haproxy"].environment()["USAGE_TOKEN"]) is recorded
        assert own["postgres"].durable is recorded
        silent = parts.SilentHAProxy(own, "haproxy-silent")
        assert silent.environment() == {**own["haproxy"].environment(), "USAGE_TOKEN": "", "SERVER_PORT": str(silent.port),
                                        "HAPROXY_SOCKET": silent.socket}
        assert silent.command() == own["haproxy"].command()
