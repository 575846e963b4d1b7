"""Writes the tables of the documentation from the code that they describe; ``--check`` fails where one is old.

The settings come from ``otel_ws.settings``, the telemetry from ``otel_ws.semconv``, the endpoints from
``otel_ws.endpoints`` and the schemas of their answers; the words around the tables are kept by hand, between the
markers nothing is. ``openapi.json`` is written whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from otel_ws import semconv, settings
from otel_ws.endpoints.answers import PAGE, ROUTES
from otel_ws.exposition import OPENMETRICS, TEXT
from otel_ws.semconv import Attribute, Kind
from otel_ws.thresholds import Thresholds

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


def thresholds_table() -> str:
    """Where the rules of the verdict fire."""
    return rows(("name", "default"), ((code(one.name), f"{one.default:g}") for one in dataclasses.fields(Thresholds)))


def endpoints_table() -> str:
    """Every endpoint that answers with numbers, and the page."""
    return rows(
        ("endpoint", "what it tells", "who may ask", "schema of the answer"),
        (
            (
                code(path),
                route.brief,
                "everybody" if route.is_open else "staff, or with the token",
                f"[{route.schema}.json](../otel_ws/monitoring/schemas/{route.schema}.json)" if route.schema else "-",
            )
            for path, route in ROUTES.items()
            if path == PAGE or not path.startswith(PAGE) or route.schema
        ),
    )


def schema(name: str) -> dict[str, Any]:
    """The schema of an answer, as OpenAPI has it."""
    text = files("otel_ws.monitoring").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    del found["$schema"]
    return found


def openapi() -> str:
    """The OpenAPI description of the endpoints; what may go wrong is the same for all."""
    known = sorted({route.schema for route in ROUTES.values() if route.schema} | {"error"})
    unavailable = {"readiness": "readiness", "events": "events"}
    paths: dict[str, Any] = {}
    for path, route in ROUTES.items():
        if not route.schema and path != "/metrics":
            continue
        kinds = ["application/json"] if route.schema else [TEXT.partition(";")[0], OPENMETRICS.partition(";")[0]]
        told: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{route.schema}"}} if route.schema else {}
        answers = {"200": {"description": route.brief, "content": dict.fromkeys(kinds, told)}}
        if route.schema != "healthz":
            other = unavailable.get(route.schema, "error")
            about = "Telemetry is off." if other == "error" else "The answer says what is wrong."
            answers["503"] = _answer(about, other)
        if not route.is_open:
            answers["401"] = _answer("No credential, or a wrong one.", "error")
            answers["403"] = _answer("A user who is no staff.", "error")
        answers["405"] = _answer("Another method than GET and HEAD.", "error")
        paths[path] = {
            "get": {
                "summary": route.brief,
                "operationId": path.strip("/").replace("/", "-"),
                "security": [] if route.is_open else [{"token": []}, {"session": []}],
                "responses": dict(sorted(answers.items())),
            }
        }
    description = {
        "openapi": "3.1.0",
        "info": {
            "title": "otel-ws",
            "version": "1",
            "description": "What runs here, how it is, and how fast. Read-only; no answer holds personal data.",
        },
        "paths": paths,
        "components": {
            "schemas": {name: schema(name) for name in known},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "OTEL_WS_TOKEN_FILE"},
                "session": {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "Staff, in Django"},
            },
        },
    }
    return json.dumps(description, indent=2) + "\n"


def _answer(about: str, name: str) -> dict[str, Any]:
    told = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    return {"description": about, "content": {"application/json": told}}


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "attributes": attributes_table,
    "metrics": metrics_table,
    "spans": spans_table,
    "events": events_table,
    "endpoints": endpoints_table,
    "thresholds": thresholds_table,
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
    for page in [*sorted(HERE.rglob("*.md")), HERE / "openapi.json"]:
        before = page.read_text(encoding="utf-8") if page.exists() else ""
        after = filled(before) if page.suffix == ".md" else openapi()
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
