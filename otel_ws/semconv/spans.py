"""Every kind of span, once."""

from __future__ import annotations

from typing import Final

from otel_ws.semconv.attributes import (
    CLOSE_CODE,
    CONSUMER,
    DURATION,
    ERROR_TYPE,
    HANDLER,
    IDS,
    INITIATOR,
    MESSAGE_TYPE,
    MESSAGING_SYSTEM,
    OPERATION,
    OPERATION_TYPE,
    OUTCOME,
    REASON,
    ROLE,
    ROUTE,
    SCOPE_TYPE,
    SEND_LONGEST,
    SENDS,
    SIZE,
    SUBPROTOCOL,
    TEMPLATE,
    TRANSPORT,
)
from otel_ws.semconv.model import SpanType

_BASE: Final = (*IDS, ROLE, SCOPE_TYPE, TRANSPORT, ROUTE, CONSUMER)
CONNECT_SPAN: Final = SpanType(
    "connect {route}",
    "SERVER",
    (*_BASE, OUTCOME, SUBPROTOCOL, REASON, CLOSE_CODE, ERROR_TYPE),
    "From scope to accept or rejection.",
)
MESSAGE_SPAN: Final = SpanType(
    "{message type} {route}",
    "SERVER",
    (*_BASE, MESSAGE_TYPE, OUTCOME, SIZE, HANDLER, SENDS, SEND_LONGEST, ERROR_TYPE),
    "As long as the handler; its own trace, linked to connect. An inner consumer's is INTERNAL.",
)
SEND_SPAN: Final = SpanType(
    "send {route}",
    "INTERNAL",
    (*_BASE, SIZE, OUTCOME, ERROR_TYPE),
    "One send, only with OTEL_WS_SEND_SPANS.",
)
DISCONNECT_SPAN: Final = SpanType(
    "disconnect {route}",
    "SERVER",
    (*_BASE, CLOSE_CODE, INITIATOR, DURATION, ERROR_TYPE),
    "The disconnect handler; linked to connect.",
)
_LAYER: Final = (MESSAGING_SYSTEM, OPERATION, OPERATION_TYPE, TEMPLATE, ERROR_TYPE)
PUBLISH_SPAN: Final = SpanType(
    "publish {template}",
    "PRODUCER",
    (*_BASE, *_LAYER),
    "Until a channel layer took a message, for a channel or a group.",
)
PROCESS_SPAN: Final = SpanType(
    "process {template}",
    "CONSUMER",
    (*_BASE, *_LAYER, HANDLER),
    "The handler of a channel layer's message; its own trace, linked to publish, or a child (OTEL_WS_LAYER_CONTEXT).",
)
SPANS: Final = (CONNECT_SPAN, MESSAGE_SPAN, SEND_SPAN, DISCONNECT_SPAN, PUBLISH_SPAN, PROCESS_SPAN)
