"""Arithmetic of the rows, and what /proc says. Nothing here starts anything."""

import os

TICKS = os.sysconf("SC_CLK_TCK")


def median(values):
    """Of an even number of values: the mean of the two in the middle."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("the median of nothing")
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def ratios(ours, theirs):
    """Pair by pair, as they were measured side by side: each pair met the same neighbours on the machine."""
    if len(ours) != len(theirs):
        raise ValueError("unequal numbers of runs")
    return [a / b for a, b in zip(ours, theirs)]


def differences(ours, theirs):
    if len(ours) != len(theirs):
        raise ValueError("unequal numbers of runs")
    return [a - b for a, b in zip(ours, theirs)]


def percentile(values, share):
    """The smallest value that at least this share of all is not above (nearest rank)."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    rank = -(-len(ordered) * share // 1)
    return ordered[max(int(rank), 1) - 1]


def histogram_percentile(histogram, share):
    """The same of [begin, end, count] rows in rising order: the middle of the bucket that holds the rank."""
    total = sum(count for _, _, count in histogram)
    if total == 0:
        raise ValueError("a percentile of nothing")
    rank = max(-(-total * share // 1), 1)
    for begin, end, count in histogram:
        rank -= count
        if rank <= 0:
            return (begin + end) / 2
    raise ValueError("the histogram's counts do not add up")


def parse_stat(text):
    """CPU seconds, utime + stime of all threads, from the text of /proc/PID/stat. The name may hold blanks and ')'."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def parse_stat_children(text):
    """The same of its children that have ended."""
    fields = text.rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def parse_schedstat(text):
    """CPU seconds of one thread from the text of its schedstat, which counts nanoseconds, not ticks of 10 ms."""
    return int(text.split()[0]) / 1e9


def parse_machine(text):
    """(CPU seconds spent, stolen by the hypervisor) of all processors from the text of /proc/stat."""
    user, nice, system, _, _, irq, softirq, steal = map(int, text.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


def parse_pss(text):
    """Bytes of the line Pss of /proc/PID/smaps_rollup: shared pages are divided among those who map them."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            number, unit = rest.split()
            if unit != "kB":
                raise ValueError(f"Pss in {unit}")
            return int(number) * 1024
    raise ValueError("no line Pss")


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def cpu_seconds(pids):
    """CPU time of these processes since they began; those that are gone must not be asked for. Where the kernel keeps
    schedstat it is taken, because a run of 2 s has few ticks; a thread that ended meanwhile is then missing, and none
    of the programs here ends one."""
    total = 0.0
    for pid in pids:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
            total += sum(parse_schedstat(_read(f"/proc/{pid}/task/{thread}/schedstat")) for thread in threads)
        except (FileNotFoundError, IndexError, ValueError):
            total += parse_stat(_read(f"/proc/{pid}/stat"))
    return total


def ended_seconds(pid):
    """CPU time of the children of a process that have ended, in ticks of 10 ms."""
    return parse_stat_children(_read(f"/proc/{pid}/stat"))


def machine_seconds():
    return parse_machine(_read("/proc/stat"))


def resident_bytes(pids):
    """Memory of these processes, what they share among them counted once, shared memory included."""
    return sum(parse_pss(_read(f"/proc/{pid}/smaps_rollup")) for pid in pids)


def command_line(pid):
    """The words of a process' command line, [] when it is gone."""
    try:
        return _read(f"/proc/{pid}/cmdline").split("\0")[:-1]
    except OSError:
        return []
