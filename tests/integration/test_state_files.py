"""The small files of the state directory when they are broken or open to others: each is named in the log and set
aside or mended, and nothing is dropped silently."""

import glob
import os
import stat
import subprocess

import pytest

import harness


def path(server, name):
    return os.path.join(server.state, name)


def restart_with(server, name, content):
    server.start()
    server.ok("send", "#lobby", "before")
    server.stop()
    with open(path(server, name), "wb") as f:
        f.write(content)
    server.start()


def was_set_aside(server, name, content, why):
    assert f"{path(server, name)}: {why}" in server.output()
    with open(path(server, f"{name}.broken-1"), "rb") as f:
        assert f.read() == content


@pytest.mark.parametrize("content", [b"", b"zzz\n", b"12", b"99999999999\n"])
def test_broken_epoch_is_set_aside_and_none_is_used_twice(make_server, content):
    server = make_server()
    restart_with(server, "epoch", content)
    was_set_aside(server, "epoch", content, "not the number of a start")
    with open(path(server, "epoch"), encoding="ascii") as f:
        assert int(f.read()) > 1_000_000_000
    assert [m["text"] for m in server.json("history", "#lobby") if m["type"] == "message"] == ["before"]


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_broken_secret_is_set_aside(make_server, content):
    server = make_server()
    restart_with(server, "secret", content)
    was_set_aside(server, "secret", content, "not a secret of 32 bytes")
    assert os.path.getsize(path(server, "secret")) == 32


@pytest.mark.parametrize("name", ["secret", "accounts", "tls-key.pem"])
def test_what_others_could_read_is_named_and_closed(make_server, name):
    server = make_server()
    server.start("--listen", "tls:127.0.0.1:0")
    server.stop()
    with open(path(server, "accounts"), "a", encoding="ascii") as f:
        f.write("parley accounts 1\n")
    os.chmod(path(server, name), 0o644)
    server.start("--listen", "tls:127.0.0.1:0")
    assert f"{path(server, name)} was mode 0644" in server.output()
    assert stat.S_IMODE(os.stat(path(server, name)).st_mode) == 0o600


@pytest.mark.parametrize("name", ["epoch", "secret", "nicks", "marks", "accounts", "files/{}.info", "files/{}.data",
                                  "rooms/00000009"])
def test_check_names_what_is_broken(make_server, name):
    server = make_server().start()
    sent = os.path.join(server.dir, "sent")
    with open(sent, "w", encoding="ascii") as f:
        f.write("contents")
    server.ok("file", "put", "#lobby", sent)
    server.stop()
    check = [harness.PARLEYD, "--check", "--state-dir", server.state]
    done = subprocess.run(check, capture_output=True, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 0 and "1 files: ok" in done.stdout, done.stdout
    file = os.path.basename(glob.glob(path(server, "files/*.info"))[0]).removesuffix(".info")
    broken = path(server, name.format(file))
    if os.path.exists(broken):
        os.chmod(broken, 0o600)
    with open(broken, "w", encoding="ascii") as f:
        f.write("junk\n")
    done = subprocess.run(check, capture_output=True, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 1 and f"{broken}: " in done.stdout and "NOT WELL" in done.stdout


def test_doctor_looks_at_what_is_kept(make_server):
    server = make_server().start()
    home = os.path.join(server.dir, "home")
    state, config = os.path.join(home, ".local/state/parley"), os.path.join(home, ".config/parley")
    os.makedirs(os.path.join(state, "files"))
    os.makedirs(config)
    assert f"{state}, " in server.ok("doctor") and " MiB free" in server.ok("doctor")
    secrets = [os.path.join(state, "accounts"), os.path.join(state, "tls-key.pem"), os.path.join(config, "credentials")]
    for file in secrets:
        with open(file, "w", encoding="ascii"):
            os.chmod(file, 0o644)
    with open(os.path.join(state, "nicks.broken-1"), "w", encoding="ascii"):
        pass
    done = server.run("doctor")
    assert done.returncode == 1
    for file in secrets:
        assert f"{file}, mode 0644. others can use it: chmod 600" in done.stdout
    assert "1 set aside because they were broken. Look at" in done.stdout


def test_room_of_a_newer_server_is_left_alone_and_said_to_be_one(make_server):
    server = make_server().start()
    server.ok("send", "#future", "from then")
    server.stop()
    (log,) = [f for f in glob.glob(path(server, "rooms/*/*.log")) if b"#future" in open(f, "rb").read()]
    with open(log, "r+b") as f:
        f.seek(8)  # the version, behind the magic
        f.write(b"\x09")
        f.seek(0)
        before = f.read()
    server.start()
    assert f"room directory {os.path.dirname(log)} was written by a newer parleyd" in server.output()
    server.ok("send", "#lobby", "others are served")
    server.stop()
    with open(log, "rb") as f:
        assert f.read() == before
