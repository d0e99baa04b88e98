"""What people keep: how far they have read, in every terminal and after restarts; conversations that wait for
whoever is not there; messages that are corrected or taken back; who is away."""

import os
import re
import subprocess

import pytest

import harness
import parleywire as wire
import remote
from harness import until


@pytest.fixture
def people(server):
    """people(nick): a session that speaks the protocol itself."""
    made = []

    def connect(nick, **hello):
        made.append(wire.Client.connect(server.socket, nick, **hello))
        return made[-1]
    yield connect
    for c in made:
        c.close()


def marks(server):
    try:
        with open(os.path.join(server.state, "marks"), encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def read(c, room, seq):
    n = c.ask("READ", at=room, upto=seq)
    return c.until("MARKED", "ERROR", counter=n)


def say(c, room, *texts):
    for text in texts:
        n = c.post(room, text)
        last = c.until("MESSAGE", producer=c.welcome.producer, counter=n)
    return last.seq


# --- read marks ----------------------------------------------------------------------------------------


def test_a_mark_is_told_to_the_other_terminals_of_its_reader_alone(people):
    a, again, b = people("alice"), people("alice"), people("bob")
    room = a.join("#lobby").room
    again.join("#lobby"), b.join("#lobby")
    last = say(a, room, "one", "two")
    assert read(a, room, last).upto == last
    told = again.until("MARKED")
    assert (told.room, told.upto, told.counter) == (room, last, 0)
    assert read(again, room, last - 1).upto == last  # never back
    n = b.ask("PING", stamp=1)
    b.until("PONG", counter=n)
    assert not [r for r in b.kept if r.type == "MARKED"]
    assert people("alice").join("#lobby").read == last
    assert people("bob").join("#lobby").read == 0
    assert [r.read for r in a.listing("ROOMS") if r.name == "#lobby"] == [last]


def test_a_mark_beyond_the_end_or_of_a_room_one_is_not_in(people):
    a = people("alice")
    room = a.join("#lobby").room
    last = say(a, room, "only")
    assert read(a, room, 2 ** 63).upto == last
    assert read(a, room + 17, 1).code == wire.CODES["NOT_MEMBER"]


def test_marks_survive_a_clean_end_and_a_kill(server, people):
    a = people("alice")
    room = a.join("#lobby").room
    last = say(a, room, "one", "two", "three")
    read(a, room, last - 1)
    server.stop()
    assert f" {last - 1} alice\n" in marks(server)
    server.start("--workers", "2")
    a = people("alice")
    joined = a.join("#lobby")
    assert joined.read == last - 1
    read(a, joined.room, last)
    until(lambda: f" {last} alice\n" in marks(server), "the mark is on disk while the server runs")
    server.kill()
    server.start("--workers", "2")
    assert people("alice").join("#lobby").read == last


@pytest.mark.parametrize("damage", ["what is this\n", "parley marks 1\nsince 5\nuid:0 xyz 3 alice\n", "parley marks 1\nsince 5\nuid:0"])
def test_marks_that_cannot_be_understood_are_set_aside(server, people, damage):
    server.stop()
    with open(os.path.join(server.state, "marks"), "w", encoding="utf-8") as f:
        f.write(damage)
    server.start("--workers", "2")
    assert re.search(r"state/marks: line \d is not one of read marks; set aside as \S+/marks\.broken-1", server.output())
    with open(os.path.join(server.state, "marks.broken-1"), encoding="utf-8") as f:
        assert f.read() == damage
    a = people("alice")
    room = a.join("#lobby").room
    assert read(a, room, say(a, room, "on")).type == "MARKED"


def test_one_person_does_not_use_up_the_marks_of_all(make_server):
    server = make_server()
    tokens = {}
    for name in ("eve", "bob"):
        done = subprocess.run([harness.PARLEYD, "account", "add", name, "--state-dir", server.state], text=True,
                              env=server.env(), capture_output=True, timeout=harness.DEADLINE, check=True)
        tokens[name] = done.stdout.strip()
    options = "--workers", "1", "--listen", "tls:127.0.0.1:0"
    server.start(*options)
    with wire.Client.connect(server.socket, "root") as c:
        uuid = c.join("#lobby").uuid.hex()
    server.stop()
    with open(os.path.join(server.state, "marks"), "w", encoding="utf-8") as f:
        f.write("parley marks 1\nsince 5\n" + "".join(f"account:eve {uuid} 1 eve{i}\n" for i in range(8192)))
    server.start(*options)
    kept = {}
    for name in ("eve", "eve7", "bob"):
        account = name[:3]
        with remote.connect(server, name, account=account, secret=tokens[account]) as c:
            joined = c.join("#lobby")
            kept[name] = joined.read, read(c, joined.room, joined.next - 1).upto == joined.next - 1
    assert kept == {"eve": (0, False), "eve7": (1, True), "bob": (0, True)}


def test_marks_that_cannot_be_written_are_told_and_written_later(server, people):
    a = people("alice")
    room = a.join("#lobby").room
    os.mkdir(os.path.join(server.state, "marks.new"))  # root may write anywhere, but not a file over a directory
    read(a, room, say(a, room, "one"))
    until(lambda: "/marks (EISDIR)" in server.output(), "the failure is told")
    os.rmdir(os.path.join(server.state, "marks.new"))
    until(lambda: "marks is written again" in server.output(), "it goes on")
    assert " alice\n" in marks(server)


# --- corrections ---------------------------------------------------------------------------------------


def change(c, room, kind, target=0, counter=None, **text):
    """Send an EDIT or DELETE; what became of it."""
    if counter is None:
        c.counter += 1
        counter = c.counter
    c.send(wire.encode(kind, 0, room, counter, target=target, **text))
    return c.until("EDITED", "DELETED", "ERROR", counter=counter, producer=c.welcome.producer)


def test_ones_last_message_can_be_edited_and_deleted(server, people):
    a, b = people("alice"), people("bob")
    room = a.join("#lobby").room
    b.join("#lobby")
    first = say(a, room, "teh cat")
    say(b, room, "which?")
    e = change(a, room, "EDIT", first, text="the cat")
    assert (e.type, e.from_, e.target, e.text, e.room) == ("EDITED", "alice", first, "the cat", room)
    assert b.until("EDITED").seq == e.seq
    again = change(a, room, "EDIT", text="the black cat")  # 0: the last one
    assert again.target == first
    d = change(a, room, "DELETE", first)
    assert (d.type, d.from_, d.target) == ("DELETED", "alice", first)
    assert b.until("DELETED").target == first
    gone = change(a, room, "EDIT", first, text="back again")
    assert (gone.type, gone.code, gone.text) == ("ERROR", wire.CODES["DENIED"], "your last message here is deleted already")


def test_what_cannot_be_changed_is_refused_and_changes_nothing(people):
    a, b = people("alice"), people("bob")
    room = a.join("#lobby").room
    b.join("#lobby")
    assert "you have said nothing here" in change(a, room, "DELETE").text
    first = say(a, room, "one")
    second = say(a, room, "two")
    theirs = say(b, room, "three")
    before = a.join("#lobby").next
    for target, words in ((first, f"only your last message here can be changed, which is number {second}"),
                          (theirs, f"number {theirs} is no message of yours"), (10 ** 9, "number 1000000000 is no message")):
        for kind, more in (("EDIT", {"text": "x"}), ("DELETE", {})):
            r = change(a, room, kind, target, **more)
            assert (r.type, r.code) == ("ERROR", wire.CODES["DENIED"]) and words in r.text
    assert change(a, room, "EDIT", second, text="a\x07b").code == wire.CODES["TEXT"]
    assert change(a, room + 5, "DELETE").code == wire.CODES["NOT_MEMBER"]
    assert a.join("#lobby").next == before
    a.send(wire.encode("EDIT", 0, room, a.counter + 5, target=0, text="x"))
    assert a.until("ERROR", counter=a.counter + 5).code == wire.CODES["GAP"]
    assert change(a, room, "EDIT", second, text="zwei").type == "EDITED"  # the counters go on


def test_another_session_of_the_same_person_may_correct_and_nobody_else(people):
    a = people("alice")
    room = a.join("#lobby").room
    seq = say(a, room, "one")
    a.close()
    a, b = people("alice"), people("bob")
    room = a.join("#lobby").room
    assert change(a, room, "EDIT", seq, text="uno").target == seq
    b.join("#lobby")
    assert "you have said nothing here" in change(b, room, "EDIT", seq, text="mine").text


def test_an_action_stays_one_and_too_far_back_is_too_late(people):
    a = people("alice")
    room = a.join("#lobby").room
    n = a.post(room, "wavs", flags=wire.ACTION)
    seq = a.until("MESSAGE", counter=n).seq
    assert change(a, room, "EDIT", seq, text="waves").flags == wire.ACTION
    b = people("bob")
    b.join("#lobby")
    for i in range(1000):
        b.post(room, f"{i}")
    b.until("MESSAGE", text="999", producer=b.welcome.producer)
    assert "in the last 1000 lines" in change(a, room, "DELETE", seq).text


def test_corrections_are_done_once_over_a_lost_connection_and_a_killed_server(server, people):
    a = people("alice")
    joined = a.join("#lobby")
    room = joined.room
    seq = say(a, room, "one")
    done = change(a, room, "EDIT", seq, text="uno")
    server.kill()
    server.start("--workers", "2")
    w = a.welcome
    again = people("alice", token=w.token, producer=w.producer,
                   cursors=wire.cursor(joined.uuid, w.epoch, 0, done.seq))
    assert again.welcome.last_counter == done.counter
    room = again.until("JOINED").room
    again.send(wire.encode("EDIT", 0, room, done.counter, target=seq, text="uno"))  # as after a lost answer
    again.counter = done.counter
    assert change(again, room, "DELETE", seq).type == "DELETED"  # found in the log of the run before
    late = people("bob")
    late.join("#lobby", wire.LAST, 1000)
    records = []
    while not records or records[-1].type != "DELETED":
        records.append(late.next())
    assert [r.type for r in records if r.type in ("EDITED", "DELETED")] == ["EDITED", "DELETED"]


# --- conversations that wait ---------------------------------------------------------------------------


def texts(records):
    return [r.text for r in records if r.type == "MESSAGE"]


def upto_message(c, text):
    out = []
    while not out or out[-1].type != "MESSAGE" or out[-1].text != text:
        out.append(c.next())
    return out


def meet(people, *nicks):
    """Sessions that have talked to each other once, and read it."""
    a, b = (people(n) for n in nicks)
    dm = a.join("@" + nicks[1])
    b.until("JOINED")
    last = say(a, dm.room, "hello")
    b.until("MESSAGE")
    read(b, dm.room, last)
    return a, b, dm


def test_what_was_said_to_somebody_who_is_not_there_waits(server, people):
    a, b, dm = meet(people, "alice", "bob")
    b.close()
    a.post(dm.room, "are you there?")
    gone = a.until("STATUS")
    assert (gone.nick, gone.here, gone.away, gone.room) == ("bob", 0, "", dm.room)
    say(a, dm.room, "then later")
    until(lambda: " bob\n" in marks(server), "what bob has read is on disk")
    server.kill()
    server.start("--workers", "2")
    b = people("bob")
    joined = b.until("JOINED")
    assert (joined.name, joined.counter) == ("@alice,bob", 0)
    assert joined.first == joined.read + 1 <= joined.next
    assert texts(upto_message(b, "then later")) == ["are you there?", "then later"]
    read(b, joined.room, joined.next - 1)
    again = people("bob")
    again.join("#lobby")
    again.ask("PING", stamp=1)
    again.until("PONG")
    assert not [r for r in again.kept if r.type == "JOINED"]  # all is read


def test_somebody_who_was_here_once_can_be_written_to_and_nobody_else(server, people):
    b = people("bob")
    b.join("#lobby")
    b.close()
    a = people("alice")
    dm = a.join("@bob")
    assert dm.type == "JOINED"
    say(a, dm.room, "welcome back")
    r = a.join("@nobody-ever")
    assert (r.type, r.code) == ("ERROR", wire.CODES["NICK"]) and "nobody called nobody-ever" in r.text
    assert texts(upto_message(people("bob"), "welcome back")) == ["welcome back"]


def test_ones_own_words_do_not_wait_for_oneself(server, people):
    a, b, dm = meet(people, "alice", "bob")
    say(a, dm.room, "only mine")
    a.close()
    a = people("alice")
    a.ask("PING", stamp=1)
    a.until("PONG")
    assert not [r for r in a.kept if r.type == "JOINED"]


def test_ones_own_words_are_looked_through_up_to_a_limit(people):
    """What it costs others when somebody comes is bounded: too much that is unread counts as said by the other one."""
    a, _, dm = meet(people, "alice", "bob")
    say(a, dm.room, *["x" * 32000] * 140)
    joined = people("alice").until("JOINED")
    assert (joined.name, joined.counter) == ("@alice,bob", 0)


def test_a_session_that_wants_to_be_alone_gets_no_conversation(server, people):
    a, b, dm = meet(people, "alice", "bob")
    b.close()
    say(a, dm.room, "later")
    quiet = wire.Client.dial(server.socket)
    quiet.welcome = quiet.hello("bob")
    quiet.send(wire.encode("READY", wire.QUIET))
    say(a, dm.room, "and again")
    quiet.ask("PING", stamp=1)
    quiet.until("PONG")
    assert not [r for r in quiet.kept if r.type == "JOINED"]
    assert quiet.join("@alice", wire.LAST, 1).type == "JOINED"
    assert quiet.until("MESSAGE").text == "and again"
    quiet.close()


def test_who_left_a_conversation_is_brought_back_by_what_is_said(people):
    a, b, dm = meet(people, "alice", "bob")
    n = b.ask("PART", at=dm.room)
    b.until("PARTED", counter=n)
    say(a, dm.room, "come back")
    assert b.until("JOINED").counter == 0
    assert b.until("MESSAGE").text == "come back"


def test_tools_see_a_conversation_from_where_they_ask(server, people):
    a, b, dm = meet(people, "alice", "bob")
    b.close()
    say(a, dm.room, "one", "two")
    assert [e["text"] for e in server.json("history", "@alice", "-n", "bob")] == ["hello", "one", "two"]


# --- away ----------------------------------------------------------------------------------------------


def test_away_is_of_the_person_and_told_once_to_who_writes(people):
    a, b, dm = meet(people, "alice", "bob")
    b2 = people("bob")
    b2.join("#lobby")
    n = b.ask("AWAY", text="lunch until 13:00")
    assert b.until("STATUS", counter=n).away == "lunch until 13:00"
    assert b2.until("STATUS").away == "lunch until 13:00"
    assert {m.nick: m.away for m in a.listing("WHO")} == {"alice": "", "bob": "lunch until 13:00"}
    say(a, dm.room, "psst", "psst again")
    told = [r for r in a.kept if r.type == "STATUS"]
    assert [(t.nick, t.here, t.away) for t in told] == [("bob", 1, "lunch until 13:00")]
    b2.ask("AWAY", text="")
    assert b.until("STATUS").away == ""
    say(a, dm.room, "back?")
    n = b.ask("AWAY", text="gone again")
    b.until("STATUS", counter=n)
    a.kept.clear()
    a.post(dm.room, "oh")
    assert a.until("STATUS").away == "gone again"
    late = people("bob")
    n = late.ask("WHO")
    assert late.until("MEMBER", nick="bob", session=late.welcome.session).away == "gone again"


def test_an_away_text_that_is_none_is_refused(people):
    a = people("alice")
    n = a.ask("AWAY", text="a\nb")
    assert a.until("ERROR", counter=n).code == wire.CODES["TEXT"]
    n = a.ask("AWAY", text="x" * 400)
    assert a.until("ERROR", counter=n).code == wire.CODES["TEXT"]


# --- the commands --------------------------------------------------------------------------------------


def test_commands_show_corrections(server, people):
    a = people("alice")
    room = a.join("#lobby").room
    first = say(a, room, "teh cat")
    change(a, room, "EDIT", first, text="the cat")
    gone = say(a, room, "a secret")
    change(a, room, "DELETE", gone)
    say(a, room, "so much for that")
    plain = [line.split(" ", 1)[1] for line in server.ok("history", "#lobby", "-q").splitlines()]
    assert plain == ["<alice> the cat (edited)", "<alice> so much for that"]
    events = [e for e in server.json("history", "#lobby") if e["type"] in ("message", "edit", "delete")]
    assert [(e["type"], e.get("text"), e.get("target")) for e in events] == [
        ("message", "teh cat", None), ("edit", "the cat", first), ("message", "a secret", None), ("delete", None, gone),
        ("message", "so much for that", None)]
    assert all(e["from"] == "alice" for e in events)
    lines = [line.split(" ", 1)[1] for line in server.ok("tail", "#lobby", "--after", str(first), "-C", "1", "-q", "-W", "60").splitlines()]
    assert lines[0] == f"<alice> the cat (edits {first})"
    found = server.json("search", "#lobby", "the cat")
    assert [(e["type"], e["text"], e["seq"], e["edited"]) for e in found] == [("message", "the cat", first, True)]


def test_listings_say_who_is_away_and_what_is_read(server, people):
    a = people("alice")
    room = a.join("#lobby").room
    last = say(a, room, "hm")
    read(a, room, last)
    n = a.ask("AWAY", text="until Monday")
    a.until("STATUS", counter=n)
    assert [m["away"] for m in server.json("who") if m["nick"] == "alice"] == ["until Monday"]
    assert re.search(r"^alice .*#lobby  away: until Monday$", server.ok("who"), re.M)
    assert [r["read"] for r in server.json("rooms", "-n", "alice") if r["room"] == "#lobby"] == [last]
    assert [r["read"] for r in server.json("rooms", "-n", "bob") if r["room"] == "#lobby"] == [0]
