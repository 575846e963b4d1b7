"""Who and where, read from an ASGI scope: the user's id, the role, the ids in the URL, the route's template.

Reads only what middlewares and routers have already put there, and evaluates nothing: a lazy user that nobody
has loaded stays unloaded. It returns raw values; the policy clears them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from otel_ws.settings import Settings
from otel_ws.types import Scope

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_CONVERTER = re.compile(r":[^}]*\}")


class Trail:
    """The way through the routers: the template that matched at each depth; ``plain`` until a consumer takes over."""

    __slots__ = ("plain", "route_parts", "routers", "unrouted")
    plain: bool
    route_parts: tuple[str, ...]
    routers: tuple[object, ...]
    unrouted: bool

    @property
    def is_routed(self) -> bool:
        """Whether a route that matches now is its own."""
        raise NotImplementedError

    def route_matched(self, depth: int, template: str) -> None:
        """A route matched at this depth of nested routers: the last match wins, deeper ones are void."""
        self.route_parts = (*self.route_parts[:depth], template)

    def router_left(self, depth: int) -> None:
        """The router at this depth found no application: what matched in it is void."""
        self.route_parts = self.route_parts[:depth]


def user_id(scope: Scope, settings: Settings) -> object:
    """The ``pk`` of an authenticated, already loaded ``scope["user"]``, or what the resolver says."""
    if settings.user_id_resolver is not None:
        return settings.user_id_resolver(scope)
    user = scope.get("user")
    if user is None or _is_unloaded(user) or not getattr(user, "is_authenticated", False):
        return None
    return getattr(user, "pk", None)


def role(scope: Scope, settings: Settings) -> object:
    """``scope["role"]``, or what the resolver says."""
    return settings.role_resolver(scope) if settings.role_resolver is not None else scope.get("role")


def url_values(scope: Scope) -> Mapping[str, Any]:
    """The named parts of the URL: Channels' ``url_route``, else Starlette's ``path_params``."""
    route = scope.get("url_route")
    if type(route) is dict:
        found = route.get("kwargs")
    else:
        found = route.get("kwargs") if isinstance(route, Mapping) else scope.get("path_params")
    return found if type(found) is dict or isinstance(found, Mapping) else _NOTHING


def scope_type(values: Mapping[str, Any]) -> str:
    """The narrowest thing that the route names: a match, a tournament, or neither."""
    return "match" if "match_id" in values else "tournament" if "tournament_id" in values else "global"


def starlette_route(scope: Scope, root_path: object) -> str | None:
    """The template of ``scope["route"]`` (Starlette, FastAPI), or ``None``.

    Below a ``Mount`` the template is not known: the mount puts the real path in front, so nothing is told.
    """
    path = getattr(scope.get("route"), "path", None)
    if not isinstance(path, str) or (scope.get("root_path") or "") != root_path:
        return None
    return _CONVERTER.sub("}", path)


def _is_unloaded(user: object) -> bool:
    """Whether this is a lazy object (Django's, Channels') around its empty marker, a bare ``object()``."""
    held = getattr(user, "__dict__", None)
    if not isinstance(held, dict) or ("_wrapped" not in held and not hasattr(type(user), "_wrapped")):
        return False
    wrapped = held.get("_wrapped")
    return wrapped is None or type(wrapped) is object
