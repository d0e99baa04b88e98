"""Raw ends of every transport, in Python: the memory, files, queues and sockets of a session in our own
hands, to use them rightly or wrongly.

    s = Session("/run/parley.sock", "shm")
    s.push(wire.encode("PING", stamp=1))
"""

import ctypes
import errno
import mmap
import os
import socket
import struct

import parleywire as wire

libc = ctypes.CDLL(None, use_errno=True)
libc.mq_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
libc.mq_send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
libc.msgsnd.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

IPC_NOWAIT = 0o4000
IDS = {"fifo": wire.FIFO, "posixmq": wire.POSIXMQ, "sysvmq": wire.SYSVMQ, "shm": wire.SHM,
       "mmap": wire.MMAP, "unix": wire.UNIX, "tcp": wire.TCP}


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
