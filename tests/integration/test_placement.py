"""`--place auto`: sessions move between the hub and its workers while they are used. Whatever happens
meanwhile, every receiver gets each record exactly once and in order.

The moves are made to happen by the budget, which SIGHUP reads again: with 0 every room outgrows the hub,
with 100 none does.
"""

import os
import signal
import threading

import pytest

import harness
import parleywire as wire
from harness import TRANSPORTS, until

ROOM = "#lobby"


class Mover:
    """A server with --place auto whose sessions can be sent away and fetched back."""

    def __init__(self, server, port=None, *more):
        self.server = server
        self.config = os.path.join(server.dir, "conf")
        self.port = port
        self.write(100)
        listen = ["--listen", f"127.0.0.1:{port}"] if port else []
        server.start("--place", "auto", "--workers", "2", "--rate", "0", "--config", self.config, *listen, *more)

    def write(self, budget):
        with open(self.config, "w") as f:
            f.write(f"place-budget = {budget}\n")

    def budget(self, budget):
        """From now on; `where` tells when it has come about."""
        reloads = self.server.output().count("configuration reloaded")
        self.write(budget)
        os.kill(self.server.pid, signal.SIGHUP)
        until(lambda: self.server.output().count("configuration reloaded") > reloads, "SIGHUP is heard")

    def address(self, transport):
        return f"tcp:127.0.0.1:{self.port}" if transport == "tcp" else self.server.address

    def where(self, room=ROOM):
        """{nick: "hub" or number of its worker} of the members of a room."""
        return {m["nick"]: m.get("worker", "hub") for m in self.server.json("who", room) if m["type"] == "member"}

    def moved(self, out, nicks):
        """Wait until these are in workers (or in the hub) as far as they can be moved."""
        def there():
            where = self.where()
            return all((where.get(n, "gone") != "hub") == out for n in nicks)
        until(there, f"{nicks} are {'out' if out else 'back'}: {self.where()}")

    def tail(self, transport, *more):
        """A receiver that is there: nick "to-TRANSPORT"."""
        s = self.server.stream("tail", "--json", "-q", "-t", transport, "-n", "to-" + transport, *more, ROOM,
                               server=self.address(transport))
        until(lambda: s.process.poll() is None and "to-" + transport in self.where(), f"{transport} is there")
        return s

    def tails(self, *more, transports=TRANSPORTS):
        return [self.tail(t, *more) for t in transports]


NICKS = ["to-" + t for t in TRANSPORTS]


def line(i):
    return f"{i} {'x' * (i * 7919 % 900)}"


class Talker:
    """Says numbered lines until it is told to stop."""

    def __init__(self, mover, transport="unix", pause=0.0002):
        self.transport, self.pause = transport, pause
        self.read, self.write = os.pipe()
        self.count = 0
        self.stop = threading.Event()
        self.stream = mover.server.stream("send", "-q", "-t", transport, "-n", "from-" + transport, ROOM, "-",
                                          stdin=self.read, server=mover.address(transport))
        os.close(self.read)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with open(self.write, "w", buffering=1) as f:
            while not self.stop.wait(self.pause):
                for _ in range(5):
                    f.write(line(self.count) + "\n")
                    self.count += 1

    def end(self):
        """Stop; how many lines were said."""
        self.stop.set()
        self.thread.join()
        assert self.stream.wait() == 0, self.stream.stderr
        return self.count


def assert_exact(stream, count, first=0):
    """Each line once, in order, byte for byte."""
    until(lambda: len(stream.lines) >= count - first, f"{count - first} lines ({len(stream.lines)}): {stream.stderr}")
    assert [m["text"] for m in stream.messages()] == [line(i) for i in range(first, count)]


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_moved_to_and_fro_under_traffic_everybody_reads_everything_once(make_server, free_port, sync):
    m = Mover(make_server(), free_port, "--sync", sync)
    tails = m.tails("--after", "0")
    talker = Talker(m)
    for _ in range(6):
        m.budget(0)
        m.moved(True, NICKS)
        m.budget(100)
        m.moved(False, NICKS)
    count = talker.end()
    for t in tails:
        assert_exact(t, count)
    # They were moved, not let go: nobody had to come again.
    assert all(t.process.poll() is None and "resum" not in t.stderr for t in tails)
    assert "resume" not in m.server.output()


def test_every_transport_sends_and_receives_while_it_moves(make_server, free_port):
    """Acknowledgements are moved like everything else; so are the seven senders."""
    m = Mover(make_server(), free_port)
    tails = m.tails("--after", "0")
    talkers = [Talker(m, t, pause=0.002) for t in TRANSPORTS]
    for _ in range(4):
        m.budget(0)
        m.moved(True, NICKS)
        m.budget(100)
        m.moved(False, NICKS)
    counts = {"from-" + x.transport: x.end() for x in talkers}
    for t in tails:
        until(lambda t=t: len(t.lines) >= sum(counts.values()), "all lines arrive")
        got = t.messages()
        assert len(got) == sum(counts.values())
        for nick, count in counts.items():
            assert [e["text"] for e in got if e["from"] == nick] == [line(i) for i in range(count)]


def test_new_members_of_a_room_that_is_out_go_out_at_once_and_workers_share_them(make_server, free_port):
    m = Mover(make_server(), free_port)
    m.tails()
    m.budget(0)
    m.moved(True, NICKS)
    assert set(m.where()[n] for n in NICKS) == {0, 1}
    m.server.stream("tail", "--json", "-q", "-n", "late", ROOM)
    m.moved(True, ["late"])


def test_history_is_replayed_whole_while_its_reader_moves(make_server, free_port):
    m = Mover(make_server(), free_port)
    lines = [line(i) for i in range(30000)]
    m.server.ok("send", "-q", ROOM, "-", input="".join(x + "\n" for x in lines))
    m.budget(0)
    away = True
    tails = m.tails("--after", "0")  # 14 MB each, some of it read here, some there
    for _ in range(6):
        away = not away
        m.budget(0 if away else 100)
    for t in tails:
        assert_exact(t, len(lines))


def test_stopped_readers_keep_their_place_and_miss_nothing(make_server, free_port):
    m = Mover(make_server(), free_port)
    stopped = m.tails("--after", "0")
    bystander = m.server.stream("tail", "--json", "-q", "-n", "bystander", "--after", "0", ROOM)
    until(lambda: "bystander" in m.where(), "it is there")
    talker = Talker(m)
    for t in stopped:
        os.kill(t.pid, signal.SIGSTOP)
    until(lambda: talker.count > 20000, "more than their buffers hold")
    m.budget(0)
    m.moved(True, ["bystander"])  # nobody waits for them
    m.budget(100)
    m.moved(False, ["bystander"])
    m.budget(0)
    for t in stopped:
        os.kill(t.pid, signal.SIGCONT)
    m.moved(True, NICKS)
    count = talker.end()
    for t in [*stopped, bystander]:
        assert_exact(t, count)


def test_worker_killed_while_sessions_move_costs_nobody_a_line(make_server, free_port):
    m = Mover(make_server(), free_port)
    tails = m.tails("--after", "0")
    talker = Talker(m)
    for i in range(4):
        m.budget(0 if i % 2 == 0 else 100)
        victim = m.server.workers()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in m.server.workers() and len(m.server.workers()) == 2, "the worker is back")
    m.budget(0)
    m.moved(True, NICKS)
    count = talker.end()
    for t in tails:
        assert_exact(t, count)


def test_clients_that_close_while_they_move_leave_nothing(make_server, free_port):
    m = Mover(make_server(), free_port)
    keeper = m.tail("unix", "--after", "0")
    talker = Talker(m, pause=0.2)

    def open_fds():
        """Without the segments of the log, which become more as it grows."""
        return sum(not what.endswith(".log") for p in [m.server.pid, *m.server.workers()] for what in harness.fds(p).values())
    m.budget(0)
    m.moved(True, ["to-unix"])
    m.budget(100)
    m.moved(False, ["to-unix"])
    before = open_fds()
    for i in range(6):
        going = m.tails(transports=TRANSPORTS[:5])
        m.write(0 if i % 2 == 0 else 100)
        os.kill(m.server.pid, signal.SIGHUP)
        for t in going:
            t.process.send_signal(signal.SIGKILL if i % 3 else signal.SIGTERM)
        until(lambda: not {"to-" + t for t in TRANSPORTS[:5]} & set(m.where()), "they are gone")
    m.budget(100)
    m.moved(False, ["to-unix"])
    until(lambda: open_fds() <= before, f"descriptors: {open_fds()}, before: {before}")
    assert_exact(keeper, talker.end())


def test_transport_changed_while_it_moves_loses_nothing(make_server):
    """A resumed session on another transport, and a move of the old one at the same moment."""
    m = Mover(make_server())
    c = wire.Client.connect(m.server.socket, "turncoat")
    room = c.join(ROOM)
    seen = []
    for i in range(12):
        m.write(0 if i % 2 == 0 else 100)
        os.kill(m.server.pid, signal.SIGHUP)
        for k in range(20):
            c.post(room.room, f"{i}.{k}")
        d = wire.Client.dial(m.server.socket)
        last = seen[-1][0] if seen else room.first - 1
        # What has come so far on the old connection; the rest comes on the new one.
        for k in range(7):
            r = c.until("MESSAGE")
            seen.append((r.seq, r.text))
        last = seen[-1][0]
        w = d.hello("turncoat", token=c.welcome.token, producer=c.welcome.producer,
                    cursors=wire.cursor(room.uuid, room.epoch, 0, last))
        d.welcome = w
        assert w.type == "WELCOME" and w.resumed
        d.counter = c.counter
        # Posts that the server did not take before: sent again under their old counters.
        d.send(wire.encode("READY"))
        for n in range(w.last_counter + 1, c.counter + 1):
            d.post(room.room, f"{i}.{n - i * 20 - 1}", counter=n)
        for k in range(13):
            r = d.until("MESSAGE")
            seen.append((r.seq, r.text))
        c.close()
        c = d
    assert [t for _, t in seen] == [f"{i}.{k}" for i in range(12) for k in range(20)]
    assert [s for s, _ in seen] == sorted({s for s, _ in seen})
    c.close()


def test_requests_and_departures_while_it_moves_are_answered_in_order(make_server):
    m = Mover(make_server())
    with wire.Client.connect(m.server.socket, "busy") as c:
        for i in range(30):
            joined = c.join(ROOM)
            assert joined.type == "JOINED"
            m.write(0 if i % 2 == 0 else 100)
            os.kill(m.server.pid, signal.SIGHUP)
            for k in range(50):
                c.post(joined.room, f"{i}.{k}")
            history = c.ask("HISTORY", at=joined.room, before=0, count=10)
            part = c.ask("PART", at=joined.room)
            got = [c.until("MESSAGE", room=joined.room, flags=0) for _ in range(50)]
            c.until("DONE", counter=history)
            c.until("PARTED", counter=part)
            live = [r.text for r in got]
            assert [t for t in live if t.startswith(f"{i}.")][:1], live
            # live ones and replayed ones may mix; each of the 50 is there
            rest = [r.text for r in c.kept if r.type == "MESSAGE"]
            assert {f"{i}.{k}" for k in range(50)} <= set(live + rest)
            c.kept.clear()


def test_searches_while_their_session_moves_find_each_message_once(make_server):
    m = Mover(make_server())
    with wire.Client.connect(m.server.socket, "seeker") as c:
        room = c.join(ROOM).room
        for i in range(2000):
            c.post(room, f"needle {i}" if i % 10 == 0 else f"hay {i} " + "x" * 200)
        said = [c.until("MESSAGE").seq for _ in range(2000)]
        for i in range(30):
            m.write(0 if i % 2 == 0 else 100)
            os.kill(m.server.pid, signal.SIGHUP)
            n = c.ask("SEARCH", at=room, start=wire.AFTER, arg=0, before=0, text="NEEDLE")
            c.until("REPLAY", counter=n)
            c.kept.clear()
            c.until("DONE", counter=n)
            assert [r.seq for r in c.kept if r.type == "MESSAGE"] == said[::10]
            c.kept.clear()


def test_server_stopped_while_sessions_move_ends_cleanly(make_server, free_port):
    m = Mover(make_server(), free_port)
    tails = m.tails("--after", "0")
    m.server.ok("send", "-q", ROOM, "-", input="".join(line(i) + "\n" for i in range(2000)))
    m.write(0)
    os.kill(m.server.pid, signal.SIGHUP)
    m.server.stop()  # exit code 0, nothing left
    m.server.start(*m.server.options)
    m.server.ok("send", "-q", ROOM, line(2000))
    for t in tails:
        assert_exact(t, 2001)
