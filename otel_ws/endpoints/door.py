"""The door: who may ask is answered, in a thread where that takes time; a failure of ours is an answer, too.

It knows requests and replies, and refuses to know what an answer means.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from otel_ws import processes, recorder
from otel_ws.endpoints import entrance
from otel_ws.endpoints.access import ADMITTED, UNKNOWN
from otel_ws.endpoints.answers import PAGE, ROUTES, found
from otel_ws.endpoints.routes import JSON, LOOK, SAFE_HEADERS, Reply, Request, Route, error
from otel_ws.faults import fault

BODY_LIMIT: Final = 8192


async def respond(request: Request, standing: int) -> Reply:
    """Answer a request of somebody who may look (``standing`` is 200) or may not (401, 403). Never raises."""
    try:
        path = found(request.path)
        if path is None:
            if request.path == PAGE.rstrip("/"):
                return Reply(308, headers=(("Location", PAGE.strip("/") + "/"),))
            return error(404)
        route = ROUTES[path]
        if request.method not in route.methods:
            return error(405, ("Allow", ", ".join(route.methods)))
        if path == PAGE and (request.method == "POST" or standing != ADMITTED):
            return _at_entrance(request, standing)
        if not route.is_open and standing != ADMITTED:
            return error(standing)
        return await _in_thread(route, request) if route.thread else route.answer(request)
    except Exception as exc:
        fault("endpoints", exc)
        return error(500)


def headers(reply: Reply) -> list[tuple[str, str]]:
    """All headers of a reply."""
    kind = [("Content-Type", reply.content_type)] if reply.body or reply.content_type != JSON else []
    return [*kind, ("Content-Length", str(len(reply.body))), *SAFE_HEADERS, *reply.headers]


def _at_entrance(request: Request, standing: int) -> Reply:
    if request.method == "POST":
        return entrance.answer(request)
    if "text/html" not in request.headers.get("accept", ""):
        return error(standing)
    return entrance.form(UNKNOWN if standing == UNKNOWN else standing)


async def _in_thread(route: Route, request: Request) -> Reply:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # Another kind of loop: answered on the spot.
        return _answered(route, request)
    if route.thread not in _threads:
        _threads[route.thread] = ThreadPoolExecutor(1, f"otel-ws-{route.thread}")
    return await loop.run_in_executor(_threads[route.thread], _answered, route, request)


def _answered(route: Route, request: Request) -> Reply:
    if route.thread == LOOK and recorder.active() is not None and not processes.join():
        return error(0, ("Retry-After", "1"))
    return route.answer(request)


# One each: many who ask at once wait for one answer, which all of them get.
_threads: Final[dict[str, ThreadPoolExecutor]] = {}

if hasattr(os, "register_at_fork"):
    # A child has none of its parent's threads.
    os.register_at_fork(after_in_child=_threads.clear)
