"""The application in a house that sets up the OpenTelemetry SDK itself and only switches the instrumentor on."""

import os

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import start_http_server

from otel_ws import ChannelsInstrumentor

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tournament.settings")

resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "tournament")})

tracer_provider = TracerProvider(resource=resource)
tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(tracer_provider)

readers = [PeriodicExportingMetricReader(OTLPMetricExporter()), PrometheusMetricReader()]
metrics.set_meter_provider(MeterProvider(readers, resource=resource))

logger_provider = LoggerProvider(resource=resource)
logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
set_logger_provider(logger_provider)

start_http_server(
    int(os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")),
    os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "localhost"),
)
ChannelsInstrumentor().instrument()

from tournament.routing import application  # noqa: E402

__all__ = ["application"]
