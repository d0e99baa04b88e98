"""Clients that mean harm, each a process of its own: raw ends of every transport, and attacks.

    hostile.py SOCKET TRANSPORT ATTACK [ADDRESS]

The attack repeats until `hold` is read on standard input, then the process keeps still with all it
has opened until it is killed. It says `go` when the first round of the attack is done, and `held`
when it keeps still. A connection that the server ends is opened again: a refusal is no peace.
"""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import sys
import threading
import time

import parleywire as wire

libc = ctypes.CDLL(None, use_errno=True)
libc.mq_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
libc.mq_send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
libc.msgsnd.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

IPC_NOWAIT, IPC_RMID, IPC_SET, IPC_STAT = 0o4000, 0, 1, 2
IDS = {"fifo": wire.FIFO, "posixmq": wire.POSIXMQ, "sysvmq": wire.SYSVMQ, "shm": wire.SHM,
       "mmap": wire.MMAP, "unix": wire.UNIX, "tcp": wire.TCP}

ROOM = "#attacked"


# --- raw ends ------------------------------------------------------------------------------------------


class Ring:
    """The memory of one direction of `shm`, all of it ours to write."""

    TAIL, HEAD, READER, WRITER, DATA = 0, 64, 128, 192, 256

    def __init__(self, fd, size):
        self.fd, self.size = fd, size
        self.map = mmap.mmap(fd, self.DATA + size)
        self.own = 0

    def put(self, data):
        """As an honest producer, if there is room."""
        if len(data) > self.size - (self.own - self.word(self.HEAD)):
            return False
        at = self.own % self.size
        first = min(len(data), self.size - at)
        self.map[self.DATA + at:self.DATA + at + first] = data[:first]
        self.map[self.DATA:self.DATA + len(data) - first] = data[first:]
        self.own += len(data)
        self.store(self.TAIL, self.own)
        return True

    def word(self, at):
        return struct.unpack_from("<Q", self.map, at)[0]

    def store(self, at, value, form="<Q"):
        """In one step: struct.pack_into would write zeros first, and the server may look just then."""
        kind = ctypes.c_uint64 if form == "<Q" else ctypes.c_uint32
        word = kind.from_buffer(self.map, at)
        word.value = value
        del word  # a view of the memory would keep it from being unmapped


class Files:
    """The outbox of `mmap`: lane of the producer at 64, of the consumer at 128, ring at 4096."""

    PRODUCER, CONSUMER, DATA = 64, 128, 4096

    def __init__(self, params):
        self.size = struct.unpack_from("<I", params)[0]
        self.outbox = params[36:].decode()
        self.inbox = os.path.join(os.path.dirname(self.outbox), params[4:36].decode() + ".mmap")
        self.fd = os.open(self.outbox, os.O_RDWR)
        self.inbox_fd = os.open(self.inbox, os.O_RDONLY)
        self.own = 0

    def lane(self, at, index, check=None, wake=None):
        mask = 2 ** 64 - 1
        check = ~index if check is None else check
        out = struct.pack("<QQ", index & mask, check & mask)
        if wake is not None:
            out += struct.pack("<Q", wake & mask)
        os.pwrite(self.fd, out, at)

    def put(self, data):
        head = struct.unpack("<Q", os.pread(self.inbox_fd, 8, self.CONSUMER))[0]
        if len(data) > self.size - (self.own - head):
            return False
        at = self.own % self.size
        first = min(len(data), self.size - at)
        os.pwrite(self.fd, data[:first], self.DATA + at)
        if first < len(data):
            os.pwrite(self.fd, data[first:], self.DATA)
        self.own += len(data)
        self.lane(self.PRODUCER, self.own)
        return True


class SystemV:
    def __init__(self, params):
        self.key = struct.unpack("<I", params)[0]
        self.id = libc.msgget(ctypes.c_int(self.key), 0)
        if self.id < 0:
            raise OSError(ctypes.get_errno(), "msgget")

    def send(self, kind, payload):
        """False: full."""
        raw = struct.pack("<q", kind) + payload
        if libc.msgsnd(self.id, raw, len(payload), IPC_NOWAIT) == 0:
            return True
        if ctypes.get_errno() == errno.EAGAIN:
            return False
        raise OSError(ctypes.get_errno(), "msgsnd")


class Posix:
    def __init__(self, params, flags):
        self.fd = libc.mq_open(params, flags | os.O_NONBLOCK, 0, None)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "mq_open")

    def send(self, payload, priority=0):
        if libc.mq_send(self.fd, payload, len(payload), priority) == 0:
            return True
        if ctypes.get_errno() == errno.EAGAIN:
            return False
        raise OSError(ctypes.get_errno(), "mq_send")


class Session:
    """A session over `transport` with its raw uplink in our hands; READY is sent unless told not to."""

    def __init__(self, server, transport, nick="mallory", ready=True, **hello):
        self.transport = transport
        self.wire = wire.Client.dial(server)
        self.welcome = self.wire.hello(nick, transports=[IDS[transport]], **hello)
        if self.welcome.type != "WELCOME":
            self.wire.close()
            raise ConnectionRefusedError(repr(self.welcome))
        self.sock = self.wire.sock
        self.sock.setblocking(False)
        up, down, fds = self.welcome.up, self.welcome.down, self.wire.fds
        self.bell = None
        self.up = self.down = None
        if transport == "shm":
            self.up = Ring(fds[0], struct.unpack_from("<I", up, 1)[0])
            self.down = Ring(fds[1], struct.unpack_from("<I", down, 1)[0])
        elif transport == "mmap":
            self.up = self.down = Files(up[1:])
        elif transport == "sysvmq":
            self.up, self.down = SystemV(up[1:]), SystemV(down[1:])
        elif transport == "posixmq":
            self.up, self.down = Posix(up[1:], os.O_WRONLY), Posix(down[1:], os.O_RDWR)
        elif transport == "fifo":
            self.up = os.open(up[1:], os.O_WRONLY | os.O_NONBLOCK)
            self.down = os.open(down[1:], os.O_RDONLY | os.O_NONBLOCK)
        if transport in ("shm", "mmap", "sysvmq"):
            self.bell = socket.socket(fileno=os.dup(fds[-1]))
            self.bell.setblocking(False)
        if ready:
            self.push(wire.encode("READY"))

    def ring(self, n=1):
        return try_send(self.sock, bytes(n))

    def push(self, records):
        """Whole records up the link; False: no room now."""
        if self.transport in ("unix", "tcp"):
            return try_send(self.sock, records) == len(records)
        if self.transport == "fifo":
            try:
                return os.write(self.up, records) > 0
            except BlockingIOError:
                return False
        if self.transport == "posixmq":
            return all(self.up.send(b"\1" + r) for r in split(records, 400))
        if self.transport == "sysvmq":
            done = all(self.up.send(2, b"\1" + r) for r in split(records, 2000))
        else:
            done = self.up.put(records)
        self.ring()
        return done

    def raw(self, data):
        """Bytes that need not be records, in whatever the link takes for them."""
        if self.transport == "posixmq":
            return self.up.send(data[:500])
        if self.transport == "sysvmq":
            done = self.up.send(2, data[:2000])
            self.ring()
            return done
        return self.push(data)

    def ended(self):
        """The server let go of us."""
        try:
            while True:
                if not self.sock.recv(65536):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self):
        self.wire.close()
        if self.bell:
            self.bell.close()
        if isinstance(self.up, int):
            os.close(self.up)
            os.close(self.down)
        elif isinstance(self.up, Posix):
            os.close(self.up.fd)
            os.close(self.down.fd)
        elif isinstance(self.up, Files):
            os.close(self.up.fd)
            os.close(self.up.inbox_fd)
        elif isinstance(self.up, Ring):
            self.up.map.close()
            self.down.map.close()


def try_send(sock, data):
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def split(records, most):
    """Whole records in messages of at most about `most` bytes."""
    out, at = b"", 0
    while at < len(records):
        n = struct.unpack_from("<H", records, at)[0] * 8
        if out and len(out) + n > most:
            yield out
            out = b""
        out += records[at:at + n]
        at += n
    if out:
        yield out


def join(session):
    session.push(wire.encode("JOIN", wire.QUIET, 0, 1, room=ROOM, start=wire.FROM_NOW, arg=0))


# --- attacks -------------------------------------------------------------------------------------------
# Each takes a Session and does one round of harm; it may raise OSError when the server has ended the
# session, and then gets a new one.

ATTACKS = {}
ALL = ("fifo", "posixmq", "sysvmq", "shm", "mmap", "unix", "tcp")
LOCAL = ALL[:6]
BELLS = ("sysvmq", "shm", "mmap")


def attack(*transports, fresh=False, setup=None, logged=None):
    """`logged`: words that the server's log must have about it. `fresh`: a new session each round.
    `setup`: called once for each session."""
    def enter(function):
        function.transports, function.fresh = transports, fresh
        function.setup, function.logged = setup, logged
        ATTACKS[function.__name__] = function
        return function
    return enter


def joined(s):
    join(s)
    s.ring()


@attack("shm", fresh=True, logged="malformed|EBADMSG")
def scribble_indices(s):
    """Over everything in the headers of both rings, while traffic runs."""
    join(s)
    s.ring()
    for value in (2 ** 64 - 1, 2 ** 63, s.up.size * 3, 1, 0, s.up.size + 1):
        for ring in (s.down, s.up):
            for at in (Ring.TAIL, Ring.HEAD):
                ring.store(at, value)
            for at in (Ring.READER, Ring.WRITER):
                ring.store(at, value, "<I")
        s.ring(4)
        s.bell.send(b"x")


@attack("shm", setup=joined)
def scribble_flags(s):
    """Flags up for ever: the server must ring, but never wait or fill anything."""
    for _ in range(100):
        for ring in (s.down, s.up):
            for at in (Ring.READER, Ring.WRITER):
                ring.store(at, 0xffffffff, "<I")
        s.push(PING)


@attack("shm", setup=joined)
def scribble_bytes_of_downlink(s):
    """What the server writes is written over at once; it never reads it."""
    s.down.map[Ring.DATA:] = os.urandom(s.down.size)
    s.push(PING)


@attack("shm", fresh=True, logged="malformed|EBADMSG")
def consumer_that_goes_back(s):
    """The producer looks at the index only when it needs room: so as many answers as the ring holds, and more."""
    join(s)
    s.down.store(Ring.HEAD, -8)
    for _ in range(2 * s.down.size // len(PING)):
        while not s.push(PING):
            if s.ended():
                return
            time.sleep(0.001)


@attack("shm", fresh=True)
def punch_holes(s):
    """Seals forbid resizing, not holes: they must read as zeros, not fault."""
    for ring in (s.up, s.down):
        for resize in (lambda: os.ftruncate(ring.fd, 0), lambda: os.ftruncate(ring.fd, 1 << 30)):
            try:
                resize()
                print("resized a sealed file", flush=True)
            except PermissionError:
                pass
        libc.fallocate(ring.fd, 3, ctypes.c_long(0), ctypes.c_long(Ring.DATA + ring.size))
    s.push(PING)
    s.up.store(Ring.TAIL, 4096)
    s.ring()


@attack("mmap", fresh=True, logged="malformed|EBADMSG")
def truncate_outbox(s):
    join(s)
    s.push(PING * 3)
    os.ftruncate(s.up.fd, 64)
    s.ring()
    s.bell.send(b"x")
    os.ftruncate(s.up.fd, 0)
    s.ring()


@attack("mmap", fresh=True, logged="malformed|EBADMSG")
def scribble_lanes(s):
    join(s)
    for value in (2 ** 64 - 1, 2 ** 63, s.up.size * 3, 1, 0):
        for at in (Files.PRODUCER, Files.CONSUMER):
            s.up.lane(at, value, wake=value)
            s.up.lane(at, value, check=value, wake=~value)
        s.ring()
        s.bell.send(b"x")


@attack("mmap", setup=joined)
def wake_at_everything(s):
    """Asks to be rung for every byte."""
    for _ in range(100):
        s.up.lane(Files.PRODUCER, s.up.own, wake=0)
        os.pwrite(s.up.fd, struct.pack("<Q", 0), Files.PRODUCER + 16)
        s.push(PING)


@attack("mmap", fresh=True)
def spoil_inbox(s):
    """The inbox is for reading only, but it is the client's file: chmod, truncate and punch it."""
    os.fchmod(s.up.inbox_fd, 0o600)
    fd = os.open(f"/proc/self/fd/{s.up.inbox_fd}", os.O_RDWR)
    libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096))
    os.ftruncate(fd, 0)
    os.pwrite(s.up.fd, PING, Files.DATA + s.up.own)
    s.up.own += len(PING)
    s.up.lane(Files.PRODUCER, s.up.own)
    s.ring()
    os.close(fd)


@attack(*BELLS)
def ring_without_end(s):
    """The lifeline full of bells from morning to night."""
    flood(s.sock, 0.2)


@attack(*BELLS)
def ring_the_worker_without_end(s):
    flood(s.bell, 0.2)


def flood(sock, seconds):
    noise = bytes(1 << 16)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if try_send(sock, noise) == 0:
            select.select([], [sock], [], 0.05)


@attack(*ALL, setup=joined)
def never_read(s):
    """Asks and posts, and reads nothing of what comes back."""
    for _ in range(20):
        s.counter = getattr(s, "counter", 0) + 1
        s.push(PING * 5)
        if s.transport in BELLS:
            s.ring()
    nap()


@attack(*LOCAL)
def clear_nonblock(s):
    """Make every description blocking that we can: none of them may be one that the server waits on."""
    fds = [s.sock.fileno(), *s.wire.fds]
    if isinstance(s.up, int):
        fds += [s.up, s.down]
    if isinstance(s.up, Posix):
        fds += [s.up.fd, s.down.fd]
    if s.bell:
        fds.append(s.bell.fileno())
    for fd in fds:
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    s.sock.setblocking(False)
    s.push(PING)
    for _ in range(20):
        if not s.ring():
            break
    nap()


@attack(*LOCAL, fresh=True)
def stuff_descriptors(s):
    """Descriptors on the lifeline: they must be closed or refused, and never kept."""
    r, w = os.pipe()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [r, w] * 100))]
    for sock in (s.sock, s.bell):
        for _ in range(20):
            try:
                sock and sock.sendmsg([PING], rights)
            except OSError:
                break
    os.close(r)
    os.close(w)


@attack("unix", "shm", fresh=True)
def slow_close(s):
    """A TCP socket that lingers: whoever closes it last waits until all is sent, an hour if need be."""
    for sock in (s.sock, s.bell):
        if sock is None:
            continue
        listener = socket.create_server(("127.0.0.1", 0))
        sender = socket.create_connection(listener.getsockname())
        KEPT.append((listener, listener.accept()[0]))  # which never reads
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
        sender.setblocking(False)
        while try_send(sender, bytes(1 << 16)):
            pass
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sender.fileno()]))]
        try:
            sock.sendmsg([PING], rights)
            os.close(sender.detach())  # the one in the message is the last
        except OSError:  # refused, so ours to give up: without lingering
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sender.close()
    nap()


@attack(*ALL, fresh=True)
def half_a_record(s):
    """The first half, then silence."""
    half = wire.encode("POST", 0, 1, 1, text="x" * 300)[:100]
    s.raw(half if s.transport not in ("posixmq", "sysvmq") else b"\2" + half)
    KEPT.append(s)
    nap()


@attack(*ALL, fresh=True, logged="malformed")
def lengths_that_lie(s):
    good = wire.encode("PING", stamp=1)
    for words in (0, 1, 4, 0xffff, 4161):
        s.raw((b"\1" if s.transport in ("posixmq", "sysvmq") else b"") + struct.pack("<H", words)
              + good[2:])


@attack(*ALL, fresh=True, logged="malformed")
def garbage(s):
    for _ in range(10):
        s.raw(os.urandom(400))


@attack("posixmq", fresh=True, logged="malformed")
def odd_posix_messages(s):
    s.up.send(b"")
    s.up.send(b"\1")
    for mark in (0, 5, 255):
        s.up.send(bytes([mark]) + PING, 31)
    s.up.send(b"\3" + PING)
    s.up.send(b"\2" + PING[:20], 7)


@attack("sysvmq", fresh=True, logged="malformed")
def odd_system_v_messages(s):
    for kind in (3, 2 ** 31, 2 ** 62):
        s.up.send(kind, b"\1" + PING)
        s.up.send(kind, b"")
    s.ring()
    s.up.send(2, b"")
    s.ring()
    s.up.send(1, b"\3" + PING)
    s.up.send(2, b"\4" + bytes(8000))
    s.ring()


@attack("sysvmq", logged="malformed")
def queue_of_foreign_types(s):
    """Messages that the server does not ask for, to be searched through at each bell."""
    while s.up.send(3, b""):
        pass
    flood(s.sock, 0.05)


@attack("sysvmq", fresh=True)
def spoil_queue(s):
    """The queue is the client's to change: shrink it, close it for others, remove it."""
    info = ctypes.create_string_buffer(256)
    libc.msgctl(s.up.id, IPC_STAT, info)
    struct.pack_into("<Q", info, 88, 1)  # msg_qbytes
    libc.msgctl(s.up.id, IPC_SET, info)
    libc.msgctl(s.down.id, IPC_STAT, info)
    struct.pack_into("<Q", info, 88, 1)
    libc.msgctl(s.down.id, IPC_SET, info)
    s.ring()
    s.push(PING)
    libc.msgctl(s.up.id, IPC_RMID, None)
    libc.msgctl(s.down.id, IPC_RMID, None)
    s.ring()


@attack("posixmq", "sysvmq")
def crumbs(s):
    """A record in pieces of one byte each, without end: a message costs more than its bytes."""
    big = wire.encode("POST", 0, 1, 1, text="x" * 32000)

    def send(payload):
        while True:
            if s.up.send(payload) if s.transport == "posixmq" else s.up.send(2, payload):
                return
            s.ring()
            if s.ended():
                raise ConnectionResetError
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        send(b"\2" + big[:40])
        for i in range(40, len(big) - 1):
            send(b"\3" + big[i:i + 1])
        send(b"\4" + big[-1:])
        s.ring()


@attack(*LOCAL, fresh=True)
def never_ready(s):
    """Handled by the loop: sessions without READY, up to a good number."""


@attack("unix", fresh=True)
def never_hello(s):
    """Handled by the loop: connections that say nothing."""


def requests(*names):
    """A burst as large as one reading of the server, of these requests over and over."""
    one = b"".join(wire.encode(n, 0, *args, **fields) for n, args, fields in names)
    return one * max(1, (200 << 10) // len(one))


def requests_flood(s, burst):
    if s.transport in ("unix", "tcp", "fifo"):
        end = time.monotonic() + 0.3
        at = 0
        while time.monotonic() < end:
            n = 0
            try:
                n = s.sock.send(burst[at:]) if s.transport != "fifo" else os.write(s.up, burst[at:])
            except BlockingIOError:
                nap()
            at = (at + n) % len(burst)
    else:
        s.push(burst)
        nap()


@attack("unix", "shm", "fifo", setup=joined, logged="replies not read|")
def flood_of_who(s):
    """Each asks for a line about everybody, and nobody reads them."""
    requests_flood(s, WHO)


@attack("unix", "shm", setup=joined)
def flood_of_transports(s):
    """Each makes the server try out all mechanisms."""
    requests_flood(s, TRANSPORTS)


@attack("unix", "shm", setup=joined)
def flood_of_history(s):
    requests_flood(s, HISTORY)


@attack("unix", "shm", setup=joined)
def flood_of_searches(s):
    """One runs at a time, and looks a little each turn."""
    requests_flood(s, SEARCHES)


@attack("shm", setup=joined)
def swallow_history(s):
    """All of a long history again and again, said to be read the moment it is written."""
    s.push(HISTORY[:4096 // 56 * 56])
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        s.down.store(Ring.HEAD, s.down.word(Ring.TAIL))
        s.bell.send(b"x")


@attack("unix", setup=joined)
def flood_of_joins(s):
    requests_flood(s, JOINS)


def forgeries(address):
    """HELLOs with tokens that are not ours; the answers."""
    out = []
    for token, producer in ((os.urandom(16), 1), (os.urandom(16), 0), (b"\1" * 16, 2 ** 64 - 1)):
        with wire.Client.dial(address) as c:
            out.append(c.hello("mallory", token=token, producer=producer))
    return out


def nap():
    time.sleep(0.002)  # between rounds, not for synchronisation


PING = wire.encode("PING", stamp=7)
WHO = requests(("WHO", (0, 1), {}))
TRANSPORTS = requests(("TRANSPORTS", (0, 1), {}))
HISTORY = requests(("HISTORY", (1, 1), {"before": 0, "count": 0}))
SEARCHES = requests(("SEARCH", (1, 1), {"start": 2, "arg": 0, "before": 0, "text": "ünheard of"}))
JOINS = requests(("PART", (1, 1), {}), ("JOIN", (0, 2), {"room": ROOM, "start": 1, "arg": 1 << 40}))
KEPT = []

# --- the process ---------------------------------------------------------------------------------------


def silent(address, many):
    """Connections that say nothing, as many as the server keeps, and again when it lets go."""
    while len(KEPT) < many:
        try:
            KEPT.append(wire.Client.dial(address, deadline=1))
        except OSError:
            return
    for c in KEPT:
        c.close()
    KEPT.clear()


def unready(address, transport, many):
    while len(KEPT) < many:
        KEPT.append(Session(address, transport, ready=False))
    for s in KEPT:
        s.close()
    KEPT.clear()


def one_round(address, transport, what, s):
    """Returns the session to go on with, or None."""
    if what is never_hello:
        silent(address, 2000)
        return None
    if what is never_ready:
        unready(address, transport, 20)
        return None
    if s is None:
        s = Session(address, transport)
        if what.setup:
            what.setup(s)
    try:
        what(s)
        over = s.ended() if not what.fresh else what is not half_a_record
    except OSError:
        over = True
    if len(KEPT) > 40:
        for k in KEPT:
            if isinstance(k, Session):
                k.close()
        KEPT.clear()
    if over:
        if what.fresh:  # give the server a moment to look before the end comes
            select.select([s.sock], [], [], 0.02)
        s.close()
        return None
    return None if what is half_a_record else s


def main():
    address, transport, name = sys.argv[1:4]
    if len(sys.argv) > 4:
        host, port = sys.argv[4].rsplit(":", 1)
        address = (host, int(port))
    what, s, rounds = ATTACKS[name], None, 0
    asked = threading.Event()

    def listen():
        sys.stdin.readline()
        asked.set()
    threading.Thread(target=listen, daemon=True).start()
    while not asked.is_set():
        try:
            s = one_round(address, transport, what, s)
        except (OSError, wire.Ended, wire.Malformed, TimeoutError):
            s = None
            nap()
        rounds += 1
        if rounds == 1:
            print("go", flush=True)
    print("held", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
