"""`make demo` without a terminal: a transcript, and nothing left behind."""

import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pexpect
import pytest

import harness
from harness import TRANSPORTS

DEMO = os.path.join(harness.ROOT, "tests", "support", "demo.sh")


@pytest.fixture
def scratch():
    """A short path: the demo's socket lies below it."""
    path = tempfile.mkdtemp(prefix="pd", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(scratch):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
    env.update(BIN=harness.BIN, TMPDIR=scratch, HOME=scratch, USER="somebody", LC_ALL="C.UTF-8")
    return env


def start(scratch):
    return subprocess.Popen([DEMO], env=environment(scratch), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)


def processes_of(session):
    """Processes of a session (setsid) that are alive."""
    out = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(stat) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            out.append(int(stat.split("/")[2]))
    return out


def assert_nothing_left(demo, objects, scratch):
    harness.until(lambda: not processes_of(demo.pid), "every process of the demo ends")
    assert os.listdir(scratch) == []
    if objects.private:
        assert objects.sysv(()) == [] and objects.posix() == []


def test_demo_prints_a_transcript_and_leaves_nothing(objects, scratch):
    demo = start(scratch)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, out + err
    assert err == ""
    for t in TRANSPORTS:
        assert f"guest-{t}" in out, f"{t} takes part"
        assert f"hello, this came by {t}" in out
        assert len(re.findall(rf"guest-{t}> {t}: your line took", out)) == len(TRANSPORTS)
    for kind in ("anonymous pipes", "sockets", "FIFOs", "POSIX queues", "System V queues",
                 "sealed memory files", "room logs"):
        assert re.search(rf"^ +\d+  .*{kind}", out, re.M), f"{kind} are shown"
    assert_nothing_left(demo, objects, scratch)


def test_demo_interrupted_leaves_nothing(objects, scratch):
    demo = start(scratch)
    harness.until(lambda: len(processes_of(demo.pid)) > 5, "the demo is under way")
    os.killpg(demo.pid, signal.SIGINT)  # what Ctrl-C does
    demo.communicate(timeout=60)
    assert demo.returncode in (130, -signal.SIGINT)
    assert_nothing_left(demo, objects, scratch)


def test_demo_on_a_terminal_is_a_chat_with_the_guests(objects, scratch):
    demo = pexpect.spawn(DEMO, env=dict(environment(scratch), TERM="xterm", NO_COLOR="1"),
                         timeout=harness.DEADLINE, dimensions=(50, 150), encoding="utf-8")
    try:
        demo.expect("7 guests")
        demo.expect("#lobby>")
        demo.send("hello everybody\r")
        demo.expect("somebody.{0,20}hello everybody")
        waiting = set(TRANSPORTS)
        while waiting:
            demo.expect(r"(\w+): your line took \d+ µs")
            waiting.discard(demo.match.group(1))
        demo.send("/quit\r")
        demo.expect(pexpect.EOF)
        demo.wait()
        assert demo.exitstatus == 0
    finally:
        demo.close(force=True)
    assert_nothing_left(demo, objects, scratch)
