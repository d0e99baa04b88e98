"""Retention: old segments of rooms are dropped while they are read, on every transport; who is behind is told,
nobody sees wrong bytes, the disk is free, and what a server has to remember survives."""

import glob
import json
import os
import signal
import struct
import subprocess

import pytest

import parleywire as wire
from harness import TRANSPORTS, settled, until

ROOM = "#lobby"
MIB = 1 << 20
LINE = "message number {} with some text behind it"


def lines(first, last):
    return "".join(LINE.format(i) + "\n" for i in range(first, last))


def segments(server, room=1):
    return sorted(glob.glob(os.path.join(server.state, "rooms", f"{room:08x}", "*.log")))


def bases(server, room=1):
    return [int(os.path.basename(s)[:16], 16) for s in segments(server, room)]


def disk(server, room=1):
    """Bytes of the room's segments, some of which may go meanwhile."""
    total = 0
    for path in segments(server, room):
        try:
            total += os.stat(path).st_size
        except FileNotFoundError:
            pass
    return total


def stats(server, room=ROOM):
    (page,) = server.json("top", "--once")
    (row,) = [r for r in page["rooms"] if r["name"] == room]
    return page["hub"], row


def fill(server, first, last):
    server.ok("send", ROOM, "-", input=lines(first, last))


def fits(server, size=MIB):
    until(lambda: disk(server) <= size, "the log has the size asked for")
    settled(lambda: bases(server))  # and nothing more is dropped


def number(record_text):
    n = int(record_text.split()[2])
    assert record_text == LINE.format(n)
    return n


def check(events, count):
    """What a reader of all `count` lines printed: each right, in order, and each hole told before it. Returns the
    number of holes. (Line n need not be record n + 1: the server writes records of its own between them.)"""
    told, seen, last, holes = 0, 0, -1, 0
    for e in events:
        if e["type"] == "dropped":
            told = e["before"]
        if e["type"] != "message":
            continue
        n = number(e["text"])
        assert e["seq"] > seen and n > last
        if n != last + 1:
            assert seen < told <= e["seq"], f"{seen} is followed by {e['seq']}, and {told} was told"
            holes += 1
        seen, last = e["seq"], n
    assert last == count - 1
    return holes


def has(stream, line):
    text = LINE.format(line).encode()
    return any(text in got for got in stream.lines[-50:])


@pytest.fixture
def small(make_server):
    def start(*options):
        return make_server().start("--retain-size", "1M", *options)
    return start


@pytest.mark.parametrize("place", ["hub", "workers"])
def test_readers_that_are_behind_are_told_and_go_on(small, place):
    """Readers by every transport are stopped in the middle of what is dropped then."""
    server = small("--place", place, "--workers", "1")
    fill(server, 0, 3000)
    tails = {t: server.stream("tail", "--json", "-t", t, "--after", "0", ROOM) for t in TRANSPORTS if t != "tcp"}
    for t in tails.values():
        until(lambda t=t: len(t.lines) == 3000, "all readers have the first lines")
        os.kill(t.pid, signal.SIGSTOP)
    fill(server, 3000, 60000)
    fits(server)
    first = bases(server)[0]
    assert first > 20000
    for t in tails.values():
        os.kill(t.pid, signal.SIGCONT)
    for name, t in tails.items():
        until(lambda t=t: has(t, 59999), f"{name} has the last line")
        assert check(t.events(), 60000) == 1, name
        assert t.stderr.count("have been dropped") == 1 and "missing" not in t.stderr, name
        assert f"{ROOM} before" in t.stderr


def test_a_reader_in_mid_record_gets_the_rest_of_it(small):
    """Of a record that a peer has half of, the rest comes; then it is told; then what is left."""
    server = small("--place", "workers", "--workers", "1")
    big = ["x" * 30000 + str(i) for i in range(20)]
    server.ok("send", ROOM, "-", input="".join(t + "\n" for t in big))
    with wire.Client.connect(server.socket, "slow") as slow:
        slow.sock.setsockopt(1, 8, 4096)  # SO_RCVBUF: the socket is full in mid-record
        slow.ask("JOIN", room=ROOM, start=wire.AFTER, arg=0)
        slow.until("JOINED")
        server.ok("send", ROOM, "-", input="".join(f"{i:05} {'y' * 3000}\n" for i in range(3000)))
        fits(server)
        seen, told, hole = [], None, None
        texts = big + [f"{i:05} {'y' * 3000}" for i in range(3000)]
        while not seen or seen[-1] < len(texts) - 1:
            r = slow.next()
            if r.type == "DROPPED":
                assert told is None
                told = r.before
            if r.type == "MESSAGE":
                n = texts.index(r.text)
                if n != (seen[-1] + 1 if seen else 0):
                    assert hole is None and r.seq >= told
                    hole = n
                seen.append(n)
        assert hole and 1 <= len([s for s in seen if s < hole]) < 1000


def test_old_cursors_are_told_where_it_goes_on(small):
    server = small()
    with wire.Client.connect(server.socket, "old") as old:
        room = old.join(ROOM, flags=wire.QUIET)
        old.post(room.room, LINE.format(0))
        last = old.until("MESSAGE")
        token, producer = old.welcome.token, old.welcome.producer
    fill(server, 1, 40000)
    fits(server)
    first = bases(server)[0]
    cursor = wire.cursor(room.uuid, room.epoch, wire.QUIET, last.seq)
    back = wire.Client.dial(server.socket)
    back.welcome = back.hello("old", token=token, producer=producer, cursors=cursor)
    with back:
        back.send(wire.encode("READY"))
        joined = back.until("JOINED", counter=0)
        assert (joined.rewound, joined.first) == (1, first)
        assert back.until("MESSAGE").seq == first
        n = back.ask("HISTORY", at=joined.room, before=first + 3, count=100)
        replay = back.until("REPLAY", counter=n)
        assert (replay.from_, replay.to) == (first, first + 3)
        back.until("DONE", counter=n)
    got = server.json("history", ROOM, "--after", "5", "-C", "1")
    assert [e["seq"] for e in got if e["type"] == "message"] == [first]
    assert server.json("search", ROOM, "number 12 ") == []


def test_replays_and_searches_under_way_end_right(small):
    """A history and a search of all, asked for by peers that do not read, while what they read is dropped."""
    server = small("--place", "workers", "--workers", "1")
    fill(server, 0, 9000)
    peers = []
    for ask in ("HISTORY", "SEARCH"):
        c = wire.Client.connect(server.socket, ask.lower())
        c.sock.setsockopt(1, 8, 4096)
        room = c.join(ROOM, flags=wire.QUIET).room
        what = {"before": 0, "count": 0} if ask == "HISTORY" else {
            "start": wire.AFTER, "arg": 0, "before": 9001, "text": "NUMBER"}
        peers.append((c, c.ask(ask, at=room, **what)))
        c.until("REPLAY")
        c.kept.appendleft(c.until("MESSAGE"))  # it has begun
    fill(server, 9000, 60000)
    fits(server)
    for c, n in peers:
        seen = []
        while True:
            r = c.next()
            if r.type == "DONE" and r.counter == n:
                break
            if r.type == "MESSAGE" and number(r.text) < 9000:
                assert not seen or r.seq > seen[-1]
                seen.append(r.seq)
        assert 0 < len(seen) < 9000
        c.close()


def freed(pid):
    """512-byte blocks of the deleted segments that a process maps; None: it maps none."""
    blocks = []
    for area in os.listdir(f"/proc/{pid}/map_files"):
        path = f"/proc/{pid}/map_files/{area}"
        try:
            if ".log (deleted)" in os.readlink(path):
                blocks.append(os.stat(path).st_blocks)
        except FileNotFoundError:
            pass
    return sum(blocks) if blocks else None


@pytest.mark.skipif(os.geteuid() != 0, reason="reads map_files of other processes, which root may")
def test_a_stopped_reader_keeps_no_disk(small):
    """It maps segments that are gone; their blocks go too. It finds nothing there and comes back."""
    server = small("--place", "hub", "--workers", "0")
    fill(server, 0, 100)
    tail = server.stream("tail", "--json", "-t", "mmap", "--after", "0", ROOM)
    until(lambda: len(tail.lines) == 100, "it maps the first segment")
    os.kill(tail.pid, signal.SIGSTOP)
    fill(server, 100, 2000)  # it is told of these, and does not look
    fill(server, 2000, 40000)
    fits(server)
    assert freed(tail.pid) is not None, "it still maps what was dropped"
    until(lambda: freed(tail.pid) == 0, "and keeps no block of it")
    assert not freed(server.pid)
    os.kill(tail.pid, signal.SIGCONT)
    until(lambda: has(tail, 39999), "it reads on")
    assert check(tail.events(), 40000) == 1
    assert "damaged" in tail.stderr and "dropped" in tail.stderr and "missing" not in tail.stderr


def test_by_age_whole_segments_go_also_in_a_quiet_room(make_server):
    server = make_server()
    conf = os.path.join(server.dir, "conf")

    def keep(age):
        with open(conf, "w") as f:
            f.write(f"retain-days = {age}\n")
        if server.process:
            reloads = server.output().count("configuration reloaded")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: server.output().count("configuration reloaded") > reloads, "SIGHUP is heard")
    keep("1h")
    server.start("--config", conf)
    server.ok("send", ROOM, "one")
    (first,) = segments(server)
    keep("2s")
    until(lambda: segments(server) and first not in segments(server), "what is two seconds old is gone")
    keep("1h")
    server.ok("send", ROOM, "two")
    assert [e["text"] for e in server.json("history", ROOM, "--after", "0") if e["type"] == "message"] == ["two"]
    def counted():
        hub, row = stats(server)
        return row["first_seq"] >= 2 and row["segments_dropped"] >= 1 and hub["segments_dropped"] >= 1
    until(counted, "and counted")
    server.stop()
    server.start("--retain-days", "1h")
    assert [e["text"] for e in server.json("history", ROOM, "--after", "0") if e["type"] == "message"] == ["two"]


def test_rules_of_single_rooms_and_a_new_configuration(make_server):
    server = make_server()
    conf = os.path.join(server.dir, "conf")

    def write(text):
        with open(conf, "w") as f:
            f.write(text)
    write("retain_size = 1M\nretain = #keep any\nretain = #long 1y 4M\n")
    server.start("--config", conf)
    for room in ("#all", "#keep", "#long"):
        server.ok("send", room, "-", input=lines(0, 60000))
    until(lambda: disk(server, 1) <= MIB and disk(server, 3) <= 4 * MIB, "two of them are cut")
    assert disk(server, 2) > 5 * MIB and bases(server, 2)[0] == 1
    assert disk(server, 3) > 2 * MIB
    write("retain-size = 2M\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: disk(server, 2) < 18 * MIB and bases(server, 2)[0] > 1, "the other one too, by a new rule")


@pytest.mark.parametrize("option,value,says", [
    ("--retain-days", "0", "a number of days"),
    ("--retain-days", "12 parsecs", "a number of days"),
    ("--retain-size", "100", "at least 1M"),
    ("--retain-size", "5m", "at least 1M"),
    ("--retain", "lobby 3d", "a room and how long"),
    ("--retain", "#lobby", "a room and how long"),
    ("--retain", "#lobby 3d 4d", "a room and how long"),
])
def test_rules_that_make_no_sense_are_refused(make_server, option, value, says):
    server = make_server()
    done = subprocess.run(server.command(option, value), env=server.env(), capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stderr and option in done.stderr, done.stderr


def test_an_input_is_said_once_though_its_lines_were_dropped(small):
    """What a server knows of producers outlives the segments in which they spoke."""
    server = small()
    text = "".join(f"once {i}\n" for i in range(50))
    server.ok("send", "--id", "job", ROOM, "-", input=text)
    with wire.Client.connect(server.socket, "lost") as c:
        room = c.join(ROOM, flags=wire.QUIET).room
        for i in range(7):
            c.post(room, "hm")
        [c.until("MESSAGE") for _ in range(7)]
        token, producer = c.welcome.token, c.welcome.producer
    fill(server, 0, 30000)
    fits(server)
    fill(server, 30000, 60000)  # and again, with the record that said so
    until(lambda: bases(server)[0] > 50000, "that is dropped too")
    server.kill()
    server.start(*server.options)
    server.ok("send", "--id", "job", ROOM, "-", input=text)
    assert server.json("search", ROOM, "once") == []
    back = wire.Client.dial(server.socket)
    back.welcome = back.hello("lost", token=token, producer=producer)
    with back:
        assert (back.welcome.resumed, back.welcome.last_counter) == (1, 7)


def test_a_topic_outlives_its_segment(small):
    server = small()
    with wire.Client.connect(server.socket, "eve") as c:
        room = c.join(ROOM).room
        c.ask("TOPIC", at=room, topic="still here")
        c.until("RETITLE")
    fill(server, 0, 40000)
    fits(server)
    server.kill()
    server.start(*server.options)
    with wire.Client.connect(server.socket, "eve") as c:
        assert c.join(ROOM).topic == "still here"


def test_a_log_of_before_is_cut_at_the_first_look(make_server):
    server = make_server().start()
    fill(server, 0, 60000)
    server.stop()
    assert bases(server)[0] == 1
    server.start("--retain-size", "2M")
    until(lambda: bases(server)[0] > 1, "the oldest go")
    assert server.json("history", ROOM, "--last", "9")[-1]["text"] == LINE.format(59999)


def test_moving_sessions_meet_dropped_segments(make_server):
    """Sessions go from the hub to a worker and back, stopped and not, while everything is dropped."""
    server = make_server()
    conf = os.path.join(server.dir, "conf")

    def budget(n):
        with open(conf, "w") as f:
            f.write(f"place-budget = {n}\n")
        if server.process:
            server.process.send_signal(signal.SIGHUP)
    budget(100)
    server.start("--retain-size", "1M", "--config", conf, "--workers", "1")
    tails = [server.stream("tail", "--json", "-t", t, "--after", "0", ROOM) for t in ("unix", "shm", "mmap", "sysvmq")]
    fill(server, 0, 2000)
    for t in tails:
        until(lambda t=t: len(t.lines) >= 1, "it reads")
    for n in range(4):
        budget(0 if n % 2 == 0 else 100)
        os.kill(tails[n].pid, signal.SIGSTOP)
        fill(server, 2000 + n * 20000, 22000 + n * 20000)
        fits(server)
        os.kill(tails[n].pid, signal.SIGCONT)
    for t in tails:
        until(lambda t=t: has(t, 81999), "the last line")
        check(t.events(), 82000)
        assert "missing" not in t.stderr


def test_retention_needs_no_whole_directory(small):
    """A crash between two unlinks leaves any number of the oldest: the next start goes on there."""
    server = small()
    fill(server, 0, 9000)
    server.kill()
    oldest = segments(server)[0]
    os.unlink(oldest)
    server.start()  # nothing is dropped now
    first = bases(server)[0]
    assert first > 1
    told, *got = server.json("history", ROOM, "--after", "0", "-C", "1")
    assert (told["type"], told["before"]) == ("dropped", first)
    assert got[0]["seq"] == first and number(got[0]["text"]) > 1000
    with open(segments(server)[0], "rb") as f:
        assert struct.unpack_from("<Q", f.read(48), 32)[0] == first
    server.stop()
    done = subprocess.run(server.command("--check"), env=server.env(), capture_output=True, text=True)
    assert done.returncode == 0 and "ok" in done.stdout, done.stdout


def test_a_kill_right_after_a_segment_was_begun_forgets_nobody(make_server):
    """By age a segment is begun before anything is said in it: who spoke in those before is known still."""
    server = make_server().start("--retain-days", "8s", "--workers", "0")
    text = "".join(f"once {i}\n" for i in range(5))
    server.ok("send", "--id", "job", ROOM, "-", input=text)
    until(lambda: len(segments(server)) > 1, "a new segment is begun")
    server.kill()
    server.start("--workers", "0")
    server.ok("send", "--id", "job", ROOM, "-", input=text)
    assert [e["text"] for e in server.json("search", ROOM, "once")] == text.splitlines()


def test_a_tail_of_what_is_gone_says_so(small):
    server = small()
    fill(server, 0, 40000)
    fits(server)
    first = bases(server)[0]
    with_json = server.run("tail", "--json", "--after", "5", "-C", "1", ROOM)
    told, got = [json.loads(line) for line in with_json.stdout.splitlines()]
    assert (told["type"], told["before"], got["seq"]) == ("dropped", first, first)
    for after, says in ((0, 1), (5, 1), (first - 2, 1), (first - 1, 0), (first + 3, 0), (50000, 0)):
        done = server.run("tail", "-e", "--after", str(after), "-C", "1", ROOM)
        assert done.returncode == 0 and done.stderr.count(f"before {first} have been dropped") == says, (after, done.stderr)
