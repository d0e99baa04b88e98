"""Every block of commands in the documents for users is typed by a test: here those of installing, of other hosts and of
the page, which need more than a shell; and a list of who types the rest, that a new block is missing from."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request

import pexpect
import pytest

import harness
from documents import blocks, commands, text_of
from harness import until
from installed import give, make, run

HERE = os.path.dirname(__file__)

# Document, heading: the test that types the blocks there; None for what is shown and not typed.
TYPED_BY = {
    ("README.md", "parley"): None,  # two pictures: test_trace.py and test_chat_screen.py have the real ones
    ("README.md", "Two commands"): "test_two_commands_are_targets_of_make",
    ("README.md", "Using it"): "test_commands_of_the_readme_work",
    ("README.md", "In scripts"): "test_commands_of_the_readme_work",
    ("README.md", "Installing"): "test_commands_of_the_readme_about_installing",
    ("README.md", "Seeing the trade-offs"): "test_commands_of_the_readme_about_trade_offs",
    ("README.md", "Layout"): "test_folders_of_the_readme_are_there",
    ("docs/remote.md", "Setting it up"): "test_what_the_page_about_other_hosts_says_to_type",
    ("docs/remote.md", "Accounts"): "test_what_the_page_about_other_hosts_says_to_type",
    ("docs/web.md", "The page"): "test_the_page_is_announced_as_its_document_shows",
    ("docs/man/parley.1.scd", "Themes"): "test_examples_of_man_pages_work",
    ("docs/man/parley.1.scd", "EXAMPLES"): "test_examples_of_man_pages_work",
    ("docs/man/parleyd.8.scd", "EXAMPLES"): "test_examples_of_man_pages_work",
    ("docs/man/parley-web.8.scd", "EXAMPLES"): "test_examples_of_man_pages_work",
    ("docs/man/parley.3.scd", "EXAMPLES"): "test_example_of_the_man_page_builds_and_runs",
}
DOCUMENTS = ["README.md", "docs/remote.md", "docs/web.md", "docs/comparison.md",
             *(f"docs/man/{f}" for f in sorted(os.listdir(os.path.join(harness.ROOT, "docs", "man"))) if f.endswith(".scd"))]


@pytest.fixture
def scratch():
    path = tempfile.mkdtemp(prefix="pd", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(scratch, **more):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
    keep.update(HOME=scratch, XDG_RUNTIME_DIR=scratch, USER="alice", NO_COLOR="1", LC_ALL="C.UTF-8", TERM="xterm",
                PATH=harness.BIN + ":/usr/bin:/bin")
    return {**keep, **more}


@contextlib.contextmanager
def running(server):
    """Its first line; at the end SIGTERM, and 0 with nothing more to say than it did."""
    try:
        yield server.stderr.readline()
    finally:
        server.terminate()
        said = server.communicate(timeout=harness.DEADLINE)[1]
    assert server.returncode == 0, said


# --- who types what ---------------------------------------------------------------------------------------


def test_every_block_of_the_documents_has_a_test_that_types_it():
    there = {(path, heading) for path in DOCUMENTS for heading, _ in blocks(path)}
    assert there == set(TYPED_BY)
    tests = ""
    for name in os.listdir(HERE):
        if name.endswith(".py"):
            tests += text_of(os.path.join(HERE, name))
    for test in filter(None, TYPED_BY.values()):
        assert f"def {test}(" in tests, test


def test_two_commands_are_targets_of_make():
    """What they do is tested by test_demo.py, and by whoever runs this."""
    (block,) = [b for heading, b in blocks("README.md") if heading == "Two commands"]
    targets = re.findall(r"^  ([a-z-]+) ", run("make", "-s", "-C", harness.ROOT, "help"), re.M)
    asked = [c.split() for c in commands(block)]
    assert [c[0] for c in asked] == ["make", "make"] and {c[1] for c in asked} <= set(targets)


def test_folders_of_the_readme_are_there():
    (block,) = [b for heading, b in blocks("README.md") if heading == "Layout"]
    folders = re.findall(r"^(\S+/) ", block, re.M)
    assert len(folders) >= 9
    for folder in folders:
        assert os.path.isdir(os.path.join(harness.ROOT, folder)), folder


# --- installing -------------------------------------------------------------------------------------------


def settings_of(unit):
    with open(unit) as f:
        return dict(re.findall(r"^(\w+)=(.*)$", f.read(), re.M))


def listen(path, unit):
    """The socket that systemd makes for it."""
    before = os.umask(0)
    try:
        os.makedirs(os.path.dirname(path), mode=int(unit["DirectoryMode"], 8), exist_ok=True)
        door = socket.socket(socket.AF_UNIX)
        door.bind(path)
        os.chmod(path, int(unit["SocketMode"], 8))
    finally:
        os.umask(before)
    door.listen()
    return door


def enable_now(command, stage, scratch):
    """`systemctl [--user] enable --now UNIT`: enabled by systemctl in the stage, and started as the units say. The server, and
    where people find it."""
    kind = "user" if "--user" in command else "system"
    if shutil.which("systemctl"):
        where = ["--global" if word == "--user" else word for word in command.split()[1:] if word != "--now"]
        run("systemctl", f"--root={stage}", *where)
        assert os.path.islink(f"{stage}/etc/systemd/{kind}/sockets.target.wants/{command.split()[-1]}")
    door = settings_of(f"{stage}/usr/local/lib/systemd/{kind}/parleyd.socket")
    service = settings_of(f"{stage}/usr/local/lib/systemd/{kind}/parleyd.service")
    home = os.path.join(scratch, kind)
    path = door["ListenStream"].replace("%t", home) if kind == "user" else home + door["ListenStream"]
    env = environment(home)
    for name, value in (word.split("=") for word in service.get("Environment", "").split()):
        env[name] = home + value
    with listen(path, door) as listening:
        return give([listening], env=env, program=stage + service["ExecStart"]), path


@pytest.mark.xdist_group("install")
def test_commands_of_the_readme_about_installing(scratch):
    (block,) = [b for heading, b in blocks("README.md") if heading == "Installing"]
    stage = f"{scratch}/stage"
    to_make, to_systemctl = [[c for c in commands(block) if c.startswith(word)] for word in ("make ", "systemctl ")]
    assert [c.split()[1:] for c in to_make] == [["install"], ["deb"]] and len(to_systemctl) == 2
    make("install", f"DESTDIR={stage}")  # `make deb` is for test_debian_package_is_accepted_and_works
    (conf,) = re.findall(r"put `(server = unix:\S+)` in `/etc/parley/parley\.conf`", text_of("README.md"))
    for command in to_systemctl:
        server, path = enable_now(command, stage, scratch)
        home = os.path.join(scratch, "user" if "--user" in command else "system")
        with running(server) as ready:
            assert ready == f"parleyd: ready unix:{path}\n"
            if "--user" not in command:
                os.makedirs(f"{home}/.config/parley")
                with open(f"{home}/.config/parley/parley.conf", "w") as f:
                    f.write(conf.replace("unix:", "unix:" + home) + "\n")
            env = environment(home)
            run(f"{stage}/usr/local/bin/parley", "send", "#lobby", command, env=env)
            assert command in run(f"{stage}/usr/local/bin/parley", "history", "#lobby", env=env)


# --- other hosts ------------------------------------------------------------------------------------------


def takes_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::", 0))
        return True
    except OSError:
        return False


def on_a_terminal(command, env, answers):
    """Typed in a shell on a terminal; what is asked is answered."""
    child = pexpect.spawn("bash", ["-c", command], env=env, encoding="utf-8", timeout=harness.DEADLINE, dimensions=(24, 200))
    child.delaybeforesend = None
    for _ in answers:
        which = child.expect([question for question, _ in answers])
        child.sendline(answers[which][1])
    return child


def test_what_the_page_about_other_hosts_says_to_type(scratch):
    setting_up = [b for heading, b in blocks("docs/remote.md") if heading == "Setting it up"]
    (credentials,) = [b for heading, b in blocks("docs/remote.md") if heading == "Accounts"]
    on_the_server, chat, script = setting_up
    serve, account = commands(on_the_server)
    remark = re.search(r"# IPv6: (tls:\S+);", on_the_server)[1]
    assert serve.startswith("parleyd ") and account.startswith("parleyd account add ")
    serve = serve.replace(":7443", ":0") + (" --listen " + remark.replace(":7443", ":0") if takes_ipv6() else "")
    env = environment(scratch)
    server = subprocess.Popen(["bash", "-c", "exec " + serve], env=env, stderr=subprocess.PIPE, text=True)
    with running(server) as ready:
        port, print_ = re.search(r" tls:0\.0\.0\.0:(\d+).* (SHA256:[0-9a-f]{64})\n", ready).groups()
        assert (" tls:[::]:" in ready) == takes_ipv6()
        token = run(*account.split(), env=env).strip()
        assert re.fullmatch(r"(\w{4}-)+\w{4}", token)
        there = f"127.0.0.1:{port}"

        def here(text):
            text = text.replace("chat.example.org:7443", there).replace("SHA256:…", print_)
            text = re.sub(r"\b\w{4}-\w{4}-\w{4}-…", token, text)
            assert "…" not in text
            return text
        alice = environment(f"{scratch}/alice")
        os.makedirs(f"{scratch}/alice/.config/parley")
        (say,) = commands(here(chat))
        child = on_a_terminal(say, alice, [("of alice at .*: ", token), (print_ + r"(?s:.*)Is it the same", "yes")])
        child.expect("here")
        child.sendline("hello from afar")
        child.expect("<alice> hello from afar")
        child.sendline("/quit")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        with open(f"{scratch}/alice/.config/parley/known-servers") as f:
            assert f"{there} {print_}\n" in f.read()

        run("bash", "-e", "-c", here(script), env=alice)
        with open(f"{scratch}/alice/.config/parley/credentials", "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(here(credentials))
        assert "<alice> built" in run(harness.PARLEY, "history", "-s", f"tls:{there}", "#ci", env=alice)

        # "… in parley.conf save the typing"
        keys = re.findall(r"`((?:server|account|tls-fingerprint) = \S+)`", text_of("docs/remote.md"))
        assert len(keys) == 3
        with open(f"{scratch}/alice/.config/parley/parley.conf", "w") as f:
            f.write("\n".join(keys).replace("tls:…", f"tls:{there}").replace("= …", f"= {print_}") + "\n")
        assert "<alice> built" in run(harness.PARLEY, "history", "#ci", env=alice)


# --- the page ---------------------------------------------------------------------------------------------


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=harness.DEADLINE) as answer:
            return answer.read() == b"ok\n"
    except urllib.error.HTTPError:  # 503 until then
        return False


def test_the_page_is_announced_as_its_document_shows(scratch):
    """A command, and the lines that it prints: the same but for the directory, the port and the token."""
    (block,) = [b for _, b in blocks("docs/web.md")]
    command, *shown = block.splitlines()
    server = subprocess.Popen(["bash", "-c", "exec " + command.replace(":8080", ":0")], env=environment(scratch),
                              stderr=subprocess.PIPE, text=True)
    with running(server) as ready:
        lines = [ready, *(server.stderr.readline() for _ in shown[1:])]
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", ready)[1]
        for line, like in zip(lines, shown):
            like = re.escape(like.replace("/run/user/1000", scratch).replace(":8080", f":{port}"))
            assert re.fullmatch(like.replace(re.escape("k7fm-9qxd-p2wt"), r"\w{4}-\w{4}-\w{4}") + "\n", line), line
        until(lambda: healthy(port), "the page has its server")
