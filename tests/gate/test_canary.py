"""The start-up proof: every wall is sent a marked value, and a wall that fails lets nothing through."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ws import gate
from otel_ws.gate import canary
from otel_ws.gate.clearing import Removing
from otel_ws.policy import Policy


class Sinks:
    """One provider for each signal, and where its telemetry ends."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self.records))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def emit(self, stranger: Any) -> None:
        """One of each."""
        stranger.span(self.tracers)
        stranger.log(self.loggers)
        stranger.metric(self.meters)

    def seen(self, signal: str) -> int:
        """How much arrived."""
        if signal == "traces":
            return len(self.spans.get_finished_spans())
        if signal == "logs":
            return len(self.records.get_finished_logs())
        data = self.reader.get_metrics_data()
        return 0 if data is None else len(data.resource_metrics)


@pytest.fixture
def sinks() -> Sinks:
    """Providers that were there before the gate."""
    return Sinks()


def test_every_place_is_proven_and_the_proof_stays_inside(sinks: Sinks, policy: Policy) -> None:
    """Each exporter and reader is told as proven; none of them, and no count, has seen the canary."""
    gate.install("all", policy)

    status = gate.status()
    told = [(one["name"], one["signal"], one["proven"]) for one in (*status["exporters"], *status["readers"])]
    assert [
        ("InMemoryLogRecordExporter", "logs", True),
        ("InMemoryMetricReader", "metrics", True),
        ("InMemorySpanExporter", "traces", True),
    ] == sorted(told)
    assert ([], []) == (status["blocked"], status["ungated"])
    assert [0, 0, 0] == [sinks.seen(signal) for signal in ("traces", "logs", "metrics")]
    assert {} == policy.redactions()


@pytest.mark.parametrize("place", ["entering", "leaving"])
@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_a_wall_that_lets_the_canary_through_is_shut(
    signal: str,
    place: str,
    sinks: Sinks,
    policy: Policy,
    stranger: Any,
    hidden: Callable[[], dict[str, int]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of that signal is exported, it is counted and told once; the application and the others go on."""
    if (signal, place) == ("metrics", "leaving"):
        pytest.skip("a reader that keeps what it collected has no exporter")
    right = getattr(Removing, place)

    def broken(self: Removing, asked: str) -> Any:
        return (lambda given: given) if asked == signal else right(self, asked)

    monkeypatch.setattr(Removing, place, broken)
    gate.install("all", policy)

    sinks.emit(stranger)
    sinks.emit(stranger)

    others = {"traces", "logs", "metrics"} - {signal}
    assert 0 == sinks.seen(signal)
    assert all(sinks.seen(one) for one in others)
    assert [one.message for one in caplog.records if "failed its start-up proof" in one.message]
    assert 1 == len([one for one in caplog.records if one.levelno == logging.ERROR and "blocked" in one.message])
    assert 1 == len(gate.status()["blocked"])
    assert hidden()[f"gate.{signal}.blocked"] >= 1


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_a_wall_that_drops_the_canary_is_shut(
    signal: str,
    sinks: Sinks,
    policy: Policy,
    stranger: Any,
    hidden: Callable[[], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wall that fails on what it is given proves nothing either."""
    right = Removing.entering

    def broken(self: Removing, asked: str) -> Any:
        def fail(_: Any) -> Any:
            raise RuntimeError

        return fail if asked == signal else right(self, asked)

    monkeypatch.setattr(Removing, "entering", broken)
    gate.install("all", policy)

    sinks.emit(stranger)

    assert 0 == sinks.seen(signal)
    assert 1 == len(gate.status()["blocked"])
    assert f"gate.{signal}" in hidden()


@pytest.mark.parametrize(
    "made",
    [
        canary.span(),
        canary.log_record(is_readable=True),
        canary.log_record(is_readable=False),
        canary.metrics(),
        (canary.span(),),
    ],
    ids=["span", "readable record", "record", "metrics", "batch"],
)
def test_an_uncleared_canary_is_seen(made: Any) -> None:
    """The look at what arrived finds the mark in each of the things that are sent."""
    is_clear = canary.is_clear(made)

    assert not is_clear


def test_nothing_is_no_proof() -> None:
    """That nothing arrived does not show that it was cleared."""
    assert not canary.is_clear([])


def test_a_processor_that_ships_by_itself_is_named(
    sinks: Sinks, policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    """Registered before or after, it is listed by its class and told once; so is one that keeps what starts."""

    class Shipper(SpanProcessor):
        def on_end(self, span: Any) -> None:
            """Send it somewhere."""

    class Keeper(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            """Send it somewhere later."""

    sinks.tracers.add_span_processor(Shipper())
    sinks.tracers.add_span_processor(Keeper())
    gate.install("all", policy)
    sinks.tracers.add_span_processor(Shipper())

    assert ["Shipper", "Keeper"] == [name.rpartition(".")[2] for name in gate.status()["ungated"]]
    assert 2 == len([one for one in caplog.records if "cannot gate" in one.message])
