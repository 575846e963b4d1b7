"""One WebSocket or SSE connection, told as facts.

Sans-I/O: it sees ASGI messages, a clock and who handles what, never a socket, a span's insides or a metric.
It says what happened, each thing once; the recorder decides who hears it.

    CONNECTING --accept--> OPEN --close, disconnect, error, end--> ENDED
    CONNECTING --close, disconnect, error, end--> ENDED (a rejection)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from otel_ws import scope as scopes
from otel_ws import semconv
from otel_ws.faults import fault
from otel_ws.live import STALLED_SECONDS
from otel_ws.messages import category_of, close_code, disconnect_code, size_of, stems_from
from otel_ws.parsers import UnimportableError
from otel_ws.policy import NOTHING
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER, Attribute, Kind
from otel_ws.settings import PREFIX, Settings
from otel_ws.signals.spans import by_key, link_to
from otel_ws.tally import Tally
from otel_ws.types import Cleared, Message, Scope, Value

if TYPE_CHECKING:
    from otel_ws.handling import Handling

# A `receive` that returns sooner than this did not wait: the message was queued already (a real wait takes a
# turn of the event loop, ten times longer).
BACKLOG_SECONDS: Final = 0.0001
SERVER_CODES: Final = frozenset({1011, 1012, 1013, 1014})

current: ContextVar[Connection | None] = ContextVar("otel_ws_connection", default=None)


class State(Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    ENDED = "ended"


_ENDED: Final = State.ENDED


class Connection(scopes.Trail):
    """The state of one connection and the verbs that move it. Nothing here raises for what a peer sends."""

    __slots__ = (
        "_by_key", "_described", "_found", "_ids", "_seen", "accepted_at", "accepted_by", "active_role",
        "cells", "clock", "connect_links", "connect_span", "consumer", "disconnect_span", "door", "end_told",
        "handler_failed", "is_traced", "last_heartbeat", "last_message_span", "last_send_bad", "longest_send",
        "opened_as", "opened_at", "pending", "plain_handling", "reason", "received_at", "received_size", "recorder",
        "resting", "role", "role_label", "root_path", "route", "scope", "scope_type", "send_failed", "sends", "state",
        "tally", "told", "transport", "user_key",
    )  # fmt: skip

    def __init__(
        self, recorder: Recorder, scope: Scope, transport: str = "websocket", asked_at: float | None = None
    ) -> None:
        self.recorder = recorder
        self.transport = transport
        self.scope: Scope | None = scope
        self.state = State.CONNECTING
        self.clock = recorder.clock
        # A connection is told in the thread of its event loop, so this is the shard of that thread.
        self.cells = recorder.ledger.local.cells
        now = recorder.clock()
        self.opened_at = self.accepted_at = self.last_heartbeat = self.received_at = asked_at or now
        # Compared, never told: some servers take it from a header, so it is the client's text.
        self.root_path = scope.get("root_path") or ""
        self.route_parts = self.routers = ()
        self._settle(recorder.tally((), OTHER, transport))
        self._found = NOTHING
        self._ids: Cleared | None = None
        self._seen: tuple[object, ...] = ()
        self.role_label = self.active_role = OTHER
        self.scope_type = "global"
        self.role: object = None
        self.consumer: str | None = None
        # As they were at accept: a middleware may accept before anything is routed, a role may change.
        self.accepted_by = self.tally
        self.opened_as = (OTHER, "global", "")
        self.reason: str | None = None
        self.user_key: bytes | None = None
        self.is_traced = recorder.is_traced()
        spans = recorder.spans
        since = None if asked_at is None else recorder.now_ns() - int((now - asked_at) * 1e9)
        self.connect_span: Any = spans.connect(scope.get("headers") or (), self.is_traced, since)
        self.connect_links = link_to(self.connect_span)
        self.resting = spans.resting() if self.is_traced else None
        self.disconnect_span: Any = None
        self.last_message_span: Any = None
        # What the disconnect span says of the end.
        self.end_told: Cleared = NOTHING
        self.plain = True
        # A plain application has no dispatch; its message is here while it is handled.
        self.plain_handling: Handling | None = None
        self.unrouted = self.handler_failed = self.last_send_bad = False
        self.received_size = self.sends = 0
        self.longest_send = 0.0
        self.pending: list[float] = []
        self.told: BaseException | None = None
        self.send_failed: BaseException | None = None
        recorder.attempts += 1

    # --- who and where ----------------------------------------------------------------------------------
    def complete(self, scope: Scope, consumer: type) -> bool:
        """The scope as the consumer sees it; true for the first, outermost consumer, which owns the messages."""
        outermost = self.plain
        name = self.recorder.consumer_met(consumer)
        if outermost:
            self.scope = scope
            self.plain = False
            self.consumer = name
            # A middleware read a message ahead; it is the consumer's, whose dispatch will tell it.
            if self.plain_handling is not None:
                self.plain_handling.is_over = True
                self.plain_handling = None
            self.identify()
        return outermost

    def identify(self) -> None:
        """Read user, role, ids and route from the scope: at the consumer, and again at accept."""
        scope = self.scope
        if scope is None:
            return
        values = scopes.url_values(scope)
        settings = self.recorder.settings
        user = self._asked(scopes.user_id) if "user" in scope or settings.user_id_resolver is not None else None
        role = self.role
        if role is None:
            role = scope.get("role") if settings.role_resolver is None else self._asked(scopes.role)
        before = self._seen
        self._seen = seen = (values, user, role, self.route_parts)
        if before and all(map(operator.is_, seen, before)):
            return
        policy = self.recorder.policy
        found: dict[Attribute, object] = {policy.ids[name]: values[name] for name in values if name in policy.ids}
        if user is not None:
            found[semconv.USER_ID] = user
        if found:
            self._found = policy.known(self._found, policy.clear("logs", found))
            self._ids = None
        self.scope_type = scopes.scope_type(values)
        if role is not self.role:
            self.role = role
            self.role_label = policy.label(semconv.ROLE, role)
        whole = None if self.route_parts else scopes.starlette_route(scope, self.root_path) or OTHER
        self._settle(self.recorder.tally(self.route_parts, whole, self.transport))

    def _settle(self, tally: Tally) -> None:
        self.tally = tally
        self.door = tally.door
        self.route = tally.door[0]
        self._described: Cleared | None = None
        self._by_key: dict[str, Value] | None = None

    def _asked(self, question: Callable[[Scope, Settings], object]) -> object:
        """What the application's own code says; where that raises, nothing, and the connection is told all the same."""
        try:
            return question(self.scope or {}, self.recorder.settings)
        except UnimportableError as exc:
            name = question.__name__
            variable = f"{PREFIX}{name.upper()}_RESOLVER"
            reason = (
                f"{variable} names a function that cannot be imported, `otel-ws check` with the application shows it"
            )
            fault(name, exc.__cause__ or exc, reason=reason)
            return None
        except Exception as exc:
            fault(question.__name__, exc)
            return None

    @property
    def is_routed(self) -> bool:
        """Whether a route that matches now is its own."""
        return self.plain and self.state is State.CONNECTING

    @property
    def ids(self) -> Cleared:
        """Every id of this connection, its own among them."""
        if self._ids is None:
            own = {semconv.CONNECTION_ID: self._found.get(semconv.CONNECTION_ID) or str(self.recorder.new_id())}
            self._found = self._ids = self.recorder.policy.known(self._found, own)
        return self._ids

    @property
    def user_id(self) -> Value | None:
        """The user's id, if it is known and may leave."""
        return self._found.get(semconv.USER_ID)

    def set_role(self, role: str) -> None:
        """The application says what the user's role is now."""
        self.role = role
        self._described = self._by_key = None
        self.role_label = self.recorder.policy.label(semconv.ROLE, role)
        if self.state is State.OPEN:
            self.recorder.role_changed(self)

    def set_ids(self, ids: dict[Attribute, object]) -> None:
        """The application says what the connection is about."""
        self._found = self.recorder.policy.known(self._found, self.recorder.policy.clear("logs", ids))
        self._ids = self._described = self._by_key = None

    def described(self) -> Cleared:
        """What every span of this connection says: cleared once for as long as it stays the same."""
        if self._described is None:
            raw: dict[Attribute, object] = {
                **self.ids,
                semconv.ROLE: self.role,
                semconv.SCOPE_TYPE: self.scope_type,
                semconv.TRANSPORT: self.transport,
                semconv.ROUTE: self.route if self.route != OTHER else None,
                semconv.CONSUMER: self.consumer,
            }
            self._described = self.recorder.policy.clear("traces", raw)
        return self._described

    def described_by_key(self) -> dict[str, Value]:
        """The same, as a span carries it."""
        if self._by_key is None:
            self._by_key = by_key(self.described())
        return self._by_key

    def exported_ids(self) -> Iterable[tuple[str, str]]:
        """Key and cleared value of each id."""
        return [(attribute.key, str(value)) for attribute, value in self.ids.items() if attribute.kind is Kind.ID]

    # --- from the client --------------------------------------------------------------------------------
    def received(self, message: Message, asked_at: float) -> None:
        """``receive`` returned a message that was asked for at ``asked_at``."""
        kind = message.get("type")
        if kind == "websocket.receive":
            self.received_at = now = self.clock()
            text = message.get("text")
            self.received_size = size = len(text) if text is not None and text.isascii() else size_of(message)
            self.tally.received(self.cells, size, now - asked_at < BACKLOG_SECONDS)
            if self.recorder.by_api:
                self.recorder.by_api_observe(semconv.MESSAGE_SIZE, (self.transport, "receive"), size)
        elif kind == "websocket.disconnect":
            self.disconnected(disconnect_code(message, self.scope))

    def disconnected(self, code: int | None) -> None:
        """The server says that the client is gone; ``code`` may be the client's own choice."""
        if self.state is State.CONNECTING:
            self._rejected(self.reason or "CLIENT_GONE", code)
        elif self.state is State.OPEN:
            initiator = "lost" if code == 1006 else "server" if code in SERVER_CODES else "client"
            self._closed(code, initiator)

    # --- to the client ----------------------------------------------------------------------------------
    def sending(self) -> float:
        """A message is about to be sent; returns the moment, to be handed to ``sent``."""
        now = self.clock()
        self.pending.append(now)
        return now

    def sent(self, message: Message, started_at: float, exc: BaseException | None = None) -> None:
        """The server took the message, or raised ``exc``."""
        seconds = self.clock() - started_at
        self.pending.remove(started_at)
        kind = message.get("type")
        if kind == "websocket.send":
            failed = exc is not None or self.state is _ENDED
            self.sends += 1
            if seconds > self.longest_send:
                self.longest_send = seconds
            self.last_send_bad = failed or seconds > STALLED_SECONDS
            text = message.get("text")
            size = len(text) if text is not None and text.isascii() else size_of(message)
            self.tally.sent(self.cells, size, seconds, failed)
            recorder = self.recorder
            if recorder.tells_sends:
                error = None if not failed else "SendAfterClose" if exc is None else type(exc).__name__
                recorder.message_sent(self, size, seconds, error)
            if exc is not None:
                self.send_failed = exc
        elif exc is not None:
            self.send_failed = exc
        elif kind == "websocket.accept":
            self._accepted(message.get("subprotocol"))
        elif kind == "websocket.close":
            self._close_sent(close_code(message), message.get("reason"))
        elif kind == "websocket.http.response.start" and self.state is State.CONNECTING:
            self._rejected(self.reason or "REJECTED", None)

    def _accepted(self, subprotocol: object) -> None:
        if self.state is not State.CONNECTING:
            return
        self.identify()
        label = "" if subprotocol is None else self.recorder.policy.label(semconv.SUBPROTOCOL, subprotocol)
        self._seen = ()  # nobody asks who it is again
        self.accepted_by = self.tally
        self.opened_as = (self.role_label, self.scope_type, label)
        self.accepted_at = self.last_heartbeat = self.recorder.clock()
        self.state = State.OPEN
        self.active_role = self.role_label
        self.recorder.connection_accepted(self)

    def _close_sent(self, code: int, reason: object) -> None:
        self.recorder.policy.sent_close_code(code)
        if self.state is State.CONNECTING:
            said = reason if self.recorder.policy.is_declared(semconv.REASON, reason) else None
            self._rejected(self.reason or (str(said) if said else "REJECTED"), code)
        elif self.state is State.OPEN:
            self._closed(code, "application")

    # --- the end ----------------------------------------------------------------------------------------
    def failed(self, exc: BaseException) -> None:
        """The application raised. A refused send of a gone client is the client's end, not an error of its own."""
        lost = self.is_gone(exc)
        unrouted = self.state is State.CONNECTING and self.unrouted
        if not lost and not unrouted:
            self.tell_error(exc, None)
        if self.state is State.CONNECTING:
            reason = "NO_ROUTE" if unrouted else "CLIENT_GONE" if lost else self.reason or "HANDLER_ERROR"
            self._rejected(reason, None, None if unrouted or lost else type(exc).__name__)
        elif self.state is State.OPEN and lost:
            self._closed(1006, "lost")
        elif self.state is State.OPEN:
            # What servers send for an application that raised: RFC 6455 section 7.4.1, 1011.
            self._closed(1011, "server")
        self.finish(None if lost else type(exc).__name__)

    def is_gone(self, exc: BaseException) -> bool:
        """Whether the exception only says that the client is gone: ASGI raises ``OSError`` from such a send."""
        return isinstance(self.send_failed, OSError) and stems_from(exc, self.send_failed)

    def cancelled(self) -> None:
        """The server cancelled the application; it keeps the close code, if any, to itself."""
        if self.state is State.CONNECTING:
            self._rejected(self.reason or "CANCELLED", None)
        elif self.state is State.OPEN:
            self._closed(None, "server")
        self.finish(None)

    def returned(self) -> None:
        """The application returned; servers then close what is still open, with 1000."""
        if self.state is State.CONNECTING:
            self._rejected(self.reason or "NEVER_ACCEPTED", None)
        elif self.state is State.OPEN:
            self._closed(1000, "application")
        self.finish(None)

    def finish(self, error_type: str | None) -> None:
        """Nothing more will come: end what is open and let go of what the application owns."""
        self.recorder.disconnect_finished(self, error_type)
        if self.scope is not None:
            self.recorder.attempts -= 1
        self.scope = None
        self.told = self.send_failed = None

    def _rejected(self, reason: str, code: int | None, error_type: str | None = None) -> None:
        if self.route == OTHER:
            self.identify()
        self.state = State.ENDED
        self.recorder.connection_rejected(self, reason, code, error_type)

    def _closed(self, code: int | None, initiator: str) -> None:
        self.state = State.ENDED
        self.recorder.connection_closed(self, code, initiator)
        if self.plain:
            self.recorder.disconnect_finished(self, None)

    # --- errors and health --------------------------------------------------------------------------------------
    def tell_error(
        self,
        exc: BaseException,
        handler: str | None,
        category: str | None = None,
        severity: str | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Tell an error once, however often it passes by on its way out; ``again`` where the application says so."""
        if exc is self.told and not again:
            return
        self.told = exc
        self.recorder.error_raised(
            self,
            type(exc).__name__,
            category or category_of(exc),
            severity or "high",
            handler,
        )

    def heartbeat_seen(self) -> None:
        """The client's declared heartbeat arrived."""
        self.last_heartbeat = self.recorder.clock()
