"""Memory that stays where it is while what is behind it changes."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ws.processes import mapping

pytestmark = pytest.mark.skipif(not mapping.is_possible(), reason="this platform cannot map over memory")
SIZE = 1 << 16


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file with room for the cells."""
    fd = os.open(tmp_path / "cells", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, 4096 + SIZE)
    yield fd
    os.close(fd)


def cells() -> memoryview[float]:
    """Memory as the ledger makes it."""
    return memoryview(mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)).cast("d")


def in_file(fd: int, place: int) -> float:
    """A cell, as another process would read it."""
    (value,) = struct.unpack("d", os.pread(fd, 8, 4096 + place * 8))
    return float(value)


def test_what_a_view_held_is_in_the_file(file: int) -> None:
    """Counts from before the sharing are shared."""
    view = cells()
    view[5] = 3.0

    mapping.put_behind(view, file, 4096, 16)

    assert (3.0, 3.0) == (view[5], in_file(file, 5))


def test_an_older_view_writes_into_the_file(file: int) -> None:
    """Whoever holds the cells since before goes on through the same view."""
    view = cells()
    held = view[:8]

    mapping.put_behind(view, file, 4096, 16)
    held[2] += 4.0

    assert 4.0 == in_file(file, 2)


def test_fresh_memory_is_zero_and_not_the_file(file: int) -> None:
    """What is taken away writes nowhere but here."""
    view = cells()
    mapping.put_behind(view, file, 4096, 16)
    view[1] = 7.0

    mapping.take_away(view)
    view[2] = 1.0

    assert (0.0, 1.0) == (view[1], view[2])
    assert (7.0, 0.0) == (in_file(file, 1), in_file(file, 2))


def test_a_view_that_cannot_be_mapped_is_what_it_was(file: int) -> None:
    """A place that no page begins at is refused, and nothing is lost."""
    view = cells()
    view[0] = 2.0

    with pytest.raises((OSError, ValueError)):
        mapping.put_behind(view, file, 100, 16)

    assert 2.0 == view[0]
