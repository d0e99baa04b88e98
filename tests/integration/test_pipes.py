"""Anonymous pipes between parent and child: they are there, they are shared, and they are used."""

import os
import re

import pytest

import harness

PIPE = re.compile(r"pipe:\[\d+\]")
O_ACCMODE, O_RDONLY, O_WRONLY = 3, 0, 1


def pipes(pid):
    """{inode: set of access modes} of the pipes a process holds, standard streams left out."""
    out = {}
    for fd, what in harness.fds(pid).items():
        if fd > 2 and PIPE.fullmatch(what):
            with open(f"/proc/{pid}/fdinfo/{fd}") as info:
                flags = int(re.search(r"flags:\s*([0-7]+)", info.read()).group(1), 8)
            out.setdefault(what, set()).add(flags & O_ACCMODE)
    return out


def transfers(lines):
    """(pid, "read" or "write", pipe) of each call that moved something. Lines are such as
         4711 write(9<pipe:[123]>, ""..., 32) = 32
    or, when another process had its turn meanwhile,
         4711 write(9<pipe:[123]>, ""..., 32 <unfinished ...>
         4711 <... write resumed>) = 32"""
    begun = {}
    for line in lines:
        if m := re.match(r"(\d+) +(read|write)v?\(\d+<(pipe:\[\d+\])>", line):
            begun[m.group(1)] = m.group(2, 3)
        elif not re.match(r"\d+ +<\.\.\. (read|write)v? resumed", line):
            continue
        pid = line.split()[0]
        if pid in begun and (moved := re.search(r" = (\d+)$", line)):
            call, pipe = begun.pop(pid)
            if int(moved.group(1)) > 0:
                yield int(pid), call, pipe


@pytest.fixture
def busy_server(make_server):
    return make_server().start("--workers", "2", "--place", "workers")


def test_each_worker_shares_one_pipe_pair_with_its_parent(busy_server):
    server = busy_server
    hub, workers = pipes(server.pid), server.workers()
    assert len(workers) == 2
    seen = set()
    for worker in workers:
        mine = pipes(worker)
        shared = set(mine) & set(hub)
        down = [p for p in shared if mine[p] == {O_RDONLY} and hub[p] == {O_WRONLY}]
        up = [p for p in shared if mine[p] == {O_WRONLY} and hub[p] == {O_RDONLY}]
        assert len(down) == 1 and len(up) == 1, (mine, hub)
        assert shared == {down[0], up[0]}
        assert not shared & seen, "two workers share a pipe"
        seen |= shared


def test_no_pipe_without_workers(make_server):
    server = make_server().start("--workers", "0")
    assert server.workers() == []
    # libuv may use a pipe or two within the process; both ends of such a pipe are here.
    assert all(len(modes) == 2 or modes == {os.O_RDWR} for modes in pipes(server.pid).values())


def test_pipes_carry_traffic_while_a_room_is_busy(busy_server):
    server = busy_server
    worker_pipes = {w: set(pipes(w)) & set(pipes(server.pid)) for w in server.workers()}
    with harness.Calls(server.dir, [server.pid, *worker_pipes], "read,write,readv,writev") as trace:
        tails = [server.stream("tail", "--json", "-t", t, "#busy") for t in ("unix", "shm", "fifo", "sysvmq")]
        harness.until(lambda: server.members("#busy") == len(tails), "everybody is there")
        server.ok("send", "#busy", "-", input="".join(f"line {i}\n" for i in range(100)))
        for t in tails:
            harness.until(lambda t=t: len(t.messages()) == 100, "all lines arrive")
    moved = {}
    for pid, call, pipe in transfers(trace.lines()):
        moved.setdefault(pipe, set()).add((pid, call))
    for worker, shared in worker_pipes.items():
        kinds = {("hub" if pid == server.pid else "worker", call)
                 for p in shared for pid, call in moved.get(p, ()) if pid in (server.pid, worker)}
        assert ("hub", "write") in kinds and ("worker", "read") in kinds, (worker, kinds)
