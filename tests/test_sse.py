"""Event streams: recognised by their content type, counted by their events, told as connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_ws
from otel_ws import WebSocketMiddleware, testing
from otel_ws.sse import EventCount
from otel_ws.testing import Telemetry

pytestmark = pytest.mark.usefixtures("no_faults")

REQUEST = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}
STREAM = [(b"Content-Type", b"text/event-stream; charset=utf-8")]


def start(headers: Any = STREAM, status: int = 200) -> dict[str, Any]:
    """The beginning of a response."""
    return {"type": "http.response.start", "status": status, "headers": headers}


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    """A part of a response."""
    return {"type": "http.response.body", "body": body, "more_body": more}


def answering(*messages: Any) -> Any:
    """An application that answers every request with these messages."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(message)

    return application


async def ask(server: Any, application: Any, *script: Any, **scope: Any) -> Any:
    """One HTTP request through the middleware; returns the server."""
    method = scope.pop("method", "GET")
    one = server(WebSocketMiddleware(application), REQUEST, *script, type="http", method=method, **scope)
    await one.run()
    return one


def ends(telemetry: Telemetry) -> list[tuple[object, object]]:
    """Close code and initiator of each end."""
    return [
        (one.attributes.get("ws.close.code"), one.attributes["ws.close.initiator"])
        for one in telemetry.events("WS_DISCONNECT")
    ]


class TestRecognised:
    """What is a stream and what is not."""

    @pytest.mark.parametrize("value", [b"text/event-stream", b"text/event-stream;charset=utf-8", b"Text/Event-Stream"])
    async def test_by_content_type(self, telemetry: Telemetry, server: Any, value: bytes) -> None:
        """A response of this type is a connection on the transport sse."""
        await ask(server, answering(start([(b"x", b"y"), (b"content-TYPE", value)]), part(b"", more=False)))

        assert 1 == telemetry.value("ws.connections", transport="sse", status="connected")

    @pytest.mark.parametrize(
        ("message", "method"),
        [
            (start([(b"content-type", b"text/html")]), "GET"),
            (start([(b"content-type", b"text/event-streaming")]), "GET"),
            (start([]), "GET"),
            (start(STREAM, status=503), "GET"),
            (start(STREAM), "HEAD"),
        ],
    )
    async def test_any_other_response_is_none(
        self, telemetry: Telemetry, server: Any, message: Any, method: str
    ) -> None:
        """Another type, a refusal and an answer without a body leave no telemetry."""
        one = await ask(server, answering(message, part(b"data: x\n\n", more=False)), method=method)

        told = (telemetry.events(), telemetry.spans(), telemetry.points("ws.connections"))
        assert ([], [], {}, 2) == (*told, len(one.sent))

    async def test_a_body_may_be_any_bytes(self, telemetry: Telemetry, server: Any) -> None:
        """What the server gets is what the application gave, and its events are counted."""
        bodies: list[Any] = [bytearray(b"data: 1\n"), memoryview(b"\ndata: 2\n\n")]
        one = await ask(server, answering(start(), *map(part, bodies), part(b"", more=False)))

        assert bodies == [message["body"] for message in one.sent[1:3]]
        assert 2 == telemetry.value("ws.messages.sent", transport="sse")

    async def test_headers_that_can_be_read_once_are_the_servers(self, telemetry: Telemetry, server: Any) -> None:
        """An iterator of headers reaches the server unread."""
        one = await ask(server, answering(start(iter(STREAM)), part(b"", more=False)))

        assert (STREAM, []) == (list(one.sent[0]["headers"]), telemetry.events())

    async def test_messages_are_the_applications_own(self, telemetry: Telemetry, server: Any) -> None:
        """The server gets the very messages of the application, in order."""
        messages = [start(), part(b"data: 1\n\n"), part(b"", more=False)]

        one = await ask(server, answering(*messages))

        assert [True] * 3 == [ours is theirs for ours, theirs in zip(messages, one.sent, strict=True)]

    async def test_message_without_a_type_passes(self, telemetry: Telemetry, server: Any) -> None:
        """What is no message goes to the server, who says so."""
        one = await ask(server, answering({"no": "type"}))

        assert [{"no": "type"}] == one.sent

    async def test_two_middlewares_tell_it_once(self, telemetry: Telemetry, server: Any) -> None:
        """A middleware inside another one joins it."""
        await ask(server, WebSocketMiddleware(answering(start(), part(b"data: x\n\n", more=False))))

        assert (1, 1) == (
            telemetry.value("ws.connections", status="connected"), telemetry.value("ws.messages.sent")
        )  # fmt: skip


class TestCounted:
    """What is counted of a stream."""

    async def test_events_over_parts(self, telemetry: Telemetry, server: Any) -> None:
        """Events are counted where their blank lines are, however they are cut."""
        parts = [part(b"data: 1\n"), part(b"\ndata: 2\n\ndata: 3\n\n: no"), part(b" event\n\n"), part(b"", more=False)]

        await ask(server, answering(start(), *parts))

        assert (3, 27.0) == (
            telemetry.value("ws.messages.sent", transport="sse", status="success"),
            _sum(telemetry, "ws.message.size"),
        )

    async def test_each_part_is_one_send(self, telemetry: Telemetry, server: Any) -> None:
        """Back-pressure is measured for each part."""
        await ask(server, answering(start(), part(b"data: 1\n\ndata: 2\n\n"), part(b"", more=False)))

        assert 2 == telemetry.value("ws.send.duration", transport="sse")

    async def test_no_span_for_a_part_and_no_latency(self, server: Any) -> None:
        """A stream has two spans, linked, whatever it sends, and its length is nobody's latency."""
        with testing.capture(message_events="all", send_spans="all") as telemetry:
            await ask(server, answering(start(), *[part(b"data: x\n\n")] * 5, part(b"", more=False)))

            first, second = telemetry.spans()
            assert (["connect _OTHER", "disconnect _OTHER"], {}, first.context.span_id) == (
                telemetry.span_names(), telemetry.points("ws.message.latency"), second.links[0].context.span_id
            )  # fmt: skip

    async def test_time_to_the_first_event(self, clock: Any, server: Any) -> None:
        """It runs from the request to the first event, past comments and halves."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            clock.now += 1
            await send(start())
            for body in (b": hello\n\n", b"data: 1\n", b"\n", b"data: 2\n\n"):
                clock.now += 1
                await send(part(body))

        with testing.capture(injected={"clock": clock}) as telemetry:
            await ask(server, application)

            assert (1, 4.0) == (
                telemetry.value("ws.sse.first_event.duration"), _sum(telemetry, "ws.sse.first_event.duration")
            )  # fmt: skip

    async def test_connect_span_begins_with_the_request(self, server: Any, clock: Any) -> None:
        """The connect span is as long as it took from the request to the response."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            clock.now += 2
            await send(start())

        with testing.capture(injected={"clock": clock, "now_ns": lambda: int(clock.now * 1e9)}) as telemetry:
            await ask(server, application)

            assert int(1000e9) == telemetry.span("connect _OTHER").start_time

    async def test_compressed_events_are_not_counted(self, telemetry: Telemetry, server: Any) -> None:
        """What is compressed shows no blank lines; its first part is its first event."""
        headers = [*STREAM, (b"content-encoding", b"gzip")]

        await ask(server, answering(start(headers), part(b"\n\n\n\n"), part(b"", more=False)))

        assert (0, 1, 1) == (
            telemetry.value("ws.messages.sent"),
            telemetry.value("ws.sse.first_event.duration"),
            telemetry.value("ws.connections", status="connected"),
        )

    async def test_delivery_events(self, server: Any) -> None:
        """Where every message to a client is an event, so is each of a stream's."""
        with testing.capture(delivery_events=True) as telemetry:
            await ask(server, answering(start(), part(b"data: 1\n\ndata: 22\n\n"), part(b"", more=False)))

            assert [9, 10] == [one.attributes["ws.message.size"] for one in telemetry.events("WS_DELIVERY")]

    @pytest.mark.parametrize("way", ["ledger", "api"])
    async def test_both_ways_of_histograms(self, server: Any, way: str) -> None:
        """Counts and sums are the same by the ledger and by the API."""
        with testing.capture(histograms=way) as telemetry:
            await ask(server, answering(start(), part(b"data: 1\n\n"), part(b"", more=False)))

            names = ("ws.message.size", "ws.send.duration", "ws.sse.first_event.duration", "ws.connection.duration")
            assert [1, 2, 1, 1] == [telemetry.value(name) for name in names]


class TestEnded:
    """How a stream ends, once."""

    async def test_last_part(self, telemetry: Telemetry, server: Any) -> None:
        """The last part ends it, by the application; it has no close code on any signal."""
        await ask(server, answering(start(), part(b"", more=False)), GONE)

        (labels,) = telemetry.points("ws.connection.duration")
        assert ([(None, "application")], False) == (ends(telemetry), "close_code" in dict(labels))

    async def test_return_without_a_last_part(self, telemetry: Telemetry, server: Any) -> None:
        """An application that returns has ended it."""
        await ask(server, answering(start(), part(b"data: 1\n\n")))

        assert [(None, "application")] == ends(telemetry)

    async def test_client_leaves(self, telemetry: Telemetry, server: Any) -> None:
        """A client that leaves ends it, where the framework listens; what is sent after is an error."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(start())
            await receive()
            await send(part(b"data: 1\n\n"))
            await send(part(b"", more=False))

        await ask(server, application, GONE)

        assert ([(None, "client")], 1) == (ends(telemetry), telemetry.value("ws.messages.sent", status="error"))

    async def test_application_raises(self, telemetry: Telemetry, server: Any) -> None:
        """An exception passes through, ends it, and is an error."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            raise LookupError

        with pytest.raises(LookupError):
            await ask(server, application)

        assert ([(None, "server")], 1) == (ends(telemetry), telemetry.value("ws.errors", error_type="LookupError"))

    async def test_refused_send_of_a_gone_client(self, telemetry: Telemetry, server: Any) -> None:
        """A send that is refused because the client is gone is no error of the application."""

        def refuse(message: Any) -> None:
            if message.get("body"):
                raise OSError

        one = server(WebSocketMiddleware(answering(start(), part(b"data: 1\n\n"))), REQUEST, type="http", method="GET")
        one.on_send = refuse

        with pytest.raises(OSError):
            await one.run()

        assert ([(None, "lost")], 0) == (ends(telemetry), telemetry.value("ws.errors"))

    async def test_cancelled(self, telemetry: Telemetry, server: Any) -> None:
        """A server that cancels the application ends it."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(start())
            await receive()

        one = server(WebSocketMiddleware(application), REQUEST, lambda peer: peer.cancel(), type="http", method="GET")

        with pytest.raises(asyncio.CancelledError):
            await one.run()

        assert [(None, "server")] == ends(telemetry)

    async def test_begin_that_fails_is_a_rejection(self, telemetry: Telemetry, server: Any) -> None:
        """A stream whose beginning the server refuses was never open."""

        def refuse(message: Any) -> None:
            raise OSError

        one = server(WebSocketMiddleware(answering(start())), REQUEST, type="http", method="GET")
        one.on_send = refuse

        with pytest.raises(OSError):
            await one.run()

        assert (0, 1) == (
            telemetry.value("ws.connections"), telemetry.value("ws.connection.rejections", transport="sse")
        )  # fmt: skip


class TestLive:
    """What is true of it while it is open."""

    async def test_gauges_move_and_come_back(self, telemetry: Telemetry, server: Any) -> None:
        """It is among the open and healthy connections, with its user, until it ends."""
        seen: list[float] = []

        def look() -> list[float]:
            return [
                telemetry.value("ws.active_connections", transport="sse"),
                telemetry.value("ws.connection.health", transport="sse", state="healthy"),
                telemetry.value("ws.active_users"),
            ]

        async def application(scope: Any, receive: Any, send: Any) -> None:
            otel_ws.set_ids(user_id=7)
            await send(start())
            seen.extend(look())

        await ask(server, application)

        assert ([1, 1, 1], [0, 0, 0]) == (seen, look())

    async def test_missed_heartbeats_are_no_matter(self, clock: Any, server: Any) -> None:
        """A stream's client never speaks, so no heartbeat of its is missed."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            otel_ws.declare(heartbeat=("heartbeat", 30))
            seen: list[float] = []

            async def application(scope: Any, receive: Any, send: Any) -> None:
                await send(start())
                clock.now += 3600
                seen.append(telemetry.value("ws.connection.health", state="healthy"))

            await ask(server, application)

            assert [1] == seen

    async def test_user_on_both_transports(self, telemetry: Telemetry, server: Any) -> None:
        """A user with a WebSocket and a stream is one user, on both transports, and both are told so."""
        seen: list[float] = []

        async def stream(scope: Any, receive: Any, send: Any) -> None:
            otel_ws.set_ids(user_id=7)
            await send(start())
            seen.extend([telemetry.value("ws.users.dual"), telemetry.value("ws.active_users")])

        async def socket(scope: Any, receive: Any, send: Any) -> None:
            otel_ws.set_ids(user_id=7)
            await send({"type": "websocket.accept"})
            await ask(server, stream)

        await server(WebSocketMiddleware(socket)).run()

        duals = [one.attributes["ws.connection.dual"] for one in telemetry.events("WS_CONNECT")]
        assert ([1, 1], [False, True], 0) == (seen, duals, telemetry.value("ws.users.dual"))


class TestTold:
    """What the application and its framework say of a stream."""

    async def test_before_the_response(self, telemetry: Telemetry, server: Any) -> None:
        """Ids and role that are said before the response are the connection's from its beginning."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            otel_ws.set_ids(user_id=7)
            otel_ws.set_ids(match_id=3)
            otel_ws.set_role("player")
            await send(start())

        await ask(server, application)

        (event,) = telemetry.events("WS_CONNECT")
        assert ("7", "3", "player") == tuple(event.attributes[key] for key in ("user.id", "match.id", "ws.role"))

    async def test_within_the_stream(self, telemetry: Telemetry, server: Any) -> None:
        """A role that is said later moves the gauge; an error that is told is the stream's."""
        seen: list[float] = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            otel_ws.set_role("player")
            otel_ws.record_error(LookupError())
            seen.append(telemetry.value("ws.active_connections", role="player"))

        await ask(server, application)

        (error,) = telemetry.events("WS_ERROR")
        (connect,) = telemetry.events("WS_CONNECT")
        assert (1, connect.attributes["ws.connection.id"]) == (seen[0], error.attributes["ws.connection.id"])

    async def test_in_an_ordinary_request_nothing_comes_of_it(self, telemetry: Telemetry, server: Any) -> None:
        """What is said in a request that is no stream is no misuse, and leaves nothing."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            otel_ws.set_ids(user_id=7)
            await send(start([]))

        await ask(server, application)

        assert [] == telemetry.events()

    async def test_starlette(self, telemetry: Telemetry, server: Any) -> None:
        """A streaming response of Starlette's is told under its route, with the ids of its path."""
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import StreamingResponse
        from starlette.routing import Route

        async def events() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            yield b"data: 2\n\n"

        async def view(request: Request) -> StreamingResponse:
            return StreamingResponse(events(), media_type="text/event-stream")

        application = Starlette(routes=[Route("/events/{match_id:int}", view)])

        await ask(server, application, path="/events/3")

        (event,) = telemetry.events("WS_CONNECT")
        assert ("3", 2, [(None, "application")]) == (
            event.attributes["match.id"], telemetry.value("ws.messages.sent"), ends(telemetry)
        )  # fmt: skip

    async def test_our_failure_is_not_the_applications(
        self, telemetry: Telemetry, server: Any, monkeypatch: Any
    ) -> None:
        """Where we fail, the stream goes on as it would."""
        from otel_ws import faults, sse

        def fail(*args: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(sse.Request, "begins_stream", fail)

        one = await ask(server, answering(start(), part(b"", more=False)))

        seen = faults.snapshot()
        faults.reset()
        assert (2, True) == (len(one.sent), bool(seen))


def _sum(telemetry: Telemetry, name: str) -> float:
    """The sum of a histogram of the recorder's ledger."""
    metric = next(one for one in telemetry.recorder.snapshot().distributions if one.name == name)
    return sum(one.sum for one in telemetry.recorder.snapshot().distributions[metric].values())


def events_of(text: bytes) -> int:
    """How many events a browser would dispatch, by the letter of the standard."""
    count, has_data = 0, False
    *lines, _ = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in lines:
        if not line:
            count += has_data
            has_data = False
        elif line.partition(b":")[0] == b"data":
            has_data = True
    return count


PIECES = st.sampled_from(
    [b"data", b"data:", b"data: x", b"dat", b"a", b":", b": c", b"id: 1", b"\n", b"\r", b"\r\n", b"\n\n"]
)


@given(st.lists(PIECES, max_size=30), st.data())
def test_events_are_counted_as_browsers_do(pieces: list[bytes], data: st.DataObject) -> None:
    """Wherever a stream is cut, its events are those that a browser dispatches."""
    text = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    parts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    counter = EventCount()

    sizes = [size for one in parts for size in counter.sizes(one)]

    # A return at the very end may be half of a line's end; what it ends is counted, as the standard would in the end.
    assert (events_of(text), True) == (len(sizes), sum(sizes) <= len(text))


@given(st.lists(st.sampled_from([b"data: 1\n\n", b"data: 22\r\n\r\n", b"data:\rdata\r\r"]), max_size=8), st.data())
def test_every_byte_of_whole_events_is_counted(events: list[bytes], data: st.DataObject) -> None:
    """The sizes of a stream of whole events add up to its length, but for half a line's end."""
    text = b"".join(events)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    parts = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    counter = EventCount()

    sizes = [size for one in parts for size in counter.sizes(one)]

    assert (len(events), True) == (len(sizes), len(text) - 1 <= sum(sizes) <= len(text))


@pytest.mark.parametrize(("text", "events"), [(b"data: 1\n\ndata: 2\n\n", 2), (b"\n\xef\xbb\xbfdata: 1\n\n", 0)])
def test_a_stream_may_begin_with_a_byte_order_mark(text: bytes, events: int) -> None:
    """It belongs to no line; anywhere else it does."""
    assert events == len(EventCount().sizes(b"\xef\xbb\xbf" + text))
