"""Where the processes of one service on this host meet: a folder that nobody else can look into.

It knows what belongs together (user, service namespace, name, environment, ``OTEL_WS_GROUP``) and when a folder is
not private. It refuses to know what is kept there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote

# Memory that has a name: nothing of it is ever written to a disk, and no cleaner of old files comes by.
_MEMORY: Final = Path("/dev/shm")
LAYOUT: Final = "1"


class RefusedError(Exception):
    """No folder can be used; the text says why and what to do, without a value."""


class TakenError(OSError):
    """Processes of another group listen on the port."""


def place(runtime_dir: str, group: str, environ: Mapping[str, str], *, make: bool = True) -> Path:
    """The folder of the group that this process belongs to, made if it is not there yet and that is asked for.

    Raises:
        RefusedError: it cannot be made, or others could look into it.
        FileNotFoundError: it is not there, and was not to be made.
    """
    if not hasattr(os, "geteuid"):
        raise RefusedError("this platform has no file locks that end with their process")
    if runtime_dir:
        base = Path(runtime_dir)
    else:
        base = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    own = base / f"otel-ws-{os.geteuid()}"
    _private(own, make)
    folder = own / _name(group, environ)
    _private(folder, make)
    return folder


def make_again(folder: Path) -> None:
    """Make a group's folder anew that somebody removed.

    Raises:
        RefusedError: it cannot be made, or others could look into it.
    """
    if not folder.exists():
        own = folder.parent
        with suppress(OSError):
            own.parent.mkdir(mode=0o700)
        _private(own)
        _private(folder)


def supervisor() -> tuple[int, int]:
    """The process that starts this one and those that follow it: its id and when it began; zeros where there is none.

    A parent that runs the same Python: uvicorn's, gunicorn's, hypercorn's. A shell or an init system is none, because
    what they start next is a new start.
    """
    parent = os.getppid()
    try:
        is_one = Path("/proc/self/exe").samefile(f"/proc/{parent}/exe")
    except OSError:
        is_one = False
    started = began(parent) if is_one else 0
    return (parent, started) if started else (0, 0)


def began(pid: int) -> int:
    """When a process that is there began, in clock ticks since the machine did; 0 where nobody tells."""
    try:
        # The 22nd field, and the second is in brackets, with whatever in it.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def replace(path: Path, content: bytes) -> None:
    """Write a file anew, for its readers all at once; nobody but this user may read it.

    Raises:
        OSError: there is no room; what was there is still there.
    """
    made = path.with_name(f"{path.name}.making")
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        written = os.write(fd, content)
    finally:
        os.close(fd)
    if written < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    made.rename(path)


def _private(folder: Path, make: bool = True) -> None:
    try:
        if make:
            folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        raise RefusedError(
            f"no folder can be made in the runtime directory ({type(exc).__name__}); set OTEL_WS_RUNTIME_DIR to a "
            "folder that this user can write"
        ) from None
    try:
        found = folder.lstat()
    except FileNotFoundError:
        if not make:
            raise
        # Another process took it this moment for one that nobody belongs to.
        _private(folder)
        return
    if not is_private(found):
        raise RefusedError(
            "the folder otel-ws-<uid> in the runtime directory belongs to another user, or others may look into it; "
            "remove it, or set OTEL_WS_RUNTIME_DIR"
        )


def is_private(found: os.stat_result) -> bool:
    """Whether that is a folder, no link, which is this user's and which nobody else may look into."""
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def _name(group: str, environ: Mapping[str, str]) -> str:
    """The group's name: a hash, because the words may be anything and folder names are listed everywhere."""
    parts = (part.partition("=") for part in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    told = {key.strip(): unquote(value.strip()) for key, _, value in parts}
    service = environ.get("OTEL_SERVICE_NAME") or told.get("service.name", "")
    words = [
        # Who writes in another form is not understood.
        LAYOUT,
        told.get("service.namespace", ""),
        # Without a name, what was started in one folder is one service.
        service or str(Path.cwd()),
        told.get("deployment.environment.name", told.get("deployment.environment", "")),
        group,
    ]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
