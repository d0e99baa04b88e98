"""kill -9 at any time, of anything: what was acknowledged stays, once, and everybody sees the same."""

import collections
import fcntl
import os
import signal
import threading

import pytest

import harness
import ledger
import roomlog
from conftest import LONG
from decisions import Decisions
from harness import TRANSPORTS, quiet_port, until
from marks import Marks
from uploads import Uploads

# Short of a long run, a few of each; together with the sweep this stays below a minute on a busy machine.
ROUNDS = 120 if LONG else 25
SESSIONS = 24 if LONG else 3

WORKERS = ("--place", "workers")
# Old segments are dropped meanwhile: never, by size (peers have longer lines then), by age.
RETAIN = [(("--retain-size", "1M"), 4000), (("--retain-days", "2s"), 0), ((), 0)]
# With `auto` everybody is moved to and fro between the kills, so that these meet sessions on their way.
MODES = [("--place", "auto"), (*WORKERS,), ("--place", "auto", "--sync", "always"), (*WORKERS, "--workers", "1"),
         ("--place", "hub"), (*WORKERS, "--sync", "always"), ("--place", "auto", "--wait", "adaptive"),
         (*WORKERS, "--sync", "none", "--workers", "3")]


def baseline(server):
    """What a server with nobody connected has open, log files aside (they grow in number)."""
    kinds = []
    for pid in [server.pid, *sorted(server.workers())]:
        for target in harness.fds(pid).values():
            if not target.startswith(server.state + "/rooms"):
                kinds.append(target.split(":")[0] if ":[" in target else target)
    return sorted(kinds)


def shared_memory():
    return {f for f in os.listdir("/dev/shm") if "parley" in f}


class Killer:
    def __init__(self, server, port, book, options, dice):
        self.decisions = Decisions(server, port)
        self.marks = Marks(server)
        self.server, self.book, self.options, self.dice = server, book, options, dice
        self.kills = dict.fromkeys(("worker", "hub", "client", "connection", "transfer", "everything"), 0)
        self.moves = 0

    def restart(self, victims=()):
        self.server.shoot(victims)
        self.server.launch(*self.options)

    def kill(self):
        kind = self.dice.choices(list(self.kills), (30, 25, 20, 5, 10, 10))[0]
        transfers = harness.children_named(self.server.pid, "parleyd/file")
        workers = harness.children(self.server.pid)
        if kind == "transfer" and not transfers:
            kind = "client"
        if kind == "worker" and not workers:
            kind = "hub"
        if kind == "client" and not self.book.processes:
            kind = "connection"
        self.kills[kind] += 1
        if kind in ("worker", "transfer"):
            try:
                os.kill(self.dice.choice(workers if kind == "worker" else transfers), signal.SIGKILL)
            except ProcessLookupError:
                pass
        elif kind == "hub":
            self.restart()
        elif kind == "client":
            self.dice.choice(self.book.processes).kill()
        elif kind == "connection":
            self.dice.choice(self.book.peers).drop()
        else:
            for c in self.book.processes:
                c.kill()
            for p in self.book.peers:
                p.drop()
            self.restart(workers)

    def move(self):
        """All to the hub, or all to the workers; what dies now may be half way."""
        if "auto" not in self.options or not self.server.is_ready():
            return
        self.moves += 1
        set_budget(self.server, 0 if self.moves % 2 else 100)
        self.server.process.send_signal(signal.SIGHUP)
        if self.dice.random() < 0.5:
            self.book.run(self.dice.choice((0.0, 0.001, 0.003)))

    def round(self, wait):
        acks = self.book.acks
        self.book.run(self.dice.choice((0.0, 0.002, 0.01, 0.03)))
        if self.dice.random() < 0.5:  # in mid-conversation, not only while all are coming back
            self.book.until(lambda: self.book.acks > acks, "something is acknowledged")
        if self.server.process.poll() is not None:
            raise ledger.Fault(f"parleyd ended by itself: {self.server.output()[-2000:]}")
        self.move()
        self.decisions.change(self.dice)
        self.marks.read(self.dice)
        if wait:
            self.marks.wait()
        self.kill()


def set_budget(server, budget):
    with open(os.path.join(server.dir, "conf"), "w") as f:
        f.write(f"place-budget = {budget}\n")


def kill_and_settle(server, port, book, killer):
    """All the kills of a session; then everybody comes to rest, and everything is compared."""
    uploads = Uploads(port)
    uploads.start()
    try:
        for n in range(ROUNDS):
            killer.round(wait=n % 12 == 6)
        book.until(server.is_ready, "the server is ready")
        book.until(lambda: killer.decisions.count() or killer.decisions.change(killer.dice), "something is decided")
        if book.retains:  # if all went very fast
            book.until(lambda: roomlog.first(server.state, ledger.ROOM) > 1, "old segments are dropped")
    finally:
        uploads.stop()
    book.settle()
    book.check()
    killer.decisions.check()
    killer.marks.check()
    return uploads, uploads.check(book)


@pytest.mark.parametrize("session", range(SESSIONS))
def test_random_kills(make_server, dice, count, session):
    mode = MODES[session % len(MODES)]
    retain, padding = RETAIN[session % len(RETAIN)]
    server = make_server(ledger.FastServer)
    port = quiet_port()
    options = ("--listen", f"127.0.0.1:{port}", "--config", os.path.join(server.dir, "conf"), "--workers", "2", *mode,
               *retain)
    set_budget(server, 100)
    before = shared_memory()
    server.start(*options)
    server.ok("send", ledger.ROOM, "first")
    server.stop()
    server.launch(*options)
    until(server.is_ready, "the server is ready")
    fds = baseline(server)
    book = ledger.Ledger(server, port, tails=dice.sample(TRANSPORTS, 4), senders=dice.sample(TRANSPORTS, 3),
                         puts=dice.sample(TRANSPORTS, 1))
    book.edits, book.retains = True, bool(retain)
    for p in book.peers:
        p.padding = padding
    killer = Killer(server, port, book, options, dice)
    try:
        uploads, files = kill_and_settle(server, port, book, killer)
    finally:
        book.close()
    types = collections.Counter(r.type for r in book.log.values())
    assert types["EDITED"] and types["DELETED"]
    until(lambda: len(server.workers()) == server_workers(options), "all workers are there again")
    until(lambda: baseline(server) == fds, "descriptors are back to the baseline")
    server.stop()  # and with it: no FIFO, socket, file or queue is left
    assert shared_memory() == before
    assert killer.moves or "auto" not in options
    count(kills=sum(killer.kills.values()), moves=killer.moves, **{k + "_kills": n for k, n in killer.kills.items()},
          records=len(book.log), dropped=book.first - 1, edits=types["EDITED"], deletions=types["DELETED"],
          **{k + "s": n for k, n in killer.decisions.acknowledged.items()}, marks=killer.marks.acknowledged,
          marks_lost=killer.marks.forgotten, files=files, uploads_lost=uploads.losses, uploads_gone_on=uploads.went_on,
          acknowledged=book.acks, resumes=sum(p.resumes for p in book.peers))


def server_workers(options):
    place = [options[i + 1] for i, o in enumerate(options) if o == "--place"]
    return 0 if "hub" in place else [int(options[i + 1]) for i, o in enumerate(options) if o == "--workers"][-1]


def test_a_lock_held_a_moment_longer_is_no_other_server(make_server):
    """A hub killed between fork and exec of a worker: the child has the lock until it gets to exec."""
    server = make_server(ledger.FastServer).start()
    server.stop()
    os.mkdir(server.runtime)
    held = os.open(os.path.join(server.runtime, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    # On a machine too busy to start it within that time this shows nothing, and fails nothing.
    threading.Timer(0.1, os.close, (held,)).start()
    server.start()
