"""What the processes of a group wrote, read: whether each lives, its cells, the names of its series, what it told.

It refuses to trust that a file is whole: its process may have ended while it wrote.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from otel_ws import faults
from otel_ws.ledger import CELLS, Series
from otel_ws.processes import telling
from otel_ws.processes.home import (
    AT_PARENT,
    AT_PARENT_STARTED,
    AT_PID,
    AT_ROLE,
    AT_SHARDS,
    AT_STARTED,
    HEAD,
    HEAD_CELLS,
    ROLES,
    SHARD,
)
from otel_ws.processes.sums import Sums, number, series_of
from otel_ws.semconv import ACTIVE, Instrument


class UnreadableError(Exception):
    """The file is not whole."""


class OtherVersionError(UnreadableError, faults.ExplainedError):
    """The file is not whole, and its process lives: what this version writes always is."""

    reason = (
        "files of another version of otel-ws are in the group's folder, or damaged ones: each version answers for its "
        "own workers"
    )


class Member:
    """One process, as its files show it. Not thread-safe.

    Raises:
        FileNotFoundError: it has been added to the totals meanwhile.
        UnreadableError: its first page is not whole.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.id = name
        self._folder = folder
        self._fd = os.open(folder / f"{name}.cells", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._cells: memoryview[float] | None = None
        self._shards = -1
        self._series: list[Series] = []
        self._names_at = 0
        self._ended = False
        self.active = 0.0
        self.told = telling.Told()
        self._told_as: tuple[int, int] | None = None
        try:
            head = self._head()
            self.pid = int(head[AT_PID])
            self.role = ROLES[int(head[AT_ROLE])]
            self.started = number(head[AT_STARTED])
            self.parent = int(head[AT_PARENT]), int(head[AT_PARENT_STARTED])
        except (ValueError, OverflowError, IndexError) as exc:
            unreadable = self._unreadable()
            self.close()
            raise unreadable from exc
        except BaseException:
            self.close()
            raise

    def is_alive(self) -> bool:
        """Whether its process lives: it holds the lock as long as it does."""
        if not self._ended:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
            self._ended = True
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False

    def add_to(self, sums: Sums) -> None:
        """Add what it counted, all of it or nothing; its gauges only while it lives.

        Raises:
            FileNotFoundError: a file is gone.
            UnreadableError: they are not whole.
        """
        is_alive = self.is_alive()
        shards, series, told = self._mapped(), self.series(), self.hear()
        try:
            sums.add_cells(series, shards, is_alive=is_alive)
        except ValueError as exc:
            raise self._unreadable() from exc
        self.active = sum(shard[offset] for metric, _, offset in series if metric is ACTIVE for shard in shards)
        for metric, labels, value in told.values:
            if is_alive or metric.instrument is Instrument.COUNTER:
                sums.add(metric, labels, value)

    def series(self) -> list[Series]:
        """The series that it has named so far; those that were read before, where their file is gone."""
        if self._series and not (self._folder / f"{self.id}.labels").exists():
            return self._series
        with (self._folder / f"{self.id}.labels").open("rb") as names:
            names.seek(self._names_at)
            for line in names:
                if not line.endswith(b"\n"):
                    break
                self._names_at += len(line)
                if (found := series_of(line)) is not None:
                    self._series.append(found)
        return self._series

    def hear(self) -> telling.Told:
        """What it told last of how it is."""
        try:
            with (self._folder / f"{self.id}.live").open("rb") as live:
                found = os.fstat(live.fileno())
                if self._told_as != (found.st_ino, found.st_mtime_ns):
                    # Where there is no room for another file, it is this one that is written.
                    fcntl.flock(live, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    try:
                        told = live.read()
                    finally:
                        fcntl.flock(live, fcntl.LOCK_UN)
                    self.told = telling.read(told)
                    self._told_as = found.st_ino, found.st_mtime_ns
        except (OSError, ValueError):
            pass
        return self.told

    def close(self) -> None:
        """Let go of its files."""
        os.close(self._fd)
        self._cells = None

    def _unreadable(self) -> UnreadableError:
        return OtherVersionError() if self.is_alive() else UnreadableError()

    def _head(self) -> memoryview[float]:
        head = os.pread(self._fd, HEAD_CELLS * 8, 0)
        if len(head) < HEAD_CELLS * 8:
            raise self._unreadable()
        return memoryview(head).cast("d")

    def _mapped(self) -> Sequence[Sequence[float]]:
        try:
            shards = int(self._head()[AT_SHARDS])
            if shards != self._shards:
                # A file that is shorter than it says is refused here.
                self._cells = memoryview(mmap.mmap(self._fd, HEAD + shards * SHARD, prot=mmap.PROT_READ)).cast("d")
                self._shards = shards
        except (ValueError, OverflowError) as exc:
            raise self._unreadable() from exc
        assert self._cells is not None
        first = HEAD // 8
        return [self._cells[first + one * CELLS : first + (one + 1) * CELLS] for one in range(shards)]
