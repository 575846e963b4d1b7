"""What waits in channel layers: queues by kind and template, and the look at those that a Redis server holds.

It knows what a queue is called and how long it is, never what is in it. Names stay here: what leaves is a kind and a
declared template.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple
from uuid import uuid4

from otel_ws import semconv
from otel_ws.deliveries import Deliveries
from otel_ws.faults import fault
from otel_ws.signals import spans as span_tools
from otel_ws.types import Labels

# So many names that one process meets are looked at, twice as many with those of processes' queues; and so many of all
# that share a layer.
NAMES_LIMIT: Final = 100
LOOK_LIMIT: Final = 1000
# A look that takes longer is given up: Redis has other things to do, or is away.
LONGEST_SECONDS: Final = 5.0
# How many intervals pass until somebody else takes over from a process that is gone.
_TURNS: Final = 2.5
METRICS: Final = (semconv.LAYER_DEPTH, semconv.LAYER_CAPACITY, semconv.LAYER_OLDEST)


class Queue(NamedTuple):
    """One queue at one moment: what it is called, how many wait in it, of how many at most, the oldest for how long."""

    kind: str
    name: str
    depth: int
    capacity: int | None
    age: float | None


def read(metric: semconv.Metric, queues: Iterable[Queue], deliveries: Deliveries) -> Iterator[tuple[Labels, float]]:
    """A metric's series: depths add up; of shares and ages the worst one counts."""
    found: dict[Labels, float] = {}
    for queue in queues:
        # Only what workers take from has a name that somebody gave it.
        is_named = bool(queue.name) and "!" not in queue.name
        template = deliveries.of_name(queue.name).template if is_named else ""
        labels = (queue.kind, template)
        if metric is semconv.LAYER_DEPTH:
            found[labels] = found.get(labels, 0.0) + queue.depth
        elif metric is semconv.LAYER_CAPACITY and queue.capacity:
            found[labels] = max(found.get(labels, 0.0), queue.depth / queue.capacity)
        elif metric is semconv.LAYER_OLDEST and queue.age is not None:
            found[labels] = max(found.get(labels, 0.0), queue.age)
    yield from found.items()


class Poll:
    """Looks at the queues of one layer of ``channels_redis.core`` every so often.

    Every process writes down in Redis which queues it reads from or writes to; the one whose turn it is looks at all
    of them. It works in a thread and by connections of its own, made for each look from the layer's own settings: no
    event loop, and no connection of the application, ever waits for it. Both its keys begin with the layer's prefix
    and hold a colon, which no channel's name may; they expire, and ``flush`` takes them along.
    """

    def __init__(self, layer: Any, seconds: float) -> None:
        self._layer = layer
        self._seconds = seconds
        self._me = uuid4().hex
        self._names: set[str] = set()
        self._found: tuple[float, tuple[Queue, ...]] = (-math.inf, ())
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        _polls.add(self)

    def met(self, channel: object) -> None:
        """A channel is read from or written to; that of a consumer shares the queue of its process."""
        if type(channel) is not str:
            return
        name = channel[: channel.index("!") + 1] if "!" in channel else channel
        # A process has one queue, and maybe a channel for each of its users: those leave room for processes.
        if name not in self._names and len(self._names) < NAMES_LIMIT * (1 + name.endswith("!")):
            self._names.add(name)
            if self._thread is None and not self._over.is_set():
                # In a context of its own: what is done by the clock belongs to nobody's request.
                run = contextvars.Context().run
                self._thread = threading.Thread(target=run, args=(self._run,), name="otel-ws-layer", daemon=True)
                self._thread.start()

    def found(self) -> tuple[Queue, ...]:
        """What the last look found; nothing where it failed, was another process's turn, or is long ago."""
        looked_at, queues = self._found
        return queues if time.monotonic() - looked_at < 2 * self._seconds + LONGEST_SECONDS else ()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def forked(self) -> None:
        """In a forked child there is no thread, and what was found is the parent's."""
        self._me = uuid4().hex
        self._names.clear()
        self._found = (-math.inf, ())
        self._thread = None
        self._over = threading.Event()

    def _run(self) -> None:
        span_tools.unobserved()
        while not self._over.wait(self._seconds) and _is_running():
            queues: tuple[Queue, ...] = ()
            try:
                queues = asyncio.run(asyncio.wait_for(self._look(), LONGEST_SECONDS))
            except Exception as exc:
                if not _is_running():
                    return
                fault("layer.poll", exc)
            self._found = (time.monotonic(), queues)

    async def _look(self) -> tuple[Queue, ...]:
        # What the layer was made with, and so is loaded.
        redis, layer = sys.modules["redis.asyncio"], self._layer
        pools = [layer.create_pool(index) for index in range(layer.ring_size)]
        try:
            shards = [redis.Redis(connection_pool=pool) for pool in pools]
            names = await self._turn(shards[0])
            return tuple([one for shard in shards for one in await self._queues(shard, names)] if names else ())
        finally:
            for pool in pools:
                # A pool that asks sentinels keeps connections to them too.
                watched = getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
                for one in (pool, *(sentinel.connection_pool for sentinel in watched)):
                    await one.disconnect()

    async def _turn(self, shard: Any) -> list[str]:
        """Write down this process's queues; returns everybody's, if it is this process's turn."""
        known, turn = f"{self._layer.prefix}:otel-ws:queues", f"{self._layer.prefix}:otel-ws:turn"
        now = time.time()
        kept = max(float(self._layer.expiry), _TURNS * self._seconds)
        pipe = shard.pipeline(transaction=False)
        pipe.zadd(known, dict.fromkeys(tuple(self._names), now))
        pipe.expire(known, math.ceil(2 * kept))
        pipe.set(turn, self._me, nx=True, px=int(_TURNS * self._seconds * 1000))
        pipe.get(turn)
        if _text((await pipe.execute())[-1]) != self._me:
            return []
        pipe = shard.pipeline(transaction=False)
        pipe.pexpire(turn, int(_TURNS * self._seconds * 1000))
        pipe.zremrangebyscore(known, "-inf", now - kept)
        pipe.zrange(known, 0, LOOK_LIMIT - 1, desc=True)
        return [_text(name) for name in (await pipe.execute())[-1]]

    async def _queues(self, shard: Any, names: list[str]) -> list[Queue]:
        pipe = shard.pipeline(transaction=False)
        for name in names:
            pipe.zcard(self._layer.prefix + name)
            pipe.zrange(self._layer.prefix + name, 0, 0, withscores=True)
        results = await pipe.execute()
        now = time.time()
        return [
            Queue(
                "process" if name.endswith("!") else "channel",
                name,
                depth,
                self._layer.get_capacity(name),
                # Hosts' clocks differ: a message from the future came at once.
                max(0.0, now - float(oldest[0][1])) if oldest else 0.0,
            )
            for name, depth, oldest in zip(names, results[::2], results[1::2], strict=True)
        ]


def _is_running() -> bool:
    """Whether the interpreter still is: when it ends, it takes away what a look needs, and that is no failure."""
    return threading.main_thread().is_alive()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


_polls: Final[weakref.WeakSet[Poll]] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_polls):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
