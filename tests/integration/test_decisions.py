"""What is decided in a room: who may, what it does to the others, and that it survives a restart and a killed
server. Other people are other users of the machine, which needs root; somebody who is nobody comes by plain TCP."""

import os
import signal
import struct
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "faults"))

import harness
import parleywire as wire
import roomlog
from others import BAN, INVITE, MODE, NOBODY, OP, OTHER, TOPIC, as_root, ask, decided, me, modes, open_to_all, programs, tcp


@pytest.fixture
def server(make_server):
    return open_to_all(make_server())


def kept_over_a_crash(server):
    with me(server) as alice:
        before = modes(alice)
    options = server.options
    server.kill()
    server.start(*options)
    with me(server) as alice:
        assert modes(alice) == before


# --- who may decide --------------------------------------------------------------------------------------


def test_who_makes_a_room_is_its_operator(server):
    with me(server) as alice, tcp(server, "bob") as bob:
        assert (OP, f"uid:{os.geteuid()}") in modes(alice)
        bob.room = bob.join("#dev").room
        assert ask(bob, "KICK", nick="alice", text="") == "DENIED"
        assert ask(bob, "BAN", who="alice", on=1, text="") == "DENIED"
        assert ask(bob, "OP", who="alice", on=1) == "DENIED"
        assert ask(bob, "MODE", name="private", value="on") == "DENIED"
        assert decided(bob) == {(OP, f"uid:{os.geteuid()}"): ""}


def test_nobody_in_particular_is_no_operator(server):
    with tcp(server, "bob") as bob:
        bob.room = bob.join("#mine").room
        assert decided(bob) == {}
        assert ask(bob, "MODE", name="private", value="on") == "DENIED"


@as_root
def test_the_lobby_has_no_operator_but_the_servers_user(server, people):
    eve = people(NOBODY, "eve", "#LOBBY")
    assert eve("join()") == "JOINED"
    assert eve("ask('KICK', nick='x', text='')") == wire.CODES["DENIED"]
    with me(server, room="#lobby") as alice:
        assert decided(alice) == {}
        assert ask(alice, "KICK", nick="eve", text="out") == "DONE"


@as_root
def test_operator_by_person_not_by_nick(server, people):
    """Rights stay with the user when the nick changes, and do not go with the nick."""
    with me(server) as alice:
        eve = people(NOBODY, "eve")
        eve("join()")
        assert ask(alice, "OP", who="eve", on=1) == "DONE"
        assert alice.until("OPPED").person == f"uid:{NOBODY}"
        assert eve("c.until('NICKED', 'ERROR', counter=c.ask('NICK', nick='mallory')).type") == "NICKED"
        assert eve("ask('MODE', name='topic-ops', value='on')") == "DONE"
        assert eve("ask('KICK', nick='alice', text='')") == wire.CODES["DENIED"]  # the server's own user
        other = people(OTHER, "other")
        other("join()")
        assert other("c.until('RETITLE', 'ERROR', counter=c.ask('TOPIC', at=room, topic='x')).type") == "ERROR"
        assert ask(alice, "OP", who=f"uid:{NOBODY}", on=0) == "DONE"
        assert eve("ask('MODE', name='topic-ops', value='off')") == wire.CODES["DENIED"]


# --- out -----------------------------------------------------------------------------------------------------


def test_kicked_is_told_who_and_why_and_may_come_back(server):
    with me(server) as alice, tcp(server, "bob") as bob:
        bob.room = bob.join("#dev").room
        assert ask(alice, "KICK", nick="BOB", text="spam") == "DONE"
        out = bob.until("PARTED")
        assert (out.code, out.text) == (wire.CODES["KICKED"], "kicked by alice: spam")
        seen = alice.until("KICKED")
        assert (seen.from_, seen.nick, seen.text) == ("alice", "bob", "spam")
        alice.post(alice.room, "gone?")
        alice.until("MESSAGE")
        bob.post(bob.room, "am I?")
        assert bob.until("MESSAGE", "ERROR").code == wire.CODES["NOT_MEMBER"]
        assert bob.join("#dev").type == "JOINED"
        assert ask(alice, "KICK", nick="alice", text="") == "NICK"
        assert ask(alice, "KICK", nick="zed", text="") == "NICK"


@pytest.mark.parametrize("end", [None, signal.SIGTERM, signal.SIGKILL])
def test_kicked_while_away_does_not_come_back_by_itself(server, end):
    """By the cursor of a resume, and by the JOIN that a client makes when the server forgot it."""
    with me(server) as alice:
        bob = tcp(server, "bob")
        joined = bob.join("#dev")
        cursor = wire.cursor(joined.uuid, joined.epoch, 0, joined.next)
        bob.close()
        assert ask(alice, "KICK", nick="bob", text="") == "DONE"
    if end:
        options = server.options
        server.stop() if end == signal.SIGTERM else server.kill()
        server.start(*options)
    with tcp(server, "bob", token=bob.welcome.token, producer=bob.welcome.producer, cursors=cursor) as again:
        assert again.until("PARTED", "JOINED").code == wire.CODES["KICKED"]
        r = again.join("#dev", start=wire.AFTER, arg=joined.next, flags=wire.AGAIN)
        assert (r.type, r.code) == ("ERROR", wire.CODES["KICKED"])
        assert again.join("#dev").type == "JOINED"


@as_root
def test_ban_ends_every_session_of_the_person(server, people):
    with me(server) as alice:
        eve, second, other = people(NOBODY, "eve"), people(NOBODY, "eva"), people(OTHER, "other")
        for p in (eve, second, other):
            assert p("join()") == "JOINED"
        assert ask(alice, "BAN", who="eve", on=1, text="enough") == "DONE"
        for p in (eve, second):
            assert p("c.until('PARTED').text") == "banned by alice: enough"
            assert p("join()") == "ERROR"
        assert other("ask('MODES')") == "DONE"
        assert people(NOBODY, "innocent")("join()") == "ERROR"
        assert ask(alice, "BAN", who=f"uid:{NOBODY}", on=0, text="") == "DONE"
        assert eve("join()") == "JOINED"


def test_ban_of_a_nick_that_is_nobodys(server):
    with me(server) as alice, tcp(server, "bob") as bob:
        assert ask(alice, "BAN", who="bob", on=1, text="") == "DONE"
        assert decided(alice)[BAN, "nick:bob"] == "bob"
        assert bob.join("#dev").code == wire.CODES["DENIED"]
        with tcp(server, "BoB") as again:
            assert again.welcome.nick == "BoB2"
        assert ask(alice, "BAN", who="Bob", on=0, text="") == "DONE"
        assert bob.join("#dev").type == "JOINED"


# --- private ---------------------------------------------------------------------------------------------------


@as_root
def test_private_room_is_not_there_for_others(server, people):
    with me(server) as alice:
        alice.post(alice.room, "secret")
        alice.until("MESSAGE")
        eve, other = people(NOBODY, "eve"), people(OTHER, "other")
        assert eve("join()") == "JOINED"
        assert ask(alice, "MODE", name="private", value="on") == "DONE"
        assert (INVITE, f"uid:{NOBODY}") in modes(alice), "who is here need not be invited"
        assert other("join()") == "ERROR"
        assert other("[r.name for r in c.listing('ROOMS')]") == []
        assert other("[m.rooms for m in c.listing('WHO')]") == ["", "", ""]
        for kind, values in (("HISTORY", "before=0, count=0"), ("MODES", ""), ("WHO", ""),
                             ("SEARCH", "start=1, arg=99, before=0, text='secret'")):
            assert other(f"c.until('ERROR', counter=c.ask('{kind}', at={alice.room}, {values})).code") == \
                wire.CODES["NOT_MEMBER"]
        assert ask(alice, "INVITE", nick="other", on=1) == "DONE"
        assert other("c.until('INVITATION').name") == "#dev"
        assert other("join()") == "JOINED"
        assert eve("ask('INVITE', nick='zed', on=1)") == wire.CODES["DENIED"]
        assert ask(alice, "KICK", nick="other", text="") == "DONE"
        assert other("c.until('PARTED').text") == "kicked by alice"
        assert other("join()") == "ERROR", "the invitation is gone"
        assert ask(alice, "MODE", name="private", value="off") == "DONE"
        assert other("join()") == "JOINED"


def test_making_a_room_private_puts_out_who_cannot_be_told(server):
    with me(server) as alice, tcp(server, "bob") as bob:
        bob.join("#dev")
        assert ask(alice, "MODE", name="private", value="on") == "DONE"
        assert "plain TCP" in bob.until("PARTED").text
        assert bob.join("#dev").code == wire.CODES["DENIED"]
        assert ask(alice, "INVITE", nick="bob", on=1) == "NICK"


@as_root
def test_segment_that_a_kicked_reader_has_mapped_gets_nothing_new(server, people):
    """By mmap a client holds the log itself: what is said after it was put out is in another file."""
    with me(server) as alice:
        reader = subprocess.Popen(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
             os.path.join(server.dir, "programs", "parley"), "tail", "-s", server.address, "-t", "mmap", "-n",
             "eve", "#dev"], env=server.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        harness.until(lambda: any(m.nick == "eve" for m in alice.listing("WHO", alice.room)), "the reader is there")
        assert ask(alice, "MODE", name="private", value="on") == "DONE"
        alice.post(alice.room, "still together")
        assert ask(alice, "KICK", nick="eve", text="") == "DONE"
        alice.post(alice.room, "among ourselves")
        alice.until("MESSAGE", text="among ourselves")
        _, err = reader.communicate(timeout=harness.DEADLINE)
        assert reader.returncode == 77 and "kicked by alice" in err
    where = roomlog.rooms(server.state)["#dev"]
    files = roomlog.segments(where)
    texts = [[r.text for r in roomlog.Segment(f).records() if r.type == "MESSAGE"] for f in files]
    assert "among ourselves" in texts[-1] and len(files) > 1
    assert all("among ourselves" not in t for t in texts[:-1])
    assert any(r.type == "SETTINGS" for r in roomlog.Segment(files[-1]).records())


# --- what lasts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_decisions_survive(server, end):
    with me(server) as alice:
        assert ask(alice, "OP", who="uid:4001", on=1) == "DONE"
        assert ask(alice, "OP", who="account:carol", on=1) == "DONE"
        assert ask(alice, "BAN", who="uid:4002", on=1, text="") == "DONE"
        assert ask(alice, "BAN", who="uid:4003", on=1, text="") == "DONE"
        assert ask(alice, "BAN", who="uid:4003", on=0, text="") == "DONE"
        assert ask(alice, "MODE", name="private", value="on") == "DONE"
        assert ask(alice, "INVITE", nick="uid:4004", on=1) == "DONE"
        alice.ask("TOPIC", at=alice.room, topic="it")
        alice.until("RETITLE")
        before = modes(alice)
    options = server.options
    for _ in range(2):
        getattr(server, end)()
        server.start(*options)
        with me(server) as alice:
            assert modes(alice) == before
    assert (BAN, "uid:4002") in before and (BAN, "uid:4003") not in before
    assert before[TOPIC, "topic"] == "it" and before[MODE, "private"] == "on"


def test_decisions_survive_the_loss_of_old_segments(make_server):
    """Each new segment says anew what is in force: with only the newest left, nothing is missing."""
    server = make_server().start("--workers", "0")
    with me(server) as alice:
        for who, kind in (("uid:4001", "OP"), ("account:x", "OP")):
            assert ask(alice, kind, who=who, on=1) == "DONE"
        assert ask(alice, "BAN", who="nick:Ärger", on=1, text="") == "DONE"
        alice.ask("TOPIC", at=alice.room, topic="kept")
        before = None
        for i in range(120):
            alice.post(alice.room, "x" * 30000)
            alice.until("MESSAGE")
        before = modes(alice)
    options = server.options
    server.stop()
    where = roomlog.rooms(server.state)["#dev"]
    files = roomlog.segments(where)
    assert len(files) >= 3
    for f in files[:-1]:
        os.unlink(f)
    server.start(*options)
    with me(server) as alice:
        assert modes(alice) == before
        assert before[TOPIC, "topic"] == "kept" and (BAN, "nick:Ärger") in before


def test_log_without_decisions_is_as_it_was(server):
    """Nothing is written into a room that nobody decides anything about: logs of earlier releases and of
    this one have the same records."""
    with me(server) as alice:
        alice.post(alice.room, "hello")
        alice.until("MESSAGE")
    options = server.options
    server.stop()
    assert [r.type for r in roomlog.room(server.state, "#dev")][:2] == ["ARRIVE", "MESSAGE"]
    # A header of an earlier release ends with the topic: no founder, nothing about settings.
    path = roomlog.segments(roomlog.rooms(server.state)["#dev"])[0]
    with open(path, "r+b") as f:
        page = bytearray(f.read(4096))
        page[448:538] = bytes(90)
        page[4092:] = struct.pack("<I", wire.crc32c(bytes(page[:4092])))
        f.seek(0)
        f.write(page)
    server.start(*options)
    with me(server) as alice:
        assert decided(alice) == {}
        assert ask(alice, "OP", who="uid:4001", on=1) == "DONE"
    kept_over_a_crash(server)


# --- hostile ------------------------------------------------------------------------------------------------


def test_flood_of_bans_is_bounded_and_the_room_lives(server):
    with me(server) as alice:
        answers = [ask(alice, "BAN", who=f"uid:{5000 + i}", on=1, text="x" * 300) for i in range(100)]
        assert answers.count("DONE") == 80 and set(answers) == {"DONE", "LIMIT"}
        assert [ask(alice, "OP", who=f"uid:{6000 + i}", on=1) for i in range(40)].count("DONE") == 31
        assert ask(alice, "MODE", name="private", value="on") == "DONE"
        answers = [ask(alice, "INVITE", nick=f"uid:{7000 + i}", on=1) for i in range(100)]
        assert answers.count("DONE") == 80
        alice.post(alice.room, "alive")
        alice.until("MESSAGE")
    kept_over_a_crash(server)


def test_nonsense_is_refused_by_name(server):
    with me(server) as alice:
        for kind, values, code in [
                ("KICK", dict(nick="", text=""), "NICK"), ("KICK", dict(nick="x" * 40, text=""), "NICK"),
                ("BAN", dict(who="a b", on=1, text=""), "NICK"),
                ("BAN", dict(who="zed", on=1, text="two\nlines"), "TEXT"),
                ("BAN", dict(who="zed", on=1, text="x" * 400), "TEXT"),
                ("BAN", dict(who="uid:99999999999999", on=1, text=""), "DONE"),
                ("OP", dict(who="zed", on=1), "NICK"), ("MODE", dict(name="nosuch", value="on"), "UNKNOWN"),
                ("MODE", dict(name="private", value="x" * 5000), "TEXT"),
                ("INVITE", dict(nick="alice", on=1), "NICK"), ("WHOIS", dict(nick="a\0b"), "NICK"),
                ("RELEASE", dict(nick="zed"), "NICK")]:
            assert ask(alice, kind, **values) == code, (kind, values)
        for number in (96, 97, 98, 99, 100, 102, 103):
            for body in (b"", b"\xff", b"\xff" * 8):
                n = alice.request = alice.request + 1
                alice.send(wire.seal(number, body, 0, alice.room, n))
                assert alice.until("ERROR", counter=n).code == wire.CODES["MALFORMED"], number


def test_conversation_of_two_has_no_operators(server):
    with me(server) as alice, tcp(server, "bob") as bob:
        alice.room = alice.join("@bob").room
        bob.until("JOINED")
        for kind, values in (("KICK", dict(nick="bob", text="")), ("MODE", dict(name="private", value="on")),
                             ("BAN", dict(who="bob", on=1, text="")), ("INVITE", dict(nick="zed", on=1))):
            assert ask(alice, kind, **values) == "DENIED"


@as_root
def test_flood_of_decisions_is_paced(make_server):
    """Decisions are written into the room, so --rate holds for them: 20 a second and 80 at once, of thousands that
    are tried."""
    server = make_server()
    os.chmod(server.dir, 0o755)
    server.start("--workers", "1", "--rate", "20")
    where = programs(server)
    code = """
import sys
import parleywire as wire
c = wire.Client.connect(sys.argv[1], "eve")
room = c.join("#flood").room
n = 0
while n < 5000:
    n += 1
    try:
        c.sock.settimeout(0.1)
        c.send(wire.encode("MODE", 0, room, n, name="topic-ops", value="on" if n % 2 else "off"))
    except TimeoutError:  # the server reads no more
        break
print(n)
"""
    began = time.monotonic()
    done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable,
                           "-B", "-c", code, server.socket], env=server.env(PYTHONPATH=where), text=True,
                          capture_output=True, timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stderr
    with me(server, room="#flood") as alice:
        written = alice.join("#flood").next
    assert written <= 100 + 20 * (time.monotonic() - began + 1), "what was tried meanwhile is still being taken, at that rate"
    assert int(done.stdout) > 100
