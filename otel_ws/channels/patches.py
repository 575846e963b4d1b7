"""The table of patched seams: ``apply`` and ``revert`` walk the same table.

Private touch: three public methods of Channels are replaced on their classes, because Channels offers no place
to register an observer. Each is checked for its shape first; one that looks otherwise is left alone and told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

from otel_ws.channels import routing
from otel_ws.channels.consumer import observed_call
from otel_ws.faults import fault


@dataclass(frozen=True, slots=True)
class Seam:
    """One method of Channels and what takes its place."""

    owner: type
    attribute: str
    wrap: Callable[[Any], Any]


SEAMS: Final = (
    Seam(ProtocolTypeRouter, "__call__", routing.observed_protocols),
    Seam(URLRouter, "__call__", routing.observed_urls),
    Seam(AsyncConsumer, "__call__", observed_call),
)
_applied: Final[dict[Seam, tuple[Any, Any]]] = {}


class ShapeError(Exception):
    """A seam does not look as expected in the installed version of Channels."""


def apply() -> Callable[[], None]:
    """Replace every seam, once; returns what undoes this call (nothing, if all were replaced already)."""
    if _applied:
        return lambda: None
    for seam in SEAMS:
        original = vars(seam.owner).get(seam.attribute)
        if not inspect.iscoroutinefunction(original) or len(inspect.signature(original).parameters) != 4:
            fault(f"patches.{seam.owner.__name__}", ShapeError())
            continue
        wrapped = seam.wrap(original)
        setattr(seam.owner, seam.attribute, wrapped)
        _applied[seam] = (original, wrapped)
    return revert


def revert() -> None:
    """Put every seam back. One that somebody wrapped after us keeps their wrapper; ours is inert by then."""
    for seam, (original, wrapped) in list(_applied.items()):
        if vars(seam.owner).get(seam.attribute) is wrapped:
            setattr(seam.owner, seam.attribute, original)
    _applied.clear()
    routing.unwatch()
