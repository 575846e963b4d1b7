"""Spans on their way to the live page: ours, cleared, sampled, and only where they were asked for."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from otel_ws import fanout as fanouts
from otel_ws import semconv
from otel_ws.connection import Connection
from otel_ws.handling import Handling
from otel_ws.policy import Policy
from otel_ws.recent import Recent
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.settings import Settings

SCOPE: dict[str, Any] = {"type": "websocket", "path": "/", "headers": []}


class Watcher(SpanProcessor):
    """Looks at spans when they start, so that the SDK's own are made."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Look."""


def recording(provider: TracerProvider | None = None, **settings: Any) -> Recorder:
    """A recorder on this provider, with the cheap ways open."""
    made = Recorder(
        Settings(**{"recent": True, **settings}),
        Policy(),
        tracer_provider=provider or TracerProvider(),
        meter_provider=MeterProvider(),
        logger_provider=LoggerProvider(),
    )
    fast.speed_up(made)
    return made


def talk(recorder: Recorder, raised: Exception | None = None) -> None:
    """A connection with one message."""
    connection = Connection(recorder, SCOPE)
    connection.sent({"type": "websocket.accept"}, connection.sending())
    Handling(connection, "websocket.receive", "receive", True).end(raised)
    connection.disconnected(1000)
    connection.returned()


def shown(recorder: Recorder) -> list[dict[str, Any]]:
    """The spans that are kept."""
    assert recorder.recent is not None
    return recorder.recent.spans()


@pytest.fixture(params=[False, True], ids=["light", "sdk"])
def provider(request: pytest.FixtureRequest) -> TracerProvider:
    """A provider on which spans are light, and one on which they are the SDK's."""
    made = TracerProvider()
    if request.param:
        made.add_span_processor(Watcher())
    return made


def test_a_connections_spans_are_kept_with_their_links(provider: TracerProvider) -> None:
    """Connect, message and disconnect are shown; the later ones link to connect."""
    recorder = recording(provider)

    talk(recorder)

    spans = {span["name"].split()[0]: span for span in shown(recorder)}
    connect = spans.pop("connect")
    ids = {"trace_id": connect["trace_id"], "span_id": connect["span_id"]}
    assert ["disconnect", "unknown"] == sorted(spans)
    assert [[ids], [ids]] == [span["links"] for span in spans.values()]
    assert "accepted" == connect["attributes"][semconv.OUTCOME.key]


def test_an_error_is_shown_as_one(provider: TracerProvider) -> None:
    """A handler that raised is shown as an error with its class, and never with its text."""
    recorder = recording(provider)

    talk(recorder, KeyError("Ada Lovelace"))

    (failed,) = [span for span in shown(recorder) if span["is_error"]]
    assert "KeyError" == failed["attributes"][semconv.ERROR_TYPE.key]
    assert "Ada" not in repr(shown(recorder))


def test_nothing_is_kept_unless_asked_for() -> None:
    """By default there are no rings and no processor of theirs."""
    provider = TracerProvider()

    recorder = recording(provider, recent=False)

    assert recorder.recent is None
    assert () == provider._active_span_processor._span_processors


def test_an_unsampled_span_is_not_shown() -> None:
    """What the sampler leaves out is not shown either."""
    recorder = recording(TracerProvider(sampler=ALWAYS_OFF))

    talk(recorder)

    assert [] == shown(recorder)


class Recording(Sampler):
    """Has spans recorded that are not to be exported."""

    def should_sample(self, *args: Any, **more: Any) -> SamplingResult:
        """Recorded, not sampled."""
        return SamplingResult(Decision.RECORD_ONLY)

    def get_description(self) -> str:
        """A name."""
        return "Recording"


def test_a_span_that_is_only_recorded_is_not_shown() -> None:
    """What is recorded for the process alone leaves by no way."""
    provider = TracerProvider(sampler=Recording())
    provider.add_span_processor(Watcher())
    recorder = recording(provider)

    talk(recorder)

    assert [] == shown(recorder)


def test_a_strangers_span_is_not_shown(provider: TracerProvider) -> None:
    """Spans of the application and of other instrumentations are not kept."""
    recorder = recording(provider)

    provider.get_tracer("shop").start_span("pay").end()

    assert [] == shown(recorder)


def test_what_a_stranger_says_under_our_name_is_cleared(provider: TracerProvider) -> None:
    """A tracer of our name may be had by anybody: what is shown of its spans is cleared."""
    recorder = recording(provider)
    tracer = provider.get_tracer(semconv.SCOPE_NAME, fanouts.VERSION, semconv.SCHEMA_URL)

    tracer.start_span("Ada Lovelace", attributes={"user.name": "Ada Lovelace"}).end()

    assert "Ada" not in repr(shown(recorder))


def test_what_the_application_puts_on_a_span_is_cleared(provider: TracerProvider) -> None:
    """An attribute that nobody declared is not shown."""
    recorder = recording(provider)
    connection = Connection(recorder, SCOPE)
    connection.connect_span.set_attribute("user.name", "Ada Lovelace")
    connection.sent({"type": "websocket.accept"}, connection.sending())

    assert 1 == len(shown(recorder))
    assert "Ada" not in repr(shown(recorder))


def test_a_closed_recorder_keeps_nothing_more() -> None:
    """After the end of one recorder, its provider's spans go to the next one alone."""
    provider = TracerProvider()
    first = recording(provider)
    first.close()
    talk(first)
    assert [] == shown(first)
    second = recording(provider)

    talk(second)

    assert ([], 3) == (shown(first), len(shown(second)))
    assert 1 == len(provider._active_span_processor._span_processors)


def test_other_processors_are_served_as_before(provider: TracerProvider) -> None:
    """The application's own processors get every span."""
    ended: list[str] = []

    class Ends(SpanProcessor):
        def on_end(self, span: Any) -> None:
            ended.append(span.name)

    provider.add_span_processor(Ends())
    recorder = recording(provider)

    talk(recorder)

    assert 3 == len(ended)
    assert isinstance(recorder.recent, Recent)
