"""Past-tense verbs in, numbers and records out.

It knows which metric, span and event a fact becomes, and hands them to the parts that ``fanout`` holds. It
refuses to know ASGI, Channels and the SDK.
"""

from __future__ import annotations

import atexit
import math
import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from otel_ws import faults, semconv
from otel_ws.fanout import VERSION as VERSION
from otel_ws.fanout import Fanout, alone, nothing
from otel_ws.health import Health, Limits, Reading, Watch, read
from otel_ws.ledger import Snapshot
from otel_ws.live import memory_limit
from otel_ws.policy import Policy
from otel_ws.semconv import OTHER, Attribute, Event
from otel_ws.settings import Settings, sdk_disabled
from otel_ws.types import Value

if TYPE_CHECKING:
    from otel_ws.connection import Connection

SLOW: Final = 0.1
SUMMARY_SECONDS: Final = 300.0
RARELY_SECONDS: Final = 10.0
JUDGE_SECONDS: Final = 5.0
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Recorder(Fanout):
    """One process's telemetry: the verbs that doors and applications tell facts with."""

    def __init__(self, settings: Settings, policy: Policy, **injected: Any) -> None:
        super().__init__(settings, policy, **injected)
        self._summary_at = self.clock() + SUMMARY_SECONDS
        # By event and what it is about: when it was told last, and how many it stands for since.
        self._rarely: dict[tuple[Event, str], tuple[float, int]] = {}
        wanted = settings.message_events
        self.told_over = {"all": -1.0, "slow": SLOW}.get(wanted, math.inf)
        self._sampled_told = wanted == "sampled"
        self._errors_told = wanted != "off"
        self._judged_at = self.clock()
        limits = Limits(memory_limit(), settings.max_connections)
        self.watch = Watch(self._reading, settings.thresholds, limits, Reading(self.now_ns() / 1e9))
        # Where several processes are one: their totals, and whether this one tells of them.
        self.merged: Callable[[], Snapshot] = self.snapshot
        self.is_leader: Callable[[], bool] = _always

    # --- connections ------------------------------------------------------------------------------------
    def connection_accepted(self, connection: Connection) -> None:
        """The server took the application's accept."""
        setup = self.clock() - connection.opened_at
        dual = False
        user = connection.user_id
        if user is not None:
            connection.user_key, held, dual = self.live.user_opened(str(user), connection.transport)
            self.observe(semconv.USER_CONNECTIONS, (), held)
        self.live.opened(connection)
        subprotocol = connection.opened_as[2]
        connection.tally.accepted(connection.cells, connection.opened_as, setup)
        if self.by_api:
            self.by_api_observe(semconv.CONNECTION_SETUP, (*connection.door, "accepted"), setup)
        if connection.connect_span.is_recording():
            own: dict[Attribute, Value] = {semconv.OUTCOME: "accepted"}
            if subprotocol:
                own[semconv.SUBPROTOCOL] = subprotocol
            attributes = self.policy.known(connection.described(), own)
            self.spans.finish(connection.connect_span, f"connect {connection.route}", attributes)
        if self.is_heard():
            about: dict[Attribute, object] = {
                semconv.ROLE: connection.role,
                semconv.SCOPE_TYPE: connection.scope_type,
                semconv.TRANSPORT: connection.transport,
                semconv.ROUTE: connection.route,
                semconv.SUBPROTOCOL: subprotocol or None,
                semconv.SETUP_DURATION: setup,
                semconv.DUAL: dual,
            }
            self.event(semconv.WS_CONNECT, connection, about, connection.connect_span)

    def connection_rejected(
        self, connection: Connection, reason: str, close_code: int | None, error_type: str | None
    ) -> None:
        """The connection ended before it was accepted."""
        door, span = connection.door, connection.connect_span
        self.observe(semconv.CONNECTION_SETUP, (*door, "rejected"), self.clock() - connection.opened_at)
        label = self.policy.label
        labels = (*door, label(semconv.REASON, reason), label(semconv.CLOSE_CODE, close_code))
        self.ledger.add(semconv.REJECTIONS, labels)
        about: dict[Attribute, object] = {semconv.REASON: reason, semconv.CLOSE_CODE: close_code}
        own = self.policy.clear("traces", {**about, semconv.OUTCOME: "rejected", semconv.ERROR_TYPE: error_type})
        attributes = self.policy.known(connection.described(), own)
        self.spans.finish(span, f"connect {connection.route}", attributes, error_type)
        self.event(semconv.WS_REJECT, connection, {**about, semconv.ROUTE: connection.route}, span)

    def connection_closed(self, connection: Connection, close_code: int | None, initiator: str) -> None:
        """An accepted connection ended; called once."""
        duration = self.clock() - connection.accepted_at
        self.live.ended(connection)
        if connection.user_key is not None:
            self.live.user_ended(connection.user_key, connection.transport)
        # An event stream has no close codes, so it has no such label.
        code = self.policy.label(semconv.CLOSE_CODE, close_code) if connection.transport == "websocket" else ""
        connection.accepted_by.closed(connection.cells, connection.opened_as, connection.active_role, code, duration)
        if self.by_api:
            labels = (connection.transport, connection.opened_as[1], code)
            self.by_api_observe(semconv.CONNECTION_DURATION, labels, duration)
        if not connection.is_traced:
            return
        span = connection.disconnect_span = self.spans.disconnect(connection.connect_span)
        about: dict[Attribute, object] = {
            semconv.CLOSE_CODE: close_code,
            semconv.INITIATOR: initiator,
            semconv.DURATION: duration,
        }
        if span.is_recording():
            connection.end_told = self.policy.clear("traces", about)
        if self.is_heard():
            role = None if connection.role is None else connection.opened_as[0]
            self.event(semconv.WS_DISCONNECT, connection, {semconv.ROLE: role, **about}, span)

    def disconnect_finished(self, connection: Connection, error_type: str | None) -> None:
        """The disconnect handler is done, or there is none."""
        span, connection.disconnect_span = connection.disconnect_span, None
        if span is None:
            return
        if not span.is_recording():
            span.end()
            return
        own = {**connection.end_told, **self.policy.clear("traces", {semconv.ERROR_TYPE: error_type})}
        attributes = self.policy.known(connection.described(), own)
        self.spans.finish(span, f"disconnect {connection.route}", attributes, error_type)

    def role_changed(self, connection: Connection) -> None:
        """The application gave an open connection another role: the gauge moves."""
        before, role = connection.active_role, connection.role_label
        if role != before:
            connection.active_role = role
            connection.accepted_by.moved(before, role, connection.opened_as[1])

    # --- messages: what a message costs is counted by its connection's tally; here is what else may be told ------
    def message_handled(
        self, connection: Connection, message_type: str, status: str, seconds: float, size: int, span: Any
    ) -> None:
        """The handler of a client's message ended, and it is an event."""
        about: dict[Attribute, object] = {
            semconv.MESSAGE_TYPE: message_type,
            semconv.OUTCOME: status,
            semconv.DURATION: seconds,
            semconv.SIZE: size,
        }
        self.event(semconv.WS_MESSAGE, connection, about, span)

    def is_message_event(self, status: str, seconds: float, is_sampled: bool) -> bool:
        """Whether a handled message becomes an event (``OTEL_WS_MESSAGE_EVENTS``)."""
        if status == "error":
            return self._errors_told
        return seconds > self.told_over or (is_sampled and self._sampled_told)

    def message_sent(self, connection: Connection, size: int, seconds: float, error_type: str | None) -> None:
        """The server took a message for the client, or refused it; called where ``tells_sends`` says so."""
        if self.by_api:
            self.by_api_observe(semconv.SEND_DURATION, connection.door, seconds)
            if error_type is None:
                self.by_api_observe(semconv.MESSAGE_SIZE, (connection.transport, "transmit"), size)
        about: dict[Attribute, object] = {
            semconv.OUTCOME: "success" if error_type is None else "error",
            semconv.SIZE: size,
        }
        wanted = self.settings.send_spans
        if wanted == "all" or (wanted == "slow" and seconds > SLOW):
            own = self.policy.clear("traces", {**about, semconv.ERROR_TYPE: error_type})
            end_ns = self.now_ns()
            start_ns = end_ns - int(seconds * 1e9)
            attributes = self.policy.known(connection.described(), own)
            self.spans.sent(f"send {connection.route}", start_ns, end_ns, attributes, error_type)
        if self.settings.delivery_events:
            self.event(semconv.WS_DELIVERY, connection, {**about, semconv.DURATION: seconds})

    # --- what applications tell -------------------------------------------------------------------------
    def auth_failed(self, connection: Connection | None, reason: str, close_code: int | None = None) -> None:
        """Authentication failed, for a reason that is a code."""
        self.ledger.add(
            semconv.AUTH_FAILURES,
            (_transport(connection), self.policy.label(semconv.REASON, reason)),
        )
        route = None if connection is None or connection.route == OTHER else connection.route
        about = {
            semconv.REASON: reason,
            semconv.CLOSE_CODE: close_code,
            semconv.ROUTE: route,
        }
        self.event(semconv.WS_AUTH_FAIL, connection, about)

    def ratelimit_rejected(self, connection: Connection | None, reason: str, retry_after: float | None) -> None:
        """A rate limit refused something."""
        self.ledger.add(
            semconv.RATELIMITS,
            (_transport(connection), self.policy.label(semconv.REASON, reason)),
        )
        about = {semconv.REASON: reason, semconv.RETRY_AFTER: retry_after}
        self.event(semconv.WS_RATELIMIT_REJECT, connection, about)

    def error_raised(
        self,
        connection: Connection | None,
        error_type: str,
        category: str,
        severity: str,
        handler: str | None,
    ) -> None:
        """An error: raised by a handler, or told by the application."""
        label = self.policy.label
        route = OTHER if connection is None else connection.door[0]
        labels = (
            route,
            label(semconv.ERROR_TYPE, error_type),
            label(semconv.ERROR_CATEGORY, category),
            label(semconv.ERROR_SEVERITY, severity),
        )
        self.ledger.add(semconv.ERRORS, labels)
        about = {
            semconv.ERROR_TYPE: error_type,
            semconv.ERROR_CATEGORY: category,
            semconv.ERROR_SEVERITY: severity,
            semconv.HANDLER: handler,
        }
        self.event(semconv.WS_ERROR, connection, about)

    def ping_measured(self, connection: Connection | None, seconds: float) -> None:
        """The application measured a heartbeat's round trip."""
        door = (OTHER, "websocket") if connection is None else connection.door
        self.observe(semconv.PING_DURATION, door, seconds)

    def broadcast_sent(
        self,
        connection: Connection | None,
        template: str,
        recipients: int | None,
        seconds: float,
        error: str | None,
    ) -> None:
        """A message was given to the channel layer for a group, or could not be."""
        group = self.policy.label(semconv.TEMPLATE, template)
        self.ledger.add(semconv.BROADCASTS, (group, "sent" if error is None else "failed"))
        self.observe(semconv.BROADCAST_DURATION, (group,), seconds)
        if recipients is not None:
            self.observe(semconv.BROADCAST_RECIPIENTS, (group,), recipients)
        if error is not None and (count := self._due(semconv.WS_BROADCAST_FAIL, group)):
            reason = _WORDS.sub("_", error).upper()
            about = {
                semconv.TEMPLATE: group,
                semconv.REASON: reason,
                semconv.COUNT: count,
            }
            self.event(semconv.WS_BROADCAST_FAIL, connection, about)

    def layer_dropped(self, reason: str, deliveries: int) -> None:
        """A channel layer lost so many deliveries."""
        self.ledger.add(semconv.LAYER_DROPPED, (self.policy.label(semconv.REASON, reason),), deliveries)
        if count := self._due(semconv.WS_LAYER_DROP, reason, deliveries):
            self.event(semconv.WS_LAYER_DROP, None, {semconv.REASON: reason, semconv.COUNT: count})

    def _due(self, event: Event, about: str, amount: int = 1) -> int:
        """How many an event now stands for; 0 where one was told a moment ago, and these are held back."""
        now = self.clock()
        told_at, held_back = self._rarely.get((event, about), (-RARELY_SECONDS, 0))
        if now - told_at < RARELY_SECONDS:
            self._rarely[event, about] = (told_at, held_back + amount)
            return 0
        self._rarely[event, about] = (now, 0)
        return held_back + amount

    # --- by the clock -----------------------------------------------------------------------------------
    def loop_lagged(self, seconds: float) -> None:
        """The event loop ran a timer so late; called about once a second while connections are open."""
        self.observe(semconv.LOOP_LAG, (), seconds)
        now = self.clock()
        for (event, about), (_, held_back) in tuple(self._rarely.items()):
            if held_back and event is semconv.WS_LAYER_DROP:
                self.layer_dropped(about, 0)
        if now >= self._summary_at:
            self._summary_at = now + SUMMARY_SECONDS
            if self.is_leader():
                self.summarise()
        if now >= self._judged_at + JUDGE_SECONDS:
            self._judged_at = now
            verdict = self.watch.judged()
            if verdict is not None and self.is_leader():
                self._health_changed(verdict)

    def _reading(self) -> Reading:
        now = self.snapshot()
        return read(now, self.now_ns() / 1e9, now.total(semconv.PROCESS_CPU) * (os.cpu_count() or 1))

    def _health_changed(self, verdict: Health) -> None:
        about: dict[Attribute, object] = {semconv.STATUS: verdict.status}
        if verdict.findings:
            worst = verdict.findings[0]
            about |= {semconv.RULE: worst.rule, semconv.VALUE: worst.value, semconv.THRESHOLD: worst.threshold}
        self.event(semconv.WS_HEALTH, None, about)

    def summarise(self) -> None:
        """Tell the totals since start as one event."""
        now = self.merged()
        about: dict[Attribute, object] = {
            semconv.TOTAL_ACTIVE: int(now.total(semconv.ACTIVE)),
            semconv.TOTAL_CONNECTED: int(now.total(semconv.CONNECTIONS, status="connected")),
            semconv.TOTAL_REJECTED: int(now.total(semconv.REJECTIONS)),
            semconv.TOTAL_RECEIVED: int(now.total(semconv.MESSAGES)),
            semconv.TOTAL_SENT: int(now.total(semconv.MESSAGES_SENT, status="success")),
            semconv.TOTAL_ERRORS: int(now.total(semconv.ERRORS)),
        }
        self.event(semconv.WS_SUMMARY, None, about)


def _always() -> bool:
    return True


def _transport(connection: Connection | None) -> str:
    return "websocket" if connection is None else connection.transport


# --- the one global -----------------------------------------------------------------------------------------
_active: Recorder | None = None
_lock = threading.RLock()
vocabulary = Policy()


# Set by the package, which may know `sdk`; tried again at a connection while a provider is still a proxy.
speed_up: Callable[[Fanout], None] = nothing
# The same way: puts this process among the others of the host, once it serves.
join: Callable[[Fanout], bool] = alone


def install(settings: Settings, **providers: Any) -> Recorder | None:
    """Make the process's recorder, once; a second call keeps the first. ``None`` where telemetry is off."""
    global _active
    with _lock:
        if _active is None and settings.enabled and not sdk_disabled():
            _active = Recorder(settings, vocabulary, **providers)
            _active.speed_up, _active.join = speed_up, join
            speed_up(_active)
            atexit.unregister(_flush)
            atexit.register(_flush)
        return _active


def active() -> Recorder | None:
    """The process's recorder, if one was installed."""
    return _active


def uninstall() -> None:
    """Stop recording; what was recorded is handed over first."""
    global _active
    with _lock:
        recorder, _active = _active, None
    if recorder is not None:
        recorder.close()


def replace(recorder: Recorder | None, words: Policy | None = None) -> Recorder | None:
    """Put another recorder (and its vocabulary) in the active one's place, for tests; returns what was active."""
    global _active, vocabulary
    with _lock:
        before, _active = _active, recorder
        vocabulary = words or (recorder.policy if recorder is not None else Policy())
        return before


def _flush() -> None:
    # Not ``uninstall``: the SDK's own exit hook collects the last numbers after this one. A server that ends
    # without telling its applications (daphne) leaves connections open: they end with it, by it.
    if _active is not None:
        for connection in _active.live.connections():
            try:
                connection.cancelled()
            except Exception as exc:
                faults.fault("exit", exc)
        _active.flush()


def _after_fork() -> None:
    faults.reset()
    if _active is not None:
        _active.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
