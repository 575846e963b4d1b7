"""What a worker took from its channel and has not handled: how long it waits, and what is lost with its consumer.

Channels' worker asks its layer for the next message while a handler is still at work, and lets it wait in a queue
without bound: there, and not in the layer, is the backlog. It refuses to know how a layer or a consumer works.
"""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_ws import recorder, semconv
from otel_ws.channels.backlog import Queue
from otel_ws.channels.carrier import Carrier, carrier_of
from otel_ws.deliveries import Delivery
from otel_ws.faults import fault
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER

if TYPE_CHECKING:
    from otel_ws.channels.layer import Observed

# So many messages are kept for a consumer that nobody watches, or that is gone: as many as Channels' layers hold for a
# channel.
UNWATCHED_LIMIT: Final = 100
# What a worker's listener takes, for the consumer that it makes; and the same in that consumer's own context.
listening: ContextVar[Handed | None] = ContextVar("otel_ws_listening", default=None)
handling: ContextVar[Handed | None] = ContextVar("otel_ws_handed", default=None)


class Taken(NamedTuple):
    """One message that was taken from a layer, and what came with it."""

    message: object
    carrier: Carrier | None
    delivery: Delivery
    # Unix ns: when it was taken.
    taken_ns: int
    # Whether it was counted as consumed when it was taken, because nobody watches its handler.
    is_counted: bool

    @property
    def sent_ns(self) -> int:
        """Unix ns since which it waits: its sending, if the sender's clock is not ahead of ours."""
        return self.taken_ns if self.carrier is None else min(int(self.carrier.sent_at * 1e9), self.taken_ns)


class Handed:
    """What one listener took from its channel, until it is handled; and of its consumer's own channel, the last one."""

    __slots__ = ("__weakref__", "_channel", "_is_gone", "_layer", "_own", "_waiting", "asked_ns", "consumer")

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._layer: Observed | None = None
        self._waiting: deque[Taken] = deque()
        self._own: Taken | None = None
        # Whether a consumer was here before, whose queue may have got what came since.
        self._is_gone = False
        self.consumer: object = None
        # Unix ns: when the consumer was ready for another one; 0 until it has handled its first.
        self.asked_ns = 0

    @property
    def is_watched(self) -> bool:
        """Whether what is taken will be told by a consumer, this one or the one that comes after it."""
        return self.consumer is not None or self._is_gone

    def watch(self, consumer: object) -> None:
        """The consumer begins."""
        self.consumer = consumer
        self.asked_ns = 0

    def put(self, layer: Observed, channel: str, one: Taken) -> bool:
        """One more was taken; returns whether a handler will be called for it."""
        if "!" in channel:
            # The consumer's own, or one at which a handler waits for an answer.
            if getattr(self.consumer, "channel_name", None) != channel:
                return False
            self._own = one
            return True
        if self._layer is not layer:
            self._layer = layer
            layer.handed.add(self)
        if self.consumer is None and len(self._waiting) >= UNWATCHED_LIMIT:
            self._lost([self._waiting.popleft()])
        self._waiting.append(one)
        return True

    def next(self, active: Recorder, message: object) -> Taken | None:
        """A message goes to its handler now; returns what is known of it.

        What is between may drop messages, or make others of them: then it is the next one.
        """
        own = self._own
        if own is not None and own.message is message:
            self._own = None
            return own
        passed: list[Taken] = []
        for place, one in enumerate(islice(self._waiting, UNWATCHED_LIMIT + 1)):
            if one.message is message:
                passed = [self._waiting.popleft() for _ in range(place)]
                break
        found = self._waiting.popleft() if self._waiting else None
        cells = active.ledger.local.cells
        if self._is_gone:
            # They came for the one before, when its queue was still there.
            self._is_gone = False
            self._lost(passed)
            passed = []
        for one in (*passed, *([] if found is None else [found])):
            if not one.is_counted:
                one.delivery.consumed(cells)
        return found

    def leave(self) -> None:
        """The consumer is gone, and its queue with it."""
        self.consumer = self._own = None
        self._is_gone = True
        lost = list(self._waiting)
        self._waiting.clear()
        self._lost(lost)

    def queue(self, now_ns: int) -> Queue:
        """What waits now; asked on a reader's thread."""
        try:
            oldest = self._waiting[0].sent_ns
        except IndexError:
            oldest = now_ns
        return Queue("consumer", self._channel, len(self._waiting), None, max(0.0, (now_ns - oldest) * 1e-9))

    def _lost(self, these: list[Taken]) -> None:
        if self._layer is not None:
            self._layer.lost("CONSUMER_GONE", sum(not one.is_counted for one in these))


def consumed(layer: Observed, channel: Any, message: Any) -> Any:
    """Somebody asked the layer who is no connection's consumer: a view that waits for an answer, a worker, a test.

    They get a plain dict. What a worker's listener takes, or its consumer, is told by that one's handler.
    """
    try:
        active = recorder.active()
        carrier = carrier_of(message)
        if carrier is not None:
            message = dict(message)
        if active is not None:
            is_named = "!" not in channel
            deliveries = active.deliveries
            if carrier is not None:
                delivery = deliveries.of(carrier.template)
            else:
                # Sent by a process without a carrier; a named channel tells its own template.
                delivery = deliveries.of_name(channel) if is_named else deliveries.of(OTHER)
            handed = listening.get() if is_named else handling.get()
            is_counted = not is_named or handed is None or not handed.is_watched
            if is_counted:
                delivery.consumed(active.ledger.local.cells)
            one = Taken(message, carrier, delivery, active.now_ns(), is_counted)
            if (handed is None or not handed.put(layer, channel, one)) and carrier is not None:
                seconds = max(0.0, one.taken_ns * 1e-9 - carrier.sent_at)
                active.observe(semconv.LAYER_LAG, (delivery.template,), seconds)
    except Exception as exc:
        fault("layer.receive", exc)
    return message
