"""The application that is driven where none is named: a plain ASGI one that is as careless as can be.

It repeats what it is told, raises with it, and puts it into every verb of otel-ws. Needs nothing but a base install.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import otel_ws
from otel_ws.types import Receive, Scope, Send

logger = logging.getLogger(__name__)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HTTP; talk on WebSockets until the other side goes, or says something that is no JSON."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
    elif scope["type"] == "websocket":
        await _talk(scope, receive, send)


async def _talk(scope: Scope, receive: Receive, send: Send) -> None:
    user = scope.get("user")
    await receive()
    otel_ws.set_ids(user_id=getattr(user, "pk", None))
    offered = scope.get("subprotocols") or [None]
    await send({"type": "websocket.accept", "subprotocol": offered[0]})
    logger.info("%s connected to %s", user, scope["path"])
    while (message := await receive())["type"] == "websocket.receive":
        await _answer(message, send)
    logger.info("%s left: %s", user, message.get("reason"))
    raise RuntimeError(f"no more of {user}")


async def _answer(message: Any, send: Send) -> None:
    text = message.get("text")
    if text is None:
        await send({"type": "websocket.send", "bytes": message.get("bytes")})
        return
    try:
        otel_ws.set_message_type(str(json.loads(text).get("type")))
    except (ValueError, AttributeError) as exc:
        otel_ws.record_error(ValueError(text))
        logger.warning("%s is not understood: %s", text, exc)
    await send({"type": "websocket.send", "text": text})
