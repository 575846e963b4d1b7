"""The verdict and every figure of the live page, as plain data: totals since start, and what is true now.

Totals and bucket counts are handed over as they stand, so that each watcher works out rates and percentiles of its
own. It refuses to know who watches, and how often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from otel_ws import semconv
from otel_ws.ledger import Snapshot
from otel_ws.semconv import Attribute, Metric

if TYPE_CHECKING:
    from otel_ws.monitoring import Seen

# How far back the curves of a page begin that was opened just now.
PAST_SECONDS: Final = 600.0
_LATENCIES: Final = {
    "handling": semconv.MESSAGE_LATENCY,
    "setup": semconv.CONNECTION_SETUP,
    "delivery": semconv.SEND_DURATION,
    "broadcast": semconv.BROADCAST_DURATION,
    "layer": semconv.LAYER_LAG,
    "loop": semconv.LOOP_LAG,
}


def figures(seen: Seen) -> dict[str, Any]:
    """What ``/events/monitor`` sends: times in Unix seconds, durations in seconds, memory in bytes, shares from 0 to 1.

    Lists of counts are sorted, the largest first; ``buckets`` count the values up to each bound, the last above all.
    """
    overview, now = seen.overview, seen.overview.snapshot
    return {
        "at": overview.at,
        "started": overview.started,
        "is_shared": overview.is_shared,
        "why": overview.why,
        "status": seen.health.status,
        "findings": [
            {"rule": one.rule, "status": one.status, "value": one.value, "threshold": one.threshold}
            for one in seen.health.findings
        ],
        "processes": [
            {
                "pid": one.pid,
                "role": one.role,
                "started": one.started,
                "active": int(one.active),
                "cpu": round(one.cpu, 4),
                "memory": int(one.memory),
            }
            for one in overview.processes
        ],
        "connections": _connections(now),
        "messages": _messages(now),
        "latency": {name: _latency(now, metric) for name, metric in _LATENCIES.items()},
        "errors": _counts(now, semconv.ERRORS, category=semconv.ERROR_CATEGORY, severity=semconv.ERROR_SEVERITY),
        "rejections": _counts(now, semconv.REJECTIONS, reason=semconv.REASON),
        "auth_failures": _counts(now, semconv.AUTH_FAILURES, reason=semconv.REASON),
        "ratelimits": _counts(now, semconv.RATELIMITS, reason=semconv.REASON),
        "layer": _layer(now),
        "workers": {name: _whole(now, semconv.WORKERS, component=name) for name in ("worker", "handler")},
        "own_failures": _whole(now, semconv.TELEMETRY_ERRORS),
    }


def past(seen: Seen) -> list[dict[str, Any]]:
    """The totals of the last minutes, the oldest first, from which curves can begin."""
    return [
        {"at": row.at, "received": int(row["messages"]), "sent": int(row["sent"])}
        for row in seen.history
        if row.at >= seen.overview.at - PAST_SECONDS
    ]


def _connections(now: Snapshot) -> dict[str, Any]:
    return {
        "active": _whole(now, semconv.ACTIVE),
        "opened": _whole(now, semconv.CONNECTIONS, status="connected"),
        "closed": _whole(now, semconv.CONNECTIONS, status="disconnected"),
        "rejected": _whole(now, semconv.REJECTIONS),
        "users": _whole(now, semconv.ACTIVE_USERS),
        "on_both": _whole(now, semconv.DUAL_USERS),
        "healthy": _whole(now, semconv.CONNECTION_HEALTH, state="healthy"),
        "unhealthy": _whole(now, semconv.CONNECTION_HEALTH, state="unhealthy"),
        "by_role": _counts(now, semconv.ACTIVE, transport=semconv.TRANSPORT, role=semconv.ROLE),
        "ages": {age: _whole(now, semconv.CONNECTION_AGE, age=age) for age in semconv.AGE.choices},
    }


def _messages(now: Snapshot) -> dict[str, Any]:
    return {
        "received": _whole(now, semconv.MESSAGES),
        "failed": _whole(now, semconv.MESSAGES, status="error"),
        "denied": _whole(now, semconv.MESSAGES, status="permission_denied"),
        "sent": _whole(now, semconv.MESSAGES_SENT, status="success"),
        "sent_failed": _whole(now, semconv.MESSAGES_SENT, status="error"),
        "backlogged": _whole(now, semconv.BACKLOGGED),
        "broadcasts": _whole(now, semconv.BROADCASTS),
        "broadcasts_failed": _whole(now, semconv.BROADCASTS, status="failed"),
    }


def _layer(now: Snapshot) -> dict[str, Any]:
    return {
        "sent": _whole(now, semconv.LAYER_SENT),
        "consumed": _whole(now, semconv.LAYER_CONSUMED),
        "dropped": _counts(now, semconv.LAYER_DROPPED, reason=semconv.REASON),
        # Of layers that let their queues be looked at.
        "depth": _whole(now, semconv.LAYER_DEPTH) if now.values.get(semconv.LAYER_DEPTH) else None,
        "groups": _whole(now, semconv.LAYER_GROUPS),
        "memberships": _whole(now, semconv.LAYER_MEMBERSHIPS),
        "orphans": _whole(now, semconv.LAYER_ORPHANS),
    }


def _whole(now: Snapshot, metric: Metric, **labels: str) -> int:
    return int(now.total(metric, **labels))


def _counts(now: Snapshot, metric: Metric, **shown: Attribute) -> list[dict[str, Any]]:
    """A metric's series, added up by some of their labels; those that count nothing are left out."""
    places = {name: metric.labels.index(attribute) for name, attribute in shown.items()}
    counts: Counter[tuple[str, ...]] = Counter()
    for labels, value in now.values.get(metric, {}).items():
        counts[tuple(labels[place] for place in places.values())] += int(value)
    rows: Iterable[tuple[tuple[str, ...], int]] = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [{**dict(zip(places, key, strict=True)), "count": count} for key, count in rows if count]


def _latency(now: Snapshot, metric: Metric) -> Mapping[str, Any]:
    buckets = [0] * (len(metric.bounds) + 1)
    total = 0.0
    for one in now.distributions.get(metric, {}).values():
        total += one.sum
        for place, count in enumerate(one.buckets):
            buckets[place] += count
    return {"bounds": list(metric.bounds), "buckets": buckets, "sum": round(total, 6)}
