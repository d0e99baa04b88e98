"""docs/lesson.md and README.md: what they tell people to type is typed here."""

import os
import re
import shutil
import subprocess
import tempfile

import pytest

import harness
from harness import PARLEY, until

LESSON = os.path.join(harness.ROOT, "docs", "lesson.md")
README = os.path.join(harness.ROOT, "README.md")


@pytest.fixture
def scratch():
    path = tempfile.mkdtemp(prefix="pw", dir="/tmp")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(scratch):
    """The socket, the state and all temporary files of this shell lie in one directory. The programs are those
    under test, wherever the text says build/release."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PARLEY_"))}
    env.update(XDG_RUNTIME_DIR=scratch, TMPDIR=scratch, HOME=scratch, USER="student", LC_ALL="C.UTF-8", NO_COLOR="1",
               PATH=harness.BIN + ":" + os.environ["PATH"])
    return env


def text_of(path):
    with open(path) as f:
        return f.read()


def blocks(text):
    return re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)


def run_shell(script, scratch):
    return subprocess.run(["bash", "-m", "-e", "-u", "-o", "pipefail", "-c", script], cwd=harness.ROOT,
                          env=environment(scratch), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=harness.DEADLINE * 5)


def queues_used_up(output):
    """POSIX queues are counted for a user: what other tests take may be missing here."""
    return "RLIMIT_MSGQUEUE" in output and ("used up" in output or "take up" in output)


def test_every_command_of_the_lesson_works_in_order(scratch, objects):
    """One shell, block after block. `make demo` has tests of its own, and would build here: its script is run."""
    script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
    for i, block in enumerate(blocks(text_of(LESSON))):
        block = re.sub(r"^make demo$", f"BIN='{harness.BIN}' tests/support/demo.sh", block, flags=re.M)
        block = block.replace("$PWD/build/release", harness.BIN)
        script += f"echo '=== block {i}'\n{block}"
    script += "echo '=== end'\n"
    done = run_shell(script, scratch)
    if done.returncode != 0 and queues_used_up(done.stdout):
        pytest.skip("other tests use up RLIMIT_MSGQUEUE")
    assert done.returncode == 0, done.stdout
    assert "=== end" in done.stdout
    shown = done.stdout
    assert len(re.findall(r"All as expected\. The code: client/lab/", shown)) >= 11
    assert "NOT as expected" not in shown
    for said in ("which way did this go?", "uplink", "bob", "carol", "wake-ups/msg"):
        assert said in shown, said
    left = [f for f in os.listdir(scratch) if f.startswith("parley-private")]
    assert left == []
    until(lambda: not [p for p in shell_children(scratch)], "everything that the lesson started has ended")
    if objects.private:
        assert objects.sysv(()) == [] and objects.posix() == []


def shell_children(scratch):
    """Processes that live in this directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if f"XDG_RUNTIME_DIR={scratch}".encode() in f.read() and harness.alive(pid):
                    found.append(pid)
        except OSError:
            pass
    return found


def test_lesson_has_every_lab():
    names = [line.split()[0] for line in
             subprocess.run([PARLEY, "lab"], capture_output=True, text=True).stdout.splitlines() if line.startswith("  ")]
    commands = "".join(blocks(text_of(LESSON)))
    assert len(names) >= 12
    for name in names:
        assert re.search(rf"^parley lab {name}$", commands, re.M), name


def test_pages_of_mechanisms_name_labs_that_exist():
    names = subprocess.run([PARLEY, "lab"], capture_output=True, text=True).stdout
    pages = os.path.join(harness.ROOT, "docs", "transports")
    for page in sorted(os.listdir(pages)):
        text = text_of(os.path.join(pages, page))
        labs = re.findall(r"parley lab ([a-z-]+)", text)
        assert labs, f"{page} names no lab"
        for lab in labs:
            assert re.search(rf"^  {lab} ", names, re.M), f"{page}: {lab}"


@pytest.mark.parametrize("path", ["README.md", "docs/lesson.md", "docs/transports/pipe.md", "docs/transports/fifo.md",
                                  "docs/transports/posixmq.md", "docs/transports/sysvmq.md", "docs/transports/shm.md",
                                  "docs/transports/mmap.md", "docs/transports/unix.md", "docs/transports/tcp.md"])
def test_links_lead_somewhere(path):
    folder = os.path.dirname(os.path.join(harness.ROOT, path))
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(os.path.join(harness.ROOT, path))):
        if "://" not in link:
            assert os.path.exists(os.path.join(folder, link)), link


def test_headings_of_the_lesson_are_where_its_table_points():
    text = text_of(LESSON)
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.*)$", text, re.M)}
    wanted = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(wanted) == 7
    for anchor in wanted:
        assert anchor in anchors, anchor


def test_commands_of_the_readme_about_trade_offs(scratch):
    text = text_of(README)
    section = re.search(r"^## Seeing the trade-offs\n(.*?)^## ", text, re.M | re.S).group(1)
    commands = [c.split("#")[0].strip() for c in re.findall(r"^(parley .*)$", section, re.M)]
    assert any(c.startswith("parley race") for c in commands) and any(c.startswith("parley lab ") for c in commands)
    for command in commands:
        done = run_shell(command, scratch)
        if queues_used_up(done.stdout):
            continue
        assert done.returncode == 0, f"{command}\n{done.stdout}"


def commands_under(heading):
    section = re.search(rf"^## {heading}\n(.*?)^## ", text_of(README), re.M | re.S).group(1)
    lines = re.search(r"^```\n(.*?)^```$", section, re.M | re.S).group(1).splitlines()
    return [re.sub(r"  +#.*$", "", line) for line in lines]


# Commands that run on, and those that wait for somebody: what to say to them until this is printed or said in the room.
POKES = {
    "parley tail --json '#ci'": ("anybody", "hello", '"text":"hello"'),
    "parley tail --json --from bob -C 1 -W 10 '#ci'": ("bob", "yes", '"text":"yes"'),
    "parley bot --prefix '!uptime' '#ci' -- uptime": ("anybody", "!uptime", "load average"),
}


def run_and_poke(server, command, env, cwd):
    nick, text, wanted = POKES[command]
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(["bash", "-c", "exec " + command], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out)

        def works():
            server.ok("send", "-n", nick, "#ci", text)
            out.seek(0)
            return wanted in out.read().decode() or wanted in server.run("history", "#ci").stdout
        try:
            until(works, command)
        finally:
            p.terminate()
            p.wait(harness.DEADLINE)


@pytest.mark.parametrize("heading", ["Using it", "In scripts"])
def test_commands_of_the_readme_work(server, scratch, heading):
    env = environment(scratch)
    env["PARLEY_SOCKET"] = server.socket
    for name in ("report.pdf", "report.txt"):
        with open(os.path.join(scratch, name), "w", encoding="ascii") as f:
            f.write(name + "\n")
    fetched = os.path.join(scratch, "fetched")
    os.mkdir(fetched)
    commands = commands_under(heading)
    assert len(commands) >= 6
    server.ok("send", "#ci", "the work is done")
    for command in commands:
        if command == "parleyd":  # that is the server here
            continue
        if command in POKES:
            run_and_poke(server, command, env, scratch)
            continue
        done = subprocess.run(["bash", "-c", command.replace("parley top", "parley top --once")], env=env,
                              cwd=fetched if " get " in command else scratch, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=harness.DEADLINE)
        if "queues are used up" in done.stderr or "RLIMIT_MSGQUEUE" in done.stderr:
            continue
        assert done.returncode == 0, command + "\n" + done.stdout + done.stderr
