"""Power cuts while old segments are dropped (see images.py): what was said in them and still matters is in
what is kept. On each image the server has to start, and:

  decisions  a ban or operator holds, unless the log that is left ends before it
  producers  an input that is sent again is not said again, unless the log that is left ends before it
  records    what a completed sync covered and was not dropped is there; no input's line is there twice
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
from harness import until
from peer import ROOM

IMAGES = 120 if LONG else 5  # of each recording
OP, BAN = 1, 2  # kinds of SETTING
DECISIONS = {(OP, "uid:40001"), (OP, "uid:40002"), (BAN, "uid:41001"), (BAN, "nick:mallory")}
INPUT = "".join(f"once {i}\n" for i in range(9))
# Three segments in one burst, of a room of which four are kept: they are begun within one turn or a few.
BURST = "".join(f"{i} {'x' * 3000}\n" for i in range(260))


def decide(server):
    with wire.Client.connect(server.socket, "keeper") as c:
        room = c.join(ROOM, flags=wire.QUIET).room
        for kind, who in sorted(DECISIONS):
            n = c.ask("OP", at=room, who=who, on=1) if kind == OP else \
                c.ask("BAN", at=room, who=who, on=1, text="")
            assert c.until("DONE", "ERROR", counter=n).type == "DONE"


def decided(server):
    with wire.Client.connect(server.socket, "keeper") as c:
        n, there = c.ask("MODES", at=c.join(ROOM, flags=wire.QUIET).room), set()
        while (r := c.until("SETTING", "DONE", "ERROR", counter=n)).type == "SETTING":
            there.add((r.kind, r.name))
        assert r.type == "DONE"
    return there


def say_once(server):
    server.ok("send", "--id", "job", ROOM, "-", input=INPUT)


class Recording:
    """Decisions and an input, then so much that their segments are dropped, more than once."""

    def __init__(self, make_server, shim, sync):
        self.server = server = make_server(ledger.FastServer)
        self.options = ("--workers", "0", "--sync", sync, "--retain-size", "1M")
        before, journal = os.path.join(server.dir, "before"), os.path.join(server.dir, "journal")
        os.mkdir(server.state)
        shutil.copytree(server.state, before)
        server.start(*self.options, prefix=("env", f"LD_PRELOAD={shim}", f"PARLEY_IO_JOURNAL={journal}"))
        decide(server)
        say_once(server)
        self.said = roomlog.newest(server.state, ROOM)  # the log up to here says all of it
        for _ in range(3):
            first = roomlog.first(server.state, ROOM)
            for _ in range(20):
                if roomlog.first(server.state, ROOM) == first:
                    server.ok("send", ROOM, "-", input=BURST)
            until(lambda first=first: roomlog.first(server.state, ROOM) > first, "segments are dropped")
        until(lambda: len(roomlog.segments(roomlog.rooms(server.state)[ROOM])) <= 4, "the oldest are gone")
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        server.process = None
        self.history = images.History(server.state, before, journal)
        self.drops = [i for i, kind, path, _ in self.history.names
                      if kind == images.UNLINK and path.endswith(".log")]
        assert self.drops and roomlog.first(server.state, ROOM) > self.said


class Image:
    def __init__(self, objects, recording, cut, dice):
        self.recording, self.cut = recording, cut
        self.server = ledger.FastServer(objects)
        self.strict = dice.random() < 0.5
        self.files = recording.history.write(self.server.state, cut, dice, self.strict)
        self.dropped = any(i <= cut for i in recording.drops)

    def fault(self, text):
        raise ledger.Fault(f"cut after operation {self.cut} ({'strict' if self.strict else 'journal'} "
                           f"disk): {text}\n{self.server.output()}")

    def synced(self):
        """Records that a completed sync covered, in files that are there."""
        for path, file in self.files.items():
            size = file.kept(self.cut)
            if size >= roomlog.HEADER and path.endswith(".log"):
                segment = roomlog.Segment(os.path.join(self.server.state, path))
                segment.data = segment.data[:size]
                yield from segment.records()

    def log(self):
        try:
            return roomlog.room(self.server.state, ROOM)
        except roomlog.Broken as broken:
            self.fault(str(broken))

    def check(self):
        server, said = self.server, self.recording.said
        synced = {r.seq: r.fields for r in self.synced()}
        server.start(*self.recording.options, "--retain", f"{ROOM} any")
        log = {r.seq: r.fields for r in self.log()}
        end = roomlog.newest(server.state, ROOM)
        missing = [seq for seq, fields in synced.items() if log.get(seq) != fields]
        if missing:
            self.fault(f"{len(missing)} records were synced and are missing, {missing[:3]}…; it ends with {end}")
        if self.dropped and end <= said:
            self.fault(f"the log ends with {end}, and what came before {said} has been dropped")
        if end < said:
            return False
        there = decided(server)
        if not there >= DECISIONS:
            self.fault(f"the log ends with {end}; {DECISIONS - there} were decided before {said}")
        say_once(server)
        again = [r.text for r in self.log() if r.type == "MESSAGE" and r.seq > end and r.text.startswith("once ")]
        if again:
            self.fault(f"the log ends with {end}; said before {said}, and again: {again}")
        posts = [(r.producer, r.counter) for r in self.log() if r.type == "MESSAGE" and r.producer]
        if len(set(posts)) < len(posts):
            self.fault("something stands twice in the log")
        return True


@pytest.mark.parametrize("sync", ["interval", "none"])
def test_power_cut_while_segments_are_dropped(objects, make_server, shim, dice, count, sync):
    recording = Recording(make_server, shim, sync)
    ops = len(recording.history.ops)
    looked = 0
    for i in range(IMAGES):
        # Half of them soon after a segment went: then what stays is youngest.
        cut = dice.randrange(recording.drops[0] - 30, ops - 1) if i % 2 else \
            dice.choice(recording.drops) + dice.randrange(8)
        image = Image(objects, recording, min(cut, ops - 2), dice)
        try:
            looked += image.check()
        finally:
            image.server.close()
    assert looked > IMAGES / 2
    count(images=IMAGES, looked_at=looked, drops=len(recording.drops), operations=ops)
