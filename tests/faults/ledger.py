"""The ledger: programs outside the server that note what was acknowledged to a poster and what each
reader saw, while servers and clients die around them; afterwards everything is compared with the log.

A *peer* (peer.py) speaks the protocol itself (unix or tcp) and never dies, so it knows for certain what it
was told. *Tails* and *senders* (programs.py) are real `parley` processes, one for each transport, that may
be killed. Where retention drops the start of the log, what peers saw stands for it: all of them have to
have seen the same, and may have missed what they were told is gone, but nothing else.
"""

import collections
import os
import selectors
import signal
import subprocess
import time

import harness
import roomlog
from peer import DELETE, EDIT, ROOM, SAID, Fault, Peer, is_it, what  # noqa: F401
from programs import FilePut, Sender, Tail


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


class Ledger:
    def __init__(self, server, port=None, tails=(), senders=(), puts=(), peers=2, window=4):
        self.server = server
        server.book = self
        self.closed = False
        self.selector = selectors.DefaultSelector()
        self.may_lose = False
        self.edits = False  # peers also edit and delete what they said
        self.retains = False  # old segments are dropped
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
        self.puts = [FilePut(self, t) for t in puts]

    @property
    def everybody(self):
        return [*self.peers, *self.children]

    @property
    def children(self):
        return [*self.tails, *self.senders, *self.puts]

    @property
    def processes(self):
        return [c for c in self.children if c.process]

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
                "running": [(type(c).__name__, c.transport, c.runs, c.complaint()) for c in self.processes],
                "server": self.server.output()[-3000:]}

    def said_all(self):
        """With limits: has everybody said theirs, and been told so?"""
        return all(p.said >= p.limit and not p.pending and p.state == "open" for p in self.peers) and \
            all(sum(s.batches.values()) >= s.limit and not s.process for s in self.senders)

    def settle(self, deadline=harness.DEADLINE):
        """No new lines; wait until everything is acknowledged and everybody has read everything."""
        for one in (*self.peers, *self.senders, *self.puts):
            one.quiet = True
        self.until(lambda: all(p.state == "open" and not p.pending for p in self.peers)
                   and not any(c.process for c in (*self.senders, *self.puts)), "everything is acknowledged", deadline)
        newest = roomlog.newest(self.server.state, ROOM)
        self.until(lambda: all(p.last >= newest for p in self.peers), "peers have everything", deadline)
        said = max((seq for p in self.peers for seq, r in p.seen.items() if r.type == "MESSAGE"), default=0)
        self.until(lambda: all(t.last >= said or t.told > said for t in self.tails), "everybody has everything", deadline)

    def reference(self):
        """{number: record} to which everybody is held: the log, and before it what peers saw of what was dropped."""
        log = {r.seq: what(r) for r in roomlog.room(self.server.state, ROOM)}
        newest = max(log, default=roomlog.newest(self.server.state, ROOM))
        self.first = min(log, default=newest + 1)  # that is still there
        if sorted(log) != list(range(self.first, newest + 1)) or (self.first != 1 and not self.retains):
            raise Fault(f"the log has {self.first} to {newest}, and gaps in between")
        for p in self.peers:
            for seq in [s for s in p.seen if s < self.first]:
                if log.setdefault(seq, p.seen[seq]) != p.seen[seq]:
                    raise Fault(f"{p.name} saw as {seq}: {p.seen[seq]}; others {log[seq]}")
        return dict(sorted(log.items()))

    def check(self):
        """Compare what was acknowledged and seen with the log. Returns the number of records."""
        log = self.log = self.reference()
        times = [r.time for r in log.values()]
        if times != sorted(times):
            raise Fault("time goes back in the log")
        posts, texts = collections.defaultdict(dict), collections.Counter()
        for seq, r in log.items():
            if r.type not in SAID:
                continue
            mine = posts[r.producer]
            if mine and next(reversed(mine)) >= r.counter:
                raise Fault(f"posts of producer {r.producer:x} are doubled or out of order at {seq}: {r}")
            mine[r.counter] = seq
            texts[dict(r.fields).get("text")] += 1
        texts.pop(None, None)
        twice = [t for t, n in texts.items() if n > 1]
        if twice and not self.may_lose:
            raise Fault(f"said twice: {twice[:10]}")
        for p in self.peers:
            self.check_peer(p, log, posts.get(p.producer, {}), texts)
        for t in self.tails:
            self.check_tail(t, log)
        for s in self.senders:
            for batch, complete in s.batches.items():
                there = [i for i in range(s.lines) if texts[s.line(batch, i)]]
                if there != list(range(len(there))) or complete and len(there) != s.lines:
                    if self.retains and len(log) < max(log):
                        continue  # it may be among what nobody saw before it was dropped
                    raise Fault(f"send -t {s.transport}, batch {batch}, ended well: {complete}; in the "
                                f"log: {there}")
        return len(log)

    def said_files(self):
        """(number, name, hash) of each FILE record."""
        files = [(seq, dict(r.fields)) for seq, r in self.log.items() if r.type == "FILE"]
        return [(seq, f["name"], f["hash"]) for seq, f in files]

    def check_peer(self, p, log, mine, texts):
        for counter, text in {**p.claimed, **p.acked}.items():
            r = log.get(mine.get(counter))
            if r is None and counter in p.claimed and p.gone:
                continue  # said for certain, and gone before the peer came back
            if r is None or not is_it(r, text):
                raise Fault(f"{p.name}: '{text}' (counter {counter}) was acknowledged and is not in "
                            f"the log (there: {r})")
        for counter, (text, _, _) in p.refused.items():
            if counter in mine or texts[text]:
                raise Fault(f"{p.name}: '{text}' was refused and is in the log")
        self.check_changes(p, log, mine)
        for seq, seen in p.seen.items():
            if log.get(seq) != seen:
                raise Fault(f"{p.name} saw as {seq}: {seen}; the log has {log.get(seq)}")
        if sorted([*p.seen, *p.gone]) != list(range(1, p.last + 1)):
            raise Fault(f"{p.name} did not see a prefix of the log")

    def check_changes(self, p, log, mine):
        """Edits and deletions are of the last message before them, which is not deleted."""
        last = None
        for counter, seq in mine.items():
            r = log[seq]
            before = log.get(mine.get(counter - 1))
            if before is None:
                last = None  # refused, or not known any more
            if r.type == "MESSAGE":
                last = seq
            elif last not in (dict(r.fields)["target"], None) or before and before.type == "DELETED":
                raise Fault(f"{p.name}: {seq} changes something else than its last message, {last}: {r}")

    def check_tail(self, t, log):
        for seq, seen in t.seen.items():
            fields = dict(log[seq].fields) if seq in log else {}
            if (fields.get("from_"), fields.get("text")) != seen and (fields or not self.retains):
                raise Fault(f"tail -t {t.transport} saw as {seq}: {seen}; the log has {log.get(seq)}")
        missed = [seq for seq, r in log.items() if r.type == "MESSAGE" and seq <= t.last and seq not in t.seen
                  and not any(a <= seq < b for a, b in t.gone)]
        if missed:
            raise Fault(f"tail -t {t.transport} missed {missed[:10]} ({len(missed)})")

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
        for c in self.children:
            if c.process:
                c.process.wait()
                if isinstance(c, Tail):
                    self.forget(c.pipe)
                    os.close(c.pipe)
                c.reap()
        self.selector.close()
