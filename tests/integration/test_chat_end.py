"""How the chat ends, stops and goes on; losing the server."""

import os
import re
import signal
import time

import pytest

import harness
from harness import PARLEY, until
from terminal import CTRL_C, CTRL_D, CTRL_U, CTRL_Z, DEADLINE, heard

ANSWER_SECONDS = 1  # so long the chat waits for the terminal's answers: ANSWER_NS in client/edit.c


def test_ctrl_z_and_fg(server, chats):
    sh = chats.shell("alice")
    sh.send(f"{PARLEY} -n alice\r")
    sh.sees("/help")
    sh.type("a draft")
    sh.send(CTRL_Z)
    sh.sees("Stopped")
    sh.until(lambda: sh.text().endswith("sh>"), "the shell's prompt")
    sh.send("stty -a | grep -ow -e '-\\?icanon' -e '-\\?echo'\r")
    sh.until(lambda: re.search(r"^icanon\necho$", sh.text(), re.M), "a terminal in order")
    chats.say("bob", "while away")
    sh.send("fg\r")
    sh.sees("<bob> while away")
    sh.until(lambda: sh.text().endswith("#lobby> a draft"), "the draft")
    sh.send(" finished\r")
    sh.sees("<alice> a draft finished")
    sh.send(CTRL_Z)
    sh.sees("Stopped", 2)
    sh.send("fg\r")
    sh.until(lambda: sh.text().endswith("#lobby>"), "the prompt")
    sh.send("/quit\r")
    sh.until(lambda: sh.text().endswith("sh>"), "the shell")


@pytest.mark.parametrize("way", ["/quit", "ctrl-d", "ctrl-c", "TERM", "HUP", "QUIT", "SEGV", "refused", "none"])
def test_terminal_is_as_before(server, chats, way):
    sh = chats.shell("alice")
    where = server.dir
    address = server.address
    if way == "none":
        address = "unix:/nonexistent/socket"
    options = "-t tcp" if way == "refused" else ""

    def over():
        return re.search(r"^over$", sh.text(), re.M)
    sh.send(f"cd {where}; ulimit -c 0; stty -g >before; "
            f"sh -c 'echo $$ >pid; exec {PARLEY} -n alice -s {address} {options}'; "
            f"echo code $?; stty -g >after; echo ov''er\r")
    if way not in ("refused", "none"):
        sh.sees("/help")
        sh.type("a draft")
    if way == "/quit":
        sh.send(CTRL_U)
        sh.enter("/quit")
    elif way == "ctrl-d":
        sh.send(CTRL_U + CTRL_D)
    elif way == "ctrl-c":
        sh.send(CTRL_C)
        sh.until(lambda: not sh.edited().endswith("draft"), "the line dropped")
        sh.send(CTRL_C)
        sh.sees("Ctrl-C again")
        sh.leave(over)
    elif way.isupper():
        with open(os.path.join(where, "pid")) as f:
            os.kill(int(f.read()), getattr(signal, "SIG" + way))
    sh.until(over, "the end")
    with open(os.path.join(where, "before")) as b, open(os.path.join(where, "after")) as a:
        assert b.read() == a.read()
    assert sh.raw.rfind(b"\033[?2004l") > sh.raw.rfind(b"a draft")
    code = int(re.search(r"^code (\d+)$", sh.text(), re.M).group(1))
    expected = {"/quit": 0, "ctrl-d": 0, "ctrl-c": 0, "refused": 1, "none": 69}
    assert code == (expected[way] if way in expected else 128 + getattr(signal, "SIG" + way))
    if way in ("refused", "none"):
        sh.sees("parley: ")


def test_input_flags_of_the_shell_are_left_alone(server, chats):
    a = chats.chat("alice")
    for fd in (0, 1, 2):
        with open(f"/proc/{a.child.pid}/fdinfo/{fd}") as f:
            flags = int(re.search(r"^flags:\s*(\d+)", f.read(), re.M).group(1), 8)
        assert not flags & os.O_NONBLOCK


def test_closed_window_ends_the_chat(server, chats):
    a = chats.chat("alice", "-n", "alice")
    pid = a.child.pid
    harness.hang_up(a.child)

    def over():
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    until(over, "the chat ends with its terminal", DEADLINE)
    chats.open.remove(a)
    until(lambda: not server.json("who", "#lobby"), "alice has left", DEADLINE)


def test_server_dies_and_comes_back(server, chats):
    a = chats.chat("alice", "-t", "unix")
    a.enter("before")
    a.sees("<alice> before")
    a.type("a draft")
    server.kill()
    a.sees("reconnecting in")
    a.until(lambda: re.search(r"#lobby \(reconnecting.*\)> a draft$", a.edited()), "the draft")
    a.type(" goes on")
    a.send("\r")
    a.until(lambda: "1 unsent" in a.edited(), "the line that waits")
    a.type("another draft")
    server.start(*server.options)
    a.sees("connected again")
    a.sees("<alice> a draft goes on")
    a.prompt("#lobby> another draft")
    a.send("\r")
    a.sees("<alice> another draft")
    heard(server, "before", "a draft goes on", "another draft")
    assert a.text().count("<alice> a draft goes on") == 1


def test_leaving_without_the_server_says_what_was_not_sent(server, chats):
    a = chats.chat("alice")
    server.kill()
    a.sees("reconnecting in")
    a.send("lost words\r")
    a.until(lambda: "1 unsent" in a.edited(), "the line that waits")
    a.send("/quit\r")
    assert a.wait() == 75
    a.sees("has not acknowledged")
    server.start(*server.options)


def test_answers_of_the_terminal_are_not_typed_into_the_shell(server, chats):
    """The chat asks the terminal something when it begins; here it ends before the answer comes."""
    def typed():
        """How much the shell reads of a line that says "well"; nothing if the answers were late for the chat."""
        answers, began = [], time.monotonic()
        sh = chats.start(["sh", "-c", f"{PARLEY} -n alice -s unix:/nonexistent/socket; echo code $?; "
                          "read line; echo ${#line} bytes"], chats.env("alice"))
        sh.screen.write_process_input = answers.append
        sh.until(lambda: len(answers) == 3, "three questions")
        for text in answers:
            sh.send(text)
        in_time = time.monotonic() - began < ANSWER_SECONDS
        sh.until(lambda: re.search(r"^code 69$", sh.text(), re.M), "the end")
        sh.send("well\r")
        read = sh.until(lambda: re.search(r"^(\d+) bytes$", sh.text(), re.M), "what the shell reads").group(1)
        return read if in_time else ""
    assert until(typed, "the terminal answers in time") == "4"
