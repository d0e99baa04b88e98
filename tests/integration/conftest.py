"""Fixtures of the integration tests beside those of all."""

import socket

import pytest


@pytest.fixture
def free_port():
    """A TCP port of the loopback interface that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
