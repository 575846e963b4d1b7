"""The WebSocket of the live page on each server: it tells what clients did, and counts nowhere itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("websockets")

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin


@pytest.fixture
def running(launch: Any, server_name: str, tmp_path: Path) -> Any:
    """A server with the page, whose workers are a group of their own."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    given = {"OTEL_WS_TRUST_LOOPBACK": "true", "OTEL_WS_RECENT": "true", "OTEL_WS_RUNTIME_DIR": str(runtime)}
    return launch(server_name, "watched:application", **given)


def frame(watcher: ClientConnection) -> dict[str, Any]:
    """What a watcher is told next."""
    return dict(json.loads(watcher.recv(15)))


def test_a_watcher_sees_clients_and_not_itself(running: Any) -> None:
    """Connections, messages and events of clients are told while they happen; watchers are none of them."""
    with connect(running.address("/events/monitor?every=1&recent=1")) as watcher:
        before = frame(watcher)
        with connect(running.address("/ws/match/3/")) as client:
            client.send('{"type": "echo"}')
            client.recv(10)
            events: list[dict[str, Any]] = []
            told = before
            for _ in range(8):
                told = frame(watcher)
                events += told["events"]
                if told["messages"]["sent"] and len(events) > 1:
                    break

    assert (0, 0) == (before["connections"]["opened"], before["messages"]["received"])
    assert (1, 1) == (told["connections"]["opened"], told["connections"]["active"])
    assert (1, 1) == (told["messages"]["received"], told["messages"]["sent"])
    assert ["WS_CONNECT", "WS_MESSAGE"] == [event["event"] for event in events]


def test_what_a_watcher_says_is_not_read(running: Any) -> None:
    """A watcher that talks is told as before, and nothing of what it said is counted."""
    with connect(running.address("/events/monitor?every=1")) as watcher:
        for _ in range(50):
            watcher.send("x" * 1000)
        told = [frame(watcher) for _ in range(2)][-1]

    assert (0, 0) == (told["messages"]["received"], told["connections"]["rejected"])


def test_a_page_of_another_origin_is_refused(running: Any) -> None:
    """A browser that shows somebody else's page cannot watch."""
    with (
        pytest.raises(InvalidStatus) as refusal,
        connect(running.address("/events/monitor"), origin=Origin("https://evil.example")),
    ):
        raise AssertionError

    assert 403 == refusal.value.response.status_code
    with connect(running.address("/events/monitor")) as watcher:
        assert 0 == frame(watcher)["connections"]["rejected"]
