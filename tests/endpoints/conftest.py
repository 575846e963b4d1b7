"""Asks an ASGI application one HTTP request, and reads its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_ws import endpoints, monitoring, processes, testing
from otel_ws.endpoints import access, readiness

TOKEN = "a-token-of-more-than-thirty-two-letters"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Ask = Callable[..., Awaitable[Answer]]


async def asked(
    path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes = b"", **scope: Any
) -> Answer:
    """One request to the endpoints, mounted at the root."""
    sent: list[Any] = []
    parts = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    asking = {"type": "http", "method": method, "path": path, "headers": raw, "client": ("192.0.2.7", 1), **scope}
    await endpoints.application()(asking, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, sent[1]["body"])


@pytest.fixture
def ask() -> Ask:
    """Ask the endpoints."""
    return asked


@pytest.fixture
def bearer() -> dict[str, str]:
    """The header with the right token."""
    return BEARER


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token and, as editors leave it, a newline."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def watched(token_file: Path) -> Iterator[testing.Telemetry]:
    """Telemetry is on, and the token is known."""
    processes._member = monitoring._last = None
    with testing.capture(token_file=str(token_file)) as telemetry:
        yield telemetry


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """No answer and no token of another test's."""
    readiness.forget()
    access._tokens.clear()
    yield
    readiness.forget()
