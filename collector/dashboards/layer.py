"""What passes between processes: the channel layer's lag, queues and losses, broadcasts, and workers' tasks."""

from __future__ import annotations

from collector.dashboards.board import Board
from collector.dashboards.queries import (
    gauge,
    lines,
    now,
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

TEMPLATE = "messaging_destination_template"
TASK = ("ws_handler", "ws_message_type", "ws_outcome", "ws_duration")
TASKS = "messaging_process_duration_seconds_count"
OPERATION = "messaging_operation_name"
NAMED = f"{{{{{TEMPLATE}}}}}"


def board() -> Board:
    """The dashboard."""
    made = Board("layer", "Channel layer and workers", "What passes between processes, what waits there, what is lost.")
    verdicts(made)
    flow(made)
    queues(made)
    broadcasts(made)
    workers(made)
    details(made)
    made.runbooks()
    return made


def verdicts(made: Board) -> None:
    """What one sees first."""
    made.row("Does it get through?")
    made.verdict(
        "Wait in the layer", "Messages that wait now.", "short",
        f"max({recorded('service:ws_layer_depth:max')})", 1000, 10000,
    )  # fmt: skip
    made.verdict(
        "Fullest queue", "How full it is; what comes when it is full is lost.", "percentunit",
        f"max({select('ws_layer_capacity_ratio')})", 0.7, 0.9,
    )  # fmt: skip
    made.verdict(
        "Lag, p95", "From sending to the handler.", "s",
        f"max({quantile(0.95, 'ws_layer_lag_seconds', 'service_name')})", 0.25, 1, to="messages",
    )  # fmt: skip
    lost = recorded("service_reason:ws_layer_dropped:increase5m", 'reason!="CONSUMER_GONE"')
    made.verdict(
        "Lost in 5 minutes",
        "Deliveries that the layer lost; those to nobody, and to connections that ended, do not count.", "short",
        f"sum({lost}) or vector(0)", 1,
    )  # fmt: skip
    made.verdict(
        "Failed broadcasts", "Share of the messages to groups, over 5 minutes.", "percentunit",
        f"max({recorded('service:ws_broadcast_failures:ratio5m')})", 0.01, 0.05, to="errors",
    )  # fmt: skip
    made.firing()


def flow(made: Board) -> None:
    """What goes in and comes out."""
    made.row("In and out")
    made.series(
        "Sent, by operation", "Messages that the layer was given; one for a whole group is one.", "ops",
        [prom(rate("messaging_client_sent_messages_total", OPERATION), f"{{{{{OPERATION}}}}}")],
    )  # fmt: skip
    made.series(
        "Handled, by group", "Messages that a handler was given.", "ops",
        [prom(rate("messaging_client_consumed_messages_total", TEMPLATE), NAMED)],
    )  # fmt: skip
    made.series("Lag", "From sending to the handler.", "s", quantiles("ws_layer_lag_seconds", 0.5, 0.95, 0.99))
    made.series(
        "Lag, p95 by group", "From sending to the handler.", "s",
        [prom(quantile(0.95, "ws_layer_lag_seconds", TEMPLATE), NAMED)],
    )  # fmt: skip
    made.series(
        "Lost, by reason", "Deliveries a second that the layer lost.", "ops",
        [prom(rate("ws_layer_dropped_total", "reason"), "{{reason}}")],
    )  # fmt: skip
    made.rows(
        "How many were lost", "Within the time that is shown.", "short",
        table(total("ws_layer_dropped_total", "reason")),
    )  # fmt: skip


def queues(made: Board) -> None:
    """What waits."""
    made.row("Queues")
    depth = f"max by (queue, {TEMPLATE}) (sum by (queue, {TEMPLATE}, service_instance_id) ({select('ws_layer_depth')}))"
    made.series(
        "Waiting, by queue", "Messages that wait: of one consumer, of a process, or for workers.", "short",
        [prom(depth, "{{queue}} " + NAMED)],
    )  # fmt: skip
    made.series(
        "How full", "The fullest queue of each kind; 100 % is full.", "percentunit",
        [prom(f"max by (queue, {TEMPLATE}) ({select('ws_layer_capacity_ratio')})", "{{queue}} " + NAMED)],
    )  # fmt: skip
    made.series(
        "The oldest", "How long the oldest message has waited.", "s",
        [prom(f"max by (queue, {TEMPLATE}) ({select('ws_layer_oldest_age_seconds')})", "{{queue}} " + NAMED)],
    )  # fmt: skip
    made.series("Groups", "Groups with members.", "short", [prom(gauge("ws_layer_groups", TEMPLATE), NAMED)])
    made.series(
        "Memberships", "Of open connections.", "short", [prom(gauge("ws_layer_memberships", TEMPLATE), NAMED)],
        to="connections",
    )  # fmt: skip
    made.series(
        "Orphans", "Memberships that outlived their connection: somebody forgot group_discard.", "short",
        [prom(gauge("ws_layer_orphans", TEMPLATE), NAMED)],
    )  # fmt: skip


def broadcasts(made: Board) -> None:
    """Messages to groups."""
    made.row("Broadcasts")
    made.series(
        "Broadcasts, by outcome", "Messages to groups a second.", "ops",
        [prom(rate("ws_broadcasts_total", "status"), "{{status}}")],
    )  # fmt: skip
    made.series(
        "Until the layer took it, p95", "By group.", "s",
        [prom(quantile(0.95, "ws_broadcast_duration_seconds", TEMPLATE), NAMED)],
    )  # fmt: skip
    made.series(
        "Recipients, p95", "Channels that a broadcast was for, by group, where known.", "short",
        [prom(quantile(0.95, "ws_broadcast_recipients", TEMPLATE), NAMED)],
    )  # fmt: skip
    made.rows(
        "How many broadcasts", "Within the time that is shown.", "short",
        table(total("ws_broadcasts_total", TEMPLATE, "status")), width=12,
    )  # fmt: skip
    made.series(
        "Deliveries", "Recipients of broadcasts a second.", "ops",
        [prom(rate("ws_broadcast_recipients_sum", TEMPLATE), NAMED)], width=12,
    )  # fmt: skip


def workers(made: Board) -> None:
    """Tasks."""
    made.row("Workers")
    made.ranks(
        "At work", "Consumers that run in workers, and their handlers at work now.", "short",
        now(gauge("ws_workers", "component"), "{{component}}"),
    )  # fmt: skip
    made.series(
        "Tasks, by handler", "Messages a second that workers handled.", "ops",
        [prom(rate(TASKS, "ws_handler"), "{{ws_handler}}")],
    )  # fmt: skip
    made.series(
        "Time of tasks, p95", "By handler.", "s",
        [prom(quantile(0.95, "messaging_process_duration_seconds", "ws_handler"), "{{ws_handler}}")],
    )  # fmt: skip
    made.series(
        "Failed tasks", "Messages a second whose handler raised.", "ops",
        [prom(rate(TASKS, "error_type", where='error_type!=""'), "{{error_type}}")],
        to="errors", width=12,
    )  # fmt: skip
    made.rows(
        "How many tasks", "Within the time that is shown.", "short",
        table(total(TASKS, "ws_handler", "error_type")), width=12,
    )  # fmt: skip


def details(made: Board) -> None:
    """Single losses and tasks."""
    made.row("One by one")
    made.lines(
        "Losses", "What the layer lost, and broadcasts that failed; every 10 seconds at most, with their number.",
        lines(
            'event_name=~"WS_LAYER_DROP|WS_BROADCAST_FAIL"', "ws_reason", "messaging_destination_template", "ws_count"
        ),
    )  # fmt: skip
    made.lines("Tasks", "Slow and failed tasks of workers.", lines('event_name="WS_TASK"', *TASK))
    made.traces("Sent", "Traces of what was given to the layer.", traces('name =~ "publish .*"'))
    made.traces("Handled", "Traces of what came out of it.", traces('name =~ "process .*"'))
