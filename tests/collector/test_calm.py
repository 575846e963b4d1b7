"""Who is not called: one failure of a quiet service, a gap in the watch, a deploy; and what goes on is not called over.

Stories of series by ``promtool test rules``, minute by minute.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.collector.stack.places import ROOT
from tests.collector.stack.promtool import rules, run

SERVICE = 'service_name="shop",deployment_environment_name="test"'
COLLECTOR = 'job="collector",instance="collector:8888"'
TEMPO = 'job="tempo",instance="tempo:3200"'
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
HEARD = f"process_cpu_utilization_ratio{{{SERVICE}}}"


def story(
    series: Mapping[str, str],
    looks: Mapping[str, tuple[str, ...]] | None = None,
    figures: Mapping[str, tuple[str, float]] | None = None,
    *,
    watched: tuple[str, ...] = (),
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Series, who is called at which minute of those that are watched, and what an expression is at which minute."""
    about = {"service_name": "shop", "deployment_environment_name": "test"} if labels is None else dict(labels)
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {
                "eval_time": minute,
                "alertname": name,
                "exp_alerts": [{"exp_labels": {**about, **ALERTS[name]["labels"]}}] if name in called else [],
            }
            for minute, called in (looks or {}).items()
            for name in watched
        ],
        "promql_expr_test": [
            {"expr": expression, "eval_time": minute, "exp_samples": [{"labels": "{}", "value": value}]}
            for expression, (minute, value) in (figures or {}).items()
        ],
    }


def assert_told(folder: Path, stories: list[dict[str, Any]], *names: str) -> None:
    """Promtool finds each story as it is told."""
    done = run(folder, stories, *names)
    assert done.returncode == 0, done.stdout + done.stderr


# --- a quiet service ------------------------------------------------------------------------------------------
def of(name: str, **labels: str) -> str:
    """A series of the service."""
    return name + "{" + ",".join([SERVICE, *(f'{key}="{value}"' for key, value in labels.items())]) + "}"


# Ten in an hour; the one that fails is the only one within some minutes.
FEW, ONE_FAILS, SIX_FAIL = "0+0.15x600", "0x99 1x500", "0x99 1 2 3 4 5 6x500"
# What is done, and what of it fails.
PROMISES = {
    "messages": [of("ws_messages_total", status=status) for status in ("success", "error")],
    "connect": [
        of("ws_connection_setup_duration_seconds_count"),
        of("ws_connection_rejections_total", reason="HANDLER_ERROR"),
    ],
}


@pytest.mark.parametrize("promise", PROMISES)
def test_one_failure_of_a_quiet_service_breaks_no_promise(promise: str, tmp_path: Path) -> None:
    """Though it is a tenth of what the service does in an hour; six of them call somebody."""
    usual, failed = PROMISES[promise]
    burns = ("ErrorBudgetBurn1h", "ErrorBudgetBurn6h")
    one = story({usual: FEW, failed: ONE_FAILS}, {"104m": (), "110m": ()}, watched=burns)
    six = story(
        {usual: FEW, failed: SIX_FAIL},
        {"108m": ("ErrorBudgetBurn1h",)},
        watched=("ErrorBudgetBurn1h",),
        labels={"service_name": "shop", "deployment_environment_name": "test", "slo": promise},
    )

    assert_told(tmp_path, [one, six], *burns)


def test_one_slow_message_of_a_quiet_service_breaks_no_promise(tmp_path: Path) -> None:
    """It is all that came within five minutes, and a tenth of the hour."""
    series = {
        of("ws_message_latency_seconds_count"): "0+0.1x99 11+0.1x150",
        of("ws_message_latency_seconds_bucket", le="0.5"): "0+0.1x99 10+0.1x150",
    }
    burns = ("ErrorBudgetBurn1h", "ErrorBudgetBurn6h")

    assert_told(tmp_path, [story(series, {"103m": (), "108m": ()}, watched=burns)], *burns)


SHARES = {
    "HttpErrors": [
        of("http_server_request_duration_seconds_count", http_response_status_code=code) for code in ("200", "500")
    ],
    "BroadcastFailures": [of("ws_broadcasts_total", status=status) for status in ("sent", "failed")],
}


@pytest.mark.parametrize("name", SHARES)
def test_a_few_failures_of_a_few_are_no_outage(name: str, tmp_path: Path) -> None:
    """One a minute of two calls nobody, two a minute of four do."""
    good, bad = SHARES[name]
    few = story({good: "0+1x60", bad: "0+1x60"}, {"40m": ()}, watched=(name,))
    more = story({good: "0+2x60", bad: "0+2x60"}, {"40m": (name,)}, watched=(name,))

    assert_told(tmp_path, [few, more], name)


def test_a_readiness_check_that_failed_once_or_twice_calls_nobody(tmp_path: Path) -> None:
    """Three within five minutes do."""
    series = of("ws_readiness_total", component="database", status="error")
    labels = {"service_name": "shop", "deployment_environment_name": "test", "component": "database"}
    looks = [
        story({series: values}, {"43m": called}, watched=("NotReady",), labels=labels)
        for values, called in (("3x40 4x60", ()), ("3x40 4 4x60", ()), ("3x39 4 5 6x60", ("NotReady",)))
    ]

    assert_told(tmp_path, looks, "NotReady")


def test_messages_to_connections_that_ended_call_nobody(tmp_path: Path) -> None:
    """They are usual in a deploy; what is lost otherwise is told."""
    gone, full = (of("ws_layer_dropped_total", reason=reason) for reason in ("CONSUMER_GONE", "CHANNEL_FULL"))
    looks = [
        story({gone: "0+3x60"}, {"40m": ()}, watched=("LayerDrops",)),
        story({gone: "0+3x60", full: "0x38 1x60"}, {"40m": ("LayerDrops",)}, watched=("LayerDrops",)),
    ]

    assert_told(tmp_path, looks, "LayerDrops")


# --- a gap in the watch ---------------------------------------------------------------------------------------
# Whole lives, which nobody may take for what happened within minutes.
LIVES = {
    of("ws_errors_total"): 5000,
    of("ws_auth_failures_total", reason="JWT_INVALID"): 500,
    of("ws_connection_rejections_total", reason="JWT_EXPIRED"): 5000,
    of("ws_connections_total", status="connected"): 5000,
    of("ws_layer_dropped_total", reason="EXPIRED"): 1,
    of("tournament_payments_total", status="declined"): 9,
    f'otelcol_exporter_send_failed_spans{{{COLLECTOR},exporter="otlp_grpc/tempo"}}': 7,
    f'otelcol_receiver_refused_spans{{{COLLECTOR},receiver="otlp"}}': 7,
    f'tempo_discarded_spans_total{{{TEMPO},reason="trace_too_large"}}': 7,
    HEARD: 1,
    f"up{{{COLLECTOR}}}": 1,
    f"up{{{TEMPO}}}": 1,
}
COUNTING = (
    "ErrorBurst", "AuthFailuresInvalid", "FailedConnections", "ConnectionFailureRate", "LayerDrops", "PaymentFailures",
    "CollectorDrops", "CollectorRefuses", "TempoDiscards",
)  # fmt: skip


def test_a_gap_or_a_new_volume_calls_nobody(tmp_path: Path) -> None:
    """Prometheus was away for seventy minutes, or has just begun: nothing happened meanwhile that it could know of."""
    away = {series: f"{value}x30 _x70 {value}x120" for series, value in LIVES.items()}
    new = {series: f"{value}x120" for series, value in LIVES.items()}
    after = {f"{minute}m": () for minute in (102, 104, 107, 112, 155, 165)}
    begun = {f"{minute}m": () for minute in (2, 4, 6, 7, 12, 59, 62)}

    assert_told(tmp_path, [story(away, after, watched=COUNTING), story(new, begun, watched=COUNTING)], *COUNTING)


def test_a_process_that_is_heard_of_later_is_no_increase(tmp_path: Path) -> None:
    """Under a new Prometheus the processes of a service are heard of one after the other."""
    name = "service:ws_errors:increase5m"
    series = {
        of("process_cpu_utilization_ratio", service_instance_id="a"): "1x30",
        of("process_cpu_utilization_ratio", service_instance_id="b"): "_ 1x30",
        of("ws_errors_total", service_instance_id="a"): "5000x30",
        of("ws_errors_total", service_instance_id="b"): "_ 5000x30",
    }
    stories = [story(series, figures={f"sum({name})": (f"{minute}m", 0)}) for minute in (3, 5, 6, 7, 12)]

    assert_told(tmp_path, stories, name)


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("service:ws_errors:increase5m", of("ws_errors_total", service_instance_id="a")),
        ("service_reason:ws_auth_failures:increase5m", of("ws_auth_failures_total", reason="JWT_INVALID")),
        ("service_reason:ws_layer_dropped:increase5m", of("ws_layer_dropped_total", reason="EXPIRED")),
        ("service:payment_failures:increase1h", of("tournament_payments_total", status="declined")),
        ("exporter:otelcol_lost:increase5m", f'otelcol_exporter_send_failed_spans{{{COLLECTOR},exporter="tempo"}}'),
        ("reason:tempo_discarded_spans:increase5m", f'tempo_discarded_spans_total{{{TEMPO},reason="trace_too_large"}}'),
    ],
)
def test_the_first_of_its_kind_counts(name: str, series: str, tmp_path: Path) -> None:
    """A service, or a program, that was heard of before says something for the first time: all of it is new."""
    heard = {HEARD: "1x100", f"up{{{COLLECTOR}}}": "1x100", f"up{{{TEMPO}}}": "1x100"}
    told = story({**heard, series: "_x80 7x20"}, figures={f"sum({name})": ("82m", 7)})

    assert_told(tmp_path, [told], name)


# --- what goes on ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "values"), [("ConnectionsLost", "5x30 0x400 5x60"), ("TelemetryAbsent", "5x30 _x400 5x60")]
)
def test_a_page_lasts_as_long_as_its_outage(name: str, values: str, tmp_path: Path) -> None:
    """Hours after it began it still stands; it ends when things are back."""
    looks: dict[str, tuple[str, ...]] = {"40m": (name,), "100m": (name,), "420m": (name,), "440m": ()}

    assert_told(tmp_path, [story({of("ws_active_connections"): values}, looks, watched=(name,))], name)


def test_an_evening_calls_nobody(tmp_path: Path) -> None:
    """Connections that end one by one, until there is none."""
    values = "8x60 " + " ".join(f"{left}x60" for left in (4, 3, 2, 1)) + " 0x300"
    looks: dict[str, tuple[str, ...]] = {"310m": (), "400m": ()}
    series = {of("ws_active_connections"): values}

    assert_told(tmp_path, [story(series, looks, watched=("ConnectionsLost",))], "ConnectionsLost")


def test_silence_is_told_after_six_minutes(tmp_path: Path) -> None:
    """As the alert's text and its page say."""
    # The rules are looked at once a minute here, and one of them reads what another wrote.
    name, looks = "TelemetryAbsent", {"35m": (), "37m": ("TelemetryAbsent",)}

    assert_told(tmp_path, [story({of("ws_active_connections"): "5x30 _x30"}, looks, watched=(name,))], name)
    assert "6 minutes" in ALERTS[name]["annotations"]["description"]


def test_a_rule_that_failed_once_calls_nobody(tmp_path: Path) -> None:
    """The next evaluation looked again; one that goes on failing does."""
    name, series = "RulesFail", 'prometheus_rule_evaluation_failures_total{rule_group="a"}'
    minutes = tuple(f"{minute}m" for minute in range(38, 50))
    once = story({series: "0x39 1x60"}, dict.fromkeys(minutes, ()), watched=(name,), labels={})
    always = story({series: "0x39 1+1x60"}, {"43m": (), "46m": (name,), "60m": (name,)}, watched=(name,), labels={})

    assert_told(tmp_path, [once, always], name)


def test_a_receiver_that_fails_is_told_until_it_works(tmp_path: Path) -> None:
    """One failure in ten minutes is all that there is of one that nobody reaches."""
    name = "NotificationsFail"
    series = 'alertmanager_notifications_failed_total{integration="slack",reason="other"}'
    values = "0x39 " + " ".join(f"{count}x9" for count in range(1, 5)) + " 5x60"
    looks: dict[str, tuple[str, ...]] = {f"{minute}m": (name,) for minute in range(41, 90, 3)}
    told = story({series: values}, {**looks, "39m": (), "96m": ()}, watched=(name,), labels={"integration": "slack"})

    assert_told(tmp_path, [told], name)


def test_a_broken_log_is_told_over_a_weekend(tmp_path: Path) -> None:
    """From the start that found it, for three days; what a program counted that was not restarted since is no news."""
    name, at = "WalCorrupted", 'job="loki",instance="loki:3100"'
    series = {f'loki_ingester_wal_corruptions_total{{{at},type="segment"}}': "1x9000",
              f"process_start_time_seconds{{{at}}}": "0x9000"}  # fmt: skip
    looks: dict[str, tuple[str, ...]] = {"1m": (name,), "71h": (name,), "73h": ()}

    assert_told(tmp_path, [story(series, looks, watched=(name,), labels={"job": "loki"})], name)


# --- pages ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", ["LayerBacklog", "LayerBacklogCritical"])
def test_a_message_waits_once_however_many_processes_see_it(page: str, tmp_path: Path) -> None:
    """The first query of the page, about a layer that two processes look at."""
    text = (ROOT / "docs" / "runbooks" / f"{page}.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"## Look.*?```promql\n(.*?)\n", text, re.DOTALL)
    seen = {of("ws_layer_depth", queue="channel", service_instance_id=one): "600x30" for one in ("a", "b")}

    assert_told(tmp_path, [story(seen, figures={f"sum({query.replace('SERVICE', 'shop')})": ("10m", 600)})])
