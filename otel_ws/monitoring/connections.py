"""``/monitoring/connection-health``: open connections by health and age, now and of late.

Its schema is ``schemas/connections.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from otel_ws import semconv
from otel_ws.health import HEALTHY, UNHEALTHY, Reading, open_connections
from otel_ws.monitoring import Seen, components

HOUR_SECONDS: Final = 3600.0
# The names under which people know the ages, by ours.
AGES: Final = dict(zip(semconv.AGE.choices, ("0-5m", "5-30m", "30m-2h", "2h+"), strict=True))


def answer(seen: Seen) -> dict[str, Any]:
    """Overall, by transport and by age; the trends have one row a minute, and one an hour."""
    now, snapshot = seen.now, seen.overview.snapshot
    findings = components.of(seen.health.findings, "connections")
    return {
        "status": components.status(findings),
        "findings": components.told(findings),
        "timestamp": seen.at,
        "overall": _counts(open_connections(now, HEALTHY), open_connections(now, UNHEALTHY)),
        "transports": {
            transport: _counts(now[f"{HEALTHY}.{transport}"], now[f"{UNHEALTHY}.{transport}"])
            for transport in semconv.TRANSPORT.choices
        },
        "age_distribution": {name: int(snapshot.total(semconv.CONNECTION_AGE, age=age)) for age, name in AGES.items()},
        "trends": {
            "last_hour": trend(seen.history, seen.at, 60.0, 60),
            "last_24_hours": trend(seen.history, seen.at, HOUR_SECONDS, 24),
        },
    }


def trend(history: Sequence[Reading], at: float, step: float, rows: int) -> list[dict[str, Any]]:
    """One row a step, the oldest first: the last reading in it, or nulls where there is none."""
    found: dict[int, Reading] = {}
    for reading in history:
        back = int((at - reading.at) // step)
        if 0 <= back < rows:
            found[back] = reading
    return [_row(at - back * step, found.get(back)) for back in range(rows - 1, -1, -1)]


def _row(at: float, reading: Reading | None) -> dict[str, Any]:
    if reading is None:
        return {"timestamp": at, "active": None, "healthy_percentage": None}
    counts = _counts(open_connections(reading, HEALTHY), open_connections(reading, UNHEALTHY))
    return {
        "timestamp": reading.at,
        "active": int(reading["active"]),
        "healthy_percentage": counts["healthy_percentage"],
    }


def _counts(healthy: float, unhealthy: float) -> dict[str, Any]:
    total = healthy + unhealthy
    return {
        "total": int(total),
        "healthy": int(healthy),
        "unhealthy": int(unhealthy),
        "healthy_percentage": round(100 * healthy / total, 2) if total else 100.0,
    }
