"""An application of one group over Redis, with otel-ws where ``OBSERVED`` says so."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=[],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": os.environ["LAYER"],
            "CONFIG": {"hosts": [{"address": os.environ["REDIS_URL"], "socket_timeout": None}]},
        }
    },
)

import core  # type: ignore[import-not-found]
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path


class Member(AsyncJsonWebsocketConsumer):
    """Tells the group what its client says, and its client what the group is told."""

    groups = ("room_7",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """To everybody; where the layer is away, the client is told so."""
        try:
            await self.channel_layer.group_send("room_7", {"type": "room.news", "text": content})
        except Exception as exc:
            await self.send_json({"failed": type(exc).__name__})

    async def room_news(self, event: Any) -> None:
        """As it came."""
        await self.send_json(event)


application = ProtocolTypeRouter({"http": core.state, "websocket": URLRouter([path("ws/", Member.as_asgi())])})
if os.environ.get("OBSERVED"):
    import otel_ws

    otel_ws.configure()
    otel_ws.declare(template="room_{room_id}")
    application = otel_ws.WebSocketMiddleware(application)
