"""Running programs that have to succeed, and `make` for what is installed and packaged."""

import os
import subprocess

import harness

BUILD, VARIANT = os.path.split(harness.BIN)
PROGRAMS = ["parley", "parleyd", "parley-web"]


def run(*args, code=0, **more):
    """What it prints; any other exit code is a failure that shows what it said."""
    done = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=harness.DEADLINE, **more)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def make(*targets):
    """The programs under test as they are: never linked anew beneath the tests that run meanwhile."""
    old = [x for p in PROGRAMS for x in ("-o", os.path.join(harness.BIN, p))]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return run("make", "-s", "-C", harness.ROOT, f"BUILD={BUILD}", f"VARIANT={VARIANT}", *old, *targets, env=env)
