"""The sans-I/O connection: what it tells, once each, whatever happens in whatever order."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from otel_ws import faults, semconv, testing
from otel_ws.connection import Connection, State
from otel_ws.handling import Handling
from otel_ws.live import STALLED_SECONDS
from otel_ws.messages import size_of
from otel_ws.testing import Telemetry

CODES = st.one_of(st.none(), st.integers(-1, 70000), st.sampled_from([1000, 1001, 1005, 1006, 1011, 1012, 4401]))
ROLES = st.sampled_from(["player", "admin", "organizer", "spectator", "Ada Lovelace", "", None, 7])
ERRORS = st.sampled_from([ValueError, OSError, KeyError, ConnectionResetError, TimeoutError, PermissionError])
TEXTS = st.sampled_from(["", "a", "é", "\ud800", "x" * 300])
SENDABLE = st.one_of(
    st.builds(lambda text: {"type": "websocket.send", "text": text}, TEXTS),
    st.builds(lambda data: {"type": "websocket.send", "bytes": data, "text": None}, st.binary(max_size=9)),
    st.builds(lambda sub: {"type": "websocket.accept", "subprotocol": sub}, st.sampled_from([None, "graphql-ws", 7])),
    st.just({"type": "websocket.accept"}),
    st.builds(lambda code, why: {"type": "websocket.close", "code": code, "reason": why}, CODES, st.text(max_size=5)),
    st.just({"type": "websocket.close"}),
    st.just({"type": "websocket.http.response.start", "status": 403, "headers": []}),
    st.just({"type": "websocket.http.response.body", "body": b"no"}),
    st.just({"type": "nonsense"}),
    st.just({}),
)
RECEIVABLE = st.one_of(
    st.just({"type": "websocket.connect"}),
    st.builds(lambda text: {"type": "websocket.receive", "text": text}, TEXTS),
    st.builds(lambda data: {"type": "websocket.receive", "bytes": data}, st.binary(max_size=9)),
    st.just({"type": "websocket.receive"}),
    st.builds(lambda code: {"type": "websocket.disconnect", "code": code}, CODES),
    st.just({"type": "websocket.disconnect"}),
    st.just({"type": "nonsense"}),
    st.just({}),
)
HEADERS = [(), ((b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),), ((b"x", b"y"),)]
URL_VALUES = st.dictionaries(
    st.sampled_from(["match_id", "tournament_id", "name"]), st.one_of(st.integers(), st.text())
)
KINDS = st.sampled_from(["websocket.connect", "websocket.receive", "websocket.disconnect", "chat.message"])


class Code(IntEnum):
    """Close codes as libraries and applications write them."""

    LOST = 1006
    KICKED = 4001


class Spy(SpanProcessor):
    """Counts which spans started and ended."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Count a start."""
        self.started[span.context.span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Count an end."""
        self.ended[span.context.span_id] += 1


class Warnings(logging.Handler):
    """Keeps what the SDK complains of, such as a span that is ended twice."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one text."""
        self.texts.append(record.getMessage())


class Ticking:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What OpenTelemetry logs as a warning during the block."""
    handler = Warnings()
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)


class Conversation(RuleBasedStateMachine):
    """Any sequence of what can happen to one connection."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.clock = Ticking()
        self.complaints = self.stack.enter_context(complaints())
        self.telemetry = self.stack.enter_context(
            testing.capture(injected={"clock": self.clock}, message_events="all", send_spans="slow")
        )
        faults.strict(False)
        self.spy = Spy()
        self.telemetry.tracer_provider.add_span_processor(self.spy)
        self.pending: list[tuple[dict[str, Any], float]] = []
        self.at_work: list[Handling] = []
        self.over = False
        self.accepted = False
        self.last_send_bad = False
        self.handler_failed = False
        self.last_heartbeat = 0.0
        self.beat: float | None = None

    @initialize(
        headers=st.sampled_from(
            [(), ((b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),), ((b"x", b"y"),)]
        ),
        beat=st.sampled_from([None, 10.0]),
        role=ROLES,
    )
    def open(self, headers: tuple[tuple[bytes, bytes], ...], beat: float | None, role: object) -> None:
        """A client asks for a connection."""
        self.beat = beat
        if beat is not None:
            self.telemetry.recorder.policy.heartbeat = ("beat", beat)
            self.telemetry.recorder.policy.declare(semconv.MESSAGE_TYPE, ["beat"])
        self.connection = Connection(self.telemetry.recorder, {"type": "websocket", "headers": headers, "role": role})

    # --- what peers and applications do ---
    @rule(message=RECEIVABLE, asked_before=st.sampled_from([0.0, 1.0]))
    def receive(self, message: dict[str, Any], asked_before: float) -> None:
        """The server hands out a message."""
        self.connection.received(message, self.clock.now - asked_before)

    @rule(message=SENDABLE)
    def begin_send(self, message: dict[str, Any]) -> None:
        """The application sends."""
        self.pending.append((message, self.connection.sending()))

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0, 9), error=st.one_of(st.none(), ERRORS))
    def end_send(self, which: int, error: type[Exception] | None) -> None:
        """The server took a message, or refused it."""
        message, started_at = self.pending.pop(which % len(self.pending))
        before = self.connection.state

        self.connection.sent(message, started_at, None if error is None else error("with text"))

        if message.get("type") == "websocket.send":
            late = self.clock.now - started_at > STALLED_SECONDS
            self.last_send_bad = error is not None or late or before is State.ENDED
        if message.get("type") == "websocket.accept" and before is State.CONNECTING and error is None:
            self.accepted = True
            self.last_heartbeat = self.clock.now

    @rule(kind=KINDS, outermost=st.booleans(), handler=st.sampled_from([None, "receive", "chat_message"]))
    def begin_handler(self, kind: str, outermost: bool, handler: str | None) -> None:
        """A handler begins."""
        handling = Handling(self.connection, kind, handler, outermost and not self.at_work)
        handling.attach()
        self.at_work.append(handling)

    @precondition(lambda self: self.at_work)
    @rule(name=st.sampled_from(["beat", "invented by a client", None, 3, ["a"]]))
    def name_message(self, name: object) -> None:
        """The message calls itself something."""
        self.at_work[-1].note_type(name)
        if self.beat is not None and name == "beat":
            self.last_heartbeat = self.clock.now

    @precondition(lambda self: self.at_work)
    @rule(error=st.one_of(st.none(), ERRORS))
    def end_handler(self, error: type[Exception] | None) -> None:
        """The innermost handler returns or raises."""
        handling = self.at_work.pop()
        handling.end(None if error is None else error("with text"))
        if handling.outermost:
            self.handler_failed = error is not None

    @rule(role=ROLES)
    def set_role(self, role: Any) -> None:
        """The application names the role."""
        self.connection.set_role(role)

    @rule(value=st.one_of(st.integers(), st.text(max_size=9), st.none()))
    def set_ids(self, value: object) -> None:
        """The application names an id."""
        self.connection.set_ids({semconv.MATCH_ID: value})

    @rule(depth=st.integers(0, 3), template=st.sampled_from(["a/", "b/{id}/", "_OTHER", ""]))
    def match(self, depth: int, template: str) -> None:
        """A route matches."""
        self.connection.route_matched(depth, template)

    @rule(depth=st.integers(0, 3))
    def leave_router(self, depth: int) -> None:
        """A nested router finds nothing."""
        self.connection.router_left(depth)

    @precondition(lambda self: not self.over and self.connection.state is State.CONNECTING)
    @rule(
        values=st.dictionaries(
            st.sampled_from(["match_id", "tournament_id", "name"]), st.one_of(st.integers(), st.text())
        )
    )
    def complete(self, values: dict[str, object]) -> None:
        """A consumer is found."""
        self.connection.complete({"url_route": {"kwargs": values}}, object)

    @rule(seconds=st.sampled_from([0.001, 4.0, 5.0, 5.1, 21.0, 100.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now += seconds

    @precondition(lambda self: not self.over)
    @rule(how=st.sampled_from(["returned", "cancelled", "failed", "send failed"]), error=ERRORS)
    def end(self, how: str, error: type[Exception]) -> None:
        """The application ends."""
        while self.at_work:
            self.end_handler(None)
        if how == "failed":
            self.connection.failed(error("with text"))
        elif how == "send failed":
            self.connection.failed(self.connection.send_failed or error("with text"))
        else:
            getattr(self.connection, how)()
        self.over = True

    # --- what holds at every moment ---
    @invariant()
    def is_told_once(self) -> None:
        """Accepted or rejected, never both, and each end once."""
        told = Counter(event.name for event in self.telemetry.events())
        ended = self.connection.state is State.ENDED
        assert (1 if self.accepted else 0) == told["WS_CONNECT"]
        assert (1 if ended and not self.accepted else 0) == told["WS_REJECT"]
        assert (1 if ended and self.accepted else 0) == told["WS_DISCONNECT"]

    @invariant()
    def is_active_while_open(self) -> None:
        """The gauge is one while the connection is open, and each of its series is zero or one."""
        values = [value for _, value in self.telemetry.recorder.ledger.read(semconv.ACTIVE)]
        assert (1 if self.connection.state is State.OPEN else 0) == sum(values)
        assert set(values) <= {0.0, 1.0}

    @invariant()
    def is_healthy_by_the_rule(self) -> None:
        """Health is what DESIGN says, at every moment."""
        stalled = any(self.clock.now - since > STALLED_SECONDS for _, since in self.pending)
        silent = self.accepted and self.beat is not None and self.clock.now - self.last_heartbeat > 2 * self.beat
        healthy = not (self.last_send_bad or self.handler_failed or stalled or silent)
        if self.connection.state is State.OPEN:
            assert healthy == is_healthy(self.connection, self.clock.now)

    def teardown(self) -> None:
        """At the end every span has ended once, nothing is open, and OpenTelemetry had nothing to complain of."""
        try:
            if hasattr(self, "connection"):
                while self.at_work:
                    self.end_handler(None)
                if not self.over:
                    self.end("returned", ValueError)
                self.is_told_once()
                self.is_active_while_open()
                assert self.spy.started == self.spy.ended
                assert set(self.spy.ended.values()) <= {1}
                assert [] == self.complaints
                assert {} == faults.snapshot()
                assert self.connection.scope is None
                assert 0 == len(self.telemetry.recorder.live)
        finally:
            self.stack.close()


Conversation.TestCase.settings = settings(
    max_examples=120, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
TestAnySequence = Conversation.TestCase


@pytest.fixture
def connection(telemetry: Telemetry, no_faults: None) -> Connection:
    """A connection that nothing has happened to."""
    return Connection(telemetry.recorder, {"type": "websocket", "headers": []})


def deliver(connection: Connection, message: dict[str, Any], exc: BaseException | None = None) -> None:
    """Send a message that the server takes, or refuses, at once."""
    connection.sent(message, connection.sending(), exc)


def accept(connection: Connection) -> None:
    """Accept the connection."""
    deliver(connection, {"type": "websocket.accept"})


def is_healthy(connection: Connection, now: float) -> bool:
    """Whether a look at this moment counts it as healthy."""
    return not connection.recorder.live.unhealthy([connection], now)


class TestHealth:
    """When a connection is unhealthy, and when it is healthy again."""

    def test_new_connection_is_healthy(self, connection: Connection) -> None:
        """An accepted connection that has done nothing is healthy."""
        accept(connection)

        healthy = is_healthy(connection, connection.recorder.clock())

        assert True is healthy

    def test_failed_send_makes_it_unhealthy(self, connection: Connection) -> None:
        """A send that the server refused makes the connection unhealthy."""
        accept(connection)

        deliver(connection, {"type": "websocket.send", "text": "x"}, RuntimeError())

        assert False is is_healthy(connection, connection.recorder.clock())

    def test_next_good_send_makes_it_healthy(self, connection: Connection) -> None:
        """A send that works after one that failed makes the connection healthy again."""
        accept(connection)
        deliver(connection, {"type": "websocket.send", "text": "x"}, RuntimeError())

        deliver(connection, {"type": "websocket.send", "text": "x"})

        assert True is is_healthy(connection, connection.recorder.clock())

    @pytest.mark.parametrize(("seconds", "healthy"), [(5.0, True), (5.01, False)])
    def test_slow_send_makes_it_unhealthy(self, clock: Any, seconds: float, healthy: bool) -> None:
        """A send that took more than five seconds makes the connection unhealthy; five do not."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            connection = Connection(telemetry.recorder, {})
            accept(connection)
            message = {"type": "websocket.send", "text": "x"}
            started_at = connection.sending()

            clock.now += seconds
            connection.sent(message, started_at)

            assert healthy is is_healthy(connection, clock.now)

    def test_pending_send_makes_it_unhealthy(self, clock: Any) -> None:
        """A send that is pending for more than five seconds makes the connection unhealthy before it ends."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            connection = Connection(telemetry.recorder, {})
            accept(connection)
            connection.sending()

            before = is_healthy(connection, clock.now + 5.0)
            after = is_healthy(connection, clock.now + 5.1)

            assert (True, False) == (before, after)

    def test_pending_send_is_not_hidden_by_quick_ones(self, clock: Any) -> None:
        """A send that is pending for more than five seconds counts, though others end meanwhile."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            connection = Connection(telemetry.recorder, {})
            accept(connection)
            connection.sending()

            clock.now += 4.0
            deliver(connection, {"type": "websocket.send", "text": "quick"})
            clock.now += 2.0

            assert False is is_healthy(connection, clock.now)

    def test_pending_send_is_not_older_than_it_is(self, clock: Any) -> None:
        """A send that just began is not taken for one that ended before it."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            connection = Connection(telemetry.recorder, {})
            accept(connection)
            first = connection.sending()
            clock.now += 4.0
            connection.sending()
            connection.sent({"type": "websocket.send", "text": "first"}, first)

            clock.now += 4.0

            assert True is is_healthy(connection, clock.now)

    def test_handler_that_raised_makes_it_unhealthy(self, connection: Connection) -> None:
        """A handler that raised makes the connection unhealthy."""
        accept(connection)

        Handling(connection, "websocket.receive", "receive", True).end(ValueError())

        assert False is is_healthy(connection, connection.recorder.clock())

    def test_next_good_handler_makes_it_healthy(self, connection: Connection) -> None:
        """A handler that works after one that raised makes the connection healthy again."""
        accept(connection)
        Handling(connection, "websocket.receive", "receive", True).end(ValueError())

        Handling(connection, "websocket.receive", "receive", True).end(None)

        assert True is is_healthy(connection, connection.recorder.clock())

    @pytest.mark.parametrize(("seconds", "healthy"), [(20.0, True), (20.1, False)])
    def test_two_missed_heartbeats_make_it_unhealthy(self, clock: Any, seconds: float, healthy: bool) -> None:
        """More than two declared heartbeat intervals of silence make the connection unhealthy."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            telemetry.recorder.policy.heartbeat = ("beat", 10.0)
            connection = Connection(telemetry.recorder, {})
            accept(connection)

            clock.now += seconds

            assert healthy is is_healthy(connection, clock.now)

    def test_next_heartbeat_makes_it_healthy(self, clock: Any) -> None:
        """A heartbeat after two missed ones makes the connection healthy again."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            telemetry.recorder.policy.heartbeat = ("beat", 10.0)
            connection = Connection(telemetry.recorder, {})
            accept(connection)
            clock.now += 21.0

            connection.heartbeat_seen()

            assert True is is_healthy(connection, clock.now)

    def test_heartbeats_count_from_accept(self, clock: Any) -> None:
        """A connection that was accepted late has not missed heartbeats before that."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            telemetry.recorder.policy.heartbeat = ("beat", 10.0)
            connection = Connection(telemetry.recorder, {})
            clock.now += 60.0
            accept(connection)

            assert True is is_healthy(connection, clock.now)


class TestEnds:
    """Which code and initiator an end is told with."""

    @pytest.mark.parametrize(
        ("code", "initiator"),
        [
            (1000, "client"), (1001, "client"), (4999, "client"), (1005, "client"), (None, "client"),
            (1006, "lost"), (1012, "server"), (1011, "server"), (1013, "server"),
        ],
    )  # fmt: skip
    def test_disconnect_names_its_initiator(
        self, telemetry: Telemetry, connection: Connection, code: int | None, initiator: str
    ) -> None:
        """A disconnect's code tells who ended the connection."""
        accept(connection)

        connection.received({"type": "websocket.disconnect", "code": code}, 0.0)

        assert [initiator] == [event.attributes["ws.close.initiator"] for event in telemetry.events("WS_DISCONNECT")]

    @pytest.mark.parametrize("code", [True, "1000", 1000.0, -1, 70000, object()])
    def test_disconnect_code_of_a_wrong_form_is_not_told(
        self, telemetry: Telemetry, connection: Connection, code: object
    ) -> None:
        """A close code that is none never leaves."""
        accept(connection)

        connection.received({"type": "websocket.disconnect", "code": code}, 0.0)

        (event,) = telemetry.events("WS_DISCONNECT")
        assert "ws.close.code" not in event.attributes

    def test_disconnect_code_of_an_enumeration_is_a_code(self, telemetry: Telemetry, connection: Connection) -> None:
        """A code that is a member of an enumeration, as uvicorn gives it, is the number that it stands for."""
        accept(connection)

        connection.received({"type": "websocket.disconnect", "code": Code.LOST}, 0.0)

        (event,) = telemetry.events("WS_DISCONNECT")
        assert (1006, "lost") == (event.attributes.get("ws.close.code"), event.attributes["ws.close.initiator"])

    def test_close_code_of_an_enumeration_is_a_code(self, telemetry: Telemetry, connection: Connection) -> None:
        """A code that the application has in an enumeration of its own is the number that it stands for."""
        accept(connection)

        deliver(connection, {"type": "websocket.close", "code": Code.KICKED})

        (event,) = telemetry.events("WS_DISCONNECT")
        assert 4001 == event.attributes["ws.close.code"]
        assert 1 == telemetry.value("ws.connection.duration", close_code="4001")

    def test_rejection_code_of_an_enumeration_is_a_code(self, telemetry: Telemetry, connection: Connection) -> None:
        """A code of an enumeration is told where it rejects, too."""
        deliver(connection, {"type": "websocket.close", "code": Code.KICKED})

        assert 1 == telemetry.value("ws.connection.rejections", close_code="4001")

    def test_undeclared_client_code_is_no_label(self, telemetry: Telemetry, connection: Connection) -> None:
        """A code that a client chose stays off the metrics."""
        accept(connection)

        connection.received({"type": "websocket.disconnect", "code": 4999}, 0.0)

        assert 1 == telemetry.value("ws.connection.duration", close_code="_OTHER")

    def test_code_that_the_application_sent_is_a_label(self, telemetry: Telemetry, connection: Connection) -> None:
        """A code that this process closed with is on the metrics."""
        accept(connection)

        deliver(connection, {"type": "websocket.close", "code": 4999})

        assert 1 == telemetry.value("ws.connection.duration", close_code="4999")

    def test_duration_lasts_from_accept_to_close(self, clock: Any) -> None:
        """A connection's duration does not count the handshake."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            connection = Connection(telemetry.recorder, {})
            clock.now += 3.0
            accept(connection)
            clock.now += 7.0

            connection.received({"type": "websocket.disconnect", "code": 1000}, 0.0)

            (event,) = telemetry.events("WS_DISCONNECT")
            assert 7.0 == event.attributes["ws.duration"]

    def test_setup_lasts_from_scope_to_accept(self, clock: Any) -> None:
        """The establishment time is what passed before the accept."""
        with testing.capture(injected={"clock": clock}) as telemetry:
            connection = Connection(telemetry.recorder, {})
            clock.now += 3.0

            accept(connection)

            (event,) = telemetry.events("WS_CONNECT")
            assert 3.0 == event.attributes["ws.connection.setup.duration"]


class TestRole:
    """The gauge follows the role; the disconnect is counted under the connect's."""

    def test_later_role_moves_the_gauge(self, telemetry: Telemetry, connection: Connection) -> None:
        """A role that is set after accept moves the active connection to it."""
        connection.set_role("player")
        accept(connection)

        connection.set_role("admin")

        active = [telemetry.value("ws.active_connections", role=role) for role in ("player", "admin")]
        assert [0, 1] == active

    def test_disconnect_counts_under_the_role_of_the_connect(
        self, telemetry: Telemetry, connection: Connection
    ) -> None:
        """Connected and disconnected counts of a role agree, though the role changed in between."""
        connection.set_role("player")
        accept(connection)
        connection.set_role("admin")

        connection.received({"type": "websocket.disconnect", "code": 1000}, 0.0)

        ended = [telemetry.value("ws.connections", role=role, status="disconnected") for role in ("player", "admin")]
        assert [1, 0] == ended

    def test_undeclared_role_is_other(self, telemetry: Telemetry, connection: Connection) -> None:
        """A role that nobody declared leaves as _OTHER."""
        connection.set_role("Ada Lovelace")

        accept(connection)

        assert 1 == telemetry.value("ws.connections", role="_OTHER", status="connected")


class TestResolvers:
    """A resolver, or a user object, that raises costs the id, never the connection."""

    @pytest.mark.parametrize("name", ["user_id_resolver", "role_resolver"])
    def test_accept_is_told_though_a_resolver_raises(self, name: str) -> None:
        """A connection is told as accepted, though the application's resolver raises."""

        def broken(_scope: object) -> object:
            raise KeyError("Ada")

        settings: dict[str, Any] = {name: broken}
        with testing.capture(**settings) as telemetry:
            connection = Connection(telemetry.recorder, {})

            accept(connection)

            assert ["WS_CONNECT"] == [event.name for event in telemetry.events()]

    @pytest.mark.parametrize("named", ["no_such_module:ada", "os:ada", "os:name"])
    @pytest.mark.parametrize("name", ["user_id", "role"])
    def test_a_function_that_cannot_be_imported_is_told_with_its_variable(
        self, name: str, named: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The one line names the variable and what went wrong, and not the value; the connection is told."""
        settings: dict[str, Any] = {f"{name}_resolver": named}
        with testing.capture(**settings) as telemetry:
            for _ in range(2):
                accept(Connection(telemetry.recorder, {}))

            assert 2 == len(telemetry.events())
        (line,) = caplog.messages
        assert f"failed in {name} (" in line
        assert f"OTEL_WS_{name.upper()}_RESOLVER" in line
        assert "UnimportableError" not in line
        assert "ada" not in line

    def test_accept_is_told_though_the_user_raises(self, telemetry: Telemetry) -> None:
        """A connection is told as accepted, though its user object raises when it is looked at."""

        class User:
            @property
            def is_authenticated(self) -> bool:
                raise RuntimeError("no database")

        connection = Connection(telemetry.recorder, {"user": User()})

        accept(connection)

        assert ["WS_CONNECT"] == [event.name for event in telemetry.events()]


class TestSize:
    """The size of a message is its payload's bytes."""

    @pytest.mark.parametrize(
        ("message", "size"),
        [
            ({"text": "abc"}, 3),
            ({"text": "é"}, 2),
            ({"text": None, "bytes": b"ab"}, 2),
            ({"text": "ab", "bytes": None}, 2),
            ({"text": "\ud800"}, 3),
            ({"bytes": bytearray(b"abc")}, 3),
            ({}, 0),
        ],
    )
    def test_size_counts_bytes(self, message: dict[str, Any], size: int) -> None:
        """Text counts as UTF-8, whichever of the two keys is None."""
        assert size == size_of(message)

    def test_empty_text_wins_over_missing_bytes(self) -> None:
        """An empty text has no bytes."""
        assert 0 == size_of({"text": "", "bytes": None})
