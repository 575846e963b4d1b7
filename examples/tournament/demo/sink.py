"""An OTLP receiver on loopback: takes all three signals over HTTP, keeps them decoded, passes them on if asked."""

from __future__ import annotations

import gzip
import threading
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_SIGNALS: dict[str, tuple[type[Message], type[Message]]] = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


@dataclass
class Received:
    """Everything that came in, decoded, in order."""

    traces: list[ExportTraceServiceRequest] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    logs: list[ExportLogsServiceRequest] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)


class Sink:
    """The receiver; a context manager."""

    def __init__(self, forward_to: str | None = None) -> None:
        self.received = Received()
        self.keeps = True
        self.not_forwarded = 0
        self._forward_to = forward_to.rstrip("/") if forward_to else None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="otlp-sink", daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, path: str, body: bytes, encoding: str) -> bytes | None:
        """Decode one request; its answer, or ``None`` if it is not one of ours."""
        kinds = _SIGNALS.get(path)
        if kinds is None:
            return None
        request = kinds[0]()
        try:
            request.ParseFromString(gzip.decompress(body) if encoding == "gzip" else body)
        except Exception as exc:
            self.received.malformed.append(f"{path}: {type(exc).__name__}")
            return None
        if self.keeps:
            with self._lock:
                getattr(self.received, path.rpartition("/")[2]).append(request)
        answer: bytes = kinds[1]().SerializeToString()
        return answer

    def forward(self, path: str, body: bytes, encoding: str) -> None:
        """Pass a request on as it came; the demo does not depend on who listens there."""
        if self._forward_to is None:
            return
        headers = {"Content-Type": "application/x-protobuf"} | ({"Content-Encoding": encoding} if encoding else {})
        try:
            request = urllib.request.Request(self._forward_to + path, body, headers)
            urllib.request.urlopen(request, timeout=5).close()
        except (OSError, ValueError):
            self.not_forwarded += 1


def _handler(sink: Sink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            encoding = self.headers.get("Content-Encoding", "")
            answer = sink.take(self.path, body, encoding)
            self.send_response(400 if answer is None else 200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer or b"")))
            self.end_headers()
            self.wfile.write(answer or b"")
            if answer is not None:
                sink.forward(self.path, body, encoding)

        def log_message(self, *args: object) -> None:
            """Nothing: the demo has its own output."""

    return Handler
