"""The monitoring endpoints and the live page for a plain ASGI application.

    app = otel_ws.endpoints.application()           # of its own, on a port of its own
    Mount("/ops", otel_ws.endpoints.application())  # Starlette, FastAPI

Django projects include ``otel_ws.django.urls`` instead. What is told, and who may ask: docs/endpoints.md.
"""

from __future__ import annotations

from otel_ws import unseen
from otel_ws.endpoints.access import access as standing
from otel_ws.endpoints.access import headers_of
from otel_ws.endpoints.answers import SOCKET
from otel_ws.endpoints.door import BODY_LIMIT, headers, respond
from otel_ws.endpoints.monitor import monitoring_socket
from otel_ws.endpoints.routes import Reply, Request, error
from otel_ws.types import ASGIApp, Receive, Scope, Send

__all__ = ["application", "monitoring_socket"]


def application() -> ASGIApp:
    """An ASGI application that answers the endpoints, at its root or wherever it is mounted.

    Staff are known where Channels' or Starlette's authentication middleware put a user with ``is_staff`` into
    ``scope["user"]``; everybody else needs the token (``OTEL_WS_TOKEN_FILE``).

    Source: ASGI specification 3.0, "HTTP", "WebSocket" and "Lifespan".
    """
    return _answered


async def _answered(scope: Scope, receive: Receive, send: Send) -> None:
    kind = scope["type"]
    if kind == "websocket":
        await (monitoring_socket if _path(scope).rstrip("/") == SOCKET else _closed)(scope, receive, send)
    elif kind == "http":
        request = await _request(scope, receive)
        reply = error(413) if request is None else await respond(request, standing(scope))
        await _send(reply, scope, send)
    elif kind == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    else:
        raise ValueError("otel_ws.endpoints.application() answers http, websocket and lifespan")


def _path(scope: Scope) -> str:
    """The path below the place where the application is mounted."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path") or "")
    return (path[len(root) :] if root and path.startswith(f"{root}/") else path) or "/"


async def _request(scope: Scope, receive: Receive) -> Request | None:
    """The request with its body; ``None`` where that is larger than any that we take."""
    body = b""
    if scope["method"] == "POST":
        more = True
        while more and len(body) <= BODY_LIMIT:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
    found = headers_of(scope)
    is_secure = "https" in (scope.get("scheme"), found.get("x-forwarded-proto"))
    return None if len(body) > BODY_LIMIT else Request(scope["method"], _path(scope), found, is_secure, body)


async def _send(reply: Reply, scope: Scope, send: Send) -> None:
    told = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers(reply)]
    await send({"type": "http.response.start", "status": reply.status, "headers": told})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})


async def _closed(scope: Scope, receive: Receive, send: Send) -> None:
    """There is one WebSocket; who asks for another is no client of the application either."""
    unseen.withdraw()
    if (await receive())["type"] == "websocket.connect":
        await send({"type": "websocket.close", "code": 4404})
