"""What known channel layers lose in silence, found where they lose it, and where a carrier can ride on them.

Private touches: the queues and the serialiser of a layer of Channels or channels_redis, each on the instance, because
neither says what it drops. A layer that looks otherwise is left alone (``ShapeError``): its losses are not counted,
and nothing travels with its messages. The Redis layer with queues in the server is in ``redis_core``.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from channels.layers import InMemoryChannelLayer

from otel_ws.channels.backlog import Queue
from otel_ws.channels.carrier import carried, form_of, read
from otel_ws.faults import fault

if TYPE_CHECKING:
    from otel_ws.channels.layer import Observed
    from otel_ws.channels.publishing import Publishing

_ABSENT: Final = object()
# Seconds between two clocks: nothing waits in a layer for a day, so a carrier that says more is wrong.
_CREDIBLE: Final = 86_400.0


class ShapeError(Exception):
    """A layer does not look as expected in the installed version."""


def of(layer: Any, observed: Observed) -> Losses | None:
    """What finds the layer's losses, at work from now on; ``None`` for a layer that nobody knows."""
    found = _found(layer, observed)
    if found is not None:
        try:
            found.join()
        except BaseException:
            found.leave()
            raise
    return found


def _found(layer: Any, observed: Observed) -> Losses | None:
    if isinstance(layer, InMemoryChannelLayer):
        return InMemory(layer, observed)
    core = sys.modules.get("channels_redis.core")
    if core is not None and isinstance(layer, core.RedisChannelLayer):
        from otel_ws.channels.redis_core import RedisCore

        return RedisCore(layer, observed)
    pubsub = sys.modules.get("channels_redis.pubsub")
    if pubsub is not None and isinstance(layer, pubsub.RedisPubSubChannelLayer):
        return RedisPubSub(layer, observed)
    return None


class Losses:
    """One layer's losses; what it finds, it tells ``observed``."""

    # Whether what is sent here stays here.
    copies = False
    # Whether a message is copied in memory, by code that we know: a carrier may ride on it.
    carries = False
    # Whether it knows how many members a group has when the layer sends to it.
    counts = False
    # Whether it has to know of every message that somebody asks for.
    watches = False

    def __init__(self, layer: Any, observed: Observed) -> None:
        self.layer = layer
        self.observed = observed
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def join(self) -> None:
        """Put what is needed into the layer; what raises is undone by ``leave``."""

    def replace(self, owner: Any, name: str, stand_in: Any) -> None:
        """Put something in the place of an attribute, on the instance, until ``leave``."""
        self._replaced.append((owner, name, vars(owner).get(name, _ABSENT), stand_in))
        setattr(owner, name, stand_in)

    def leave(self) -> None:
        """Put everything back that nobody else has replaced since."""
        for owner, name, before, stand_in in reversed(self._replaced):
            if vars(owner).get(name) is stand_in:
                if before is _ABSENT:
                    delattr(owner, name)
                else:
                    setattr(owner, name, before)
        self._replaced.clear()

    def publishing(self, about: Publishing) -> None:
        """The layer is about to take a message."""

    def receiving(self, channel: Any) -> Any:
        """Somebody is about to ask for a channel's message; what is returned is handed to ``interrupted``."""
        return None

    def received(self, channel: Any) -> None:
        """They were given one."""

    def interrupted(self, channel: Any, watched: Any) -> None:
        """They were cancelled, or the layer raised."""

    def waiting(self, channel: str) -> int:
        """How many messages wait for a consumer that is gone, and will not be counted elsewhere."""
        return 0

    def queues(self) -> Iterator[Queue]:
        """What waits in the layer now, as far as this process can tell; asked on a reader's thread.

        Of consumers one that is empty is told too: their series is there before anything waits, and after.
        """
        yield from ()

    def carry(self, serializer: Any) -> None:
        """Let carriers ride in the serialiser's bytes, if its own decoder does not see them."""
        # Channels' registry takes one that has neither.
        as_bytes, from_bytes = getattr(serializer, "as_bytes", None), getattr(serializer, "from_bytes", None)
        if as_bytes is None or from_bytes is None:
            return
        form = form_of(as_bytes, from_bytes)
        if form is None:
            return
        enclose, disclose = form

        def encode(message: Any, *args: Any, **kwargs: Any) -> Any:
            body = as_bytes(message, *args, **kwargs)
            try:
                text = self.observed.text_to_carry()
                return body if text is None else enclose(body, text) or body
            except Exception as exc:
                fault("carrier", exc)
                return body

        def decode(body: Any, *args: Any, **kwargs: Any) -> Any:
            message = from_bytes(body, *args, **kwargs)
            try:
                carrier = read(disclose(bytes(body)))
                if carrier is not None and type(message) is dict and abs(time.time() - carrier.sent_at) < _CREDIBLE:
                    return carried(message, carrier)
            except Exception as exc:
                fault("carrier", exc)
            return message

        self.replace(serializer, "as_bytes", encode)
        self.replace(serializer, "from_bytes", decode)


class InMemory(Losses):
    """``channels.layers.InMemoryChannelLayer``: messages expire when somebody else receives or publishes."""

    copies = counts = True

    def __init__(self, layer: Any, observed: Observed) -> None:
        super().__init__(layer, observed)
        # Nothing can have expired before; a look at every queue costs as much as the cleaning itself.
        self._due = math.inf

    def join(self) -> None:
        """What the layer throws away is counted where it does."""
        layer = self.layer
        if not isinstance(layer.channels, dict) or not callable(layer._clean_expired):
            raise ShapeError
        names, own = ("send", "receive", "group_send"), vars(layer)
        self.carries = all(
            name not in own and getattr(type(layer), name) is getattr(InMemoryChannelLayer, name) for name in names
        )
        clean, now = layer._clean_expired, time.time

        def cleaned() -> None:
            # Called for every message that is asked for.
            if now() < self._due:
                clean()
            else:
                self._clean(clean)

        self.replace(layer, "_clean_expired", cleaned)

    def publishing(self, about: Publishing) -> None:
        """It sends to each channel by itself; a layer with nothing in it gets its first message."""
        if about.operation == "group_send":
            about.is_counted = True
        if self._due == math.inf:
            self._due = time.time() + self.layer.expiry

    def waiting(self, channel: str) -> int:
        """What is in the queue."""
        queue = self.layer.channels.get(channel)
        return 0 if queue is None else int(queue.qsize())

    def queues(self) -> Iterator[Queue]:
        """Every channel's own; what is left of a consumer that is gone is lost already."""
        yield Queue("consumer", "", 0, self.layer.capacity, 0.0)
        now, gone = time.time(), self.observed.gone
        for channel, queue in list(self.layer.channels.items()):
            kind = "consumer" if "!" in channel else "channel"
            try:
                age = max(0.0, now - (queue._queue[0][0] - self.layer.expiry))
            except IndexError:
                if kind == "consumer":
                    continue
                age = 0.0
            if channel not in gone:
                yield Queue(kind, channel, queue.qsize(), self.layer.get_capacity(channel), age)

    def _clean(self, original: Callable[[], None]) -> None:
        before = self._readable()
        original()
        after = self._readable()
        # Other threads send and receive meanwhile, so there may be more than before.
        self.observed.lost("EXPIRED", max(0, before - after))

    def _readable(self) -> int:
        """How many messages may still be read; sees to it that the layer is looked at when the next one expires."""
        # Something may be on its way into a queue, so an empty layer is looked at again after another expiry.
        due, readable, gone = time.time() + self.layer.expiry, 0, self.observed.gone
        try:
            for channel, queue in list(self.layer.channels.items()):
                # What another thread takes meanwhile is not there.
                for until, _ in itertools.islice(queue._queue, 1):
                    due = min(due, until)
                readable += 0 if channel in gone else queue.qsize()
        except Exception as exc:
            fault("layer.losses", exc)
        self._due = due
        return readable


class RedisPubSub(Losses):
    """``channels_redis.pubsub.RedisPubSubChannelLayer``: what Redis delivers to nobody, and what a consumer leaves."""

    watches = True

    def join(self) -> None:
        """Its connections come with each event loop."""
        if not callable(self.layer._get_layer):
            raise ShapeError
        self.carry(self.layer._serializer)

    def leave(self) -> None:
        """Every loop's connections get their own methods back."""
        super().leave()
        for loop in list(self.layer._layers.values()):
            for shard in loop._shards:
                if isinstance(ensured := vars(shard).get("_ensure_redis"), _Ensured):
                    ensured.leave()

    def publishing(self, about: Publishing) -> None:
        """Each event loop has connections of its own, made when they are first needed."""
        for shard in self.layer._get_layer()._shards:
            if not isinstance(vars(shard).get("_ensure_redis"), _Ensured):
                shard._ensure_redis = _Ensured(self, shard)

    def receiving(self, channel: Any) -> Any:
        """The channel's queue, which goes when its receiver does."""
        return self.layer._get_layer().channels.get(channel)

    def waiting(self, channel: str) -> int:
        """What is in the queue of a consumer that did not ask when it went; the layer keeps that for ever."""
        queue = self.layer._get_layer().channels.get(channel)
        return 0 if queue is None else int(queue.qsize())

    def interrupted(self, channel: Any, watched: Any) -> None:
        """The layer forgot the queue."""
        if watched is not None and channel not in self.layer._get_layer().channels:
            self.observed.lost("CONSUMER_GONE", watched.qsize())

    def queues(self) -> Iterator[Queue]:
        """Every consumer's own, without a bound."""
        yield Queue("consumer", "", 0, None, None)
        for loop in list(self.layer._layers.values()):
            for channel, queue in list(loop.channels.items()):
                if (depth := queue.qsize()) and channel not in self.observed.gone:
                    yield Queue("consumer", channel, depth, None, None)


class _Ensured:
    """A shard's ``_ensure_redis``: its connection's ``publish`` tells how many subscribers there were."""

    def __init__(self, losses: RedisPubSub, shard: Any) -> None:
        self._losses = losses
        self._shard = shard
        self._before = vars(shard).get("_ensure_redis", _ABSENT)
        self._original = shard._ensure_redis

    def __call__(self) -> None:
        self._original()
        redis = self._shard._redis
        if "publish" not in vars(redis):
            redis.publish = functools.partial(self._publish, redis.publish)

    def leave(self) -> None:
        """The shard and its connection get their own methods back."""
        own = vars(self._shard)
        if self._before is _ABSENT:
            del own["_ensure_redis"]
        else:
            own["_ensure_redis"] = self._before
        redis = self._shard._redis
        publish = None if redis is None else vars(redis).get("publish")
        if getattr(getattr(publish, "func", None), "__self__", None) is self:
            del redis.publish

    async def _publish(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        subscribers = await original(*args, **kwargs)
        about = self._losses.observed.being_published()
        if about is not None and subscribers == 0:
            about.is_counted = True
        return subscribers
