"""Who is connected, who comes and goes, who cannot come in, and whether the promises are kept."""

from __future__ import annotations

from collector.dashboards.board import Board
from collector.dashboards.queries import (
    counted,
    gauge,
    lines,
    now,
    prom,
    quantile,
    quantiles,
    rate,
    recorded,
    table,
    total,
    traces,
)

SPANS, CONNECTS = "traces_span_metrics_duration_seconds", 'span_name=~"connect .*"'
REFUSED = ("ws_reason", "ws_close_code", "http_route", "ws_health_status", "ws_health_rule", "ws_health_value")
BURN = "on (slo) group_left () slo:error_budget:ratio"


def board() -> Board:
    """The dashboard."""
    made = Board("connections", "Connections", "Who is connected, who comes and goes, and who cannot come in.")
    verdicts(made)
    present(made)
    coming(made)
    lasting(made)
    promises(made)
    details(made)
    made.runbooks()
    return made


def verdicts(made: Board) -> None:
    """What one sees first."""
    made.row("Is everybody connected?")
    made.verdict("Open", "Connections that are open now.", "short", f"sum({gauge('ws_active_connections', 'role')})")
    made.verdict(
        "Refused", "Of those who asked to connect within 5 minutes, the share that was refused.", "percentunit",
        f"max({recorded('service:ws_connection_failures:ratio5m')})", 0.05, 0.1, to="errors",
    )  # fmt: skip
    made.verdict(
        "Unhealthy", "Open connections whose send hangs, whose handler raised, or whose heartbeats are missed.",
        "percentunit", f"max({recorded('service:ws_connection_unhealthy:ratio')})", 0.05, 0.1, to="messages",
    )  # fmt: skip
    made.verdict(
        "Setup, p95", "From the request to accept or refusal.", "s",
        f"max({recorded('service:ws_connection_setup_seconds:p95_5m')})", 1, 2, to="platform",
    )  # fmt: skip
    made.verdict(
        "Budget burns", "Times as fast as the error budget of 30 days allows, over an hour; 14.4 calls somebody.",
        "none", f"max({recorded('service_slo:errors:ratio_rate1h')} / {BURN})", 1, 14.4,
    )  # fmt: skip
    made.firing()


def present(made: Board) -> None:
    """Who is there."""
    made.row("Who is there")
    made.series(
        "Open, by role and transport", "Connections that are open.", "short",
        [prom(gauge("ws_active_connections", "role", "transport"), "{{role}} {{transport}}")], stacked=True,
    )  # fmt: skip
    made.series(
        "Open, by route", "Connections that are open.", "short",
        [prom(gauge("ws_active_connections", "http_route"), "{{http_route}}")], stacked=True,
    )  # fmt: skip
    made.series(
        "Users", "Different users, and those among them who are connected by WebSocket and event stream at once.",
        "short",
        [prom(gauge("ws_active_users", "service_name"), "users of {{service_name}}"),
         prom(gauge("ws_users_dual", "service_name"), "on both, {{service_name}}")],
    )  # fmt: skip
    made.series(
        "Connections of one user", "How many a user has, at each accept.", "short",
        quantiles("ws_user_connections", 0.5, 0.95),
    )  # fmt: skip
    made.ranks(
        "The fullest tournaments", "Open connections by tournament; only with OTEL_WS_METRIC_IDS=tournament.id.",
        "short", now(f"topk(10, {gauge('ws_active_connections_by_id', 'tournament_id')})", "{{tournament_id}}"),
    )  # fmt: skip
    made.series(
        "Health", "Open connections by health.", "short",
        [prom(gauge("ws_connection_health", "state"), "{{state}}")], stacked=True,
    )  # fmt: skip


def coming(made: Board) -> None:
    """Who comes, who goes, who is refused."""
    made.row("Coming and going")
    made.series(
        "Opened and ended", "Connections accepted, and ended, a second.", "cps",
        [prom(rate("ws_connections_total", "status"), "{{status}}")],
    )  # fmt: skip
    made.series(
        "Refused, by reason", "Connections that ended before they were accepted.", "cps",
        [prom(rate("ws_connection_rejections_total", "reason"), "{{reason}}")], to="errors",
    )  # fmt: skip
    made.series(
        "Setup", "From the request to accept or refusal.", "s",
        quantiles("ws_connection_setup_duration_seconds", 0.5, 0.95, 0.99),
    )  # fmt: skip
    made.series(
        "Setup, p95 by span", "Of the spans that say so; a point is an exemplar, and opens its trace.", "s",
        [prom(quantile(0.95, SPANS, "span_name", where=CONNECTS), "{{span_name}}", exemplars=True)],
    )  # fmt: skip
    made.series(
        "Setup, by outcome", "Requests a second that were accepted, and refused.", "reqps",
        [prom(rate("ws_connection_setup_duration_seconds_count", "status"), "{{status}}")],
    )  # fmt: skip
    made.series(
        "Ended, by close code", "1000 and 1001 are usual; 1006 means that nobody said goodbye.", "cps",
        [prom(rate("ws_connection_duration_seconds_count", "close_code", "transport"), "{{close_code}} {{transport}}")],
    )  # fmt: skip
    made.bars(
        "Ended, by whom", "Who ended the connection; lost means that no close was seen.", "short",
        [counted('event_name="WS_DISCONNECT"', "ws_close_initiator")],
    )  # fmt: skip
    made.rows(
        "How many came and went", "Within the time that is shown.", "short",
        table(total("ws_connections_total", "role", "transport", "status")),
    )  # fmt: skip
    made.rows(
        "How many were refused", "Within the time that is shown.", "short",
        table(total("ws_connection_rejections_total", "reason", "close_code")), to="errors",
    )  # fmt: skip


def lasting(made: Board) -> None:
    """How long they stay, and what they do meanwhile."""
    made.row("Age and idleness")
    made.series(
        "First event of a stream, p95", "From the request to the first event, for event streams.", "s",
        [prom(quantile(0.95, "ws_sse_first_event_duration_seconds", "http_route"), "{{http_route}}")],
    )  # fmt: skip
    made.series(
        "Open, by age", "Many young ones at once: everybody had to come again.", "short",
        [prom(gauge("ws_connection_age", "age"), "{{age}}")], stacked=True,
    )  # fmt: skip
    made.series(
        "How long they lasted", "From accept to close.", "s", quantiles("ws_connection_duration_seconds", 0.5, 0.95)
    )
    busy = rate("ws_connection_busy_time_seconds_total", "http_route")
    made.series(
        "Idle", "Share of the time in which open connections wait and no handler runs.", "percentunit",
        [prom(f"clamp_min(1 - {busy} / ({gauge('ws_active_connections', 'http_route')} > 0), 0)", "{{http_route}}")],
        top=1,
    )  # fmt: skip
    made.series(
        "In handlers", "Seconds of handlers in each second.", "s",
        [prom(busy, "{{http_route}}")], to="messages",
    )  # fmt: skip
    made.series(
        "Heartbeats", "Round trips that the application measured.", "s",
        quantiles("ws_ping_duration_seconds", 0.5, 0.95),
    )  # fmt: skip


def promises(made: Board) -> None:
    """The error budgets."""
    made.row("Promises")
    for window, calls in (("1h", "14.4 pages"), ("6h", "6 pages"), ("3d", "1 is a ticket")):
        made.series(
            f"Budget burns, over {window}",
            f"How many times as fast as the budget of 30 days allows: {calls}.", "none",
            [prom(f"{recorded(f'service_slo:errors:ratio_rate{window}')} / {BURN}", "{{slo}} {{service_name}}")],
        )  # fmt: skip


def details(made: Board) -> None:
    """Single connections."""
    made.row("One by one")
    made.lines(
        "Refused", "Connections that were not accepted, and verdicts that changed.",
        lines('event_name=~"WS_REJECT|WS_HEALTH"', *REFUSED),
    )  # fmt: skip
    made.traces("Refused", "Traces of connections that were not accepted.", traces('span.ws.outcome = "rejected"'))
    made.lines(
        "Ended by nobody", "Connections that were lost, without a word of either side.",
        lines('event_name="WS_DISCONNECT" | ws_close_initiator="lost"', "ws_role", "ws_close_code", "ws_duration"),
    )  # fmt: skip
    made.traces("Slow to set up", "Connects over half a second.", traces('name =~ "connect .*" && duration > 500ms'))
