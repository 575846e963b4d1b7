"""A wall: one place of the way out where what passes is cleared, or stopped. A canary proves it, and ends there.

It knows how one method is stood in front of, and refuses to know what a span, a record or a point is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_ws import faults
from otel_ws.sdk._private.pipelines import (
    Standing,
    Undo,
    interpose,
    is_called,
    is_interposed,
    weakly,
)


class CanaryFailedError(Exception):
    """A wall let a marked value through, or was not asked at all."""


class Wall:
    """In front of ``name`` on ``thing``: a pipeline's entrance, a reader, an exporter.

    ``clear`` gives back what may pass, or ``None`` where nothing may; ``answer`` is what the caller is told then.
    """

    def __init__(self, thing: object, name: str, clear: Callable[[Any], Any], answer: object, signal: str) -> None:
        # The wall goes with what it stands in front of.
        self._thing = weakly(thing)
        self.kind = type(thing)
        self.signal = signal
        self.is_proven = False
        self.is_blocked = False
        self.method = name
        self._clear = clear
        self._answer = answer
        self._canary: object = self
        self._caught: Any = None

    @property
    def thing(self) -> Any:
        """What stands behind it; ``None`` where that is no more."""
        return self._thing()

    @property
    def label(self) -> str:
        """The class of what stands behind it."""
        return self.kind.__name__

    def build(self, by: object) -> Undo | None:
        """Stand in front, once; returns what undoes it.

        Raises:
            ShapeError: the object takes no method of ours.
        """
        if is_interposed(self.thing, self.method, by):
            return None
        return interpose(self.thing, self.method, self._around, by)

    def _around(self, original: Callable[..., Any], standing: Standing) -> Callable[..., Any]:
        clear, answer, place = self._clear, self._answer, f"gate.{self.signal}"

        def passed(given: Any, *args: Any, **kwargs: Any) -> Any:
            if not standing.is_wanted:
                return original(given, *args, **kwargs)
            try:
                kept = clear(given)
            except Exception as exc:
                # What cannot be cleared does not leave; the application goes on.
                faults.fault(place, exc)
                kept = None
            if given is self._canary:
                self._caught = kept
                return answer
            if kept is None:
                return answer
            if self.is_blocked:
                faults.fault(f"{place}.blocked", CanaryFailedError())
                return answer
            return original(kept, *args, **kwargs)

        return passed

    def prove(self, canary: object, is_clear: Callable[[Any], bool], by: object) -> bool:
        """Send a marked value the way that the SDK sends its own, and see that it arrives cleared; it ends here.

        Where it does not, nothing passes any more.
        """
        self._caught = None
        if is_called(self.thing, self.method, by):
            self._canary = canary
            try:
                getattr(self.thing, self.method)(canary)
            except Exception as exc:
                faults.fault(f"gate.{self.signal}", exc)
            finally:
                self._canary = self
        caught, self._caught = self._caught, None
        self.is_proven = caught is not None and is_clear(caught)
        self.is_blocked = not self.is_proven
        return self.is_proven
