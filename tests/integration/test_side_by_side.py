"""Two stacks on one machine know nothing of each other, nor of a stack of `make up`."""

import os

import pytest
from gwstack.stack import DEFAULT_PORTS, HIDDEN_PORTS

from helpers import image_path
from helpers_http import check_problem


@pytest.fixture
def pair(stack, fresh_stack):
    return stack, fresh_stack()


def ports(stack):
    return [port for part in stack.parts.values() for _, port in part.ports()]


def test_they_share_nothing(pair, small_jpeg):
    first, second = pair
    both = ports(first) + ports(second)
    assert len(both) == len(set(both)) >= 12
    assert not set(both) & {*DEFAULT_PORTS.values(), *HIDDEN_PORTS.values()}, "ports of `make up`"
    assert os.path.realpath(first.layout.state) != os.path.realpath(second.layout.state)
    for name in ("AUTH_KEY_PEPPER", "AUTH_MASTER_KEY", "IMGPROXY_KEY", "API_TOKEN", "DB_DSN", "UPLOADS_DIR"):
        assert first.settings[name] != second.settings[name]

    keys = [own.make_key() for own in pair]
    sources = [own.uploaded(key, small_jpeg)["source"] for own, key in zip(pair, keys)]
    for own, key, source in zip(pair, keys, sources):
        assert own.get(image_path(source), key).status == 200
    for own, key, source in zip(pair, reversed(keys), reversed(sources)):
        check_problem(own.get(image_path(source), key), 401, "key_invalid")

    # One ends; the other does not notice.
    second.stop()
    assert first.get(image_path(sources[0]), keys[0]).status == 200
    assert first.failing() == []


def test_a_stack_leaves_nothing_behind(fresh_stack):
    stack = fresh_stack(start=False)
    stack.prepare()
    stack.start_servers()
    pids = [pid for part in stack.parts.values() if part.is_running() for pid in part.pids()]
    state, sockets = stack.layout.state, stack.layout.sockets
    assert len(pids) >= 4 and os.path.isdir(state) and os.path.isdir(sockets)
    stack.close()
    assert not os.path.exists(state) and not os.path.exists(sockets)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
