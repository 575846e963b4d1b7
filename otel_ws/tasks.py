"""One message of a worker's channel while its handler is at work: a task, told when it ends.

Sans-I/O: a door says when it begins and ends, in one coroutine. A task belongs to no connection, and has no ids but
those of its span and such as the application says. It refuses to know who sent the message, and what is in it.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Final

from otel_ws import semconv
from otel_ws.deliveries import SYSTEM
from otel_ws.messages import category_of
from otel_ws.policy import NOTHING
from otel_ws.recorder import Recorder
from otel_ws.semconv import Attribute
from otel_ws.signals import spans as span_tools
from otel_ws.types import Cleared, Labels, Value

_OPERATION: Final = "process"
_WORKER, _HANDLER = "worker", "handler"
# The task that is at work in this context.
_working: ContextVar[Task | None] = ContextVar("otel_ws_task", default=None)


def at_work() -> Task | None:
    """The task that is at work in this context, if it still is."""
    task = _working.get()
    return None if task is None or task.is_over else task


class Worker:
    """One consumer of a worker's channel: counted while it runs."""

    __slots__ = ("recorder", "template")

    def __init__(self, recorder: Recorder, channel: object) -> None:
        self.recorder = recorder
        # The name of a channel never leaves, but the declared template that it was made from.
        self.template = recorder.deliveries.of_name(channel).template
        recorder.ledger.add(semconv.WORKERS, (_WORKER,))

    def ended(self) -> None:
        """The consumer is gone."""
        self.recorder.ledger.add(semconv.WORKERS, (_WORKER,), -1.0)


class Task:
    """One message: its span is current while it is handled, its time is taken, its outcome is told when it ends."""

    __slots__ = (
        "_before", "_error_type", "_message_type", "_recorder", "_span", "_started_at", "_template", "_token", "_told",
        "handler", "ids", "is_over", "status",
    )  # fmt: skip

    def __init__(
        self, worker: Worker, message_type: object, handler: str | None, sender: Any, sent_at: float | None = None
    ) -> None:
        """A handler begins; ``sender`` has the ids of the span that sent the message at ``sent_at`` (Unix seconds)."""
        self._recorder = recorder = worker.recorder
        self._template = worker.template
        self._message_type = message_type
        self.handler = handler
        self.ids: Cleared = NOTHING
        self.status = "success"
        self.is_over = False
        self._error_type = ""
        self._told: BaseException | None = None
        self._span: Any = None
        self._token: Any = None
        self._before: Token[Task | None] = _working.set(self)
        recorder.ledger.add(semconv.WORKERS, (_HANDLER,))
        if sent_at is not None:
            # Clocks of two hosts differ: a message from the future came at once.
            recorder.observe(semconv.LAYER_LAG, (self._template,), max(0.0, recorder.now_ns() * 1e-9 - sent_at))
        if recorder.is_traced():
            self._span = recorder.spans.process(sender)
            if self._span is not None:
                self._token = span_tools.attach(self._span)
        self._started_at = recorder.clock()

    # --- what the application says of it ------------------------------------------------------------------
    def set_ids(self, ids: dict[Attribute, object]) -> None:
        """The application says what the message is about."""
        policy = self._recorder.policy
        self.ids = policy.known(self.ids, policy.clear("logs", ids))

    def note_type(self, name: object) -> None:
        """The application says what the message is; the policy decides when it is told."""
        self._message_type = name

    def note_error(self, exc: BaseException) -> None:
        """The message went wrong, though the handler may go on; whoever says so tells the error too."""
        self._told = exc
        self._failed(exc)

    def _failed(self, exc: BaseException) -> None:
        self.status = "error"
        self._error_type = self._recorder.policy.label(semconv.ERROR_TYPE, type(exc).__name__)

    # --- the end ------------------------------------------------------------------------------------------
    def end(self, exc: BaseException | None) -> None:
        """The handler returned, or raised ``exc``."""
        recorder = self._recorder
        seconds = recorder.clock() - self._started_at
        self.is_over = True
        try:
            recorder.ledger.add(semconv.WORKERS, (_HANDLER,), -1.0)
            if exc is not None:
                self._failed(exc)
            handler = recorder.policy.label(semconv.HANDLER, self.handler)
            labels: Labels = (SYSTEM, _OPERATION, self._template, handler, self._error_type)
            recorder.observe(semconv.PROCESS_DURATION, labels, seconds)
            if isinstance(exc, Exception) and exc is not self._told:
                recorder.error_raised(None, type(exc).__name__, category_of(exc), "high", self.handler)
            self._tell(seconds)
            self._finish_span(handler, self._error_type)
        finally:
            self._told = None
            if self._token is not None:
                span_tools.detach(self._token)
            _working.reset(self._before)

    def _tell(self, seconds: float) -> None:
        recorder = self._recorder
        if recorder.is_message_event(self.status, seconds, span_tools.is_sampled(self._span)):
            about: dict[Attribute, object] = {
                semconv.MESSAGE_TYPE: self._message_type,
                semconv.OUTCOME: self.status,
                semconv.DURATION: seconds,
                semconv.HANDLER: self.handler,
            }
            recorder.event(semconv.WS_TASK, self, about, self._span)

    def _finish_span(self, handler: str, error: str) -> None:
        if self._span is None:
            return
        recorder, template = self._recorder, self._template
        own: dict[Attribute, Value] = {
            semconv.MESSAGING_SYSTEM: SYSTEM,
            semconv.OPERATION: _OPERATION,
            semconv.OPERATION_TYPE: _OPERATION,
            semconv.TEMPLATE: template,
            semconv.HANDLER: handler,
        }
        if error:
            own[semconv.ERROR_TYPE] = error
        recorder.spans.finish(self._span, f"process {template}", recorder.policy.known(self.ids, own), error or None)
