"""parley top: does it show what the server does, whatever state the server is in, on every size of
terminal, and leave the terminal as it was? The server's side of it: are its pages right, private, and
gone with it?"""

import os
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import termios

import pytest

import harness
import parleywire as wire
from harness import PARLEY, until
from terminal import Terminal

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
KEYS = "q quit"


@pytest.fixture
def tops(server):
    """tops(*options) starts parley top on a terminal; all are ended."""
    started = []

    def start(*options, columns=80, rows=24, where=server, **env):
        base = {"TERM": "xterm-256color", **env}
        started.append(Terminal([PARLEY, "top", "-s", where.address, "-d", "0.25", *options],
                                where.env(**base), columns=columns, rows=rows))
        return started[-1]
    yield start
    for t in started:
        t.close()


def look(server, *options):
    """One look as JSON, at what the server has written by now."""
    (found,) = server.json("top", "--once", "-d", "0.3", *options)
    return found


def shown(top):
    return [line.rstrip() for line in top.screen.display]


def session(looked, nick):
    return next((s for s in looked["sessions"] if s["nick"] == nick), None)


# --- figures ------------------------------------------------------------------------------------------

def test_counters_are_those_of_a_known_load(make_server):
    server = make_server().start("--place", "workers", "--workers", "2")
    tail = server.stream("tail", "--json", "-t", "shm", "-n", "reader", "#lobby")
    until(lambda: server.members("#lobby") == 1, "the reader is there")
    server.ok("send", "-t", "posixmq", "#lobby", "-", input="".join(f"line {i}\n" for i in range(500)))
    until(lambda: len(tail.messages()) == 500, "all came")

    def complete():
        s = look(server)
        down = {t["transport"]: t["down"] for t in s["transports"]}
        up = {t["transport"]: t["up"] for t in s["transports"]}
        return s if s["hub"]["posts"] == 500 and min(down["shm"]["deliveries"], down["posixmq"]["deliveries"]) >= 500 \
            and up["posixmq"]["sessions"] == 0 and session(s, "reader") and session(s, "reader")["down"]["lag"] == 0 else None
    s = until(complete, "the pages say so")
    by = {t["transport"]: t for t in s["transports"]}
    assert by["posixmq"]["up"]["posts"] == 500
    assert by["posixmq"]["down"]["deliveries"] == 500, "the sender reads its own posts: its acknowledgements"
    assert by["posixmq"]["up"]["sessions"] == 0 and by["shm"]["up"]["sessions"] == 1
    assert by["shm"]["up"]["posts"] == 0
    (room,) = s["rooms"]
    assert room["name"] == "#lobby" and room["posts"] == 500 and room["members"] == 1
    assert room["next_seq"] - 1 == s["hub"]["records"], "all records are of this room"
    reader = session(s, "reader")
    assert reader["transport"] == "shm" and reader["worker"] in (0, 1)
    assert 500 <= reader["down"]["deliveries"] <= 501, "its own arrival, perhaps"
    assert reader["down"]["lag"] == 0 and reader["up"]["uid"] == os.getuid()
    assert sum(w["fanout"]["deliveries"] for w in s["workers"]) == sum(t["down"]["deliveries"] for t in s["transports"])
    assert [w["pid"] for w in s["workers"]] == [w["fanout"]["pid"] for w in s["workers"]]
    assert sorted(w["pid"] for w in s["workers"]) == sorted(server.workers())
    # A record went to the log once, and to each of both readers once.
    assert s["hub"]["bytes_logged"] < sum(w["fanout"]["bytes_out"] for w in s["workers"]) < 3 * s["hub"]["bytes_logged"]


def test_rates_are_those_of_a_known_load(server):
    """After each look some more is posted: the rates of all looks together are what was posted."""
    with wire.Client.connect(server.socket, "pace") as c:
        number = c.join("#lobby").room
        until(lambda: session(look(server), "pace"), "its row is there")
        top = server.stream("top", "--json", "-d", "0.3")
        posted = 0
        for i in range(1, 5):
            until(lambda: len(top.events("stats")) >= i, "a look")
            for _ in range(100 * i):
                c.post(number, "x")
            for _ in range(100 * i):
                c.until("MESSAGE")
            posted += 100 * i

        def seen():
            found = top.events("stats")
            return found if found[-1]["hub"]["posts"] == posted <= session(found[-1], "pace")["down"]["deliveries"] else None
        looks = until(seen, "all of it is in a look")
    assert posted == 1000
    assert abs(sum(s["hub"]["rates"]["posts"] * s["seconds"] for s in looks) - posted) < 0.1
    mine = [session(s, "pace") for s in looks]
    assert abs(sum(m["up"]["rates"]["posts"] * s["seconds"] for m, s in zip(mine, looks)) - posted) < 0.1
    assert mine[-1]["up"]["posts"] == posted
    # Deliveries are counted on another page, with times of its own.
    down = [m["down"] for m in mine]
    assert [b["rates"]["deliveries"] > 0 for b in down[1:]] == [b["deliveries"] > a["deliveries"] for a, b in zip(down, down[1:])]


def test_fields_are_those_of_the_documentation(server):
    """Each field of docs/protocol.md is there, and no other."""
    text = open(os.path.join(harness.ROOT, "docs", "protocol.md")).read()
    documented = {}
    for line in text.split("| kind | row | fields |")[1].split("\n\n")[0].splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0].isdigit():
            documented[cells[1]] = cells[2].replace("`", "").split(", ")
    s = look(server)
    with wire.Client.connect(server.socket, "me") as c:
        c.join("#lobby")
        s = until(lambda: (lambda l: l if l["sessions"] and l["rooms"] else None)(look(server)), "a session has its row")
        rows = {"hub": s["hub"], "limit": s["limits"][0], "uplinks": s["transports"][0]["up"],
                "target": s["workers"][0], "session": s["sessions"][0]["up"], "room": s["rooms"][0],
                "fanout": s["workers"][0]["fanout"], "downlinks": s["transports"][0]["down"],
                "outlet": s["sessions"][0]["down"]}
        documented.pop("ended")  # the rows of downlinks, before they are added up
        assert set(documented) == set(rows)
        for name, row in rows.items():
            own = set(row) - {"rates", "what", "name", "worker", "fanout"}
            assert own == set(documented[name]), name


def test_who_is_refused_resumed_or_repeats_is_counted(server):
    with wire.Client.connect(server.socket, "a") as c:
        number = c.join("#lobby").room
        c.post(number, "one")
        c.post(number, "one", counter=1)  # said again
        c.post(number, "gap", counter=9)
        c.until("ERROR")

        def counted():
            h = look(server)["hub"]
            return h["repeats"] == 1 and h["refused"] == 1 and h["posts"] == 1
        until(counted, "one post, one repeat, one refusal")


def test_more_sessions_than_rows_are_counted(make_server):
    rows, more = 1024, 6
    harness.raise_descriptor_limit()
    server = make_server().start("--workers", "1")
    clients = []
    try:
        for i in range(rows + more):
            clients.append(wire.Client.connect(server.socket, f"n{i}"))
        s = until(lambda: (lambda l: l if l["hub"]["sessions"] == rows + more else None)(look(server)), "all are there")
        assert len(s["sessions"]) == rows and s["hub"]["sessions_hidden"] == more
        for c in clients[:10]:
            c.close()
        until(lambda: (lambda h: h["sessions"] == rows + more - 10 and h["sessions_hidden"] == more)(look(server)["hub"]),
              "who is gone leaves a row")
        assert "not shown: 6 sessions" in server.ok("top", "--once")
    finally:
        for c in clients:
            c.close()


@pytest.mark.parametrize("transport", ["fifo", "posixmq", "unix"])
def test_downlink_of_a_stopped_reader_fills(server, transport):
    tail = server.stream("tail", "-t", transport, "-n", "slow", "#lobby")
    until(lambda: server.members("#lobby") == 1, "the reader is there")
    os.kill(tail.pid, signal.SIGSTOP)
    try:
        server.ok("send", "-t", "shm", "#lobby", "-", input="x" * 1000 + "\n" + ("y" * 1000 + "\n") * 2000)

        def full():
            s = session(look(server), "slow")
            return s["down"]["full"] >= 1 and s["down"]["blocked"] == 1 and s["down"]["lag"] > 100000 and s
        s = until(full, "it is full")
        assert 0 < s["down"]["fill"] <= s["down"]["capacity"] * 2
    finally:
        os.kill(tail.pid, signal.SIGCONT)
    until(lambda: session(look(server), "slow")["down"]["lag"] == 0, "it has caught up")


def test_counts_stay_true_when_a_room_moves_to_a_worker(make_server):
    """--place auto hands sessions over between hub and workers: nothing is counted twice or lost."""
    server = make_server().start("--workers", "1", "--place", "auto")
    tails = [server.stream("tail", "--json", "-t", t, "-n", t, "#lobby") for t in ("shm", "unix", "fifo")]
    until(lambda: server.members("#lobby") == 3, "the readers are there")
    total = 0
    for n in (50, 3000, 50):
        server.ok("send", "-t", "unix", "#lobby", "-", input="".join(f"{i}\n" for i in range(n)))
        total += n
        until(lambda: all(len(t.lines) >= total for t in tails), "all came")

    def counted():
        by = {t["transport"]: t["down"]["deliveries"] for t in look(server)["transports"]}
        return total <= by["shm"] <= total + 5 and total <= by["fifo"] <= total + 5 and by["unix"] >= 2 * total and by
    until(counted, "each delivery is counted once")


# --- a server that does not help ----------------------------------------------------------------------

def test_stopped_server_is_shown(server, tops):
    server.ok("send", "#lobby", "-", input="x\n" * 100)
    until(lambda: look(server)["hub"]["posts"] == 100, "written")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        s = look(server)
        assert s["state"] == "stopped" and s["hub"]["posts"] == 100 and s["hub"]["rates"]["posts"] == 0
        top = tops()
        top.sees("stopped (a signal or a debugger), last seen")
        top.sees("SERVED BY")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    top.sees("up 0:")


def test_killed_server_leaves_its_last_words(server, tops):
    server.ok("send", "#lobby", "-", input="x\n" * 100)
    until(lambda: look(server)["hub"]["posts"] == 100, "written")
    top = tops()
    top.sees("up 0:")
    server.kill()
    top.sees("not running since 20")
    done = server.run("top", "--once", "--json")
    assert done.returncode == 69
    assert '"state":"gone"' in done.stdout and '"posts":100' in done.stdout
    server.start("--workers", "1")
    top.sees("up 0:")
    until(lambda: look(server)["hub"]["posts"] == 0, "the new one counts from 0")
    assert not [f for f in os.listdir(server.runtime) if f == "stats.1"], "pages of the dead one are gone"


def test_killed_worker_is_started_again_with_a_new_page(server):
    server.ok("send", "#lobby", "-", input="x\n" * 100)
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)

    def replaced():
        s = look(server)
        return s["hub"]["restarts"] == 1 and all(w["alive"] and w["fanout"]["pid"] == w["pid"] for w in s["workers"])
    until(replaced, "a new worker writes")
    assert before[0] not in [w["pid"] for w in look(server)["workers"]]


def test_hub_without_workers_serves_itself(make_server):
    server = make_server().start("--workers", "0")
    server.ok("send", "#lobby", "-", input="x\n" * 10)
    s = until(lambda: (lambda l: l if l["workers"][0]["fanout"]["deliveries"] == 10 else None)(look(server)), "delivered")
    assert [w["worker"] for w in s["workers"]] == ["hub"] and s["workers"][0]["pid"] == server.pid


def test_page_is_found_without_a_link_too(make_server):
    """The usual runtime directory is SOCKET.d."""
    server = make_server()
    server.runtime = server.socket + ".d"
    server.start("--workers", "1")
    assert not os.path.lexists(server.socket + ".stats")
    assert look(server)["pid"] == server.pid


def test_pages_are_private(server):
    for name in ("stats", "stats.0", "stats.1"):
        st = os.stat(os.path.join(server.runtime, name))
        assert stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == os.getuid()
    with wire.Client.connect(server.socket, "alice") as a, wire.Client.connect(server.socket, "bob"):
        a.join("@bob")
        s = until(lambda: (lambda l: l if l["hub"]["conversations"] == 1 else None)(look(server)), "counted")
        assert s["rooms"] == [], "who talks to whom is nobody's business"


@needs_root
def test_other_user_is_refused(server):
    where = tempfile.mkdtemp(prefix="pb", dir="/tmp")
    try:
        os.chmod(where, 0o755)
        shutil.copy(PARLEY, where)
        os.chmod(server.dir, 0o755)
        done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                               os.path.join(where, "parley"), "top", "--once", "-s", server.address],
                              env=server.env(), capture_output=True, text=True, timeout=harness.DEADLINE)
        assert done.returncode == 77
        assert "another user's" in done.stderr and "EACCES" in done.stderr
    finally:
        shutil.rmtree(where)


def test_errors_say_what_to_do(server, tmp_path):
    done = server.run("top", "--once", "-s", f"unix:{tmp_path}/none")
    assert done.returncode == 69 and "Start one: parleyd" in done.stderr
    done = server.run("top", "--once", "-s", "tcp:127.0.0.1:1")
    assert done.returncode == 2 and "-s unix:PATH" in done.stderr
    page = tmp_path / "page"
    page.write_bytes(open(os.path.join(server.runtime, "stats"), "rb").read())
    with open(page, "r+b") as f:
        f.seek(8)
        f.write(struct.pack("I", 2))
    done = server.run("top", "--once", "--page", str(page))
    assert done.returncode == 1 and "layout 2, this parley reads 1" in done.stderr
    page.write_bytes(b"nonsense" * 1000)
    done = server.run("top", "--once", "--page", str(page))
    assert done.returncode == 1 and "EBADMSG" in done.stderr


def test_garbage_in_a_page_is_only_shown(server, tmp_path):
    """A page whose rows were filled with anything: no crash, and nothing of it reaches the terminal raw."""
    data = bytearray(open(os.path.join(server.runtime, "stats"), "rb").read())
    for at in range(4096, len(data)):
        data[at] = (0x1b, 0xff, 0x9b, 0x07)[at % 4]
    page = tmp_path / "stats"
    page.write_bytes(data)
    for options in ((), ("--json",)):
        done = server.run("top", "--once", "--page", str(page), *options)
        assert done.returncode in (0, 1), done.stderr
        assert not set("\x1b\x07\x9b") & set(done.stdout)


# --- on a terminal ------------------------------------------------------------------------------------

@pytest.mark.parametrize("columns, rows", [(80, 24), (200, 50)])
def test_screen_fits_the_terminal(server, tops, columns, rows):
    tail = server.stream("tail", "-t", "shm", "-n", "reader", "#lobby")
    until(lambda: server.members("#lobby") == 1, "the reader is there")
    top = tops(columns=columns, rows=rows)
    top.until(lambda: any("reader" in line for line in shown(top)), "the session")
    top.until(lambda: KEYS in shown(top)[-1], "keys on the bottom line")

    def tables():
        text = "\n".join(shown(top))
        return all(word in text for word in ("hub ", "worker 0", "limits", "NICK")) and \
            ("RLIMIT_NOFILE of the hub " in text) == (rows > 24)
    top.until(tables, "a tall screen has all tables")
    server.ok("send", "#lobby", "-", input="x\n" * 2000)
    tail.close()


def test_tables_and_sorting_by_keys(server, tops):
    with wire.Client.connect(server.socket, "anna") as a, wire.Client.connect(server.socket, "zoe") as z:
        a.join("#lobby")
        z.join("#zoo")
        top = tops()
        top.until(lambda: any(line.startswith("zoe") for line in shown(top)), "sessions")
        top.send("2")
        top.until(lambda: any(line.startswith("#zoo") for line in shown(top)), "rooms")
        top.send("\t")
        top.until(lambda: any(line.startswith("sysvmq ") for line in shown(top)), "transports")
        top.send("4")
        top.until(lambda: any(line.startswith("--max-clients ") for line in shown(top)), "limits")
        top.send("1")
        top.until(lambda: any(line.startswith("zoe") for line in shown(top)), "sessions again")
        top.send("<" * 5)  # to the first column: names from the first letter
        top.until(lambda: any("NICK*" in line for line in shown(top)), "sorted by nick")

        def order():
            return [line.split()[0] for line in shown(top) if line.startswith(("anna", "zoe"))]
        top.until(lambda: order() == ["anna", "zoe"], "a before z")
        top.send("r")
        top.until(lambda: order() == ["zoe", "anna"], "the other way round")
        top.send("\033[C")
        top.until(lambda: any("BY^" in line for line in shown(top)), "the arrow moves on")
        top.send("h")
        top.sees("doorbells rung for it")

        def starts():
            lines = shown(top)
            keys = [i for i, line in enumerate(lines) if "q, Ctrl-C" in line]
            return {line.split()[0] for line in lines[keys[0]:] if line.strip()} if keys else set()
        top.until(lambda: {"NEWS", "PIPE", "CALLS"} <= starts() and "that" not in starts(), "help, of which no line is wrapped")
        top.send("hq")
        assert top.wait() == 0


def test_resizing_leaves_no_debris(server, tops):
    top = tops(columns=200, rows=50)
    top.until(lambda: KEYS in shown(top)[-1], "the screen")
    for columns, rows in ((80, 24), (40, 10), (120, 40), (20, 5), (80, 24)):
        top.resize(columns, rows)
        top.until(lambda: KEYS[:columns] in shown(top)[-1][:columns] and shown(top)[0].startswith("unix:"[:columns])
                  and len([line for line in shown(top) if line.startswith("NICK")]) <= 1, f"drawn at {columns}x{rows}, once")
    fresh = tops(columns=80, rows=24)
    fresh.until(lambda: KEYS in shown(fresh)[-1], "another one")

    def layout(t):
        return [line.split()[0] if line.split() else "" for line in shown(t)]
    top.until(lambda: (fresh.pump(), layout(top) == layout(fresh))[1], "the same lines as on a screen that was never resized")


def test_no_colour_is_obeyed(server, tops):
    top = tops(NO_COLOR="1")
    top.until(lambda: KEYS in shown(top)[-1], "the screen")
    plain = top.raw
    bright = tops("--color", "always")
    bright.until(lambda: KEYS in shown(bright)[-1], "the screen")
    assert b"\033[7m" in bright.raw and b"\033[7m" not in plain
    assert b"m" not in [seq[-1:] for seq in plain.split(b"\033[")[1:] if seq[-1:].isalpha()]


@pytest.mark.parametrize("way", ["q", "\x03", "TERM", "HUP", "ABRT"])
def test_terminal_is_as_before_on_every_way_out(server, tops, way):
    top = tops()
    fd = top.child.child_fd
    top.until(lambda: KEYS in shown(top)[-1], "the screen")
    assert not termios.tcgetattr(fd)[3] & termios.ECHO
    if len(way) == 1:
        top.send(way)
    else:
        os.kill(top.child.pid, getattr(signal, "SIG" + way))
    code = top.wait()
    assert code == {"q": 0, "\x03": 130, "TERM": 143, "HUP": 129, "ABRT": -6}[way]
    assert top.raw.rstrip().endswith(b"\033[?7h\033[?25h\033[?1049l"), "the screen from before, with its cursor"
    assert top.raw.count(b"\033[?1049h") == top.raw.count(b"\033[?1049l") == 1


def test_ctrl_z_gives_the_terminal_back_and_takes_it_again(server, tops):
    shell = Terminal(["bash", "--norc", "--noprofile", "-i"],
                     server.env(TERM="xterm-256color", PS1="sh> ", PARLEY_SOCKET=server.socket))
    try:
        shell.sees("sh>")
        shell.send(f"stty -g >{server.dir}/before; {PARLEY} top\r")
        shell.until(lambda: KEYS in shown(shell)[-1], "the screen")
        shell.send("\x1a")
        shell.until(lambda: b"\033[?1049l" in shell.raw, "left")
        shell.sees("Stopped")
        shell.raw = b""
        shell.send("fg\r")
        shell.until(lambda: b"\033[?1049h" in shell.raw and KEYS in shown(shell)[-1], "back")
        shell.send("q")
        shell.until(lambda: b"\033[?1049l" in shell.raw and b"sh>" in shell.raw.split(b"\033[?1049l")[-1], "the shell")
        shell.send(f"stty -g >{server.dir}/after; echo over\r")
        shell.until(lambda: os.path.exists(f"{server.dir}/after") and open(f"{server.dir}/after").read(), "stty")
        assert open(f"{server.dir}/after").read() == open(f"{server.dir}/before").read()
    finally:
        shell.close()


def test_without_a_terminal_there_are_plain_lines(server):
    out = server.ok("top", "-d", "0.25", "-C", "2")
    assert "\033" not in out
    assert out.count("SERVED BY") == 2 and out.count("LIMIT ") == 2
    assert server.ok("top", "--once").count("NICK") == 1


def test_reader_that_goes_away_ends_it(server):
    top = subprocess.Popen([PARLEY, "top", "-d", "0.25", "-s", server.address], env=server.env(),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert top.stdout.readline()
    top.stdout.close()
    assert top.wait(harness.DEADLINE) == 128 + signal.SIGPIPE
    assert top.stderr.read() == b""
    top.stderr.close()
