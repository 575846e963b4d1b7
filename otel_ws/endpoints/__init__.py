"""The monitoring endpoints: which there are, and the door of a plain ASGI application to them.

    app = ProtocolTypeRouter({"http": otel_ws.endpoints.application(), …})

Django projects include ``otel_ws.django.urls`` instead.
"""

from __future__ import annotations

from otel_ws.endpoints.access import access as access
from otel_ws.endpoints.routes import Route

ROUTES: dict[str, Route] = {}
