"""What waits in a layer is told by kind of queue and template, off everybody's way, and by no name."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from otel_ws import faults, semconv, testing
from otel_ws.channels import backlog
from otel_ws.channels.backlog import Poll, Queue
from otel_ws.deliveries import Deliveries
from otel_ws.ledger import Ledger
from otel_ws.policy import Policy
from otel_ws.testing import Telemetry

NEWS = {"type": "room.news", "text": "hello"}
PROCESS = (("queue", "process"),)
CONSUMER = (("queue", "consumer"),)
PAYMENTS = (("messaging_destination_template", "payments"), ("queue", "channel"))
OTHER = (("messaging_destination_template", "_OTHER"), ("queue", "channel"))


@pytest.fixture
def alone() -> Iterator[None]:
    """No channel layer but the test's."""
    before = dict(channel_layers.backends)
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()
    channel_layers.backends.update(before)


def observed(layer: Any, telemetry: Telemetry) -> Any:
    """The layer in the default one's place, and one channel of workers declared."""
    channel_layers.set("default", layer)
    telemetry.recorder.policy.declare(semconv.TEMPLATE, ["payments"])
    return get_channel_layer()


def points(telemetry: Telemetry) -> list[dict[Any, Any]]:
    """Depths, shares of the capacity, ages."""
    return [telemetry.points(f"ws.layer.{one}") for one in ("depth", "capacity", "oldest_age")]


# --- in memory ----------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("alone")
async def test_in_memory_every_queue_is_seen(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment in which a reader asks: depths add up, of the fullest and of the oldest there is one."""
    now = [1000.0]
    for module in ("channels.layers", "otel_ws.channels.losses"):
        monkeypatch.setattr(f"{module}.time.time", lambda: now[0])
    layer = observed(InMemoryChannelLayer(capacity=4, expiry=60), telemetry)
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.send(first, NEWS)
    now[0] += 2.5
    for channel in (second, second, "payments", "nobody-knows"):
        await layer.send(channel, NEWS)
    now[0] += 1

    depths, shares, ages = points(telemetry)

    assert {CONSUMER: 3, PAYMENTS: 1, OTHER: 1} == depths
    assert {CONSUMER: 0.5, PAYMENTS: 0.25, OTHER: 0.25} == shares
    assert {CONSUMER: 3.5, PAYMENTS: 1, OTHER: 1} == ages
    telemetry.assert_ids_only()


@pytest.mark.usefixtures("alone")
async def test_what_is_left_of_a_consumer_does_not_wait(telemetry: Telemetry) -> None:
    """It is lost already, and counted as such."""
    layer = observed(InMemoryChannelLayer(), telemetry)
    channel = await layer.new_channel()
    await layer.send(channel, NEWS)
    layer.send.__self__.gone[channel] = ()

    assert [{CONSUMER: 0}] * 3 == points(telemetry)


@pytest.mark.usefixtures("alone")
async def test_where_nothing_waits_the_figures_say_so(telemetry: Telemetry) -> None:
    """A series that vanished would stand at its last number where it is pushed to: there is one before and after."""
    layer = observed(InMemoryChannelLayer(), telemetry)
    before = points(telemetry)
    channel = await layer.new_channel()
    await layer.send(channel, NEWS)
    await layer.receive(channel)

    assert [{CONSUMER: 0}] * 3 == before == points(telemetry)


def test_unbounded_and_ageless_queues_have_a_depth_alone() -> None:
    """Pub/sub knows neither a capacity nor when a message came."""
    deliveries = Deliveries(Ledger(), Policy())
    queues = [Queue("consumer", "a!1", 3, None, None), Queue("consumer", "a!2", 2, None, None)]

    found = [dict(backlog.read(metric, queues, deliveries)) for metric in backlog.METRICS]

    assert [{("consumer", ""): 5.0}, {}, {}] == found


# --- in Redis -----------------------------------------------------------------------------------------------------
core = pytest.importorskip("channels_redis.core")


def until(holds: Any) -> Any:
    """Wait for what another thread will have done; returns what held."""
    deadline = time.monotonic() + 10
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


async def later(holds: Any) -> Any:
    """The same, while the event loop goes on."""
    return await asyncio.to_thread(until, holds)


@pytest.fixture
def quick(alone: None) -> Iterator[Telemetry]:
    """Telemetry that looks ten times a second."""
    with testing.capture(layer_poll=0.1) as telemetry:
        yield telemetry


def looks(telemetry: Telemetry) -> dict[Any, Any]:
    """The depths in Redis, if any are known; no consumer of this process waits for anything."""
    depths = telemetry.points("ws.layer.depth")
    assert 0 == depths.pop(CONSUMER)
    return depths


@pytest.mark.usefixtures("no_faults")
async def test_queues_in_redis_are_looked_at(ports: list[int], quick: Telemetry) -> None:
    """That of this process, and those of channels that it sends to; over every host of the layer."""
    hosts = [f"redis://127.0.0.1:{port}/3" for port in ports]
    layer = observed(core.RedisChannelLayer(hosts=hosts, capacity=8), quick)
    mine = await layer.new_channel()
    await layer.group_add("room_7", mine)
    for _ in range(2):
        await layer.send("payments", NEWS)
        await layer.group_send("room_7", NEWS)
    layer.send.__self__.losses.receiving(mine)

    assert await later(lambda: looks(quick) == {PROCESS: 2, PAYMENTS: 2})
    _, shares, ages = points(quick)
    # The two of the named channel went to one host each.
    assert {PROCESS: 0.25, PAYMENTS: 0.125, CONSUMER: 0} == shares
    assert all(0.0 <= age < 10 for age in ages.values())
    quick.assert_ids_only()
    await layer.flush()


async def test_one_of_many_looks(ports: list[int], quick: Telemetry) -> None:
    """Every process writes down its queues; one of them looks at all; when it is gone, another does."""
    made = [core.RedisChannelLayer(hosts=[f"redis://127.0.0.1:{ports[0]}/4"]) for _ in range(2)]
    polls = [Poll(layer, 0.1) for layer in made]
    names = []
    for layer, poll in zip(made, polls, strict=True):
        channel = await layer.new_channel()
        names.append(channel[: channel.index("!") + 1])
        await layer.send(channel, NEWS)
        poll.met(channel)

    assert await later(lambda: any(len(poll.found()) == 2 for poll in polls))
    (looking,) = [poll for poll in polls if poll.found()]
    (waiting,) = [poll for poll in polls if poll is not looking]
    assert set(names) == {one.name for one in looking.found()}
    assert {("process", 1, 100)} == {(one.kind, one.depth, one.capacity) for one in looking.found()}
    looking.stop()
    assert await later(lambda: len(waiting.found()) == 2)
    waiting.stop()
    await made[0].flush()


async def test_the_layer_keeps_what_is_its_own(ports: list[int], quick: Telemetry) -> None:
    """Two keys of ours beside the layer's; they hold no message, expire, and go with ``flush``."""
    layer = observed(core.RedisChannelLayer(hosts=[f"redis://127.0.0.1:{ports[0]}/5"]), quick)
    await layer.send("payments", NEWS)
    assert await later(lambda: looks(quick) == {PAYMENTS: 1})
    plain = core.RedisChannelLayer(hosts=layer.hosts)
    connection = plain.connection(0)

    assert {b"asgipayments", b"asgi:otel-ws:queues", b"asgi:otel-ws:turn"} == set(await connection.keys("*"))
    assert [b"payments"] == await connection.zrange("asgi:otel-ws:queues", 0, -1)
    assert all([0 < await connection.pttl(f"asgi:otel-ws:{one}") <= 120_000 for one in ("queues", "turn")])
    assert NEWS == await layer.receive("payments")
    for one in list(backlog._polls):
        one.stop()
    await plain.flush()
    await layer.close_pools()


@pytest.mark.usefixtures("alone")
async def test_looking_leaves_no_connection_and_no_span(ports: list[int]) -> None:
    """What is open between two looks is the application's own."""
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.redis")
    instrumentor = instrumentation.RedisInstrumentor()
    with testing.capture(layer_poll=0.1) as telemetry:
        instrumentor.instrument(tracer_provider=telemetry.tracer_provider)
        try:
            layer = observed(core.RedisChannelLayer(hosts=[f"redis://127.0.0.1:{ports[0]}/6"]), telemetry)
            layer.send.__self__.losses.receiving("payments")
            assert await later(lambda: looks(telemetry) == {PAYMENTS: 0})
        finally:
            instrumentor.uninstrument()

        assert [] == telemetry.spans()
    await layer.flush()


async def test_a_server_that_is_away_leaves_no_figures(
    ports: list[int], quick: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is swallowed and counted, the last figures are gone, and nothing of an address is said."""
    layer = observed(core.RedisChannelLayer(hosts=[f"redis://:secret@127.0.0.1:{ports[0]}/7"]), quick)
    layer.hosts = [{"address": f"redis://127.0.0.1:{ports[0]}/7"}]
    layer.send.__self__.losses.receiving("payments")
    assert await later(lambda: looks(quick) == {PAYMENTS: 0})
    layer.hosts = [{"address": "redis://:secret@127.0.0.1:1/7"}]

    assert await later(lambda: quick.value("ws.telemetry.errors", place="layer.poll") > 1)
    assert {} == looks(quick)
    assert ("secret" in caplog.text, "127.0.0.1" in caplog.text) == (False, False)
    for one in list(backlog._polls):
        one.stop()
    faults.reset()


@pytest.mark.usefixtures("alone", "no_faults")
async def test_looking_can_be_switched_off(ports: list[int]) -> None:
    """``OTEL_WS_LAYER_POLL=0``: no thread, no key."""
    with testing.capture(layer_poll=0) as telemetry:
        layer = observed(core.RedisChannelLayer(hosts=[f"redis://127.0.0.1:{ports[0]}/8"]), telemetry)
        await layer.send("payments", NEWS)
        await layer.receive("payments")

        assert layer.send.__self__.losses._poll is None
        assert [] == await core.RedisChannelLayer.connection(layer, 0).keys("asgi:otel-ws:*")
    await layer.close_pools()


def test_the_thread_ends_with_the_telemetry(alone: None) -> None:
    """And is a daemon meanwhile, so it holds no process."""
    with testing.capture(layer_poll=0.1) as telemetry:
        layer = observed(core.RedisChannelLayer(hosts=["redis://127.0.0.1:1/0"]), telemetry)
        layer.send.__self__.losses.receiving("payments")
        thread = layer.send.__self__.losses._poll._thread
        assert (True, True) == (thread.is_alive(), thread.daemon)

    thread.join(10)
    assert not thread.is_alive()
    faults.reset()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_starts_anew() -> None:
    """Its threads are gone; it has met nobody, and looks by a name of its own."""
    poll = Poll(core.RedisChannelLayer(hosts=["redis://127.0.0.1:1/0"]), 3600)
    poll.met("payments")
    before = poll._me, poll._thread

    poll.forked()
    poll.met("payments")

    assert poll._me != before[0]
    assert poll._thread is not before[1]
    for one in (poll, before[1]):
        assert one is not None
    poll.stop()


def test_only_so_many_names_are_looked_at() -> None:
    """A channel for each user would make it endless; the process's own is looked at all the same."""
    poll = Poll(core.RedisChannelLayer(hosts=["redis://127.0.0.1:1/0"]), 3600)
    for number in range(2 * backlog.NAMES_LIMIT):
        poll.met(f"user-{number}")
    before = len(poll._names)
    poll.met("specific.ab!cd")

    assert (backlog.NAMES_LIMIT, True) == (before, "specific.ab!" in poll._names)
    for number in range(2 * backlog.NAMES_LIMIT):
        poll.met(f"user-{number}!it")
    assert 2 * backlog.NAMES_LIMIT == len(poll._names)
    assert 1 == sum(one.name == "otel-ws-layer" and one is poll._thread for one in threading.enumerate())
    poll.stop()
