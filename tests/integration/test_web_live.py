"""The WebSocket of the page's server: reading and posting, pages that break the rules, and what is shown of the
server, on pages and in /metrics."""

import os
import re
import signal
import socket
import subprocess
import time

import pytest

import harness
import webwire
from harness import until
from webwire import Closed, Page

# --- reading and posting ---------------------------------------------------------------------------


def test_page_reads_a_room(site):
    site.server.ok("send", "#lobby", "before", "-n", "alice")
    with site.page() as page:
        page.wait("message", text="before")
        site.server.ok("send", "#lobby", "after", "-n", "alice")
        said = page.wait("message", text="after")
        assert (said["from"], said["room"], said["seq"]) == ("alice", "#lobby", page.wait("message", text="before")["seq"] + 1)
        rooms = page.wait("rooms")
        assert [r["name"] for r in rooms["rooms"]] == ["#lobby"]
        page.send(do="room", room="#other")
        page.wait("room", room="#other")
        site.server.ok("send", "#other", "elsewhere", "-n", "alice")
        assert page.wait("message", text="elsewhere")["room"] == "#other"


def test_reading_is_unseen_and_ends_with_the_last_page(site):
    first, second = site.page("#a"), site.page("#a")
    site.server.ok("send", "#a", "x")
    first.wait("message")
    second.wait("message")

    def rooms_of_reader():
        return [m["rooms"] for m in site.server.json("who") if m["nick"] == "page"]
    first.close()
    site.server.ok("send", "#a", "y")
    second.wait("message", text="y")
    second.close()
    until(lambda: "#a" not in str(rooms_of_reader()), "the reader leaves a room that nobody looks at")
    lines = site.server.json("history", "#a")
    assert [e["type"] for e in lines if e.get("from") == "page"] == []


def test_post_needs_the_token(site):
    with site.page() as page:
        page.send(do="post", text="no")
        page.wait("refused", what="post", text="join first")
        for token in ("", "x", site.token[:-1], site.token + "x", site.token.upper(), "aaaa-aaaa-aaaa"):
            page.messages.clear()
            page.send(do="join", nick="eve", token=token)
            page.wait("refused", what="token")
        page.send(do="post", text="no")
        page.wait("refused", what="post")
    assert site.server.json("history", "#lobby") == []


def test_person_on_a_page_is_like_any_other(site):
    tail = site.server.stream("tail", "--json", "-n", "listener", "#lobby")
    until(lambda: "listener" in site.server.nicks("#lobby"), "the listener is there")
    with site.page() as reader, site.member("ann") as page:
        until(lambda: tail.events("join"), "ann is seen to come")
        assert tail.events("join")[0]["transport"] == "unix"
        text = "<img src=x onerror=alert(1)> & \"quotes\" \u202e \\ ünï 🙂"
        page.send(do="post", text=text)
        assert reader.wait("message")["text"] == text
        page.send(do="post", text="/me waves")
        assert reader.wait("action")["text"] == "waves"
        until(lambda: len(tail.messages()) == 1 and tail.events("action"), "and heard")
        assert tail.messages()[0]["from"] == "ann"
        page.send(do="room", room="#next")
        page.wait("joined", room="#next")
        page.send(do="post", text="here now")
        page.wait("message", text="here now")
        page.send(do="leave")
        until(lambda: "ann" not in [m["nick"] for m in site.server.json("who")], "ann leaves")
        page.messages.clear()
        page.send(do="post", text="no")
        page.wait("refused")
    with site.member("bob"):
        until(lambda: "bob" in [m["nick"] for m in site.server.json("who")], "bob comes")
    until(lambda: "bob" not in [m["nick"] for m in site.server.json("who")], "a closed page leaves")


TAKEN = "somebody of that name is here already"


def join(site, page, nick):
    """Ask once, and the answer to it."""
    page.messages.clear()
    page.send(do="join", nick=nick, token=site.token)
    return until(lambda: [m for m in page.receive() if m["type"] in ("refused", "joined")], "an answer")[0]


def test_name_that_somebody_has_is_refused(site):
    """All people on pages are one user to the server, which would let them share a name."""
    site.server.stream("tail", "#lobby", "-n", "Bob", "--json")
    with site.page() as page, site.member("ann"):
        until(lambda: {"ann", "Bob"} <= {s["nick"] for m in page.receive() if m["type"] == "state" for s in m["sessions"]},
              "both are there, and known to be")
        for nick in ("ann", "ANN", "bob", "page"):
            assert join(site, page, nick) == {"v": 1, "type": "refused", "what": "nick", "text": TAKEN}, nick


def test_name_is_taken_from_the_moment_that_somebody_has_it(site):
    with site.page() as page:
        for i in range(5):
            site.server.stream("tail", "#lobby", "-n", f"Bob{i}", "--json")
            until(lambda: f"Bob{i}" in [m["nick"] for m in site.server.json("who")], "Bob is there")
            assert join(site, page, f"bob{i}") == {"v": 1, "type": "refused", "what": "nick", "text": TAKEN}


def test_unusable_names_rooms_and_texts_are_refused_by_name(site):
    with site.page(None) as page:
        for room in ("lobby", "", "#", "@ann", "#a b", "#" + "x" * 100, "#a\nb", "#\u202e"):
            page.messages.clear()
            page.send(do="room", room=room)
            assert page.wait("refused", what="room")["text"]
        page.read()
        for nick in ("", "a b", "x" * 33, "#a", "a\u200bb"):
            page.messages.clear()
            page.send(do="join", nick=nick, token=site.token)
            assert page.wait("refused", what="nick")["text"]
    with site.member("ann") as page:
        for text in ("", "a\x07b", "x" * 4001):
            page.messages.clear()
            page.send(do="post", text=text)
            page.wait("refused", what="post")
        page.send(do="post", text="y" * 4000)
        page.wait("message", text="y" * 4000)


def test_rooms_read_at_once_are_limited(site):
    pages = [site.page(f"#r{i}") for i in range(16)]
    with Page(site.port) as late:
        late.send(do="room", room="#late")
        late.wait("refused", what="room")
        pages.pop().close()

        def again():
            late.messages.clear()
            time.sleep(0.2)  # not a flood
            late.send(do="room", room="#late")
            return until(lambda: [m for m in late.receive() if m["type"] in ("room", "refused")], "an answer")[0]["type"] == "room"
        until(again, "a room that nobody reads makes place")
    for p in pages:
        p.close()


def test_fast_posters_are_slowed_down(site):
    with site.member("ann") as page:
        page.send(*({"do": "post", "text": f"line {i}"} for i in range(40)))
        page.send(do="room", room="#next")
        page.wait("room", room="#next")  # which is behind all refusals
        refusals = [m for m in page.messages if m["type"] == "refused"]
    assert refusals and all(m["what"] == "post" and m["text"] == "too fast; try again in a moment" for m in refusals)
    until(lambda: len([m for m in site.server.json("history", "#lobby", "--last", "100") if m["type"] == "message"])
          == 40 - len(refusals) > 0, "the others are said")


def test_wrong_tokens_are_limited_for_all_together(site):
    with site.page() as page, site.page() as other:
        page.send(*({"do": "join", "nick": "eve", "token": f"guess-{i}"} for i in range(30)))
        page.wait("refused", text="too many wrong tokens; try again in a moment")
        other.send(do="join", nick="eve", token=site.token)  # not even the right one, for a moment

        def joined():
            other.send(do="join", nick="ann", token=site.token)
            time.sleep(0.3)  # not a flood
            other.receive()
            return [m for m in other.messages if m["type"] == "joined"]
        until(joined, "the limit ends with the guessing")


# --- hostile pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"x", b"null", b"[]", b"{}", b'{"do":1}', b'{"do":"sudo"}', b'{"do":"room","do":"room"}',
                                     b"[" * 5000, b'{"do":"room","room":"#a"', b'"' + b"\\u0000" * 100 + b'"'])
def test_message_that_is_none_closes_the_page(site, message):
    with site.page() as page:
        page.frame(1, message)
        webwire.closes(page, 1008)
    assert site.get("/healthz").status == 200


def test_frames_against_the_rules_close_the_page(site):
    def oversized(p):
        p.frame(1, b" " * 100_000)

    def oversized_in_pieces(p):
        for i in range(40):
            p.frame(1 if i == 0 else 0, b" " * 1000, fin=False)

    def huge_claim(p):
        p.frame(1, b"x" * 40000, length=1 << 62)

    breaks = [oversized, oversized_in_pieces, huge_claim, lambda p: p.frame(2, b"{}"), lambda p: p.frame(1, b"{}", mask=False),
              lambda p: p.frame(1, b"\xff\xfe"), lambda p: p.frame(3, b"x"), lambda p: p.frame(0, b"x"),
              lambda p: p.frame(9, b"x" * 200), lambda p: p.frame(8, b"\x03")]
    pid = site.pid()
    for wrong in breaks:
        with site.page() as page:
            try:
                wrong(page)
            except (BrokenPipeError, ConnectionResetError):
                pass
            webwire.closes(page)
    with site.page() as bystander:
        bystander.wait("hello")
    assert site.pid() == pid


def test_pages_that_ask_too_often_are_closed(site):
    with site.page() as page:
        with pytest.raises((Closed, BrokenPipeError, ConnectionResetError)):
            for i in range(1000):
                page.send(do="room", room=f"#r{i % 2}")
            webwire.closes(page, 1008)
            raise Closed()
    with site.page() as page:
        page.wait("hello")


def test_slow_page_is_dropped_and_others_are_not_held_up(site):
    """A page that does not read, in a room with much to read."""
    pid = site.pid()
    slow = site.page("#busy")
    slow.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before = webwire.resident(pid)
    feeder = subprocess.Popen(["bash", "-c", f"yes {'x' * 2000} | {harness.PARLEY} send -s {site.server.address} '#busy'"],
                              env=site.server.env(), stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        with site.page("#busy") as quick:
            def dropped():
                quick.receive()
                quick.messages.clear()
                # AddressSanitizer keeps freed memory for a while
                assert webwire.resident(pid) < before + (512 if "asan" in harness.BIN else 64) * 1024 * 1024
                return re.search(r"^parley_web_dropped_total 1$", site.get("/metrics").text, re.M)
            until(dropped, "the slow page is dropped")
            quick.wait("message")
    finally:
        os.killpg(feeder.pid, signal.SIGKILL)
        feeder.wait()
    slow.close()


def test_page_that_falls_behind_is_told_how_much(site):
    with site.page("#busy") as page:
        lines = "".join(f"line {i}\n" for i in range(20000))
        os.kill(site.pid(), signal.SIGSTOP)  # or it might keep up
        try:
            site.server.ok("send", "#busy", "-", input=lines)
        finally:
            os.kill(site.pid(), signal.SIGCONT)
        page.wait("message", text="line 19999")
        said = [m for m in page.messages if m["type"] == "message"]
        missed = sum(m["count"] for m in page.messages if m["type"] == "missed")
        other = sum(m["type"] in ("join", "part") for m in page.messages)
        assert missed > 0 and 20000 <= len(said) + missed <= 20000 + 4 and other <= 2


# --- what is shown ---------------------------------------------------------------------------------


def test_state_traces_and_events_come_as_they_happen(site):
    with site.page() as page:
        crew = {t: site.server.stream("tail", "#lobby", "-t", t, "-n", f"on-{t}") for t in ("shm", "fifo", "mmap")}

        def all_there():
            page.receive()
            states = [m for m in page.messages if m["type"] == "state"]
            return states and {"on-shm", "on-fifo", "on-mmap"} <= {s["nick"] for s in states[-1]["sessions"]}
        until(all_there, "three sessions are shown")
        state = [m for m in page.messages if m["type"] == "state"][-1]
        assert {s["nick"]: s["transport"] for s in state["sessions"]} | {"page": "unix"} == \
            {"on-shm": "shm", "on-fifo": "fifo", "on-mmap": "mmap", "page": "unix"}
        assert [w["alive"] for w in state["workers"] if w["n"] < 16] == [1, 1]
        assert state["page"]["lost"] == 0 and state["page"]["doubled"] == 0

        # a session that is shown need not have joined yet
        until(lambda: site.server.nicks("#lobby") >= {"on-shm", "on-fifo", "on-mmap", "page"}, "they are in the room")
        site.server.ok("send", "#lobby", "seen", "-n", "alice", "-t", "sysvmq")
        line = page.wait("message", text="seen")
        trace = page.wait("trace", seq=line["seq"])
        assert (trace["room"], trace["from"], trace["transport"], trace["sampled"]) == ("#lobby", "alice", "sysvmq", True)
        assert {"on-shm", "on-fifo", "on-mmap", "page"} <= {h["nick"] for h in trace["hops"]}
        stamps = [trace[k] for k in ("woken", "taken", "logged", "told")]
        assert stamps == sorted(stamps) and stamps[0] >= 0
        for hop in trace["hops"]:
            times = [hop[k] for k in ("ordered", "received", "began", "pushed") if hop[k] is not None]
            assert times == sorted(times) and times[0] >= trace["told"]

        victim = next(w for w in state["workers"] if w["n"] == 0)["pid"]
        os.kill(victim, signal.SIGKILL)
        crash = page.wait("event", kind="crash")
        assert f"worker 0 (pid {victim})" in crash["text"]
        page.wait("event", kind="restart")
        site.server.ok("send", "#lobby", "still there")
        page.wait("message", text="still there")
        assert all(s.process.poll() is None for s in crew.values())
        until(lambda: page.receive() and [m for m in page.messages if m["type"] == "state"][-1]["page"]["lost"] == 0, "none lost")


def parse_metrics(text):
    """Prometheus' text format, strictly; {(name, label pairs): value}, {name: type}."""
    name = r"[a-z][a-z0-9_]*"
    help_line = re.compile(rf"# HELP ({name}) (\S.*\S)$")
    type_line = re.compile(rf"# TYPE ({name}) (counter|gauge)$")
    sample = re.compile(rf'({name})(?:\{{({name}="(?:[^"\\\n]|\\["\\n])*")\}})? (-?[0-9.e+-]+)$')
    values, types, helped, current = {}, {}, set(), None
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if m := help_line.match(line):
            assert m[1] not in helped, "HELP twice"
            helped.add(m[1])
            current = m[1]
        elif m := type_line.match(line):
            assert m[1] == current and m[1] not in types, "TYPE follows HELP, once"
            types[m[1]] = m[2]
        else:
            m = sample.match(line)
            assert m, f"not a sample: {line!r}"
            assert m[1] == current, f"{m[1]} among the samples of {current}"
            assert (m[1], m[2]) not in values, f"twice: {line}"
            values[m[1], m[2]] = float(m[3])
    return values, types


def test_metrics_are_as_prometheus_wants_them(site):
    def metrics():
        answer = site.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return parse_metrics(answer.text)
    until(lambda: ("parley_posts_total", None) in metrics()[0], "the server's figures")
    values, types = metrics()
    for name, kind in types.items():
        assert name.startswith("parley_")
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ns|ms|us|kb|count)\b|millis|nanos", name), name
        assert any(key[0] == name for key in values) or name.startswith("parley_limit"), f"{name} has no sample"
    assert all(v >= 0 for v in values.values())
    site.server.ok("send", "#lobby", "-", input="a\nb\nc\n", )
    until(lambda: metrics()[0]["parley_posts_total", None] == values["parley_posts_total", None] + 3, "three posts more")
    now = metrics()[0]
    assert sum(v for (n, _), v in now.items() if n == "parley_uplink_posts_total") == now["parley_posts_total", None]
    assert now["parley_worker_up", 'worker="0"'] == 1 and now["parley_workers", None] == 2
    assert now["parley_cpu_seconds_total", 'process="hub"'] > 0


def test_sums_over_workers_do_not_fall_when_one_is_killed(site):
    """Prometheus takes a counter that falls for one that began at 0, and would count all the others again."""
    tails = [site.server.stream("tail", "#lobby", "-t", t, "-n", f"on-{t}-{i}") for t in ("unix", "shm") for i in range(2)]
    until(lambda: len(site.server.nicks("#lobby")) >= len(tails), "they are there")

    def sums():
        return {k: v for k, v in parse_metrics(site.get("/metrics").text)[0].items() if k[0].startswith("parley_downlink_")}
    site.server.ok("send", "#lobby", "-", input="x\n" * 100)
    unix, shm = (("parley_downlink_deliveries_total", f'transport="{t}"') for t in ("unix", "shm"))
    until(lambda: sums().get(unix, 0) >= 200 and sums()[shm] >= 200, "all is counted")
    before = harness.settled(sums)
    for n, pid in enumerate([p for p in site.server.workers() if p != site.pid()]):
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(re.findall(r"worker \d started again", site.server.output())) == n + 1, "it is started again")
    after = sums()
    assert all(after[k] >= v for k, v in before.items()), (before, after)
