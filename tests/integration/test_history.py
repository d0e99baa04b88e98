"""The past of a room: `parley history`, `search` and `export`, and the chat's /history and /search."""

import json
import os
import signal

import pytest

import parleywire as wire
from harness import TRANSPORTS, until

ROOM = "#lobby"


def say(server, nick, *texts):
    server.ok("send", "-n", nick, ROOM, "-", input="".join(t + "\n" for t in texts))


def texts(events):
    return [e["text"] for e in events if e["type"] == "message"]


@pytest.fixture
def talk(server):
    """Sixty lines by alice, two by bob with a needle in them."""
    say(server, "alice", *(f"line {i}" for i in range(1, 31)))
    say(server, "bob", "a needle")
    say(server, "alice", *(f"line {i}" for i in range(31, 61)))
    say(server, "Bob", "another NEEDLE")
    return server


@pytest.mark.parametrize("transport", [t for t in TRANSPORTS if t != "tcp"])
def test_history_and_search_by_every_transport(talk, transport):
    assert texts(talk.json("history", "-t", transport, "--last", "3", ROOM)) == ["line 59", "line 60", "another NEEDLE"]
    assert texts(talk.json("search", "-t", transport, ROOM, "needle")) == ["a needle", "another NEEDLE"]


def test_both_ends(talk):
    def got(*options):
        return texts(talk.json("history", ROOM, *options))
    assert len(got()) == 20
    assert got("--after", "58") == ["line 58", "line 59", "line 60", "another NEEDLE"]
    assert got("--after", "3", "--before", "6") == ["line 4", "line 5"]
    assert got("--last", "2", "--before", "6") == ["line 4", "line 5"]
    assert got("--before", "1") == [] and got("--before", "0") == []
    assert got("--after", "62") == [] and got("--after", "1000") == []
    assert len(got("--since", "1h")) == len(got("--after", "0")) == 62
    assert got("--until", "1h", "--after", "0") == []
    assert got("--until", "2600-01-01", "--after", "0") == got("--after", "0")  # more ns than there are numbers
    assert got("--since", "2020-01-01", "--until", "2020-02-01 10:00") == []
    at = talk.json("history", ROOM, "--after", "30", "-C", "1")[0]["time"]
    exact = at[:19] + "Z"
    assert set(got("--after", "0", "--until", exact)).isdisjoint({"another NEEDLE"})


def test_persons_and_the_last_so_many(talk):
    assert texts(talk.json("history", ROOM, "--from", "BOB")) == ["a needle", "another NEEDLE"]
    assert texts(talk.json("search", ROOM, "needle", "--from", "alice")) == []
    assert texts(talk.json("history", ROOM, "--from", "alice", "--most", "2")) == ["line 59", "line 60"]
    assert texts(talk.json("history", ROOM, "--match", "needle", "--most", "1")) == ["another NEEDLE"]
    assert texts(talk.json("search", ROOM, "line", "-C", "2")) == ["line 1", "line 2"]
    assert texts(talk.json("history", ROOM, "--from", "nobody")) == []


def test_lines_around_what_is_found(talk):
    out = [x if x == "--" else x[9:] for x in talk.ok("search", ROOM, "needle", "-x", "2").splitlines()]
    assert out == ["<alice> line 29", "<alice> line 30", "<bob> a needle", "<alice> line 31", "<alice> line 32", "--",
                   "<alice> line 59", "<alice> line 60", "<Bob> another NEEDLE"]
    found = {e["text"]: e["found"] for e in talk.json("search", ROOM, "needle", "--context", "1")}
    assert found == {"line 30": False, "a needle": True, "line 31": False, "line 60": False, "another NEEDLE": True}
    assert "--" not in talk.ok("search", ROOM, "needle", "-x", "100").splitlines()


@pytest.mark.parametrize("options,says", [
    (["--since", "tomorrowish"], "expected a time"),
    (["--until", "2026-13-01"], "expected a time"),
    (["--context", "101"], "at most 100"),
    (["--most", "1001"], "at most 1000"),
    (["--from", "a b"], "no nick"),
    (["--last", "3", "--since", "1h"], "give one"),
])
def test_what_cannot_be_asked_is_a_usage_error(server, options, says):
    done = server.run("history", ROOM, *options)
    assert done.returncode == 2 and says in done.stderr, done.stderr


@pytest.fixture
def changed(server):
    """Messages of which two were changed and one deleted."""
    with wire.Client.connect(server.socket, "eve") as c:
        room = c.join(ROOM).room

        def post(kind, **what):
            c.counter += 1
            c.send(wire.encode(kind, at=room, counter=c.counter, **what))
            return c.until({"POST": "MESSAGE", "EDIT": "EDITED", "DELETE": "DELETED"}[kind], counter=c.counter)
        post("POST", text="one")
        two = post("POST", text="two")
        post("EDIT", target=0, text="zwei")
        post("EDIT", target=0, text="deux")
        three = post("POST", text="three")
        post("DELETE", target=0)
        post("POST", text="four")
        yield server, two, three


def plain(output):
    return [line.split(" ", 2)[2] for line in output.splitlines() if " <" in line]


def test_changes_are_applied(changed):
    server, two, three = changed
    assert [x.split(" ", 1)[1] for x in server.ok("history", "-q", ROOM).splitlines()] == \
        ["<eve> one", "<eve> deux (edited)", "<eve> four"]
    just_two = ["--before", str(two.seq + 1), "--after", str(two.seq - 1)]
    assert server.ok("history", ROOM, *just_two).endswith(" <eve> deux (edited)\n")
    for needle, want in (("two", []), ("zwei", []), ("deux", ["deux"]), ("three", []), ("four", ["four"])):
        found = server.json("search", ROOM, needle)
        assert texts(found) == want, needle
        assert all(e["seq"] == two.seq and e["edited"] for e in found if e["text"] == "deux")
    assert texts(server.json("history", ROOM, "--from", "eve")) == ["one", "deux", "four"]
    assert plain(server.ok("export", "-q", ROOM)) == ["<eve> one", "<eve> deux (edited)", "<eve> four"]


def test_all_records_as_json_are_as_they_were_logged(changed):
    server, two, three = changed
    for command in (["history", "--after", "0"], ["export"]):
        got = [e for e in server.json(command[0], ROOM, *command[1:]) if e["type"] in ("message", "edit", "delete")]
        assert [(e["type"], e.get("text")) for e in got] == [
            ("message", "one"), ("message", "two"), ("edit", "zwei"), ("edit", "deux"), ("message", "three"),
            ("delete", None), ("message", "four")]


def test_export_writes_all_of_a_room_into_a_file(talk):
    path = os.path.join(talk.dir, "out")
    talk.ok("export", ROOM, "-o", path)
    with open(path) as f:
        lines = f.read().splitlines()
    assert len(lines) == 62 and lines[0][19:] == " <alice> line 1" and lines[0][4] == "-"
    assert os.stat(path).st_mode & 0o777 == 0o600
    again = talk.run("export", ROOM, "-o", path)
    assert again.returncode == 1 and "there already" in again.stderr
    first, rest = path + ".1", path + ".2"
    said = talk.run("export", "--json", ROOM, "-o", first, "--before", "41").stderr
    go_on = said.split("--after ")[1].strip()
    assert go_on == "40"
    talk.ok("export", "--json", ROOM, "-o", rest, "--after", go_on)
    with open(first) as a, open(rest) as b:
        both = [json.loads(x) for x in a.read().splitlines() + b.read().splitlines()]
    assert [e["seq"] for e in both] == list(range(1, 63))
    assert [n for n in os.listdir(talk.dir) if "part" in n] == []


def test_export_that_fails_leaves_nothing(talk):
    inside = os.path.join(talk.dir, "absent", "out")
    done = talk.run("export", ROOM, "-o", inside)
    assert done.returncode == 1 and "absent" in done.stderr
    out = os.path.join(talk.dir, "full")
    os.symlink("/dev/full", os.path.join(talk.dir, "full"))
    assert talk.run("export", ROOM, "-o", out).returncode == 1
    assert talk.run("export", "#Absent room", "-o", os.path.join(talk.dir, "x")).returncode == 2
    assert not os.path.exists(os.path.join(talk.dir, "x"))
    assert [n for n in os.listdir(talk.dir) if "part" in n] == []


def test_export_goes_on_after_the_server_was_killed(make_server):
    """Killed while it writes: it comes back and goes on where it was, each line once and in order."""
    server = make_server().start()
    say(server, "alice", *(f"{i} {'x' * 200}" for i in range(60000)))
    path = os.path.join(server.dir, "out")
    export = server.stream("export", "--json", ROOM, "-o", path)

    def writes():
        try:
            return os.path.exists(path) or any(n.startswith("out.part") and os.stat(os.path.join(server.dir, n)).st_size > 1000
                                               for n in os.listdir(server.dir))
        except FileNotFoundError:
            return False  # it has got its name between two looks
    until(writes, "it writes")
    os.kill(export.pid, signal.SIGSTOP)
    server.kill()
    os.kill(export.pid, signal.SIGCONT)
    server.start()
    assert export.wait() == 0, export.stderr
    with open(path) as f:
        assert [int(json.loads(x)["text"].split()[0]) for x in f] == list(range(60000))
