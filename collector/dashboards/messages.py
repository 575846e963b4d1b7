"""What is said: how much, how fast, what fails, what waits, and who does not keep up."""

from __future__ import annotations

from collector.dashboards.board import Board
from collector.dashboards.queries import (
    buckets,
    lines,
    prom,
    quantile,
    quantiles,
    rate,
    recorded,
    table,
    total,
    traces,
)

SAID = ("ws_message_type", "ws_outcome", "ws_duration", "ws_message_size")
FAILED, DENIED = 'status="error"', 'status="permission_denied"'


def board() -> Board:
    """The dashboard."""
    made = Board("messages", "Messages", "What is said: how much, how fast, what fails, what waits.")
    verdicts(made)
    said(made)
    taken(made)
    waiting(made)
    details(made)
    made.runbooks()
    return made


def verdicts(made: Board) -> None:
    """What one sees first."""
    made.row("Are messages handled?")
    made.verdict(
        "From clients", "Messages a second.", "ops", f"sum({recorded('service:ws_messages:rate5m')})", to="connections"
    )
    made.verdict(
        "Failed", "Share of the messages that ended in an error, over 5 minutes.", "percentunit",
        f"max({recorded('service:ws_message_errors:ratio5m')})", 0.01, 0.05, to="errors",
    )  # fmt: skip
    made.verdict(
        "Handled in, p95", "Time in the handler, over 5 minutes.", "s",
        f"max({recorded('service:ws_message_latency_seconds:p95_5m')})", 0.25, 0.5,
    )  # fmt: skip
    made.verdict(
        "Waited, p95", "From its arrival, or its sending in the channel layer, until its handler began.", "s",
        f"max({quantile(0.95, 'ws_message_wait_seconds', 'service_name')})", 0.25, 1, to="layer",
    )  # fmt: skip
    made.verdict(
        "Slow clients, p99", "Until the server took a message for a client; long where clients do not read.", "s",
        f"max({quantile(0.99, 'ws_send_duration_seconds', 'service_name')})", 1, 5,
    )  # fmt: skip
    made.firing()


def said(made: Board) -> None:
    """How much."""
    made.row("How much")
    made.series(
        "From clients, by type", "Messages a second; what a client invents is unknown.", "ops",
        [prom(rate("ws_messages_total", "type"), "{{type}}")],
    )  # fmt: skip
    made.series(
        "From clients, by outcome", "Messages a second.", "ops",
        [prom(rate("ws_messages_total", "status"), "{{status}}")],
    )  # fmt: skip
    made.series(
        "To clients, by outcome", "Messages and events a second.", "ops",
        [prom(rate("ws_messages_sent_total", "status", "transport"), "{{status}} {{transport}}")],
    )  # fmt: skip
    made.series(
        "Failed, by type", "Messages a second whose handler raised.", "ops",
        [prom(rate("ws_messages_total", "type", where=FAILED), "{{type}}")], to="errors",
    )  # fmt: skip
    made.series(
        "Denied, by type", "Messages a second that the user may not send.", "ops",
        [prom(rate("ws_messages_total", "type", where=DENIED), "{{type}}")], to="errors",
    )  # fmt: skip
    made.rows(
        "How many", "Within the time that is shown.", "short", table(total("ws_messages_total", "type", "status"))
    )


def taken(made: Board) -> None:
    """How fast."""
    made.row("How fast")
    made.heat(
        "Time in handlers", "Each column shows how long messages took; a point is an exemplar, and opens its trace.",
        "s", buckets("ws_message_latency_seconds"),
    )  # fmt: skip
    made.series(
        "Time in handlers, quantiles", "A point is an exemplar, and opens its trace.", "s",
        quantiles("ws_message_latency_seconds", 0.5, 0.95, 0.99, exemplars=True), width=12,
    )  # fmt: skip
    made.series(
        "p95, by type", "Time in handlers.", "s",
        [prom(quantile(0.95, "ws_message_latency_seconds", "message_type"), "{{message_type}}", exemplars=True)],
    )  # fmt: skip
    made.series(
        "p95, by route", "Time in handlers.", "s",
        [prom(quantile(0.95, "ws_message_latency_seconds", "http_route"), "{{http_route}}")],
    )  # fmt: skip
    made.series(
        "Handled, by type", "Messages a second that a handler took.", "ops",
        [prom(rate("ws_message_latency_seconds_count", "message_type"), "{{message_type}}")],
    )  # fmt: skip


def waiting(made: Board) -> None:
    """What waits, here and at the clients."""
    made.row("What waits")
    made.series(
        "Wait for the handler", "From arrival, or sending in the channel layer, until the handler began.", "s",
        quantiles("ws_message_wait_seconds", 0.5, 0.95, 0.99), to="layer",
    )  # fmt: skip
    backlogged = rate("ws_message_backlogged_total", "http_route")
    waited = rate("ws_message_wait_seconds_count", "http_route")
    made.series(
        "Already queued", "Share of the messages that were there before they were asked for.", "percentunit",
        # Two rates of few samples need not agree to the last message.
        [prom(f"clamp_max({backlogged} / ({waited} > 0), 1)", "{{http_route}}")], top=1,
    )  # fmt: skip
    made.series(
        "Already queued, a second", "Messages that were there before they were asked for.", "ops",
        [prom(backlogged, "{{http_route}}")],
    )  # fmt: skip
    made.series(
        "Sending", "Until the server took the message: back-pressure of slow clients. Blind under daphne.", "s",
        quantiles("ws_send_duration_seconds", 0.5, 0.95, 0.99),
    )  # fmt: skip
    made.series(
        "Sending, p99 by route", "Where the slow clients are.", "s",
        [prom(quantile(0.99, "ws_send_duration_seconds", "http_route"), "{{http_route}}")], to="connections",
    )  # fmt: skip
    made.series(
        "Sends, by route", "Messages a second.", "ops",
        [prom(rate("ws_send_duration_seconds_count", "http_route"), "{{http_route}}")],
    )  # fmt: skip
    made.row("How big")
    made.series(
        "Sizes, p50", "Of one message.", "bytes",
        [prom(quantile(0.5, "ws_message_size_bytes", "direction"), "{{direction}}")],
    )  # fmt: skip
    made.series(
        "Sizes, p99", "Of one message.", "bytes",
        [prom(quantile(0.99, "ws_message_size_bytes", "direction"), "{{direction}}")],
    )  # fmt: skip
    made.series(
        "Bytes", "Bytes of messages a second.", "Bps",
        [prom(rate("ws_message_size_bytes_sum", "direction"), "{{direction}}")],
    )  # fmt: skip


def details(made: Board) -> None:
    """Single messages."""
    made.row("One by one")
    made.lines(
        "Slow or failed", "Messages over 100 ms, and those that failed.", lines('event_name="WS_MESSAGE"', *SAID)
    )
    made.traces(
        "Failed", "Traces of messages whose handler raised.", traces('span.ws.message.type != "" && status = error')
    )
    made.lines(
        "Denied", "Messages that the user may not send.",
        lines('event_name="WS_MESSAGE" | ws_outcome="permission_denied"', *SAID),
    )  # fmt: skip
    made.traces("The slowest", "Traces over 50 ms.", traces('span.ws.message.type != "" && duration > 50ms'))
