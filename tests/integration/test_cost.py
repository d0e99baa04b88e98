"""What a server spends where a count says it, not a clock: system calls for a post, bytes for a
session, memory for a reader that does not read."""

import collections
import os
import re
import signal

import pytest

import harness
import parleywire as wire
import rawends
from harness import TRANSPORTS, until

HUB = ("--place", "hub")
KIB = 1024


def private_bytes(pid):
    """Memory of its own; logs, rings and files are shared."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+) kB", f.read()).group(1)) * KIB


def calls(lines):
    """How often each system call was made; those that a signal or the end of the trace cut count too."""
    names = (re.match(r"(?:\d+ +)?(\w+)\(", line) for line in lines)
    return collections.Counter(m.group(1) for m in names if m)


def turns(lines):
    """The calls of each turn of a loop: those between two waits."""
    found = [collections.Counter()]
    for line in lines:
        if re.match(r"(?:\d+ +)?epoll_p?wait\(", line):
            found.append(collections.Counter())
        else:
            found[-1] += calls([line])
    return found


def talkers(server, count, room="#cost"):
    """Clients in a room, by unix; the first of them will post."""
    out = [wire.Client.connect(server.socket, f"t{i}", transports=[wire.UNIX]) for i in range(count)]
    for c in out:
        c.room = c.join(room, flags=wire.QUIET).room
    return out


# --- system calls --------------------------------------------------------------------------------------


def test_a_post_costs_a_read_a_write_of_the_log_and_one_send_for_each_reader(make_server):
    server = make_server().start("--sync", "none", *HUB)
    people = talkers(server, 4)
    posts = 25
    with harness.Calls(server.dir, [server.pid]) as trace:
        for i in range(posts):
            people[0].post(people[0].room, f"post {i}")
            for c in people:
                c.until("MESSAGE", text=f"post {i}")
    made = calls(trace.lines())
    assert made["recvfrom"] == posts
    assert made["pwritev"] == posts
    assert made["sendto"] == posts * len(people)
    assert made["epoll_wait"] + made["epoll_pwait"] >= posts
    # getrusage is of the statistics. Each second the limits of the system are looked at, also in a turn that had a post.
    more = [t for t in turns(trace.lines()) if t["recvfrom"] and set(t) - {"recvfrom", "pwritev", "sendto", "getrusage"}]
    assert len(more) < posts / 2, "something else is called for posts"
    for c in people:
        c.close()


@pytest.mark.parametrize("place", ["hub", "workers"])
@pytest.mark.parametrize("transport,call", [("unix", "sendfile"), ("tcp", "sendfile"), ("fifo", "splice")])
def test_long_slices_of_the_log_are_not_copied(make_server, free_port, place, transport, call):
    server = make_server().start("--workers", "1", "--place", place, "--listen", f"127.0.0.1:{free_port}")
    text = "x" * 1000
    server.ok("send", "#long", "-", input=f"{text}\n" * 100)
    sender = server.workers()[0] if place == "workers" else server.pid
    address = f"tcp:127.0.0.1:{free_port}" if transport == "tcp" else server.address
    with harness.Calls(server.dir, [sender], "sendfile,splice") as trace:
        lines = server.json("history", "--last", "1000", "-t", transport, "#long", server=address)
    assert [m["text"] for m in lines if m["type"] == "message"] == [text] * 100
    moved = [int(n) for n in re.findall(rf"^(?:\d+ +)?{call}\(.*\) = (\d+)$", "\n".join(trace.lines()), re.M)]
    assert sum(moved) > 100 * 1000 / 2, "most of it was copied"


# --- waiting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["hub", "workers"])
def test_adaptive_server_asks_for_the_bell_before_it_sleeps(make_server, place):
    """Once it has spun in vain, a client that rings only when asked to must still be heard."""
    server = make_server().start("--wait", "adaptive", "--place", place)
    s = rawends.Session(server.socket, "shm")
    for stamp in range(1, 4):
        until(lambda: s.up.word(s.up.READER) & 1, "the server asks to be rung")
        assert s.push(wire.encode("PING", number=stamp, stamp=stamp))  # rings, as asked
        until(lambda: s.up.word(s.up.HEAD) == s.up.own, "it is heard")
    s.close()


def test_adaptive_server_with_one_cpu_does_not_spin(make_server):
    """Whom it waits for would need that CPU: it goes to sleep at once, and never only looks."""
    cpu = min(os.sched_getaffinity(0))
    server = make_server().start("--wait", "adaptive", *HUB, prefix=["taskset", "-c", str(cpu)])
    with harness.Calls(server.dir, [server.pid], "epoll_wait,epoll_pwait") as trace:
        for i in range(10):
            server.ok("send", "-t", "shm", "#lobby", f"{i}")
    polls = [line for line in trace.lines() if "epoll" in line]
    assert polls, "the trace saw nothing"
    looked = [p for p in polls if re.search(r", 0(, NULL, \d+)?\) +=", p)]
    # libuv itself looks once more after a full table of events, or with an idle handle (a bell's rest).
    assert len(looked) < len(polls) / 2


# --- memory --------------------------------------------------------------------------------------------


def test_an_idle_session_costs_little_memory(make_server):
    harness.raise_descriptor_limit()
    server = make_server().start("--max-clients", "4096", *HUB)
    first = talkers(server, 50)  # tables and buffers that are there once
    before, count = private_bytes(server.pid), 1000
    more = talkers(server, count)
    each = (private_bytes(server.pid) - before) / count
    assert each <= 8 * KIB
    for c in first + more:
        c.close()


def lag_of(server, nick):
    (row,) = [m for m in server.json("who", "#room") if m["nick"] == nick]
    return row["lag"]


@pytest.mark.parametrize("place,transport", [("hub", t) for t in TRANSPORTS] +
                         [("workers", "unix"), ("workers", "shm")])
def test_a_stopped_subscriber_costs_no_memory_and_holds_up_nobody(make_server, free_port, transport, place):
    """It lags, and is seen to; the log is the queue. So many bytes that no kernel buffer holds them (TCP
    has up to ten million), and for mmap, where bytes are not sent at all, so many references."""
    server = make_server().start("--workers", "1", "--place", place, "--listen", f"127.0.0.1:{free_port}")
    address = f"tcp:127.0.0.1:{free_port}" if transport == "tcp" else server.address
    stopped = server.stream("tail", "--json", "-n", "stopped", "-t", transport, "#room", server=address)
    other, poster = talkers(server, 2, "#room")
    until(lambda: server.members("#room") == 3, "everybody is there")
    sender = server.workers()[0] if place == "workers" else server.pid
    posts, size, together = {"mmap": (9000, 10, 1), "tcp": (600, 32000, 20)}.get(
        transport, (60, 32000, 20))

    def say(count):
        for i in range(0, count, together):
            for k in range(i, min(i + together, count)):
                poster.post(poster.room, "y" * size)
            for c in (poster, other):
                for k in range(i, min(i + together, count)):
                    c.until("MESSAGE")
    say(100)  # buffers have been used once
    until(lambda: len(stopped.messages()) == 100, "all lines arrive")
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        before = [private_bytes(p) for p in (server.pid, sender)]
        say(posts)
        grown = [private_bytes(p) - b for p, b in zip((server.pid, sender), before)]
        assert max(grown) < 512 * KIB, grown
        until(lambda: lag_of(server, "stopped") > 0, "its lag is shown")
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    until(lambda: len(stopped.messages()) == 100 + posts, "it gets everything later")
    until(lambda: lag_of(server, "stopped") == 0, "its lag is gone")
    for c in (poster, other):
        c.close()


def test_worker_without_sessions_sleeps_also_where_waiting_is_spinning(make_server):
    """Under --place auto everybody may be served by the hub: idle workers leave the CPUs to it."""
    server = make_server().start("--wait", "spin", "--workers", "2", "--place", "auto")

    def states():
        found = []
        for pid in server.workers():
            with open(f"/proc/{pid}/stat") as f:
                found.append(f.read().rsplit(")", 1)[1].split()[0])
        return found
    until(lambda: states() == ["S", "S"], "both sleep")
    assert harness.settled(states) == ["S", "S"]
