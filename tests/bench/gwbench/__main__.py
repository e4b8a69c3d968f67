"""gwbench [verdict] [latency] [size] [change] [scrape] [usage] [imgurl] [upload]: all groups when none is named."""

import os
import signal
import sys

from gwstack import StackError

from . import rows as results
from .groups import Bench, Options
from .imgurl import imgurl
from .scrape import scrape
from .size import size
from .upload import upload
from .usage import usage


def say(line):
    print(line, flush=True)


def run(groups, options):
    """Rows of these groups, printed as they come."""
    found = []

    def keep(some):
        found.extend(some)
        for row in some:
            say(str(row))

    together = [group for group in ("verdict", "latency", "change", "scrape") if group in groups]
    if together:
        with Bench(options, say) as bench:
            bench.start()
            for group in together:
                say(f"== {group}")
                keep(scrape(bench) if group == "scrape" else getattr(bench, group)())
    if "size" in groups:
        say("== size")
        keep(size(options, say))
    if "usage" in groups:
        say("== usage")
        keep(usage(options, say))
    if "imgurl" in groups:
        say("== imgurl")
        keep(imgurl(say))
    if "upload" in groups:
        say("== upload")
        keep(upload(options, say))
    return found


def main(arguments):
    groups = [word for argument in arguments for word in argument.replace(",", " ").split()] or list(results.GROUPS)
    unknown = [group for group in groups if group not in results.GROUPS]
    if unknown:
        say(f"bench: no group {unknown[0]}; there are {', '.join(results.GROUPS)}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        found = run(groups, Options(os.environ))
    except KeyboardInterrupt:
        say("bench: ended")
        return 130
    except (StackError, ValueError) as error:
        say(f"bench: {error}")
        return 1
    missed = [row.name for row in found if row.met is False]
    say(f"bench: {len(found)} rows, " + (f"missed: {', '.join(missed)}" if missed else "all goals are met"))
    try:
        say(f"bench: {results.save(found)}")
    except (StackError, OSError) as error:
        say(f"bench: the rows could not be kept: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
