"""The example under a real server, in a process of its own, with a database of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

HERE = Path(__file__).resolve().parent.parent
MODULES = {"configure": "asgi", "auto": "asgi_plain", "sdk": "asgi_own_sdk", "together": "asgi"}
SERVERS = ("uvicorn", "daphne")
START_SECONDS = 30.0
STOP_SECONDS = 15.0


class ServerError(Exception):
    """The server did not start, or ended by itself."""


def free_ports(number: int) -> list[int]:
    """Loopback ports that nobody uses now."""
    with contextlib.ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@dataclass
class Server:
    """The example under uvicorn or daphne, instrumented in one of four ways; a context manager."""

    kind: str
    way: str
    folder: Path
    otlp: str
    key: str
    workers: int
    # Takes what must not be printed out of a text.
    redact: Callable[[str], str]

    def __post_init__(self) -> None:
        self.port, self.prometheus_port = free_ports(2)
        self.json_log = self.folder / "events.jsonl"
        self.log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def page(self) -> str:
        """Where a browser sees all of it, live."""
        return f"http://127.0.0.1:{self.port}/monitoring/"

    # --- before ------------------------------------------------------------------------------------------
    def prepare(self, fixture: str) -> None:
        """Make the tables and fill them."""
        seeds = self.folder / "seeds.json"
        seeds.write_text(fixture)
        for command in (["migrate", "--verbosity", "0"], ["loaddata", str(seeds), "--verbosity", "0"]):
            done = subprocess.run(
                [sys.executable, str(HERE / "manage.py"), *command],
                env=self._environment() | {"OTEL_SDK_DISABLED": "true"},
                cwd=HERE,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise ServerError(f"manage.py {command[0]} failed:\n{self.redact(done.stderr)}")
        seeds.unlink()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DJANGO_"))}
        path = os.pathsep.join(filter(None, [str(HERE), kept.get("PYTHONPATH", "")]))
        return kept | {
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "tournament.settings",
            "TOURNAMENT_DB": str(self.folder / "tournament.sqlite3"),
            "TOURNAMENT_SECRET_KEY": self.key,
        }

    def _telemetry(self) -> dict[str, str]:
        return {
            "OTEL_SERVICE_NAME": "tournament",
            "OTEL_TRACES_EXPORTER": "otlp",
            # The stock exporter takes the port for one worker.
            "OTEL_METRICS_EXPORTER": "otlp,prometheus" if self.workers == 1 else "otlp,ws_prometheus",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp,
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.prometheus_port),
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "OTEL_BLRP_SCHEDULE_DELAY": "300",
            # It would export the root logger's lines: another telemetry than the one that is counted here.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
            "OTEL_WS_JSON_LOG": str(self.json_log),
            "OTEL_WS_MESSAGE_EVENTS": "all",
            # Who sits at this machine may look at the page; and another server's workers are not this one's.
            "OTEL_WS_TRUST_LOOPBACK": "true",
            "OTEL_WS_GROUP": f"demo-{os.getpid()}",
        }

    def _command(self) -> list[str]:
        target = f"tournament.{MODULES[self.way]}:application"
        address = ["--port", str(self.port)]
        if self.kind == "uvicorn":
            several = ["--workers", str(self.workers)] if self.workers > 1 else []
            command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", *address, *several, target]
        else:
            command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", *address, target]
        if self.way in ("auto", "together"):
            found = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
            if found is None:
                raise ServerError("opentelemetry-instrument is not installed here: pip install 'otel-ws[demo]'")
            command.insert(0, found)
        return command

    # --- while -------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                env=self._environment() | self._telemetry(),
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._await_answer()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise ServerError(f"no answer within {START_SECONDS:.0f} s\n{self.tail()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def check(self) -> None:
        """Raise if the server is not running any more."""
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(f"the server ended with status {self._process.returncode}\n{self.tail()}")

    def scrape(self) -> str:
        """The Prometheus text of now."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.prometheus_port}/metrics", timeout=10) as response:
            return str(response.read().decode())

    def lines(self) -> list[str]:
        """The JSON lines that were written so far, whole ones only."""
        text = self.json_log.read_text() if self.json_log.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()

    def stop(self) -> None:
        """Ask the server to end, as a supervisor does, and see that it has."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tail(self, lines: int = 30) -> str:
        """The end of the server's log, without secrets."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return self.redact("\n".join(["--- the server's log ends with:", *text.splitlines()[-lines:]]))
