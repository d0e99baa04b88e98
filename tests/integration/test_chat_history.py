"""/history and /search in the chat on a terminal: persons, times, lines around what is found, and pages."""

import re

import pytest

import parleywire as wire
from terminal import heard


@pytest.fixture
def old(server, chats):
    """old(n, each): n lines of bob's, then a chat of alice's."""
    def start(n, each=lambda i: f"line {i}", rows=400):
        chats.say("bob", *[each(i) for i in range(n)])
        a = chats.chat("alice", "-t", "unix", rows=rows)
        a.sees(each(n - 1))
        return a
    return start


def ask(a, line, note):
    """What stands between the rules of the answer, without times; `note` is what is said at its end."""
    before = len(a.lines())
    seen = a.text().count(note)
    a.enter(line)
    a.until(lambda: a.text().count(note) > seen + (note in line), f"{note!r} after {line!r}")
    text = a.text()
    blocks = re.findall(r"──── (?:found|history) ─+\n(.*?)\n─+ now ─", text, re.S)
    assert before
    return [re.sub(r"^\d\d:\d\d(:\d\d)? ", "", x) for x in blocks[-1].split("\n") if "────" not in x]


def needles(i):
    return f"needle {i}" if i % 100 == 0 else f"hay {i}"


def test_search_finds_in_the_whole_room_newest_first(old):
    """Not only in the last records, and page by page until there is no more."""
    a = old(12000, needles)
    assert ask(a, "/search NEEDLE", "earlier ones: /search more") == [f"<bob> needle {i}" for i in range(7000, 12000, 100)]
    assert ask(a, "/search more", "earlier ones: /search more") == [f"<bob> needle {i}" for i in range(2000, 7000, 100)]
    assert ask(a, "/search more", "no more before these") == [f"<bob> needle {i}" for i in range(0, 2000, 100)]
    a.enter("/search more")
    a.until(lambda: re.search(r"^-- no more$", a.text(), re.M), "there is no more")
    a.enter("/search absent")
    a.sees("nothing found")


def test_search_with_lines_around(old):
    a = old(600, lambda i: "a needle" if i in (100, 102, 500) else f"hay {i}")
    hay = [f"<bob> hay {i}" for i in range(600)]
    want = hay[98:100] + ["<bob> a needle", hay[101], "<bob> a needle"] + hay[103:105] + ["--"] + \
        hay[498:500] + ["<bob> a needle"] + hay[501:503]
    assert ask(a, "/search needle -C 2", "no more before these") == want
    a.enter("/search -C2 from:bob needle")
    a.sees("no more before these", 2)
    assert a.text().count("hay 498") == 2
    a.enter("/search -C 101 needle")
    a.sees("-C: at most 100 lines")
    a.enter("/search needle -C")
    a.sees("-C N: so many lines")


def test_search_by_person_and_literally(server, chats):
    for i in range(6):
        chats.say(["bob", "carol"][i % 2], f"needle {i} from:dave")
    a = chats.chat("alice", rows=100)
    a.sees("needle 5")
    end = "no more before these"
    assert ask(a, "/search needle from:CAROL", end) == [f"<carol> needle {i} from:dave" for i in (1, 3, 5)]
    assert ask(a, "/search from:bob 4", end) == ["<bob> needle 4 from:dave"]
    assert len(ask(a, "/search from:@bob", end)) == 3
    assert len(ask(a, "/search -- from:dave", end)) == 6
    a.enter("/search from:dave")
    a.sees("nothing found")
    a.enter("/search")
    a.sees("/search TEXT [from:NICK]")
    a.enter("/search x since:yesterdayish")
    a.sees("since:yesterdayish is no time")
    a.enter("/search x from:")
    a.until(lambda: re.search(r"^-- from: that is no nick", a.text(), re.M), "that is no nick")
    a.send("/search from:ali\t")
    a.prompt("#lobby> /search from:alice")


def test_files_are_found_like_what_was_said(server, chats, tmp_path):
    (tmp_path / "report.txt").write_text("x")
    server.ok("file", "put", "-n", "bob", "#lobby", str(tmp_path / "report.txt"))
    chats.say("carol", "thanks for the report", "and more")
    a = chats.chat("alice", rows=100)
    a.sees("and more")
    end = "no more before these"
    found = ask(a, "/search report", end)
    assert len(found) == 2 and found[0].startswith("-- bob sent report.txt (1 byte") and "carol" in found[1]
    assert [line[:23] for line in ask(a, "/history from:bob", end)] == ["-- bob sent report.txt "]


def test_search_and_history_by_time(server, chats):
    chats.say("bob", "needle one", "needle two")
    a = chats.chat("alice", rows=100)
    a.sees("needle two")
    assert len(ask(a, "/search needle since:1h", "no more before these")) == 2
    assert len(ask(a, "/history since:today", "no more before these")) >= 2
    a.enter("/search needle until:1h")
    a.sees("nothing found")
    a.enter("/history until:1h")
    a.sees("nothing was said then")
    a.enter("/history since:never")
    a.sees("since:never is no time")
    a.enter("/history x")
    a.sees("/history [N] [from:NICK]")


def test_history_of_a_person_by_pages(server, chats):
    for i in range(3):
        chats.say("bob", *[f"b {i} {k}" for k in range(10)])
        chats.say("carol", *[f"c {i} {k}" for k in range(10)])
    a = chats.chat("alice", rows=200)
    a.sees("c 2 9")
    bob = [f"<bob> b {i} {k}" for i in range(3) for k in range(10)]
    assert ask(a, "/history 12 from:bob", "earlier ones: /history more") == bob[18:]
    assert ask(a, "/history more", "earlier ones: /history more") == bob[6:18]
    assert ask(a, "/history more", "no more before these") == bob[:6]
    assert ask(a, "/history 15", "now ─")[-1] == "<carol> c 1 9"  # without words: before what is on the screen


def test_history_goes_back_to_the_beginning(old):
    a = old(50)
    a.enter("/history 500")
    a.sees("line 0\n")
    a.enter("/history more")
    a.sees("nothing older")


def test_changes_are_applied(server, chats):
    """Corrected lines as they read now, deleted ones not at all: in search, in history, on every page."""
    with wire.Client.connect(server.socket, "eve") as c:
        room = c.join("#lobby").room

        def post(kind, **what):
            c.counter += 1
            c.send(wire.encode(kind, at=room, counter=c.counter, **what))
            c.until({"POST": "MESSAGE", "EDIT": "EDITED", "DELETE": "DELETED"}[kind], counter=c.counter)
        post("POST", text="a typo, needle 0")
        post("EDIT", target=0, text="no more typos, needle 0")
        post("POST", text="a secret needle")
        post("DELETE", target=0)
        post("POST", text="without the word")
        post("EDIT", target=0, text="with it: needle 1")
        for i in range(60):
            post("POST", text=f"hay {i}")
    a = chats.chat("alice", rows=200)
    a.sees("hay 59")
    want = ["<eve> no more typos, needle 0 (edited)", "<eve> with it: needle 1 (edited)"]
    assert ask(a, "/search needle", "no more before these") == want
    a.enter("/search secret")
    a.sees("nothing found")
    got = ask(a, "/history 200", "now ─")
    assert [x for x in got if "hay" not in x and x.startswith("<")] == want
    assert ask(a, "/history 1000 from:eve", "no more before these")[:2] == want


def test_edits_are_found_once_over_pages(server, chats):
    """A line whose old and new text both have the word, with a page's end between the two."""
    with wire.Client.connect(server.socket, "eve") as c, wire.Client.connect(server.socket, "mal") as d:
        room = c.join("#lobby").room
        d.join("#lobby")

        def post(k, kind, **what):
            k.counter += 1
            k.send(wire.encode(kind, at=room, counter=k.counter, **what))
            k.until({"POST": "MESSAGE", "EDIT": "EDITED"}[kind], counter=k.counter)
        post(c, "POST", text="needle first")
        for i in range(20):
            post(d, "POST", text=f"needle {i}")
        post(c, "EDIT", target=0, text="needle changed")
        for i in range(20, 65):
            post(d, "POST", text=f"needle {i}")
    a = chats.chat("alice", rows=200)
    a.sees("needle 64")
    one = ask(a, "/search needle", "earlier ones: /search more")
    two = ask(a, "/search more", "no more before these")
    assert sorted(one + two) == sorted([f"<mal> needle {i}" for i in range(65)] + ["<eve> needle changed (edited)"])


def test_paging_goes_on_while_people_talk(server, chats, old):
    a = old(300, lambda i: f"needle {i}")
    first = ask(a, "/search needle", "earlier ones: /search more")
    chats.say("bob", "needle new")
    a.sees("needle new")
    second = ask(a, "/search more", "earlier ones: /search more")
    assert second + first == [f"<bob> needle {i}" for i in range(200, 300)]
    a.enter("still here")
    heard(server, "still here")


def test_leaving_and_coming_back_while_it_is_searched(old):
    """What was asked for goes with the room; what is asked for next is answered."""
    a = old(20000, needles, rows=100)
    a.send("/search needle\r/history 5 from:bob\r/part\r")
    a.sees("-- left #lobby")
    a.send("/join #lobby\r")
    a.prompt("#lobby>")
    assert ask(a, "/search needle", "earlier ones: /search more")[-1] == "<bob> needle 19900"
