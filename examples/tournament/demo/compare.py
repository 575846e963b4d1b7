"""Expected against exported: one check for every count, and for what ties the signals together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isclose
from typing import Any

from demo import exported
from demo.expected import Expected, Series
from demo.exported import Points
from demo.records import Labels
from demo.sink import Received

OURS, THEIRS = "otel_ws", "tournament"
# Told by time or by thresholds, not by what clients do.
UNCOUNTED_EVENTS = {"WS_SUMMARY", "WS_HEALTH", "WS_LAYER_DROP"}


@dataclass(frozen=True)
class Check:
    """One comparison."""

    source: str
    name: str
    labels: Labels
    expected: float
    got: float

    @property
    def is_equal(self) -> bool:
        """Whether both agree."""
        return isclose(self.expected, self.got, abs_tol=1e-6)

    def __str__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in self.labels)
        return f"{self.source}: {self.name}{{{said}}} expected {self.expected:g}, got {self.got:g}"

    def as_data(self) -> dict[str, Any]:
        """The check for ``--json``."""
        return asdict(self) | {"labels": dict(self.labels), "is_equal": self.is_equal}


def checks(expected: Expected, received: Received, texts: list[str], lines: list[str], workers: int = 1) -> list[Check]:
    """Every comparison, over all sources. Of several workers an endpoint serves what otel-ws counts, and no more."""
    result: list[Check] = []
    for scope, wanted in ((OURS, expected.own), (THEIRS, expected.application)):
        points = exported.otlp_points(received, scope)
        result += metric_checks("OTLP", wanted, points)
        if scope == OURS or workers == 1:
            result += metric_checks("Prometheus", wanted, prometheus(texts, scope, wanted))
        if scope == OURS:
            result += [check for name in expected.silent for check in _silence(name, points)]
    result += _counts("OTLP events", expected.events, exported.otlp_events(received, OURS))
    result += _counts("JSON lines", expected.events, exported.json_events(lines))
    result += _counts("OTLP events", expected.application_events, exported.otlp_events(received, THEIRS))
    result += _counts("OTLP spans", expected.spans, exported.otlp_spans(received, OURS))
    result += _counts("OTLP spans", expected.application_spans, exported.otlp_spans(received, THEIRS))
    result += _ties(received, lines)
    result.append(Check("OTLP requests", "malformed", (), 0, len(received.malformed)))
    return result


def prometheus(texts: list[str], scope: str, wanted: Iterable[Series]) -> Points:
    """The Prometheus points of the metrics that are wanted."""
    return exported.prometheus_points(texts, scope, {(series.metric, series.part) for series in wanted})


def metric_checks(source: str, wanted: Mapping[Series, float], points: Points) -> list[Check]:
    """Each series of each expected metric, and each series that nobody expected of one."""
    by_metric: defaultdict[tuple[str, str], dict[Labels, float]] = defaultdict(dict)
    for series, number in wanted.items():
        by_metric[series.metric, series.part][series.labels] = number
    result = []
    for key, rows in sorted(by_metric.items()):
        names = [name for name, _ in next(iter(rows))]
        got = exported.summed(points, key, names)
        title = key[0] if key[1] == "value" else f"{key[0]} {key[1]}"
        result += [Check(source, title, one, rows.get(one, 0), got[one]) for one in sorted({*rows, *got})]
    return result


def _silence(name: str, points: Points) -> list[Check]:
    rows = points.get((name, "value")) or [({}, 0.0)]
    return [Check("OTLP", name, tuple(sorted(labels.items())), 0, number) for labels, number in rows]


def _counts(source: str, wanted: Counter[tuple[str, Labels]], found: list[exported.Named]) -> list[Check]:
    fields_of = {name: [field for field, _ in labels] for name, labels in wanted}
    got = exported.counted(found, fields_of)
    keys = {key for key in {*wanted, *got} if key[0] not in UNCOUNTED_EVENTS}
    return [Check(source, name, labels, wanted[name, labels], got[name, labels]) for name, labels in sorted(keys)]


def _ties(received: Received, lines: list[str]) -> list[Check]:
    """Traces that can be followed: every link leads to a connect span, every event to a span that was exported."""
    ours = [span for _, span in exported.spans(received, OURS)]
    connects, publishes, processes = (
        {span.span_id for span in ours if span.name.startswith(f"{kind} ")}
        for kind in ("connect", "publish", "process")
    )
    known = {span.span_id.hex() for _, span in exported.spans(received)}
    # A published message is a part of what its sender does; each that is handled is a trace of its own.
    begun = [span for span in ours if span.span_id not in publishes]
    lonely = sum(span.parent_span_id.hex() not in known for span in ours if span.span_id in publishes)
    handled = [span for span in ours if span.span_id in processes]
    unsent = sum([link.span_id in publishes for link in span.links] != [True] for span in handled)
    later = [span for span in begun if span.span_id not in connects | processes]
    astray = sum([link.span_id in connects for link in span.links] != [True] for span in later)
    texts = sum(bool(span.status.message or span.events or span.trace_state) for span in ours)
    result = [
        Check("OTLP spans", "without one link to their connect span", (), 0, astray),
        Check("OTLP spans", "with a status text, an event or a trace state", (), 0, texts),
        Check("OTLP spans", "process without one link to the publish span", (), 0, unsent),
        Check("OTLP spans", "publish without the span of its sender", (), 0, lonely),
        Check(
            "OTLP spans", "in a trace that another one began", (), 0, len(begun) - len({one.trace_id for one in begun})
        ),
    ]
    for source, events in (
        ("OTLP events", exported.otlp_events(received, OURS)),
        ("JSON lines", exported.json_events(lines)),
    ):
        lost = sum(fields.get("span_id") not in known for name, fields in events if name not in UNCOUNTED_EVENTS)
        result.append(Check(source, "without a span that was exported", (), 0, lost))
    return result
