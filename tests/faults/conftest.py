"""Fixtures of the fault tests: a private server for each, as in tests/integration, and how long to go on.

PARLEY_FAULTS=short (default: a slice that fits `make check`) or long (`make faults`). PARLEY_SEED makes
a run with the same random choices; processes still race as they like.
"""

import os
import random
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
sys.path.insert(0, os.path.dirname(__file__))

import harness  # noqa: E402

LONG = os.environ.get("PARLEY_FAULTS", "short") == "long"


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
def dice(request):
    """Random choices whose seed a failing test shows."""
    seed = int(os.environ.get("PARLEY_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"PARLEY_SEED={seed}")
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def count(record_property, capsys):
    """count(what=n, …): numbers that docs/reliability.md quotes; shown, and kept in the test report."""
    def show(**numbers):
        for what, n in numbers.items():
            record_property(what, n)
        with capsys.disabled():
            print("\n  " + ", ".join(f"{what.replace('_', ' ')} {n}" for what, n in numbers.items()))
    return show


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def server(make_server):
    """A running server with default options and two workers."""
    return make_server().start("--workers", "2")
