"""Two users of one host, each at a terminal: who made a room decides who is in it, and names stay with those
who had them first. The server belongs to a third, as on a shared machine."""

import os
import shutil

import pytest

import harness

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

NORA, OTTO = 65534, 65533


@pytest.fixture
def server(make_server):
    s = make_server()
    os.chmod(s.dir, 0o755)
    return s.start("--workers", "1")


@pytest.fixture
def seat(server, chats):
    """seat(uid, nick, *arguments): a user sits down at a terminal and starts the chat."""
    program = os.path.join(server.dir, "parley")
    shutil.copy(harness.PARLEY, program)
    os.chmod(program, 0o755)

    def begin(uid, nick, *args):
        home = chats.home(f"of-{uid}")
        if not os.path.isdir(home):
            os.makedirs(home)
            os.chown(home, uid, uid)
        os.chmod(os.path.dirname(home), 0o755)
        as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        return chats.start([*as_user, program, "-n", nick, "-s", server.address, *args],
                           chats.env(f"of-{uid}", HOME=home))
    return begin


def test_room_between_two_users(seat):
    nora = seat(NORA, "nora", "#den")
    nora.prompt("#den>")
    otto = seat(OTTO, "otto", "#den")
    otto.prompt("#den>")
    nora.sees("otto joined")
    otto.enter("/names")
    otto.sees("-- #den: @nora, otto (2 here)")
    otto.enter("/mode private on")
    otto.sees("only an operator of #den")

    nora.enter("/kick otto too loud")
    otto.sees("you are out of #den: kicked by nora: too loud")
    otto.enter("/join #den")  # an open room: he may come back
    otto.prompt("#den>")
    nora.enter("/mode private on")
    nora.sees("nora made the room private")
    nora.enter("/kick otto once more")
    otto.sees("you are out of #den: kicked by nora: once more")
    otto.enter("/join #den")
    otto.sees("cannot join #den: that room is private: ask one of its operators")
    otto.enter("/list")
    otto.sees("-- none")  # there is no other

    nora.enter("/invite otto")
    otto.sees("nora invites you to #den. To go there: /join #den")
    otto.enter("/join #den")
    otto.prompt("#den>")
    otto.enter("thank you")
    nora.sees("<otto> thank you")

    nora.enter("/ban otto enough")
    nora.sees("nora banned otto: enough")
    otto.sees("you are out of #den: banned by nora: enough")
    otto.enter("/nick zed")
    otto.sees("zed")
    otto.enter("/join #den")  # whatever he calls himself
    otto.sees("cannot join #den: you are banned there")
    nora.enter("/unban zed")
    nora.sees("nora lifted the ban of")
    nora.enter("/invite zed")
    nora.sees("nora invited zed")
    otto.sees("nora invites you to #den. To go there: /join #den")
    otto.enter("/join #den")
    otto.prompt("#den>")


def test_name_stays_with_who_had_it_first(seat):
    nora = seat(NORA, "nora", "#den")
    nora.prompt("#den>")
    otto = seat(OTTO, "nora")
    otto.sees(f"refused: nora belongs to somebody else (uid:{NORA})")
    otto.sees("Free: nora2")
    assert otto.wait() == 77
    otto = seat(OTTO, "otto")
    otto.prompt("#lobby>")
    otto.enter("/nick Nora")
    otto.sees("Free: Nora2")
    nora.enter("/quit")
    assert nora.wait() == 0
    otto.enter("/nick nora")  # also while she is away
    otto.sees("Free: nora2")
    otto.enter("still otto")
    otto.sees("<otto> still otto")
    nora = seat(NORA, "nora")
    nora.prompt("#lobby>")
    nora.sees("<otto> still otto")
