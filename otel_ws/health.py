"""A verdict on what is running here, from readings of its numbers: pure, so that it can be asked anywhere.

Shares and times are over the window between the readings, never since start: a bad night must not colour the
morning. It knows the rules, and refuses to know whose numbers they are: one process's, or all of a host's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from otel_ws import semconv
from otel_ws.ledger import Snapshot
from otel_ws.semconv import Metric
from otel_ws.thresholds import Thresholds

HEALTHY, DEGRADED, UNHEALTHY = semconv.STATUS.choices
WINDOW_SECONDS: Final = 60.0
# More readings than a minute has; clocks may be set back.
_MOST: Final = 64
# Where readings are further apart, nobody was there to take one; and how far apart they are at most elsewhere.
_PAUSE: Final = 30.0
_STEP: Final = 10.0
# What may have ended without a reading: who was connected when all workers were killed, and what they used.
_PASSING: Final = frozenset({"active", "cpu"})
# What is kept of distributions, by the name under which it is kept.
SETUP, DELIVERY, HANDLING, BROADCAST = "setup", "delivery", "handling", "broadcast"
DISTRIBUTIONS: Final = {
    SETUP: semconv.CONNECTION_SETUP,
    DELIVERY: semconv.SEND_DURATION,
    HANDLING: semconv.MESSAGE_LATENCY,
    BROADCAST: semconv.BROADCAST_DURATION,
}
_DEFAULTS: Final = Thresholds()
_TOTALS: Final = ("connected", "rejected", "messages")


@dataclass(frozen=True, slots=True)
class Reading:
    """Totals at one moment (Unix seconds), by name; what is not there is 0. Made by ``read``, and kept as history."""

    at: float = 0.0
    numbers: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.numbers.get(name, 0.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What there is room for: bytes of memory, and open connections. 0: nobody knows."""

    memory: float = 0.0
    connections: float = 0.0


_UNKNOWN: Final = Limits()


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that fired: what it measured (a share from 0 to 1, seconds, or a number) and where it fires."""

    rule: str
    status: str
    value: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, ``healthy``, ``degraded`` or ``unhealthy``, and the rules that led to it, the worst first."""

    status: str
    findings: tuple[Finding, ...] = ()


def read(now: Snapshot, at: float, cpu: float = 0.0) -> Reading:
    """Take a reading from a snapshot; ``cpu`` is the share of one CPU that the busiest process uses."""
    numbers = {name: value for name, value in _numbers(now) if value}
    if cpu:
        numbers["cpu"] = cpu
    return Reading(at, numbers)


def open_connections(one: Reading, state: str) -> float:
    """How many are open and ``healthy``, or ``unhealthy``, on all transports."""
    return sum(one[f"{state}.{transport}"] for transport in semconv.TRANSPORT.choices)


def _numbers(now: Snapshot) -> Iterator[tuple[str, float]]:
    yield "connected", now.total(semconv.CONNECTIONS, status="connected")
    yield "rejected", now.total(semconv.REJECTIONS)
    yield "active", now.total(semconv.ACTIVE)
    yield "messages", now.total(semconv.MESSAGES)
    yield "messages.failed", now.total(semconv.MESSAGES, status="error")
    yield "sent", now.total(semconv.MESSAGES_SENT, status="success")
    yield "broadcasts", now.total(semconv.BROADCASTS)
    yield "broadcasts.failed", now.total(semconv.BROADCASTS, status="failed")
    yield "memory", now.total(semconv.PROCESS_MEMORY)
    yield "queue", now.total(semconv.LAYER_DEPTH)
    for transport in semconv.TRANSPORT.choices:
        yield f"active.{transport}", now.total(semconv.ACTIVE, transport=transport)
        yield f"sent.{transport}", now.total(semconv.MESSAGES_SENT, transport=transport, status="success")
        yield f"sent.failed.{transport}", now.total(semconv.MESSAGES_SENT, transport=transport, status="error")
        for state in semconv.STATE.choices:
            yield f"{state}.{transport}", now.total(semconv.CONNECTION_HEALTH, transport=transport, state=state)
    errors: Counter[str] = Counter()
    for labels, count in now.values.get(semconv.ERRORS, {}).items():
        errors[f"errors.{labels[2]}.{labels[3]}"] += count  # type: ignore[assignment]
    yield from errors.items()
    for name, metric in DISTRIBUTIONS.items():
        yield from _cells(name, metric, now)


def _cells(name: str, metric: Metric, now: Snapshot) -> Iterator[tuple[str, float]]:
    """A distribution's buckets and sum, by transport where it has one."""
    found: Counter[str] = Counter()
    place = metric.label_names.index("transport") if "transport" in metric.label_names else None
    for labels, one in now.distributions.get(metric, {}).items():
        if "rejected" in labels:
            continue
        of = name if place is None else f"{name}.{labels[place]}"
        found[f"{of}.sum"] += one.sum  # type: ignore[assignment]
        for bucket, count in enumerate(one.buckets):
            found[f"{of}.{bucket}"] += count
    yield from found.items()


# --- over the window ------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Spread:
    """The values of a distribution that fell between two readings: how many, their sum, and how many in each bucket."""

    bounds: tuple[float, ...]
    buckets: tuple[float, ...]
    sum: float

    @property
    def count(self) -> float:
        """How many values there were."""
        return sum(self.buckets)

    @property
    def mean(self) -> float | None:
        """Their mean; ``None`` where there were none."""
        return self.sum / self.count if self.count > 0 else None

    def quantile(self, share: float) -> float | None:
        """The value below which this share of them is, as near as buckets tell; past the last bound, that bound."""
        rank, below, lower = share * self.count, 0.0, 0.0
        if self.count <= 0:
            return None
        for bound, inside in zip(self.bounds, self.buckets, strict=False):
            if inside and below + inside >= rank:
                return lower + (bound - lower) * (rank - below) / inside
            below, lower = below + inside, bound
        return self.bounds[-1]

    @property
    def highest(self) -> float | None:
        """The bound that the greatest of them did not pass; ``None`` where there were none, or it passed the last."""
        filled = [place for place, inside in enumerate(self.buckets) if inside > 0]
        return self.bounds[filled[-1]] if filled and filled[-1] < len(self.bounds) else None


def spread(name: str, now: Reading, earlier: Reading, transport: str | None = None) -> Spread:
    """What fell into one of ``DISTRIBUTIONS`` between two readings, on one transport where it is kept by transport."""
    bounds = DISTRIBUTIONS[name].bounds
    of = name if transport is None else f"{name}.{transport}"
    cells = [f"{of}.{bucket}" for bucket in range(len(bounds) + 1)]
    buckets = tuple(max(0.0, now[cell] - earlier[cell]) for cell in cells)
    return Spread(bounds, buckets, max(0.0, now[f"{of}.sum"] - earlier[f"{of}.sum"]))


# --- the rules ------------------------------------------------------------------------------------------------
def evaluate(readings: Sequence[Reading], at: Thresholds = _DEFAULTS, limits: Limits = _UNKNOWN) -> Health:
    """Judge the last of these readings, oldest first, against the ones before.

    Where nothing happened between the first and the last, no rule about a share or a time fires.
    """
    earlier, now = readings[0], readings[-1]

    def grown(*names: str) -> float:
        return sum(max(0.0, now[name] - earlier[name]) for name in names)

    def share(part: float, whole: float) -> float:
        return part / whole if whole > 0 else 0.0

    handling = [spread(HANDLING, now, earlier, transport) for transport in semconv.TRANSPORT.choices]
    handled = share(sum(one.sum for one in handling), sum(one.count for one in handling))
    # A start is busy, too: only what lasts is load.
    lasted = now.at - earlier.at >= WINDOW_SECONDS / 2
    busy = sum(one["cpu"] for one in readings[1:]) / (len(readings) - 1) if lasted else 0.0
    findings: list[Finding] = []

    def above(rule: str, value: float, *steps: tuple[float, str]) -> None:
        findings.extend([Finding(rule, status, value, bound) for bound, status in steps if value > bound][:1])

    healthy, unhealthy = (open_connections(now, state) for state in (HEALTHY, UNHEALTHY))
    if healthy + unhealthy > 0:
        value = healthy / (healthy + unhealthy)
        steps = ((at.connection_health_unhealthy, UNHEALTHY), (at.connection_health_degraded, DEGRADED))
        findings += [Finding("connection_health", status, value, bound) for bound, status in steps if value < bound][:1]
    elif now["connected"] > at.connections_gone and any(one["active"] > 0 for one in readings):
        findings.append(Finding("connections_gone", DEGRADED, now["connected"], at.connections_gone))
    above(
        "failed_connections",
        share(grown("rejected"), grown("connected", "rejected")),
        (at.failed_connections, UNHEALTHY),
    )
    above(
        "broadcast_failures", share(grown("broadcasts.failed"), grown("broadcasts")), (at.broadcast_failures, DEGRADED)
    )
    above("broadcast_latency", spread(BROADCAST, now, earlier).mean or 0.0, (at.broadcast_latency, DEGRADED))
    above("queue_depth", now["queue"], (at.queue_depth_unhealthy, UNHEALTHY), (at.queue_depth_degraded, DEGRADED))
    above(
        "error_rate",
        share(grown("messages.failed"), grown("messages")),
        (at.error_rate_unhealthy, UNHEALTHY),
        (at.error_rate_degraded, DEGRADED),
    )
    above(
        "processing_time", handled, (at.processing_time_unhealthy, UNHEALTHY), (at.processing_time_degraded, DEGRADED)
    )
    above(
        "memory", share(now["memory"], limits.memory), (at.memory_unhealthy, UNHEALTHY), (at.memory_degraded, DEGRADED)
    )
    above("cpu", busy, (at.cpu_unhealthy, UNHEALTHY), (at.cpu_degraded, DEGRADED))
    above("connection_limit", share(now["active"], limits.connections), (at.connection_limit, DEGRADED))
    findings.sort(key=lambda finding: finding.status != UNHEALTHY)
    return Health(findings[0].status if findings else HEALTHY, tuple(findings))


def window(kept: Sequence[Reading], at: float) -> list[Reading]:
    """Of readings in the order in which they were taken those that a verdict at this moment is over, oldest first.

    They are the last minute's and the one before. Where nobody was connected none is taken, and nothing is counted:
    so a pause is filled with where the totals stood, and what comes after it is not taken for what always was. What
    was taken before the clock was set back stands at the moment when that happened.
    """
    inside: deque[Reading] = deque()
    before = None
    for one in reversed(kept):
        if not at - WINDOW_SECONDS < one.at <= at:
            before = one
            break
        inside.appendleft(one)
    if before is None:
        return list(inside)
    following = inside[0].at if inside else at
    if 0 <= following - before.at <= _PAUSE:
        return [before, *inside]
    stood = {name: value for name, value in before.numbers.items() if name not in _PASSING}
    if before.at > following:
        return [Reading(following, stood), *inside]
    steps = (at - WINDOW_SECONDS + step * _STEP for step in range(int(WINDOW_SECONDS // _STEP)))
    return [*(Reading(step, stood) for step in steps if step <= following), *inside]


class Watch:
    """Keeps the readings of the last minute, and notices when the verdict changes."""

    def __init__(self, reading: Callable[[], Reading], at: Thresholds, limits: Limits, first: Reading) -> None:
        self.reading = reading
        self.thresholds = at
        self.limits = limits
        self._readings = deque([first], maxlen=_MOST)
        self._status = HEALTHY

    def begin(self, reading: Callable[[], Reading], before: Sequence[Reading] = ()) -> None:
        """From now on the numbers come from elsewhere; ``before`` are readings from there, oldest first."""
        self.reading = reading
        self._readings = deque(before or (reading(),), maxlen=_MOST)

    def readings(self) -> tuple[Reading, ...]:
        """Those of the last minute in which any was taken, the oldest first."""
        return tuple(self._readings)

    def health(self) -> Health:
        """The verdict now."""
        now = self.reading()
        return evaluate((*self._before(now), now), self.thresholds, self.limits)

    def judged(self) -> Health | None:
        """Take a reading; the verdict, if its status is another than the last time."""
        now = self.reading()
        self._readings = deque((*self._before(now), now), maxlen=_MOST)
        verdict = evaluate(tuple(self._readings), self.thresholds, self.limits)
        before, self._status = self._status, verdict.status
        return None if verdict.status == before else verdict

    def _before(self, now: Reading) -> list[Reading]:
        """What this reading is compared with; where it counts less, counting began anew, with nothing."""
        past = [one for one in self._readings if all(one[name] <= now[name] for name in _TOTALS)]
        return window(past or [Reading(self._readings[-1].at)], now.at)
