"""The channel layer over several processes and a real Redis server: mixed versions, and a server that goes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels_redis")

from websockets.asyncio.client import connect

CORE, PUBSUB = "channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"
NEWS = {"type": "room.news", "text": {"n": 1, "deep": [None, {"x": "y"}]}}


class Redis:
    """A server on a private port, which keeps nothing."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        address = ["--port", str(self.port), "--bind", "127.0.0.1"]
        self._command = ["redis-server", *address, "--save", "", "--dir", str(folder)]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path: Path, wait_until: Callable[..., Any]) -> Iterator[Redis]:
    """Debian's redis-server."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server (Debian's package redis-server)")
    one = Redis(tmp_path)
    one.start()
    assert wait_until(one.answers)
    yield one
    one.kill()


@pytest.mark.parametrize("layer", [CORE, PUBSUB])
async def test_processes_with_and_without_us_understand_each_other(
    launch: Callable[..., Any], redis: Redis, layer: str
) -> None:
    """Every client gets the very message, whoever sent it; between ours the carrier arrives."""
    shared = {"REDIS_URL": redis.url, "LAYER": layer}
    first = launch("uvicorn-websockets", "grouped:application", OBSERVED="1", **shared)
    second = launch("daphne", "grouped:application", OBSERVED="1", **shared)
    bare = launch("daphne", "grouped:application", **shared)
    async with (
        asyncio.timeout(30),
        connect(first.address("/ws/")) as one,
        connect(second.address("/ws/")) as two,
        connect(bare.address("/ws/")) as three,
    ):
        await asyncio.sleep(0.5)  # pub/sub has no moment at which a subscription is known to hold
        got = []
        for sender in (one, two, three):
            await sender.send(json.dumps(NEWS["text"]))
            got += [await receiver.recv() for receiver in (one, two, three)]

    assert [json.dumps(NEWS)] * 9 == got
    for process in (first, second):
        assert 2 == process.metric("ws_layer_lag_seconds")["room_{room_id}",]["count"]
        assert 1 == sum(process.metric("ws_broadcasts_total").values())
        assert 3 == sum(process.metric("messaging_client_consumed_messages_total").values())
        assert {} == process.metric("ws_telemetry_errors_total")


async def test_a_server_that_goes_away_and_comes_back(
    launch: Callable[..., Any], redis: Redis, wait_until: Callable[..., Any]
) -> None:
    """The application sees its own layer's errors; what failed is counted, and afterwards everything works again."""
    process = launch("uvicorn-websockets", "grouped:application", OBSERVED="1", REDIS_URL=redis.url, LAYER=CORE)
    async with asyncio.timeout(40):
        async with connect(process.address("/ws/")) as one:
            await one.send("1")
            assert {"type": "room.news", "text": 1} == json.loads(await one.recv())
            redis.kill()
            # Channels ends a consumer whose receive raised.
            await one.wait_closed()
        redis.start()
        assert wait_until(redis.answers)
        async with connect(process.address("/ws/")) as one:
            await one.send("2")
            assert {"type": "room.news", "text": 2} == json.loads(await one.recv())

    assert 2 == sum(process.metric("ws_broadcasts_total").values())
    assert {} == process.metric("ws_telemetry_errors_total")
