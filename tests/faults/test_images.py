"""Power cuts: parleyd is started on disks that lost or tore what was not synced (see images.py).

A run is recorded while clients post and read; then images of a power cut at random moments are made, and
on each the server has to start, and:

  always    everything that anybody was told or acknowledged is there
  others    what is lost is said: a reader who saw more than there is gets JOINED.rewound, also when the
            lost numbers have been given again by the time it comes back; what is there is what was seen
"""

import os
import shutil
import signal

import pytest

import images
import ledger
import parleywire as wire
import roomlog
from conftest import LONG

IMAGES = 240 if LONG else 14  # of each recording


class Recording:
    """A run of the server with its journal, and what peers were told when."""

    def __init__(self, make_server, shim, sync, again, killed):
        self.server = server = make_server(ledger.FastServer)
        self.options = ("--workers", "0", "--sync", sync)
        self.before = os.path.join(server.dir, "before")
        self.journal = os.path.join(server.dir, "journal")
        os.mkdir(server.state)
        if again:  # a room that is there already
            server.start(*self.options)
            server.ok("send", ledger.ROOM, "-", input="".join(f"old {i}\n" for i in range(50)))
            server.stop()
        shutil.copytree(server.state, self.before)
        prefix = ("env", f"LD_PRELOAD={shim}", f"PARLEY_IO_JOURNAL={self.journal}")
        server.launch(*self.options, prefix=prefix)
        self.book = book = ledger.Ledger(server, peers=2, window=6 if sync == "always" else 1)
        book.mark = lambda: os.path.getsize(self.journal)
        for p in book.peers:
            p.padding = 3000  # so that the second segment is reached
        lives = 3 if killed else 1
        for life in range(lives):
            acks = book.acks
            book.until(lambda: book.acks > acks + 260 / lives, "some lines are acknowledged")
            for p in book.peers:  # WELCOME tells what the server has: that is a promise too
                p.drop()
                book.run(0.01)
            if sync == "interval":
                book.run(0.6)
            if life + 1 < lives:
                server.shoot()
                images.end_with_a_whole_entry(self.journal)
                server.launch(*self.options, prefix=prefix)
        book.until(lambda: all(p.state == "open" for p in book.peers), "everybody is there")
        for p in book.peers:
            p.quiet = True
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.process = None
        book.close()
        self.history = images.History(server.state, self.before, self.journal)


class Image:
    """One disk, and a server on it."""

    def __init__(self, objects, recording, cut, dice):
        self.recording, self.cut = recording, cut
        self.server = ledger.FastServer(objects)
        self.strict = dice.random() < 0.5
        recording.history.write(self.server.state, cut, dice, self.strict)
        self.told = recording.history.position(cut)  # what peers heard while the journal was no longer

    def known(self, peer):
        """What the peer had heard at the cut: {seq: record}, {counter: text}, epoch at that time."""
        seen = {seq: r for seq, r in peer.seen.items() if peer.heard[seq] <= self.told}
        acked = {c: t for c, t in {**peer.claimed, **peer.acked}.items()
                 if peer.when.get(c, peer.when.get(("claim", c))) <= self.told}
        epochs = [e for at, e in peer.epochs if at <= self.told]
        return seen, acked, epochs[-1] if epochs else None

    def fault(self, text):
        raise ledger.Fault(f"cut after operation {self.cut} ({'strict' if self.strict else 'journal'} "
                           f"disk): {text}\n{self.server.output()}")

    def log(self):
        try:
            return {r.seq: r for r in roomlog.room(self.server.state, ledger.ROOM)}
        except roomlog.Broken as broken:
            self.fault(str(broken))

    def check(self, dice, nothing_lost):
        server = self.server
        server.start(*self.recording.options)
        log = self.log()
        lost = 0
        for p in self.recording.book.peers:
            seen, acked, epoch = self.known(p)
            posts = {(r.producer, r.counter): r.text for r in log.values() if r.type == "MESSAGE"}
            if nothing_lost:
                for seq, record in seen.items():
                    if seq not in log or ledger.what(log[seq]) != record:
                        self.fault(f"{p.name} had seen {seq}: {record}, there is {log.get(seq)}")
                for counter, text in acked.items():
                    if posts.get((p.producer, counter)) != text:
                        self.fault(f"{p.name}: '{text[:40]}' was acknowledged and is lost")
            lost += sum(seq not in log or ledger.what(log[seq]) != r for seq, r in seen.items())
        # Others talk on, sometimes beyond the numbers that were lost, before the readers come back.
        with wire.Client.connect(server.socket, "other") as other:
            number = other.join(ledger.ROOM, flags=wire.QUIET).room
            for i in range(dice.choice((0, 1, 30, 300))):
                other.post(number, f"after the cut {i}")
            other.ask("PING", stamp=1)
            other.until("PONG")
            if other.counter:
                other.until("MESSAGE", counter=other.counter, producer=other.welcome.producer)
        log = self.log()
        for p in self.recording.book.peers:
            self.resume(p, log)
        server.stop()
        return lost

    def resume(self, p, log):
        """Come back with the cursor of the moment of the cut."""
        seen, _, epoch = self.known(p)
        if not seen or epoch is None:
            return
        last = max(seen)
        wrong = [s for s, r in seen.items() if s not in log or ledger.what(log[s]) != r]
        with wire.Client.dial(self.server.socket) as c:
            answer = c.hello(p.nick, token=p.token, producer=p.producer,
                             cursors=wire.cursor(p.uuid, epoch, 2, last))
            if answer.type != "WELCOME":
                self.fault(f"{p.name} cannot resume: {answer}")
            c.send(wire.encode("READY"))
            c.ask("PING", stamp=2)
            joined = c.until("JOINED", "PONG")
        if joined.type == "PONG":
            if os.path.isdir(os.path.join(self.server.state, "rooms")) and any(
                    r.uuid == p.uuid for r in self.segments()):
                self.fault(f"{p.name} is no longer in the room, which is there")
            return  # the whole room is gone, and its uuid with it: the client is told that it is in none
        if not joined.rewound and (wrong or joined.first != last + 1):
            self.fault(f"{p.name} saw up to {last} in epoch {epoch}; {wrong[:5]} are other records now, and "
                       f"it is told to go on with {joined.first} as if nothing had happened")
        if joined.rewound and wrong and joined.first > min(wrong):
            self.fault(f"{p.name}: {min(wrong)} is another record now, and it goes on with {joined.first}")
        if joined.rewound and not wrong:
            self.fault(f"{p.name} saw up to {last}, all of it is there, and it is told to rewind")

    def segments(self):
        for where in roomlog.rooms(self.server.state).values():
            yield from (roomlog.Segment(f) for f in roomlog.segments(where)[:1])


def test_an_entry_that_a_kill_cut_short_swallows_no_other(tmp_path):
    journal = str(tmp_path / "journal")
    entry = images.ENTRY.pack(images.WRITE, 5, 1, 0, 0) + b"12345"
    with open(journal, "wb") as f:
        f.write(entry + entry[:-2])
    images.end_with_a_whole_entry(journal)
    with open(journal, "ab") as f:
        f.write(entry)
    assert [op.data for op in images.read_journal(journal)] == [b"12345"] * 2


@pytest.mark.parametrize("sync,again,killed", [
    ("always", False, False), ("always", True, True), ("interval", False, True), ("interval", True, False),
    ("none", False, False), ("none", True, True)])
def test_power_cut(objects, make_server, shim, dice, count, sync, again, killed):
    recording = Recording(make_server, shim, sync, again, killed)
    ops = len(recording.history.ops)
    assert ops > 50 and recording.book.acks > 100
    if sync == "always":
        assert len(recording.history.syncs) > 20
    lost = with_loss = 0
    for _ in range(IMAGES):
        image = Image(objects, recording, dice.randrange(ops - 1), dice)
        try:
            n = image.check(dice, nothing_lost=sync == "always")
            lost += n
            with_loss += n > 0
        finally:
            image.server.close()
    count(images=IMAGES, with_losses=with_loss, records_lost=lost, operations=ops)
