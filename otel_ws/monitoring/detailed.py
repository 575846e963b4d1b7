"""``/health/detailed``: how each component is, and how it was measured. Its schema is ``schemas/detailed.json``."""

from __future__ import annotations

from typing import Any

from otel_ws import semconv
from otel_ws.health import BROADCAST, HANDLING, HEALTHY, SETUP, UNHEALTHY, Spread, open_connections, spread
from otel_ws.monitoring import Seen
from otel_ws.monitoring.components import milliseconds, share
from otel_ws.monitoring.health import answer as verdict


def answer(seen: Seen) -> dict[str, Any]:
    """What ``/health`` says, and each component with its numbers over the last minute."""
    now, overview = seen.now, seen.overview
    healthy, unhealthy = open_connections(now, HEALTHY), open_connections(now, UNHEALTHY)
    told = verdict(seen)
    statuses = told.pop("components")
    return {
        **told,
        "window_seconds": round(seen.seconds, 3),
        "components": {
            "connections": {
                "status": statuses["connections"],
                "response_time_ms": milliseconds(_mean(seen, SETUP)),
                "total": int(healthy + unhealthy),
                "healthy": int(healthy),
                "unhealthy": int(unhealthy),
                "healthy_percentage": round(100 * share(healthy, healthy + unhealthy), 2)
                if healthy + unhealthy
                else 100.0,
                "opened_per_second": round(seen.per_second("connected"), 3),
                "failed_share": share(seen.grown("rejected"), seen.grown("connected", "rejected")),
            },
            "messages": {
                "status": statuses["messages"],
                "response_time_ms": milliseconds(_mean(seen, HANDLING)),
                "received_per_second": round(seen.per_second("messages"), 3),
                "sent_per_second": round(seen.per_second("sent"), 3),
                "error_share": share(seen.grown("messages.failed"), seen.grown("messages")),
            },
            "layer": {
                "status": statuses["layer"],
                "response_time_ms": milliseconds(spread(BROADCAST, now, seen.earlier).mean),
                "broadcasts_per_second": round(seen.per_second("broadcasts"), 3),
                "failed_share": share(seen.grown("broadcasts.failed"), seen.grown("broadcasts")),
                "queue_size": int(now["queue"]),
            },
            "process": {
                "status": statuses["process"],
                "response_time_ms": None,
                "memory_bytes": int(now["memory"]),
                "memory_share": share(now["memory"], seen.limits.memory),
                "cpu_share": round(now["cpu"], 4),
            },
        },
        "processes": [
            {
                "pid": one.pid,
                "role": one.role,
                "started": one.started,
                "active_connections": int(one.active),
                "cpu_share": round(one.cpu, 4),
                "memory_bytes": int(one.memory),
            }
            for one in overview.processes
        ],
        "is_shared": overview.is_shared,
        "why_not_shared": overview.why,
    }


def _mean(seen: Seen, name: str) -> float | None:
    """The mean over all transports."""
    all_of_them = [spread(name, seen.now, seen.earlier, transport) for transport in semconv.TRANSPORT.choices]
    return Spread((), tuple(one.count for one in all_of_them), sum(one.sum for one in all_of_them)).mean
