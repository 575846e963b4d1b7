"""The search for what must not leave, through every value of everything that was exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from demo.compare import OURS, Check

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from demo.sink import Received


@dataclass
class Search:
    """How many values were looked at in one place, and where (never what) something was found."""

    place: str
    # Whether a find here is a failure of otel-ws: it answers for its own telemetry, and behind the gate for all.
    is_ours: bool = True
    checked: int = 0
    found: list[str] = field(default_factory=list)


class Searcher:
    """Knows the secrets; tells only where one was found."""

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = secrets
        self._judged: dict[str, bool] = {}

    def is_leak(self, value: str) -> bool:
        """Whether a value holds a secret in any form."""
        if value not in self._judged:
            folded = value.lower()
            self._judged[value] = any(secret in folded for secret in self._secrets)
        return self._judged[value]

    def redact(self, text: str) -> str:
        """A text of several lines without those that hold a secret."""
        lines: list[str] = []
        for is_leak, group in groupby(text.splitlines(), self.is_leak):
            held = list(group)
            lines += [f"[{len(held)} lines with personal data]"] if is_leak else held
        return "\n".join(lines)

    def redact_check(self, check: Check) -> Check:
        """A comparison that may be printed, though what it found may not."""
        hidden = "[personal data]"
        labels = tuple((name, hidden if self.is_leak(value) else value) for name, value in check.labels)
        return replace(check, name=hidden if self.is_leak(check.name) else check.name, labels=labels)

    def look(self, search: Search, where: str, value: object) -> None:
        """Check one value."""
        search.checked += 1
        if self.is_leak(value if isinstance(value, str) else str(value)):
            search.found.append(where)

    # --- places -----------------------------------------------------------------------------------------
    def otlp(self, received: Received, is_gated: bool) -> tuple[Search, Search]:
        """All signals: those of our scope (with the resource), and those of everybody else."""
        ours, others = Search(f"OTLP, scope {OURS}"), Search("OTLP, other scopes", is_ours=is_gated)
        for signal, requests in (
            ("traces", received.traces),
            ("metrics", received.metrics),
            ("logs", received.logs),
        ):
            for request in requests:
                for _, resources in request.ListFields():
                    for resource in resources:
                        self._resource(signal, resource, ours, others)
        return ours, others

    def _resource(self, signal: str, resource: Message, ours: Search, others: Search) -> None:
        for descriptor, value in resource.ListFields():
            if not descriptor.name.startswith("scope_"):
                for where, leaf in _leaves(value, f"{signal}.{descriptor.name}"):
                    self.look(ours, where, leaf)
                continue
            for scoped in value:
                search = ours if scoped.scope.name == OURS else others
                for where, leaf in _leaves(scoped, signal):
                    self.look(search, where, leaf)

    def prometheus(self, texts: list[str]) -> Search:
        """Every line as it is, and every label's name and value."""
        search = Search("Prometheus text")
        for line in "\n".join(texts).splitlines():
            self.look(search, "line", line)
        for family in chain.from_iterable(map(text_string_to_metric_families, texts)):
            for sample in family.samples:
                for name, value in sample.labels.items():
                    self.look(search, f"{sample.name} label", name)
                    self.look(search, f"{sample.name} {name}", value)
        return search

    def json_lines(self, lines: list[str]) -> Search:
        """Every line as it is, and every field's name and value."""
        search = Search("JSON lines")
        for line in lines:
            self.look(search, "line", line)
            for where, leaf in _json_leaves(json.loads(line), "line"):
                self.look(search, where, leaf)
        return search


def _leaves(value: Any, where: str) -> Iterator[tuple[str, object]]:
    """Every scalar of a protobuf message, keys of attributes included, bytes as hexadecimal and as text."""
    if hasattr(value, "ListFields"):
        for descriptor, inner in value.ListFields():
            yield from _leaves(inner, f"{where}.{descriptor.name}")
    elif isinstance(value, bytes):
        yield where, value.hex()
        yield where, value.decode("utf-8", "replace")
    elif isinstance(value, (str, int, float, bool)):
        yield where, value
    else:
        for inner in value:
            yield from _leaves(inner, where)


def _json_leaves(value: Any, where: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield where, name
            yield from _json_leaves(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _json_leaves(inner, where)
    else:
        yield where, value
