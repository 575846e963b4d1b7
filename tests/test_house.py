"""The rules of the house, read from the source: who may import, emit and clear what."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_ws
from otel_ws import semconv
from otel_ws.semconv import Attribute, Event, Metric, SpanType

HOUSE = Path(otel_ws.__file__).parent
MODULES = {str(path.relative_to(HOUSE).as_posix()): path for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
FORBIDDEN_WORDS = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "manager",
    "misc",
    "client",
    "session",
    "socket",
    "frame",
    "packet",
    "callback",
    "broker",
    "room",
    "topic",
    "hook",
    "plugin",
}
PUBLIC = [
    "ChannelsInstrumentor",
    "WebSocketMiddleware",
    "__version__",
    "broadcast",
    "configure",
    "declare",
    "get_metrics_snapshot",
    "health",
    "record_auth_failure",
    "record_error",
    "record_message_denied",
    "record_ping",
    "record_ratelimit_reject",
    "set_ids",
    "set_message_type",
    "set_role",
]
# Where spans and log records are written to.
EMITTING = {"set_attribute", "set_attributes", "add_event", "record_exception", "emit", "set_status", "update_name"}
# Adds and records of instruments, which have common names.
MEASURING = {"create_counter", "create_histogram", "create_up_down_counter", "create_gauge"} | {
    f"create_observable_{kind}" for kind in ("counter", "up_down_counter", "gauge")
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(package: str) -> set[str]:
    """The modules that import a package or something in it."""
    return {
        name
        for name, tree in TREES.items()
        if any(one == package or one.startswith(f"{package}.") for one in imported(tree))
    }


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, with the last part of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield function.attr, node
            elif isinstance(function, ast.Name):
                yield function.id, node


def callers(*names: str) -> set[str]:
    """The modules that call something of one of these names."""
    return {module for module, tree in TREES.items() if any(name in names for name, _ in calls(tree))}


def beyond(modules: set[str], *allowed: str) -> set[str]:
    """The modules that are neither one of the allowed nor in one of the allowed folders."""
    return {name for name in modules if not any(name == one or name.startswith(f"{one}/") for one in allowed)}


# --- imports ----------------------------------------------------------------------------------------------------
def test_few_modules_speak_opentelemetry() -> None:
    """Only signals, the carrier, the instrumentor, the gate, the SDK's door and the capture import OpenTelemetry."""
    others = beyond(
        importers("opentelemetry"),
        "signals",
        "channels/carrier.py",
        "instrumentor.py",
        "gate",
        "sdk",
        "testing",
    )

    assert set() == others


@pytest.mark.parametrize("package", ["opentelemetry.sdk", "opentelemetry.exporter"])
def test_the_sdk_is_an_annex(package: str) -> None:
    """Only the gate, the SDK's door and the capture import the SDK."""
    others = beyond(importers(package), "gate", "sdk", "testing")

    assert set() == others


@pytest.mark.parametrize("package", ["opentelemetry.semconv", "opentelemetry.instrumentation.utils"])
def test_beta_packages_are_not_imported(package: str) -> None:
    """Names of semantic conventions are copied, because their package is beta and pins the SDK."""
    modules = importers(package)

    assert set() == modules


@pytest.mark.parametrize("package", ["channels", "django", "asgiref"])
def test_frameworks_are_behind_their_doors(package: str) -> None:
    """Only the doors into Channels and Django import them; the SDK's door asks whether Channels is there."""
    others = beyond(importers(package), "channels", "django", "sdk/__init__.py")

    assert set() == others


@pytest.mark.parametrize("package", ["pytest", "daphne", "uvicorn", "starlette", "redis"])
def test_no_server_and_no_tool_is_imported(package: str) -> None:
    """The library imports no server, no test tool and no client of a store."""
    others = beyond(importers(package), "ops", "cli")

    assert set() == others


def test_no_module_imports_another_ones_private_names() -> None:
    """A name with an underscore stays in its module."""
    private = {
        f"{name}: {one}"
        for name, tree in TREES.items()
        for one in imported(tree)
        if one.startswith("otel_ws") and re.search(r"\._[a-z]", one) and "_private" not in one
    }

    assert set() == private


# --- emitting and clearing --------------------------------------------------------------------------------------
def test_only_signals_write_to_spans_and_log_records() -> None:
    """Attributes, status, names and events of spans, and log records, are written in one package."""
    # The light span offers applications the same verbs as the SDK's.
    others = beyond(callers(*EMITTING), "signals", "gate", "sdk/light.py")

    assert set() == others


def test_only_signals_make_instruments() -> None:
    """Instruments are made in one package."""
    others = beyond(callers(*MEASURING), "signals", "gate", "sdk")

    assert set() == others


def test_no_exception_is_recorded_on_a_span() -> None:
    """Nobody calls ``record_exception``: an exception's text may hold anybody's data."""
    modules = callers("record_exception")

    assert set() == modules


@pytest.mark.parametrize("keyword", ["record_exception", "set_status_on_exception"])
def test_every_span_is_started_without_recording_exceptions(keyword: str) -> None:
    """Each start of a span switches off what records an exception by itself."""
    careless = [
        f"{name}:{call.lineno}"
        for name, tree in TREES.items()
        for called, call in calls(tree)
        if called in {"start_span", "start_as_current_span"}
        and not any(
            one.arg == keyword and isinstance(one.value, ast.Constant) and one.value.value is False
            for one in call.keywords
        )
    ]

    assert [] == careless


def test_only_the_policy_clears() -> None:
    """A mapping is called cleared by the policy, and by the connection that joins cleared ones."""
    others = beyond(callers("Cleared"), "policy.py", "connection.py")

    assert set() == others


def test_nothing_is_printed() -> None:
    """Only programs, and what speaks before logging is set up, print."""
    others = beyond(callers("print"), "cli", "ops", "instrumentor.py", "__main__.py")

    assert set() == others


def test_no_traceback_is_logged() -> None:
    """No log call of ours passes an exception: its text may hold anybody's data."""
    logging_calls = {
        f"{name}:{call.lineno}"
        for name, tree in TREES.items()
        for called, call in calls(tree)
        # A log call has a message; a task that is asked what it raised has none.
        if (called == "exception" and call.args) or any(one.arg == "exc_info" for one in call.keywords)
    }

    assert set() == logging_calls


def test_nothing_sleeps() -> None:
    """Nothing in the library waits for time to pass, but a start-up for a neighbour's, and whoever is to listen."""
    modules = callers("sleep")

    assert {"processes/group.py", "processes/ports.py"} == modules


# --- doors ------------------------------------------------------------------------------------------------------
def test_only_doors_await() -> None:
    """``await`` appears only in doors; everything else is told facts."""
    waiting = {
        name
        for name, tree in TREES.items()
        if any(
            isinstance(node, (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)) for node in ast.walk(tree)
        )
    }

    assert set() == beyond(waiting, "asgi.py", "channels", "django", "endpoints", "cli", "ops")


def test_the_semantic_conventions_import_nothing_of_ours() -> None:
    """The tables are the lowest floor."""
    modules = {
        one
        for name, tree in TREES.items()
        if name.startswith("semconv/")
        for one in imported(tree)
        if one.startswith("otel_ws") and not one.startswith("otel_ws.semconv")
    }

    assert set() == modules


# --- names ------------------------------------------------------------------------------------------------------
def test_the_public_names_are_the_documented_ones() -> None:
    """``otel_ws.__all__`` is DESIGN section 9, sorted, and nothing else."""
    names = otel_ws.__all__

    assert PUBLIC == names


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_described(name: str) -> None:
    """Each public name can be had, and has a docstring."""
    found = getattr(otel_ws, name)

    assert isinstance(found, str) or found.__doc__


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is(name: str) -> None:
    """Every module has a docstring that ends its first sentence."""
    said = ast.get_docstring(TREES[name])

    assert said
    assert "." in said or ":" in said


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short(name: str) -> None:
    """No module passes 400 lines."""
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())

    assert lines <= 400


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_name_says_something(name: str) -> None:
    """No module is called utils, helpers, common, or by a word that the design leaves to others."""
    words = set(re.split(r"[/_.]", name.removesuffix(".py")))

    assert set() == words & FORBIDDEN_WORDS


def test_every_module_asks_for_late_annotations() -> None:
    """Every module with code says ``from __future__ import annotations``, or has no code."""
    without = {
        name
        for name, tree in TREES.items()
        if any(isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AnnAssign)) for node in tree.body)
        and "__future__" not in set(imported(tree))
    }

    assert set() == without


# --- the tables are used ----------------------------------------------------------------------------------------
def mentioned() -> set[str]:
    """Every name that a module outside the tables mentions."""
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for name, tree in TREES.items()
        if not name.startswith("semconv/")
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name))
    }


@pytest.mark.parametrize("kind", [Metric, Event], ids=["metrics", "events"])
def test_what_is_declared_is_used(kind: type) -> None:
    """No metric and no event is declared that no module emits."""
    declared = {name for name, value in vars(semconv).items() if isinstance(value, kind)}

    assert set() == declared - mentioned()


@pytest.mark.parametrize("kind", [Attribute, Metric, Event, SpanType], ids=["attributes", "metrics", "events", "spans"])
def test_what_is_declared_is_in_its_table(kind: type) -> None:
    """Each declaration is in the table of its kind, which documentation and tests read."""
    tables = {Attribute: semconv.ATTRIBUTES, Metric: semconv.METRICS, Event: semconv.EVENTS, SpanType: semconv.SPANS}

    declared = {value for value in vars(semconv).values() if isinstance(value, kind)}

    assert declared == set(tables[kind])


def test_no_key_is_spelled_twice() -> None:
    """No module but the tables spells an attribute's key, a metric's or an event's name: it asks the table."""
    names = {attribute.key for attribute in semconv.ATTRIBUTES if "." in attribute.key}
    names |= {metric.name for metric in semconv.METRICS} | {event.name for event in semconv.EVENTS}

    spelled = {
        f"{name}:{node.lineno} {node.value}"
        for name, tree in TREES.items()
        if not name.startswith("semconv/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in names
        # The parsers know by name the ids that no metric may be broken down by.
        if (name, node.value) not in {("parsers.py", "user.id"), ("parsers.py", "ws.connection.id")}
    }

    assert set() == spelled
