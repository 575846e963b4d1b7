"""Every query of every dashboard on the real backends, and every number against who counted it.

The example is played, and what it never does is sent by hand; nothing is left out because it has no data.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pytest

from otel_ws.semconv import METRICS
from tests.collector.stack import panels
from tests.collector.stack.driving import drive_once_a_minute
from tests.collector.stack.example import SERVICE, Count
from tests.collector.stack.panels import ALL, RANGE_SECONDS, Choice, Target
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.watched import BOTH, DRIVEN, PLAYED, TARGETS, Figures, Series, Watched

# Every letter that means something else in a regular expression.
ONE_ROUTE: Choice = {"service": [SERVICE], "route": ["/ws/match/{tournament_id}/{match_id}/"]}
MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
GROWTH = re.compile(r"sum by \((?P<by>[^)]*)\) \(rate\((?P<name>\w+)\{(?P<where>[^}]*)\}\[\$__rate_interval\]\)\)")
TOTAL = re.compile(r"sum by \((?P<by>[^)]*)\) \(\(increase\((?P<name>\w+)\{(?P<where>[^}]*)\}\[\$__range\]\)")
# Of the programs themselves: nobody else counts what they count.
PROGRAMS = re.compile(r"(otelcol|prometheus|loki|tempo|alertmanager|traces_service_graph)_")
# What a panel leaves out on purpose, by its title, and not by its query; every other one is about everything.
MEANT = {
    ("otel-ws-messages", "Failed, by type"): 'status="error"',
    ("otel-ws-messages", "Denied, by type"): 'status="permission_denied"',
    ("otel-ws-layer", "Failed tasks"): 'error_type!=""',
    ("otel-ws-platform", "Failed, by route"): 'http_response_status_code=~"5.."',
    ("otel-ws-platform", "Client spans"): 'span_kind="SPAN_KIND_CLIENT"',
    ("otel-ws-platform", "Served, by span"): 'span_kind="SPAN_KIND_SERVER"',
    ("otel-ws-platform", "p95, by span"): 'span_kind="SPAN_KIND_SERVER"',
    ("otel-ws-connections", "Setup, p95 by span"): 'span_name=~"connect .*"',
}
NAMES = {metric.name: metric.prometheus_name for metric in METRICS}
HOUR = f"{RANGE_SECONDS}s"
DAY = 86400.0
# The least and the most that a value of a unit can be.
PLAUSIBLE = {"percentunit": (0, 1), "s": (0, 3600), "bytes": (0, 1e12), "Bps": (0, 1e9)}


# --- queries --------------------------------------------------------------------------------------------------
def finite(found: Sequence[Series]) -> list[float]:
    """Every value that is a number."""
    return [value for _, values in found for value in values if math.isfinite(value)]


def test_every_query_of_every_panel_has_data(watched: Watched, figures: Figures) -> None:
    """For all services and for some of them: an answer, data, the labels that the legend names, values that can be."""
    wrong = []
    for target in TARGETS:
        figures.seen["panels"].add((target.board, target.panel, target.panel_type))
        figures.seen["targets"].add(target)
        for choice in (ALL, BOTH, ONE_ROUTE):
            figures.number["queries run"] += 1
            status, found = watched.answer(target, choice)
            if status != 200:
                wrong.append(f"{target}: {status} for {target.filled(choice)}")
            elif choice is not ONE_ROUTE and not finite(found):
                wrong.append(f"{target}: no data for {target.filled(choice)}")
            elif choice is BOTH:
                figures.seen["with data"].add(target)
                wrong += [f"{target}: {problem}" for problem in implausible(target, found)]

    assert not wrong, "\n".join(wrong)


def implausible(target: Target, found: Sequence[Series]) -> Iterator[str]:
    """What cannot be right in an answer."""
    for label in target.labels:
        if not any(labels.get(label) for labels, _ in found):
            yield f"no series has the label {label}"
    least, most = PLAUSIBLE.get(target.unit, (-math.inf, math.inf))
    # An event stream may be open for a day.
    if target.panel == "How long they lasted":
        most = DAY
    odd = [value for value in finite(found) if not least - 1e-9 <= value <= most + 1e-9]
    if odd:
        yield f"{odd[:3]} for the unit {target.unit}"


def test_a_route_with_signs_of_its_own_is_found(watched: Watched) -> None:
    """A template's braces are letters: what is chosen is what is shown."""
    (target,) = [one for one in TARGETS if one.panel == "Handled, by type"]

    status, found = watched.answer(target, ONE_ROUTE)
    by_route = f"sum by (http_route) ({target.filled(ONE_ROUTE).partition('(rate')[2]}".replace("((", "(rate(", 1)
    _, routes = watched.prometheus(by_route, is_instant=False)

    assert status == 200
    assert finite(found)
    assert {labels["http_route"] for labels, _ in routes} == set(ONE_ROUTE["route"])


def test_a_service_that_exports_once_a_minute_has_no_gaps(watched: Watched, stack: Stack) -> None:
    """Which is what applications do; a rate over a minute would be a rate of nothing."""
    minutes = 10
    service = drive_once_a_minute(stack, minutes)
    (target,) = [one for one in TARGETS if one.panel == "From clients, by type"]
    query = target.filled({"service": [service.name]})
    last = f"ws_messages_total{service.selector()}"
    assert eventually(lambda: watched.ask.value(f"sum(count_over_time({last}[15m]))") >= minutes, 30)

    now = time.time()
    window = {"start": now - (minutes - 2) * 60, "end": now, "step": 15}
    answer = watched.ask.json("prometheus", "/api/v1/query_range", query=query, **window)

    (series,) = answer["data"]["result"]
    assert len(series["values"]) == (minutes - 2) * 4 + 1


def test_variables_offer_what_there_is(watched: Watched, figures: Figures) -> None:
    """Each variable of each dashboard has values, for all and for one service."""
    for uid, board in panels.dashboards().items():
        for variable in board["templating"]["list"]:
            figures.seen["variables"].add((uid, variable["name"]))
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
            for choice in (ALL, DRIVEN):
                query = panels.fill(series, "prometheus", choice)
                path = f"/api/v1/label/{label}/values"
                status, text = watched.ask.raw(
                    "prometheus", path, **{"match[]": query, "start": watched.since, "end": watched.when}
                )
                figures.number["queries run"] += 1
                assert status == 200, query
                assert json.loads(text)["data"], query


def test_annotations_mark_what_happened(watched: Watched, figures: Figures) -> None:
    """An alert that fired, and processes that began, with the labels that their texts name."""
    for uid, board in panels.dashboards().items():
        for mark in board["annotations"]["list"]:
            figures.seen["annotations"].add((uid, mark["name"]))
            figures.number["queries run"] += 1
            query = panels.fill(mark["expr"], "prometheus", BOTH)
            status, found = watched.prometheus(query, is_instant=False)
            assert status == 200, query
            assert finite(found), query
            for label in re.findall(r"\{\{(\w+)\}\}", mark["titleFormat"] + mark.get("textFormat", "")):
                assert any(labels.get(label) for labels, _ in found), label


# --- numbers --------------------------------------------------------------------------------------------------
def name_of(count: Count) -> str:
    """A count's name in Prometheus."""
    ending = "_total" if count.part == "value" else "_seconds"
    base = NAMES.get(count.metric) or count.metric.replace(".", "_") + ending
    return base if count.part == "value" else f"{base}_{count.part}"


def fits(labels: Mapping[str, str], meant: str) -> bool:
    """Whether something is what a panel is about."""
    for label, how, value in MATCHER.findall(meant):
        has = labels.get(label, "")
        matches = bool(re.fullmatch(value, has)) if how == "=~" else has == value
        if matches == (how == "!="):
            return False
    return True


def grouped(counts: Sequence[Count], name: str, meant: str, by: Sequence[str]) -> dict[tuple[str, ...], float] | None:
    """What was counted of what is meant, as a query groups it; ``None`` where nobody counted that."""
    found: dict[tuple[str, ...], float] = defaultdict(float)
    said = [count for count in counts if name_of(count) == name]
    if not said or any(not set(by) <= {*count.labels, "service_name"} for count in said):
        return None
    for count in said:
        if fits(count.labels, meant):
            found[tuple(count.labels.get(label, "") for label in by)] += count.number
    return {group: number for group, number in found.items() if number}


def shown(found: Sequence[Series], by: Sequence[str]) -> dict[tuple[str, ...], float]:
    """What a query says, by the same labels."""
    result: dict[tuple[str, ...], float] = defaultdict(float)
    for labels, values in found:
        result[tuple("" if label == "service_name" else labels.get(label, "") for label in by)] += values[-1]
    return {group: number for group, number in result.items() if number}


def test_every_counter_is_what_was_counted(watched: Watched, figures: Figures) -> None:
    """Each panel of a counter or histogram, with its filters and groups, has what clients counted, or what was sent."""
    wrong, counters, seen = [], set(), set()
    for target in TARGETS:
        for found in (*GROWTH.finditer(target.query), *TOTAL.finditer(target.query)):
            name, where, by = found["name"], found["where"], found["by"].split(", ")
            if PROGRAMS.match(name):
                continue
            meant = MEANT.get((target.board, target.panel), "")
            if name.endswith("_bucket"):
                # The last bucket of a histogram holds everything: a quantile is over all that happened.
                name, by = name.removesuffix("_bucket") + "_count", by[:-1]
                query = f'sum by ({", ".join(by)}) (last_over_time({found["name"]}{{{where},le="+Inf"}}[{HOUR}]))'
            else:
                query = f"sum by ({found['by']}) (last_over_time({name}{{{where}}}[{HOUR}]))"
            counters.add((target, name))
            if found.re is TOTAL:
                # As the panel has it, to the last bracket.
                query = target.query.removeprefix("sum(").removesuffix(") or vector(0)")
            for choice in (PLAYED, DRIVEN):
                wanted = grouped(watched.counts(choice), name, meant, by)
                if wanted is None:
                    continue
                _, answer = watched.prometheus(panels.fill(query, "prometheus", choice), is_instant=True)
                seen.add((target, name))
                if shown(answer, by) != pytest.approx(wanted):
                    wrong.append(f"{target}: {shown(answer, by)}, counted were {wanted}")

    assert not wrong, "\n".join(wrong)
    uncounted = {f"{target}: {name}" for target, name in counters - seen}
    assert not uncounted, uncounted
    figures.seen["counters equal to what was counted"] |= seen


def test_every_counted_event_is_what_clients_made_happen(watched: Watched) -> None:
    """Bars of log records, added up, are the events of the example's clients."""
    wanted = watched.played.events()
    for target in TARGETS:
        if target.source != "loki" or "count_over_time" not in target.query or target.is_instant:
            continue
        names = re.findall(r"WS_\w+", target.query)
        status, found = watched.answer(target, {"service": [SERVICE]})
        assert status == 200
        assert sum(finite(found)) == sum(wanted.get(name, 0) for name in names), str(target)


def test_figures(figures: Figures, capsys: pytest.CaptureFixture[str]) -> None:
    """Every panel that asks anything was asked and had data; the figures are said."""
    asked = {(uid, panel["title"], panel["type"]) for uid, board in panels.dashboards().items()
             for panel in panels.panels(board) if panel.get("targets")}  # fmt: skip
    said = {name: len(seen) for name, seen in figures.seen.items()} | figures.number
    with capsys.disabled():
        sys.stdout.write("\n" + ", ".join(f"{number} {name}" for name, number in said.items()) + "\n")
    assert figures.seen["panels"] == asked
    assert figures.seen["with data"] == set(TARGETS)
