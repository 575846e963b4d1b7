"""Every event, once: a log record with an event name, a fixed sentence and its fields beside the ids."""

from __future__ import annotations

from typing import Final

from otel_ws.semconv.attributes import (
    CLOSE_CODE,
    COUNT,
    DUAL,
    DURATION,
    ERROR_CATEGORY,
    ERROR_SEVERITY,
    ERROR_TYPE,
    HANDLER,
    INITIATOR,
    MESSAGE_TYPE,
    OUTCOME,
    REASON,
    RETRY_AFTER,
    ROLE,
    ROUTE,
    RULE,
    SCOPE_TYPE,
    SETUP_DURATION,
    SIZE,
    STATUS,
    SUBPROTOCOL,
    TEMPLATE,
    THRESHOLD,
    TOTAL_ACTIVE,
    TOTAL_CONNECTED,
    TOTAL_ERRORS,
    TOTAL_RECEIVED,
    TOTAL_REJECTED,
    TOTAL_SENT,
    TRANSPORT,
    VALUE,
)
from otel_ws.semconv.model import Event, Level

WS_CONNECT: Final = Event(
    "WS_CONNECT", Level.INFO, "Connection accepted.",
    (ROLE, SCOPE_TYPE, TRANSPORT, ROUTE, SUBPROTOCOL, SETUP_DURATION, DUAL),
)  # fmt: skip
WS_DISCONNECT: Final = Event(
    "WS_DISCONNECT",
    Level.INFO,
    "Connection ended.",
    (ROLE, CLOSE_CODE, INITIATOR, DURATION),
)
WS_MESSAGE: Final = Event(
    "WS_MESSAGE",
    Level.INFO,
    "Message handled.",
    (MESSAGE_TYPE, OUTCOME, DURATION, SIZE),
)
WS_RATELIMIT_REJECT: Final = Event(
    "WS_RATELIMIT_REJECT",
    Level.WARNING,
    "Refused by a rate limit.",
    (REASON, RETRY_AFTER),
)
WS_AUTH_FAIL: Final = Event("WS_AUTH_FAIL", Level.WARNING, "Authentication failed.", (REASON, CLOSE_CODE, ROUTE))
WS_REJECT: Final = Event("WS_REJECT", Level.WARNING, "Connection rejected.", (REASON, CLOSE_CODE, ROUTE))
WS_ERROR: Final = Event(
    "WS_ERROR",
    Level.ERROR,
    "An error was raised.",
    (ERROR_TYPE, ERROR_CATEGORY, ERROR_SEVERITY, HANDLER),
)
WS_DELIVERY: Final = Event("WS_DELIVERY", Level.INFO, "Message sent to the client.", (OUTCOME, DURATION, SIZE))
WS_TASK: Final = Event("WS_TASK", Level.INFO, "A worker handled a message.", (MESSAGE_TYPE, OUTCOME, DURATION, HANDLER))
WS_BROADCAST_FAIL: Final = Event("WS_BROADCAST_FAIL", Level.WARNING, "A broadcast failed.", (TEMPLATE, REASON, COUNT))
WS_LAYER_DROP: Final = Event("WS_LAYER_DROP", Level.WARNING, "The channel layer lost messages.", (REASON, COUNT))
WS_SUMMARY: Final = Event(
    "WS_SUMMARY", Level.INFO, "Totals since start.",
    (TOTAL_ACTIVE, TOTAL_CONNECTED, TOTAL_REJECTED, TOTAL_RECEIVED, TOTAL_SENT, TOTAL_ERRORS),
)  # fmt: skip
WS_HEALTH: Final = Event(
    "WS_HEALTH",
    Level.WARNING,
    "The health verdict changed.",
    (STATUS, RULE, VALUE, THRESHOLD),
)

EVENTS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Event))
