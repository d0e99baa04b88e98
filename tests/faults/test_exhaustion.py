"""Resources that really run out: disks, descriptors, queues, file sizes. What cannot be had is refused with
a name, everybody else goes on, and it works again when there is room."""

import ctypes
import hashlib
import os
import resource
import subprocess

import pytest

import harness
import ledger
import parleywire as wire
import roomlog
import strace
from conftest import needs_root
from harness import until

MS_NOSUID = 2


class Disk:
    """A small file system of its own, mounted inside the block (in this test process's namespace)."""

    def __init__(self, where, kilobytes):
        self.where, self.size = where, kilobytes

    def __enter__(self):
        os.makedirs(self.where, exist_ok=True)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"none", self.where.encode(), b"tmpfs", MS_NOSUID, f"size={self.size}k".encode()) != 0:
            pytest.skip("cannot mount a small disk")
        return self

    def fill(self, leave=0):
        """Take all of it but about `leave` kilobytes."""
        with open(os.path.join(self.where, "filler"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass
            f.truncate(max(f.tell() - leave * 1024, 0))

    def free(self):
        os.unlink(os.path.join(self.where, "filler"))

    def __exit__(self, *_):
        ctypes.CDLL(None).umount2(self.where.encode(), 2)  # MNT_DETACH


def limit(server, what, soft):
    """Change a limit of the running hub; what it was before."""
    return resource.prlimit(server.pid, what, (soft, resource.prlimit(server.pid, what)[1]))


@needs_root
def test_full_state_disk_refuses_posts_and_recovers(make_server, objects, count):
    server = make_server()
    if not objects.private:
        pytest.skip("no mount namespace of our own")
    with Disk(server.state, 700) as disk:
        server.start("--place", "workers", "--workers", "1")
        with wire.Client.connect(server.socket, "a") as a, wire.Client.connect(server.socket, "b") as b:
            number = a.join("#lobby").room
            b.join("#lobby", flags=wire.QUIET)
            disk.fill()
            said, refused = {}, {}
            while len(refused) < 20:  # the first segment is full, the second cannot be made
                counter = a.post(number, f"line {len(said) + len(refused)} ".ljust(8000, "."))
                r = a.until("MESSAGE", "ERROR", counter=counter)
                (said if r.type == "MESSAGE" else refused)[counter] = r
            assert {r.code for r in refused.values()} == {wire.CODES["STORAGE"]}
            assert all("disk is full" in r.text and "ENOSPC" in r.text for r in refused.values())
            # What stands in the log is readable, requests are answered, a new room is refused by name.
            assert a.listing("WHO", number)
            full = a.join("#another")
            assert (full.type, full.code) == ("ERROR", wire.CODES["STORAGE"]) and "no space" in full.text
            disk.free()
            counter = a.post(number, "there is room again")
            assert a.until("MESSAGE", "ERROR", counter=counter).type == "MESSAGE"
            assert a.join("#another").type == "JOINED"
            b.until("MESSAGE", text="there is room again")
            log = [r for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"]
            assert [r.counter for r in log] == [*said, counter]
        server.stop()
        server.start("--place", "workers", "--workers", "1")  # and what was refused does not come back
        log = [r.counter for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"]
        assert log == [*said, counter]
        server.stop()
    count(stored=len(said) + 1, refused=len(refused))


@needs_root
def test_an_upload_goes_on_in_the_space_that_it_has_taken_already(make_server, objects):
    """The disk has room for it once, not twice: what was allocated when it began counts as its own."""
    server = make_server()
    if not objects.private:
        pytest.skip("no mount namespace of our own")
    data = os.urandom(1000) * 20_000
    with Disk(server.state, 60 * 1024):
        tcp = ("127.0.0.1", harness.quiet_port())
        server.start("--listen", "%s:%d" % tcp, "--workers", "1")
        with wire.Client.connect(tcp, "a") as a:
            room = a.join("#lobby").room
            side, first = a.open_file(tcp, a.put_file(room, "x", len(data)))
            side.send(data[:100_000])
            side.close()
            assert a.until("ERROR").code == wire.CODES["FILE"]
            free = os.statvfs(server.state)
            assert free.f_bavail * free.f_frsize < (32 << 20) + len(data)
            granted = a.put_file(room, "x", len(data))
            assert granted.type == "FILE_TICKET", granted
            side, first = a.open_file(tcp, granted)
            assert first.offset == 100_000
            side.send(data[100_000:] + wire.encode("FILE_END", hash=hashlib.blake2b(data, digest_size=32).digest()))
            a.until("FILE", name="x")
            side.close()
        server.stop()


@needs_root
def test_files_and_a_full_state_disk(make_server, objects):
    """Refused before a byte moves if it is known; else at the place where it is found out, and gone on with later."""
    server = make_server()
    if not objects.private:
        pytest.skip("no mount namespace of our own")
    data = os.urandom(1000) * 4000
    total = hashlib.blake2b(data, digest_size=32).digest()
    with Disk(server.state, 100 * 1024) as disk:
        tcp = ("127.0.0.1", harness.quiet_port())
        server.start("--listen", "%s:%d" % tcp, "--workers", "1")
        with wire.Client.connect(tcp, "a") as a:
            room = a.join("#lobby").room
            large = a.put_file(room, "large", 99_000_000)
            assert (large.code, "no space" in large.text) == (wire.CODES["STORAGE"], True)
            granted = a.put_file(room, "x", len(data))
            assert granted.type == "FILE_TICKET"
            disk.fill(leave=1000)
            side = wire.Client.dial(tcp)
            side.send(wire.encode("FILE_OPEN", ticket=granted.ticket, offset=0))
            error = a.until("ERROR")
            assert (error.code, "no space" in error.text) == (wire.CODES["STORAGE"], True)
            side.close()
            assert a.put_file(room, "y", 5).code == wire.CODES["STORAGE"]
            counter = a.post(room, "the room goes on")
            assert a.until("MESSAGE", "ERROR", counter=counter).type == "MESSAGE"
            disk.free()
            again = a.put_file(room, "x", len(data))
            assert again.file == granted.file
            side, first = a.open_file(tcp, again)
            side.send(data[first.offset:] + wire.encode("FILE_END", hash=total))
            assert a.until("FILE", file=granted.file).size == len(data)
            side.close()
        server.stop()


@needs_root
def test_a_full_disk_of_the_receiver(server, objects):
    if not objects.private:
        pytest.skip("no mount namespace of our own")
    path = os.path.join(server.dir, "x")
    with open(path, "wb") as f:
        f.write(os.urandom(1000) * 2000)
    server.ok("file", "put", "#lobby", path)
    out = os.path.join(server.dir, "out")
    with Disk(out, 1000):
        done = server.run("file", "get", "-o", out, "#lobby", "x")
        assert done.returncode == 1 and "ENOSPC" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", out], check=True)
        assert server.ok("file", "get", "-o", out, "#lobby", "x") == os.path.join(out, "x") + "\n"
        assert subprocess.run(["cmp", path, os.path.join(out, "x")]).returncode == 0
        assert os.listdir(out) == ["x"]


@needs_root
def test_full_state_disk_at_start_is_a_clear_end(make_server, objects):
    server = make_server()
    if not objects.private:
        pytest.skip("no mount namespace of our own")
    with Disk(server.state, 64) as disk:
        disk.fill()
        done = subprocess.run(server.command(), env=server.env(), capture_output=True, timeout=harness.DEADLINE)
        assert done.returncode == 1
        assert b"ENOSPC" in done.stderr and server.state.encode() in done.stderr
        disk.free()
        server.start()
        server.stop()


@needs_root
def test_full_runtime_disk_is_a_reason_to_skip_mapped_files(make_server, objects):
    server = make_server()
    if not objects.private:
        pytest.skip("no mount namespace of our own")
    with Disk(server.runtime, 256) as disk:
        server.start("--place", "workers", "--workers", "1")
        disk.fill()
        done = server.run("send", "-t", "mmap", "#lobby", "hi")
        assert done.returncode != 0 and "mmap" in done.stderr and "No space left" in done.stderr, done.stderr
        done = server.run("send", "-t", "mmap,shm", "#lobby", "by shm")
        assert done.returncode == 0 and "No space left" in done.stderr
        assert server.session_objects() == ["filler"], "nothing half made stays"
        disk.free()
        subprocess.run(["mount", "-o", "remount,size=64m", server.runtime], check=True)
        server.ok("send", "-t", "mmap", "#lobby", "by mmap")
        # The directory itself is where the disk is mounted: it stays, empty.
        server.process.terminate()
        assert server.process.wait(harness.DEADLINE) == 0
        server.process = None
        assert os.listdir(server.runtime) == []


def test_out_of_descriptors_serves_on_and_recovers(make_server, count):
    """Clients come until none can be taken; those who are in are not disturbed."""
    server = make_server().start("--place", "workers", "--workers", "1")
    with wire.Client.connect(server.socket, "in") as a, wire.Client.connect(server.socket, "other") as b:
        number = a.join("#lobby").room
        b.join("#lobby", flags=wire.QUIET)
        before = server.count_fds()
        was = limit(server, resource.RLIMIT_NOFILE, len(harness.fds(server.pid)) + 12)
        turned_away, held = 0, []
        while turned_away < 20:
            try:
                held.append(wire.Client.connect(server.socket, f"guest{len(held)}"))
            except (wire.Ended, ConnectionError, OSError):
                turned_away += 1
        for i in range(5):
            counter = a.post(number, f"line {i}")
            a.until("MESSAGE", counter=counter)
            b.until("MESSAGE", text=f"line {i}")
        assert "out of descriptors" in server.output() and "RLIMIT_NOFILE" in server.output()
        for c in held:
            c.close()
        limit(server, resource.RLIMIT_NOFILE, was[0])
        until(lambda: server.run("send", "#lobby", "again").returncode == 0, "clients are taken again")
        until(lambda: server.count_fds() == before, "descriptors are back to the baseline")
    count(taken=len(held), turned_away=turned_away)


def refusals(book):
    return sum(len(p.refused) for p in book.peers)


def count_segments(server):
    return sum(len(roomlog.segments(where)) for where in roomlog.rooms(server.state).values())


def test_out_of_descriptors_while_a_segment_is_made(make_server, count):
    """The log needs the next segment when there is no descriptor for it, or for handing it to a worker: what
    cannot be stored is refused, what is stored reaches everybody, and nobody gets anything else."""
    server = make_server().start("--place", "workers", "--workers", "1")
    book = ledger.Ledger(server, peers=3, window=4)
    for p in book.peers:
        p.errors_allowed = True
        p.padding = 6000
    try:
        book.until(lambda: all(p.state == "open" for p in book.peers), "everybody is there")
        for spare in range(5):  # room for so many: each step of making and handing over fails once
            acks = book.acks
            # New descriptors get the lowest free numbers: leave so many of them below the limit.
            used = harness.fds(server.pid)
            free = [n for n in range(1024) if n not in used]
            was = limit(server, resource.RLIMIT_NOFILE, free[spare])
            segments, refused = count_segments(server), refusals(book)
            book.until(lambda: count_segments(server) > segments or refusals(book) > refused,
                       "the next segment is needed")
            book.run(0.3)
            limit(server, resource.RLIMIT_NOFILE, was[0])
            book.until(lambda: book.acks > acks and count_segments(server) > segments, "posts are stored again")
        book.settle()
        records = book.check()
    finally:
        book.close()
    server.stop()
    count(records=records, refused=refusals(book))


@needs_root
@strace.needed
@pytest.mark.parametrize("place", ["workers", "hub"])
def test_a_segment_that_cannot_be_handed_over_is_not_announced(make_server, place):
    """Readers wait for what lies in it, and get it as soon as it can be handed over."""
    server = make_server().start("--workers", "1", "--place", place, "--sync", "none")
    book = ledger.Ledger(server, peers=2, window=4)
    for p in book.peers:
        p.padding = 6000
    try:
        book.until(lambda: all(p.state == "open" for p in book.peers), "everybody is there")
        for _ in range(3):
            segments = count_segments(server)
            with strace.Attached(server.pid, *strace.fail_at("dup", "EMFILE", "1+")):
                book.until(lambda: count_segments(server) > segments, "the next segment is made")
                book.run(0.2)
            acks = book.acks  # what had been handed over before has arrived by now
            book.until(lambda: book.acks > acks + 10, "posts are acknowledged again")
        book.settle()
        book.check()
        assert "cannot hand a log segment" in server.output()
    finally:
        book.close()


def test_no_message_queue_left_for_the_user(make_server):
    server = make_server().start("--place", "workers", "--workers", "1")
    server.ok("send", "-t", "posixmq", "#lobby", "first")
    limit(server, resource.RLIMIT_MSGQUEUE, 0)
    done = server.run("send", "-t", "posixmq", "#lobby", "hi")
    assert done.returncode != 0 and "RLIMIT_MSGQUEUE" in done.stderr, done.stderr
    assert server.run("send", "-t", "posixmq,unix", "#lobby", "by unix").returncode == 0
    limit(server, resource.RLIMIT_MSGQUEUE, resource.prlimit(server.pid, resource.RLIMIT_MSGQUEUE)[1])
    server.ok("send", "-t", "posixmq", "#lobby", "again")


@needs_root
def test_no_system_v_queue_left(make_server, objects):
    if not objects.private:
        pytest.skip("no IPC namespace of our own")
    with open("/proc/sys/kernel/msgmni") as f:
        was = f.read()
    server = make_server().start("--place", "workers", "--workers", "1")
    try:
        with open("/proc/sys/kernel/msgmni", "w") as f:
            f.write("0")
        done = server.run("send", "-t", "sysvmq", "#lobby", "hi")
        assert done.returncode != 0 and "sysvmq" in done.stderr and "msgmni" in done.stderr, done.stderr
        assert server.run("send", "-t", "sysvmq,unix", "#lobby", "by unix").returncode == 0
    finally:
        with open("/proc/sys/kernel/msgmni", "w") as f:
            f.write(was)
    server.ok("send", "-t", "sysvmq", "#lobby", "again")


def test_file_size_limit_is_a_refusal(make_server, count):
    """RLIMIT_FSIZE: writes are cut short in the middle of a record, then fail; SIGXFSZ must not kill. What
    was refused is not found by the next start either."""
    server = make_server().start("--place", "workers", "--workers", "1")
    with wire.Client.connect(server.socket, "a") as a:
        number = a.join("#lobby", flags=wire.QUIET).room
        counter = a.post(number, "first")
        a.until("MESSAGE", counter=counter)
        was = limit(server, resource.RLIMIT_FSIZE, 4096 + 20000)
        with Paused(server.pid):  # one batch, of which the front fits
            posts = list(range(counter + 1, counter + 61))
            a.send(b"".join(wire.encode("POST", 0, number, c, text=f"line {c} ".ljust(900, ".")) for c in posts))
            a.counter = posts[-1]
        answers = {c: a.until("MESSAGE", "ERROR", counter=c) for c in posts}
        stored = [c for c, r in answers.items() if r.type == "MESSAGE"]
        refused = [c for c, r in answers.items() if r.type == "ERROR"]
        assert stored and refused
        assert all(answers[c].code == wire.CODES["STORAGE"] and "EFBIG" in answers[c].text for c in refused)
        limit(server, resource.RLIMIT_FSIZE, was[0])
        last = a.post(number, "again")
        assert a.until("MESSAGE", "ERROR", counter=last).type == "MESSAGE"
        expected = [counter, *stored, last]
        assert [r.counter for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"] == expected
    server.kill()
    server.start("--place", "workers", "--workers", "1")
    assert [r.counter for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"] == expected
    count(stored=len(stored), refused=len(refused))


class Paused:
    """The process stands still inside the block, so that what is sent to it meanwhile is found at once."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, 19)

    def __exit__(self, *_):
        os.kill(self.pid, 18)
