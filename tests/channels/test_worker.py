"""Workers: each message of a worker's channel is told by itself, for sync and async consumers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter
from channels.worker import Worker
from opentelemetry import trace

import otel_ws
from otel_ws import WebSocketMiddleware, semconv, testing
from otel_ws.testing import Telemetry

pytestmark = [
    pytest.mark.usefixtures("no_faults"),
    # Channels' own worker gives its sync consumers such a callable.
    pytest.mark.filterwarnings("ignore:async_to_sync was passed a non-async-marked callable"),
]


class Payments(AsyncConsumer):
    """Settles payments, or fails to."""

    handled: list[Any]

    async def payment_settle(self, message: Any) -> None:
        """Settle one."""
        self.handled.append(message)

    async def payment_lose(self, message: Any) -> None:
        """Fail, with a text that is nobody's business."""
        raise LookupError("card 4111 1111 1111 1111")


class Threaded(SyncConsumer):
    """The same, in threads."""

    handled: list[Any]

    def payment_settle(self, message: Any) -> None:
        """Settle one."""
        self.handled.append(message)

    def payment_lose(self, message: Any) -> None:
        """Fail."""
        raise LookupError("card 4111 1111 1111 1111")


BOTH = pytest.mark.parametrize("base", [Payments, Threaded])


async def work(consumer: Any, *kinds: str, layer: Any = None, **fields: Any) -> list[Any]:
    """Run a real worker over these messages, until each was handled or has failed; returns what was handled."""
    handled: list[Any] = []

    class Own(consumer):
        async def dispatch(self, message: Any) -> None:
            try:
                await super().dispatch(message)
            finally:
                done.put_nowait(message)

    Own.__name__ = consumer.__name__
    Own.handled = handled
    done: asyncio.Queue[Any] = asyncio.Queue()
    layer = layer or InMemoryChannelLayer()
    application = ProtocolTypeRouter({"channel": ChannelNameRouter({"payments": Own.as_asgi()})})
    worker = Worker(WebSocketMiddleware(application), ["payments"], layer)
    running = asyncio.ensure_future(worker.handle())
    async with asyncio.timeout(10):
        for kind in kinds:
            await layer.send("payments", {"type": kind, **fields})
            await done.get()
            for _ in range(5):
                await asyncio.sleep(0)
            for name, instance in list(worker.application_instances.items()):
                if instance["future"].done():
                    # What the worker's own checker does ten times a second.
                    instance["future"].exception()
                    del worker.application_instances[name]
    for instance in worker.application_instances.values():
        instance["future"].cancel()
    running.cancel()
    await asyncio.gather(
        running, *(one["future"] for one in worker.application_instances.values()), return_exceptions=True
    )
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return handled


async def until_handled(consumer: Any, layer: Any, count: int) -> None:
    """Run a real worker over what waits in the layer, until so many were handled."""
    done: asyncio.Queue[Any] = asyncio.Queue()

    class Counted(consumer):
        async def dispatch(self, message: Any) -> None:
            try:
                await super().dispatch(message)
            finally:
                done.put_nowait(message)

    application = ProtocolTypeRouter({"channel": ChannelNameRouter({"payments": Counted.as_asgi()})})
    worker = Worker(WebSocketMiddleware(application), ["payments"], layer)
    running = asyncio.ensure_future(worker.handle())
    async with asyncio.timeout(10):
        for _ in range(count):
            await done.get()
    # What ends with the last handler ends.
    await asyncio.sleep(0.05)
    for one in (running, *(instance["future"] for instance in worker.application_instances.values())):
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@BOTH
async def test_each_message_is_one_span(telemetry: Telemetry, base: Any) -> None:
    """Two messages are two CONSUMER spans, each its own trace, named by the channel's declared template."""
    otel_ws.declare(template=["payments"])

    await work(base, "payment.settle", "payment.settle")

    first, second = telemetry.spans("process payments")
    assert ([trace.SpanKind.CONSUMER] * 2, True, None) == (
        [first.kind, second.kind], first.context.trace_id != second.context.trace_id, first.parent
    )  # fmt: skip


@BOTH
async def test_a_channel_is_known_by_the_template_that_it_was_made_from(telemetry: Telemetry, base: Any) -> None:
    """As in every metric of the layer, so that what is sent and what is handled join."""
    otel_ws.declare(template=["pay{kind}"])

    await work(base, "payment.settle", layer=get_channel_layer())

    (points,) = telemetry.points("messaging.process.duration")
    assert "pay{kind}" == dict(points)["messaging_destination_template"]
    assert 1 == telemetry.value("messaging.client.sent.messages", messaging_destination_template="pay{kind}")
    assert ["process pay{kind}"] == [one for one in telemetry.span_names() if one.startswith("process")]


@BOTH
async def test_handler_gets_its_message(telemetry: Telemetry, base: Any) -> None:
    """A handler gets what was sent, and nothing else."""
    handled = await work(base, "payment.settle", amount=5)

    assert [{"type": "payment.settle", "amount": 5}] == handled


@BOTH
async def test_span_is_linked_to_the_senders(telemetry: Telemetry, base: Any) -> None:
    """Through an observed layer the message's span is linked to the one that published it, and no handler sees how."""
    otel_ws.declare(template=["payments"])

    handled = await work(base, "payment.settle", layer=get_channel_layer())

    (link,) = telemetry.span("process payments").links
    published = telemetry.span("publish payments").context
    assert (published.span_id, published.trace_id, [{"type": "payment.settle"}]) == (
        link.context.span_id, link.context.trace_id, handled
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize("context", ["parent", "off"])
async def test_span_is_a_child_or_alone_where_wanted(base: Any, context: str) -> None:
    """``OTEL_WS_LAYER_CONTEXT``: one trace of it, or nothing that joins them; how late it was is told either way."""
    with testing.capture(layer_context=context) as telemetry:
        otel_ws.declare(template=["payments"])

        await work(base, "payment.settle", layer=get_channel_layer())

        process, published = telemetry.span("process payments"), telemetry.span("publish payments").context
        parent = None if process.parent is None else (process.parent.trace_id, process.parent.span_id)
        assert ((published.trace_id, published.span_id) if context == "parent" else None, ()) == (parent, process.links)
        assert 1 == telemetry.value("ws.layer.lag")


@BOTH
async def test_each_span_is_linked_to_its_own_sender(telemetry: Telemetry, base: Any) -> None:
    """Also of messages that the listener took before their consumer began."""
    otel_ws.declare(template=["payments"])
    layer: Any = get_channel_layer()
    for _ in range(3):
        await layer.send("payments", {"type": "payment.settle"})

    await work(base, *["payment.settle"] * 4, layer=layer)

    published = [one.context.span_id for one in telemetry.spans("publish payments")][:4]
    assert published == [one.links[0].context.span_id for one in telemetry.spans("process payments")][:4]
    assert telemetry.value("ws.layer.lag") >= 4


async def test_an_application_that_is_no_consumer_gets_what_was_sent(telemetry: Telemetry) -> None:
    """A plain dict, from the very worker that hands what came with it to consumers."""
    layer: Any = get_channel_layer()
    got: asyncio.Queue[Any] = asyncio.Queue()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got.put_nowait(await receive())

    worker = Worker(application, ["payments"], layer)
    running = asyncio.ensure_future(worker.handle())
    await layer.send("payments", {"type": "payment.settle"})
    async with asyncio.timeout(10):
        message = await got.get()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert (dict, {"type": "payment.settle"}) == (type(message), message)


@BOTH
async def test_duration_by_handler(telemetry: Telemetry, base: Any) -> None:
    """The time in a handler is counted under its name."""
    await work(base, "payment.settle", "payment.settle")

    counted = telemetry.value(
        "messaging.process.duration", ws_handler="payment_settle", messaging_operation_name="process"
    )
    assert 2 == counted


@BOTH
async def test_errors_by_type(telemetry: Telemetry, base: Any) -> None:
    """A handler that raises is an error of its type on every signal, and its text on none; the next one works."""
    await work(base, "payment.lose", "payment.settle")

    failed = telemetry.spans("process _OTHER")[0]
    (error,) = telemetry.events("WS_ERROR")
    assert ("LookupError", trace.StatusCode.ERROR, None, "LookupError", "payment_lose", 1, 1) == (
        (failed.attributes or {})["error.type"],
        failed.status.status_code,
        failed.status.description,
        error.attributes["error.type"],
        error.attributes["ws.handler"],
        telemetry.value("ws.errors", error_type="LookupError"),
        telemetry.value("messaging.process.duration", error_type="LookupError"),
    )


async def test_exception_is_the_workers(telemetry: Telemetry) -> None:
    """What a handler raises reaches whoever runs the application."""

    async def receive() -> dict[str, Any]:
        return {"type": "payment.lose"}

    nothing: Any = None

    with pytest.raises(LookupError):
        await Payments()({"type": "channel", "channel": "payments"}, receive, nothing)


async def test_undeclared_channel_does_not_leave(telemetry: Telemetry) -> None:
    """The name of a channel that nobody declared is on no signal."""
    await work(Payments, "payment.settle")

    (labels,) = telemetry.points("messaging.process.duration")
    assert ("_OTHER", ["process _OTHER"]) == (dict(labels)["messaging_destination_template"], telemetry.span_names())


@BOTH
async def test_span_is_current_in_the_handler(telemetry: Telemetry, base: Any) -> None:
    """What a handler does belongs to its message's span."""
    tracer = telemetry.tracer_provider.get_tracer("application")

    class Asking(base):
        pass

    def ask(self: Any, message: Any) -> None:
        with tracer.start_as_current_span("SELECT"):
            pass

    async def ask_later(self: Any, message: Any) -> None:
        ask(self, message)

    Asking.payment_ask = ask_later if base is Payments else ask

    await work(Asking, "payment.ask")

    parent = telemetry.span("SELECT").parent
    assert telemetry.span("process _OTHER").context.span_id == (parent.span_id if parent else None)


@pytest.mark.parametrize(
    ("volume", "told"), [("all", ["success", "error"]), ("slow", ["error"]), ("errors", ["error"]), ("off", [])]
)
async def test_volume_of_events(volume: str, told: list[str]) -> None:
    """Handled messages become events as a client's do; errors always, unless all are off."""
    with testing.capture(message_events=volume) as telemetry:
        await work(Payments, "payment.settle", "payment.lose")

        assert told == [one.attributes["ws.outcome"] for one in telemetry.events("WS_TASK")]


async def test_event_says_what_and_how_long(telemetry: Telemetry) -> None:
    """The event has the handler, the declared type and the time, and the ids of the span."""
    otel_ws.declare(message_types=["payment.settle"])

    await work(Payments, "payment.settle")

    (event,) = telemetry.events("WS_TASK")
    assert ("payment_settle", "payment.settle", True, telemetry.span("process _OTHER").context.span_id) == (
        event.attributes["ws.handler"],
        event.attributes["ws.message.type"],
        float(event.attributes["ws.duration"]) >= 0,
        event.span_id,
    )


async def test_workers_and_handlers_are_gauges(telemetry: Telemetry) -> None:
    """Consumers that run and handlers at work are counted, and gone afterwards."""
    seen: list[float] = []

    def look() -> list[float]:
        return [telemetry.value("ws.workers", component=name) for name in ("worker", "handler")]

    class Looking(Payments):
        async def payment_look(self, message: Any) -> None:
            seen.extend(look())

    await work(Looking, "payment.look")

    assert ([1, 1], [0, 0]) == (seen, look())


async def test_no_spans_where_they_are_off() -> None:
    """Without message traces there are no process spans; the rest is told."""
    with testing.capture(message_traces="off") as telemetry:
        await work(Payments, "payment.settle")

        assert ([], 1) == (telemetry.spans(), telemetry.value("messaging.process.duration"))


async def test_our_failure_is_not_the_workers(telemetry: Telemetry, monkeypatch: Any) -> None:
    """Where we fail, the message is handled all the same."""
    from otel_ws import faults
    from otel_ws.channels import worker

    def fail(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "Task", fail)

    handled = await work(Payments, "payment.settle")

    seen = faults.snapshot()
    faults.reset()
    assert (1, {"worker": 1}) == (len(handled), seen)


class Slow(AsyncConsumer):
    """Takes 200 ms of the injected clock for each message."""

    now: list[int]

    async def payment_settle(self, message: Any) -> None:
        """Work."""
        await asyncio.sleep(0)
        self.now[0] += 200_000_000


class SlowThreaded(SyncConsumer):
    """The same, in a thread."""

    now: list[int]

    def payment_settle(self, message: Any) -> None:
        """Work."""
        self.now[0] += 200_000_000


EACH = pytest.mark.parametrize("base", [Slow, SlowThreaded])


@EACH
@pytest.mark.parametrize("histograms", ["ledger", "api"])
@pytest.mark.parametrize("observed", [True, False], ids=["observed", "bare"])
async def test_a_backlog_in_the_worker_is_told(base: Any, histograms: str, observed: bool) -> None:
    """Five messages at once to a handler of 200 ms: four wait for the one before, though the layer is empty by then.

    So it is by every way of a histogram, and when the sender knows nothing of otel-ws.
    """
    now = [1_000_000_000]
    injected = {"now_ns": lambda: now[0]}
    settings: Any = {"histograms": histograms, "message_traces": "off", "message_events": "off"}
    with testing.capture(injected=injected, **settings) as telemetry:
        otel_ws.declare(template=["payments"])
        layer: Any = get_channel_layer()
        for _ in range(5):
            if observed:
                await layer.send("payments", {"type": "payment.settle"})
            else:
                await InMemoryChannelLayer.send(layer, "payments", {"type": "payment.settle"})
        seen: list[tuple[float, float]] = []

        class Own(base):
            async def dispatch(self, message: Any) -> None:
                seen.append((
                    telemetry.value("ws.layer.depth", queue="consumer", messaging_destination_template="payments"),
                    telemetry.value("ws.layer.oldest_age", queue="consumer"),
                ))  # fmt: skip
                await super().dispatch(message)

        Own.now = now
        await until_handled(Own, layer, 5)

        now_in = telemetry.recorder.snapshot()
        ((_, wait),) = now_in.distributions[semconv.MESSAGE_WAIT].items()
        assert [("", "")] == [*now_in.distributions[semconv.MESSAGE_WAIT]] == [*now_in.values[semconv.BACKLOGGED]]
        assert (2.0, 5, 4) == (round(wait.sum, 3), wait.count, telemetry.value("ws.message.backlogged"))
        assert 5 == telemetry.value("ws.message.wait")
        assert [4, 3, 2, 1, 0] == [depth for depth, _ in seen]
        assert [0.0, 0.2, 0.4, 0.6, 0.0] == [round(age, 3) for _, age in seen]
        assert 5 == telemetry.value("messaging.client.consumed.messages")
        if observed:
            assert {("payments",): (2.0, 5)} == {
                labels: (round(lag.sum, 3), lag.count)
                for labels, lag in now_in.distributions[semconv.LAYER_LAG].items()
            }


@EACH
async def test_what_goes_with_a_consumer_that_raises_is_lost(base: Any) -> None:
    """Channels throws the whole queue away: each message is handled or counted, and none is both."""
    now = [0]
    with testing.capture(injected={"now_ns": lambda: now[0]}) as telemetry:
        layer: Any = get_channel_layer()
        await layer.send("payments", {"type": "payment.settle"})

        class Own(base):
            async def dispatch(self, message: Any) -> None:
                for _ in range(4):
                    await layer.send("payments", {"type": "payment.settle"})
                await asyncio.sleep(0.05)
                await super().dispatch(message)
                raise LookupError

        Own.now = now
        await until_handled(Own, layer, 1)

        assert (1, 4) == (
            telemetry.value("messaging.client.consumed.messages"),
            telemetry.value("ws.layer.dropped", reason="CONSUMER_GONE"),
        )
        assert 0 == telemetry.value("ws.layer.depth")


async def test_consumers_own_channel_joins_its_own_sender(telemetry: Telemetry) -> None:
    """A worker's consumer that is told something as a member of a group: linked, and not taken for what waits."""
    otel_ws.declare(template=["payments", "tills"])
    layer: Any = get_channel_layer()

    class Member(Payments):
        async def payment_settle(self, message: Any) -> None:
            await self.channel_layer.group_add("tills", self.channel_name)
            await layer.send("payments", {"type": "payment.last"})
            await layer.group_send("tills", {"type": "till.opened"})
            # Both are there when the next one is chosen.
            await asyncio.sleep(0.05)

        async def payment_last(self, message: Any) -> None:
            pass

        async def till_opened(self, message: Any) -> None:
            pass

    await layer.send("payments", {"type": "payment.settle"})
    await until_handled(Member, layer, 3)

    links = {
        (one.attributes or {})["ws.handler"]: one.links[0].context.span_id
        for one in telemetry.spans()
        if one.name.startswith("process")
    }
    sent = [one.context.span_id for one in telemetry.spans("publish payments")]
    (told,) = telemetry.spans("publish tills")
    assert {"payment_settle": sent[0], "payment_last": sent[1], "till_opened": told.context.span_id} == links
    assert (3, 3) == (telemetry.value("messaging.client.consumed.messages"), telemetry.value("ws.layer.lag"))


class Talkative(AsyncConsumer):
    """Says what its messages are about."""

    handled: list[Any]

    async def payment_settle(self, message: Any) -> None:
        """Say all that there is to say."""
        otel_ws.set_ids(user_id=7, match_id=3)
        otel_ws.set_message_type("settlement")

    async def payment_deny(self, message: Any) -> None:
        """Not allowed."""
        otel_ws.record_message_denied()

    async def payment_lose(self, message: Any) -> None:
        """Say an error, and raise it."""
        exc = LookupError("card 4111 1111 1111 1111")
        otel_ws.record_error(exc, severity="low")
        raise exc

    async def payment_mend(self, message: Any) -> None:
        """Say an error, and go on."""
        otel_ws.record_error(KeyError("card"))


class Quiet(SyncConsumer):
    """The same, in a thread."""

    handled: list[Any]

    def payment_settle(self, message: Any) -> None:
        """Say all that there is to say."""
        otel_ws.set_ids(user_id=7, match_id=3)
        otel_ws.set_message_type("settlement")


@pytest.mark.parametrize("consumer", [Talkative, Quiet])
async def test_handler_says_what_its_message_is_about(consumer: Any) -> None:
    """Its span and its event carry the ids, its event the type; the next message starts anew."""
    with testing.capture(message_events="all") as telemetry:
        otel_ws.declare(template=["payments"], message_types=["settlement", "payment.deny"])

        await work(consumer, "payment.settle")

        (event,) = telemetry.events("WS_TASK")
        said = telemetry.span("process payments").attributes or {}
        assert ("7", "3") == (event.attributes["user.id"], event.attributes["match.id"])
        assert ("7", "3") == (said["user.id"], said["match.id"])
        assert ("settlement", "success") == (event.attributes["ws.message.type"], event.attributes["ws.outcome"])
        telemetry.assert_ids_only()


async def test_ids_belong_to_one_message() -> None:
    """A worker's consumer lives on; what was said of one message is not said of the next."""
    with testing.capture(message_events="all") as telemetry:
        await work(Talkative, "payment.settle", "payment.deny")

        first, second = telemetry.events("WS_TASK")
        assert ("7", None) == (first.attributes.get("user.id"), second.attributes.get("user.id"))
        assert "permission_denied" == second.attributes["ws.outcome"]


async def test_error_that_is_said_and_raised_is_one(telemetry: Telemetry) -> None:
    """As the application said it; the handler's outcome is an error either way."""
    await work(Talkative, "payment.lose")
    await work(Talkative, "payment.mend")

    assert [1, 1, 2] == [
        telemetry.value("ws.errors", error_type="LookupError", error_severity="low"),
        telemetry.value("ws.errors", error_type="KeyError"),
        telemetry.value("ws.errors"),
    ]
    assert ["error"] * 2 == [one.attributes["ws.outcome"] for one in telemetry.events("WS_TASK")]
    assert 1 == telemetry.value("messaging.process.duration", error_type="KeyError")
    assert ["payment_lose", "payment_mend"] == [one.attributes["ws.handler"] for one in telemetry.events("WS_ERROR")]
