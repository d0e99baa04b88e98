"""Running programs that have to succeed, `make` for what is installed and packaged, and sockets given as systemd does."""

import os
import subprocess
import sys

import harness

BUILD, VARIANT = os.path.split(harness.BIN)
PROGRAMS = ["parley", "parleyd", "parley-web"]


BUILD_SECONDS = 900  # what was not built yet is built beside other tests


def run(*args, code=0, deadline=harness.DEADLINE, **more):
    """What it prints; any other exit code is a failure that shows what it said."""
    done = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=deadline, **more)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def make(*targets):
    """The programs under test as they are: never linked anew beneath the tests that run meanwhile."""
    old = [x for p in PROGRAMS for x in ("-o", os.path.join(harness.BIN, p))]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return run("make", "-s", "-C", harness.ROOT, f"BUILD={BUILD}", f"VARIANT={VARIANT}", *old, *targets, env=env,
               deadline=BUILD_SECONDS)


GIVE = """import fcntl, os, sys
high = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 200) for n in sys.argv[1].split(",")]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid() + int(sys.argv[2])), LISTEN_FDS=str(len(high)))
os.execv(sys.argv[3], sys.argv[3:])
"""


def give(sockets, *args, pid_off=0, env=None, program=harness.PARLEYD):
    """parleyd with these sockets, as systemd would start it."""
    numbers = [s.fileno() for s in sockets]
    return subprocess.Popen([sys.executable, "-c", GIVE, ",".join(map(str, numbers)), str(pid_off), program, *args],
                            pass_fds=numbers, env=env, stderr=subprocess.PIPE, text=True)
