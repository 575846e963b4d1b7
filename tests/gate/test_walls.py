"""Each wall alone: what it stops where the other one cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otel_ws import gate
from otel_ws.policy import Policy


class Slotted:
    """An exporter that takes no method of ours: what it gets went through the first wall alone."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def export(self, batch: Any) -> None:
        """Keep it."""
        self.seen.extend(batch)

    def shutdown(self) -> None:
        """Nothing."""


class Kept:
    """An exporter that keeps what it gets; behind something that puts a mark in again."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def export(self, batch: Any) -> None:
        """Keep it."""
        self.seen.extend(batch)

    def shutdown(self) -> None:
        """Nothing."""


def test_the_first_wall_clears_spans(
    policy: Policy, stranger: Any, leaks: Callable[[object], bool], hidden: Callable[[], dict[str, int]]
) -> None:
    """Without a wall at the exporter, no span has a mark."""
    slotted = Slotted()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(slotted))  # type: ignore[arg-type]
    gate.install("all", policy)

    stranger.span(tracers)

    (seen,) = slotted.seen
    assert not leaks(seen.to_json())
    assert {"gate.build": 1} == hidden()
    assert any(name.endswith("Slotted") for name in gate.status()["ungated"])


def test_the_first_wall_clears_records(
    policy: Policy, stranger: Any, leaks: Callable[[object], bool], hidden: Callable[[], dict[str, int]]
) -> None:
    """Without a wall at the exporter, no record has a mark."""
    slotted = Slotted()
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(slotted))  # type: ignore[arg-type]
    gate.install("all", policy)

    stranger.log(loggers)

    (seen,) = slotted.seen
    assert not leaks(seen.to_json())
    assert {"gate.build": 1} == hidden()


def test_the_second_wall_clears_spans(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """What a processor of other make writes into an ended span, also into one of ours, is taken out."""

    class Enricher(SpanProcessor):
        def on_end(self, span: Any) -> None:
            span._name = "GET /alice"
            span._attributes = {**span._attributes, "user.email": "alice@example.com"}

    kept = Kept()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(Enricher())
    tracers.add_span_processor(SimpleSpanProcessor(kept))  # type: ignore[arg-type]
    gate.install("all", policy)

    stranger.span(tracers)

    (seen,) = kept.seen
    assert not leaks(seen.to_json())


def test_the_second_wall_clears_records(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """What a processor of other make writes into a record is taken out."""

    class Enricher(LogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            log_record.log_record.body = "alice came"
            log_record.log_record.attributes["user.email"] = "alice@example.com"

        def shutdown(self) -> None:
            """Nothing."""

        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return True

    kept = Kept()
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(Enricher())
    loggers.add_log_record_processor(SimpleLogRecordProcessor(kept))  # type: ignore[arg-type]
    gate.install("all", policy)

    stranger.log(loggers)

    (seen,) = kept.seen
    assert not leaks(seen.to_json())


def test_the_second_wall_clears_points(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """What a reader of other make puts into a collection is taken out at its exporter."""
    seen: list[Any] = []

    class Exporter(MetricExporter):
        def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
            seen.append(metrics_data)
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return True

        def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
            """Nothing."""

    class Enricher(PeriodicExportingMetricReader):
        def _receive_metrics(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> None:
            (resource,) = metrics_data.resource_metrics
            scopes = [
                replace(scope, metrics=[replace(one, description="of alice") for one in scope.metrics])
                for scope in resource.scope_metrics
            ]
            metrics_data = replace(metrics_data, resource_metrics=[replace(resource, scope_metrics=scopes)])
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)

    meters = MeterProvider([Enricher(Exporter())], shutdown_on_exit=False)
    gate.install("all", policy)

    stranger.metric(meters)
    meters.shutdown()

    assert seen
    assert not leaks([one.to_json() for one in seen])
