"""The offsets of one route's busy series in the ledger, looked up once, so that a message costs only additions.

It knows which cells a message touches, not when. Series that need a value of their own (a message type, a status)
are looked up when the value first comes.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from otel_ws.ledger import Ledger
from otel_ws.semconv import (
    BACKLOGGED,
    BUSY_TIME,
    MESSAGE_LATENCY,
    MESSAGE_SIZE,
    MESSAGE_WAIT,
    MESSAGES,
    MESSAGES_SENT,
    SEND_DURATION,
)

_SIZES: Final = MESSAGE_SIZE.bounds
_SIZE_SUM: Final = len(_SIZES) + 1
_TIMES: Final = MESSAGE_LATENCY.bounds
_TIME_SUM: Final = len(_TIMES) + 1
assert MESSAGE_WAIT.bounds == SEND_DURATION.bounds == _TIMES


class Tally:
    """One route on one transport."""

    __slots__ = (
        "_backlogged", "_busy", "_latency", "_ledger", "_messages", "_received", "_send", "_sent", "_sent_failed",
        "_transmitted", "_wait", "door",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, door: tuple[str, str]) -> None:
        self.door = door
        self._ledger = ledger
        self._wait = ledger.series(MESSAGE_WAIT, door)
        self._received = ledger.series(MESSAGE_SIZE, (door[1], "receive"))
        self._transmitted = ledger.series(MESSAGE_SIZE, (door[1], "transmit"))
        self._send = ledger.series(SEND_DURATION, door)
        self._sent = ledger.series(MESSAGES_SENT, (*door, "success"))
        self._sent_failed = ledger.series(MESSAGES_SENT, (*door, "error"))
        self._backlogged = ledger.series(BACKLOGGED, door)
        self._busy = ledger.series(BUSY_TIME, door)
        self._latency: dict[str, int] = {}
        self._messages: dict[tuple[str, str], int] = {}

    def received(self, size: int, was_queued: bool) -> None:
        """A client's message of ``size`` bytes was handed to us."""
        cells = self._ledger.local.cells
        cells[self._received + bisect_left(_SIZES, size)] += 1.0
        cells[self._received + _SIZE_SUM] += size
        if was_queued:
            cells[self._backlogged] += 1.0

    def handled(self, message_type: str, status: str, waited: float, seconds: float) -> int:
        """Its handler ended; returns the offset of the latency's series and bucket, for an exemplar."""
        latency = self._latency.get(message_type)
        if latency is None:
            latency = self._latency[message_type] = self._ledger.series(MESSAGE_LATENCY, (*self.door, message_type))
        message = self._messages.get((message_type, status))
        if message is None:
            labels = (*self.door, message_type, status)
            message = self._messages[message_type, status] = self._ledger.series(MESSAGES, labels)
        cells = self._ledger.local.cells
        cells[message] += 1.0
        bucket = latency + bisect_left(_TIMES, seconds)
        cells[bucket] += 1.0
        cells[latency + _TIME_SUM] += seconds
        cells[self._wait + bisect_left(_TIMES, waited)] += 1.0
        cells[self._wait + _TIME_SUM] += waited
        cells[self._busy] += seconds
        return bucket

    def busy(self, seconds: float) -> None:
        """Another handler (connect, disconnect, one of the layer's messages) ended."""
        self._ledger.local.cells[self._busy] += seconds

    def sent(self, size: int, seconds: float, failed: bool) -> None:
        """The server took a message of ``size`` bytes, or refused it."""
        cells = self._ledger.local.cells
        cells[self._send + bisect_left(_TIMES, seconds)] += 1.0
        cells[self._send + _TIME_SUM] += seconds
        if failed:
            cells[self._sent_failed] += 1.0
        else:
            cells[self._sent] += 1.0
            cells[self._transmitted + bisect_left(_SIZES, size)] += 1.0
            cells[self._transmitted + _SIZE_SUM] += size
