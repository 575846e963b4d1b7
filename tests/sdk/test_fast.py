"""Which way into the SDK is chosen; whichever it is, everything is exported, once and cleared."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider

from otel_ws import faults
from otel_ws.connection import Connection
from otel_ws.handling import Handling
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import _private, fast
from otel_ws.sdk.light import ClearedSpans, LightEvents, LightSpans
from otel_ws.settings import Settings
from otel_ws.signals.events import Events
from otel_ws.signals.spans import ApiSpans

SDK_METRICS = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
has_sdk_metrics = pytest.mark.skipif(
    not hasattr(TracerProvider(shutdown_on_exit=False).get_tracer("probe"), "_tracer_metrics"),
    reason="this SDK does not count itself",
)


class Process:
    """A recorder on SDK providers, which a test may bend before the ways are chosen."""

    def __init__(self, bend: Callable[[Process], None] | None = None, **tracing: Any) -> None:
        self._spans = InMemorySpanExporter()
        self._records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self._reader = InMemoryMetricReader()
        self.tracers: Any = TracerProvider(shutdown_on_exit=False, **tracing)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.loggers: Any = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._records))
        self.meters: Any = MeterProvider([self._reader], shutdown_on_exit=False)
        if bend is not None:
            bend(self)
        self.recorder = Recorder(
            Settings.load({}, {}, message_types="chat"),
            Policy(),
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            logger_provider=self.loggers,
        )
        fast.speed_up(self.recorder)

    @property
    def ways(self) -> tuple[type, type, bool]:
        """The maker of spans, the writer of events, and whether histograms are taken from the ledger."""
        (writer,) = self.recorder.writers
        return type(self.recorder.spans.maker), type(writer), not self.recorder.by_api

    def talk(self) -> Process:
        """A connection with one message, on whose span the application puts a name."""
        contextvars.copy_context().run(self._talk)
        return self

    def _talk(self) -> None:
        connection = Connection(self.recorder, {"type": "websocket", "headers": []})
        accept = {"type": "websocket.accept"}
        connection.sent(accept, connection.sending())
        connection.received({"type": "websocket.receive", "text": "hello"}, 0.0)
        handling = Handling(connection, "websocket.receive", "receive", True)
        handling.attach()
        handling.note_type("chat")
        trace.get_current_span().set_attribute("their.name", "alice")
        handling.end(None)
        connection.disconnected(1000)
        connection.returned()

    def exported(self) -> tuple[list[str], list[str | None], dict[str, int]]:
        """Span names, event names, and the count of each histogram."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data is not None else []
        metrics: list[Any] = [metric for one in resources for scope in one.scope_metrics for metric in scope.metrics]
        counts: dict[str, int] = {}
        for metric in metrics:
            for point in metric.data.data_points:
                if hasattr(point, "bucket_counts") and metric.name.startswith("ws."):
                    counts[metric.name] = counts.get(metric.name, 0) + point.count
        spans = [span.name for span in self._spans.get_finished_spans()]
        return spans, [one.log_record.event_name for one in self._records.get_finished_logs()], counts

    def spans_text(self) -> str:
        """All spans, as JSON."""
        return "".join(span.to_json() for span in self._spans.get_finished_spans())


EVERYTHING = (
    ["connect _OTHER", "chat _OTHER", "disconnect _OTHER"],
    ["WS_CONNECT", "WS_DISCONNECT"],
    dict.fromkeys(("ws.connection.setup.duration", "ws.message.latency", "ws.message.wait", "ws.message.size"), 1)
    | {"ws.connection.duration": 1},
)
LIGHT = (LightSpans, LightEvents, True)


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    """Nothing failed that was hidden from the application."""
    faults.reset()
    yield
    assert {} == faults.snapshot()


# --- the cheap ways ---------------------------------------------------------------------------------------------
def test_on_the_sdks_own_providers_all_ways_are_cheap() -> None:
    """Light spans, light log records, and histograms through the readers."""
    process = Process().talk()

    assert (LIGHT, EVERYTHING) == (process.ways, process.exported())


def test_a_second_call_changes_nothing() -> None:
    """The ways that were chosen stay."""
    process = Process()
    before = (process.recorder.spans.maker, process.recorder.writers, list(process.recorder.on_close))

    fast.speed_up(process.recorder)

    assert before == (process.recorder.spans.maker, process.recorder.writers, process.recorder.on_close)


def test_wide_limits_keep_the_cheap_way() -> None:
    """Limits at or above the specification's default are never met by ours."""
    process = Process(span_limits=SpanLimits(max_span_attributes=128, max_events=1000))

    assert LIGHT == process.ways


# --- the ordinary ways ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "limits",
    [
        {"max_span_attributes": 4},
        {"max_events": 1},
        {"max_links": 0},
        {"max_attribute_length": 1000},
        {"max_span_attribute_length": 1000},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_span_limits_need_the_sdks_spans(limits: dict[str, int]) -> None:
    """With a limit of the user's the SDK's spans are made, and still cleared."""
    process = Process(span_limits=SpanLimits(**limits)).talk()

    spans, _, _ = process.exported()
    assert (ClearedSpans, LightEvents, True) == process.ways
    assert EVERYTHING[0] == spans
    assert "alice" not in process.spans_text()


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", (ClearedSpans, Events, True)),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", (ClearedSpans, Events, True)),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", (ClearedSpans, LightEvents, True)),
    ],
)
def test_limits_of_the_environment_need_the_sdks(variable: str, expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard's variables send spans, and log records where they are about them, by the ordinary way."""
    monkeypatch.setenv(variable, "100")

    process = Process().talk()

    assert (expected, EVERYTHING) == (process.ways, process.exported())


def test_a_limit_cuts_the_sdks_span() -> None:
    """What falls back has the effect that the user asked for."""
    process = Process(span_limits=SpanLimits(max_span_attribute_length=3)).talk()

    assert '"ws.message.type": "cha"' in process.spans_text()


@has_sdk_metrics
def test_sdk_self_metrics_need_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK counts spans and records, it makes them."""
    monkeypatch.setenv(SDK_METRICS, "true")
    meters = MeterProvider(shutdown_on_exit=False)

    def bend(process: Process) -> None:
        process.tracers = TracerProvider(shutdown_on_exit=False, meter_provider=meters)
        process.loggers = LoggerProvider(shutdown_on_exit=False, meter_provider=meters)

    process = Process(bend)

    assert (ClearedSpans, Events, True) == process.ways


@pytest.mark.skipif(
    not hasattr(TracerProvider, "_set_tracer_configurator"), reason="tracers of this SDK cannot be switched off"
)
def test_a_tracer_that_is_off_stays_off() -> None:
    """A user who switched our tracer off gets no spans of it."""

    class Off:
        is_enabled = False

    process = Process(lambda one: one.tracers._set_tracer_configurator(tracer_configurator=lambda _scope: Off())).talk()

    spans, _, _ = process.exported()
    assert (ClearedSpans, []) == (process.ways[0], spans)


@pytest.mark.parametrize(
    ("bend", "expected"),
    [
        (lambda one: setattr(one, "tracers", NoOpTracerProvider()), (ApiSpans, LightEvents, True)),
        (lambda one: setattr(one, "loggers", NoOpLoggerProvider()), (LightSpans, Events, True)),
        (lambda one: setattr(one, "meters", NoOpMeterProvider()), (LightSpans, LightEvents, False)),
    ],
    ids=["tracer", "logger", "meter"],
)
def test_a_provider_that_is_not_the_sdks_is_asked_by_the_api(bend: Any, expected: Any) -> None:
    """One foreign provider does not slow the other signals down."""
    process = Process(bend).talk()

    assert expected == process.ways


# --- shapes that are not as expected ----------------------------------------------------------------------------
def _span_processors(process: Process) -> None:
    composite = process.tracers._active_span_processor
    composite._span_processors = list(composite._span_processors)


def _log_processors(process: Process) -> None:
    composite = process.loggers._multi_log_record_processor
    composite._log_record_processors = list(composite._log_record_processors)


def _views(process: Process) -> None:
    class Strange:
        """A view without ``_match``, which the SDK asks only when it is given a measurement."""

        def __getattr__(self, name: str) -> Any:
            if name == "_match" and asked:
                asked.pop()
                raise AttributeError(name)
            return lambda _instrument: False

    asked = [True]
    process.meters._sdk_config.views = (Strange(),)


@pytest.mark.parametrize(
    ("bend", "expected"),
    [
        (_span_processors, (ClearedSpans, LightEvents, True)),
        (_log_processors, (LightSpans, Events, True)),
        (_views, (LightSpans, LightEvents, False)),
    ],
    ids=["spans", "records", "histograms"],
)
def test_another_shape_falls_back_with_everything_exported(
    bend: Any, expected: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An SDK that looks otherwise in one place is used by its API there, with one line that says so."""
    with caplog.at_level(logging.INFO, "otel_ws"):
        process = Process(bend).talk()

    assert (expected, EVERYTHING) == (process.ways, process.exported())
    assert ["otel-ws takes the ordinary way for"] == [record.getMessage()[:34] for record in caplog.records]


@pytest.mark.parametrize(
    ("part", "names"),
    [("_name", "_name"), ("_attributes", "_attributes"), ("_status", "_status"), ("_links", "_links")],
)
def test_a_readable_span_without_a_member_is_told(part: str, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check names what is missing."""

    class Bare:
        def __init__(self, *_args: Any, **_more: Any) -> None:
            known = ("_name", "_context", "_kind", "_attributes", "_events", "_links", "_status", "_resource")
            vars(self).update(dict.fromkeys(one for one in known if one != part))

    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(_private, "ReadableSpan", Bare)

    with pytest.raises(_private.ShapeError, match=names):
        _private.tracer_parts(provider, provider.get_tracer("x"))


def test_a_record_with_other_members_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log record class that grew a member is not made by hand."""

    class Grown:
        __dataclass_fields__ = ("log_record", "resource", "instrumentation_scope", "limits", "more")

    provider = LoggerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(_private, "ReadWriteLogRecord", Grown)

    with pytest.raises(_private.ShapeError, match="ReadWriteLogRecord"):
        _private.logger_parts(provider, provider.get_logger("x"))


def test_a_missing_member_is_named_by_its_path() -> None:
    """The text of the error is the place, and nothing of what stands there."""
    with pytest.raises(_private.ShapeError, match=r"^_measurement_consumer\._reader_storages$"):
        _private.readers(object())  # type: ignore[arg-type]
