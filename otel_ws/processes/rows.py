"""What was, as rows: one each 10 s for the last hour, one an hour for the last 24 hours.

The leader writes them into a file, so that the next leader goes on; without a file they are kept in memory. It
refuses to know what a row's numbers are.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_ws.health import Reading
from otel_ws.processes.runtime import replace
from otel_ws.processes.sums import number

EACH_SECONDS: Final = 10.0
HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
# Twice as many as are kept, so that the file is written anew about once an hour.
_LINES: Final = 2 * int(HOUR / EACH_SECONDS)


class Rows:
    """One group's rows. Not thread-safe."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: list[Reading] = []
        self._seen = (0, 0)

    def is_due(self, at: float) -> bool:
        """Whether the last row is 10 s old, or there is none."""
        self._read()
        return not self._rows or not 0 <= at - self._rows[-1].at < EACH_SECONDS

    def add(self, row: Reading) -> None:
        """Write a row.

        Raises:
            OSError: there is no room.
        """
        self._read()
        if len(self._rows) >= _LINES:
            self._rows = _kept(self._rows, row.at)
            self._write_anew()
        if self._path is None:
            self._rows.append(row)
            return
        # One write, and only ever by the leader: a row is there, or it is not.
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, _line(row))
        finally:
            os.close(fd)

    def since(self, at: float) -> tuple[Reading, ...]:
        """The rows from then on, oldest first."""
        self._read()
        last = self._rows[-1].at if self._rows else 0.0
        return tuple(row for row in _kept(self._rows, last) if row.at >= at)

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if (found.st_ino, found.st_size) == self._seen:
                    return
                if found.st_ino == self._seen[0] and found.st_size > self._seen[1]:
                    file.seek(self._seen[1])
                else:
                    self._rows = []
                for line in file:
                    # Not whole: the disk was full.
                    with suppress(ValueError, TypeError, KeyError, AttributeError):
                        told = {str(name): number(value) for name, value in json.loads(line).items()}
                        self._rows.append(Reading(told.pop("at"), told))
                self._seen = found.st_ino, file.tell()
        except FileNotFoundError:
            self._rows, self._seen = [], (0, 0)

    def _write_anew(self) -> None:
        if self._path is not None:
            replace(self._path, b"".join(map(_line, self._rows)))
            self._seen = (0, 0)


def _line(row: Reading) -> bytes:
    return json.dumps({**row.numbers, "at": row.at}).encode() + b"\n"


def _kept(rows: list[Reading], now: float) -> list[Reading]:
    """Every row of the last hour and the one before them, and the first of each hour of the 24 before."""
    found: list[Reading] = []
    hour = -1.0
    following = [*rows, Reading(now)][1:]
    for row, after in zip(rows, following, strict=True):
        if now - after.at <= HOUR or (now - row.at <= DAY + HOUR and row.at // HOUR != hour):
            found.append(row)
        hour = row.at // HOUR
    return found
