"""Short spans, joined by links: connect, one per client message, disconnect; never one for a whole connection.

Knows how a span is started, made current and finished. A span is named and described when it ends, because the
route and the message type are known only then; no exception is ever recorded on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Token
from random import getrandbits
from typing import Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer_provider,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otel_ws.semconv import SCHEMA_URL, SCOPE_NAME
from otel_ws.settings import Settings
from otel_ws.types import Cleared, Value

_PROPAGATOR: Final = TraceContextTextMapPropagator()
# W3C Trace Context, "traceparent Header Field Values": of version 00, the only one there is.
_TRACEPARENT_LENGTH: Final = 55
# What OpenTelemetry's instrumentations look for in the context before they make a span.
_SUPPRESS: Final = "suppress_instrumentation"
Headers = Iterable[tuple[object, object]]


class Spans:
    """Starts and finishes every span of otel-ws."""

    def __init__(
        self,
        provider: TracerProvider | None,
        version: str,
        settings: Settings,
        random: Callable[[], float],
    ) -> None:
        self._version = version
        self.bind(provider or get_tracer_provider())
        self._connect_context = settings.connect_context
        self._message_traces = settings.message_traces
        self._layer_context = settings.layer_context
        # Whether a client's message may name the span that it belongs to.
        self.follows_messages = settings.message_context == "link"
        self.has_messages = settings.message_traces != "off"
        self._ratio = settings.message_sample_ratio
        self._random = random

    def bind(self, provider: TracerProvider) -> None:
        """Make spans on this provider: the one that was set where there was a proxy."""
        self.provider = provider
        self.tracer = provider.get_tracer(SCOPE_NAME, self._version, SCHEMA_URL)
        self.maker: SpanMaker = ApiSpans(self.tracer)

    # --- starting ---------------------------------------------------------------------------------------
    def connect(self, headers: Headers, is_wanted: bool = True, start_time: int | None = None) -> Span:
        """Start the connect span; the handshake's ``traceparent`` is its parent, a link, or ignored.

        Where nobody takes spans (not ``is_wanted``), only a parent's ids are handed on. ``start_time``, where it is
        not now, is in Unix nanoseconds.
        """
        remote = _handshake(headers) if headers and self._connect_context != "ignore" else None
        if not is_wanted:
            is_parent = remote is not None and self._connect_context == "parent"
            return NonRecordingSpan(remote) if remote is not None and is_parent else INVALID_SPAN
        context = otel_context.get_current()
        links: list[Link] = []
        if remote is not None and self._connect_context == "parent":
            context = set_span_in_context(NonRecordingSpan(remote), context)
        elif remote is not None:
            links.append(Link(remote))
        return self._start("connect", SpanKind.SERVER, context, links, start_time)

    def resting(self) -> Span | None:
        """What stands for every message of one connection that is not kept: never exported, nor what runs under it."""
        return _unsampled(None) if self._ratio < 1.0 and self._message_traces == "linked" else None

    def message(self, connect: Span, links: list[Link] | None = None, resting: Span | None = None) -> Span | None:
        """Start the span of a client message, or ``None`` where message spans are off.

        ``links`` are those of ``link_to(connect)``, ``resting`` the span of ``resting()``, for a caller that kept them.
        """
        if self._message_traces == "off":
            return None
        if self._message_traces == "child":
            parent = set_span_in_context(connect)
            return self._start("message", SpanKind.SERVER, parent, []) if self._kept() else _unsampled(connect)
        if not self._kept():
            return resting or _unsampled(None)
        return self._start("message", SpanKind.SERVER, _rootless(), link_to(connect) if links is None else links)

    def follow(self, span: Span | None, traceparent: object) -> None:
        """Link a message's span to what the client's message calls its own, if that has the form of one."""
        if span is None or type(traceparent) is not str or len(traceparent) != _TRACEPARENT_LENGTH:
            return
        remote = _remote(traceparent)
        if remote is not None and span.is_recording():
            span.add_link(remote)

    def inner(self, outer: Span | None, connect: Span) -> Span | None:
        """Start the INTERNAL span of a nested consumer, under the outer consumer's message."""
        if self._message_traces == "off":
            return None
        parent = set_span_in_context(NonRecordingSpan(_ids_only(outer or connect)))
        return self._start("message", SpanKind.INTERNAL, parent, [])

    def disconnect(self, connect: Span) -> Span:
        """Start the disconnect span, linked to connect."""
        return self._start("disconnect", SpanKind.SERVER, _rootless(), link_to(connect))

    def publish(self) -> Span:
        """Start the span of a message to a channel layer, under whatever is current."""
        return self._start("publish", SpanKind.PRODUCER, otel_context.get_current(), [])

    def process(self, sender: SpanContext | None) -> Span | None:
        """Start the span of a channel layer's message, linked to its sender's or under it; ``None`` where off."""
        if self._message_traces == "off":
            return None
        if not self._kept():
            return _unsampled(None)
        if sender is not None and self._layer_context == "parent":
            return self._start("process", SpanKind.CONSUMER, set_span_in_context(NonRecordingSpan(sender)), [])
        return self._start("process", SpanKind.CONSUMER, _rootless(), [] if sender is None else [Link(sender)])

    def sent(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Cleared,
        error_type: str | None,
    ) -> None:
        """A span for a send that is over already, under whatever is current."""
        span = self.maker.start(name, SpanKind.INTERNAL, otel_context.get_current(), [], start_ns)
        self.maker.finish(span, name, by_key(attributes), error_type is not None, end_ns)

    def finish(self, span: Span, name: str, attributes: Cleared, error_type: str | None = None) -> None:
        """Name, describe and end a span. An error is a status and ``error.type``, never a text."""
        self.maker.finish(span, name, by_key(attributes), error_type is not None)

    def _start(
        self, name: str, kind: SpanKind, context: Context, links: list[Link], start_time: int | None = None
    ) -> Span:
        return self.maker.start(name, kind, context, links, start_time)

    def _kept(self) -> bool:
        return self._ratio >= 1.0 or self._random() < self._ratio


class SpanMaker(Protocol):
    """How spans are made and ended: by the API, or by `sdk` where it knows a cheaper way."""

    def is_taken(self) -> bool:
        """Whether anybody takes spans now."""

    def start(
        self, name: str, kind: SpanKind, context: Context, links: list[Link], start_time: int | None = None
    ) -> Span:
        """Start a span under what the context holds; times are Unix nanoseconds."""

    def finish(
        self, span: Span, name: str, attributes: dict[str, Value], is_error: bool, end_time: int | None = None
    ) -> None:
        """Name, describe and end it; the attributes are cleared, by key, and the maker's to keep."""


class ApiSpans:
    """A ``SpanMaker`` on any tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def is_taken(self) -> bool:
        """The API does not tell."""
        return True

    def start(
        self, name: str, kind: SpanKind, context: Context, links: list[Link], start_time: int | None = None
    ) -> Span:
        """Ask the tracer."""
        return self._tracer.start_span(
            name,
            context,
            kind,
            links=links,
            start_time=start_time,
            record_exception=False,
            set_status_on_exception=False,
        )

    def finish(
        self, span: Span, name: str, attributes: dict[str, Value], is_error: bool, end_time: int | None = None
    ) -> None:
        """Through the API's setters."""
        if span.is_recording():
            span.update_name(name)
            span.set_attributes(attributes)
            if is_error:
                span.set_status(Status(StatusCode.ERROR))
        span.end(end_time)


def by_key(attributes: Cleared) -> dict[str, Value]:
    """Cleared values as a span carries them."""
    return {attribute.key: value for attribute, value in attributes.items()}


# --- making current ---------------------------------------------------------------------------------------
def attach(span: Span | None) -> Token[Context]:
    """Make a span (or none) current, keeping everything else in the context; hand the token to ``detach``."""
    return otel_context.attach(set_span_in_context(INVALID_SPAN if span is None else span))


def current_but(span: Span) -> Context:
    """The context now, to come back to; without ``span``, if that is current."""
    context = otel_context.get_current()
    return set_span_in_context(INVALID_SPAN, context) if get_current_span(context) is span else context


def leave(span: Span, before: Context) -> None:
    """Come back to ``before``, if ``span`` is still current: what the application put there since stays."""
    if get_current_span() is span:
        otel_context.attach(before)


def detach(token: Token[Context]) -> None:
    """Undo ``attach``, in the coroutine that called it."""
    otel_context.detach(token)


def unobserved() -> Token[Context]:
    """Let other instrumentations overlook what is done here: our own housekeeping is not the application's."""
    return otel_context.attach(otel_context.set_value(_SUPPRESS, True))


def current_ids(span: Span | None) -> tuple[int, int]:
    """Trace id and span id of a span, or of the current one; zeros if there is none."""
    found = (get_current_span() if span is None else span).get_span_context()
    return found.trace_id, found.span_id


def in_context(span: Span | None) -> Context:
    """A context in which the span is current: for a log record that belongs to it."""
    return otel_context.get_current() if span is None else set_span_in_context(span)


def is_sampled(span: Span | None) -> bool:
    """Whether the span will be exported."""
    return span is not None and span.get_span_context().trace_flags.sampled


def _rootless() -> Context:
    context = otel_context.get_current()
    return context if get_current_span(context) is INVALID_SPAN else set_span_in_context(INVALID_SPAN, context)


def link_to(connect: Span) -> list[Link]:
    """The link from a later span to the connect span, made from ids alone."""
    if connect is INVALID_SPAN:
        return []
    ids = _ids_only(connect)
    return [Link(ids)] if ids.is_valid else []


def _ids_only(span: Span) -> SpanContext:
    # A remote parent's tracestate is the caller's text; a link carries ids alone.
    found = span.get_span_context()
    return SpanContext(found.trace_id, found.span_id, False, found.trace_flags)


def _unsampled(connect: Span | None) -> Span:
    """A span that is not exported, so that what runs under it is not exported as a stray root either."""
    parent = connect.get_span_context() if connect is not None else None
    trace_id = parent.trace_id if parent is not None and parent.is_valid else _fresh(128)
    return NonRecordingSpan(SpanContext(trace_id, _fresh(64), False, TraceFlags(TraceFlags.DEFAULT)))


def _fresh(bits: int) -> int:
    return getrandbits(bits) or 1


def _handshake(headers: Headers) -> SpanContext | None:
    """The ids of a handshake's ``traceparent``, without the tracestate that came with it."""
    said = [value for name, value in headers if isinstance(name, bytes) and name.lower() == b"traceparent"]
    if len(said) != 1 or not isinstance(said[0], bytes):
        return None
    return _remote(said[0].decode("latin-1"))


def _remote(traceparent: str) -> SpanContext | None:
    carrier = {"traceparent": traceparent}
    found = get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
    return SpanContext(found.trace_id, found.span_id, True, found.trace_flags) if found.is_valid else None
