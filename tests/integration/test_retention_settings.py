"""Retention and what was decided about a room: bans, operators, invitations, modes, topic and founder outlive the
segments in which they were said, by size and by age, a restart and a killed server."""

import glob
import os

import pytest

import parleywire as wire
from harness import until

ROOM, NUMBER = "#dev", 1  # the first room of its server
OP, BAN, INVITE, MODE, KICK, TOPIC = range(1, 7)  # kinds of SETTING
KEEP = {"size": ["--retain-size", "1M"], "age": ["--retain-days", "2s"], "both": ["--retain", f"{ROOM} 4s 1M"]}


class Op(wire.Client):
    """The server's user in the room."""

    @classmethod
    def of(cls, server):
        c = cls.connect(server.socket, "alice")
        c.room = c.join(ROOM, flags=wire.QUIET).room
        assert c.room == NUMBER
        return c

    def decide(self, kind, **values):
        r = self.until("DONE", "ERROR", counter=self.ask(kind, at=self.room, **values))
        assert r.type == "DONE", r

    def settings(self):
        """All that is in force: {(kind, name): (value, by whom, when)}"""
        n, out = self.ask("MODES", at=self.room), {}
        while True:
            r = self.until("SETTING", "DONE", counter=n)
            if r.type == "DONE":
                return out
            out[r.kind, r.name] = (r.value, r.by, r.time)


def first_seq(server):
    """Number of the oldest record in a file."""
    return int(os.path.basename(min(glob.glob(f"{server.state}/rooms/{NUMBER:08x}/*.log")))[:16], 16)


def last_seq(server):
    (row,) = [r for r in server.json("rooms") if r["room"] == ROOM]
    return row["records"]


def forget(server, how):
    """Retention drops all that has been said until now."""
    last = last_seq(server)
    if how != "age":
        server.ok("send", ROOM, "-", input=f"{'x' * 1000}\n" * 3000)
    until(lambda: first_seq(server) > last, f"nothing up to number {last} is left")


def decide_all(c):
    c.decide("OP", who="uid:4001", on=1)
    c.decide("OP", who="account:carol", on=1)
    c.decide("BAN", who="uid:4002", on=1, text="")
    c.decide("BAN", who="nick:Ärger", on=1, text="why not")
    c.decide("BAN", who="uid:4003", on=1, text="")
    c.decide("BAN", who="uid:4003", on=0, text="")
    c.decide("MODE", name="private", value="on")
    c.decide("INVITE", nick="uid:4004", on=1)
    c.ask("TOPIC", at=c.room, topic="it stays")
    c.until("RETITLE")
    return c.settings()


def check(before):
    assert before[TOPIC, "topic"][0] == "it stays" and before[MODE, "private"][0] == "on"
    for kind, name in [(OP, "uid:0"), (OP, "uid:4001"), (OP, "account:carol"), (BAN, "uid:4002"),
                       (BAN, "nick:Ärger"), (INVITE, "uid:4004")]:
        if name != "uid:0" or os.geteuid() == 0:
            assert (kind, name) in before
    assert (BAN, "uid:4003") not in before


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("how", KEEP)
def test_what_was_decided_outlives_its_segments(make_server, how, end):
    server = make_server().start("--workers", "0", *KEEP[how])
    with Op.of(server) as alice:
        before = decide_all(alice)
        check(before)
    for _ in range(2):  # also the segment in which it was said again
        forget(server, how)
        with Op.of(server) as alice:
            assert alice.settings() == before
    for _ in range(2):
        getattr(server, end)()
        server.start(*server.options)
        with Op.of(server) as alice:
            assert alice.settings() == before
    forget(server, how)
    server.kill()
    server.start(*server.options)
    with Op.of(server) as alice:
        assert alice.settings() == before


@pytest.mark.parametrize("how", ["size", "age"])
def test_what_changes_between_two_drops_is_kept_as_it_is_now(make_server, how):
    """A ban that is lifted after the settings were said again does not come back, nor does an old topic."""
    server = make_server().start("--workers", "0", *KEEP[how])
    with Op.of(server) as alice:
        decide_all(alice)
    forget(server, how)
    with Op.of(server) as alice:
        alice.decide("BAN", who="uid:4002", on=0, text="")
        alice.decide("OP", who="uid:4001", on=0)
        alice.decide("INVITE", nick="uid:4005", on=1)
        alice.ask("TOPIC", at=alice.room, topic="another")
        alice.until("RETITLE")
        before = alice.settings()
    server.kill()
    server.start(*server.options)
    with Op.of(server) as alice:
        assert alice.settings() == before
    forget(server, how)
    server.kill()
    server.start(*server.options)
    with Op.of(server) as alice:
        after = alice.settings()
    assert after == before and (BAN, "uid:4002") not in after and (OP, "uid:4001") not in after
    assert (INVITE, "uid:4005") in after and after[TOPIC, "topic"][0] == "another"


def test_what_is_dropped_while_the_server_is_down_is_cut_at_the_next_start(make_server):
    """Too old by the time it is started again: the settings are said again before the first look drops them."""
    server = make_server().start("--workers", "0")
    with Op.of(server) as alice:
        before = decide_all(alice)
    server.kill()
    server.start("--workers", "0", *KEEP["age"])
    forget(server, "age")
    server.kill()
    server.start("--workers", "0", *KEEP["age"])
    with Op.of(server) as alice:
        assert alice.settings() == before


def test_private_and_banned_hold_after_the_drop(make_server):
    """Not only listed: somebody who was not invited stays out of the room."""
    server = make_server().start("--workers", "0", "--listen", "127.0.0.1:0", *KEEP["size"])
    with Op.of(server) as alice:
        decide_all(alice)
    forget(server, "size")
    server.kill()
    server.start(*server.options)
    port = int(server.ready.group(0).split("tcp:127.0.0.1:")[1].split()[0])
    with wire.Client.connect(("127.0.0.1", port), "mal") as mal:
        assert mal.until("ERROR", "JOINED", counter=mal.ask("JOIN", room=ROOM, start=0, arg=0)).type == "ERROR"
    with Op.of(server) as alice:
        alice.decide("MODE", name="private", value="off")
    with wire.Client.connect(("127.0.0.1", port), "Ärger") as banned:
        assert banned.until("ERROR", "JOINED", counter=banned.ask("JOIN", room=ROOM, start=0, arg=0)).type == "ERROR"
