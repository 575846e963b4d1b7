"""Whatever the gate is given, the application goes on, the work is bounded, and no mark leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ws import gate
from otel_ws.policy import Policy


class Raising:
    """Raises whatever is done to it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("alice")

    def __str__(self) -> str:
        raise RuntimeError("alice")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("alice")

    def __hash__(self) -> int:
        raise RuntimeError("alice")


class Mean(Mapping[str, Any]):
    """A mapping that breaks off."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("alice")

    def __iter__(self) -> Iterator[str]:
        yield "alice"
        raise RuntimeError("alice")

    def __len__(self) -> int:
        return 10**9


class Text(str):
    """A text that says that it is another."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("GET")


def deep() -> list[Any]:
    """A list in a list, ten thousand times."""
    found: list[Any] = ["alice"]
    for _ in range(10_000):
        found = [found]
    return found


def cycle() -> dict[str, Any]:
    """A mapping that holds itself."""
    found: dict[str, Any] = {"alice": 1}
    found["self"] = found
    return found


VALUES: dict[str, Any] = {
    "raising": Raising(),
    "mean mapping": Mean(),
    "text of another": Text("alice"),
    "10 MB": "alice" * 2_000_000,
    "bytes": b"alice",
    "surrogate": "alice\ud800",
    "not a number": float("nan"),
    "infinity": float("inf"),
    "huge": 10**400,
    "deep": deep(),
    "cycle": cycle(),
    "class": Raising,
    "none": None,
}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Where spans end."""
    return InMemorySpanExporter()


@pytest.fixture
def tracers(spans: InMemorySpanExporter) -> TracerProvider:
    """A provider without limits."""
    unset = SpanLimits.UNSET
    limits = SpanLimits(max_attributes=unset, max_events=unset, max_span_attributes=unset, max_event_attributes=unset)
    made = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(spans))
    return made


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("place", ["name", "key", "attribute", "attributes", "status", "event", "scope"])
def test_no_span_harms_the_application(
    place: str,
    kind: str,
    tracers: TracerProvider,
    spans: InMemorySpanExporter,
    policy: Policy,
    leaks: Callable[[object], bool],
    hidden: Callable[[], dict[str, int]],
) -> None:
    """A hostile value in any place of an ended span leaves the caller alone, and what leaves holds no mark of it."""
    value = VALUES[kind]
    gate.install("all", policy)
    span: Any = tracers.get_tracer(__name__).start_span("GET")
    if place == "name":
        span._name = value
    elif place == "key":
        span._attributes = {Text("alice"): value}
    elif place == "attribute":
        span._attributes = {"http.request.method": value, "alice": value}
    elif place == "attributes":
        span._attributes = value
    elif place == "status":
        span._status._description = value
    elif place == "event":
        span.add_event("exception")
        span._events[0]._name, span._events[0]._attributes = value, {"exception.type": value}
    else:
        span._instrumentation_scope._name = value

    entered = tracers._active_span_processor
    entered.on_end(span._readable_span())

    hidden()
    for seen in spans.get_finished_spans():
        scope: Any = seen.instrumentation_scope
        parts = (seen.name, dict(seen.attributes or {}), seen.status.description, scope.name)
        events = [(event.name, dict(event.attributes or {})) for event in seen.events]
        assert not leaks((parts, events))


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("place", ["body", "attributes", "attribute", "event_name", "severity_text"])
def test_no_record_harms_the_application(
    place: str,
    kind: str,
    policy: Policy,
    leaks: Callable[[object], bool],
    hidden: Callable[[], dict[str, int]],
) -> None:
    """A hostile value in any place of a log record leaves the caller alone, and what leaves holds no mark of it."""
    value = VALUES[kind]
    records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    gate.install("all", policy)

    # Past the SDK's own look at a record: the value stands where it stands.
    record: Any = LogRecord(body="x")
    entered = loggers._multi_log_record_processor
    whole = ReadWriteLogRecord(record)
    if place == "attribute":
        record.attributes = {"http.request.method": value, "alice": value}
    else:
        setattr(record, place, value)
    entered.on_emit(whole)

    hidden()
    for seen in records.get_finished_logs():
        found = seen.log_record
        assert not leaks((found.body, dict(found.attributes or {}), found.event_name, found.severity_text))


def test_the_work_is_bounded(tracers: TracerProvider, spans: InMemorySpanExporter, policy: Policy) -> None:
    """A span with a million keys and a hundred thousand events is cleared in little time, and little of it leaves."""
    gate.install("all", policy)
    span: Any = tracers.get_tracer(__name__).start_span("GET")
    span._attributes = {f"key.{number}": "x" for number in range(1_000_000)}
    span._events = [Event("exception", {"exception.type": "ValueError"}, 1)] * 100_000
    readable: ReadableSpan = span._readable_span()

    started = time.process_time()
    tracers._active_span_processor.on_end(readable)
    spent = time.process_time() - started

    (seen,) = spans.get_finished_spans()
    assert {} == dict(seen.attributes or {})
    assert 128 == len(seen.events)
    assert spent < 1.0


def test_what_cannot_be_cleared_does_not_leave_and_others_do(
    tracers: TracerProvider,
    spans: InMemorySpanExporter,
    policy: Policy,
    hidden: Callable[[], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decision that fails, for whatever reason, costs that one span, is counted, and is not the application's."""
    opened = gate.install("all", policy)
    right = opened.foreign.attributes

    def fails_once(*args: Any) -> Any:
        monkeypatch.setattr(opened.foreign, "attributes", right)
        raise RuntimeError("alice")

    monkeypatch.setattr(opened.foreign, "attributes", fails_once)
    tracer = tracers.get_tracer("http")
    for _ in range(2):
        tracer.start_span("GET").end()

    assert 1 == len(spans.get_finished_spans())
    assert {"gate.traces": 1} == hidden()
