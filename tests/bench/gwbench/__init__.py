"""`make bench`: the numbers that docs/bench.md explains, taken from real stacks.

    python3 -m gwbench [verdict] [latency] [size] [change] [usage] [imgurl]
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
# gwstack starts the servers; the tests' SPOP client asks the workers.
for _folder in ("compose/local", "tests/integration"):
    if os.path.join(ROOT, _folder) not in sys.path:
        sys.path.append(os.path.join(ROOT, _folder))
