"""The example as its processes, with a database of its own: a server, and over Redis, if that is here, a worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from demo.process import HERE, Process, ServerError, answers, free_ports

MODULES = {"configure": "asgi", "auto": "asgi_plain", "sdk": "asgi_own_sdk", "together": "asgi"}
SERVERS = ("uvicorn", "daphne")
CHANNELS = ("payments", "receipts")


def missing() -> str:
    """What a worker needs and this machine lacks, with the way out; empty where there is nothing."""
    if shutil.which("redis-server") is None:
        return "redis-server (on Debian: apt-get install redis-server)"
    return "" if find_spec("channels_redis") else "channels_redis (pip install 'otel-ws[demo]')"


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
        self.port, web_scrape, worker_scrape, redis = free_ports(4)
        self._url = "" if missing() else f"redis://127.0.0.1:{redis}/0"
        self._web = self._instrumented("server", self._serve(), web_scrape, lambda: answers(self.port))
        self._processes = [self._web]
        if self._url:
            work = [sys.executable, "manage.py", "runworker", *CHANNELS]
            # A worker listens to nobody but Redis; what it exports is asked for before anything is.
            worker = self._instrumented("worker", work, worker_scrape, lambda: answers(worker_scrape))
            store = [
                "redis-server",
                "--port",
                str(redis),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(self.folder),
            ]
            self._processes[:0] = [
                Process("redis", store, dict(os.environ), self.folder, self.redact, lambda: answers(redis))
            ]
            self._processes.append(worker)

    @property
    def prometheus_port(self) -> int:
        """Where the server's metrics are."""
        return self._web.prometheus_port

    @property
    def has_worker(self) -> bool:
        """Whether payments are taken, in a process of their own."""
        return bool(self._url)

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
        others = ("OTEL_", "DJANGO_", "WS_", "REDIS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        path = os.pathsep.join(filter(None, [str(HERE), kept.get("PYTHONPATH", "")]))
        return kept | {
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "tournament.settings",
            "TOURNAMENT_DB": str(self.folder / "tournament.sqlite3"),
            "TOURNAMENT_SECRET_KEY": self.key,
            "TOURNAMENT_ASGI": f"tournament.{MODULES[self.way]}.application",
            "REDIS_URL": self._url,
        }

    def _serve(self) -> list[str]:
        target = f"tournament.{MODULES[self.way]}:application"
        if self.kind == "uvicorn":
            several = ["--workers", str(self.workers)] if self.workers > 1 else []
            return [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(self.port), *several, target]
        return [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port), target]

    def _instrumented(self, name: str, command: list[str], port: int, is_ready: Callable[[], bool]) -> Process:
        json_log = self.folder / f"{name}.jsonl"
        telemetry = {
            "OTEL_SERVICE_NAME": "tournament" if name == "server" else f"tournament-{name}",
            "OTEL_TRACES_EXPORTER": "otlp",
            # The stock exporter takes the port for one worker.
            "OTEL_METRICS_EXPORTER": "otlp,prometheus" if self.workers == 1 else "otlp,ws_prometheus",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp,
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative",
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "OTEL_BLRP_SCHEDULE_DELAY": "300",
            # It would export the root logger's lines: another telemetry than the one that is counted here.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "logging",
            "OTEL_WS_JSON_LOG": str(json_log),
            "OTEL_WS_MESSAGE_EVENTS": "all",
            # Who sits at this machine may look at the page; and another server's workers are not this one's.
            "OTEL_WS_TRUST_LOOPBACK": "true",
            "OTEL_WS_GROUP": f"demo-{os.getpid()}",
        }
        if self.way in ("auto", "together"):
            found = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
            if found is None:
                raise ServerError("opentelemetry-instrument is not installed here: pip install 'otel-ws[demo]'")
            command = [found, *command]
        environment = self._environment() | telemetry
        return Process(name, command, environment, self.folder, self.redact, is_ready, port, json_log)

    # --- while -------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            for process in self._processes:
                process.start()
            for process in self._processes:
                process.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def check(self) -> None:
        """Raise if one of the processes is not running any more."""
        for process in self._processes:
            process.check()

    def scrape(self) -> list[str]:
        """The Prometheus texts of now, one of each process."""
        return [process.scrape() for process in self._processes if process.prometheus_port]

    def lines(self) -> list[str]:
        """The JSON lines that were written so far."""
        return [line for process in self._processes for line in process.lines()]

    def said(self) -> list[str]:
        """The processes' logs so far, with everything that is in them."""
        return [line for process in self._processes for line in process.said()]

    def stop(self) -> None:
        """End all, those that need another one first."""
        for process in reversed(self._processes):
            process.stop()

    def tail(self) -> str:
        """The ends of the processes' logs, without secrets."""
        return "\n".join(process.tail() for process in self._processes if process.prometheus_port)
