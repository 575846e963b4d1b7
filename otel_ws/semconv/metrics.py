"""Every metric, once: name, instrument, unit (UCUM), labels and bounds."""

from __future__ import annotations

from typing import Final

from otel_ws.semconv.attributes import (
    AGE,
    CLOSE_CODE,
    COMPONENT,
    DIRECTION,
    ERROR_CATEGORY,
    ERROR_SEVERITY,
    ERROR_TYPE,
    HANDLER,
    MESSAGE_TYPE,
    MESSAGING_SYSTEM,
    OPERATION,
    OUTCOME,
    PLACE,
    QUEUE,
    REASON,
    REMOVED,
    ROLE,
    ROUTE,
    SCOPE_TYPE,
    SIGNAL,
    STATE,
    SUBPROTOCOL,
    TEMPLATE,
    TRANSPORT,
)
from otel_ws.semconv.model import Instrument, Metric

_DOOR: Final = (ROUTE, TRANSPORT)
_C, _U, _G, _H = (
    Instrument.COUNTER,
    Instrument.UP_DOWN,
    Instrument.GAUGE,
    Instrument.HISTOGRAM,
)
_FAST: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0)
_SLOW: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)

CONNECTIONS: Final = Metric(
    "ws.connections",
    _C,
    "{connection}",
    (*_DOOR, ROLE, SCOPE_TYPE, OUTCOME, SUBPROTOCOL),
    "Accepted and ended.",
)
ACTIVE: Final = Metric("ws.active_connections", _U, "{connection}", (*_DOOR, ROLE, SCOPE_TYPE), "Open now.")
ACTIVE_BY_ID: Final = Metric(
    "ws.active_connections.by_id",
    _U,
    "{connection}",
    (),
    "Open now, by an id that the operator chose.",
    live=True,
)
ACTIVE_USERS: Final = Metric("ws.active_users", _U, "{user}", (), "Different users connected now.", live=True)
DUAL_USERS: Final = Metric("ws.users.dual", _U, "{user}", (), "Users connected by both transports.", live=True)
USER_CONNECTIONS: Final = Metric(
    "ws.user.connections", _H, "{connection}", (), "Connections of the user, at each accept.",
    (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0),
)  # fmt: skip
CONNECTION_DURATION: Final = Metric(
    "ws.connection.duration", _H, "s", (TRANSPORT, SCOPE_TYPE, CLOSE_CODE), "From accept to close.",
    (1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 43200.0, 86400.0),
)  # fmt: skip
CONNECTION_AGE: Final = Metric(
    "ws.connection.age",
    _U,
    "{connection}",
    (TRANSPORT, AGE),
    "Open connections by age.",
    live=True,
)
CONNECTION_SETUP: Final = Metric(
    "ws.connection.setup.duration",
    _H,
    "s",
    (*_DOOR, OUTCOME),
    "From scope to accept or rejection.",
    _SLOW,
)
REJECTIONS: Final = Metric(
    "ws.connection.rejections",
    _C,
    "{connection}",
    (*_DOOR, REASON, CLOSE_CODE),
    "Ended before they were accepted.",
)
CONNECTION_HEALTH: Final = Metric(
    "ws.connection.health",
    _U,
    "{connection}",
    (TRANSPORT, STATE),
    "Open connections by health.",
    live=True,
)
BUSY_TIME: Final = Metric("ws.connection.busy_time", _C, "s", _DOOR, "Time spent in handlers.")
MESSAGES: Final = Metric(
    "ws.messages",
    _C,
    "{message}",
    (*_DOOR, MESSAGE_TYPE, OUTCOME),
    "From clients.",
    spelling=((MESSAGE_TYPE, "type"),),
)
MESSAGES_SENT: Final = Metric("ws.messages.sent", _C, "{message}", (*_DOOR, OUTCOME), "To clients.")
MESSAGE_LATENCY: Final = Metric("ws.message.latency", _H, "s", (*_DOOR, MESSAGE_TYPE), "Time in the handler.", _FAST)
MESSAGE_WAIT: Final = Metric(
    "ws.message.wait",
    _H,
    "s",
    _DOOR,
    "From handed to us, or for a channel layer's message from its sending, until its handler began.",
    _FAST,
)
BACKLOGGED: Final = Metric(
    "ws.message.backlogged",
    _C,
    "{message}",
    _DOOR,
    "Messages that were already queued when they were asked for.",
)
MESSAGE_SIZE: Final = Metric(
    "ws.message.size", _H, "By", (TRANSPORT, DIRECTION), "Size of a message.",
    (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0),
)  # fmt: skip
SEND_DURATION: Final = Metric("ws.send.duration", _H, "s", _DOOR, "Until the server took the message.", _FAST)
PING_DURATION: Final = Metric(
    "ws.ping.duration",
    _H,
    "s",
    _DOOR,
    "Heartbeat round trips that the application measured.",
    _SLOW,
)
RATELIMITS: Final = Metric("ws.ratelimit.events", _C, "{event}", (TRANSPORT, REASON), "Rate-limit rejections.")
AUTH_FAILURES: Final = Metric("ws.auth.failures", _C, "{event}", (TRANSPORT, REASON), "Authentication failures.")
ERRORS: Final = Metric(
    "ws.errors",
    _C,
    "{error}",
    (ROUTE, ERROR_TYPE, ERROR_CATEGORY, ERROR_SEVERITY),
    "Errors.",
)
BROADCASTS: Final = Metric("ws.broadcasts", _C, "{message}", (TEMPLATE, OUTCOME), "Messages sent to groups.")
BROADCAST_DURATION: Final = Metric(
    "ws.broadcast.duration",
    _H,
    "s",
    (TEMPLATE,),
    "Until the layer took the message.",
    _FAST,
)
BROADCAST_RECIPIENTS: Final = Metric(
    "ws.broadcast.recipients", _H, "{channel}", (TEMPLATE,), "Channels that a broadcast was for, where known.",
    (1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0),
)  # fmt: skip
FIRST_EVENT: Final = Metric(
    "ws.sse.first_event.duration", _H, "s", (ROUTE,), "From the request to the stream's first event.", _SLOW
)  # fmt: skip
_LAYER: Final = (MESSAGING_SYSTEM, OPERATION, TEMPLATE)
LAYER_SENT: Final = Metric(
    "messaging.client.sent.messages",
    _C,
    "{message}",
    (*_LAYER, ERROR_TYPE),
    "Messages that a channel layer was given; one for a whole group is one.",
    adopted=True,
)
LAYER_CONSUMED: Final = Metric(
    "messaging.client.consumed.messages",
    _C,
    "{message}",
    _LAYER,
    "Messages of a channel layer that a handler, or whoever asked the layer, was given.",
    adopted=True,
)
LAYER_DROPPED: Final = Metric(
    "ws.layer.dropped",
    _C,
    "{message}",
    (REASON,),
    "Deliveries that a channel layer lost.",
)
LAYER_LAG: Final = Metric("ws.layer.lag", _H, "s", (TEMPLATE,), "From a message's sending to its handler.", _FAST)
LAYER_DEPTH: Final = Metric(
    "ws.layer.depth",
    _U,
    "{message}",
    (QUEUE, TEMPLATE),
    "Messages that wait in a channel layer, or in a worker.",
    live=True,
)
LAYER_CAPACITY: Final = Metric(
    "ws.layer.capacity", _G, "1", (QUEUE, TEMPLATE), "How full the fullest queue is: 1 is full.", live=True
)
LAYER_OLDEST: Final = Metric(
    "ws.layer.oldest_age", _G, "s", (QUEUE, TEMPLATE), "How long the oldest message has waited.", live=True
)
LAYER_GROUPS: Final = Metric(
    "ws.layer.groups", _U, "{group}", (TEMPLATE,), "Groups with members in this process.", live=True
)
LAYER_MEMBERSHIPS: Final = Metric(
    "ws.layer.memberships", _U, "{channel}", (TEMPLATE,), "Memberships of this process's open connections.", live=True
)
LAYER_ORPHANS: Final = Metric(
    "ws.layer.orphans", _U, "{channel}", (TEMPLATE,), "Memberships that outlived their connection.", live=True
)
PROCESS_DURATION: Final = Metric(
    "messaging.process.duration",
    _H,
    "s",
    (MESSAGING_SYSTEM, OPERATION, TEMPLATE, HANDLER, ERROR_TYPE),
    "Time in the handler of a worker's message.",
    _FAST,
    adopted=True,
)
WORKERS: Final = Metric("ws.workers", _U, "{component}", (COMPONENT,), "Workers' consumers, and handlers at work.")
READINESS: Final = Metric(
    "ws.readiness",
    _C,
    "{check}",
    (COMPONENT, OUTCOME),
    "What `/readiness` asked, and whether it answered.",
)
PROCESS_MEMORY: Final = Metric(
    "process.memory.usage",
    _U,
    "By",
    (),
    "Resident memory of this process.",
    live=True,
    adopted=True,
)
PROCESS_CPU: Final = Metric(
    "process.cpu.utilization", _G, "1", (), "CPU time of the last half second or more, over elapsed time and CPUs.",
    live=True, adopted=True,
)  # fmt: skip
LOOP_LAG: Final = Metric("ws.event_loop.lag", _H, "s", (), "How late the event loop ran a timer.", _FAST)
REDACTIONS: Final = Metric(
    "ws.privacy.redactions",
    _C,
    "{value}",
    (SIGNAL, REMOVED),
    "Values that the policy removed or replaced.",
    live=True,
)
TELEMETRY_ERRORS: Final = Metric(
    "ws.telemetry.errors", _C, "{error}", (PLACE,), "Failures of otel-ws itself; the application never saw them.",
    live=True,
)  # fmt: skip

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
