"""Terminals for tests of the chat: a pseudo terminal whose other end is an emulator (pyte), so what is
asserted is what a person would see. Every wait is for a condition, with a deadline."""

import copy
import os
import re
import select

import pexpect
import pyte

from harness import PARLEY, until

DEADLINE = 30  # seconds; only a failing test waits that long
PROMPT = re.compile(r"([#@]\S+)?( ?\((connecting|reconnecting|\d+ unsent).*\))?>( |$)|Send \d+ lines|\(reverse-i-search\)")
PASTE, PASTE_END = "\033[200~", "\033[201~"
# What the full-screen tools (`parley top`) begin with: they never show the cursor.
TOOL_ENTERS = b"\033[?1049h\033[?25l"
CTRL_A, CTRL_C, CTRL_D, CTRL_R, CTRL_U, CTRL_Y, CTRL_Z = "\001", "\003", "\004", "\022", "\025", "\031", "\032"
UP, DOWN = "\033[A", "\033[B"


class Screen(pyte.HistoryScreen):
    """With an alternate screen, which pyte lacks."""

    ALTERNATE = 1049

    def set_mode(self, *modes, **kwargs):
        if self.ALTERNATE in modes and kwargs.get("private") and not self.alternate:
            self.alternate = (copy.deepcopy(self.buffer), copy.copy(self.cursor), self.history.top.copy())
        super().set_mode(*modes, **kwargs)

    def reset_mode(self, *modes, **kwargs):
        if self.ALTERNATE in modes and kwargs.get("private") and self.alternate:
            (self.buffer, self.cursor, top), self.alternate = self.alternate, None
            self.history.top.clear()
            self.history.top.extend(top)
        super().reset_mode(*modes, **kwargs)

    alternate = None


class Terminal:
    """A program on a terminal, and the screen it draws."""

    def __init__(self, args, env, columns=80, rows=24):
        self.screen = Screen(columns, rows, history=20000)
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
        except pexpect.EOF:  # said of a process that is dead, whatever it has written last
            data = self.rest()
            self.ended = not data
        self.raw += data
        self.stream.feed(data)

    def rest(self):
        if not select.select([self.child.child_fd], [], [], 0)[0]:
            return b""
        try:
            return os.read(self.child.child_fd, 65536)
        except OSError:
            return b""

    def drawing(self):
        """In the middle of a redraw, which may be read in pieces: the chat hides the cursor while it draws."""
        return self.screen.cursor.hidden and not self.ended and TOOL_ENTERS not in self.raw

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
            return not self.drawing() and condition()
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

    def leave(self, gone):
        """Ctrl-C until `gone()`: it takes two within seconds, which may be less than a busy machine needs."""
        told = -1

        def left():
            nonlocal told
            if not gone() and self.text().count("Ctrl-C again") > told:
                told = self.text().count("Ctrl-C again")
                self.send(CTRL_C)
            return gone()
        self.until(left, "Ctrl-C leaves")

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

    def chat_plain(self, nick, *args, **env):
        """A chat that only prints lines."""
        t = self.start([PARLEY, "-n", nick, "-s", self.server.address, "--plain", *args], self.env(nick, **env))
        t.sees("/help")
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


def heard(server, *lines, room="#lobby"):
    """The server has exactly these messages, in this order."""
    def texts():
        return [e["text"] for e in server.json("history", room, "--last", "1000") if e["type"] in ("message", "action")]
    until(lambda: texts()[-len(lines):] == list(lines), f"{lines} said in {room}")
