"""What goes wrong and what is refused: errors, tokens, limits, and whose ids stand behind most of it."""

from __future__ import annotations

from collector.dashboards.board import Board
from collector.dashboards.queries import counted, lines, most, prom, rate, recorded, table, total, traces

ERROR = ("error_type", "error_category", "error_severity", "ws_handler")
REFUSED = 'event_name=~"WS_RATELIMIT_REJECT|WS_AUTH_FAIL|WS_REJECT"'


def board() -> Board:
    """The dashboard."""
    made = Board("errors", "Errors and security", "What goes wrong, what is refused, and whose ids stand behind it.")
    verdicts(made)
    wrong(made)
    refused(made)
    behind(made)
    details(made)
    made.runbooks()
    return made


def sum5m(rule: str) -> str:
    """What a rule counted within five minutes; nothing is no error."""
    return f"sum({recorded(rule)}) or vector(0)"


def verdicts(made: Board) -> None:
    """What one sees first."""
    made.row("Is anything wrong, is anybody attacking?")
    about = "Within 5 minutes."
    made.verdict("Errors", about, "short", sum5m("service:ws_errors:increase5m"), 10, 100)
    made.verdict("Tokens refused", about, "short", sum5m("service_reason:ws_auth_failures:increase5m"), 10, 20)
    made.verdict("Over a limit", about, "short", sum5m("service_reason:ws_ratelimit_events:increase5m"), 20, 100)
    made.verdict(
        "Connections refused", about, "short", sum5m("service_reason:ws_connection_rejections:increase5m"), 50, 250,
        to="connections",
    )  # fmt: skip
    made.verdict(
        "Messages failed", "Share of the messages, over 5 minutes.", "percentunit",
        f"max({recorded('service:ws_message_errors:ratio5m')})", 0.01, 0.05, to="messages",
    )  # fmt: skip
    made.firing()


def wrong(made: Board) -> None:
    """Errors."""
    made.row("Errors")
    made.series(
        "By type", "The exception's class; its text never leaves the process.", "ops",
        [prom(rate("ws_errors_total", "error_type"), "{{error_type}}")],
    )  # fmt: skip
    made.series(
        "By category", "What broke.", "ops", [prom(rate("ws_errors_total", "error_category"), "{{error_category}}")]
    )
    made.series(
        "By severity", "How bad it is for users.", "ops",
        [prom(rate("ws_errors_total", "error_severity"), "{{error_severity}}")],
    )  # fmt: skip
    made.series(
        "By route", "Where.", "ops", [prom(rate("ws_errors_total", "http_route"), "{{http_route}}")], to="messages"
    )
    made.rows(
        "How many", "Within the time that is shown.", "short",
        table(total("ws_errors_total", "error_type", "error_category", "error_severity")), width=16,
    )  # fmt: skip


def refused(made: Board) -> None:
    """Refusals."""
    made.row("Refused")
    made.series(
        "Tokens, by reason", "JWT_EXPIRED: a client that does not renew. JWT_INVALID: an attack, or a new key.", "ops",
        [prom(rate("ws_auth_failures_total", "reason"), "{{reason}}")],
    )  # fmt: skip
    made.series(
        "Limits, by reason", "Who asks too often, too much, or for a full room.", "ops",
        [prom(rate("ws_ratelimit_events_total", "reason"), "{{reason}}")],
    )  # fmt: skip
    made.series(
        "Connections, by route", "Refused before they were accepted.", "cps",
        [prom(rate("ws_connection_rejections_total", "http_route"), "{{http_route}}")], to="connections",
    )  # fmt: skip
    made.rows(
        "Tokens, how many", "Within the time that is shown.", "short", table(total("ws_auth_failures_total", "reason"))
    )
    made.rows(
        "Limits, how many", "Within the time that is shown.", "short",
        table(total("ws_ratelimit_events_total", "reason", "transport")),
    )  # fmt: skip
    made.bars(
        "Refusals told", "Log records of refusals, by event.", "short", [counted(REFUSED, "event_name")],
    )  # fmt: skip


def behind(made: Board) -> None:
    """Ids, which only log records and spans have."""
    made.row("Who is behind it")
    made.ranks(
        "Users refused most", "By id, within the time that is shown; who is behind an id your application knows.",
        "short", most(REFUSED, "user_id"),
    )  # fmt: skip
    made.ranks(
        "Tournaments refused most", "By id, within the time that is shown.", "short",
        most('event_name=~"WS_RATELIMIT_REJECT|WS_REJECT"', "tournament_id"),
    )  # fmt: skip
    made.ranks(
        "Users with most errors", "By id, within the time that is shown.", "short",
        most('event_name="WS_ERROR"', "user_id"),
    )  # fmt: skip


def details(made: Board) -> None:
    """Single errors and refusals."""
    made.row("One by one")
    made.lines(
        "Errors", "Class, category and handler; a trace stands behind each.", lines('event_name="WS_ERROR"', *ERROR)
    )
    made.traces("Failed", "Traces with an error; at most 500 spans a second are kept.", traces("status = error"))
    made.lines(
        "Refusals",
        "Of tokens, limits and connections.",
        lines(REFUSED, "ws_reason", "ws_close_code", "http_route", "ws_retry_after"),
    )
    made.traces(
        "Refused", "Traces of what was refused; at most 500 spans a second are kept.",
        traces('(span.ws.outcome = "rejected" || span.ws.outcome = "permission_denied")'),
    )  # fmt: skip
