"""Live counts of this process, in buffers of cells: exact from any thread, without a lock on the way.

Each thread writes into its own shard; a reader sums the shards. A series (a metric with one set of labels) has
the same offset in every shard. It knows metrics and label tuples, never where a value came from.
"""

from __future__ import annotations

import mmap
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from otel_ws.semconv import METRICS, OTHER, Instrument, Metric
from otel_ws.types import Labels

CELLS: Final = 1 << 17
SERIES_LIMIT: Final = 1000

ExemplarIds = tuple[float, int, int, int]
# A metric, one set of its labels, and where its cells begin.
Series = tuple[Metric, Labels, int]


class Home(Protocol):
    """Where the cells are kept beside this process's own memory, so that others can read them."""

    def take(self, shards: Sequence[memoryview[float]], series: Iterable[Series]) -> None:
        """Keep these, with what is in them; the memory that they have now is the home's from here on.

        Raises:
            OSError: there is no room; nothing was changed.
        """

    def add(self, shard: memoryview[float]) -> None:
        """Keep another thread's cells, all zero; where there is no room they stay this process's own."""

    def name(self, series: Series) -> bool:
        """A new series is about to be counted there; ``False`` where there is no room for it."""

    def leave(self, shards: Sequence[memoryview[float]]) -> None:
        """In a forked child: these cells are memory of its own from here on, all zero. The home is the parent's."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's series: how many values fell below each bound (the last: above all), and their sum."""

    buckets: tuple[int, ...]
    sum: float
    exemplars: tuple[ExemplarIds, ...] = ()

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.buckets)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger at one moment: plain numbers by metric and label tuple."""

    values: dict[Metric, dict[Labels, float]]
    distributions: dict[Metric, dict[Labels, Distribution]]

    def total(self, metric: Metric, **labels: str) -> float:
        """The sum over all series of a metric whose named labels have these values."""
        names = metric.label_names
        return sum(
            value
            for key, value in self.values.get(metric, {}).items()
            if all(key[names.index(name)] == wanted for name, wanted in labels.items())
        )


class _Lease:
    """A shard on loan to one thread; it comes back when the thread ends, with its counts."""

    def __init__(self, cells: memoryview[float], home: deque[memoryview[float]]) -> None:
        self.cells = cells
        self._home = home

    def __del__(self) -> None:
        self._home.append(self.cells)


class _Local(threading.local):
    """This thread's shard, taken when the thread first counts."""

    def __init__(self, ledger: Ledger) -> None:
        self.lease = ledger._lease()
        self.cells = self.lease.cells


class Ledger:
    """Counts and distributions of every metric that is not computed when it is looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shards: list[memoryview[float]] = []
        self._home: Home | None = None
        self._free: deque[memoryview[float]] = deque()
        self._next = 0
        self._series: dict[Metric, dict[Labels, int]] = {}
        self._overflow: dict[Metric, int] = {}
        for metric in METRICS:
            if not metric.live:
                self._series[metric] = {}
                self._overflow[metric] = self._allocate(metric)
        # By cell of a histogram's bucket: value, time (Unix ns), trace id, span id of the last sampled message.
        self.exemplars: dict[int, tuple[float, int, int, int]] = {}
        self.started_ns = time.time_ns()
        self.local = _Local(self)

    # --- writing ----------------------------------------------------------------------------------------
    def series(self, metric: Metric, labels: Labels) -> int:
        """The offset of a series, new or known; past the limit, that of the metric's ``_OTHER`` series."""
        known = self._series[metric]
        offset = known.get(labels)
        if offset is None:
            with self._lock:
                offset = known.get(labels)
                if offset is None:
                    is_full = len(known) >= SERIES_LIMIT or self._next + width(metric) > CELLS
                    if is_full or (self._home is not None and not self._home.name((metric, labels, self._next))):
                        return self._overflow[metric]
                    known[labels] = offset = self._allocate(metric)
        return offset

    def add(self, metric: Metric, labels: Labels, amount: float = 1.0) -> None:
        """Add to a counter, or move a gauge."""
        self.local.cells[self.series(metric, labels)] += amount

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Put a value into a histogram; a bound belongs to the bucket below it."""
        self.observe_at(self.series(metric, labels), metric.bounds, value)

    def observe_at(self, offset: int, bounds: tuple[float, ...], value: float) -> None:
        """The same, for a caller that kept the offset."""
        cells = self.local.cells
        cells[offset + bisect_left(bounds, value)] += 1.0
        cells[offset + len(bounds) + 1] += value

    # --- reading ----------------------------------------------------------------------------------------
    def read(self, metric: Metric) -> Iterator[tuple[Labels, float]]:
        """Every series of a counter or gauge, summed over the shards."""
        for labels, offset in self._offsets(metric):
            yield labels, sum(shard[offset] for shard in tuple(self._shards))

    def distributions(self, metric: Metric) -> Iterator[tuple[Labels, Distribution]]:
        """Every series of a histogram, summed over the shards."""
        cells_each = width(metric)
        for labels, offset in self._offsets(metric):
            cells = [
                sum(column)
                for column in zip(
                    *(s[offset : offset + cells_each] for s in tuple(self._shards)),
                    strict=True,
                )
            ]
            buckets = tuple(int(cell) for cell in cells[:-1])
            if any(buckets):
                cells_with = (self.exemplars.get(offset + place) for place in range(cells_each - 1))
                yield (
                    labels,
                    Distribution(
                        buckets,
                        cells[-1],
                        tuple(one for one in cells_with if one is not None),
                    ),
                )

    def snapshot(self) -> Snapshot:
        """Everything, at this moment."""
        values: dict[Metric, dict[Labels, float]] = {}
        distributions: dict[Metric, dict[Labels, Distribution]] = {}
        for metric in self._series:
            if metric.instrument is Instrument.HISTOGRAM:
                distributions[metric] = dict(self.distributions(metric))
            else:
                values[metric] = dict(self.read(metric))
        return Snapshot(values, distributions)

    # --- where the cells are ----------------------------------------------------------------------------
    def move(self, home: Home) -> None:
        """Keep the cells there from now on, with what they hold and for all who hold them.

        Raises:
            OSError: they cannot be kept there; they are where they were.
        """
        with self._lock:
            home.take(self._shards, self.series_known())
            self._home = home

    def series_known(self) -> Iterator[Series]:
        """Every series that has cells, that of ``_OTHER`` labels included."""
        for metric, known in self._series.items():
            yield metric, (OTHER,) * len(metric.labels), self._overflow[metric]
            for labels, offset in known.items():
                yield metric, labels, offset

    def after_fork(self) -> None:
        """In a forked child: what is counted is the parent's, and a thread that is gone may have held the lock."""
        self._lock = threading.Lock()
        self.started_ns = time.time_ns()
        self.exemplars.clear()
        if self._home is not None:
            home, self._home = self._home, None
            home.leave(self._shards)
        else:
            for shard in self._shards:
                for offset in range(self._next):
                    shard[offset] = 0.0

    def _offsets(self, metric: Metric) -> Iterator[tuple[Labels, int]]:
        yield from list(self._series[metric].items())
        overflow = self._overflow[metric]
        if any(shard[offset] for shard in tuple(self._shards) for offset in range(overflow, overflow + width(metric))):
            yield (OTHER,) * len(metric.labels), overflow

    def _allocate(self, metric: Metric) -> int:
        offset = self._next
        self._next += width(metric)
        return offset

    def _lease(self) -> _Lease:
        try:
            cells = self._free.popleft()
        except IndexError:
            # Anonymous and private: pages cost memory when they are written, and a fork does not share them.
            private: dict[str, Any] = (
                {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
            )
            cells = memoryview(mmap.mmap(-1, CELLS * 8, **private)).cast("d")
            with self._lock:
                if self._home is not None:
                    self._home.add(cells)
                self._shards.append(cells)
        return _Lease(cells, self._free)


def width(metric: Metric) -> int:
    """How many cells a series of this metric has: a histogram's buckets and its sum, or one."""
    return len(metric.bounds) + 2 if metric.instrument is Instrument.HISTOGRAM else 1
