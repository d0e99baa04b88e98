"""Running and attaching strace: counting the system calls of a process, and doing something at the Nth."""

import collections
import os
import re
import shutil
import subprocess

import pytest

from harness import traced, until

needed = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")


def around(*options, follow=False):
    """A prefix for a command: the command keeps the process id it would have had (-D)."""
    return ("strace", "-D", "-qq", *(("-f",) if follow else ()), *options)


def count(path):
    """Calls in a trace, by name."""
    with open(path, errors="replace") as f:
        return collections.Counter(re.findall(r"^(?:\d+ +)?([a-z_0-9]+)\(", f.read(), re.M))


class Attached:
    """strace on a running process; ended with the block."""

    def __init__(self, pid, *options):
        self.pid, self.options = pid, options

    def __enter__(self):
        self.process = subprocess.Popen(["strace", "-qq", "-p", str(self.pid), *self.options],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: self.attached() or self.process.poll() is not None, "strace is attached")
        return self

    def attached(self):
        """To every thread where that is asked for: they come one after the other."""
        try:
            threads = os.listdir(f"/proc/{self.pid}/task") if "-f" in self.options else []
        except OSError:
            return True  # gone already, by what was injected
        return all(traced(t) for t in (self.pid, *threads))

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def kill_at(call, n):
    return ("-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}")


def fail_at(call, error, when, path=()):
    """`when`: N, N+ (this and all later) or N..M, as strace has it."""
    limits = [x for p in path for x in ("-P", p)]
    return ("-o", "/dev/null", *limits, "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={when}")
