"""Channel layers: nothing about them changes, and what is sent, handled and lost adds up."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("channels")

from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from channels.routing import URLRouter
from django.urls import path
from opentelemetry.trace import SpanKind

import otel_ws
from otel_ws import WebSocketMiddleware, faults, recorder, semconv, testing
from otel_ws.channels import inbox, patches
from otel_ws.channels.layer import _after_fork, observe
from otel_ws.testing import Telemetry

CONNECT = {"type": "websocket.connect"}
ASK = {"type": "websocket.receive", "text": '{"type": "ask"}'}
DISCONNECT = {"type": "websocket.disconnect", "code": 1000}
NEWS = {"type": "room.news", "text": "hello", "deep": [1, {"x": None}]}
TEMPLATE = "room_{room_id}"

pytestmark = pytest.mark.usefixtures("no_faults")


class Member(AsyncJsonWebsocketConsumer):
    """A member of one group, which it tells something where it is asked to."""

    groups = ("room_7",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Tell the group."""
        await self.channel_layer.group_send("room_7", NEWS)

    async def room_news(self, event: Any) -> None:
        """Keep what came, and hand it on."""
        self.scope["got"].append(event)
        await self.send_json(event)


class SyncMember(JsonWebsocketConsumer):
    """The same, in threads."""

    groups = ("room_7",)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Tell the group."""
        async_to_sync(self.channel_layer.group_send)("room_7", NEWS)

    def room_news(self, event: Any) -> None:
        """Keep what came, and hand it on."""
        self.scope["got"].append(event)
        self.send_json(event)


def swapped(layer: Any) -> Iterator[Any]:
    """A layer in the default one's place, for one test."""
    before = channel_layers.set("default", layer)
    yield channel_layers
    channel_layers.backends.pop("default", None)
    if before is not None:
        channel_layers.set("default", before)


@pytest.fixture
def plain() -> Iterator[InMemoryChannelLayer]:
    """A layer in memory that nobody has looked at yet."""
    layer = InMemoryChannelLayer(capacity=5)
    for _ in swapped(layer):
        yield layer


@pytest.fixture
def layer(plain: InMemoryChannelLayer, telemetry: Telemetry) -> Any:
    """The same, observed."""
    telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
    return get_channel_layer()


async def settled() -> None:
    """Every task that could go on has."""
    for _ in range(30):
        await asyncio.sleep(0)


def dropped(telemetry: Telemetry, reason: str) -> float:
    """The deliveries that were lost for one reason."""
    return telemetry.value("ws.layer.dropped", reason=reason)


def sums(telemetry: Telemetry) -> tuple[float, float, float]:
    """The deliveries that were attempted, handled and dropped."""
    now = telemetry.recorder.snapshot()
    recipients = sum(one.sum for one in now.distributions[semconv.BROADCAST_RECIPIENTS].values())
    sends = now.total(semconv.LAYER_SENT, messaging_operation_name="send")
    nobody = now.total(semconv.LAYER_DROPPED, reason="NO_SUBSCRIBER")
    return (
        recipients + sends + nobody,
        now.total(semconv.LAYER_CONSUMED),
        now.total(semconv.LAYER_DROPPED),
    )


# --- nothing changes ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("consumer", [Member, SyncMember])
async def test_a_handler_gets_what_was_sent(layer: Any, server: Any, consumer: Any) -> None:
    """A plain dict of its own with equal content, and the client no more than that."""
    got: list[Any] = []
    run = server(
        otel_ws.WebSocketMiddleware(consumer.as_asgi()), CONNECT, ASK, lambda _: arrived(got, 1), DISCONNECT, got=got
    )

    await run.run()

    assert ([NEWS], [dict]) == (got, [type(one) for one in got])
    assert "hello" in run.sent[-1]["text"]
    assert "otel" not in run.sent[-1]["text"]


async def arrived(got: list[Any], count: int) -> None:
    """So many messages came."""
    async with asyncio.timeout(10):
        while len(got) < count:
            await asyncio.sleep(0.001)


async def joined(layer: Any, count: int) -> None:
    """So many members are in their group: Channels closes old database connections in a thread first."""
    async with asyncio.timeout(10):
        while sum(len(one.groups) for one in layer.send.__self__.inboxes.values()) < count:
            await asyncio.sleep(0.001)


async def test_the_senders_message_stays_as_it_is(layer: Any) -> None:
    """What was sent gets no key and is not kept."""
    message = {"type": "room.news", "deep": []}
    channel = await layer.new_channel()
    await layer.group_add("room_7", channel)

    await layer.group_send("room_7", message)
    await layer.send(channel, message)

    assert {"type": "room.news", "deep": []} == message
    assert [message, message] == [await layer.receive(channel), await layer.receive(channel)]


async def test_a_full_channel_is_told_as_before(layer: Any, telemetry: Telemetry) -> None:
    """``ChannelFull`` of ``send`` comes through, and is counted."""
    for _ in range(5):
        await layer.send("somewhere", NEWS)

    with pytest.raises(ChannelFull):
        await layer.send("somewhere", NEWS)

    assert 1 == dropped(telemetry, "CHANNEL_FULL")
    assert 1 == telemetry.value("messaging.client.sent.messages", error_type="ChannelFull")


@pytest.mark.parametrize(
    "call",
    [
        lambda layer: layer.send("a b", NEWS),
        lambda layer: layer.send("channel", "no dict"),
        lambda layer: layer.send("channel"),
        lambda layer: layer.group_send("a b", NEWS),
        lambda layer: layer.group_send(),
        lambda layer: layer.group_add("a b", "channel"),
        lambda layer: layer.receive("a b"),
        lambda layer: layer.send("channel", {"type": "a", "__asgi_channel__": "x"}),
    ],
)
async def test_wrong_use_is_told_as_before(layer: Any, call: Any) -> None:
    """The layer's own exception, of the same class and with the same text."""
    with pytest.raises(Exception) as bare:
        await call(InMemoryChannelLayer(capacity=5))
    with pytest.raises(Exception) as observed:
        await call(layer)

    assert (bare.type, str(bare.value)) == (observed.type, str(observed.value))


async def test_keywords_work_as_before(layer: Any) -> None:
    """Every argument may be named, as in Channels."""
    channel = await layer.new_channel(prefix="mine.")
    await layer.group_add(group="room_7", channel=channel)

    await layer.group_send(group="room_7", message=NEWS)
    await layer.send(channel=channel, message=NEWS)
    await layer.group_discard(group="room_7", channel=channel)

    assert [NEWS, NEWS] == [await layer.receive(channel=channel), await layer.receive(channel=channel)]
    assert channel.startswith("mine.")


async def test_a_cancelled_receive_loses_nothing(layer: Any, telemetry: Telemetry) -> None:
    """The message waits for the next one who asks."""
    waiting = asyncio.create_task(layer.receive("somewhere"))
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await layer.send("somewhere", NEWS)

    assert NEWS == await layer.receive("somewhere")
    assert {} == telemetry.points("ws.layer.dropped")


async def test_a_flushed_layer_is_like_new(layer: Any) -> None:
    """``flush`` empties it, and it works afterwards."""
    await layer.send("somewhere", NEWS)

    await layer.flush()
    await layer.send("somewhere", {"type": "a"})

    assert {"type": "a"} == await layer.receive("somewhere")


def test_the_instance_is_the_same(plain: Any) -> None:
    """Observed in place: who holds the layer already has the observed one."""
    with testing.capture():
        assert get_channel_layer() is plain


def test_methods_look_like_what_they_wrap(layer: Any) -> None:
    """``async_to_sync`` and others ask whether they are coroutine functions."""
    assert all(asyncio.iscoroutinefunction(getattr(layer, name)) for name in ("send", "receive", "group_send"))


def test_a_layer_gets_its_own_methods_back(plain: Any) -> None:
    """After the end nothing of ours is left on it."""
    before = dict(vars(plain))
    with testing.capture():
        get_channel_layer()

    assert before.keys() == vars(plain).keys()


def test_a_wrapper_put_over_ours_stays(plain: Any) -> None:
    """Somebody who wrapped after us keeps the wrapper."""
    with testing.capture():
        theirs = lambda *args: None  # noqa: E731
        get_channel_layer().send = theirs

    assert theirs is vars(plain).pop("send")


async def test_a_layer_that_somebody_wraps_is_counted_once(plain: Any) -> None:
    """However often it is asked for, and after another start too: the wrapper stays the outermost."""

    def wrapped(inner: Any) -> Any:
        async def theirs(channel: str, message: Any) -> None:
            await inner(channel, message)

        return theirs

    for start in range(2):
        with testing.capture() as telemetry:
            layer: Any = get_channel_layer()
            if not start:
                layer.send = wrapped(layer.send)
            theirs = layer.send
            for _ in range(3):
                assert get_channel_layer().send is theirs
            await layer.group_add("room_7", "somewhere")
            await layer.group_send("room_7", NEWS)

            assert (NEWS, (1, 1, 0)) == (await layer.receive("somewhere"), sums(telemetry))

    assert vars(plain)["send"].__name__ == "theirs"
    assert not {"receive", "group_send", "group_add"} & vars(plain).keys()


async def test_a_test_double_put_over_ours_is_used(layer: Any, telemetry: Telemetry) -> None:
    """Though the layer is asked for meanwhile; afterwards all is as before."""
    with mock.patch.object(layer, "send", new=mock.AsyncMock()):
        await get_channel_layer().send("somewhere", NEWS)
        get_channel_layer().send.assert_awaited_once()
    await layer.send("somewhere", NEWS)

    assert (NEWS, (1, 1, 0)) == (await layer.receive("somewhere"), sums(telemetry))


class Trail(InMemoryChannelLayer):
    """An application's layer that notes on each message where it went."""

    async def group_send(self, group: str, message: Any) -> None:
        """Edit the very message."""
        message["trail"] = ["sent"]
        await super().group_send(group, message)


async def marked(send: Any, channel: str, message: Any) -> None:
    """The same, as a wrapper around a layer's ``send``."""
    message["trail"] = ["sent"]
    await send(channel, message)


@pytest.mark.parametrize("make", [Trail, InMemoryChannelLayer])
async def test_what_a_layer_writes_on_a_message_stays_as_it_is(make: Any, telemetry: Telemetry) -> None:
    """The sender sees it, and each member has a copy of its own, whoever comes between."""
    for _ in swapped(make()):
        layer: Any = get_channel_layer()
        if make is not Trail:
            layer.send = functools.partial(marked, layer.send)
        for name in "ab":
            await layer.group_add("room_7", name)
        message: dict[str, Any] = {"type": "room.news"}
        await layer.group_send("room_7", message)
        first = await layer.receive("a")
        first["trail"].append("read")

        assert message == await layer.receive("b") == {"type": "room.news", "trail": ["sent"]}
        assert (2, 2, 0) == sums(telemetry)


@pytest.mark.parametrize("kind", [dict, OrderedDict, functools.partial(defaultdict, list)])
async def test_a_message_stays_of_its_class(layer: Any, kind: Any) -> None:
    """On a consumer's channel and on a named one, whoever asks for it."""
    message = kind(NEWS)
    for channel in (await layer.new_channel(), "somewhere"):
        await layer.send(channel, message)
        got = await layer.receive(channel)

        assert (type(message), message) == (type(got), got)


async def test_what_a_wrapper_makes_of_a_message_is_handled(layer: Any, server: Any, telemetry: Telemetry) -> None:
    """Something around the layer's ``receive`` hands on another dict: it counts as the one that came."""
    got: list[Any] = []
    receive = layer.receive

    async def opened(channel: str) -> Any:
        return {**await receive(channel), "opened": True}

    layer.receive = opened
    app = otel_ws.WebSocketMiddleware(Member.as_asgi())
    await server(app, CONNECT, ASK, ASK, lambda _: arrived(got, 2), DISCONNECT, got=got).run()

    assert [{**NEWS, "opened": True}] * 2 == got
    assert (2, 2, 0) == sums(telemetry)
    assert 2 == telemetry.value("ws.layer.lag")


class Front:
    """A third party's layer that stands in front of another one."""

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)


@pytest.mark.parametrize("is_inner_first", [True, False])
async def test_a_layer_in_front_of_another_is_counted_once(is_inner_first: bool) -> None:
    """It hands out the other's methods, and takes what is put in their place to the other."""
    ours = Unknown()
    with testing.capture() as telemetry:
        for _ in swapped(Front(ours)):
            if is_inner_first:
                observe(ours)
            layers: list[Any] = [get_channel_layer() for _again in range(3)]
            await layers[-1].send("a", NEWS)

            assert (NEWS, (1, 1, 0)) == (await layers[-1].receive("a"), sums(telemetry))

    assert ours.send == Unknown.send.__get__(ours)


def test_a_layer_that_cannot_be_given_back_keeps_nobody_up(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the telemetry goes on with the next one."""
    with testing.capture():
        get_channel_layer()
        monkeypatch.setattr("otel_ws.channels.losses.Losses.leave", None)

    assert "send" not in vars(plain)
    assert {"layer.losses": 1} == faults.snapshot()
    faults.reset()
    vars(plain).pop("_clean_expired")


def test_without_telemetry_a_layer_is_left_alone(plain: Any) -> None:
    """Where nobody records, nothing is wrapped."""
    assert recorder.active() is None
    patches.apply()
    try:
        get_channel_layer()
    finally:
        patches.revert()

    assert "send" not in vars(plain)


class Unknown:
    """A layer of a third party: no queue that anybody knows, a group of one list."""

    extensions = ("groups",)

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    async def send(self, channel: str, message: Any, *, priority: int = 0) -> str:
        """Keep it."""
        self.sent.append((channel, message))
        return f"sent {priority}"

    async def receive(self, channel: str) -> Any:
        """Hand it out."""
        return self.sent.pop(0)[1]

    async def new_channel(self) -> str:
        """A name."""
        return "mine!1"

    async def group_send(self, group: str, message: Any) -> None:
        """To two channels, by its own ``send``."""
        for channel in ("mine!1", "mine!2"):
            await self.send(channel, {**message})


async def test_each_alias_is_a_layer_of_its_own(layer: Any, server: Any, telemetry: Telemetry) -> None:
    """A consumer of another alias hears what is sent there, and nobody what is sent to the same group here."""

    class Elsewhere(Member):
        channel_layer_alias = "elsewhere"

    got: list[Any] = []

    async def tell(_: Any) -> None:
        other: Any = get_channel_layer("elsewhere")
        await joined(other, 1)
        await layer.group_send("room_7", {**NEWS, "text": "here"})
        await other.group_send("room_7", NEWS)
        await arrived(got, 1)

    channel_layers.set("elsewhere", InMemoryChannelLayer())
    try:
        app = URLRouter([path("ws/", Elsewhere.as_asgi())])
        one = server(app, CONNECT, tell, DISCONNECT, path="/ws/", got=got)
        await one.run()
    finally:
        channel_layers.backends.pop("elsewhere", None)

    assert [NEWS] == got
    # Two attempts, one for nobody.
    assert (2, 1, 1) == sums(telemetry)
    assert 1 == telemetry.value("messaging.client.consumed.messages", messaging_destination_template=TEMPLATE)


async def test_an_unknown_layer_works_as_before(telemetry: Telemetry) -> None:
    """With its own arguments and results, the very message, and counts of what its methods say."""
    ours = Unknown()
    for _ in swapped(ours):
        layer: Any = get_channel_layer()
        answers = [await layer.send("a", NEWS, priority=3), await layer.group_send("room_7", NEWS)]

        assert (["sent 3", None], "mine!1") == (answers, await layer.new_channel())
        assert ours.sent[0][1] is NEWS
        assert [NEWS, NEWS, NEWS] == [await layer.receive("a") for _ in range(3)]
        assert (3, 3, 0) == sums(telemetry)


# --- counts and templates -------------------------------------------------------------------------------------------
async def test_a_broadcast_is_told_by_its_template(layer: Any, telemetry: Telemetry) -> None:
    """Count, duration and recipients; the group's name stays here."""
    channel = await layer.new_channel()
    await layer.group_add("room_7", channel)

    await layer.group_send("room_7", NEWS)
    await layer.group_send("secret_room", NEWS)

    labels = (("messaging_destination_template", TEMPLATE),)
    assert 1 == telemetry.points("ws.broadcasts")[(*labels, ("status", "sent"))]
    assert {1} == {telemetry.points(f"ws.broadcast.{one}")[labels] for one in ("duration", "recipients")}
    assert 1 == telemetry.value("messaging.client.sent.messages", messaging_destination_template="_OTHER")


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("match_7", "match_{id}"),
        ("match_7_staff", "match_{id}_staff"),
        ("lobby", "lobby"),
        ("lobby_2", "_OTHER"),
        ("match_", "_OTHER"),
        (None, "_OTHER"),
    ],
)
def test_a_name_belongs_to_the_template_that_says_most_of_it(telemetry: Telemetry, name: Any, template: str) -> None:
    """Whole names alone fit."""
    telemetry.recorder.policy.declare(semconv.TEMPLATE, ["match_{id}", "match_{id}_staff", "lobby"])

    assert template == telemetry.recorder.deliveries.of_name(name).template


def test_undeclared_names_are_counted(telemetry: Telemetry) -> None:
    """Each once, until its template is declared; a consumer's own channel needs none."""
    deliveries = telemetry.recorder.deliveries
    for name in ("room_7", "room_8", "room_7", "payments", "specific.ab!cd"):
        deliveries.of_name(name)
    before = deliveries.undeclared()
    telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])

    assert (3, 1) == (before, deliveries.undeclared())


def test_a_template_may_be_declared_later(telemetry: Telemetry) -> None:
    """A name that was looked at before is looked at anew."""
    before = telemetry.recorder.deliveries.of_name("room_7").template
    telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])

    assert ("_OTHER", TEMPLATE) == (before, telemetry.recorder.deliveries.of_name("room_7").template)


async def test_what_the_application_tells_itself_is_told_once(layer: Any, telemetry: Telemetry) -> None:
    """Inside ``otel_ws.broadcast`` the layer's broadcast is that one, under its template."""
    telemetry.recorder.policy.declare(semconv.TEMPLATE, ["lobby"])

    with otel_ws.broadcast("lobby", recipients=3):
        await layer.group_send("anything", NEWS)

    assert {(("messaging_destination_template", "lobby"), ("status", "sent")): 1} == telemetry.points("ws.broadcasts")


async def test_a_failed_broadcast_is_told(layer: Any, telemetry: Telemetry) -> None:
    """As a failure, with the exception's class."""
    with pytest.raises(TypeError):
        await layer.group_send("not a name", NEWS)

    assert 1 == telemetry.value("ws.broadcasts", status="failed")
    assert ["TYPE_ERROR"] == [one.attributes["ws.reason"] for one in telemetry.events("WS_BROADCAST_FAIL")]


# --- context ----------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def one_round(server: Any, **settings: Any) -> AsyncIterator[Telemetry]:
    """A member that tells its group something."""
    with testing.capture(**settings) as telemetry:
        telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
        got: list[Any] = []
        for _ in swapped(InMemoryChannelLayer()):
            app = URLRouter([path("ws/", Member.as_asgi())])
            await server(app, CONNECT, ASK, lambda _: arrived(got, 1), DISCONNECT, path="/ws/", got=got).run()
        assert [NEWS] == got
        yield telemetry


async def test_process_is_linked_to_publish(server: Any) -> None:
    """A trace of its own, with one link to the sender's span."""
    async with one_round(server) as telemetry:
        (publish,), (process,) = telemetry.spans(f"publish {TEMPLATE}"), telemetry.spans(f"process {TEMPLATE}")

        assert (SpanKind.PRODUCER, SpanKind.CONSUMER) == (publish.kind, process.kind)
        assert process.parent is None
        assert [publish.context.span_id] == [link.context.span_id for link in process.links]
        assert publish.context.trace_id != process.context.trace_id


async def test_publish_belongs_to_the_message_that_caused_it(server: Any) -> None:
    """It is a child of the client message's span."""
    async with one_round(server) as telemetry:
        (publish,) = telemetry.spans(f"publish {TEMPLATE}")
        (message,) = [
            span for span in telemetry.spans() if span.attributes and span.attributes.get("ws.send.count") == 0
        ]

        assert publish.parent is not None
        assert message.context.span_id == publish.parent.span_id


async def test_process_is_a_child_where_wanted(server: Any) -> None:
    """``OTEL_WS_LAYER_CONTEXT=parent``."""
    async with one_round(server, layer_context="parent") as telemetry:
        (publish,), (process,) = telemetry.spans(f"publish {TEMPLATE}"), telemetry.spans(f"process {TEMPLATE}")

        assert process.parent is not None
        assert publish.context.span_id == process.parent.span_id


async def test_context_can_be_switched_off(server: Any) -> None:
    """``OTEL_WS_LAYER_CONTEXT=off``: no link."""
    async with one_round(server, layer_context="off") as telemetry:
        (process,) = telemetry.spans(f"process {TEMPLATE}")

        assert ((), None) == (tuple(process.links), process.parent)


async def test_without_message_spans_there_are_none(server: Any) -> None:
    """``OTEL_WS_MESSAGE_TRACES=off`` is about the layer's messages too."""
    async with one_round(server, message_traces="off") as telemetry:
        assert [] == [name for name in telemetry.span_names() if name.startswith(("publish", "process"))]
        assert 1 == telemetry.value("messaging.client.consumed.messages")


async def test_lag_is_from_sending_to_handling(server: Any) -> None:
    """By the template, also where it has spans and context switched off."""
    async with one_round(server, layer_context="off", message_traces="off") as telemetry:
        assert {(("messaging_destination_template", TEMPLATE),): 1} == telemetry.points("ws.layer.lag")


@asynccontextmanager
async def five_at_once(server: Any, **settings: Any) -> AsyncIterator[Telemetry]:
    """Five messages of a group at once, to a handler of 200 ms of the injected clock."""
    now = [1_000_000_000_000_000_000]
    got: list[Any] = []
    sent = asyncio.Event()

    class Slow(Member):
        async def room_news(self, event: Any) -> None:
            await sent.wait()
            now[0] += 200_000_000
            got.append(event)

    async def tell(_: Any) -> None:
        layer: Any = get_channel_layer()
        await joined(layer, 1)
        for _ in range(5):
            await layer.group_send("room_7", NEWS)
        sent.set()
        await arrived(got, 5)

    with testing.capture(injected={"now_ns": lambda: now[0]}, **settings) as telemetry:
        telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
        for _ in swapped(InMemoryChannelLayer()):
            app = URLRouter([path("ws/", Slow.as_asgi())])
            await server(app, CONNECT, tell, DISCONNECT, path="/ws/").run()
        yield telemetry


@pytest.mark.parametrize("is_group", [False, True])
async def test_lag_to_whoever_asks_without_a_consumer(layer: Any, telemetry: Telemetry, is_group: bool) -> None:
    """A view that streams what its channel is told, for one: it gets a plain dict, and how long that took is told."""
    channel = await layer.new_channel()
    await layer.group_add("room_7", channel)
    if is_group:
        await layer.group_send("room_7", NEWS)
    else:
        await layer.send(channel, NEWS)
    message = await layer.receive(channel)

    template = TEMPLATE if is_group else "_OTHER"
    assert (NEWS, dict) == (message, type(message))
    assert {(("messaging_destination_template", template),): 1} == telemetry.points("ws.layer.lag")


async def test_a_worker_is_handed_a_message_of_a_process_without_us(layer: Any, telemetry: Telemetry) -> None:
    """What came without a carrier is counted under the template of the named channel that it came by."""
    otel_ws.declare(template="payments")
    await InMemoryChannelLayer.send(layer, "payments", NEWS)
    await layer.receive("payments")

    assert 1 == telemetry.value("messaging.client.consumed.messages", messaging_destination_template="payments")


@pytest.mark.parametrize("settings", [{}, {"histograms": "api"}, {"layer_context": "off", "message_traces": "off"}])
async def test_messages_that_come_at_once_wait(server: Any, settings: dict[str, str]) -> None:
    """Five to a handler of 200 ms: they wait 0 to 800 ms, and four of five were there when they were asked for."""
    async with five_at_once(server, **settings) as telemetry:
        ((labels, waited),) = telemetry.recorder.snapshot().distributions[semconv.MESSAGE_WAIT].items()
        assert ("/ws/", "websocket") == labels
        assert [2.0, 5] == [pytest.approx(waited.sum, abs=0.001), waited.count]
        assert [1, 1, 1, 2] == [one for one in waited.buckets if one]
        assert 5 == telemetry.value("ws.message.wait")
        assert 4 == telemetry.value("ws.message.backlogged")


async def test_a_message_without_a_carrier_waits_from_its_arrival(server: Any, telemetry: Telemetry) -> None:
    """A layer that nobody knows says no more; what it hands over at once was there."""
    got: list[Any] = []

    class Reader(AsyncJsonWebsocketConsumer):
        async def room_news(self, event: Any) -> None:
            got.append(event)

    class Patient(Unknown):
        async def receive(self, channel: str) -> Any:
            while not self.sent:
                await asyncio.sleep(0.001)
            return await super().receive(channel)

    for _ in swapped(Patient()):
        observed: Any = get_channel_layer()
        await observed.send("mine", NEWS)
        await observed.send("mine", NEWS)
        await server(WebSocketMiddleware(Reader.as_asgi()), CONNECT, lambda _: arrived(got, 2), DISCONNECT).run()

    assert [2, 2] == [telemetry.value("ws.message.wait"), telemetry.value("ws.message.backlogged")]


async def test_nothing_but_ids_leaves(server: Any) -> None:
    """Spans, events and metrics of the layer hold no name of a group."""
    async with one_round(server) as telemetry:
        telemetry.assert_ids_only()


# --- losses -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("capacity", [5, 20, 100])
@pytest.mark.parametrize("members", [1, 7])
async def test_in_a_flood_everything_adds_up(server: Any, capacity: int, members: int) -> None:
    """Attempted = handled + dropped + in flight, exactly, while consumers are slow, and when they leave."""
    flood = InMemoryChannelLayer(capacity=capacity)
    leave = asyncio.Event()

    class Slow(Member):
        async def room_news(self, event: Any) -> None:
            self.scope["got"].append(event)
            if len(self.scope["got"]) == 3:
                await asyncio.Event().wait()

    with testing.capture(message_traces="off") as telemetry:
        for _ in swapped(flood):
            app = otel_ws.WebSocketMiddleware(Slow.as_asgi())
            got: list[list[Any]] = [[] for _ in range(members)]
            runs = [
                asyncio.create_task(server(app, CONNECT, lambda _: leave.wait(), DISCONNECT, got=one).run())
                for one in got
            ]
            layer: Any = get_channel_layer()
            await joined(layer, members)
            for number in range(3 * capacity):
                await layer.group_send("room_7", {"type": "room.news", "n": number})
                if number % 5 == 0:
                    await asyncio.sleep(0)
            # Each is at its third message by then, and stays there.
            await asyncio.gather(*(arrived(one, 3) for one in got))
            in_flight = sum(queue.qsize() for queue in flood.channels.values())
            taken = sum(one.message is not None for one in layer.send.__self__.inboxes.values())
            attempted, handled, lost = sums(telemetry)

            assert 3 * capacity * members == attempted
            assert sum(map(len, got)) == handled
            assert attempted == handled + lost + in_flight + taken
            assert dropped(telemetry, "CHANNEL_FULL") > 0

            for task in runs:
                task.cancel()
            await asyncio.gather(*runs, return_exceptions=True)
            attempted, handled, lost = sums(telemetry)

            assert attempted == handled + lost
            assert dropped(telemetry, "CONSUMER_GONE") == in_flight + taken


async def test_what_the_layer_raises_at_is_lost(layer: Any, telemetry: Telemetry) -> None:
    """A message that nothing copies, for a channel and for each of two members; and names that are none."""
    for name in "ab":
        await layer.group_add("room_7", name)
    mute = {"type": "room.news", "lock": threading.Lock()}
    for publish in (layer.send("a", mute), layer.group_send("room_7", mute), layer.send("no name", NEWS)):
        with pytest.raises(TypeError):
            await publish
    await layer.send("a", NEWS)
    with pytest.raises(TypeError):
        await layer.group_send("no name", NEWS)

    assert (6, 0, 5) == sums(telemetry)
    assert 5 == dropped(telemetry, "REFUSED")


async def test_what_arrives_for_a_consumer_that_is_gone_is_lost(server: Any) -> None:
    """A membership outlived its connection: each message to it is counted, once."""

    class Leaky(AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add("room_7", self.channel_name)
            await self.accept()

    with testing.capture() as telemetry:
        telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
        for _ in swapped(InMemoryChannelLayer(capacity=2)):
            await server(otel_ws.WebSocketMiddleware(Leaky.as_asgi()), CONNECT, DISCONNECT).run()
            layer: Any = get_channel_layer()
            for _number in range(3):
                await layer.group_send("room_7", NEWS)

            assert (2, 1) == (dropped(telemetry, "CONSUMER_GONE"), dropped(telemetry, "CHANNEL_FULL"))
            assert {(("messaging_destination_template", TEMPLATE),): 1} == telemetry.points("ws.layer.orphans")
            assert 0 == telemetry.value("ws.layer.memberships")
            (name,) = layer.send.__self__.gone
            await layer.group_discard("room_7", name)
            assert 0 == telemetry.value("ws.layer.orphans")


async def test_those_that_leave_in_order_do_not_hide_those_that_do_not(
    server: Any, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memberships that were left behind are all counted, and what waited is lost once, however many leave later."""
    monkeypatch.setattr(inbox, "GONE_LIMIT", 5)

    class Leaky(AsyncJsonWebsocketConsumer):
        async def connect(self) -> None:
            if self.scope["leaks"]:
                await self.channel_layer.group_add("room_7", self.channel_name)
            await self.accept()

    telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
    for _ in swapped(InMemoryChannelLayer()):
        layer: Any = get_channel_layer()
        app = otel_ws.WebSocketMiddleware(Leaky.as_asgi())
        for leaks in (True, True, *[False] * 6):
            await server(app, CONNECT, DISCONNECT, leaks=leaks).run()
            await layer.group_send("room_7", NEWS)

        assert 2 == telemetry.value("ws.layer.orphans", messaging_destination_template=TEMPLATE)
        assert (15, 0, 15) == sums(telemetry)
        assert 15 == dropped(telemetry, "CONSUMER_GONE")
        assert 5 == len(layer.send.__self__.gone)
        for _number in range(9):
            await server(app, CONNECT, DISCONNECT, leaks=True).run()
        assert 11 == telemetry.value("ws.layer.orphans", messaging_destination_template=TEMPLATE)


async def test_a_name_that_is_given_again_is_read(server: Any, telemetry: Telemetry) -> None:
    """A layer whose channels have names of its own: nothing is lost where a consumer comes back."""

    class Named(InMemoryChannelLayer):
        async def new_channel(self, prefix: str = "specific.") -> str:
            return "user!7"

    for _ in swapped(Named()):
        app = otel_ws.WebSocketMiddleware(Member.as_asgi())
        for _number in range(2):
            await server(app, CONNECT, ASK, DISCONNECT, got=[]).run()

        attempted, handled, lost = sums(telemetry)
        assert (2, 0) == (attempted, telemetry.value("ws.layer.depth"))
        assert attempted == handled + lost


async def test_memberships_are_counted_by_template(server: Any) -> None:
    """Two members of one group: one group, two memberships, none afterwards."""
    leave = asyncio.Event()
    with testing.capture() as telemetry:
        telemetry.recorder.policy.declare(semconv.TEMPLATE, [TEMPLATE])
        for _ in swapped(InMemoryChannelLayer()):
            app = otel_ws.WebSocketMiddleware(Member.as_asgi())
            runs = [
                asyncio.create_task(server(app, CONNECT, lambda _: leave.wait(), DISCONNECT, got=[]).run())
                for _ in range(2)
            ]
            await joined(get_channel_layer(), 2)
            open_now = [telemetry.value(f"ws.layer.{one}") for one in ("groups", "memberships", "orphans")]
            leave.set()
            await asyncio.gather(*runs)

            assert [1, 2, 0] == open_now
            assert [0, 0, 0] == [telemetry.value(f"ws.layer.{one}") for one in ("groups", "memberships", "orphans")]


async def test_a_forked_child_has_no_members(server: Any, telemetry: Telemetry) -> None:
    """Consumers, what waits for them and what they left behind are the parent's, who tells them."""
    leave, entered = asyncio.Event(), asyncio.Event()

    class Busy(AsyncJsonWebsocketConsumer):
        groups = ("room_7",)

        async def room_news(self, event: Any) -> None:
            entered.set()
            await leave.wait()

    def figures() -> list[float]:
        return [telemetry.value(f"ws.layer.{one}") for one in ("memberships", "groups", "orphans", "depth")]

    for _ in swapped(InMemoryChannelLayer()):
        layer: Any = get_channel_layer()
        app = otel_ws.WebSocketMiddleware(Busy.as_asgi())
        run = asyncio.create_task(server(app, CONNECT, lambda _: leave.wait(), DISCONNECT).run())
        await joined(layer, 1)
        layer.send.__self__.gone["left"] = ("room_7",)
        for _number in range(3):
            await layer.group_send("room_7", NEWS)
        await entered.wait()
        *memberships, waiting = figures()
        _after_fork()

        assert ([1, 1, 1], [0] * 4) == (memberships, figures())
        assert waiting
        leave.set()
        await run


async def test_a_layer_that_cannot_be_wrapped_is_left_alone(telemetry: Telemetry) -> None:
    """One without attributes of its own works as it did, and nothing of it is told, nor counted as a failure."""

    class Slotted:
        __slots__ = ("sent",)

        async def send(self, channel: str, message: Any) -> None:
            self.sent = message

    for _ in swapped(Slotted()):
        await get_channel_layer().send("somewhere", NEWS)

        assert NEWS is get_channel_layer().sent
        assert (0, 0, 0) == sums(telemetry)


async def test_what_expires_is_lost(monkeypatch: pytest.MonkeyPatch, telemetry: Telemetry) -> None:
    """Counted where the layer throws it away."""
    now = [1000.0]
    monkeypatch.setattr("channels.layers.time.time", lambda: now[0])
    for _ in swapped(InMemoryChannelLayer(expiry=10)):
        layer: Any = get_channel_layer()
        await layer.send("old", NEWS)
        await layer.send("old", NEWS)
        now[0] += 5
        await layer.send("young", NEWS)
        now[0] += 6
        await layer.group_send("nobody", NEWS)

        assert 2 == dropped(telemetry, "EXPIRED")
        now[0] += 10
        await layer.group_send("nobody", NEWS)
        assert 3 == dropped(telemetry, "EXPIRED")
        attempted, handled, lost = sums(telemetry)
        assert attempted == handled + lost


async def test_a_layer_may_change_while_it_is_looked_at(telemetry: Telemetry) -> None:
    """Other threads send meanwhile: the application hears nothing of it, and neither do we."""
    ours = InMemoryChannelLayer(expiry=0)

    class Shared(asyncio.Queue[Any]):
        def qsize(self) -> int:
            ours.channels[f"channel{len(ours.channels)}"] = asyncio.Queue()
            return super().qsize()

    for _ in swapped(ours):
        layer: Any = get_channel_layer()
        await layer.group_send("nobody", NEWS)
        ours.channels["old"] = Shared()
        ours.channels["old"].put_nowait((0.0, NEWS))

        await layer.group_send("nobody", NEWS)

        assert 1 == dropped(telemetry, "EXPIRED")


async def test_a_publish_to_nobody_is_told(layer: Any, telemetry: Telemetry) -> None:
    """A group without members."""
    await layer.group_send("room_7", NEWS)

    assert 1 == dropped(telemetry, "NO_SUBSCRIBER")


async def test_a_cancelled_broadcast_adds_up(layer: Any, telemetry: Telemetry) -> None:
    """The layer's own tasks go on, and are counted."""
    for number in range(4):
        await layer.group_add("room_7", f"channel{number}")
    task = asyncio.create_task(layer.group_send("room_7", NEWS))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled()

    attempted, handled, lost = sums(telemetry)
    assert (4, 4) == (attempted, handled + lost + sum(queue.qsize() for queue in layer.channels.values()))


async def test_losses_are_told_rarely(layer: Any, telemetry: Telemetry) -> None:
    """One event for a reason; what follows at once is counted, and told with the next."""
    for _ in range(20):
        await layer.group_send("room_7", NEWS)

    assert 20 == dropped(telemetry, "NO_SUBSCRIBER")
    (event,) = telemetry.events("WS_LAYER_DROP")
    assert ("WARNING", "NO_SUBSCRIBER", 1) == (
        event.severity,
        event.attributes["ws.reason"],
        event.attributes["ws.count"],
    )


async def test_a_failure_of_ours_reaches_nobody(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message goes its way, and the failure is counted."""
    monkeypatch.setattr("otel_ws.channels.layer.Publishing", None)

    await layer.send("somewhere", NEWS)

    assert (NEWS, {"layer.send": 1}) == (await layer.receive("somewhere"), faults.snapshot())
    faults.reset()


async def test_a_failure_of_ours_in_a_layers_own_code_reaches_nobody(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks for losses fails: the layer works as before."""
    monkeypatch.setattr("otel_ws.recorder.Recorder.layer_dropped", None)
    for _ in range(5):
        await layer.send("somewhere", NEWS)

    with pytest.raises(ChannelFull):
        await layer.send("somewhere", NEWS)
    await layer.group_send("nobody", NEWS)
    layer.send.__self__.lost("EXPIRED")

    assert {"layer.send": 2, "layer.losses": 1} == faults.snapshot()
    faults.reset()
