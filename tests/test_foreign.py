"""Others' telemetry: what the conventions and the application's words let pass, and nothing else, whatever comes."""

from __future__ import annotations

import base64
import json.decoder
import sys
import timeit
import urllib.parse
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusing import Hostile, HostileStr, Nameless, refuse

from otel_ws import semconv, testing
from otel_ws.declarations import parse
from otel_ws.foreign import BODY, KEY_LIMIT, LIST_LIMIT, Foreign
from otel_ws.policy import Policy
from otel_ws.pseudonyms import Pseudonyms
from otel_ws.semconv import OTHER, Kind
from otel_ws.semconv.conventions import ATTRIBUTE_CONVENTIONS, LABEL_CONVENTIONS, METRIC_CONVENTIONS
from otel_ws.semconv.words import WELL_KNOWN

SIGNALS = ("traces", "metrics", "logs")
DECLARED: dict[str, Any] = {
    "id": ["order.id"],
    "choice": {"payment.method": ["card", "cash"], "db.namespace": ["orders"]},
    "code": ["payment.provider"],
    "number": ["orders.total"],
    "template": ["process order", "shop/<int:pk>/"],
}
EMAIL = "alice@example.com"


def foreign(words: Mapping[str, Any] | None = None, key: bytes | None = None) -> Foreign:
    """A decision with these declarations."""
    policy = Policy()
    declared, wrong = parse(DECLARED if words is None else words)
    assert [] == wrong + policy.apply(declared)
    policy.pseudonyms = Pseudonyms(key) if key is not None else None
    return Foreign(policy)


# --- hostile values ---------------------------------------------------------------------------------------------
class Liar(str):
    """A text that says it is a known one, and holds another."""

    __slots__ = ("said",)
    said: str

    def __new__(cls, said: str, held: str) -> Self:
        """Hold one and say the other."""
        made = super().__new__(cls, held)
        made.said = said
        return made

    def __eq__(self, other: object) -> bool:
        """Be the known text."""
        return bool(other == self.said)

    def __hash__(self) -> int:
        """Be found where the known text is."""
        return hash(self.said)


class Broken(Mapping[str, object]):
    """A mapping that ends in the middle."""

    def __getitem__(self, key: str) -> object:
        return EMAIL

    def __iter__(self) -> Iterator[str]:
        yield "http.request.method"
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


def ring() -> list[object]:
    """A list that holds itself."""
    made: list[object] = [EMAIL]
    made.append(made)
    return made


# --- canaries ---------------------------------------------------------------------------------------------------
PERSONAL = (
    EMAIL, "Alice <alice@example.com>", "Alice Example", "O'Brien", "Zoë", "Алиса", "+49 30 5550100", "555-0100",
    "212.555.0100", "192.0.2.7", "192.0.2.7:443", "2001:db8::7", "4111 1111 1111 1111", "4111-1111-1111-1111",
    "DE89 3704 0044 0532 0130 00", "Bearer abc.def.ghi", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",
    "https://example.com/?token=1", "/users/alice", "token=1&user=alice", '{"user": "alice"}', "alice", "Alice",
    "alice_example", "SELECT * FROM users WHERE name = 'alice'", "GET /users/alice",
    "alice\u200b@example.com", "\uff41lice\uff20example.com",
    "\ud800alice", "alice\x00", "moc.elpmaxe@ecila",
)  # fmt: skip
secrets = st.sampled_from(PERSONAL)


def disguised(text: str) -> list[str]:
    """The same in other spellings."""
    raw = text.encode("utf-8", "surrogatepass")
    return [
        text,
        text.upper(),
        f" {text} ",
        f"GET {text}",
        f"run/{text}",
        f"json.{text}",
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        urllib.parse.quote(raw),
        text * 50,
    ]


spellings = secrets.flatmap(lambda text: st.sampled_from(disguised(text)))
keys = st.one_of(
    st.sampled_from([key for key, one in ATTRIBUTE_CONVENTIONS.items() if one.kind is not Kind.ID]),
    st.sampled_from(list(LABEL_CONVENTIONS)),
    st.sampled_from(sorted(WELL_KNOWN)),
    st.sampled_from(["payment.method", "orders.total", "ws.role", "ws.handler", "ws.reason", "ws.message.type"]),
    spellings,
)
ids = st.sampled_from(["user.id", "order.id", "messaging.message.id", "enduser.id"])
leaves = st.one_of(
    spellings,
    spellings.map(HostileStr),
    spellings.map(lambda text: Liar("GET", text)),
    spellings.map(lambda text: text.encode("utf-8", "surrogatepass")),
    spellings.map(ValueError),
    st.builds(Hostile),
    st.builds(Nameless),
    st.none(),
    st.floats(),
    st.builds(ring),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(spellings, inner, max_size=3)
    ),
    max_leaves=6,
)
mappings = st.dictionaries(keys, values, max_size=8)


def texts(thing: object) -> Iterator[str]:
    """Every text in a result; what is no text is a number or a flag."""
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            assert type(key) is str
            yield from (key, *texts(value))
    elif isinstance(thing, (list, tuple)):
        for one in thing:
            yield from texts(one)
    elif type(thing) is str:
        yield thing
    else:
        assert type(thing) in (int, float, bool)


ALLOWED = (
    {OTHER, semconv.UNKNOWN}
    | {*ATTRIBUTE_CONVENTIONS, *LABEL_CONVENTIONS, "payment.method", "orders.total", "ws.role", "ws.handler"}
    | {"ws.reason", "ws.message.type", "db.namespace"}
)


@given(signal=st.sampled_from(SIGNALS), found=mappings)
def test_no_text_of_a_stranger_leaves(signal: str, found: dict[str, object]) -> None:
    """Whatever is found, what is left holds known keys, numbers and ``_OTHER``, and no text that came in."""
    decision = foreign()

    cleared = decision.attributes(signal, found)

    left = found if cleared is None else cleared
    assert set(texts(left)) <= ALLOWED


@given(found=st.dictionaries(ids, values, max_size=4))
def test_no_text_leaves_as_an_id(found: dict[str, object]) -> None:
    """Under an id's key only ids leave, and pseudonyms that this process made."""
    for key in (None, b"k" * 32):
        decision = foreign(key=key)
        cleared = decision.attributes("traces", found)
        left = [text for value in (cleared or {}).values() for text in texts(value)]

        made = decision.policy.pseudonyms
        assert all(made is not None and made.is_ours(text) for text in left)


@given(signal=st.sampled_from(SIGNALS), found=st.dictionaries(st.one_of(keys, ids), values, max_size=8))
def test_what_was_cleared_conforms(signal: str, found: dict[str, object]) -> None:
    """Clearing twice changes nothing the second time: two walls agree."""
    decision = foreign(key=b"k" * 32)

    cleared = decision.attributes(signal, found)

    assert cleared is None or decision.attributes(signal, cleared) is None


GOOD: dict[str, object] = {
    "http.request.method": "POST",
    "url.scheme": "https",
    "http.response.status_code": 503,
    "error.type": "503",
    "network.protocol.version": "1.1",
    "server.port": 443,
    "db.system": "postgresql",
    "db.operation.name": "SELECT",
    "exception.type": "json.decoder.JSONDecodeError",
    "celery.task_name": "json.loads",
    "http.route": "shop/<int:pk>/",
    "user.id": "7",
    "order.id": "0191f6d6-8a3a-7c5e-9e66-0a4b7e3c9d11",
    "payment.method": "cash",
    "payment.provider": "adyen",
    "orders.total": 12.5,
    "db.namespace": "orders",
    "otel.metric.overflow": True,
    "ws.role": "player",
}


@pytest.mark.parametrize("key", GOOD)
def test_what_is_useful_stays(key: str) -> None:
    """What the conventions make safe, and what was declared, leaves as it is."""
    cleared = foreign().attributes("traces", {key: GOOD[key]})

    assert cleared is None


def test_a_conforming_mapping_is_not_copied() -> None:
    """Where everything conforms there is nothing to replace, in a plain mapping and in any other."""
    decision = foreign()

    assert decision.attributes("traces", GOOD) is None
    assert decision.attributes("logs", MappingProxyType(GOOD)) is None
    assert decision.attributes("traces", None) is None
    assert decision.attributes("traces", {}) is None
    assert {} == decision.policy.redactions()


def test_what_does_not_conform_goes_alone() -> None:
    """The rest of the mapping stays."""
    found = {**GOOD, "url.full": f"https://example.com/?{EMAIL}", EMAIL: 1, "http.request.method": "BREW"}

    cleared = foreign().attributes("traces", found)

    assert {**GOOD, "http.request.method": OTHER} == cleared


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.response.status_code", 4930),
        ("http.response.status_code", "200"),
        ("http.response.status_code", True),
        ("server.port", 4_111_111_111_111_111),
        ("server.port", float("nan")),
        ("server.port", float("inf")),
        # A client's own port is lent from above there.
        ("net.peer.port", 51_344),
        ("orders.total", 2**63),
        ("thread.id", -1),
    ],
)
def test_a_number_out_of_its_range_goes(key: str, value: object) -> None:
    """A number that its key cannot have is not its number."""
    cleared = foreign().attributes("traces", {key: value})

    assert {} == cleared


def test_a_list_keeps_what_conforms() -> None:
    """Scalars in a list under a listed key are looked at one by one; a list in a list goes."""
    decision = foreign()

    cleared = decision.attributes("traces", {"order.id": ["7", EMAIL, ["8"]], "http.request.method": [EMAIL]})

    assert {"order.id": ("7",), "http.request.method": (OTHER,)} == cleared
    assert decision.attributes("traces", {"order.id": ("7", "8")}) is None
    # Whoever holds the list may change it.
    assert {"order.id": ("7", "8")} == decision.attributes("traces", {"order.id": ["7", "8"]})
    assert {"order.id": ("7",) * LIST_LIMIT} == decision.attributes("traces", {"order.id": ["7"] * 1_000_000})


def test_an_id_is_a_text() -> None:
    """As in our own telemetry, an id leaves as a text."""
    cleared = foreign().attributes("traces", {"order.id": 7})

    assert {"order.id": "7"} == cleared


def test_an_id_is_no_label() -> None:
    """On metrics ids never leave: each would be a series of its own."""
    ids = dict.fromkeys(["order.id", "user.id", "messaging.message.id"], "7")

    cleared = foreign().attributes("metrics", {**ids, "http.request.method": "GET"})

    assert {"http.request.method": "GET"} == cleared


def test_common_words_are_labels_alone() -> None:
    """Words such as ``state`` mean something on the metrics that we know, and nothing elsewhere."""
    decision = foreign()

    assert decision.attributes("metrics", {"state": "idle", "cpu": 3, "device": "zram0", "family": 2}) is None
    assert {} == decision.attributes("traces", {"state": "idle", "cpu": 3, "device": "eth0", "family": 2})
    assert {"device": OTHER} == decision.attributes("metrics", {"device": "alice-vpn"})


def test_a_name_of_code_leaves_where_it_is_loaded() -> None:
    """An exception that exists here leaves by its name; a word that only looks like one does not."""
    decision = foreign()

    cleared = decision.attributes("traces", {"exception.type": "AliceError", "celery.task_name": "json.alice"})

    assert {"exception.type": OTHER, "celery.task_name": OTHER} == cleared


def test_others_take_no_room_from_us() -> None:
    """A stranger's reason, route or handler under our keys passes only where we know it already."""
    decision = foreign()
    ours = {"ws.reason": "ALICE", "ws.handler": "alice", "http.route": "/users/alice", "error.type": "alice"}

    cleared = decision.attributes("traces", ours)

    assert dict.fromkeys(ours, OTHER) == cleared
    assert all("ALICE" not in seen and "alice" not in seen for seen in decision.policy._seen.values())


def test_our_own_routes_are_known() -> None:
    """A route that our own telemetry carries may stand on others' spans."""
    decision = foreign()
    decision.policy.route("/ws/match/{match_id}/")

    assert decision.attributes("traces", {"http.route": "/ws/match/{match_id}/"}) is None


def test_declared_codes_are_capped() -> None:
    """Under a declared key 64 different code names leave, and no more."""
    decision = foreign()

    left = [decision.attributes("traces", {"payment.provider": f"p{number}"}) for number in range(70)]

    assert [None] * 64 + [{"payment.provider": OTHER}] * 6 == left
    assert decision.attributes("traces", {"payment.provider": "p7"}) is None


def test_what_is_declared_later_counts() -> None:
    """A declaration is known from then on, though the decision was made before."""
    decision = foreign({})
    before = decision.attributes("traces", {"plan": "free"})
    decision.policy.apply(parse({"choice": {"plan": ["free"]}})[0])

    assert {} == before
    assert decision.attributes("traces", {"plan": "free"}) is None


# --- never in the way -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "found",
    [
        Broken(),
        7,
        "text",
        [("key", "value")],
        {1: 2, None: 3, (): 4},
        {HostileStr.__name__: ring()},
        {"user.id": ring()},
    ],
    ids=["broken", "number", "text", "list", "keys of any type", "ring", "ring under an id"],
)
@pytest.mark.parametrize("signal", [*SIGNALS, "nonsense"])
def test_no_mapping_makes_it_raise(signal: str, found: Any) -> None:
    """What is no proper mapping, or breaks while one looks, leaves without its contents."""
    cleared = foreign().attributes(signal, found)

    assert cleared is not None
    assert EMAIL not in str(cleared)


@pytest.mark.parametrize("key", ["http.request.method", Liar("http.request.method", EMAIL)], ids=["key", "lying key"])
@pytest.mark.parametrize("value", ["GET", Liar("GET", EMAIL)], ids=["value", "lying value"])
def test_a_text_that_lies_is_found_out(key: str, value: str) -> None:
    """A key or value that says it equals a known one is looked at for what it holds."""
    found = {key: value}

    cleared = foreign().attributes("traces", found)

    assert EMAIL not in {str.__str__(text) for text in texts(found if cleared is None else cleared)}


def test_a_million_keys_cost_as_much_as_a_few() -> None:
    """Only so many keys are looked at; the rest go, and are counted."""
    decision = foreign()
    found = {f"key{number}": number for number in range(1_000_000)}

    took = timeit.timeit(lambda: decision.attributes("traces", found), number=1)

    assert {("traces", "undeclared"): 1_000_000} == decision.policy.redactions()
    assert took < 0.1
    assert KEY_LIMIT < 1000


@pytest.mark.parametrize("key", ["http.route", "user.id", "error.type", "payment.provider", "payment.method", EMAIL])
def test_ten_megabytes_are_not_read(key: str) -> None:
    """A value of any length is judged by its length first."""
    decision = foreign(key=b"k" * 32)
    # Anew for each look: the second hash of one text costs nothing. A first one takes some milliseconds.
    rounds = [{key: f"{number}{'x' * 10_000_000}"} for number in range(5)]

    took = min(timeit.timeit(lambda: decision.attributes("traces", found), number=1) for found in rounds)  # noqa: B023

    assert took < 0.001
    assert decision.attributes("traces", rounds[0]) in ({}, {key: OTHER})


@given(thing=values)
def test_no_single_thing_makes_a_question_raise(thing: Any) -> None:
    """Names, bodies, urls and states of any make get an answer that holds none of their text."""
    decision = foreign()

    answers = [
        decision.span_name("", thing, {}),
        decision.event_name("logs", thing),
        decision.scope_name("logs", thing),
        decision.version("logs", thing) or "",
        decision.schema_url("logs", thing),
        str(decision.trace_state(thing)),
        decision.body(thing) or "",
        decision.severity_text(thing) or "",
        str(decision.metric(thing, thing)),
        str(decision.resource({"service.name": [thing], "host.name": thing, "cloud.provider": thing})),
    ]

    fixed = {OTHER, "", "{}", BODY, "None", "GET", "GET http", "SELECT", f"run/{OTHER}", "json"}
    assert set(answers) <= fixed


# --- what is counted --------------------------------------------------------------------------------------------
def test_removals_are_counted_by_signal_and_kind() -> None:
    """What was removed or replaced is counted under the kind that it should have had."""
    decision = foreign()

    decision.attributes("traces", {EMAIL: 1, "http.request.method": EMAIL, "server.port": "x", "user.id": EMAIL})
    decision.attributes("logs", {"payment.method": EMAIL})
    decision.body(EMAIL)

    expected = {
        ("traces", "undeclared"): 1,
        ("traces", "choice"): 1,
        ("traces", "number"): 1,
        ("traces", "id"): 1,
        ("logs", "choice"): 1,
        ("logs", "text"): 1,
    }
    assert expected == decision.policy.redactions()
    assert {kind for _, kind in expected} <= set(semconv.REMOVED.choices)


def test_keys_of_the_conventions_are_named_for_a_report() -> None:
    """A report names well-known keys, and never a key that somebody invented."""
    decision = foreign()

    for _ in range(2):
        decision.attributes("traces", {"url.full": EMAIL, "http.request.header.x_alice": EMAIL, EMAIL: 1, "alice": 1})

    assert {"url.full": 2, "http.request.header.*": 2} == decision.well_known


# --- pseudonyms -------------------------------------------------------------------------------------------------
def test_an_id_of_another_form_leaves_under_a_pseudonym() -> None:
    """With a key an e-mail address as an id leaves as its pseudonym, the same on ours and on others' telemetry."""
    decision = foreign(key=b"k" * 32)

    cleared = decision.attributes("traces", {"user.id": EMAIL}) or {}

    ours = decision.policy.clear("logs", {semconv.USER_ID: EMAIL})
    assert ours[semconv.USER_ID] == cleared["user.id"]
    assert str(cleared["user.id"]).startswith("p_")


def test_what_only_looks_like_a_pseudonym_is_hashed() -> None:
    """A text in a pseudonym's form that this key did not make does not pass as it is."""
    decision = foreign(key=b"k" * 32)
    forged = "p_" + EMAIL.encode().hex()[:32]

    cleared = decision.attributes("traces", {"user.id": forged})

    assert cleared is not None
    assert forged != cleared["user.id"]


# --- names ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exception", "exception"),
        ("WS_CONNECT", "WS_CONNECT"),
        ("process order", "process order"),
        ("", ""),
        (None, ""),
        (EMAIL, OTHER),
        (OTHER, OTHER),
    ],
)
def test_an_events_name(name: object, expected: str) -> None:
    """Known and declared names of events leave."""
    assert expected == foreign().event_name("logs", name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("otel_ws", "otel_ws"),
        ("json.decoder", "json.decoder"),
        ("django.request", "django.request"),
        ("json.decoder.alice", "json.decoder"),
        ("process order", "process order"),
        (EMAIL, OTHER),
        ("alice.smith", OTHER),
        ("", ""),
        (7, OTHER),
    ],
)
def test_a_scopes_name(name: object, expected: str) -> None:
    """A scope is a loaded module, a known logger or a declared text; of another name the loaded part stays."""
    assert expected == foreign().scope_name("logs", name)


@pytest.mark.parametrize("version", ["1.45.2", "0.66b2", "2026.10.18", "1.0.0rc1", "5.2.19", "1.0.dev3"])
def test_a_release_is_a_version(version: str) -> None:
    """A package's release leaves."""
    assert version == foreign().version("traces", version)


@pytest.mark.parametrize(
    "version", ["192.0.2.7", EMAIL, "212.555.0100", "01.2", "20261018", "1.2-alice", 1.0, None, ""]
)
def test_what_is_no_release_goes(version: object) -> None:
    """An address, a telephone number or a word is no version."""
    assert foreign().version("traces", version) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://opentelemetry.io/schemas/1.11.0", "https://opentelemetry.io/schemas/1.11.0"),
        (semconv.SCHEMA_URL, semconv.SCHEMA_URL),
        ("https://opentelemetry.io/schemas/1.11.0?alice", ""),
        ("https://example.com/schemas/1.11.0", ""),
        (None, ""),
    ],
)
def test_a_schemas_url(url: object, expected: str) -> None:
    """Only OpenTelemetry's own schemas are named."""
    assert expected == foreign().schema_url("traces", url)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"ot": "th:8"}, {"ot": "th:8"}),
        ({"ot": "th:8;rv:0123456789abcd", "vendor": "alice"}, {"ot": "th:8;rv:0123456789abcd"}),
        ({"ot": "th:8;user:alice"}, {"ot": "th:8"}),
        ({"ot": "alice"}, {}),
        ({"vendor": "alice"}, {}),
        (None, {}),
    ],
)
def test_a_trace_state_keeps_what_sampling_needs(state: Any, expected: dict[str, str]) -> None:
    """The threshold and the randomness of consistent sampling stay."""
    assert expected == foreign().trace_state(state)


# --- logs, metrics and resources --------------------------------------------------------------------------------
def test_a_body_is_a_fixed_sentence() -> None:
    """A text becomes a sentence of ours; the sentence of a known event stays, and nothing stays nothing."""
    decision = foreign()

    assert BODY == decision.body(f"user {EMAIL} joined")
    assert BODY == decision.body({"user": EMAIL})
    assert BODY == decision.body(BODY)
    assert "Connection accepted." == decision.body("Connection accepted.")
    assert decision.body(None) is None


@pytest.mark.parametrize(("text", "expected"), [("WARN", "WARN"), ("INFO2", "INFO2"), (EMAIL, None), ("alice", None)])
def test_a_level_has_a_known_name(text: str, expected: str | None) -> None:
    """Only the names of levels leave as severity."""
    assert expected == foreign().severity_text(text)


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("http.server.request.duration", "s", ("http.server.request.duration", "s")),
        ("http.server.request.duration", "alice", ("http.server.request.duration", "s")),
        ("http.server.request.duration", "", ("http.server.request.duration", "")),
        ("system.swap.usage", "pages", ("system.swap.usage", "pages")),
        ("orders.total", "{order}", ("orders.total", "")),
        ("orders.total", "s", ("orders.total", "s")),
        ("alice.total", "s", None),
        ("payment.method", "s", None),
        (EMAIL, EMAIL, None),
    ],
)
def test_a_metric_is_known_or_declared(name: str, unit: str, expected: tuple[str, str] | None) -> None:
    """Known and declared metrics leave, with a known unit."""
    assert expected == foreign().metric(name, unit)


@pytest.mark.parametrize("name", METRIC_CONVENTIONS)
def test_a_known_metric_keeps_its_own_unit(name: str) -> None:
    """What an instrumentation emits leaves unchanged."""
    assert (name, METRIC_CONVENTIONS[name]) == foreign().metric(name, METRIC_CONVENTIONS[name])


def test_a_resource_keeps_the_service_and_its_place() -> None:
    """The service, its place and its runtime stay; host names, commands and owners go."""
    found: dict[str, object] = {
        "service.name": "tournament",
        "process.pid": 7,
        "process.runtime.name": "cpython",
        "process.runtime.version": "3.11.7",
        "host.name": "alices-laptop",
        "process.owner": "alice",
        "process.command_args": ["manage.py", EMAIL],
        "cloud.provider": EMAIL,
    }

    kept = foreign().resource(found)

    expected = {"service.name", "process.pid", "process.runtime.name", "process.runtime.version"}
    assert {key: found[key] for key in expected} == kept


# --- cost -------------------------------------------------------------------------------------------------------
def test_the_quick_look_asks_nothing_of_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What conforms by its table, and what was found to conform before, is not looked at a second time."""
    decision = foreign()
    assert decision.attributes("traces", GOOD) is None
    monkeypatch.setattr(Foreign, "_cleared", refuse)
    known = {key: value for key, value in GOOD.items() if type(value) is not bool}

    assert decision.attributes("traces", known) is None
    assert json.decoder.__name__ in sys.modules


@pytest.mark.parametrize("name", ["ada_lovelace/4711", "alice_example_com/1", "batching_span_processor/4711x"])
def test_a_component_is_one_of_the_sdks(name: str) -> None:
    """Under the SDK's key for its own parts a name leaves only where it is one of those parts, with its number."""
    assert {"otel.component.name": OTHER} == foreign().attributes("metrics", {"otel.component.name": name})
    assert foreign().attributes("metrics", {"otel.component.name": "batching_span_processor/0"}) is None


def test_names_that_were_met_in_code_stay() -> None:
    """A consumer's class and its methods are known once it has run; anybody else's word under the same keys is not."""
    with testing.capture() as telemetry:
        active = telemetry.recorder
        foreign = Foreign(active.policy)
        told = {"ws.consumer": "Chat", "ws.handler": "receive_json"}
        before = foreign.attributes("traces", told)
        active.consumer_met(type("Chat", (), {"receive_json": None}))

        assert {"ws.consumer": OTHER, "ws.handler": OTHER} == before
        assert foreign.attributes("traces", told) is None
        assert {"ws.consumer": OTHER, "ws.handler": OTHER} == foreign.attributes(
            "traces", {"ws.consumer": "Ada", "ws.handler": "lovelace"}
        )
