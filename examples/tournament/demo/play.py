"""The drive: all acts once, a look at the gauges while everybody is there, then matches until the time is up."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from demo.acts import ACTS, ALONE, everybody_everywhere, part, play_match, visit
from demo.client import Client, Stage, SurpriseError
from demo.compare import OURS, Check, metric_checks, prometheus
from demo.expected import TRANSPORT, Series
from demo.people import TOURNAMENTS
from demo.server import Server

GAUGE_PATIENCE = 5.0
PAUSE = (0.1, 0.4)

Say = Callable[[str], None]


async def perform(stage: Stage, server: Server, until: float, say: Say) -> list[Check]:
    """Drive the server until the monotonic clock says ``until``; returns the checks of the full house."""
    checks = await full_house(stage, server, say)
    # What is in one worker's memory, as rooms and the channel layer here, is not in another's.
    for act in ACTS if server.workers == 1 else ALONE:
        await _act(stage, server, act.__name__.replace("_", " "), partial(act, stage), say)
    more = play_match if server.workers == 1 else visit
    say(f"{'matches' if more is play_match else 'visits'}, until the time is up")
    lanes = [_again(stage, server, more, cup, until) for cup in TOURNAMENTS]
    await asyncio.gather(*lanes)
    return checks


async def full_house(stage: Stage, server: Server, say: Say) -> list[Check]:
    """Everybody everywhere, and the gauges while they are there."""
    clients: list[Client] = []
    checks: list[Check] = []

    async def act() -> None:
        clients.extend(await everybody_everywhere(stage))
        checks.extend(await _gauges(clients, server))
        await part(stage, clients)

    await _act(stage, server, "everybody everywhere", act, say)
    return checks


async def _gauges(clients: list[Client], server: Server) -> list[Check]:
    wanted: Counter[Series] = Counter()
    for client in clients:
        one = client.conversation
        labels = {
            "http_route": one.place.route,
            "role": one.role,
            "scope_type": one.place.scope_type,
            "transport": TRANSPORT,
        }
        wanted[Series("ws.active_connections", "value", tuple(sorted(labels.items())))] += 1
    healthy = (("state", "healthy"), ("transport", TRANSPORT))
    wanted[Series("ws.connection.health", "value", healthy)] = len(clients)
    wanted[Series("ws.active_users", "value", ())] = len({client.conversation.user_id for client in clients})
    deadline = time.monotonic() + GAUGE_PATIENCE
    while True:
        text = await asyncio.to_thread(server.scrape)
        checks = metric_checks("Prometheus, full house", wanted, prometheus(text, OURS, wanted))
        if all(check.is_equal for check in checks) or time.monotonic() > deadline:
            return checks
        await asyncio.sleep(0.2)


async def _act(stage: Stage, server: Server, name: str, act: Callable[[], Awaitable[None]], say: Say) -> None:
    say(name)
    try:
        await act()
    except (SurpriseError, TimeoutError, OSError) as exc:
        server.check()
        stage.records.surprises.append(f"{name}: {str(exc) or type(exc).__name__}")
    finally:
        await stage.clear()


async def _again(
    stage: Stage, server: Server, act: Callable[[Stage, int], Awaitable[None]], tournament_id: int, until: float
) -> None:
    lane = Stage(stage.port, stage.people, stage.records)
    while True:
        failed = len(stage.records.surprises)
        await _act(lane, server, "match", lambda: act(lane, tournament_id), lambda name: None)
        if len(stage.records.surprises) > failed or time.monotonic() > until:
            return
        await asyncio.sleep(random.uniform(*PAUSE))
