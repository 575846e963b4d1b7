"""What an ASGI message or an exception says, read without keeping any of it.

Source: the ASGI specification, "WebSocket". It knows forms, not connections.
"""

from __future__ import annotations

from collections.abc import Mapping

from otel_ws.types import Message, Scope


def size_of(message: Message) -> int:
    """Bytes of a message; hypercorn sends both keys, one of them ``None``."""
    # `Connection` has the quick half of this in itself, twice: a call less for most messages.
    text = message.get("text")
    if text is None:
        data = message.get("bytes")
        return len(data) if data is not None else 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def disconnect_code(message: Message, scope: Scope | None) -> int | None:
    """The code of a ``websocket.disconnect``: 1005 where there is none, 1006 where the connection was torn.

    Since ASGI 2.3 a close frame comes with a reason, if an empty one. uvicorn (the server that says 2.4) tells a
    torn connection by 1005 without one; others say 1006 themselves.
    """
    code = message.get("code")
    if code is None:
        return 1005
    if not isinstance(code, int) or isinstance(code, bool):
        return None
    asgi = scope.get("asgi") if scope is not None else None
    version = asgi.get("spec_version") if isinstance(asgi, Mapping) else None
    if code == 1005 and "reason" not in message and str(version or "") >= "2.4":
        return 1006
    return int(code)


def close_code(message: Message) -> int:
    """The code of a ``websocket.close``: 1000 where there is none."""
    code = message.get("code")
    return int(code) if isinstance(code, int) and not isinstance(code, bool) else 1000


def category_of(exc: BaseException) -> str:
    """The category of an unhandled exception, as far as its class tells."""
    if isinstance(exc, (ConnectionError, TimeoutError)):
        return "connection"
    if isinstance(exc, PermissionError):
        return "authentication"
    # A JSON decoder's and a text decoder's errors are both about what the client sent.
    if isinstance(exc, ValueError) and type(exc).__name__ in {"JSONDecodeError", "UnicodeDecodeError"}:
        return "validation"
    return "system"


def stems_from(exc: BaseException, failed: BaseException) -> bool:
    """Whether ``exc`` is ``failed``, or was raised from it: frameworks wrap it (Starlette: ``WebSocketDisconnect``)."""
    if isinstance(exc, BaseExceptionGroup):
        return all(stems_from(one, failed) for one in exc.exceptions)
    return exc is failed or exc.__cause__ is failed or exc.__context__ is failed
