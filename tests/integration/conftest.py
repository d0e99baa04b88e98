"""Fixtures of the integration tests beside those of all."""

import os
import random
import shutil
import socket
import subprocess

import pytest

from terminal import Chats


@pytest.fixture
def free_port():
    """A TCP port of the loopback interface that stays free for this test: none of those that the kernel gives to
    whoever connects, and no other test run has it. The lock is a name in the abstract namespace, which goes with
    its socket."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = int(f.read().split()[0])
    for port in random.sample(range(max(end - 12000, 1024), end), 1000):
        with socket.socket(socket.AF_UNIX) as lock, socket.socket() as s:
            try:
                lock.bind(f"\0parley-test-port-{port}")
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as parleyd does
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            s.close()
            yield port
            return
    pytest.fail("no free port")


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
