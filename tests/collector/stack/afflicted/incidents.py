"""Runs the afflicted example and makes its clients do what ends in an alert: one incident for each line that it reads.

It knows the example's clients, and refuses to know which alert should follow. The example's folder is on its path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from demo.acts import CUP
from demo.client import Client, Stage
from demo.people import People
from demo.records import LOBBY, Records, Rejection, cup, match
from demo.server import Server

CAPACITY = 10_500


class Afflicted(Server):
    """The example's server with the ailing application in it."""

    def _environment(self) -> dict[str, str]:
        # Looked at each second, queues as large as the alerts are made for; and HTTP's metrics by the names of today.
        usual: dict[str, str] = super()._environment()
        return usual | {
            "WS_CHANNEL_CAPACITY": str(CAPACITY),
            "WS_MESSAGE_EXPIRY": "600",
            "OTEL_WS_LAYER_POLL": "1",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        }

    def _serve(self) -> list[str]:
        return [part.replace("tournament.asgi:", "afflicted_asgi:") for part in super()._serve()]


async def tokens(stage: Stage, number: int, lifetime: int) -> None:
    """Players come with tokens that are old, or of another key."""
    for _ in range(number):
        player = stage.people.next("player")
        key = None if lifetime < 0 else "a-key-that-somebody-else-made-up-for-himself"
        reason = "JWT_EXPIRED" if lifetime < 0 else "JWT_INVALID"
        token = stage.people.mint(player, lifetime=lifetime, key=key)
        await stage.be_rejected(player, LOBBY, Rejection(reason, 4401, by="auth"), token=token)


async def expired(stage: Stage) -> None:
    """Twenty-five old tokens."""
    await tokens(stage, 25, -60)


async def invalid(stage: Stage) -> None:
    """Twenty-five forged ones."""
    await tokens(stage, 25, 3600)


async def hammered(stage: Stage) -> None:
    """More than fifty refusals a minute, for five."""
    await tokens(stage, 270, 3600)


async def floods(stage: Stage) -> None:
    """Messages far above the rate."""
    for number in range(6):
        client = await stage.join("player", match(CUP, 9100 + number))
        for _ in range(40):
            await client.say("heartbeat")
        for _ in range(40):
            await client.next()
        await client.leave()


async def too_many(stage: Stage) -> None:
    """A user who opens one page after another."""
    player = stage.people.next("player")
    held = [await stage.join(player, LOBBY) for _ in range(3)]
    for _ in range(22):
        await stage.be_rejected(player, LOBBY, Rejection("CONN_LIMIT", 4429, by="limit"))
    await part(held)


async def full_room(stage: Stage) -> None:
    """A match that everybody wants to see."""
    room = match(CUP, 9200)
    members = [await stage.join("player", room) for _ in range(6)]
    for _ in range(22):
        await stage.be_rejected("player", room, Rejection("ROOM_FULL", 4409, is_routed=True, by="limit"))
    await part(members)


async def too_big(stage: Stage) -> None:
    """Payloads over the limit."""
    for _ in range(12):
        client = await stage.join("player", cup(CUP))
        await client.say("player_action", counted_as="unknown", method="x" * 17_000)
        await client.be_closed(4413, "application")


async def crashes(stage: Stage) -> None:
    """A handler that raises, more than a hundred times."""
    for _ in range(110):
        client = await stage.join("player", match(CUP, 9300))
        await client.say("player_action", status="error", action="claim_prize")
        await client.be_closed(1011, "server", or_seen_as=1006)


async def payments(stage: Stage) -> None:
    """Payments that are declined."""
    client = await stage.join("player", cup(CUP))
    for _ in range(8):
        await client.ask("player_action", "declined", method="voucher")
    await client.leave()


async def talk(stage: Stage) -> None:
    """Clients come, subscribe and go, again and again: most of what is measured then shows the ailment."""
    for _ in range(3):
        clients = await asyncio.gather(*(stage.join("spectator", cup(CUP)) for _ in range(6)))
        for client in clients:
            await client.ask("subscribe", "subscribed")
        await part(list(clients))


async def tell(stage: Stage) -> None:
    """An organizer opens matches, of which everybody is told."""
    for _ in range(12):
        client = await stage.join("organizer", cup(CUP))
        await client.say("organizer_action", action="start")
        await asyncio.sleep(0.3)
        await client.abandon()


async def crowd(stage: Stage) -> None:
    """Eight connections that stay for a while, and then are gone at once."""
    clients = [await stage.join("spectator", LOBBY) for _ in range(8)]
    await asyncio.sleep(5)
    for client in clients:
        await client.vanish()


async def stay(stage: Stage) -> None:
    """Twelve connections, to whom nothing gets through; they wait for it."""
    clients = [await stage.join("spectator", cup(CUP)) for _ in range(12)]
    for client in clients:
        await client.say("subscribe")
    for client in clients:
        await client.hear("subscribed")
    await asyncio.sleep(5)
    await part(clients)


async def work(stage: Stage) -> None:
    """One after the other asks for work that nobody does, and a little more than there is room for."""
    for _ in range(44):
        client = await stage.join("spectator", cup(CUP))
        await client.ask("subscribe", "subscribed")
        await client.leave()


async def pages(stage: Stage) -> None:
    """Somebody looks up who is behind an id, again and again."""
    admin = stage.people.next("admin")
    for _ in range(4):
        await stage.look_up(admin, admin.user_id, "ABUSE_REPORT")


async def probes(stage: Stage) -> None:
    """A load balancer asks whether the application is ready, which an answer says for a second."""
    doors = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def probe() -> None:
        with contextlib.suppress(urllib.error.HTTPError):
            doors.open(f"http://127.0.0.1:{stage.port}/readiness", timeout=10).close()

    for _ in range(12):
        await asyncio.to_thread(probe)
        await asyncio.sleep(1.2)


async def few(stage: Stage) -> None:
    """Three connections, which stay for a while."""
    clients = [await stage.join("spectator", LOBBY) for _ in range(3)]
    await asyncio.sleep(3)
    await part(clients)


async def part(clients: list[Client]) -> None:
    """They leave."""
    await asyncio.gather(*(client.leave() for client in clients))


Incident = Callable[[Stage], Awaitable[None]]
INCIDENTS: dict[str, tuple[str, Incident]] = {
    "expired tokens": ("", expired),
    "invalid tokens": ("", invalid),
    "hammered": ("", hammered),
    "floods": ("", floods),
    "too many connections": ("", too_many),
    "full room": ("", full_room),
    "payloads": ("", too_big),
    "crashes": ("", crashes),
    "payments": ("", payments),
    "slow connect": ("slow connect", talk),
    "slow handler": ("slow handler", talk),
    "blocked loop": ("blocked loop", talk),
    "slow layer": ("slow layer", tell),
    "layer away": ("layer away", tell),
    "crowd": ("", crowd),
    "few": ("", few),
    "slow network": ("slow network", stay),
    "no worker": ("no worker", work),
    "slow pages": ("slow pages", pages),
    "database away": ("database away", probes),
}


def main() -> None:
    """Start the application, then make happen what each line names; the end of the input ends it."""
    people, chosen = People(), Path(os.environ["AFFLICTION"])
    chosen.write_text("", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="otel-ws-incidents-") as folder:
        server = Afflicted("uvicorn", "together", Path(folder), sys.argv[1], people.key, 1, str)
        server.prepare(people.fixture())
        with server:
            print("ready", flush=True)
            for line in sys.stdin:
                ailment, incident = INCIDENTS[line.strip()]
                chosen.write_text(ailment, encoding="utf-8")
                stage = Stage(server.port, people, Records())
                asyncio.run(happen(stage, incident))
                chosen.write_text("", encoding="utf-8")
                print("done", flush=True)


async def happen(stage: Stage, incident: Incident) -> None:
    """One incident; nobody stays behind."""
    try:
        await incident(stage)
    finally:
        await stage.clear()


if __name__ == "__main__":
    main()
