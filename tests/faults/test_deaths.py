"""Resuming: after the death of a sender, a worker or the hub everything is there once, in order."""

import os
import signal

import pytest

import harness
import ledger
import parleywire as wire
import roomlog
from conftest import LONG
from harness import TRANSPORTS, quiet_port, until

LINES = 3000 if LONG else 600


class Paused:
    """The process stands still inside the block, so that what is sent to it meanwhile is found at once."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def test_a_join_in_the_turn_of_a_post_delays_nobody(make_server):
    """A newcomer's cursor must not make the news of that turn look old to those who are there."""
    server = make_server().start("--place", "workers", "--workers", "1")
    with wire.Client.connect(server.socket, "early") as early, wire.Client.connect(server.socket, "a") as a:
        number = a.join("#lobby", flags=wire.QUIET).room
        for i in range(10):
            late = wire.Client.connect(server.socket, "late")
            with Paused(server.pid):
                a.post(number, f"post {i}")
                late.ask("JOIN", flags=wire.QUIET, room="#lobby", start=wire.FROM_NOW, arg=0)
                early.ask("PING", stamp=i)  # and something from a connection that was there before `a`
            assert a.until("MESSAGE").text == f"post {i}"
            late.close()


# --- a whole input, sent again -----------------------------------------------------------------------------------


class Job:
    """Says every line of a named input, as a script would: after a death it begins with line 1 again, and
    the server tells how many of them it has."""

    def __init__(self, address, name, lines):
        self.client = wire.Client.connect(address, "job", input=name)
        self.lines = lines
        self.next = self.client.welcome.last_counter + 1
        self.room = self.client.join("#lobby", flags=wire.QUIET).room

    def say(self, n):
        """At most `n` more lines, without waiting for anything; True when all are said."""
        part = self.lines[self.next - 1:self.next - 1 + n]
        self.client.send(b"".join(wire.encode("POST", 0, self.room, self.next + i, text=text)
                                  for i, text in enumerate(part)))
        self.next += len(part)
        return self.next > len(self.lines)

    def finish(self):
        if self.client.welcome.last_counter < len(self.lines):
            self.client.until("MESSAGE", counter=len(self.lines), producer=self.client.welcome.producer)
        self.client.close()

    def die(self):
        self.client.close()


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_an_input_sent_again_is_said_once(make_server, dice, count, sync):
    """The sender dies again and again, sometimes the server too, at once or one after the other."""
    server = make_server(ledger.FastServer)
    options = ("--place", "workers", "--workers", "1", "--sync", sync)
    lines = [f"line {i}" for i in range(LINES)]
    server.start(*options)
    deaths, done = 0, False
    while not done:
        job = Job(server.socket, b"nightly", lines)
        for _ in range(dice.randrange(1, 6)):
            done = job.say(dice.randrange(1, LINES // 10))
        if done:
            job.finish()
            break
        deaths += 1
        kind = dice.randrange(3)
        if kind == 0:
            server.kill()
        job.die()
        if kind == 1:
            server.kill()
        if server.process is None:
            server.start(*options)
    Job(server.socket, b"nightly", lines).finish()  # and once more, when all is there
    assert [r.text for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"] == lines
    # Another name is another input; another user would be another producer.
    other = Job(server.socket, b"weekly", lines[:3])
    assert other.next == 1 and other.say(3)
    other.finish()
    count(deaths=deaths, lines=len(lines))


# --- in mid-stream ---------------------------------------------------------------------------------------------


def numbers(stream):
    return [int(m["text"]) for m in stream.messages()]


@pytest.mark.parametrize("victim", ["worker", "hub", "everything"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_death_in_mid_stream(make_server, transport, victim):
    """A tail and a send by this transport with the stream under way: every line once, in order."""
    server = make_server(ledger.FastServer)
    port = quiet_port()
    options = ("--place", "workers", "--workers", "1", "--listen", f"127.0.0.1:{port}")
    server.start(*options)
    address = f"tcp:127.0.0.1:{port}" if transport == "tcp" else None
    tail = server.stream("tail", "--json", "-q", "-t", transport, "#lobby", server=address)
    until(lambda: server.members("#lobby") == 1, "tail is there")
    given, taken = os.pipe()
    send = server.stream("send", "-t", transport, "#lobby", "-", server=address, stdin=given)
    os.close(given)
    with os.fdopen(taken, "wb", buffering=0) as lines:
        for start in range(0, LINES, LINES // 3):
            part = range(start, start + LINES // 3)
            lines.write("".join(f"{i}\n" for i in part).encode())
            # Some of it has come; the rest is on its way, somewhere.
            until(lambda: len(tail.lines) > start, "the stream flows: " + tail.stderr + send.stderr)
            if victim == "worker":
                harness.shoot(server.workers())
            else:
                if victim == "hub":
                    server.shoot()
                else:
                    server.kill()
                server.start(*options)
    assert send.wait() == 0, send.stderr
    until(lambda: len(tail.lines) >= LINES, f"everything arrives ({len(tail.lines)}): {tail.stderr}")
    assert numbers(tail) == list(range(LINES))
    assert [r.text for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"] == \
        [str(i) for i in range(LINES)]
    assert harness.alive(tail.pid)
