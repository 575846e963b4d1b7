"""Writes the tables of the documentation from the code that they describe; ``--check`` fails where one is old.

The settings come from ``otel_ws.settings``, the telemetry from ``otel_ws.semconv``; the words around the tables
are kept by hand, between the markers nothing is.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from otel_ws import semconv, settings
from otel_ws.semconv import Attribute, Kind

HERE = Path(__file__).parent
FORMS = {
    Kind.ID: "id: an integer of up to 19 digits, a UUID, a ULID or a pseudonym",
    Kind.CODE: "code: capital letters and `_`",
    Kind.CODE_NAME: "code name",
    Kind.TEMPLATE: "template",
    Kind.NUMBER: "number",
    Kind.FLAG: "true, false",
    Kind.CLOSE_CODE: "close code, 1000 to 4999",
}


def rows(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str | None) -> str:
    """Text as code; nothing as a dash."""
    return f"`{text}`" if text else "-"


def form(attribute: Attribute) -> str:
    """What values an attribute may have."""
    return ", ".join(attribute.choices) if attribute.kind is Kind.CHOICE else FORMS[attribute.kind]


def settings_table() -> str:
    """Every setting."""
    return rows(
        ("variable", "default", "allowed", "what it does"),
        ((code(name), code(default), allowed, doc) for name, default, allowed, doc in settings.table()),
    )


def attributes_table() -> str:
    """Every attribute with its spelling on each signal."""
    return rows(
        ("on spans and log records", "label on metrics", "field in JSON lines", "values", "what it says"),
        ((code(one.key), code(one.label), code(one.field), form(one), one.brief) for one in semconv.ATTRIBUTES),
    )


def metrics_table() -> str:
    """Every metric with its Prometheus name."""
    return rows(
        ("metric", "in Prometheus", "kind", "unit", "labels", "what it says"),
        (
            (
                code(one.name),
                code(one.prometheus_name),
                one.instrument.value.replace("_", "-") + (", observed" if one.live else ""),
                code(one.unit),
                ", ".join(code(name) for name in one.label_names) or "-",
                one.brief,
            )
            for one in semconv.METRICS
        ),
    )


def spans_table() -> str:
    """Every kind of span."""
    return rows(
        ("span", "kind", "attributes", "how long"),
        (
            (code(one.name), one.kind, ", ".join(code(attribute.key) for attribute in one.attributes), one.brief)
            for one in semconv.SPANS
        ),
    )


def events_table() -> str:
    """Every event with its fields."""
    return rows(
        ("event", "level", "message", "fields of the JSON line beside the ids"),
        (
            (code(one.name), one.level.name, one.message, ", ".join(code(field.field) for field in one.fields))
            for one in semconv.EVENTS
        ),
    )


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "attributes": attributes_table,
    "metrics": metrics_table,
    "spans": spans_table,
    "events": events_table,
}


def filled(text: str) -> str:
    """The page with every table between its markers written anew."""
    for name, table in TABLES.items():
        marked = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = marked.search(text)
        if found:
            text = text[: found.start()] + f"{found[1]}\n{table()}\n\n{found[2]}" + text[found.end() :]
    return text


def main() -> int:
    """Write the pages, or with ``--check`` say which are old."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a table is old")
    check = parser.parse_args().check
    old = 0
    for page in sorted(HERE.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if before == after:
            continue
        old += 1
        if check:
            name = str(page.relative_to(HERE.parent))
            sys.stdout.writelines(
                difflib.unified_diff(
                    before.splitlines(True), after.splitlines(True), name, name + " (as the code says)"
                )
            )
        else:
            page.write_text(after, encoding="utf-8")
            print(f"wrote {page.relative_to(HERE.parent)}")
    if check:
        print(f"{old} pages are old; run python docs/generate.py" if old else "all tables are as the code says")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
