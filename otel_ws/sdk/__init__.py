"""``configure()``: OpenTelemetry's providers from the standard ``OTEL_*`` variables, and Channels instrumented.

Uses the SDK's public classes and the entry points under which exporters are published, nothing private.
"""

from __future__ import annotations

import logging
import os
import uuid
from importlib.metadata import entry_points
from typing import Any, Final

import opentelemetry.propagate  # noqa: F401 - reads its variable while it is loaded: here, where a wrong one is told
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_ws import policy, recorder, variables
from otel_ws.faults import fault
from otel_ws.instrumentor import ChannelsInstrumentor, django_settings
from otel_ws.sdk._private import is_proxy
from otel_ws.settings import Settings, sdk_disabled

logger = logging.getLogger("otel_ws")

# The providers that were made here, by a call of ``configure``.
built: Final[list[object]] = []
_PROTOCOLS: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def configure(**settings: Any) -> None:
    """Set OpenTelemetry up from ``OTEL_*`` variables, and instrument Channels if it is installed.

    Providers that somebody made before (``opentelemetry-instrument``, your own code) are used as they are.
    ``settings`` are otel-ws's own, by name, and win over ``OTEL_WS_*`` variables and Django's ``OTEL_WS``.
    Does nothing with ``OTEL_SDK_DISABLED=true`` or ``OTEL_WS_ENABLED=false``. A second call with other settings
    starts recording anew.

    Raises:
        SystemExit: a setting, the name of an exporter or a value that the SDK does not take is wrong; the text
            names it and what is allowed.
    """
    if sdk_disabled():
        return
    loaded = Settings.load_or_exit(django_settings(), **settings)
    if not loaded.enabled:
        return
    active = recorder.active()
    if active is not None and active.settings != loaded:
        # `opentelemetry-instrument` was here first, and knew neither the arguments nor Django's settings.
        recorder.uninstall()
    if os.environ.get("OTEL_CONFIG_FILE") and is_proxy(trace.get_tracer_provider()):
        raise SystemExit(
            "otel-ws cannot start:\n  OTEL_CONFIG_FILE is read by opentelemetry-instrument, not by "
            "otel_ws.configure(). Start the server with opentelemetry-instrument, or unset OTEL_CONFIG_FILE."
        )
    try:
        build_providers()
    except ValueError as exc:
        raise variables.refused(exc, os.environ) from None
    recorder.install(loaded)
    try:
        import channels  # noqa: F401 - a plain ASGI application has no Channels
    except ImportError:
        return
    instrumentor = ChannelsInstrumentor()
    if not getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
        instrumentor.instrument(**settings)


def build_providers() -> None:
    """Make and set the three global providers, each only where nobody has set one.

    Raises:
        SystemExit: an exporter's name is not known.
    """
    resource = _resource()
    told: list[str] = []
    if is_proxy(trace.get_tracer_provider()):
        tracer_provider = TracerProvider(resource=resource)
        for name, exporter in _exporters("traces"):
            made = _made(name, exporter)
            if made is None:
                continue
            tracer_provider.add_span_processor(BatchSpanProcessor(made))
            told.append(f"traces to {name}")
        trace.set_tracer_provider(tracer_provider)
        built.append(tracer_provider)
    if is_proxy(metrics.get_meter_provider()):
        readers: list[MetricReader] = []
        for name, exporter in _exporters("metrics"):
            made = _made(name, exporter)
            if made is None:
                continue
            readers.append(made if isinstance(made, MetricReader) else PeriodicExportingMetricReader(made))
            told.append(f"metrics to {name}")
        meter_provider = MeterProvider(readers, resource=resource)
        metrics.set_meter_provider(meter_provider)
        built.append(meter_provider)
    if is_proxy(get_logger_provider()):
        logger_provider = LoggerProvider(resource=resource)
        for name, exporter in _exporters("logs"):
            made = _made(name, exporter)
            if made is None:
                continue
            logger_provider.add_log_record_processor(BatchLogRecordProcessor(made))
            told.append(f"events to {name}")
        set_logger_provider(logger_provider)
        built.append(logger_provider)
    if told:
        logger.info("otel-ws exports %s.", ", ".join(told))


def _made(name: str, exporter: Any) -> Any:
    """The exporter, or ``None`` where it cannot start: a taken port is no reason for the application to end."""
    try:
        return exporter()
    except OSError as exc:
        fault(f"exporter.{name}", exc)
        logger.error(
            "otel-ws: the exporter %s could not start (%s); nothing is exported by it. With several workers set "
            "OTEL_METRICS_EXPORTER=ws_prometheus, or another OTEL_EXPORTER_PROMETHEUS_PORT.",
            name,
            type(exc).__name__,
        )
        return None
    except ValueError as exc:
        raise SystemExit(
            f"otel-ws cannot start:\n  the exporter {name} does not take a value among its OTEL_EXPORTER_* variables "
            f"({type(exc).__name__}); see its documentation."
        ) from None


def _resource() -> Resource:
    found = Resource.create()
    kept = policy.clear_resource(found.attributes)
    kept.setdefault("service.name", "unknown_service")
    kept.setdefault("service.instance.id", str(uuid.uuid4()))
    dropped = sorted(set(found.attributes) - set(kept))
    if dropped:
        logger.warning(
            "otel-ws does not export %d resource attributes that are not ids or code names.",
            len(dropped),
        )
    return Resource(kept, found.schema_url)


def _exporters(signal: str) -> list[tuple[str, Any]]:
    """The exporter classes that ``OTEL_{SIGNAL}_EXPORTER`` names; ``otlp`` if it is not set."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    found: list[tuple[str, Any]] = []
    for name in (part.strip() for part in os.environ.get(variable, "otlp").split(",")):
        if name in {"", "none"}:
            continue
        published = entry_points(group=f"opentelemetry_{signal}_exporter", name=_published(name, signal))
        if not published:
            known = sorted(
                {
                    "none",
                    "otlp",
                    *(one.name for one in entry_points(group=f"opentelemetry_{signal}_exporter")),
                }
            )
            raise SystemExit(
                f"otel-ws cannot start:\n  {variable}={name!r} is not an exporter that is installed; "
                f"there are: {', '.join(known)}. pip install 'otel-ws[sdk]' brings OTLP and Prometheus."
            )
        if next(iter(published)).name == "otlp_proto_http":
            variables.look_at_endpoint(signal, os.environ)
        found.append((name, next(iter(published)).load()))
    return found


def _published(name: str, signal: str) -> str:
    if name != "otlp":
        return name
    variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    protocol = os.environ.get(variable) or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if protocol.strip() not in _PROTOCOLS:
        raise SystemExit(
            f"otel-ws cannot start:\n  OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not valid; allowed: "
            f"{', '.join(_PROTOCOLS)}."
        )
    return _PROTOCOLS[protocol.strip()]
