"""How long the gate stands, what it holds, and whom it finds: it outlives recorders, and keeps no provider alive."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
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

from otel_ws import gate, recorder
from otel_ws.policy import Policy
from otel_ws.sdk import contrib
from otel_ws.settings import Settings

MAIL = "alice@example.com"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """An exporter that keeps spans."""
    return InMemorySpanExporter()


@pytest.fixture
def tracers(spans: InMemorySpanExporter) -> TracerProvider:
    """A provider that exports there."""
    made = TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(spans))
    return made


@pytest.fixture
def _no_recorder() -> Iterator[None]:
    """The recorder of the process is the test's."""
    before = recorder.replace(None, Policy())
    yield
    recorder.uninstall()
    recorder.replace(before)


@pytest.mark.usefixtures("_no_recorder")
def test_the_gate_outlives_the_recorder(tracers: TracerProvider, spans: InMemorySpanExporter) -> None:
    """When recording stops, others go on exporting, and what they export is cleared; it starts anew behind the same."""
    recorder.install(Settings.load({}, {}, gate="all"), tracer_provider=tracers)
    opened = gate.active()

    recorder.uninstall()
    tracers.get_tracer(__name__).start_span(MAIL).end()
    recorder.install(Settings.load({}, {}), tracer_provider=tracers)

    assert "_OTHER" == spans.get_finished_spans()[0].name
    assert opened is not None
    assert opened is gate.active()


def test_between_two_gates_there_is_always_one(tracers: TracerProvider, spans: InMemorySpanExporter) -> None:
    """Another one is open before the first is closed: a span that ends at that moment is cleared."""
    first = gate.install("all", Policy())
    close = first.close

    def closing() -> None:
        tracers.get_tracer(__name__).start_span(MAIL).end()
        close()
        tracers.get_tracer(__name__).start_span(MAIL).end()

    first.close = closing  # type: ignore[method-assign]
    gate.install("all", Policy())

    assert ["_OTHER", "_OTHER"] == [span.name for span in spans.get_finished_spans()]
    assert contrib.is_suppressed


def test_a_gate_for_some_providers_gives_way_to_one_for_all(
    tracers: TracerProvider, spans: InMemorySpanExporter, policy: Policy
) -> None:
    """The same mode over other providers is another gate."""
    gate.install("all", policy, only=(MeterProvider(shutdown_on_exit=False),))
    before = gate.status()["own"]

    gate.install("all", policy)
    tracers.get_tracer(__name__).start_span(MAIL).end()

    assert ["traces", "logs"] == before
    assert [] == gate.status()["own"]
    assert ["_OTHER"] == [span.name for span in spans.get_finished_spans()]


@pytest.fixture
def frozen(tracers: TracerProvider) -> list[Any]:
    """Providers that the garbage collector does not show, as after ``gc.freeze()`` in a server that forks."""
    providers = [tracers, LoggerProvider(shutdown_on_exit=False), MeterProvider(shutdown_on_exit=False)]
    gc.freeze()
    # Thawed with all the others, after the last test of the gate.
    return providers


@pytest.mark.parametrize("at", range(3), ids=["tracers", "loggers", "meters"])
def test_a_frozen_provider_is_met_when_it_is_used(at: int, frozen: list[Any], policy: Policy) -> None:
    """The next tracer, logger or meter that is asked for brings it in."""
    gate.install("all", policy)
    opened = gate.active()
    before = gate.status()["providers"]

    getattr(frozen[at], ("get_tracer", "get_logger", "get_meter")[at])(__name__)
    getattr(frozen[at], ("get_tracer", "get_logger", "get_meter")[at])(__name__)

    assert opened is not None
    assert before + 1 == gate.status()["providers"]


def test_what_a_frozen_provider_exports_is_cleared(
    frozen: list[Any], spans: InMemorySpanExporter, policy: Policy
) -> None:
    """From that moment on."""
    gate.install("all", policy)

    frozen[0].get_tracer(__name__).start_span(MAIL).end()

    assert ["_OTHER"] == [span.name for span in spans.get_finished_spans()]


def _a_tracer_provider() -> list[Any]:
    exporter, made = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(processor := SimpleSpanProcessor(exporter))
    return [made, processor, exporter]


def _a_logger_provider() -> list[Any]:
    exporter, made = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)  # type: ignore[no-untyped-call]
    made.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return [made, exporter]


def _a_meter_provider() -> list[Any]:
    reader = InMemoryMetricReader()
    made = MeterProvider([reader], shutdown_on_exit=False)
    made.shutdown()
    return [made, reader]


@pytest.mark.parametrize("make", [_a_tracer_provider, _a_logger_provider, _a_meter_provider])
def test_the_gate_keeps_nothing_alive(make: Callable[[], list[Any]], policy: Policy) -> None:
    """A provider that nobody has any more goes, with its exporters and its walls."""
    opened = gate.install("all", policy)
    places: Any = opened._places
    before = gate.status()["providers"]

    made = [[weakref.ref(one) for one in make()] for _ in range(3)]
    gc.collect()

    assert [] == [one() for several in made for one in several if one() is not None]
    assert before == gate.status()["providers"]
    assert all(one.thing is not None for one in places.walls)
    assert not any(one.is_gone for one in places._undo)


def test_many_providers_leave_nothing_behind(policy: Policy) -> None:
    """A process that makes one for each piece of work does not grow, though nobody asks for the state."""
    opened = gate.install("all", policy)
    places: Any = opened._places
    for _ in range(200):
        _a_tracer_provider()
    gc.collect()
    for _ in range(200):
        _a_tracer_provider()

    gc.collect()
    places._sweep()

    assert 0 == len([one for one in places.walls if one.thing is None])
    assert len(places.walls) < 100


def test_a_processors_own_gate_is_not_closed_by_a_patch(policy: Policy, tracers: TracerProvider) -> None:
    """Who puts a method around the entrance's is named, for it sees what is not cleared."""

    class Plain(SpanProcessor):
        """Nothing of its own."""

    tracers.add_span_processor(Plain())
    gate.install("all", policy)
    entrance: Any = tracers._active_span_processor
    ours = entrance.on_end
    entrance.on_end = lambda span: ours(span)

    assert ["SynchronousMultiSpanProcessor"] == [one.rpartition(".")[2] for one in gate.status()["ungated"]]
