"""The offsets of one route's busy series in the ledger, looked up once, so that a message costs only additions.

It knows which cells a message touches, not when, nor in whose shard: the cells are the connection's, of the thread
that runs its event loop. Series that need a value of their own (a message type, a status) are looked up when the
value first comes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, TypeAlias

from otel_ws.ledger import Ledger
from otel_ws.semconv import (
    ACTIVE,
    BACKLOGGED,
    BUSY_TIME,
    CONNECTION_DURATION,
    CONNECTION_SETUP,
    CONNECTIONS,
    MESSAGE_LATENCY,
    MESSAGE_SIZE,
    MESSAGE_WAIT,
    MESSAGES,
    MESSAGES_SENT,
    SEND_DURATION,
)

_SIZES: Final = MESSAGE_SIZE.bounds
_SIZE_SUM: Final = len(_SIZES) + 1
_SETUP_SUM: Final = len(CONNECTION_SETUP.bounds) + 1
_DURATION_SUM: Final = len(CONNECTION_DURATION.bounds) + 1
_SMALL: Final = _SIZES[0]
_TIMES: Final = MESSAGE_LATENCY.bounds
_TIME_SUM: Final = len(_TIMES) + 1
# Most values are in the first bucket; one comparison is cheaper than a search.
_SHORT: Final = _TIMES[0]
Cells: TypeAlias = "memoryview[float]"
# Role, scope type and subprotocol of a connection, as labels, at its accept.
OpenedAs = tuple[str, str, str]
assert MESSAGE_WAIT.bounds == SEND_DURATION.bounds == _TIMES


class Tally:
    """One route on one transport."""

    __slots__ = (
        "_closed", "_ledger", "_opened", "_received", "_send", "_sent", "_sent_failed", "_series", "_setup",
        "_transmitted", "backlogged", "busy", "door", "wait",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, door: tuple[str, str]) -> None:
        self.door = door
        self._ledger = ledger
        self.wait = ledger.series(MESSAGE_WAIT, door)
        self._received = ledger.series(MESSAGE_SIZE, (door[1], "receive"))
        self._transmitted = ledger.series(MESSAGE_SIZE, (door[1], "transmit"))
        self._send = ledger.series(SEND_DURATION, door)
        self._sent = ledger.series(MESSAGES_SENT, (*door, "success"))
        self._sent_failed = ledger.series(MESSAGES_SENT, (*door, "error"))
        self.backlogged = ledger.series(BACKLOGGED, door)
        self.busy = ledger.series(BUSY_TIME, door)
        self._setup = ledger.series(CONNECTION_SETUP, (*door, "accepted"))
        # The offsets that a connection moves when it opens, and when it closes.
        self._opened: dict[OpenedAs, tuple[int, int]] = {}
        self._closed: dict[tuple[OpenedAs, str, str], tuple[int, int, int]] = {}
        # By message type and status: the offsets of the latency and of the count.
        self._series: dict[tuple[str, str], tuple[int, int]] = {}

    def accepted(self, cells: Cells, opened_as: OpenedAs, setup: float) -> None:
        """A connection was accepted, ``setup`` seconds after it was asked for."""
        series = self._opened.get(opened_as)
        if series is None:
            active = (*self.door, *opened_as[:2])
            connected = self._ledger.series(CONNECTIONS, (*active, "connected", opened_as[2]))
            series = self._opened[opened_as] = connected, self._ledger.series(ACTIVE, active)
        cells[series[0]] += 1.0
        cells[series[1]] += 1.0
        cells[self._setup + bisect_left(CONNECTION_SETUP.bounds, setup)] += 1.0
        cells[self._setup + _SETUP_SUM] += setup

    def closed(self, cells: Cells, opened_as: OpenedAs, active_role: str, code: str, duration: float) -> None:
        """It ended: counted as it was opened, gone from the gauge where its role has moved it since."""
        _, scope_type, subprotocol = opened_as
        series = self._closed.get((opened_as, active_role, code))
        if series is None:
            find = self._ledger.series
            series = self._closed[opened_as, active_role, code] = (
                find(CONNECTIONS, (*self.door, *opened_as[:2], "disconnected", subprotocol)),
                find(ACTIVE, (*self.door, active_role, scope_type)),
                find(CONNECTION_DURATION, (self.door[1], scope_type, code)),
            )
        disconnected, active, lasted = series
        cells[disconnected] += 1.0
        cells[active] -= 1.0
        cells[lasted + bisect_left(CONNECTION_DURATION.bounds, duration)] += 1.0
        cells[lasted + _DURATION_SUM] += duration

    def moved(self, before: str, role: str, scope_type: str) -> None:
        """An open connection has another role: the gauge moves."""
        self._ledger.add(ACTIVE, (*self.door, before, scope_type), -1.0)
        self._ledger.add(ACTIVE, (*self.door, role, scope_type))

    def received(self, cells: Cells, size: int, was_queued: bool) -> None:
        """A client's message of ``size`` bytes was handed to us."""
        offset = self._received
        cells[offset if size <= _SMALL else offset + bisect_left(_SIZES, size)] += 1.0
        cells[offset + _SIZE_SUM] += size
        if was_queued:
            cells[self.backlogged] += 1.0

    def waited(self, cells: Cells, seconds: float, was_queued: bool) -> None:
        """A channel layer's message, of which only its arrival is known, was handed to its handler."""
        cells[self.wait + bisect_left(_TIMES, seconds)] += 1.0
        cells[self.wait + _TIME_SUM] += seconds
        if was_queued:
            cells[self.backlogged] += 1.0

    def handled(self, cells: Cells, message_type: str, status: str, waited: float, seconds: float) -> int:
        """Its handler ended; returns the cell of the latency's bucket, for an exemplar."""
        series = self._series.get((message_type, status))
        if series is None:
            labels = (*self.door, message_type)
            latency = self._ledger.series(MESSAGE_LATENCY, labels)
            series = latency, self._ledger.series(MESSAGES, (*labels, status))
            self._series[message_type, status] = series
        latency, message = series
        cells[message] += 1.0
        bucket = latency if seconds <= _SHORT else latency + bisect_left(_TIMES, seconds)
        cells[bucket] += 1.0
        cells[latency + _TIME_SUM] += seconds
        wait = self.wait
        cells[wait if waited <= _SHORT else wait + bisect_left(_TIMES, waited)] += 1.0
        cells[wait + _TIME_SUM] += waited
        cells[self.busy] += seconds
        return bucket

    def streamed(self, cells: Cells, sizes: Sequence[int], seconds: float, failed: bool) -> None:
        """The server took a part of an event stream, in which events of these sizes ended, or refused it."""
        send = self._send
        cells[send + bisect_left(_TIMES, seconds)] += 1.0
        cells[send + _TIME_SUM] += seconds
        cells[self._sent_failed if failed else self._sent] += len(sizes)
        if not failed:
            for size in sizes:
                cells[self._transmitted + bisect_left(_SIZES, size)] += 1.0
                cells[self._transmitted + _SIZE_SUM] += size

    def sent(self, cells: Cells, size: int, seconds: float, failed: bool) -> None:
        """The server took a message of ``size`` bytes, or refused it."""
        send = self._send
        cells[send if seconds <= _SHORT else send + bisect_left(_TIMES, seconds)] += 1.0
        cells[send + _TIME_SUM] += seconds
        if failed:
            cells[self._sent_failed] += 1.0
        else:
            cells[self._sent] += 1.0
            offset = self._transmitted
            cells[offset if size <= _SMALL else offset + bisect_left(_SIZES, size)] += 1.0
            cells[offset + _SIZE_SUM] += size
