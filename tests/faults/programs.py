"""Real `parley` processes of the ledger, one for each transport, which may be killed at any time."""

import hashlib
import json
import os
import signal
import subprocess
import time

import harness
from peer import ROOM, Fault


class Child:
    """A `parley` process of one transport whose output is read as it comes."""

    def __init__(self, ledger, transport):
        self.ledger, self.transport = ledger, transport
        self.process = None
        self.kills = 0

    def start(self, args, stdin, stdout):
        self.errors = os.memfd_create("stderr")
        self.process = subprocess.Popen(args, env=self.ledger.server.env(), stdin=stdin, stdout=stdout,
                                        stderr=self.errors)

    def address(self):
        return self.ledger.tcp_address if self.transport == "tcp" else self.ledger.server.address

    def complaint(self):
        os.lseek(self.errors, 0, os.SEEK_SET)
        return os.read(self.errors, 1 << 16).decode("utf-8", "replace")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.kills += 1

    def look(self):
        """If it has ended: with 0, or for a reason that the ledger knows."""
        code = self.process.poll()
        if code is None:
            return
        said = self.complaint()
        self.reap()
        if code == 0:
            self.done()
        elif not self.expected(code, said):
            raise Fault(f"{type(self).__name__} -t {self.transport} ended with {code}: {said}")

    def expected(self, code, said):
        return code in (-signal.SIGKILL, 69) or (self.ledger.tolerant and said)

    def reap(self):
        self.process = None
        os.close(self.errors)


class Tail(Child):
    """`parley tail`, from where the one before it ended."""

    def __init__(self, ledger, transport):
        super().__init__(ledger, transport)
        self.seen = {}  # sequence number: (name, text)
        self.last = 0
        self.told = 0  # retention: what is below is gone
        self.gone = []  # (from, below): numbers that were never seen for that
        self.runs = 0

    def tick(self, _now):
        if self.process:
            return
        self.runs += 1
        self.complained = False
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(theirs, True)
        self.data = b""
        self.pipe = ours
        self.start([harness.PARLEY, "tail", "-s", self.address(), "-t", self.transport, "--json", "-q",
                    "--after", str(self.last), ROOM], subprocess.DEVNULL, theirs)
        os.close(theirs)
        self.ledger.watch(ours, self.readable)

    def readable(self):
        try:
            data = os.read(self.pipe, 1 << 18)
        except BlockingIOError:
            return
        *lines, self.data = (self.data + data).split(b"\n")
        for line in lines:
            e = json.loads(line)
            if e["type"] == "error":
                self.complained = True
            if e["type"] == "dropped":
                if not self.ledger.retains:
                    raise Fault(f"tail -t {self.transport}: {e}, which nobody asked for")
                if e["before"] > self.last + 1:
                    self.gone.append((self.last + 1, e["before"]))
                self.told = max(self.told, e["before"])
            if e["type"] != "message":
                continue
            if e["seq"] <= self.last:
                raise Fault(f"tail -t {self.transport}: {e['seq']} came after {self.last}")
            self.last = e["seq"]
            self.seen[e["seq"]] = (e["from"], e["text"])
        if data:
            return
        self.ledger.forget(self.pipe)
        os.close(self.pipe)
        code, said = self.process.wait(), self.complaint()
        self.reap()
        if "missing" in said or "lost its newest" in said:
            raise Fault(f"tail -t {self.transport}: {said}")
        # 69: no server was there when it began.
        if code not in (-signal.SIGKILL, -signal.SIGTERM, 69) and not (
                self.ledger.tolerant and (said or self.complained)):
            raise Fault(f"tail -t {self.transport} ended with {code}: {said}")


class Sender(Child):
    """`parley send`, one batch of lines after the other. A batch whose sender was killed may have been
    said in part; a batch whose sender ended with 0 is acknowledged as a whole."""

    def __init__(self, ledger, transport, lines=40):
        super().__init__(ledger, transport)
        self.lines = lines
        self.runs = 0
        self.batches = {}  # number: acknowledged?
        self.quiet = False
        self.limit = float("inf")  # batches to say as a whole

    def line(self, batch, i):
        return f"send-{self.transport} {batch} {i}"

    def tick(self, _now):
        if self.process:
            self.look()
            return
        if self.quiet or sum(self.batches.values()) >= self.limit:
            return
        self.runs += 1
        self.batches[self.runs] = False
        text = "".join(self.line(self.runs, i) + "\n" for i in range(self.lines))
        stdin = os.memfd_create("stdin")
        os.write(stdin, text.encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        self.start([harness.PARLEY, "send", "-s", self.address(), "-t", self.transport, ROOM, "-"],
                   stdin, subprocess.DEVNULL)
        os.close(stdin)

    def done(self):
        self.batches[self.runs] = True
        self.ledger.acks += self.lines


class FilePut(Child):
    """`parley file put` of one file after the other; when it is killed the same file is sent again, and when
    the server says that an address began too many in a minute, likewise, but later."""

    SIZE = 150_000
    PAUSE = 1  # s

    def __init__(self, ledger, transport):
        super().__init__(ledger, transport)
        self.quiet = False
        self.number = 0
        self.runs = {}  # name: how often it was started
        self.hashes = {}  # name: of the contents
        self.sent = set()  # those it ended well for
        self.resting = 0  # until then nothing is started

    def path(self):
        return os.path.join(self.ledger.server.dir, "home", f"{self.transport}-{self.number}")

    def expected(self, code, said):
        if code == 1 and "files in a minute" in said:
            self.resting = time.monotonic() + self.PAUSE
            return True
        return super().expected(code, said)

    def tick(self, now):
        if self.process:
            self.look()
            return
        if self.quiet or now < self.resting:
            return
        path, name = self.path(), os.path.basename(self.path())
        if name not in self.runs:
            data = os.urandom(self.SIZE)
            with open(path, "wb") as f:
                f.write(data)
            self.hashes[name] = hashlib.blake2b(data, digest_size=32).digest()
        self.runs[name] = self.runs.get(name, 0) + 1
        self.start([harness.PARLEY, "file", "put", "-s", self.address(), "-t", self.transport, ROOM, path],
                   subprocess.DEVNULL, subprocess.DEVNULL)

    def done(self):
        self.sent.add(os.path.basename(self.path()))
        os.unlink(self.path())
        self.number += 1
