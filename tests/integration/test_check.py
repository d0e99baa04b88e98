"""parleyd --check and --repair: a state directory, looked at and mended offline."""

import glob
import os
import subprocess

import harness
from parleywire import Client

DAMAGE = 4096 + 1000  # inside a record near the start of a segment


def look(server, *options):
    done = subprocess.run([os.path.join(harness.BIN, "parleyd"), "--state-dir", server.state, *options],
                          capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def fill(server, count):
    with Client.connect(server.socket, "a") as c:
        room = c.join("#lobby").room
        for i in range(count):
            c.post(room, f"line {i}")
            c.until("MESSAGE")


def segment(server):
    found = glob.glob(os.path.join(server.state, "rooms", "*", "*.log"))
    assert len(found) == 1
    return found[0]


def test_check_of_a_healthy_directory_and_of_one_in_use(make_server):
    server = make_server().start()
    fill(server, 50)
    code, text = look(server, "--check")
    assert code == 1 and "EBUSY" in text
    server.stop()
    code, text = look(server, "--check")
    assert code == 0 and ": ok" in text


def test_damage_is_named_planned_and_only_then_repaired(make_server):
    server = make_server().start()
    fill(server, 100)
    server.stop()
    path = segment(server)
    with open(path, "r+b") as f:
        f.seek(DAMAGE)
        byte = f.read(1)
        f.seek(DAMAGE)
        f.write(bytes([byte[0] ^ 0xFF]))
    with open(path, "rb") as f:
        damaged = f.read()
    code, text = look(server, "--check")
    assert code == 1 and path in text and "offset" in text
    code, plan = look(server, "--repair")
    assert code == 1 and "would repair" in plan and "nothing was changed" in plan
    with open(path, "rb") as f:
        assert f.read() == damaged
    code, text = look(server, "--repair", "--yes")
    assert code == 0 and "would" not in text
    with open(path + ".quarantine", "rb") as f:
        assert f.read() == damaged, "nothing is thrown away"
    assert look(server, "--check")[0] == 0
    server.start()
    fill(server, 1)


def test_check_of_what_is_no_state_directory(make_server, tmp_path):
    server = make_server()
    server.state = str(tmp_path)
    code, text = look(server, "--check")
    assert code == 1 and str(tmp_path) in text and "--state-dir" in text
