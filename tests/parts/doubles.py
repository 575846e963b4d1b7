"""Stand-ins that tests of several places share: a clock that a test moves, and a user as far as Django goes.

On the path of every test; it knows nothing of what is tested.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds that pass only when a test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Seconds since some moment."""
        return self.now


@dataclass
class User:
    """An authenticated user."""

    pk: object
    is_authenticated: bool = True
