"""A Redis server of Debian's on a private port, for the tests of several places.

It knows how one is started and ended, and refuses to know what is kept there.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from surroundings import free_port, until


def skip_without_redis() -> None:
    """Skip the test where the program is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server (Debian's package redis-server)")


class Redis:
    """A Redis server (or, with such options, a Sentinel) on a private port, which keeps nothing."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        address = ["--port", str(self.port), "--bind", "127.0.0.1"]
        self._command = ["redis-server", *options, *address, "--save", "", "--dir", str(folder)]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def ask(self, *words: str) -> str:
        """Send one command; returns the answer as it came (RESP), empty where nobody answers."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as one:
                one.sendall((" ".join(words) + "\r\n").encode())
                return one.recv(65536).decode()
        except OSError:
            return ""

    def answers(self) -> bool:
        """Whether it takes commands."""
        return self.ask("PING").startswith("+PONG")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        assert until(self.answers, 20)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
