"""Where telemetry comes from, cleared: instrumentation scopes and resources, each looked at once.

It refuses to know what came from there.
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ws.fanout import VERSION
from otel_ws.foreign import Foreign
from otel_ws.semconv import SCHEMA_URL, SCOPE_NAME

# A process has a few dozen; a logger that is made with attributes has a scope of its own each time.
_KEPT: Final = 1024


class Origin:
    """Clears scopes and resources for one gate, and remembers each object with what it became."""

    def __init__(self, foreign: Foreign) -> None:
        self._foreign = foreign
        # By identity: equal scopes may differ in what their equality does not look at. Both objects are held, so
        # that an id is never another object's.
        self._scopes: dict[tuple[str, int], tuple[Any, InstrumentationScope | None]] = {}
        self._resources: dict[int, tuple[Resource, Resource]] = {}

    def scope(self, signal: str, found: Any) -> InstrumentationScope | None:
        """The scope as it may leave: the very object where nothing is to be removed."""
        key = signal, id(found)
        known = self._scopes.get(key)
        if known is None:
            if len(self._scopes) >= _KEPT:
                self._scopes.clear()
            known = self._scopes[key] = found, self._cleared_scope(signal, found)
        return known[1]

    def resource(self, found: Resource) -> Resource:
        """The resource as it may leave: the very object where nothing is to be removed."""
        known = self._resources.get(id(found))
        if known is None:
            if len(self._resources) >= _KEPT:
                self._resources.clear()
            cleared = self._cleared_resource(found)
            known = self._resources[id(found)] = found, cleared
            self._resources.setdefault(id(cleared), (cleared, cleared))
        return known[1]

    def _cleared_scope(self, signal: str, found: Any) -> InstrumentationScope | None:
        if found is None or (
            is_ours(found) and type(found.version) is str and found.version == VERSION and _is_bare(found)
        ):
            return found  # type: ignore[no-any-return]
        foreign = self._foreign
        name, version, url = found.name, found.version, found.schema_url
        attributes = foreign.attributes(signal, found.attributes)
        kept = (
            foreign.scope_name(signal, name),
            foreign.version(signal, version),
            foreign.schema_url(signal, url),
        )
        # By identity: what is handed back unchanged is the plain text itself.
        same = kept[0] is name and (kept[1] is version or _is_empty(version)) and (kept[2] is url or _is_empty(url))
        if attributes is None and same:
            return found  # type: ignore[no-any-return]
        return InstrumentationScope(*kept, found.attributes if attributes is None else attributes)

    def _cleared_resource(self, found: Resource) -> Resource:
        kept = self._foreign.resource(found.attributes)
        kept.setdefault("service.name", "unknown_service")
        url = self._foreign.schema_url("traces", found.schema_url)
        same = url is found.schema_url or _is_empty(found.schema_url)
        before = dict(found.attributes)
        if same and len(kept) == len(before) and all(_is_same(before.get(key), value) for key, value in kept.items()):
            return found
        return Resource(kept, url)


def _is_empty(text: object) -> bool:
    # By type: a stranger's text may say that it is empty.
    return text is None or (type(text) is str and not text)


def _is_same(one: object, other: object) -> bool:
    # By type: a stranger's text may say that it is equal.
    return one is other or (type(one) is type(other) and type(one) in (str, int, float, bool) and one == other)


def _is_bare(scope: Any) -> bool:
    return scope.attributes is None or (type(scope.attributes) is BoundedAttributes and len(scope.attributes) == 0)


def is_ours(scope: Any) -> bool:
    """Whether a scope is the one of otel-ws's own spans and records: Python's logger of that name has no schema."""
    if type(scope) is not InstrumentationScope:
        return False
    name, url = scope.name, scope.schema_url
    # By type: a stranger's text may say that it is equal.
    return type(name) is type(url) is str and name == SCOPE_NAME and url == SCHEMA_URL
