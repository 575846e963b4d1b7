"""``CHANNEL_LAYERS`` from the environment."""

from __future__ import annotations

import pytest

from otel_ws.layers import channel_layers, max_connections
from otel_ws.settings import SettingsError


def test_without_an_address_the_layer_is_in_memory() -> None:
    """An empty environment gives a layer in memory, with bounds."""
    layers = channel_layers({})

    assert {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"capacity": 100, "expiry": 60},
        }
    } == layers


def test_every_variable_is_read() -> None:
    """Addresses, capacity and expiry come from their variables, and no host has a socket timeout."""
    layers = channel_layers(
        {"REDIS_URL": "redis://a:1/0, rediss://b", "WS_CHANNEL_CAPACITY": "5", "WS_MESSAGE_EXPIRY": "7"}
    )

    assert {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [
                {"address": "redis://a:1/0", "socket_timeout": None},
                {"address": "rediss://b", "socket_timeout": None},
            ],
            "capacity": 5,
            "expiry": 7,
        },
    } == layers["default"]


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "٣", "1" * 20])
@pytest.mark.parametrize("name", ["WS_CHANNEL_CAPACITY", "WS_MESSAGE_EXPIRY"])
def test_a_wrong_number_is_told_by_its_name(name: str, value: str) -> None:
    """A number that is none stops the start, with the variable's name."""
    with pytest.raises(SettingsError) as caught:
        channel_layers({name: value})

    assert f"{name} is not valid; allowed: a whole number from 1." == str(caught.value)


@pytest.mark.parametrize(("given", "limit"), [("500", 500), ("0", None), ("", None), (None, None)])
def test_the_limit_of_connections_is_the_setting(given: str | None, limit: int | None) -> None:
    """Where it is not set, or 0, there is none."""
    assert limit == max_connections({} if given is None else {"OTEL_WS_MAX_CONNECTIONS": given})


def test_a_wrong_limit_is_told_by_its_name() -> None:
    """As the setting itself is."""
    with pytest.raises(SettingsError, match="OTEL_WS_MAX_CONNECTIONS is not valid; allowed: a whole number from 0"):
        max_connections({"OTEL_WS_MAX_CONNECTIONS": "many"})


def test_an_address_is_never_repeated() -> None:
    """An address in a wrong form may hold a password, so the text does not repeat it."""
    with pytest.raises(SettingsError) as caught:
        channel_layers({"REDIS_URL": "redis://a,http://:hunter2@b"})

    assert ("REDIS_URL" in str(caught.value), "hunter2" in str(caught.value)) == (True, False)


def test_the_layers_work() -> None:
    """Channels makes a layer of each, where it is installed, with the bounds."""
    pytest.importorskip("channels")
    from channels.layers import ChannelLayerManager

    manager = ChannelLayerManager()
    layer = manager._make_backend(
        "default", channel_layers({"WS_CHANNEL_CAPACITY": "5", "WS_MESSAGE_EXPIRY": "7"})["default"]["CONFIG"]
    )

    assert (5, 7) == (layer.capacity, layer.expiry)
