"""What a hostile server or client can do to a terminal: nothing but be seen."""

import os
import re
import socket
import threading
import time

import parleywire
from terminal import Chats


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
                        uid=0, worker=0, lag=0, idle=0, rooms="\033[5m", person="", op=0)
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
