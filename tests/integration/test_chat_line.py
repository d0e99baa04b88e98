"""The line being typed: recall, completion, letters of any script, pasting."""

import os
import signal
import stat

import pytest

from terminal import CTRL_A, CTRL_C, CTRL_D, CTRL_R, CTRL_U, CTRL_Y, DOWN, PASTE, PASTE_END, UP, heard


def inputrc(server, mode):
    path = os.path.join(server.dir, "inputrc")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"set editing-mode {mode}\n")
    return path


def say(chat, *lines):
    for line in lines:
        chat.enter(line)
        chat.sees(f"<alice> {line.rstrip()}")


def test_recall_search_and_the_file(server, chats):
    a = chats.chat("alice")
    say(a, "first thing", "second thing")
    a.send(CTRL_R)
    a.type("first")
    chats.say("bob", "in between")  # while searching
    a.sees("<bob> in between")
    a.send("\r")
    a.sees("<alice> first thing", 2)
    a.enter("/quit")
    assert a.wait() == 0
    path = os.path.join(chats.home("alice"), "parley", "history")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path) as f:
        assert f.read().splitlines() == ["first thing", "second thing", "first thing", "/quit"]
    again = chats.chat("alice")
    again.send(UP + UP)
    again.prompt("#lobby> first thing")


@pytest.mark.parametrize("mode", ["emacs", "vi"])
@pytest.mark.parametrize("keys", ["\x18q", "\x18\033", "\x18\x18", "\x18\x07", "\033q", "\033\033"])
def test_search_that_ends_with_a_combination_that_is_not_bound(server, chats, mode, keys):
    """readline 8.2 by itself would jump back into a frame that is gone, and the chat with it."""
    a = chats.chat("alice", INPUTRC=inputrc(server, mode))
    say(a, "something")
    a.send(CTRL_R)
    a.sees("search)")
    a.type("some")
    a.send(keys)
    a.until(lambda: "search)" not in "".join(a.screen.display), "the search has ended")
    a.send(CTRL_C)  # whatever the line has become goes
    a.prompt("#lobby>")
    chats.say("bob", "still here?")
    a.sees("<bob> still here?")


def test_alt_p_and_alt_n_are_the_arrows(server, chats):
    """Not readline's searches that are not incremental: they free what they still use."""
    a = chats.chat("alice")
    say(a, "first", "second")
    for key, line in (("p", " second"), ("p", " first"), ("n", " second"), ("n", "")):
        a.send("\033" + key)
        a.prompt("#lobby>" + line)


def test_alt_dot_takes_the_last_word_of_the_lines_before(server, chats):
    """Words as people write them, not as a shell reads them."""
    a = chats.chat("alice")
    say(a, "see http://example.org/a?b=(c) ", "it's done, really?(")
    a.type("look: ")
    for word in ("really?(", "http://example.org/a?b=(c)", "http://example.org/a?b=(c)"):
        a.send("\033.")
        a.prompt("#lobby> look: " + word)
    a.type(" ")
    a.send("\033_")
    a.prompt("#lobby> look: http://example.org/a?b=(c) really?(")
    a.send("\037")
    a.prompt("#lobby> look: http://example.org/a?b=(c)")


def test_ctrl_c_ends_a_search(server, chats):
    a = chats.chat("alice")
    say(a, "something")
    a.type("draft")
    a.send(CTRL_R)
    a.sees("search)")
    a.type("some")
    a.send(CTRL_C)
    a.prompt("#lobby>")
    a.send(UP)
    a.prompt("#lobby> something")
    a.send("\r")
    a.sees("<alice> something", 2)


def test_ctrl_c_on_an_old_line_leaves_it_as_it_was(server, chats):
    """And goes on below the newest; readline by itself would stay there and empty it."""
    a = chats.chat("alice")
    say(a, "first", "second")
    a.send(UP + UP)
    a.prompt("#lobby> first")
    a.type(" changed")
    a.send(CTRL_C)
    a.prompt("#lobby>")
    for key, line in ((UP, " second"), (UP, " first"), (DOWN, " second"), (DOWN, ""), (CTRL_Y, " first changed")):
        a.send(key)
        a.prompt("#lobby>" + line)


def test_an_old_line_becomes_the_draft_of_its_room(server, chats):
    """It has its undo list in the history, which must not be freed with it."""
    a = chats.chat("alice")
    for word, prompt in (("first", "#lobby>"), ("/join #two", "#two>"), ("second", "#two>")):
        a.enter(word)
        a.prompt(prompt)
    a.send(UP + " once" + UP + DOWN + " more")
    a.prompt("#two> second once more")
    a.send("\0331")
    a.prompt("#lobby>")
    a.send(UP + UP)
    a.prompt("#lobby> /join #two")
    a.send("\0332")
    a.prompt("#two> second once more")
    a.send("\r")
    a.sees("<alice> second once more")
    a.send(UP + UP)
    a.prompt("#two> second")


def test_what_is_typed_behind_join_belongs_to_that_room(server, chats):
    a = chats.chat("alice")
    a.prompt("#lobby>")
    os.kill(server.pid, signal.SIGSTOP)  # as a server far away: the answer comes while one types
    try:
        a.enter("/join #two")
        a.type("hello")
        a.prompt("#lobby> hello")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    a.prompt("#two> hello")
    a.send("\0331")
    a.prompt("#lobby>")
    a.send("\0332\r")
    a.sees("<alice> hello")
    heard(server, "hello", room="#two")


def test_a_paste_ends_a_search_at_what_it_found(server, chats):
    a = chats.chat("alice")
    say(a, "something")
    a.send(CTRL_R)
    a.sees("search)")
    a.type("thing")
    a.send(PASTE + "every" + PASTE_END)
    a.prompt("#lobby> someeverything")


def test_tab_completes(server, chats):
    b = chats.chat("bobby")
    a = chats.chat("alice")
    b.sees("alice joined")
    a.type("/na")
    a.send("\t")
    a.prompt("#lobby> /names")
    a.send("\r")
    a.sees("@alice, @bobby")
    a.type("bo")
    a.send("\t")
    a.prompt("#lobby> bobby:")
    a.type("hello ")
    a.type("bo")
    a.send("\t")
    a.prompt("#lobby> bobby: hello bobby")
    a.send(CTRL_U)
    a.type("/msg bo")
    a.send("\t")
    a.prompt("#lobby> /msg bobby")
    a.send(CTRL_U)
    a.type("/join #lo")
    a.send("\t")
    a.prompt("#lobby> /join #lobby")
    a.send(CTRL_U)
    a.type("/transport posix")
    a.send("\t")
    a.prompt("#lobby> /transport posixmq")
    a.send(CTRL_U)
    a.type("/transport s")  # shm, socket, sysvmq
    a.send("\t")
    a.sees("sysvmq")
    a.send(CTRL_U)
    a.type("see bo")
    b.enter("/nick bonnie")
    a.sees("bobby is now bonnie")
    a.send("\t")
    a.prompt("#lobby> see bonnie")


def test_tab_completes_settings_their_values_and_files(server, chats):
    files = os.path.join(server.dir, "some files")
    os.makedirs(os.path.join(files, "sub dir"))
    with open(os.path.join(files, "report.txt"), "w"):
        pass
    a = chats.chat("alice", HOME=server.dir, columns=120)
    a.type("/set --save th")
    a.send("\tl\t")
    a.prompt("#lobby> /set --save theme light")
    a.send(CTRL_U)
    a.type("/set quiet ")
    a.send("y\t")
    a.prompt("#lobby> /set quiet yes")
    a.send(CTRL_U)
    a.type("/set tr")
    a.send("\tsh\t")
    a.prompt("#lobby> /set transport shm")
    a.send(CTRL_U)
    a.type("/file ~/some f")
    a.send("\t")
    a.prompt("#lobby> /file ~/some files/")
    a.send("\t")
    a.sees("report.txt")  # both are shown
    a.sees("sub dir/")
    a.send("r\t")
    a.prompt("#lobby> /file ~/some files/report.txt")
    a.until(lambda: "sub dir/" not in a.text(), "the list is gone with the next key")
    a.send(CTRL_U)
    a.type("/file li")
    a.send("\t")
    a.prompt("#lobby> /file list")


def test_alt_enter_begins_a_new_line_of_the_same_message(server, chats):
    a = chats.chat("alice")
    a.type("one")
    a.send("\033\r")
    a.type("two")
    a.prompt("#lobby> one\ntwo")
    a.send("\r")
    heard(server, "one\ntwo")
    a.until(lambda: "<alice> one\n              two" in a.text(), "the second line below the first")


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_letters_beyond_ascii(server, chats, locale):
    a = chats.chat("alice", LC_ALL=locale)
    a.type("Gr\u00fc\u00dfe ")
    a.send("\u4e2d\u6587 \U0001f642")
    a.until(lambda: a.edited().endswith("\U0001f642"), "typed")
    a.send("\033[D" * 3 + "\x7f\x7f")  # before the second ideogram and the space, those before go
    a.send("\r")
    heard(server, "Gr\u00fc\u00dfe\u6587 \U0001f642")
    a.sees("<alice> Gr\u00fc\u00dfe")


FAMILY, THUMB = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd"


@pytest.mark.parametrize("keys, left", [
    ("\x7f", f"a{FAMILY}b{THUMB}"),  # Backspace
    ("\x7f\x7f", f"a{FAMILY}b"),
    ("\033[D\033[D\x7f", f"a{FAMILY}{THUMB}c"),  # Left
    ("\033[D\033[D\033[D\x7f", f"ab{THUMB}c"),
    ("\001\033[C\033[3~", f"ab{THUMB}c"),  # Right, Delete
    ("\001\033[C\033[C\033[C\033[3~", f"a{FAMILY}bc"),
    ("\x7f\x7f\037\037\037", f"a{FAMILY}b{THUMB}c"),  # and back again
])
def test_an_emoji_of_several_code_points_is_one_character(server, chats, keys, left):
    a = chats.chat("alice", "-t", "unix")
    a.send(f"a{FAMILY}b{THUMB}c")
    a.until(lambda: a.edited().startswith("#lobby> a\U0001f468"), "typed")
    a.send(keys)
    a.send("\r")
    heard(server, left)


def test_vi_mode(server, chats):
    a = chats.chat("alice", INPUTRC=inputrc(server, "vi"))
    a.type("one two")
    a.send("\033")
    a.send("bcwthree\r")
    a.sees("<alice> one three")
    a.type("four")
    a.send("\033")
    a.send("0x\r")  # Enter in command mode
    a.sees("<alice> our")
    a.enter("five")
    a.sees("<alice> five")
    heard(server, "one three", "our", "five")


def test_ctrl_c_drops_the_line_then_leaves(server, chats):
    a = chats.chat("alice")
    a.type("never mind")
    a.send(CTRL_C)
    a.prompt("#lobby>")
    a.send(CTRL_Y)
    a.prompt("#lobby> never mind")
    a.send(CTRL_C)
    a.prompt("#lobby>")
    a.send(CTRL_C)
    a.sees("Ctrl-C again, or Ctrl-D, leaves")
    a.enter("still here")
    a.sees("<alice> still here")
    a.send(CTRL_C)
    a.sees("Ctrl-C again, or Ctrl-D, leaves", 2)
    a.leave(lambda: a.ended)
    assert a.wait() == 0
    heard(server, "still here")


def test_ctrl_d_deletes_in_a_line_and_leaves_an_empty_one(server, chats):
    a = chats.chat("alice")
    a.type("xabc")
    a.send(CTRL_A)
    a.send(CTRL_D)
    a.prompt("#lobby> abc")
    a.send(CTRL_U + "\033[F" + CTRL_U)
    a.prompt("#lobby>")
    a.send(CTRL_D)
    assert a.wait() == 0


LINES = [f"pasted {i}" for i in range(7)]
QUESTION = "Send 7 lines to #lobby? [y/N/1 = one message]"


def test_paste_of_one_line_is_just_typed(server, chats):
    a = chats.chat("alice")
    a.type("say: ")
    a.send(PASTE + "one line\n" + PASTE_END)
    a.prompt("#lobby> say: one line")


@pytest.mark.parametrize("key", ["y", "1", "n", "\r", CTRL_C, "\033"])
def test_paste_of_several_lines_asks(server, chats, key):
    a = chats.chat("alice")
    chats.say("bob", "before")
    a.sees("before")
    a.type("a draft")
    a.send(PASTE + "\r".join(LINES) + "\r" + PASTE_END)
    a.prompt(QUESTION)
    chats.say("bob", "while asking")
    a.sees("while asking")
    a.prompt(QUESTION)
    a.send("x")  # no answer
    a.send(key)
    a.prompt("#lobby> a draft")
    if key == "y":
        a.sees("<alice> pasted 6")
        heard(server, *LINES)
    elif key == "1":
        a.sees("pasted 6")
        heard(server, "\n".join(LINES))
        assert a.text().count("<alice>") == 1
    else:
        a.sees("nothing sent")
        heard(server, "before", "while asking")
    a.send("\r")
    a.sees("<alice> a draft")


def test_paste_without_its_end_freezes_nothing(server, chats):
    a = chats.chat("alice")
    a.send(PASTE + "never finished")
    chats.say("bob", "do you hear me?")
    a.sees("<bob> do you hear me?")
    a.prompt("#lobby> never finished")
    a.type(" but typed on")
    a.send("\r")
    a.sees("<alice> never finished but typed on")


def test_pasted_control_characters_do_nothing(server, chats):
    a = chats.chat("alice")
    a.send(PASTE + "a\001b\004c\025d\033[De" + PASTE_END)
    a.prompt("#lobby> abcd[De")
