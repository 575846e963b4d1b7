"""The live page's WebSocket: it tells whoever may look, says nothing to others, reads nothing and counts nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
jsonschema = pytest.importorskip("jsonschema")

from otel_ws import faults, monitoring, processes, recorder, semconv
from otel_ws.asgi import WebSocketMiddleware
from otel_ws.connection import Connection
from otel_ws.endpoints import monitor
from otel_ws.endpoints.monitor import Watcher, monitoring_socket
from otel_ws.testing import Telemetry, capture

SCHEMA = json.loads(files("otel_ws.monitoring").joinpath("schemas/figures.json").read_text())
TOKEN = "0123456789abcdef0123456789abcdef"
CONNECT = {"type": "websocket.connect"}
GONE = {"type": "websocket.disconnect", "code": 1000}


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test looked at is not seen here."""
    monkeypatch.setattr(monitoring, "_last", None)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Telemetry]:
    """A recorder with a token, that keeps what is recent."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    with capture(token_file=str(path), recent=True) as captured:
        yield captured


def headers(**more: str) -> list[tuple[bytes, bytes]]:
    """What a watcher sends."""
    given = {"host": "example.org", "authorization": f"Bearer {TOKEN}", **more}
    return [(name.encode(), value.encode()) for name, value in given.items() if value]


def frames(watched: Any) -> list[dict[str, Any]]:
    """What a watcher was told."""
    found = [json.loads(message["text"]) for message in watched.sent if message["type"] == "websocket.send"]
    for frame in found:
        jsonschema.Draft202012Validator(SCHEMA).validate(frame)
    return found


def after(count: int) -> Any:
    """A script's step: wait until so many frames were sent."""

    async def wait(watched: Any) -> None:
        while len(frames(watched)) < count:
            await asyncio.sleep(0.01)

    return wait


@pytest.mark.parametrize("query", [b"", b"every=60", b"every=nan", b"every=%00", b"every=&recent=2"])
async def test_a_watcher_is_told_at_once(told: Telemetry, server: Any, query: bytes, no_faults: None) -> None:
    """The first frame comes with the connection, whatever the query says, and is as documented."""
    watched = server(monitoring_socket, CONNECT, after(1), GONE, headers=headers(), query_string=query)

    await watched.run()

    (frame,) = frames(watched)
    assert ("healthy", False) == (frame["status"], "events" in frame)


async def test_frames_go_on(told: Telemetry, server: Any) -> None:
    """The next frame comes when the watcher asked for it."""
    watched = server(monitoring_socket, CONNECT, after(2), GONE, headers=headers(), query_string=b"every=1")

    await watched.run()

    assert 2 == len(frames(watched))


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 5.0), ("2", 2.0), ("0", 1.0), ("-3", 1.0), ("999", 60.0), ("x", 5.0), ("nan", 5.0)]
)
def test_the_pace_has_bounds(text: str, seconds: float) -> None:
    """A watcher chooses its pace from 1 to 60 s; what is no number is 5 s."""
    watcher = Watcher(f"every={text}".encode())

    assert seconds == watcher.every


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"authorization": ""}, 4401),
        ({"authorization": "Bearer wrong-wrong-wrong-wrong-wrong-wrong"}, 4401),
        ({"origin": "https://evil.example"}, 4403),
        ({"origin": "null"}, 4403),
    ],
)
async def test_who_may_not_look_is_refused(told: Telemetry, server: Any, given: dict[str, str], code: int) -> None:
    """Without the token, or from another origin's page, nothing is accepted and nothing is told."""
    watched = server(monitoring_socket, CONNECT, headers=headers(**given))

    await watched.run()

    assert [{"type": "websocket.close", "code": code}] == watched.sent


async def test_the_page_of_this_origin_may_look(told: Telemetry, server: Any) -> None:
    """A page that came from here is heard."""
    given = headers(origin="https://example.org")
    watched = server(monitoring_socket, CONNECT, after(1), GONE, headers=given)

    await watched.run()

    assert 1 == len(frames(watched))


async def test_a_token_that_was_withdrawn_ends_it(told: Telemetry, server: Any) -> None:
    """Who is no longer admitted is told no more."""
    path = Path(told.recorder.settings.token_file)
    script = [CONNECT, after(1), lambda _: path.write_text("f" * 40) and None]
    watched = server(monitoring_socket, *script, headers=headers(), query_string=b"every=1")

    await watched.run()

    assert (1, {"type": "websocket.close", "code": 4401}) == (len(frames(watched)), watched.sent[-1])


@pytest.mark.parametrize(("token", "count"), [("", 1), (f"Bearer {TOKEN}", 2)])
async def test_a_session_is_looked_up_again(
    told: Telemetry, server: Any, monkeypatch: pytest.MonkeyPatch, token: str, count: int
) -> None:
    """Staff by session have to come again after a while, as they may be staff no longer; a token is read anew."""
    monkeypatch.setattr(monitor, "SESSION_SECONDS", 0.5)
    staff = SimpleNamespace(is_authenticated=True, is_active=True, is_staff=True)
    script = [CONNECT, after(2), GONE] if token else [CONNECT]
    given = headers(authorization=token)
    watched = server(monitoring_socket, *script, headers=given, query_string=b"every=1", user=staff)

    async with asyncio.timeout(20):
        await watched.run()

    assert (count, bool(token)) == (len(frames(watched)), {"type": "websocket.close", "code": 4401} != watched.sent[-1])


async def test_a_watcher_is_not_counted(told: Telemetry, server: Any, no_faults: None) -> None:
    """The page's own WebSocket is in none of the numbers, spans and events of the application."""
    watched = server(WebSocketMiddleware(monitoring_socket), CONNECT, {"type": "websocket.receive", "text": "hello"},
                     after(1), GONE, headers=headers())  # fmt: skip

    await watched.run()

    counted = told.recorder.snapshot()
    assert [0.0] * 5 == [
        counted.total(metric)
        for metric in (semconv.CONNECTIONS, semconv.ACTIVE, semconv.REJECTIONS, semconv.MESSAGES, semconv.MESSAGES_SENT)
    ]
    assert ([], [], 0) == (told.events(), told.spans(), told.recorder.attempts)


async def test_a_refused_watcher_is_not_counted(told: Telemetry, server: Any) -> None:
    """Nor is one that may not look."""
    watched = server(WebSocketMiddleware(monitoring_socket), CONNECT, headers=headers(authorization=""))

    await watched.run()

    assert (0.0, [], 0) == (
        told.recorder.snapshot().total(semconv.REJECTIONS),
        told.events(),
        told.recorder.attempts,
    )


async def test_a_watcher_gets_what_came_since(told: Telemetry, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ?recent=1 the first frame brings what is kept, the next ones only what came since."""
    monkeypatch.setattr("otel_ws.recent.READ_SECONDS", 0.0)

    def talk(_: object = None) -> None:
        connection = Connection(told.recorder, {"type": "websocket", "path": "/", "headers": []})
        connection.sent({"type": "websocket.accept"}, connection.sending())

    talk()
    script = [CONNECT, after(1), talk, after(2), GONE]
    watched = server(monitoring_socket, *script, headers=headers(), query_string=b"every=1&recent=1")

    await watched.run()

    first, second = frames(watched)
    assert (1, 1, []) == (len(first["events"]), len(first["spans"]), first["history"])
    assert (1, 1, False) == (len(second["events"]), len(second["spans"]), "history" in second)
    assert first["events"][0]["key"] != second["events"][0]["key"]


async def test_with_telemetry_off_that_is_said(told: Telemetry, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher of a process whose telemetry is off is told so."""
    monkeypatch.setattr(monitor, "access", lambda scope: 200)
    watched = server(monitoring_socket, CONNECT, after(1), GONE, headers=headers())

    # Undone before `told` ends: what `told` takes away must not come back.
    with monkeypatch.context() as off:
        off.setattr(recorder, "_active", None)
        await watched.run()

    assert "telemetry_off" == frames(watched)[0]["error"]["code"]


async def test_a_failure_of_ours_is_told_without_its_text(
    told: Telemetry, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where figures cannot be made, the watcher is told that much, and the connection goes on."""

    def broken() -> None:
        raise KeyError("Ada Lovelace")

    monkeypatch.setattr(monitoring, "look", broken)
    watched = server(monitoring_socket, CONNECT, after(1), GONE, headers=headers())

    await watched.run()

    assert "failed" == frames(watched)[0]["error"]["code"]
    assert "Ada" not in repr(watched.sent)
    assert {"endpoints.monitor": 1} == faults.snapshot()


async def test_a_worker_that_is_watched_joins_the_others(
    told: Telemetry, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without connections of its own tells what the others count."""
    joined: list[str] = []
    monkeypatch.setattr(processes, "join", lambda: joined.append("joined"))
    watched = server(monitoring_socket, CONNECT, after(1), GONE, headers=headers())

    await watched.run()

    assert ["joined"] == joined


async def test_there_are_not_too_many(told: Telemetry, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit a watcher is sent away, and one that left makes room."""
    monkeypatch.setattr(monitor, "WATCHERS", 1)
    late = server(monitoring_socket, CONNECT, headers=headers())
    first = server(monitoring_socket, CONNECT, after(1), lambda _: late.run(), GONE, headers=headers())

    await first.run()

    assert {"type": "websocket.close", "code": 1013} == late.sent[-1]
    assert set() == monitor._watchers


async def test_a_server_that_cannot_receive_has_no_watcher(told: Telemetry, server: Any) -> None:
    """What a server raises instead of a message ends the matter, and is counted."""
    watched = server(monitoring_socket, CONNECT, after(1), RuntimeError("Ada Lovelace"), headers=headers())

    await watched.run()

    assert (set(), {"endpoints.monitor": 1}) == (monitor._watchers, faults.snapshot())


async def test_a_watcher_whose_server_failed_is_gone(told: Telemetry, server: Any, no_faults: None) -> None:
    """A send to a watcher that is gone ends the matter."""
    watched = server(monitoring_socket, CONNECT, headers=headers())

    def fail(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise OSError

    watched.on_send = fail

    await watched.run()

    assert set() == monitor._watchers
