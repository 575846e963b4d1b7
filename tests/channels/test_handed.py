"""What comes with a worker's messages gets to their handlers, whatever is between, and what is lost is counted."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("channels")

from otel_ws.channels.carrier import Carrier
from otel_ws.channels.handed import UNWATCHED_LIMIT, Handed, Taken
from otel_ws.channels.layer import Observed
from otel_ws.testing import Telemetry

SECOND = 1_000_000_000


@pytest.fixture
def layer() -> Observed:
    """What observes a layer of nobody's."""

    class Layer:
        pass

    return Observed(Layer())


def filled(telemetry: Telemetry, layer: Observed, count: int, consumer: object) -> tuple[Handed, list[dict[str, int]]]:
    """So many messages that were handed over, each sent at its number of seconds."""
    handed, messages = Handed("work"), [{"n": number} for number in range(count)]
    if consumer is not None:
        handed.watch(consumer)
    for number, message in enumerate(messages):
        handed.put(layer, "work", one(telemetry, message, number))
    return handed, messages


def one(telemetry: Telemetry, message: object, sent_at: float, taken_at: int = 2000) -> Taken:
    """A message as a listener takes it."""
    carrier = Carrier(float(sent_at), "_OTHER", None)
    return Taken(message, carrier, telemetry.recorder.deliveries.of("_OTHER"), taken_at * SECOND, False)


def sent_at(telemetry: Telemetry, handed: Handed, message: object) -> float | None:
    """When a message was sent that goes to its handler now."""
    taken = handed.next(telemetry.recorder, message)
    return None if taken is None or taken.carrier is None else taken.carrier.sent_at


def dropped(telemetry: Telemetry) -> float:
    """The deliveries that went with their consumer."""
    return telemetry.value("ws.layer.dropped", reason="CONSUMER_GONE")


def consumed(telemetry: Telemetry) -> float:
    """The messages that somebody was given."""
    return telemetry.value("messaging.client.consumed.messages")


def test_a_message_that_was_dropped_is_passed_over(telemetry: Telemetry, layer: Observed) -> None:
    """What came with it goes to nobody; it was given to whoever dropped it."""
    handed, messages = filled(telemetry, layer, 4, object())

    assert [2, 3, None] == [sent_at(telemetry, handed, one) for one in (messages[2], messages[3], {})]
    assert (4, 0) == (consumed(telemetry), dropped(telemetry))


def test_a_message_that_was_made_anew_is_the_next_one(telemetry: Telemetry, layer: Observed) -> None:
    """Something between copies each of them."""
    handed, messages = filled(telemetry, layer, 3, object())

    assert [0, 1, 2] == [sent_at(telemetry, handed, dict(one)) for one in messages]


def test_for_a_consumer_that_nobody_watches_few_are_kept(telemetry: Telemetry, layer: Observed) -> None:
    """The last ones; for one that is watched all of them."""
    few, messages = filled(telemetry, layer, 1000, None)
    everything, others = filled(telemetry, layer, 1000, object())

    first = 1000 - UNWATCHED_LIMIT
    assert (first, 0) == (sent_at(telemetry, few, messages[first]), sent_at(telemetry, everything, others[0]))


def test_what_waits_for_a_consumer_that_is_gone_is_lost(telemetry: Telemetry, layer: Observed) -> None:
    """Its queue goes with it, and each message in it is counted once, though none was consumed."""
    handed, messages = filled(telemetry, layer, 5, object())
    handed.next(telemetry.recorder, messages[0])

    handed.leave()

    assert (1, 4, 0) == (consumed(telemetry), dropped(telemetry), handed.queue(0).depth)


def test_what_comes_before_the_next_consumer_is_lost_too(telemetry: Telemetry, layer: Observed) -> None:
    """The worker has yet to notice: those before the first that the next one handles went into the old queue."""
    handed, _ = filled(telemetry, layer, 1, object())
    handed.leave()
    late: list[dict[str, int]] = [{"late": number} for number in range(3)]
    for message in late:
        handed.put(layer, "work", one(telemetry, message, 1.0))
    handed.watch(object())

    assert 1.0 == sent_at(telemetry, handed, late[2])
    assert (1, 3) == (consumed(telemetry), dropped(telemetry))


def test_nothing_is_kept_for_ever_for_a_consumer_that_never_comes(telemetry: Telemetry, layer: Observed) -> None:
    """What is too much is lost, as it most likely is."""
    handed, _ = filled(telemetry, layer, 0, object())
    handed.leave()
    for number in range(1000):
        handed.put(layer, "work", one(telemetry, {}, number))

    assert (UNWATCHED_LIMIT, 1000 - UNWATCHED_LIMIT) == (handed.queue(0).depth, dropped(telemetry))


def test_queue_is_what_waits_and_how_long_the_oldest_does(telemetry: Telemetry, layer: Observed) -> None:
    """Since it was sent; a sender's clock that is ahead of ours does not make it younger than its arrival."""
    handed, messages = filled(telemetry, layer, 0, object())
    ages: list[Any] = [handed.queue(2005 * SECOND)]
    handed.put(layer, "work", one(telemetry, messages, 1990, taken_at=2000))
    ages.append(handed.queue(2005 * SECOND))
    handed.next(telemetry.recorder, messages)
    handed.put(layer, "work", one(telemetry, messages, 2222, taken_at=2000))
    ages.append(handed.queue(2005 * SECOND))

    assert [(0, 0.0), (1, 15.0), (1, 5.0)] == [(queue.depth, round(queue.age, 6)) for queue in ages]


def test_consumers_own_channel_is_another_queue(telemetry: Telemetry, layer: Observed) -> None:
    """What its group is told is not what waits in its channel, nor is an answer that its handler waits for."""

    class Consumer:
        channel_name = "own!1"

    handed, messages = filled(telemetry, layer, 1, Consumer())
    told: dict[str, int] = {}

    assert not handed.put(layer, "answers!2", one(telemetry, {}, 9))
    assert handed.put(layer, "own!1", one(telemetry, told, 7))
    assert [7, 0] == [sent_at(telemetry, handed, one) for one in (told, messages[0])]
