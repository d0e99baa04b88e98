"""The page's server as a browser and as an attacker meets it: what it serves and refuses, and that it
lives and dies with its server. What goes over its WebSocket is tested in test_web_live.py, the page itself in
test_page.py."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile

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
        with pytest.raises((Closed, AssertionError, ValueError, IndexError, OSError)):  # no answer at all, or a refusal
            with webwire.connect(site.port) as s:
                s.settimeout(20)
                webwire.send(s, nonsense)
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
        while webwire.receive(s):
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
    assert site.pid() == pid and webwire.resident(pid) < 64 * 1024 * 1024
    for s in stuck:
        s.close()


def test_flood_of_requests_is_limited(site):
    request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    seen, rest = set(), b""

    def answered(s, rest):
        head, rest = webwire.read_head(s, rest)
        answer = webwire.Answer(head, b"")
        seen.add(answer.status)
        want = int(answer.headers["content-length"])
        while len(rest) < want:
            more = webwire.receive(s)
            assert more, "closed in the middle of an answer"
            rest += more
        return rest[want:]
    with webwire.connect(site.port) as s:
        for _ in range(150):  # many at once: it is the server's pace that counts, not that of this test
            s.sendall(request * 20)
            for _ in range(20):
                rest = answered(s, rest)
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


# --- its life --------------------------------------------------------------------------------------


def test_killed_process_is_started_again_at_the_same_address(site):
    page = site.page()
    first = site.pid()
    os.kill(first, signal.SIGKILL)
    webwire.closes(page)
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


def sockets_listening():
    """Of TCP, as /proc/PID/fd names them: a port that is free again is soon somebody else's."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


def test_process_ends_with_its_server_however_that_ends(make_server):
    for how in ("stop", "kill"):
        server = make_server().start("--http", "127.0.0.1:0")
        site = Site(server)
        page = site.member("ann")
        pid = site.pid()
        listening = {what for what in harness.fds(pid).values() if what in sockets_listening()}
        assert len(listening) == 1
        if how == "stop":
            server.stop()
        else:
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
            server.process = None
        until(lambda: not alive(pid), "parley-web ends")
        webwire.closes(page)
        assert not listening & sockets_listening()


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
        page.messages.clear()
        server.kill()
        page.wait("link", connected=False)
        assert webwire.get(port, "/healthz").status == 503
        page.messages.clear()
        server.start()
        page.wait("link", connected=True)
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
