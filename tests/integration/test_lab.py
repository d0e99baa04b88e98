"""`parley lab`: every demonstration really happens, comes out as it says, and leaves nothing behind."""

import glob
import json
import os
import pty
import signal
import subprocess

import pytest

import harness
from harness import PARLEY, until

LABS = {
    "atomic-pipe": ["short_records", "long_records", "partial", "all_or_nothing", "what_fits"],
    "fan-out": ["copied", "one_copy", "spliced"],
    "full-queue": ["posix_full", "user_limit", "sysv_full", "sysv_empty", "sysv_lowered"],
    "kill-client": ["queues_gone", "exit", "once"],
    "kill-worker": ["nothing_lost", "nothing_doubled", "noticed"],
    "leftovers": ["named", "left", "socket_left", "swept", "told", "history"],
    "mmap-coherence": ["map_to_read", "write_to_map", "other_process", "private_hidden", "private_stale",
                       "stdio_hidden", "stdio_flushed"],
    "mtype": ["oldest", "lowest_first", "one_type", "others_stay", "except"],
    "priority": ["order", "no_room", "waited_then_first"],
    "slow-reader": ["others_go_on", "lag_shown", "catches_up"],
    "switch": ["shm", "fifo", "mmap", "sysvmq", "posixmq", "unix", "nothing_lost"],
    "truncate": ["plain", "sealed", "hole"],
}
SERVED = ["kill-client", "kill-worker", "leftovers", "slow-reader"]  # wait in the middle, with --hold


@pytest.fixture
def place(objects):
    p = harness.Place(objects, "lab")
    yield p
    p.close()


def result(done):
    assert done.returncode == 0, f"exit {done.returncode}\n{done.out}\n{done.err}"
    lines = done.out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def left_out(check):
    """POSIX queues are counted for a user: what other tests take is missing here, and a lab says so."""
    return check["ok"] is None and ("this user" in check["observed"] or "RLIMIT_MSGQUEUE" in check["observed"])


def test_list_names_every_lab(place):
    done = place.run()
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.out.splitlines())
    names = [line.split()[0] for line in done.out.splitlines() if line.startswith("  ")]
    assert names == sorted(LABS)
    done = place.run("--json")
    assert [json.loads(line)["lab"] for line in done.out.splitlines()] == sorted(LABS)
    assert all(json.loads(line)["line"] for line in done.out.splitlines())


def test_unknown_lab_is_a_usage_error(place):
    done = place.run("no-such")
    assert done.returncode == 2
    assert 'no lab "no-such"; parley lab lists them' in done.err


@pytest.mark.parametrize("name", LABS)
def test_lab_comes_out_as_it_says(place, name):
    r = result(place.run(name, "--json"))
    assert (r["v"], r["type"], r["lab"], r["ok"]) == (1, "lab", name, True)
    checks = {c["key"]: c for c in r["checks"]}
    for key in LABS[name]:
        assert key in checks, f"{key} was not looked at: {r}"
        assert checks[key]["ok"] or left_out(checks[key]), checks[key]
        assert checks[key]["expected"] and checks[key]["observed"]
    place.assert_nothing_left()


@pytest.mark.parametrize("name", LABS)
def test_lab_explains_itself(place, name):
    done = place.run(name)
    assert done.returncode == 0, done.out + done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{name}: ")
    assert done.out.count("  expected  ") >= len(LABS[name])
    assert "All as expected. The code: client/lab/" in lines[-1]
    source = lines[-1].split()[-1]
    assert os.path.exists(os.path.join(harness.ROOT, source))
    assert all(len(line) <= 80 for line in lines), "wrapped where nobody says how wide it is"
    place.assert_nothing_left()


def test_labs_side_by_side_do_not_disturb_each_other(place):
    running = [place.start(name, "--json") for name in LABS]
    for p in running:
        p.out, p.err = p.communicate(timeout=harness.DEADLINE * 4)
    for p in running:
        assert result(p)["ok"]
    place.assert_nothing_left()


class Terminal:
    """Standard input of a lab that waits for Enter."""

    def __enter__(self):
        self.master, self.slave = pty.openpty()
        return self

    def __exit__(self, *_):
        os.close(self.master)
        os.close(self.slave)

    def enter(self):
        os.write(self.master, b"\n")


def read_until(process, text):
    out = ""
    while text not in out:
        line = process.stdout.readline()
        assert line, out
        out += line


def queue_is_there(place):
    return glob.glob(place.dir + "/parley-private-*/*.sysv")


def test_hold_waits_for_enter(place):
    with Terminal() as terminal:
        p = place.start("mtype", "--hold", stdin=terminal.slave)
        read_until(p, "Enter goes on")
        assert len(queue_is_there(place)) == 1
        terminal.enter()
        p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 0
    place.assert_nothing_left()


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_leaves_nothing(place, signo):
    with Terminal() as terminal:
        p = place.start("mtype", "--hold", stdin=terminal.slave)
        until(lambda: queue_is_there(place), "the queue is there")
        os.kill(p.pid, signo)
        p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 128 + signo
    place.assert_nothing_left()


@pytest.mark.parametrize("name", SERVED)
def test_interrupt_in_the_middle_leaves_nothing(place, name):
    """Server, workers, clients and kernel objects are all there when Ctrl-C comes."""
    with Terminal() as terminal:
        p = place.start(name, "--hold", stdin=terminal.slave)
        read_until(p, "Enter goes on")
        assert os.listdir(place.dir)
        os.kill(p.pid, signal.SIGINT)
        p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 130
    place.assert_nothing_left()


@pytest.mark.parametrize("name", SERVED)
def test_killed_in_the_middle_ends_everything_and_is_swept(place, name):
    with Terminal() as terminal:
        p = place.start(name, "--hold", stdin=terminal.slave)
        read_until(p, "Enter goes on")
        os.kill(p.pid, signal.SIGKILL)
        p.communicate(timeout=harness.DEADLINE)
    until(lambda: not place.processes(), "server, workers and children end with the lab")
    assert os.listdir(place.dir)
    result(place.run("mmap-coherence", "--json"))
    place.assert_nothing_left()


def test_killed_lab_is_swept_by_the_next(place):
    """kill -9 leaves a queue; whichever lab is next removes it."""
    with Terminal() as terminal:
        p = place.start("mtype", "--hold", stdin=terminal.slave)
        until(lambda: queue_is_there(place), "the queue is there")
        os.kill(p.pid, signal.SIGKILL)
        p.communicate(timeout=harness.DEADLINE)
    assert os.listdir(place.dir)
    assert result(place.run("mmap-coherence", "--json"))["ok"]
    place.assert_nothing_left()


def test_reality_that_disagrees_is_told_and_is_an_error(place):
    """Cutting the file fails, as if somebody had sealed it: so the child is not killed, and the lab says so."""
    env = dict(place.env())
    trace = os.path.join(place.dir, "trace")
    cut_fails = ["strace", "-f", "-o", trace, "-e", "trace=ftruncate", "-e",
                 "inject=ftruncate:error=EPERM:when=2"]
    done = subprocess.run([*cut_fails, PARLEY, "lab", "truncate"], env=env, capture_output=True, text=True,
                          timeout=harness.DEADLINE)
    assert done.returncode == 1
    assert "OBSERVED  ftruncate: refused" in done.stdout and "this is NOT what was expected" in done.stdout
    assert "1 of 3 observations are NOT as expected" in done.stdout
    done = subprocess.run([*cut_fails, PARLEY, "lab", "truncate", "--json"], env=env, capture_output=True, text=True,
                          timeout=harness.DEADLINE)
    r = json.loads(done.stdout)
    assert done.returncode == 1 and not r["ok"]
    assert [c["ok"] for c in r["checks"]] == [False, True, True]


def test_limit_used_up_by_others_is_told(place):
    """Three quarters of the limit that the lab has are taken by somebody else: what can be shown is."""
    p = subprocess.run(["prlimit", "--msgqueue=40000:40000", PARLEY, "lab", "full-queue", "--json"], env=place.env(),
                       capture_output=True, text=True, timeout=harness.DEADLINE)
    r = json.loads(p.stdout)
    assert p.returncode == 0 and r["ok"]
    checks = {c["key"]: c for c in r["checks"]}
    assert checks["user_limit"]["ok"] is None and "other queues of this user" in checks["user_limit"]["observed"]
    assert checks["sysv_full"]["ok"]


def test_lab_that_cannot_go_on_fails(place):
    """Under a limit that allows no POSIX queue at all."""
    p = subprocess.Popen(["prlimit", "--msgqueue=0", PARLEY, "lab", "priority", "--json"], env=place.env(),
                         text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = p.communicate(timeout=harness.DEADLINE)
    assert p.returncode == 1
    r = json.loads(out)
    assert not r["ok"] and "could not go on" in err and r["error"]
