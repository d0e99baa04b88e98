"""Clients of other hosts, by TLS: the relay in between, whom a client trusts, what a stranger on the port can do
to the people inside (nothing), and what is lost when the relay dies (nothing). docs/remote.md."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess

import pexpect
import pytest

import harness
import parleywire as wire
import remote
from harness import until

ROOM = "#far"
LINES = 1500


@pytest.fixture
def tls(make_server):
    return make_server().start("--workers", "1", "--rate", "0", "--listen", f"tls:127.0.0.1:{harness.quiet_port()}")


def texts(events):
    return [e["text"] for e in events if e["type"] == "message"]


def far(server, command, *args, **more):
    return server.run(command, *remote.at(server), *args, server=remote.address(server), **more)


def far_ok(server, command, *args, **more):
    done = far(server, command, *args, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def known_file(server):
    return os.path.join(server.dir, "home", ".config", "parley", "known-servers")


# --- the handshake ----------------------------------------------------------------------------------------------


def test_tls_1_2_is_refused_and_1_3_is_not(tls):
    with pytest.raises(ssl.SSLError):
        remote.wrap(remote.bare(tls), newest=ssl.TLSVersion.TLSv1_2)
    with remote.wrap(remote.bare(tls)) as s:
        assert s.version() == "TLSv1.3"


def test_openssl_agrees_about_version_and_certificate(tls):
    said = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{remote.port(tls)}"], input="",
                          capture_output=True, text=True, timeout=harness.DEADLINE).stdout
    assert "TLSv1.3" in said
    shown = remote.openssl("x509", "-noout", "-fingerprint", "-sha256", input=said)
    assert "SHA256:" + shown.split("=")[1].strip().replace(":", "").lower() == remote.fingerprint(tls)
    both = [os.stat(os.path.join(tls.state, f)).st_mode & 0o777 for f in ("tls-cert.pem", "tls-key.pem")]
    assert both == [0o600, 0o600]


def test_ipv6_and_several_listeners(make_server):
    server = make_server().start("--listen", "tls:127.0.0.1:0", "--listen", "127.0.0.1:0", "--listen", "tls:[::1]:0")
    six = re.search(r"tls:(\[::1\]:\d+)", server.ready.group(0)).group(0)
    plain = re.search(r"tcp:\S+", server.ready.group(0)).group(0)
    for a in (six, remote.address(server), plain):
        server.ok("send", *remote.at(server), ROOM, a, server=a)
    assert texts(server.json("history", ROOM)) == [six, remote.address(server), plain]


def test_everything_works_over_it(tls):
    far_ok(tls, "send", ROOM, "-", input="eins\nzwei\n")
    tail = far_ok(tls, "tail", "--json", "--last", "9", "-e", ROOM).splitlines()
    assert texts(json.loads(line) for line in tail) == ["eins", "zwei"]
    assert "zwei" in far_ok(tls, "history", ROOM)
    assert "eins" in far_ok(tls, "search", ROOM, "EINS")
    assert ROOM in far_ok(tls, "rooms")
    far_ok(tls, "who")
    offered = far_ok(tls, "transports")
    assert re.search(r"^tcp +1 ", offered, re.M)
    assert re.search(r"^shm .*host", offered, re.M)
    assert "tcp" in far_ok(tls, "ping", "-C", "20")
    far_ok(tls, "trace", ROOM, "wie schnell")
    assert re.search(r"^ok +server", tls.run("doctor", *remote.at(tls), server=remote.address(tls)).stdout, re.M)


def test_a_local_transport_is_skipped_with_its_reason(tls):
    with remote.dial(tls) as c:
        welcome = c.hello("x", transports=[wire.SHM, wire.TCP], strict=0)
        assert welcome.transport == wire.TCP
        ((transport, why),) = wire.skips(welcome.skipped)
        assert transport == wire.SHM and "host" in why


def test_chat_in_a_terminal(tls):
    chat = pexpect.spawn(harness.PARLEY, ["-s", remote.address(tls), *remote.at(tls), "-n", "anna"], env=tls.env(),
                         encoding="utf-8", timeout=harness.DEADLINE)
    chat.expect("#lobby")
    chat.send("hallo von fern\r")
    until(lambda: "hallo von fern" in texts(tls.json("history", "#lobby")), "it was said")
    tls.ok("send", "#lobby", "hallo zurück")
    chat.expect("hallo zurück")
    chat.send("/quit\r")
    assert harness.exit_code(chat) == 0


# --- trust -------------------------------------------------------------------------------------------------------


def test_script_refuses_a_server_that_is_not_known(tls):
    done = tls.run("send", ROOM, "x", server=remote.address(tls))
    assert done.returncode == 77
    assert remote.fingerprint(tls) in done.stderr and "--tls-fingerprint" in done.stderr
    assert not os.path.exists(known_file(tls))
    wrong = "SHA256:" + "ab" * 32
    done = tls.run("send", "--tls-fingerprint", wrong, ROOM, "x", server=remote.address(tls))
    assert done.returncode == 77 and wrong in done.stderr and remote.fingerprint(tls) in done.stderr
    assert tls.run("send", "--tls-fingerprint", "SHA256:abc", ROOM, "x", server=remote.address(tls)).returncode == 2
    assert tls.json("rooms") == []


@pytest.mark.parametrize("answer", ["yes", "fingerprint", "no", "another"])
def test_terminal_asks_once_and_remembers(tls, answer):
    typed = {"fingerprint": remote.fingerprint(tls)[7:].upper(), "another": "SHA256:" + "0" * 64}.get(answer, answer)
    child = pexpect.spawn(harness.PARLEY, ["send", "-s", remote.address(tls), ROOM, "x"], env=tls.env(),
                          encoding="utf-8", timeout=harness.DEADLINE)
    child.expect_exact(remote.fingerprint(tls))
    child.expect("Is it the same")
    child.send(typed + "\r")
    code = harness.exit_code(child)
    if answer in ("yes", "fingerprint"):
        assert code == 0
        assert os.stat(known_file(tls)).st_mode & 0o777 == 0o600
        tls.ok("send", ROOM, "y", server=remote.address(tls))
        assert texts(tls.json("history", ROOM)) == ["x", "y"]
    else:
        assert code == 77
        assert not os.path.exists(known_file(tls)) and tls.json("rooms") == []


def remember(server, fingerprint):
    os.makedirs(os.path.dirname(known_file(server)), exist_ok=True)
    with open(known_file(server), "w") as f:
        f.write(f"# mine\nother.example:1 SHA256:{'12' * 32}\n{remote.address(server)[4:]} {fingerprint}\n")


def test_changed_certificate_is_refused_loudly(tls):
    remember(tls, remote.fingerprint(tls))
    port = remote.port(tls)
    tail = tls.stream("tail", "-n", "listener", ROOM, server=remote.address(tls))
    until(lambda: "listener" in tls.nicks(ROOM), "it is there")
    old = remote.fingerprint(tls)
    tls.stop()
    for f in ("tls-cert.pem", "tls-key.pem"):
        os.unlink(os.path.join(tls.state, f))
    tls.start("--listen", f"tls:127.0.0.1:{port}")
    new = remote.fingerprint(tls)
    assert new != old
    assert tail.wait() == 77  # a session that was open does not go on with somebody else
    for said in (tail.stderr, tls.run("who", server=remote.address(tls)).stderr):
        assert "HAS CHANGED" in said and old in said and new in said
        assert "line 3" in said and known_file(tls) in said


def test_broken_file_of_known_servers_is_named_with_its_line(tls):
    remember(tls, "SHA256:nonsense")
    done = tls.run("who", server=remote.address(tls))
    assert done.returncode == 77 and f"{known_file(tls)}:3:" in done.stderr


def test_ca(make_server, tmp_path_factory):
    ca, other = (remote.Authority(tmp_path_factory.mktemp("ca")) for _ in range(2))
    cases = [(dict(), ca, 0, ""),
             (dict(), other, 77, "issuer"),
             (dict(names="DNS:elsewhere.example"), ca, 77, "IP address mismatch"),
             (dict(end="20200202000000Z"), ca, 77, "expired")]
    for issued, trusted, code, word in cases:
        cert, key = ca.issue(**issued)
        server = make_server().start("--listen", "tls:127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
        done = server.run("send", "--tls-ca", trusted.cert, ROOM, "x", server=remote.address(server))
        assert done.returncode == code and word in done.stderr, done.stderr
        # Its fingerprint is as good as ever, and the only thing that is looked at then.
        far_ok(server, "send", ROOM, "y")
        assert not os.path.exists(os.path.join(server.state, "tls-key.pem"))
        server.stop()


def test_a_ca_file_that_cannot_be_used_is_named(tls):
    for name, words in (("/nonexistent/ca.pem", "cannot read --tls-ca /nonexistent/ca.pem (ENOENT)"),
                        ("/etc/passwd", "no certificates (PEM) in --tls-ca /etc/passwd")):
        done = tls.run("send", "--tls-ca", name, ROOM, "x", server=remote.address(tls))
        assert done.returncode == 77 and words in done.stderr and done.stderr.count("\n") == 1


def test_certificates_that_cannot_be_used_are_named_at_the_start(make_server, tmp_path):
    ca = remote.Authority(tmp_path)
    (cert, key), (_, other) = ca.issue(), ca.issue()
    for options, words in (([cert, other], "not that of the certificate"), ([key, key], "no certificate"),
                           ([cert, cert], "no private key"), ([cert, "/nonexistent"], "--tls-key /nonexistent")):
        server = make_server()
        done = subprocess.run(server.command("--listen", "tls:127.0.0.1:0", "--tls-cert", options[0], "--tls-key",
                                             options[1]), env=server.env(), capture_output=True, text=True,
                              timeout=harness.DEADLINE)
        assert done.returncode == 1 and words in done.stderr, done.stderr
    done = subprocess.run(server.command("--tls-cert", cert), env=server.env(), capture_output=True, text=True)
    assert done.returncode == 2 and "--tls-key" in done.stderr


def test_sighup_takes_a_new_certificate_and_keeps_connections(make_server, tmp_path):
    ca = remote.Authority(tmp_path)
    cert, key = (shutil.copy(f, tmp_path / n) for f, n in zip(ca.issue(), ("cert", "key")))
    server = make_server().start("--listen", "tls:127.0.0.1:0", "--tls-cert", str(cert), "--tls-key", str(key))
    old = remote.fingerprint(server)
    c = remote.connect(server, "stays")
    for f, name in zip(ca.issue(), ("cert", "key")):
        shutil.copy(f, tmp_path / name)
    os.kill(server.pid, signal.SIGHUP)
    new = until(lambda: re.search(r"TLS certificate: (SHA256:[0-9a-f]{64})", server.output()), "it is taken").group(1)
    assert new != old
    server.ok("send", "--tls-fingerprint", new, ROOM, "x", server=remote.address(server))
    assert c.join(ROOM).type == "JOINED"
    c.close()
    with open(cert, "w") as f:
        f.write("nonsense")
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: "certificate cannot be used" in server.output(), "a bad one is refused")
    server.ok("send", "--tls-fingerprint", new, ROOM, "y", server=remote.address(server))


def test_without_tls_only_loopback_is_listened_at(make_server):
    server = make_server()
    done = subprocess.run(server.command("--listen", "0.0.0.0:0"), env=server.env(), capture_output=True, text=True,
                          timeout=harness.DEADLINE)
    assert done.returncode == 1 and "tls:HOST:PORT" in done.stderr and "--insecure" in done.stderr
    server.start("--listen", "0.0.0.0:0", "--insecure")
    plain = re.search(r"tcp:0\.0\.0\.0:(\d+)", server.ready.group(0)).group(1)
    server.ok("send", ROOM, "x", server=f"tcp:127.0.0.1:{plain}")


# --- the relay as a process ------------------------------------------------------------------------------------------


def status(pid, field):
    with open(f"/proc/{pid}/status") as f:
        return re.search(rf"^{field}:\s+(\S+)", f.read(), re.M).group(1)


def test_relay_is_confined(tls):
    assert (status(remote.relay(tls), "Seccomp"), status(remote.relay(tls), "NoNewPrivs")) == ("2", "1")


def has_bytes(pid, needle):
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            area, rights = line.split()[:2]
            start, end = (int(x, 16) for x in area.split("-"))
            if not rights.startswith("rw") or "[v" in line:
                continue
            try:
                mem.seek(start)
                found += mem.read(end - start).count(needle)
            except OSError:
                pass
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read the memory of the relay")
def test_private_key_is_in_the_memory_of_the_relay_alone(tls):
    text = remote.openssl("pkey", "-in", os.path.join(tls.state, "tls-key.pem"), "-noout", "-text")
    secret = bytes.fromhex("".join(text.split("priv:")[1].split("pub:")[0].split()).replace(":", ""))[-32:]
    both = [secret, secret[::-1]]  # as it is written, and as OpenSSL's numbers lie in memory
    os.kill(tls.pid, signal.SIGHUP)
    remote.connect(tls, "x").close()
    assert sum(has_bytes(remote.relay(tls), s) for s in both) > 0
    assert sum(has_bytes(tls.pid, s) for s in both) == 0


def test_relay_killed_loses_and_doubles_nothing(tls):
    lines = [f"line {i}" for i in range(LINES)]
    tail = tls.stream("tail", *remote.at(tls), "--json", "-n", "watcher", "--after", "0", ROOM,
                      server=remote.address(tls))
    until(lambda: "watcher" in tls.nicks(ROOM), "the watcher is there")
    r, w = os.pipe()
    sender = tls.stream("send", *remote.at(tls), "-n", "sender", ROOM, server=remote.address(tls), stdin=r)
    os.close(r)
    for part in range(3):
        os.write(w, "".join(x + "\n" for x in lines[part * LINES // 3:(part + 1) * LINES // 3]).encode())
        until(lambda: len(tail.lines) > part * LINES // 3, "some arrive")
        os.kill(remote.relay(tls), signal.SIGKILL)
    os.close(w)
    assert sender.wait() == 0, sender.stderr
    until(lambda: len(tail.messages()) >= LINES, "all arrive")
    assert texts(tail.events()) == lines
    assert texts(tls.json("history", "--after", "0", ROOM)) == lines
    assert "the TLS relay" in tls.output()


def test_server_killed_resumes_over_tls(tls):
    remember(tls, remote.fingerprint(tls))
    tail = tls.stream("tail", "--json", "-n", "watcher", ROOM, server=remote.address(tls))
    until(lambda: "watcher" in tls.nicks(ROOM), "it is there")
    port = remote.port(tls)
    tls.ok("send", ROOM, "before")
    tls.kill()
    tls.start("--listen", f"tls:127.0.0.1:{port}")
    until(lambda: "watcher" in tls.nicks(ROOM), "it is there again")
    tls.ok("send", ROOM, "after")
    until(lambda: texts(tail.events()) == ["before", "after"], "both arrive")


# --- strangers ---------------------------------------------------------------------------------------------------------


def closed(sock):
    """The other side has ended the connection."""
    sock.settimeout(harness.DEADLINE)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_garbage_and_plain_records_are_let_go(tls):
    hello = wire.encode("HELLO", version=1, strict=1, transports=bytes([wire.TCP]), nick="x", token=wire.NO_TOKEN,
                        producer=0, client="", cursors=b"", input=b"")
    for data in (os.urandom(4096), hello, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(70000)):
        s = remote.bare(tls)
        try:
            s.sendall(data)
        except ConnectionError:
            pass
        assert closed(s)
        s.close()
    far_ok(tls, "send", ROOM, "still here")


def test_slow_strangers_stall_nobody(tls):
    """Half a handshake each, from other addresses: more than there are places."""
    partial = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    held = []
    for i in range(300):
        s = remote.bare(tls, source=f"127.0.{1 + i // 12}.{1 + i % 12}")
        s.sendall(partial[:1 + i % len(partial)])
        held.append(s)
    before = len(tls.json("history", ROOM)) if tls.json("rooms") else 0
    tls.ok("send", ROOM, "local")
    far_ok(tls, "send", ROOM, "far")  # the oldest of them made room
    assert len(texts(tls.json("history", ROOM))) == before + 2
    ended = 0
    for s in held:
        s.setblocking(False)
        try:
            ended += s.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionError:
            ended += 1
        s.close()
    assert ended >= 300 - 256


def test_one_address_has_only_so_many_handshakes(tls):
    held = [remote.bare(tls, source="127.0.0.9") for _ in range(16)]
    with remote.bare(tls, source="127.0.0.9") as one_more:
        assert closed(one_more)
    for s in held:
        s.close()

    def enters():
        try:
            return remote.connect(tls, "x", source="127.0.0.9").close() is None
        except OSError:
            return False
    until(enters, "later there is room again")


def test_what_was_said_before_the_farewell_still_arrives(tls):
    c = remote.connect(tls, "halfway")
    room = c.join(ROOM).room
    for i in range(50):
        c.post(room, f"n{i}")
    c.send(wire.encode("BYE", code=0, text=""))
    got = c.until_end()
    c.close()
    assert [r.text for r in got if r.type == "MESSAGE"] == [f"n{i}" for i in range(50)]
    assert got[-1].type == "BYE"


def test_close_notify_ends_the_session_at_once(tls):
    c = remote.connect(tls, "polite")
    c.join(ROOM)
    assert "polite" in tls.nicks(ROOM)
    c.sock.settimeout(harness.DEADLINE)
    try:
        c.sock.unwrap()  # says close_notify, waits for that of the server
    except ssl.SSLError as e:  # what was on its way to us, before it
        assert e.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"
    c.sock.close()
    # The place in the room is kept for a while, the connection is not.
    until(lambda: hub_sockets(tls) == 0, "the hub has closed it")


def hub_sockets(server):
    """Connections that the relay has with the hub: its socketpairs, apart from the channel."""
    with open("/proc/net/unix") as f:
        inodes = {line.split()[6] for line in f if len(line.split()) == 7}
    own = [what for what in harness.fds(remote.relay(server)).values() if what.startswith("socket:")]
    return len([w for w in own if w[8:-1] in inodes]) - 1


# --- load ------------------------------------------------------------------------------------------------------------------


def rss(pid):
    return int(status(pid, "VmRSS"))


@pytest.mark.skipif(os.geteuid() != 0, reason="the relay's descriptors are for root to see")
def test_bursts_both_ways_leave_nothing_behind(tls):
    lines = [f"{i} " + "x" * 1000 for i in range(3000)]
    remote.connect(tls, "warm").close()
    relay = remote.relay(tls)
    until(lambda: hub_sockets(tls) == 0, "it is gone")
    before, memory = len(harness.fds(relay)), None
    for round_ in range(3):
        room = f"#burst{round_}"
        tails = [tls.stream("tail", *remote.at(tls), "--json", "-C", str(len(lines)), "-n", f"t{i}", room,
                            server=remote.address(tls)) for i in range(3)]
        until(lambda: len(tls.nicks(room)) == 3, "they listen")
        far_ok(tls, "send", room, "-", input="\n".join(lines) + "\n")
        for t in tails:
            assert t.wait() == 0, t.stderr
            assert texts(t.events()) == lines
        memory = memory or rss(relay)
    assert rss(relay) < memory + 8192, "its memory does not grow with what it carries"
    until(lambda: len(harness.fds(relay)) == before, "its descriptors are given back")


@pytest.mark.skipif(os.geteuid() != 0, reason="the relay's descriptors are for root to see")
def test_a_reader_that_does_not_read_costs_a_bounded_amount(tls):
    c = remote.connect(tls, "sleeper")
    room = c.join(ROOM).room
    relay = remote.relay(tls)
    before = rss(relay)
    tls.ok("send", ROOM, "-", input=("x" * 30000 + "\n") * 1000)  # 30 MB that nobody takes
    assert rss(relay) < before + 4096
    got = 0
    while got < 1000:
        got += c.next().type == "MESSAGE"
    c.post(room, "awake")
    assert c.until("MESSAGE", text="awake")
    c.close()


def test_connections_come_and_go_without_leaving_descriptors(tls):
    remote.connect(tls, "warm").close()
    hub = until(lambda: harness.settled(lambda: len(harness.fds(tls.pid))), "settles")
    for i in range(60):
        remote.connect(tls, f"n{i}").close()
        remote.wrap(remote.bare(tls)).close()
        remote.bare(tls).close()
    until(lambda: len(harness.fds(tls.pid)) <= hub, "the hub has as many descriptors as before")


def test_connecting_is_possible_while_the_relay_is_stopped(tls):
    """Its backlog keeps them, and local people notice nothing."""
    relay = remote.relay(tls)
    os.kill(relay, signal.SIGSTOP)
    try:
        s = socket.create_connection(("127.0.0.1", remote.port(tls)))
        tls.ok("send", ROOM, "local")
    finally:
        os.kill(relay, signal.SIGCONT)
    s.settimeout(harness.DEADLINE)
    c = wire.Client(remote.wrap(s))
    assert c.hello("patient", transports=[wire.TCP]).type == "WELCOME"
    c.close()


# --- the rest of the commands ----------------------------------------------------------------------------------------


def test_bot_answers_over_tls(tls):
    bot = tls.stream("bot", *remote.at(tls), "-n", "echo", ROOM, "--", "echo", "heard", server=remote.address(tls))
    until(lambda: "echo" in tls.nicks(ROOM), f"the bot is there: {bot.stderr}")
    tls.ok("send", ROOM, "hello")
    until(lambda: "heard" in texts(tls.json("history", ROOM)), "it answers")


def test_bench_measures_a_server_over_tls(tls):
    done = tls.run("bench", "latency", "--rounds", "20", "--json", *remote.at(tls), server=remote.address(tls))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["case"]["transport"] == "tcp"
