"""kill -9 while old segments are removed: at each call that does it, the first times it is made."""

import json
import subprocess

import pytest

import roomlog
import strace
from conftest import needs_root
from harness import DEADLINE, until

pytestmark = [needs_root, strace.needed]

ROOM = "#lobby"
# In the thread that syncs what stays, unlinks and syncs the directory; -f follows it.
CALLS = [("unlinkat", 1), ("unlinkat", 2), ("unlinkat", 3), ("fsync", 1), ("fsync", 2),
         ("fdatasync", 1), ("fdatasync", 2), ("fdatasync", 3)]


@pytest.mark.parametrize("call,n", CALLS)
def test_kill_while_segments_are_dropped(make_server, count, call, n):
    server = make_server()
    server.start("--workers", "0", "--retain-size", "4M")  # four segments
    server.ok("send", "--id", "job", ROOM, "-", input="".join(f"{i} {'x' * 200}\n" for i in range(12000)))
    server.stop()
    assert len(roomlog.segments(roomlog.rooms(server.state)[ROOM])) == 4
    before = roomlog.room(server.state, ROOM)
    options = ("--workers", "0", "--retain-size", "1M")
    command = [*strace.around(*strace.kill_at(call, n), follow=True), *server.command(*options)]
    with open(server.log, "ab") as log:
        done = subprocess.Popen(command, env=server.env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: done.poll() is not None, "the call is made, and it dies of it")
        finally:
            done.kill()
            done.wait(DEADLINE)
    after = roomlog.room(server.state, ROOM)
    kept = {r.seq: r for r in after}
    assert after and after[0].seq >= before[0].seq, "a log without a gap, that begins where it did or later"
    for r in before:
        if r.seq >= after[0].seq:
            assert kept[r.seq].fields == r.fields
    server.start(*options)
    server.ok("send", "--id", "job", ROOM, "-", input="".join(f"{i} {'x' * 200}\n" for i in range(12000)))
    server.ok("send", ROOM, "-", input="on\n")
    got = [json.loads(x) for x in server.ok("history", "--json", "--after", "0", ROOM).splitlines()]
    texts = [e["text"] for e in got if e["type"] == "message"]
    assert texts[-1] == "on" and len(set(texts)) == len(texts), "nothing is said twice"
    count(kills=1)
