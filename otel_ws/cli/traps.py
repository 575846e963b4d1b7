"""What is set up so that a channel layer loses messages, or connections, in silence: each with the way out.

Reads Django's ``CHANNEL_LAYERS`` and the releases that are installed; it opens no connection and prints no address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

_IN_MEMORY: Final = "channels.layers.InMemoryChannelLayer"
_PUBSUB: Final = "channels_redis.pubsub."
_BOUNDS: Final = {"capacity": "100 messages for each queue", "expiry": "60 seconds"}
_WORKERS: Final = ("WEB_CONCURRENCY", "UVICORN_WORKERS")
_GUNICORN: Final = re.compile(r"(?:^|\s)(?:-w|--workers)[\s=]*(\d{1,4})")
# Seconds that channels_redis waits for a message.
_WAIT: Final = 5.0
# The first release whose connections have a socket timeout, and that is as long.
_TIMED_OUT: Final = 8


def found(channel_layers: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is wrong, and the way out, for each channel layer."""
    for alias, layer in channel_layers.items():
        if not isinstance(layer, Mapping):
            continue
        backend, config = str(layer.get("BACKEND", "")), layer.get("CONFIG") or {}
        if not isinstance(config, Mapping):
            continue
        if backend == _IN_MEMORY:
            yield from _in_memory(alias, environ)
        if backend.startswith("channels_redis."):
            yield from _timeouts(alias, config)
        if backend.startswith(_PUBSUB):
            yield (
                f"{alias}: pub/sub has no capacity: what a slow consumer does not read waits in memory without bound",
                "channels_redis.core.RedisChannelLayer with capacity and expiry, where a slow consumer can be met",
            )
        elif backend == _IN_MEMORY or backend.startswith("channels_redis."):
            for name, default in _BOUNDS.items():
                if name not in config:
                    yield (
                        f"{alias}: {name} is not set, so it is {default}; what exceeds it is lost in silence",
                        f"CONFIG: {{{name!r}: …}}, or CHANNEL_LAYERS = otel_ws.layers.channel_layers()",
                    )


def _in_memory(alias: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    said = [environ.get(one, "").strip() for one in _WORKERS] + _GUNICORN.findall(environ.get("GUNICORN_CMD_ARGS", ""))
    if any(one.isdecimal() and int(one) > 1 for one in said):
        yield (
            f"{alias}: the layer in memory ends at its process: with several workers most of a group hears nothing",
            "channels_redis.core.RedisChannelLayer, or one worker",
        )


def _timeouts(alias: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    release = _release("redis")
    hosts = config.get("hosts") or [None]
    said = [_timeout(one) for one in hosts] if isinstance(hosts, list | tuple) else []
    if release >= _TIMED_OUT and "" in said:
        yield (
            f"{alias}: redis {release} gives up on a read after 5 seconds: idle consumers are disconnected",
            "pip install 'redis<8', or 'socket_timeout': None in each of the hosts",
        )
    elif any(isinstance(one, int | float) and one <= _WAIT for one in said):
        yield (
            f"{alias}: socket_timeout is not longer than channels_redis waits: idle consumers are disconnected",
            "'socket_timeout': None in each of the hosts",
        )


def _timeout(host: Any) -> Any:
    """What a host says of its socket timeout, in its address or beside it; "" where it says nothing."""
    beside = host if isinstance(host, Mapping) else {"address": host}
    try:
        return float(parse_qs(urlsplit(str(beside.get("address"))).query)["socket_timeout"][0])
    except (KeyError, ValueError):
        return beside.get("socket_timeout", "")


def _release(package: str) -> int:
    try:
        return int(version(package).partition(".")[0])
    except (PackageNotFoundError, ValueError):
        return 0
