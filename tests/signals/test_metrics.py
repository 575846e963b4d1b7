"""Instruments: all of the table on one provider, looked up when a reader collects."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    InMemoryMetricReader,
    ScopeMetrics,
    Sum,
)
from prometheus_client import generate_latest

from otel_ws import faults, semconv
from otel_ws.ledger import Ledger
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.semconv import Instrument, Metric
from otel_ws.settings import Settings
from otel_ws.signals.metrics import metrics_for
from otel_ws.types import Labels

DOOR = ("/ws/match/{match_id}/", "websocket")


class Numbers:
    """A source with one series of one in every metric, but for what a test changes."""

    def __init__(self) -> None:
        self.series: dict[Metric, dict[Labels, float]] = {}
        self.ids: list[tuple[str, str, float]] = []

    def read(self, metric: Metric) -> Iterable[tuple[Labels, float]]:
        """The series of a metric."""
        return self.series.get(metric, {("x",) * len(metric.labels): 1.0}).items()

    def by_id(self) -> Iterable[tuple[str, str, float]]:
        """The breakdown by id."""
        return self.ids


class Readout:
    """A provider with a reader, and what it collects."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def scopes(self) -> list[ScopeMetrics]:
        """Everything, at this moment."""
        data = self.reader.get_metrics_data()
        return [scope for one in (data.resource_metrics if data else []) for scope in one.scope_metrics]

    def metrics(self) -> dict[str, Any]:
        """The same by name."""
        return {metric.name: metric for scope in self.scopes() for metric in scope.metrics}

    def points(self, metric: Metric) -> list[Any]:
        """The points of one metric."""
        found = self.metrics().get(metric.name)
        return list(found.data.data_points) if found is not None else []


@pytest.fixture
def readout() -> Iterator[Readout]:
    """A provider of the test's own."""
    faults.reset()
    one = Readout()
    yield one
    one.provider.shutdown()
    faults.reset()


def observe_all(metrics: Any) -> None:
    """One value in every histogram."""
    for metric in semconv.METRICS:
        if metric.instrument is Instrument.HISTOGRAM:
            metrics.observe(metric, ("x",) * len(metric.labels), 0.25)


# --- instruments ------------------------------------------------------------------------------------------------
def test_every_metric_of_the_table_is_exported(readout: Readout) -> None:
    """Each declared metric is an instrument with its unit and description."""
    metrics = metrics_for(readout.provider, "1.2.3")
    metrics.source = numbers = Numbers()
    numbers.ids = [("match_id", "3", 1.0)]
    observe_all(metrics)

    exported = {metric.name: (metric.unit, metric.description) for metric in readout.metrics().values()}

    assert {metric.name: (metric.unit, metric.brief) for metric in semconv.METRICS} == exported


def test_the_scope_is_ours(readout: Readout) -> None:
    """Name, version and schema URL of the scope are those of every signal."""
    metrics_for(readout.provider, "1.2.3").source = Numbers()

    (scope,) = readout.scopes()

    assert (semconv.SCOPE_NAME, "1.2.3", semconv.SCHEMA_URL) == (
        scope.scope.name,
        scope.scope.version,
        scope.scope.schema_url,
    )


@pytest.mark.parametrize(
    ("instrument", "monotonic"), [(Instrument.COUNTER, True), (Instrument.UP_DOWN, False), (Instrument.GAUGE, None)]
)
def test_a_metric_behaves_as_declared(readout: Readout, instrument: Instrument, monotonic: bool | None) -> None:
    """Counters are monotonic sums, up-down counters are not, gauges are no sums."""
    metrics_for(readout.provider, "1.2.3").source = Numbers()
    names = {one.name for one in semconv.METRICS if one.instrument is instrument and one is not semconv.ACTIVE_BY_ID}

    exported = {name: one.data for name, one in readout.metrics().items() if name in names}

    assert names == set(exported)
    assert {monotonic} == {getattr(data, "is_monotonic", None) for data in exported.values()}


def test_sums_are_cumulative(readout: Readout) -> None:
    """What the source tells is the total since start, and is exported as that."""
    numbers = Numbers()
    metrics_for(readout.provider, "1.2.3").source = numbers
    labels = (*DOOR, "chat", "success")

    values = []
    for total in (2.0, 5.0):
        numbers.series[semconv.MESSAGES] = {labels: total}
        (point,) = readout.points(semconv.MESSAGES)
        values.append(point.value)

    data = readout.metrics()["ws.messages"].data
    assert [2, 5] == values
    assert isinstance(data, Sum)
    assert AggregationTemporality.CUMULATIVE == data.aggregation_temporality


@pytest.mark.parametrize(
    "metric", [one for one in semconv.METRICS if one.instrument is Instrument.HISTOGRAM], ids=lambda one: one.name
)
def test_a_histogram_has_the_declared_bounds(readout: Readout, metric: Metric) -> None:
    """The bounds of the table arrive at the reader, and a value on a bound is in the bucket below it."""
    metrics = metrics_for(readout.provider, "1.2.3")
    labels = ("x",) * len(metric.labels)

    for bound in metric.bounds:
        metrics.observe(metric, labels, bound)

    (point,) = readout.points(metric)
    assert isinstance(readout.metrics()[metric.name].data, Histogram)
    assert metric.bounds == tuple(point.explicit_bounds)
    assert (*(1,) * len(metric.bounds), 0) == tuple(point.bucket_counts)


def test_the_ledger_and_the_histogram_agree(readout: Readout) -> None:
    """The same values are in the same buckets of the ledger and of OpenTelemetry, with the same sum."""
    metrics, ledger = metrics_for(readout.provider, "1.2.3"), Ledger()
    labels = (*DOOR, "chat")

    for value in (0.0, 0.001, 0.0011, 0.25, 9.0, 10.0, 11.0):
        metrics.observe(semconv.MESSAGE_LATENCY, labels, value)
        ledger.observe(semconv.MESSAGE_LATENCY, labels, value)

    (point,) = readout.points(semconv.MESSAGE_LATENCY)
    counted = dict(ledger.distributions(semconv.MESSAGE_LATENCY))[labels]
    assert (counted.buckets, counted.sum, counted.count) == (tuple(point.bucket_counts), point.sum, point.count)


# --- labels and values ------------------------------------------------------------------------------------------
def test_labels_have_the_names_of_the_table(readout: Readout) -> None:
    """Each label is an attribute under the metric's own spelling: ``type`` on ``ws.messages``."""
    numbers = Numbers()
    metrics_for(readout.provider, "1.2.3").source = numbers
    numbers.series[semconv.MESSAGES] = {(*DOOR, "chat", "success"): 1.0}

    (point,) = readout.points(semconv.MESSAGES)

    expected = {"http_route": DOOR[0], "transport": "websocket", "type": "chat", "status": "success"}
    assert expected == dict(point.attributes)


def test_an_empty_label_is_left_out(readout: Readout) -> None:
    """A connection without a subprotocol has no such attribute."""
    numbers = Numbers()
    metrics_for(readout.provider, "1.2.3").source = numbers
    numbers.series[semconv.CONNECTIONS] = {(*DOOR, "player", "match", "connected", ""): 1.0}

    (point,) = readout.points(semconv.CONNECTIONS)

    assert "subprotocol" not in point.attributes
    assert 5 == len(point.attributes)


@pytest.mark.parametrize("value", [3.0, 3], ids=["float", "int"])
def test_whole_numbers_are_integers(readout: Readout, value: float) -> None:
    """A count is exported as an integer, whichever kind of number the source has."""
    numbers = Numbers()
    metrics_for(readout.provider, "1.2.3").source = numbers
    numbers.series[semconv.MESSAGES] = {(*DOOR, "chat", "success"): value}

    values = [point.value for point in readout.points(semconv.MESSAGES)]

    assert [3] == values
    assert [int] == [type(one) for one in values]


def test_seconds_keep_their_fraction(readout: Readout) -> None:
    """A sum of seconds is exported as it is."""
    numbers = Numbers()
    metrics_for(readout.provider, "1.2.3").source = numbers
    numbers.series[semconv.BUSY_TIME] = {DOOR: 0.25}

    values = [point.value for point in readout.points(semconv.BUSY_TIME)]

    assert [0.25] == values


def test_the_breakdown_by_id_has_one_label(readout: Readout) -> None:
    """Each id is a point whose only attribute is the id's name."""
    numbers = Numbers()
    metrics_for(readout.provider, "1.2.3").source = numbers
    numbers.ids = [("match_id", "3", 2.0), ("tournament_id", "1", 1.0)]

    points = {tuple(point.attributes.items()): point.value for point in readout.points(semconv.ACTIVE_BY_ID)}

    assert {(("match_id", "3"),): 2, (("tournament_id", "1"),): 1} == points


# --- the source -------------------------------------------------------------------------------------------------
def test_without_a_source_the_instruments_are_silent(readout: Readout) -> None:
    """Before recording starts, and after it ended, nothing is observed."""
    metrics_for(readout.provider, "1.2.3")

    exported = readout.metrics()

    assert {} == exported
    assert {} == faults.snapshot()


def test_a_source_that_raises_is_counted_and_the_others_are_exported(readout: Readout) -> None:
    """One metric that cannot be read is counted as our failure; the rest of the collection goes on."""

    class Broken(Numbers):
        """A source that fails for one metric."""

        def read(self, metric: Metric) -> Iterable[tuple[Labels, float]]:
            """Fail for messages."""
            if metric is semconv.MESSAGES:
                raise OSError
            return super().read(metric)

    metrics_for(readout.provider, "1.2.3").source = Broken()

    exported = set(readout.metrics())

    assert {"metrics": 1} == faults.snapshot()
    assert "ws.messages" not in exported
    assert "ws.connections" in exported


def test_a_provider_has_one_set_of_instruments(readout: Readout, caplog: pytest.LogCaptureFixture) -> None:
    """Asking twice gives the same instruments: the SDK has nothing to warn of, and no point comes twice."""
    caplog.set_level(logging.WARNING)

    first, second = (metrics_for(readout.provider, "1.2.3") for _ in range(2))
    first.source = Numbers()

    assert first is second
    assert 1 == len(readout.points(semconv.MESSAGES))
    assert [] == caplog.records


def test_a_second_recorder_on_a_provider_takes_over(readout: Readout) -> None:
    """Numbers come from the recorder that is on; one that was closed is not heard any more."""
    first, second = (Recorder(Settings(), Policy(), meter_provider=readout.provider) for _ in range(2))
    labels = (*DOOR, "chat", "success")
    first.ledger.add(semconv.MESSAGES, labels, 5.0)
    second.ledger.add(semconv.MESSAGES, labels)

    first.close()
    (point,) = readout.points(semconv.MESSAGES)

    assert 1 == point.value
    second.close()
    assert [] == readout.points(semconv.MESSAGES)


def test_providers_are_apart() -> None:
    """Two providers have instruments of their own."""
    first, second = Readout(), Readout()

    different = metrics_for(first.provider, "1.2.3") is not metrics_for(second.provider, "1.2.3")

    first.provider.shutdown()
    second.provider.shutdown()
    assert different


def test_a_provider_that_does_nothing_is_enough() -> None:
    """Without an SDK, values go nowhere and nothing raises."""
    metrics = metrics_for(NoOpMeterProvider(), "1.2.3")

    observe_all(metrics)

    assert metrics.source is None


# --- Prometheus -------------------------------------------------------------------------------------------------
def test_the_declared_prometheus_names_are_those_of_the_exporter() -> None:
    """The names after the translation are those that the Prometheus exporter really gives."""
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = metrics_for(provider, "1.2.3")
    metrics.source = numbers = Numbers()
    numbers.ids = [("match_id", "3", 1.0)]
    observe_all(metrics)
    # The translation adds `_ratio` to a gauge of unit 1; this exporter leaves it out, collectors do not.
    expected = {
        one.prometheus_name.removesuffix("_ratio") + ("_bucket" if one.instrument is Instrument.HISTOGRAM else "")
        for one in semconv.METRICS
    }

    text = generate_latest().decode()

    provider.shutdown()
    exported = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert set() == expected - exported
