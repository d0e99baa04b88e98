"""The chat without a terminal: a filter that says its input and prints what it hears."""

import fcntl
import os
import re
import signal
import subprocess

import pytest

import harness
from harness import PARLEY
from terminal import CTRL_C, CTRL_D, heard


def piped(chats, nick, input, *args, **env):
    done = subprocess.run([PARLEY, "-n", nick, "-s", chats.server.address, *args], input=input.encode(),
                          env=chats.env(nick, **env), capture_output=True, timeout=harness.DEADLINE)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_pipe_in_and_out(server, chats):
    code, out, err = piped(chats, "alice", "one\n/me two\n/join #dev\nthree\n/names\nlast, no newline")
    assert code == 0
    assert re.fullmatch(r"\d\d:\d\d <alice> one\n\d\d:\d\d \* alice two\n"
                        r"\d\d:\d\d <alice> three\n-- #dev: @alice \(1 here\)\n"
                        r"\d\d:\d\d <alice> last, no newline\n", out), out
    assert all(line.startswith("parley: ") for line in err.splitlines())
    assert "\033" not in out + err
    heard(server, "one", "two")
    heard(server, "three", "last, no newline", room="#dev")


def test_refused_line_is_an_exit_code(server, chats):
    code, out, err = piped(chats, "alice", "fine\nnot \033 fine\n")
    assert code == 1
    assert "<alice> fine" in out and "parley: not sent: " in err


@pytest.mark.parametrize("args, said", [
    (["#no,t a room"], '"#no,t a room" is no room: a character that is not allowed there'),
    (["#"], '"#" is no room: empty'),
    (["#" + "x" * 100], "is no room: longer than 72 bytes"),
    (["-n", "two words"], '--nick "two words": a character that is not allowed there'),
    (["-n", "x" * 33], f'--nick "{"x" * 33}": longer than 32 bytes'),
    (["-W", "3"], "the chat takes no --timeout; see parley --help\n"),
], ids=lambda a: a[-1][:12] if isinstance(a, list) else "")
def test_mistakes_of_usage(server, chats, args, said):
    code, out, err = piped(chats, "alice", "hello\n", *args)
    assert code == 2 and said in err and err.count("\n") == 1 and out == "", err


def test_many_lines_through_a_pipe(server, chats):
    lines = [f"line {i} " + "x" * (i % 50) for i in range(5000)]
    code, out, err = piped(chats, "alice", "".join(f"{line}\n" for line in lines))
    assert code == 0, err
    assert [line.split("> ", 1)[1] for line in out.splitlines()] == lines


def test_file_and_dev_null_as_input(server, chats):
    path = os.path.join(server.dir, "lines")
    with open(path, "w") as f:
        f.write("from a file\n" + "y" * 70000 + "\nand on\n")
    for source, said in ((path, ["from a file", "and on"]), ("/dev/null", [])):
        with open(source) as f:
            done = subprocess.run([PARLEY, "-n", "alice", "-s", server.address], stdin=f,
                                  env=chats.env("alice"), capture_output=True, timeout=harness.DEADLINE)
        assert done.returncode == (1 if said else 0)  # one line was too long
        texts = re.findall(r"<alice> (.*)$", done.stdout.decode(), re.M)
        assert texts[-len(said):] == said if said else True
    heard(server, "from a file", "and on")


def test_closed_input_and_output(server, chats):
    command = f"{PARLEY} -n alice -s {server.address}"
    for redirect in ("<&-", "</dev/null >&-", "</dev/null | head -c 0"):
        done = subprocess.run(["sh", "-c", f"{command} {redirect}"], env=chats.env("alice"),
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.DEADLINE)
        assert done.returncode in (0, 1), done.stderr


def test_output_that_cannot_be_written_is_told(server, chats):
    def ends(stdout):
        """What becomes of a chat whose input stays open."""
        r, w = os.pipe()
        os.write(w, b"hello\n")  # before: it may end at its first line of output
        with harness.started([PARLEY, "-n", "alice", "-q", "-s", server.address], stdin=r, env=chats.env("alice"),
                             stdout=stdout, stderr=subprocess.PIPE, text=True) as p:
            os.close(stdout)
            os.close(r)
            err = p.communicate(timeout=harness.DEADLINE)[1]
            os.close(w)
            return p.returncode, [line for line in err.splitlines() if "acknowledged" not in line]
    full = "parley: cannot write to standard output (ENOSPC)"
    assert ends(os.open("/dev/full", os.O_WRONLY)) == (1, [full])
    r, w = os.pipe()
    os.close(r)
    assert ends(w) == (141, [])


def test_shared_pipe_stays_blocking(server, chats):
    r, w = os.pipe()
    with harness.started([PARLEY, "-n", "alice", "-s", server.address], stdin=r, env=chats.env("alice"),
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        os.write(w, b"hello\n")
        assert b"hello" in p.stdout.readline()
        assert not fcntl.fcntl(r, fcntl.F_GETFL) & os.O_NONBLOCK
        os.close(w)
        assert p.wait(harness.DEADLINE) == 0
    os.close(r)


def test_filter_is_interrupted_by_signals(server, chats):
    for sig in (signal.SIGINT, signal.SIGTERM):
        r, w = os.pipe()
        with harness.started([PARLEY, "-n", "alice", "-s", server.address], stdin=r, env=chats.env("alice"),
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
            os.write(w, b"hello\n")
            assert b"hello" in p.stdout.readline()
            p.send_signal(sig)
            assert p.wait(harness.DEADLINE) in (-sig, 128 + sig)
        os.close(r)
        os.close(w)


def test_dumb_terminal_is_lines_only(server, chats):
    a = chats.start([PARLEY, "-n", "alice", "-s", server.address], chats.env("alice", TERM="dumb"))
    a.sees("/help")
    a.send("hello\n")
    a.sees("<alice> hello")
    chats.say("bob", "Alice, look")
    a.sees(">> <bob> Alice, look")
    a.send("/names\n")
    a.sees("-- #lobby: @alice (1 here)")
    assert b"\033" not in a.raw
    assert "> " not in a.text().splitlines()[-1][:8]
    a.send(CTRL_C)
    a.sees("Ctrl-C again")
    a.send(CTRL_D)
    assert a.wait() == 0
