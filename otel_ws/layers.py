"""Django's ``CHANNEL_LAYERS`` and its limits from the environment, so that one slow consumer cannot fill a server.

Reads an environment and gives back plain data; it imports neither Channels nor Redis. An address may hold a password,
so no text of its repeats a value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from otel_ws.settings import SettingsError

CAPACITY: Final = 100
EXPIRY: Final = 60
_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def channel_layers(environ: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """What to set Django's ``CHANNEL_LAYERS`` to.

    ``REDIS_URL``: the addresses of one or more Redis servers, separated by commas; without it the layer is in memory,
    for one process. ``WS_CHANNEL_CAPACITY``: messages that may wait in one queue (100), which is a channel's, and in
    Redis that of all consumers of one process. ``WS_MESSAGE_EXPIRY``: seconds after which a message that waits is
    thrown away (60).

    Redis connections get no socket timeout: redis-py 8 would give them one that is as short as the reads of
    channels_redis wait, and disconnect idle consumers.

    Raises:
        SettingsError: a value is wrong; the text names the variable and what is allowed.
    """
    given = os.environ if environ is None else environ
    bounds = {
        "capacity": _whole(given, "WS_CHANNEL_CAPACITY", CAPACITY),
        "expiry": _whole(given, "WS_MESSAGE_EXPIRY", EXPIRY),
    }
    addresses = [one.strip() for one in given.get("REDIS_URL", "").split(",") if one.strip()]
    if not addresses:
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": bounds}}
    if not all(one.startswith(_SCHEMES) for one in addresses):
        raise SettingsError(f"REDIS_URL is not valid; allowed: addresses that begin with {', '.join(_SCHEMES)}.")
    hosts = [{"address": one, "socket_timeout": None} for one in addresses]
    return {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": hosts, **bounds}}}


def max_connections(environ: Mapping[str, str] | None = None) -> int | None:
    """``OTEL_WS_MAX_CONNECTIONS``, for an application that refuses further ones itself; ``None`` where it is not set.

    Raises:
        SettingsError: the value is wrong; the text names the variable and what is allowed.
    """
    return _whole(os.environ if environ is None else environ, "OTEL_WS_MAX_CONNECTIONS", 0, 0) or None


def _whole(given: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:10]) >= least and len(text) < 10):
        raise SettingsError(f"{name} is not valid; allowed: a whole number from {least}.")
    return int(text)
