"""``/health``: the verdict, since when, and each component's. Its schema is ``schemas/health.json``."""

from __future__ import annotations

from typing import Any

from otel_ws.fanout import VERSION
from otel_ws.monitoring import Seen, components


def answer(seen: Seen) -> dict[str, Any]:
    """The verdict with its reasons; ``uptime_seconds`` is that of the oldest of the processes told of."""
    return {
        "status": seen.health.status,
        "version": VERSION,
        "timestamp": seen.at,
        "uptime_seconds": round(max(0.0, seen.at - seen.overview.started), 3),
        "components": {
            name: components.status(components.of(seen.health.findings, name)) for name in components.COMPONENTS
        },
        "findings": components.told(seen.health.findings),
    }
