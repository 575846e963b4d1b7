"""OTLP as an application sends it, past the library: requests that are made by hand, and the door that takes them.

It knows the protocol's messages and what is declared; it refuses to know what becomes of them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_ws.semconv import EVENTS, IDS, METRICS, SCOPE_NAME, SUBPROTOCOL, Attribute, Instrument, Kind, Metric
from tests.collector.stack.programs import Stack, call

if TYPE_CHECKING:
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

DELTA, CUMULATIVE = 1, 2
SERVER, CLIENT = 2, 3
ID = "1234567890123456789"
SAMPLES = {
    Kind.ID: ID,
    Kind.CODE: "MSG_RATE",
    Kind.CODE_NAME: "code_name",
    Kind.TEMPLATE: "/ws/match/{match_id}/",
    Kind.NUMBER: 7,
    Kind.FLAG: True,
    Kind.CLOSE_CODE: 1000,
}


@dataclass(frozen=True)
class Service:
    """Who sends: the resource."""

    name: str
    namespace: str = "stack"
    environment: str = "test"
    instance: str = field(default_factory=lambda: secrets.token_hex(8))

    def attributes(self) -> dict[str, str]:
        """The resource's attributes."""
        return {
            "service.name": self.name,
            "service.namespace": self.namespace,
            "deployment.environment.name": self.environment,
            "service.instance.id": self.instance,
        }

    def selector(self) -> str:
        """The service's series and streams."""
        return f'{{service_name="{self.name}"}}'


def put(pairs: Any, attributes: Mapping[str, object]) -> None:
    """Fill an OTLP list of attributes."""
    for key, value in attributes.items():
        target = pairs.add(key=key).value
        if isinstance(value, bool):
            target.bool_value = value
        elif isinstance(value, int):
            target.int_value = value
        elif isinstance(value, float):
            target.double_value = value
        else:
            target.string_value = str(value)


def _resource(resource: Resource, service: Service) -> None:
    put(resource.attributes, service.attributes())


def post(stack: Stack, request: Message, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Hand a request to the collector; the status and text of its answer."""
    doors: dict[Any, str] = {
        ExportTraceServiceRequest: "/v1/traces",
        ExportMetricsServiceRequest: "/v1/metrics",
        ExportLogsServiceRequest: "/v1/logs",
    }
    said = {"content-type": "application/x-protobuf", **(headers or {})}
    return call(stack.url("collector", doors[type(request)]), request.SerializeToString(), said)


# --- metrics ------------------------------------------------------------------------------------------------
def sample(attribute: Attribute) -> object:
    """A value that an attribute may have."""
    if attribute is SUBPROTOCOL:
        return "json"
    return attribute.choices[0] if attribute.choices else SAMPLES[attribute.kind]


def labels_of(metric: Metric) -> dict[str, str]:
    """A value for each label that a metric is declared with."""
    found = {
        name: str(sample(attribute)) for name, attribute in zip(metric.label_names, metric.labels, strict=True) if name
    }
    if metric.name == "ws.active_connections.by_id":
        found["tournament_id"] = ID
    return found


@dataclass(frozen=True)
class Series:
    """A series and what it has reached; of a histogram so many values, all in its first bucket."""

    name: str
    instrument: Instrument
    labels: Mapping[str, object]
    value: float
    unit: str = ""
    bounds: Sequence[float] = ()
    temporality: int = CUMULATIVE


def declared(metric: Metric, labels: Mapping[str, object], value: float) -> Series:
    """A series of the vocabulary."""
    return Series(metric.name, metric.instrument, labels, value, metric.unit, metric.bounds)


def numbers(service: Service, series: Iterable[Series], began: int = 0, now: int = 0) -> ExportMetricsServiceRequest:
    """A point of each series, in nanoseconds since when (default: a minute ago) and of when (default: now)."""
    now = now or time.time_ns()
    times = {"start_time_unix_nano": began or now - 60 * 10**9, "time_unix_nano": now}
    request = ExportMetricsServiceRequest()
    scoped = request.resource_metrics.add()
    _resource(scoped.resource, service)
    scope = scoped.scope_metrics.add()
    scope.scope.name = SCOPE_NAME
    made: dict[str, Any] = {}
    for one in series:
        if one.name not in made:
            made[one.name] = scope.metrics.add(name=one.name, unit=one.unit)
        metric: Any = made[one.name]
        point: Any
        if one.instrument is Instrument.HISTOGRAM:
            metric.histogram.aggregation_temporality = one.temporality
            point = metric.histogram.data_points.add(
                count=int(one.value),
                sum=one.value * one.bounds[0] / 2,
                explicit_bounds=one.bounds,
                bucket_counts=[int(one.value), *[0] * len(one.bounds)],
                **times,
            )
        elif one.instrument is Instrument.GAUGE:
            point = metric.gauge.data_points.add(as_double=one.value, **times)
        else:
            metric.sum.aggregation_temporality = one.temporality
            metric.sum.is_monotonic = one.instrument is Instrument.COUNTER
            point = metric.sum.data_points.add(as_double=one.value, **times)
        put(point.attributes, one.labels)
    return request


def metrics(service: Service, wanted: Iterable[Metric] = METRICS, *, value: float = 3) -> ExportMetricsServiceRequest:
    """One point of each metric, with every label that it is declared with; one value in a histogram."""
    return numbers(
        service,
        [declared(one, labels_of(one), 1 if one.instrument is Instrument.HISTOGRAM else value) for one in wanted],
    )


# --- spans --------------------------------------------------------------------------------------------------
@dataclass
class Span:
    """What a span is made of; ids are made when they are not given."""

    name: str = "heartbeat /ws/global/"
    attributes: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.01
    failed: bool = False
    trace_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    span_id: bytes = field(default_factory=lambda: secrets.token_bytes(8))
    link: Span | None = None
    parent: Span | None = None
    kind: int = SERVER


def spans(service: Service, made: Iterable[Span]) -> ExportTraceServiceRequest:
    """Spans of one service."""
    now = time.time_ns()
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add()
    _resource(scoped.resource, service)
    scope = scoped.scope_spans.add()
    scope.scope.name = SCOPE_NAME
    for one in made:
        span = scope.spans.add(
            trace_id=one.trace_id,
            span_id=one.span_id,
            name=one.name,
            kind=one.kind,
            parent_span_id=one.parent.span_id if one.parent else b"",
            start_time_unix_nano=now - int(one.seconds * 10**9),
            end_time_unix_nano=now,
        )
        put(span.attributes, one.attributes)
        span.status.code = 2 if one.failed else 0
        if one.link is not None:
            span.links.add(trace_id=one.link.trace_id, span_id=one.link.span_id)
    return request


# --- logs ---------------------------------------------------------------------------------------------------
def events(service: Service) -> ExportLogsServiceRequest:
    """One record of each declared event, with every field and every id."""
    now = time.time_ns()
    request = ExportLogsServiceRequest()
    scoped = request.resource_logs.add()
    _resource(scoped.resource, service)
    scope = scoped.scope_logs.add()
    scope.scope.name = SCOPE_NAME
    for place, event in enumerate(EVENTS):
        record = scope.log_records.add(
            time_unix_nano=now + place,
            severity_number=event.level.value,
            severity_text=event.level.name,
            event_name=event.name,
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
        )
        record.body.string_value = event.message
        put(record.attributes, {one.key: sample(one) for one in (*IDS, *event.fields)})
    return request


def numbered_logs(service: Service, count: int, first: int = 0) -> ExportLogsServiceRequest:
    """Records that are told apart by ``match.id``."""
    now = time.time_ns()
    request = ExportLogsServiceRequest()
    scoped = request.resource_logs.add()
    _resource(scoped.resource, service)
    scope = scoped.scope_logs.add()
    for place in range(first, first + count):
        record = scope.log_records.add(time_unix_nano=now + place, severity_number=9, event_name="WS_MESSAGE")
        put(record.attributes, {"match.id": place})
    return request
