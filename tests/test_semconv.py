"""The declarations: every name once, in the form that DESIGN section 3 promises."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from otel_ws import semconv
from otel_ws.semconv import Attribute, Event, Instrument, Kind, Level, Metric, SpanType

# The names that dashboards, alerts and queries are written with (DESIGN section 3): key, label, field.
SPELLINGS = {
    "USER_ID": ("user.id", None, "user_id"),
    "TOURNAMENT_ID": ("tournament.id", None, "tournament_id"),
    "MATCH_ID": ("match.id", None, "match_id"),
    "CONNECTION_ID": ("ws.connection.id", None, "connection_id"),
    "ROLE": ("ws.role", "role", "role"),
    "SCOPE_TYPE": ("ws.scope.type", "scope_type", "scope_type"),
    "TRANSPORT": ("ws.transport", "transport", "connection_type"),
    "OUTCOME": ("ws.outcome", "status", "status"),
    "MESSAGE_TYPE": ("ws.message.type", "message_type", "message_type"),
    "REASON": ("ws.reason", "reason", "reason_code"),
    "ERROR_TYPE": ("error.type", "error_type", "error_type"),
    "ERROR_CATEGORY": ("error.category", "error_category", "error_category"),
    "ERROR_SEVERITY": ("error.severity", "error_severity", "error_severity"),
    "ROUTE": ("http.route", "http_route", "route"),
    "HANDLER": ("ws.handler", "ws_handler", "handler"),
    "CLOSE_CODE": ("ws.close.code", "close_code", "close_code"),
    "INITIATOR": ("ws.close.initiator", "initiator", "initiator"),
    "SUBPROTOCOL": ("ws.subprotocol", "subprotocol", "subprotocol"),
    "SIZE": ("ws.message.size", None, "size"),
    "DURATION": ("ws.duration", None, "duration_ms"),
    "RETRY_AFTER": ("ws.retry_after", None, "retry_after_ms"),
    "DIRECTION": ("network.io.direction", "direction", None),
    "TEMPLATE": ("messaging.destination.template", "messaging_destination_template", "group"),
}
CHOICES = {
    "ROLE": {"spectator", "player", "organizer", "admin"},
    "SCOPE_TYPE": {"match", "tournament", "global"},
    "TRANSPORT": {"websocket", "sse"},
    "ERROR_CATEGORY": {"connection", "authentication", "session", "message_delivery", "validation", "system"},
    "ERROR_SEVERITY": {"low", "medium", "high", "critical"},
    "INITIATOR": {"client", "server", "application", "lost"},
    "DIRECTION": {"receive", "transmit"},
    "STATE": {"healthy", "unhealthy"},
}
# Name, unit and labels of every metric of the first walk.
METRICS = {
    "ws.connections": ("{connection}", {"http_route", "transport", "role", "scope_type", "status", "subprotocol"}),
    "ws.active_connections": ("{connection}", {"http_route", "transport", "role", "scope_type"}),
    "ws.active_connections.by_id": ("{connection}", set()),
    "ws.active_users": ("{user}", set()),
    "ws.users.dual": ("{user}", set()),
    "ws.user.connections": ("{connection}", set()),
    "ws.connection.duration": ("s", {"transport", "scope_type", "close_code"}),
    "ws.connection.age": ("{connection}", {"transport", "age"}),
    "ws.connection.setup.duration": ("s", {"http_route", "transport", "status"}),
    "ws.connection.rejections": ("{connection}", {"http_route", "transport", "reason", "close_code"}),
    "ws.connection.health": ("{connection}", {"transport", "state"}),
    "ws.connection.busy_time": ("s", {"http_route", "transport"}),
    "ws.messages": ("{message}", {"http_route", "transport", "type", "status"}),
    "ws.messages.sent": ("{message}", {"http_route", "transport", "status"}),
    "ws.message.latency": ("s", {"http_route", "transport", "message_type"}),
    "ws.message.wait": ("s", {"http_route", "transport"}),
    "ws.message.backlogged": ("{message}", {"http_route", "transport"}),
    "ws.message.size": ("By", {"transport", "direction"}),
    "ws.send.duration": ("s", {"http_route", "transport"}),
    "ws.ping.duration": ("s", {"http_route", "transport"}),
    "ws.ratelimit.events": ("{event}", {"transport", "reason"}),
    "ws.auth.failures": ("{event}", {"transport", "reason"}),
    "ws.errors": ("{error}", {"http_route", "error_type", "error_category", "error_severity"}),
    "ws.broadcasts": ("{message}", {"messaging_destination_template", "status"}),
    "ws.broadcast.duration": ("s", {"messaging_destination_template"}),
    "ws.sse.first_event.duration": ("s", {"http_route"}),
    "messaging.process.duration": (
        "s",
        {
            "messaging_system",
            "messaging_operation_name",
            "messaging_destination_template",
            "ws_handler",
            "error_type",
        },
    ),
    "ws.workers": ("{component}", {"component"}),
    "ws.readiness": ("{check}", {"component", "status"}),
    "ws.broadcast.recipients": ("{channel}", {"messaging_destination_template"}),
    "messaging.client.sent.messages": (
        "{message}",
        {"messaging_system", "messaging_operation_name", "messaging_destination_template", "error_type"},
    ),
    "messaging.client.consumed.messages": (
        "{message}",
        {"messaging_system", "messaging_operation_name", "messaging_destination_template"},
    ),
    "ws.layer.dropped": ("{message}", {"reason"}),
    "ws.layer.lag": ("s", {"messaging_destination_template"}),
    "ws.layer.depth": ("{message}", {"queue", "messaging_destination_template"}),
    "ws.layer.capacity": ("1", {"queue", "messaging_destination_template"}),
    "ws.layer.oldest_age": ("s", {"queue", "messaging_destination_template"}),
    "ws.layer.groups": ("{group}", {"messaging_destination_template"}),
    "ws.layer.memberships": ("{channel}", {"messaging_destination_template"}),
    "ws.layer.orphans": ("{channel}", {"messaging_destination_template"}),
    "process.memory.usage": ("By", set()),
    "process.cpu.utilization": ("1", set()),
    "ws.event_loop.lag": ("s", set()),
    "ws.privacy.redactions": ("{value}", {"signal", "kind"}),
    "ws.telemetry.errors": ("{error}", {"place"}),
}
PROMETHEUS = {
    "ws.connections": "ws_connections_total",
    "ws.active_connections": "ws_active_connections",
    "ws.messages": "ws_messages_total",
    "ws.messages.sent": "ws_messages_sent_total",
    "ws.message.latency": "ws_message_latency_seconds",
    "ws.message.size": "ws_message_size_bytes",
    "ws.connection.busy_time": "ws_connection_busy_time_seconds_total",
    "ws.ratelimit.events": "ws_ratelimit_events_total",
    "ws.auth.failures": "ws_auth_failures_total",
    "ws.errors": "ws_errors_total",
    "ws.privacy.redactions": "ws_privacy_redactions_total",
    "ws.telemetry.errors": "ws_telemetry_errors_total",
    "process.memory.usage": "process_memory_usage_bytes",
    "process.cpu.utilization": "process_cpu_utilization_ratio",
}
# Level and JSON fields of every event of the first walk.
EVENTS = {
    "WS_CONNECT": (
        Level.INFO,
        {
            "role",
            "scope_type",
            "connection_type",
            "route",
            "subprotocol",
            "establishment_time_ms",
            "is_dual_connection",
        },
    ),
    "WS_DISCONNECT": (Level.INFO, {"role", "close_code", "initiator", "duration_ms"}),
    "WS_MESSAGE": (Level.INFO, {"message_type", "status", "duration_ms", "size"}),
    "WS_RATELIMIT_REJECT": (Level.WARNING, {"reason_code", "retry_after_ms"}),
    "WS_AUTH_FAIL": (Level.WARNING, {"reason_code", "close_code", "route"}),
    "WS_REJECT": (Level.WARNING, {"reason_code", "close_code", "route"}),
    "WS_ERROR": (Level.ERROR, {"error_type", "error_category", "error_severity", "handler"}),
    "WS_DELIVERY": (Level.INFO, {"status", "duration_ms", "size"}),
    "WS_TASK": (Level.INFO, {"message_type", "status", "duration_ms", "handler"}),
    "WS_LAYER_DROP": (Level.WARNING, {"reason_code", "count"}),
    "WS_BROADCAST_FAIL": (Level.WARNING, {"group", "reason_code", "count"}),
    "WS_SUMMARY": (
        Level.INFO,
        {
            "active_connections",
            "connections_total",
            "connections_rejected",
            "messages_received",
            "messages_sent",
            "errors",
        },
    ),
    "WS_HEALTH": (Level.WARNING, {"status", "rule", "value", "threshold"}),
}
HISTOGRAMS = [metric for metric in semconv.METRICS if metric.instrument is Instrument.HISTOGRAM]
OTHERS = [metric for metric in semconv.METRICS if metric.instrument is not Instrument.HISTOGRAM]


def named(one: Attribute | Metric | Event | SpanType) -> str:
    """The name of a declaration, as the id of its test."""
    return one.key if isinstance(one, Attribute) else one.name


# --- attributes -------------------------------------------------------------------------------------------------
def test_each_key_is_declared_once() -> None:
    """No two attributes share a key."""
    keys = [attribute.key for attribute in semconv.ATTRIBUTES]

    assert sorted(set(keys)) == sorted(keys)


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_attribute_is_spelled_as_designed(name: str) -> None:
    """Key, label and field of an attribute are those that dashboards and queries use."""
    attribute: Attribute = getattr(semconv, name)

    assert SPELLINGS[name] == (attribute.key, attribute.label, attribute.field)


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_has_the_designed_values(name: str) -> None:
    """The values of a closed choice are those of the design."""
    attribute: Attribute = getattr(semconv, name)

    assert CHOICES[name] == set(attribute.choices)


@pytest.mark.parametrize("attribute", semconv.ATTRIBUTES, ids=named)
def test_choices_belong_to_choices_alone(attribute: Attribute) -> None:
    """An attribute lists values if, and only if, it is a choice."""
    assert (attribute.kind is Kind.CHOICE) == bool(attribute.choices)


@pytest.mark.parametrize("attribute", semconv.ATTRIBUTES, ids=named)
def test_our_own_keys_are_under_ws(attribute: Attribute) -> None:
    """A key that OpenTelemetry does not define is under ``ws.``, an id's own name, or one of ``error.*``."""
    ours = attribute.key.startswith("ws.") or attribute.kind is Kind.ID or attribute.key.startswith("error.")

    assert attribute.adopted or ours


@pytest.mark.parametrize("attribute", semconv.ATTRIBUTES, ids=named)
def test_a_key_is_lower_case_and_dotted(attribute: Attribute) -> None:
    """A key follows OpenTelemetry's naming, a label and a field have underscores for dots."""
    spelled = attribute.key.replace(".", "_")

    assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", attribute.key)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name or spelled) for name in (attribute.label, attribute.field))


@pytest.mark.parametrize("attribute", [one for one in semconv.ATTRIBUTES if one.kind is Kind.ID], ids=named)
def test_an_id_has_no_label(attribute: Attribute) -> None:
    """An id never is a metric label."""
    assert attribute.label is None


@pytest.mark.parametrize("attribute", [one for one in semconv.ATTRIBUTES if one.kind is Kind.NUMBER], ids=named)
def test_a_number_has_no_label(attribute: Attribute) -> None:
    """A number never is a metric label."""
    assert attribute.label is None


@pytest.mark.parametrize("attribute", semconv.ATTRIBUTES, ids=named)
def test_an_attribute_is_described(attribute: Attribute) -> None:
    """Every attribute has a sentence for the documentation."""
    assert attribute.brief.endswith(".")


def test_there_is_no_kind_for_free_text() -> None:
    """The kinds are ids, closed choices, code names, templates and numbers."""
    kinds = {kind.value for kind in Kind}

    assert {"id", "choice", "code", "code_name", "template", "number", "flag", "close_code"} == kinds


def test_every_attribute_is_used() -> None:
    """Each declared attribute appears on some metric, span or event."""
    used = {attribute for metric in semconv.METRICS for attribute in metric.labels}
    used |= {attribute for span in semconv.SPANS for attribute in span.attributes}
    used |= {attribute for event in semconv.EVENTS for attribute in event.fields}

    unused = {attribute.key for attribute in semconv.ATTRIBUTES} - {attribute.key for attribute in used}

    assert set() == unused


def test_the_ids_are_those_beside_every_event() -> None:
    """The ids that accompany each event are user, tournament, match and connection."""
    fields = [attribute.field for attribute in semconv.IDS]

    assert ["user_id", "tournament_id", "match_id", "connection_id"] == fields


# --- metrics ----------------------------------------------------------------------------------------------------
def test_the_metrics_are_the_designed_ones() -> None:
    """Each metric of the design is declared with its unit and labels, and no other is."""
    declared = {metric.name: (metric.unit, set(metric.label_names)) for metric in semconv.METRICS}

    assert METRICS == declared


def test_each_metric_is_declared_once() -> None:
    """No two metrics share a name."""
    names = [metric.name for metric in semconv.METRICS]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", PROMETHEUS)
def test_the_prometheus_name_is_the_one_that_people_use(name: str) -> None:
    """The name after the OTLP to Prometheus translation is the one in the design."""
    (metric,) = [metric for metric in semconv.METRICS if metric.name == name]

    assert PROMETHEUS[name] == metric.prometheus_name


@pytest.mark.parametrize("metric", semconv.METRICS, ids=named)
def test_a_metrics_labels_have_different_names(metric: Metric) -> None:
    """No two labels of a metric are spelled alike, and none is without a name."""
    names = metric.label_names

    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("metric", HISTOGRAMS, ids=named)
def test_a_histograms_bounds_rise(metric: Metric) -> None:
    """A histogram has floating-point bounds, each greater than the one before."""
    bounds = metric.bounds

    assert bounds
    assert all(type(bound) is float for bound in bounds)
    assert all(low < high for low, high in pairwise(bounds))


@pytest.mark.parametrize("metric", OTHERS, ids=named)
def test_only_histograms_have_bounds(metric: Metric) -> None:
    """A counter or gauge has no bounds."""
    assert () == metric.bounds


def test_message_latency_tells_fast_handlers_apart() -> None:
    """Among the bounds of the latency are 1, 5, 10, 50 and 100 ms, up to 10 s."""
    bounds = semconv.MESSAGE_LATENCY.bounds

    assert {0.001, 0.005, 0.01, 0.05, 0.1} <= set(bounds)
    assert 10.0 == bounds[-1]


def test_connection_duration_reaches_from_a_second_to_a_day() -> None:
    """The bounds of the connection's duration begin at 1 s and end at 24 h."""
    bounds = semconv.CONNECTION_DURATION.bounds

    assert (1.0, 86400.0) == (bounds[0], bounds[-1])


@pytest.mark.parametrize("metric", semconv.METRICS, ids=named)
def test_a_metric_is_described(metric: Metric) -> None:
    """Every metric has a sentence for the documentation."""
    assert metric.brief.endswith(".")


# --- spans ------------------------------------------------------------------------------------------------------
def test_the_spans_are_the_designed_ones() -> None:
    """Connect, message, send, disconnect and those of the channel layer, each with its OpenTelemetry kind."""
    expected = {
        "connect {route}": "SERVER",
        "{message type} {route}": "SERVER",
        "send {route}": "INTERNAL",
        "disconnect {route}": "SERVER",
        "publish {template}": "PRODUCER",
        "process {template}": "CONSUMER",
    }

    declared = {span.name: span.kind for span in semconv.SPANS}

    assert expected == declared


@pytest.mark.parametrize("span", semconv.SPANS, ids=named)
def test_a_span_carries_the_ids(span: SpanType) -> None:
    """Every span carries the ids, so that a trace can be found by one."""
    assert set(semconv.IDS) <= set(span.attributes)


@pytest.mark.parametrize("span", semconv.SPANS, ids=named)
def test_a_span_lists_an_attribute_once(span: SpanType) -> None:
    """No attribute is listed twice on a span."""
    assert len(set(span.attributes)) == len(span.attributes)


# --- events -----------------------------------------------------------------------------------------------------
def test_the_events_are_the_designed_ones() -> None:
    """Each event of the design is declared with its level and fields, and no other is."""
    declared = {event.name: (event.level, {one.field for one in event.fields}) for event in semconv.EVENTS}

    assert EVENTS == declared


@pytest.mark.parametrize("event", semconv.EVENTS, ids=named)
def test_an_events_fields_have_different_names(event: Event) -> None:
    """No field of an event is spelled like another one, or like what every line has."""
    always = ["timestamp", "level", "event", "message", "trace_id", "span_id", *(one.field for one in semconv.IDS)]

    names = [*always, *(attribute.field for attribute in event.fields)]

    assert None not in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("event", semconv.EVENTS, ids=named)
def test_an_events_message_is_a_fixed_sentence(event: Event) -> None:
    """The message of an event is a sentence without a place for values."""
    assert re.fullmatch(r"[A-Z][A-Za-z ]+\.", event.message)


# --- the whole --------------------------------------------------------------------------------------------------
def test_the_scope_is_named() -> None:
    """Scope name and schema URL are those of every signal."""
    scope = (semconv.SCOPE_NAME, semconv.SCHEMA_URL.rpartition("/")[0])

    assert ("otel_ws", "https://opentelemetry.io/schemas") == scope
