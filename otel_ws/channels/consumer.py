"""Door: consumers. The instance's ``dispatch`` is wrapped, because that is where a handler's context lives.

``receive`` runs in a task of its own, so what it makes current never reaches a handler. One wrapper serves sync
and async consumers: Channels awaits ``dispatch`` for both.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from channels.exceptions import StopConsumer

from otel_ws.asgi import opened, running
from otel_ws.connection import Connection
from otel_ws.faults import fault
from otel_ws.handling import Handling, working
from otel_ws.policy import RAW_HANDLER
from otel_ws.semconv import UNKNOWN
from otel_ws.types import Message, Receive, Scope, Send

_ABSENT = object()
# By its code a wrapper of ours is known, whatever it wraps.
_codes: set[object] = set()
_KINDS = ("websocket.connect", "websocket.receive", "websocket.disconnect")


def observed_call(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``AsyncConsumer.__call__`` that joins the connection, or opens it where no middleware has."""

    @functools.wraps(original)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope.get("type") != "websocket":
            return await original(self, scope, receive, send)
        if (connection := running()) is not None:
            before = _wrap(self, connection, scope)
            try:
                return await original(self, scope, receive, send)
            finally:
                _unwrap(self, before)
        if (conversation := opened(scope, receive, send)) is None:
            return await original(self, scope, receive, send)
        with conversation:
            return await call(self, scope, conversation.receive, conversation.send)

    return call


def _wrap(consumer: Any, connection: Connection, scope: Scope) -> dict[str, Any]:
    """Wrap the instance's methods; returns what was there before."""
    before: dict[str, Any] = {}
    try:
        own = vars(consumer)
        if "dispatch" in own and getattr(own["dispatch"], "__code__", None) in _codes:
            # Somebody keeps a wrapper of ours from an earlier start around the seam; once is enough.
            return before
        kind: type = type(consumer)
        handlers, has_json = _traits(kind)
        outermost = connection.complete(scope, kind)
        # A raw consumer's messages have no type of their own; its handler's name stands for one.
        default = UNKNOWN if has_json else RAW_HANDLER
        dispatch = _dispatch(consumer, connection, outermost, handlers, default)
        before["dispatch"] = own.get("dispatch", _ABSENT)
        consumer.dispatch = dispatch
        if has_json:
            receive_json = _receive_json(consumer.receive_json, connection)
            before["receive_json"] = own.get("receive_json", _ABSENT)
            consumer.receive_json = receive_json
    except Exception as exc:
        fault("consumer", exc)
    return before


def _unwrap(consumer: Any, before: dict[str, Any]) -> None:
    # Without the wrapper the consumer and its dispatch no longer hold each other.
    own = vars(consumer)
    for name, value in before.items():
        if value is _ABSENT:
            own.pop(name, None)
        else:
            own[name] = value


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


def _dispatch(
    consumer: Any, connection: Connection, outermost: bool, handlers: dict[object, str], default: str
) -> Callable[[Message], Awaitable[Any]]:
    inner = consumer.dispatch

    async def dispatch(message: Message) -> Any:
        handling: Handling | None = None
        try:
            kind = message["type"]
            name = handlers.get(kind)
            if name is None and (name := _handler(consumer, kind)) is not None:
                handlers[kind] = name
            handling = Handling(connection, kind, name, outermost, default)
            if handling.span is not None or not handling.follows:
                handling.attach()
        except Exception as exc:
            fault("dispatch", exc)
        try:
            result = await inner(message)
        except BaseException as exc:
            if handling is not None:
                _ended(handling, None if isinstance(exc, StopConsumer) else exc)
            raise
        if handling is not None:
            _ended(handling, None)
        return result

    _codes.add(dispatch.__code__)
    return dispatch


def _ended(handling: Handling, exc: BaseException | None) -> None:
    try:
        handling.end(exc)
    except Exception as failure:
        fault("dispatch", failure)


def _receive_json(original: Callable[..., Any], connection: Connection) -> Callable[..., Any]:
    key = connection.recorder.settings.message_type_key

    # A plain function that hands back the inner coroutine: it serves sync consumers too, and adds no frame.
    def receive_json(content: Any = _ABSENT, *args: Any, **kwargs: Any) -> Any:
        try:
            handling = working.get()
            if handling is not None and not handling.is_over and isinstance(content, dict):
                handling.note_type(content.get(key))
        except Exception as exc:
            fault("receive_json", exc)
        if content is _ABSENT:
            return original(*args, **kwargs)
        return original(content, *args, **kwargs) if args or kwargs else original(content)

    return receive_json
