"""The last events and spans: bounded, shared with the other workers, and never in the application's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_ws
from otel_ws import faults, recent, semconv
from otel_ws.lines import render
from otel_ws.recent import PENDING, SLOT_BYTES, SLOTS, Recent, Rings, slots, text_at
from otel_ws.types import Cleared, EventRecord

ROOT = str(Path(otel_ws.__file__).parents[1])
DYING = """
import os, sys
from pathlib import Path
from otel_ws import semconv
from otel_ws.lines import render
from otel_ws.recent import Recent
from otel_ws.types import Cleared, EventRecord
kept = Recent(render)
kept.share(Path(sys.argv[1]))
kept.write(EventRecord(semconv.WS_ERROR, 10**18, Cleared({semconv.ERROR_TYPE: "KeyError"})))
kept.publish()
os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Nothing that an earlier test lost is counted here."""
    faults.reset()
    yield
    assert {} == faults.snapshot()


def event(number: int, kind: semconv.Event = semconv.WS_MESSAGE) -> EventRecord:
    """An event that can be told from others by its size."""
    return EventRecord(kind, 10**18 + number * 10**6, Cleared({semconv.SIZE: number}))


def span(number: int, **more: Any) -> dict[str, Any]:
    """What the SDK's side hands over of a span."""
    return {"span_id": f"{number:016x}", "start": float(number), **more}


@pytest.fixture
def kept(clock: Any) -> Recent:
    """Rings in memory, with a clock that stands still."""
    return Recent(render, clock)


def sizes(kept: Recent) -> list[int]:
    """Which events are there."""
    return [entry["size"] for entry in kept.events()]


def test_an_event_is_shown_as_its_line(kept: Recent) -> None:
    """What is shown of an event is what its JSON line says, with who said it."""
    kept.write(event(3))

    (shown,) = kept.events()

    assert {**json.loads(render(event(3))), "pid": os.getpid(), "key": shown["key"]} == shown


def test_the_oldest_goes_first(kept: Recent, clock: Any) -> None:
    """A ring holds its last entries, in the order of their times."""
    for number in range(SLOTS + 40):
        kept.write(event(number))
        kept.publish()

    assert list(range(40, SLOTS + 40)) == sizes(kept)


def test_a_flood_leaves_the_errors(kept: Recent) -> None:
    """Ordinary events do not wash away what went wrong."""
    kept.write(event(1, semconv.WS_ERROR))
    for number in range(3 * SLOTS):
        kept.write(event(number))
        kept.publish()

    assert ["WS_ERROR"] == [entry["event"] for entry in kept.events() if entry["level"] == "ERROR"]


def test_a_flood_of_spans_leaves_those_that_are_linked_to(kept: Recent) -> None:
    """A connect span stays while its messages pass by."""
    kept.span(lambda: span(1, name="connect /ws/"), is_notable=True)
    for number in range(2, 2 * SLOTS):
        kept.span(lambda number=number: span(number), is_notable=False)  # type: ignore[misc]
        kept.publish()

    assert f"{1:016x}" == kept.spans()[0]["span_id"]


def test_between_two_ticks_little_waits(kept: Recent) -> None:
    """What a burst leaves behind until the next tick is bounded."""
    for number in range(10 * PENDING):
        kept.write(event(number))

    assert list(range(9 * PENDING, 10 * PENDING)) == sizes(kept)


def test_who_is_never_ticked_publishes_itself(tmp_path: Path, clock: Any) -> None:
    """A process without an event loop writes its slots by and by."""
    writer, reader = Recent(render, clock), Recent(render, clock)
    for one in (writer, reader):
        one.share(tmp_path)
    writer.write(event(1))
    assert [] == sizes(reader)

    clock.now += recent.UNTICKED_SECONDS + 1
    writer.write(event(2))

    assert [1, 2] == sizes(reader)


def test_workers_read_each_other(tmp_path: Path) -> None:
    """Each of several writers shows what all of them kept."""
    workers = [Recent(render) for _ in range(3)]
    for number, worker in enumerate(workers):
        worker.share(tmp_path)
        worker.write(event(number))
        worker.publish()

    assert [[0, 1, 2]] * 3 == [sizes(worker) for worker in workers]


def test_a_killed_worker_is_still_heard(tmp_path: Path) -> None:
    """The last words of a process that was killed are there for the others."""
    subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], env={**os.environ, "PYTHONPATH": ROOT}, check=False)
    reader = Recent(render)
    reader.share(tmp_path)

    (shown,) = reader.events()

    assert ("KeyError", True) == (shown["error_type"], shown["pid"] != os.getpid())


def test_files_of_the_dead_go_in_time(tmp_path: Path) -> None:
    """A process that begins removes the old files of those that are gone, and no file of one that lives."""
    living, gone, fresh = Recent(render), Recent(render), Recent(render)
    for one in (living, gone):
        one.share(tmp_path)
        one.write(event(1))
        one.publish()
    gone.close()
    for path in tmp_path.iterdir():
        os.utime(path, (1.0, 1.0))

    fresh.share(tmp_path)
    fresh.write(event(2))
    fresh.publish()

    assert 2 == len(list(tmp_path.iterdir()))
    assert [1, 2] == sizes(fresh)


def test_a_file_that_somebody_took_is_made_anew(tmp_path: Path) -> None:
    """A cleaner of old files came by: what comes later is there for the others again."""
    writer, reader = Recent(render), Recent(render)
    for one in (writer, reader):
        one.share(tmp_path)
    writer.write(event(1))
    writer.publish()
    for path in tmp_path.iterdir():
        path.unlink()

    writer.write(event(2))
    writer.publish()

    assert [2] == sizes(reader)


def test_files_are_private(tmp_path: Path) -> None:
    """Nobody else may read what was kept."""
    kept = Recent(render)
    kept.share(tmp_path)
    kept.write(event(1))
    kept.publish()

    (path,) = tmp_path.iterdir()
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Where there is no room, a process keeps its own in memory, and that is counted."""
    kept = Recent(render)
    kept.share(tmp_path / "missing")
    kept.write(event(1))

    assert [1] == sizes(kept)
    assert {"recent": 1} == faults.snapshot()
    faults.reset()


def test_what_does_not_fit_is_left_out(kept: Recent) -> None:
    """An entry that is larger than a slot is not shown, and harms no other."""
    for number in range(SLOTS):
        kept.write(event(number))
        kept.publish()
    wide = EventRecord(semconv.WS_MESSAGE, 10**18, Cleared({semconv.HANDLER: "x" * SLOT_BYTES}))
    kept.write(wide)

    assert list(range(SLOTS)) == sizes(kept)


def test_a_slot_that_is_being_written_is_passed_over(tmp_path: Path) -> None:
    """Of a worker that was killed while it wrote, the other slots are shown."""
    writer, reader = Recent(render), Recent(render)
    for one in (writer, reader):
        one.share(tmp_path)
    for number in range(3):
        writer.write(event(number))
    writer.publish()
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        # Within the text of the second event.
        file.seek(2 * SLOT_BYTES + 40)
        file.write(b"#")

    assert [0, 2] == sizes(reader)


def test_a_failure_to_render_harms_nobody(kept: Recent) -> None:
    """What cannot be shown is counted, and the next is shown."""

    def broken() -> dict[str, Any]:
        raise KeyError("place")

    kept.span(broken, is_notable=False)
    kept.publish()
    kept.span(lambda: span(2), is_notable=False)

    assert [f"{2:016x}"] == [entry["span_id"] for entry in kept.spans()]
    assert {"recent": 1} == faults.snapshot()
    faults.reset()


def test_a_forked_child_starts_empty(tmp_path: Path) -> None:
    """What the parent kept is the parent's; the child writes a file of its own."""
    kept = Recent(render)
    kept.share(tmp_path)
    kept.write(event(1))
    kept.publish()
    kept.write(event(2))

    child = os.fork()
    if child == 0:
        kept.after_fork()
        kept.write(event(3))
        kept.publish()
        os._exit(0)
    os.waitpid(child, 0)

    assert 2 == len(list(tmp_path.iterdir()))
    assert [1, 2, 3] == sizes(kept)


def test_reading_is_cached_for_a_second(tmp_path: Path, clock: Any) -> None:
    """Many watchers cost one look a second."""
    writer, reader = Recent(render, clock), Recent(render, clock)
    for one in (writer, reader):
        one.share(tmp_path)
    assert [] == sizes(reader)
    writer.write(event(1))
    writer.publish()
    assert [] == sizes(reader)

    clock.now += recent.READ_SECONDS

    assert [1] == sizes(reader)


@given(st.lists(st.binary(max_size=SLOT_BYTES - 16), max_size=20), st.integers(0, 20), st.integers(0, 4 * SLOTS))
def test_a_reader_sees_a_whole_slot_or_none(texts: list[bytes], place: int, damaged: int) -> None:
    """A slot that is being written, or was damaged, is not read as something else."""
    buffer = bytearray(4 * SLOTS * SLOT_BYTES)
    rings = Rings(buffer)
    for text in texts:
        rings.put(1, text)
    buffer[(SLOTS + 1 + place) * SLOT_BYTES + 16] ^= damaged % 256

    seen = [text_at(buffer, number, at) for _, number, at in slots(buffer)]

    assert set(seen) <= {*texts, None}
