"""The decision over everybody else's telemetry: what of a stranger's span, record or point may leave, and how.

By the tables of the semantic conventions and what the application declared; it never raises, does a bounded amount
of work whatever it is given, and counts what it removes. It refuses to know OpenTelemetry's classes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from otel_ws.faults import fault
from otel_ws.names import LONGEST, Exceptions, is_code, is_module, is_version, known_part
from otel_ws.policy import Policy, clear_resource, exact_value
from otel_ws.semconv import EVENTS as OWN_EVENTS
from otel_ws.semconv import OTHER, ROUTE, SCHEMA_URL, SCOPE_NAME, TEMPLATE, Kind
from otel_ws.semconv.conventions import (
    ATTRIBUTE_CONVENTIONS,
    EVENT_NAMES,
    HTTP_METHODS,
    INT64,
    LABEL_CONVENTIONS,
    MESSAGING_OPERATIONS,
    METRIC_CONVENTIONS,
    REDIS_COMMANDS,
    RESOURCE_CONVENTIONS,
    SCOPES,
    SEVERITIES,
    SPAN_NAMES,
    SQL_VERBS,
    UNITS,
    WELL_KNOWN,
    Convention,
)
from otel_ws.types import Value

Leaving = Value | tuple[Value, ...]

KEY_LIMIT: Final = 256
LIST_LIMIT: Final = 64
MEMO_LIMIT: Final = 512
BODY: Final = "Text removed by otel-ws."

_SCHEMA = re.compile(r"https://opentelemetry\.io/schemas/1\.[0-9]{1,2}\.[0-9]{1,2}")
_OT = re.compile(r"th:[0-9a-f]{1,14}|rv:[0-9a-f]{14}")
_DIRECTIONS: Final = ("http send", "http receive", "websocket send", "websocket receive")
_TASKS: Final = ("run/", "apply_async/")
_SENTENCES: Final = frozenset(event.message for event in OWN_EVENTS) | {BODY}
_EVENT_NAMES: Final = EVENT_NAMES | {event.name for event in OWN_EVENTS}


class Foreign:
    """The decision, for one policy. ``signal`` is ``traces``, ``metrics`` or ``logs``."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        # Which keys of the conventions were removed, or would be: for a report.
        self.well_known: Counter[str] = Counter()
        # Where templates of routes come from: each is asked again when a route is not among those known.
        self.known_routes: list[Callable[[], Iterable[str]]] = []
        self._routes: set[str] = set()
        self._exceptions = Exceptions()
        self._tables = {"traces": _Table(ATTRIBUTE_CONVENTIONS)}
        self._tables["logs"] = self._tables["traces"]
        self._tables["metrics"] = _Table({**ATTRIBUTE_CONVENTIONS, **LABEL_CONVENTIONS})
        self._resource = _Table(RESOURCE_CONVENTIONS)

    # --- attributes -------------------------------------------------------------------------------------
    def attributes(self, signal: str, found: Mapping[str, object] | None) -> dict[str, Leaving] | None:
        """``None``: everything conforms, the mapping may leave as it is; else the cleared mapping."""
        if found is None:
            return None
        table = self._tables[signal]
        texts, ranges = table.texts, table.ranges
        try:
            # Exact types alone: a subclass may say that it equals what it does not.
            for key, value in found.items():
                kind = type(value)
                if type(key) is not str:
                    break
                if kind is str:
                    if len(value) > LONGEST or value not in texts[key]:  # type: ignore[arg-type]
                        break
                elif kind is int or kind is float:
                    low, high = ranges[key]
                    if not low <= value <= high:  # type: ignore[operator]
                        break
                else:
                    break
            else:
                return None
        except Exception:
            pass  # an unknown key, or a hostile mapping: the careful way decides
        return self._cleared(signal, table, found)

    def _cleared(self, signal: str, table: _Table, found: Mapping[str, object]) -> dict[str, Leaving] | None:
        cleared: dict[str, Leaving] = {}
        changed = False
        try:
            for key, value in islice(found.items(), KEY_LIMIT):
                fit = self._value(signal, table, key, value) if type(key) is str else None
                if type(key) is not str:
                    self.policy.undeclared(signal)
                if fit is not None:
                    cleared[key] = fit
                changed = changed or fit is not value
            if len(found) > KEY_LIMIT:
                changed = True
                self.policy.removed(signal, "undeclared", len(found) - KEY_LIMIT)
        except Exception:
            # A mapping that fails half-way: what was cleared so far is clear.
            self.policy.undeclared(signal)
            changed = True
        return cleared if changed else None

    def _value(self, signal: str, table: _Table, key: str, value: object) -> Leaving | None:
        convention = table.conventions.get(key)
        if convention is None and not self.policy.has_key(key):
            self._removed(signal, key, "undeclared")
            return None
        if type(value) in (list, tuple):
            return self._list(signal, table, key, value)  # type: ignore[arg-type]
        if value is None:
            return None
        plain = exact_value(value)
        fit: Value | None
        if convention is None:
            return self.policy.foreign(signal, key, value)
        fit = self._fit(signal, convention, value, plain)
        if fit is None or fit == OTHER:
            if plain != OTHER:
                self._removed(signal, key, convention.kind.value)
        else:
            table.remember(key, fit, convention)
        # The very object where nothing changed, so that the caller sees that nothing did.
        return value if type(value) is type(fit) and value == fit else fit

    def _list(self, signal: str, table: _Table, key: str, values: list[object] | tuple[object, ...]) -> Leaving | None:
        fits: list[Value] = []
        for value in values[:LIST_LIMIT]:
            fit = None if type(value) in (list, tuple) else self._value(signal, table, key, value)
            if fit is not None:
                fits.append(fit)  # type: ignore[arg-type]
        same = len(fits) == len(values) and all(a is b for a, b in zip(fits, values, strict=True))
        return values if same else tuple(fits) or None  # type: ignore[return-value]

    def _fit(self, signal: str, convention: Convention, value: object, plain: object) -> Value | None:
        kind = convention.kind
        if kind is Kind.NUMBER:
            number = type(plain) in (int, float) and convention.low <= plain <= convention.high  # type: ignore[operator]
            return plain if number else None  # type: ignore[return-value]
        if kind is Kind.ID:
            return None if signal == "metrics" else self.policy.id(value)
        if kind is Kind.FLAG and type(plain) is bool:
            return plain
        if type(plain) is not str:
            return None
        if len(plain) > LONGEST:
            return OTHER
        if plain in convention.choices or (convention.form is not None and convention.form.fullmatch(plain)):
            return plain
        if kind is Kind.CODE_NAME and convention.form is None:
            return plain if plain in self._exceptions or is_code(plain) else OTHER
        if kind is Kind.TEMPLATE:
            return plain if self._is_route(plain) else OTHER
        return None if kind is Kind.FLAG else OTHER

    def _is_route(self, text: str) -> bool:
        """Whether a router of this process knows the template, or the application declared it."""
        if text in self._routes or self.policy.is_declared(TEMPLATE, text) or self.policy.is_seen(ROUTE, text):
            return True
        for source in self.known_routes:
            try:
                self._routes.update(route for route in islice(source(), 10_000) if type(route) is str)
            except Exception as exc:
                fault("foreign.routes", exc)
        return text in self._routes

    def _removed(self, signal: str, key: str, kind: str) -> None:
        self.policy.removed(signal, kind)
        if key in WELL_KNOWN:
            self.well_known[key] += 1

    # --- names ------------------------------------------------------------------------------------------
    def span_name(self, scope: str, name: object, attributes: Mapping[str, object]) -> str:
        """The name in a known form, else ``_OTHER``; ``attributes`` are the span's, already cleared."""
        plain = exact_value(name)
        fit = OTHER
        if type(plain) is str and len(plain) <= LONGEST:
            try:
                fit = self._span_name(plain, attributes)
            except Exception as exc:
                fault("foreign.span_name", exc)
        if fit != plain:
            self.policy.removed("traces", Kind.TEMPLATE.value)
        return fit

    def _span_name(self, name: str, attributes: Mapping[str, object]) -> str:
        if name in SPAN_NAMES or name == OTHER or self.policy.is_declared(TEMPLATE, name) or is_code(name):
            return name
        words = name.split(" ")
        first = words[0]
        is_http = first in HTTP_METHODS or first == "HTTP" or " ".join(words[-2:]) in _DIRECTIONS
        if is_http and attributes.keys().isdisjoint(("db.system", "db.system.name")):
            return self._http_name(words, attributes)
        if all(word in REDIS_COMMANDS for word in words):
            return name
        if first.upper() in SQL_VERBS:
            return first
        if first in MESSAGING_OPERATIONS:
            rest = name[len(first) + 1 :]
            return name if rest and self._is_route(rest) else first
        for prefix in _TASKS:
            if name.startswith(prefix):
                task = name[len(prefix) :]
                return name if is_code(task) or task in SPAN_NAMES else prefix + OTHER
        system = attributes.get("db.system.name", attributes.get("db.system"))
        return system if type(system) is str and system != OTHER else OTHER

    def _http_name(self, words: list[str], attributes: Mapping[str, object]) -> str:
        last = " ".join(words[-2:])
        direction = f" {last}" if last in _DIRECTIONS else ""
        if direction:
            words = words[:-2]
        method = words[0] if words and (words[0] in HTTP_METHODS or words[0] == "HTTP") else ""
        if method == "HTTP" and len(words) == 2 and words[1] in HTTP_METHODS:
            return f"HTTP {words[1]}{direction}"
        route = " ".join(words[1:] if method else words)
        if not route or not self._is_route(route):
            known = attributes.get("http.route")
            route = known if type(known) is str and known != OTHER else ""
        return f"{method} {route}".strip() + direction if method or route else direction.strip() or OTHER

    def event_name(self, signal: str, name: object) -> str:
        """The name of an event, if it is known or declared; empty where there is none."""
        plain = exact_value(name)
        if name is None or plain == "":
            return ""
        fits = type(plain) is str and len(plain) <= LONGEST
        if fits and (plain in _EVENT_NAMES or plain == OTHER or self.policy.is_declared(TEMPLATE, plain)):
            return plain  # type: ignore[return-value]
        self.policy.removed(signal, Kind.TEMPLATE.value)
        return OTHER

    def scope_name(self, signal: str, name: object) -> str:
        """A module that is loaded, or the loaded part of the name; a known logger; ``otel_ws``; else ``_OTHER``."""
        plain = exact_value(name)
        if type(plain) is str and len(plain) <= LONGEST:
            if plain in SCOPES or plain in (SCOPE_NAME, OTHER, "") or is_module(plain):
                return plain
            if self.policy.is_declared(TEMPLATE, plain):
                return plain
            part = known_part(plain)
        else:
            part = ""
        self.policy.removed(signal, Kind.CODE_NAME.value)
        return part or OTHER

    def version(self, signal: str, version: object) -> str | None:
        """A release such as ``1.45.2``, else ``None``."""
        plain = exact_value(version)
        if type(plain) is str and is_version(plain):
            return plain
        if version is not None and plain != "":
            self.policy.removed(signal, "undeclared")
        return None

    def schema_url(self, signal: str, url: object) -> str:
        """One of OpenTelemetry's schemas, else empty."""
        plain = exact_value(url)
        if type(plain) is str and (plain == SCHEMA_URL or (len(plain) < 64 and _SCHEMA.fullmatch(plain))):
            return plain
        if url is not None and plain != "":
            self.policy.removed(signal, "undeclared")
        return ""

    def trace_state(self, state: Mapping[str, str] | None) -> dict[str, str]:
        """OpenTelemetry's own entry with the sampling threshold and randomness; every other vendor's goes."""
        try:
            found = state.get("ot") if state else None
        except Exception:
            found = None
        text = exact_value(found)
        if type(text) is not str or len(text) > LONGEST:
            return {}
        kept = ";".join(part for part in text.split(";") if _OT.fullmatch(part))
        return {"ot": kept} if kept else {}

    # --- logs -------------------------------------------------------------------------------------------
    def body(self, body: object) -> str | None:
        """A fixed sentence instead of a text; that of a known event stays."""
        if body is None:
            return None
        plain = exact_value(body)
        if type(plain) is str and len(plain) <= LONGEST and plain in _SENTENCES:
            return plain
        self.policy.removed("logs", "text")
        return BODY

    def severity_text(self, text: object) -> str | None:
        """The name of a level as OpenTelemetry or Python knows it, else ``None``."""
        plain = exact_value(text)
        if type(plain) is str and len(plain) <= 10 and plain in SEVERITIES:
            return plain
        if text is not None:
            self.policy.removed("logs", "text")
        return None

    # --- metrics and resources --------------------------------------------------------------------------
    def metric(self, name: object, unit: object) -> tuple[str, str] | None:
        """The metric's name and unit as they may leave; ``None``: it is neither known nor declared."""
        plain, measure = exact_value(name), exact_value(unit)
        if type(plain) is not str or len(plain) > LONGEST:
            known = None
        else:
            known = METRIC_CONVENTIONS.get(plain, "" if self.policy.is_number(plain) else None)
        if known is None:
            self.policy.removed("metrics", "undeclared")
            return None
        if type(measure) is str and len(measure) < 32 and measure in UNITS:
            return plain, measure  # type: ignore[return-value]
        return plain, known  # type: ignore[return-value]

    def resource(self, attributes: Mapping[str, object]) -> dict[str, Value]:
        """What of a resource may leave: the service, its place, its runtime."""
        kept: dict[str, Value] = {}
        try:
            plain = {key: value for key, value in islice(attributes.items(), KEY_LIMIT) if type(key) is str}
            kept.update(clear_resource(plain))
            for key, value in plain.items():
                convention = RESOURCE_CONVENTIONS.get(key)
                if convention is not None:
                    fit = self._fit("traces", convention, value, exact_value(value))
                    if fit is not None and fit != OTHER:
                        kept[key] = fit
        except Exception as exc:
            fault("foreign.resource", exc)
        return kept


class _Table:
    """Conventions laid out for the quick look: texts and ranges that conform, by key."""

    def __init__(self, conventions: dict[str, Convention]) -> None:
        self.conventions = conventions
        self.texts: dict[str, set[str]] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        for key, one in conventions.items():
            if one.kind is Kind.NUMBER:
                self.ranges[key] = (one.low, min(one.high, INT64[1]))
            elif one.kind is not Kind.ID:
                self.texts[key] = {*one.choices, OTHER}

    def remember(self, key: str, fit: Value, convention: Convention) -> None:
        """A text that was found to conform need not be looked at again; vocabularies only grow."""
        if type(fit) is str and convention.kind is not Kind.ID and len(self.texts[key]) < MEMO_LIMIT:
            self.texts[key].add(fit)
