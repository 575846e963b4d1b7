"""The ledger: exact from any thread, bounded, and a child's own after a fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from bisect import bisect_left
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from racing import race
from surroundings import bare_environment

import otel_ws
from otel_ws import semconv
from otel_ws.ledger import CELLS, SERIES_LIMIT, Distribution, Ledger
from otel_ws.semconv import OTHER

ROOT = str(Path(otel_ws.__file__).parents[1])
DOOR = ("/ws/match/{match_id}/", "websocket")
CHAT = (*DOOR, "chat", "success")
LATENCY = (*DOOR, "chat")


# --- counting ---------------------------------------------------------------------------------------------------
def test_a_counter_counts() -> None:
    """What is added to a series is its value."""
    ledger = Ledger()

    ledger.add(semconv.MESSAGES, CHAT)
    ledger.add(semconv.MESSAGES, CHAT, 2.0)

    assert {CHAT: 3.0} == dict(ledger.read(semconv.MESSAGES))


def test_series_of_one_metric_are_apart() -> None:
    """Each set of labels has its own count."""
    ledger = Ledger()
    failed = (*DOOR, "chat", "error")

    ledger.add(semconv.MESSAGES, CHAT)
    ledger.add(semconv.MESSAGES, failed, 2.0)

    assert {CHAT: 1.0, failed: 2.0} == dict(ledger.read(semconv.MESSAGES))


def test_the_same_labels_on_two_metrics_are_apart() -> None:
    """Two metrics with the same labels do not share a count."""
    ledger = Ledger()

    ledger.add(semconv.BACKLOGGED, DOOR)
    ledger.add(semconv.BUSY_TIME, DOOR, 0.25)

    assert {DOOR: 1.0} == dict(ledger.read(semconv.BACKLOGGED))
    assert {DOOR: 0.25} == dict(ledger.read(semconv.BUSY_TIME))


def test_a_gauge_goes_down() -> None:
    """A negative amount moves a gauge down; at zero it still has its series."""
    ledger = Ledger()
    labels = (*DOOR, "player", "match")

    ledger.add(semconv.ACTIVE, labels)
    ledger.add(semconv.ACTIVE, labels, -1.0)

    assert {labels: 0.0} == dict(ledger.read(semconv.ACTIVE))


def test_an_unused_metric_has_no_series() -> None:
    """Before anything is counted a metric is empty, its ``_OTHER`` series too."""
    snapshot = Ledger().snapshot()

    assert not any(snapshot.values.values())
    assert not any(snapshot.distributions.values())


def test_a_snapshot_has_every_metric_that_is_not_live() -> None:
    """Counters and gauges are among the values, histograms among the distributions, live metrics in neither."""
    snapshot = Ledger().snapshot()

    kept = {metric for metric in semconv.METRICS if not metric.live}
    assert kept == set(snapshot.values) | set(snapshot.distributions)


def test_a_snapshot_does_not_change() -> None:
    """What is counted after a snapshot is not in it."""
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT)
    ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.2)

    snapshot = ledger.snapshot()
    ledger.add(semconv.MESSAGES, CHAT)
    ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.2)

    assert {CHAT: 1.0} == snapshot.values[semconv.MESSAGES]
    assert 1 == snapshot.distributions[semconv.MESSAGE_LATENCY][LATENCY].count


def test_a_total_sums_the_series_with_these_labels() -> None:
    """A total is over all series, or over those whose labels have the values."""
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT, 3.0)
    ledger.add(semconv.MESSAGES, (*DOOR, "chat", "error"), 2.0)
    ledger.add(semconv.MESSAGES, (*DOOR, "ping", "error"), 1.0)

    snapshot = ledger.snapshot()

    assert 6.0 == snapshot.total(semconv.MESSAGES)
    assert 3.0 == snapshot.total(semconv.MESSAGES, status="error")
    assert 2.0 == snapshot.total(semconv.MESSAGES, type="chat", status="error")


def test_a_total_of_nothing_is_zero() -> None:
    """A metric without series has the total 0."""
    total = Ledger().snapshot().total(semconv.MESSAGES, status="error")

    assert 0 == total


# --- histograms -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("metric", [one for one in semconv.METRICS if one.bounds], ids=lambda one: one.name)
def test_a_bound_belongs_to_the_bucket_below_it(metric: semconv.Metric) -> None:
    """A value equal to a bound counts as less than or equal to it, as Prometheus' ``le`` says."""
    ledger = Ledger()
    labels = ("x",) * len(metric.labels)

    for bound in metric.bounds:
        ledger.observe(metric, labels, bound)

    assert (*(1,) * len(metric.bounds), 0) == dict(ledger.distributions(metric))[labels].buckets


def test_a_value_above_all_bounds_is_in_the_last_bucket() -> None:
    """The last bucket takes what is greater than the last bound."""
    ledger = Ledger()

    ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 11.0)

    distribution = dict(ledger.distributions(semconv.MESSAGE_LATENCY))[LATENCY]
    assert (*(0,) * len(semconv.MESSAGE_LATENCY.bounds), 1) == distribution.buckets
    assert (11.0, 1) == (distribution.sum, distribution.count)


@given(values=st.lists(st.integers(0, 15_000).map(lambda number: number / 1024), max_size=50))
def test_a_distribution_is_that_of_its_values(values: list[float]) -> None:
    """Buckets, sum and count of a distribution are those of the values that were put in."""
    ledger = Ledger()
    bounds = semconv.MESSAGE_LATENCY.bounds
    buckets = [0] * (len(bounds) + 1)
    for value in values:
        buckets[bisect_left(bounds, value)] += 1

    for value in values:
        ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, value)

    expected = {LATENCY: Distribution(tuple(buckets), sum(values))} if values else {}
    assert expected == dict(ledger.distributions(semconv.MESSAGE_LATENCY))


def test_histograms_of_neighbours_do_not_overlap() -> None:
    """Values of one series, at both ends of its range, leave every other series alone."""
    ledger = Ledger()
    series = [(*DOOR, name) for name in ("a", "b", "c")]
    for labels in series:
        ledger.observe(semconv.MESSAGE_LATENCY, labels, 0.5)
    before = dict(ledger.distributions(semconv.MESSAGE_LATENCY))

    ledger.observe(semconv.MESSAGE_LATENCY, series[1], 0.0)
    ledger.observe(semconv.MESSAGE_LATENCY, series[1], 100.0)

    after = dict(ledger.distributions(semconv.MESSAGE_LATENCY))
    assert [before[series[0]], before[series[2]]] == [after[series[0]], after[series[2]]]


def test_a_kept_offset_writes_to_its_series() -> None:
    """A caller that kept a series' offset writes to the same series."""
    ledger = Ledger()
    offset = ledger.series(semconv.MESSAGE_LATENCY, LATENCY)

    ledger.observe_at(offset, semconv.MESSAGE_LATENCY.bounds, 0.2)
    ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.2)

    assert 2 == dict(ledger.distributions(semconv.MESSAGE_LATENCY))[LATENCY].count


# --- the limit --------------------------------------------------------------------------------------------------
def test_series_past_the_limit_are_counted_as_other() -> None:
    """A metric has at most so many series; what comes under further labels is counted under ``_OTHER``."""
    ledger = Ledger()

    for number in range(SERIES_LIMIT + 5):
        ledger.add(semconv.MESSAGES, (*DOOR, f"type{number}", "success"))

    counts = dict(ledger.read(semconv.MESSAGES))
    assert 5.0 == counts[(OTHER,) * 4]
    assert SERIES_LIMIT + 1 == len(counts)
    assert SERIES_LIMIT + 5 == sum(counts.values())


def test_a_known_series_counts_past_the_limit() -> None:
    """A series that was there before the limit was reached goes on counting."""
    ledger = Ledger()
    for number in range(SERIES_LIMIT + 1):
        ledger.add(semconv.MESSAGES, (*DOOR, f"type{number}", "success"))

    ledger.add(semconv.MESSAGES, (*DOOR, "type0", "success"))

    assert 2.0 == dict(ledger.read(semconv.MESSAGES))[*DOOR, "type0", "success"]


def test_a_full_metric_leaves_room_for_others() -> None:
    """One metric at its limit does not push another one's series to ``_OTHER``."""
    ledger = Ledger()
    for number in range(SERIES_LIMIT + 1):
        ledger.observe(semconv.MESSAGE_LATENCY, (*DOOR, f"type{number}"), 0.2)

    ledger.add(semconv.MESSAGES, CHAT)

    assert {CHAT: 1.0} == dict(ledger.read(semconv.MESSAGES))


def test_values_past_the_limit_are_counted_in_the_other_distribution() -> None:
    """Values of a histogram that come under further labels are in the ``_OTHER`` series."""
    ledger = Ledger()

    for number in range(SERIES_LIMIT + 3):
        ledger.observe(semconv.MESSAGE_LATENCY, (*DOOR, f"type{number}"), 0.2)

    distribution = dict(ledger.distributions(semconv.MESSAGE_LATENCY))[(OTHER,) * 3]
    assert 3 == distribution.count
    assert pytest.approx(0.6) == distribution.sum


def test_all_metrics_at_their_limit_fit_or_overflow_without_a_loss() -> None:
    """With every metric at its limit, nothing that was counted is lost and nothing raises."""
    ledger = Ledger()
    kept = [metric for metric in semconv.METRICS if not metric.live and metric.labels]

    for metric in kept:
        for number in range(SERIES_LIMIT + 1):
            labels = (f"x{number}",) * len(metric.labels)
            ledger.observe(metric, labels, 0.2) if metric.bounds else ledger.add(metric, labels)

    snapshot = ledger.snapshot()
    totals = {
        metric.name: sum(one.count for one in snapshot.distributions[metric].values())
        if metric.bounds
        else int(snapshot.total(metric))
        for metric in kept
    }
    assert {metric.name: SERIES_LIMIT + 1 for metric in kept} == totals
    assert ledger._next <= CELLS


# --- threads ----------------------------------------------------------------------------------------------------
def test_eight_threads_count_exactly() -> None:
    """Eight threads that count into the same series at once lose nothing."""
    ledger = Ledger()

    def work(_: int) -> None:
        for _ in range(10_000):
            ledger.add(semconv.MESSAGES, CHAT)

    race(8, work)

    assert {CHAT: 80_000.0} == dict(ledger.read(semconv.MESSAGES))


def test_eight_threads_observe_exactly() -> None:
    """Eight threads that put values into one histogram at once lose neither a count nor a part of the sum."""
    ledger = Ledger()

    def work(_: int) -> None:
        for _ in range(5_000):
            ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.25)

    race(8, work)

    distribution = dict(ledger.distributions(semconv.MESSAGE_LATENCY))[LATENCY]
    assert (40_000, 10_000.0) == (distribution.count, distribution.sum)


def test_eight_threads_that_meet_new_labels_make_each_series_once() -> None:
    """Threads that see the same new labels at the same time share one series."""
    ledger = Ledger()
    together = threading.Barrier(8)

    def work(_: int) -> None:
        for number in range(200):
            together.wait()
            ledger.add(semconv.MESSAGES, (*DOOR, f"type{number}", "success"))

    race(8, work)

    assert {(*DOOR, f"type{number}", "success"): 8.0 for number in range(200)} == dict(ledger.read(semconv.MESSAGES))


def test_a_gauge_moved_by_two_threads_is_their_sum() -> None:
    """A connection that one thread opened and another one ended leaves the gauge where it was."""
    ledger = Ledger()
    labels = (*DOOR, "player", "match")

    race(2, lambda which: ledger.add(semconv.ACTIVE, labels, 1.0 if which else -1.0))

    assert {labels: 0.0} == dict(ledger.read(semconv.ACTIVE))


def test_a_thread_that_ended_keeps_its_counts() -> None:
    """What a thread counted stays when it is gone."""
    ledger = Ledger()

    race(1, lambda _: ledger.add(semconv.MESSAGES, CHAT))
    race(1, lambda _: ledger.add(semconv.MESSAGES, CHAT))

    assert {CHAT: 2.0} == dict(ledger.read(semconv.MESSAGES))


def test_threads_that_come_and_go_share_shards() -> None:
    """A new thread takes the shard of one that ended, so that their number does not grow for ever."""
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT)

    for _ in range(50):
        race(1, lambda _: ledger.add(semconv.MESSAGES, CHAT))

    assert 2 == len(ledger._shards)
    assert {CHAT: 51.0} == dict(ledger.read(semconv.MESSAGES))


def test_a_snapshot_while_threads_write_never_goes_back() -> None:
    """Snapshots taken while others write never raise, and a counter in them only grows."""
    ledger = Ledger()
    done = threading.Event()
    seen: list[float] = []

    def work(which: int) -> None:
        if which == 0:
            while not done.is_set():
                seen.append(ledger.snapshot().total(semconv.MESSAGES))
            return
        for number in range(3_000):
            ledger.add(semconv.MESSAGES, (*DOOR, f"type{number % 300}", "success"))
            ledger.observe(semconv.MESSAGE_LATENCY, (*DOOR, f"type{number % 300}"), 0.2)
        done.set()

    race(2, work)
    seen.append(ledger.snapshot().total(semconv.MESSAGES))

    assert sorted(seen) == seen
    assert 3_000.0 == seen[-1]


# --- forks ------------------------------------------------------------------------------------------------------
def test_clearing_sets_every_count_to_zero() -> None:
    """After ``clear`` nothing is counted, in any thread's shard, and counting goes on."""
    ledger = Ledger()
    ledger.add(semconv.MESSAGES, CHAT, 5.0)
    race(1, lambda _: ledger.observe(semconv.MESSAGE_LATENCY, LATENCY, 0.2))

    ledger.after_fork()
    ledger.add(semconv.MESSAGES, CHAT)

    snapshot = ledger.snapshot()
    assert 1.0 == snapshot.total(semconv.MESSAGES)
    assert 0 == sum(one.count for one in snapshot.distributions[semconv.MESSAGE_LATENCY].values())


FORK = """
import json, os, threading
from otel_ws import recorder, semconv
from otel_ws.settings import Settings

parent = recorder.install(Settings())
labels = ("/ws/", "websocket", "chat", "success")
threads = [threading.Thread(target=parent.ledger.add, args=(semconv.MESSAGES, labels)) for _ in range(2)]
for thread in threads:
    thread.start()
    thread.join()
parent.ledger.add(semconv.MESSAGES, labels)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    before = parent.snapshot().total(semconv.MESSAGES)
    parent.ledger.add(semconv.MESSAGES, labels, 10.0)
    os.write(writing, json.dumps([before, parent.snapshot().total(semconv.MESSAGES)]).encode())
    os._exit(0)
os.waitpid(child, 0)
print(json.dumps({"child": json.loads(os.read(reading, 100)), "parent": parent.snapshot().total(semconv.MESSAGES)}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_counts_its_own() -> None:
    """A child begins at zero, and neither process sees what the other one counts."""
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        env={**bare_environment(), "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert {"child": [0, 10], "parent": 3} == json.loads(done.stdout)
