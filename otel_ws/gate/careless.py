"""A stranger's careless code, played: a span, an event, a link, a point and a log record with a mark in every field.

``otel-ws check --leaks`` runs it inside the application's context, to see what the gate makes of the worst. It uses
the public API alone, as the application's own code would, and refuses to know whether there is a gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from opentelemetry import baggage, context, metrics, trace
from opentelemetry._logs import SeverityNumber, get_logger
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

from otel_ws import semconv

SCOPE: Final = "stranger"
NUMBER: Final = 7


class Careless:
    """Emits; ``text`` makes the marked text for a place, ``word`` a marked word without spaces."""

    def __init__(self, text: Callable[[str], str], word: Callable[[str], str]) -> None:
        self._text = text
        self._word = word
        # Instruments are made once, as everywhere: each is a series for the rest of the process.
        self._counter = metrics.get_meter(word("a meter's name"), word("a meter's version")).create_counter(
            word("a metric's name"), word("a unit"), text("a metric's description")
        )
        self._histogram = metrics.get_meter(SCOPE).create_histogram(
            f"{SCOPE}.duration", "s", text("a histogram's description")
        )

    def act(self) -> None:
        """One of each signal."""
        token = context.attach(baggage.set_baggage(self._word("a baggage key"), self._text("a baggage value")))
        try:
            self._span()
            self._record()
        finally:
            context.detach(token)

    def _about(self, what: str) -> dict[str, object]:
        word, text = self._word, self._text
        return {
            "email": text(f"{what} value"),
            word(f"{what} key"): NUMBER,
            semconv.USER_ID.key: text(f"{what} value under an id's key"),
            "http.request.method": text(f"{what} value under a choice's key"),
            "people": [text(f"{what} value in a list"), word(f"{what} value in a list")],
            "first": word(f"{what} value, first half"),
            "second": word(f"{what} value, second half"),
        }

    def _span(self) -> None:
        word, text = self._word, self._text
        tracer = trace.get_tracer(word("a tracer's name"), word("a tracer's version"))
        elsewhere = SpanContext(0xA, 0xB, True, TraceFlags(1), TraceState([("vendor", word("a link's tracestate"))]))
        parent = trace.set_span_in_context(
            trace.NonRecordingSpan(
                SpanContext(0xC, 0xD, True, TraceFlags(1), TraceState([("vendor", word("a parent's tracestate"))]))
            )
        )
        with tracer.start_as_current_span(
            text("a span's name"),
            context=parent,
            attributes=self._about("a span attribute"),  # type: ignore[arg-type]
            links=[Link(elsewhere, self._about("a link attribute"))],  # type: ignore[arg-type]
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            span.add_event(text("a span event's name"), self._about("a span event attribute"))  # type: ignore[arg-type]
            told = {"exception.message": text("an exception's text"), "exception.stacktrace": text("a stack trace")}
            span.add_event("exception", {"exception.type": "ValueError", **told})
            span.set_status(Status(StatusCode.ERROR, text("a status description")))
            # Inside a sampled span, so that an exemplar may tell of it.
            about = {"email": text("a point attribute value"), word("a point attribute key"): NUMBER}
            self._counter.add(1, about)  # type: ignore[arg-type]
            self._histogram.record(0.1, about)  # type: ignore[arg-type]

    def _record(self) -> None:
        word, text = self._word, self._text
        for body in (text("a log body"), {word("a key in a log body"): [text("a list in a log body")]}):
            get_logger(word("a logger's name in OpenTelemetry")).emit(
                severity_number=SeverityNumber.WARN,
                severity_text=word("a severity text"),
                body=body,
                attributes=self._about("a log attribute"),  # type: ignore[arg-type]
                event_name=word("a log event's name"),
            )
