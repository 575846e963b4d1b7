"""Writes what the bundle may keep, from the declarations that the library obeys; ``--check`` fails where it is old.

    python collector/generate.py [--check] [--policy FILE]

``otelcol/ids-only.yaml`` holds the collector's processors, ``loki/loki.yaml`` gets Loki's own list between its markers.
Both come from ``otel_ws.semconv``, the conventions' tables and a policy file in the words of ``otel_ws.declare()``
(``policy.toml`` beside this file). It knows which key may carry which form; it refuses to know pipelines and addresses.
``grafana/dashboards`` comes from ``collector/dashboards``, which needs packages of its own and no policy: without them
the dashboards stay as they are.

The collector is the second wall. It sees texts, not the application: a form is all that it can check, where the
library also knows which routes, classes and types there are.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    # Behind everything else: otel_ws is the one that is installed.
    sys.path.append(str(HERE.parent))

from collector.vocabulary import ID, PLACE, TEMPLATE_LETTERS, Form, Vocabulary, literal, words
from otel_ws import declarations
from otel_ws.foreign import BODY
from otel_ws.loaded import VERSION
from otel_ws.semconv import EVENTS, OTHER, SCHEMA_URL
from otel_ws.semconv.words import EVENT_NAMES, SEVERITIES

PROCESSORS = HERE / "otelcol" / "ids-only.yaml"
LOKI = HERE / "loki" / "loki.yaml"
POLICY = HERE / "policy.toml"
MAKE_DASHBOARDS = ("grafana_foundation_sdk", "yaml")
SPAN_EVENTS = sorted(EVENT_NAMES)


def ottl(pattern: str) -> str:
    """A text as OTTL quotes it."""
    return '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(keys: Iterable[str]) -> str:
    """A list of texts as OTTL writes it."""
    return "[" + ", ".join(ottl(key) for key in keys) + "]"


SEVERITY = f'set(log.severity_text, "") where not ContainsValue({listed(["", *sorted(SEVERITIES)])}, log.severity_text)'


def checks(place: str, forms_of: dict[str, Form]) -> Iterator[str]:
    """The statements that keep the known keys of a map, and of these the values that have their form."""
    # OTLP may repeat a key: a look at it would see the first alone, and keep all. This makes the map anew, without.
    yield f"flatten({place})"
    yield f"keep_keys({place}, {listed(forms_of)})"
    for key, form in forms_of.items():
        value = f"{place}[{ottl(key)}]"
        misfit = []
        if form.patterns:
            # IsMatch turns any value into a text: of bytes it would see base64, which has no sign of what is in it.
            plain = f"IsString({value}) or IsInt({value}) or IsBool({value})"
            misfit.append(f"(not ({plain}) or not IsMatch({value}, {ottl(form.pattern)}))")
        if form.is_number:
            misfit.append(f"not IsInt({value}) and not IsDouble({value})")
        change = f"delete_key({place}, {ottl(key)})" if form.goes else f"set({value}, {ottl(OTHER)})"
        yield f"{change} where {value} != nil and {' and '.join(misfit)}"


def around(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """What stands around every signal: the resource and the scope."""
    url = ottl(SCHEMA_URL)
    return {
        "resource": [
            *checks("resource.attributes", vocabulary.resource),
            f'set(resource.schema_url, "") where resource.schema_url != {url}',
        ],
        "scope": [
            'delete_matching_keys(scope.attributes, ".*")',
            f'set(scope.schema_url, "") where scope.schema_url != {url}',
            f"set(scope.name, {ottl(OTHER)}) where not IsMatch(scope.name, {ottl(vocabulary.scope_name)})",
            f'set(scope.version, "") where not IsMatch(scope.version, {ottl(f"^({VERSION.pattern})?$")})',
        ],
    }


def traces(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Statements for spans. Nothing reaches their links: the library makes those from ids alone."""
    name = f"not IsMatch(span.name, {ottl(vocabulary.span_name)})"
    return {
        **around(vocabulary),
        "span": [
            'set(span.status.message, "")',
            'set(span.trace_state, "")',
            f"set(span.name, {ottl(OTHER)}) where {name}",
            *checks("span.attributes", vocabulary.spans),
        ],
        "spanevent": [
            f"set(spanevent.name, {ottl(OTHER)}) where not ContainsValue({listed(SPAN_EVENTS)}, spanevent.name)",
            *checks("spanevent.attributes", vocabulary.spans),
        ],
    }


def logs(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Statements for log records: the text is a known event's sentence, or that there was one."""
    unknown = f"not ContainsValue({listed(vocabulary.event_names)}, log.event_name)"
    bodies = [f"set(log.body, {ottl(one.message)}) where log.event_name == {ottl(one.name)}" for one in EVENTS]
    return {
        **around(vocabulary),
        "log": [
            SEVERITY,
            f'set(log.event_name, {ottl(OTHER)}) where log.event_name != "" and {unknown}',
            f"set(log.body, {ottl(BODY)}) where log.body != nil",
            *bodies,
            *checks("log.attributes", vocabulary.spans),
            # Loki has no place for an event's name, and drops it without a word.
            'set(log.attributes["event.name"], log.event_name) where log.event_name != ""',
        ],
    }


def metrics(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Statements for metrics: an id is a label of one metric alone, if the operator asked for it."""
    labels = dict(vocabulary.labels)
    for key in vocabulary.metric_ids:
        labels[key] = Form([f"{ID}|{OTHER}"])
    by_id = 'metric.name != "ws.active_connections.by_id"'
    return {
        **around(vocabulary),
        "metric": [
            'set(metric.description, "")',
            'delete_matching_keys(metric.metadata, ".*")',
            f'set(metric.unit, "") where not ContainsValue({listed(["", *vocabulary.units])}, metric.unit)',
        ],
        "datapoint": [
            *checks("datapoint.attributes", labels),
            *(f"delete_key(datapoint.attributes, {ottl(key)}) where {by_id}" for key in vocabulary.metric_ids),
        ],
        # The ids of the trace are no attributes: they stay.
        "exemplar": ['delete_matching_keys(exemplar.filtered_attributes, ".*")'],
    }


def lines(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """Statements for JSON lines, read from files: the same fields, each in its form, written again as one line."""
    sentences = "|".join(literal(one.message) for one in EVENTS)
    fields = {
        **vocabulary.lines,
        "event": Form([words(one.name for one in EVENTS)]),
        "message": Form([sentences]),
    }
    fits = f'not IsMatch(log.body["event"], {ottl(fields["event"].pattern)})'
    level = 'resource.attributes["level"]'
    service = 'resource.attributes["service.name"]'
    return {
        "resource": [
            'keep_keys(resource.attributes, ["service.name", "level"])',
            f"set({level}, {ottl(OTHER)}) where not IsMatch({level}, {ottl(fields['level'].pattern)})",
            f"set({service}, {ottl(OTHER)}) where not IsMatch({service}, {ottl(f'^({PLACE})$')})",
        ],
        "log": [
            # What stood in the line for its level, whatever it is.
            SEVERITY,
            f'set(log.body, {{"event": {ottl(OTHER)}}}) where not IsMap(log.body) or {fits}',
            *checks("log.body", fields),
            'delete_matching_keys(log.attributes, ".*")',
            'set(log.attributes["event.name"], log.body["event"])',
            "set(log.body, String(log.body))",
        ],
    }


def yaml_text(text: str) -> str:
    """A text as YAML quotes it; the collector takes ``$$`` for ``$``."""
    return "'" + text.replace("$", "$$").replace("'", "''") + "'"


def transform(name: str, signal: str, groups: dict[str, list[str]]) -> list[str]:
    """One transform processor, with a group for each context.

    A group with statements for spans and for span events would run once for each event: never, for a span without.
    """
    out = [f"  transform/{name}:", "    error_mode: propagate", f"    {signal}_statements:"]
    for context, statements in groups.items():
        out += [f"      - context: {context}", "        statements:"]
        out += [f"          - {yaml_text(statement)}" for statement in statements]
    return out


def processors(vocabulary: Vocabulary) -> str:
    """``otelcol/ids-only.yaml``."""
    keys = {*vocabulary.spans, *vocabulary.labels, *vocabulary.resource, *vocabulary.metric_ids, "event.name"}
    # With a space, for names of spans; which key may hold one is decided below.
    unsafe = rf"(?s)^.*[^{TEMPLATE_LETTERS} ].*$"
    out = [
        "# Written by collector/generate.py from otel_ws.semconv and policy.toml. Do not edit: change those.",
        "processors:",
        "  # Attributes by key, wherever they stand; a value with a letter that no id and no code has is masked whole.",
        "  redaction/ids_only:",
        "    allow_all_keys: false",
        "    # Anything else would add attributes of its own, a label on every point.",
        "    summary: silent",
        "    redact_all_types: true",
        f"    blocked_values: [{yaml_text(unsafe)}]",
        "    allowed_keys:",
        *(f"      - {key}" for key in sorted(keys)),
        "  filter/known_metrics:",
        "    error_mode: propagate",
        f"    metric_conditions: [{yaml_text(f'not IsMatch(metric.name, {ottl(vocabulary.metric_name)})')}]",
        "  # A value by its key's form, and every text that is no attribute.",
        *transform("traces_ids_only", "trace", traces(vocabulary)),
        *transform("logs_ids_only", "log", logs(vocabulary)),
        *transform("metrics_ids_only", "metric", metrics(vocabulary)),
        *transform("lines_ids_only", "log", lines(vocabulary)),
    ]
    return "\n".join(out) + "\n"


def loki(vocabulary: Vocabulary, text: str) -> str:
    """``loki/loki.yaml`` with its list written anew: a third wall, which knows keys alone."""
    start, end = "      # keys: written by collector/generate.py\n", "      # end of keys\n"
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"{LOKI} has lost the markers of its list")
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    keys = ["event.name", *sorted(vocabulary.spans)]
    made = ["      - action: structured_metadata", "        attributes:", *(f"          - {key}" for key in keys)]
    return before + start + "\n".join(made) + "\n" + end + after


def made(policy: Path) -> dict[Path, str]:
    """Every generated file with its text."""
    vocabulary = Vocabulary(declarations.load(policy))
    return {PROCESSORS: processors(vocabulary), LOKI: loki(vocabulary, LOKI.read_text(encoding="utf-8"))}


def dashboards() -> dict[Path, str]:
    """Every dashboard with its text; none where the packages that make them are not installed."""
    if not all(importlib.util.find_spec(name) for name in MAKE_DASHBOARDS):
        print(f"dashboards are left alone: {' and '.join(MAKE_DASHBOARDS)} make them", file=sys.stderr)
        return {}
    from collector import dashboards

    return dashboards.made()


def main() -> int:
    """Write the files, or with ``--check`` say which are old."""
    parser = argparse.ArgumentParser(description="Write what the bundle may keep.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where a file is old")
    parser.add_argument("--policy", type=Path, default=POLICY, help="your application's words (default: policy.toml)")
    options = parser.parse_args()
    try:
        files = {**made(options.policy), **dashboards()}
    except ValueError as exc:
        print(f"{options.policy}: {exc}", file=sys.stderr)
        return 2
    old = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in old:
        if not options.check:
            path.write_text(files[path], encoding="utf-8")
        print(f"{'old' if options.check else 'wrote'}: {path.relative_to(HERE.parent)}")
    return 1 if options.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
