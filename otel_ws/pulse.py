"""What happens by the clock on the event loop: its lag is measured, totals are told every five minutes.

A timer runs only while connections are open, so an idle process stays idle. It knows the loop, not what is told.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Final

from otel_ws.faults import fault
from otel_ws.recorder import Recorder

INTERVAL: Final = 1.0
_beating: Final[weakref.WeakSet[asyncio.AbstractEventLoop]] = weakref.WeakSet()


def beat(recorder: Recorder) -> None:
    """Keep the timer of the running event loop going; under another kind of loop there is none."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if loop not in _beating:
        _beating.add(loop)
        _arm(loop, recorder)


def _arm(loop: asyncio.AbstractEventLoop, recorder: Recorder) -> None:
    loop.call_later(INTERVAL, _tick, loop, recorder, loop.time() + INTERVAL)


def _tick(loop: asyncio.AbstractEventLoop, recorder: Recorder, due: float) -> None:
    try:
        recorder.loop_lagged(max(0.0, loop.time() - due))
    except Exception as exc:
        fault("pulse", exc)
    if recorder.attempts:
        _arm(loop, recorder)
    else:
        _beating.discard(loop)
