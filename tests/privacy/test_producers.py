"""One real application with every contrib instrumentation: nothing of anybody leaves, and what is useful stays."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for needed in ("celery", "django", "httpx", "logging", "psycopg", "redis", "requests", "sqlite3", "system_metrics"):
    pytest.importorskip(f"opentelemetry.instrumentation.{needed}")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")

ROUNDS = "18"
USEFUL = json.loads((Path(__file__).parent / "useful.json").read_text(encoding="utf-8"))
CONTRIB = "opentelemetry.instrumentation."
SPELLINGS = {"old": "", "new": "http,database"}
# What the gate leaves out as a whole: websocket spans beside ours, and polls of an idle layer.
SUPPRESSED = {"asgi", "redis"}
TRACED = ("asgi", "celery", "dbapi", "django", "httpx", "psycopg", "redis", "requests", "sqlite3")


@pytest.fixture(scope="module")
def raw(program: Any) -> dict[str, Any]:
    """What the application exports without a gate."""
    return dict(program("producers.py", "--rounds", ROUNDS, OTEL_WS_GATE="own"))


@pytest.fixture(scope="module", params=list(SPELLINGS))
def spelling(request: pytest.FixtureRequest) -> str:
    """The older names of the semantic conventions, which are the default, and the stable ones."""
    return str(request.param)


@pytest.fixture(scope="module")
def cleared(program: Any, spelling: str) -> dict[str, Any]:
    """What the application exports with the gate that `configure()` builds."""
    return dict(program("producers.py", "--rounds", ROUNDS, SEMCONV=SPELLINGS[spelling]))


def rows(report: dict[str, Any], signal: str, scope: str) -> list[tuple[str, set[str], int]]:
    """Name, keys and number of what a scope exported."""
    found = report["items"].get(f"{signal}|{scope}", [])
    return [
        (names[0] if names else "", {key.partition("=")[0] for key in keys}, count) for (names, keys), count in found
    ]


def useful(spelling: str) -> Iterator[tuple[str, str, str | None, set[str]]]:
    """Signal, scope, name and keys of the table."""
    for signal, scopes in USEFUL[spelling].items():
        for scope, names in scopes.items():
            if signal == "logs":
                yield signal, scope, None, set(names.split())
            else:
                for name, keys in names.items():
                    yield signal, CONTRIB + scope, name, set(keys.split())


def test_nothing_of_anybody_leaves(cleared: dict[str, Any]) -> None:
    """No mark is in the OTLP bytes of any signal, whoever made it."""
    assert {} == cleared["leaks"]
    assert [] == cleared["raw"]


def test_json_lines_hold_nothing_either(cleared: dict[str, Any]) -> None:
    """No mark is in our JSON lines."""
    assert [] == cleared["lines"]


@pytest.mark.parametrize("producer", TRACED)
def test_without_the_gate_each_producer_leaks(raw: dict[str, Any], producer: str) -> None:
    """Each instrumentation would export what is somebody's: the test sees it where nothing stops it."""
    leaking = {row.split("|")[1] for row in raw["leaks"] if row.startswith("traces|")}

    assert CONTRIB + producer in leaking


def test_without_the_gate_logs_and_metrics_leak(raw: dict[str, Any]) -> None:
    """Log bodies, log attributes and metric labels would export it too."""
    kinds = {(row.split("|")[0], row.split("|")[2].split(" <- ")[0]) for row in raw["leaks"]}

    assert {("logs", "record body"), ("logs", "record attribute value"), ("metrics", "point attribute value")} <= kinds


def test_a_thousand_real_things_were_seen(cleared: dict[str, Any]) -> None:
    """At least 1,000 spans, log records and points of others went through the gate."""
    spans_and_records = sum(
        count
        for row in cleared["items"]
        for _, _, count in rows(cleared, *row.split("|"))
        if not row.startswith("metrics|") and row.split("|")[1] != "otel_ws"
    )
    points = sum(count for scope, count in cleared["points"].items() if scope != "otel_ws")

    assert spans_and_records + points >= 1_000


def test_what_is_useful_stays(cleared: dict[str, Any], spelling: str) -> None:
    """Everything in the table is there, by name, and each one of that name has the keys: `useful.json`."""
    lost = []
    for signal, scope, name, keys in useful(spelling):
        same = [found for known, found, _ in rows(cleared, signal, scope) if name in (None, known)]
        lost += [f"{signal} {scope} {name}: none"] if not same else []
        lost += [f"{signal} {scope} {name}: {sorted(keys - found)}" for found in same if not keys <= found]

    assert [] == lost


@pytest.mark.parametrize("producer", sorted(set(TRACED) - SUPPRESSED))
def test_no_span_is_lost(raw: dict[str, Any], cleared: dict[str, Any], producer: str) -> None:
    """As many spans leave with the gate as without."""

    def count(report: dict[str, Any]) -> int:
        return sum(times for _, _, times in rows(report, "traces", CONTRIB + producer))

    assert count(raw) == count(cleared) > 0


def test_websocket_spans_of_others_are_left_out(raw: dict[str, Any], cleared: dict[str, Any]) -> None:
    """What opentelemetry-instrumentation-asgi says of a WebSocket is not said beside ours; HTTP is."""

    def kinds(report: dict[str, Any]) -> Counter[bool]:
        found: Counter[bool] = Counter()
        for (names, keys), times in report["items"][f"traces|{CONTRIB}asgi"]:
            found["websocket" in "".join([*names, *keys])] += times
        return found

    assert kinds(raw)[True] > 0
    assert 0 == kinds(cleared)[True] < kinds(cleared)[False]


def test_an_idle_layers_polls_are_left_out(raw: dict[str, Any], cleared: dict[str, Any]) -> None:
    """BZPOPMIN of a channel layer that waits is no span; what the application asks of Redis is."""

    def names(report: dict[str, Any]) -> set[str]:
        return {name for name, _, _ in rows(report, "traces", f"{CONTRIB}redis")}

    assert "BZPOPMIN" in names(raw)
    assert "BZPOPMIN" not in names(cleared)
    assert {"SET", "GET"} <= names(cleared)
