"""A reader's data with the numbers of all workers in it."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource

from otel_ws import semconv
from otel_ws.policy import Policy
from otel_ws.processes import Overview
from otel_ws.processes.sums import Sums
from otel_ws.recorder import Recorder
from otel_ws.sdk.merged import of_all
from otel_ws.settings import Settings

CHAT = ("/ws/", "websocket", "chat", "success")


def merged(*, is_several: bool, views: tuple[View, ...] = ()) -> tuple[dict[str, Any], Any, int]:
    """Own data with 1 message, an instrument of somebody's, and 5 messages of all; by name, resource, left out."""
    reader = InMemoryMetricReader()
    resource = Resource({"service.name": "chat", "service.instance.id": "1"})
    provider = MeterProvider([reader], resource, views=views)
    recorder = Recorder(Settings(), Policy(), meter_provider=provider)
    recorder.ledger.add(semconv.MESSAGES, CHAT)
    provider.get_meter("app").create_counter("app.things").add(3)
    data = reader.get_metrics_data()
    assert isinstance(data, MetricsData)
    sums = Sums()
    sums.add(semconv.MESSAGES, CHAT, 5.0)
    sums.add_distribution(semconv.PING_DURATION, ("/ws/", "websocket"), [1.0, *[0.0] * 8, 0.01])
    seen = Overview(1.0, 1.0, sums.snapshot(), (), is_shared=True, is_several=is_several)
    found, left_out = of_all(data, seen, recorder.metrics, provider)
    (one,) = found.resource_metrics
    metrics = {metric.name: metric.data.data_points for scope in one.scope_metrics for metric in scope.metrics}
    recorder.close()
    provider.shutdown()
    return metrics, one.resource.attributes, left_out


def test_own_metrics_are_of_all() -> None:
    """Counts and histograms are what all workers counted, with the labels' names."""
    metrics, _, _ = merged(is_several=True)

    (messages,) = metrics["ws.messages"]
    (pings,) = metrics["ws.ping.duration"]
    assert (5, "chat") == (messages.value, messages.attributes["type"])
    assert (1, 0.01) == (pings.count, pings.sum)


def test_of_several_workers_nobody_elses_metrics_are_told() -> None:
    """One worker's counter would be less than another's."""
    metrics, _, left_out = merged(is_several=True)

    assert "app.things" not in metrics
    assert 1 == left_out


def test_of_one_worker_everything_is_told() -> None:
    """While nobody else serves, its own instruments are the whole."""
    metrics, _, left_out = merged(is_several=False)

    assert [3] == [point.value for point in metrics["app.things"]]
    assert 0 == left_out


def test_what_a_view_changes_is_not_told_in_its_own_form() -> None:
    """A metric that the user renamed, narrowed or dropped does not come back as it was."""
    views = (View(instrument_name="ws.messages", name="renamed"),)

    assert {"ws.messages", "renamed"}.isdisjoint(merged(is_several=True, views=views)[0])
    assert [1] == [point.value for point in merged(is_several=False, views=views)[0]["renamed"]]


def test_the_answer_is_no_single_workers() -> None:
    """Whose process was asked is not told as if the numbers were its own."""
    assert {"service.name": "chat"} == dict(merged(is_several=True)[1])
