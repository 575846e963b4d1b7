"""What is true of this process now: the open connections, their users, their ages and health, memory and CPU.

Everything here is computed when somebody looks, so it cannot drift. It knows a connection by the few members
that it reads, and a user by a salted hash that never leaves the process.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from otel_ws.semconv import (
    ACTIVE_USERS,
    CONNECTION_AGE,
    CONNECTION_HEALTH,
    DUAL_USERS,
    OTHER,
    PROCESS_CPU,
    PROCESS_MEMORY,
    TRANSPORT,
    Metric,
)
from otel_ws.types import Clock, Labels

BY_ID_LIMIT: Final = 200
STALLED_SECONDS: Final = 5.0
HEARTBEATS_MISSED: Final = 2
_CPU_SECONDS: Final = 0.5
_STATM: Final = Path("/proc/self/statm")
# What a container may use, as control groups of both versions tell it.
_CONTAINER: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_AGES: Final = ((300.0, "under_5m"), (1800.0, "5m_30m"), (7200.0, "30m_2h"), (math.inf, "over_2h"))


class OpenConnection(Protocol):
    """What a look needs to know of a connection; times are seconds of the ledger's clock."""

    transport: str
    accepted_at: float
    handler_failed: bool
    last_send_bad: bool
    last_heartbeat: float
    # When each send began that the server has not taken yet.
    pending: list[float]

    def cancelled(self) -> None:
        """The server ends without another word."""

    def exported_ids(self) -> Iterable[tuple[str, str]]:
        """Key and cleared value of each id."""


class Lasting:
    """Keeps the series of live metrics that were told once, at 0.

    A backend that is pushed to shows the last number for minutes, and would take it for what still is.
    """

    def __init__(self) -> None:
        self._told: dict[Metric, dict[Labels, float]] = {}

    def fill(self, metric: Metric, found: Mapping[Labels, float]) -> Iterable[tuple[Labels, float]]:
        """What was found, and 0 for what was found before."""
        told = self._told.setdefault(metric, {})
        told.update(dict.fromkeys(found, 0.0))
        return {**told, **found}.items()


class Live:
    """The open connections of this process and their users."""

    def __init__(
        self, clock: Clock, metric_ids: tuple[str, ...] = (), heartbeat: Callable[[], float | None] = lambda: None
    ) -> None:
        self._clock = clock
        self._metric_ids = metric_ids
        # Seconds between two heartbeats that the application declared, if it did.
        self._heartbeat = heartbeat
        # By transport, and with the time of accept beside it: ten thousand of them are not asked for either again.
        self._open: dict[str, dict[OpenConnection, float]] = {transport: {} for transport in TRANSPORT.choices}
        # The same for users, by hash: how many connections each has.
        self._users: dict[str, dict[bytes, int]] = {transport: {} for transport in TRANSPORT.choices}
        self._salt = secrets.token_bytes(16)
        self._lock = threading.Lock()
        self.lasting = Lasting()
        self._cpu = (time.perf_counter(), time.process_time())
        self._cpu_share = 0.0

    # --- told by the recorder ---------------------------------------------------------------------------
    def opened(self, connection: OpenConnection) -> None:
        """A connection was accepted."""
        self._open[connection.transport][connection] = connection.accepted_at

    def ended(self, connection: OpenConnection) -> None:
        """An accepted connection ended."""
        self._open[connection.transport].pop(connection, None)

    def user_opened(self, user_id: str, transport: str) -> tuple[bytes, int, bool]:
        """A user's connection was accepted: the key to give back, the user's connections, and if on both transports."""
        key = hashlib.blake2b(user_id.encode(), key=self._salt, digest_size=8).digest()
        with self._lock:
            here = self._users[transport]
            here[key] = here.get(key, 0) + 1
            held = [users[key] for users in self._users.values() if key in users]
            return key, sum(held), len(held) > 1

    def user_ended(self, key: bytes, transport: str) -> None:
        """That connection ended."""
        with self._lock:
            here = self._users[transport]
            left = here.get(key, 0) - 1
            if left > 0:
                here[key] = left
            else:
                here.pop(key, None)

    def salt(self, salt: bytes) -> None:
        """Hash users as other processes do that have this salt; where users are known already, it is too late."""
        with self._lock:
            if not any(self._users.values()):
                self._salt = salt

    def users(self) -> dict[str, bytes]:
        """By transport, the hashes of the users who are connected by it, 8 bytes each, one after another."""
        with self._lock:
            return {transport: b"".join(users) for transport, users in self._users.items()}

    def after_fork(self) -> None:
        """In a forked child: the connections are the parent's, and a thread that is gone may have held the lock."""
        self._lock = threading.Lock()
        for transport in TRANSPORT.choices:
            self._open[transport].clear()
            self._users[transport].clear()

    def connections(self) -> list[OpenConnection]:
        """Those that are open now."""
        return [one for opened in self._open.values() for one in list(opened)]

    # --- asked by readers -------------------------------------------------------------------------------
    def __len__(self) -> int:
        """How many accepted connections are open."""
        return sum(map(len, self._open.values()))

    def read(self, metric: Metric) -> Iterator[tuple[Labels, float]]:
        """The series of one live metric."""
        if metric is CONNECTION_AGE:
            yield from self.lasting.fill(metric, dict(self._ages()))
        elif metric is CONNECTION_HEALTH:
            yield from self.lasting.fill(metric, dict(self._health()))
        elif metric in (ACTIVE_USERS, DUAL_USERS):
            with self._lock:
                everybody = len(set[bytes]().union(*self._users.values()))
                on_each = sum(map(len, self._users.values()))
            yield (), float(everybody if metric is ACTIVE_USERS else on_each - everybody)
        elif metric is PROCESS_MEMORY:
            memory = _memory()
            if memory:
                yield (), float(memory)
        elif metric is PROCESS_CPU:
            yield (), min(1.0, self.cpu() / (os.cpu_count() or 1))

    def cpu(self) -> float:
        """The share of one CPU that this process used between the last two looks that were half a second apart.

        Two who look within a millisecond, a scrape and a verdict, would otherwise tell of that millisecond alone.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        wall_before, cpu_before = self._cpu
        if wall - wall_before >= _CPU_SECONDS:
            self._cpu_share = max(0.0, (cpu - cpu_before) / (wall - wall_before))
            self._cpu = (wall, cpu)
        return self._cpu_share

    def by_id(self) -> Iterator[tuple[str, str, float]]:
        """For ``ws.active_connections.by_id``: the id's name as a label, its value, and the open connections."""
        for key in self._metric_ids:
            counts = Counter(value for one in self.connections() for name, value in one.exported_ids() if name == key)
            rest = counts.total()
            for value, count in counts.most_common(BY_ID_LIMIT):
                rest -= count
                yield key.replace(".", "_"), value, float(count)
            if rest:
                yield key.replace(".", "_"), OTHER, float(rest)

    def unhealthy(self, found: Iterable[OpenConnection], now: float) -> list[OpenConnection]:
        """Those with a bad or stalled send, whose last handler raised, or that missed two heartbeats."""
        beat = self._heartbeat()
        has_beat, silence = beat is not None, HEARTBEATS_MISSED * (beat or 0.0)
        # There may be ten thousand: no call for each of them, and no more of it is touched than need be.
        return [
            one
            for one in found
            if one.last_send_bad
            or one.handler_failed
            or (has_beat and now - one.last_heartbeat > silence)
            or (one.pending and any(now - since > STALLED_SECONDS for since in list(one.pending)))
        ]

    def _ages(self) -> Iterator[tuple[Labels, float]]:
        now = self._clock()
        for transport, opened in self._open.items():
            accepted = sorted(opened.values())
            end = len(accepted)
            for bound, age in _AGES:
                # Accepted after this moment is younger than the bound.
                begin = bisect_right(accepted, now - bound, hi=end)
                if begin < end:
                    yield (transport, age), float(end - begin)
                end = begin

    def _health(self) -> Iterator[tuple[Labels, float]]:
        now = self._clock()
        for transport, opened in self._open.items():
            found = list(opened)
            bad = len(self.unhealthy(found, now))
            for state, part in (("healthy", len(found) - bad), ("unhealthy", bad)):
                if part:
                    yield (transport, state), float(part)


def memory_limit() -> int:
    """Bytes that all processes here may use together: the container's, else the machine's; 0 where nobody tells."""
    limits = []
    for path in _CONTAINER:
        try:
            limits.append(int(path.read_text()))
        except (OSError, ValueError):
            continue  # "max": no limit
    try:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        pass
    return min((limit for limit in limits if limit > 0), default=0)


def _memory() -> int:
    """Resident bytes where the platform tells them without another package; 0 elsewhere."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
