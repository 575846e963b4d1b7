"""What a test may claim, and what a failure says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import otel_ws

pytest.importorskip("opentelemetry.sdk")

from otel_ws import testing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_ws.testing import Telemetry

pytestmark = pytest.mark.asyncio


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Captured telemetry."""
    with testing.capture(message_events="all") as captured:
        yield captured


async def talk(server: Any, *, accepts: bool = True, role: str = "player") -> None:
    """One connection with one message and one answer, or a refused one."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept" if accepts else "websocket.close"})
        if accepts:
            await receive()
            otel_ws.set_message_type("chat")
            await send({"type": "websocket.send", "text": "hello"})
            await receive()

    otel_ws.declare(message_types=["chat"])
    script = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.disconnect", "code": 1000},
    ]
    await server(otel_ws.WebSocketMiddleware(application), *script, role=role).run()


async def test_connections_are_counted(telemetry: Telemetry, server: Any) -> None:
    """Accepted, rejected and open connections, all or those with a label."""
    await talk(server)
    await talk(server, role="admin")
    await talk(server, accepts=False)

    telemetry.assert_connections(2, rejected=1, open=0)
    telemetry.assert_connections(1, role="admin")
    telemetry.assert_connections(rejected=1, reason="REJECTED")


async def test_a_wrong_count_shows_what_was_counted(telemetry: Telemetry, server: Any) -> None:
    """The failure says how many there were, with their labels."""
    await talk(server)

    with pytest.raises(AssertionError) as failure:
        telemetry.assert_connections(2, role="player")

    text = str(failure.value)
    assert text.startswith("1 accepted instead of 2 with role=player; ws.connections counted\n")
    assert "role=player" in text.partition("\n")[2]


async def test_nothing_counted_is_said(telemetry: Telemetry) -> None:
    """Where there is no point at all, the failure says so."""
    with pytest.raises(AssertionError, match=r"0 received instead of 1; ws\.messages counted nothing"):
        telemetry.assert_messages(1)


async def test_messages_are_counted(telemetry: Telemetry, server: Any) -> None:
    """Received and sent messages, all or those of a type, a status, a route."""
    await talk(server)

    telemetry.assert_messages(1, sent=1)
    telemetry.assert_messages(1, type="chat", status="success", route="_OTHER")
    telemetry.assert_messages(0, type="unknown")


@pytest.mark.parametrize(
    ("claim", "arguments", "text"),
    [
        ("assert_connections", {}, "say how many: accepted, rejected, open"),
        ("assert_messages", {"type": "chat"}, "say how many: received, sent"),
        ("assert_messages", {"sent": 1, "type": "chat"}, "ws.messages.sent has no label type; it has "),
        ("assert_connections", {"accepted": 1, "color": "red"}, "ws.connections has no label color; it has "),
    ],
)
async def test_a_claim_that_cannot_be_checked_is_an_error(
    telemetry: Telemetry, claim: str, arguments: dict[str, Any], text: str
) -> None:
    """A claim about nothing, or about a label that the metric does not have, is a ``TypeError``."""
    with pytest.raises(TypeError) as failure:
        getattr(telemetry, claim)(**arguments)

    assert text in str(failure.value)


async def test_links_are_checked(telemetry: Telemetry, server: Any) -> None:
    """A message's span is linked to the connect span, and not the other way round."""
    await talk(server)

    telemetry.assert_linked("chat _OTHER", to="connect _OTHER")
    with pytest.raises(AssertionError, match="a span 'connect _OTHER' has 0 links, none of them to a span 'chat _OTHE"):
        telemetry.assert_linked("connect _OTHER", to="chat _OTHER")
    with pytest.raises(AssertionError, match=r"no span is named 'dance _OTHER'; captured: connect _OTHER \(1\), "):
        telemetry.assert_linked("dance _OTHER", to="connect _OTHER")


async def test_spans_by_name(telemetry: Telemetry, server: Any) -> None:
    """All spans of one name, or the one that there is."""
    await talk(server)
    await talk(server)

    assert 2 == len(telemetry.spans("connect _OTHER"))
    assert [] == telemetry.spans("connect")
    with pytest.raises(AssertionError, match=r"2 spans are named 'connect _OTHER' instead of one; captured: "):
        telemetry.span("connect _OTHER")


async def test_a_strangers_name_is_not_printed(telemetry: Telemetry) -> None:
    """What was captured is listed under the names that may leave."""
    telemetry.tracer_provider.get_tracer("shop").start_span("order of Zephyrine").end()

    with pytest.raises(AssertionError) as failure:
        telemetry.span("order")

    assert "0 spans are named 'order' instead of one; captured: _OTHER (1)" == str(failure.value)


async def test_our_own_telemetry_holds_ids_only(telemetry: Telemetry, server: Any) -> None:
    """A conversation leaves nothing to find, and looking for it counts nothing as removed."""
    await talk(server)
    await talk(server, accepts=False)
    before = telemetry.recorder.policy.redactions()

    telemetry.assert_ids_only()

    assert before == telemetry.recorder.policy.redactions()
