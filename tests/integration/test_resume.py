"""Killed and restarted, with real processes: what was being said is there exactly once and in order, what
was being read goes on where it stopped, and what a server has really lost is told."""

import os
import re
import shutil
import signal
import struct
import threading

import pytest

import parleywire as wire
from harness import TRANSPORTS, shoot, until

LINES = 20000  # a few tenths of a second: what dies on the way dies in the middle
LOCAL = [t for t in TRANSPORTS if t != "tcp"]
ROOM = "#lobby"


class Feed:
    """A pipe for a command's standard input, filled by a thread: the command reads as fast as it likes,
    and does not see an end before end() is called."""

    def __init__(self):
        self.read, self.write = os.pipe()
        self.thread = None

    def put(self, lines):
        """Write the lines, after those before. A reader that dies takes what is left with it."""
        before, data = self.thread, "".join(f"{line}\n" for line in lines).encode()

        def run():
            if before:
                before.join()
            try:
                with open(self.write, "wb", closefd=False) as f:
                    f.write(data)
            except BrokenPipeError:
                pass
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        return self

    def end(self):
        if self.thread:
            self.thread.join()
        os.close(self.write)


@pytest.fixture
def feed(request):
    """feed(server, args…): a running command and the Feed of its standard input."""
    made = []

    def start(server, *args):
        f = Feed()
        made.append(f)
        stream = server.stream(*args, stdin=f.read)
        os.close(f.read)
        return stream, f
    yield start
    for f in made:
        try:
            os.close(f.write)
        except OSError:
            pass


def numbered(first, end):
    return [f"line {i}" for i in range(first, end)]


def texts(events):
    return [e["text"] for e in events]


def present(server, stream, nick):
    """Wait until the command is in the room: before that, the end of the server would be its own."""
    def there():
        assert stream.process.poll() is None, stream.stderr
        return nick in [m["nick"] for m in server.json("who", ROOM)]
    until(there, f"{nick} is there")
    return stream


def watch(server, transport="unix", nick="watcher"):
    """A tail from the beginning of the room on."""
    return present(server, server.stream("tail", "--json", "-t", transport, "-n", nick, "--after", "0", ROOM), nick)


def said(server):
    return texts(e for e in server.json("history", "--after", "0", ROOM) if e["type"] == "message")


def assert_whole(tail, lines):
    """`tail` shows these lines once each and in order, under rising numbers."""
    until(lambda: len(tail.lines) >= len(lines), f"all {len(lines)} lines arrive")
    messages = tail.messages()
    assert texts(messages) == lines
    seqs = [m["seq"] for m in messages]
    assert seqs == sorted(set(seqs))


def resume(server, old, cursors=b"", **more):
    w = old.welcome
    c = wire.Client.dial(server.socket)
    c.welcome = c.hello(w.nick, token=w.token, producer=w.producer, cursors=cursors, **more)
    return c


# --- an input that is sent again ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", LOCAL)
def test_send_killed_and_repeated_with_its_id_says_each_line_once(server, feed, transport):
    """Killed three times in the middle, wherever that is; the fourth run is left alone."""
    lines = numbered(0, LINES)
    mixed = [x for line in lines for x in (["", line] if line.endswith("7") else [line])]  # empty ones too
    tail = watch(server)
    for enough in (1, LINES // 4, LINES // 2):
        sender, f = feed(server, "send", "-t", transport, "--id", "my input", ROOM)
        f.put(mixed)
        until(lambda: len(tail.lines) >= enough, f"{enough} lines arrive")
        sender.process.kill()
        sender.wait()
    server.ok("send", "-t", transport, "--id", "my input", ROOM, input="".join(x + "\n" for x in mixed))
    assert_whole(tail, lines)
    # And once more: there is nothing left to say.
    again = server.run("send", "--id", "my input", ROOM, input="".join(x + "\n" for x in mixed))
    assert again.returncode == 0 and f"{LINES} messages of this input" in again.stderr
    assert said(server) == lines


def test_send_id_counts_only_what_can_be_said(server):
    """A line that is refused before it is sent is no place in the input, in this run and the next."""
    first = b"one\n\nbad \xff\r\ntwo\r\n"
    for _ in range(2):
        done = server.run("send", "--id", "x", ROOM, input=first)
        assert done.returncode == 1 and "line 3" in done.stderr
    done = server.run("send", "--id", "x", ROOM, input=first + b"three\n")
    assert done.returncode == 1
    assert said(server) == ["one", "two", "three"]


def test_send_id_of_a_text(server):
    for _ in range(3):
        server.ok("send", "--id", "deploy 7", ROOM, "done")
    server.ok("send", "--id", "deploy 8", ROOM, "done")
    server.ok("send", "--id", "deploy 8", "--json", ROOM, "done")
    assert said(server) == ["done", "done"]


def test_send_id_of_another_input_is_noticed_when_it_is_shorter(server):
    server.ok("send", "--id", "x", ROOM, input="a\nb\nc\n")
    done = server.run("send", "--id", "x", ROOM, input="d\n")
    assert done.returncode == 1 and "3 messages" in done.stderr and "--id" in done.stderr
    assert said(server) == ["a", "b", "c"]


def test_send_id_survives_a_restart(server, feed):
    sender, f = feed(server, "send", "--id", "x", ROOM)
    f.put(numbered(0, 10))
    until(lambda: len(said(server)) == 10, "ten lines are said")
    sender.process.kill()
    sender.wait()
    server.kill()
    server.start(*server.options)
    server.ok("send", "--id", "x", ROOM, input="".join(x + "\n" for x in numbered(0, 20)))
    assert said(server) == numbered(0, 20)


def test_send_id_of_two_at_once_is_left_to_the_second(server, feed):
    first, f = feed(server, "send", "--id", "x", ROOM)
    f.put(numbered(0, 10))
    until(lambda: len(said(server)) == 10, "ten lines are said")
    server.ok("send", "--id", "x", ROOM, input="".join(x + "\n" for x in numbered(0, 20)))
    f.put(numbered(10, 20))
    assert first.wait() == 1, first.stderr
    assert "another connection" in first.stderr
    assert said(server) == numbered(0, 20)


def test_send_id_is_for_somebody_and_short_names(make_server, free_port):
    server = make_server().start("--listen", f"127.0.0.1:{free_port}")
    done = server.run("send", "--id", "x", ROOM, "hi", server=f"tcp:127.0.0.1:{free_port}")
    assert done.returncode == 77 and "by a user of this host or an account" in done.stderr
    for name in ("", "x" * 65):
        done = server.run("send", "--id", name, ROOM, "hi")
        assert done.returncode == 2 and "64 bytes" in done.stderr
    server.ok("send", "--id", "x" * 64, ROOM, "hi")
    assert server.run("tail", "--id", "x", ROOM).returncode == 2
    assert "--id NAME" in server.ok("send", "--help")


def test_send_id_is_no_default(server):
    """In the file it would be the name of every input, and all but the first would be passed over."""
    home = os.path.join(server.dir, "config", "parley")
    os.makedirs(home)
    with open(os.path.join(home, "parley.conf"), "w") as f:
        f.write("id = mine\n")
    done = server.run("send", ROOM, "hi", XDG_CONFIG_HOME=os.path.join(server.dir, "config"))
    assert done.returncode == 2 and "parley.conf:1" in done.stderr


# --- servers and workers that die ----------------------------------------------------------------------------


@pytest.mark.parametrize("transport", LOCAL)
def test_hub_killed_under_a_running_pair(server, feed, transport):
    lines = numbered(0, LINES)
    tail = watch(server, transport)
    sender, f = feed(server, "send", "-t", transport, "-n", "sender", ROOM)
    present(server, sender, "sender")
    f.put(lines)
    for enough in (1, LINES // 3):
        until(lambda: len(tail.lines) >= enough, f"{enough} lines arrive")
        server.kill()
        server.start(*server.options)
    f.end()
    assert sender.wait() == 0, sender.stderr
    assert_whole(tail, lines)
    assert said(server) == lines
    assert "reconnecting" in tail.stderr and "missing" not in tail.stderr


@pytest.mark.parametrize("transport", LOCAL)
def test_workers_killed_under_a_running_pair(make_server, feed, transport):
    server = make_server().start("--workers", "2", "--place", "workers")
    lines = numbered(0, LINES)
    tail = watch(server, transport)
    sender, f = feed(server, "send", "-t", transport, "-n", "sender", ROOM)
    present(server, sender, "sender")
    f.put(lines)
    for enough in (1, LINES // 3):
        until(lambda: len(tail.lines) >= enough, f"{enough} lines arrive")
        shoot(server.workers())
    f.end()
    assert sender.wait() == 0, sender.stderr
    assert_whole(tail, lines)
    assert said(server) == lines


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_tail_across_three_restarts(server, how):
    tail = watch(server)
    for i in range(4):
        if i:
            getattr(server, how)()
            server.start(*server.options)
        server.ok("send", ROOM, input="".join(x + "\n" for x in numbered(100 * i, 100 * i + 100)))
    assert_whole(tail, numbered(0, 400))
    assert "rewound" not in tail.stderr and "missing" not in tail.stderr


# --- transports that go away or are changed ----------------------------------------------------------------


@pytest.mark.parametrize("transport", LOCAL)
def test_transport_switched_off_moves_its_sessions(make_server, feed, transport):
    server = make_server()
    config = os.path.join(server.dir, "parleyd.conf")

    def offer(names):
        with open(config, "w") as f:
            f.write(f"transports = {','.join(names)}\n")
    offer(TRANSPORTS)
    server.start("--workers", "2", "--config", config)
    lines = numbered(0, LINES)
    tail = watch(server, f"{transport},auto")
    insists = present(server, server.stream("tail", "-t", transport, "-n", "insists", ROOM), "insists")
    assert [m["transport"] for m in server.json("who", ROOM)] == [transport] * 2
    sender, f = feed(server, "send", "-t", f"{transport},auto", ROOM)
    f.put(lines)
    until(lambda: len(tail.lines) >= 1000, "lines arrive")
    offer([t for t in TRANSPORTS if t != transport])
    os.kill(server.pid, signal.SIGHUP)
    assert insists.wait() == 1
    assert "switched off" in insists.stderr
    f.end()
    assert sender.wait() == 0, sender.stderr
    assert_whole(tail, lines)
    assert said(server) == lines
    assert transport not in [m["transport"] for m in server.json("who", ROOM)]


def shows(chat, text):
    return any(line.endswith(f"{text}\n".encode()) for line in list(chat.lines))


def test_transport_changed_under_full_traffic(server, feed):
    """A chat on a pipe goes through all transports twice while another process talks as fast as it can."""
    chat, keys = feed(server, ROOM, "-n", "mover", "-t", "unix")
    present(server, chat, "mover")
    sender, f = feed(server, "send", "-n", "talker", "-t", "unix", ROOM)
    total = 0
    for i, name in enumerate([*LOCAL, *LOCAL]):
        f.put(numbered(total, total + 2000))
        total += 2000
        keys.put([f"before {i}", f"/transport {name}", f"after {i}"])
        until(lambda: shows(chat, f"<mover> after {i}"), f"what was said after {name} comes back")
    f.end()
    assert sender.wait() == 0, sender.stderr
    until(lambda: shows(chat, f"line {total - 1}"), "the last line arrives")
    # It begins on the last of them.
    until(lambda: (b"".join(chat.lines).decode() + chat.stderr).count("0 lost, 0 doubled") == 2 * len(LOCAL),
          "each change is told")
    shown = b"".join(chat.lines).decode()
    assert re.findall(r"<talker> (line \d+)\n", shown) == numbered(0, total)
    mine = [x for x in said(server) if not x.startswith("line")]
    assert mine == [f"{w} {i}" for i in range(2 * len(LOCAL)) for w in ("before", "after")]


# --- what a server has lost ----------------------------------------------------------------------------------


def forget_newest(server, count):
    """As after a power cut: the last `count` records of the room were not yet on disk."""
    (room,) = os.listdir(os.path.join(server.state, "rooms"))
    folder = os.path.join(server.state, "rooms", room)
    (segment,) = os.listdir(folder)
    with open(os.path.join(folder, segment), "r+b") as f:
        data = f.read()
        starts, at = [], 4096
        while struct.unpack_from("<H", data, at)[0]:
            starts.append(at)
            at += 8 * struct.unpack_from("<H", data, at)[0]
        f.seek(starts[-count])
        f.write(bytes(at - starts[-count]))


def test_lost_tail_is_told_to_readers(server):
    """Twenty records, of which a crash takes five; others are written before the old reader is back."""
    tail = watch(server)
    plain = present(server, server.stream("tail", "-n", "plain", "--after", "0", ROOM), "plain")
    old = wire.Client.connect(server.socket, "old")
    room = old.join(ROOM, flags=wire.QUIET)
    for i in range(20):
        old.post(room.room, f"line {i}")
    last = [old.until("MESSAGE") for _ in range(20)][-1]
    until(lambda: len(tail.lines) == 20 and len(plain.lines) == 20, "both readers have them")
    server.kill()
    forget_newest(server, 5)
    server.start(*server.options)
    server.ok("send", ROOM, input="".join(f"new {i}\n" for i in range(10)))
    with resume(server, old, wire.cursor(room.uuid, room.epoch, wire.QUIET, last.seq)) as again:
        again.send(wire.encode("READY"))
        assert (again.welcome.resumed, again.welcome.last_counter) == (1, 15)
        joined = again.until("JOINED", counter=0)
        assert (joined.rewound, joined.first) == (1, last.seq - 4)
        assert [again.until("MESSAGE").text for _ in range(10)] == [f"new {i}" for i in range(10)]
    until(lambda: len(tail.lines) == 31 and len(plain.lines) == 30, "both readers go on")
    events = tail.events()
    assert texts(e for e in events if e["type"] == "message") == \
        numbered(0, 20) + [f"new {i}" for i in range(10)]
    assert events[20] == {"v": 1, "type": "rewound", "room": ROOM, "seq": last.seq - 5}
    assert events[21]["seq"] <= last.seq  # a number that was given before
    for stream in (tail, plain):
        assert stream.stderr.count(f"rewound to {last.seq - 5}") == 1
        assert "missing" not in stream.stderr


def lose_posts(server, feed, *options):
    """A running send whose last three of ten lines are lost by the server."""
    sender, f = feed(server, "send", "-v", *options, ROOM)
    f.put(numbered(0, 10))
    until(lambda: "acknowledged up to line 10" in sender.stderr, "ten lines are acknowledged")
    server.kill()
    forget_newest(server, 3)
    server.start(*server.options)
    return sender, f


def test_lost_posts_are_told_to_who_said_them(server, feed):
    sender, f = lose_posts(server, feed)
    until(lambda: "lost 3 of your messages" in sender.stderr, "the loss is told")
    f.put(numbered(10, 20)).end()
    assert sender.wait() == 1  # not all that was to be said is said
    assert said(server) == numbered(0, 7) + numbered(10, 20)


def test_lost_posts_of_a_named_input_are_said_by_the_next_run(server, feed):
    sender, f = lose_posts(server, feed, "--id", "x")
    f.put(numbered(10, 20))
    assert sender.wait() == 75, sender.stderr
    assert "all but 7 posts of input x" in sender.stderr
    server.ok("send", "--id", "x", ROOM, input="".join(x + "\n" for x in numbered(0, 20)))
    assert said(server) == numbered(0, 20)


# --- what a server does not know any more --------------------------------------------------------------------


def test_server_set_up_anew_gives_a_new_session(server, feed):
    """Other state, other secret: the token is EXPIRED, and the client goes on as somebody new."""
    sender, f = feed(server, "send", "-v", ROOM)
    f.put(numbered(0, 10))
    until(lambda: "acknowledged up to line 10" in sender.stderr, "ten lines are acknowledged")
    server.kill()
    shutil.rmtree(server.state)
    f.put(numbered(10, 20))  # into the outbox
    server.start(*server.options)
    f.put(numbered(20, 30)).end()
    assert sender.wait() == 0, sender.stderr
    assert "does not know this session any more" in sender.stderr
    assert said(server) == numbered(10, 30)


def test_token_that_no_server_made_is_expired(server):
    with wire.Client.dial(server.socket) as c:
        answer = c.hello("a", token=bytes([7] * 16), producer=7)
        assert (answer.type, answer.code) == ("REFUSE", wire.CODES["EXPIRED"])


def test_forgotten_producer_is_never_taken_up_again(server):
    """Its counters would begin anew, and those in the log would take the new posts for old ones."""
    old = wire.Client.connect(server.socket, "old")
    named = wire.Client.connect(server.socket, "named", input=b"x")
    server.kill()  # neither has said anything, so nothing in the log knows them
    server.start(*server.options)
    with resume(server, old) as again:
        assert (again.welcome.type, again.welcome.resumed, again.welcome.last_counter) == ("WELCOME", 0, 0)
        assert again.welcome.producer != old.welcome.producer
    with resume(server, named, input=b"x") as again:
        assert (again.welcome.resumed, again.welcome.producer) == (0, named.welcome.producer)
    old.close()
    named.close()
