"""What one span or log record costs at each wall of the gate: ``python tests/benchmarks/gate.py``, on an idle machine.

Prints nanoseconds beside those of a call that does nothing, because machines differ. Spans that conform and those
that hold what may not leave have five attributes of an HTTP request; the latter three more, an event and a text.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_ws import gate
from otel_ws.policy import Policy
from otel_ws.sdk._private import tracer_parts
from otel_ws.sdk.light import LightSpans, OwnRecord
from otel_ws.semconv import SCHEMA_URL, SCOPE_NAME

ROUNDS, SECONDS = 15, 0.02
CONFORMING: dict[str, Any] = {
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "network.protocol.version": "1.1",
    "url.scheme": "http",
    "server.port": 8000,
}
PERSONAL = {"url.path": "/u/ann/", "user_agent.original": "x", "client.address": "ann.example.com"}


def cost(act: Callable[[Any], object], given: object) -> float:
    """Nanoseconds of one call: the best of several rounds."""
    times, best = 1, float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(times):
            act(given)
        spent = time.perf_counter() - started
        best = min(best, spent / times)
        times = max(1, int(SECONDS / best))
    return best * 1e9


class Spans:
    """One of each, ended, and the entrance that they come to."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        own = self.provider.get_tracer(SCOPE_NAME, "1.0.0", SCHEMA_URL)
        maker = LightSpans(own, tracer_parts(self.provider, own), Policy())
        self.entrance = self.provider._active_span_processor
        # A span is made only where somebody takes it.
        self.provider.add_span_processor(SpanProcessor())
        self.light = maker.start("message", SpanKind.SERVER, Context(), [])
        self.entrance._span_processors = ()
        self.conforming = self._ended(CONFORMING)
        self.personal = self._ended({**CONFORMING, **PERSONAL}, is_failed=True)

    def _ended(self, attributes: dict[str, Any], *, is_failed: bool = False) -> Any:
        tracer = self.provider.get_tracer("opentelemetry.trace", "1.45.1")
        span: Any = tracer.start_span("GET", kind=SpanKind.SERVER, attributes=attributes)
        if is_failed:
            span.add_event("exception", {"exception.type": "ValueError", "exception.message": "ann"})
            span.set_status(Status(StatusCode.ERROR, "ann"))
        return span._readable_span()


def main() -> None:
    """Measure, and print a table."""
    spans = Spans()
    cases = {
        "span of ours": spans.light,
        "span that conforms": spans.conforming,
        "span with personal data": spans.personal,
    }
    without = {name: cost(spans.entrance.on_end, span) for name, span in cases.items()}
    opened = gate.install("all", Policy())
    print(f"{'a call that does nothing':42}{cost(lambda given: given, None):8.0f} ns")
    for name, span in cases.items():
        print(f"{name + ', at the entrance':42}{cost(spans.entrance.on_end, span) - without[name]:8.0f} ns")
    removing: Any = opened._removing
    for name, span in cases.items():
        entered = removing.entering("traces")(span)
        print(f"{name + ', at an exporter':42}{cost(removing.leaving('traces'), [entered] * 512) / 512:8.0f} ns")
    records = {"record of ours": OwnRecord(body="x"), "record with a text": LogRecord(body="ann", attributes=PERSONAL)}
    for name, record in records.items():
        made = ReadWriteLogRecord(record)
        print(f"{name + ', at the entrance':42}{cost(removing.entering('logs'), made):8.0f} ns")


if __name__ == "__main__":
    main()
