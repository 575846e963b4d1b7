"""The real programs, and what the example's clients did: everything declared arrives, and every count is theirs."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from otel_ws.lines import render
from otel_ws.semconv import (
    ERRORS,
    EVENTS,
    IDS,
    METRICS,
    REASON,
    USER_ID,
    WS_AUTH_FAIL,
    Instrument,
)
from otel_ws.types import Cleared, EventRecord
from tests.collector.stack import sending
from tests.collector.stack.driving import Driven, recover
from tests.collector.stack.example import PROCESSES, SERVICE, Count, Played
from tests.collector.stack.places import BUNDLE, ROOT
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions

UNITS = {metric.name: metric for metric in METRICS}
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
ID_TEXT = "1234567890123456789"


# --- what is declared -----------------------------------------------------------------------------------------
def test_every_declared_metric_arrives_with_its_labels(stack: Stack, ask: Questions) -> None:
    """Each metric of the vocabulary is in Prometheus, under its name, with every label and the value that was sent."""
    service = sending.Service("declared-metrics")

    assert sending.post(stack, sending.metrics(service))[0] == 200

    for metric in METRICS:
        histogram = metric.instrument is Instrument.HISTOGRAM
        name = metric.prometheus_name + ("_count" if histogram else "")
        found = eventually(lambda name=name: ask.samples(name + service.selector()))  # type: ignore[misc]
        assert found, metric.name
        labels, value = found[0]
        assert sending.labels_of(metric).items() <= labels.items(), metric.name
        assert value == (1 if histogram else 3), metric.name
        for key, text in service.attributes().items():
            assert labels[key.replace(".", "_")] == text


def test_every_declared_event_arrives_with_its_fields(stack: Stack, ask: Questions) -> None:
    """Each event is in Loki with its sentence, its name, its ids and every field; labels are the service's."""
    service = sending.Service("declared-events")

    assert sending.post(stack, sending.events(service))[0] == 200

    lines = eventually(lambda: (found := ask.logs(service.selector())) and len(found) == len(EVENTS) and found)
    by_name = {labels["event_name"]: (labels, line) for labels, line in lines or []}
    assert set(by_name) == {event.name for event in EVENTS}
    for event in EVENTS:
        labels, line = by_name[event.name]
        assert line == event.message
        wanted = {one.key.replace(".", "_") for one in (*IDS, *event.fields)}
        assert wanted <= set(labels), event.name
        assert {"trace_id", "span_id"} <= set(labels)
    series = ask.json("loki", "/loki/api/v1/series", **{"match[]": service.selector()})["data"]
    assert {key for one in series for key in one} == {
        "service_name",
        "service_namespace",
        "deployment_environment_name",
    }


def test_deltas_are_added_up(stack: Stack, ask: Questions) -> None:
    """An application that exports deltas is counted as any other, and takes nothing from what comes with it."""
    deltas, usual = sending.Service("deltas"), sending.Service("beside-deltas")
    counted = sending.declared(ERRORS, {"error_type": "ValueError"}, 5)
    for number in (3, 4):
        both = sending.numbers(deltas, [replace(counted, value=number, temporality=sending.DELTA)])
        both.MergeFrom(sending.numbers(usual, [counted]))
        assert sending.post(stack, both)[0] == 200
        time.sleep(1)

    added_up = f"{ERRORS.prometheus_name}{deltas.selector()}"
    eventually(lambda: ask.value(added_up) == 7)

    assert ask.value(added_up) == 7
    assert ask.value(f"{ERRORS.prometheus_name}{usual.selector()}") == 5


def test_the_program_of_the_host_is_watched(ask: Questions) -> None:
    """Memory and the disk under the volumes, which two alerts read."""
    assert eventually(lambda: ask.samples('system_memory_utilization_ratio{state="used"}'))
    found = eventually(lambda: ask.samples("system_filesystem_utilization_ratio"))
    assert 0 < found[0][1] < 1


# --- what the clients counted ---------------------------------------------------------------------------------
def prometheus_name(count: Count) -> str:
    """A count's name in Prometheus."""
    metric = UNITS.get(count.metric)
    base = metric.prometheus_name if metric else count.metric.replace(".", "_") + "_total"
    return base if count.part == "value" else f"{base}_{count.part}"


def test_every_count_in_prometheus_is_the_clients_own(played: Played, ask: Questions) -> None:
    """For each series that clients could count, Prometheus says exactly that number."""

    def different() -> list[str]:
        found = []
        for count in played.counts:
            wanted = ",".join(f'{key}="{value}"' for key, value in count.labels.items())
            # The example has ended, and a sample is taken for alive for five minutes alone.
            expression = f'sum(last_over_time({prometheus_name(count)}{{service_name=~"{PROCESSES}",{wanted}}}[1h]))'
            if abs(ask.value(expression) - count.number) >= 1e-6:
                found.append(f"{expression}: {count.number} expected, {ask.value(expression)} there")
        return found

    eventually(lambda: not different(), 30, 2)

    assert not different()
    assert len(played.counts) > 100


def test_every_event_in_loki_is_the_clients_own(played: Played, ask: Questions) -> None:
    """Each event is there as often as clients made it happen."""
    wanted = played.events()

    def counted() -> dict[str, int]:
        found = {}
        for name in wanted:
            found[name] = len(ask.logs(f'{{service_name=~"{PROCESSES}"}} | event_name="{name}"', limit=5000))
        return found

    eventually(lambda: counted() == wanted, 20, 1)

    assert counted() == wanted
    assert len(wanted) >= 6


# --- rules and queries ----------------------------------------------------------------------------------------
def blocks(kind: str) -> list[tuple[str, str]]:
    """Queries of the runbooks, by page."""
    found = []
    for page in RUNBOOKS:
        for block in re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [(page.stem, line) for line in block.splitlines() if line.strip()]
    return found


def test_every_rule_is_evaluated(played: Played, ask: Questions) -> None:
    """Prometheus loaded every rule of the bundle, and none fails."""
    files = (BUNDLE / "prometheus" / "rules").glob("*.yml")
    shipped = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]

    groups = ask.json("prometheus", "/api/v1/rules")["data"]["groups"]

    assert sum(len(group["rules"]) for group in groups) == sum(len(group["rules"]) for group in shipped)
    assert not [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]


# A collector that loses would be heard complaining here: tests of outages and of incidents see it. And no stack here is
# six minutes old: test_rules.py sees what that changes.
ELSEWHERE = {
    "exporter:otelcol_lost:increase5m",
    "job_instance:up:offset6m",
    "service:process_cpu_utilization:count_offset6m",
}


def test_every_recorded_name_has_data(played: Played, driven: Driven, ask: Questions) -> None:
    """Each recording rule makes a series of what the example does, or of what others send."""
    files = (BUNDLE / "prometheus" / "rules").glob("*.yml")
    shipped = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    names = {rule["record"] for group in shipped for rule in group["rules"] if "record" in rule} - ELSEWHERE

    def empty() -> list[str]:
        return [name for name in sorted(names) if not ask.samples(f"last_over_time({name}[1h])")]

    eventually(lambda: not empty(), 20, 2)
    assert not empty()


def found(ask: Questions, kind: str, query: str, at: float) -> bool:
    """Whether a query that a backend must take returns something, asked when there was something to see."""
    calls = {
        "promql": ("prometheus", "/api/v1/query", {"query": query, "time": at}),
        "logql": ("loki", "/loki/api/v1/query_range", {"query": query, "start": int(at - 600), "end": int(at + 60)}),
        "traceql": ("tempo", "/api/search", {"q": query, "start": int(at - 600), "end": int(at + 60)}),
    }
    program, path, said = calls[kind]
    status, text = ask.raw(program, path, **said)
    assert status == 200, (query, text)
    answer = json.loads(text)
    return bool(answer["traces"] if kind == "traceql" else answer["data"]["result"])


# A collector that loses nothing has no such series, nor has a Loki whose log was never broken; a layer that lost
# something is not over it, nor is an Alertmanager whose webhook is not there.
SILENT = (
    "otelcol_lost",
    "_failed_spans",
    "loki_ingester_wal_corruptions_total",
    'ws_layer_dropped:increase5m{reason!="CONSUMER_GONE"}) == 0',
    "alertmanager_notifications_failed_total[15m])) == 0",
)


@pytest.fixture(scope="module")
def recovered(stack: Stack) -> sending.Service:
    """A service about which nobody is called any more."""
    return recover(stack)


@pytest.mark.parametrize("kind", ["promql", "logql", "traceql"])
def test_queries_of_the_runbooks_find_something(
    kind: str, played: Played, driven: Driven, recovered: sending.Service, ask: Questions
) -> None:
    """The backend takes each of them as it stands on the page, and has data for it."""
    queries = blocks(kind)

    def silent() -> list[tuple[str, str]]:
        return [
            (page, query)
            for page, query in queries
            if not any(part in query for part in SILENT)
            and not found(ask, kind, query.replace("SERVICE", SERVICE), played.ended)
            and not found(ask, kind, query.replace("SERVICE", driven.service.name), driven.ended)
            and not found(ask, kind, query.replace("SERVICE", recovered.name), time.time())
        ]

    eventually(lambda: not silent(), 20, 1)
    assert not silent()
    assert len(queries) > 15


# --- one id's way ---------------------------------------------------------------------------------------------
def spans_of(answer: dict) -> list[dict]:
    """The spans of Tempo's answer."""
    batches = answer.get("batches") or answer.get("resourceSpans") or []
    return [span for batch in batches for scope in batch.get("scopeSpans", []) for span in scope["spans"]]


def hexadecimal(text: str) -> str:
    """An id as people write it; Tempo's JSON has base64."""
    return text if re.fullmatch(r"[0-9a-f]{16}|[0-9a-f]{32}", text) else base64.b64decode(text).hex()


def test_one_id_leads_from_a_number_to_everything_and_back(played: Played, ask: Questions) -> None:
    """Exemplar to trace, trace to the connection's other traces and to its lines, a line back to its trace."""
    exemplars = eventually(lambda: ask.exemplars(f'ws_message_latency_seconds_bucket{{service_name="{SERVICE}"}}'))
    assert exemplars
    assert all(set(one["labels"]) == {"trace_id", "span_id"} for one in exemplars)
    trace_id = exemplars[-1]["labels"]["trace_id"]

    trace = eventually(lambda: ask.tempo_trace(trace_id))
    (span,) = [one for one in spans_of(trace) if hexadecimal(one["spanId"]) == exemplars[-1]["labels"]["span_id"]]
    connect = hexadecimal(span["links"][0]["traceId"])
    said = {one["key"]: one["value"].get("stringValue") for one in span["attributes"]}
    connection = said["ws.connection.id"]
    assert any(one["name"].startswith("connect ") for one in spans_of(eventually(lambda: ask.tempo_trace(connect))))
    assert eventually(lambda: ask.jaeger_trace(trace_id))
    assert eventually(lambda: ask.jaeger_trace(connect))

    linked = eventually(lambda: ask.tempo_search(f'{{ span.ws.connection.id = "{connection}" }}'))
    assert {trace_id, connect} <= {one["traceID"].rjust(32, "0") for one in linked}

    lines = eventually(lambda: ask.logs(f'{{service_name="{SERVICE}"}} | ws_connection_id="{connection}"'))
    assert {"WS_CONNECT", "WS_DISCONNECT"} <= {labels["event_name"] for labels, _ in lines}
    (line,) = [
        labels for labels, _ in lines if (labels["event_name"], labels.get("trace_id")) == ("WS_MESSAGE", trace_id)
    ]
    assert line["span_id"] == hexadecimal(span["spanId"])


def test_span_metrics_know_every_span(played: Played, ask: Questions) -> None:
    """Counted before sampling: as many connect spans as clients asked to connect."""
    asked = sum(
        count.number
        for count in played.counts
        if count.metric == "ws.connection.setup.duration" and count.part == "count"
    )
    expression = f'sum(traces_span_metrics_calls_total{{service_name="{SERVICE}",span_name=~"connect .*"}})'

    eventually(lambda: ask.value(expression) == asked, 15)

    assert ask.value(expression) == asked


def test_who_calls_whom_is_known(stack: Stack, ask: Questions) -> None:
    """A call from one service to another is an edge of the service graph."""
    asks, answers = sending.Service("asks"), sending.Service("answers")
    call = sending.Span("GET /", kind=sending.CLIENT)
    answer = sending.Span("GET /", parent=call, trace_id=call.trace_id)

    assert sending.post(stack, sending.spans(asks, [call]))[0] == 200
    assert sending.post(stack, sending.spans(answers, [answer]))[0] == 200

    assert eventually(lambda: ask.value('traces_service_graph_request_total{client="asks",server="answers"}') == 1, 20)


def test_links_of_the_data_sources_lead_somewhere(played: Played, ask: Questions) -> None:
    """Grafana's query from a trace to its lines finds them, and its pattern finds the trace in a JSON line."""
    path = BUNDLE / "grafana" / "provisioning" / "datasources" / "stack.yaml"
    sources = {
        one["uid"]: one["jsonData"] for one in yaml.safe_load(path.read_text())["datasources"] if "jsonData" in one
    }
    found = eventually(lambda: ask.tempo_search(f'{{ resource.service.name = "{SERVICE}" && name =~ "connect .*" }}'))
    trace_id = found[0]["traceID"].rjust(32, "0")
    # Grafana reads $$ as $, and fills in what stands in braces.
    query = sources["tempo"]["tracesToLogsV2"]["query"].replace("$$", "$")
    query = query.replace('${__span.tags["service.name"]}', SERVICE).replace("${__trace.traceId}", trace_id)

    assert eventually(lambda: ask.logs(query))
    pattern = next(one["matcherRegex"] for one in sources["loki"]["derivedFields"] if "matcherType" not in one)
    line = render(EventRecord(WS_AUTH_FAIL, time.time_ns(), Cleared({}), trace_id=int(trace_id, 16), span_id=1))
    assert re.findall(pattern, line) == [trace_id]


# --- JSON lines -----------------------------------------------------------------------------------------------
def test_queries_for_json_lines_run(stack: Stack, ask: Questions) -> None:
    """A line in a file is found by the query that people have; what is no field of ours, and no id, is gone."""
    file = stack.places.folder("/var/log/otel-ws") / "shop.jsonl"

    record = EventRecord(
        event=WS_AUTH_FAIL, timestamp_ns=time.time_ns(), values=Cleared({USER_ID: ID_TEXT, REASON: "JWT_EXPIRED"}),
        trace_id=int("ab" * 16, 16), span_id=int("cd" * 8, 16),
    )  # fmt: skip
    line = render(record)
    leaky = line.replace('"event"', '"email":"Jane Doe","event"').replace("JWT_EXPIRED", "Jane Doe")
    with file.open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\nJane Doe was here\n{leaky}\n{line.replace('WARNING', 'Jane Doe')}\n")

    query = f'{{level="WARNING"}} |= "WS_AUTH_FAIL" | json | user_id="{ID_TEXT}"'
    found = eventually(lambda: (got := ask.logs(query)) and len(got) == 2 and got, 20)

    assert found
    labels, _ = found[0]
    assert labels["service_name"] == "shop"
    labels_kept = ask.raw("loki", "/loki/api/v1/label/level/values")[1]
    assert "WARNING" in labels_kept
    assert "Jane" not in labels_kept
    assert all("Jane" not in one and "Jane" not in str(said) for said, one in ask.logs('{service_name="shop"}'))
    assert {labels["reason_code"] for labels, _ in found} == {"JWT_EXPIRED", "_OTHER"}
    assert all('"trace_id":"' + "ab" * 16 in one for _, one in found)


# --- privacy ---------------------------------------------------------------------------------------------------
def test_the_example_leaves_ids_alone(played: Played, ask: Questions) -> None:
    """What the backends keep of the example holds none of its people's names, addresses and tokens."""
    # A token begins with the last of them, and base64 of an id hardly ever does.
    names = ["quillfeather", "hohenstaufer", "marchbanks", "oyelaran", "zephyrine"]
    words = [*names, "mail.example", "203.0.113.", "eyjhbgci"]
    lines = ask.logs(f'{{service_name="{SERVICE}"}}')
    found = ask.tempo_search(f'{{ resource.service.name = "{SERVICE}" }}', limit=200)
    texts = [json.dumps(lines)]
    texts += [json.dumps(ask.tempo_trace(one["traceID"])) for one in found[:100]]
    texts.append(ask.raw("prometheus", "/api/v1/series", **{"match[]": f'{{service_name="{SERVICE}"}}'})[1])

    assert len(lines) > 100
    assert len(found) > 50
    assert not [word for word in words if any(word in text.lower() for text in texts)]


# --- names ----------------------------------------------------------------------------------------------------
def test_no_name_is_on_its_way_out(stack: Stack, played: Played) -> None:
    """No component is configured by a name that will go."""
    assert "deprecat" not in stack.log("collector").lower()


def test_no_program_complains(stack: Stack, played: Played) -> None:
    """No export failed while everything was there."""
    assert "Exporting failed" not in stack.log("collector")


def test_prometheus_keeps_no_dotted_name(ask: Questions) -> None:
    """Rules and panels would have to quote it."""
    assert not [name for name in ask.metric_names() if "." in name]


def test_figures(stack: Stack, played: Played, tmp_path: Path) -> None:
    """What the stack weighs stays within its limits."""
    memory = stack.memory()
    assert sum(memory.values()) < 2000, memory
