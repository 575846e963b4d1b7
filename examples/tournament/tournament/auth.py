"""Who is there: JSON web tokens, in the query string for WebSockets (browsers offer no header) and HTTP's header."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import jwt
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import User

import otel_ws

ROLES = ("spectator", "player", "organizer", "admin")
UNAUTHENTICATED, FORBIDDEN = 4401, 4403


class RefusedError(Exception):
    """The connection or request may not go on, for a reason that is a code."""

    def __init__(self, reason: str, close_code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.close_code = close_code


@dataclass(frozen=True)
class Claims:
    """What a valid token says."""

    user_id: int
    role: str


def read_token(token: str) -> Claims:
    """The claims of a token that we signed and that is still valid; raises ``RefusedError``."""
    try:
        claims = jwt.decode(token, settings.SECRET_KEY, algorithms=["HS256"], options={"require": ["exp", "sub"]})
        user_id = int(claims["sub"])
    except jwt.ExpiredSignatureError:
        raise RefusedError("JWT_EXPIRED", UNAUTHENTICATED) from None
    except (jwt.InvalidTokenError, ValueError):
        raise RefusedError("JWT_INVALID", UNAUTHENTICATED) from None
    role = claims.get("role")
    if role not in ROLES:
        raise RefusedError("ROLE_NOT_ALLOWED", FORBIDDEN)
    return Claims(user_id, role)


@database_sync_to_async
def load_user(user_id: int) -> User:
    """The user of a token; a token of a user who is gone is not valid."""
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise RefusedError("JWT_INVALID", UNAUTHENTICATED)
    return user


class JWTAuthMiddleware:
    """Puts ``user`` and ``role`` into the scope, or closes the connection before it is accepted."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Authenticate one WebSocket."""
        query = parse_qs(scope["query_string"].decode("latin1"))
        try:
            claims = read_token(query.get("token", [""])[0])
            user = await load_user(claims.user_id)
        except RefusedError as refused:
            otel_ws.record_auth_failure(refused.reason)
            await send({"type": "websocket.close", "code": refused.close_code})
            return
        await self.inner({**scope, "user": user, "role": claims.role}, receive, send)
