"""The verdict: which rule fires when, and that it lets go."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ws import recorder, semconv, testing
from otel_ws.connection import Connection
from otel_ws.health import (
    BROADCAST,
    DEGRADED,
    DISTRIBUTIONS,
    HANDLING,
    HEALTHY,
    SETUP,
    UNHEALTHY,
    WINDOW_SECONDS,
    Health,
    Limits,
    Reading,
    Spread,
    Watch,
    evaluate,
    read,
    spread,
    window,
)
from otel_ws.thresholds import Thresholds

NOTHING = Reading()
ROOM = Limits(memory=100.0, connections=100.0)


def reading(at: float = 0.0, **numbers: float) -> Reading:
    """A reading; two underscores stand for the dot in a name."""
    return Reading(at, {name.replace("__", "."): value for name, value in numbers.items()})


def judge(*readings: Reading, thresholds: Thresholds | None = None) -> Health:
    """The verdict where there is room for 100 of everything."""
    return evaluate(readings, thresholds or Thresholds(), ROOM)


def rules(verdict: Health) -> list[str]:
    """The rules that fired."""
    return [finding.rule for finding in verdict.findings]


# --- each rule ----------------------------------------------------------------------------------------------------
CASES: list[tuple[Reading, str, str | None]] = [
    (reading(connected=100, rejected=10), HEALTHY, None),
    (reading(connected=90, rejected=11), UNHEALTHY, "failed_connections"),
    (reading(messages=100, messages__failed=5), HEALTHY, None),
    (reading(messages=100, messages__failed=6), DEGRADED, "error_rate"),
    (reading(messages=100, messages__failed=10), DEGRADED, "error_rate"),
    (reading(messages=100, messages__failed=11), UNHEALTHY, "error_rate"),
    (reading(broadcasts=100, broadcasts__failed=5), HEALTHY, None),
    (reading(broadcasts=100, broadcasts__failed=6), DEGRADED, "broadcast_failures"),
    (reading(broadcast__4=10, broadcast__sum=1.0), HEALTHY, None),
    (reading(broadcast__4=10, broadcast__sum=1.1), DEGRADED, "broadcast_latency"),
    (reading(healthy__websocket=90, healthy__sse=5, unhealthy__sse=5), HEALTHY, None),
    (reading(healthy__websocket=94, unhealthy__websocket=6), DEGRADED, "connection_health"),
    (reading(healthy__websocket=80, unhealthy__websocket=20), DEGRADED, "connection_health"),
    (reading(healthy__websocket=79, unhealthy__websocket=21), UNHEALTHY, "connection_health"),
    (reading(queue=1000), HEALTHY, None),
    (reading(queue=1001), DEGRADED, "queue_depth"),
    (reading(queue=5000), DEGRADED, "queue_depth"),
    (reading(queue=5001), UNHEALTHY, "queue_depth"),
    (reading(handling__websocket__9=1, handling__sse__9=1, handling__websocket__sum=4), HEALTHY, None),
    (reading(handling__websocket__9=2, handling__websocket__sum=4.1), DEGRADED, "processing_time"),
    (reading(handling__websocket__9=2, handling__websocket__sum=10), DEGRADED, "processing_time"),
    (reading(handling__websocket__9=2, handling__websocket__sum=10.1), UNHEALTHY, "processing_time"),
    (reading(memory=80), HEALTHY, None),
    (reading(memory=81), DEGRADED, "memory"),
    (reading(memory=91), UNHEALTHY, "memory"),
    (reading(60, cpu=0.8), HEALTHY, None),
    (reading(60, cpu=0.81), DEGRADED, "cpu"),
    (reading(60, cpu=0.91), UNHEALTHY, "cpu"),
    (reading(active=90), HEALTHY, None),
    (reading(active=91), DEGRADED, "connection_limit"),
]


@pytest.mark.parametrize(("now", "status", "rule"), CASES)
def test_a_rule_fires_past_its_threshold(now: Reading, status: str, rule: str | None) -> None:
    """Each rule fires above (or below) its threshold, not at it."""
    verdict = judge(NOTHING, now)

    assert (status, [rule] if rule else []) == (verdict.status, rules(verdict))


def test_every_threshold_is_some_rules() -> None:
    """No threshold is left that moves nothing: at its extreme another verdict comes of what fires, or did not."""
    moved = set()
    for one in dataclasses.fields(Thresholds):
        for extreme in (0.0, 1e9):
            other = Thresholds(**{one.name: extreme})
            states = [now for now, _, _ in CASES] + [reading(connected=11)]
            before = reading(active=1)
            if any(judge(before, now) != judge(before, now, thresholds=other) for now in states):
                moved.add(one.name)

    assert {one.name for one in dataclasses.fields(Thresholds)} == moved


def test_a_threshold_of_ones_own_holds() -> None:
    """What ``OTEL_WS_THRESHOLDS`` says is where the rule fires, and what the finding tells."""
    verdict = judge(NOTHING, reading(messages=100, messages__failed=3), thresholds=Thresholds(error_rate_degraded=0.02))

    assert (0.03, 0.02) == (verdict.findings[0].value, verdict.findings[0].threshold)


def test_where_no_limit_is_known_none_is_passed() -> None:
    """Memory and connections without a known limit never fire."""
    assert HEALTHY == evaluate([NOTHING, reading(memory=1e15, active=1e6)]).status


# --- all connections gone -------------------------------------------------------------------------------------
def test_all_connections_gone_at_once_is_told() -> None:
    """Where some were open a moment ago and none is now, something closed them."""
    verdict = judge(reading(connected=20), reading(connected=25, active=5), reading(connected=25))

    assert (DEGRADED, ["connections_gone"]) == (verdict.status, rules(verdict))


def test_few_connections_gone_are_not_told() -> None:
    """Up to ten in total may all have gone home."""
    assert HEALTHY == judge(reading(active=10, connected=10), reading(connected=10)).status


def test_an_idle_server_is_healthy() -> None:
    """Nobody is connected, and nobody was a minute ago: nothing is wrong."""
    assert HEALTHY == judge(reading(connected=20), reading(connected=20)).status


# --- the window -----------------------------------------------------------------------------------------------
def test_the_worst_rule_decides() -> None:
    """Of several rules that fire the worst gives the verdict, and stands first."""
    verdict = judge(NOTHING, reading(messages=100, messages__failed=6, connected=1, rejected=1))

    assert UNHEALTHY == verdict.status
    assert ["failed_connections", "error_rate"] == rules(verdict)


def test_what_happened_before_the_window_does_not_count() -> None:
    """A bad night does not colour the morning."""
    night = reading(connected=10, rejected=90)

    assert HEALTHY == judge(night, reading(connected=20, rejected=90)).status


def test_a_single_reading_accuses_nobody_of_the_past() -> None:
    """Whoever joins a group late has no window yet: no rule about a share fires."""
    assert HEALTHY == judge(reading(connected=1, rejected=90, messages=9, messages__failed=9)).status


def test_totals_that_begin_anew_are_no_incident() -> None:
    """A group that began again counts from zero: nothing is negative, nothing fires."""
    assert HEALTHY == judge(reading(connected=50, rejected=5), reading(connected=1)).status


def test_one_busy_moment_is_no_load() -> None:
    """CPU is judged over the window: one reading of many may be high."""
    calm = [reading(at, cpu=0.1) for at in range(0, 50, 5)]

    assert HEALTHY == judge(NOTHING, *calm, reading(55, cpu=1.0)).status


def test_a_watch_lets_go_of_what_the_window_has_passed() -> None:
    """An incident changes the verdict once, and once more when it is a minute old."""
    now = [reading(0.0)]
    watch = Watch(lambda: now[0], Thresholds(), Limits(), now[0])
    changes = []
    for at in range(5, 200, 5):
        now[0] = reading(at, connected=10, rejected=10 if at >= 20 else 0)
        if (verdict := watch.judged()) is not None:
            changes.append((at, verdict.status))

    assert [(20, UNHEALTHY), (20 + WINDOW_SECONDS, HEALTHY)] == changes


def test_a_watch_of_others_numbers_begins_with_their_past() -> None:
    """Numbers that come from elsewhere from now on are compared with their own past alone."""
    watch = Watch(lambda: NOTHING, Thresholds(), Limits(), NOTHING)

    watch.begin(lambda: reading(9, connected=1000, rejected=900), [reading(8, connected=990, rejected=900)])

    assert HEALTHY == watch.health().status


def test_a_clock_that_is_set_back_fills_no_memory() -> None:
    """Readings are bounded whatever the clock does."""
    now = [reading(1e9)]
    watch = Watch(lambda: now[0], Thresholds(), Limits(), now[0])
    for second in range(500):
        now[0] = reading(second / 1000)
        watch.judged()

    assert len(watch._readings) <= 64


def test_a_watch_of_workers_that_began_anew_sees_what_comes_first() -> None:
    """What those before them counted hides nothing."""
    now = [reading(100)]
    watch = Watch(lambda: now[0], Thresholds(), Limits(), NOTHING)
    watch.begin(lambda: now[0], [reading(40, connected=500, rejected=90), reading(95, connected=500, rejected=90)])

    now[0] = reading(105, connected=1, rejected=30)

    assert ["failed_connections"] == rules(watch.health())


def test_what_comes_after_a_pause_is_seen() -> None:
    """Nobody is connected, so nothing is read; then half of those who come are refused: that is of late."""
    before = [reading(at, connected=9, cpu=1.0, active=20) for at in (0, 5)]

    found = window([*before, reading(501, connected=39, rejected=30)], 502)

    assert (442, {"connected": 9}) == (found[0].at, found[0].numbers)
    assert (["failed_connections"], []) == (
        rules(judge(*found, reading(502, connected=39, rejected=30))),
        rules(judge(*window(before, 502), reading(502, connected=39))),
    )


def test_work_after_a_pause_is_no_load_yet() -> None:
    """In a pause no CPU is used, though nobody says so."""
    before = [reading(0, cpu=1.0), reading(5, cpu=1.0)]

    assert HEALTHY == judge(*window(before, 502), reading(502, cpu=1.0)).status


def test_a_clock_that_is_set_back_accuses_nobody_of_the_past() -> None:
    """Readings from what is the future now stand where the clock was set; what comes after is judged as ever."""
    before = [reading(at, connected=50, rejected=50) for at in (9000, 9005)]
    after = [reading(5400, connected=51, rejected=50), reading(5405, connected=52, rejected=50)]

    found = window([*before, *after], 5406)

    assert (5400, {"connected": 50, "rejected": 50}) == (found[0].at, found[0].numbers)
    assert [5400, 5400, 5405] == [one.at for one in found]


def test_the_window_begins_with_the_reading_before_it() -> None:
    """As it was taken, where readings come as they should; with none before, with the first."""
    regular = [reading(at, messages=at, active=1) for at in range(0, 100, 7)]

    assert [regular[5:], regular[:2]] == [window(regular, 99), window(regular[:2], 9)]


def test_a_busy_start_is_no_load() -> None:
    """CPU is judged when half a minute has been seen."""
    assert HEALTHY == judge(NOTHING, reading(5, cpu=1.0), reading(10, cpu=1.0)).status


# --- readings -------------------------------------------------------------------------------------------------
def test_a_reading_keeps_what_there_is() -> None:
    """The totals by name, by transport where rules and answers need it; what is zero is left out."""
    with testing.capture() as telemetry:
        active = telemetry.recorder
        active.ledger.add(semconv.ERRORS, ("/ws", "KeyError", "system", "high"), 2)
        active.ledger.add(semconv.ERRORS, ("/sse", "ValueError", "system", "high"))
        active.ledger.observe(semconv.CONNECTION_SETUP, ("/ws", "sse", "accepted"), 0.02)
        active.ledger.observe(semconv.CONNECTION_SETUP, ("/ws", "sse", "rejected"), 9.0)
        active.ledger.observe(semconv.BROADCAST_DURATION, ("room",), 0.2)

        found = read(active.ledger.snapshot(), 7.0).numbers

    assert {
        "errors.system.high": 3.0,
        "setup.sse.1": 1,
        "setup.sse.sum": 0.02,
        "broadcast.5": 1,
        "broadcast.sum": 0.2,
    } == found


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_value(values: list[float], share: float) -> None:
    """Between the bounds that the true value lies between; past the last bound, that bound."""
    from bisect import bisect_left

    bounds = DISTRIBUTIONS[SETUP].bounds
    buckets = [0.0] * (len(bounds) + 1)
    for value in values:
        buckets[bisect_left(bounds, value)] += 1
    spread_of = Spread(bounds, tuple(buckets), sum(values))
    true = sorted(values)[min(len(values) - 1, max(0, -int(-(share * len(values)) // 1) - 1))]
    place = bisect_left(bounds, true)

    found = spread_of.quantile(share)

    assert found is not None
    if place == len(bounds):
        assert bounds[-1] == found
    else:
        assert (bounds[place - 1] if place else 0.0) <= found <= bounds[place] + 1e-9


def test_of_nothing_there_is_no_mean() -> None:
    """Where nothing was counted there is neither a mean nor a quantile nor a greatest value."""
    none = spread(HANDLING, NOTHING, NOTHING, "websocket")

    assert (None, None, None) == (none.mean, none.quantile(0.95), none.highest)


def test_the_greatest_value_is_told_by_its_bound() -> None:
    """The bound of the highest bucket with a value in it; ``None`` past the last, where there is no bound."""
    bounds = DISTRIBUTIONS[BROADCAST].bounds
    last = len(bounds)

    assert bounds[3] == spread(BROADCAST, Reading(0, {"broadcast.1": 4, "broadcast.3": 1}), NOTHING).highest
    assert spread(BROADCAST, Reading(0, {f"broadcast.{last}": 1}), NOTHING).highest is None


# --- told by the recorder -------------------------------------------------------------------------------------
def driven(incident: Callable[[recorder.Recorder], Any], leads: bool = True) -> list[Any]:
    """What the recorder tells of its health while an incident happens at second 10, over three minutes."""
    now = [0.0]
    injected: Any = {"clock": lambda: now[0], "now_ns": lambda: int(now[0] * 1e9)}
    # Three minutes pass in a moment that the CPU is busy with.
    with testing.capture(injected=injected, thresholds={"cpu_degraded": 99, "cpu_unhealthy": 99}) as telemetry:
        active = telemetry.recorder
        active.is_leader = lambda: leads
        for second in range(180):
            now[0] = float(second)
            if second == 10:
                incident(active)
            active.loop_lagged(0.0)
        return [
            (event.attributes["ws.health.status"], event.attributes.get("ws.health.rule"))
            for event in telemetry.events("WS_HEALTH")
        ]


def rejected(active: recorder.Recorder) -> None:
    """Five connections are never accepted."""
    for _ in range(5):
        Connection(active, {"type": "websocket"}).returned()


def gone(active: recorder.Recorder) -> None:
    """Twelve connections are open while a reading is taken, and end together."""
    open_ones = [Connection(active, {"type": "websocket"}) for _ in range(12)]
    for one in open_ones:
        one.sent({"type": "websocket.accept"}, one.sending())
    active.watch.judged()
    for one in open_ones:
        one.returned()


def lost(active: recorder.Recorder) -> None:
    """The layer refuses two of ten broadcasts."""
    for number in range(10):
        active.broadcast_sent(None, "room", None, 0.001, "ConnectionError" if number < 2 else None)


def slow_layer(active: recorder.Recorder) -> None:
    """The layer takes a second for each broadcast."""
    active.broadcast_sent(None, "room", None, 1.0, None)


def messages(status: str, seconds: float) -> Callable[[recorder.Recorder], None]:
    """A message is handled with this end in so many seconds."""

    def handled(active: recorder.Recorder) -> None:
        connection = Connection(active, {"type": "websocket"})
        connection.sent({"type": "websocket.accept"}, connection.sending())
        connection.tally.handled(connection.cells, "unknown", status, 0.0, seconds)

    return handled


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (rejected, (UNHEALTHY, "failed_connections")),
        (gone, (DEGRADED, "connections_gone")),
        (lost, (DEGRADED, "broadcast_failures")),
        (slow_layer, (DEGRADED, "broadcast_latency")),
        (messages("error", 0.001), (UNHEALTHY, "error_rate")),
        (messages("success", 3.0), (DEGRADED, "processing_time")),
        (messages("success", 6.0), (UNHEALTHY, "processing_time")),
    ],
)
def test_an_incident_is_told_when_it_comes_and_when_it_has_passed(
    incident: Callable[[recorder.Recorder], Any], expected: tuple[str, str]
) -> None:
    """The verdict changes with the incident, names the rule, and recovers a minute later."""
    told = driven(incident)

    assert [expected, (HEALTHY, None)] == told[:2]


# --- what is true now: over the threshold, and back when it is no longer true -----------------------------------------
def opened(active: recorder.Recorder, count: int) -> list[Connection]:
    """So many open connections."""
    found = [Connection(active, {"type": "websocket"}) for _ in range(count)]
    for one in found:
        one.sent({"type": "websocket.accept"}, one.sending())
    return found


def test_connections_that_are_unwell_are_told_until_they_are_well() -> None:
    """Of ten connections one, then three have a handler that raises; then none has."""
    with testing.capture() as telemetry:
        active = telemetry.recorder
        ten = opened(active, 10)
        statuses = []
        for unwell in (1, 3, 0):
            for place, one in enumerate(ten):
                one.handler_failed = place < unwell
            verdict = active.watch.health()
            statuses.append((verdict.status, rules(verdict)))

    health = ["connection_health"]
    assert [(DEGRADED, health), (UNHEALTHY, health), (HEALTHY, [])] == statuses


def test_connections_near_their_limit_are_told_until_some_leave() -> None:
    """Of ten that there is room for, ten are open, and then nine."""
    with testing.capture(max_connections=10) as telemetry:
        active = telemetry.recorder
        ten = opened(active, 10)
        full = rules(active.watch.health())
        ten[0].returned()

        assert (["connection_limit"], []) == (full, rules(active.watch.health()))


def test_memory_is_told_until_it_is_given_back() -> None:
    """This process's own memory, of what the machine has, against a threshold a little above what it uses."""
    with testing.capture() as telemetry:
        watch = telemetry.recorder.watch
        used = watch.reading()["memory"]
        if not used:
            pytest.skip("this platform does not tell")
        threshold = (used + 32e6) / watch.limits.memory
        watch.thresholds = Thresholds(memory_degraded=threshold)
        before = rules(watch.health())
        filled = bytearray(b"x") * 96_000_000
        during = rules(watch.health())
        del filled

        assert ([], ["memory"], []) == (before, during, rules(watch.health()))


# A process of its own: the share of CPU is that of all its threads and of its garbage collector, and other tests leave
# a large heap behind.
BUSY = """
import json, sys, time
from otel_ws import testing

now = [1e9]
limits = {"cpu_degraded": 0.1, "cpu_unhealthy": 99}
told = []
with testing.capture(injected={"now_ns": lambda: int(now[0] * 1e9)}, thresholds=limits) as telemetry:
    watch = telemetry.recorder.watch
    for is_busy in (False, True, False):
        for _ in range(4):
            now[0] += 20
            until = time.perf_counter() + 0.55
            while is_busy and time.perf_counter() < until:
                pass
            time.sleep(max(0, until - time.perf_counter()))
            watch.judged()
        told.append([finding.rule for finding in watch.health().findings])
json.dump(told, sys.stdout)
"""


def test_a_busy_process_is_told_until_it_rests() -> None:
    """CPU that is really used, over more than half a window that passes at once; and then one of rest."""
    told = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, check=True, text=True, timeout=60)

    assert [[], ["cpu"], []] == json.loads(told.stdout)


def test_messages_that_wait_in_the_layer_are_told_until_they_are_taken() -> None:
    """A queue that grows past each step, and is emptied."""
    depth = semconv.LAYER_DEPTH
    with testing.capture() as telemetry:
        active = telemetry.recorder
        statuses = []
        for waiting in (1000.0, 1001.0, 5001.0, 0.0):
            labels = tuple(one.choices[0] if one.choices else "" for one in depth.labels)
            active.sources[depth] = partial(list, [(labels, waiting)])
            statuses.append(active.watch.health().status)

    assert [HEALTHY, DEGRADED, UNHEALTHY, HEALTHY] == statuses


def test_only_one_of_a_group_tells() -> None:
    """A process that does not speak for the group is silent on its health."""
    assert [] == driven(rejected, leads=False)


def test_declared_words_are_there_while_capturing_and_after() -> None:
    """What the application declared at import holds inside a test, and still holds when the test is over."""
    recorder.vocabulary.declare_id("seat.id")

    with testing.capture():
        during = "seat_id" in recorder.vocabulary.ids

    assert (True, True) == (during, "seat_id" in recorder.vocabulary.ids)
