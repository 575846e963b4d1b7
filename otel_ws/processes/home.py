"""What this process writes for the others: its cells in a mapped file, the names of its series, how it is now.

A file that stays locked as long as its process lives tells that it does, whatever ends it. It refuses to know who
reads, and writes nothing while a message is on its way but the cells themselves.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_ws import faults
from otel_ws.ledger import CELLS, Series, width
from otel_ws.processes import mapping
from otel_ws.processes.runtime import replace

ROLES: Final = ("server", "worker", "command")
PLACE: Final = "processes"
# The file's first page, on machines with the largest ones too: what stands in its cells is told by these places. Then
# come the shards, one after another.
HEAD: Final = 1 << 16
AT_PID, AT_ROLE, AT_STARTED, AT_SHARDS, AT_PARENT, AT_PARENT_STARTED = range(6)
HEAD_CELLS: Final = 6
SHARD: Final = CELLS * 8
# A page that is not there when it is written ends the process, so room is made before, and not all of it at once.
CHUNK: Final = 4096
RETRY_SECONDS: Final = 5.0


class SharedCells:
    """This process's place among the others: a ``ledger.Home``.

    Raises:
        OSError: there is no room, or the files cannot be made.
    """

    def __init__(self, folder: Path, role: str, started: float, parent: tuple[int, int]) -> None:
        self.id = secrets.token_hex(8)
        self._folder = folder
        self._shards: list[memoryview[float]] = []
        self._room = 0
        self._torn, self._retry_at = False, 0.0
        self._cells_fd = self._names_fd = -1
        try:
            self._cells_fd = self._make(".making")
            # Locked before it is seen: nobody may take it for a dead process's.
            fcntl.flock(self._cells_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head = array("d", [os.getpid(), ROLES.index(role), started, 0.0, *parent])
            os.pwrite(self._cells_fd, head.tobytes(), 0)
            self._names_fd = self._make(".labels", os.O_APPEND)
        except BaseException:
            self.forget()
            raise

    def show(self) -> None:
        """Let the others see it: the cells are in."""
        (self._folder / f"{self.id}.making").rename(self._folder / f"{self.id}.cells")

    # --- ledger.Home ------------------------------------------------------------------------------------
    def take(self, shards: Sequence[memoryview[float]], series: Iterable[Series]) -> None:
        """Keep these cells and names, or none of them."""
        known = list(series)
        self._write(known)
        self._room = _rounded(max(offset + width(metric) for metric, _, offset in known))
        taken: list[memoryview[float]] = []
        try:
            for shard in shards:
                self._put(shard)
                taken.append(shard)
        except OSError:
            for shard in taken:
                kept = shard[: self._room].tobytes()
                mapping.take_away(shard)
                shard[: self._room] = memoryview(kept).cast("d")
            raise

    def add(self, shard: memoryview[float]) -> None:
        """Keep another thread's cells."""
        try:
            self._put(shard)
        except OSError as exc:
            self._told(exc)

    def name(self, series: Series) -> bool:
        """Write a new series' name down, and make room for its cells."""
        if time.monotonic() < self._retry_at:
            return False
        end = series[2] + width(series[0])
        try:
            if end > self._room:
                room = _rounded(end)
                for number in range(len(self._shards)):
                    _reserve(self._cells_fd, HEAD + number * SHARD + self._room * 8, (room - self._room) * 8)
                self._room = room
            self._write([series])
        except OSError as exc:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._told(exc)
            return False
        return True

    def leave(self, shards: Sequence[memoryview[float]]) -> None:
        """In a forked child: the cells become its own, and the parent's lock is not held by it any longer."""
        for shard in shards:
            mapping.take_away(shard)
        self._close()

    # --- how this process is ----------------------------------------------------------------------------
    def publish(self, told: bytes) -> None:
        """Tell what is true of this process now: replaces what it told before, all at once."""
        path = self._folder / f"{self.id}.live"
        try:
            replace(path, told)
        except OSError as exc:
            self._told(exc)
            with suppress(OSError):
                _write_over(path, told)

    def is_there(self) -> bool:
        """Whether the others can still find it: a cleaner of old files may have taken it."""
        try:
            return all(os.fstat(fd).st_nlink > 0 for fd in (self._cells_fd, self._names_fd))
        except OSError:
            return False

    def vanish(self) -> None:
        """Take away what is left of its files: this process's counts are told in another place."""
        for one in self._folder.glob(f"{self.id}.*"):
            one.unlink(missing_ok=True)

    def forget(self) -> None:
        """Let go of the files; their counts stay, as those of a process that ended."""
        if self._cells_fd >= 0:
            with suppress(OSError):
                # Said, because the cells are still mapped, and a mapping holds the lock as an open file does.
                fcntl.flock(self._cells_fd, fcntl.LOCK_UN)
        self._close()
        if not (self._folder / f"{self.id}.cells").exists():
            for one in self._folder.glob(f"{self.id}.*"):
                with suppress(OSError):
                    one.unlink()

    def _close(self) -> None:
        for fd in (self._cells_fd, self._names_fd):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self._cells_fd = self._names_fd = -1

    # --- files ------------------------------------------------------------------------------------------
    def _make(self, ending: str, flags: int = 0) -> int:
        path = self._folder / f"{self.id}{ending}"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)

    def _put(self, shard: memoryview[float]) -> None:
        start = HEAD + len(self._shards) * SHARD
        os.ftruncate(self._cells_fd, start + SHARD)
        _reserve(self._cells_fd, start, self._room * 8)
        mapping.put_behind(shard, self._cells_fd, start, self._room)
        self._shards.append(shard)
        os.pwrite(self._cells_fd, array("d", [float(len(self._shards))]).tobytes(), AT_SHARDS * 8)

    def _write(self, series: Iterable[Series]) -> None:
        lines = [json.dumps([metric.name, labels, offset, width(metric)]) for metric, labels, offset in series]
        text = ("\n" if self._torn else "") + "".join(f"{line}\n" for line in lines)
        told = text.encode()
        self._torn = True
        if os.write(self._names_fd, told) < len(told):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._torn = False

    def _told(self, exc: OSError) -> None:
        faults.warn_once(
            "processes.room",
            "otel-ws cannot write all of its counts to the runtime directory "
            f"({errno.errorcode.get(exc.errno or 0, type(exc).__name__)}): the answers for all workers lack some "
            "of this one's. Make room there, or set OTEL_WS_RUNTIME_DIR to another folder.",
        )
        faults.fault(PLACE, exc)


def _write_over(path: Path, content: bytes) -> None:
    """Write a file anew where it stands, which takes no further room; whoever reads at that moment is to wait.

    Raises:
        OSError: it is not there, does not fit, or is being read.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _reserve(fd, 0, len(content))
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))
    finally:
        # Said, because a child that the application forks meanwhile holds the file open, too.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _rounded(cells: int) -> int:
    return min(CELLS, -(-cells // CHUNK) * CHUNK)


def _reserve(fd: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, offset, size)
    elif os.pwrite(fd, bytes(size), offset) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
