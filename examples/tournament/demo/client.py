"""A WebSocket client that writes down what it does and sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from demo.people import People, Person
from demo.records import Conversation, Failure, Place, Published, Records, Rejection, Sent, board
from demo.streams import RefusedError, Watcher

PATIENCE = 10.0


class SurpriseError(Exception):
    """The server did something else than it should have."""


class Client:
    """One open connection."""

    def __init__(self, websocket: ClientConnection, conversation: Conversation) -> None:
        self.conversation = conversation
        self._websocket = websocket
        self._heard: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in self._websocket:
                self.conversation.received.append(len(text.encode() if isinstance(text, str) else text))
                self._heard.put_nowait(json.loads(text))
        self._heard.put_nowait(None)

    # --- saying -----------------------------------------------------------------------------------------
    async def say(self, kind: str, *, status: str = "success", counted_as: str | None = None, **fields: Any) -> None:
        """Send a message, and note what becomes of it."""
        text = json.dumps({"type": kind, **fields}, ensure_ascii=False)
        self.conversation.sent.append(Sent(counted_as or kind, status, len(text.encode())))
        await self._websocket.send(text)

    async def say_bytes(self, data: bytes, *, counted_as: str) -> None:
        """Send a binary message."""
        self.conversation.sent.append(Sent(counted_as, "success", len(data)))
        await self._websocket.send(data)

    async def ask(self, kind: str, answer: str, **fields: Any) -> dict[str, Any]:
        """Send a message and wait for its answer."""
        await self.say(kind, **fields)
        return await self.hear(answer)

    async def tell(
        self, kind: str, template: str, recipients: int | None, hearers: list[Client], *answers: str, **fields: Any
    ) -> None:
        """Send what the server passes on to a group, and see it arrive at everybody in the group."""
        self.conversation.published.append(
            Published(template, sockets=len(hearers), is_told=True, recipients=recipients)
        )
        await self.say(kind, **fields)
        for answer in answers:
            await self.hear(answer)
        for member in hearers:
            await member.hear("told")

    async def subscribe(self) -> None:
        """Join the room's group, and answer the server's ping."""
        await self.ask("subscribe", "subscribed")
        self.conversation.pings += 1
        await self.ask("heartbeat", "heartbeat", pong=True)

    # --- hearing ----------------------------------------------------------------------------------------
    async def next(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        message = await asyncio.wait_for(self._heard.get(), PATIENCE)
        if message is None:
            raise SurpriseError(f"closed with {self._websocket.close_code} instead of an answer")
        return message

    async def hear(self, answer: str) -> dict[str, Any]:
        """The next message, which must be of this type (of this code, for an error)."""
        message = await self.next()
        if answer not in (message["type"], message.get("code")):
            raise SurpriseError(f"heard {message['type']} {message.get('code', '')} instead of {answer}")
        return message

    # --- going ------------------------------------------------------------------------------------------
    async def leave(self, code: int | None = 1000) -> None:
        """Close, with a code of our choice, or (``None``) with none at all."""
        self.conversation.close_code = 1005 if code is None else code
        self.conversation.initiator = "client"
        if code is None:
            # A close frame without a code is a matter of the protocol object: ``close`` always sends one.
            self._websocket.protocol.send_close()
            self._websocket.send_data()
            await self._reader
        await self._websocket.close(code or 1000)
        await self._reader

    async def vanish(self) -> None:
        """Drop the TCP connection, as a lost network does."""
        self.conversation.close_code, self.conversation.initiator = 1006, "lost"
        self._websocket.transport.abort()
        await self._reader

    async def be_closed(self, code: int, initiator: str, *, or_seen_as: int | None = None) -> None:
        """Wait until the server closes with this code."""
        self.conversation.close_code, self.conversation.initiator = code, initiator
        await asyncio.wait_for(self._reader, PATIENCE)
        if self._websocket.close_code not in (code, or_seen_as):
            raise SurpriseError(f"closed with {self._websocket.close_code} instead of {code}")

    async def abandon(self) -> None:
        """Make sure that nothing is left open after a surprise."""
        if not self.conversation.initiator:
            self.conversation.close_code, self.conversation.initiator = 1006, "lost"
        self._websocket.transport.abort()
        await self._reader


@dataclass
class Stage:
    """Where the server is, who plays, and what was written down."""

    port: int
    people: People
    records: Records
    clients: list[Client] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)

    async def join(
        self,
        who: str | Person,
        place: Place,
        *,
        subprotocols: tuple[str, ...] = (),
        subprotocol: str = "",
    ) -> Client:
        """Connect, as somebody of that role or as that person; the server must accept."""
        conversation, websocket = await self._connect(who, place, None, subprotocols)
        if websocket is None:
            raise SurpriseError(f"{place.route}: rejected instead of accepted")
        conversation.accepted = True
        conversation.subprotocol = websocket.subprotocol or ""
        client = Client(websocket, conversation)
        self.clients.append(client)
        if conversation.subprotocol != subprotocol:
            raise SurpriseError(f"{place.route}: subprotocol {websocket.subprotocol!r} instead of {subprotocol!r}")
        return client

    async def be_rejected(
        self, who: str | Person, place: Place, rejection: Rejection, *, token: str | None = None
    ) -> None:
        """Try to connect; the server must refuse, for this reason."""
        conversation, websocket = await self._connect(who, place, token, ())
        conversation.rejection = rejection
        if rejection.by == "limit":
            conversation.limits.append(rejection.reason)
        if websocket is not None:
            await websocket.close()
            raise SurpriseError(f"{place.route}: accepted instead of rejected ({rejection.reason})")

    async def watch(self, who: str | Person, tournament_id: int) -> Watcher:
        """Open a stream of a tournament's scores."""
        person = self.people.next(who) if isinstance(who, str) else who
        conversation = Conversation(person.role, person.user_id, board(tournament_id), "sse")
        self.records.conversations.append(conversation)
        try:
            watcher = await Watcher.open(self.port, conversation, person, self.people.token(person))
        except RefusedError as refused:
            raise SurpriseError(f"{conversation.place.route}: {refused}") from refused
        self.watchers.append(watcher)
        # The server joins the group before it sends the first event.
        await watcher.hear()
        return watcher

    async def see(self, score: dict[str, Any], tournament_id: int) -> int:
        """Everybody who watches this tournament's scores sees one; returns how many."""
        watching = [one for one in self.watchers if one.conversation.place.tournament_id == tournament_id]
        for watcher in watching:
            seen = await watcher.hear()
            if seen != score:
                raise SurpriseError(f"saw {sorted(seen)} instead of {sorted(score)}")
        return len(watching)

    async def _connect(
        self, who: str | Person, place: Place, token: str | None, subprotocols: tuple[str, ...]
    ) -> tuple[Conversation, ClientConnection | None]:
        person = self.people.next(who) if isinstance(who, str) else who
        conversation = Conversation(person.role, person.user_id, place)
        self.records.conversations.append(conversation)
        query = self.people.token(person) if token is None else token
        try:
            websocket = await connect(
                f"ws://127.0.0.1:{self.port}{place.path}?token={query}",
                subprotocols=[Subprotocol(name) for name in subprotocols] or None,
                additional_headers={"X-Forwarded-For": person.client_address},
                user_agent_header=person.user_agent,
                compression=None,
                ping_interval=None,
                open_timeout=PATIENCE,
                proxy=None,
            )
        except InvalidStatus:
            return conversation, None
        return conversation, websocket

    async def look_up(self, who: Person, user_id: int, reason: str) -> int:
        """Ask over HTTP who is behind an id; returns the status code."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/support/users/{user_id}/?reason={reason}",
            headers={"Authorization": f"Bearer {self.people.token(who)}", "X-Forwarded-For": who.client_address},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def fetch() -> int:
            try:
                with opener.open(request, timeout=PATIENCE) as response:
                    return int(response.status)
            except urllib.error.HTTPError as error:
                return error.code

        return await asyncio.to_thread(fetch)

    async def clear(self) -> None:
        """Nobody stays behind: close what a surprise left open."""
        for client in self.clients:
            await client.abandon()
        self.clients.clear()
        for watcher in self.watchers:
            await watcher.leave()
        self.watchers.clear()


CRASH = Failure("PrizeError", "system", "high")
