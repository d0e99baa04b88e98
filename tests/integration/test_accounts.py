"""Accounts: `parleyd account`, logging in over TLS with a token or a password, what that is worth, and that checking
secrets is done beside the hub. docs/remote.md."""

import contextlib
import os
import re
import signal
import subprocess
import time

import pexpect
import pytest

import harness
import parleywire as wire
import remote
from harness import until

ROOM = "#far"
WRONG, LIMIT, DENIED, EXPIRED = "wrong account or secret", 4, 5, 15


def account(server, *args, code=0, **more):
    """`parleyd account …` for the server's state: its standard output."""
    done = subprocess.run([harness.PARLEYD, "account", *args, "--state-dir", server.state], env=server.env(), text=True,
                          capture_output=True, timeout=harness.DEADLINE, **more)
    assert done.returncode == code, done.stderr
    return done.stdout.strip() if code == 0 else done.stderr


@pytest.fixture
def closed_server(make_server):
    """A server that wants accounts, and the token of alice."""
    server = make_server()
    server.token = account(server, "add", "alice")
    return server.start("--workers", "1", "--listen", f"tls:0.0.0.0:{harness.quiet_port()}")


def login(server, name, secret, source="127.0.0.1", nick=None, **more):
    return remote.connect(server, nick or name, source, account=name, secret=secret, **more)


def answer(*args, **more):
    """(code, words) of a refusal; (0, "") if the login succeeds."""
    try:
        login(*args, **more).close()
    except ConnectionRefusedError as e:
        code, text = str(e).split(" ", 1)
        return int(code), text
    return 0, ""


def refusal(*args, **more):
    code, text = answer(*args, **more)
    assert code, "it was let in"
    return code, text


def say(server, name, secret, *args, **more):
    return server.run("send", *remote.at(server), "--account", name, ROOM, *args, server=remote.address(server),
                      PARLEY_TOKEN=secret, **more)


def verifier(server):
    return until(lambda: remote.helper(server, "parleyd/login"), "somebody's secret is being checked")


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# --- the tool -----------------------------------------------------------------------------------------------------


def test_tool_keeps_the_file(make_server):
    server = make_server()
    path = os.path.join(server.state, "accounts")
    token = account(server, "add", "alice")
    assert re.fullmatch(r"([a-z2-9]{4}-){5}[a-z2-9]{4}", token)
    account(server, "add", "bob", "--password", input="correct horse\n")
    assert account(server, "list").split() == ["alice", "bob"]
    with open(path) as f:
        text = f.read()
    assert text.startswith("parley accounts 1\nalice $argon2id$") and token not in text and "horse" not in text
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert account(server, "token", "alice") != token
    account(server, "passwd", "alice", input="another horse\n")
    account(server, "remove", "bob")
    assert account(server, "list").split() == ["alice"]
    assert sorted(os.listdir(server.state)) == ["accounts", "accounts.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_makes_belongs_to_the_one_whose_directory_it_is(make_server):
    server = make_server()
    os.makedirs(server.state, exist_ok=True)
    os.chown(server.state, 12345, 12346)
    account(server, "add", "alice")
    for name in ("accounts", "accounts.lock"):
        st = os.stat(os.path.join(server.state, name))
        assert (st.st_uid, st.st_gid) == (12345, 12346), name


def test_tool_refuses_with_the_next_step(make_server):
    server = make_server()
    account(server, "add", "alice")
    for args, code, words in ((["add", "alice"], 1, "account token alice"), (["token", "bob"], 1, "no account bob"),
                              (["add", "Bob"], 2, "lower-case"), (["add", "a" * 33], 2, "32 bytes"),
                              (["add", "-x"], 2, "usage"), (["add", ".x"], 2, "begins with"), (["add"], 2, "usage"),
                              ([], 2, "usage"), (["steal", "x"], 2, "usage")):
        assert words in account(server, *args, code=code)
    assert "at least 8" in account(server, "passwd", "alice", code=1, input="short\n")
    path = os.path.join(server.state, "accounts")
    with open(path, "a") as f:
        f.write("carol nonsense\n")
    before = open(path).read()
    for args in (["add", "bob"], ["list"], ["remove", "alice"]):
        assert f"{path}:3:" in account(server, *args, code=1)
    assert open(path).read() == before


def test_password_is_asked_twice_without_echo(make_server):
    server = make_server()
    account(server, "add", "alice")
    child = pexpect.spawn(harness.PARLEYD, ["account", "passwd", "alice", "--state-dir", server.state], env=server.env(),
                          encoding="utf-8", timeout=harness.DEADLINE)
    child.delaybeforesend = None  # it may be typed the moment it is asked for
    child.expect("Password: ")
    child.send("correct horse\r")
    child.expect("again: ")
    child.send("correct horse\r")
    assert harness.exit_code(child) == 0 and "horse" not in child.before
    server.start("--workers", "1", "--listen", "tls:127.0.0.1:0")
    login(server, "alice", "correct horse").close()


# --- logging in ------------------------------------------------------------------------------------------------------


def test_a_change_that_only_its_status_tells_is_seen(closed_server):
    """The same inode, size and time of writing: as when the file is given to the server's user after it was read."""
    s = closed_server
    path = os.path.join(s.state, "accounts")
    login(s, "alice", s.token).close()
    with open(path, "rb") as f:
        was = f.read()
    token = account(s, "token", "alice")
    login(s, "alice", token).close()
    st = os.stat(path)
    with open(path, "r+b") as f:
        f.write(was)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
    assert (os.stat(path).st_size, os.stat(path).st_ino) == (len(was), st.st_ino)
    login(s, "alice", s.token).close()
    assert refusal(s, "alice", token)[0] == DENIED


def test_accounts_are_needed_where_others_can_reach(closed_server, make_server):
    done = closed_server.run("who", *remote.at(closed_server), server=remote.address(closed_server))
    assert done.returncode == 77 and "parleyd account add" in done.stderr and "--account" in done.stderr
    for options in (["--listen", "tls:0.0.0.0:0", "--guests"], ["--listen", "tls:127.0.0.1:0"]):
        open_server = make_server().start(*options)
        open_server.ok("who", *remote.at(open_server), server=remote.address(open_server))


def test_right_and_wrong_secrets(closed_server):
    s = closed_server
    assert say(s, "alice", s.token, "hello").returncode == 0
    done = say(s, "alice", s.token + "x", "hello")
    assert done.returncode == 77 and WRONG in done.stderr
    assert refusal(s, "nobody-here", s.token) == (DENIED, WRONG)  # the same words
    assert refusal(s, "", s.token, nick="x")[0] == DENIED
    assert [e["from"] for e in s.json("history", ROOM) if e["type"] == "message"] == ["alice"]


def test_changes_hold_in_the_running_server(closed_server):
    s = closed_server
    carol = account(s, "add", "carol")
    login(s, "carol", carol).close()
    again = account(s, "token", "carol")
    assert refusal(s, "carol", carol) == (DENIED, WRONG)
    login(s, "carol", again).close()
    account(s, "remove", "carol")
    assert refusal(s, "carol", again) == (DENIED, WRONG)


def test_a_name_that_is_nobodys_costs_as_much_to_check(closed_server):
    """Or the time would tell which names there are."""
    s = closed_server
    login(s, "alice", s.token).close()
    clock = ~verifier(s) << 3 | 2  # the processor time of that process, as clock_getcpuclockid has it
    used = []
    for name in ("alice", "nobody-here"):
        before = time.clock_gettime(clock)
        assert refusal(s, name, "guess") == (DENIED, WRONG)
        used.append(time.clock_gettime(clock) - before)
    assert 1 / 8 < used[1] / used[0] < 8


@pytest.mark.parametrize("change", ["remove", "token"])
def test_sessions_end_with_their_account(closed_server, change):
    s = closed_server
    tail = s.stream("tail", *remote.at(s), "--account", "alice", ROOM, server=remote.address(s), PARLEY_TOKEN=s.token)
    until(lambda: "alice" in s.nicks(ROOM), "alice is there")
    account(s, change, "alice")
    assert tail.wait() == 77
    assert ("removed" if change == "remove" else "new secret") in tail.stderr


def test_secret_comes_from_a_file_that_is_ones_own(closed_server):
    s = closed_server
    place = os.path.join(s.dir, "home", ".config", "parley")
    os.makedirs(place)
    path = os.path.join(place, "credentials")
    with open(path, "w") as f:
        f.write(f"# mine\nbob@elsewhere:1 x\nalice@{remote.address(s)[4:]} {s.token}\n")
    os.chmod(path, 0o640)
    args = ["send", *remote.at(s), ROOM, "hello"]
    done = s.run(*args, server=remote.address(s))
    assert done.returncode == 77 and "chmod 600" in done.stderr
    os.chmod(path, 0o600)
    s.ok(*args, server=remote.address(s))
    assert [e["from"] for e in s.json("history", ROOM) if e["type"] == "message"] == ["alice"]


def test_secret_is_asked_on_the_terminal_and_never_an_argument(closed_server):
    s = closed_server
    child = pexpect.spawn(harness.PARLEY, ["send", "-s", remote.address(s), *remote.at(s), "--account", "alice", ROOM,
                                           "hello"], env=s.env(), encoding="utf-8", timeout=harness.DEADLINE)
    child.delaybeforesend = None  # it may be typed the moment it is asked for
    child.expect("of alice at .*: ")
    child.send(s.token + "\r")
    assert harness.exit_code(child) == 0 and s.token not in child.before
    done = s.run("send", *remote.at(s), "--account", "alice", ROOM, "x", server=remote.address(s))
    assert done.returncode == 77 and "PARLEY_TOKEN" in done.stderr and "credentials" in done.stderr


def test_accounts_are_for_tls_only(make_server):
    server = make_server()
    token = account(server, "add", "alice")
    server.start("--listen", "127.0.0.1:0")
    tcp = re.search(r"tcp:\S+", server.ready.group(0)).group(0)
    done = server.run("send", "--account", "alice", ROOM, "x", server=tcp, PARLEY_TOKEN=token)
    assert done.returncode == 2 and "tls:" in done.stderr
    host, port = tcp[4:].split(":")
    with wire.Client.dial((host, int(port))) as c:
        refused = c.hello("alice", account="alice", secret=token)
        assert (refused.type, refused.code) == ("REFUSE", DENIED)
    # A user of this host is that user, whatever he says.
    with wire.Client.dial(server.socket) as c:
        assert c.hello("alice", account="alice", secret="wrong").type == "WELCOME"


# --- resuming ----------------------------------------------------------------------------------------------------------


def resume(server, welcome, name, token=None):
    c = remote.dial(server)
    c.welcome = c.hello(welcome.nick, transports=[wire.TCP], account=name, token=token or welcome.token,
                        producer=welcome.producer)
    return c


def test_a_resume_token_is_as_good_as_a_login(closed_server):
    s = closed_server
    bob = account(s, "add", "bob")
    c = login(s, "alice", s.token)
    c.post(c.join(ROOM).room, "one")
    c.until("MESSAGE", text="one")
    relay = remote.relay(s)
    os.kill(relay, signal.SIGKILL)
    until(lambda: remote.helper(s, "parleyd/tls") not in (None, relay), "there is another relay")
    with stopped(verifier(s)), resume(s, c.welcome, "alice") as again:  # nobody is needed to check anything
        assert (again.welcome.type, again.welcome.resumed, again.welcome.last_counter) == ("WELCOME", 1, 1)
    # Not by another account, not without one, not with another token.
    with resume(s, c.welcome, "bob") as other:
        assert (other.welcome.type, other.welcome.code) == ("REFUSE", EXPIRED)
    with resume(s, c.welcome, "") as guest:
        assert (guest.welcome.type, guest.welcome.code) == ("REFUSE", DENIED)
    with resume(s, c.welcome, "alice", token=bytes(15) + b"x") as forged:
        assert (forged.welcome.type, forged.welcome.code) == ("REFUSE", EXPIRED)
    # Also after the server was killed and started again.
    port = remote.port(s)
    s.kill()
    s.start("--listen", f"tls:0.0.0.0:{port}")
    with resume(s, c.welcome, "alice") as again:
        assert (again.welcome.type, again.welcome.last_counter) == ("WELCOME", 1)
    # But not with another secret.
    account(s, "token", "alice")
    with resume(s, c.welcome, "alice") as late:
        assert (late.welcome.type, late.welcome.code) == ("REFUSE", EXPIRED)
    login(s, "bob", bob).close()


def test_a_guests_token_makes_no_account(make_server):
    server = make_server()
    account(server, "add", "alice")
    server.start("--listen", "tls:127.0.0.1:0")
    guest = remote.connect(server, "alice")
    with resume(server, guest.welcome, "alice") as c:
        assert (c.welcome.type, c.welcome.code) == ("REFUSE", EXPIRED)
    guest.close()


def test_relay_killed_client_goes_on_with_its_account(closed_server):
    s = closed_server
    tail = s.stream("tail", *remote.at(s), "--account", "alice", "--json", ROOM, server=remote.address(s),
                    PARLEY_TOKEN=s.token)
    until(lambda: "alice" in s.nicks(ROOM), "alice is there")
    os.kill(remote.relay(s), signal.SIGKILL)
    s.ok("send", ROOM, "meanwhile")
    until(lambda: [e["text"] for e in tail.messages()] == ["meanwhile"], "it arrives")


# --- guessing ------------------------------------------------------------------------------------------------------------


def test_guessing_is_slowed_down_for_an_address(closed_server):
    s = closed_server
    answers = []
    while LIMIT not in answers and len(answers) < 60:  # 5, and more for the time that passes meanwhile
        answers.append(answer(s, "alice", "guess", source="127.0.0.7")[0])
    assert len(answers) > 5 and set(answers[:-1]) == {DENIED} and answers[-1] == LIMIT
    for _ in range(10):
        code, text = answer(s, "alice", s.token, source="127.0.0.7")
        if code == LIMIT:  # not even the right one; unless this chance had just come back
            break
        while answer(s, "alice", "guess", source="127.0.0.7")[0] != LIMIT:
            pass
    assert code == LIMIT and re.search(r"wrong secrets: try again in \d+ s", text)
    login(s, "alice", s.token, source="127.0.0.8").close()  # others are not concerned


def test_guessing_is_slowed_down_for_an_account_but_not_for_its_owner(closed_server):
    """A guess counts when it is made, not when it has been checked."""
    s = closed_server
    login(s, "alice", s.token, source="127.0.3.1").close()
    account(s, "add", "bob")
    guesses = []
    with stopped(verifier(s)):

        def refused():  # 20 are not, and one more for each 5 s that pass meanwhile
            guesses.append(begin(s, "alice", "guess", source=f"127.0.4.{1 + len(guesses) // 4}"))
            return [c for c in guesses if has_answer(c)]
        first = until(refused, "one too many is refused")[0].next()
        assert len(guesses) > 20 and first.code == LIMIT and "wrong secrets" in first.text
        for c in guesses:
            c.close()  # who does not wait is not checked
    assert refusal(s, "bob", "guess", source="127.0.4.99")[0] == DENIED
    login(s, "alice", s.token, source="127.0.3.1").close()  # where she has been before


# --- the verifier ------------------------------------------------------------------------------------------------------------


def begin(server, name, secret, source="127.0.0.1"):
    """A login whose answer is not waited for."""
    c = remote.dial(server, source)
    c.send(wire.encode("HELLO", version=1, strict=1, transports=bytes([wire.TCP]), nick=name, token=wire.NO_TOKEN,
                       producer=0, client="", cursors=b"", input=b"", account=name, secret=secret))
    return c


def test_the_hub_never_waits_for_a_check(closed_server):
    s = closed_server
    login(s, "alice", s.token).close()
    with stopped(verifier(s)):
        waiting = begin(s, "alice", s.token)
        s.ok("send", ROOM, "meanwhile")
        assert s.nicks(ROOM) == set()
    assert waiting.next().type == "WELCOME"
    waiting.close()


def test_a_check_that_takes_long_is_waited_for(closed_server):
    """Who has said all there is to say waits for the server, and not the other way round."""
    s = closed_server
    login(s, "alice", s.token).close()
    with stopped(verifier(s)):
        waiting = begin(s, "alice", s.token)
        with remote.dial(s, deadline=harness.DEADLINE) as silent:
            assert silent.until_end() == []  # it came later, said nothing, and its time is up
        assert not has_answer(waiting)
    assert waiting.next().type == "WELCOME"
    waiting.close()


def test_a_verifier_that_is_killed_is_asked_again(closed_server):
    s = closed_server
    login(s, "alice", s.token).close()
    checker = verifier(s)
    os.kill(checker, signal.SIGSTOP)
    waiting = [begin(s, "alice", s.token) for _ in range(3)]
    os.kill(checker, signal.SIGKILL)
    assert [c.next().type for c in waiting] == ["WELCOME"] * 3
    for c in waiting:
        c.close()
    assert "checks logins (pid" in s.output()


def test_one_that_kills_it_twice_is_refused(closed_server):
    s = closed_server
    path = os.path.join(s.state, "accounts")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("t=2,", "t=500,"))  # such a check takes long enough to be shot at
    waiting = begin(s, "alice", s.token)
    killed = set()
    for _ in range(2):
        def another():
            pid = remote.helper(s, "parleyd/login")
            return pid if pid not in killed else None
        checker = until(another, "it is being checked")
        os.kill(checker, signal.SIGKILL)
        until(lambda: not harness.alive(checker), "it is gone")
        killed.add(checker)
    answer = waiting.next()
    assert len(killed) == 2 and answer.code == LIMIT and "try again" in answer.text
    waiting.close()


def test_only_so_many_wait_from_one_address(closed_server):
    s = closed_server
    login(s, "alice", s.token).close()
    with stopped(verifier(s)):
        waiting = [begin(s, "alice", "guess", source="127.0.0.7") for _ in range(9)]
        others = begin(s, "alice", s.token, source="127.0.0.8")
        until(lambda: any(has_answer(c) for c in waiting), "one too many is refused")
        refused = [c.next() for c in waiting if has_answer(c)]
        assert all(r.code == LIMIT for r in refused)
        assert not has_answer(others)
    assert others.next().type == "WELCOME"
    for c in [*waiting, others]:
        c.close()


def has_answer(c):
    c.sock.settimeout(0.01)
    try:
        c._fill(0.01)
    except (TimeoutError, OSError):
        pass
    except wire.Ended:
        pass
    return len(c.data) > 0


def test_verifier_is_confined(closed_server):
    s = closed_server
    login(s, "alice", s.token).close()
    with open(f"/proc/{verifier(s)}/status") as f:
        text = f.read()
    assert re.search(r"^Seccomp:\s+2$", text, re.M) and re.search(r"^NoNewPrivs:\s+1$", text, re.M)
    with open(f"/proc/{verifier(s)}/limits") as f:
        assert re.search(r"Max data size\s+167772160", f.read())


def test_a_named_input_is_said_once_and_belongs_to_the_account(closed_server):
    server = closed_server
    bob = account(server, "add", "bob")
    for name, secret in [("alice", server.token), ("alice", server.token), ("bob", bob)]:
        done = say(server, name, secret, "--id", "build", input="one\ntwo\n")
        assert done.returncode == 0, done.stderr
    said = [(m["from"], m["text"]) for m in server.json("history", ROOM) if m["type"] == "message"]
    assert said == [("alice", "one"), ("alice", "two"), ("bob", "one"), ("bob", "two")]
