"""One handler at work on one message: from when it begins until it returns or raises.

Sans-I/O like ``connection``: a door says when it begins and ends, in one coroutine; nothing here awaits.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from otel_ws import semconv
from otel_ws.connection import Connection
from otel_ws.semconv import UNKNOWN
from otel_ws.signals import spans as span_tools


class Handling:
    """One handler at work: its span is current, its time is taken, its outcome is told when it ends."""

    __slots__ = (
        "_connection",
        "_error_type",
        "_previous",
        "_started_at",
        "_token",
        "handler",
        "kind",
        "message_type",
        "outermost",
        "span",
        "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, kind: str, handler: str | None, outermost: bool) -> None:
        self._connection = connection
        self.kind = kind
        self.handler = handler
        self.outermost = outermost
        self.status = "success"
        self.message_type: str | None = None
        self._error_type: str | None = None
        self._previous = connection.handled
        self.span: Any = None
        self._token: Token[Any] | None = None
        recorder = connection.recorder
        self._started_at = recorder.clock()
        if kind == "websocket.connect":
            # The connect span is current already, in the coroutine that called the application.
            pass
        elif kind == "websocket.receive":
            name = f"{UNKNOWN} {connection.route}"
            if outermost:
                recorder.message_waited(connection, self._started_at - connection.received_at)
                self.span = recorder.spans.message(connection.connect_span, name)
                connection.last_message_span = self.span
                connection.sends = 0
                connection.longest_send = 0.0
            else:
                self.span = recorder.spans.inner(connection.last_message_span, connection.connect_span, name)
        elif kind == "websocket.disconnect" and outermost:
            self.span = connection.disconnect_span
        connection.handled = self

    def attach(self) -> None:
        """Make the handler's span current (or none, after connect) in this coroutine."""
        if self.kind != "websocket.connect":
            self._token = span_tools.attach(self.span)

    def note_type(self, name: object) -> None:
        """The message calls itself ``name``: kept if it is declared, else it is ``unknown``."""
        policy = self._connection.recorder.policy
        self.message_type = str(name) if policy.is_declared(semconv.MESSAGE_TYPE, name) else UNKNOWN
        beat = self._connection.recorder.policy.heartbeat
        if beat is not None and self.message_type == beat[0]:
            self._connection.heartbeat_seen()

    def note_error(self, exc: BaseException, status: str = "error") -> None:
        """The message went wrong, though the handler may go on."""
        self.status = status
        self._error_type = self._connection.recorder.policy.label(semconv.ERROR_TYPE, type(exc).__name__)

    def end(self, exc: BaseException | None) -> None:
        """The handler returned, or raised ``exc``."""
        connection, recorder = self._connection, self._connection.recorder
        seconds = recorder.clock() - self._started_at
        try:
            if exc is not None:
                self.note_error(exc)
                if isinstance(exc, Exception) and not (isinstance(exc, OSError) and exc is connection.send_failed):
                    connection.tell_error(exc, self.handler)
            if self.outermost:
                connection.handler_failed = exc is not None
                recorder.handler_ended(connection, seconds)
            if self.kind == "websocket.receive":
                self._message_ended(seconds)
            elif self.kind == "websocket.disconnect" and self.outermost:
                recorder.disconnect_finished(connection, self._error_type)
        finally:
            if connection.handled is self:
                connection.handled = self._previous
            self._previous = None
            if self._token is not None:
                span_tools.detach(self._token)
                self._token = None

    def _message_ended(self, seconds: float) -> None:
        connection, recorder = self._connection, self._connection.recorder
        message_type = self.message_type or UNKNOWN
        size = connection.received_size
        if self.outermost:
            sampled = span_tools.is_sampled(self.span)
            recorder.message_handled(connection, message_type, self.status, seconds, size, sampled)
        if self.span is not None:
            raw = {
                **connection.described(),
                semconv.MESSAGE_TYPE: message_type,
                semconv.OUTCOME: self.status,
                semconv.SIZE: size,
                semconv.HANDLER: self.handler,
                semconv.SENDS: connection.sends if self.outermost else None,
                semconv.SEND_LONGEST: connection.longest_send if self.outermost and connection.sends else None,
                semconv.ERROR_TYPE: self._error_type,
            }
            attributes = recorder.policy.clear("traces", raw)
            recorder.spans.finish(self.span, f"{message_type} {connection.route}", attributes, self._error_type)
