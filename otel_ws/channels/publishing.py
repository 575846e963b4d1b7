"""One message while a channel layer takes it, and what becomes of it: counted, timed, and told as a span.

It knows of its layer only whether something finds the layer's losses. It never awaits.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from channels.exceptions import ChannelFull

from otel_ws import semconv
from otel_ws.api import telling
from otel_ws.channels.carrier import Carrier, context_of
from otel_ws.connection import current
from otel_ws.deliveries import SYSTEM
from otel_ws.policy import NOTHING
from otel_ws.recorder import Recorder
from otel_ws.semconv import Attribute
from otel_ws.types import Value

if TYPE_CHECKING:
    from otel_ws.channels.layer import Observed

_UNREACHED: Final = frozenset({"ConnectionError", "TimeoutError"})
# What is being published here, in the layer's own tasks too.
publishing: ContextVar[Publishing | None] = ContextVar("otel_ws_publishing", default=None)


class Publishing:
    """One message while its layer takes it, for a channel or a group."""

    __slots__ = (
        "_connection", "_started_at", "active", "attempted", "by_key", "carrier", "delivery", "full", "is_counted",
        "is_over", "is_silent", "layer", "message", "name", "operation", "pending", "refused", "span", "told", "unread",
    )  # fmt: skip

    def __init__(self, active: Recorder, layer: Observed, operation: str, name: object, message: object) -> None:
        self.active = active
        self.layer = layer
        self.operation = operation
        self.name = name
        self.message = message
        # Deliveries that were tried, where the layer lets that be known; of those, such as found no room, or nobody to
        # read them, or were refused; and such as are refused if the layer raises now.
        self.attempted = self.full = self.unread = self.refused = self.pending = 0
        self.is_counted = False
        # Of a layer that shares a queue between channels: how many of the group's channels wait behind each.
        self.by_key: dict[str, int] = {}
        self.is_over = False
        self._connection = current.get()
        # The application tells this broadcast itself.
        self.told = telling.get()
        deliveries = active.deliveries
        self.delivery = deliveries.of_name(name) if self.told is None else deliveries.of(str(self.told))
        self.span: Any = None
        spans = active.spans
        if spans.has_messages and active.is_traced():
            self.span = spans.publish()
        self.is_silent = active.settings.layer_context == "off"
        context = None if self.is_silent else context_of(self.span)
        self.carrier = Carrier(active.now_ns() * 1e-9, self.delivery.template, context)
        if layer.losses is not None:
            layer.losses.publishing(self)
        self._started_at = active.clock()

    def ended(self, exc: BaseException | None) -> None:
        """The layer took the message, or raised ``exc``."""
        self.is_over = True
        active = self.active
        seconds = active.clock() - self._started_at
        error = "" if exc is None else active.policy.label(semconv.ERROR_TYPE, type(exc).__name__)
        self.delivery.sent(active.ledger.local.cells, self.operation, error)
        if isinstance(exc, Exception) and not isinstance(exc, ChannelFull):
            # Whoever is cancelled does not know what became of it.
            if self.operation == "group_send" and not self.attempted:
                # Its members are not known, so it counts as one.
                self.attempted = int(self.layer.losses is not None and self.layer.losses.counts)
                self.pending = 1
            self.refused += self.pending if self.operation == "group_send" else 1
            self._dropped(_reason(exc), self.refused)
        if self.operation == "group_send":
            if self.told is None:
                raised = None if exc is None else type(exc).__name__
                recipients = self.attempted if self.attempted or self.is_counted else None
                active.broadcast_sent(self._connection, self.delivery.template, recipients, seconds, raised)
            self._dropped("CHANNEL_FULL", self.full)
        elif isinstance(exc, ChannelFull):
            self._dropped("CHANNEL_FULL", 1)
        if exc is None and self.is_counted and not self.attempted:
            self._dropped("NO_SUBSCRIBER", 1)
        self._dropped("CONSUMER_GONE", self.unread)
        if self.span is not None:
            self._finish_span(error)

    def _finish_span(self, error: str) -> None:
        template = self.delivery.template
        own: dict[Attribute, Value] = {
            semconv.MESSAGING_SYSTEM: SYSTEM,
            semconv.OPERATION: self.operation,
            semconv.OPERATION_TYPE: "send",
            semconv.TEMPLATE: template,
        }
        if error:
            own[semconv.ERROR_TYPE] = error
        base = NOTHING if self._connection is None else self._connection.described()
        self.active.spans.finish(self.span, f"publish {template}", self.active.policy.known(base, own), error or None)

    # A layer's own task may outlive the call that was cancelled: what it finds then is told at once.
    def raised(self, exc: Exception) -> None:
        """A channel of the group had no room, or the layer did not take the message for it."""
        if self.is_over:
            self._dropped("CHANNEL_FULL" if isinstance(exc, ChannelFull) else _reason(exc), 1)
        elif isinstance(exc, ChannelFull):
            self.full += 1
        else:
            self.refused += 1

    def found_unread(self) -> None:
        """A channel of the group has nobody who reads it."""
        if self.is_over:
            self._dropped("CONSUMER_GONE", 1)
        else:
            self.unread += 1

    def _dropped(self, reason: str, deliveries: int) -> None:
        if deliveries:
            self.active.layer_dropped(reason, deliveries)


def _reason(exc: Exception) -> str:
    is_away = not _UNREACHED.isdisjoint(one.__name__ for one in type(exc).__mro__)
    return "DISCONNECTED" if is_away else "REFUSED"
