"""The budget of series: at most 3,000 per process, whatever users, routes and clients do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

prometheus_client = pytest.importorskip("prometheus_client")
pytest.importorskip("channels")
exporter = pytest.importorskip("opentelemetry.exporter.prometheus")

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path
from opentelemetry.sdk.metrics import MeterProvider

import otel_ws
from otel_ws import WebSocketMiddleware, faults, recorder, testing
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.settings import Settings

BUDGET = 3000
ROUTES = 10
TYPES = [f"type_{number}" for number in range(10)]
ROLES = ["spectator", "player", "organizer", "admin"]
CONNECT = {"type": "websocket.connect"}


def text(content: str) -> dict[str, Any]:
    """A client's message."""
    return {"type": "websocket.receive", "text": content}


def disconnect(code: int) -> dict[str, Any]:
    """The end, with a code that the client chose."""
    return {"type": "websocket.disconnect", "code": code}


@pytest.fixture
def registry() -> Iterator[Any]:
    """A Prometheus registry of its own, fed by a recorder that is the process's for the test."""
    registry = prometheus_client.CollectorRegistry()
    reader = exporter.PrometheusMetricReader()
    # Older readers know the global registry only; the collector is moved to ours.
    prometheus_client.REGISTRY.unregister(reader._collector)
    registry.register(reader._collector)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with testing.capture():
        # Many values of one attribute are a warning in production; here they must not end the conversation.
        faults.strict(False)
        mine = Recorder(Settings.load({}), Policy(), meter_provider=provider)
        before = recorder.replace(mine)
        yield registry
        recorder.replace(before)
        mine.close()


class Game(AsyncJsonWebsocketConsumer):
    """Does what its clients want, as applications do."""

    message_types = TYPES

    async def connect(self) -> None:
        """Accept everybody but who asks to be refused."""
        name = self.scope["name"]
        otel_ws.set_role(self.scope["role"])
        if name.startswith("refused"):
            otel_ws.record_auth_failure("".join(letter if letter.isalpha() else "_" for letter in name).upper()[:30])
            await self.close(4000 + self.scope["number"] % 900)
        else:
            await self.accept(self.scope["subprotocols"][0])

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Answer, refuse or fail."""
        kind = content.get("do")
        if kind == "deny":
            otel_ws.record_message_denied()
        elif kind == "limit":
            otel_ws.record_ratelimit_reject("MSG_RATE", 100)
        elif kind == "error":
            otel_ws.record_error(type(f"Error{content['number']}", (Exception,), {})())
        elif kind == "ping":
            otel_ws.record_ping(0.1)
        elif kind == "broadcast":
            with otel_ws.broadcast(f"room_{content['number']}", 3):
                pass
        await self.send_json(content)


def application() -> Any:
    """Ten routes: global ones, and ones with a tournament and a match."""
    ids = ["<name>", "<int:tournament_id>/<name>", "<int:tournament_id>/<int:match_id>/<name>"]
    return WebSocketMiddleware(
        URLRouter([path(f"ws/{number}/{ids[number % 3]}/", Game.as_asgi()) for number in range(ROUTES)])
    )


async def test_hostile_clients_stay_within_the_budget(registry: Any, server: Any) -> None:
    """Ten routes and ten types with clients that invent all they can are at most 3,000 Prometheus series."""
    app = application()
    number = 0
    for route, role in itertools.product(range(ROUTES), [*ROLES, "invented"]):
        for kind in ("open", "open", "refused"):
            number += 1
            name = f"{kind}-{number}"
            tail = [name, f"{number}/{name}", f"{number}/{number}/{name}"][route % 3]
            # Three outcomes of each type, and everything that an application may record.
            messages = [
                text(f'{{"type": "{one}", "do": "{do}", "number": {number}}}')
                for one in [*TYPES, f"invented-{number}"]
                for do in ("", "deny", "error", *(("limit", "ping", "broadcast") if one not in TYPES else ()))
            ]
            script = [CONNECT, *(messages if kind == "open" else []), disconnect(1000 + number * 37 % 3999)]
            one = server(
                app, *script, path=f"/ws/{route}/{tail}/", name=name, role=role, number=number,
                subprotocols=[f"{name}.v1"], headers=[(b"user-agent", name.encode()), (b"origin", name.encode())],
            )  # fmt: skip
            await one.run()
        with pytest.raises(ValueError, match="No route found"):
            await server(app, CONNECT, path=f"/wp-admin/{number}").run()

    exposed = prometheus_client.generate_latest(registry).decode()

    series = [line for line in exposed.splitlines() if line and not line.startswith("#")]
    ours = [line for line in series if line.startswith(("ws_", "process_"))]
    assert len(ours) > 500
    assert len(series) <= BUDGET


async def test_no_series_bears_what_a_client_sent(registry: Any, server: Any) -> None:
    """Names in the path, the message and the handshake are on no series."""
    one = server(
        application(), CONNECT, text('{"type": "Ada", "do": "Ada"}'), disconnect(4242), path="/ws/0/Ada/",
        name="Ada", role="Ada", number=1, subprotocols=["v1"], query_string=b"token=Ada",
        headers=[(b"user-agent", b"Ada"), (b"cookie", b"Ada")],
    )  # fmt: skip

    await one.run()

    exposed = prometheus_client.generate_latest(registry).decode()
    assert "ws_messages_total" in exposed
    # A time or a size may have those digits.
    assert ("Ada" in exposed, '"4242"' in exposed) == (False, False)


async def test_live_series_stay_at_nothing(registry: Any, server: Any) -> None:
    """When all connections are closed, every series of their age and health that was there says 0."""
    seen: list[dict[str, float]] = []

    def look(_server: object = None) -> None:
        exposed = prometheus_client.generate_latest(registry).decode()
        live = re.findall(r"^(ws_connection_(?:health|age){.*}) (.*)$", exposed, re.MULTILINE)
        seen.append({series: float(value) for series, value in live})

    one = server(
        application(), CONNECT, look, disconnect(1000), path="/ws/0/x/", name="x", role="player", number=1,
        subprotocols=["v1"],
    )  # fmt: skip

    await one.run()

    look()
    before, after = seen
    assert [1.0, 1.0] == [value for value in before.values() if value]
    assert dict.fromkeys(before, 0.0) == after
