"""The open-loop load of tests/load/pacer, and what can be said of its answers.

Of each request the moments are known that bracket its verdict: it was sent before, its answer was read behind. So the
bounds of design.md are checked exactly: requests that were sent after a and answered before b were all decided within
[a, b], and those admitted among them may not be more than the bound of an interval so long.
"""

import collections
import math
import os
import subprocess
import tempfile

from helpers import ROOT

# Times in seconds of the monotonic clock, which is time.monotonic()'s.
Request = collections.namedtuple("Request", "flow sent got status code")


def _program():
    return os.environ.get("GATEWAY_PACER") or os.path.join(ROOT, "build/tests/pacer")


class Plan:
    """What is sent where. flow() gives the number under which the answers come back."""

    def __init__(self):
        self._targets, self.flows = {}, []

    def flow(self, protocol, address, rate, key, path, connections=None):
        """`rate` requests a second; protocol is http or spop."""
        if connections is None:
            connections = 64 if protocol == "http" else 1
        lines = self._targets.setdefault(f"target {protocol} {address} {connections}", [])
        lines.append((len(self.flows), f"flow {rate:.6f} {getattr(key, 'key', key) or '-'} {path}"))
        self.flows.append((protocol, address, rate))
        return len(self.flows) - 1

    def host(self, host, rate, key, path, protocol="http"):
        """The same, to a host of a cluster: its HAProxy, or its first verdict worker."""
        address = host.address if protocol == "http" else host["agent"].workers()[0]
        return self.flow(protocol, address, rate, key, path)

    def text(self):
        """The pacer's plan, and for each flow in its order the number here."""
        lines, order = [], []
        for target, flows in self._targets.items():
            lines.append(target)
            for number, line in flows:
                order.append(number)
                lines.append(line)
        return "\n".join(lines) + "\n", order


class Run:
    """A plan that is being carried out; result() waits for its end."""

    def __init__(self, plan, seconds):
        self.seconds = seconds
        text, self._order = plan.text()
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen([_program(), str(seconds)], stdin=subprocess.PIPE, stdout=self._out, text=True)
        self._process.stdin.write(text)
        self._process.stdin.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._out.close()

    def result(self):
        code = self._process.wait(self.seconds + 60)
        assert code == 0, f"pacer ended with {code}"
        self._out.seek(0)
        requests = []
        for line in self._out:
            flow, sent, got, status, text = line.split()
            requests.append(Request(self._order[int(flow)], int(sent) / 1e9, int(got) / 1e9, int(status), text))
        return Result(requests)


def run(plan, seconds):
    with Run(plan, seconds) as going:
        return going.result()


class Result:
    """Requests with their answers, in the order of sending."""

    def __init__(self, requests):
        self.all = requests

    def of(self, *flows):
        return Result([request for request in self.all if request.flow in flows])

    def between(self, begin, end):
        """Those that were sent and answered within these moments."""
        return Result([request for request in self.all if begin <= request.sent and request.got <= end])

    def sent_between(self, begin, end):
        return Result([request for request in self.all if begin <= request.sent < end])

    def __len__(self):
        return len(self.all)

    @property
    def admitted(self):
        return [request for request in self.all if request.status == 200]

    @property
    def refused(self):
        return [request for request in self.all if request.status == 429]

    @property
    def failed(self):
        """All else: a limit answers with 200 or 429."""
        return [request for request in self.all if request.status not in (200, 429)]

    @property
    def codes(self):
        return collections.Counter((request.status, request.code) for request in self.all)

    @property
    def seconds(self):
        """Certainly between the first verdict and the last."""
        return max(0.0, self.all[-1].sent - self.all[0].got) if self.all else 0.0

    def latencies(self):
        return sorted(request.got - request.sent for request in self.all)

    def slowest(self):
        return max((request.got - request.sent for request in self.all), default=0.0)

    def slow_share(self, over):
        return sum(request.got - request.sent > over for request in self.all) / max(1, len(self.all))

    def quantile(self, part):
        found = self.latencies()
        return found[min(len(found) - 1, int(part * len(found)))] if found else 0.0

    def over_bound(self, burst, rate, slack=0.0):
        """By how much any interval passes burst + rate * (t + slack): the worst one; at most 0 when the bound holds."""
        return worst_interval([(request.sent, request.got) for request in self.admitted], rate) - burst - rate * slack

    def least(self, burst, rate, part=0.98):
        """What must be admitted at least over the whole run."""
        return math.floor(part * min(len(self.all), burst + rate * self.seconds)) - 1

    def timeline(self, flows_by_name, begin=None, step=0.1):
        """For people: for each name and step how many were allowed/refused/failed, and the slowest answer in ms."""
        if not self.all:
            return "nothing was sent"
        begin = self.all[0].sent if begin is None else begin
        lines = []
        for name, flows in flows_by_name.items():
            bins = collections.defaultdict(lambda: [0, 0, 0, 0.0])
            for request in self.all:
                if request.flow in flows:
                    row = bins[int((request.sent - begin) // step)]
                    row[0 if request.status == 200 else 1 if request.status == 429 else 2] += 1
                    row[3] = max(row[3], request.got - request.sent)
            lines.append(f"{name}, every {step * 1000:.0f} ms allowed/refused/failed slowest ms:")
            lines += [f"  {number * step:7.1f} s  {row[0]}/{row[1]}/{row[2]} {row[3] * 1000:.1f}"
                      for number, row in sorted(bins.items())]
        return "\n".join(lines)


def worst_interval(brackets, rate):
    """The most of `count - rate * t` over all intervals of length t, where count are the (sent, got) pairs that lie
    within the interval. 0 when there are none.

    The interval's begin goes down over the moments of sending; a tree over the moments of reading, which are its
    possible ends, gives the best end for each begin."""
    if not brackets:
        return 0.0
    by_end = sorted(range(len(brackets)), key=lambda i: brackets[i][1])
    ends = [brackets[i][1] for i in by_end]
    place = {index: number for number, index in enumerate(by_end)}
    tree = _PrefixMax(len(ends))
    first, worst = len(ends), 0.0
    # One before all, so that each end has a distance to the one before it: end n of the tree is ends[n + 1].
    ends.insert(0, min(sent for sent, _ in brackets))
    for index in sorted(range(len(brackets)), key=lambda i: -brackets[i][0]):
        begin = brackets[index][0]
        while first > 0 and ends[first] >= begin:
            first -= 1
            tree.add(first, rate * (ends[first] - ends[first + 1]))
        tree.add(place[index], 1.0)
        worst = max(worst, tree.best() + rate * (begin - ends[first]))
    return worst


class _PrefixMax:
    """Numbers in a row, and the greatest sum of those up to one that was ever touched."""

    def __init__(self, count):
        self._size = 1
        while self._size < count:
            self._size *= 2
        self._sum = [0.0] * (2 * self._size)
        self._best = [-math.inf] * (2 * self._size)

    def add(self, at, number):
        total, best = self._sum, self._best
        node = at + self._size
        total[node] += number
        best[node] = total[node]
        while node > 1:
            node //= 2
            left, right = 2 * node, 2 * node + 1
            total[node] = total[left] + total[right]
            best[node] = max(best[left], total[left] + best[right])

    def best(self):
        return self._best[1]
