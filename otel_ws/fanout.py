"""Where facts go and numbers are read: the ledger, the instruments, the spans and the event writers.

It holds the parts and hands things over. It refuses to know what any of them means.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from otel_ws import faults, semconv
from otel_ws.console import for_people, is_colourful
from otel_ws.deliveries import Deliveries
from otel_ws.ledger import Ledger, Snapshot
from otel_ws.lines import Lines, render
from otel_ws.live import Live
from otel_ws.policy import Policy
from otel_ws.recent import Recent
from otel_ws.semconv import Attribute, Event, Instrument, Metric
from otel_ws.settings import Settings
from otel_ws.signals import spans as span_tools
from otel_ws.signals.events import Events
from otel_ws.signals.metrics import metrics_for
from otel_ws.signals.spans import Spans
from otel_ws.tally import Tally
from otel_ws.types import Cleared, Clock, EventRecord, EventWriter, Labels

HISTOGRAMS = frozenset(metric for metric in semconv.METRICS if metric.instrument is Instrument.HISTOGRAM)

try:
    VERSION = version("otel-ws")
except PackageNotFoundError:  # a source tree that was never installed
    VERSION = "0+unknown"


def nothing(fanout: Fanout) -> None:
    """There is no cheap way: an install without the SDK."""
    fanout.is_fast = True


def alone(fanout: Fanout) -> bool:
    """There are no others: a recorder of a test."""
    return True


def random_uuid() -> str:
    """A random UUID (RFC 9562, version 4) as text, at a third of the price of ``uuid.uuid4``."""
    digits = f"{random.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Identified(Protocol):
    """Whatever an event is about, as far as its ids go."""

    @property
    def ids(self) -> Cleared:
        """Cleared ids."""


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
        new_id: Callable[[], object] = random_uuid,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.clock = clock
        self.now_ns = now_ns
        self.new_id = new_id
        policy.learn(settings)
        self.ledger = Ledger()
        self.live = Live(clock, settings.metric_ids, lambda: policy.heartbeat and policy.heartbeat[1])
        self.deliveries = Deliveries(self.ledger, policy)
        # Live metrics that a door knows.
        self.sources: dict[Metric, Callable[[], Iterable[tuple[Labels, float]]]] = {}
        self.spans = Spans(tracer_provider, VERSION, settings, random_ratio)
        self.metrics = metrics_for(meter_provider, VERSION)
        self.metrics.source = self
        # Histograms that readers cannot take from the ledger; `sdk` empties this where they can.
        self.by_api: frozenset[Metric] = HISTOGRAMS
        self.tells_sends = True
        # Whether the cheap ways into the SDK were looked for, and what looks for them.
        self.is_fast = False
        self.fast_ways: set[str] = set()
        self.speed_up: Callable[[Fanout], None] = nothing
        # Connections that are open or being opened, on all event loops.
        self.attempts = 0
        self._consumers: dict[type, str] = {}
        self.on_close: list[Callable[[], None]] = []
        # What is done once a second while there are connections, and when there were none for a while.
        self.on_pulse: list[Callable[[], None]] = []
        self.on_idle: list[Callable[[], None]] = []
        # Once this process does the work, and does not only start those that do, it joins the others of the host.
        self.join: Callable[[Fanout], bool] = alone
        self.has_joined = False
        self._joining = threading.Lock()
        self._by_door: dict[tuple[str, str], Tally] = {}
        self._tallies: dict[tuple[tuple[str, ...], str | None, str], Tally] = {}
        self.writers: tuple[EventWriter, ...] = (Events(logger_provider, VERSION),)
        if settings.json_log:
            self.writers += (Lines(settings.json_log),)
        if settings.console_log:
            self.writers += (Lines("stderr", for_people(is_colourful(2, os.environ))),)
        # The last events and spans, where somebody asked for them; `sdk` brings the spans.
        self.recent = Recent(render) if settings.recent else None
        if self.recent is not None:
            self.writers += (self.recent,)
            self.on_pulse.append(self.recent.publish)

    # --- writing ----------------------------------------------------------------------------------------
    def event(
        self,
        event: Event,
        about: Identified | None,
        raw: Mapping[Attribute, object],
        span: Any = None,
    ) -> None:
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
        self.by_api_observe(metric, labels, value)

    def take_over(self, histograms: frozenset[Metric]) -> None:
        """Readers take these from the ledger: they need no call of the API."""
        self.by_api = HISTOGRAMS - histograms
        self.tells_sends = bool(self.by_api) or self.settings.send_spans != "off" or self.settings.delivery_events

    def by_api_observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Put a value into OpenTelemetry's histogram, where that metric goes this way."""
        if metric in self.by_api:
            self.metrics.observe(metric, labels, value)

    def is_heard(self) -> bool:
        """Whether any event writer would hand an event on."""
        # A generator costs more than its answer, and this is asked at every connection.
        for writer in self.writers:  # noqa: SIM110
            if writer.is_wanted():
                return True
        return False

    def is_traced(self) -> bool:
        """Whether spans, or at least their ids in event records, go anywhere."""
        return self.spans.maker.is_taken() or self.is_heard()

    def consumer_met(self, consumer: type) -> str:
        """A consumer's class handles a connection: its message types are declared, its name is handed back."""
        name = self._consumers.get(consumer)
        if name is None:
            declared = getattr(consumer, "message_types", ())
            if isinstance(declared, Iterable) and not isinstance(declared, str):
                self.policy.declare(semconv.MESSAGE_TYPE, declared)
            name = self._consumers[consumer] = consumer.__name__
            self.policy.met(semconv.CONSUMER, (name,))
            self.policy.met(semconv.HANDLER, dir(consumer))
        return name

    def tally(self, parts: tuple[str, ...], route: str | None, transport: str) -> Tally:
        """The busy series of one route on one transport; the route as its routers' parts, or whole."""
        tally = self._tallies.get((parts, route, transport))
        if tally is None:
            if route is None:
                whole = "".join(parts)
                route = semconv.OTHER if semconv.OTHER in parts else f"/{whole.lstrip('/')}"
            label = self.policy.route(route)
            tally = self._by_door.get((label, transport)) or Tally(self.ledger, (label, transport))
            self._by_door[tally.door] = tally
            if label != semconv.OTHER or route == semconv.OTHER:
                # A route that found no room is asked for anew, and counted, each time.
                self._tallies[parts, None if parts else route, transport] = tally
        return tally

    # --- reading ----------------------------------------------------------------------------------------
    def read(self, metric: Metric) -> Iterable[tuple[Labels, float]]:
        """Every series of a counter or gauge, wherever it is kept."""
        if metric is semconv.REDACTIONS:
            return [(key, float(count)) for key, count in self.policy.redactions().items()]
        if metric is semconv.TELEMETRY_ERRORS:
            return [((place,), float(count)) for place, count in faults.snapshot().items()]
        if (source := self.sources.get(metric)) is not None:
            return source()
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

    def serves(self) -> None:
        """A connection, a worker's task or a server's start-up comes: this process is none that only starts others."""
        if self.has_joined:
            return
        with self._joining:
            if not self.has_joined:
                try:
                    self.has_joined = self.join(self)
                except Exception as exc:
                    self.has_joined = True
                    faults.fault("processes", exc)

    def flush(self) -> None:
        """Hand over what our own writers hold."""
        for writer in self.writers:
            try:
                writer.flush()
            except Exception as exc:
                faults.fault("flush", exc)

    def close(self) -> None:
        """Stop: instruments fall silent, lines are written out."""
        if self.metrics.source is self:
            self.metrics.source = None
        for end in (*self.on_close, *(writer.close for writer in self.writers)):
            try:
                end()
            except Exception as exc:
                faults.fault("close", exc)

    def after_fork(self) -> None:
        """In a forked child: what was counted and who is connected is the parent's."""
        self.attempts = 0
        self.has_joined = False
        self._joining = threading.Lock()
        self.policy.after_fork()
        self.ledger.after_fork()
        self.live.after_fork()
        for writer in self.writers:
            if isinstance(writer, (Lines, Recent)):
                writer.after_fork()
