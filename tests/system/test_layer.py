"""The channel layer over several processes and a real Redis server: mixed versions, and a server that goes away."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels_redis")

from websockets.asyncio.client import ClientConnection, connect

CORE, PUBSUB = "channels_redis.core.RedisChannelLayer", "channels_redis.pubsub.RedisPubSubChannelLayer"
NEWS = {"type": "room.news", "text": {"n": 1, "deep": [None, {"x": "y"}]}}


@pytest.mark.parametrize("layer", [CORE, PUBSUB])
async def test_processes_with_and_without_us_understand_each_other(
    launch: Callable[..., Any], redis: Any, layer: str
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


def spans(process: Any) -> dict[str, dict[str, Any]]:
    """What a process printed of its spans, the last of each name."""
    found, text, decoder = {}, process.output(), json.JSONDecoder()
    while (start := text.find('{\n    "name"')) >= 0:
        try:
            span, end = decoder.raw_decode(text[start:])
        except ValueError:
            # Not yet written to its end.
            break
        found[span["name"]] = span
        text = text[start + end :]
    return found


@pytest.mark.parametrize("context", ["link", "parent", "off"])
async def test_context_crosses_processes(
    launch: Callable[..., Any], work: Callable[..., Any], redis: Any, context: str
) -> None:
    """A server asks a worker, which tells a group of another server: each is joined to the one before, as wanted.

    Where nothing travels, who is told by a channel of its own does not know of which group.
    """
    shared = over(redis) | {
        "OTEL_WS_LAYER_CONTEXT": context, "OTEL_TRACES_EXPORTER": "console", "OTEL_BSP_SCHEDULE_DELAY": "50",
    }  # fmt: skip
    asks = launch("uvicorn-websockets", "arena:application", **shared)
    hears = launch("daphne", "arena:application", **shared)
    works = work("work", "threaded", **shared)
    for channel in ("work", "threaded"):
        steps = [
            (asks, f"publish {channel}"), (works, f"process {channel}"), (works, "publish room_{room_id}"),
            (hears, f"process {'_OTHER' if context == 'off' else 'room_{room_id}'}"),
        ]  # fmt: skip
        before = spans(hears).get(steps[-1][1])

        def are_told(steps: Any = steps, before: Any = before) -> bool:
            names = [name in spans(process) for process, name in steps]
            return all(names) and spans(hears)[steps[-1][1]] != before

        async with asyncio.timeout(60), connect(hears.address("/ws/7?0")) as client:
            await asyncio.to_thread(asks.ask, f"/asked/{channel}/done/1")
            assert "1" == await client.recv()
            await until(are_told)

        ask, process, tell, hear = (spans(process)[name] for process, name in steps)
        # The worker's own two are of one trace, whatever crosses.
        assert tell["parent_id"] == process["context"]["span_id"]
        for sender, receiver in ((ask, process), (tell, hear)):
            ids = sender["context"]["trace_id"], sender["context"]["span_id"]
            links = [(one["context"]["trace_id"], one["context"]["span_id"]) for one in receiver["links"]]
            assert ([ids] if context == "link" else []) == links
            assert (ids[1] if context == "parent" else None) == receiver["parent_id"]
            assert (ids[0] == receiver["context"]["trace_id"]) is (context == "parent")


async def test_a_server_that_goes_away_and_comes_back(launch: Callable[..., Any], redis: Any) -> None:
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
        async with connect(process.address("/ws/")) as one:
            await one.send("2")
            assert {"type": "room.news", "text": 2} == json.loads(await one.recv())

    assert 2 == sum(process.metric("ws_broadcasts_total").values())
    assert {} == process.metric("ws_telemetry_errors_total")


def over(*servers: Any, **config: Any) -> dict[str, str]:
    """The environment of an observed process on these Redis servers."""
    hosts = [{"address": one.url, "socket_timeout": None} for one in servers]
    return {"OBSERVED": "1", "LAYER": CORE, "LAYER_CONFIG": json.dumps({"hosts": hosts, **config})}


@asynccontextmanager
async def members(count: int, address: str) -> AsyncIterator[list[list[int]]]:
    """So many clients in a room, and what each of them hears."""
    heard: list[list[int]] = [[] for _ in range(count)]
    async with AsyncExitStack() as stack:

        async def listen(client: ClientConnection, into: list[int]) -> None:
            while True:
                into.append(json.loads(await client.recv()))

        for into in heard:
            client = await stack.enter_async_context(connect(address, ping_interval=None))
            task = asyncio.create_task(listen(client, into))
            stack.callback(task.cancel)
        yield heard


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Poll until the condition holds, or until the deadline."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


def total(processes: list[Any], name: str) -> float:
    """One counter over all its labels and all processes."""
    return sum(sum(process.metric(name).values()) for process in processes)


def attempted(processes: list[Any]) -> float:
    """The deliveries that the layers of all processes tried."""
    rows = [row for process in processes for row in process.metric("ws_broadcast_recipients").values()]
    return float(sum(row["sum"] for row in rows))


@pytest.mark.parametrize(("capacity", "hosts"), [(5, 1), (20, 2), (100, 1)])
async def test_attempted_is_handled_and_dropped_in_a_flood(
    launch: Callable[..., Any], start_redis: Callable[..., Any], capacity: int, hosts: int
) -> None:
    """Over two processes and Redis, each delivery is at a client or counted as lost, as long as nobody ends."""
    shared = over(*(start_redis() for _ in range(hosts)), capacity=capacity)
    processes = [launch("uvicorn-websockets", "arena:application", **shared)]
    processes.append(launch("daphne", "arena:application", **shared))
    async with (
        asyncio.timeout(60),
        members(3, processes[0].address("/ws/7?3")) as first,
        members(3, processes[1].address("/ws/7?3")) as second,
    ):
        answers = await asyncio.gather(*(asyncio.to_thread(one.ask, "/told/room_7/150", 30) for one in processes))
        assert [{"sent": 150, "raised": {}}] * 2 == answers
        tried = 300 * 6

        def everything_arrived() -> bool:
            lost = total(processes, "ws_layer_dropped_total")
            return tried == sum(map(len, first + second)) + lost

        await until(everything_arrived)
        heard = sum(map(len, first + second))

    assert tried == attempted(processes)
    dropped = total(processes, "ws_layer_dropped_total")
    assert tried == heard + dropped
    assert heard == total(processes, "messaging_client_consumed_messages_total")
    # The senders were told that all went well.
    assert dropped > 0 or capacity > 5
    assert 0 == total(processes, "ws_telemetry_errors_total")


def outcome(answers: list[dict[str, Any]]) -> tuple[int, dict[str, int]]:
    """What the application was told by its layer, over all its calls."""
    raised: Counter[str] = Counter()
    for answer in answers:
        raised.update(answer["raised"])
    return sum(answer["sent"] for answer in answers), dict(raised)


@pytest.mark.parametrize("layer", [CORE, PUBSUB])
async def test_redis_killed_under_load(launch: Callable[..., Any], redis: Any, layer: str) -> None:
    """The application is told the very errors that it would be told without us, each is counted, and all goes on."""
    shared = over(redis) | {"LAYER": layer}
    observed = launch("uvicorn-websockets", "arena:application", **shared)
    bare = launch("uvicorn-websockets", "arena:application", LAYER=layer, LAYER_CONFIG=shared["LAYER_CONFIG"])
    answers: dict[Any, list[dict[str, Any]]] = {observed: [], bare: []}
    running = True

    async def load(process: Any, room: int) -> None:
        while running:
            answers[process].append(await asyncio.to_thread(process.ask, f"/told/room_{room}/5", 20))
            await asyncio.sleep(0.02)

    async with asyncio.timeout(60):
        async with members(2, observed.address("/ws/7?0")) as heard, members(2, bare.address("/ws/8?0")) as others:
            loads = [asyncio.create_task(load(observed, 7)), asyncio.create_task(load(bare, 8))]
            await until(lambda: heard[0] and others[0])
            redis.kill()
            await until(lambda: all(outcome(one)[1] for one in answers.values()))
            redis.start()
            before = [len(one) for one in answers.values()]
            await until(lambda: all(len(one) > was + 3 for one, was in zip(answers.values(), before, strict=True)))
            running = False
            await asyncio.gather(*loads)
        async with members(1, observed.address("/ws/7?0")) as heard:
            assert {"sent": 1, "raised": {}} == await asyncio.to_thread(observed.ask, "/told/room_7/1")
            await until(lambda: heard[0])
            assert [0] == heard[0]

    sent, raised = outcome(answers[observed])
    assert raised.keys() == outcome(answers[bare])[1].keys() == {"ConnectionError"}
    told = dict.fromkeys(("sent", "failed"), 0)
    for (_, status), count in observed.metric("ws_broadcasts_total").items():
        told[status] += count
    assert {"sent": sent + 1, "failed": raised["ConnectionError"]} == told
    # One for each publish, or for each of both members where Redis had told them before it died.
    lost = observed.metric("ws_layer_dropped_total")["DISCONNECTED",]
    assert raised["ConnectionError"] <= lost <= 2 * raised["ConnectionError"]
    if layer == CORE:
        # What was on its way through the server that died is seen by nobody: the equation is a bound then.
        assert total([observed], "messaging_client_consumed_messages_total") <= attempted([observed])
    assert 0 == total([observed], "ws_telemetry_errors_total")


async def test_a_sentinel_chooses_another_server(
    launch: Callable[..., Any], start_redis: Callable[..., Any], tmp_path: Path
) -> None:
    """When the first server dies the layer goes to the one that three Sentinels agree on, and so do our counts."""
    master = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(master.port))
    await until(lambda: "state=online" in master.ask("INFO", "replication"))
    sentinels = []
    for number in range(3):
        # A Sentinel keeps what it learns in its file.
        rules = tmp_path / f"sentinel-{number}.conf"
        rules.write_text(
            f"sentinel monitor arena 127.0.0.1 {master.port} 2\n"
            "sentinel down-after-milliseconds arena 500\nsentinel failover-timeout arena 3000\n"
        )
        sentinels.append(start_redis(str(rules), "--sentinel"))

    def known(one: Any) -> str:
        return str(one.ask("SENTINEL", "master", "arena"))

    # They find each other, and the replica, through the first server.
    await until(lambda: all("num-other-sentinels\r\n$1\r\n2" in known(one) for one in sentinels))
    await until(lambda: all("num-slaves\r\n$1\r\n1" in known(one) for one in sentinels))
    host = {"sentinels": [["127.0.0.1", one.port] for one in sentinels], "master_name": "arena", "socket_timeout": None}
    config = {"LAYER": CORE, "LAYER_CONFIG": json.dumps({"hosts": [host]}), "OBSERVED": "1"}
    process = launch("uvicorn-websockets", "arena:application", **config)

    def chosen() -> str:
        return str(sentinels[0].ask("SENTINEL", "get-master-addr-by-name", "arena"))

    def works() -> bool:
        return bool(process.ask("/told/room_7/1", 20)["sent"])

    async with asyncio.timeout(60):
        async with members(2, process.address("/ws/7?0")) as heard:
            assert works()
            await until(lambda: heard[0] and heard[1])
        master.kill()
        await until(lambda: str(replica.port) in chosen(), 30)
        await until(works)
        async with members(2, process.address("/ws/7?0")) as heard:
            assert works()
            await until(lambda: heard[0] and heard[1])
            assert [[0], [0]] == heard

    statuses = {status for _, status in process.metric("ws_broadcasts_total")}
    assert "sent" in statuses
    assert 4 == total([process], "messaging_client_consumed_messages_total")
    assert 0 == total([process], "ws_telemetry_errors_total")
