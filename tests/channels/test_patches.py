"""The seams: replaced once, put back exactly, and one set of telemetry however many doors there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import channel_layers
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ws import WebSocketMiddleware, faults, recorder
from otel_ws.channels import patches
from otel_ws.instrumentor import ChannelsInstrumentor
from otel_ws.testing import Telemetry

CONNECT = {"type": "websocket.connect"}
HELLO = {"type": "websocket.receive", "text": '{"type": "hello"}'}
DISCONNECT = {"type": "websocket.disconnect", "code": 1000}
OWNERS = (ProtocolTypeRouter, URLRouter, AsyncConsumer)


class Echo(AsyncJsonWebsocketConsumer):
    """Sends back what it gets."""

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Echo."""
        await self.send_json(content)


def seams() -> list[Any]:
    """The functions that are in the places we replace."""
    return [vars(owner)["__call__"] for owner in OWNERS]


@pytest.fixture
def bare() -> Iterator[list[Any]]:
    """Channels as it came, and no recorder; after the test it must be like that again."""
    assert recorder.active() is None
    before = seams()
    yield before
    patches.revert()
    recorder.uninstall()


@pytest.fixture
def exported() -> Iterator[tuple[InMemorySpanExporter, TracerProvider]]:
    """A tracer provider of the user's own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter, provider
    provider.shutdown()


def test_apply_replaces_every_seam(bare: list[Any]) -> None:
    """Every seam of the table is another function afterwards."""
    patches.apply()

    assert [True] * 3 == [now is not before for now, before in zip(seams(), bare, strict=True)]


def test_revert_restores_every_seam(bare: list[Any]) -> None:
    """The very functions that were there come back."""
    patches.apply()

    patches.revert()

    assert [True] * 3 == [now is before for now, before in zip(seams(), bare, strict=True)]


def test_a_layer_that_was_made_before_is_observed(bare: list[Any], exported: Any) -> None:
    """A worker asks for its layer before it loads the application that instruments it."""
    layer = channel_layers["default"]
    own = set(vars(layer))

    ChannelsInstrumentor().instrument(tracer_provider=exported[1])
    try:
        assert {"send", "receive", "group_send"} <= set(vars(layer)) - own
    finally:
        ChannelsInstrumentor().uninstrument()
    assert own == set(vars(layer))


def test_second_apply_changes_nothing(bare: list[Any]) -> None:
    """Applying twice wraps once."""
    patches.apply()
    once = seams()

    patches.apply()

    assert once == seams()


def test_undoing_the_second_apply_changes_nothing(bare: list[Any]) -> None:
    """What the second apply returns does not undo the first."""
    patches.apply()
    once = seams()

    patches.apply()()

    assert once == seams()


def test_revert_without_apply_does_nothing(bare: list[Any]) -> None:
    """Reverting what was never applied is harmless."""
    patches.revert()

    assert bare == seams()


def test_wrapper_looks_like_what_it_wraps(bare: list[Any]) -> None:
    """A replaced method keeps its name, its documentation and the way to the original."""
    patches.apply()

    told = [(now.__name__, now.__doc__, now.__wrapped__) for now in seams()]

    assert [(before.__name__, before.__doc__, before) for before in bare] == told


async def test_wrapper_put_over_ours_stays(bare: list[Any], server: Any) -> None:
    """Somebody who wrapped after us keeps the wrapper, and it works."""
    patches.apply()
    ours = vars(URLRouter)["__call__"]
    calls: list[str] = []

    async def theirs(self: Any, scope: Any, receive: Any, send: Any) -> Any:
        calls.append(scope["path"])
        return await ours(self, scope, receive, send)

    URLRouter.__call__ = theirs
    try:
        patches.revert()
        peer = server(URLRouter([path("ws/", Echo.as_asgi())]), CONNECT, HELLO, DISCONNECT, path="/ws/")
        await peer.run()
        kept = vars(URLRouter)["__call__"]
    finally:
        URLRouter.__call__ = bare[1]

    assert (theirs, ["/ws/"], 2) == (kept, calls, len(peer.sent))


def test_seam_of_another_shape_is_left_alone(bare: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that looks otherwise in some version of Channels is not replaced, and that is told."""

    async def other(self: Any, scope: Any) -> None:
        pass

    monkeypatch.setattr(URLRouter, "__call__", other)

    patches.apply()

    assert (other, 1) == (vars(URLRouter)["__call__"], faults.snapshot().get("patches.URLRouter"))
    faults.reset()


async def test_pattern_gets_its_match_back(bare: list[Any], server: Any, exported: Any) -> None:
    """A route that was watched has its class's match again."""
    route = path("ws/<int:id>/", Echo.as_asgi())
    recorder.install(_settings())
    patches.apply()
    await server(URLRouter([route]), CONNECT, DISCONNECT, path="/ws/3/").run()
    watched = "match" in vars(route.pattern)

    patches.revert()

    assert (True, False) == (watched, "match" in vars(route.pattern))


async def test_match_that_somebody_else_put_there_stays(bare: list[Any], server: Any) -> None:
    """A pattern whose instance had a match of its own gets that one back."""
    route = path("ws/<int:id>/", Echo.as_asgi())
    original = route.pattern.match

    def theirs(path: str) -> Any:
        return original(path)

    route.pattern.match = theirs
    recorder.install(_settings())
    patches.apply()
    await server(URLRouter([route]), CONNECT, DISCONNECT, path="/ws/3/").run()

    patches.revert()

    assert theirs is vars(route.pattern).get("match")


async def test_route_is_watched_again_after_a_revert(bare: list[Any], server: Any) -> None:
    """A route that was watched, given back and watched again is told."""
    route = path("ws/<int:id>/", Echo.as_asgi())
    router = URLRouter([route])
    recorder.install(_settings())
    watched: list[bool] = []

    for _ in range(2):
        patches.apply()
        await server(router, CONNECT, DISCONNECT, path="/ws/3/").run()
        watched.append("match" in vars(route.pattern))
        patches.revert()
        watched.append("match" in vars(route.pattern))

    assert [True, False, True, False] == watched


async def test_uninstrument_restores_everything(bare: list[Any], server: Any, exported: Any) -> None:
    """After uninstrument() the seams are the originals, nothing records, and applications run as they did."""
    exporter, provider = exported
    instrumentor = ChannelsInstrumentor()
    application = URLRouter([path("ws/", Echo.as_asgi())])
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    await server(application, CONNECT, HELLO, DISCONNECT, path="/ws/").run()
    recorded = len(exporter.get_finished_spans())

    instrumentor.uninstrument()

    peer = server(application, CONNECT, HELLO, DISCONNECT, path="/ws/")
    await peer.run()
    assert (3, 3, 2) == (recorded, len(exporter.get_finished_spans()), len(peer.sent))
    assert [True] * 3 == [now is before for now, before in zip(seams(), bare, strict=True)]
    assert None is recorder.active()


async def test_uninstrument_in_the_middle_of_a_connection(bare: list[Any], server: Any, exported: Any) -> None:
    """A connection that is open while everything is put back goes on, and its instance is left clean."""
    _, provider = exported
    made: list[Any] = []

    class Own(Echo):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    instrumentor = ChannelsInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    peer = server(Own.as_asgi(), CONNECT, HELLO, lambda _: instrumentor.uninstrument(), HELLO, DISCONNECT)

    await peer.run()

    assert (3, []) == (len(peer.sent), [name for name in ("dispatch", "receive_json") if name in vars(made[0])])


async def test_middleware_lets_pass_after_uninstrument(bare: list[Any], server: Any, exported: Any) -> None:
    """The middleware line stays in asgi.py; after uninstrument() it tells nothing and lets everything pass."""
    exporter, provider = exported
    instrumentor = ChannelsInstrumentor()
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    application = WebSocketMiddleware(Echo.as_asgi())
    instrumentor.uninstrument()

    peer = server(application, CONNECT, HELLO, DISCONNECT)
    await peer.run()

    assert (2, 0) == (len(peer.sent), len(exporter.get_finished_spans()))


@pytest.mark.usefixtures("no_faults")
class TestOneSet:
    """However many doors an application has, each thing is told once."""

    @staticmethod
    def told(telemetry: Telemetry) -> tuple[Any, ...]:
        """Spans, events and the counts of one conversation."""
        return (
            telemetry.span_names(),
            [event.name for event in telemetry.events()],
            telemetry.value("ws.connections"),
            telemetry.value("ws.messages"),
            telemetry.value("ws.messages.sent"),
            telemetry.value("ws.message.latency"),
            telemetry.value("ws.active_connections"),
        )

    EXPECTED = (
        ["connect /ws/", "unknown /ws/", "disconnect /ws/"],
        ["WS_CONNECT", "WS_MESSAGE", "WS_DISCONNECT"],
        2, 1, 1, 1, 0,
    )  # fmt: skip

    @pytest.mark.parametrize("middlewares", [0, 1, 2, 3])
    @pytest.mark.parametrize("protocols", [False, True])
    async def test_doors_in_each_other(
        self, telemetry: Telemetry, server: Any, middlewares: int, protocols: bool
    ) -> None:
        """Any number of middlewares around any of the seams gives one set of telemetry."""
        application: Any = URLRouter([path("ws/", Echo.as_asgi())])
        if protocols:
            application = ProtocolTypeRouter({"websocket": application})
        for _ in range(middlewares):
            application = WebSocketMiddleware(application)

        await server(application, CONNECT, HELLO, DISCONNECT, path="/ws/").run()

        assert self.EXPECTED == self.told(telemetry)

    async def test_middleware_between_router_and_consumer(self, telemetry: Telemetry, server: Any) -> None:
        """A middleware line in the wrong place still gives one set."""
        application = URLRouter([path("ws/", WebSocketMiddleware(Echo.as_asgi()))])

        await server(application, CONNECT, HELLO, DISCONNECT, path="/ws/").run()

        assert self.EXPECTED == self.told(telemetry)

    async def test_patches_applied_twice(self, telemetry: Telemetry, server: Any) -> None:
        """Applying the patches again gives one set."""
        patches.apply()
        application = URLRouter([path("ws/", Echo.as_asgi())])

        await server(application, CONNECT, HELLO, DISCONNECT, path="/ws/").run()

        assert self.EXPECTED == self.told(telemetry)


def _settings() -> Any:
    from otel_ws.settings import Settings

    return Settings.load({})
