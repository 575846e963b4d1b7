"""JSON lines: one object a line, one write a line, into a file that may be moved away at any time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surroundings import bare_environment

import otel_ws
from otel_ws import faults, lines, semconv
from otel_ws.lines import Lines, render
from otel_ws.policy import Policy
from otel_ws.semconv import Attribute, Event
from otel_ws.types import Cleared, EventRecord, Value

ROOT = str(Path(otel_ws.__file__).parents[1])
# 2026-01-02T03:04:05.678901234Z
MOMENT_NS = 1_767_323_045_678_901_234


def record(values: dict[Attribute, Value] | None = None, event: Event = semconv.WS_MESSAGE, **more: Any) -> EventRecord:
    """One event with these values."""
    return EventRecord(event, MOMENT_NS, Cleared(values or {}), **more)


def line(
    values: dict[Attribute, Value] | None = None, event: Event = semconv.WS_MESSAGE, **more: Any
) -> dict[str, Any]:
    """The same, as the object that is written."""
    rendered: dict[str, Any] = json.loads(render(record(values, event, **more)))
    return rendered


def numbered(number: int) -> EventRecord:
    """An event that can be told from others by its count."""
    return record({semconv.COUNT: number}, semconv.WS_BROADCAST_FAIL)


def counts(text: str) -> list[int]:
    """The counts of such events in a file, in order; every line must be an object."""
    return [json.loads(one)["count"] for one in text.splitlines()]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Nothing that an earlier test lost is counted here."""
    faults.reset()
    yield
    faults.reset()


@pytest.fixture
def opened() -> Iterator[Callable[[object], Lines]]:
    """Writers that are closed when the test ends."""
    made: list[Lines] = []

    def make(target: object) -> Lines:
        made.append(Lines(str(target)))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- one event --------------------------------------------------------------------------------------------------
def test_a_line_says_what_every_line_says() -> None:
    """Each line has time, level, event, its fixed sentence, the trace's ids and the four ids."""
    expected = {
        "timestamp": "2026-01-02T03:04:05.678Z",
        "level": "INFO",
        "event": "WS_MESSAGE",
        "message": "Message handled.",
        "trace_id": None,
        "span_id": None,
        "user_id": None,
        "tournament_id": None,
        "match_id": None,
        "connection_id": None,
    }

    written = line()

    assert expected == written


@pytest.mark.parametrize("event", semconv.EVENTS, ids=lambda one: one.name)
def test_a_lines_level_is_its_events(event: Event) -> None:
    """The level is spelled as operators query for it."""
    written = line(event=event)

    assert {"INFO", "WARNING", "ERROR"} >= {written["level"]}
    assert event.level.name == written["level"]


def test_trace_and_span_ids_are_hexadecimal() -> None:
    """The ids of trace and span are spelled as backends search for them, with leading zeros."""
    written = line(trace_id=0xABC, span_id=0xDEF)

    assert ("0" * 29 + "abc", "0" * 13 + "def") == (written["trace_id"], written["span_id"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1234", 1234),
        ("0", 0),
        ("9999999999999999999", 9999999999999999999),
        ("0042", "0042"),
        ("00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000007"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ],
)
def test_an_id_is_a_number_where_it_is_one(value: str, expected: object) -> None:
    """An id that is a number is written as one; one that would change by that stays a text."""
    written = line({semconv.USER_ID: value})

    assert expected == written["user_id"]
    assert type(expected) is type(written["user_id"])


@pytest.mark.parametrize(
    "attribute", [semconv.DURATION, semconv.SETUP_DURATION, semconv.RETRY_AFTER], ids=lambda one: one.key
)
def test_durations_are_milliseconds(attribute: Attribute) -> None:
    """Seconds are written as milliseconds, to the microsecond, under names that say so."""
    written = line({attribute: 0.0123456})

    assert str(attribute.field).endswith("_ms")
    assert 12.346 == written[str(attribute.field)]


@pytest.mark.parametrize(
    "attribute", [one for one in semconv.ATTRIBUTES if str(one.field).endswith("_ms")], ids=lambda one: one.key
)
def test_every_field_that_says_milliseconds_is_in_milliseconds(attribute: Attribute) -> None:
    """No field whose name ends in ``_ms`` holds seconds."""
    written = line({attribute: 2})

    assert 2000 == written[str(attribute.field)]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [(semconv.SIZE, 12), (semconv.CLOSE_CODE, 1000), (semconv.DUAL, True), (semconv.ROLE, "player")],
    ids=lambda one: one.key if isinstance(one, Attribute) else "",
)
def test_other_values_are_written_as_they_are(attribute: Attribute, value: Value) -> None:
    """Numbers, flags and texts keep their type."""
    written = line({attribute: value})

    assert value == written[str(attribute.field)]
    assert type(value) is type(written[str(attribute.field)])


def test_a_declared_id_is_written_under_its_name() -> None:
    """An id that the application declared is a field of its own."""
    policy = Policy()
    policy.declare_id("order.id")

    written = line({policy.ids["order_id"]: "7"})

    assert 7 == written["order_id"]


@given(text=st.text(st.characters(exclude_categories=())))
def test_a_value_never_breaks_the_line(text: str) -> None:
    """Whatever a text holds, the event is one line of ASCII and reads back."""
    rendered = render(record({semconv.ROLE: text}))

    assert rendered.isascii()
    assert 1 == len(rendered.splitlines())
    assert text == json.loads(rendered)["role"]


def test_a_line_has_no_blanks_between_its_fields() -> None:
    """Lines are compact, as LogQL's line filters expect them."""
    rendered = render(record({semconv.USER_ID: "1234"}, semconv.WS_AUTH_FAIL))

    assert '"level":"WARNING","event":"WS_AUTH_FAIL"' in rendered
    assert '"user_id":1234' in rendered


# --- a file -----------------------------------------------------------------------------------------------------
def test_each_event_is_a_line(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """Events are written in order, one JSON object a line, with a line break after the last."""
    path = tmp_path / "events.jsonl"
    writer = opened(path)

    for number in range(100):
        writer.write(numbered(number))
    writer.flush()

    text = path.read_text()
    assert list(range(100)) == counts(text)
    assert text.endswith("}\n")


def test_lines_are_added_to_a_file_that_is_there(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """What an earlier process wrote stays."""
    path = tmp_path / "events.jsonl"
    path.write_text('{"count":-1}\n')
    writer = opened(path)

    writer.write(numbered(0))
    writer.flush()

    assert [-1, 0] == counts(path.read_text())


def test_the_file_is_not_made_before_there_is_an_event(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """A writer that has nothing to write leaves no file and starts no thread."""
    before = threading.active_count()

    opened(tmp_path / "events.jsonl").flush()

    assert [] == list(tmp_path.iterdir())
    assert before == threading.active_count()


def test_others_may_not_read_the_file(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """The file holds ids: it is for its owner and group."""
    path = tmp_path / "events.jsonl"
    writer = opened(path)

    writer.write(numbered(0))
    writer.flush()

    assert 0 == path.stat().st_mode & 0o137


def test_each_line_is_one_write(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line is handed to the system whole and alone, so that lines of several processes do not mix."""
    written: list[bytes] = []
    queued = threading.Event()
    real = os.write

    def write(file: int, data: bytes) -> int:
        # The first write waits, so that the other lines are queued together behind it.
        queued.wait(5)
        written.append(bytes(data))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    writer = opened(tmp_path / "events.jsonl")

    for number in range(20):
        writer.write(numbered(number))
    queued.set()
    writer.flush()

    assert [render(numbered(number)).encode() + b"\n" for number in range(20)] == written


def test_a_write_that_the_system_cut_short_is_finished(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system takes a part of a line, the rest follows."""
    path = tmp_path / "events.jsonl"
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    writer = opened(path)

    for number in range(3):
        writer.write(numbered(number))
    writer.flush()

    assert [0, 1, 2] == counts(path.read_text())


def test_the_file_is_opened_for_appending(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """Two writers on one file, as in two processes, do not write over each other's lines."""
    path = tmp_path / "events.jsonl"
    first, second = opened(path), opened(path)

    for number in range(0, 20, 2):
        first.write(numbered(number))
        first.flush()
        second.write(numbered(number + 1))
        second.flush()

    assert list(range(20)) == counts(path.read_text())


def test_threads_write_whole_lines(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """Eight threads that write at once lose no line and break none."""
    path = tmp_path / "events.jsonl"
    writer = opened(path)

    def work(first: int) -> None:
        for number in range(first, first + 100):
            writer.write(numbered(number))

    threads = [threading.Thread(target=work, args=(which * 100,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()

    assert list(range(800)) == sorted(counts(path.read_text()))


def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """What was handed over before the end is in the file after it."""
    path = tmp_path / "events.jsonl"
    writer = Lines(str(path))
    for number in range(500):
        writer.write(numbered(number))

    writer.close()

    assert list(range(500)) == counts(path.read_text())


def test_closing_leaves_neither_a_thread_nor_an_open_file(tmp_path: Path) -> None:
    """After the end, the thread is gone and the file is closed."""
    before = threading.active_count()
    writer = Lines(str(tmp_path / "events.jsonl"))
    writer.write(numbered(0))

    writer.close()

    assert before == threading.active_count()
    assert -1 == writer._file


def test_closing_twice_is_no_error(tmp_path: Path) -> None:
    """A second end does nothing."""
    writer = Lines(str(tmp_path / "events.jsonl"))
    writer.write(numbered(0))

    writer.close()
    writer.close()

    assert {} == faults.snapshot()


# --- rotation ---------------------------------------------------------------------------------------------------
def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """After log rotation by renaming, lines go to a new file of the old name."""
    path, moved = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    writer = opened(path)
    writer.write(numbered(0))
    writer.flush()

    path.rename(moved)
    writer.write(numbered(1))
    writer.flush()

    assert ([0], [1]) == (counts(moved.read_text()), counts(path.read_text()))


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """After rotation that made the new file itself, lines go to that file."""
    path, moved = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    writer = opened(path)
    writer.write(numbered(0))
    writer.flush()

    path.rename(moved)
    path.touch()
    writer.write(numbered(1))
    writer.flush()

    assert ([0], [1]) == (counts(moved.read_text()), counts(path.read_text()))


def test_a_file_that_was_emptied_goes_on_at_its_beginning(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """After rotation by copying and truncating, there is no hole at the beginning of the file."""
    path = tmp_path / "events.jsonl"
    writer = opened(path)
    writer.write(numbered(0))
    writer.flush()

    os.truncate(path, 0)
    writer.write(numbered(1))
    writer.flush()

    assert [1] == counts(path.read_text())


def test_the_process_id_takes_the_place_of_its_name(tmp_path: Path, opened: Callable[[object], Lines]) -> None:
    """``{pid}`` in the path is the number of the process."""
    writer = opened(tmp_path / "events-{pid}.jsonl")

    writer.write(numbered(0))
    writer.flush()

    assert [f"events-{os.getpid()}.jsonl"] == [one.name for one in tmp_path.iterdir()]


def test_a_process_own_file_is_rotated_by_size(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that only this process writes is moved to ``.1`` when it is big enough, and begun anew."""
    monkeypatch.setattr(lines, "ROTATE_BYTES", 3 * len(render(numbered(0)) + "\n"))
    path = tmp_path / f"events-{os.getpid()}.jsonl"
    writer = opened(tmp_path / "events-{pid}.jsonl")

    for number in range(5):
        writer.write(numbered(number))
        writer.flush()

    assert [0, 1, 2] == counts(path.with_name(path.name + ".1").read_text())
    assert [3, 4] == counts(path.read_text())


def test_rotation_keeps_one_old_file(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is written, there are two files: the disk does not fill up."""
    monkeypatch.setattr(lines, "ROTATE_BYTES", 1)
    writer = opened(tmp_path / "events-{pid}.jsonl")

    for number in range(6):
        writer.write(numbered(number))
        writer.flush()

    assert 2 == len(list(tmp_path.iterdir()))
    assert [4, 5] == sorted(count for one in tmp_path.iterdir() for count in counts(one.read_text()))


def test_a_shared_file_is_not_rotated_by_us(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that other processes may write is left to whoever rotates it."""
    monkeypatch.setattr(lines, "ROTATE_BYTES", 1)
    path = tmp_path / "events.jsonl"
    writer = opened(path)

    for number in range(3):
        writer.write(numbered(number))
        writer.flush()

    assert [path] == list(tmp_path.iterdir())
    assert [0, 1, 2] == counts(path.read_text())


def test_a_file_is_rotated_at_64_mebibytes() -> None:
    """The documented size is the one in use."""
    size = lines.ROTATE_BYTES

    assert 64 * 1024 * 1024 == size


# --- trouble ----------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_full_queue_drops_and_counts(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk stands still, lines beyond the limit are dropped and counted; the others are written."""
    monkeypatch.setattr(lines, "QUEUE_LIMIT", 5)
    path = tmp_path / "slow"
    os.mkfifo(path)
    writer = opened(path)

    # Nobody reads: the background thread stands still with what it took, and the queue fills.
    for number in range(50):
        writer.write(numbered(number))

    with os.fdopen(os.open(path, os.O_RDONLY), "r") as reader:
        writer.close()
        written = counts(reader.read())
    dropped = faults.snapshot()["lines_queue_full"]
    assert 50 == len(written) + dropped
    assert 5 <= len(written) <= 10
    assert list(range(5)) == written[:5]


def test_a_full_queue_does_not_wait() -> None:
    """The limit of the queue is the documented one."""
    limit = lines.QUEUE_LIMIT

    assert 10_000 == limit


def test_a_disk_that_refuses_is_counted_and_the_next_line_is_tried(
    tmp_path: Path, opened: Callable[[object], Lines]
) -> None:
    """A folder that went away loses lines, counted and without an exception; when it is back, so are the lines."""
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = opened(folder / "events.jsonl")
    writer.write(numbered(0))
    writer.flush()
    (folder / "events.jsonl").unlink()
    folder.rmdir()
    writer.write(numbered(1))
    writer.flush()

    folder.mkdir()
    writer.write(numbered(2))
    writer.flush()

    assert {"lines": 1} == faults.snapshot()
    assert [2] == counts((folder / "events.jsonl").read_text())


def test_every_line_that_a_disk_refused_is_counted(
    tmp_path: Path, opened: Callable[[object], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that were queued together and could not be written count one each, not one for all of them."""
    ready = threading.Event()
    real = os.write

    def write(file: int, data: bytes) -> int:
        if data.startswith(b'{"timestamp"'):
            ready.wait(5)
            raise OSError
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    writer = opened(tmp_path / "events.jsonl")

    for number in range(10):
        writer.write(numbered(number))
    ready.set()
    writer.flush()

    assert 10 == sum(faults.snapshot().values())


# --- processes --------------------------------------------------------------------------------------------------
PRELUDE = """
import os, sys
from otel_ws import recorder, semconv
from otel_ws.lines import Lines
from otel_ws.settings import Settings
from otel_ws.types import Cleared, EventRecord

def numbered(number):
    return EventRecord(semconv.WS_BROADCAST_FAIL, 0, Cleared({semconv.COUNT: number}))
"""
MANY = (
    PRELUDE
    + """
writer = Lines(sys.argv[1])
first = int(sys.argv[2])
sys.stdin.readline()
for number in range(first, first + 2000):
    writer.write(numbered(number))
    if number % 50 == 0:
        writer.flush()
writer.close()
"""
)
STDOUT = (
    PRELUDE
    + """
writer = Lines("stdout")
for number in range(3):
    writer.write(numbered(number))
writer.close()
"""
)
FORK = (
    PRELUDE
    + """
active = recorder.install(Settings(json_log=sys.argv[1]))
(_, writer) = active.writers
children = []
for number in range(0, 40, 2):
    writer.write(numbered(number))
    child = os.fork()
    if child == 0:
        writer.write(numbered(number + 1))
        writer.close()
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
writer.close()
"""
)
ENDS = (
    PRELUDE
    + """
active = recorder.install(Settings(json_log=sys.argv[1]))
for number in range(200):
    active.writers[1].write(numbered(number))
"""
)


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A fresh Python that runs the script."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)],
        env={**bare_environment(), "PYTHONPATH": ROOT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_write_one_file_never_mix_lines(tmp_path: Path) -> None:
    """Two processes that append at the same time lose no line and break none."""
    path = tmp_path / "events.jsonl"
    both = [started(MANY, path, first) for first in (0, 2000)]

    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    ended = [(one.communicate(timeout=30), one.returncode)[1] for one in both]

    assert [0, 0] == ended
    assert list(range(4000)) == sorted(counts(path.read_text()))


def test_lines_go_to_standard_output_where_that_is_asked_for() -> None:
    """``stdout`` is the process's own standard output, which stays open."""
    process = started(STDOUT + "print('{\"count\":3}')\n")

    out, err = process.communicate(timeout=30)

    assert "" == err
    assert [0, 1, 2, 3] == counts(out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_writes_its_own_lines(tmp_path: Path) -> None:
    """What the parent had queued is written by the parent alone, and the child writes its own, once."""
    path = tmp_path / "events.jsonl"
    process = started(FORK, path)

    _, err = process.communicate(timeout=30)

    assert "" == err
    assert list(range(40)) == sorted(counts(path.read_text()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_has_a_file_of_its_own_where_the_path_says_so(tmp_path: Path) -> None:
    """With ``{pid}`` in the path each process writes to the file of its number."""
    process = started(FORK, tmp_path / "events-{pid}.jsonl")

    process.communicate(timeout=30)

    parent = counts((tmp_path / f"events-{process.pid}.jsonl").read_text())
    assert list(range(0, 40, 2)) == parent
    assert 21 == len(list(tmp_path.iterdir()))


def test_what_is_queued_is_written_when_the_process_ends(tmp_path: Path) -> None:
    """A process that just ends loses none of its lines."""
    path = tmp_path / "events.jsonl"
    process = started(ENDS, path)

    process.communicate(timeout=30)

    assert list(range(200)) == counts(path.read_text())
