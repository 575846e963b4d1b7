"""Marked secrets, sent past the library into the collector: no backend keeps one, but where no processor reaches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.collector.stack import sending
from tests.collector.stack.example import SERVICE as EXAMPLE
from tests.collector.stack.example import Played
from tests.collector.stack.marks import REQUESTS, SERVICE, Marks
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions

# Fields of OTLP that no processor of the collector can change; the library puts no value there.
UNREACHED = (".links.", ".entity_refs.")
SIGNALS = tuple(REQUESTS)


@dataclass
class Kept:
    """What the backends keep of one marked request of each signal."""

    marks: Marks
    texts: dict[str, str]

    def seen(self, where: str) -> set[str]:
        """The places whose mark can be read there."""
        return self.marks.seen_in(self.texts[where])


def sent(stack: Stack, ask: Questions) -> Kept:
    """Send a mark in every field, wait until each record is in its backend, and read everything back."""
    marks = Marks()
    for signal in SIGNALS:
        assert sending.post(stack, marks.request(signal))[0] == 200, signal
    trace_id = marks.trace_id.hex()
    stream = f'{{service_name="{SERVICE}"}}'
    # An empty backend would prove nothing.
    assert eventually(lambda: ask.tempo_trace(trace_id))
    assert eventually(lambda: ask.jaeger_trace(trace_id))
    assert eventually(lambda: ask.logs(stream))
    assert eventually(lambda: ask.samples(f"ws_messages_total{stream}"))
    assert eventually(lambda: ask.samples(f"traces_span_metrics_calls_total{stream}"))
    everything = '{__name__!=""}'
    return Kept(
        marks,
        {
            "tempo": json.dumps(ask.tempo_trace(trace_id)) + ask.raw("tempo", "/api/v2/search/tags")[1],
            "jaeger": json.dumps(ask.jaeger_trace(trace_id)) + ask.raw("jaeger", "/api/v3/services")[1],
            "loki": json.dumps(ask.logs(stream)) + ask.raw("loki", "/loki/api/v1/labels")[1],
            "prometheus": "".join(
                [
                    ask.raw("prometheus", "/api/v1/series", **{"match[]": everything})[1],
                    ask.raw("prometheus", "/api/v1/metadata")[1],
                    ask.raw("prometheus", "/api/v1/labels")[1],
                ]
            ),
            "exemplars": json.dumps(ask.exemplars('{__name__=~".+"}')),
            "collector's log": stack.log("collector"),
        },
    )


@pytest.fixture(scope="module")
def kept(stack: Stack, ask: Questions) -> Kept:
    """Marks through the bundle as it is."""
    return sent(stack, ask)


WALLS = {
    "traces/in": "[memory_limiter]",
    "metrics": "[memory_limiter]",
    "logs": "[memory_limiter]",
}


@pytest.fixture(scope="module")
def open_kept(stack: Stack, ask: Questions, kept: Kept) -> Iterator[Kept]:
    """Marks through a collector without the ids-only pass; afterwards it is as it was."""
    stack.stop("collector")
    stack.more_options["collector"] = [
        f"--config=yaml:service::pipelines::{pipeline}::processors: {processors}"
        for pipeline, processors in WALLS.items()
    ]
    stack.start("collector")
    yield sent(stack, ask)
    stack.stop("collector")
    stack.more_options.clear()
    stack.start("collector")


@pytest.mark.parametrize("where", ["loki", "prometheus", "exemplars", "collector's log"])
def test_nothing_marked_is_kept(where: str, kept: Kept) -> None:
    """Not one of the marks can be read back."""
    assert len(kept.marks.places) > 100
    assert not kept.seen(where)


@pytest.mark.parametrize("where", ["tempo", "jaeger"])
def test_of_traces_only_links_and_entities_are_not_reached(where: str, kept: Kept) -> None:
    """What stays is in the two places that no processor reaches, and no other."""
    assert {place for place in kept.seen(where) if not any(part in place for part in UNREACHED)} == set()


def test_links_are_still_out_of_reach(kept: Kept) -> None:
    """The day on which a collector clears links as well, this says so."""
    assert {place for place in kept.seen("tempo") if ".links." in place}


def test_entities_are_still_out_of_reach(kept: Kept) -> None:
    """The same for a resource's references to entities."""
    assert {place for place in kept.seen("jaeger") if ".entity_refs." in place}


def test_the_search_finds_what_is_there(open_kept: Kept) -> None:
    """Without the pass the same marks are in every backend: the search works, and the pass is what stops them."""
    for where in ("tempo", "jaeger", "loki", "prometheus", "exemplars"):
        assert len(open_kept.seen(where)) >= 2, where


def test_the_example_leaves_ids_alone(played: Played, stack: Stack, ask: Questions) -> None:
    """What the backends keep of the example holds none of its people's names, addresses and tokens."""
    words = ("quillfeather", "hohenstaufer", "marchbanks", "oyelaran", "zephyrine", "mail.example", "203.0.113.", "eyj")
    lines = ask.logs(f'{{service_name="{EXAMPLE}"}}')
    found = ask.tempo_search(f'{{ resource.service.name = "{EXAMPLE}" }}', limit=200)
    texts = [json.dumps(lines)]
    texts += [json.dumps(ask.tempo_trace(one["traceID"])) for one in found[:100]]
    texts.append(ask.raw("prometheus", "/api/v1/series", **{"match[]": f'{{service_name="{EXAMPLE}"}}'})[1])

    assert len(lines) > 100
    assert len(found) > 50
    assert not [word for word in words if any(word in text.lower() for text in texts)]
