"""Spans and log records of our own for the SDK's pipeline: what they carry is cleared, so it is not checked again.

They stand in for the SDK's only where nothing can tell the difference (``_private`` says where). A handler's
``get_current_span()`` is one of these: what the application puts on it is kept until the end, then cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import time_ns
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
)

from otel_ws.foreign import Foreign
from otel_ws.policy import Policy
from otel_ws.sdk import contrib
from otel_ws.sdk._private import (
    LoggerParts,
    TracerParts,
    acts_on_ending,
    always_samples_roots,
    clear_contexts,
    clear_sdk_span,
    has_processors,
    ids_only,
    is_blind_at_start,
    processors,
    record_of,
)
from otel_ws.semconv import ERROR_TYPE, Level
from otel_ws.signals.events import Events
from otel_ws.signals.spans import ApiSpans
from otel_ws.types import EventRecord, Value

_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
# W3C trace context level 2; SDKs before 1.44 do not know the flag.
_RANDOM = int(getattr(TraceFlags, "RANDOM_TRACE_ID", 0))
_FLAGS = {
    (sampled, random): TraceFlags((TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT) | (_RANDOM if random else 0))
    for sampled in (True, False)
    for random in (True, False)
}
_SEVERITIES = {level.value: SeverityNumber(level.value) for level in Level}


class LightSpan(ReadableSpan, Span):
    """A span with the readable members of the SDK's and the writing ones of the API's."""

    # Every span begins with these; an instance holds only what differs.
    _instrumentation_info = None
    _end_time: int | None = None
    _status: Status = _UNSET
    _events: Sequence[Event] = ()
    # What the application puts on it, apart from what is exported: a thread that writes while the span ends writes
    # to what nobody exports any more.
    noted: tuple[Event, ...] = ()

    def __init__(
        self,
        maker: LightSpans,
        parts: TracerParts,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        links: Sequence[Link],
        attributes: dict[str, Any],
        start_time: int | None,
    ) -> None:
        self._maker = maker
        self._name = name
        self._made = self._context = context
        self._parent = parent
        self._kind = kind
        for link in links:
            if link.attributes is None:
                # As the SDK does: exporters of others rely on a mapping.
                link._attributes = {}
        self._links = links
        self.held = self._attributes = attributes
        self._resource = parts.tracer.resource
        self._instrumentation_scope = parts.scope
        self._start_time = time_ns() if start_time is None else start_time

    def get_span_context(self) -> SpanContext:
        """Ids and flags."""
        return self._made

    def is_recording(self) -> bool:
        """Whether it has not ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Keep an attribute until the end, when the policy decides about it."""
        if self._end_time is None:
            self.held[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Keep several."""
        if self._end_time is None:
            self.held.update(attributes)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Keep an event until the end."""
        if self._end_time is None:
            self.noted = (*self.noted, Event(name, dict(attributes or {}), timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Keep a link: its ids; attributes and trace state are somebody's text."""
        is_link = context and (context.is_valid or attributes or context.trace_state)
        if self._end_time is None and is_link:
            self._links = [*self._links, Link(ids_only(context), {})]

    def update_name(self, name: str) -> None:
        """Take no name: ours is put there at the end."""

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Take a status; its description does not leave. OK is final, as in the specification."""
        code = status.status_code if isinstance(status, Status) else status
        if self._end_time is None and code is not StatusCode.UNSET and self._status.status_code is not StatusCode.OK:
            self._status = Status(code)

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        """Keep that there was one: its class; the text and the stack do not leave."""
        self.add_event("exception", {ERROR_TYPE.key: type(exception).__name__, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End it before its time, as only the application does: without what is ours, and cleared as always."""
        if self._end_time is None:
            self._maker.finish(self, self._name, {}, False, end_time)


def clear_context(foreign: Foreign, context: SpanContext | None) -> SpanContext | None:
    """The same ids and flags; of the trace state what may leave. The context itself where that is all of it."""
    if context is None:
        return None
    found = context.trace_state
    if found is DEFAULT_TRACE_STATE and type(context) is SpanContext:
        return context
    # A stranger's own kind of state or text may say that it is empty, or equal to anything.
    is_plain = type(context) is SpanContext and type(found) is TraceState
    state = foreign.trace_state(found)
    if is_plain and len(state) == len(found) and all(found.get(key) is value for key, value in state.items()):
        return context
    kept = TraceState(list(state.items()))
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, kept)


class ClearedSpans(ApiSpans):
    """A ``SpanMaker`` that makes the SDK's spans; what the application put on one is cleared before it ends."""

    def __init__(self, tracer: Tracer, policy: Policy) -> None:
        super().__init__(tracer)
        self._foreign = Foreign(policy)

    def start(
        self, name: str, kind: SpanKind, context: Context, links: list[Link], start_time: int | None = None
    ) -> Span:
        """Ask the tracer, and remember what the sampler said."""
        if name != "message":
            context = contrib.look_around(context)
        span = super().start(name, kind, context, links, start_time)
        if isinstance(span, SdkSpan):
            # The application may end it before its time, and then nothing of ours would be asked.
            span.end = partial(self._ended_early, span, name)  # type: ignore[method-assign]
        return span

    def finish(
        self, span: Span, name: str, attributes: dict[str, Value], is_error: bool, end_time: int | None = None
    ) -> None:
        """Clear it, and put what is ours on it."""
        if isinstance(span, SdkSpan):
            if not span.is_recording():
                return
            self._clear(span)
        super().finish(span, name, attributes, is_error, end_time)

    def _ended_early(self, span: SdkSpan, name: str, end_time: int | None = None) -> None:
        if span.is_recording():
            self._clear(span)
            span.update_name(name)
        span.end(end_time)

    def exported(self, context: SpanContext | None) -> SpanContext | None:
        """A span's or its parent's ids as they may leave."""
        return clear_context(self._foreign, context)

    def _clear(self, span: SdkSpan) -> None:
        vars(span).pop("end", None)
        clear_contexts(span, self.exported)
        clear_sdk_span(span, self.cleared, self.event)

    def cleared(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Of what the application or a sampler put there, what may leave: they are strangers on a span of ours."""
        attributes = self._foreign.attributes("traces", found)
        return dict(found) if attributes is None else attributes

    def event(self, event: Event) -> Event:
        """An event as it may leave; of an exception the class remains."""
        found = dict(event.attributes or {})
        raised = found.pop("exception.type", None)
        # The SDK's own, by which its spans would differ from light ones.
        found.pop("exception.escaped", None)
        if type(raised) is str:
            found.setdefault(ERROR_TYPE.key, raised.rpartition(".")[2])
        return Event(self._foreign.event_name("traces", event.name), self.cleared(found), event.timestamp)


class LightSpans:
    """A ``SpanMaker`` that makes light spans, and the SDK's where a processor looks at spans when they start."""

    def __init__(self, tracer: Tracer, parts: TracerParts, policy: Policy) -> None:
        self._api = ClearedSpans(tracer, policy)
        self._parts = parts
        self._random = _RANDOM if getattr(parts.ids, "is_trace_id_random", bool)() else 0
        self._keeps_roots = always_samples_roots(parts.sampler)
        self._processors: tuple[SpanProcessor, ...] = ()
        self._is_blind = True
        self._on_ending: Callable[[Any], None] | None = None

    def is_taken(self) -> bool:
        """Whether any processor is registered."""
        return bool(processors(self._parts.processor))

    def _look(self) -> tuple[SpanProcessor, ...]:
        """The processors now; what follows from them is worked out anew only after one was added."""
        current = processors(self._parts.processor)
        if current is not self._processors:
            self._is_blind = all(is_blind_at_start(one) for one in current)
            self._on_ending = self._parts.on_ending if any(acts_on_ending(one) for one in current) else None
            self._processors = current
        return current

    def start(
        self, name: str, kind: SpanKind, context: Context, links: list[Link], start_time: int | None = None
    ) -> Span:
        """Ask the sampler, and start a span; one that is not sampled costs next to nothing."""
        parts = self._parts
        if name != "message":
            context = contrib.look_around(context)
        found = get_current_span(context).get_span_context()
        is_taken = bool(self._look())
        if not self._is_blind:
            return self._api.start(name, kind, context, links, start_time)
        parent = found if found.is_valid else None
        if parent is None:
            trace_id = parts.ids.generate_trace_id()
            random = self._random
            if self._keeps_roots and is_taken:
                made = SpanContext(trace_id, parts.ids.generate_span_id(), False, _FLAGS[True, bool(random)])
                return LightSpan(self, parts, name, made, None, kind, links, {}, start_time)
        else:
            trace_id = parent.trace_id
            random = parent.trace_flags & _RANDOM
        result = parts.sampler.should_sample(context, trace_id, name, kind, None, links)
        flags = _FLAGS[result.decision is Decision.RECORD_AND_SAMPLE, bool(random)]
        made = SpanContext(trace_id, parts.ids.generate_span_id(), False, flags, result.trace_state)
        if result.decision is Decision.DROP or not is_taken:
            # Without a processor nothing is exported, but the ids still go downstream and into log lines.
            return NonRecordingSpan(made)
        attributes = dict(result.attributes) if result.attributes else {}
        span = LightSpan(self, parts, name, made, parent, kind, links, attributes, start_time)
        if result.trace_state or (parent is not None and parent.trace_state):
            # What goes downstream is the caller's, as always; what is exported is cleared.
            span._context = self._api.exported(made) or made
            span._parent = self._api.exported(parent)
        return span

    def finish(
        self, span: Span, name: str, attributes: dict[str, Value], is_error: bool, end_time: int | None = None
    ) -> None:
        """Put what is ours on it; what the application put there is cleared by the policy."""
        if type(span) is LightSpan:
            if span._end_time is not None:
                return
            # First of all, so that who asks from now on writes nothing more; who asked before writes to what is left
            # behind here.
            span._end_time = time_ns() if end_time is None else end_time
            held = span.held
            if held:
                span.held = {}
                attributes = {**self._api.cleared(held.copy()), **attributes}
            noted = span.noted
            if noted:
                span.noted = ()
                span._events = tuple(self._api.event(event) for event in noted)
            span._attributes = attributes
            span._name = name
            span._made = span._context or span._made
            if is_error and span._status.status_code is not StatusCode.OK:
                span._status = _ERROR
            self._hand_over(span)
            return
        self._api.finish(span, name, attributes, is_error, end_time)

    def _hand_over(self, span: LightSpan) -> None:
        """To the processors that there are by now."""
        self._look()
        if self._on_ending is not None:
            self._on_ending(span)
        self._parts.processor.on_end(span)


class OwnRecord(LogRecord):
    """A log record of ours, to be told from a stranger's under our name: Python's logger ``otel_ws`` is one."""


class LightEvents(Events):
    """An ``EventWriter`` whose records skip the SDK's pass over attributes that are cleared already."""

    def __init__(self, provider: Any, version: str, parts: LoggerParts) -> None:
        super().__init__(provider, version)
        self._parts = parts

    def is_wanted(self) -> bool:
        """Whether any processor is registered."""
        return has_processors(self._parts)

    def write(self, record: EventRecord) -> None:
        """Hand one record to the provider's processors."""
        event = record.event
        log_record = OwnRecord(
            timestamp=record.timestamp_ns,
            observed_timestamp=record.timestamp_ns,
            context=record.context if isinstance(record.context, Context) else None,
            severity_number=_SEVERITIES[event.level.value],
            severity_text=event.level.name,
            body=event.message,
            attributes={attribute.key: value for attribute, value in record.values.items()},
            event_name=event.name,
        )
        self._parts.processor.on_emit(record_of(log_record, self._parts))
