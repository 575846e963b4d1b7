"""``/monitoring/performance``: how fast things go, over the last minute. Its schema is ``schemas/performance.json``."""

from __future__ import annotations

from typing import Any

from otel_ws import semconv
from otel_ws.health import BROADCAST, DELIVERY, HANDLING, SETUP, Spread, spread
from otel_ws.monitoring import Seen
from otel_ws.monitoring.components import milliseconds, share


def answer(seen: Seen) -> dict[str, Any]:
    """Times by transport, rates, and what the processes use; times are null where nothing was measured."""
    now = seen.now
    return {
        "timestamp": seen.at,
        "window_seconds": round(seen.seconds, 3),
        "active_connections": int(now["active"]),
        "transports": {transport: _transport(seen, transport) for transport in semconv.TRANSPORT.choices},
        "broadcasts": _times(spread(BROADCAST, now, seen.earlier)),
        "requests_per_second": round(seen.per_second("messages"), 3),
        "messages_sent_per_second": round(seen.per_second("sent"), 3),
        "connections_per_second": round(seen.per_second("connected"), 3),
        "memory_bytes": int(now["memory"]),
        "memory_share": share(now["memory"], seen.limits.memory),
        "cpu_share": round(now["cpu"], 4),
    }


def _transport(seen: Seen, transport: str) -> dict[str, Any]:
    sent, failed = seen.grown(f"sent.{transport}"), seen.grown(f"sent.failed.{transport}")
    return {
        "active_connections": int(seen.now[f"active.{transport}"]),
        "setup": _times(spread(SETUP, seen.now, seen.earlier, transport)),
        "delivery": _times(spread(DELIVERY, seen.now, seen.earlier, transport)),
        "response": _times(spread(HANDLING, seen.now, seen.earlier, transport)),
        "delivery_success_rate": share(sent, sent + failed) if sent + failed else None,
    }


def _times(one: Spread) -> dict[str, Any]:
    """``max_ms`` is the bound that no value passed; null past the last bound, where nobody knows."""
    return {
        "count": int(one.count),
        "avg_ms": milliseconds(one.mean),
        "p95_ms": milliseconds(one.quantile(0.95)),
        "max_ms": milliseconds(one.highest),
    }
