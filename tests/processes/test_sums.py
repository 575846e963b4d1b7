"""Totals of several processes: complete, and never lower than before."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from otel_ws import semconv
from otel_ws.ledger import Distribution
from otel_ws.processes.sums import Sums, series_of
from otel_ws.semconv import OTHER

DOOR = ("/ws/", "websocket")
CHAT = (*DOOR, "chat", "success")
WIDTH = len(semconv.MESSAGE_LATENCY.bounds) + 2


def kept(sums: Sums) -> Sums:
    """The same, after it was written down and read."""
    again = Sums()
    again.add_dumped(json.loads(json.dumps(sums.dumped())))
    return again


def test_parts_add_up() -> None:
    """A counter's parts, of whichever process, are one total."""
    sums = Sums()
    sums.add(semconv.MESSAGES, CHAT, 2.0)
    sums.add_cells([(semconv.MESSAGES, CHAT, 1)], [[0.0, 3.0], [0.0, 4.0]], is_alive=True)

    assert {CHAT: 9.0} == sums.snapshot().values[semconv.MESSAGES]


def test_histograms_add_up_bucket_by_bucket() -> None:
    """Two processes' distributions are one with the buckets and sums of both."""
    sums = Sums()
    for buckets, total in ((3, 0.25), (4, 0.5)):
        cells = [0.0] * WIDTH
        cells[1], cells[-1] = float(buckets), total
        sums.add_cells([(semconv.MESSAGE_LATENCY, (*DOOR, "chat"), 0)], [cells], is_alive=True)

    found = sums.snapshot().distributions[semconv.MESSAGE_LATENCY]
    assert {(*DOOR, "chat"): Distribution((0, 7, *(0,) * (WIDTH - 3)), 0.75)} == found


def test_what_was_open_in_a_process_that_ended_is_not_open() -> None:
    """Of the ended, counters stay and gauges go."""
    sums = Sums()
    active = (*DOOR, "player", "match")
    series = [(semconv.ACTIVE, active, 0), (semconv.MESSAGES, CHAT, 1)]

    sums.add_cells(series, [[2.0, 5.0]], is_alive=False)

    assert {} == sums.snapshot().values[semconv.ACTIVE]
    assert {CHAT: 5.0} == sums.snapshot().values[semconv.MESSAGES]


def test_a_counter_at_zero_is_shown_and_the_place_for_the_rest_is_not() -> None:
    """A series that was named has a value; the one for labels past the limit only if there were some."""
    sums = Sums()
    other = (OTHER,) * 4

    sums.add_cells([(semconv.MESSAGES, CHAT, 0), (semconv.MESSAGES, other, 1)], [[0.0, 0.0]], is_alive=True)

    assert {CHAT: 0.0} == sums.snapshot().values[semconv.MESSAGES]


def test_a_snapshot_has_every_metric() -> None:
    """Metrics without a count are there, empty."""
    snapshot = Sums().snapshot()

    assert set(semconv.METRICS) == set(snapshot.values) | set(snapshot.distributions)


def test_what_was_written_down_is_read_again() -> None:
    """Totals and distributions survive the file."""
    sums = Sums()
    sums.add(semconv.MESSAGES, CHAT, 2.0)
    sums.add_distribution(semconv.MESSAGE_LATENCY, (*DOOR, "chat"), [1.0, *[0.0] * (WIDTH - 2), 0.5])

    assert sums.snapshot() == kept(sums).snapshot()


def test_a_metric_of_another_version_is_left_out() -> None:
    """A name that is not known, or a histogram with other bounds, is no failure."""
    sums = Sums()

    sums.add_dumped({"values": [["ws.old", [], 1.0]], "distributions": [["ws.message.latency", ["a"], [1.0], 0.5]]})

    assert Sums().snapshot() == sums.snapshot()


@given(
    parts=st.lists(st.floats(0, 1e6), min_size=1, max_size=6),
    others=st.lists(st.floats(0, 1e6), max_size=4),
    steps=st.integers(1, 6),
)
def test_adding_up_the_ended_never_lowers_a_total(parts: list[float], others: list[float], steps: int) -> None:
    """However floats round, a total with some of its parts written down is not less than it was before."""
    labels = ("/ws/", "websocket")

    def total(written: Sums, rest: list[float]) -> float:
        sums = Sums()
        sums.add_dumped(written.dumped())
        for part in rest + others:
            sums.add(semconv.BUSY_TIME, labels, part)
        return sums.snapshot().total(semconv.BUSY_TIME)

    seen = [math.fsum(parts + others)]
    written = Sums()
    for place in range(min(steps, len(parts))):
        written.add(semconv.BUSY_TIME, labels, parts[place])
        written = kept(written)
        seen.append(total(written, parts[place + 1 :]))

    assert sorted(seen) == seen


def test_a_line_that_is_not_whole_names_nothing() -> None:
    """A process may end while it writes a name down."""
    whole = json.dumps(["ws.messages", list(CHAT), 40, 1]).encode()

    assert (semconv.MESSAGES, CHAT, 40) == series_of(whole)
    assert [None] * len(whole) == [series_of(whole[:end]) for end in range(len(whole))]


def test_a_series_with_another_width_names_nothing() -> None:
    """Another version's histogram has other cells."""
    assert series_of(json.dumps(["ws.message.latency", [*DOOR, "chat"], 0, 3]).encode()) is None
    assert series_of(json.dumps(["ws.messages", list(DOOR), 0, 1]).encode()) is None
