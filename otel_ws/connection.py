"""One WebSocket or SSE connection, told as facts.

Sans-I/O: it sees ASGI messages, a clock and who handles what, never a socket, a span's insides or a metric.
It says what happened, each thing once; the recorder decides who hears it.

    CONNECTING --accept--> OPEN --close, disconnect, error, end--> ENDED
    CONNECTING --close, disconnect, error, end--> ENDED (a rejection)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from otel_ws import scope as scopes
from otel_ws import semconv
from otel_ws.faults import fault
from otel_ws.messages import category_of, close_code, disconnect_code, size_of
from otel_ws.policy import NOTHING
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER, Attribute, Kind
from otel_ws.settings import Settings
from otel_ws.signals.spans import by_key, link_to
from otel_ws.types import Cleared, Labels, Message, Scope, Value

if TYPE_CHECKING:
    from otel_ws.handling import Handling

# A `receive` that returns sooner than this did not wait: the message was queued already (a real wait takes a
# turn of the event loop, ten times longer).
BACKLOG_SECONDS: Final = 0.0001
STALLED_SECONDS: Final = 5.0
HEARTBEATS_MISSED: Final = 2
SERVER_CODES: Final = frozenset({1011, 1012, 1013, 1014})

current: ContextVar[Connection | None] = ContextVar("otel_ws_connection", default=None)


class State(Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    ENDED = "ended"


_ENDED: Final = State.ENDED


class Connection:
    """The state of one connection and the verbs that move it. Nothing here raises for what a peer sends."""

    # fmt: off
    __slots__ = (
        "_by_key", "_described", "_pending", "_seen", "_told", "accepted_at", "active", "clock", "connect_links",
        "connect_span", "connected_labels", "connected_role", "consumer", "disconnect_about", "disconnect_span",
        "door", "handler_failed", "ids", "last_heartbeat", "last_message_span", "last_send_bad", "longest_send",
        "opened_at", "plain", "plain_handling", "reason", "received_at", "received_size", "recorder", "role",
        "role_label", "root_path", "route", "route_parts", "routers", "scope", "scope_type", "send_failed", "sends",
        "state", "subprotocol", "tally", "transport", "unrouted", "user_key",
    )
    # fmt: on

    def __init__(self, recorder: Recorder, scope: Scope, transport: str = "websocket") -> None:
        self.recorder = recorder
        self.transport = transport
        self.scope: Scope | None = scope
        self.state = State.CONNECTING
        self.clock = recorder.clock
        self.opened_at = self.accepted_at = recorder.clock()
        self.ids = recorder.policy.known(NOTHING, {semconv.CONNECTION_ID: str(recorder.new_id())})
        # Compared, never told: some servers take it from a header, so it is the client's text.
        self.root_path = scope.get("root_path") or ""
        self.route = OTHER
        self.route_parts: list[str] = []
        self.routers: list[object] = []
        self.unrouted = False
        self.door = (OTHER, transport)
        self.tally = recorder.tally(self.door)
        self._described: Cleared | None = None
        self._by_key: dict[str, Value] | None = None
        self._seen: object = None
        self.role: object = None
        # Labels of this connection in the gauge and in the counter, as they were at accept.
        self.active: Labels = ()
        self.connected_labels: Labels = ()
        self.connected_role: object = None
        self.role_label = OTHER
        self.scope_type = "global"
        self.subprotocol: object = None
        self.reason: str | None = None
        self.consumer: object = None
        self.user_key: bytes | None = None
        self.connect_span: Any = recorder.spans.connect(scope.get("headers") or ())
        self.connect_links = link_to(self.connect_span)
        self.disconnect_span: Any = None
        self.disconnect_about: dict[Attribute, object] = {}
        self.last_message_span: Any = None
        self.plain = True
        # A plain application has no dispatch; its message is here while it is handled.
        self.plain_handling: Handling | None = None
        self.handler_failed = False
        self.last_send_bad = False
        self.last_heartbeat = self.opened_at
        self.received_at = self.opened_at
        self.received_size = 0
        self._pending: list[float] = []
        self.send_failed: BaseException | None = None
        self.sends = 0
        self.longest_send = 0.0
        self._told: BaseException | None = None
        recorder.attempts += 1

    # --- who and where ----------------------------------------------------------------------------------
    def complete(self, scope: Scope, consumer: object = None) -> bool:
        """The scope as the consumer sees it; true for the first, outermost consumer, which owns the messages."""
        outermost = self.plain
        name = self.recorder.consumer_met(type(consumer)) if consumer is not None else None
        if outermost:
            self.scope = scope
            if name is not None:
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
        if self.scope is None:
            return
        policy = self.recorder.policy
        values = scopes.url_values(self.scope)
        found = {policy.ids[name]: value for name, value in values.items() if name in policy.ids}
        user = self._asked(scopes.user_id)
        if user is not None:
            found[semconv.USER_ID] = user
        role = self._asked(scopes.role) if self.role is None else self.role
        seen = (found, role, *self.route_parts)
        if seen == self._seen:
            return
        self._seen = seen
        self.ids = policy.known(self.ids, policy.clear("logs", found))
        self.scope_type = scopes.scope_type(values)
        if role is not self.role:
            self.role = role
            self.role_label = policy.label(semconv.ROLE, role)
        self.route = policy.label(semconv.ROUTE, self._route())
        self.door = (self.route, self.transport)
        self.tally = self.recorder.tally(self.door)
        self._described = self._by_key = None

    def _asked(self, question: Callable[[Scope, Settings], object]) -> object:
        """What the application's own code says; where that raises, nothing, and the connection is told all the same."""
        try:
            return question(self.scope or {}, self.recorder.settings)
        except Exception as exc:
            fault(question.__name__, exc)
            return None

    def _route(self) -> str:
        if self.scope is None:
            return self.route
        if self.route_parts:
            whole = "".join(self.route_parts)
            return OTHER if OTHER in self.route_parts else f"/{whole.lstrip('/')}"
        return scopes.starlette_route(self.scope, self.root_path) or OTHER

    def route_matched(self, depth: int, template: str) -> None:
        """A route matched at this depth of nested routers: the last match wins, deeper ones are void."""
        self.route_parts[depth:] = [template]

    def router_left(self, depth: int) -> None:
        """The router at this depth found no application: what matched in it is void."""
        del self.route_parts[depth:]

    def set_role(self, role: str) -> None:
        """The application says what the user's role is now."""
        self.role = role
        self._described = self._by_key = None
        self.role_label = self.recorder.policy.label(semconv.ROLE, role)
        if self.state is State.OPEN:
            self.recorder.role_changed(self)

    def set_ids(self, ids: dict[Attribute, object]) -> None:
        """The application says what the connection is about."""
        self.ids = self.recorder.policy.known(self.ids, self.recorder.policy.clear("logs", ids))
        self._described = self._by_key = None

    def described(self) -> dict[Attribute, object]:
        """What every span of this connection says."""
        return {
            **self.ids,
            semconv.ROLE: self.role,
            semconv.SCOPE_TYPE: self.scope_type,
            semconv.TRANSPORT: self.transport,
            semconv.ROUTE: self.route if self.route != OTHER else None,
            semconv.CONSUMER: self.consumer,
        }

    def described_cleared(self) -> Cleared:
        """The same, cleared: once for as long as it stays the same."""
        if self._described is None:
            self._described = self.recorder.policy.clear("traces", self.described())
        return self._described

    def described_by_key(self) -> dict[str, Value]:
        """The same, as a span carries it."""
        if self._by_key is None:
            self._by_key = by_key(self.described_cleared())
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
            self.received_size = size = size_of(message)
            was_queued = now - asked_at < BACKLOG_SECONDS
            self.tally.received(size, was_queued)
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
    def sending(self, message: Message) -> float:
        """A message is about to be sent; returns the moment, to be handed to ``sent``."""
        now = self.clock()
        self._pending.append(now)
        return now

    def sent(self, message: Message, started_at: float, exc: BaseException | None = None) -> None:
        """The server took the message, or raised ``exc``."""
        seconds = self.clock() - started_at
        self._pending.remove(started_at)
        kind = message.get("type")
        if kind == "websocket.send":
            error: str | None = None
            if exc is not None:
                error = type(exc).__name__
            elif self.state is _ENDED:
                error = "SendAfterClose"
            self.sends += 1
            if seconds > self.longest_send:
                self.longest_send = seconds
            self.last_send_bad = error is not None or seconds > STALLED_SECONDS
            size = size_of(message)
            self.tally.sent(size, seconds, error is not None)
            if self.recorder.tells_sends:
                self.recorder.message_sent(self, size, seconds, error)
            if exc is None:
                return
        if exc is not None:
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
        self.subprotocol = subprotocol
        self.connected_role = self.role
        self.accepted_at = self.last_heartbeat = self.recorder.clock()
        self.state = State.OPEN
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
        """Whether the exception only says that the client is gone: ASGI raises ``OSError`` from such a send.

        Frameworks wrap it (Starlette: ``WebSocketDisconnect``), so its context counts too.
        """
        failed = self.send_failed
        if not isinstance(failed, OSError):
            return False
        if isinstance(exc, BaseExceptionGroup):
            return all(self.is_gone(one) for one in exc.exceptions)
        return exc is failed or exc.__cause__ is failed or exc.__context__ is failed

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
        self._told = self.send_failed = None

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
        if exc is self._told and not again:
            return
        self._told = exc
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

    def forget_error(self) -> None:
        """The handler went on: the exception, and with it the frames that it holds, is not ours to keep."""
        self._told = None

    def is_healthy(self, now: float) -> bool:
        """No bad or stalled send, the last handler did not raise, no two heartbeats missed."""
        stalled = any(now - since > STALLED_SECONDS for since in list(self._pending))
        if self.last_send_bad or self.handler_failed or stalled:
            return False
        beat = self.recorder.policy.heartbeat
        return beat is None or now - self.last_heartbeat <= HEARTBEATS_MISSED * beat[1]
