"""Where the rules of the health verdict fire. Numbers alone: it refuses to know what the rules measure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Thresholds:
    """One number for each step of each rule. Shares are from 0 to 1, times in seconds."""

    connections_gone: float = 10.0
    failed_connections: float = 0.10
    broadcast_failures: float = 0.05
    broadcast_latency: float = 0.1
    connection_health_degraded: float = 0.95
    connection_health_unhealthy: float = 0.80
    queue_depth_degraded: float = 1000.0
    queue_depth_unhealthy: float = 5000.0
    error_rate_degraded: float = 0.05
    error_rate_unhealthy: float = 0.10
    processing_time_degraded: float = 2.0
    processing_time_unhealthy: float = 5.0
    memory_degraded: float = 0.80
    memory_unhealthy: float = 0.90
    cpu_degraded: float = 0.80
    cpu_unhealthy: float = 0.90
    connection_limit: float = 0.90


NAMES: Final = ", ".join(one.name for one in dataclasses.fields(Thresholds))


def parse(raw: Any) -> Thresholds:
    """Thresholds from ``name=number,…`` or, in Python, a mapping.

    Raises:
        ValueError: a name is none of ours, or what stands there is no number from 0 up.
    """
    if isinstance(raw, Thresholds):
        return raw
    if isinstance(raw, Mapping):
        pairs = [(str(name), value) for name, value in raw.items()]
    else:
        pairs = [(name.strip(), value) for name, _, value in (part.partition("=") for part in str(raw).split(","))]
    known = {one.name for one in dataclasses.fields(Thresholds)}
    found: dict[str, float] = {}
    for name, value in pairs:
        number = float(value)
        if name not in known or not math.isfinite(number) or number < 0.0:
            raise ValueError
        found[name] = number
    return Thresholds(**found)
