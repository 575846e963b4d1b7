"""Door: consumers. The instance's ``dispatch`` is wrapped, because that is where a handler's context lives.

``receive`` runs in a task of its own, so what it makes current never reaches a handler. One wrapper serves sync
and async consumers: Channels awaits ``dispatch`` for both.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels.exceptions import StopConsumer

from otel_ws import sse
from otel_ws.asgi import opened, running
from otel_ws.channels.inbox import Inbox, arriving
from otel_ws.channels.worker import at_work
from otel_ws.connection import Connection
from otel_ws.faults import fault
from otel_ws.handling import Handling, working
from otel_ws.policy import RAW_HANDLER
from otel_ws.semconv import OTHER, UNKNOWN
from otel_ws.types import Message, Receive, Scope, Send

_ABSENT: Final = object()
_TRACEPARENT: Final = "traceparent"
_KINDS: Final = ("websocket.connect", "websocket.receive", "websocket.disconnect")


def observed_call(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``AsyncConsumer.__call__`` that joins the connection, or opens it where no middleware has."""

    @functools.wraps(original)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope.get("type")
        if kind == "channel" and (work := at_work(self, scope)) is not None:
            with work:
                return await original(self, scope, receive, send)
        if kind == "http" and (request := sse.running()) is not None:
            request.handed_to(scope, type(self))
            inbox = Inbox(request.recorder.now_ns, is_watched=False)
            arriving.set(inbox)
            try:
                return await original(self, scope, receive, send)
            finally:
                _leave(inbox)
        if kind == "websocket" and (connection := running()) is not None:
            watch = _watch(self, connection, scope)
            try:
                return await original(self, scope, receive, send)
            finally:
                if watch is not None:
                    watch.leave()
        if (conversation := opened(scope, receive, send)) is None:
            return await original(self, scope, receive, send)
        with conversation:
            return await call(self, scope, conversation.receive, conversation.send)

    return call


def _leave(inbox: Inbox) -> None:
    try:
        inbox.leave()
    except Exception as exc:
        fault("layer.left", exc)


def _watch(consumer: Any, connection: Connection, scope: Scope) -> Watch | None:
    try:
        own = vars(consumer)
        if type(getattr(own.get("dispatch"), "__self__", None)) is Watch:
            # Somebody keeps a wrapper of ours from an earlier start around the seam; once is enough.
            return None
        kind: type = type(consumer)
        return Watch(consumer, connection, connection.complete(scope, kind), *_traits(kind))
    except Exception as exc:
        fault("consumer", exc)
        return None


@functools.lru_cache(256)
def _traits(consumer: type) -> tuple[dict[object, str], bool]:
    """Of a consumer's class: the method for each type of message met so far, and whether messages are JSON."""
    handlers: dict[object, str] = {}
    for kind in _KINDS:
        name = _handler(consumer, kind)
        if name is not None:
            handlers[kind] = name
    return handlers, callable(getattr(consumer, "receive_json", None))


def _handler(consumer: Any, kind: object) -> str | None:
    name = str(kind).replace(".", "_")
    return name if hasattr(consumer, name) else None


class Watch:
    """One consumer while it runs: what stands in for its ``dispatch``, and for its ``receive_json`` if it has one."""

    __slots__ = (
        "_before", "_connection", "_consumer", "_default", "_dispatch", "_handlers", "_inbox", "_outermost", "_receive",
    )  # fmt: skip

    def __init__(
        self, consumer: Any, connection: Connection, outermost: bool, handlers: dict[object, str], has_json: bool
    ) -> None:
        own = vars(consumer)
        self._consumer = consumer
        self._connection = connection
        self._outermost = outermost
        self._handlers = handlers
        # A raw consumer's messages have no type of their own; its handler's name stands for one.
        self._default = UNKNOWN if has_json else RAW_HANDLER
        self._before = (own.get("dispatch", _ABSENT), own.get("receive_json", _ABSENT))
        self._inbox = Inbox(connection.recorder.now_ns)
        arriving.set(self._inbox)
        self._dispatch = consumer.dispatch
        self._receive: Any = consumer.receive_json if has_json else None
        consumer.dispatch = self.dispatch
        if has_json:
            consumer.receive_json = self.receive_json

    def leave(self) -> None:
        """Give the consumer its own methods back; without the wrappers the two no longer hold each other."""
        own = vars(self._consumer)
        for name, before in zip(("dispatch", "receive_json"), self._before, strict=True):
            if before is not _ABSENT:
                own[name] = before
            else:
                own.pop(name, None)
        _leave(self._inbox)

    async def dispatch(self, message: Message) -> Any:
        """The consumer's ``dispatch``, as one handler at work."""
        handling: Handling | None = None
        try:
            kind = message["type"]
            name = self._handlers.get(kind)
            if name is None and (name := _handler(self._consumer, kind)) is not None:
                self._handlers[kind] = name
            handling = Handling(self._connection, kind, name, self._outermost, self._default)
            handed = self._inbox.message
            # Where something of the application's is between, it may hand on another dict: the next one that is no
            # message of the connection itself, since a consumer asks for one at a time.
            if handed is not None and (handed is message or kind not in _KINDS):
                carrier = self._inbox.taken(self._connection)
                if self._connection.is_traced:
                    handling.process(*((None, OTHER) if carrier is None else (carrier.context, carrier.template)))
            if handling.span is not None or not handling.follows:
                handling.attach()
        except Exception as exc:
            fault("dispatch", exc)
        try:
            result = await self._dispatch(message)
        except BaseException as exc:
            if handling is not None:
                _ended(handling, None if isinstance(exc, StopConsumer) else exc)
            raise
        if handling is not None:
            try:
                handling.end(None)
            except Exception as exc:
                fault("dispatch", exc)
        return result

    def receive_json(self, content: Any = _ABSENT, *args: Any, **kwargs: Any) -> Any:
        """The consumer's ``receive_json``, whose content names the message's type.

        A plain function that hands back the inner coroutine: it serves sync consumers too, and adds no frame.
        """
        try:
            handling = working.get()
            if handling is not None and not handling.is_over and isinstance(content, dict):
                recorder = self._connection.recorder
                handling.note_type(content.get(recorder.settings.message_type_key))
                if recorder.spans.follows_messages:
                    handling.note_context(content.get(_TRACEPARENT))
        except Exception as exc:
            fault("receive_json", exc)
        receive = self._receive
        if content is _ABSENT:
            return receive(*args, **kwargs)
        return receive(content, *args, **kwargs) if args or kwargs else receive(content)


def _ended(handling: Handling, exc: BaseException | None) -> None:
    try:
        handling.end(exc)
    except Exception as failure:
        fault("dispatch", failure)
