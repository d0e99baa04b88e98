"""Clients that mean harm, each a process of its own: attacks, with the raw ends of every transport.

    hostile.py SOCKET TRANSPORT ATTACK ROUNDS_FD [ADDRESS]

The attack repeats until `hold` is read on standard input, then the process keeps still with all it
has opened until it is killed. It says `go` when the first round of the attack is done, and `held`
when it keeps still; how many rounds it has done is in the file ROUNDS_FD. A connection that the server
ends is opened again: a refusal is no peace.
"""

import array
import ctypes
import fcntl
import os
import select
import socket
import struct
import sys
import threading
import time

import parleywire as wire
from rawends import Files, Posix, Ring, Session, libc, try_send

IPC_RMID, IPC_SET, IPC_STAT = 0, 1, 2
ROOM = "#attacked"


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
    address, transport, name, done = sys.argv[1:5]
    if len(sys.argv) > 5:
        host, port = sys.argv[5].rsplit(":", 1)
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
        os.pwrite(int(done), struct.pack("<Q", rounds), 0)
        if rounds == 1:
            print("go", flush=True)
    print("held", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
