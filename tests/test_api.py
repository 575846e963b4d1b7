"""The application's verbs: inside and outside a connection, called rightly and wrongly, with telemetry on and off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from doubles import Clock
from hypothesis import given
from hypothesis import strategies as st

import otel_ws
from otel_ws import faults, recorder, semconv
from otel_ws.connection import Connection, current
from otel_ws.handling import Handling
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER
from otel_ws.settings import Settings
from otel_ws.testing import Telemetry, UsageError, capture

Call = Callable[[], object]


@contextmanager
def inside(active: Recorder, accepted: bool = True, **scope: Any) -> Iterator[Connection]:
    """Be in a connection, accepted or still connecting."""
    connection = Connection(active, {"type": "websocket", **scope})
    if accepted:
        message = {"type": "websocket.accept"}
        connection.sent(message, connection.sending())
    token = current.set(connection)
    try:
        yield connection
    finally:
        current.reset(token)


@contextmanager
def handling(connection: Connection) -> Iterator[Handling]:
    """Be in the handler of a client's message."""
    message = {"type": "websocket.receive", "text": "{}"}
    connection.received(message, connection.recorder.clock())
    one = Handling(connection, "websocket.receive", "receive", True)
    one.attach()
    yield one
    one.end(None)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    return Clock()


@pytest.fixture
def seen(clock: Clock) -> Iterator[Telemetry]:
    """What is emitted; wrong use is an error."""
    with capture(injected={"clock": clock, "new_id": lambda: 1}, message_events="all") as telemetry:
        yield telemetry


@pytest.fixture
def lenient(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """A recorder as in production: wrong use is a warning."""
    caplog.set_level(logging.WARNING, "otel_ws")
    faults.reset()
    before = recorder.replace(Recorder(Settings(), Policy()))
    yield caplog
    active = recorder.replace(before)
    assert active is not None
    active.close()
    faults.reset()


@pytest.fixture
def off() -> Iterator[None]:
    """Telemetry is off: there is no recorder."""
    faults.reset()
    before = recorder.replace(None)
    yield
    recorder.replace(before)
    faults.reset()


def broadcast(*args: Any, **kwargs: Any) -> None:
    """``broadcast`` as a call: enter and leave."""
    with otel_ws.broadcast(*args, **kwargs):
        pass


# Each verb once, called rightly.
RIGHT: dict[str, Call] = {
    "record_auth_failure": lambda: otel_ws.record_auth_failure("JWT_EXPIRED"),
    "record_ratelimit_reject": lambda: otel_ws.record_ratelimit_reject("MSG_RATE", retry_after_ms=5),
    "record_error": lambda: otel_ws.record_error(ValueError()),
    "record_message_denied": lambda: otel_ws.record_message_denied(),
    "record_ping": lambda: otel_ws.record_ping(0.1),
    "set_message_type": lambda: otel_ws.set_message_type("unknown"),
    "set_role": lambda: otel_ws.set_role("player"),
    "set_ids": lambda: otel_ws.set_ids(match_id=3),
    "declare": lambda: otel_ws.declare(roles=["referee"]),
    "broadcast": lambda: broadcast("room_{room_id}", 3),
    "get_metrics_snapshot": lambda: otel_ws.get_metrics_snapshot(),
    "health": lambda: otel_ws.health(),
}
# Verbs called wrongly: what the application meant cannot be known, or must not leave.
WRONG: dict[str, Call] = {
    "reason is a sentence": lambda: otel_ws.record_auth_failure("Token of Alice expired"),
    "reason is no text": lambda: otel_ws.record_ratelimit_reject(429),  # type: ignore[arg-type]
    "no exception": lambda: otel_ws.record_error("it broke"),  # type: ignore[arg-type]
    "unknown category": lambda: otel_ws.record_error(ValueError(), category="weather"),
    "unknown severity": lambda: otel_ws.record_error(ValueError(), severity="meh"),
    "negative ping": lambda: otel_ws.record_ping(-0.1),
    "ping is no number": lambda: otel_ws.record_ping("fast"),  # type: ignore[arg-type]
    "too few arguments": lambda: otel_ws.record_auth_failure(),  # type: ignore[call-arg]
    "too many arguments": lambda: otel_ws.record_message_denied("no"),  # type: ignore[call-arg]
    "unknown argument": lambda: otel_ws.record_ping(0.1, unit="s"),  # type: ignore[call-arg]
    "undeclared role": lambda: otel_ws.set_role("Alice"),
    "undeclared id": lambda: otel_ws.set_ids(order_id=7),
    "the connection's own id": lambda: otel_ws.set_ids(connection_id=7),
    "role of a wrong form": lambda: otel_ws.declare(roles=["the boss"]),
    "id of a wrong form": lambda: otel_ws.declare(id="order"),
    "roles are no list": lambda: otel_ws.declare(roles=4.5),  # type: ignore[arg-type]
    "heartbeat without an interval": lambda: otel_ws.declare(heartbeat=("ping",)),  # type: ignore[arg-type]
    "heartbeat with a wrong interval": lambda: otel_ws.declare(heartbeat=("ping", 0.0)),
    "heartbeat is a text": lambda: otel_ws.declare(heartbeat="ping"),  # type: ignore[arg-type]
    "unknown kind of declaration": lambda: otel_ws.declare(colours=["red"]),  # type: ignore[call-arg]
}
# Verbs that mean nothing without a connection.
NEEDY = ("record_message_denied", "set_message_type", "set_role", "set_ids")
hostile = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text(), max_size=2)
)


# --- never into the application ---------------------------------------------------------------------------------
@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("call", [*RIGHT.values(), *WRONG.values()], ids=[*RIGHT, *WRONG])
def test_no_verb_raises_inside_a_connection(call: Call) -> None:
    """Whatever is called, right or wrong, nothing raises in a handler."""
    active = recorder.active()
    assert active is not None

    with inside(active) as connection, handling(connection):
        call()

    assert connection is not None


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("call", [*RIGHT.values(), *WRONG.values()], ids=[*RIGHT, *WRONG])
def test_no_verb_raises_outside_a_connection(call: Call) -> None:
    """Whatever is called, right or wrong, nothing raises elsewhere."""
    before = current.get()

    call()

    assert before is None


@pytest.mark.usefixtures("off")
@pytest.mark.parametrize("call", [*RIGHT.values(), *WRONG.values()], ids=[*RIGHT, *WRONG])
def test_no_verb_raises_where_telemetry_is_off(call: Call) -> None:
    """With telemetry off every verb does nothing, and no failure of ours is counted."""
    call()

    assert {} == faults.snapshot()


@given(value=hostile)
def test_no_value_makes_a_verb_raise(value: Any) -> None:
    """Whatever a verb is given, it does not raise."""
    before = recorder.replace(Recorder(Settings(), Policy()))
    verbs: tuple[Call, ...] = (
        lambda: otel_ws.record_auth_failure(value, close_code=value),
        lambda: otel_ws.record_ratelimit_reject(value, value),
        lambda: otel_ws.record_error(value, category=value, severity=value),
        lambda: otel_ws.record_ping(value),
        lambda: otel_ws.set_message_type(value),
        lambda: otel_ws.set_role(value),
        lambda: otel_ws.set_ids(match_id=value),
        lambda: otel_ws.declare(id=value, roles=value, reasons=value, heartbeat=value),
        lambda: broadcast(value, value),
    )
    active = recorder.active()
    assert active is not None

    try:
        with inside(active) as connection, handling(connection):
            for verb in verbs:
                verb()
        for verb in verbs:
            verb()
    finally:
        recorder.replace(before)
        active.close()
        faults.reset()

    assert connection.recorder is active


# --- wrong use is told ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_use_is_warned_of_once(lenient: pytest.LogCaptureFixture, call: Call) -> None:
    """The same wrong call has one line in the log: a warning that names ``otel_ws`` and the verb."""
    active = recorder.active()
    assert active is not None

    with inside(active) as connection, handling(connection):
        for _ in range(3):
            call()

    (line,) = lenient.records
    assert logging.WARNING == line.levelno
    assert "otel_ws." in line.getMessage()


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_use_is_no_failure_of_ours(lenient: pytest.LogCaptureFixture, call: Call) -> None:
    """A wrong call does not count as a failure of otel-ws."""
    active = recorder.active()
    assert active is not None

    with inside(active) as connection, handling(connection):
        call()

    assert {} == faults.snapshot()
    assert lenient.records


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_warning_does_not_tell_the_value(lenient: pytest.LogCaptureFixture, call: Call) -> None:
    """What was given wrongly may be anybody's data: it is not in the log."""
    active = recorder.active()
    assert active is not None

    with inside(active) as connection, handling(connection):
        call()

    told = lenient.text
    assert not [word for word in ("Alice", "429", "it broke", "weather", "meh", "boss", "order_id") if word in told]


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_use_is_an_error_in_tests(seen: Telemetry, call: Call) -> None:
    """Under ``otel_ws.testing.capture`` a wrong call raises ``UsageError``."""
    with inside(seen.recorder) as connection, handling(connection), pytest.raises(UsageError):
        call()


@pytest.mark.parametrize("name", NEEDY)
def test_a_verb_that_needs_a_connection_warns_outside_of_one(lenient: pytest.LogCaptureFixture, name: str) -> None:
    """Outside a connection such a verb does nothing, and says so once."""
    for _ in range(3):
        RIGHT[name]()

    (line,) = lenient.records
    assert f"otel_ws.{name}() was called outside a connection" in line.getMessage()


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("name", NEEDY)
def test_a_verb_that_needs_a_connection_is_an_error_outside_of_one_in_tests(name: str) -> None:
    """Under ``otel_ws.testing.capture`` the same is an error."""
    with pytest.raises(UsageError, match="outside"):
        RIGHT[name]()


@pytest.mark.parametrize("name", [name for name in RIGHT if name not in NEEDY])
def test_the_other_verbs_say_nothing_outside_of_a_connection(lenient: pytest.LogCaptureFixture, name: str) -> None:
    """A verb that has a meaning without a connection warns of nothing."""
    RIGHT[name]()

    assert [] == lenient.records


@pytest.mark.usefixtures("off")
@pytest.mark.parametrize("name", RIGHT)
def test_no_right_call_warns_where_telemetry_is_off(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """With telemetry off a right call says nothing, inside or outside."""
    RIGHT[name]()

    assert [] == caplog.records


# --- record_auth_failure ----------------------------------------------------------------------------------------
def test_an_authentication_failure_becomes_the_reason_of_the_rejection(seen: Telemetry) -> None:
    """What was said before the connection is refused is why it was refused."""
    with inside(seen.recorder, accepted=False) as connection:
        otel_ws.record_auth_failure("JWT_EXPIRED")
        connection.sent({"type": "websocket.close", "code": 4001}, connection.sending())

    (event,) = seen.events("WS_REJECT")
    assert ("JWT_EXPIRED", 4001) == (event.attributes["ws.reason"], event.attributes["ws.close.code"])
    assert 1 == seen.value("ws.connection.rejections", reason="JWT_EXPIRED", close_code="4001")


def test_an_authentication_failure_counts_once(seen: Telemetry) -> None:
    """The failure is counted and told once, with the close code that was given."""
    with inside(seen.recorder):
        otel_ws.record_auth_failure("JWT_INVALID", close_code=4003)

    (event,) = seen.events("WS_AUTH_FAIL")
    assert ("JWT_INVALID", 4003) == (event.attributes["ws.reason"], event.attributes["ws.close.code"])
    assert {(("reason", "JWT_INVALID"), ("transport", "websocket")): 1} == seen.points("ws.auth.failures")


def test_an_authentication_failure_outside_a_connection_counts_without_ids(seen: Telemetry) -> None:
    """A failure in code that has no connection is counted, too."""
    otel_ws.record_auth_failure("JWT_INVALID")

    (event,) = seen.events("WS_AUTH_FAIL")
    assert {"ws.reason": "JWT_INVALID"} == event.attributes
    assert 1 == seen.value("ws.auth.failures", reason="JWT_INVALID")


@pytest.mark.usefixtures("lenient")
def test_a_reason_that_is_no_code_counts_as_other() -> None:
    """A wrong reason does not leave, but the failure is counted."""
    otel_ws.record_auth_failure("Token of Alice expired")

    assert {(OTHER,): 1} == otel_ws.get_metrics_snapshot()["ws_auth_failures_total"]


# --- record_ratelimit_reject ------------------------------------------------------------------------------------
@pytest.mark.parametrize(("milliseconds", "seconds"), [(1500, 1.5), (0, 0.0), (2.5, 0.0025)])
def test_the_time_to_wait_is_given_in_milliseconds(seen: Telemetry, milliseconds: float, seconds: float) -> None:
    """``retry_after_ms`` is milliseconds, the attribute is seconds."""
    otel_ws.record_ratelimit_reject("MSG_RATE", milliseconds)

    (event,) = seen.events("WS_RATELIMIT_REJECT")
    assert pytest.approx(seconds) == event.attributes["ws.retry_after"]


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("value", [None, "soon", float("nan")])
def test_a_time_to_wait_that_is_no_number_is_left_out(value: Any) -> None:
    """Without a number the event has no time, and the rejection is counted."""
    otel_ws.record_ratelimit_reject("MSG_RATE", value)

    assert {("MSG_RATE",): 1} == otel_ws.get_metrics_snapshot()["ws_ratelimit_events_total"]


def test_a_rate_limit_becomes_the_reason_of_the_rejection(seen: Telemetry) -> None:
    """A connection that a limit refused is rejected for that reason."""
    with inside(seen.recorder, accepted=False) as connection:
        otel_ws.record_ratelimit_reject("CONN_LIMIT")
        connection.returned()

    assert ["CONN_LIMIT"] == [event.attributes["ws.reason"] for event in seen.events("WS_REJECT")]


# --- record_error -----------------------------------------------------------------------------------------------
def test_an_error_leaves_by_its_class(seen: Telemetry) -> None:
    """The class, category and severity leave; the text stays."""
    otel_ws.record_error(ValueError("alice@example.com"), category="validation", severity="low")

    (event,) = seen.events("WS_ERROR")
    expected = {"error.type": "ValueError", "error.category": "validation", "error.severity": "low"}
    assert expected == event.attributes
    assert "alice" not in str(seen.events())


@pytest.mark.parametrize(
    ("exc", "category"),
    [(ConnectionError(), "connection"), (PermissionError(), "authentication"), (ValueError(), "system")],
    ids=["ConnectionError", "PermissionError", "ValueError"],
)
def test_the_category_of_an_error_is_guessed_alike_everywhere(seen: Telemetry, exc: Exception, category: str) -> None:
    """Where no category is given it follows from the class, inside and outside a connection."""
    otel_ws.record_error(exc)
    with inside(seen.recorder):
        otel_ws.record_error(exc)

    told = [event.attributes["error.category"] for event in seen.events("WS_ERROR")]
    assert [category, category] == told


def test_an_error_makes_the_message_a_failed_one(seen: Telemetry) -> None:
    """A message whose handler reported an error has status ``error``, though it returned."""
    with inside(seen.recorder) as connection, handling(connection):
        otel_ws.record_error(ValueError())

    assert ["error"] == [event.attributes["ws.outcome"] for event in seen.events("WS_MESSAGE")]
    assert 1 == seen.value("ws.messages", status="error")


def test_an_error_is_told_with_the_handler(seen: Telemetry) -> None:
    """An error reported in a handler names it."""
    with inside(seen.recorder) as connection, handling(connection):
        otel_ws.record_error(ValueError())

    assert ["receive"] == [event.attributes["ws.handler"] for event in seen.events("WS_ERROR")]


# --- record_message_denied, set_message_type --------------------------------------------------------------------
def test_a_denied_message_has_that_status(seen: Telemetry) -> None:
    """The message being handled counts as ``permission_denied``."""
    with inside(seen.recorder) as connection, handling(connection):
        otel_ws.record_message_denied()

    assert 1 == seen.value("ws.messages", status="permission_denied")


def test_nothing_is_denied_where_no_message_is_handled(seen: Telemetry) -> None:
    """Between messages the verb does nothing."""
    with inside(seen.recorder) as connection:
        otel_ws.record_message_denied()
        with handling(connection):
            pass

    assert 1 == seen.value("ws.messages", status="success")


def test_a_declared_message_type_names_the_message(seen: Telemetry) -> None:
    """The message being handled counts under its declared type."""
    otel_ws.declare(message_types=["chat"])
    with inside(seen.recorder) as connection, handling(connection):
        otel_ws.set_message_type("chat")

    assert 1 == seen.value("ws.messages", type="chat")


def test_an_undeclared_message_type_is_unknown(seen: Telemetry) -> None:
    """What a client invents does not name the message."""
    with inside(seen.recorder) as connection, handling(connection):
        otel_ws.set_message_type("alice")

    assert 1 == seen.value("ws.messages", type="unknown")


# --- record_ping ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seconds", [0, 0.0, 0.02, 3])
def test_a_ping_is_measured(seen: Telemetry, seconds: float) -> None:
    """A round trip of no seconds or more is a value."""
    otel_ws.record_ping(seconds)

    assert 1 == seen.value("ws.ping.duration")


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "fast", None, True])
def test_a_ping_that_is_no_duration_is_not_measured(value: Any) -> None:
    """A wrong duration is warned of, and does nothing."""
    otel_ws.record_ping(value)

    assert {} == otel_ws.get_metrics_snapshot()["ws_ping_duration_seconds"]


# --- set_role, set_ids ------------------------------------------------------------------------------------------
def test_a_role_before_accept_is_the_connections(seen: Telemetry) -> None:
    """A role that is set before accept is the one that the connection counts under."""
    with inside(seen.recorder, accepted=False) as connection:
        otel_ws.set_role("admin")
        connection.sent({"type": "websocket.accept"}, connection.sending())

    assert 1 == seen.value("ws.connections", role="admin", status="connected")


def test_a_role_after_accept_moves_the_gauge(seen: Telemetry) -> None:
    """A later role moves the open connection."""
    with inside(seen.recorder, role="player"):
        otel_ws.set_role("admin")

        counted = [seen.value("ws.active_connections", role=role) for role in ("player", "admin")]

    assert [0, 1] == counted


@pytest.mark.usefixtures("lenient")
def test_an_undeclared_role_counts_as_other() -> None:
    """A role that nobody declared does not leave."""
    active = recorder.active()
    assert active is not None

    with inside(active):
        otel_ws.set_role("Alice")

        counted = otel_ws.get_metrics_snapshot()["ws_active_connections_gauge"]

    assert {(OTHER, "global"): 1} == counted


def test_ids_are_on_what_is_told_later(seen: Telemetry) -> None:
    """Ids that the application sets are on the events that follow."""
    with inside(seen.recorder):
        otel_ws.set_ids(user_id=7, match_id="3")
        otel_ws.record_auth_failure("JWT_EXPIRED")

    (event,) = seen.events("WS_AUTH_FAIL")
    assert ("7", "3") == (event.attributes["user.id"], event.attributes["match.id"])


def test_a_declared_id_can_be_set(seen: Telemetry) -> None:
    """An id of the application's own is set by its name with an underscore."""
    otel_ws.declare(id="order.id")
    with inside(seen.recorder):
        otel_ws.set_ids(order_id=12)
        otel_ws.record_auth_failure("JWT_EXPIRED")

    assert ["12"] == [event.attributes["order.id"] for event in seen.events("WS_AUTH_FAIL")]


def test_a_value_that_is_no_id_is_dropped_and_counted(seen: Telemetry) -> None:
    """A name in an id's place does not leave."""
    with inside(seen.recorder):
        otel_ws.set_ids(match_id="Alice Example")
        otel_ws.record_auth_failure("JWT_EXPIRED")

    (event,) = seen.events("WS_AUTH_FAIL")
    assert "match.id" not in event.attributes
    assert 1 == seen.value("ws.privacy.redactions", kind="id", signal="logs")


@pytest.mark.usefixtures("lenient")
def test_right_ids_are_set_beside_undeclared_ones() -> None:
    """One undeclared name does not keep the other ids out."""
    active = recorder.active()
    assert active is not None

    with inside(active) as connection:
        otel_ws.set_ids(order_id=12, match_id=3)

    assert "3" == connection.ids[semconv.MATCH_ID]
    assert {("logs", "undeclared"): 1} == active.policy.redactions()


@pytest.mark.usefixtures("lenient")
def test_the_connections_own_id_stays() -> None:
    """An application cannot overwrite the id that we gave the connection."""
    active = recorder.active()
    assert active is not None

    with inside(active) as connection:
        before = connection.ids[semconv.CONNECTION_ID]
        otel_ws.set_ids(connection_id=7)

    assert before == connection.ids[semconv.CONNECTION_ID]


# --- declare ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("argument", "values", "attribute"),
    [
        ("roles", ["referee"], semconv.ROLE),
        ("reasons", ["TABLE_FULL"], semconv.REASON),
        ("message_types", ["chat"], semconv.MESSAGE_TYPE),
        ("close_codes", [4001], semconv.CLOSE_CODE),
        ("templates", ["room_{room_id}"], semconv.TEMPLATE),
    ],
    ids=["roles", "reasons", "message_types", "close_codes", "templates"],
)
def test_what_is_declared_leaves(
    seen: Telemetry, argument: str, values: list[object], attribute: semconv.Attribute
) -> None:
    """Each argument widens its attribute's vocabulary."""
    otel_ws.declare(**{argument: values})  # type: ignore[arg-type]

    assert str(values[0]) == seen.recorder.policy.label(attribute, values[0])


def test_one_value_may_stand_without_a_list(seen: Telemetry) -> None:
    """A single text or number is taken as a list of one."""
    otel_ws.declare(roles="referee", close_codes=4001, id="order.id")  # type: ignore[arg-type]

    policy = seen.recorder.policy
    assert ("referee", "4001") == (policy.label(semconv.ROLE, "referee"), policy.label(semconv.CLOSE_CODE, 4001))
    assert "order_id" in policy.ids


def test_a_heartbeat_declares_its_message_type(seen: Telemetry) -> None:
    """A heartbeat is a message type and an interval."""
    otel_ws.declare(heartbeat=("ping", 30))

    assert ("ping", 30.0) == seen.recorder.policy.heartbeat
    assert "ping" == seen.recorder.policy.label(semconv.MESSAGE_TYPE, "ping")


def test_keys_of_others_are_declared_by_their_kind(seen: Telemetry) -> None:
    """An id, a choice, a code, a number and a text: from then on they leave on anybody's telemetry."""
    otel_ws.declare(
        id="order.id",
        choice={"payment.method": ["card", "cash"]},
        code=["payment.provider"],
        template=["process order"],
        number="orders.total",
    )

    policy = seen.recorder.policy
    kinds = [policy.kind(key) for key in ("order.id", "payment.method", "payment.provider", "orders.total")]
    assert [semconv.Kind.ID, semconv.Kind.CHOICE, semconv.Kind.CODE_NAME, semconv.Kind.NUMBER] == kinds
    assert policy.is_known(semconv.TEMPLATE, "process order")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"choice": {"user.email": ["alice"]}}, "choice, key 1: user.email is for people, addresses, secrets or free"),
        ({"choice": {"plan": [f"p{n}" for n in range(65)]}}, "choice, key 1: a choice has 1 to 64 values"),
        ({"code": "exception.message"}, "code, value 1: exception.message is for people"),
        ({"number": "customer.phone"}, "number, value 1: a key that ends in this word is about a person"),
        ({"template": "hello alice@example.com"}, "template, value 1: an exact text of up to 200"),
        ({"roles": ["the boss"]}, "roles, value 1: a code name is a letter"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_wrong_declaration_is_refused_with_the_reason(seen: Telemetry, words: dict[str, Any], reason: str) -> None:
    """The warning names the place and what is allowed, and not the value."""
    with pytest.raises(UsageError) as refused:
        otel_ws.declare(**words)

    assert f"otel_ws.declare() left out: {reason}" in str(refused.value)
    assert "alice" not in str(refused.value)


def test_a_key_has_one_kind(seen: Telemetry) -> None:
    """A second declaration cannot make another thing of a key."""
    otel_ws.declare(choice={"plan": ["free"]})

    with pytest.raises(UsageError, match="plan: it was declared as another kind before"):
        otel_ws.declare(code="plan")
    with pytest.raises(UsageError, match="plan: it was declared as another kind before"):
        otel_ws.declare(number="plan")


def test_a_choice_grows_to_64_values(seen: Telemetry) -> None:
    """Values of one key may be declared in several places, 64 of them together."""
    otel_ws.declare(choice={"plan": [f"p{number}" for number in range(60)]})
    otel_ws.declare(choice={"plan": ["free", "p7"]})

    with pytest.raises(UsageError, match="together with what was declared before, it has more than 64 values"):
        otel_ws.declare(choice={"plan": ["a", "b", "c", "d"]})
    assert "free" == seen.recorder.policy.foreign("traces", "plan", "free")
    assert OTHER == seen.recorder.policy.foreign("traces", "plan", "a")


@pytest.mark.usefixtures("lenient")
def test_each_wrong_declaration_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A second wrong declaration is not hidden by the first."""
    otel_ws.declare(id="x")
    otel_ws.declare(number="customer.phone")

    assert "left out: id, value 1" in caplog.text
    assert "left out: number, value 1" in caplog.text


@pytest.mark.usefixtures("lenient")
def test_right_values_are_declared_beside_wrong_ones() -> None:
    """One wrong value does not keep the others out."""
    active = recorder.active()
    assert active is not None

    otel_ws.declare(roles=["the boss", "referee"], reasons=["TABLE_FULL"])

    assert "referee" == active.policy.label(semconv.ROLE, "referee")
    assert active.policy.is_declared(semconv.REASON, "TABLE_FULL")


@pytest.mark.usefixtures("off")
def test_declaring_works_before_the_start() -> None:
    """What a module declares while it is imported is known when recording starts later."""
    otel_ws.declare(roles=["referee"])

    installed = recorder.install(Settings())

    assert installed is not None
    assert "referee" == installed.policy.label(semconv.ROLE, "referee")
    recorder.uninstall()


# --- broadcast --------------------------------------------------------------------------------------------------
def test_a_broadcast_is_timed(seen: Telemetry, clock: Clock) -> None:
    """The block is a broadcast that was sent, as long as the block took."""
    otel_ws.declare(templates=["room_{room_id}"])

    with otel_ws.broadcast("room_{room_id}", 3):
        clock.now += 0.25

    assert 1 == seen.value("ws.broadcasts", messaging_destination_template="room_{room_id}", status="sent")
    assert 0.25 == otel_ws.get_metrics_snapshot()["ws_broadcast_duration_seconds"]["room_{room_id}",]["sum"]


@pytest.mark.parametrize("exc", [ValueError("alice@example.com"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_exception_passes_through_a_broadcast(seen: Telemetry, exc: BaseException) -> None:
    """The very exception comes out, and the broadcast is a failed one."""
    with pytest.raises(type(exc)) as raised, otel_ws.broadcast("room_{room_id}"):
        raise exc

    assert exc is raised.value
    assert 1 == seen.value("ws.broadcasts", status="failed")


@pytest.mark.usefixtures("off")
def test_an_exception_passes_through_a_broadcast_where_telemetry_is_off() -> None:
    """With telemetry off the exception passes, too."""
    exc = ValueError()

    with pytest.raises(ValueError) as raised, otel_ws.broadcast("room_{room_id}"):
        raise exc

    assert exc is raised.value


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("recipients", ["many", None, float("nan"), True, -1])
def test_recipients_that_are_no_number_are_not_recorded(recipients: Any) -> None:
    """Without a number of recipients, of 0 or more, the broadcast is counted alone."""
    broadcast("room_{room_id}", recipients)

    snapshot = otel_ws.get_metrics_snapshot()
    assert {(OTHER, "sent"): 1} == snapshot["ws_broadcasts_total"]
    assert {} == snapshot["ws_broadcast_recipients"]


# --- get_metrics_snapshot ---------------------------------------------------------------------------------------
def test_the_snapshot_has_the_documented_shape(seen: Telemetry, clock: Clock) -> None:
    """Names, label tuples and numbers are those of the design."""
    otel_ws.declare(message_types=["heartbeat"])
    with inside(seen.recorder, role="player", url_route={"kwargs": {"tournament_id": 2}}) as connection:
        for seconds in (0.001, 0.02, 100.0):
            with handling(connection):
                otel_ws.set_message_type("heartbeat")
                clock.now += seconds
        otel_ws.record_ratelimit_reject("MSG_RATE")
        otel_ws.record_auth_failure("JWT_EXPIRED")

        snapshot = otel_ws.get_metrics_snapshot()

    latency = snapshot["ws_message_latency_seconds"]["heartbeat",]
    assert {("player", "tournament", "connected"): 1} == snapshot["ws_connections_total"]
    assert {("player", "tournament"): 1} == snapshot["ws_active_connections_gauge"]
    assert {("heartbeat", "success"): 3} == snapshot["ws_messages_total"]
    assert {("MSG_RATE",): 1} == snapshot["ws_ratelimit_events_total"]
    assert {("JWT_EXPIRED",): 1} == snapshot["ws_auth_failures_total"]
    assert ["buckets", "sum", "count"] == list(latency)


def test_the_buckets_of_the_snapshot_are_cumulative(seen: Telemetry, clock: Clock) -> None:
    """A bucket counts all values up to its bound, in seconds; the last one, ``+Inf``, counts all."""
    clock.now = 0.0
    with inside(seen.recorder) as connection:
        for seconds in (0.001, 0.002, 0.75, 100.0):
            clock.now = 0.0
            with handling(connection):
                clock.now = seconds

        latency = otel_ws.get_metrics_snapshot()["ws_message_latency_seconds"]["unknown",]

    expected = {
        0.001: 1,
        0.005: 2,
        0.01: 2,
        0.05: 2,
        0.1: 2,
        0.25: 2,
        0.5: 2,
        1.0: 3,
        5.0: 3,
        10.0: 3,
        "+Inf": 4,
    }
    assert expected == latency["buckets"]
    assert (pytest.approx(100.753), 4) == (latency["sum"], latency["count"])


def test_the_snapshot_sums_over_routes(seen: Telemetry) -> None:
    """Series that differ in route, transport or subprotocol alone are one."""
    for route in ("/a/", "/b/"):
        connection = Connection(seen.recorder, {"type": "websocket", "role": "player"})
        connection.route_matched(0, route)
        accept = {"type": "websocket.accept", "subprotocol": route.strip("/")}
        connection.sent(accept, connection.sending())

    snapshot = otel_ws.get_metrics_snapshot()

    assert {("player", "global", "connected"): 2} == snapshot["ws_connections_total"]
    assert {("player", "global"): 2} == snapshot["ws_active_connections_gauge"]


def test_whole_numbers_of_the_snapshot_are_integers(seen: Telemetry) -> None:
    """Counts are integers, so that they read like counts; seconds are not."""
    with inside(seen.recorder):
        snapshot = otel_ws.get_metrics_snapshot()

    assert [int] == [type(value) for value in snapshot["ws_connections_total"].values()]


def test_every_metric_is_in_the_snapshot(seen: Telemetry) -> None:
    """Each metric has its Prometheus name as a key, but the breakdown by id, which is not for everybody."""
    expected = {metric.prometheus_name for metric in semconv.METRICS} | {"ws_active_connections_gauge"}
    expected -= {semconv.ACTIVE.prometheus_name, semconv.ACTIVE_BY_ID.prometheus_name}

    snapshot = otel_ws.get_metrics_snapshot()

    assert expected == set(snapshot)
    assert seen.events() == []


@pytest.mark.usefixtures("seen")
def test_a_snapshot_is_the_callers_own() -> None:
    """What a caller does to a snapshot does not change the counts."""
    otel_ws.record_auth_failure("JWT_EXPIRED")
    otel_ws.get_metrics_snapshot()["ws_auth_failures_total"].clear()

    snapshot = otel_ws.get_metrics_snapshot()

    assert {("JWT_EXPIRED",): 1} == snapshot["ws_auth_failures_total"]


@pytest.mark.usefixtures("off")
def test_where_telemetry_is_off_there_is_nothing_to_see() -> None:
    """With telemetry off the snapshot is empty and there is no verdict."""
    seen_now = (otel_ws.get_metrics_snapshot(), otel_ws.health())

    assert ({}, None) == seen_now


# --- health -----------------------------------------------------------------------------------------------------
def test_health_is_healthy_where_nothing_is_wrong(seen: Telemetry) -> None:
    """With one healthy connection the verdict is ``healthy``, without findings."""
    with inside(seen.recorder):
        verdict = otel_ws.health()

    assert verdict is not None
    assert ("healthy", ()) == (verdict.status, verdict.findings)


def test_health_names_what_is_wrong(seen: Telemetry) -> None:
    """With the only connection unhealthy, so is the process, and the rule is named."""
    with inside(seen.recorder) as connection:
        connection.handler_failed = True
        verdict = otel_ws.health()

    assert verdict is not None
    assert ("unhealthy", ["connection_health"]) == (verdict.status, [finding.rule for finding in verdict.findings])
