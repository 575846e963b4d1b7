"""What is true of one process now and stands in no cell: told by it once a second, read by the others.

Ages and health of its open connections, its users (by a hash with the group's salt), memory, CPU, and the counters
that are kept elsewhere. It refuses to know who reads.
"""

from __future__ import annotations

import json
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ws import semconv
from otel_ws.fanout import Fanout
from otel_ws.processes.sums import BY_NAME, labels_of, number
from otel_ws.semconv import Metric
from otel_ws.types import Labels

# Those are worked out of what all processes tell, or told in a place of their own.
_APART: Final = {semconv.ACTIVE_BY_ID, semconv.ACTIVE_USERS, semconv.DUAL_USERS, semconv.PROCESS_CPU}


@dataclass(frozen=True, slots=True)
class Told:
    """What one process told: ``cpu`` is the share of one CPU, ``memory`` resident bytes, ``at`` Unix seconds."""

    at: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0
    values: list[tuple[Metric, Labels, float]] = field(default_factory=list)
    by_id: list[tuple[str, str, float]] = field(default_factory=list)
    # By transport: the users' hashes.
    users: Mapping[str, Sequence[int]] = field(default_factory=dict)


def tell(fanout: Fanout) -> bytes:
    """All that one process tells, now."""
    values = [
        (metric.name, labels, value)
        for metric in semconv.METRICS
        if metric.live and metric not in _APART
        for labels, value in fanout.read(metric)
    ]
    memory = sum(value for name, _, value in values if name == semconv.PROCESS_MEMORY.name)
    users = fanout.live.users()
    told: dict[str, Any] = {
        "at": time.time(), "cpu": fanout.live.cpu(), "memory": memory, "values": values, "by_id": list(fanout.by_id()),
        "users": {transport: len(hashes) for transport, hashes in users.items()},
    }  # fmt: skip
    return b"".join((json.dumps(told).encode(), b"\n", *users.values()))


def read(told: bytes) -> Told:
    """What was told.

    Raises:
        ValueError: it was not told by this version.
    """
    line, _, hashes = told.partition(b"\n")
    try:
        found = json.loads(line)
        users, start = {}, 0
        for transport, length in found["users"].items():
            users[str(transport)] = array("Q", hashes[start : start + length])
            start += length
        return Told(
            number(found["at"]),
            number(found["cpu"]),
            number(found["memory"]),
            [
                (metric, labels_of(metric, labels), number(value))
                for name, labels, value in found["values"]
                if (metric := BY_NAME.get(name)) is not None
            ],
            [(str(name), str(value), number(count)) for name, value, count in found["by_id"]],
            users,
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError from exc


def count_users(told: list[Mapping[str, Sequence[int]]]) -> tuple[int, int]:
    """Different users of all processes, and how many of them are connected by more than one transport."""
    parts = [(transport, hashes) for one in told for transport, hashes in one.items() if hashes]
    if len(parts) == 1:
        # There may be ten thousand, and a process tells none of them twice.
        return len(parts[0][1]), 0
    seen: dict[str, set[int]] = {}
    for transport, hashes in parts:
        seen.setdefault(transport, set()).update(hashes)
    everybody = set().union(*seen.values())
    return len(everybody), sum(map(len, seen.values())) - len(everybody)


def count_ids(told: list[list[tuple[str, str, float]]], limit: int) -> list[tuple[str, str, float]]:
    """Open connections by id, of all processes: so many ids a name, the others as ``_OTHER``."""
    counts: dict[str, Counter[str]] = {}
    for one in told:
        for name, value, count in one:
            counts.setdefault(name, Counter())[value] += count  # type: ignore[assignment]
    found: list[tuple[str, str, float]] = []
    for name, values in counts.items():
        rest = float(values.pop(semconv.OTHER, 0))
        for place, (value, count) in enumerate(values.most_common()):
            if place < limit:
                found.append((name, value, float(count)))
            else:
                rest += count
        if rest:
            found.append((name, semconv.OTHER, rest))
    return found
