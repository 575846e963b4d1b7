"""Metrics of every make, as they may leave: name, description, unit, attributes, exemplars, scope, resource.

Points whose attributes became equal are one point. It refuses to know who collects, and where the points go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import MetricsData

from otel_ws import faults, semconv
from otel_ws.foreign import Foreign
from otel_ws.gate.origin import Origin, is_ours
from otel_ws.gate.points import merged, without_attributes

SIGNAL: Final = "metrics"
_OWN: Final = {metric.name: metric for metric in semconv.METRICS}


class MetricClearing:
    """Clears what a reader collected."""

    def __init__(self, foreign: Foreign, origin: Origin) -> None:
        self._foreign = foreign
        self._origin = origin

    def data(self, data: MetricsData) -> MetricsData | None:
        """One collection on its way into a reader or exporter."""
        if data is None:
            return None
        resources = []
        for resource in data.resource_metrics:
            scopes = []
            for scope in resource.scope_metrics:
                metrics = [one for one in (self._metric(scope.scope, metric) for metric in scope.metrics) if one]
                if metrics:
                    cleared: Any = self._origin.scope(SIGNAL, scope.scope)
                    scopes.append(replace(scope, scope=cleared, metrics=metrics, schema_url=cleared.schema_url))
            kept = self._origin.resource(resource.resource)
            resources.append(replace(resource, resource=kept, scope_metrics=scopes, schema_url=kept.schema_url))
        return replace(data, resource_metrics=resources)

    def _metric(self, scope: Any, metric: Any) -> Any:
        try:
            own = _OWN.get(metric.name) if is_ours(scope) and type(metric.name) is str else None
            if own is not None:
                # Labels of ours are cleared before they are counted.
                return replace(metric, description=own.brief, data=self._data(metric.data, is_own=True))
            named = self._foreign.metric(metric.name, metric.unit)
            if named is None:
                return None
            return replace(metric, name=named[0], description="", unit=named[1], data=self._data(metric.data))
        except Exception as exc:
            # What cannot be looked at does not leave; the others do.
            faults.fault("gate.metrics", exc)
            return None

    def _data(self, data: Any, is_own: bool = False) -> Any:
        changed = False
        points = []
        for point in data.data_points:
            attributes = None if is_own else self._foreign.attributes(SIGNAL, point.attributes)
            exemplars = without_attributes(point.exemplars)
            if attributes is not None:
                changed = True
                point = replace(point, attributes=attributes, exemplars=exemplars)
            elif exemplars is not point.exemplars:
                point = replace(point, exemplars=exemplars)
            points.append(point)
        return replace(data, data_points=merged(data, points) if changed else points)
