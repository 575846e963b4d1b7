"""A snapshot as Prometheus reads it: held against the stock exporter and against strict parsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

prometheus_client = pytest.importorskip("prometheus_client")

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_ws import semconv, testing
from otel_ws.exposition import prefers_openmetrics, render
from otel_ws.ledger import Distribution, Snapshot
from otel_ws.semconv import METRICS, Instrument

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str, is_openmetrics: bool = False) -> Samples:
    """Every sample by its name and labels."""
    parse = openmetrics.text_string_to_metric_families if is_openmetrics else parse_text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def counted() -> Snapshot:
    """Something in every metric that is kept."""
    with testing.capture() as telemetry:
        ledger = telemetry.recorder.ledger
        for place, metric in enumerate(METRICS):
            if metric.live:
                continue
            labels = tuple(
                one.choices[0] if one.choices else ("" if spot % 2 else "x") for spot, one in enumerate(metric.labels)
            )
            if metric.instrument is Instrument.HISTOGRAM:
                for value in (0.0, metric.bounds[0], metric.bounds[-1] * 2):
                    ledger.observe(metric, labels, value)
            else:
                ledger.add(metric, labels, place + 0.5)
        return telemetry.recorder.snapshot()


def test_both_formats_say_the_same() -> None:
    """Strict parsers read the same samples from either."""
    now = counted()

    assert samples(render(now, False)) == samples(render(now, True), is_openmetrics=True) != {}


def test_it_says_what_the_stock_exporter_says() -> None:
    """The same names, labels and numbers as OpenTelemetry's Prometheus exporter, but for what names the scope."""
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    from opentelemetry.sdk.metrics import MeterProvider

    from otel_ws.recorder import Recorder
    from otel_ws.sdk import fast
    from otel_ws.settings import Settings

    registry = prometheus_client.CollectorRegistry()
    reader = exporter.PrometheusMetricReader()
    prometheus_client.REGISTRY.unregister(reader._collector)
    registry.register(reader._collector)
    with testing.capture() as telemetry:
        provider = MeterProvider([reader], shutdown_on_exit=False)
        mine = Recorder(Settings.load({}), telemetry.recorder.policy, meter_provider=provider)
        fast.speed_up(mine)
        mine.ledger.add(semconv.MESSAGES, ("/ws", "websocket", "chat", "success"), 3)
        mine.ledger.add(semconv.REJECTIONS, ("/ws", "websocket", "REJECTED", ""))
        mine.ledger.observe(semconv.LOOP_LAG, (), 0.03)
        theirs = prometheus_client.generate_latest(registry).decode()
        ours = samples(render(mine.snapshot(), False))
        mine.close()
    stock = {
        (name, frozenset((key, value) for key, value in labels if not key.startswith("otel_scope_"))): value
        for (name, labels), value in samples(theirs).items()
    }
    told = {"ws_messages_total", "ws_connection_rejections_total"}
    told |= {f"ws_event_loop_lag_seconds_{part}" for part in ("bucket", "sum", "count")}

    def chosen(found: Samples) -> Samples:
        return {key: value for key, value in found.items() if key[0] in told}

    assert chosen(stock) == chosen(ours)
    assert len(chosen(ours)) > 10


def test_openmetrics_has_exemplars_and_the_old_text_has_none() -> None:
    """The ids of a sampled message, at the bucket of its value."""
    bounds = semconv.LOOP_LAG.bounds
    one = Distribution((0, 1, *(0,) * (len(bounds) - 1)), 0.003, ((0.003, 1_700_000_000_500_000_000, 10, 11),))
    now = Snapshot({}, {semconv.LOOP_LAG: {(): one}})

    line = f'le="0.005"}} 1 # {{trace_id="{10:032x}",span_id="{11:016x}"}} 0.003 1700000000.500'
    assert line in render(now, True)
    assert "trace_id" not in render(now, False)
    assert samples(render(now, True), is_openmetrics=True)


def test_nothing_is_an_empty_page() -> None:
    """Without series there is no family; OpenMetrics ends all the same."""
    assert ("", "# EOF\n") == (render(Snapshot({}, {}), False), render(Snapshot({}, {}), True))


@given(st.text(max_size=30), st.floats(0, 1e18))
def test_no_label_breaks_a_line(label: str, value: float) -> None:
    """Whatever stands in a label comes back as it was."""
    now = Snapshot({semconv.LAYER_DROPPED: {(label,): value}}, {})
    found = samples(render(now, False))

    if label and "\r" not in label:
        assert {("ws_layer_dropped_total", frozenset({("reason", label)})): value} == found


@pytest.mark.parametrize(
    ("accept", "is_preferred"),
    [
        ("", False),
        ("*/*", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3", True),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=high", False),
        ("application/openmetrics-text;q=\u0661", False),
        (";;,=,;q", False),
    ],
)
def test_the_format_is_negotiated(accept: str, is_preferred: bool) -> None:
    """OpenMetrics where it is named, and plain text is not wanted more."""
    assert is_preferred == prefers_openmetrics(accept)
