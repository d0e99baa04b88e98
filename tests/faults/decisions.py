"""What operators decide about the ledger's room while things are killed: bans, operators, kicks. Each decision that was
answered with DONE has to hold at the end; of one whose answer did not come both outcomes are right."""

import parleywire as wire
from peer import ROOM

OP, BAN = 1, 2  # kinds of SETTING
KEPT = 15  # kicks that are looked at in the end; the server promises to know the last 32


class Decisions:
    def __init__(self, server, port):
        self.server, self.port = server, port
        self.may = {}  # (kind, who): the values it may have now
        self.kicked = []  # (WELCOME, JOINED) of guests who were put out for certain
        self.guests = 0
        self.acknowledged = dict.fromkeys(("ban", "op", "kick"), 0)

    def session(self):
        c = wire.Client.connect(self.server.socket, "keeper")
        return c, c.join(ROOM, flags=wire.QUIET).room

    def change(self, dice):
        """One decision of a kind that is waited for, then one that is on its way when something dies."""
        if not self.server.is_ready():
            return
        try:
            c, room = self.session()
            with c:
                if dice.random() < 0.3:
                    self.kick(c, room)
                for waited in (True, False):
                    self.grant(c, room, dice, waited)
        except (OSError, wire.Ended):
            pass  # a worker is being started anew, or the like

    def count(self):
        return sum(self.acknowledged.values())

    def grant(self, c, room, dice, waited):
        # Of others than those that are waited for: they may be carried out when they like.
        kind, on = dice.choice((OP, BAN)), dice.randrange(2)
        who = f"uid:{(40000 if waited else 41000) + 100 * kind + dice.randrange(4)}"
        self.may.setdefault((kind, who), {0}).add(on)
        n = c.ask("OP", at=room, who=who, on=on) if kind == OP else c.ask("BAN", at=room, who=who, on=on, text="")
        if waited and c.until("DONE", "ERROR", counter=n).type == "DONE":
            self.may[kind, who] = {on}
            self.acknowledged["op" if kind == OP else "ban"] += 1

    def kick(self, c, room):
        """A guest of whom nobody can tell who he is: the server's own user cannot be put out."""
        self.guests += 1
        with wire.Client.connect(("127.0.0.1", self.port), f"guest{self.guests}") as guest:
            joined = guest.join(ROOM, flags=wire.QUIET)
            n = c.ask("KICK", at=room, nick=guest.welcome.nick, text="")
            if c.until("DONE", "ERROR", counter=n).type != "DONE":
                return
            self.kicked.append((guest.welcome, joined))
            self.acknowledged["kick"] += 1
            parted = guest.until("PARTED")
            assert parted.code == wire.CODES["KICKED"], parted

    def check(self):
        c, room = self.session()
        with c:
            n, there = c.ask("MODES", at=room), set()
            while (r := c.until("SETTING", "DONE", "ERROR", counter=n)).type == "SETTING":
                if r.kind in (OP, BAN):
                    there.add((r.kind, r.name))
            assert r.type == "DONE"
        for what, may in self.may.items():
            assert int(what in there) in may, f"{what}: in force: {what in there}, acknowledged: {may}"
        assert {what for what in there if what[1] >= "uid:40000"} <= set(self.may)
        for welcome, joined in self.kicked[-KEPT:]:
            self.stays_out(welcome, joined)

    def stays_out(self, welcome, joined):
        """Who was kicked does not come back by itself, with the cursor of before."""
        cursor = wire.cursor(joined.uuid, joined.epoch, wire.QUIET, joined.next - 1)
        with wire.Client.dial(("127.0.0.1", self.port)) as c:
            answer = c.hello(welcome.nick, token=welcome.token, producer=welcome.producer, cursors=cursor)
            assert (answer.type, getattr(answer, "nick", "")) == ("WELCOME", welcome.nick), answer
            c.send(wire.encode("READY"))
            c.ask("PING", stamp=1)
            r = c.until("PARTED", "JOINED", "PONG")
            assert r.type == "PARTED" and r.code == wire.CODES["KICKED"], f"{welcome.nick} is back: {r}"
