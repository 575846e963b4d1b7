"""Instruments built from ``semconv``: counters and gauges are looked up when a reader collects.

Knows how numbers are handed to OpenTelemetry, not what they count. A histogram has no observable form in the
API, so its values go through ``record`` here, one call a value.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from opentelemetry.metrics import (
    CallbackOptions,
    Histogram,
    MeterProvider,
    Observation,
    get_meter_provider,
)

from otel_ws.faults import fault
from otel_ws.semconv import (
    ACTIVE_BY_ID,
    METRICS,
    SCHEMA_URL,
    SCOPE_NAME,
    Instrument,
    Metric,
)
from otel_ws.types import Labels


class Source(Protocol):
    """Where the numbers are: asked on the reader's thread."""

    def read(self, metric: Metric) -> Iterable[tuple[Labels, float]]:
        """Every series of a counter or gauge."""

    def by_id(self) -> Iterable[tuple[str, str, float]]:
        """Label name, id and number of open connections."""


class Metrics:
    """All instruments of otel-ws on one meter provider."""

    def __init__(self, provider: MeterProvider, version: str) -> None:
        meter = provider.get_meter(SCOPE_NAME, version, SCHEMA_URL)
        self.provider = provider
        self.source: Source | None = None
        self.histograms: dict[Metric, Histogram] = {}
        self.instruments: dict[Metric, Any] = {}
        self.before_collect: Callable[[], None] | None = None
        self._attributes: dict[tuple[Metric, Labels], dict[str, str]] = {}
        for metric in METRICS:
            if metric.instrument is Instrument.HISTOGRAM:
                self.instruments[metric] = self.histograms[metric] = meter.create_histogram(
                    metric.name,
                    metric.unit,
                    metric.brief,
                    explicit_bucket_boundaries_advisory=list(metric.bounds),
                )
            else:
                create = {
                    Instrument.COUNTER: meter.create_observable_counter,
                    Instrument.UP_DOWN: meter.create_observable_up_down_counter,
                    Instrument.GAUGE: meter.create_observable_gauge,
                }[metric.instrument]
                self.instruments[metric] = create(metric.name, [self._callback(metric)], metric.unit, metric.brief)

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Record one value of a histogram."""
        self.histograms[metric].record(value, self.named(metric, labels))

    def _callback(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def look(options: CallbackOptions) -> Iterable[Observation]:
            source = self.source
            if source is None:
                return []
            try:
                if self.before_collect is not None:
                    self.before_collect()
                if metric is ACTIVE_BY_ID:
                    return [Observation(whole(value), {name: key}) for name, key, value in source.by_id()]
                return [Observation(whole(value), self.named(metric, labels)) for labels, value in source.read(metric)]
            except Exception as exc:
                fault("metrics", exc)
                return []

        return look

    def named(self, metric: Metric, labels: Labels) -> dict[str, str]:
        """The labels by name, without empty ones."""
        attributes = self._attributes.get((metric, labels))
        if attributes is None:
            attributes = {name: value for name, value in zip(metric.label_names, labels, strict=True) if value}
            self._attributes[metric, labels] = attributes
        return attributes


# One per provider for the life of the process: an observable instrument cannot be unregistered. The global
# provider may be a proxy now and the SDK's later; either way it is one, so it has one entry.
_known: Final[weakref.WeakKeyDictionary[MeterProvider, Metrics]] = weakref.WeakKeyDictionary()
_global: list[Metrics] = []


def metrics_for(provider: MeterProvider | None, version: str) -> Metrics:
    """The instruments on this provider (the global one if none is given), made at the first call."""
    if provider is None or provider is get_meter_provider():
        if not _global:
            _global.append(Metrics(get_meter_provider(), version))
        return _global[0]
    metrics = _known.get(provider)
    if metrics is None:
        metrics = _known[provider] = Metrics(provider, version)
    return metrics


def whole(value: float) -> float | int:
    """A whole number as an integer, as which readers show it."""
    return int(value) if float(value).is_integer() else value
