"""What was exported, read back from OTLP, from Prometheus text and from JSON lines into one shape."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from demo.records import Labels

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from demo.sink import Received

# Names of the same field in JSON lines and on log records and spans.
KEYS = {
    "user_id": "user.id",
    "tournament_id": "tournament.id",
    "match_id": "match.id",
    "role": "ws.role",
    "scope_type": "ws.scope.type",
    "route": "http.route",
    "subprotocol": "ws.subprotocol",
    "close_code": "ws.close.code",
    "initiator": "ws.close.initiator",
    "message_type": "ws.message.type",
    "status": "ws.outcome",
    "outcome": "ws.outcome",
    "handler": "ws.handler",
    "size": "ws.message.size",
    "reason_code": "ws.reason",
    "error_type": "error.type",
    "error_category": "error.category",
    "error_severity": "error.severity",
}
_GAUGES = {"ws.active_connections", "ws.active_users", "ws.users.dual", "ws.connection.health"}
_UNITS = {"duration": "_seconds", "latency": "_seconds", "wait": "_seconds", "lag": "_seconds", "size": "_bytes"}

# A name, and fields or attributes under their names in JSON lines.
Named = tuple[str, Mapping[str, object]]

# Metric name and part (value, count, sum) to every point: its labels and its number.
Points = dict[tuple[str, str], list[tuple[dict[str, str], float]]]


def plain(value: object) -> str:
    """One value as text, the same from JSON and from protobuf."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def any_value(value: AnyValue) -> Any:
    """The Python value of an OTLP value."""
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """OTLP attributes as a mapping."""
    return {pair.key: any_value(pair.value) for pair in pairs}


def service(resource: Any) -> str:
    """The process that exported it: each has a service name of its own here."""
    return str(attributes(resource.resource.attributes).get("service.name"))


def chosen(names: Iterable[str], get: Callable[[str], object]) -> Labels:
    """Some fields, by name, as sorted text."""
    return tuple(sorted((name, plain(get(name))) for name in names))


# --- metrics ------------------------------------------------------------------------------------------------
def otlp_points(received: Received, scope: str) -> Points:
    """The points of each process's last export: they are cumulative, so the last one holds everything."""
    points: Points = {}
    last: dict[str, Any] = {}
    for request in received.metrics:
        for resource in request.resource_metrics:
            last[attributes(resource.resource.attributes).get("service.instance.id", "")] = resource
    for resource in last.values():
        for scoped in resource.scope_metrics:
            if scoped.scope.name == scope:
                for metric in scoped.metrics:
                    _add_points(points, metric)
    return points


def _add_points(points: Points, metric: Any) -> None:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points:
        labels = {key: plain(value) for key, value in attributes(point.attributes).items()}
        if kind == "histogram":
            points.setdefault((metric.name, "count"), []).append((labels, float(point.count)))
            points.setdefault((metric.name, "sum"), []).append((labels, float(point.sum)))
        else:
            points.setdefault((metric.name, "value"), []).append((labels, point.as_double or float(point.as_int)))


def prometheus_name(metric: str, part: str) -> str:
    """The sample's name after the OTLP to Prometheus translation."""
    name = metric.replace(".", "_") + _UNITS.get(metric.rpartition(".")[2], "")
    if part != "value":
        return f"{name}_{part}"
    return name if metric in _GAUGES else f"{name}_total"


def prometheus_points(texts: Iterable[str], scope: str, wanted: Iterable[tuple[str, str]]) -> Points:
    """The same points, as far as they are wanted, from the Prometheus texts of the processes."""
    names = {prometheus_name(metric, part): (metric, part) for metric, part in wanted}
    points: Points = {}
    for family in chain.from_iterable(map(text_string_to_metric_families, texts)):
        for sample in family.samples:
            key = names.get(sample.name)
            if key is not None and sample.labels.get("otel_scope_name") == scope:
                points.setdefault(key, []).append((dict(sample.labels), float(sample.value)))
    return points


def summed(points: Points, key: tuple[str, str], names: Iterable[str]) -> Counter[Labels]:
    """Points of one metric, added up by some of their labels."""
    result: Counter[Labels] = Counter()
    kept = list(names)
    for labels, number in points.get(key, []):
        result[chosen(kept, labels.get)] += number  # type: ignore[assignment]
    return result


# --- log records and lines -----------------------------------------------------------------------------------
def log_records(received: Received, scope: str) -> Iterator[LogRecord]:
    """Every log record of an instrumentation scope."""
    for request in received.logs:
        for resource in request.resource_logs:
            for scoped in resource.scope_logs:
                if scoped.scope.name == scope:
                    yield from scoped.log_records


def otlp_events(received: Received, scope: str) -> list[Named]:
    """Events as name and fields, the fields under their names in JSON lines."""
    found: list[Named] = []
    for record in log_records(received, scope):
        said = attributes(record.attributes)
        fields: dict[str, object] = {name: said.get(key) for name, key in KEYS.items()}
        fields["trace_id"], fields["span_id"] = record.trace_id.hex(), record.span_id.hex()
        found.append((record.event_name, fields))
    return found


def json_events(lines: Iterable[str]) -> list[Named]:
    """Events from JSON lines."""
    parsed = [json.loads(line) for line in lines]
    return [(line["event"], line) for line in parsed]


def counted(found: Iterable[Named], fields_of: Mapping[str, Iterable[str]]) -> Counter[tuple[str, Labels]]:
    """How often each name occurred with the same values of the fields that matter for it."""
    return Counter((name, chosen(fields_of.get(name, ()), fields.get)) for name, fields in found)


# --- spans ---------------------------------------------------------------------------------------------------
def spans(received: Received, scope: str | None = None) -> Iterator[tuple[str, Span]]:
    """Every span with the name of its instrumentation scope, or only those of one scope."""
    for _, name, span in spans_of_processes(received):
        if scope in (None, name):
            yield name, span


def spans_of_processes(received: Received) -> Iterator[tuple[str, str, Span]]:
    """Every span with its process and its instrumentation scope."""
    for request in received.traces:
        for resource in request.resource_spans:
            for scoped in resource.scope_spans:
                yield from ((service(resource), scoped.scope.name, span) for span in scoped.spans)


def otlp_spans(received: Received, scope: str) -> list[Named]:
    """Spans as name and attributes, the attributes under the names of JSON lines."""
    found: list[Named] = []
    for _, span in spans(received, scope):
        said = attributes(span.attributes)
        found.append((span.name, {name: said.get(key) for name, key in KEYS.items()}))
    return found
