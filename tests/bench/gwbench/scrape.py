"""The group `scrape`: what it costs when Prometheus asks for the metrics, and who pays."""

import subprocess
import sys

from gwstack import StackError, probe

from . import measure
from .rows import Row
from .usage import Verdicts

# A hundred and fifty times as often as Prometheus does it.
PER_SECOND = 10
# In a process of its own: in this one it would hold the interpreter, which times the questions.
_PROGRAM = """
import http.client, sys, time
host, _, port = sys.argv[1].rpartition(":")
connection = http.client.HTTPConnection(host, int(port))
due = time.monotonic()
while True:
    connection.request("GET", "/metrics")
    connection.getresponse().read()
    print(flush=True)
    due += 1 / float(sys.argv[2])
    time.sleep(max(0, due - time.monotonic()))
"""


class Scraper:
    def __init__(self, address):
        self.process = subprocess.Popen([sys.executable, "-c", _PROGRAM, address, str(PER_SECOND)],
                                        stdout=subprocess.PIPE)

    def end(self):
        """How many scrapes there were."""
        failed = self.process.poll() is not None
        self.process.kill()
        count = self.process.communicate()[0].count(b"\n")
        if failed or count == 0:
            raise StackError("scrape: the agent does not give its metrics")
        return count


def scrape(bench):
    """In turn: questions over SPOP one after the other, without and with scrapes."""
    stack, options = bench.stack, bench.options
    address = stack.settings["METRICS_BIND"]
    _, _, body = probe.http_request(address, "/metrics")
    verdicts = Verdicts(stack, list(bench.table.load.values()))
    keeper, workers = stack.other_agent_pids(), stack.verdict_pids()
    calm, busy, costs, worker_us = [], [], [], []
    verdicts.time_for(0.3)
    for _ in range(options.pairs):
        begin = measure.cpu_seconds(keeper), measure.cpu_seconds(workers)
        asked = verdicts.time_for(options.seconds)
        idle = measure.cpu_seconds(keeper) - begin[0]
        each = (measure.cpu_seconds(workers) - begin[1]) / len(asked)
        calm.append(measure.percentile(asked, 0.99) * 1000)
        begin = measure.cpu_seconds(keeper), measure.cpu_seconds(workers)
        scraper = Scraper(address)
        try:
            asked = verdicts.time_for(options.seconds)
        finally:
            count = scraper.end()
        costs.append((measure.cpu_seconds(keeper) - begin[0] - idle) / count * 1e6)
        worker_us.append(((measure.cpu_seconds(workers) - begin[1]) / len(asked) - each) * 1e6)
        busy.append(measure.percentile(asked, 0.99) * 1000)
    bench.say(f"  {PER_SECOND} scrapes a second; verdict p99 {measure.median(busy):.3f} ms, without {measure.median(calm):.3f} "
              f"ms; a verdict's CPU in the workers {measure.median(worker_us):+.2f} us")
    return [Row("keeper's CPU for a scrape", measure.median(costs), options.pairs),
            Row("size of a scrape", len(body) / 1024, 1),
            Row("verdict p99 added while scraped", measure.median(measure.differences(busy, calm)), options.pairs)]
