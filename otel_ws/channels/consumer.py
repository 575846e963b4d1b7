"""Door: consumers. The instance's ``dispatch`` is wrapped, because that is where a handler's context lives.

``receive`` runs in a task of its own, so what it makes current never reaches a handler. One wrapper serves sync
and async consumers: Channels awaits ``dispatch`` for both.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from channels.exceptions import StopConsumer

from otel_ws.asgi import observe, running
from otel_ws.connection import Connection
from otel_ws.faults import fault
from otel_ws.handling import Handling, at_work
from otel_ws.policy import RAW_HANDLER
from otel_ws.semconv import UNKNOWN
from otel_ws.types import Message, Receive, Scope, Send

_ABSENT = object()
# By its code a wrapper of ours is known, whatever it wraps.
_codes: set[object] = set()
_HANDLERS = {
    kind: kind.replace(".", "_") for kind in ("websocket.connect", "websocket.receive", "websocket.disconnect")
}


def observed_call(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``AsyncConsumer.__call__`` that joins the connection, or opens it where no middleware has."""

    @functools.wraps(original)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope.get("type") != "websocket":
            return await original(self, scope, receive, send)
        if running() is not None:
            return await _join(original, self, scope, receive, send)
        return await observe(functools.partial(_join, original, self), scope, receive, send)

    return call


async def _join(
    original: Callable[..., Awaitable[Any]], consumer: Any, scope: Scope, receive: Receive, send: Send
) -> Any:
    connection = running()
    if connection is None:
        return await original(consumer, scope, receive, send)
    before = _wrap(consumer, connection, scope)
    try:
        return await original(consumer, scope, receive, send)
    finally:
        # Without the wrapper the consumer and its dispatch no longer hold each other.
        for name, value in before.items():
            if value is _ABSENT:
                vars(consumer).pop(name, None)
            else:
                setattr(consumer, name, value)


def _wrap(consumer: Any, connection: Connection, scope: Scope) -> dict[str, Any]:
    """Wrap the instance's methods; returns what was there before."""
    before: dict[str, Any] = {}
    try:
        if getattr(vars(consumer).get("dispatch"), "__code__", None) in _codes:
            # Somebody keeps a wrapper of ours from an earlier start around the seam; once is enough.
            return before
        for name, wrapper in _wrappers(consumer, connection, connection.complete(scope, consumer)).items():
            before[name] = vars(consumer).get(name, _ABSENT)
            setattr(consumer, name, wrapper)
    except Exception as exc:
        fault("consumer", exc)
    return before


def _wrappers(consumer: Any, connection: Connection, outermost: bool) -> dict[str, Any]:
    wrappers: dict[str, Any] = {"dispatch": _dispatch(consumer, connection, outermost)}
    if callable(getattr(consumer, "receive_json", None)):
        wrappers["receive_json"] = _receive_json(consumer.receive_json, connection)
    _codes.add(wrappers["dispatch"].__code__)
    return wrappers


def _dispatch(consumer: Any, connection: Connection, outermost: bool) -> Callable[[Message], Awaitable[Any]]:
    inner = consumer.dispatch
    # A raw consumer's messages have no type of their own; its handler's name stands for one.
    default = UNKNOWN if callable(getattr(consumer, "receive_json", None)) else RAW_HANDLER
    handlers = {kind: name for kind, name in _HANDLERS.items() if hasattr(consumer, name)}

    async def dispatch(message: Message) -> Any:
        handling: Handling | None = None
        try:
            kind = message["type"]
            # A dispatch inside a dispatch is the application calling itself, not another message.
            first = outermost and at_work() is None
            name = handlers.get(kind) or _handler(consumer, kind)
            handling = Handling(connection, kind, name, first, default)
            handling.attach()
        except Exception as exc:
            fault("dispatch", exc)
        try:
            result = await inner(message)
        except StopConsumer:
            _ended(handling, None)
            raise
        except BaseException as exc:
            _ended(handling, exc)
            raise
        _ended(handling, None)
        return result

    return dispatch


def _handler(consumer: Any, kind: object) -> str | None:
    name = str(kind).replace(".", "_")
    return name if hasattr(consumer, name) else None


def _ended(handling: Handling | None, exc: BaseException | None) -> None:
    try:
        if handling is not None:
            handling.end(exc)
    except Exception as failure:
        fault("dispatch", failure)


def _receive_json(original: Callable[..., Any], connection: Connection) -> Callable[..., Any]:
    key = connection.recorder.settings.message_type_key

    # A plain function that hands back the inner coroutine: it serves sync consumers too, and adds no frame.
    def receive_json(*args: Any, **kwargs: Any) -> Any:
        try:
            content = args[0] if args else kwargs.get("content")
            handling = at_work()
            if handling is not None and isinstance(content, dict):
                handling.note_type(content.get(key))
        except Exception as exc:
            fault("receive_json", exc)
        return original(*args, **kwargs)

    return receive_json
