"""Fixtures: a private server for each test; see tests/support/harness.py."""

import os
import socket
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))

import harness  # noqa: E402


@pytest.fixture(scope="session")
def objects():
    """Queues that exist, in an IPC namespace of this test process's own where that is possible."""
    found = harness.Objects()
    yield found
    found.close()


@pytest.fixture
def make_server(objects):
    """make_server(): a server that is not started yet. All are stopped and checked at the end."""
    made = []

    def make():
        made.append(harness.Server(objects))
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


@pytest.fixture
def free_port():
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
