"""The screen: sizes, scrolling back, several rooms, colours."""

import os
import re
import signal
import threading
import time

import pytest

import parleywire as wire
from harness import PARLEY, settled, until
from terminal import DEADLINE, Terminal, heard


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
        until(lambda: screen()[-len(rows):] == rows, lambda: f"{rows}; the screen is {screen()}", DEADLINE)
    until(lambda: any("/help" in row for row in screen()), "status line")
    chats.say("bob", *[f"line {i} has some words in it that will wrap" for i in range(8)])
    until(lambda: "line 7" in "".join(screen()) and "7 has" in "".join(screen()), "messages")
    before = settled(screen)[:-1]
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
              lambda: f"one bar, no debris at {width}: {screen()}", DEADLINE)
    until(lambda: screen()[:-1] == before, lambda: f"what was above is as before: {screen()}", DEADLINE)
    tmux("send-keys", "Enter")
    heard(server, DRAFT)


def rows_of(a, pattern):
    """What the rows of the room say, as far as they match."""
    return [m.group(1) for m in (re.search(pattern, line) for line in a.lines()) if m]


PAGE_UP, PAGE_DOWN, CTRL_END = "\033[5~", "\033[6~", "\033[1;5F"


def test_scrolls_back_to_the_beginning_of_ten_thousand_lines(server, chats):
    chats.say("bob", *[f"old {i:05}" for i in range(10000)])
    a = chats.chat("alice", "-t", "unix", rows=200)
    a.sees("old 09999")
    a.type("a draft")
    seen = set(rows_of(a, r"<bob> old (\d+)$"))

    def without_gaps():
        shown = [int(n) for n in rows_of(a, r"<bob> old (\d+)$")]
        return shown and shown == list(range(shown[0], shown[0] + len(shown)))
    while "the beginning of #lobby" not in a.text():
        first = a.lines()[:3]
        a.send(PAGE_UP)
        a.until(lambda: a.lines()[:3] != first and "fetching" not in a.text(), "an older page")
        a.until(without_gaps, "lines without gaps")
        seen.update(rows_of(a, r"<bob> old (\d+)$"))
    assert seen == {f"{i:05}" for i in range(10000)}
    a.prompt("#lobby> a draft")
    a.send(PAGE_DOWN)
    a.until(lambda: "the beginning" not in a.text(), "further down")
    a.send(CTRL_END)
    a.sees("old 09999")
    assert "below" not in a.text()


def test_scrolling_back_shows_what_was_changed_later_as_it_reads_now(server, chats):
    """Also if the change stands on a page that was shown before: nothing deleted comes back."""
    people = [wire.Client.connect(server.socket, nick) for nick in ("bob", "carol")]
    rooms = [person.join("#lobby").room for person in people]
    for person, room, text in zip(people, rooms, ("a tpyo", "my password")):
        n = person.post(room, text)
        person.until("MESSAGE", producer=person.welcome.producer, counter=n)
    chats.say("dora", *[f"old {i}" for i in range(500)])  # more than a page of them
    for person, room, change, more in zip(people, rooms, ("EDIT", "DELETE"), ({"text": "a typo"}, {})):
        person.send(wire.encode(change, at=room, counter=2, target=0, **more))
        person.until("EDITED", "DELETED", producer=person.welcome.producer)
        person.close()
    chats.say("dora", *[f"new {i}" for i in range(60)])
    a = chats.chat("alice", "-t", "unix", rows=100)
    a.sees("new 59")
    while "the beginning of #lobby" not in a.text():
        first = a.lines()[:3]
        a.send(PAGE_UP)
        a.until(lambda: a.lines()[:3] != first and "fetching" not in a.text(), "an older page")
        assert "my password" not in a.text() and "tpyo" not in a.text()
    a.sees("<bob> a typo (edited)")


def test_new_lines_do_not_move_what_is_being_read(server, chats):
    chats.say("bob", *[f"old {i}" for i in range(60)])
    a = chats.chat("alice", "-t", "unix")
    a.sees("old 59")
    a.send(PAGE_UP)
    a.until(lambda: "old 30" in a.text() and "fetching" not in a.text(), "a page back")
    before = a.lines()[:20]
    chats.say("bob", *[f"new {i}" for i in range(7)])
    a.until(lambda: re.search(r"(\d+) below · PageDown", a.text()), "how many are below")
    a.until(lambda: rows_of(a, r"(\d+) below") == [str(59 - int(rows_of(a, r"old (\d+)")[-1]) + 1 + 7)],
            "seven more and the rule")
    assert a.lines()[:20] == before
    a.send(PAGE_DOWN + PAGE_DOWN)
    a.sees("new 6")
    assert "below" not in a.text()


def test_whoever_says_or_asks_something_sees_what_comes_of_it(server, chats):
    chats.say("bob", *[f"old {i}" for i in range(60)])
    a = chats.chat("alice", "-t", "unix")
    a.sees("old 59")
    for line, answer in (("here I am", "<alice> here I am"), ("/names", "alice (1 here)")):
        a.send(PAGE_UP)
        a.until(lambda: "below · PageDown" in a.text(), "a page back")
        a.enter(line)
        a.sees(answer)
        assert "below" not in a.text()


def test_one_rule_says_that_what_follows_is_new(server, chats):
    chats.say("bob", "hello")
    a = chats.chat("alice", "-t", "unix")
    a.sees("── new ──")
    a.enter("/join #side")
    a.prompt("#side>")
    chats.say("bob", "and more")
    a.sees("1:#lobby 1")
    a.enter("/1")
    a.sees("and more")
    assert a.text().count("── new ──") == 1


def test_long_rows_go_on_below_their_last_column(server, chats):
    a = chats.chat("alice", "-t", "unix", rows=100)
    a.enter("/help")
    a.sees("twice: leave.")
    help_rows = a.lines()
    shown = help_rows.index(next(row for row in help_rows if row.startswith("  /away")))
    bar = next(i for i, row in enumerate(help_rows) if row.startswith("── [1"))
    assert [row for row in help_rows[shown:bar] if not row.startswith("  ")] == []
    a.until(lambda: re.search(r"\|more  earlier lines", a.text()), "a gap also behind a cell that is wider than others")
    a.enter("/join #empty")
    a.prompt("#empty>")
    a.resize(21, 100)
    a.enter("/list")  # no topic: its column is the last one, and empty
    a.until(lambda: any(row.startswith("  #lobby") for row in a.lines()), "the rooms")
    rooms = a.lines()
    at = next(i for i, row in enumerate(rooms) if row.startswith("── [2"))
    assert rooms[at - 1].strip()


def test_bar_keeps_the_rooms_in_their_order(server, chats):
    a = chats.chat("alice", "-t", "unix")
    for room in ("#two", "#three", "#four"):
        a.enter("/join " + room)
        a.prompt(room + ">")
    a.sees("── 1:#lobby  2:#two  3:#three  [4:#four]  ──")
    a.send("\0332")
    a.sees("── 1:#lobby  [2:#two]  3:#three  4:#four  ──")
    chats.say("bob", "news", room="#four")
    a.sees("── 1:#lobby  [2:#two]  3:#three  4:#four 1  ──")
    a.resize(30)  # not for all: the current one, then those with something new, then what fits
    a.sees("── [2:#two]  4:#four 1  ──")


def test_rooms_keep_their_lines_drafts_and_places(server, chats):
    chats.say("bob", *[f"dev {i}" for i in range(60)], room="#dev")
    a = chats.chat("alice", "-t", "unix")
    a.enter("/join #dev")
    a.prompt("#dev>")
    a.sees("dev 59")
    a.send(PAGE_UP)
    a.until(lambda: "dev 59" not in a.text() and "fetching" not in a.text(), "a page back")
    place = a.lines()[:22]
    a.type("for dev")
    a.send("\0331")
    a.prompt("#lobby>")
    a.sees("[1:#lobby]  2:#dev ")
    assert "dev 40" not in a.text()
    a.type("for the lobby")
    a.send("\033[1;3C")  # Alt-Right
    a.prompt("#dev> for dev")
    assert a.lines()[:22] == place
    a.send("\033[D" * 4)  # into the middle
    a.send("\033[1;3D")
    a.prompt("#lobby> for the lobby")
    chats.say("bob", "alice: here", "and here", room="#dev")
    a.sees("2:#dev 2!")
    a.send("\033a")  # the next with something new
    a.prompt("#dev> for dev")
    a.send("X")
    a.prompt("#dev> forX dev")
    a.send(CTRL_END)
    a.sees("──── new ────")
    assert a.text().index("dev 59") < a.text().index("──── new ────") < a.text().index("alice: here")
    a.send("\r")
    heard(server, "forX dev", room="#dev")
    a.enter("/1")
    a.prompt("#lobby> for the lobby")
    a.send("\r")
    heard(server, "for the lobby")
    a.enter("/7")
    a.sees("there is no room 7: you are in 2")


def test_a_burst_is_one_redraw(server, chats):
    """Counted at the terminal, each redraw hides the cursor; and by the kernel, as calls of write."""
    a = chats.chat("alice", "-t", "unix")
    a.type("a draft")

    def writes():
        with open(f"/proc/{a.child.pid}/io") as f:
            return int(re.search(r"^syscw: (\d+)$", f.read(), re.M).group(1))
    os.kill(a.child.pid, signal.SIGSTOP)
    chats.say("bob", *[f"burst {i}" for i in range(300)])
    drawn, calls, began = a.raw.count(b"\033[?25l"), writes(), time.monotonic()
    os.kill(a.child.pid, signal.SIGCONT)
    a.sees("burst 299")
    a.prompt("#lobby> a draft")
    # once after the stop (the terminal may have changed), once for the lines, and once if they came in two turns;
    # if a busy server hands them on in more pieces, once for each 25 ms that they take
    most = 3 + (time.monotonic() - began) / 0.025
    assert 1 <= a.raw.count(b"\033[?25l") - drawn <= most
    assert writes() - calls <= 2 * most


SIZES = [(200, 50), (20, 5), (80, 24), (7, 3), (1, 1), (33, 11), (80, 24)]


def test_resized_during_a_burst_leaves_no_debris(server, chats):
    a = chats.chat("alice")
    a.type("a draft")
    lines = [f"line {i} " + "word " * (i % 40) for i in range(3000)]
    sender = threading.Thread(target=chats.say, args=("bob", *[line.rstrip() for line in lines]))
    sender.start()
    for columns, rows in SIZES:
        a.resize(columns, rows)
        for _ in range(5):
            a.pump()
    sender.join()
    a.sees("line 2999")
    a.until(lambda: a.lines()[22].startswith("── [1:#lobby]") and len(a.lines()[22]) == 80, "drawn for the last size")
    a.prompt("#lobby> a draft")
    shown = a.lines()
    assert len(shown) == 24 and shown[22].endswith("─")
    text = re.sub(r"\n +", " ", "\n".join(shown[:22]))
    found = re.findall(r"^\d\d:\d\d <bob> (line (\d+).*)$", text, re.M)
    numbers = [int(n) for _, n in found]
    assert numbers == list(range(numbers[0], 3000))
    assert [line for line, _ in found] == [lines[n].rstrip() for n in numbers]


FAMILY, HEART = "\U0001F468\u200d\U0001F469\u200d\U0001F467", "\u2764\ufe0f"


@pytest.mark.parametrize("joins", [True, False])
def test_emoji_are_as_wide_as_the_terminal_draws_them(server, chats, joins):
    """A family of three is two columns wide on terminals that join, six on others: 33 of them take one row of 80
    columns beside the nick, or three. pyte can do neither, so its answer is put in its mouth."""
    a = Terminal([PARLEY, "-n", "alice", "-s", server.address], chats.env("alice"))
    chats.open.append(a)
    a.screen.write_process_input = lambda text: a.send("\033[1;3R" if joins else "\033[1;7R")
    a.sees("/help")
    chats.say("bob", FAMILY * 33)
    want = [33] if joins else [11, 11, 11]

    def rows():
        """In each row that was drawn, the first is the question; at last they are drawn by the answer."""
        return [len(re.findall(FAMILY, row)) for row in re.split("\033\\[\\d+;1H", a.raw.decode()) if FAMILY in row][1:]
    a.until(lambda: "<bob> " in a.text() and rows()[-len(want):] == want, lambda: f"{want}, not {rows()}")


def test_tmux_is_asked_how_wide_emoji_are(server, chats, tmux):
    tmux("new-session", "-d", "-x", "80", "-y", "10", f"{PARLEY} -n alice -s {server.address}")

    def screen():
        return tmux("capture-pane", "-p").rstrip("\n").split("\n")
    until(lambda: any("/help" in row for row in screen()), "status line")
    words = f"\u4e2d\u6587 {FAMILY} {HEART} e\u0301"
    tmux("send-keys", "-l", words + "x")
    until(lambda: "x" in screen()[-1][8:], "typed", DEADLINE)
    tmux("send-keys", "Left")
    column = int(tmux("display-message", "-p", "#{cursor_x}"))
    assert column > 8
    tmux("send-keys", "-l", "|")
    until(lambda: screen()[-1].endswith("e\u0301|x"), lambda: f"inserted before the x: {screen()[-1]}", DEADLINE)


def test_themes(server, chats):
    chats.say("bob", "one")
    config = os.path.join(server.dir, "config")
    os.makedirs(os.path.join(config, "parley"))
    file = os.path.join(config, "parley", "parley.conf")
    with open(file, "w") as f:
        f.write("# what I like\ntheme = light,event=magenta ; since Tuesday\n")
    a = chats.chat("alice", "--color", "always", XDG_CONFIG_HOME=config)
    a.sees("<bob> one")
    assert b"\033[35m-- " in a.raw and b"\033[38;5;243m" in a.raw
    a.enter("/set theme mono")
    a.sees("theme = mono")
    a.enter("/set theme mono,event=purpel")
    a.sees('there is no colour "purpel"')
    a.enter("/set color never")
    a.sees("color = never")
    after = len(a.raw)
    a.enter("/set theme")
    a.sees("default, dark, light or mono")
    assert not re.search(rb"\033\[[0-9;]+m", a.raw[after:])
    a.enter("/set --save theme dark")
    a.sees("says so too")
    with open(file) as f:
        assert f.read() == "# what I like\ntheme = dark ; since Tuesday\n"
    done = server.run("--theme=drak")
    assert done.returncode == 2 and '"drak"' in done.stderr


def test_set_shows_all_and_refuses_what_is_none(server, chats):
    config = os.path.join(server.dir, "config")
    a = chats.chat("alice", rows=60, XDG_CONFIG_HOME=config)
    a.enter("/set")
    a.sees("/set NAME VALUE changes one now")
    for name in ("transport", "server", "nick", "wait", "color", "quiet", "theme", "plain", "notify"):
        assert re.search(rf"^  {name} ", a.text(), re.M), name
    a.enter("/set wait spin")
    a.sees("wait is read when parley starts")
    a.enter("/set quiet maybe")
    a.sees("quiet = maybe: expected yes or no")
    a.enter("/set colour never")
    a.sees("there is no setting colour")
    a.enter("/set --save wait = adaptive")
    a.sees("parley/parley.conf says so too")
    with open(os.path.join(config, "parley", "parley.conf")) as f:
        assert f.read() == "wait = adaptive\n"
    a.enter("/set nick alicia")
    a.sees("you are now alicia")
    a.enter("/set transport shm")
    a.sees("unix → shm: 0 lost, 0 doubled")


def test_leaving_gives_the_screen_back_and_leaves_the_last_lines(server, chats):
    chats.say("bob", "the last words")
    sh = chats.shell("alice")
    sh.enter("echo before")
    sh.sees("before", 2)
    sh.send(f"{PARLEY} -n alice\r")
    sh.sees("the last words")
    assert "before" not in sh.text()
    sh.enter("/quit")
    sh.until(lambda: sh.text().endswith("sh>"), "the shell")
    assert sh.text().index("before") < sh.text().index("the last words")


def test_plain_is_line_after_line(server, chats):
    chats.say("bob", "old")
    a = chats.chat_plain("alice", NO_COLOR="")
    a.sees("[#lobby] <bob> old")
    a.send("hello\n")
    a.sees("[#lobby] <alice> hello")
    a.send("/join #dev\n")
    a.sees("-- #dev · 1 here")
    a.send("there\n")
    a.sees("[#dev] <alice> there")
    chats.say("bob", "still here")
    a.sees("[#lobby] <bob> still here")
    a.send("/1\n")
    a.sees("-- now in #lobby")
    a.send("back\n")
    a.sees("[#lobby] <alice> back")
    b = chats.chat("carol")
    b.send("\033[200~one\rtwo\033[201~")
    b.sees("[y/N/1 = one message]")
    b.send("1")
    a.sees("[#lobby] <carol> one / two")
    assert b"\033" not in a.raw
