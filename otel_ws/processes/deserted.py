"""Folders of groups that nobody belongs to any longer, and files of ports that nobody listens on.

A service that is renamed leaves a folder, and so does each release that starts in one of its own. This module
removes what the processes of a group wrote, behind the lock that everybody takes who joins, and refuses to touch a
folder in which there is anything else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import closing
from pathlib import Path
from typing import Final

from otel_ws import faults
from otel_ws.processes import ports
from otel_ws.processes.group import LOCK
from otel_ws.processes.home import PLACE
from otel_ws.processes.members import Member, UnreadableError
from otel_ws.processes.runtime import began, is_private

# A start after all have ended begins at zero anyway. But a supervisor in another container, which cannot be seen from
# here, may still start workers that go on with the counts; and for a week somebody may want to see how it ended.
KEEP_SECONDS: Final = 7 * 24 * 3600.0
# Where releases come faster than a week takes them away, the latest so many: at a third of a megabyte each, some
# twenty. What was written in the last hour stays in any case.
KEEP_FOLDERS: Final = 64
KEEP_AT_LEAST_SECONDS: Final = 3600.0
_FOLDER: Final = re.compile(r"[0-9a-f]{24}")
_FILE: Final = re.compile(
    r"[0-9a-f]{16}\.(?:making|cells|labels|live(?:\.making)?)|recent-[0-9]+-[0-9a-f]{8}\.ring|leader\.lock"
    r"|(?:group\.json|totals\.json|history\.jsonl)(?:\.making)?|several|looked"
)


def remove_deserted(base: Path, now: float) -> None:
    """Remove the folders of groups in ``base`` that nobody belongs to: the old, and the oldest where there are many.

    ``now`` is in Unix seconds. What cannot be removed is counted as a fault and stays.

    Raises:
        OSError: ``base`` cannot be read.
    """
    found: list[tuple[int, str]] = []
    with os.scandir(base) as entries:
        for one in entries:
            if ports.FILE.fullmatch(one.name):
                _remove_port(base / one.name, now)
            elif _FOLDER.fullmatch(one.name):
                try:
                    told = one.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # another process removes it
                if is_private(told):
                    # Whoever serves somebody replaces a file each second, which is a change of the folder.
                    found.append((told.st_mtime_ns, one.name))
    found.sort(reverse=True)
    for place, (changed_ns, name) in enumerate(found):
        age = now - changed_ns / 1e9
        if age > KEEP_SECONDS or (place >= KEEP_FOLDERS and age > KEEP_AT_LEAST_SECONDS):
            try:
                _remove(base / name, changed_ns)
            except (FileNotFoundError, BlockingIOError):
                continue  # another process removes it, or joins
            except OSError as exc:
                # Somebody who came in between.
                if exc.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    faults.fault(PLACE, exc)


def _remove_port(path: Path, now: float) -> None:
    try:
        if now - path.lstat().st_mtime > KEEP_SECONDS:
            ports.remove_unclaimed(path)
    except FileNotFoundError:
        return  # another process removes it
    except OSError as exc:
        faults.fault(PLACE, exc)


def _remove(folder: Path, changed_ns: int) -> None:
    """Remove a folder, unless somebody is in, or was since it was looked at.

    Raises:
        BlockingIOError: somebody comes in at this moment.
        FileNotFoundError: another process removes it.
        OSError: somebody came in before it was gone, or something in it cannot be removed.
    """
    if not any(folder.iterdir()):
        # Made by somebody who only asked.
        folder.rmdir()
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        files = sorted(one for one in folder.iterdir() if one.name != LOCK)
        if folder.stat().st_mtime_ns != changed_ns or not all(map(_is_ours, files)) or any(map(_is_in_use, files)):
            return
        # The lock last: while it is there nobody comes in, and afterwards nothing in the folder is for us to take.
        for one in (*files, folder / LOCK):
            one.unlink(missing_ok=True)
        folder.rmdir()
    finally:
        # Said, because a child that the application forks meanwhile holds the file open, too.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _is_ours(path: Path) -> bool:
    told = path.lstat()
    return bool(_FILE.fullmatch(path.name)) and stat.S_ISREG(told.st_mode) and told.st_uid == os.geteuid()


def _is_in_use(path: Path) -> bool:
    """Whether a process holds the file's lock, or one lives that would start the next to go on with these cells."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:
        return True
    finally:
        os.close(fd)
    return path.suffix == ".cells" and _has_supervisor(path)


def _has_supervisor(cells: Path) -> bool:
    try:
        with closing(Member(cells.parent, cells.stem)) as member:
            pid, started = member.parent
    except UnreadableError:
        return False
    return pid > 0 and began(pid) == started
