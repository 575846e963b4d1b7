"""Where facts go and numbers are read: the ledger, the instruments, the spans and the event writers.

It holds the parts and hands things over. It refuses to know what any of them means.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from otel_ws import faults, semconv
from otel_ws.ledger import Ledger, Snapshot
from otel_ws.lines import JsonLines
from otel_ws.live import Live
from otel_ws.policy import Policy
from otel_ws.semconv import Attribute, Event, Metric
from otel_ws.settings import Settings
from otel_ws.signals import spans as span_tools
from otel_ws.signals.events import Events
from otel_ws.signals.metrics import metrics_for
from otel_ws.signals.spans import Spans
from otel_ws.types import Cleared, Clock, EventRecord, EventWriter, Labels

try:
    VERSION = version("otel-ws")
except PackageNotFoundError:  # a source tree that was never installed
    VERSION = "0+unknown"


class Identified(Protocol):
    """Whatever an event is about, as far as its ids go."""

    ids: Cleared


class Fanout:
    """One process's parts: settings, policy, ledger, live connections, spans, instruments, event writers."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        *,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        logger_provider: Any = None,
        clock: Clock = time.perf_counter,
        now_ns: Callable[[], int] = time.time_ns,
        random_ratio: Callable[[], float] = random.random,
        new_id: Callable[[], object] = uuid.uuid4,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.clock = clock
        self.now_ns = now_ns
        self.new_id = new_id
        policy.declare(semconv.MESSAGE_TYPE, settings.message_types)
        self.ledger = Ledger()
        self.live = Live(clock, settings.metric_ids)
        self.spans = Spans(tracer_provider, VERSION, settings, random_ratio)
        self.metrics = metrics_for(meter_provider, VERSION)
        self.metrics.source = self
        self.writers: tuple[EventWriter, ...] = (Events(logger_provider, VERSION),)
        if settings.json_log:
            self.writers += (JsonLines(settings.json_log),)

    # --- writing ----------------------------------------------------------------------------------------
    def event(self, event: Event, about: Identified | None, raw: Mapping[Attribute, object], span: Any = None) -> None:
        """Clear an event and hand it to every writer; it belongs to ``span``, or to the current one."""
        values = self.policy.clear("logs", {**(about.ids if about is not None else {}), **raw})
        trace_id, span_id = span_tools.current_ids(span)
        record = EventRecord(event, self.now_ns(), values, trace_id, span_id, span_tools.in_context(span))
        for writer in self.writers:
            try:
                writer.write(record)
            except Exception as exc:
                faults.fault("events", exc)

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Put a value into a histogram: the ledger's, and OpenTelemetry's."""
        self.ledger.observe(metric, labels, value)
        self.metrics.observe(metric, labels, value)

    # --- reading ----------------------------------------------------------------------------------------
    def read(self, metric: Metric) -> Iterable[tuple[Labels, float]]:
        """Every series of a counter or gauge, wherever it is kept."""
        if metric is semconv.REDACTIONS:
            return [(key, float(count)) for key, count in self.policy.redactions().items()]
        if metric is semconv.TELEMETRY_ERRORS:
            return [((place,), float(count)) for place, count in faults.snapshot().items()]
        return self.live.read(metric) if metric.live else self.ledger.read(metric)

    def by_id(self) -> Iterator[tuple[str, str, float]]:
        """Open connections by the ids that the operator chose."""
        return self.live.by_id()

    def snapshot(self) -> Snapshot:
        """All numbers at this moment, live ones included."""
        now = self.ledger.snapshot()
        for metric in semconv.METRICS:
            if metric.live and metric is not semconv.ACTIVE_BY_ID:
                now.values[metric] = dict(self.read(metric))
        return now

    def flush(self) -> None:
        """Hand over what our own writers hold."""
        for writer in self.writers:
            writer.flush()

    def close(self) -> None:
        """Stop: instruments fall silent, lines are written out."""
        if self.metrics.source is self:
            self.metrics.source = None
        for writer in self.writers:
            writer.close()

    def after_fork(self) -> None:
        """In a forked child: what was counted and who is connected is the parent's."""
        self.ledger.clear()
        self.live.clear()
        for writer in self.writers:
            if isinstance(writer, JsonLines):
                writer.after_fork()
