"""The middleware alone, around plain ASGI applications and Starlette."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from opentelemetry import trace
from surroundings import bare_environment

import otel_ws
from otel_ws import WebSocketMiddleware, recorder, testing
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")

CONNECT = {"type": "websocket.connect"}
HELLO = {"type": "websocket.receive", "text": "hello"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1000}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """A plain application that sends back what it gets."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def tracer(telemetry: Telemetry) -> trace.Tracer:
    """A tracer of the application's own."""
    return telemetry.tracer_provider.get_tracer("application")


class TestPlain:
    """An application that is one coroutine."""

    async def test_message_lasts_until_the_next_receive(self, clock: Any, server: Any) -> None:
        """A message's handler works from when receive returned until receive is called again."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            clock.now += 2.0
            await receive()

        def wait(_server: object) -> None:
            clock.now += 5.0

        with testing.capture(injected={"clock": clock}, message_events="all") as telemetry:
            await server(WebSocketMiddleware(application), CONNECT, HELLO, wait, DISCONNECT).run()

            (event,) = telemetry.events("WS_MESSAGE")
            assert 2.0 == event.attributes["ws.duration"]

    async def test_message_lasts_until_the_end(self, clock: Any, server: Any) -> None:
        """The last message's handler works until the application returns."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            clock.now += 2.0

        with testing.capture(injected={"clock": clock}, message_events="all") as telemetry:
            await server(WebSocketMiddleware(application), CONNECT, HELLO).run()

            (event,) = telemetry.events("WS_MESSAGE")
            assert (2.0, "success") == (event.attributes["ws.duration"], event.attributes["ws.outcome"])

    async def test_each_message_is_one_span(self, telemetry: Telemetry, server: Any) -> None:
        """Three messages are three spans between connect and disconnect."""
        await server(WebSocketMiddleware(echo), CONNECT, HELLO, HELLO, HELLO, DISCONNECT).run()

        assert [
            "connect _OTHER", "unknown _OTHER", "unknown _OTHER", "unknown _OTHER", "disconnect _OTHER",
        ] == telemetry.span_names()  # fmt: skip

    async def test_message_span_is_current_in_the_handler(self, telemetry: Telemetry, server: Any) -> None:
        """What the application does with a message belongs to the message's span."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            with tracer(telemetry).start_as_current_span("SELECT"):
                await asyncio.sleep(0)
            await receive()

        await server(WebSocketMiddleware(application), CONNECT, HELLO, DISCONNECT).run()

        parent = telemetry.span("SELECT").parent
        assert telemetry.span("unknown _OTHER").context.span_id == (parent.span_id if parent else None)

    async def test_connect_span_is_current_before_accept(self, telemetry: Telemetry, server: Any) -> None:
        """What happens before accept belongs to connect."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            with tracer(telemetry).start_as_current_span("SELECT"):
                await send({"type": "websocket.accept"})

        await server(WebSocketMiddleware(application), CONNECT).run()

        parent = telemetry.span("SELECT").parent
        assert telemetry.span("connect _OTHER").context.span_id == (parent.span_id if parent else None)

    async def test_work_after_the_last_message_is_no_part_of_connect(self, telemetry: Telemetry, server: Any) -> None:
        """What happens after a disconnect was received belongs to no span of the connection."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            await receive()
            with tracer(telemetry).start_as_current_span("clean up"):
                pass

        await server(WebSocketMiddleware(application), CONNECT, HELLO, DISCONNECT).run()

        assert None is telemetry.span("clean up").parent

    async def test_what_was_current_outside_is_current_again(self, telemetry: Telemetry, server: Any) -> None:
        """After the application, the caller's own span is current again."""
        seen: list[trace.Span] = []

        async def outside(scope: Any, receive: Any, send: Any) -> None:
            with tracer(telemetry).start_as_current_span("outside") as mine:
                await WebSocketMiddleware(echo)(scope, receive, send)
                seen.extend([mine, trace.get_current_span()])

        await server(outside, CONNECT, HELLO, DISCONNECT).run()

        assert seen[0] is seen[1]

    async def test_message_received_in_another_task_is_counted(self, telemetry: Telemetry, server: Any) -> None:
        """An application that receives in a task of its own has its messages counted, and its context left alone."""
        seen: list[bool] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await asyncio.ensure_future(receive()))["type"] == "websocket.receive":
                seen.append(trace.get_current_span().get_span_context().is_valid)

        await server(WebSocketMiddleware(application), CONNECT, HELLO, HELLO, DISCONNECT).run()

        assert (2, 2) == (telemetry.value("ws.messages", status="success"), len(seen))

    async def test_event_of_a_message_received_in_another_task(self, telemetry: Telemetry, server: Any) -> None:
        """The message's event carries its span's ids, wherever it was received."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await asyncio.ensure_future(receive()))["type"] == "websocket.receive":
                pass

        await server(WebSocketMiddleware(application), CONNECT, HELLO, DISCONNECT).run()

        (event,) = telemetry.events("WS_MESSAGE")
        assert telemetry.span("unknown _OTHER").context.span_id == event.span_id

    async def test_exception_fails_the_message(self, telemetry: Telemetry, server: Any) -> None:
        """An exception while a message is handled fails that message, and is one error."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            raise KeyError("Ada")

        with pytest.raises(KeyError):
            await server(WebSocketMiddleware(application), CONNECT, HELLO).run()

        assert (1, 1) == (
            telemetry.value("ws.messages", status="error"),
            telemetry.value("ws.errors", error_type="KeyError"),
        )

    async def test_verbs_work_inside(self, telemetry: Telemetry, server: Any) -> None:
        """The application names its message, its role and its ids."""
        otel_ws.declare(message_types=["move"])

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            otel_ws.set_role("player")
            otel_ws.set_ids(user_id=7)
            await send({"type": "websocket.accept"})
            await receive()
            otel_ws.set_message_type("move")

        await server(WebSocketMiddleware(application), CONNECT, HELLO).run()

        attributes = telemetry.span("move _OTHER").attributes or {}
        assert ("player", "7") == (attributes["ws.role"], attributes["user.id"])

    async def test_connections_of_one_middleware_do_not_mix(self, telemetry: Telemetry, server: Any) -> None:
        """Two connections at once through one middleware each tell their own ids."""
        together = asyncio.Barrier(2)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            otel_ws.set_ids(user_id=scope["number"])
            await together.wait()
            await send({"type": "websocket.accept"})
            await receive()

        middleware = WebSocketMiddleware(application)

        await asyncio.gather(*(server(middleware, CONNECT, DISCONNECT, number=number).run() for number in (1, 2)))

        users = sorted(str(event.attributes["user.id"]) for event in telemetry.events("WS_DISCONNECT"))
        assert ["1", "2"] == users

    async def test_second_connection_in_the_same_context(self, telemetry: Telemetry, server: Any) -> None:
        """A server that serves its next connection in the context of the last one has two connections."""
        for _ in range(2):
            one = server(None, CONNECT, DISCONNECT)
            await WebSocketMiddleware(echo)(one.scope, one.receive, one.send)

        assert 2 == telemetry.value("ws.connections", status="connected")


class TestHandshake:
    """What the client's handshake says of traces."""

    HEADERS = ((b"TraceParent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"), (b"tracestate", b"vendor=Ada"))

    async def test_traceparent_is_the_parent(self, telemetry: Telemetry, server: Any) -> None:
        """The connect span is a child of the handshake's traceparent."""
        await server(WebSocketMiddleware(echo), CONNECT, DISCONNECT, headers=list(self.HEADERS)).run()

        span = telemetry.span("connect _OTHER")
        assert ("a" * 32, "b" * 16) == (f"{span.context.trace_id:x}", f"{span.parent.span_id:x}" if span.parent else "")

    async def test_tracestate_does_not_pass(self, telemetry: Telemetry, server: Any) -> None:
        """A caller's tracestate, which is text, is on no span and no link."""
        await server(WebSocketMiddleware(echo), CONNECT, HELLO, DISCONNECT, headers=list(self.HEADERS)).run()

        states = [span.context.trace_state for span in telemetry.spans()]
        states += [link.context.trace_state for span in telemetry.spans() for link in span.links]
        assert [{}] * len(states) == [dict(state) for state in states]

    @pytest.mark.parametrize("value", [b"", b"garbage", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
    async def test_broken_traceparent_is_ignored(self, telemetry: Telemetry, server: Any, value: bytes) -> None:
        """A traceparent that is none makes a root."""
        await server(WebSocketMiddleware(echo), CONNECT, DISCONNECT, headers=[(b"traceparent", value)]).run()

        assert None is telemetry.span("connect _OTHER").parent

    async def test_link_instead_of_parent(self, server: Any) -> None:
        """With connect_context=link the connect span is a root with one link."""
        with testing.capture(connect_context="link") as telemetry:
            await server(WebSocketMiddleware(echo), CONNECT, DISCONNECT, headers=list(self.HEADERS)).run()

            span = telemetry.span("connect _OTHER")
            assert (None, 1) == (span.parent, len(span.links))

    async def test_traceparent_ignored(self, server: Any) -> None:
        """With connect_context=ignore the connect span is a root without links."""
        with testing.capture(connect_context="ignore") as telemetry:
            await server(WebSocketMiddleware(echo), CONNECT, DISCONNECT, headers=list(self.HEADERS)).run()

            span = telemetry.span("connect _OTHER")
            assert (None, 0) == (span.parent, len(span.links))


class TestRoute:
    """Where the route comes from without Channels."""

    class Route:
        """What FastAPI and Starlette leave in the scope."""

        def __init__(self, path: Any) -> None:
            self.path = path

    @pytest.mark.parametrize(
        ("path", "template"),
        [
            ("/ws/{room_id}", "/ws/{room_id}"),
            ("/ws/{room_id:int}/{rest:path}", "/ws/{room_id}/{rest}"),
            (None, "_OTHER"),
            (7, "_OTHER"),
            ("/ws/Ada Lovelace", "_OTHER"),
            ("no/slash", "_OTHER"),
        ],
    )
    async def test_route_of_the_scope(self, telemetry: Telemetry, server: Any, path: Any, template: str) -> None:
        """The template of scope["route"] is the route, without converters."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            scope["route"] = TestRoute.Route(path)
            await echo(scope, receive, send)

        await server(WebSocketMiddleware(application), CONNECT, DISCONNECT).run()

        assert 1 == telemetry.value("ws.connections", status="connected", http_route=template)

    async def test_root_path_is_not_told(self, telemetry: Telemetry, server: Any) -> None:
        """Some servers take the root path from a header: it is no part of the route, nor of a span's name."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            scope["route"] = TestRoute.Route("/ws/{id}")
            await echo(scope, receive, send)

        await server(WebSocketMiddleware(application), CONNECT, DISCONNECT, root_path="/alice").run()

        assert 1 == telemetry.value("ws.connections", status="connected", http_route="/ws/{id}")
        assert not [name for name in telemetry.span_names() if "alice" in name]

    async def test_raw_path_never_leaves(self, telemetry: Telemetry, server: Any) -> None:
        """A path that no route describes is told as _OTHER, on every signal."""
        await server(WebSocketMiddleware(echo), CONNECT, HELLO, DISCONNECT, path="/ws/Ada").run()

        told = repr([(span.name, dict(span.attributes or {})) for span in telemetry.spans()])
        told += repr(telemetry.events()) + repr(telemetry.points("ws.connections"))
        assert "Ada" not in told


class TestStarlette:
    """Starlette through the middleware alone."""

    @pytest.fixture
    def starlette(self) -> Any:
        """The package, if it is installed."""
        return pytest.importorskip("starlette")

    async def test_route_and_message(self, telemetry: Telemetry, server: Any, starlette: Any) -> None:
        """A Starlette route is told by its template, its messages one by one."""
        from starlette.applications import Starlette
        from starlette.routing import WebSocketRoute
        from starlette.websockets import WebSocket

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text(await websocket.receive_text())
            await websocket.close(4000)

        application = Starlette(routes=[WebSocketRoute("/ws/{match_id:int}", endpoint)])

        await server(WebSocketMiddleware(application), CONNECT, HELLO, path="/ws/3").run()

        route = (telemetry.span("connect /ws/{match_id}").attributes or {})["http.route"]
        assert ("/ws/{match_id}", 1, 1) == (
            route,
            telemetry.value("ws.messages", http_route="/ws/{match_id}"),
            telemetry.value("ws.connection.duration", close_code="4000", scope_type="match"),
        )

    async def test_mount_is_other(self, telemetry: Telemetry, server: Any, starlette: Any) -> None:
        """Below a Mount the template is not known, and the real path is not told instead."""
        from starlette.applications import Starlette
        from starlette.routing import Mount, WebSocketRoute
        from starlette.websockets import WebSocket

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()

        inner = [WebSocketRoute("/ws/{id}", endpoint)]
        application = Starlette(routes=[Mount("/rooms/{name}", routes=inner)])

        await server(WebSocketMiddleware(application), CONNECT, path="/rooms/Ada/ws/3").run()

        assert ["connect _OTHER", "disconnect _OTHER"] == telemetry.span_names()

    async def test_unknown_path_is_a_rejection(self, telemetry: Telemetry, server: Any, starlette: Any) -> None:
        """Starlette closes a WebSocket that it has no route for: one rejection, no error."""
        from starlette.applications import Starlette

        await server(WebSocketMiddleware(Starlette()), CONNECT, path="/wp-admin").run()

        assert (1, 0) == (telemetry.value("ws.connection.rejections"), telemetry.value("ws.errors"))

    async def test_send_to_a_client_that_is_gone(self, telemetry: Telemetry, server: Any, starlette: Any) -> None:
        """Starlette turns the server's OSError into WebSocketDisconnect: a lost connection all the same."""
        from starlette.applications import Starlette
        from starlette.routing import WebSocketRoute
        from starlette.websockets import WebSocket, WebSocketDisconnect

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text("x")

        def refuse(message: Any) -> None:
            if message["type"] == "websocket.send":
                raise ConnectionResetError

        application = Starlette(routes=[WebSocketRoute("/ws", endpoint)])
        peer = server(WebSocketMiddleware(application), CONNECT, path="/ws")
        peer.on_send = refuse

        with pytest.raises(WebSocketDisconnect):
            await peer.run()

        ended = [
            (one.attributes.get("ws.close.code"), one.attributes["ws.close.initiator"])
            for one in telemetry.events("WS_DISCONNECT")
        ]
        assert ([(1006, "lost")], 0) == (ended, telemetry.value("ws.errors"))


class TestOtherScopes:
    """What is no WebSocket passes untouched."""

    @pytest.mark.parametrize("kind", ["lifespan", "webtransport"])
    async def test_same_objects_pass(self, telemetry: Telemetry, kind: str) -> None:
        """Scope, receive and send of another type are the server's own objects, and so is the result."""
        got: list[Any] = []
        result = object()

        async def application(scope: Any, receive: Any, send: Any) -> object:
            got.extend([scope, receive, send])
            return result

        async def receive() -> Any:
            raise AssertionError

        async def send(message: Any) -> None:
            raise AssertionError

        scope = {"type": kind}

        returned = await WebSocketMiddleware(application)(scope, receive, send)

        assert [True] * 4 == [
            one is other for one, other in zip([*got, returned], [scope, receive, send, result], strict=True)
        ]

    @pytest.mark.parametrize("kind", ["http", "lifespan"])
    async def test_nothing_is_told(self, telemetry: Telemetry, kind: str) -> None:
        """A request of another type leaves no telemetry."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            pass

        nothing: Any = None

        await WebSocketMiddleware(application)({"type": kind}, nothing, nothing)

        assert ([], []) == (telemetry.events(), telemetry.spans())


class TestOff:
    """Where telemetry is off, there is no wrapper."""

    @pytest.fixture(autouse=True)
    def uninstalled(self) -> Any:
        """No recorder before and after."""
        assert recorder.active() is None
        yield
        recorder.uninstall()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OTEL_WS_ENABLED", "false"),
            ("OTEL_WS_ENABLED", "0"),
            ("OTEL_WS_ENABLED", "No"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_SDK_DISABLED", "TRUE"),
        ],
    )
    def test_application_itself_comes_back(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        """With telemetry off the middleware returns the application object itself."""
        monkeypatch.setenv(name, value)

        assert echo is WebSocketMiddleware(echo)

    @pytest.mark.parametrize(("name", "value"), [("OTEL_WS_ENABLED", "true"), ("OTEL_SDK_DISABLED", "false")])
    def test_wrapper_where_it_is_on(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        """With telemetry on there is a wrapper."""
        monkeypatch.setenv(name, value)

        assert isinstance(WebSocketMiddleware(echo), WebSocketMiddleware)

    def test_wrong_value_ends_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wrong setting ends the start with a text that names variable, value and allowed values."""
        monkeypatch.setenv("OTEL_WS_MESSAGE_EVENTS", "loud")

        with pytest.raises(SystemExit) as caught:
            WebSocketMiddleware(echo)

        text = str(caught.value)
        assert [] == [word for word in ("OTEL_WS_MESSAGE_EVENTS", "'loud'", "all, sampled, slow") if word not in text]


def test_uvicorn_sees_an_asgi3_application(telemetry: Telemetry) -> None:
    """A uvicorn finds the ASGI 3 interface by itself."""
    config = pytest.importorskip("uvicorn").Config(WebSocketMiddleware(echo), interface="auto", log_config=None)

    config.load()

    assert "asgi3" == config.interface


def test_asgiref_sees_a_single_callable(telemetry: Telemetry) -> None:
    """The asgiref with which daphne and Channels detect the old interface takes it for the new one."""
    compatibility = pytest.importorskip("asgiref.compatibility")

    assert False is compatibility.is_double_callable(WebSocketMiddleware(echo))


class TestOwnSpans:
    """What a plain application makes current itself."""

    async def test_own_conversation_span_stays_without_message_spans(self, server: Any) -> None:
        """Where otel-ws makes no message spans, it does not touch what is current."""
        names: list[str] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, False))):
                await receive()
                await send({"type": "websocket.accept"})
                while (await receive())["type"] != "websocket.disconnect":
                    names.append(f"{trace.get_current_span().get_span_context().span_id}")

        with testing.capture(message_traces="off"):
            await server(WebSocketMiddleware(application), CONNECT, HELLO, HELLO, DISCONNECT).run()

        assert ["2", "2"] == names

    async def test_own_conversation_span_comes_back_after_a_message(self, telemetry: Telemetry, server: Any) -> None:
        """When a message is over, the span that the application had made current is current again."""
        seen: list[int] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, False))):
                await receive()
                await send({"type": "websocket.accept"})
                await receive()
                await receive()
                seen.append(trace.get_current_span().get_span_context().span_id)

        await server(WebSocketMiddleware(application), CONNECT, HELLO, DISCONNECT).run()

        assert [2] == seen

    async def test_several_tasks_may_ask_for_messages(self, telemetry: Telemetry, server: Any) -> None:
        """Every message counts once and every span ends, however many tasks receive at a time."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await asyncio.gather(receive(), receive(), receive())
            await receive()

        await server(WebSocketMiddleware(application), CONNECT, HELLO, HELLO, HELLO, DISCONNECT).run()

        assert 3 == telemetry.value("ws.messages")
        assert 3 == telemetry.span_names().count("unknown _OTHER")

    async def test_client_gone_inside_a_task_group_is_lost(self, telemetry: Telemetry, server: Any) -> None:
        """A refused send of a gone client is the client's end, in an exception group too."""

        async def gone(message: Any) -> None:
            if message["type"] == "websocket.send":
                raise OSError

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await gone_send({"type": "websocket.accept"}, send)
            async with asyncio.TaskGroup() as group:
                group.create_task(gone_send({"type": "websocket.send", "text": "x"}, send))

        async def gone_send(message: Any, send: Any) -> None:
            await send(message)

        inputs = iter([{"type": "websocket.connect"}])

        async def receive() -> Any:
            return next(inputs)

        with pytest.raises(ExceptionGroup):
            await WebSocketMiddleware(application)({"type": "websocket", "headers": []}, receive, gone)

        (ended,) = telemetry.events("WS_DISCONNECT")
        assert ("lost", 0) == (ended.attributes["ws.close.initiator"], telemetry.value("ws.errors"))


def test_what_a_handler_puts_on_our_span_is_cleared_with_the_middleware_alone() -> None:
    """An own SDK and the middleware line are enough for the promise: an e-mail on our span does not leave."""
    program = """
        import asyncio, otel_ws
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        async def app(scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            trace.get_current_span().set_attribute("user.email", "ann@example.com")
            trace.get_current_span().record_exception(ValueError("ann@example.com"))
            await receive()

        wrapped = otel_ws.WebSocketMiddleware(app)
        provider, seen = TracerProvider(), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(seen))
        trace.set_tracer_provider(provider)
        inputs = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "x"},
                       {"type": "websocket.disconnect", "code": 1000}])
        async def receive(): return next(inputs)
        async def send(message): pass
        asyncio.run(wrapped({"type": "websocket", "headers": []}, receive, send))
        text = "".join(span.to_json() for span in seen.get_finished_spans())
        assert len(seen.get_finished_spans()) == 3, text
        print("LEAK" if "ann@example.com" in text else "clean")
    """

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=bare_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ("clean", "") == (done.stdout.strip(), done.stderr)
