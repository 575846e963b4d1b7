"""The dashboards and runbooks as files: made from their source, complete, and about things that exist."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("grafana_foundation_sdk", reason="nox -s stack has it")

from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from collector import dashboards
from collector.vocabulary import CONNECTOR_LABELS, Vocabulary
from otel_ws import declarations
from otel_ws.semconv import EVENTS, IDS, METRICS
from otel_ws.semconv.conventions import METRIC_CONVENTIONS
from tests.collector.stack import compose, panels
from tests.collector.stack.places import BUNDLE, ROOT

BOARDS = panels.dashboards()
TARGETS = panels.targets()
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("[A-Z]*.md"))
VOCABULARY = Vocabulary(declarations.load(BUNDLE / "policy.toml"))
UNITS = {value for value in vars(units).values() if isinstance(value, str)}
# Of every series that comes from an application.
RESOURCE = {
    "service_name",
    "service_namespace",
    "service_version",
    "service_instance_id",
    "deployment_environment_name",
}
SCRAPED = {"job", "instance"}
SPAN_METRICS = {"traces_span_metrics_calls_total", "traces_span_metrics_duration_seconds"}
PARTS = re.compile(r"_(bucket|count|sum)$")
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
GROUPED = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
NAME = re.compile(r"(?<![\w.$])[a-zA-Z_:][\w:]*")
WORDS = {"and", "or", "unless", "offset", "bool"}
# What only the programs themselves have, with the labels that queries may use.
PROGRAMS: dict[str, set[str]] = {
    "ALERTS": {"alertname", "alertstate", "severity", *RESOURCE},
    "up": set(),
    "otelcol_exporter_queue_size": {"exporter"},
    "otelcol_exporter_queue_capacity": {"exporter"},
    "otelcol_process_cpu_seconds": set(),
    "otelcol_process_memory_rss": set(),
    "otelcol_process_runtime_heap_alloc_bytes": set(),
    "otelcol_processor_tail_sampling_count_traces_sampled": {"policy", "decision"},
    "otelcol_processor_tail_sampling_global_count_traces_sampled": {"decision"},
    "otelcol_processor_tail_sampling_sampling_traces_on_memory": set(),
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early": set(),
    "otelcol_processor_tail_sampling_new_trace_id_received": set(),
    "process_start_time_seconds": set(),
    "system_memory_utilization_ratio": {"state"},
    "system_filesystem_utilization_ratio": {"mountpoint"},
    "prometheus_tsdb_head_series": set(),
    "prometheus_tsdb_head_samples_appended_total": set(),
    "prometheus_tsdb_storage_blocks_bytes": set(),
    "prometheus_tsdb_wal_corruptions_total": set(),
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
    "prometheus_rule_group_last_duration_seconds": {"rule_group"},
    "prometheus_rule_group_iterations_missed_total": {"rule_group"},
    "prometheus_notifications_dropped_total": set(),
    "alertmanager_notifications_total": {"integration"},
    "alertmanager_notifications_failed_total": {"integration", "reason"},
    "alertmanager_notification_requests_failed_total": {"integration"},
    "loki_ingester_wal_corruptions_total": {"type"},
    "tempo_discarded_spans_total": {"reason"},
    "loki_distributor_lines_received_total": set(),
    "tempo_distributor_spans_received_total": set(),
    "traces_service_graph_request_total": {"client", "server"},
} | {
    f"otelcol_{part}_{one}": {part.partition("_")[0]}
    for part in ("receiver_accepted", "exporter_sent", "exporter_enqueue_failed", "exporter_send_failed")
    for one in ("spans", "metric_points", "log_records")
}


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def rules() -> list[dict[str, Any]]:
    """Every rule."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((BUNDLE / "prometheus" / "rules").glob("*.yml"))]
    return [rule for content in files for group in content["groups"] for rule in group["rules"]]


def known() -> dict[str, set[str]]:
    """Every metric's name in Prometheus, without the parts of histograms, and its labels."""
    found = dict(PROGRAMS)
    labels = {key.replace(".", "_") for key in VOCABULARY.labels}
    for metric in METRICS:
        own = {name for name in metric.label_names if name}
        if metric.name == "ws.active_connections.by_id":
            own = set(VOCABULARY.metric_ids)
        found[metric.prometheus_name] = own | RESOURCE
    for name, unit in METRIC_CONVENTIONS.items():
        base = name.replace(".", "_") + {"s": "_seconds", "By": "_bytes"}.get(unit, "")
        found.setdefault(base, labels | RESOURCE)
    for name in VOCABULARY.declared.numbers:
        found[name.replace(".", "_") + "_total"] = labels | RESOURCE
    for name in SPAN_METRICS:
        found[name] = {key.replace(".", "_") for key in CONNECTOR_LABELS} | {"http_route"} | RESOURCE
    for rule in rules():
        if "record" in rule:
            by = re.findall(r"by \(([^)]*)\)", rule["expr"])
            told = {label.strip() for group in by for label in group.split(",")}
            # What is made of recorded series has their labels.
            told = told.union(*(found[name] for name in NAME.findall(rule["expr"]) if ":" in name and name in found))
            found.setdefault(rule["record"], set()).update(told | set(rule.get("labels", {})))
    return found


KNOWN = known()


def strange_promql(query: str) -> Iterator[str]:
    """Metrics that nobody has, and labels that a query's metrics have not."""
    text = re.sub(r"\[[^\]]*\]", " ", QUOTED.sub('""', query))
    selectors = re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", text)
    names = re.sub(r"\{[^}]*\}", " ", GROUPED.sub(" ", text))
    used = {name for name in NAME.findall(re.sub(r"[a-z_0-9]+\s*\(", "(", names)) if name not in WORDS}
    used = {name for name in used if not re.fullmatch(r"\d*[smhdwy]|e\d*|inf|nan", name, re.IGNORECASE)}
    bases = {name: name if name in KNOWN else PARTS.sub("", name) for name in used}
    yield from (f"no metric {name}" for name, base in bases.items() if base not in KNOWN)
    for name, inside in selectors:
        base = name if name in KNOWN else PARTS.sub("", name)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside):
            if label not in KNOWN.get(base, set()) | SCRAPED | {"le"}:
                yield f"{name} has no label {label}"
    for group in GROUPED.findall(text):
        for label in filter(None, (one.strip() for one in group.split(","))):
            for name, base in bases.items():
                has = KNOWN.get(base, set()) | SCRAPED | ({"le"} if name.endswith("_bucket") else set())
                if label not in has:
                    yield f"{name} is grouped by {label}"


def strange_logql(query: str) -> Iterator[str]:
    """Events that nobody tells, and fields that they have not."""
    events = {event.name: event for event in EVENTS}
    told = {name for text in QUOTED.findall(query) for name in re.findall(r"WS_\w+", text)}
    yield from (f"no event {name}" for name in told - set(events))
    fields = {one.key.replace(".", "_") for name in told & set(events) for one in (*IDS, *events[name].fields)}
    allowed = fields | RESOURCE | {"event_name", "level", "trace_id", "span_id"}
    text = QUOTED.sub('""', query)
    used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=|>|<)", text))
    used |= set(re.findall(r"\{\{\.(\w+)\}\}", query))
    used |= {label.strip() for group in GROUPED.findall(text) for label in group.split(",")}
    yield from (f"no field {label}" for label in used - allowed)


def strange_traceql(query: str) -> Iterator[str]:
    """Attributes that no span has."""
    text = QUOTED.sub('""', query)
    used = set(re.findall(r"\bspan\.([a-z_.]+)", text))
    yield from (f"no attribute {key}" for key in used - set(VOCABULARY.spans))
    yield from (f"no attribute {key}" for key in re.findall(r"\bresource\.([a-z_.]+)", text) if key != "service.name")


STRANGE = {"prometheus": strange_promql, "loki": strange_logql, "tempo": strange_traceql}
LANGUAGES = {"promql": strange_promql, "logql": strange_logql, "traceql": strange_traceql}


# --- made -----------------------------------------------------------------------------------------------------
def test_dashboards_are_what_their_source_makes() -> None:
    """Each file, and no other; twice the same, as nothing of the day is in them."""
    made = dashboards.made()

    assert made == dashboards.made()
    assert set(made) == set(panels.FOLDER.glob("*.json"))
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old; run python collector/generate.py"


@pytest.mark.parametrize("uid", BOARDS)
def test_grafanas_types_take_a_dashboard(uid: str) -> None:
    """The SDK reads it, and finds everything that is in it."""
    read = Dashboard.from_json(BOARDS[uid])

    assert read.uid == uid
    assert len(read.panels or []) == len(BOARDS[uid]["panels"])
    assert len(read.templating.list_val or []) == len(BOARDS[uid]["templating"]["list"])


def test_uids_are_those_that_alerts_lead_to() -> None:
    """Six, each with a fixed one; nobody can edit what the next start would undo."""
    led_to = {rule["annotations"]["dashboard_url"].rpartition("/d/")[2] for rule in alerts().values()}

    assert len(BOARDS) == len(list(panels.FOLDER.glob("*.json"))) == 6
    assert led_to == set(BOARDS)
    assert all(board["editable"] is False for board in BOARDS.values())


# --- panels ---------------------------------------------------------------------------------------------------
def every_panel() -> list[Any]:
    """Every panel of every dashboard, named for the report."""
    return [
        pytest.param(uid, panel, id=f"{uid}-{panel['id']}")
        for uid, board in BOARDS.items()
        for panel in panels.panels(board)
    ]


@pytest.mark.parametrize(("uid", "panel"), every_panel())
def test_a_panel_says_what_it_shows(uid: str, panel: dict[str, Any]) -> None:
    """A title; and beside rows a description, a unit, and queries to a data source that there is."""
    assert panel["title"]
    if panel["type"] == "row":
        return
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    if panel["type"] == "text":
        assert panel["options"]["content"]
        return
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] in ("prometheus", "loki", "tempo")
        assert target["datasource"] == panel["datasource"]
        assert target.get("expr") or target.get("query")
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_have_places_of_their_own(uid: str) -> None:
    """None is over another or over the edge, and ids are given once."""
    ids = Counter(panel["id"] for panel in panels.panels(BOARDS[uid]))
    assert max(ids.values()) == 1
    rows = [panel["panels"] for panel in BOARDS[uid]["panels"] if panel.get("panels")]
    for together in (BOARDS[uid]["panels"], *rows):
        places = [panel["gridPos"] for panel in together]
        assert all(place["x"] + place["w"] <= 24 and place["h"] and place["w"] for place in places)
        for one, other in combinations(places, 2):
            apart = (
                one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            )  # fmt: skip
            assert apart, (one, other)


@pytest.mark.parametrize("uid", BOARDS)
def test_verdicts_come_first(uid: str) -> None:
    """The first row is numbers in colours, the last of them how many alerts fire."""
    first, *others = BOARDS[uid]["panels"]
    verdicts = []
    for panel in others:
        if panel["type"] != "stat":
            break
        verdicts.append(panel)

    assert first["type"] == "row"
    assert len(verdicts) >= 6
    assert len({panel["gridPos"]["y"] for panel in verdicts}) == 1
    assert verdicts[-1]["title"] == "Alerts firing"


# --- queries --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_query_is_about_what_exists(target: panels.Target) -> None:
    """Each metric, label, event, field and attribute is declared, recorded, or a program's own."""
    filled = target.query.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$__interval", "15s")

    assert not list(STRANGE[target.source](filled))
    assert set(target.labels) <= set(re.findall(r"\w+", target.query)) | {"service_name", "service_instance_id"}


def test_strange_queries_are_found() -> None:
    """What the tests above would say of a query with a mistake."""
    assert list(strange_promql("sum by (initiator) (rate(ws_connection_duration_seconds_count[5m]))"))
    assert list(strange_promql("rate(ws_message_total[5m])"))
    assert list(strange_promql('ws_messages_total{role="player"}'))
    assert list(strange_logql('{service_name="a"} | event_name="WS_REJECT" | ws_role="player"'))
    assert list(strange_logql('{service_name="a"} | event_name="WS_REJECTED"'))
    assert list(strange_traceql("{ span.user.name != nil }"))


@pytest.mark.parametrize("uid", BOARDS)
def test_variables_and_annotations_are_about_what_exists(uid: str) -> None:
    """The same four variables everywhere, each with several values, or all, which is any text and none."""
    variables = BOARDS[uid]["templating"]["list"]
    assert [one["name"] for one in variables] == ["service", "environment", "transport", "route"]
    for one in variables:
        assert one["multi"] is one["includeAll"] is True
        assert one["allValue"] == ".*"
        assert one["current"]["value"] == ["$__all"]
        assert one["datasource"]["uid"] == "prometheus"
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]).groups()  # type: ignore[union-attr]
        assert not list(strange_promql(f"sum by ({label}) ({series})"))
    for mark in BOARDS[uid]["annotations"]["list"]:
        assert mark["datasource"]["uid"] == "prometheus"
        assert not list(strange_promql(mark["expr"]))


def test_every_choice_narrows_what_has_the_label() -> None:
    """A query of a metric with a route or a transport listens to the variable, and all of ours to the service."""
    ours = {metric.prometheus_name: set(metric.label_names) for metric in METRICS}
    for target in TARGETS:
        for name, inside in re.findall(r"(\w+)\{([^}]*)\}", target.query):
            labels = ours.get(name, ours.get(PARTS.sub("", name)))
            if target.source != "prometheus" or labels is None:
                continue
            assert '"$service"' in inside, target
            assert ("http_route" in labels) == ('http_route=~"$route"' in inside), target
            assert ("transport" in labels) == ('transport=~"$transport"' in inside), target


def test_how_many_traces_are_kept_is_said() -> None:
    """Whoever counts them must know of the cap."""
    (cap,) = re.findall(r"spans_per_second: (\d+)", (BUNDLE / "otelcol" / "traces-tempo.yaml").read_text())
    said = [
        panel["description"] for board in BOARDS.values() for panel in panels.panels(board) if "description" in panel
    ]

    kept = [text for text in said if "Traces" in text and "kept" in text]
    assert len(kept) == 2
    assert all(f"at most {cap} spans a second" in text for text in kept)


# --- runbooks -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_has_every_part(page: Path) -> None:
    """What it means, who is hurt, queries of each kind, causes with what to do, when it is over, its dashboard."""
    text = page.read_text(encoding="utf-8")
    rule = alerts()[page.stem]

    parts = ["**What it means.**", "**Who is hurt.**", "## Look", "## Tell the causes apart", "## It is over when"]
    places = [text.find(part) for part in parts]
    assert min(places) > 0
    assert places == sorted(places)
    _, _, causes = text.partition("## Tell the causes apart")
    causes, _, over = causes.partition("## It is over when")
    assert "| what you see | what it is | what to do |" in causes
    assert len(causes.strip().splitlines()) >= 4
    assert "```promql" in over
    condition = re.sub(r"\{[^}]*\}", "", over)
    assert re.search(r"[<>]=?|==|absent", condition), "when it is over is a comparison"
    for language in LANGUAGES:
        assert f"```{language}\n" in text
    said = text.splitlines()[2]
    assert f"`{rule['labels']['severity']}`" in said
    assert (f"after {rule['for']}" if "for" in rule else "at once") in said
    assert said.endswith(f"dashboard `{rule['annotations']['dashboard_url'].rpartition('/d/')[2]}`")


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_queries_of_a_runbook_are_about_what_exists(page: Path) -> None:
    """Each metric, label, event, field and attribute."""
    for language, strange in LANGUAGES.items():
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for query in block.splitlines():
                assert not list(strange(query)), query


def test_every_runbook_stands_in_its_alerts_dashboard() -> None:
    """Word for word, so that whoever is called has it where the numbers are."""
    for uid, board in BOARDS.items():
        pages = {
            panel["title"]: panel["options"]["content"] for panel in panels.panels(board) if panel["type"] == "text"
        }
        led_here = {
            name for name, rule in alerts().items() if rule["annotations"]["dashboard_url"].endswith(f"/d/{uid}")
        }
        assert set(pages) == led_here
        for name, content in pages.items():
            _, _, text = (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8").partition("\n")
            assert content == text.strip()


# --- provisioning ---------------------------------------------------------------------------------------------
def test_grafana_looks_where_compose_puts_the_dashboards() -> None:
    """The provider's folder is the one that is mounted; the data sources have the uids that panels use."""
    provisioning = BUNDLE / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "stack.yaml").read_text())["providers"]
    sources = yaml.safe_load((provisioning / "datasources" / "stack.yaml").read_text())["datasources"]
    grafana = compose.load()["services"]["grafana"]
    mounted = {mount["target"]: Path(mount["source"]) for mount in grafana["volumes"] if mount["type"] == "bind"}

    assert mounted[provider["options"]["path"]] == panels.FOLDER
    assert mounted[grafana["environment"]["GF_PATHS_PROVISIONING"]] == provisioning
    assert provider["allowUiUpdates"] is False
    types = {one["uid"]: one["type"] for one in sources}
    for board in BOARDS.values():
        for panel in panels.panels(board):
            for target in panel.get("targets", []):
                assert types[target["datasource"]["uid"]] == target["datasource"]["type"]
