"""The tables of the conventions: closed, consistent, and complete for what instrumentations emit."""

from __future__ import annotations

import math

import pytest

from otel_ws import semconv
from otel_ws.policy import Policy
from otel_ws.semconv import Kind
from otel_ws.semconv.conventions import (
    ATTRIBUTE_CONVENTIONS,
    LABEL_CONVENTIONS,
    METRIC_CONVENTIONS,
    RESOURCE_CONVENTIONS,
    Convention,
)
from otel_ws.semconv.words import PLACES, RESERVED, UNITS, WELL_KNOWN

EVERY = {**ATTRIBUTE_CONVENTIONS, **LABEL_CONVENTIONS, **RESOURCE_CONVENTIONS}
# What operators ask others' spans, records and points: each instrumentation's, in both spellings.
USEFUL = {
    "http": (
        "http.request.method http.method http.response.status_code http.status_code http.route http.scheme url.scheme "
        "http.flavor network.protocol.version server.port net.host.port error.type asgi.event.type"
    ),
    "databases": (
        "db.system db.system.name db.operation db.operation.name net.peer.port net.transport network.transport "
        "db.redis.database_index db.redis.args_length db.redis.pipeline_length"
    ),
    "tasks": "celery.action celery.task_name celery.retries messaging.message.id messaging.destination_kind",
    "errors": "exception.type exception.escaped error.type",
    "logs": "code.function.name code.line.number exception.type status_code",
    "the SDK": "otel.component.type otel.component.name otel.span.sampling_result otel.span.parent.origin error.type",
}
LEAKING = (
    "url.full url.path url.query http.url http.target http.host http.user_agent user_agent.original client.address "
    "client.port net.peer.ip net.peer.name network.peer.address server.address db.statement db.query.text db.name "
    "db.namespace db.user db.statement.parameters exception.message exception.stacktrace messaging.destination "
    "code.filepath code.file.path celery.hostname celery.delivery_info enduser.username site.domain"
)


@pytest.mark.parametrize("producer", USEFUL)
def test_what_is_useful_is_listed(producer: str) -> None:
    """What says how it went, and with what, may leave."""
    assert set() == set(USEFUL[producer].split()) - set(ATTRIBUTE_CONVENTIONS)


@pytest.mark.parametrize("key", LEAKING.split())
def test_what_leaks_is_not_listed(key: str) -> None:
    """What says who, where and in which words is no attribute that leaves, and is named in a report."""
    assert key not in ATTRIBUTE_CONVENTIONS
    assert key in WELL_KNOWN


@pytest.mark.parametrize("key", EVERY)
def test_every_key_is_closed(key: str) -> None:
    """A choice has its words or its form, a number its range; nothing is free text."""
    one: Convention = EVERY[key]

    if one.kind is Kind.CHOICE:
        assert one.choices or one.form
    elif one.kind is Kind.NUMBER:
        assert math.isfinite(one.low)
        assert one.low < one.high < 2**63
    else:
        assert one.kind in {Kind.ID, Kind.CODE_NAME, Kind.TEMPLATE, Kind.FLAG}


@pytest.mark.parametrize("key", EVERY)
def test_every_word_is_short_and_plain(key: str) -> None:
    """The closed lists hold words of code."""
    assert all(0 < len(word) <= 64 and word.isascii() and " " not in word for word in EVERY[key].choices)


def test_a_key_of_ours_is_as_narrow_as_ours() -> None:
    """Where we emit a key of the conventions ourselves, others may put no other kind of value under it."""
    own = {one.key: one.kind for one in semconv.ATTRIBUTES}
    shared = own.keys() & ATTRIBUTE_CONVENTIONS.keys()

    assert {key: own[key] for key in shared} == {key: ATTRIBUTE_CONVENTIONS[key].kind for key in shared}


def test_a_key_is_known_or_leaks() -> None:
    """No key that leaks is listed, but on metrics where it carries another thing."""
    assert {"http.target"} == WELL_KNOWN & EVERY.keys()
    assert set() == RESERVED & PLACES


def test_a_known_metric_has_a_unit() -> None:
    """Every metric's unit is short, and a word of its own."""
    assert all(len(unit) <= 17 and " " not in unit for unit in METRIC_CONVENTIONS.values())
    assert "alice" not in UNITS


def test_our_own_vocabulary_is_in_its_form() -> None:
    """What our policy begins with could be declared by an application."""
    policy = Policy()

    for attribute in (semconv.REASON, semconv.SUBPROTOCOL):
        begun = policy._declared[attribute]
        assert begun
        assert [] == policy.declare(attribute, begun)
