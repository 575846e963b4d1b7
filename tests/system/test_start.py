"""How a server starts: with a wrong setting, switched off, and without a line of code."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("websockets")

from websockets.asyncio.client import connect

MATCH = "/ws/match/3/"
ONE_SET = ["WS_CONNECT", "WS_MESSAGE", "WS_MESSAGE", "WS_DISCONNECT"]
installed = pytest.mark.skipif(
    not entry_points(group="opentelemetry_instrumentor", name="channels"),
    reason="the entry points of otel-ws are not installed; nox -s system installs the wheel",
)


async def talk(address: str) -> None:
    """Two messages, and goodbye."""
    async with connect(address) as client:
        for _ in range(2):
            await client.send('{"type": "echo"}')
            await client.recv()


def told(running: Any) -> list[str]:
    """The names of the events of connections, in order."""
    return [line["event"] for line in running.lines()]


@pytest.mark.parametrize(
    ("server_name", "name", "value", "allowed"),
    [
        ("daphne", "OTEL_WS_MESSAGE_EVENTS", "loud", "all, sampled, slow, errors, off"),
        ("uvicorn-websockets", "OTEL_WS_MESSAGE_SAMPLE_RATIO", "2", "a number from 0 to 1"),
        ("hypercorn", "OTEL_WS_ENABLED", "maybe", "true, false"),
    ],
)
def test_wrong_value_is_explained(launch: Any, server_name: str, name: str, value: str, allowed: str) -> None:
    """A wrong value ends the start with variable, value and allowed values, and without a traceback."""
    running = launch(server_name, wait=False, **{name: value})

    code = running.process.wait(20)

    output = running.output()
    # hypercorn starts a worker, and does not make the worker's failure its own.
    assert server_name == "hypercorn" or code != 0
    assert [] == [word for word in (name, f"'{value}'", allowed) if word not in output]
    assert "Traceback" not in output


@pytest.mark.parametrize("variable", [{"OTEL_WS_ENABLED": "false"}, {"OTEL_SDK_DISABLED": "true"}])
def test_switched_off(launch: Any, variable: dict[str, str]) -> None:
    """Switched off, the application runs and nothing is told."""
    running = launch("uvicorn-websockets", **variable)

    asyncio.run(talk(running.address(MATCH)))

    assert ([], {}) == (running.lines(), running.state()["metrics"])


def test_two_lines_are_one_set(running: Any, wait_until: Any) -> None:
    """The two lines of asgi.py give one set of telemetry."""
    asyncio.run(talk(running.address(MATCH)))

    wait_until(lambda: running.lines("WS_DISCONNECT"))
    assert ONE_SET == told(running)


@installed
@pytest.mark.parametrize("application", ["core:application", "two_lines:application"])
def test_no_code_at_all(launch: Any, server_name: str, wait_until: Any, application: str) -> None:
    """opentelemetry-instrument alone, and together with the two lines, gives one set of telemetry."""
    running = launch(server_name, application, zero_code=True)

    asyncio.run(talk(running.address(MATCH)))

    wait_until(lambda: running.lines("WS_DISCONNECT"))
    assert ONE_SET == told(running)
    assert {("echo", "success"): 2} == running.metric("ws_messages_total")


@installed
@pytest.mark.parametrize("server_name", ["daphne", "uvicorn-websockets"])
def test_no_code_tells_the_route(launch: Any, server_name: str, wait_until: Any) -> None:
    """Without a line of code the route and the URL's ids are told."""
    running = launch(server_name, "core:application", zero_code=True)

    asyncio.run(talk(running.address(MATCH)))

    (line,) = wait_until(lambda: running.lines("WS_CONNECT"))
    assert ("/ws/match/{match_id}/", 3) == (line["route"], line["match_id"])


@installed
@pytest.mark.parametrize("server_name", ["daphne", "uvicorn-websockets"])
def test_wrong_value_without_code(launch: Any, server_name: str, wait_until: Any) -> None:
    """Under opentelemetry-instrument a wrong value is explained and the application runs without otel-ws."""
    running = launch(server_name, "core:application", zero_code=True, OTEL_WS_MESSAGE_EVENTS="loud")

    asyncio.run(talk(running.address(MATCH)))

    output = running.output()
    assert [] == [word for word in ("OTEL_WS_MESSAGE_EVENTS", "'loud'", "all, sampled, slow") if word not in output]
    assert ("Traceback" in output, running.lines()) == (False, [])


@installed
@pytest.mark.parametrize("server_name", ["daphne", "uvicorn-websockets"])
def test_disabled_instrumentation(launch: Any, server_name: str) -> None:
    """OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=channels means what it means elsewhere."""
    running = launch(server_name, "core:application", zero_code=True, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="channels")

    asyncio.run(talk(running.address(MATCH)))

    assert [] == running.lines()
