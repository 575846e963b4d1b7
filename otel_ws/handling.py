"""One handler at work on one message: from when it begins until it returns or raises.

Sans-I/O like ``connection``: a door says when it begins and ends, in one coroutine; nothing here awaits.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Final

from otel_ws import semconv
from otel_ws.connection import Connection
from otel_ws.deliveries import SYSTEM
from otel_ws.semconv import UNKNOWN
from otel_ws.signals import spans as span_tools

_TYPE: Final = semconv.MESSAGE_TYPE.key
_OUTCOME: Final = semconv.OUTCOME.key
_SIZE: Final = semconv.SIZE.key
_HANDLER: Final = semconv.HANDLER.key
_SENDS: Final = semconv.SENDS.key
_LONGEST: Final = semconv.SEND_LONGEST.key
_ERROR: Final = semconv.ERROR_TYPE.key
_SYSTEM: Final = semconv.MESSAGING_SYSTEM.key
_OPERATION: Final = semconv.OPERATION.key
_OPERATION_TYPE: Final = semconv.OPERATION_TYPE.key
_TEMPLATE: Final = semconv.TEMPLATE.key

# The handler that is at work in this context: exact for nested consumers too, which interleave.
working: ContextVar[Handling | None] = ContextVar("otel_ws_handling", default=None)


def at_work() -> Handling | None:
    """The handler that is at work in this context, if it still is."""
    handling = working.get()
    return None if handling is None or handling.is_over else handling


class Handling:
    """One handler at work: its span is current, its time is taken, its outcome is told when it ends."""

    __slots__ = (
        "_connection", "_error_type", "_previous", "_started_at", "_template", "_token", "follows", "handler",
        "is_over", "kind", "message_type", "outermost", "span", "status",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, kind: str, handler: str | None, outermost: bool, message_type: str = UNKNOWN
    ) -> None:
        self._connection = connection
        self.kind = kind
        self.handler = handler
        self.message_type = message_type
        self.status = "success"
        # `follows`: a message after another in one context; the connect span was put aside there for good.
        self.is_over = self.follows = False
        self.span: Any = None
        # Of a channel layer's message that has a span.
        self._template: str | None = None
        self._error_type: str | None = None
        self._previous: Handling | None = None
        self._token: Token[Any] | None = None
        before = working.get()
        if before is not None and before._connection is connection:
            if not before.is_over:
                # A dispatch inside a dispatch is the application calling itself, not another message.
                self._previous = before
                outermost = False
            self.follows = before.kind != "websocket.connect"
        self.outermost = outermost
        working.set(self)
        if kind == "websocket.receive":
            spans = connection.recorder.spans
            if outermost:
                connection.sends = 0
                connection.longest_send = 0.0
                if spans.has_messages and connection.is_traced:
                    connection.last_message_span = self.span = spans.message(
                        connection.connect_span, connection.connect_links, connection.resting
                    )
            elif connection.is_traced:
                self.span = spans.inner(connection.last_message_span, connection.connect_span)
        elif kind == "websocket.disconnect" and outermost:
            self.span = connection.disconnect_span
        self._started_at = connection.clock()

    def process(self, sender: Any, template: str) -> None:
        """The message is a channel layer's: ``sender`` has the ids of the span that published it, if any are known."""
        recorder = self._connection.recorder
        self.span = recorder.spans.process(sender)
        self._template = recorder.deliveries.of(template).template

    def attach(self) -> None:
        """Make the handler's span current in this coroutine; after connect, without one, nothing is."""
        if self.kind != "websocket.connect" and not self.follows and self._connection.connect_links:
            # Not undone: in the coroutine that runs the application the connect span must not come back.
            span_tools.attach(self._connection.resting)
        if self.span is not None and self.span is not self._connection.resting:
            self._token = span_tools.attach(self.span)

    def note_type(self, name: object) -> None:
        """The message calls itself ``name``: kept if it is declared, else it is ``unknown``."""
        policy = self._connection.recorder.policy
        if type(name) is str and name in policy.message_types:
            self.message_type = name
        else:
            self.message_type = str(name) if policy.is_declared(semconv.MESSAGE_TYPE, name) else UNKNOWN
        beat = policy.heartbeat
        if beat is not None and self.message_type == beat[0]:
            self._connection.heartbeat_seen()

    def note_context(self, traceparent: object) -> None:
        """The message says to which of its client's spans it belongs."""
        self._connection.recorder.spans.follow(self.span, traceparent)

    def note_error(self, exc: BaseException) -> None:
        """The message went wrong, though the handler may go on."""
        self.status = "error"
        self._error_type = self._connection.recorder.policy.label(semconv.ERROR_TYPE, type(exc).__name__)

    def end(self, exc: BaseException | None) -> None:
        """The handler returned, or raised ``exc``."""
        connection = self._connection
        seconds = connection.clock() - self._started_at
        try:
            if exc is None:
                # The exception, and with it the frames that it holds, is not ours to keep.
                connection.told = None
            else:
                self._raised(exc)
            if self.outermost:
                connection.handler_failed = exc is not None
            if self.kind == "websocket.receive":
                if self.outermost:
                    self._message_ended(connection, seconds)
                if self.span is not None:
                    self._finish_span()
                return
            if self._template is not None and self.span is not None:
                self._finish_process(self._template)
            if self.outermost:
                connection.cells[connection.tally.busy] += seconds
                if self.kind == "websocket.disconnect" and connection.disconnect_span is not None:
                    connection.recorder.disconnect_finished(connection, self._error_type)
        finally:
            self.is_over = True
            if self._previous is not None or self.kind == "websocket.connect":
                working.set(self._previous)
                self._previous = None
            if self._token is not None:
                span_tools.detach(self._token)
                self._token = None

    def _raised(self, exc: BaseException) -> None:
        connection = self._connection
        self.note_error(exc)
        if isinstance(exc, Exception) and not connection.is_gone(exc):
            connection.tell_error(exc, self.handler)

    def _message_ended(self, connection: Connection, seconds: float) -> None:
        recorder, status = connection.recorder, self.status
        waited = self._started_at - connection.received_at
        bucket = connection.tally.handled(connection.cells, self.message_type, status, waited, seconds)
        is_sampled = False
        if self.span is not None:
            ids = self.span.get_span_context()
            is_sampled = ids.trace_flags.sampled
            if is_sampled:
                recorder.ledger.exemplars[bucket] = (seconds, recorder.now_ns(), ids.trace_id, ids.span_id)
        if recorder.by_api:
            recorder.by_api_observe(semconv.MESSAGE_LATENCY, (*connection.door, self.message_type), seconds)
            recorder.by_api_observe(semconv.MESSAGE_WAIT, connection.door, waited)
        if seconds > recorder.told_over or is_sampled or status != "success":
            self._tell(seconds, is_sampled)

    def _tell(self, seconds: float, is_sampled: bool) -> None:
        connection = self._connection
        if connection.recorder.is_message_event(self.status, seconds, is_sampled):
            size = connection.received_size
            connection.recorder.message_handled(connection, self.message_type, self.status, seconds, size, self.span)

    def _finish_process(self, template: str) -> None:
        connection, span = self._connection, self.span
        if not span.is_recording():
            span.end()
            return
        attributes = connection.described_by_key().copy()
        attributes |= {_SYSTEM: SYSTEM, _OPERATION: "process", _OPERATION_TYPE: "process", _TEMPLATE: template}
        if self.handler is not None:
            attributes[_HANDLER] = self.handler
        if self._error_type is not None:
            attributes[_ERROR] = self._error_type
        is_error = self._error_type is not None
        connection.recorder.spans.maker.finish(span, f"process {template}", attributes, is_error)

    def _finish_span(self) -> None:
        connection, span = self._connection, self.span
        if not span.is_recording():
            span.end()
            return
        # In their form by construction: labels cleared before, our own constants, numbers that we measured.
        attributes = connection.described_by_key().copy()
        attributes[_TYPE] = self.message_type
        attributes[_OUTCOME] = self.status
        attributes[_SIZE] = connection.received_size
        if self.handler is not None:
            attributes[_HANDLER] = self.handler
        if self.outermost:
            attributes[_SENDS] = connection.sends
            if connection.sends:
                attributes[_LONGEST] = connection.longest_send
        if self._error_type is not None:
            attributes[_ERROR] = self._error_type
        is_error = self._error_type is not None
        connection.recorder.spans.maker.finish(span, f"{self.message_type} {connection.route}", attributes, is_error)
