"""People of a server for tests: sessions that speak the protocol themselves as oneself, as nobody in particular
(by plain TCP), and as other users of the machine, which needs root."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import harness
import parleywire as wire
import rawends

NOBODY, OTHER = 65534, 65533
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
OP, BAN, INVITE, MODE, KICK, TOPIC = range(1, 7)  # kinds of SETTING


def open_to_all(server):
    """Other users reach its socket, and anybody its TCP port."""
    os.chmod(server.dir, 0o755)
    return server.start("--workers", "1", "--listen", "127.0.0.1:0")


def programs(server):
    """A directory with what other users run: they may not read the source tree."""
    where = os.path.join(server.dir, "programs")
    os.mkdir(where)
    os.chmod(where, 0o755)
    for path in (harness.PARLEY, rawends.__file__, wire.__file__):
        shutil.copy(path, where)
        os.chmod(os.path.join(where, os.path.basename(path)), 0o755)
    return where


class Other:
    """A client under another uid. It is told what to do a line at a time, and prints what came of it."""

    CODE = """
import sys
import parleywire as wire
c = wire.Client.connect(sys.argv[1], sys.argv[2])
room = 0
def join(name=sys.argv[3], **more):
    global room
    r = c.join(name, **more)
    room = r.room or room
    return r.type
def ask(kind, **values):
    r = c.until("DONE", "ERROR", counter=c.ask(kind, at=room, **values))
    return r.code if r.type == "ERROR" else "DONE"
print("ready", flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""

    def __init__(self, server, where, uid, nick, room):
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-B", "-c",
             self.CODE, server.socket, nick, room], env=server.env(PYTHONPATH=where), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, code):
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        return eval(self.process.stdout.readline())

    def close(self):
        self.process.kill()
        self.process.communicate()


def port(server):
    return int(re.search(r"tcp:127\.0\.0\.1:(\d+)", server.ready.group(0)).group(1))


def tcp(server, nick, **more):
    return wire.Client.connect(("127.0.0.1", port(server)), nick, **more)


def me(server, nick="alice", room="#dev", **more):
    c = wire.Client.connect(server.socket, nick, **more)
    c.room = c.join(room).room
    return c


def ask(c, kind, **values):
    """DONE, or the name of the refusal's code."""
    r = c.until("DONE", "ERROR", counter=c.ask(kind, at=c.room, **values))
    return r.type if r.type == "DONE" else next(k for k, v in wire.CODES.items() if v == r.code)


def modes(c):
    """What MODES says: {(kind, name): value}"""
    n, out = c.ask("MODES", at=c.room), {}
    while True:
        r = c.until("SETTING", "DONE", "ERROR", counter=n)
        if r.type != "SETTING":
            return out
        out[r.kind, r.name] = r.value


def decided(c):
    return {k: v for k, v in modes(c).items() if v != "off"}


def hello(address, nick, flags):
    with wire.Client.dial(address) as c:
        c.send(wire.encode("HELLO", flags, version=1, strict=1, transports=bytes(
            [wire.TCP if isinstance(address, tuple) else wire.UNIX]), nick=nick, token=wire.NO_TOKEN,
            producer=0, client="", cursors=b"", input=b""))
        return c.next()
