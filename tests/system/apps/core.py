"""The application of the system tests, without a word of otel-ws in it: a Django and Channels app."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from django.conf import settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="only-for-tests",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=[],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    )

import django

django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

CHUNK = "x" * 100_000


class Game(AsyncJsonWebsocketConsumer):
    """Does what its clients ask for."""

    message_types = ("echo", "close", "crash")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echo, close or crash."""
        kind = content.get("type")
        if kind == "close":
            await self.close(content["code"])
        elif kind == "crash":
            raise KeyError("Ada Lovelace")
        else:
            await self.send_json(content)


class Flood(AsyncWebsocketConsumer):
    """Sends much more than a client's and a server's buffers hold, again and again, until the client is gone."""

    async def connect(self) -> None:
        """Accept, and begin."""
        await self.accept()
        self.flood = asyncio.ensure_future(self._flood())

    async def _flood(self) -> None:
        for number in itertools.count():
            await self.send(CHUNK)
            # Ten megabytes at once, then half a megabyte now and then.
            if number > 100 and number % 5 == 0:
                await asyncio.sleep(0.2)

    async def disconnect(self, code: int) -> None:
        """Stop."""
        self.flood.cancel()


class Slow(AsyncWebsocketConsumer):
    """Takes its time to accept."""

    knocks = 0

    async def connect(self) -> None:
        """Count, wait, accept."""
        Slow.knocks += 1
        await asyncio.sleep(0.3)
        await self.accept()


class Refusing(AsyncWebsocketConsumer):
    """Refuses everybody."""

    async def connect(self) -> None:
        """Close before accept."""
        await self.close(4401, "JWT_EXPIRED")


async def state(scope: Any, receive: Any, send: Any) -> None:
    """Answer HTTP: what otel-ws counts in this process, if it is there."""
    import otel_ws

    snapshot = otel_ws.get_metrics_snapshot()
    body = {"knocks": Slow.knocks, "metrics": {name: list(map(list, rows.items())) for name, rows in snapshot.items()}}
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


application = ProtocolTypeRouter(
    {
        "http": state,
        "websocket": URLRouter(
            [
                path("ws/match/<int:match_id>/", Game.as_asgi()),
                path("ws/flood/", Flood.as_asgi()),
                path("ws/slow/", Slow.as_asgi()),
                path("ws/refused/", Refusing.as_asgi()),
            ]
        ),
    }
)
