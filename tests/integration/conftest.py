"""Fixtures of the integration tests beside those of all."""

import os
import shutil
import subprocess

import pytest

import others
from harness import quiet_port
from terminal import Chats
from webwire import Site


@pytest.fixture
def free_port():
    return quiet_port()


@pytest.fixture
def people(server):
    """people(uid, nick): a session of another user, driven by a process of theirs."""
    where = others.programs(server)
    started = []

    def begin(uid, nick, room="#dev"):
        started.append(others.Other(server, where, uid, nick, room))
        return started[-1]
    yield begin
    for other in started:
        other.close()


@pytest.fixture
def chats(server):
    c = Chats(server)
    yield c
    c.close()


@pytest.fixture
def tmux(server):
    if not shutil.which("tmux"):
        pytest.skip("no tmux")
    name = ["tmux", "-S", os.path.join(server.dir, "tmux"), "-f", "/dev/null"]

    def run(*args):
        env = server.env(XDG_STATE_HOME=os.path.join(server.dir, "home"), INPUTRC="/dev/null", TERM="xterm-256color")
        env.pop("TMUX", None)
        done = subprocess.run([*name, *args], env=env, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()
    yield run
    subprocess.run([*name, "kill-server"], capture_output=True)


@pytest.fixture
def site(make_server):
    """The page of a server with two workers."""
    return Site(make_server().start("--workers", "2", "--place", "workers", "--http", "127.0.0.1:0"))
