"""Where telemetry holds what may not leave: each surface once, and never the value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

import otel_ws
from otel_ws import testing
from otel_ws.foreign import Foreign
from otel_ws.policy import Policy
from otel_ws.testing import Telemetry, places

SECRET = "zephyrine@mail.example"
LOGGER = "tests.shop"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Captured telemetry."""
    with testing.capture() as captured:
        yield captured


def context(**state: str) -> SpanContext:
    """Somebody else's span."""
    return SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState(list(state.items())))


def span(act: Callable[[Any], Any] | None = None, scope: str = "json", name: str = "SELECT", **more: Any) -> Any:
    """An action that makes one span."""

    def run(telemetry: Telemetry) -> None:
        one = telemetry.tracer_provider.get_tracer(scope, **more.pop("tracer", {})).start_span(name, **more)
        if act is not None:
            act(one)
        one.end()

    return run


def record(scope: str = "json", **fields: Any) -> Any:
    """An action that makes one log record."""
    return lambda telemetry: telemetry.logger_provider.get_logger(scope).emit(**fields)


def metric(name: str, unit: str = "", **attributes: Any) -> Any:
    """An action that makes one point."""
    return lambda telemetry: telemetry.meter_provider.get_meter("json").create_counter(name, unit).add(1, attributes)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (span(name=SECRET), "traces: span '_OTHER' (as it may leave): name"),
        (span(name=f"SELECT * FROM {SECRET}"), "traces: span 'SELECT' (as it may leave): name"),
        (span(lambda one: one.set_attribute("user.email", SECRET)), "traces: span 'SELECT': attribute 'user.email'"),
        (span(lambda one: one.set_attribute("user.id", SECRET)), "traces: span 'SELECT': attribute 'user.id'"),
        (
            span(lambda one: one.set_attribute(SECRET, 1)),
            "traces: span 'SELECT': attribute (its key is no code name)",
        ),
        (
            span(lambda one: one.set_status(Status(StatusCode.ERROR, SECRET))),
            "traces: span 'SELECT': status description",
        ),
        (span(lambda one: one.add_event(SECRET)), "traces: span 'SELECT': name of an event"),
        (
            span(lambda one: one.add_event("exception", {"exception.message": SECRET})),
            "traces: span 'SELECT': attribute of an event 'exception.message'",
        ),
        (
            span(links=[Link(context(), {"buyer": SECRET})]),
            "traces: span 'SELECT': attribute of a link 'buyer'",
        ),
        (span(links=[Link(context(vendor=SECRET))]), "traces: span 'SELECT': link: trace state"),
        (span(scope="zephyrine"), "traces: scope '_OTHER' (as it may leave): name"),
        (span(tracer={"instrumenting_library_version": SECRET}), "traces: scope 'json': version"),
        (span(tracer={"schema_url": f"https://{SECRET}/"}), "traces: scope 'json': schema URL"),
        (span(tracer={"attributes": {"buyer": SECRET}}), "traces: scope 'json': attribute 'buyer'"),
        (record(body=f"order of {SECRET}"), "logs: record of 'json': body"),
        (record(event_name=SECRET), "logs: record of 'json': event name"),
        (record(severity_text=SECRET), "logs: record of 'json': severity text"),
        (record(attributes={"buyer": SECRET}), "logs: record of 'json': attribute 'buyer'"),
        (metric("shop.orders"), "metrics: '_OTHER' (as it may leave): name"),
        (metric("process.uptime", SECRET[:9]), "metrics: 'process.uptime': unit"),
        (metric("process.uptime", "s", buyer=SECRET), "metrics: 'process.uptime': attribute 'buyer'"),
    ],
)
def test_a_leak_is_told_by_its_place(telemetry: Telemetry, act: Any, expected: str) -> None:
    """Each surface of a span, a log record and a metric is looked at; the failure names it and not what is there."""
    act(telemetry)

    with pytest.raises(AssertionError) as failure:
        telemetry.assert_ids_only()

    assert f"\n  {expected}\n" in str(failure.value)
    assert "zephyrine" not in str(failure.value)


@pytest.mark.parametrize(
    "act",
    [
        span(lambda one: one.set_attributes({"db.system": "postgresql", "user.id": 7, "http.request.method": "GET"})),
        span(lambda one: one.add_event("exception", {"exception.type": "ValueError"})),
        record(severity_text="INFO", attributes={"user.id": "7"}),
        metric("process.uptime", "s"),
    ],
)
def test_what_is_known_is_no_leak(telemetry: Telemetry, act: Any) -> None:
    """Ids, closed choices, code names and numbers under known keys may leave."""
    act(telemetry)

    telemetry.assert_ids_only()


def test_what_is_declared_is_no_leak(telemetry: Telemetry) -> None:
    """The way out that a failure names: to declare a name, an id, a choice and a number."""
    otel_ws.declare(template="settle match", id="order.id", choice={"order.kind": ("new", "old")}, number="shop.orders")
    acts = (
        span(lambda one: one.set_attributes({"order.id": 5, "order.kind": "new"}), name="settle match"),
        metric("shop.orders", "{order}", **{"order.kind": "old"}),
    )
    for act in acts:
        act(telemetry)

    telemetry.assert_ids_only()


def test_a_path_on_a_span_of_ours_is_a_leak() -> None:
    """A span of ours that carries what no router knows is told, and looking at it makes no route known."""
    foreign = Foreign(Policy())
    path = "/u/alice/4915112345678"
    made = ReadableSpan(
        "unknown _OTHER",
        attributes={"http.route": path, "ws.transport": "websocket"},
        instrumentation_scope=InstrumentationScope("otel_ws"),
    )

    for _ in range(2):
        assert ["traces: span 'unknown _OTHER': attribute 'http.route'"] == list(places.of_spans(foreign, [made]))


def test_the_same_place_is_told_once(telemetry: Telemetry) -> None:
    """Many spans with one leak make one line, with their number."""
    for _ in range(3):
        span(lambda one: one.set_attribute("buyer", SECRET))(telemetry)

    with pytest.raises(AssertionError, match=r"attribute 'buyer' \(3 times\)"):
        telemetry.assert_ids_only()


def test_an_exemplar_keeps_no_dropped_attribute(telemetry: Telemetry) -> None:
    """An attribute that a View dropped is still in the exemplar, and found there."""
    from opentelemetry.sdk.metrics.view import View

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=[View(instrument_name="*", attribute_keys=set())], shutdown_on_exit=False)
    counter = provider.get_meter("json").create_counter("process.uptime", "s")
    with telemetry.tracer_provider.get_tracer("json").start_as_current_span("SELECT"):
        counter.add(1, {"buyer": SECRET})
    data = reader.get_metrics_data()
    assert data is not None

    assert ["metrics: 'process.uptime': attribute of an exemplar 'buyer'"] == [
        place for place in places.of_metrics(telemetry.foreign, [data]) if "exemplar" in place
    ]


def test_a_resource_is_looked_at(telemetry: Telemetry) -> None:
    """What a resource says beyond the service and its place is found."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(resource=Resource({"service.name": "shop", "host.name": SECRET}), shutdown_on_exit=False)
    one: Any = provider.get_tracer("json").start_span("SELECT")
    one.end()

    assert ["resource: attribute 'host.name'"] == list(places.of_spans(telemetry.foreign, [one]))
