"""Each answer against its schema, and the numbers in it against those that were counted."""

from __future__ import annotations

import json
import random
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

jsonschema = pytest.importorskip("jsonschema")

from otel_ws import monitoring, processes, semconv, testing
from otel_ws.endpoints.answers import ROUTES
from otel_ws.endpoints.routes import ERRORS, error
from otel_ws.health import Limits, Reading, read
from otel_ws.ledger import Distribution, Snapshot
from otel_ws.monitoring import (
    Seen,
    components,
    connections,
    detailed,
    errors,
    events,
    health,
    performance,
    ws_metrics,
)
from otel_ws.processes import Overview, Process
from otel_ws.semconv import METRICS, Instrument
from otel_ws.thresholds import Thresholds

ANSWERS = {
    "health": health.answer,
    "detailed": detailed.answer,
    "events": events.answer,
    "connections": connections.answer,
    "performance": performance.answer,
    "errors": errors.answer,
    "ws_metrics": ws_metrics.answer,
}
AT = 1_000_000.0


def schema(name: str) -> Any:
    """One of the files."""
    return json.loads(files("otel_ws.monitoring").joinpath("schemas", f"{name}.json").read_text())


def validator(name: str) -> Any:
    """What holds an answer against it."""
    return jsonschema.Draft202012Validator(schema(name))


VALIDATORS = {name: validator(name) for name in ANSWERS}


class Kept:
    """Recent events."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = list(events)

    def events(self) -> list[dict[str, Any]]:
        """All of them."""
        return self._events


def snapshot(**values: Any) -> Snapshot:
    """A snapshot of metrics by their name in ``semconv``."""
    found = Snapshot({}, {})
    for name, series in values.items():
        metric = getattr(semconv, name)
        (found.distributions if metric.instrument is Instrument.HISTOGRAM else found.values)[metric] = series
    return found


def seen(
    now: Snapshot, *before: Reading, history: tuple[Reading, ...] = (), began: float = AT - 100, **more: Any
) -> Seen:
    """A look at these numbers."""
    found = (Process(7, "server", AT - 100, 3.0, 0.25, 1000.0), Process(8, "worker", AT - 50, 0.0, 0.5, 2000.0))
    return Seen(Overview(AT, began, now, found, is_shared=True), before, history=lambda _: history, **more)


NOW = snapshot(
    ACTIVE={("/ws", "websocket", "player", "match"): 8.0, ("/sse", "sse", "player", "match"): 2.0},
    CONNECTIONS={("/ws", "websocket", "player", "match", "connected", ""): 90.0},
    REJECTIONS={("/ws", "websocket", "REJECTED", "4401"): 10.0},
    CONNECTION_HEALTH={("websocket", "healthy"): 6.0, ("websocket", "unhealthy"): 2.0, ("sse", "healthy"): 2.0},
    CONNECTION_AGE={("websocket", "under_5m"): 5.0, ("websocket", "over_2h"): 3.0, ("sse", "5m_30m"): 2.0},
    CONNECTION_SETUP={("/ws", "websocket", "accepted"): Distribution((0, 4, 0, 0, 0, 0, 0, 0, 0), 0.08)},
    MESSAGES={("/ws", "websocket", "chat", "success"): 180.0, ("/ws", "websocket", "chat", "error"): 20.0},
    MESSAGES_SENT={("/ws", "websocket", "success"): 99.0, ("/ws", "websocket", "error"): 1.0},
    MESSAGE_LATENCY={("/ws", "websocket", "chat"): Distribution((0, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0), 1.6)},
    BROADCASTS={("room", "sent"): 38.0, ("room", "failed"): 2.0},
    BROADCAST_DURATION={("room",): Distribution((0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0), 0.8)},
    ERRORS={("/ws", "KeyError", "system", "high"): 3.0, ("/ws", "ValueError", "validation", "low"): 1.0},
    PROCESS_MEMORY={(): 3000.0},
    WORKERS={("worker",): 2.0, ("handler",): 1.0},
)


# --- schemas ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", sorted(one.name.removesuffix(".json") for one in files("otel_ws.monitoring").joinpath("schemas").iterdir())
)
def test_a_schema_is_one(name: str) -> None:
    """Each file is a JSON Schema, and says of every field what it is."""
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_every_endpoint_with_json_has_a_schema() -> None:
    """No schema is nobody's, and what has none is no JSON."""
    known = {one.name.removesuffix(".json") for one in files("otel_ws.monitoring").joinpath("schemas").iterdir()}

    assert {route.schema for route in ROUTES.values() if route.schema} | {"error", "figures"} == known


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("now", [Snapshot({}, {}), NOW], ids=["nothing", "something"])
def test_an_answer_is_as_its_schema_says(name: str, now: Snapshot) -> None:
    """Whether anything happened yet, or much."""
    rows = tuple(Reading(AT - 60 * minute, {"active": 5.0, "healthy.sse": 1.0}) for minute in range(90, 0, -1))
    errors = Kept({"event": "WS_ERROR", "error_type": "KeyError", "timestamp": "2026-01-01T00:00:00.000Z"})
    told = ANSWERS[name](seen(now, Reading(AT - 50), history=rows, recent=errors, limits=Limits(1000.0, 5.0)))

    validator(name).validate(json.loads(json.dumps(told, allow_nan=False)))


@pytest.mark.parametrize("status", ERRORS)
def test_an_error_is_as_its_schema_says(status: int) -> None:
    """Each error has a code for programs and a sentence for people."""
    validator("error").validate(json.loads(error(status).body))


def anything(seed: int) -> Snapshot:
    """Any numbers in any series."""
    draw = random.Random(seed)
    found = Snapshot({}, {})
    for metric in METRICS:
        keys = {
            tuple(draw.choice([*one.choices, "", "_OTHER"]) for one in metric.labels) for _ in range(draw.randrange(4))
        }
        if metric.instrument is Instrument.HISTOGRAM:
            width = len(metric.bounds) + 1
            found.distributions[metric] = {
                key: Distribution(
                    tuple(draw.randrange(draw.choice([1, 10**6])) for _ in range(width)), draw.random() * 1e9
                )
                for key in keys
            }
        else:
            found.values[metric] = {key: draw.choice([0.0, draw.random(), draw.random() * 1e12]) for key in keys}
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.one_of(st.just(0.0), st.floats(1, 1e10)))
def test_whatever_is_counted_the_answers_keep_their_form(seed: int, memory: float) -> None:
    """No number, however large, and no total that began anew makes another kind of answer."""
    earlier = read(anything(seed), AT - 60)
    looked = seen(anything(seed + 1), earlier, history=(earlier,), limits=Limits(memory, 10.0))
    for name, answer in ANSWERS.items():
        VALIDATORS[name].validate(json.loads(json.dumps(answer(looked), allow_nan=False)))


# --- numbers ------------------------------------------------------------------------------------------------------
def test_the_few_numbers_that_scripts_ask_for() -> None:
    """By the names that home-made scripts know."""
    assert {
        "connections_active": 10,
        "connections_total": 90,
        "connections_failed": 10,
        "broadcasts_sent": 38,
        "broadcasts_failed": 2,
        "broadcast_latency_avg_ms": 20.0,
        "health": "degraded",
    } == ws_metrics.answer(seen(NOW, Reading(AT - 60)))


def test_each_component_has_its_own_verdict() -> None:
    """Errors are the messages' fault, and nobody else's."""
    told = health.answer(seen(NOW, Reading(AT - 60)))

    assert {"connections": "degraded", "messages": "degraded", "layer": "healthy", "process": "healthy"} == told[
        "components"
    ]
    assert ["connection_health", "error_rate"] == sorted(one["rule"] for one in told["findings"])
    assert 100.0 == told["uptime_seconds"]


def test_every_rule_is_some_components() -> None:
    """And of one alone."""
    rules = [rule for of_one in components.COMPONENTS.values() for rule in of_one]
    told = {
        one["enum"][0]: one["enum"]
        for one in [schema("health")["properties"]["findings"]["items"]["properties"]["rule"]]
    }

    assert sorted(rules) == sorted(set(rules))
    assert set(rules) == set(next(iter(told.values())))


def test_details_are_over_the_window() -> None:
    """Rates are per second of the window, not since start."""
    earlier = Reading(AT - 50, {"connected": 40.0, "messages": 100.0, "sent": 49.0})
    told = detailed.answer(seen(NOW, earlier, limits=Limits(6000.0, 0.0)))
    parts = told["components"]

    assert (1.0, 2.0, 1.0) == (
        parts["connections"]["opened_per_second"],
        parts["messages"]["received_per_second"],
        parts["messages"]["sent_per_second"],
    )
    assert (10, 8, 2, 80.0) == tuple(
        parts["connections"][name] for name in ("total", "healthy", "unhealthy", "healthy_percentage")
    )
    assert (3000, 0.5, 0.5) == tuple(parts["process"][name] for name in ("memory_bytes", "memory_share", "cpu_share"))
    assert ["server", "worker"] == [one["role"] for one in told["processes"]]


def test_events_tell_how_messages_are_worked_off() -> None:
    """Queue, rates, handlers and workers."""
    told = events.answer(seen(NOW, Reading(AT - 50)))

    assert ("degraded", "error_rate", 4.0, 0.1, 8.0, 1, 2) == tuple(
        told[name]
        for name in (
            "status",
            "warning",
            "processing_rate_per_second",
            "error_rate",
            "average_processing_time_ms",
            "active_handlers",
            "active_workers",
        )
    )


def test_connections_by_health_transport_and_age() -> None:
    """Now, overall and apart."""
    told = connections.answer(seen(NOW))

    assert {"0-5m": 5, "5-30m": 2, "30m-2h": 0, "2h+": 3} == told["age_distribution"]
    assert (75.0, 100.0) == tuple(told["transports"][one]["healthy_percentage"] for one in ("websocket", "sse"))


def test_trends_have_a_row_for_each_step() -> None:
    """Of the last hour one a minute, of the last day one an hour; what nobody kept is null."""
    rows = [Reading(AT - 90 * 60, {"active": 7.0}), Reading(AT - 61, {"active": 1.0}), Reading(AT - 1, {"active": 2.0})]
    hour = connections.trend(rows, AT, 60.0, 60)
    day = connections.trend(rows, AT, 3600.0, 24)

    assert (60, 24) == (len(hour), len(day))
    assert [1, 2] == [one["active"] for one in hour[-2:]]
    assert {None} == {one["active"] for one in hour[:-2]}
    assert [7, 2] == [one["active"] for one in day[-2:]]


def test_performance_by_transport() -> None:
    """Mean, 95th percentile and greatest of each time; nothing is null, not zero."""
    told = performance.answer(seen(NOW, Reading(AT - 50)))
    setup = told["transports"]["websocket"]["setup"]

    assert (4, 20.0, 48.0, 50.0) == (setup["count"], setup["avg_ms"], setup["p95_ms"], setup["max_ms"])
    assert 0.99 == told["transports"]["websocket"]["delivery_success_rate"]
    assert told["transports"]["sse"]["delivery_success_rate"] is None
    assert {"count": 0, "avg_ms": None, "p95_ms": None, "max_ms": None} == told["transports"]["sse"]["setup"]


def test_errors_of_the_last_hour() -> None:
    """Those before the hour do not count; the rate is per minute of it."""
    rows = (Reading(AT - 7000, {}), *(Reading(AT - ago, {"errors.system.high": 1.0}) for ago in (3601, 3590)))
    told = errors.answer(seen(NOW, history=rows, began=AT - 7000))

    assert (3, 2, 1, 0.05) == (
        told["total"],
        told["by_category"]["system"],
        told["by_severity"]["low"],
        told["rate_per_minute"],
    )
    assert told["last"] is None


def test_errors_after_a_pause_are_of_the_last_hour() -> None:
    """The first row after hours in which nobody came may have the errors already; the last one before has not."""
    rows = (Reading(AT - 9000, {}), Reading(AT - 2, {"errors.system.high": 4.0}))
    told = errors.answer(seen(NOW, history=rows, began=AT - 9000))

    assert (4, 3600.0) == (told["total"], told["window_seconds"])


def test_errors_are_of_this_start() -> None:
    """What was counted before a start an hour ago or less hides none of those since."""
    rows = (Reading(AT - 4000, {"errors.system.high": 50.0}), Reading(AT - 90, {"errors.system.high": 2.0}))
    told = errors.answer(seen(NOW, history=rows))

    assert (4, 100.0) == (told["total"], told["window_seconds"])


def test_the_last_errors_have_ids_and_no_message() -> None:
    """The newest first, ten at most; of other events nothing."""
    kept = [
        {"event": "WS_ERROR", "error_type": "KeyError", "user_id": number, "message": "An error was raised."}
        for number in range(12)
    ]
    told = errors.answer(seen(NOW, recent=Kept(*kept, {"event": "WS_CONNECT"})))["last"]

    assert list(range(11, 1, -1)) == [one["user_id"] for one in told]
    assert all("message" not in one for one in told)


def test_an_own_threshold_is_told() -> None:
    """The finding says where the rule fires here."""
    told = health.answer(seen(NOW, Reading(AT - 60), thresholds=Thresholds(connection_health_unhealthy=0.5)))

    assert [("connection_health", "degraded", 0.95), ("error_rate", "degraded", 0.05)] == [
        (one["rule"], one["status"], one["threshold"]) for one in told["findings"]
    ]


def test_a_look_reads_the_recorders_numbers() -> None:
    """What is counted is what is seen, a second later at most."""
    processes._member = monitoring._last = None
    with testing.capture() as telemetry:
        telemetry.recorder.ledger.add(semconv.BROADCASTS, ("room", "sent"), 5)
        looked = monitoring.look()

        assert looked is not None
        assert 5 == ws_metrics.answer(looked)["broadcasts_sent"]
