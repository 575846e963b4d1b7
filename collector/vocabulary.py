"""Every key that the bundle keeps, with the form of its values, as regular expressions that a collector understands.

It reads the library's tables and an application's words, and refuses to know how a collector is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from otel_ws import forms
from otel_ws.declarations import Declarations
from otel_ws.loaded import VERSION
from otel_ws.semconv import ATTRIBUTES, CLOSE_CODE, EVENTS, IDS, METRICS, OTHER, ROLE, SUBPROTOCOL, Attribute, Kind
from otel_ws.semconv.conventions import (
    ATTRIBUTE_CONVENTIONS,
    LABEL_CONVENTIONS,
    METRIC_CONVENTIONS,
    RESOURCE_CONVENTIONS,
    Convention,
)
from otel_ws.semconv.words import EVENT_NAMES, SCOPES, SUBPROTOCOLS, UNITS

_UUID = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
ID = f"[0-9]{{1,19}}|{_UUID}|[0-7][0-9A-HJKMNP-TV-Z]{{25}}|p_[0-9a-f]{{32}}"
# Without the sign that stands between a name and its value.
TEMPLATE_LETTERS = r"A-Za-z0-9_\-./~:{}<>()\[\]^$?*+|\\#,"
ROUTE = r"/[A-Za-z0-9_\-./~:{}]{0,199}"
# Where a route of the application's own stands: on spans and points, and in JSON lines.
ROUTES = ("http.route", "http_route", "http.target", "route")
# Instrumentations, by the packages that they are released in.
SCOPE = r"(otel_ws|opentelemetry)(\.[a-z0-9_]{1,30}){0,6}"
WORD = "[A-Za-z_][A-Za-z0-9_.:-]{0,199}"
# Go's regular expressions look neither ahead nor back, so these are wider than the library's.
TEXTS = {
    Kind.ID: ID,
    Kind.CODE: f"[A-Z][A-Z_]{{1,31}}|{OTHER}",
    Kind.CODE_NAME: f"{WORD}|[1-5][0-9]{{2}}",
    Kind.TEMPLATE: f"[{TEMPLATE_LETTERS}]{{1,200}}",
    Kind.FLAG: "[Tt]rue|[Ff]alse",
    Kind.CLOSE_CODE: f"[1-4][0-9]{{3}}|{OTHER}",
}
PLACE = "[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,79}"
# Of a resource's places those that are no names.
EXACT_PLACES = {
    **dict.fromkeys(("telemetry.sdk.version", "telemetry.distro.version"), VERSION.pattern),
    "container.id": "[0-9a-f]{12}|[0-9a-f]{64}",
}
# A log line's own fields, beside those that are declared.
LINE_FIELDS = {
    "timestamp": "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z",
    "level": "INFO|WARNING|ERROR",
    "trace_id": "[0-9a-f]{32}",
    "span_id": "[0-9a-f]{16}",
}
# What the two connectors make of spans: their metrics, and the labels of these.
CONNECTORS = r"traces[._](span[._]metrics|service[._]graph)[._][a-z._]+"
CONNECTOR_UNITS = ("{call}", "s")
CONNECTOR_LABELS = {
    "span.name": "",
    "span.kind": "SPAN_KIND_[A-Z]+",
    "status.code": "STATUS_CODE_[A-Z]+",
    "client": PLACE,
    "server": PLACE,
    "connection_type": "|messaging_system|database|virtual_node",
    "failed": "true|false",
    "virtual_node": "client|server",
}


@dataclass
class Form:
    """What values a key may have: texts that match any pattern, numbers if it is a number."""

    patterns: list[str] = field(default_factory=list)
    is_number: bool = False
    # An id or a number that does not fit goes; in place of a word, one sees that there was one.
    goes: bool = False

    def add(self, kind: Kind, choices: Iterable[str] = (), pattern: str = "") -> None:
        """Let values of a kind through, too."""
        self.goes = self.goes or kind in (Kind.ID, Kind.NUMBER, Kind.FLAG)
        if kind is Kind.NUMBER:
            self.is_number = True
        elif kind is Kind.CHOICE:
            self.patterns.append("|".join(filter(None, [words(choices), pattern, OTHER])))
        else:
            self.patterns.append(pattern or TEXTS[kind])

    @property
    def pattern(self) -> str:
        """One regular expression for all texts that fit."""
        alternatives = dict.fromkeys(part for pattern in self.patterns for part in split(pattern))
        return f"^({'|'.join(alternatives)})$"


def literal(text: str) -> str:
    """A pattern for one text."""
    return re.escape(text).replace(r"\ ", " ")


def split(pattern: str) -> list[str]:
    """A pattern's alternatives, where none of them holds a group."""
    return pattern.split("|") if not set("([") & set(pattern) else [pattern]


def words(choices: Iterable[str]) -> str:
    """A pattern for a closed list."""
    return "|".join(literal(one) for one in sorted(choices))


class Vocabulary:
    """Every key with the form of its values, for each place where attributes stand."""

    def __init__(self, declared: Declarations) -> None:
        self.declared = declared
        self.spans: dict[str, Form] = {}
        self.labels: dict[str, Form] = {}
        self.resource = {key: Form([EXACT_PLACES.get(key, PLACE)]) for key in forms.RESOURCE}
        self.lines: dict[str, Form] = {}
        for attribute in ATTRIBUTES:
            self._ours(attribute)
        for metric in METRICS:
            for attribute, label in metric.spelling:
                self._add(self.labels, label, attribute.kind, self._choices(attribute))
        for conventions, places in (
            (ATTRIBUTE_CONVENTIONS, (self.spans, self.labels)),
            (LABEL_CONVENTIONS, (self.labels,)),
            (RESOURCE_CONVENTIONS, (self.resource,)),
        ):
            for key, convention in conventions.items():
                for place in places:
                    if place is not self.labels or convention.kind is not Kind.ID:
                        self._foreign(place, key, convention)
        self._declared()
        for key, pattern in CONNECTOR_LABELS.items():
            self.labels.setdefault(key, Form()).patterns.append(pattern or self.span_name[2:-2])
        for key, pattern in LINE_FIELDS.items():
            self.lines[key] = Form([pattern], goes=True)

    def _add(
        self, place: dict[str, Form], key: str, kind: Kind, choices: Iterable[str] = (), pattern: str = ""
    ) -> None:
        if key in ROUTES:
            pattern = self.routes or pattern
        place.setdefault(key, Form()).add(kind, choices, pattern)

    def _choices(self, attribute: Attribute) -> tuple[str, ...]:
        return (*attribute.choices, *(self.declared.roles if attribute is ROLE else ()))

    def _ours(self, attribute: Attribute) -> None:
        pattern = ""
        if attribute is SUBPROTOCOL:
            # Some applications select a token, because browsers can send one in no other place.
            pattern = "|".join(re.escape(one) for one in (*SUBPROTOCOLS, *self.declared.subprotocols, OTHER))
        choices = self._choices(attribute)
        self._add(self.spans, attribute.key, attribute.kind, choices, pattern)
        if attribute is CLOSE_CODE:
            self.spans[attribute.key].goes = True
        if attribute.label is not None:
            self._add(self.labels, attribute.label, attribute.kind, choices, pattern)
        if attribute.field is not None:
            self._add(self.lines, attribute.field, attribute.kind, choices, pattern)

    def _foreign(self, place: dict[str, Form], key: str, convention: Convention) -> None:
        pattern = convention.form.pattern if convention.form is not None else ""
        self._add(place, key, convention.kind, convention.choices, pattern)

    def _declared(self) -> None:
        for key in self.declared.ids:
            self._add(self.spans, key, Kind.ID)
            self._add(self.lines, key.replace(".", "_"), Kind.ID)
        for place in (self.spans, self.labels):
            for key, choices in self.declared.choices:
                self._add(place, key, Kind.CHOICE, choices)
            for key in self.declared.codes:
                self._add(place, key, Kind.CODE_NAME)
            for key in self.declared.numbers:
                self._add(place, key, Kind.NUMBER)

    # --- routes -----------------------------------------------------------------------------------------
    @property
    def routes(self) -> str:
        """A pattern for the application's routes: its templates with a slash and no space; empty where it has none."""
        declared = [literal(text) for text in self.declared.templates if "/" in text and " " not in text]
        return "|".join([*declared, OTHER]) if declared else ""

    # --- names ------------------------------------------------------------------------------------------
    @property
    def metric_ids(self) -> list[str]:
        """Ids by which an operator may break ``ws.active_connections`` down; a user's is none of them."""
        keys = [*(one.key for one in IDS), *self.declared.ids]
        return [key.replace(".", "_") for key in keys if key not in ("user.id", "ws.connection.id")]

    @property
    def metric_name(self) -> str:
        """A pattern for the metrics that are kept."""
        known = {*(one.name for one in METRICS), *METRIC_CONVENTIONS, *self.declared.numbers}
        return f"^({'|'.join(re.escape(name) for name in sorted(known))}|{CONNECTORS})$"

    @property
    def units(self) -> list[str]:
        """The units that are kept."""
        ours = {one.unit for one in METRICS} | set(METRIC_CONVENTIONS.values())
        return sorted({*ours, *UNITS, *CONNECTOR_UNITS} - {""})

    @property
    def scope_name(self) -> str:
        """A pattern for the instrumentations, loggers and declared names that records may come from."""
        known = [literal(name) for name in sorted({*SCOPES, *self.declared.templates, OTHER})]
        return f"^(|{'|'.join(known)}|{SCOPE})$"

    @property
    def event_names(self) -> list[str]:
        """The events that are kept by name."""
        return [*(one.name for one in EVENTS), *sorted(EVENT_NAMES), *self.declared.templates]

    @property
    def span_name(self) -> str:
        """A pattern for names of spans: a declared text; a word, with a route behind it; the layer's."""
        declared = [literal(text) for text in self.declared.templates]
        layer = f"(publish|process) [{TEMPLATE_LETTERS}]{{1,200}}"
        return f"^({'|'.join([*declared, layer, f'{WORD}( ({self.routes or ROUTE}|{OTHER}))?'])})$"
