"""Routes are found by walking an application, whoever made its routers."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ws.cli.routes import Route, routes_of


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """An application without routes."""


# Django's annotations know views alone.
nothing: Any = _nothing


class Around:
    """A middleware that keeps what it wraps under some name."""

    def __init__(self, name: str, inner: object) -> None:
        setattr(self, name, inner)


def test_a_plain_application_has_none() -> None:
    """A function has no routes, and is no trouble."""
    assert [] == routes_of(nothing)


def test_starlette() -> None:
    """Routes, mounts and WebSocket routes of Starlette, with their parameters."""
    applications = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    inner = routing.WebSocketRoute("/ws/{room:str}", nothing)
    application = applications.Starlette(
        routes=[routing.Route("/orders/{pk:int}", nothing, methods=["GET"]), routing.Mount("/live", routes=[inner])]
    )

    found = routes_of(Around("app", application))

    assert [("http", "/orders/{pk:int}", ["pk"]), ("websocket", "/live/ws/{room:str}", ["room"])] == [
        (route.scope_type, route.template, route.parameters) for route in found
    ]


@pytest.mark.parametrize("name", ["app", "inner", "application"])
def test_channels(name: str) -> None:
    """Routers of Channels behind middlewares, with the message types that a consumer declares."""
    routing = pytest.importorskip("channels.routing")
    from channels.generic.websocket import AsyncWebsocketConsumer
    from django.urls import path, re_path

    class Room(AsyncWebsocketConsumer):
        message_types = ("greet",)

    nested = routing.URLRouter([path("room/<int:room_id>/", Room.as_asgi())])
    router = routing.URLRouter([path("ws/", nested), re_path(r"^raw/(?P<x>\d+)/$", nothing)])
    application = Around(name, routing.ProtocolTypeRouter({"websocket": Around(name, router)}))

    assert [
        Route("websocket", "/ws/room/{room_id}/", ("greet",), True),
        Route("websocket", "/raw/{x}/", is_hidden=True),
    ] == routes_of(application)


def test_middlewares_inside_a_route_of_channels() -> None:
    """A middleware around a nested router, or around a consumer, hides neither."""
    routing = pytest.importorskip("channels.routing")
    from channels.generic.websocket import AsyncWebsocketConsumer
    from django.urls import path, re_path

    class Room(AsyncWebsocketConsumer):
        message_types = ("greet",)

    class Guard(Around):
        """Routes of Django take callables alone."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def guarded(inner: object) -> Any:
        return Guard("inner", Guard("app", inner))

    nested = routing.URLRouter([path("ws/room/<int:room_id>/", guarded(Room.as_asgi()))])

    assert [Route("websocket", "/v1/ws/room/{room_id}/", ("greet",), True)] == routes_of(
        routing.URLRouter([re_path("^v1/", guarded(nested))])
    )


def test_a_middleware_inside_a_mount_of_starlette() -> None:
    """A mount whose application is a middleware around a router is walked."""
    routing = pytest.importorskip("starlette.routing")
    inner = routing.Router(routes=[routing.WebSocketRoute("/ws/{room}", nothing)])
    application = routing.Router(
        routes=[routing.Mount("/live", app=Around("app", inner)), routing.Mount("/x", nothing)]
    )

    assert [("websocket", "/live/ws/{room}"), ("websocket", "/x")] == [
        (route.scope_type, route.template) for route in routes_of(application)
    ]


def test_a_route_is_filled() -> None:
    """Every parameter of a template is replaced, with or without a converter."""
    assert "/a/7/b/7" == Route("websocket", "/a/{x}/b/{y:int}").filled("7")


def test_what_refuses_to_answer_is_left_alone() -> None:
    """An object whose attributes raise has no routes."""

    class Grumpy:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    assert [] == routes_of(Grumpy())


def test_what_wraps_itself_ends() -> None:
    """An application that is its own middleware is walked once."""
    around = Around("app", None)
    around.app = Around("app", around)  # type: ignore[attr-defined]

    assert [] == routes_of(around)
