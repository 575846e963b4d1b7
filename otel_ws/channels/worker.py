"""Door: workers (``manage.py runworker``, scopes of the type ``channel``). The consumer's ``dispatch`` is wrapped.

A worker keeps one consumer for each channel, as long as it runs: so each message is told by itself, and never the
whole. One wrapper serves sync and async consumers: Channels awaits ``dispatch`` for both. The listener that makes the
consumer has a context of its own, in which what came with a message gets from the one to the other.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels.exceptions import StopConsumer

from otel_ws import pulse, recorder, semconv
from otel_ws.channels.carrier import Carrier
from otel_ws.channels.handed import Handed, handling, listening
from otel_ws.faults import fault
from otel_ws.tasks import Task, Worker
from otel_ws.types import Message, Scope

_ABSENT: Final = object()
# A worker's messages have no route and no transport.
_NO_DOOR: Final = ("", "")


def observed_listener(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Channels' ``Worker.listener``, which hands what came with its messages to the consumer that it makes."""

    @functools.wraps(original)
    async def listener(self: Any, channel: str) -> Any:
        # It runs in a task of its own.
        listening.set(Handed(channel))
        return await original(self, channel)

    return listener


def at_work(consumer: Any, scope: Scope) -> Work | None:
    """What stands in for a consumer's ``dispatch`` while it runs; ``None`` where nothing is told, or it is already."""
    active = recorder.active()
    if active is None:
        return None
    try:
        if type(getattr(vars(consumer).get("dispatch"), "__self__", None)) is Work:
            return None
        if not active.is_fast:
            active.speed_up(active)
        active.serves()
        active.consumer_met(type(consumer))
        return Work(consumer, Worker(active, scope.get("channel")))
    except Exception as exc:
        fault("worker", exc)
        return None


class Work:
    """One consumer of a worker while it runs, and what stands in for its ``dispatch``."""

    __slots__ = ("_before", "_consumer", "_dispatch", "_handed", "_worker")

    def __init__(self, consumer: Any, worker: Worker) -> None:
        self._consumer = consumer
        self._worker = worker
        self._handed = listening.get()
        self._before = vars(consumer).get("dispatch", _ABSENT)
        self._dispatch = consumer.dispatch
        consumer.dispatch = self.dispatch
        if self._handed is not None:
            self._handed.watch(consumer)
            # What its handlers ask a layer for is not the listener's.
            listening.set(None)
            handling.set(self._handed)

    def __enter__(self) -> None:
        """It runs from when it was made."""

    def __exit__(self, kind: object, raised: object, traceback: object) -> None:
        """Give the consumer its own method back."""
        own = vars(self._consumer)
        if self._before is _ABSENT:
            own.pop("dispatch", None)
        else:
            own["dispatch"] = self._before
        try:
            if self._handed is not None:
                self._handed.leave()
            self._worker.ended()
        except Exception as exc:
            fault("worker", exc)

    async def dispatch(self, message: Message) -> Any:
        """The consumer's ``dispatch``, as one task."""
        task: Task | None = None
        try:
            pulse.beat()
            kind = message["type"]
            name = str(kind).replace(".", "_")
            carrier = self._begun(message)
            handler = name if hasattr(self._consumer, name) else None
            sender, sent_at = (None, None) if carrier is None else (carrier.context, carrier.sent_at)
            task = Task(self._worker, kind, handler, sender, sent_at)
        except Exception as exc:
            fault("worker", exc)
        try:
            result = await self._dispatch(message)
        except BaseException as exc:
            self._ended(task, None if isinstance(exc, StopConsumer) else exc)
            raise
        self._ended(task, None)
        return result

    def _begun(self, message: Message) -> Carrier | None:
        """A message goes to its handler; returns what came with it."""
        handed, active = self._handed, self._worker.recorder
        taken = None if handed is None else handed.next(active, message)
        if handed is None or taken is None:
            return None
        active.observe(semconv.MESSAGE_WAIT, _NO_DOOR, (active.now_ns() - taken.sent_ns) * 1e-9)
        if taken.sent_ns < handed.asked_ns:
            active.ledger.add(semconv.BACKLOGGED, _NO_DOOR)
        return taken.carrier

    def _ended(self, task: Task | None, exc: BaseException | None) -> None:
        try:
            if self._handed is not None:
                self._handed.asked_ns = self._worker.recorder.now_ns()
            if task is not None:
                task.end(exc)
        except Exception as failure:
            fault("worker", failure)
