"""Events as lines on a standard stream or in a file: an ``EventWriter`` that works without an SDK.

One ``O_APPEND`` write a line, from one background thread with a bounded queue, so that the event loop never
waits for a disk, and lines of several processes do not mix. It knows files, not what an event means.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from otel_ws.faults import fault
from otel_ws.semconv import (
    DURATION,
    IDS,
    RETRY_AFTER,
    SEND_LONGEST,
    SETUP_DURATION,
    Kind,
)
from otel_ws.types import EventRecord

QUEUE_LIMIT: Final = 10_000
ROTATE_BYTES: Final = 64 * 1024 * 1024
_STREAMS: Final = {"stdout": 1, "stderr": 2}
_IN_MILLISECONDS: Final = {DURATION, RETRY_AFTER, SETUP_DURATION, SEND_LONGEST}


class QueueFullError(Exception):
    """The disk was slower than the events; lines were dropped."""


def render(record: EventRecord) -> str:
    """One event as a JSON object on one line, with the field names that operators already use."""
    seconds, rest = divmod(record.timestamp_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    line: dict[str, object] = {
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.event.level.name,
        "event": record.event.name,
        "message": record.event.message,
        "trace_id": f"{record.trace_id:032x}" if record.trace_id else None,
        "span_id": f"{record.span_id:016x}" if record.span_id else None,
        **{one.field or "": None for one in IDS},
    }
    for attribute, value in record.values.items():
        if attribute in _IN_MILLISECONDS and isinstance(value, (int, float)):
            value = round(value * 1000, 3)
        elif attribute.kind is Kind.ID and isinstance(value, str) and value.isdigit() and str(int(value)) == value:
            value = int(value)
        line[attribute.field or attribute.key] = value
    return json.dumps(line, separators=(",", ":"))


class Lines:
    """Writes lines in the background, JSON unless told otherwise; a full queue drops and counts.

    ``target`` is ``stdout``, ``stderr`` or a path.
    """

    def __init__(self, target: str, render: Callable[[EventRecord], str] = render) -> None:
        self._pattern = target
        self._render = render
        self._queue: deque[bytes] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._file = -1
        self._writing = False
        self._closed = False

    def write(self, record: EventRecord) -> None:
        """Queue one line."""
        line = (self._render(record) + "\n").encode()
        with self._wake:
            if len(self._queue) >= QUEUE_LIMIT:
                fault("lines_queue_full", QueueFullError())
                return
            self._queue.append(line)
            if self._thread is None or self._pid != os.getpid():
                self._start()
            self._wake.notify()

    def is_wanted(self) -> bool:
        """Always: the file is there to be written."""
        return True

    def flush(self, timeout: float = 5.0) -> None:
        """Wait until the queue is empty, or ``timeout`` seconds."""
        with self._wake:
            if self._pid == os.getpid():
                self._wake.wait_for(lambda: not self._queue and not self._writing, timeout)

    def close(self) -> None:
        """Write what is queued and let go of the file."""
        self.flush()
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join(1.0)
        if self._file > 2:
            os.close(self._file)
        self._file = -1

    def after_fork(self) -> None:
        """In a forked child: the parent writes its own lines, and its lock may have been held."""
        self._wake = threading.Condition()
        self._queue.clear()
        self._thread = None
        self._writing = False

    def _start(self) -> None:
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="otel-ws-lines", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                batch = list(self._queue)
                self._queue.clear()
                self._writing = True
            left = len(batch)
            try:
                target = self._target()
                for line in batch:
                    _put(target, line)
                    left -= 1
            except OSError as exc:
                fault("lines", exc, left)
            finally:
                with self._wake:
                    self._writing = False
                    self._wake.notify_all()

    def _target(self) -> int:
        if self._pattern in _STREAMS:
            return _STREAMS[self._pattern]
        path = self._pattern.replace("{pid}", str(os.getpid()))
        if self._file >= 0 and not self._is_current(path):
            os.close(self._file)
            self._file = -1
        if self._file >= 0 and "{pid}" in self._pattern and os.fstat(self._file).st_size >= ROTATE_BYTES:
            Path(path).replace(path + ".1")
            os.close(self._file)
            self._file = -1
        if self._file < 0:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        return self._file

    def _is_current(self, path: str) -> bool:
        """Whether the open file is still the one at ``path``: log rotation moves it away."""
        try:
            there = Path(path).stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _put(target: int, line: bytes) -> None:
    while line:
        line = line[os.write(target, line) :]
