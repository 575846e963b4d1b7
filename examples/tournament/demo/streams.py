"""Somebody who watches a scoreboard: a client for server-sent events that writes down what it sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from demo.people import Person
from demo.records import Conversation

PATIENCE = 10.0
_END = b"\n\n"


class RefusedError(Exception):
    """The server answered with something else than a stream."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status} instead of a stream")
        self.status = status


class Watcher:
    """One open stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, conversation: Conversation) -> None:
        self.conversation = conversation
        self._writer = writer
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def open(cls, port: int, conversation: Conversation, who: Person, token: str) -> Watcher:
        """Ask for the scoreboard; raises ``RefusedError`` if the answer is no stream."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [
            f"GET {conversation.place.path}?token={token} HTTP/1.1",
            "Host: 127.0.0.1",
            "Accept: text/event-stream",
            f"User-Agent: {who.user_agent}",
            f"X-Forwarded-For: {who.client_address}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode("latin1").lower()
        status = int(head.split()[1])
        if status != 200:
            writer.close()
            raise RefusedError(status)
        conversation.accepted = "content-type: text/event-stream" in head
        return cls(reader, writer, conversation)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Servers send a stream in chunks (RFC 9112, section 7.1)."""
        held = b""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while size := int(await reader.readuntil(b"\r\n"), 16):
                held += (await reader.readexactly(size + 2))[:-2]
                while _END in held:
                    event, _, held = held.partition(_END)
                    self.conversation.received.append(len(event) + len(_END))
                    self._heard.put_nowait(json.loads(event.rpartition(b"data: ")[2]))

    async def hear(self) -> dict[str, Any]:
        """The next event."""
        return await asyncio.wait_for(self._heard.get(), PATIENCE)

    async def leave(self) -> None:
        """Close the connection: a stream has no other goodbye."""
        self.conversation.initiator = "client"
        self._writer.transport.abort()
        await self._reading
