"""Light spans and log records: what leaves is what the SDK's own would have been, to the last member."""

from __future__ import annotations

import contextvars
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

import pytest
from doubles import Clock, User

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.common")

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, InMemoryLogRecordExporter
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor as SimpleLogs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_ws import faults, semconv
from otel_ws.connection import Connection
from otel_ws.declarations import parse
from otel_ws.fanout import VERSION
from otel_ws.handling import Handling
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import _private, fast
from otel_ws.sdk.light import LightEvents, LightSpan, LightSpans
from otel_ws.settings import Settings
from otel_ws.signals import spans as span_tools
from otel_ws.signals.events import Events
from otel_ws.types import Cleared

NOW = 1_700_000_000_000_000_000
ROUTE = "/ws/match/{match_id}/"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
UNSAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())
RESOURCE = Resource({"service.name": "arena"})
STRANGE = SpanContext(7, 8, True, TraceFlags(1), TraceState([("vendor", "alice")]))

Act = Callable[[], object]


# --- the stage --------------------------------------------------------------------------------------------------
class Counted(RandomIdGenerator):
    """Ids that count; every other trace is below a ratio of one half."""

    def __init__(self) -> None:
        self._next = 0

    def generate_span_id(self) -> int:
        """The next number."""
        self._next += 1
        return self._next

    def generate_trace_id(self) -> int:
        """The next number, spread over the range that a ratio looks at."""
        number = self.generate_span_id()
        return (1 << 100) + (number % 2 << 63) + number


class Onlooker(SpanProcessor):
    """Looks at spans when they start, so that the SDK's must be made."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Keep the name."""
        self.started.append(span.name)


class Marking(Sampler):
    """Keeps all, and adds attributes and a trace state."""

    def should_sample(self, *args: Any, **more: Any) -> SamplingResult:
        """Sampled, with a number, a flag and a text."""
        attributes: dict[str, Any] = {
            "sampling.priority": 3,
            "sampling.debug": True,
            "sampling.by": "alice@example.com",
        }
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, TraceState([("s", "1")]))

    def get_description(self) -> str:
        """Its name."""
        return "marking"


class RecordOnly(Sampler):
    """Records, but does not sample."""

    def should_sample(self, *args: Any, **more: Any) -> SamplingResult:
        """Recorded only."""
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        """Its name."""
        return "record only"


class Stage:
    """A recorder on providers of its own, and what they exported."""

    def __init__(
        self,
        sampler: Sampler = ALWAYS_ON,
        processor: SpanProcessor | None = None,
        composite: SynchronousMultiSpanProcessor | ConcurrentMultiSpanProcessor | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self._spans = InMemorySpanExporter()
        self._records = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.tracer_provider = TracerProvider(
            sampler, RESOURCE, shutdown_on_exit=False, active_span_processor=composite, id_generator=Counted()
        )
        self.tracer_provider.add_span_processor(processor or SimpleSpanProcessor(self._spans))
        self.logger_provider = LoggerProvider(RESOURCE, shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogs(self._records))
        self.other = self.tracer_provider.get_tracer("database")
        policy = Policy()
        policy.declare(semconv.ROLE, ["player"])
        ids = iter(range(1, 1000))
        self.recorder = Recorder(
            Settings.load({}, {}, **{"message_types": "chat,move", "message_events": "all", **settings}),
            policy,
            tracer_provider=self.tracer_provider,
            logger_provider=self.logger_provider,
            meter_provider=MeterProvider(shutdown_on_exit=False),
            clock=self.clock,
            now_ns=lambda: NOW,
            random_ratio=lambda: 0.5,
            new_id=lambda: next(ids),
        )
        fast.speed_up(self.recorder)

    def by_the_sdk(self) -> Stage:
        """The same with the SDK's spans and log records: a processor that looks at starts, and the API's writer."""
        self.tracer_provider.add_span_processor(Onlooker())
        self.recorder.writers = (Events(self.logger_provider, VERSION),)
        return self

    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was exported so far."""
        return self._spans.get_finished_spans()

    def records(self) -> Sequence[Any]:
        """The log records that were exported so far."""
        return self._records.get_finished_logs()

    def ours(self) -> list[ReadableSpan]:
        """The spans of otel-ws."""
        scopes = [(span, span.instrumentation_scope) for span in self.spans()]
        return [span for span, scope in scopes if scope is not None and scope.name == semconv.SCOPE_NAME]

    def the_one(self, name: str) -> ReadableSpan:
        """The only span of that name."""
        (found,) = [span for span in self.spans() if span.name == name]
        return found

    # --- a conversation ---------------------------------------------------------------------------------
    def connect(self, *headers: tuple[bytes, bytes], act: Act | None = None) -> Connection:
        """An accepted connection; ``act`` is what the application does in its connect handler."""
        kwargs = {"match_id": 3}
        scope = {"type": "websocket", "user": User(7), "role": "player", "url_route": {"kwargs": kwargs}}
        connection = Connection(self.recorder, {**scope, "headers": list(headers)})
        token = span_tools.attach(connection.connect_span)
        connection.route_matched(0, ROUTE)
        if act is not None:
            with suppress(ValueError):
                act()
        self.clock.now += 0.25
        accept = {"type": "websocket.accept", "subprotocol": "json"}
        connection.sent(accept, connection.sending())
        span_tools.detach(token)
        return connection

    @contextmanager
    def handling(self, connection: Connection, kind: str = "chat", outermost: bool = True) -> Iterator[Handling]:
        """A client's message while its handler is at work."""
        connection.received({"type": "websocket.receive", "text": "hello"}, self.clock() - 1.0)
        handling = Handling(connection, "websocket.receive", "receive_json", outermost)
        handling.attach()
        handling.note_type(kind)
        raised: BaseException | None = None
        try:
            yield handling
        except Exception as exc:
            raised = exc
        handling.end(raised)

    def message(self, connection: Connection, act: Act | None = None, kind: str = "chat", seconds: float = 0.5) -> None:
        """A message whose handler does ``act``; what it raises ends the message."""
        with self.handling(connection, kind):
            self.clock.now += seconds
            if act is not None:
                act()

    def send(self, connection: Connection, seconds: float = 0.25, exc: Exception | None = None) -> None:
        """A message to the client."""
        message = {"type": "websocket.send", "text": "pong"}
        started_at = connection.sending()
        self.clock.now += seconds
        connection.sent(message, started_at, exc)

    def leave(self, connection: Connection, act: Act | None = None) -> None:
        """The client goes; the disconnect handler does ``act``."""
        connection.disconnected(4000)
        handling = Handling(connection, "websocket.disconnect", "disconnect", True)
        handling.attach()
        raised: Exception | None = None
        try:
            if act is not None:
                act()
        except Exception as exc:
            raised = exc
        handling.end(raised)
        connection.returned()

    def child(self) -> None:
        """Another instrumentation at work."""
        with self.other.start_as_current_span("SELECT", kind=SpanKind.CLIENT, attributes={"db.system": "sqlite"}):
            pass

    def refuse(self) -> None:
        """A connection that is denied."""
        connection = Connection(self.recorder, {"type": "websocket", "headers": []})
        connection.route_matched(0, ROUTE)
        self.recorder.auth_failed(connection, "JWT_EXPIRED", 4401)
        close = {"type": "websocket.close", "code": 4401}
        connection.sent(close, connection.sending())
        connection.returned()

    def talk(self, *headers: tuple[bytes, bytes], act: Act | None = None) -> None:
        """All kinds of spans and events; ``act`` is done in every handler."""
        connection = self.connect(*headers, act=act)
        self.message(connection, act)
        self.message(connection, act, "move", 0.001)
        with self.handling(connection) as handling:
            self.child()
            self.send(connection)
            self.send(connection, exc=OSError())
            handling.status = "permission_denied"
            with self.handling(connection, "move", outermost=False):
                self.child()
                if act is not None:
                    act()
        with self.handling(connection):
            raise KeyError("alice@example.com")
        self.recorder.ratelimit_rejected(connection, "MSG_RATE", 0.5)
        self.leave(connection, act)
        self.refuse()


@pytest.fixture(autouse=True)
def _fixed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time stands still in spans, nothing is current, and nothing failed that was hidden."""
    for place in ("opentelemetry.sdk.trace.time_ns", "otel_ws.sdk.light.time_ns"):
        monkeypatch.setattr(place, lambda: NOW)
    faults.reset()
    yield
    assert {} == faults.snapshot()


def alone(act: Act) -> None:
    """Do something in a context of its own, as each connection's task does."""
    contextvars.copy_context().run(act)


# --- comparing --------------------------------------------------------------------------------------------------
def context_of(found: Any) -> tuple[Any, ...] | None:
    """Every member of a span context."""
    if found is None:
        return None
    return (found.trace_id, found.span_id, found.is_remote, int(found.trace_flags), dict(found.trace_state))


def members(span: ReadableSpan) -> dict[str, Any]:
    """Every readable member of a span, as plain values."""
    return {
        "name": span.name,
        "context": context_of(span.context),
        "own context": context_of(span.get_span_context()),
        "parent": context_of(span.parent),
        "kind": span.kind,
        "attributes": dict(span.attributes or {}),
        "events": [(event.name, dict(event.attributes or {}), event.timestamp) for event in span.events],
        "links": [(context_of(link.context), dict(link.attributes or {})) for link in span.links],
        "status": (span.status.status_code, span.status.description),
        "times": (span.start_time, span.end_time),
        "resource": span.resource,
        "scope": span.instrumentation_scope,
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
    }


def record_members(data: Any) -> dict[str, Any]:
    """Every member of a log record but the moment of its observation."""
    record = data.log_record
    return {
        "name": record.event_name,
        "time": record.timestamp,
        "ids": (record.trace_id, record.span_id, int(record.trace_flags or 0)),
        "severity": (record.severity_text, record.severity_number),
        "body": record.body,
        "attributes": dict(record.attributes or {}),
        "resource": data.resource,
        "scope": data.instrumentation_scope,
        "dropped": data.dropped_attributes,
    }


def both(act: Callable[[Stage], None], **more: Any) -> tuple[Stage, Stage]:
    """Play the same with light spans and with the SDK's."""
    ours, sdks = Stage(**more), Stage(**more).by_the_sdk()
    for stage in (ours, sdks):
        with pytest.MonkeyPatch.context() as patch:
            # Ids of messages that otel-ws itself does not sample.
            patch.setattr(span_tools, "getrandbits", Random(1).getrandbits)
            contextvars.copy_context().run(act, stage)
    # Else the comparison would compare the SDK with itself.
    assert {LightSpan} >= {type(span) for span in ours.ours()}
    assert LightSpan not in {type(span) for span in sdks.ours()}
    return ours, sdks


SETTINGS: list[dict[str, Any]] = [
    {},
    {"message_traces": "child"},
    {"message_traces": "off"},
    {"message_sample_ratio": 0.0},
    {"message_sample_ratio": 0.0, "message_traces": "child"},
    {"send_spans": "all", "delivery_events": True},
    {"send_spans": "slow"},
    {"connect_context": "link"},
    {"connect_context": "ignore"},
    {"sampler": ALWAYS_OFF},
    {"sampler": ParentBased(ALWAYS_ON)},
    {"sampler": ParentBased(ALWAYS_OFF)},
    {"sampler": TraceIdRatioBased(0.5)},
    {"sampler": ParentBased(TraceIdRatioBased(0.5)), "message_events": "sampled"},
    {"sampler": Marking()},
    {"sampler": ParentBased(Marking())},
    {"sampler": RecordOnly()},
]
HEADERS: dict[str, list[tuple[bytes, bytes]]] = {
    "no parent": [],
    "sampled parent": [SAMPLED],
    "unsampled parent": [UNSAMPLED],
}


def called(settings: dict[str, Any]) -> str:
    """A name for a test's parameters."""
    told = {key: value.get_description() if isinstance(value, Sampler) else value for key, value in settings.items()}
    return ",".join(f"{key}={value}" for key, value in told.items()) or "defaults"


# --- equality ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("settings", SETTINGS, ids=called)
def test_a_conversation_makes_equal_spans(settings: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """Every member of every span is what the SDK's span has, whoever sampled."""
    ours, sdks = both(lambda stage: stage.talk(*headers), **settings)

    assert [members(span) for span in sdks.spans()] == [members(span) for span in ours.spans()]


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("settings", SETTINGS, ids=called)
def test_a_conversation_makes_equal_records(settings: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """Every member of every log record, its ids included, is what the API's logger gives."""
    ours, sdks = both(lambda stage: stage.talk(*headers), **settings)

    assert 6 <= len(ours.records())
    assert [record_members(one) for one in sdks.records()] == [record_members(one) for one in ours.records()]


def test_the_conversation_has_every_kind_of_span() -> None:
    """What the equality tests compare is not little."""
    stage = Stage(send_spans="all")

    alone(stage.talk)

    names = {span.name.partition(" ")[0] for span in stage.spans()}
    assert {"connect", "chat", "move", "SELECT", "send", "disconnect"} == names
    assert 12 == len(stage.spans())


def own() -> trace.Span:
    """What ``get_current_span()`` gives a handler."""
    return trace.get_current_span()


def _exception(**attributes: Any) -> None:
    try:
        raise ValueError("alice@example.com")
    except ValueError as exc:
        own().record_exception(exc, attributes or None)


def _ok_then_raise() -> None:
    own().set_status(StatusCode.OK)
    raise ValueError("alice@example.com")


def _status_twice() -> None:
    own().set_status(StatusCode.OK)
    own().set_status(Status(StatusCode.ERROR, "alice"))


def _many() -> None:
    for number in range(40):
        own().set_attribute(f"their.{number}", number)
        own().add_event(f"event_{number}", {"match.id": "3"})


ACTS: dict[str, Act] = {
    "declared id": lambda: own().set_attribute("tournament.id", "9"),
    "declared id that is a name": lambda: own().set_attribute("tournament.id", "alice"),
    "our own attribute": lambda: own().set_attribute("ws.outcome", "rejected"),
    "undeclared text": lambda: own().set_attribute("their.name", "alice"),
    "undeclared number": lambda: own().set_attribute("their.number", 42),
    "undeclared flag": lambda: own().set_attribute("their.flag", True),
    "nothing": lambda: own().set_attribute("ws.reason", None),
    "bytes": lambda: own().set_attribute("tournament.id", b"\xff\x00"),
    "list": lambda: own().set_attribute("match.id", [1, 2]),
    "several": lambda: own().set_attributes({"match.id": 12, "their.name": "alice", "ws.message.size": 5}),
    "many": _many,
    "event": lambda: own().add_event("cache_hit"),
    "event with text": lambda: own().add_event("alice@example.com", {"match.id": "9", "their": "alice"}, 12),
    "exception": _exception,
    "exception with attributes": lambda: _exception(**{"match.id": "9", "their.name": "alice"}),
    "link": lambda: own().add_link(STRANGE, {"user": "alice"}),
    "link to nothing": lambda: own().add_link(trace.INVALID_SPAN_CONTEXT),
    "ok": lambda: own().set_status(StatusCode.OK),
    "ok, then an error of ours": _ok_then_raise,
    "ok, then an error of theirs": _status_twice,
    "unset": lambda: own().set_status(StatusCode.UNSET),
    "error with text": lambda: own().set_status(StatusCode.ERROR, "alice@example.com"),
    "status with text": lambda: own().set_status(Status(StatusCode.ERROR, "alice@example.com")),
    "name": lambda: own().update_name("alice"),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("sampler", [ALWAYS_ON, Marking()], ids=["plain", "marking"])
def test_what_the_application_does_makes_equal_spans(act: Act, sampler: Sampler) -> None:
    """Whatever is done to ``get_current_span()``, in any handler, the spans that leave are equal."""
    ours, sdks = both(lambda stage: stage.talk(act=act), sampler=sampler)

    assert [members(span) for span in sdks.spans()] == [members(span) for span in ours.spans()]


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_what_the_application_does_is_cleared(act: Act) -> None:
    """Nothing of what the application puts on a span of ours leaves with a person's name in it."""
    for stage in both(lambda stage: stage.talk(act=act), sampler=Marking()):
        text = "".join(span.to_json() for span in stage.ours())

        assert "alice" not in text


def test_of_a_sampler_what_is_declared_stays() -> None:
    """A sampler may name its keys after anything: undeclared numbers and flags go as its texts do, on either span."""

    def talk(stage: Stage) -> None:
        stage.recorder.policy.apply(parse({"number": "sampling.priority"})[0])
        stage.talk(act=ACTS["undeclared number"])

    for stage in both(talk, sampler=Marking()):
        attributes = dict(stage.the_one(f"disconnect {ROUTE}").attributes or {})

        assert 3 == attributes["sampling.priority"]
        assert set() == {"sampling.by", "sampling.debug", "their.number"} & set(attributes)


OURS = {
    "http.route": "/u/alice/4915112345678",
    "ws.handler": "alice.example",
    "ws.consumer": "alice.example",
    "ws.reason": "ALICE",
    "ws.subprotocol": "alice",
    "ws.health.rule": "alice",
    "error.type": "AliceError",
    "messaging.destination.template": "/u/alice",
}


def test_our_keys_take_no_name_from_the_application() -> None:
    """A text in the right form under a key of ours is still a stranger's, in attributes as in events."""

    def act() -> None:
        own().set_attributes(OURS)
        own().add_event("cache_hit", OURS)

    for stage in both(lambda stage: stage.message(stage.connect(), act)):
        assert "alice" not in "".join(span.to_json() for span in stage.ours()).lower()


def test_no_attribute_makes_a_route_known() -> None:
    """What the application says is a route opens nothing for anybody else: routes come from routers."""
    for stage in both(lambda stage: stage.message(stage.connect(), lambda: own().set_attributes(OURS))):
        policy = stage.recorder.policy

        assert policy.is_known(semconv.ROUTE, ROUTE)
        assert not policy.is_known(semconv.ROUTE, OURS["http.route"])


def test_an_exception_keeps_its_class() -> None:
    """Of a recorded exception the class remains, on either span; the text and the stack do not."""
    for stage in both(lambda stage: stage.message(stage.connect(), _exception)):
        (event,) = stage.the_one(f"chat {ROUTE}").events

        assert ("exception", {"error.type": "ValueError"}) == (event.name, dict(event.attributes or {}))


def test_an_attribute_set_to_nothing_is_not_there() -> None:
    """``None`` is no value, on either span: nothing leaves, not even ``_OTHER``."""
    for stage in both(lambda stage: stage.message(stage.connect(), ACTS["nothing"])):
        attributes = stage.the_one(f"chat {ROUTE}").attributes or {}

        assert "ws.reason" not in attributes


def test_a_record_is_observed_when_it_happened() -> None:
    """Nothing lies between the event and its record."""
    stage = Stage()

    alone(stage.connect)

    (record,) = [one.log_record for one in stage.records()]
    assert (NOW, NOW) == (record.timestamp, record.observed_timestamp)


# --- exporters --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{"send_spans": "all"}, {"sampler": Marking()}], ids=called)
def test_otlp_encodes_equal_spans(settings: dict[str, Any]) -> None:
    """The protobuf message of light spans is that of the SDK's."""
    ours, sdks = both(lambda stage: stage.talk(SAMPLED, act=ACTS["event"]), **settings)

    assert encode_spans(sdks.spans()) == encode_spans(ours.spans())


def test_otlp_encodes_equal_records() -> None:
    """The protobuf message of light log records is that of the SDK's, but for the moment of observation."""
    ours, sdks = both(lambda stage: stage.talk(SAMPLED), delivery_events=True)
    for stage in (ours, sdks):
        for one in stage.records():
            one.log_record.observed_timestamp = NOW

    assert encode_logs(sdks.records()) == encode_logs(ours.records())


def test_json_of_the_spans_is_equal() -> None:
    """What the console exporter prints is the same."""
    ours, sdks = both(lambda stage: stage.talk(SAMPLED, act=ACTS["link"]))

    assert [json.loads(span.to_json()) for span in sdks.spans()] == [json.loads(s.to_json()) for s in ours.spans()]


def test_the_console_exporters_take_them() -> None:
    """Both console exporters print what they are given."""
    out = io.StringIO()
    stage = Stage(processor=SimpleSpanProcessor(ConsoleSpanExporter(out=out)))
    stage.logger_provider.add_log_record_processor(SimpleLogs(ConsoleLogRecordExporter(out=out)))

    alone(stage.talk)

    printed = out.getvalue()
    assert f'"name": "connect {ROUTE}"' in printed
    assert '"event_name": "WS_CONNECT"' in printed


def test_a_record_is_the_sdks_class() -> None:
    """Log processors of others get the type that they expect, with the SDK's limits on it."""
    ours, sdks = both(lambda stage: stage.talk())

    assert {type(one) for one in sdks.records()} == {type(one) for one in ours.records()}
    assert repr(vars(sdks.records()[0].log_record)["body"]) == repr(vars(ours.records()[0].log_record)["body"])


@pytest.mark.parametrize("composite", [SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor])
@pytest.mark.parametrize("wrapper", [SimpleSpanProcessor, BatchSpanProcessor])
def test_every_processor_of_the_sdk_takes_light_spans(composite: Any, wrapper: Any) -> None:
    """Simple and Batch, one after the other or concurrently, export them."""
    exporter = InMemorySpanExporter()
    stage = Stage(composite=composite(), processor=wrapper(exporter))

    alone(stage.talk)
    stage.tracer_provider.force_flush()

    ours = [span for span in exporter.get_finished_spans() if span.name != "SELECT"]
    assert {LightSpan} == {type(span) for span in ours}
    assert 8 == len(ours)
    stage.tracer_provider.shutdown()


# --- the current span -------------------------------------------------------------------------------------------
def test_a_handler_sees_a_recording_span() -> None:
    """``get_current_span()`` in a handler is ours, recording, with the ids that will be exported."""
    stage, seen = Stage(), list[Any]()

    alone(lambda: stage.message(stage.connect(), lambda: seen.append((own(), own().is_recording()))))

    ((span, was_recording),) = seen
    exported = stage.the_one(f"chat {ROUTE}")
    assert (LightSpan, True, False) == (type(span), was_recording, span.is_recording())
    assert exported.context == span.get_span_context()


@pytest.mark.parametrize("settings", [{"sampler": ALWAYS_OFF}, {"message_sample_ratio": 0.0}], ids=called)
def test_an_unsampled_handler_sees_a_span_that_does_not_record(settings: dict[str, Any]) -> None:
    """Where the message is not sampled, ids are there and nothing is recorded."""
    stage, seen = Stage(**settings), list[Any]()

    alone(lambda: stage.message(stage.connect(), lambda: seen.append((own().is_recording(), own()))))

    ((was_recording, span),) = seen
    assert (False, True, False) == (
        was_recording,
        span.get_span_context().is_valid,
        span.get_span_context().trace_flags.sampled,
    )


def test_children_of_other_instrumentations_are_below_the_message() -> None:
    """A database span in a handler is in the message's trace, with the light span as its parent."""
    stage = Stage()

    alone(lambda: stage.message(stage.connect(), stage.child))

    child, message = stage.the_one("SELECT"), stage.the_one(f"chat {ROUTE}")
    assert (LightSpan, message.context) == (type(message), child.parent)
    assert message.context.trace_id == child.context.trace_id


def test_children_of_an_unsampled_message_are_not_exported() -> None:
    """Nothing below a message that is not sampled leaves as a stray root."""
    stage = Stage(sampler=ParentBased(ALWAYS_ON), message_sample_ratio=0.0)

    alone(lambda: stage.message(stage.connect(), stage.child))

    assert [f"connect {ROUTE}"] == [span.name for span in stage.spans()]


@pytest.mark.parametrize(
    "act",
    [
        lambda span: span.set_attribute("match.id", "99"),
        lambda span: span.set_attributes({"match.id": "99"}),
        lambda span: span.add_event("late"),
        lambda span: span.add_link(STRANGE),
        lambda span: span.update_name("late"),
        lambda span: span.set_status(StatusCode.OK),
        lambda span: span.record_exception(ValueError()),
        lambda span: span.end(),
    ],
    ids=["attribute", "attributes", "event", "link", "name", "status", "exception", "end"],
)
def test_what_is_done_after_the_end_does_nothing(act: Callable[[Any], None]) -> None:
    """A task that goes on after the handler changes nothing that was exported."""
    stage, seen = Stage(), list[Any]()
    alone(lambda: stage.message(stage.connect(), lambda: seen.append(own())))
    before = [members(span) for span in stage.spans()]

    act(seen[0])

    assert before == [members(span) for span in stage.spans()]


def test_a_span_that_the_application_ended_is_cleared_and_stays() -> None:
    """Ended before its time it leaves once, without the application's texts, and nothing is put on it later."""

    def act() -> None:
        own().update_name("alice")
        own().set_attributes({"match.id": "9", "their.name": "alice"})
        own().add_event("seen", {"their.name": "alice"})
        own().end()

    stage = Stage()

    alone(lambda: stage.message(stage.connect(), act))

    (span,) = [one for one in stage.spans() if not one.name.startswith("connect")]
    assert ("message", {"match.id": "9"}) == (span.name, dict(span.attributes or {}))
    assert [{}] == [dict(event.attributes or {}) for event in span.events]


def test_finishing_an_ended_span_changes_nothing() -> None:
    """What lies in a batch already is not written on."""
    stage = Stage()
    maker = stage.recorder.spans.maker
    span = maker.start("message", SpanKind.SERVER, trace.set_span_in_context(trace.INVALID_SPAN), [])
    maker.finish(span, "first", {"match.id": "1"}, False)

    maker.finish(span, "second", {"match.id": "2"}, True)

    (exported,) = stage.spans()
    assert ("first", {"match.id": "1"}, StatusCode.UNSET) == (
        exported.name,
        dict(exported.attributes or {}),
        exported.status.status_code,
    )


def test_links_of_one_message_are_not_those_of_the_next() -> None:
    """A link that a handler adds is on its own message only."""
    stage = Stage()

    def act() -> None:
        connection = stage.connect()
        stage.message(connection, ACTS["link"])
        stage.message(connection, None, "move")

    alone(act)

    counts = [len(stage.the_one(f"{kind} {ROUTE}").links) for kind in ("chat", "move")]
    assert [2, 1] == counts


# --- processors -------------------------------------------------------------------------------------------------
def test_a_processor_that_looks_at_starts_gets_the_sdks_span() -> None:
    """Added later, it sees every span from then on, as the SDK makes them."""
    stage, onlooker = Stage(), Onlooker()

    def act() -> None:
        connection = stage.connect()
        stage.tracer_provider.add_span_processor(onlooker)
        stage.message(connection)

    alone(act)

    made = [isinstance(span, LightSpan) for span in stage.ours()]
    assert (["message"], [True, False]) == (onlooker.started, made)


class Late(SpanProcessor):
    """Looks at spans about to end and ended ones."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def _on_ending(self, span: Any) -> None:
        self.seen.append(("ending", span.name))

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the name."""
        self.seen.append(("end", span.name))


def test_a_processor_that_was_added_while_a_span_was_open_gets_its_end() -> None:
    """Its hooks run as for the SDK's spans: before all ends, then at the end."""

    def act(stage: Stage) -> list[tuple[str, str]]:
        late = Late()
        connection = stage.connect()
        with stage.handling(connection):
            stage.tracer_provider.add_span_processor(late)
        return late.seen

    ours, sdks = (contextvars.copy_context().run(act, stage) for stage in (Stage(), Stage().by_the_sdk()))

    assert ("end", f"chat {ROUTE}") in ours
    assert sdks == ours


@pytest.mark.parametrize("kind", ["subclass", "instance", "duck"])
def test_a_processor_whose_start_is_not_the_sdks_gets_the_sdks_span(kind: str) -> None:
    """However ``on_start`` was put there, it is called with a span of the SDK."""
    seen: list[type] = []

    def on_start(span: Any, parent_context: Any = None) -> None:
        seen.append(type(span))

    class Sub(SimpleSpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            on_start(span)

    class Duck:
        def __getattr__(self, name: str) -> Any:
            return on_start if name == "on_start" else lambda *_args, **_more: True

    processor: Any = Duck() if kind == "duck" else Sub(InMemorySpanExporter()) if kind == "subclass" else Late()
    if kind == "instance":
        processor.on_start = on_start
    stage = Stage()
    stage.tracer_provider.add_span_processor(processor)

    alone(stage.connect)

    assert 1 == len(seen)
    assert not issubclass(seen[0], LightSpan)


def test_without_processors_nothing_is_recorded() -> None:
    """Where nobody takes spans, a handler's span does not record; ids and flags are those that the SDK would give."""
    provider, twin = (TracerProvider(shutdown_on_exit=False, id_generator=Counted()) for _ in range(2))
    tracer = provider.get_tracer("x")
    maker = LightSpans(tracer, _private.tracer_parts(provider, tracer), Policy())
    context = trace.set_span_in_context(trace.NonRecordingSpan(STRANGE))

    spans = [maker.start("x", SpanKind.SERVER, one, []) for one in (context, Context())]

    sdks = [twin.get_tracer("x").start_span("x", one) for one in (context, Context())]
    assert [context_of(one.get_span_context()) for one in sdks] == [context_of(one.get_span_context()) for one in spans]
    assert [False, False] == [span.is_recording() for span in spans]


def test_records_are_not_made_where_nobody_takes_them() -> None:
    """The writer says whether any log processor is there."""
    stage = Stage()
    bare = LoggerProvider(shutdown_on_exit=False)
    parts = [_private.logger_parts(one, one.get_logger("x")) for one in (stage.logger_provider, bare)]

    wanted = [LightEvents(bare, VERSION, one).is_wanted() for one in parts]

    assert [True, False] == wanted


def test_a_resource_that_changes_is_on_later_spans_and_records() -> None:
    """As the SDK renews it in a forked child, so do light spans and records."""
    stage = Stage()
    renewed = Resource({"service.name": "arena", "service.instance.id": "child"})
    stage.recorder.spans.tracer.resource = renewed  # type: ignore[attr-defined]
    (writer,) = stage.recorder.writers
    assert isinstance(writer, LightEvents)
    writer._parts.logger._resource = renewed

    alone(stage.connect)

    assert [renewed, renewed] == [stage.spans()[0].resource, stage.records()[0].resource]


def test_a_span_with_given_times_keeps_them() -> None:
    """A send that is over already is exported with the times at which it was."""
    for stage in both(lambda stage: stage.recorder.spans.sent("send", NOW - 5, NOW + 5, Cleared({}), None)):
        (span,) = stage.spans()

        assert (NOW - 5, NOW + 5) == (span.start_time, span.end_time)


def test_links_given_at_the_start_are_kept() -> None:
    """A maker's links are the span's."""
    for stage in both(
        lambda stage: stage.recorder.spans.maker.finish(
            stage.recorder.spans.maker.start(
                "x",
                SpanKind.SERVER,
                trace.set_span_in_context(trace.INVALID_SPAN),
                [Link(SpanContext(1, 2, False))],
            ),
            "x",
            {},
            False,
        )
    ):
        (span,) = stage.spans()

        assert [(1, 2)] == [(link.context.trace_id, link.context.span_id) for link in span.links]
