"""The rooms: a tournament, one of its matches, and the ticker of all of them. Asynchronous JSON consumers."""

import asyncio
import time
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

import otel_ws
from tournament import business
from tournament.auth import FORBIDDEN, ROLES
from tournament.limits import ROOM_IS_FULL, TOO_BIG, MessageLimit, rooms
from tournament.models import Match

KICKED = 4410
SUBPROTOCOLS = ("tournament.v2", "tournament.v1")
ANALYSIS_SECONDS = 0.15

# Who may send what. Its keys are the message types of the protocol.
MAY_SEND: dict[str, tuple[str, ...]] = {
    "heartbeat": ROLES,
    "subscribe": ROLES,
    "player_action": ("player",),
    "organizer_action": ("organizer", "admin"),
    "admin_action": ("admin",),
}


class RoomConsumer(AsyncJsonWebsocketConsumer):
    """What all rooms have: limits, roles, a group to subscribe to, and heartbeats."""

    message_types = frozenset(MAY_SEND)
    template = ""

    async def connect(self) -> None:
        """Accept, with the best subprotocol that both sides speak."""
        self.ids: dict[str, int] = self.scope["url_route"]["kwargs"]
        self.user_id: int = self.scope["user"].pk
        self.role: str = self.scope["role"]
        self.group = self.template.format(**self.ids)
        self.limit = MessageLimit()
        self.asked_at: float | None = None
        if await self.may_enter():
            await self.accept(next((one for one in SUBPROTOCOLS if one in self.scope["subprotocols"]), None))

    async def may_enter(self) -> bool:
        """Whether the connection is accepted; whoever says no has closed it."""
        return True

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    # --- from the client --------------------------------------------------------------------------------
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Refuse what is too big before it is decoded."""
        if self.limit.is_too_big(text_data, bytes_data):
            await self.close(TOO_BIG)
        elif bytes_data is not None:
            await self.receive_bytes(bytes_data)
        else:
            await super().receive(text_data, **kwargs)

    async def receive_bytes(self, data: bytes) -> None:
        """A binary message; rooms have no use for one unless they say so."""
        await self.send_json({"type": "error", "code": "NO_BINARY"})

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        """Find the handler of a message, if its sender may send it, and not too often."""
        refusal = self.limit.refusal()
        kind = content.get("type")
        if refusal is not None:
            await self.send_json(refusal)
        elif kind not in MAY_SEND:
            await self.send_json({"type": "error", "code": "UNKNOWN_TYPE"})
        elif self.role not in MAY_SEND[kind]:
            otel_ws.record_message_denied()
            await self.send_json({"type": "error", "code": "DENIED"})
        else:
            await getattr(self, f"on_{kind}")(content)

    async def on_heartbeat(self, content: dict[str, Any]) -> None:
        """Answer; a heartbeat that answers ``subscribed`` gives the round trip."""
        if content.get("pong") and self.asked_at is not None:
            otel_ws.record_ping(time.monotonic() - self.asked_at)
            self.asked_at = None
        await self.send_json({"type": "heartbeat"})

    async def on_subscribe(self, content: dict[str, Any]) -> None:
        """Hear what happens in the room."""
        await self.channel_layer.group_add(self.group, self.channel_name)
        self.asked_at = time.monotonic()
        await self.send_json({"type": "subscribed"})

    async def on_action(self, content: dict[str, Any]) -> None:
        """An action that this room does not know."""
        await self.send_json({"type": "error", "code": "UNKNOWN_ACTION"})

    on_player_action = on_organizer_action = on_admin_action = on_action

    # --- to the group -----------------------------------------------------------------------------------
    async def tell_room(self, kind: str, recipients: int | None = None, **fields: Any) -> None:
        """Tell everybody in the group."""
        with otel_ws.broadcast(self.template, recipients=recipients):
            await self.channel_layer.group_send(self.group, {"type": "room.told", "kind": kind, **fields})

    async def room_told(self, event: dict[str, Any]) -> None:
        """Pass on what was told to the group."""
        await self.send_json({**event, "type": "told"})


class TournamentConsumer(RoomConsumer):
    """A tournament: players register, organizers open matches, admins announce and grant coins."""

    template = "tournament_{tournament_id}"

    async def on_player_action(self, content: dict[str, Any]) -> None:
        """Register, paying the fee, or buy coins, which a worker sells."""
        if content.get("action") == "buy":
            order = {"user_id": self.user_id, "payer": self.channel_name, **self.ids}
            order |= {"coins": content["coins"], "method": content["method"]}
            await self.channel_layer.send("payments", {"type": "payment.take", **order})
            await self.send_json({"type": "ordered"})
            return
        register = database_sync_to_async(business.register)
        paid = await register(self.user_id, self.ids["tournament_id"], content["method"])
        await self.send_json({"type": "registered" if paid else "declined"})

    async def receipt_issued(self, event: dict[str, Any]) -> None:
        """The worker has sold the coins."""
        await self.send_json({"type": "receipt", "coins": event["coins"]})

    async def on_organizer_action(self, content: dict[str, Any]) -> None:
        """Open a match and tell the tournament."""
        match_id = await database_sync_to_async(business.start_match)(self.ids["tournament_id"])
        await self.send_json({"type": "match_started", "match_id": match_id})
        await self.tell_room("match_started", match_id=match_id)

    async def on_admin_action(self, content: dict[str, Any]) -> None:
        """Grant coins, or announce something."""
        if content["action"] == "grant":
            await database_sync_to_async(business.grant_coins)(content["user_id"], content["amount"])
            await self.send_json({"type": "granted"})
        else:
            await self.tell_room("announcement", text=content["text"])
            await self.send_json({"type": "announced"})


class TickerConsumer(RoomConsumer):
    """The live scores of a tournament, for those who run it."""

    template = "tournament_{tournament_id}"

    async def may_enter(self) -> bool:
        """Players and spectators may not."""
        if self.role in ("organizer", "admin"):
            return True
        otel_ws.record_auth_failure("ROLE_NOT_ALLOWED")
        await self.close(FORBIDDEN)
        return False


class MatchConsumer(RoomConsumer):
    """One match: players move and analyse, organizers finish it and kick."""

    template = "match_{tournament_id}_{match_id}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Give the seat back however the connection ends: no handler is asked after a crash."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            ids = self.scope["url_route"]["kwargs"]
            rooms.leave((ids["tournament_id"], ids["match_id"]), self.channel_name)

    async def may_enter(self) -> bool:
        """Only while there is a seat."""
        self.room = (self.ids["tournament_id"], self.ids["match_id"])
        if rooms.enter(self.room, self.channel_name, self.user_id):
            return True
        otel_ws.record_ratelimit_reject("ROOM_FULL")
        await self.close(ROOM_IS_FULL)
        return False

    async def receive_bytes(self, data: bytes) -> None:
        """A move in the compact form of the mobile clients: column and row."""
        otel_ws.set_message_type("player_action")
        await self.send_json({"type": "moved", "to": list(data[:2])})

    async def on_player_action(self, content: dict[str, Any]) -> None:
        """Move, analyse (slow), ask for the prize (broken) or leave."""
        match content["action"]:
            case "move":
                await self.tell_room("move", rooms.seats_taken(self.room), by=self.user_id, to=content["to"])
            case "analyse":
                await asyncio.sleep(ANALYSIS_SECONDS)
                await self.send_json({"type": "analysed"})
            case "claim_prize":
                token = self.scope["query_string"].decode("latin1")
                await database_sync_to_async(business.claim_prize)(self.user_id, token)
            case "leave":
                await self.close(1000)
            case _:
                await self.on_action(content)

    async def on_organizer_action(self, content: dict[str, Any]) -> None:
        """Finish the match, or send somebody out."""
        if content["action"] == "kick":
            for channel in rooms.channels_of(self.room, content["user_id"]):
                await self.channel_layer.send(channel, {"type": "member.kicked"})
            await self.send_json({"type": "kicked"})
            return
        try:
            await database_sync_to_async(business.finish_match)(self.ids["match_id"], content["winner_id"])
        except Match.DoesNotExist as missing:
            otel_ws.record_error(missing, category="validation", severity="low")
            await self.send_json({"type": "error", "code": "NO_SUCH_MATCH"})
            return
        await self.tell_room("finished", rooms.seats_taken(self.room), winner=content["winner_id"])
        # A broadcast that nobody announces to otel-ws: the channel layer's own methods tell it.
        score = {"match_id": self.ids["match_id"], "winner": content["winner_id"]}
        await self.channel_layer.group_send(
            f"scoreboard_{self.ids['tournament_id']}", {"type": "score.changed", "score": score}
        )

    async def member_kicked(self, event: dict[str, Any]) -> None:
        """An organizer sent this member out."""
        await self.close(KICKED)
