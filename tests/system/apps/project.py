"""A Django project with the monitoring endpoints in its URLs, and its consumers beside them."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="project",
    INSTALLED_APPS=["otel_ws.django"],
    MIDDLEWARE=[],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    OTEL_WS={"TOKEN_FILE": os.environ["TOKEN_FILE"]},
)

import core  # type: ignore[import-not-found]
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import include, path

import otel_ws
from otel_ws.endpoints import monitoring_socket

otel_ws.configure()
urlpatterns = [path("ops/", include("otel_ws.django.urls"))]
django = get_asgi_application()
sockets = URLRouter(
    [
        path("ws/match/<int:match_id>/", core.Game.as_asgi()),
        path("ws/refused/", core.Refusing.as_asgi()),
        path("ops/events/monitor", monitoring_socket),
    ]
)


async def http(scope: Any, receive: Any, send: Any) -> None:
    """What the tests ask of every application, or the project."""
    await (core.state if scope["path"] == "/state" else django)(scope, receive, send)


application = otel_ws.WebSocketMiddleware(ProtocolTypeRouter({"http": http, "websocket": sockets}))
