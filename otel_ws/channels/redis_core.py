"""What ``channels_redis.core.RedisChannelLayer`` loses in silence, and what waits in it.

Private touches, each on the instance: its buffer, the connections that it publishes by, and how it maps channels to
keys, because it says neither what it drops nor what it throws away. It refuses to know what a message says.
"""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from otel_ws import recorder
from otel_ws.channels.backlog import Poll, Queue
from otel_ws.channels.losses import Losses, ShapeError
from otel_ws.faults import fault

if TYPE_CHECKING:
    from otel_ws.channels.layer import Observed
    from otel_ws.channels.publishing import Publishing


class RedisCore(Losses):
    """``channels_redis.core.RedisChannelLayer``: a key in Redis for each process, then a queue for each channel."""

    watches = counts = True

    def __init__(self, layer: Any, observed: Observed) -> None:
        super().__init__(layer, observed)
        self.held: set[str] = set()
        self._buffers: _Buffers | None = None
        self._plain: dict[str, Any] = {}
        self._poll: Poll | None = None

    def join(self) -> None:
        """The layer gets a buffer that tells what it drops."""
        layer = self.layer
        buffer = layer.receive_buffer
        factory: Any = getattr(buffer, "default_factory", None)
        kind: Any = getattr(factory, "func", None)
        mapped = layer._map_channel_keys_to_connection
        if type(buffer) is not defaultdict or not isinstance(kind, type) or not issubclass(kind, asyncio.Queue):
            raise ShapeError
        self._buffers = _Buffers(self, _counting(factory.func), factory.args, buffer)
        layer.receive_buffer, self._plain = self._buffers, buffer
        self.replace(layer, "_map_channel_keys_to_connection", functools.partial(self._mapped, mapped))
        self.replace(layer, "connection", functools.partial(self._connection, layer.connection))
        self.carry(layer._serializer)
        active = recorder.active()
        seconds = 0.0 if active is None else active.settings.layer_poll
        self._poll = Poll(layer, seconds) if seconds else None

    def leave(self) -> None:
        """The layer's own buffer comes back, with the queues that consumers wait at."""
        super().leave()
        if self._poll is not None:
            self._poll.stop()
        if self._buffers is not None and self.layer.receive_buffer is self._buffers:
            self._plain.clear()
            self._plain.update(self._buffers)
            self.layer.receive_buffer = self._plain

    def publishing(self, about: Publishing) -> None:
        """A named channel is somebody's queue, whether or not anybody takes from it."""
        if self._poll is not None and about.operation == "send":
            self._poll.met(about.name)

    def receiving(self, channel: Any) -> Any:
        """Its process has a queue in Redis, or it is one."""
        if self._poll is not None:
            self._poll.met(channel)
        return None

    def queues(self) -> Iterator[Queue]:
        """What the last look at Redis found, where that was this process's turn, and what is buffered here."""
        if self._poll is not None:
            yield from self._poll.found()
        yield Queue("consumer", "", 0, self.layer.capacity, None)
        for channel, queue in list(self.layer.receive_buffer.items()):
            if (depth := queue.qsize()) and channel not in self.observed.gone:
                yield Queue("consumer", channel, depth, self.layer.capacity, None)

    def received(self, channel: Any) -> None:
        """What was taken from the queue arrived."""
        self.held.discard(channel)

    def waiting(self, channel: str) -> int:
        """What another consumer put into the channel's queue since its own was cancelled."""
        queue = self.layer.receive_buffer.get(channel)
        return 0 if queue is None else int(queue.qsize())

    def interrupted(self, channel: Any, watched: Any) -> None:
        """What was taken from the queue did not arrive."""
        if channel in self.held:
            self.held.discard(channel)
            self.observed.lost("CONSUMER_GONE")

    def _mapped(self, original: Callable[..., Any], channel_names: Any, message: Any) -> Any:
        about = self.observed.being_published()
        if about is not None:
            about.is_counted = True
            about.attempted = about.pending = len(channel_names)
        result = original(channel_names, message)
        if about is not None:
            by_key: dict[str, int] = {}
            for channel in channel_names:
                key = self.layer.prefix + (self.layer.non_local_name(channel) if "!" in channel else channel)
                by_key[key] = by_key.get(key, 0) + 1
            about.by_key = by_key
        return result

    def _connection(self, original: Callable[[int], Any], index: int) -> Any:
        found = original(index)
        about = self.observed.being_published()
        return found if about is None else _Shard(found, about, self.observed)


_COUNTED: Final = "over_capacity = over_capacity + 1"
_RETURNED: Final = "return over_capacity"


class _Shard:
    """A connection while a message goes out.

    Before it publishes, the layer throws away what nobody took in time, and keeps the number to itself; its script for
    a group says how many keys were full, not which.
    """

    def __init__(self, connection: Any, about: Publishing, observed: Observed) -> None:
        self._connection = connection
        self._about = about
        self._observed = observed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> Any:
        return await self._connection.__aexit__(*raised)

    def __await__(self) -> Any:
        return self._connection.__await__()

    async def zremrangebyscore(self, *args: Any, **kwargs: Any) -> Any:
        """For a channel: its expired messages. For a group: memberships."""
        removed = await self._connection.zremrangebyscore(*args, **kwargs)
        if self._about.operation == "send" and type(removed) is int:
            self._observed.lost("EXPIRED", removed)
        return removed

    def pipeline(self, *args: Any, **kwargs: Any) -> Any:
        """For a group: the expired messages of every key that it is about to write to."""
        pipe = self._connection.pipeline(*args, **kwargs)
        pipe.execute = functools.partial(self._executed, pipe, pipe.execute)
        return pipe

    async def _executed(self, pipe: Any, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        is_cleaning = _is_cleaning(pipe)
        results = await original(*args, **kwargs)
        if is_cleaning:
            self._observed.lost("EXPIRED", sum(one for one in results if type(one) is int))
        return results

    async def eval(self, script: Any, numkeys: Any, *args: Any) -> Any:
        if type(script) is not str or script.count(_COUNTED) != 1 or script.count(_RETURNED) != 1:
            full = await self._connection.eval(script, numkeys, *args)
            self._settled(numkeys, args)
            if type(full) is int:
                # At least so many: each key stands for one channel or more.
                self._about.full += full
            return full
        told = script.replace(_COUNTED, f"{_COUNTED} full[#full + 1] = i").replace(_RETURNED, "return full")
        keys = await self._connection.eval(f"local full = {{}}\n{told}", numkeys, *args)
        self._settled(numkeys, args)
        try:
            self._about.full += sum(self._about.by_key.get(args[int(place) - 1], 1) for place in keys)
        except Exception as exc:
            fault("layer.losses", exc)
        return len(keys)

    def _settled(self, numkeys: Any, args: tuple[Any, ...]) -> None:
        """What is for these keys cannot be refused any more."""
        try:
            self._about.pending -= sum(self._about.by_key.get(key, 0) for key in args[: int(numkeys)])
        except Exception as exc:
            fault("layer.losses", exc)


def _is_cleaning(pipe: Any) -> bool:
    try:
        return all(command[0][0] == "ZREMRANGEBYSCORE" for command in pipe.command_stack)
    except Exception as exc:
        fault("layer.losses", exc)
        return False


class _Buffers(defaultdict[str, Any]):
    """The layer's queues by channel; what is in one when it goes is lost."""

    def __init__(self, losses: RedisCore, kind: type, arguments: tuple[Any, ...], before: dict[str, Any]) -> None:
        super().__init__(None, before)
        self._losses = losses
        self._kind = kind
        self._arguments = arguments

    def __missing__(self, channel: str) -> Any:
        queue = self._kind(*self._arguments)
        queue.watched_by = (self._losses, channel)
        self[channel] = queue
        return queue

    def __delitem__(self, channel: str) -> None:
        queue = self.get(channel)
        super().__delitem__(channel)
        if queue is not None and channel not in self._losses.observed.gone:
            self._losses.observed.lost("CONSUMER_GONE", queue.qsize())


@functools.lru_cache(8)
def _counting(kind: Any) -> Any:
    class CountingQueue(kind):  # type: ignore[misc]
        """The layer's own queue, which tells what it drops."""

        def put_nowait(self, item: Any) -> Any:
            losses, channel = self.watched_by
            was_held = channel in losses.held
            if channel in losses.observed.gone:
                losses.observed.lost("CONSUMER_GONE")
            elif self.full():
                losses.observed.lost("BUFFER_OVERFLOW")
            result = super().put_nowait(item)
            if not was_held:
                losses.held.discard(channel)
            return result

        def _get(self) -> Any:
            losses, channel = self.watched_by
            losses.held.add(channel)
            return super()._get()

    return CountingQueue
