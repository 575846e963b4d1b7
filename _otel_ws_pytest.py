"""The pytest plugin of otel-ws: the fixture ``telemetry``, what a test emits, on all signals.

pytest imports this file in every suite of an environment, used or not; so it imports nothing else before it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_ws.testing import Telemetry


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """What is emitted during the test, by otel-ws and by everybody else: spans, events, metrics, and assertions.

    Starts empty for every test. Needs no OpenTelemetry set-up, and leaves one that there is as it is.
    """
    try:
        from otel_ws.testing import capture
    except ImportError as exc:
        pytest.fail(
            f"the fixture telemetry needs the OpenTelemetry SDK: pip install 'otel-ws[sdk]' (missing: {exc.name})",
            pytrace=False,
        )
    with capture(others=True, message_events="all") as captured:
        yield captured
