"""The router door: the template of the route that matched, found while Channels matches."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path, register_converter
from django.urls.converters import IntConverter

from otel_ws import WebSocketMiddleware
from otel_ws.channels.routing import template_of
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")

CONNECT = {"type": "websocket.connect"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1000}
leaf = AsyncWebsocketConsumer.as_asgi()


class Counting(IntConverter):
    """A converter that counts how often it converts."""

    calls = 0

    def to_python(self, value: str) -> int:
        """Convert, and count."""
        type(self).calls += 1
        return int(value)


class Moody(Counting):
    """A converter that finds nothing for odd numbers, as one that asks a database might."""

    def to_python(self, value: str) -> int:
        """Convert an even number."""
        if int(value) % 2:
            raise ValueError
        return int(value)


register_converter(Counting, "counting")
register_converter(Moody, "moody")


async def route_of(telemetry: Telemetry, server: Any, application: Any, at: str, **scope: Any) -> str:
    """Connect at a path and return the route that was told, the same on every signal."""
    try:
        await server(application, CONNECT, DISCONNECT, path=at, **scope).run()
    except ValueError as exc:
        if not str(exc).startswith("No route found"):
            raise
    (told,) = [event for event in telemetry.events() if event.name in {"WS_CONNECT", "WS_REJECT"}]
    route = str(told.attributes["http.route"])
    assert f"connect {route}" == telemetry.span_names()[0]
    return route


@pytest.mark.parametrize(
    ("pattern", "at", "template"),
    [
        (path("ws/", leaf), "/ws/", "/ws/"),
        (path("", leaf), "/", "/"),
        (path("ws/<name>/", leaf), "/ws/Ada/", "/ws/{name}/"),
        (path("ws/match/<int:match_id>/", leaf), "/ws/match/3/", "/ws/match/{match_id}/"),
        (path("t/<int:tournament_id>/m/<uuid:match_id>", leaf),
         "/t/1/m/00000000-0000-0000-0000-000000000001", "/t/{tournament_id}/m/{match_id}"),
        (path("files/<path:rest>", leaf), "/files/a/b/c", "/files/{rest}"),
        (re_path(r"^ws/match/(?P<match_id>\d+)/$", leaf), "/ws/match/3/", "/ws/match/{match_id}/"),
        (re_path(r"ws/match/(?P<match_id>\d+)/$", leaf), "/ws/match/3/", "/ws/match/{match_id}/"),
        (re_path(r"^ws/(?P<name>[^/]+)/(?P<id>[0-9a-f]{8})/$", leaf), "/ws/Ada/0123abcd/", "/ws/{name}/{id}/"),
        (re_path(r"^ws/(?P<name>(a|b)+)/$", leaf), "/ws/ab/", "/ws/{name}/"),
        (re_path(r"^ws/(?P<name>[)(]+)/$", leaf), "/ws/()/", "/ws/{name}/"),
        (re_path(r"^ws/v1\.0/(?P<name>\w+)\Z", leaf), "/ws/v1.0/Ada", "/ws/v1.0/{name}"),
        (re_path(r"^ws/(?P<name>\w+)/?$", leaf), "/ws/Ada", "/ws/{name}"),
        (re_path(r"^ws/(\d+)/$", leaf), "/ws/3/", "_OTHER"),
        (re_path(r"^ws/(?:a|b)/$", leaf), "/ws/a/", "_OTHER"),
        (re_path(r"^ws/.*$", leaf), "/ws/Ada", "_OTHER"),
        (re_path(r"^ws/(?P<name>\w+)?$", leaf), "/ws/Ada", "_OTHER"),
        (re_path(r"^ws/[a-z]+/(?P<name>\w+)/$", leaf), "/ws/abc/Ada/", "_OTHER"),
    ],
)  # fmt: skip
async def test_template_of_a_route(telemetry: Telemetry, server: Any, pattern: Any, at: str, template: str) -> None:
    """A path() or re_path() is told by its parameters' names, never by what a client put there."""
    assert template == await route_of(telemetry, server, URLRouter([pattern]), at)


@pytest.mark.parametrize(
    ("outer", "inner", "at", "template"),
    [
        (lambda app: path("ws/", app), path("match/<int:match_id>/", leaf), "/ws/match/3/", "/ws/match/{match_id}/"),
        (lambda app: path("<slug:team>/", app), path("<int:id>", leaf), "/ada/3", "/{team}/{id}"),
        (lambda app: re_path(r"^ws/(?P<team>\w+)/", app), re_path(r"^(?P<id>\d+)/$", leaf), "/ws/ada/3/",
         "/ws/{team}/{id}/"),
        (lambda app: re_path(r"^(ws)/", app), path("<int:id>/", leaf), "/ws/3/", "_OTHER"),
        (lambda app: path("ws/", app), re_path(r"^(\d+)/$", leaf), "/ws/3/", "_OTHER"),
    ],
)  # fmt: skip
async def test_nested_routers_are_one_template(
    telemetry: Telemetry, server: Any, outer: Any, inner: Any, at: str, template: str
) -> None:
    """The template of nested routers is that of the whole way; one unknown part makes all of it unknown."""
    application = URLRouter([outer(URLRouter([inner]))])

    assert template == await route_of(telemetry, server, application, at)


async def test_three_levels(telemetry: Telemetry, server: Any) -> None:
    """Depth does not matter."""
    application = URLRouter([path("a/", URLRouter([path("b/", URLRouter([path("<int:id>/", leaf)]))]))])

    assert "/a/b/{id}/" == await route_of(telemetry, server, application, "/a/b/3/")


async def test_middleware_between_routers(telemetry: Telemetry, server: Any) -> None:
    """A middleware between two routers, which copies the scope, does not break the way."""

    class Between:
        _path_routing = True

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            return await self.app(dict(scope), receive, send)

    application = URLRouter([path("a/", Between(URLRouter([path("<int:id>/", leaf)])))])

    assert "/a/{id}/" == await route_of(telemetry, server, application, "/a/3/")


class TestFallThrough:
    """A nested router that finds nothing sends Channels on to the next route."""

    async def test_to_a_sibling(self, telemetry: Telemetry, server: Any) -> None:
        """The route after a nested router that found nothing is told alone."""
        inner = URLRouter([path("nothing/", leaf)])
        application = URLRouter([path("ws/", inner), path("ws/<int:id>/", leaf)])

        assert "/ws/{id}/" == await route_of(telemetry, server, application, "/ws/3/")

    async def test_to_a_sibling_router(self, telemetry: Telemetry, server: Any) -> None:
        """A second nested router's way is told without the first one's."""
        first = URLRouter([path("nothing/", leaf)])
        second = URLRouter([path("<int:id>/", leaf)])
        application = URLRouter([path("ws/", first), re_path("^ws/", second)])

        assert "/ws/{id}/" == await route_of(telemetry, server, application, "/ws/3/")

    async def test_from_the_third_level(self, telemetry: Telemetry, server: Any) -> None:
        """A router two levels down that finds nothing leaves no trace in the second level's next match."""
        third = URLRouter([path("nothing/", leaf)])
        second = URLRouter([path("b/", third), path("b/<int:id>/", leaf)])
        application = URLRouter([path("a/", second)])

        assert "/a/b/{id}/" == await route_of(telemetry, server, application, "/a/b/3/")

    async def test_out_of_two_levels(self, telemetry: Telemetry, server: Any) -> None:
        """Two routers that find nothing leave no trace in the first level's next match."""
        third = URLRouter([path("nothing/", leaf)])
        second = URLRouter([path("b/", third)])
        application = URLRouter([path("a/", second), path("a/<path:rest>", leaf)])

        assert "/a/{rest}" == await route_of(telemetry, server, application, "/a/b/3/")

    async def test_to_nothing(self, telemetry: Telemetry, server: Any) -> None:
        """Where nothing matches in the end, no route is told, though one matched on the way."""
        application = URLRouter([path("ws/", URLRouter([path("nothing/", leaf)]))])

        assert "_OTHER" == await route_of(telemetry, server, application, "/ws/3/")

    async def test_of_a_converter(self, telemetry: Telemetry, server: Any) -> None:
        """A converter that refuses sends Channels on, and its route is not told."""
        application = URLRouter([path("<moody:even>/", leaf), path("<int:any>/", leaf)])

        assert "/{any}/" == await route_of(telemetry, server, application, "/3/")


class TestRootPath:
    """A server's root path is not told: some servers take it from a header, so it is the client's text."""

    async def test_root_path_is_not_told(self, telemetry: Telemetry, server: Any) -> None:
        """The template begins after the root path, in the span's name too."""
        application = URLRouter([path("ws/<int:id>/", leaf)])

        assert "/ws/{id}/" == await route_of(telemetry, server, application, "/api/ws/3/", root_path="/api")

    @pytest.mark.parametrize("root_path", ["/", "", None])
    async def test_empty_root_path_is_nothing(self, telemetry: Telemetry, server: Any, root_path: Any) -> None:
        """A root path that says nothing adds nothing."""
        application = URLRouter([path("ws/<int:id>/", leaf)])

        assert "/ws/{id}/" == await route_of(telemetry, server, application, "/ws/3/", root_path=root_path or "")


class TestUnrouted:
    """Applications without a route."""

    async def test_consumer_without_a_router(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that is the whole application has no route."""
        assert "_OTHER" == await route_of(telemetry, server, leaf, "/ws/Ada/")

    async def test_protocol_router_without_websocket(self, telemetry: Telemetry, server: Any) -> None:
        """An application for other protocols only refuses a WebSocket as it would without otel-ws."""
        with pytest.raises(ValueError, match="No application configured"):
            await server(ProtocolTypeRouter({}), CONNECT, path="/ws/").run()

        assert 1 == telemetry.value("ws.connection.rejections")

    async def test_error_before_any_route_is_told(self, telemetry: Telemetry, server: Any) -> None:
        """A ValueError that a consumer raises is an error, not a missing route."""

        class Broken(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                raise ValueError

        with pytest.raises(ValueError):
            await server(URLRouter([path("ws/", Broken.as_asgi())]), CONNECT, path="/ws/").run()

        assert ["HANDLER_ERROR"] == [one.attributes["ws.reason"] for one in telemetry.events("WS_REJECT")]

    async def test_error_of_a_consumer_below_a_catch_all(self, telemetry: Telemetry, server: Any) -> None:
        """A ValueError of a middleware around a matched route is an error too."""

        async def broken(scope: Any, receive: Any, send: Any) -> Any:
            raise ValueError

        with pytest.raises(ValueError):
            await server(URLRouter([re_path(r"", broken)]), CONNECT, path="/ws/").run()

        assert 1 == telemetry.value("ws.errors", error_type="ValueError")


class TestMatching:
    """Channels matches as it would without otel-ws."""

    async def test_converters_run_once(self, telemetry: Telemetry, server: Any) -> None:
        """A converter that asks a database asks it once."""
        Counting.calls = 0
        application = URLRouter([path("ws/<counting:id>/", leaf)])

        await server(application, CONNECT, DISCONNECT, path="/ws/3/").run()

        assert 1 == Counting.calls

    async def test_scope_is_the_same(self, telemetry: Telemetry, server: Any) -> None:
        """The consumer gets the url_route that Channels makes."""
        seen: list[Any] = []

        async def application(scope: Any, receive: Any, send: Any) -> Any:
            seen.append((scope["url_route"], scope["path_remaining"]))

        router = URLRouter([path("ws/<int:id>/", application, {"extra": 1})])

        await server(router, CONNECT, path="/ws/3/").run()

        assert [({"args": (), "kwargs": {"id": 3, "extra": 1}}, "")] == seen

    async def test_router_in_two_applications(self, telemetry: Telemetry, server: Any) -> None:
        """A router that is mounted twice tells the way that was taken."""
        shared = URLRouter([path("<int:id>/", leaf)])
        application = URLRouter([path("a/", shared), path("b/", shared)])

        for at in ("/a/1/", "/b/2/"):
            await server(application, CONNECT, DISCONNECT, path=at).run()

        assert ["/a/{id}/", "/b/{id}/"] == [one.attributes["http.route"] for one in telemetry.events("WS_CONNECT")]

    async def test_match_outside_a_connection(self, telemetry: Telemetry, server: Any) -> None:
        """A watched pattern still matches for anybody else."""
        route = path("ws/<int:id>/", leaf)
        await server(URLRouter([route]), CONNECT, DISCONNECT, path="/ws/3/").run()

        found = route.pattern.match("ws/4/")

        assert ("", (), {"id": 4}) == found

    async def test_http_request_leaves_nothing(self, telemetry: Telemetry, server: Any) -> None:
        """An HTTP request that passes a router, and is no stream, leaves no telemetry."""

        async def view(scope: Any, receive: Any, send: Any) -> Any:
            pass

        route = path("x/", view)

        await server(URLRouter([route]), path="/x/", type="http").run()

        assert ([], []) == (telemetry.events(), telemetry.spans())

    async def test_match_in_the_middle_of_another_conversation(self, telemetry: Telemetry, server: Any) -> None:
        """A handler that asks a watched pattern does not change its own connection's route."""
        route, other = path("ws/<int:id>/", leaf), path("other/<int:id>/", leaf)

        class Asking(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                other.pattern.match("other/3/")
                await self.accept()

        router = URLRouter([other, path("asking/", Asking.as_asgi()), route])
        await server(router, CONNECT, DISCONNECT, path="/other/1/").run()

        await server(router, CONNECT, DISCONNECT, path="/asking/").run()

        assert ["/other/{id}/", "/asking/"] == [one.attributes["http.route"] for one in telemetry.events("WS_CONNECT")]


class TestIds:
    """What the URL says of ids and of the scope type."""

    @pytest.mark.parametrize(
        ("pattern", "at", "scope_type"),
        [
            ("m/<int:match_id>/", "/m/3/", "match"),
            ("t/<int:tournament_id>/", "/t/3/", "tournament"),
            ("t/<int:tournament_id>/m/<int:match_id>/", "/t/1/m/3/", "match"),
            ("lobby/<name>/", "/lobby/Ada/", "global"),
        ],
    )
    async def test_scope_type_is_the_narrowest_id(
        self, telemetry: Telemetry, server: Any, pattern: str, at: str, scope_type: str
    ) -> None:
        """A route with a match is about the match, with a tournament about that, else global."""
        await server(URLRouter([path(pattern, leaf)]), CONNECT, DISCONNECT, path=at).run()

        assert 1 == telemetry.value("ws.connections", status="connected", scope_type=scope_type)

    async def test_ids_of_the_url_are_on_spans_and_events(self, telemetry: Telemetry, server: Any) -> None:
        """The ids that the route carries are told, as strings; other parts of the URL are not."""
        pattern = path("t/<int:tournament_id>/m/<int:match_id>/<name>/", leaf)

        await server(URLRouter([pattern]), CONNECT, DISCONNECT, path="/t/1/m/3/Ada/").run()

        told = [span.attributes or {} for span in telemetry.spans()] + [one.attributes for one in telemetry.events()]
        assert [("1", "3")] * 4 == [(one["tournament.id"], one["match.id"]) for one in told]
        assert "Ada" not in repr(told)

    async def test_id_that_is_a_name_is_dropped(self, telemetry: Telemetry, server: Any) -> None:
        """A match id that has the form of a name never leaves."""
        await server(URLRouter([path("m/<match_id>/", leaf)]), CONNECT, DISCONNECT, path="/m/ada-lovelace/").run()

        assert [None] == [one.attributes.get("match.id") for one in telemetry.events("WS_CONNECT")]


async def test_middleware_outside_all_routers(telemetry: Telemetry, server: Any) -> None:
    """With the middleware line outermost the route is told all the same."""
    application = WebSocketMiddleware(ProtocolTypeRouter({"websocket": URLRouter([path("ws/<int:id>/", leaf)])}))

    assert "/ws/{id}/" == await route_of(telemetry, server, application, "/ws/3/")


async def test_plain_application_at_a_route(telemetry: Telemetry, server: Any) -> None:
    """A plain ASGI application behind Channels' router has its route."""

    async def application(scope: Any, receive: Any, send: Any) -> Any:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    assert "/ws/{id}/" == await route_of(telemetry, server, URLRouter([path("ws/<int:id>/", application)]), "/ws/3/")


def test_template_of_an_unknown_pattern() -> None:
    """A pattern of a class that we do not know has no template, unless it reads like one."""
    assert "_OTHER" == template_of("ws/(a)|(b)")


async def test_routes_that_are_gone_are_let_go(telemetry: Telemetry, server: Any) -> None:
    """Routers that an application makes and drops are freed with their routes."""
    router = URLRouter([path("ws/<int:id>/", leaf)])
    await server(router, CONNECT, DISCONNECT, path="/ws/3/").run()
    pattern = weakref.ref(router.routes[0].pattern)

    del router
    gc.collect()

    assert None is pattern()
