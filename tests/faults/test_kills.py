"""kill -9 at any time, of anything: what was acknowledged stays, once, and everybody sees the same."""

import fcntl
import os
import signal
import threading

import pytest

import harness
import ledger
import parleywire as wire
import roomlog
from conftest import LONG
from harness import TRANSPORTS, quiet_port, until

# Short of a long run, a few of each; together with the sweep this stays below a minute on a busy machine.
ROUNDS = 120 if LONG else 25
SESSIONS = 24 if LONG else 2

WORKERS = ("--place", "workers")
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


RULE_BAN = 2  # kind of a SETTING


class Bans:
    """Decisions about the room: one is waited for, then another one is on its way when something dies."""

    def __init__(self, server):
        self.server = server
        self.may = {}  # who: the values it may have now
        self.acknowledged = 0

    def session(self):
        c = wire.Client.connect(self.server.socket, "keeper")
        return c, c.join(ledger.ROOM).room

    def change(self, dice):
        if not self.server.is_ready():
            return
        try:
            c, room = self.session()
        except (OSError, wire.Ended):
            return  # a worker is being started anew, or the like
        with c.sock:
            for waited in (True, False):
                # Of others than those that are waited for: they may be carried out when they like.
                who, on = f"uid:{(40000 if waited else 41000) + dice.randrange(4)}", dice.randrange(2)
                self.may.setdefault(who, {0}).add(on)
                try:
                    n = c.ask("BAN", at=room, who=who, on=on, text="")
                    if waited and c.until("DONE", "ERROR", counter=n).type == "DONE":
                        self.may[who] = {on}
                        self.acknowledged += 1
                except (OSError, wire.Ended):
                    return

    def check(self):
        c, room = self.session()
        with c.sock:
            n, there = c.ask("MODES", at=room), set()
            while (r := c.until("SETTING", "DONE", "ERROR", counter=n)).type == "SETTING":
                if r.kind == RULE_BAN:
                    there.add(r.name)
            assert r.type == "DONE"
        for who, may in self.may.items():
            assert int(who in there) in may, f"{who}: banned: {who in there}, acknowledged: {may}"
        assert there <= set(self.may)


class Killer:
    def __init__(self, server, book, options, dice):
        self.bans = Bans(server)
        self.server, self.book, self.options, self.dice = server, book, options, dice
        self.kills = dict.fromkeys(("worker", "hub", "client", "connection", "everything"), 0)
        self.moves = 0

    def restart(self, victims=()):
        self.server.shoot(victims)
        self.server.launch(*self.options)

    def kill(self):
        kind = self.dice.choices(list(self.kills), (35, 25, 20, 10, 10))[0]
        workers = harness.children(self.server.pid)
        if kind == "worker" and not workers:
            kind = "hub"
        if kind == "client" and not self.book.processes:
            kind = "connection"
        self.kills[kind] += 1
        if kind == "worker":
            try:
                os.kill(self.dice.choice(workers), signal.SIGKILL)
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

    def round(self):
        acks = self.book.acks
        self.book.run(self.dice.choice((0.0, 0.002, 0.01, 0.03)))
        if self.dice.random() < 0.5:  # in mid-conversation, not only while all are coming back
            self.book.until(lambda: self.book.acks > acks, "something is acknowledged")
        if self.server.process.poll() is not None:
            raise ledger.Fault(f"parleyd ended by itself: {self.server.output()[-2000:]}")
        self.move()
        self.bans.change(self.dice)
        self.kill()


def set_budget(server, budget):
    with open(os.path.join(server.dir, "conf"), "w") as f:
        f.write(f"place-budget = {budget}\n")


@pytest.mark.parametrize("session", range(SESSIONS))
def test_random_kills(make_server, dice, count, session):
    mode = MODES[session % len(MODES)]
    server = make_server(ledger.FastServer)
    port = quiet_port()
    options = ("--listen", f"127.0.0.1:{port}", "--config", os.path.join(server.dir, "conf"), "--workers", "2", *mode)
    set_budget(server, 100)
    before = shared_memory()
    server.start(*options)
    server.ok("send", ledger.ROOM, "first")
    server.stop()
    server.launch(*options)
    until(server.is_ready, "the server is ready")
    fds = baseline(server)
    book = ledger.Ledger(server, port, tails=dice.sample(TRANSPORTS, 4), senders=dice.sample(TRANSPORTS, 3))
    book.edits = True
    killer = Killer(server, book, options, dice)
    try:
        for _ in range(ROUNDS):
            killer.round()
        book.until(server.is_ready, "the server is ready")
        book.settle()
        records = book.check()
        edits = sum(r.type == "EDITED" for r in roomlog.room(server.state, ledger.ROOM))
        assert edits and killer.bans.acknowledged
        killer.bans.check()
    finally:
        book.close()
    until(lambda: len(server.workers()) == server_workers(options), "all workers are there again")
    until(lambda: baseline(server) == fds, "descriptors are back to the baseline")
    server.stop()  # and with it: no FIFO, socket, file or queue is left
    assert shared_memory() == before
    assert killer.moves or "auto" not in options
    count(kills=sum(killer.kills.values()), moves=killer.moves, **{k + "_kills": n for k, n in killer.kills.items()},
          records=records, edits=edits, bans=killer.bans.acknowledged, acknowledged=book.acks, resumes=sum(p.resumes for p in book.peers))


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
