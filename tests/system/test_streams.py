"""Event streams on real servers: events are counted, and who left is told where the framework listens."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SERVERS = ("uvicorn-websockets", "daphne", "hypercorn")
pytestmark = pytest.mark.parametrize("server", SERVERS)


@contextmanager
def stream(port: int, path: str) -> Iterator[Callable[[bytes], None]]:
    """A client of a stream, which goes away without a word; it is asked to read until it has seen something."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())
        seen = b""

        def read(wanted: bytes) -> None:
            nonlocal seen
            while wanted not in seen:
                part = client.recv(65536)
                assert part, seen
                seen += part

        yield read
        # A reset, as from a program that was killed.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def told(process: Any, wait_until: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The beginning and the end of the one stream that there was."""
    (end,) = wait_until(lambda: process.lines("WS_DISCONNECT"), 20)
    (begin,) = process.lines("WS_CONNECT")
    return begin, end


def test_a_view_of_django_notices_that_its_client_left(launch: Any, wait_until: Any, server: str) -> None:
    """What the layer's group is told are events of the stream; it ends when the client does, and nobody else."""
    process = launch(server, "arena:application", OBSERVED="1")
    with stream(process.port, "/stream/") as read:
        read(b"data: open\n\n")
        assert {"sent": 3, "raised": {}} == process.ask("/told/room_7/3")
        read(b"data: 2\n\n")
        assert 1 == sum(process.metric("ws_active_connections_gauge").values())

    begin, end = told(process, wait_until)
    assert ("sse", "/stream/") == (begin["connection_type"], begin["route"])
    assert (None, "client") == (end.get("close_code"), end["initiator"])
    assert {("success",): 4} == {key: count for key, count in process.metric("ws_messages_sent_total").items() if count}
    assert 1 == sum(row["count"] for row in process.metric("ws_sse_first_event_duration_seconds").values())
    assert 0 == sum(process.metric("ws_active_connections_gauge").values())
    # The membership went with it: nobody hears this.
    process.ask("/told/room_7/1")
    assert {("NO_SUBSCRIBER",): 1} == process.metric("ws_layer_dropped_total")
    assert {} == process.metric("ws_telemetry_errors_total")


def test_a_consumer_of_channels_notices_it_when_its_handler_ends(launch: Any, wait_until: Any, server: str) -> None:
    """A handler at work does not listen, so its stream lasts as long as it does, whoever is still there."""
    process = launch(server, "arena:application", OBSERVED="1")
    with stream(process.port, "/consumed/") as read:
        read(b"data: 0\n\n")

    begin, end = told(process, wait_until)
    assert "sse" == begin["connection_type"]
    assert end["duration_ms"] >= 900
    assert {} == process.metric("ws_telemetry_errors_total")
