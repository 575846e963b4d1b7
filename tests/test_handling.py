"""One handler at work: what is timed, counted and named, and what is current meanwhile."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
from opentelemetry import trace

from otel_ws import semconv, testing
from otel_ws.connection import Connection
from otel_ws.handling import Handling, at_work
from otel_ws.testing import Telemetry

RECEIVED = {"type": "websocket.receive", "text": "hello"}


@pytest.fixture
def connection(telemetry: Telemetry, no_faults: None) -> Connection:
    """An open connection with one message that waits for its handler."""
    telemetry.recorder.policy.declare(semconv.MESSAGE_TYPE, ["subscribe"])
    connection = Connection(telemetry.recorder, {"type": "websocket", "headers": []})
    accept = {"type": "websocket.accept"}
    connection.sent(accept, connection.sending())
    connection.received(RECEIVED, 0.0)
    return connection


def test_returned_handler_is_a_success(telemetry: Telemetry, connection: Connection) -> None:
    """A handler that returns makes its message a success."""
    Handling(connection, "websocket.receive", "receive", True).end(None)

    assert 1 == telemetry.value("ws.messages", status="success")


def test_raised_exception_is_an_error(telemetry: Telemetry, connection: Connection) -> None:
    """A handler that raises makes its message an error."""
    Handling(connection, "websocket.receive", "receive", True).end(ValueError("Ada"))

    assert 1 == telemetry.value("ws.messages", status="error")


def test_raised_exception_marks_the_span(telemetry: Telemetry, connection: Connection) -> None:
    """A failed message's span has status ERROR and the class, no text and no recorded exception."""
    Handling(connection, "websocket.receive", "receive", True).end(ValueError("Ada"))

    span = telemetry.span("unknown _OTHER")
    assert (trace.StatusCode.ERROR, None, "ValueError", ()) == (
        span.status.status_code,
        span.status.description,
        (span.attributes or {}).get("error.type"),
        tuple(span.events),
    )


def test_error_is_told_once_on_its_way_out(telemetry: Telemetry, connection: Connection) -> None:
    """An exception that passes two handlers and the application is one error."""
    raised = ValueError("Ada")
    outer = Handling(connection, "websocket.receive", "receive", True)
    Handling(connection, "websocket.receive", "receive", False).end(raised)
    outer.end(raised)

    connection.failed(raised)

    assert 1 == telemetry.value("ws.errors")


def test_declared_type_names_the_span(telemetry: Telemetry, connection: Connection) -> None:
    """A message of a declared type gives its span the name."""
    handling = Handling(connection, "websocket.receive", "receive", True)
    handling.note_type("subscribe")

    handling.end(None)

    assert ["connect _OTHER", "subscribe _OTHER"] == telemetry.span_names()


@pytest.mark.parametrize("name", ["invented", "", None, 7, ["subscribe"], {"a": 1}, "subscribe "])
def test_invented_type_is_unknown(telemetry: Telemetry, connection: Connection, name: object) -> None:
    """A type that a client invented is unknown."""
    handling = Handling(connection, "websocket.receive", "receive", True)
    handling.note_type(name)

    handling.end(None)

    assert 1 == telemetry.value("ws.messages", type="unknown")


def test_span_is_current_while_the_handler_works(connection: Connection) -> None:
    """The message's span is current between attach and end."""
    handling = Handling(connection, "websocket.receive", "receive", True)
    handling.attach()

    inside = trace.get_current_span()
    handling.end(None)

    assert handling.span is inside


def test_what_was_current_before_is_current_again(connection: Connection) -> None:
    """After the handler, whatever was current before it is current again."""
    before = trace.get_current_span()
    handling = Handling(connection, "websocket.receive", "receive", True)
    handling.attach()

    handling.end(None)

    assert before is trace.get_current_span()


def test_handler_of_another_kind_has_no_span(telemetry: Telemetry, connection: Connection) -> None:
    """A handler of a layer message runs under no span of the connection."""
    handling = Handling(connection, "chat.message", "chat_message", True)
    handling.attach()

    inside = trace.get_current_span().get_span_context().is_valid
    handling.end(None)

    assert (False, ["connect _OTHER"]) == (inside, telemetry.span_names())


def test_handler_of_another_kind_is_no_message(telemetry: Telemetry, connection: Connection) -> None:
    """A handler of a layer message does not count as a client's message."""
    Handling(connection, "chat.message", "chat_message", True).end(None)

    assert 0 == telemetry.value("ws.messages")


def test_message_span_links_to_connect(telemetry: Telemetry, connection: Connection) -> None:
    """A message is a trace of its own with one link, to the connect span."""
    Handling(connection, "websocket.receive", "receive", True).end(None)

    connect, message = telemetry.span("connect _OTHER"), telemetry.span("unknown _OTHER")
    assert (None, [connect.context.span_id]) == (message.parent, [link.context.span_id for link in message.links])
    assert connect.context.trace_id != message.context.trace_id


def test_inner_handler_is_not_counted(telemetry: Telemetry, connection: Connection) -> None:
    """A message that an inner consumer handles too is one message."""
    outer = Handling(connection, "websocket.receive", "receive", True)
    Handling(connection, "websocket.receive", "receive", False).end(None)

    outer.end(None)

    assert 1 == telemetry.value("ws.messages")


def test_inner_handler_has_an_internal_span(telemetry: Telemetry, connection: Connection) -> None:
    """An inner consumer's span is INTERNAL and a child of the outer's."""
    outer = Handling(connection, "websocket.receive", "receive", True)
    inner = Handling(connection, "websocket.receive", "receive", False)
    inner.end(None)
    outer.end(None)

    spans = {span.context.span_id: span for span in telemetry.spans()}
    span = spans[inner.span.get_span_context().span_id]
    assert (trace.SpanKind.INTERNAL, outer.span.get_span_context().span_id) == (
        span.kind,
        span.parent.span_id if span.parent else None,
    )


def test_interleaved_handlers_leave_nothing_at_work(connection: Connection) -> None:
    """An inner consumer in a task of its own may outlast the outer handler; after both, none is at work in either."""
    tasks = [contextvars.copy_context(), contextvars.copy_context()]
    handlers = [
        task.run(Handling, connection, "websocket.receive", "receive", outermost)
        for task, outermost in zip(tasks, (True, False), strict=True)
    ]
    for task, handling in zip(tasks, handlers, strict=True):
        task.run(handling.attach)

    for task, handling in zip(tasks, handlers, strict=True):
        task.run(handling.end, None)

    assert [None, None] == [task.run(at_work) for task in tasks]


def test_busy_time_is_the_time_in_handlers(clock: Any) -> None:
    """Seconds in outermost handlers add up, those of inner ones are in them already."""
    with testing.capture(injected={"clock": clock}) as telemetry:
        connection = Connection(telemetry.recorder, {})
        outer = Handling(connection, "websocket.receive", "receive", True)
        clock.now += 1.0
        inner = Handling(connection, "websocket.receive", "receive", False)
        clock.now += 2.0
        inner.end(None)

        outer.end(None)

        assert 3.0 == telemetry.value("ws.connection.busy_time")


def test_wait_is_the_time_before_the_handler(clock: Any) -> None:
    """The wait lasts from the message's arrival until its handler begins."""
    with testing.capture(injected={"clock": clock}) as telemetry:
        connection = Connection(telemetry.recorder, {})
        connection.received(RECEIVED, clock.now)
        clock.now += 2.0

        Handling(connection, "websocket.receive", "receive", True).end(None)

        (found,) = telemetry.recorder.snapshot().distributions[semconv.MESSAGE_WAIT].values()
        assert 2.0 == found.sum


@pytest.mark.parametrize(("waited", "backlogged"), [(0.00005, 1), (0.001, 0)])
def test_receive_that_did_not_wait_is_a_backlog(clock: Any, waited: float, backlogged: int) -> None:
    """A message that came at once was queued already."""
    with testing.capture(injected={"clock": clock}) as telemetry:
        connection = Connection(telemetry.recorder, {})

        connection.received(RECEIVED, clock.now - waited)

        assert backlogged == telemetry.value("ws.message.backlogged")


def test_sends_are_described_on_the_message_span(clock: Any) -> None:
    """The message's span says how many messages its handler sent and how long the slowest took."""
    with testing.capture(injected={"clock": clock}) as telemetry:
        connection = Connection(telemetry.recorder, {})
        handling = Handling(connection, "websocket.receive", "receive", True)
        for seconds in (0.25, 0.5):
            reply = {"type": "websocket.send", "text": "x"}
            started_at = connection.sending()
            clock.now += seconds
            connection.sent(reply, started_at)

        handling.end(None)

        attributes = telemetry.span("unknown _OTHER").attributes or {}
        assert (2, 0.5) == (attributes["ws.send.count"], attributes["ws.send.longest"])


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [({"message_traces": "off"}, []), ({"message_sample_ratio": 0.0}, []), ({"message_sample_ratio": 1.0}, ["m"])],
)
def test_message_spans_can_be_turned_down(settings: dict[str, Any], kinds: list[str]) -> None:
    """Message spans follow their two settings; messages are counted all the same."""
    with testing.capture(**settings) as telemetry:
        connection = Connection(telemetry.recorder, {})

        Handling(connection, "websocket.receive", "receive", True).end(None)

        assert (len(kinds), 1) == (len(telemetry.spans()), telemetry.value("ws.messages"))


def test_message_span_can_be_a_child() -> None:
    """With message_traces=child the message is in the connect span's trace, as its child."""
    with testing.capture(message_traces="child") as telemetry:
        connection = Connection(telemetry.recorder, {})

        Handling(connection, "websocket.receive", "receive", True).end(None)

        (span,) = telemetry.spans()
        assert connection.connect_span.get_span_context().span_id == (span.parent.span_id if span.parent else None)


@pytest.mark.parametrize(
    ("wanted", "seconds", "raised", "told"),
    [
        ("all", 0.0, None, 1),
        ("off", 9.0, ValueError(), 0),
        ("errors", 9.0, None, 0),
        ("errors", 0.0, ValueError(), 1),
        ("slow", 0.09, None, 0),
        ("slow", 0.11, None, 1),
        ("slow", 0.0, ValueError(), 1),
        ("sampled", 0.0, None, 1),
    ],
)
def test_message_events_follow_their_setting(
    clock: Any, wanted: str, seconds: float, raised: Exception | None, told: int
) -> None:
    """Which handled messages become events is a setting."""
    with testing.capture(injected={"clock": clock}, message_events=wanted) as telemetry:
        connection = Connection(telemetry.recorder, {})
        handling = Handling(connection, "websocket.receive", "receive", True)
        clock.now += seconds

        handling.end(raised)

        assert told == len(telemetry.events("WS_MESSAGE"))


def test_denied_message_is_not_an_error(telemetry: Telemetry, connection: Connection) -> None:
    """A message that the application refused is permission_denied and its span has no error status."""
    handling = Handling(connection, "websocket.receive", "receive", True)
    handling.status = "permission_denied"

    handling.end(None)

    span = telemetry.span("unknown _OTHER")
    assert (1, trace.StatusCode.UNSET) == (
        telemetry.value("ws.messages", status="permission_denied"),
        span.status.status_code,
    )
