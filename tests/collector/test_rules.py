"""Every alert by ``promtool test rules``: over its threshold it fires, not at it, it ends, and no data are no alarm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.collector.stack.promtool import rules, run

SERVICE = {"service_name": "shop", "deployment_environment_name": "test"}
HOST: dict[str, str] = {}
RESOLVED = 130

# Series of one level: per minute, a gauge's value or what a counter grows by.
Level = Mapping[str, float]


@dataclass(frozen=True)
class Counter:
    """A counter's selector and how much it grows each minute."""

    name: str
    labels: Mapping[str, str]
    step: float


@dataclass(frozen=True)
class Gauge:
    """A gauge's selector and its value."""

    name: str
    labels: Mapping[str, str]
    value: float


Series = Counter | Gauge


@dataclass(frozen=True)
class Case:
    """An alert, and series that make it fire, that are just not enough, and that are usual."""

    alert: str
    series: Callable[[float], list[Series]]
    fires: float
    edge: float
    usual: float
    labels: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=lambda: SERVICE)
    # Minutes: when it must fire, and when it must have ended.
    at: int = 40
    resolved: int = RESOLVED
    # Whether it fires where there are no data at all.
    on_absence: bool = False


def count(name: str, **labels: str) -> Callable[[float], list[Series]]:
    """One counter that grows."""
    return lambda step: [Counter(name, {**SERVICE, **labels}, step)]


def gauge(name: str, about: Mapping[str, str] = SERVICE, **labels: str) -> Callable[[float], list[Series]]:
    """One gauge."""
    return lambda value: [Gauge(name, {**about, **labels}, value)]


def share(name: str, bad: str, good: str, **more: str) -> Callable[[float], list[Series]]:
    """Of a hundred a minute, some have the bad value of a label ``status``."""
    return lambda percent: [
        Counter(name, {**SERVICE, **more, "status": bad}, percent),
        Counter(name, {**SERVICE, **more, "status": good}, 100 - percent),
    ]


def slow(name: str, low: str, high: str) -> Callable[[float], list[Series]]:
    """A histogram: of a hundred a minute some take longer than ``low``, none longer than ``high``."""

    def series(percent: float) -> list[Series]:
        counts = {low: 100 - percent, high: 100.0, "+Inf": 100.0}
        buckets = [Counter(f"{name}_bucket", {**SERVICE, "le": le}, step) for le, step in counts.items()]
        return [*buckets, Counter(f"{name}_count", SERVICE, 100)]

    return series


def refused(reason: str) -> Callable[[float], list[Series]]:
    """Of a hundred connections a minute, some are rejected."""
    return lambda percent: [
        Counter("ws_connection_rejections_total", {**SERVICE, "reason": reason}, percent),
        Counter("ws_connections_total", {**SERVICE, "status": "connected"}, 100 - percent),
        Counter("ws_connection_setup_duration_seconds_count", SERVICE, 100),
    ]


def unhealthy(percent: float) -> list[Series]:
    """A hundred connections."""
    return [
        Gauge("ws_connection_health", {**SERVICE, "state": "unhealthy"}, percent),
        Gauge("ws_connection_health", {**SERVICE, "state": "healthy"}, 100 - percent),
    ]


def http(percent: float) -> list[Series]:
    """A hundred requests a minute."""
    name = "http_server_request_duration_seconds_count"
    return [
        Counter(name, {**SERVICE, "http_response_status_code": "503"}, percent),
        Counter(name, {**SERVICE, "http_response_status_code": "200"}, 100 - percent),
    ]


def burns(percent: float) -> list[Series]:
    """A hundred messages a minute, and connections to them."""
    return [
        *share("ws_messages_total", "error", "success")(percent),
        Gauge("ws_active_connections", SERVICE, 50),
    ]


def queue(size: float) -> list[Series]:
    """One queue of a hundred places."""
    at = {"exporter": "otlp_grpc/tempo"}
    return [Gauge("otelcol_exporter_queue_size", at, size), Gauge("otelcol_exporter_queue_capacity", at, 100)]


def signals(name: str, at: Mapping[str, str]) -> Callable[[float], list[Series]]:
    """The collector counts each signal under a name of its own."""
    return lambda step: [Counter(f"{name}_{signal}", at, step) for signal in ("spans", "log_records", "metric_points")]


def broken(count: float) -> list[Series]:
    """What a log that is read at the start had wrong; the time is that since the start."""
    at = {"job": "prometheus", "instance": "prometheus:9090"}
    return [Gauge("prometheus_tsdb_wal_corruptions_total", at, count), Gauge("process_start_time_seconds", at, 0)]


def once(name: str, **labels: str) -> Callable[[float], list[Series]]:
    """A counter of a program that begins with it, at 0."""
    return lambda step: [Counter(name, labels, step)]


def limited(alert: str, reason: str, most: float) -> Case:
    """A rate limit: ``most`` within five minutes."""
    series = count("ws_ratelimit_events_total", reason=reason)
    return Case(alert, series, most / 5 + 1, most / 5, 0, labels={"reason": reason})


def burn(alert: str, edge: float) -> Case:
    """A burn rate: ``edge`` is the percentage that just does not burn fast enough."""
    return Case(alert, burns, edge + 1, edge, 0, labels={"slo": "messages"}, resolved=520)


EXPORTER, RECEIVER = {"exporter": "otlp_grpc/tempo"}, {"receiver": "otlp"}
CASES = [
    Case("ConnectionsBelowFloor", gauge("ws_active_connections"), 9, 10, 40, at=600, resolved=720),
    Case("ConnectionFailureRate", refused("HANDLER_ERROR"), 12, 10, 1),
    Case("FailedConnections", count("ws_connection_rejections_total", reason="JWT_EXPIRED"), 51, 50, 1),
    Case("ConnectionHealthLow", unhealthy, 12, 10, 0),
    Case("SetupSlow", slow("ws_connection_setup_duration_seconds", "2", "5"), 8, 5, 0),
    Case("DeliverySlow", slow("ws_message_latency_seconds", "0.5", "1"), 8, 5, 0),
    Case("ErrorRateHigh", share("ws_messages_total", "error", "success"), 7, 5, 0),
    Case("ErrorBurst", count("ws_errors_total", error_type="ValueError"), 21, 20, 0),
    Case("AuthFailuresExpired", count("ws_auth_failures_total", reason="JWT_EXPIRED"), 5, 4, 0,
         labels={"reason": "JWT_EXPIRED"}),
    Case("AuthFailuresInvalid", count("ws_auth_failures_total", reason="JWT_INVALID"), 5, 4, 0,
         labels={"reason": "JWT_INVALID"}),
    limited("RateLimitMessages", "MSG_RATE", 100),
    limited("RateLimitConnections", "CONN_LIMIT", 20),
    limited("RateLimitRooms", "ROOM_FULL", 20),
    limited("RateLimitPayloads", "PAYLOAD_TOO_BIG", 10),
    Case("BroadcastFailures", share("ws_broadcasts_total", "failed", "sent"), 7, 5, 0),
    Case("BroadcastSlow", slow("ws_broadcast_duration_seconds", "0.1", "0.25"), 8, 5, 0),
    Case("LayerBacklog", gauge("ws_layer_depth", service_instance_id="a"), 1001, 1000, 3),
    Case("LayerBacklogCritical", gauge("ws_layer_depth", service_instance_id="a"), 10_001, 10_000, 3),
    Case("LayerDrops", count("ws_layer_dropped_total", reason="CHANNEL_FULL"), 1, 0, 0),
    Case("LayerCapacity", gauge("ws_layer_capacity_ratio", queue="channel"), 0.95, 0.9, 0.1),
    Case("EventLoopBlocked", slow("ws_event_loop_lag_seconds", "0.25", "0.5"), 3, 0.9, 0),
    Case("HttpErrors", http, 7, 5, 0),
    Case("HttpSlow", slow("http_server_request_duration_seconds", "2", "5"), 8, 5, 0),
    Case("DatabaseQueryRate", count("db_client_operation_duration_seconds_count"), 60_060, 60_000, 600),
    Case("NotReady", count("ws_readiness_total", component="database", status="error"), 1, 0, 0,
         labels={"component": "database"}),
    # Five after forty minutes.
    Case("PaymentFailures", count("tournament_payments_total", status="declined", method="card"), 0.2, 0.125, 0),
    Case("MemoryHigh", gauge("system_memory_utilization_ratio", HOST, state="used"), 0.9, 0.85, 0.4, about=HOST),
    # Utilization is the part in use, of which the edge is 0.8; 1 - 0.8 is a little less than 0.2.
    Case("DiskLow", gauge("system_filesystem_utilization_ratio", HOST, mountpoint="/", state="used"), 0.9, 0.79, 0.2,
         labels={"mountpoint": "/"}, about=HOST),
    Case("CollectorDown", gauge("up", HOST, job="collector", instance="collector:8888"), 0, 1, 1,
         labels={"job": "collector", "instance": "collector:8888"}, about=HOST, on_absence=True),
    Case("CollectorQueueFull", queue, 81, 80, 1, labels=EXPORTER, about=HOST),
    Case("CollectorRefuses", signals("otelcol_receiver_refused", RECEIVER), 1, 0, 0, labels=RECEIVER, about=HOST),
    Case("CollectorDrops", signals("otelcol_exporter_enqueue_failed", EXPORTER), 1, 0, 0, labels=EXPORTER, about=HOST),
    Case("BackendDown", gauge("up", HOST, job="loki", instance="loki:3100"), 0, 1, 1,
         labels={"job": "loki", "instance": "loki:3100"}, about=HOST),
    Case("SamplingDrops", once("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"), 1, 0, 0,
         about=HOST),
    Case("TempoDiscards", once("tempo_discarded_spans_total", reason="trace_too_large"), 1, 0, 0,
         labels={"reason": "trace_too_large"}, about=HOST),
    Case("WalCorrupted", broken, 1, 0, 0, labels={"job": "prometheus"}, about=HOST),
    Case("RulesFail", once("prometheus_rule_evaluation_failures_total", rule_group="a"), 1, 0, 0, about=HOST),
    Case("NotificationsFail", once("alertmanager_notifications_failed_total", integration="slack", reason="other"),
         1, 0, 0, labels={"integration": "slack"}, about=HOST),
    burn("ErrorBudgetBurn1h", 7), burn("ErrorBudgetBurn6h", 3),
    burn("ErrorBudgetBurn1d", 1), burn("ErrorBudgetBurn3d", 0),
]  # fmt: skip

# Alerts about what happened before: their series change on the way, so they are told minute by minute.
TOLD: dict[str, dict[str, Any]] = {
    "ConnectionsLost": {
        "series": "ws_active_connections",
        "fires": ("5x30 0x40 5x400", 40, 100),
        "edge": ("4x30 0x40 4x400", 40),
        "usual": ("5x30 1x40 5x400", 40),
    },
    "TelemetryAbsent": {
        "series": "ws_active_connections",
        "fires": ("5x30 _x30 5x400", 50, 100),
        # A gap of four minutes is no absence.
        "edge": ("5x30 _x4 5x400", 36),
        "usual": ("5x400", 50),
    },
}


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Every alert that the bundle has."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def selector(one: Series) -> str:
    """A series as promtool writes it."""
    return one.name + "{" + ", ".join(f'{key}="{value}"' for key, value in one.labels.items()) + "}"


def values(case: Case, one: Series, later: Series) -> str:
    """What a series says: one level until the change, then the other."""
    change, rest = case.at + 1, 600
    if isinstance(one, Counter) and isinstance(later, Counter):
        reached = one.step * change
        return f"0+{one.step}x{change} {reached + later.step}+{later.step}x{rest}"
    assert isinstance(one, Gauge)
    assert isinstance(later, Gauge)
    return f"{one.value}x{change} {later.value}x{rest}"


def expected(case: Case) -> dict[str, Any]:
    """The alert as it must fire."""
    return {"exp_labels": {**case.about, **case.labels, **alerts()[case.alert]["labels"]}}


def scenario(case: Case, level: float, *, fires: bool) -> dict[str, Any]:
    """One run: the level, then the usual."""
    first, then = case.series(level), case.series(case.usual)
    looks = [{"eval_time": f"{case.at}m", "alertname": case.alert, "exp_alerts": [expected(case)] if fires else []}]
    if fires:
        looks.append({"eval_time": f"{case.resolved}m", "alertname": case.alert, "exp_alerts": []})
    return {
        "interval": "1m",
        "input_series": [
            {"series": selector(one), "values": values(case, one, later)}
            for one, later in zip(first, then, strict=True)
        ],
        "alert_rule_test": looks,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_over_its_threshold_alone_and_ends(case: Case, tmp_path: Path) -> None:
    """Over the threshold it fires with its labels and later ends; at it, below it and without data it does not."""
    nothing = {
        "interval": "1m",
        "input_series": [],
        "alert_rule_test": [
            {
                "eval_time": "40m",
                "alertname": case.alert,
                "exp_alerts": [{"exp_labels": {"job": "collector", **alerts()[case.alert]["labels"]}}]
                if case.on_absence
                else [],
            }
        ],
    }
    scenarios = [
        scenario(case, case.fires, fires=True),
        scenario(case, case.edge, fires=False),
        scenario(case, case.usual, fires=False),
        nothing,
    ]

    done = run(tmp_path, scenarios, case.alert)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", TOLD)
def test_an_alert_about_a_change_fires_after_it_alone_and_ends(name: str, tmp_path: Path) -> None:
    """It fires after the change, not after a smaller one, ends when things are back, and is silent without data."""
    told = TOLD[name]
    fires = {"exp_labels": {**SERVICE, **alerts()[name]["labels"]}}
    series = told["series"] + "{" + ", ".join(f'{key}="{value}"' for key, value in SERVICE.items()) + "}"

    def story(values: str, looks: dict[int, bool]) -> dict[str, Any]:
        return {
            "interval": "1m",
            "input_series": [{"series": series, "values": values}] if values else [],
            "alert_rule_test": [
                {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": [fires] if does else []}
                for minute, does in looks.items()
            ],
        }

    firing, at, ended = told["fires"]
    done = run(
        tmp_path,
        [
            story(firing, {20: False, at: True, ended: False}),
            story(told["edge"][0], {told["edge"][1]: False}),
            story(told["usual"][0], {told["usual"][1]: False}),
            story("", {60: False}),
        ],
        name,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_cases() -> None:
    """No alert is without a test, and no test without an alert."""
    assert {case.alert for case in CASES} | set(TOLD) | {"Watchdog"} == set(alerts())


def test_the_watchdog_always_fires(tmp_path: Path) -> None:
    """From the first minute, whatever there is."""
    looks = [{"eval_time": f"{minute}m", "alertname": "Watchdog", "exp_alerts": [{"exp_labels": said}]}
             for said in (alerts()["Watchdog"]["labels"],) for minute in (0, 1, 600)]  # fmt: skip

    done = run(tmp_path, [{"interval": "1m", "input_series": [], "alert_rule_test": looks}], "Watchdog")

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_weekend_is_no_business_hour(tmp_path: Path) -> None:
    """Few connections on a Saturday, and before eight on a Friday, call nobody."""
    series = selector(Gauge("ws_active_connections", SERVICE, 3))
    look = {"alertname": "ConnectionsBelowFloor", "exp_alerts": []}
    # Time begins on a Thursday.
    scenarios = [
        {
            "interval": "10m",
            "input_series": [{"series": series, "values": "3x600"}],
            "alert_rule_test": [{"eval_time": moment, **look} for moment in ("58h", "31h", "44h")],
        }
    ]

    done = run(tmp_path, scenarios, "ConnectionsBelowFloor")

    assert done.returncode == 0, done.stdout + done.stderr


def test_names_that_people_already_use_say_the_same(tmp_path: Path) -> None:
    """The compatibility names have the labels and the sums that home-made metrics have."""
    scenarios = [
        {
            "interval": "1m",
            "input_series": [
                {"series": f'ws_active_connections{{http_route="/{room}/", transport="websocket", role="player", '
                 f'scope_type="match", service_name="shop"}}', "values": f"{number}x5"}
                for room, number in (("a", 2), ("b", 3))
            ]
            + [
                {"series": f'ws_messages_total{{type="move", status="{status}", service_name="shop"}}', "values": "4x5"}
                for status in ("success", "error")
            ]
            + [
                {"series": f'ws_connection_rejections_total{{reason="JWT_EXPIRED", close_code="{code}"}}',
                 "values": "1x5"}
                for code in ("4401", "1006")
            ],
            "promql_expr_test": [
                {"expr": expression, "eval_time": "3m", "exp_samples": [{"labels": labels, "value": value}]}
                for expression, labels, value in (
                    ("ws_active_connections_gauge",
                     'ws_active_connections_gauge{role="player", scope_type="match", service_name="shop"}', 5),
                    ("ws_connections_active", 'ws_connections_active{service_name="shop"}', 5),
                    ("ws_messages_received_total",
                     'ws_messages_received_total{service_name="shop", type="move"}', 8),
                    ("ws_connection_failures_total", 'ws_connection_failures_total{reason="JWT_EXPIRED"}', 2),
                )
            ],
        }
    ]  # fmt: skip

    names = ("ws_active_connections_gauge", "ws_connections_active", "ws_messages_received_total")
    done = run(tmp_path, scenarios, *names, "ws_connection_failures_total")

    assert done.returncode == 0, done.stdout + done.stderr
