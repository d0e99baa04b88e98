"""A session of the ledger's own that speaks the protocol (unix or tcp) and never dies, so it knows for certain
what it was told: it says numbered lines, changes and deletes some of them, and reads all of the room."""

import collections
import os
import socket
import time

import parleywire as wire

ROOM = "#ledger"
EDIT = " mended"  # at the end of a text: it is in place of that peer's last one
DELETE = " taken back"  # … this one is never sent, but the wish to delete the last one
CHANGE = 5  # with Ledger.edits, every so many lines of a peer are an edit or a deletion, in turn
RETRY = 0.004  # seconds between two attempts of a peer to connect

SAID = ("MESSAGE", "EDITED", "DELETED")  # what is said under a counter


class Fault(AssertionError):
    """A promise was broken."""


What = collections.namedtuple("What", "type producer counter flags fields time")


def what(r):
    """What makes a record the same record."""
    return What(r.type, r.producer, r.counter, r.flags, tuple(sorted(r.fields.items())), r.time)


def is_it(r, text):
    """Is that record what came of the wish?"""
    kind = "DELETED" if text.endswith(DELETE) else "EDITED" if text.endswith(EDIT) else "MESSAGE"
    return r.type == kind and dict(r.fields).get("text", text) == text


class Peer:
    """One session that posts numbered lines and reads the room, and resumes whenever it has to."""

    def __init__(self, ledger, name, address, window=4, input=b""):
        self.ledger, self.name, self.address, self.window, self.input = ledger, name, address, window, input
        self.sock = None
        self.state = "down"
        self.retry = 0.0
        self.token, self.producer, self.nick = wire.NO_TOKEN, 0, name
        self.uuid, self.epoch, self.room = None, 0, 0
        self.seen = {}      # sequence number: the record
        self.last = 0       # newest of them
        self.said = 0       # lines said so far
        self.counter = 0
        self.pending = collections.OrderedDict()  # counter: text
        self.acked = {}     # counter: text
        self.claimed = {}   # counter: text, that the server said it has, in WELCOME
        self.refused = {}   # counter: why
        self.rewinds = []
        self.told = 0       # retention: what is below is gone
        self.gone = set()   # numbers that were never seen for that
        self.resumes = 0
        self.padding = 0    # bytes added to each line
        self.heard = {}     # sequence number: ledger.mark() when it came
        self.epochs = []    # (ledger.mark(), epoch) at each JOINED
        self.when = {}      # counter or claim: value of ledger.mark() at that time
        self.quiet = False  # no new lines
        self.limit = float("inf")  # lines to say
        self.errors_allowed = False

    # -- connection ------------------------------------------------------------------------------

    def fault(self, text):
        raise Fault(f"{self.name}: {text}")

    def drop(self, wait=RETRY):
        if self.sock:
            self.ledger.forget(self.sock)
            self.sock.close()
        self.sock = None
        self.state = "down"
        self.retry = time.monotonic() + wait

    def connect(self):
        self.sock = socket.socket(socket.AF_INET if isinstance(self.address, tuple) else socket.AF_UNIX)
        try:
            self.sock.settimeout(5)
            self.sock.connect(self.address)
        except OSError:
            self.sock.close()
            self.sock = None
            self.retry = time.monotonic() + RETRY
            return
        self.sock.setblocking(False)
        self.data, self.out = bytearray(), bytearray()
        cursors = wire.cursor(self.uuid, self.epoch, 2, self.last) if self.uuid else b""
        self.push(wire.encode("HELLO", version=1, strict=1, nick=self.nick, client="ledger",
                              transports=bytes([wire.TCP if isinstance(self.address, tuple) else wire.UNIX]),
                              token=self.token, producer=self.producer, cursors=cursors,
                              input=b"" if self.uuid else self.input))
        self.state = "hello"
        self.ledger.watch(self.sock, self.readable)

    def push(self, data):
        self.out += data
        try:
            del self.out[:self.sock.send(self.out)]
        except BlockingIOError:
            pass
        except OSError:
            self.retry = 0  # the end of file is read next

    def readable(self):
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.data += data
        at = 0
        while self.sock:
            found = wire.decode(memoryview(self.data)[at:at + wire.RECORD_MAX])
            if not found:
                break
            at += found[1]
            self.take(found[0])
        if self.sock:
            del self.data[:at]
            if not data:
                self.drop()

    def tick(self, now):
        if self.state == "down" and now >= self.retry:
            self.connect()
        elif self.state == "open":
            if self.out:
                self.push(b"")
            while not self.quiet and len(self.pending) < self.window and self.said < self.limit:
                self.say(f"{self.name} {self.said}".ljust(self.padding, ".") + self.change())

    # -- saying ------------------------------------------------------------------------------------

    def change(self):
        """What the next line is to be instead of a new message."""
        if not self.ledger.edits or self.said % CHANGE != CHANGE - 1:
            return ""
        return DELETE if self.said // CHANGE % 2 else EDIT

    def say(self, text):
        self.said += 1
        self.counter += 1
        self.pending[self.counter] = text
        self.post(self.counter, text)

    def post(self, counter, text):
        if text.endswith(DELETE):
            self.push(wire.encode("DELETE", 0, self.room, counter, target=0))
        elif text.endswith(EDIT):
            self.push(wire.encode("EDIT", 0, self.room, counter, target=0, text=text))
        else:
            self.push(wire.encode("POST", 0, self.room, counter, text=text))

    def send_pending(self):
        for counter, text in self.pending.items():
            self.post(counter, text)

    # -- hearing ------------------------------------------------------------------------------------

    def take(self, r):
        if r.type == "WELCOME":
            self.welcome(r)
        elif r.type == "JOINED":
            self.joined(r)
        elif r.type == "ERROR":
            self.error(r)
        elif r.type == "REFUSE":
            self.ledger.refusals[r.text] += 1
            self.drop(0.02)
        elif r.type == "BYE":
            self.drop()
        elif r.type == "DROPPED":
            self.dropped(r.before)
        elif r.seq:
            self.record(r)

    def welcome(self, r):
        if self.producer and r.producer != self.producer:
            # A server that was started anew knows only producers of whom something is in a log.
            if self.acked or self.claimed:
                self.fault("the session is another producer after a resume")
            self.pending = collections.OrderedDict(enumerate(self.pending.values(), 1))
            self.counter = len(self.pending)
        self.resumes += 1 if self.producer else 0
        self.token, self.producer, self.nick = r.token, r.producer, r.nick
        have = [c for c in (*self.acked, *self.claimed) if c > r.last_counter]
        if have and not self.ledger.may_lose:
            self.fault(f"WELCOME says {r.last_counter}, but {max(have)} was acknowledged")
        for counter in [c for c in self.pending if c <= r.last_counter]:
            self.claimed[counter] = self.pending.pop(counter)
            self.when["claim", counter] = self.ledger.mark()
        if r.last_counter > self.counter:
            if not self.input or self.counter:
                self.fault(f"WELCOME says {r.last_counter}, only {self.counter} were sent")
            self.counter = self.said = r.last_counter
        if r.last_counter < self.counter and not self.pending:
            self.counter = r.last_counter  # only where losing is allowed
        self.push(wire.encode("READY"))
        self.state = "joining"
        if not self.uuid:
            self.push(wire.encode("JOIN", wire.QUIET, 0, 1, room=ROOM, start=wire.AFTER, arg=0))
        self.answered = None

    def dropped(self, before):
        """Retention: nothing below `before` will come."""
        if not self.ledger.retains:
            self.fault(f"what was before {before} is dropped, which nobody asked for")
        self.told = max(self.told, before)

    def joined(self, r):
        if r.first > self.last + 1 and self.ledger.retains:
            self.dropped(r.first)
        elif r.rewound:
            self.rewinds.append((self.epoch, self.last, r.first))
            if not self.ledger.may_lose:
                self.fault(f"rewound from {self.last} to {r.first}")
            for seq in [s for s in self.seen if s >= r.first]:
                del self.seen[seq]
            self.last = r.first - 1
        elif r.first != self.last + 1:
            self.fault(f"the room goes on with {r.first} after {self.last}")
        self.uuid, self.epoch, self.room = r.uuid, r.epoch, r.room
        self.epochs.append((self.ledger.mark(), r.epoch))
        self.state = "open"
        self.send_pending()

    def error(self, r):
        # The message that was to be changed may have been dropped meanwhile.
        change = self.ledger.retains and self.pending.get(r.counter, "").endswith((EDIT, DELETE))
        if not self.errors_allowed and not (change and r.code == wire.CODES["DENIED"]):
            self.fault(f"refused: {r}")
        if r.producer == 0 and not self.uuid:  # the JOIN
            self.drop(0.02)
        if r.producer and r.producer == self.producer and r.counter in self.pending:
            self.refused[r.counter] = (self.pending.pop(r.counter), r.code, r.text)

    def record(self, r):
        if r.seq > self.last + 1 and r.seq == self.told:
            self.gone.update(range(self.last + 1, r.seq))
        elif r.seq != self.last + 1:
            self.fault(f"{r.seq} came after {self.last}; up to {self.told} was said to be dropped")
        self.last = r.seq
        self.seen[r.seq] = what(r)
        self.heard[r.seq] = self.ledger.mark()
        if r.type in SAID and r.producer == self.producer:
            text = self.pending.pop(r.counter, None) or self.claimed.get(r.counter)
            if text is None and not self.input:
                self.fault(f"what was never said, or twice: {r}")
            if text is not None and not is_it(r, text):
                self.fault(f"'{text}' came back as {r}")
            if r.counter in self.acked:
                self.fault(f"{r.counter} came back twice")
            self.acked[r.counter] = text or r.text
            self.when[r.counter] = self.ledger.mark()
            self.ledger.acks += 1
