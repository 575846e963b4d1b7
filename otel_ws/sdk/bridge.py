"""The ledger's histograms in every reader's data: a producer that the Python SDK has no public place for.

For each reader it adds points in the reader's own temporality to what the reader receives. Where it cannot (a View
of the user's, another aggregation, a foreign provider), that histogram goes by the API, and nothing else changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    MetricReader,
    MetricsData,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric

from otel_ws import faults
from otel_ws.fanout import HISTOGRAMS, Fanout
from otel_ws.ledger import Distribution, ExemplarIds
from otel_ws.sdk import _private
from otel_ws.semconv import SCOPE_NAME, Metric
from otel_ws.types import Labels

_Series = dict[tuple[Metric, Labels], Distribution]


class Bridge:
    """Adds the ledger's histograms to what each reader of one provider receives."""

    def __init__(self, fanout: Fanout, provider: MeterProvider) -> None:
        """Take over the histograms that can be taken over.

        Raises:
            ShapeError: the SDK does not look as expected; nothing was changed.
        """
        self._fanout = fanout
        self._provider = provider
        self._undo: dict[MetricReader, Callable[[], None]] = {}
        self._exemplars = _private.wants_exemplars(provider)
        self.instruments = {metric: _private.real(one) for metric, one in fanout.metrics.histograms.items()}
        instruments = self.instruments
        readers = _private.readers(provider)
        self.metrics = frozenset(
            metric
            for metric in HISTOGRAMS
            if _private.is_enabled(instruments[metric])
            and not _private.is_matched_by_view(provider, instruments[metric])
            and all(_private.preference(reader, instruments[metric])[1] for reader in readers)
        )
        self.attach()
        fanout.take_over(self.metrics)

    def attach(self) -> None:
        """Intercept every reader, also one that was added since: called before each collection."""
        for reader in _private.readers(self._provider):
            if reader not in self._undo:
                state = _ReaderState(self, reader)
                self._undo[reader] = _private.intercept(reader, state.changed)

    def detach(self) -> None:
        """Give every reader its own method back, and ask for no further ones."""
        if self._fanout.metrics.before_collect == self.attach:
            self._fanout.metrics.before_collect = None
        for undo in self._undo.values():
            undo()
        self._undo.clear()

    def distributions(self) -> _Series:
        """Every series that goes this way, now."""
        ledger = self._fanout.ledger
        return {
            (metric, labels): distribution
            for metric in self.metrics
            for labels, distribution in ledger.distributions(metric)
        }

    def attributes(self, metric: Metric, labels: Labels) -> dict[str, str]:
        """The labels by name."""
        return self._fanout.metrics.named(metric, labels)

    @property
    def started_ns(self) -> int:
        """Since when the ledger counts, Unix nanoseconds."""
        return self._fanout.ledger.started_ns

    def exemplars(self, distribution: Distribution, since_ns: int) -> list[Any]:
        """The exemplars that came since then, without attributes."""
        return [_exemplar(one) for one in distribution.exemplars if one[1] > since_ns] if self._exemplars else []


class _ReaderState:
    """What one reader has seen: needed for delta temporality, and to give an exemplar once."""

    def __init__(self, bridge: Bridge, reader: MetricReader) -> None:
        self._bridge = bridge
        instrument = next(iter(bridge.instruments.values()))
        self._scope = _private.scope_of(instrument)
        self._temporality = _private.preference(reader, instrument)[0]
        self._before: _Series = {}
        self._started_ns = self._looked_ns = bridge.started_ns

    def changed(self, data: Any) -> Any:
        """The reader's data with our histograms among our other metrics; on a failure of ours, as it was."""
        try:
            return self._with_histograms(data)
        except Exception as exc:
            faults.fault("bridge", exc)
            return data

    def _with_histograms(self, data: MetricsData) -> MetricsData:
        now_ns = time.time_ns()
        if self._bridge.started_ns != self._started_ns:
            # A forked child: the ledger began anew, and what was seen before is the parent's.
            self._before = {}
            self._started_ns = self._looked_ns = self._bridge.started_ns
        delta = self._temporality is AggregationTemporality.DELTA
        start_ns = self._looked_ns if delta else self._bridge.started_ns
        series = self._bridge.distributions()
        points: dict[Metric, list[HistogramDataPoint]] = {}
        for (metric, labels), distribution in series.items():
            shown = _since(distribution, self._before.get((metric, labels))) if delta else distribution
            if shown.count:
                exemplars = self._bridge.exemplars(distribution, self._looked_ns)
                attributes = self._bridge.attributes(metric, labels)
                points.setdefault(metric, []).append(point(metric, attributes, shown, start_ns, now_ns, exemplars))
        metrics = [
            SdkMetric(metric.name, metric.brief, metric.unit, Histogram(found, self._temporality))
            for metric, found in points.items()
        ]
        changed = _added(data, metrics, {metric.name for metric in self._bridge.metrics}, self._scope)
        self._before, self._looked_ns = series, now_ns
        return changed


def _added(data: MetricsData, metrics: list[SdkMetric], names: set[str], own: Any) -> MetricsData:
    """The data with these metrics in our own scope, where it stands, or after the others if it does not.

    What the SDK itself still holds under their names was counted by a recorder before this one, and goes.
    """
    resources: list[ResourceMetrics] = []
    for resource in data.resource_metrics:
        scopes: list[ScopeMetrics] = []
        for scope in resource.scope_metrics:
            if scope.scope.name == SCOPE_NAME:
                kept = [one for one in scope.metrics if one.name not in names]
                scope = replace(scope, metrics=[*kept, *metrics])
                metrics = []
            scopes.append(scope)
        if metrics:
            scopes.append(ScopeMetrics(own, metrics, own.schema_url))
            metrics = []
        resources.append(replace(resource, scope_metrics=scopes))
    return replace(data, resource_metrics=resources)


def _since(now: Distribution, before: Distribution | None) -> Distribution:
    """What came after ``before``."""
    if before is None:
        return now
    buckets = tuple(n - b for n, b in zip(now.buckets, before.buckets, strict=True))
    return Distribution(buckets, now.sum - before.sum)


def point(
    metric: Metric,
    attributes: dict[str, str],
    distribution: Distribution,
    start_ns: int,
    now_ns: int,
    exemplars: list[Any],
) -> HistogramDataPoint:
    """A distribution as the SDK's point, for the time between two moments (Unix nanoseconds)."""
    # The ledger keeps no extremes: optional in OTLP, dropped by Prometheus, of no use over a process's life.
    unknown: Any = None
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=start_ns,
        time_unix_nano=now_ns,
        count=distribution.count,
        sum=distribution.sum,
        bucket_counts=distribution.buckets,
        explicit_bounds=metric.bounds,
        min=unknown,
        max=unknown,
        exemplars=exemplars,
    )


def _exemplar(ids: ExemplarIds) -> Any:
    value, time_ns, trace_id, span_id = ids
    return _private.Exemplar({}, value, time_ns, span_id, trace_id)
