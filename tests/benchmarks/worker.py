"""One side of a comparison: a long-lived process that runs slices of work on demand and says what they cost.

    python worker.py MODE CORE               reads lines ``WORK COUNT``, answers with the CPU seconds of the process
    python worker.py MODE count WORK COUNT   does so much, once, without what happens by the clock
    python worker.py MODE serve CORE PORT    the application under uvicorn

The application is the same in every mode; CPU seconds include the exporters' threads.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
import tracemalloc
from typing import Any

import django
from django.conf import settings

MODE, *HOW = sys.argv[1:]
if HOW and HOW[0] != "count":
    os.sched_setaffinity(0, {int(HOW[1] if HOW[0] == "serve" else HOW[0])})

settings.configure(
    SECRET_KEY="not-a-secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    CHANNEL_LAYERS={
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}},
        "redis": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [{"address": os.environ.get("BENCH_REDIS", ""), "socket_timeout": None}]},
        },
    },
)
django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

MESSAGE = '{"type": "heartbeat", "sequence": 1234567, "at": 1}'


class Echo(AsyncJsonWebsocketConsumer):
    """Answers every message with itself."""

    message_types = ("heartbeat",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Send it back."""
        await self.send_json(content)


class Member(AsyncJsonWebsocketConsumer):
    """A member of one group, to which it hands on what the group is sent."""

    groups = ("arena",)

    async def arena_news(self, event: dict[str, Any]) -> None:
        """Hand it on."""
        await self.send_json(event)


class Remote(Member):
    """The same, over Redis."""

    channel_layer_alias = "redis"


async def view(request: Any) -> HttpResponse:
    """Answer with a word."""
    return HttpResponse("ok")


urlpatterns = [path("", view)]


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "metrics": {"message_traces": "off", "message_events": "errors"},
    "only": {"message_traces": "off", "message_events": "errors"},
    "sampled": {"message_sample_ratio": 0.01, "message_events": "errors"},
    "spans": {"message_events": "errors"},
    "everything": {"message_events": "all"},
    "slowed": {"message_traces": "off", "message_events": "errors"},
}
# A tenth of a bare echo, in turns of an empty loop.
TENTH = 310


def providers() -> None:
    """A real SDK with batch processors, whose exporters throw everything away."""
    from opentelemetry import metrics, trace
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class NoSpans(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

    class NoRecords(LogRecordExporter):
        def export(self, batch: Any) -> Any:
            return LogRecordExportResult.SUCCESS

        def shutdown(self) -> None:
            return None

        def force_flush(self, timeout_millis: int = 0) -> bool:
            return True

    tracer_provider = TracerProvider()
    if MODE != "only":
        tracer_provider.add_span_processor(BatchSpanProcessor(NoSpans()))
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    logger_provider = LoggerProvider()
    if MODE != "only":
        logger_provider.add_log_record_processor(BatchLogRecordProcessor(NoRecords()))
    set_logger_provider(logger_provider)


def application() -> Any:
    """The application, bare or as two lines make it."""
    bare = ProtocolTypeRouter(
        {
            "http": get_asgi_application(),
            "websocket": URLRouter(
                [
                    path("ws/echo/<int:match_id>/", Echo.as_asgi()),
                    path("ws/group/", Member.as_asgi()),
                    path("ws/redis/", Remote.as_asgi()),
                ]
            ),
        }
    )
    if MODE == "bare":
        return bare
    import otel_ws

    providers()
    otel_ws.configure(**SETTINGS[MODE])
    if MODE == "slowed":
        slow_down()
    return otel_ws.WebSocketMiddleware(bare)


def slow_down() -> None:
    """Make each received message cost a tenth of a bare echo more."""
    from otel_ws.connection import Connection

    received = Connection.received

    def slower(self: Any, message: Any, asked_at: float) -> None:
        for _ in range(TENTH):
            pass
        received(self, message, asked_at)

    Connection.received = slower  # type: ignore[method-assign]


class Client:
    """The server's side of one connection: two queues and a task."""

    def __init__(self, app: Any, url: str) -> None:
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope: dict[str, Any] = {"type": "websocket", "path": url, "headers": [], "subprotocols": [], "client": None}
        self.task = asyncio.ensure_future(app(scope, self.to_app.get, self.from_app.put))

    async def open(self) -> Client:
        """Connect."""
        self.to_app.put_nowait({"type": "websocket.connect"})
        assert (await self.from_app.get())["type"] == "websocket.accept"
        return self

    async def close(self) -> None:
        """Leave, and wait until the application is done."""
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self.task


class Work:
    """The kinds of work, each counted in its own unit."""

    def __init__(self) -> None:
        self.app = application()

    async def echo(self, count: int) -> None:
        """One unit: a message in, a message out."""
        client = await Client(self.app, "/ws/echo/7/").open()
        for _ in range(count):
            client.to_app.put_nowait({"type": "websocket.receive", "text": MESSAGE})
            await client.from_app.get()
        await client.close()

    async def connect(self, count: int) -> None:
        """One unit: connect, accept, disconnect."""
        for _ in range(count):
            await (await Client(self.app, "/ws/echo/7/").open()).close()

    async def group(self, count: int, alias: str = "default", url: str = "/ws/group/") -> None:
        """One unit: one delivery of a group message."""
        members = [await Client(self.app, url).open() for _ in range(50)]
        layer = get_channel_layer(alias)
        for _ in range(count // 50):
            await layer.group_send("arena", {"type": "arena.news", "text": "hello"})
            for member in members:
                await member.from_app.get()
        for member in members:
            await member.close()

    async def redis(self, count: int) -> None:
        """One unit: one delivery of a group message over Redis."""
        await self.group(count, "redis", "/ws/redis/")

    async def http(self, count: int) -> None:
        """One unit: an HTTP request through the middleware, to a Django view."""

        async def send(message: Any) -> None:
            await asyncio.sleep(0)

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        for _ in range(count):
            asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            asked.put_nowait({"type": "http.request", "body": b""})
            # What follows the request never comes: the client waits for its answer.
            await self.app(scope.copy(), asked.get, send)

    async def memory(self, count: int) -> float:
        """Bytes per idle connection, as tracemalloc sees them."""
        await (await Client(self.app, "/ws/echo/7/").open()).close()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        clients = [await Client(self.app, "/ws/echo/7/").open() for _ in range(count)]
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        for client in clients:
            await client.close()
        return held / count


async def main() -> None:
    """Answer until standard input ends."""
    work = Work()
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        kind, count = line.split()
        gc.collect()
        started = time.process_time()
        result = await getattr(work, kind)(int(count))
        print(result if result is not None else time.process_time() - started, flush=True)


async def once(kind: str, count: int) -> None:
    """So much work, for whoever counts the instructions: nothing by the clock, no garbage collection."""
    work = Work()
    if MODE != "bare":
        from otel_ws import pulse

        pulse.beat = lambda: None
    gc.disable()
    await getattr(work, kind)(50)
    await getattr(work, kind)(count)


def serve(port: int) -> None:
    """Until a signal."""
    import uvicorn

    uvicorn.run(application(), host="127.0.0.1", port=port, log_level="critical", lifespan="off", ws_ping_interval=None)


if HOW and HOW[0] == "count":
    asyncio.run(once(HOW[1], int(HOW[2])))
    # Not the end of the interpreter: what it does there is not the work.
    os._exit(0)
elif HOW and HOW[0] == "serve":
    serve(int(HOW[2]))
else:
    asyncio.run(main())
