"""One look at the numbers: the window that it judges over begins where it should."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk")

from otel_ws import monitoring, processes, semconv
from otel_ws.health import Reading
from otel_ws.ledger import Snapshot
from otel_ws.processes import Overview
from otel_ws.testing import Telemetry

AT = 10_000.0


@pytest.mark.parametrize(("began", "rules"), [(AT - 5.0, ["failed_connections"]), (AT - 5000.0, [])])
def test_what_happened_first_is_judged_too(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, began: float, rules: list[str]
) -> None:
    """Of workers that began a moment ago all is of late, also what came before the first row of their history."""
    numbers = Snapshot({semconv.REJECTIONS: {("/", "websocket", "ROOM_FULL", ""): 1.0}}, {})
    rows = tuple(Reading(AT - ago, {"rejected": 1.0}) for ago in (80.0, 3.0) if AT - ago > began)
    monkeypatch.setattr(monitoring, "_last", None)
    monkeypatch.setattr(processes, "overview", lambda: Overview(AT, began, numbers, (), is_shared=True))
    monkeypatch.setattr(processes, "history", lambda seconds: rows)

    seen = monitoring.look()

    assert seen is not None
    assert rules == [finding.rule for finding in seen.health.findings]


def look(monkeypatch: pytest.MonkeyPatch, rejected: float, began: float, *rows: Reading) -> monitoring.Seen:
    """What is seen where so many were rejected by now."""
    numbers = Snapshot({semconv.REJECTIONS: {("/", "websocket", "ROOM_FULL", ""): rejected}}, {})
    monkeypatch.setattr(monitoring, "_last", None)
    monkeypatch.setattr(processes, "overview", lambda: Overview(AT, began, numbers, (), is_shared=True))
    monkeypatch.setattr(processes, "history", lambda seconds: rows)
    seen = monitoring.look()
    assert seen is not None
    return seen


def test_what_happens_after_a_pause_is_seen(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last row before nobody came is where the totals stood until somebody was rejected."""
    rows = Reading(AT - 2000.0, {"rejected": 5.0}), Reading(AT - 1.0, {"rejected": 35.0})

    seen = look(monkeypatch, 35.0, 1.0, *rows)

    assert (["failed_connections"], 30.0, 60.0) == (
        [finding.rule for finding in seen.health.findings],
        seen.grown("rejected"),
        seen.seconds,
    )


def test_a_clock_that_was_set_back_accuses_nobody(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that began in what is the future now did not begin a moment ago."""
    seen = look(monkeypatch, 35.0, AT + 3500.0, Reading(AT + 3600.0, {"rejected": 35.0}))

    assert ([], 0.0) == (list(seen.health.findings), seen.grown("rejected"))


def test_without_rows_of_late_own_readings_are_taken(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no row can be written, a process's own readings are nearer than rows of an hour ago."""
    own = [Reading(AT - 30.0, {"rejected": 34.0}), Reading(AT - 5.0, {"rejected": 35.0})]
    monkeypatch.setattr(telemetry.recorder.watch, "readings", lambda: own)

    assert 1.0 == look(monkeypatch, 35.0, 1.0, Reading(AT - 3600.0)).grown("rejected")


def test_rows_of_those_before_are_not_taken(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that began long ago, and to whom nobody came until now, counted nothing: not what others had before."""
    row = Reading(AT - 9000.0, {"rejected": 500.0})
    monkeypatch.setattr(telemetry.recorder.watch, "readings", lambda: [Reading(AT - 8000.0)])

    assert 35.0 == look(monkeypatch, 35.0, AT - 8000.0, row).grown("rejected")
