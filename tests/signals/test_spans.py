"""Spans: short, joined by links made of ids alone, described at their end, without anybody's text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import NonRecordingSpan, NoOpTracerProvider, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_ws import semconv
from otel_ws.semconv import Attribute
from otel_ws.settings import Settings
from otel_ws.signals import spans as tools
from otel_ws.signals.spans import Spans
from otel_ws.types import Cleared, Value

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
UNSAMPLED = (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode())
TRACESTATE = (b"tracestate", b"vendor=alice")


class Readout:
    """Spans on a provider of their own, and what was exported."""

    def __init__(
        self, sampler: Sampler | None = None, random: Callable[[], float] = lambda: 0.5, **settings: Any
    ) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler or ALWAYS_ON, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = provider.get_tracer("test")
        self.spans = Spans(provider, "1.2.3", Settings.load({}, {}, **settings), random)

    def finish(self, span: Any, name: str = "x", values: dict[Attribute, Value] | None = None, **more: Any) -> None:
        """Finish a span with these values."""
        self.spans.finish(span, name, Cleared(values or {}), **more)

    def connect(self, *headers: tuple[bytes, bytes]) -> ReadableSpan:
        """A connect span from start to end."""
        self.finish(self.spans.connect(headers), "connect")
        return self.exported()[-1]

    def message(self, connect: Any) -> ReadableSpan:
        """A message span from start to end."""
        self.finish(self.spans.message(connect), "chat")
        return self.exported()[-1]

    def exported(self) -> Sequence[ReadableSpan]:
        """What was exported so far."""
        return self.exporter.get_finished_spans()


@pytest.fixture(autouse=True)
def _nothing_current() -> Iterator[None]:
    """Each test begins in an empty context."""
    token = otel_context.attach(otel_context.Context())
    yield
    otel_context.detach(token)


def ids(span: Any) -> tuple[int, int]:
    """Trace id and span id."""
    found = span.get_span_context()
    return found.trace_id, found.span_id


# --- connect ----------------------------------------------------------------------------------------------------
def test_connect_is_a_root_without_a_handshakes_parent() -> None:
    """A handshake without ``traceparent`` begins a trace."""
    span = Readout().connect()

    assert (None, SpanKind.SERVER, ()) == (span.parent, span.kind, tuple(span.links))


def test_connect_is_a_child_of_the_handshakes_span() -> None:
    """As HTTP servers do, connect continues the caller's trace by default."""
    span = Readout().connect(TRACEPARENT)

    assert span.parent is not None
    assert (int(TRACE, 16), int(SPAN, 16), True) == (
        span.parent.trace_id,
        span.parent.span_id,
        span.parent.is_remote,
    )


def test_connect_can_link_to_the_handshakes_span() -> None:
    """With ``link`` connect begins a trace and links to the caller's span."""
    span = Readout(connect_context="link").connect(TRACEPARENT)

    (link,) = span.links
    assert span.parent is None
    assert (int(TRACE, 16), int(SPAN, 16)) == (link.context.trace_id, link.context.span_id)


def test_connect_can_ignore_the_handshakes_span() -> None:
    """With ``ignore`` the caller's ids are nowhere."""
    span = Readout(connect_context="ignore").connect(TRACEPARENT)

    assert (None, ()) == (span.parent, tuple(span.links))
    assert int(TRACE, 16) != ids(span)[0]


@pytest.mark.parametrize("mode", ["parent", "link", "ignore"])
def test_the_callers_tracestate_does_not_come_along(mode: str) -> None:
    """The caller's ``tracestate`` is free text: it is on no span and no link."""
    span = Readout(connect_context=mode).connect(TRACEPARENT, TRACESTATE)

    contexts = [span.get_span_context(), *(link.context for link in span.links)]
    assert not any(context is None or context.trace_state for context in contexts)


@pytest.mark.parametrize(
    "header",
    [
        (b"traceparent", b""),
        (b"traceparent", b"alice"),
        (b"traceparent", f"00-{'0' * 32}-{SPAN}-01".encode()),
        (b"traceparent", b"\xff\xfe"),
        (b"x-traceparent", TRACEPARENT[1]),
    ],
    ids=["empty", "text", "zeros", "bytes", "another header"],
)
def test_a_wrong_traceparent_begins_a_trace(header: tuple[bytes, bytes]) -> None:
    """A header that says nothing is as good as none."""
    span = Readout().connect(header)

    assert span.parent is None


@given(
    headers=st.lists(st.tuples(st.sampled_from([b"traceparent", b"Traceparent", b"cookie"]), st.binary()), max_size=3)
)
def test_no_header_makes_connecting_raise(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever headers a client sends, the span starts."""
    span = Readout().spans.connect(headers)

    assert span.get_span_context().is_valid


def test_the_name_of_the_header_may_be_in_any_case() -> None:
    """A server that keeps the case of header names is understood."""
    span = Readout().connect((b"Traceparent", TRACEPARENT[1]))

    assert span.parent is not None


def test_an_unsampled_caller_is_respected() -> None:
    """With the standard parent-based sampler, an unsampled handshake gives no span."""
    readout = Readout(ParentBased(ALWAYS_ON))

    readout.finish(readout.spans.connect([UNSAMPLED]))

    assert () == tuple(readout.exported())


# --- messages ---------------------------------------------------------------------------------------------------
def test_a_message_is_a_trace_of_its_own_linked_to_connect() -> None:
    """By default a message begins a trace and links to the connect span, by ids alone."""
    readout = Readout()
    connect = readout.spans.connect([TRACEPARENT, TRACESTATE])

    span = readout.message(connect)

    (link,) = span.links
    assert (None, SpanKind.SERVER) == (span.parent, span.kind)
    assert ids(connect) == (link.context.trace_id, link.context.span_id)
    assert ids(connect)[0] != ids(span)[0]
    assert {} == dict(link.attributes or {})
    assert not link.context.trace_state


def test_a_message_is_a_root_though_something_is_current() -> None:
    """What is current when the message comes, connect or another's span, is not its parent."""
    readout = Readout()
    connect = readout.spans.connect([])

    token = tools.attach(connect)
    span = readout.message(connect)
    tools.detach(token)

    assert span.parent is None


def test_a_message_can_be_a_child_of_connect() -> None:
    """With ``child`` the message is in the trace of its connection."""
    readout = Readout(message_traces="child")
    connect = readout.spans.connect([])

    span = readout.message(connect)

    assert span.parent is not None
    assert (ids(connect), ()) == ((span.parent.trace_id, span.parent.span_id), tuple(span.links))


def test_messages_can_have_no_spans() -> None:
    """With ``off`` there is no span for a message, nor for a nested consumer."""
    readout = Readout(message_traces="off")
    connect = readout.spans.connect([])

    made = (readout.spans.message(connect), readout.spans.inner(None, connect))

    assert (None, None) == made


@pytest.mark.parametrize("mode", ["linked", "child"])
@pytest.mark.parametrize(("random", "kept"), [(0.0, 1), (0.2499, 1), (0.25, 0), (0.9, 0)])
def test_a_share_of_the_messages_is_kept(mode: str, random: float, kept: int) -> None:
    """A message whose draw is below the ratio is kept, another one is not exported."""
    readout = Readout(random=lambda: random, message_sample_ratio=0.25, message_traces=mode)
    connect = readout.spans.connect([])

    readout.finish(readout.spans.message(connect))

    assert kept == len(readout.exported())


@pytest.mark.parametrize("mode", ["linked", "child"])
def test_nothing_is_drawn_where_all_is_kept(mode: str) -> None:
    """With the ratio 1 no number is drawn."""

    def random() -> float:
        raise AssertionError

    readout = Readout(random=random, message_traces=mode)

    span = readout.message(readout.spans.connect([]))

    assert "chat" == span.name


@pytest.mark.parametrize("mode", ["linked", "child"])
def test_what_runs_in_a_dropped_message_is_dropped_with_it(mode: str) -> None:
    """Spans of others under a message that was not kept are not exported as stray roots."""
    readout = Readout(ParentBased(ALWAYS_ON), message_sample_ratio=0.0, message_traces=mode)
    message = readout.spans.message(readout.spans.connect([]))

    token = tools.attach(message)
    readout.tracer.start_span("query").end()
    tools.detach(token)

    assert () == tuple(readout.exported())
    assert not tools.is_sampled(message)


def test_a_dropped_child_stays_in_the_trace_of_connect() -> None:
    """A message that is a child, and not kept, passes on the trace of its connection."""
    readout = Readout(message_sample_ratio=0.0, message_traces="child")
    connect = readout.spans.connect([])

    message = readout.spans.message(connect)

    assert ids(connect)[0] == ids(message)[0]
    assert ids(connect)[1] != ids(message)[1]


def test_dropped_messages_have_different_ids() -> None:
    """Messages that were not kept are still told apart, on log records and downstream."""
    readout = Readout(message_sample_ratio=0.0)
    connect = readout.spans.connect([])

    made = {ids(readout.spans.message(connect)) for _ in range(100)}

    assert 100 == len(made)
    assert all(trace_id and span_id for trace_id, span_id in made)


def test_a_nested_consumers_span_is_under_the_outer_message() -> None:
    """An inner consumer has an INTERNAL span, a child of the message's."""
    readout = Readout()
    connect = readout.spans.connect([])
    outer = readout.spans.message(connect)

    readout.finish(readout.spans.inner(outer, connect), "inner")

    (span,) = readout.exported()
    assert span.parent is not None
    assert (SpanKind.INTERNAL, ids(outer)) == (span.kind, (span.parent.trace_id, span.parent.span_id))


# --- disconnect -------------------------------------------------------------------------------------------------
def test_disconnect_is_a_trace_of_its_own_linked_to_connect() -> None:
    """The disconnect span begins a trace and links to connect."""
    readout = Readout()
    connect = readout.spans.connect([])

    readout.finish(readout.spans.disconnect(connect), "disconnect")

    (span,) = readout.exported()
    assert (None, SpanKind.SERVER) == (span.parent, span.kind)
    assert [ids(connect)] == [(link.context.trace_id, link.context.span_id) for link in span.links]


# --- sends ------------------------------------------------------------------------------------------------------
def test_a_send_is_a_child_of_what_is_current() -> None:
    """The span of a send is under the message that sent, with the times that it really had."""
    readout = Readout()
    message = readout.spans.message(readout.spans.connect([]))

    token = tools.attach(message)
    readout.spans.sent("send /ws/", 1_000, 2_000, Cleared({semconv.SIZE: 5}), None)
    tools.detach(token)

    (span,) = readout.exported()
    assert span.parent is not None
    assert ids(message) == (span.parent.trace_id, span.parent.span_id)
    assert (SpanKind.INTERNAL, 1_000, 2_000) == (span.kind, span.start_time, span.end_time)
    assert {"ws.message.size": 5} == dict(span.attributes or {})


# --- the end of a span ------------------------------------------------------------------------------------------
def test_a_span_is_named_and_described_at_its_end() -> None:
    """Name and attributes are those that are known when it ends."""
    readout = Readout()

    readout.finish(readout.spans.connect([]), "connect /ws/", {semconv.ROLE: "player", semconv.CLOSE_CODE: 1000})

    (span,) = readout.exported()
    assert "connect /ws/" == span.name
    assert {"ws.role": "player", "ws.close.code": 1000} == dict(span.attributes or {})


def test_a_span_without_an_error_has_no_status() -> None:
    """What went well is left for the operator to judge."""
    span = Readout().connect()

    assert StatusCode.UNSET is span.status.status_code


def test_an_error_is_a_status_without_a_text() -> None:
    """A span that ends with an error has status ERROR, no description and no event."""
    readout = Readout()

    readout.finish(readout.spans.connect([]), "connect", {semconv.ERROR_TYPE: "ValueError"}, error_type="ValueError")

    (span,) = readout.exported()
    assert (StatusCode.ERROR, None) == (span.status.status_code, span.status.description)
    assert () == tuple(span.events)


def test_the_scope_is_ours() -> None:
    """Name, version and schema URL of the scope are those of every signal."""
    scope = Readout().connect().instrumentation_scope

    assert scope is not None
    assert (semconv.SCOPE_NAME, "1.2.3", semconv.SCHEMA_URL) == (scope.name, scope.version, scope.schema_url)


def test_a_span_that_is_not_recording_is_left_alone() -> None:
    """Finishing a span that nobody exports raises nothing."""
    readout = Readout(ALWAYS_OFF)

    readout.finish(readout.spans.connect([]), "connect", {semconv.ROLE: "player"}, error_type="ValueError")

    assert () == tuple(readout.exported())


def test_a_provider_that_does_nothing_is_enough() -> None:
    """Without an SDK, each kind of span starts and ends, and links to nothing."""
    spans = Spans(NoOpTracerProvider(), "1.2.3", Settings(), lambda: 0.5)
    connect = spans.connect([])

    made = [connect, spans.message(connect), spans.inner(None, connect), spans.disconnect(connect)]
    for span in made:
        assert span is not None
        spans.finish(span, "x", Cleared({}))

    assert (0, 0) == tools.current_ids(connect)


# --- making current ---------------------------------------------------------------------------------------------
def test_attaching_keeps_what_else_is_in_the_context() -> None:
    """Baggage and other values stay; only the span changes, and comes back."""
    readout = Readout()
    message = readout.spans.message(readout.spans.connect([]))
    outer = otel_context.attach(otel_context.set_value("theirs", 1))

    token = tools.attach(message)
    inside = (otel_context.get_value("theirs"), trace.get_current_span())
    tools.detach(token)
    after = (otel_context.get_value("theirs"), trace.get_current_span().get_span_context().is_valid)
    otel_context.detach(outer)

    assert (1, message) == inside
    assert (1, False) == after


def test_attaching_none_makes_no_span_current() -> None:
    """After connect, what a handler does is not part of connect."""
    readout = Readout()
    outer = tools.attach(readout.spans.connect([]))

    token = tools.attach(None)
    valid = trace.get_current_span().get_span_context().is_valid
    tools.detach(token)
    tools.detach(outer)

    assert not valid


def test_the_ids_are_those_of_the_span_or_of_the_current_one() -> None:
    """A record belongs to the span that it was told for, else to the current one, else to none."""
    readout = Readout()
    connect = readout.spans.connect([])
    message = readout.spans.message(connect)

    before = tools.current_ids(None)
    token = tools.attach(message)
    inside = (tools.current_ids(None), tools.current_ids(connect))
    tools.detach(token)

    assert (0, 0) == before
    assert (ids(message), ids(connect)) == inside


def test_a_record_can_be_put_into_the_context_of_a_span() -> None:
    """The context of a record is that of its span, else the current one."""
    connect = Readout().spans.connect([])

    found = trace.get_current_span(tools.in_context(connect))

    assert connect is found
    assert otel_context.get_current() == tools.in_context(None)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: None, False),
        (lambda: Readout().spans.connect([]), True),
        (lambda: Readout(ALWAYS_OFF).spans.connect([]), False),
        (lambda: NonRecordingSpan(trace.INVALID_SPAN_CONTEXT), False),
    ],
    ids=["no span", "sampled", "not sampled", "invalid"],
)
def test_a_span_says_whether_it_is_sampled(make: Callable[[], Any], expected: bool) -> None:
    """Sampled is what will be exported."""
    sampled = tools.is_sampled(make())

    assert expected == sampled


def test_what_a_message_passes_on_has_no_tracestate_of_the_caller() -> None:
    """A request that the application makes in a handler carries our ids and nobody's text."""
    readout = Readout(message_traces="child")
    message = readout.spans.message(readout.spans.connect([TRACEPARENT, TRACESTATE]))
    carrier: dict[str, str] = {}

    token = tools.attach(message)
    TraceContextTextMapPropagator().inject(carrier)
    tools.detach(token)

    assert ["traceparent"] == list(carrier)
    assert carrier["traceparent"].startswith(f"00-{TRACE}-")
