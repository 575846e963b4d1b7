"""Every attribute, once, with its spelling on each signal."""

from __future__ import annotations

from typing import Final

from otel_ws.semconv.model import Attribute, Kind


def _number(key: str, field: str, brief: str) -> Attribute:
    return Attribute(key, None, field, Kind.NUMBER, brief)


USER_ID: Final = Attribute("user.id", None, "user_id", Kind.ID, "The authenticated user.", adopted=True)
TOURNAMENT_ID: Final = Attribute("tournament.id", None, "tournament_id", Kind.ID, "From the URL, or set_ids().")
MATCH_ID: Final = Attribute("match.id", None, "match_id", Kind.ID, "From the URL, or set_ids().")
CONNECTION_ID: Final = Attribute("ws.connection.id", None, "connection_id", Kind.ID, "Random, ours.")

ROLE: Final = Attribute(
    "ws.role",
    "role",
    "role",
    Kind.CHOICE,
    "Role of the user.",
    ("spectator", "player", "organizer", "admin"),
)
SCOPE_TYPE: Final = Attribute(
    "ws.scope.type",
    "scope_type",
    "scope_type",
    Kind.CHOICE,
    "Which id the route carries, the narrowest first.",
    ("match", "tournament", "global"),
)
TRANSPORT: Final = Attribute(
    "ws.transport",
    "transport",
    "connection_type",
    Kind.CHOICE,
    "How the client is connected.",
    ("websocket", "sse"),
)
OUTCOME: Final = Attribute(
    "ws.outcome",
    "status",
    "status",
    Kind.CHOICE,
    "How it went; each metric uses some of them.",
    (
        "connected",
        "disconnected",
        "accepted",
        "rejected",
        "success",
        "error",
        "permission_denied",
        "sent",
        "failed",
    ),
)
MESSAGE_TYPE: Final = Attribute(
    "ws.message.type",
    "message_type",
    "message_type",
    Kind.CODE_NAME,
    "A declared message type, or the handler's name; what a client invents is `unknown`.",
)
REASON: Final = Attribute("ws.reason", "reason", "reason_code", Kind.CODE, "Why it was refused.")
ERROR_TYPE: Final = Attribute(
    "error.type",
    "error_type",
    "error_type",
    Kind.CODE_NAME,
    "The exception's class, never its text.",
    adopted=True,
)
ERROR_CATEGORY: Final = Attribute(
    "error.category",
    "error_category",
    "error_category",
    Kind.CHOICE,
    "What broke.",
    (
        "connection",
        "authentication",
        "session",
        "message_delivery",
        "validation",
        "system",
    ),
)
ERROR_SEVERITY: Final = Attribute(
    "error.severity",
    "error_severity",
    "error_severity",
    Kind.CHOICE,
    "How bad it is for users.",
    ("low", "medium", "high", "critical"),
)
ROUTE: Final = Attribute(
    "http.route",
    "http_route",
    "route",
    Kind.TEMPLATE,
    "The route's template, never the path.",
    adopted=True,
)
CONSUMER: Final = Attribute("ws.consumer", None, "consumer", Kind.CODE_NAME, "The consumer's class.")
HANDLER: Final = Attribute("ws.handler", "ws_handler", "handler", Kind.CODE_NAME, "The consumer's method.")
CLOSE_CODE: Final = Attribute(
    "ws.close.code",
    "close_code",
    "close_code",
    Kind.CLOSE_CODE,
    "RFC 6455 section 7.4; clients choose theirs.",
)
INITIATOR: Final = Attribute(
    "ws.close.initiator",
    "initiator",
    "initiator",
    Kind.CHOICE,
    "Who ended the connection.",
    ("client", "server", "application", "lost"),
)
SUBPROTOCOL: Final = Attribute(
    "ws.subprotocol",
    "subprotocol",
    "subprotocol",
    Kind.CODE_NAME,
    "The one that the application selected, if it is a well-known or a declared one.",
)
SIZE: Final = _number("ws.message.size", "size", "Bytes of one message, as UTF-8 where it is text.")
DURATION: Final = _number("ws.duration", "duration_ms", "Seconds; milliseconds in JSON lines.")
SETUP_DURATION: Final = _number(
    "ws.connection.setup.duration",
    "establishment_time_ms",
    "Seconds from scope to accept; milliseconds in JSON.",
)
RETRY_AFTER: Final = _number("ws.retry_after", "retry_after_ms", "Seconds; milliseconds in JSON lines.")
SENDS: Final = _number("ws.send.count", "send_count", "Messages sent while the message was handled.")
SEND_LONGEST: Final = _number("ws.send.longest", "send_longest_ms", "Seconds of the slowest of those sends.")
COUNT: Final = _number("ws.count", "count", "How many the event stands for.")
DUAL: Final = Attribute(
    "ws.connection.dual",
    None,
    "is_dual_connection",
    Kind.FLAG,
    "Whether the user is now connected by both transports.",
)
DIRECTION: Final = Attribute(
    "network.io.direction",
    "direction",
    None,
    Kind.CHOICE,
    "Seen from the server.",
    ("receive", "transmit"),
    adopted=True,
)
COMPONENT: Final = Attribute(
    "ws.component",
    "component",
    None,
    Kind.CHOICE,
    "The part that is counted: a consumer of a worker's channel, a handler at work there; or what the application "
    "needs.",
    ("worker", "handler", "database", "cache", "channel_layer"),
)
STATE: Final = Attribute(
    "ws.connection.state",
    "state",
    None,
    Kind.CHOICE,
    "Health of one connection.",
    ("healthy", "unhealthy"),
)
AGE: Final = Attribute(
    "ws.connection.age",
    "age",
    None,
    Kind.CHOICE,
    "Age of an open connection.",
    ("under_5m", "5m_30m", "30m_2h", "over_2h"),
)
TEMPLATE: Final = Attribute(
    "messaging.destination.template",
    "messaging_destination_template",
    "group",
    Kind.TEMPLATE,
    "A declared group template; group names never leave.",
    adopted=True,
)
MESSAGING_SYSTEM: Final = Attribute(
    "messaging.system",
    "messaging_system",
    None,
    Kind.CHOICE,
    "Channel layers are no system of the conventions; this names all of them.",
    ("django_channels",),
    adopted=True,
)
OPERATION: Final = Attribute(
    "messaging.operation.name",
    "messaging_operation_name",
    None,
    Kind.CHOICE,
    "What was done with the channel layer.",
    ("send", "group_send", "receive", "process"),
    adopted=True,
)
QUEUE: Final = Attribute(
    "ws.layer.queue",
    "queue",
    None,
    Kind.CHOICE,
    "Whose queue it is: one consumer's in its process, all of a process's in the server, or a named channel's, from "
    "which workers take.",
    ("consumer", "process", "channel"),
)
OPERATION_TYPE: Final = Attribute(
    "messaging.operation.type",
    None,
    None,
    Kind.CHOICE,
    "The kind of that, as the conventions have it.",
    ("send", "receive", "process"),
    adopted=True,
)
SIGNAL: Final = Attribute(
    "ws.privacy.signal",
    "signal",
    None,
    Kind.CHOICE,
    "Where it was removed.",
    ("traces", "metrics", "logs"),
)
REMOVED: Final = Attribute(
    "ws.privacy.kind",
    "kind",
    None,
    Kind.CHOICE,
    "Kind of what was removed.",
    (*(kind.value for kind in Kind), "undeclared", "text"),
)
PLACE: Final = Attribute(
    "ws.telemetry.place",
    "place",
    None,
    Kind.CODE_NAME,
    "The part of otel-ws that failed.",
)
STATUS: Final = Attribute(
    "ws.health.status",
    None,
    "status",
    Kind.CHOICE,
    "The verdict.",
    ("healthy", "degraded", "unhealthy"),
)
RULE: Final = Attribute("ws.health.rule", None, "rule", Kind.CODE_NAME, "The rule that decided the verdict.")
VALUE: Final = _number("ws.health.value", "value", "What the rule measured.")
THRESHOLD: Final = _number("ws.health.threshold", "threshold", "Where the rule fires.")
TOTAL_ACTIVE: Final = _number("ws.total.active", "active_connections", "Connections open now.")
TOTAL_CONNECTED: Final = _number("ws.total.connected", "connections_total", "Connections accepted.")
TOTAL_REJECTED: Final = _number("ws.total.rejected", "connections_rejected", "Connections rejected.")
TOTAL_RECEIVED: Final = _number("ws.total.received", "messages_received", "Messages from clients.")
TOTAL_SENT: Final = _number("ws.total.sent", "messages_sent", "Messages to clients.")
TOTAL_ERRORS: Final = _number("ws.total.errors", "errors", "Errors of all types.")

IDS: Final = (USER_ID, TOURNAMENT_ID, MATCH_ID, CONNECTION_ID)

ATTRIBUTES: Final = tuple(value for value in list(globals().values()) if isinstance(value, Attribute))
