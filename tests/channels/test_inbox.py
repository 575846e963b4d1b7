"""What comes with a worker's messages gets to their handlers, whatever is between."""

from __future__ import annotations

import pytest

pytest.importorskip("channels")

from otel_ws.channels.carrier import Carrier
from otel_ws.channels.inbox import Handed


def filled(count: int, is_watched: bool) -> tuple[Handed, list[dict[str, int]]]:
    """So many messages that were handed over, each sent at its number."""
    handed, messages = Handed(), [{"n": number} for number in range(count)]
    handed.is_watched = is_watched
    for number, message in enumerate(messages):
        handed.put(message, Carrier(float(number), "_OTHER", None))
    return handed, messages


def sent_at(handed: Handed, message: object) -> float | None:
    """When a message was sent that goes to its handler now."""
    carrier = handed.taken(message)
    return None if carrier is None else carrier.sent_at


def test_a_message_that_was_dropped_is_passed_over() -> None:
    """What came with it goes to nobody."""
    handed, messages = filled(4, True)

    assert [2, 3, None] == [sent_at(handed, one) for one in (messages[2], messages[3], {})]


def test_a_message_that_was_made_anew_is_the_next_one() -> None:
    """Something between copies each of them."""
    handed, messages = filled(3, True)

    assert [0, 1, 2] == [sent_at(handed, dict(one)) for one in messages]


def test_for_a_consumer_that_nobody_watches_few_are_kept() -> None:
    """The last ones; for one that is watched all of them, until it is gone."""
    few, messages = filled(1000, False)
    everything, others = filled(1000, True)

    assert (900, 0) == (sent_at(few, messages[900]), sent_at(everything, others[0]))
    everything.leave()
    assert sent_at(everything, others[1]) is None
