"""The shapes that pass between the floors: ASGI's callables and our own few protocols.

Knows types only. ``Message`` and ``Scope`` stay open mappings, as the ASGI specification leaves them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, NewType, Protocol

from otel_ws.semconv import Attribute, Event

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[Any]]

Value = str | int | float | bool
Labels = tuple[str, ...]
Clock = Callable[[], float]
Resolver = Callable[[Scope], object]

# Only ``policy`` makes one; a writer that takes nothing else cannot be handed a raw mapping.
Cleared = NewType("Cleared", dict[Attribute, Value])


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event on its way to the writers: already cleared, with the ids of the span that it belongs to."""

    event: Event
    timestamp_ns: int
    values: Cleared
    trace_id: int = 0
    span_id: int = 0
    context: object = None


class EventWriter(Protocol):
    """Takes an event to a place: the OpenTelemetry logger, a file of JSON lines."""

    def write(self, record: EventRecord) -> None:
        """Write one event; must not block."""

    def is_wanted(self) -> bool:
        """Whether anybody takes what is written."""

    def flush(self) -> None:
        """Hand over everything that was written so far."""

    def close(self) -> None:
        """Flush, and release what is held."""
