"""A private parleyd for one test, and the parley commands that talk to it.

Everything lies in one short directory under /tmp (socket addresses are at most 107 bytes). Nothing
here sleeps for a fixed time: `until` polls a condition with a deadline, which only a failing test
ever reaches.
"""

import contextlib
import ctypes
import glob
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pexpect
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.path.join(ROOT, os.environ.get("PARLEY_BIN", "build/release")))
PARLEYD = os.path.join(BIN, "parleyd")
PARLEY = os.path.join(BIN, "parley")

DEADLINE = 60  # seconds
# A time zone where it is about noon: no test sees the day end.
NOON = f"NOON{time.gmtime().tm_hour - 12:+d}"
TRANSPORTS = ["fifo", "posixmq", "sysvmq", "shm", "mmap", "unix", "tcp"]


def until(condition, what, deadline=DEADLINE):
    """Poll until `condition()` is true; its value. `what`, text or a function that gives it, says what did
    not happen."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {deadline} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def settled(value, reads=10):
    """The value of `value()` once it has been the same for some reads in a row."""
    seen = []

    def same():
        seen.append(value())
        return len(seen) >= reads and all(v == seen[-1] for v in seen[-reads:])
    until(same, "settles")
    return seen[-1]


def hang_up(child):
    """The terminal of a pexpect child goes away. Through the object that owns the descriptor: closed
    behind its back, the number would be closed once more when that object dies, whoever has it then."""
    child.ptyproc.fileobj.close()
    child.ptyproc.closed = True
    child.child_fd = -1
    child.closed = True


@contextlib.contextmanager
def started(command, **more):
    """subprocess.Popen as a context that kills what is still there at its end, instead of waiting for it."""
    with subprocess.Popen(command, **more) as process:
        try:
            yield process
        finally:
            process.kill()


def exit_code(child):
    """Of a pexpect child that is at its end or near it; minus the signal that ended it."""
    child.expect(pexpect.EOF, timeout=DEADLINE)
    until(lambda: not child.isalive(), "the program ends")  # close() would hang up on one that is still about to
    child.close()
    return -child.signalstatus if child.signalstatus else child.exitstatus


TAKEN = []  # sockets that say which ports this process has asked for


def quiet_port():
    """A TCP port that stays free for this test process, also while a server is down for a moment: none of
    those that the kernel gives to whoever connects or asks for any, and no other test process has it. The
    lock is a name in the abstract namespace, which goes with its socket."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = int(f.read().split()[0])
    for port in random.SystemRandom().sample(range(max(end - 12000, 1024), end), 1000):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0parley-test-port-{port}")
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as parleyd does
                s.bind(("", port))
        except OSError:
            lock.close()
            continue
        TAKEN.append(lock)
        return port
    raise AssertionError("no free port")


# --- kernel objects ----------------------------------------------------------------------------------

CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


def raise_queue_limit():
    """The bytes of POSIX queues are counted for a user, not for a namespace: what other tests and other
    programs use up is missing here. Root may have more."""
    most = 256 * 1024 * 1024
    try:
        if resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0] < most:
            resource.setrlimit(resource.RLIMIT_MSGQUEUE, (most, most))
    except (OSError, ValueError):
        pass


class Objects:
    """The System V and POSIX queues that exist.

    With the privilege for it, this process (and so every server and client it starts) gets an IPC
    namespace of its own, in which every queue is ours, and a mount that lists the POSIX ones. Without
    it, System V queues are told by the processes that used them, and POSIX queues cannot be listed.
    """

    def __init__(self):
        raise_queue_limit()
        libc = ctypes.CDLL(None, use_errno=True)
        self.mqueue = None
        self.private = libc.unshare(CLONE_NEWIPC | CLONE_NEWNS) == 0
        if self.private:
            libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            where = tempfile.mkdtemp(prefix="parley-mq-")
            if libc.mount(b"mqueue", where.encode(), b"mqueue", 0, None) == 0:
                self.mqueue = where
            else:
                os.rmdir(where)

    def close(self):
        if self.mqueue:
            ctypes.CDLL(None).umount2(self.mqueue.encode(), 2)
            os.rmdir(self.mqueue)

    def sysv(self, pids):
        """Ids of System V queues: all in a namespace of our own, else those `pids` have used."""
        with open("/proc/sysvipc/msg") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        return [int(r[1]) for r in rows if self.private or int(r[5]) in pids or int(r[6]) in pids]

    def posix(self):
        return os.listdir(self.mqueue) if self.mqueue else []


# --- processes -------------------------------------------------------------------------------------


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def shoot(pids):
    """SIGKILL to all that are still there."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def traced(pid):
    """Somebody traces it, or did until it was gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return "TracerPid:\t0\n" not in f.read()
    except OSError:
        return True


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]
    except OSError:
        return []


def children_named(pid, name):
    """Children with the name that a process of ours gives itself: parleyd/tls, parley-web, …"""
    found = []
    for child in children(pid):
        try:
            with open(f"/proc/{child}/comm") as f:
                if f.read().strip() == name:
                    found.append(child)
        except OSError:
            pass
    return found


def fds(pid):
    """{descriptor: what it is} of a process."""
    out = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            out[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            pass
    return out


def raise_descriptor_limit():
    """For tests that are more than a thousand clients themselves."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Place:
    """A directory for everything that a command with a server of its own makes, and what is left in the
    kernel and of processes."""

    def __init__(self, objects, command):
        self.objects = objects
        self.command = command
        self.path = None  # PATH, if not our own
        self.dir = tempfile.mkdtemp(prefix="pl", dir="/tmp")
        self.shm = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
        self.sessions = []

    def env(self):
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
        keep.update(TMPDIR=self.dir, HOME=self.dir, NO_COLOR="1", LC_ALL="C.UTF-8", TZ=NOON)
        if self.path:
            keep["PATH"] = self.path
        return keep

    def start(self, *args, **more):
        more = dict(dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE), **more)
        p = subprocess.Popen([PARLEY, self.command, *args], env=self.env(), text=True, start_new_session=True, **more)
        self.sessions.append(p.pid)
        return p

    def run(self, *args):
        p = self.start(*args)
        p.out, p.err = p.communicate(timeout=DEADLINE * 2)
        return p

    def processes(self):
        """Of the sessions (setsid) that were started."""
        found = []
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat) as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) in self.sessions and fields[0] != "Z":
                found.append(int(stat.split("/")[2]))
        return found

    def assert_nothing_left(self):
        until(lambda: not self.processes(), "every process of the command ends")
        assert os.listdir(self.dir) == []
        if self.objects.private:
            assert self.objects.sysv(()) == [] and self.objects.posix() == []
        left = set(os.listdir("/dev/shm")) - self.shm if self.shm else set()
        assert not [f for f in left if "parley" in f]

    def close(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.dir, ignore_errors=True)


class Stream:
    """A running command whose lines of output are collected as they come."""

    def __init__(self, args, env, stdin=None):
        self.args = args
        self.lines = []
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(args, env=env, stdin=stdin or subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.errors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def pid(self):
        return self.process.pid

    @property
    def stderr(self):
        # Not by seeking: the place in the file is the command's, too, which may be writing there.
        fd = self.errors.fileno()
        return os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")

    def events(self, kind=None):
        """JSON lines so far; `kind` picks one type."""
        found = [json.loads(line) for line in list(self.lines)]
        return [e for e in found if kind is None or e["type"] == kind]

    def messages(self):
        return self.events("message")

    def wait(self, deadline=DEADLINE):
        """Exit code at its end, when all its output is in `lines`."""
        code = self.process.wait(deadline)
        self.reader.join(deadline)
        return code

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(DEADLINE)
        self.process.stdout.close()
        self.errors.close()


class Calls:
    """The system calls that processes make while the block runs; skips where they may not be traced. `options`: more
    of them for strace."""

    def __init__(self, directory, pids, which="all", *options):
        self.path = os.path.join(directory, "calls")
        self.pids, self.which, self.options = [str(p) for p in pids], which, options

    def __enter__(self):
        self.strace = subprocess.Popen(
            ["strace", "-y", "-q", "-s", "0", "-e", f"trace={self.which}", *self.options, "-o", self.path,
             *[x for p in self.pids for x in ("-p", p)]], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=dict(os.environ, LC_ALL="C"))
        until(self.attached, "strace is attached")
        return self

    def attached(self):
        if self.strace.poll() is not None:
            problem = self.strace.stderr.read().decode()
            if "not permitted" in problem:
                pytest.skip("processes may not be traced here: " + problem.splitlines()[0])
            raise AssertionError(problem)
        return all(traced(p) for p in self.pids)

    def __exit__(self, *_):
        self.strace.terminate()
        self.strace.wait(DEADLINE)
        self.strace.stderr.close()

    def lines(self):
        """Each begins with the pid if there are several."""
        with open(self.path, errors="replace") as f:
            return f.read().splitlines()


class Server:
    """One parleyd in a directory of its own. Start it again with start() after stop() or kill()."""

    def __init__(self, objects):
        self.objects = objects
        self.dir = tempfile.mkdtemp(prefix="p", dir="/tmp")
        self.runtime = os.path.join(self.dir, "run")
        self.state = os.path.join(self.dir, "state")
        self.socket = os.path.join(self.dir, "s")
        self.address = "unix:" + self.socket
        self.streams = []
        self.process = None
        self.log = os.path.join(self.dir, "log")
        self.pids = set()  # of every hub and worker there ever was
        self.options = []
        os.mkdir(os.path.join(self.dir, "home"))

    def env(self, **more):
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
        keep.update(PARLEY_SOCKET=self.socket, HOME=os.path.join(self.dir, "home"), NO_COLOR="1",
                    LC_ALL="C.UTF-8", TZ=NOON)
        keep.update(more)
        return keep

    def command(self, *options):
        return [PARLEYD, "--socket", self.socket, "--runtime-dir", self.runtime, "--state-dir",
                self.state, *options]

    def start(self, *options, prefix=(), **env):
        """Start and wait for the line that says it is ready. `prefix`: a command around it."""
        assert self.process is None
        self.options = options
        with open(self.log, "ab") as log:
            from_here = log.tell()
            self.process = subprocess.Popen([*prefix, *self.command(*options)], env=self.env(**env),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            text = self.output()[from_here:]
            if self.process.poll() is not None:
                raise AssertionError(f"parleyd ended with {self.process.returncode}:\n{text}")
            return re.search(r"^parleyd: ready unix:(\S+).*$", text, re.M)
        self.ready = until(ready, "parleyd says it is ready")
        assert self.ready.group(1) == self.socket
        self.remember()
        return self

    def output(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, "rb") as log:
            return log.read().decode("utf-8", "replace")

    @property
    def pid(self):
        return self.process.pid

    def workers(self):
        found = children(self.pid)
        self.pids.update(found)
        return found

    def remember(self):
        self.pids.add(self.pid)
        self.workers()

    def count_fds(self):
        """Open descriptors of the hub and of all workers together."""
        return sum(len(fds(p)) for p in [self.pid, *self.workers()])

    def stop(self):
        """SIGTERM; exit code 0 and nothing left behind."""
        self.remember()
        workers = self.workers()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "none within the deadline"
        self.process = None
        assert code == 0, f"exit code {code}; log:\n{self.output()}"
        until(lambda: not any(alive(w) for w in workers), "workers end with their hub")
        self.assert_clean()

    def kill(self):
        """SIGKILL to the hub and all workers at once."""
        self.remember()
        victims = [self.pid, *self.workers()]
        shoot(victims)
        self.process.wait()
        self.process = None
        until(lambda: not any(alive(p) for p in victims), "killed processes are gone")

    def session_objects(self):
        """Names in the runtime directory that are not the server's own for all its life."""
        return [f for f in os.listdir(self.runtime) if f != "lock" and not f.startswith("stats")]

    def leftovers(self):
        left = []
        if os.path.isdir(self.runtime):
            left += [os.path.join(self.runtime, f) for f in os.listdir(self.runtime)]
        left += [p for p in (self.socket, self.socket + ".stats") if os.path.lexists(p)]
        left += [f"System V queue {q}" for q in self.objects.sysv(self.pids)]
        left += [f"POSIX queue {q}" for q in self.objects.posix()]
        return left

    def assert_clean(self):
        assert self.leftovers() == []

    def close(self):
        for s in self.streams:
            s.close()
        try:
            if self.process is not None:
                assert self.process.poll() is None, f"parleyd is gone; log:\n{self.output()}"
                self.stop()
            for word in ("AddressSanitizer", "runtime error", "Assertion"):
                assert word not in self.output()
        finally:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.dir, ignore_errors=True)

    # -- clients ------------------------------------------------------------------------------------

    def client(self, *args, server=None):
        return [PARLEY, args[0], "-s", server or self.address, *args[1:]]

    def run(self, *args, input=None, server=None, deadline=DEADLINE, **env):
        """A parley command run to its end; stdout and stderr as text."""
        if isinstance(input, str):
            input = input.encode()
        done = subprocess.run(self.client(*args, server=server), env=self.env(**env), timeout=deadline,
                              input=input if input is not None else b"", capture_output=True)
        done.stdout = done.stdout.decode("utf-8", "replace")
        done.stderr = done.stderr.decode("utf-8", "replace")
        return done

    def ok(self, *args, **more):
        """A command that must succeed; its output."""
        done = self.run(*args, **more)
        assert done.returncode == 0, f"{args}: exit {done.returncode}: {done.stderr}"
        return done.stdout

    def json(self, *args, **more):
        return [json.loads(line) for line in self.ok(*args, "--json", **more).splitlines()]

    def stream(self, *args, server=None, stdin=None, **env):
        """A parley command that runs on; ended with the test."""
        s = Stream(self.client(*args, server=server), self.env(**env), stdin)
        self.streams.append(s)
        return s

    def nicks(self, room):
        """Who is in a room, ourselves not counted."""
        return {m["nick"] for m in self.json("who", room)}

    def members(self, room):
        """How many are in a room, ourselves not counted."""
        return len(self.json("who", room))
