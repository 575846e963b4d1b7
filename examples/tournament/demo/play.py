"""The drive: all acts once, a look at the gauges while everybody is there, then matches until the time is up."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from demo.acts import ACTS, ALONE, CUP, everybody_everywhere, part, payments, play_match, visit
from demo.client import Client, Stage, SurpriseError
from demo.compare import OURS, Check, metric_checks, prometheus
from demo.expected import Series
from demo.people import TOURNAMENTS
from demo.server import Server
from demo.streams import Watcher

GAUGE_PATIENCE = 5.0
PAUSE = (0.1, 0.4)

Say = Callable[[str], None]


async def perform(stage: Stage, server: Server, until: float, say: Say) -> list[Check]:
    """Drive the server until the monotonic clock says ``until``; returns the checks of the full house."""
    checks = await full_house(stage, server, say)
    # What is in one worker's memory, as rooms here, is not in another's.
    for act in ACTS if server.workers == 1 else ALONE:
        await _act(stage, server, act.__name__.replace("_", " "), partial(act, stage), say)
    if server.has_worker:
        await _act(stage, server, "payments", partial(payments, stage), say)
    say(f"{'matches' if server.workers == 1 else 'visits'}, until the time is up")
    await _again(stage, server, _matches if server.workers == 1 else _visits, until)
    return checks


async def full_house(stage: Stage, server: Server, say: Say) -> list[Check]:
    """Everybody everywhere, and the gauges while they are there."""
    clients: list[Client] = []
    checks: list[Check] = []

    async def act() -> None:
        clients.extend(await everybody_everywhere(stage))
        seen = {client.conversation.user_id for client in clients}
        dual = [one for one in stage.people.everybody if one.user_id in seen][:2]
        watchers = [await stage.watch(one, CUP) for one in dual]
        checks.extend(await _gauges([*clients, *watchers], server))
        await part(stage, clients)

    await _act(stage, server, "everybody everywhere", act, say)
    return checks


async def _gauges(clients: list[Client | Watcher], server: Server) -> list[Check]:
    wanted: Counter[Series] = Counter()
    for client in clients:
        one = client.conversation
        labels = {
            "http_route": one.place.route,
            "role": one.role,
            "scope_type": one.place.scope_type,
            "transport": one.transport,
        }
        wanted[Series("ws.active_connections", "value", tuple(sorted(labels.items())))] += 1
        healthy = (("state", "healthy"), ("transport", one.transport))
        wanted[Series("ws.connection.health", "value", healthy)] += 1
    wanted[Series("ws.active_users", "value", ())] = len({client.conversation.user_id for client in clients})
    users = Counter({(one.conversation.user_id, one.conversation.transport) for one in clients})
    wanted[Series("ws.users.dual", "value", ())] = sum(
        (user, "websocket") in users for user, transport in users if transport == "sse"
    )
    deadline = time.monotonic() + GAUGE_PATIENCE
    while True:
        texts = await asyncio.to_thread(server.scrape)
        checks = metric_checks("Prometheus, full house", wanted, prometheus(texts, OURS, wanted))
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


async def _matches(stage: Stage) -> None:
    """A match in each tournament, at once.

    Nobody parts while others are told something: the Redis layer loses what it fetches for a process at the very moment
    at which the consumer that waits for it there ends (django/channels_redis, issue 366).
    """
    played = await asyncio.gather(*(play_match(stage, cup) for cup in TOURNAMENTS), return_exceptions=True)
    for one in played:
        if isinstance(one, BaseException):
            raise one
    await part(stage, stage.clients)


async def _visits(stage: Stage) -> None:
    """People look in on each tournament."""
    for cup in TOURNAMENTS:
        await visit(stage, cup)


async def _again(stage: Stage, server: Server, act: Callable[[Stage], Awaitable[None]], until: float) -> None:
    while True:
        failed = len(stage.records.surprises)
        await _act(stage, server, "match", partial(act, stage), lambda name: None)
        if len(stage.records.surprises) > failed or time.monotonic() > until:
            return
        await asyncio.sleep(random.uniform(*PAUSE))
