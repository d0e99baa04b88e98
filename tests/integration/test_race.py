"""`parley race`: all transports at once, live on a terminal, a table or JSON anywhere else."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pexpect
import pyte
import pytest

import harness
from harness import PARLEY, TRANSPORTS, until


@pytest.fixture
def scratch():
    path = tempfile.mkdtemp(prefix="pr", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(scratch, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
    env.update(TMPDIR=scratch, HOME=scratch, LC_ALL="C.UTF-8", TERM="xterm-256color",
               PARLEY_SOCKET=os.path.join(scratch, "none"))
    env.pop("NO_COLOR", None)
    env.update(more)
    return env


def race(scratch, *args, **env):
    return subprocess.run([PARLEY, "race", *args], env=environment(scratch, **env), capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=harness.DEADLINE * 2)


def lanes_of(done):
    """{transport: its line}, the closing line. posixmq may be absent: others use up RLIMIT_MSGQUEUE."""
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line["v"] == 1 and line["type"] == "race" for line in lines)
    lanes = {line["transport"]: line for line in lines[:-1]}
    if "absent" in lanes.get("posixmq", {}):
        assert "RLIMIT_MSGQUEUE" in lanes.pop("posixmq")["absent"]
    return lanes, lines[-1]


def assert_nothing_left(scratch, objects):
    assert os.listdir(scratch) == []
    if objects.private:
        assert objects.sysv(()) == [] and objects.posix() == []


def test_private_race_verifies_every_message_of_every_lane(scratch, objects):
    lanes, end = lanes_of(race(scratch, "--private", "--json", "-C", "700", "--size", "100"))
    assert set(lanes) >= set(TRANSPORTS) - {"posixmq"}
    for lane in lanes.values():
        assert lane["verified"] and lane["messages"] == 700 and lane["size"] == 100
        assert lane["lost"] == lane["doubled"] == 0
        assert 0 < lane["min_ns"] <= lane["p50_ns"] <= lane["p99_ns"] <= lane["max_ns"] <= lane["ns"]
        assert lane["calls"] > 0 and lane["cpu_ns"] > 0
    assert len({lane["began"] for lane in lanes.values()}) == 1, "one start for all"
    places = sorted(lanes.values(), key=lambda lane: lane["place"])
    assert [lane["ns"] for lane in places] == sorted(lane["ns"] for lane in places)
    assert end["private"] and end["hub_cpu_ns"] > 0 and end["workers_cpu_ns"] >= 0
    assert_nothing_left(scratch, objects)


def test_one_at_a_time_takes_calls_for_each_message(scratch):
    """What is counted is real: with one message on its way each must be sent, waited for and received."""
    lanes, _ = lanes_of(race(scratch, "--private", "--json", "-C", "300", "--window", "1", "-t", "unix,fifo"))
    assert set(lanes) == {"unix", "fifo"}
    for lane in lanes.values():
        assert lane["calls"] >= 3 * 300
        assert lane["wakeups"] > 0


def test_without_a_server_it_races_on_a_private_one_and_says_so(scratch, objects):
    done = race(scratch, "-C", "200", "-t", "unix,shm")
    assert done.returncode == 0
    assert "no server runs at the default socket: racing on a private one" in done.stderr
    assert "a private one, gone now" in done.stdout
    assert re.search(r"^ 1\. (unix|shm) ", done.stdout, re.M) and re.search(r"^ 2\. (unix|shm) ", done.stdout, re.M)
    assert "\033" not in done.stdout, "not a terminal: a table only"
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert_nothing_left(scratch, objects)


def test_running_server_is_used_and_keeps_its_rooms(scratch, server):
    done = race(scratch, "-C", "200", "hello there", PARLEY_SOCKET=server.socket)
    assert done.returncode == 0, done.stderr
    assert "tcp      not in the race: this server is reached by its Unix socket" in done.stdout
    said = server.json("history", "#race-unix", "--last", "3")
    assert [m["text"].split()[0] for m in said] == ["197", "198", "199"]
    assert all(m["text"].endswith(" hello there") for m in said)


def test_remote_server_has_one_lane(scratch, make_server):
    server = make_server().start("--listen", "127.0.0.1:0")
    address = re.search(r"tcp:\S+", server.ready.group(0)).group(0)
    done = race(scratch, "-s", address, "-C", "100", "--json")
    lanes = {line.get("transport"): line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0
    assert lanes["tcp"]["verified"] and "reached by TCP" in lanes["shm"]["absent"]


@pytest.mark.parametrize("args, why", [
    (("--private", "-s", "unix:/x"), "exclude each other"),
    (("hi", "--size", "100"), "exclude each other"),
    (("-C", "0"), "--count: from 1"),
    (("--size", "5"), "--size: at least"),
    (("--size", "40000"), "at most 32768 bytes"),
    (("a", "b"), "that is too much"),
])
def test_bad_options_are_usage_errors(scratch, args, why):
    done = race(scratch, *args)
    assert done.returncode == 2 and why in done.stderr


def test_no_server_where_one_was_named(scratch):
    done = race(scratch, "-s", "unix:" + scratch + "/nobody", "-C", "10", "-t", "unix")
    assert done.returncode == 69
    assert "no server at unix:" in done.stderr and done.stdout == ""


# --- on a terminal -----------------------------------------------------------------------------------


class Over(Exception):
    """The race came to its end before we had seen enough of it."""


class Screen:
    """A terminal in memory. `alternate`: is the board's screen shown?"""

    def __init__(self, scratch, columns, rows, *args, **env):
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = self.rest = b""
        self.child = pexpect.spawn(PARLEY, ["race", "--private", *args], env=environment(scratch, **env),
                                   dimensions=(rows, columns), timeout=harness.DEADLINE)

    @property
    def alternate(self):
        return self.raw.rfind(b"\033[?1049h") > self.raw.rfind(b"\033[?1049l")

    def read(self):
        try:
            data = self.child.read_nonblocking(65536, timeout=0.05)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        # pyte has no second screen: begin with an empty one. A sequence may come in two pieces.
        data = self.rest + data
        cut = re.search(rb"(\033[\[?0-9;]*)?$", data).start()
        data, self.rest = data[:cut], data[cut:]
        for part in re.split(rb"(\033\[\?1049[hl])", data):
            if part.startswith(b"\033[?1049"):
                self.screen.reset()
            else:
                self.stream.feed(part)
        return True

    def show(self, what):
        def seen():
            if not self.read():
                raise Over()
            return self.alternate and what(self.screen.display)
        return until(seen, "the board shows it")

    def resize(self, columns, rows):
        self.child.setwinsize(rows, columns)
        self.screen.resize(rows, columns)

    def end(self):
        until(lambda: not self.read(), "the race ends", harness.DEADLINE * 2)
        self.child.wait()
        return self.child.exitstatus


def lane_rows(display):
    return [line for line in display if re.match(rf"({'|'.join(TRANSPORTS)}) ", line) and "%" in line]


def watched(scratch, columns, rows, *options, steps, **env):
    """A board with one message at a time, once `steps` have seen what they look for. Few messages, for a slow machine
    takes long for each of them; more, if that race was over before."""
    for count in ("20000", "200000", "2000000"):
        t = Screen(scratch, columns, rows, "-C", count, "--window", "1", *options, **env)
        try:
            steps(t, count)
            return t
        except Over:
            t.end()
    raise AssertionError("two million messages were over before anybody saw them")


def interrupt(t, signo=signal.SIGINT):
    if signo == signal.SIGINT:
        t.child.send("\x03")
    else:
        t.child.kill(signo)
    code = t.end()
    if code == 0:
        raise Over()
    assert code == 128 + signo
    assert not t.alternate


@pytest.mark.parametrize("columns, rows", [(80, 24), (200, 50)])
def test_board_shows_lanes_moving(scratch, objects, columns, rows):
    def steps(t, count):
        board = t.show(lambda d: len(lane_rows(d)) >= 6 and d)
        assert f"{count} messages of 64 bytes by each transport" in board[0]
        t.show(lambda d: any(0 < int(re.search(r"(\d+) %", row).group(1)) < 100 for row in lane_rows(d)))
        frames = set()
        t.show(lambda d: frames.add("\n".join(lane_rows(d))) or len(frames) > 3)
        t.show(lambda d: any("█" in row for row in lane_rows(d)))
        interrupt(t)
    t = watched(scratch, columns, rows, steps=steps)
    assert b"\033[3" in t.raw, "colours"
    assert_nothing_left(scratch, objects)


@pytest.mark.parametrize("columns, rows", [(80, 24), (200, 50)])
def test_table_stays_when_the_board_is_gone(scratch, objects, columns, rows):
    t = Screen(scratch, columns, rows, "-C", "500")
    assert t.end() == 0
    assert b"\033[?1049h" in t.raw and not t.alternate and b"\033[?25h" in t.raw, "the screen is given back"
    table = "\n".join(t.screen.display)
    assert re.search(r" 1\. \w+ +\d+", table) and "wake-ups/msg" in table
    assert_nothing_left(scratch, objects)


def test_board_follows_the_size_of_the_terminal(scratch):
    def steps(t, _):
        t.show(lambda d: len(lane_rows(d)) == 3)
        t.resize(120, 30)
        t.show(lambda d: lane_rows(d) and all(len(row.rstrip()) > 85 for row in lane_rows(d)))
        t.resize(40, 4)
        t.show(lambda d: len(lane_rows(d)) == 3 and all(len(row.rstrip()) <= 40 for row in lane_rows(d)))
        interrupt(t)
    watched(scratch, 80, 24, "-t", "unix,shm,fifo", steps=steps)


def test_board_without_colour_and_utf8(scratch):
    def steps(t, _):
        t.show(lambda d: any("###" in row for row in lane_rows(d)))
        interrupt(t)
    t = watched(scratch, 80, 24, "-t", "unix,shm", steps=steps, NO_COLOR="1", LC_ALL="C", LANG="C")
    assert not re.search(rb"\033\[[0-9;]*m", t.raw)


def test_dumb_terminal_gets_the_table_only(scratch):
    t = Screen(scratch, 80, 24, "-C", "300", "-t", "unix,shm", TERM="dumb")
    assert t.end() == 0
    assert b"\033" not in t.raw
    assert "messages/s" in t.raw.decode()


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_race_gives_the_screen_back_and_leaves_nothing(scratch, objects, signo):
    def steps(t, _):
        t.show(lambda d: len(lane_rows(d)) >= 6)
        interrupt(t, signo)
    watched(scratch, 80, 24, steps=steps)
    assert_nothing_left(scratch, objects)


def test_lane_that_is_killed_has_failed(scratch):
    """And only that one: the others finish."""
    def lanes():
        """Children that are lanes: the same program."""
        found = [c for c in harness.children(p.pid) if os.path.realpath(f"/proc/{c}/exe") == os.path.realpath(PARLEY)]
        return found if len(found) == 2 else None
    for count in (30000, 300000, 3000000):  # more, if it was over before we looked
        p = subprocess.Popen([PARLEY, "race", "--private", "--json", "-C", str(count), "--window", "1", "-t", "unix,fifo"],
                             env=environment(scratch), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        victims = until(lambda: lanes() or (p.poll() is not None and [None]), "two lanes run")
        if victims[0]:
            break
        p.communicate()
    os.kill(victims[0], signal.SIGKILL)
    out, _ = p.communicate(timeout=harness.DEADLINE * 2)
    assert p.returncode == 1
    lines = [json.loads(line) for line in out.splitlines()][:-1]
    assert sorted(line["verified"] for line in lines) == [False, True]
    assert "signal 9" in next(line["error"] for line in lines if not line["verified"])
    assert not glob.glob(scratch + "/*")
