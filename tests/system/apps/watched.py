"""An application with the live page beside it, and a group whose members hear each other."""

from __future__ import annotations

from typing import Any

import core  # type: ignore[import-not-found]
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

import otel_ws
from otel_ws import endpoints


class Member(AsyncJsonWebsocketConsumer):
    """Tells the group what its client says, and its client what the group is told."""

    groups = ("room_7",)
    message_types = ("news",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """To everybody."""
        await self.channel_layer.group_send("room_7", {"type": "room.news", "text": content})

    async def room_news(self, event: Any) -> None:
        """As it came."""
        await self.send_json(event)


otel_ws.configure()
otel_ws.declare(template="room_{room_id}")
rooms = URLRouter([path("ws/room/", Member.as_asgi())])
watched = otel_ws.WebSocketMiddleware(ProtocolTypeRouter({"http": core.state, "websocket": rooms}))
plain = otel_ws.WebSocketMiddleware(core.application)
page = endpoints.application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The group, the application of the other tests, or what watches both."""
    where = scope.get("path", "/ws/room/")
    chosen = watched if where.startswith("/ws/room/") else plain if where.startswith(("/ws/", "/state")) else page
    await chosen(scope, receive, send)
