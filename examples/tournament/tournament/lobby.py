"""The lobby, where everybody meets. A synchronous JSON consumer: its handlers run in threads."""

import time
from typing import Any

from asgiref.sync import async_to_sync
from channels.generic.websocket import JsonWebsocketConsumer

import otel_ws
from tournament.consumers import MAY_SEND
from tournament.limits import TOO_BIG, MessageLimit


class GlobalConsumer(JsonWebsocketConsumer):
    """Heartbeats, a subscription to announcements, and admins who make them."""

    message_types = frozenset(MAY_SEND)
    group = template = "global"

    def connect(self) -> None:
        """Accept everybody who has a valid token."""
        self.limit = MessageLimit()
        self.asked_at: float | None = None
        self.accept()

    def disconnect(self, code: int) -> None:
        """Leave the group."""
        async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Refuse what is too big before it is decoded."""
        if self.limit.is_too_big(text_data, bytes_data):
            self.close(TOO_BIG)
        else:
            super().receive(text_data, bytes_data, **kwargs)

    def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        """Answer one message."""
        refusal = self.limit.refusal()
        kind = content.get("type")
        if refusal is not None:
            self.send_json(refusal)
        elif kind not in MAY_SEND:
            self.send_json({"type": "error", "code": "UNKNOWN_TYPE"})
        elif self.scope["role"] not in MAY_SEND[kind]:
            otel_ws.record_message_denied()
            self.send_json({"type": "error", "code": "DENIED"})
        elif kind == "heartbeat":
            self.on_heartbeat(content)
        elif kind == "subscribe":
            self.on_subscribe()
        elif kind == "admin_action":
            self.on_admin_action(content)
        else:
            self.send_json({"type": "error", "code": "UNKNOWN_ACTION"})

    def on_heartbeat(self, content: dict[str, Any]) -> None:
        """Answer; a heartbeat that answers ``subscribed`` gives the round trip."""
        if content.get("pong") and self.asked_at is not None:
            otel_ws.record_ping(time.monotonic() - self.asked_at)
            self.asked_at = None
        self.send_json({"type": "heartbeat"})

    def on_subscribe(self) -> None:
        """Hear announcements."""
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.asked_at = time.monotonic()
        self.send_json({"type": "subscribed"})

    def on_admin_action(self, content: dict[str, Any]) -> None:
        """Announce something to everybody."""
        with otel_ws.broadcast(self.template):
            async_to_sync(self.channel_layer.group_send)(self.group, {"type": "room.told", "text": content["text"]})
        self.send_json({"type": "announced"})

    def room_told(self, event: dict[str, Any]) -> None:
        """Pass on what was told to the group."""
        self.send_json({**event, "type": "told"})
