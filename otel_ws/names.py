"""Names of others' spans and routes: which are templates and operations, and which hold somebody's data.

A span's name leaves in a known form: a method and a known route, an operation of a database or broker, a task that is
loaded here, a text that the application declared. What can be saved of another one is saved: `GET /users/7` is `GET`.
It refuses to know what else the span carries beyond its cleared attributes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from otel_ws import routes
from otel_ws.faults import fault
from otel_ws.loaded import Exceptions, Rarely, is_code
from otel_ws.policy import Policy
from otel_ws.semconv import OTHER, ROUTE, TEMPLATE
from otel_ws.semconv.words import HTTP_METHODS, MESSAGING_OPERATIONS, REDIS_COMMANDS, SPAN_NAMES, SQL_VERBS

ROUTES_LIMIT: Final = 10_000
CLEAR_LIMIT: Final = 1024
_DIRECTIONS: Final = ("http send", "http receive", "websocket send", "websocket receive")
_TASKS: Final = ("run/", "apply_async/")
_DATABASE: Final = ("db.system.name", "db.system")


class Names:
    """What this process knows by name: its routes, its declared templates, its code."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.perf_counter) -> None:
        self.known_routes: list[Callable[[], Iterable[str]]] = [routes.django]
        self._policy = policy
        self._exceptions = Exceptions(clock)
        self._routes: set[str] = set()
        # Names that were found to hold nothing but known words; what is known stays so.
        self._clear: set[str] = set()
        self._rarely = Rarely(clock)

    def is_loaded(self, text: str) -> bool:
        """Whether the text names an exception class, or another thing in a module, that is loaded."""
        return text in self._exceptions or is_code(text)

    def is_route(self, text: str) -> bool:
        """Whether a router of this process knows the template, or the application declared it."""
        if text in self._routes or self._policy.is_known(TEMPLATE, text) or self._policy.is_known(ROUTE, text):
            return True
        self._rarely.do(self._ask)
        return text in self._routes

    def _ask(self) -> None:
        for source in self.known_routes:
            try:
                found = {route for route in islice(source(), ROUTES_LIMIT) if type(route) is str}
            except Exception as exc:
                fault("names.routes", exc)
                continue
            if len(self._routes) < ROUTES_LIMIT:
                self._routes |= found

    def of_span(self, name: str, attributes: Mapping[str, object]) -> str:
        """The name as it may leave; ``_OTHER`` where nothing of it may. ``attributes`` are already cleared."""
        if name in self._clear:
            return name
        fit = self._of_span(name, attributes)
        if fit == name and len(self._clear) < CLEAR_LIMIT:
            self._clear.add(name)
        return fit

    def _of_span(self, name: str, attributes: Mapping[str, object]) -> str:
        if name in SPAN_NAMES or name == OTHER or self._policy.is_known(TEMPLATE, name):
            return name
        words = name.split(" ")
        first = words[0]
        system = next((attributes[key] for key in _DATABASE if key in attributes), None)
        if system is None and (first in HTTP_METHODS or first == "HTTP" or " ".join(words[-2:]) in _DIRECTIONS):
            return self._of_http(words, attributes)
        if all(word in REDIS_COMMANDS for word in words):
            return name
        if first.upper() in SQL_VERBS:
            return first
        if first in MESSAGING_OPERATIONS:
            return name if first == name or self.is_route(name[len(first) + 1 :]) else first
        for prefix in _TASKS:
            if name.startswith(prefix):
                return name if is_code(name[len(prefix) :]) or self.is_route(name[len(prefix) :]) else prefix + OTHER
        if is_code(name):
            return name
        return system if type(system) is str else OTHER

    def _of_http(self, words: list[str], attributes: Mapping[str, object]) -> str:
        last = " ".join(words[-2:])
        direction = [last] if last in _DIRECTIONS else []
        words = words[: len(words) - 2 * len(direction)]
        # Older instrumentations write `HTTP GET`, and `HTTP` alone for a method that they do not know.
        method = words[: 2 if words[:1] == ["HTTP"] and words[1:2] and words[1] in HTTP_METHODS else 1]
        if method and method[0] not in HTTP_METHODS and method[0] != "HTTP":
            method = []
        route = " ".join(words[len(method) :])
        if not route or not self.is_route(route):
            known = attributes.get(ROUTE.key)
            route = known if type(known) is str and known != OTHER else ""
        return " ".join([*method, *([route] if route else []), *direction]) or OTHER
