"""Resuming: after the death of a sender, a worker or the hub everything is there once, in order."""

import os
import signal

import pytest

import parleywire as wire
from conftest import LONG
from harness import until


class Paused:
    """The process stands still inside the block, so that what is sent to it meanwhile is found at once."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def test_a_join_in_the_turn_of_a_post_delays_nobody(make_server):
    """A newcomer's cursor must not make the news of that turn look old to those who are there."""
    server = make_server().start("--workers", "1")
    with wire.Client.connect(server.socket, "early") as early, wire.Client.connect(server.socket, "a") as a:
        number = a.join("#lobby", flags=wire.QUIET).room
        for i in range(10):
            late = wire.Client.connect(server.socket, "late")
            with Paused(server.pid):
                a.post(number, f"post {i}")
                late.ask("JOIN", flags=wire.QUIET, room="#lobby", start=wire.FROM_NOW, arg=0)
                early.ask("PING", stamp=i)  # and something from a connection that was there before `a`
            assert a.until("MESSAGE").text == f"post {i}"
            late.close()
