"""parley file, and /file in the chat: by every transport, interrupted and gone on with, on a terminal."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import harness
from harness import PARLEY, TRANSPORTS, until
from test_files import content, data_dir, digest, stored, tcp_server, transfers
from terminal import Terminal


class Gate:
    """A TCP proxy whose second connection (that of a file) lets only so many bytes pass to each side until it is
    opened: so a transfer stands still in its middle for as long as a test likes."""

    def __init__(self, target, passes):
        self.target, self.passes = target, passes
        self.open = threading.Event()
        self.dropped = False
        self.swallows = False  # what a file's connection carries to a server that is gone
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "tcp:127.0.0.1:%d" % self.listener.getsockname()[1]
        self.count = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            limit = self.passes if self.count > 1 else None
            try:
                b = socket.create_connection(self.target)
            except OSError:
                a.close()
                continue
            for x, y in ((a, b), (b, a)):
                threading.Thread(target=self._pass, args=(x, y, limit), daemon=True).start()

    def _pass(self, x, y, limit):
        of_file = limit is not None
        try:
            while True:
                if limit == 0:
                    self.open.wait()
                    if self.dropped:
                        break
                    limit = None
                data = x.recv(min(65536, limit or 65536))
                if not data:
                    break
                try:
                    y.sendall(data)
                except OSError:
                    if not (self.swallows and of_file):
                        raise
                if limit:
                    limit -= len(data)
        except OSError:
            pass
        if self.swallows and of_file and not self.open.is_set():
            return
        for s in (x, y):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def drop(self):
        """End the connections that stand still; later ones pass."""
        self.dropped = True
        self.open.set()
        self.passes = None

    def close(self):
        self.drop()
        self.listener.close()


@pytest.fixture
def gate(make_server, free_port):
    """gate(n): a server, and a way to it that lets n bytes of the first file pass."""
    made = []
    server = tcp_server(make_server, free_port)

    def make(passes):
        made.append(Gate(server.tcp, passes))
        return server, made[-1]
    yield make
    for g in made:
        g.close()


def make_file(server, name, data):
    path = os.path.join(server.dir, name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def out_dir(server):
    path = os.path.join(server.dir, "out")
    os.makedirs(path, exist_ok=True)
    return path


# --- the command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_file_goes_there_and_back_by_every_transport(make_server, free_port, transport):
    server = tcp_server(make_server, free_port)
    data = content(300_000)
    path = make_file(server, "photo 1.jpg", data)
    to = "tcp:127.0.0.1:%d" % free_port if transport == "tcp" else None
    tail = server.stream("tail", "--json", "#lobby")
    until(lambda: server.members("#lobby") == 1, "the reader is there")
    sent = server.json("file", "put", "-t", transport, "#lobby", path, server=to)[0]
    until(lambda: tail.events("file"), "the file is told")
    told = tail.events("file")[0]
    for event in (sent, told):
        assert (event["room"], event["name"], event["size"], event["hash"]) == (
            "#lobby", "photo 1.jpg", 300_000, digest(data).hex())
    assert told["seq"] == sent["seq"]
    out = server.ok("file", "get", "-t", transport, "-o", out_dir(server), "#lobby", str(sent["seq"]), server=to)
    assert out == os.path.join(out_dir(server), "photo 1.jpg") + "\n"
    assert read(out[:-1]) == data
    assert [f["name"] for f in server.json("file", "list", "#lobby", server=to)] == ["photo 1.jpg"]
    assert os.listdir(out_dir(server)) == ["photo 1.jpg"]


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_small_files(server, size):
    path = make_file(server, "x", content(size))
    server.ok("file", "put", "#lobby", path)
    server.ok("file", "get", "-o", os.path.join(server.dir, "y"), "#lobby", "x")
    assert read(os.path.join(server.dir, "y")) == content(size)


def test_a_sparse_file_is_sent_whole(server):
    path = os.path.join(server.dir, "sparse")
    with open(path, "wb") as f:
        f.truncate(40_000_000)
        f.seek(20_000_000)
        f.write(b"here")
    server.ok("file", "put", "#lobby", path)
    server.ok("file", "get", "-o", path + "2", "#lobby", "sparse")
    assert subprocess.run(["cmp", path, path + "2"]).returncode == 0


def test_nothing_is_overwritten(server):
    path = make_file(server, "a.tar.gz", b"hello")
    server.ok("file", "put", "#lobby", path)
    names = [server.ok("file", "get", "-o", out_dir(server), "#lobby", "a.tar.gz")[:-1] for _ in range(3)]
    assert [os.path.basename(n) for n in names] == ["a.tar.gz", "a.tar (2).gz", "a.tar (3).gz"]
    done = server.run("file", "get", "-o", path, "#lobby", "a.tar.gz")
    assert done.returncode == 1 and "nothing is overwritten" in done.stderr
    os.symlink("/nowhere", os.path.join(server.dir, "link"))
    assert server.run("file", "get", "-o", os.path.join(server.dir, "link"), "#lobby", "a.tar.gz").returncode == 1


@pytest.mark.parametrize("put_there", [os.link, os.symlink])
def test_a_part_that_is_another_file_is_left_alone(server, put_there):
    data = content(1000)
    server.ok("file", "put", "#lobby", make_file(server, "x", data))
    precious = make_file(server, "precious", b"do not write here" * 1000)
    part = f"x.{hashlib.blake2b(data, digest_size=32).hexdigest()[:16]}.part"
    put_there(precious, os.path.join(out_dir(server), part))
    server.ok("file", "get", "-o", out_dir(server), "#lobby", "x")
    assert read(os.path.join(out_dir(server), "x")) == data
    assert read(precious) == b"do not write here" * 1000
    assert sorted(os.listdir(out_dir(server))) == ["x", part]


def test_output_is_for_people_and_for_scripts(server):
    path = make_file(server, "x\x1b[2J\n.txt", b"hello")
    assert server.ok("file", "put", "#lobby", path) == "x_[2J_.txt (5 bytes) is number 1 in #lobby\n"
    assert server.ok("file", "put", "-q", "#lobby", path) == ""
    lines = server.ok("file", "list", "#lobby").splitlines()
    assert lines[0].split() == ["NUMBER", "SIZE", "FROM", "SENT", "NAME"] and len(lines) == 3
    assert re.match(r" +1 +5 bytes  \S+ .* x_\[2J_.txt$", lines[1])
    assert "sent the file x_[2J_.txt (5 bytes), number 1" in server.ok("history", "#lobby")


@pytest.mark.parametrize("args, code, word", [
    (["put", "#lobby", "/nowhere"], 1, "ENOENT"),
    (["put", "#lobby", "/tmp"], 1, "EISDIR"),
    (["put", "#lobby", "/dev/null"], 1, "not a file"),
    (["get", "#lobby", "nope"], 1, "no such file"),
    (["get", "#lobby", "12"], 1, "no such file"),
    (["get", "#lobby", "a" * 300], 1, "that long"),
    (["put", "#lobby"], 2, "which file"),
    (["get", "#lobby"], 2, "which file"),
    (["list", "#lobby", "x"], 2, "which room"),
    (["take", "#lobby", "x"], 2, "put, get or list"),
    (["put", "lobby", "/etc/passwd"], 2, "no room"),
    (["put", "-o", "x", "#lobby", "/etc/passwd"], 2, "--output is for get"),
])
def test_errors_say_what_and_have_their_code(server, args, code, word):
    done = server.run("file", *args)
    assert done.returncode == code and word in done.stderr, done.stderr


def test_without_a_server_it_says_so(make_server):
    server = make_server()
    assert server.run("file", "list", "#lobby").returncode == 69


def test_a_fifo_is_not_waited_for(server):
    path = os.path.join(server.dir, "fifo")
    os.mkfifo(path)
    assert server.run("file", "put", "#lobby", path).returncode == 1


# --- interrupted ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_sender_that_ends_goes_on_the_next_time(gate, how):
    server, way = gate(150_000)
    data = content(400_000)
    path = make_file(server, "x", data)
    first = server.stream("file", "put", "#lobby", path, server=way.address)
    until(lambda: stored(server, ".data") and
          os.path.getsize(os.path.join(data_dir(server), stored(server, ".data")[0])) > 100_000, "half of it is there")
    os.kill(first.pid, how)
    assert first.wait() == (130 if how == signal.SIGINT else -how)
    way.drop()
    until(lambda: not transfers(server), "the server has noticed")
    before = stored(server, ".data")
    server.ok("file", "put", "#lobby", path, server=way.address)
    assert stored(server, ".data") == before  # the same upload
    assert [f["size"] for f in server.json("file", "list", "#lobby")] == [len(data)]
    server.ok("file", "get", "-o", path + "2", "#lobby", "x")
    assert read(path + "2") == data


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_receiver_that_ends_goes_on_the_next_time(gate, how):
    server, way = gate(150_000)
    data = content(400_000)
    server.ok("file", "put", "#lobby", make_file(server, "x", data))
    out = out_dir(server)
    first = server.stream("file", "get", "-o", out, "#lobby", "x", server=way.address)
    until(lambda: os.listdir(out) and os.path.getsize(os.path.join(out, os.listdir(out)[0])) > 100_000, "half of it is there")
    os.kill(first.pid, how)
    assert first.wait() == (130 if how == signal.SIGINT else -how)
    part = os.listdir(out)
    assert len(part) == 1 and re.match(r"x\.[0-9a-f]{16}\.part$", part[0])
    way.open.set()
    with open(os.path.join(out, part[0]), "r+b") as f:  # what is there is gone on with, and checked
        f.write(b"?")
    done = server.ok("file", "get", "-o", out, "#lobby", "x", server=way.address)
    assert os.listdir(out) == ["x"] and read(done[:-1]) == data


def test_a_part_of_another_receiver_is_left_alone(gate):
    server, way = gate(150_000)
    data = content(400_000)
    server.ok("file", "put", "#lobby", make_file(server, "x", data))
    out = out_dir(server)
    first = server.stream("file", "get", "-o", out, "#lobby", "x", server=way.address)
    until(lambda: os.listdir(out), "it has begun")
    assert server.ok("file", "get", "-o", out, "#lobby", "x") == os.path.join(out, "x") + "\n"
    way.open.set()
    assert first.wait() == 0
    assert sorted(os.listdir(out)) == ["x", "x (2)"]
    assert read(os.path.join(out, "x")) == read(os.path.join(out, "x (2)")) == data


@pytest.mark.parametrize("direction", ["put", "get"])
def test_the_server_is_killed_in_the_middle(gate, direction):
    """The command goes on by itself, and the file is there once."""
    server, way = gate(150_000)
    data = content(400_000)
    path = make_file(server, "x", data)
    out = out_dir(server)
    if direction == "get":
        server.ok("file", "put", "#lobby", path)
        command = server.stream("file", "get", "-o", out, "#lobby", "x", server=way.address)
        until(lambda: os.listdir(out), "it has begun")
    else:
        command = server.stream("file", "put", "#lobby", path, server=way.address)
        until(lambda: transfers(server), "it has begun")
    server.kill()
    way.open.set()
    server.start(*server.options)
    assert command.wait() == 0, command.stderr
    assert len(server.json("file", "list", "#lobby")) == 1
    assert len([r for r in server.json("history", "--last", "1000", "#lobby") if r["type"] == "file"]) == 1
    if direction == "get":
        assert os.listdir(out) == ["x"] and read(os.path.join(out, "x")) == data


def test_a_killed_transfer_is_asked_for_again(gate):
    """Whether the end of its socket or the server's word for it comes first: the command goes on by itself."""
    server, way = gate(100_000)
    data = content(600_000)
    command = server.stream("file", "put", "#lobby", make_file(server, "x", data), server=way.address)
    for n in range(1, 5):
        (process,) = until(lambda: stored(server, ".data") and os.path.getsize(
            os.path.join(data_dir(server), stored(server, ".data")[0])) > n * 90_000 and transfers(server),
            "a part of it is there")
        os.kill(process, signal.SIGKILL)
        until(lambda: process not in transfers(server), "it is gone")
    way.open.set()
    assert command.wait() == 0, command.stderr
    (said,) = [r for r in server.json("history", "--last", "1000", "#lobby") if r["type"] == "file"]
    assert read(server.ok("file", "get", "-o", out_dir(server), "#lobby", str(said["seq"]))[:-1]) == data


def test_what_an_earlier_run_had_brought_is_said_at_once(make_server, free_port):
    """All of it came, and nobody was there any more to say it: the next run is answered by the FILE record alone."""
    server = tcp_server(make_server, free_port)
    path = make_file(server, "x", content(5000))
    server.ok("file", "put", "#lobby", path)
    server.kill()
    (info,) = stored(server, ".info")
    with open(os.path.join(data_dir(server), info), "r+b") as f:
        text = f.read()
        f.truncate(text.index(b"said "))
    server.start(*server.options)
    assert server.ok("file", "put", "#lobby", path).startswith("x (")
    assert stored(server, ".info") == [info]


def test_what_was_moved_for_a_server_that_is_gone_is_asked_for(gate):
    """The session is there again while bytes move still, which nobody waits for; they all go, and there is no answer."""
    server, way = gate(150_000)
    way.swallows = True
    data = content(20_000_000)
    command = server.stream("file", "put", "#lobby", make_file(server, "x", data), server=way.address)
    until(lambda: any(os.path.getsize(os.path.join(data_dir(server), f)) for f in stored(server, ".data")), "it has begun")
    server.kill()
    server.start(*server.options)
    until(lambda: server.members("#lobby"), "the sender's session is there again")
    way.open.set()
    assert command.wait() == 0, command.stderr
    assert len([r for r in server.json("history", "--last", "1000", "#lobby") if r["type"] == "file"]) == 1
    server.ok("file", "get", "-o", out_dir(server), "#lobby", "x")
    assert read(os.path.join(out_dir(server), "x")) == data


def test_killed_again_and_again_a_file_is_sent_once(make_server, free_port):
    """The hub dies at whatever point it happens to have reached, each time a little later."""
    server = tcp_server(make_server, free_port, "--sync", "always")
    data = content(3_000_000)
    paths = [make_file(server, f"f{i}", data[i:]) for i in range(6)]
    for i, path in enumerate(paths):
        command = server.stream("file", "put", "#lobby", path, server="tcp:127.0.0.1:%d" % free_port)
        if i % 2:
            until(lambda: transfers(server) or command.process.poll() is not None, "it has begun, or is over")
        else:
            until(lambda: len(stored(server, ".info")) > i, "it was granted")
        server.kill()
        server.start(*server.options)
        assert command.wait() == 0, command.stderr
    listed = server.json("file", "list", "#lobby")
    assert [f["name"] for f in listed] == [f"f{i}" for i in range(6)]
    told = [r["name"] for r in server.json("history", "--last", "1000", "#lobby") if r["type"] == "file"]
    assert told == [f"f{i}" for i in range(6)]
    for f, path in zip(listed, paths):
        out = server.ok("file", "get", "-o", out_dir(server), "#lobby", str(f["seq"]))
        assert read(out[:-1]) == read(path)


# --- on a terminal ---------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_only(gate):
    server, way = gate(150_000)
    path = make_file(server, "x.bin", content(20_000_000))
    t = Terminal([PARLEY, "file", "put", "-s", way.address, "#lobby", path], server.env())
    t.until(lambda: re.search(r"x\.bin  \[#*\.*\] +\d+ % of 20\.0 MB", t.text()), "progress is shown")
    way.open.set()
    t.until(lambda: "x.bin (20.0 MB) is number 1 in #lobby" in t.text(), "the end is told")
    assert "% of" not in t.text()
    t.close()
    done = server.run("file", "get", "-o", path + "2", "#lobby", "x.bin")
    assert done.stderr == ""


def test_the_chat_sends_fetches_and_lists(server):
    data = content(100_000)
    make_file(server, "photo.jpg", data)
    env = dict(server.env(TERM="xterm-256color"), PWD=server.dir)
    t = Terminal(["sh", "-c", f"cd {server.dir} && exec {PARLEY} -n alice"], env)
    t.until(lambda: "#lobby>" in t.text(), "the prompt")
    t.enter("/file photo.jpg")
    t.until(lambda: re.search(r"alice sent photo\.jpg \(100\.0 kB\) · /file get (\d+)", t.text()), "the file is told")
    number = re.search(r"/file get (\d+)", t.text()).group(1)
    t.enter(f"/file get {number} copy.jpg")
    t.until(lambda: "saved copy.jpg" in t.text(), "it was saved")
    assert read(os.path.join(server.dir, "copy.jpg")) == data
    t.enter("/file list")
    t.until(lambda: re.search(rf"{number}  100\.0 kB +alice  photo\.jpg", t.text()), "the list")
    t.enter("/file get nope")
    t.until(lambda: "no such file" in t.text(), "the refusal")
    t.enter("/file /nowhere")
    t.until(lambda: "ENOENT" in t.text(), "the error")
    t.enter("/quit")
    t.until(lambda: t.ended, "the end")
    t.close()


def test_the_chat_goes_on_while_a_file_moves_and_can_stop_it(gate):
    server, way = gate(150_000)
    path = make_file(server, "x.bin", content(20_000_000))
    t = Terminal([PARLEY, "-n", "alice", "-s", way.address], server.env(TERM="xterm-256color"))
    t.until(lambda: "#lobby>" in t.text(), "the prompt")
    t.enter(f"/file {path}")
    t.until(lambda: re.search(r"\(file \d+ %\)", t.text()), "the prompt says how far it is")
    t.enter("meanwhile")
    t.until(lambda: "<alice> meanwhile" in t.text(), "the conversation goes on")
    t.enter("/file stop")
    t.until(lambda: "stopped" in t.text(), "it was stopped")
    way.drop()
    t.enter(f"/file {path}")
    t.until(lambda: "alice sent x.bin" in t.text(), "it went on")
    assert len(stored(server, ".data")) == 1
    t.close()


def test_a_file_in_a_script_is_waited_for(server):
    path = make_file(server, "x", b"hello")
    done = subprocess.run(
        [PARLEY, "-s", server.address, "-n", "alice"], input=f"/file {path}\n".encode(), env=server.env(),
        capture_output=True, timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stderr
    assert [f["name"] for f in server.json("file", "list", "#lobby")] == ["x"]


def test_files_over_tls(make_server, free_port):
    server = make_server().start("--listen", f"tls:127.0.0.1:{free_port}", "--workers", "1")
    known = re.search(r"SHA256:[0-9a-f]{64}", server.output()).group(0)
    data = content(3_000_000)
    path = make_file(server, "x", data)
    way = ["-s", f"tls:127.0.0.1:{free_port}", "--tls-fingerprint", known]
    for args in (["put", *way, "#lobby", path], ["get", *way, "-o", path + "2", "#lobby", "x"]):
        done = subprocess.run([PARLEY, "file", *args], env=server.env(), capture_output=True, timeout=harness.DEADLINE)
        assert done.returncode == 0, done.stderr
    assert read(path + "2") == data


def test_a_file_goes_with_the_record_that_tells_of_it(make_server):
    server = make_server().start("--retain-size", "1M")
    server.ok("file", "put", "#lobby", make_file(server, "old", b"old"))
    server.ok("file", "put", "#other", make_file(server, "else", b"else"))

    def talk():
        server.ok("send", "#lobby", input=(b"x" * 1000 + b"\n") * 500)
        return len(stored(server, ".data")) == 1
    until(talk, "retention takes the file, too")
    assert server.json("file", "list", "#lobby") == []
    assert server.run("file", "get", "#lobby", "old").returncode == 1
    assert [f["name"] for f in server.json("file", "list", "#other")] == ["else"]
    server.ok("file", "put", "#lobby", make_file(server, "new", b"new"))
    server.stop()
    server.start(*server.options)
    assert [f["name"] for f in server.json("file", "list", "#lobby")] == ["new"]


def test_a_disk_that_is_full_is_named(server, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(bytes(1 << 20))
    server.ok("file", "put", "#lobby", str(big))
    part = re.escape(str(tmp_path / "got")) + r"\.[0-9a-f]{16}\.part"
    done = subprocess.run(["bash", "-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "bash",
                           *server.client("file", "get", "-o", str(tmp_path / "got"), "#lobby", "big")],
                          env=server.env(), capture_output=True, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 1 and re.fullmatch(f"parley: {part}: cannot write \\(EFBIG\\); what came is kept there\n",
                                                 done.stderr), done.stderr
    server.ok("file", "get", "-o", str(tmp_path / "got"), "#lobby", "big")
    assert (tmp_path / "got").read_bytes() == big.read_bytes()
