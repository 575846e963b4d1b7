"""Events as OpenTelemetry log records: a name, a fixed body, cleared attributes, the ids of a span."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_ws import semconv
from otel_ws.semconv import Attribute, Event, Kind
from otel_ws.signals.events import Events
from otel_ws.types import Cleared, EventRecord, Value

MOMENT_NS = 1_767_323_045_678_901_234


class Readout:
    """A provider and the log records that it exported."""

    def __init__(self) -> None:
        self.exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.events = Events(self.provider, "1.2.3")

    def write(self, event: Event, values: dict[Attribute, Value] | None = None, context: object = None) -> Any:
        """Write one event; returns what was exported."""
        self.events.write(EventRecord(event, MOMENT_NS, Cleared(values or {}), context=context))
        (exported,) = self.exporter.get_finished_logs()
        return exported


@pytest.mark.parametrize("event", semconv.EVENTS, ids=lambda one: one.name)
def test_an_event_is_a_log_record_with_an_event_name(event: Event) -> None:
    """Name, body and time of the record are the event's."""
    record = Readout().write(event).log_record

    assert (event.name, event.message, MOMENT_NS) == (record.event_name, record.body, record.timestamp)


@pytest.mark.parametrize("event", semconv.EVENTS, ids=lambda one: one.name)
def test_the_severity_is_the_events(event: Event) -> None:
    """Number and text of the severity agree with OpenTelemetry's data model."""
    expected = {"INFO": SeverityNumber.INFO, "WARNING": SeverityNumber.WARN, "ERROR": SeverityNumber.ERROR}

    record = Readout().write(event).log_record

    assert (expected[event.level.name], event.level.name) == (record.severity_number, record.severity_text)


def test_attributes_have_their_keys() -> None:
    """Each value is an attribute under its key, with its type."""
    values: dict[Attribute, Value] = {semconv.ROLE: "player", semconv.DURATION: 0.25, semconv.DUAL: True}

    record = Readout().write(semconv.WS_CONNECT, values).log_record

    assert {"ws.role": "player", "ws.duration": 0.25, "ws.connection.dual": True} == dict(record.attributes or {})


@pytest.mark.parametrize("value", ["7", 7], ids=["text", "number"])
def test_an_id_is_a_text(value: Value) -> None:
    """An id is a text on OTLP, so that every backend treats it alike."""
    own = Attribute("order.id", None, "order_id", Kind.ID, "Declared by the application.")

    record = Readout().write(semconv.WS_CONNECT, {semconv.USER_ID: value, own: value}).log_record

    assert {"user.id": "7", "order.id": "7"} == dict(record.attributes or {})


def test_the_scope_is_ours() -> None:
    """Name, version and schema URL of the scope are those of every signal."""
    scope = Readout().write(semconv.WS_CONNECT).instrumentation_scope

    assert (semconv.SCOPE_NAME, "1.2.3", semconv.SCHEMA_URL) == (scope.name, scope.version, scope.schema_url)


def test_an_event_belongs_to_the_span_of_its_context() -> None:
    """The record has the ids of the span that the event was told for."""
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, False, TraceFlags(TraceFlags.SAMPLED)))
    context = set_span_in_context(span, Context())

    record = Readout().write(semconv.WS_CONNECT, context=context).log_record

    assert (0xABC, 0xDEF) == (record.trace_id, record.span_id)


def test_an_event_without_a_context_belongs_to_no_span() -> None:
    """Where nothing is current, the record has no ids."""
    record = Readout().write(semconv.WS_CONNECT).log_record

    assert not record.trace_id
    assert not record.span_id


def test_a_provider_that_does_nothing_is_enough() -> None:
    """Without an SDK, events go nowhere and nothing raises."""
    events = Events(NoOpLoggerProvider(), "1.2.3")

    for event in semconv.EVENTS:
        events.write(EventRecord(event, MOMENT_NS, Cleared({})))
    events.flush()
    events.close()

    assert events is not None
