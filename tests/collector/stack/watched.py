"""What the dashboards are asked about: the example's run, what was sent beside it, and the moment to look from.

It knows how Grafana asks each backend, and refuses to know which answer is right.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import yaml

from tests.collector.stack import panels
from tests.collector.stack.driving import Driven
from tests.collector.stack.example import SERVICE, Count, Played
from tests.collector.stack.panels import INTERVAL_SECONDS, RANGE_SECONDS, SOURCES_FILE, STEP_SECONDS, Choice, Target
from tests.collector.stack.programs import eventually
from tests.collector.stack.questions import Questions

PLAYED: Final[Choice] = {"service": [SERVICE, f"{SERVICE}-worker"]}
DRIVEN: Final[Choice] = {"service": ["driven"], "environment": ["test"]}
BOTH: Final[Choice] = {"service": [*PLAYED["service"], *DRIVEN["service"]], "transport": ["websocket", "sse"]}
SOURCES: Final = {one["uid"]: one for one in yaml.safe_load(SOURCES_FILE.read_text(encoding="utf-8"))["datasources"]}
TARGETS: Final = panels.targets()
Series = tuple[dict[str, str], list[float]]


@dataclass
class Figures:
    """What was looked at; printed at the end."""

    seen: dict[str, set[object]] = field(default_factory=lambda: defaultdict(set))
    number: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class Watched:
    """The example's run and what was sent beside it, seen from one moment when everything had arrived."""

    ask: Questions
    played: Played
    driven: Driven
    when: float

    @property
    def since(self) -> float:
        """Where the time that is shown begins, on a whole interval as Grafana has it."""
        return self.when - RANGE_SECONDS

    def prometheus(self, query: str, *, is_instant: bool) -> tuple[int, list[Series]]:
        """Status and series of PromQL."""
        if is_instant:
            status, text = self.ask.raw("prometheus", "/api/v1/query", query=query, time=self.when)
        else:
            window = {"start": self.since, "end": self.when, "step": STEP_SECONDS}
            status, text = self.ask.raw("prometheus", "/api/v1/query_range", query=query, **window)
        return status, series_of(text) if status == 200 else []

    def loki(self, query: str, *, is_instant: bool) -> tuple[int, list[Series]]:
        """Status and series of LogQL; of log records their labels, and as value that there is one."""
        end = int(self.when * 10**9)
        if is_instant:
            status, text = self.ask.raw("loki", "/loki/api/v1/query", query=query, time=end)
        else:
            window = {"start": int(self.since * 10**9), "end": end, "step": INTERVAL_SECONDS, "limit": 100}
            status, text = self.ask.raw("loki", "/loki/api/v1/query_range", query=query, **window)
        return status, series_of(text) if status == 200 else []

    def tempo(self, query: str) -> tuple[int, list[Series]]:
        """Status and traces of TraceQL; as value how long each took, in seconds."""
        window = {"start": int(self.since), "end": int(self.when) + 1, "limit": 20}
        status, text = self.ask.raw("tempo", "/api/search", q=query, **window)
        found = (json.loads(text).get("traces") or []) if status == 200 else []
        return status, [({"traceID": one["traceID"]}, [one.get("durationMs", 0) / 1000]) for one in found]

    def answer(self, target: Target, choice: Choice) -> tuple[int, list[Series]]:
        """What a panel shows for what is chosen."""
        query = target.filled(choice)
        if target.source == "tempo":
            return self.tempo(query)
        ask = self.prometheus if target.source == "prometheus" else self.loki
        return ask(query, is_instant=target.is_instant)

    def counts(self, choice: Choice) -> list[Count]:
        """What was counted where a service is."""
        return self.played.counts if choice is PLAYED else self.driven.counts


def series_of(text: str) -> list[Series]:
    """Labels and values of an answer of Prometheus or Loki."""
    data = json.loads(text)["data"]
    found: list[Series] = []
    for row in data["result"]:
        if data["resultType"] == "streams":
            found.append((row["stream"], [1.0] * len(row["values"])))
        else:
            values = row.get("values") or [row["value"]]
            found.append((row["metric"], [float(value) for _, value in values]))
    return found


def watch(ask: Questions, played: Played, driven: Driven) -> Watched:
    """Wait until everything has arrived and an alert fires."""
    last = f"traces_span_metrics_calls_total{driven.service.selector()}"
    wanted = sum(count.number for count in driven.counts if count.metric == "traces.span.metrics.calls")
    assert eventually(lambda: ask.value(f"sum({last})") == wanted, 30)
    assert eventually(lambda: ask.samples(f'ALERTS{{alertstate="firing",service_name="{driven.service.name}"}}'), 30)
    spans = f'{{ resource.service.name = "{driven.service.name}" }}'
    assert eventually(lambda: len(ask.tempo_search(spans)) > 20, 60)
    assert eventually(lambda: len(ask.logs(driven.service.selector())) >= 13, 30)
    # Loki's windows end where an interval ends, so this is the end of one, when all of it has passed.
    when = math.ceil(time.time() / INTERVAL_SECONDS) * INTERVAL_SECONDS
    time.sleep(max(0.0, when - time.time()) + 1)
    return Watched(ask, played, driven, when)
