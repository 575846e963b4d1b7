"""Every way from one view to the next, followed on the real backends.

From a number to its trace, its log records and back; from an alert to its runbook and dashboard; with every trace kept,
and with the few that the bundle keeps.
"""

from __future__ import annotations

import shutil
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from otel_ws.semconv import METRICS, Instrument
from tests.collector.stack import panels, sending
from tests.collector.stack.example import SERVICE
from tests.collector.stack.panels import ALL
from tests.collector.stack.places import ROOT
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions
from tests.collector.stack.waits import know_soon
from tests.collector.stack.watched import BOTH, SOURCES, TARGETS, Figures, Watched

DAY_NS = 24 * 3600 * 10**9


# --- links ----------------------------------------------------------------------------------------------------
def trace_is_there(watched: Watched, trace_id: str) -> bool:
    """Whether Tempo has it."""
    return bool(eventually(lambda: watched.ask.tempo_trace(trace_id), 10))


def logs_of(watched: Watched, service: str, trace_id: str) -> list[tuple[dict[str, str], str]]:
    """What Grafana's button in a trace finds."""
    query = SOURCES["tempo"]["jsonData"]["tracesToLogsV2"]["query"].replace("$$", "$")
    query = query.replace('${__span.tags["service.name"]}', service).replace("${__trace.traceId}", trace_id)
    return watched.ask.logs(query)


def test_exemplars_lead_to_traces(watched: Watched, figures: Figures) -> None:
    """Each panel with exemplars has some, and each opens the trace that the data source leads to."""
    (way,) = SOURCES["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert way["datasourceUid"] == "tempo"
    for target in TARGETS:
        if not target.has_exemplars:
            continue
        query = target.filled({"service": [SERVICE]})
        answer = watched.ask.json(
            "prometheus", "/api/v1/query_exemplars", query=query, start=watched.since, end=watched.when
        )
        ids = {one["labels"][way["name"]] for series in answer["data"] for one in series["exemplars"]}
        assert ids, str(target)
        for trace_id in sorted(ids)[:10]:
            assert trace_is_there(watched, trace_id), f"{target}: {trace_id}"
            figures.number["links followed"] += 1


def test_an_exemplar_leads_to_log_records_and_they_lead_back(watched: Watched, figures: Figures) -> None:
    """From the time that a connection took to be set up, to its trace, its record, and the trace again."""
    selector = f'traces_span_metrics_duration_seconds_bucket{{service_name="{SERVICE}",span_name=~"connect .*"}}'
    followed = 0
    for exemplar in watched.ask.exemplars(selector)[:25]:
        trace_id = exemplar["labels"]["trace_id"]
        assert trace_is_there(watched, trace_id)
        records = logs_of(watched, SERVICE, trace_id)
        assert {"WS_CONNECT", "WS_REJECT"} & {labels["event_name"] for labels, _ in records}, trace_id
        assert {labels[derived()] for labels, _ in records} == {trace_id}
        followed += 3
    assert followed
    figures.number["links followed"] += followed


def derived() -> str:
    """The label of a log record that the data source makes a link of."""
    (one,) = [one for one in SOURCES["loki"]["jsonData"]["derivedFields"] if one.get("matcherType") == "label"]
    assert one["datasourceUid"] == "tempo"
    return str(one["matcherRegex"])


def test_log_records_of_panels_lead_to_traces(watched: Watched, figures: Figures) -> None:
    """Each panel of log records: those that the example made within a trace open it."""
    followed = 0
    for target in TARGETS:
        if target.panel_type != "logs":
            continue
        _, found = watched.answer(target, {"service": [SERVICE]})
        for trace_id in sorted({labels[derived()] for labels, _ in found if derived() in labels})[:5]:
            assert trace_is_there(watched, trace_id), f"{target}: {trace_id}"
            followed += 1
    assert followed > 10
    figures.number["links followed"] += followed


def test_traces_of_panels_open(watched: Watched, figures: Figures) -> None:
    """Each panel of traces: a click on one opens it."""
    for target in TARGETS:
        if target.source != "tempo":
            continue
        _, found = watched.answer(target, BOTH)
        for labels, _ in found[:5]:
            assert trace_is_there(watched, labels["traceID"].rjust(32, "0")), str(target)
            figures.number["links followed"] += 1


def test_links_of_values_lead_to_a_dashboard(figures: Figures) -> None:
    """The dashboard is there, and takes every variable that the link hands on."""
    boards = panels.dashboards()
    for board in boards.values():
        names = [one["name"] for one in board["templating"]["list"]]
        for panel in panels.panels(board):
            for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", []):
                said = "&".join(f"var-{name}=%24__all" for name in names)
                url = link["url"].replace("${__all_variables}", said).replace("${__url_time_range}", "from=1&to=2")
                parts = urllib.parse.urlsplit(url)
                handed = {name for name in urllib.parse.parse_qs(parts.query) if name.startswith("var-")}
                target = boards[parts.path.removeprefix("/d/")]
                assert handed == {f"var-{one['name']}" for one in target["templating"]["list"]}
                assert {"from", "to"} <= set(urllib.parse.parse_qs(parts.query))
                figures.number["links followed"] += 1


def test_alerts_lead_to_runbooks_and_dashboards(watched: Watched, figures: Figures) -> None:
    """Each alert, as Prometheus has it: its page is there, and its dashboard is, with the page in it."""
    groups = watched.ask.json("prometheus", "/api/v1/rules", type="alert")["data"]["groups"]
    alerts = [rule for group in groups for rule in group["rules"]]
    for alert in alerts:
        texts = alert["annotations"]
        page = (ROOT / texts["runbook_url"]).read_text(encoding="utf-8")
        board = panels.dashboards()[texts["dashboard_url"].rpartition("/d/")[2]]
        (shown_page,) = [one for one in panels.panels(board) if one["title"] == alert["name"]]
        assert shown_page["options"]["content"] == page.partition("\n")[2].strip()
        figures.seen["alerts"].add(alert["name"])
        figures.number["links followed"] += 2
    assert len(alerts) == len(list((ROOT / "docs" / "runbooks").glob("[A-Z]*.md")))


# --- where few traces are kept, and something is lost -----------------------------------------------------------
@pytest.fixture(scope="module")
def sparing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, whose collector keeps the traces that the bundle keeps."""
    data = tmp_path_factory.mktemp("sparing")
    with Stack(data, keep_every_trace=False, profile="") as running:
        know_soon(running)
        running.start("prometheus", "loki", "tempo")
        running.start("collector")
        yield running
    shutil.rmtree(data, ignore_errors=True)


def test_the_exemplar_of_a_failure_leads_to_a_trace_that_was_kept(sparing: Stack, figures: Figures) -> None:
    """Of ordinary ones a tenth is kept; each failed one is, so its exemplar leads somewhere."""
    ask, service = Questions(sparing), sending.Service("sparing")
    usual = [sending.Span("move /ws/global/", {"ws.message.type": "move"}) for _ in range(60)]
    failed = [sending.Span("move /ws/global/", {"ws.outcome": "error"}, failed=True) for _ in range(5)]
    latency = next(metric for metric in METRICS if metric.name == "ws.message.latency")
    assert latency.instrument is Instrument.HISTOGRAM

    assert sending.post(sparing, sending.spans(service, [*usual, *failed]))[0] == 200
    for span in failed:
        request = sending.metrics(service, [latency])
        (point,) = request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
        when = point.time_unix_nano
        point.exemplars.add(trace_id=span.trace_id, span_id=span.span_id, as_double=0.0001, time_unix_nano=when)
        assert sending.post(sparing, request)[0] == 200
        time.sleep(1.1)

    (target,) = [one for one in TARGETS if one.panel == "Time in handlers, quantiles" and one.has_exemplars]
    query = target.filled({"service": [service.name]})
    exemplars = eventually(lambda: ask.exemplars(query))
    assert exemplars
    for exemplar in exemplars:
        assert eventually(lambda exemplar=exemplar: ask.tempo_trace(exemplar["labels"]["trace_id"]), 60)  # type: ignore[misc]
        figures.number["links followed"] += 1
    kept = ask.tempo_search('{ resource.service.name = "sparing" }')
    assert len(failed) <= len(kept) < len(usual)


def test_what_the_collector_loses_is_seen(sparing: Stack) -> None:
    """A record that Loki does not want is lost, and the panels of losses say so."""
    ask, service = Questions(sparing), sending.Service("late")
    request = sending.events(service)
    for record in request.resource_logs[0].scope_logs[0].log_records:
        record.time_unix_nano -= 8 * DAY_NS

    assert sending.post(sparing, request)[0] == 200

    lost = [one for one in TARGETS if "otelcol_lost" in one.query]
    assert len(lost) == 2
    for target in lost:
        assert eventually(lambda target=target: sum(ask_now(ask, target.filled(ALL))) >= 1, 30)  # type: ignore[misc]


def ask_now(ask: Questions, query: str) -> list[float]:
    """The values of PromQL now."""
    return [value for _, value in ask.samples(query)]
