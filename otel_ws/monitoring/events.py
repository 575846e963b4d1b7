"""``/health/events``: how messages are worked off. Its schema is ``schemas/events.json``."""

from __future__ import annotations

from typing import Any

from otel_ws import semconv
from otel_ws.health import DEGRADED, HANDLING, Spread, spread
from otel_ws.monitoring import Seen, components
from otel_ws.monitoring.components import milliseconds, share


def answer(seen: Seen) -> dict[str, Any]:
    """The verdict on messages and the channel layer; ``warning`` names the rules where it is degraded."""
    findings = components.of(seen.health.findings, "messages", "layer")
    status = components.status(findings)
    handling = [spread(HANDLING, seen.now, seen.earlier, transport) for transport in semconv.TRANSPORT.choices]
    mean = Spread((), tuple(one.count for one in handling), sum(one.sum for one in handling)).mean
    snapshot = seen.overview.snapshot
    return {
        "status": status,
        "warning": ", ".join(one.rule for one in findings) if status == DEGRADED else None,
        "findings": components.told(findings),
        "queue_size": int(seen.now["queue"]),
        "processing_rate_per_second": round(seen.per_second("messages"), 3),
        "error_rate": share(seen.grown("messages.failed"), seen.grown("messages")),
        "average_processing_time_ms": milliseconds(mean),
        "active_handlers": int(snapshot.total(semconv.WORKERS, component="handler")),
        "active_workers": int(snapshot.total(semconv.WORKERS, component="worker")),
        "window_seconds": round(seen.seconds, 3),
    }
