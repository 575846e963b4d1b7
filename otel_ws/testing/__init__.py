"""For tests: everything that is emitted during a test, in memory, and assertions about it.

    with otel_ws.testing.capture() as telemetry:
        await communicator.connect()
    assert telemetry.span_names() == ["connect /ws/match/{match_id}/"]

With pytest, the fixture ``telemetry`` does the same and hears the rest of the process too. Needs the SDK. Wrong use of
a verb raises ``UsageError`` while capturing.
"""

from __future__ import annotations

from otel_ws.faults import UsageError
from otel_ws.testing.capture import EventSeen, Telemetry, capture

__all__ = ["EventSeen", "Telemetry", "UsageError", "capture"]
