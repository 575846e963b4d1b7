"""Which endpoints there are, and what answers each. It refuses to know how a request came, and who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from otel_ws import monitoring
from otel_ws.endpoints import entrance, readiness
from otel_ws.endpoints.routes import LOOK, READINESS, Reply, Request, Route, error, reply
from otel_ws.exposition import OPENMETRICS, TEXT, prefers_openmetrics, render
from otel_ws.health import UNHEALTHY
from otel_ws.monitoring import (
    Seen,
    connections,
    detailed,
    errors,
    events,
    health,
    page,
    performance,
    ws_metrics,
)

PAGE: Final = "/monitoring/"
SOCKET: Final = "/events/monitor"


def _alive(request: Request) -> Reply:
    return reply(200, {"status": "ok"})


def _ready(request: Request) -> Reply:
    told = readiness.answer()
    return reply(200 if told["status"] == readiness.READY else 503, told)


def _of(answer: Callable[[Seen], Mapping[str, Any]], unhealthy: int = 200) -> Callable[[Request], Reply]:
    """Answer with what is seen; with another status where the answer's own verdict is unhealthy."""

    def tell(request: Request) -> Reply:
        seen = monitoring.look()
        if seen is None:
            return error(503)
        if answer not in seen.told:
            told = answer(seen)
            seen.told[answer] = reply(unhealthy if told.get("status") == UNHEALTHY else 200, told)
        found: Reply = seen.told[answer]
        return found

    return tell


def _metrics(request: Request) -> Reply:
    seen = monitoring.look()
    if seen is None:
        return error(503)
    wanted = prefers_openmetrics(request.headers.get("accept", ""))
    if (render, wanted) not in seen.told:
        text = render(seen.overview.snapshot, wanted).encode()
        seen.told[render, wanted] = Reply(200, text, OPENMETRICS if wanted else TEXT)
    found: Reply = seen.told[render, wanted]
    return found


def _asset(path: str) -> Callable[[Request], Reply]:
    name, content_type = page.ASSETS[path]

    def tell(request: Request) -> Reply:
        return Reply(200, page.read(name), content_type)

    return tell


def _page(request: Request) -> Reply:
    return entrance.answer(request) if request.method == "POST" else _asset(PAGE)(request)


ROUTES: Final[Mapping[str, Route]] = {
    "/healthz": Route(_alive, "Whether the process answers at all.", "healthz", is_open=True),
    "/readiness": Route(
        _ready,
        "Whether the database, the cache and the channel layer answer.",
        "readiness",
        is_open=True,
        thread=READINESS,
    ),
    "/health": Route(_of(health.answer), "The verdict, its reasons, and each component's.", "health", thread=LOOK),
    "/health/detailed": Route(_of(detailed.answer), "Each component with its numbers.", "detailed", thread=LOOK),
    "/health/events": Route(_of(events.answer, 503), "How messages are worked off.", "events", thread=LOOK),
    "/monitoring/connection-health": Route(
        _of(connections.answer),
        "Open connections by health, transport and age, now and of late.",
        "connections",
        thread=LOOK,
    ),
    "/monitoring/performance": Route(
        _of(performance.answer), "Times, rates, memory and CPU.", "performance", thread=LOOK
    ),
    "/monitoring/errors": Route(_of(errors.answer), "The errors of the last hour.", "errors", thread=LOOK),
    "/ws-metrics/": Route(_of(ws_metrics.answer), "The few numbers that scripts ask for.", "ws_metrics", thread=LOOK),
    "/metrics": Route(_metrics, "All numbers of otel-ws for Prometheus, as text or OpenMetrics.", thread=LOOK),
    PAGE: Route(_page, "The live page.", methods=("GET", "HEAD", "POST")),
    **{path: Route(_asset(path), "A part of the live page.", is_open=True) for path in page.ASSETS if path != PAGE},
}


def found(path: str) -> str | None:
    """The route's own path, for one with or without a slash at its end."""
    if path in ROUTES:
        return path
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"
    return other if other in ROUTES and other != PAGE else None
