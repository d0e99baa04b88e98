"""How far a person has read (READ, MARKED), while things are killed. A mark is never beyond what was asked for and what
is in the room; within one life of the server it does not go back; and what has once been in STATE/marks stays. That it
gets there is waited for now and then: what is said to be lost at most is what was read in the last second or so."""

import os

import harness
import parleywire as wire
from peer import ROOM

NICK = "reader"


class Marks:
    def __init__(self, server):
        self.server = server
        self.asked = 0  # the highest
        self.now = 0    # answered in this life of the hub
        self.life = None
        self.floor = 0  # was in the file
        self.uuid = None
        self.kept = self.forgotten = self.acknowledged = 0

    def on_disk(self):
        """The mark in the file; None: there is none yet."""
        if not self.uuid:
            return None
        start, end = f"uid:{os.geteuid()} {self.uuid.hex()} ", f" {NICK}"
        try:
            with open(os.path.join(self.server.state, "marks")) as f:
                for line in f:
                    if line.startswith(start) and line.rstrip("\n").endswith(end):
                        return int(line[len(start):].split()[0])
        except FileNotFoundError:
            pass
        return None

    def look(self):
        self.floor = max(self.floor, self.on_disk() or 0)
        assert self.floor <= self.asked, f"the file says {self.floor}, only {self.asked} was read"

    def read(self, dice):
        if not self.server.is_ready():
            return
        self.look()
        try:
            with wire.Client.connect(self.server.socket, NICK) as c:
                assert c.welcome.nick == NICK
                self.mark(c, dice)
        except (OSError, wire.Ended):
            pass  # a worker is being started anew, or the like
        self.look()

    def compare(self, joined):
        """What is known to have been read, when the room is joined."""
        if self.acknowledged and not joined.uuid == self.uuid:
            raise AssertionError("it is another room")
        self.uuid = joined.uuid
        if self.life != self.server.pid:
            self.life, self.now = self.server.pid, 0
        assert max(self.floor, self.now) <= joined.read <= min(self.asked, joined.next - 1), \
            f"read {joined.read} of {joined.next - 1}; asked for {self.asked}, answered {self.now}, file {self.floor}"
        self.forgotten += self.now == 0 and joined.read < self.asked

    def mark(self, c, dice):
        joined = c.join(ROOM, flags=wire.QUIET)
        self.compare(joined)
        upto = dice.randrange(joined.next) + dice.randrange(2)
        self.asked = max(self.asked, upto)
        n = c.ask("READ", at=joined.room, upto=upto)
        marked = c.until("MARKED", counter=n)
        assert max(min(upto, joined.next - 1), joined.read) <= marked.upto <= max(upto, joined.read), marked
        self.now = marked.upto
        self.acknowledged += 1

    def wait(self):
        """Nothing dies meanwhile: then what was read gets to the disk."""
        if self.now and self.life == self.server.pid:
            harness.until(lambda: self.on_disk() == self.now, f"{self.now} is in the file")
            self.look()
            self.kept += 1

    def check(self):
        with wire.Client.connect(self.server.socket, NICK) as c:
            self.compare(c.join(ROOM, flags=wire.QUIET))
