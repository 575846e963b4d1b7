"""What tests of several channel layers share."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """Two Redis servers of our own, which keep nothing."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server (Debian's package redis-server)")
    found, running = [], []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder: Path = tmp_path_factory.mktemp("redis")
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        found.append(port)
    for port in found:
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), 0.1).close()
                break
            except OSError:
                time.sleep(0.01)
    yield found
    for one in running:
        one.terminate()
        one.wait(10)
