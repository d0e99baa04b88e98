"""Every transport to every transport: in three rooms at once, a sender and a receiver on each of the
seven. Every receiver gets every message exactly once, in the order of the room, byte for byte."""

import hashlib
import random

import pytest

import harness
from harness import TRANSPORTS

ROOMS = ["#one", "#two", "#three"]
MESSAGES = 1000  # of each sender
LARGEST = 32768


def text_of(sender, i):
    """The i-th text of a sender: 1 byte to 32 KiB, mostly short, some of it not ASCII."""
    rng = random.Random(f"{sender} {i}")
    if i % 250 == 0:
        size = LARGEST
    elif i % 50 == 0:
        size = rng.randrange(1000, LARGEST)
    else:
        size = int(2 ** rng.uniform(0, 9))
    if i % 7 == 0 and size >= 8:
        return "é" * ((size - 5) // 2) + f"{i:05d}"
    letters = f"{sender}/{i}:" + "abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1)
    return letters[-size:] if size < 26 else letters[:size]


def digest(texts):
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_transport_to_every_transport(make_server, free_port, tmp_path, workers):
    place = ["--place", "workers"] if workers else []
    server = make_server().start("--workers", str(workers), *place, "--listen", f"127.0.0.1:{free_port}")

    def address(transport):
        return f"tcp:127.0.0.1:{free_port}" if transport == "tcp" else server.address

    said = {}
    for room in ROOMS:
        for t in TRANSPORTS:
            nick = f"{room[1:]}-{t}"
            texts = [text_of(nick, i) for i in range(MESSAGES)]
            said[nick] = texts
            (tmp_path / nick).write_text("".join(x + "\n" for x in texts))

    # Half of the receivers are there before the first word; the others begin in the past while the
    # room is busy, so that their stream changes from history to live somewhere in the middle.
    def receive(room, t):
        return server.stream("tail", "--json", "-t", t, "-q", "--after", "0", room, server=address(t))

    receivers = {(room, t): receive(room, t) for room in ROOMS for t in TRANSPORTS[::2]}
    senders = []
    for room in ROOMS:
        for t in TRANSPORTS:
            nick = f"{room[1:]}-{t}"
            with open(tmp_path / nick, "rb") as lines:
                senders.append(server.stream("send", "-t", t, "-n", nick, room, "-", stdin=lines,
                                             server=address(t)))
    first = receivers[ROOMS[0], TRANSPORTS[0]]
    harness.until(lambda: len(first.lines) > 100, "messages flow")
    for room in ROOMS:
        for t in TRANSPORTS[1::2]:
            receivers[room, t] = receive(room, t)

    for s in senders:
        assert s.wait(300) == 0, s.stderr
    total = MESSAGES * len(TRANSPORTS)
    for (room, t), r in receivers.items():
        harness.until(lambda r=r: len(r.lines) >= total,
                      f"{room} by {t} has all {total} (has {len(r.lines)}): {r.stderr}", 120)

    for room in ROOMS:
        order = None
        for t in TRANSPORTS:
            got = receivers[room, t].messages()
            assert len(got) == total, f"{room} by {t}"
            seqs = [m["seq"] for m in got]
            assert all(a < b for a, b in zip(seqs, seqs[1:])), f"{room} by {t}: order"
            assert {m["room"] for m in got} == {room}
            for sender in TRANSPORTS:
                nick = f"{room[1:]}-{sender}"
                texts = [m["text"] for m in got if m["from"] == nick]
                assert len(texts) == MESSAGES, f"{nick} to {t}"
                assert digest(texts) == digest(said[nick]), f"{nick} to {t}"
            if order is None:
                order = seqs
            assert seqs == order, f"{room}: {t} saw another order"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_smallest_and_largest_text_by(server, make_server, free_port, transport):
    address = server.address
    if transport == "tcp":
        server = make_server().start("--listen", f"127.0.0.1:{free_port}")
        address = f"tcp:127.0.0.1:{free_port}"
    texts = ["x", "y" * LARGEST, "é" * (LARGEST // 2), "z"]
    tail = server.stream("tail", "--json", "-t", transport, "--after", "0", "#sizes", server=address)
    server.ok("send", "-t", transport, "#sizes", "-", input="".join(t + "\n" for t in texts),
              server=address)
    harness.until(lambda: len(tail.lines) >= 4, "all four arrive")
    assert [m["text"] for m in tail.messages()] == texts
