"""``/monitoring/errors``: what broke in the last hour, by category and severity. Its schema is ``schemas/errors.json``.

An error is its class, its category, its severity and ids; never its message.
"""

from __future__ import annotations

from typing import Any, Final

from otel_ws import semconv
from otel_ws.health import Reading
from otel_ws.monitoring import Seen

HOUR_SECONDS: Final = 3600.0
LAST: Final = 10
_IDS: Final = ("trace_id", "span_id", "user_id", "tournament_id", "match_id", "connection_id")


def answer(seen: Seen) -> dict[str, Any]:
    """Counts since an hour ago (or, in a younger group, since its start) and the last ten where they are kept."""
    rows, began = [one for one in seen.history if one.at <= seen.at], seen.overview.started
    if began <= seen.at:
        # Counted from nothing: what was counted before this start is not in what is counted now.
        rows = [Reading(began), *(one for one in rows if one.at >= began)]
    # Nothing is counted between a row and the next, where that is long after it: nobody was there.
    first = [*rows[:1], *(one for one in rows if one.at <= seen.at - HOUR_SECONDS)][-1] if rows else None
    seconds = min(HOUR_SECONDS, seen.at - first.at) if first is not None else 0.0
    counts = {
        (category, severity): int(max(0.0, seen.now[name] - (first[name] if first is not None else 0.0)))
        for category in semconv.ERROR_CATEGORY.choices
        for severity in semconv.ERROR_SEVERITY.choices
        for name in (f"errors.{category}.{severity}",)
    }
    total = sum(counts.values())
    return {
        "timestamp": seen.at,
        "window_seconds": round(seconds, 3),
        "total": total,
        "rate_per_minute": round(total / max(seconds, 60.0) * 60.0, 3),
        "by_category": {
            category: sum(count for (one, _), count in counts.items() if one == category)
            for category in semconv.ERROR_CATEGORY.choices
        },
        "by_severity": {
            severity: sum(count for (_, one), count in counts.items() if one == severity)
            for severity in semconv.ERROR_SEVERITY.choices
        },
        "last": None if seen.recent is None else _last(seen.recent.events()),
    }


def _last(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest first."""
    errors = [one for one in events if one.get("event") == semconv.WS_ERROR.name][-LAST:]
    return [
        {
            "type": one.get("error_type"),
            "category": one.get("error_category"),
            "severity": one.get("error_severity"),
            "timestamp": one.get("timestamp"),
            **{name: one.get(name) for name in _IDS},
        }
        for one in reversed(errors)
    ]
