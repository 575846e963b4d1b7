"""Which part of an application a rule of the verdict is about, and how that part is. It refuses to know numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from otel_ws.health import HEALTHY, UNHEALTHY, Finding

COMPONENTS: Final = {
    "connections": ("connection_health", "connections_gone", "failed_connections", "connection_limit"),
    "messages": ("error_rate", "processing_time"),
    "layer": ("queue_depth", "broadcast_failures", "broadcast_latency"),
    "process": ("memory", "cpu"),
}


def of(findings: Iterable[Finding], *components: str) -> list[Finding]:
    """The findings that are about these components."""
    rules = {rule for component in components for rule in COMPONENTS[component]}
    return [one for one in findings if one.rule in rules]


def status(findings: Iterable[Finding]) -> str:
    """The worst of these findings."""
    found = {one.status for one in findings}
    return UNHEALTHY if UNHEALTHY in found else next(iter(found), HEALTHY)


def told(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as an answer has them."""
    return [
        {"rule": one.rule, "status": one.status, "value": round(one.value, 6), "threshold": one.threshold}
        for one in findings
    ]


def milliseconds(seconds: float | None) -> float | None:
    """Seconds as an answer has them."""
    return None if seconds is None else round(seconds * 1000, 3)


def share(part: float, whole: float) -> float:
    """A share from 0 to 1; of nothing, 0. Totals that began anew, and memory counted twice, make no more than all."""
    return min(1.0, round(part / whole, 6)) if whole > 0 else 0.0
