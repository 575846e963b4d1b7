"""The canary: a span, a record and a point with a marked value in every place that can hold a text.

It knows every place where a text can leave, and refuses to know how one is removed.
"""

from __future__ import annotations

import time
from typing import Any, Final

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_ws.sdk._private import Exemplar
from otel_ws.semconv import ERROR_TYPE, ROUTE

MARK: Final = "canary@otel-ws.invalid"
_ATTRIBUTES: Final[dict[str, Any]] = {
    MARK: 1,
    "user.email": MARK,
    "client.address": MARK,
    ROUTE.key: MARK,
    ERROR_TYPE.key: MARK,
    "url.query": (MARK, MARK),
}
_STATE: Final = "ws"


def span() -> ReadableSpan:
    """A span with the mark in every place."""
    now = time.time_ns()
    state = TraceState([(_STATE, MARK)])
    context = SpanContext(1, 1, False, TraceFlags(TraceFlags.SAMPLED), state)
    return ReadableSpan(
        MARK,
        context,
        context,
        _resource(),
        dict(_ATTRIBUTES),
        [Event(MARK, dict(_ATTRIBUTES), now)],
        [Link(context, dict(_ATTRIBUTES))],
        SpanKind.SERVER,
        None,
        Status(StatusCode.ERROR, MARK),
        now,
        now,
        _scope(),
    )


def log_record(*, is_readable: bool) -> Any:
    """A log record with the mark in every place: as processors get it, or as exporters do."""
    made = LogRecord(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.INFO,
        severity_text=MARK,
        body={MARK: [MARK]},
        attributes=dict(_ATTRIBUTES),
        event_name=MARK,
    )
    kind = ReadableLogRecord if is_readable else ReadWriteLogRecord
    return kind(log_record=made, resource=_resource(), instrumentation_scope=_scope())


def metrics() -> MetricsData:
    """A collection with the mark in every place; one of its metrics is known, so that its point is looked at."""
    now = time.time_ns()
    exemplar = Exemplar(dict(_ATTRIBUTES), 1, now, 1, 1)
    point = NumberDataPoint(dict(_ATTRIBUTES), now, now, 1, [exemplar])
    data = Sum([point], AggregationTemporality.CUMULATIVE, True)
    found = [Metric(name, MARK, MARK, data) for name in (MARK, "http.server.active_requests")]
    scopes = [ScopeMetrics(_scope(), found, MARK)]
    return MetricsData([ResourceMetrics(_resource(), scopes, MARK)])


def is_clear(found: Any) -> bool:
    """Whether something is there and the mark is nowhere in it, whatever it is made of."""
    texts: list[str] = []
    _collect(found, texts, {}, 0)
    return bool(texts) and not any(MARK in text for text in texts)


def _collect(thing: Any, texts: list[str], seen: dict[int, Any], depth: int) -> None:
    # Only what stood in the canary, or was made from it, is here: no stranger's object.
    if id(thing) in seen or depth > 12:
        return
    # Held, so that no later object has its id.
    seen[id(thing)] = thing
    if isinstance(thing, str):
        texts.append(thing)
    elif isinstance(thing, dict):
        for pair in thing.items():
            _collect(pair, texts, seen, depth + 1)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for one in thing:
            _collect(one, texts, seen, depth + 1)
    else:
        members = dict(getattr(thing, "__dict__", {}))
        for kind in type(thing).__mro__:
            for name in getattr(kind, "__slots__", ()):
                members[name] = getattr(thing, name, None)
        if hasattr(thing, "items"):
            members["items"] = dict(thing.items())
        if isinstance(thing, LogRecord):
            # What is current in the process, and who cleared it; no exporter takes anything out of these.
            members.pop("context", None)
            members.pop("_otel_ws_cleared_by", None)
        for value in members.values():
            _collect(value, texts, seen, depth + 1)


def _scope() -> InstrumentationScope:
    return InstrumentationScope(MARK, MARK, MARK, dict(_ATTRIBUTES))


def _resource() -> Resource:
    return Resource({"user.email": MARK, "service.name": MARK, MARK: 1}, MARK)
