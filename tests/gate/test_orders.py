"""Exporters, processors and providers that come before, after and without the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs._internal import ConcurrentMultiLogRecordProcessor
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ws import gate
from otel_ws.policy import Policy

SPAN_PROCESSORS = [SimpleSpanProcessor, BatchSpanProcessor]
LOG_PROCESSORS = [SimpleLogRecordProcessor, BatchLogRecordProcessor]


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """An exporter that keeps spans."""
    return InMemorySpanExporter()


@pytest.fixture
def records() -> InMemoryLogRecordExporter:
    """An exporter that keeps log records."""
    return InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]


@pytest.fixture(params=["sequential", "concurrent"])
def tracer_provider(request: pytest.FixtureRequest, stranger: Any) -> Iterator[TracerProvider]:
    """A provider whose processors run one after the other, or at once."""
    several = ConcurrentMultiSpanProcessor() if request.param == "concurrent" else None
    made = TracerProvider(resource=stranger.resource, shutdown_on_exit=False, active_span_processor=several)
    yield made
    made.shutdown()


@pytest.fixture(params=["sequential", "concurrent"])
def logger_provider(request: pytest.FixtureRequest, stranger: Any) -> Iterator[LoggerProvider]:
    """The same, for log records."""
    several = ConcurrentMultiLogRecordProcessor() if request.param == "concurrent" else None
    made = LoggerProvider(stranger.resource, shutdown_on_exit=False, multi_log_record_processor=several)
    yield made
    made.shutdown()


def dumped(spans: InMemorySpanExporter) -> str:
    """Everything in the finished spans that can be shown."""
    (span,) = spans.get_finished_spans()
    scope: Any = span.instrumentation_scope
    states = [span.context.trace_state, span.parent and span.parent.trace_state]
    links = [(link.context.trace_state, dict(link.attributes or {})) for link in span.links]
    return str(span.to_json()) + repr((scope, span.resource.schema_url, [dict(one or {}) for one in states], links))


def dumped_records(records: InMemoryLogRecordExporter) -> str:
    """Everything in the finished records that can be shown."""
    (found,) = records.get_finished_logs()
    return str(found.to_json()) + repr((found.instrumentation_scope, found.resource.schema_url))


@pytest.mark.parametrize("kind", SPAN_PROCESSORS)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_span_processor_of_any_order_gets_cleared_spans(
    kind: Any,
    is_before: bool,
    tracer_provider: TracerProvider,
    spans: InMemorySpanExporter,
    policy: Policy,
    stranger: Any,
    leaks: Callable[[object], bool],
) -> None:
    """Registered before the gate or after it, an exporter sees no mark, and sees the span."""
    if is_before:
        tracer_provider.add_span_processor(kind(spans))
    gate.install("all", policy)
    if not is_before:
        tracer_provider.add_span_processor(kind(spans))

    stranger.span(tracer_provider)
    tracer_provider.force_flush()

    shown = dumped(spans)
    assert not leaks(shown)
    assert '"http.request.method": "GET"' in shown
    assert "arena" in shown


@pytest.mark.parametrize("kind", LOG_PROCESSORS)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_log_processor_of_any_order_gets_cleared_records(
    kind: Any,
    is_before: bool,
    logger_provider: LoggerProvider,
    records: InMemoryLogRecordExporter,
    policy: Policy,
    stranger: Any,
    leaks: Callable[[object], bool],
) -> None:
    """Registered before the gate or after it, an exporter sees no mark, and sees the record."""
    if is_before:
        logger_provider.add_log_record_processor(kind(records))
    gate.install("all", policy)
    if not is_before:
        logger_provider.add_log_record_processor(kind(records))

    stranger.log(logger_provider)
    logger_provider.force_flush()

    shown = dumped_records(records)
    assert not leaks(shown)
    assert "ValueError" in shown


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_provider_that_nobody_set_is_gated_too(
    is_before: bool, policy: Policy, stranger: Any, leaks: Callable[[object], bool]
) -> None:
    """A second provider, made before the gate or after it and never global, is met all the same."""
    if not is_before:
        gate.install("all", policy)
    spans, records, reader = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()  # type: ignore[no-untyped-call]
    tracers = TracerProvider(resource=stranger.resource, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    loggers = LoggerProvider(stranger.resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    meters = MeterProvider([reader], stranger.resource, shutdown_on_exit=False)
    if is_before:
        gate.install("all", policy)

    stranger.span(tracers)
    stranger.log(loggers)
    stranger.metric(meters)
    data = reader.get_metrics_data()

    assert data is not None
    assert not leaks(dumped(spans) + dumped_records(records) + data.to_json())
    assert "http.server.active_requests" in data.to_json()


def test_a_provider_of_a_users_own_class_is_gated(
    policy: Policy, stranger: Any, spans: InMemorySpanExporter, leaks: Callable[[object], bool]
) -> None:
    """A subclass that registers its exporter in its own constructor is met like any other."""

    class Mine(TracerProvider):
        def __init__(self) -> None:
            super().__init__(resource=stranger.resource, shutdown_on_exit=False)
            self.add_span_processor(SimpleSpanProcessor(spans))

    gate.install("all", policy)

    stranger.span(Mine())

    assert not leaks(dumped(spans))


def test_an_exporter_inside_other_peoples_processors_is_found(
    policy: Policy, stranger: Any, spans: InMemorySpanExporter, leaks: Callable[[object], bool]
) -> None:
    """A processor that hands on to another, which holds the exporter, has a wall in front of the exporter."""

    class Outer(SpanProcessor):
        def __init__(self) -> None:
            self.inner = [SimpleSpanProcessor(spans)]

        def on_end(self, span: Any) -> None:
            span._attributes = {**span._attributes, "user.email": "alice@example.com"}
            self.inner[0].on_end(span)

    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(Outer())
    gate.install("all", policy)

    stranger.span(tracers)

    assert not leaks(dumped(spans))
    assert [] == [name for name in gate.status()["ungated"] if name.endswith("Outer")]
    assert {"name": "InMemorySpanExporter", "signal": "traces", "proven": True} in gate.status()["exporters"]


def test_a_reader_that_comes_later_is_gated(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """Where the SDK takes readers after its start, they are met."""
    meters = MeterProvider(shutdown_on_exit=False)
    if not hasattr(meters, "add_metric_reader"):
        pytest.skip("this SDK takes readers only at its start")
    gate.install("all", policy)
    reader = InMemoryMetricReader()
    meters.add_metric_reader(reader)

    stranger.metric(meters)
    data = reader.get_metrics_data()

    assert data is not None
    assert not leaks(data.to_json())


def test_closing_the_gate_restores_every_method(policy: Policy, stranger: Any) -> None:
    """After ``uninstall`` classes and objects are what they were, and telemetry leaves as it is."""
    makers = [kind.__init__ for kind in (TracerProvider, LoggerProvider, MeterProvider)]
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    processor = SimpleSpanProcessor(spans)
    tracers.add_span_processor(processor)
    before = [set(vars(one)) for one in (spans, reader, tracers, meters, tracers._active_span_processor)]
    gate.install("all", policy)

    gate.uninstall()

    assert before == [set(vars(one)) for one in (spans, reader, tracers, meters, tracers._active_span_processor)]
    assert makers == [kind.__init__ for kind in (TracerProvider, LoggerProvider, MeterProvider)]
    stranger.span(tracers)
    assert "alice@example.com" == spans.get_finished_spans()[0].attributes["user.email"]  # type: ignore[index]


def test_a_method_that_somebody_put_around_ours_stays(
    policy: Policy, stranger: Any, spans: InMemorySpanExporter
) -> None:
    """Closing the gate under somebody else's wrapper hands on, and takes nothing of theirs away."""
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    gate.install("all", policy)
    ours, seen = spans.export, []

    def theirs(batch: Any) -> Any:
        seen.append(batch)
        return ours(batch)

    spans.export = theirs  # type: ignore[assignment,method-assign]

    gate.uninstall()
    stranger.span(tracers)

    assert 1 == len(seen)
    assert spans.export is theirs
    assert "alice@example.com" == spans.get_finished_spans()[0].attributes["user.email"]  # type: ignore[index]
