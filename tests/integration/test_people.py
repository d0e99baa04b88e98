"""Rooms and people: who may decide what, what survives a restart and a killed server, whose a nick is, and
what those get who may not. Other people are other users of the machine, which needs root; somebody who is
nobody comes by plain TCP."""

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "faults"))

import harness
import hostile
import parleywire as wire
import roomlog

NOBODY, OTHER = 65534, 65533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
OP, BAN, INVITE, MODE, KICK, TOPIC = range(1, 7)  # kinds of SETTING


@pytest.fixture
def server(make_server):
    s = make_server()
    os.chmod(s.dir, 0o755)
    return s.start("--workers", "1", "--listen", "127.0.0.1:0")


@pytest.fixture
def people(server):
    """people(uid, nick): a session of another user, driven by a process of theirs."""
    where = os.path.join(server.dir, "programs")
    os.mkdir(where)
    os.chmod(where, 0o755)
    for path in (harness.PARLEY, hostile.__file__, wire.__file__):
        shutil.copy(path, where)
        os.chmod(os.path.join(where, os.path.basename(path)), 0o755)
    started = []

    def begin(uid, nick, room="#dev"):
        started.append(Other(server, where, uid, nick, room))
        return started[-1]
    yield begin
    for other in started:
        other.close()


class Other:
    """A client under another uid. It is told what to do a line at a time, and prints what came of it."""

    CODE = """
import sys
import parleywire as wire
c = wire.Client.connect(sys.argv[1], sys.argv[2])
room = 0
def join(name=sys.argv[3], **more):
    global room
    r = c.join(name, **more)
    room = r.room or room
    return r.type
def ask(kind, **values):
    r = c.until("DONE", "ERROR", counter=c.ask(kind, at=room, **values))
    return r.code if r.type == "ERROR" else "DONE"
print("ready", flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""

    def __init__(self, server, where, uid, nick, room):
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-B", "-c",
             self.CODE, server.socket, nick, room], env=server.env(PYTHONPATH=where), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, code):
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return eval(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.communicate()


def port(server):
    return int(re.search(r"tcp:127\.0\.0\.1:(\d+)", server.ready.group(0)).group(1))


def tcp(server, nick, **more):
    return wire.Client.connect(("127.0.0.1", port(server)), nick, **more)


def me(server, nick="alice", room="#dev", **more):
    c = wire.Client.connect(server.socket, nick, **more)
    c.room = c.join(room).room
    return c


def ask(c, kind, **values):
    """DONE, or the name of the refusal's code."""
    r = c.until("DONE", "ERROR", counter=c.ask(kind, at=c.room, **values))
    return r.type if r.type == "DONE" else next(k for k, v in wire.CODES.items() if v == r.code)


def modes(c):
    """What MODES says: {(kind, name): value}"""
    n, out = c.ask("MODES", at=c.room), {}
    while True:
        r = c.until("SETTING", "DONE", "ERROR", counter=n)
        if r.type != "SETTING":
            return out
        out[r.kind, r.name] = r.value


def decided(c):
    return {k: v for k, v in modes(c).items() if v != "off"}


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
        before = modes(alice)
    server.kill()
    server.start(*options)
    with me(server) as alice:
        assert modes(alice) == before


# --- nicks ------------------------------------------------------------------------------------------------


def hello(address, nick, flags):
    with wire.Client.dial(address) as c:
        c.send(wire.encode("HELLO", flags, version=1, strict=1, transports=bytes(
            [wire.TCP if isinstance(address, tuple) else wire.UNIX]), nick=nick, token=wire.NO_TOKEN,
            producer=0, client="", cursors=b"", input=b""))
        return c.next()


def nicks_file(server):
    try:
        with open(os.path.join(server.state, "nicks")) as f:
            return f.read()
    except FileNotFoundError:
        return ""


@as_root
@pytest.mark.parametrize("end", [None, "stop", "kill"])
def test_nick_belongs_to_who_used_it_first(server, people, end):
    people(NOBODY, "eve")
    if end:
        options = server.options
        harness.until(lambda: "\teve\n" in nicks_file(server), "the owner is on disk")
        getattr(server, end)()
        server.start(*options)
    tcp_address = ("127.0.0.1", port(server))
    for address in (server.socket, tcp_address):
        r = hello(address, "EVE", wire.WISHED)
        assert (r.type, r.code) == ("REFUSE", wire.CODES["NICK"])
        assert f"uid:{NOBODY}" in r.text and re.search(r"Free: EVE\d$", r.text)
        assert re.fullmatch(r"eve\d", hello(address, "eve", 0).nick)  # a default: the nearest free one will do
    done = subprocess.run([harness.PARLEY, "who", "-s", server.address, "-n", "eve"], env=server.env(),
                          text=True, capture_output=True, timeout=harness.DEADLINE)
    assert done.returncode == 77 and "Free: eve" in done.stderr
    with me(server) as alice:
        r = alice.until("NICKED", "ERROR", counter=alice.ask("NICK", nick="eve"))
        assert r.type == "ERROR" and "Free: eve" in r.text
        assert ask(alice, "RELEASE", nick="Eve") == "DONE"
        assert ask(alice, "RELEASE", nick="eve") == "NICK"


@as_root
def test_only_its_owner_and_the_servers_user_release_a_nick(server, people):
    eve, other = people(NOBODY, "eve"), people(OTHER, "other")
    assert other("ask('RELEASE', nick='eve')") == wire.CODES["DENIED"]
    assert eve("ask('RELEASE', nick='eve')") == "DONE"


@as_root
def test_one_person_cannot_take_all_nicks(server, people):
    eve = people(NOBODY, "n0")
    for i in range(1, 60):
        assert eve(f"c.until('NICKED', 'ERROR', counter=c.ask('NICK', nick='n{i}')).type") == "NICKED"
    assert hello(server.socket, "n59", wire.WISHED).type == "REFUSE"
    assert hello(server.socket, "n0", wire.WISHED).type == "WELCOME", "the oldest went"


def test_broken_file_of_nicks_is_set_aside(make_server):
    server = make_server().start("--workers", "0")
    me(server, "alice").close()
    options = server.options
    server.stop()
    path = os.path.join(server.state, "nicks")
    with open(path, "a") as f:
        f.write("uid:12\tyesterday\tbob\nuid:0 1 x\n")
    server.start(*options)
    kept = [f for f in os.listdir(server.state) if f.startswith("nicks.broken")]
    assert kept and "2 lines cannot be read" in server.output()
    with open(os.path.join(server.state, kept[0])) as f:
        assert "yesterday" in f.read()
    server.stop()
    with open(path) as f:
        assert re.search(r"^uid:\d+\t\d+\talice$", f.read(), re.M)


@as_root
def test_exit_code_tells_a_bad_nick_from_one_that_is_taken(server, people):
    people(NOBODY, "eve")
    for command in (["send", "#lobby", "x"], ["tail", "-W", "60", "#lobby"], ["who"], ["bot", "#lobby", "cat"], ["file", "list", "#lobby"]):
        taken = server.run(command[0], "-n", "eve", *command[1:])
        assert taken.returncode == 77 and "Free: eve2" in taken.stderr, taken
        bad = server.run(command[0], "-n", "two words", *command[1:])
        assert bad.returncode == 2 and '--nick "two words": a character that is not allowed' in bad.stderr, bad


@pytest.mark.parametrize("nick", ["uid:1000", "account:bob", "nick:x"])
def test_nick_cannot_look_like_a_person(server, nick):
    r = hello(server.socket, nick, 0)
    assert r.type == "REFUSE" and "looks like a person" in r.text
    with me(server) as alice:
        assert alice.until("NICKED", "ERROR", counter=alice.ask("NICK", nick=nick)).type == "ERROR"


# --- whois ------------------------------------------------------------------------------------------------


@as_root
def test_whois_says_what_the_kernel_says(server, people):
    with me(server) as alice:
        eve = people(NOBODY, "eve")
        eve("join()")
        p = alice.until("PROFILE", counter=alice.ask("WHOIS", nick="EVE"))
        assert (p.nick, p.person, p.transport, p.rooms) == ("eve", f"uid:{NOBODY}", wire.UNIX, "#dev")
        assert p.since > 0 and p.session > 0
        alice.until("DONE")
        eve.close()
        harness.until(lambda: not any(m.nick == "eve" for m in alice.listing("WHO")), "eve is away")
        p = alice.until("PROFILE", counter=alice.ask("WHOIS", nick="eve"))
        assert (p.session, p.person) == (0, f"uid:{NOBODY}"), "whose nick it is, is still known"


# --- hostile ------------------------------------------------------------------------------------------------


def test_flood_of_bans_is_bounded_and_the_room_lives(server):
    with me(server) as alice:
        answers = [ask(alice, "BAN", who=f"uid:{5000 + i}", on=1, text="x" * 300) for i in range(100)]
        assert answers.count("DONE") == 80 and set(answers) == {"DONE", "LIMIT"}
        assert [ask(alice, "OP", who=f"uid:{6000 + i}", on=1) for i in range(40)].count("DONE") == 31
        assert ask(alice, "MODE", name="private", value="on") == "DONE"
        answers = [ask(alice, "INVITE", nick=f"uid:{7000 + i}", on=1) for i in range(100)]
        assert answers.count("DONE") == 80
        before = modes(alice)
        alice.post(alice.room, "alive")
        alice.until("MESSAGE")
    options = server.options
    server.kill()
    server.start(*options)
    with me(server) as alice:
        assert modes(alice) == before


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
    where = os.path.join(server.dir, "programs")
    os.mkdir(where)
    shutil.copy(wire.__file__, where)
    os.chmod(where, 0o755)
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


# --- commands ----------------------------------------------------------------------------------------------


def chat(server, *lines, nick="alice"):
    """A script of the chat: (what was said in the room, notes)."""
    done = subprocess.run([harness.PARLEY, "-s", server.address, "-n", nick, "#dev"], env=server.env(),
                          input="\n".join(lines) + "\n", text=True, capture_output=True,
                          timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_script_of_commands_runs_to_its_end(server):
    """Each command waits for the answer to the one before, which may come at any moment."""
    for _ in range(5):
        out, err = chat(server, *["/op", "/names", "/kick zed"] * 6)
        assert err.count("operator: ") == 6 and err.count("zed is not in #dev") == 6
        assert out.count("#dev: @alice (1 here)") == 6


def test_commands_of_the_chat(server):
    tail = server.stream("tail", "--json", "#dev", "-n", "watcher")
    harness.until(lambda: server.members("#dev") == 1, "the reader is there")
    out, err = chat(server, "/topic what it is", "/topic", "/mode topic-ops on", "/mode", "/op uid:4001",
                    "/deop uid:4001", "/ban zed why not", "/ban", "/unban zed", "/invite", "/whois alice",
                    "/whois nosuch", "/kick nosuch", "/mode private perhaps", "/release alice")
    for line in ("alice set the topic: what it is", "alice left the topic to operators",
                 "alice made uid:4001 an operator", "alice took the operator's rights from uid:4001",
                 "alice banned zed: why not", "alice lifted the ban of zed"):
        assert line in out
    for line in (r"topic: what it is \(alice, \d", "mode private: off", r"mode topic-ops: on \(alice",
                 "banned: zed, whoever is called zed", "nobody has an invitation",
                 rf"alice: (user \S+ \()?uid {os.geteuid()}\)?, by \S+ since", "alice is in #dev",
                 "nobody called nosuch is known here: /who", "nosuch is not in #dev: /names",
                 "mode private is on or off", "alice belongs to nobody now"):
        assert re.search(line, err), (line, err)
    want = ["topic", "mode", "op", "deop", "ban", "unban"]
    got = harness.until(lambda: [e for e in tail.events() if e["type"] in want][5:] and
                        [e for e in tail.events() if e["type"] in want], "all events")
    assert [e["type"] for e in got] == want
    assert got[4]["to"] == "zed" and got[4]["text"] == "why not" and got[1]["value"] == "on"


def test_terminal_of_who_is_invited_and_kicked(server, chats):
    alice = chats.chat("alice", "#dev")
    bob = chats.chat("bob", "-s", f"tcp:127.0.0.1:{port(server)}")
    alice.enter("/invite bob")
    alice.sees("alice invited bob")
    bob.sees("alice invites you to #dev. To go there: /join #dev")
    bob.enter("/join #dev")
    bob.sees("#dev · ")
    alice.enter("/kick alice")
    alice.sees("that is yourself: /part leaves the room")
    bob.enter("/kick alice")
    bob.sees("only an operator of #dev can kick: /op shows who is one")
    alice.enter("/ki bob too loud")  # a unique beginning will do
    alice.sees("alice kicked bob: too loud")
    bob.sees("you are out of #dev: kicked by alice: too loud")
    bob.prompt("#lobby>")
    alice.enter("/mode private on")
    alice.sees("alice made the room private")
    bob.enter("/join #dev")
    bob.sees("cannot join #dev: that room is private: ask one of its operators")


def test_tab_completes_modes_and_nicks(server, chats):
    alice = chats.chat("alice", "#dev")
    alice.type("/mode pr\t")
    alice.prompt("#dev> /mode private")
    alice.type("o\t")  # two values: the second Tab lists them
    alice.prompt("#dev> /mode private o")
    alice.type("f\t")
    alice.prompt("#dev> /mode private off")
