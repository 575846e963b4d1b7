"""Hands the last spans of otel-ws to ``recent``: a span processor, one for each provider, that sends nothing.

It takes ended spans that are cleared, and refuses to know where they are kept.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode

from otel_ws.fanout import Fanout
from otel_ws.faults import fault
from otel_ws.foreign import Foreign
from otel_ws.gate.origin import Origin, is_ours
from otel_ws.gate.places import ONLOOKERS
from otel_ws.gate.spans import SpanClearing
from otel_ws.recent import Recent

# What others link to, and what is looked for after a trouble.
_NOTABLE: Final = ("connect", "disconnect")
_LINKS: Final = 8


class RecentSpans(SpanProcessor):
    """Keeps each ended span of ours in a ``Recent``, while there is one."""

    def __init__(self) -> None:
        self._recent: Recent | None = None
        self._clearing: SpanClearing | None = None

    def follow(self, fanout: Fanout) -> None:
        """Hand spans to this recorder's rings, until it is closed."""
        foreign = Foreign(fanout.policy)
        self._clearing = SpanClearing(foreign, Origin(foreign))
        self._recent = recent = fanout.recent
        fanout.on_close.append(partial(self._leave, recent))

    def _leave(self, recent: Recent | None) -> None:
        if self._recent is recent:
            self._recent = None

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a sampled span of ours."""
        recent = self._recent
        if recent is None:
            return
        try:
            context = span.get_span_context()
            if context is not None and context.trace_flags.sampled and is_ours(span.instrumentation_scope):
                is_error = span.status.status_code is StatusCode.ERROR
                is_notable = is_error or span.name.partition(" ")[0] in _NOTABLE
                recent.span(partial(self._shown, span), is_notable)
        except Exception as exc:
            fault("recent", exc)

    def _shown(self, ended: Any) -> Mapping[str, Any]:
        """What may be shown of a span, in plain values: ids as hexadecimal digits, times in seconds."""
        assert self._clearing is not None
        # Anybody may ask for a tracer of our name: only a light span is ours for certain.
        span = self._clearing.span(ended)
        context, started = span.get_span_context(), span.start_time or 0
        return {
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_id": None if span.parent is None else f"{span.parent.span_id:016x}",
            "name": span.name,
            "kind": span.kind.name,
            "start": started / 1e9,
            "seconds": ((span.end_time or started) - started) / 1e9,
            "is_error": span.status.status_code is StatusCode.ERROR,
            "links": [
                {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"}
                for link in span.links[:_LINKS]
            ],
            "attributes": dict(span.attributes or {}),
        }


ONLOOKERS.add(RecentSpans)
_by_provider: Final[weakref.WeakKeyDictionary[TracerProvider, RecentSpans]] = weakref.WeakKeyDictionary()


def keep_spans(fanout: Fanout, provider: TracerProvider) -> None:
    """Have the spans of this provider kept for the recorder; a provider keeps its processors for its life."""
    processor = _by_provider.get(provider)
    if processor is None:
        processor = _by_provider[provider] = RecentSpans()
        provider.add_span_processor(processor)
    processor.follow(fanout)
