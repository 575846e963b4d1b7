"""Captured telemetry: kept as the bytes that would be sent, and every value in them found with its place."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.common")

from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from otel_ws.sdk.capture import (
    SHARED_SURFACES,
    SURFACES,
    Batches,
    Exported,
    LogRecordCapture,
    MetricCapture,
    SpanCapture,
    exported,
)

RESOURCE = Resource({"service.name": "shop"})


def found(kept: Batches) -> list[Exported]:
    """Every value of every request."""
    return [one for signal, request in kept.take() for one in exported(signal, request)]


def spans(**about: Any) -> list[Exported]:
    """What one span says."""
    kept = Batches()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SpanCapture(kept)))
    with provider.get_tracer("shop.views", "1.2").start_as_current_span("greet", attributes=about) as span:
        span.add_event("came", {"who": "ada"})
        span.add_link(SpanContext(1, 2, True, TraceFlags(1)), {"why": "love"})
        span.set_status(Status(StatusCode.ERROR, "no luck"))
    return found(kept)


def test_every_place_of_a_span() -> None:
    """Name, attributes, event, link, status, scope and resource are told by surface, scope and key."""
    seen = {(one.surface, one.scope, one.key, one.value) for one in spans(said="hi")}

    assert {
        ("span name", "shop.views", None, "greet"),
        ("span attribute key", "shop.views", "said", "said"),
        ("span attribute value", "shop.views", "said", "hi"),
        ("event name", "shop.views", None, "came"),
        ("event attribute value", "shop.views", "who", "ada"),
        ("link attribute value", "shop.views", "why", "love"),
        ("status message", "shop.views", None, "no luck"),
        ("scope name", "shop.views", None, "shop.views"),
        ("scope version", "shop.views", None, "1.2"),
        ("resource attribute value", "", "service.name", "shop"),
    } <= seen


def test_lists_numbers_and_flags_are_values() -> None:
    """Each item of a list is a value of its own; numbers and flags are told as text."""
    seen = [(one.key, one.value) for one in spans(many=["a", "b"], count=7, on=True) if one.surface[-5:] == "value"]

    assert {("many", "a"), ("many", "b"), ("count", "7"), ("on", "True")} <= set(seen)


def test_every_place_of_a_record() -> None:
    """A body with mappings in it is told by its keys, and bytes are bytes."""
    kept = Batches()
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(LogRecordCapture(kept)))
    body: Any = {"who": {"name": "ada"}, "raw": b"\x00x"}
    provider.get_logger("shop").emit(
        body=body, event_name="seen", severity_number=SeverityNumber.WARN, severity_text="odd", attributes={"k": "v"}
    )

    seen = {(one.surface, one.key, one.value) for one in found(kept)}

    assert {
        ("record body key", "who", "who"),
        ("record body value", "who.name", "ada"),
        ("record body value", "raw", b"\x00x"),
        ("record event_name", None, "seen"),
        ("record severity_text", None, "odd"),
        ("record attribute value", "k", "v"),
    } <= seen


def test_every_place_of_a_metric() -> None:
    """Name, description, unit and the attributes of its points are told."""
    kept = Batches()
    reader = PeriodicExportingMetricReader(MetricCapture(kept), export_interval_millis=10**9)
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    provider.get_meter("shop").create_counter("orders", "{order}", "How many.").add(1, {"kind": "new"})
    provider.force_flush()
    provider.shutdown()

    seen = {(one.surface, one.value) for one in found(kept)}

    assert {
        ("metric name", "orders"), ("metric unit", "{order}"), ("metric description", "How many."),
        ("point attribute key", "kind"), ("point attribute value", "new"),
    } <= seen  # fmt: skip


def test_ids_of_traces_are_no_values() -> None:
    """The numbers by which spans belong together are not looked at."""
    assert all("_id" not in one.surface for one in spans())


def test_every_surface_that_is_found_is_listed() -> None:
    """The list of surfaces, which a report goes by, names those of a span."""
    assert {one.surface for one in spans(said="hi")} <= {*SURFACES["traces"], *SHARED_SURFACES}


def test_later_changes_do_not_count() -> None:
    """A request is kept as it was, and is handed out once."""
    kept = Batches()
    about = {"k": "v"}
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(SpanCapture(kept)))
    provider.get_tracer("shop").start_span("x", attributes=about, links=[Link(SpanContext(1, 2, False))]).end()
    about["k"] = "changed"

    assert "changed" not in {one.value for one in found(kept)}
    assert 0 == len(kept)
