"""The ledger: programs outside the server that note what was acknowledged to a poster and what each
reader saw, while servers and clients die around them; afterwards everything is compared with the log.

A *peer* speaks the protocol itself (unix or tcp) and never dies, so it knows for certain what it was
told. *Tails* and *senders* are real `parley` processes, one for each transport, that may be killed.
"""

import collections
import json
import os
import selectors
import signal
import socket
import subprocess
import time

import harness
import parleywire as wire
import roomlog

ROOM = "#ledger"
EDIT = " mended"  # at the end of a text: it is in place of that peer's last one
EDITS = 5  # with Ledger.edits, every so many lines of a peer are one
RETRY = 0.004  # seconds between two attempts of a peer to connect


SAID = ("MESSAGE", "EDITED")  # what is said under a counter


class Fault(AssertionError):
    """A promise was broken."""


class FastServer(harness.Server):
    """A server that is started without waiting for it: clients find it when it is there."""

    book = None  # of those who talk to it

    def close(self):
        if self.book:
            self.book.close()
        super().close()

    def launch(self, *options, prefix=()):
        assert self.process is None
        self.options = options
        with open(self.log, "ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen([*prefix, *self.command(*options)], env=self.env(),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def is_ready(self):
        return "parleyd: ready unix:" in self.output()[self.log_start:]

    def shoot(self, victims=()):
        """SIGKILL to the hub, and to its workers if they are named; a hub alone takes them along."""
        for pid in [self.pid, *victims]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None


def what(r):
    """What makes a record the same record."""
    return (r.type, r.producer, r.counter, r.flags, tuple(sorted(r.fields.items())), r.time)


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
                edit = self.ledger.edits and self.said % EDITS == EDITS - 1
                self.say(f"{self.name} {self.said}".ljust(self.padding, ".") + (EDIT if edit else ""))

    # -- saying ------------------------------------------------------------------------------------

    def say(self, text):
        self.said += 1
        self.counter += 1
        self.pending[self.counter] = text
        self.post(self.counter, text)

    def post(self, counter, text):
        more = {"target": 0} if text.endswith(EDIT) else {}
        self.push(wire.encode("EDIT" if more else "POST", 0, self.room, counter, text=text, **more))

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

    def joined(self, r):
        if r.rewound:
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
        if not self.errors_allowed:
            self.fault(f"refused: {r}")
        if r.producer == 0 and not self.uuid:  # the JOIN
            self.drop(0.02)
        if r.producer and r.producer == self.producer and r.counter in self.pending:
            self.refused[r.counter] = (self.pending.pop(r.counter), r.code, r.text)

    def record(self, r):
        if r.seq != self.last + 1:
            self.fault(f"{r.seq} came after {self.last}")
        self.last = r.seq
        self.seen[r.seq] = what(r)
        self.heard[r.seq] = self.ledger.mark()
        if r.type in SAID and r.producer == self.producer:
            text = self.pending.pop(r.counter, None) or self.claimed.get(r.counter)
            if text is None and not self.input:
                self.fault(f"what was never said, or twice: {r}")
            if text is not None and text != r.text:
                self.fault(f"'{text}' came back as '{r.text}'")
            if r.counter in self.acked:
                self.fault(f"{r.counter} came back twice")
            self.acked[r.counter] = r.text
            self.when[r.counter] = self.ledger.mark()
            self.ledger.acks += 1


class Child:
    """A `parley` process of one transport whose output is read as it comes."""

    def __init__(self, ledger, transport):
        self.ledger, self.transport = ledger, transport
        self.process = None
        self.kills = 0

    def start(self, args, stdin, stdout):
        self.errors = os.memfd_create("stderr")
        self.process = subprocess.Popen(args, env=self.ledger.server.env(), stdin=stdin, stdout=stdout,
                                        stderr=self.errors)

    def address(self):
        return self.ledger.tcp_address if self.transport == "tcp" else self.ledger.server.address

    def complaint(self):
        os.lseek(self.errors, 0, os.SEEK_SET)
        return os.read(self.errors, 1 << 16).decode("utf-8", "replace")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.kills += 1

    def reap(self):
        self.process = None
        os.close(self.errors)


class Tail(Child):
    """`parley tail`, from where the one before it ended."""

    def __init__(self, ledger, transport):
        super().__init__(ledger, transport)
        self.seen = {}  # sequence number: (name, text)
        self.last = 0
        self.runs = 0

    def tick(self, _now):
        if self.process:
            return
        self.runs += 1
        self.complained = False
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        self.data = b""
        self.pipe = ours
        self.start([harness.PARLEY, "tail", "-s", self.address(), "-t", self.transport, "--json", "-q",
                    "--after", str(self.last), ROOM], subprocess.DEVNULL, theirs)
        os.close(theirs)
        self.ledger.watch(ours, self.readable)

    def readable(self):
        try:
            data = os.read(self.pipe, 1 << 18)
        except BlockingIOError:
            return
        *lines, self.data = (self.data + data).split(b"\n")
        for line in lines:
            e = json.loads(line)
            if e["type"] == "error":
                self.complained = True
            if e["type"] != "message":
                continue
            if e["seq"] <= self.last:
                raise Fault(f"tail -t {self.transport}: {e['seq']} came after {self.last}")
            self.last = e["seq"]
            self.seen[e["seq"]] = (e["from"], e["text"])
        if data:
            return
        self.ledger.forget(self.pipe)
        os.close(self.pipe)
        code, said = self.process.wait(), self.complaint()
        self.reap()
        if "missing" in said or "lost its newest" in said:
            raise Fault(f"tail -t {self.transport}: {said}")
        # 69: no server was there when it began.
        if code not in (-signal.SIGKILL, -signal.SIGTERM, 69) and not (
                self.ledger.tolerant and (said or self.complained)):
            raise Fault(f"tail -t {self.transport} ended with {code}: {said}")


class Sender(Child):
    """`parley send`, one batch of lines after the other. A batch whose sender was killed may have been
    said in part; a batch whose sender ended with 0 is acknowledged as a whole."""

    def __init__(self, ledger, transport, lines=40):
        super().__init__(ledger, transport)
        self.lines = lines
        self.runs = 0
        self.batches = {}  # number: acknowledged?
        self.quiet = False
        self.limit = float("inf")  # batches to say as a whole

    def line(self, batch, i):
        return f"send-{self.transport} {batch} {i}"

    def tick(self, _now):
        if self.process:
            self.look()
            return
        if self.quiet or sum(self.batches.values()) >= self.limit:
            return
        self.runs += 1
        self.batches[self.runs] = False
        text = "".join(self.line(self.runs, i) + "\n" for i in range(self.lines))
        stdin = os.memfd_create("stdin")
        os.write(stdin, text.encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        self.start([harness.PARLEY, "send", "-s", self.address(), "-t", self.transport, ROOM, "-"],
                   stdin, subprocess.DEVNULL)
        os.close(stdin)

    def look(self):
        code = self.process.poll()
        if code is None:
            return
        said = self.complaint()
        self.reap()
        if code == 0:
            self.batches[self.runs] = True
            self.ledger.acks += self.lines
        elif code not in (-signal.SIGKILL, 69) and not (self.ledger.tolerant and said):
            raise Fault(f"send -t {self.transport} ended with {code}: {said}")


class Ledger:
    def __init__(self, server, port=None, tails=(), senders=(), peers=2, window=4):
        self.server = server
        server.book = self
        self.closed = False
        self.selector = selectors.DefaultSelector()
        self.may_lose = False
        self.edits = False  # peers also edit what they said
        self.tolerant = False  # clients may be refused, with a reason
        self.acks = 0
        self.refusals = collections.Counter()
        self.mark = lambda: 0
        self.tcp_address = f"tcp:127.0.0.1:{port}"
        self.peers = [Peer(self, f"peer{i}", server.socket, window) for i in range(peers)]
        if port:
            self.peers.append(Peer(self, "peertcp", ("127.0.0.1", port), window))
        self.tails = [Tail(self, t) for t in tails]
        self.senders = [Sender(self, t) for t in senders]

    @property
    def everybody(self):
        return [*self.peers, *self.tails, *self.senders]

    @property
    def processes(self):
        return [c for c in (*self.tails, *self.senders) if c.process]

    def watch(self, fd, call):
        self.selector.register(fd, selectors.EVENT_READ, call)

    def forget(self, fd):
        self.selector.unregister(fd)

    def step(self, wait=0.003):
        now = time.monotonic()
        for one in self.everybody:
            one.tick(now)
        if not self.selector.get_map():
            time.sleep(wait)
            return
        for key, _ in self.selector.select(wait):
            if key.fd in self.selector.get_map():
                key.data()

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step(min(0.003, max(end - time.monotonic(), 0)))

    def until(self, condition, text, deadline=harness.DEADLINE):
        end = time.monotonic() + deadline
        while not condition():
            if time.monotonic() > end:
                raise Fault(f"did not happen within {deadline} s: {text}; {self.status()}")
            self.step()

    def status(self):
        return {**{p.name: (p.state, len(p.pending), p.last) for p in self.peers},
                **{f"tail-{t.transport}": t.last for t in self.tails}, "refusals": dict(self.refusals),
                "server": self.server.output()[-3000:]}

    def said_all(self):
        """With limits: has everybody said theirs, and been told so?"""
        return all(p.said >= p.limit and not p.pending and p.state == "open" for p in self.peers) and \
            all(sum(s.batches.values()) >= s.limit and not s.process for s in self.senders)

    def settle(self, deadline=harness.DEADLINE):
        """No new lines; wait until everything is acknowledged and everybody has read everything."""
        for one in (*self.peers, *self.senders):
            one.quiet = True
        self.until(lambda: all(p.state == "open" and not p.pending for p in self.peers)
                   and not any(s.process for s in self.senders), "everything is acknowledged", deadline)
        records = roomlog.room(self.server.state, ROOM)
        newest = records[-1].seq if records else 0
        messages = [r.seq for r in records if r.type == "MESSAGE"]
        said = messages[-1] if messages else 0
        self.until(lambda: all(p.last >= newest for p in self.peers)
                   and all(t.last >= said for t in self.tails), "everybody has everything", deadline)

    def check(self):
        """Compare what was acknowledged and seen with the log. Returns the number of records."""
        records = roomlog.room(self.server.state, ROOM)
        log = {r.seq: r for r in records}
        if list(log) != list(range(1, len(log) + 1)):
            raise Fault("the log's numbers are not dense from 1")
        if any(a.time > b.time for a, b in zip(records, records[1:])):
            raise Fault("time goes back in the log")
        posts, texts = collections.defaultdict(list), collections.Counter()
        for r in records:
            if r.type in SAID:
                posts[r.producer].append((r.counter, r.text))
                texts[r.text] += 1
        for producer, list_ in posts.items():
            counters = [c for c, _ in list_]
            if counters != sorted(set(counters)):
                raise Fault(f"posts of producer {producer:x} are doubled or out of order: {counters}")
        twice = [t for t, n in texts.items() if n > 1]
        if twice and not self.may_lose:
            raise Fault(f"said twice: {twice[:10]}")
        for p in self.peers:
            have = dict(posts.get(p.producer, ()))
            for counter, text in {**p.claimed, **p.acked}.items():
                if have.get(counter) != text:
                    raise Fault(f"{p.name}: '{text}' (counter {counter}) was acknowledged and is not in "
                                f"the log (there: {have.get(counter)!r})")
            for counter, (text, _, _) in p.refused.items():
                if texts[text]:
                    raise Fault(f"{p.name}: '{text}' was refused and is in the log")
            for seq, seen in p.seen.items():
                if seq not in log or what(log[seq]) != seen:
                    raise Fault(f"{p.name} saw as {seq}: {seen}; the log has {log.get(seq)}")
            if sorted(p.seen) != list(range(1, p.last + 1)):
                raise Fault(f"{p.name} did not see a prefix of the log")
        for t in self.tails:
            for seq, (nick, text) in t.seen.items():
                if seq not in log or (log[seq].from_, log[seq].text) != (nick, text):
                    raise Fault(f"tail -t {t.transport} saw as {seq}: {nick}: {text}; the log has "
                                f"{log.get(seq)}")
            expected = [r.seq for r in records if r.type == "MESSAGE" and r.seq <= t.last]
            if sorted(t.seen) != expected:
                missed = sorted(set(expected) - set(t.seen))
                raise Fault(f"tail -t {t.transport} missed {missed[:10]} ({len(missed)})")
        for s in self.senders:
            for batch, complete in s.batches.items():
                there = [i for i in range(s.lines) if texts[s.line(batch, i)]]
                if there != list(range(len(there))) or complete and len(there) != s.lines:
                    raise Fault(f"send -t {s.transport}, batch {batch}, ended well: {complete}; in the "
                                f"log: {there}")
        return len(records)

    def close(self):
        """End all clients and wait for them; more than once is fine."""
        if self.closed:
            return
        self.closed = True
        for p in self.peers:
            p.drop(1e9)
            p.retry = float("inf")
        for c in self.processes:
            c.process.kill()
        for c in (*self.tails, *self.senders):
            if c.process:
                c.process.wait()
                if isinstance(c, Tail):
                    self.forget(c.pipe)
                    os.close(c.pipe)
                c.reap()
        self.selector.close()
