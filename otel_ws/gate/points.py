"""Data points that have become one series: added up as the data model of OpenTelemetry says.

It knows the four kinds of points, and refuses to know why their attributes are equal.

Source: OpenTelemetry metrics data model, "Overlap" and "Exponential buckets: merging"
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, Final

from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogram,
    Gauge,
    Histogram,
)

# As many buckets as the SDK keeps by default.
_MAX_SIZE: Final = 160


def without_attributes(exemplars: Sequence[Any]) -> Sequence[Any]:
    """Exemplars with their value, time and ids alone; the same sequence where they have no more."""
    if not any(one.filtered_attributes for one in exemplars):
        return exemplars
    return [replace(one, filtered_attributes={}) for one in exemplars]


def merged(data: Any, points: Iterable[Any]) -> list[Any]:
    """The points of one metric with each set of attributes once; ``data`` tells what kind they are of."""
    series: dict[Any, list[Any]] = {}
    for point in points:
        series.setdefault(_key(point.attributes), []).append(point)
    kind = type(data)
    add = _histogram if kind is Histogram else _exponential if kind is ExponentialHistogram else _sum
    if kind is Gauge:
        add = _last
    return [same[0] if len(same) == 1 else reduce(add, same) for same in series.values()]


def _key(attributes: Mapping[str, Any] | None) -> Any:
    # The type counts: 1, 1.0 and True are equal, and are different values of an attribute.
    return frozenset((key, type(value), value) for key, value in (attributes or {}).items())


def _sum(one: Any, other: Any) -> Any:
    return replace(one, value=one.value + other.value, **_common(one, other, 1))


def _last(one: Any, other: Any) -> Any:
    return other if (other.time_unix_nano or 0) >= (one.time_unix_nano or 0) else one


def _histogram(one: Any, other: Any) -> Any:
    bounds, counts = one.explicit_bounds, [*one.bucket_counts]
    if tuple(bounds) == tuple(other.explicit_bounds) and len(counts) == len(other.bucket_counts):
        counts = [a + b for a, b in zip(counts, other.bucket_counts, strict=True)]
    else:
        # Buckets of different bounds cannot be added; the count and the sum can.
        bounds, counts = (), [one.count + other.count]
    return replace(
        one,
        count=one.count + other.count,
        sum=one.sum + other.sum,
        bucket_counts=counts,
        explicit_bounds=bounds,
        **_extremes(one, other),
        **_common(one, other, len(counts)),
    )


def _exponential(one: Any, other: Any) -> Any:
    # One step down in scale makes two buckets one: as many steps as both points need to fit.
    scale = min(one.scale, other.scale)
    sides = {}
    for name in ("positive", "negative"):
        counts = _counts((getattr(one, name), one.scale - scale), (getattr(other, name), other.scale - scale))
        sides[name] = counts
    steps = max(_steps(counts) for counts in sides.values())
    return replace(
        one,
        count=one.count + other.count,
        sum=one.sum + other.sum,
        scale=scale - steps,
        zero_count=one.zero_count + other.zero_count,
        flags=one.flags | other.flags,
        **{name: _laid_out(counts, steps) for name, counts in sides.items()},
        **_extremes(one, other),
        **_common(one, other, _MAX_SIZE),
    )


def _counts(*sides: tuple[Buckets, int]) -> dict[int, int]:
    """How many values each bucket has, by its index after so many steps down."""
    counts: dict[int, int] = {}
    for buckets, steps in sides:
        for place, count in enumerate(buckets.bucket_counts):
            if count:
                index = (buckets.offset + place) >> steps
                counts[index] = counts.get(index, 0) + count
    return counts


def _steps(counts: Mapping[int, int]) -> int:
    """How far the scale must go down for the buckets to be few enough."""
    steps = 0
    while counts and (max(counts) >> steps) - (min(counts) >> steps) >= _MAX_SIZE:
        steps += 1
    return steps


def _laid_out(counts: Mapping[int, int], steps: int) -> Buckets:
    if not counts:
        return Buckets(offset=0, bucket_counts=[])
    first = min(counts) >> steps
    found = [0] * ((max(counts) >> steps) - first + 1)
    for index, count in counts.items():
        found[(index >> steps) - first] += count
    return Buckets(offset=first, bucket_counts=found)


def _extremes(one: Any, other: Any) -> dict[str, Any]:
    """The least and the greatest value, where both points know theirs."""
    return {
        name: None
        if None in (getattr(one, name), getattr(other, name))
        else pick(getattr(one, name), getattr(other, name))
        for name, pick in (("min", min), ("max", max))
    }


def _common(one: Any, other: Any, exemplars: int) -> dict[str, Any]:
    started = [point.start_time_unix_nano for point in (one, other) if point.start_time_unix_nano is not None]
    newest = sorted((*one.exemplars, *other.exemplars), key=lambda found: -found.time_unix_nano)
    return {
        "start_time_unix_nano": min(started, default=None),
        "time_unix_nano": max(one.time_unix_nano, other.time_unix_nano),
        "exemplars": newest[:exemplars],
    }
