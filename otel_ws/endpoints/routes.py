"""What an endpoint is asked and what it answers. Sans-I/O: it refuses to know how a request came."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
# Two threads: what asks the database must not keep those waiting who ask for numbers.
LOOK, READINESS = "look", "readiness"
# Nothing that we answer may be kept, framed, sniffed at, or load anything but the page's own files.
SAFE_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, as far as an endpoint needs to know it: header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    is_secure: bool = False
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, its body and the headers beside ``SAFE_HEADERS``."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint: what answers, whether anybody may ask, and the thread that waits for the answer, if one has to."""

    answer: Callable[[Request], Reply]
    brief: str
    # The file of its JSON Schema in ``monitoring/schemas``, where it answers with JSON.
    schema: str = ""
    is_open: bool = False
    thread: str = ""
    methods: tuple[str, ...] = ("GET", "HEAD")


def reply(status: int, answer: Mapping[str, Any]) -> Reply:
    """An answer as JSON."""
    return Reply(status, json.dumps(answer, separators=(",", ":"), allow_nan=False).encode())


# A fixed sentence for each: an error repeats nothing of the request.
ERRORS: Final = {
    401: ("not_authenticated", "This endpoint is for staff of the project and for holders of its token."),
    403: ("not_permitted", "This user is no staff of the project."),
    404: ("not_found", "There is no such endpoint."),
    405: ("method_not_allowed", "This endpoint does not take this method."),
    413: ("too_large", "The request is too large."),
    500: ("failed", "otel-ws failed; the application is not affected."),
    503: ("telemetry_off", "Telemetry is off: otel-ws is not started, or was switched off."),
    # With 503, too: what one worker says is not to be taken for what all say.
    0: ("starting", "This worker has not joined the others of this host yet; ask again in a second."),
}


def error(status: int, *headers: tuple[str, str]) -> Reply:
    """The answer that says why there is none."""
    code, message = ERRORS[status]
    body = json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":")).encode()
    if status == 401:
        headers = (("WWW-Authenticate", 'Bearer realm="otel-ws"'), *headers)
    return Reply(status or 503, body, headers=headers)
