"""Every way a connection can go, told right, once: through the middleware, through Channels' seams, through both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path

from otel_ws import WebSocketMiddleware
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")

CONNECT = {"type": "websocket.connect"}
HELLO = {"type": "websocket.receive", "text": "hello"}
ROUTE = "/ws/match/{match_id}/"
PATH = "/ws/match/3/"
ACCEPTED = ("WS_CONNECT", {"http.route": ROUTE})


def disconnect(code: int) -> dict[str, Any]:
    """The server's word that the connection is over."""
    return {"type": "websocket.disconnect", "code": code}


@pytest.fixture(params=["middleware", "seams", "middleware and seams"])
def door(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """How otel-ws gets to see the application: wraps what a test would give to the server."""
    if request.param == "middleware":

        def wrap(application: Any) -> Any:
            # The seams stay, as they do with configure(); the outermost one opens.
            return WebSocketMiddleware(application)

    elif request.param == "seams":

        def wrap(application: Any) -> Any:
            return application

    else:

        def wrap(application: Any) -> Any:
            return WebSocketMiddleware(ProtocolTypeRouter({"websocket": WebSocketMiddleware(application)}))

    return wrap


def routed(consumer: type[AsyncWebsocketConsumer]) -> Any:
    """The consumer at its route."""
    return URLRouter([path("ws/match/<int:match_id>/", consumer.as_asgi())])


def events(telemetry: Telemetry) -> list[tuple[str, dict[str, Any]]]:
    """Events in order, with what they say beyond ids, times and constants."""
    telling = ("ws.reason", "ws.close.code", "ws.close.initiator", "error.type", "http.route", "ws.subprotocol",
               "ws.outcome", "ws.handler")  # fmt: skip
    return [
        (event.name, {key: event.attributes[key] for key in telling if key in event.attributes})
        for event in telemetry.events()
    ]


def spans(telemetry: Telemetry) -> list[tuple[str, str, str | None]]:
    """Spans in order of their end: name, status, error type."""
    return [
        (span.name, span.status.status_code.name, (span.attributes or {}).get("error.type"))  # type: ignore[misc]
        for span in telemetry.spans()
    ]


def counts(telemetry: Telemetry) -> dict[str, float]:
    """The counters that every way moves, those at zero left out."""
    found = {
        "connected": telemetry.value("ws.connections", status="connected"),
        "disconnected": telemetry.value("ws.connections", status="disconnected"),
        "active": telemetry.value("ws.active_connections"),
        "rejected": telemetry.value("ws.connection.rejections"),
        "setup accepted": telemetry.value("ws.connection.setup.duration", status="accepted"),
        "setup rejected": telemetry.value("ws.connection.setup.duration", status="rejected"),
        "durations": telemetry.value("ws.connection.duration"),
        "messages": telemetry.value("ws.messages"),
        "sent": telemetry.value("ws.messages.sent", status="success"),
        "not sent": telemetry.value("ws.messages.sent", status="error"),
        "errors": telemetry.value("ws.errors"),
    }
    return {name: value for name, value in found.items() if value}


LIVED = {"connected": 1, "disconnected": 1, "setup accepted": 1, "durations": 1}
REJECTED = {"rejected": 1, "setup rejected": 1}


class Echo(AsyncWebsocketConsumer):
    """Accepts, and sends back what it gets."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Echo."""
        await self.send(text_data)


async def test_accepted(telemetry: Telemetry, door: Any, server: Any) -> None:
    """While an accepted connection is open, it is active and has been told as connected."""
    seen: list[Any] = []
    peer = server(door(routed(Echo)), CONNECT, lambda _: seen.append(counts(telemetry)), disconnect(1000), path=PATH)

    await peer.run()

    assert [{"connected": 1, "active": 1, "setup accepted": 1}] == seen


async def test_closed_by_client(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A client that says goodbye is told as the initiator, with its code; the message between is one message."""
    peer = server(door(routed(Echo)), CONNECT, HELLO, disconnect(1001), path=PATH)

    await peer.run()

    assert [
        ACCEPTED,
        ("WS_MESSAGE", {"ws.outcome": "success"}),
        ("WS_DISCONNECT", {"ws.close.code": 1001, "ws.close.initiator": "client"}),
    ] == events(telemetry)
    assert [
        (f"connect {ROUTE}", "UNSET", None),
        (f"websocket_receive {ROUTE}", "UNSET", None),
        (f"disconnect {ROUTE}", "UNSET", None),
    ] == spans(telemetry)
    assert {**LIVED, "messages": 1, "sent": 1} == counts(telemetry)


async def test_closed_by_server(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A server that restarts (1012) is told as the initiator."""
    peer = server(door(routed(Echo)), CONNECT, disconnect(1012), path=PATH)

    await peer.run()

    assert [ACCEPTED, ("WS_DISCONNECT", {"ws.close.code": 1012, "ws.close.initiator": "server"})] == events(telemetry)
    assert LIVED == counts(telemetry)


async def test_lost(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A connection that broke off (1006) was lost, by nobody."""
    peer = server(door(routed(Echo)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [ACCEPTED, ("WS_DISCONNECT", {"ws.close.code": 1006, "ws.close.initiator": "lost"})] == events(telemetry)
    assert LIVED == counts(telemetry)


async def test_closed_by_application(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An application that closes is the initiator with its code, whatever the server reports afterwards."""

    class Closing(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.close(4000)

    peer = server(door(routed(Closing)), CONNECT, HELLO, disconnect(1006), path=PATH)

    await peer.run()

    assert [
        ACCEPTED,
        ("WS_DISCONNECT", {"ws.close.code": 4000, "ws.close.initiator": "application"}),
        ("WS_MESSAGE", {"ws.outcome": "success"}),
    ] == events(telemetry)
    assert {**LIVED, "messages": 1} == counts(telemetry)
    assert 1 == telemetry.value("ws.connection.duration", close_code="4000")


async def test_rejected_before_accept(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A close before accept is a rejection with its code, and with its reason where that is a known code."""

    class Rejecting(Echo):
        async def connect(self) -> None:
            await self.close(4401, "JWT_EXPIRED")

    peer = server(door(routed(Rejecting)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "JWT_EXPIRED", "ws.close.code": 4401, "http.route": ROUTE})] == events(
        telemetry
    )
    assert [(f"connect {ROUTE}", "UNSET", None)] == spans(telemetry)
    assert REJECTED == counts(telemetry)
    assert 1 == telemetry.value(
        "ws.connection.rejections", reason="JWT_EXPIRED", close_code="4401", http_route=ROUTE, transport="websocket"
    )


async def test_rejected_with_words(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A reason in free text never leaves; the rejection is simply one."""

    class Rejecting(Echo):
        async def connect(self) -> None:
            await self.close(4401, "Ada's token is too old")

    peer = server(door(routed(Rejecting)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "REJECTED", "ws.close.code": 4401, "http.route": ROUTE})] == events(telemetry)


async def test_denied_by_exception(telemetry: Telemetry, door: Any, server: Any) -> None:
    """Channels' DenyConnection is a rejection, not an error."""

    class Denying(Echo):
        async def connect(self) -> None:
            raise DenyConnection

    peer = server(door(routed(Denying)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "REJECTED", "ws.close.code": 1000, "http.route": ROUTE})] == events(telemetry)
    assert REJECTED == counts(telemetry)


async def test_denial_response(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A refusal by an HTTP response is one rejection, without a close code, however many parts its body has."""

    class Denying(Echo):
        async def connect(self) -> None:
            await self.base_send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await self.base_send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
            await self.base_send({"type": "websocket.http.response.body", "body": b"!"})

    peer = server(door(routed(Denying)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "REJECTED", "http.route": ROUTE})] == events(telemetry)
    assert REJECTED == counts(telemetry)


async def test_never_accepted(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An application that returns without an answer has rejected the connection."""

    class Silent(Echo):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await receive()

    peer = server(door(routed(Silent)), CONNECT, path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "NEVER_ACCEPTED", "http.route": ROUTE})] == events(telemetry)
    assert [(f"connect {ROUTE}", "UNSET", None)] == spans(telemetry)
    assert REJECTED == counts(telemetry)


async def test_client_gone_before_accept(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A client that leaves during the handshake is a rejection for that reason."""

    class Slow(Echo):
        async def connect(self) -> None:
            pass

    peer = server(door(routed(Slow)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "CLIENT_GONE", "ws.close.code": 1006, "http.route": ROUTE})] == events(
        telemetry
    )
    assert REJECTED == counts(telemetry)


async def test_handler_exception_before_accept(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An exception in connect() rejects the connection and is one error, by its class and handler."""

    class Crashing(Echo):
        async def connect(self) -> None:
            raise KeyError("Ada")

    peer = server(door(routed(Crashing)), CONNECT, path=PATH)

    with pytest.raises(KeyError):
        await peer.run()

    assert [
        ("WS_ERROR", {"error.type": "KeyError", "ws.handler": "websocket_connect"}),
        ("WS_REJECT", {"ws.reason": "HANDLER_ERROR", "http.route": ROUTE}),
    ] == events(telemetry)
    assert [(f"connect {ROUTE}", "ERROR", "KeyError")] == spans(telemetry)
    assert {**REJECTED, "errors": 1} == counts(telemetry)


async def test_handler_exception_after_accept(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An exception in a handler is one error, fails its message, and the server closes with 1011."""

    class Crashing(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise KeyError("Ada")

    peer = server(door(routed(Crashing)), CONNECT, HELLO, path=PATH)

    with pytest.raises(KeyError):
        await peer.run()

    assert [
        ACCEPTED,
        ("WS_ERROR", {"error.type": "KeyError", "ws.handler": "websocket_receive"}),
        ("WS_MESSAGE", {"ws.outcome": "error"}),
        ("WS_DISCONNECT", {"ws.close.code": 1011, "ws.close.initiator": "server"}),
    ] == events(telemetry)
    assert [
        (f"connect {ROUTE}", "UNSET", None),
        (f"websocket_receive {ROUTE}", "ERROR", "KeyError"),
        (f"disconnect {ROUTE}", "ERROR", "KeyError"),
    ] == spans(telemetry)
    assert {**LIVED, "messages": 1, "errors": 1} == counts(telemetry)


async def test_disconnect_handler_exception(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An exception in disconnect() is one error; the connection ended as the client said."""

    class Crashing(Echo):
        async def disconnect(self, code: int) -> None:
            raise KeyError("Ada")

    peer = server(door(routed(Crashing)), CONNECT, disconnect(1000), path=PATH)

    with pytest.raises(KeyError):
        await peer.run()

    assert [
        ACCEPTED,
        ("WS_DISCONNECT", {"ws.close.code": 1000, "ws.close.initiator": "client"}),
        ("WS_ERROR", {"error.type": "KeyError", "ws.handler": "websocket_disconnect"}),
    ] == events(telemetry)
    assert [
        (f"connect {ROUTE}", "UNSET", None),
        (f"disconnect {ROUTE}", "ERROR", "KeyError"),
    ] == spans(telemetry)
    assert {**LIVED, "errors": 1} == counts(telemetry)


async def test_cancelled_before_accept(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A server that cancels during the handshake leaves a rejection, and no error."""

    class Slow(Echo):
        async def connect(self) -> None:
            peer.cancel()
            await asyncio.Event().wait()

    peer = server(door(routed(Slow)), CONNECT, path=PATH)

    with pytest.raises(asyncio.CancelledError):
        await peer.run()

    assert [("WS_REJECT", {"ws.reason": "CANCELLED", "http.route": ROUTE})] == events(telemetry)
    assert REJECTED == counts(telemetry)


async def test_cancelled_while_open(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A server that cancels an open connection has ended it; nobody knows a code, and it is no error."""
    peer = server(door(routed(Echo)), CONNECT, lambda one: one.cancel(), path=PATH)

    with pytest.raises(asyncio.CancelledError):
        await peer.run()

    assert [ACCEPTED, ("WS_DISCONNECT", {"ws.close.initiator": "server"})] == events(telemetry)
    assert [(f"connect {ROUTE}", "UNSET", None), (f"disconnect {ROUTE}", "UNSET", None)] == spans(telemetry)
    assert LIVED == counts(telemetry)


async def test_cancelled_in_a_handler(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A handler that is cancelled is a failed message, but no error of the application."""

    class Slow(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            peer.cancel()
            await asyncio.Event().wait()

    peer = server(door(routed(Slow)), CONNECT, HELLO, path=PATH)

    with pytest.raises(asyncio.CancelledError):
        await peer.run()

    assert [
        ACCEPTED,
        ("WS_MESSAGE", {"ws.outcome": "error"}),
        ("WS_DISCONNECT", {"ws.close.initiator": "server"}),
    ] == events(telemetry)
    assert {**LIVED, "messages": 1} == counts(telemetry)


async def test_two_closes(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A second close, and the disconnect after it, change nothing of what the first one told."""

    class Closing(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.close(4000)
            await self.close(4001)

    peer = server(door(routed(Closing)), CONNECT, HELLO, disconnect(1000), path=PATH)

    await peer.run()

    ended = [about for name, about in events(telemetry) if name == "WS_DISCONNECT"]
    assert [{"ws.close.code": 4000, "ws.close.initiator": "application"}] == ended
    assert {**LIVED, "messages": 1} == counts(telemetry)


async def test_two_closes_before_accept(telemetry: Telemetry, door: Any, server: Any) -> None:
    """Two closes before accept are one rejection, with the first one's code."""

    class Closing(Echo):
        async def connect(self) -> None:
            await self.close(4000)
            await self.close(4001)

    peer = server(door(routed(Closing)), CONNECT, disconnect(1006), path=PATH)

    await peer.run()

    assert [("WS_REJECT", {"ws.reason": "REJECTED", "ws.close.code": 4000, "http.route": ROUTE})] == events(telemetry)
    assert REJECTED == counts(telemetry)


async def test_send_after_close(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A message that is sent after the close reaches nobody: it counts as an error, whatever the server says."""

    class Late(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.close()
            await self.send("too late")

    peer = server(door(routed(Late)), CONNECT, HELLO, disconnect(1000), path=PATH)

    await peer.run()

    assert {**LIVED, "messages": 1, "not sent": 1} == counts(telemetry)


async def test_send_after_close_that_the_server_refuses(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A server that refuses the late message raises into the application, and that is one error."""

    class Late(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.close()
            await self.send("too late")

    def refuse(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise RuntimeError("Unexpected ASGI message 'websocket.send'")

    peer = server(door(routed(Late)), CONNECT, HELLO, path=PATH)
    peer.on_send = refuse

    with pytest.raises(RuntimeError):
        await peer.run()

    assert {**LIVED, "messages": 1, "not sent": 1, "errors": 1} == counts(telemetry)


async def test_accepted_with_subprotocol(telemetry: Telemetry, door: Any, server: Any) -> None:
    """The subprotocol that the application selected is told; those that the client offered are not."""

    class Choosing(Echo):
        async def connect(self) -> None:
            await self.accept("graphql-ws")

    peer = server(
        door(routed(Choosing)), CONNECT, disconnect(1000), path=PATH, subprotocols=["Ada Lovelace", "graphql-ws"]
    )

    await peer.run()

    assert ("WS_CONNECT", {"http.route": ROUTE, "ws.subprotocol": "graphql-ws"}) == events(telemetry)[0]
    assert 2 == telemetry.value("ws.connections", subprotocol="graphql-ws")
    assert "Ada" not in repr(telemetry.points("ws.connections"))


async def test_unrouted_path(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A path without a route is a rejection for that reason; what a stranger typed is no error and not told."""
    peer = server(door(routed(Echo)), CONNECT, path="/wp-admin/Ada")

    with pytest.raises(ValueError, match="No route found"):
        await peer.run()

    assert [("WS_REJECT", {"ws.reason": "NO_ROUTE", "http.route": "_OTHER"})] == events(telemetry)
    assert [("connect _OTHER", "UNSET", None)] == spans(telemetry)
    assert REJECTED == counts(telemetry)


async def test_unrouted_path_in_a_nested_router(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A path that only the outer router knows is unrouted."""
    inner = URLRouter([path("match/<int:match_id>/", Echo.as_asgi())])
    peer = server(door(URLRouter([path("ws/", inner)])), CONNECT, path="/ws/nothing/")

    with pytest.raises(ValueError, match="No route found"):
        await peer.run()

    assert [("WS_REJECT", {"ws.reason": "NO_ROUTE", "http.route": "_OTHER"})] == events(telemetry)
    assert REJECTED == counts(telemetry)


async def test_route_fall_through(telemetry: Telemetry, door: Any, server: Any) -> None:
    """Where a nested router finds nothing, the next route that matches is the one that is told."""
    inner = URLRouter([path("other/", Echo.as_asgi())])
    routes = [path("ws/", inner), re_path(r"^ws/match/(?P<match_id>\d+)/$", Echo.as_asgi())]
    peer = server(door(URLRouter(routes)), CONNECT, disconnect(1000), path=PATH)

    await peer.run()

    assert [ACCEPTED, ("WS_DISCONNECT", {"ws.close.code": 1000, "ws.close.initiator": "client"})] == events(telemetry)
    assert LIVED == counts(telemetry)


async def test_send_to_a_client_that_is_gone(telemetry: Telemetry, door: Any, server: Any) -> None:
    """A send that the server refuses because the client is gone means a lost connection, not an error."""

    class ClientDisconnectedError(OSError):
        pass

    def refuse(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise ClientDisconnectedError

    peer = server(door(routed(Echo)), CONNECT, HELLO, path=PATH)
    peer.on_send = refuse

    with pytest.raises(ClientDisconnectedError):
        await peer.run()

    ended = [about for name, about in events(telemetry) if name == "WS_DISCONNECT"]
    assert [{"ws.close.code": 1006, "ws.close.initiator": "lost"}] == ended
    assert {**LIVED, "messages": 1, "not sent": 1} == counts(telemetry)


async def test_accept_for_a_client_that_is_gone(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An accept that the server refuses because the client is gone is a rejection for that reason."""

    def refuse(message: Any) -> None:
        raise ConnectionResetError

    peer = server(door(routed(Echo)), CONNECT, path=PATH)
    peer.on_send = refuse

    with pytest.raises(ConnectionResetError):
        await peer.run()

    assert [("WS_REJECT", {"ws.reason": "CLIENT_GONE", "http.route": ROUTE})] == events(telemetry)
    assert REJECTED == counts(telemetry)


async def test_os_error_of_the_application_itself(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An OSError that did not come from a send is an error like any other."""

    class Crashing(Echo):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise FileNotFoundError("/home/ada")

    peer = server(door(routed(Crashing)), CONNECT, HELLO, path=PATH)

    with pytest.raises(FileNotFoundError):
        await peer.run()

    assert {**LIVED, "messages": 1, "errors": 1} == counts(telemetry)


async def test_application_that_just_ends(telemetry: Telemetry, door: Any, server: Any) -> None:
    """An application that returns with its connection open has closed it, with 1000 as servers do."""

    class Leaving(Echo):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})

    peer = server(door(routed(Leaving)), CONNECT, path=PATH)

    await peer.run()

    assert [
        ACCEPTED,
        ("WS_DISCONNECT", {"ws.close.code": 1000, "ws.close.initiator": "application"}),
    ] == events(telemetry)
    assert LIVED == counts(telemetry)


async def test_no_number_of_a_way_is_told_twice(telemetry: Telemetry, door: Any, server: Any) -> None:
    """Ten connections are ten, through whichever doors they came."""
    for _ in range(10):
        await server(door(routed(Echo)), CONNECT, HELLO, disconnect(1000), path=PATH).run()

    assert dict.fromkeys((*LIVED, "messages", "sent"), 10) == counts(telemetry)
