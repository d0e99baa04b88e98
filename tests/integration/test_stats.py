"""What a session says of itself: /stats in the chat, parley ping. Do the counts add up, are transports
kept apart, and do the times agree with those of parley bench?"""

import os
import re
import signal
import subprocess

import pytest

import harness

LOCAL = [t for t in harness.TRANSPORTS if t != "tcp"]


def rows(text, head):
    """The rows of the last table with this first heading, as lists of cells."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("  " + head):
            found, inside = [], True
        elif inside and line.startswith("  ") and not line.startswith("  own"):
            found.append(line.split())
        else:
            inside = False
    return found


def test_stats_of_a_chat_that_changes_its_transport(server, chats):  # noqa: F811
    a = chats.chat("alice", "-t", "unix")
    for i in range(5):
        a.enter(f"by unix {i}")
        a.sees(f"<alice> by unix {i}")
    a.enter("/transport shm")
    a.sees("unix → shm")
    for i in range(3):
        a.enter(f"by shm {i}")
        a.sees(f"<alice> by shm {i}")
    a.enter("/stats")
    a.sees("switched 1 times; 0 said again, 0 not acknowledged yet")
    a.until(lambda: a.edited() in ("#lobby>", ">"), "all of it")
    text = a.text()
    times = {(r[0], r[1]): [float(x) for x in r[2:]] for r in rows(text, "own lines")}
    assert times["unix", "idle"][0] == 5 and times["shm", "idle"][0] == 3
    for count, p50, p99, p999, most in times.values():
        assert 0 < p50 <= p99 <= p999 <= most
    carried = {r[0]: [int(x) for x in r[1:]] for r in rows(text, "by ")}
    assert set(carried) == {"unix", "shm"}
    assert carried["unix"][1] >= 5 and carried["shm"][1] >= 3, "records"
    assert carried["unix"][4] == 0, "no doorbells on a socket"
    assert carried["shm"][4] + carried["shm"][5] >= 3, "each line rang, or was spared it"
    assert re.search(r"by shm, served by (worker \d|the hub): 0 bytes behind", text)
    assert "switched 1 times; 0 said again, 0 not acknowledged yet" in text


def test_stats_of_many_lines_at_once_are_busy(server):
    chat = server.stream("#lobby", "-n", "alice", "-t", "fifo", stdin=subprocess.PIPE)
    lines = "".join(f"line {i}\n" for i in range(200))
    chat.process.stdin.write((lines + "/stats\n/quit\n").encode())
    chat.process.stdin.close()
    assert chat.wait() == 0
    text = b"".join(chat.lines).decode()
    times = {r[1]: int(r[2]) for r in rows(text, "own lines")}
    assert times["busy"] > times.get("idle", 0) and times["busy"] + times.get("idle", 0) == 200


def test_stats_count_what_was_said_again(server, chats):  # noqa: F811
    a = chats.chat("alice", "-t", "unix")
    a.enter("one")
    a.sees("<alice> one")
    os.kill(server.pid, signal.SIGSTOP)  # what goes out now is never read
    a.enter("two")
    a.type("thr", "ee")  # the loop has turned since
    server.kill()
    server.start("--workers", "2")
    a.sees("<alice> two")
    a.send("\025")  # Ctrl-U
    a.enter("/stats")
    a.sees("reconnected 1, switched 0 times; 1 said again, 0 not acknowledged yet")
    a.sees("0 lost")
    assert a.text().count("<alice> two") == 1


def test_ping_tells_percentiles_and_wake_ups(server):
    done = {p["transport"]: p for p in server.json("ping", "-C", "50")}
    for name in LOCAL:
        p = done[name]
        assert p["min_ns"] <= p["p50_ns"] <= p["p99_ns"] <= p["p99_9_ns"] <= p["max_ns"]
        assert p["bytes_in"] > 0 and p["bytes_out"] > 0 and p["full"] == 0
    for name in ("sysvmq", "shm", "mmap"):
        assert done[name]["bells"] + done[name]["muted"] >= 50, "each request rang, or was spared it"
    for name in ("fifo", "posixmq", "unix"):
        assert done[name]["bells"] == 0
    text = server.ok("ping", "-C", "5").splitlines()
    assert "p99.9" in text[0] and "spared" in text[0] and all(len(line) < 80 for line in text)


def slow(server, seconds):
    """While this is entered, the server comes from each wait so much later."""
    waits = "epoll_wait,epoll_pwait"
    return harness.Calls(server.dir, [server.pid], waits, "-e", f"inject={waits}:delay_exit={int(seconds * 1e6)}")


def test_ping_of_a_slow_server_fits_on_a_terminal(make_server):
    server = make_server().start("--place", "hub")
    with slow(server, 1.1):
        lines = server.ok("ping", "-C", "1", "-t", "unix", deadline=4 * harness.DEADLINE).splitlines()
    assert len(lines) == 2 and all(len(line) < 80 for line in lines)
    assert all(float(us) >= 1e6 for us in lines[1].split()[1:7])


@pytest.mark.parametrize("transport", ["unix", "shm"])
def test_times_of_stats_agree_with_bench_on_the_same_load(make_server, transport):
    """The bench measures the publisher's round trips itself, and asks the session for its own. The server is made slow,
    so that what lies between the two clocks is little beside it, on every machine."""
    server = make_server().start("--place", "hub")
    with slow(server, 0.003):
        (line,) = server.json("bench", "latency", "-t", transport, "--rounds", "100", "--rate", "50", "--repeat", "1", "-q")
    bench, stats = (line["figures"][name]["median"] for name in ("own_p50", "own_p50_stats"))
    assert bench >= 3e6, "it was not slow at all"
    assert abs(bench - stats) <= 0.1 * bench, (bench, stats)
