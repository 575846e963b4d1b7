"""Whose a port is: processes of one group listen on it together, those of another group do not.

The system gives a connection to any process that shares the port. A scrape that now one service answers and now another
sees counters that fall. So there is a small file for each port and address with the group's name in it, and who listens
holds it locked: whatever ends a process ends its claim. It refuses to know what is served there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from contextlib import closing, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from otel_ws.processes.runtime import TakenError, make_again

FILE: Final = re.compile(r"port-[0-9]{1,5}-[0-9a-f]{8}")
# Whoever takes a port over holds its file alone for microseconds.
_WAIT_SECONDS: Final = 0.05
_NETWORK: Final = Path("/proc/self/ns/net")


def claim(group: Path, port: int, address: str) -> FileIO:
    """Take a port for the group with this folder, or take part in it; until the file is closed, in every fork too.

    Raises:
        TakenError: processes of another group listen there.
        RefusedError, OSError: the file cannot be made or written.
    """
    make_again(group)
    path = group.parent / f"port-{port}-{_where(address)}"
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        file = _opened(path)
        try:
            if _is_held(file.fileno(), path, group.name.encode()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        if time.monotonic() >= deadline:
            raise TakenError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        time.sleep(0.002)


def remove_unclaimed(path: Path) -> None:
    """Remove a port's file, unless somebody listens there.

    Raises:
        OSError: it cannot be removed.
    """
    with closing(_opened(path)) as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)


def _is_held(fd: int, path: Path, group: bytes) -> bool:
    try:
        # A group of another name never locks it together with those whose it is, not even to look: two that start
        # where an old group has just ended would take each other for that one.
        if os.pread(fd, len(group) + 1, 0) != group:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, group, 0)
        # From one lock to the other is no single step, and the file may be another's, or gone, by now.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.pread(fd, len(group) + 1, 0) == group and os.path.samestat(os.fstat(fd), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _opened(path: Path) -> FileIO:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return FileIO(path, "r+", opener=lambda name, _: os.open(name, flags, 0o600))


def _where(address: str) -> str:
    """The address, in this network: containers that share a folder, and no network, share no port either."""
    try:
        network = _NETWORK.stat().st_ino
    except OSError:
        network = 0
    return hashlib.sha256(f"{address}\0{network}".encode()).hexdigest()[:8]
