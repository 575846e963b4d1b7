"""Events as lines for people, on the terminal of a developer: short, aligned, in colour where there is a terminal.

It knows how a line looks, and refuses to know where it goes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from otel_ws.semconv import CONNECTION_ID, WS_BROADCAST_FAIL, WS_RATELIMIT_REJECT, Attribute, Kind, Level
from otel_ws.types import EventRecord, Value

_COLOURS: Final = {Level.INFO: "36", Level.WARNING: "33", Level.ERROR: "31;1"}
_WIDEST: Final = max(len(WS_RATELIMIT_REJECT.name), len(WS_BROADCAST_FAIL.name))
# Of ids that nobody reads aloud, enough to find them again.
_SHOWN: Final = 8


def for_people(is_coloured: bool) -> Callable[[EventRecord], str]:
    """What makes a line of an event: local time, event, ids, and what else it says, as ``name=value``."""

    def render(record: EventRecord) -> str:
        moment = datetime.fromtimestamp(record.timestamp_ns / 1e9, UTC).astimezone()
        event = f"{record.event.name:<{_WIDEST}}"
        if is_coloured:
            event = f"\x1b[{_COLOURS[record.event.level]}m{event}\x1b[0m"
        said = [_pair(attribute, value) for attribute, value in record.values.items()]
        if record.trace_id:
            said.append(f"trace={record.trace_id:032x}")
        return " ".join([moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}", event, *said])

    return render


def is_colourful(descriptor: int, environ: Mapping[str, str]) -> bool:
    """Whether this file descriptor is a terminal whose owner has nothing against colours (``NO_COLOR``)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and os.isatty(descriptor)


def _pair(attribute: Attribute, value: Value) -> str:
    name = (attribute.field or attribute.key).removesuffix("_id")
    if attribute is CONNECTION_ID:
        value = str(value)[:_SHOWN]
    elif name.endswith("_ms") and isinstance(value, (int, float)):
        return f"{name.removesuffix('_ms')}={value * 1000:.3g}ms"
    elif attribute.kind is Kind.NUMBER and isinstance(value, float):
        value = f"{value:.6g}"
    return f"{name}={value}"
