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
    row = Reading(AT - 3.0, {"rejected": 1.0})
    monkeypatch.setattr(monitoring, "_last", None)
    monkeypatch.setattr(processes, "overview", lambda: Overview(AT, began, numbers, (), is_shared=True))
    monkeypatch.setattr(processes, "history", lambda seconds: (row,))

    seen = monitoring.look()

    assert seen is not None
    assert rules == [finding.rule for finding in seen.health.findings]
