"""What waits in Redis, over real processes: one of them looks at all, and a process that hangs shows."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("channels_redis")

from websockets.asyncio.client import connect

CORE = "channels_redis.core.RedisChannelLayer"
PROCESS = ("process", "")


async def test_a_process_that_hangs_shows_as_its_backlog(
    launch: Callable[..., Any], start_redis: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    """Each of its messages, the share of the capacity and the age of the oldest; by one process at a time."""
    shared = {"REDIS_URL": start_redis().url, "LAYER": CORE, "OBSERVED": "1", "OTEL_WS_LAYER_POLL": "0.2"}
    hangs = launch("uvicorn-websockets", "grouped:application", **shared)
    works = launch("uvicorn-websockets", "grouped:application", **shared)

    def depths() -> list[float]:
        return [one.metric("ws_layer_depth").get(PROCESS) for one in (hangs, works)]

    async def later(holds: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(wait_until, holds)

    async with asyncio.timeout(60), connect(hangs.address("/ws/")) as one, connect(works.address("/ws/")) as two:
        # Sums over processes are right: one tells of both, the other nothing.
        assert await later(lambda: sorted(map(str, depths())) == ["0", "None"])
        hangs.process.send_signal(signal.SIGSTOP)
        try:
            for number in range(5):
                await two.send(json.dumps(number))
                assert number == json.loads(await two.recv())["text"]
            assert await later(lambda: works.metric("ws_layer_depth").get(PROCESS, 0) >= 4)
            assert 0.04 <= works.metric("ws_layer_capacity_ratio")[PROCESS] <= 0.05
            assert 0.0 < works.metric("ws_layer_oldest_age_seconds")[PROCESS] < 30
        finally:
            hangs.process.send_signal(signal.SIGCONT)
        assert list(range(5)) == [json.loads(await one.recv())["text"] for _ in range(5)]
        assert await later(lambda: sorted(map(str, depths())) == ["0", "None"])
    for process in (hangs, works):
        assert {} == process.metric("ws_telemetry_errors_total")
