"""What this process exports, kept in memory as the OTLP bytes that would be sent, and every value in it with its place.

``OTEL_TRACES_EXPORTER=ws_capture`` (also for metrics and logs) chooses it like any other exporter, so it stands where
they stand: behind everything that a process does to its telemetry. It refuses to know which value is a leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from otel_ws.sdk._private import readers
from otel_ws.sdk._private.otlp import encode_logs

REQUESTS: Final[dict[str, Any]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
# What each message of OTLP is called on the way to a value; the others are only boxes.
_OWNERS: Final = {
    "Resource": "resource", "ResourceSpans": "resource", "ResourceMetrics": "resource", "ResourceLogs": "resource",
    "InstrumentationScope": "scope", "ScopeSpans": "scope", "ScopeMetrics": "scope", "ScopeLogs": "scope",
    "Span": "span", "Status": "status", "Event": "event", "Link": "link", "LogRecord": "record", "Metric": "metric",
    "NumberDataPoint": "point", "HistogramDataPoint": "point", "ExponentialHistogramDataPoint": "point",
    "SummaryDataPoint": "point", "Exemplar": "exemplar",
}  # fmt: skip
_ITEMS: Final = frozenset({"Span", "LogRecord", "Metric"})
_ATTRIBUTES: Final = frozenset({"attributes", "filtered_attributes"})
# Made by this process or, for a parent, numbers that mean nothing.
_IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})

SURFACES: Final = {
    "traces": (
        "span name", "span attribute key", "span attribute value", "span trace_state", "status message", "event name",
        "event attribute key", "event attribute value", "link attribute key", "link attribute value",
        "link trace_state",
    ),
    "metrics": (
        "metric name", "metric description", "metric unit", "point attribute key", "point attribute value",
        "exemplar attribute key", "exemplar attribute value",
    ),
    "logs": (
        "record body", "record body key", "record body value", "record event_name", "record severity_text",
        "record attribute key", "record attribute value",
    ),
}  # fmt: skip
SHARED_SURFACES: Final = (
    "scope name", "scope version", "scope schema_url", "scope attribute key", "scope attribute value",
    "resource schema_url", "resource attribute key", "resource attribute value",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exported:
    """One value as it was exported: its signal, its surface and where it stood there."""

    signal: str
    surface: str
    scope: str
    item: int
    key: str | None
    value: str | bytes


class Batches:
    """The OTLP requests that were made so far, in order: signal and bytes."""

    def __init__(self) -> None:
        self._all: list[tuple[str, bytes]] = []
        # The signals that somebody made an exporter for.
        self.expected: set[str] = set()

    def add(self, signal: str, request: Any) -> None:
        """Keep a request as its bytes: nothing that happens later to the objects in it counts."""
        self._all.append((signal, request.SerializeToString()))

    def take(self) -> list[tuple[str, bytes]]:
        """All of them; the next call starts anew."""
        taken, self._all = self._all, []
        return taken

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)


KEPT: Final = Batches()


class SpanCapture(SpanExporter):
    """Keeps spans as an OTLP request."""

    def __init__(self, kept: Batches = KEPT) -> None:
        self._kept = kept
        kept.expected.add("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep a batch."""
        self._kept.add("traces", encode_spans(spans))
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True


class LogRecordCapture(LogRecordExporter):
    """Keeps log records as an OTLP request."""

    def __init__(self, kept: Batches = KEPT) -> None:
        self._kept = kept
        kept.expected.add("logs")

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Keep a batch."""
        self._kept.add("logs", encode_logs(batch))
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Nothing to end."""


class MetricCapture(MetricExporter):
    """Keeps metrics as an OTLP request."""

    def __init__(self, kept: Batches = KEPT) -> None:
        super().__init__()
        self._kept = kept
        kept.expected.add("metrics")

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Keep a collection."""
        self._kept.add("metrics", encode_metrics(metrics_data))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing to end."""


def attach() -> None:
    """Capture from the global providers, too, where a program chose its exporters itself and not by ``OTEL_*``.

    An SDK before 1.40 takes no reader afterwards: then ``KEPT.expected`` goes without metrics.
    """
    tracer_provider, logger_provider, meter_provider = _providers()
    if "traces" not in KEPT.expected and isinstance(tracer_provider, TracerProvider):
        tracer_provider.add_span_processor(SimpleSpanProcessor(SpanCapture()))
    if "logs" not in KEPT.expected and isinstance(logger_provider, LoggerProvider):
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(LogRecordCapture()))
    if "metrics" not in KEPT.expected and isinstance(meter_provider, MeterProvider):
        add = getattr(meter_provider, "add_metric_reader", None)
        if add is not None:
            add(PeriodicExportingMetricReader(MetricCapture()))


def flush() -> None:
    """Let the global providers hand over what they hold."""
    for provider in _providers():
        hand_over = getattr(provider, "force_flush", None)
        if hand_over is not None:
            hand_over()


def prometheus_texts() -> list[bytes]:
    """What a scrape would get from each ``ws_prometheus`` reader, in both formats."""
    from otel_ws.sdk.prometheus import PrometheusReader  # late: the exporter's package may not be there

    provider = _providers()[2]
    found = readers(provider) if isinstance(provider, MeterProvider) else []
    return [one.text(form) for one in found if isinstance(one, PrometheusReader) for form in (False, True)]


def _providers() -> tuple[Any, Any, Any]:
    return trace.get_tracer_provider(), get_logger_provider(), metrics.get_meter_provider()


def exported(signal: str, request: bytes) -> Iterator[Exported]:
    """Every value in an OTLP request that is not a number of its own: texts, keys, bytes, and attributes of all types.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no such request.
    """
    walk = _Walk(signal)
    yield from walk.message(REQUESTS[signal].FromString(request), "")


class _Walk:
    def __init__(self, signal: str) -> None:
        self.signal = signal
        self.scope = ""
        self.item = 0

    def message(self, message: Any, owner: str) -> Iterator[Exported]:
        kind = message.DESCRIPTOR.name
        owner = _OWNERS.get(kind, owner)
        if kind.startswith("Scope"):
            self.scope = message.scope.name
        self.item += kind in _ITEMS
        for field, value in message.ListFields():
            if field.name in _ATTRIBUTES:
                for pair in value:
                    yield from self._pair(pair, f"{owner} attribute", "")
            elif field.name == "body":
                yield from self._any(value, f"{owner} body", None)
            elif field.message_type is not None:
                for one in [value] if hasattr(value, "ListFields") else value:
                    yield from self.message(one, owner)
            elif isinstance(value, (str, bytes)) and field.name not in _IDS:
                yield self._value(f"{owner} {field.name}", None, value)

    def _pair(self, pair: Any, surface: str, before: str) -> Iterator[Exported]:
        key = before + pair.key
        yield self._value(f"{surface} key", key, pair.key)
        yield from self._any(pair.value, f"{surface} value", key)

    def _any(self, value: Any, surface: str, key: str | None) -> Iterator[Exported]:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            for one in value.array_value.values:
                yield from self._any(one, surface, key)
        elif kind == "kvlist_value":
            for pair in value.kvlist_value.values:
                yield from self._pair(pair, surface.removesuffix(" value"), f"{key}." if key else "")
        elif kind is not None:
            found = getattr(value, kind)
            yield self._value(surface, key, found if isinstance(found, (str, bytes)) else str(found))

    def _value(self, surface: str, key: str | None, value: str | bytes) -> Exported:
        return Exported(self.signal, surface, self.scope, self.item, key, value)
