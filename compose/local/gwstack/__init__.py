"""The whole stack without containers: PostgreSQL, Redis, image servers, agent, API and HAProxy under one folder.

`make run|up|down|status` and the integration tests use the same class:

    with Stack(root) as stack:              # a folder of its own under /tmp, free ports
        stack.start()                       # all parts, each one ready; StackError says what is wrong
        requests.get(stack.url + "/healthz")
        stack["agent"].kill()               # SIGKILL; nobody starts it again until you do
        stack["agent"].start()
"""

from .errors import StackError
from .stack import Stack

__all__ = ["Stack", "StackError"]
