"""This process among the others: what it does each second, and how it looks at all of them.

Holds one recorder's wiring: its cells are the group's, its verdicts are over all. Where nothing can be shared it
answers for this process alone. It refuses to know how the answers are told.
"""

from __future__ import annotations

import atexit
import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otel_ws import faults, semconv
from otel_ws.health import Reading, read
from otel_ws.ledger import Snapshot
from otel_ws.live import BY_ID_LIMIT
from otel_ws.processes import mapping, telling
from otel_ws.processes.rows import Rows
from otel_ws.processes.runtime import RefusedError, supervisor
from otel_ws.recorder import Recorder

if TYPE_CHECKING:
    from otel_ws.processes.group import Group
    from otel_ws.processes.home import SharedCells

PLACE: Final = "processes"
HISTORY: Final = "history.jsonl"
MAX_AGE: Final = 1.0
TELL_SECONDS: Final = 0.9
# How long what was told, or answered, serves where nothing newer can be had.
OLD_SECONDS: Final = 5.0
# Where it could not join: how soon it tries again, twice as late each time.
RETRY_SECONDS: Final = 5.0
SLOWEST_RETRY_SECONDS: Final = 60.0
UNREAD: Final = (
    "files in the runtime directory are damaged or gone and cannot be made anew; make room there, or end all workers, "
    "remove its folder otel-ws-<uid>, and start them again"
)


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
    """What all workers say together.

    ``at`` and ``started`` (when the first of the group began to count) are in Unix seconds; ``by_id`` has the name of
    an id as a label, its value and the open connections. ``is_shared`` is false where these are the numbers of this
    process alone; ``why`` then says why, in a sentence without a value. ``is_several``: two of them served at one time.
    """

    at: float
    started: float
    snapshot: Snapshot
    processes: tuple[Process, ...]
    is_shared: bool
    why: str = ""
    is_several: bool = False
    by_id: tuple[tuple[str, str, float], ...] = ()


def seen_by(group: Group, own: SharedCells | None = None) -> Overview:
    """What the members of a group say together, now; ``own`` are the cells of this process, if it is one of them.

    Raises:
        OSError: its files cannot be read, or this process's are gone.
    """
    if own is not None and not own.is_there():
        raise FileNotFoundError
    sums, alive = group.look()
    snapshot = sums.snapshot()
    now = time.time()
    # Who is idle tells nothing, and uses nothing.
    told = [
        one if abs(now - one.at) <= OLD_SECONDS else replace(one, cpu=0.0) for one in (member.told for member in alive)
    ]
    users, dual = telling.count_users([one.users for one in told])
    snapshot.values[semconv.ACTIVE_USERS] = {(): float(users)}
    snapshot.values[semconv.DUAL_USERS] = {(): float(dual)}
    share = sum(one.cpu for one in told) / (os.cpu_count() or 1)
    snapshot.values[semconv.PROCESS_CPU] = {(): min(1.0, share)}
    found = [
        Process(member.pid, member.role, member.started, member.active, one.cpu, one.memory)
        for member, one in zip(alive, told, strict=True)
    ]
    found.sort(key=lambda one: (one.started, one.pid))
    return Overview(
        now, group.started, snapshot, tuple(found), is_shared=True, is_several=group.is_several,
        by_id=tuple(telling.count_ids([one.by_id for one in told], BY_ID_LIMIT)),
    )  # fmt: skip


class Membership:
    """One recorder's process, in its group or alone."""

    def __init__(self, recorder: Recorder, role: str, why: str = "", place: Callable[[], Path] | None = None) -> None:
        self._recorder = recorder
        self._role = role
        self.why = why
        self._place = place
        self._pause = RETRY_SECONDS
        self._retry_at = 0.0
        self._group: Group | None = None
        self._home: SharedCells | None = None
        self.rows = Rows(None)
        self.started = recorder.ledger.started_ns / 1e9
        # Looking tells, and telling may join again, which looks anew.
        self._telling, self._looking = threading.Lock(), threading.RLock()
        self._told_at = 0.0
        self._kept: Overview | None = None
        self._kept_at = self._stamp = self._seen_at = 0.0

    def wire(self) -> None:
        """From now on this process's verdicts and totals are those of all."""
        recorder = self._recorder
        recorder.on_pulse.append(self.pulse)
        recorder.on_idle.append(self.idle)
        recorder.on_close.append(self.end)
        atexit.register(self.idle)
        recorder.merged = self.merged
        recorder.is_leader = self.is_leader
        self._retry_at = time.monotonic() + self._pause
        recorder.watch.begin(self.reading, self.since(0.0))

    def since(self, at: float) -> tuple[Reading, ...]:
        """The rows from then on, oldest first; none where this process answers for itself, and they are of all."""
        with self._looking:
            return () if self._is_cut_off() else self.rows.since(at)

    def enter(self) -> None:
        """Become one of the group, if that can be; if not, ``why`` says why, and it is tried again later.

        Raises:
            TimeoutError: a neighbour that was stopped at the door holds everybody up.
        """
        assert self._place is not None
        try:
            self.join(self._place())
            self.why = ""
            return
        except TimeoutError:
            raise
        except RefusedError as exc:
            self.why = str(exc)
        except Exception as exc:
            self.why = f"the runtime directory cannot be used ({type(exc).__name__}); see OTEL_WS_RUNTIME_DIR"
        faults.warn_once(PLACE, f"otel-ws: every worker answers with its own numbers only: {self.why}.")
        faults.fault(PLACE, OSError())

    def _enter_late(self) -> None:
        """There was no room, say: there may be by now."""
        now = time.monotonic()
        if self._place is None or now < self._retry_at:
            return
        self._pause = min(2 * self._pause, SLOWEST_RETRY_SECONDS)
        self._retry_at = now + self._pause
        with self._looking:
            self.enter()
            if self._home is not None:
                self._kept = None
                # What this process had alone and what all have are two different counts.
                self._recorder.watch.begin(self.reading, self.since(0.0))

    def join(self, folder: Path) -> None:
        """Become one of the group that has this folder.

        Raises:
            OSError: it cannot; the process is alone as before.
        """
        if not mapping.is_possible():
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        # Here, because a platform without file locks can import none of it.
        from otel_ws.processes.group import Group

        group = Group(folder)
        self._home = group.join(self._recorder.ledger, self._role, self.started, supervisor())
        self._group = group
        self._recorder.live.salt(group.salt)
        self.rows = Rows(group.folder / HISTORY)
        if self._recorder.recent is not None:
            self._recorder.recent.share(group.folder)
        self.tell()

    @property
    def group(self) -> Group | None:
        """The group, if there is one."""
        return self._group

    # --- by the clock -----------------------------------------------------------------------------------
    def pulse(self) -> None:
        """Tell how this process is; the leader writes a row, and adds up what the ended left."""
        now = time.time()
        self.tell()
        if not self.is_leader():
            return
        with self._looking:
            is_due = self.rows.is_due(now)
        if not is_due:
            return
        reading = self.reading()
        with self._looking:
            if self._is_cut_off():
                return
            self.rows.add(reading)
            if self._group is not None:
                self._group.add_up()

    def idle(self) -> None:
        """Nobody is connected any longer: another process, which has something to do, may lead."""
        self._told_at = 0.0
        self.tell()
        if self._group is not None:
            self._group.resign()

    def tell(self) -> None:
        """Tell the others how this process is, unless it has just been told."""
        if (self._home is None and self._place is None) or not self._telling.acquire(blocking=False):
            return
        try:
            if self._home is None:
                self._enter_late()
            if self._home is not None and time.monotonic() - self._told_at >= TELL_SECONDS:
                self._told_at = time.monotonic()
                if not self._home.is_there():
                    self._join_again()
                assert self._group is not None
                self._group.settle()
                self._recorder.live.salt(self._group.salt)
                self._home.publish(telling.tell(self._recorder))
        except Exception as exc:
            # Told again with the next second.
            faults.fault(PLACE, exc)
        finally:
            self._telling.release()

    def _join_again(self) -> None:
        """A cleaner of old files came by: the files are made anew, with all counts."""
        assert self._group is not None
        assert self._home is not None
        gone = self._home
        with self._looking:
            self._home = self._group.join(self._recorder.ledger, self._role, self.started, supervisor(), gone)
        gone.forget()
        if self._recorder.recent is not None:
            self._recorder.recent.share(self._group.folder)

    def is_leader(self) -> bool:
        """Whether it leads; alone it does."""
        if self._group is None:
            return True
        try:
            return self._group.is_leader()
        except OSError as exc:
            faults.fault(PLACE, exc)
            return False

    # --- looking ----------------------------------------------------------------------------------------
    def reading(self) -> Reading:
        """A reading of all numbers; its share of CPU is that of the busiest process."""
        seen = self.overview()
        return read(seen.snapshot, seen.at, max((one.cpu for one in seen.processes), default=0.0))

    def merged(self) -> Snapshot:
        """All numbers."""
        return self.overview().snapshot

    def overview(self, max_age: float = MAX_AGE) -> Overview:
        """What all say; the answer before, if it is not older and no other process has answered since."""
        with self._looking:
            now = time.monotonic()
            if self._kept is not None and now - self._kept_at < max_age and self._is_latest():
                return self._kept
            before = self._kept
            self._kept = self._look()
            self._kept_at = now
            if before is not None and before.is_shared != self._kept.is_shared:
                # Its own numbers and those of all are two different counts: no verdict compares them.
                first = read(self._kept.snapshot, self._kept.at)
                self._recorder.watch.begin(self.reading, (first,))
            if self._group is not None:
                # Whoever answered while this one looked may have seen what this one did not: not to be kept then.
                is_alone = self._group.looked_at <= now
                self._group.looked_at = time.monotonic()
                self._stamp = self._group.looked_at if is_alone else -1.0
            return self._kept

    def _is_cut_off(self) -> bool:
        return self._group is not None and self._kept is not None and not self._kept.is_shared

    def _is_latest(self) -> bool:
        return self._group is None or self._group.looked_at == self._stamp

    def _look(self) -> Overview:
        self.tell()
        if self._group is None or self._home is None:
            return self._alone(self.why)
        try:
            seen = seen_by(self._group, self._home)
        except Exception as exc:
            faults.fault(PLACE, exc)
            if self._kept is not None and self._kept.is_shared and time.monotonic() - self._seen_at < OLD_SECONDS:
                # A little old: this process's own numbers would be less than what was answered before.
                return self._kept
            faults.warn_once("processes.unread", f"otel-ws: every worker answers with its own numbers only: {UNREAD}.")
            return self._alone(UNREAD)
        self._seen_at = time.monotonic()
        return seen

    def _alone(self, why: str) -> Overview:
        snapshot = self._recorder.snapshot()
        memory = snapshot.total(semconv.PROCESS_MEMORY)
        one = Process(
            os.getpid(), self._role, self.started, snapshot.total(semconv.ACTIVE), self._recorder.live.cpu(), memory
        )
        return Overview(
            time.time(), self.started, snapshot, (one,), is_shared=False, why=why,
            by_id=tuple(self._recorder.by_id()),
        )  # fmt: skip

    # --- the end ----------------------------------------------------------------------------------------
    def end(self) -> None:
        """The recorder stops: what it counted stays, as that of a process that ended."""
        self.idle()
        atexit.unregister(self.idle)
        if self._group is not None:
            self._group.leave()
        if self._home is not None:
            self._home.forget()
        self._group = self._home = self._place = None

    def is_of(self, recorder: Recorder) -> bool:
        """Whether it is this recorder's."""
        return self._recorder is recorder

    def after_fork(self) -> None:
        """In a forked child: all of this is the parent's."""
        recorder = self._recorder
        for calls, call in (
            (recorder.on_pulse, self.pulse), (recorder.on_idle, self.idle), (recorder.on_close, self.end),
        ):  # fmt: skip
            with suppress(ValueError):
                calls.remove(call)
        atexit.unregister(self.idle)
        recorder.merged = recorder.snapshot
        if self._group is not None:
            with suppress(OSError):
                self._group.leave()
        self._group = self._home = self._place = None
