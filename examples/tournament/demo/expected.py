"""Every count that must be exported, computed from what the clients did and saw, and from nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from demo.records import OTHER, UNROUTED, Conversation, Labels, Published, Records, Task

# The standard's codes and the application's own are labels; what else a client may think of is not.
LABELLED_CODES = {*range(1000, 1016), 4401, 4403, 4409, 4410, 4413, 4429}
SYSTEM = "django_channels"


@dataclass(frozen=True, order=True)
class Series:
    """What is compared: a metric's value, or the count or sum of a histogram, for some of its labels."""

    metric: str
    part: str
    labels: Labels


@dataclass
class Expected:
    """Numbers of metrics, log records and spans."""

    own: defaultdict[Series, float] = field(default_factory=lambda: defaultdict(float))
    application: defaultdict[Series, float] = field(default_factory=lambda: defaultdict(float))
    events: Counter[tuple[str, Labels]] = field(default_factory=Counter)
    spans: Counter[tuple[str, Labels]] = field(default_factory=Counter)
    application_events: Counter[tuple[str, Labels]] = field(default_factory=Counter)
    application_spans: Counter[tuple[str, Labels]] = field(default_factory=Counter)
    # Metrics that must be exported and be zero, or not be exported at all, whatever their labels.
    silent: tuple[str, ...] = ("ws.telemetry.errors", "ws.users.dual")

    def add(self, metric: str, amount: float = 1, part: str = "value", /, **labels: str) -> None:
        """One more of something."""
        self.own[Series(metric, part, tuple(sorted(labels.items())))] += amount

    def observe(self, metric: str, values: Iterable[float | None] = (None,), /, **labels: str) -> None:
        """Values of a histogram; ``None`` where only their number is known."""
        for value in values:
            self.add(metric, 1, "count", **labels)
            if value is not None:
                self.add(metric, value, "sum", **labels)

    def event(self, name: str, **fields: object) -> None:
        """One more log record, with the fields that are compared, by their names in JSON lines."""
        self.events[name, tuple(sorted((key, str(value)) for key, value in fields.items()))] += 1

    def span(self, name: str, **attributes: str) -> None:
        """One more span, with the attributes that are compared."""
        self.spans[name, tuple(sorted(attributes.items()))] += 1


def expect(records: Records) -> Expected:
    """What telemetry must say after these conversations, all of which have ended."""
    expected = Expected()
    for conversation in records.conversations:
        if conversation.accepted:
            _accepted(expected, conversation)
        else:
            _rejected(expected, conversation)
        _told(expected, conversation)
    expected.add("ws.active_users", 0)
    for (name, labels), amount in records.business.items():
        expected.application[Series(name, "value", labels)] += amount
    for user_id, amount in records.audited.items():
        expected.application_events["USER_LOOKUP", (("user_id", str(user_id)),)] += amount
    expected.application_spans["settle match", ()] += records.settlements
    return expected


def _accepted(expected: Expected, one: Conversation) -> None:
    route, scope_type = one.place.route, one.place.scope_type
    transport = one.transport
    door = {"http_route": route, "transport": transport}
    who = {"role": one.role, "scope_type": scope_type}
    ids = {
        "user_id": one.user_id,
        "tournament_id": one.place.tournament_id or "",
        "match_id": one.place.match_id or "",
    }
    code = str(one.close_code) if one.close_code in LABELLED_CODES else OTHER
    if transport == "sse":
        code = ""

    expected.add("ws.connections", status="connected", subprotocol=one.subprotocol, **who, **door)
    expected.add("ws.connections", status="disconnected", subprotocol=one.subprotocol, **who, **door)
    expected.add("ws.active_connections", 0, **who, **door)
    expected.observe("ws.connection.setup.duration", status="accepted", **door)
    expected.observe("ws.connection.duration", scope_type=scope_type, close_code=code, transport=transport)
    expected.observe("ws.user.connections")
    expected.event("WS_CONNECT", route=route, subprotocol=one.subprotocol, **who, **ids)
    expected.event("WS_DISCONNECT", role=one.role, close_code=one.close_code or "", initiator=one.initiator, **ids)
    expected.span(f"connect {route}", outcome="accepted")
    expected.span(f"disconnect {route}", outcome="")

    for sent in one.sent:
        expected.add("ws.messages", type=sent.type, status=sent.status, **door)
        expected.observe("ws.message.latency", message_type=sent.type, **door)
        expected.observe("ws.message.wait", **door)
        expected.observe("ws.message.size", [sent.size], direction="receive", transport=door["transport"])
        expected.event("WS_MESSAGE", message_type=sent.type, status=sent.status, size=sent.size, **ids)
        expected.span(f"{sent.type} {route}", outcome=sent.status)
    for size in one.received:
        expected.add("ws.messages.sent", status="success", **door)
        expected.observe("ws.send.duration", **door)
        expected.observe("ws.message.size", [size], direction="transmit", transport=door["transport"])
    for _ in range(one.pings):
        expected.observe("ws.ping.duration", **door)


def _rejected(expected: Expected, one: Conversation) -> None:
    rejection = one.rejection
    if rejection is None:
        return
    route = one.place.route if rejection.is_routed else UNROUTED
    door = {"http_route": route, "transport": one.transport}
    code = OTHER if rejection.close_code is None else str(rejection.close_code)

    expected.add("ws.connection.rejections", reason=rejection.reason, close_code=code, **door)
    expected.observe("ws.connection.setup.duration", status="rejected", **door)
    expected.event("WS_REJECT", reason_code=rejection.reason, close_code=rejection.close_code or "", route=route)
    expected.span(f"connect {route}", outcome="rejected")
    if rejection.by == "auth":
        expected.add("ws.auth.failures", reason=rejection.reason, transport=one.transport)
        expected.event("WS_AUTH_FAIL", reason_code=rejection.reason)


def _told(expected: Expected, one: Conversation) -> None:
    """What the application told through the verbs of otel-ws, accepted or not."""
    for reason in one.limits:
        expected.add("ws.ratelimit.events", reason=reason, transport=one.transport)
        expected.event("WS_RATELIMIT_REJECT", reason_code=reason)
    for failure in one.failures:
        kind = {"error_type": failure.type, "error_category": failure.category, "error_severity": failure.severity}
        expected.add("ws.errors", http_route=one.place.route, **kind)
        expected.event("WS_ERROR", user_id=one.user_id, **kind)
    for published in one.published:
        _published(expected, published, one)
    for task in one.tasks:
        _handled(expected, task)


def _published(expected: Expected, one: Published, sender: Conversation) -> None:
    """One message that the channel layer took, and everybody who got it."""
    group = {"messaging_destination_template": one.template}
    received = one.sockets + one.streams + one.workers
    operation = "group_send" if one.is_group else "send"
    expected.add("messaging.client.sent.messages", messaging_operation_name=operation, error_type="", **group)
    expected.add("messaging.client.consumed.messages", received, **group)
    expected.observe("ws.layer.lag", [None] * received, **group)
    expected.span(f"publish {one.template}")
    for _ in range(one.sockets):
        # Who hears it is where the one is who said it.
        expected.observe("ws.message.wait", http_route=sender.place.route, transport=sender.transport)
        expected.span(f"process {one.template}")
    for _ in range(one.workers):
        expected.observe("ws.message.wait", http_route="", transport="")
    if not received:
        expected.add("ws.layer.dropped", reason="NO_SUBSCRIBER")
    if one.is_group:
        recipients = one.recipients if one.is_told else received
        expected.add("ws.broadcasts", status="sent", **group)
        expected.observe("ws.broadcast.duration", **group)
        if recipients is not None:
            expected.observe("ws.broadcast.recipients", [recipients], **group)


def _handled(expected: Expected, one: Task) -> None:
    """One message that a worker handled."""
    process = {"messaging_destination_template": one.channel, "ws_handler": one.handler, "error_type": one.error_type}
    expected.observe("messaging.process.duration", **process)
    expected.event("WS_TASK", handler=one.handler, status=one.status)
    expected.span(f"process {one.channel}")
    if one.error_type:
        kind = {"error_type": one.error_type, "error_category": "system", "error_severity": "high"}
        expected.add("ws.errors", http_route=OTHER, **kind)
        expected.event("WS_ERROR", user_id="", **kind)
