"""The endpoints of a Django project on real servers: real incidents, wrong requests, and many who ask at once."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("channels")
pytest.importorskip("websockets")

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

TOKEN = "a-token-of-more-than-thirty-two-letters"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Asked:
    """Asks one server's endpoints."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, f"/ops{path}", headers=headers or BEARER)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The answer, whatever its status."""
        return json.loads(self(path)[1])


@pytest.fixture(params=["uvicorn-websockets", "daphne", "hypercorn"])
def project(request: pytest.FixtureRequest, launch: Any, tmp_path: Path) -> Any:
    """A project on each server, in a group of its own."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    return launch(request.param, "project:application", TOKEN_FILE=str(token), OTEL_WS_RUNTIME_DIR=str(tmp_path))


@pytest.fixture
def ask(project: Any) -> Asked:
    """Ask it."""
    return Asked(project.port)


def rules(ask: Asked) -> list[str]:
    """What fires now."""
    return sorted(one["rule"] for one in ask.json("/health")["findings"])


async def test_incidents_are_seen_where_one_looks(project: Any, ask: Asked, wait_until: Callable[..., Any]) -> None:
    """Rejections, crashes and a mass exit change the verdict within seconds, each with its rule and component."""
    assert (200, "healthy") == (ask("/health")[0], ask.json("/health")["status"])

    async with asyncio.timeout(60):
        clients = [await connect(project.address("/ws/match/7/")) for _ in range(12)]
        # So that somebody is seen to be there before all leave.
        assert await asyncio.to_thread(wait_until, lambda: ask.json("/ws-metrics/")["connections_active"] == 12)
        await asyncio.sleep(6)
        for client in clients[:2]:
            await client.send(json.dumps({"type": "crash"}))
        for _ in range(4):
            with pytest.raises(InvalidStatus):
                await connect(project.address("/ws/refused/"))
        crashed = await asyncio.to_thread(wait_until, lambda: "error_rate" in (found := rules(ask)) and found)
        assert {"error_rate", "failed_connections"} <= set(crashed)
        status, body = await asyncio.to_thread(ask, "/health/events")
        assert (503, "unhealthy") == (status, json.loads(body)["status"])
        for client in clients:
            await client.close()

    assert "connections_gone" in wait_until(lambda: "connections_gone" in (found := rules(ask)) and found)
    errors = ask.json("/monitoring/errors")
    assert (2, 2) == (errors["total"], errors["by_category"]["system"])
    assert 4 == ask.json("/ws-metrics/")["connections_failed"]
    assert b"Ada Lovelace" not in ask("/monitoring/errors")[1]


def test_wrong_requests_get_clear_answers(project: Any, ask: Asked) -> None:
    """Methods, tokens, paths and headers of any size: a status that says it, and the server goes on."""
    assert [405, 405, 405] == [ask("/health", method)[0] for method in ("POST", "DELETE", "OPTIONS")]
    wrong: list[dict[str, str]] = [
        {"Authorization": f"Bearer {one}"} for one in ("x", TOKEN[:-1], "x" * 4000, f"{TOKEN} {TOKEN}")
    ]
    assert {401} == {ask("/metrics", **headers)[0] for headers in [*wrong, {"Accept": "*/*"}]}
    assert 404 == ask("/no/such")[0]
    try:
        assert ask("/health", **BEARER, Cookie="x" * 200_000)[0] in {200, 400, 413, 431}
    except (OSError, http.client.HTTPException):
        pass  # a server may hang up on such a header
    assert (200, 200) == (ask("/healthz", Accept="*/*")[0], ask("/readiness", Accept="*/*")[0])


async def test_many_who_ask_do_not_slow_the_application(project: Any, ask: Asked) -> None:
    """Two hundred scrapes at once are all answered; the application's messages go on and are all counted."""

    async def scraped() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", project.port)
        try:
            writer.write(f"GET /ops/metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode())
            writer.write(b"Connection: close\r\n\r\n")
            return await reader.read()
        except ConnectionResetError:
            # daphne lets 50 newcomers wait; one beyond them is turned away by the kernel, and asks again.
            return await scraped()
        finally:
            writer.close()

    async def echoed(client: Any, times: int) -> list[float]:
        found = []
        for number in range(times):
            began = time.perf_counter()
            await client.send(json.dumps({"type": "echo", "number": number}))
            await client.recv()
            found.append(time.perf_counter() - began)
        return found

    async with asyncio.timeout(60), connect(project.address("/ws/match/7/")) as client:
        calm = await echoed(client, 100)
        scrapes = asyncio.gather(*(scraped() for _ in range(200)))
        busy = await echoed(client, 100)
        answers = await scrapes

    assert {b"HTTP/1.1 200"} == {answer[:12] for answer in answers}
    figures = f"calm {statistics.median(calm) * 1000:.2f} ms, busy {statistics.median(busy) * 1000:.2f} ms"
    # Two hundred answers are worked off on the same loop; none of them holds it for long.
    assert max(busy) < max(1.0, 20 * max(calm)), figures
    rows = {key[-1]: value for key, value in project.metric("ws_messages_total").items()}
    assert 200 == rows["success"]


async def test_whichever_worker_answers_tells_of_all(
    launch: Any, tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    """Three workers, thirty connections: each answer has all of them, the verdict is one, and one worker tells it."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    project = launch(
        "uvicorn-websockets", "project:application", TOKEN_FILE=str(token), OTEL_WS_RUNTIME_DIR=str(tmp_path),
        WEB_CONCURRENCY="3",
    )  # fmt: skip
    ask = Asked(project.port)
    try:
        assert await asyncio.to_thread(wait_until, lambda: len(ask.json("/health/detailed")["processes"]) == 3)
        async with asyncio.timeout(60):
            clients = [await connect(project.address("/ws/match/7/")) for _ in range(30)]
            held = await asyncio.to_thread(
                wait_until, lambda: {ask.json("/ws-metrics/")["connections_active"] for _ in range(20)} == {30}
            )
            assert held
            detailed = ask.json("/health/detailed")
            assert (True, 30) == (
                detailed["is_shared"],
                sum(one["active_connections"] for one in detailed["processes"]),
            )
            for _ in range(9):
                with pytest.raises(InvalidStatus):
                    await connect(project.address("/ws/refused/"))
            assert await asyncio.to_thread(
                wait_until, lambda: {ask.json("/health")["status"] for _ in range(12)} == {"unhealthy"}
            )
            told = await asyncio.to_thread(wait_until, lambda: project.lines("WS_HEALTH"))
            await asyncio.sleep(6)
            for client in clients:
                await client.close()
        assert [("unhealthy", "failed_connections")] == [(one["status"], one["rule"]) for one in told]
        assert 1 == len(project.lines("WS_HEALTH"))
    finally:
        project.stop()
