"""What is true now: open connections, users, ages, health, memory and CPU; computed when somebody looks."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest
from doubles import Clock
from hypothesis import given
from hypothesis import strategies as st
from racing import race

from otel_ws import semconv
from otel_ws.live import BY_ID_LIMIT, Live
from otel_ws.semconv import OTHER


@dataclass(eq=False)
class Open:
    """A connection, as far as a look needs it."""

    transport: str = "websocket"
    accepted_at: float = 0.0
    handler_failed: bool = False
    last_send_bad: bool = False
    last_heartbeat: float = 0.0
    pending: list[float] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)

    def cancelled(self) -> None:
        """The server ends: of no interest here."""

    def exported_ids(self) -> list[tuple[str, str]]:
        """As the test has them."""
        return list(self.ids.items())


def live_with(*connections: Open, metric_ids: tuple[str, ...] = (), now: float = 0.0) -> Live:
    """What is live with these connections open, ``now`` seconds after the clock's zero."""
    clock = Clock(0.0)
    clock.now = now
    live = Live(clock, metric_ids)
    for connection in connections:
        live.opened(connection)
    return live


# --- connections ------------------------------------------------------------------------------------------------
def test_an_open_connection_is_there_until_it_ends() -> None:
    """The number of open connections follows what opens and ends."""
    live, first, second = live_with(), Open(), Open()

    numbers = [len(live)]
    for step, connection in ((live.opened, first), (live.opened, second), (live.ended, first), (live.ended, second)):
        step(connection)
        numbers.append(len(live))

    assert [0, 1, 2, 1, 0] == numbers


def test_a_connection_that_ends_twice_is_gone_once() -> None:
    """A second end changes nothing."""
    connection = Open()
    live = live_with(connection, Open())

    live.ended(connection)
    live.ended(connection)

    assert 1 == len(live)


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (0.0, "under_5m"),
        (299.9, "under_5m"),
        (300.0, "5m_30m"),
        (1799.9, "5m_30m"),
        (1800.0, "30m_2h"),
        (7199.9, "30m_2h"),
        (7200.0, "over_2h"),
        (1e6, "over_2h"),
    ],
)
def test_a_connection_grows_older(seconds: float, age: str) -> None:
    """An open connection is counted in the bucket of its age."""
    live = live_with(Open(), now=seconds)

    ages = dict(live.read(semconv.CONNECTION_AGE))

    assert {("websocket", age): 1.0} == ages


def test_ages_are_declared() -> None:
    """Every age that is told is a declared one."""
    live = live_with(*(Open(accepted_at=-seconds) for seconds in (0.0, 1000.0, 5000.0, 9000.0)))

    ages = {labels[1] for labels, _ in live.read(semconv.CONNECTION_AGE)}

    assert set(semconv.AGE.choices) == ages


def test_connections_are_counted_by_transport_and_age() -> None:
    """Connections of the same transport and age are counted together, others apart."""
    live = live_with(Open(), Open(), Open("sse"), Open(accepted_at=-400.0))

    ages = dict(live.read(semconv.CONNECTION_AGE))

    assert {("websocket", "under_5m"): 2.0, ("sse", "under_5m"): 1.0, ("websocket", "5m_30m"): 1.0} == ages


def test_connections_are_counted_by_health() -> None:
    """Healthy and unhealthy connections are counted apart."""
    live = live_with(Open(), Open(), Open(handler_failed=True))

    states = dict(live.read(semconv.CONNECTION_HEALTH))

    assert {("websocket", "healthy"): 2, ("websocket", "unhealthy"): 1} == states


def test_health_is_that_of_the_moment_of_the_look() -> None:
    """A send that waits is no trouble at first, and trouble once it has waited for over five seconds."""
    live = live_with(Open(pending=[2.0, 7.0]), now=7.0)
    states = [dict(live.read(semconv.CONNECTION_HEALTH))]
    live = live_with(Open(pending=[2.0, 7.0]), now=7.1)
    states.append(dict(live.read(semconv.CONNECTION_HEALTH)))

    assert [{("websocket", "healthy"): 1.0}, {("websocket", "unhealthy"): 1.0}] == states


# Those that floats tell exactly.
MOMENTS = st.integers(-40_000, 40_000).map(lambda quarters: quarters / 4)
CONNECTIONS = st.builds(
    Open,
    st.sampled_from(semconv.TRANSPORT.choices),
    MOMENTS,
    st.booleans(),
    st.booleans(),
    MOMENTS | st.just(math.inf),
    st.lists(MOMENTS, max_size=3),
)


@given(opened=st.lists(CONNECTIONS, max_size=20), ended=st.sets(st.integers(0, 19)), now=MOMENTS, beat=st.data())
def test_all_at_once_are_counted_as_each_by_itself(
    opened: list[Open], ended: set[int], now: float, beat: st.DataObject
) -> None:
    """Whatever opened in whatever order and ended again: ages and health are what each connection's own would be."""
    seconds = beat.draw(st.none() | MOMENTS.map(abs))
    live = Live(Clock(now), heartbeat=lambda: seconds)
    for one in opened:
        live.opened(one)
    for place in ended:
        if place < len(opened):
            live.ended(opened[place])
    left = [one for place, one in enumerate(opened) if place not in ended]

    def age(one: Open) -> str:
        old = now - one.accepted_at
        return "under_5m" if old < 300 else "5m_30m" if old < 1800 else "30m_2h" if old < 7200 else "over_2h"

    def state(one: Open) -> str:
        is_silent = seconds is not None and now - one.last_heartbeat > 2 * seconds
        is_stalled = any(now - since > 5.0 for since in one.pending)
        return "unhealthy" if one.handler_failed or one.last_send_bad or is_silent or is_stalled else "healthy"

    assert len(left) == len(live)
    assert Counter((one.transport, age(one)) for one in left) == dict(live.read(semconv.CONNECTION_AGE))
    assert Counter((one.transport, state(one)) for one in left) == dict(live.read(semconv.CONNECTION_HEALTH))


@pytest.mark.parametrize("metric", [semconv.CONNECTION_AGE, semconv.CONNECTION_HEALTH], ids=lambda one: one.name)
def test_labels_that_nobody_has_are_gone(metric: semconv.Metric) -> None:
    """When the last connection ended there is no series left."""
    connection = Open()
    live = live_with(connection)

    live.ended(connection)

    assert {} == dict(live.read(metric))


# --- users ------------------------------------------------------------------------------------------------------
def users(live: Live) -> tuple[float, float]:
    """Active users, and users on both transports."""
    (active,) = (value for _, value in live.read(semconv.ACTIVE_USERS))
    (dual,) = (value for _, value in live.read(semconv.DUAL_USERS))
    return active, dual


def test_a_user_with_two_connections_is_one_user() -> None:
    """Users are counted, not their connections."""
    live = live_with()

    live.user_opened("7", "websocket")
    live.user_opened("7", "websocket")
    live.user_opened("8", "websocket")

    assert (2.0, 0.0) == users(live)


def test_a_users_connections_are_told_at_each_accept() -> None:
    """Opening tells how many connections the user has by now."""
    live = live_with()

    held = [live.user_opened("7", "websocket")[1] for _ in range(3)]

    assert [1, 2, 3] == held


def test_a_user_on_both_transports_is_dual() -> None:
    """A user with a WebSocket and an SSE connection is told at the second, and counted."""
    live = live_with()

    dual = [live.user_opened("7", transport)[2] for transport in ("websocket", "websocket", "sse")]

    assert [False, False, True] == dual
    assert (1.0, 1.0) == users(live)


def test_a_user_whose_last_connection_on_a_transport_ended_is_no_longer_dual() -> None:
    """A user stays active, but not dual, when one transport is gone."""
    live = live_with()
    live.user_opened("7", "websocket")
    key, _, _ = live.user_opened("7", "sse")

    live.user_ended(key, "sse")

    assert (1.0, 0.0) == users(live)


def test_a_user_whose_last_connection_ended_is_gone() -> None:
    """With the last connection the user goes, too."""
    live = live_with()
    key, _, _ = live.user_opened("7", "websocket")

    live.user_ended(key, "websocket")

    assert (0.0, 0.0) == users(live)


def test_a_key_of_nobody_ends_nothing() -> None:
    """A connection that ends after everything was forgotten changes nothing."""
    live = live_with()
    key, _, _ = live.user_opened("7", "websocket")
    live.after_fork()

    live.user_ended(key, "websocket")

    assert (0.0, 0.0) == users(live)


def test_a_users_key_does_not_tell_the_id() -> None:
    """What is kept of a user is a salted hash: another process has another one, and it has no id in it."""
    first, second = (live_with().user_opened("1234567890", "websocket")[0] for _ in range(2))

    assert first != second
    assert b"1234567890" not in first
    assert 8 == len(first)


@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["websocket", "sse"])), max_size=20))
def test_after_all_connections_ended_no_user_is_left(steps: list[tuple[str, str]]) -> None:
    """Whatever opens and ends in whatever order, in the end nobody is there."""
    live = live_with()
    keys = [(live.user_opened(user, transport)[0], transport) for user, transport in steps]
    expected = {user: {one for who, one in steps if who == user} for user, _ in steps}
    assert (len(expected), sum(len(one) > 1 for one in expected.values())) == users(live)

    for key, transport in reversed(keys):
        live.user_ended(key, transport)

    assert (0.0, 0.0) == users(live)


def test_users_from_threads_are_counted_exactly() -> None:
    """Eight threads that open and end connections of the same users leave nobody behind."""
    live = live_with()

    def work(_: int) -> None:
        for number in range(500):
            key, _, _ = live.user_opened(str(number % 5), "websocket")
            live.user_ended(key, "websocket")

    race(8, work)

    assert (0.0, 0.0) == users(live)


# --- by id ------------------------------------------------------------------------------------------------------
def test_connections_are_counted_by_the_chosen_id() -> None:
    """Open connections are broken down by the id that the operator chose, and by no other."""
    live = live_with(
        Open(ids={"tournament.id": "1", "match.id": "5"}),
        Open(ids={"tournament.id": "1"}),
        Open(ids={"tournament.id": "2"}),
        Open(),
        metric_ids=("tournament.id",),
    )

    counts = set(live.by_id())

    assert {("tournament_id", "1", 2.0), ("tournament_id", "2", 1.0)} == counts


def test_nothing_is_counted_by_id_unless_the_operator_chose_one() -> None:
    """Without the setting there is no breakdown."""
    live = live_with(Open(ids={"tournament.id": "1"}))

    assert [] == list(live.by_id())


def test_at_most_200_ids_are_told_apart() -> None:
    """The busiest 200 ids are told, the rest together as ``_OTHER``, so that the sum is right."""
    crowded = [Open(ids={"tournament.id": "0"}) for _ in range(3)]
    live = live_with(
        *(Open(ids={"tournament.id": str(number)}) for number in range(1, 205)),
        *crowded,
        metric_ids=("tournament.id",),
    )

    counts = {value: count for _, value, count in live.by_id()}

    assert 200 == BY_ID_LIMIT
    assert 201 == len(counts)
    assert (3.0, 5.0, 207.0) == (counts["0"], counts[OTHER], sum(counts.values()))


def test_each_chosen_id_has_its_own_cap() -> None:
    """Two chosen ids are counted apart, each with its 200."""
    live = live_with(
        *(Open(ids={"tournament.id": str(number), "match.id": "1"}) for number in range(201)),
        metric_ids=("tournament.id", "match.id"),
    )

    counts = list(live.by_id())

    assert ("match_id", "1", 201.0) in counts
    assert ("tournament_id", OTHER, 1.0) in counts


# --- the process ------------------------------------------------------------------------------------------------
def test_memory_is_told_in_bytes() -> None:
    """Where the platform tells it, resident memory is a number of bytes that a Python process has."""
    values = [value for _, value in live_with().read(semconv.PROCESS_MEMORY)]

    assert all(1e6 < value < 1e11 for value in values)


def test_what_is_no_more_is_told_as_nothing() -> None:
    """A series that vanished would stand at its last number where it is pushed to; one that never was is not told."""
    one = Open(last_send_bad=True)
    live = live_with(one)
    before = dict(live.read(semconv.CONNECTION_HEALTH)), dict(live.read(semconv.CONNECTION_AGE))
    live.ended(one)

    assert ({("websocket", "unhealthy"): 1.0}, {("websocket", "under_5m"): 1.0}) == before
    assert {("websocket", "unhealthy"): 0.0} == dict(live.read(semconv.CONNECTION_HEALTH))
    assert {("websocket", "under_5m"): 0.0} == dict(live.read(semconv.CONNECTION_AGE))


def test_cpu_utilization_is_a_share_of_half_a_second_or_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look just after another, as of a scrape and a verdict, repeats it and tells nothing of the moment between."""
    spent = {"perf_counter": 100.0, "process_time": 10.0}
    for clock in spent:
        monkeypatch.setattr(time, clock, partial(spent.get, clock))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    live, values = live_with(), []
    for wall, cpu in ((0.25, 0.25), (0.5, 0.125), (0.25, 0.25), (0.75, 0.75), (1.0, 8.0)):
        spent["perf_counter"] += wall
        spent["process_time"] += cpu
        values += [value for _, value in live.read(semconv.PROCESS_CPU)]

    assert [0.0, 0.125, 0.125, 0.25, 1.0] == values


def test_a_metric_that_is_not_live_has_no_series_here() -> None:
    """What the ledger counts is not told here."""
    series = list(live_with(Open()).read(semconv.MESSAGES))

    assert [] == series


def test_forgetting_leaves_nothing() -> None:
    """After ``clear`` nobody is connected: a forked child has none of its parent's connections."""
    live = live_with(Open(ids={"match.id": "1"}), metric_ids=("match.id",))
    live.user_opened("7", "websocket")

    live.after_fork()

    assert (0, (0.0, 0.0), []) == (len(live), users(live), list(live.by_id()))
