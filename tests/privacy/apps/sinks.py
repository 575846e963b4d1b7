"""Where telemetry ends in these programs: exporters that keep requests, and strangers that ship by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from otel_ws.sdk.capture import Batches, LogRecordCapture, MetricCapture, SpanCapture


class Kept(Batches):
    """The requests, and how often the encoder could make none: what is clear can always be encoded."""

    unencodable = 0

    def attempt(self, export: Callable[..., Any], *batch: Any) -> Any:
        """Export, and count a failure."""
        try:
            return export(*batch)
        except Exception:
            self.unencodable += 1
            return None


class Spans(SpanCapture):
    """Keeps spans."""

    def export(self, spans: Any) -> Any:
        """Keep a batch."""
        return self._kept.attempt(super().export, spans)  # type: ignore[attr-defined]


class Records(LogRecordCapture):
    """Keeps log records."""

    def export(self, batch: Any) -> Any:
        """Keep a batch."""
        return self._kept.attempt(super().export, batch)  # type: ignore[attr-defined]


class Points(MetricCapture):
    """Keeps collections."""

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> Any:
        """Keep a collection."""
        return self._kept.attempt(super().export, metrics_data)  # type: ignore[attr-defined]


class Shipping(SpanProcessor):
    """A stranger's processor that sends by itself: it must only ever see what is clear."""

    def __init__(self, exporter: Spans) -> None:
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Ship it, at once."""
        Spans.export(self._exporter, [span])


class ShippingRecords(LogRecordProcessor):
    """The same for log records."""

    def __init__(self, exporter: Records) -> None:
        self._exporter = exporter

    def on_emit(self, log_record: Any) -> None:
        """Ship it, at once."""
        parts = {"resource": log_record.resource, "instrumentation_scope": log_record.instrumentation_scope}
        Records.export(self._exporter, [ReadableLogRecord(log_record=log_record.log_record, **parts)])

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True


class ShippingReader(MetricReader):
    """The same for points."""

    def __init__(self, exporter: Points) -> None:
        super().__init__()
        self._ship = exporter

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        Points.export(self._ship, metrics_data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing to end."""
