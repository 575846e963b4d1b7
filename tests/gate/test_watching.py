"""What mode ``report`` tells the operator of names that nobody declared."""

from __future__ import annotations

import pytest

pytest.importorskip("opentelemetry.sdk")

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan

from otel_ws import faults
from otel_ws.foreign import Foreign
from otel_ws.gate.clearing import Removing, Undeclared, Watching
from otel_ws.policy import Policy


def watching() -> tuple[Watching, Foreign]:
    """What stands in the walls in that mode."""
    foreign = Foreign(Policy())
    return Watching(Removing(foreign, lambda: False), foreign, lambda: None), foreign


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said."""
    return [one.getMessage() for one in caplog.records]


def test_undeclared_names_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The key of an attribute and the name of a span, however often they come, and nothing of a value."""
    watcher, _ = watching()
    span = ReadableSpan("process_order", attributes={"order.total": 7, "user.email": "alice@example.com"})

    for _ in range(3):
        assert span is watcher.entering("traces")(span)

    assert [
        "otel-ws: OTEL_WS_GATE=all would remove the attribute order.total (traces): undeclared.",
        "otel-ws: OTEL_WS_GATE=all would remove the span name process_order (traces): undeclared.",
    ] == told(caplog)


def test_an_undeclared_metric_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A metric goes as a whole, so its name is what must be declared."""
    watcher, _ = watching()
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("json").create_counter("orders.total").add(1)

    watcher.entering("metrics")(reader.get_metrics_data())
    provider.shutdown()

    assert ["otel-ws: OTEL_WS_GATE=all would remove the metric orders.total (metrics): undeclared."] == told(caplog)


def test_what_would_be_removed_is_counted_apart(caplog: pytest.LogCaptureFixture) -> None:
    """By signal and kind; the numbers of what was removed stay as they are, as nothing was."""
    watcher, foreign = watching()

    watcher.entering("traces")(ReadableSpan("SELECT", attributes={"order.total": 7, "http.route": "/users/alice"}))

    assert 1 == foreign.would_remove["traces", "undeclared"]
    assert 1 == foreign.would_remove["traces", "template"]
    assert {} == foreign.policy.redactions()
    assert "alice" not in caplog.text


def test_no_more_than_200_names_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A stranger with ever new names does not fill the log."""
    tell = Undeclared()

    for first in range(26):
        for second in range(26):
            tell("traces", "attribute", f"key.{chr(97 + first)}{chr(97 + second)}")

    assert 200 == len(told(caplog))


@pytest.mark.parametrize(
    "name",
    ["alice@example.com", "GET /users/alice", "Alice Example", "phone.4915112345678", "x" * 65, "7", "", "a\nb", "Zoë"],
)
def test_an_odd_name_is_not_told(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Where a name is no name of code, anything may be in it."""
    Undeclared()("traces", "span name", name)

    assert [] == told(caplog)


@given(name=st.text(max_size=80))
def test_telling_never_raises(name: str) -> None:
    """Whatever somebody calls his things."""
    faults.reset()

    Undeclared()("logs", "attribute", name)
