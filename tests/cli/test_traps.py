"""What a channel layer's set-up loses in silence is told before it does."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ws.cli import traps
from otel_ws.layers import channel_layers

CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
IN_MEMORY = "channels.layers.InMemoryChannelLayer"
BOUNDED = {"capacity": 10, "expiry": 10}


def said(backend: str, config: dict[str, Any], **environ: str) -> str:
    """All that is told about one layer."""
    layers = {"default": {"BACKEND": backend, "CONFIG": config}}
    return "\n".join(f"{text} | {way_out}" for text, way_out in traps.found(layers, environ))


@pytest.fixture(autouse=True)
def redis_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py 8 is installed."""
    monkeypatch.setattr(traps, "version", lambda package: "8.1.0")


@pytest.mark.parametrize("hosts", [[], None, ["redis://a"], [("a", 1)], [{"address": "redis://a"}]])
@pytest.mark.parametrize("backend", [CORE, PUBSUB])
def test_redis_8_closes_silent_connections(backend: str, hosts: list[Any]) -> None:
    """With redis-py 8 each host needs a socket timeout of its own, or none."""
    text = said(backend, {"hosts": hosts, **BOUNDED})

    assert "idle consumers are disconnected" in text


def test_hosts_without_a_timeout_are_fine() -> None:
    """Where each host says so itself, nothing is told."""
    assert "" == said(CORE, {"hosts": [{"address": "redis://a", "socket_timeout": None}], **BOUNDED})


@pytest.mark.parametrize("release", ["7.1.0", "8.1.0"])
@pytest.mark.parametrize(
    ("host", "is_told"),
    [
        ({"address": "redis://:hunter2@a", "socket_timeout": 5}, True),
        ({"address": "redis://:hunter2@a", "socket_timeout": 5.5}, False),
        ("redis://:hunter2@a?socket_timeout=2", True),
        ("redis://:hunter2@a?socket_timeout=60", False),
        ({"address": "redis://:hunter2@a?socket_timeout=1", "socket_timeout": None}, True),
    ],
)
def test_a_timeout_that_is_too_short(monkeypatch: pytest.MonkeyPatch, release: str, host: Any, is_told: bool) -> None:
    """Of any release, in an address or beside it: one as short as channels_redis waits ends idle consumers."""
    monkeypatch.setattr(traps, "version", lambda package: release)

    text = said(CORE, {"hosts": [host], **BOUNDED})

    assert is_told == ("socket_timeout is not longer" in text)
    assert "hunter2" not in text


@pytest.mark.parametrize("hosts", [5, "redis://a", {"a": 1}, [5], [{"address": 5}]])
def test_hosts_that_are_none_raise_nothing(hosts: Any) -> None:
    """What Channels itself will refuse."""
    said(CORE, {"hosts": hosts, **BOUNDED})


def test_older_redis_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py 7 has no such timeout."""
    monkeypatch.setattr(traps, "version", lambda package: "7.1.0")

    assert "" == said(CORE, {"hosts": ["redis://a"], **BOUNDED})


@pytest.mark.parametrize("backend", [CORE, IN_MEMORY])
@pytest.mark.parametrize("name", ["capacity", "expiry"])
def test_missing_bounds(backend: str, name: str) -> None:
    """A bound that is not set is told with what it is then."""
    config = {"hosts": [{"socket_timeout": None}], **BOUNDED}
    del config[name]

    assert f"default: {name} is not set" in said(backend, config)


def test_pubsub_has_no_bounds() -> None:
    """Pub/sub knows no capacity."""
    assert "without bound" in said(PUBSUB, {"hosts": [{"socket_timeout": None}]})


@pytest.mark.parametrize(
    ("environ", "is_told"),
    [
        ({}, False),
        ({"WEB_CONCURRENCY": "1"}, False),
        ({"WEB_CONCURRENCY": "4"}, True),
        ({"UVICORN_WORKERS": "2"}, True),
        ({"WEB_CONCURRENCY": "0"}, False),
        ({"WEB_CONCURRENCY": "many"}, False),
        ({"GUNICORN_CMD_ARGS": "--bind=:80 --workers 4"}, True),
        ({"GUNICORN_CMD_ARGS": "-w4"}, True),
        ({"GUNICORN_CMD_ARGS": "--workers=1"}, False),
    ],
)
def test_in_memory_with_several_workers(environ: dict[str, str], is_told: bool) -> None:
    """A layer in memory reaches one process alone."""
    assert is_told == ("hears nothing" in said(IN_MEMORY, BOUNDED, **environ))


@pytest.mark.parametrize("address", ["", "redis://:hunter2@a"])
def test_what_the_environment_makes_has_no_traps(address: str) -> None:
    """``channel_layers()`` steps into none of them."""
    layers = channel_layers({"REDIS_URL": address})

    assert [] == list(traps.found(layers, {}))


def test_no_address_is_told() -> None:
    """A host's address, which may hold a password, is in no text."""
    assert "hunter2" not in said(PUBSUB, {"hosts": ["redis://:hunter2@a"]})


@pytest.mark.parametrize("layers", [{"default": None}, {"default": {}}, {"default": {"BACKEND": CORE, "CONFIG": "x"}}])
def test_what_is_no_layer_is_left_to_channels(layers: dict[str, Any]) -> None:
    """A configuration in another form is not ours to judge."""
    assert [] == list(traps.found(layers, {}))
