"""parley bot: a command that answers messages."""

import contextlib
import json
import os
import re
import signal

import pytest

import harness
import parleywire as wire
from harness import until


class Bot:
    """A running bot, whose answers are looked up in the room's history."""

    def __init__(self, server, *args, script=None, room="#lobby", name="bot"):
        command = ["sh", "-c", script] if script is not None else []
        self.server, self.room, self.name = server, room, name
        self.stream = server.stream("bot", "-n", name, *args, room, "--", *command)
        until(lambda: self.there() or self.stream.process.poll() is not None, "the bot is there")

    def there(self):
        return any(m["nick"] == self.name for m in self.server.json("who", self.room))

    def answers(self):
        said = self.server.json("history", "--after", "0", self.room)
        return [m["text"] for m in said if m["from"] == self.name and m["type"] == "message"]

    def wait_for(self, *texts):
        until(lambda: len(self.answers()) >= len(texts), f"{len(texts)} answers; {self.stream.stderr}")
        assert self.answers() == list(texts)

    def ask(self, *texts, by="ann"):
        self.server.ok("send", "-n", by, self.room, "-", input="".join(t + "\n" for t in texts))

    def end(self, sig=signal.SIGTERM):
        self.stream.process.send_signal(sig)
        return self.stream.wait()


def running(server, marker):
    """Processes with the marker in the environment that a bot of this server gave them: other tests have such bots too."""
    found = []
    marks = [marker.encode(), server.dir.encode()]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                told = f.read()
            if all(m in told for m in marks) and os.path.basename(os.readlink(f"/proc/{pid}/exe")) != "parley":
                found.append(int(pid))
        except OSError:
            pass
    return found


# --- what is run, and what is said -----------------------------------------------------------------------


def test_the_command_reads_the_message_and_what_it_prints_is_the_answer(server):
    bot = Bot(server, script="cat; echo \"$PARLEY_ROOM|$PARLEY_FROM|$PARLEY_TEXT|$PARLEY_REST|$PARLEY_SEQ|$PARLEY_NICK\"")
    bot.ask("hällo \"you\"; $(reboot)")
    until(bot.answers, "it answers")
    given, env = bot.answers()[0].split("\n")
    said = [m for m in server.json("history", "#lobby") if m["from"] == "ann"][0]
    assert dict(said, replay=False, rest=said["text"]) == json.loads(given)
    assert env == f"#lobby|ann|{said['text']}|{said['text']}|{said['seq']}|bot"
    assert bot.end() == 0 and bot.stream.stderr == ""


def test_a_parley_that_the_command_calls_finds_the_same_server(server):
    bot = Bot(server, script=f"{harness.PARLEY} send -n helper '#other' \"$PARLEY_TEXT\"")
    bot.ask("pass it on")
    until(lambda: "pass it on" in server.run("history", "#other").stdout, "it is said there")
    assert bot.answers() == []


@pytest.mark.parametrize("script,answers", [
    ("printf 'a\\nb\\n\\nc\\n\\n'", ["a\nb\n\nc"]),
    ("printf 'a\\r\\nb\\r\\n'", ["a\nb"]),
    ("true", []),
    ("printf '\\n\\n'", []),
    ("printf 'bad \\377 \\033[2Jx'", ["bad \\xff \\x1b[2Jx"]),
    ("exec <&-; sleep 0.1; echo not read", ["not read"]),
    ("(sleep 1000 >&1 &) ; echo done", ["done"]),
], ids=["lines", "crlf", "nothing", "empty lines", "hostile", "input closed", "grandchild"])
def test_what_is_printed_is_one_message(server, script, answers):
    bot = Bot(server, script=f"if [ \"$PARLEY_TEXT\" = end ]; then echo end; exit; fi; {script}")
    bot.ask("x", "end")
    bot.wait_for(*answers, "end")
    for pid in running(server, "PARLEY_TEXT=x"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_long_answers_are_split_at_lines_then_at_characters(server):
    lines = [f"{i} " + "é" * 1000 for i in range(40)]
    path = os.path.join(server.dir, "long")
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n" + "é" * 40000 + "\n")
    bot = Bot(server, "--rate", "1000", "--burst", "100", script=f"cat {path}")
    bot.ask("go")
    until(lambda: sum(len(a) for a in bot.answers()) >= sum(map(len, lines)) + 40000, "all of it is said")
    said = bot.answers()
    assert all(len(a.encode()) <= 32768 for a in said)
    assert len(said) <= 7
    joined = "\n".join(said)
    assert all(line + "\n" in joined for line in lines) and joined.count("é") == 40 * 1000 + 40000


# --- order, rate, failures --------------------------------------------------------------------------------------


def test_runs_go_side_by_side_and_answers_stay_in_order(server):
    """The first waits for the second, so both must run; and its answer comes first all the same."""
    flag = os.path.join(server.dir, "flag")
    bot = Bot(server, "--jobs", "2", script=f"""
        case $PARLEY_TEXT in
        first) while [ ! -e {flag} ]; do sleep 0.01; done; echo 1;;
        second) : >{flag}; echo 2;;
        *) echo "$PARLEY_TEXT";;
        esac""")
    bot.ask("first", "second", "third")
    bot.wait_for("1", "2", "third")


def test_one_job_runs_one_at_a_time(server):
    lock = os.path.join(server.dir, "lock")
    bot = Bot(server, "--jobs", "1", "--rate", "1000", "--burst", "100",
              script=f"mkdir {lock} || echo two at once; sleep 0.02; rmdir {lock}; echo $PARLEY_TEXT")
    bot.ask(*map(str, range(10)))
    bot.wait_for(*map(str, range(10)))


def test_answers_are_not_faster_than_the_rate(server):
    bot = Bot(server, "--rate", "2", "--burst", "2", script="echo $PARLEY_TEXT")
    bot.ask(*map(str, range(6)))
    bot.wait_for(*map(str, range(6)))
    times = [m["time"] for m in server.json("history", "--after", "0", "#lobby") if m["from"] == "bot" and m["type"] == "message"]
    seconds = [float(t[17:-1]) + 60 * float(t[14:16]) for t in times]
    # 2 at once, then one every 500 ms: 2 s by the bot's clock. The server writes the first of them down later, if it is busy.
    assert (seconds[-1] - seconds[0]) % 3600 >= (6 - 2) / 2 / 2


def test_a_command_that_fails_is_not_answered_with_and_waits_longer_each_time(server):
    bot = Bot(server, "--jobs", "1", script="""
        case $PARLEY_TEXT in bad) echo half an answer; exit 3;; kill) kill -9 $$;; *) echo $PARLEY_TEXT; esac""")
    bot.ask("bad", "kill", "good", "again")
    bot.wait_for("good", "again")
    said = re.findall(r"warning: sh (.*); message \d+ of #lobby has no answer\. Next run in (\d+) s", bot.stream.stderr)
    assert said == [("exited with 3", "1"), ("was killed by SIGKILL", "2")]
    bot.ask("bad", "fine")
    bot.wait_for("good", "again", "fine")
    assert bot.stream.stderr.count("Next run in 1 s") == 2  # a run that went well ended the series


def test_a_run_that_takes_too_long_is_ended_with_all_it_has_started(server):
    bot = Bot(server, "--run-time", "3", script="""
        if [ "$PARLEY_TEXT" = stay ]; then trap '' TERM; sleep 1000 & sleep 1000; fi; echo $PARLEY_TEXT""")
    bot.ask("stay", "go")
    bot.wait_for("go")
    assert "took longer than 3 s and was ended" in bot.stream.stderr
    until(lambda: not running(server, "PARLEY_TEXT=stay"), "nothing of it is left")


def test_a_run_that_prints_without_end_holds_up_nobody(server):
    bot = Bot(server, "--run-time", "3", "--jobs", "2", script="if [ \"$PARLEY_TEXT\" = stay ]; then exec yes; fi; echo $PARLEY_TEXT")
    bot.ask("stay", "go")
    bot.wait_for("go")
    assert "took longer than 3 s and was ended" in bot.stream.stderr


def test_more_messages_than_are_kept_in_memory_are_all_answered_in_order(server):
    server.ok("send", "-n", "ann", "#lobby", "-", input="".join(f"{i}\n" for i in range(700)))
    bot = Bot(server, "--after", "0", "--rate", "100000", "--burst", "100000", "-C", "700", script="echo $PARLEY_TEXT")
    assert bot.stream.wait(4 * harness.DEADLINE) == 0
    assert bot.answers() == [str(i) for i in range(700)]


# --- whom it answers -------------------------------------------------------------------------------------------------


def test_bots_do_not_answer_themselves_or_each_other(server):
    bots = [Bot(server, name=name, script="echo $PARLEY_NICK heard $PARLEY_TEXT") for name in ("one", "two")]
    for i in range(3):
        bots[0].ask(f"m{i}")
        for b in bots:
            b.wait_for(*[f"{b.name} heard m{n}" for n in range(i + 1)])
    marked = {m["from"]: m.get("bot", False) for m in server.json("history", "--after", "0", "#lobby") if m["type"] == "message"}
    assert marked == {"ann": False, "one": True, "two": True}


def test_the_mark_of_a_bot_goes_with_its_message_and_its_edit(server):
    with wire.Client.connect(server.socket, "ann") as ann, wire.Client.connect(server.socket, "rob") as rob:
        ann.join("#lobby")
        rob.post(rob.join("#lobby").room, "beep", flags=wire.BOT | wire.ACTION | wire.QUIET)
        assert ann.until("MESSAGE").flags == wire.BOT | wire.ACTION


def test_prefix_mention_and_ignore_choose_messages(server):
    bot = Bot(server, "--prefix", "!", "--mention", "--ignore", "spam*,eve", script="echo \"<$PARLEY_REST>\"")
    bot.ask("nothing", "!do this", "bot: and that", "ask @bot please", "bottle", "robot")
    bot.ask("!no", by="eve")
    bot.ask("!no", by="spammer")
    bot.ask("!end")
    bot.wait_for("<do this>", "<and that>", "<ask @bot please>", "<end>")


def test_what_is_said_to_it_alone_is_answered_there(server):
    Bot(server, "--prefix", "!", script="echo you said $PARLEY_TEXT")
    with wire.Client.connect(server.socket, "ann") as ann:
        room = ann.join("@bot").room
        ann.post(room, "psst")
        until(lambda: ann.until("MESSAGE").fields["text"] == "you said psst", "the answer comes")


# --- restarts and ends ---------------------------------------------------------------------------------------------------


def test_each_message_is_answered_once_though_the_server_is_killed(server):
    bot = Bot(server, "--rate", "1000", "--burst", "1000", script="echo $PARLEY_TEXT")
    asked = []
    for i in range(4):
        more = [f"{i}-{n}" for n in range(20)]
        bot.ask(*more[:10])
        server.kill()
        server.start()
        bot.ask(*more[10:])  # the bot may still be away
        asked += more
    bot.wait_for(*asked)
    assert bot.end() == 0


def test_a_position_is_kept_over_the_bots_own_restarts(server):
    path = os.path.join(server.dir, "position")
    asked = []
    for i in range(3):
        bot = Bot(server, "--position", path, script="echo $PARLEY_TEXT")
        asked.append(f"with {i}")
        bot.ask(asked[-1])
        bot.wait_for(*asked)
        until(lambda: os.path.exists(path), "the position is kept")
        seq = max(m["seq"] for m in server.json("history", "#lobby") if m["from"] == "ann")
        until(lambda: open(path).read() == f"parley bot position 1\n{seq} #lobby\n", "it is that of the message")
        assert bot.end((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)[i]) in (0, -signal.SIGKILL)
        asked.append(f"without {i}")
        bot.ask(asked[-1])
    bot = Bot(server, "--position", path, script="echo $PARLEY_TEXT")
    bot.wait_for(*asked)


@pytest.mark.parametrize("broken", ["", "something else\n", "parley bot position 1\nx #lobby\n"])
def test_a_broken_position_is_an_error(server, broken):
    path = os.path.join(server.dir, "position")
    with open(path, "w") as f:
        f.write(broken)
    done = server.run("bot", "--position", path, "#lobby", "--", "cat")
    assert done.returncode == 1 and f"the position in {path} cannot be used" in done.stderr
    with open(path) as f:
        assert f.read() == broken


@pytest.mark.parametrize("sig,code", [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_ends_it_and_its_runs(server, sig, code):
    bot = Bot(server, script="if [ \"$PARLEY_TEXT\" = stay ]; then sleep 1000; fi; echo $PARLEY_TEXT")
    bot.ask("stay", "waits behind it", "also")
    until(lambda: running(server, "PARLEY_TEXT=stay"), "it runs")
    assert bot.end(sig) == code
    until(lambda: not running(server, "PARLEY_FROM=ann"), "what it ran ends: killed, but perhaps not gone at that moment")
    assert not bot.there() and bot.answers() == []


def test_what_the_end_cuts_short_is_asked_again_with_all_behind_it(server):
    path, flag = os.path.join(server.dir, "position"), os.path.join(server.dir, "flag")
    bot = Bot(server, "--jobs", "2", "--position", path, script=f"""
        case $PARLEY_TEXT in stay) sleep 1000;; also) trap ': >{flag}' EXIT;; esac; echo $PARLEY_TEXT""")
    bot.ask("first")
    bot.wait_for("first")
    bot.ask("stay", "also", "more")
    until(lambda: os.path.exists(flag) and not running(server, "PARLEY_TEXT=also"), "the second has its answer")
    assert bot.end() == 0
    assert bot.answers() == ["first"]
    bot = Bot(server, "--position", path, script="echo $PARLEY_TEXT again")
    bot.wait_for("first", "stay again", "also again", "more again")


def test_a_bot_that_is_killed_leaves_no_run(server):
    bot = Bot(server, script="exec sleep 1000")
    bot.ask("stay")
    until(lambda: running(server, "PARLEY_TEXT=stay"), "it runs")
    assert bot.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not running(server, "PARLEY_TEXT=stay"), "the kernel ends it")


def test_mistakes_have_the_usual_exit_codes(server):
    for args, code, words in ((["#lobby"], 2, "something is missing"), (["#lobby", "#other"], 2, "the command is missing"),
                              (["cat", "dog"], 2, "the rooms are missing"), (["#lobby", "--", "no-such-command"], 2, "ENOENT"),
                              (["#a b", "--", "cat"], 2, "not usable"), (["--prefix", "#lobby", "--", "cat"], 2, "missing")):
        done = server.run("bot", *args)
        assert done.returncode == code and words in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    done = server.run("bot", "#lobby", "--", "cat", server=f"unix:{server.dir}/nobody")
    assert done.returncode == 69 and "Start one: parleyd" in done.stderr


def test_several_rooms_and_the_past(server):
    server.ok("send", "-n", "ann", "#a", "-", input="old\nolder\n")
    server.ok("send", "-n", "ann", "#b", "-", input="other\n")
    done = server.run("bot", "-n", "bot", "--last", "1", "-C", "2", "#a", "#b", "--", "cat")
    assert done.returncode == 0, done.stderr
    for room, text in (("#a", "older"), ("#b", "other")):
        answers = [json.loads(m["text"])["text"] for m in server.json("history", room) if m["from"] == "bot" and m["type"] == "message"]
        assert answers == [text]
