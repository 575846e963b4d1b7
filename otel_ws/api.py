"""Door for applications: verbs that say what only the application knows.

Each is synchronous, quick and safe anywhere: in handlers, middlewares and threads, with telemetry off. None
raises into the application: wrong use is warned of once (and is an error under ``otel_ws.testing``).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec

from otel_ws import recorder as recorders
from otel_ws import semconv, sse, tasks
from otel_ws.connection import Connection, current
from otel_ws.connection import State as ConnectionState
from otel_ws.declarations import parse
from otel_ws.faults import UsageError, fault, misuse
from otel_ws.handling import Handling, at_work
from otel_ws.health import Health
from otel_ws.messages import category_of
from otel_ws.recorder import Recorder

P = ParamSpec("P")
# The template of a broadcast that the application tells itself here.
telling: ContextVar[str | None] = ContextVar("otel_ws_telling", default=None)


def _harmless(verb: Callable[P, None]) -> Callable[P, None]:
    name = verb.__name__

    @functools.wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(*args, **kwargs)
        except UsageError:
            raise
        except Exception as exc:
            if isinstance(exc, TypeError) and not _fits(verb, args, kwargs):
                misuse(
                    f"call.{name}",
                    f"otel_ws.{name}() was called with arguments that it does not take.",
                )
            else:
                fault(f"api.{name}", exc)

    return call


def _fits(verb: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(verb).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _here() -> Connection | None:
    """The WebSocket or the event stream whose application runs here."""
    request = sse.running()
    return current.get() if request is None else request.stream


def _subject(verb: str) -> Connection | sse.Request | None:
    """The same, or the request that may become a stream: it keeps what it is told until then."""
    request = sse.running()
    if request is not None and request.stream is None and request.recorder is recorders.active():
        return request
    return _connection(verb)


def _connection(verb: str) -> Connection | None:
    connection = _here()
    if connection is None or connection.recorder is not recorders.active():
        if recorders.active() is not None:
            misuse(
                f"outside.{verb}",
                f"otel_ws.{verb}() was called outside a connection; it did nothing.",
            )
        return None
    return connection


def _inside() -> Connection | None:
    connection = _here()
    return connection if connection is not None and connection.recorder is recorders.active() else None


def _task() -> tasks.Task | None:
    """The worker's message that is handled here."""
    return tasks.at_work() if recorders.active() is not None else None


def _handling(verb: str) -> Handling | tasks.Task | None:
    """The same, or the client's message."""
    if (task := _task()) is not None:
        return task
    connection = _connection(verb)
    return None if connection is None else at_work() or connection.plain_handling


def _code(verb: str, reason: object) -> str:
    if not recorders.vocabulary.is_code(reason):
        misuse(
            f"reason.{verb}",
            f"otel_ws.{verb}(): the reason must be a code such as 'JWT_EXPIRED' (capital letters and underscores, "
            f"2 to 32 of them); it was recorded as {semconv.OTHER}.",
        )
        return semconv.OTHER
    return str(reason)


@_harmless
def record_auth_failure(reason: str, *, close_code: int | None = None) -> None:
    """Say that authentication failed; ``reason`` is a code such as ``JWT_EXPIRED``.

    Counted in ``ws.auth.failures`` and told as ``WS_AUTH_FAIL``. If the connection is rejected next, this is the
    reason of the rejection. Outside a connection it counts without ids.
    """
    active = recorders.active()
    if active is None:
        return
    connection, reason = _inside(), _code("record_auth_failure", reason)
    _remember(connection, reason)
    active.auth_failed(connection, reason, close_code)


@_harmless
def record_ratelimit_reject(reason: str, retry_after_ms: float | None = None) -> None:
    """Say that a rate limit refused something; ``reason`` is a code such as ``MSG_RATE``.

    ``retry_after_ms`` is in milliseconds. Counted in ``ws.ratelimit.events`` and told as ``WS_RATELIMIT_REJECT``.
    """
    active = recorders.active()
    if active is None:
        return
    connection, reason = _inside(), _code("record_ratelimit_reject", reason)
    _remember(connection, reason)
    after = _number(retry_after_ms, 0.001)
    active.ratelimit_rejected(connection, reason, after if after is not None and after >= 0 else None)


@_harmless
def record_error(exc: BaseException, *, category: str | None = None, severity: str = "medium") -> None:
    """Say that something went wrong that the application handled itself.

    Only the exception's class leaves. ``category``: connection, authentication, session, message_delivery,
    validation, system (guessed from the class if not given). ``severity``: low, medium, high, critical.
    Counted in ``ws.errors`` and told as ``WS_ERROR``; the message being handled has status ``error``.
    """
    active = recorders.active()
    if active is None:
        return
    if not isinstance(exc, BaseException):
        misuse("record_error", "otel_ws.record_error() takes an exception; it did nothing.")
        return
    if category is not None and category not in semconv.ERROR_CATEGORY.choices:
        misuse(
            "category",
            f"otel_ws.record_error(category=) is one of {', '.join(semconv.ERROR_CATEGORY.choices)}.",
        )
    if severity not in semconv.ERROR_SEVERITY.choices:
        misuse(
            "severity",
            f"otel_ws.record_error(severity=) is one of {', '.join(semconv.ERROR_SEVERITY.choices)}.",
        )
    connection = _inside()
    if connection is None:
        if (task := _task()) is not None:
            task.note_error(exc)
        handler = None if task is None else task.handler
        active.error_raised(None, type(exc).__name__, category or category_of(exc), severity, handler)
        return
    handling = at_work() or connection.plain_handling
    if handling is not None:
        handling.note_error(exc)
    connection.tell_error(exc, handling.handler if handling else None, category, severity, again=True)
    if handling is None:
        connection.told = None


@_harmless
def record_message_denied() -> None:
    """Say that the message being handled is not allowed: its status becomes ``permission_denied``."""
    handling = _handling("record_message_denied")
    if handling is not None:
        handling.status = "permission_denied"


@_harmless
def record_ping(seconds: float) -> None:
    """Say how long a heartbeat's round trip took, in seconds: ``ws.ping.duration``."""
    active = recorders.active()
    number = _number(seconds)
    if active is None:
        return
    if number is None or number < 0:
        misuse(
            "record_ping",
            "otel_ws.record_ping() takes seconds, a number that is not negative; it did nothing.",
        )
        return
    active.ping_measured(_inside(), number)


@_harmless
def set_message_type(name: str) -> None:
    """Name the message being handled; the name must be declared, else the type is ``unknown``."""
    handling = _handling("set_message_type")
    if handling is not None:
        handling.note_type(name)


@_harmless
def set_role(role: str) -> None:
    """Say the user's role: before accept (a stream: before its response) the connection's, later the gauge moves."""
    subject = _subject("set_role")
    if subject is None:
        return
    if not recorders.vocabulary.is_declared(semconv.ROLE, role):
        misuse(
            "set_role",
            "otel_ws.set_role(): that role is not declared; add it with otel_ws.declare(roles=[…]).",
        )
    subject.set_role(role)


@_harmless
def set_ids(**ids: object) -> None:
    """Say what the connection, or a worker's message, is about: ``set_ids(user_id=7, match_id=3)``.

    Other names need ``declare(id=…)``. An id is an integer of up to 19 digits, a UUID or a ULID; others are dropped.
    """
    subject = _task() or _subject("set_ids")
    if subject is None:
        return
    known = recorders.vocabulary.ids
    for name in ids:
        if name not in known or name == semconv.CONNECTION_ID.field:
            text = "otel_ws.set_ids(): an id is not declared; add it with otel_ws.declare(id='…')."
            misuse(f"set_ids.{name}", text)
            recorders.vocabulary.undeclared("logs")
    subject.set_ids(
        {known[name]: value for name, value in ids.items() if name in known and name != semconv.CONNECTION_ID.field}
    )


@_harmless
def declare(
    *,
    id: str | Iterable[str] = (),  # noqa: A002 - the word that users say
    choice: Mapping[str, Iterable[str]] | None = None,
    code: str | Iterable[str] = (),
    template: str | Iterable[str] = (),
    number: str | Iterable[str] = (),
    roles: Iterable[str] = (),
    reasons: Iterable[str] = (),
    message_types: Iterable[str] = (),
    close_codes: Iterable[int] = (),
    templates: Iterable[str] = (),
    subprotocols: Iterable[str] = (),
    heartbeat: tuple[str, float] | None = None,
) -> None:
    """Widen the vocabulary, once, at start-up: what is not declared leaves as ``_OTHER`` or ``unknown``, or not at all.

    ``id``: keys such as ``order.id``. ``choice``: a key and all its values, 64 at most. ``code``: keys whose values are
    code names; the first 64 different ones leave. ``number``: metrics, and keys of numbers. ``template``: exact texts
    that may be a span's name, a route, or a group's name with ``{name}`` for each variable part (``templates`` is an
    older spelling). There is no word for free text.
    ``heartbeat``: a message type and its interval in seconds; two missed ones make a connection unhealthy.

    What is wrong is left out and warned of with its place and the reason, never with its value.
    """
    given = {
        "id": id,
        "choice": choice or (),
        "code": code,
        "template": template,
        "number": number,
        "roles": roles,
        "reasons": reasons,
        "message_types": message_types,
        "close_codes": close_codes,
        "templates": templates,
        "subprotocols": subprotocols,
        "heartbeat": () if heartbeat is None else heartbeat,
    }
    declared, wrong = parse({word: value for word, value in given.items() if value != ()})
    wrong += recorders.vocabulary.apply(declared)
    if wrong:
        text = "; ".join(wrong[:_REASONS])
        misuse(f"declare.{text}", f"otel_ws.declare() left out: {text}{'; …' if len(wrong) > _REASONS else ''}.")


@contextmanager
def broadcast(template: str, recipients: int | None = None) -> Iterator[None]:
    """Time a message to a group, in other words than its name: ``with otel_ws.broadcast("room_{room_id}"):``.

    For layers that otel-ws cannot see, and where the group's name is not made from the template. What a layer that it
    sees is given inside is the same broadcast, told once.
    ``template`` must be declared, else it leaves as ``_OTHER``; ``recipients`` is their number where it is known.
    An exception passes through and makes the broadcast a failed one.
    """
    active = recorders.active()
    started_at = active.clock() if active is not None else 0.0
    before = telling.get()
    telling.set(template)
    try:
        yield
    except BaseException as exc:
        telling.set(before)
        _broadcast_ended(active, template, recipients, started_at, type(exc).__name__)
        raise
    telling.set(before)
    _broadcast_ended(active, template, recipients, started_at, None)


def _broadcast_ended(
    active: Recorder | None,
    template: str,
    recipients: int | None,
    started_at: float,
    error: str | None,
) -> None:
    if active is None:
        return
    try:
        count = _number(recipients)
        if count is not None and count < 0:
            count = None
        recipients = None if count is None else int(count)
        active.broadcast_sent(_inside(), template, recipients, active.clock() - started_at, error)
    except Exception as exc:
        fault("api.broadcast", exc)


def get_metrics_snapshot() -> dict[str, dict[tuple[str, ...], Any]]:
    """The counts of this process as plain dicts: Prometheus name, then label values, then the number.

    Labels are the metric's own, without route, transport and subprotocol, over which is summed. A histogram's
    value is ``{"buckets": {bound: cumulative count, …, "+Inf": count}, "sum": …, "count": …}``, in seconds or bytes.
    Empty where telemetry is off.
    """
    active = recorders.active()
    result: dict[str, dict[tuple[str, ...], Any]] = {}
    if active is None:
        return result
    now = active.snapshot()
    for metric in semconv.METRICS:
        kept = [place for place, label in enumerate(metric.labels) if label not in _SUMMED]
        rows: dict[tuple[str, ...], Any] = {}
        for labels, value in now.values.get(metric, {}).items():
            key = tuple(labels[place] for place in kept)
            whole = rows.get(key, 0) + value
            rows[key] = int(whole) if float(whole).is_integer() else whole
        for labels, distribution in now.distributions.get(metric, {}).items():
            key = tuple(labels[place] for place in kept)
            row = rows.setdefault(
                key,
                {
                    "buckets": dict.fromkeys((*metric.bounds, "+Inf"), 0),
                    "sum": 0.0,
                    "count": 0,
                },
            )
            below = 0
            for bound, count in zip(row["buckets"], distribution.buckets, strict=True):
                below += count
                row["buckets"][bound] += below
            row["sum"] += distribution.sum
            row["count"] += distribution.count
        if metric is semconv.ACTIVE:
            result["ws_active_connections_gauge"] = rows
        elif metric is not semconv.ACTIVE_BY_ID:
            result[metric.prometheus_name] = rows
    return result


def health() -> Health | None:
    """The verdict over the last minute on all workers of this host, and the rules behind it; ``None``: it is off."""
    active = recorders.active()
    return active.watch.health() if active is not None else None


# So many reasons are told at once.
_REASONS = 5
_SUMMED = (semconv.ROUTE, semconv.TRANSPORT, semconv.SUBPROTOCOL)


def _remember(connection: Connection | None, reason: str) -> None:
    if connection is not None and connection.state is ConnectionState.CONNECTING:
        connection.reason = reason


def _number(value: object, factor: float = 1.0) -> float | None:
    fit = recorders.vocabulary.value("metrics", semconv.DURATION, value) if value is not None else None
    return float(fit) * factor if isinstance(fit, (int, float)) else None
