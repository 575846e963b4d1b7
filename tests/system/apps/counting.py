"""The application with the two lines of otel-ws, and a counter of its own."""

from __future__ import annotations

import os

import otel_ws

otel_ws.configure()

from core import application as inner  # type: ignore[import-not-found]
from opentelemetry import metrics

# Another value in each worker: whichever of them answers, the next one may have less.
metrics.get_meter("app").create_counter("app.things").add(os.getpid())
application = otel_ws.WebSocketMiddleware(inner)
