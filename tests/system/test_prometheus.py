"""``ws_prometheus`` under real servers with several workers: who holds the port, who answers, who goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from surroundings import bare_environment, free_port, help_of

pytest.importorskip("channels")
pytest.importorskip("opentelemetry.exporter.prometheus")
pytest.importorskip("websockets")

from websockets.asyncio.client import connect

pytestmark = [
    pytest.mark.skipif(
        not entry_points(group="opentelemetry_metrics_exporter", name="ws_prometheus"),
        reason="the entry points of otel-ws are not installed; nox -s system installs the wheel",
    ),
    pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="who holds a port is read from /proc"),
]
APPS = Path(__file__).parent / "apps"
PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"
SUPERVISORS = {
    # Its supervisor kills workers that a busy machine does not let answer within 5 s.
    "uvicorn": [
        "uvicorn",
        "--workers",
        "2",
        "--port",
        "{port}",
        "--timeout-graceful-shutdown",
        "2",
        "--timeout-worker-healthcheck",
        "60",
    ],
    "gunicorn": ["gunicorn", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}"],
}
SUPERVISORS["gunicorn, preloaded"] = [*SUPERVISORS["gunicorn"], "--preload"]


def scrape(port: int) -> str:
    """What the endpoint says; nothing if there is none."""
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


class Family:
    """A supervisor with its workers."""

    def __init__(self, name: str, folder: Path, zero_code: bool, application: str, environment: dict[str, str]) -> None:
        self.port, self.scrape_port = free_port(), free_port()
        command = [one.format(port=self.port) for one in [*SUPERVISORS[name], application]]
        if name.startswith("gunicorn") and "--no-control-socket" in help_of("gunicorn"):
            command.insert(1, "--no-control-socket")
        runner = [str(Path(sys.executable).with_name("opentelemetry-instrument"))] if zero_code else []
        command[0] = str(Path(sys.executable).with_name(command[0]))
        environment = {
            **bare_environment(), "PYTHONPATH": str(APPS), "PYTHONUNBUFFERED": "1", "OTEL_TRACES_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "ws_prometheus", PORT: str(self.scrape_port),
            **environment,
        }  # fmt: skip
        self._output = folder / f"output-{self.port}.txt"
        with self._output.open("wb") as output:
            self.supervisor = subprocess.Popen(
                [*runner, *command], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )

    def output(self) -> str:
        """What all of them printed so far."""
        return self._output.read_text(errors="replace")

    def is_ready(self) -> bool:
        """Whether two workers have started, and the application answers."""
        if self.supervisor.poll() is not None:
            raise RuntimeError(self.output())
        return self.output().count("Application startup complete") >= 2 and self.answers()

    def answers(self) -> bool:
        """Whether the application answers over HTTP."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def children(self) -> set[int]:
        """All processes that the supervisor started."""
        pid = self.supervisor.pid
        return {int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def holders(self) -> set[int]:
        """The processes of the family that listen on the scrape port."""
        held = {
            f"socket:[{line.split()[9]}]"
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{self.scrape_port:04X}") and line.split()[3] == "0A"
        }
        return {pid for pid in (self.supervisor.pid, *self.children()) if not held.isdisjoint(open_files(pid))}

    def end(self) -> None:
        """End the supervisor and what is left of its workers."""
        children = self.children() if self.supervisor.poll() is None else set()
        self.supervisor.kill()
        self.supervisor.wait()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def open_files(pid: int) -> set[str]:
    """What a process's file descriptors are."""
    found = set()
    for one in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found.add(str(one.readlink()))
        except OSError:
            continue
    return found


@pytest.fixture(params=list(SUPERVISORS))
def supervisor(request: pytest.FixtureRequest) -> str:
    """Each supervisor in turn."""
    name = str(request.param)
    needed = ["gunicorn", "uvicorn_worker"] if name.startswith("gunicorn") else ["uvicorn"]
    if missing := [one for one in needed if find_spec(one) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    return name


@pytest.fixture
def family(supervisor: str, tmp_path: Path, wait_until: Any) -> Iterator[Callable[..., Family]]:
    """Start a supervisor with two workers, and wait until they answer; everything ends with the test."""
    started: list[Family] = []

    def start(application: str = "core:application", *, zero_code: bool = True, **environment: str) -> Family:
        started.append(Family(supervisor, tmp_path, zero_code, application, environment))
        assert wait_until(started[-1].is_ready, 90), started[-1].output()
        return started[-1]

    yield start
    for one in started:
        one.end()


async def talk(port: int) -> None:
    """Two messages, and goodbye."""
    async with connect(f"ws://127.0.0.1:{port}/ws/match/3/") as peer:
        for _ in range(2):
            await peer.send('{"type": "echo"}')
            await peer.recv()


def test_workers_hold_the_port_and_their_supervisor_does_not(family: Any, wait_until: Any) -> None:
    """Both workers listen before anybody connected; the supervisor and helper processes do not."""
    one = family()

    assert wait_until(lambda: len(one.holders()) >= 2), one.output()

    assert one.supervisor.pid not in one.holders()
    assert 2 == len(one.holders())


def test_any_worker_answers(family: Any, wait_until: Any) -> None:
    """Among the answers is that of the worker that had the conversation, whole."""
    one = family()
    assert wait_until(lambda: len(one.holders()) == 2)

    asyncio.run(talk(one.port))

    found = wait_until(lambda: [line for line in scrape(one.scrape_port).splitlines() if "ws_messages_total{" in line])
    assert [2.0] == [float(line.rsplit(" ", 1)[1]) for line in found]


def test_the_line_in_the_application_is_enough(family: Any, wait_until: Any) -> None:
    """``otel_ws.configure()`` in the application gives the same endpoints."""
    one = family("two_lines:application", zero_code=False)

    assert wait_until(lambda: len(one.holders()) == 2), one.output()

    assert one.supervisor.pid not in one.holders()
    assert "target_info" in scrape(one.scrape_port)


def test_a_killed_worker_leaves_the_endpoint_answering(family: Any, wait_until: Any) -> None:
    """Every scrape after a worker's death is answered, and the worker that follows joins."""
    one = family()
    assert wait_until(lambda: len(one.holders()) == 2)
    before = one.holders()
    killed = min(before)

    os.kill(killed, signal.SIGKILL)

    assert wait_until(lambda: killed not in one.holders())
    assert [True] * 10 == ["target_info" in scrape(one.scrape_port) for _ in range(10)]
    assert wait_until(lambda: len(one.holders()) == 2, 20), one.output()
    assert before - {killed} < one.holders()


def test_a_taken_port_is_nothing_to_the_application(family: Any, wait_until: Any) -> None:
    """Each worker says so in one line, and serves its clients; nothing fails."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        one = family(**{PORT: taken, "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1"})

        asyncio.run(talk(one.port))

        assert wait_until(lambda: one.output().count("cannot serve /metrics") == 2), one.output()
    assert one.answers()
    assert f"{PORT}='{taken}' is taken" in one.output()
    assert "Traceback" not in one.output()


def test_two_groups_do_not_share_a_port(family: Any, wait_until: Any, tmp_path: Path) -> None:
    """The workers of the first answer, those of the second say why they do not, and all serve their clients."""
    (tmp_path / "shared").mkdir()
    wanted = {"OTEL_SERVICE_NAME": "shop", "OTEL_WS_RUNTIME_DIR": str(tmp_path / "shared")}
    blue = family(OTEL_WS_GROUP="blue", **wanted)
    assert wait_until(lambda: len(blue.holders()) == 2), blue.output()
    asyncio.run(talk(blue.port))

    green = family(OTEL_WS_GROUP="green", **{PORT: str(blue.scrape_port)}, **wanted)
    asyncio.run(talk(green.port))

    assert wait_until(lambda: green.output().count("another service or group of this host") == 2), green.output()
    green.scrape_port = blue.scrape_port
    assert set() == green.holders()
    assert {2.0} == {messages(scrape(blue.scrape_port)) for _ in range(10)}
    assert "Traceback" not in green.output()


def messages(text: str) -> float:
    """The messages that a scrape tells."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("ws_messages_total{"))


def test_a_wrong_port_is_nothing_to_the_application(family: Any) -> None:
    """Under opentelemetry-instrument it is explained, and the application runs."""
    one = family(**{PORT: "nine"})

    asyncio.run(talk(one.port))

    assert f"otel-ws: {PORT}='nine' is not valid; allowed: a port from 1 to 65535." in one.output()
    assert "Traceback" not in one.output()


@pytest.mark.parametrize("variable", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_WS_ENABLED": "false"}])
def test_switched_off_nobody_holds_the_port(family: Any, variable: dict[str, str]) -> None:
    """The rollback takes the endpoint away too."""
    one = family(**variable)

    asyncio.run(talk(one.port))

    assert set() == one.holders()


def test_each_server_has_its_endpoint_before_anybody_connects(launch: Any, server_name: str, wait_until: Any) -> None:
    """An idle server is scraped: being up is the first thing that an alert asks for."""
    port = free_port()
    running = launch(server_name, zero_code=True, OTEL_METRICS_EXPORTER="ws_prometheus", **{PORT: str(port)})

    found = wait_until(lambda: scrape(port))

    # hypercorn's worker outlives a supervisor that is killed.
    running.stop()
    assert "target_info" in found
