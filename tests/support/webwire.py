"""A browser's side of the page's server, by bare sockets: HTTP requests as they are written, and a
WebSocket (RFC 6455) that can also break the rules."""

import base64
import hashlib
import json
import os
import re
import socket
import struct
import time

import pytest

import harness

DEADLINE = 60  # seconds
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Closed(Exception):
    """The other side has ended the connection."""


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), DEADLINE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


class Answer:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.body = body
        self.text = body.decode("utf-8", "replace")


def receive(s):
    """What has come; nothing at the end. Who closes without having read everything resets the connection."""
    try:
        return s.recv(65536)
    except ConnectionResetError:
        return b""


def send(s, data):
    """The other side may have closed already: its answer, if there is one, can still be read."""
    try:
        s.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        pass


def read_head(s, data=b""):
    """Up to the empty line, of which `data` has come already; (head, what came after it). Closed if there is none."""
    while b"\r\n\r\n" not in data:
        more = receive(s)
        if not more:
            raise Closed(data)
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def raw(port, request):
    """Send these bytes; the answer, or Closed."""
    with connect(port) as s:
        send(s, request)
        head, body = read_head(s)
        answer = Answer(head, body)
        if request.startswith(b"HEAD"):
            return answer
        want = int(answer.headers.get("content-length", 0))
        while len(answer.body) < want:
            more = receive(s)
            if not more:
                break
            answer.body += more
        answer.text = answer.body.decode("utf-8", "replace")
        return answer


def get(port, path="/", host=None, method="GET", **headers):
    lines = [f"{method} {path} HTTP/1.1"]
    if host != "":
        lines.append(f"Host: {host or f'127.0.0.1:{port}'}")
    lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
    return raw(port, ("\r\n".join(lines) + "\r\n\r\n").encode())


class Page:
    """An open WebSocket. `messages` is all it was told, `wait` looks for one."""

    def __init__(self, port, host=None, origin=None, protocol="parley.1", path="/live"):
        host = host or f"127.0.0.1:{port}"
        self.s = connect(port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        if origin != "":
            lines.append(f"Origin: {origin or 'http://' + host}")
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        send(self.s, ("\r\n".join(lines) + "\r\n\r\n").encode())
        try:
            head, self.data = read_head(self.s)
        except Closed:
            self.s.close()
            raise
        self.answer = Answer(head, b"")
        self.messages = []
        self.pings = 0
        if self.answer.status != 101:
            self.s.close()
            return
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        assert self.answer.headers["sec-websocket-accept"] == accept

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- sending

    def frame(self, *args, **more):
        self.s.sendall(self.framed(*args, **more))

    def framed(self, opcode, payload, fin=True, mask=True, length=None):
        """The bytes of one frame; `length` claims another length than that of the payload."""
        n = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | opcode])
        bit = 0x80 if mask else 0
        if n < 126:
            head += bytes([bit | n])
        elif n < 65536:
            head += bytes([bit | 126]) + struct.pack(">H", n)
        else:
            head += bytes([bit | 127]) + struct.pack(">Q", n)
        if mask:
            key = os.urandom(4)
            head += key
            payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
        return head + payload

    def send(self, *messages, **message):
        """One message by its fields, or several at once."""
        self.s.sendall(b"".join(self.framed(1, json.dumps(m).encode()) for m in messages or [message]))

    # -- receiving

    def _need(self, n, end):
        while len(self.data) < n:
            self.s.settimeout(max(end - time.monotonic(), 0.001))
            more = receive(self.s)
            if not more:
                raise Closed()
            self.data += more

    def receive(self, deadline=DEADLINE):
        """The next frame's messages (a list), or Closed with the code of its end."""
        end = time.monotonic() + deadline
        while True:
            self._need(2, end)
            opcode, n, at = self.data[0] & 15, self.data[1] & 127, 2
            if n == 126:
                self._need(4, end)
                n, at = struct.unpack(">H", self.data[2:4])[0], 4
            elif n == 127:
                self._need(10, end)
                n, at = struct.unpack(">Q", self.data[2:10])[0], 10
            self._need(at + n, end)
            payload, self.data = self.data[at:at + n], self.data[at + n:]
            if opcode == 8:
                raise Closed(struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None)
            if opcode == 9:
                self.pings += 1
                send(self.s, self.framed(10, payload))
            elif opcode == 1:
                got = json.loads(payload)
                self.messages += got
                return got

    def wait(self, type=None, deadline=DEADLINE, **fields):
        """The first message, of those told already or still to come, with these fields."""
        end = time.monotonic() + deadline
        seen = 0
        while True:
            for m in self.messages[seen:]:
                if (type is None or m["type"] == type) and all(m.get(k) == v for k, v in fields.items()):
                    return m
            seen = len(self.messages)
            left = end - time.monotonic()
            assert left > 0, f"no {type} {fields} among {self.messages[-20:]}"
            try:
                self.receive(left)
            except (socket.timeout, TimeoutError):
                pass

    def read(self, room="#lobby"):
        self.send(do="room", room=room)
        self.wait("room", room=room)
        return self


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1)) * 1024


def closes(page, code=None, deadline=DEADLINE):
    """The page is closed by the server, with this code of RFC 6455."""
    with pytest.raises(Closed) as closed:
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            page.receive(deadline)
    assert code is None or closed.value.args == (code,)


class Site:
    """The page of a running server (harness.Server) that was started with --http."""

    def __init__(self, server):
        self.server = server
        self.read_log()

    def read_log(self):
        said = harness.until(lambda: re.findall(
            r"^parleyd: page: http://(\S+?)/ to read, http://\S+/#(\S+) to post$", self.server.output(), re.M),
            "parleyd says where its page is")
        self.address, self.token = said[-1]
        self.port = int(self.address.rpartition(":")[2])
        harness.until(lambda: self.get("/healthz").status == 200, "the page has its session with the server")
        return self

    def pid(self):
        """Of parley-web, or None while there is none."""
        return next(iter(harness.children_named(self.server.pid, "parley-web")), None)

    def get(self, *args, **more):
        return get(self.port, *args, **more)

    def page(self, room="#lobby", **more):
        """An open page that looks at a room."""
        page = Page(self.port, **more)
        return page.read(room) if room else page

    def member(self, nick, room="#lobby"):
        """… and that may post."""
        page = self.page(room)
        page.send(do="join", nick=nick, token=self.token)
        page.wait("joined")
        return page
