"""What scripts rely on: when tail ends and with which code, filters, and exit codes of the commands in text and JSON."""

import json
import os
import re
import signal
import subprocess

import pytest

import harness
import parleywire as wire
from harness import until


LONG = str(harness.DEADLINE)  # of -W, where time does not run out


def texts(lines):
    return [e["text"] for e in map(json.loads, lines) if e["type"] == "message"]


@pytest.fixture
def full(server):
    """#lobby with ten lines, "0" to "9": even ones by alice, odd ones by bob."""
    for who in ("alice", "bob"):
        with wire.Client.connect(server.socket, who) as c:
            room = c.join("#lobby").room
            c.ask("PART", at=room)
            c.until("PARTED")
    for i in range(10):
        server.ok("send", "-n", ("alice", "bob")[i % 2], "#lobby", str(i))
    return server


def waiting(server, *args):
    """A tail that has printed what is there and waits."""
    tail = server.stream("tail", "--json", *args)
    until(lambda: server.members("#lobby") == 1 or tail.process.poll() is not None, "tail is there")
    return tail


# --- when tail ends ---------------------------------------------------------------------------------------


SOON = "time runs out after what is there"
CASES = [  # arguments, texts that are printed, exit code: all decided by what is there
    (["-e"], [], 0),
    (["-e", "--last", "0"], [], 0),
    (["-e", "--last", "3"], ["7", "8", "9"], 0),
    (["-e", "--after", "0", "-C", "2"], ["0", "1"], 0),
    (["-e", "--after", "0", "-C", "20"], [str(i) for i in range(10)], 0),
    (["-e", "--last", "2", "-W", LONG], ["8", "9"], 0),
    (["--last", "2", "-C", "2"], ["8", "9"], 0),
    (["--last", "2", "-C", "2", "-W", LONG], ["8", "9"], 0),
    (["-e", "--last", "2", "-C", "2", "-W", LONG], ["8", "9"], 0),
    (["-C", "0"], [], 0),
    (["--last", "2", "-W", SOON], ["8", "9"], 124),
    (["--last", "2", "-C", "3", "-W", SOON], ["8", "9"], 124),
    (["-e", "--last", "2", "-C", "3", "-W", SOON], ["8", "9"], 124),
    (["-e", "--last", "0", "-C", "1", "-W", SOON], [], 124),
]


def tail_to_its_end(server, args, said, texts_of):
    """If time is to run out: after what is there was printed, which may take a busy machine longer."""
    for soon in ("0.1", "1", "5", "20"):
        done = server.run("tail", *[soon if a == SOON else a for a in args], "#lobby")
        got = texts_of(done.stdout.splitlines())
        if SOON not in args or got == said or done.returncode != 124:
            break
        assert got == said[:len(got)]
    return done.returncode, got, done.stderr


@pytest.mark.parametrize("args,said,code", CASES, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_tail_ends_by_what_is_there(full, args, said, code):
    assert tail_to_its_end(full, ["--json", *args], said, texts) == (code, said, "")

    def plain(lines):
        return [line.rsplit("> ", 1)[1] for line in lines]
    assert tail_to_its_end(full, ["-q", *args], said, plain) == (code, said, "")


@pytest.mark.parametrize("args", [["-e", "--last", "0", "-C", "1", "-W", LONG], ["-C", "1", "-W", LONG], ["-C", "1"],
                                  ["--last", "2", "-C", "3"], ["-e", "--last", "2", "-C", "3", "-W", LONG]], ids=" ".join)
def test_tail_waits_for_what_is_still_missing(full, args):
    tail = waiting(full, *args, "#lobby")
    full.ok("send", "#lobby", "now")
    full.ok("send", "#lobby", "too late")
    assert tail.wait() == 0
    assert texts(tail.lines)[-1] == "now"


def test_a_script_waits_for_an_answer(full):
    """The example of the manual page: ask first, and then wait for what came since."""
    seq = full.json("history", "--last", "1", "#lobby")[0]["seq"]
    full.ok("send", "-n", "alice", "#lobby", "is build 7 done?")
    waits = full.stream("tail", "--json", "--after", str(seq), "--from", "bob", "--match", "BUILD", "-C", "1", "-W", LONG, "#lobby")
    full.ok("send", "-n", "bob", "#lobby", "hm")
    full.ok("send", "-n", "carol", "#lobby", "what build?")
    full.ok("send", "-n", "bob", "#lobby", "Build 7 is done")
    assert waits.wait() == 0 and texts(waits.lines) == ["Build 7 is done"]


def test_filters_choose_messages(full):
    def told(*args):
        return texts(full.ok("history", "--json", "--after", "0", *args, "#lobby").splitlines())
    assert told("--from", "alice") == ["0", "2", "4", "6", "8"]
    assert told("--from", "ALICE", "-C", "2") == ["0", "2"]
    assert told("--match", "7") == ["7"] and told("--match", "7", "--from", "alice") == []
    lines = full.ok("history", "--json", "--after", "0", "--from", "alice", "#lobby").splitlines()
    assert {json.loads(x)["type"] for x in lines} == {"message"}
    full.ok("send", "#lobby", "Straße")
    assert told("--match", "STRASSE") == ["Straße"]
    for bad in (["--match", ""], ["--match", "x" * 600], ["--from", "a b"], ["--from", ""]):
        done = full.run("tail", *bad, "#lobby")
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_filters_are_never_taken_from_a_file(full):
    home = os.path.join(full.dir, "conf", "parley")
    os.makedirs(home)
    with open(os.path.join(home, "parley.conf"), "w") as f:
        f.write("from = alice\n")
    done = full.run("history", "#lobby", XDG_CONFIG_HOME=os.path.join(full.dir, "conf"))
    assert done.returncode == 2 and "unknown key \"from\"" in done.stderr


def test_tail_waits_through_a_restart_of_the_server(full):
    tail = waiting(full, "--last", "1", "-C", "2", "-W", LONG, "#lobby")
    until(lambda: tail.lines, "the past is printed")
    full.kill()
    full.start()
    full.ok("send", "#lobby", "after")
    assert tail.wait() == 0 and texts(tail.lines) == ["9", "after"]


# --- exit codes ----------------------------------------------------------------------------------------------------


COMMANDS = [["send", "#lobby", "x"], ["tail", "-e", "#lobby"], ["history", "#lobby"], ["search", "#lobby", "x"], ["who"],
            ["who", "#lobby"], ["rooms"]]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_exit_codes_are_the_same_in_text_and_json(full, command, form):
    assert full.run(*command, *form).returncode == 0
    done = full.run(*command, *form, server=f"unix:{full.dir}/nobody")
    assert (done.returncode, done.stdout) == (69, "") and "Start one: parleyd" in done.stderr
    done = full.run(*command, *form, "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    os.kill(full.pid, signal.SIGSTOP)
    try:
        done = full.run(*command, *form, "-W", "0.3")
        assert (done.returncode, done.stdout) == (124, "")
    finally:
        os.kill(full.pid, signal.SIGCONT)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] not in ("rooms",) and c != ["who"]], ids=" ".join)
def test_a_room_that_cannot_be_is_a_mistake_of_usage(server, command, form):
    done = server.run(*[c.replace("#lobby", "lobby") for c in command], *form)
    assert done.returncode == 2 and "is no room" in done.stderr


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("args", [["tail", "--after", "0", "#lobby"], ["history", "--after", "0", "#lobby"]], ids=lambda a: a[0])
def test_a_reader_that_went_away_ends_it_as_it_ends_other_programs(server, args, form):
    """The rest of what cannot be read is far more than a pipe holds."""
    server.ok("send", "#lobby", "-", input="".join(f"{i} {'x' * 1000}\n" for i in range(1000)))
    p = subprocess.Popen(server.client(*args, *form), env=server.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.readline()
    p.stdout.close()
    try:
        assert (p.wait(harness.DEADLINE), p.stderr.read()) == (128 + signal.SIGPIPE, b"")
    finally:
        p.kill()
        p.stderr.close()


@pytest.mark.parametrize("command", [["who"], ["rooms"], ["search", "#lobby", "x"], ["history", "#lobby"], ["transports"], ["--help"]],
                         ids=" ".join)
def test_short_answers_too(server, command):
    server.ok("send", "#lobby", "x")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(server.client(*command), env=server.env(), stdout=write, stderr=subprocess.PIPE, timeout=harness.DEADLINE)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_quiet_tail_notices_that_its_reader_went_away(server):
    p = subprocess.Popen(server.client("tail", "#lobby"), env=server.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: server.members("#lobby") == 1, "tail is there")
    p.stdout.close()
    assert (p.wait(harness.DEADLINE), p.stderr.read()) == (128 + signal.SIGPIPE, b"")
    p.stderr.close()


def test_commands_of_the_readme_for_scripts(server):
    with open(os.path.join(harness.ROOT, "README.md")) as f:
        section = re.search(r"^## In scripts\n\n```\n(.*?)^```", f.read(), re.M | re.S)[1]
    lines = section.splitlines()
    said, exactly, waiting, *past, answering = lines
    assert len(past) == 2 and "parley tail" in waiting and "parley bot" in answering
    place = os.path.join(server.dir, "scripts")
    os.mkdir(place)
    with open(os.path.join(place, "report.txt"), "w") as f:
        f.write("one\ntwo\n")
    env = server.env(PATH=harness.BIN + ":/usr/bin:/bin")

    def sh(line):
        return subprocess.run(["bash", "-c", line], cwd=place, env=env, capture_output=True, text=True, timeout=2 * harness.DEADLINE)
    for line in [said, exactly, exactly, past[1], past[0]]:
        done = sh(line)
        assert done.returncode == 0, line + done.stderr
    assert len(open(os.path.join(place, "ci.txt")).readlines()) == 3
    assert texts(done.stdout.splitlines()) == ["build 7 is done"]
    assert [m["text"] for m in server.json("history", "#ci")] == ["build 7 is done", "one", "two"]
    waits = subprocess.Popen(["bash", "-c", waiting], env=env, stdout=subprocess.PIPE, text=True)
    until(lambda: server.members("#ci") == 1, "tail is there")
    server.ok("send", "-n", "bob", "#ci", "here I am")
    assert texts(waits.communicate(timeout=harness.DEADLINE)[0].splitlines()) == ["here I am"] and waits.returncode == 0
    until(lambda: server.members("#ci") == 0, "nobody is there")
    bot = subprocess.Popen(["bash", "-c", "exec " + answering], env=env)
    until(lambda: server.members("#ci") == 1, "the bot is there")
    server.ok("send", "-n", "bob", "#ci", "!uptime")
    until(lambda: "load average" in server.json("history", "--last", "1", "#ci")[0]["text"], "it answers")
    bot.terminate()
    assert bot.wait(harness.DEADLINE) == 0


@pytest.mark.parametrize("command", ["tail", "history", "search"])
def test_what_is_found_is_what_messages_read_now(server, command):
    chat = server.run("#lobby", "-n", "ann", input="the secret word\n/edit a better word\na zebra\n/delete\n")
    assert chat.returncode == 0
    how = {"tail": lambda t: ["tail", "-e", "--last", "20", "--match", t, "#lobby"],
           "history": lambda t: ["history", "--match", t, "#lobby"],
           "search": lambda t: ["search", "#lobby", t]}[command]
    assert server.ok(*how("secret")) == "" and server.ok(*how("zebra")) == ""
    assert re.fullmatch(r"\S+ <ann> a better word \(edited\)\n", server.ok(*how("better")))


@pytest.mark.parametrize("command,says", [
    (["history", "#lobby"], "time ran out before all of it came"), (["export", "#lobby"], "time ran out before all of it came"),
    (["file", "list", "#lobby"], "no answer in time"), (["who"], "no answer in time")])
def test_a_stopped_server_is_no_empty_answer(server, command, says):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        done = server.run(*command, "-W", "0.2")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert done.returncode == 124 and done.stdout == "" and says in done.stderr


@pytest.mark.parametrize("words", [["history"], ["search", "x"], ["tail", "-e"], ["export"], ["file", "list"], ["file", "get", "1"]],
                         ids=" ".join)
def test_who_looks_makes_no_room(server, words):
    command, room = words[:2] if words[0] == "file" else words[:1], "#mistyped"
    rest = words[len(command):]
    flags, rest = [w for w in rest if w.startswith("-")], [w for w in rest if not w.startswith("-")]
    done = server.run(*command, *flags, room, *rest)
    assert done.returncode == 1 and "there is no such room" in done.stderr
    assert room not in [r["room"] for r in server.json("rooms")]
    assert server.run("history", "#lobby").returncode == 0
