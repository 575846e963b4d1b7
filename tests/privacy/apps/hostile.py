"""Sends hostile values over every surface of the three signals through the gate, and searches the OTLP bytes.

``hostile.py --values 1000000`` prints the rate; exit code 1 if anything of a value left, with the surface and never
the value. What stands between the application and the bytes is what stands there in a process: providers made before
and after the gate, processors of strangers, the SDK's own, exporters handed things directly.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import re
import secrets
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from corpus import FITS_AN_ID, HALVES, TEXTS, Stream, needles  # type: ignore[import-not-found]
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from opentelemetry import baggage, context, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Exemplar, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricsData,
    NumberDataPoint,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from sinks import (  # type: ignore[import-not-found]
    Kept,
    Points,
    Records,
    Shipping,
    ShippingReader,
    ShippingRecords,
    Spans,
)

from otel_ws import gate, recorder
from otel_ws.gate import canary
from otel_ws.sdk.capture import exported
from otel_ws.semconv import Kind
from otel_ws.semconv.conventions import ATTRIBUTE_CONVENTIONS

SEARCH: Final = re.compile(b"|".join(map(re.escape, needles())))
# Keys that strangers use; of those that are known, a value of the wrong form may not leave either.
UNKNOWN_KEYS: Final = (
    "user.email", "user.full_name", "user.name", "enduser.id", "client.address", "net.peer.ip", "url.full", "url.path",
    "url.query", "http.url", "http.target", "http.user_agent", "http.request.header.cookie", "db.statement",
    "db.query.text", "db.collection.name", "db.user", "messaging.destination.name", "exception.message",
    "exception.stacktrace", "code.filepath", "process.command_line", "peer.service", "session.id", "order.number",
    "first", "second", "",
)  # fmt: skip
KNOWN_KEYS: Final = tuple(sorted(ATTRIBUTE_CONVENTIONS))
ID_KEYS: Final = frozenset(key for key, one in ATTRIBUTE_CONVENTIONS.items() if one.kind is Kind.ID) | {
    "user.id", "ws.connection.id", "tournament.id", "match.id",
}  # fmt: skip
NUMBER_KEYS: Final = frozenset(key for key, one in ATTRIBUTE_CONVENTIONS.items() if one.kind is Kind.NUMBER)
# A gate that lets nothing through is no gate: here something is always left.
KEPT: Final = frozenset({
    "traces: span name", "traces: span attribute key", "traces: span attribute value", "traces: event name",
    "traces: event attribute value", "traces: link attribute value", "traces: scope name",
    "traces: resource attribute value", "logs: record body", "logs: record attribute key", "logs: scope name",
    "logs: record attribute value", "logs: record event_name", "logs: resource attribute value", "metrics: metric name",
    "metrics: metric unit", "metrics: point attribute key", "metrics: point attribute value", "metrics: scope name",
    "metrics: resource attribute value",
})  # fmt: skip
KEYS_EACH: Final = 12
PIPES: Final = 24
SPANS_EACH: Final = 8
# How often one drawn list of texts is mixed anew, and how many lists are drawn at a time.
ROUNDS_EACH: Final = 4
CHUNK: Final = 50
METRIC: Final = "http.server.request.duration"


class Run:
    """One run: its stream of values, where they go, and what was found."""

    def __init__(self, kept: Kept, started: float) -> None:
        self.kept = kept
        self.stream: Any = None
        self.sent = 0
        self.bytes = 0
        self.requests = 0
        self.batches = 0
        self.leaks: Counter[str] = Counter()
        self.surfaces: Counter[str] = Counter()
        self.started = started
        self.pipes: list[Pipes] = []

    def batch(self, texts: list[str]) -> None:
        """Send everything that these texts give."""
        self.stream = Stream(texts, self.sent)
        if len(self.pipes) < PIPES:
            self.pipes.append(Pipes(self.stream, self.kept))
        pipes = self.pipes[self.batches % len(self.pipes)]
        self.batches += 1
        for _ in range(SPANS_EACH):
            pipes.emit(self.stream)
        pipes.metrics(self.stream)
        self.sent += self.stream.taken
        self.search()

    def search(self) -> None:
        """Look for canaries in the bytes, and then for their places."""
        for signal, request in self.kept.take():
            self.bytes += len(request)
            self.requests += 1
            if SEARCH.search(request.lower()):
                self.leaks[f"{signal}: OTLP bytes"] += 1
                for one in exported(signal, request):
                    raw = one.value.encode("utf-8", "surrogatepass") if isinstance(one.value, str) else one.value
                    if SEARCH.search(raw.lower()):
                        known = f" under {one.key}" if one.key in ATTRIBUTE_CONVENTIONS else ""
                        self.leaks[f"{signal}: {one.surface}{known}"] += 1
            for one in exported(signal, request):
                self.surfaces[f"{signal}: {one.surface}"] += 1


_COUNTER: Final = itertools.count()


class Pipes:
    """Three providers with a hostile resource: every second one is older than the gate."""

    def __init__(self, stream: Any, kept: Kept) -> None:
        spans, records = Spans(kept), Records(kept)
        # Every sixth is one of a careful stranger: what is clear in itself takes the quick way.
        self.is_careful = next(_COUNTER) % 6 == 5
        hostile = Resource(about(stream, kind="resource"), schema_url=str(stream.text()))
        resource = Resource({"service.name": "shop"}) if self.is_careful else hostile
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(Shipping(Spans(kept)))
        self.tracers.add_span_processor(SimpleSpanProcessor(spans))
        self.loggers.add_log_record_processor(ShippingRecords(Records(kept)))
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
        self.exporters = spans, records
        self.resource, self.kept = resource, kept
        scope: Any = ("asyncio", None, None, None) if self.is_careful else self.scope(stream)
        self.tracer = self.tracers.get_tracer(scope[0], scope[1], schema_url=scope[2], attributes=scope[3])
        self.logger = self.loggers.get_logger(scope[0], scope[1], scope[2], scope[3])

    @staticmethod
    def scope(stream: Any) -> tuple[str, str, str, dict[str, Any]]:
        """Name, version, schema and attributes of an instrumentation scope."""
        return str(stream.text()), str(stream.text()), str(stream.text()), about(stream, keys=4)

    def emit(self, stream: Any) -> None:
        """One span with everything on it, and one log record."""
        parent = SpanContext(1, 2, True, TraceFlags(1), TraceState([("v", stream.ascii()), (stream.ascii(), "1")]))
        linked = SpanContext(3, 4, True, TraceFlags(1), TraceState([("v", stream.ascii()), ("ot", stream.ascii())]))
        current = trace.set_span_in_context(NonRecordingSpan(parent))
        token = context.attach(baggage.set_baggage(stream.ascii(), stream.text(), current))
        span = self._careful(stream, linked) if self.is_careful else self._careless(stream, linked)
        span.end()
        record = LogRecord(
            timestamp=1,
            severity_number=SeverityNumber.WARN,
            severity_text=stream.text(),
            body=stream.value(),
            attributes=about(stream),
            event_name=stream.text(),
        )
        self.logger.emit(record)
        self._by_hand(span, record)
        context.detach(token)

    def _careless(self, stream: Any, linked: SpanContext) -> Any:
        """A span with everything everywhere."""
        links = [Link(linked, about(stream, keys=4))]
        span = self.tracer.start_span(stream.text(), kind=SpanKind.SERVER, attributes=about(stream), links=links)
        span.set_attributes(about(stream))
        span.add_event(stream.text(), about(stream, keys=4))
        try:
            raise ValueError(stream.text())
        except ValueError as exc:
            span.record_exception(exc, about(stream, keys=2))
        span.set_status(Status(StatusCode.ERROR, stream.text()))
        return span

    def _careful(self, stream: Any, linked: SpanContext) -> Any:
        """A span that is clear in all but one place."""
        which = stream.pick(6)
        span = self.tracer.start_span(
            stream.text() if which == 4 else "GET",
            context.Context(),
            attributes={"http.request.method": "GET"},
            links=[Link(linked, about(stream, keys=4))] if which == 0 else (),
        )
        if which == 1:
            span.add_event(stream.text(), about(stream, keys=4))
        elif which == 2:
            span.set_status(Status(StatusCode.ERROR, stream.text()))
        elif which == 3:
            span.set_attributes(about(stream))
        return span

    def _by_hand(self, span: Any, record: LogRecord) -> None:
        """Whoever holds an exporter may hand it things directly, past every processor."""
        spans, records = self.exporters
        spans.export([span._readable_span()])
        scope = span.instrumentation_scope
        records.export([ReadableLogRecord(log_record=record, resource=self.resource, instrumentation_scope=scope)])

    def metrics(self, stream: Any) -> None:
        """A collection of instruments with hostile names and of one that is known, whose point has exemplars."""
        view = View(instrument_name=METRIC, attribute_keys={"http.request.method"},
                    aggregation=ExplicitBucketHistogramAggregation())  # fmt: skip
        exporter = Points(self.kept)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=10**9)
        shipping = ShippingReader(Points(self.kept))
        provider = MeterProvider([reader, shipping], resource=self.resource, views=[view], shutdown_on_exit=False)
        scope = self.scope(stream)
        meter = provider.get_meter(scope[0], scope[1], scope[2], scope[3])
        with trace.use_span(self.tracer.start_span("x"), end_on_exit=False):
            counter = meter.create_counter(stream.ascii(), stream.ascii()[:20], stream.text())
            known = meter.create_histogram(METRIC, stream.ascii()[:20], stream.text())
            other = meter.create_up_down_counter("http.server.active_requests", "1", stream.text())
            for _ in range(SPANS_EACH // 2):
                counter.add(1, about(stream, keys=4, plain=True))
                known.record(0.1, about(stream, keys=4, plain=True))
                other.add(1, about(stream, keys=4, plain=True))
        reader.collect()
        shipping.collect()
        provider.shutdown()
        exporter.export(collected(stream, self.resource))


def collected(stream: Any, resource: Resource) -> MetricsData:
    """A collection that came from no provider."""
    exemplar = Exemplar(about(stream, keys=4), 1, 1, 1, 1)
    point = NumberDataPoint(about(stream, keys=4), 1, 1, 1, [exemplar])
    data = Sum([point], AggregationTemporality.CUMULATIVE, True)
    found = [Metric(name, stream.text(), stream.text(), data) for name in (stream.text(), METRIC)]
    name, version, url, attributes = Pipes.scope(stream)
    scopes = [ScopeMetrics(InstrumentationScope(name, version, url, attributes), found, stream.text())]
    return MetricsData([ResourceMetrics(resource, scopes, stream.text())])


def about(stream: Any, *, keys: int = KEYS_EACH, kind: str = "", plain: bool = False) -> dict[str, Any]:
    """Attributes: known keys, unknown keys, keys that are values; two halves of one value among them."""
    found: dict[str, Any] = {}
    for _ in range(keys):
        which = stream.pick(4)
        key = (
            str(stream.text()) if which == 0
            else KNOWN_KEYS[stream.pick(len(KNOWN_KEYS))] if which in (1, 2)
            else UNKNOWN_KEYS[stream.pick(len(UNKNOWN_KEYS))]
        )  # fmt: skip
        value = stream.text() if plain else stream.value()
        if key in ID_KEYS and (not isinstance(value, str) or FITS_AN_ID.fullmatch(value)):
            value = HALVES[0]
        if key in NUMBER_KEYS or (kind == "resource" and key.startswith("service.")):
            value = HALVES[1] + "@"
        found[key] = value
    if keys > 2:
        found["first"], found["second"] = HALVES
    return found


def drive(values: int, first_seed: int, progress: bool, mode: str) -> Run:
    """Send so many values and more."""
    run = Run(Kept(), time.monotonic())
    # Some providers are older than the gate, most are younger.
    run.pipes += [Pipes(Stream(["older"], 0), run.kept) for _ in range(PIPES // 4)]
    gate.install(mode, recorder.vocabulary)
    told = time.monotonic()

    @settings(
        max_examples=CHUNK, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(st.lists(TEXTS, min_size=40, max_size=60))
    def chunk(texts: list[str]) -> None:
        nonlocal told
        for _ in range(ROUNDS_EACH if run.sent < values else 0):
            run.batch(texts)
        if progress and time.monotonic() - told > 2:
            told = time.monotonic()
            rate = run.sent / (told - run.started)
            leaks = sum(run.leaks.values())
            sys.stderr.write(f"{run.sent:,} of {values:,} values, {rate:,.0f} a second, {leaks} leaks\n")

    while run.sent < values:
        # Each chunk draws from a seed of its own, which follows from the first: a run can be repeated.
        seed(first_seed + run.batches)(chunk)()
    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print one JSON object, and say by the exit code whether anything leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="repeats the run that told it")
    parser.add_argument("--mode", default="all", help="of the gate; own is the control: everything leaks")
    parser.add_argument("--unproven", action="store_true", help="believe every wall at start-up, whatever it does")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if options.unproven:
        canary.is_clear = lambda found: True
    run = drive(options.values, options.seed, not options.quiet, options.mode)
    seconds = time.monotonic() - run.started
    answer = {
        "seed": options.seed, "values": run.sent, "seconds": round(seconds, 1), "rate": round(run.sent / seconds),
        "bytes": run.bytes, "requests": run.requests, "leaks": dict(run.leaks),
        "surfaces": dict(sorted(run.surfaces.items())),
        "unencodable": run.kept.unencodable, "missing": sorted(KEPT - set(run.surfaces)),
    }  # fmt: skip
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if run.leaks or answer["missing"] or run.kept.unencodable else 0


if __name__ == "__main__":
    sys.exit(main())
