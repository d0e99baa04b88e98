"""Other users of the machine: what a client under another uid may use, open, read and signal is what
docs/architecture.md and the transports' pages promise, and no more. Needs root, to become others."""

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

import pytest

import harness
import parleywire as wire
import rawends

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

NOBODY = 65534
OTHER = 65533
LOCAL = [t for t in harness.TRANSPORTS if t != "tcp"]


def as_user(uid):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


@pytest.fixture
def programs():
    """The programs and the helpers of these tests where every user can read them."""
    where = tempfile.mkdtemp(prefix="pb", dir="/tmp")
    os.chmod(where, 0o755)
    for path in (harness.PARLEY, harness.PARLEYD, rawends.__file__, wire.__file__):
        shutil.copy(path, where)
        os.chmod(os.path.join(where, os.path.basename(path)), 0o755)
    yield where
    shutil.rmtree(where)


@pytest.fixture
def start(make_server, programs):
    """start(*options): a server that other users can reach."""
    def begin(*options, owner=0, **more):
        server = make_server()
        os.chmod(server.dir, 0o755)
        os.chown(server.dir, owner, -1)
        os.chmod(os.path.join(server.dir, "home"), 0o777)
        return server.start("--workers", "1", *options, **more)
    return begin


def parley(server, programs, uid, *args, **more):
    return subprocess.run([*as_user(uid), os.path.join(programs, "parley"), args[0], "-s",
                           server.address, *args[1:]], env=server.env(), text=True,
                          capture_output=True, timeout=harness.DEADLINE, **more)


def python_as(uid, code, *args):
    text = ("import errno, os, stat, struct, sys, time\nimport parleywire as wire, rawends\n"
            "server = sys.argv[1]\n" + code)
    return [*as_user(uid), sys.executable, "-B", "-c", text, *args]


def python(server, programs, uid, code, *args):
    """Run a piece of Python as another user, with `rawends` and `wire` at hand; what it prints."""
    done = subprocess.run(python_as(uid, code, server.socket, *args),
                          env=server.env(PYTHONPATH=programs), text=True, capture_output=True,
                          timeout=harness.DEADLINE, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- what is allowed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", LOCAL)
def test_other_user_talks_over_every_transport(start, programs, transport):
    server = start()
    tail = server.stream("tail", "--json", "-q", "#lobby")
    harness.until(lambda: server.members("#lobby") == 1, "the reader is there")
    done = parley(server, programs, NOBODY, "send", "-t", transport, "-n", "nobody", "#lobby", "hello")
    assert done.returncode == 0, done.stderr
    harness.until(tail.messages, "what another user said arrives")
    assert [(m["from"], m["text"]) for m in tail.messages()] == [("nobody", "hello")]


def test_uid_of_a_member_is_what_the_kernel_says(start, programs):
    server = start()
    uids = python(server, programs, NOBODY, """
c = wire.Client.connect(server, "me")
print([m.uid for m in c.listing("WHO") if m.nick == "me"])
""")
    assert uids.strip() == f"[{NOBODY}]"


@pytest.mark.parametrize("transport", ["fifo", "posixmq", "sysvmq", "mmap"])
def test_objects_belong_to_their_user_alone(start, programs, transport):
    """Made 0600 (the inbox of mmap: 0400), and handed to whoever is at the other end."""
    server = start()
    out = python(server, programs, NOBODY, f"""
s = rawends.Session(server, "{transport}", ready=False)
if "{transport}" == "sysvmq":
    for line in open("/proc/sysvipc/msg").readlines()[1:]:
        f = line.split()
        if int(f[1]) in (s.up.id, s.down.id):
            print(f[2][-3:], f[7])
else:
    fds = {{"fifo": lambda: (s.up, s.down), "posixmq": lambda: (s.up.fd, s.down.fd),
           "mmap": lambda: (s.up.fd, s.up.inbox_fd)}}["{transport}"]()
    for fd in fds:
        st = os.fstat(fd)
        print(oct(st.st_mode)[-3:], st.st_uid)
""")
    modes = ["600", "400"] if transport == "mmap" else ["600", "600"]
    assert out.split("\n")[:-1] == [f"{m} {NOBODY}" for m in modes]


# --- what is not ---------------------------------------------------------------------------------------


def test_other_user_may_not_watch_what_others_say(start, programs):
    """Traces of everybody's messages are for the server's own user; that of one's own is for all."""
    server = start()
    out = python(server, programs, NOBODY, """
c = wire.Client.connect(server, "eve")
room = c.join("#lobby").room
for rate in (0, 1, 65535):
    e = c.until("ERROR", counter=c.ask("WATCH", rate=rate))
    print(e.code == wire.CODES["DENIED"])
""")
    assert out.split() == ["True"] * 3
    with wire.Client.connect(server.socket, "root") as c:
        c.until("DONE", counter=c.ask("WATCH", rate=1))
    done = parley(server, programs, NOBODY, "trace", "#lobby", "mine")
    assert done.returncode == 0 and "uplink" in done.stdout, done.stderr


@pytest.mark.parametrize("transport", ["fifo", "posixmq", "sysvmq", "mmap"])
def test_objects_of_another_session_cannot_be_opened(start, programs, transport):
    """Even by somebody who knows the names, before READY removes them."""
    server = start()
    for user in (NOBODY, OTHER):
        while (tried := opened_by(server, programs, user, transport)) is None:
            pass  # READY is waited for 10 s: on a busy machine that may be too short to try
        assert tried == ["EACCES"] * 6


def opened_by(server, programs, user, transport):
    """What the user gets who opens the objects of a session that is not READY; None if they went meanwhile."""
    victim = rawends.Session(server.socket, transport, nick="victim", ready=False)
    names = {"fifo": lambda: [victim.welcome.up[1:], victim.welcome.down[1:]],
             "posixmq": lambda: [victim.welcome.up[1:], victim.welcome.down[1:]],
             "sysvmq": lambda: [str(victim.up.key).encode(), str(victim.down.key).encode()],
             "mmap": lambda: [victim.up.outbox.encode(), victim.up.inbox.encode()]}[transport]()
    out = python(server, programs, user, f"""
for name in sys.argv[2:]:
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        try:
            if "{transport}" == "posixmq":
                rawends.Posix(name.encode(), flags)
            elif "{transport}" == "sysvmq":
                rawends.SystemV(struct.pack("<I", int(name))).send(2, b"x")
            else:
                os.open(name, flags | os.O_NONBLOCK)
            print("opened", name)
        except OSError as e:
            print(errno.errorcode[e.errno])
""", *[n.decode() for n in names])
    gone = victim.ended()
    victim.close()
    return None if gone else out.split()


def test_runtime_and_state_directories_show_nothing(start, programs):
    server = start()
    server.ok("send", "#lobby", "x")
    out = python(server, programs, NOBODY, f"""
for path in ("{server.runtime}", "{server.state}", "{server.state}/rooms", "{server.state}/secret"):
    try:
        os.listdir(path) if path != "{server.state}/secret" else open(path)
        print("read", path)
    except OSError as e:
        print(errno.errorcode[e.errno])
""")
    assert out.split() == ["EACCES"] * 4


def test_server_cannot_be_looked_into_or_signalled(start, programs):
    server = start()
    pids = [server.pid, *server.workers()]
    out = python(server, programs, NOBODY, """
for pid in map(int, sys.argv[2:]):
    for what in (lambda: os.kill(pid, 9), lambda: os.listdir(f"/proc/{pid}/fd"),
                 lambda: open(f"/proc/{pid}/mem", "rb"), lambda: os.readlink(f"/proc/{pid}/exe")):
        try:
            what()
            print("could")
        except OSError as e:
            print(errno.errorcode[e.errno])
""", *map(str, pids))
    assert set(out.split()) <= {"EPERM", "EACCES"}, out


def test_log_segments_of_mmap_cannot_be_written(start, programs):
    """The descriptors that come over the bell are read-only, and stay so through /proc/self/fd."""
    server = start()
    server.ok("send", "#lobby", "precious")
    out = python(server, programs, NOBODY, """
import array, mmap, socket
s = rawends.Session(server, "mmap")
s.push(wire.encode("JOIN", 0, 0, 1, room="#lobby", start=wire.LAST, arg=10))
s.bell.settimeout(30)
fds = array.array("i")
while not fds:
    data, control, _, _ = s.bell.recvmsg(256, socket.CMSG_SPACE(64))
    assert data
    for _, _, payload in control:
        fds.frombytes(payload[:len(payload) // 4 * 4])
fd = fds[0]
print(b"precious" in os.pread(fd, 1 << 20, 0))
for what in (lambda: os.write(fd, b"x"), lambda: os.pwrite(fd, b"x", 4096), lambda: os.ftruncate(fd, 0),
             lambda: mmap.mmap(fd, 4096), lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR),
             lambda: os.open(f"/proc/self/fd/{fd}", os.O_WRONLY), lambda: os.fchmod(fd, 0o666)):
    try:
        what()
        print("could")
    except (OSError, PermissionError) as e:
        print(errno.errorcode[e.errno])
""").split()
    assert out[0] == "True"
    assert len(out) == 8 and set(out[1:]) <= {"EBADF", "EINVAL", "EACCES", "EPERM"}, out
    assert server.json("history", "#lobby", "-n", "1")[0]["text"] == "precious"


@pytest.mark.parametrize("transport", LOCAL)
def test_descriptors_of_the_client_reach_nothing_of_the_server(start, programs, transport):
    """Whatever came with WELCOME: no directory, no log, no terminal, nothing but the session's own."""
    server = start()
    out = python(server, programs, NOBODY, f"""
s = rawends.Session(server, "{transport}")
for fd in s.wire.fds:
    print(os.readlink(f"/proc/self/fd/{{fd}}").split(":")[0].split(" ")[0])
""").split()
    assert set(out) <= {"/memfd", "socket", "/memfd:parley-up", "/memfd:parley-down"}
    assert len(out) == {"shm": 3, "mmap": 1, "sysvmq": 1}.get(transport, 0)


STEAL = """
token, producer = bytes.fromhex(sys.argv[2]), int(sys.argv[3])
with wire.Client.dial(server) as c:
    r = c.hello("thief", token=token, producer=producer)
    print(r.type, r.code if r.type == "REFUSE" else "")
"""


@pytest.mark.parametrize("when", ["open", "lost", "gone", "restarted"])
def test_stolen_token_is_no_use_to_another_user(start, programs, when):
    server = start()
    victim = wire.Client.connect(server.socket, "victim")
    room = victim.join("#lobby").room
    victim.post(room, "mine")
    victim.until("MESSAGE")
    proof = [victim.welcome.token.hex(), str(victim.welcome.producer)]
    if when == "gone":
        victim.ask("BYE", code=0, text="")
        victim.until("BYE")
    if when != "open":
        victim.close()
    if when == "restarted":
        options = server.options
        server.stop()
        server.start(*options)
    assert python(server, programs, NOBODY, STEAL, *proof).split() == [
        "REFUSE", str(wire.CODES["DENIED"])]
    # Its owner is not harmed by the attempt.
    with wire.Client.dial(server.socket) as again:
        answer = again.hello("victim", token=victim.welcome.token, producer=victim.welcome.producer)
        assert (answer.type, answer.last_counter) == ("WELCOME", 1)
    victim.close()


def test_nick_of_another_user_is_not_given(start, programs):
    server = start()
    owner = wire.Client.connect(server.socket, "owner")
    out = python(server, programs, NOBODY, """
c = wire.Client.connect(server, "owner")
print(c.welcome.nick)
n = c.ask("NICK", nick="OWNER")
print(c.until("NICKED", "ERROR", counter=n).type)
""").split()
    assert out == ["owner2", "ERROR"]
    owner.close()


def test_named_input_of_another_user_is_another_input(start, programs):
    server = start()
    owner = wire.Client.connect(server.socket, "owner", input=b"backup")
    out = python(server, programs, NOBODY, """
c = wire.Client.connect(server, "other", input=b"backup")
print(c.welcome.producer, c.welcome.resumed)
""").split()
    assert int(out[0]) != owner.welcome.producer and out[1] == "0"
    owner.join("#lobby")  # still there, not taken over
    owner.close()


def test_conversation_of_two_others_is_closed(start, programs):
    server = start()
    alice, bob = (wire.Client.connect(server.socket, n) for n in ("alice", "bob"))
    room = alice.join("@bob").room
    alice.post(room, "between us")
    out = python(server, programs, NOBODY, """
c = wire.Client.connect(server, "eve")
print(c.join("@alice,bob").code)
n = c.ask("HISTORY", at=int(sys.argv[2]), before=0, count=0)
print(c.until("ERROR", "REPLAY", counter=n).type)
print(sum(r.name.startswith("@") for r in c.listing("ROOMS")))
""", str(room)).split()
    assert out == [str(wire.CODES["DENIED"]), "ERROR", "0"]
    alice.close()
    bob.close()


# --- limits --------------------------------------------------------------------------------------------

FLOOD = """
kind, room, what = sys.argv[2], int(sys.argv[3]), sys.argv[4]
s = rawends.Session(server, kind)
s.push(wire.encode("JOIN", 0, 0, 1, room="#flood", start=0, arg=0))
text = {"topic" if what == "TOPIC" else "text": "x"}
print(s.push(b"".join(wire.encode(what, 0, room, n, **text) for n in range(1, 1001))), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["POST", "TOPIC"])
@pytest.mark.parametrize("wait", ["block", "spin"])
@pytest.mark.parametrize("transport", ["unix", "shm"])
def test_rate_applies_to_other_users(start, programs, transport, wait, kind):
    """20 a second and 80 at once: of a thousand that are there at once no more than that is taken, however the
    server waits and whatever the records are; the rest stays in the uplink."""
    server = start("--rate", "20", "--wait", wait)
    watcher = wire.Client.connect(server.socket, "watcher")
    room = watcher.join("#flood").room
    began = time.monotonic()
    with harness.started(python_as(NOBODY, FLOOD, server.socket, transport, str(room), kind), text=True,
                         env=server.env(PYTHONPATH=programs), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flooder:
        assert flooder.stdout.readline() == "True\n"
        for _ in range(100):  # all that may come at once, and more later
            watcher.until("MESSAGE" if kind == "POST" else "RETITLE")
        said = watcher.join("#flood").next
        most = 80 + 20 * (time.monotonic() - began) + 5  # and who came
        assert said <= most, f"{said} records, {most} at most"
        watcher.post(room, "and I am not limited")
        watcher.until("MESSAGE", from_="watcher")
        flooder.stdin.close()
    watcher.close()


def test_sessions_of_another_user_are_limited_by_name(start, programs):
    server = start("--max-per-user", "3")
    out = python(server, programs, NOBODY, """
kept = []
for i in range(4):
    c = wire.Client.dial(server)
    r = c.hello(f"n{i}")
    kept.append(c)
    print(r.type)
print(r.text)
""").split("\n")
    assert out[:4] == ["WELCOME", "WELCOME", "WELCOME", "REFUSE"]
    assert "--max-per-user" in out[4]
    done = parley(server, programs, OTHER, "send", "#lobby", "still room for others")
    assert done.returncode == 0, done.stderr


# --- parleyd --user ------------------------------------------------------------------------------------


def test_server_started_as_root_becomes_the_user(start, programs):
    server = start("--user", "nobody", owner=NOBODY)
    want = pwd.getpwnam("nobody").pw_uid
    for pid in [server.pid, *server.workers()]:
        with open(f"/proc/{pid}/status") as f:
            status = f.read()
        assert set(re.search(r"^Uid:\s+(.*)$", status, re.M).group(1).split()) == {str(want)}
        assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert os.stat(server.state).st_uid == want
    assert stat.S_IMODE(os.stat(server.state).st_mode) == 0o700
    # Its own user has everything, also across a restart.
    for transport in LOCAL:
        done = parley(server, programs, want, "send", "-t", transport, "#lobby", transport)
        assert done.returncode == 0, done.stderr
    options = server.options
    server.stop()
    server.start(*options)
    done = parley(server, programs, want, "history", "#lobby", "-n", "6", "--json")
    assert [t for t in LOCAL if f'"text":"{t}"' in done.stdout.replace('": "', '":"')] == LOCAL
    # Others get what needs no object handed over; the rest is refused by name, with the reason.
    for transport, works in (("unix", True), ("shm", True), ("fifo", False), ("mmap", False)):
        done = parley(server, programs, OTHER, "send", "-t", transport, "#lobby", "x")
        assert (done.returncode == 0) == works, (transport, done.stderr)
        if not works:
            assert "cannot hand it over" in done.stderr


def test_a_directory_with_other_things_in_it_is_not_given_to_the_user(make_server):
    server = make_server()
    shared = os.path.join(server.dir, "shared")
    os.makedirs(os.path.join(shared, "of others"))
    os.chmod(server.dir, 0o711)
    command = [*server.command("--user", "nobody"), "--socket", os.path.join(shared, "s")]

    def run():
        return subprocess.run(command, env=server.env(), text=True, capture_output=True, timeout=harness.DEADLINE, stdin=subprocess.DEVNULL)
    done = run()
    assert done.returncode == 1
    assert done.stderr == (f"parleyd: --user nobody: cannot write to {shared} (EACCES). Make it that user's (chown), or choose another\n")
    assert os.stat(shared).st_uid == 0
    os.chmod(shared, 0o1777)  # like /tmp
    child = subprocess.Popen(command, env=server.env(), text=True, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert f"ready unix:{shared}/s" in child.stderr.readline()
    assert os.stat(shared).st_uid == 0
    child.terminate()
    child.communicate(timeout=harness.DEADLINE)
    assert child.returncode == 0


def test_server_of_an_unknown_user_does_not_start(make_server):
    server = make_server()
    done = subprocess.run(server.command("--user", "no-such-user"), env=server.env(), text=True,
                          capture_output=True, timeout=harness.DEADLINE, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "no-such-user" in done.stderr


def test_user_cannot_be_chosen_without_being_root(make_server, programs):
    server = make_server()
    os.chmod(server.dir, 0o777)
    done = subprocess.run([*as_user(NOBODY), os.path.join(programs, "parleyd"),
                           *server.command("--user", "root")[1:]], env=server.env(), text=True,
                          capture_output=True, timeout=harness.DEADLINE, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "only root can become another user" in done.stderr


def test_other_user_ends_nothing_by_being_killed(start, programs):
    """A client under another uid that is killed: its objects go, and its place is kept a while."""
    server = start()
    child = subprocess.Popen([*as_user(NOBODY), os.path.join(programs, "parley"), "tail", "-s",
                              server.address, "-t", "fifo", "-n", "mortal", "#lobby"],
                             env=server.env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    harness.until(lambda: server.members("#lobby") == 1, "it is there")
    before = server.count_fds()
    child.send_signal(signal.SIGKILL)
    child.wait()
    harness.until(lambda: server.count_fds() < before, "its descriptors are closed")
    assert server.session_objects() == []


def test_every_command_says_77_in_a_private_room_of_others(start, programs):
    server = start()
    made = server.run("#private", input="/mode private on\n")
    assert made.returncode == 0, made.stderr
    for command in (["send", "#private", "x"], ["tail", "-e", "#private"], ["history", "#private"], ["search", "#private", "x"],
                    ["export", "#private"], ["file", "list", "#private"], ["file", "get", "#private", "1"],
                    ["file", "put", "#private", "/etc/passwd"], ["trace", "#private", "x"], ["bot", "#private", "--", "true"],
                    ["#private"]):
        done = parley(server, programs, NOBODY, *command, stdin=subprocess.DEVNULL)
        assert done.returncode == 77 and "private" in done.stderr, (command, done.returncode, done.stderr)
