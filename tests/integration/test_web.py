"""The page's server as a browser and as an attacker meets it: what it serves and refuses, and that it
lives and dies with its server. The page itself is tested in test_page.py."""

import concurrent.futures
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import harness
import webwire
from harness import alive, until
from webwire import Closed, Page, Site

WEB = os.path.join(harness.BIN, "parley-web")
SOURCE = os.path.join(harness.ROOT, "client", "web")
FILES = {"/": ("page/index.html", "text/html"), "/style.css": ("page/style.css", "text/css"),
         "/icon.svg": ("page/icon.svg", "image/svg+xml"), "/main.js": ("page/main.js", "text/javascript"),
         "/util.js": ("page/util.js", "text/javascript"), "/room.js": ("page/room.js", "text/javascript"),
         "/picture.js": ("page/picture.js", "text/javascript"),
         "/charts.js": ("page/charts.js", "text/javascript"),
         "/trace.js": ("page/trace.js", "text/javascript"),
         "/uplot.js": ("vendor/uplot/uPlot.iife.min.js", "text/javascript"),
         "/uplot.css": ("vendor/uplot/uPlot.min.css", "text/css")}


@pytest.fixture
def site(make_server):
    return Site(make_server().start("--workers", "2", "--place", "workers", "--http", "127.0.0.1:0"))


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1)) * 1024


def closes(page, code=None, deadline=harness.DEADLINE):
    """The page is closed by the server, with this code of RFC 6455."""
    with pytest.raises(Closed) as closed:
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            page.receive(deadline)
    assert code is None or closed.value.args == (code,)


# --- what is served --------------------------------------------------------------------------------


def test_files_are_those_of_the_source(site):
    for path, (file, kind) in FILES.items():
        answer = site.get(path)
        with open(os.path.join(SOURCE, file), "rb") as f:
            assert (answer.status, answer.body) == (200, f.read()), path
        assert answer.headers["content-type"].startswith(kind)
        head = site.get(path, method="HEAD")
        assert head.status == 200 and head.body == b""
        assert head.headers["content-length"] == str(len(answer.body))


def test_every_answer_forbids_what_the_page_does_not_need(site):
    for path in ("/", "/main.js", "/metrics", "/nothing"):
        headers = site.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
    with open(os.path.join(SOURCE, "page/index.html")) as f:
        html = f.read()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|<style|\bon\w+=|https?:", html)


def test_token_is_said_once_and_hidden_from_other_users(make_server, site):
    assert re.fullmatch(r"[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}", site.token)
    for pid in (site.pid(), site.server.pid):
        for name in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{name}", "rb") as f:
                assert site.token.encode() not in f.read()
    for path in FILES:
        assert site.token not in site.get(path).text
    other = Site(make_server().start("--http", "127.0.0.1:0"))
    assert other.token != site.token


def test_process_has_given_up_what_it_does_not_need(site):
    assert site.get("/").status == 200
    with open(f"/proc/{site.pid()}/status") as f:
        status = f.read()
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    if "asan" not in harness.BIN:
        assert re.search(r"^Seccomp:\s+2$", status, re.M)


# --- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
                                  "127.0.0.1.evil.example:{port}", "localhost.evil:{port}", "10.0.0.1:{port}",
                                  "0x7f000001:{port}", "2130706433:{port}", "[::2]:{port}", "[::1:{port}", ":{port}",
                                  "a" * 300 + ":{port}", "@127.0.0.1:{port}", "127.0.0.1:{port}x"])
def test_foreign_host_is_refused(site, host):
    host = host.format(port=site.port)
    assert site.get("/", host=host).status == 421
    assert Page(site.port, host=host).answer.status == 421


def test_missing_host_is_refused(site):
    try:
        assert site.get("/", host="").status in (400, 421)
    except Closed:
        pass
    assert site.get("/").status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.2", "[::1]"])
def test_own_host_is_served(site, host):
    host = f"{host}:{site.port}"
    assert site.get("/", host=host).status == 200
    with Page(site.port, host=host) as page:
        page.wait("hello")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1", "https://{own}",
                                    "http://{own}.evil.example", "http://{own}/", "http://localhost:{port}", "{own}"])
def test_websocket_of_another_site_is_refused(site, origin):
    own = f"127.0.0.1:{site.port}"
    origin = origin.format(own=own, port=site.port)
    assert Page(site.port, origin=origin).answer.status == 403


def test_websocket_elsewhere_or_of_another_protocol_is_refused(site):
    assert Page(site.port, path="/").answer.status == 404
    for protocol in (None, "chat", "parley.2"):
        with pytest.raises(Closed):
            Page(site.port, protocol=protocol)
    site.page().close()


def test_other_methods_and_protocols_are_refused(site):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"):
        for path in ("/", "/metrics", "/live"):
            try:
                assert site.get(path, method=method, Content_Length="0").status in (400, 403, 404, 405)
            except Closed:
                pass  # no method of HTTP that libwebsockets knows
    assert site.get("/", method="POST", Content_Length="0").headers["allow"] == "GET, HEAD"
    upgraded = webwire.raw(site.port, (f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                                       "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n").encode())
    assert upgraded.status == 404
    for nonsense in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n" * 200, b"\0" * 500):
        with pytest.raises((Closed, AssertionError, ValueError, IndexError, socket.timeout)):
            with webwire.connect(site.port) as s:
                s.settimeout(20)
                s.sendall(nonsense)
                s.shutdown(socket.SHUT_WR)
                head, _ = webwire.read_head(s)
                assert webwire.Answer(head, b"").status < 400
    assert site.get("/").status == 200


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
                                  "/page/index.html", "/main.js/", "/main.js%00.css", "/.git/config", "/style.css/../../x",
                                  "/%", "/%zz", "/live", "/index.html"])
def test_paths_lead_nowhere_else(site, path):
    try:
        answer = site.get(path)
    except Closed:
        answer = None
    assert answer is None or answer.status in (400, 403, 404), answer.text
    assert site.get("/").status == 200


def test_oversized_requests_are_dropped(site):
    pid = site.pid()
    for request in ("GET /" + "a" * 100_000 + " HTTP/1.1\r\nHost: {h}\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: {h}\r\nX-Long: " + "b" * 200_000 + "\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: {h}\r\n" + "".join(f"X-{i}: y\r\n" for i in range(5000)) + "\r\n",
                    "GET / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 1000000000\r\n\r\n" + "c" * 100_000):
        try:
            answer = webwire.raw(site.port, request.format(h=f"127.0.0.1:{site.port}").encode())
            assert answer.status >= 400 or "Content-Length" in request
        except Closed:
            pass
    assert site.pid() == pid and site.get("/").status == 200


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\nHost: ", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
                                      b"POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 10\r\n\r\nx"])
def test_request_that_never_ends_is_dropped(site, request_):
    with webwire.connect(site.port) as s:
        s.sendall(request_.replace(b"{h}", f"127.0.0.1:{site.port}".encode()))
        s.settimeout(harness.DEADLINE)
        while s.recv(65536):
            pass


def test_answers_that_nobody_reads_cost_nothing(site):
    """Pipelined requests for the longest file, none of them read."""
    pid = site.pid()
    stuck = []
    for _ in range(20):
        s = webwire.connect(site.port)
        s.setblocking(False)
        request = f"GET /uplot.js HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode() * 50
        try:
            s.send(request)
        except BlockingIOError:
            pass
        stuck.append(s)
    until(lambda: site.get("/healthz").status == 200, "others are served")
    assert site.pid() == pid and resident(pid) < 64 * 1024 * 1024
    for s in stuck:
        s.close()


def test_flood_of_requests_is_limited(site):
    request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    seen = set()
    with webwire.connect(site.port) as s:
        for _ in range(3000):
            s.sendall(request)
            head, rest = webwire.read_head(s)
            answer = webwire.Answer(head, rest)
            want = int(answer.headers["content-length"])
            while len(rest) < want:
                rest += s.recv(65536)
            seen.add(answer.status)
            if 429 in seen:
                break
    assert seen == {200, 429}
    until(lambda: site.get("/healthz").status == 200, "the limit ends with the flood")


def test_connections_and_pages_are_limited(site):
    """More than 100 pages: refused by name. More connections than are allowed: closed. Then all is well."""
    pages = []

    def another():
        page = Page(site.port)
        if page.answer.status == 101:
            pages.append(page)
        return page.answer.status
    statuses = [until(lambda: (lambda s: s if s != 429 else None)(another()), "a page") for _ in range(110)]
    assert statuses[:100] == [101] * 100 and set(statuses[100:]) == {503}
    idle = [webwire.connect(site.port) for _ in range(200)]

    watched = select.poll()
    for s in idle:
        watched.register(s, select.POLLIN)  # nobody says anything to them: it is their end
    until(lambda: watched.poll(0), "those beyond the limit are closed")
    pages[0].wait("hello")  # those who are in notice nothing
    for s in idle + pages:
        s.close()

    def again():
        try:
            return site.get("/healthz").status == 200 and Page(site.port).answer.status == 101
        except Closed:
            return False
    until(again, "places are free again")


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
    tail = site.server.stream("tail", "--json", "#lobby")
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
            late.send(do="room", room="#late")
            return late.wait()["type"] != "refused" if not time.sleep(0.2) else None
        until(again, "a room that nobody reads makes place")
    for p in pages:
        p.close()


def test_fast_posters_are_slowed_down(site):
    with site.member("ann") as page:
        for i in range(15):
            page.send(do="post", text=f"line {i}")
        page.wait("refused", what="post", text="too fast; try again in a moment")
        page.wait("message", text="line 0")
    assert len(site.server.json("history", "#lobby", "--last", "100")) < 20


def test_wrong_tokens_are_limited_for_all_together(site):
    with site.page() as page, site.page() as other:
        for i in range(30):
            page.send(do="join", nick="eve", token=f"guess-{i}")
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
        closes(page, 1008)
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
            closes(page)
    with site.page() as bystander:
        bystander.wait("hello")
    assert site.pid() == pid


def test_pages_that_ask_too_often_are_closed(site):
    with site.page() as page:
        with pytest.raises((Closed, BrokenPipeError, ConnectionResetError)):
            for i in range(1000):
                page.send(do="room", room=f"#r{i % 2}")
            closes(page, 1008)
            raise Closed()
    with site.page() as page:
        page.wait("hello")


def test_slow_page_is_dropped_and_others_are_not_held_up(site):
    """A page that does not read, in a room with much to read."""
    pid = site.pid()
    slow = site.page("#busy")
    slow.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before = resident(pid)
    feeder = subprocess.Popen(["bash", "-c", f"yes {'x' * 2000} | {harness.PARLEY} send -s {site.server.address} '#busy'"],
                              env=site.server.env(), stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        with site.page("#busy") as quick:
            def dropped():
                quick.receive()
                quick.messages.clear()
                # AddressSanitizer keeps freed memory for a while
                assert resident(pid) < before + (512 if "asan" in harness.BIN else 64) * 1024 * 1024
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
        site.server.ok("send", "#busy", "-", input=lines)
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


# --- its life --------------------------------------------------------------------------------------


def test_killed_process_is_started_again_at_the_same_address(site):
    page = site.page()
    first = site.pid()
    os.kill(first, signal.SIGKILL)
    closes(page)
    until(lambda: site.pid() not in (None, first), "it is started again")
    assert site.get("/healthz").status in (200, 503)
    with site.member("ann") as again:  # the token is the same
        again.send(do="post", text="back")
        again.wait("message", text="back")
    assert re.search(rf"page's process \(pid {first}\) ended by signal 9", site.server.output())
    workers = [p for p in site.server.workers() if p != site.pid()]
    assert len(workers) == 2 and not re.search("worker .* ended", site.server.output())


def test_process_that_dies_again_and_again_is_started_ever_more_slowly(site):
    def die():
        pid = until(site.pid, "it runs")
        os.kill(pid, signal.SIGKILL)
        until(lambda: site.pid() != pid, "it ends")
    for _ in range(4):
        die()
    waits = [int(w) for w in re.findall(r"page's process .* next start in (\d+) ms", site.server.output())]
    assert waits == sorted(waits) and waits[-1] > waits[0]
    site.server.ok("send", "#lobby", "the chat goes on")


def test_process_ends_with_its_server_however_that_ends(make_server):
    for how in ("stop", "kill"):
        server = make_server().start("--http", "127.0.0.1:0")
        site = Site(server)
        page = site.member("ann")
        pid = site.pid()
        if how == "stop":
            server.stop()
        else:
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            server.process = None
        until(lambda: not alive(pid), "parley-web ends")
        closes(page)
        with pytest.raises(ConnectionRefusedError):
            webwire.connect(site.port)


def test_stopped_process_does_not_hold_up_the_end(site):
    os.kill(site.pid(), signal.SIGSTOP)
    site.server.stop()


def test_server_without_http_starts_no_process(server):
    assert len(server.workers()) == 2
    assert "http" not in server.output()


def start_by_hand(server, *options):
    stream = harness.Stream([WEB, "-s", server.address, *options], server.env())
    server.streams.append(stream)
    return stream


def test_by_hand_beside_a_running_server(make_server):
    server = make_server().start()
    web = start_by_hand(server, "--http", "127.0.0.1:0")
    said = until(lambda: re.search(r"^parley-web: to post: http://127\.0\.0\.1:(\d+)/#(\S+)$", web.stderr, re.M), "it is ready")
    port = int(said[1])
    with Page(port).read() as page:
        page.send(do="join", nick="ann", token=said[2])
        page.wait("joined")
        page.wait("state")
        server.kill()
        page.wait("link", connected=False)
        assert webwire.get(port, "/healthz").status == 503
        server.start()
        page.wait("link", connected=True)
        until(lambda: (page.messages.clear(), page.wait("link", connected=True))[1] if not page.messages else True, "back")
        page.send(do="post", text="we are back")
        page.wait("message", text="we are back")
    web.process.send_signal(signal.SIGTERM)
    assert web.wait() == 0, web.stderr


def test_by_hand_without_a_server(make_server):
    web = start_by_hand(make_server(), "--http", "127.0.0.1:0")
    assert web.wait() == 69
    assert "no server at unix:" in web.stderr


# --- what is asked for wrongly ---------------------------------------------------------------------


def refused(server, *options, program=None):
    command = server.command(*options)
    if program:
        command[0] = program
    done = subprocess.run(command, env=server.env(), capture_output=True, timeout=harness.DEADLINE, text=True)
    assert len(done.stderr.strip().split("\n")) == 1, done.stderr
    return done.returncode, done.stderr


def test_address_others_can_reach_has_to_be_asked_for(make_server):
    code, said = refused(make_server(), "--http", "0.0.0.0:0")
    assert code == 1 and "--http-remote" in said
    server = make_server().start("--http", "0.0.0.0:0", "--http-remote")
    site = Site(server)
    assert "reads every room" in server.output()
    name = socket.gethostname()
    for host in ("10.1.2.3", "[fe80::1]", "localhost", name, name + ".local"):
        assert site.get("/", host=f"{host}:{site.port}").status == 200, host
    for host in ("evil.example", "x" + name):
        assert site.get("/", host=f"{host}:{site.port}").status == 421, host


def test_wrong_addresses_are_refused_in_one_line(make_server):
    server = make_server()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = refused(server, "--http", f"127.0.0.1:{taken.getsockname()[1]}")
        assert code == 1 and "EADDRINUSE" in said
    for bad in ("8080", "127.0.0.1", "127.0.0.1:99999", ":1", ""):
        code, said = refused(server, "--http", bad)
        assert code == 2 and "HOST:PORT" in said


def test_missing_program_is_named(make_server):
    server = make_server()
    with tempfile.TemporaryDirectory() as alone:
        shutil.copy(harness.PARLEYD, alone)
        code, said = refused(server, "--http", "127.0.0.1:0", program=os.path.join(alone, "parleyd"))
    assert code == 1 and f"{alone}/parley-web (ENOENT)" in said


def test_options_of_parley_web(make_server):
    def run(*args):
        return subprocess.run([WEB, *args], capture_output=True, text=True, timeout=harness.DEADLINE)
    assert run("--help").returncode == 0 and "--http" in run("--help").stdout
    assert run("--version").stdout.startswith("parley-web ")
    for args in (["--nothing"], ["--http"], ["x"], ["-s", "tcp:localhost:1"]):
        done = run(*args)
        assert done.returncode == 2 and len(done.stderr.strip().split("\n")) == 1
