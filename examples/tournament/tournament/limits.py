"""How much one user may ask for: connections, messages a second, seats in a room, bytes in a message."""

import threading
import time
from collections import Counter, defaultdict
from typing import Any

from django.conf import settings

import otel_ws

TOO_BIG, ROOM_IS_FULL, TOO_MANY = 4413, 4409, 4429


class Bucket:
    """A token bucket: bursts of ``MESSAGES_PER_SECOND``, refilled at the same rate."""

    def __init__(self) -> None:
        self.capacity = float(settings.MESSAGES_PER_SECOND)
        self.tokens = self.capacity
        self.filled_at = time.monotonic()

    def wait_ms(self) -> int:
        """Take one token and return 0, or return the milliseconds after which there will be one."""
        now = time.monotonic()
        self.tokens = min(self.capacity, self.tokens + (now - self.filled_at) * self.capacity)
        self.filled_at = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0
        return int((1.0 - self.tokens) / self.capacity * 1000) + 1


class Rooms:
    """Who sits where: the members of each match in this process."""

    def __init__(self) -> None:
        self._seats: defaultdict[tuple[int, int], dict[str, int]] = defaultdict(dict)

    def enter(self, room: tuple[int, int], channel: str, user_id: int) -> bool:
        """Take a seat; false if there is none."""
        seats = self._seats[room]
        if len(seats) >= settings.ROOM_SIZE:
            return False
        seats[channel] = user_id
        return True

    def leave(self, room: tuple[int, int], channel: str) -> None:
        """Give the seat back."""
        seats = self._seats.get(room, {})
        seats.pop(channel, None)
        if not seats:
            self._seats.pop(room, None)

    def seats_taken(self, room: tuple[int, int]) -> int:
        """How many members a room has."""
        return len(self._seats.get(room, {}))

    def channels_of(self, room: tuple[int, int], user_id: int) -> list[str]:
        """The channels through which a user sits in a room."""
        return [channel for channel, user in self._seats.get(room, {}).items() if user == user_id]


class ConnectionLimitMiddleware:
    """Closes a connection before it is accepted when its user, or the server, has enough of them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.open: Counter[int] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let one WebSocket in, or not."""
        user_id = scope["user"].pk
        is_full = settings.MAX_CONNECTIONS is not None and self.open.total() >= settings.MAX_CONNECTIONS
        if is_full or self.open[user_id] >= settings.CONNECTIONS_PER_USER:
            otel_ws.record_ratelimit_reject("CONN_LIMIT")
            await send({"type": "websocket.close", "code": TOO_MANY})
            return
        self.open[user_id] += 1
        try:
            await self.inner(scope, receive, send)
        finally:
            self.open[user_id] -= 1
            if not self.open[user_id]:
                del self.open[user_id]


class MessageLimit:
    """The limits of one connection's messages; works in asynchronous and synchronous consumers."""

    def __init__(self) -> None:
        self._bucket = Bucket()
        self._lock = threading.Lock()

    def is_too_big(self, text: str | None, data: bytes | None) -> bool:
        """Whether a message is larger than a message may be."""
        size = len(data) if data is not None else len((text or "").encode())
        if size <= settings.PAYLOAD_BYTES:
            return False
        otel_ws.record_ratelimit_reject("PAYLOAD_TOO_BIG")
        return True

    def refusal(self) -> dict[str, Any] | None:
        """The answer to a message that came too soon after the others; ``None`` if it may be handled."""
        with self._lock:
            wait = self._bucket.wait_ms()
        if not wait:
            return None
        otel_ws.record_ratelimit_reject("MSG_RATE", retry_after_ms=wait)
        return {"type": "error", "code": "MSG_RATE", "retry_after_ms": wait}


rooms = Rooms()
