"""A verdict on this process, from two readings of its numbers: pure, so that it can be asked anywhere.

Shares are over the window between the readings, never since start: a bad night must not colour the morning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from otel_ws import semconv
from otel_ws.ledger import Snapshot

HEALTHY, DEGRADED, UNHEALTHY = semconv.STATUS.choices
WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The totals that the rules need, at one moment; ``healthy`` and ``unhealthy`` count open connections."""

    connected: float = 0.0
    rejected: float = 0.0
    messages: float = 0.0
    messages_failed: float = 0.0
    broadcasts: float = 0.0
    broadcasts_failed: float = 0.0
    healthy: float = 0.0
    unhealthy: float = 0.0

    @property
    def is_open(self) -> float:
        """Connections that are open."""
        return self.healthy + self.unhealthy


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that fired: what it measured (a share from 0 to 1, or a number) and where it fires."""

    rule: str
    status: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, ``healthy``, ``degraded`` or ``unhealthy``, and the rules that led to it, the worst first."""

    status: str
    findings: tuple[Finding, ...] = ()


def read(now: Snapshot) -> Reading:
    """Take a reading from a snapshot."""
    return Reading(
        connected=now.total(semconv.CONNECTIONS, status="connected"),
        rejected=now.total(semconv.REJECTIONS),
        messages=now.total(semconv.MESSAGES),
        messages_failed=now.total(semconv.MESSAGES, status="error"),
        broadcasts=now.total(semconv.BROADCASTS),
        broadcasts_failed=now.total(semconv.BROADCASTS, status="failed"),
        healthy=now.total(semconv.CONNECTION_HEALTH, state="healthy"),
        unhealthy=now.total(semconv.CONNECTION_HEALTH, state="unhealthy"),
    )


def evaluate(now: Reading, earlier: Reading, max_connections: int = 0) -> Health:
    """Judge ``now`` against ``earlier``; where nothing happened in between, no rate rule fires.

    ``max_connections`` may be open at once, as far as the operator said (``OTEL_WS_MAX_CONNECTIONS``); 0 is no limit.
    """
    attempts = (now.connected - earlier.connected) + (now.rejected - earlier.rejected)
    failed = _share(now.rejected - earlier.rejected, attempts)
    errors = _share(now.messages_failed - earlier.messages_failed, now.messages - earlier.messages)
    lost = _share(
        now.broadcasts_failed - earlier.broadcasts_failed,
        now.broadcasts - earlier.broadcasts,
    )
    findings: list[Finding] = []
    if now.is_open:
        share = now.healthy / now.is_open
        findings += _below("connection_health", share, ((0.80, UNHEALTHY), (0.95, DEGRADED)))
    elif now.connected > 10 and earlier.is_open > 0:
        findings.append(Finding("connections_gone", DEGRADED, 0.0, 1.0))
    findings += _above("failed_connections", failed, ((0.10, UNHEALTHY),))
    findings += _above("error_rate", errors, ((0.10, UNHEALTHY), (0.05, DEGRADED)))
    findings += _above("connections", _share(now.is_open, max_connections), ((0.90, DEGRADED),))
    findings += _above("broadcast_failures", lost, ((0.05, DEGRADED),))
    findings.sort(key=lambda finding: finding.status != UNHEALTHY)
    return Health(findings[0].status if findings else HEALTHY, tuple(findings))


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _above(rule: str, value: float, steps: tuple[tuple[float, str], ...]) -> list[Finding]:
    return [Finding(rule, status, value, bound) for bound, status in steps if value > bound][:1]


def _below(rule: str, value: float, steps: tuple[tuple[float, str], ...]) -> list[Finding]:
    return [Finding(rule, status, value, bound) for bound, status in steps if value < bound][:1]
