"""Fixtures: whole stacks with real HAProxy, PostgreSQL and Redis, on free ports and in folders of their own.

`stack` is one for the whole session: tests leave it as they found it. `fresh_stack(settings=…, environ=…)` starts one
that the test may break; it ends with the test. Programs come from $GATEWAY_BIN_DIR, the stand-in for imgproxy from
$GATEWAY_STANDIN. A line of a sanitizer in any log fails the test in which it came; logs of failures are kept.
"""

import sys

sys.dont_write_bytecode = True

import psycopg2  # noqa: E402
import pytest  # noqa: E402

import helpers  # noqa: E402
import helpers_images  # noqa: E402
import processes  # noqa: E402
from cluster import Cluster  # noqa: E402
from load import Load  # noqa: E402

KEEP_AT_MOST = 20

_live = []  # every stack that runs now
_kept = []  # (what failed, folder with the logs)


def pytest_configure(config):
    config.addinivalue_line("markers", "serial: measures, and so runs with nothing beside it, and without sanitizers")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and call.when in ("setup", "call") and len(_kept) < KEEP_AT_MOST:
        for stack in _live:
            folder = stack.keep_logs()
            if folder:
                _kept.append((item.nodeid, folder))


def pytest_terminal_summary(terminalreporter):
    for what, folder in _kept:
        terminalreporter.write_line(f"logs of {what}: {folder}")


def _open(settings=None, environ=None, **more):
    stack = helpers.GatewayStack(settings, environ, **more)
    _live.append(stack)
    return stack


def _start(settings=None, environ=None):
    """A stack that serves. Another run may take a port between its choice and its use: then ports are chosen anew."""
    for last in (False, False, True):
        stack = _open(settings, environ)
        try:
            stack.start()
            return stack
        except BaseException as error:
            folder = stack.keep_logs()
            _close(stack)
            if last or not isinstance(error, helpers.StackError) or "in use" not in str(error).lower():
                _kept.append(("a stack that did not start", folder))
                raise


def _close(stack):
    """Ends a stack; a sanitizer's word at the end (leaks are told then) is a failure."""
    try:
        stack.stop()
        found = stack.new_findings()
        if found:
            _kept.append(("sanitizer at the end", stack.keep_logs()))
    finally:
        _live.remove(stack)
        stack.close()
    if found:
        pytest.fail("a sanitizer speaks in the logs:\n" + "\n".join(found[:40]))


@pytest.fixture(scope="session")
def stack():
    """The session's stack."""
    own = _start()
    try:
        yield own
    finally:
        _close(own)


@pytest.fixture
def fresh_stack():
    """A function that starts a stack of this test's own; start=False gives one that was not even prepared."""
    yield from _factory()


@pytest.fixture(scope="module")
def module_stack():
    """The same for stacks that all tests of one file share."""
    yield from _factory()


def _factory():
    made = []

    def make(settings=None, environ=None, start=True):
        own = _start(settings, environ) if start else _open(settings, environ)
        made.append(own)
        return own

    try:
        yield make
    finally:
        errors = []
        for own in reversed(made):
            try:
                _close(own)
            except BaseException as error:  # the others must end too
                errors.append(error)
        if errors:
            raise errors[0]


@pytest.fixture(scope="module")
def module_cluster():
    """A function that starts several hosts on one PostgreSQL and one Redis, for all tests of one file."""
    yield from _clusters()


def _clusters():
    made = []

    def make(**more):
        stacks = []

        def open_stack(*args, **options):
            stacks.append(_open(*args, **options))
            return stacks[-1]

        made.append((Cluster(open_stack, **more), stacks))
        made[-1][0].start()
        return made[-1][0]

    try:
        yield make
    finally:
        errors = []
        for cluster, stacks in reversed(made):
            # Those that joined first: what they lean on ends last.
            for end in [cluster.close, *(lambda own=own: _close(own) for own in reversed(stacks))]:
                try:
                    end()
                except BaseException as error:
                    errors.append(error)
        if errors:
            raise errors[0]


@pytest.fixture(autouse=True)
def no_sanitizer_findings():
    """After each test: what the sanitizers said meanwhile."""
    yield
    found = [line for stack in _live for line in stack.new_findings()]
    if found:
        for stack in _live:
            _kept.append(("sanitizer", stack.keep_logs()))
        pytest.fail("a sanitizer speaks in the logs:\n" + "\n".join(found[:40]))


@pytest.fixture(scope="session")
def photo():
    """A JPEG of several megabytes."""
    return helpers_images.photograph()


@pytest.fixture(scope="session")
def small_jpeg():
    return helpers_images.encode(helpers_images.gradient(64, 48), "JPEG")


@pytest.fixture(scope="session")
def owner(stack):
    """A user of the session's stack with a key for everything but admin."""
    return stack.make_key(scopes="read,upload")


@pytest.fixture(scope="session")
def source(stack, owner, small_jpeg):
    """The source of a small picture that `owner` has uploaded."""
    return stack.uploaded(owner, small_jpeg)["source"]


@pytest.fixture
def db(stack):
    """A connection of the programs' role; every statement commits by itself."""
    connection = psycopg2.connect(stack.settings["DB_DSN"], connect_timeout=10)
    connection.autocommit = True
    yield connection
    connection.close()


# ---- for the files that break things: a stack of the file's own, and a load on it -----------------------------------


@pytest.fixture(scope="module")
def programs():
    """A copy of the programs that a test may replace."""
    folder = processes.Programs()
    yield folder
    folder.remove()


@pytest.fixture(scope="module")
def gateway(module_stack, programs):
    return module_stack(environ=programs.environ)


@pytest.fixture(scope="module")
def key(gateway):
    return gateway.make_key()


@pytest.fixture(scope="module")
def image(gateway, key, small_jpeg):
    return helpers.image_path(gateway.uploaded(key, small_jpeg)["source"], "rs:fill:16:16", "png")


@pytest.fixture
def load(gateway, key, image):
    """Makes a load on an image of its own; all processes and servers are there when it starts."""
    processes.wait_all_up(gateway)
    helpers.wait_until(lambda: processes.keeper(gateway), what="the keeper lives")
    for server in ("img1", "img2"):
        gateway.wait_server("be_imgproxy", server)
    return lambda **more: Load(gateway.address, image, key.key, **more)
