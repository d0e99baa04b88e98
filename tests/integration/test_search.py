"""Searching a room: SEARCH on the wire, and `parley search` by every transport."""

import pytest

import parleywire as wire

TRANSPORTS = ["fifo", "posixmq", "sysvmq", "shm", "mmap", "unix", "tcp"]
TEXTS = ["One apple", "two pears", "APPLES and pears", "Straße", "Ａpple in wide letters", "ﬁsh", "nothing", "app", "le"]


@pytest.fixture
def eve(server):
    with wire.Client.connect(server.socket, "eve") as c:
        yield c


def said(c, room, *texts):
    for text in texts:
        c.post(room, text)
    return [c.until("MESSAGE", room=room) for _ in texts]


def search(c, room, text, start=2, arg=0, before=0):
    """Texts found, in order. start 2: after sequence arg."""
    n = c.ask("SEARCH", at=room, start=start, arg=arg, before=before, text=text)
    replay = c.until("REPLAY", counter=n)
    c.kept.clear()
    c.until("DONE", counter=n)
    found = [r for r in c.kept if r.room == room and r.seq]
    assert all(replay.from_ <= r.seq < replay.to for r in found)
    c.kept.clear()
    return [r.text for r in found]


def refused(c, room, code, **what):
    n = c.ask("SEARCH", at=room, **{"start": 2, "arg": 0, "before": 0, "text": "x", **what})
    e = c.until("ERROR", counter=n)
    assert e.code == wire.CODES[code], e
    return e.text


def test_search_folds_case_and_forms(eve):
    room = eve.join("#lobby").room
    said(eve, room, *TEXTS)
    assert search(eve, room, "apple") == ["One apple", "APPLES and pears", "Ａpple in wide letters"]
    assert search(eve, room, "STRASSE") == ["Straße"]
    assert search(eve, room, "ẞ") == ["Straße"]
    assert search(eve, room, "FISH") == ["ﬁsh"]
    assert search(eve, room, "absent") == []


def test_search_between_two_marks(eve):
    room = eve.join("#lobby").room
    m = said(eve, room, *(f"word {i}" for i in range(10)))
    assert search(eve, room, "word", arg=m[3].seq) == [f"word {i}" for i in range(4, 10)]
    assert search(eve, room, "word", arg=m[3].seq, before=m[6].seq) == ["word 4", "word 5"]
    assert search(eve, room, "word", start=1, arg=2, before=m[6].seq) == ["word 4", "word 5"]
    assert search(eve, room, "word", arg=m[9].seq) == []
    assert search(eve, room, "word", arg=1 << 60) == []


def test_only_text_counts(eve):
    """Not the nick, not a topic's author, not what two neighbours have together."""
    room = eve.join("#lobby").room
    said(eve, room, "first hal", "ves of it")
    assert search(eve, room, "eve") == []
    assert search(eve, room, "halves") == []
    n = eve.ask("NICK", nick="halves")
    eve.until("NICKED", counter=n)
    assert search(eve, room, "halves") == []


def test_search_goes_on_behind_the_end_of_a_segment(eve):
    room = eve.join("#lobby").room
    texts = [("mark " if i % 7 == 0 else "") + f"{i} " + "x" * 30000 for i in range(60)]  # segments of 256 KiB and 1 MiB
    for text in texts:
        said(eve, room, text)
    assert search(eve, room, "MARK") == texts[::7]
    assert search(eve, room, "xxxx") == texts


def test_what_cannot_be_looked_for_is_refused(eve):
    room = eve.join("#lobby").room
    assert "empty" in refused(eve, room, "TEXT", text="")
    assert "too long" in refused(eve, room, "TEXT", text="x" * 513)
    assert "valid UTF-8" in refused(eve, room, "TEXT", text=b"\xff\xfe")
    refused(eve, room, "MALFORMED", start=9)
    refused(eve, room + 1000, "NOT_MEMBER")


def test_rooms_of_two_are_searched_by_those_two_only(server, eve):
    with wire.Client.connect(server.socket, "bob") as bob, wire.Client.connect(server.socket, "mal") as mal:
        room = eve.join("@bob").room
        said(eve, room, "a secret")
        bob.until("JOINED", room=room)
        bob.until("MESSAGE", room=room)
        assert search(bob, room, "secret") == ["a secret"]
        refused(mal, room, "NOT_MEMBER")


def test_one_search_at_a_time(eve):
    room = eve.join("#lobby").room
    said(eve, room, *("ü" * 10000 for _ in range(40)))
    asked = range(eve.request + 1, eve.request + 21)
    eve.request += 20
    eve.send(b"".join(wire.encode("SEARCH", 0, room, n, start=2, arg=0, before=0, text="nowhere") for n in asked))
    ends = [eve.until("DONE", "ERROR", counter=n) for n in asked]
    # The second waited. So did the third: the hub may not know yet that one has ended whose end the client has.
    assert [e.type for e in ends[:3]] == ["DONE"] * 3
    refusals = [e for e in ends if e.type == "ERROR"]
    assert refusals and all("one at a time" in e.text for e in refusals)
    assert search(eve, room, "nowhere") == []


@pytest.mark.parametrize("transport", ["unix", "posixmq"])
def test_who_has_the_end_of_a_search_can_search_again(make_server, transport):
    """Also if the process that served it has not yet told the hub: it serves two at once, one after the other."""
    server = make_server().start("--place", "workers", "--workers", "1")
    with wire.Client.connect(server.socket, "eve") as eve:
        room = eve.join("#lobby").room
        said(eve, room, "needle", "hay")
        worker, = server.workers()
        for _ in range(100):
            assert search(eve, room, "needle") == ["needle"]
        first, second = (eve.ask("SEARCH", at=room, start=2, arg=0, before=0, text=t) for t in ("needle", "hay"))
        assert [eve.until("DONE", "ERROR", counter=n).type for n in (first, second)] == ["DONE", "DONE"]
        n = eve.ask("SEARCH", at=room, start=2, arg=0, before=0, text="needle")
        eve.ask("SEARCH", at=room, start=2, arg=0, before=0, text="needle")  # goes while one waits
        eve.until("DONE", counter=n)
    runs = [server.stream("search", "-t", transport, "#lobby", "needle") for _ in range(20)]
    assert [r.wait() for r in runs] == [0] * 20, [r.stderr for r in runs if r.stderr]
    assert all(len(r.lines) == 1 for r in runs)
    assert server.workers() == [worker]


def test_a_searcher_that_goes_away_takes_its_search_along(server, eve):
    room = eve.join("#lobby").room
    said(eve, room, *("ü" * 10000 for _ in range(40)))
    for i in range(20):
        c = wire.Client.connect(server.socket, f"c{i}")
        c.ask("SEARCH", at=c.join("#lobby").room, start=2, arg=0, before=0, text="nowhere")
        c.close()
    assert search(eve, room, "nowhere") == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_parley_search_by_every_transport(make_server, free_port, transport):
    server = make_server()
    server.start("--listen", f"127.0.0.1:{free_port}")
    server.ok("send", "#lobby", "-", input="".join(f"{'Straße' if i % 100 == 5 else 'Weg'} {i}\n" for i in range(3000)))
    at = f"tcp:127.0.0.1:{free_port}" if transport == "tcp" else None
    found = [m["text"] for m in server.json("search", "#lobby", "STRASSE", "-t", transport, server=at)]
    assert found == [f"Straße {i}" for i in range(5, 3000, 100)]


# --- persons, times, context, the last so many ---------------------------------------------------------


def ask(c, room, **what):
    """What a SEARCH finds: (number of the record, its type)."""
    n = c.ask("SEARCH", at=room, **{"start": 2, "arg": 0, "before": 0, "text": "", **what})
    c.until("REPLAY", counter=n)
    c.kept.clear()
    c.until("DONE", counter=n)
    found = [r for r in c.kept if r.room == room and r.seq]
    c.kept.clear()
    return found


def numbers(found):
    return [int(r.text.split()[-1]) for r in found]


@pytest.fixture
def talk(server):
    """Two that say a hundred lines in turn; every tenth has a word."""
    with wire.Client.connect(server.socket, "Alice") as a, wire.Client.connect(server.socket, "bob") as b:
        room = a.join("#lobby").room
        b.join("#lobby")
        said = []
        for i in range(100):
            who = a if i % 2 == 0 else b
            who.post(room, f"{'needle ' if i % 10 == 3 else ''}line {i}")
            said.append(who.until("MESSAGE", room=room, text=f"{'needle ' if i % 10 == 3 else ''}line {i}"))
        b.kept.clear()
        a.kept.clear()
        yield a, room, said


def test_search_by_person(talk):
    c, room, _ = talk
    assert numbers(ask(c, room, from_="ALICE")) == list(range(0, 100, 2))
    assert numbers(ask(c, room, from_="bob", text="needle")) == list(range(3, 100, 10))
    assert ask(c, room, from_="alice", text="needle") == []
    assert ask(c, room, from_="carol") == []


def test_files_are_found_by_their_names_and_senders(server, tmp_path):
    path = tmp_path / "Quarterly report.txt"
    path.write_text("figures")
    server.ok("send", "-n", "alice", "#lobby", "line 1")
    server.ok("file", "put", "-n", "alice", "#lobby", str(path))
    server.ok("send", "-n", "bob", "#lobby", "where is that report?")
    with wire.Client.connect(server.socket, "eve") as c:
        room = c.join("#lobby").room
        assert [r.type for r in ask(c, room, text="REPORT")] == ["FILE", "MESSAGE"]
        assert [r.type for r in ask(c, room, text="report", from_="alice")] == ["FILE"]
        assert [r.type for r in ask(c, room, from_="Alice")] == ["MESSAGE", "FILE"]
        assert [r.type for r in ask(c, room, text="report", most=1)] == ["MESSAGE"]
        assert [r.type for r in ask(c, room, text="line", context=1)] == ["MESSAGE", "FILE"]
        assert ask(c, room, text="figures") == []
    sent = "alice sent the file Quarterly report.txt"
    for command in (["search", "#lobby", "quarterly"], ["history", "--from", "alice", "--match", "quarterly", "#lobby"]):
        assert sent in server.ok(*command) and "line 1" not in server.ok(*command)
        assert [(m["type"], m["name"]) for m in server.json(*command)] == [("file", "Quarterly report.txt")]
    lines = server.ok("history", "--from", "alice", "#lobby").splitlines()
    assert len(lines) == 2 and "line 1" in lines[0] and sent in lines[1]
    found = server.json("search", "-x", "1", "#lobby", "quarterly")
    assert [(m["type"], m["found"]) for m in found] == [("message", False), ("file", True), ("message", False)]


def test_search_between_two_times(talk):
    c, room, said = talk
    assert numbers(ask(c, room, start=3, arg=said[20].time, until=said[30].time)) == [
        i for i in range(100) if said[20].time <= said[i].time < said[30].time]
    assert ask(c, room, until=1) == []
    assert numbers(ask(c, room, until=1 << 62, text="needle")) == list(range(3, 100, 10))


@pytest.mark.parametrize("context", [1, 4, 7, 100])
def test_search_with_lines_around(talk, context):
    c, room, _ = talk
    hits = range(3, 100, 10)
    want = [i for i in range(100) if any(abs(i - h) <= context for h in hits)]
    assert numbers(ask(c, room, text="NEEDLE", context=context)) == want
    assert numbers(ask(c, room, text="line 50", context=2)) == [48, 49, 50, 51, 52]
    assert numbers(ask(c, room, text="line 99", context=2)) == [97, 98, 99]
    assert ask(c, room, text="absent", context=context) == []


@pytest.mark.parametrize("most", [1, 3, 9, 10, 11, 1000])
def test_search_for_the_last_so_many(talk, most):
    c, room, said = talk
    hits = list(range(3, 100, 10))[-most:]
    assert numbers(ask(c, room, text="needle", most=most)) == hits
    want = [i for i in range(100) if any(abs(i - h) <= 2 for h in hits)]
    assert numbers(ask(c, room, text="needle", most=most, context=2)) == want
    assert numbers(ask(c, room, most=most)) == list(range(100))[-most:]
    assert numbers(ask(c, room, text="needle", most=1, before=said[53].seq)) == [43]
    assert ask(c, room, text="absent", most=most, context=5) == []


def test_search_for_what_changed(talk):
    c, room, said = talk
    c.counter += 1
    c.send(wire.encode("EDIT", at=room, counter=c.counter, target=said[98].seq, text="needle, I mean 98"))
    c.until("EDITED")
    assert [r.target for r in ask(c, room, kinds=1)] == [said[98].seq]
    assert [r.type for r in ask(c, room, text="NEEDLE, I MEAN")] == ["EDITED"]
    c.counter += 1
    c.send(wire.encode("DELETE", at=room, counter=c.counter, target=said[98].seq))
    c.until("DELETED")
    assert [(r.type, r.target) for r in ask(c, room, kinds=1)] == [("EDITED", said[98].seq), ("DELETED", said[98].seq)]


def test_search_limits_of_the_new_fields(talk):
    c, room, _ = talk
    refused(c, room, "LIMIT", context=101)
    refused(c, room, "LIMIT", most=1001)
    refused(c, room, "MALFORMED", kinds=2)
    refused(c, room, "NICK", from_="x" * 33)
    refused(c, room, "TEXT", text="")
    assert len(ask(c, room, text="", most=1000)) == 100


def test_search_with_context_over_segments_and_slow_readers(server, eve):
    """Lines of context lie in other segments, and the answers are larger than what may wait."""
    room = eve.join("#lobby").room
    for i in range(300):
        said(eve, room, f"{'mark' if i % 50 == 0 else ''} {'x' * 12000} {i}")
    want = [i for i in range(300) if any(abs(i - h) <= 20 for h in range(0, 300, 50))]
    assert numbers(ask(eve, room, text="mark", context=20)) == want
    assert numbers(ask(eve, room, text="mark", context=20, most=2)) == [i for i in want if i >= 180]
