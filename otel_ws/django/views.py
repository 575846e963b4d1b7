"""Django's view of the endpoints: a request of Django's in, a response of Django's out; nothing is decided here."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from otel_ws.endpoints.access import REFUSED, decide, settings
from otel_ws.endpoints.door import BODY_LIMIT, headers, respond
from otel_ws.endpoints.routes import Request, error
from otel_ws.faults import fault


# The one form that is posted here carries its own secret.
@csrf_exempt  # type: ignore[untyped-decorator]
async def endpoint(request: HttpRequest, route: str) -> HttpResponse:
    """Answer one endpoint; staff are known by Django's authentication middleware."""
    found = {name.lower(): value for name, value in request.headers.items()}
    try:
        peer = (request.META.get("REMOTE_ADDR", ""), 0)
        standing = decide(found, peer, await _user(request), settings())
    except Exception as exc:
        fault("django.access", exc)
        standing = REFUSED
    body = request.read(BODY_LIMIT + 1) if request.method == "POST" else b""
    if len(body) > BODY_LIMIT:
        reply = error(413)
    else:
        reply = await respond(Request(request.method, route, found, request.is_secure(), body), standing)
    response = HttpResponse(reply.body, status=reply.status)
    del response["Content-Type"]
    for name, value in headers(reply):
        if name == "Set-Cookie":
            response.cookies.load(value)
        else:
            response[name] = value
    return response


async def _user(request: Any) -> object:
    """Who is signed in; nobody where the authentication middleware is not there, or its database is away."""
    look_up = getattr(request, "auser", None)
    if look_up is None:
        return None
    try:
        return await look_up()
    except Exception:
        # The database may be what is wrong, and the token still opens the door.
        return None
