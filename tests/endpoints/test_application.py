"""The endpoints of a plain ASGI application: what they answer, to whom, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from urllib.parse import urlencode

import pytest

from otel_ws import WebSocketMiddleware, endpoints, faults, monitoring, processes, semconv, testing
from otel_ws.endpoints import door
from otel_ws.endpoints.answers import PAGE, ROUTES, found
from otel_ws.endpoints.routes import SAFE_HEADERS

CLOSED = sorted(path for path, route in ROUTES.items() if not route.is_open)
JSON = sorted(path for path, route in ROUTES.items() if route.schema)
LEAK = "Ada.Lovelace@example.org"


# --- answers ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_every_endpoint_answers(ask: Any, watched: Any, bearer: Any, path: str) -> None:
    """With the token each answers, with the headers that keep it safe."""
    answer = await ask(path, bearer)

    assert (200, {}) == (answer.status, faults.snapshot())
    assert {(name.lower(), value) for name, value in SAFE_HEADERS} <= set(answer.headers.items())
    assert str(len(answer.body)) == answer.headers["content-length"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", JSON)
async def test_an_answer_is_found_with_and_without_its_slash(ask: Any, watched: Any, bearer: Any, path: str) -> None:
    """A slash more or less is the same endpoint."""
    other = path.rstrip("/") if path.endswith("/") else f"{path}/"

    assert 200 == (await ask(other, bearer)).status


async def test_the_pages_links_are_relative_so_it_has_a_slash(ask: Any, watched: Any) -> None:
    """Without its slash the page is elsewhere: whoever asks is sent on, relative to where we are mounted."""
    answer = await ask("/monitoring")

    assert (308, "monitoring/") == (answer.status, answer.headers["location"])


async def test_it_answers_wherever_it_is_mounted(ask: Any, watched: Any, bearer: Any) -> None:
    """The path below the mount counts."""
    assert 200 == (await ask("/ops/health", bearer, root_path="/ops")).status
    assert 404 == (await ask("/opshealth", bearer, root_path="/ops")).status


async def test_head_tells_what_get_would(ask: Any, watched: Any, bearer: Any) -> None:
    """The same headers, and no body."""
    got, head = await ask("/ws-metrics/", bearer), await ask("/ws-metrics/", bearer, "HEAD")

    assert (b"", got.headers) == (head.body, head.headers)


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain", False),
        ("text/plain", "text/plain", False),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", True),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", "text/plain", False),
        ("application/openmetrics-text; version=9", "text/plain", False),
        ("x" * 100_000, "text/plain", False),
    ],
)
async def test_metrics_come_in_the_format_that_is_asked_for(
    ask: Any, watched: Any, bearer: Any, accept: str, content_type: str, end: bool
) -> None:
    """Prometheus's text, or OpenMetrics where it is preferred."""
    answer = await ask("/metrics", {**bearer, "accept": accept})

    assert answer.headers["content-type"].startswith(content_type)
    assert end == answer.body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("failed", "status", "code"), [(0, "healthy", 200), (7, "degraded", 200), (20, "unhealthy", 503)]
)
async def test_messages_that_fail_make_events_unavailable(
    ask: Any, watched: Any, bearer: Any, failed: int, status: str, code: int
) -> None:
    """``/health/events`` is 503 where it is unhealthy and warns where it is degraded; ``/health`` stays 200."""
    for outcome, count in (("success", 100 - failed), ("error", failed)):
        watched.recorder.ledger.add(semconv.MESSAGES, ("/ws", "websocket", "unknown", outcome), count)
    answer, verdict = await ask("/health/events", bearer), await ask("/health", bearer)

    assert (code, status, 200, status) == (answer.status, answer.json["status"], verdict.status, verdict.json["status"])
    assert ("error_rate" if status == "degraded" else None) == answer.json["warning"]


# --- refusals -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", CLOSED)
async def test_strangers_see_nothing(ask: Any, watched: Any, path: str) -> None:
    """Without a credential, or with a wrong one, there is a challenge and no number."""
    for headers in ({}, {"authorization": f"Bearer {LEAK}"}):
        answer = await ask(path, headers)

        assert 401 == answer.status
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "not_authenticated" == answer.json["error"]["code"]
        assert LEAK.encode() not in answer.body


@pytest.mark.parametrize("path", ["/healthz", "/readiness"])
async def test_probes_are_open(ask: Any, watched: Any, path: str) -> None:
    """Whoever starts and stops the processes asks without a credential."""
    assert 200 == (await ask(path)).status


@pytest.mark.parametrize("path", sorted(ROUTES))
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", LEAK])
async def test_other_methods_are_refused(ask: Any, watched: Any, bearer: Any, method: str, path: str) -> None:
    """With the methods that are taken, and without a word of the one that was sent."""
    if (path, method) == (PAGE, "POST"):
        return
    answer = await ask(path, bearer, method)

    assert 405 == answer.status
    assert answer.headers["allow"].startswith("GET, HEAD")
    assert LEAK not in f"{answer.headers}{answer.body!r}"


@pytest.mark.parametrize("path", ["/", "/nope", f"/{LEAK}", "//health", "/health/../metrics", "/healthz%00", ""])
async def test_what_is_not_there_is_not_found(ask: Any, watched: Any, bearer: Any, path: str) -> None:
    """And is not repeated."""
    answer = await ask(path, bearer)

    assert (404, "not_found") == (answer.status, answer.json["error"]["code"])
    assert LEAK.encode() not in answer.body


@pytest.mark.parametrize("path", [path for path in JSON if path not in {"/healthz", "/readiness"}] + ["/metrics"])
async def test_with_telemetry_off_there_are_no_numbers(
    ask: Any, token_file: Any, bearer: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """503, with the reason; a probe still answers."""
    monkeypatch.setenv("OTEL_WS_TOKEN_FILE", str(token_file))
    answer = await ask(path, bearer)

    assert (503, "telemetry_off") == (answer.status, answer.json["error"]["code"])
    assert 200 == (await ask("/healthz")).status


async def test_a_failure_of_ours_is_an_answer(
    ask: Any, watched: Any, bearer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 without what went wrong; it is counted."""

    def broken() -> Any:
        raise RuntimeError(LEAK)

    monkeypatch.setattr(monitoring, "look", broken)
    answer = await ask("/health", bearer)

    assert (500, "failed") == (answer.status, answer.json["error"]["code"])
    assert LEAK.encode() not in answer.body
    assert {"endpoints": 1} == faults.snapshot()


async def test_a_body_that_is_too_large_is_refused(ask: Any, watched: Any) -> None:
    """Nothing that we take is longer than a token."""
    assert 413 == (await ask(PAGE, method="POST", body=b"x" * 10_000)).status


# --- signing in ---------------------------------------------------------------------------------------------------
async def test_people_are_asked_for_the_token(ask: Any, watched: Any) -> None:
    """A browser gets a form, a program an error."""
    answer = await ask(PAGE, {"accept": "text/html,*/*"})

    assert (401, "text/html; charset=utf-8") == (answer.status, answer.headers["content-type"])
    assert b'name="token"' in answer.body


async def test_whoever_knows_the_token_signs_in(ask: Any, watched: Any, bearer: Any) -> None:
    """The form's answer is a cookie that opens the page, for this site's own pages alone and for no script."""
    token = bearer["authorization"].split()[1]
    answer = await ask(PAGE, method="POST", body=urlencode({"token": token}).encode(), scheme="https")
    cookie = answer.headers["set-cookie"]

    assert (303, "./") == (answer.status, answer.headers["location"])
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Secure", "Path=/"))
    assert token not in cookie
    assert 200 == (await ask(PAGE, {"cookie": cookie.split(";")[0]})).status


@pytest.mark.parametrize("body", [b"", b"token=", urlencode({"token": LEAK}).encode(), b"\xff\xfe", b"token=a&" * 500])
async def test_whoever_does_not_know_it_is_asked_again(ask: Any, watched: Any, body: bytes) -> None:
    """Without a cookie, and without a word of what was typed."""
    answer = await ask(PAGE, method="POST", body=body)

    assert 401 == answer.status
    assert "set-cookie" not in answer.headers
    assert LEAK.encode() not in answer.body


async def test_where_there_is_no_token_there_is_no_form(ask: Any) -> None:
    """The page says who may look, and which setting makes a token."""
    with testing.capture():
        answer = await ask(PAGE, {"accept": "text/html"})

    assert (401, False) == (answer.status, b"<form" in answer.body)
    assert b"OTEL_WS_TOKEN_FILE" in answer.body


# --- under load ---------------------------------------------------------------------------------------------------
async def test_many_who_ask_at_once_are_answered_by_one_look(
    ask: Any, watched: Any, bearer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred scrapes at once look once, off the event loop."""
    looks: list[int] = []
    made = monitoring.Seen

    def counted(*args: Any, **kwargs: Any) -> Any:
        looks.append(threading.get_ident())
        return made(*args, **kwargs)

    monkeypatch.setattr(monitoring, "Seen", counted)
    answers = await asyncio.gather(*(ask("/metrics", bearer) for _ in range(200)))

    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})
    assert 1 == len(looks)
    assert threading.get_ident() not in looks


def test_a_look_is_kept_as_long_as_the_overview(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes say how old their numbers may be; a new overview is a new look."""
    overviews = [processes.overview(), processes.overview(max_age=0.0)]
    monkeypatch.setattr(processes, "overview", lambda: overviews[0])
    first, second = monitoring.look(), monitoring.look()
    overviews.pop(0)

    assert first is second
    assert first is not monitoring.look()


async def test_a_worker_that_has_not_joined_says_so(
    ask: Any, watched: Any, bearer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and when to ask again: its numbers are not those of all."""
    monkeypatch.setattr(processes, "join", lambda: False)
    answer = await ask("/metrics", bearer)

    assert (503, "starting", "1") == (answer.status, answer.json["error"]["code"], answer.headers["retry-after"])


# --- the application itself ---------------------------------------------------------------------------------------
async def test_it_starts_and_stops_with_a_server() -> None:
    """The lifespan protocol is answered."""
    sent: list[str] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await endpoints.application()({"type": "lifespan"}, receive, send)

    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent


async def test_a_websocket_that_is_not_there_is_refused(server: Any) -> None:
    """There is one WebSocket, and no other."""
    one = server(endpoints.application(), {"type": "websocket.connect"}, path="/elsewhere")
    await one.run()

    assert [{"type": "websocket.close", "code": 4404}] == one.sent


async def test_a_websocket_that_is_not_there_is_not_counted(watched: Any, server: Any) -> None:
    """Whoever asks for one below the mount was not refused by the application."""
    await server(WebSocketMiddleware(endpoints.application()), {"type": "websocket.connect"}, path="/elsewhere").run()

    assert 0.0 == watched.recorder.snapshot().total(semconv.REJECTIONS)


async def test_a_slash_more_is_the_same_websocket(watched: Any, bearer: Any, server: Any) -> None:
    """As of every endpoint."""
    headers = [(name.encode(), value.encode()) for name, value in bearer.items()]
    script = {"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}
    one = server(endpoints.application(), *script, path="/events/monitor/", headers=headers)
    await one.run()

    assert "websocket.accept" == one.sent[0]["type"]


async def test_its_own_requests_are_not_counted(watched: Any, bearer: Any, server: Any) -> None:
    """Asking changes no number of the application's: neither the endpoints nor the page's WebSocket."""
    headers = [(name.encode(), value.encode()) for name, value in bearer.items()]
    one = server(
        WebSocketMiddleware(endpoints.application()),
        {"type": "websocket.connect"},
        lambda server: asyncio.sleep(0.2),
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.disconnect", "code": 1000},
        path="/events/monitor",
        headers=headers,
    )
    await one.run()

    assert "websocket.accept" == one.types()[0]
    frame = json.loads(one.sent[1]["text"])
    assert 0 == frame["connections"]["active"]
    names = ("ws.connections", "ws.messages", "ws.messages.sent", "ws.connection.rejections", "ws.active_connections")
    assert [0.0] * 5 == [watched.value(name) for name in names]
    assert ([], []) == (watched.spans(), watched.events())
    assert 0 == watched.recorder.attempts


async def test_a_refused_watcher_is_not_counted(watched: Any, server: Any) -> None:
    """Nor is one who may not look."""
    one = server(WebSocketMiddleware(endpoints.application()), {"type": "websocket.connect"}, path="/events/monitor")
    await one.run()

    assert [4401] == [message["code"] for message in one.sent]
    assert (0.0, []) == (watched.value("ws.connection.rejections"), watched.events())


def test_a_child_has_threads_of_its_own() -> None:
    """What a fork leaves behind is not waited for."""
    door._threads["look"] = None  # type: ignore[assignment]
    door._threads.clear()

    assert {} == door._threads
    assert "/health" == found("/health/")
    assert found(PAGE.rstrip("/")) is None
