"""What the rest of the process emits through OpenTelemetry's global providers, heard while somebody captures.

Where nobody has set a provider, one is set that records only meanwhile; where somebody has, it is listened to beside
his own exporters, behind a gate if there is one. It refuses to know what is done with what was heard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self
from weakref import WeakKeyDictionary

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricsData,
    ResourceMetrics,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult

from otel_ws.sdk._private import is_proxy
from otel_ws.semconv import SCOPE_NAME


class Listener:
    """Hears all signals from the block's beginning to its end; the innermost one hears."""

    def __init__(self, spans: SpanExporter, records: LogRecordExporter) -> None:
        self.spans = spans
        self.records = records
        self._collected: list[MetricsData] = []
        self._reader: InMemoryMetricReader | None = None

    def __enter__(self) -> Self:
        _hear_spans()
        _hear_records()
        self._reader = _reader()
        if self._reader is not None:
            # What was counted before is somebody else's.
            self._reader.get_metrics_data()
        _listening.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self.metrics()
        self._reader = None
        _listening.remove(self)

    def metrics(self) -> list[MetricsData]:
        """What was collected so far, each the difference to the one before."""
        data = self._reader.get_metrics_data() if self._reader is not None else None
        if data is not None:
            self._collected.append(_without_ours(data))
        return self._collected


def _without_ours(data: MetricsData) -> MetricsData:
    # Where the application has configured otel-ws, its recorder rests while a capture's own one records.
    return MetricsData(
        [
            ResourceMetrics(
                resource.resource,
                [scope for scope in resource.scope_metrics if scope.scope.name != SCOPE_NAME],
                resource.schema_url,
            )
            for resource in data.resource_metrics
        ]
    )


@contextmanager
def plain_environment() -> Iterator[None]:
    """Without ``OTEL_*``: a suite that switches the SDK off, or samples nothing, is captured all the same."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OTEL_")}
    try:
        yield
    finally:
        os.environ.update(kept)


_listening: list[Listener] = []
_heard: WeakKeyDictionary[Any, InMemoryMetricReader | None] = WeakKeyDictionary()
_DIFFERENCES: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter), AggregationTemporality.DELTA
)


def _hear_spans() -> None:
    provider: object = trace.get_tracer_provider()
    if is_proxy(provider):
        with plain_environment():
            provider = TracerProvider(sampler=_WhileListening(), shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    if isinstance(provider, TracerProvider) and provider not in _heard:
        provider.add_span_processor(SimpleSpanProcessor(_Spans()))
        _heard[provider] = None


def _hear_records() -> None:
    provider: object = _logs.get_logger_provider()
    if is_proxy(provider):
        with plain_environment():
            provider = LoggerProvider(shutdown_on_exit=False)
        _logs.set_logger_provider(provider)
    if isinstance(provider, LoggerProvider) and provider not in _heard:
        provider.add_log_record_processor(SimpleLogRecordProcessor(_Records()))
        _heard[provider] = None


def _reader() -> InMemoryMetricReader | None:
    provider: object = metrics.get_meter_provider()
    if is_proxy(provider):
        with plain_environment():
            reader = InMemoryMetricReader(preferred_temporality=_DIFFERENCES)
            made = MeterProvider([reader], shutdown_on_exit=False)
        _heard[made] = reader
        metrics.set_meter_provider(made)
        return reader
    if isinstance(provider, MeterProvider) and provider not in _heard:
        # A provider of the application's takes another reader only since SDK 1.40.
        add = getattr(provider, "add_metric_reader", None)
        late = InMemoryMetricReader(preferred_temporality=_DIFFERENCES) if add is not None else None
        if late is not None:
            add(late)  # type: ignore[misc]
        _heard[provider] = late
    return _heard.get(provider)


class _WhileListening(Sampler):
    """Samples all while somebody captures, and nothing else: the rest of the suite runs as without a provider."""

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        if _listening:
            return ALWAYS_ON.should_sample(*args, **kwargs)
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "WhileListening"


class _Spans(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return _listening[-1].spans.export(spans) if _listening else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class _Records(LogRecordExporter):
    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return _listening[-1].records.export(batch) if _listening else LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        pass
