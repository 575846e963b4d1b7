"""``manage.py runworker`` as a process of its own over a real Redis server: told, and otherwise as without us."""

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


@pytest.mark.parametrize("channel", ["work", "threaded"])
@pytest.mark.parametrize(("server", "worker"), [("1", "1"), ("", "1"), ("1", "")], ids=["both", "worker", "server"])
async def test_tasks_are_done_and_told(
    launch: Callable[..., Any], work: Callable[..., Any], wait_until: Callable[..., Any], redis: Any,
    channel: str, server: str, worker: str,
) -> None:  # fmt: skip
    """Sync and async handlers do their work, one that raises ends no worker, and SIGTERM does; with and without us."""
    config = {"hosts": [{"address": redis.url, "socket_timeout": None}]}
    shared = {"LAYER": CORE, "LAYER_CONFIG": json.dumps(config)}
    web = launch("uvicorn-websockets", "arena:application", **shared, **({"OBSERVED": server} if server else {}))
    process = work("work", "threaded", **shared, **({"OBSERVED": worker} if worker else {}))
    heard: list[Any] = []

    async def asked(kind: str, of: str = channel) -> None:
        await asyncio.to_thread(web.ask, f"/asked/{of}/{kind}")

    async with asyncio.timeout(60), connect(web.address("/ws/7?0")) as client:
        for _ in range(3):
            await asked("done")
            heard.append(json.loads(await client.recv()))
        await asked("broken")
        # Until asgiref has looked, what is sent to the consumer that ended is lost.
        assert await asyncio.to_thread(wait_until, lambda: "Exception inside application" in process.output(), 20)
        await asked("done")
        heard.append(json.loads(await client.recv()))
        rows: dict[str, Any] = {}
        if worker:
            await asked("state", "work")
            rows = json.loads(json.loads(await client.recv()))

    assert [1, 1, 1, 1] == heard
    if worker:
        done = ("work_done", "success")
        wanted = [done, done, done, ("work_broken", "error"), done, ("work_state", "success")]
        lines = wait_until(lambda: len(found := process.lines("WS_TASK")) == len(wanted) and found)
        assert wanted == [(line["handler"], line["status"]) for line in lines]
        (error,) = process.lines("WS_ERROR")
        assert ("KeyError", "work_broken") == (error["error_type"], error["handler"])
        assert "Lovelace" not in process.lines_path.read_text()

        metrics = {name: {tuple(key): value for key, value in found} for name, found in rows.items()}
        counted = {key[-3:]: row["count"] for key, row in metrics["messaging_process_duration_seconds"].items()}
        assert {(channel, "work_done", ""): 4, (channel, "work_broken", "KeyError"): 1} == counted
        handed = metrics["messaging_client_consumed_messages_total"]
        consumed = {key[-1]: count for key, count in handed.items() if count}
        # Whoever sent it: a named channel tells its own template. The one that asks has its own channel.
        assert ({"work": 6} if channel == "work" else {"threaded": 5, "work": 1}) == consumed
        assert {} == metrics.get("ws_telemetry_errors_total", {})
    assert -signal.SIGTERM == process.stop()
