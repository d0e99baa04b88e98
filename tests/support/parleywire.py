"""The parley protocol in Python, written from docs/protocol.md alone: if this works, that document
is enough to write a second client. Only the standard library.

    c = Client.connect("/run/parley.sock", nick="eve")
    room = c.join("#lobby").room
    c.post(room, "hello")
    print(c.until("MESSAGE"))
"""

import array
import collections
import os
import socket
import struct
import time

VERSION = 1
HEADER = struct.Struct("<HBBIIIQQQ")  # words type flags crc room counter seq time producer
HEADER_BYTES = 40
RECORD_MAX = 33280
TEXT_MAX = 32768

ACTION, QUIET, TRACED, BOT = 1, 2, 4, 16
AGAIN = WISHED = 8  # in JOIN, in HELLO
AS_NOBODY = 32  # in HELLO
FIFO, POSIXMQ, SYSVMQ, SHM, MMAP, UNIX, TCP = range(1, 8)
FROM_NOW, LAST, AFTER, SINCE = range(4)
NO_TOKEN = bytes(16)

# Section 5: number, then fields in order. A field is "kind name".
TYPES = {
    "HELLO": (1, "u16 version, u8 strict, s8 transports, s8 nick, id token, u64 producer, s8 client,"
                 " s16 cursors, s8 input, s8 account, s8 secret"),
    "READY": (2, ""),
    "POST": (3, "s16 text"),
    "JOIN": (4, "s8 room, u8 start, u64 arg"),
    "PART": (5, ""),
    "NICK": (6, "s8 nick"),
    "TOPIC": (7, "s16 topic"),
    "WHO": (8, ""),
    "ROOMS": (9, ""),
    "TRANSPORTS": (10, ""),
    "HISTORY": (11, "u64 before, u32 count"),
    "SEARCH": (16, "u8 start, u64 arg, u64 before, s16 text, u64 until, s8 from_, u16 context,"
                   " u32 most, u8 kinds"),
    "PING": (12, "u64 stamp"),
    "BYE": (13, "u16 code, s16 text"),
    "SEEN": (14, "u64 clock, u64 woken, u64 arrived, u32 bytes, u16 calls, u64 posted, u16 post_calls"),
    "WATCH": (15, "u16 rate"),
    "WELCOME": (32, "u16 version, u8 transport, u8 resumed, u32 session, id token, u64 producer,"
                    " u32 last_counter, u32 epoch, s8 nick, s8 server, s8 up, s8 down, s16 skipped"),
    "REFUSE": (33, "u16 code, s16 text"),
    "JOINED": (34, "s8 name, id uuid, u32 epoch, u64 first, u64 next, u32 members, u8 rewound,"
                   " s16 topic, u64 read"),
    "PARTED": (35, "u16 code, s16 text"),
    "ERROR": (36, "u16 code, s16 text"),
    "MEMBER": (37, "s8 nick, u8 transport, u32 session, u32 uid, u8 worker, u64 lag, u64 idle,"
                   " s16 rooms, s16 away, s8 person, u8 op"),
    "ROOM": (38, "s8 name, u32 members, u64 next, s16 topic, u64 read, u8 modes"),
    "TRANSPORT": (39, "u8 id, u8 available, u32 sessions, s16 limits, s16 reason"),
    "DONE": (40, ""),
    "PONG": (41, "u64 stamp"),
    "REPLAY": (42, "u64 from_, u64 to"),
    "NICKED": (43, "s8 nick"),
    "TRACE": (44, "u16 code, u16 hops, u32 members, u8 sampled, u8 same_clock, s8 name, s8 nick,"
                  " u8 transport, u32 session, u64 sent, u64 posted, u64 woken, u64 taken, u64 logged,"
                  " u64 told, u32 bytes, u32 batch, u16 post_calls, u16 take_calls, u16 log_calls,"
                  " s16 note"),
    "HOP": (45, "u32 session, s8 nick, u8 transport, u8 worker, u8 bell, u8 same_clock, u64 ordered,"
                " u64 received, u64 began, u64 pushed, u32 push_bytes, u16 order_calls, u16 push_calls,"
                " u64 woken, u64 arrived, u32 bytes, u16 calls"),
    "MESSAGE": (64, "s8 from_, s16 text"),
    "ARRIVE": (65, "s8 nick, u8 transport, s16 text"),
    "LEAVE": (66, "s8 nick, u8 transport, s16 reason"),
    "RENAME": (67, "s8 from_, s8 to"),
    "RETITLE": (68, "s8 from_, s16 topic"),
    "EPOCH": (69, "u32 epoch"),
    "PRODUCERS": (70, "s16 list"),
    "EDITED": (88, "s8 from_, s16 text, u64 target"),
    "DELETED": (89, "s8 from_, u64 target"),
    "INVITED": (80, "s8 from_, s8 nick, s8 person, u8 on"),
    "KICKED": (81, "s8 from_, s8 nick, s8 person, s16 text"),
    "BANNED": (82, "s8 from_, s8 nick, s8 person, u8 on, s16 text"),
    "OPPED": (83, "s8 from_, s8 nick, s8 person, u8 on"),
    "CHANGED": (84, "s8 from_, s8 name, s16 value"),
    "SETTINGS": (85, "s16 entries"),
    "INVITE": (96, "s8 nick, u8 on"),
    "KICK": (97, "s8 nick, s16 text"),
    "BAN": (98, "s8 who, u8 on, s16 text"),
    "OP": (99, "s8 who, u8 on"),
    "MODE": (100, "s8 name, s16 value"),
    "MODES": (101, ""),
    "WHOIS": (102, "s8 nick"),
    "RELEASE": (103, "s8 nick"),
    "INVITATION": (112, "s8 name, s8 from_"),
    "SETTING": (113, "u8 kind, s8 name, s16 value, s8 by, u64 stamp"),
    "PROFILE": (114, "s8 nick, s8 person, u8 transport, u32 session, u8 worker, u64 lag, u64 idle,"
                     " u64 since, s16 rooms, s16 away"),
    "READ": (104, "u64 upto"),
    "AWAY": (105, "s16 text"),
    "EDIT": (106, "u64 target, s16 text"),
    "DELETE": (107, "u64 target"),
    "MARKED": (116, "u64 upto"),
    "STATUS": (117, "s8 nick, u8 here, s16 away"),
    "FILE": (76, "s8 from_, s8 name, u64 size, id file, s8 hash"),
    "FILE_PUT": (124, "s8 name, u64 size, id key, id attempt"),
    "FILE_GET": (125, "u64 said, s8 name"),
    "FILE_LIST": (126, ""),
    "FILE_OPEN": (127, "id ticket, u64 offset"),
    "FILE_TICKET": (128, "id ticket, id file"),
    "FILE_ENTRY": (129, "u64 said, u64 when, s8 from_, s8 name, u64 size, id file, s8 hash"),
    "FILE_DATA": (130, "u8 how, u64 offset, u64 size"),
    "FILE_END": (131, "s8 hash"),
    "DROPPED": (120, "u64 before"),
}
# Last fields that records of earlier releases do not have.
LATER = {"HELLO": {"account": "", "secret": ""},
         "SEARCH": {"until": 0, "from_": "", "context": 0, "most": 0, "kinds": 0}, "JOINED": {"read": 0},
         "MEMBER": {"away": "", "person": "", "op": 0}, "ROOM": {"read": 0, "modes": 0}}
FIELDS = {name: [tuple(f.split()) for f in fields.split(",") if f.strip()]
          for name, (_, fields) in TYPES.items()}
NAMES = {number: name for name, (number, _) in TYPES.items()}
INTEGERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}

CODES = {"VERSION": 1, "MALFORMED": 2, "TRANSPORT": 3, "LIMIT": 4, "DENIED": 5, "NICK": 6, "ROOM": 7,
         "TEXT": 8, "NOT_MEMBER": 9, "STORAGE": 10, "SHUTDOWN": 11, "SLOW": 12, "UNKNOWN": 13,
         "GAP": 14, "EXPIRED": 15, "REPLACED": 16, "WORKER": 17, "KICKED": 18,
         "FILE": 20}


def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


_TABLE = _crc_table()


def crc32c(*parts):
    crc = 0xFFFFFFFF
    for part in parts:
        for byte in part:
            crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Malformed(Exception):
    pass


class Ended(Exception):
    """The server closed the connection."""


class Record:
    """One record: `type` is its name, the header and the body's fields are attributes. Text is `str`;
    ids and lists are `bytes`. A field that is a word of Python has an underscore behind it."""

    def __init__(self, type_name, header, fields):
        self.type = type_name
        self.flags, self.room, self.counter, self.seq, self.time, self.producer = header
        self.fields = fields
        self.__dict__.update(fields)

    def __repr__(self):
        return (f"{self.type}(room={self.room} counter={self.counter} seq={self.seq} "
                f"flags={self.flags} {self.fields})")


BYTE_STRINGS = {"list", "transports", "cursors", "up", "down", "skipped", "entries", "hash"}


def encode_body(type_name, values):
    values = {**LATER.get(type_name, {}), **values}
    out = b""
    for kind, field in FIELDS[type_name]:
        value = values.pop(field)
        if kind in INTEGERS:
            out += struct.pack(INTEGERS[kind], value)
        elif kind == "id":
            out += struct.pack("16s", value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            out += struct.pack("<B" if kind == "s8" else "<H", len(raw)) + raw
    assert not values, f"{type_name} has no field {list(values)}"
    return out


def seal(number, body, flags=0, room=0, counter=0, seq=0, stamp=0, producer=0):
    """A whole record around the bytes of a body."""
    body += bytes(-len(body) % 8)
    words = (HEADER_BYTES + len(body)) // 8
    head = HEADER.pack(words, number, flags, 0, room, counter, seq, stamp, producer)
    crc = crc32c(head[:4], head[8:], body)
    return head[:4] + struct.pack("<I", crc) + head[8:] + body


def encode(type_name, flags=0, at=0, counter=0, number=0, stamp_=0, **values):
    """A record of the client; `at` is the number of the room in the header, `number` and `stamp_` its
    fields seq and time."""
    return seal(TYPES[type_name][0], encode_body(type_name, values), flags, at, counter, number, stamp_)


def decode(data):
    """(Record, bytes used), or None if `data` does not yet hold a whole record."""
    if len(data) < 2:
        return None
    size = struct.unpack_from("<H", data)[0] * 8
    if not HEADER_BYTES <= size <= RECORD_MAX:
        raise Malformed(f"length {size}")
    if len(data) < size:
        return None
    raw = bytes(data[:size])
    _, number, flags, crc, room, counter, seq, stamp, producer = HEADER.unpack_from(raw)
    if crc != crc32c(raw[:4], raw[8:]):
        raise Malformed("checksum")
    name = NAMES.get(number)
    fields = {}
    at = HEADER_BYTES
    try:
        for kind, field in FIELDS.get(name, []):
            if kind in INTEGERS:
                fields[field] = struct.unpack_from(INTEGERS[kind], raw, at)[0]
                at += struct.calcsize(INTEGERS[kind])
            elif kind == "id":
                fields[field] = raw[at:at + 16]
                at += 16
            else:
                width = 1 if kind == "s8" else 2
                length = int.from_bytes(raw[at:at + width], "little")
                value = raw[at + width:at + width + length]
                at += width + length
                fields[field] = value if field in BYTE_STRINGS else value.decode()
            if at > size:
                raise Malformed(f"{name} is cut short")
    except struct.error:
        raise Malformed(f"{name} is cut short") from None
    return Record(name or f"type {number}", (flags, room, counter, seq, stamp, producer), fields), size


def cursor(uuid, epoch, flags, seq):
    """One element of HELLO's `cursors`."""
    return struct.pack("<16sIIQ", uuid, epoch, flags, seq)


def skips(data):
    """WELCOME's `skipped` as [(transport, reason)]."""
    out = []
    while data:
        transport, n = data[0], data[1]
        out.append((transport, data[2:2 + n].decode()))
        data = data[2 + n:]
    return out


class Client:
    """A session over a stream socket. Records that nobody waited for yet are kept in order."""

    def __init__(self, sock, deadline=60):
        self.sock = sock
        self.deadline = deadline
        self.data = bytearray()
        self.kept = collections.deque()
        self.fds = []
        self.counter = 0  # of posts
        self.request = 0  # of everything else
        self.welcome = None

    # -- bytes ------------------------------------------------------------------------------------

    @classmethod
    def dial(cls, address, deadline=60):
        """Connect without a word. `address`: a path, or (host, port)."""
        kind = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        sock = socket.socket(kind, socket.SOCK_STREAM)
        sock.settimeout(deadline)
        sock.connect(address)
        return cls(sock, deadline)

    def send(self, data):
        self.sock.sendall(data)

    def _fill(self, left):
        self.sock.settimeout(max(left, 0.001))
        if self.sock.family == socket.AF_UNIX:
            data, control, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
            for level, kind, payload in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds = array.array("i")
                    fds.frombytes(payload[:len(payload) // 4 * 4])
                    self.fds += fds
        else:
            data = self.sock.recv(65536)
        if not data:
            raise Ended()
        self.data += data

    def next(self, deadline=None):
        """The next record; Ended at end of file, TimeoutError after the deadline."""
        if self.kept:
            return self.kept.popleft()
        return self._read(time.monotonic() + (deadline or self.deadline))

    def _read(self, end):
        while True:
            found = decode(self.data)
            if found:
                del self.data[:found[1]]
                return found[0]
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no record came")
            try:
                self._fill(left)
            except ConnectionResetError:
                raise Ended() from None

    def until(self, *types, **match):
        """The next record of one of these types whose attributes match; others are kept."""
        def fits(r):
            return r.type in types and all(getattr(r, k, None) == v for k, v in match.items())
        for i, r in enumerate(self.kept):
            if fits(r):
                del self.kept[i]
                return r
        end = time.monotonic() + self.deadline
        while True:
            r = self._read(end)
            if fits(r):
                return r
            self.kept.append(r)

    def until_end(self):
        """Every record up to the end of the connection."""
        out = []
        try:
            while True:
                out.append(self.next())
        except Ended:
            return out

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- sessions ---------------------------------------------------------------------------------

    def hello(self, nick, transports=None, strict=1, token=NO_TOKEN, producer=0, cursors=b"",
              version=VERSION, input=b"", account="", secret="", flags=0):
        """Send HELLO and return the answer: WELCOME or REFUSE."""
        if transports is None:
            transports = [TCP if self.sock.family == socket.AF_INET else UNIX]
        self.send(encode("HELLO", flags, version=version, strict=strict, transports=bytes(transports),
                         nick=nick, token=token, producer=producer, client="parleywire.py",
                         cursors=cursors, input=input, account=account,
                         secret=secret))
        return self.next()

    @classmethod
    def connect(cls, address, nick, deadline=60, **hello):
        """A session that is open, or an error with the server's words."""
        c = cls.dial(address, deadline)
        c.welcome = c.hello(nick, **hello)
        if c.welcome.type != "WELCOME":
            c.close()
            raise ConnectionRefusedError(repr(c.welcome))
        c.counter = c.welcome.last_counter
        c.send(encode("READY"))
        return c

    def ask(self, type_name, at=0, flags=0, **values):
        """Send a request; its number, which the answer repeats."""
        self.request += 1
        self.send(encode(type_name, flags, at, self.request, **values))
        return self.request

    def join(self, name, start=FROM_NOW, arg=0, flags=0):
        """The JOINED record (its `room` is the number for everything else), or the ERROR."""
        n = self.ask("JOIN", flags=flags, room=name, start=start, arg=arg)
        return self.until("JOINED", "ERROR", counter=n)

    def post(self, room, text, counter=None, flags=0):
        """Say something; returns the counter it went out under."""
        if counter is None:
            self.counter += 1
            counter = self.counter
        self.send(encode("POST", flags, room, counter, text=text))
        return counter

    # -- files ------------------------------------------------------------------------------------

    def open_file(self, address, ticket, offset=0):
        """The socket of one file, and the first record on it: FILE_DATA or ERROR."""
        side = Client.dial(address, self.deadline)
        side.send(encode("FILE_OPEN", ticket=ticket.ticket, offset=offset))
        return side, side.next()

    def put_file(self, room, name, size, key=bytes(16), attempt=None):
        """FILE_TICKET, FILE_ENTRY or ERROR."""
        n = self.ask("FILE_PUT", at=room, name=name, size=size, key=key,
                     attempt=os.urandom(16) if attempt is None else attempt)
        return self.until("FILE_TICKET", "FILE_ENTRY", "ERROR", counter=n)

    def get_file(self, room, said=0, name=""):
        """(FILE_ENTRY, FILE_TICKET), or (None, ERROR)."""
        n = self.ask("FILE_GET", at=room, said=said, name=name)
        first = self.until("FILE_ENTRY", "ERROR", counter=n)
        return (None, first) if first.type == "ERROR" else (first, self.until("FILE_TICKET", counter=n))

    def listing(self, name, room=0):
        """The lines of WHO, ROOMS or TRANSPORTS."""
        n = self.ask(name, at=room)
        out = []
        while True:
            r = self.until("MEMBER", "ROOM", "TRANSPORT", "FILE_ENTRY", "DONE", "ERROR", counter=n)
            if r.type in ("DONE", "ERROR"):
                return out
            out.append(r)
