"""The policy: nothing leaves but ids, choices, code names, templates and numbers, whatever it is given."""

from __future__ import annotations

import base64
import enum
import json
import logging
import math
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from racing import race
from refusing import Hostile, HostileFloat, HostileInt, HostileStr, Nameless

from otel_ws import faults, semconv
from otel_ws.declarations import parse
from otel_ws.forms import clear_id
from otel_ws.policy import ROUTE_LIMIT, UNDECLARED_LIMIT, Policy, clear_resource
from otel_ws.pseudonyms import Pseudonyms
from otel_ws.semconv import OTHER, UNKNOWN, Attribute, Kind
from otel_ws.settings import Settings

ID = re.compile(r"[0-9]{1,19}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
CODE = re.compile(r"[A-Z][A-Z_]{1,31}", re.ASCII)
CODE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", re.ASCII)
ROUTE = re.compile(r"/[A-Za-z0-9_\-./~:{}]{0,199}", re.ASCII)


def part(text: dict[str, str]) -> str:
    """One part of a JSON web token."""
    return base64.urlsafe_b64encode(json.dumps(text).encode()).decode().rstrip("=")


TOKEN = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': 'alice@example.com'})}.{'A' * 43}"
PERSONAL = {
    "e-mail": "alice@example.com",
    "mailbox": "Alice <alice@example.com>",
    "token": TOKEN,
    "bearer": f"Bearer {TOKEN}",
    "name": "Alice Example",
    "accents": "Zoë",
    "letters of another script": "Алиса",
    "look-alike digits": "\uff11\uff12\uff13",
    "apostrophe": "O'Brien",
    "phone": "+49 30 5550100",
    "compact phone": "+49305550100",
    "dashed phone": "555-0100",
    "IPv4": "192.0.2.7",
    "IPv6": "2001:db8::7",
    "IPv6 with port": "[2001:db8::7]:443",
    "URL": "https://example.com/?token=1",
    "query": "token=1&user=alice",
    "path with an e-mail": "/users/alice@example.com/",
    "path with a query": "/ws/?token=1",
    "path with a name": "/users/Alice Example/",
    "JSON": '{"user": "alice"}',
    "line break": "PLAYER\n",
    "second line": "PLAYER\nalice",
    "null": "PLAYER\x00",
    "card": "4111 1111 1111 1111",
    "surrogate": "\ud800",
    "padding": " player ",
    "a megabyte": "x" * 1_000_000,
    "a megabyte of digits": "7" * 1_000_000,
}


class Impostor:
    """An object that says it is a text, as lazy objects do, and is none."""

    __class__: ClassVar[Any] = str


class ImpostorInt:
    """An object that says it is a number, and is none."""

    __class__: ClassVar[Any] = int


class Colour(enum.StrEnum):
    """A text that is a member of an enumeration."""

    PLAYER = "player"
    NAME = "Alice Example"


class Level(enum.IntEnum):
    """A number that is a member of an enumeration."""

    CLOSED = 1000


texts = st.text(st.characters(exclude_categories=()), max_size=80)
shaped = st.one_of(
    st.from_regex(CODE_NAME, fullmatch=True),
    st.from_regex(CODE, fullmatch=True),
    st.from_regex(ROUTE, fullmatch=True),
    st.from_regex(ID, fullmatch=True),
    st.sampled_from([OTHER, UNKNOWN, "", *PERSONAL.values()]),
)
numbers = st.one_of(
    st.integers(),
    st.integers(min_value=999, max_value=5001),
    st.sampled_from([10**400, -(10**400), 10**18, 10**19, 2**63, 0, -1]),
)
floats = st.floats(allow_nan=True, allow_infinity=True)
plain = st.one_of(
    st.booleans(), texts, shaped, numbers, floats, st.uuids(), st.binary(max_size=80), st.complex_numbers()
)
nested = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)), max_leaves=5
)
hostile = st.one_of(
    st.one_of(texts, shaped).map(HostileStr),
    numbers.map(HostileInt),
    floats.map(HostileFloat),
    st.sampled_from([Colour.PLAYER, Colour.NAME, Level.CLOSED, str, Exception("alice"), object()]),
    st.builds(Hostile),
    st.builds(Nameless),
    st.builds(Impostor),
    st.builds(ImpostorInt),
)
anything = st.one_of(st.none(), nested, hostile)
attributes = st.sampled_from(semconv.ATTRIBUTES)


def has_its_form(attribute: Attribute, value: object) -> bool:
    """Whether a value that leaves is a plain one, in the form of the attribute's kind."""
    kind = attribute.kind
    if kind is Kind.NUMBER:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    if kind is Kind.FLAG:
        return type(value) is bool
    if kind is Kind.CLOSE_CODE:
        return type(value) is int and 1000 <= value <= 4999
    if type(value) is not str:
        return False
    if kind is Kind.ID:
        return ID.fullmatch(value) is not None
    if value == OTHER:
        return True
    if kind is Kind.CHOICE:
        return value in attribute.choices
    if attribute is semconv.MESSAGE_TYPE:
        return value in (UNKNOWN, "websocket_receive")
    if attribute is semconv.TEMPLATE:
        return False
    return {Kind.CODE: CODE, Kind.CODE_NAME: CODE_NAME, Kind.TEMPLATE: ROUTE}[kind].fullmatch(value) is not None


def named(attribute: Attribute) -> str:
    """The key of an attribute, as the id of its test."""
    return attribute.key


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Warnings of earlier tests must not silence those of this one."""
    faults.reset()
    yield
    faults.reset()


# --- whatever it is given ---------------------------------------------------------------------------------------
@given(attribute=attributes, value=anything)
def test_a_value_leaves_in_its_form_or_not_at_all(attribute: Attribute, value: object) -> None:
    """Whatever the value, it leaves as a plain value in the form of its kind, or not at all."""
    fit = Policy().value("traces", attribute, value)

    assert fit is None or has_its_form(attribute, fit)


@given(attribute=attributes, value=anything)
def test_a_label_always_is_a_plain_text_in_its_form(attribute: Attribute, value: object) -> None:
    """Whatever the value, a label is a plain text: a value in its form, ``_OTHER``, or empty for no subprotocol."""
    label = Policy().label(attribute, value)

    assert type(label) is str
    assert (
        label in (OTHER, "")
        or (attribute is semconv.CLOSE_CODE and label in {str(code) for code in range(1000, 1016)})
        or has_its_form(attribute, label)
    )


@given(raw=st.dictionaries(attributes, anything, max_size=6))
def test_clearing_keeps_no_value_without_its_form(raw: dict[Attribute, object]) -> None:
    """Whatever the mapping, what is left of it has the keys that it had, and values in their form."""
    cleared = Policy().clear("logs", raw)

    assert set(cleared) <= set(raw)
    assert all(has_its_form(attribute, value) for attribute, value in cleared.items())


@given(attribute=attributes, value=anything)
def test_the_same_value_leaves_the_same_way_everywhere(attribute: Attribute, value: object) -> None:
    """A value leaves a mapping exactly as it leaves alone."""
    fit = Policy().value("traces", attribute, value)

    cleared = Policy().clear("traces", {attribute: value})

    assert (None if value is None else fit) == cleared.get(attribute)


HOSTILE: dict[str, Callable[[], object]] = {
    "incomparable": Hostile,
    "without a class": Nameless,
    "says it is a text": Impostor,
    "says it is a number": ImpostorInt,
    "hostile text": lambda: HostileStr("player"),
    "hostile number": lambda: HostileInt(1000),
    "hostile float": lambda: HostileFloat(1.0),
}


def raising(call: Callable[[Attribute], object]) -> set[str]:
    """The keys of the attributes for which a call raises."""
    keys = set()
    for attribute in semconv.ATTRIBUTES:
        try:
            call(attribute)
        except Exception:
            keys.add(attribute.key)
    return keys


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_object_never_makes_a_value_raise(make: Callable[[], object]) -> None:
    """An object whose comparison, hash or class fails is cleared like any other wrong value."""
    policy = Policy()

    keys = raising(lambda attribute: policy.value("traces", attribute, make()))

    assert set() == keys


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_object_never_makes_a_label_raise(make: Callable[[], object]) -> None:
    """An object whose comparison, hash or class fails becomes a label like any other wrong value."""
    policy = Policy()

    keys = raising(lambda attribute: policy.label(attribute, make()))

    assert set() == keys


def test_a_lazy_object_is_not_evaluated() -> None:
    """An object that would compute its value when looked at (a lazy user, a lazy role) is not made to."""
    evaluated = []

    class Lazy:
        """What Django's lazy objects do: even the question for their class evaluates them."""

        @property
        def __class__(self) -> Any:
            evaluated.append("class")
            return str

        @__class__.setter
        def __class__(self, value: object) -> None:
            raise NotImplementedError

    Policy().value("logs", semconv.ROLE, Lazy())

    assert [] == evaluated


@pytest.mark.parametrize("attribute", [semconv.ROLE, semconv.REASON, semconv.MESSAGE_TYPE], ids=named)
def test_a_hostile_object_never_makes_declaring_raise(attribute: Attribute) -> None:
    """An object that cannot be hashed or looked at is refused, or declared as the plain value that it holds."""
    wrong = Policy().declare(attribute, [Hostile(), Nameless(), Impostor(), HostileStr("PLAYER")])

    assert 3 <= len(wrong)


@given(value=anything)
def test_a_question_about_a_value_never_raises(value: object) -> None:
    """Whatever the value, asking whether it is declared or a code has an answer."""
    policy = Policy()

    answers = {type(policy.is_declared(semconv.REASON, value)), type(policy.is_code(value))}

    assert {bool} == answers


# --- personal data ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", PERSONAL.values(), ids=PERSONAL)
def test_personal_data_never_leaves_as_a_value(text: str) -> None:
    """No name, address, token or other free text leaves under any key."""
    policy = Policy()

    left = {attribute.key: policy.value("logs", attribute, text) for attribute in semconv.ATTRIBUTES}

    assert {None, OTHER, UNKNOWN} >= set(left.values())


@pytest.mark.parametrize("text", PERSONAL.values(), ids=PERSONAL)
def test_personal_data_never_leaves_as_a_label(text: str) -> None:
    """No name, address, token or other free text becomes a metric label."""
    policy = Policy()

    labels = {attribute.key: policy.label(attribute, text) for attribute in semconv.ATTRIBUTES}

    assert {OTHER, UNKNOWN} >= set(labels.values())


@pytest.mark.parametrize("address", ["fe80::1", "::1", "fd00:db8::7"])
def test_an_ipv6_address_is_not_a_code_name(address: str) -> None:
    """An IPv6 address does not leave as a code name, though it has only its letters, digits and colons."""
    fit = Policy().value("logs", semconv.SUBPROTOCOL, address)

    assert OTHER == fit


@pytest.mark.parametrize("text", PERSONAL.values(), ids=PERSONAL)
def test_personal_data_cannot_be_declared(text: str) -> None:
    """Free text is refused as a role, a reason, a message type and an id's key."""
    policy = Policy()

    refused = [policy.declare(one, [text]) for one in (semconv.ROLE, semconv.REASON, semconv.MESSAGE_TYPE)]

    assert [[text]] * 3 == refused
    assert not policy.declare_id(text)


# --- ids --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (7, "7"),
        (10**19 - 1, "9999999999999999999"),
        ("0042", "0042"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ("00000000-0000-0000-0000-00000000000A", "00000000-0000-0000-0000-00000000000A"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        (Level.CLOSED, "1000"),
    ],
)
def test_an_id_leaves_as_a_text(value: object, expected: str) -> None:
    """An integer of up to 19 digits, a UUID or a ULID leaves as a text."""
    cleared = clear_id(value)

    assert expected == cleared


@pytest.mark.parametrize(
    "value",
    [
        -1,
        10**19,
        True,
        1.0,
        None,
        "",
        "-1",
        "7 ",
        "7\n",
        "\u0667",
        "1" * 20,
        "alice",
        b"7",
        "01ARZ3NDEKTSV4RRFFQ69G5FAU",
        "81ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01arz3ndektsv4rrffq69g5fav",
        "{00000000-0000-0000-0000-000000000007}",
        "00000000000000000000000000000007",
    ],
)
def test_anything_else_is_no_id(value: object) -> None:
    """What is not an integer of up to 19 digits, a UUID or a ULID is dropped."""
    cleared = clear_id(value)

    assert cleared is None


@pytest.mark.parametrize("key", ["order.id", "a.id", "order_2.id"])
def test_an_id_can_be_declared(key: str) -> None:
    """A key that ends in ``.id`` becomes an id, set by its name with an underscore."""
    policy = Policy()

    declared = policy.declare_id(key)

    assert declared
    assert (key, Kind.ID) == (policy.ids[key.replace(".", "_")].key, policy.ids[key.replace(".", "_")].kind)


@pytest.mark.parametrize("key", ["order", "Order.id", "order.id ", ".id", "1.id", "order.email", "a.b.id", 7, None, ""])
def test_another_key_cannot_be_declared_as_an_id(key: Any) -> None:
    """A key of another form is refused, and declares nothing."""
    policy = Policy()
    before = set(policy.ids)

    declared = policy.declare_id(key)

    assert not declared
    assert before == set(policy.ids)


def test_declaring_an_id_twice_keeps_the_first() -> None:
    """An id that was declared keeps its attribute, so that what is on the way stays valid."""
    policy = Policy()
    policy.declare_id("order.id")
    first = policy.ids["order_id"]

    policy.declare_id("order.id")

    assert first is policy.ids["order_id"]


# --- numbers, flags, close codes --------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [0, -5, 2**63 - 1, 1.5, 0.0])
def test_a_finite_number_leaves(value: float) -> None:
    """A finite number leaves as it is."""
    fit = Policy().value("logs", semconv.SIZE, value)

    assert value == fit


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "7", 10**400, 1j, None])
def test_what_is_no_finite_number_is_dropped(value: object) -> None:
    """Not-a-number, infinities, flags and texts are no numbers."""
    fit = Policy().value("logs", semconv.SIZE, value)

    assert fit is None


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**300], ids=["2^63", "-2^63-1", "10^300"])
def test_an_integer_that_otlp_cannot_carry_is_dropped(value: int) -> None:
    """An integer of more than 64 bits is dropped, because OTLP has no place for it."""
    fit = Policy().value("logs", semconv.SIZE, value)

    assert fit is None


@pytest.mark.parametrize("value", [1000, 4999, 1006, Level.CLOSED])
def test_a_close_code_leaves_as_a_number(value: int) -> None:
    """A code from 1000 to 4999 leaves on spans and events."""
    fit = Policy().value("logs", semconv.CLOSE_CODE, value)

    assert int(value) == fit
    assert type(fit) is int


@pytest.mark.parametrize("value", [999, 5000, 0, True, "1000", 1000.0])
def test_another_value_is_no_close_code(value: object) -> None:
    """A number outside of 1000 to 4999, or another type, is dropped."""
    fit = Policy().value("logs", semconv.CLOSE_CODE, value)

    assert fit is None


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1015])
def test_a_code_of_the_protocol_is_a_label(code: int) -> None:
    """The protocol's own close codes are labels."""
    label = Policy().label(semconv.CLOSE_CODE, code)

    assert str(code) == label


def test_a_code_that_a_client_chose_is_no_label() -> None:
    """A close code that nobody here declared or sent is ``_OTHER`` on metrics."""
    label = Policy().label(semconv.CLOSE_CODE, 4242)

    assert OTHER == label


def test_a_code_that_this_process_sent_is_a_label() -> None:
    """A close code that the application itself closes with is a label."""
    policy = Policy()

    policy.sent_close_code(4242)

    assert "4242" == policy.label(semconv.CLOSE_CODE, 4242)


def test_a_declared_close_code_is_a_label() -> None:
    """A close code that the application declared is a label."""
    policy = Policy()

    policy.declare(semconv.CLOSE_CODE, [4242])

    assert "4242" == policy.label(semconv.CLOSE_CODE, 4242)


def test_no_close_code_is_the_other_label() -> None:
    """A connection without a close code is counted under ``_OTHER``."""
    label = Policy().label(semconv.CLOSE_CODE, None)

    assert OTHER == label


# --- pseudonyms -------------------------------------------------------------------------------------------------
def test_an_id_of_another_form_leaves_as_a_pseudonym() -> None:
    """With a key, an e-mail address as a primary key leaves as ``p_`` and digits; numbers stay numbers."""
    policy = Policy()
    policy.pseudonyms = Pseudonyms(b"k" * 32)

    left = [policy.value("logs", semconv.USER_ID, value) for value in ("alice@example.com", HostileStr("alice"), 7)]

    assert all(re.fullmatch(r"p_[0-9a-f]{32}", str(one)) for one in left[:2])
    assert "7" == left[2]


@given(value=anything)
def test_no_id_leaves_in_the_clear(value: object) -> None:
    """Whatever the id, it is an id, a pseudonym that was made here, or nothing; and it stays so."""
    policy = Policy()
    policy.pseudonyms = Pseudonyms(b"k" * 32)

    left = policy.id(value)

    assert left is None or ID.fullmatch(left) or policy.pseudonyms.is_ours(left)
    assert left is None or left == policy.id(left)


def test_without_a_key_such_an_id_is_dropped_and_counted() -> None:
    """Nothing leaves where nobody gave a key."""
    policy = Policy()

    assert policy.value("logs", semconv.USER_ID, "alice@example.com") is None
    assert {("logs", "id"): 1} == policy.redactions()


# --- what the operator says -------------------------------------------------------------------------------------
def test_the_settings_are_learnt(tmp_path: Path) -> None:
    """The policy file's words, the message types and the key for pseudonyms come from the settings."""
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    policy = Policy()

    policy.learn(
        Settings.load({}, {}, policy={"choice": {"plan": ["free"]}}, message_types="chat", pseudonym_key_file=path)
    )

    assert "free" == policy.foreign("traces", "plan", "free")
    assert policy.is_declared(semconv.MESSAGE_TYPE, "chat")
    assert policy.pseudonyms is not None


def test_a_key_that_vanished_drops_those_ids(tmp_path: Path) -> None:
    """A key that could be read a moment ago and cannot now is a fault of ours, and no id leaves in the clear."""
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    settings = Settings.load({}, {}, pseudonym_key_file=path)
    path.unlink()
    policy = Policy()

    policy.learn(settings)

    assert policy.value("logs", semconv.USER_ID, "alice@example.com") is None
    assert {"pseudonyms": 1} == faults.snapshot()


def test_a_copy_knows_what_was_declared() -> None:
    """A copy has the words, its own room for undeclared ones, and the key."""
    policy = Policy()
    policy.apply(parse({"code": "plan", "number": "total", "id": "order.id"})[0])
    policy.pseudonyms = Pseudonyms(b"k" * 32)

    other = policy.copy()

    assert [Kind.CODE_NAME, Kind.NUMBER, Kind.ID] == [other.kind(key) for key in ("plan", "total", "order.id")]
    assert "free" == other.foreign("traces", "plan", "free")
    assert not policy.is_known(policy._by_key["plan"], "free")
    assert other.pseudonyms is policy.pseudonyms


# --- vocabulary -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (semconv.ROLE, "referee"),
        (semconv.REASON, "TABLE_FULL"),
        (semconv.MESSAGE_TYPE, "chat.send"),
        (semconv.SUBPROTOCOL, "chat.v2"),
        (semconv.ERROR_TYPE, "TableFull"),
        (semconv.TEMPLATE, "room_{room_id}"),
    ],
    ids=lambda one: one.key if isinstance(one, Attribute) else one,
)
def test_a_declared_value_leaves(attribute: Attribute, value: str) -> None:
    """A value that the application declared leaves, on spans and on metrics."""
    policy = Policy()

    wrong = policy.declare(attribute, [value])

    assert [] == wrong
    assert (value, value) == (policy.value("traces", attribute, value), policy.label(attribute, value))


@pytest.mark.parametrize(
    ("attribute", "values"),
    [
        (semconv.ROLE, ["a b", "", 7, None, "x" * 65, "1st"]),
        (semconv.REASON, ["expired", "A", "A1", "", "A" * 33, 7, "JWT-EXPIRED", "JWT EXPIRED"]),
        (semconv.MESSAGE_TYPE, ["a b", "", 7, "x" * 65]),
        (semconv.CLOSE_CODE, [999, 5000, "4000", True, 4000.0]),
        (semconv.TEMPLATE, ["alice@example.com", "", "x" * 201, 7, " room", "room ", "Zoë", "a\nb", "50%"]),
    ],
    ids=lambda one: one.key if isinstance(one, Attribute) else "",
)
def test_a_value_of_a_wrong_form_is_not_declared(attribute: Attribute, values: list[object]) -> None:
    """What does not have the form is handed back, and is not in the vocabulary afterwards."""
    policy = Policy()

    wrong = policy.declare(attribute, values)

    assert values == wrong
    assert not any(policy.is_declared(attribute, value) for value in values)


def test_right_values_are_declared_beside_wrong_ones() -> None:
    """One wrong value does not keep the others out."""
    policy = Policy()

    wrong = policy.declare(semconv.ROLE, ["referee", "the boss", "coach"])

    assert ["the boss"] == wrong
    assert policy.is_declared(semconv.ROLE, "referee")
    assert policy.is_declared(semconv.ROLE, "coach")


@pytest.mark.parametrize("role", ["spectator", "player", "organizer", "admin"])
def test_the_designed_roles_are_known(role: str) -> None:
    """The four roles of the design leave without being declared."""
    label = Policy().label(semconv.ROLE, role)

    assert role == label


def test_an_undeclared_role_is_other() -> None:
    """A role that nobody declared is ``_OTHER``: it could be anybody's name."""
    label = Policy().label(semconv.ROLE, "alice")

    assert OTHER == label


@pytest.mark.parametrize("name", ["hello", "alice", "ALICE", "x" * 64])
def test_a_message_type_that_a_client_invents_is_unknown(name: str) -> None:
    """A message type that nobody declared is ``unknown``, whatever its form."""
    policy = Policy()

    assert UNKNOWN == policy.value("traces", semconv.MESSAGE_TYPE, name)
    assert UNKNOWN == policy.label(semconv.MESSAGE_TYPE, name)


def test_an_undeclared_group_is_other() -> None:
    """A group's name never leaves: only a declared template does."""
    label = Policy().label(semconv.TEMPLATE, "user_1234")

    assert OTHER == label


@pytest.mark.parametrize("value", ["player", Colour.PLAYER, HostileStr("player")], ids=["text", "member", "hostile"])
def test_a_marked_text_leaves_as_the_plain_one(value: str) -> None:
    """A text that is an enumeration's member or of another subclass leaves as the plain text that it holds."""
    fit = Policy().value("traces", semconv.ROLE, value)

    assert "player" == fit
    assert type(fit) is str


@pytest.mark.parametrize("value", [None, ""])
def test_no_subprotocol_is_an_empty_label(value: object) -> None:
    """A connection without a subprotocol has an empty label, which exporters leave out."""
    label = Policy().label(semconv.SUBPROTOCOL, value)

    assert "" == label


@pytest.mark.parametrize("value", ["graphql-transport-ws", "mqtt"])
def test_a_well_known_subprotocol_leaves(value: str) -> None:
    """Subprotocols that everybody speaks need no declaration."""
    assert value == Policy().label(semconv.SUBPROTOCOL, value)


@pytest.mark.parametrize("value", ["chat.v2", "a3f5c0d1e2b4968770123456789abcdef0123456"])
def test_an_undeclared_subprotocol_stays(value: str) -> None:
    """A browser can send a token only as a subprotocol, and the application then selects it: it does not leave."""
    policy = Policy()

    assert (OTHER, OTHER) == (
        policy.label(semconv.SUBPROTOCOL, value),
        policy.value("logs", semconv.SUBPROTOCOL, value),
    )
    assert {("metrics", "code_name"): 1, ("logs", "code_name"): 1} == policy.redactions()


def test_an_attribute_without_a_label_is_other_and_counted() -> None:
    """An id never becomes a label, even if somebody asks for one."""
    policy = Policy()

    label = policy.label(semconv.USER_ID, 7)

    assert OTHER == label
    assert {("metrics", "undeclared"): 1} == policy.redactions()


def test_a_missing_value_is_left_out_of_a_mapping() -> None:
    """``None`` says that there is nothing: it is left out, and is not a redaction."""
    policy = Policy()

    cleared = policy.clear("logs", {semconv.USER_ID: None, semconv.MATCH_ID: 3})

    assert {semconv.MATCH_ID: "3"} == cleared
    assert {} == policy.redactions()


# --- caps -------------------------------------------------------------------------------------------------------
def codes(number: int) -> list[str]:
    """So many different codes."""
    return ["X" + chr(65 + place // 26) + chr(65 + place % 26) for place in range(number)]


@pytest.mark.parametrize("attribute", [semconv.REASON, semconv.ERROR_TYPE], ids=named)
def test_at_most_64_undeclared_values_leave(attribute: Attribute) -> None:
    """The first 64 different undeclared values of a process leave, later ones are ``_OTHER``."""
    policy = Policy()
    values = codes(70)

    labels = [policy.label(attribute, value) for value in values]

    assert 64 == UNDECLARED_LIMIT
    assert [*values[:64], *[OTHER] * 6] == labels


def test_a_known_value_leaves_past_the_cap() -> None:
    """A value that left before still leaves when there is no room for new ones."""
    policy = Policy()
    values = codes(65)
    for value in values:
        policy.label(semconv.REASON, value)

    label = policy.label(semconv.REASON, values[0])

    assert values[0] == label


def test_a_declared_value_takes_no_room() -> None:
    """Declared values do not count against the cap, and leave when it is reached."""
    policy = Policy()
    values = codes(70)
    policy.declare(semconv.REASON, values[:6])

    labels = [policy.label(semconv.REASON, value) for value in values]

    assert values == labels


def test_each_attribute_has_a_cap_of_its_own() -> None:
    """A full cap on reasons leaves room for error types."""
    policy = Policy()
    for value in codes(65):
        policy.label(semconv.REASON, value)

    label = policy.label(semconv.ERROR_TYPE, "ValueError")

    assert "ValueError" == label


def test_at_most_200_routes_leave() -> None:
    """The first 200 different routes of a process leave, later ones are ``_OTHER``."""
    policy = Policy()
    routes = [f"/ws/{number}/" for number in range(205)]

    labels = [policy.route(route) for route in routes]

    assert 200 == ROUTE_LIMIT
    assert [*routes[:200], *[OTHER] * 5] == labels


def test_at_most_64_sent_close_codes_become_labels() -> None:
    """An application that closes with ever new codes cannot make ever new series."""
    policy = Policy()

    for code in range(3000, 3070):
        policy.sent_close_code(code)

    labels = [policy.label(semconv.CLOSE_CODE, code) for code in range(3000, 3070)]
    assert [*(str(code) for code in range(3000, 3064)), *[OTHER] * 6] == labels


def test_a_reached_cap_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The operator hears once that a cap was reached and how to declare values, without any of the values."""
    policy = Policy()

    with caplog.at_level(logging.WARNING, "otel_ws"):
        for value in codes(70):
            policy.label(semconv.REASON, value)

    (record,) = caplog.records
    assert "ws.reason" in record.getMessage()
    assert "declare" in record.getMessage()
    assert not set(codes(70)) & set(re.findall(r"\w+", record.getMessage()))


def test_threads_together_stay_within_the_cap() -> None:
    """Eight threads with different values get no more of them through than one."""
    policy = Policy()
    labels: list[str] = []
    start = threading.Barrier(8)

    def run(which: int) -> None:
        for number in range(10):
            # All ask at the same moment, each time: the room for the last ones is what they race for.
            start.wait()
            labels.append(policy.label(semconv.ERROR_TYPE, f"{'ABCDEFGH'[which]}{number}"))

    race(8, run)

    assert 64 == len(set(labels) - {OTHER})


# --- counting ---------------------------------------------------------------------------------------------------
GOOD: dict[Attribute, object] = {
    semconv.USER_ID: 7,
    semconv.ROLE: "player",
    semconv.REASON: "MSG_RATE",
    semconv.ERROR_TYPE: "ValueError",
    semconv.ROUTE: "/ws/match/{match_id}/",
    semconv.SIZE: 12,
    semconv.DUAL: True,
    semconv.CLOSE_CODE: 1000,
}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["traces", "logs", "metrics"]), st.sampled_from(list(GOOD)), st.booleans()),
        max_size=40,
    )
)
def test_every_removed_value_is_counted_once(steps: list[tuple[str, Attribute, bool]]) -> None:
    """Each value that was dropped or replaced counts one by signal and kind; one that left counts nothing."""
    policy = Policy()
    policy.route("/ws/match/{match_id}/")
    expected = Counter((signal, attribute.kind.value) for signal, attribute, good in steps if not good)

    for signal, attribute, good in steps:
        policy.value(signal, attribute, GOOD[attribute] if good else "Alice Example")

    assert expected == policy.redactions()


def test_a_replaced_label_is_counted_on_metrics() -> None:
    """A label that became ``_OTHER`` counts as a redaction on metrics."""
    policy = Policy()

    policy.label(semconv.ROLE, "alice")

    assert {("metrics", "choice"): 1} == policy.redactions()


def test_a_replaced_close_code_is_counted_on_metrics() -> None:
    """A close code that became ``_OTHER`` on a metric counts like any other replaced label."""
    policy = Policy()

    policy.label(semconv.CLOSE_CODE, 4242)

    assert {("metrics", "close_code"): 1} == policy.redactions()


def test_what_is_other_already_is_not_counted_again() -> None:
    """A value that is ``_OTHER`` when it comes lost nothing here."""
    policy = Policy()

    policy.value("logs", semconv.ROUTE, OTHER)

    assert {} == policy.redactions()


def test_an_undeclared_key_is_counted() -> None:
    """A value under a key that nobody declared counts as ``undeclared``."""
    policy = Policy()

    policy.undeclared("logs")

    assert {("logs", "undeclared"): 1} == policy.redactions()


def test_the_counts_are_a_copy() -> None:
    """What one reader does to the counts does not change them."""
    policy = Policy()
    policy.undeclared("logs")

    policy.redactions().clear()

    assert {("logs", "undeclared"): 1} == policy.redactions()


# --- the resource -----------------------------------------------------------------------------------------------
def test_the_resource_keeps_what_names_a_service_and_its_place() -> None:
    """Service, environment, Kubernetes names, container and SDK stay."""
    kept = {
        "service.name": "tournament",
        "service.namespace": "games",
        "service.version": "1.2.3+build.4",
        "service.instance.id": "0f4c7a5e-0000-4000-8000-000000000000",
        "deployment.environment.name": "staging",
        "k8s.pod.name": "web-7d9c",
        "k8s.namespace.name": "games",
        "container.id": "a3f0" * 16,
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "1.45.1",
    }

    cleared = clear_resource(kept)

    assert kept == cleared


@pytest.mark.parametrize(
    "release",
    [
        "1", "1.2.3", "v1.2.3", "2026.11.21", "20261121", "1.2.3rc1", "1.2.3-rc.1", "1.2.3.dev4+g1a2b3c4", "9c0a1f2",
        "68754dd0f9a1b2c3d4e5f60718293a4b5c6d7e8f", "main-68754dd", "stable",
    ],
)  # fmt: skip
def test_a_release_stays_as_people_write_it(release: str) -> None:
    """Numbers of releases, days, commits and tags of images are versions of a service."""
    assert {"service.version": release} == clear_resource({"service.version": release})


@pytest.mark.parametrize(
    "instance",
    [
        "0f4c7a5e-0000-4000-8000-000000000000",
        "0f4c7a5e-0000-4000-8000-123456789012-4711",
        "web-7d9f8c6b5-x2k4j",
        "sweep-28734120-x7k2p",
        "web-0-4711",
    ],
)
def test_an_instance_is_a_uuid_or_a_name(instance: str) -> None:
    """A UUID or a pod's name, with the number of a process behind it."""
    assert {"service.instance.id": instance} == clear_resource({"service.instance.id": instance})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host.name", "alices-laptop"),
        ("host.ip", "192.0.2.7"),
        ("process.owner", "alice"),
        ("process.command_line", "serve --token 1"),
        ("service.owner", "alice"),
        ("service.name", "Alice's service"),
        ("service.name", "alice@example.com"),
        ("deployment.environment.name", "x" * 65),
        ("service.name", ""),
        ("service.version", 7),
        ("k8s.pod.annotation.owner", "alice"),
        ("k8s.node.name", "alices-laptop"),
        ("telemetry.alice", "alice"),
        ("telemetry.sdk.alice", "alice"),
        ("service.name", "unknown_service:alice"),
        ("service.name", "https://alice.example/"),
        ("service.name", "4915112345678"),
        ("service.name", "call-4915112345678"),
        ("service.version", "+4915112345678"),
        ("service.version", "4915112345678"),
        ("service.version", "1.2-4915112345678"),
        ("service.version", "192.0.2.7"),
        ("service.version", "https://alice.example/"),
        ("service.instance.id", "4915112345678"),
        ("service.instance.id", "192.0.2.7:8000"),
        ("container.id", "alice"),
        ("container.id", "491511234567"),
    ],
)
def test_the_resource_drops_all_else(key: str, value: object) -> None:
    """Another key, or a value that is no code name, is dropped."""
    cleared = clear_resource({key: value})

    assert {} == cleared
