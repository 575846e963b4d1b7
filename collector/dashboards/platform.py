"""What all of it stands on: HTTP, database, processes, the host; and the business, here that of the example."""

from __future__ import annotations

from collector.dashboards.board import Board
from collector.dashboards.queries import (
    prom,
    quantile,
    quantiles,
    rate,
    recorded,
    select,
    table,
    total,
    traces,
)

HTTP = "http_server_request_duration_seconds"
DATABASE = "db_client_operation_duration_seconds"
CALLS, SPANS = "traces_span_metrics_calls_total", "traces_span_metrics_duration_seconds"
OPT_IN = "Applications need OTEL_SEMCONV_STABILITY_OPT_IN=http,database for it."
SERVED = 'span_kind="SPAN_KIND_SERVER"'
NOT_READY = 'status="error"'
FIVE = 'http_response_status_code=~"5.."'


def board() -> Board:
    """The dashboard."""
    made = Board("platform", "HTTP, database and business", "What all of it stands on, and what it is for.")
    verdicts(made)
    http(made)
    database(made)
    processes(made)
    business(made)
    spans(made)
    made.runbooks()
    return made


def verdicts(made: Board) -> None:
    """What one sees first."""
    made.row("Does it carry?")
    made.verdict(
        "HTTP failed", f"Share of the requests with a 5xx status, over 5 minutes. {OPT_IN}", "percentunit",
        f"max({recorded('service:http_server_errors:ratio5m')})", 0.01, 0.05, width=3,
    )  # fmt: skip
    made.verdict(
        "HTTP, p95",
        f"Over 5 minutes. {OPT_IN}",
        "s",
        f"max({recorded('service:http_server_seconds:p95_5m')})",
        1,
        2,
        width=3,
    )
    made.verdict(
        "Queries", f"Of the database, a second. {OPT_IN}", "ops",
        f"max({recorded('service:db_queries:rate5m')})", 500, 1000,
        width=3,
    )  # fmt: skip
    made.verdict(
        "Event loop late, p99", "How late it runs what is due: something blocks it.", "s",
        f"max({recorded('service:ws_event_loop_lag_seconds:p99_5m')})", 0.1, 0.25, to="messages", width=3,
    )  # fmt: skip
    made.verdict(
        "Not ready", "Failed checks of /readiness within 5 minutes.", "short",
        f"sum(increase({select('ws_readiness_total', NOT_READY)}[5m])) or vector(0)", 1, width=3,
    )  # fmt: skip
    made.verdict(
        "Memory of the host", "In use.", "percentunit", 'max(system_memory_utilization_ratio{state="used"})', 0.7, 0.85,
        width=3,
    )  # fmt: skip
    made.verdict(
        "Payments declined", "Within an hour.", "short",
        f"sum({recorded('service:payment_failures:increase1h')}) or vector(0)", 1, 5, width=3,
    )  # fmt: skip
    made.firing(width=3)


def http(made: Board) -> None:
    """Requests."""
    made.row("HTTP")
    made.series(
        "Requests, by status", f"A second. {OPT_IN}", "reqps",
        [prom(rate(f"{HTTP}_count", "http_response_status_code"), "{{http_response_status_code}}")],
    )  # fmt: skip
    made.series(
        "Failed, by route", "Requests a second with a 5xx status.", "reqps",
        [prom(rate(f"{HTTP}_count", "http_route", "http_response_status_code", where=FIVE),
              "{{http_response_status_code}} {{http_route}}")], to="errors",
    )  # fmt: skip
    made.series("Duration", "Of requests.", "s", quantiles(HTTP, 0.5, 0.95, 0.99))
    made.series("p95, by route", "Of requests.", "s", [prom(quantile(0.95, HTTP, "http_route"), "{{http_route}}")])
    made.rows(
        "How many requests", "Within the time that is shown.", "short",
        table(total(f"{HTTP}_count", "http_route", "http_response_status_code")),
    )  # fmt: skip
    failed = traces("span.http.response.status_code >= 500")
    made.traces("Failed requests", "Traces with a 5xx status.", failed, width=8)


def database(made: Board) -> None:
    """Queries."""
    made.row("Database")
    made.series(
        "Queries, by operation", f"A second. {OPT_IN}", "ops",
        [prom(rate(f"{DATABASE}_count", "db_operation_name"), "{{db_operation_name}}")],
    )  # fmt: skip
    made.series(
        "p95, by operation", "Of queries.", "s",
        [prom(quantile(0.95, DATABASE, "db_operation_name"), "{{db_operation_name}}")],
    )  # fmt: skip
    made.series(
        "Client spans", "Calls a second of what the application asks: also where a driver has no metrics of its own.",
        "ops", [prom(rate(CALLS, "span_name", where='span_kind="SPAN_KIND_CLIENT"'), "{{span_name}}")],
    )  # fmt: skip


def processes(made: Board) -> None:
    """Processes and the host."""
    made.row("Processes and host")
    made.series(
        "Memory", "Resident, of each process.", "bytes",
        [prom(select("process_memory_usage_bytes"), "{{service_name}} {{service_instance_id}}")],
    )  # fmt: skip
    made.series(
        "CPU", "Of each process; 100 % are all CPUs of the host.", "percentunit",
        [prom(select("process_cpu_utilization_ratio"), "{{service_name}} {{service_instance_id}}")],
    )  # fmt: skip
    made.series("Event loop", "How late it ran a timer.", "s", quantiles("ws_event_loop_lag_seconds", 0.5, 0.95, 0.99))
    made.series(
        "Readiness", "What /readiness asked, a second.", "ops",
        [prom(rate("ws_readiness_total", "component", "status"), "{{component}} {{status}}")],
    )  # fmt: skip
    made.series(
        "Memory of the host", "By what it is used for.", "percentunit",
        [prom("sum by (state) (system_memory_utilization_ratio)", "{{state}}")], stacked=True,
    )  # fmt: skip
    made.series(
        "Disk of the telemetry", "In use.", "percentunit",
        [prom("max by (mountpoint) (system_filesystem_utilization_ratio)", "{{mountpoint}}")], to="telemetry", top=1,
    )  # fmt: skip


def business(made: Board) -> None:
    """The example's counters: put yours here."""
    made.row("Business (the example's; put yours here)")
    payments = ("method", "status")
    made.series(
        "Payments", "Attempts a second, by status and method.", "ops",
        [prom(rate("tournament_payments_total", *payments), "{{status}} {{method}}")],
    )  # fmt: skip
    made.rows("How many payments", "Within the time that is shown.", "short",
              table(total("tournament_payments_total", *payments)))  # fmt: skip
    made.series(
        "Registrations", "A second.", "ops",
        [prom(rate("tournament_registrations_total", "service_name"), "{{service_name}}")],
    )  # fmt: skip
    made.series(
        "Matches", "A second, by what happened to them.", "ops",
        [prom(rate("tournament_matches_total", "status"), "{{status}}")],
    )  # fmt: skip
    made.series(
        "Coins", "That changed hands, a second.", "ops", [prom(rate("tournament_coins_total", "reason"), "{{reason}}")]
    )
    made.rows("How many coins", "Within the time that is shown.", "short",
              table(total("tournament_coins_total", "reason")))  # fmt: skip


def spans(made: Board) -> None:
    """Metrics that the collector makes of spans, before any is left out."""
    made.row("Spans")
    made.series(
        "Served, by span", "A second, all of them: counted before sampling.", "ops",
        [prom(f"topk(10, {rate(CALLS, 'span_name', where=SERVED)})", "{{span_name}}")],
    )  # fmt: skip
    made.series(
        "p95, by span", "The ten slowest.", "s",
        [prom(f"topk(10, {quantile(0.95, SPANS, 'span_name', where=SERVED)})", "{{span_name}}", exemplars=True)],
    )  # fmt: skip
    made.series(
        "Who calls whom", "Calls a second from one service to another.", "ops",
        [prom('sum by (client, server) (rate(traces_service_graph_request_total{server=~"$service"}'
              "[$__rate_interval]))", "{{client}} to {{server}}")],
    )  # fmt: skip
