"""Metrics of every make, as they may leave: name, description, unit, attributes, exemplars, scope, resource.

Points whose attributes became equal are one point. It refuses to know who collects, and where the points go.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import MetricsData

from otel_ws import faults, semconv
from otel_ws.foreign import Foreign
from otel_ws.gate.origin import Origin, is_ours
from otel_ws.gate.points import merged, without_attributes
from otel_ws.semconv.model import Kind

SIGNAL: Final = "metrics"
_ALWAYS: Final = frozenset({semconv.OTHER, semconv.UNKNOWN})
_CLOSE_CODE: Final = re.compile(r"[1-4][0-9]{3}", re.ASCII)
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
                return replace(metric, description=own.brief, unit=own.unit, data=self._data(metric.data, own))
            named = self._foreign.metric(metric.name, metric.unit)
            if named is None:
                return None
            return replace(metric, name=named[0], description="", unit=named[1], data=self._data(metric.data))
        except Exception as exc:
            # What cannot be looked at does not leave; the others do.
            faults.fault("gate.metrics", exc)
            return None

    def _data(self, data: Any, own: semconv.Metric | None = None) -> Any:
        changed = False
        points = []
        for point in data.data_points:
            attributes = self._attributes(point.attributes, own)
            exemplars = without_attributes(point.exemplars)
            if attributes is not None:
                changed = True
                point = replace(point, attributes=attributes, exemplars=exemplars)
            elif exemplars is not point.exemplars:
                point = replace(point, exemplars=exemplars)
            points.append(point)
        return replace(data, data_points=merged(data, points) if changed else points)

    def _attributes(self, found: Any, own: semconv.Metric | None) -> dict[str, Any] | None:
        """As ``Foreign.attributes``; one under our name has our labels and no other, whoever counts there."""
        if own is None:
            return self._foreign.attributes(SIGNAL, found)
        policy = self._foreign.policy
        labels = dict(zip(own.label_names, own.labels, strict=True))
        if own is semconv.ACTIVE_BY_ID:
            labels |= {one.key.replace(".", "_"): one for one in policy.ids.values()}
        cleared: dict[str, Any] = {}
        for key, value in found.items():
            if type(key) is not str or key not in labels:
                policy.removed(SIGNAL, "undeclared")
            elif self._is_label(labels[key], value):
                cleared[key] = value
            else:
                policy.removed(SIGNAL, labels[key].kind.value)
                cleared[key] = semconv.OTHER
        return (
            None if len(cleared) == len(found) and all(found[key] is one for key, one in cleared.items()) else cleared
        )

    def _is_label(self, attribute: semconv.Attribute, value: object) -> bool:
        """Whether it is what the policy made a label of ours of: nothing new takes up room here."""
        policy, kind = self._foreign.policy, attribute.kind
        if type(value) is not str:
            return False
        if value in _ALWAYS:
            return True
        if kind is Kind.CHOICE:
            with policy.uncounted():
                return policy.value(SIGNAL, attribute, value) == value
        if kind is Kind.CLOSE_CODE:
            with policy.uncounted():
                return _CLOSE_CODE.fullmatch(value) is not None and policy.label(attribute, int(value)) == value
        if kind is Kind.ID:
            return policy.id(value) == value
        return policy.is_known(attribute, value) or (attribute is semconv.PLACE and value in faults.snapshot())
