"""``scrub`` by itself: payloads as sentry-sdk hands them over, and things that are none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import otel_ws
from otel_ws import faults, recorder
from otel_ws.policy import Policy
from otel_ws.sentry import scrub

SECRET = "qzx-secret"
EVENT_ID = "0" * 31 + "1"
# Not those whose form lets a code name through: release and environment.
FIELDS = (
    "event_id", "type", "timestamp", "platform", "contexts", "sdk", "level",
    "logger", "transaction", "transaction_info", "message", "logentry", "exception", "threads", "stacktrace",
    "breadcrumbs", "fingerprint", "request", "user", "tags", "extra", "spans", "start_timestamp", "frames",
    "values", "module", "function", "lineno", "in_app", "trace", "trace_id", "span_id", "op", "status",
    "description", "data", "dynamic_sampling_context", "id", "email", "severity_number", "severity_text",
    "body", "attributes", "time_unix_nano", "name", "value", "unit", "category", "websocket", "tournament_id",
    "monitor_slug", "check_in_id", "duration", "mechanism", "handled", "source", "method", "sample_rate",
)  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary and counts of the test's own."""
    faults.reset()
    monkeypatch.setattr(recorder, "vocabulary", Policy())


def event(**fields: Any) -> dict[str, Any]:
    """The least that an event has, and more."""
    return {"event_id": EVENT_ID, "platform": "python", **fields}


hostile = st.recursive(
    st.one_of(
        st.sampled_from([SECRET, f"a@{SECRET}.example", f"{SECRET} {SECRET}", f"X{SECRET}".upper()]),
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.binary().map(lambda raw: raw + SECRET.encode()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.just(SECRET)), inner, max_size=8),
    ),
    max_leaves=40,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), hostile, max_size=20), st.booleans())
def test_nothing_undeclared_leaves_whatever_the_structure(item: dict[str, Any], is_event: bool) -> None:
    """Text under any field, in any nesting, in any kind of item: none of it is in the result, and nothing fails."""
    if is_event:
        item["event_id"] = EVENT_ID

    cleared = scrub(item, {})

    assert SECRET not in repr(cleared).lower()
    assert "sentry" not in faults.snapshot()


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("release", "tournament@1.4.2", True),
        ("release", "9fceb02d0ae598e95dc970b74767f19372d61af8", True),
        ("release", "alice@mail.example", False),
        ("environment", "production", True),
        ("environment", "Alice Liddell", False),
        ("level", "error", True),
        ("level", "Alice", False),
        ("server_name", "alices-laptop", False),
        ("dist", "alice", False),
        ("modules", {"django": "5.2"}, False),
        ("platform", "python", True),
        ("transaction", "json.decoder.JSONDecoder", True),
    ],
)
def test_a_field_leaves_in_its_form(field: str, value: object, kept: bool) -> None:
    """Release, environment, level and transaction have forms; the server's name has none."""
    cleared = scrub(event(**{field: value}))

    assert kept == (cleared.get(field) == value)
    assert kept or cleared.get(field) is None


def test_tags_are_known_by_key_and_field() -> None:
    """A tag is known by its key, by its name in JSON lines, or because it was declared."""
    recorder.vocabulary.declare_id("order.id")
    tags = {"order_id": "5", "order.id": 6, "match_id": 9, "role": "player", "websocket": True, "customer": "Alice"}

    cleared = scrub(event(tags=tags))

    assert {
        "order_id": "5",
        "order.id": "6",
        "match_id": "9",
        "role": "player",
        "websocket": "true",
    } == cleared["tags"]


def test_tags_may_be_pairs() -> None:
    """Sentry's list of pairs is read as a mapping."""
    cleared = scrub(event(tags=[["match_id", "9"], ["customer", "Alice"], "odd"]))

    assert {"match_id": "9"} == cleared["tags"]


def test_code_outside_any_module_has_no_name() -> None:
    """A frame of code that was made at run time keeps its line, not what it calls itself."""
    frames = [
        {"module": "json.decoder", "function": "decode", "lineno": 3, "vars": {"a": "b"}, "filename": "/home/alice/x"},
        {"module": "alice.liddell", "function": "alice", "lineno": 4},
    ]

    cleared = scrub(event(exception={"values": [{"type": "ValueError", "stacktrace": {"frames": frames}}]}))

    (exception,) = cleared["exception"]["values"]
    assert [
        {"module": "json.decoder", "function": "decode", "lineno": 3},
        {"module": "_OTHER", "lineno": 4},
    ] == exception["stacktrace"]["frames"]


def test_an_exception_class_must_be_loaded() -> None:
    """A type that no class has is replaced; the exception's value goes."""
    values = [{"type": "ValueError", "value": "Alice"}, {"type": "AliceError", "value": "x"}]

    cleared = scrub(event(exception={"values": values}))

    assert [{"type": "ValueError"}, {"type": "_OTHER"}] == cleared["exception"]["values"]


def test_attachments_are_taken_out() -> None:
    """What would be sent beside an event is not."""
    hint = {"attachments": ["a file"]}

    scrub(event(), hint)

    assert {"attachments": []} == hint


@pytest.mark.parametrize("item", [None, 7, "text", [], object(), {"event_id": EVENT_ID, "type": "feedback"}])
def test_what_is_no_known_item_is_dropped(item: object) -> None:
    """Anything but a mapping, and feedback, which is text alone, is not sent."""
    assert scrub(item) is None


class Raises(str):
    """A key that breaks whoever compares it."""

    __slots__ = ()

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(SECRET)


def test_an_event_that_cannot_be_read_leaves_a_sign() -> None:
    """A hostile mapping does not raise: the event's id is left, and nothing of its content."""
    item: dict[Any, Any] = {"event_id": EVENT_ID, Raises("tags"): SECRET, "message": SECRET}

    cleared = scrub(item)

    assert {
        "event_id": EVENT_ID,
        "level": "error",
        "platform": "python",
        "message": "Text removed by otel-ws.",
    } == cleared
    assert {"sentry": 1} == faults.snapshot()


def test_a_breadcrumb_that_cannot_be_read_is_dropped() -> None:
    """Where no event is, nothing is left."""
    assert scrub({"category": "query", Raises("data"): SECRET}) is None


def test_a_declared_metric_leaves() -> None:
    """A metric leaves when it is declared as a number; no id is its attribute."""
    otel_ws.declare(number="orders.taken")
    metric = {
        "timestamp": 1.0,
        "trace_id": None,
        "span_id": None,
        "type": "counter",
        "value": 1.0,
        "unit": None,
        "attributes": {"user.id": 7, "role": "player", "buyer": SECRET},
    }

    cleared = scrub({**metric, "name": "orders.taken"}, {})

    assert ("orders.taken", {"role": "player"}) == (cleared["name"], cleared["attributes"])
    assert scrub({**metric, "name": SECRET}, {}) is None


def test_a_streamed_span_always_comes_back() -> None:
    """sentry-sdk would send the original span otherwise: a name and attributes are always there."""
    span = {"trace_id": "0" * 32, "span_id": "0" * 16, "name": SECRET, "status": "ok", "attributes": {"buyer": SECRET}}

    assert {"name": "_OTHER", "attributes": {}} == scrub(span, {})


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"event_id": EVENT_ID, "message": SECRET},
            {"event_id": EVENT_ID, "level": "error", "platform": "python", "message": "Text removed by otel-ws."},
        ),
        ({"event_id": SECRET}, None),
        ({"event_id": EVENT_ID, "type": "transaction", "transaction": SECRET}, None),
        ({"severity_number": 9, "severity_text": "info", "time_unix_nano": 1, "body": SECRET}, None),
        ({"category": SECRET}, None),
        ({"name": SECRET, "value": 1.0, "attributes": {}}, None),
        ({"name": SECRET, "attributes": {"buyer": SECRET}}, {"name": "_OTHER", "attributes": {}}),
    ],
)
def test_our_own_failure_lets_nothing_through(monkeypatch: pytest.MonkeyPatch, item: Any, expected: Any) -> None:
    """Whatever breaks in the policy, an event becomes a sign and everything else is dropped or emptied."""

    def broken(*args: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("otel_ws.sentry._foreign", broken)

    assert expected == scrub(item, {})
    assert {"sentry": 1} == faults.snapshot()


def test_a_log_without_what_the_sdk_reads_is_dropped() -> None:
    """sentry-sdk would raise on a log without level and time."""
    assert scrub({"severity_number": 9, "body": SECRET, "attributes": {}}, {}) is None


def test_what_is_removed_is_counted() -> None:
    """Removed values are in ``ws.privacy.redactions``."""
    scrub(event(message=SECRET, tags={"customer": "Alice"}, server_name="x"))

    counted = recorder.vocabulary.redactions()
    assert {("logs", "text"), ("logs", "undeclared")} <= counted.keys()
    assert counted["logs", "undeclared"] >= 2


def test_sentry_is_not_imported() -> None:
    """``otel_ws.sentry`` works where there is no sentry-sdk, and loads none where there is."""
    script = (
        "import sys, json\n"
        "from otel_ws.sentry import scrub\n"
        f"scrub({{'event_id': {EVENT_ID!r}, 'exception': {{'values': [{{'type': 'ValueError'}}]}}}}, {{}})\n"
        "print(json.dumps([name for name in sys.modules if name.partition('.')[0] in ('sentry_sdk', 'django')]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(Path(otel_ws.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert [] == json.loads(done.stdout)
