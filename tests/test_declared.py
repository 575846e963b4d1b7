"""What is emitted is declared in semconv, and what is declared is emitted: nothing more, nothing less."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from doubles import User

pytest.importorskip("channels")

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path
from opentelemetry.sdk.trace import ReadableSpan

import otel_ws
from otel_ws import WebSocketMiddleware, faults, live, semconv, testing
from otel_ws.connection import Connection
from otel_ws.endpoints import readiness
from otel_ws.testing import EventSeen, Telemetry

CONNECT = {"type": "websocket.connect"}
BY_ID_LABEL = {"tournament_id"}


def text(content: str) -> dict[str, Any]:
    """A client's message."""
    return {"type": "websocket.receive", "text": content}


def disconnect(code: int) -> dict[str, Any]:
    """The server's word that the connection is over."""
    return {"type": "websocket.disconnect", "code": code}


class BrokenWriter:
    """A writer on a full disk."""

    def write(self, record: object) -> None:
        """Fail."""
        raise OSError

    def is_wanted(self) -> bool:
        """Want everything."""
        return True

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Game(AsyncJsonWebsocketConsumer):
    """Uses every verb that there is."""

    message_types = ("move", "deny", "limit", "error", "ping", "broadcast", "leak", "crash")

    async def connect(self) -> None:
        """Accept, or refuse with a reason."""
        if self.scope["query_string"] == b"refuse":
            otel_ws.record_auth_failure("JWT_EXPIRED", close_code=4401)
            await self.close(4401)
        elif self.scope["query_string"] == b"crash":
            raise KeyError
        else:
            await self.accept("json")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Do what the message says."""
        kind = content["type"]
        if kind == "deny":
            otel_ws.record_message_denied()
        elif kind == "limit":
            otel_ws.record_ratelimit_reject("MSG_RATE", 250)
        elif kind == "error":
            otel_ws.record_error(ValueError(), category="validation", severity="low")
        elif kind == "ping":
            otel_ws.record_ping(0.02)
        elif kind == "broadcast":
            with otel_ws.broadcast("room_{room_id}", recipients=3):
                pass
            try:
                with otel_ws.broadcast("room_{room_id}"):
                    raise ConnectionError
            except ConnectionError:
                pass
        elif kind == "leak":
            otel_ws.set_ids(match_id="Ada Lovelace")
        elif kind == "crash":
            raise KeyError
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        """Crash for one code."""
        if code == 1001:
            raise KeyError


Points = dict[str, dict[tuple[tuple[str, Any], ...], Any]]


@dataclass
class Conversation:
    """What a conversation over everything emitted."""

    spans: list[ReadableSpan] = field(default_factory=list)
    events: list[EventSeen] = field(default_factory=list)
    moments: list[Points] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)

    def look(self, telemetry: Telemetry) -> None:
        """Collect all metrics at this moment."""
        moment: Points = {}
        data = telemetry._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.units[metric.name] = str(metric.unit)
                    for point in metric.data.data_points:
                        key = tuple(sorted((point.attributes or {}).items()))
                        value = getattr(point, "sum" if hasattr(point, "sum") else "value")
                        moment.setdefault(metric.name, {})[key] = value
        self.moments.append(moment)


@pytest.fixture(scope="module")
def conversation() -> Conversation:
    """Everything that can happen, once, and each look tells of the moment since the one before."""
    seen = Conversation()
    capture = testing.capture(
        message_events="all", delivery_events=True, send_spans="all", metric_ids=("tournament.id",)
    )
    with pytest.MonkeyPatch.context() as monkeypatch, capture as telemetry:
        monkeypatch.setattr(live, "_CPU_SECONDS", 0.0)
        asyncio.run(_everything(telemetry, seen))
        seen.spans, seen.events = telemetry.spans(), telemetry.events()
    faults.reset()
    return seen


async def nothing_sent(message: Any) -> None:
    """A server that takes everything."""


class Payments(AsyncConsumer):
    """A worker's consumer."""

    async def payment_settle(self, message: Any) -> None:
        """Settle."""

    async def payment_lose(self, message: Any) -> None:
        """Fail."""
        raise KeyError


class Hall(AsyncJsonWebsocketConsumer):
    """A member of a group that leaves without a word."""

    async def connect(self) -> None:
        """Join."""
        await self.channel_layer.group_add("room_7", self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Give a worker something to do, tell the group, and one that has a wrong name."""
        await self.channel_layer.send("payments", {"type": "payment.settle"})
        with pytest.raises(TypeError):
            await self.channel_layer.group_send("room 7", {"type": "room.news"})
        await self.channel_layer.group_send("room_7", {"type": "room.news"})
        await self.channel_layer.group_send("room_7", {"type": "room.crash"})
        await self.channel_layer.group_send("room_8", {"type": "room.news"})

    async def room_news(self, event: Any) -> None:
        """Look around, and leave nothing for a worker."""
        self.scope["look"]()
        await self.channel_layer.receive("payments")

    async def room_crash(self, event: Any) -> None:
        """Fail."""
        raise KeyError


async def _everything(telemetry: Telemetry, seen: Conversation) -> None:
    otel_ws.declare(templates=["room_{room_id}"])
    recorder = telemetry.recorder
    ballast: list[bytes] = []
    seen.look(telemetry)
    router = URLRouter(
        [
            path("t/<int:tournament_id>/m/<int:match_id>/", Game.as_asgi()),
            path("h/<int:tournament_id>/m/<int:match_id>/", Hall.as_asgi()),
        ]
    )
    application = WebSocketMiddleware(router)

    async def converse(*script: Any, query: bytes = b"", refuse: bool = False) -> None:
        items = list(script)

        async def receive() -> Any:
            while callable(items[0]):
                items.pop(0)()
            return items.pop(0)

        async def send(message: Any) -> None:
            if refuse and message["type"] == "websocket.send":
                raise RuntimeError

        scope = {
            "type": "websocket", "path": "/t/1/m/3/", "query_string": query, "headers": [], "user": User(7),
            "role": "player",
        }  # fmt: skip
        try:
            await application(scope, receive, send)
        except (KeyError, RuntimeError):
            pass

    def while_open() -> None:
        ballast.append(b"x" * 32_000_000)
        also = Connection(recorder, {"type": "http", "user": User(7)}, transport="sse")
        accept = {"type": "websocket.accept"}
        also.sent(accept, also.sending())
        seen.look(telemetry)
        also.cancelled()

    async def meet() -> None:
        items = [text("{}"), CONNECT]

        async def receive() -> Any:
            return items.pop() if items else await asyncio.Event().wait()

        scope = {
            "type": "websocket", "path": "/h/1/m/3/", "query_string": b"", "headers": [], "user": User(7),
            "role": "player", "look": lambda: seen.look(telemetry),
        }  # fmt: skip
        with pytest.raises(KeyError):
            await application(scope, receive, nothing_sent)

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        otel_ws.set_ids(user_id=7)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})

    async def work(kind: str) -> None:
        messages = [{"type": kind}]

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        nothing: Any = None
        try:
            async with asyncio.timeout(0.05):
                await WebSocketMiddleware(Payments.as_asgi())({"type": "channel", "channel": "p"}, receive, nothing)
        except (KeyError, TimeoutError):
            pass

    kinds = [text(f'{{"type": "{kind}"}}') for kind in Game.message_types if kind != "crash"]
    await converse(CONNECT, *kinds, text('{"type": "invented"}'), while_open, disconnect(1000))
    await converse(CONNECT, text('{"type": "crash"}'))
    await converse(CONNECT, disconnect(1001))
    await converse(CONNECT, disconnect(1006), query=b"refuse")
    await converse(CONNECT, query=b"crash")
    await converse(CONNECT, text('{"type": "move"}'), refuse=True)
    nothing: Any = None
    await WebSocketMiddleware(stream)({"type": "http", "method": "GET"}, nothing, nothing_sent)
    await meet()
    await work("payment.settle")
    await work("payment.lose")
    readiness.forget()
    await asyncio.to_thread(readiness.answer)
    recorder.loop_lagged(0.2)
    recorder.summarise()
    recorder._judged_at = -1e9
    recorder.loop_lagged(0.0)
    recorder.writers = (*recorder.writers, BrokenWriter())
    recorder.summarise()
    seen.look(telemetry)


def span_type(span: ReadableSpan) -> semconv.SpanType:
    """The declaration that a span belongs to."""
    first = span.name.partition(" ")[0]
    return {
        "connect": semconv.CONNECT_SPAN, "disconnect": semconv.DISCONNECT_SPAN, "send": semconv.SEND_SPAN,
        "publish": semconv.PUBLISH_SPAN,
        "process": semconv.PROCESS_SPAN,
    }.get(first, semconv.MESSAGE_SPAN)  # fmt: skip


def test_metrics_are_those_declared(conversation: Conversation) -> None:
    """The names of all metrics are the declared ones."""
    assert {metric.name for metric in semconv.METRICS} == {name for moment in conversation.moments for name in moment}


@pytest.mark.parametrize("metric", semconv.METRICS, ids=lambda metric: metric.name)
def test_labels_are_those_declared(conversation: Conversation, metric: semconv.Metric) -> None:
    """Each metric has its declared labels and its declared unit, no other."""
    wanted = BY_ID_LABEL if metric is semconv.ACTIVE_BY_ID else set(metric.label_names)

    labels = {name for moment in conversation.moments for key in moment.get(metric.name, {}) for name, _ in key}

    assert (wanted, metric.unit) == (labels, conversation.units.get(metric.name))


@pytest.mark.parametrize("metric", semconv.METRICS, ids=lambda metric: metric.name)
def test_value_of_each_metric_changes(conversation: Conversation, metric: semconv.Metric) -> None:
    """No metric stands still: its points differ between before, while and after."""
    before, *later = [moment.get(metric.name) for moment in conversation.moments]

    assert [] != [moment for moment in later if moment != before]


@pytest.mark.parametrize("label", [semconv.STATE, semconv.AGE], ids=lambda label: label.key)
def test_live_labels_have_declared_values(conversation: Conversation, label: semconv.Attribute) -> None:
    """A label that is a closed choice has no other value."""
    values = {
        value
        for moment in conversation.moments for points in moment.values() for key in points for name, value in key
        if name == label.label
    }  # fmt: skip

    assert values
    assert values <= set(label.choices)


def test_outcomes_are_those_declared(conversation: Conversation) -> None:
    """Every declared outcome occurs, and no other."""
    values = {
        value
        for moment in conversation.moments for points in moment.values() for key in points for name, value in key
        if name == "status"
    }  # fmt: skip

    assert set(semconv.OUTCOME.choices) == values


def test_events_are_those_declared(conversation: Conversation) -> None:
    """The names of all events are the declared ones."""
    assert {event.name for event in semconv.EVENTS} == {event.name for event in conversation.events}


@pytest.mark.parametrize("event", semconv.EVENTS, ids=lambda event: event.name)
def test_fields_are_those_declared(conversation: Conversation, event: semconv.Event) -> None:
    """Each event has its declared fields beside the ids, its sentence and its level."""
    ids = {one.key for one in semconv.IDS}
    seen = [one for one in conversation.events if one.name == event.name]

    fields = {key for one in seen for key in one.attributes} - ids

    assert {one.key for one in event.fields} == fields
    assert {(event.level.name, event.message)} == {(one.severity, one.body) for one in seen}


def test_ids_are_those_declared(conversation: Conversation) -> None:
    """Every declared id is on an event of a connection."""
    (told, *_) = [one for one in conversation.events if one.name == "WS_CONNECT"]

    assert {one.key for one in semconv.IDS} == set(told.attributes) & {one.key for one in semconv.IDS}


@pytest.mark.parametrize("declared", semconv.SPANS, ids=lambda declared: declared.name.partition(" ")[0])
def test_span_attributes_are_those_declared(conversation: Conversation, declared: semconv.SpanType) -> None:
    """Each kind of span has its declared attributes, no other."""
    seen = [span for span in conversation.spans if span_type(span) is declared]

    keys = {key for span in seen for key in span.attributes or {}}

    assert {attribute.key for attribute in declared.attributes} == keys


@pytest.mark.parametrize("declared", semconv.SPANS, ids=lambda declared: declared.name.partition(" ")[0])
def test_span_kind_is_the_declared_one(conversation: Conversation, declared: semconv.SpanType) -> None:
    """Each kind of span has its OpenTelemetry span kind."""
    kinds = {span.kind.name for span in conversation.spans if span_type(span) is declared}

    assert {declared.kind} == kinds


def test_every_attribute_is_emitted(conversation: Conversation) -> None:
    """No attribute is declared in vain: each is on some span, event or metric."""
    keys = {key for span in conversation.spans for key in span.attributes or {}}
    keys |= {key for event in conversation.events for key in event.attributes}
    points = [key for moment in conversation.moments for points in moment.values() for key in points]
    labels = {name for key in points for name, _ in key}

    unused = [one.key for one in semconv.ATTRIBUTES if one.key not in keys and one.label not in labels]

    assert [] == unused


def test_everything_has_our_scope(conversation: Conversation) -> None:
    """Spans bear the instrumentation scope's name and the schema's URL."""
    scopes = {
        (span.instrumentation_scope.name, span.instrumentation_scope.schema_url)
        for span in conversation.spans
        if span.instrumentation_scope
    }

    assert {(semconv.SCOPE_NAME, semconv.SCHEMA_URL)} == scopes


def test_no_span_has_events(conversation: Conversation) -> None:
    """No exception, and nothing else, is recorded on a span; no status has a text."""
    told = [(span.name, span.events, span.status.description) for span in conversation.spans]

    assert [] == [one for one in told if one[1] or one[2]]
