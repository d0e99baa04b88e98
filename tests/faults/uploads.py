"""Files that are sent, slowly and by the wire, while things are killed. A thread of its own sends one after the other,
each under one key and attempt, and goes on after every loss. Some it gives up: those must never be there."""

import collections
import hashlib
import os
import random
import threading

import parleywire as wire
import roomlog
from harness import until
from peer import RETRY, ROOM

SIZE = 400_000
PIECE = 8192
MOST = 40  # files; the server takes 60 of one person a minute
GIVEN_UP = 5  # every so many are


class Lost(Exception):
    """Ask again."""


class Uploads(threading.Thread):
    def __init__(self, port):
        super().__init__(daemon=True)
        self.address = ("127.0.0.1", port)
        self.stopping = threading.Event()
        self.problem = None
        self.whole = {}     # name: hash of those that are sent for certain
        self.given_up = []  # names
        self.losses = self.went_on = 0
        self.dice = random.Random(port)

    def run(self):
        try:
            for number in range(MOST):
                if self.stopping.is_set():
                    return
                self.send(f"slow-{number}", number % GIVEN_UP == GIVEN_UP - 1)
        except Exception as problem:  # noqa: BLE001 - told by stop()
            self.problem = problem

    def stop(self):
        self.stopping.set()
        self.join(120)
        if self.problem:
            raise self.problem
        assert not self.is_alive()

    def send(self, name, give_up):
        data = self.dice.randbytes(SIZE)
        key, attempt, self.came = os.urandom(16), os.urandom(16), 0
        while True:
            try:
                with wire.Client.connect(self.address, "uploader") as c:
                    if self.attempt(c, name, data, key, attempt, give_up):
                        self.whole[name] = hashlib.blake2b(data, digest_size=32).digest()
                    else:
                        self.given_up.append(name)
                    return
            except (OSError, wire.Ended, Lost):
                self.losses += 1
                self.stopping.wait(RETRY)

    def attempt(self, c, name, data, key, attempt, give_up):
        """True: it is there; False: it is given up."""
        room = c.join(ROOM, flags=wire.QUIET).room
        n = c.ask("FILE_PUT", at=room, name=name, size=len(data), key=key, attempt=attempt)
        answer = self.answer(c, n, name)
        if answer.type in ("FILE_ENTRY", "FILE"):
            assert answer.hash == hashlib.blake2b(data, digest_size=32).digest(), answer
            return True
        side, first = c.open_file(self.address, answer)
        with side:
            if first.type != "FILE_DATA":
                raise Lost(first)
            assert (first.how, first.size) == (0, len(data)) and self.came <= first.offset <= len(data), \
                f"{first} after {self.came} bytes had come"
            self.came = first.offset
            self.went_on += first.offset > 0
            for at in range(first.offset, len(data), PIECE):
                if give_up and at > len(data) // 2:
                    return False
                side.send(data[at:at + PIECE])
                self.turn(c)
            side.send(wire.encode("FILE_END", hash=hashlib.blake2b(data, digest_size=32).digest()))
            side.until_end()
        return self.answer(c, n, name).type == "FILE"

    @staticmethod
    def turn(c):
        c.ask("PING", stamp=0)
        c.until("PONG")

    @staticmethod
    def answer(c, n, name):
        """What comes of FILE_PUT number `n`, now or after it was all sent."""
        while True:
            r = c.until("FILE_TICKET", "FILE_ENTRY", "ERROR", "FILE")
            if r.type == "FILE" and r.name == name or r.type in ("FILE_TICKET", "FILE_ENTRY") and r.counter == n:
                return r
            if r.type == "ERROR" and r.counter == n:
                raise Lost(r.text)

    # -- afterwards ---------------------------------------------------------------------------------

    def check(self, book):
        """After book.check(): every FILE record is of a file that was sent, and it is there as long as its record."""
        hashes, said = dict(self.whole), book.said_files()
        for p in book.puts:
            hashes.update(p.hashes)
        count = collections.Counter(name for _, name, _ in said)
        for seq, name, hash_ in said:
            assert hashes.get(name) == hash_, f"record {seq} says a file {name} that nobody sent in that way"
        if not book.retains:
            for name in self.whole:
                assert count[name] == 1, f"{name}, of one attempt, was said {count[name]} times"
            for p in book.puts:
                for name, runs in p.runs.items():
                    assert (name in p.sent) <= count[name] <= runs, f"{name}: said {count[name]} times, sent {runs}"
        with wire.Client.connect(self.address, "fetcher") as c:
            room = c.join(ROOM, flags=wire.QUIET).room
            listed = {(r.said, r.name, r.hash) for r in c.listing("FILE_LIST", room)}
            assert listed <= set(said), "more is listed than was said"
            there = [one for one in said if one[0] >= book.first]
            for one in there:
                if one not in listed or self.fetch(c, room, one[0]) != one[2]:
                    # More may have been dropped meanwhile: the file first, then the record.
                    assert book.retains, f"{one} is not there, or something else"
                    until(lambda one=one: roomlog.first(book.server.state, ROOM) > one[0], f"{one} was dropped")
        return len(there)

    def fetch(self, c, room, seq):
        """Hash of the contents as they come over the wire; None, or another one: it was dropped meanwhile."""
        entry, ticket = c.get_file(room, said=seq)
        if not entry:
            return None
        try:
            side, first = c.open_file(self.address, ticket)
        except (OSError, wire.Ended):
            return None
        with side:
            if first.type == "ERROR":
                return None
            assert first.how == 0, first
            data = bytes(side.data)
            while part := side.sock.recv(1 << 18):
                data += part
        return hashlib.blake2b(data, digest_size=32).digest()
