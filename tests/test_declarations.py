"""Declarations: what is right is taken, what is wrong is refused with its place and the reason, never its value."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_ws
from otel_ws.declarations import MOST_CHOICES, DeclarationError, Declarations, load, parse
from otel_ws.semconv.conventions import ATTRIBUTE_CONVENTIONS
from otel_ws.semconv.words import PLACES, RESERVED

RIGHT: dict[str, Any] = {
    "id": ["order.id", "line_item.id"],
    "choice": {"payment.method": ["card", "cash"], "db.namespace": ["orders"]},
    "code": ["payment.provider"],
    "template": ["process order", "accounts/<int:pk>/", r"^c/(?P<year>\d+)/$", "room_{room_id}"],
    "number": ["orders.total"],
    "roles": ["referee"],
    "reasons": ["SEAT_TAKEN"],
    "message_types": ["chat:join"],
    "close_codes": [4100],
    "templates": ["room_{room_id}"],
    "subprotocols": ["chat.v2"],
    "heartbeat": ["ping", 30],
}


def test_every_word_of_the_function_is_one_of_the_file() -> None:
    """What can be said in code can be said in a file, by the same words."""
    assert set(inspect.signature(otel_ws.declare).parameters) == set(RIGHT)


def test_what_is_right_is_taken() -> None:
    """Every word's values are there afterwards, those of an older spelling beside the others."""
    expected = Declarations(
        ids=("order.id", "line_item.id"),
        choices=(("payment.method", ("card", "cash")), ("db.namespace", ("orders",))),
        codes=("payment.provider",),
        templates=(*RIGHT["template"], "room_{room_id}"),
        numbers=("orders.total",),
        roles=("referee",),
        reasons=("SEAT_TAKEN",),
        message_types=("chat:join",),
        close_codes=(4100,),
        subprotocols=("chat.v2",),
        heartbeat=("ping", 30.0),
    )

    assert (expected, []) == parse(RIGHT)


def test_a_single_value_needs_no_list() -> None:
    """A text or number alone is a list of one."""
    found, wrong = parse({"id": "order.id", "close_codes": 4100, "choice": {"plan": "free"}})

    assert [] == wrong
    assert (("order.id",), (4100,), (("plan", ("free",)),)) == (found.ids, found.close_codes, found.choices)


PEOPLE = "is for people, addresses"
DECIDED = "is decided already"


@pytest.mark.parametrize(
    ("word", "given", "reason"),
    [
        ("text", ["comment"], "text: there is no such word; there are id, choice"),
        ("alice@example.com", [], "a word: there is no such word"),
        ("id", ["Order.id"], "id, value 1: an id's key is"),
        ("id", ["order.id", "alice"], "id, value 2: an id's key is"),
        ("id", ["session.id"], "id, value 1: session.id is for people"),
        ("id", ["host.id"], "id, value 1: host.id is for people"),
        ("id", [7], "id, value 1: an id's key is"),
        ("choice", ["payment.method"], "choice: a choice is a key and the list of its values"),
        ("choice", {"user.email": ["alice"]}, f"choice, key 1: user.email {PEOPLE}"),
        ("choice", {"exception.message": ["alice"]}, f"choice, key 1: exception.message {PEOPLE}"),
        ("choice", {"http.request.header.cookie": ["a"]}, f"choice, key 1: this key {PEOPLE}"),
        ("choice", {"http.route": ["a"]}, f"choice, key 1: http.route {DECIDED}"),
        ("choice", {"ws.role": ["a"]}, f"choice, key 1: ws.role {DECIDED}"),
        ("choice", {"ws.anything": ["a"]}, f"choice, key 1: this key {DECIDED}"),
        ("choice", {"plan": []}, "choice, key 1: a choice has 1 to 64 values"),
        ("choice", {"plan": [f"p{n}" for n in range(65)]}, "choice, key 1: a choice has 1 to 64 values"),
        ("choice", {"plan": ["free", "Alice Example"]}, "choice, key 1, value 2: a code name is"),
        ("choice", {"a b": ["free"]}, "choice, key 1: a key is 1 to 64"),
        ("code", ["user.name"], f"code, value 1: user.name {PEOPLE}"),
        ("code", ["customer.name"], "code, value 1: a key that ends in this word"),
        ("code", ["customer_email"], "code, value 1: a key that ends in this word"),
        ("code", ["server.address"], "code, value 1: server.address may be declared as a choice alone"),
        ("code", ["error.type"], f"code, value 1: error.type {DECIDED}"),
        ("number", ["customer.phone"], "number, value 1: a key that ends in this word"),
        ("number", ["http.server.request.duration"], f"number, value 1: http.server.request.duration {DECIDED}"),
        ("number", ["x" * 65], "number, value 1: a key is 1 to 64"),
        ("template", ["alice@example.com"], "template, value 1: an exact text"),
        ("template", [""], "template, value 1: an exact text"),
        ("template", ["x" * 201], "template, value 1: an exact text"),
        ("roles", ["the boss"], "roles, value 1: a code name is"),
        ("reasons", ["expired"], "reasons, value 1: a reason is"),
        ("message_types", ["a b"], "message_types, value 1: a letter"),
        ("close_codes", ["4100", 999], "close_codes, value 1: a close code is"),
        ("subprotocols", ["a b"], "subprotocols, value 1: a code name is"),
        ("heartbeat", ["ping"], "heartbeat: a message type and its interval"),
        ("heartbeat", ["ping", 0], "heartbeat: a message type and its interval"),
        ("heartbeat", ["ping", float("nan")], "heartbeat: a message type and its interval"),
        ("heartbeat", 7, "heartbeat: a message type and its interval"),
    ],
)
def test_what_is_wrong_is_refused_with_the_reason(word: str, given: object, reason: str) -> None:
    """The place and what is allowed are told."""
    found, wrong = parse({word: given})

    assert wrong
    assert wrong[0].startswith(reason)
    assert "alice" not in "".join(wrong).lower()
    assert not any(found.choices + found.codes + found.numbers)


@pytest.mark.parametrize("key", sorted(RESERVED | PLACES))
@pytest.mark.parametrize("word", ["code", "number"])
def test_a_key_that_leaks_is_never_open(word: str, key: str) -> None:
    """No key that carries people, addresses or names of places can be declared for values that nobody listed."""
    assert parse({word: key})[1]


@pytest.mark.parametrize("key", sorted(RESERVED))
def test_a_reserved_key_is_no_choice(key: str) -> None:
    """What is about people is not even a choice."""
    assert parse({"choice": {key: ["a"]}})[1]


@pytest.mark.parametrize("key", sorted(PLACES))
def test_a_place_may_be_a_choice(key: str) -> None:
    """The name of a database or a queue may leave where all its values are listed."""
    assert not parse({"choice": {key: ["orders"]}})[1]


@pytest.mark.parametrize("key", sorted(ATTRIBUTE_CONVENTIONS))
def test_what_the_conventions_decide_stays_decided(key: str) -> None:
    """No declaration opens a key of the conventions wider."""
    assert parse({"code": key})[1]
    assert parse({"choice": {key: ["a"]}})[1]


def test_right_ones_stand_beside_wrong_ones() -> None:
    """One wrong value does not keep the others out."""
    found, wrong = parse({"id": ["order.id", "x"], "choice": {"plan": ["free"], "user.email": ["a"]}})

    assert 2 == len(wrong)
    assert (("order.id",), (("plan", ("free",)),)) == (found.ids, found.choices)


anything: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(RIGHT)) | st.text(max_size=9), anything, max_size=4))
def test_no_words_make_it_raise(words: dict[str, Any]) -> None:
    """Whatever stands there is taken in its form, or refused; what was taken is right when it is told again."""
    found, _ = parse(words)

    again = {
        "id": found.ids,
        "choice": dict(found.choices),
        "code": found.codes,
        "template": found.templates,
        "number": found.numbers,
        "roles": found.roles,
    }
    assert [] == parse(again)[1]
    assert all(len(values) <= MOST_CHOICES for _, values in found.choices)


# --- files ------------------------------------------------------------------------------------------------------
TOML = """
id = ["order.id"]
template = "process order"
heartbeat = ["ping", 30]

[choice]
"payment.method" = ["card", "cash"]
"""
JSON = """
{"id": ["order.id"], "template": "process order", "heartbeat": ["ping", 30],
 "choice": {"payment.method": ["card", "cash"]}}
"""


@pytest.mark.parametrize(("name", "content"), [("policy.toml", TOML), ("policy.json", JSON)])
def test_a_file_says_what_the_function_says(tmp_path: Path, name: str, content: str) -> None:
    """TOML and JSON, by the name's end."""
    path = tmp_path / name
    path.write_text(content)

    expected = parse(
        {
            "id": "order.id",
            "template": "process order",
            "heartbeat": ("ping", 30),
            "choice": {"payment.method": ["card", "cash"]},
        }
    )
    assert expected == (load(path), [])
    assert load(str(path)) == load(f" {path} ")


def test_a_wrong_mapping_is_refused_as_a_whole() -> None:
    """An operator's policy is right, or the start ends."""
    with pytest.raises(DeclarationError) as refused:
        load({"id": ["order.id", "x"], "roles": ["a b"]})

    assert 2 == len(refused.value.reasons)
