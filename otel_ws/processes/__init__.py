"""All workers of this host as one: what they count together, who they are, and which of them speaks for all.

It knows that processes share a folder and how their numbers add up. It refuses to know what a number means, who asks
for it and in which form it is told. Where nothing can be shared, every answer is about this process alone and says so.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from otel_ws import recorder, semconv
from otel_ws.health import Reading
from otel_ws.ledger import Snapshot

_started = time.time()


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its id, what it is for (``server``, ``worker`` or ``command``) and how it is.

    ``started`` is in Unix seconds, ``active`` counts open connections, ``cpu`` is the share of one CPU that it used of
    late (1.0: one CPU, all the time), ``memory`` is resident bytes, 0 where the platform does not tell.
    """

    pid: int
    role: str
    started: float
    active: float
    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Overview:
    """What all workers say together; at most a second old.

    ``at`` and ``started`` (when the first of the group began to count) are in Unix seconds. ``is_shared`` is false
    where these are the numbers of this process alone; ``why`` then says why, in a sentence without a value.
    """

    at: float
    started: float
    snapshot: Snapshot
    processes: tuple[Process, ...]
    is_shared: bool
    why: str = ""


def overview() -> Overview:
    """What all workers of this host say, at most a second old; where nothing is shared, this process alone."""
    active = recorder.active()
    snapshot = Snapshot({}, {}) if active is None else active.snapshot()
    alone = Process(os.getpid(), "server", _started, snapshot.total(semconv.ACTIVE), 0.0, 0.0)
    return Overview(time.time(), _started, snapshot, (alone,), is_shared=False, why="nothing is shared yet")


def history(seconds: float) -> tuple[Reading, ...]:
    """Readings of the last ``seconds``, oldest first: each 10 s for the last hour, hourly for 24 h before that."""
    return ()


def is_leader() -> bool:
    """Whether this process, of all of its group the only one, writes the history and tells verdicts and totals."""
    return True


def folder() -> Path | None:
    """The group's private folder; ``None`` where nothing is shared."""
    return None
