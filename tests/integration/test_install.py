"""What is installed: programs that find each other, man pages, completions in real shells, units and sockets from
systemd, the Debian package; and that options are the same wherever they are told."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile

import pexpect
import pytest

import documents
import harness
from harness import until
from installed import VARIANT, give, make, run

# They share what `make` leaves in the build directory.
pytestmark = pytest.mark.xdist_group("install")

PROGRAMS = ["parley", "parleyd", "parley-web"]
PAGES = {"parley": "parley.1", "parleyd": "parleyd.8", "parley-web": "parley-web.8"}
PACKAGING = os.path.join(harness.ROOT, "docs", "packaging")


@pytest.fixture(scope="module")
def scratch():
    path = tempfile.mkdtemp(prefix="pi", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def tree(scratch):
    """`make install` staged below a directory."""
    shutil.rmtree(os.path.join(harness.BIN, "man"), ignore_errors=True)
    make("install", f"DESTDIR={scratch}/stage", "PREFIX=/opt/parley")
    return f"{scratch}/stage/opt/parley"


def environment(scratch, tree, **more):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
    keep.update(HOME=scratch, TMPDIR=scratch, NO_COLOR="1", LC_ALL="C.UTF-8", TERM="dumb",
                PATH=f"{tree}/bin:/usr/bin:/bin", **more)
    return keep


def everything_below(path):
    return sorted(os.path.join(d, f) for d, _, files in os.walk(path) for f in files)


# --- installing --------------------------------------------------------------------------------------


def program_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:  # gone
        return None


def test_installed_programs_find_each_other(tree, scratch):
    env = environment(scratch, tree)
    assert "All as expected" in run(f"{tree}/bin/parley", "lab", "mtype", env=env)  # starts parleyd
    server = subprocess.Popen([f"{tree}/bin/parleyd", "--socket", f"{scratch}/w", "--state-dir", f"{scratch}/ws", "--workers",
                               "1", "--http", "127.0.0.1:0"], env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert re.search(r"ready unix:\S+ http://", server.stderr.readline())
        until(lambda: f"{tree}/bin/parley-web" in map(program_of, harness.children(server.pid)), "the page is served")
    finally:
        server.terminate()
        server.communicate(timeout=harness.DEADLINE)
    assert server.returncode == 0


def test_uninstall_leaves_nothing(scratch):
    where = f"{scratch}/gone"
    make("install", f"DESTDIR={where}", "PREFIX=/usr")
    assert len(everything_below(where)) > 15
    make("uninstall", f"DESTDIR={where}", "PREFIX=/usr")
    assert everything_below(where) == []
    assert not [d for d, _, _ in os.walk(where) if "parley" in os.path.basename(d)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_version_tells_how_it_was_built(program):
    first, built, libraries = run(os.path.join(harness.BIN, program), "--version").splitlines()
    assert re.fullmatch(rf"{program} \d+\.\d+\.\d+( \(\S+\))?", first)
    assert re.fullmatch(rf"built by: \S.* \d+\..*, variant {VARIANT}", built)
    assert len(re.findall(r"[a-z0-9-]+ \d+\.\d+", libraries)) >= 4


# --- options are told the same everywhere ---------------------------------------------------------------


def plain(page):
    """A man page as text without overstriking."""
    return re.sub(r".\x08", "", run("mandoc", "-T", "utf8", page))


def long_options(text):
    return set(re.findall(r"^ *(?:-\w, )?--([a-z-]+)", text, re.M))


def commands():
    text = run(harness.PARLEY, "--help").split("Commands:")[1].split("\nOptions")[0]
    return re.findall(r"^  ([a-z]+)\b", text, re.M)


def offered(program, *words):
    return {line.split("\t")[0][2:] for line in
            run(os.path.join(harness.BIN, program), "--complete", *words, "--").splitlines()}


@pytest.mark.parametrize("program", ["parleyd", "parley-web"])
def test_options_of_servers_are_the_same_in_help_man_page_and_completion(tree, program):
    options = long_options(run(os.path.join(harness.BIN, program), "--help"))
    assert len(options) >= 6
    assert offered(program) == options
    assert long_options(plain(os.path.join(harness.BIN, "man", PAGES[program]))) == options


def test_options_of_commands_are_the_same_in_help_man_page_and_completion(tree):
    page = plain(os.path.join(harness.BIN, "man", "parley.1"))
    common = long_options(page.split("\nOPTIONS\n")[1].split("\nCOMMANDS\n")[0])
    assert {"transport", "help", "version"} <= common
    chat = long_options(re.split(r"\n(?=[A-Z])", page.split("\nIN THE CHAT\n")[1])[0])
    assert "theme" in chat and not chat & common
    sections = re.split(r"^   parley ", page.split("\nCOMMANDS\n")[1].split("\nIN THE CHAT\n")[0], flags=re.M)[1:]
    assert [re.match(r"\w+", s).group() for s in sections] == commands()
    for name, section in zip(commands(), sections):
        told = long_options(run(harness.PARLEY, name, "--help")) | {"help", "version"}
        assert offered("parley", name) == told, name
        assert long_options(section) | common == told, name
    assert offered("parley") == long_options(run(harness.PARLEY, "--help")) | {"help", "version"} == common | chat


@pytest.mark.parametrize("program", ["parley", "parleyd"])
def test_configuration_page_and_example_have_every_key_and_the_program_takes_them(tree, scratch, program):
    rows = [line.split("\t") for line in run(os.path.join(harness.BIN, program), "--table").splitlines()]
    keys = {r[2]: (r[4], r[5]) for r in rows if r[0] == "option" and r[6] == "yes"}
    with open(f"{tree}/share/doc/parley/examples/{program}.conf") as f:
        example = f.read()
    assert set(re.findall(r"^#([a-z-]+) = ", example, re.M)) == set(keys)
    page = plain(os.path.join(harness.BIN, "man", program + ".conf.5"))
    assert set(re.findall(r"^       ([a-z-]+) = ", page, re.M)) == set(keys)

    def value(key):
        meta, values = keys[key]
        if meta == "-":
            return "no"
        if values != "-" and values[0] != "@":
            return values.lstrip(",").split()[0]
        return {"N": "7", "ADDRESS": "127.0.0.1:0", "RULE": "#a 7d", "SIZE": "1M", "HOST:PORT": "127.0.0.1:0", "BYTES": "64", "SECONDS": "5", "AGE": "10m", "TIME": "10m", "SEQ": "1", "NICK": "x"}.get(meta, "/x")
    os.makedirs(f"{scratch}/conf/parley", exist_ok=True)
    conf = f"{scratch}/conf/parley/{program}.conf"
    # The other server options would have the check look elsewhere, or need a user of that name.
    text = re.sub(r"^#([a-z-]+) = .*", lambda m: f"{m[1]} = {value(m[1])}", example, flags=re.M)
    with open(conf, "w") as f:
        f.write(text)
    ask = ["lab"] if program == "parley" else ["--check", "--state-dir", f"{scratch}/none"]
    env = dict(os.environ, XDG_CONFIG_HOME=f"{scratch}/conf")
    done = subprocess.run([os.path.join(harness.BIN, program), *ask], env=env, capture_output=True, text=True)
    assert done.returncode != 2, done.stderr
    assert conf not in done.stderr
    with open(conf, "a") as f:
        f.write("no-such-key = 1\n")
    done = subprocess.run([os.path.join(harness.BIN, program), *ask], env=env, capture_output=True, text=True)
    assert done.returncode == 2 and f"{conf}:{text.count(chr(10)) + 1}: unknown key" in done.stderr


def test_environment_wins_over_the_file_and_the_command_line_over_both(server, scratch):
    os.makedirs(f"{scratch}/env/parley", exist_ok=True)
    with open(f"{scratch}/env/parley/parley.conf", "w") as f:
        f.write(f"server = unix:{scratch}/file\n")
    ask = [harness.PARLEY, "rooms"]
    env = dict(server.env(), XDG_CONFIG_HOME=f"{scratch}/env")
    run(*ask, env=env)
    done = subprocess.run([*ask, "-s", f"unix:{scratch}/line"], env=env, capture_output=True, text=True)
    assert done.returncode == 69 and f"{scratch}/line" in done.stderr
    del env["PARLEY_SOCKET"]
    done = subprocess.run(ask, env=env, capture_output=True, text=True)
    assert done.returncode == 69 and f"{scratch}/file" in done.stderr


def test_flags_of_the_servers_file_can_be_no(scratch):
    conf = f"{scratch}/flags.conf"
    for word, code in (("no", 0), ("yes", 0), ("perhaps", 2)):
        with open(conf, "w") as f:
            f.write(f"verbose = {word}\n")
        os.makedirs(f"{scratch}/flags", exist_ok=True)
        done = subprocess.run([harness.PARLEYD, "--config", conf, "--check", "--state-dir", f"{scratch}/flags"],
                              capture_output=True, text=True)
        assert (done.returncode == 2) == (code == 2), done.stderr
    assert "verbose = perhaps: expected yes or no" in done.stderr


# --- man pages --------------------------------------------------------------------------------------------


def test_man_pages_are_without_warnings(tree):
    pages = [p for p in everything_below(f"{tree}/share/man")]
    assert len(pages) == 6
    for page in pages:
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True).stdout
        # scdoc always writes a paragraph after a heading.
        assert [x for x in lint.splitlines() if "skipping paragraph macro" not in x] == []
        if shutil.which("man"):
            done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True,
                                  env=dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="80"))
            assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("page", sorted(PAGES.values()))
def test_examples_of_man_pages_work(tree, scratch, server, page):
    blocks = [text for _, text in documents.blocks(f"docs/man/{page}.scd")]
    assert blocks
    place = tempfile.mkdtemp(dir=scratch)
    env = environment(place, tree, PARLEY_SOCKET=server.socket, USER="alice")
    for block in blocks:
        done = subprocess.run(["bash", "-m", "-u", "-c", "trap 'test $? = 143 || exit 9' ERR\n" + block + "true\n"], env=env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              cwd=place, timeout=harness.DEADLINE)
        if done.returncode and "RLIMIT_MSGQUEUE" in done.stdout:
            pytest.skip("other tests use up RLIMIT_MSGQUEUE")
        assert done.returncode == 0, block + done.stdout


# --- completion in real shells ------------------------------------------------------------------------------


@pytest.fixture
def rooms(server):
    server.ok("send", "#development", "hi")
    return server


def typed(child, line, expect):
    """Type it, press Tab, and wait until the line is what is expected; then throw the line away. With Ctrl-U, not with
    Ctrl-C: a shell that is not done yet with the completion would take that for the end of it, and keep the line."""
    child.send(line + "\t")
    child.expect_exact(expect, timeout=harness.DEADLINE)
    child.send("\x15echo le''t us go on\n")
    child.expect("let us go on\r\n.*READY>", timeout=harness.DEADLINE)


def start_shell(command, setup, env):
    child = pexpect.spawn(command[0], command[1:], env=env, encoding="utf-8", dimensions=(50, 200), timeout=harness.DEADLINE)
    child.send(f"PS1=READ; PS1=${{PS1}}'Y>'; {setup}\n")
    child.expect_exact("READY>")
    child.send("echo le''t us begin\n")
    child.expect("let us begin\r\n.*READY>")
    return child


CASES = [("parley --wait ad", "adaptive"), ("parley sen", "parley send"), ("parley lab mm", "mmap-coherence"),
         ("parley bench lat", "latency"), ("parley -t shm,po", "shm,posixmq"), ("parley tail --exit", "--exit-at-end"),
         ("parleyd --sync al", "always"), ("parley send '#deve", "'#development"), ("parley --wait=ad", "--wait=adaptive")]


def test_bash_completes(tree, rooms, scratch):
    env = environment(scratch, tree, PARLEY_SOCKET=rooms.socket)
    where = f"{tree}/share/bash-completion/completions"
    assert sorted(os.listdir(where)) == sorted(PROGRAMS)
    child = start_shell(["bash", "--norc", "--noprofile", "-i"], f"bind 'set enable-bracketed-paste off'; . {where}/parley", env)
    for line, expect in CASES:
        typed(child, line, expect)
    harness.hang_up(child)


def test_fish_completes(tree, rooms, scratch):
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    env = environment(scratch, tree, PARLEY_SOCKET=rooms.socket)
    script = f"source {tree}/share/fish/vendor_completions.d/parley.fish\n"
    for line, _ in CASES:
        script += f"echo (complete -C {shlex.quote(line)})\n"
    out = run("fish", "--no-config", "-c", script, env=env).splitlines()
    for (line, expect), got in zip(CASES, out):
        assert expect.split(" ")[-1].lstrip("'") in got, line


def test_zsh_completes(tree, rooms, scratch):
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    env = environment(scratch, tree, PARLEY_SOCKET=rooms.socket)
    setup = f"fpath=({tree}/share/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D"
    child = start_shell(["zsh", "-f", "-i"], setup, env)
    for line, expect in CASES:
        typed(child, line, expect)
    harness.hang_up(child)


def test_completion_offers_rooms_and_people_of_the_server(rooms):
    rooms.stream("tail", "-n", "zoe", "#development")
    until(lambda: rooms.members("#development") == 1, "zoe is there")

    def words(*typed):
        return run(harness.PARLEY, "--complete", *typed, env=rooms.env()).split()
    assert words("send", "@z") == ["@zoe"]
    assert words("-s", rooms.address, "send", "#d") == ["#development"]
    assert words("send", "@") == ["@zoe"]
    assert words("@z") == ["@zoe"] and words("#d") == ["#development"]
    assert words("send", "#development", "#d") == []


def test_completion_without_a_server_offers_nothing_and_says_nothing(tree, scratch):
    env = environment(scratch, tree, PARLEY_SOCKET=f"{scratch}/nobody")
    done = subprocess.run([harness.PARLEY, "--complete", "send", "#"], env=env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# --- sockets that are given, and the journal -------------------------------------------------------------------

@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="pg", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def listening(place):
    local, remote = socket.socket(socket.AF_UNIX), socket.socket()
    local.bind(place + "/s")
    remote.bind(("127.0.0.1", 0))
    local.listen()
    remote.listen()
    return local, remote


def test_sockets_of_systemd_are_served_and_stay(place, scratch):
    local, remote = listening(place)
    port = remote.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
    env.update(HOME=place)
    for times in range(2):  # the socket outlives a server, and brings people to the next
        server = give((local, remote), "--workers", "1", "--state-dir", place + "/state", env=env)
        try:
            assert server.stderr.readline() == f"parleyd: ready unix:{place}/s tcp:127.0.0.1:{port}\n"
            run(harness.PARLEY, "send", "-s", f"unix:{place}/s", "#lobby", f"number {times}", env=env)
            said = run(harness.PARLEY, "history", "-q", "-t", "tcp", "-s", f"tcp:127.0.0.1:{port}", "#lobby", env=env)
            assert f"number {times}" in said
            for pid in harness.children(server.pid):
                with open(f"/proc/{pid}/environ", "rb") as f:
                    assert b"LISTEN_" not in f.read()
                assert not [x for x in harness.fds(pid).values() if x == harness.fds(server.pid)[3]]
        finally:
            server.terminate()
            rest = server.communicate(timeout=harness.DEADLINE)[1]
        assert server.returncode == 0, rest
        assert sorted(os.listdir(place)) == ["s", "state"]
    local.close()
    remote.close()


def test_sockets_for_another_process_are_left_alone(place):
    local, remote = listening(place)
    server = give((local, remote), "--workers", "1", "--state-dir", place + "/state", "--socket", place + "/own", pid_off=1)
    assert server.stderr.readline() == f"parleyd: ready unix:{place}/own\n"
    server.terminate()
    server.communicate(timeout=harness.DEADLINE)
    assert server.returncode == 0 and not os.path.exists(place + "/own")


def test_descriptors_that_are_no_listening_sockets_are_refused(place):
    local, remote = listening(place)
    silent = socket.socket()
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with open("/dev/null") as null:
        for wrong, why in ((silent, "not a listening"), (datagrams, "not a listening"), (null, "not a socket"),
                           (local, "second Unix socket")):
            server = give((local, wrong))
            said = server.communicate(timeout=harness.DEADLINE)[1]
            assert server.returncode == 2 and f"descriptor 4 of LISTEN_FDS is {'a ' * (wrong is local)}{why}" in said
    server = give((local,), "--socket", place + "/other")
    said = server.communicate(timeout=harness.DEADLINE)[1]
    assert server.returncode == 2 and f"is {place}/s; leave --socket out" in said


def test_lines_for_the_journal_have_levels(place):
    with open(place + "/log", "w+b") as log:
        st = os.fstat(log.fileno())
        for stream, prefix in ((f"{st.st_dev}:{st.st_ino}", "<3>"), (f"{st.st_dev}:1", "parleyd: "), ("x", "parleyd: ")):
            log.truncate(0)
            log.seek(0)
            subprocess.run([harness.PARLEYD, "--no-such-option"], stderr=log, env=dict(os.environ, JOURNAL_STREAM=stream))
            log.seek(0)
            assert log.read().decode().startswith(prefix + "unknown option")


def test_units_are_accepted_by_systemd(tree, scratch):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    for kind in ("system", "user"):
        where = f"{scratch}/units-{kind}"
        shutil.copytree(f"{tree}/lib/systemd/{kind}", where)
        with open(f"{where}/parleyd.service") as f:
            text = f.read()
        assert "ExecStart=/opt/parley/bin/parleyd\n" in text
        with open(f"{where}/parleyd.service", "w") as f:
            f.write(text.replace("/opt/parley", tree))
        done = subprocess.run(["systemd-analyze", f"--{kind}", "--man=no", "verify", f"{where}/parleyd.socket",
                               f"{where}/parleyd.service"], capture_output=True, text=True,
                              env=dict(os.environ, XDG_RUNTIME_DIR=scratch))
        ours = [x for x in done.stderr.splitlines() if "parley" in x]
        assert ours == [], done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
def test_what_the_systems_unit_allows_is_enough_for_other_users(place, objects):
    """A server that is not root, with the capabilities of the unit and a runtime directory of the unit's mode: clients of another
    user have every transport, and nothing is left."""
    with open(f"{PACKAGING}/systemd/parleyd.system.service") as f:
        unit = dict(re.findall(r"^(\w+)=(.*)$", f.read(), re.M))
    assert unit["RuntimeDirectory"] == "parley/parley.sock.d"  # SOCKET.d, where the socket's unit has the socket
    caps = "-all," + ",".join("+" + c.lower()[4:] for c in unit["AmbientCapabilities"].split())
    nobody, other = 65534, 65533
    os.chmod(place, 0o755)
    for program in (harness.PARLEY, harness.PARLEYD):
        shutil.copy(program, place)
    os.makedirs(f"{place}/run/s.d")
    os.mkdir(f"{place}/state")
    os.chmod(f"{place}/run/s.d", int(unit["RuntimeDirectoryMode"], 8))
    for path in ("run", "run/s.d", "state"):
        os.chown(f"{place}/{path}", nobody, nobody)

    def user(uid, *more):
        return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *more]
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    server = subprocess.Popen(user(nobody, f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}") +
                              [f"{place}/parleyd", "--socket", f"{place}/run/s", "--state-dir", f"{place}/state"],
                              env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr.readline().startswith("parleyd: ready")
        for t in harness.TRANSPORTS[:-1]:
            run(*user(other), f"{place}/parley", "send", "-t", t, "-s", f"unix:{place}/run/s", "#lobby", f"by {t}", env=env)
    finally:
        server.terminate()
        rest = server.communicate(timeout=harness.DEADLINE)[1]
    assert (server.returncode, rest) == (0, "")
    assert os.listdir(f"{place}/run") == [] and objects.posix() == [] and objects.sysv([server.pid]) == []


# --- the Debian package --------------------------------------------------------------------------------------------


def test_debian_package_is_accepted_and_works(tree, scratch):
    *libraries, deb = make("deb-package").split()  # what `make deb` does when it has all it needs
    (name,) = re.findall(r"^make deb +# build/(deb/\S+\.deb),", documents.text_of("README.md"), re.M)
    assert re.fullmatch(".*/" + re.escape(name).replace("VERSION", "[0-9.]+").replace("ARCH", "[a-z0-9]+"), deb)
    assert [os.path.basename(x).split("_")[0] for x in libraries] == ["libparley0", "libparley-dev"]
    done = subprocess.run(["lintian", "--fail-on", "error,warning", deb, *libraries], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr
    root = f"{scratch}/root"
    run("dpkg-deb", "-x", deb, root)
    env = environment(scratch, root + "/usr")
    assert "All as expected" in run(f"{root}/usr/bin/parley", "lab", "mtype", env=env)
    assert run("dpkg-deb", "-f", deb, "Version").strip() in run(f"{root}/usr/bin/parleyd", "--version")
    if os.geteuid() == 0:
        private = f"{scratch}/dpkg"
        os.makedirs(f"{private}/var/lib/dpkg/updates")
        os.makedirs(f"{private}/var/lib/dpkg/info")
        open(f"{private}/var/lib/dpkg/status", "w").close()
        dpkg = ["dpkg", f"--root={private}", "--force-depends", "--force-script-chrootless"]
        run(*dpkg, "-i", deb, *libraries)
        assert os.access(f"{private}/usr/bin/parleyd", os.X_OK)
        (shared,) = [f for f in everything_below(private) if f.endswith("libparley.so.0")]
        run("cc", "-o", f"{scratch}/say", *[f for f in everything_below(private) if f.endswith("/examples/say.c")],
            f"-I{private}/usr/include", shared.removesuffix(".0"), "-Wl,-rpath-link," + os.path.dirname(shared))
        run(*dpkg, "--purge", "parley", "libparley-dev", "libparley0")
        assert [f for f in everything_below(private) if "/var/lib/dpkg" not in f and "/var/log" not in f] == []
