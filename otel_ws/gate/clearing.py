"""What each kind of wall does with what comes to it, for the three signals and the two modes that look at strangers.

It knows batches and single items, and refuses to know where the walls stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from otel_ws import faults
from otel_ws.foreign import Foreign
from otel_ws.gate.logs import LogClearing
from otel_ws.gate.metrics import MetricClearing
from otel_ws.gate.origin import Origin
from otel_ws.gate.spans import ClearedSpan, SpanClearing
from otel_ws.sdk.light import LightSpan, OwnRecord
from otel_ws.semconv.words import WELL_KNOWN, WELL_KNOWN_PREFIXES

Clear = Callable[[Any], Any]

_MOST_TOLD: Final = 200
_LONGEST_TOLD: Final = 64
# Digits are rare in names of code, and frequent in what is about somebody.
_TOLD: Final = re.compile(r"(?!.*[0-9]{4})[A-Za-z_][A-Za-z0-9_.-]*")


class Clearing(Protocol):
    """What stands in the walls: for each signal at the entrance, and at the exporters."""

    def entering(self, signal: str) -> Clear:
        """What clears one span, one record or one collection."""

    def leaving(self, signal: str) -> Clear:
        """What clears a batch, or a collection."""


class Removing:
    """Lets through what may leave, cleared."""

    def __init__(self, foreign: Foreign, is_untouched: Callable[[], bool]) -> None:
        origin = Origin(foreign)
        self.spans = SpanClearing(foreign, origin)
        self._logs = LogClearing(foreign, origin)
        self._metrics = MetricClearing(foreign, origin)
        # Whether nothing stands between the two walls that could put something in again.
        self._is_untouched = is_untouched

    def entering(self, signal: str) -> Clear:
        """What clears one span, one record or one collection."""
        by_signal: dict[str, Clear] = {
            "traces": self.spans.span,
            "logs": self._logs.record,
            "metrics": self._metrics.data,
        }
        return by_signal[signal]

    def leaving(self, signal: str) -> Clear:
        """What clears a batch, or a collection."""
        by_signal: dict[str, Clear] = {
            "traces": self._span_batch,
            "logs": self._log_batch,
            "metrics": self._metrics.data,
        }
        return by_signal[signal]

    def _span_batch(self, batch: Iterable[Any]) -> list[Any] | None:
        trusted = (LightSpan, ClearedSpan) if self._is_untouched() else ()
        clear = self.spans.stranger
        return _each(batch, lambda span: span if type(span) in trusted else clear(span), "traces")

    def _log_batch(self, batch: Iterable[Any]) -> list[Any] | None:
        is_untouched, logs = self._is_untouched(), self._logs

        def clear(record: Any) -> Any:
            if is_untouched and (type(record.log_record) is OwnRecord or logs.is_cleared(record)):
                return record
            return logs.stranger(record)

        return _each(batch, clear, "logs")


class Watching:
    """Lets everything through as it is, and counts what ``Removing`` would take."""

    def __init__(self, removing: Removing, foreign: Foreign, told: Callable[[], None]) -> None:
        self._removing = removing
        self._foreign = foreign
        self._told = told
        foreign.on_undeclared = Undeclared()

    def entering(self, signal: str) -> Clear:
        """What looks at one span, one record or one collection."""
        clear, place = self._removing.entering(signal), f"gate.{signal}"

        def look(given: Any) -> Any:
            known = len(self._foreign.well_known)
            try:
                # The policy's own numbers are of what was removed.
                with self._foreign.policy.uncounted(self._foreign.would_remove):
                    clear(given)
            except Exception as exc:
                faults.fault(place, exc)
            if len(self._foreign.well_known) != known:
                self._told()
            return given

        return look

    def leaving(self, signal: str) -> Clear:
        """Nothing is done twice."""
        return lambda given: given


class Undeclared:
    """Tells the operator, who reads the process's own log, what to declare: once for each, and at most 200.

    A short name in the form of a name in code stands in the code; others are only counted, as anything may be in them.
    """

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def __call__(self, signal: str, what: str, name: str) -> None:
        """Tell of one name, where it is new and may be told."""
        if len(self._told) >= _MOST_TOLD or (what, name) in self._told or len(name) > _LONGEST_TOLD:
            return
        if name in WELL_KNOWN or name.startswith(WELL_KNOWN_PREFIXES) or not _TOLD.fullmatch(name):
            return
        self._told.add((what, name))
        faults.logger.warning("otel-ws: OTEL_WS_GATE=all would remove the %s %s (%s): undeclared.", what, name, signal)


def _each(batch: Iterable[Any], clear: Clear, signal: str) -> list[Any] | None:
    """What of a batch may leave; ``None`` where nothing may. One bad item does not end the others."""
    kept = []
    for one in batch:
        try:
            cleared = clear(one)
        except Exception as exc:
            faults.fault(f"gate.{signal}", exc)
            continue
        if cleared is not None:
            kept.append(cleared)
    return kept or None
