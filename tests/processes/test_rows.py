"""What was: rows close together for an hour, hourly for a day, and no duplicate."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_ws.health import Reading
from otel_ws.processes.rows import DAY, EACH_SECONDS, HOUR, Rows

START = 1_700_000_000.0 - 1_700_000_000.0 % HOUR


@pytest.fixture(params=["in memory", "in a file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Both places where rows are kept."""
    return tmp_path / "history.jsonl" if request.param == "in a file" else None


def fill(rows: Rows, seconds: float) -> float:
    """A row each 10 s for so long; returns when the last one was."""
    at = START
    for number in range(int(seconds / EACH_SECONDS) + 1):
        at = START + number * EACH_SECONDS
        rows.add(Reading(at, {"messages": float(number)}))
    return at


def test_a_row_is_what_was_told(path: Path | None) -> None:
    """Time and numbers are read as they were written."""
    rows = Rows(path)
    row = Reading(START, {"messages": 3.0, "errors.system.high": 1.0})

    rows.add(row)

    assert (row,) == rows.since(0.0)


def test_rows_are_of_the_time_that_is_asked_for(path: Path | None) -> None:
    """Rows before that moment are left out, the oldest comes first."""
    rows = Rows(path)
    fill(rows, 100.0)

    assert [START + 80, START + 90, START + 100] == [row.at for row in rows.since(START + 75)]


def test_a_row_is_due_each_ten_seconds(path: Path | None) -> None:
    """The first at once, the next ten seconds later, and one at once where the clock was set back."""
    rows = Rows(path)
    first = rows.is_due(START)
    rows.add(Reading(START))

    assert [True, False, True, True] == [first, rows.is_due(START + 9), rows.is_due(START + 10), rows.is_due(START - 5)]


def test_a_day_has_an_hour_of_rows_and_hourly_ones_before(path: Path | None) -> None:
    """After a day and more: the last hour complete, one row for each hour before it, nothing older."""
    rows = Rows(path)
    end = fill(rows, DAY + 3 * HOUR)

    found = [row.at for row in rows.since(0.0)]

    near = [at for at in found if at >= end - HOUR]
    far = [at for at in found if at < end - HOUR - EACH_SECONDS]
    assert HOUR / EACH_SECONDS + 1 == len(near)
    assert 23 <= len(far) <= 25
    assert {0.0} == {at % HOUR for at in far[1:]}
    assert end - found[0] <= DAY + HOUR
    assert sorted(set(found)) == found


def test_the_last_row_before_a_pause_is_kept(path: Path | None) -> None:
    """Nobody came for two days: what was counted by then is what comes after is compared with."""
    rows = Rows(path)
    end = fill(rows, 4000.0)
    rows.add(Reading(end + 2 * DAY))

    assert [end, end + 2 * DAY] == [row.at for row in rows.since(0.0)]


def test_the_file_stays_small(tmp_path: Path) -> None:
    """Two days of rows are not kept as two days of lines."""
    rows = Rows(tmp_path / "history.jsonl")

    fill(rows, 2 * DAY)

    assert len((tmp_path / "history.jsonl").read_bytes().splitlines()) <= 2 * HOUR / EACH_SECONDS + 1


def test_the_next_leader_goes_on(tmp_path: Path) -> None:
    """Another process sees the rows that this one wrote, and those that it writes later."""
    here, there = Rows(tmp_path / "rows"), Rows(tmp_path / "rows")
    here.add(Reading(START))
    seen = [len(there.since(0.0))]
    here.add(Reading(START + 10))
    seen.append(len(there.since(0.0)))
    there.add(Reading(START + 20))

    assert [1, 2] == seen
    assert [START, START + 10, START + 20] == [row.at for row in here.since(0.0)]


def test_half_a_row_is_none(tmp_path: Path) -> None:
    """A full disk may cut a row; the others are read."""
    path = tmp_path / "rows"
    Rows(path).add(Reading(START, {"messages": 1.0}))
    with path.open("ab") as file:
        file.write(b'{"at": 17\n')
    Rows(path).add(Reading(START + 10))

    assert [START, START + 10] == [row.at for row in Rows(path).since(0.0)]
