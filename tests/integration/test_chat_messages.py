"""Messages in the chat, as a person meets them: what is unread in every terminal, being called, being away,
people who are not to be heard, lines of several lines, lines that are corrected."""

import json
import os
import re
import signal

import parleywire as wire
from harness import PARLEY, until
from terminal import heard


def marks(server):
    try:
        with open(os.path.join(server.state, "marks"), encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def lines_of(path):
    """Lines that are whole."""
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().split("\n")[:-1]
    except FileNotFoundError:
        return []


# --- unread --------------------------------------------------------------------------------------------


def test_the_line_where_what_is_new_begins_survives_sessions(server, chats):
    chats.say("bob", "old one", "old two")
    a = chats.chat("alice")
    a.sees("old two")
    until(lambda: re.search(r" \d+ alice$", marks(server), re.M), "what alice has read is kept")
    a.enter("/quit")
    a.wait()
    chats.say("bob", "fresh one", "fresh two")
    server.stop()
    server.start("--workers", "2")
    a = chats.chat("alice")
    a.sees("fresh two")
    text = a.text()
    assert text.index("old two") < text.index("──── new ────") < text.index("fresh one")
    assert text.count("──── new") == 1


def test_more_unread_lines_than_are_shown_are_counted(server, chats):
    chats.say("bob", "seen")
    a = chats.chat("alice")
    a.sees("seen")
    until(lambda: re.search(r" \d+ alice$", marks(server), re.M), "what alice has read is kept")
    a.enter("/quit")
    a.wait()
    chats.say("bob", *[f"missed {i}" for i in range(50)])
    a = chats.chat("alice")
    a.sees("new (50 unread; earlier ones: /history)")
    assert "missed 30" in a.text() and "missed 29" not in a.text()


def test_reading_in_one_terminal_clears_the_count_in_the_other(server, chats):
    a = chats.chat("alice")
    a.enter("/join #dev")
    a.prompt("#dev>")
    chats.say("bob", "one", "two")  # in #lobby, which is not the current room
    a.sees("1:#lobby 2")
    b = chats.chat("alice")
    b.sees("two")
    a.until(lambda: "1:#lobby 2" not in a.text(), "the count is gone")
    assert "1:#lobby" in a.text()


def test_a_conversation_waits_and_comes_with_what_is_new(server, chats):
    a, b = chats.chat("alice"), chats.chat("bob")
    a.enter("/msg bob hello")
    b.sees("alice talks to you")
    b.enter("/query alice")
    b.sees("<alice> hello")
    until(lambda: re.search(r" \d+ bob$", marks(server), re.M), "what bob has read is kept")
    b.enter("/quit")
    b.wait()
    a.enter("/msg bob call me")
    a.sees("bob is not here now; what you say waits")
    a.enter("/msg bob today")
    a.enter("/query bob")
    a.sees("<alice> today")
    server.kill()
    server.start("--workers", "2")
    b = chats.chat("bob")
    b.sees("alice wrote to you while you were not here")
    b.sees("2:@alice 2")  # in the bar: two unread
    b.enter("/query alice")
    b.prompt("@alice>")
    b.sees("<alice> today")
    text = b.text()
    assert text.index("new ──") < text.index("call me") < text.index("today") and "hello" not in text


def test_the_very_first_words_of_a_conversation_wait_and_are_counted(server, chats):
    b = chats.chat("bob")  # known from now on
    b.enter("/quit")
    b.wait()
    a = chats.chat("alice")
    a.enter("/msg bob call me")
    a.sees("bob is not here now; what you say waits")
    a.enter("/msg bob today")
    a.enter("/query bob")
    a.sees("<alice> today")
    b = chats.chat("bob")
    b.sees("alice wrote to you while you were not here")
    b.sees("2:@alice 2!")
    b.enter("/query alice")
    b.sees("<alice> today")
    text = b.text()
    assert text.index("new ──") < text.index("call me") < text.index("today")


# --- being called --------------------------------------------------------------------------------------


def test_notify_is_told_by_json_and_variables_never_by_words_of_a_command(server, chats):
    out = os.path.join(server.dir, "told")
    command = f"printf '%s|%s|%s|%s\\n' \"$PARLEY_EVENT\" \"$PARLEY_ROOM\" \"$PARLEY_FROM\" \"$PARLEY_TEXT\" >>{out}; cat >>{out}.json"
    a = chats.chat("alice", "--notify", command)
    evil = f"alice: $(touch {server.dir}/owned) `touch {server.dir}/owned` '; touch {server.dir}/owned; \" \\ \u00fc"
    chats.say("bob", "not for you", evil)
    until(lambda: lines_of(out) == [f"mention|#lobby|bob|{evil}"], lambda: f"told once: {lines_of(out)}")
    until(lambda: lines_of(out + ".json"), "the command has read it all")
    told = json.loads(lines_of(out + ".json")[0])
    assert (told["type"], told["room"], told["from"], told["text"], told["replay"]) == ("message", "#lobby", "bob", evil, False)
    assert not os.path.exists(os.path.join(server.dir, "owned"))
    chats.say("bob", "psst", room="@alice")
    until(lambda: lines_of(out)[1:] == ["direct|@bob|bob|psst"], lambda: f"told of a direct one: {lines_of(out)}")
    a.enter("alice is my name")
    a.sees("<alice> alice is my name")
    chats.say("bob", "alice?")
    until(lambda: len(lines_of(out)) == 3, "the next one")
    assert lines_of(out)[2] == "mention|#lobby|bob|alice?"  # and nothing of our own


def test_notify_runs_one_at_a_time_and_says_what_was_missed(server, chats):
    out = os.path.join(server.dir, "told")
    go = os.path.join(server.dir, "go")
    a = chats.chat("alice", "--notify", f"echo begin >>{out}; while [ ! -e {go} ]; do sleep 0.05; done; echo \"$PARLEY_MISSED $PARLEY_TEXT\" >>{out}")
    chats.say("bob", "alice 1")
    until(lambda: lines_of(out) == ["begin"], "the first one runs")
    chats.say("bob", *[f"alice {i}" for i in range(2, 8)])
    a.sees("alice 7")
    assert lines_of(out) == ["begin"]
    open(go, "w", encoding="utf-8").close()
    until(lambda: lines_of(out) == ["begin", "0 alice 1", "begin", "5 alice 7"], lambda: f"the newest is told: {lines_of(out)}")


def test_notify_that_fails_is_told_once_and_takes_nothing_with_it(chats):
    a = chats.chat("alice", "--notify", "exit 3")
    chats.say("bob", "alice!")
    a.sees("the --notify command ended with code 3")
    chats.say("bob", "alice!!", "done")
    a.sees("<bob> done")
    a.enter("still here")
    a.sees("<alice> still here")
    assert a.text().count("ended with code") == 1


# --- ignoring ------------------------------------------------------------------------------------------


def test_who_is_ignored_stays_ignored_in_later_and_other_chats(server, chats):
    a, other = chats.chat("alice"), chats.chat("alice")
    a.enter("/ignore bob")
    a.sees("ignoring bob until /unignore, in later chats too")
    other.enter("/ignore carol")
    other.sees("ignoring carol")
    chats.say("bob", "noise")
    chats.say("dave", "signal")
    a.sees("signal")
    assert "noise" not in a.text()
    file = os.path.join(chats.home("alice"), "parley", "ignored")
    assert lines_of(file)[1:] == ["bob", "carol"] and os.stat(file).st_mode & 0o777 == 0o600
    late = chats.chat("alice")
    late.enter("/ignore")
    late.sees("-- ignoring bob")
    late.sees("-- ignoring carol")
    assert "noise" not in late.text()
    late.enter("/unignore bob")
    late.sees("hearing bob again")
    chats.say("bob", "music")
    late.sees("<bob> music")
    assert lines_of(file)[1:] == ["carol"]


def test_a_file_of_ignored_nicks_that_is_nonsense_does_no_harm(server, chats):
    os.makedirs(os.path.join(chats.home("alice"), "parley"))
    with open(os.path.join(chats.home("alice"), "parley", "ignored"), "wb") as f:
        f.write(b"\xff\xfe\0\n# x\n\n" + b"y" * 5000 + b"\nbob\r\n")
    a = chats.chat("alice")
    a.enter("/ignore")
    a.sees("-- ignoring bob")
    assert a.text().count("-- ignoring") == 1


# --- being away ----------------------------------------------------------------------------------------


def test_away_until_one_speaks(server, chats):
    a, b = chats.chat("alice"), chats.chat("bob")
    a.enter("/away at lunch")
    a.sees("you are away: at lunch. Back by /away, or by saying something")
    b.enter("/msg alice hungry?")
    b.sees("alice is away: at lunch")
    b.enter("/msg alice hello?")
    b.enter("/who")
    b.sees(", away: at lunch")
    assert b.text().count("alice is away") == 1
    b.enter("/whois alice")
    b.sees("-- alice is away: at lunch", count=2)
    server.ok("send", "#lobby", "a script of hers", "-n", "alice")
    assert [m.get("away") for m in server.json("who") if m["nick"] == "alice"][:1] == ["at lunch"]
    a.enter("here again")
    a.sees("you are back")
    assert [m.get("away") for m in server.json("who") if m["nick"] == "alice"][:1] == [None]
    a.enter("/away")
    a.sees("you are away: away")
    a.enter("/away")
    a.sees("you are back", count=2)


def test_away_is_told_to_a_server_that_was_started_anew(server, chats):
    a = chats.chat("alice")
    a.enter("/away skiing")
    a.sees("you are away: skiing")
    server.kill()
    server.start("--workers", "2")
    a.sees("connected again")
    until(lambda: [m.get("away") for m in server.json("who") if m["nick"] == "alice"] == ["skiing"], "it knows again")
    assert a.text().count("you are away") == 1


# --- several lines -------------------------------------------------------------------------------------


def test_a_backslash_goes_on_in_the_next_line(server, chats):
    a, b = chats.chat("alice"), chats.chat("bob")
    a.type("first\\")
    a.send("\r")
    a.until(lambda: a.edited().replace("\\", "") == "#lobby> first", "the line goes on")
    a.type("second\\")
    a.send("\r")
    a.type("third")
    a.send("\r")
    heard(server, "first\nsecond\nthird")
    b.sees("third")
    rows = [line for line in b.lines() if re.search(r"(first|second|third)$", line)]
    assert [len(row) - len(row.lstrip()) for row in rows[1:]] == [rows[0].index("first")] * 2
    assert "<alice> first" in rows[0]


def test_a_backslash_goes_on_where_nothing_is_drawn(server, chats):
    a = chats.start([PARLEY, "-n", "alice", "-s", server.address], chats.env("alice", TERM="dumb"))
    a.sees("/help")
    a.send("one\\\r")
    a.send("two\r")
    heard(server, "one\ntwo")


def test_a_pipe_is_taken_as_it_is(server):
    server.ok("#lobby", "-n", "alice", input="C:\\dir\\\nnext\n")
    heard(server, "C:\\dir\\", "next")


# --- corrections ---------------------------------------------------------------------------------------


def test_edit_and_delete_change_the_line_where_it_stands(server, chats):
    a, b = chats.chat("alice"), chats.chat("bob")
    a.enter("teh cat")
    a.sees("<alice> teh cat")
    a.enter("/edit the cat")
    for t in (a, b):
        t.sees("<alice> the cat (edited)")
        t.until(lambda t=t: "teh cat" not in t.text(), "the old text is gone")
    a.enter("/edit s/cat/dog/")
    for t in (a, b):
        t.sees("<alice> the dog (edited)")
    a.enter("/edit s/mouse/cow/")
    a.sees('your last line here has no "mouse" in it')
    a.enter("/edit")
    a.prompt("#lobby> /edit the dog")
    a.type("s")
    a.send("\r")
    b.sees("<alice> the dogs (edited)")
    a.enter("/delete")
    for t in (a, b):
        t.sees("alice deleted what stood here")
        t.until(lambda t=t: "the dogs" not in t.text(), "the text is gone")
    a.enter("/delete")
    a.sees("you have said nothing here that could be changed")
    late = chats.chat("carol")
    late.sees("alice deleted what stood here")
    assert "dog" not in late.text() and "cat" not in late.text()


def test_what_the_server_does_not_allow_is_told(server, chats):
    a = chats.chat("alice")
    a.enter("mine")
    a.sees("<alice> mine")
    with wire.Client.connect(server.socket, "bob") as bob:
        room = bob.join("#lobby").room
        for i in range(1001):
            bob.post(room, f"{i}")
        a.sees("<bob> 1000")
    a.enter("/delete")
    a.sees("you have said nothing here in the last 1000 lines")


def test_a_correction_on_its_way_survives_a_killed_server(server, chats):
    a = chats.chat("alice")
    a.enter("one")
    a.sees("<alice> one")
    os.kill(server.pid, signal.SIGSTOP)
    a.enter("/edit uno")
    a.prompt("#lobby>")
    server.kill()
    server.start("--workers", "2")
    a.sees("<alice> uno (edited)")
    edits = [e for e in server.json("history", "#lobby") if e["type"] == "edit"]
    assert [e["text"] for e in edits] == ["uno"]
