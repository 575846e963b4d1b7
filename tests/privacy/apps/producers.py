"""One real application in which every producer of telemetry is active, driven with marks; prints what it exported.

Django, Channels over Redis, SQLite, PostgreSQL, a generic DB-API driver, requests, httpx, Celery, logging and system
metrics, each with its instrumentation of opentelemetry-python-contrib, a careless span, metric and logger of the
application's own, and otel-ws in the mode that ``OTEL_WS_GATE`` names. What is exported is what a collector gets: OTLP
over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import sys
import tempfile
import threading
import time
import types
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import services  # type: ignore[import-not-found]

from otel_ws.cli.marks import Marks
from otel_ws.sdk.capture import REQUESTS, exported

MARKS = Marks(os.environ.get("MARKS_SECRET", "producers"))
RECEIVED: list[tuple[str, bytes]] = []
SIGNALS = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}


class Quiet(BaseHTTPRequestHandler):
    """Answers everything, and says nothing on the way."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What requests and httpx ask."""
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        """What a collector gets."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        RECEIVED.append((SIGNALS[self.path], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that is overridden
        """Print nothing."""


@contextlib.contextmanager
def listening() -> Iterator[str]:
    """A server of :class:`Quiet`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


# --- the application ----------------------------------------------------------------------------------------
def instrument() -> None:
    """Switch every instrumentation on, as a project would that does it in code."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.instrumentation.logging import LoggingInstrumentor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

    for one in (
        DjangoInstrumentor, SQLite3Instrumentor, PsycopgInstrumentor, RedisInstrumentor, RequestsInstrumentor,
        HTTPXClientInstrumentor, LoggingInstrumentor, CeleryInstrumentor, SystemMetricsInstrumentor,
    ):  # fmt: skip
        one().instrument()


def log_handler() -> None:
    """The logging instrumentation's handler: on by itself with opentelemetry-instrument, in code where it exists."""
    with contextlib.suppress(ImportError):
        from opentelemetry.instrumentation.logging.handler import LoggingHandler

        if not any(isinstance(one, LoggingHandler) for one in logging.getLogger().handlers):
            logging.getLogger().addHandler(LoggingHandler())


def application(redis_url: str, dsn: str | None, folder: str, echo: str) -> tuple[Any, Any]:
    """The ASGI application and the Celery application."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="only-for-tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=types.ModuleType("urls"),
        USE_TZ=True,
        INSTALLED_APPS=[],
        LOGGING_CONFIG=None,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/shop.sqlite3"}},
        CHANNEL_LAYERS={
            "default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [redis_url]}}
        },
    )
    django.setup()
    import otel_ws

    otel_ws.configure()
    instrument()
    log_handler()

    import httpx
    import psycopg
    import redis
    import requests
    import tasks  # type: ignore[import-not-found]
    from channels.generic.websocket import AsyncJsonWebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.core.asgi import get_asgi_application
    from django.db import connection
    from django.http import HttpResponse
    from django.urls import path, re_path
    from opentelemetry import baggage, context, metrics, trace
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.instrumentation.dbapi import trace_integration
    from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

    # Of no type, because these packages have types of their own only where they are installed.
    driver: Any = types.ModuleType("ledgerdb")
    driver.connect = lambda name: sqlite3.dbapi2.Connection(name)
    trace_integration(driver, "connect", "mysql")

    store: Any = redis.Redis.from_url(redis_url)

    def stores() -> None:
        name, mail = MARKS.person("a SQL literal"), MARKS.email("a SQL parameter")
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 /* {MARKS.word('a SQL comment')} */ WHERE 'x' <> '{name}'")
            cursor.execute("SELECT %s", [mail])
            with contextlib.suppress(Exception):
                cursor.execute(f"SELECT 1 FROM table_{MARKS.word('a table name')}")
        ledger = driver.connect(":memory:")
        ledger.cursor().execute(f"SELECT '{MARKS.email('a generic SQL literal')}'")
        ledger.close()
        store.set(f"user:{MARKS.email('a redis key')}", MARKS.person("a redis value"))
        store.get(f"user:{MARKS.email('a redis key')}")
        with contextlib.suppress(redis.RedisError):
            store.execute_command(f"NO{MARKS.word('a redis command').upper()}", MARKS.phone("a redis argument"))
        with store.pipeline() as pipe:
            pipe.incr(MARKS.word("a pipelined key"))
            pipe.expire(MARKS.word("a pipelined key"), 5)
            pipe.execute()
        if dsn is not None:
            with psycopg.connect(dsn, application_name=MARKS.word("a postgres application")) as one:
                one.execute(f"SELECT '{MARKS.email('a postgres literal')}'")
                one.execute("SELECT %s::text", [MARKS.person("a postgres parameter")])
            with contextlib.suppress(psycopg.Error), psycopg.connect(dsn) as one:
                one.execute(f"SELECT * FROM {MARKS.word('a postgres table')}")

    def calls() -> None:
        target = f"{echo}/people/{quote(MARKS.email('a called path'))}"
        query = {"token": MARKS.token("a called query"), "phone": MARKS.phone("a called query")}
        host = echo.removeprefix("http://")
        requests.get(f"http://{MARKS.word('a user in a URL')}:pass@{host}/v1", timeout=5)
        requests.get(target, params=query, headers={"x-name": MARKS.word("a sent header")}, timeout=5)
        with httpx.Client(auth=(MARKS.word("a basic user"), "pass")) as peer:
            peer.get(target, params=query)
            peer.get(f"{echo}/missing/{MARKS.word('a path that is missing')}")
        for call in (requests.get, httpx.get):
            with contextlib.suppress(Exception):
                call(f"http://{MARKS.word('a host that is not there')}.invalid/", timeout=1)

    tracer = trace.get_tracer(f"shop.{MARKS.word('a scope name')}", MARKS.word("a scope version"))
    meter = metrics.get_meter("shop.metrics")
    totals = meter.create_counter(
        f"shop.{MARKS.word('a metric name')}", MARKS.word("a unit"), MARKS.person("a metric description")
    )
    lengths = meter.create_histogram("shop.order.length", "s", MARKS.person("a histogram description"))

    def own() -> None:
        state = TraceState([("vendor", MARKS.word("a link's tracestate"))])
        linked = SpanContext(0xA, 0xB, True, TraceFlags(1), state)
        about: dict[str, Any] = {
            "email": MARKS.email("a span attribute"), f"k.{MARKS.word('a span attribute key')}": 1,
            "user.id": MARKS.email("a wrong user id"), "people": [MARKS.person("a listed value"), "x"],
            "phone": int(MARKS.number("a number under an undeclared key")),
        }  # fmt: skip
        token = context.attach(baggage.set_baggage("user", MARKS.email("baggage")))
        with tracer.start_as_current_span(
            f"greet {MARKS.person('a span name')}", attributes=about, links=[Link(linked, about)]
        ) as span:
            span.add_event(f"{MARKS.word('an event name')} came", {"name": MARKS.person("an event attribute")})
            span.set_status(Status(StatusCode.ERROR, MARKS.person("a status description")))
            totals.add(1, {"email": MARKS.email("a metric attribute"), f"k{MARKS.word('a label name')}": "x"})
            lengths.record(0.1, {"name": MARKS.person("a histogram attribute")})
            span.record_exception(ValueError(MARKS.person("a recorded exception")))
        context.detach(token)

    def logs() -> None:
        told = logging.getLogger("shop")
        told.warning("%s joined", MARKS.email("a log argument"), extra={"ip": MARKS.address("a log extra")})
        try:
            raise KeyError(MARKS.person("a logged exception"))
        except KeyError:
            told.exception("failed for %s", MARKS.person("a log text"))
        logging.getLogger(f"shop.{MARKS.word('a logger name')}").error({"name": MARKS.person("a log mapping")})

    def order(request: Any, order_id: int) -> HttpResponse:
        stores()
        calls()
        own()
        logs()
        tasks.mail_receipt.apply_async((MARKS.email("a task argument"),), headers={"x": MARKS.word("a task header")})
        tasks.mail_receipt.delay(MARKS.email("a failing task"), fail=True)
        return HttpResponse("ok", headers={"x-name": MARKS.word("a response header")})

    def fail(request: Any, name: str) -> HttpResponse:
        raise RuntimeError(f"{MARKS.person('a view exception')}: {name}")

    class Room(AsyncJsonWebsocketConsumer):
        """A room whose every name is somebody's."""

        message_types = ("greet", "fail")

        async def connect(self) -> None:
            """Join."""
            self.group = f"room_{MARKS.word('a group name')}"
            await self.channel_layer.group_add(self.group, self.channel_name)
            await self.accept(self.scope["subprotocols"][0] if self.scope["subprotocols"] else None)

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            """Greet everybody, or fail."""
            if content.get("type") == "fail":
                raise LookupError(MARKS.person("a consumer exception"))
            logging.getLogger("shop.room").info("said %s", content)
            await self.channel_layer.group_send(self.group, {"type": "room.greeting", "text": content["name"]})

        async def room_greeting(self, event: Any) -> None:
            """Hand it on."""
            await self.send_json(event)

        async def disconnect(self, code: int) -> None:
            """Leave."""
            await self.channel_layer.group_discard(self.group, self.channel_name)

    urls = settings.ROOT_URLCONF
    urls.urlpatterns = [
        path("order/<int:order_id>/", order, name="order"),
        re_path(r"^fail/(?P<name>.+)/$", fail),
    ]
    routed = ProtocolTypeRouter(
        {
            "http": get_asgi_application(),
            "websocket": URLRouter([path("ws/room/<str:room>/<int:match_id>/", Room.as_asgi())]),
        }
    )
    return otel_ws.WebSocketMiddleware(OpenTelemetryMiddleware(routed)), tasks.app


# --- driving it ---------------------------------------------------------------------------------------------
HEADERS = {
    "User-Agent": MARKS.person("the user agent").encode().decode("latin-1"),
    "Authorization": f"Bearer {MARKS.token('the authorization')}",
    "Cookie": f"sessionid={MARKS.word('a cookie')}",
    "X-Forwarded-For": MARKS.address("x-forwarded-for"),
    "baggage": f"user={MARKS.word('sent baggage')}",
    "tracestate": f"vendor={MARKS.word('sent tracestate')}",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


def ask(port: int, path: str) -> None:
    """One HTTP request, by a library that nobody instruments."""
    wanted = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=HEADERS)
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(wanted, timeout=30) as answer:
        answer.read()


async def talk(port: int, fail: bool) -> None:
    """One WebSocket conversation."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    room = quote(MARKS.email("the room's path"))
    address = f"ws://127.0.0.1:{port}/ws/room/{room}/17/?token={MARKS.token('the query')}"
    handshake = {name: value for name, value in HEADERS.items() if name != "User-Agent"}
    protocol: Any = [MARKS.word("the subprotocol")]
    with contextlib.suppress(ConnectionClosed):
        async with connect(
            address,
            additional_headers=handshake,
            subprotocols=protocol,
            user_agent_header=None,
        ) as peer:
            await peer.send(json.dumps({"type": "greet", "name": MARKS.person("a message")}))
            await peer.recv()
            if fail:
                await peer.send('{"type": "fail"}')
                await peer.recv()
            await peer.close(1000, MARKS.word("the close reason"))


def drive(port: int, rounds: int) -> None:
    """So many rounds of everything."""
    for number in range(rounds):
        ask(port, f"/order/{number}/?name={quote(MARKS.person('the HTTP query'))}")
        ask(port, f"/fail/{quote(MARKS.email('the HTTP path'))}/")
        ask(port, f"/unknown/{quote(MARKS.word('an unknown path'))}/")
        asyncio.run(talk(port, fail=number % 4 == 0))
        sys.stderr.write(f"round {number + 1} of {rounds}\n")


def serve(app: Any, port: int) -> Any:
    """Start uvicorn in a thread, and wait until it answers."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    return server, thread


def flush() -> None:
    """Everything that the process still holds goes out."""
    from opentelemetry import metrics, trace
    from opentelemetry._logs import get_logger_provider

    for provider in (trace.get_tracer_provider(), get_logger_provider(), metrics.get_meter_provider()):
        provider.force_flush()  # type: ignore[union-attr]
        provider.shutdown()  # type: ignore[union-attr]


# --- telling what left --------------------------------------------------------------------------------------
def report() -> dict[str, Any]:
    """Per producer and surface: values and leaks; per producer what each span, record and point still says."""
    surfaces: dict[str, Counter[str]] = defaultdict(Counter)
    leaks: Counter[str] = Counter()
    items: dict[str, Any] = defaultdict(Counter)
    raw: set[str] = set()
    last_metrics = max((place for place, (signal, _) in enumerate(RECEIVED) if signal == "metrics"), default=-1)
    for place, (signal, body) in enumerate(RECEIVED):
        raw |= MARKS.found_in(body)
        seen: dict[tuple[str, int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for one in exported(signal, body):
            row = f"{signal}|{one.scope}|{one.surface}"
            if one.surface.startswith(("resource", "scope")):
                row = f"{signal}||{one.surface}"
            surfaces[row]["values"] += 1
            for origin in MARKS.found_in(one.value):
                surfaces[row]["leaks"] += 1
                leaks[f"{row} <- {origin}"] += 1
            about = seen[one.scope, one.item]
            if one.surface in {"span name", "metric name", "record body", "record event_name"}:
                about["name"].append(str(one.value))
            elif one.surface in {"span attribute value", "record attribute value", "point attribute value"}:
                about["keys"].append(f"{one.key}={one.value!s}")
            elif one.surface == "record severity_text":
                about["keys"].append(f"severity={one.value!s}")
        if signal != "metrics" or place == last_metrics:
            for (scope, _), about in seen.items():
                if about["name"] or about["keys"]:
                    items[f"{signal}|{scope}"][json.dumps([about["name"], sorted(set(about["keys"]))])] += 1
    return {
        "surfaces": {row: dict(counts) for row, counts in sorted(surfaces.items())},
        "leaks": dict(leaks),
        "raw": sorted(raw),
        "bytes": {signal: sum(len(body) for one, body in RECEIVED if one == signal) for signal in SIGNALS.values()},
        "items": {row: [[json.loads(one), count] for one, count in found.items()] for row, found in items.items()},
        "points": points(),
        "origins": len(MARKS.origins()),
    }


def points() -> dict[str, int]:
    """How many points the last collection has, by scope."""
    found: Counter[str] = Counter()
    _, body = next((one for one in reversed(RECEIVED) if one[0] == "metrics"), ("", b""))
    for scope in (
        scope for one in REQUESTS["metrics"].FromString(body).resource_metrics for scope in one.scope_metrics
    ):
        for metric in scope.metrics:
            found[scope.scope.name] += len(getattr(metric, metric.WhichOneof("data")).data_points)
    return dict(found)


def main() -> int:
    """Run once, and print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-postgres", action="store_true")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.INFO)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        echo = stack.enter_context(listening())
        redis_url = stack.enter_context(services.redis())
        dsn = None if options.without_postgres else stack.enter_context(services.postgres())
        os.environ.update(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": echo, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram",
                "OTEL_SERVICE_NAME": "shop", "OTEL_WS_JSON_LOG": f"{folder}/lines.jsonl",
                "OTEL_RESOURCE_ATTRIBUTES": f"host.name={MARKS.word('a resource attribute')},service.version=1.2.3",
                "OTEL_WS_MESSAGE_EVENTS": "all", "OTEL_SEMCONV_STABILITY_OPT_IN": os.environ.get("SEMCONV", ""),
            }
        )  # fmt: skip
        app, tasks = application(redis_url, dsn, folder, echo)
        from celery.contrib.testing.worker import start_worker

        port = services.free_port()
        with start_worker(tasks, perform_ping_check=False, pool="solo", loglevel="info"):
            server, thread = serve(app, port)
            drive(port, options.rounds)
            time.sleep(1)
            server.should_exit = True
            thread.join(10)
        flush()
        found = report()
        found["lines"] = sorted(MARKS.found_in(Path(f"{folder}/lines.jsonl").read_bytes()))
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
