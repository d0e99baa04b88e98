"""Files: large data beside the rooms. On the wire here; the command and the chat in test_file_tools.py."""

import hashlib
import mmap
import os
import socket

import pytest

from harness import children, until
from parleywire import Client, Ended, encode

BYTES, DIRECT = 0, 1
SIZES = [0, 1, 70_000]


def digest(data):
    return hashlib.blake2b(data, digest_size=32).digest()


def content(size, seed=1):
    return hashlib.shake_128(bytes([seed])).digest(size)


def data_dir(server):
    return os.path.join(server.state, "files")


def stored(server, suffix):
    return sorted(f for f in os.listdir(data_dir(server)) if f.endswith(suffix))


def transfers(server):
    found = []
    for pid in children(server.pid):
        with open(f"/proc/{pid}/comm") as f:
            if f.read().strip() == "parleyd/file":
                found.append(pid)
    return found


def tcp_server(make_server, free_port, *options):
    s = make_server()
    s.tcp = ("127.0.0.1", free_port)
    return s.start("--listen", f"127.0.0.1:{free_port}", "--workers", "1", *options)


@pytest.fixture(params=["unix", "tcp"])
def place(request, make_server, free_port):
    """(server, address for clients, whether descriptors may be expected)"""
    server = tcp_server(make_server, free_port)
    local = request.param == "unix"
    return server, server.socket if local else server.tcp, local


def push(c, address, ticket, data, how=None):
    """Bring the contents as the server wants them; the socket, with everything said."""
    side, first = c.open_file(address, ticket)
    assert first.type == "FILE_DATA", first
    assert how is None or first.how == how
    if first.how == DIRECT:
        fd = side.fds.pop()
        os.pwrite(fd, data[first.offset:], first.offset)
        os.close(fd)
        side.send(encode("FILE_END", hash=b""))
    else:
        side.send(data[first.offset:])
    side.send(encode("FILE_END", hash=digest(data)))
    return side


def send(c, address, room, name, data, **more):
    ticket = c.put_file(room, name, len(data), **more)
    assert ticket.type == "FILE_TICKET", ticket
    with push(c, address, ticket, data):
        return c.until("FILE", room=room, file=ticket.file)


def fetch(c, address, room, offset=0, **which):
    entry, ticket = c.get_file(room, **which)
    assert entry, ticket
    side, first = c.open_file(address, ticket, offset)
    with side:
        assert first.type == "FILE_DATA", first
        if first.how == DIRECT:
            if entry.size == 0:
                return b""
            with mmap.mmap(side.fds[0], entry.size, prot=mmap.PROT_READ) as m:
                return m[:]
        assert first.offset == offset
        got = bytes(side.data)
        while chunk := side.sock.recv(65536):
            got += chunk
        return got


@pytest.mark.parametrize("size", SIZES)
def test_a_file_comes_back_as_it_was_sent(place, size):
    server, address, local = place
    data = content(size)
    with Client.connect(address, "alice") as a, Client.connect(address, "bob") as b:
        room = a.join("#lobby").room
        b.join("#lobby")
        said = send(a, address, room, "photo.jpg", data)
        seen = b.until("FILE", room=room)
        assert (seen.from_, seen.name, seen.size, seen.hash) == ("alice", "photo.jpg", size, digest(data))
        assert seen.seq == said.seq and seen.file == said.file
        assert fetch(b, address, room, said=said.seq) == data
        assert fetch(b, address, room, name="photo.jpg") == data
        listed = b.listing("FILE_LIST", room)
        assert [(e.said, e.from_, e.name, e.size) for e in listed] == [(said.seq, "alice", "photo.jpg", size)]
    until(lambda: not transfers(server), "every transfer process ends")
    with open(os.path.join(data_dir(server), stored(server, ".data")[0]), "rb") as f:
        assert f.read() == data
        assert os.fstat(f.fileno()).st_mode & 0o777 == 0o400
