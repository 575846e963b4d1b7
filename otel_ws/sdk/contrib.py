"""Which spans of OpenTelemetry's own instrumentations say again what ours say, or nothing at all.

It knows them by their scope, name and keys, and refuses to know what becomes of them.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, get_current_span, set_span_in_context

from otel_ws import faults

ASGI: Final = frozenset(f"opentelemetry.instrumentation.{name}" for name in ("asgi", "fastapi", "starlette"))
REDIS: Final = "opentelemetry.instrumentation.redis"
NOISY: Final = ASGI | {REDIS}
_WEBSOCKET: Final = (" websocket send", " websocket receive")
_HTTP: Final = (" http send", " http receive")
_METHODS: Final = ("http.request.method", "http.method")
# The script with which the layer takes its channel's backup: EVAL, the text, no keys, two names.
_CLEAN_UP_LENGTH: Final = 5

# Whether such spans are suppressed (by the gate), so that none of ours may be a child of one.
is_suppressed = False
# Whether a connection was seen by us: where ours are not, theirs are all that there is.
are_ours_there = False


def is_websocket(span: Any) -> bool:
    """Whether it is an ASGI instrumentation's span of a WebSocket: HTTP's have a method, these have none."""
    scope = span.instrumentation_scope
    if scope is None or scope.name not in ASGI:
        return False
    name = span.name
    if name.endswith(_WEBSOCKET):
        return True
    if name.endswith(_HTTP):
        return False
    attributes = span.attributes or {}
    return not any(key in attributes for key in _METHODS)


def is_polling(span: Any) -> bool:
    """Whether it is a Redis command with which an idle channel layer waits: the same two, every five seconds."""
    scope = span.instrumentation_scope
    if scope is None or scope.name != REDIS or "channels_redis" not in sys.modules:
        return False
    if span.name == "BZPOPMIN":
        return True
    return span.name == "EVAL" and (span.attributes or {}).get("db.redis.args_length") == _CLEAN_UP_LENGTH


def look_around(context: Context) -> Context:
    """Called where a connection begins or ends: the context for our span, not under one that is suppressed.

    Where theirs are not suppressed, both are exported; that is the user's business, and told once.
    """
    global are_ours_there
    are_ours_there = True
    if is_suppressed:
        return set_span_in_context(INVALID_SPAN, context) if _is_double(get_current_span(context)) else context
    if _is_double(get_current_span()):
        faults.warn_once(
            "contrib.websocket",
            "otel-ws: an ASGI instrumentation makes spans of the same WebSockets, with paths, queries and addresses "
            "in them. Put its middleware around the HTTP application alone, or set OTEL_WS_GATE=all.",
        )
    return context


def _is_double(span: Any) -> bool:
    try:
        return bool(span.is_recording()) and is_websocket(span)
    except AttributeError:  # a span of another make: it has no scope
        return False
