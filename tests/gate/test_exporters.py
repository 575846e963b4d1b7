"""The bytes that leave: OTLP over HTTP and gRPC, the console, Prometheus, memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

from otel_ws import gate
from otel_ws.policy import Policy


class Pipelines:
    """Three providers with an exporter each."""

    def __init__(self, resource: Any, spans: Any, metrics: Any, logs: Any) -> None:
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.tracers.add_span_processor(BatchSpanProcessor(spans))
        self.meters = MeterProvider([PeriodicExportingMetricReader(metrics)], resource, shutdown_on_exit=False)
        self.loggers = LoggerProvider(resource, shutdown_on_exit=False)
        self.loggers.add_log_record_processor(BatchLogRecordProcessor(logs))

    def emit(self, stranger: Any) -> None:
        """One of each, handed over."""
        stranger.span(self.tracers)
        stranger.metric(self.meters)
        stranger.log(self.loggers)
        for one in (self.tracers, self.meters, self.loggers):
            one.force_flush()
            one.shutdown()


@pytest.fixture
def over_http(http_receiver: Any, stranger: Any) -> tuple[Pipelines, Any]:
    """OTLP over HTTP."""
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    receiver, address = http_receiver
    made = Pipelines(
        stranger.resource,
        exporter.OTLPSpanExporter(f"{address}/v1/traces"),
        OTLPMetricExporter(f"{address}/v1/metrics"),
        OTLPLogExporter(f"{address}/v1/logs"),
    )
    return made, receiver


@pytest.fixture
def over_grpc(grpc_receiver: Any, stranger: Any) -> tuple[Pipelines, Any]:
    """OTLP over gRPC."""
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    receiver, address = grpc_receiver
    made = Pipelines(
        stranger.resource,
        exporter.OTLPSpanExporter(address, insecure=True),
        OTLPMetricExporter(address, insecure=True),
        OTLPLogExporter(address, insecure=True),
    )
    return made, receiver


@pytest.mark.parametrize("way", ["over_http", "over_grpc"])
def test_no_byte_of_a_marked_value_is_sent(
    way: str, request: pytest.FixtureRequest, policy: Policy, stranger: Any, leaks: Callable[[object], bool]
) -> None:
    """In all that arrives by OTLP the mark is nowhere, and what is useful is there."""
    pipelines, receiver = request.getfixturevalue(way)
    gate.install("all", policy)

    pipelines.emit(stranger)

    assert not leaks(receiver.everything)
    spans, metrics, logs = (receiver.decoded(signal)[0] for signal in ("traces", "metrics", "logs"))
    (span,) = spans.resource_spans[0].scope_spans[0].spans
    assert "GET" == span.name
    assert {"http.request.method": "GET"} == {one.key: one.value.string_value for one in span.attributes}
    assert 2 == span.status.code
    names = {metric.name for metric in metrics.resource_metrics[0].scope_metrics[0].metrics}
    assert {"http.server.active_requests", "http.server.request.duration"} == names
    (record,) = logs.resource_logs[0].scope_logs[0].log_records
    assert 13 == record.severity_number
    assert "ValueError" in {one.value.string_value for one in record.attributes}


@pytest.mark.parametrize("way", ["over_http", "over_grpc"])
def test_without_the_gate_the_same_bytes_hold_the_mark(
    way: str, request: pytest.FixtureRequest, stranger: Any, leaks: Callable[[object], bool]
) -> None:
    """The test above can fail: without a gate the mark is in each signal."""
    pipelines, receiver = request.getfixturevalue(way)

    pipelines.emit(stranger)

    assert all(leaks(b"".join(bodies)) for bodies in receiver.bodies.values())


@pytest.mark.parametrize("way", ["over_http", "over_grpc"])
def test_no_canary_is_sent(way: str, request: pytest.FixtureRequest, policy: Policy) -> None:
    """Every exporter is proven at start-up, and nothing of the proof arrives."""
    pipelines, receiver = request.getfixturevalue(way)

    gate.install("all", policy)

    proven = gate.status()["exporters"]
    for one in (pipelines.tracers, pipelines.meters, pipelines.loggers):
        one.force_flush()
        one.shutdown()
    assert len(proven) >= 3
    assert all(one["proven"] for one in proven)
    assert b"canary" not in receiver.everything
    assert {} == policy.redactions()


def test_the_console_shows_no_mark(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """What the console exporters print is cleared."""
    out = io.StringIO()
    tracers = TracerProvider(resource=stranger.resource, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out)))
    loggers = LoggerProvider(stranger.resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter(out=out)))
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter(out=out))
    meters = MeterProvider([reader], stranger.resource, shutdown_on_exit=False)
    gate.install("all", policy)

    stranger.span(tracers)
    stranger.log(loggers)
    stranger.metric(meters)
    meters.shutdown()

    shown = out.getvalue()
    assert not leaks(shown)
    for useful in ('"http.request.method": "GET"', "http.server.active_requests", "ValueError"):
        assert useful in shown


def test_prometheus_shows_no_mark(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """The stock reader prints no mark; series that became one are added up."""
    prometheus = pytest.importorskip("opentelemetry.exporter.prometheus")
    from prometheus_client import REGISTRY, generate_latest

    reader = prometheus.PrometheusMetricReader()
    meters = MeterProvider([reader], stranger.resource, shutdown_on_exit=False)
    gate.install("all", policy)
    try:
        stranger.metric(meters)
        text = generate_latest(REGISTRY).decode()
    finally:
        meters.shutdown()

    assert not leaks(text)
    (line,) = [one for one in text.splitlines() if one.startswith("http_server_active_requests")]
    assert line.endswith(" 5.0")


def test_our_own_scrape_endpoint_shows_no_mark(policy: Policy, stranger: Any, leaks: Callable[[object], bool]) -> None:
    """The reader of ``ws_prometheus`` prints no mark either, in both formats."""
    pytest.importorskip("opentelemetry.exporter.prometheus")
    from otel_ws.sdk.prometheus import PrometheusReader

    reader = PrometheusReader("127.0.0.1", 1, is_serving=lambda: False)
    meters = MeterProvider([reader], stranger.resource, shutdown_on_exit=False)
    gate.install("all", policy)
    try:
        stranger.metric(meters)
        texts = [reader.text(with_exemplars).decode() for with_exemplars in (False, True)]
    finally:
        meters.shutdown()

    assert not leaks(texts)
    assert all("http_server_active_requests" in text for text in texts)
