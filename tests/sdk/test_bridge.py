"""The histogram bridge: by the ledger or by the API, every reader is told the same numbers, each of them once."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
import textwrap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Protocol

import pytest
from doubles import Clock, User
from surroundings import bare_environment

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")

import grpc  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import (
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Counter,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
)
from opentelemetry.sdk.metrics import Histogram as HistogramKind
from opentelemetry.sdk.metrics import MeterProvider as SdkProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    InMemoryMetricReader,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from prometheus_client import CollectorRegistry

from otel_ws import faults, semconv
from otel_ws.channels.carrier import Carrier
from otel_ws.channels.inbox import Inbox
from otel_ws.connection import Connection
from otel_ws.fanout import HISTOGRAMS
from otel_ws.handling import Handling
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import _private, bridge, fast
from otel_ws.semconv import Metric
from otel_ws.settings import Settings
from otel_ws.signals import metrics as signal_metrics
from otel_ws.sse import EventStream, Request
from otel_ws.tasks import Task, Worker

CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
ROUTE = "/ws/match/{match_id}/"
DOOR = {"http_route": ROUTE, "transport": "websocket"}
TYPED = "message_type"

Key = tuple[str, tuple[tuple[str, str], ...]]
Exemplars = list[tuple[float, int, int, dict[str, Any]]]


# --- what a conversation should read like -----------------------------------------------------------------------
@dataclass
class Point:
    """One series of a histogram, as any reader tells it."""

    unit: str
    count: int
    sum: float
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    temporality: object = field(default=None, compare=False)
    start_ns: int = field(default=0, compare=False)
    time_ns: int = field(default=0, compare=False)
    exemplars: Exemplars = field(default_factory=list, compare=False)


class Book:
    """What the conversation's acts must add up to, written down independently of otel-ws."""

    def __init__(self) -> None:
        self.values: dict[tuple[Metric, tuple[tuple[str, str], ...]], list[float]] = {}

    def note(self, metric: Metric, value: float, **labels: str) -> None:
        """A value that a histogram must hold."""
        self.values.setdefault((metric, tuple(sorted(labels.items()))), []).append(value)

    def points(self) -> dict[Key, Point]:
        """The same as points."""
        found = {}
        for (metric, labels), values in self.values.items():
            buckets = [0] * (len(metric.bounds) + 1)
            for value in values:
                buckets[bisect_left(metric.bounds, value)] += 1
            found[metric.name, labels] = Point(metric.unit, len(values), sum(values), metric.bounds, tuple(buckets))
        return found


# --- readers, each read in its own format -----------------------------------------------------------------------
class Readout(Protocol):
    """A reader of the SDK, and what it hands to its user."""

    @property
    def reader(self) -> MetricReader:
        """The reader."""

    def histograms(self) -> dict[Key, Point]:
        """Collect, and tell every histogram series of otel-ws."""


class Twice(AssertionError):
    """A series was emitted twice in one collection."""


def _keep(found: dict[Key, Point], key: Key, point: Point) -> None:
    if key in found:
        raise Twice(key)
    found[key] = point


class Memory:
    """The in-memory reader."""

    def __init__(self, temporality: AggregationTemporality = CUMULATIVE, **more: Any) -> None:
        self.reader = InMemoryMetricReader(preferred_temporality={HistogramKind: temporality}, **more)

    def metrics(self) -> list[Any]:
        """Everything that was collected, of every scope."""
        data = self.reader.get_metrics_data()
        resources = data.resource_metrics if data is not None else []
        return [metric for one in resources for scope in one.scope_metrics for metric in scope.metrics]

    def histograms(self) -> dict[Key, Point]:
        """As the SDK's own data classes."""
        found: dict[Key, Point] = {}
        for metric in self.metrics():
            for point in metric.data.data_points:
                if hasattr(point, "bucket_counts"):
                    key = (metric.name, tuple(sorted(point.attributes.items())))
                    told = [(one.value, one.trace_id, one.span_id, one.filtered_attributes) for one in point.exemplars]
                    _keep(
                        found,
                        key,
                        Point(
                            metric.unit,
                            point.count,
                            point.sum,
                            tuple(point.explicit_bounds),
                            tuple(point.bucket_counts),
                            metric.data.aggregation_temporality,
                            point.start_time_unix_nano,
                            point.time_unix_nano,
                            told,
                        ),
                    )
        return found


class Otlp:
    """A periodic reader whose exporter speaks OTLP to a sink in this process; it collects when it is told to."""

    def __init__(self, exporter: Any, received: list[bytes]) -> None:
        self.reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
        self._received = received

    def histograms(self) -> dict[Key, Point]:
        """As the sink decodes them."""
        self._received.clear()
        self.reader.collect()
        found: dict[Key, Point] = {}
        for body in self._received:
            request = ExportMetricsServiceRequest.FromString(body)
            metrics = [m for one in request.resource_metrics for scope in one.scope_metrics for m in scope.metrics]
            for metric in metrics:
                for point in metric.histogram.data_points:
                    labels = tuple(sorted((one.key, one.value.string_value) for one in point.attributes))
                    told = [
                        (
                            one.as_double,
                            int.from_bytes(one.trace_id),
                            int.from_bytes(one.span_id),
                            {pair.key: pair.value for pair in one.filtered_attributes},
                        )
                        for one in point.exemplars
                    ]
                    _keep(
                        found,
                        (metric.name, labels),
                        Point(
                            metric.unit,
                            point.count,
                            point.sum,
                            tuple(point.explicit_bounds),
                            tuple(point.bucket_counts),
                            AggregationTemporality(metric.histogram.aggregation_temporality),
                            point.start_time_unix_nano,
                            point.time_unix_nano,
                            told,
                        ),
                    )
        return found


class Prometheus:
    """The Prometheus reader on a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        if "registry" in inspect.signature(PrometheusMetricReader).parameters:
            self.reader: MetricReader = PrometheusMetricReader(registry=self.registry)
        else:  # before 0.65 the registry was the global one
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("opentelemetry.exporter.prometheus.REGISTRY", self.registry)
                self.reader = PrometheusMetricReader()
            self.reader.shutdown = lambda *_args, **_more: None  # type: ignore[method-assign]

    def histograms(self) -> dict[Key, Point]:
        """As the exporter's text format has them, its cumulative buckets told apart again."""
        declared = {one.prometheus_name: one for one in HISTOGRAMS}
        buckets: dict[Key, list[tuple[float, int]]] = {}
        sums: dict[Key, float] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                base, _, part = sample.name.rpartition("_")
                if base in declared:
                    labels = {key: value for key, value in sample.labels.items() if not key.startswith("otel_scope_")}
                    bound = labels.pop("le", "")
                    # To Prometheus an empty label is none: the text has each label of a family on all of its series.
                    labels = {key: value for key, value in labels.items() if value}
                    key = (declared[base].name, tuple(sorted(labels.items())))
                    if part == "bucket":
                        buckets.setdefault(key, []).append((float(bound), int(sample.value)))
                    elif part == "sum":
                        if key in sums:
                            raise Twice(key)
                        sums[key] = sample.value
        found: dict[Key, Point] = {}
        for key, rows in buckets.items():
            below = [0, *(count for _, count in rows)]
            own = tuple(now - before for before, now in pairwise(below))
            bounds = tuple(bound for bound, _ in rows if bound != math.inf)
            unit = next(one.unit for one in HISTOGRAMS if one.name == key[0])
            found[key] = Point(unit, rows[-1][1], sums[key], bounds, own, CUMULATIVE)
        return found


@dataclass
class Sinks:
    """Where the OTLP exporters send to: an HTTP server and a gRPC server of this process."""

    http_url: str
    grpc_target: str
    http_received: list[bytes]
    grpc_received: list[bytes]

    def http(self, temporality: AggregationTemporality) -> Otlp:
        """A reader that exports over HTTP."""
        exporter = HttpExporter(endpoint=self.http_url, preferred_temporality={HistogramKind: temporality})
        return Otlp(exporter, self.http_received)

    def grpc(self, temporality: AggregationTemporality) -> Otlp:
        """A reader that exports over gRPC."""
        exporter = GrpcExporter(
            endpoint=self.grpc_target, insecure=True, preferred_temporality={HistogramKind: temporality}
        )
        return Otlp(exporter, self.grpc_received)

    def readout(self, kind: str, temporality: AggregationTemporality) -> Readout:
        """A reader by its name in a test's parameters."""
        if kind == "prometheus":
            return Prometheus()
        if kind == "memory":
            return Memory(temporality)
        return self.http(temporality) if kind == "http" else self.grpc(temporality)


@pytest.fixture(scope="module")
def sinks() -> Iterator[Sinks]:
    """Both servers, for all tests of this module."""
    over_http: list[bytes] = []
    over_grpc: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        """Keeps the bodies that are posted."""

        def do_POST(self) -> None:
            """Keep one."""
            over_http.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    def export(request: bytes, _context: Any) -> bytes:
        over_grpc.append(request)
        return bytes(ExportMetricsServiceResponse().SerializeToString())

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
    rpc = grpc.server(ThreadPoolExecutor(1))
    rpc.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"Export": grpc.unary_unary_rpc_method_handler(export)}),)
    )
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    yield Sinks(f"http://127.0.0.1:{web.server_port}/v1/metrics", f"127.0.0.1:{port}", over_http, over_grpc)
    rpc.stop(None).wait()
    web.shutdown()
    web.server_close()


# --- one process's telemetry ------------------------------------------------------------------------------------
class Counted(IdGenerator):
    """Ids that count."""

    def __init__(self) -> None:
        self._next = 0

    def generate_span_id(self) -> int:
        """The next number."""
        self._next += 1
        return self._next

    def generate_trace_id(self) -> int:
        """The next number, larger."""
        return (1 << 64) + self.generate_span_id()


class Process:
    """A recorder on providers of the test's own, with the fast path chosen as at start-up."""

    def __init__(
        self,
        readers: Iterable[MetricReader] = (),
        provider: MeterProvider | None = None,
        views: Iterable[View] = (),
        sampler: Sampler = ALWAYS_ON,
        exemplar_filter: Any = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock(1024.0)
        self.provider: MeterProvider = provider or SdkProvider(
            list(readers), views=list(views), exemplar_filter=exemplar_filter, shutdown_on_exit=False
        )
        self.book = Book()
        self.spans = InMemorySpanExporter()
        self._tracers = TracerProvider(sampler=sampler, id_generator=Counted(), shutdown_on_exit=False)
        self._tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self._settings = Settings.load({}, {}, message_types="chat,move", **settings)
        self.recorder = self.record()

    def record(self) -> Recorder:
        """A recorder on these providers."""
        ids = iter(range(1, 1000))
        policy = Policy()
        policy.declare(semconv.TEMPLATE, ["room_{room_id}"])
        recorder = Recorder(
            self._settings,
            policy,
            tracer_provider=self._tracers,
            meter_provider=self.provider,
            clock=self.clock,
            new_id=lambda: next(ids),
        )
        fast.speed_up(recorder)
        return recorder

    @property
    def bridged(self) -> set[str]:
        """Names of the histograms that do not go by the API."""
        return {one.name for one in HISTOGRAMS - self.recorder.by_api}

    # --- the acts of a conversation: each writes down what must be read -----------------------------------------
    def connect(self, setup: float = 0.0625, user: int = 7, held: int = 1) -> Connection:
        """A connection that is accepted after ``setup`` seconds."""
        kwargs = {"match_id": 3}
        scope = {"type": "websocket", "user": User(user), "role": "player", "url_route": {"kwargs": kwargs}}
        connection = Connection(self.recorder, scope)
        connection.route_matched(0, ROUTE)
        self.clock.now += setup
        accept = {"type": "websocket.accept"}
        connection.sent(accept, connection.sending())
        self.book.note(semconv.CONNECTION_SETUP, setup, **DOOR, status="accepted")
        self.book.note(semconv.USER_CONNECTIONS, held)
        return connection

    def reject(self, setup: float = 2.0) -> None:
        """A connection that is refused."""
        connection = Connection(self.recorder, {"type": "websocket"})
        connection.route_matched(0, ROUTE)
        self.clock.now += setup
        close = {"type": "websocket.close", "code": 1008}
        connection.sent(close, connection.sending())
        connection.returned()
        self.book.note(semconv.CONNECTION_SETUP, setup, **DOOR, status="rejected")

    def message(
        self,
        connection: Connection,
        text: str,
        kind: str = "chat",
        seconds: float = 0.125,
        waited: float = 0.0,
        exc: Exception | None = None,
    ) -> None:
        """A client's message from its arrival until its handler ended."""
        connection.received({"type": "websocket.receive", "text": text}, self.clock() - 1.0)
        self.clock.now += waited
        handling = Handling(connection, "websocket.receive", "receive", True)
        handling.note_type(kind)
        self.clock.now += seconds
        handling.end(exc)
        self.book.note(semconv.MESSAGE_SIZE, len(text), transport="websocket", direction="receive")
        self.book.note(semconv.MESSAGE_LATENCY, seconds, **DOOR, **{TYPED: kind})
        self.book.note(semconv.MESSAGE_WAIT, waited, **DOOR)

    def send(self, connection: Connection, text: str, seconds: float = 0.25, exc: Exception | None = None) -> None:
        """A message to the client, which the server took or refused."""
        message = {"type": "websocket.send", "text": text}
        started_at = connection.sending()
        self.clock.now += seconds
        connection.sent(message, started_at, exc)
        self.book.note(semconv.SEND_DURATION, seconds, **DOOR)
        if exc is None:
            self.book.note(semconv.MESSAGE_SIZE, len(text), transport="websocket", direction="transmit")

    def close(self, connection: Connection, after: float = 64.0) -> None:
        """The client leaves, ``after`` seconds after it was accepted."""
        self.clock.now = connection.accepted_at + after
        connection.disconnected(1000)
        connection.returned()
        labels = {"transport": "websocket", "scope_type": "match", "close_code": "1000"}
        self.book.note(semconv.CONNECTION_DURATION, after, **labels)

    def stream(self) -> None:
        """An event stream of nobody in particular: one event, told in a second, and a last part without any."""
        request = Request()
        request.recorder, request.scope, request.root_path = self.recorder, {"type": "http", "method": "GET"}, ""
        request.asked_at = self.clock()
        request.route_matched(0, ROUTE)
        self.clock.now += 0.5
        start = {"type": "http.response.start", "status": 200, "headers": []}
        stream = request.open(start)
        stream.sent(start, stream.sending())
        self.clock.now += 1.0
        self._part(stream, b"data: e4\n\n", more_body=True)
        self._part(stream, b"", more_body=False)
        stream.returned()
        door = {**DOOR, "transport": "sse"}
        self.book.note(semconv.CONNECTION_SETUP, 0.5, **door, status="accepted")
        self.book.note(semconv.FIRST_EVENT, 1.75, http_route=ROUTE)
        self.book.note(semconv.MESSAGE_SIZE, 10, transport="sse", direction="transmit")
        for _ in range(2):
            self.book.note(semconv.SEND_DURATION, 0.25, **door)
        self.book.note(semconv.CONNECTION_DURATION, 1.5, transport="sse", scope_type="global")

    def _part(self, stream: EventStream, body: bytes, more_body: bool) -> None:
        started_at = stream.sending()
        self.clock.now += 0.25
        stream.sent({"type": "http.response.body", "body": body, "more_body": more_body}, started_at)

    def task(self, seconds: float = 0.75, exc: Exception | None = None) -> None:
        """A message of a worker's channel until its handler ended."""
        worker = Worker(self.recorder, "room_{room_id}")
        task = Task(worker, "payment.capture", "payment_capture", None)
        self.clock.now += seconds
        task.end(exc)
        worker.ended()
        labels = {"messaging_system": "django_channels", "messaging_operation_name": "process"}
        labels |= {"messaging_destination_template": "room_{room_id}", "ws_handler": "payment_capture"}
        if exc is not None:
            labels["error_type"] = type(exc).__name__
        self.book.note(semconv.PROCESS_DURATION, seconds, **labels)

    def delivery(self, connection: Connection) -> None:
        """A message of the channel layer goes to its handler, a quarter of a second after it was sent."""
        inbox = Inbox(self.recorder.now_ns)
        inbox.carrier = Carrier(1.75, "room_{room_id}", None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.recorder, "now_ns", lambda: 2_000_000_000)
            inbox.taken(connection)
        self.book.note(semconv.LAYER_LAG, 0.25, messaging_destination_template="room_{room_id}")
        self.book.note(semconv.MESSAGE_WAIT, 0.25, http_route=connection.door[0], transport=connection.door[1])

    def rest(self) -> None:
        """What is no message: a ping, a broadcast, a lag of the event loop."""
        self.recorder.ping_measured(None, 0.5)
        self.book.note(semconv.PING_DURATION, 0.5, http_route="_OTHER", transport="websocket")
        self.recorder.broadcast_sent(None, "room_{room_id}", 60, 0.25, None)
        self.book.note(semconv.BROADCAST_DURATION, 0.25, messaging_destination_template="room_{room_id}")
        self.book.note(semconv.BROADCAST_RECIPIENTS, 60, messaging_destination_template="room_{room_id}")
        self.recorder.loop_lagged(0.03125)
        self.book.note(semconv.LOOP_LAG, 0.03125)

    def first_round(self) -> Connection:
        """Something in every histogram; one connection stays open."""
        connection = self.connect()
        self.message(connection, "hello", seconds=0.00390625, waited=0.0009765625)
        self.message(connection, "e4" * 200, kind="move", seconds=0.125, exc=ValueError("secret"))
        self.message(connection, "", seconds=0.25)
        self.send(connection, "pong")
        self.send(connection, "x" * 3000, seconds=11.0, exc=OSError())
        self.reject()
        self.close(self.connect(1.0, held=2))
        self.stream()
        self.task()
        self.task(11.0, ValueError("secret"))
        self.delivery(connection)
        self.rest()
        return connection

    def second_round(self, connection: Connection) -> None:
        """More for some series, a new series, and nothing for the others."""
        self.message(connection, "hello", seconds=0.5)
        self.message(connection, "hi", kind="unknown", seconds=6.0)
        self.task(0.00390625)
        self.delivery(connection)
        self.close(connection, 4096.0)


@pytest.fixture(autouse=True)
def _no_faults() -> Iterator[None]:
    """Nothing failed that was hidden from the application, unless the test says so."""
    faults.reset()
    yield
    assert {} == faults.snapshot()


READERS = [(kind, CUMULATIVE) for kind in ("memory", "http", "grpc", "prometheus")]
READERS += [(kind, DELTA) for kind in ("memory", "http", "grpc")]
each_reader = pytest.mark.parametrize(
    ("kind", "temporality"), READERS, ids=[f"{kind}-{temporality.name.lower()}" for kind, temporality in READERS]
)
each_path = pytest.mark.parametrize("path", ["ledger", "api"])


# --- conformance ------------------------------------------------------------------------------------------------
@each_path
@each_reader
def test_one_conversation_reads_the_same_everywhere(
    sinks: Sinks, path: str, kind: str, temporality: AggregationTemporality
) -> None:
    """Names, units, labels, counts, sums, bounds and buckets are those of the acts, at each of two collections."""
    readout = sinks.readout(kind, temporality)
    process = Process([readout.reader], histograms=path)
    connection = process.first_round()
    first = process.book.points()
    if temporality is DELTA:
        process.book = Book()

    seen_first = readout.histograms()
    process.second_round(connection)
    seen_second = readout.histograms()

    assert {one.name for one in HISTOGRAMS} == {name for name, _ in first}
    assert (set() if path == "api" else {one.name for one in HISTOGRAMS}) == process.bridged
    assert first == seen_first
    assert process.book.points() == seen_second
    assert {temporality} == {point.temporality for point in (*seen_first.values(), *seen_second.values())}


@each_path
def test_counters_and_gauges_do_not_depend_on_the_way_of_the_histograms(path: str) -> None:
    """Everything that is not a histogram is collected once, with the same values."""
    readout = Memory()
    process = Process([readout.reader], histograms=path)
    process.second_round(process.first_round())

    seen = [metric for metric in readout.metrics() if not hasattr(metric.data.data_points[0], "bucket_counts")]

    values = {metric.name: sum(point.value for point in metric.data.data_points) for metric in seen}
    told = {name: values[name] for name in ("ws.messages", "ws.messages.sent", "ws.connections", "ws.errors")}
    assert {"ws.messages": 5, "ws.messages.sent": 3, "ws.connections": 6, "ws.errors": 2} == told
    assert len(values) == len(seen)


@each_path
def test_there_is_one_metric_of_each_name(path: str) -> None:
    """No name comes twice in one collection, and all are in the scope of otel-ws."""
    readout = Memory()
    process = Process([readout.reader], histograms=path)
    process.first_round()

    data = readout.reader.get_metrics_data()

    assert data is not None
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    names = [metric.name for metric in scope.metrics]
    assert sorted(set(names)) == sorted(names)
    assert (semconv.SCOPE_NAME, semconv.SCHEMA_URL) == (scope.scope.name, scope.schema_url)


def test_the_descriptions_are_those_of_the_table() -> None:
    """A bridged metric carries the description that the API's instrument would carry."""
    readout = Memory()
    process = Process([readout.reader])
    process.first_round()

    told = {metric.name: metric.description for metric in readout.metrics()}

    assert {one.name: one.brief for one in HISTOGRAMS} == {one.name: told[one.name] for one in HISTOGRAMS}


# --- times ------------------------------------------------------------------------------------------------------
def test_cumulative_points_start_when_counting_began() -> None:
    """The start time is the ledger's at every collection; the time moves on."""
    readout = Memory()
    process = Process([readout.reader])
    connection = process.first_round()

    before = readout.histograms()
    process.second_round(connection)
    after = readout.histograms()

    starts = {point.start_ns for point in (*before.values(), *after.values())}
    assert {process.recorder.ledger.started_ns} == starts
    assert all(point.start_ns < point.time_ns for point in (*before.values(), *after.values()))
    assert all(before[key].time_ns < after[key].time_ns for key in before)


def test_delta_points_follow_each_other() -> None:
    """A point starts where the collection before it ended, also if that one had nothing of its series."""
    readout = Memory(DELTA)
    process = Process([readout.reader])
    connection = process.first_round()
    first = readout.histograms()
    second = readout.histograms()

    process.second_round(connection)
    third = readout.histograms()

    (ended,) = {point.time_ns for point in first.values()}
    starts = {point.start_ns for point in third.values()}
    assert {process.recorder.ledger.started_ns} == {point.start_ns for point in first.values()}
    assert {} == second
    assert 1 == len(starts)
    assert ended < starts.pop() < min(point.time_ns for point in third.values())


@each_path
def test_a_delta_reader_is_not_told_of_unchanged_series(path: str) -> None:
    """Series without a new value are absent, and all of them are where nothing happened."""
    readout = Memory(DELTA)
    process = Process([readout.reader], histograms=path)
    connection = process.first_round()
    readout.histograms()
    process.message(connection, "hello")

    changed = {name for name, _ in readout.histograms()}
    quiet = readout.histograms()

    assert {"ws.message.latency", "ws.message.wait", "ws.message.size"} == changed
    assert {} == quiet


# --- several readers --------------------------------------------------------------------------------------------
def test_two_readers_on_one_provider_are_each_told_all() -> None:
    """A cumulative and a delta reader that collect at different times do not disturb each other."""
    total, change = Memory(), Memory(DELTA)
    process = Process([total.reader, change.reader])
    connection = process.first_round()
    first = process.book.points()

    change_first = change.histograms()
    process.book.values, before = {}, process.book.values
    process.second_round(connection)
    second = process.book.points()
    for key, values in before.items():
        process.book.values[key] = [*values, *process.book.values.get(key, [])]
    change_second, total_only = change.histograms(), total.histograms()

    assert [first, second] == [change_first, change_second]
    assert process.book.points() == total_only


@pytest.mark.parametrize("temporality", [CUMULATIVE, DELTA])
@pytest.mark.skipif(not hasattr(SdkProvider, "add_metric_reader"), reason="this SDK takes readers only at its start")
def test_a_reader_that_comes_later_is_told_all(temporality: AggregationTemporality) -> None:
    """Its first collection holds everything since the start, its second what its temporality says."""
    process = Process([Memory().reader])
    connection = process.first_round()
    late = Memory(temporality)
    process.provider.add_metric_reader(late.reader)  # type: ignore[attr-defined]
    first = process.book.points()
    if temporality is DELTA:
        process.book = Book()

    seen_first = late.histograms()
    process.second_round(connection)

    assert first == seen_first
    assert process.book.points() == late.histograms()


# --- exemplars --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["memory", "http", "grpc"])
def test_a_bucket_has_the_ids_of_its_last_sampled_message(sinks: Sinks, kind: str) -> None:
    """The exemplar is the last message of the bucket, with its value and its span's ids, and no attributes."""
    readout = sinks.readout(kind, CUMULATIVE)
    process = Process([readout.reader])
    connection = process.connect()
    for seconds in (0.125, 0.1875, 6.0):
        process.message(connection, "x", seconds=seconds)

    told = readout.histograms()["ws.message.latency", tuple(sorted({**DOOR, TYPED: "chat"}.items()))].exemplars

    _, _, fast_one, slow_one = process.spans.get_finished_spans()
    ids = [(span.context.trace_id, span.context.span_id) for span in (fast_one, slow_one)]
    assert [(0.1875, *ids[0], {}), (6.0, *ids[1], {})] == told


def test_only_the_latency_of_messages_has_exemplars() -> None:
    """No other histogram claims a trace."""
    readout = Memory()
    process = Process([readout.reader])
    process.first_round()

    told = {name for (name, _), point in readout.histograms().items() if point.exemplars}

    assert {"ws.message.latency"} == told


@pytest.mark.parametrize("temporality", [CUMULATIVE, DELTA])
def test_an_exemplar_is_given_once(temporality: AggregationTemporality) -> None:
    """A reader that had an exemplar gets only those that came since."""
    readout = Memory(temporality)
    process = Process([readout.reader])
    connection = process.connect()
    process.message(connection, "x", seconds=0.125)
    readout.histograms()
    process.message(connection, "x", seconds=6.0)

    (told,) = [point.exemplars for (name, _), point in readout.histograms().items() if name == "ws.message.latency"]

    assert [6.0] == [value for value, *_ in told]


def test_a_message_that_is_not_sampled_is_no_exemplar() -> None:
    """Where the sampler drops every span there is nothing to point to."""
    readout = Memory()
    process = Process([readout.reader], sampler=ALWAYS_OFF)
    process.first_round()

    told = [point.exemplars for point in readout.histograms().values()]

    assert [] == [one for one in told if one]


@pytest.mark.parametrize(
    ("given", "expected"), [(AlwaysOffExemplarFilter(), 0), (AlwaysOnExemplarFilter(), 3)], ids=["off", "on"]
)
def test_the_users_exemplar_filter_is_honoured(given: Any, expected: int) -> None:
    """``AlwaysOff`` takes exemplars away; with ``AlwaysOn`` they are still those of sampled messages."""
    readout = Memory()
    process = Process([readout.reader], exemplar_filter=given)
    process.first_round()

    told = [one for point in readout.histograms().values() for one in point.exemplars]

    assert expected == len(told)


# --- who goes by the API ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ({"instrument_name": "ws.message.latency"}, {"ws.message.latency"}),
        ({"instrument_name": "ws.message.*"}, {"ws.message.latency", "ws.message.wait", "ws.message.size"}),
        ({"instrument_unit": "By"}, {"ws.message.size"}),
        ({"instrument_type": HistogramKind}, {one.name for one in HISTOGRAMS}),
        ({"meter_name": "otel_ws"}, {one.name for one in HISTOGRAMS}),
        ({"meter_name": "somebody_else", "instrument_name": "*"}, set()),
        ({"instrument_name": "ws.messages"}, set()),
        ({"instrument_type": Counter}, set()),
    ],
    ids=["name", "wildcard", "unit", "type", "meter", "other meter", "other name", "other type"],
)
def test_a_view_sends_what_it_matches_by_the_api(selected: dict[str, Any], expected: set[str]) -> None:
    """The instruments that a View selects are the SDK's; the others stay on the bridge."""
    process = Process([Memory().reader], views=[View(**selected)])

    assert {one.name for one in HISTOGRAMS} - expected == process.bridged


def test_a_view_has_its_effect_and_the_others_are_not_touched() -> None:
    """Bounds and labels of the View, while a histogram that it does not match keeps its own."""
    view = View(
        instrument_name="ws.message.latency",
        aggregation=ExplicitBucketHistogramAggregation((1.0, 2.0)),
        attribute_keys={TYPED},
    )
    readout = Memory()
    process = Process([readout.reader], views=[view])
    process.second_round(process.first_round())

    seen = readout.histograms()

    latency = {labels: (point.bounds, point.buckets) for (name, labels), point in seen.items() if "latency" in name}
    assert {
        ((TYPED, "chat"),): ((1.0, 2.0), (3, 0, 0)),
        ((TYPED, "move"),): ((1.0, 2.0), (1, 0, 0)),
        ((TYPED, "unknown"),): ((1.0, 2.0), (0, 0, 1)),
    } == latency
    expected = {key: point for key, point in process.book.points().items() if "latency" not in key[0]}
    assert expected == {key: point for key, point in seen.items() if "latency" not in key[0]}


def test_a_view_that_drops_a_histogram_drops_it() -> None:
    """What the user does not want does not come back by the bridge."""
    readout = Memory()
    view = View(instrument_name="ws.message.size", aggregation=DropAggregation())
    process = Process([readout.reader], views=[view])
    process.first_round()

    seen = {name for name, _ in readout.histograms()}

    assert {one.name for one in HISTOGRAMS} - {"ws.message.size"} == seen


def test_histograms_survive_views_that_drop_everything_else() -> None:
    """Where no counter or gauge of otel-ws is collected, the histograms come in a scope of their own."""
    kinds = (ObservableCounter, ObservableUpDownCounter, ObservableGauge)
    readout = Memory()
    views = [View(instrument_type=kind, meter_name="otel_ws", aggregation=DropAggregation()) for kind in kinds]
    process = Process([readout.reader], views=views)
    process.provider.get_meter("other").create_counter("other").add(1)
    process.first_round()

    seen = readout.histograms()

    assert process.book.points() == seen


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        (ExponentialBucketHistogramAggregation(), set()),
        (ExplicitBucketHistogramAggregation((1.0,)), set()),
        (ExplicitBucketHistogramAggregation(), {one.name for one in HISTOGRAMS}),
    ],
    ids=["exponential", "own bounds", "plain"],
)
def test_another_aggregation_preference_goes_by_the_api(aggregation: Any, expected: set[str]) -> None:
    """One reader that wants other buckets sends the histograms of its provider by the API."""
    readers = [Memory().reader, Memory(preferred_aggregation={HistogramKind: aggregation}).reader]

    process = Process(readers)

    assert expected == process.bridged


def test_an_exponential_reader_gets_exponential_histograms() -> None:
    """Its preference has its effect: the same counts in the SDK's exponential buckets."""
    readout = Memory(preferred_aggregation={HistogramKind: ExponentialBucketHistogramAggregation()})
    process = Process([readout.reader])
    process.first_round()

    found = [metric for metric in readout.metrics() if isinstance(metric.data, ExponentialHistogram)]

    counts = {metric.name: sum(point.count for point in metric.data.data_points) for metric in found}
    expected: dict[str, int] = {}
    for (name, _), point in process.book.points().items():
        expected[name] = expected.get(name, 0) + point.count
    assert expected == counts


def test_a_provider_that_is_not_the_sdks_goes_by_the_api() -> None:
    """Nothing is taken over from a provider whose insides nobody knows."""
    process = Process(provider=NoOpMeterProvider())
    process.first_round()

    assert set() == process.bridged


@pytest.mark.skipif(
    not hasattr(SdkProvider, "_set_meter_configurator"), reason="meters of this SDK cannot be switched off"
)
def test_a_meter_that_is_off_stays_off() -> None:
    """A user who switched our meter off gets no histograms of it, though other meters are collected."""

    class Switched:
        def __init__(self, is_enabled: bool) -> None:
            self.is_enabled = is_enabled

    readout = Memory()
    provider = SdkProvider([readout.reader], shutdown_on_exit=False)
    configure: Any = provider._set_meter_configurator
    configure(meter_configurator=lambda scope: Switched(scope.name != semconv.SCOPE_NAME))
    provider.get_meter("other").create_counter("other").add(1)
    Process(provider=provider).first_round()

    seen = [metric.name for metric in readout.metrics()]

    assert ["other"] == seen


def test_the_setting_api_takes_nothing_over() -> None:
    """With ``histograms="api"`` the readers keep their own methods."""
    readout = Memory()

    process = Process([readout.reader], histograms="api")

    assert (set(), False) == (process.bridged, "_receive_metrics" in vars(readout.reader))


PROXY = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from otel_ws import faults, semconv
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.settings import Settings

reader = InMemoryMetricReader()
def counts():
    data = reader.get_metrics_data()
    return [sum(point.count for point in metric.data.data_points)
            for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
            if metric.name == "ws.ping.duration"]
def provide(*views):
    metrics.set_meter_provider(MeterProvider([reader], views=views, shutdown_on_exit=False))
def record():
    return Recorder(Settings.load({}, {}), Policy())
"""


def run(program: str, head: str = PROXY, **environ: str) -> str:
    """Run a program in a fresh interpreter; what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", head + textwrap.dedent(program)],
        env={**bare_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.strip()


@pytest.mark.parametrize("view", ["", 'View(instrument_name="ws.ping.*")'])
@pytest.mark.parametrize("order", ["set; speed", "speed; set"])
def test_a_provider_that_is_set_later_is_told_all(view: str, order: str) -> None:
    """Instruments that were made on the proxy reach the provider that came later, with and without a View."""
    steps = {"set": f"provide({view})", "speed": "fast.speed_up(recorder)"}
    program = "\n".join(
        [
            "recorder = record()",
            *(steps[step] for step in order.split("; ")),
            "recorder.ping_measured(None, 0.5)",
            "recorder.ping_measured(None, 0.5)",
            "print(counts(), counts(), faults.snapshot())",
        ]
    )

    told = run(program)

    assert "[2] [2] {}" == told


# --- the end, and once more -------------------------------------------------------------------------------------
def test_a_closed_recorder_gives_every_reader_its_own_method_back() -> None:
    """After the end the readers are as the SDK made them, and are told no histograms."""
    readouts = [Memory(), Memory(DELTA)]
    process = Process([one.reader for one in readouts])
    process.first_round()

    process.recorder.close()

    assert [False, False] == ["_receive_metrics" in vars(one.reader) for one in readouts]
    assert [{}, {}] == [one.histograms() for one in readouts]


def test_a_readers_own_interception_survives() -> None:
    """A method that somebody else had put on the reader is there again after the end, and was called all the time."""
    readout = Memory()
    seen: list[int] = []
    original = readout.reader._receive_metrics

    def theirs(data: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(sum(len(scope.metrics) for one in data.resource_metrics for scope in one.scope_metrics))
        original(data, *args, **kwargs)

    vars(readout.reader)["_receive_metrics"] = theirs
    process = Process([readout.reader])
    process.first_round()

    told = readout.histograms()
    process.recorder.close()

    assert process.book.points() == told
    assert 1 == len(seen)
    assert theirs is vars(readout.reader)["_receive_metrics"]


def test_an_interception_around_ours_does_not_keep_ours_alive() -> None:
    """Where somebody wrapped the reader after us, the end leaves their method, and ours only hands on."""
    readout = Memory()
    process = Process([readout.reader])
    process.first_round()
    ours = readout.reader._receive_metrics

    def theirs(data: Any, *args: Any, **kwargs: Any) -> None:
        ours(data, *args, **kwargs)

    vars(readout.reader)["_receive_metrics"] = theirs
    process.provider.get_meter("other").create_counter("other").add(1)

    process.recorder.close()

    assert theirs is vars(readout.reader)["_receive_metrics"]
    assert ["other"] == [metric.name for metric in readout.metrics()]


def test_a_second_call_adds_nothing_twice() -> None:
    """``speed_up`` on the same recorder leaves one bridge."""
    readout = Memory()
    process = Process([readout.reader])
    fast.speed_up(process.recorder)
    process.first_round()

    seen = readout.histograms()

    assert process.book.points() == seen


@each_path
def test_a_second_recorder_starts_anew(path: str) -> None:
    """A recorder after another on the same provider is told alone, whichever way the first one went."""
    readout = Memory()
    process = Process([readout.reader], histograms="ledger" if path == "api" else "api")
    process.first_round()
    readout.histograms()
    process.recorder.close()
    process._settings = Settings.load({}, {}, message_types="chat,move", histograms=path)
    process.book = Book()

    process.recorder = process.record()
    process.second_round(process.first_round())

    assert process.book.points() == readout.histograms()


# --- failures ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", ["point", "_added"])
def test_a_failure_hands_the_reader_its_data_unchanged(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other metrics arrive, the failure is counted, and the next collection has what was missed."""

    def fail(*_args: Any) -> None:
        raise RuntimeError

    readout = Memory(DELTA)
    process = Process([readout.reader])
    process.first_round()
    with monkeypatch.context() as patch:
        patch.setattr(bridge, place, fail)

        names = {metric.name for metric in readout.metrics()}

    assert ("ws.messages" in names, set()) == (True, names & process.bridged)
    assert {"bridge": 1} == faults.snapshot()
    assert process.book.points() == readout.histograms()
    faults.reset()


def test_a_foreign_shape_goes_by_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK that looks otherwise inside still gets every value, once."""

    def strange(_provider: Any) -> list[Any]:
        raise _private.ShapeError("readers")

    monkeypatch.setattr(_private, "readers", strange)
    readout = Memory()
    process = Process([readout.reader])
    process.first_round()

    seen = readout.histograms()

    assert set() == process.bridged
    assert process.book.points() == seen


def test_an_empty_collection_adds_nothing() -> None:
    """Before anything was counted no histogram is told."""
    readout = Memory()
    Process([readout.reader])

    seen = readout.histograms()

    assert {} == seen


def test_other_scopes_are_left_alone() -> None:
    """Metrics of other instrumentations arrive as they were, under their own scope."""

    def look(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(3)]

    readout = Memory()
    process = Process([readout.reader])
    meter = process.provider.get_meter("other")
    meter.create_observable_gauge("other.gauge", [look])
    meter.create_histogram("other.histogram").record(0.5)
    process.first_round()

    data = readout.reader.get_metrics_data()

    assert data is not None
    scopes = {scope.scope.name: {one.name for one in scope.metrics} for scope in data.resource_metrics[0].scope_metrics}
    assert {"other.gauge", "other.histogram"} == scopes["other"]


# --- forks ------------------------------------------------------------------------------------------------------
FORK = """
import os, sys
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from otel_ws import recorder as recorders
from otel_ws.sdk import fast
from otel_ws.settings import Settings

reader = InMemoryMetricReader({Histogram: AggregationTemporality[sys.argv[1]]})
provider = MeterProvider([reader], shutdown_on_exit=False)
recorder = recorders.install(Settings.load({}, {}), meter_provider=provider)
fast.speed_up(recorder)
def told():
    data = reader.get_metrics_data()
    return [(point.count, point.sum, [count for count in point.bucket_counts if count])
            for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
            if metric.name == "ws.ping.duration" for point in metric.data.data_points]
def fork(child):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            child()
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("temporality", ["CUMULATIVE", "DELTA"])
@pytest.mark.parametrize("values", [[0.25], [0.25, 0.25, 0.25]], ids=["fewer", "more"])
def test_a_forked_child_tells_its_own_values(temporality: str, values: list[float]) -> None:
    """Nothing of the parent's is in the child's points, nothing is negative, and the parent goes on as before."""
    program = f"""
        for value in (8.0, 8.0):
            recorder.ping_measured(None, value)
        print(told())
        def child():
            for value in {values}:
                recorder.ping_measured(None, value)
            print(told())
        fork(child)
        recorder.ping_measured(None, 8.0)
        print(told())
    """

    lines = run(program, FORK.replace("sys.argv[1]", repr(temporality))).splitlines()

    count = len(values)
    parent = (3, 24.0, [3]) if temporality == "CUMULATIVE" else (1, 8.0, [1])
    assert [str([(2, 16.0, [2])]), str([(count, 0.25 * count, [count])]), str([parent])] == lines


def test_a_provider_has_one_set_of_instruments() -> None:
    """Recorders on one provider share its instruments, which an SDK cannot unregister."""
    process = Process([Memory().reader])

    again = signal_metrics.metrics_for(process.provider, "1.2.3")

    assert process.recorder.metrics is again
