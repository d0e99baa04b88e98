"""The first hour of somebody who has only the package: no server yet, then one of their own, a second user of the
host, and a third by TLS. Nothing of the source tree is used."""

import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

import harness
from harness import until
from installed import make, run
from terminal import Terminal

pytestmark = [pytest.mark.xdist_group("install"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")]

ANN, BEN, FAR = 65531, 65532, 65533


class Account:
    """A user without a name, with a home of their own."""

    def __init__(self, place, uid, nick):
        self.uid, self.home = uid, f"{place}/{nick}"
        os.mkdir(self.home, 0o700)
        os.chown(self.home, uid, uid)
        self.env = {"PATH": f"{place}/root/usr/bin:/usr/bin:/bin", "HOME": self.home, "USER": nick, "LC_ALL": "C.UTF-8",
                    "XDG_RUNTIME_DIR": self.home, "TERM": "xterm"}

    def command(self, *words):
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *words]

    def run(self, *words, code=0, env=None):
        done = subprocess.run(self.command(*words), cwd=self.home, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=harness.DEADLINE)
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def place():
    path = tempfile.mkdtemp(prefix="pn", dir="/tmp")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def package(place):
    *_, deb = make("deb-package").split()
    run("dpkg-deb", "-x", deb, f"{place}/root")
    return f"{place}/root"


def test_first_hour_with_the_package(place, package):
    ann, ben, far = Account(place, ANN, "ann"), Account(place, BEN, "ben"), Account(place, FAR, "far")
    assert "Start one: parleyd" in ann.run("parley", code=69)
    assert "Start one: parleyd" in ann.run("parley", "doctor", code=1)

    socket = f"{place}/ann-door"
    os.mkdir(socket, 0o755)
    os.chown(socket, ANN, ANN)
    socket += "/s"
    server = subprocess.Popen(ann.command("parleyd", "--socket", socket, "--listen", "tls:127.0.0.1:0"), cwd=ann.home, env=ann.env,
                              stderr=subprocess.PIPE, text=True)
    try:
        ready = server.stderr.readline()
        said = re.fullmatch(r"parleyd: ready unix:(\S+) (tls:\S+) (SHA256:[0-9a-f]{64})\n", ready)
        assert said and said.group(1) == socket, ready
        here, tls, print_of_key = [f"unix:{socket}", *said.groups()[1:]]

        ann.run("parley", "send", "-s", here, "#lobby", "from ann")
        ben.run("parley", "send", "-s", here, "#lobby", "from ben")
        refused = ben.run("parley", "send", "-s", here, "-n", "ann", "#lobby", "not me", code=77)
        assert "ann belongs to somebody else" in refused and "Free: ann2" in refused

        token = re.search(r"^(\w{4}-)+\w{4}$", ann.run("parleyd", "account", "add", "far"), re.M).group()
        unknown = far.run("parley", "send", "-s", tls, "--account", "far", "#lobby", "x", code=77, env={"PARLEY_TOKEN": token})
        assert print_of_key in unknown
        by_tls = ["-s", tls, "--account", "far", "--tls-fingerprint", print_of_key]
        far.run("parley", "send", *by_tls, "#lobby", "from far", env={"PARLEY_TOKEN": token})
        with open(f"{far.home}/report.txt", "w") as f:
            f.write("a report\n")
        far.run("parley", "file", "put", *by_tls, "#lobby", "report.txt", env={"PARLEY_TOKEN": token})

        ben.run("parley", "file", "get", "-s", here, "#lobby", "report.txt")
        with open(f"{ben.home}/report.txt") as f:
            assert f.read() == "a report\n"
        history = ben.run("parley", "history", "-s", here, "#lobby")
        assert re.findall(r"<(\w+)> from (\w+)", history) == [(n, n) for n in ("ann", "ben", "far")]

        chat = Terminal(ben.command("parley", "-s", here), env=ben.env)
        chat.sees("from far")
        chat.enter("in the chat")
        until(lambda: "<ben> in the chat" in ann.run("parley", "history", "-s", here, "#lobby"), "what ben typed")
        chat.enter("/quit")
        assert chat.wait() == 0
    finally:
        server.send_signal(signal.SIGTERM)
        rest = server.communicate(timeout=harness.DEADLINE)[1]
    assert (server.returncode, rest) == (0, "")
    assert os.listdir(os.path.dirname(socket)) == []
