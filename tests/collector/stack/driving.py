"""What the example never does, sent by hand, so that every panel has something to show: HTTP, database, losses.

It knows what is declared, and counts what it sends as the example's clients do; it refuses to know who reads it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_ws.semconv import BROADCASTS, METRICS, READINESS, Instrument, Metric
from tests.collector.stack import sending
from tests.collector.stack.example import Count
from tests.collector.stack.programs import Stack

HTTP, DATABASE = "http.server.request.duration", "db.client.operation.duration"
BOUNDS = (0.01, 0.1, 1.0)
ROUNDS, PAUSE = 4, 2.0
EACH = 5
KINDS = {sending.SERVER: "SPAN_KIND_SERVER", sending.CLIENT: "SPAN_KIND_CLIENT"}
# Half full, half busy: what is a share of one is never more.
SHARE = 0.5
FOREIGN: dict[str, list[dict[str, object]]] = {
    HTTP: [
        {"http.request.method": "GET", "http.route": "/prices/", "http.response.status_code": code}
        for code in (200, 404, 503)
    ],
    DATABASE: [{"db.system.name": "postgresql", "db.operation.name": name} for name in ("SELECT", "UPDATE")],
}
SPANS = (
    sending.Span(
        "GET /prices/",
        {"http.route": "/prices/", "http.request.method": "GET", "http.response.status_code": 503},
        seconds=2.5,
        failed=True,
    ),
    sending.Span("SELECT", {"db.system.name": "postgresql"}, failed=True, kind=sending.CLIENT),
    sending.Span("connect /ws/global/", {"ws.outcome": "accepted"}, seconds=1.5),
    sending.Span("connect /ws/global/", {"ws.outcome": "rejected"}),
    sending.Span("move /ws/global/", {"ws.outcome": "error", "ws.message.type": "move"}, seconds=0.8, failed=True),
    sending.Span("move /ws/global/", {"ws.outcome": "permission_denied", "ws.message.type": "move"}, seconds=0.2),
    sending.Span("publish global", {"messaging.destination.template": "global"}, seconds=0.2, failed=True),
    sending.Span("process global", {"messaging.destination.template": "global"}, seconds=0.2),
)


@dataclass
class Driven:
    """A service that exists only here, what it counted, and when it had sent all."""

    service: sending.Service
    counts: list[Count] = field(default_factory=list)
    ended: float = 0.0


def drive(stack: Stack) -> Driven:
    """Send everything that is declared, and what other instrumentations send, growing over some seconds."""
    made = Driven(sending.Service("driven"))
    began = time.time_ns()
    assert sending.post(stack, sending.events(made.service))[0] == 200
    for number in range(1, ROUNDS + 1):
        assert sending.post(stack, grown(made.service, began, number * EACH))[0] == 200
        fresh = [sending.Span(one.name, dict(one.attributes), one.seconds, one.failed, kind=one.kind) for one in SPANS]
        assert sending.post(stack, sending.spans(made.service, [*fresh, *call(fresh[0])]))[0] == 200
        time.sleep(PAUSE)
    made.counts, made.ended = list(counted()), time.time()
    return made


def drive_once_a_minute(stack: Stack, minutes: int) -> sending.Service:
    """A service that has exported once a minute, as applications do unless they are told otherwise."""
    service, now = sending.Service("once-a-minute"), time.time_ns()
    began = now - minutes * 60 * 10**9
    for minute in range(minutes + 1):
        request = grown(service, began, (minute + 1) * EACH, began + minute * 60 * 10**9)
        assert sending.post(stack, request)[0] == 200
    return service


def recover(stack: Stack) -> sending.Service:
    """A service in which something fails, and no more of it than alerts let pass: what is sent otherwise all fails."""
    service, began = sending.Service("recovered"), time.time_ns() - 60 * 10**9
    for share, when in ((0, began), (1, 0)):
        series = [
            foreign_series(HTTP, {"http.route": "/prices/", "http.response.status_code": 200}, 97 * share),
            foreign_series(HTTP, {"http.route": "/prices/", "http.response.status_code": 503}, 3 * share),
            sending.declared(READINESS, {"component": "database", "status": "error"}, share),
            sending.declared(BROADCASTS, {"status": "sent"}, 99 * share),
            sending.declared(BROADCASTS, {"status": "failed"}, share),
        ]
        assert sending.post(stack, sending.numbers(service, series, began, when))[0] == 200
    return service


def call(answered: sending.Span) -> list[sending.Span]:
    """A call of a service to itself, which the service graph has as an edge."""
    asked = sending.Span("GET", kind=sending.CLIENT)
    return [asked, sending.Span(answered.name, dict(answered.attributes), parent=asked, trace_id=asked.trace_id)]


def labels(metric: Metric) -> Iterator[dict[str, str]]:
    """Labels of a metric's points: each choice of each label once."""
    usual = sending.labels_of(metric)
    yield usual
    for label, attribute in zip(metric.label_names, metric.labels, strict=True):
        for choice in attribute.choices:
            if label and usual.get(label) != choice:
                yield {**usual, label: choice}


def value_of(metric: Metric, number: int) -> float:
    """A value that makes sense for a metric's unit."""
    return SHARE if metric.unit == "1" else float(number)


def grown(service: sending.Service, began: int, number: int, now: int = 0) -> ExportMetricsServiceRequest:
    """Every metric, its counters and histograms with so many of everything since the beginning."""
    series = [sending.declared(metric, said, value_of(metric, number)) for metric in METRICS for said in labels(metric)]
    foreign = [foreign_series(name, said, number) for name, points in FOREIGN.items() for said in points]
    return sending.numbers(service, [*series, *foreign], began, now)


def foreign_series(name: str, said: Mapping[str, object], number: int) -> sending.Series:
    """What another instrumentation measures, in seconds, all of it quick."""
    return sending.Series(name, Instrument.HISTOGRAM, said, number, "s", BOUNDS)


def counted() -> Iterator[Count]:
    """How many of everything were sent, as the example's clients write it down."""
    number = ROUNDS * EACH
    for metric in METRICS:
        for said in labels(metric):
            if metric.instrument is Instrument.HISTOGRAM:
                yield Count(metric.name, "count", said, number)
                yield Count(metric.name, "sum", said, number * metric.bounds[0] / 2)
            elif metric.instrument is Instrument.COUNTER:
                yield Count(metric.name, "value", said, value_of(metric, number))
    for name, points in FOREIGN.items():
        for attributes in points:
            said = {key.replace(".", "_"): str(value) for key, value in attributes.items()}
            yield Count(name, "count", said, number)
    calls = [(one.name, one.kind) for one in SPANS] + [("GET", sending.CLIENT), (SPANS[0].name, sending.SERVER)]
    for (name, kind), group in itertools.groupby(sorted(calls)):
        said = {"span_name": name, "span_kind": KINDS[kind]}
        number = ROUNDS * len(list(group))
        yield Count("traces.span.metrics.calls", "value", said, number)
        yield Count("traces.span.metrics.duration", "count", said, number)
