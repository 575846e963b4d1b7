"""Captures telemetry in memory, with a clock and ids of the test's own.

It refuses to know what is claimed about it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Metric, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from otel_ws import faults, recorder
from otel_ws.foreign import Foreign
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.settings import Settings
from otel_ws.testing import places
from otel_ws.testing.assertions import Assertions
from otel_ws.testing.others import Listener, plain_environment


@dataclass(frozen=True, slots=True)
class EventSeen:
    """One event as it was exported."""

    name: str
    attributes: dict[str, Any]
    severity: str
    body: Any
    trace_id: int
    span_id: int


class Telemetry(Assertions):
    """What was emitted so far, by signal."""

    def __init__(self, sampler: Sampler | None, settings: Settings, **injected: Any) -> None:
        self._spans = InMemorySpanExporter()
        self._records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._reader = InMemoryMetricReader()
        with plain_environment():
            self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
            self.logger_provider = LoggerProvider(shutdown_on_exit=False)
            self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._records))
        self.others = Listener(self._spans, self._records)
        self.recorder = Recorder(
            settings,
            recorder.vocabulary,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            logger_provider=self.logger_provider,
            **injected,
        )
        self.cleared_by(self.recorder.policy)
        fast.speed_up(self.recorder)

    def cleared_by(self, words: Policy) -> None:
        """What was emitted is looked at with these words."""
        self.recorder.policy = words
        self.foreign = Foreign(words)

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Finished spans, in the order in which they ended: all, or those of one name."""
        return [span for span in self._spans.get_finished_spans() if name in (None, span.name)]

    def span_names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans()]

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
        found: dict[tuple[tuple[str, Any], ...], Any] = {}
        own = self._own_metrics()
        for metric in [*_named(name, own), *_named(name, self.others.metrics())]:
            for point in metric.data.data_points:
                key = tuple(sorted((point.attributes or {}).items()))
                value = point.value if hasattr(point, "value") else point.count
                # Others are collected as differences, but for gauges.
                found[key] = value if isinstance(metric.data, Gauge) else found.get(key, 0) + value
        return found

    def value(self, name: str, **attributes: Any) -> float:
        """The sum of a metric's points whose attributes include these."""
        wanted = set(attributes.items())
        return float(sum(value for key, value in self.points(name).items() if wanted <= set(key)))

    def _own_metrics(self) -> list[MetricsData]:
        data = self._reader.get_metrics_data()
        return [data] if data is not None else []

    def _places(self) -> list[str]:
        with self.recorder.policy.uncounted():
            return [
                *places.of_spans(self.foreign, self.spans()),
                *places.of_records(self.foreign, self._records.get_finished_logs()),
                *places.of_metrics(self.foreign, [*self._own_metrics(), *self.others.metrics()]),
            ]


def _named(name: str, collected: list[MetricsData]) -> Iterator[Metric]:
    for data in collected:
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                yield from (metric for metric in scope.metrics if metric.name == name)


@contextmanager
def capture(
    *,
    others: bool = False,
    sampler: Sampler | None = None,
    injected: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Telemetry]:
    """Record into memory for the length of the block, with Channels instrumented if it is installed.

    With ``others``, also what the rest of the process emits through OpenTelemetry's global providers; where there are
    none, some are set, which record while somebody captures and nothing else. ``settings`` are those of otel-ws; the
    environment is not read. ``injected`` takes ``clock``, ``now_ns``, ``random_ratio`` and ``new_id``.

    Raises:
        SettingsError: a setting is wrong.
    """
    faults.reset()
    with _words() as words:
        telemetry = Telemetry(sampler, Settings.load({}, {}, **settings), **(injected or {}))
        before = recorder.replace(telemetry.recorder)
        was_strict = faults.strict(True)
        revert = _patched()
        try:
            with telemetry.others if others else nullcontext():
                yield telemetry
        finally:
            revert()
            faults.strict(was_strict)
            telemetry.recorder.flush()
            telemetry.cleared_by(words)
            recorder.replace(before, recorder.vocabulary)
            telemetry.recorder.close()


@contextmanager
def _words() -> Iterator[Policy]:
    """A test's own words in the process's vocabulary, by which its gate clears; what is yielded has them afterwards."""
    vocabulary = recorder.vocabulary
    words = vocabulary.copy()
    vocabulary.exchange(words)
    try:
        yield words
    finally:
        vocabulary.exchange(words)


def _patched() -> Callable[[], None]:
    if importlib.util.find_spec("channels") is None:
        return lambda: None
    from otel_ws.channels import patches

    return patches.apply()
