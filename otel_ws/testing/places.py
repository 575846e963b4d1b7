"""Where captured telemetry holds what is no id, choice, code name or number: places, never values.

By the decision that the gate makes too, over every surface but one: a metric's description, which stands in the code.
It refuses to know how the telemetry was captured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import Metric, MetricsData
from opentelemetry.sdk.trace import ReadableSpan

from otel_ws.foreign import Foreign
from otel_ws.semconv import CLOSE_CODE, MESSAGE_TYPE, METRICS, OTHER, ROUTE, SCOPE_NAME, TEMPLATE, Attribute

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_OWN_WORDS: Final = ("connect", "disconnect", "send", "publish", "process")
_OWN_METRICS: Final = {metric.name: dict(zip(metric.label_names, metric.labels, strict=True)) for metric in METRICS}


def shown(foreign: Foreign, span: ReadableSpan) -> str:
    """The span's name as it may be printed."""
    if _scope(span) == SCOPE_NAME:
        return span.name if _is_own_name(foreign, span.name) else OTHER
    attributes = dict(span.attributes or {})
    cleared = foreign.attributes("traces", attributes)
    return foreign.span_name(_scope(span), span.name, attributes if cleared is None else cleared)


def of_spans(foreign: Foreign, spans: Iterable[ReadableSpan]) -> Iterator[str]:
    """The places in spans."""
    for span in spans:
        name = shown(foreign, span)
        where = f"traces: span '{name}'"
        if name != span.name:
            yield f"{where} (as it may leave): name"
        yield from _keys(foreign, "traces", f"{where}: attribute", span.attributes, _scope(span))
        if span.status.description:
            yield f"{where}: status description"
        if span.context is not None:
            yield from _state(foreign, where, span.context.trace_state)
        for event in span.events:
            if foreign.event_name("traces", event.name) != event.name:
                yield f"{where}: name of an event"
            yield from _keys(foreign, "traces", f"{where}: attribute of an event", event.attributes)
        for link in span.links:
            yield from _keys(foreign, "traces", f"{where}: attribute of a link", link.attributes)
            yield from _state(foreign, f"{where}: link", link.context.trace_state)
        yield from _origin(foreign, "traces", span.instrumentation_scope, span.resource)


def of_records(foreign: Foreign, records: Iterable[ReadableLogRecord]) -> Iterator[str]:
    """The places in log records."""
    for data in records:
        record = data.log_record
        scope = getattr(data.instrumentation_scope, "name", "")
        where = f"logs: record of '{foreign.scope_name('logs', scope)}'"
        if foreign.event_name("logs", record.event_name) != (record.event_name or ""):
            yield f"{where}: event name"
        if foreign.body(record.body) != record.body:
            yield f"{where}: body"
        if foreign.severity_text(record.severity_text) != record.severity_text:
            yield f"{where}: severity text"
        yield from _keys(foreign, "logs", f"{where}: attribute", record.attributes, scope)
        yield from _origin(foreign, "logs", data.instrumentation_scope, data.resource)


def of_metrics(foreign: Foreign, collected: Iterable[MetricsData]) -> Iterator[str]:
    """The places in metrics."""
    for data in collected:
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                yield from _origin(foreign, "metrics", scope.scope, resource.resource)
                for metric in scope.metrics:
                    yield from _metric(foreign, scope.scope.name, metric)


def _metric(foreign: Foreign, scope: str, metric: Metric) -> Iterator[str]:
    own = _OWN_METRICS.get(metric.name) if scope == SCOPE_NAME else None
    fit = (metric.name, metric.unit) if own is not None else foreign.metric(metric.name, metric.unit)
    where = f"metrics: '{OTHER if fit is None else fit[0]}'"
    if fit is None:
        yield f"{where} (as it may leave): name"
    # `{order}` tells no more than `shop.orders` does.
    elif fit[1] != metric.unit and (metric.unit or "").strip("{}") not in metric.name:
        yield f"{where}: unit"
    for point in metric.data.data_points:
        if own is None:
            yield from _keys(foreign, "metrics", f"{where}: attribute", point.attributes)
        else:
            for key, value in (point.attributes or {}).items():
                if key not in own or not _is_label(foreign, own[key], value):
                    yield f"{where}: attribute {_key(key)}"
        for exemplar in getattr(point, "exemplars", ()):
            yield from _keys(foreign, "metrics", f"{where}: attribute of an exemplar", exemplar.filtered_attributes)


def _is_label(foreign: Foreign, attribute: Attribute, value: Any) -> bool:
    raw = int(value) if attribute is CLOSE_CODE and str(value).isdecimal() else value
    return foreign.policy.label(attribute, raw) == str(value)


def _keys(foreign: Foreign, signal: str, where: str, found: Mapping[str, Any] | None, scope: str = "") -> Iterator[str]:
    attributes = dict(found or {})
    cleared = foreign.attributes(signal, attributes)
    if cleared is not None:
        for key, value in attributes.items():
            # Names that otel-ws read in the code itself are more than a stranger may say.
            is_own = scope == SCOPE_NAME and foreign.policy.own(signal, key, value) == value
            if not is_own and (key not in cleared or _plain(cleared[key]) != _plain(value)):
                yield f"{where} {_key(key)}"


def _state(foreign: Foreign, where: str, state: Mapping[str, str] | None) -> Iterator[str]:
    if dict(state or {}) != foreign.trace_state(state):
        yield f"{where}: trace state"


def _origin(foreign: Foreign, signal: str, scope: Any, resource: Any) -> Iterator[str]:
    where = f"{signal}: scope '{foreign.scope_name(signal, getattr(scope, 'name', ''))}'"
    if scope is not None and scope.name != SCOPE_NAME:
        if foreign.scope_name(signal, scope.name) != scope.name:
            yield f"{where} (as it may leave): name"
        if scope.version and foreign.version(signal, scope.version) is None:
            yield f"{where}: version"
        if scope.schema_url and not foreign.schema_url(signal, scope.schema_url):
            yield f"{where}: schema URL"
        yield from _keys(foreign, signal, f"{where}: attribute", scope.attributes)
    attributes = dict(getattr(resource, "attributes", None) or {})
    cleared = foreign.resource(attributes)
    for key, value in attributes.items():
        if key not in cleared or _plain(cleared[key]) != _plain(value):
            yield f"resource: attribute {_key(key)}"


def _is_own_name(foreign: Foreign, name: str) -> bool:
    first, _, route = name.partition(" ")
    policy = foreign.policy
    known = policy.is_known(ROUTE, route) or policy.is_known(TEMPLATE, route) or route == OTHER
    return known and (first in _OWN_WORDS or policy.is_declared(MESSAGE_TYPE, first))


def _scope(span: ReadableSpan) -> str:
    return span.instrumentation_scope.name if span.instrumentation_scope is not None else ""


def _key(key: object) -> str:
    return f"'{key}'" if isinstance(key, str) and _KEY.fullmatch(key) else "(its key is no code name)"


def _plain(value: Any) -> object:
    return tuple(str(one) for one in value) if isinstance(value, (list, tuple)) else str(value)
