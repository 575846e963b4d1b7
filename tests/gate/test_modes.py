"""``all``, ``own`` and ``report``: what each removes, what each tells, and which one is chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_ws
from otel_ws import gate, recorder, semconv
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.semconv import SCOPE_NAME
from otel_ws.settings import Settings


class Onlooker(SpanProcessor):
    """Looks at spans when they start, so that the SDK's are made."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Look."""


class Process:
    """Providers of somebody else's, with a recorder of ours on them."""

    def __init__(self, resource: Any) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.loggers = LoggerProvider(resource, shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self.records))
        self.meters = MeterProvider([self.reader], resource, shutdown_on_exit=False)

    def recorder(self, policy: Policy, **settings: Any) -> Recorder:
        """A recorder as the package installs one."""
        made = Recorder(
            Settings.load({}, {}, **settings),
            policy,
            tracer_provider=self.tracers,
            meter_provider=self.meters,
            logger_provider=self.loggers,
        )
        gate.follow(made)
        fast.speed_up(made)
        return made

    def strangers(self, stranger: Any) -> list[Any]:
        """What a stranger's telemetry became, comparable."""
        stranger.span(self.tracers)
        stranger.log(self.loggers)
        stranger.metric(self.meters)
        (span,) = [one for one in self.spans.get_finished_spans() if one.instrumentation_scope.name != SCOPE_NAME]  # type: ignore[union-attr]
        (record,) = self.records.get_finished_logs()
        data: Any = self.reader.get_metrics_data()
        return [
            (span.name, span.status.description, dict(span.attributes or {}), [one.name for one in span.events]),
            (record.log_record.body, dict(record.log_record.attributes or {}), record.log_record.severity_text),
            sorted(
                (one.name, one.description, len(one.data.data_points))
                for scope in data.resource_metrics[0].scope_metrics
                for one in scope.metrics
                if scope.scope.name != SCOPE_NAME
            ),
            dict(data.resource_metrics[0].resource.attributes),
        ]


@pytest.fixture
def process(stranger: Any) -> Process:
    """Somebody else's process."""
    return Process(stranger.resource)


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    """The start-up line is an ordinary piece of information."""
    caplog.set_level(logging.INFO, "otel_ws")


def test_own_leaves_others_telemetry_as_it_is(process: Process, policy: Policy, stranger: Any) -> None:
    """Where somebody else made the providers, nothing of theirs is changed, and nothing stands in front of it."""
    expected = Process(stranger.resource).strangers(stranger)
    before = [set(vars(one)) for one in (process.spans, process.records, process.tracers._active_span_processor)]
    process.recorder(policy)

    found = process.strangers(stranger)

    assert "own" == gate.status()["mode"]
    assert expected == found
    after = [set(vars(one)) for one in (process.spans, process.records, process.tracers._active_span_processor)]
    assert before == after


def test_all_is_asked_for_by_the_setting(
    process: Process, policy: Policy, stranger: Any, leaks: Callable[[object], bool]
) -> None:
    """``gate="all"`` clears what others make on providers of others."""
    process.recorder(policy, gate="all")

    found = process.strangers(stranger)

    assert "all" == gate.status()["mode"]
    assert not leaks(found)


def test_report_removes_nothing_and_names_what_all_would_remove(
    process: Process, policy: Policy, stranger: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Others' telemetry stays; keys are told once each, values never."""
    expected = Process(stranger.resource).strangers(stranger)
    process.recorder(policy, gate="report")

    found = process.strangers(stranger)
    stranger.span(process.tracers)

    told = [one.message for one in caplog.records if "would remove" in one.message]
    assert expected == found
    assert 1 == len([one for one in told if "client.address" in one])
    assert gate.status()["would_remove"]["client.address"] > 1
    assert 1 == len([one for one in told if "alice.key" in one])
    assert 1 < gate.status()["would_remove"]["traces: undeclared"]
    assert "alice" not in repr(gate.status())
    assert "alice@" not in caplog.text
    assert {} == policy.redactions()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("all", "gate: all. Everything is cleared at "),
        ("own", "gate: own."),
        ("report", "gate: report. Nothing"),
    ],
)
def test_one_line_tells_the_mode(
    mode: str, said: str, process: Process, policy: Policy, caplog: pytest.LogCaptureFixture
) -> None:
    """At start-up, once."""
    made = process.recorder(policy, gate=mode)
    gate.follow(made)

    (line,) = [one.message for one in caplog.records if "gate:" in one.message]
    assert said in line


def test_removals_are_counted_by_signal_and_kind(process: Process, policy: Policy, stranger: Any) -> None:
    """``ws.privacy.redactions`` tells what the gate removed from each signal."""
    made = process.recorder(policy, gate="all")

    process.strangers(stranger)

    counted = {key for key, count in made.read(semconv.REDACTIONS) if count}
    assert {"traces", "metrics", "logs"} == {signal for signal, _ in counted}


@pytest.mark.parametrize("mode", ["own", "all"])
@pytest.mark.parametrize("is_light", [True, False], ids=["light span", "SDK's span"])
def test_a_span_of_ours_that_the_application_ends_leaves_cleared(
    mode: str, is_light: bool, process: Process, policy: Policy, leaks: Callable[[object], bool]
) -> None:
    """Ended before its time, under any name and with anything on it, in either mode, ours holds ids alone."""
    if not is_light:
        process.tracers.add_span_processor(Onlooker())
    made = process.recorder(policy, gate=mode)

    span = made.spans.connect([])
    span.update_name("alice")
    span.set_attribute("user.email", "alice@example.com")
    span.add_event("alice", {"alice": 1})
    span.set_status(otel_ws.sdk.light.StatusCode.ERROR, "alice")  # type: ignore[attr-defined]
    span.end()
    made.spans.finish(span, "connect _OTHER", policy.clear("traces", {}))

    (seen,) = process.spans.get_finished_spans()
    assert "connect" == seen.name
    assert not leaks((seen.name, dict(seen.attributes or {}), seen.status.description, seen.events[0].name))


@pytest.mark.parametrize("mode", ["own", "all"])
@pytest.mark.parametrize("is_light", [True, False], ids=["light span", "SDK's span"])
def test_our_own_telemetry_passes_as_it_is(mode: str, is_light: bool, policy: Policy) -> None:
    """Names, attributes and bodies of ours are the same with the gate as without."""
    process = Process(Resource({"service.name": "arena"}))
    if not is_light:
        process.tracers.add_span_processor(Onlooker())
    made = process.recorder(policy, gate=mode)

    policy.route("/ws/x/")
    span = made.spans.connect([])
    attributes = policy.clear("traces", {semconv.ROUTE: "/ws/x/", semconv.OUTCOME: "accepted", semconv.SIZE: 3})
    made.spans.finish(span, "connect /ws/x/", attributes)
    made.event(semconv.WS_AUTH_FAIL, None, {semconv.REASON: "JWT_EXPIRED"})

    (seen,) = process.spans.get_finished_spans()
    (record,) = process.records.get_finished_logs()
    assert "connect /ws/x/" == seen.name
    assert {"http.route": "/ws/x/", "ws.outcome": "accepted", "ws.message.size": 3} == dict(seen.attributes or {})
    assert ("WS_AUTH_FAIL", {"ws.reason": "JWT_EXPIRED"}) == (
        record.log_record.event_name,
        dict(record.log_record.attributes or {}),
    )
    assert semconv.WS_AUTH_FAIL.message == record.log_record.body
    assert {} == policy.redactions()


def test_in_all_our_own_telemetry_loses_what_the_resource_should_not_hold(
    process: Process, policy: Policy, leaks: Callable[[object], bool]
) -> None:
    """A resource of the application's own making is cleared for our light spans and records too."""
    made = process.recorder(policy, gate="all")

    made.spans.finish(made.spans.connect([]), "connect _OTHER", policy.clear("traces", {}))
    made.event(semconv.WS_AUTH_FAIL, None, {semconv.REASON: "JWT_EXPIRED"})

    (span,), (record,) = process.spans.get_finished_spans(), process.records.get_finished_logs()
    assert not leaks((dict(span.resource.attributes), dict(record.resource.attributes), span.resource.schema_url))
    assert "arena" == span.resource.attributes["service.name"] == record.resource.attributes["service.name"]


def test_a_python_logger_of_our_name_is_a_stranger(process: Process, policy: Policy) -> None:
    """What somebody logs under ``otel_ws`` is no event of ours: its text goes."""
    process.recorder(policy, gate="all")

    process.loggers.get_logger(SCOPE_NAME).emit(body="alice came", attributes={"user.email": "alice@example.com"})

    (record,) = process.records.get_finished_logs()
    assert "alice" not in str(record.log_record.body)
    assert {} == dict(record.log_record.attributes or {})


@pytest.fixture
def with_baggage() -> Iterator[None]:
    """A person's name in the current baggage, as a client's header puts it there."""
    token = context.attach(baggage.set_baggage("alice", "alice@example.com"))
    yield
    context.detach(token)


@pytest.mark.usefixtures("with_baggage")
def test_baggage_is_read_into_nothing(process: Process, policy: Policy, leaks: Callable[[object], bool]) -> None:
    """With baggage current, neither a span nor an event of ours has it."""
    made = process.recorder(policy, gate="own")

    made.spans.finish(made.spans.connect([(b"baggage", b"alice=1")]), "connect _OTHER", policy.clear("traces", {}))
    made.event(semconv.WS_AUTH_FAIL, None, {semconv.REASON: "JWT_EXPIRED"})

    (span,), (record,) = process.spans.get_finished_spans(), process.records.get_finished_logs()
    assert not leaks((dict(span.attributes or {}), span.context.trace_state, record.log_record.attributes))


def test_no_module_of_ours_touches_baggage() -> None:
    """Nothing reads it, nothing passes it on: ids travel by the trace context's propagator alone."""
    from pathlib import Path

    house = Path(otel_ws.__file__).parent
    # What plays the stranger in `check --leaks` puts some there, to see that it goes nowhere.
    played = {"careless.py"}

    found = [
        str(path.relative_to(house))
        for path in house.rglob("*.py")
        if path.name not in played and ("import baggage" in (text := path.read_text()) or "get_baggage" in text)
    ]

    assert [] == found


def test_the_vocabulary_of_the_process_is_the_gates(process: Process, stranger: Any) -> None:
    """A gate that opens early clears by the words that are declared later."""
    before = recorder.replace(None, Policy())
    try:
        opened = gate.install("all", recorder.vocabulary)
        recorder.vocabulary.declare_id("order.id")

        with process.tracers.get_tracer(__name__).start_as_current_span("GET") as span:
            span.set_attribute("order.id", 7)
    finally:
        recorder.replace(before)

    (seen,) = process.spans.get_finished_spans()
    assert opened.policy.ids
    assert {"order.id"} == set(seen.attributes or {})
