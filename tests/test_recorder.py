"""Verbs in, metrics, spans and events out: what tests of the connection do not reach."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from doubles import Clock, User
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from otel_ws import faults, recorder, semconv
from otel_ws.connection import Connection
from otel_ws.handling import Handling
from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.semconv import OTHER
from otel_ws.settings import Settings
from otel_ws.sse import EventStream
from otel_ws.tasks import Task, Worker
from otel_ws.testing import Telemetry, capture
from otel_ws.types import EventRecord

ROUTE = "/ws/match/{match_id}/"
DOOR = {"http_route": ROUTE, "transport": "websocket"}


clock = Clock()


@contextmanager
def recording(**settings: Any) -> Iterator[Telemetry]:
    """Capture with a clock that stands still and ids that count."""
    clock.now = 1000.0
    ids = iter(range(1, 10_000))
    injected = {"clock": clock, "now_ns": lambda: 1_700_000_000_000_000_000, "new_id": lambda: next(ids)}
    with capture(injected=injected, **settings) as telemetry:
        yield telemetry


def opened(telemetry: Telemetry, user: object = 7, transport: str = "websocket", **kwargs: object) -> Connection:
    """An accepted connection of this user, on a route with these ids."""
    scope = {"type": "websocket", "user": User(user), "role": "player", "url_route": {"kwargs": kwargs}}
    connection = Connection(telemetry.recorder, scope, transport)
    connection.route_matched(0, ROUTE)
    accept = {"type": "websocket.accept"}
    connection.sent(accept, connection.sending())
    return connection


# --- connections ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("transports", "expected"),
    [(["websocket"], [False]), (["websocket", "websocket"], [False, False]), (["websocket", "sse"], [False, True])],
    ids=["one", "two alike", "both"],
)
def test_the_second_transport_of_a_user_is_told(transports: list[str], expected: list[bool]) -> None:
    """``is_dual_connection`` is true at the accept that makes a user connected by both transports."""
    with recording() as telemetry:
        for transport in transports:
            opened(telemetry, transport=transport)

        dual = [event.attributes["ws.connection.dual"] for event in telemetry.events("WS_CONNECT")]

    assert expected == dual


def test_users_on_both_transports_are_counted() -> None:
    """``ws.users.dual`` counts users with a WebSocket and an SSE connection, ``ws.active_users`` all of them."""
    with recording() as telemetry:
        opened(telemetry, 7)
        opened(telemetry, 7, "sse")
        opened(telemetry, 8)

        counted = (telemetry.value("ws.active_users"), telemetry.value("ws.users.dual"))

    assert (2, 1) == counted


def test_a_user_who_left_is_no_longer_counted() -> None:
    """After the disconnect of the only connection the user is not active."""
    with recording() as telemetry:
        connection = opened(telemetry)
        connection.disconnected(1000)

        counted = (telemetry.value("ws.active_users"), telemetry.value("ws.active_connections"))

    assert (0, 0) == counted


def test_a_connection_without_a_user_is_no_user() -> None:
    """An anonymous connection is counted as a connection, not as a user."""
    with recording() as telemetry:
        opened(telemetry, None)

        counted = (telemetry.value("ws.active_users"), telemetry.value("ws.active_connections"))

    assert (0, 1) == counted


def test_the_connections_of_a_user_are_a_histogram() -> None:
    """``ws.user.connections`` has one value for each accept of an authenticated user."""
    with recording() as telemetry:
        for user in (7, 7, 8, None):
            opened(telemetry, user)

        counted = telemetry.points("ws.user.connections")

    assert {(): 3} == counted


def test_a_transport_is_told_apart_on_metrics() -> None:
    """Connections by WebSocket and by SSE are different series."""
    with recording() as telemetry:
        opened(telemetry)
        opened(telemetry, transport="sse")

        counted = [telemetry.value("ws.active_connections", transport=one) for one in ("websocket", "sse")]

    assert [1, 1] == counted


def test_a_role_that_changes_moves_the_gauge_and_not_the_counter() -> None:
    """A later role moves the gauge; the disconnect counts under the role of the connect."""
    with recording() as telemetry:
        connection = opened(telemetry)
        connection.set_role("admin")
        gauge = [telemetry.value("ws.active_connections", role=role) for role in ("player", "admin")]
        connection.disconnected(1000)

        left = telemetry.value("ws.active_connections")
        counter = [telemetry.value("ws.connections", status="disconnected", role=role) for role in ("player", "admin")]

    assert ([0, 1], 0, [1, 0]) == (gauge, left, counter)


# --- by id ------------------------------------------------------------------------------------------------------
def test_connections_are_counted_by_the_ids_that_the_operator_chose() -> None:
    """``ws.active_connections.by_id`` has the chosen id as its only label."""
    with recording(metric_ids=["match.id"]) as telemetry:
        for match in (1, 1, 2):
            opened(telemetry, match_id=match, tournament_id=9)

        counted = telemetry.points("ws.active_connections.by_id")

    assert {(("match_id", "1"),): 2, (("match_id", "2"),): 1} == counted


def test_the_breakdown_by_id_is_capped() -> None:
    """At most 200 ids are told apart, whatever clients connect to."""
    with recording(metric_ids=["match.id"]) as telemetry:
        for match in range(210):
            opened(telemetry, None, match_id=match)

        counted = telemetry.points("ws.active_connections.by_id")

    assert 201 == len(counted)
    assert 10 == counted[(("match_id", OTHER),)]


def test_no_metric_tells_a_user() -> None:
    """No point of any metric has an id of user or connection among its attributes, or as a value of one."""
    with recording(metric_ids=["match.id"]) as telemetry:
        opened(telemetry, 987654321, match_id=3).disconnected(1000)
        opened(telemetry, 987654321, match_id=3)

        points = [point for metric in semconv.METRICS for point in telemetry.points(metric.name)]

    assert not {"user.id", "user_id", "connection_id"} & {name for point in points for name, _ in point}
    assert "987654321" not in {value for point in points for _, value in point}


def test_the_breakdown_is_off_by_default() -> None:
    """Without the setting there is no series by id."""
    with recording() as telemetry:
        opened(telemetry, match_id=3)

        counted = telemetry.points("ws.active_connections.by_id")

    assert {} == counted


# --- messages ---------------------------------------------------------------------------------------------------
def handle(connection: Connection, status: str = "success", seconds: float = 0.0, waited: float = 1.0) -> None:
    """A client's message of five bytes, for which we waited so long, and its handler, which takes so long."""
    connection.received({"type": "websocket.receive", "text": "hello"}, clock.now - waited)
    handling = Handling(connection, "websocket.receive", "receive", True)
    clock.now += seconds
    if status == "error":
        handling.note_error(ValueError())
    elif status != "success":
        handling.status = status
    handling.end(None)


# What becomes an event in which mode: a quick success, a slow one, an error, one that was denied, one that was sampled.
HANDLED = {
    "quick": ("success", 0.1, ALWAYS_OFF),
    "slow": ("success", 0.1001, ALWAYS_OFF),
    "error": ("error", 0.0, ALWAYS_OFF),
    "denied": ("permission_denied", 0.0, ALWAYS_OFF),
    "sampled": ("success", 0.0, ALWAYS_ON),
}
WANTED: dict[str, set[str]] = {
    "all": {"quick", "slow", "error", "denied", "sampled"},
    "sampled": {"error", "sampled"},
    "slow": {"slow", "error"},
    "errors": {"error"},
    "off": set(),
}


@pytest.mark.parametrize("case", HANDLED)
@pytest.mark.parametrize("mode", WANTED)
def test_the_mode_decides_which_messages_become_events(mode: str, case: str) -> None:
    """``OTEL_WS_MESSAGE_EVENTS`` chooses among all, sampled, slow and failed messages."""
    status, seconds, sampler = HANDLED[case]
    with recording(message_events=mode, sampler=sampler) as telemetry:
        connection = opened(telemetry)
        clock.now = 0.0
        handle(connection, status, seconds)

        told = telemetry.events("WS_MESSAGE")

    assert (case in WANTED[mode]) == bool(told)


@pytest.mark.parametrize("mode", WANTED)
def test_every_message_is_counted_in_every_mode(mode: str) -> None:
    """What does not become an event still counts."""
    with recording(message_events=mode) as telemetry:
        connection = opened(telemetry)
        for status, seconds, _ in HANDLED.values():
            handle(connection, status, seconds)

        counted = [
            telemetry.value("ws.messages", type="unknown", status=status)
            for status in ("success", "error", "permission_denied")
        ]
        measured = telemetry.value("ws.message.latency", message_type="unknown")

    assert ([3, 1, 1], 5) == (counted, measured)


def test_a_message_event_says_how_it_went() -> None:
    """``WS_MESSAGE`` has type, outcome, duration and size."""
    with recording(message_events="all") as telemetry:
        connection = opened(telemetry)
        clock.now = 0.0
        handle(connection, "error", 0.25)

        (event,) = telemetry.events("WS_MESSAGE")

    expected = {"ws.message.type": "unknown", "ws.outcome": "error", "ws.duration": 0.25, "ws.message.size": 5}
    assert expected == {key: event.attributes[key] for key in expected}


def test_a_message_event_belongs_to_the_messages_span() -> None:
    """The event has the ids of the span of its message, so that one leads to the other."""
    with recording(message_events="all") as telemetry:
        handle(opened(telemetry))

        (event,) = telemetry.events("WS_MESSAGE")
        context = telemetry.span(f"unknown {ROUTE}").get_span_context()

    assert context is not None
    assert (context.trace_id, context.span_id) == (event.trace_id, event.span_id)


def test_a_message_that_was_queued_already_is_backlogged() -> None:
    """A ``receive`` that returned without waiting counts as backlogged, one that waited does not."""
    with recording() as telemetry:
        connection = opened(telemetry)
        clock.now = 0.0
        for waited in (0.0, 0.00009, 0.0001, 1.0):
            handle(connection, waited=waited)

        counted = (telemetry.value("ws.message.backlogged", **DOOR), telemetry.value("ws.message.size"))

    assert (2, 4) == counted


def test_time_in_handlers_adds_up() -> None:
    """``ws.connection.busy_time`` is the sum of the seconds in all handlers."""
    with recording() as telemetry:
        connection = opened(telemetry)
        handle(connection, seconds=0.25)
        handle(connection, seconds=0.5)

        busy = telemetry.value("ws.connection.busy_time", **DOOR)

    assert 0.75 == busy


# --- sends ------------------------------------------------------------------------------------------------------
def send(connection: Connection, seconds: float, exc: BaseException | None = None) -> None:
    """Send five bytes to the client; the server takes so long."""
    message = {"type": "websocket.send", "text": "hello"}
    started_at = connection.sending()
    clock.now += seconds
    connection.sent(message, started_at, exc)


@pytest.mark.parametrize(
    ("mode", "expected"), [("off", []), ("slow", [0.2]), ("all", [0.0, 0.1, 0.2])], ids=["off", "slow", "all"]
)
def test_the_setting_decides_which_sends_become_spans(mode: str, expected: list[float]) -> None:
    """``OTEL_WS_SEND_SPANS`` chooses none, those over 100 ms, or all."""
    with recording(send_spans=mode) as telemetry:
        connection = opened(telemetry)
        for seconds in (0.0, 0.1, 0.2):
            clock.now = 0.0
            send(connection, seconds)

        spans = [span for span in telemetry.spans() if span.name == f"send {ROUTE}"]

    lengths = [((span.end_time or 0) - (span.start_time or 0)) / 1e9 for span in spans]
    assert expected == [round(length, 6) for length in lengths]


def test_a_send_span_says_what_was_sent() -> None:
    """The span of a send has size and outcome, the ids, and nothing that is not declared."""
    with recording(send_spans="all") as telemetry:
        send(opened(telemetry, match_id=3), 0.0)

        span = telemetry.span(f"send {ROUTE}")

    attributes = dict(span.attributes or {})
    assert (5, "success", "3") == tuple(attributes[key] for key in ("ws.message.size", "ws.outcome", "match.id"))
    assert set(attributes) <= {attribute.key for attribute in semconv.SEND_SPAN.attributes}


def test_a_failed_send_is_an_error_without_a_text() -> None:
    """The span of a send that raised has status ERROR without a description, and the exception's class."""
    with recording(send_spans="all") as telemetry:
        send(opened(telemetry), 0.0, ConnectionError("alice@example.com"))

        span = telemetry.span(f"send {ROUTE}")

    assert ("ERROR", None) == (span.status.status_code.name, span.status.description)
    assert "ConnectionError" == dict(span.attributes or {})["error.type"]
    assert () == tuple(span.events)


def test_each_send_is_counted_by_its_outcome() -> None:
    """``ws.messages.sent`` counts sends by status; only what was taken has a size."""
    with recording() as telemetry:
        connection = opened(telemetry)
        send(connection, 0.0)
        send(connection, 0.0)
        send(connection, 0.0, ConnectionError())

        counted = [telemetry.value("ws.messages.sent", status=status) for status in ("success", "error")]
        sized = telemetry.value("ws.message.size", direction="transmit")
        timed = telemetry.value("ws.send.duration", **DOOR)

    assert ([2, 1], 2, 3) == (counted, sized, timed)


def test_deliveries_are_no_events_by_default() -> None:
    """``WS_DELIVERY`` is off unless the operator asks for it."""
    with recording() as telemetry:
        send(opened(telemetry), 0.0)

        told = telemetry.events("WS_DELIVERY")

    assert [] == told


def test_each_delivery_is_an_event_where_that_is_asked_for() -> None:
    """With ``OTEL_WS_DELIVERY_EVENTS`` each send is told with status, duration and size."""
    with recording(delivery_events=True) as telemetry:
        connection = opened(telemetry)
        send(connection, 0.25)
        send(connection, 0.0, ConnectionError())

        told = [
            tuple(event.attributes[key] for key in ("ws.outcome", "ws.duration", "ws.message.size"))
            for event in telemetry.events("WS_DELIVERY")
        ]

    assert [("success", 0.25, 5), ("error", 0.0, 5)] == told


# --- broadcasts -------------------------------------------------------------------------------------------------
def test_a_broadcast_is_counted_and_timed() -> None:
    """A broadcast counts under its declared template, with its duration and its recipients."""
    group = {"messaging_destination_template": "room_{room_id}"}
    with recording() as telemetry:
        telemetry.recorder.policy.declare(semconv.TEMPLATE, ["room_{room_id}"])
        telemetry.recorder.broadcast_sent(None, "room_{room_id}", 12, 0.01, None)

        counted = [
            telemetry.value("ws.broadcasts", status="sent", **group),
            telemetry.value("ws.broadcast.duration", **group),
            telemetry.value("ws.broadcast.recipients", **group),
        ]

    assert [1, 1, 1] == counted


def test_a_broadcast_to_nobody_knows_how_many_has_no_recipients() -> None:
    """Where the number of recipients is not known, none is recorded."""
    with recording() as telemetry:
        telemetry.recorder.broadcast_sent(None, "room_{room_id}", None, 0.01, None)

        counted = (telemetry.value("ws.broadcasts"), telemetry.value("ws.broadcast.recipients"))

    assert (1, 0) == counted


def test_a_groups_name_does_not_leave() -> None:
    """A template that was not declared is ``_OTHER``: it may be the group's name."""
    with recording() as telemetry:
        telemetry.recorder.broadcast_sent(None, "user_1234", None, 0.01, "ChannelFull")

        labels = set(telemetry.points("ws.broadcasts"))
        (event,) = telemetry.events("WS_BROADCAST_FAIL")

    assert {(("messaging_destination_template", OTHER), ("status", "failed"))} == labels
    assert OTHER == event.attributes["messaging.destination.template"]


def test_a_broadcast_that_was_sent_is_no_event() -> None:
    """Only failures are told."""
    with recording() as telemetry:
        telemetry.recorder.broadcast_sent(None, "room_{room_id}", 3, 0.01, None)

        told = telemetry.events()

    assert [] == told


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("ChannelFull", "CHANNEL_FULL"),
        ("TimeoutError", "TIMEOUT_ERROR"),
        ("ConnectionResetError", "CONNECTION_RESET_ERROR"),
        ("OSError", "OSERROR"),
    ],
)
def test_a_failed_broadcast_is_told_by_its_exceptions_class(error: str, reason: str) -> None:
    """The reason of a failure is the exception's class as a code."""
    with recording() as telemetry:
        telemetry.recorder.broadcast_sent(None, "room_{room_id}", 3, 0.01, error)

        (event,) = telemetry.events("WS_BROADCAST_FAIL")

    assert ("WARNING", reason, 1) == (event.severity, event.attributes["ws.reason"], event.attributes["ws.count"])


def test_losses_that_were_held_back_are_told_though_no_more_come() -> None:
    """Ten seconds after the first, by the clock: the sum of what the events say is what was lost."""
    with recording() as telemetry:
        for seconds, lost in ((0.0, 1), (1.0, 99), (5.0, 0), (11.0, 0), (12.0, 0), (30.0, 0), (31.0, 2)):
            clock.now = 1000.0 + seconds
            if lost:
                telemetry.recorder.layer_dropped("CHANNEL_FULL", lost)
            telemetry.recorder.loop_lagged(0.0)

        told = [event.attributes["ws.count"] for event in telemetry.events("WS_LAYER_DROP")]

    assert [1, 99, 2] == told


def test_failures_of_a_group_are_told_every_ten_seconds() -> None:
    """Within ten seconds one failure is told; the next event says how many there were since."""
    with recording() as telemetry:
        for seconds in (0.0, 1.0, 9.9, 10.0, 10.1, 20.0):
            clock.now = 1000.0 + seconds
            telemetry.recorder.broadcast_sent(None, "room_{room_id}", 3, 0.01, "ChannelFull")

        told = [event.attributes["ws.count"] for event in telemetry.events("WS_BROADCAST_FAIL")]
        counted = telemetry.value("ws.broadcasts", status="failed")

    assert ([1, 3, 2], 6) == (told, counted)


def test_failures_of_another_group_are_told_at_once() -> None:
    """The limit is per group's template."""
    with recording() as telemetry:
        telemetry.recorder.policy.declare(semconv.TEMPLATE, ["room_{room_id}", "match_{match_id}"])
        for template in ("room_{room_id}", "match_{match_id}", "room_{room_id}"):
            telemetry.recorder.broadcast_sent(None, template, 3, 0.01, "ChannelFull")

        told = [event.attributes["messaging.destination.template"] for event in telemetry.events("WS_BROADCAST_FAIL")]

    assert ["room_{room_id}", "match_{match_id}"] == told


# --- by the clock -----------------------------------------------------------------------------------------------
def test_the_event_loops_lag_is_a_histogram() -> None:
    """Each measured lag is a value of ``ws.event_loop.lag``."""
    with recording() as telemetry:
        telemetry.recorder.loop_lagged(0.002)

        counted = telemetry.points("ws.event_loop.lag")

    assert {(): 1} == counted


def test_totals_are_told_every_five_minutes() -> None:
    """``WS_SUMMARY`` comes 300 s after the start, and 300 s after the last one."""
    with recording() as telemetry:
        told = []
        for seconds in (0.0, 299.9, 300.0, 599.9, 600.0):
            clock.now = 1000.0 + seconds
            telemetry.recorder.loop_lagged(0.0)
            told.append(len(telemetry.events("WS_SUMMARY")))

    assert [0, 0, 1, 1, 2] == told


def test_a_summary_has_the_totals_since_start() -> None:
    """The summary counts connections, rejections, messages both ways and errors."""
    with recording() as telemetry:
        connection = opened(telemetry)
        opened(telemetry).disconnected(1000)
        Connection(telemetry.recorder, {"type": "websocket"}).disconnected(1000)
        handle(connection, "error")
        send(connection, 0.0)
        send(connection, 0.0)
        send(connection, 0.0, ConnectionError())
        telemetry.recorder.error_raised(connection, "ValueError", "system", "high", None)

        telemetry.recorder.summarise()
        (event,) = telemetry.events("WS_SUMMARY")

    expected = {"active": 1, "connected": 2, "rejected": 1, "received": 1, "sent": 2, "errors": 1}
    assert {f"ws.total.{name}": value for name, value in expected.items()} == event.attributes


def test_a_verdict_that_changed_is_told_once() -> None:
    """``WS_HEALTH`` comes when the verdict changes, with the rule that decided it, and when it changes back."""
    with recording() as telemetry:
        connection = opened(telemetry)
        told = []
        for step, unhealthy in enumerate((False, True, True, False, False), 1):
            connection.handler_failed = unhealthy
            clock.now = 1000.0 + 5.0 * step
            telemetry.recorder.loop_lagged(0.0)
            told.append([event.attributes["ws.health.status"] for event in telemetry.events("WS_HEALTH")])
        (first, _) = telemetry.events("WS_HEALTH")

    assert [[], ["unhealthy"], ["unhealthy"], ["unhealthy", "healthy"], ["unhealthy", "healthy"]] == told
    assert ("connection_health", 0.0, 0.8) == tuple(
        first.attributes[f"ws.health.{name}"] for name in ("rule", "value", "threshold")
    )


# --- what applications tell -------------------------------------------------------------------------------------
def test_an_authentication_failure_is_counted_and_told() -> None:
    """``WS_AUTH_FAIL`` has reason, close code and route, and the connection's ids."""
    with recording() as telemetry:
        connection = opened(telemetry, match_id=3)
        telemetry.recorder.auth_failed(connection, "JWT_EXPIRED", 4001)

        counted = telemetry.value("ws.auth.failures", reason="JWT_EXPIRED", transport="websocket")
        (event,) = telemetry.events("WS_AUTH_FAIL")

    expected = {
        "user.id": "7",
        "match.id": "3",
        "ws.connection.id": "1",
        "ws.reason": "JWT_EXPIRED",
        "ws.close.code": 4001,
        "http.route": ROUTE,
    }
    assert (1, "WARNING", expected) == (counted, event.severity, event.attributes)


def test_a_ratelimit_reject_is_counted_and_told() -> None:
    """``WS_RATELIMIT_REJECT`` has the reason and the seconds to wait."""
    with recording() as telemetry:
        telemetry.recorder.ratelimit_rejected(None, "MSG_RATE", 1.5)

        counted = telemetry.value("ws.ratelimit.events", reason="MSG_RATE")
        (event,) = telemetry.events("WS_RATELIMIT_REJECT")

    assert (1, {"ws.reason": "MSG_RATE", "ws.retry_after": 1.5}) == (counted, event.attributes)


def test_an_error_is_counted_and_told() -> None:
    """``WS_ERROR`` has the exception's class, its category and severity, and the handler."""
    with recording() as telemetry:
        telemetry.recorder.error_raised(None, "ValueError", "validation", "low", "chat_message")

        counted = telemetry.value(
            "ws.errors", error_type="ValueError", error_category="validation", error_severity="low", http_route=OTHER
        )
        (event,) = telemetry.events("WS_ERROR")

    expected = {
        "error.type": "ValueError",
        "error.category": "validation",
        "error.severity": "low",
        "ws.handler": "chat_message",
    }
    assert (1, "ERROR", expected) == (counted, event.severity, event.attributes)


def test_a_heartbeats_round_trip_is_a_histogram() -> None:
    """A measured ping is a value under the connection's route."""
    with recording() as telemetry:
        telemetry.recorder.ping_measured(opened(telemetry), 0.02)

        counted = telemetry.value("ws.ping.duration", **DOOR)

    assert 1 == counted


# --- writers ----------------------------------------------------------------------------------------------------
class Broken:
    """A writer that always fails."""

    def is_wanted(self) -> bool:
        """It would like to."""
        return True

    def write(self, record: EventRecord) -> None:
        """Fail."""
        raise OSError("alice@example.com")

    def flush(self) -> None:
        """Fail."""
        raise OSError("alice@example.com")

    close = flush


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[EventRecord] = []

    def is_wanted(self) -> bool:
        """Everything is kept."""
        return True

    def write(self, record: EventRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def flush(self) -> None:
        """Nothing to do."""

    close = flush


@pytest.fixture
def broken(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[Recorder, Kept]]:
    """A recorder whose first writer fails, and its second one."""
    caplog.set_level(logging.WARNING, "otel_ws")
    faults.reset()
    active, kept = Recorder(Settings(), Policy()), Kept()
    active.writers = (Broken(), kept)
    yield active, kept
    active.writers = ()
    active.close()
    faults.reset()


def test_a_writer_that_raises_is_swallowed_and_counted(broken: tuple[Recorder, Kept]) -> None:
    """An event whose writer fails does not raise; each failure counts one."""
    active, _ = broken

    for _ in range(3):
        active.error_raised(None, "ValueError", "system", "high", None)

    assert {"events": 3} == faults.snapshot()


def test_a_writer_that_raises_is_logged_once(broken: tuple[Recorder, Kept], caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line about it, without the exception's text."""
    active, _ = broken

    for _ in range(3):
        active.error_raised(None, "ValueError", "system", "high", None)

    (line,) = caplog.records
    assert "OSError" in line.getMessage()
    assert "alice" not in caplog.text


def test_a_writer_that_raises_takes_nothing_from_the_others(broken: tuple[Recorder, Kept]) -> None:
    """The other writers get the event, and the metrics count."""
    active, kept = broken

    active.error_raised(None, "ValueError", "system", "high", None)

    assert ["WS_ERROR"] == [record.event.name for record in kept.records]
    assert 1.0 == active.snapshot().total(semconv.ERRORS)


@pytest.mark.parametrize("verb", ["flush", "close"])
def test_a_writer_that_cannot_end_does_not_raise(broken: tuple[Recorder, Kept], verb: str) -> None:
    """A writer that fails to flush or close is counted: the process, or the test, goes on."""
    active, _ = broken

    getattr(active, verb)()

    assert 1 == sum(faults.snapshot().values())


def test_every_writer_gets_the_same_cleared_record(broken: tuple[Recorder, Kept]) -> None:
    """What writers get is cleared already: an undeclared value is not in it."""
    active, kept = broken

    active.error_raised(None, "ValueError", "Alice", "high", None)

    (record,) = kept.records
    assert OTHER == record.values[semconv.ERROR_CATEGORY]
    assert "Alice" not in str(record)


# --- our own numbers --------------------------------------------------------------------------------------------
def test_our_own_failures_are_a_metric() -> None:
    """``ws.telemetry.errors`` counts what went wrong in otel-ws, by place."""
    with recording() as telemetry:
        faults.fault("open", ValueError())
        faults.fault("open", ValueError())

        counted = telemetry.points("ws.telemetry.errors")

    assert {(("place", "open"),): 2} == counted


def test_redactions_are_a_metric() -> None:
    """``ws.privacy.redactions`` counts what the policy removed, by signal and kind."""
    with recording() as telemetry:
        telemetry.recorder.policy.value("logs", semconv.USER_ID, "alice")

        counted = telemetry.points("ws.privacy.redactions")

    assert {(("kind", "id"), ("signal", "logs")): 1} == counted


def test_a_snapshot_has_the_live_numbers_too() -> None:
    """A snapshot of the recorder has counters, histograms and what is computed when it is looked at."""
    with recording() as telemetry:
        opened(telemetry)

        snapshot = telemetry.recorder.snapshot()

    assert {(): 1.0} == snapshot.values[semconv.ACTIVE_USERS]
    assert 1.0 == snapshot.total(semconv.CONNECTION_HEALTH, state="healthy")


# --- everything that is emitted is declared ---------------------------------------------------------------------
def stream(active: Recorder) -> None:
    """An event stream that has told one event and goes on."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    one = EventStream(active, {"type": "http", "method": "GET"}, clock.now)
    one.sent(start, one.sending())
    one.sent({"type": "http.response.body", "body": b"data: e4\n\n", "more_body": True}, one.sending())


def everything(telemetry: Telemetry) -> None:
    """Every verb once, the way an application would bring it about."""
    active = telemetry.recorder
    connection = opened(telemetry, match_id=3, tournament_id=2)
    send(connection, 0.0)
    handle(connection, "error", 0.1, 0.0)
    active.auth_failed(connection, "JWT_EXPIRED", 4001)
    active.ratelimit_rejected(connection, "MSG_RATE", 1.0)
    active.error_raised(connection, "ValueError", "system", "high", "receive")
    active.ping_measured(connection, 0.1)
    active.broadcast_sent(connection, "room", 3, 0.1, "ChannelFull")
    active.layer_dropped("EXPIRED", 2)
    delivery, cells = active.deliveries.of_name("room"), active.ledger.local.cells
    delivery.sent(cells, "send", "")
    delivery.handled(cells, connection.tally.wait, 0.1)
    worker = Worker(active, "room")
    Task(worker, "payment.capture", "payment_capture", None).end(ValueError())
    worker.ended()
    stream(active)
    active.summarise()
    clock.now += 5.0
    connection.handler_failed = True
    active.loop_lagged(0.0)
    active.policy.undeclared("logs")
    faults.fault("open", ValueError())
    opened(telemetry).disconnected(1000)
    connection.sent({"type": "websocket.close"}, connection.sending())
    Connection(active, {"type": "websocket"}).returned()
    opened(telemetry, match_id=3)


def test_every_declared_event_is_told_with_declared_fields() -> None:
    """Every event of the table comes out, with the ids and its own fields and nothing else."""
    with recording(message_events="all", delivery_events=True) as telemetry:
        everything(telemetry)
        told = telemetry.events()

    allowed = {event.name: {attribute.key for attribute in (*semconv.IDS, *event.fields)} for event in semconv.EVENTS}
    assert set(allowed) == {event.name for event in told}
    assert {} == {event.name: extra for event in told if (extra := set(event.attributes) - allowed[event.name])}


def test_every_declared_metric_has_points_with_declared_labels() -> None:
    """Every metric of the table comes out, with its own labels and nothing else."""
    with recording(metric_ids=["match.id"]) as telemetry:
        everything(telemetry)
        labels = {
            metric: {name for point in telemetry.points(metric.name) for name, _ in point}
            for metric in semconv.METRICS
            if telemetry.points(metric.name)
        }

    # Those that a door knows have points where the door is open.
    doors = {one for one in semconv.METRICS if one.name.startswith("ws.layer.") and one.live} | {semconv.READINESS}
    assert [] == [metric.name for metric in semconv.METRICS if metric not in labels.keys() | doors]
    assert {semconv.ACTIVE_BY_ID.name: {"match_id"}} == {
        metric.name: extra for metric, names in labels.items() if (extra := names - set(metric.label_names))
    }


def test_events_say_what_metrics_count() -> None:
    """Connects, disconnects and rejections are as many on events as on metrics."""
    with recording() as telemetry:
        everything(telemetry)
        told = [len(telemetry.events(name)) for name in ("WS_CONNECT", "WS_DISCONNECT", "WS_REJECT")]
        counted = [
            telemetry.value("ws.connections", status="connected"),
            telemetry.value("ws.connections", status="disconnected"),
            telemetry.value("ws.connection.rejections"),
        ]

    assert [4, 2, 1] == told
    assert told == counted


# --- the one global ---------------------------------------------------------------------------------------------
@pytest.fixture
def nothing_installed() -> Iterator[None]:
    """No recorder before, and the one that was there after."""
    before = recorder.replace(None)
    yield
    recorder.uninstall()
    recorder.replace(before)


@pytest.mark.usefixtures("nothing_installed")
def test_the_first_recorder_stays() -> None:
    """A second ``install`` gives the first one's recorder."""
    first = recorder.install(Settings())

    second = recorder.install(Settings(send_spans="all"))

    assert first is second is recorder.active()
    assert first is not None


@pytest.mark.usefixtures("nothing_installed")
def test_nothing_is_installed_where_the_setting_says_so() -> None:
    """``enabled=False`` installs no recorder."""
    installed = recorder.install(Settings(enabled=False))

    assert (None, None) == (installed, recorder.active())


@pytest.mark.usefixtures("nothing_installed")
def test_nothing_is_installed_where_the_sdk_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """``OTEL_SDK_DISABLED=true`` installs no recorder."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    installed = recorder.install(Settings())

    assert (None, None) == (installed, recorder.active())


@pytest.mark.usefixtures("nothing_installed")
def test_uninstalling_stops_recording() -> None:
    """After ``uninstall`` there is no recorder, and a new one can be installed."""
    first = recorder.install(Settings())

    recorder.uninstall()
    between = recorder.active()
    second = recorder.install(Settings())

    assert between is None
    assert second is not None
    assert first is not second


@pytest.mark.usefixtures("nothing_installed")
def test_uninstalling_nothing_is_no_error() -> None:
    """``uninstall`` without a recorder does nothing."""
    recorder.uninstall()

    assert recorder.active() is None


@pytest.mark.usefixtures("nothing_installed")
def test_what_was_declared_before_the_start_is_known_after_it() -> None:
    """The recorder uses the process's vocabulary, which ``declare`` may have widened before."""
    recorder.vocabulary.declare(semconv.ROLE, ["referee"])

    installed = recorder.install(Settings(message_types=("chat",)))

    assert installed is not None
    assert "referee" == installed.policy.label(semconv.ROLE, "referee")
    assert "chat" == installed.policy.label(semconv.MESSAGE_TYPE, "chat")


@pytest.mark.parametrize("make", [lambda: recorder.VERSION], ids=["VERSION"])
def test_the_version_is_told(make: Callable[[], str]) -> None:
    """The version of the scope is a version, or says that it is not known."""
    version = make()

    assert version[0].isdigit()
