"""The example with the ailments that real applications get; the file that AFFLICTION names says which, if any.

It knows where such a thing goes wrong in Channels, and refuses to know what telemetry says of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import otel_ws

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tournament.settings")
otel_ws.configure()

from channels.exceptions import ChannelFull
from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.module_loading import import_string
from tournament.routing import application as channels_application

CHOSEN = Path(os.environ["AFFLICTION"])
# What one connection leaves in the queue of a worker that nobody started.
LEFT_OVER = 250


class LayerAwayError(Exception):
    """The channel layer cannot be reached."""


def has(ailment: str) -> bool:
    """Whether the application has it now."""
    return CHOSEN.read_text(encoding="utf-8") == ailment


def afflict() -> None:
    """Put the ailments where they belong; each sleeps until it is chosen."""
    # Django is set up by the routing alone.
    from tournament import views
    from tournament.consumers import RoomConsumer

    # Whichever layer the example has here; it is made for the first connection.
    layer = import_string(settings.CHANNEL_LAYERS["default"]["BACKEND"])
    subscribe, enter, send = RoomConsumer.on_subscribe, RoomConsumer.may_enter, layer.group_send
    connect, read_token = BaseDatabaseWrapper.connect, views.read_token

    async def on_subscribe(self: Any, content: dict[str, Any]) -> None:
        if has("slow handler"):
            await asyncio.sleep(0.9)
        if has("blocked loop"):
            time.sleep(0.6)  # noqa: ASYNC251 - that is the ailment
        if has("no worker"):
            with contextlib.suppress(ChannelFull):
                for _ in range(LEFT_OVER):
                    await self.channel_layer.send("refunds", {"type": "refund.pay"})
        await subscribe(self, content)

    async def may_enter(self: Any) -> bool:
        if has("slow connect"):
            await asyncio.sleep(2.6)
        return bool(await enter(self))

    async def group_send(self: Any, group: str, message: dict[str, Any]) -> None:
        if has("slow layer"):
            await asyncio.sleep(0.2)
        if has("layer away"):
            raise LayerAwayError
        await send(self, group, message)

    def connect_database(self: Any) -> None:
        if has("database away"):
            raise OperationalError
        connect(self)

    def read_slowly(token: str) -> Any:
        if has("slow pages"):
            time.sleep(2.5)
        return read_token(token)

    RoomConsumer.on_subscribe = on_subscribe
    RoomConsumer.may_enter = may_enter
    layer.group_send = group_send
    BaseDatabaseWrapper.connect = connect_database
    views.read_token = read_slowly


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The example, behind a network that may be slow."""

    async def send_slowly(message: Any) -> None:
        if message["type"] == "websocket.send" and has("slow network"):
            await asyncio.sleep(6)
        await send(message)

    await watched(scope, receive, send_slowly)


afflict()
watched = otel_ws.WebSocketMiddleware(channels_application)
