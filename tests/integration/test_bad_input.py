"""What cannot work is refused: one clear line, the right exit code, and nobody else notices."""

import os
import socket
import subprocess

import pytest

import harness
import parleywire as wire


def one_line(text, program):
    """An error is one line that starts with the program's name."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith(program + ": "), text
    return lines[0]


@pytest.fixture
def bystander(server):
    """Somebody in the room, for whom everything goes on."""
    tail = server.stream("tail", "--json", "-q", "--after", "0", "#lobby")
    server.ok("send", "#lobby", "before")
    yield tail
    server.ok("send", "#lobby", "after")
    harness.until(lambda: tail.messages() and tail.messages()[-1]["text"] == "after",
                  "the bystander goes on")


# --- clients -------------------------------------------------------------------------------------------


def test_unknown_transport(server, bystander):
    done = server.run("send", "-t", "pigeon", "#lobby", "hi")
    assert done.returncode == 2
    assert "pigeon" in one_line(done.stderr, "parley")


def test_unknown_option_and_command(server):
    for args in (["send", "--no-such-option", "#lobby", "hi"], ["no-such-command"], ["send"]):
        done = server.run(*args)
        assert done.returncode == 2, args
        one_line(done.stderr, "parley")


@pytest.mark.parametrize("nick", ["x" * 33, "a b", "#room", "zero\u200bwidth", "bi\u202edi"])
def test_nick_that_cannot_be(server, bystander, nick):
    done = server.run("send", "-n", nick, "#lobby", "hi")
    assert done.returncode in (1, 2, 77), done.stderr
    assert "nick" in one_line(done.stderr, "parley")


def test_room_that_cannot_be(server, bystander):
    for room in ("#" + "x" * 72, "#a b"):
        done = server.run("send", room, "hi")
        assert done.returncode in (1, 2, 77), done.stderr
        one_line(done.stderr, "parley")


@pytest.mark.parametrize("text", [b"\xff", b"abc\xc3", b"\xed\xa0\x80", b"esc \x1b[31m"])
def test_text_that_is_not_text(server, bystander, text):
    done = server.run("send", "#lobby", "-", input=text + b"\n")
    assert done.returncode == 1
    one_line(done.stderr, "parley")


def test_line_of_33_kib(server, bystander):
    done = server.run("send", "#lobby", "-", input="x" * (33 * 1024) + "\n")
    assert done.returncode == 1
    assert "32768" in one_line(done.stderr, "parley")


@pytest.mark.parametrize("address", ["unix:{dir}/nobody", "tcp:127.0.0.1:{port}"])
def test_no_server_there(server, free_port, address):
    address = address.format(dir=server.dir, port=free_port)
    done = server.run("send", "#lobby", "hi", server=address)
    assert done.returncode == 69
    line = one_line(done.stderr, "parley")
    assert address in line and ("ENOENT" in line or "ECONNREFUSED" in line)


@pytest.mark.parametrize("address", ["nonsense:/x", "tcp:127.0.0.1", "tcp:127.0.0.1:99999", "unix:"])
def test_address_that_is_none(server, address):
    for command in (["send", "#lobby", "hi"], ["#lobby"]):
        done = server.run(*command, server=address)
        assert done.returncode == 2, done.stderr
        one_line(done.stderr, "parley")


def test_address_too_long_for_a_socket(server):
    done = server.run("send", "#lobby", "hi", server="unix:/tmp/" + "x" * 120)
    assert done.returncode in (1, 2, 69)
    assert "107" in one_line(done.stderr, "parley")


def test_other_protocol_version(server, bystander):
    with wire.Client.dial(server.socket) as c:
        answer = c.hello("old", version=9)
        assert (answer.type, answer.code) == ("REFUSE", wire.CODES["VERSION"])
        assert "1" in answer.text


def test_noise_instead_of_a_hello(server, bystander):
    for noise in (b"\0" * 4096, b"GET / HTTP/1.0\r\n\r\n", os.urandom(5000)):
        with wire.Client.dial(server.socket) as c:
            try:
                c.send(noise)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert len(c.until_end()) <= 1


# --- servers -------------------------------------------------------------------------------------------


def refused(server, *options, socket_path=None, state=None, runtime=None):
    """A parleyd that must not start: (exit code, its one line)."""
    command = [harness.PARLEYD, "--socket", socket_path or os.path.join(server.dir, "other"),
               "--runtime-dir", runtime or os.path.join(server.dir, "other-run"), "--state-dir",
               state or os.path.join(server.dir, "other-state"), *options]
    done = subprocess.run(command, env=server.env(), capture_output=True, timeout=harness.DEADLINE,
                          stdin=subprocess.DEVNULL, text=True)
    return done.returncode, one_line(done.stderr, "parleyd")


def test_second_server_on_the_same_socket(server, bystander):
    code, line = refused(server, socket_path=server.socket)
    assert code == 1
    assert server.socket in line


def test_second_server_on_the_same_directories(server, bystander):
    code, line = refused(server, runtime=server.runtime)
    assert code == 1 and server.runtime in line
    code, line = refused(server, state=server.state)
    assert code == 1 and server.state in line


def test_port_in_use(server, bystander):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = refused(server, "--listen", f"127.0.0.1:{port}")
    assert code == 1
    assert str(port) in line and "EADDRINUSE" in line


def test_state_directory_that_cannot_be_written(server, bystander):
    blocked = os.path.join(server.dir, "a-file")
    with open(blocked, "w"):
        pass
    code, line = refused(server, state=blocked + "/state")
    assert code == 1
    assert blocked in line and "ENOTDIR" in line


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_state_directory_without_permission(server):
    closed = os.path.join(server.dir, "closed")
    os.mkdir(closed, 0o500)
    code, line = refused(server, state=closed + "/state")
    assert code in (1, 77)
    assert closed in line and "EACCES" in line


def test_socket_path_of_108_bytes(server, bystander):
    path = server.dir + "/" + "s" * (108 - len(server.dir) - 1)
    assert len(path) == 108
    code, line = refused(server, socket_path=path)
    assert code in (1, 2)
    assert "107" in line
    fits = path[:-1]
    other = subprocess.Popen([harness.PARLEYD, "--socket", fits, "--runtime-dir", server.dir + "/r2",
                              "--state-dir", server.dir + "/s2"], env=server.env(),
                             stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert f"ready unix:{fits}" in other.stderr.readline()
    finally:
        other.terminate()
        assert other.wait(harness.DEADLINE) == 0
        other.stderr.close()


@pytest.mark.parametrize("options", [["--no-such-option"], ["--workers", "many"], ["--workers", "-1"],
                                     ["--sync", "sometimes"], ["--place", "moon"], ["--wait", "long"],
                                     ["--transports", "fifo,pigeon"], ["--listen", "nowhere"],
                                     ["--max-clients", "0x"], ["operand"],
                                     ["--config", "/nonexistent/parleyd.conf"], ["--yes"]])
def test_option_that_makes_no_sense(server, options):
    code, line = refused(server, *options)
    assert code == 2, line


def test_file_in_the_place_of_the_socket_is_not_removed(server):
    path = os.path.join(server.dir, "precious")
    with open(path, "w") as f:
        f.write("precious")
    code, line = refused(server, socket_path=path)
    assert code == 1 and path in line
    with open(path) as f:
        assert f.read() == "precious"


@pytest.mark.parametrize("option", [["--workers=many"], ["--workers", "many"], ["--socket="]])
def test_the_option_that_makes_no_sense_is_named(server, option):
    code, line = refused(server, *option)
    assert code == 2 and option[0].split("=")[0] + " " in line and "parleyd: parleyd" not in line


@pytest.mark.parametrize("text,place,says", [
    ("[server]\nworkers = 1\n", ":2:", "no sections here ([server])"),
    ("workers = 1\nno-such-key = 1\n", ":2:", "unknown key 'no-such-key'"),
    ("# a remark\nworkers = many\n", ":2:", "workers = many: expected a number"),
    ("\ntls-cert = /" + "x" * 300 + "\nworkers = 1\n", ":2:", "longer than"),
    ("workers\n", ":1:", "not `key = value`")], ids=["section", "key", "value", "long", "line"])
def test_line_of_the_configuration_that_makes_no_sense_is_named(server, text, place, says):
    path = os.path.join(server.dir, "parleyd.conf")
    with open(path, "w") as f:
        f.write(text)
    code, line = refused(server, "--config", path)
    assert code == 2 and f"{path}{place} " in line and says in line


def test_configuration_that_cannot_be_read_is_an_error_also_where_it_may_be_missing(server):
    """A directory cannot be read by root either."""
    code, line = refused(server, "--config", server.dir)
    assert code == 2 and f"cannot read --config {server.dir} (EISDIR)" in line
    home = os.path.join(server.dir, "home", ".config", "parley")
    os.makedirs(os.path.join(home, "parleyd.conf"))
    code, line = refused(server)
    assert code == 2 and f"cannot read {home}/parleyd.conf (EISDIR)" in line
    os.makedirs(os.path.join(home, "parley.conf"))
    done = server.run("rooms")
    assert done.returncode == 2
    assert f"cannot read {home}/parley.conf (EISDIR)" in one_line(done.stderr, "parley")


def test_long_line_of_a_clients_configuration_is_named(server):
    home = os.path.join(server.dir, "home", ".config", "parley")
    os.makedirs(home)
    with open(os.path.join(home, "parley.conf"), "w") as f:
        f.write("quiet = no\nnotify = echo " + "x" * 300 + "\n")
    done = server.run("rooms")
    assert done.returncode == 2
    line = one_line(done.stderr, "parley")
    assert f"{home}/parley.conf:2: " in line and "longer than" in line


def test_usage_of_file_is_one_sentence_after_another(server):
    for words in (["put", "#lobby"], ["get", "#lobby"], ["list", "#lobby", "x"], ["fetch", "#lobby", "1"]):
        done = server.run("file", *words)
        assert done.returncode == 2 and "?." not in one_line(done.stderr, "parley")
