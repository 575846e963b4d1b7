"""An application of groups, workers and streams, with otel-ws where ``OBSERVED`` says so.

GET /state             what otel-ws counts in this process
GET /told/GROUP/COUNT  tells a group so often, and answers how often that worked and what was raised
GET /asked/CHANNEL/KIND,KIND/COUNT  sends so many messages of each kind to a worker
GET /stream/           a Django view that streams what the group `room_7` is told
GET /consumed/         a consumer that streams ten events by itself, one every tenth of a second
WS  /ws/ROOM           hears what the group is told, after ``?slow`` milliseconds each
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "arena_settings")

import django

django.setup()

import core  # type: ignore[import-not-found]
from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path, re_path

SLOW_SECONDS, LONG_SECONDS = 0.2, 60.0
EVENT_STREAM = [(b"content-type", b"text/event-stream")]


class Member(AsyncJsonWebsocketConsumer):
    """Hands its client what its group is told."""

    async def connect(self) -> None:
        """Join."""
        self.slow = int(self.scope["query_string"] or 0) / 1000
        self.groups = [f"room_{self.scope['url_route']['kwargs']['room_id']}"]
        await self.channel_layer.group_add(self.groups[0], self.channel_name)
        await self.accept()

    async def room_news(self, event: Any) -> None:
        """As it came, in its own time."""
        await asyncio.sleep(self.slow)
        await self.send_json(event["number"])


class Worker(AsyncConsumer):
    """Asynchronous handlers."""

    async def work_done(self, message: Any) -> None:
        """Tell the group."""
        await self.channel_layer.group_send("room_7", {"type": "room.news", "number": message["number"]})

    async def work_broken(self, message: Any) -> None:
        """Raise."""
        raise KeyError("Ada Lovelace")

    async def work_slow(self, message: Any) -> None:
        """Take a while, then tell the group."""
        await asyncio.sleep(SLOW_SECONDS)
        await self.work_done(message)

    async def work_stuck(self, message: Any) -> None:
        """Tell the group, and never end."""
        await self.work_done(message)
        await asyncio.sleep(LONG_SECONDS)

    async def work_state(self, message: Any) -> None:
        """Tell the group what otel-ws counts in this process."""
        import otel_ws

        snapshot = otel_ws.get_metrics_snapshot()
        rows = {name: list(map(list, rows.items())) for name, rows in snapshot.items()}
        await self.channel_layer.group_send("room_7", {"type": "room.news", "number": json.dumps(rows)})


class Threaded(SyncConsumer):
    """The same in threads."""

    def work_done(self, message: Any) -> None:
        """Tell the group."""
        async_to_sync(self.channel_layer.group_send)("room_7", {"type": "room.news", "number": message["number"]})

    def work_broken(self, message: Any) -> None:
        """Raise."""
        raise KeyError("Ada Lovelace")

    def work_slow(self, message: Any) -> None:
        """Take a while, then tell the group."""
        time.sleep(SLOW_SECONDS)
        self.work_done(message)

    def work_stuck(self, message: Any) -> None:
        """Tell the group, and take long: nobody can end a thread."""
        self.work_done(message)
        time.sleep(20 * SLOW_SECONDS)


class Ticks(AsyncHttpConsumer):
    """Ten events, one after the other."""

    async def handle(self, body: bytes) -> None:
        """Send them; whether anybody is there is not asked."""
        await self.send_headers(headers=EVENT_STREAM)
        for number in range(10):
            await self.send_body(f"data: {number}\n\n".encode(), more_body=True)
            await asyncio.sleep(0.1)
        await self.send_body(b"")


async def told(request: HttpRequest, group: str, count: int) -> JsonResponse:
    """Tell a group."""
    layer, raised = get_channel_layer(), Counter[str]()
    for number in range(count):
        try:
            await layer.group_send(group, {"type": "room.news", "number": number})
        except Exception as exc:
            raised[type(exc).__name__] += 1
    return JsonResponse({"sent": count - raised.total(), "raised": raised})


async def asked(request: HttpRequest, channel: str, kinds: str, count: int) -> JsonResponse:
    """Ask a worker."""
    for kind in kinds.split(",") * count:
        await get_channel_layer().send(channel, {"type": f"work.{kind}", "number": 1})
    return JsonResponse({})


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """What the group is told."""

    async def events() -> AsyncIterator[bytes]:
        layer = get_channel_layer()
        channel = await layer.new_channel()
        await layer.group_add("room_7", channel)
        try:
            yield b"data: open\n\n"
            while True:
                yield f"data: {json.dumps((await layer.receive(channel))['number'])}\n\n".encode()
        finally:
            await layer.group_discard("room_7", channel)

    return StreamingHttpResponse(events(), content_type="text/event-stream")


urlpatterns = [
    path("told/<str:group>/<int:count>", told),
    path("asked/<str:channel>/<str:kinds>/<int:count>", asked),
    path("stream/", stream),
]

application: Any = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [path("state", core.state), path("consumed/", Ticks.as_asgi()), re_path("", get_asgi_application())]
        ),
        "websocket": URLRouter([path("ws/<int:room_id>", Member.as_asgi())]),
        "channel": ChannelNameRouter({"work": Worker.as_asgi(), "threaded": Threaded.as_asgi()}),
    }
)
if os.environ.get("OBSERVED"):
    import otel_ws

    otel_ws.configure()
    otel_ws.declare(template=os.environ.get("TEMPLATES", "room_{room_id} work threaded").split())
    application = otel_ws.WebSocketMiddleware(application)
