"""What the endpoints and the live page tell: each answer a pure function of one look at the numbers.

One look serves however many ask for as long as the processes' own is kept. It refuses to know who asks, and how.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from otel_ws import processes, recorder
from otel_ws.health import WINDOW_SECONDS, Health, Limits, Reading, evaluate, read, window
from otel_ws.processes import Overview
from otel_ws.thresholds import Thresholds

DAY_SECONDS: Final = 86400.0


class Seen:
    """One look: the merged numbers, the verdict on them, and where they stood a minute ago.

    ``earlier`` and ``now`` are the ends of the window that rates are over. ``recent`` holds the last events and spans,
    ``None`` where none are kept. Times are in Unix seconds.
    """

    def __init__(
        self,
        overview: Overview,
        before: Sequence[Reading] = (),
        thresholds: Thresholds | None = None,
        limits: Limits | None = None,
        recent: Any = None,
        history: Callable[[float], Sequence[Reading]] = processes.history,
    ) -> None:
        self.at = overview.at
        self.overview = overview
        self.limits = limits or Limits()
        self.recent = recent
        self.now = read(overview.snapshot, overview.at, max((one.cpu for one in overview.processes), default=0.0))
        self.earlier = before[0] if before else self.now
        self.health: Health = evaluate((*before, self.now), thresholds or Thresholds(), self.limits)
        self._history = history
        # Answers as they were sent, for those who ask again before the next look.
        self.told: dict[object, Any] = {}

    @cached_property
    def history(self) -> tuple[Reading, ...]:
        """The readings of the last day, oldest first; read when somebody first wants them."""
        return tuple(self._history(DAY_SECONDS))

    @property
    def seconds(self) -> float:
        """How long the window is."""
        return max(0.0, self.now.at - self.earlier.at)

    def grown(self, *names: str) -> float:
        """How much these totals grew over the window."""
        return sum(max(0.0, self.now[name] - self.earlier[name]) for name in names)

    def per_second(self, *names: str) -> float:
        """The same, for each second of the window; 0 where there is no window yet."""
        return self.grown(*names) / self.seconds if self.seconds > 0 else 0.0


def earlier(overview: Overview, rows: Sequence[Reading], own: Sequence[Reading] = ()) -> list[Reading]:
    """What a verdict on these numbers compares them with: rows of the group, or this process's own readings.

    Those stand in where there are no rows of late, because nobody could write them.
    """
    at = overview.at
    if overview.started <= at:
        # Not where the clock was set back. All began with nothing; rows of those before them are not theirs.
        rows = [Reading(overview.started), *(one for one in rows if one.at >= overview.started)]
    has_none = not rows or (bool(own) and rows[-1].at < min(own[-1].at, at - WINDOW_SECONDS))
    return window(own if has_none else rows, at)


def look() -> Seen | None:
    """The numbers, at most a second old; ``None`` where telemetry is off. Thread-safe; blocks while it looks."""
    global _last
    active = recorder.active()
    if active is None:
        return None
    with _lock:
        overview = processes.overview()
        if _last is None or _last.overview is not overview:
            before = earlier(overview, processes.history(math.inf), active.watch.readings())
            watch = active.watch
            _last = Seen(overview, before, watch.thresholds, watch.limits, active.recent)
        return _last


_lock = threading.Lock()
_last: Seen | None = None


def _after_fork() -> None:
    global _lock, _last
    _lock, _last = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
