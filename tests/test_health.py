"""The verdict: which rule fires when, and that it lets go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import otel_ws
from otel_ws import recorder, testing
from otel_ws.connection import Connection
from otel_ws.health import DEGRADED, HEALTHY, UNHEALTHY, Reading, evaluate

NOTHING = Reading()


@pytest.mark.parametrize(
    ("now", "status", "rule"),
    [
        (Reading(connected=100, rejected=10), HEALTHY, None),
        (Reading(connected=90, rejected=11), UNHEALTHY, "failed_connections"),
        (Reading(messages=100, messages_failed=5), HEALTHY, None),
        (Reading(messages=100, messages_failed=6), DEGRADED, "error_rate"),
        (Reading(messages=100, messages_failed=11), UNHEALTHY, "error_rate"),
        (Reading(broadcasts=100, broadcasts_failed=6), DEGRADED, "broadcast_failures"),
        (Reading(healthy=95, unhealthy=5), HEALTHY, None),
        (Reading(healthy=94, unhealthy=6), DEGRADED, "connection_health"),
        (Reading(healthy=79, unhealthy=21), UNHEALTHY, "connection_health"),
    ],
)
def test_a_rule_fires_past_its_threshold(now: Reading, status: str, rule: str | None) -> None:
    """Each rule fires above (or below) its threshold, not at it."""
    verdict = evaluate(now, NOTHING)

    assert (status, rule) == (verdict.status, verdict.findings[0].rule if verdict.findings else None)


def test_all_connections_gone_at_once_is_told() -> None:
    """Where many were open a minute ago and none is now, something closed them."""
    verdict = evaluate(Reading(connected=20), Reading(connected=20, healthy=20))

    assert (DEGRADED, "connections_gone") == (verdict.status, verdict.findings[0].rule)


@pytest.mark.parametrize(("is_open", "limit", "status"), [(90, 100, HEALTHY), (91, 100, DEGRADED), (91, 0, HEALTHY)])
def test_few_connections_may_be_left(is_open: int, limit: int, status: str) -> None:
    """Above 90 % of what the operator allows the server is degraded; without a limit it never is."""
    assert status == evaluate(Reading(healthy=is_open), NOTHING, limit).status


async def test_a_full_server_is_degraded_until_somebody_leaves(server: Any) -> None:
    """``OTEL_WS_MAX_CONNECTIONS``: the verdict turns with the connection that is one too many, which is served."""
    leave = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await leave.wait()

    with testing.capture(max_connections=1) as telemetry:
        before = telemetry.recorder.health().status
        one = server(otel_ws.WebSocketMiddleware(application), {"type": "websocket.connect"})
        run = asyncio.create_task(one.run())
        while not one.sent:
            await asyncio.sleep(0)
        finding = telemetry.recorder.health().findings[0]
        leave.set()
        await run

        assert (HEALTHY, HEALTHY) == (before, telemetry.recorder.health().status)
        assert ("connections", DEGRADED, 1.0, 0.9) == (
            finding.rule, finding.status, finding.value, finding.threshold
        )  # fmt: skip


def test_an_idle_server_is_healthy() -> None:
    """Nobody is connected, and nobody was a minute ago: nothing is wrong."""
    assert HEALTHY == evaluate(Reading(connected=20), Reading(connected=20)).status


def test_the_worst_rule_decides() -> None:
    """Of several rules that fire the worst gives the verdict, and stands first."""
    verdict = evaluate(Reading(messages=100, messages_failed=6, connected=1, rejected=1), NOTHING)

    assert UNHEALTHY == verdict.status
    assert ["failed_connections", "error_rate"] == [finding.rule for finding in verdict.findings]


def test_what_happened_before_the_window_does_not_count() -> None:
    """A bad night does not colour the morning."""
    night = Reading(connected=10, rejected=90)

    assert HEALTHY == evaluate(Reading(connected=20, rejected=90), night).status


def test_a_verdict_recovers_when_the_window_has_passed() -> None:
    """Rejections make it unhealthy; a minute of ticks later it is healthy, and both changes were told."""
    now = [0.0]
    with testing.capture(injected={"clock": lambda: now[0]}) as telemetry:
        active = telemetry.recorder
        for _ in range(5):
            Connection(active, {"type": "websocket"}).returned()
        for second in range(90):
            now[0] = float(second)
            active.loop_lagged(0.0)

        statuses = [event.attributes["ws.health.status"] for event in telemetry.events("WS_HEALTH")]

    assert [UNHEALTHY, HEALTHY] == statuses


def test_declared_words_are_there_while_capturing_and_after() -> None:
    """What the application declared at import holds inside a test, and still holds when the test is over."""
    recorder.vocabulary.declare_id("seat.id")

    with testing.capture():
        during = "seat_id" in recorder.vocabulary.ids

    assert (True, True) == (during, "seat_id" in recorder.vocabulary.ids)
