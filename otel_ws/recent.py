"""The last cleared events and spans of this host's workers, in bounded rings: an ``EventWriter`` like the others.

Each process writes slots of one file of its own (or, without a folder, of its memory) and reads those of the others,
the dead ones' too. It knows texts in slots, never what a span is; nothing comes here that has not been cleared.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from otel_ws.faults import fault
from otel_ws.semconv import Level
from otel_ws.types import Clock, EventRecord

SLOTS: Final = 256
SLOT_BYTES: Final = 1536
# What waits in one ring for the next tick: under more load than this the rest is not shown.
PENDING: Final = 64
# Who has no event loop to be ticked by writes its slots itself, this seldom.
UNTICKED_SECONDS: Final = 3.0
READ_SECONDS: Final = 1.0
# How long the file of a process that is gone is kept: it tells how that ended.
KEEP_SECONDS: Final = 3600.0
KEEP_FILES: Final = 32
# Errors and warnings, and the spans that others link to, keep rings of their own: a flood does not wash them away.
EVENTS, NOTABLE_EVENTS, SPANS, NOTABLE_SPANS = range(4)
_RINGS: Final = 4
_SLOT: Final = struct.Struct("<QII")
_BYTES: Final = _RINGS * SLOTS * SLOT_BYTES

Render = Callable[[], Mapping[str, Any]]
Entry = dict[str, Any]


class Rings:
    """Four rings of slots in one buffer: number, length, checksum, text. A reader sees a whole slot or none."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = memoryview(buffer)
        self._written = [0] * _RINGS

    def put(self, ring: int, text: bytes) -> None:
        """Write the next slot of a ring, over its oldest."""
        self._written[ring] += 1
        number = self._written[ring]
        at = (ring * SLOTS + number % SLOTS) * SLOT_BYTES
        _SLOT.pack_into(self._buffer, at, 0, 0, 0)
        self._buffer[at + _SLOT.size : at + _SLOT.size + len(text)] = text
        _SLOT.pack_into(self._buffer, at, number, len(text), crc32(text))

    def close(self) -> None:
        """Let go of the buffer."""
        self._buffer.release()


def slots(buffer: Any) -> Iterator[tuple[int, int, int]]:
    """Ring, number and place of every slot that holds something."""
    for ring in range(_RINGS):
        for slot in range(SLOTS):
            at = (ring * SLOTS + slot) * SLOT_BYTES
            number = _SLOT.unpack_from(buffer, at)[0]
            if number:
                yield ring, number, at


def text_at(buffer: Any, number: int, at: int) -> bytes | None:
    """The text of a slot, unless it was being written."""
    found, length, checksum = _SLOT.unpack_from(buffer, at)
    text = bytes(buffer[at + _SLOT.size : at + _SLOT.size + min(length, SLOT_BYTES - _SLOT.size)])
    return text if found == number and crc32(text) == checksum else None


class Recent:
    """Takes events and spans, and hands back the last of all workers.

    ``render`` makes the JSON text of an event. Times are seconds; ``now`` is Unix time.
    """

    def __init__(
        self, render: Callable[[EventRecord], str], clock: Clock = time.monotonic, now: Clock = time.time
    ) -> None:
        self._render = render
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._pending: tuple[deque[Callable[[], str]], ...] = tuple(deque(maxlen=PENDING) for _ in range(_RINGS))
        self._folder: Path | None = None
        self._rings: Rings | None = None
        self._memory: Any = None
        self._file = -1
        self._token = ""
        self._published_at = self._clock()
        self._known: dict[tuple[str, int, int], Entry] = {}
        self._read_at = -READ_SECONDS

    # --- writing ----------------------------------------------------------------------------------------
    def write(self, record: EventRecord) -> None:
        """Keep one event."""
        ring = NOTABLE_EVENTS if record.event.level is not Level.INFO else EVENTS
        self._keep(ring, lambda: self._render(record))

    def span(self, render: Render, is_notable: bool) -> None:
        """Keep one span; ``render`` is called later, or never: it gives what may be shown, ready for JSON."""
        self._keep(NOTABLE_SPANS if is_notable else SPANS, lambda: json.dumps(render(), separators=(",", ":")))

    def _keep(self, ring: int, render: Callable[[], str]) -> None:
        self._pending[ring].append(render)
        if self._clock() - self._published_at > UNTICKED_SECONDS:
            self.publish()

    def publish(self) -> None:
        """Write what waits into the rings, where the other workers find it. Never raises."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._published_at = self._clock()
            if not any(self._pending):
                return
            if self._file >= 0 and os.fstat(self._file).st_nlink == 0:
                # A cleaner of old files took it: the others cannot find it any longer.
                self._let_go()
            rings = self._rings or self._open()
            for ring, waiting in enumerate(self._pending):
                for _ in range(len(waiting)):
                    text = waiting.popleft()().encode()
                    if len(text) <= SLOT_BYTES - _SLOT.size:
                        rings.put(ring, text)
            if self._file >= 0:
                os.utime(self._file)
        except Exception as exc:
            fault("recent", exc)
        finally:
            self._lock.release()

    def is_wanted(self) -> bool:
        """Always: somebody asked for it."""
        return True

    def flush(self) -> None:
        """Publish."""
        self.publish()

    def close(self) -> None:
        """Publish, and let go of the file: it stays for the others to read."""
        self.publish()
        self._let_go()

    def after_fork(self) -> None:
        """In a forked child: what was kept is the parent's, and a lock may have been held."""
        self._lock = threading.Lock()
        for waiting in self._pending:
            waiting.clear()
        self._known.clear()
        self._let_go()

    # --- where ------------------------------------------------------------------------------------------
    def share(self, folder: Path | None) -> None:
        """Use this folder, private to the group of workers, from the next publishing on."""
        with self._lock:
            if folder != self._folder:
                self._let_go()
                self._folder = folder

    def _open(self) -> Rings:
        self._token = f"{os.getpid()}-{secrets.token_hex(4)}"
        if self._folder is not None:
            try:
                self._memory = self._made(self._folder / f"recent-{self._token}.ring")
            except OSError as exc:
                fault("recent", exc)
                self._folder = None
        if self._memory is None:
            self._memory = bytearray(_BYTES)
        self._rings = Rings(self._memory)
        return self._rings

    def _made(self, path: Path) -> mmap.mmap:
        # Late: where there are no such locks there is no folder either.
        import fcntl

        _sweep(path.parent, self._now())
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Room for all of it now: a page that finds none when it is written would end the process.
            os.posix_fallocate(self._file, 0, _BYTES)
            return mmap.mmap(self._file, _BYTES)
        except OSError:
            path.unlink()
            os.close(self._file)
            self._file = -1
            raise

    def _let_go(self) -> None:
        rings, self._rings = self._rings, None
        if rings is not None:
            rings.close()
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        self._memory = None
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    # --- reading ----------------------------------------------------------------------------------------
    def events(self) -> list[Entry]:
        """The last events of all workers, the newest last: the fields of a JSON line, ``pid`` and a ``key``."""
        found = [entry for (_, ring, _), entry in self._read().items() if ring in (EVENTS, NOTABLE_EVENTS)]
        return sorted(found, key=lambda entry: str(entry.get("timestamp")))

    def spans(self) -> list[Entry]:
        """The last spans of all workers, the last begun last, with ``pid`` and a ``key``."""
        found = [entry for (_, ring, _), entry in self._read().items() if ring in (SPANS, NOTABLE_SPANS)]
        return sorted(found, key=lambda entry: float(entry["start"]))

    def _read(self) -> dict[tuple[str, int, int], Entry]:
        """Everything that is in the rings, at most a second old. What was read before is not parsed again."""
        self.publish()
        with self._lock:
            now = self._clock()
            if now - self._read_at < READ_SECONDS:
                return self._known
            self._read_at = now
            found: dict[tuple[str, int, int], Entry] = {}
            if self._memory is not None:
                self._collect(self._token, self._memory, found)
            if self._folder is not None:
                for path in _files(self._folder):
                    token = path.stem.removeprefix("recent-")
                    if token != self._token:
                        self._collect_file(token, path, found)
            self._known = found
            return found

    def _collect_file(self, token: str, path: Path, found: dict[tuple[str, int, int], Entry]) -> None:
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), _BYTES, access=mmap.ACCESS_READ) as buffer:
                self._collect(token, buffer, found)
        except (OSError, ValueError) as exc:
            # A worker that has just begun, or a sweep: the next look finds what there is.
            if path.exists():
                fault("recent", exc)

    def _collect(self, token: str, buffer: Any, found: dict[tuple[str, int, int], Entry]) -> None:
        pid = int(token.partition("-")[0])
        for ring, number, at in slots(buffer):
            key = token, ring, number
            entry = self._known.get(key)
            if entry is None:
                text = text_at(buffer, number, at)
                if text is None:
                    continue
                entry = {**json.loads(text), "pid": pid, "key": f"{token}.{ring}.{number}"}
            found[key] = entry


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("recent-*.ring"))


def _sweep(folder: Path, now: float) -> None:
    """Remove the files of processes that are gone: those that are old, and the oldest where there are many."""
    import fcntl

    gone: list[tuple[float, Path]] = []
    for path in _files(folder):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                gone.append((os.fstat(file.fileno()).st_mtime, path))
        except OSError:
            # It lives, or it went this moment.
            continue
    gone.sort()
    for place, (written_at, path) in enumerate(gone):
        if now - written_at > KEEP_SECONDS or place < len(gone) - KEEP_FILES:
            path.unlink(missing_ok=True)
