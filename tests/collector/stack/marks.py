"""A marked secret in every text field of the three OTLP requests, found by walking the protocol's own description.

Attributes hold one under a strange key, as a key, under a listed key, under a listed key that is there twice, and as
bytes, in a list and in a map.

It remembers where each mark was put, so that a find tells its place; it refuses to know what should stop it.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS: Final[dict[str, Any]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}
# Keys that may stay, in each message that has attributes: the value of the first is marked; the second has a value
# that may stay, and is there again with a mark; the third has a mark as bytes.
LISTED: Final = {
    "Resource": ("deployment.environment.name", ("service.namespace", "shop"), "service.instance.id"),
    "Span": ("http.route", ("user.id", "12"), "ws.message.type"),
    "Event": ("http.route", ("user.id", "12"), "ws.message.type"),
    "Link": ("http.route", ("user.id", "12"), "ws.message.type"),
    "LogRecord": ("ws.role", ("user.id", "12"), "http.route"),
    "InstrumentationScope": ("ws.role", ("user.id", "12"), "http.route"),
    "Metric": ("status", ("type", "json"), "http_route"),
    "Point": ("status", ("type", "json"), "http_route"),
}
KINDS: Final = {
    "ws.messages": "sum",
    "ws.message.latency": "histogram",
    "ws.message.size": "exponential_histogram",
    "ws.send.duration": "summary",
}
NUMBERS: Final = {"severity_number": 9, "kind": 2, "code": 2, "as_double": 1.5, "as_int": 7}


def in_bytes(text: str) -> bytes:
    """A text as bytes that base64 fills no sign up for: it would tell them from a word."""
    return text.ljust(-(-len(text) // 3) * 3).encode()


class Marks:
    """Hands marks out. A mark is two words, as a name is, or ends otherwise; it is found as any backend writes it."""

    def __init__(self, end: str = " Doe") -> None:
        self._end = end
        self.token = secrets.token_hex(3)
        # One of its own, so that nobody takes an earlier run's records for this one's.
        self.service = f"sent-{self.token}"
        self.trace_id = secrets.token_bytes(16)
        self.places: list[str] = []

    def new(self, place: str) -> str:
        """A mark for one place."""
        self.places.append(place)
        return self._text(len(self.places) - 1)

    def _text(self, number: int) -> str:
        return f"Mark{self.token}x{number:04d}{self._end}"

    def seen_in(self, text: str) -> set[str]:
        """The places whose mark stands in a text."""
        found = re.findall(rf"mark{self.token}x(\d{{4}})", text, re.IGNORECASE)
        seen = {self.places[int(number)] for number in found}
        # As JSON has bytes.
        encoded = [base64.b64encode(in_bytes(self._text(number))).decode() for number in range(len(self.places))]
        return seen | {place for place, one in zip(self.places, encoded, strict=True) if one in text}

    def request(self, signal: str) -> Any:
        """One request of a signal, with a mark wherever a text fits."""
        request = REQUESTS[signal]()
        self._fill(request, signal)
        return request

    def _fill(self, message: Any, place: str) -> None:
        kind = message.DESCRIPTOR.name
        for field in message.DESCRIPTOR.fields:
            here = f"{place}.{field.name}"
            if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
                continue
            target = getattr(message, field.name)
            if field.message_type is None:
                value = self._scalar(field, here)
                if value is None:
                    continue
                if field.is_repeated:
                    target.append(value)
                else:
                    setattr(message, field.name, value)
            elif field.message_type.name == "KeyValue":
                self._attributes(target, kind, here)
            elif field.message_type.name == "AnyValue":
                target.string_value = self.new(here)
            elif field.message_type.name == "Metric":
                self._metrics(target, here)
            else:
                self._fill(target.add() if field.is_repeated else target, here)

    def _scalar(self, field: FieldDescriptor, place: str) -> object:
        if field.type == FieldDescriptor.TYPE_STRING:
            return self.new(place)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.trace_id if field.name == "trace_id" else self.trace_id[:8]
        if field.name.endswith("time_unix_nano"):
            return time.time_ns() - (10**9 if field.name.startswith("start") else 0)
        return NUMBERS.get(field.name)

    def _attributes(self, pairs: Any, kind: str, place: str) -> None:
        pairs.add(key="display.name").value.string_value = self.new(f"{place}[a key that is not listed]")
        pairs.add(key=self.new(f"{place}[the key]")).value.string_value = "x"
        listed, (twice, fits), other = LISTED[kind]
        pairs.add(key=listed).value.string_value = self.new(f"{place}[a listed key]")
        pairs.add(key=twice).value.string_value = fits
        pairs.add(key=twice).value.string_value = self.new(f"{place}[a listed key, again]")
        pairs.add(key=other).value.bytes_value = in_bytes(self.new(f"{place}[a listed key, as bytes]"))
        inner = pairs.add(key="match.id").value.array_value.values.add()
        inner.string_value = self.new(f"{place}[a listed key, in a list]")
        inner = pairs.add(key="tournament.id").value.kvlist_value.values.add(key="inner").value
        inner.string_value = self.new(f"{place}[a listed key, in a map]")
        if kind == "Resource":
            pairs.add(key="service.name").value.string_value = self.service

    def _metrics(self, metrics: Any, place: str) -> None:
        for name, kind in {**KINDS, self.new(f"{place}.name"): "gauge"}.items():
            texts = {part: self.new(f"{place}.{kind}.{part}") for part in ("description", "unit")}
            metric = metrics.add(name=name, **texts)
            self._attributes(metric.metadata, "Metric", f"{place}.{kind}.metadata")
            self._point(getattr(metric, kind), kind, f"{place}.{kind}")

    def _point(self, body: Any, kind: str, place: str) -> None:
        now = time.time_ns()
        point = body.data_points.add(start_time_unix_nano=now - 10**9, time_unix_nano=now)
        self._attributes(point.attributes, "Point", f"{place}.attributes")
        if kind not in ("gauge", "summary"):
            body.aggregation_temporality = 2
        if kind in ("sum", "gauge"):
            point.as_double = 1.0
            if kind == "sum":
                body.is_monotonic = True
        else:
            point.count, point.sum = 1, 0.2
        if kind == "histogram":
            point.explicit_bounds.append(1.0)
            point.bucket_counts.extend([1, 0])
        if kind == "exponential_histogram":
            point.positive.bucket_counts.append(1)
        if kind != "summary":
            exemplar = point.exemplars.add(
                time_unix_nano=now, as_double=0.2, trace_id=self.trace_id, span_id=self.trace_id[:8]
            )
            value = exemplar.filtered_attributes.add(key="user.name").value
            value.string_value = self.new(f"{place}.exemplar.filtered_attributes")
