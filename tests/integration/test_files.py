"""Files: large data beside the rooms. On the wire here; the command and the chat in test_file_tools.py."""

import hashlib
import mmap
import os
import re
import signal
import threading

import pytest

from harness import alive, children_named, until
from parleywire import CODES, Client, Ended, encode
from test_users import NOBODY, programs, python, start  # noqa: F401

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
    return children_named(server.pid, "parleyd/file")


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


# --- going on after an interruption ------------------------------------------------------------------


def break_off(server, c, address, room, name, data, upto):
    """Bring `upto` bytes, then go away without a word; once the server has noticed, the FILE_TICKET."""
    ticket = c.put_file(room, name, len(data))
    side, first = c.open_file(address, ticket)
    assert first.type == "FILE_DATA" and first.offset == 0
    if first.how == DIRECT:
        os.pwrite(side.fds[0], data[:upto], 0)
    else:
        side.send(data[:upto])
    side.close()
    assert c.until("ERROR").code == CODES["FILE"]
    until(lambda: not transfers(server), "the transfer process ends")
    return ticket


def test_an_upload_goes_on_where_it_stopped(place):
    server, address, local = place
    data = content(200_000)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        before = break_off(server, a, address, room, "x", data, 123_456)
        ticket = a.put_file(room, "x", len(data))
        assert ticket.file == before.file
        side, first = a.open_file(address, ticket)
        assert first.offset == 123_456
        side.close()
        a.until("ERROR")
        said = send(a, address, room, "x", data)  # from there on
        assert said.file == before.file and fetch(a, address, room, said=said.seq) == data


def test_an_upload_goes_on_after_the_server_was_killed(place):
    server, address, local = place
    data = content(200_000)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        ticket = a.put_file(room, "x", len(data))
        side, first = a.open_file(address, ticket)
        if first.how == DIRECT:
            os.pwrite(side.fds[0], data[:99_999], 0)
        else:
            side.send(data[:99_999])
        info = os.path.join(data_dir(server), stored(server, ".data")[0])
        until(lambda: os.path.getsize(info) == 99_999, "what was sent is there")
        orphans = transfers(server)
        server.kill()
        until(lambda: not any(alive(p) for p in orphans), "transfer processes end with their hub")
        side.close()
    server.start(*server.options)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        again = a.put_file(room, "x", len(data))
        assert again.file == ticket.file
        with push(a, address, again, data):
            a.until("FILE", file=ticket.file)
        assert fetch(a, address, room, name="x") == data


def test_a_transfer_process_that_dies_costs_a_retry(place):
    server, address, local = place
    data = content(50_000)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        ticket = a.put_file(room, "x", len(data))
        side, _ = a.open_file(address, ticket)
        os.kill(until(lambda: transfers(server), "a process serves it")[0], signal.SIGKILL)
        assert a.until("ERROR").code == CODES["FILE"]
        side.close()
        send(a, address, room, "x", data)


def test_asking_again_while_it_moves_takes_it_over(place):
    """What a client does that lost its session, but not yet the file's socket."""
    server, address, local = place
    data = content(50_000)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        side, _ = a.open_file(address, a.put_file(room, "x", len(data)))
        while side.fds:
            os.close(side.fds.pop())
        said = send(a, address, room, "x", data)
        assert fetch(a, address, room, said=said.seq) == data
        with pytest.raises((Ended, ConnectionError)):
            side.send(b"x")
            side.next()
        side.close()


def test_the_same_attempt_is_not_sent_twice_and_a_new_one_is(place):
    server, address, local = place
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        attempt = os.urandom(16)
        said = send(a, address, room, "x", b"once", attempt=attempt)
        again = a.put_file(room, "x", 4, attempt=attempt)
        assert (again.type, again.said, again.file) == ("FILE_ENTRY", said.seq, said.file)
        server.stop()
    server.start(*server.options)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        again = a.put_file(room, "x", 4, attempt=attempt)
        assert (again.type, again.said) == ("FILE_ENTRY", said.seq)
        twice = send(a, address, room, "x", b"once")
        assert twice.seq > said.seq and twice.file != said.file
        assert len(a.listing("FILE_LIST", room)) == 2


# --- liars ---------------------------------------------------------------------------------------------


def refused(server, c, address, room, data, tell):
    """`tell(side, first)` says it wrongly: ERROR, and nothing is kept or shown."""
    ticket = c.put_file(room, "x", len(data))
    side, first = c.open_file(address, ticket)
    with side:
        try:
            tell(side, first)
        except ConnectionError:  # it was noticed before all was said
            pass
        error = c.until("ERROR")
    assert error.code == CODES["FILE"], error
    until(lambda: stored(server, ".data") == [] and stored(server, ".info") == [], "nothing is kept")
    assert c.listing("FILE_LIST", room) == []
    return error.text


def write(side, first, data):
    if first.how == DIRECT:
        os.pwrite(side.fds[0], data, 0)
        os.close(side.fds.pop())
        side.send(encode("FILE_END", hash=b""))
    else:
        side.send(data)


def test_a_wrong_checksum_keeps_nothing(place):
    server, address, local = place
    data = content(5000)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room

        def tell(side, first):
            write(side, first, data)
            side.send(encode("FILE_END", hash=digest(b"else")))
        assert "checksum" in refused(server, a, address, room, data, tell)
        send(a, address, room, "x", data)


@pytest.mark.parametrize("wrong", [4000, 6000])
def test_another_size_than_announced_keeps_nothing(place, wrong):
    server, address, local = place
    if not local and wrong < 5000:
        pytest.skip("fewer bytes on a stream are an interruption")
    data = content(5000)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room

        def tell(side, first):
            end = encode("FILE_END", hash=digest(content(wrong)))
            if local:
                write(side, first, content(wrong))
                side.send(end)
            else:
                side.send(content(wrong) + end)  # at once: the server may close the socket in the middle
        refused(server, a, address, room, data, tell)


def test_a_sender_that_keeps_its_descriptor_is_refused(server):
    data = content(5000)
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        kept = []

        def tell(side, first):
            assert first.how == DIRECT
            kept.append(os.dup(side.fds[0]))
            write(side, first, data)
            side.send(encode("FILE_END", hash=digest(data)))
        assert "open" in refused(server, a, server.socket, room, data, tell)
        os.ftruncate(kept[0], 0)  # nobody reads it any more
        os.close(kept[0])


def test_what_was_kept_cannot_be_changed_any_more(server):
    data = content(5000)
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, server.socket, room, "x", data)
        _, ticket = a.get_file(room, said=said.seq)
        side, first = a.open_file(server.socket, ticket)
        with side:
            assert first.how == DIRECT
            with pytest.raises(OSError):
                os.ftruncate(side.fds[0], 0)
            with pytest.raises(OSError):
                os.pwrite(side.fds[0], b"x", 0)


@pytest.mark.parametrize("number", range(5))
def test_nonsense_instead_of_a_ticket_is_refused(place, number):
    first = [b"\0" * 40, b"\xff" * 64, encode("DONE"), encode("FILE_OPEN", ticket=bytes(16), offset=0),
             encode("FILE_OPEN", ticket=bytes(16), offset=0) + b"more"][number]
    server, address, local = place
    with Client.dial(address) as c:
        c.send(first)
        for r in c.until_end():
            assert r.type == "ERROR"


def test_a_ticket_is_good_once_and_for_what_it_says(place):
    server, address, local = place
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, address, room, "x", b"hello")
        _, ticket = a.get_file(room, said=said.seq)
        side, answer = a.open_file(address, ticket, 6)
        assert answer.type == "ERROR"
        side.close()
        side, answer = a.open_file(address, ticket, 5)
        assert answer.type == "FILE_DATA"
        side.close()
        until(lambda: not transfers(server), "the process ends")
        side, answer = a.open_file(address, ticket)
        assert (answer.type, answer.code) == ("ERROR", CODES["EXPIRED"])
        side.close()


@pytest.mark.parametrize("number", range(4))
def test_nonsense_instead_of_the_end_keeps_nothing(place, number):
    end = [b"\0" * 40, encode("POST", text="x"), encode("FILE_END", hash=b"short"), b"\xff\xff" + bytes(40)][number]
    server, address, local = place
    data = content(100)
    with Client.connect(address, "alice") as a:
        room = a.join("#lobby").room

        def tell(side, first):
            write(side, first, data)
            side.send(end)
        refused(server, a, address, room, data, tell)


# --- who may, and how much --------------------------------------------------------------------------------


def test_only_members_of_the_room_have_its_files(place):
    server, address, local = place
    with Client.connect(address, "alice") as a, Client.connect(address, "eve") as e:
        room = a.join("#secret").room
        other = e.join("#other").room
        said = send(a, address, room, "x", b"hello")
        assert e.get_file(room, said=said.seq)[1].code == CODES["NOT_MEMBER"]
        assert e.put_file(room, "x", 5).code == CODES["NOT_MEMBER"]
        assert e.listing("FILE_LIST", room) == []
        assert e.get_file(other, said=said.seq)[1].code == CODES["FILE"]
        assert e.get_file(other, name="x")[1].code == CODES["FILE"]


BAD_NAMES = ["", ".", "..", ".hidden", "-rf", "~x", "a/b", "/etc/passwd", "a\\b", "a\nb", "a\0b", "a\x1b[2J",
             "a\u202eb", " x", "x ", "a" * 201]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_hostile_names_are_refused(server, name):
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        assert a.put_file(room, name, 1).code == CODES["FILE"]
        assert a.put_file(room, b"a\xff", 1).code == CODES["FILE"]
        assert a.put_file(room, "a" * 200, 1).type == "FILE_TICKET"


def test_limits_are_refused_by_name(make_server, free_port):
    server = tcp_server(make_server, free_port, "--file-max", "2K", "--files-total", "5K", "--files-per-user", "3K")
    with Client.connect(server.socket, "alice") as a, Client.connect(server.tcp, "eve") as e:
        room = a.join("#lobby").room
        e.join("#lobby")

        def refusal(c, size):
            r = c.put_file(room, "x", size, key=os.urandom(16))
            assert (r.type, r.code) == ("ERROR", CODES["LIMIT"]), r
            return r.text
        assert "--file-max" in refusal(a, 2049)
        send(e, server.tcp, room, "x", content(2048))
        assert "--files-per-user" in refusal(e, 2048)
        send(a, server.socket, room, "y", content(2048, 2))
        assert "--files-total" in refusal(a, 2048)
        send(a, server.socket, room, "z", content(1024, 3))
        assert len(a.listing("FILE_LIST", room)) == 3


def test_a_remote_address_has_a_share_of_the_transfers(make_server, free_port):
    server = tcp_server(make_server, free_port)
    with Client.connect(server.tcp, "eve") as e, Client.connect(server.socket, "alice") as a:
        room = e.join("#lobby").room
        a.join("#lobby")
        for i in range(4):
            assert e.put_file(room, f"x{i}", 5, key=os.urandom(16)).type == "FILE_TICKET"
        assert e.put_file(room, "more", 5, key=os.urandom(16)).code == CODES["LIMIT"]
        send(a, server.socket, room, "y", b"hello")


def test_a_server_without_files_says_so(make_server):
    server = make_server().start("--file-max", "0")
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        assert "--file-max" in a.put_file(room, "x", 1).text


def test_a_slow_transfer_holds_up_nobody(place):
    """Stopped in its middle: the hub does not wait for it."""
    server, address, local = place
    data = content(300_000)
    with Client.connect(address, "alice") as a, Client.connect(address, "bob") as b:
        room = a.join("#lobby").room
        b.join("#lobby")
        side, _ = a.open_file(address, a.put_file(room, "x", len(data)))
        process = until(lambda: transfers(server), "a process serves it")[0]
        os.kill(process, signal.SIGSTOP)
        for i in range(20):
            b.post(room, f"line {i}")
        assert a.until("MESSAGE", text="line 19")
        send(b, address, room, "y", b"another one")
        os.kill(process, signal.SIGCONT)
        side.close()
        a.until("ERROR")


def test_two_fetch_at_once(place):
    server, address, local = place
    data = content(2_000_000)
    with Client.connect(address, "alice") as a, Client.connect(address, "bob") as b:
        room = a.join("#lobby").room
        b.join("#lobby")
        said = send(a, address, room, "x", data)
        got = {}

        def get(c, name):
            got[name] = fetch(c, address, room, said=said.seq)
        threads = [threading.Thread(target=get, args=x) for x in ((a, "a"), (b, "b"))]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert got == {"a": data, "b": data}


def test_fetching_goes_on_where_it_stopped(make_server, free_port):
    server = tcp_server(make_server, free_port)
    data = content(10_000)
    with Client.connect(server.tcp, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, server.tcp, room, "x", data)
        assert fetch(a, server.tcp, room, 7777, said=said.seq) == data[7777:]
        assert fetch(a, server.tcp, room, len(data), said=said.seq) == b""


# --- what is on the disk -------------------------------------------------------------------------------------


def edit_info(server, change):
    path = os.path.join(data_dir(server), stored(server, ".info")[0])
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(change(text))


def restart(server, change):
    server.stop()
    change()
    server.start(*server.options)


def test_the_log_has_the_last_word_on_what_was_said(server):
    """A kill between the note and the record: the file waits for its sender, who asks again, and is said once."""
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, server.socket, room, "x", b"hello")
    restart(server, lambda: edit_info(server, lambda t: t.replace(f"said {said.seq} ", "said 999 ")))
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        assert a.listing("FILE_LIST", room) == []
        a.put_file(room, "other", 5)
        a.ask("FILE_PUT", at=room, name="x", size=5, key=bytes(16), attempt=os.urandom(16))
        again = a.until("FILE", name="x")
        assert again.file == said.file and again.seq > said.seq
        assert fetch(a, server.socket, room, name="x") == b"hello"


def test_a_torn_note_is_as_if_it_were_not_there(server):
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, server.socket, room, "x", b"hello")
    restart(server, lambda: edit_info(server, lambda t: t + "said 12"))
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        assert fetch(a, server.socket, room, said=said.seq) == b"hello"
    with open(os.path.join(data_dir(server), stored(server, ".info")[0])) as f:
        assert f.read().endswith("alice\n")


@pytest.mark.parametrize("change", [lambda t: "", lambda t: "nonsense\n" + t, lambda t: t.replace("name x", "name ../x")])
def test_a_broken_note_is_set_aside_with_a_word(server, change):
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, server.socket, room, "x", b"hello")
    restart(server, lambda: edit_info(server, change))
    assert "set aside as" in server.output()
    assert len(stored(server, ".info.broken")) == len(stored(server, ".data")) == 1
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        assert a.get_file(room, said=said.seq)[1].code == CODES["FILE"]
        send(a, server.socket, room, "x", b"hello")


def test_leftovers_are_swept_at_start(server):
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        send(a, server.socket, room, "x", b"hello")
        old = a.put_file(room, "old", 5, key=b"1" * 16).file
        new = a.put_file(room, "new", 5, key=b"2" * 16).file

    def leave():
        for name in ("ab" * 16 + ".new", "cd" * 16 + ".data"):
            with open(os.path.join(data_dir(server), name), "w"):
                pass
        path = os.path.join(data_dir(server), old.hex())
        os.utime(path + ".data", (0, 0))
        with open(path + ".info") as f:
            text = f.read()
        with open(path + ".info", "w") as f:
            f.write(re.sub("began .*", "began 1", text))
    restart(server, leave)
    left = set(stored(server, ".data"))
    assert len(left) == 2 and new.hex() + ".data" in left and old.hex() + ".data" not in left
    assert stored(server, ".new") == []


# --- other users of this host ----------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
def test_another_user_brings_bytes_and_fetches_a_descriptor(start, programs):
    """Nobody but the server's own user may write into its directory; what is fetched cannot be opened for writing."""
    server = start()
    out = python(server, programs, NOBODY, """
import hashlib
data = b"hello" * 1000
c = wire.Client.connect(server, "me")
room = c.join("#lobby").room
t = c.put_file(room, "x", len(data))
side, first = c.open_file(server, t)
assert first.how == 0 and side.fds == [], first
side.send(data + wire.encode("FILE_END", hash=hashlib.blake2b(data, digest_size=32).digest()))
said = c.until("FILE", file=t.file)
_, t = c.get_file(room, said=said.seq)
side, first = c.open_file(server, t)
assert first.how == 1, first
fd = side.fds[0]
assert os.pread(fd, 5000, 0) == data
for way in (lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR), lambda: os.truncate(f"/proc/self/fd/{fd}", 0),
            lambda: os.fchmod(fd, 0o777)):
    try:
        way()
        print("allowed")
    except PermissionError:
        pass
print("done")
""")
    assert out == "done\n"
    assert [(f["from"], f["name"]) for f in server.json("file", "list", "#lobby")] == [("me", "x")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
def test_a_ticket_is_not_for_another_user(start, programs):
    server = start()
    with Client.connect(server.socket, "alice") as a:
        room = a.join("#lobby").room
        said = send(a, server.socket, room, "x", b"hello")
        _, ticket = a.get_file(room, said=said.seq)
        out = python(server, programs, NOBODY, f"""
c = wire.Client.dial(server)
c.send(wire.encode("FILE_OPEN", ticket=bytes.fromhex("{ticket.ticket.hex()}"), offset=0))
print(c.next().code, c.fds)
""")
        assert out == f"{CODES['EXPIRED']} []\n"
