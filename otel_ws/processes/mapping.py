"""Memory that stays where it is while what is behind it changes: a file, or nothing but this process.

Whoever holds a view of it goes on writing through it. That is what a process needs when it begins to share its cells,
and what a forked child needs before it writes into its parent's. It refuses to know what the memory is for.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

# The same on Linux, macOS and the BSDs; Python's mmap module has no name for it, as it never maps over anything.
_MAP_FIXED: Final = 0x10
_FAILED: Final = ctypes.c_void_p(-1).value


@cache
def _system_mmap() -> Callable[..., int | None]:
    # Not a CDLL: with the interpreter's lock held, no other thread counts between the copy and the change.
    found = ctypes.PyDLL(None, use_errno=True).mmap
    found.restype = ctypes.c_void_p
    found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ssize_t]
    return found


def is_possible() -> bool:
    """Whether this platform can do it."""
    try:
        return hasattr(mmap, "MAP_SHARED") and sys.maxsize > 2**32 and bool(_system_mmap())
    except (AttributeError, OSError, TypeError):
        return False


def put_behind(view: memoryview[float], fd: int, offset: int, used: int) -> None:
    """Put a part of a file behind the view; what its first ``used`` cells hold is copied there first.

    Raises:
        OSError: it cannot be mapped; the view is what it was.
    """
    with mmap.mmap(fd, view.nbytes, offset=offset) as file, _alone(fd):
        file[: used * 8] = view[:used].cast("B")
        _replace(view, mmap.MAP_SHARED, fd, offset)


def take_away(view: memoryview[float]) -> None:
    """Put fresh memory of this process behind the view, all zero."""
    _replace(view, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)


def _replace(view: memoryview[float], flags: int, fd: int, offset: int) -> None:
    start: Any = ctypes.addressof(ctypes.c_char.from_buffer(view))
    found = _system_mmap()(start, view.nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags | _MAP_FIXED, fd, offset)
    if found == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def _alone(fd: int) -> Iterator[None]:
    """Let no other thread of this interpreter run Python meanwhile, as far as it can be asked to."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1.0)
    try:
        os.fstat(fd)  # gives way: who asked for the interpreter's lock before gets it now, and not in between
        yield
    finally:
        sys.setswitchinterval(before)
