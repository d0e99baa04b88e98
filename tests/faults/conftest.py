"""Fixtures of the fault tests beside those of all: how long to go on, and with which random choices.

PARLEY_FAULTS=short (default: a slice that fits `make check`) or long (`make faults`). PARLEY_SEED makes
a run with the same random choices; processes still race as they like.
"""

import os
import random
import subprocess
import sys

import harness
import pytest

sys.path.insert(0, os.path.dirname(__file__))

LONG = os.environ.get("PARLEY_FAULTS", "short") == "long"
SHIM = os.path.join(harness.BIN, "tests", "faults", "record_io.so")


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


@pytest.fixture(scope="session")
def shim():
    """`make` builds it; a run of pytest by hand asks for it."""
    made = subprocess.run(["make", "-s", "-C", harness.ROOT, f"BUILD={os.path.dirname(harness.BIN)}", SHIM],
                          env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")},
                          capture_output=True, text=True)
    assert os.path.exists(SHIM), made.stderr
    return SHIM


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
