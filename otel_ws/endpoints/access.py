"""Who may look: staff of the project, whoever has the token, and by setting whoever is on this machine.

It reads a scope's headers and its user, compares in constant time, and says yes or no. It refuses to know what is
asked for, and repeats nothing of what it was shown.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from otel_ws import pseudonyms, recorder
from otel_ws.faults import fault
from otel_ws.loaded import django_settings
from otel_ws.settings import Settings, SettingsError
from otel_ws.types import Scope

ADMITTED, UNKNOWN, REFUSED = 200, 401, 403
COOKIE: Final = "otel_ws_monitor"
SIGNED_IN_SECONDS: Final = 12 * 3600
# Whoever adds one of these stands between the peer and us, so the peer's address says nothing of the asker.
FORWARDED: Final = frozenset(
    {
        "forwarded", "via", "x-forwarded", "x-real-ip", "x-client-ip", "client-ip", "x-cluster-client-ip",
        "x-original-forwarded-for", "x-original-host", "x-scheme", "true-client-ip", "cf-connecting-ip", "cdn-loop",
        "fastly-client-ip", "fly-client-ip", "x-azure-clientip", "x-amzn-trace-id", "x-envoy-external-address",
    }
)  # fmt: skip
_FORWARDED_BEGINS: Final = "x-forwarded-"
# A name and a port, and nothing that parsers could read in two ways.
_LOOPBACK_HOST: Final = re.compile(r"(?i)(?:(localhost|[0-9.]{7,15})|\[([0-9a-f:.]{2,45})\])(?::[0-9]{1,5})?")


def access(scope: Scope) -> int:
    """Whether whoever opened this scope (``http`` or ``websocket``) may look: 200, 401 or 403, as in HTTP.

    401: there is no credential, or a wrong one. 403: the user is known and no staff, or a WebSocket comes from a page
    of another origin. Never raises.
    """
    try:
        headers = headers_of(scope)
        if scope.get("type") == "websocket" and not _is_same_origin(headers, str(scope.get("scheme", ""))):
            return REFUSED
        return decide(headers, scope.get("client"), scope.get("user"), settings())
    except Exception as exc:
        fault("endpoints.access", exc)
        return REFUSED


def decide(headers: Mapping[str, str], peer: object, user: object, given: Settings) -> int:
    """The same, of the parts: ``headers`` with names in lower case, ``peer`` as the scope's ``client``."""
    standing = _standing(user)
    if standing == ADMITTED:
        return ADMITTED
    token = _token(given.token_file)
    if token and (_has_token(headers, token) or _is_signed_in(headers, token)):
        return ADMITTED
    if given.trust_loopback and _is_loopback(headers, peer):
        return ADMITTED
    return standing


def settings() -> Settings:
    """The recorder's; with telemetry off those of the environment, so that its being off can be told, too."""
    active = recorder.active()
    if active is not None:
        return active.settings
    try:
        environ = {name: value for name, value in os.environ.items() if name != "OTEL_WS_ENABLED"}
        django = {name: value for name, value in django_settings().items() if str(name).lower() != "enabled"}
        return Settings.load(environ, django)
    except SettingsError:
        return Settings()


def headers_of(scope: Scope) -> dict[str, str]:
    """The scope's headers by lower-case name; of one that comes twice, all with commas between."""
    found: dict[str, str] = {}
    for raw, value in scope.get("headers") or ():
        name = bytes(raw).decode("latin-1").lower()
        text = bytes(value).decode("latin-1")
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def sign_in(offered: str, now: float | None = None) -> str | None:
    """The cookie's value for whoever offers the token, else ``None``."""
    token = _token(settings().token_file)
    if not token or not hmac.compare_digest(_digest(offered.strip().encode("utf-8", "surrogatepass")), _digest(token)):
        return None
    until = str(int((time.time() if now is None else now) + SIGNED_IN_SECONDS))
    return f"{until}.{_proof(token, until)}"


def takes_tokens() -> bool:
    """Whether there is a token to sign in with."""
    return bool(_token(settings().token_file))


def _standing(user: object) -> int:
    """What a user of Django's is, where a middleware has looked that up: nothing is loaded here."""
    try:
        if not getattr(user, "is_authenticated", False):
            return UNKNOWN
        may = getattr(user, "is_active", False) is True and getattr(user, "is_staff", False) is True
        return ADMITTED if may else REFUSED
    except Exception:
        # A user that nobody has looked up yet cannot be looked up on an event loop.
        return UNKNOWN


def _has_token(headers: Mapping[str, str], token: bytes) -> bool:
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    offered = credential.strip().encode("latin-1", "replace")
    return scheme.lower() == "bearer" and hmac.compare_digest(_digest(offered), _digest(token))


def _is_signed_in(headers: Mapping[str, str], token: bytes) -> bool:
    for one in headers.get("cookie", "").replace(",", ";").split(";"):
        name, _, value = one.strip().partition("=")
        until, _, proof = value.partition(".")
        if name != COOKIE or not (until.isascii() and until.isdigit() and len(until) < 12):
            continue
        is_ours = hmac.compare_digest(proof.encode("latin-1", "replace"), _proof(token, until).encode())
        if is_ours and time.time() < int(until) <= time.time() + SIGNED_IN_SECONDS + 1:
            return True
    return False


def _is_loopback(headers: Mapping[str, str], peer: object) -> bool:
    """The peer is on this machine, nobody stands in between, and no foreign name was made to point here."""
    is_forwarded = any(name in FORWARDED or name.startswith(_FORWARDED_BEGINS) for name in headers)
    if is_forwarded or not isinstance(peer, (list, tuple)) or not peer:
        return False
    return _is_loopback_address(str(peer[0])) and _is_loopback_name(headers.get("host", ""))


def _is_loopback_name(host: str) -> bool:
    found = _LOOPBACK_HOST.fullmatch(host)
    name = "" if found is None else (found[1] or found[2]).lower()
    return name == "localhost" or _is_loopback_address(name)


def _is_loopback_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _is_same_origin(headers: Mapping[str, str], scheme: str) -> bool:
    """A browser sends the origin of the page; what is no browser sends none.

    A page that came in the clear is not the origin of a WebSocket that did not: anybody on the way may have made it.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    found = urlsplit(origin)
    is_secure = scheme == "wss" or headers.get("x-forwarded-proto", "").lower().startswith(("https", "wss"))
    if found.scheme not in ({"https"} if is_secure else {"http", "https"}):
        return False
    return found.netloc.lower() == headers.get("host", "").lower() != ""


def _digest(text: bytes) -> bytes:
    # Of one length whatever is offered, so that comparing tells nothing of the token's.
    return hashlib.sha256(text).digest()


def _proof(token: bytes, until: str) -> str:
    return hmac.digest(token, b"otel-ws monitor\0" + until.encode(), "sha256").hex()


# By path: when the file was written, and what it holds.
_tokens: Final[dict[str, tuple[int, bytes]]] = {}


def _token(path: str) -> bytes:
    """The token in the file, read again when the file changed; empty where there is none, or none that will do."""
    if not path:
        return b""
    try:
        written_at = Path(path).stat().st_mtime_ns
        known = _tokens.get(path)
        if known is None or known[0] != written_at:
            pseudonyms.read(path)
            _tokens[path] = known = written_at, Path(path).read_bytes().strip()
        return known[1] if len(known[1]) >= pseudonyms.SHORTEST_KEY else b""
    except (OSError, ValueError) as exc:
        fault("endpoints.token", exc)
        return b""
