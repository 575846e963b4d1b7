"""The application with its two lines of otel-ws: ``configure()`` and ``WebSocketMiddleware``."""

import os

import otel_ws

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tournament.settings")
otel_ws.configure()

from tournament.routing import application as channels_application  # noqa: E402

application = otel_ws.WebSocketMiddleware(channels_application)
