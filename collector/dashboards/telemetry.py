"""Whether all the others can be believed: the library's own failures, the collector, its queues, the backends."""

from __future__ import annotations

from collector.dashboards.board import Board
from collector.dashboards.queries import lines, prom, rate, select, table, total

SUMMARY = ("service_name", *(f"ws_total_{one}" for one in ("active", "received", "sent", "rejected", "errors")))
SIGNALS = ("spans", "metric_points", "log_records")
WATCHED = "prometheus|loki|tempo|alertmanager|collector"
NOTHING_YET = "sum by (exporter) (0 * otelcol_exporter_queue_capacity)"


def board() -> Board:
    """The dashboard."""
    made = Board("telemetry", "Telemetry health", "Whether all the other dashboards can be believed.")
    verdicts(made)
    library(made)
    collector(made)
    queues(made)
    backends(made)
    made.runbooks()
    return made


def verdicts(made: Board) -> None:
    """What one sees first."""
    made.row("Can it be believed?")
    made.needed("Collector", "1: Prometheus gets an answer of it.", "short", 'min(up{job="collector"})', 1)
    made.verdict(
        "Lost in 5 minutes", "Records that the collector lost on the way to a backend.", "short",
        "sum(exporter:otelcol_lost:increase5m) or vector(0)", 1,
    )  # fmt: skip
    made.verdict(
        "Refused in 5 minutes", "Records that the collector did not take; senders try again.", "short",
        "sum(receiver:otelcol_refused:increase5m) or vector(0)", 1,
    )  # fmt: skip
    made.verdict(
        "Fullest queue", "Of the collector; what comes when it is full is lost.", "percentunit",
        "max(otelcol_exporter_queue_size / (otelcol_exporter_queue_capacity > 0))", 0.5, 0.8,
    )  # fmt: skip
    made.verdict(
        "Failures of otel-ws", "Its own, in the time that is shown; the application never saw them.", "short",
        f"sum({total('ws_telemetry_errors_total', 'service_name')}) or vector(0)", 1,
    )  # fmt: skip
    made.firing()


def library(made: Board) -> None:
    """What applications say of themselves."""
    made.row("In the applications")
    made.series(
        "Heard of", "Processes whose metrics arrive.", "short",
        [prom(f"count by (service_name) ({select('process_cpu_utilization_ratio')})", "{{service_name}}")],
        stacked=True,
    )  # fmt: skip
    made.series(
        "Removed, by signal and kind", "Values a second that the policy removed or replaced.", "ops",
        [prom(rate("ws_privacy_redactions_total", "signal", "kind"), "{{signal}} {{kind}}")],
    )  # fmt: skip
    made.rows(
        "How many were removed", "Within the time that is shown.", "short",
        table(total("ws_privacy_redactions_total", "signal", "kind")),
    )  # fmt: skip
    made.series(
        "Failures of otel-ws, by place", "A second; each is in the application's log once.", "ops",
        [prom(rate("ws_telemetry_errors_total", "place"), "{{place}}")],
    )  # fmt: skip
    made.rows(
        "How many failures", "Within the time that is shown.", "short",
        table(total("ws_telemetry_errors_total", "place")),
    )  # fmt: skip
    made.lines(
        "Summaries", "What each process says every five minutes.", lines('event_name="WS_SUMMARY"', *SUMMARY), width=8
    )


def collector(made: Board) -> None:
    """What it takes, keeps and passes on."""
    made.row("Collector")
    made.series(
        "Taken", "Records a second.", "cps",
        [prom(f"sum by (receiver) (rate(otelcol_receiver_accepted_{one}[$__rate_interval]))", f"{one} {{{{receiver}}}}")
         for one in SIGNALS],
    )  # fmt: skip
    made.series(
        "Passed on", "Records a second.", "cps",
        [prom(f"sum by (exporter) (rate(otelcol_exporter_sent_{one}[$__rate_interval]))", f"{one} {{{{exporter}}}}")
         for one in SIGNALS],
    )  # fmt: skip
    made.series(
        "Refused", "Records within 5 minutes that it did not take: its memory limit, or a full queue.", "short",
        [prom("receiver:otelcol_refused:increase5m", "{{receiver}}")],
    )  # fmt: skip
    made.series(
        "Lost", "Records within 5 minutes that no backend got: a queue was full, or the backend did not want them.",
        "short", [prom(f"exporter:otelcol_lost:increase5m or {NOTHING_YET}", "{{exporter}}")],
    )  # fmt: skip
    made.series(
        "Traces kept", "A second, by the rule that decided.", "ops",
        [prom('sum by (policy) (rate(otelcol_processor_tail_sampling_count_traces_sampled{decision="sampled"}'
              "[$__rate_interval]))", "{{policy}}")],
    )  # fmt: skip
    made.series(
        "Traces, kept or not", "A second; dropped before: there was no room to wait for the decision.", "ops",
        [prom("sum by (decision) (rate(otelcol_processor_tail_sampling_global_count_traces_sampled"
              "[$__rate_interval]))", "{{decision}}"),
         prom("sum(rate(otelcol_processor_tail_sampling_sampling_trace_dropped_too_early[$__rate_interval]))",
              "dropped before")],
    )  # fmt: skip


def queues(made: Board) -> None:
    """What waits on its disk, and what it needs."""
    made.row("Queues and memory")
    made.series(
        "Waiting", "Records on disk for each backend; a backend that is away is seen here first.", "short",
        [prom("sum by (exporter) (otelcol_exporter_queue_size)", "{{exporter}}")],
    )  # fmt: skip
    made.series(
        "How full", "100 % is full; what comes then is lost.", "percentunit",
        [prom("max by (exporter) (otelcol_exporter_queue_size / (otelcol_exporter_queue_capacity > 0))",
              "{{exporter}}")], top=1,
    )  # fmt: skip
    made.series(
        "Memory of the collector", "Resident.", "bytes",
        [prom("otelcol_process_memory_rss", "resident"), prom("otelcol_process_runtime_heap_alloc_bytes", "heap")],
    )  # fmt: skip
    made.series(
        "CPU of the collector", "CPUs.", "none", [prom("rate(otelcol_process_cpu_seconds[$__rate_interval])", "CPUs")]
    )
    made.series(
        "Traces that wait for their decision", "In memory alone: a crash loses them.", "short",
        [prom("otelcol_processor_tail_sampling_sampling_traces_on_memory", "traces")],
    )  # fmt: skip
    made.series(
        "Disk", "Free, under queues and backends.", "percentunit",
        [prom("1 - max by (mountpoint) (system_filesystem_utilization_ratio)", "{{mountpoint}}")], to="platform", top=1,
    )  # fmt: skip


def backends(made: Board) -> None:
    """Whoever keeps it."""
    made.row("Backends")
    made.series(
        "Answer", "1: Prometheus gets an answer.", "short",
        [prom(f'min by (job) (up{{job=~"{WATCHED}"}})', "{{job}}")], top=1,
    )  # fmt: skip
    made.series(
        "Series", "That Prometheus has in memory: what costs most.", "short",
        [prom("prometheus_tsdb_head_series", "series")],
    )  # fmt: skip
    made.series(
        "Written", "Samples, lines and spans a second.", "cps",
        [prom("sum(rate(prometheus_tsdb_head_samples_appended_total[$__rate_interval]))", "samples"),
         prom("sum(rate(loki_distributor_lines_received_total[$__rate_interval]))", "lines"),
         prom("sum(rate(tempo_distributor_spans_received_total[$__rate_interval]))", "spans")],
    )  # fmt: skip
    made.series(
        "Lost by a backend",
        "Spans that Tempo discarded within 5 minutes, and broken logs that Prometheus found at its start.", "short",
        [prom("reason:tempo_discarded_spans:increase5m", "spans: {{reason}}"),
                  prom("prometheus_tsdb_wal_corruptions_total", "broken logs")],
    )  # fmt: skip
    made.series(
        "Rules that fail", "Evaluations a second: an alert that is not looked at.", "ops",
        [prom("sum(rate(prometheus_rule_evaluation_failures_total[$__rate_interval]))", "failures")],
    )  # fmt: skip
    made.series(
        "Alerts sent and not delivered", "Notifications of Alertmanager a second, and those that failed.", "ops",
        [prom("sum by (integration) (rate(alertmanager_notifications_total[$__rate_interval]))", "{{integration}}"),
         prom("sum by (integration) (rate(alertmanager_notifications_failed_total[$__rate_interval]))",
              "failed: {{integration}}")],
    )  # fmt: skip
    made.series(
        "Alerts not sent", "That Prometheus could not hand to Alertmanager, a second.", "ops",
        [prom("sum(rate(prometheus_notifications_dropped_total[$__rate_interval]))", "dropped")],
    )  # fmt: skip
