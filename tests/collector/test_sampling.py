"""Which traces are kept: every error, refusal, rare end and slow one; a tenth of the rest; no health check."""

from __future__ import annotations

import shutil
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


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Questions]:
    """Tempo behind a collector that keeps what the bundle keeps."""
    data = tmp_path_factory.mktemp("sampled")
    with Stack(data, keep_every_trace=False, profile="") as stack:
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
