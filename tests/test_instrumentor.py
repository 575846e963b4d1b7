"""The instrumentor: wiring on, wiring off, and what it says when a setting is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from channels.consumer import AsyncConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_ws import recorder
from otel_ws.instrumentor import ChannelsInstrumentor, prepare

SEAMS = (ProtocolTypeRouter, URLRouter, AsyncConsumer)


@pytest.fixture
def instrumentor() -> Iterator[ChannelsInstrumentor]:
    """An instrumentor that leaves the process as it was."""
    before = recorder.replace(None)
    one = ChannelsInstrumentor()
    yield one
    if one.is_instrumented_by_opentelemetry:
        one.uninstrument()
    recorder.replace(before)


def test_uninstrument_gives_every_seam_its_own_function_back(instrumentor: ChannelsInstrumentor) -> None:
    """After ``uninstrument`` the classes hold the very functions that they held before."""
    before = [vars(seam)["__call__"] for seam in SEAMS]

    instrumentor.instrument(meter_provider=MeterProvider(shutdown_on_exit=False))
    during = [vars(seam)["__call__"] for seam in SEAMS]
    instrumentor.uninstrument()

    assert all(ours is not theirs for ours, theirs in zip(during, before, strict=True))
    assert before == [vars(seam)["__call__"] for seam in SEAMS]
    assert recorder.active() is None


def test_it_takes_providers_and_settings(instrumentor: ChannelsInstrumentor) -> None:
    """A user's own set-up hands over its providers, and settings by their names."""
    tracer_provider = TracerProvider(shutdown_on_exit=False)

    instrumentor.instrument(
        tracer_provider=tracer_provider,
        meter_provider=MeterProvider(shutdown_on_exit=False),
        message_events="all",
    )

    active = recorder.active()
    assert active is not None
    assert "all" == active.settings.message_events


def test_a_wrong_setting_is_told_and_leaves_the_application_alone(
    instrumentor: ChannelsInstrumentor, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is patched, nothing is raised; standard error names the setting and what is allowed."""
    before = [vars(seam)["__call__"] for seam in SEAMS]

    instrumentor.instrument(message_events="sometimes")

    assert before == [vars(seam)["__call__"] for seam in SEAMS]
    told = capsys.readouterr().err
    assert "argument message_events='sometimes' is not valid; allowed: all, sampled, slow, errors, off" in told
    assert "the application runs without it" in told


def test_the_hook_before_instrumenting_tells_every_wrong_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``opentelemetry-instrument`` users see all problems at once, and start anyway."""
    monkeypatch.setenv("OTEL_WS_MESSAGE_EVENTS", "sometimes")
    monkeypatch.setenv("OTEL_WS_MESSAGE_SAMPLE_RATIO", "2")

    prepare()

    told = capsys.readouterr().err
    assert "OTEL_WS_MESSAGE_EVENTS='sometimes'" in told
    assert "OTEL_WS_MESSAGE_SAMPLE_RATIO='2' is not valid; allowed: a number from 0 to 1" in told


def test_it_names_the_channels_that_it_is_for() -> None:
    """The dependency check of OpenTelemetry reads this."""
    assert ("channels >= 4.2",) == tuple(ChannelsInstrumentor().instrumentation_dependencies())


def test_a_refused_call_leaves_the_way_free(
    instrumentor: ChannelsInstrumentor, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a wrong setting was told, the next call with right ones instruments."""
    before = [vars(seam)["__call__"] for seam in SEAMS]
    instrumentor.instrument(message_events="sometimes")

    instrumentor.instrument(message_events="all", meter_provider=MeterProvider(shutdown_on_exit=False))

    assert all(vars(seam)["__call__"] is not theirs for seam, theirs in zip(SEAMS, before, strict=True))
    assert "sometimes" in capsys.readouterr().err
