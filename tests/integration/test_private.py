"""What is private stays private: rooms that are invite-only and conversations of two, as somebody meets
them who has only the address of the page in the browser, who has a session as nobody in particular, or who
asks the server for everything there is to ask."""

import json
import os

import pytest

import harness
import parleywire as wire
from harness import until
from webwire import Site

SECRETS = ("#vault", "hush", "@", "plans.txt")


@pytest.fixture
def site(make_server):
    return Site(make_server().start("--workers", "1", "--http", "127.0.0.1:0"))


def me(server, nick="alice", room=None, **more):
    c = wire.Client.connect(server.socket, nick, **more)
    c.room = c.join(room).room if room else 0
    return c


def done(c, kind, room, **values):
    r = c.until("DONE", "ERROR", counter=c.ask(kind, at=room, **values))
    assert r.type == "DONE", r


def say(c, room, text, flags=0):
    """… and it is in the log."""
    c.post(room, text, flags=flags)
    return c.until("MESSAGE", room=room, text=text)


def give(server, room, name):
    path = os.path.join(server.dir, name)
    with open(path, "w") as f:
        f.write("hush")
    server.ok("file", "put", "-n", "alice", room, path)


def vault(c, server):
    """A private room with a topic, something said, and a file; its number."""
    room = c.join("#vault").room
    done(c, "MODE", room, name="private", value="on")
    c.ask("TOPIC", at=room, topic="hush topic")
    c.until("RETITLE")
    say(c, room, "hush said")
    return room


def told(page):
    return json.dumps(page.messages, ensure_ascii=False)


def secrets_in(text):
    return [s for s in SECRETS if s in text]


# --- whoever has the page's address ----------------------------------------------------------------------


def test_page_shows_nothing_private(site):
    server = site.server
    with me(server, "alice", "#lobby") as alice, me(server, "bob") as bob, site.page() as page:
        room = vault(alice, server)
        two = alice.join("@bob").room
        give(server, "#vault", "plans.txt")
        bob.until("JOINED", room=two)

        def traced():  # sampled for the page, in the lobby; never elsewhere
            for where in (room, two):
                assert not say(alice, where, "hush again").flags & wire.TRACED
                alice.post(where, "hush traced", flags=wire.TRACED)
            return say(alice, alice.room, "hello all").flags & wire.TRACED
        until(traced, "a message in the lobby is sampled")
        page.wait("trace", room="#lobby", deadline=harness.DEADLINE)
        n = len(page.messages)
        for name in ("#vault", "#Vault"):
            page.send(do="room", room=name)
            page.wait("closed")
            assert not [m for m in page.messages[n:] if m.get("room") == "#vault" and m["type"] != "room"]
            page.messages = [m for m in page.messages if m.get("room") != name and m["type"] != "closed"]
        for name in ("@alice,bob", "@bob", "@"):
            page.send(do="room", room=name)
            page.wait("refused", what="room")
            page.messages = [m for m in page.messages if m["type"] != "refused"]
        page.read("#lobby")
        page.wait("message", text="hello all")
        state = page.wait("state")
        until(lambda: page.receive() and len([m for m in page.messages if m["type"] == "state"]) > 2, "states")
        rooms = [m for m in page.messages if m["type"] == "rooms"]
        assert [r["name"] for r in rooms[-1]["rooms"]] == ["#lobby"]
        assert {"nick", "transport"} <= set(state["sessions"][0]) and "rooms" not in state["sessions"][0]
        assert not secrets_in(told(page).replace(server.address, ""))
        assert not secrets_in(site.get("/metrics").text)
        assert not secrets_in(site.get("/healthz").text)


def test_nobody_posts_from_a_page_where_they_may_not_be(site):
    server = site.server
    with me(server, "alice") as alice, site.member("ann") as page:
        room = vault(alice, server)
        page.send(do="room", room="#vault")
        page.wait("refused", what="join")
        page.send(do="post", text="let me in")
        page.wait("refused", what="post")
        say(alice, room, "still alone")
        assert not [r for r in alice.kept if r.type in ("ARRIVE", "MESSAGE") and "ann" in repr(r)]
        assert not secrets_in(told(page).replace('"room": "#vault"', "").replace(server.address, ""))


def test_page_is_put_out_of_a_room_that_becomes_private(site):
    server = site.server
    with me(server, "alice", "#open") as alice, site.member("ann", "#open") as page:
        say(alice, alice.room, "for all")
        page.wait("message", text="for all")
        done(alice, "MODE", alice.room, name="private", value="on")
        page.wait("left")
        page.wait("closed")
        say(alice, alice.room, "hush now")
        with site.page(None) as late:  # while the other page still looks there
            late.read("#open")
            late.wait("closed") if late.messages[-1]["type"] == "closed" else None
            late.read("#lobby")
            say(alice, alice.join("#lobby").room, "hello")
            late.wait("message", text="hello")
            assert "for all" not in told(late) and "hush" not in told(late)
        done(alice, "MODE", alice.room, name="private", value="off")
        page.wait("message", text="hush now")  # it is open again, with its history
        assert len([m for m in page.messages if m["type"] == "closed"]) == 1, "told once, not each second"


def test_poster_is_nobody_in_particular(site):
    server = site.server
    server.ok("send", "-n", "carol", "#lobby", "my nick from now on")
    with site.page() as page:
        page.send(do="join", nick="carol", token=site.token)
        assert "belongs to somebody else" in page.wait("left")["text"]
        page.send(do="join", nick="ann", token=site.token)
        page.wait("joined", nick="ann")
        people = {m["nick"]: m for m in server.json("who")}
        assert not any(people[n].get("person") for n in ("ann", "page"))
        with me(server, "alice", "#lobby") as alice:
            done(alice, "KICK", alice.room, nick="ann", text="enough")
        assert "alice" in page.wait("left", text="kicked by alice: enough")["text"]


# --- a session as nobody ---------------------------------------------------------------------------------


def test_session_as_nobody_has_no_rights(site):
    server = site.server
    with me(server, "alice") as alice:
        room = vault(alice, server)
        with me(server, "shadow", "#lobby", flags=wire.AS_NOBODY) as shadow:
            assert shadow.join("#vault").code == wire.CODES["DENIED"]
            assert [r.name for r in shadow.listing("ROOMS")] == ["#lobby"]
            r = shadow.until("DONE", "ERROR", counter=shadow.ask("OP", at=shadow.room, who="alice", on=1))
            assert r.code == wire.CODES["DENIED"]
            done(shadow, "WATCH", 0, rate=50)
            until(lambda: say(shadow, shadow.room, "seen?").flags & wire.TRACED, "the lobby is sampled")
            assert not say(alice, room, "hush sampled").flags & wire.TRACED
            say(alice, room, "hush traced", wire.TRACED)
            assert alice.until("TRACE").name == "#vault", "who asks for a trace gets it"
            shadow.ask("PING", stamp=1)
            shadow.until("PONG")
            assert not [r for r in shadow.kept if r.type == "TRACE" and r.name == "#vault"]
            with me(server, "own") as own:  # the server's own user may watch there
                done(own, "WATCH", 0, rate=50)
                until(lambda: say(alice, room, "hush sampled").flags & wire.TRACED, "the vault is sampled")
                assert own.until("TRACE", name="#vault").nick == "alice"


# --- every request about a room one is not in ------------------------------------------------------------

# What a session may ask for, with its fields; each is asked of a room that the one who asks is not in.
ABOUT_A_ROOM = {
    "POST": {"text": "hello"}, "PART": {}, "TOPIC": {"topic": "mine"}, "WHO": {},
    "HISTORY": {"before": 0, "count": 10},
    "SEARCH": {"start": wire.LAST, "arg": 99, "before": 0, "text": "hush"},
    "INVITE": {"nick": "mallory", "on": 1}, "KICK": {"nick": "alice", "text": ""},
    "BAN": {"who": "alice", "on": 1, "text": ""}, "OP": {"who": "mallory", "on": 1},
    "MODE": {"name": "private", "value": "off"}, "MODES": {}, "READ": {"upto": 2},
    "EDIT": {"target": 2, "text": "x"}, "DELETE": {"target": 2},
    "FILE_PUT": {"name": "f", "size": 1, "key": bytes(16), "attempt": bytes(range(16))},
    "FILE_GET": {"said": 0, "name": "plans.txt"}, "FILE_LIST": {}}
# These name no room by its number, or take no answer; what they tell is asked for by itself below.
OTHERS = {"HELLO", "READY", "JOIN", "NICK", "ROOMS", "TRANSPORTS", "PING", "BYE", "SEEN", "WATCH", "WHOIS",
          "RELEASE", "AWAY", "FILE_OPEN"}
REQUESTS = {n for n, (number, _) in wire.TYPES.items() if number < 32 or 96 <= number < 112 or 124 <= number < 128}


def test_every_request_is_in_a_list():
    assert set(ABOUT_A_ROOM) | OTHERS == REQUESTS


@pytest.mark.parametrize("how", ["nobody", "tcp", "worker"])
def test_who_is_not_invited_is_told_nothing(make_server, how):
    place = "workers" if how == "worker" else "hub"
    server = make_server().start("--workers", "1", "--place", place, "--listen", "127.0.0.1:0")
    port = int(server.ready.group(0).rpartition("127.0.0.1:")[2].split()[0])
    address, flags = (("127.0.0.1", port), 0) if how == "tcp" else (server.socket, wire.AS_NOBODY)
    with me(server, "alice") as alice, me(server, "bob") as bob:
        room = vault(alice, server)
        give(server, "#vault", "plans.txt")
        first = alice.until("FILE", room=room).seq
        two = alice.join("@bob").room
        bob.until("JOINED", room=two)
        say(alice, two, "hush, bob")
        newest = say(alice, room, "hush, the end").seq
        with wire.Client.connect(address, "mallory", flags=flags) as mallory:
            for target in (room, two, 9999):
                for kind, values in ABOUT_A_ROOM.items():
                    if kind in ("POST", "EDIT", "DELETE"):
                        mallory.counter += 1
                        n = mallory.counter
                        mallory.send(wire.encode(kind, at=target, counter=n, **values))
                    else:
                        n = mallory.ask(kind, at=target, **values)
                    r = mallory.until("ERROR", "DONE", "REPLAY", "FILE_ENTRY", "FILE_TICKET", "PARTED", counter=n)
                    assert (r.type, r.code) == ("ERROR", wire.CODES["NOT_MEMBER"]), (kind, target, r)
                    assert not secrets_in(r.text)
                mallory.ask("SEEN", at=target, clock=1, woken=1, arrived=1, bytes=1, calls=1, posted=0, post_calls=0)
            said = mallory.ask("FILE_GET", at=room, said=first, name="")
            assert mallory.until("ERROR", counter=said).code == wire.CODES["NOT_MEMBER"]
            for name in ("#vault", "#VAULT", "@alice,bob"):
                for start, arg in ((wire.FROM_NOW, 0), (wire.LAST, 99), (wire.AFTER, 0), (wire.SINCE, 0)):
                    for more in (0, wire.QUIET, wire.AGAIN, wire.QUIET | wire.AGAIN):
                        r = mallory.join(name, start, arg, flags=more)
                        assert (r.type, r.code) == ("ERROR", wire.CODES["DENIED"]), r
            assert not [r for r in mallory.listing("ROOMS") if r.name != "#lobby"]
            members = {m.nick: m for m in mallory.listing("WHO")}
            assert {"alice", "bob", "mallory"} <= set(members)
            assert not any(secrets_in(m.rooms) for m in members.values())
            mallory.ask("WHOIS", nick="alice")
            assert mallory.until("PROFILE", nick="alice").rooms == ""
            mallory.ask("PING", stamp=1)
            mallory.until("PONG")
            assert not [r for r in mallory.kept if secrets_in(repr(vars(r)))], "and nothing came unasked"
        # nothing that was asked has changed anything, and nobody there has noticed
        assert say(alice, room, "hush, still here").seq == newest + 1
        n = alice.ask("ROOMS")
        assert alice.until("ROOM", counter=n, name="#vault").members == 1


@pytest.mark.parametrize("epoch", [0, 1, 99])
def test_cursor_does_not_lead_into_a_private_room(make_server, epoch):
    """What a client that was in the room knows of it: its uuid is a way in for nobody."""
    server = make_server().start("--workers", "1")
    with me(server, "alice") as alice:
        joined = alice.join("#vault")
        done(alice, "MODE", joined.room, name="private", value="on")
        say(alice, joined.room, "hush said")
        cursors = wire.cursor(joined.uuid, epoch or joined.epoch, 0, 0)
        with wire.Client.connect(server.socket, "mallory", flags=wire.AS_NOBODY, cursors=cursors) as mallory:
            r = mallory.until("PARTED", "JOINED")
            assert (r.type, r.code) == ("PARTED", wire.CODES["DENIED"])
            mallory.ask("PING", stamp=1)
            mallory.until("PONG")
            assert not [r for r in mallory.kept if secrets_in(repr(vars(r)))]
