"""libparley as others use it: installed, found by pkg-config, linked into programs that know nothing but parley.h."""

import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

import documents
import harness
from harness import TRANSPORTS, until

# They share what `make` leaves in the build directory with the tests of installing.
pytestmark = pytest.mark.xdist_group("install")

BUILD, VARIANT = os.path.split(harness.BIN)
HERE = os.path.dirname(__file__)
EXAMPLES = os.path.join(harness.ROOT, "client", "lib", "examples")
HEADER = os.path.join(harness.ROOT, "client", "lib", "include", "parley.h")

# In `make asan` the library is one with AddressSanitizer, which the programs then need as well.
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"] if VARIANT == "asan" else []

# Event types, as parley.h numbers them.
with open(HEADER) as f:
    KIND = {k: int(v) for k, v in re.findall(r"^    PARLEY_(\w+) = (\d+),", f.read().split("enum parley_state {")[0], re.M)}


def texts_of(server, room):
    return [m["text"] for m in server.json("history", "--after", "0", room) if m["type"] == "message"]


def run(*args, code=0, **more):
    done = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=2 * harness.DEADLINE, **more)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Installed:
    """`make install` into a directory, and what builds programs with it."""

    def __init__(self, path):
        self.path = path
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        old = [x for p in ("parley", "parleyd", "parley-web") for x in ("-o", os.path.join(harness.BIN, p))]
        run("make", "-s", "-C", harness.ROOT, f"BUILD={BUILD}", f"VARIANT={VARIANT}", *old, "install", f"PREFIX={path}", env=env)

    def pkg_config(self, *args):
        env = dict(os.environ, PKG_CONFIG_PATH=f"{self.path}/lib/pkgconfig")
        return run("pkg-config", *args, "parley", env=env).split()

    def build(self, source, *flags, libs=None):
        """Only what the documentation says: cc x.c $(pkg-config --cflags --libs parley)."""
        program = os.path.join(self.path, os.path.basename(source)[:-2])
        libs = self.pkg_config("--cflags", "--libs") if libs is None else libs
        run("cc", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *SANITIZE, *flags, "-o", program, source, *libs, cwd=self.path)
        return program

    def env(self, server, **more):
        return dict(server.env(), LD_LIBRARY_PATH=f"{self.path}/lib", **more)


@pytest.fixture(scope="module")
def installed():
    path = tempfile.mkdtemp(prefix="pl", dir="/tmp")
    yield Installed(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def programs(installed):
    return {f[:-2]: installed.build(os.path.join(EXAMPLES, f)) for f in sorted(os.listdir(EXAMPLES))}


@pytest.fixture(scope="module")
def probe_program(installed):
    return installed.build(os.path.join(HERE, "library_probe.c"))


class Probe:
    """library_probe.c, running."""

    def __init__(self, program, env):
        self.process = subprocess.Popen([program], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8", preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))
        self.events = []

    def begin(self, *words):
        self.process.stdin.write("\t".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()

    def end(self):
        """(result, request, sentence); events that came are in self.events."""
        self.events = []
        for line in self.process.stdout:
            if line.startswith("= "):
                _, r, request, text = line.rstrip("\n").split(" ", 3)
                return int(r), int(request), text
            fields = dict(f.split("=", 1) for f in line.rstrip("\n").split("\t"))
            self.events.append({k: int(v) if re.fullmatch(r"-?\d+", v) and k not in ("text", "from") else v
                                for k, v in fields.items()})
        raise AssertionError(f"the probe ended with {self.process.wait()}")

    def do(self, *words):
        self.begin(*words)
        return self.end()

    def ok(self, *words):
        """The request's number."""
        r, request, text = self.do(*words)
        assert r == 0, f"{words}: {r} {text}"
        return request

    def until(self, kind, *request):
        r, _, text = self.do("until", KIND[kind], *request)
        assert r == 1, f"no {kind}: {r} {text} {self.events}"
        return self.events[-1]

    def open(self, *rooms, **options):
        for name, value in options.items():
            self.ok("set", name, value)
        self.ok("connect", 20000)
        for room in rooms:
            self.ok("wait", self.ok("join", room), 20000)
        return self

    def state(self):
        self.ok("state")
        return self.events[0]

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(harness.DEADLINE)
        self.process.stdout.close()
        return code


@pytest.fixture
def probe(probe_program, installed, server):
    made = []

    def make(on=server):
        made.append(Probe(probe_program, installed.env(on)))
        return made[-1]
    yield make
    for p in made:
        if p.process.poll() is None and not p.process.stdin.closed:
            assert p.close() == 0


# --- what is installed ----------------------------------------------------------------------------------------


def functions():
    with open(HEADER) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    return set(re.findall(r"\b(parley_\w+)\(", text))


def test_exactly_the_functions_of_the_header_are_exported(installed):
    lib = f"{installed.path}/lib"
    shared = run("nm", "-D", "--defined-only", f"{lib}/libparley.so")
    assert set(re.findall(r" T (\w+)", shared)) == functions()
    assert not re.findall(r" [BDRV] ", shared)
    static = run("nm", "-g", "--defined-only", f"{lib}/libparley.a")
    assert set(re.findall(r" [A-Z] (\w+)", static)) == functions()


def test_the_library_has_a_version_and_a_name_that_says_its_abi(installed):
    dynamic = run("objdump", "-p", f"{installed.path}/lib/libparley.so")
    assert re.search(r"SONAME +libparley\.so\.0\n", dynamic) and "LIBPARLEY_0" in dynamic
    with open(os.path.join(harness.ROOT, "common", "base", "version.h")) as f:
        version = re.search(r'PARLEY_VERSION "(.*)"', f.read())[1]
    assert installed.pkg_config("--modversion") == [version]
    assert os.path.realpath(f"{installed.path}/lib/libparley.so.0") == f"{installed.path}/lib/libparley.so.{version}"


def test_the_header_stands_alone_in_c_and_in_cxx(installed):
    for compiler, language in (("cc", "c"), ("g++", "c++")):
        if not shutil.which(compiler):
            continue
        with open(f"{installed.path}/alone", "w") as f:
            f.write("#include <parley.h>\nint main(void) { return parley_version() == 0; }\n")
        run(compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", *installed.pkg_config("--cflags"), "-x", language,
            f"{installed.path}/alone")


def test_examples_are_strict_c11(installed):
    for f in os.listdir(EXAMPLES):
        installed.build(os.path.join(EXAMPLES, f), "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wconversion", "-Wshadow")


def test_every_function_is_in_the_manual_page():
    with open(os.path.join(harness.ROOT, "docs", "man", "parley.3.scd")) as f:
        page = f.read()
    assert {name for name in functions() if f"*{name}*" not in page} == set()
    assert {k for k in KIND if f"*PARLEY_{k}*" not in page} == set()


def test_example_of_the_man_page_builds_and_runs(installed, server):
    ((_, text),) = documents.blocks("docs/man/parley.3.scd")
    source = os.path.join(installed.path, "page.c")
    with open(source, "w") as f:
        f.write(text.replace("\\\\", "\\"))  # as scdoc takes it
    server.ok("send", "-n", "ann", "#lobby", "said before")
    program = installed.build(source)
    done = subprocess.run([program], env=installed.env(server, USER="bob"), capture_output=True, text=True, timeout=harness.DEADLINE)
    assert (done.returncode, done.stdout) == (0, "ann: said before\n"), done.stderr


def test_a_program_can_be_linked_statically(installed, server):
    flags = installed.pkg_config("--cflags") + [f"{installed.path}/lib/libparley.a"] + [
        x for x in installed.pkg_config("--libs", "--static") if x != "-lparley"]
    program = installed.build(os.path.join(EXAMPLES, "say.c"), libs=flags)
    os.rename(program, program + "-static")
    run(program + "-static", "#lobby", "from one file", env=server.env())
    assert server.json("history", "#lobby")[-1]["text"] == "from one file"


# --- the examples --------------------------------------------------------------------------------------------------


def test_say_returns_when_the_server_has_it(programs, installed, server):
    run(programs["say"], "#lobby", "one", "two", env=installed.env(server, USER="alice"))
    assert [(m["from"], m["text"]) for m in server.json("history", "#lobby")] == [("alice", "one"), ("alice", "two")]
    done = subprocess.run([programs["say"], "#lobby", "x"], capture_output=True, text=True,
                          env=dict(installed.env(server), PARLEY_SOCKET="/nonexistent"))
    assert done.returncode == 69 and "Start one: parleyd" in done.stderr


def test_look_shows_people_rooms_and_what_was_said(programs, installed, server):
    server.ok("send", "#ci", "-", input="build 1 done\nnothing\nbuild 2 DONE\n")
    server.stream("tail", "-n", "zoe", "-t", "shm", "#ci")
    until(lambda: server.members("#ci") == 1, "zoe is there")
    out = run(programs["look"], env=installed.env(server))
    assert "zoe by shm in #ci\n" in out and re.search(r"^#ci: 1 people, 3 records\.", out, re.M)
    out = run(programs["look"], "#ci", "done", env=installed.env(server))
    assert [line.split(": ")[1] for line in out.splitlines()] == ["build 1 done", "build 2 DONE"]


def test_exactly_once_says_each_line_once_however_often_it_runs(programs, installed, server):
    path = os.path.join(server.dir, "input")
    with open(path, "w") as f:
        f.write("".join(f"{i}\n" for i in range(3000)))
    first = subprocess.Popen([programs["exactly_once"], "#lobby", path, "n"], env=installed.env(server))
    until(lambda: server.json("rooms") and server.json("rooms")[0]["records"] > 10, "some are said")
    first.kill()
    first.wait()
    for _ in range(2):
        run(programs["exactly_once"], "#lobby", path, "n", env=installed.env(server))
    assert texts_of(server, "#lobby") == [str(i) for i in range(3000)]


def test_own_loop_beside_standard_input(programs, installed, server):
    tail = server.stream("tail", "--json", "#lobby")
    until(lambda: server.members("#lobby") == 1, "tail is there")
    p = subprocess.Popen([programs["ownloop"], "#lobby"], env=installed.env(server), stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    p.stdin.write("from a loop\n")
    p.stdin.flush()
    until(lambda: [m["text"] for m in tail.messages()] == ["from a loop"], "it is said")
    server.ok("send", "-n", "bob", "#lobby", "an answer")
    assert p.stdout.readline() == "bob: an answer\n"
    p.stdin.close()
    assert p.wait(harness.DEADLINE) == 0
    p.stdout.close()


def saved(path):
    if not os.path.exists(path):
        return None
    with open(path) as f:
        return int(f.read())


def test_follow_goes_on_after_its_own_death_and_that_of_the_server(programs, installed, server):
    """Each message once and in order, in all that its runs printed together."""
    place = os.path.join(server.dir, "place")
    printed = []

    def follow():
        return harness.Stream([programs["follow"], "#lobby", place], installed.env(server))
    said = 0
    for how in ("follow", "server", "follow", "server"):
        f = follow()
        server.ok("send", "#lobby", "-", input="".join(f"{i}\n" for i in range(said, said + 20)))
        said += 20
        until(lambda: len(printed) + len(f.lines) == said, "it is printed")
        if how == "server":
            server.kill()
            server.start()
            server.ok("send", "#lobby", str(said))
            said += 1
            until(lambda: len(printed) + len(f.lines) == said, "what came after the restart is printed")
        until(lambda: saved(place) == int(f.lines[-1].split()[0]), "the place of the last one is saved")
        f.process.kill()
        f.wait()
        printed += f.lines
        f.close()
        server.ok("send", "#lobby", str(said))
        said += 1
    f = follow()
    until(lambda: len(printed) + len(f.lines) >= said, "the rest is printed")
    printed += list(f.lines)
    f.close()
    assert [line.decode().split(": ")[1].strip() for line in printed] == [str(i) for i in range(said)]


# --- the interface, function by function ---------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS[:-1])
def test_a_post_is_acknowledged_by_its_own_message(server, probe, transport):
    p = probe().open("#lobby", transport=transport, nick="ann")
    post = p.ok("post", "#lobby", "hällo\tx".split("\t")[0])
    assert p.do("wait", post, 20000)[0] == 0
    e = p.until("MESSAGE")
    assert (e["request"], e["own"], e["from"], e["room"], e["text"], e["len"]) == (post, 1, "ann", "#lobby", "hällo", 6)
    assert e["replay"] == 0 and e["seq"] >= 1 and e["time"] > 1_600_000_000 * 10**9 and e["uid"] == -1
    assert (p.state()["transport"], p.state()["nick"], p.state()["unacked"]) == (transport, "ann", 0)
    action = p.ok("post", "#lobby", "waves", 2)
    assert p.until("MESSAGE", action)["action"] == 1
    assert p.do("bye", 20000)[0] == 0
    assert p.until("STATE")["state"] == 3
    assert p.do("next", 0)[0] == -107 and p.state()["exit"] == 0


def test_joining_begins_where_it_is_asked_to(server, probe):
    server.ok("send", "#lobby", "-", input="".join(f"{i}\n" for i in range(10)))
    for start, arg, want in ((1, 3, "789"), (2, 4, "456789"), (2, 0, "0123456789"), (3, 0, "0123456789"), (0, 0, "")):
        p = probe().open()
        p.ok("wait", p.ok("join", "#lobby", start, arg, 1), 20000)
        p.until("MESSAGE", p.ok("post", "#lobby", "end"))
        texts = [e["text"] for e in p.events if e["type"] == KIND["MESSAGE"]]
        assert "".join(texts[:-1]).replace("end", "") == want
        assert [e["replay"] for e in p.events if e["type"] == KIND["MESSAGE"]] == [1] * (len(texts) - 1) + [0]
        joined = [e for e in p.events if e["type"] == KIND["JOINED"]][0]
        assert joined["seq"] >= 10 and joined["room"] == "#lobby"
        p.close()


def test_what_others_do_is_told(server, probe):
    a = probe().open("#lobby", nick="ann")
    b = probe().open("#lobby", nick="bob", transport="fifo")
    e = a.until("JOIN")
    while e["from"] == "ann":
        e = a.until("JOIN")
    assert (e["from"], e["transport"]) == ("bob", "fifo")
    topic = b.ok("topic", "#lobby", "about cats")
    assert b.do("wait", topic, 20000)[0] == 0
    assert a.until("TOPIC")["text"] == "about cats"
    nick = b.ok("nick", "rob")
    assert b.until("NICKED", nick)["to"] == "rob" and b.state()["nick"] == "rob"
    e = a.until("NICK")
    assert (e["from"], e["to"]) == ("bob", "rob")
    leave = b.ok("leave", "#lobby")
    e = b.until("LEFT", leave)
    assert (e["room"], e["code"], e["reason"]) == ("#lobby", 0, "")
    assert a.until("PART")["from"] == "rob"
    assert b.do("post", "#lobby", "x")[0] == -2
    assert "not in #lobby" in b.do("post", "#lobby", "x")[2]


def test_messages_are_changed_and_marked(server, probe):
    a = probe().open("#lobby", nick="ann")
    b = probe().open("#lobby", nick="bob")
    post = b.ok("post", "#lobby", "tpyo", 4)
    seq = b.until("MESSAGE", post)["seq"]
    e = a.until("MESSAGE")
    assert (e["text"], e["bot"], e["own"]) == ("tpyo", 1, 0)
    edit = b.ok("edit", "#lobby", 0, "typo")
    assert b.do("wait", edit, 20000)[0] == 0
    assert b.until("EDIT", edit)["own"] == 1
    e = a.until("EDIT")
    assert (e["target"], e["text"], e["from"], e["request"]) == (seq, "typo", "bob", 0)
    assert b.do("wait", b.ok("delete", "#lobby", seq), 20000)[0] == 0
    assert a.until("DELETE")["target"] == seq
    r, _, text = b.do("wait", b.ok("edit", "#lobby", 1, "not mine"), 20000)
    assert r < 0 and text
    assert b.state()["unacked"] == 0


def test_rooms_of_two_are_known_by_the_other_nick(server, probe):
    a = probe().open(nick="ann")
    b = probe().open(nick="bob")
    assert answer(a, "join", "@nobody")[0] == ESRCH
    a.ok("wait", a.ok("join", "@bob"), 20000)
    e = b.until("JOINED")
    assert (e["room"], e["name"], e["request"]) == ("@ann", "@ann,bob", 0)
    a.ok("wait", a.ok("post", "@bob", "psst"), 20000)
    e = b.until("MESSAGE")
    assert (e["room"], e["text"]) == ("@ann", "psst")
    b.ok("post", "@Ann", "yes?")  # names are compared as the server does
    b.ok("post", "@ann,bob", "again")
    b.ok("flush", 20000)
    assert a.until("MESSAGE")["own"] == 1
    assert [a.until("MESSAGE")["text"] for _ in range(2)] == ["yes?", "again"]


def test_history_search_who_and_rooms_answer_with_their_number(server, probe):
    server.ok("send", "#lobby", "-", input="".join(f"line {i}\n" for i in range(30)))
    p = probe().open("#lobby", nick="ann")
    h = p.ok("history", "#lobby", 21, 5)
    assert p.do("history", "#lobby", 0, 5)[0] == -16  # EBUSY: one at a time
    done = p.until("DONE", h)
    got = [e for e in p.events if e["type"] == KIND["MESSAGE"]]
    assert [e["text"] for e in got] == [f"line {i}" for i in range(15, 20)] and done["count"] == 5
    assert all(e["request"] == h and e["replay"] == 1 and e["own"] == 0 for e in got)
    s = p.ok("search", "#lobby", "LINE 2", 0, 0, 0)
    assert p.until("DONE", s)["count"] == 11
    assert [e["text"] for e in p.events if e["type"] == KIND["MESSAGE"]][0] == "line 2"
    w = p.ok("who", "#lobby")
    assert p.until("DONE", w)["count"] == 1
    (m,) = [e for e in p.events if e["type"] == KIND["MEMBER"]]
    assert (m["from"], m["uid"], m["rooms"], m["request"]) == ("ann", os.getuid(), "#lobby", w)
    r = p.ok("rooms")
    p.until("DONE", r)
    (m,) = [e for e in p.events if e["type"] == KIND["ROOM"]]
    assert (m["room"], m["count"]) == ("#lobby", 1) and m["seq"] > 30
    live = p.ok("post", "#lobby", "live")
    assert p.until("MESSAGE", live)["replay"] == 0


def test_what_is_refused_is_an_event_and_the_answer_of_wait(server, probe):
    p = probe().open()
    last = [p.ok("join", f"#r{i}") for i in range(65)][-1]
    r, _, text = p.do("wait", last, 20000)
    assert r == -122 and text, "EDQUOT: a session is in 64 rooms at most"
    e = p.until("REFUSED", last)
    assert (e["code"], e["reason"], e["room"]) == (-122, "limit reached", "#r64") and e["text"] == text
    assert p.do("wait", last, 0)[0] == -122  # it is remembered
    assert p.do("wait", 4711, 0)[0] == -22
    assert p.do("post", "#r64", "x")[0] == -2


# --- rooms and people --------------------------------------------------------------------------------------


@pytest.fixture
def moderated(make_server, probe):
    """ann, who may do everything: the server runs as her user. And eve by plain TCP: the server cannot tell who she is."""
    server = make_server().start("--listen", "127.0.0.1:0")
    ann = probe(server).open("#ops", nick="ann")
    eve = probe(server).open("#ops", nick="eve", server="tcp:" + re.search(r"tcp:(\S+)", server.ready.group(0))[1])
    return server, ann, eve


def answer(p, *words):
    """What comes of a request: 0 or an error, by parley_wait; and its sentence."""
    r, _, text = p.do("wait", p.ok(*words), 20000)
    return r, text


def next_of(p, kind, **fields):
    e = p.until(kind)
    while any(e[k] != v for k, v in fields.items()):
        e = p.until(kind)
    return e


def in_force(p, room, kind):
    p.until("DONE", p.ok("settings", room))
    return [e for e in p.events if e["type"] == KIND["SETTING"] and e["kind"] == KIND[kind]]


ME = f"uid:{os.getuid()}"
EACCES, ESRCH, EINVAL, ENOENT, ENOSYS, EADDRINUSE = -13, -3, -22, -2, -38, -98


def test_operators_decide_and_everybody_is_told(moderated):
    _, ann, eve = moderated
    for words in (("kick", "#ops", "ann"), ("ban", "#ops", "ann", 1), ("op", "#ops", "ann", 1), ("mode", "#ops", "topic-ops", "on")):
        r, text = answer(eve, *words)
        assert r == EACCES and text, words
    assert answer(ann, "mode", "#ops", "topic-ops", "on")[0] == 0
    e = next_of(eve, "MODE")
    assert (e["from"], e["to"], e["text"]) == ("ann", "topic-ops", "on")
    assert answer(eve, "topic", "#ops", "mine")[0] == EACCES
    assert answer(ann, "topic", "#ops", "ours")[0] == 0
    assert next_of(eve, "TOPIC")["text"] == "ours"
    (topic,) = in_force(eve, "#ops", "TOPIC")
    assert (topic["text"], topic["from"], topic["to"]) == ("ours", "ann", "") and topic["time"] > 1_600_000_000 * 10**9
    assert answer(ann, "op", "#ops", "uid:4711", 1)[0] == 0
    e = next_of(eve, "OP")
    assert (e["from"], e["to"], e["person"], e["on"], e["request"]) == ("ann", "uid:4711", "uid:4711", 1, 0)
    assert answer(ann, "op", "#ops", "uid:4711", 0)[0] == 0
    assert next_of(eve, "OP")["on"] == 0
    assert answer(ann, "kick", "#ops", "eve", "too loud")[0] == 0
    e = next_of(ann, "KICK")
    assert (e["from"], e["to"], e["text"], e["person"]) == ("ann", "eve", "too loud", "")
    e = eve.until("LEFT")
    assert (e["room"], e["code"], e["request"]) == ("#ops", EACCES, 0) and "too loud" in e["text"]
    assert eve.do("post", "#ops", "x")[0] == ENOENT
    assert answer(eve, "join", "#ops")[0] == 0  # who is kicked may come back


def test_who_is_banned_stays_out_until_it_is_taken_back(moderated):
    _, ann, eve = moderated
    assert answer(ann, "ban", "#ops", "eve", 1, "spam")[0] == 0
    e = next_of(ann, "BAN")
    assert (e["to"], e["person"], e["text"], e["on"]) == ("eve", "nick:eve", "spam", 1)
    assert eve.until("LEFT")["code"] == EACCES
    assert answer(eve, "join", "#ops")[0] == EACCES
    (ban,) = in_force(ann, "#ops", "BAN")
    assert (ban["room"], ban["to"], ban["person"], ban["from"], ban["on"]) == ("#ops", "eve", "nick:eve", "ann", 1)
    assert ban["time"] == e["time"]
    assert answer(ann, "ban", "#ops", "nick:eve", 0)[0] == 0
    assert next_of(ann, "BAN")["on"] == 0 and in_force(ann, "#ops", "BAN") == []
    assert answer(eve, "join", "#ops")[0] == 0


def test_a_private_room_is_for_those_who_are_invited(moderated, probe):
    server, ann, eve = moderated
    fay = probe(server).open(nick="fay")
    assert answer(ann, "invite", "#ops", "fay", 1)[0] == 0
    e = fay.until("INVITATION")
    assert (e["room"], e["from"], e["request"]) == ("#ops", "ann", 0)
    e = next_of(eve, "INVITE")
    assert (e["from"], e["to"], e["person"], e["on"]) == ("ann", "fay", ME, 1)
    assert in_force(eve, "#ops", "INVITE") == []  # everybody may come in: there is nothing to keep
    assert answer(ann, "mode", "#ops", "private", "on")[0] == 0
    assert eve.until("LEFT")["code"] == EACCES and answer(eve, "join", "#ops")[0] == EACCES
    r, text = answer(ann, "invite", "#ops", "eve", 1)
    assert r == ESRCH and "cannot tell who eve is" in text
    assert answer(ann, "invite", "#ops", "uid:4711", 1)[0] == 0
    (given,) = in_force(ann, "#ops", "INVITE")
    assert (given["to"], given["person"], given["from"], given["on"]) == ("uid:4711", "uid:4711", "ann", 1)
    assert answer(ann, "invite", "#ops", "uid:4711", 0)[0] == 0
    assert in_force(ann, "#ops", "INVITE") == []
    assert sorted((m["to"], m["text"], m["from"]) for m in in_force(ann, "#ops", "MODE")) == [
        ("private", "on", "ann"), ("topic-ops", "off", "")]
    ann.until("DONE", ann.ok("rooms"))
    assert [(e["room"], e["on"]) for e in ann.events if e["type"] == KIND["ROOM"]] == [("#ops", 1)]
    ann.until("DONE", ann.ok("who", "#ops"))
    assert [(e["from"], e["person"], e["on"]) for e in ann.events if e["type"] == KIND["MEMBER"]] == [("ann", ME, 1)]


def test_moderate_warns_puts_out_and_keeps_out(programs, installed, moderated):
    server, ann, eve = moderated
    p = subprocess.Popen([programs["moderate"], "#ops", "spam"], env=installed.env(server, USER="order"), stderr=subprocess.PIPE, text=True)
    next_of(eve, "JOIN", **{"from": "order"})
    eve.ok("post", "#ops", "buy spam")
    e = next_of(eve, "MESSAGE", **{"from": "order"})
    assert (e["text"], e["bot"]) == ("eve: not that word, please", 1)
    eve.ok("post", "#ops", "spam, spam")
    assert "kicked by order: spam" in eve.until("LEFT")["text"]
    assert answer(eve, "join", "#ops")[0] == 0
    eve.ok("post", "#ops", "spam?")
    assert "banned by order: spam" in eve.until("LEFT")["text"]
    assert answer(eve, "join", "#ops")[0] == EACCES
    p.terminate()
    assert p.communicate(timeout=harness.DEADLINE)[1] == "" and p.returncode == -signal.SIGTERM
    bad = subprocess.run([programs["moderate"], "#a b", "spam"], env=installed.env(server), stderr=subprocess.PIPE, text=True)
    assert bad.returncode == 1 and "the room is not usable" in bad.stderr


def test_a_nick_of_somebody_else_is_taken(moderated):
    _, _, eve = moderated
    assert answer(eve, "nick", "ann")[0] == EADDRINUSE
    assert eve.state()["nick"] == "eve"


def test_decisions_about_nobody_are_refused_with_a_sentence(moderated):
    _, ann, _ = moderated
    for words in (("kick", "#ops", "nobody"), ("kick", "#ops", "ann"), ("ban", "#ops", "nobody", 0), ("op", "#ops", "eve", 1),
                  ("op", "#ops", "uid:4711", 0), ("invite", "#ops", "nobody", 1), ("whois", "nobody")):
        request = ann.ok(*words)
        r, _, text = ann.do("wait", request, 20000)
        assert r == ESRCH and text, words
        e = ann.until("REFUSED", request)
        assert (e["code"], e["text"]) == (ESRCH, text)
    assert answer(ann, "mode", "#ops", "pink", "on")[0] == ENOSYS
    for words in (("kick", "#none", "eve"), ("settings", "#none"), ("mark", "#none", 1), ("op", "#none", "eve", 1)):
        assert ann.do(*words)[0] == ENOENT, words
    for words in (("kick", "#ops", "a b"), ("kick", "#ops", ""), ("ban", "#ops", "nick:", 1), ("kick", "#ops", "eve", "x\x1b"),
                  ("kick", "#ops", "eve", "x" * 301), ("mode", "#ops", "", "on"), ("whois", "x" * 33), ("away", "x" * 301)):
        r, _, text = ann.do(*words)
        assert r == EINVAL and text, words


def test_who_somebody_is_and_whether_they_are_away(server, probe):
    a, b = probe().open("#lobby", nick="ann", transport="shm"), probe().open("#lobby", nick="bob")
    away = a.ok("away", "at lunch")
    e = a.until("AWAY", away)
    assert (e["room"], e["from"], e["text"], e["on"]) == ("", "ann", "at lunch", 1)
    b.until("DONE", b.ok("whois", "Ann"))
    (e,) = [e for e in b.events if e["type"] == KIND["PROFILE"]]
    assert (e["from"], e["person"], e["transport"], e["rooms"], e["text"], e["on"]) == ("ann", ME, "shm", "#lobby", "at lunch", 1)
    assert e["time"] > 1_600_000_000 * 10**9
    b.ok("wait", b.ok("join", "@ann"), 20000)
    b.ok("post", "@ann", "hungry?")
    e = b.until("AWAY")
    assert (e["room"], e["from"], e["text"], e["on"], e["request"]) == ("@ann", "ann", "at lunch", 1, 0)
    assert a.do("wait", a.ok("away", ""), 20000)[0] == 0
    a.do("bye", 20000)
    a.close()
    until(lambda: all(m["nick"] != "ann" for m in server.json("who")), "ann is gone")
    b.until("DONE", b.ok("whois", "ann"))
    (e,) = [e for e in b.events if e["type"] == KIND["PROFILE"]]
    assert (e["person"], e["transport"], e["on"]) == (ME, "", 0)


def test_what_is_read_is_read_in_all_sessions_of_the_person(moderated, probe):
    server, ann, eve = moderated
    seq = ann.until("MESSAGE", ann.ok("post", "#ops", "hello"))["seq"]
    also = probe(server).open(nick="ann")
    assert also.until("JOINED", also.ok("join", "#ops"))["read"] == 0
    mark = ann.ok("mark", "#ops", seq)
    e = ann.until("MARKED", mark)
    assert (e["room"], e["read"], e["seq"]) == ("#ops", seq, 0)
    e = also.until("MARKED")
    assert (e["room"], e["read"], e["request"]) == ("#ops", seq, 0)
    assert ann.until("MARKED", ann.ok("mark", "#ops", 1))["read"] == seq  # it only moves on
    assert ann.do("wait", mark, 0)[0] == 0
    later = probe(server).open(nick="ann")
    assert later.until("JOINED", later.ok("join", "#ops"))["read"] == seq
    later.until("DONE", later.ok("rooms"))
    assert [e["read"] for e in later.events if e["type"] == KIND["ROOM"]] == [seq]
    assert eve.until("MARKED", eve.ok("mark", "#ops", seq))["read"] == 0  # no mark for nobody in particular


def test_a_topic_is_answered_also_if_the_nick_changes_or_the_room_is_left(server, probe):
    p = probe().open("#lobby", nick="ann")
    os.kill(server.pid, signal.SIGSTOP)  # so that both are read in one turn
    topic, nick = p.ok("topic", "#lobby", "one"), p.ok("nick", "rob")
    p.do("next", 0)
    os.kill(server.pid, signal.SIGCONT)
    assert p.do("wait", nick, 20000)[0] == 0
    assert p.do("wait", topic, 20000)[0] == 0
    os.kill(server.pid, signal.SIGSTOP)
    topic, leave = p.ok("topic", "#lobby", "two"), p.ok("leave", "#lobby")
    p.do("next", 0)
    os.kill(server.pid, signal.SIGCONT)
    assert p.do("wait", leave, 20000)[0] == 0
    assert p.do("wait", topic, 20000)[0] in (0, ENOENT)
    assert server.json("rooms")[0]["topic"] == "two"


def test_arguments_that_make_no_sense_are_refused_with_a_sentence(server, probe):
    p = probe()
    assert p.do("join", "#lobby")[0] == -107 and p.do("next", 0)[0] == -107
    for words, code in ((("set", "colour", "red"), -2), (("set", "reconnect", "perhaps"), -22), (("set", "wait", "no"), -22)):
        r, _, text = p.do(*words)
        assert r == code and text
    p.ok("set", "transport", "pigeon")
    r, _, text = p.do("connect", 0)
    assert r == -22 and "pigeon" in text
    p.ok("set", "transport", "auto")
    p.ok("set", "server", "nonsense")
    assert p.do("connect", 0)[0] == -22
    p.ok("set", "server", server.address)
    p.open("#lobby")
    assert p.do("set", "nick", "late")[0] == -106
    for words in (("join", "no-sigil"), ("join", "#a b"), ("join", "#x", 9), ("post", "#lobby", ""), ("post", "#lobby", "\x1b[2J"),
                  ("post", "#lobby", "x" * 40000), ("nick", "a b"), ("search", "#lobby", "")):
        r, _, text = p.do(*words)
        assert r == -22 and len(text) > 10, words


def test_no_server_denied_and_timeouts(server, probe):
    p = probe()
    p.ok("set", "server", f"unix:{server.dir}/nobody")
    r, _, text = p.do("connect", 20000)
    assert r == -111 and "Start one: parleyd" in text
    assert p.until("STATE")["code"] == -104 and p.state()["exit"] == 69
    q = probe()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert q.do("connect", 0)[0] == -115
        assert q.do("connect", 50)[0] == -110
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert q.do("connect", 20000)[0] == 0  # it went on trying
    assert q.do("next", 0)[0] == 1  # the state
    assert q.do("next", 10)[0] == 0
    assert q.state()["fds"] == -1  # nothing is due


def test_joins_may_come_before_the_connection(server, probe):
    p = probe()
    assert p.do("connect", 0)[0] in (-115, 0)
    join = p.ok("join", "#lobby")
    assert p.do("wait", join, 20000)[0] == 0


@pytest.mark.parametrize("transport", TRANSPORTS[:-1])
def test_nothing_is_lost_or_doubled_when_the_server_is_killed(server, probe, transport):
    """Also by FIFO, where writing to a server that is gone raises SIGPIPE: the probe leaves it as it is by default."""
    p = probe().open("#lobby", transport=transport)
    for _ in range(3):
        p.begin("many", "#lobby", 2000)
        server.kill()
        assert p.end()[0] == 0
        r = p.ok("rooms") if p.state()["state"] == 1 else None
        server.start()
        assert p.do("flush", 20000)[0] == 0
        if r:
            p.do("wait", r, 20000)
    assert p.do("bye", 20000)[0] == 0
    assert texts_of(server, "#lobby") == [str(i) for i in range(2000)] * 3


def test_a_join_that_was_not_answered_is_asked_again_and_other_requests_are_told(server, probe):
    p = probe().open("#lobby")
    os.kill(server.pid, signal.SIGSTOP)
    join, who = p.ok("join", "#new"), p.ok("who", "#lobby")
    p.do("next", 0)
    server.kill()
    server.start()
    assert p.do("wait", join, 20000)[0] == 0
    assert p.do("wait", who, 20000)[0] in (-104, 0)  # answered if it reached the second server
    assert p.do("wait", p.ok("post", "#new", "x"), 20000)[0] == 0


def test_without_reconnect_the_first_loss_is_final(server, probe):
    p = probe().open("#lobby", reconnect="no")
    server.kill()
    e = p.until("STATE")
    while e["state"] != 3:
        e = p.until("STATE")
    assert p.do("next", 20000)[0] == -107 and p.state()["exit"] == 69
    assert p.do("post", "#lobby", "x")[0] == -107
    server.start()


def test_a_transport_can_be_changed_in_the_middle(server, probe):
    p = probe().open("#lobby", transport="unix")
    p.ok("many", "#lobby", 500)
    p.ok("switch", "shm")
    p.ok("flush", 20000)
    e = p.until("STATE")
    while "shm" not in e["text"]:
        e = p.until("STATE")
    p.ok("many", "#lobby", 500)
    p.ok("flush", 20000)
    assert p.state()["transport"] == "shm"
    assert p.do("switch", "pigeon")[0] == -22
    assert texts_of(server, "#lobby") == [str(i) for i in range(500)] * 2


def test_two_sessions_of_one_program_know_nothing_of_each_other(server, probe):
    p = probe().open("#lobby", nick="ann")
    for words in (("set", "nick", "bob"), ("set", "transport", "shm"), ("connect", 20000)):
        p.ok("other", *words)
    p.ok("other", "wait", p.ok("other", "join", "#lobby"), 20000)
    p.ok("other", "post", "#lobby", "hello")
    p.ok("other", "flush", 20000)
    e = p.until("MESSAGE")
    assert (e["from"], e["own"], e["request"]) == ("bob", 0, 0)


def test_a_signal_ends_the_wait(server, probe_program, installed):
    """-EINTR is for programs with handlers; without one the program ends as always, and leaves nothing."""
    p = Probe(probe_program, installed.env(server)).open("#lobby")
    p.begin("next", -1)
    p.process.terminate()
    assert p.process.wait(harness.DEADLINE) == -signal.SIGTERM
    p.process.stdin.close()
    p.process.stdout.close()
