"""Fixtures of all tests in Python: private servers; see tests/support/harness.py."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))

import harness  # noqa: E402

SERVERS = pytest.StashKey()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the servers of a failed test said belongs to its report."""
    report = (yield).get_result()
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"parleyd {' '.join(server.options)}", server.output()))


@pytest.fixture(scope="session")
def objects():
    """Queues that exist, in an IPC namespace of this test process's own where that is possible."""
    found = harness.Objects()
    yield found
    found.close()


@pytest.fixture
def make_server(request, objects):
    """make_server(): a server that is not started yet. All are stopped and checked at the end."""
    made = request.node.stash[SERVERS] = []

    def make(kind=harness.Server):
        made.append(kind(objects))
        return made[-1]
    yield make
    problems = []
    for server in made:
        try:
            server.close()
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, "\n".join(problems)


@pytest.fixture
def server(make_server):
    """A running server with default options and two workers."""
    return make_server().start("--workers", "2")
