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


def used_up(output):
    """POSIX queues are counted for a user: others may hold all there are. Then that one stays away."""
    return {"posixmq"} if "RLIMIT_MSGQUEUE" in output and "is used up" in output else set()


def test_demo_prints_a_transcript_and_leaves_nothing(objects, scratch):
    demo = start(scratch)
    out, err = demo.communicate(timeout=120)
    assert demo.returncode == 0, out + err
    there = set(TRANSPORTS) - used_up(out + err)
    if there == set(TRANSPORTS):
        assert err == ""
        for kind in ("anonymous pipes", "sockets", "FIFOs", "POSIX queues", "System V queues",
                     "sealed memory files", "room logs"):
            assert re.search(rf"^ +\d+  .*{kind}", out, re.M), f"{kind} are shown"
    for t in there:
        assert f"hello, this came by {t}" in out
        assert len(re.findall(rf"guest-{t}> {t}: your line took", out)) >= len(there), t
    assert_nothing_left(demo, objects, scratch)


def test_demo_interrupted_leaves_nothing(objects, scratch):
    demo = start(scratch)
    harness.until(lambda: len(processes_of(demo.pid)) > 5 or demo.poll() is not None,
                  "the demo is under way")
    if demo.poll() is None:
        os.killpg(demo.pid, signal.SIGINT)  # what Ctrl-C does
    demo.communicate(timeout=60)
    # 0: it was over before the signal came
    assert demo.returncode in (130, -signal.SIGINT, 0)
    assert_nothing_left(demo, objects, scratch)


def chat(scratch):
    """The demo on a terminal, up to its prompt; and the transports that have a guest."""
    demo = pexpect.spawn(DEMO, env=dict(environment(scratch), TERM="xterm", NO_COLOR="1"),
                         timeout=harness.DEADLINE, dimensions=(50, 150), encoding="utf-8")
    demo.expect(r"(\d) guests are in")
    there = set(TRANSPORTS) - used_up(demo.before)
    assert int(demo.match.group(1)) == len(there)
    demo.expect("#lobby>")
    return demo, there


def test_demo_on_a_terminal_is_a_chat_with_the_guests(objects, scratch):
    demo, waiting = chat(scratch)
    try:
        demo.send("hello everybody\r")
        demo.expect("somebody.{0,20}hello everybody")
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


def test_demo_whose_terminal_is_closed_leaves_nothing(objects, scratch):
    demo, _ = chat(scratch)
    harness.hang_up(demo)
    demo.wait()
    assert_nothing_left(demo, objects, scratch)
