"""The commands for scripts: options, JSON lines, exit codes."""

import json
import os
import pwd
import re
import signal
import subprocess

import pytest

import harness
import parleywire as wire
from harness import TRANSPORTS, until

LOCAL = [t for t in TRANSPORTS if t != "tcp"]


@pytest.fixture
def full(server):
    """A server with ten lines in #lobby, "0" to "9"."""
    server.ok("send", "-n", "alice", "#lobby", "-", input="".join(f"{i}\n" for i in range(10)))
    return server


def texts(events):
    return [e["text"] for e in events if e["type"] == "message"]


# --- send ------------------------------------------------------------------------------------------------


def test_send_a_text_from_the_command_line(server):
    server.ok("send", "-n", "alice", "#lobby", "hello there")
    (m,) = server.json("history", "#lobby")
    assert m["v"] == 1 and m["type"] == "message" and m["room"] == "#lobby"
    assert (m["from"], m["text"], m["replay"]) == ("alice", "hello there", True)
    assert m["seq"] >= 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", m["time"])


def test_send_each_line_of_standard_input(server):
    server.ok("send", "#lobby", "-", input="one\ntwo\nthree without an end")
    server.ok("send", "#lobby", input="no dash is needed\n")
    assert texts(server.json("history", "#lobby")) == ["one", "two", "three without an end",
                                                        "no dash is needed"]


def test_send_nothing_is_fine(server):
    server.ok("send", "#lobby", "-", input="")


def test_send_returns_when_acknowledged(server):
    """What send says is done is in the log, whoever looks next."""
    for i in range(20):
        server.ok("send", "#lobby", f"line {i}")
        assert texts(server.json("history", "--last", "1", "#lobby")) == [f"line {i}"]


def test_send_bad_line_is_named_and_the_others_are_sent(server):
    done = server.run("send", "#lobby", "-", input=b"good\nbad \xff\nalso good\n")
    assert done.returncode == 1
    assert re.search(r"line 2", done.stderr)
    assert texts(server.json("history", "#lobby")) == ["good", "also good"]


def test_send_times_out_when_the_server_does_not_answer(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        done = server.run("send", "-W", "0.5", "#lobby", "hi")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert done.returncode == 124, done.stderr


def test_send_unknown_acknowledgement_is_75(make_server):
    """The server stops between the post and its acknowledgement."""
    server = make_server().start("--workers", "1", "--place", "workers")
    read, write = os.pipe()
    sender = server.stream("send", "-W", "8", "#lobby", "-", stdin=read)
    os.close(read)
    os.write(write, b"first\n")
    until(lambda: "first" in server.run("history", "#lobby").stdout, "the first line is said")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        os.write(write, b"second\n")
        os.close(write)
        assert sender.wait() == 75, sender.stderr
    finally:
        os.kill(server.pid, signal.SIGCONT)


# --- tail and history ----------------------------------------------------------------------------------------


def test_history_options_choose_where_to_begin(full):
    everything = full.json("history", "--after", "0", "#lobby")
    assert texts(everything) == [str(i) for i in range(10)]
    seq = [m["seq"] for m in everything]
    assert texts(full.json("history", "--last", "3", "#lobby")) == ["7", "8", "9"]
    assert texts(full.json("history", "--after", str(seq[6]), "#lobby")) == ["7", "8", "9"]
    assert texts(full.json("history", "--after", "0", "-C", "4", "#lobby")) == ["0", "1", "2", "3"]
    assert texts(full.json("history", "--since", "10m", "#lobby")) == [str(i) for i in range(10)]
    assert texts(full.json("history", "--since", "0s", "#lobby")) == []


def test_history_without_options_shows_the_last_twenty(server):
    server.ok("send", "#lobby", "-", input="".join(f"{i}\n" for i in range(30)))
    assert texts(server.json("history", "#lobby")) == [str(i) for i in range(10, 30)]


def test_history_for_people_is_one_line_for_each_message(full):
    lines = full.ok("history", "#lobby").splitlines()
    assert len(lines) == 10
    assert all("alice" in line for line in lines)
    assert lines[-1].endswith("9")


def test_history_of_an_empty_room(server):
    assert server.ok("history", "#lobby") == ""


def test_tail_shows_what_is_said_from_now_on(full):
    tail = full.stream("tail", "--json", "#lobby")
    until(lambda: full.members("#lobby") == 1, "tail is there")
    full.ok("send", "#lobby", "now")
    until(lambda: tail.messages(), "the line arrives")
    assert [(m["text"], m["replay"]) for m in tail.messages()] == [("now", False)]


def test_tail_from_the_past_into_the_present(full):
    tail = full.stream("tail", "--json", "--last", "2", "-C", "3", "#lobby")
    until(lambda: len(tail.lines) == 2, "the past arrives")
    full.ok("send", "#lobby", "now")
    assert tail.wait() == 0
    assert [(m["text"], m["replay"]) for m in tail.messages()] == [("8", True), ("9", True),
                                                                   ("now", False)]


def test_tail_exit_at_end(full):
    assert texts(full.json("tail", "-e", "--after", "0", "#lobby")) == [str(i) for i in range(10)]
    assert full.ok("tail", "-e", "--last", "0", "#lobby") == ""


def test_tail_timeout_is_124(full):
    done = full.run("tail", "-W", "0.2", "#lobby")
    assert done.returncode == 124


def test_tail_interrupted_is_130(full):
    tail = full.stream("tail", "#lobby")
    until(lambda: full.members("#lobby") == 1, "tail is there")
    tail.process.send_signal(signal.SIGINT)
    assert tail.wait() == 130
    until(lambda: full.members("#lobby") == 0, "tail is gone")


def test_tail_into_a_pipe_that_closes_ends(full):
    tail = subprocess.Popen(full.client("tail", "--after", "0", "#lobby"), env=full.env(),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    tail.stdout.readline()
    tail.stdout.close()
    full.ok("send", "#lobby", "more")
    try:
        assert tail.wait(harness.DEADLINE) == 128 + signal.SIGPIPE
        assert tail.stderr.read() == b""
    finally:
        tail.kill()
        tail.stderr.close()


@pytest.mark.parametrize("command", [["who"], ["who", "--json"], ["rooms"], ["transports"], ["ping", "-t", "unix"],
                                     ["ping", "-t", "unix", "--json"], ["history", "#lobby"], ["doctor"],
                                     ["top", "--once"], ["top", "--once", "--json"], ["trace", "#lobby", "x"],
                                     ["race", "-t", "unix", "--count", "5"], ["lab"], ["lab", "mtype"],
                                     ["bench"], ["--help"], ["--version"]], ids=" ".join)
def test_output_that_cannot_be_written_is_an_error(server, command):
    server.ok("send", "#lobby", "hello")
    with open("/dev/full", "w") as full:
        done = subprocess.run(server.client(*command), env=server.env(), stdout=full, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 1
    said = re.findall(r"^parley: cannot write to standard output \(.+\)$", done.stderr, re.M)
    assert len(said) == 1, done.stderr


@pytest.mark.parametrize("command", [["race", "-t", "unix,shm", "--count", "50"],
                                     ["race", "-t", "unix", "--count", "50", "--json"], ["lab", "mtype"], ["lab", "priority"],
                                     ["lab", "mtype", "--json"], ["bench", "raw", "pingpong", "-t", "pipe", "-C", "50", "--repeat", "1"],
                                     ["bench", "raw", "pingpong", "-t", "pipe", "-C", "50", "--repeat", "1", "--json"]], ids=" ".join)
def test_reader_that_went_away_ends_demonstrations_and_measurements_like_other_programs(objects, command):
    place = harness.Place(objects, command[0])
    try:
        reading, writing = os.pipe()
        os.close(reading)
        p = place.start(*command[1:], "-q", stdout=writing)
        os.close(writing)
        _, err = p.communicate(timeout=harness.DEADLINE)
        assert (p.returncode, err) == (128 + signal.SIGPIPE, "")
        place.assert_nothing_left()
    finally:
        place.close()


@pytest.mark.parametrize("command", [["race"], ["race", "--json"], ["ping"], ["ping", "--json"], ["top"], ["who"]], ids=" ".join)
def test_without_a_server_there_is_one_sentence_and_nothing_else(server, command):
    server.stop()
    done = server.run(*command)
    assert (done.returncode, done.stdout) == (69, "")
    said = [line for line in done.stderr.splitlines() if line]
    assert len(said) == 1 and "Start one: parleyd" in said[0], done.stderr


def test_events_other_than_messages_have_their_type(server):
    tail = server.stream("tail", "--json", "#lobby")
    until(lambda: server.members("#lobby") == 1, "tail is there")
    with wire.Client.connect(server.socket, "bob") as bob:
        room = bob.join("#lobby").room
        bob.post(room, "waves", flags=wire.ACTION)
        bob.ask("TOPIC", at=room, topic="the topic")
        bob.ask("NICK", nick="rob")
        bob.until("RENAME")
        bob.ask("PART", at=room)
        bob.until("PARTED")
    until(lambda: tail.events("part"), "all events arrive")
    seen = [(e["type"], e["from"]) for e in tail.events()]
    assert seen == [("join", "bob"), ("action", "bob"), ("topic", "bob"), ("nick", "bob"),
                    ("part", "rob")]
    assert tail.events("action")[0]["text"] == "waves"
    assert tail.events("topic")[0]["text"] == "the topic"
    assert tail.events("nick")[0]["to"] == "rob"


def test_control_characters_from_a_server_are_never_executed(server):
    """Bidi controls are legal in a text and must be shown, not obeyed."""
    with wire.Client.connect(server.socket, "bob") as bob:
        bob.post(bob.join("#lobby").room, "abc\u202edef\nforged line")
        bob.until("MESSAGE")
    shown = server.ok("history", "#lobby")
    assert "\u202e" not in shown and "\\u202e" in shown
    assert len([x for x in shown.splitlines() if x.startswith("forged")]) == 0


# --- questions ---------------------------------------------------------------------------------------------


def test_who_names_transports_rooms_and_workers(make_server):
    server = make_server().start("--workers", "1", "--place", "workers")
    tail = server.stream("tail", "-t", "shm", "-n", "watcher", "#lobby")
    until(lambda: server.members("#lobby") == 1, "tail is there")
    (m,) = server.json("who", "#lobby")
    assert (m["type"], m["nick"], m["transport"], m["uid"]) == ("member", "watcher", "shm", os.getuid())
    assert "#lobby" in m["rooms"] and m["worker"] == 0
    until(lambda: len(server.json("who")) == 2, "and the one who asks; who asked before has gone")
    head, *lines = server.ok("who").splitlines()
    (line,) = [x for x in lines if x.startswith("watcher ")]
    user = pwd.getpwuid(os.getuid()).pw_name
    assert line[head.index("USER"):].split()[:2] == [user[:10], "shm"] and line[head.index("ROOMS"):].split()[0] == "#lobby"
    assert max(map(len, [head, *lines])) <= 80
    assert server.json("who", "#elsewhere") == []
    assert tail.process.poll() is None


def test_rooms_with_members_and_topics(full):
    with wire.Client.connect(full.socket, "bob") as bob:
        bob.ask("TOPIC", at=bob.join("#cats").room, topic="meow")
        bob.until("RETITLE")
        rooms = {r["room"]: r for r in full.json("rooms")}
        assert rooms["#cats"]["members"] == 1 and rooms["#cats"]["topic"] == "meow"
        assert rooms["#lobby"]["members"] == 0 and rooms["#lobby"]["records"] >= 10
    assert "#lobby" in full.ok("rooms")


def test_transports_with_limits_in_force(server):
    offered = {t["transport"]: t for t in server.json("transports")}
    assert set(offered) == set(TRANSPORTS)
    for name in LOCAL:
        assert offered[name]["available"] is True and offered[name]["limits"]
    text = server.ok("transports")
    assert all(name in text for name in TRANSPORTS)


def test_ping_by_each_transport(server):
    done = {p["transport"]: p for p in server.json("ping", "-C", "3")}
    assert set(LOCAL) <= set(done)
    for name in LOCAL:
        assert done[name]["rounds"] == 3
    assert [p["transport"] for p in server.json("ping", "-C", "1", "-t", "shm,fifo")] == ["shm", "fifo"]


def test_doctor_finds_a_healthy_system(server):
    done = server.run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("RLIMIT_MSGQUEUE", "msgmnb"):
        assert word in done.stdout


def test_doctor_looks_beside_the_socket_that_it_is_told(server, free_port):
    def told(address):
        done = server.run("doctor", "--json", server=address, PARLEY_SOCKET=server.dir + "/other")
        return {c["check"]: c["text"] for c in map(json.loads, done.stdout.splitlines())}
    own = os.path.join(server.dir, "beside")
    assert told(f"unix:{own}")["runtime objects"] == f"{own}.d is not there"
    os.mkdir(own + ".d")
    assert told(f"unix:{own}")["runtime objects"] == f"0 in {own}.d"
    assert "runtime objects" not in told(f"tcp:127.0.0.1:{free_port}")


def test_help_and_version_need_no_server(server):
    for args in (["--help"], ["--version"]):
        done = subprocess.run([harness.PARLEY, *args], env=server.env(PARLEY_SOCKET="/nonexistent"),
                              capture_output=True, text=True, timeout=harness.DEADLINE)
        assert done.returncode == 0 and done.stdout and not done.stderr
        done = subprocess.run([harness.PARLEYD, *args], capture_output=True, text=True,
                              timeout=harness.DEADLINE)
        assert done.returncode == 0 and done.stdout and not done.stderr


@pytest.mark.parametrize("command", [["send", "#l", "x"], ["tail", "#l"], ["history", "#l"], ["who"],
                                     ["rooms"], ["transports"], ["ping"]])
def test_without_a_server_everything_says_so_and_exits_69(server, command):
    done = server.run(*command, server=f"unix:{server.dir}/nobody")
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1 and "parleyd" in done.stderr


# --- options everywhere ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name,served", [("pipe", ["fifo"]), ("mq", ["posixmq", "sysvmq"]),
                                         ("socket", ["unix"]), ("auto", LOCAL),
                                         ("shm,unix", ["shm"])])
def test_aliases_choose_what_they_stand_for(server, name, served):
    server.stream("tail", "-t", name, "-n", "watcher", "#lobby")
    until(lambda: server.members("#lobby") == 1, "tail is there")
    assert server.json("who", "#lobby")[0]["transport"] in served


@pytest.mark.parametrize("wait", ["block", "adaptive", "spin"])
@pytest.mark.parametrize("transport", ["shm", "sysvmq", "unix"])
def test_wait_modes_deliver_the_same(make_server, wait, transport):
    server = make_server().start("--workers", "1", "--wait", wait)
    tail = server.stream("tail", "--json", "--wait", wait, "-t", transport, "--after", "0", "#lobby")
    server.ok("send", "--wait", wait, "-t", transport, "#lobby", "-",
              input="".join(f"{i}\n" for i in range(200)))
    until(lambda: len(tail.messages()) == 200, "all lines arrive")
    assert texts(tail.messages()) == [str(i) for i in range(200)]


def test_configuration_file_gives_defaults(server):
    home = os.path.join(server.dir, "config", "parley")
    os.makedirs(home)
    with open(os.path.join(home, "parley.conf"), "w") as f:
        f.write("# mine\nnick = configured\ntransport = fifo\n")
    env = {"XDG_CONFIG_HOME": os.path.join(server.dir, "config")}
    server.stream("tail", "#lobby", **env)
    until(lambda: server.members("#lobby") == 1, "tail is there")
    (m,) = server.json("who", "#lobby")
    assert (m["nick"], m["transport"]) == ("configured", "fifo")
    server.ok("send", "-n", "given", "#lobby", "hi", **env)
    assert server.json("history", "#lobby")[-1]["from"] == "given"


def test_configuration_file_with_a_mistake_is_named(server):
    home = os.path.join(server.dir, "config", "parley")
    os.makedirs(home)
    with open(os.path.join(home, "parley.conf"), "w") as f:
        f.write("nick = ok\nno-such-key = 1\n")
    done = server.run("who", XDG_CONFIG_HOME=os.path.join(server.dir, "config"))
    assert done.returncode == 2
    assert "parley.conf:2" in done.stderr and "no-such-key" in done.stderr


def test_colour_only_when_asked_for(full):
    assert "\033" not in full.ok("history", "#lobby")
    assert "\033[" in full.ok("history", "--color", "always", "#lobby")
    assert "\033" not in full.ok("history", "--color", "never", "#lobby")


def test_socket_from_the_environment(server):
    done = subprocess.run([harness.PARLEY, "send", "#lobby", "by environment"], env=server.env(),
                          capture_output=True, timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stderr
    assert "by environment" in server.ok("history", "#lobby")


def test_json_of_errors_stays_on_stderr(server):
    done = server.run("send", "--json", "-t", "pigeon", "#lobby", "x")
    assert done.returncode == 2 and done.stdout == ""
    for line in server.ok("history", "--json", "#lobby").splitlines():
        json.loads(line)


def test_every_command_that_help_lists_is_known(server):
    listed = re.findall(r"^  ([a-z]+) .*$", server.ok("--help").split("Commands:")[1].split("\nOptions")[0], re.M)
    assert len(listed) > 10 and listed == sorted(listed)
    for command in listed:
        assert server.ok(command, "--help").startswith(f"usage: parley {command} ")
