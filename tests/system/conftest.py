"""Real servers as subprocesses on loopback, and what they told as JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from redis_server import Redis, skip_without_redis
from surroundings import bare_environment, free_port, until

APPS = Path(__file__).parent / "apps"
SERVERS = {
    "uvicorn-websockets": ("uvicorn", "--ws", "websockets"),
    "uvicorn-wsproto": ("uvicorn", "--ws", "wsproto"),
    "daphne": ("daphne",),
    "hypercorn": ("hypercorn",),
}
QUIET = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


class Running:
    """One server process."""

    def __init__(self, command: list[str], port: int, folder: Path, environment: dict[str, str]) -> None:
        self.port = port
        self._from = 0
        self.lines_path = folder / f"lines-{port}.jsonl"
        self.output_path = folder / f"output-{port}.txt"
        path = os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH", "")]))
        environment = {
            **bare_environment(), **QUIET, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "OTEL_WS_MESSAGE_EVENTS": "all",
            "OTEL_WS_JSON_LOG": str(self.lines_path), **environment,
        }  # fmt: skip
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def address(self, path: str) -> str:
        """A WebSocket address of this server."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def output(self) -> str:
        """What the server printed so far."""
        return self.output_path.read_text(errors="replace")

    def ready(self) -> bool:
        """Whether the server answers; raises with its output if it ended instead."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.output()}")
        try:
            self.state()
        except OSError:
            return False
        return True

    def ask(self, path: str, seconds: float = 5) -> dict[str, Any]:
        """What the application answers over HTTP."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=seconds) as answer:
            return dict(json.load(answer))

    def state(self) -> dict[str, Any]:
        """What the application says of itself."""
        return self.ask("/state")

    def metric(self, name: str) -> dict[tuple[str, ...], Any]:
        """The rows of one metric in the application's snapshot, since the process began."""
        return {tuple(key): value for key, value in self.state()["metrics"].get(name, [])}

    def lines(self, name: str | None = None, path: Path | None = None) -> list[dict[str, Any]]:
        """The JSON lines of this test so far: all, or those of one event; a verdict on health only where asked for."""
        path, start = (path, 0) if path else (self.lines_path, self._from)
        found = [json.loads(line) for line in path.read_text().splitlines()[start:]] if path.exists() else []
        return [line for line in found if name == line["event"] or (name is None and line["event"] != "WS_HEALTH")]

    def begin(self) -> Running:
        """What was told so far is another test's."""
        self._from = len(self.lines_path.read_text().splitlines()) if self.lines_path.exists() else 0
        return self

    def kill(self) -> None:
        """End the process at once, with its workers: they would outlive it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Ask the process to end; kill it if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return int(self.process.returncode)


def start_server(
    folder: Path, server: str, application: str = "two_lines:application", *, zero_code: bool = False,
    wait: bool = True, port: int | None = None, more: Sequence[str] = (), **environment: str,
) -> Running:  # fmt: skip
    """Start a server with an application and ``more`` options, and wait until it answers."""
    module, *options = SERVERS[server]
    for needed in {module, options[-1] if options else module}:
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    port = port or free_port()
    if module == "daphne":
        address = ["-b", "127.0.0.1", "-p", str(port)]
    elif module == "hypercorn":
        address = ["-b", f"127.0.0.1:{port}", "--graceful-timeout", "1"]
    else:
        address = ["--port", str(port), "--timeout-graceful-shutdown", "2"]
    runner = [sys.executable, "-m", module]
    if zero_code:
        runner = [str(Path(sys.executable).with_name(name)) for name in ("opentelemetry-instrument", module)]
    one = Running([*runner, *options, *address, *more, application], port, folder, environment)
    if wait:
        try:
            assert until(one.ready, 20), one.output()
        except BaseException:
            one.kill()
            raise
    return one


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., Redis]]:
    """Start one of Debian's redis-servers; all that were started end with the test."""
    skip_without_redis()
    started: list[Redis] = []

    def start(*options: str) -> Redis:
        started.append(Redis(tmp_path, *options))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def redis(start_redis: Callable[..., Redis]) -> Redis:
    """One Redis server."""
    return start_redis()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a server of the test's own; everything that was started ends with the test."""
    started: list[Running] = []

    def start(*args: Any, **kwargs: Any) -> Running:
        started.append(start_server(tmp_path, *args, **kwargs))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start ``runworker`` for the application ``arena``; messages that are sent before it is ready wait for it."""
    started: list[Running] = []

    def start(*channels: str, **environment: str) -> Running:
        # Django's checks would load the application, with its URLs, before the worker asks for its layer.
        options = ["--settings", "arena_settings", "--skip-checks"]
        command = [sys.executable, "-m", "django", "runworker", *channels, *options]
        started.append(Running(command, len(started), tmp_path, environment))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def running_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Running]]:
    """Servers with the two lines that tests share, each started when it is first asked for."""
    started: dict[str, Running] = {}

    def get(name: str) -> Running:
        if name not in started:
            started[name] = start_server(tmp_path_factory.mktemp(name), name)
        return started[name]

    yield get
    for one in started.values():
        one.kill()


@pytest.fixture
def running(running_servers: Callable[[str], Running], server_name: str) -> Running:
    """A shared server: only what it tells from now on is this test's."""
    return running_servers(server_name).begin()


@pytest.fixture(params=list(SERVERS))
def server_name(request: pytest.FixtureRequest) -> str:
    """Each supported server in turn."""
    return str(request.param)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Poll until a condition holds."""
    return until
