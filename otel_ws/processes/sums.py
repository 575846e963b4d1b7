"""What several processes counted, added up so that no order and no rounding lets a total fall.

It knows metrics and label tuples, as the ledger does, and refuses to know whose a number is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from otel_ws.ledger import CELLS, Distribution, Series, Snapshot, width
from otel_ws.semconv import METRICS, OTHER, Instrument, Metric
from otel_ws.types import Labels

BY_NAME: Final = {metric.name: metric for metric in METRICS}


class Sums:
    """Parts of totals. Floats are kept apart until the end: only then does their sum not depend on the order."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[Labels, list[float]]] = {}
        self._buckets: dict[Metric, dict[Labels, list[float]]] = {}
        self._sums: dict[Metric, dict[Labels, list[float]]] = {}

    def add(self, metric: Metric, labels: Labels, value: float) -> None:
        """A part of a counter or gauge."""
        self._values.setdefault(metric, {}).setdefault(labels, []).append(value)

    def add_distribution(self, metric: Metric, labels: Labels, cells: Sequence[float]) -> None:
        """A part of a histogram: its buckets, then their values' sum."""
        known = self._buckets.setdefault(metric, {})
        before = known.get(labels)
        known[labels] = list(cells[:-1]) if before is None else [a + b for a, b in zip(before, cells[:-1], strict=True)]
        self._sums.setdefault(metric, {}).setdefault(labels, []).append(cells[-1])

    def add_cells(self, series: Sequence[Series], shards: Sequence[Sequence[float]], *, is_alive: bool) -> None:
        """Everything in a process's cells. Of one that has ended, what was open then is not open any longer.

        Raises:
            ValueError: something in them is no number; nothing was added.
        """
        used = max((offset + width(metric) for metric, _, offset in series), default=0)
        # Copied as a whole: a look at each cell of a mapped file costs ten times as much.
        shards = [list(shard[:used]) for shard in shards]
        if not all(math.isfinite(sum(shard)) for shard in shards):
            raise ValueError
        for metric, labels, offset in series:
            if metric.instrument is Instrument.HISTOGRAM:
                end = offset + width(metric)
                for shard in shards:
                    cells = shard[offset:end]
                    if any(cells):
                        self.add_distribution(metric, labels, cells)
            elif is_alive or metric.instrument is Instrument.COUNTER:
                parts = [value for shard in shards if (value := shard[offset])]
                # Every metric has cells for what came past its limit; they are shown once there was such a thing.
                if parts or any(one != OTHER for one in labels):
                    self._values.setdefault(metric, {}).setdefault(labels, []).extend(parts or (0.0,))

    def snapshot(self) -> Snapshot:
        """The totals."""
        values: dict[Metric, dict[Labels, float]] = {metric: {} for metric in METRICS if not metric.bounds}
        for metric, series in self._values.items():
            # The fullest of several is as full as the fullest.
            together = max if metric.instrument is Instrument.GAUGE else math.fsum
            values[metric] = {labels: together(parts) for labels, parts in series.items()}
        distributions: dict[Metric, dict[Labels, Distribution]] = {metric: {} for metric in METRICS if metric.bounds}
        for metric, counted in self._buckets.items():
            distributions[metric] = {
                labels: Distribution(tuple(map(int, buckets)), math.fsum(self._sums[metric][labels]))
                for labels, buckets in counted.items()
            }
        return Snapshot(values, distributions)

    # --- kept for those that ended ----------------------------------------------------------------------
    def dumped(self) -> dict[str, list[Any]]:
        """The totals in JSON's words; none is lower than the sum of its parts."""
        return {
            "values": [
                [metric.name, labels, _not_less(parts)]
                for metric, series in self._values.items()
                for labels, parts in series.items()
            ],
            "distributions": [
                [metric.name, labels, buckets, _not_less(self._sums[metric][labels])]
                for metric, series in self._buckets.items()
                for labels, buckets in series.items()
            ],
        }

    def add_dumped(self, kept: dict[str, list[Any]]) -> None:
        """What ``dumped`` gave; metrics that this version does not know are left out.

        Raises:
            ValueError, TypeError: ``dumped`` did not give it.
        """
        for name, labels, value in kept.get("values", ()):
            metric = BY_NAME.get(name)
            if metric is not None:
                self.add(metric, labels_of(metric, labels), number(value))
        for name, labels, buckets, total in kept.get("distributions", ()):
            metric = BY_NAME.get(name)
            if metric is not None and len(buckets) + 1 == width(metric):
                self.add_distribution(metric, labels_of(metric, labels), [number(one) for one in (*buckets, total)])


def _not_less(parts: list[float]) -> float:
    # A counter that falls by a rounding error is a restart to Prometheus, and all that was counted a jump.
    total = math.fsum(parts)
    return math.nextafter(total, math.inf) if math.fsum([*parts, -total]) > 0 else total


def number(read: Any) -> float:
    """A number that stood in a file.

    Raises:
        ValueError, TypeError: it is none.
    """
    found = float(read)
    if not math.isfinite(found):
        raise ValueError
    return found


def labels_of(metric: Metric, read: Any) -> Labels:
    """A metric's label values that stood in a file.

    Raises:
        ValueError: they are not this metric's.
    """
    if (
        not isinstance(read, (list, tuple))
        or len(read) != len(metric.labels)
        or not all(isinstance(one, str) for one in read)
    ):
        raise ValueError
    return tuple(read)


def series_of(line: bytes) -> Series | None:
    """A series as ``home`` wrote it down; ``None`` where this version does not know it, or it is not whole."""
    try:
        name, labels, offset, cells = json.loads(line)
        metric = BY_NAME.get(name)
        if metric is None or width(metric) != cells or not 0 <= offset <= CELLS - width(metric):
            return None
        return metric, labels_of(metric, labels), int(offset)
    except (ValueError, TypeError):
        return None
