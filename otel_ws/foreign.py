"""The decision over everybody else's telemetry: what of a stranger's span, record or point may leave, and how.

By the tables of the semantic conventions and what the application declared; it never raises, does a bounded amount
of work whatever it is given, and counts what it removes. It refuses to know OpenTelemetry's classes, and how the
names of code, routes and spans are told from a person's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from otel_ws.faults import fault
from otel_ws.forms import exact_value
from otel_ws.loaded import LONGEST, is_module, is_version, known_part
from otel_ws.names import Names
from otel_ws.policy import Policy, clear_resource
from otel_ws.semconv import EVENTS, OTHER, SCHEMA_URL, SCOPE_NAME, TEMPLATE, Kind
from otel_ws.semconv.conventions import (
    ATTRIBUTE_CONVENTIONS,
    INT64,
    LABEL_CONVENTIONS,
    METRIC_CONVENTIONS,
    RESOURCE_CONVENTIONS,
    Convention,
)
from otel_ws.semconv.words import EVENT_NAMES, SCOPES, SEVERITIES, UNITS, WELL_KNOWN, WELL_KNOWN_PREFIXES
from otel_ws.types import Value

Leaving = Value | Sequence[Value]

KEY_LIMIT: Final = 256
LIST_LIMIT: Final = 64
MEMO_LIMIT: Final = 512
BODY: Final = "Text removed by otel-ws."

_TOO_LONG: Final = "?"
_SCHEMA = re.compile(r"https://opentelemetry\.io/schemas/1\.[0-9]{1,2}\.[0-9]{1,2}")
_OT = re.compile(r"th:[0-9a-f]{1,14}|rv:[0-9a-f]{14}")
_SENTENCES: Final = frozenset(event.message for event in EVENTS) | {BODY}
_EVENT_NAMES: Final = EVENT_NAMES | {event.name for event in EVENTS}


class Foreign:
    """The decision, for one policy. ``signal`` is ``traces``, ``metrics`` or ``logs``."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.names = Names(policy)
        # Which keys of the conventions were removed, or would be: for a report. Never a key that a stranger chose.
        self.well_known: Counter[str] = Counter()
        # What would be removed, by signal and kind, where somebody only watches.
        self.would_remove: Counter[tuple[str, str]] = Counter()
        # Who is told of names that nobody declared: by signal, what it is, and the name, which may be anything.
        self.on_undeclared: Callable[[str, str, str], None] | None = None
        spans = _Table(ATTRIBUTE_CONVENTIONS, _Ids(policy))
        self._tables = {
            "traces": spans,
            "logs": spans,
            "metrics": _Table({**ATTRIBUTE_CONVENTIONS, **LABEL_CONVENTIONS}, None),
        }

    @property
    def known_routes(self) -> list[Callable[[], Iterable[str]]]:
        """Where templates of routes come from: each is asked again when a route is not among those known."""
        return self.names.known_routes

    # --- attributes -------------------------------------------------------------------------------------
    def attributes(self, signal: str, found: Mapping[str, object] | None) -> dict[str, Leaving] | None:
        """``None``: everything conforms, the mapping may leave as it is; else the cleared mapping.

        A plain ``dict`` is looked at fastest.
        """
        if found is None:
            return None
        table = self._tables.get(signal) or self._tables["traces"]
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
        texts, ranges, policy = table.texts, table.ranges, self.policy
        cleared: dict[str, Leaving] = {}
        changed = False
        seen = undeclared = 0
        try:
            for key, value in islice(found.items(), KEY_LIMIT):
                seen += 1
                if type(key) is not str:
                    undeclared += 1
                    continue
                kind = type(value)
                if kind is str and len(value) <= LONGEST and key in texts and value in texts[key]:  # type: ignore[arg-type]
                    cleared[key] = value  # type: ignore[assignment]
                    continue
                if kind is int and key in ranges and ranges[key][0] <= value <= ranges[key][1]:  # type: ignore[operator]
                    cleared[key] = value  # type: ignore[assignment]
                    continue
                convention = table.conventions.get(key)
                if convention is None and policy.kind(key) is None:
                    undeclared += 1
                    self._note(key)
                    self._tell(signal, "attribute", key)
                    continue
                fit = self._value(signal, table, key, convention, value)
                if fit is not None:
                    cleared[key] = fit
                changed = changed or fit is not value or value is None
            undeclared += max(0, len(found) - seen)
        except Exception:
            # A mapping that fails half-way: what was cleared so far is clear.
            undeclared += 1
        if undeclared:
            policy.removed(signal, "undeclared", undeclared)
        return cleared if changed or undeclared else None

    def _value(
        self, signal: str, table: _Table, key: str, convention: Convention | None, value: object
    ) -> Leaving | None:
        if value is None:
            return None
        if type(value) is list or type(value) is tuple:
            return self._list(signal, table, key, convention, value)
        return self._one(signal, table, key, convention, value)

    def _list(
        self, signal: str, table: _Table, key: str, convention: Convention | None, values: Sequence[object]
    ) -> Sequence[Value] | None:
        """What conforms of a list; a list in a list never does."""
        fits = [self._one(signal, table, key, convention, value) for value in values[:LIST_LIMIT]]
        kept = [fit for fit in fits if fit is not None]
        # A list is somebody's, who may change it after it was looked at.
        is_same = len(kept) == len(values) and all(fit is value for fit, value in zip(kept, values, strict=True))
        if is_same and type(values) is tuple:
            return values
        return tuple(kept) or None

    def _one(self, signal: str, table: _Table, key: str, convention: Convention | None, value: object) -> Value | None:
        """The value as it may leave: the very object where nothing needs to change."""
        exact = exact_value(value)
        kind = self.policy.kind(key) if convention is None else convention.kind
        if type(exact) is str and len(exact) > LONGEST and kind is not Kind.ID:
            # Not even looked at: whatever it is, it is no code, and a look costs what its length costs.
            exact = value = _TOO_LONG
        if convention is None:
            fit = self.policy.foreign(signal, key, value)
        else:
            fit = self._fit(signal, convention, value, exact)
            if fit is None or (fit == OTHER and exact != OTHER):
                self.policy.removed(signal, convention.kind.value)
                self._note(key)
        if fit is None:
            return None
        table.remember(key, fit, kind)
        return value if type(value) is type(fit) and value == fit else fit

    def _fit(self, signal: str, convention: Convention, value: object, exact: object) -> Value | None:
        kind = convention.kind
        if kind is Kind.NUMBER:
            fits = type(exact) in (int, float) and convention.low <= exact <= convention.high  # type: ignore[operator]
            return exact if fits else None  # type: ignore[return-value]
        if kind is Kind.ID:
            return None if signal == "metrics" else self.policy.id(value)
        if kind is Kind.FLAG and type(exact) is bool:
            return exact
        if type(exact) is not str:
            return None
        if exact in convention.choices or (convention.form is not None and convention.form.fullmatch(exact)):
            return exact
        if kind is Kind.CODE_NAME and convention.form is None and self.names.is_loaded(exact):
            return exact
        if kind is Kind.TEMPLATE and self.names.is_route(exact):
            return exact
        return None if kind is Kind.FLAG else OTHER

    def _note(self, key: str) -> None:
        if key in WELL_KNOWN:
            self.well_known[key] += 1
        elif key.startswith(WELL_KNOWN_PREFIXES):
            self.well_known[next(f"{prefix}*" for prefix in WELL_KNOWN_PREFIXES if key.startswith(prefix))] += 1

    def _tell(self, signal: str, what: str, name: object) -> None:
        if self.on_undeclared is not None and type(name) is str:
            self.on_undeclared(signal, what, name)

    # --- names ------------------------------------------------------------------------------------------
    def span_name(self, scope: str, name: object, attributes: Mapping[str, object]) -> str:
        """The name in a known form, else ``_OTHER``; ``attributes`` are the span's, already cleared."""
        exact = exact_value(name)
        fit = self.names.of_span(exact, attributes) if type(exact) is str and len(exact) <= LONGEST else OTHER
        if fit != exact:
            self.policy.removed("traces", Kind.TEMPLATE.value)
            self._tell("traces", "span name", exact)
        return fit

    def event_name(self, signal: str, name: object) -> str:
        """The name of an event, if it is known or declared; empty where there is none."""
        exact = exact_value(name)
        if name is None or exact == "":
            return ""
        if type(exact) is str and (exact in _EVENT_NAMES or exact == OTHER or self.policy.is_known(TEMPLATE, exact)):
            return exact
        self.policy.removed(signal, Kind.TEMPLATE.value)
        return OTHER

    def scope_name(self, signal: str, name: object) -> str:
        """A module that is loaded, or the loaded part of the name; a known logger; ``otel_ws``; else ``_OTHER``."""
        exact = exact_value(name)
        part = ""
        if type(exact) is str and len(exact) <= LONGEST:
            if exact in SCOPES or exact in (SCOPE_NAME, OTHER, "") or is_module(exact):
                return exact
            if self.policy.is_known(TEMPLATE, exact):
                return exact
            part = known_part(exact)
        self.policy.removed(signal, Kind.CODE_NAME.value)
        return part or OTHER

    def version(self, signal: str, version: object) -> str | None:
        """A release such as ``1.45.2``, else ``None``."""
        exact = exact_value(version)
        if type(exact) is str and is_version(exact):
            return exact
        if version is not None and exact != "":
            self.policy.undeclared(signal)
        return None

    def schema_url(self, signal: str, url: object) -> str:
        """One of OpenTelemetry's schemas, else empty."""
        exact = exact_value(url)
        if type(exact) is str and (exact == SCHEMA_URL or (len(exact) < 64 and _SCHEMA.fullmatch(exact))):
            return exact
        if url is not None and exact != "":
            self.policy.undeclared(signal)
        return ""

    def trace_state(self, state: Mapping[str, str] | None) -> dict[str, str]:
        """OpenTelemetry's own entry with the sampling threshold and randomness; every other vendor's goes."""
        try:
            found = state.get("ot") if state is not None else None
        except Exception:
            return {}
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
        exact = exact_value(body)
        if type(exact) is str and len(exact) <= LONGEST and exact in _SENTENCES:
            return exact
        self.policy.removed("logs", "text")
        return BODY

    def severity_text(self, text: object) -> str | None:
        """The name of a level as OpenTelemetry or Python knows it, else ``None``."""
        exact = exact_value(text)
        if type(exact) is str and len(exact) <= 10 and exact in SEVERITIES:
            return exact
        if text is not None:
            self.policy.removed("logs", "text")
        return None

    # --- metrics and resources --------------------------------------------------------------------------
    def metric(self, name: object, unit: object) -> tuple[str, str] | None:
        """The metric's name and unit as they may leave; ``None``: it is neither known nor declared."""
        exact, measure = exact_value(name), exact_value(unit)
        if type(exact) is str and len(exact) <= LONGEST:
            known = METRIC_CONVENTIONS.get(exact)
            if known is not None or self.policy.kind(exact) is Kind.NUMBER:
                fits = type(measure) is str and len(measure) < 32 and (measure in UNITS or measure in (known, ""))
                return exact, str(measure) if fits else known or ""
        self.policy.undeclared("metrics")
        self._tell("metrics", "metric", exact)
        return None

    def resource(self, attributes: Mapping[str, object]) -> dict[str, Value]:
        """What of a resource may leave: the service, its place, its runtime."""
        kept: dict[str, Value] = {}
        try:
            plain = {key: value for key, value in islice(attributes.items(), KEY_LIMIT) if type(key) is str}
            kept.update(clear_resource(plain))
            for key, value in plain.items():
                convention = RESOURCE_CONVENTIONS.get(key)
                fit = None if convention is None else self._fit("traces", convention, value, exact_value(value))
                if fit is not None and fit != OTHER:
                    kept[key] = fit
        except Exception as exc:
            fault("foreign.resource", exc)
        return kept


class _Ids:
    """Every id that may leave as it is, as a container."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def __contains__(self, text: object) -> bool:
        return self._policy.id(text) == text


class _Table:
    """Conventions laid out for the quick look: texts and ranges that conform, by key."""

    def __init__(self, conventions: dict[str, Convention], ids: _Ids | None) -> None:
        self.conventions = conventions
        self.texts: dict[str, Container[str]] = {}
        self.ranges: dict[str, tuple[float, float]] = {}
        self._ids = ids
        for key, one in conventions.items():
            if one.kind is Kind.NUMBER:
                self.ranges[key] = (one.low, one.high)
            elif one.kind is not Kind.ID:
                self.texts[key] = {*one.choices, OTHER}
            elif ids is not None:
                self.texts[key] = ids

    def remember(self, key: str, fit: Value, kind: Kind | None) -> None:
        """What was found to conform need not be looked at again: vocabularies only grow."""
        if kind is Kind.ID and self._ids is not None:
            self.texts.setdefault(key, self._ids)
        elif kind is Kind.NUMBER:
            self.ranges.setdefault(key, INT64)
        elif type(fit) is str and kind is not Kind.ID:
            known = self.texts.setdefault(key, {OTHER})
            if isinstance(known, set) and len(known) < MEMO_LIMIT:
                known.add(fit)
