"""The table of patched seams: ``apply`` and ``revert`` walk the same table.

Private touch: five public methods of Channels, and the one of Django that finds a request's view, are replaced on
their classes, because neither offers a place to register an observer. Each is checked for its shape first; one that
looks otherwise is left alone and told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from channels.consumer import AsyncConsumer
from channels.layers import ChannelLayerManager, channel_layers
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.worker import Worker
from django.core.handlers.base import BaseHandler

from otel_ws.channels import layer, routing
from otel_ws.channels.consumer import observed_call
from otel_ws.channels.worker import observed_listener
from otel_ws.faults import fault


@dataclass(frozen=True, slots=True)
class Seam:
    """One method, what takes its place, and its shape: the number of parameters, and if it is a coroutine function."""

    owner: type
    attribute: str
    wrap: Callable[[Any], Any]
    parameters: int = 4
    is_async: bool = True

    def fits(self, original: Any) -> bool:
        """Whether the method looks as expected."""
        if not inspect.isfunction(original) or inspect.iscoroutinefunction(original) is not self.is_async:
            return False
        return len(inspect.signature(original).parameters) == self.parameters


SEAMS: Final = (
    Seam(ProtocolTypeRouter, "__call__", routing.observed_protocols),
    Seam(URLRouter, "__call__", routing.observed_urls),
    Seam(AsyncConsumer, "__call__", observed_call),
    Seam(ChannelLayerManager, "__getitem__", layer.observed_backends, 2, False),
    Seam(Worker, "listener", observed_listener, 2),
    Seam(BaseHandler, "resolve_request", routing.observed_resolution, 2, False),
)
_applied: Final[dict[Seam, tuple[Any, Any]]] = {}


class ShapeError(Exception):
    """A seam does not look as expected in the installed version of Channels or Django."""


def apply() -> Callable[[], None]:
    """Replace every seam, once; returns what undoes this call (nothing, if all were replaced already)."""
    if _applied:
        return lambda: None
    for seam in SEAMS:
        original = vars(seam.owner).get(seam.attribute)
        if not seam.fits(original):
            fault(f"patches.{seam.owner.__name__}", ShapeError())
            continue
        wrapped = seam.wrap(original)
        setattr(seam.owner, seam.attribute, wrapped)
        _applied[seam] = (original, wrapped)
    # `runworker` asks for its layer before it loads the application, and never again.
    for alias in list(channel_layers.backends):
        channel_layers[alias]
    return revert


def revert() -> None:
    """Put every seam back. One that somebody wrapped after us keeps their wrapper; ours is inert by then."""
    for seam, (original, wrapped) in list(_applied.items()):
        if vars(seam.owner).get(seam.attribute) is wrapped:
            setattr(seam.owner, seam.attribute, original)
    _applied.clear()
    routing.unwatch()
    layer.unobserve()
