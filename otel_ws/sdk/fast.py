"""Chooses the cheap ways into the SDK for one recorder, where they are open; elsewhere all goes by the API."""

from __future__ import annotations

import logging
from collections.abc import Callable

from opentelemetry._logs import get_logger_provider
from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_tracer_provider

from otel_ws.fanout import VERSION, Fanout
from otel_ws.faults import fault
from otel_ws.sdk._private import ShapeError, is_proxy, logger_parts, tracer_parts
from otel_ws.sdk.bridge import Bridge
from otel_ws.sdk.light import ClearedSpans, LightEvents, LightSpans
from otel_ws.sdk.recent import keep_spans
from otel_ws.signals.events import Events

logger = logging.getLogger("otel_ws")


def speed_up(fanout: Fanout) -> None:
    """Histograms through the readers, light spans, light log records: each where the provider is the SDK's.

    A provider that the application has yet to set is asked for again at the next connection.
    """
    undecided = False
    for choose, provider in (
        (_histograms, fanout.metrics.provider),
        (_spans, fanout.spans.provider),
        (_events, _logger_provider(fanout)),
    ):
        name = choose.__name__.strip("_")
        if name in fanout.fast_ways:
            continue
        if is_proxy(provider) and is_proxy(by_now := _GLOBAL[name]()):
            undecided = True
            continue
        fanout.fast_ways.add(name)
        try:
            choose(fanout, by_now if is_proxy(provider) else provider)
        except ShapeError as exc:
            logger.info("otel-ws takes the ordinary way for %s: %s.", name, exc)
        except Exception as exc:
            # Whatever the SDK's insides do there, the start goes on, by the API.
            fault(f"fast.{name}", exc)
    fanout.is_fast = not undecided


_GLOBAL: dict[str, Callable[[], object]] = {
    "histograms": get_meter_provider,
    "spans": get_tracer_provider,
    "events": get_logger_provider,
}


def _logger_provider(fanout: Fanout) -> object:
    return next((writer.provider for writer in fanout.writers if isinstance(writer, Events)), None)


def _histograms(fanout: Fanout, provider: object) -> None:
    # Instruments made on a proxy belong to the provider that was set afterwards.
    if fanout.settings.histograms == "ledger" and isinstance(provider, MeterProvider):
        bridge = Bridge(fanout, provider)
        fanout.metrics.before_collect = bridge.attach
        fanout.on_close.append(bridge.detach)


def _spans(fanout: Fanout, provider: object) -> None:
    spans = fanout.spans
    if isinstance(provider, TracerProvider):
        spans.bind(provider)
        if fanout.recent is not None:
            keep_spans(fanout, provider)
        spans.maker = ClearedSpans(spans.tracer, fanout.policy)
        spans.maker = LightSpans(spans.tracer, tracer_parts(provider, spans.tracer), fanout.policy)


def _events(fanout: Fanout, provider: object) -> None:
    for place, writer in enumerate(fanout.writers):
        if type(writer) is Events and isinstance(provider, LoggerProvider):
            ordinary = Events(provider, VERSION)
            light = LightEvents(provider, VERSION, logger_parts(provider, ordinary.logger))
            fanout.writers = (*fanout.writers[:place], light, *fanout.writers[place + 1 :])
