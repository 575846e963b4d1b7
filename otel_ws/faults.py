"""How otel-ws speaks of its own troubles: counted, and logged once per kind.

It refuses to know what went wrong: an exception's text may hold anybody's data, so only its class is named.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter

logger = logging.getLogger("otel_ws")

counts: Counter[str] = Counter()
_told: set[str] = set()
_lock = threading.Lock()
_strict = False


class UsageError(RuntimeError):
    """A verb was called wrongly. Raised only where ``otel_ws.testing`` asked for it; elsewhere a warning."""


class ExplainedError(Exception):
    """A failure of ours that is told with a reason: a sentence of our own, which holds nobody's data."""

    reason = ""


def fault(place: str, exc: BaseException, times: int = 1, reason: str = "") -> None:
    """Count a failure of ours at ``place`` and log it the first time. Never raises.

    A ``reason`` is our own sentence for the operator, where the cause is known; it holds nobody's data.
    """
    if isinstance(exc, ExplainedError):
        reason = reason or exc.reason
    with _lock:
        counts[place] += times
        first = place not in _told
        _told.add(place)
    if first:
        logger.error(
            "otel-ws failed in %s (%s)%s; the application is not affected, further failures here are only counted "
            "in ws_telemetry_errors_total.",
            place,
            type(exc).__name__,
            reason and f": {reason}",
        )


def misuse(kind: str, text: str) -> None:
    """Warn once per ``kind`` that the application used a verb wrongly; ``text`` names the way out.

    Raises:
        UsageError: only after ``strict(True)``, that is, in tests.
    """
    if _strict:
        raise UsageError(text)
    warn_once(kind, text)


def warn_once(kind: str, text: str) -> None:
    """Log a warning the first time that one of this kind comes. Never raises."""
    with _lock:
        first = kind not in _told
        _told.add(kind)
    if first:
        logger.warning("%s", text)


def strict(on: bool) -> bool:
    """Make wrong use an error (for tests); returns what was set before."""
    global _strict
    before, _strict = _strict, on
    return before


def snapshot() -> dict[str, int]:
    """The failures so far, by place."""
    with _lock:
        return dict(counts)


def reset() -> None:
    """Forget everything: for tests, and in a forked child, where a thread that is gone may have held the lock."""
    global _lock
    _lock = threading.Lock()
    counts.clear()
    _told.clear()
