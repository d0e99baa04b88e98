#!/usr/bin/python3
"""Writes the seeds of tests/fuzz/corpus anew: one small valid input of every kind for each target.
Inputs that once broke something lie beside them under other names and are left alone."""

import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))

import parleywire as wire  # noqa: E402

SAMPLES = {"u8": 1, "u16": 2, "u32": 3, "u64": 4, "id": bytes(range(16))}
LISTS = {"list": bytes(range(40)), "transports": bytes([4, 6]), "cursors": wire.cursor(bytes(16), 1, 2, 3),
         "skipped": b"\x01\x04full", "up": b"\x01\x00\x10\x00\x00", "down": b"\x00"}
TEXTS = {"text": "grüße, \N{WAVING HAND SIGN} und\ttab\nzeile", "nick": "Ävé", "room": "#lobby",
         "topic": "it's about\u00a0time"}


def body(name):
    values = {}
    for kind, field in wire.FIELDS[name]:
        values[field] = SAMPLES.get(kind) or LISTS.get(field, TEXTS.get(field, "x"))
    return wire.encode_body(name, values)


def records():
    for name, (number, _) in wire.TYPES.items():
        yield name.lower(), bytes([number]) + body(name)
    yield "sealed", wire.seal(3, body("POST"), room=1, counter=1)


def fragments():
    def piece(mark, n5, seal, data=b""):
        return bytes([mark, n5, seal]) + data.ljust(n5 * 5, b"\0")
    yield "whole", piece(1, 8, 1)
    yield "three", piece(2, 20, 41) + piece(3, 20, 0) + piece(4, 12, 0)
    yield "lanes", piece(2, 20, 41) + piece(1, 8, 3) + piece(4, 24, 0)


def rings():
    yield "ahead", bytes([0, 1, 0, 64, 4, 1, 5, 1])
    yield "wild", b"".join(bytes([0x80 | w]) + struct.pack(">Q", v) for w in range(7)
                           for v in (0, 1, 4096, 2 ** 63, 2 ** 64 - 1))


def segments():
    def patch(at, data):
        return struct.pack(">HB", at // 8, len(data)) + data
    yield "untouched", b"\0"
    yield "torn", b"\0" + patch(4096 + 400, bytes(8))
    yield "bad-number", b"\2" + patch(4096 + 16, struct.pack("<Q", 99))
    yield "bad-header", b"\1" + patch(8, b"\2\0\0\0")
    yield "header-sizes", b"\1" + patch(32, b"\xff" * 24)
    yield "cut", bytes([4 | 3 << 3])
    yield "long-length", b"\2" + patch(4096, b"\xff\xff")


def chat():
    yield "paste", b"\x05a\x1b[200~one\r\ntwo\x07\n\x1b[201~b"
    yield "open-paste", b"\x01\x1b[200~never ends"
    yield "report", b"\x02\x1b[12;34R\x1b[A"
    yield "commands", "\x11/join #lobby hello /q /transprot shm,mq /ﬁn  ".encode()
    yield "list", b"\x07shm,mq,auto,pipe,socket,unix"


def edited_line():
    yield "old-line-entered", b"abEcdEUUxE"
    yield "undone-and-left", b"abEcdEUUabUDxyUZZDDab!EUZZE"
    yield "searches", b"abEabcERa!RaPREbESb!Ra\xe3PE"
    yield "question", b"abEUxLnUyLy!E"
    yield "rooms", b"abEU1cEU1xTKY1!"


def server_options():
    lines = ["socket = /tmp/s", "state-dir = /tmp/d", "listen = 127.0.0.1:0", "workers = 2", "rate = 5",
             "transports = shm,mq,socket", "sync = always", "place = hub", "wait = spin"]
    yield "file", b"\0" + "\n".join(lines).encode()
    yield "arguments", b"\1" + "\n".join(["--" + x.replace(" = ", "=") for x in lines]).encode()
    yield "words", b"\1--workers\n3\n-v\n--listen\n[::1]:7000"
    yield "section", b"\0[x]\nrate=1\n; note\n"


def client_options():
    lines = ["transport = shm,unix", "nick = eve", "server = tcp:localhost:7000", "color = never",
             "wait = adaptive", "quiet = yes", "since = 1.5h", "last = 20", "ignore = bot*,x"]
    yield "file", b"\0" + "\n".join(lines).encode()
    yield "arguments", b"\1" + "\n".join(["--" + x.replace(" = ", "=") for x in lines]).encode()
    yield "words", b"\1-t\nmq\n-n\neve\n--since\n200ms\n#lobby"


KINDS = {"record": records, "fragment": fragments, "ring": rings, "recover": segments,
         "chat_input": chat, "chat_edit": edited_line, "server_options": server_options, "client_options": client_options}

for target, seeds in KINDS.items():
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    for name, data in seeds():
        with open(os.path.join(folder, "seed-" + name), "wb") as f:
            f.write(data)
