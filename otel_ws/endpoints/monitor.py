"""The WebSocket of the live page: the verdict and all figures, every few seconds, to whoever may look.

Read-only: what a watcher says is not read. It knows ASGI and a watcher's pace, and refuses to know what the figures
mean. Its connections are not counted.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final
from urllib.parse import parse_qs

from otel_ws import monitoring, processes, unseen
from otel_ws.endpoints.access import ADMITTED, REFUSED, access
from otel_ws.endpoints.routes import ERRORS
from otel_ws.faults import fault
from otel_ws.monitoring.figures import figures, past
from otel_ws.types import Receive, Scope, Send

EVERY_SECONDS: Final = 5.0
SLOWEST_SECONDS: Final = 60.0
WATCHERS: Final = 50
# A user in a scope is as they were when the connection came: who has left the staff since has to come again.
SESSION_SECONDS: Final = 300.0
# The most of each that a page is sent at once: what it shows.
LAST: Final = 400
NOT_AUTHENTICATED, NOT_PERMITTED, TOO_MANY = 4401, 4403, 1013

_watchers: Final[set[Watcher]] = set()


class Watcher:
    """One watcher: how often it is told, what it was told already."""

    def __init__(self, query: bytes) -> None:
        asked = parse_qs(query.decode("latin-1"))
        self.every = _seconds(asked.get("every", [""])[-1])
        self.wants_recent = asked.get("recent", [""])[-1] == "1"
        self._is_new = True
        self._told: set[object] = set()

    def frame(self) -> str:
        """The next frame as JSON text; blocks for as long as it takes to ask all workers."""
        seen = monitoring.look()
        if seen is None:
            code, message = ERRORS[503]
            return json.dumps({"error": {"code": code, "message": message}})
        frame = figures(seen)
        if self.wants_recent:
            if self._is_new:
                frame["history"] = past(seen)
            frame["events"], frame["spans"] = self._news(seen.recent)
        self._is_new = False
        return json.dumps(frame, separators=(",", ":"), allow_nan=False)

    def _news(self, recent: Any) -> tuple[list[Any] | None, list[Any] | None]:
        """What came since the last frame; ``None`` where nothing is kept."""
        if recent is None:
            return None, None
        kept = recent.events()[-LAST:], recent.spans()[-LAST:]
        told, self._told = self._told, {one["key"] for of_one_kind in kept for one in of_one_kind}
        events, spans = ([one for one in of_one_kind if one["key"] not in told] for of_one_kind in kept)
        return events, spans


def _seconds(text: str) -> float:
    try:
        asked = float(text)
    except ValueError:
        return EVERY_SECONDS
    # Also what is no number at all.
    return min(SLOWEST_SECONDS, max(1.0, asked)) if asked == asked else EVERY_SECONDS


async def monitoring_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application: ``/events/monitor``, to be routed to by a project's own routing.

    Sends one JSON object (``monitoring/schemas/figures.json``) at once and then every 5 s, or as often as the query
    says (``?every=2``, from 1 to 60 s); with ``?recent=1`` also the events and spans that came since the last one.
    Refuses with 4401 or 4403 whoever may not look, and ends with 1013 where 50 others look already. Whoever may look
    by a session, and not by a token, is sent away with 4401 after five minutes, to be looked up again.
    """
    unseen.withdraw()
    if (await receive()).get("type") != "websocket.connect":
        return
    if not await _is_admitted(scope, send):
        return
    await send({"type": "websocket.accept"})
    # A worker that nobody has connected to yet tells what the others count, too.
    processes.join()
    if len(_watchers) >= WATCHERS:
        await send({"type": "websocket.close", "code": TOO_MANY})
        return
    watcher = Watcher(scope.get("query_string") or b"")
    _watchers.add(watcher)
    until = asyncio.get_running_loop().time() + SESSION_SECONDS
    leaving = asyncio.ensure_future(_left(receive))
    try:
        while not leaving.done():
            try:
                text = await asyncio.to_thread(watcher.frame)
            except Exception as exc:
                fault("endpoints.monitor", exc)
                text = json.dumps({"error": dict(zip(("code", "message"), ERRORS[500], strict=True))})
            await send({"type": "websocket.send", "text": text})
            await asyncio.wait({leaving}, timeout=watcher.every)
            # Who is no longer admitted is told no more.
            if not leaving.done() and not await _is_admitted(scope, send):
                return
            if not leaving.done() and asyncio.get_running_loop().time() >= until and _is_by_session(scope):
                await send({"type": "websocket.close", "code": NOT_AUTHENTICATED})
                return
    except OSError:
        # The watcher is gone.
        return
    finally:
        _watchers.discard(watcher)
        leaving.cancel()


async def _is_admitted(scope: Scope, send: Send) -> bool:
    answer = access(scope)
    if answer != ADMITTED:
        await send({"type": "websocket.close", "code": NOT_PERMITTED if answer == REFUSED else NOT_AUTHENTICATED})
    return answer == ADMITTED


def _is_by_session(scope: Scope) -> bool:
    return access({**scope, "user": None}) != ADMITTED


async def _left(receive: Receive) -> None:
    try:
        while (await receive()).get("type") != "websocket.disconnect":
            pass
    except Exception as exc:
        # Whatever a server raises here, it has no watcher any more.
        fault("endpoints.monitor", exc)
