"""Events as OpenTelemetry log records with an event name: an ``EventWriter``."""

from __future__ import annotations

from opentelemetry._logs import LoggerProvider, SeverityNumber, get_logger_provider
from opentelemetry.context import Context

from otel_ws.semconv import SCHEMA_URL, SCOPE_NAME, Attribute, Kind
from otel_ws.types import EventRecord, Value


class Events:
    """Hands each event to the OpenTelemetry logger."""

    def __init__(self, provider: LoggerProvider | None, version: str) -> None:
        self.provider = provider or get_logger_provider()
        self.logger = self.provider.get_logger(SCOPE_NAME, version, SCHEMA_URL)

    def write(self, record: EventRecord) -> None:
        """Emit one log record: fixed body, cleared attributes, ids as strings."""
        event = record.event
        self.logger.emit(
            timestamp=record.timestamp_ns,
            context=record.context if isinstance(record.context, Context) else None,
            severity_number=SeverityNumber(event.level.value),
            severity_text=event.level.name,
            body=event.message,
            attributes={attribute.key: exported(attribute, value) for attribute, value in record.values.items()},
            event_name=event.name,
        )

    def is_wanted(self) -> bool:
        """The API does not tell; assume so."""
        return True

    def flush(self) -> None:
        """Nothing is held here; the log processors hold it."""

    def close(self) -> None:
        """Nothing is held here; the provider belongs to whoever made it."""


def exported(attribute: Attribute, value: Value) -> Value:
    """A value as log records and spans carry it: ids are strings."""
    return str(value) if attribute.kind is Kind.ID else value
