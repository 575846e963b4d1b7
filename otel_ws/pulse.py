"""What happens by the clock on the event loop: its lag is measured, totals and verdicts are told.

A timer runs while connections are open and a minute longer, so that a verdict can settle; an idle process stays
idle. It knows the loop, not what is told.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from typing import Final

from otel_ws import recorder
from otel_ws.faults import fault
from otel_ws.health import WINDOW_SECONDS

INTERVAL: Final = 1.0
# References, because a plain set of them is looked up in C.
_beating: Final[set[weakref.ref[asyncio.AbstractEventLoop]]] = set()


def beat() -> None:
    """Keep the timer of the running event loop going; under another kind of loop there is none."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if weakref.ref(loop) not in _beating:
        active = recorder.active()
        if active is not None:
            active.serves()
        _beating.difference_update([one for one in _beating if one() is None])
        _beating.add(weakref.ref(loop))
        _arm(loop, loop.time())


def _arm(loop: asyncio.AbstractEventLoop, busy_at: float) -> None:
    # In a context of its own: what is told by the clock belongs to nobody's request.
    loop.call_later(INTERVAL, _tick, loop, busy_at, loop.time() + INTERVAL, context=contextvars.Context())


def _tick(loop: asyncio.AbstractEventLoop, busy_at: float, due: float) -> None:
    active = recorder.active()
    if active is None:
        _beating.discard(weakref.ref(loop))
        return
    active.serves()
    try:
        active.loop_lagged(max(0.0, loop.time() - due))
    except Exception as exc:
        fault("pulse", exc)
    _do(active.on_pulse)
    if active.attempts:
        busy_at = loop.time()
    if loop.time() - busy_at <= WINDOW_SECONDS + 10:
        _arm(loop, busy_at)
    else:
        _beating.discard(weakref.ref(loop))
        _do(active.on_idle)


def _do(things: list[Callable[[], None]]) -> None:
    for one in things:
        try:
            one()
        except Exception as exc:
            fault("pulse", exc)
