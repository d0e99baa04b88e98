"""Starting, stopping, dying and coming back."""

import os
import re
import signal

import pytest

import harness
import parleywire as wire
from harness import TRANSPORTS, until

LOCAL = [t for t in TRANSPORTS if t != "tcp"]


def say(server, room, count, start=0):
    server.ok("send", room, "-", input="".join(f"{i}\n" for i in range(start, start + count)))


def numbers(stream):
    return [int(m["text"]) for m in stream.messages()]


# --- the end ---------------------------------------------------------------------------------------------


def test_sigterm_with_clients_on_every_transport_leaves_nothing(make_server, free_port):
    server = make_server().start("--workers", "2", "--listen", f"127.0.0.1:{free_port}")
    tails = [server.stream("tail", "--json", "-t", t, "#lobby") for t in LOCAL]
    tails.append(server.stream("tail", "--json", "-t", "tcp", "#lobby",
                               server=f"tcp:127.0.0.1:{free_port}"))
    until(lambda: server.members("#lobby") == len(TRANSPORTS), "everybody is there")
    say(server, "#lobby", 10)
    for t in tails:
        until(lambda t=t: len(t.messages()) == 10, "all lines arrive")
    server.stop()  # exit code 0, runtime directory empty, no queue left: checked there


def test_sigterm_tells_clients_why(server):
    with wire.Client.connect(server.socket, "a") as a:
        a.join("#lobby")
        server.stop()
        end = a.until_end()
        assert (end[-1].type, end[-1].code) == ("BYE", wire.CODES["SHUTDOWN"])


def test_sigint_is_a_clean_end_too(server):
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(harness.DEADLINE) == 0
    server.process = None
    server.assert_clean()


def test_descriptors_return_to_the_baseline_after_many_sessions(server):
    server.ok("send", "#lobby", "first")  # opens the room's log
    before = harness.settled(server.count_fds)
    for t in LOCAL * 3:
        server.ok("send", "-t", t, "#lobby", "hi")
    until(lambda: server.count_fds() <= before, "descriptors of ended sessions are closed")
    until(lambda: not [n for n in os.listdir(server.runtime) if len(n) >= 32], "names of ended sessions are gone")


def test_names_are_gone_as_soon_as_both_ends_are_open(server):
    tails = [server.stream("tail", "--json", "-t", t, "#lobby") for t in LOCAL]
    until(lambda: server.members("#lobby") == len(LOCAL), "everybody is there")
    assert server.objects.posix() == []
    # What stays is the record of the System V queues, which have no name to remove.
    stay = [n for n in os.listdir(server.runtime) if len(n) >= 32]
    assert len(stay) <= 2, stay
    assert len(tails) == len(LOCAL)


# --- death of a worker -------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_worker_loses_and_doubles_nothing(make_server, workers):
    server = make_server().start("--workers", str(workers), "--place", "workers")
    tails = {t: server.stream("tail", "--json", "-q", "-t", t, "#lobby") for t in LOCAL}
    until(lambda: server.members("#lobby") == len(tails), "everybody is there")
    said = 0
    for _ in range(3):
        say(server, "#lobby", 50, said)
        victims = server.workers()
        harness.shoot(victims)
        say(server, "#lobby", 50, said + 50)
        said += 100
        until(lambda: len(server.workers()) == workers and not set(server.workers()) & set(victims),
              "new workers take their place")
    for t, tail in tails.items():
        until(lambda tail=tail: len(tail.lines) >= said, f"{t} has everything (has {len(tail.lines)}"
              f" of {said}): {tail.stderr}")
        assert numbers(tail) == list(range(said)), t


def test_killed_worker_is_named_in_the_log(make_server):
    server = make_server().start("--place", "workers", "--workers", "1")
    (victim,) = server.workers()
    os.kill(victim, signal.SIGKILL)
    until(lambda: str(victim) in server.output(), "the log names the worker")
    assert "worker" in server.output()


def test_killed_hub_takes_its_workers_along(make_server):
    server = make_server().start("--workers", "3")
    workers = server.workers()
    assert len(workers) == 3
    server.process.kill()
    server.process.wait()
    server.process = None
    until(lambda: not any(harness.alive(w) for w in workers), "workers end with their hub")


# --- death of everything -------------------------------------------------------------------------------------


def test_restart_after_kill_sweeps_what_was_left(make_server):
    server = make_server().start("--workers", "2")
    for t in LOCAL:
        server.stream("tail", "--json", "-t", t, "#lobby")
    until(lambda: server.members("#lobby") == len(LOCAL), "everybody is there")
    # Sessions in the middle of opening, whose names still exist.
    opening = [wire.Client.dial(server.socket) for _ in LOCAL]
    ids = {"fifo": 1, "posixmq": 2, "sysvmq": 3, "shm": 4, "mmap": 5, "unix": 6}
    for c, t in zip(opening, LOCAL):
        assert c.hello("half-" + t, transports=[ids[t]]).type == "WELCOME"
    for s in server.streams:
        s.process.kill()
        s.wait()
    server.kill()
    for c in opening:
        c.close()
    assert server.leftovers() != []
    server.start("--workers", "2")
    server.stop()  # nothing left, checked there


def test_kill_loses_nothing_that_was_acknowledged(make_server):
    server = make_server().start("--workers", "1")
    say(server, "#lobby", 200)
    server.kill()
    server.start("--workers", "1")
    assert [m["text"] for m in server.json("history", "--after", "0", "#lobby") if m["type"] == "message"] == \
        [str(i) for i in range(200)]


@pytest.mark.parametrize("transport", LOCAL)
def test_clients_survive_a_restart_without_loss_or_repeat(make_server, transport):
    server = make_server().start("--workers", "1")
    tail = server.stream("tail", "--json", "-q", "-t", transport, "#lobby")
    until(lambda: server.members("#lobby") == 1, "tail is there")
    say(server, "#lobby", 20)
    until(lambda: len(tail.lines) == 20, "the first lines arrive")
    server.kill()
    server.start("--workers", "1")
    say(server, "#lobby", 20, 20)
    until(lambda: len(tail.lines) >= 40, f"the rest arrives: {tail.stderr}")
    assert numbers(tail) == list(range(40))


def test_restart_keeps_history_and_raises_the_epoch(make_server):
    server = make_server().start()
    epochs, first = [], None
    for i in range(3):
        with wire.Client.connect(server.socket, "a") as a:
            joined = a.join("#lobby", start=wire.AFTER, arg=0)
            epochs.append(joined.epoch)
            first = first or joined
            assert joined.uuid == first.uuid
            a.post(joined.room, f"start {i}")
            a.until("MESSAGE", text=f"start {i}")
            assert [r.text for r in a.kept if r.type == "MESSAGE"] == [f"start {k}" for k in range(i)]
        server.stop()
        server.start()
    assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]
    seqs = [m["seq"] for m in server.json("history", "--after", "0", "#lobby") if m["type"] == "message"]
    assert seqs == sorted(set(seqs))


def test_topic_survives_a_restart(make_server):
    server = make_server().start()
    with wire.Client.connect(server.socket, "a") as a:
        a.ask("TOPIC", at=a.join("#lobby").room, topic="kept")
        a.until("RETITLE")
    server.stop()
    server.start()
    with wire.Client.connect(server.socket, "a") as a:
        assert a.join("#lobby").topic == "kept"


@pytest.mark.parametrize("sync", ["none", "interval", "always"])
def test_sync_modes(make_server, sync):
    server = make_server().start("--sync", sync)
    say(server, "#lobby", 50)
    server.stop()
    server.start("--sync", sync)
    assert len([m for m in server.json("history", "--after", "0", "#lobby") if m["type"] == "message"]) == 50


def test_damaged_log_is_set_aside_and_said(make_server):
    """Damage in the middle, with good records behind it, is never skipped silently."""
    server = make_server().start()
    say(server, "#lobby", 100)
    server.stop()
    logs = [os.path.join(d, f) for d, _, files in os.walk(server.state) for f in files
            if f.endswith(".log")]
    assert logs
    for path in logs:
        with open(path, "r+b") as f:
            f.seek(4096 + 1000)
            byte = f.read(1)
            f.seek(4096 + 1000)
            f.write(bytes([byte[0] ^ 0xFF]))
    before = len(server.output())
    server.start()
    (line,) = [x for x in server.output()[before:].splitlines() if "damaged" in x]
    kept = re.search(r"(/\S+\.log\.\S+?),? ", line).group(1)
    assert os.path.getsize(kept) > 4096
    server.ok("send", "#lobby", "goes on")
    assert "goes on" in server.ok("history", "--after", "0", "#lobby")


# --- choosing a transport ---------------------------------------------------------------------------------------


def without_posix_queues(make_server, *options):
    """A server that cannot make a POSIX queue, for lack of RLIMIT_MSGQUEUE."""
    return make_server().start(*options, prefix=("prlimit", "--msgqueue=0"))


def test_named_transport_never_falls_back(make_server):
    server = without_posix_queues(make_server)
    done = server.run("send", "-t", "posixmq", "#lobby", "hi")
    assert done.returncode in (1, 77), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "posixmq" in done.stderr and "RLIMIT_MSGQUEUE" in done.stderr
    assert "hi" not in server.run("history", "--after", "0", "#lobby").stdout


def test_list_of_transports_falls_back_and_says_why(make_server):
    server = without_posix_queues(make_server)
    done = server.run("send", "-t", "posixmq,shm", "#lobby", "hi")
    assert done.returncode == 0, done.stderr
    assert "posixmq" in done.stderr and "RLIMIT_MSGQUEUE" in done.stderr
    assert "hi" in server.ok("history", "--after", "0", "#lobby")


def test_alias_mq_falls_back_to_system_v(make_server):
    server = without_posix_queues(make_server)
    with wire.Client.dial(server.socket) as c:
        w = c.hello("eve", transports=[wire.POSIXMQ, wire.SYSVMQ])
        assert w.type == "WELCOME" and w.transport == wire.SYSVMQ
        ((skipped, why),) = wire.skips(w.skipped)
        assert skipped == wire.POSIXMQ and "RLIMIT_MSGQUEUE" in why


def test_transport_that_the_server_does_not_offer(make_server):
    server = make_server().start("--transports", "unix,fifo")
    done = server.run("send", "-t", "shm", "#lobby", "hi")
    assert done.returncode in (1, 77) and "shm" in done.stderr
    server.ok("send", "-t", "shm,fifo", "#lobby", "hi")
    offered = {t["name"] if "name" in t else t["transport"]: t for t in server.json("transports")}
    assert offered["fifo"]["available"] and not offered["shm"]["available"]


def test_local_transport_from_a_remote_address_is_refused_with_the_reason(make_server, free_port):
    server = make_server().start("--listen", f"127.0.0.1:{free_port}")
    done = server.run("send", "-t", "shm", "#lobby", "hi", server=f"tcp:127.0.0.1:{free_port}")
    assert done.returncode in (1, 2, 77)
    assert "shm" in done.stderr
    server.ok("send", "-t", "auto", "#lobby", "hi", server=f"tcp:127.0.0.1:{free_port}")


def test_max_clients_is_a_named_refusal(make_server):
    server = make_server().start("--max-clients", "3")
    held = [wire.Client.connect(server.socket, f"c{i}") for i in range(3)]
    with wire.Client.dial(server.socket) as c:
        answer = c.hello("one-too-many")
        assert (answer.type, answer.code) == ("REFUSE", wire.CODES["LIMIT"])
        assert "3" in answer.text
    held.pop().close()

    def place_again():
        with wire.Client.dial(server.socket) as c:
            return c.hello("now").type == "WELCOME"
    until(place_again, "a place is free again")
    for c in held:
        c.close()
