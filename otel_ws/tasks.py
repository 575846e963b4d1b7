"""One message of a worker's channel while its handler is at work: a task, told when it ends.

Sans-I/O: a door says when it begins and ends, in one coroutine. A task belongs to no connection, and has no ids but
those of its span. It refuses to know who sent the message, and what is in it.
"""

from __future__ import annotations

from typing import Any, Final

from otel_ws import semconv
from otel_ws.messages import category_of
from otel_ws.policy import NOTHING
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER, Attribute
from otel_ws.signals import spans as span_tools
from otel_ws.types import Labels, Value

_SYSTEM: Final = semconv.MESSAGING_SYSTEM.choices[0]
_OPERATION: Final = "process"
_WORKER, _HANDLER = "worker", "handler"


class Worker:
    """One consumer of a worker's channel: counted while it runs."""

    __slots__ = ("recorder", "template")

    def __init__(self, recorder: Recorder, channel: object) -> None:
        self.recorder = recorder
        # The name of a channel never leaves, unless it was declared as a template.
        self.template = recorder.policy.label(semconv.TEMPLATE, channel)
        recorder.ledger.add(semconv.WORKERS, (_WORKER,))

    def ended(self) -> None:
        """The consumer is gone."""
        self.recorder.ledger.add(semconv.WORKERS, (_WORKER,), -1.0)


class Task:
    """One message: its span is current while it is handled, its time is taken, its outcome is told when it ends."""

    __slots__ = ("_handler", "_message_type", "_recorder", "_span", "_started_at", "_template", "_token")

    def __init__(self, worker: Worker, message_type: object, handler: str | None, sender: Any) -> None:
        self._recorder = recorder = worker.recorder
        self._template = worker.template
        self._message_type = message_type
        self._handler = handler
        self._span: Any = None
        self._token: Any = None
        recorder.ledger.add(semconv.WORKERS, (_HANDLER,))
        if recorder.is_traced():
            self._span = recorder.spans.process(sender)
            if self._span is not None:
                self._token = span_tools.attach(self._span)
        self._started_at = recorder.clock()

    def end(self, exc: BaseException | None) -> None:
        """The handler returned, or raised ``exc``."""
        recorder = self._recorder
        seconds = recorder.clock() - self._started_at
        label = recorder.policy.label
        error = "" if exc is None else label(semconv.ERROR_TYPE, type(exc).__name__)
        try:
            recorder.ledger.add(semconv.WORKERS, (_HANDLER,), -1.0)
            handler = label(semconv.HANDLER, self._handler)
            labels: Labels = (_SYSTEM, _OPERATION, self._template, handler, error)
            recorder.observe(semconv.PROCESS_DURATION, labels, seconds)
            if isinstance(exc, Exception):
                recorder.error_raised(None, type(exc).__name__, category_of(exc), "high", self._handler)
            self._tell("error" if exc is not None else "success", seconds)
            self._finish_span(handler, error)
        finally:
            if self._token is not None:
                span_tools.detach(self._token)

    def _tell(self, status: str, seconds: float) -> None:
        recorder = self._recorder
        if recorder.is_message_event(status, seconds, span_tools.is_sampled(self._span)):
            about: dict[Attribute, object] = {
                semconv.MESSAGE_TYPE: self._message_type,
                semconv.OUTCOME: status,
                semconv.DURATION: seconds,
                semconv.HANDLER: self._handler,
            }
            recorder.event(semconv.WS_TASK, None, about, self._span)

    def _finish_span(self, handler: str, error: str) -> None:
        if self._span is None:
            return
        recorder, template = self._recorder, self._template
        own: dict[Attribute, Value] = {
            semconv.MESSAGING_SYSTEM: _SYSTEM,
            semconv.OPERATION: _OPERATION,
            semconv.OPERATION_TYPE: _OPERATION,
            semconv.TEMPLATE: template,
            semconv.HANDLER: handler,
        }
        if error:
            own[semconv.ERROR_TYPE] = error
        name = f"process {template}" if template != OTHER else "process"
        recorder.spans.finish(self._span, name, recorder.policy.known(NOTHING, own), error or None)
