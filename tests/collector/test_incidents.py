"""Alerts that fire because something really happened, with the bundle's own thresholds, and reach whoever is called.

What is shortened are the waits: how long a condition must hold, and how long a silent series is taken for alive. The
business hours are all hours. Of three things only the telemetry is real, and made by hand: SENT says why.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_ws.semconv import Instrument
from tests.collector.stack import sending
from tests.collector.stack.desk import alert, fire
from tests.collector.stack.driving import DATABASE, foreign_series
from tests.collector.stack.example import EXAMPLE, SERVICE
from tests.collector.stack.places import BUNDLE, ROOT, SECRETS
from tests.collector.stack.programs import Stack, call, eventually
from tests.collector.stack.questions import Questions
from tests.collector.stack.receivers import Web
from tests.collector.stack.waits import open_all_hours, set_in_collector, shorten_alerts

AFFLICTED = Path(__file__).parent / "stack" / "afflicted"
PATIENCE = 90.0

# What happens to the example, and the alerts that must follow; the first few always run, all in `nox -s incidents`.
EXAMPLES = {
    # A quantile is over five minutes of everybody: what is slow comes before the crowds that are refused at once.
    "slow connect": {"SetupSlow"},
    "blocked loop": {"EventLoopBlocked"},
    "invalid tokens": {"AuthFailuresInvalid", "ConnectionFailureRate"},
    "payments": {"PaymentFailures"},
    "slow handler": {
        "DeliverySlow",
        "ErrorBudgetBurn1h",
        "ErrorBudgetBurn6h",
        "ErrorBudgetBurn1d",
        "ErrorBudgetBurn3d",
    },
    "expired tokens": {"AuthFailuresExpired"},
    "hammered": {"FailedConnections"},
    "floods": {"RateLimitMessages"},
    "too many connections": {"RateLimitConnections"},
    "full room": {"RateLimitRooms"},
    "payloads": {"RateLimitPayloads"},
    "slow layer": {"BroadcastSlow"},
    "slow network": {"ConnectionHealthLow"},
    "slow pages": {"HttpSlow"},
    "database away": {"NotReady", "HttpErrors"},
    "no worker": {"LayerBacklog", "LayerBacklogCritical", "LayerCapacity", "LayerDrops"},
    "layer away": {"BroadcastFailures"},
    "crashes": {"ErrorRateHigh", "ErrorBurst"},
    "few": {"ConnectionsBelowFloor"},
    "crowd": {"ConnectionsLost"},
}
# What happens to the stack itself.
STACK = {
    "TelemetryAbsent", "BackendDown", "CollectorQueueFull", "CollectorDrops", "CollectorRefuses", "CollectorDown",
    "DiskLow", "SamplingDrops", "TempoDiscards", "WalCorrupted", "RulesFail", "NotificationsFail",
}  # fmt: skip
# Not made to happen: 300,000 queries in five minutes, and a host without memory, which would be the test's own.
SENT = {"DatabaseQueryRate", "MemoryHigh"}
ALWAYS = ("invalid tokens", "payments")


class Scene:
    """A stack with short waits, somebody who is called, and the example, to which things happen."""

    def __init__(self, stack: Stack, called: Web) -> None:
        self.stack, self.called, self.ask = stack, called, Questions(stack)
        self._example: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def happening(self, incident: str) -> Iterator[None]:
        """Make something happen to the example, which is started for the first thing that does."""
        example = self._example or self._start()
        assert example.stdin is not None
        example.stdin.write(f"{incident}\n")
        example.stdin.flush()
        try:
            yield
        finally:
            self._await("done")

    def _start(self) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DJANGO_"))}
        path = os.pathsep.join(filter(None, [str(EXAMPLE), str(AFFLICTED), kept.get("PYTHONPATH", "")]))
        with self.stack.log_of("example").open("ab") as log:
            self._example = subprocess.Popen(
                [sys.executable, str(AFFLICTED / "incidents.py"), self.stack.url("collector")],
                env={**kept, "PYTHONPATH": path, "AFFLICTION": str(self.stack.data / "affliction")},
                cwd=EXAMPLE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._await("ready")
        return self._example

    def _await(self, word: str) -> None:
        assert self._example is not None
        assert self._example.stdout is not None
        said = self._example.stdout.readline().strip()
        if said != word:
            # The next incident begins with another one.
            self.end_example()
        assert said == word, f"the example ended: {self.stack.log('example')[-2000:]}"

    def end_example(self) -> None:
        """The example stops, as in a deploy that nobody finishes."""
        example, self._example = self._example, None
        if example is not None:
            example.communicate(timeout=60)

    @contextlib.contextmanager
    def collector_with(self, *settings: str) -> Iterator[None]:
        """The collector with other settings, each one line of YAML with ``::`` between its keys."""
        self.stack.stop("collector")
        self.stack.more_options["collector"] = [f"--config=yaml:{setting}" for setting in settings]
        self.stack.start("collector")
        yield
        self.stack.stop("collector")
        del self.stack.more_options["collector"]
        self.stack.start("collector")

    def firing(self) -> dict[str, dict[str, Any]]:
        """Alerts that Prometheus has firing, by name."""
        alerts = self.ask.json("prometheus", "/api/v1/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    def held_back(self) -> set[str]:
        """Alerts that Alertmanager keeps to itself, because one of them calls for the same thing already."""
        alerts = self.ask.json("alertmanager", "/api/v2/alerts") or []
        return {alert["labels"]["alertname"] for alert in alerts if alert["status"]["inhibitedBy"]}

    def told(self, name: str) -> dict[str, Any] | None:
        """The alert as whoever is called was told of it."""
        alerts = [alert for message in self.called.told for alert in message.body.get("alerts", ())]
        found = [alert for alert in alerts if alert["labels"]["alertname"] == name]
        return found[0] if found else None

    def expect(self, names: set[str]) -> None:
        """Each fires; each was told, with its texts filled in, its runbook and no person; a ticket may be held back."""
        seen: dict[str, dict[str, Any]] = {}

        def all_fire() -> bool:
            seen.update(self.firing())
            return names <= set(seen)

        eventually(all_fire, PATIENCE)
        assert names <= set(seen), sorted(seen)
        for name in sorted(names):
            alert = seen[name]
            reached = eventually(lambda name=name: self.told(name) or name in self.held_back(), PATIENCE)  # type: ignore[misc]
            assert reached, name
            assert alert["labels"]["severity"] == "ticket" or self.told(name), name
            texts = alert["annotations"]
            assert texts["runbook_url"] == f"docs/runbooks/{name}.md"
            assert (ROOT / texts["runbook_url"]).is_file()
            assert "<no value>" not in str(texts)
            assert "error expanding" not in str(texts)
            if "service_name" in alert["labels"]:
                assert SERVICE in texts["summary"] or "full" in texts["summary"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything but what alerts do not need; a program and a chat are told."""
    data = tmp_path_factory.mktemp("incidents")
    with Stack(data, profile="") as stack, Web(stack.webhook_port) as called:
        slack = stack.places.url("webhook", 80, "/slack")
        stack.places.folder(SECRETS).joinpath("alert_slack_url").write_text(slack, encoding="utf-8")
        shorten_alerts(stack)
        open_all_hours(stack)
        set_in_collector(stack, "queue_size: 500000", "queue_size: 5000")
        stack.more_options["prometheus"] = ["--query.lookback-delta=15s"]
        stack.start("prometheus", "alertmanager", "loki", "tempo", "collector")
        scene = Scene(stack, called)
        yield scene
        scene.end_example()
    shutil.rmtree(data, ignore_errors=True)


@pytest.mark.parametrize(
    "incident", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.incident) for name in EXAMPLES]
)
def test_what_happens_to_the_example_calls_somebody(incident: str, scene: Scene) -> None:
    """The alert fires at its own threshold, and is told with its runbook."""
    with scene.happening(incident):
        scene.expect(EXAMPLES[incident])


def test_every_alert_has_its_incident() -> None:
    """No alert of the bundle was only ever seen in a calculation."""
    files = (BUNDLE / "prometheus" / "rules").glob("*.yml")
    groups = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    shipped = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}

    assert set().union(STACK, SENT, *EXAMPLES.values()) | {"Watchdog"} == shipped


def test_the_watchdog_is_heard(scene: Scene) -> None:
    """Nothing has happened, and a program is told so."""
    scene.expect({"Watchdog"})


@pytest.mark.incident
def test_what_is_only_sent_calls_somebody(scene: Scene) -> None:
    """The telemetry of a database that is asked too much, and of a host without memory."""
    asked, began = sending.Service(SERVICE), time.time_ns() - 60 * 10**9
    none, many = (foreign_series(DATABASE, {"db.operation.name": "SELECT"}, number) for number in (0, 10**6))
    queries = sending.numbers(asked, [none], began, began)
    queries.MergeFrom(sending.numbers(asked, [many], began))
    assert sending.post(scene.stack, queries)[0] == 200
    # Nobody but the collector may say this, so it goes past it.
    used = sending.Series("system.memory.utilization", Instrument.GAUGE, {"state": "used"}, 0.9, "1")
    host = sending.numbers(sending.Service("host"), [used])
    url = scene.stack.url("prometheus", "/api/v1/otlp/v1/metrics")
    assert call(url, host.SerializeToString(), {"content-type": "application/x-protobuf"})[0] == 200

    scene.expect(SENT)


@pytest.mark.incident
def test_silence_calls_somebody(scene: Scene) -> None:
    """A service that was there, and is not heard of any more."""
    with scene.happening("payments"):
        pass
    eventually(lambda: scene.ask.samples(f'ws_active_connections{{service_name="{SERVICE}"}}'))
    scene.end_example()

    scene.expect({"TelemetryAbsent"})


@pytest.mark.incident
def test_a_backend_that_is_away_calls_somebody(scene: Scene) -> None:
    """First that it is away, then that its queue fills, then that something is lost."""
    scene.stack.stop("loki")
    scene.expect({"BackendDown"})
    for _ in range(9):
        sending.post(scene.stack, sending.numbered_logs(sending.Service("full"), 500))
    scene.expect({"CollectorQueueFull"})
    for _ in range(5):
        sending.post(scene.stack, sending.numbered_logs(sending.Service("full"), 500))
    scene.expect({"CollectorDrops"})
    scene.stack.start("loki")


@pytest.mark.incident
def test_a_collector_that_refuses_calls_somebody(scene: Scene) -> None:
    """Its memory limit is reached: it takes nothing, says so to whoever sends, and goes on."""
    answers = set()
    limits = [
        f"processors::memory_limiter::{key}: {value}" for key, value in (("limit_mib", 8), ("spike_limit_mib", 4))
    ]
    with scene.collector_with(*limits):
        for _ in range(10):
            answers.add(sending.post(scene.stack, sending.numbered_logs(sending.Service("full"), 60))[0])
            time.sleep(1)
        scene.expect({"CollectorRefuses"})

    assert 503 in answers


@pytest.mark.incident
def test_traces_that_find_no_room_call_somebody(scene: Scene) -> None:
    """More of them wait for their sampling decision than the collector keeps."""
    with scene.collector_with("processors::tail_sampling::num_traces: 10"):
        for _ in range(5):
            crowd = [sending.Span() for _ in range(100)]
            assert sending.post(scene.stack, sending.spans(sending.Service("full"), crowd))[0] == 200
            time.sleep(1)
        scene.expect({"SamplingDrops"})


@pytest.mark.incident
def test_a_trace_that_never_ends_calls_somebody(scene: Scene) -> None:
    """It grows over what Tempo takes of one, by Tempo's own limit, and the collector hears nothing of it."""
    endless = sending.Span()
    said = dict.fromkeys(("user.id", "tournament.id", "match.id", "ws.connection.id"), sending.ID)
    for _ in range(16):
        more = [sending.Span(attributes=dict(said), trace_id=endless.trace_id, parent=endless) for _ in range(2000)]
        assert sending.post(scene.stack, sending.spans(sending.Service("full"), more))[0] == 200
        # The queue to Tempo is made small here.
        assert eventually(lambda: not scene.ask.value('otelcol_exporter_queue_size{exporter="otlp_grpc/tempo"}'))
        time.sleep(1)

    scene.expect({"TempoDiscards"})

    assert not scene.ask.value('sum(exporter:otelcol_lost:increase5m{exporter="otlp_grpc/tempo"})')


@pytest.mark.incident
def test_a_rule_that_fails_calls_somebody(scene: Scene) -> None:
    """One of the operator's own, which finds two series where it wants one."""
    own = scene.stack.places.files / "prometheus" / "rules" / "own.yml"
    own.write_text("groups: [{name: own, rules: [{record: own, expr: up * on () up}]}]", encoding="utf-8")
    prometheus = scene.stack.running["prometheus"]
    prometheus.send_signal(signal.SIGHUP)

    scene.expect({"RulesFail"})

    own.unlink()
    prometheus.send_signal(signal.SIGHUP)


@pytest.mark.incident
def test_a_broken_log_calls_somebody(scene: Scene) -> None:
    """What Prometheus wrote last is not what it reads when it starts."""
    scene.stack.stop("prometheus", patience=20)
    newest = max((scene.stack.places.folder("/prometheus") / "wal").glob("0*"))
    with newest.open("r+b") as log:
        log.seek(newest.stat().st_size * 9 // 10)
        log.write(b"\xff" * 64)
    scene.stack.start("prometheus")

    scene.expect({"WalCorrupted"})


def test_a_receiver_that_fails_is_told_by_another(scene: Scene) -> None:
    """A chat's address is no longer good: whoever is called otherwise hears that it is not called that way."""
    scene.called.refuses.add("slack")
    fire(scene.stack, alert("HttpErrors", "away"))

    scene.expect({"NotificationsFail"})

    scene.called.refuses.clear()
    assert eventually(lambda: [one for one in scene.called.told if one.receiver == "slack" and "by slack" in one.text])


def test_a_collector_that_is_away_calls_somebody(scene: Scene) -> None:
    """Whoever watches must be watched."""
    scene.stack.stop("collector")
    scene.expect({"CollectorDown"})
    scene.stack.start("collector")
