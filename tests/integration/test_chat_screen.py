"""The screen: sizes, scrolling back, several rooms, colours."""

import os
import re
import shutil
import subprocess
import threading

import pytest

from harness import PARLEY, until
from terminal import CTRL_U, DEADLINE, PROMPT, heard


DRAFT = "the quick brown fox jumps over the lazy dog and then some"


def test_resize_of_a_terminal_that_cuts(server, chats):
    a = chats.chat("alice")
    chats.say("bob", *[f"line {i}" for i in range(5)])
    a.sees("line 4")
    a.type(DRAFT)
    a.resize(20)
    rows = ["#lobby> the quick br", "own fox jumps over t", "he lazy dog and then", " some"]
    a.prompt("\n".join(rows))
    chats.say("bob", "hi")
    a.sees("<bob> hi")
    a.prompt("\n".join(rows))
    a.resize(80)
    a.prompt("#lobby> " + DRAFT)
    a.until(lambda: a.text().count("jumps") == 1, "no debris")
    shown = [line for line in a.lines() if line.startswith(("14", "0", "1", "2"))]
    assert [line[-6:] for line in shown[:5]] == [f"line {i}" for i in range(5)]
    a.send("\r")
    heard(server, DRAFT)


def test_resize_of_a_terminal_that_wraps_anew(server, chats, tmux):
    tmux("new-session", "-d", "-x", "80", "-y", "24", f"{PARLEY} -n alice -s {server.address}")

    def screen():
        return tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def draft_is(rows):
        until(lambda: screen()[-len(rows):] == rows, f"{rows}; the screen is {screen()}", DEADLINE)
    until(lambda: any("/help" in row for row in screen()), "status line")
    chats.say("bob", *[f"line {i} has some words in it that will wrap" for i in range(8)])
    until(lambda: "line 7" in "".join(screen()) and "7 has" in "".join(screen()), "messages")
    before = screen()[:-1]
    assert before[-1].startswith("── [1:#lobby]")
    tmux("send-keys", "-l", DRAFT)
    draft_is(["#lobby> " + DRAFT])
    output = os.path.join(server.dir, "output")
    tmux("pipe-pane", f"cat >{output}")

    def redraws():
        with open(output, "rb") as f:
            return f.read().count(b"\033[1;1H\033[K")
    until(lambda: os.path.exists(output), "tmux copies the output")
    for width in (20, 80, 13, 65, 66, 30, 33, 80):  # the line is 65 long
        done = redraws()
        tmux("resize-window", "-x", str(width), "-y", "24")
        until(lambda: redraws() > done, "drawn anew", DEADLINE)  # not only wrapped by tmux
        whole = "#lobby> " + DRAFT
        draft_is([whole[i:i + width].rstrip() for i in range(0, len(whole), width)])
        until(lambda: len(screen()) >= 23 and sum(row.startswith("── [1") for row in screen()) == 1,
              f"one bar, no debris at {width}: {screen()}", DEADLINE / 3)
    until(lambda: screen()[:-1] == before, f"what was above is as before: {screen()}", DEADLINE)
    tmux("send-keys", "Enter")
    heard(server, DRAFT)


