"""Spans of every make, as they may leave: name, attributes, events, links, status, trace states, scope, resource.

By the SDK's public classes: a span that is not clear already is copied, never changed. Our own light spans are clear
when they are made. It refuses to know where the spans go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

from otel_ws.foreign import Foreign
from otel_ws.gate.origin import Origin, is_ours
from otel_ws.sdk import contrib
from otel_ws.sdk._private.pipelines import attributes_of, bare_parts
from otel_ws.sdk.light import LightSpan, clear_context
from otel_ws.semconv import MESSAGE_TYPE, OTHER, ROUTE, TEMPLATE

SIGNAL: Final = "traces"
# The SDK's own default limits; a provider may have none.
_EVENTS: Final = 128
_LINKS: Final = 128
_KEPT: Final = 1024
_UNASKED: Final = object()
_OWN_NAMES: Final = ("connect", "message", "disconnect", "send", "publish", "process")


class ClearedSpan(ReadableSpan):
    """A cleared copy; what the SDK dropped from the span for its limits is still told."""

    _dropped = (0, 0, 0)

    @property
    def dropped_attributes(self) -> int:
        """How many attributes the span's limits cost it."""
        return self._dropped[0]

    @property
    def dropped_events(self) -> int:
        """How many events."""
        return self._dropped[1]

    @property
    def dropped_links(self) -> int:
        """How many links."""
        return self._dropped[2]


class SpanClearing:
    """Clears ended spans; what it hands back is the span itself where it conforms, else a copy, or nothing."""

    def __init__(self, foreign: Foreign, origin: Origin) -> None:
        self._foreign = foreign
        self._origin = origin
        # How many spans were left out because they say what ours say, or that nothing happened.
        self.suppressed = {"websocket": 0, "polling": 0}
        # What was found to conform, for the quick look: it does so for ever. The last resource, names, and scopes
        # by their identity.
        self._resource: object = None
        self._names: set[str] = set()
        self._scopes: dict[int, object] = {}

    def span(self, span: Any) -> Any:
        """One span on its way into the processors."""
        if type(span) is LightSpan:
            if span._resource is not self._resource:
                self._resource = span._resource = self._origin.resource(span._resource)
            return span
        return self.stranger(span)

    def stranger(self, span: Any) -> Any:
        """One span of which nothing is known, whoever made it."""
        attributes: Any = _UNASKED
        parts = bare_parts(span)
        if parts is not None:
            name, scope, resource, found = parts
            if type(name) is str and name in self._names and id(scope) in self._scopes and resource is self._resource:
                attributes = self._foreign.attributes(SIGNAL, found)
                if attributes is None:
                    return span
        return self._looked_at(span, attributes, is_bare=parts is not None)

    def _looked_at(self, span: Any, attributes: Any, *, is_bare: bool) -> Any:
        kind = self._is_noise(span)
        if kind:
            self.suppressed[kind] += 1
            return None
        scope, resource = span.instrumentation_scope, span.resource
        clear_scope = self._origin.scope(SIGNAL, scope)
        clear_resource = self._resource = self._origin.resource(resource)
        if attributes is _UNASKED:
            attributes = self._foreign.attributes(SIGNAL, attributes_of(span))
        kept = (attributes_of(span) or {}) if attributes is None else attributes
        name = self._name(scope, span.name, kept)
        if attributes is None and name is span.name and clear_scope is scope and clear_resource is resource and is_bare:
            if scope is not None and scope.name not in contrib.NOISY and len(self._scopes) < _KEPT:
                self._scopes[id(scope)] = scope
            return span
        cleared = ClearedSpan(
            name=name,
            context=clear_context(self._foreign, span.get_span_context()),
            parent=clear_context(self._foreign, span.parent),
            resource=clear_resource,
            attributes=dict(kept),
            events=self._events(span.events),
            links=self._links(span.links),
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=clear_scope,
        )
        cleared._dropped = (span.dropped_attributes, span.dropped_events, span.dropped_links)
        return cleared

    def _name(self, scope: Any, name: Any, attributes: Any) -> str:
        if is_ours(scope) and type(name) is str:
            first, _, route = name.partition(" ")
            known = first in _OWN_NAMES or first == attributes.get(MESSAGE_TYPE.key)
            told = (OTHER, attributes.get(ROUTE.key), attributes.get(TEMPLATE.key))
            if known and (route in told or name in _OWN_NAMES):
                return name
        cleared = self._foreign.span_name("" if scope is None else scope.name, name, attributes)
        if cleared is name and len(self._names) < _KEPT:
            self._names.add(cleared)
        return cleared

    def _events(self, events: Sequence[Any]) -> list[Event]:
        foreign = self._foreign
        cleared = []
        for event in events[:_EVENTS]:
            attributes = foreign.attributes(SIGNAL, attributes_of(event))
            kept = event.attributes if attributes is None else attributes
            cleared.append(Event(foreign.event_name(SIGNAL, event.name), kept, event.timestamp))
        return cleared

    def _links(self, links: Sequence[Any]) -> list[Link]:
        cleared = []
        for link in links[:_LINKS]:
            attributes = self._foreign.attributes(SIGNAL, attributes_of(link))
            context = clear_context(self._foreign, link.context)
            if context is not None:
                cleared.append(Link(context, link.attributes if attributes is None else attributes))
        return cleared

    def _is_noise(self, span: Any) -> str:
        scope = span.instrumentation_scope
        name = "" if scope is None else scope.name
        if name == contrib.REDIS:
            return "polling" if contrib.is_polling(span) else ""
        if name in contrib.ASGI and contrib.are_ours_there:
            return "websocket" if contrib.is_websocket(span) else ""
        return ""
