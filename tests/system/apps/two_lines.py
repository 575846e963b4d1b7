"""The application with the two lines of otel-ws."""

from __future__ import annotations

from core import application as inner  # type: ignore[import-not-found]

import otel_ws

otel_ws.configure()
application = otel_ws.WebSocketMiddleware(inner)
