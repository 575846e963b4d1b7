"""Health of connections under a real server whose clients stop reading."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("websockets")

from websockets.asyncio.client import ClientConnection, connect


async def read(client: ClientConnection) -> None:
    """Read all that comes."""
    async for _ in client:
        pass


def share(running: Any) -> float:
    """The share of open connections that are healthy."""
    rows = {key[-1]: value for key, value in running.metric("ws_connection_health").items()}
    return float(rows.get("healthy", 0) / max(1, sum(rows.values())))


@pytest.mark.parametrize("server_name", ["uvicorn-websockets", "uvicorn-wsproto"])
def test_clients_that_stop_reading_are_unhealthy(launch: Any, server_name: str, wait_until: Any) -> None:
    """Of ten clients that are sent much, two stop reading: 80 % healthy within 6 s, all again when they read."""
    running = launch(server_name)

    async def converse() -> tuple[float, float, float]:
        clients = [await connect(running.address("/ws/flood/"), max_queue=1, compression=None) for _ in range(10)]
        reading = [asyncio.ensure_future(read(client)) for client in clients[:8]]
        stopped_at = time.monotonic()
        low = await asyncio.to_thread(wait_until, lambda: share(running) if share(running) <= 0.8 else None, 12)
        took = time.monotonic() - stopped_at
        reading += [asyncio.ensure_future(read(client)) for client in clients[8:]]
        high = await asyncio.to_thread(wait_until, lambda: share(running) if share(running) == 1 else None, 12)
        for task in reading:
            task.cancel()
        for client in clients:
            client.transport.abort()
        return low, took, high

    low, took, high = asyncio.run(converse())

    assert (0.8, 1.0) == (low, high)
    assert took <= 6.0
