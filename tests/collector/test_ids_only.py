"""Marks through the collector alone, into a file: what its ids-only pass lets through, and what it cannot tell."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from collector import generate
from collector.vocabulary import Vocabulary
from otel_ws import declarations
from tests.collector.stack import sending
from tests.collector.stack.marks import REQUESTS, Marks
from tests.collector.stack.programs import Stack, eventually

PIPELINES = ("traces/sampled", "metrics", "logs", "logs/lines")
# Fields of OTLP that no processor of the collector can change; the library puts no value there.
UNREACHED = (".links.", ".entity_refs.")
# One word under these keys has the form of what belongs there: no collector can tell a person from a code name.
RESOURCE = {
    "k8s.cluster.name", "k8s.container.name", "k8s.cronjob.name", "k8s.daemonset.name", "k8s.deployment.name",
    "k8s.job.name", "k8s.namespace.name", "k8s.pod.name", "k8s.replicaset.name", "k8s.statefulset.name",
    "service.version", "telemetry.distro.name", "telemetry.sdk.language", "telemetry.sdk.name",
}  # fmt: skip
BOTH = {
    "celery.task_name", "code.function", "code.function.name", "code.namespace",
    "error.type", "exception.type", "messaging.destination.template", "url.template",
}  # fmt: skip
SPANS = BOTH | {"ws.consumer", "ws.handler", "ws.health.rule", "ws.message.type", "ws.telemetry.place"}
LABELS = BOTH | {
    "client", "error_type", "message_type", "messaging_destination_template", "place", "server", "span.name", "task",
    "type", "ws_handler",
}  # fmt: skip
LINES = {"consumer", "error_type", "group", "handler", "message_type", "rule"}
# Until the policy declares routes.
ROUTES = {"http.route", "http.target", "http_route"}
# And in these fields, of all that have no key.
FIELDS = {"traces.resource_spans.scope_spans.spans.name"}


class Collector:
    """A collector that writes what it passes on into a file."""

    def __init__(self, stack: Stack, written: Path) -> None:
        self.stack = stack
        self._written = written

    def passed(self) -> str:
        """Everything so far."""
        return self._written.read_text(encoding="utf-8") if self._written.exists() else ""

    def post(self, *requests: Message) -> None:
        """Hand it requests."""
        for request in requests:
            assert sending.post(self.stack, request)[0] == 200

    def through(self, marks: Marks) -> set[str]:
        """The places whose mark comes through, of one request of each signal."""
        self.post(*(marks.request(signal) for signal in REQUESTS))
        return marks.seen_in(self.of(marks.service))

    def keys_through(self, vocabulary: Vocabulary, end: str = ".Doe") -> dict[str, set[str]]:
        """The keys, by where they stand, under which one word comes through, or a mark with another end."""
        marks = Marks(end)
        service = sending.Service(marks.service)

        def marked(where: str, keys: Iterable[str]) -> dict[str, object]:
            return {key: marks.new(f"{where} {key}") for key in keys}

        span = sending.Span("GET", marked("spans", vocabulary.spans))
        spans, metrics = sending.spans(service, [span]), sending.metrics(service)
        metric = metrics.resource_metrics[0].scope_metrics[0].metrics.add(name="ws.messages")
        point = metric.gauge.data_points.add(as_double=1, time_unix_nano=time.time_ns())
        sending.put(point.attributes, marked("labels", vocabulary.labels))
        resource = spans.resource_spans[0].resource
        sending.put(resource.attributes, marked("resource", vocabulary.resource.keys() - service.attributes().keys()))
        self.post(spans, metrics, sending.events(service))
        through: dict[str, set[str]] = {"spans": set(), "labels": set(), "resource": set()}
        for place in marks.seen_in(self.of(service.name)):
            where, _, key = place.partition(" ")
            through[where].add(key)
        return through

    def of(self, service: str, *kinds: str) -> str:
        """What came through of a service, once all of it has (default: every signal, and metrics of its spans)."""
        kinds = kinds or ("resourceSpans", "resourceLogs", '"ws.messages"', '"traces.span.metrics.calls"')

        def arrived() -> list[str]:
            lines = [line for line in self.passed().splitlines() if f'"{service}"' in line]
            return lines if all(any(kind in line for line in lines) for kind in kinds) else []

        lines = eventually(arrived)
        assert lines, self.stack.log("collector")[-2000:]
        return "\n".join(lines)

    def line(self, service: str, **fields: object) -> str:
        """What becomes of a JSON line in the file of a service: the resource's text, and the line's."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        said = {"timestamp": now, "level": "WARNING", "event": "WS_AUTH_FAIL", "message": "Authentication failed."}
        folder = self.stack.places.folder("/var/log/otel-ws")
        folder.joinpath(f"{service}.jsonl").write_text(json.dumps(said | fields) + "\n", encoding="utf-8")
        found = eventually(lambda: [line for line in self.passed().splitlines() if f'"{service}"' in line])
        assert found, self.stack.log("collector")[-2000:]
        return "\n".join(found)


Start = Callable[..., Collector]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a collector, with the words of a policy."""
    running: list[Stack] = []

    def started(policy: Path | None = None) -> Collector:
        data = tmp_path_factory.mktemp("ids")
        stack = Stack(data, profile="")
        running.append(stack)
        if policy is not None:
            text = generate.made(policy)[generate.PROCESSORS]
            (stack.places.files / "otelcol" / generate.PROCESSORS.name).write_text(text, encoding="utf-8")
        written = data / "passed.jsonl"
        exporters = [f"--config=yaml:service::pipelines::{one}::exporters: [file/passed]" for one in PIPELINES]
        stack.more_options["collector"] = [f"--config=yaml:exporters::file/passed::path: {written}", *exporters]
        stack.start("collector")
        return Collector(stack, written)

    yield started
    for stack in running:
        stack.stop()
        shutil.rmtree(stack.data, ignore_errors=True)


@pytest.fixture(scope="module")
def collector(start: Start) -> Collector:
    """The bundle's collector."""
    return start()


def reached(places: set[str]) -> set[str]:
    """Of places, those that a processor reaches."""
    return {place for place in places if not any(part in place for part in UNREACHED)}


def test_no_text_of_two_words_passes(collector: Collector) -> None:
    """Wherever it stands: under a key that is there twice, as bytes, in a list, in a map."""
    marks = Marks()

    through = collector.through(marks)

    assert {place for place in marks.places if "again]" in place and "bytes" not in place}
    assert reached(through) == set()


def test_in_which_fields_one_word_passes_is_known(collector: Collector) -> None:
    """The name of a span: a code name, and a collector cannot know which there are."""
    through = {place for place in reached(collector.through(Marks(".Doe"))) if "[" not in place}

    assert through == FIELDS


def test_under_which_keys_one_word_passes_is_known(collector: Collector) -> None:
    """README says what these are: names of classes, functions, programs and places, templates and routes."""
    through = collector.keys_through(Vocabulary(declarations.load(generate.POLICY)))

    assert through == {"spans": SPANS | {"http.route"}, "labels": LABELS | ROUTES, "resource": RESOURCE}


def test_in_which_fields_of_a_json_line_one_word_passes_is_known(collector: Collector) -> None:
    """The same names as on spans, and the route."""
    marks = Marks(".Doe")
    fields = Vocabulary(declarations.load(generate.POLICY)).lines.keys() - {"timestamp", "level", "event"}

    text = collector.line("one-word", **{field: marks.new(field) for field in fields})

    assert marks.seen_in(text) == LINES | {"route"}


def test_two_words_pass_under_no_key(collector: Collector) -> None:
    """Not even where a choice is one of hundreds, some of two words."""
    through = collector.keys_through(Vocabulary(declarations.load(generate.POLICY)), " Doe")

    assert through == {"spans": set(), "labels": set(), "resource": set()}


def test_declared_routes_are_the_only_ones(start: Start, tmp_path: Path) -> None:
    """Where a policy has one, no other route passes: on a span, in its name, on a point, in a JSON line."""
    policy = tmp_path / "policy.toml"
    policy.write_text('template = ["/u/{name}/", "^old/(?P<id>[0-9]+)/$", "GET it"]', encoding="utf-8")
    collector = start(policy)
    service = sending.Service("routed")
    mine = ("/u/{name}/", "^old/(?P<id>[0-9]+)/$")
    collector.post(
        sending.spans(service, [sending.Span(f"GET {one}", {"http.route": one}) for one in (*mine, "/u/jane.roe/")])
    )

    text = collector.of(service.name, '"traces.span.metrics.calls"')

    assert "jane.roe" not in text
    for one in mine:
        assert json.dumps(f"GET {one}") in text
        assert json.dumps(one) in text
    keys = collector.keys_through(Vocabulary(declarations.load(policy)))
    assert not (keys["spans"] | keys["labels"]) & ROUTES
    assert "jane.roe" not in collector.line("routed-lines", route="/u/jane.roe/")
    assert "/u/{name}/" in collector.line("routed-well", route="/u/{name}/")


def test_a_json_line_keeps_what_has_its_form(collector: Collector) -> None:
    """Ids, codes and one word stay; a name and its value, two words, what is nested and what nobody declared do not."""
    text = collector.line(
        "lines",
        user_id="1234",
        group="name=Mark",
        consumer="Mark Doe",
        handler={"name": "Mark"},
        message_type=["Mark"],
        size="Mark",
        note="Mark",
        level_name="Mark",
        error_type="ValueError",
    )

    assert "Mark" not in text
    assert "1234" in text
    assert "ValueError" in text
