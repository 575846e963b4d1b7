"""The layers of channels_redis on a real server: nothing changes, carriers travel unseen, and losses add up."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("channels")
core = pytest.importorskip("channels_redis.core")
pubsub = pytest.importorskip("channels_redis.pubsub")

from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers, get_channel_layer
from channels.routing import URLRouter
from channels_redis.serializers import registry
from django.urls import path

from otel_ws import faults, semconv, testing
from otel_ws.channels import carrier
from otel_ws.channels.layer import observe
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")
CONNECT = {"type": "websocket.connect"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1000}
NEWS = {"type": "room.news", "text": "hello", "deep": [1, {"x": None}]}
TEMPLATE = "room_{room_id}"


class Member(AsyncJsonWebsocketConsumer):
    """A member of one group."""

    groups = ("room_7",)

    async def room_news(self, event: Any) -> None:
        """Keep what came, and wait where the test says so."""
        self.scope["got"].append(event)
        if len(self.scope["got"]) == self.scope.get("stops_at"):
            await asyncio.Event().wait()


def hosts(ports: list[int]) -> list[str]:
    """The servers as a layer's setting has them."""
    return [f"redis://127.0.0.1:{port}/0" for port in ports]


@asynccontextmanager
async def observed(layer: Any, **settings: Any) -> AsyncIterator[tuple[Any, Telemetry]]:
    """A layer in the default one's place, observed, and its telemetry; flushed and closed afterwards."""
    before = channel_layers.set("default", layer)
    try:
        with testing.capture(**settings) as telemetry:
            telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
            yield get_channel_layer(), telemetry
            await layer.flush()
    finally:
        channel_layers.backends.pop("default", None)
        if before is not None:
            channel_layers.set("default", before)


def sums(telemetry: Telemetry) -> tuple[float, float, float]:
    """The deliveries that were attempted, handled and dropped."""
    now = telemetry.recorder.snapshot()
    recipients = sum(one.sum for one in now.distributions[semconv.BROADCAST_RECIPIENTS].values())
    sends = now.total(semconv.LAYER_SENT, messaging_operation_name="send")
    nobody = now.total(semconv.LAYER_DROPPED, reason="NO_SUBSCRIBER")
    return recipients + sends + nobody, now.total(semconv.LAYER_CONSUMED), now.total(semconv.LAYER_DROPPED)


def dropped(telemetry: Telemetry, reason: str) -> float:
    """The deliveries that were lost for one reason."""
    return telemetry.value("ws.layer.dropped", reason=reason)


async def until(holds: Any) -> None:
    """Wait for what will come."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def members(server: Any, layer: Any, count: int, leave: asyncio.Event, **scope: Any) -> tuple[Any, Any]:
    """So many members, once they are in the group; their tasks, and what each got."""
    app = URLRouter([path("ws/", Member.as_asgi())])
    got: list[list[Any]] = [[] for _ in range(count)]
    runs = [
        asyncio.create_task(
            server(app, CONNECT, lambda _: leave.wait(), DISCONNECT, path="/ws/", got=one, **scope).run()
        )
        for one in got
    ]
    await until(lambda: sum(len(one.groups) for one in layer.send.__self__.inboxes.values()) == count)
    return runs, got


async def told_to_two(server: Any, layer: Any) -> Any:
    """What each of two members got of one message to their group, once both have left."""
    leave = asyncio.Event()
    runs, got = await members(server, layer, 2, leave)
    await layer.group_send("room_7", NEWS)
    await until(lambda: all(got))
    leave.set()
    await asyncio.gather(*runs)
    return got


class Own:
    """A serializer that has only what Channels' registry asks for."""

    def __init__(self, **settings: Any) -> None:
        pass

    def serialize(self, message: Any) -> bytes:
        """With something in front that makes equal messages differ."""
        return os.urandom(12) + json.dumps(message).encode()

    def deserialize(self, body: bytes) -> Any:
        """Without it."""
        return json.loads(body[12:])


@pytest.mark.parametrize("make", [core.RedisChannelLayer, pubsub.RedisPubSubChannelLayer])
async def test_a_serializer_of_ones_own_works_as_before(
    ports: list[int], server: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing travels with its messages, and they are counted."""
    monkeypatch.setitem(registry._registry, "own", Own)
    layer = make(hosts=hosts(ports), serializer_format="own")
    before = set(vars(layer))
    async with observed(layer) as (layer, telemetry):
        got = await told_to_two(server, layer)

        assert [[NEWS], [NEWS]] == got
        assert 2 == telemetry.value("messaging.client.consumed.messages")
        assert layer.send.__self__.losses is not None

    assert before == set(vars(layer))


@pytest.mark.parametrize("make", [core.RedisChannelLayer, pubsub.RedisPubSubChannelLayer])
async def test_what_fails_half_way_is_undone(ports: list[int], make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that looks otherwise than expected is as it was, and what its methods say is counted."""
    monkeypatch.setattr("otel_ws.channels.losses.Losses.carry", None)
    layer = make(hosts=hosts(ports))
    before = set(vars(layer)), type(getattr(layer, "receive_buffer", None))
    with testing.capture() as telemetry:
        observe(layer)
        during = set(vars(layer)) - {"send", "receive", "new_channel", "group_send", "group_add", "group_discard"}

        assert before == (during, type(getattr(layer, "receive_buffer", None)))
        assert {"layer.losses": 1} == faults.snapshot()
        await layer.send("somewhere", NEWS)
        assert 1 == telemetry.value("messaging.client.sent.messages")
    faults.reset()
    await layer.flush()


async def test_a_later_start_counts_what_goes_to_nobody(ports: list[int]) -> None:
    """The connections of pub/sub get their own methods back in between, and tell the new telemetry afterwards."""
    layer = pubsub.RedisPubSubChannelLayer(hosts=hosts(ports))
    for _ in range(2):
        with testing.capture() as telemetry:
            observe(layer)
            for group in ("room_7", "room_8", "room_9"):
                await layer.group_send(group, NEWS)

            assert 3 == dropped(telemetry, "NO_SUBSCRIBER")

        shards = layer._get_layer()._shards
        assert not any("_ensure_redis" in vars(one) or "publish" in vars(one._redis) for one in shards if one._redis)
    await layer.flush()


class Careful(core.RedisChannelLayer):  # type: ignore[name-defined]
    """A layer of the application's own, which uses its connections in the ways that redis-py has."""

    async def send(self, channel: str, message: Any) -> None:
        """Count it in Redis."""
        async with self.connection(0) as connection:
            await connection.incr("count")
        await (await self.connection(0)).incr("count")
        await super().send(channel, message)


async def test_a_layer_of_ones_own_uses_its_connections_as_before(ports: list[int]) -> None:
    """Also while a message goes out."""
    async with observed(Careful(hosts=hosts(ports))) as (layer, _):
        await layer.send("somewhere", NEWS)

        assert await layer.receive("somewhere") == NEWS
        assert b"2" == await layer.connection(0).getdel("count")


@pytest.mark.parametrize("make", [core.RedisChannelLayer, pubsub.RedisPubSubChannelLayer])
@pytest.mark.parametrize("more", [{}, {"serializer_format": "json"}, {"symmetric_encryption_keys": ["secret"]}])
async def test_a_message_arrives_as_it_was_sent(ports: list[int], server: Any, make: Any, more: Any) -> None:
    """Equal content as plain dicts, one for each member, and spans joined by a link."""
    async with observed(make(hosts=hosts(ports), **more)) as (layer, telemetry):
        got = await told_to_two(server, layer)

        (publish,) = telemetry.spans(f"publish {TEMPLATE}")
        linked = [span.links[0].context.span_id for span in telemetry.spans(f"process {TEMPLATE}")]
        assert ([[NEWS], [NEWS]], [dict, dict]) == (got, [type(one[0]) for one in got])
        assert got[0][0] is not got[1][0]
        assert [publish.context.span_id] * 2 == linked
        assert 2 == telemetry.value("ws.layer.lag")


@pytest.mark.parametrize("make", [core.RedisChannelLayer, pubsub.RedisPubSubChannelLayer])
@pytest.mark.parametrize("serializer", ["msgpack", "json"])
async def test_a_process_without_us_reads_what_was_sent(ports: list[int], make: Any, serializer: str) -> None:
    """In a rolling deploy no key more reaches a handler, in the same order; and ours reads what it sends."""
    plain = make(hosts=hosts(ports), serializer_format=serializer)
    async with observed(make(hosts=hosts(ports), serializer_format=serializer)) as (layer, telemetry):
        theirs, ours = await plain.new_channel(), await layer.new_channel()
        await plain.group_add("room_7", theirs)
        await layer.group_add("room_7", ours)
        for sender in (layer, plain):
            waiting = [asyncio.create_task(plain.receive(theirs)), asyncio.create_task(layer.receive(ours))]
            await asyncio.sleep(0)
            await sender.group_send("room_7", NEWS)
            found = await asyncio.wait_for(asyncio.gather(*waiting), 10)

            assert [list(NEWS.items())] * 2 == [list(one.items()) for one in found]
        assert (1, 2) == (telemetry.value("ws.broadcasts"), telemetry.value("messaging.client.consumed.messages"))
        await plain.flush()


@pytest.mark.parametrize(("age", "lags"), [(5.0, 1), (-5.0, 1), (200_000.0, 0), (-200_000.0, 0)])
async def test_a_time_that_nobody_can_believe_is_none(ports: list[int], age: float, lags: int) -> None:
    """A sender whose clock is days away spoils no sum: its message is one without a carrier."""
    plain = core.RedisChannelLayer(hosts=hosts(ports)[:1])
    encode, text = plain._serializer.as_bytes, carrier.Carrier(time.time() - age, TEMPLATE, None).text()
    plain._serializer.as_bytes = lambda *args, **kwargs: carrier.enclosed_in_msgpack(encode(*args, **kwargs), text)
    async with observed(core.RedisChannelLayer(hosts=hosts(ports)[:1])) as (layer, telemetry):
        channel = await layer.new_channel()
        await plain.send(channel, NEWS)

        assert await layer.receive(channel) == NEWS
        assert (1, lags) == (
            telemetry.value("messaging.client.consumed.messages"),
            telemetry.value("ws.layer.lag", messaging_destination_template=TEMPLATE),
        )
        await plain.close_pools()


async def test_a_full_process_is_told_as_before(ports: list[int]) -> None:
    """``ChannelFull`` of ``send`` comes through, and is counted."""
    async with observed(core.RedisChannelLayer(hosts=hosts(ports)[:1], capacity=2)) as (layer, telemetry):
        for _ in range(2):
            await layer.send("somewhere", NEWS)
        with pytest.raises(ChannelFull):
            await layer.send("somewhere", NEWS)

        assert 1 == dropped(telemetry, "CHANNEL_FULL")


@pytest.mark.parametrize("capacity", [5, 20, 100])
@pytest.mark.parametrize("shards", [1, 2])
async def test_in_a_flood_everything_adds_up(ports: list[int], server: Any, capacity: int, shards: int) -> None:
    """Attempted = handled + dropped + in flight, exactly: full keys of Redis, and consumers that leave."""
    layer = core.RedisChannelLayer(hosts=hosts(ports)[:shards], capacity=capacity)
    absent = core.RedisChannelLayer(hosts=hosts(ports)[:shards], capacity=capacity)
    async with observed(layer, message_traces="off") as (layer, telemetry):
        leave = asyncio.Event()
        runs, got = await members(server, layer, 3, leave, stops_at=2)
        # A process of two channels that never reads: its key in Redis fills up, and each lost message is two.
        nobody = [await absent.new_channel() for _ in range(2)]
        for channel in nobody:
            await absent.group_add("room_7", channel)
        count = 3 * capacity
        for number in range(count):
            await layer.group_send("room_7", {"type": "room.news", "n": number})
            # As long as someone asks, the process empties its key.
            await asyncio.sleep(0)
        await until(lambda: all(len(one) == 2 for one in got))

        async def waiting() -> float:
            total = 0
            for index in range(shards):
                connection = core.RedisChannelLayer.connection(layer, index)
                for key in await connection.keys("asgi*!*"):
                    for body in await connection.zrange(key, 0, -1):
                        total += len(layer.deserialize(body)["__asgi_channel__"])
            return total

        attempted, handled, lost = sums(telemetry)
        buffered = sum(queue.qsize() for queue in layer.receive_buffer.values())
        taken = sum(one.message is not None for one in layer.send.__self__.inboxes.values())

        assert (count * 5, 6) == (attempted, handled)
        assert 2 * (count - capacity) <= dropped(telemetry, "CHANNEL_FULL")
        assert attempted == handled + lost + buffered + taken + await waiting()

        for task in runs:
            task.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        attempted, handled, lost = sums(telemetry)

        assert dropped(telemetry, "CONSUMER_GONE") == buffered + taken
        assert attempted == handled + lost + await waiting()
        await absent.close_pools()


async def test_a_buffer_that_overflows_is_told(ports: list[int], server: Any) -> None:
    """One member asks, and so empties Redis into the buffer of one that does not."""
    async with observed(core.RedisChannelLayer(hosts=hosts(ports)[:1], capacity=5)) as (layer, telemetry):
        leave = asyncio.Event()
        slow, _ = await members(server, layer, 1, leave, stops_at=1)
        app = URLRouter([path("ws/", Member.as_asgi())])
        quick: list[Any] = []
        run = asyncio.create_task(
            server(app, CONNECT, lambda _: leave.wait(), DISCONNECT, path="/ws/", got=quick).run()
        )
        await until(lambda: sum(len(one.groups) for one in layer.send.__self__.inboxes.values()) == 2)
        for number in range(20):
            await layer.group_send("room_7", {"type": "room.news", "n": number})
            await until(lambda number=number: len(quick) == number + 1)

        buffered = sum(queue.qsize() for queue in layer.receive_buffer.values())
        taken = sum(one.message is not None for one in layer.send.__self__.inboxes.values())
        attempted, handled, lost = sums(telemetry)
        assert (40, 21) == (attempted, handled)
        assert dropped(telemetry, "BUFFER_OVERFLOW") > 0
        assert attempted == handled + lost + buffered + taken
        for task in (*slow, run):
            task.cancel()
        await asyncio.gather(*slow, run, return_exceptions=True)


async def test_pubsub_tells_of_nobody(ports: list[int]) -> None:
    """Redis says how many subscribers a message went to."""
    async with observed(pubsub.RedisPubSubChannelLayer(hosts=hosts(ports))) as (layer, telemetry):
        await layer.group_send("room_7", NEWS)
        await layer.send("gone", NEWS)

        assert 2 == dropped(telemetry, "NO_SUBSCRIBER")


async def test_pubsub_tells_what_a_consumer_left(ports: list[int], server: Any) -> None:
    """What is in a queue when its consumer goes."""
    async with observed(pubsub.RedisPubSubChannelLayer(hosts=hosts(ports)[:1])) as (layer, telemetry):
        leave = asyncio.Event()
        runs, got = await members(server, layer, 1, leave, stops_at=1)
        for _ in range(5):
            await layer.group_send("room_7", NEWS)
        queues = layer._get_layer().channels
        await until(lambda: got[0] and sum(queue.qsize() for queue in queues.values()) == 4)
        runs[0].cancel()
        await asyncio.gather(*runs, return_exceptions=True)

        assert 4 == dropped(telemetry, "CONSUMER_GONE")


@pytest.mark.parametrize("make", [core.RedisChannelLayer, pubsub.RedisPubSubChannelLayer])
async def test_a_server_that_is_away_is_told_as_before(make: Any) -> None:
    """The client's own exception; the broadcast failed, and was lost."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        layer = make(hosts=[f"redis://127.0.0.1:{probe.getsockname()[1]}/0"])
        before = channel_layers.set("default", layer)
        with testing.capture() as telemetry:
            observed_layer: Any = get_channel_layer()
            with pytest.raises(Exception, match=r"refused|onnect"):
                await observed_layer.group_send("room_7", NEWS)

            assert 1 == dropped(telemetry, "DISCONNECTED")
            assert (make is core.RedisChannelLayer, 1) == sums(telemetry)[::2]
            assert 1 == telemetry.value("ws.broadcasts", status="failed")
        channel_layers.backends.pop("default", None)
        if before is not None:
            channel_layers.set("default", before)


@pytest.mark.parametrize("shards", [1, 2])
async def test_what_a_server_refuses_adds_up(ports: list[int], shards: int) -> None:
    """What raises was attempted and is lost, for each member, also where one server of two took its part."""
    layer = core.RedisChannelLayer(hosts=hosts(ports)[:shards])
    async with observed(layer) as (layer, telemetry):
        for name in "abcdefgh":
            await layer.group_add("room_7", name)
        # A string is in the way of one channel's queue.
        await core.RedisChannelLayer.connection(layer, layer.consistent_hash("a")).set(layer.prefix + "a", "x")
        mute = {"type": "room.news", "when": object()}
        for publish in (layer.group_send("room_7", NEWS), layer.group_send("room_7", mute), layer.send("a", mute)):
            with pytest.raises(Exception, match=r"WRONGTYPE|serialize"):
                await publish
        waiting = 0
        for index in range(shards):
            connection = core.RedisChannelLayer.connection(layer, index)
            waiting += sum([await connection.zcard(layer.prefix + name) for name in "bcdefgh"])
        await core.RedisChannelLayer.connection(layer, layer.consistent_hash("a")).delete(layer.prefix + "a")
        attempted, handled, lost = sums(telemetry)

        assert (8 + 8 + 1, 0) == (attempted, handled)
        assert attempted == dropped(telemetry, "REFUSED") + waiting
        assert lost == dropped(telemetry, "REFUSED")


def test_a_layer_gets_its_own_methods_back() -> None:
    """After the end nothing of ours is left on it, nor on its serialiser."""
    layer = core.RedisChannelLayer(hosts=["redis://127.0.0.1:1/0"])
    before, kind = dict(vars(layer)), type(layer.receive_buffer)
    channel_layers.set("default", layer)
    with testing.capture():
        get_channel_layer()
        assert type(layer.receive_buffer) is not kind
    channel_layers.backends.pop("default", None)

    assert (before, kind) == (vars(layer), type(layer.receive_buffer))
    assert {"as_bytes", "from_bytes"}.isdisjoint(vars(layer._serializer))


async def test_messages_that_come_at_once_wait(ports: list[int], server: Any) -> None:
    """Five to one that is busy: four of five were there when they were asked for, each as long as it waited."""
    async with observed(core.RedisChannelLayer(hosts=hosts(ports)[:1])) as (layer, telemetry):
        leave, free = asyncio.Event(), asyncio.Event()
        got: list[Any] = []

        class Busy(Member):
            async def room_news(self, event: Any) -> None:
                await free.wait()
                got.append(event)

        app = URLRouter([path("ws/", Busy.as_asgi())])
        run = asyncio.create_task(server(app, CONNECT, lambda _: leave.wait(), DISCONNECT, path="/ws/").run())
        await until(lambda: sum(len(one.groups) for one in layer.send.__self__.inboxes.values()) == 1)
        for _ in range(5):
            await layer.group_send("room_7", NEWS)
        free.set()
        await until(lambda: len(got) == 5)
        leave.set()
        await run

        assert (5, 4) == (telemetry.value("ws.message.wait"), telemetry.value("ws.message.backlogged"))


@pytest.mark.parametrize("is_group", [False, True])
async def test_what_a_publish_throws_away_is_told(ports: list[int], is_group: bool) -> None:
    """Messages that nobody took in time go when the next one comes; memberships that go are none."""
    layer = core.RedisChannelLayer(hosts=hosts(ports)[:1], expiry=1, group_expiry=60)
    async with observed(layer) as (layer, telemetry):
        channel = await layer.new_channel()
        await layer.group_add("room_7", channel)
        key = "asgi" + channel[: channel.index("!") + 1]
        for age in (5, 4, 0):
            body = layer.serialize({**NEWS, "__asgi_channel__": [channel]})
            await core.RedisChannelLayer.connection(layer, 0).zadd(key, {body: time.time() - age})
        if is_group:
            await core.RedisChannelLayer.connection(layer, 0).zadd("asgi:group:room_7", {"old.a!b": 1})
            await layer.group_send("room_7", NEWS)
        else:
            await layer.send(channel, NEWS)

        assert 2 == dropped(telemetry, "EXPIRED")
        assert [NEWS, NEWS] == [await layer.receive(channel) for _ in range(2)]
