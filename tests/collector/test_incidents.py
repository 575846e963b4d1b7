"""Alerts that fire because something really happened, with the bundle's own thresholds, and reach whoever is called.

What is shortened are the waits: how long a condition must hold, and how long a silent series is taken for alive.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from tests.collector.stack import sending
from tests.collector.stack.example import EXAMPLE, SERVICE
from tests.collector.stack.places import ROOT
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions

AFFLICTED = Path(__file__).parent / "stack" / "afflicted"
PATIENCE = 60.0

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
    "layer away": {"BroadcastFailures"},
    "crashes": {"ErrorRateHigh", "ErrorBurst"},
    "crowd": {"ConnectionsLost"},
}
ALWAYS = ("invalid tokens", "payments")


class Called:
    """Whoever is called: takes Alertmanager's webhook and keeps what it says; a context manager."""

    def __init__(self, port: int) -> None:
        self.alerts: list[dict[str, Any]] = []
        called = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                called.alerts += body["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing: the test says what it saw."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Scene:
    """A stack with short waits, somebody who is called, and the example, to which things happen."""

    def __init__(self, stack: Stack, called: Called) -> None:
        self.stack, self.called, self.ask = stack, called, Questions(stack)
        self._example: subprocess.Popen[str] | None = None

    def happen(self, incident: str) -> None:
        """Make something happen to the example, which is started for the first thing that does."""
        example = self._example or self._start()
        assert example.stdin is not None
        example.stdin.write(f"{incident}\n")
        example.stdin.flush()
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
        found = [alert for alert in self.called.alerts if alert["labels"]["alertname"] == name]
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
    with Stack(data, profile="") as stack, Called(stack.webhook_port) as called:
        for path in (stack.places.files / "prometheus" / "rules").glob("*.yml"):
            path.write_text(re.sub(r"\bfor: \d+m\b", "for: 1s", path.read_text()))
        file = stack.places.files / "otelcol" / "collector.yaml"
        file.write_text(file.read_text().replace("queue_size: 500000", "queue_size: 5000"))
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
    scene.happen(incident)

    scene.expect(EXAMPLES[incident])


@pytest.mark.incident
def test_silence_calls_somebody(scene: Scene) -> None:
    """A service that was there, and is not heard of any more."""
    scene.happen("payments")
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
