"""A second client, in Python, on the unix transport: what docs/protocol.md promises."""

import os
import socket
import struct

import pytest

import harness
import parleywire as wire
from parleywire import Client


@pytest.fixture
def connect(server):
    """connect(nick): an open session with the server; closed at the end."""
    made = []

    def make(nick, **hello):
        made.append(Client.connect(server.socket, nick, **hello))
        return made[-1]
    yield make
    for c in made:
        c.close()


def messages(client, count):
    return [client.until("MESSAGE", "ERROR") for _ in range(count)]


# --- opening a session -------------------------------------------------------------------------------


def test_hello_is_welcomed_with_what_a_client_needs(connect):
    w = connect("eve").welcome
    assert (w.version, w.transport, w.resumed, w.last_counter) == (1, wire.UNIX, 0, 0)
    assert w.nick == "eve"
    assert w.token != wire.NO_TOKEN and w.producer != 0 and w.epoch >= 1
    assert wire.skips(w.skipped) == []


def test_hello_sessions_have_their_own_token_and_producer(connect):
    a, b = connect("a").welcome, connect("b").welcome
    assert a.token != b.token and a.producer != b.producer and a.session != b.session


def test_hello_nick_of_somebody_else_gets_another(make_server, free_port):
    """One user may be there twice under one nick, as the kernel vouches for the user. By TCP nobody
    does, so that is always somebody else."""
    server = make_server().start("--listen", f"127.0.0.1:{free_port}")
    with Client.connect(server.socket, "Eve") as first, Client.connect(server.socket, "Eve") as same, \
            Client.connect(("127.0.0.1", free_port), "eVE") as other:
        assert first.welcome.nick == same.welcome.nick == "Eve"
        assert other.welcome.nick.casefold() not in ("eve", "")
        assert other.welcome.nick.casefold().startswith("eve")


def test_hello_by_tcp(make_server, free_port):
    server = make_server().start("--listen", f"127.0.0.1:{free_port}")
    with Client.connect(("127.0.0.1", free_port), "eve") as a:
        assert a.welcome.transport == wire.TCP
        room = a.join("#lobby").room
        a.post(room, "by tcp")
        assert a.until("MESSAGE").text == "by tcp"
    assert "by tcp" in server.ok("history", "--after", "0", "#lobby")


def test_hello_byte_by_byte_is_the_same(server):
    hello = wire.encode("HELLO", version=1, strict=1, transports=bytes([wire.UNIX]), nick="slow",
                        token=wire.NO_TOKEN, producer=0, client="drip", cursors=b"", input=b"")
    with Client.dial(server.socket) as c:
        for byte in hello + wire.encode("READY"):
            c.send(bytes([byte]))
        assert c.next().type == "WELCOME"
        c.send(wire.encode("PING", counter=1, stamp=7))
        assert c.until("PONG").stamp == 7


# --- rooms -------------------------------------------------------------------------------------------


def test_join_then_post_comes_back_as_the_acknowledgement(connect):
    a = connect("alice")
    joined = a.join("#lobby")
    assert joined.name == "#lobby" and joined.room != 0 and joined.rewound == 0
    counter = a.post(joined.room, "hello, world")
    m = a.until("MESSAGE")
    assert (m.from_, m.text, m.room) == ("alice", "hello, world", joined.room)
    assert (m.counter, m.producer) == (counter, a.welcome.producer)
    assert m.seq >= joined.next and m.time > 0


def test_post_reaches_everybody_with_the_same_record(connect):
    a, b, c = connect("a"), connect("b"), connect("c")
    rooms = [x.join("#lobby").room for x in (a, b, c)]
    assert len(set(rooms)) == 1
    for i in range(20):
        a.post(rooms[0], f"message {i}")
    got = [[(m.seq, m.time, m.from_, m.text, m.counter) for m in messages(x, 20)] for x in (a, b, c)]
    assert got[0] == got[1] == got[2]
    assert [m[3] for m in got[0]] == [f"message {i}" for i in range(20)]
    seqs = [m[0] for m in got[0]]
    assert seqs == list(range(seqs[0], seqs[0] + 20))


def test_times_never_go_back(connect):
    a = connect("a")
    room = a.join("#lobby").room
    for i in range(200):
        a.post(room, str(i))
    times = [m.time for m in messages(a, 200)]
    assert times == sorted(times)


def test_text_of_the_largest_size_passes_and_one_more_is_refused(connect):
    a = connect("a")
    room = a.join("#lobby").room
    text = "x" * (wire.TEXT_MAX - 2) + "é"
    a.post(room, text)
    assert a.until("MESSAGE").text == text
    counter = a.post(room, text + "x")
    e = a.until("ERROR")
    assert (e.code, e.counter, e.producer) == (wire.CODES["TEXT"], counter, a.welcome.producer)
    assert "32768" in e.text
    a.post(room, "next")  # the refused counter is spent, the session goes on
    assert a.until("MESSAGE").text == "next"


@pytest.mark.parametrize("text", [b"", b"bad \xff byte", b"\xc0\x80", b"esc \x1b[31m", b"nul \0", b"cr \r"])
def test_text_not_usable_is_refused_and_the_session_goes_on(connect, text):
    a = connect("a")
    room = a.join("#lobby").room
    counter = a.post(room, text)
    e = a.until("ERROR", "MESSAGE")
    assert (e.type, e.code, e.counter) == ("ERROR", wire.CODES["TEXT"], counter)
    a.post(room, "fine\tand\nfine")
    assert a.until("MESSAGE").text == "fine\tand\nfine"


def test_action_flag_is_kept(connect):
    a = connect("a")
    room = a.join("#lobby").room
    a.post(room, "waves", flags=wire.ACTION)
    assert a.until("MESSAGE").flags & wire.ACTION


def test_arrivals_and_departures_are_records_unless_quiet(connect):
    a = connect("a")
    room = a.join("#lobby").room
    quiet = connect("spy")
    quiet.join("#lobby", flags=wire.QUIET)
    b = connect("b")
    b.join("#lobby")
    arrival = a.until("ARRIVE", nick="b")
    assert arrival.transport == wire.UNIX and arrival.seq > 0
    b.ask("PART", at=room)
    assert b.until("PARTED").room == room
    assert a.until("LEAVE", nick="b").seq > arrival.seq
    quiet.close()
    a.post(room, "end")
    a.until("MESSAGE")
    assert not [r for r in a.kept if getattr(r, "nick", "") == "spy"]


def test_second_join_of_the_same_room_changes_nothing(connect):
    a, b = connect("a"), connect("b")
    b.join("#lobby")
    first, second = a.join("#lobby"), a.join("#LOBBY")
    assert (first.room, first.uuid) == (second.room, second.uuid)
    a.post(first.room, "once")
    assert a.until("MESSAGE").text == "once"
    b.until("MESSAGE")
    assert [r.nick for r in b.kept if r.type == "ARRIVE"].count("a") == 1


@pytest.mark.parametrize("name", ["lobby", "#", "", "#a b", "#" + "x" * 72, "#zero\u200bwidth"])
def test_room_name_not_usable_is_refused(connect, name):
    a = connect("a")
    answer = a.join(name)
    assert (answer.type, answer.code) == ("ERROR", wire.CODES["ROOM"])
    assert a.join("#fine").type == "JOINED"


def test_post_to_a_room_one_is_not_in_is_refused(connect):
    a, b = connect("a"), connect("b")
    room = a.join("#private").room
    b.post(room, "hello?")
    assert b.until("ERROR").code == wire.CODES["NOT_MEMBER"]
    b.post(9999, "nowhere")
    assert b.until("ERROR").code == wire.CODES["NOT_MEMBER"]


def test_join_start_says_where_reading_begins(connect):
    a = connect("a")
    room = a.join("#lobby").room
    for i in range(30):
        a.post(room, str(i))
    said = messages(a, 30)

    def texts(nick, **start):
        c = connect(nick)
        j = c.join("#lobby", flags=wire.QUIET, **start)
        n = j.next - j.first
        return [r.text for r in (c.next() for _ in range(n))
                if r.type == "MESSAGE"], c

    assert texts("last", start=wire.LAST, arg=5)[0] == [str(i) for i in range(25, 30)]
    assert texts("after", start=wire.AFTER, arg=said[9].seq)[0] == [str(i) for i in range(10, 30)]
    assert texts("all", start=wire.AFTER, arg=0)[0] == [str(i) for i in range(30)]
    assert texts("since", start=wire.SINCE, arg=said[20].time)[0][-9:] == [str(i) for i in range(21, 30)]
    none, now = texts("now", start=wire.FROM_NOW)
    assert none == []
    a.post(room, "live")
    assert now.until("MESSAGE").text == "live"


def test_direct_message_is_a_room_of_two(connect):
    alice, bob, eve = connect("alice"), connect("bob"), connect("eve")
    mine = alice.join("@bob")
    assert mine.name == "@alice,bob"
    theirs = bob.until("JOINED")
    assert (theirs.name, theirs.counter, theirs.room) == ("@alice,bob", 0, mine.room)
    alice.post(mine.room, "psst")
    assert bob.until("MESSAGE").text == "psst"
    answer = eve.join("@alice,bob")
    assert answer.type == "ERROR" and answer.code in (wire.CODES["DENIED"], wire.CODES["ROOM"])
    eve.post(mine.room, "me too")
    assert eve.until("ERROR").code == wire.CODES["NOT_MEMBER"]


# --- other requests ------------------------------------------------------------------------------------


def test_nick_change_is_answered_and_seen(connect):
    a, b = connect("a"), connect("b")
    room = a.join("#lobby").room
    b.join("#lobby")
    n = b.ask("NICK", nick="bee")
    assert b.until("NICKED", counter=n).nick == "bee"
    r = a.until("RENAME")
    assert (r.from_, r.to) == ("b", "bee")
    b.post(room, "hi")
    assert a.until("MESSAGE").from_ == "bee"


@pytest.mark.parametrize("nick", ["", "a b", "#a", "x" * 33, "zero\u200bwidth", "bidi\u202e", "nul\0"])
def test_nick_not_usable_is_refused(connect, nick):
    b = connect("b")
    n = b.ask("NICK", nick=nick)
    e = b.until("ERROR", "NICKED", counter=n)
    assert (e.type, e.code) == ("ERROR", wire.CODES["NICK"])


def test_topic_is_kept_and_shown_to_those_who_come_later(connect):
    a = connect("a")
    room = a.join("#lobby").room
    a.ask("TOPIC", at=room, topic="cats and dogs")
    r = a.until("RETITLE")
    assert (r.from_, r.topic) == ("a", "cats and dogs")
    assert connect("b").join("#lobby").topic == "cats and dogs"


def test_listings(connect):
    a, b = connect("a"), connect("b")
    room = a.join("#one").room
    b.join("#two")
    assert [m.nick for m in a.listing("WHO", room)] == ["a"]
    everybody = a.listing("WHO")
    assert sorted(m.nick for m in everybody) == ["a", "b"]
    assert {m.transport for m in everybody} == {wire.UNIX}
    assert {m.uid for m in everybody} == {os.getuid()}
    assert sorted(r.name for r in a.listing("ROOMS")) == ["#one", "#two"]
    offered = a.listing("TRANSPORTS")
    assert sorted(t.id for t in offered) == list(range(1, 8))
    assert all(t.limits for t in offered if t.available)
    assert all(t.reason for t in offered if not t.available)


def test_history_between_two_marks(connect):
    a = connect("a")
    room = a.join("#lobby").room
    for i in range(10):
        a.post(room, str(i))
    said = messages(a, 10)
    a.kept.clear()
    n = a.ask("HISTORY", at=room, before=said[7].seq, count=3)
    replay = a.until("REPLAY", counter=n)
    assert (replay.from_, replay.to) == (said[4].seq, said[7].seq)
    again = [a.next() for _ in range(3)]
    assert [(m.type, m.text, m.seq) for m in again] == [("MESSAGE", str(i), said[i].seq) for i in (4, 5, 6)]
    a.until("DONE", counter=n)


def test_history_of_everything(connect):
    a = connect("a")
    room = a.join("#lobby").room
    for i in range(10):
        a.post(room, str(i))
    messages(a, 10)
    a.kept.clear()
    n = a.ask("HISTORY", at=room, before=0, count=0)
    a.until("REPLAY", counter=n)
    texts = []
    while True:
        r = a.next()
        if r.type == "DONE":
            break
        if r.type == "MESSAGE":
            texts.append(r.text)
    assert texts == [str(i) for i in range(10)]


def test_bye_is_answered_after_everything_before_it(connect):
    a = connect("a")
    room = a.join("#lobby").room
    for i in range(50):
        a.post(room, str(i))
    a.ask("BYE", code=0, text="")
    rest = a.until_end()
    assert [r.text for r in rest if r.type == "MESSAGE"] == [str(i) for i in range(50)]
    assert rest[-1].type == "BYE"


def test_unknown_request_is_refused_and_the_session_goes_on(connect):
    a = connect("a")
    a.send(wire.seal(29, b"", counter=5))
    e = a.until("ERROR", counter=5)
    assert e.code == wire.CODES["UNKNOWN"]
    assert a.join("#lobby").type == "JOINED"


# --- losing and resuming ---------------------------------------------------------------------------------


def test_post_sent_twice_is_sequenced_once(connect):
    a = connect("a")
    room = a.join("#lobby").room
    a.post(room, "one")
    a.post(room, "one again", counter=1)
    a.post(room, "two")
    assert [m.text for m in messages(a, 2)] == ["one", "two"]


def test_counter_gap_is_refused(connect):
    a = connect("a")
    room = a.join("#lobby").room
    a.post(room, "five", counter=5)
    e = a.until("ERROR", "MESSAGE")
    assert (e.type, e.code, e.counter) == ("ERROR", wire.CODES["GAP"], 5)


def resume(server, old, last, flags=0, room=None):
    """HELLO with the token and a cursor behind record `last`."""
    w = old.welcome
    cur = wire.cursor(room.uuid, room.epoch, flags, last.seq)
    return Client.connect(server.socket, w.nick, token=w.token, producer=w.producer, cursors=cur)


def test_resume_goes_on_behind_the_cursor_without_loss_or_repeat(server, connect):
    a, b = connect("a"), connect("b")
    room = a.join("#lobby")
    b.join("#lobby")
    for i in range(5):
        b.post(room.room, f"before {i}")
    last = messages(a, 5)[2]  # as if the last two never arrived
    a.close()
    for i in range(5):
        b.post(room.room, f"meanwhile {i}")
    messages(b, 10)
    with resume(server, a, last, room=room) as again:
        assert again.welcome.resumed == 1
        assert again.welcome.token == a.welcome.token
        assert again.welcome.nick == "a"
        joined = again.until("JOINED", counter=0)
        assert (joined.uuid, joined.rewound, joined.first) == (room.uuid, 0, last.seq + 1)
        b.post(room.room, "after")
        want = [f"before {i}" for i in (3, 4)] + [f"meanwhile {i}" for i in range(5)] + ["after"]
        assert [m.text for m in messages(again, len(want))] == want


def test_resume_tells_which_posts_arrived_and_drops_repeats(server, connect):
    a, b = connect("a"), connect("b")
    room = a.join("#lobby")
    b.join("#lobby")
    for i in range(1, 4):
        a.post(room.room, f"post {i}")
    last = messages(a, 3)[0]
    messages(b, 3)
    a.close()
    with resume(server, a, last, room=room) as again:
        assert again.welcome.last_counter == 3
        for i in range(1, 6):  # all of them again, and two new ones
            again.post(room.room, f"post {i}", counter=i)
        assert [m.text for m in messages(again, 4)] == [f"post {i}" for i in range(2, 6)]
        assert [m.text for m in messages(b, 2)] == ["post 4", "post 5"]


def test_resume_while_the_old_connection_lives_moves_the_session(server, connect):
    a, b = connect("a"), connect("b")
    room = a.join("#lobby")
    b.join("#lobby")
    b.post(room.room, "one")
    last = a.until("MESSAGE")
    with resume(server, a, last, room=room) as again:
        end = a.until_end()
        assert (end[-1].type, end[-1].code) == ("BYE", wire.CODES["REPLACED"])
        b.post(room.room, "two")
        assert again.until("MESSAGE").text == "two"
        assert sorted(m.nick for m in b.listing("WHO", room.room)) == ["a", "b"]
    messages(b, 2)
    assert not [r for r in b.kept if r.type == "LEAVE" and r.nick == "a"]


def test_resume_with_a_wrong_token_is_not_somebody_elses_session(server, connect):
    a = connect("a")
    room = a.join("#lobby")
    a.post(room.room, "mine")
    last = a.until("MESSAGE")
    w = a.welcome
    cur = wire.cursor(room.uuid, room.epoch, 0, last.seq)
    with Client.dial(server.socket) as thief:
        answer = thief.hello("a", token=bytes([1] * 16), producer=w.producer, cursors=cur)
        if answer.type == "WELCOME":  # a new session, then
            assert answer.resumed == 0 and answer.producer != w.producer and answer.nick != "a"
        else:
            assert answer.code in (wire.CODES["EXPIRED"], wire.CODES["DENIED"])
    a.post(room.room, "still mine")
    assert a.until("MESSAGE").text == "still mine"


def test_cursor_beyond_the_end_is_rewound(server, connect):
    a = connect("a")
    room = a.join("#lobby")
    a.post(room.room, "one")
    last = a.until("MESSAGE")
    a.close()
    last.seq += 1000
    with resume(server, a, last, room=room) as again:
        joined = again.until("JOINED", counter=0)
        assert joined.rewound == 1 and joined.first <= last.seq - 999


# --- hostile peers -----------------------------------------------------------------------------------------


def test_wrong_version_is_refused_by_name(server):
    with Client.dial(server.socket) as c:
        answer = c.hello("eve", version=99)
        assert (answer.type, answer.code) == ("REFUSE", wire.CODES["VERSION"])
        assert c.until_end() == []


def bad_crc():
    good = bytearray(wire.encode("PING", counter=1, stamp=1))
    good[-1] ^= 1
    return bytes(good)


MALFORMED = {
    "zeros": bytes(64),
    "bad checksum": bad_crc(),
    "length too small": struct.pack("<H", 4) + bytes(62),
    "length too large": struct.pack("<H", 0xFFFF) + bytes(62),
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3,
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_record_ends_that_session_only(server, connect, kind):
    bystander, bad = connect("bystander"), connect("bad")
    room = bystander.join("#lobby").room
    bad.join("#lobby")
    bad.send(MALFORMED[kind])
    end = bad.until_end()
    assert end[-1].type != "BYE" or end[-1].code == wire.CODES["MALFORMED"]
    bystander.until("LEAVE", nick="bad")
    bystander.post(room, "still here")
    assert bystander.until("MESSAGE").text == "still here"


@pytest.mark.parametrize("request_type", ["POST", "JOIN", "NICK", "TOPIC", "HISTORY", "PING", "MESSAGE"])
def test_body_cut_short_is_refused_and_the_session_goes_on(connect, request_type):
    """The record is whole, so the stream is sound: only that request has failed."""
    a = connect("a")
    room = a.join("#lobby").room
    body = b"" if request_type in ("HISTORY", "PING", "MESSAGE") else b"\xff\xff#lobby"
    a.send(wire.seal(wire.TYPES[request_type][0], body, room=room, counter=1))
    e = a.until("ERROR", counter=1)
    assert e.code in (wire.CODES["MALFORMED"], wire.CODES["UNKNOWN"])
    a.ask("PING", stamp=3)
    assert a.until("PONG").stamp == 3


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_first_record_ends_that_connection_only(server, connect, kind):
    bystander = connect("bystander")
    with Client.dial(server.socket) as c:
        c.send(MALFORMED[kind])
        end = c.until_end()
        assert [r.type for r in end] in ([], ["REFUSE"])
    bystander.ask("PING", stamp=1)
    bystander.until("PONG")


def test_hello_cut_short_and_dropped_leaves_nothing(server, connect):
    bystander = connect("bystander")
    bystander.ask("PING", stamp=1)
    bystander.until("PONG")
    before = server.count_fds()
    hello = wire.encode("HELLO", version=1, strict=1, transports=bytes([wire.UNIX]), nick="gone",
                        token=wire.NO_TOKEN, producer=0, client="x", cursors=b"", input=b"")
    for n in range(0, len(hello), 3):
        with Client.dial(server.socket) as c:
            c.send(hello[:n])
    harness.until(lambda: server.count_fds() <= before, "descriptors of dropped connections go")


@pytest.mark.parametrize("transport", [wire.FIFO, wire.POSIXMQ, wire.SYSVMQ, wire.SHM, wire.MMAP])
def test_session_that_never_becomes_ready_leaves_no_object(server, transport):
    before = server.count_fds()
    for _ in range(5):
        with Client.dial(server.socket) as c:
            assert c.hello("gone", transports=[transport]).type == "WELCOME"
    harness.until(lambda: server.count_fds() <= before, "descriptors of dropped sessions go")
    harness.until(lambda: not server.objects.sysv(server.pids) and not server.objects.posix(),
                  "queues of dropped sessions go")


def test_descriptors_from_a_client_are_not_kept(server):
    with Client.connect(server.socket, "giver") as c:
        c.ask("PING", stamp=1)
        c.until("PONG")
        before = server.count_fds()
        for i in range(20):
            ping = wire.encode("PING", counter=i, stamp=i)
            try:
                socket.send_fds(c.sock, [ping], [0, 0, 0])
            except PermissionError:  # this kernel knows SO_PASSRIGHTS, and the server asked for it
                c.send(ping)
            c.until("PONG", counter=i)
        harness.until(lambda: server.count_fds() <= before, "none is kept")


def test_peer_that_never_reads_does_not_stop_the_others(connect):
    a, b, lazy = connect("a"), connect("b"), connect("lazy")
    room = a.join("#lobby").room
    b.join("#lobby")
    lazy.join("#lobby")
    text = "x" * 10000
    for i in range(300):  # three megabytes that nobody takes from lazy's socket
        a.post(room, text)
        assert a.until("MESSAGE").counter == i + 1
    assert len(messages(b, 300)) == 300
    assert [m.counter for m in messages(lazy, 300)] == list(range(1, 301))
