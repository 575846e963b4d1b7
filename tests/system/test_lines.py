"""JSON lines of a real server: rotation while traffic flows, and whole lines only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("websockets")

from websockets.asyncio.client import connect

MESSAGES = 300


def test_rotation_loses_no_line(launch: Any, wait_until: Any) -> None:
    """A file that is moved away while messages flow is reopened; every message is in one of the files, once."""
    running = launch("uvicorn-websockets")
    moved: list[Path] = []

    async def talk() -> None:
        async with connect(running.address("/ws/match/3/")) as client:
            for number in range(MESSAGES):
                await client.send('{"type": "echo"}')
                await client.recv()
                if number % 100 == 50:
                    moved.append(running.lines_path.with_suffix(f".{number}"))
                    await asyncio.to_thread(wait_until, running.lines_path.exists)
                    running.lines_path.rename(moved[-1])

    asyncio.run(talk())

    assert wait_until(lambda: running.lines("WS_DISCONNECT"))
    counts = [len(running.lines("WS_MESSAGE", path)) for path in [*moved, running.lines_path]]
    assert MESSAGES == sum(counts)
    assert 0 < min(counts)


def test_lines_on_stdout(launch: Any, wait_until: Any) -> None:
    """With stdout as the target, whole lines stand between what the server prints."""
    running = launch("uvicorn-websockets", OTEL_WS_JSON_LOG="stdout")

    async def talk() -> None:
        async with connect(running.address("/ws/match/3/")) as client:
            for _ in range(20):
                await client.send('{"type": "echo"}')
                await client.recv()

    asyncio.run(talk())

    def told() -> list[str]:
        lines = [json.loads(line) for line in running.output().splitlines() if line.startswith("{")]
        return [line["event"] for line in lines]

    wait_until(lambda: "WS_DISCONNECT" in told())
    assert ["WS_CONNECT", *["WS_MESSAGE"] * 20, "WS_DISCONNECT"] == [one for one in told() if one != "WS_HEALTH"]


def test_lines_of_one_connection_have_its_ids(launch: Any, wait_until: Any) -> None:
    """All lines of a connection bear the same connection id and the match's id as a number."""
    running = launch("uvicorn-websockets")

    async def talk() -> None:
        async with connect(running.address("/ws/match/3/")) as client:
            await client.send('{"type": "echo"}')
            await client.recv()

    asyncio.run(talk())

    wait_until(lambda: running.lines("WS_DISCONNECT"))
    lines = running.lines()
    assert {3} == {line["match_id"] for line in lines}
    assert 1 == len({line["connection_id"] for line in lines})
    assert len(lines) == len({(line["trace_id"], line["span_id"]) for line in lines})
