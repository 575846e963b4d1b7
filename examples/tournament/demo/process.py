"""One process of the example, or one that it needs: started, watched, read and stopped."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServerError(Exception):
    """A process did not start, or ended by itself."""


def free_ports(number: int) -> list[int]:
    """Loopback ports that nobody uses now."""
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def answers(port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass
class Process:
    """A program; where it writes telemetry, ``prometheus_port`` and ``json_log`` say where that is read."""

    name: str
    command: list[str]
    environment: dict[str, str]
    folder: Path
    # Takes what must not be printed out of a text.
    redact: Callable[[str], str]
    is_ready: Callable[[], bool]
    prometheus_port: int = 0
    json_log: Path | None = None
    _running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        """Where it writes what it says."""
        return self.folder / f"{self.name}.log"

    def start(self) -> None:
        """Start it."""
        with self.log.open("wb") as log:
            self._running = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"the {self.name} was not ready within {START_SECONDS:.0f} s\n{self.tail()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise if it is not running any more."""
        if self._running is not None and self._running.poll() is not None:
            raise ServerError(f"the {self.name} ended with status {self._running.returncode}\n{self.tail()}")

    def stop(self) -> None:
        """Ask it to end, as a supervisor does, and see that it has."""
        process, self._running = self._running, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def scrape(self) -> str:
        """The Prometheus text of now."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.prometheus_port}/metrics", timeout=10) as response:
            return str(response.read().decode())

    def lines(self) -> list[str]:
        """The JSON lines that were written so far, whole ones only."""
        text = self.json_log.read_text() if self.json_log is not None and self.json_log.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def said(self) -> list[str]:
        """Its log so far, with everything that is in it."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def tail(self, lines: int = 30) -> str:
        """The end of its log, without secrets."""
        return self.redact("\n".join([f"--- the log of the {self.name} ends with:", *self.said()[-lines:]]))
