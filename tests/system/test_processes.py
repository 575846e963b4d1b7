"""Several workers of one host answer as one: exact, whoever is asked, whoever is killed, on every server."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPException
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from surroundings import bare_environment, free_port, help_of

pytest.importorskip("channels")
pytest.importorskip("opentelemetry.exporter.prometheus")
pytest.importorskip("websockets")

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

pytestmark = [
    pytest.mark.skipif(
        not entry_points(group="opentelemetry_metrics_exporter", name="ws_prometheus"),
        reason="the entry points of otel-ws are not installed; nox -s system installs the wheel",
    ),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="who serves is read from /proc"),
]
APPS = Path(__file__).parent / "apps"
APPLICATION = "counting:application"
WORKERS = 3
# With the packages that each needs. `{fd}` is a socket that several processes of their own accept from.
SERVERS: dict[str, tuple[list[str], str]] = {
    "uvicorn": (["uvicorn"], "uvicorn --workers 3 --port {port} --timeout-graceful-shutdown 2 {app}"),
    "gunicorn": (
        ["gunicorn", "uvicorn_worker"],
        "gunicorn -w 3 -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} {app}",
    ),
    "gunicorn, preloaded": (
        ["gunicorn", "uvicorn_worker"],
        "gunicorn -w 3 -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} --preload {app}",
    ),
    "hypercorn": (["hypercorn"], "hypercorn -w 3 -b 127.0.0.1:{port} --graceful-timeout 1 {app}"),
    "granian": (["granian"], "granian --interface asgi --workers 3 --host 127.0.0.1 --port {port} {app}"),
    "daphnes on one socket": (["daphne"], "daphne --fd {fd} {app}"),
}  # fmt: skip
SAMPLE = re.compile(r"^(\w+(?:\{.*\})?) (\S+)$", re.MULTILINE)


class Family:
    """The workers of one application, behind one port, scraped on another."""

    def __init__(self, name: str, folder: Path, options: str = "") -> None:
        self.runtime = folder / "run"
        self.runtime.mkdir(exist_ok=True)
        self._output = folder / "output.txt"
        self._folder = folder
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.scrape_port = free_port()
        command = SERVERS[name][1].format(port=self.port, app=APPLICATION, fd=self._listening.fileno()).split()
        command[1:1] = options.split()
        command[0] = str(Path(sys.executable).with_name(command[0]))
        if name.startswith("gunicorn") and "--no-control-socket" in help_of("gunicorn"):
            command.insert(1, "--no-control-socket")
        self._is_apart = "{fd}" in SERVERS[name][1]
        if not self._is_apart:
            self._listening.close()
        self._started = [self._start(command) for _ in range(WORKERS if self._is_apart else 1)]

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {
            **bare_environment(), "PYTHONPATH": str(APPS), "PYTHONUNBUFFERED": "1", "OTEL_TRACES_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "ws_prometheus", "OTEL_SERVICE_NAME": "counting",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.scrape_port), "OTEL_WS_RUNTIME_DIR": str(self.runtime),
        }  # fmt: skip
        fds = [self._listening.fileno()] if self._is_apart else []
        with self._output.open("ab") as output:
            return subprocess.Popen(
                command, env=environment, cwd=self._folder, stdout=output, stderr=output, pass_fds=fds,
                start_new_session=True,
            )  # fmt: skip

    def output(self) -> str:
        """What all of them printed so far."""
        return self._output.read_text(errors="replace")

    def members(self) -> set[int]:
        """Workers that share their counts, by who holds a file of cells open."""
        return {pid for one in self._started for pid in (one.pid, *below(one.pid)) if has_cells(pid)}

    def files(self) -> list[Path]:
        """The cells of all processes, also of those that ended and were not added up yet."""
        return list(self.runtime.glob("otel-ws-*/*/*.cells"))

    def scrape(self) -> dict[str, float]:
        """What one of them says for all; asked again where the one that was asked died over it."""
        for _ in range(3):
            try:
                return self.ask()
            except (ConnectionError, URLError, HTTPException):
                continue
        return self.ask()

    def ask(self) -> dict[str, float]:
        """What one of them says for all."""
        with urllib.request.urlopen(f"http://localhost:{self.scrape_port}/metrics", timeout=10) as answer:
            return {name: float(value) for name, value in SAMPLE.findall(answer.read().decode())}

    def total(self, metric: str, **labels: str) -> float:
        """The sum of a metric's series with these labels."""
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        return sum(
            value
            for name, value in self.scrape().items()
            if name.partition("{")[0] == metric and all(one in name for one in wanted)
        )

    def is_ready(self) -> bool:
        """Whether all workers serve and share, and one can be scraped: that it serves is noticed within a second."""
        if any(one.poll() is not None for one in self._started):
            raise RuntimeError(self.output())
        try:
            self.get()
            self.ask()
        except (OSError, HTTPException):
            return False
        return len(self.members()) == WORKERS

    def get(self) -> None:
        """An ordinary request."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=5) as answer:
            answer.read()

    def end(self) -> None:
        """End all of them."""
        for one in self._started:
            for with_signal in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(one.pid, with_signal)
                    one.wait(5)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
            one.wait()
        self._listening.close()


def below(pid: int) -> set[int]:
    """All processes that one started, and those that these started."""
    try:
        children = {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()
    return children.union(*(below(child) for child in children))


def has_cells(pid: int) -> bool:
    """Whether a process has cells of its own open for writing."""
    for one in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            if str(one.readlink()).endswith(".labels"):
                return True
        except OSError:
            continue
    return False


@pytest.fixture
def family(tmp_path: Path, wait_until: Any) -> Iterator[Callable[..., Family]]:
    """Start the workers of a server, and wait until they serve; they end with the test."""
    started: list[Family] = []

    def start(name: str, options: str = "", *, is_steady: bool = True) -> Family:
        if missing := [one for one in SERVERS[name][0] if find_spec(one) is None]:
            pytest.skip(f"{missing[0]} is not installed")
        started.append(Family(name, tmp_path, options))
        if is_steady:
            assert wait_until(started[-1].is_ready, 60), started[-1].output()
        return started[-1]

    yield start
    for one in started:
        one.end()


class Clients:
    """People at work: what they sent, and what came back."""

    def __init__(self, port: int) -> None:
        self.address = f"ws://127.0.0.1:{port}/ws/match/3/"
        self.sent = self.answered = self.connected = 0

    async def talk(self, messages: int) -> None:
        """One conversation from hello to goodbye."""
        async with connect(self.address) as peer:
            self.connected += 1
            for _ in range(messages):
                self.sent += 1
                await peer.send('{"type": "echo"}')
                await peer.recv()
                self.answered += 1

    async def talk_until(self, over: threading.Event) -> None:
        """One conversation after the other, whatever becomes of the workers."""
        while not over.is_set():
            try:
                await self.talk(20)
            except (OSError, WebSocketException, EOFError):
                await asyncio.sleep(0.05)


async def together(clients: Clients, conversations: int, messages: int) -> None:
    """So many conversations at the same time."""
    await asyncio.gather(*(clients.talk(messages) for _ in range(conversations)))


def falls(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """The counters that are lower than they were, or gone."""
    return [
        name
        for name, value in before.items()
        if re.match(r"\w+(_total|_count|_sum|_bucket)(\{|$)", name) and after.get(name, -1.0) < value
    ]


@pytest.mark.parametrize("name", list(SERVERS))
def test_whoever_is_asked_answers_for_all(family: Any, wait_until: Any, name: str) -> None:
    """On every server: 600 messages over three workers are 600 in each of 20 answers; nobody's counter is another's."""
    one = family(name)
    clients = Clients(one.port)

    asyncio.run(together(clients, 30, 20))

    counted = {"status": "success", "type": "echo"}
    assert wait_until(lambda: one.total("ws_messages_total", **counted) == 600.0), one.output()
    assert [600.0] * 20 == [one.total("ws_messages_total", **counted) for _ in range(20)]
    assert 30.0 == one.total("ws_connections_total", status="connected")
    assert wait_until(lambda: one.total("ws_connections_total", status="disconnected") == 30.0)
    assert 0.0 == one.total("ws_active_connections")
    assert 600.0 == one.total("ws_message_latency_seconds_count")
    assert not [sample for sample in one.scrape() if sample.startswith("app_")]
    assert "Traceback" not in one.output()


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_killed_between_messages_nothing_is_lost(family: Any, wait_until: Any, name: str) -> None:
    """A worker that is killed while its clients wait takes its open connections with it, and not one count."""
    one = family(name)
    expected = 0

    async def round_of(victim: int) -> None:
        nonlocal expected
        clients = Clients(one.port)
        async with (
            connect(clients.address) as first,
            connect(clients.address) as second,
            connect(clients.address) as third,
        ):
            for peer in (first, second, third):
                for _ in range(50):
                    await peer.send('{"type": "echo"}')
                    await peer.recv()
            expected += 150
            whole = await asyncio.to_thread(wait_until, lambda: one.total("ws_messages_total", type="echo") == expected)
            assert whole, one.output()
            os.kill(victim, signal.SIGKILL)
            assert await asyncio.to_thread(wait_until, lambda: victim not in one.members())
            assert [float(expected)] * 5 == [one.total("ws_messages_total", type="echo") for _ in range(5)]

    for _ in range(3):
        assert wait_until(lambda: len(one.members()) == WORKERS, 30), one.output()
        asyncio.run(round_of(min(one.members())))

    assert wait_until(lambda: one.total("ws_active_connections") == 0.0)
    assert float(expected) == one.total("ws_messages_total", type="echo")
    assert float(expected) == one.total("ws_message_latency_seconds_count")


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_killed_under_load_no_answer_falls(family: Any, wait_until: Any, name: str) -> None:
    """Four workers are killed while eight clients talk: over 100 answers no counter falls, and the end is exact.

    A message whose answer went out, but whose worker was killed before its handler ended, is not counted: that is one
    at most for each client and kill.
    """
    one = family(name)
    clients, over, kills = Clients(one.port), threading.Event(), 4
    seen: list[dict[str, float]] = []
    unanswered: Counter[str] = Counter()

    def ask() -> None:
        while not over.is_set() or len(seen) < 100:
            try:
                seen.append(one.ask())
            except (OSError, HTTPException) as exc:
                # The worker that was asked died over it; who asks again at once is refused a hundred times as one.
                unanswered[str(exc)] += 1
                time.sleep(0.05)

    async def load() -> None:
        await asyncio.gather(*(clients.talk_until(over) for _ in range(8)))

    threads = [threading.Thread(target=ask), threading.Thread(target=lambda: asyncio.run(load()))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            assert wait_until(lambda: len(one.members()) == WORKERS, 30), one.output()
            before = clients.answered
            assert wait_until(lambda before=before: clients.answered > before + 200, 30)
            os.kill(max(one.members()), signal.SIGKILL)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)

    assert len(seen) >= 100
    assert [] == [fallen for before, after in itertools.pairwise(seen) for fallen in falls(before, after)]
    assert {name for sample in seen for name in sample if name.startswith("app_")} == set()
    total = float(one.total("ws_messages_total", type="echo"))
    assert clients.answered - 8 * kills <= total <= clients.sent
    assert wait_until(lambda: one.total("ws_active_connections") == 0.0)
    assert unanswered.total() <= 20 * kills, unanswered


def test_workers_that_are_recycled_leave_their_counts_and_no_files(family: Any, wait_until: Any) -> None:
    """Workers that end after a few requests each: every message counts once, and files are as many as workers."""
    one = family("uvicorn", "--limit-max-requests 20", is_steady=False)
    assert wait_until(lambda: len(one.members()) == WORKERS, 60), one.output()
    clients = Clients(one.port)
    served: set[int] = set()
    deadline = time.monotonic() + 60

    async def until_recycled() -> None:
        while len(served) < 3 * WORKERS and time.monotonic() < deadline:
            try:
                await clients.talk(5)
                for _ in range(10):
                    # Uvicorn counts these, and no WebSocket.
                    await asyncio.to_thread(one.get)
            except (OSError, WebSocketException, EOFError):
                await asyncio.sleep(0.1)
            served.update(await asyncio.to_thread(one.members))

    asyncio.run(until_recycled())

    assert len(served) >= 3 * WORKERS, one.output()
    assert wait_until(lambda: len(one.members()) == WORKERS, 30)
    assert clients.answered <= one.total("ws_messages_total", type="echo") <= clients.sent
    assert len(one.files()) <= 2 * WORKERS


def test_a_new_start_begins_at_zero(family: Any, wait_until: Any) -> None:
    """Where no worker is left the next start is a new group."""
    first = family("uvicorn")
    asyncio.run(together(Clients(first.port), 3, 2))
    assert wait_until(lambda: first.total("ws_messages_total", type="echo") == 6.0)
    first.end()

    second = family("uvicorn")
    asyncio.run(together(Clients(second.port), 1, 1))

    assert wait_until(lambda: second.total("ws_messages_total", type="echo") == 1.0)
    assert WORKERS == len(second.files())
