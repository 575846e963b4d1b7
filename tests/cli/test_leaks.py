"""``otel-ws check --leaks``: what would leave is found and told by its place; what leaves nothing passes."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
pytestmark = pytest.mark.skipif(
    not entry_points(group="opentelemetry_traces_exporter", name="ws_capture"),
    reason="the entry points of otel-ws are not installed; nox installs the wheel",
)

CARELESS = """
import logging
import otel_ws
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger

otel_ws.configure()
tracer = trace.get_tracer("careless")
counter = metrics.get_meter("careless").create_counter("careless.messages")

async def inner(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text") or ""
        with tracer.start_as_current_span("greet", attributes={"said": text, text: 1}):
            counter.add(1, {"said": text})
            get_logger("careless").emit(body=text)
        print(text)

application = otel_ws.WebSocketMiddleware(inner)
"""
OWN_SDK = """
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
set_logger_provider(LoggerProvider())
"""


@pytest.fixture(scope="module")
def own_sample(command: Any) -> Any:
    """The small application of otel-ws."""
    return command("check", "--leaks", "--json")


@pytest.fixture(scope="module")
def careless(command: Any) -> Any:
    """A careless application where others' telemetry leaves as it is."""
    return command("check", "--leaks", "app:application", "--json", source=CARELESS, OTEL_WS_GATE="own")


def test_the_own_application_leaks_nothing(own_sample: Any) -> None:
    """Nothing leaves but what may, on three signals, JSON lines and the Prometheus text; the exit code is 0."""
    answer = own_sample.json
    checked = {one["signal"] for one in answer["surfaces"] if one["values"]}

    assert (0, True, [], "all") == (own_sample.code, answer["ok"], answer["leaks"], answer["mode"])
    assert {"traces", "metrics", "logs", "json lines"} <= checked
    assert answer["driven"]["accepted"] >= 1
    assert answer["marks"] > 50


def test_every_surface_is_listed(own_sample: Any) -> None:
    """The list names every surface, those on which nothing was exported too."""
    listed = {(one["signal"], one["surface"]) for one in own_sample.json["surfaces"]}

    assert {
        ("traces", "status message"), ("traces", "link attribute value"), ("traces", "span trace_state"),
        ("metrics", "exemplar attribute value"), ("metrics", "metric description"), ("logs", "record severity_text"),
        ("logs", "scope name"), ("traces", "resource attribute value"), ("logs", "OTLP bytes"),
    } <= listed  # fmt: skip


def test_a_leak_is_found_on_each_signal(careless: Any) -> None:
    """A careless application fails with the places of what leaked: signal, surface, key and where it came in."""
    places = {(one["signal"], one["surface"]) for one in careless.json["leaks"]}

    assert (1, False) == (careless.code, careless.json["ok"])
    assert {
        ("traces", "span attribute value"), ("traces", "span attribute key"), ("metrics", "point attribute value"),
        ("logs", "record body"),
    } <= places  # fmt: skip
    assert {"said"} <= {one["key"] for one in careless.json["leaks"]}
    assert {"careless"} == {one["scope"] for one in careless.json["leaks"] if one["key"]}
    assert "a text message" in {one["origin"] for one in careless.json["leaks"]}


def test_a_leaking_key_is_not_shown(careless: Any) -> None:
    """Where the key is the leak, its place is told without it; no value is anywhere in the answer."""
    keys = {one["key"] for one in careless.json["leaks"] if one["surface"] == "span attribute key"}

    assert {"(not shown: it is the leak)"} == keys
    assert "I am" not in careless.output + careless.errors


def test_the_gate_holds_the_same_application(command: Any) -> None:
    """With the mode that `configure()` chooses, the same application leaks nothing; people read a table."""
    ended = command("check", "--leaks", "app:application", source=CARELESS)

    assert 0 == ended.code
    assert "values checked, 0 leaks" in ended.output
    assert "I am" not in ended.output + ended.errors


def test_providers_of_somebody_else_are_captured(command: Any) -> None:
    """An application that set its SDK up itself is checked as it is, behind the mode that it has."""
    ended = command("check", "--leaks", "app:application", "--json", source=OWN_SDK + CARELESS)

    assert ("own", 1) == (ended.json["mode"], ended.code)
    assert "traces" in {one["signal"] for one in ended.json["leaks"]}


def test_a_channels_application(command: Any) -> None:
    """Channels' routes are found and driven, with the settings module that is named, and pass."""
    pytest.importorskip("channels")
    source = """
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
import django
from django.conf import settings
if not settings.configured or not django.apps.apps.ready:
    django.setup()
import otel_ws
otel_ws.configure()
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

class Room(AsyncJsonWebsocketConsumer):
    message_types = ("greet",)
    async def receive_json(self, content):
        raise ValueError(str(content))

application = otel_ws.WebSocketMiddleware(
    ProtocolTypeRouter({"websocket": URLRouter([path("ws/<str:room>/<int:match_id>/", Room.as_asgi())])})
)
"""
    ended = command("check", "--leaks", "app:application", "--settings", "app", "--json", source=source)

    assert (0, []) == (ended.code, ended.json["leaks"])
    assert ended.json["driven"]["accepted"] >= 1
    assert ended.json["driven"]["raised"] >= 1


def test_a_consumer_behind_a_middleware_inside_a_route_is_driven(command: Any) -> None:
    """The routes behind it are found and driven; of one that hides what answers, that is told."""
    pytest.importorskip("channels")
    source = """
SECRET_KEY = "x"
import django
from django.conf import settings
if not settings.configured or not django.apps.apps.ready:
    django.setup()
import otel_ws
otel_ws.configure()
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import URLRouter
from django.urls import path, re_path

async def hidden(scope, receive, send): ...

rooms = URLRouter([path("room/<int:room_id>/", AsyncWebsocketConsumer.as_asgi())])
application = otel_ws.WebSocketMiddleware(URLRouter([re_path("^v1/", BaseMiddleware(rooms)), path("raw/", hidden)]))
"""
    ended = command("check", "--leaks", "app:application", "--settings", "app", "--json", source=source)

    assert ended.json["driven"]["accepted"] >= 1
    assert ["1 routes end in what is neither"] == [one[:31] for one in ended.json["warnings"] if "routes" in one]


def test_an_application_that_accepts_nobody_is_told(command: Any) -> None:
    """Where no connection was accepted, the answer says how little it is worth, and what to give."""
    source = "async def application(scope, receive, send):\n    await receive()\n"
    ended = command("check", "--leaks", "app:application", "--json", source=source)

    assert any("--path" in one for one in ended.json["warnings"])


def test_an_application_that_ends_the_process_is_driven_to_the_end(command: Any) -> None:
    """`sys.exit()` inside a handler neither ends the run nor tells anything."""
    source = """
import sys
import otel_ws
otel_ws.configure()
async def application(scope, receive, send):
    if scope["type"] == "websocket":
        sys.exit("SECRET " + str(scope))
application = otel_ws.WebSocketMiddleware(application)
"""
    ended = command("check", "--leaks", "app:application", "--json", source=source)

    assert 0 < ended.json["driven"]["raised"]
    assert "SECRET" not in ended.output + ended.errors


def test_switched_off_telemetry_proves_nothing(command: Any) -> None:
    """With telemetry off there is nothing to check, and that is a failure, not a yes."""
    ended = command("check", "--leaks", "--json", OTEL_WS_ENABLED="false")

    assert (1, False) == (ended.code, ended.json["ok"])


def test_a_path_and_a_header_reach_the_application(command: Any) -> None:
    """`--path` and `--header` are what a connection is opened with."""
    source = """
import otel_ws
otel_ws.configure()
async def inner(scope, receive, send):
    wanted = scope["path"] == "/only/here/" and b"key=7&" in scope["query_string"]
    if scope["type"] == "websocket" and wanted and (b"x-pass", b"yes") in scope["headers"]:
        await receive()
        await send({"type": "websocket.accept"})
application = otel_ws.WebSocketMiddleware(inner)
"""
    ended = command(
        "check", "--leaks", "app:application", "--json", "--path", "/only/here/?key=7", "--header", "X-Pass: yes",
        source=source,
    )  # fmt: skip

    assert ended.json["driven"]["accepted"] >= 1
