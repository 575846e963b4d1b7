"""The endpoints as URLs: ``path("ops/", include("otel_ws.django.urls"))``. One view answers them all."""

from __future__ import annotations

from django.urls import path

from otel_ws.django.views import endpoint
from otel_ws.endpoints.answers import PAGE, ROUTES

app_name = "otel_ws"


def _name(route: str) -> str:
    return route.strip("/").replace("/", "-").replace(".", "-") if route != PAGE else "page"


# Each with and without a slash at its end, whatever APPEND_SLASH says; the first is the one that is reversed to.
urlpatterns = [
    path(text, endpoint, {"route": f"/{text}"}, name=_name(route))
    for route in ROUTES
    for text in sorted({route.strip("/"), f"{route.strip('/')}/"}, key=lambda text: f"/{text}" == route)
]
