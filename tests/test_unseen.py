"""A connection that is withdrawn: it counts nowhere, whatever happens to it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_ws import WebSocketMiddleware, api, faults, testing, unseen
from otel_ws.connection import current

ENDS: dict[str, Callable[[Any], Any]] = {
    "returns": lambda _: None,
    "raises": lambda _: (_ for _ in ()).throw(KeyError("Ada")),
    "gone": lambda _: (_ for _ in ()).throw(OSError()),
}


@pytest.mark.parametrize("end", ENDS)
async def test_nothing_of_it_is_told(server: Any, end: str, no_faults: None) -> None:
    """No number, no span and no event: of its accept, messages, errors and end."""

    async def watching(scope: Any, receive: Any, send: Any) -> None:
        unseen.withdraw()
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "numbers"})
        api.set_role("admin")
        api.set_ids(tournament_id=7)
        ENDS[end](None)

    with testing.capture(message_events="all") as telemetry:
        one = server(
            WebSocketMiddleware(watching), {"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}
        )
        try:
            await one.run()
        except (KeyError, OSError):
            assert end != "returns"
        now = telemetry.recorder.snapshot()
        counted = {metric.name for metric, rows in now.values.items() if any(rows.values()) and not metric.live}

        assert ["websocket.accept", "websocket.send"] == one.types()
        assert set() == counted
        assert [] == [metric.name for metric, rows in now.distributions.items() if rows]
        assert ([], [], 0, 0) == (
            telemetry.spans(),
            telemetry.events(),
            telemetry.recorder.attempts,
            len(telemetry.recorder.live),
        )


def test_outside_of_a_connection_it_does_nothing() -> None:
    """Nobody is there to be withdrawn."""
    faults.reset()
    unseen.withdraw()

    assert (None, {}) == (current.get(), faults.snapshot())


async def test_one_that_is_open_stays(server: Any) -> None:
    """What was counted already ends as it began."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        unseen.withdraw()

    with testing.capture() as telemetry:
        await server(WebSocketMiddleware(late), {"type": "websocket.connect"}).run()

        assert 2.0 == telemetry.value("ws.connections")
