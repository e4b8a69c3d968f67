"""The group `imgurl`: what an image URL costs, without anything around it."""

import json
import subprocess

from gwstack import StackError

from .parts import program
from .rows import Row


def imgurl(say):
    done = subprocess.run([program("imgurl-bench")], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise StackError(f"imgurl-bench: exit code {done.returncode}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    rounds = result.pop("rounds")
    for name, ns in result.items():
        say(f"  {name}: {ns['best'] / 1000:.2f} us at best, median {ns['median'] / 1000:.2f} us, of {rounds} rounds")
    return [Row("imgurl, verify and sign", result["verify and sign"]["best"] / 1000, rounds)]
