"""A stranger's telemetry with one mark in every place, and receivers that keep the bytes they were sent."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_ws import faults, gate
from otel_ws.policy import Policy
from otel_ws.sdk import contrib

MARK = "alice"
MAIL = f"{MARK}@example.com"
DIRTY: dict[str, Any] = {
    f"{MARK}.key": 1,
    "user.email": MAIL,
    "client.address": f"{MARK}.example.com",
    "nested": {"name": [MAIL]},
    "raw": MAIL.encode(),
    "http.request.method": "GET",
}
# Points of older SDKs take no nested value.
FLAT = {key: value for key, value in DIRTY.items() if key != "nested"}
REQUESTS: dict[str, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}


class Stranger:
    """Somebody else's code, on providers of its own or ours, with the mark wherever a text can stand."""

    resource = Resource({"service.name": "arena", "host.name": f"{MARK}s-laptop", f"{MARK}": MAIL}, f"https://{MARK}")

    def span(self, provider: TracerProvider, name: str = f"GET /{MAIL}", scope: str = f"{MARK}.app") -> None:
        """A span with an event, a link, a failure and a remote parent."""
        state = TraceState([("vendor", MARK)])
        remote = SpanContext(5, 6, True, TraceFlags(TraceFlags.SAMPLED), state)
        context = set_span_in_context(NonRecordingSpan(remote), Context())
        tracer = provider.get_tracer(scope, f"1-{MARK}", f"https://{MARK}")
        links = [Link(remote, DIRTY)]
        span = tracer.start_span(name, context, SpanKind.SERVER, attributes=DIRTY, links=links)
        span.add_event(MAIL, DIRTY)
        span.record_exception(ValueError(MAIL), DIRTY)
        span.set_status(Status(StatusCode.ERROR, MAIL))
        span.end()

    def metric(self, provider: MeterProvider) -> None:
        """A metric that is known, with points that nobody may tell apart, and one that is nobody's."""
        meter = provider.get_meter(f"{MARK}.app", f"1-{MARK}", f"https://{MARK}")
        known = meter.create_up_down_counter("http.server.active_requests", MARK, MARK)
        known.add(2, FLAT)
        known.add(3, {**FLAT, "user.email": f"bob-{MAIL}"})
        meter.create_histogram("http.server.request.duration", "s", MARK).record(0.5, FLAT)
        meter.create_counter(f"orders.{MARK}", MARK, MARK).add(1, FLAT)

    def log(self, provider: LoggerProvider) -> None:
        """A record with a text, an exception's fields, and attributes."""
        provider.get_logger(f"{MARK}.app", f"1-{MARK}", f"https://{MARK}").emit(
            LogRecord(
                timestamp=1,
                severity_number=SeverityNumber.WARN,
                severity_text=f"WARN {MARK}",
                body=f"{MAIL} came",
                attributes={**DIRTY, "exception.message": MAIL, "exception.type": "ValueError"},
                event_name=f"{MARK}.came",
            )
        )


@pytest.fixture
def stranger() -> Stranger:
    """Somebody else's code."""
    return Stranger()


@pytest.fixture
def leaks() -> Callable[[object], bool]:
    """Whether the mark is in what was exported, by its text or its bytes."""
    return lambda found: MARK in (found.decode("latin-1") if isinstance(found, bytes) else str(found)).lower()


@pytest.fixture
def policy() -> Policy:
    """Words of its own."""
    return Policy()


@pytest.fixture(scope="package", autouse=True)
def _alone() -> Iterator[None]:
    """The gate finds every provider that the garbage collector knows; those of other tests are hidden from it.

    The SDK's exit hooks hold them, so they outlive their tests; and a smaller heap is quicker to look through.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """No gate is left open by a test, and nothing failed that was hidden, unless the test looked at it."""
    faults.reset()
    gate.uninstall()
    # The gate finds every provider that is alive, those of the test before too.
    gc.collect()
    yield
    gate.uninstall()
    contrib.are_ours_there = False
    left = faults.snapshot()
    faults.reset()
    assert {} == left


@pytest.fixture
def hidden() -> Callable[[], dict[str, int]]:
    """The failures that were hidden from the application so far, looked at and forgotten."""

    def look() -> dict[str, int]:
        found = faults.snapshot()
        faults.reset()
        return found

    return look


class Receiver:
    """What a collector would have got: requests by signal, as bytes."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {"traces": [], "metrics": [], "logs": []}

    def decoded(self, signal: str) -> list[Any]:
        """The requests of a signal, parsed."""
        return [REQUESTS[signal].FromString(body) for body in self.bodies[signal]]

    @property
    def everything(self) -> bytes:
        """All bytes."""
        return b"".join(body for bodies in self.bodies.values() for body in bodies)


@pytest.fixture
def http_receiver() -> Iterator[tuple[Receiver, str]]:
    """An OTLP receiver over HTTP, and its address."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.bodies[self.path.rpartition("/")[2]].append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def grpc_receiver() -> Iterator[tuple[Receiver, str]]:
    """An OTLP receiver over gRPC, and its address."""
    grpc = pytest.importorskip("grpc")
    receiver = Receiver()
    services = {
        "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
        "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
        "opentelemetry.proto.collector.logs.v1.LogsService": "logs",
    }

    def taker(signal: str) -> Any:
        def take(body: bytes, _: Any) -> bytes:
            receiver.bodies[signal].append(body)
            return b""

        return grpc.unary_unary_rpc_method_handler(take)

    server = grpc.server(ThreadPoolExecutor(2))
    for name, signal in services.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": taker(signal)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield receiver, f"http://127.0.0.1:{port}"
    server.stop(None).wait()
