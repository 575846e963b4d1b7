"""Telemetry that the example has no reason to send: HTTP, queries, losses. Each grows from nothing within a minute.

It knows OTLP and what a rule reads; it refuses to know which rule.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from otel_ws.semconv import (
    BROADCASTS,
    CONNECTIONS,
    LAYER_DEPTH,
    LAYER_DROPPED,
    READINESS,
    SCOPE_NAME,
    Instrument,
    Metric,
)
from tests.collector.stack.sending import CUMULATIVE, Service, labels_of, put

HTTP: Final = "http.server.request.duration"
DATABASE: Final = "db.client.operation.duration"
BOUNDS: Final = (0.01, 0.1, 1.0)
SECONDS: Final = 60


@dataclass(frozen=True)
class Grown:
    """One series, and what it has reached."""

    kind: str
    name: str
    labels: Mapping[str, object]
    number: float
    unit: str = ""


def counter(name: str, labels: Mapping[str, object], number: float) -> Grown:
    """So many of something."""
    return Grown("sum", name, labels, number)


def gauge(name: str, labels: Mapping[str, object], number: float, unit: str = "") -> Grown:
    """So much of something, all the time."""
    return Grown("gauge", name, labels, number, unit)


def histogram(name: str, labels: Mapping[str, object], number: int, unit: str = "s") -> Grown:
    """So many, all small."""
    return Grown("histogram", name, labels, number, unit)


def declared(metric: Metric, number: int = 12) -> Grown:
    """A metric of the vocabulary, with every label; of a share, half."""
    kinds = {Instrument.HISTOGRAM: "histogram", Instrument.COUNTER: "sum"}
    reached = 0.5 if metric.unit == "1" else number
    return Grown(kinds.get(metric.instrument, "gauge"), metric.name, labels_of(metric), reached, metric.unit)


UNUSUAL: Final = (
    histogram(HTTP, {"http.route": "/prices/", "http.response.status_code": 200}, 97),
    histogram(HTTP, {"http.route": "/prices/", "http.response.status_code": 503}, 3),
    histogram(DATABASE, {"db.operation.name": "SELECT"}, 100),
    gauge(LAYER_DEPTH.name, {"queue": "channel"}, 3),
    counter(CONNECTIONS.name, {"status": "connected"}, 1000),
    counter(LAYER_DROPPED.name, {"reason": "CHANNEL_FULL"}, 2),
    counter(BROADCASTS.name, {"status": "failed"}, 1),
    counter(BROADCASTS.name, {"status": "sent"}, 99),
    counter(READINESS.name, {"component": "database", "status": "error"}, 1),
    counter(READINESS.name, {"component": "cache", "status": "error"}, 0),
)
SPANS: Final[Mapping[str, Mapping[str, object]]] = {
    "GET /prices/": {"http.route": "/prices/", "http.request.method": "GET", "http.response.status_code": 503},
    "SELECT": {"db.system.name": "postgresql"},
    "connect /ws/global/": {"ws.outcome": "accepted"},
    "heartbeat /ws/global/": {"ws.message.type": "heartbeat"},
    "publish global": {"messaging.destination.template": "global"},
    "process global": {"messaging.destination.template": "global"},
}


def growing(service: Service, series: Iterable[Grown]) -> ExportMetricsServiceRequest:
    """Each series a minute ago, when there was nothing, and now."""
    now = time.time_ns()
    began = now - SECONDS * 10**9
    request = ExportMetricsServiceRequest()
    scoped = request.resource_metrics.add()
    put(scoped.resource.attributes, service.attributes())
    scope = scoped.scope_metrics.add()
    scope.scope.name = SCOPE_NAME
    for one in series:
        metric = scope.metrics.add(name=one.name, unit=one.unit)
        body: Any = getattr(metric, one.kind)
        if one.kind != "gauge":
            body.aggregation_temporality = CUMULATIVE
        if one.kind == "sum":
            body.is_monotonic = True
        for moment, number in ((began, 0 if one.kind != "gauge" else one.number), (now, one.number)):
            point = body.data_points.add(start_time_unix_nano=began, time_unix_nano=moment)
            put(point.attributes, one.labels)
            if one.kind == "histogram":
                point.count, point.sum = int(number), number * BOUNDS[0] / 2
                point.explicit_bounds.extend(BOUNDS)
                point.bucket_counts.extend([int(number), 0, 0, 0])
            else:
                point.as_double = number
    return request
