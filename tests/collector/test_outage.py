"""Backends away, the collector killed, everything back: what had been accepted arrives, and once."""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from otel_ws.semconv import MESSAGES
from tests.collector.stack import sending
from tests.collector.stack.programs import Stack, call, eventually
from tests.collector.stack.questions import Questions
from tests.collector.stack.waits import know_soon, set_in_collector

BACKENDS = ("prometheus", "loki", "tempo", "jaeger")
COUNT = 500
BATCH = 50
# Spans that wait in each queue of traces.
QUEUED = re.compile(r'^otelcol_exporter_queue_size\{data_type="traces",[^}]*\} (\d+)', re.MULTILINE)
PATIENCE = 60
OUTAGE_SECONDS, TURNS = 120, 40


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, which may be broken."""
    data = tmp_path_factory.mktemp("frail")
    with Stack(data) as running:
        running.start("collector", *BACKENDS)
        yield running
    shutil.rmtree(data, ignore_errors=True)


def send(stack: Stack, service: sending.Service, numbers: range = range(COUNT)) -> None:
    """A span, a record and a series for each number; each must be accepted."""
    for first in range(numbers.start, numbers.stop, BATCH):
        spans = [sending.Span(attributes={"match.id": number}) for number in range(first, first + BATCH)]
        assert sending.post(stack, sending.spans(service, spans))[0] == 200
    assert sending.post(stack, sending.numbered_logs(service, len(numbers), numbers.start))[0] == 200
    rows = [sending.declared(MESSAGES, {"http_route": f"/{number}/"}, number + 1) for number in numbers]
    assert sending.post(stack, sending.numbers(service, rows))[0] == 200


def decided(stack: Stack, count: int) -> bool:
    """Whether so many spans left the sampling, and wait in the queue of each backend of traces."""

    def queued() -> bool:
        sizes = QUEUED.findall(call(stack.places.url("collector", 8888, "/metrics"))[1])
        return len(sizes) == 2 and all(int(size) >= count for size in sizes)

    return eventually(queued)


def arrived(stack: Stack, service: sending.Service) -> dict[str, int]:
    """How much of it is in each backend, and how many lines came twice."""
    ask = Questions(stack)
    lines = [labels.get("match_id") for labels, _ in ask.logs(service.selector())]
    series = ask.samples(f"last_over_time(ws_messages_total{service.selector()}[1h])")
    return {
        "records in Loki": len(set(lines)),
        "lines twice": len(lines) - len(set(lines)),
        "series in Prometheus": len(series),
        "sum in Prometheus": int(sum(value for _, value in series)),
        "traces in Tempo": len(ask.tempo_search(f'{{ resource.service.name = "{service.name}" }}')),
        "traces in Jaeger": len(ask.jaeger_traces(service.name)),
    }


def everything(count: int) -> dict[str, int]:
    """What is there when nothing was lost."""
    return {
        "records in Loki": count,
        "lines twice": 0,
        "series in Prometheus": count,
        "sum in Prometheus": count * (count + 1) // 2,
        "traces in Tempo": count,
        "traces in Jaeger": count,
    }


@pytest.mark.parametrize(
    ("name", "waits", "how", "lost"),
    [
        ("killed", True, signal.SIGKILL, set()),
        ("stopped", False, signal.SIGTERM, set()),
        # What waits for its sampling decision is in memory alone.
        ("killed-early", False, signal.SIGKILL, {"traces in Tempo", "traces in Jaeger"}),
    ],
)
def test_what_was_accepted_arrives(name: str, waits: bool, how: signal.Signals, lost: set[str], frail: Stack) -> None:
    """Backends away, the collector ends, all come back: everything is there once, but undecided traces of a crash."""
    service = sending.Service(f"outage-{name}")
    frail.stop(*BACKENDS)
    send(frail, service)
    assert not waits or decided(frail, COUNT)
    frail.stop("collector", how=how, patience=20)

    frail.start("collector", *BACKENDS)

    wanted = {what: number for what, number in everything(COUNT).items() if what not in lost}

    def there() -> dict[str, int]:
        return {what: number for what, number in arrived(frail, service).items() if what not in lost}

    eventually(lambda: there() == wanted, PATIENCE, 1.0)
    assert there() == wanted


@pytest.mark.incident
def test_minutes_of_outage_lose_nothing(frail: Stack) -> None:
    """Backends away for two minutes, the collector killed in the middle and started again, and applications go on."""
    service = sending.Service("outage-minutes")
    frail.stop(*BACKENDS)
    began = time.monotonic()
    for turn in range(TURNS):
        send(frail, service, range(turn * BATCH, (turn + 1) * BATCH))
        if turn == TURNS // 2:
            assert decided(frail, (turn + 1) * BATCH)
            frail.stop("collector", how=signal.SIGKILL)
            frail.start("collector")
        time.sleep(max(0.0, began + (turn + 1) * OUTAGE_SECONDS / TURNS - time.monotonic()))

    frail.start(*BACKENDS)

    eventually(lambda: arrived(frail, service) == everything(TURNS * BATCH), PATIENCE, 1.0)
    assert arrived(frail, service) == everything(TURNS * BATCH)


def test_a_full_queue_is_counted_and_the_rest_arrives(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A queue of six hundred: what does not fit is refused or counted as lost, what fitted arrives."""
    data = tmp_path_factory.mktemp("full")
    with Stack(data, profile="") as stack:
        set_in_collector(stack, "queue_size: 500000", "queue_size: 600")
        know_soon(stack)
        stack.start("collector", "prometheus")
        service, ask = sending.Service("full"), Questions(stack)
        assert eventually(lambda: ask.samples('job_instance:up:offset6m{job="collector"}'), 20)
        for _ in range(20):
            sending.post(stack, sending.numbered_logs(service, BATCH))
        lost = 'sum({__name__=~"otelcol_exporter_enqueue_failed_log_records|otelcol_receiver_refused_log_records"})'

        assert eventually(lambda: ask.value(lost) > 0, 20)
        assert eventually(lambda: ask.value("exporter:otelcol_lost:increase5m") > 0, 20)
        assert eventually(lambda: ask.value('max(otelcol_exporter_queue_size{exporter="otlp_http/loki"})') > 480, 20)
        stack.start("loki")
        assert eventually(lambda: ask_loki(stack, service) >= BATCH, 30)


def ask_loki(stack: Stack, service: sending.Service) -> int:
    """How many records Loki keeps of a service."""
    return len(Questions(stack).logs(service.selector()))
