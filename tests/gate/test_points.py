"""Data points that became one series."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

from otel_ws.gate.points import merged

CUMULATIVE = AggregationTemporality.CUMULATIVE


def number(value: float, time: int = 1, **attributes: Any) -> NumberDataPoint:
    """A point of a sum or gauge."""
    return NumberDataPoint(attributes, 10 - time, time, value)


def histogram(counts: list[int], total: float, low: Any = None, bounds: tuple[float, ...] = (1.0, 2.0)) -> Any:
    """A point with three buckets."""
    return HistogramDataPoint({}, 1, 2, sum(counts), total, counts, bounds, low, low)


def test_sums_are_added() -> None:
    """Equal attributes make one point with the sum, the earliest start and the latest time."""
    (found,) = merged(Sum([], CUMULATIVE, True), [number(2, 1), number(3, 2), number(4, 3)])

    assert (9, 7, 3) == (found.value, found.start_time_unix_nano, found.time_unix_nano)


def test_different_attributes_stay_apart() -> None:
    """Nothing is added that can still be told apart; one, one as a float and true are three values."""
    points = [number(1, a=1), number(1, a=1.0), number(1, a=True), number(1, a=2)]

    found = merged(Sum([], CUMULATIVE, True), points)

    assert points == found


def test_of_gauges_the_last_stays() -> None:
    """The newest value is the value; of two that are as new, the later in order."""
    found = merged(Gauge([]), [number(7, 3), number(8, 1), number(9, 3)])

    assert [9] == [one.value for one in found]


def test_histograms_of_equal_bounds_are_added_by_bucket() -> None:
    """Counts, sum and extremes are those of all values."""
    (found,) = merged(Histogram([], CUMULATIVE), [histogram([1, 0, 2], 7.0, 0.5), histogram([0, 4, 1], 9.0, 1.5)])

    assert ([1, 4, 3], 8, 16.0) == (list(found.bucket_counts), found.count, found.sum)
    assert (0.5, 1.5) == (found.min, found.max)


def test_unknown_extremes_stay_unknown() -> None:
    """Where one point does not know its least value, nobody does."""
    (found,) = merged(Histogram([], CUMULATIVE), [histogram([1, 0, 0], 1.0), histogram([1, 0, 0], 1.0, 1.0)])

    assert (None, None) == (found.min, found.max)


def test_histograms_of_other_bounds_keep_count_and_sum() -> None:
    """Their buckets cannot be added: one bucket with all of them is left."""
    points = [histogram([1, 0, 2], 7.0), histogram([1, 1], 2.0, None, (5.0,))]

    (found,) = merged(Histogram([], CUMULATIVE), points)

    assert ([5], (), 5, 9.0) == (list(found.bucket_counts), tuple(found.explicit_bounds), found.count, found.sum)


def exponential(values: list[float], max_size: int = 160) -> ExponentialHistogramDataPoint:
    """The SDK's own point of these values."""
    reader = InMemoryMetricReader()
    aggregation = ExponentialBucketHistogramAggregation(max_size=max_size)
    view = View(instrument_name="*", aggregation=aggregation)
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    recorded = provider.get_meter("x").create_histogram("x")
    for value in values:
        recorded.record(value)
    data: Any = reader.get_metrics_data()
    provider.shutdown()
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return point  # type: ignore[no-any-return]


def quantile_bounds(point: Any, scale: int) -> dict[int, int]:
    """How many values are in each bucket of a lower scale."""
    counts: dict[int, int] = {}
    for place, count in enumerate(point.positive.bucket_counts):
        if count:
            index = (point.positive.offset + place) >> (point.scale - scale)
            counts[index] = counts.get(index, 0) + count
    return counts


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20),
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20),
)
def test_exponential_histograms_are_what_one_of_all_values_would_be(one: list[float], other: list[float]) -> None:
    """At the coarser scale of the two, every bucket holds as many values as if they had come together."""
    together = exponential([*one, *other])

    (found,) = merged(ExponentialHistogram([], CUMULATIVE), [exponential(one), exponential(other)])

    scale = min(found.scale, together.scale)
    assert quantile_bounds(together, scale) == quantile_bounds(found, scale)
    assert (together.count, together.zero_count) == (found.count, found.zero_count)
    assert math.isclose(together.sum, found.sum)
    assert (together.min, together.max) == (found.min, found.max)
    assert len(found.positive.bucket_counts) <= 160


def test_exponential_buckets_stay_few() -> None:
    """Values that are far apart cost scale, not memory."""

    def at(offset: int) -> Any:
        side = Buckets(offset, [1])
        return ExponentialHistogramDataPoint({}, 1, 2, 2, 1.0, 20, 0, side, side, 0, 1.0, 1.0)

    (found,) = merged(ExponentialHistogram([], CUMULATIVE), [at(-(10**9)), at(10**9)])

    assert 2 == sum(found.positive.bucket_counts) == sum(found.negative.bucket_counts)
    assert len(found.positive.bucket_counts) <= 160
