#!/usr/bin/python3
"""What watching a server costs: its throughput and its instructions, with `parley top` and a page open, and without.

    watch-cost.py [--pairs N] [--steady N] [--place PLACE]      prints one line for each figure

Pairs of runs of `parley bench fanout`, one watched and one not, in turn first; each pair on a server of its own. The
ratio is made in each pair, so that what disturbs both cancels out. CPU time of hub and workers (schedstat) depends less on
what else the machine does, instructions (perf stat, user and kernel; where there are counters) not at all. What watching
costs does not grow with the load: pages are written by timers, messages are sampled so many times a second. So it is also
measured as CPU time in a second at a steady, small load, where it is a greater part of the whole. A browser would need more than all of parley for drawing, so the page
is read by a plain client.
"""

import argparse
import fcntl
import json
import os
import pty
import re
import shutil
import statistics
import struct
import subprocess
import tempfile
import termios
import threading
import time

import webwire

BIN = os.environ.get("PARLEY_BIN", "build/release")
SUBSCRIBERS = 10


class Server:
    def __init__(self, place):
        self.dir = tempfile.mkdtemp(prefix="pw", dir="/tmp")
        self.address = f"unix:{self.dir}/s"
        self.process = subprocess.Popen(
            [f"{BIN}/parleyd", "--config", "/dev/null", "--socket", f"{self.dir}/s", "--runtime-dir", f"{self.dir}/run",
             "--state-dir", f"{self.dir}/state", "--place", place, "--workers", "2", "--http", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = ""
        while "ready" not in line:
            line = self.process.stderr.readline()
            assert line, "the server ended"
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", line)[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def run(self, *args):
        return [json.loads(line) for line in
                subprocess.run([f"{BIN}/parley", "-s", self.address, *args, "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, check=True).stdout.splitlines()]

    def pids(self):
        [look] = self.run("top", "--once", "-d", "0.1")
        return [self.process.pid] + [w["pid"] for w in look["workers"] if w["worker"] != "hub"]

    def web(self):
        """The page's process."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            for pid in f.read().split():
                if os.readlink(f"/proc/{pid}/exe").endswith("parley-web"):
                    return int(pid)
        raise SystemExit("watch-cost.py: no parley-web")

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.dir)


class Watchers:
    """A page that reads all it is sent, and `parley top` on a terminal of 200 columns."""

    def __init__(self, server):
        self.page = webwire.Page(server.port).read()
        self.page.wait("state")
        threading.Thread(target=self.read_page, daemon=True).start()
        self.terminal, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.top = subprocess.Popen([f"{BIN}/parley", "-s", server.address, "top"], stdin=slave, stdout=slave, stderr=slave,
                                    env=dict(os.environ, TERM="xterm-256color"))
        os.close(slave)
        self.drawn = 0
        threading.Thread(target=self.read_top, daemon=True).start()
        while self.drawn < 2:
            time.sleep(0.01)

    def read_page(self):
        try:
            while True:
                self.page.receive()
                self.page.messages.clear()
        except (webwire.Closed, OSError, ValueError):
            pass

    def read_top(self):
        try:
            while os.read(self.terminal, 65536):
                self.drawn += 1
        except OSError:
            pass

    def close(self):
        self.top.terminate()
        self.top.wait()
        os.close(self.terminal)
        self.page.close()


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    return total


def measure(server, pids, count):
    """Deliveries a second; of hub and workers, for each delivery: CPU time in ns, instructions (None: not counted)."""
    counted = f"{server.dir}/counted"
    events = "instructions:u,instructions:k"
    bench = [f"{BIN}/parley", "-s", server.address, "bench", "fanout", "-t", "unix", "-S", str(SUBSCRIBERS),
             "-C", str(count), "--repeat", "1", "--json", "-q"]
    before = cpu_ns(pids)
    done = subprocess.run(["perf", "stat", "-x,", "-e", events, "-o", counted, "-p", ",".join(map(str, pids)), "--", *bench],
                          stdout=subprocess.PIPE, text=True, check=True)
    used = cpu_ns(pids) - before
    got = json.loads(done.stdout.splitlines()[-1])["figures"]["deliveries_per_s"]["median"]
    with open(counted, encoding="utf-8") as f:
        numbers = [line.split(",")[0] for line in f if ",instructions" in line]
    deliveries = (count + 4000) * (SUBSCRIBERS + 1)  # its warm-up and the publisher's own among them
    known = numbers and all(n.isdigit() for n in numbers)
    return got, used / deliveries, sum(map(int, numbers)) / deliveries if known else None


def steady(server, pids, rounds):
    """CPU ms of hub and workers in a second, with 1000 posts a second to as many subscribers."""
    before, start = cpu_ns(pids), time.monotonic()
    server.run("bench", "latency", "-t", "unix", "-S", str(SUBSCRIBERS), "--rate", "1000", "--rounds", str(rounds),
               "--repeat", "1", "-q")
    return ((cpu_ns(pids) - before) / 1e6 / (time.monotonic() - start),)


def pair(place, measure, count, watched_first):
    server = Server(place)
    try:
        pids = server.pids()
        measure(server, pids, count // 10)  # everything is warm
        found = {}
        for watched in (watched_first, not watched_first):
            watchers = Watchers(server) if watched else None
            theirs = [watchers.top.pid, server.web()] if watchers else []
            before, start = cpu_ns(theirs), time.monotonic()
            found[watched] = measure(server, pids, count)
            found["watchers"] = (cpu_ns(theirs) - before) / 1e6 / (time.monotonic() - start) if theirs else found.get("watchers")
            if watchers:
                watchers.close()
        return found
    finally:
        server.close()


def spread(values, digits):
    values = sorted(values)
    n = len(values)
    return (f"{statistics.median(values):.{digits}f} (quarters {values[n // 4]:.{digits}f} to {values[3 * n // 4]:.{digits}f}, "
            f"lowest {values[0]:.{digits}f}, highest {values[-1]:.{digits}f})")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--pairs", type=int, default=30)
    options.add_argument("--steady", type=int, default=12, help="pairs at a steady load")
    options.add_argument("--place", default="auto")
    options.add_argument("--count", type=int, default=400000, help="posts of each run")
    o = options.parse_args()
    got = [pair(o.place, steady, 1000, i % 2 == 0) for i in range(o.steady)]
    if got:
        print(f"{o.steady} pairs, --place {o.place}, 1000 posts a second to {SUBSCRIBERS} by unix")
        print("CPU ms of hub and workers in a second, not watched:", spread([p[False][0] for p in got], 2))
        print("the same, watched, more than that:", spread([p[True][0] - p[False][0] for p in got], 2))
        print("CPU ms of parley-web and top in a second:", spread([p["watchers"] for p in got], 2))
    got = [pair(o.place, measure, o.count, i % 2 == 0) for i in range(o.pairs)]
    if not got:
        return
    print(f"{o.pairs} pairs, --place {o.place}, fan-out to {SUBSCRIBERS} by unix, {o.count} posts each")
    print("deliveries a second, watched / not:", spread([p[True][0] / p[False][0] for p in got], 3))
    print("millions of deliveries a second, not watched:", spread([p[False][0] / 1e6 for p in got], 1))
    for i, what, digits in [(1, "CPU ns", 3), (2, "instructions", 4)]:
        if not all(p[w][i] for p in got for w in (True, False)):
            print(f"{what} of hub and workers: not to be had here")
            continue
        print(f"{what} of hub and workers for a delivery, not watched:", spread([p[False][i] for p in got], 1))
        print("the same, watched / not:", spread([p[True][i] / p[False][i] for p in got], digits))


main()
