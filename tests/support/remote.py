"""A server that is reached over TLS: its addresses, its helper processes, clients of ours, and certificates."""

import os
import re
import socket
import ssl
import subprocess

import harness
import parleywire as wire
from harness import until


def port(server):
    return int(re.search(r" tls:\S+?:(\d+)(?= )", server.ready.group(0)).group(1))


def fingerprint(server):
    return re.search(r"SHA256:[0-9a-f]{64}", server.ready.group(0)).group(0)


def address(server):
    return f"tls:127.0.0.1:{port(server)}"


def at(server):
    """What `-s` and trust of a command are: parley COMMAND *at(server) …"""
    return ["--tls-fingerprint", fingerprint(server)]


def helper(server, name):
    """The pid of a child of the server by its name (parleyd/tls, parleyd/login), or None."""
    return next(iter(harness.children_named(server.pid, name)), None)


def relay(server):
    return until(lambda: helper(server, "parleyd/tls"), "there is a relay")


def bare(server, source="127.0.0.1", deadline=60):
    """A TCP connection to the TLS port, from an address of ours."""
    s = socket.socket()
    s.settimeout(deadline)
    s.bind((source, 0))
    s.connect(("127.0.0.1", port(server)))
    return s


def wrap(sock, newest=None):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    if newest:
        ctx.maximum_version = newest
    return ctx.wrap_socket(sock)


def dial(server, source="127.0.0.1", deadline=60):
    """A client that speaks the protocol over TLS, without a word yet."""
    return wire.Client(wrap(bare(server, source, deadline)), deadline)


def connect(server, nick, source="127.0.0.1", **hello):
    """The same with an open session, or ConnectionRefusedError with the server's words."""
    c = dial(server, source)
    c.welcome = c.hello(nick, transports=[wire.TCP], **hello)
    if c.welcome.type != "WELCOME":
        c.close()
        raise ConnectionRefusedError(f"{c.welcome.code} {c.welcome.text}")
    c.counter = c.welcome.last_counter
    c.send(wire.encode("READY"))
    return c


# --- certificates ---------------------------------------------------------------------------------------------

CONFIG = """
[ca]
default_ca = own
[own]
database = {0}/index
serial = {0}/serial
new_certs_dir = {0}
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = dn
prompt = no
[dn]
CN = {1}
[leaf]
subjectAltName = {2}
"""


def openssl(*args, **more):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Authority:
    """A CA in a directory."""

    def __init__(self, where):
        self.dir = str(where)
        self.cert = os.path.join(self.dir, "ca.pem")
        self.count = 0
        for name, text in (("index", ""), ("serial", "01\n"), ("ca.cnf", CONFIG.format(self.dir, "test CA", "DNS:x"))):
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-config", os.path.join(self.dir, "ca.cnf"), "-keyout", os.path.join(self.dir, "ca.key"),
                "-out", self.cert)

    def issue(self, names="IP:127.0.0.1", start="20200101000000Z", end="20991231000000Z"):
        """(certificate file, key file)."""
        self.count += 1
        base = os.path.join(self.dir, f"leaf{self.count}")
        with open(base + ".cnf", "w") as f:
            f.write(CONFIG.format(self.dir, "server", names))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", base + ".cnf",
                "-keyout", base + ".key", "-out", base + ".csr")
        openssl("ca", "-batch", "-config", base + ".cnf", "-extensions", "leaf", "-cert", self.cert, "-keyfile",
                os.path.join(self.dir, "ca.key"), "-startdate", start, "-enddate", end, "-in", base + ".csr",
                "-out", base + ".pem", "-notext")
        return base + ".pem", base + ".key"
