"""The bundle's programs as processes on loopback: started by compose's own commands, waited for, stopped, measured.

It knows ports, logs and process ids, and refuses to know what the programs keep.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self, TypeVar

from tests.collector.stack import build, compose
from tests.collector.stack.places import SECRETS, Places

# The program in each image, and the address that says that it is ready.
BINARIES: Final = {
    "prometheus": ("prometheus", 9090, "/-/ready"),
    "alertmanager": ("alertmanager", 9093, "/-/ready"),
    "loki": ("loki", 3100, "/ready"),
    "tempo": ("tempo", 3200, "/ready"),
    "jaeger": ("jaeger", 13133, "/status"),
    "collector": ("otelcol", 13133, "/"),
}
START_SECONDS: Final = 90.0
# Tempo and Jaeger wait for their clients to leave.
STOP_SECONDS: Final = 4.0
DOORS: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Found = TypeVar("Found")


class StackError(Exception):
    """A program did not start, or ended; the text has the end of its log."""


def call(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and the text of an answer; 0 and why, where nobody answers."""
    request = urllib.request.Request(url, data, headers or {})
    try:
        with DOORS.open(request, timeout=15) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


def eventually(look: Callable[[], Found], seconds: float = 30.0, pause: float = 0.25) -> Found:
    """The first answer that is true, or the last one when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(pause)


class Stack:
    """The programs over one folder; a context manager."""

    def __init__(self, data: Path, *, keep_every_trace: bool = True, profile: str = "jaeger") -> None:
        self.data = data
        self.places = Places(data)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.more_options: dict[str, list[str]] = {}
        self.settings: dict[str, dict[str, str]] = {}
        self.ready: dict[str, float] = {}
        self._services = compose.load(environment={"COMPOSE_PROFILES": profile, "TRACES": profile})["services"]
        self.places.write(keep_every_trace=keep_every_trace)
        (data / "logs").mkdir(exist_ok=True)
        for name, (_, number, _) in BINARIES.items():
            self.places.port(name, number)
            self.options(name)
        self.webhook_port = self.places.port("webhook", 80)
        self.places.folder(SECRETS).joinpath("alert_webhook_url").write_text(self.places.url("webhook", 80))
        self.places.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def options(self, name: str) -> list[str]:
        """Compose's own command for a program, with places of here."""
        return [self.places.text(name, part) for part in compose.command(self._services[name])]

    def command(self, name: str) -> list[str]:
        """What runs a program: itself, or the script that compose runs it by."""
        *script, _ = self._services[name].get("entrypoint") or [name]
        program = str(build.program(BINARIES[name][0]))
        script = [self.places.text(name, part) for part in script]
        return [*script, program, *self.options(name), *self.more_options.get(name, [])]

    def environment(self, name: str) -> dict[str, str]:
        """What a program sees: of compose's settings those that a script reads, and those of a test."""
        service = self._services[name]
        given = service["environment"] if service.get("entrypoint") else {}
        here = {"GOMAXPROCS": "2", "JAEGER_LISTEN_HOST": "127.0.0.1"}
        return {**os.environ, **given, **here, **self.settings.get(name, {})}

    def url(self, name: str, path: str = "") -> str:
        """An address of a program's API."""
        number = {"jaeger": 16686, "collector": 4318}.get(name, BINARIES[name][1])
        return self.places.url(name, number, path)

    def start(self, *names: str) -> None:
        """Start programs (default: all) side by side, and wait until each is ready."""
        began = time.monotonic()
        waiting = list(names or BINARIES)
        for name in waiting:
            with self.log_of(name).open("ab") as log:
                self.running[name] = subprocess.Popen(
                    self.command(name),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.data,
                    env=self.environment(name),
                    start_new_session=True,
                )
        while waiting:
            for name in list(waiting):
                _, number, path = BINARIES[name]
                if self.running[name].poll() is not None:
                    raise StackError(f"{name} ended:\n{self.log(name)[-3000:]}")
                if call(self.places.url(name, number, path))[0] == 200:
                    self.ready[name] = time.monotonic() - began
                    waiting.remove(name)
            if time.monotonic() - began > START_SECONDS:
                raise StackError(f"not ready after {START_SECONDS:.0f} s: {waiting}\n{self.log(waiting[0])[-3000:]}")
            time.sleep(0.1)

    def stop(self, *names: str, how: signal.Signals = signal.SIGTERM, patience: float = STOP_SECONDS) -> None:
        """Stop programs (default: all that run), and see that each has ended."""
        leaving = {name: self.running.pop(name) for name in names or tuple(self.running)}
        for process in leaving.values():
            process.send_signal(how)
        deadline = time.monotonic() + patience
        for process in leaving.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()

    def log_of(self, name: str) -> Path:
        """The file with a program's output."""
        return self.data / "logs" / f"{name}.log"

    def log(self, name: str) -> str:
        """A program's output so far."""
        path = self.log_of(name)
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def memory(self) -> dict[str, int]:
        """Resident memory of each running program, in MB."""
        found = {}
        for name, process in self.running.items():
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            found[name] = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) // 1024
        return found
