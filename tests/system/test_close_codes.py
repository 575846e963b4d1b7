"""Who ended a connection, and with which code, as each real server lets an application know it."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("websockets")

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

MATCH = "/ws/match/3/"
End = tuple[int | None, str]


async def says_goodbye(client: ClientConnection) -> None:
    """Close as browsers do."""
    await client.close()


async def chooses_a_code(client: ClientConnection) -> None:
    """Close with a code of the client's own."""
    await client.close(4321)


async def gives_no_code(client: ClientConnection) -> None:
    """Send a close frame without a code."""
    client.transport.write(bytes([0x88, 0x80, 0, 0, 0, 0]))
    await client.wait_closed()


async def breaks_off(client: ClientConnection) -> None:
    """Reset the TCP connection."""
    client.transport.abort()


async def asks_for_a_close(client: ClientConnection) -> None:
    """Let the application close."""
    await client.send('{"type": "close", "code": 4001}')
    with pytest.raises(ConnectionClosed):
        await client.recv()


async def makes_it_crash(client: ClientConnection) -> None:
    """Let the application raise."""
    await client.send('{"type": "crash"}')
    with pytest.raises(ConnectionClosed):
        await client.recv()


# hypercorn reports 1006 for whatever a client does.
CASES: dict[Callable[[ClientConnection], Awaitable[None]], dict[str, End]] = {
    says_goodbye: {"": (1000, "client"), "hypercorn": (1006, "lost")},
    chooses_a_code: {"": (4321, "client"), "hypercorn": (1006, "lost")},
    gives_no_code: {"": (1005, "client"), "hypercorn": (1006, "lost")},
    breaks_off: {"": (1006, "lost")},
    asks_for_a_close: {"": (4001, "application")},
    makes_it_crash: {"": (1011, "server")},
}


def ends(running: Any) -> list[End]:
    """The ends that were told."""
    return [(line.get("close_code"), line["initiator"]) for line in running.lines("WS_DISCONNECT")]


def test_every_end_is_told_as_the_server_knows_it(running: Any, server_name: str, wait_until: Any) -> None:
    """Each way a client can end an accepted connection is one WS_DISCONNECT with its code and initiator."""
    expected = [by_server.get(server_name, by_server[""]) for by_server in CASES.values()]

    async def all_of_them() -> None:
        for number, act in enumerate(CASES, 1):
            client = await connect(running.address(MATCH))
            await act(client)
            assert await asyncio.to_thread(wait_until, lambda number=number: len(ends(running)) >= number)

    asyncio.run(all_of_them())

    assert expected == ends(running)


def test_rejections_are_told(running: Any, wait_until: Any) -> None:
    """A refusal and a missing route are rejections on every server, and no accepted connection."""

    async def knock() -> None:
        for path in ("/ws/refused/", "/ws/nothing/"):
            with pytest.raises(InvalidStatus):
                await connect(running.address(path))

    asyncio.run(knock())

    wait_until(lambda: len(running.lines("WS_REJECT")) >= 2)
    told = [(line["reason_code"], line.get("close_code"), line["route"]) for line in running.lines("WS_REJECT")]
    assert [("JWT_EXPIRED", 4401, "/ws/refused/"), ("NO_ROUTE", None, "_OTHER")] == told
    assert [] == running.lines("WS_CONNECT")


def test_client_that_leaves_during_the_handshake(running: Any, wait_until: Any) -> None:
    """A client that resets the connection before the answer is told once, and leaves no open connection behind."""
    handshake = (
        "GET /ws/slow/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    knocks = running.state()["knocks"]

    with socket.create_connection(("127.0.0.1", running.port)) as one:
        one.sendall(handshake.encode())
        wait_until(lambda: running.state()["knocks"] > knocks)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    wait_until(lambda: running.lines("WS_REJECT") or running.lines("WS_DISCONNECT"))
    counts = [len(running.lines(name)) for name in ("WS_CONNECT", "WS_DISCONNECT", "WS_REJECT")]
    # Some servers take the accept of a client that is gone, others tell the application first.
    assert counts in ([1, 1, 0], [0, 0, 1])
    assert {0} >= set(running.metric("ws_active_connections_gauge").values())


SHUTDOWN: dict[str, End] = {
    "uvicorn-websockets": (1012, "server"),
    "uvicorn-wsproto": (1012, "server"),
    # daphne and hypercorn cancel the application, without a code.
    "daphne": (None, "server"),
    "hypercorn": (None, "server"),
}


def test_server_shutdown_is_told(launch: Any, server_name: str, wait_until: Any) -> None:
    """When a server is asked to stop, each open connection's end is told as the server's before the process ends."""
    if server_name == "hypercorn" and sys.version_info >= (3, 12):
        pytest.skip("there hypercorn waits for its clients until it is killed, and a killed process tells nothing")
    running = launch(server_name)

    async def stay() -> None:
        clients = [await connect(running.address(MATCH)) for _ in range(20)]
        await asyncio.to_thread(wait_until, lambda: len(running.lines("WS_CONNECT")) == 20)
        await asyncio.to_thread(running.stop, signal.SIGTERM)
        for client in clients:
            client.transport.abort()

    asyncio.run(stay())

    assert [SHUTDOWN[server_name]] * 20 == ends(running)


def test_message_and_its_answer_are_counted(running: Any, wait_until: Any) -> None:
    """Messages in both directions are counted on every server."""
    counters = [("ws_messages_total", ("echo", "success")), ("ws_messages_sent_total", ("success",))]
    before = [running.metric(name).get(key, 0) for name, key in counters]

    async def talk() -> None:
        async with connect(running.address(MATCH)) as client:
            for _ in range(5):
                await client.send('{"type": "echo"}')
                await client.recv()

    asyncio.run(talk())

    wait_until(lambda: ends(running))
    after = [running.metric(name).get(key, 0) for name, key in counters]
    assert [5, 5] == [now - then for now, then in zip(after, before, strict=True)]


def test_lines_hold_ids_only(running: Any, wait_until: Any) -> None:
    """Nothing that a client or an exception says is in the lines: no name, no token, no text."""

    async def talk() -> None:
        address = running.address(MATCH + "?token=Ada")
        async with connect(address, user_agent_header="Ada", subprotocols=["Ada"]) as client:  # type: ignore[list-item]
            await client.send('{"type": "Ada", "name": "Ada"}')
            await client.recv()
            await client.send('{"type": "crash"}')
            with pytest.raises(ConnectionClosed):
                await client.recv()

    asyncio.run(talk())

    assert wait_until(lambda: running.lines("WS_ERROR") and ends(running))
    assert "Ada" not in repr(running.lines())
