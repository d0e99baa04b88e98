"""The chat on a terminal: talking, commands, what is shown of others."""

import os
import re
import signal
import subprocess
import threading
import time

import pytest

from harness import PARLEY, until
from terminal import CTRL_U, DEADLINE, heard


def test_status_line_backlog_and_new_marker(server, chats):
    chats.say("bob", *[f"old {i}" for i in range(30)])
    a = chats.chat("alice")
    a.sees("──── new ────")
    text = a.text()
    assert re.search(r"^-- #lobby · 1 here · transport \w+ · /help$", text, re.M)
    shown = re.findall(r"<bob> (old \d+)$", text, re.M)
    assert shown == [f"old {i}" for i in range(10, 30)]
    assert text.index("old 29") < text.index("──── new ────")
    a.enter("hello there")
    a.sees("<alice> hello there")
    a.prompt("#lobby>")
    heard(server, "hello there")


def test_typing_survives_a_burst_and_nothing_is_lost(server, chats):
    a = chats.chat("alice", rows=250)
    a.type("half a li")
    messages = [f"message {i} of many" for i in range(200)]
    sender = threading.Thread(target=chats.say, args=("bob", *messages))
    sender.start()
    a.type("ne, typed ", "meanwhile")
    a.sees("message 199 of many")
    sender.join()
    a.prompt("#lobby> half a line, typed meanwhile")
    assert re.findall(r"<bob> (message \d+ of many)$", a.text(), re.M) == messages
    assert a.text().count("half a line") == 1
    a.send("\r")
    a.sees("<alice> half a line, typed meanwhile")
    heard(server, "half a line, typed meanwhile")


def test_two_terminals_in_a_room_of_two(server, chats):
    a, b = chats.chat("alice"), chats.chat("bob")
    a.sees("bob joined")
    a.enter("/msg bob psst")
    b.sees("2:@alice 1!")
    assert "psst" not in b.text()
    b.enter("/query alice")
    b.prompt("@alice>")
    b.sees("<alice> psst")
    b.enter("what is it?")
    b.sees("<bob> what is it?")
    a.sees("2:@bob 1!")
    a.prompt("#lobby>")
    a.enter("/query bob")
    a.prompt("@bob>")
    a.enter("nothing")
    a.sees("<alice> nothing")
    b.sees("<alice> nothing")
    assert "<bob> what is it?" in a.text()


def test_query_with_a_text_says_it_there(server, chats):
    a, b = chats.chat("alice"), chats.chat("bob")
    a.sees("bob joined")
    a.enter("/query bob are you there?")  # they have not talked before
    a.prompt("@bob>")
    a.sees("<alice> are you there?")
    b.sees("2:@alice 1!")
    a.enter("/1")
    a.prompt("#lobby>")
    a.enter("/query bob hello again")
    a.prompt("@bob>")
    a.sees("<alice> hello again")
    b.sees("2:@alice 2!")
    a.enter("/query nobody hello")
    a.sees("cannot join @nobody: nobody called nobody is known here")
    a.prompt("@bob>")


def test_several_rooms(server, chats):
    a = chats.chat("alice", "#dev")
    a.prompt("#dev>")
    a.enter("/join lobby")
    a.prompt("#lobby>")
    chats.say("bob", "in dev", room="#dev")
    chats.say("bob", "in lobby")
    a.sees("<bob> in lobby")
    a.sees("1:#dev 1 ")
    assert "in dev" not in a.text()
    a.enter("/join #dev")
    a.prompt("#dev>")
    a.sees("<bob> in dev")
    assert "in lobby" not in a.text()
    a.enter("/part")
    a.sees("left #dev")
    a.prompt("#lobby>")
    a.enter("/part #nowhere")
    a.sees("you are not in #nowhere")
    a.enter("/part")
    a.sees("in no room now")
    a.prompt(">")
    a.enter("anybody?")
    a.sees("you are in no room")


def test_commands(server, chats):
    a = chats.chat("alice", rows=100)
    a.enter("/topic about nothing")
    a.sees("alice set the topic: about nothing")
    a.enter("/topic")
    a.sees("-- topic: about nothing")
    a.enter("/me waves")
    a.sees("* alice waves")
    a.enter("//etc is a path")
    a.sees("<alice> /etc is a path")
    a.enter("/nam")
    a.sees("-- #lobby: @alice (1 here)")
    a.enter("/who")
    a.until(lambda: re.search(r"^  alice +\w+ +\d+ s .*#lobby$", a.text(), re.M), "the table of /who")
    a.enter("/list")
    a.until(lambda: re.search(r"^  #lobby +1 +\d+ +op +about nothing$", a.text(), re.M), "/list")
    a.enter("/transports")
    a.until(lambda: re.search(r"^  shm +0 ", a.text(), re.M), "/transports")
    a.enter("/nick alicia")
    a.sees("you are now alicia")
    a.enter("/jion #x")
    a.sees("Did you mean /join?")
    a.enter("/t x")
    a.sees("/t may be /topic /trace /transport /transports")
    a.enter("/xyzzy")
    a.sees("there is no /xyzzy")
    a.enter("/help")
    a.sees("Ctrl-D on an empty line")
    a.enter("/stats")
    a.sees("0 lost")
    a.enter("/search WAVES")
    a.sees("──── found ────")
    a.sees("* alice waves", 2)


def test_arguments_that_mean_nothing_are_told(server, chats):
    a = chats.chat("alice", "-t", "unix", rows=50)
    a.enter("still here")
    a.sees("<alice> still here")
    for line, answer in (
        ("/who #nowhere", "you are not in #nowhere. Everybody, with the rooms they are in: /who"),
        ("/names #nowhere", "/names takes no words after it: who is in this room"),
        ("/delete 3", "/delete takes no words after it: take back your last line in this room"),
        ("/join two words", "/join #ROOM: enter a room"),
        ("/nick two words", "/nick [NICK]: change your name"),
        ("/ignore two words", "/ignore [NICK]: do not show"),
        ("/whois two words", "/whois NICK: who somebody is"),
        ("/part #two words", "/part [#ROOM]: leave this room"),
        ("/op two words", "/op [NICK]: make somebody an operator"),
        ("/HISTORY nothing", "/history [N] [from:NICK]"),  # names of commands are found in any case
        ("/history -5", "/history [N] [from:NICK]"),
        ("/history 3x", "/history [N] [from:NICK]"),
    ):
        before = a.text().count(answer)
        a.enter(line)
        a.sees(answer, before + 1)
    assert "deleted" not in a.text() and "ignoring" not in a.text()
    a.enter("/who")
    a.until(lambda: re.search(r"alice +unix +\d+ s +- +(hub|[01]) +#lobby", a.text()), "where it is served, not 255")


@pytest.mark.parametrize("columns, rows", [(80, 44), (200, 50)])
def test_trace_shows_the_way_beside_the_line_being_typed(server, chats, columns, rows):
    for t in ("shm", "mmap", "fifo", "posixmq", "sysvmq"):
        server.stream("tail", "-q", "-t", t, "-n", f"a-rather-long-nick-{t}", "#lobby")
    until(lambda: server.members("#lobby") == 5, "everybody is there")
    a = chats.chat("alice", columns=columns, rows=rows)

    def traced(words):
        a.enter(f"/trace {words}")
        a.type("and mean")  # while the trace is still under way, or just over

        def answer():
            return a.text().partition(f"<alice> {words}")[2].partition("── [1:#lobby]")[0]
        a.until(lambda: re.search(r"^µs·calls +pipe +wait +push +wake +read +bell$", answer(), re.M), "the table")
        a.type("while")
        a.prompt("#lobby> and meanwhile")
        return answer()
    for i in range(20):  # who does not tell within the time that a trace takes is not in it
        shown = traced(f"how do you get there, {i}?")
        if len(re.findall(r"(sysvmq|mmap|shm|fifo|posixmq|unix) (?:w\d|hub)", shown)) == 12:  # all lanes, twice
            break
        a.send(CTRL_U)
    shown = shown.splitlines()[1:]
    assert len(shown) == 1 + 1 + 3 + 6 + 1 + 1 + 6  # nothing is wrapped
    assert ("a-rather-long-nick-sysvmq" in "\n".join(shown)) == (columns == 200)
    a.send(CTRL_U)
    a.enter("/trace")
    a.sees("/trace TEXT: say it")
    heard(server, f"how do you get there, {i}?")


def test_trace_of_a_script_is_waited_for(server, chats):
    done = subprocess.run([PARLEY, "-n", "bot", "-s", server.address], env=chats.env("bot"), timeout=DEADLINE,
                          input=b"/trace hello\n", capture_output=True)
    assert done.returncode == 0
    out = done.stdout.decode()
    assert "by bot: " in out and "uplink" in out and "\033" not in out


def test_history_goes_back_and_back(server, chats):
    chats.say("bob", *[f"old {i}" for i in range(60)])
    a = chats.chat("alice", "-t", "unix", rows=100)
    a.sees("old 59")
    assert "old 39" not in a.text()
    a.enter("/history 15")
    a.sees("──── history ────")
    a.sees("──── now ────")
    assert "old 25" in a.text() and "old 24" not in a.text()
    a.enter("/history 10")
    a.sees("──── now ────", 2)
    assert "old 15" in a.text() and "old 14" not in a.text()
    a.enter("/transport shm")  # what was said again on request is not doubled
    a.sees("unix → shm: 0 lost, 0 doubled")


def test_history_asked_for_many_times_at_once_is_whole(server, chats):
    """Each answer is complete, and each /history goes on where the one before it ended."""
    chats.say("bob", *[f"old {i} {'needle' if i % 100 == 0 else 'hay'}" for i in range(3000)])
    a = chats.chat("alice", "-t", "unix", rows=700)
    a.sees("old 2999")
    a.send("/search needle\r/history 200\r/search NEEDLE\r/history 300\r/search absent\r")
    a.sees("nothing found")
    text = re.findall(r"────+ (history|found|now) |old (\d+) (needle|hay)$", a.text(), re.M)
    blocks, block = [], None
    for rule, number, _ in text:
        if rule in ("history", "found"):
            block = [rule]
        elif rule == "now":
            blocks.append(block)
            block = None
        elif block:
            block.append(int(number))
    needles = ["found", *range(0, 3000, 100)]
    assert [b[0] for b in blocks] == ["found", "history", "found", "history"]
    assert blocks[0] == needles and blocks[2] == needles
    assert len(blocks[1]) == 201 and len(blocks[3]) == 301
    assert blocks[3][1:] + blocks[1][1:] == list(range(blocks[3][1], blocks[3][1] + 500))


def test_transport_switch_says_what_was_lost(server, chats):
    a = chats.chat("alice", "-t", "unix", rows=350)
    sender = threading.Thread(target=chats.say, args=("bob", *[f"m {i}" for i in range(300)]))
    sender.start()
    a.enter("/transport shm")
    a.until(lambda: re.search(r"^-- unix → shm: 0 lost, 0 doubled \(seq \d+\)$", a.text(), re.M), "the count")
    a.enter("/transport fifo")
    a.until(lambda: re.search(r"^-- shm → fifo: 0 lost, 0 doubled \(seq \d+\)$", a.text(), re.M), "the count")
    sender.join()
    a.sees("<bob> m 299")
    assert re.findall(r"<bob> (m \d+)$", a.text(), re.M) == [f"m {i}" for i in range(300)]
    a.enter("/transport fifo")
    a.sees("already on fifo")
    a.enter("/transport pigeon")
    a.sees("pigeon is no transport")
    a.enter("/transport tcp")
    a.sees("Still on fifo")
    a.enter("still here")
    a.sees("<alice> still here")


def test_skipped_transport_is_told_with_its_reason(server, chats):
    a = chats.chat("alice", "-t", "tcp,unix")
    a.until(lambda: re.search(r"^-- tcp is not to be had: \S+", a.text(), re.M), "the reason")
    assert "transport unix" in a.text()


def test_mention_rings_once_a_second_and_is_marked(server, chats):
    a = chats.chat("alice", rows=40)
    chats.say("bob", "malice is no mention", "nor is alices")
    a.sees("nor is alices")
    assert b"\a" not in a.raw
    began = time.monotonic()
    os.kill(a.child.pid, signal.SIGSTOP)
    chats.say("bob", *["Alice: look"] * 20)
    os.kill(a.child.pid, signal.SIGCONT)
    a.sees(">> <bob> Alice: look", 20)
    assert 1 <= a.raw.count(b"\a") <= 2 + time.monotonic() - began


def test_colors_are_stable_and_can_be_off(server, chats):
    a = chats.chat("alice", NO_COLOR="")
    chats.say("bob", "one", "two")
    a.sees("<bob> two")
    colors = set(re.findall(rb"<\033\[(\d+)mbob", a.raw))
    assert len(colors) == 1
    b = chats.chat("alice2", "--color", "never", NO_COLOR="")
    b.sees("<bob> two")
    assert not re.search(rb"\033\[[0-9;]*m", b.raw.replace(b"\033[m", b""))
    c = chats.chat("alice3")  # NO_COLOR=1
    c.sees("<bob> two")
    assert not re.search(rb"\033\[[0-9;]+m", c.raw)
