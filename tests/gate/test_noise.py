"""Spans of contrib instrumentations that say again what ours say, or that nothing happened."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otel_ws import gate, recorder
from otel_ws.asgi import WebSocketMiddleware
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.settings import Settings

CONNECT = {"type": "websocket.connect"}
SCOPE = {
    "type": "websocket",
    "path": "/ws/alice/",
    "headers": [],
    "query_string": b"token=alice",
    "scheme": "ws",
    "client": ("10.0.0.1", 5),
}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Where spans end."""
    return InMemorySpanExporter()


@pytest.fixture(params=[SimpleSpanProcessor, BatchSpanProcessor])
def tracers(request: pytest.FixtureRequest, spans: InMemorySpanExporter) -> Any:
    """A provider of somebody else's."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(request.param(spans))
    yield made
    made.shutdown()


def names(tracers: TracerProvider, spans: InMemorySpanExporter) -> list[str]:
    """The names of what arrived."""
    tracers.force_flush()
    return [span.name for span in spans.get_finished_spans()]


async def talk(application: Any) -> None:
    """One connection with one message."""
    messages = iter([CONNECT, {"type": "websocket.receive", "text": "hi"}, {"type": "websocket.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        """Take it."""

    await application(dict(SCOPE), receive, send)


async def accept(scope: Any, receive: Any, send: Any) -> None:
    """An application that accepts and reads to the end."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": "ho"})


@pytest.mark.parametrize("mode", ["all", "own"])
@pytest.mark.parametrize("is_ours_outside", [True, False], ids=["ours outside", "ours inside"])
async def test_contribs_spans_of_a_websocket_leave_only_in_own(
    mode: str,
    is_ours_outside: bool,
    tracers: TracerProvider,
    spans: InMemorySpanExporter,
    policy: Policy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In ``all`` theirs are suppressed and our connect is a root; in ``own`` both leave, and a warning says so."""
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi")
    made = Recorder(Settings.load({}, {}, gate=mode), policy, tracer_provider=tracers)
    before = recorder.replace(made)
    gate.follow(made)
    fast.speed_up(made)

    def theirs(application: Any) -> Any:
        return asgi.OpenTelemetryMiddleware(application, tracer_provider=tracers)

    application = WebSocketMiddleware(theirs(accept)) if is_ours_outside else theirs(WebSocketMiddleware(accept))
    try:
        await talk(application)
    finally:
        recorder.replace(before)

    found = names(tracers, spans)
    assert {"connect _OTHER", "disconnect _OTHER"} < set(found)
    if mode == "all":
        assert 0 == len([one for one in found if "websocket" in one or "alice" in one])
        assert gate.status()["suppressed"]["websocket"] >= 4
        (connect,) = [one for one in spans.get_finished_spans() if one.name == "connect _OTHER"]
        assert connect.parent is None
    else:
        assert len([one for one in found if "websocket" in one]) >= 4
        told = [one.message for one in caplog.records if "ASGI instrumentation" in one.message]
        assert 1 == len(told)
    made.close()


async def test_without_a_connection_of_ours_contribs_spans_stay(
    tracers: TracerProvider, spans: InMemorySpanExporter, policy: Policy
) -> None:
    """Where ours are not, theirs are all that there is: they leave, cleared."""
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi")
    gate.install("all", policy)

    await talk(asgi.OpenTelemetryMiddleware(accept, tracer_provider=tracers))

    found = names(tracers, spans)
    assert found
    assert "alice" not in repr(found)


def command(tracers: TracerProvider, name: str, length: int) -> None:
    """What the Redis instrumentation makes of a command."""
    tracer = tracers.get_tracer("opentelemetry.instrumentation.redis", "0.66b1")
    attributes = {"db.system": "redis", "db.statement": " ".join([name, *["?"] * (length - 1)])}
    with tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes) as span:
        span.set_attribute("db.redis.args_length", length)


@pytest.mark.parametrize("has_layer", [True, False], ids=["with a layer", "without"])
def test_what_an_idle_layer_asks_redis_is_left_out(
    has_layer: bool,
    tracers: TracerProvider,
    spans: InMemorySpanExporter,
    policy: Policy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where there is a channel layer on Redis, its two waiting commands go; sends and others' commands stay."""
    monkeypatch.delitem(sys.modules, "channels_redis", raising=False)
    if has_layer:
        monkeypatch.setitem(sys.modules, "channels_redis", ModuleType("channels_redis"))
    gate.install("all", policy)

    for name, length in (("EVAL", 5), ("BZPOPMIN", 3), ("EVAL", 9), ("GET", 2)):
        command(tracers, name, length)

    expected = ["EVAL", "GET"] if has_layer else ["EVAL", "BZPOPMIN", "EVAL", "GET"]
    assert expected == names(tracers, spans)


def test_in_own_an_idle_layers_commands_stay(
    tracers: TracerProvider, spans: InMemorySpanExporter, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' spans are others' business there."""
    monkeypatch.setitem(sys.modules, "channels_redis", ModuleType("channels_redis"))
    gate.install("own", policy)

    command(tracers, "BZPOPMIN", 3)

    assert ["BZPOPMIN"] == names(tracers, spans)


def test_http_spans_of_the_same_instrumentation_stay(
    tracers: TracerProvider, spans: InMemorySpanExporter, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request and its parts are told from a WebSocket by their method and their names."""
    monkeypatch.setattr("otel_ws.sdk.contrib.are_ours_there", True)
    gate.install("all", policy)
    tracer = tracers.get_tracer("opentelemetry.instrumentation.asgi")

    for name, attributes in (("GET", {"http.request.method": "GET"}), ("GET /x http send", {"asgi.event.type": "x"})):
        tracer.start_span(name, kind=SpanKind.SERVER, attributes=attributes).end()

    assert 2 == len(names(tracers, spans))
