"""What the backends keep of marked secrets: one request of each signal is sent, found, and read back as text.

It knows where each backend shows what it has, and refuses to know what should not be there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.collector.stack import sending
from tests.collector.stack.marks import REQUESTS, Marks
from tests.collector.stack.programs import Stack, eventually
from tests.collector.stack.questions import Questions


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
    for signal in REQUESTS:
        assert sending.post(stack, marks.request(signal))[0] == 200, signal
    trace_id = marks.trace_id.hex()
    stream = f'{{service_name="{marks.service}"}}'
    # An empty backend would prove nothing.
    assert eventually(lambda: ask.tempo_trace(trace_id))
    assert eventually(lambda: ask.jaeger_trace(trace_id))
    assert eventually(lambda: ask.logs(stream))
    # Without the pass even its unit is a mark, and with that its name.
    named = f'{{__name__=~"ws_messages.*",service_name="{marks.service}"}}'
    assert eventually(lambda: ask.samples(named))
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
