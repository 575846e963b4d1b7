"""Alerts that fire because something really happened, with the bundle's own thresholds, and reach whoever is called.

What is shortened are the waits: how long a condition must hold, and how long a silent series is taken for alive. The
business hours are all hours. Of three things only the telemetry is real, and made by hand: SENT says why.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.collector.stack import rare, sending
from tests.collector.stack.example import EXAMPLE, SERVICE
from tests.collector.stack.places import BUNDLE, ROOT
from tests.collector.stack.programs import Stack, call, eventually
from tests.collector.stack.questions import Questions
from tests.collector.stack.rare import DATABASE
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
    "DiskLow",
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
        alerts = [alert for message in self.called.told for alert in message.body["alerts"]]
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
    """Everything but what alerts do not need."""
    data = tmp_path_factory.mktemp("incidents")
    with Stack(data, profile="") as stack, Web(stack.webhook_port) as called:
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
    asked = sending.Service(SERVICE)
    sent = sending.post(
        scene.stack, rare.growing(asked, [rare.histogram(DATABASE, {"db.operation.name": "SELECT"}, 10**6)])
    )
    assert sent[0] == 200
    # Nobody but the collector may say this, so it goes past it.
    host = rare.growing(sending.Service("host"), [rare.gauge("system.memory.utilization", {"state": "used"}, 0.9, "1")])
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
    options = scene.stack.more_options
    scene.stack.stop("collector")
    limits = {"limit_mib": 8, "spike_limit_mib": 4}
    options["collector"] = [
        f"--config=yaml:processors::memory_limiter::{key}: {value}" for key, value in limits.items()
    ]
    scene.stack.start("collector")
    answers = set()
    for _ in range(10):
        answers.add(sending.post(scene.stack, sending.numbered_logs(sending.Service("full"), 60))[0])
        time.sleep(1)
    scene.expect({"CollectorRefuses"})
    scene.stack.stop("collector")
    options.pop("collector")
    scene.stack.start("collector")

    assert 503 in answers


def test_a_collector_that_is_away_calls_somebody(scene: Scene) -> None:
    """Whoever watches must be watched."""
    scene.stack.stop("collector")
    scene.expect({"CollectorDown"})
    scene.stack.start("collector")
