"""The chat on a terminal, and without one. A terminal here is a pseudo terminal whose other end is
an emulator (pyte, which cuts lines when it gets narrower) or tmux (which wraps them anew), so what is
asserted is what a person would see. Every wait is for a condition, with a deadline."""

import fcntl
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pexpect
import pyte
import pytest

import harness
import parleywire
from harness import PARLEY, until

DEADLINE = 30  # seconds; only a failing test waits that long
PROMPT = re.compile(r"([#@]\S+)?( ?\((connecting|reconnecting|\d+ unsent).*\))?>( |$)|Send \d+ lines|\(reverse-i-search\)")
PASTE, PASTE_END = "\033[200~", "\033[201~"
CTRL_A, CTRL_C, CTRL_D, CTRL_R, CTRL_U, CTRL_Y, CTRL_Z = "\001", "\003", "\004", "\022", "\025", "\031", "\032"


class Terminal:
    """A program on a terminal, and the screen it draws."""

    def __init__(self, args, env, columns=80, rows=24):
        self.screen = pyte.HistoryScreen(columns, rows, history=20000)
        self.stream = pyte.ByteStream(self.screen)
        self.screen.write_process_input = lambda text: self.send(text)
        self.raw = b""
        self.ended = False
        self.child = pexpect.spawn(args[0], list(args[1:]), env=env, dimensions=(rows, columns))
        self.child.delaybeforesend = None
        self.child.ptyproc.delayafterclose = self.child.ptyproc.delayafterterminate = 0.05

    def send(self, text):
        self.child.send(text)

    def type(self, *texts):
        """Send keys piece by piece, each only when the screen has seen the one before."""
        for text in texts:
            self.send(text)
            if text.isprintable():
                self.until(lambda: text[-8:].rstrip() in self.edited().replace("\n", ""), f"typed {text!r}")

    def enter(self, line):
        self.type(line)
        self.send("\r")

    def pump(self):
        try:
            data = self.child.read_nonblocking(65536, 0.02)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            self.ended = True
            return
        self.raw += data
        self.stream.feed(data)

    def lines(self):
        """Scrollback and screen."""
        columns = self.screen.columns
        top = ["".join(row[x].data for x in range(columns)) for row in self.screen.history.top]
        return [line.rstrip() for line in top + list(self.screen.display)]

    def text(self):
        return "\n".join(self.lines()).rstrip("\n")

    def edited(self):
        """What stands from the last prompt or question on: rows, joined by newlines."""
        rows = [line.rstrip() for line in self.screen.display]
        last = max((i for i, row in enumerate(rows) if PROMPT.match(row)), default=0)
        return "\n".join(rows[last:]).rstrip("\n")

    def until(self, condition, what):
        def ready():
            self.pump()
            return condition()
        try:
            return until(ready, what, DEADLINE)
        except AssertionError as e:
            raise AssertionError(f"{e}\n--- screen:\n{self.text()}\n---") from None

    def sees(self, text, count=1):
        self.until(lambda: self.text().count(text) >= count, f"{text!r} on the screen")

    def prompt(self, text):
        """The edited line is exactly this."""
        self.until(lambda: self.edited() == text.rstrip(), f"edited line {text!r}")

    def resize(self, columns, rows=24):
        self.screen.resize(rows, columns)
        self.screen.cursor.x = min(self.screen.cursor.x, columns - 1)
        self.child.setwinsize(rows, columns)

    def wait(self):
        """Exit code, or minus the signal."""
        self.until(lambda: self.ended, "the program ends")
        self.child.wait()
        return -self.child.signalstatus if self.child.signalstatus else self.child.exitstatus

    def close(self):
        self.child.close(force=True)


class Chats:
    """Starts chats with a server, and ends them."""

    def __init__(self, server):
        self.server = server
        self.open = []

    def env(self, nick, **more):
        base = {"TERM": "xterm-256color", "XDG_STATE_HOME": self.home(nick), "INPUTRC": "/dev/null"}
        base.update(more)
        return self.server.env(**base)

    def home(self, nick):
        return os.path.join(self.server.dir, "home", nick)

    def start(self, args, env, **size):
        t = Terminal(args, env, **size)
        self.open.append(t)
        return t

    def chat(self, nick, *args, columns=80, rows=24, **env):
        """A chat that is ready: its status line has been seen."""
        t = self.start([PARLEY, "-n", nick, "-s", self.server.address, *args],
                       self.env(nick, **env), columns=columns, rows=rows)
        t.sees("/help")
        t.until(lambda: PROMPT.match(t.edited()), "a prompt")
        return t

    def shell(self, nick, **env):
        t = self.start(["bash", "--norc", "--noprofile", "-i"],
                       self.env(nick, PS1="sh> ", PARLEY_SOCKET=self.server.socket, **env))
        t.sees("sh>")
        return t

    def say(self, nick, *lines, room="#lobby"):
        self.server.ok("send", room, "-", "-n", nick, input="".join(f"{line}\n" for line in lines))

    def close(self):
        for t in self.open:
            t.close()


@pytest.fixture
def chats(server):
    c = Chats(server)
    yield c
    c.close()


def heard(server, *lines, room="#lobby"):
    """The server has exactly these messages, in this order."""
    def texts():
        return [e["text"] for e in server.json("history", room, "--last", "1000") if e["type"] in ("message", "action")]
    until(lambda: texts()[-len(lines):] == list(lines), f"{lines} said in {room}")


# --- talking -----------------------------------------------------------------------------------------


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
    a = chats.chat("alice")
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
    b.sees("[@alice] <alice> psst")
    b.enter("/query alice")
    b.prompt("@alice>")
    b.enter("what is it?")
    b.sees("<bob> what is it?")
    a.sees("[@bob] <bob> what is it?")
    a.prompt("#lobby>")
    a.enter("/query bob")
    a.prompt("@bob>")
    a.enter("nothing")
    a.sees("<alice> nothing")
    b.sees("<alice> nothing")
    assert "[@alice] <alice> nothing" not in b.text()


def test_several_rooms(server, chats):
    a = chats.chat("alice", "#dev")
    a.prompt("#dev>")
    a.enter("/join lobby")
    a.prompt("#lobby>")
    chats.say("bob", "in dev", room="#dev")
    chats.say("bob", "in lobby")
    a.sees("[#dev] <bob> in dev")
    a.sees("<bob> in lobby")
    a.enter("/join #dev")
    a.prompt("#dev>")
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
    a = chats.chat("alice")
    a.enter("/topic about nothing")
    a.sees("alice set the topic: about nothing")
    a.enter("/topic")
    a.sees("-- topic: about nothing")
    a.enter("/me waves")
    a.sees("* alice waves")
    a.enter("//etc is a path")
    a.sees("<alice> /etc is a path")
    a.enter("/nam")
    a.sees("-- #lobby: alice (1 here)")
    a.enter("/who")
    a.until(lambda: re.search(r"^  alice +\w+ +\d+ s .*#lobby$", a.text(), re.M), "the table of /who")
    a.enter("/list")
    a.until(lambda: re.search(r"^  #lobby +1 +\d+ +about nothing$", a.text(), re.M), "/list")
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


@pytest.mark.parametrize("columns, rows", [(80, 24), (200, 50)])
def test_trace_shows_the_way_beside_the_line_being_typed(server, chats, columns, rows):
    for t in ("shm", "mmap", "fifo", "posixmq", "sysvmq"):
        server.stream("tail", "-q", "-t", t, "-n", f"a-rather-long-nick-{t}", "#lobby")
    until(lambda: server.members("#lobby") == 5, "everybody is there")
    a = chats.chat("alice", columns=columns, rows=rows)
    a.enter("/trace how do you get there?")
    a.type("and mean")  # while the trace is still under way, or just over
    a.until(lambda: re.search(r"^µs·calls +pipe +wait +push +wake +read +bell$", a.text(), re.M), "the table")
    a.until(lambda: len(re.findall(r"(sysvmq|mmap|shm|fifo|posixmq|unix) (?:w\d|hub)", a.text())) == 12, "all lanes, twice")
    a.type("while")
    a.prompt("#lobby> and meanwhile")
    assert "<alice> how do you get there?" in a.text()
    shown = a.text().split("<alice> how do you get there?")[1].split("#lobby> ")[0].splitlines()[1:]
    assert len(shown) == 1 + 1 + 3 + 6 + 1 + 1 + 6  # nothing is wrapped
    assert ("a-rather-long-nick-sysvmq" in "\n".join(shown)) == (columns == 200)
    a.send(CTRL_U)
    a.enter("/trace")
    a.sees("/trace TEXT: say it")
    heard(server, "how do you get there?")


def test_trace_of_a_script_is_waited_for(server, chats):
    done = subprocess.run([PARLEY, "-n", "bot", "-s", server.address], env=chats.env("bot"), timeout=DEADLINE,
                          input=b"/trace hello\n", capture_output=True)
    assert done.returncode == 0
    out = done.stdout.decode()
    assert "by bot: " in out and "uplink" in out and "\033" not in out


def test_history_goes_back_and_back(server, chats):
    chats.say("bob", *[f"old {i}" for i in range(60)])
    a = chats.chat("alice", "-t", "unix")
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
    a = chats.chat("alice", "-t", "unix")
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
    a = chats.chat("alice", "-t", "unix")
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
    a = chats.chat("alice")
    chats.say("bob", "malice is no mention", "nor is alices")
    a.sees("nor is alices")
    assert b"\a" not in a.raw
    chats.say("bob", *["Alice: look"] * 20)
    a.sees(">> <bob> Alice: look", 20)
    assert 1 <= a.raw.count(b"\a") <= 3


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


# --- the edited line -----------------------------------------------------------------------------------


DRAFT = "the quick brown fox jumps over the lazy dog and then some"


def test_resize_of_a_terminal_that_cuts(server, chats):
    a = chats.chat("alice")
    chats.say("bob", *[f"line {i}" for i in range(5)])
    a.sees("line 4")
    a.type(DRAFT)
    a.resize(20)
    rows = ["#lobby> the quick br", "own fox jumps over t", "he lazy dog and then", " some"]
    a.prompt("\n".join(rows))
    chats.say("bob", "hi")
    a.sees("<bob> hi")
    a.prompt("\n".join(rows))
    a.resize(80)
    a.prompt("#lobby> " + DRAFT)
    a.until(lambda: a.text().count("jumps") == 1, "no debris")
    shown = [line for line in a.lines() if line.startswith(("14", "0", "1", "2"))]
    assert [line[-6:] for line in shown[:5]] == [f"line {i}" for i in range(5)]
    a.send("\r")
    heard(server, DRAFT)


@pytest.fixture
def tmux(server):
    if not shutil.which("tmux"):
        pytest.skip("no tmux")
    name = ["tmux", "-S", os.path.join(server.dir, "tmux"), "-f", "/dev/null"]

    def run(*args):
        env = server.env(XDG_STATE_HOME=os.path.join(server.dir, "home"), INPUTRC="/dev/null", TERM="xterm-256color")
        env.pop("TMUX", None)
        done = subprocess.run([*name, *args], env=env, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()
    yield run
    subprocess.run([*name, "kill-server"], capture_output=True)


def test_resize_of_a_terminal_that_wraps_anew(server, chats, tmux):
    tmux("new-session", "-d", "-x", "80", "-y", "24", f"{PARLEY} -n alice -s {server.address}")

    def screen():
        return tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def draft_is(rows):
        until(lambda: screen()[-len(rows):] == rows, f"{rows}; the screen is {screen()}", DEADLINE)
    until(lambda: "/help" in screen()[0], "status line")
    chats.say("bob", *[f"line {i} has some words in it that will wrap" for i in range(8)])
    until(lambda: "line 7" in "".join(screen()), "messages")
    before = screen()[:-1]
    tmux("send-keys", "-l", DRAFT)
    draft_is(["#lobby> " + DRAFT])
    output = os.path.join(server.dir, "output")
    tmux("pipe-pane", f"cat >{output}")

    def redraws():
        with open(output, "rb") as f:
            return f.read().count(b"\033[J")
    until(lambda: os.path.exists(output), "tmux copies the output")
    for width in (20, 80, 13, 65, 66, 30, 33, 80):  # the line is 65 long
        done = redraws()
        tmux("resize-window", "-x", str(width), "-y", "24")
        until(lambda: redraws() > done, "drawn anew", DEADLINE)  # not only wrapped by tmux
        whole = "#lobby> " + DRAFT
        draft_is([whole[i:i + width].rstrip() for i in range(0, len(whole), width)])
    until(lambda: screen()[:-1] == before, f"what was above is as before: {screen()}", DEADLINE)
    tmux("send-keys", "Enter")
    heard(server, DRAFT)


def test_recall_search_and_the_file(server, chats):
    a = chats.chat("alice")
    for word in ("first thing", "second thing"):
        a.enter(word)
        a.sees(f"<alice> {word}")
    a.send(CTRL_R)
    a.type("first")
    chats.say("bob", "in between")  # while searching
    a.sees("<bob> in between")
    a.send("\r")
    a.sees("<alice> first thing", 2)
    a.enter("/quit")
    assert a.wait() == 0
    path = os.path.join(chats.home("alice"), "parley", "history")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path) as f:
        assert f.read().splitlines() == ["first thing", "second thing", "first thing", "/quit"]
    again = chats.chat("alice")
    again.send("\033[A\033[A")
    again.prompt("#lobby> first thing")


def test_tab_completes(server, chats):
    b = chats.chat("bobby")
    a = chats.chat("alice")
    b.sees("alice joined")
    a.type("/na")
    a.send("\t")
    a.prompt("#lobby> /names")
    a.send("\r")
    a.sees("alice, bobby")
    a.type("bo")
    a.send("\t")
    a.prompt("#lobby> bobby:")
    a.type("hello ")
    a.type("bo")
    a.send("\t")
    a.prompt("#lobby> bobby: hello bobby")
    a.send(CTRL_U)
    a.type("/msg bo")
    a.send("\t")
    a.prompt("#lobby> /msg bobby")
    a.send(CTRL_U)
    a.type("/join #lo")
    a.send("\t")
    a.prompt("#lobby> /join #lobby")
    a.send(CTRL_U)
    a.type("/transport posix")
    a.send("\t")
    a.prompt("#lobby> /transport posixmq")
    a.send(CTRL_U)
    a.type("/transport s")  # shm, socket, sysvmq
    a.send("\t")
    a.sees("sysvmq")
    a.send(CTRL_U)
    a.type("see bo")
    b.enter("/nick bonnie")
    a.sees("bobby is now bonnie")
    a.send("\t")
    a.prompt("#lobby> see bonnie")


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_letters_beyond_ascii(server, chats, locale):
    a = chats.chat("alice", LC_ALL=locale)
    a.type("Gr\u00fc\u00dfe ")
    a.send("\u4e2d\u6587 \U0001f642")
    a.until(lambda: a.edited().endswith("\U0001f642"), "typed")
    a.send("\033[D" * 3 + "\x7f\x7f")  # before the second ideogram and the space, those before go
    a.send("\r")
    heard(server, "Gr\u00fc\u00dfe\u6587 \U0001f642")
    a.sees("<alice> Gr\u00fc\u00dfe")


def test_vi_mode(server, chats):
    rc = os.path.join(server.dir, "inputrc")
    with open(rc, "w") as f:
        f.write("set editing-mode vi\n")
    a = chats.chat("alice", INPUTRC=rc)
    a.type("one two")
    a.send("\033")
    a.send("bcwthree\r")
    a.sees("<alice> one three")
    a.type("four")
    a.send("\033")
    a.send("0x\r")  # Enter in command mode
    a.sees("<alice> our")
    a.enter("five")
    a.sees("<alice> five")
    heard(server, "one three", "our", "five")


def test_ctrl_c_drops_the_line_then_leaves(server, chats):
    a = chats.chat("alice")
    a.type("never mind")
    a.send(CTRL_C)
    a.prompt("#lobby>")
    a.send(CTRL_Y)
    a.prompt("#lobby> never mind")
    a.send(CTRL_C)
    a.prompt("#lobby>")
    a.send(CTRL_C)
    a.sees("Ctrl-C again, or Ctrl-D, leaves")
    a.enter("still here")
    a.sees("<alice> still here")
    a.send(CTRL_C)
    a.sees("Ctrl-C again, or Ctrl-D, leaves", 2)
    a.send(CTRL_C)
    assert a.wait() == 0
    heard(server, "still here")


def test_ctrl_d_deletes_in_a_line_and_leaves_an_empty_one(server, chats):
    a = chats.chat("alice")
    a.type("xabc")
    a.send(CTRL_A)
    a.send(CTRL_D)
    a.prompt("#lobby> abc")
    a.send(CTRL_U + "\033[F" + CTRL_U)
    a.prompt("#lobby>")
    a.send(CTRL_D)
    assert a.wait() == 0


# --- pasting -------------------------------------------------------------------------------------------


LINES = [f"pasted {i}" for i in range(7)]
QUESTION = "Send 7 lines to #lobby? [y/N/1 = one message]"


def test_paste_of_one_line_is_just_typed(server, chats):
    a = chats.chat("alice")
    a.type("say: ")
    a.send(PASTE + "one line\n" + PASTE_END)
    a.prompt("#lobby> say: one line")


@pytest.mark.parametrize("key", ["y", "1", "n", "\r", CTRL_C, "\033"])
def test_paste_of_several_lines_asks(server, chats, key):
    a = chats.chat("alice")
    chats.say("bob", "before")
    a.sees("before")
    a.type("a draft")
    a.send(PASTE + "\r".join(LINES) + "\r" + PASTE_END)
    a.prompt(QUESTION)
    chats.say("bob", "while asking")
    a.sees("while asking")
    a.prompt(QUESTION)
    a.send("x")  # no answer
    a.send(key)
    a.prompt("#lobby> a draft")
    if key == "y":
        a.sees("<alice> pasted 6")
        heard(server, *LINES)
    elif key == "1":
        a.sees("pasted 6")
        heard(server, "\n".join(LINES))
        assert a.text().count("<alice>") == 1
    else:
        a.sees("nothing sent")
        heard(server, "before", "while asking")
    a.send("\r")
    a.sees("<alice> a draft")


def test_paste_without_its_end_freezes_nothing(server, chats):
    a = chats.chat("alice")
    a.send(PASTE + "never finished")
    chats.say("bob", "do you hear me?")
    a.sees("<bob> do you hear me?")
    a.prompt("#lobby> never finished")
    a.type(" but typed on")
    a.send("\r")
    a.sees("<alice> never finished but typed on")


def test_pasted_control_characters_do_nothing(server, chats):
    a = chats.chat("alice")
    a.send(PASTE + "a\001b\004c\025d\033[De" + PASTE_END)
    a.prompt("#lobby> abcd[De")


# --- signals and the end ---------------------------------------------------------------------------


def test_ctrl_z_and_fg(server, chats):
    sh = chats.shell("alice")
    sh.send(f"{PARLEY} -n alice\r")
    sh.sees("/help")
    sh.type("a draft")
    sh.send(CTRL_Z)
    sh.sees("Stopped")
    sh.until(lambda: sh.lines()[-1] or sh.text().rstrip().endswith("sh>"), "the shell's prompt")
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
    sh.send(f"cd {where}; ulimit -c 0; stty -g >before; "
            f"sh -c 'echo $$ >pid; exec {PARLEY} -n alice -s {address} {options}'; "
            f"echo code $?; stty -g >after; echo over\r")
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
        sh.send(CTRL_C)
    elif way.isupper():
        with open(os.path.join(where, "pid")) as f:
            os.kill(int(f.read()), getattr(signal, "SIG" + way))
    sh.until(lambda: re.search(r"^over$", sh.text(), re.M), "the end")
    with open(os.path.join(where, "before")) as b, open(os.path.join(where, "after")) as a:
        assert b.read() == a.read()
    assert sh.raw.count(b"\033[?2004h") >= sh.raw.count(b"\033[?2004h\033[?2004h")
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


# --- losing the server -------------------------------------------------------------------------------


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
    a.sees("not been acknowledged")
    server.start(*server.options)


# --- hostile text --------------------------------------------------------------------------------------


class HostileServer(threading.Thread):
    """Lets anybody in, and says what no real server would let through."""

    def __init__(self, path, texts, nick="mallory", topic=""):
        """`texts` are said by `nick`; a newcomer is called alice2, whatever was wished."""
        super().__init__(daemon=True)
        self.texts, self.nick, self.topic = texts, nick, topic
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def record(self, conn, type_name, /, flags=0, room=0, counter=0, seq=0, by=0, **values):
        body = parleywire.encode_body(type_name, values)
        conn.sendall(parleywire.seal(parleywire.TYPES[type_name][0], body, flags, room, counter, seq,
                                     time.time_ns(), by))

    def run(self):
        conn, _ = self.listener.accept()
        self.listener.close()
        with conn:
            self.serve(conn)

    def serve(self, conn):
        data = bytearray()
        while True:
            more = conn.recv(65536)
            if not more:
                return
            data += more
            while True:
                found = parleywire.decode(data)
                if not found:
                    break
                del data[:found[1]]
                self.answer(conn, found[0])

    def answer(self, conn, r):
        if r.type == "HELLO":
            self.record(conn, "WELCOME", version=1, transport=parleywire.UNIX, resumed=0, session=1,
                        token=bytes(range(16)), producer=7, last_counter=0, epoch=1, nick="alice2",
                        server="hostile", up=b"\0", down=b"\0", skipped=b"")
        elif r.type == "JOIN":
            n = len(self.texts)
            self.record(conn, "JOINED", room=1, counter=r.counter, name="#lobby", uuid=bytes(range(16)),
                        epoch=1, first=1, next=1, members=1, rewound=0, topic=self.topic)
            for i, text in enumerate(self.texts):
                self.record(conn, "MESSAGE", room=1, seq=i + 1, by=9, from_=self.nick, text=text)
            self.record(conn, "ARRIVE", room=1, seq=n + 1, nick=self.nick, transport=6, text="\033[31m")
            self.record(conn, "LEAVE", room=1, seq=n + 2, nick=self.nick, transport=6, reason="\033c")
            self.record(conn, "RENAME", room=1, seq=n + 3, from_=self.nick, to="\033[2J")
            self.record(conn, "MESSAGE", room=1, seq=n + 4, by=9, from_=self.nick, text="the end")
        elif r.type == "WHO":
            self.record(conn, "MEMBER", counter=r.counter, nick="\033]0;owned\a", transport=6, session=1,
                        uid=0, worker=0, lag=0, idle=0, rooms="\033[5m")
            self.record(conn, "DONE", counter=r.counter)


HOSTILE = ["\033[2J\033[H cleared", "\033]0;title\a", "c1 \u009b31m red", "\r\b\b back", "del \x7f",
           "bidi \u202e desrever \u2066", "two\nlines\n14:03 <bob> not bob"]


def test_hostile_server_cannot_touch_the_terminal(chats, make_server):
    s = make_server()  # never started: only its directory
    chats = Chats(s)
    HostileServer(os.path.join(s.dir, "s"), HOSTILE, nick="mal\033[31mlory", topic="\033[1m top")
    try:
        a = chats.chat("alice")
        a.sees("the end")
        for text in ["\\x1b[2J\\x1b[H cleared", "\\x1b]0;title\\x07", "c1 \\x9b31m red", "\\x0d\\x08\\x08 back",
                     "del \\x7f", "bidi \\u202e desrever \\u2066", "<mal\\x1b[31mlory>", "topic: \\x1b[1m top",
                     "left: \\x1bc", "is now \\x1b[2J"]:
            assert text in a.text(), text
        assert not re.search(r"^14:03 <bob>", a.text(), re.M)  # indented below its first line
        assert "the nick alice is taken: you are alice2" in a.text()
        a.enter("/who")
        a.sees("\\x1b]0;owned\\x07")
        raw = a.raw
        for bad in (b"\033[2J", b"\033]0;", b"\033c", b"\033[31m", b"\033[5m", b"\xc2\x9b", b"\xe2\x80\xae", b"\a"):
            assert bad not in raw, bad
    finally:
        chats.close()
        os.unlink(os.path.join(s.dir, "s"))


def test_hostile_client_is_shown_escaped(server, chats):
    a = chats.chat("alice")
    with parleywire.Client.connect(server.socket, "mallory") as m:
        room = m.join("#lobby").room
        m.post(room, "bidi \u202e desrever")
        m.post(room, "\033[2J")  # the server refuses this one
        m.post(room, "after")
        a.sees("<mallory> after")
    assert "bidi \\u202e desrever" in a.text()
    assert b"\033[2J" not in a.raw


# --- without a terminal ------------------------------------------------------------------------------


def piped(chats, nick, input, *args, **env):
    done = subprocess.run([PARLEY, "-n", nick, "-s", chats.server.address, *args], input=input.encode(),
                          env=chats.env(nick, **env), capture_output=True, timeout=harness.DEADLINE)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_pipe_in_and_out(server, chats):
    code, out, err = piped(chats, "alice", "one\n/me two\n/join #dev\nthree\n/names\nlast, no newline")
    assert code == 0
    assert re.fullmatch(r"\d\d:\d\d <alice> one\n\d\d:\d\d \* alice two\n"
                        r"\d\d:\d\d <alice> three\n-- #dev: alice \(1 here\)\n"
                        r"\d\d:\d\d <alice> last, no newline\n", out), out
    assert all(line.startswith("parley: ") for line in err.splitlines())
    assert "\033" not in out + err
    heard(server, "one", "two")
    heard(server, "three", "last, no newline", room="#dev")


def test_refused_line_is_an_exit_code(server, chats):
    code, out, err = piped(chats, "alice", "fine\nnot \033 fine\n")
    assert code == 1
    assert "<alice> fine" in out and "parley: not sent: " in err
    code, out, err = piped(chats, "alice", "hello\n", "#no,t a room")
    assert code == 1 and "cannot join" in err and out == ""


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


def test_shared_pipe_stays_blocking(server, chats):
    r, w = os.pipe()
    with subprocess.Popen([PARLEY, "-n", "alice", "-s", server.address], stdin=r, env=chats.env("alice"),
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
        with subprocess.Popen([PARLEY, "-n", "alice", "-s", server.address], stdin=r, env=chats.env("alice"),
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
    a.sees("-- #lobby: alice (1 here)")
    assert b"\033" not in a.raw
    assert "> " not in a.text().splitlines()[-1][:8]
    a.send(CTRL_C)
    a.sees("Ctrl-C again")
    a.send(CTRL_D)
    assert a.wait() == 0
