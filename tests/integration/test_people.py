"""People: whose a nick is, what is known of somebody, and the commands by which people decide, in scripts and
on terminals. Other people are other users of the machine, which needs root."""

import os
import re
import subprocess

import pytest

import harness
import parleywire as wire
from others import NOBODY, OTHER, as_root, ask, hello, me, open_to_all, port


@pytest.fixture
def server(make_server):
    return open_to_all(make_server())


# --- nicks ------------------------------------------------------------------------------------------------


def nicks_file(server):
    try:
        with open(os.path.join(server.state, "nicks")) as f:
            return f.read()
    except FileNotFoundError:
        return ""


@as_root
@pytest.mark.parametrize("end", [None, "stop", "kill"])
def test_nick_belongs_to_who_used_it_first(server, people, end):
    people(NOBODY, "eve")
    if end:
        options = server.options
        harness.until(lambda: "\teve\n" in nicks_file(server), "the owner is on disk")
        getattr(server, end)()
        server.start(*options)
    tcp_address = ("127.0.0.1", port(server))
    for address in (server.socket, tcp_address):
        r = hello(address, "EVE", wire.WISHED)
        assert (r.type, r.code) == ("REFUSE", wire.CODES["NICK"])
        assert f"uid:{NOBODY}" in r.text and re.search(r"Free: EVE\d$", r.text)
        assert re.fullmatch(r"eve\d", hello(address, "eve", 0).nick)  # a default: the nearest free one will do
    done = subprocess.run([harness.PARLEY, "who", "-s", server.address, "-n", "eve"], env=server.env(),
                          text=True, capture_output=True, timeout=harness.DEADLINE)
    assert done.returncode == 77 and "Free: eve" in done.stderr
    with me(server) as alice:
        r = alice.until("NICKED", "ERROR", counter=alice.ask("NICK", nick="eve"))
        assert r.type == "ERROR" and "Free: eve" in r.text
        assert ask(alice, "RELEASE", nick="Eve") == "DONE"
        assert ask(alice, "RELEASE", nick="eve") == "NICK"


@as_root
def test_only_its_owner_and_the_servers_user_release_a_nick(server, people):
    eve, other = people(NOBODY, "eve"), people(OTHER, "other")
    assert other("ask('RELEASE', nick='eve')") == wire.CODES["DENIED"]
    assert eve("ask('RELEASE', nick='eve')") == "DONE"


@as_root
def test_one_person_cannot_take_all_nicks(server, people):
    eve = people(NOBODY, "n0")
    for i in range(1, 60):
        assert eve(f"c.until('NICKED', 'ERROR', counter=c.ask('NICK', nick='n{i}')).type") == "NICKED"
    assert hello(server.socket, "n59", wire.WISHED).type == "REFUSE"
    assert hello(server.socket, "n0", wire.WISHED).type == "WELCOME", "the oldest went"


def test_broken_file_of_nicks_is_set_aside(make_server):
    server = make_server().start("--workers", "0")
    me(server, "alice").close()
    options = server.options
    server.stop()
    path = os.path.join(server.state, "nicks")
    with open(path, "a") as f:
        f.write("uid:12\tyesterday\tbob\nuid:0 1 x\n")
    server.start(*options)
    kept = [f for f in os.listdir(server.state) if f.startswith("nicks.broken")]
    assert kept and "2 lines cannot be read" in server.output()
    with open(os.path.join(server.state, kept[0])) as f:
        assert "yesterday" in f.read()
    server.stop()
    with open(path) as f:
        assert re.search(r"^uid:\d+\t\d+\talice$", f.read(), re.M)


@as_root
def test_exit_code_tells_a_bad_nick_from_one_that_is_taken(server, people):
    people(NOBODY, "eve")
    for command in (["send", "#lobby", "x"], ["tail", "-W", "60", "#lobby"], ["who"], ["bot", "#lobby", "cat"], ["file", "list", "#lobby"]):
        taken = server.run(command[0], "-n", "eve", *command[1:])
        assert taken.returncode == 77 and "Free: eve2" in taken.stderr, taken
        bad = server.run(command[0], "-n", "two words", *command[1:])
        assert bad.returncode == 2 and '--nick "two words": a character that is not allowed' in bad.stderr, bad


@pytest.mark.parametrize("nick", ["uid:1000", "account:bob", "nick:x"])
def test_nick_cannot_look_like_a_person(server, nick):
    r = hello(server.socket, nick, 0)
    assert r.type == "REFUSE" and "looks like a person" in r.text
    with me(server) as alice:
        assert alice.until("NICKED", "ERROR", counter=alice.ask("NICK", nick=nick)).type == "ERROR"


# --- whois ------------------------------------------------------------------------------------------------


@as_root
def test_whois_says_what_the_kernel_says(server, people):
    with me(server) as alice:
        eve = people(NOBODY, "eve")
        eve("join()")
        p = alice.until("PROFILE", counter=alice.ask("WHOIS", nick="EVE"))
        assert (p.nick, p.person, p.transport, p.rooms) == ("eve", f"uid:{NOBODY}", wire.UNIX, "#dev")
        assert p.since > 0 and p.session > 0
        alice.until("DONE")
        eve.close()
        harness.until(lambda: not any(m.nick == "eve" for m in alice.listing("WHO")), "eve is away")
        p = alice.until("PROFILE", counter=alice.ask("WHOIS", nick="eve"))
        assert (p.session, p.person) == (0, f"uid:{NOBODY}"), "whose nick it is, is still known"


# --- commands ----------------------------------------------------------------------------------------------


def chat(server, *lines, nick="alice"):
    """A script of the chat: (what was said in the room, notes)."""
    done = subprocess.run([harness.PARLEY, "-s", server.address, "-n", nick, "#dev"], env=server.env(),
                          input="\n".join(lines) + "\n", text=True, capture_output=True,
                          timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_script_of_commands_runs_to_its_end(server):
    """Each command waits for the answer to the one before, which may come at any moment."""
    for _ in range(5):
        out, err = chat(server, *["/op", "/names", "/kick zed"] * 6)
        assert err.count("operator: ") == 6 and err.count("zed is not in #dev") == 6
        assert out.count("#dev: @alice (1 here)") == 6


def test_commands_of_the_chat(server):
    tail = server.stream("tail", "--json", "#dev", "-n", "watcher")
    harness.until(lambda: server.members("#dev") == 1, "the reader is there")
    out, err = chat(server, "/topic what it is", "/topic", "/mode topic-ops on", "/mode", "/op uid:4001",
                    "/deop uid:4001", "/ban zed why not", "/ban", "/unban zed", "/invite", "/whois alice",
                    "/whois nosuch", "/kick nosuch", "/mode private perhaps", "/release alice")
    for line in ("alice set the topic: what it is", "alice left the topic to operators",
                 "alice made uid:4001 an operator", "alice took the operator's rights from uid:4001",
                 "alice banned zed: why not", "alice lifted the ban of zed"):
        assert line in out
    for line in (r"topic: what it is \(alice, \d", "mode private: off", r"mode topic-ops: on \(alice",
                 "banned: zed, whoever is called zed", "nobody has an invitation",
                 rf"alice: (user \S+ \()?uid {os.geteuid()}\)?, by \S+ since", "alice is in #dev",
                 "nobody called nosuch is known here: /who", "nosuch is not in #dev: /names",
                 "mode private is on or off", "alice belongs to nobody now"):
        assert re.search(line, err), (line, err)
    want = ["topic", "mode", "op", "deop", "ban", "unban"]
    got = harness.until(lambda: [e for e in tail.events() if e["type"] in want][5:] and
                        [e for e in tail.events() if e["type"] in want], "all events")
    assert [e["type"] for e in got] == want
    assert got[4]["to"] == "zed" and got[4]["text"] == "why not" and got[1]["value"] == "on"


def test_terminal_of_who_is_invited_and_kicked(server, chats):
    alice = chats.chat("alice", "#dev")
    bob = chats.chat("bob", "-s", f"tcp:127.0.0.1:{port(server)}")
    alice.enter("/invite bob")
    alice.sees("alice invited bob")
    bob.sees("alice invites you to #dev. To go there: /join #dev")
    bob.enter("/join #dev")
    bob.sees("#dev · ")
    alice.enter("/kick alice")
    alice.sees("that is yourself: /part leaves the room")
    bob.enter("/kick alice")
    bob.sees("only an operator of #dev can kick: /op shows who is one")
    alice.enter("/ki bob too loud")  # a unique beginning will do
    alice.sees("alice kicked bob: too loud")
    bob.sees("you are out of #dev: kicked by alice: too loud")
    bob.prompt("#lobby>")
    alice.enter("/mode private on")
    alice.sees("alice made the room private")
    bob.enter("/join #dev")
    bob.sees("cannot join #dev: that room is private: ask one of its operators")


def test_tab_completes_modes_and_nicks(server, chats):
    alice = chats.chat("alice", "#dev")
    alice.type("/mode pr\t")
    alice.prompt("#dev> /mode private")
    alice.type("o\t")  # two values: the second Tab lists them
    alice.prompt("#dev> /mode private o")
    alice.type("f\t")
    alice.prompt("#dev> /mode private off")
