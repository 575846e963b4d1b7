"""Which paths an ASGI application knows: found by walking its routers, whoever made them.

It reads what Channels, Django and Starlette keep on their routers, by name and without importing them, and refuses
to know what is behind a route.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Where middlewares keep what they wrap: Channels, Starlette, otel-ws, opentelemetry-instrumentation-asgi, others.
_INSIDE: Final = ("app", "inner", "application", "router")
_PARAMETER: Final = re.compile(r"\{([^{}:]+)(?::[^{}]*)?\}")
# What ends the way through middlewares: a router's, and what Channels writes on a consumer's application.
_ENDS: Final = ("application_mapping", "routes", "consumer_class")
DEEPEST: Final = 30


@dataclass(frozen=True, slots=True)
class Route:
    """One route: ``websocket`` or ``http``, its template, and the message types that its consumer declares."""

    scope_type: str
    template: str
    message_types: tuple[str, ...] = ()
    # Whether a Channels consumer answers here, which can declare message types.
    is_consumer: bool = False
    # Names of the groups that its consumers are members of from the start; they are printed nowhere.
    groups: tuple[str, ...] = ()
    # Whether a callable that is neither a router nor a consumer answers: what may be behind it cannot be seen.
    is_hidden: bool = False

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters."""
        return _PARAMETER.findall(self.template)

    def filled(self, value: str) -> str:
        """A path of this route with ``value`` for every parameter."""
        return _PARAMETER.sub(value.replace("\\", ""), self.template)


def routes_of(application: object) -> list[Route]:
    """Every route that can be found, each once, in the order in which the application would try them."""
    return list(dict.fromkeys(_walk(application, "websocket", "", 0)))


def is_told_apart(application: object) -> bool:
    """Whether there is a router that tells WebSockets from other protocols: with it, routes are to be expected."""
    protocols = _own(_behind(application), "application_mapping")
    return isinstance(protocols, Mapping) and "websocket" in protocols


def hidden_among(routes: Iterable[Route]) -> str:
    """What to tell of the conversations' routes that hide what answers them; nothing, if none does."""
    hidden = sum(route.is_hidden and route.scope_type == "websocket" for route in routes)
    if not hidden:
        return ""
    return f"{hidden} routes end in what is neither a router nor a consumer: what is behind it was not looked at"


def _behind(application: Any) -> Any:
    """What middlewares stand around: a router, a consumer, or the first that does not show what it wraps."""
    for _ in range(DEEPEST):
        if any(_own(application, name) for name in _ENDS):
            return application
        inner = next((one for name in _INSIDE if (one := _own(application, name)) is not None), None)
        if inner is None:
            return application
        application = inner
    return None


def _walk(application: Any, scope_type: str, before: str, depth: int) -> Iterator[Route]:
    application = _behind(application)
    if depth > DEEPEST or application is None:
        return
    protocols = _own(application, "application_mapping")
    if isinstance(protocols, Mapping):
        for name, one in protocols.items():
            if name in {"http", "websocket"}:
                yield from _walk(one, name, before, depth + 1)
        return
    routes = _own(application, "routes")
    if isinstance(routes, Iterable) and not isinstance(routes, (str, bytes)):
        for one in routes:
            yield from _route(one, scope_type, before, depth)


def _route(route: Any, scope_type: str, before: str, depth: int) -> Iterator[Route]:
    pattern, path = _own(route, "pattern"), _own(route, "path")
    if isinstance(path, str):
        # Starlette: only a route that answers HTTP has methods, only a mount has routes of its own, or none and an app.
        mounted = _own(route, "app") if _own(route, "endpoint") is None else None
        if _own(route, "routes") or _is_router(_behind(mounted)):
            yield from _walk(route, scope_type, before + path, depth + 1)
        else:
            yield Route("http" if _own(route, "methods") else "websocket", before + path)
    elif pattern is not None:
        template = before + _template(pattern)
        inner = _behind(_own(route, "callback"))
        if _is_router(inner):
            yield from _walk(inner, scope_type, template, depth + 1)
        else:
            consumer = _own(inner, "consumer_class")
            types, groups = _words(consumer, "message_types"), _words(consumer, "groups")
            yield Route(scope_type, "/" + template.lstrip("/"), types, consumer is not None, groups, consumer is None)


def _is_router(application: object) -> bool:
    return bool(_own(application, "routes") or _own(application, "application_mapping"))


def _template(pattern: object) -> str:
    # Late: only routes of Channels and Django have patterns, and a base install has neither.
    from otel_ws.channels.routing import template_of

    return template_of(pattern)


def _words(consumer: Any, name: str) -> tuple[str, ...]:
    declared = _own(consumer, name) or ()
    return tuple(str(one) for one in declared) if isinstance(declared, (tuple, list, set, frozenset)) else ()


def _own(thing: object, name: str) -> Any:
    """An attribute, if the object has it and gives it without trouble."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None
