"""Traces: the hops of a message that was really sent, by every transport, are all there, in order, and
add up. Nothing here asks how long anything took."""

import os
import signal
import time

import pytest

import harness
import parleywire as wire
from harness import TRANSPORTS, until
from test_placement import NICKS, Mover

PLACES = {"hub": ("--place", "hub"), "workers": ("--place", "workers", "--workers", "2")}
HUB_STAMPS = ["sent", "woken", "taken", "logged", "told"]
LANE_STAMPS = ["ordered", "received", "began", "pushed", "arrived"]


@pytest.fixture(params=PLACES)
def placed(request, make_server, free_port):
    s = make_server().start("--listen", f"127.0.0.1:{free_port}", *PLACES[request.param])
    s.tcp = f"tcp:127.0.0.1:{free_port}"
    s.placed = request.param
    return s


def address(server, transport):
    return server.tcp if transport == "tcp" else server.address


def traced(at, *args, **more):
    """A trace that every receiver has answered: the server waits two seconds for them, and on a busy machine they
    may take longer. Ask again, then. (trace, how often it was said)"""
    said = []

    def whole():
        [trace] = at.json("trace", *args, **more)
        said.append(trace)
        return not [lane for lane in trace["receivers"] if lane["state"] == "no answer"]
    until(whole, "everybody answers in time")
    return said[-1], len(said)


def readers(server, room, transports=TRANSPORTS):
    found = {t: server.stream("tail", "-q", "--json", "-t", t, "-n", f"r-{t}", room,
                              server=address(server, t)) for t in transports}
    until(lambda: server.nicks(room) >= {f"r-{t}" for t in transports}, "all readers are there")
    return found


def check_lane(trace, lane, own=False):
    """The stamps are in order, no hop lacks a name or a time, and together they are the whole way."""
    assert lane["state"] == "whole", lane
    assert lane["own"] == own
    common, stamps = trace["stamps"], lane["stamps"]
    way = [common[s] for s in HUB_STAMPS] + [stamps[s] for s in LANE_STAMPS if s != "pushed"]
    assert way == sorted(way), (common, stamps)
    assert stamps["began"] <= stamps["pushed"]
    hops = {h["hop"]: h for h in lane["hops"]}
    assert sum(h["ns"] for h in lane["hops"]) == lane["total_ns"] == stamps["arrived"] - common["sent"]
    assert all(h["ns"] >= 0 for h in lane["hops"])
    need = {"uplink", "take", "log", "wait", "push", "read"} | ({"pipe"} if "worker" in lane else set())
    assert need <= set(hops) <= need | {"wake"}, hops
    assert hops["uplink"]["by"] == trace["transport"] and hops["push"]["by"] == lane["transport"]
    assert hops["uplink"]["bytes"] == trace["bytes"]
    assert hops["push"]["bytes"] % 8 == 0 and hops["push"]["bytes"] >= 40
    assert hops["log"]["calls"] >= 1  # the write; before it, the hub may look for more to read
    if "worker" in lane:
        assert hops["pipe"]["calls"] >= 2  # a write and a read
    # Shared memory needs no call but for a bell; every other mechanism at least one.
    least = 1 if lane["transport"] != "shm" or lane["bell"] == "rung" else 0
    assert hops["push"]["calls"] >= least, lane
    assert lane["bell"] in (("rung", "spared") if lane["transport"] in ("shm", "mmap", "sysvmq") else ("none",))


@pytest.mark.parametrize("sender", TRANSPORTS)
def test_every_transport_to_every_transport(placed, sender):
    tails = readers(placed, "#t")
    trace, times = traced(placed, "-t", sender, "-n", "alice", "#t", "hello there", server=address(placed, sender))
    assert (trace["v"], trace["type"], trace["room"], trace["from"]) == (1, "trace", "#t", "alice")
    assert trace["transport"] == sender and trace["same_clock"] and not trace["sampled"]
    assert trace["members"] == len(trace["receivers"]) == len(TRANSPORTS) + 1
    lanes = {r["nick"]: r for r in trace["receivers"]}
    check_lane(trace, lanes.pop("alice"), own=True)
    for t, tail in tails.items():
        check_lane(trace, lanes.pop(f"r-{t}"))
        until(lambda: [m["text"] for m in tail.messages()] == ["hello there"] * times, f"{t} read it")
    assert not lanes
    assert all(("worker" in r) == (placed.placed == "workers") for r in trace["receivers"])


def test_alone_in_a_room_one_traces_ones_own_copy(placed):
    trace, _ = traced(placed, "-n", "alice", "#alone", "hello")
    assert [r["nick"] for r in trace["receivers"]] == ["alice"]
    check_lane(trace, trace["receivers"][0], own=True)


def test_synced_messages_show_the_disk(make_server):
    server = make_server().start("--sync", "always", "--place", "hub")
    trace, _ = traced(server, "#t", "hello")
    hops = {h["hop"]: h for h in trace["receivers"][0]["hops"]}
    assert hops["sync"]["by"] == "fdatasync" and hops["sync"]["ns"] > 0
    assert sum(h["ns"] for h in hops.values()) == trace["receivers"][0]["total_ns"]


def test_repeats_give_medians(server):
    readers(server, "#t", ["shm", "fifo"])
    said = []

    def whole():
        said.append(server.json("trace", "-C", "5", "#t", "hello"))
        return not [lane for t in said[-1][:-1] for lane in t["receivers"] if lane["state"] == "no answer"]
    until(whole, "everybody answers in time")
    lines = said[-1]
    assert len(lines) == 6 and lines[-1]["medians_of"] == 5
    for trace in lines[:-1]:
        for lane in trace["receivers"]:
            check_lane(trace, lane, own=lane["own"])
    for i, lane in enumerate(lines[-1]["receivers"]):
        reads = [next(h["ns"] for h in t["receivers"][i]["hops"] if h["hop"] == "read") for t in lines[:-1]]
        assert next(h["ns"] for h in lane["hops"] if h["hop"] == "read") == sorted(reads)[2]
    assert [m["text"] for m in server.json("history", "#t") if m["type"] == "message"][-5:] == ["hello"] * 5


def test_text_fits_and_is_clean(make_server):
    server = make_server().start(*PLACES["workers"])
    readers(server, "#t", [t for t in TRANSPORTS if t != "tcp"])
    text = server.ok("trace", "-n", "alice", "#t", "hello")
    assert "\033" not in text and max(map(len, text.splitlines())) <= 80
    assert text.startswith("#t ") and "by alice: " in text
    for word in ("uplink", "take", "log", "pwritev", "r-mmap", "posixmq w", "µs to the last"):
        assert word in text
    assert "\033[" in server.ok("trace", "--color", "always", "#t", "hello")


def test_usage(server):
    for args in (["#t"], ["t", "x"], ["#t", "\x07"], ["#t", "x", "-C", "0"], ["#t", "x", "-C", "5000"]):
        done = server.run("trace", *args)
        assert done.returncode == 2 and done.stderr.startswith("parley: "), (args, done)
        assert done.stdout == ""


def test_history_is_not_answered(server):
    """The flag is in the log; who reads it later is not part of that trace."""
    server.ok("trace", "-n", "alice", "#t", "hello")
    with wire.Client.connect(server.socket, "late") as c:
        room = c.join("#t", wire.LAST, 10).room
        assert c.until("MESSAGE", room=room).flags & wire.TRACED
    tail = server.stream("tail", "--json", "--last", "5", "#t")
    until(lambda: tail.messages() and server.members("#t") == 1, "history was read, and the other one has gone")
    [trace] = server.json("trace", "#t", "again")
    assert trace["seq"] > 1 and len(trace["receivers"]) == 2


# --- receivers that do not play along -------------------------------------------------------------------


def test_stopped_receiver_is_named(server):
    tails = readers(server, "#t", ["unix", "shm"])
    os.kill(tails["shm"].pid, signal.SIGSTOP)
    try:
        [trace] = server.json("trace", "-n", "alice", "#t", "hello")
        text = server.ok("trace", "-n", "alice", "#t", "hello")
    finally:
        os.kill(tails["shm"].pid, signal.SIGCONT)
    lanes = {r["nick"]: r for r in trace["receivers"]}
    assert lanes["r-shm"]["state"] == "no answer" and "arrived" not in lanes["r-shm"]["stamps"]
    assert lanes["r-shm"]["stamps"]["pushed"] and lanes["r-shm"]["hops"][-1]["hop"] == "push"
    check_lane(trace, lanes["r-unix"])
    assert "pushed, no answer" in text


def test_receiver_that_leaves_does_not_hold_the_trace_up(server):
    with wire.Client.connect(server.socket, "alice") as a:
        room = a.join("#t").room
        b = wire.Client.connect(server.socket, "bob")
        b.join("#t")
        counter = post(a, room)
        b.until("MESSAGE")
        b.close()
        seq = a.until("MESSAGE", counter=counter).seq
        answer(a, room, seq)
        assert [h.nick for h in hops(a, a.until("TRACE"))] == ["alice", "bob"]


def test_killed_worker_ends_its_lanes(make_server):
    server = make_server().start("--place", "workers", "--workers", "1")
    with wire.Client.connect(server.socket, "alice") as a:
        room = a.join("#t").room
        post(a, room)
        a.until("MESSAGE")
        os.kill(server.workers()[0], signal.SIGKILL)
        with pytest.raises(wire.Ended):
            while True:
                a.next()
    until(lambda: server.run("trace", "#t", "hello").returncode == 0, "traces work again")


def test_traces_of_sessions_that_move(make_server, free_port):
    """Between hub and workers, while messages to them are traced: at worst a lane has fewer hops."""
    m = Mover(make_server(), free_port)
    m.tails()
    placed = set()
    for i in range(6):
        m.budget(0 if i % 2 == 0 else 100)
        for trace in m.server.json("trace", "-n", "alice", "-C", "5", "#lobby", f"round {i}")[:-1]:
            assert len(trace["receivers"]) == len(TRANSPORTS) + 1
            for lane in trace["receivers"]:
                assert lane["state"] in ("whole", "no answer"), lane
                end = lane["stamps"]["arrived"] if lane["state"] == "whole" else lane["stamps"].get("pushed")
                if end is not None:  # else a machine so busy that nobody came to send it in time
                    assert sum(h["ns"] for h in lane["hops"]) == lane["total_ns"] == end - trace["stamps"]["sent"]
                placed.add("worker" in lane)
        m.moved(i % 2 == 0, NICKS)
        trace, _ = traced(m.server, "-n", "alice", "#lobby", "settled")
        for lane in trace["receivers"]:
            check_lane(trace, lane, own=lane["own"])
        placed.update("worker" in lane for lane in trace["receivers"])
    assert placed == {True, False}


# --- the protocol by hand ----------------------------------------------------------------------------------


def posting(c, room, text="hello", clock=1):
    c.counter += 1
    return wire.encode("POST", wire.TRACED, room, c.counter, clock, time.monotonic_ns(), text=text)


def post(c, room, text="hello", clock=1):
    c.send(posting(c, room, text, clock))
    return c.counter


def answer(c, room, seq, clock=1, woken=5, arrived=6, **more):
    fields = dict(clock=clock, woken=woken, arrived=arrived, bytes=100, calls=1, posted=0, post_calls=0)
    fields.update(more)
    c.send(wire.encode("SEEN", at=room, number=seq, **fields))


def hops(c, trace):
    return [c.until("HOP") for _ in range(trace.hops)]


def test_second_client_traces(server):
    with wire.Client.connect(server.socket, "alice") as a, wire.Client.connect(server.socket, "bob") as b:
        room = a.join("#t").room
        b.join("#t")
        counter = post(a, room)
        message = b.until("MESSAGE", room=room)
        assert message.flags & wire.TRACED
        answer(b, room, message.seq, woken=7, arrived=8)
        answer(a, room, a.until("MESSAGE").seq, posted=9, post_calls=3)
        trace = a.until("TRACE")
        assert (trace.code, trace.counter, trace.seq, trace.name) == (0, counter, message.seq, "#t")
        assert trace.same_clock == 0 and trace.posted == 9 and trace.post_calls == 3
        assert trace.woken <= trace.taken <= trace.logged <= trace.told
        mine, his = hops(a, trace)
        assert (mine.nick, his.nick) == ("alice", "bob") and mine.session == trace.session
        assert (his.woken, his.arrived, his.same_clock) == (7, 8, 0)
        assert his.ordered <= his.received <= his.began <= his.pushed
        assert his.push_calls == 1 and his.push_bytes >= 40


def test_lies_change_only_the_lane_of_the_liar(server):
    with wire.Client.connect(server.socket, "mallory") as m:
        room = m.join("#t").room
        other = m.join("#other").room
        tail = readers(server, "#t", ["shm"])["shm"]
        until(lambda: tail.pid, "a reader")
        traced = server.stream("trace", "--json", "-n", "alice", "#t", "hello")
        seq = m.until("MESSAGE", room=room).seq
        top = 2 ** 64 - 1
        for r, s in ((other, seq), (room, seq + 1), (room, 0), (0, seq), (room + 1000, top)):
            answer(m, r, s)
        m.send(wire.seal(wire.TYPES["SEEN"][0], b"\x01\x02", room=room, seq=seq))
        answer(m, room, seq, clock=top, woken=top, arrived=top, bytes=2 ** 32 - 1, calls=2 ** 16 - 1)
        answer(m, room, seq, woken=1, arrived=2)  # the first one counts
        assert traced.wait() == 0
        [trace] = traced.events("trace")
        lanes = {r["nick"]: r for r in trace["receivers"]}
        assert lanes["mallory"]["state"] == "other clock"
        assert lanes["mallory"]["stamps"]["arrived"] in (top, -1)
        check_lane(trace, lanes["r-shm"])
        check_lane(trace, lanes["alice"], own=True)


def test_unbelievable_stamps_are_no_numbers(server):
    """Right clock, wrong times: from before it was said, and from the future."""
    clock = clock_of(server)
    for when in (1, 2 ** 62):
        with wire.Client.connect(server.socket, "mallory") as m:
            room = m.join("#t").room
            traced = server.stream("trace", "--json", "-n", "alice", "#t", "hello")
            seq = m.until("MESSAGE", room=room).seq
            answer(m, room, seq, clock=clock, woken=when, arrived=when)
            assert traced.wait() == 0
            [trace] = traced.events("trace")
            lane = {r["nick"]: r for r in trace["receivers"]}["mallory"]
            assert lane["state"] == "not believable"
            assert lane["total_ns"] == lane["stamps"]["pushed"] - trace["stamps"]["sent"]


def clock_of(server):
    """The clock's number, as a client of this host says it: from the post of one."""
    with wire.Client.connect(server.socket, "spy") as s:
        s.join("#clock")
        # FNV-1a of the boot id and the time namespace, as docs/protocol.md says
        h = 14695981039346656037
        with open("/proc/sys/kernel/random/boot_id", "rb") as f:
            data = f.read()
        try:
            data += os.readlink("/proc/self/ns/time").encode()
        except OSError:
            pass
        for byte in data:
            h = (h ^ byte) * 1099511628211 % 2 ** 64
        return h


def test_flood_of_answers_is_harmless(server):
    with wire.Client.connect(server.socket, "mallory") as m, wire.Client.connect(server.socket, "bob") as b:
        room = m.join("#t").room
        b.join("#t")
        flood = wire.encode("SEEN", at=room, number=1, clock=0, woken=0, arrived=0, bytes=0, calls=0,
                            posted=0, post_calls=0) * 5000
        m.send(flood)
        b.post(room, "still here")
        b.until("MESSAGE")
        m.until("MESSAGE")


def test_traces_are_limited_by_name_and_posts_are_said_all_the_same(server):
    with wire.Client.connect(server.socket, "alice") as a:
        room = a.join("#t").room
        a.send(b"".join(posting(a, room) for _ in range(30)))
        plain = traced = 0
        for _ in range(30):
            if a.until("MESSAGE").flags & wire.TRACED:
                traced += 1
            else:
                plain += 1
        assert traced == 8 and plain == 22  # nobody answers: 8 are under way
        refused = [a.until("TRACE") for _ in range(22)]
        assert {(t.code, t.hops, t.seq) for t in refused} == {(wire.CODES["LIMIT"], 0, 0)}
        assert "8 traces" in refused[0].note
        assert len({t.counter for t in refused}) == 22
        ended = [a.until("TRACE") for _ in range(8)]  # after their time, without an answer
        assert all(t.code == 0 and t.hops == 1 for t in ended)


def test_rate_is_limited(server):
    """Answered at once, so that only the rate is left to limit them."""
    with wire.Client.connect(server.socket, "alice") as a:
        room = a.join("#t").room
        for _ in range(100):
            together = 8  # so many may be under way: what counts is the server's pace, not that of this test
            a.send(b"".join(posting(a, room) for _ in range(together)))
            for _ in range(together):
                message = a.until("MESSAGE")
                if message.flags & wire.TRACED:
                    answer(a, room, message.seq)
            refused = [t for t in (a.until("TRACE") for _ in range(together)) if t.code]
            if refused:
                assert all("50 traces a second" in t.note for t in refused)
                return
        raise AssertionError("800 traces as fast as they could be, and none was refused")


def test_large_room_is_traced_in_part(server):
    others = [wire.Client.connect(server.socket, f"m{i}") for i in range(80)]
    try:
        for c in others:
            c.join("#t")
        [trace] = server.json("trace", "-n", "alice", "#t", "hello")
        assert trace["members"] == 81 and len(trace["receivers"]) == 64
        assert trace["receivers"][0]["own"]
        assert "64 of them traced" in server.ok("trace", "#t", "hello")
    finally:
        for c in others:
            c.close()


def test_refused_post_is_told_and_ends(server):
    done = server.run("trace", "-t", "tcp", "#t", "hello")  # no --listen: not by this way
    assert done.returncode != 0 and done.stdout == ""


# --- watching --------------------------------------------------------------------------------------------------


def test_watchers_get_samples_but_nothing_private(server):
    with wire.Client.connect(server.socket, "watch") as w, wire.Client.connect(server.socket, "alice") as a:
        n = w.ask("WATCH", rate=50)
        assert w.until("DONE", "ERROR", counter=n).type == "DONE"
        room = a.join("#t").room
        secret = a.join("@watch").room
        assert w.until("JOINED").room == secret
        tail = readers(server, "#t", ["fifo"])["fifo"]

        def sampled():
            a.post(secret, "between us")
            a.post(room, "hello")
            while True:
                m = a.until("MESSAGE")
                assert m.room != secret or not m.flags & wire.TRACED
                if m.flags & wire.TRACED:
                    answer(a, room, m.seq)
                if m.room == room:
                    return m.flags & wire.TRACED
        until(sampled, "a message is sampled")
        trace = w.until("TRACE")
        assert trace.sampled and trace.name == "#t" and trace.nick == "alice" and trace.sent == 0
        assert {h.nick for h in hops(w, trace)} == {"alice", "r-fifo"}
        # a trace that somebody asked for is shown to those who watch, too
        until(lambda: server.run("trace", "-n", "bob", "#t", "look").returncode == 0, "a trace")
        assert w.until("TRACE", nick="bob").sampled == 0
        # asked in private, it is not
        post(a, secret)
        m = a.until("MESSAGE", room=secret)
        while not m.flags & wire.TRACED:
            m = a.until("MESSAGE", room=secret)
        answer(a, secret, m.seq)
        answer(w, secret, m.seq)
        assert a.until("TRACE", name="@alice,watch").hops == 2
        n = w.ask("WATCH", rate=0)
        w.until("DONE", counter=n)
        assert not [r for r in w.kept if r.type == "TRACE" and r.name.startswith("@")]
        # nobody watches any more: nothing is sampled
        for _ in range(50):
            a.post(room, "quiet")
            while True:
                m = a.until("MESSAGE")
                if m.room == room and m.text == "quiet":
                    break
            assert not m.flags & wire.TRACED
        assert tail.process.poll() is None


def test_large_rooms_are_sampled_less_often(server):
    """Everybody in the room answers a sample, so the time to the next one grows with the room."""
    count, gaps = 75, []
    with wire.Client.connect(server.socket, "watch") as w, wire.Client.connect(server.socket, "alice") as a:
        n = w.ask("WATCH", rate=50)
        assert w.until("DONE", "ERROR", counter=n).type == "DONE"
        room = a.join("#t").room
        crowd = [wire.Client.connect(server.socket, f"c{i}", transports=[wire.UNIX]) for i in range(count - 1)]
        for c in crowd:
            c.join("#t", flags=wire.QUIET)

        def sampled():
            a.post(room, "hello")
            m = a.until("MESSAGE")
            if m.flags & wire.TRACED:
                gaps.append(m.time)
            return len(gaps) >= 7
        until(sampled, "messages are sampled")
        for c in crowd:
            c.close()
    # By the server's own clock, in ns: never sooner, but a turn that takes long counts from its beginning, so a gap
    # is shorter by as much as the one before it was longer. Half of what all of them take is far more than they
    # would take in a small room (50 a second).
    assert gaps[-1] - gaps[0] >= 0.5e9 * (len(gaps) - 1) * count / 250, gaps


def test_watchers_are_limited(server):
    watchers = [wire.Client.connect(server.socket, f"w{i}") for i in range(9)]
    try:
        answers = [w.until("DONE", "ERROR", counter=w.ask("WATCH", rate=1)) for w in watchers]
        assert [a.type for a in answers] == ["DONE"] * 8 + ["ERROR"]
        assert answers[-1].code == wire.CODES["LIMIT"]
        watchers[0].close()  # its place is free again
        last = watchers[-1]
        until(lambda: last.until("DONE", "ERROR", counter=last.ask("WATCH", rate=1)).type == "DONE",
              "the place of one that left is given to another")
    finally:
        for w in watchers:
            w.close()


def test_over_tcp_nobody_watches(placed):
    host, port = placed.tcp[4:].split(":")
    with wire.Client.connect((host, int(port)), "far") as c:
        refused = c.until("DONE", "ERROR", counter=c.ask("WATCH", rate=1))
        assert refused.type == "ERROR" and refused.code == wire.CODES["DENIED"]
        assert "runs the server" in refused.text
