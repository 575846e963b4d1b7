"""For tests: everything that otel-ws emits during a test, in memory, with a clock and ids of your own.

    with otel_ws.testing.capture() as telemetry:
        await communicator.connect()
    assert telemetry.span_names() == ["connect /ws/match/{match_id}/"]

Needs the SDK. Wrong use of a verb raises ``UsageError`` while capturing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from otel_ws import faults, recorder
from otel_ws.faults import UsageError
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.settings import Settings

__all__ = ["Telemetry", "UsageError", "capture"]


@dataclass(frozen=True, slots=True)
class EventSeen:
    """One event as it was exported."""

    name: str
    attributes: dict[str, Any]
    severity: str
    body: Any
    trace_id: int
    span_id: int


class Telemetry:
    """What was emitted so far, by signal."""

    def __init__(self, sampler: Sampler | None, settings: Settings, **injected: Any) -> None:
        self._spans = InMemorySpanExporter()
        self._records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._records))
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.recorder = Recorder(
            settings,
            recorder.vocabulary.copy(),
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            logger_provider=self.logger_provider,
            **injected,
        )
        fast.speed_up(self.recorder)

    def spans(self) -> list[ReadableSpan]:
        """Finished spans, in the order in which they ended."""
        return list(self._spans.get_finished_spans())

    def span_names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans()]

    def span(self, name: str) -> ReadableSpan:
        """The one finished span of that name."""
        (found,) = [span for span in self.spans() if span.name == name]
        return found

    def events(self, name: str | None = None) -> list[EventSeen]:
        """Events in order, all or those of one name."""
        seen = []
        for data in self._records.get_finished_logs():
            record = data.log_record
            attributes = dict(record.attributes) if record.attributes is not None else {}
            seen.append(
                EventSeen(
                    str(record.event_name),
                    attributes,
                    str(record.severity_text),
                    record.body,
                    record.trace_id or 0,
                    record.span_id or 0,
                )
            )
        return [event for event in seen if name in (None, event.name)]

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """The points of a metric: sorted attributes to value, or to count for a histogram."""
        data = self._reader.get_metrics_data()
        return {
            tuple(sorted((point.attributes or {}).items())): getattr(point, "value", None)
            if hasattr(point, "value")
            else point.count
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def value(self, name: str, **attributes: Any) -> float:
        """The sum of a metric's points whose attributes include these."""
        wanted = set(attributes.items())
        return float(sum(value for key, value in self.points(name).items() if wanted <= set(key)))


@contextmanager
def capture(
    *,
    sampler: Sampler | None = None,
    injected: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Telemetry]:
    """Record into memory for the length of the block, with Channels instrumented if it is installed.

    ``settings`` are those of otel-ws; the environment is not read. ``injected`` takes ``clock``, ``now_ns``,
    ``random_ratio`` and ``new_id``.

    Raises:
        SettingsError: a setting is wrong.
    """
    faults.reset()
    telemetry = Telemetry(sampler, Settings.load({}, {}, **settings), **(injected or {}))
    vocabulary = recorder.vocabulary
    before = recorder.replace(telemetry.recorder)
    was_strict = faults.strict(True)
    revert = _patched()
    try:
        yield telemetry
    finally:
        revert()
        faults.strict(was_strict)
        telemetry.recorder.flush()
        recorder.replace(before, vocabulary)
        telemetry.recorder.close()


def _patched() -> Callable[[], None]:
    if importlib.util.find_spec("channels") is None:
        return lambda: None
    from otel_ws.channels import patches

    return patches.apply()
