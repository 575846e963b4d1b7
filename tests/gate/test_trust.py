"""What the second wall trusts: only what known code alone stood between; and who is named because no wall is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, TraceFlags, TraceState

from otel_ws import gate, semconv
from otel_ws.policy import Policy
from otel_ws.recorder import VERSION, Recorder
from otel_ws.sdk import fast
from otel_ws.sdk.light import LightSpan
from otel_ws.settings import Settings

MAIL = "alice@example.com"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """An exporter that is known."""
    return InMemorySpanExporter()


@pytest.fixture
def tracers() -> TracerProvider:
    """A provider without processors."""
    return TracerProvider(shutdown_on_exit=False)


def ungated() -> list[str]:
    """The classes that are named, without their modules; those of other tests may still be alive."""
    found = [name for name in gate.status()["ungated"] if name.startswith((__name__, "opentelemetry."))]
    return [name.rpartition(".")[2] for name in found]


def shown(spans: InMemorySpanExporter) -> str:
    """All of the only span that was exported."""
    (span,) = spans.get_finished_spans()
    return str(span.to_json())


# --- exporters --------------------------------------------------------------------------------------------------
class Enriching(SpanExporter):
    """Puts something in, and hands on to another."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        """Write into what came."""
        for span in spans:
            span._attributes["user.email"] = MAIL  # type: ignore[index]
        return self.inner.export(spans)


class EnrichingLogs(LogRecordExporter):
    """The same, for log records."""

    def __init__(self, inner: LogRecordExporter) -> None:
        self.inner = inner

    def export(self, batch: Any) -> Any:
        """Write into what came."""
        for one in batch:
            one.log_record.body = MAIL
        return self.inner.export(batch)

    def shutdown(self) -> None:
        """Nothing."""

    def force_flush(self, timeout_millis: int = 1) -> bool:
        """Nothing."""
        return True


@pytest.mark.parametrize("kind", [SimpleSpanProcessor, BatchSpanProcessor])
def test_what_an_exporter_puts_in_is_cleared_by_the_next(
    kind: Any, policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """A wrapping exporter of other make enriches what it was given; the one inside gets it cleared again."""
    gate.install("all", policy)
    tracers.add_span_processor(kind(Enriching(spans)))

    tracers.get_tracer(__name__).start_span("GET", attributes={"a": 1}).end()
    tracers.force_flush()

    assert "alice" not in shown(spans)
    tracers.shutdown()


def test_an_exporter_that_is_put_into_a_processor_later_is_not_trusted(
    policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """No wall is in front of it, and what it puts in is cleared at the one inside."""
    processor = SimpleSpanProcessor(spans)
    tracers.add_span_processor(processor)
    gate.install("all", policy)
    processor.span_exporter = Enriching(spans)

    tracers.get_tracer(__name__).start_span("GET", attributes={"a": 1}).end()

    assert "alice" not in shown(spans)


def test_what_a_log_exporter_puts_in_is_cleared_by_the_next(policy: Policy) -> None:
    """The same with a record's text."""
    records, loggers = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)  # type: ignore[no-untyped-call]
    gate.install("all", policy)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(EnrichingLogs(records)))

    loggers.get_logger(__name__).emit(LogRecord(body="hello"))

    (found,) = records.get_finished_logs()
    assert "alice" not in found.to_json()


def test_a_patch_around_an_exporter_is_not_trusted_and_named(
    policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """Who puts a method of theirs around ours may enrich; ours clears again, and the class is listed."""
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    gate.install("all", policy, only=(tracers,))
    ours = spans.export

    def patched(batch: Any) -> Any:
        for span in batch:
            span._attributes["user.email"] = MAIL
        return ours(batch)

    assert [] == ungated()
    # The marks of ours are copied, as ``functools.wraps`` does.
    patched.__dict__.update(vars(ours))
    spans.export = patched  # type: ignore[assignment,method-assign]
    tracers.get_tracer(__name__).start_span("GET", attributes={"a": 1}).end()

    assert "alice" not in shown(spans)
    assert ["InMemorySpanExporter"] == ungated()


def test_a_record_that_the_application_holds_is_not_the_one_that_leaves(policy: Policy) -> None:
    """What is written into it after it was emitted goes nowhere."""
    records, loggers = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)  # type: ignore[no-untyped-call]
    loggers.add_log_record_processor(SimpleLogRecordProcessor(records))
    gate.install("all", policy)
    record = LogRecord(body="hello", attributes={"http.request.method": "GET"})

    loggers.get_logger(__name__).emit(record)

    (found,) = records.get_finished_logs()
    assert {"http.request.method": "GET"} == dict(found.log_record.attributes or {})
    assert found.log_record.attributes is not record.attributes


# --- processors -------------------------------------------------------------------------------------------------
class Router(SpanProcessor):
    """Holds its exporters by name, and sends at the end."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.by_tenant = {"a": [exporter]}

    def on_end(self, span: ReadableSpan) -> None:
        """Write into it and send it."""
        span._attributes = {"user.email": MAIL}
        self.by_tenant["a"][0].export((span,))


class Keeper(SpanProcessor):
    """Keeps what starts, and sends when it is flushed."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Keep it."""


class LogShipper(LogRecordProcessor):
    """Takes records and holds no exporter that can be seen."""

    def on_emit(self, log_record: Any) -> None:
        """Send it somewhere."""

    def shutdown(self) -> None:
        """Nothing."""

    def force_flush(self, timeout_millis: int = 1) -> bool:
        """Nothing."""
        return True


def test_exporters_in_containers_of_a_processor_are_found(
    policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """In a list in a dictionary too; with a wall in front of each there is nobody to name."""
    tracers.add_span_processor(Router(spans))
    gate.install("all", policy, only=(tracers,))

    tracers.get_tracer(__name__).start_span("GET").end()

    assert "alice" not in shown(spans)
    assert [] == ungated()


def test_a_processor_that_keeps_what_starts_is_named(
    policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """It has the span before anything is cleared; that its exporter is known does not help."""
    gate.install("all", policy, only=(tracers,))
    tracers.add_span_processor(Keeper(spans))

    assert ["Keeper"] == ungated()


def test_our_own_onlooker_is_trusted(policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter) -> None:
    """What keeps spans for the live page is not named, and a span of ours passes both walls as it is."""
    gate.install("all", policy, only=(tracers,))
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    made = Recorder(
        Settings(recent=True),
        policy,
        tracer_provider=tracers,
        meter_provider=MeterProvider(shutdown_on_exit=False),
        logger_provider=LoggerProvider(shutdown_on_exit=False),
    )
    fast.speed_up(made)

    made.spans.finish(made.spans.publish(), "publish _OTHER", policy.clear("traces", {}))

    (span,) = spans.get_finished_spans()
    assert ("publish _OTHER", LightSpan) == (span.name, type(span))
    assert [] == [name for name in gate.status()["ungated"] if "recent" in name]


def test_a_name_of_the_layers_is_known(policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter) -> None:
    """Where spans of ours are the SDK's, those of undeclared groups keep their names; a text under it does not."""
    gate.install("all", policy, only=(tracers,))
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    tracer = tracers.get_tracer(semconv.SCOPE_NAME, VERSION, semconv.SCHEMA_URL)

    for name in ("publish _OTHER", "process _OTHER", "process", f"publish {MAIL}"):
        tracer.start_span(name).end()

    assert ["publish _OTHER", "process _OTHER", "process", "publish"] == [
        span.name for span in spans.get_finished_spans()
    ]


def test_a_log_processor_that_ships_by_itself_is_named(policy: Policy) -> None:
    """Like one of spans."""
    gate.install("all", policy)
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(LogShipper())

    assert ["LogShipper"] == ungated()


def test_an_empty_composite_that_is_filled_later_is_no_false_alarm(
    policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """The SDK's own processor of processors is not named, and what comes into it is met."""
    gate.install("all", policy, only=(tracers,))
    inner = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    tracers.add_span_processor(inner)

    inner.add_span_processor(SimpleSpanProcessor(spans))

    assert [] == ungated()
    assert ["InMemorySpanExporter"] == [one["name"] for one in gate.status()["exporters"]]


# --- what says that it is something else ------------------------------------------------------------------------
class Anything(str):
    """Says that it is equal to whatever it is compared with."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return hash(semconv.SCOPE_NAME)


class EmptyState(TraceState):
    """Says that nothing is in it."""

    def __len__(self) -> int:
        return 0


class Masked(ReadableSpan):
    """Shows another name and other attributes than it holds."""

    @property
    def name(self) -> str:
        """Not what is held."""
        return MAIL

    @property
    def attributes(self) -> Any:
        """Not what is held."""
        return {"user.email": MAIL}


@pytest.mark.parametrize("at", range(3), ids=["name", "version", "schema"])
def test_a_scope_that_is_equal_to_anything_is_a_strangers(
    at: int, policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """Texts that say that they are ours leave no more than any others."""
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    gate.install("all", policy)
    parts: list[str] = [semconv.SCOPE_NAME, "1", semconv.SCHEMA_URL]
    parts[at] = Anything(MAIL)

    tracers.get_tracer(parts[0], parts[1], schema_url=parts[2]).start_span("GET").end()

    (span,) = spans.get_finished_spans()
    scope: Any = span.instrumentation_scope
    assert "alice" not in "".join(str(one) for one in (scope.name, scope.version, scope.schema_url))


def test_a_resource_that_is_equal_to_anything_is_cleared(policy: Policy, spans: InMemorySpanExporter) -> None:
    """Its schema is no text of ours."""
    tracers = TracerProvider(resource=Resource({"service.name": "a"}, Anything(MAIL)), shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    gate.install("all", policy)

    tracers.get_tracer(__name__).start_span("GET").end()

    (span,) = spans.get_finished_spans()
    assert "" == span.resource.schema_url


def test_a_trace_state_that_says_it_is_empty_is_cleared(
    policy: Policy, tracers: TracerProvider, spans: InMemorySpanExporter
) -> None:
    """What a link's state holds goes, whatever its length is told to be."""
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    gate.install("all", policy)
    context = SpanContext(1, 2, False, TraceFlags(1), EmptyState([("vendor", "alice")]))

    tracers.get_tracer(__name__).start_span("GET", links=[Link(context)]).end()

    (span,) = spans.get_finished_spans()
    assert {} == dict(span.links[0].context.trace_state.items())


def test_a_span_of_another_class_is_looked_at_by_what_it_shows(policy: Policy, spans: InMemorySpanExporter) -> None:
    """What exporters read of it is what is cleared, where all that it holds is known and conforms."""
    tracers = TracerProvider(resource=Resource({"service.name": "arena"}), shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    gate.install("all", policy)
    tracers.get_tracer("json").start_span("GET").end()
    (known,) = spans.get_finished_spans()
    spans.clear()
    context = SpanContext(1, 2, False, TraceFlags(1))
    scope = known.instrumentation_scope

    for _ in range(2):
        masked = Masked(
            "GET",
            context,
            resource=known.resource,
            attributes=known.attributes,
            instrumentation_scope=scope,
            start_time=1,
            end_time=2,
        )
        tracers._active_span_processor.on_end(masked)

    assert "alice" not in "".join(str(span.to_json()) for span in spans.get_finished_spans())


# --- metrics under our name -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "labels",
    [
        {"email": MAIL},
        {"transport": MAIL},
        {"reason": "ALICE_SMITH"},
        {"transport": "websocket", "reason": Anything(MAIL)},
    ],
    ids=["another label", "a choice", "a code that nobody said", "equal to anything"],
)
def test_a_metric_under_our_name_has_our_labels_alone(
    labels: dict[str, str], policy: Policy, leaks: Callable[[object], bool]
) -> None:
    """Who counts in our scope under a name of ours leaves neither a label nor a unit of their own."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    gate.install("all", policy)
    meter = meters.get_meter(semconv.SCOPE_NAME, "1", semconv.SCHEMA_URL)

    meter.create_counter(semconv.AUTH_FAILURES.name, "alice", "alice").add(1, labels)

    data: Any = reader.get_metrics_data()
    assert semconv.AUTH_FAILURES.name in data.to_json()
    assert not leaks(data.to_json())


def test_our_labels_pass_a_second_time_as_they_are(policy: Policy) -> None:
    """What the policy made of a value, it makes of it again, for each of our metrics."""
    made = {
        semconv.REASON: policy.label(semconv.REASON, "JWT_EXPIRED"),
        semconv.ERROR_TYPE: policy.label(semconv.ERROR_TYPE, "ValueError"),
        semconv.ROUTE: policy.route("/ws/x/"),
    }
    policy.sent_close_code(4401)
    made[semconv.CLOSE_CODE] = policy.label(semconv.CLOSE_CODE, 4401)
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    gate.install("all", policy)
    meter = meters.get_meter(semconv.SCOPE_NAME, "1", semconv.SCHEMA_URL)
    expected = {}
    for metric in semconv.METRICS:
        labels = {
            name: made.get(label) or (label.choices[0] if label.choices else semconv.OTHER)
            for name, label in zip(metric.label_names, metric.labels, strict=True)
        }
        if metric is semconv.ACTIVE_BY_ID:
            labels = {"tournament_id": "7"}
        expected[metric.name] = labels
        meter.create_counter(metric.name, metric.unit).add(1, labels)

    data: Any = reader.get_metrics_data()

    found = {
        metric.name: dict(metric.data.data_points[0].attributes)
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }
    assert expected == found
    assert {} == policy.redactions()
