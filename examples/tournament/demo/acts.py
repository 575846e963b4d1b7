"""The play: every way a conversation can go, once, each act with people of its own.

Acts never leave a message in flight when a connection ends, so that what the clients saw is all there was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from demo.client import CRASH, Client, Stage
from demo.people import COINS, FEE, TOURNAMENTS
from demo.records import LOBBY, NOWHERE, OTHER, Failure, Published, Rejection, Task, cup, match, ticker

Act = Callable[[Stage], Awaitable[None]]
CUP: Final = TOURNAMENTS[0]
ROLES: Final = ("spectator", "player", "organizer", "admin")
TOURNAMENT_GROUP: Final = "tournament_{tournament_id}"
MATCH_GROUP: Final = "match_{tournament_id}_{match_id}"
BOARD_GROUP: Final = "scoreboard_{tournament_id}"
# asgiref looks so often for a worker's consumers that have ended; until then, messages for one are lost.
REAPED_SECONDS: Final = 0.3
PRIZE: Final = 25
MESSAGES_PER_SECOND: Final = 10
PAYLOAD_BYTES: Final = 16 * 1024
ROOM_SIZE: Final = 6
CONNECTIONS_PER_USER: Final = 3


async def everybody_everywhere(stage: Stage) -> list[Client]:
    """All roles on all routes: subscribe, heartbeat; they stay for a look at the gauges."""
    clients = []
    for role in ROLES:
        person = stage.people.next(role)
        for place in (LOBBY, cup(CUP), match(CUP, 9001)):
            client = await stage.join(person, place)
            await client.subscribe()
            await client.ask("heartbeat", "heartbeat")
            clients.append(client)
    return clients


async def part(stage: Stage, clients: list[Client]) -> None:
    """Everybody leaves."""
    await asyncio.gather(*(client.leave() for client in clients))


async def not_allowed(stage: Stage) -> None:
    """What a role may not send is denied, and the connection stays."""
    denied = [("spectator", "player_action"), ("player", "organizer_action"), ("organizer", "admin_action")]
    for role, kind in denied:
        for place in (match(CUP, 9002), LOBBY):
            client = await stage.join(role, place)
            await client.ask(kind, "DENIED", status="permission_denied", action="move")
            await client.ask("heartbeat", "heartbeat")
            await client.leave()


async def bad_tokens(stage: Stage) -> None:
    """Expired, forged, garbled, none at all, of a user who is gone, with a role that does not exist."""
    people, player = stage.people, stage.people.next("player")
    expired, invalid = Rejection("JWT_EXPIRED", 4401, by="auth"), Rejection("JWT_INVALID", 4401, by="auth")
    wrong_role = Rejection("ROLE_NOT_ALLOWED", 4403, by="auth")
    forged = people.mint(player, key=people.keep_secret("a-key-that-somebody-else-made-up-for-himself"))
    await stage.be_rejected(player, cup(CUP), expired, token=people.mint(player, lifetime=-60))
    await stage.be_rejected(player, match(CUP, 1), expired, token=people.mint(player, lifetime=-1))
    await stage.be_rejected(player, cup(CUP), invalid, token=forged)
    await stage.be_rejected(player, LOBBY, invalid, token=people.keep_secret("not-a-token-at-all"))
    await stage.be_rejected(player, LOBBY, invalid, token="")
    await stage.be_rejected(player, LOBBY, invalid, token=people.mint(player, sub="999999"))
    await stage.be_rejected(player, LOBBY, wrong_role, token=people.mint(player, role="superuser"))


async def wrong_door(stage: Stage) -> None:
    """A path without a route, and a route that the role may not take."""
    await stage.be_rejected("player", NOWHERE, Rejection("NO_ROUTE", None, by="router"))
    desk = Rejection("ROLE_NOT_ALLOWED", 4403, is_routed=True, by="auth")
    await stage.be_rejected("spectator", ticker(CUP), desk)


async def fall_through(stage: Stage) -> None:
    """A path that the nested router does not know, and the next route does."""
    client = await stage.join("organizer", ticker(CUP))
    await client.subscribe()
    await client.leave()


async def floods(stage: Stage) -> None:
    """Thirty messages at once: the first ten are handled, most others are refused, the connection stays."""
    for place in (match(CUP, 9003), LOBBY):
        client = await stage.join("player", place)
        for _ in range(30):
            await client.say("heartbeat")
        answers = [await client.next() for _ in range(30)]
        client.conversation.limits += [answer["code"] for answer in answers if answer["type"] == "error"]
        await asyncio.sleep(1.5 / MESSAGES_PER_SECOND)
        await client.ask("heartbeat", "heartbeat")
        await client.leave()


async def too_much(stage: Stage) -> None:
    """A payload over 16 KB closes the connection; it is not decoded, so its type is not known."""
    for place in (cup(CUP), LOBBY):
        client = await stage.join("player", place)
        await client.ask("heartbeat", "heartbeat")
        client.conversation.limits.append("PAYLOAD_TOO_BIG")
        await client.say("player_action", counted_as="unknown", method="x" * PAYLOAD_BYTES)
        await client.be_closed(4413, "application")


async def too_many(stage: Stage) -> None:
    """The fourth connection of a user, and the seventh member of a room."""
    player = stage.people.next("player")
    held = [await stage.join(player, LOBBY) for _ in range(CONNECTIONS_PER_USER)]
    await stage.be_rejected(player, LOBBY, Rejection("CONN_LIMIT", 4429, by="limit"))
    await part(stage, held)
    room = match(CUP, 9004)
    members = [await stage.join("player", room) for _ in range(ROOM_SIZE)]
    await stage.be_rejected("player", room, Rejection("ROOM_FULL", 4409, is_routed=True, by="limit"))
    await part(stage, members)


async def slow(stage: Stage) -> None:
    """A handler that takes its time."""
    client = await stage.join("player", match(CUP, 9005))
    for _ in range(2):
        await client.ask("player_action", "analysed", action="analyse")
    await client.leave()


async def crash(stage: Stage) -> None:
    """A handler that raises: the server closes with 1011."""
    client = await stage.join("player", match(CUP, 9006))
    await client.ask("heartbeat", "heartbeat")
    client.conversation.failures.append(CRASH)
    await client.say("player_action", status="error", action="claim_prize")
    # Some versions of uvicorn drop the connection without the close frame that they owe.
    await client.be_closed(1011, "server", or_seen_as=1006)


async def handled_error(stage: Stage) -> None:
    """An error that the application meets, tells and survives."""
    client = await stage.join("organizer", match(CUP, 424242))
    client.conversation.failures.append(Failure("DoesNotExist", "validation", "low"))
    stage.records.settlements += 1
    await client.ask("organizer_action", "NO_SUCH_MATCH", status="error", action="finish", winner_id=1)
    await client.leave()


async def lost(stage: Stage) -> None:
    """Clients whose network goes away."""
    for place in (match(CUP, 9007), LOBBY):
        client = await stage.join("spectator", place)
        await client.ask("heartbeat", "heartbeat")
        await client.vanish()


async def goodbyes(stage: Stage) -> None:
    """Clients choose close codes; some are in no list."""
    for code in (1000, 1001, 3000, 4321, None):
        client = await stage.join("spectator", cup(CUP))
        await client.ask("heartbeat", "heartbeat")
        await client.leave(code)


async def sent_away(stage: Stage) -> None:
    """The application closes: a player asks to leave, another is kicked by an organizer."""
    room = match(CUP, 9008)
    kicked = await stage.join("player", room)
    organizer = await stage.join("organizer", room)
    organizer.conversation.published.append(Published(OTHER, sockets=1, is_group=False))
    await organizer.ask("organizer_action", "kicked", action="kick", user_id=kicked.conversation.user_id)
    await kicked.be_closed(4410, "application")
    await organizer.leave()
    leaving = await stage.join("player", room)
    await leaving.say("player_action", action="leave")
    await leaving.be_closed(1000, "application")


async def subprotocols(stage: Stage) -> None:
    """Offered and chosen, offered and not known."""
    room = match(CUP, 9009)
    offers = {("tournament.v1", "tournament.v2"): "tournament.v2", ("tournament.v1",): "tournament.v1", ("chess",): ""}
    for offered, chosen in offers.items():
        client = await stage.join("player", room, subprotocols=offered, subprotocol=chosen)
        await client.leave()


async def strange_messages(stage: Stage) -> None:
    """Types that nobody declared, a binary message, text beyond ASCII."""
    client = await stage.join("player", match(CUP, 9010))
    person = next(one for one in stage.people.everybody if one.user_id == client.conversation.user_id)
    for kind in ("teleport", person.email):
        await client.ask(kind, "UNKNOWN_TYPE", counted_as="unknown")
    await client.say_bytes(b"\x03\x04", counted_as="player_action")
    await client.hear("moved")
    await client.tell("player_action", MATCH_GROUP, 1, [], action="move", to=[1, "é", person.display_name])
    await client.ask("player_action", "UNKNOWN_ACTION", action="dance")
    await client.leave()


async def announcements(stage: Stage) -> None:
    """Broadcasts to a tournament and to everybody, heard by their subscribers and by nobody else."""
    listeners = [await stage.join(role, cup(CUP)) for role in ROLES]
    elsewhere = await stage.join("player", cup(TOURNAMENTS[1]))
    for client in [*listeners, elsewhere]:
        await client.subscribe()
    admin = listeners[-1]
    text = stage.people.keep_secret("Dinner at the Gallowglass")
    await admin.tell("admin_action", TOURNAMENT_GROUP, None, listeners, "announced", action="announce", text=text)
    await elsewhere.ask("heartbeat", "heartbeat")
    lobby = [await stage.join(role, LOBBY) for role in ("spectator", "player", "admin")]
    for client in lobby:
        await client.subscribe()
    await lobby[-1].tell("admin_action", "global", None, lobby, "announced", text=text)
    await part(stage, [*listeners, elsewhere, *lobby])


async def business(stage: Stage) -> None:
    """Registrations by all ways of paying, coins granted, an id resolved by those who may and may not."""
    records = stage.records
    player = await stage.join("player", cup(CUP))
    for method, status in (("card", "paid"), ("coins", "paid"), ("coins", "declined"), ("voucher", "declined")):
        await player.ask("player_action", "registered" if status == "paid" else "declined", method=method)
        records.count("tournament.payments", status=status, method=method)
        if status == "paid":
            records.count("tournament.registrations")
    records.count("tournament.coins", FEE, reason="fee")
    admin = await stage.join("admin", cup(CUP))
    await admin.ask("admin_action", "granted", action="grant", user_id=player.conversation.user_id, amount=COINS)
    records.count("tournament.coins", COINS, reason="grant")
    await part(stage, [player, admin])

    for role, reason, wanted in (
        ("admin", "PAYMENT_DISPUTE", 200),
        ("player", "PAYMENT_DISPUTE", 403),
        ("admin", "CURIOSITY", 400),
    ):
        person = stage.people.next(role)
        answer = await stage.look_up(person, player.conversation.user_id, reason)
        if answer != wanted:
            records.surprises.append(f"look-up as {role} for {reason}: {answer} instead of {wanted}")
        if wanted != 400:
            records.audited[person.user_id] += 1


async def scores(stage: Stage) -> None:
    """Scoreboards: one user on both transports, others on this one; some leave before the match is over."""
    player = stage.people.next("player")
    await stage.join(player, cup(CUP))
    for who in (player, "spectator", "organizer"):
        await stage.watch(who, CUP)
    early = await stage.watch("spectator", CUP)
    await early.leave()
    stage.watchers.remove(early)
    await play_match(stage, CUP)
    await part(stage, stage.clients)


async def payments(stage: Stage) -> None:
    """Coins that a worker sells: a message that crosses processes twice, and one that goes wrong there."""
    records = stage.records
    buyer = await stage.join("player", cup(CUP))
    await stage.watch("spectator", CUP)
    conversation = buyer.conversation
    for method, coins in (("card", 5), ("voucher", 7), ("card", 9)):
        await buyer.ask("player_action", "ordered", action="buy", coins=coins, method=method)
        conversation.published.append(Published("payments", workers=1, is_group=False))
        if method == "voucher":
            conversation.tasks.append(Task("payments", "payment_take", "error", "PaymentError"))
            records.count("tournament.payments", status="declined", method=method)
            await asyncio.sleep(REAPED_SECONDS)
            continue
        await buyer.hear("receipt")
        seen = await stage.see({"supporter": conversation.user_id, "coins": coins}, CUP)
        conversation.tasks += [Task("payments", "payment_take"), Task("receipts", "receipt_issue")]
        conversation.published += [
            Published("receipts", workers=1, is_group=False),
            Published(OTHER, sockets=1, is_group=False),
            Published(BOARD_GROUP, streams=seen),
        ]
        records.count("tournament.payments", status="paid", method=method)
        records.count("tournament.coins", coins, reason="grant")
    await buyer.leave()


async def play_match(stage: Stage, tournament_id: int) -> list[Client]:
    """A whole match: opened, watched, played, finished, paid; returns those who may part now."""
    records = stage.records
    await stage.watch("spectator", tournament_id)
    organizer = await stage.join("organizer", cup(tournament_id))
    organizer.conversation.published.append(Published(TOURNAMENT_GROUP, is_told=True))
    started = await organizer.ask("organizer_action", "match_started", action="start")
    records.count("tournament.matches", status="started")
    room = match(tournament_id, started["match_id"])
    players = [await stage.join("player", room) for _ in range(2)]
    members = [*players, await stage.join("spectator", room), await stage.join("organizer", room)]
    for member in members:
        await member.subscribe()
    for turn in range(4):
        await players[turn % 2].tell(
            "player_action", MATCH_GROUP, len(members), members, action="move", to=[turn, turn]
        )
    winner = players[0].conversation.user_id
    await members[-1].tell("organizer_action", MATCH_GROUP, len(members), members, action="finish", winner_id=winner)
    seen = await stage.see({"match_id": started["match_id"], "winner": winner}, tournament_id)
    members[-1].conversation.published.append(Published(BOARD_GROUP, streams=seen))
    records.count("tournament.matches", status="finished")
    records.count("tournament.coins", PRIZE, reason="prize")
    records.settlements += 1
    return [*members, organizer]


async def visit(stage: Stage, tournament_id: int) -> None:
    """A few people look in, each for himself."""
    for role in ROLES:
        client = await stage.join(role, cup(tournament_id))
        await client.subscribe()
        await client.ask("heartbeat", "heartbeat")
        await client.leave()


async def look_on(stage: Stage) -> None:
    """People who come and stay."""
    for role in ROLES:
        for place in (LOBBY, cup(TOURNAMENTS[0]), cup(TOURNAMENTS[1])):
            await stage.join(role, place)


ACTS: Final[tuple[Act, ...]] = (
    not_allowed, bad_tokens, wrong_door, fall_through, floods, too_much, too_many, slow, crash, handled_error, lost,
    goodbyes, sent_away, subprotocols, strange_messages, announcements, business, scores,
)  # fmt: skip
# Those that need nobody else on the same worker.
ALONE: Final[tuple[Act, ...]] = (
    not_allowed, bad_tokens, wrong_door, fall_through, floods, too_much, slow, crash, handled_error, lost, goodbyes,
    subprotocols, strange_messages, business,
)  # fmt: skip
