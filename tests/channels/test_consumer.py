"""The consumer door: each kind of consumer is seen, once, and runs as it would without it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

import pytest
from doubles import User

pytest.importorskip("channels")

from asgiref.sync import async_to_sync
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from django.urls import path
from opentelemetry import trace

import otel_ws
from otel_ws import WebSocketMiddleware, testing
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")

CONNECT = {"type": "websocket.connect"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1000}
mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine")


def text(content: str) -> dict[str, Any]:
    """A client's message."""
    return {"type": "websocket.receive", "text": content}


@pytest.fixture
def tracer(telemetry: Telemetry) -> trace.Tracer:
    """A tracer as the application's own database instrumentation would have one."""
    return telemetry.tracer_provider.get_tracer("application")


def parent_of(telemetry: Telemetry, name: str) -> str | None:
    """The name of a span's parent, which must have been exported too."""
    names = {span.context.span_id: span.name for span in telemetry.spans()}
    parent = telemetry.span(name).parent
    return names[parent.span_id] if parent is not None else None


class TestTypes:
    """What a message is called."""

    async def test_async_json_consumer_tells_declared_types(self, telemetry: Telemetry, server: Any) -> None:
        """An async JSON consumer's messages are told apart by their declared type."""

        class Game(AsyncJsonWebsocketConsumer):
            message_types = ("heartbeat", "subscribe")

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                pass

        messages = [text('{"type": "heartbeat"}'), text('{"type": "heartbeat"}'), text('{"type": "subscribe"}')]

        await server(Game.as_asgi(), CONNECT, *messages, DISCONNECT).run()

        assert [2, 1] == [telemetry.value("ws.messages", type=name) for name in ("heartbeat", "subscribe")]

    async def test_sync_json_consumer_tells_declared_types(self, telemetry: Telemetry, server: Any) -> None:
        """A sync JSON consumer's messages are told apart by their declared type."""

        class Game(JsonWebsocketConsumer):
            message_types = ("heartbeat",)

            def receive_json(self, content: Any, **kwargs: Any) -> None:
                pass

        await server(Game.as_asgi(), CONNECT, text('{"type": "heartbeat"}'), DISCONNECT).run()

        assert 1 == telemetry.value("ws.messages", type="heartbeat", status="success")

    @pytest.mark.parametrize(
        "content", ['{"type": "invented"}', '{"type": ["heartbeat"]}', "[]", '"heartbeat"', "{}", "null"]
    )
    async def test_what_a_client_invents_is_unknown(self, telemetry: Telemetry, server: Any, content: str) -> None:
        """A message whose type nobody declared is unknown."""

        class Game(AsyncJsonWebsocketConsumer):
            message_types = ("heartbeat",)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                pass

        await server(Game.as_asgi(), CONNECT, text(content), DISCONNECT).run()

        assert 1 == telemetry.value("ws.messages", type="unknown", status="success")

    async def test_invalid_json_is_a_validation_error(self, telemetry: Telemetry, server: Any) -> None:
        """A message that is no JSON is unknown, failed, and an error of category validation."""

        class Game(AsyncJsonWebsocketConsumer):
            pass

        with pytest.raises(ValueError, match="Expecting"):
            await server(Game.as_asgi(), CONNECT, text("{"), DISCONNECT).run()

        assert (1, 1) == (
            telemetry.value("ws.messages", type="unknown", status="error"),
            telemetry.value("ws.errors", error_type="JSONDecodeError", error_category="validation"),
        )

    @pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
    async def test_raw_consumer_tells_its_handler(self, telemetry: Telemetry, server: Any, base: Any) -> None:
        """A consumer without JSON tells its handler's name as the type."""

        class Raw(base):
            pass

        await server(Raw.as_asgi(), CONNECT, {"type": "websocket.receive", "bytes": b"x"}, DISCONNECT).run()

        assert 1 == telemetry.value("ws.messages", type="websocket_receive")

    @pytest.mark.parametrize("base", [AsyncConsumer, SyncConsumer])
    async def test_bare_consumer_is_seen(self, telemetry: Telemetry, server: Any, base: Any) -> None:
        """A consumer on the lowest base class is seen like any other."""
        if base is AsyncConsumer:

            class Low(AsyncConsumer):
                async def websocket_connect(self, message: Any) -> None:
                    await self.send({"type": "websocket.accept"})

                async def websocket_receive(self, message: Any) -> None:
                    pass

                async def websocket_disconnect(self, message: Any) -> None:
                    raise StopConsumer

        else:

            class Low(SyncConsumer):  # type: ignore[no-redef]
                def websocket_connect(self, message: Any) -> None:
                    self.send({"type": "websocket.accept"})

                def websocket_receive(self, message: Any) -> None:
                    pass

                def websocket_disconnect(self, message: Any) -> None:
                    raise StopConsumer

        await server(Low.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert (1, 1, 0) == (
            telemetry.value("ws.messages", type="websocket_receive", status="success"),
            telemetry.value("ws.connections", status="disconnected"),
            telemetry.value("ws.errors"),
        )

    async def test_application_may_name_a_raw_message(self, telemetry: Telemetry, server: Any) -> None:
        """set_message_type() names a message that only the application can read."""
        otel_ws.declare(message_types=["move"])

        class Raw(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                otel_ws.set_message_type("move")

        await server(Raw.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert 1 == telemetry.value("ws.messages", type="move")

    async def test_type_key_is_a_setting(self, server: Any) -> None:
        """The key of the type in a decoded message is a setting."""

        class Game(AsyncJsonWebsocketConsumer):
            message_types = ("heartbeat",)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                pass

        with testing.capture(message_type_key="action") as telemetry:
            await server(Game.as_asgi(), CONNECT, text('{"action": "heartbeat"}'), DISCONNECT).run()

            assert 1 == telemetry.value("ws.messages", type="heartbeat")

    async def test_message_types_of_another_meaning_cost_nothing(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that uses the attribute for something else is seen all the same."""

        class Game(AsyncJsonWebsocketConsumer):
            message_types = ({"name": "heartbeat"}, ["x"])

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                pass

        await server(Game.as_asgi(), CONNECT, text('{"type": "heartbeat"}'), DISCONNECT).run()

        assert 1 == telemetry.value("ws.messages", type="unknown", status="success")


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TestClientsContext:
    """A client's ``traceparent`` in a JSON message: followed only where the setting says so, by its ids alone."""

    @staticmethod
    async def links(server: Any, content: str, **settings: Any) -> tuple[list[str], list[Any]]:
        """The trace ids that a message's span is linked to, but for its own connection's; what the handler got."""
        got: list[Any] = []

        class Game(AsyncJsonWebsocketConsumer):
            message_types = ("move",)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                got.append(content)

        with testing.capture(**settings) as telemetry:
            await server(Game.as_asgi(), CONNECT, text(content), DISCONNECT).run()
            (connect,) = telemetry.spans("connect _OTHER")
            (span,) = [one for one in telemetry.spans() if one.name.startswith(("move ", "unknown "))]
            assert all(not link.attributes and not link.context.trace_state for link in span.links)
            found = [link.context.trace_id for link in span.links if link.context.trace_id != connect.context.trace_id]
            telemetry.assert_ids_only()
        return [f"{one:032x}" for one in found], got

    @pytest.mark.parametrize("traces", ["linked", "child"])
    async def test_its_span_is_linked(self, server: Any, traces: str) -> None:
        """To the ids, and the message stays as it was sent."""
        content = f'{{"type": "move", "traceparent": "{TRACEPARENT}", "tracestate": "vendor=secret"}}'

        linked, got = await self.links(server, content, message_context="link", message_traces=traces)

        assert ["0af7651916cd43dd8448eb211c80319c"] == linked
        assert [{"type": "move", "traceparent": TRACEPARENT, "tracestate": "vendor=secret"}] == got

    async def test_by_default_it_is_not_followed(self, server: Any) -> None:
        """Who speaks to a server does not choose its traces."""
        assert [] == (await self.links(server, f'{{"type": "move", "traceparent": "{TRACEPARENT}"}}'))[0]

    @pytest.mark.parametrize(
        "value",
        [
            '"00-00000000000000000000000000000000-b7ad6b7169203331-01"',
            '"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"',
            '"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"',
            '"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"',
            f'"{TRACEPARENT}-more"',
            f'"01{TRACEPARENT[2:]}-more"',
            '"secret"',
            '""',
            f'"{"0" * 100_000}"',
            f'["{TRACEPARENT}"]',
            '{"traceparent": 1}',
            "7",
            "null",
        ],
        ids=lambda value: value[:30],
    )
    async def test_what_has_another_form_is_none(self, server: Any, value: str) -> None:
        """No link, and the handler is none the wiser."""
        linked, got = await self.links(server, f'{{"type": "move", "traceparent": {value}}}', message_context="link")

        assert ([], 1) == (linked, len(got))

    async def test_without_message_spans_nobody_looks(self, server: Any) -> None:
        """There is nothing to link."""
        got: list[Any] = []

        class Game(JsonWebsocketConsumer):
            def receive_json(self, content: Any, **kwargs: Any) -> None:
                got.append(content)

        with testing.capture(message_context="link", message_traces="off") as telemetry:
            await server(Game.as_asgi(), CONNECT, text(f'{{"traceparent": "{TRACEPARENT}"}}'), DISCONNECT).run()

            assert (1, 1) == (len(got), telemetry.value("ws.messages", status="success"))


class TestEnds:
    """What ends a consumer."""

    @pytest.mark.parametrize("handler", ["connect", "receive", "disconnect"])
    async def test_stop_consumer_is_no_error(self, telemetry: Telemetry, server: Any, handler: str) -> None:
        """StopConsumer is how a consumer ends; it fails neither message nor connection."""

        async def stop(self: Any, *args: Any, **kwargs: Any) -> None:
            if handler == "connect":
                await self.accept()
            raise StopConsumer

        consumer: Any = type("Stopping", (AsyncWebsocketConsumer,), {handler: stop})

        await server(consumer.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert (0, 0, 1) == (
            telemetry.value("ws.errors"),
            telemetry.value("ws.messages", status="error"),
            telemetry.value("ws.connections", status="disconnected"),
        )

    async def test_unknown_message_type_is_an_error(self, telemetry: Telemetry, server: Any) -> None:
        """A message for which there is no handler is Channels' ValueError, as without otel-ws."""
        with pytest.raises(ValueError, match="No handler for message type"):
            await server(AsyncWebsocketConsumer.as_asgi(), CONNECT, {"type": "nonsense"}).run()

        assert 1 == telemetry.value("ws.errors", error_type="ValueError")


class TestOverrides:
    """Consumers that people wrote their own way."""

    async def test_overridden_dispatch_runs_inside(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """A consumer's own dispatch is part of the message's handler."""

        class Own(AsyncWebsocketConsumer):
            async def dispatch(self, message: Any) -> None:
                with tracer.start_as_current_span(f"around {message['type']}"):
                    await super().dispatch(message)

        await server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert "websocket_receive _OTHER" == parent_of(telemetry, "around websocket.receive")

    async def test_overridden_call_is_seen(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that overrides __call__ and goes on to Channels' is seen."""

        class Own(AsyncWebsocketConsumer):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
                return await super().__call__(dict(scope, role="admin"), receive, send)

        await server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert (1, 1) == (
            telemetry.value("ws.connections", status="connected", role="admin"),
            telemetry.value("ws.messages"),
        )

    async def test_call_of_its_own_is_seen_through_the_middleware(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that handles its messages itself, without Channels' __call__, is a plain application."""

        class Own(AsyncWebsocketConsumer):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
                await receive()
                await send({"type": "websocket.accept"})
                while (await receive())["type"] != "websocket.disconnect":
                    await send({"type": "websocket.send", "text": "x"})

        await server(WebSocketMiddleware(Own.as_asgi()), CONNECT, text("x"), DISCONNECT).run()

        assert (1, 1) == (telemetry.value("ws.messages"), telemetry.value("ws.connections", status="disconnected"))

    async def test_overridden_receive_json_is_called_as_before(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer's own receive_json gets the same content and the same keywords."""
        got: list[Any] = []

        class Own(AsyncJsonWebsocketConsumer):
            async def receive(self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any) -> None:
                await super().receive(text_data, bytes_data, extra=7)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                got.append((content, kwargs))

        await server(Own.as_asgi(), CONNECT, text('{"type": "a"}'), DISCONNECT).run()

        assert [({"type": "a"}, {"extra": 7})] == got

    async def test_dispatch_within_dispatch_is_one_message(self, telemetry: Telemetry, server: Any) -> None:
        """An application that dispatches a message of its own while it handles one has still got one message."""

        class Own(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                if text_data == "outer":
                    await self.dispatch(text("inner"))

        await server(Own.as_asgi(), CONNECT, text("outer"), text("next"), DISCONNECT).run()

        assert 2 == telemetry.value("ws.messages")

    async def test_initkwargs_arrive(self, telemetry: Telemetry, server: Any) -> None:
        """Arguments of as_asgi() reach the consumer."""

        class Own(AsyncWebsocketConsumer):
            def __init__(self, color: str) -> None:
                super().__init__()
                self.color = color

            async def connect(self) -> None:
                await self.accept(self.color)

        peer = server(Own.as_asgi(color="red"), CONNECT, DISCONNECT)

        await peer.run()

        assert "red" == peer.sent[0]["subprotocol"]


class TestInstance:
    """What is left on the instance."""

    @pytest.mark.parametrize("raises", [False, True])
    async def test_instance_holds_no_wrapper_after_the_end(
        self, telemetry: Telemetry, server: Any, raises: bool
    ) -> None:
        """After the connection, however it ended, the instance has its class's methods again."""
        made: list[Any] = []

        class Own(AsyncJsonWebsocketConsumer):
            def __init__(self) -> None:
                super().__init__()
                made.append(self)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                if raises:
                    raise KeyError

        try:
            await server(Own.as_asgi(), CONNECT, text("{}"), DISCONNECT).run()
        except KeyError:
            pass

        assert [] == [name for name in ("dispatch", "receive_json") if name in vars(made[0])]

    async def test_attribute_of_the_instance_comes_back(self, telemetry: Telemetry, server: Any) -> None:
        """A dispatch that the application put on the instance itself is called, and is there again afterwards."""
        made: list[Any] = []
        calls: list[str] = []

        class Own(AsyncWebsocketConsumer):
            def __init__(self) -> None:
                super().__init__()
                inner: Any = super().dispatch

                async def own(message: Any) -> None:
                    calls.append(message["type"])
                    await inner(message)

                self.dispatch = own
                made.append((self, own))

        await server(Own.as_asgi(), CONNECT, DISCONNECT).run()

        consumer, own = made[0]
        assert (own, ["websocket.connect", "websocket.disconnect"]) == (vars(consumer)["dispatch"], calls)


class TestContext:
    """What is current while a handler works."""

    async def test_database_span_of_an_async_handler(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """A span that an async handler makes is a child of its message's span."""

        class Own(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                with tracer.start_as_current_span("SELECT"):
                    await asyncio.sleep(0)

        await server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert "websocket_receive _OTHER" == parent_of(telemetry, "SELECT")

    async def test_database_span_of_a_sync_handler(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """A span that a sync handler makes, in its thread, is a child of its message's span."""

        class Own(WebsocketConsumer):
            def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                with tracer.start_as_current_span("SELECT"):
                    pass

        await server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert "websocket_receive _OTHER" == parent_of(telemetry, "SELECT")

    async def test_database_span_of_database_sync_to_async(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """A span that is made through database_sync_to_async is a child of the message's span."""

        def query() -> None:
            with tracer.start_as_current_span("SELECT"):
                pass

        class Own(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                await database_sync_to_async(query)()

        await server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert "websocket_receive _OTHER" == parent_of(telemetry, "SELECT")

    async def test_span_of_connect_is_a_child_of_connect(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """What happens in the connect handler belongs to the connect span."""

        class Own(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                with tracer.start_as_current_span("SELECT"):
                    await self.accept()

        await server(Own.as_asgi(), CONNECT, DISCONNECT).run()

        assert "connect _OTHER" == parent_of(telemetry, "SELECT")

    async def test_span_of_disconnect_is_a_child_of_disconnect(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """What happens in the disconnect handler belongs to the disconnect span."""

        class Own(AsyncWebsocketConsumer):
            async def disconnect(self, code: int) -> None:
                with tracer.start_as_current_span("SELECT"):
                    pass

        await server(Own.as_asgi(), CONNECT, DISCONNECT).run()

        assert "disconnect _OTHER" == parent_of(telemetry, "SELECT")

    async def test_middleware_span_is_a_child_of_connect(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """What a middleware does before the consumer, authentication's queries above all, belongs to connect."""

        async def authenticate(scope: Any, receive: Any, send: Any) -> Any:
            with tracer.start_as_current_span("SELECT user"):
                pass
            return await AsyncWebsocketConsumer.as_asgi()(dict(scope), receive, send)

        await server(WebSocketMiddleware(authenticate), CONNECT, DISCONNECT).run()

        assert "connect _OTHER" == parent_of(telemetry, "SELECT user")

    async def test_nothing_after_connect_is_a_child_of_connect(
        self, telemetry: Telemetry, tracer: trace.Tracer, server: Any
    ) -> None:
        """Messages, layer messages and the disconnect have nothing to do with the connect span's trace."""

        class Own(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                with tracer.start_as_current_span("in receive"):
                    await self.channel_layer.send(self.channel_name, {"type": "chat.message"})

            async def chat_message(self, message: Any) -> None:
                with tracer.start_as_current_span("in chat_message"):
                    done.set()

            async def disconnect(self, code: int) -> None:
                with tracer.start_as_current_span("in disconnect"):
                    pass

        done = asyncio.Event()
        peer = server(WebSocketMiddleware(Own.as_asgi()), CONNECT, text("x"), lambda _: done.wait(), DISCONNECT)

        await peer.run()

        connect = telemetry.span("connect _OTHER")
        inside = [telemetry.span(f"in {name}") for name in ("receive", "chat_message", "disconnect")]
        assert [False] * 3 == [span.context.trace_id == connect.context.trace_id for span in inside]

    async def test_two_messages_are_two_traces(self, telemetry: Telemetry, server: Any) -> None:
        """Each client message is a trace of its own."""

        class Own(AsyncWebsocketConsumer):
            pass

        await server(Own.as_asgi(), CONNECT, text("a"), text("b"), DISCONNECT).run()

        traces = {span.context.trace_id for span in telemetry.spans()}
        assert (4, 4) == (len(telemetry.spans()), len(traces))

    async def test_message_event_belongs_to_the_message_span(self, telemetry: Telemetry, server: Any) -> None:
        """The message's event carries the ids of the message's span."""

        class Own(AsyncWebsocketConsumer):
            pass

        await server(Own.as_asgi(), CONNECT, text("a"), DISCONNECT).run()

        span, (event,) = telemetry.span("websocket_receive _OTHER"), telemetry.events("WS_MESSAGE")
        assert (span.context.trace_id, span.context.span_id) == (event.trace_id, event.span_id)

    @pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
    async def test_context_variables_of_the_application_survive(
        self, telemetry: Telemetry, server: Any, base: Any
    ) -> None:
        """A context variable that one handler set is there in the next one, as without otel-ws."""
        seen: list[str] = []

        if base is WebsocketConsumer:

            class Own(WebsocketConsumer):
                def connect(self) -> None:
                    mine.set("connect")
                    self.accept()

                def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                    seen.append(mine.get())
                    mine.set("receive")

                def disconnect(self, code: int) -> None:
                    seen.append(mine.get())

        else:

            class Own(AsyncWebsocketConsumer):  # type: ignore[no-redef]
                async def connect(self) -> None:
                    mine.set("connect")
                    await self.accept()

                async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                    seen.append(mine.get())
                    mine.set("receive")

                async def disconnect(self, code: int) -> None:
                    seen.append(mine.get())

        await server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT).run()

        assert ["connect", "receive"] == seen

    async def test_context_that_a_handler_forgot_is_put_right(self, telemetry: Telemetry, server: Any) -> None:
        """A handler that leaves its own span current does not change what the next message belongs to."""
        tracer = telemetry.tracer_provider.get_tracer("application")
        seen: list[Any] = []

        class Own(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                seen.append(trace.get_current_span().get_span_context().trace_id)
                trace.use_span(tracer.start_span("forgotten")).__enter__()

        await server(Own.as_asgi(), CONNECT, text("a"), text("b"), DISCONNECT).run()

        traces = [span.context.trace_id for span in telemetry.spans() if span.name == "websocket_receive _OTHER"]
        assert traces == seen


class TestNested:
    """Consumers within consumers."""

    @pytest.fixture
    def nested(self) -> Iterator[Any]:
        """A demultiplexer that runs its inner consumer in its own handlers, one after the other."""

        class Inner(AsyncJsonWebsocketConsumer):
            message_types = ("inner",)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                await self.send_json(content)

        class Outer(AsyncJsonWebsocketConsumer):
            message_types = ("outer",)

            async def connect(self) -> None:
                self.inner = Inner()
                self.inputs: asyncio.Queue[Any] = asyncio.Queue()
                self.running = asyncio.ensure_future(self.inner(self.scope, self.inputs.get, self.base_send))
                await self.inputs.put(CONNECT)

            async def receive_json(self, content: Any, **kwargs: Any) -> None:
                await self.inputs.put(text('{"type": "inner"}'))
                while not self.inputs.empty():
                    await asyncio.sleep(0)

            async def disconnect(self, code: int) -> None:
                await self.inputs.put(DISCONNECT)
                await self.running

        return Outer

    @staticmethod
    def settled(peer: Any) -> Any:
        """A script's item that waits until the inner consumer has answered all messages so far."""
        expected = 1 + sum(1 for one in peer.script if isinstance(one, dict) and "text" in one)

        async def wait(server: Any) -> None:
            left = sum(1 for one in server.script if isinstance(one, dict) and "text" in one)
            while len(server.sent) < expected - left:
                await asyncio.sleep(0)

        return wait

    async def test_message_is_counted_once(self, telemetry: Telemetry, server: Any, nested: Any) -> None:
        """A client message that passes a demultiplexer is one message, of the outer consumer's type."""
        peer = server(nested.as_asgi(), CONNECT, text('{"type": "outer"}'))
        peer.script += [self.settled(peer), DISCONNECT]

        await peer.run()

        assert (1, 1) == (telemetry.value("ws.messages"), telemetry.value("ws.messages", type="outer"))

    async def test_every_message_is_counted(self, telemetry: Telemetry, server: Any, nested: Any) -> None:
        """Each of several messages is counted, though an inner consumer still works when the outer is done."""
        peer = server(nested.as_asgi(), CONNECT)
        wait = self.settled(server(nested.as_asgi(), *[text("{}")] * 3))
        peer.script += [item for _ in range(3) for item in (text('{"type": "outer"}'), wait)] + [DISCONNECT]

        await peer.run()

        assert 3 == telemetry.value("ws.messages")

    async def test_inner_consumer_has_an_internal_span(self, telemetry: Telemetry, server: Any, nested: Any) -> None:
        """The inner consumer's span is INTERNAL and in the message's trace."""
        peer = server(nested.as_asgi(), CONNECT, text('{"type": "outer"}'))
        peer.script += [self.settled(peer), DISCONNECT]

        await peer.run()

        (inner,) = [span for span in telemetry.spans() if span.kind is trace.SpanKind.INTERNAL]
        assert telemetry.span("outer _OTHER").context.trace_id == inner.context.trace_id

    async def test_inner_consumer_declares_types_too(self, telemetry: Telemetry, server: Any, nested: Any) -> None:
        """The types that an inner consumer declares are known: its span bears the inner message's."""
        peer = server(nested.as_asgi(), CONNECT, text('{"type": "outer"}'))
        peer.script += [self.settled(peer), DISCONNECT]

        await peer.run()

        assert trace.SpanKind.INTERNAL is telemetry.span("inner _OTHER").kind

    async def test_connection_is_counted_once(self, telemetry: Telemetry, server: Any, nested: Any) -> None:
        """Outer and inner consumer share one connection."""
        peer = server(nested.as_asgi(), CONNECT, DISCONNECT)
        peer.script.insert(1, self.settled(peer))

        await peer.run()

        assert (1, 1, 0) == (
            telemetry.value("ws.connections", status="connected"),
            telemetry.value("ws.connections", status="disconnected"),
            telemetry.value("ws.active_connections"),
        )

    async def test_inner_application_called_directly(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that hands its whole conversation to another one is one connection."""

        class Inner(AsyncWebsocketConsumer):
            pass

        class Outer(AsyncConsumer):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
                return await Inner.as_asgi()(scope, receive, send)

        await server(WebSocketMiddleware(Outer.as_asgi()), CONNECT, text("x"), DISCONNECT).run()

        assert (1, 1) == (telemetry.value("ws.messages"), telemetry.value("ws.connections", status="connected"))


class TestMiddlewares:
    """What other middlewares do around a consumer."""

    async def test_middleware_that_accepts_before_routing(self, telemetry: Telemetry, server: Any) -> None:
        """A middleware that accepts first, to close with a code of its own, leaves every gauge series at zero."""

        class Own(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                pass

        async def early(scope: Any, receive: Any, send: Any) -> Any:
            await send({"type": "websocket.accept"})
            router = URLRouter([path("ws/match/<int:match_id>/", Own.as_asgi())])
            return await router(dict(scope, role="player"), receive, send)

        await server(WebSocketMiddleware(early), CONNECT, DISCONNECT, path="/ws/match/3/").run()

        assert {0} == set(telemetry.points("ws.active_connections").values())

    async def test_middleware_that_reads_the_first_message(self, telemetry: Telemetry, server: Any) -> None:
        """A first message that a middleware reads and hands on is one message."""

        class Own(AsyncWebsocketConsumer):
            pass

        async def peek(scope: Any, receive: Any, send: Any) -> Any:
            held = [await receive(), await receive()]

            async def again() -> Any:
                return held.pop(0) if held else await receive()

            return await Own.as_asgi()(scope, again, send)

        await server(WebSocketMiddleware(peek), CONNECT, text("token"), text("x"), DISCONNECT).run()

        assert 2 == telemetry.value("ws.messages")

    async def test_scope_copied_by_a_middleware_is_read(self, telemetry: Telemetry, server: Any) -> None:
        """User and role that a middleware puts into its copy of the scope are on the connection."""

        async def authenticate(scope: Any, receive: Any, send: Any) -> Any:
            return await AsyncWebsocketConsumer.as_asgi()(dict(scope, user=User(77), role="player"), receive, send)

        await server(WebSocketMiddleware(authenticate), CONNECT, DISCONNECT).run()

        attributes = telemetry.span("connect _OTHER").attributes or {}
        assert ("77", "player") == (attributes["user.id"], attributes["ws.role"])


class TestOtherWork:
    """What is not a client's message."""

    async def test_layer_message_is_no_client_message(self, telemetry: Telemetry, server: Any) -> None:
        """A message from the channel layer is handled, and is not counted as a client's."""

        class Own(AsyncWebsocketConsumer):
            async def connect(self) -> None:
                await self.accept()
                await self.channel_layer.send(self.channel_name, {"type": "chat.message"})

            async def chat_message(self, message: Any) -> None:
                done.set()

        done = asyncio.Event()

        await server(Own.as_asgi(), CONNECT, lambda _: done.wait(), DISCONNECT).run()

        assert 0 == telemetry.value("ws.messages")

    async def test_consumer_of_a_worker_is_no_connection(self, telemetry: Telemetry, server: Any) -> None:
        """A consumer that a worker runs tells its tasks, and no connection."""

        class Worker(AsyncConsumer):
            async def chat_message(self, message: Any) -> None:
                raise StopConsumer

        await server(Worker.as_asgi(), {"type": "chat.message"}, type="channel", channel="jobs").run()

        assert (["WS_TASK"], 0) == ([one.name for one in telemetry.events()], telemetry.value("ws.connections"))

    async def test_sync_consumer_may_use_the_layer(self, telemetry: Telemetry, server: Any) -> None:
        """A sync handler that calls async code through asgiref works, and is one message."""

        class Own(WebsocketConsumer):
            def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                async_to_sync(get_channel_layer().group_add)("room", self.channel_name)
                self.send("done")

        peer = server(Own.as_asgi(), CONNECT, text("x"), DISCONNECT)

        await peer.run()

        assert (1, ["websocket.accept", "websocket.send"]) == (telemetry.value("ws.messages"), peer.types())


VERBS = (
    "connection_accepted", "connection_closed", "disconnect_finished", "message_handled", "message_sent",
    "error_raised", "event", "observe", "consumer_met", "tally", "clock", "ledger", "policy", "live", "spans",
    "writers",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_broken_telemetry_is_not_noticed(server: Any, verb: str, base: Any) -> None:
    """Whichever verb of ours fails, a consumer works as without otel-ws."""

    class Broken:
        def __call__(self, *args: object, **kwargs: object) -> Any:
            raise RuntimeError

        def __getattr__(self, name: str) -> Any:
            return self

    if base is WebsocketConsumer:

        class Echo(WebsocketConsumer):
            def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                self.send(text_data)

    else:

        class Echo(AsyncWebsocketConsumer):  # type: ignore[no-redef]
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                await self.send(text_data)

    with testing.capture() as telemetry:
        telemetry.recorder.close()
        setattr(telemetry.recorder, verb, (Broken(),) if verb == "writers" else Broken())
        telemetry.recorder.flush = telemetry.recorder.close = lambda: None  # type: ignore[method-assign]
        peer = server(WebSocketMiddleware(Echo.as_asgi()), CONNECT, text("a"), text("b"), DISCONNECT)

        await peer.run()

    from otel_ws import faults

    faults.reset()
    assert ["websocket.accept", "websocket.send", "websocket.send"] == peer.types()
