"""One consumer's channel: what it was handed and has not handled, how long that waited, and what the consumer leaves.

It knows its layer by the one who observes it, and refuses to know how a layer works.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from otel_ws import semconv
from otel_ws.channels.carrier import Carrier
from otel_ws.connection import BACKLOG_SECONDS, Connection
from otel_ws.semconv import OTHER

if TYPE_CHECKING:
    from otel_ws.channels.layer import Observed

_BACKLOG_NS: Final = BACKLOG_SECONDS * 1e9
# So many channels are remembered whose consumer is gone: what still arrives for them is lost.
GONE_LIMIT: Final = 4096
# A consumer that is about to ask its layer for a channel.
arriving: ContextVar[Inbox | None] = ContextVar("otel_ws_arriving", default=None)


class Inbox:
    """One consumer's channel: what it was handed and has not handled, and the groups that it is a member of."""

    __slots__ = ("asked_ns", "carrier", "channel", "groups", "is_watched", "layer", "message", "now_ns", "received_ns")

    def __init__(self, now_ns: Callable[[], int], is_watched: bool = True) -> None:
        self.now_ns = now_ns
        self.is_watched = is_watched
        # Unix ns: when its consumer last asked the layer, and when it was given what no carrier came with.
        self.asked_ns = self.received_ns = 0
        self.channel: str | None = None
        self.layer: Observed | None = None
        self.message: object = None
        self.carrier: Carrier | None = None
        self.groups: tuple[str, ...] = ()

    def taken(self, connection: Connection) -> Carrier | None:
        """The message goes to its handler now; returns what came with it."""
        carrier = self.carrier
        self.message = None
        active = connection.recorder
        deliveries, tally, cells = active.deliveries, connection.tally, connection.cells
        if carrier is None:
            deliveries.of(OTHER).consumed(cells)
            seconds = (active.now_ns() - self.received_ns) * 1e-9
            tally.waited(cells, seconds, self.received_ns - self.asked_ns < _BACKLOG_NS)
        else:
            self.carrier = None
            sent_at = carrier.sent_at
            delivery = deliveries.by_template.get(carrier.template) or deliveries.of(carrier.template)
            seconds = delivery.handled(cells, tally.wait, active.now_ns() * 1e-9 - sent_at)
            if sent_at * 1e9 < self.asked_ns:
                cells[tally.backlogged] += 1.0
            if active.by_api:
                active.by_api_observe(semconv.LAYER_LAG, (delivery.template,), seconds)
        if active.by_api:
            active.by_api_observe(semconv.MESSAGE_WAIT, connection.door, seconds)
        return carrier

    def leave(self) -> None:
        """The consumer is gone, and with it whoever would have asked for what is left."""
        if self.layer is not None:
            self.layer.left(self)


class Gone(dict[str, tuple[str, ...]]):
    """Channels whose consumer is gone, with the groups that each was left in.

    Of those that nothing can reach any more, in no group and with nothing waiting, as many are kept as there is room.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clean: dict[str, None] = {}

    def left(self, channel: str, groups: tuple[str, ...], is_waiting: bool) -> tuple[str, ...]:
        """One more consumer is gone; returns the groups of one that is remembered no longer."""
        self[channel] = groups
        self._clean.pop(channel, None)
        if not groups and not is_waiting:
            self._clean[channel] = None
        if len(self) <= GONE_LIMIT:
            return ()
        oldest = next(iter(self._clean or self))
        self._clean.pop(oldest, None)
        return self.pop(oldest, ())
