"""Event streams of Channels and of Django: their route, their ids, their user and their consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import include, path, re_path
from django.utils.functional import SimpleLazyObject

import otel_ws
from otel_ws import WebSocketMiddleware, testing
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")

REQUEST = {"type": "http.request", "body": b"", "more_body": False}
EVENT_STREAM = [(b"content-type", b"text/event-stream")]


class Scores(AsyncHttpConsumer):
    """Two events."""

    async def handle(self, body: bytes) -> None:
        """Send them."""
        await self.send_headers(headers=EVENT_STREAM)
        await self.send_body(b"data: 1\n\n", more_body=True)
        await self.send_body(b"data: 2\n\n")


async def events() -> AsyncIterator[bytes]:
    """Two events."""
    yield b"data: 1\n\n"
    yield b"data: 2\n\n"


async def scores(request: Any, **kwargs: Any) -> StreamingHttpResponse:
    """A view that streams."""
    return StreamingHttpResponse(events(), content_type="text/event-stream")


def threaded(request: Any, **kwargs: Any) -> StreamingHttpResponse:
    """A view in a thread that says who is there."""
    otel_ws.set_ids(user_id=8)
    return StreamingHttpResponse(events(), content_type="text/event-stream")


def word(request: Any) -> HttpResponse:
    """A view that answers with a word."""
    return HttpResponse("ok")


class Visitor:
    """Middleware that knows a user, lazily, as Django's own does."""

    async_capable = True
    sync_capable = False
    user: Any = None
    evaluated = 0

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    async def __call__(self, request: Any) -> Any:
        """Put the user there; the view evaluates it if it wants to."""

        def load() -> Any:
            type(self).evaluated += 1
            return SimpleNamespace(pk=7, is_authenticated=True)

        request.user = SimpleLazyObject(load)
        if request.GET.get("load"):
            assert request.user.pk == 7
        return await self.get_response(request)


urls: Any = ModuleType("urls")
urls.urlpatterns = [
    path("", word),
    path("events/<int:match_id>/", scores),
    path("t/<int:tournament_id>/", include([re_path(r"^scores/(?P<match_id>\d+)/$", scores)])),
    path("threaded/", threaded),
    re_path(r"^odd/\d+/$", scores),
]


@pytest.fixture
def django() -> Iterator[Any]:
    """A Django application with these routes."""
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[f"{__name__}.Visitor"], ALLOWED_HOSTS=["*"]):
        Visitor.evaluated = 0
        # The middleware is found under this module's name, however pytest has imported it.
        import sys

        sys.modules.setdefault(__name__, sys.modules[Visitor.__module__])
        yield get_asgi_application()


async def ask(server: Any, application: Any, at: str, query: bytes = b"", **scope: Any) -> Any:
    """One HTTP request; returns the server."""
    one = server(application, REQUEST, type="http", method="GET", path=at, query_string=query, **scope)
    await one.run()
    return one


class TestChannels:
    """``AsyncHttpConsumer``."""

    @pytest.mark.parametrize("wrap", [WebSocketMiddleware, lambda application: application], ids=["line", "zero-code"])
    async def test_route_ids_and_consumer(self, telemetry: Telemetry, server: Any, wrap: Any) -> None:
        """A stream's route, ids and consumer are told, with the middleware line and without it."""
        inner = URLRouter([path("<int:match_id>/", Scores.as_asgi())])
        application = wrap(ProtocolTypeRouter({"http": URLRouter([path("scores/", inner)])}))

        await ask(server, application, "/scores/3/")

        said = telemetry.span("connect /scores/{match_id}/").attributes or {}
        assert ("3", "Scores", 2) == (
            said["match.id"], said["ws.consumer"], telemetry.value("ws.messages.sent", http_route="/scores/{match_id}/")
        )  # fmt: skip

    async def test_consumer_alone(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that nothing stands around is seen too."""
        await ask(server, Scores.as_asgi(), "/")

        assert 2 == telemetry.value("ws.messages.sent", transport="sse", status="success")

    async def test_user_of_a_middleware_that_copies_the_scope(self, telemetry: Telemetry, server: Any) -> None:
        """What a middleware puts on its copy of the scope is read at the consumer."""
        consumer = Scores.as_asgi()

        async def application(scope: Any, receive: Any, send: Any) -> Any:
            user = SimpleNamespace(pk=7, is_authenticated=True)
            return await consumer({**scope, "user": user, "role": "player"}, receive, send)

        await ask(server, WebSocketMiddleware(application), "/")

        (event,) = telemetry.events("WS_CONNECT")
        assert ("7", "player") == (event.attributes["user.id"], event.attributes["ws.role"])


class TestDjango:
    """``StreamingHttpResponse`` under ASGI."""

    @pytest.mark.parametrize(
        ("at", "route", "ids"),
        [
            ("/events/3/", "/events/{match_id}/", {"match.id": "3"}),
            ("/odd/3/", "_OTHER", {}),
            (
                "/t/5/scores/3/",
                "/t/{tournament_id}/scores/{match_id}/",
                {"tournament.id": "5", "match.id": "3"},
            ),
        ],
    )
    async def test_route_and_ids(
        self, telemetry: Telemetry, server: Any, django: Any, at: str, route: str, ids: dict[str, str]
    ) -> None:
        """The route that Django's resolver found is told, and the ids in it."""
        await ask(server, WebSocketMiddleware(django), at)

        said = telemetry.span(f"connect {route}").attributes or {}
        assert (ids, 2) == (
            {key: said[key] for key in said if key in {"match.id", "tournament.id"}},
            telemetry.value("ws.messages.sent", http_route=route),
        )

    async def test_behind_a_router(self, telemetry: Telemetry, server: Any, django: Any) -> None:
        """Django behind a router of Channels, without the middleware line, is told under the whole route."""
        application = ProtocolTypeRouter({"http": URLRouter([re_path(r"", django)])})

        await ask(server, application, "/events/3/")

        assert 1 == telemetry.value("ws.connections", http_route="/events/{match_id}/", status="connected")

    async def test_loaded_user(self, telemetry: Telemetry, server: Any, django: Any) -> None:
        """A user that the application has loaded is told."""
        await ask(server, WebSocketMiddleware(django), "/events/3/", b"load=1")

        (event,) = telemetry.events("WS_CONNECT")
        assert ("7", 1) == (event.attributes["user.id"], Visitor.evaluated)

    async def test_unloaded_user_stays_unloaded(self, telemetry: Telemetry, server: Any, django: Any) -> None:
        """A user that nobody has asked for is not asked for by us."""
        await ask(server, WebSocketMiddleware(django), "/events/3/")

        (event,) = telemetry.events("WS_CONNECT")
        assert (False, 0) == ("user.id" in event.attributes, Visitor.evaluated)

    async def test_said_in_a_thread(self, telemetry: Telemetry, server: Any, django: Any) -> None:
        """A view that runs in a thread says who is there."""
        await ask(server, WebSocketMiddleware(django), "/threaded/")

        (event,) = telemetry.events("WS_CONNECT")
        assert "8" == event.attributes["user.id"]

    async def test_client_leaves(self, telemetry: Telemetry, server: Any, django: Any) -> None:
        """Django listens while it streams, so a client that leaves is told as such."""

        async def endless() -> AsyncIterator[bytes]:
            import asyncio

            yield b"data: 1\n\n"
            await asyncio.Event().wait()

        async def view(request: Any) -> StreamingHttpResponse:
            return StreamingHttpResponse(endless(), content_type="text/event-stream")

        started: list[Any] = []

        async def leave(peer: Any) -> None:
            import asyncio

            while len(peer.sent) < 2:
                await asyncio.sleep(0)
            started.append(peer.script.append({"type": "http.disconnect"}))

        module: Any = ModuleType("urls")
        module.urlpatterns = [path("", view)]
        with override_settings(ROOT_URLCONF=module):
            application: Any = get_asgi_application()
            one = server(WebSocketMiddleware(application), REQUEST, leave, type="http", method="GET", path="/")
            await one.run()

        ends = [one.attributes["ws.close.initiator"] for one in telemetry.events("WS_DISCONNECT")]
        assert (["client"], 1) == (ends, telemetry.value("ws.messages.sent", status="success"))

    async def test_ordinary_view(self, telemetry: Telemetry, server: Any, django: Any) -> None:
        """A view that does not stream leaves nothing."""
        one = await ask(server, WebSocketMiddleware(django), "/")

        assert (b"ok", [], []) == (one.sent[1]["body"], telemetry.events(), telemetry.spans())


class Member(AsyncJsonWebsocketConsumer):
    """One who hears of a tournament by WebSocket."""

    async def connect(self) -> None:
        """Join the tournament's group."""
        tournament = self.scope["url_route"]["kwargs"]["tournament_id"]
        await self.channel_layer.group_add(f"tournament_{tournament}", self.channel_name)
        await self.accept()

    async def score(self, event: Any) -> None:
        """Hand it on."""
        await self.send_json(event)


async def scoreboard(request: Any, tournament_id: int) -> StreamingHttpResponse:
    """The same by events, until the first score."""
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(f"tournament_{tournament_id}", channel)

    async def told() -> AsyncIterator[bytes]:
        yield b"data: open\n\n"
        yield b"data: %d\n\n" % (await layer.receive(channel))["score"]

    return StreamingHttpResponse(told(), content_type="text/event-stream")


async def test_a_tournament_has_its_own_figure_by_both_transports(server: Any) -> None:
    """``OTEL_WS_METRIC_IDS=tournament.id``: open connections of each tournament, and none when all have left."""
    module: Any = ModuleType("urls")
    module.urlpatterns = [path("board/<int:tournament_id>/", scoreboard)]
    before = channel_layers.set("default", InMemoryChannelLayer())
    with override_settings(ROOT_URLCONF=module), testing.capture(metric_ids=["tournament.id"]) as telemetry:
        application = WebSocketMiddleware(
            ProtocolTypeRouter(
                {
                    "http": get_asgi_application(),
                    "websocket": URLRouter([path("ws/<int:tournament_id>/", Member.as_asgi())]),
                }
            )
        )
        socket = server(application, {"type": "websocket.connect"}, path="/ws/7/")
        stream = server(application, REQUEST, type="http", method="GET", path="/board/7/")
        other = server(application, {"type": "websocket.connect"}, path="/ws/8/")
        runs = [asyncio.create_task(one.run()) for one in (socket, stream, other)]
        async with asyncio.timeout(10):
            while not (socket.sent and other.sent and len(stream.sent) > 1):
                await asyncio.sleep(0.001)
        during = telemetry.points("ws.active_connections.by_id")
        layer: Any = get_channel_layer()
        await layer.group_send("tournament_7", {"type": "score", "score": 3})
        async with asyncio.timeout(10):
            while len(socket.sent) < 2:
                await asyncio.sleep(0.001)
        await runs[1]
        for one in (socket, other):
            one.cancel()
        await asyncio.gather(*runs, return_exceptions=True)

        assert {(("tournament_id", "7"),): 2, (("tournament_id", "8"),): 1} == during
        assert {} == telemetry.points("ws.active_connections.by_id")
        assert 2 == telemetry.value("messaging.client.consumed.messages")
    channel_layers.backends.pop("default")
    if before is not None:
        channel_layers.set("default", before)


async def test_a_stream_that_leaves_its_group_behind(server: Any) -> None:
    """A consumer of HTTP is a member like any other; what it leaves behind is told, and what waits for it is lost."""
    got, told = asyncio.Event(), asyncio.Event()

    class Board(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.channel_layer.group_add("tournament_7", self.channel_name)
            await self.send_headers(headers=EVENT_STREAM)
            await self.send_body(b"data: 1\n\n", more_body=True)
            got.set()
            await told.wait()

    before = channel_layers.set("default", InMemoryChannelLayer())
    with testing.capture() as telemetry:
        one = server(WebSocketMiddleware(Board.as_asgi()), REQUEST, type="http", method="GET")
        run = asyncio.create_task(one.run())
        async with asyncio.timeout(10):
            await got.wait()
        during = [telemetry.value(f"ws.layer.{kind}") for kind in ("groups", "memberships", "orphans")]
        layer: Any = get_channel_layer()
        # One is fetched while the handler runs; another stays where it is.
        for _ in range(2):
            await layer.group_send("tournament_7", {"type": "score"})
        one.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await layer.group_send("tournament_7", {"type": "score"})

        assert [1, 1, 0] == during
        assert [0, 0, 1] == [telemetry.value(f"ws.layer.{kind}") for kind in ("groups", "memberships", "orphans")]
        lost = telemetry.value("ws.layer.dropped", reason="CONSUMER_GONE")
        assert 3 == lost + telemetry.value("messaging.client.consumed.messages")
        assert lost >= 2
    channel_layers.backends.pop("default")
    if before is not None:
        channel_layers.set("default", before)
