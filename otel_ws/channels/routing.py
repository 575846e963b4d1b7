"""Door: routers. The route is recorded while Channels matches, so nothing is matched twice.

Each route's ``pattern.match`` is wrapped once, on the instance. The last match at each depth wins; a nested
router that finds nothing voids the match that led to it.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.urls.exceptions import Resolver404
from django.urls.resolvers import RoutePattern

from otel_ws import sse
from otel_ws.asgi import opened, trail
from otel_ws.connection import current
from otel_ws.faults import fault
from otel_ws.semconv import OTHER
from otel_ws.types import Receive, Scope, Send

_PARAMETER: Final = re.compile(r"(?<!\?P)<(?:[^<>:]+:)?([A-Za-z_]\w*)>")
_GROUP: Final = re.compile(r"\(\?P<([A-Za-z_]\w*)>")
_watched: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def observed_protocols(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``ProtocolTypeRouter.__call__`` that opens the connection where no middleware has."""

    @functools.wraps(original)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        if (conversation := opened(scope, receive, send)) is None:
            return await original(self, scope, receive, send)
        with conversation:
            return await original(self, scope, conversation.receive, conversation.send)

    return call


def observed_urls(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """``URLRouter.__call__`` that records the template of the route that matched."""

    @functools.wraps(original)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        way = trail(scope)
        if way is None:
            if (conversation := opened(scope, receive, send)) is None:
                return await original(self, scope, receive, send)
            with conversation:
                return await call(self, scope, conversation.receive, conversation.send)
        outer = way.routers
        if not way.plain or (outer and outer[-1] is self):
            return await original(self, scope, receive, send)
        way.routers = (*outer, self)
        _watch(self)
        try:
            return await original(self, scope, receive, send)
        except Resolver404:
            way.router_left(max(len(outer) - 1, 0))
            raise
        except ValueError:
            way.unrouted = not outer and not way.route_parts
            raise
        finally:
            way.routers = outer

    return call


def observed_resolution(original: Callable[..., Any]) -> Callable[..., Any]:
    """Django's ``BaseHandler.resolve_request`` that tells what a request's own router found."""

    @functools.wraps(original)
    def resolve(self: Any, request: Any) -> Any:
        found = original(self, request)
        if (asked := sse.running()) is not None:
            asked.resolved(_resolved, request, found)
        return found

    return resolve


def _resolved(request: Any, found: Any) -> tuple[str, dict[str, Any]]:
    """The rest of a request's template, and what Channels would have put on its scope."""
    text = _PARAMETER.sub(r"{\1}", str(found.route))
    # Never ``request.user``: that could be a property, which asks the database.
    user = {name: value for name, value in vars(request).items() if name == "user"}
    return _from_regex(text), {**user, "url_route": {"kwargs": dict(found.kwargs)}}


def _watch(router: Any) -> None:
    try:
        for route in router.routes:
            pattern = route.pattern
            if type(pattern.match) is not _Match and pattern not in _watched:
                before = vars(pattern).get("match")
                pattern.match = _Match(pattern.match, before, template_of(pattern))
                _watched.add(pattern)
    except Exception as exc:
        fault("routing", exc)


class _Match:
    """A route's ``match`` that tells what it found. The pattern holds it, so it goes with the pattern."""

    def __init__(self, original: Callable[[str], Any], before: Any, template: str) -> None:
        self.original = original
        self.before = before
        self.template = template

    def __call__(self, path: str) -> Any:
        found = self.original(path)
        way = sse.running() or current.get()
        if found and way is not None and way.is_routed:
            way.route_matched(max(len(way.routers) - 1, 0), self.template)
        return found


def unwatch() -> None:
    """Give every route its own ``match`` back; one that somebody wrapped after us keeps their wrapper."""
    for pattern in list(_watched):
        wrapper = vars(pattern).get("match")
        if isinstance(wrapper, _Match):
            del vars(pattern)["match"]
            if wrapper.before is not None:
                pattern.match = wrapper.before
    _watched.clear()


def template_of(pattern: Any) -> str:
    """A route's template, ``match/{match_id}/``, from a ``path()`` or a ``re_path()``; else ``_OTHER``."""
    text = str(pattern)
    if isinstance(pattern, RoutePattern):
        return _PARAMETER.sub(r"{\1}", text)
    return _from_regex(text)


def _from_regex(text: str) -> str:
    """A regular expression of literals and named groups, with each group as ``{name}``."""
    text = text.removeprefix("^").removesuffix("$").removesuffix(r"\Z").removesuffix("/?")
    parts: list[str] = []
    while group := _GROUP.search(text):
        end = _closing(text, group.start())
        parts += [text[: group.start()], f"{{{group[1]}}}"]
        text = text[end + 1 :]
        if end < 0 or text[:1] in set("?*+{"):
            return OTHER
    whole = "".join([*parts, text])
    whole = re.sub(r"\\([-./_])", r"\1", whole)
    return whole if re.fullmatch(r"[A-Za-z0-9_\-/{}.]*", whole) else OTHER


def _closing(text: str, start: int) -> int:
    depth = 0
    inside_class = False
    position = start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
        elif inside_class:
            inside_class = char != "]"
        elif char == "[":
            inside_class = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1
