"""Errors from the kernel, at every call that touches the log, a link or a new process: a refusal with a name
or a clean stop, never a hang, a crash or a loss; and everything works again when the error is over."""

import os
import resource
import signal
import subprocess

import pytest

import harness
import parleywire as wire
import roomlog
import strace
from conftest import LONG, needs_root
from harness import until
from test_sweep import Run

pytestmark = [needs_root, strace.needed]

# Calls of the hub and the errors they can meet. EINTR and EAGAIN are no errors to a client: nobody notices.
HUB = [(call, error) for calls, errors in [
    (["pwritev"], ["ENOSPC", "EIO", "EINTR", "EAGAIN"]),
    (["fallocate"], ["ENOSPC", "EINTR", "EIO"]),
    (["openat"], ["EMFILE", "ENOSPC", "EIO", "ENOMEM"]),
    (["renameat", "rename", "mkdir", "ftruncate"], ["ENOSPC", "EIO"]),
    (["mmap"], ["ENOMEM", "EMFILE"]),
    (["accept4", "dup", "socketpair", "pipe2", "memfd_create", "mq_open", "msgget", "mknodat", "fcntl"],
     ["EMFILE", "ENOMEM", "ENOSPC"]),
    (["write", "sendmsg", "recvmsg", "read", "recvfrom", "mq_timedreceive", "msgrcv"],
     ["EINTR", "EAGAIN", "EIO", "ENOMEM"]),
    (["epoll_wait"], ["EINTR"]),
    (["epoll_ctl"], ["ENOMEM", "ENOSPC"]),
    (["clone", "clone3", "vfork", "fork"], ["EAGAIN", "ENOMEM"]),
] for call in calls for error in errors]
WORKER = [(call, error) for call in ["write", "sendto", "sendmsg", "read", "recvmsg", "mmap", "epoll_ctl", "msgsnd",
                                     "mq_timedsend", "pwrite64"]
          for error in ["EINTR", "EAGAIN", "EIO", "ENOMEM", "ENOSPC"]
          # A bell takes EAGAIN for "the peer has bells to hear", a queue for "the peer has messages to take,
          # and rings then", which only a real one means.
          if (call, error) not in (("sendto", "EAGAIN"), ("msgsnd", "EAGAIN"))]
PARTS = ["fifo", "posixmq", "sysvmq", "shm", "mmap", "unix", "tcp"]


def clean(call, code, text):
    """A good end, or one with a reason (unless writing the reason is what failed). libuv aborts when it gets no
    thread or its own descriptors fail: not clean, but what was acknowledged is in the log all the same."""
    return code == 0 or code == 1 and ("parleyd: " in text or call == "write") or \
        code == -signal.SIGABRT and call in ("pipe2", "epoll_ctl", "read", "write", "clone3", "mmap")


class Guest(Run):
    """A workload whose clients may be refused, but never be left without an answer."""

    def __init__(self, make_server, transport):
        super().__init__(make_server, transport)
        self.book.tolerant = True
        for p in self.book.peers:
            p.errors_allowed = True

    def revive(self, call):
        if self.ended():
            code = self.server.process.wait()
            text = self.server.output()
            assert code != 0 and clean(call, code, text), f"{call}: parleyd ended with {code}:\n{text}"
            self.server.process = None
            self.server.launch(*self.options)

    def after(self, call):
        """The error is over: everything works."""
        self.revive(call)
        for p in self.book.peers:
            p.limit += 10
        for s in self.book.senders:
            s.limit += 1
        self.book.until(lambda: self.ended() or self.book.said_all(), "more is said")
        self.revive(call)  # an end with a reason may take a moment
        self.finish()


def hub_with(make_server, transport, call, error, when, follow=False):
    run = Guest(make_server, transport)
    run.server.launch(*run.options)
    run.book.until(run.server.is_ready, "the server is ready")
    with strace.Attached(run.server.pid, *(("-f",) if follow else ()), *strace.fail_at(call, error, when)):
        run.book.run(0.25)
    run.after(call)


def starting_with(make_server, loader, transport, call, error, when):
    """The Nth call after those of the dynamic loader."""
    when = "..".join(str(int(n) + loader[call]) for n in when.split(".."))
    run = Guest(make_server, transport)
    run.server.launch(*run.options, prefix=strace.around(*strace.fail_at(call, error, when)))
    run.book.run(0.25)
    def ended():  # a signal is lost when libuv cannot read its own pipe
        run.server.process.send_signal(signal.SIGTERM)
        return run.ended()
    until(ended, "the server ends")
    code, text = run.server.process.wait(), run.server.output()
    # SIGTERM may come before the server is far enough to take it as a wish.
    assert code == -signal.SIGTERM or clean(call, code, text), f"{call}: parleyd ended with {code}:\n{text}"
    run.server.process = None
    run.server.launch(*run.options)
    run.after(call)


def worker_with(make_server, transport, call, error, when):
    run = Guest(make_server, transport)
    run.server.launch(*run.options)
    run.book.until(run.server.is_ready, "the server is ready")
    (worker,) = run.server.workers()
    with strace.Attached(worker, *strace.fail_at(call, error, when)):
        run.book.run(0.2)
    run.after(call)


WHEN = ["1", "2", "3", "5", "9", "1..3", "4..8"] if LONG else ["1"]
GROUPS = 24  # so that some run side by side


@pytest.mark.parametrize("group", range(GROUPS if LONG else 4))
def test_errors_in_a_running_hub(make_server, dice, count, group):
    cases = [(c, e, w) for c, e in HUB for w in WHEN]
    cases = cases[group::GROUPS] if LONG else dice.sample(cases, 4)
    for call, error, when in cases:
        transport = dice.choice(PARTS)
        print(f"{transport}: {call} fails with {error} at {when}")
        hub_with(make_server, transport, call, error, when)
    count(errors=len(cases))


@pytest.mark.parametrize("group", range(GROUPS if LONG else 2))
def test_errors_in_a_starting_hub(make_server, dice, count, tmp_path, group):
    subprocess.run(["strace", "-o", tmp_path / "trace", harness.PARLEYD, "--version"], check=True,
                   stdout=subprocess.DEVNULL)
    loader = strace.count(tmp_path / "trace")
    cases = [(c, e, w) for c, e in HUB for w in WHEN]
    cases = cases[group::GROUPS] if LONG else dice.sample(cases, 4)
    for call, error, when in cases:
        transport = dice.choice(PARTS)
        print(f"{transport}: {call} fails with {error} at {when}")
        starting_with(make_server, loader, transport, call, error, when)
    count(errors=len(cases))


@pytest.mark.parametrize("group", range(GROUPS if LONG else 2))
def test_errors_in_a_worker(make_server, dice, count, group):
    cases = [(c, e, w) for c, e in WORKER for w in WHEN]
    cases = cases[group::GROUPS] if LONG else dice.sample(cases, 4)
    for call, error, when in cases:
        transport = dice.choice(PARTS)
        print(f"{transport}: {call} fails with {error} at {when}")
        worker_with(make_server, transport, call, error, when)
    count(errors=len(cases))


# --- the disk itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_failed_fdatasync_stops_the_server(make_server, sync):
    """What was not synced may be lost, and no later success could be believed: stop, and say why."""
    server = make_server().start("--place", "workers", "--workers", "1", "--sync", sync)
    with wire.Client.connect(server.socket, "a") as a:
        number = a.join("#lobby", flags=wire.QUIET).room
        with strace.Attached(server.pid, "-f", *strace.fail_at("fdatasync", "EIO", "1+")):
            a.post(number, "not on disk")
            code = server.process.wait(harness.DEADLINE)
        assert code == 1
        server.process = None
        assert "fdatasync of the log failed (EIO)" in server.output() and "check the disk" in server.output()
        told = [r for r in a.until_end() if r.type == "MESSAGE"]
        assert not told or sync == "interval"
    server.start("--place", "workers", "--workers", "1", "--sync", sync)
    server.ok("send", "#lobby", "again")


def test_failed_sync_at_the_end_is_said(make_server):
    server = make_server().start("--workers", "0")
    server.ok("send", "#lobby", "a line")
    with strace.Attached(server.pid, "-f", *strace.fail_at("fdatasync", "EIO", "1+")):
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(harness.DEADLINE)
    server.process = None
    assert code == 1 and "fdatasync" in server.output()


@pytest.mark.parametrize("name", ["epoch", "secret"])
def test_an_unreadable_state_file_is_no_first_start(make_server, name):
    """An epoch that began anew would let numbers be used twice without anybody noticing."""
    server = make_server().start("--workers", "0")
    server.stop()
    path = os.path.join(server.state, name)
    with open(path, "rb") as f:
        before = f.read()
    done = subprocess.run([*strace.around(*strace.fail_at("read", "EIO", "1+", path=[path])), *server.command()],
                          env=server.env(), capture_output=True, timeout=harness.DEADLINE)
    assert done.returncode == 1 and b"EIO" in done.stderr
    if name == "secret":
        with open(path, "rb") as f:
            assert f.read() == before


def test_short_writes_lose_nothing(make_server, count):
    """pwritev that writes only a part, again and again: by a limit of the file size that moves on."""
    server = make_server().start("--place", "workers", "--workers", "1")
    with wire.Client.connect(server.socket, "a") as a:
        number = a.join("#lobby", flags=wire.QUIET).room
        stored, refused = [], []
        for n in range(20):
            # The limit falls into the middle of a record; each round what fits is stored, the rest refused.
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096 + 5000 * n + 1234, resource.RLIM_INFINITY))
            posts = [a.post(number, f"{n} {i} ".ljust(300, ".")) for i in range(20)]
            for c in posts:
                r = a.until("MESSAGE", "ERROR", counter=c)
                (stored if r.type == "MESSAGE" else refused).append(c)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert stored and refused
    server.kill()
    server.start("--place", "workers", "--workers", "1")
    assert [r.counter for r in roomlog.room(server.state, "#lobby") if r.type == "MESSAGE"] == stored
    count(stored=len(stored), refused=len(refused))
