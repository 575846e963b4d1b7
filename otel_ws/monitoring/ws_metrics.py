"""``/ws-metrics/``: the few numbers that home-made scripts ask for, by the names that they use.

Its schema is ``schemas/ws_metrics.json``.
"""

from __future__ import annotations

from typing import Any

from otel_ws.health import BROADCAST, spread
from otel_ws.monitoring import Seen
from otel_ws.monitoring.components import milliseconds


def answer(seen: Seen) -> dict[str, Any]:
    """Totals since start; the latency is the mean over the last minute, 0 where nothing was sent."""
    now = seen.now
    return {
        "connections_active": int(now["active"]),
        "connections_total": int(now["connected"]),
        "connections_failed": int(now["rejected"]),
        "broadcasts_sent": int(now["broadcasts"] - now["broadcasts.failed"]),
        "broadcasts_failed": int(now["broadcasts.failed"]),
        "broadcast_latency_avg_ms": milliseconds(spread(BROADCAST, now, seen.earlier).mean) or 0.0,
        "health": seen.health.status,
    }
