"""A connection that is not told: whoever watches the application's connections is none of them.

It knows how to let go of a connection that was opened a moment ago, and refuses to know why.
"""

from __future__ import annotations

from typing import Any

from otel_ws.connection import Connection, State, current


def withdraw() -> None:
    """The WebSocket whose application runs here is not to be told: it counts nowhere, and its spans never end.

    Called by that application before it accepts; afterwards, or outside of a connection, it does nothing.
    """
    connection = current.get()
    if type(connection) is Connection and connection.state is State.CONNECTING:
        # Its messages go through callables that were made for this object, so it is the object that falls silent.
        connection.__class__ = Unseen
        connection.plain = False


class Unseen(Connection):
    """A connection of which nothing is told."""

    __slots__ = ()

    def complete(self, scope: Any, consumer: type) -> bool:
        """Nobody's messages."""
        return False

    def identify(self) -> None:
        """Nobody asks."""

    def set_role(self, role: str) -> None:
        """Nobody asks."""

    def received(self, message: Any, asked_at: float) -> None:
        """Not told."""

    def sending(self) -> float:
        """Not told."""
        return 0.0

    def sent(self, message: Any, started_at: float, exc: BaseException | None = None) -> None:
        """Not told."""

    def disconnected(self, code: int | None) -> None:
        """Not told."""

    def failed(self, exc: BaseException) -> None:
        """Not told."""
        self.finish(None)

    def cancelled(self) -> None:
        """Not told."""
        self.finish(None)

    def returned(self) -> None:
        """Not told."""
        self.finish(None)

    def finish(self, error_type: str | None) -> None:
        """Nothing more will come."""
        if self.scope is not None:
            self.recorder.attempts -= 1
        self.scope = None
