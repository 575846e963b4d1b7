"""The figures of the live page: what the clients did, in the documented shape."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
jsonschema = pytest.importorskip("jsonschema")

from otel_ws import semconv
from otel_ws.connection import Connection
from otel_ws.handling import Handling
from otel_ws.ledger import Distribution, Snapshot
from otel_ws.monitoring import Seen
from otel_ws.monitoring.figures import PAST_SECONDS, figures, past
from otel_ws.processes import Overview, Process
from otel_ws.testing import Telemetry
from otel_ws.types import Labels

SCHEMA = json.loads(files("otel_ws.monitoring").joinpath("schemas/figures.json").read_text())
SCOPE: dict[str, Any] = {"type": "websocket", "path": "/", "headers": []}
WORKER = Process(pid=7, role="server", started=900.0, active=2.0, cpu=0.25, memory=50_000_000.0)


def seen(snapshot: Snapshot) -> Seen:
    """One look at these numbers."""
    return Seen(Overview(1000.0, 900.0, snapshot, (WORKER,), is_shared=True))


def check(frame: dict[str, Any]) -> None:
    """The frame is as documented."""
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(frame, allow_nan=False)))


def accepted(telemetry: Telemetry) -> Connection:
    """A client that is connected."""
    connection = Connection(telemetry.recorder, SCOPE)
    connection.sent({"type": "websocket.accept"}, connection.sending())
    return connection


def test_the_schema_is_one() -> None:
    """The schema itself is valid."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_nothing_yet() -> None:
    """A process that has counted nothing has figures, all of them zero."""
    frame = figures(seen(Snapshot({}, {})))

    check(frame)
    assert (0, 0, [], "healthy") == (
        frame["connections"]["active"],
        frame["messages"]["received"],
        frame["errors"],
        frame["status"],
    )


def test_figures_say_what_clients_did(telemetry: Telemetry) -> None:
    """Connections, messages, errors and rejections are those of the clients."""
    first, second = accepted(telemetry), accepted(telemetry)
    for raised in (None, None, KeyError("place")):
        Handling(first, "websocket.receive", "receive", True).end(raised)
    second.disconnected(1000)
    second.returned()
    refused = Connection(telemetry.recorder, SCOPE)
    refused.sent({"type": "websocket.close", "code": 4401}, refused.sending())

    frame = figures(seen(telemetry.recorder.snapshot()))

    check(frame)
    connections, messages = frame["connections"], frame["messages"]
    assert (1, 2, 1, 1) == tuple(connections[name] for name in ("active", "opened", "closed", "rejected"))
    assert (3, 1) == (messages["received"], messages["failed"])
    assert 3 == sum(frame["latency"]["handling"]["buckets"])
    assert [{"category": "system", "severity": "high", "count": 1}] == frame["errors"]
    assert [{"reason": "REJECTED", "count": 1}] == frame["rejections"]
    assert [{"transport": "websocket", "role": semconv.OTHER, "count": 1}] == connections["by_role"]
    assert 1 == sum(connections["ages"].values())


def test_workers_are_told(telemetry: Telemetry) -> None:
    """Each process is there with what it uses."""
    (worker,) = figures(seen(telemetry.recorder.snapshot()))["processes"]

    assert {"pid": 7, "role": "server", "started": 900.0, "active": 2, "cpu": 0.25, "memory": 50_000_000} == worker


def test_series_are_added_up_by_what_is_shown() -> None:
    """Routes and transports that are not shown are added up; the largest count comes first."""
    numbers: dict[Labels, float] = {
        ("/a/", "websocket", "X", "4401"): 1.0,
        ("/b/", "sse", "X", ""): 2.0,
        ("/a/", "websocket", "Y", ""): 9.0,
    }

    frame = figures(seen(Snapshot({semconv.REJECTIONS: numbers, semconv.RATELIMITS: {("websocket", "Z"): 0.0}}, {})))

    assert [{"reason": "Y", "count": 9}, {"reason": "X", "count": 3}] == frame["rejections"]
    assert [] == frame["ratelimits"]


def test_distributions_are_added_up() -> None:
    """Buckets and sums of all routes together."""
    width = len(semconv.LOOP_LAG.bounds)
    spread: dict[Labels, Distribution] = {
        ("a",): Distribution((1, *[0] * width), 0.5),
        ("b",): Distribution((2, *[0] * (width - 1), 4), 1.0),
    }

    frame = figures(seen(Snapshot({}, {semconv.LOOP_LAG: spread})))

    check(frame)
    lag = frame["latency"]["loop"]
    assert ([3, *[0] * (width - 1), 4], 1.5) == (lag["buckets"], lag["sum"])


def test_the_past_is_no_longer_than_the_curves() -> None:
    """Readings of the last minutes are handed over, with the totals that rates are made of."""
    now = seen(Snapshot({}, {}))
    rows = [now.now.__class__(at, {"messages": at, "sent": 1.0}) for at in (1000.0 - PAST_SECONDS - 1, 990.0)]
    now.__dict__["history"] = tuple(rows)

    assert [{"at": 990.0, "received": 990, "sent": 1}] == past(now)
