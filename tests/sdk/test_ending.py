"""What another thread puts on a light span while it ends: it never gets into what is exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ws.policy import Policy
from otel_ws.recorder import Recorder
from otel_ws.sdk import fast
from otel_ws.sdk.light import LightSpan
from otel_ws.settings import Settings

MAIL = "alice@example.com"


class Ended:
    """A light span of a message, and what was exported of it."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.policy = Policy()
        self.recorder = Recorder(
            Settings.load({}, {}),
            self.policy,
            tracer_provider=tracers,
            meter_provider=MeterProvider(shutdown_on_exit=False),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
        )
        fast.speed_up(self.recorder)
        self.span: Any = self.recorder.spans.connect([])
        assert type(self.span) is LightSpan

    def end(self) -> None:
        """End it, as the connection does."""
        self.recorder.spans.finish(self.span, "connect _OTHER", self.policy.clear("traces", {}))

    def exported(self) -> str:
        """All that can be shown of what left."""
        (span,) = self._spans.get_finished_spans()
        return str(span.to_json())


@pytest.fixture
def ended() -> Ended:
    """A span that has yet to end."""
    return Ended()


class Slow(Mapping[str, str]):
    """Takes so long to read that the span has ended by then: another thread's moment, played in one."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def __iter__(self) -> Iterator[str]:
        self._meanwhile()
        return iter(("user.email",))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: str) -> str:
        return MAIL


class SlowKey(str):  # noqa: SLOT000 - a test gives it what to do
    """A key that takes as long to look up."""

    meanwhile: Callable[[], None]

    def __hash__(self) -> int:
        self.meanwhile()
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


def test_an_event_that_comes_while_the_span_ends_is_not_exported(ended: Ended) -> None:
    """Who asked whether the span is open before it ended writes to what nobody exports."""
    ended.span.add_event("kept before")
    ended.span.add_event(MAIL, Slow(ended.end))

    assert "alice" not in ended.exported()
    assert "_OTHER" in ended.exported()


def test_an_attribute_that_comes_while_the_span_ends_is_not_exported(ended: Ended) -> None:
    """The same with an attribute, on a span that has others and on one that has none."""
    key = SlowKey("user.email")
    key.meanwhile = ended.end

    ended.span.set_attribute(key, MAIL)

    assert "alice" not in ended.exported()


def test_attributes_that_come_while_the_span_ends_are_not_exported(ended: Ended) -> None:
    """The same with a mapping of several, which is read after it was asked for."""
    ended.span.set_attribute("http.request.method", "GET")

    ended.span.set_attributes(Slow(ended.end))

    assert "alice" not in ended.exported()
    assert '"http.request.method": "GET"' in ended.exported()


def test_nothing_that_the_application_holds_is_exported(ended: Ended) -> None:
    """A list that is changed after the span ended, and the attributes that were seen before, are other ones by then."""
    seen = ended.span.held
    ended.span.set_attribute("http.request.method", "GET")
    methods = ["GET"]
    ended.span.add_event("exception", {"http.request.method": methods})
    ended.end()

    seen["user.email"] = MAIL
    methods.append(MAIL)

    assert "alice" not in ended.exported()
