"""The group: who is in, what is left of those that ended, and who speaks for all.

One folder; a lock that is held for moments while somebody joins or the ended are added up, and one that the leader
holds for as long as it leads. A new group begins where no member is alive, and no supervisor of one. It refuses to
know what is counted.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from otel_ws import faults
from otel_ws.ledger import Ledger
from otel_ws.processes.home import PLACE, SharedCells
from otel_ws.processes.members import Member, UnreadableError
from otel_ws.processes.runtime import make_again, replace
from otel_ws.processes.sums import Sums, number

TOTALS: Final = "totals.json"
LOCK: Final = "group.lock"
# Neighbours hold the lock for milliseconds, and messages may wait meanwhile: who gets it not tries again later.
_WAIT_SECONDS: Final = 0.05
_SEVERAL: Final = "several"
_NO_FAULT_OF_THE_FILE: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Group:
    """One group of processes, seen from one that joins it. Not thread-safe but for ``is_leader`` and ``looked_at``.

    Raises:
        OSError: its files cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = 0.0
        self.salt = b""
        self._leading = -1
        self._members: dict[str, Member] = {}
        self._skipped: set[str] = set()
        self._totals: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})
        self._clock: memoryview[float] | None = None

    # --- joining ----------------------------------------------------------------------------------------
    def join(
        self,
        ledger: Ledger,
        role: str,
        started: float,
        parent: tuple[int, int] = (0, 0),
        gone: SharedCells | None = None,
    ) -> SharedCells:
        """Put the ledger's cells among those of the others; the ended are added up on the way.

        Where none of the others is alive, but the same supervisor started them, they were all recycled at one time.
        ``gone`` is where the cells were before, and somebody took files of it.
        """
        with _Locked(self.folder / LOCK):
            if gone is not None:
                gone.vanish()
            found = self._found()
            # Who was in before goes on: what it misses was taken by a cleaner, and is no other group's end.
            if not self.salt and not any(
                member.is_alive() or (any(parent) and member.parent == parent) for member in found
            ):
                self._begin()
            self.settle(started)
            self._clock = self._shared_clock()
            own = SharedCells(self.folder, role, started, parent)
            try:
                ledger.move(own)
            except BaseException:
                own.forget()
                raise
            own.show()
            if any(member.is_alive() for member in self._found() if member.id != own.id):
                (self.folder / _SEVERAL).touch(0o600)
            self._add_up()
        return own

    def learn(self) -> None:
        """Read when the group began, and its salt.

        Raises:
            FileNotFoundError: there has never been a group.
            ValueError, KeyError, TypeError: it is not written there.
        """
        known = json.loads((self.folder / "group.json").read_bytes())
        self.started, self.salt = number(known["started"]), bytes.fromhex(known["salt"])

    @property
    def is_several(self) -> bool:
        """Whether two of its processes ever served at the same time."""
        return (self.folder / _SEVERAL).exists()

    def settle(self, started: float = 0.0) -> None:
        """Know when the group began, and its salt; where that is not there any longer, write down what is known.

        Raises:
            OSError: it cannot be written.
        """
        try:
            self.learn()
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.started, self.salt = self.started or started, self.salt or secrets.token_bytes(32)
            told = {"started": self.started, "salt": self.salt.hex()}
            replace(self.folder / "group.json", json.dumps(told).encode())

    def _begin(self) -> None:
        self._let_go()
        for one in self.folder.iterdir():
            if one.name != LOCK and not one.is_dir():
                with suppress(OSError):
                    one.unlink()
        self._totals = (0, 0), {}

    def _shared_clock(self) -> memoryview[float]:
        fd = os.open(self.folder / "looked", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(fd).st_size < 8:
                os.pwrite(fd, bytes(8), 0)
            return memoryview(mmap.mmap(fd, 8)).cast("d")
        finally:
            os.close(fd)

    # --- reading ----------------------------------------------------------------------------------------
    def look(self) -> tuple[Sums, list[Member]]:
        """What all of them counted, and those that live. What is damaged is left out."""
        for _ in range(10):
            before = self._kept()
            sums, alive = Sums(), []
            sums.add_dumped(before[1])
            damaged: dict[str, Exception] = {}
            for member in self._found(frozenset(before[1].get("added", ()))):
                try:
                    member.add_to(sums)
                except (FileNotFoundError, UnreadableError) as exc:
                    damaged[member.id] = exc
                if member.is_alive():
                    alive.append(member)
            # If not, it was added up meanwhile, and is not damaged.
            if self._identity() == before[0]:
                for name, reason in damaged.items():
                    self._skip(name, reason)
                return sums, alive
        raise TimeoutError

    def _skip(self, name: str, exc: Exception) -> None:
        if name not in self._skipped:
            self._skipped.add(name)
            faults.fault(PLACE, exc)

    @property
    def looked_at(self) -> float:
        """When a member last looked at all numbers, on the clock that all processes of a host share."""
        return 0.0 if self._clock is None else self._clock[0]

    @looked_at.setter
    def looked_at(self, now: float) -> None:
        if self._clock is not None:
            self._clock[0] = max(now, self._clock[0])

    def _found(self, without: frozenset[str] = frozenset()) -> list[Member]:
        names = {one.name[:-6] for one in self.folder.iterdir() if one.name.endswith(".cells")} - without
        for gone in self._members.keys() - names:
            self._members.pop(gone).close()
        for name in names - self._members.keys():
            try:
                self._members[name] = Member(self.folder, name)
            except FileNotFoundError:
                continue  # added up meanwhile
            except UnreadableError as exc:
                self._skip(name, exc)
            except OSError as exc:
                if exc.errno in _NO_FAULT_OF_THE_FILE:
                    raise
                self._skip(name, exc)
        return list(self._members.values())

    def _identity(self) -> tuple[int, int]:
        try:
            found = (self.folder / TOTALS).stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _kept(self) -> tuple[tuple[int, int], dict[str, Any]]:
        if self._totals[0] != self._identity():
            try:
                with (self.folder / TOTALS).open("rb") as totals:
                    found = os.fstat(totals.fileno())
                    identity = found.st_ino, found.st_mtime_ns
                    try:
                        self._totals = identity, _checked(json.load(totals))
                    except (ValueError, TypeError, AttributeError) as exc:
                        self._skip(f"{TOTALS} {identity}", exc)
                        self._totals = identity, self._totals[1]
            except FileNotFoundError:
                # Nobody removes it while a member lives, but a cleaner of old files: what it said is still true.
                self._totals = (0, 0), self._totals[1]
        return self._totals

    # --- those that ended -------------------------------------------------------------------------------
    def add_up(self) -> None:
        """Add what the ended counted to the totals, and remove their files."""
        if any(not member.is_alive() and member.id not in self._skipped for member in self._found()):
            with _Locked(self.folder / LOCK):
                self._add_up()

    def _add_up(self) -> None:
        kept = self._kept()[1]
        # Whoever is killed between the two steps leaves files that are added already: they are known by name.
        added = set(kept.get("added", ()))
        ended = [member for member in self._found() if not member.is_alive()]
        if not ended and (not kept or self._identity() != (0, 0)):
            return
        sums = Sums()
        sums.add_dumped(kept)
        for member in tuple(ended):
            if member.id not in added:
                try:
                    member.add_to(sums)
                except (FileNotFoundError, UnreadableError) as exc:
                    # It stays where it is until a new group begins.
                    self._skip(member.id, exc)
                    ended.remove(member)
        told = {"added": [member.id for member in ended], **sums.dumped()}
        replace(self.folder / TOTALS, json.dumps(told).encode())
        for member in ended:
            for one in self.folder.glob(f"{member.id}.*"):
                one.unlink(missing_ok=True)
        self._found()

    # --- the leader -------------------------------------------------------------------------------------
    def is_leader(self) -> bool:
        """Whether this process leads; where nobody does, it does from now on."""
        if self._leading >= 0:
            if os.fstat(self._leading).st_nlink > 0:
                return True
            # A cleaner took it, and another process may have made and locked a new one.
            self.resign()
        fd = os.open(self.folder / "leader.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._leading = fd
        return True

    def resign(self) -> None:
        """Let another process lead: this one has nothing to do."""
        fd, self._leading = self._leading, -1
        if fd >= 0:
            os.close(fd)

    def leave(self) -> None:
        """Let go of everything; in a forked child the parent keeps its own."""
        self.resign()
        self._let_go()

    def _let_go(self) -> None:
        while self._members:
            self._members.popitem()[1].close()


def _checked(totals: Any) -> dict[str, Any]:
    Sums().add_dumped(totals)
    if not all(isinstance(name, str) for name in totals.get("added", ())):
        raise ValueError
    return dict(totals)


class _Locked:
    """The group's lock, waited for a moment only. Where the folder was removed meanwhile it is made anew.

    Raises:
        TimeoutError: a process holds it that was stopped meanwhile.
        RefusedError, OSError: there is no folder, and none can be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._is_held():
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(0.002)

    def _is_held(self) -> bool:
        make_again(self._path.parent)
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lock that was removed before it was free is no longer the one that others take.
            if os.path.samestat(os.fstat(self._fd), self._path.lstat()):
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(self._fd)
            raise
        os.close(self._fd)
        return False

    def __exit__(self, *exc: object) -> None:
        # Said, because a child that the application forks meanwhile holds the file open, too.
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
