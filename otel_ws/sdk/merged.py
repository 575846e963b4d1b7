"""One reader's data with the numbers of all workers in it, where whichever of them is asked answers for all.

It knows the SDK's points and what the processes of a host say together. It refuses to know how the answer is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.resources import Resource

from otel_ws.processes import Overview
from otel_ws.sdk import _private
from otel_ws.sdk.bridge import point
from otel_ws.semconv import ACTIVE_BY_ID, METRICS, SCOPE_NAME, Instrument, Metric
from otel_ws.signals.metrics import Metrics, whole

# Of the process that happened to be asked.
_OF_ONE: Final = "service.instance.id"


def of_all(data: MetricsData, seen: Overview, metrics: Metrics, provider: MeterProvider) -> tuple[MetricsData, int]:
    """The data with otel-ws's own metrics for all processes, and how many metrics are left out.

    Left out are, where several processes serve, those that nobody adds up: the instruments of others, and ours that a
    View is about. Of one worker at random they would rise and fall with each answer.
    """
    viewed = {one for one, made in metrics.instruments.items() if _private.is_matched_by_view(provider, made)}
    ours = list(_metrics(seen, metrics, viewed))
    names = {metric.name for metric in METRICS if metric not in viewed}
    scope = _private.scope_of(next(iter(metrics.instruments.values())))
    left_out = 0
    resources: list[ResourceMetrics] = []
    for resource in data.resource_metrics:
        scopes: list[ScopeMetrics] = []
        for one in resource.scope_metrics:
            is_own = one.scope.name == SCOPE_NAME
            others = [metric for metric in one.metrics if not is_own or metric.name not in names]
            if seen.is_several:
                left_out += len(others)
            elif others:
                scopes.append(replace(one, metrics=others))
        if not resources:
            scopes.append(ScopeMetrics(scope, ours, scope.schema_url))
        kept = {key: value for key, value in resource.resource.attributes.items() if key != _OF_ONE}
        told = Resource(kept, resource.resource.schema_url)
        resources.append(replace(resource, resource=told, scope_metrics=scopes))
    return replace(data, resource_metrics=resources), left_out


def _metrics(seen: Overview, metrics: Metrics, without: set[Metric]) -> Iterable[SdkMetric]:
    now_ns, start_ns = time.time_ns(), int(seen.started * 1e9)
    for metric in METRICS:
        if metric in without:
            continue
        points: list[Any]
        if metric.instrument is Instrument.HISTOGRAM:
            points = [
                point(metric, metrics.named(metric, labels), one, start_ns, now_ns, [])
                for labels, one in seen.snapshot.distributions[metric].items()
            ]
        else:
            found: Iterable[tuple[dict[str, str], float]]
            if metric is ACTIVE_BY_ID:
                found = [({name: key}, value) for name, key, value in seen.by_id]
            else:
                series = seen.snapshot.values.get(metric, {})
                found = [(metrics.named(metric, labels), value) for labels, value in series.items()]
            points = [NumberDataPoint(attributes, start_ns, now_ns, whole(value)) for attributes, value in found]
        if points:
            yield SdkMetric(metric.name, metric.brief, metric.unit, _data(metric, points))


def _data(metric: Metric, points: list[Any]) -> Any:
    cumulative = AggregationTemporality.CUMULATIVE
    if metric.instrument is Instrument.HISTOGRAM:
        return Histogram(points, cumulative)
    if metric.instrument is Instrument.GAUGE:
        return Gauge(points)
    return Sum(points, cumulative, metric.instrument is Instrument.COUNTER)
