"""Which traces are kept: every error, refusal, rare end and slow one; a tenth of the rest; no health check."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.collector.stack import sending
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions

SERVICE = sending.Service("sampled")
ORDINARY = 400
KEPT = {
    "failed": sending.Span("move /ws/global/", {"ws.outcome": "error"}, failed=True),
    "rejected": sending.Span("connect /ws/global/", {"ws.outcome": "rejected"}),
    "denied": sending.Span("move /ws/global/", {"ws.outcome": "permission_denied"}),
    "slow": sending.Span("move /ws/global/", {"ws.outcome": "success"}, seconds=0.8),
    "lost": sending.Span("disconnect /ws/global/", {"ws.close.code": 1006}),
    "kicked": sending.Span("disconnect /ws/global/", {"ws.close.code": 4410}),
}
EACH = 20
# The bundle's is ten times as high, and takes longer to see.
CAP, FLOOD = 50, 1000


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Questions]:
    """Tempo behind a collector that keeps what the bundle keeps."""
    data = tmp_path_factory.mktemp("sampled")
    with Stack(data, keep_every_trace=False, profile="") as stack:
        file = stack.places.files / "otelcol" / "traces-tempo.yaml"
        text = file.read_text(encoding="utf-8")
        assert text.count("spans_per_second: 500") == 1
        file.write_text(text.replace("spans_per_second: 500", f"spans_per_second: {CAP}"), encoding="utf-8")
        stack.start("collector", "tempo")
        made = []
        for name, span in KEPT.items():
            for number in range(EACH):
                said = {**span.attributes, "match.id": number, "ws.handler": name}
                made.append(sending.Span(span.name, said, seconds=span.seconds, failed=span.failed))
        for number in range(ORDINARY):
            # A usual end, as good as any: 1000, 1001 and no code at all are no news.
            code = (1000, 1001, 1005)[number % 3]
            made.append(sending.Span("disconnect /ws/global/", {"ws.close.code": code, "ws.handler": "ordinary"}))
        health = {"http.route": "/healthz", "ws.handler": "health"}
        made += [sending.Span("GET /healthz", dict(health), failed=True) for _ in range(EACH)]
        for first in range(0, len(made), 100):
            assert sending.post(stack, sending.spans(SERVICE, made[first : first + 100]))[0] == 200
        ask = Questions(stack)
        assert eventually(lambda: number_of(ask, "failed") == EACH, 60, 1)
        yield ask
    shutil.rmtree(data, ignore_errors=True)


def number_of(ask: Questions, name: str) -> int:
    """How many traces of a kind Tempo keeps."""
    return len(ask.tempo_search(f'{{ resource.service.name = "{SERVICE.name}" && span.ws.handler = "{name}" }}'))


@pytest.mark.parametrize("name", KEPT)
def test_what_matters_is_kept(name: str, sampled: Questions) -> None:
    """Each of them."""
    assert eventually(lambda: number_of(sampled, name) == EACH, 20), number_of(sampled, name)


def test_of_the_rest_a_tenth_is_kept(sampled: Questions) -> None:
    """By the ids of traces, which are random: within four standard deviations."""
    found = number_of(sampled, "ordinary")

    assert abs(found - ORDINARY / 10) < 4 * (ORDINARY * 0.1 * 0.9) ** 0.5


def test_health_checks_are_left_out(sampled: Questions) -> None:
    """Failed ones, too: readiness has an alert of its own."""
    assert number_of(sampled, "health") == 0


def test_a_flood_of_errors_is_capped(sampled: Questions) -> None:
    """Of a thousand at once the cap lets through what it may, and a tenth of the others: a bad day fills no disk."""
    service = sending.Service("flood")
    errors = [sending.Span(attributes={"ws.outcome": "error"}, failed=True) for _ in range(FLOOD)]
    began = time.monotonic()
    assert sending.post(sampled.stack, sending.spans(service, errors))[0] == 200
    looks = [-1, 0]

    def settled() -> bool:
        looks.append(len(sampled.tempo_search(f'{{ resource.service.name = "{service.name}" }}')))
        return looks[-1] == looks[-2] >= CAP

    assert eventually(settled, 40, 2), looks
    # Two seconds' worth may come at once.
    most = CAP * (2 + time.monotonic() - began) + FLOOD * 0.15
    assert looks[-1] < min(most, FLOOD * 0.9), looks
