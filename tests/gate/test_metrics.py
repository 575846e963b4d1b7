"""Metrics at the reader and at the exporter: names, texts, attributes, exemplars; ours among them, in both orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import View

from otel_ws import gate, semconv
from otel_ws.declarations import Declarations
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.settings import Settings

KNOWN = "http.server.active_requests"


@pytest.fixture
def reader() -> InMemoryMetricReader:
    """A reader that keeps what it collected."""
    return InMemoryMetricReader()


@pytest.fixture
def meters(reader: InMemoryMetricReader, stranger: Any) -> MeterProvider:
    """A provider that collects into it."""
    return MeterProvider([reader], stranger.resource, AlwaysOnExemplarFilter(), shutdown_on_exit=False)


def collected(reader: InMemoryMetricReader) -> MetricsData:
    """What the reader has."""
    data = reader.get_metrics_data()
    assert data is not None
    return data


def metric(data: MetricsData, name: str) -> Any:
    """The one metric of that name."""
    found = [one for resource in data.resource_metrics for scope in resource.scope_metrics for one in scope.metrics]
    (only,) = [one for one in found if one.name == name]
    return only


def test_points_that_only_a_person_told_apart_are_one(
    meters: MeterProvider, reader: InMemoryMetricReader, policy: Policy, stranger: Any
) -> None:
    """Two series that differ by an e-mail address leave as their sum."""
    gate.install("all", policy)

    stranger.metric(meters)

    (point,) = metric(collected(reader), KNOWN).data.data_points
    assert (5, {"http.request.method": "GET"}) == (point.value, dict(point.attributes))


def test_texts_of_a_metric_do_not_leave(
    meters: MeterProvider,
    reader: InMemoryMetricReader,
    policy: Policy,
    stranger: Any,
    leaks: Callable[[object], bool],
) -> None:
    """Description, unit, scope, schemas and resource of a metric hold no mark, and a metric of no known name goes."""
    gate.install("all", policy)

    stranger.metric(meters)

    data = collected(reader)
    assert not leaks(data.to_json())
    names = {one.name for scope in data.resource_metrics[0].scope_metrics for one in scope.metrics}
    assert {KNOWN, "http.server.request.duration"} == names


def test_exemplars_leave_without_the_attributes_that_a_view_took_away(
    reader: InMemoryMetricReader, policy: Policy, stranger: Any, leaks: Callable[[object], bool]
) -> None:
    """A View that keeps no attribute moves them all into exemplars; there they are blank, and the value stays."""
    views = [View(instrument_name="*", attribute_keys=set())]
    meters = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter(), views=views, shutdown_on_exit=False)
    gate.install("all", policy)

    stranger.metric(meters)

    data = collected(reader)
    exemplars = metric(data, "http.server.request.duration").data.data_points[0].exemplars
    assert not leaks(data.to_json())
    assert [(0.5, {})] == [(one.value, one.filtered_attributes) for one in exemplars]


@pytest.mark.parametrize("is_gate_first", [True, False], ids=["gate first", "bridge first"])
def test_our_histograms_reach_a_reader_with_the_gate_in_front(
    is_gate_first: bool,
    meters: MeterProvider,
    reader: InMemoryMetricReader,
    policy: Policy,
    stranger: Any,
    leaks: Callable[[object], bool],
) -> None:
    """Whichever stands in the reader first, ours are there with their labels, others' are cleared, once each."""
    recorder = Recorder(Settings.load({}, {}), policy, meter_provider=meters)
    policy.route("/ws/x/")
    for step in (0, 1) if is_gate_first else (1, 0):
        if step == 0:
            gate.install("all", policy)
        else:
            fast.speed_up(recorder)

    stranger.metric(meters)
    recorder.observe(semconv.PING_DURATION, ("/ws/x/", "websocket"), 0.25)
    data = collected(reader)
    again = collected(reader)
    recorder.close()

    for one in (data, again):
        assert not leaks(one.to_json())
        (point,) = metric(one, semconv.PING_DURATION.name).data.data_points
        assert ({"http_route": "/ws/x/", "transport": "websocket"}, 1) == (dict(point.attributes), point.count)
        assert semconv.PING_DURATION.brief == metric(one, semconv.PING_DURATION.name).description
        assert 5 == metric(one, KNOWN).data.data_points[0].value


def test_a_declared_number_leaves_with_its_declared_labels(
    meters: MeterProvider, reader: InMemoryMetricReader, policy: Policy
) -> None:
    """A metric of the application's own leaves once it is declared."""
    assert [] == policy.apply(Declarations(numbers=("orders.total",)))
    gate.install("all", policy)

    meters.get_meter(__name__).create_counter("orders.total").add(2, {"user.email": "alice@example.com"})

    (point,) = metric(collected(reader), "orders.total").data.data_points
    assert (2, {}) == (point.value, dict(point.attributes))


def test_a_collection_is_cleared_once(
    meters: MeterProvider, reader: InMemoryMetricReader, policy: Policy, stranger: Any
) -> None:
    """What is counted as removed is what was removed, not twice for the two walls, and no canary."""
    gate.install("all", policy)
    assert {} == policy.redactions()

    meters.get_meter(__name__).create_counter(KNOWN, "{request}").add(1, {"user.email": "alice@example.com"})
    collected(reader)

    removed = {kind: count for (signal, kind), count in policy.redactions().items() if signal == "metrics"}
    assert {"undeclared": 1} == removed
