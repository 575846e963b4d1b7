"""Chooses the cheap ways into the SDK for one recorder, where they are open; elsewhere all goes by the API."""

from __future__ import annotations

import logging

from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_ws.fanout import VERSION, Fanout
from otel_ws.sdk._private import ShapeError, logger_parts, tracer_parts
from otel_ws.sdk.bridge import Bridge
from otel_ws.sdk.light import ClearedSpans, LightEvents, LightSpans
from otel_ws.signals.events import Events

logger = logging.getLogger("otel_ws")


def speed_up(fanout: Fanout) -> None:
    """Histograms through the readers, light spans, light log records: each where the provider is the SDK's."""
    if fanout.is_fast:
        return
    fanout.is_fast = True
    for choose in (_histograms, _spans, _events):
        try:
            choose(fanout)
        except ShapeError as exc:
            logger.info("otel-ws takes the ordinary way for %s: %s.", choose.__name__.strip("_"), exc)


def _histograms(fanout: Fanout) -> None:
    provider = fanout.metrics.provider
    if not isinstance(provider, MeterProvider):
        # Instruments made on a proxy belong to the provider that was set afterwards.
        provider = get_meter_provider()
    if fanout.settings.histograms == "ledger" and isinstance(provider, MeterProvider):
        bridge = Bridge(fanout, provider)
        fanout.metrics.before_collect = bridge.attach
        fanout.on_close.append(bridge.detach)


def _spans(fanout: Fanout) -> None:
    spans = fanout.spans
    if isinstance(spans.provider, TracerProvider):
        spans.maker = ClearedSpans(spans.tracer, fanout.policy)
        spans.maker = LightSpans(spans.tracer, tracer_parts(spans.provider, spans.tracer), fanout.policy)


def _events(fanout: Fanout) -> None:
    for place, writer in enumerate(fanout.writers):
        if type(writer) is Events and isinstance(writer.provider, LoggerProvider):
            light = LightEvents(writer.provider, VERSION, logger_parts(writer.provider, writer.logger))
            fanout.writers = (*fanout.writers[:place], light, *fanout.writers[place + 1 :])
