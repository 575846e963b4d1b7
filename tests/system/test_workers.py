"""``manage.py runworker`` as a process of its own over a real Redis server: told, and otherwise as without us."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels_redis")

from websockets.asyncio.client import connect

from otel_ws import processes
from otel_ws.settings import Settings

APPS = Path(__file__).parent / "apps"
CORE = "channels_redis.core.RedisChannelLayer"
GONE = {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 0}


class Host:
    """What all processes of this test's group count together, asked by one that is none of them."""

    def __init__(self, redis: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = {"hosts": [{"address": redis.url, "socket_timeout": None}]}
        own = {"OTEL_SERVICE_NAME": "arena", "OTEL_WS_RUNTIME_DIR": str(folder)}
        self.shared = {"LAYER": CORE, "LAYER_CONFIG": json.dumps(config), "OBSERVED": "1", **own}
        for name, value in own.items():
            monkeypatch.setenv(name, value)

    def numbers(self, name: str) -> dict[tuple[str, ...], Any]:
        """One metric's series: a value each, or how often a histogram was given one."""
        found = processes.of_group(Settings.load(None, {}))
        assert found is not None
        for metric, values in found.snapshot.values.items():
            if metric.name == name:
                return dict(values)
        return {
            labels: sum(one.buckets)
            for metric, values in found.snapshot.distributions.items()
            for labels, one in values.items()
            if metric.name == name
        }


@pytest.fixture
def host(redis: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A folder of its own for the processes of the test."""
    return Host(redis, tmp_path, monkeypatch)


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
        await asyncio.to_thread(web.ask, f"/asked/{of}/{kind}/1")

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


@pytest.mark.parametrize("channel", ["work", "threaded"])
async def test_five_at_once_wait_in_the_worker(
    launch: Callable[..., Any], work: Callable[..., Any], wait_until: Callable[..., Any], host: Host, channel: str
) -> None:
    """To a handler of 200 ms: four of five, 0 to 800 ms and a little each, though nothing waits in Redis."""
    web = launch("uvicorn-websockets", "arena:application", **host.shared)
    work("work", "threaded", **host.shared)

    async with asyncio.timeout(60), connect(web.address("/ws/7?0")) as client:
        await asyncio.to_thread(web.ask, f"/asked/{channel}/done/1")
        await client.recv()
        await asyncio.to_thread(web.ask, f"/asked/{channel}/slow/5")
        for _ in range(5):
            await client.recv()

        def handled() -> Any:
            return sum(host.numbers("messaging.process.duration").values()) == 6

        assert await asyncio.to_thread(wait_until, handled)

    assert (4.0, 6) == (host.numbers("ws.message.backlogged")["", ""], host.numbers("ws.message.wait")["", ""])
    assert 6 == host.numbers("ws.layer.lag")[channel,]
    assert {} == host.numbers("ws.layer.dropped")


@pytest.mark.parametrize("channel", ["work", "threaded"])
async def test_what_a_broken_handler_takes_with_it_adds_up(
    launch: Callable[..., Any], work: Callable[..., Any], wait_until: Callable[..., Any], host: Host, channel: str
) -> None:
    """Channels throws away what waits behind it: sent is handled and dropped, and nothing waits any more."""
    web = launch("uvicorn-websockets", "arena:application", **host.shared)
    process = work("work", "threaded", **host.shared)

    async with asyncio.timeout(60), connect(web.address("/ws/7?0")) as client:
        await asyncio.to_thread(web.ask, f"/asked/{channel}/done/1")
        await client.recv()
        # The worker has fetched all of them by the time that the second is handled.
        await asyncio.to_thread(web.ask, f"/asked/{channel}/{','.join(['slow', 'broken', *['done'] * 10])}/1")
        assert await asyncio.to_thread(wait_until, lambda: "Exception inside application" in process.output(), 20)
        await asyncio.to_thread(web.ask, f"/asked/{channel}/done/1")
        for _ in range(2):
            await client.recv()

        def is_settled() -> bool:
            waits = sum(host.numbers("ws.layer.depth").values())
            return not waits and sum(host.numbers("messaging.process.duration").values()) == 4

        assert await asyncio.to_thread(wait_until, is_settled)
        found = host.numbers("messaging.client.sent.messages")
        sent = sum(count for labels, count in found.items() if labels[1:3] == ("send", channel))
        consumed = host.numbers("messaging.client.consumed.messages")["django_channels", "receive", channel]

    assert (14, 4, {("CONSUMER_GONE",): 10.0}) == (sent, consumed, host.numbers("ws.layer.dropped"))


@pytest.fixture
def hears_sigint() -> Iterator[None]:
    """A suite in the background of a shell ignores SIGINT, and what it starts would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_sigint")
@pytest.mark.parametrize("channel", ["work", "threaded"])
@pytest.mark.parametrize("stopped_by", list(GONE))
async def test_a_worker_is_stopped_while_a_handler_works(
    launch: Callable[..., Any], work: Callable[..., Any], wait_until: Callable[..., Any], host: Host,
    channel: str, stopped_by: signal.Signals,
) -> None:  # fmt: skip
    """What was counted stays, what was at work and what waited is no more, and the process ends as without us.

    By SIGINT, which Channels' worker hears, the handler's span ends too and is exported, and what waited is told as
    lost. SIGTERM it does not hear: it is gone at once.
    """
    web = launch("uvicorn-websockets", "arena:application", **host.shared)
    process = work("work", "threaded", **host.shared, OTEL_TRACES_EXPORTER="console")
    waiting = "consumer", channel

    async with asyncio.timeout(60), connect(web.address("/ws/7?0")) as client:
        for asked in ("done/1", "stuck/1", "done/3"):
            await asyncio.to_thread(web.ask, f"/asked/{channel}/{asked}")
        assert [1, 1] == [json.loads(await client.recv()) for _ in range(2)]
        found = await asyncio.to_thread(wait_until, lambda: host.numbers("ws.layer.depth").get(waiting) == 3)
        assert found, host.numbers("ws.layer.depth")
        assert {("worker",): 1.0, ("handler",): 1.0} == host.numbers("ws.workers")
        before = process.output()

        assert GONE[stopped_by] == await asyncio.to_thread(process.stop, stopped_by)

        def is_left() -> bool:
            return waiting not in host.numbers("ws.layer.depth") and not any(host.numbers("ws.workers").values())

        assert await asyncio.to_thread(wait_until, is_left)
        # Nobody else's numbers fell.
        assert {(channel,): 2.0} == {
            labels[-1:]: count
            for labels, count in host.numbers("messaging.client.consumed.messages").items()
            if labels[-1] == channel
        }
        tasks = {labels[-2:]: count for labels, count in host.numbers("messaging.process.duration").items()}
        lost = host.numbers("ws.layer.dropped")

    said = process.output().removeprefix(before)
    assert "Traceback" not in process.output()
    if stopped_by == signal.SIGTERM:
        assert ({("work_done", ""): 1}, {}, "") == (tasks, lost, said)
    else:
        assert {("work_done", ""): 1, ("work_stuck", "CancelledError"): 1} == tasks
        assert {("CONSUMER_GONE",): 3.0} == lost
        assert 2 == said.count(f'"name": "process {channel}"')
    assert {} == host.numbers("ws.telemetry.errors")


async def test_check_tells_how_many_groups_the_running_workers_have_no_template_for(
    launch: Callable[..., Any], wait_until: Callable[..., Any], host: Host, tmp_path: Path
) -> None:
    """As they are now, by whoever asks on that host; which they are is told nowhere."""
    shared = {**host.shared, "TEMPLATES": "work threaded"}
    web = launch("uvicorn-websockets", "arena:application", **shared)
    command = [sys.executable, "-m", "otel_ws", "check", "arena:application", "--settings", "arena_settings"]
    environment = {**os.environ, **host.shared, "PYTHONPATH": str(APPS), "OTEL_TRACES_EXPORTER": "none"}

    def checked() -> str:
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        ).stdout

    async with asyncio.timeout(60), connect(web.address("/ws/7?0")), connect(web.address("/ws/8?0")):

        def are_told() -> bool:
            return host.numbers("ws.layer.groups") == {("_OTHER",): 2.0}

        assert await asyncio.to_thread(wait_until, are_told)
        said = await asyncio.to_thread(checked)

    assert "2 groups that the running workers of this service have members of are told as _OTHER" in said
    assert "room_7" not in said
    assert await asyncio.to_thread(wait_until, lambda: "running workers" not in checked())
