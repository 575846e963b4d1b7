"""What a Django project needs to work, asked for real: its databases, its caches, its channel layers.

Each question takes connections of its own and leaves nothing behind. An exception means no; what it says is nobody's
business.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.db import connections
from django.utils.module_loading import import_string

KEY: Final = "otel_ws.readiness"
KEPT_SECONDS: Final = 10
# A message that was lost is waited for no longer.
LOST_SECONDS: Final = 5


def checks() -> Mapping[str, Callable[[], None]]:
    """The questions that this project's settings give reason for, by component."""
    asked: dict[str, Callable[[], None]] = {}
    if any(one.get("ENGINE", _NONE) != _NONE for one in settings.DATABASES.values()):
        asked["database"] = databases
    asked["cache"] = stores
    if getattr(settings, "CHANNEL_LAYERS", None):
        asked["channel_layer"] = layers
    return asked


# What Django puts where a project has no database.
_NONE: Final = "django.db.backends.dummy"


def databases() -> None:
    """Each database answers a query."""
    for alias in connections:
        connection = connections[alias]
        if connection.settings_dict["ENGINE"] == _NONE:
            continue
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                cursor.fetchone()
        finally:
            # This thread's own, which nobody else would close.
            connection.close()


def stores() -> None:
    """Each cache gives back what it was given, under a key of ours."""
    for alias in settings.CACHES:
        cache = caches[alias]
        value = secrets.token_hex(8)
        try:
            cache.set(KEY, value, KEPT_SECONDS)
            if cache.get(KEY) is None and not isinstance(cache, DummyCache):
                raise LookupError
        finally:
            cache.close()


def layers() -> None:
    """Each channel layer delivers a message from and to a channel that nobody else knows."""
    for one in settings.CHANNEL_LAYERS.values():
        # A layer of its own: that of the application belongs to its event loop, and counts what goes through it.
        layer = import_string(one["BACKEND"])(**one.get("CONFIG", {}))
        asyncio.run(_delivers(layer))


async def _delivers(layer: Any) -> None:
    try:
        async with asyncio.timeout(LOST_SECONDS):
            channel = await layer.new_channel()
            await layer.send(channel, {"type": KEY})
            await layer.receive(channel)
    finally:
        # Of channels_redis; elsewhere there is nothing to close, or no word for it.
        close = getattr(layer, "close_pools", None)
        if close is not None:
            await close()
